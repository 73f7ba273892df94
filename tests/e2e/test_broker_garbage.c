/* furrow-broker among strangers: whatever is sent to its port, it serves on. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tests/e2e/dealer.h"
#include "tests/fuzz/wire_exercise.h"
#include "tests/support/fleet.h"
#include "wire/zmq.h"

#define RAW_CONNECTIONS    300
#define SILENT_CONNECTIONS 500
#define ZMQ_MESSAGES       30000
#define MUTATED_MESSAGES   120000
#define MUTATED_A_SESSION  40

struct scene {
    struct fleet fleet;
    struct base_rng rng;
    char directory[64];
    uint64_t dealers;
};

static int begin(void **state) {
    struct scene *scene = calloc(1, sizeof *scene);
    struct fleet_options options = {.broker_path = FURROW_BROKER_PATH};

    assert_non_null(scene);
    base_rng_init(&scene->rng, 4711);
    strcpy(scene->directory, "/tmp/furrow-test-XXXXXX");
    assert_non_null(mkdtemp(scene->directory));
    options.directory = scene->directory;
    if (!fleet_start_broker(&scene->fleet, &options)) {
        fail_msg("%s", scene->fleet.error);
    }
    *state = scene;
    return 0;
}

static int end(void **state) {
    struct scene *scene = *state;

    assert_true(fleet_stop(&scene->fleet));
    assert_int_equal(rmdir(scene->directory), 0);
    free(scene);
    return 0;
}

/* The broker is the same process as ever, and welcomes a client. */
static void expect_service(struct scene *scene) {
    struct dealer dealer;

    assert_int_equal(waitpid(scene->fleet.broker, NULL, WNOHANG), 0);
    dealer_open(&dealer, scene->fleet.url, ++scene->dealers);
    assert_true(dealer_is_welcomed(&dealer));
    dealer_close(&dealer);
}

static void fill(struct scene *scene, uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)base_rng_next(&scene->rng);
    }
}

/* -------------------------------------------------------------------- raw TCP */

static int connect_raw(struct scene *scene) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned port;

    assert_true(fd >= 0);
    assert_int_equal(sscanf(scene->fleet.url, "tcp://127.0.0.1:%u", &port), 1);
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void send_raw(int fd, const void *bytes, size_t size) {
    (void)send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void random_bytes_over_tcp(void **state) {
    struct scene *scene = *state;
    uint8_t bytes[4096];

    for (int i = 0; i < RAW_CONNECTIONS; i++) {
        int fd = connect_raw(scene);

        fill(scene, bytes, sizeof bytes);
        send_raw(fd, bytes, base_rng_below(&scene->rng, sizeof bytes + 1));
        close(fd);
    }
    expect_service(scene);
}

/* ZMTP 3.0: signature, version, mechanism NULL, not a server, filler. */
static const uint8_t greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
static const uint8_t ready[] = {4,   26,  5,   'R', 'E', 'A', 'D', 'Y', 11,  'S',
                                'o', 'c', 'k', 'e', 't', '-', 'T', 'y', 'p', 'e',
                                0,   0,   0,   4,   'D', 'E', 'A', 'L'};

static void broken_handshakes_and_frames(void **state) {
    struct scene *scene = *state;
    uint8_t bytes[600];

    for (int i = 0; i < RAW_CONNECTIONS; i++) {
        int fd = connect_raw(scene);
        size_t cut = base_rng_below(&scene->rng, sizeof greeting + 1);

        send_raw(fd, greeting, i % 3 == 0 ? cut : sizeof greeting);
        if (i % 3 == 1) {
            send_raw(fd, ready, base_rng_below(&scene->rng, sizeof ready + 1));
        }
        fill(scene, bytes, sizeof bytes);
        send_raw(fd, bytes, base_rng_below(&scene->rng, sizeof bytes + 1));
        close(fd);
    }
    expect_service(scene);
}

static void connections_that_say_nothing(void **state) {
    struct scene *scene = *state;
    int fds[SILENT_CONNECTIONS];

    for (int i = 0; i < SILENT_CONNECTIONS; i++) {
        fds[i] = connect_raw(scene);
        send_raw(fds[i], greeting, i % 2 == 0 ? 0 : 20);
    }
    expect_service(scene);
    for (int i = 0; i < SILENT_CONNECTIONS; i++) {
        close(fds[i]);
    }
    expect_service(scene);
}

/* ------------------------------------------------------------------- ZeroMQ */

static void *dealer_socket(void *context, const char *url, const char *name) {
    void *socket = zmq_socket(context, ZMQ_DEALER);
    int linger_ms = 2000;

    assert_non_null(socket);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms), 0);
    if (name != NULL) {
        assert_int_equal(zmq_setsockopt(socket, ZMQ_ROUTING_ID, name, strlen(name)), 0);
    }
    assert_int_equal(zmq_connect(socket, url), 0);
    return socket;
}

