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
#include "tests/support/fleet.h"

#define RAW_CONNECTIONS    300
#define SILENT_CONNECTIONS 500
#define ZMQ_MESSAGES       30000

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
        cmocka_unit_test_setup_teardown(peers_that_name_themselves_are_not_heard, begin, end),
        cmocka_unit_test_setup_teardown(a_frame_over_the_limit_is_refused, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
