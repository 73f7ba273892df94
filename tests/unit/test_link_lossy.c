/* Two links over a network that loses, repeats and reorders, in virtual time: whatever was posted in
 * a stream arrives once and in order, nothing of an old stream does, and when the faults stop
 * everything has arrived and nothing is kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/heap.h"
#include "base/rng.h"
#include "wire/link.h"

#define MS        UINT64_C(1000000)
#define SECOND    (1000 * MS)
#define BEAT      (200 * MS)
#define SILENT    (2 * SECOND)
#define FAULTS_NS (10 * SECOND)
#define CALM_NS   (5 * SECOND)
#define STREAMS   4096u

struct packet {
    struct base_heap_node node;
    struct wire_message *message;
    uint64_t connection;
    bool to_broker;
};

/* What the seed decides. */
struct weather {
    double drop, duplicate, reorder; /* of each message */
    double announce;                 /* that the dialer is told of a new connection */
    uint64_t break_ns, forget_ns, restart_ns, post_ns; /* mean times between; 0: never */
};

struct side {
    uint64_t stream;            /* number of the stream that this side is in; 0: none */
    uint64_t posted, delivered; /* in this stream */
};

struct world {
    struct base_rng rng;
    struct weather weather;
    uint64_t now_ns, connection, latest_ns[2];
    struct base_heap packets;
    struct link_dialer dialer;
    struct side d, b;
    bool known; /* whether the broker has the session */
    uint64_t epoch, bound, began_ns;
    struct link link; /* the broker's */
    struct {
        uint64_t epoch, base;
    } streams[STREAMS];
    uint64_t stream_count;
    uint64_t resumes, resent, hellos, delivered, breaks;
};

/* ------------------------------------------------------------- the network */

static void send_one(struct world *w, bool to_broker, struct wire_message *message) {
    struct packet *packet = calloc(1, sizeof *packet);
    struct wire_blob *frames[WIRE_FRAMES_MAX];
    uint64_t due_ns = w->now_ns + 100000 + base_rng_below(&w->rng, 3 * MS);

    assert_non_null(packet);
    for (uint32_t i = 0; i < message->frame_count; i++) {
        frames[i] = wire_blob_ref(message->frames[i]);
    }
    base_heap_node_init(&packet->node);
    packet->message = wire_message_new(frames, message->frame_count);
    assert_non_null(packet->message);
    packet->connection = w->connection;
    packet->to_broker = to_broker;
    if (!base_rng_chance(&w->rng, w->weather.reorder)) {
        /* Behind everything that was sent before. */
        if (due_ns <= w->latest_ns[to_broker]) {
            due_ns = w->latest_ns[to_broker] + 1;
        }
        w->latest_ns[to_broker] = due_ns;
    }
    assert_true(base_heap_insert(&w->packets, &packet->node, due_ns));
}

static void transmit(struct world *w, bool to_broker, struct wire_message *message) {
    if (!base_rng_chance(&w->rng, w->weather.drop)) {
        send_one(w, to_broker, message);
    }
    if (base_rng_chance(&w->rng, w->weather.duplicate)) {
        send_one(w, to_broker, message);
    }
}

static void transmit_and_unref(struct world *w, bool to_broker, struct wire_message *message) {
    assert_non_null(message);
    transmit(w, to_broker, message);
    wire_message_unref(message);
}

/* Loses what is in flight, in both directions, and connects anew. */
static void break_connection(struct world *w) {
    w->connection++;
    w->breaks++;
    if (base_rng_chance(&w->rng, w->weather.announce)) {
        link_dialer_lost(&w->dialer, w->now_ns);
    }
}

/* ----------------------------------------------------------- the two owners */

static struct wire_message *numbered(enum wire_type type, struct side *side) {
    struct wire_writer *writer = wire_writer_new(type);
    uint64_t key[1] = {1};
    uint64_t entry[1] = {side->stream << 32 | side->posted};
    struct wire_message *message;