/* A frame of any bytes, or of the beginning of a header that could be right. */
static void random_frame(struct scene *scene, void *socket, bool more) {
    static const uint8_t start[] = {0x94, 16, 0xcf, 0, 0, 0, 0, 0, 0,    0,    1,   0xcf,
                                    0,    0,  0,    0, 0, 0, 0, 0, 0x91, 0x91, 0x94};
    uint8_t bytes[300];
    size_t size = base_rng_below(&scene->rng, sizeof bytes);

    fill(scene, bytes, sizeof bytes);
    if (base_rng_below(&scene->rng, 2) == 0) {
        memcpy(bytes, start, 1 + base_rng_below(&scene->rng, sizeof start));
        bytes[1] = (uint8_t)base_rng_below(&scene->rng, 64);
    }
    assert_true(zmq_send(socket, bytes, size, more ? ZMQ_SNDMORE : 0) >= 0);
}

static void random_frames_over_zeromq(void **state) {
    struct scene *scene = *state;
    void *context = zmq_ctx_new(), *socket;
    int answers = 0;

    assert_non_null(context);
    socket = dealer_socket(context, scene->fleet.url, NULL);
    for (int i = 0; i < ZMQ_MESSAGES; i++) {
        uint64_t frames = base_rng_below(&scene->rng, 20) == 0 ? 1 + base_rng_below(&scene->rng, 40)
                                                               : 1 + base_rng_below(&scene->rng, 3);
        char answer[512];

        while (frames-- > 0) {
            random_frame(scene, socket, frames > 0);
        }
        while (zmq_recv(socket, answer, sizeof answer, ZMQ_DONTWAIT) >= 0) {
            answers++;
        }
    }
    expect_service(scene);
    assert_true(answers > 0);
    assert_int_equal(zmq_close(socket), 0);
    assert_int_equal(zmq_ctx_term(context), 0);
}

static void peers_that_name_themselves_are_not_heard(void **state) {
    struct scene *scene = *state;
    void *context = zmq_ctx_new(), *socket;
    struct wire_message *message = wire_plain_encode(WIRE_BYE);
    char answer[64];
    int wait_ms = 200;

    assert_non_null(context);
    socket = dealer_socket(context, scene->fleet.url, "broker");
    assert_int_equal(zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms), 0);
    assert_true(zmq_send(socket, message->frames[0]->data, message->frames[0]->size, 0) >= 0);
    wire_message_unref(message);
    assert_int_equal(zmq_recv(socket, answer, sizeof answer, 0), -1);
    assert_int_equal(errno, EAGAIN);
    expect_service(scene);
    assert_int_equal(zmq_close(socket), 0);
    assert_int_equal(zmq_ctx_term(context), 0);
}

/* ------------------------------------------------------------- mutated messages */

/* A stranger who knows the protocol, and what the broker answers to it. */
struct stranger {
    void *socket;
    enum wire_role role; /* 0: says no HELLO */
    uint64_t session, seq;
    unsigned rejects[WIRE_REJECT_DRAINING + 1];
    unsigned welcomes, unknowns;
};

static void hear(struct stranger *stranger) {
    struct wire_message *message;

    while (wire_zmq_recv(stranger->socket, NULL, &message) == WIRE_ZMQ_OK) {
        struct wire_envelope envelope;
        struct wire_welcome welcome;
        struct wire_reject reject;
        struct wire_fault fault;

        /* Whatever it was sent, what the broker says is right. */
        assert_true(wire_open(message, &envelope, &fault));
        assert_true(exercise_message(message, &fault));
        if (envelope.type == WIRE_WELCOME) {
            assert_true(wire_welcome_decode(message, &welcome, &fault));
            stranger->seq = welcome.received;
            stranger->welcomes++;
        } else if (envelope.type == WIRE_REJECT) {
            assert_true(wire_reject_decode(message, &reject, &fault));
            stranger->rejects[reject.code]++;
        } else if (envelope.type == WIRE_UNKNOWN) {
            stranger->unknowns++;
        }
        wire_message_unref(message);
    }
}