    assert_non_null(writer);
    assert_int_equal(wire_writer_put(writer, key, entry, NULL, 0, NULL), WIRE_PUT_OK);
    message = wire_writer_finish(writer, NULL);
    assert_non_null(message);
    wire_writer_free(writer);
    return message;
}

static void check_delivered(struct world *w, struct side *side, struct wire_message *message) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    assert_true(wire_batch_open(&batch, message, &fault));
    assert_true(wire_batch_next(&batch, &entry));
    assert_int_equal(entry.values[0] >> 32, side->stream);
    assert_int_equal(entry.values[0] & UINT32_MAX, side->delivered);
    side->delivered++;
    w->delivered++;
}

static void post_one(struct world *w, bool from_broker) {
    struct side *side = from_broker ? &w->b : &w->d;
    struct link *link = from_broker ? &w->link : &w->dialer.link;
    struct wire_message *message;

    if (from_broker ? !w->known : w->dialer.state != LINK_UP) {
        return;
    }
    message = numbered(from_broker ? WIRE_VERDICTS : WIRE_CANCEL, side);
    side->posted++;
    assert_true(link_post(link, w->now_ns, message));
    transmit_and_unref(w, !from_broker, message);
}

static void resend(struct world *w, bool from_broker, uint32_t count) {
    struct link *link = from_broker ? &w->link : &w->dialer.link;

    for (uint32_t i = 0; i < count; i++) {
        transmit(w, !from_broker, link_kept_at(link, i));
        w->resent++;
    }
}

static void heartbeat(struct world *w, bool from_broker) {
    struct link *link = from_broker ? &w->link : &w->dialer.link;
    struct wire_message *message = wire_heartbeat_encode(link->sent);

    assert_non_null(message);
    link_mark(link, w->now_ns, message);
    transmit_and_unref(w, !from_broker, message);
}

static void ask_if_due(struct world *w, bool from_broker) {
    struct link *link = from_broker ? &w->link : &w->dialer.link;
    struct wire_message *message;

    if (!link_resume_due(link, w->now_ns)) {
        return;
    }
    w->resumes++;
    message = wire_resume_encode(link->received);
    assert_non_null(message);
    link_mark(link, w->now_ns, message);
    transmit_and_unref(w, !from_broker, message);
}

static void not_of_this_stream(struct world *w, bool at_broker) {
    if (at_broker) {
        transmit_and_unref(w, false, wire_plain_encode(WIRE_UNKNOWN));
    } else {
        link_dialer_lost(&w->dialer, w->now_ns);
    }
}

/* What both ends do with a message after it was found to be one of the link's. */
static void take(struct world *w, bool at_broker, struct wire_message *message,
                 const struct wire_envelope *envelope) {
    struct link *link = at_broker ? &w->link : &w->dialer.link;
    struct wire_fault fault;
    uint64_t number;
    uint32_t count;

    switch (link_accept(link, w->now_ns, envelope, wire_message_bytes(message))) {
    case LINK_DELIVER:
        break;
    case LINK_DUPLICATE:
        return;
    case LINK_GAP:
        ask_if_due(w, at_broker);
        return;
    case LINK_BROKEN:
        not_of_this_stream(w, at_broker);
        return;
    }
    if (envelope->type == WIRE_HEARTBEAT) {
        assert_true(wire_heartbeat_decode(message, &number, &fault));
        if (link_heard_sent(link, number)) {
            ask_if_due(w, at_broker);
        }
    } else if (envelope->type == WIRE_RESUME) {
        assert_true(wire_resume_decode(message, &number, &fault));
        if (link_resend_from(link, w->now_ns, number, &count)) {
            resend(w, at_broker, count);
        } else {
            not_of_this_stream(w, at_broker);
        }
    } else {
        check_delivered(w, at_broker ? &w->b : &w->d, message);
    }
    if (link_ack_due(link)) {
        heartbeat(w, at_broker);
    }
}

static void begin_stream_at_broker(struct world *w) {
    w->began_ns = w->now_ns;
    assert_true(++w->stream_count < STREAMS);
    w->streams[w->stream_count].epoch = w->epoch;
    w->streams[w->stream_count].base = w->link.base;
    w->b = (struct side){.stream = w->stream_count, .posted = 0, .delivered = 0};
}

static void broker_hello(struct world *w, uint64_t connection, struct wire_message *message) {
    struct wire_welcome welcome = {.version = 1, .heartbeat_ms = BEAT / MS};
    struct wire_hello hello;
    struct wire_fault fault;
    uint32_t count = 0;

    assert_true(wire_hello_decode(message, &hello, &fault));
    w->bound = connection;
    welcome.resumed = w->known && hello.epoch == w->epoch &&
                      link_resend_from(&w->link, w->now_ns, hello.received, &count);
    if (!welcome.resumed) {
        if (w->known) {
            link_reset(&w->link, w->now_ns);
        } else {
            link_init(&w->link, w->now_ns, BEAT, SILENT);
            w->known = true;
        }
        begin_stream_at_broker(w);
    }
    wire_hello_fini(&hello);
    welcome.epoch = w->epoch;
    welcome.received = w->link.received;
    welcome.silence_ms = SILENT / MS;
    welcome.payload_max = WIRE_PAYLOAD_BYTES_MAX;
    transmit_and_unref(w, false, wire_welcome_encode(&welcome));
    resend(w, true, count);
}

static void broker_receive(struct world *w, uint64_t connection, struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    assert_true(wire_open(message, &envelope, &fault));
    if (envelope.type == WIRE_HELLO) {
        broker_hello(w, connection, message);
    } else if (!w->known || w->bound != connection) {
        not_of_this_stream(w, true);
    } else {
        take(w, true, message, &envelope);
    }
}

static void dialer_welcome(struct world *w, struct wire_message *message) {
    struct wire_welcome welcome;
    struct wire_fault fault;
    uint32_t count;

    assert_true(wire_welcome_decode(message, &welcome, &fault));
    if (link_dialer_welcomed(&w->dialer, w->now_ns, &welcome, &count)) {
        w->d = (struct side){0, 0, 0};
        for (uint64_t i = 1; i <= w->stream_count; i++) {
            if (w->streams[i].epoch == welcome.epoch && w->streams[i].base == welcome.received) {
                w->d.stream = i;
            }
        }
        assert_true(w->d.stream != 0);
    }
    resend(w, false, count);
}

static void dialer_receive(struct world *w, struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    assert_true(wire_open(message, &envelope, &fault));
    if (envelope.type == WIRE_WELCOME) {
        dialer_welcome(w, message);
    } else if (envelope.type == WIRE_UNKNOWN) {
        link_dialer_lost(&w->dialer, w->now_ns);
    } else if (w->dialer.state == LINK_UP) {
        take(w, false, message, &envelope);
    }
}

static void dialer_tick(struct world *w) {
    struct wire_hello hello = {
        .version_min = 1,
        .version_max = 1,
        .role = WIRE_CLIENT,
        .session = {1, 2},
        .epoch = w->dialer.epoch,
        .received = w->dialer.link.received,
        .name = {"d", 1},
        .host = {"h", 1},
    };

    switch (link_dialer_tick(&w->dialer, w->now_ns)) {
    case LINK_DO_NOTHING:
        break;
    case LINK_DO_HEARTBEAT:
        heartbeat(w, false);
        break;
    case LINK_DO_HELLO:
        hello.received = w->dialer.link.received;
        w->hellos++;
        transmit_and_unref(w, true, wire_hello_encode(&hello));
        break;
    }
}

static void broker_forget(struct world *w) {
    if (w->known) {
        link_fini(&w->link);
        w->known = false;
        w->bound = 0;
    }
}

static void broker_tick(struct world *w) {
    if (!w->known) {
        return;
    }
    switch (link_tick(&w->link, w->now_ns)) {
    case LINK_NOTHING:
        break;
    case LINK_SEND_HEARTBEAT:
        heartbeat(w, true);
        break;
    case LINK_SILENT:
        broker_forget(w);
        break;
    }
}

/* ---------------------------------------------------------------- the world */