static void send_to_broker(struct stranger *stranger, struct wire_message *message) {
    zmq_pollitem_t item = {.socket = stranger->socket, .events = ZMQ_POLLOUT};

    assert_non_null(message);
    assert_int_equal(zmq_poll(&item, 1, 10000), 1);
    assert_int_equal(wire_zmq_send(stranger->socket, NULL, message), WIRE_ZMQ_OK);
    wire_message_unref(message);
}

/* Begins a session, whatever there was, and waits for WELCOME: all that was sent before has then been
 * read by the broker. */
static void begin_session(struct stranger *stranger) {
    static const struct wire_text function = {"f", 1};
    struct wire_hello hello = {
        .version_min = WIRE_VERSION_MIN,
        .version_max = WIRE_VERSION_MAX,
        .role = stranger->role,
        .session = {0x57a46e4, ++stranger->session},
        .name = {"stranger", 8},
        .host = {"elsewhere", 9},
        .slots = stranger->role == WIRE_WORKER ? 2 : 0,
        .functions = &function,
        .function_count = stranger->role == WIRE_WORKER ? 1 : 0,
    };
    unsigned before = stranger->welcomes;

    send_to_broker(stranger, wire_hello_encode(&hello));
    for (int turn = 0; stranger->welcomes == before; turn++) {
        zmq_pollitem_t item = {.socket = stranger->socket, .events = ZMQ_POLLIN};

        assert_true(turn < 100000);
        assert_int_equal(zmq_poll(&item, 1, 10000), 1);
        hear(stranger);
    }
}

/* A message with some bytes of its header changed, cut off or added, or with a frame too many or too
 * few. */
static struct wire_message *mutate(struct scene *scene, const struct wire_message *message) {
    struct wire_blob *frames[WIRE_FRAMES_MAX];
    size_t size = message->frames[0]->size, more = 0;
    uint32_t count = message->frame_count;
    uint64_t how = base_rng_below(&scene->rng, 16);

    if (how == 0) {
        size = base_rng_below(&scene->rng, size + 1);
    } else if (how == 1) {
        more = 1 + base_rng_below(&scene->rng, 8);
    } else if (how == 2 && count > 1) {
        count--;
    }
    frames[0] = wire_blob_new(size + more);
    assert_non_null(frames[0]);
    memcpy(frames[0]->data, message->frames[0]->data, size);
    for (size_t i = 0; i < more; i++) {
        frames[0]->data[size + i] = (uint8_t)base_rng_next(&scene->rng);
    }
    for (uint64_t i = how < 3 ? 0 : 1 + base_rng_below(&scene->rng, 4); i > 0 && size > 0; i--) {
        frames[0]->data[base_rng_below(&scene->rng, size)] =
            base_rng_below(&scene->rng, 3) == 0 ? (uint8_t)(0xc0 + base_rng_below(&scene->rng, 32))
                                                : (uint8_t)base_rng_next(&scene->rng);
    }
    for (uint32_t i = 1; i < count; i++) {
        frames[i] = wire_blob_ref(message->frames[i]);
    }
    if (how == 3 && count < WIRE_FRAMES_MAX) {
        frames[count] = wire_blob_copy("more", 4);
        assert_non_null(frames[count++]);
    }
    message = wire_message_new(frames, count);
    assert_non_null(message);
    return (struct wire_message *)message;
}