static uint64_t soon(struct world *w, uint64_t mean_ns) {
    return mean_ns == 0 ? UINT64_MAX : w->now_ns + 1 + base_rng_below(&w->rng, 2 * mean_ns);
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static void receive_due(struct world *w) {
    struct base_heap_node *node;

    while ((node = base_heap_peek(&w->packets)) != NULL && node->key <= w->now_ns) {
        struct packet *packet = BASE_CONTAINER_OF(node, struct packet, node);

        base_heap_remove(&w->packets, node);
        if (packet->connection == w->connection) {
            if (packet->to_broker) {
                broker_receive(w, packet->connection, packet->message);
            } else {
                dialer_receive(w, packet->message);
            }
        }
        wire_message_unref(packet->message);
        free(packet);
    }
}

static void run(struct world *w, uint64_t until_ns) {
    uint64_t post_ns = soon(w, w->weather.post_ns);
    uint64_t break_ns = soon(w, w->weather.break_ns);
    uint64_t forget_ns = soon(w, w->weather.forget_ns);
    uint64_t restart_ns = soon(w, w->weather.restart_ns);

    for (;;) {
        struct base_heap_node *packet = base_heap_peek(&w->packets);
        uint64_t next_ns = least(least(post_ns, break_ns), least(forget_ns, restart_ns));

        next_ns = least(next_ns, link_dialer_deadline(&w->dialer));
        next_ns = least(next_ns, w->known ? link_deadline(&w->link) : UINT64_MAX);
        next_ns = least(next_ns, packet != NULL ? packet->key : UINT64_MAX);
        if (next_ns > until_ns) {
            break;
        }
        w->now_ns = next_ns > w->now_ns ? next_ns : w->now_ns;
        receive_due(w);
        dialer_tick(w);
        broker_tick(w);
        if (post_ns <= w->now_ns) {
            for (uint64_t n = base_rng_below(&w->rng, 8); n > 0; n--) {
                post_one(w, base_rng_chance(&w->rng, 0.5));
            }
            post_ns = soon(w, w->weather.post_ns);
        }
        if (break_ns <= w->now_ns) {
            break_connection(w);
            break_ns = soon(w, w->weather.break_ns);
        }
        if (forget_ns <= w->now_ns) {
            if (w->known && w->now_ns > w->began_ns + 2 * MS) {
                broker_forget(w);
            }
            forget_ns = soon(w, w->weather.forget_ns);
        }
        if (restart_ns <= w->now_ns) {
            broker_forget(w);
            w->epoch++;
            break_connection(w);
            restart_ns = soon(w, w->weather.restart_ns);
        }
    }
    w->now_ns = until_ns;
}

static void play(uint64_t seed, const struct weather *weather, struct world *w) {
    uint64_t resumes;
    uint64_t hellos;

    memset(w, 0, sizeof *w);
    base_rng_init(&w->rng, seed);
    w->weather = *weather;
    w->now_ns = base_rng_below(&w->rng, 2) * 1000 * SECOND;
    w->connection = 1;
    w->epoch = 10;
    base_heap_init(&w->packets);
    link_dialer_init(&w->dialer, w->now_ns, seed);
    run(w, w->now_ns + FAULTS_NS);

    w->weather = (struct weather){0};
    run(w, w->now_ns + CALM_NS);
    resumes = w->resumes;
    hellos = w->hellos;
    run(w, w->now_ns + CALM_NS);
    assert_int_equal(w->resumes, resumes);
    assert_int_equal(w->hellos, hellos);

    assert_int_equal(w->dialer.state, LINK_UP);
    assert_true(w->known);
    assert_int_equal(w->d.stream, w->b.stream);
    assert_int_equal(w->b.delivered, w->d.posted);
    assert_int_equal(w->d.delivered, w->b.posted);
    assert_int_equal(w->dialer.link.kept_count, 0);
    assert_int_equal(w->dialer.link.kept_bytes, 0);
    assert_int_equal(w->link.kept_count, 0);
    assert_int_equal(w->link.kept_bytes, 0);

    /* A RESUME is either one heartbeat after the last, or what the last one asked for has come. */
    assert_true(w->resumes <= 4 * (FAULTS_NS + CALM_NS) / BEAT + w->delivered / 2);

    while (base_heap_peek(&w->packets) != NULL) {
        struct packet *packet = BASE_CONTAINER_OF(base_heap_pop(&w->packets), struct packet, node);

        wire_message_unref(packet->message);
        free(packet);
    }
    base_heap_fini(&w->packets);
    link_dialer_fini(&w->dialer);
    broker_forget(w);
}

/* -------------------------------------------------------------- the scenarios */

static struct world world; /* large: not on the stack */

static void a_calm_network_needs_one_hello_and_nothing_twice(void **state) {
    struct weather weather = {.post_ns = 5 * MS};

    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++) {
        play(seed, &weather, &world);
        assert_int_equal(world.hellos, 1);
        assert_int_equal(world.resumes, 0);
        assert_int_equal(world.resent, 0);
        assert_true(world.delivered > 500);
    }
}

static void what_a_broken_connection_loses_comes_again(void **state) {
    struct weather weather = {.post_ns = 2 * MS, .break_ns = 500 * MS, .announce = 0.5};

    (void)state;
    for (uint64_t seed = 0; seed < 10; seed++) {
        play(seed, &weather, &world);
        assert_int_equal(world.stream_count, 1);
        assert_true(world.breaks > 5);
        assert_true(world.resent > 0);
    }
}

static void random_loss_is_made_good(void **state) {
    struct weather weather = {.post_ns = 10 * MS, .drop = 0.05};

    (void)state;
    for (uint64_t seed = 0; seed < 10; seed++) {
        play(seed, &weather, &world);
        assert_true(world.stream_count <= world.hellos);
        assert_true(world.resumes > 0);
    }
}

static void repeated_and_reordered_messages_do_no_harm(void **state) {
    struct weather weather = {.post_ns = 10 * MS, .duplicate = 0.1, .reorder = 0.1};

    (void)state;
    for (uint64_t seed = 0; seed < 10; seed++) {
        play(seed, &weather, &world);
    }
}

static void a_session_that_was_forgotten_begins_a_clean_stream(void **state) {
    struct weather weather = {.post_ns = 5 * MS,
                              .duplicate = 0.05,
                              .reorder = 0.05,
                              .forget_ns = 500 * MS,
                              .break_ns = 2 * SECOND};

    (void)state;
    for (uint64_t seed = 0; seed < 10; seed++) {
        play(seed, &weather, &world);
        assert_true(world.stream_count > 2);
    }
}

static void any_weather_passes(void **state) {
    (void)state;
    for (uint64_t seed = 1000; seed < 1100; seed++) {
        struct weather weather = {.announce = 0.5};
        struct base_rng rng;

        base_rng_init(&rng, seed);
        weather.post_ns = MS + base_rng_below(&rng, 50 * MS);
        weather.drop = base_rng_chance(&rng, 0.5) ? 0.2 * base_rng_double(&rng) : 0;
        weather.duplicate = base_rng_chance(&rng, 0.5) ? 0.2 * base_rng_double(&rng) : 0;
        weather.reorder = base_rng_chance(&rng, 0.5) ? 0.3 * base_rng_double(&rng) : 0;
        weather.break_ns = base_rng_chance(&rng, 0.5) ? base_rng_below(&rng, 3 * SECOND) : 0;
        weather.forget_ns = base_rng_chance(&rng, 0.3) ? base_rng_below(&rng, 9 * SECOND) : 0;
        weather.restart_ns = base_rng_chance(&rng, 0.3) ? base_rng_below(&rng, 9 * SECOND) : 0;
        play(seed, &weather, &world);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_calm_network_needs_one_hello_and_nothing_twice),
        cmocka_unit_test(what_a_broken_connection_loses_comes_again),
        cmocka_unit_test(random_loss_is_made_good),
        cmocka_unit_test(repeated_and_reordered_messages_do_no_harm),
        cmocka_unit_test(a_session_that_was_forgotten_begins_a_clean_stream),
        cmocka_unit_test(any_weather_passes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