static void say_mutated(struct scene *scene, struct stranger *stranger, unsigned samples) {
    struct wire_message *sample = exercise_sample((unsigned)base_rng_below(&scene->rng, samples));
    struct wire_message *mutated;
    struct wire_envelope envelope;
    struct wire_fault fault;

    assert_non_null(sample);
    assert_true(wire_open(sample, &envelope, &fault));
    /* Most as the link would number them, so that they get beyond it. */
    if (base_rng_below(&scene->rng, 8) != 0) {
        wire_stamp(sample, envelope.type >= WIRE_FIRST_SEQUENCED ? stranger->seq + 1 : 0, 0);
    }
    mutated = mutate(scene, sample);
    wire_message_unref(sample);
    if (wire_open(mutated, &envelope, &fault) && envelope.type >= WIRE_FIRST_SEQUENCED &&
        envelope.seq == stranger->seq + 1) {
        stranger->seq++;
    }
    send_to_broker(stranger, mutated);
}

/* Messages of every type, changed: before HELLO and in sessions of every role. */
static void mutated_messages_are_refused_or_passed_over(void **state) {
    struct scene *scene = *state;
    struct stranger strangers[] = {{.role = (enum wire_role)0},
                                   {.role = WIRE_CLIENT},
                                   {.role = WIRE_WORKER, .session = 1000000},
                                   {.role = WIRE_SUPERVISOR, .session = 2000000}};
    void *context = zmq_ctx_new();
    struct wire_message *sample;
    unsigned samples = 0, over_limits = 0;

    assert_non_null(context);
    for (; (sample = exercise_sample(samples)) != NULL; samples++) {
        wire_message_unref(sample);
    }
    for (int i = 0; i < 4; i++) {
        strangers[i].socket = wire_zmq_dealer(context);
        assert_non_null(strangers[i].socket);
        assert_int_equal(wire_zmq_connect(strangers[i].socket, scene->fleet.url), 0);
    }
    for (int i = 0; i < MUTATED_MESSAGES; i++) {
        struct stranger *stranger = &strangers[i / MUTATED_A_SESSION % 4];

        if (i % MUTATED_A_SESSION == 0 && stranger->role != 0) {
            begin_session(stranger);
        }
        say_mutated(scene, stranger, samples);
        hear(stranger);
    }
    strangers[0].role = WIRE_CLIENT;
    strangers[0].session = 3000000;
    for (int i = 0; i < 4; i++) {
        struct stranger *stranger = &strangers[i];

        begin_session(stranger); /* all has been read */
        print_message("role %d: %u malformed, %u type, %u role, %u limit, %u unknown\n", i,
                      stranger->rejects[WIRE_REJECT_MALFORMED], stranger->rejects[WIRE_REJECT_TYPE],
                      stranger->rejects[WIRE_REJECT_ROLE], stranger->rejects[WIRE_REJECT_LIMIT],
                      stranger->unknowns);
        assert_true(stranger->rejects[WIRE_REJECT_MALFORMED] > MUTATED_MESSAGES / 400);
        assert_true(stranger->unknowns > 0);
        if (i > 0) {
            assert_true(stranger->rejects[WIRE_REJECT_ROLE] > 0);
            assert_true(stranger->rejects[WIRE_REJECT_TYPE] > 0);
        }
        over_limits += stranger->rejects[WIRE_REJECT_LIMIT];
        assert_int_equal(zmq_close(stranger->socket), 0);
    }
    assert_true(over_limits > 0);
    assert_int_equal(zmq_ctx_term(context), 0);
    expect_service(scene);
}

/* The header of a frame that is far too large: the connection is closed, nothing is allocated. */
static void a_frame_over_the_limit_is_refused(void **state) {
    static const uint8_t huge[] = {2, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'x'};
    struct scene *scene = *state;

    for (int i = 0; i < 10; i++) {
        int fd = connect_raw(scene);

        send_raw(fd, greeting, sizeof greeting);
        send_raw(fd, ready, sizeof ready);
        send_raw(fd, huge, sizeof huge);
        close(fd);
    }
    expect_service(scene);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_bytes_over_tcp, begin, end),
        cmocka_unit_test_setup_teardown(broken_handshakes_and_frames, begin, end),
        cmocka_unit_test_setup_teardown(connections_that_say_nothing, begin, end),
        cmocka_unit_test_setup_teardown(random_frames_over_zeromq, begin, end),
        cmocka_unit_test_setup_teardown(mutated_messages_are_refused_or_passed_over, begin, end),
        cmocka_unit_test_setup_teardown(peers_that_name_themselves_are_not_heard, begin, end),
        cmocka_unit_test_setup_teardown(a_frame_over_the_limit_is_refused, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
