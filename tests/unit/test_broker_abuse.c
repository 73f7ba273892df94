/* Peers that say anything at any time, right and wrong: the broker serves on, and what it counts stays
 * right (broker_free checks that). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "tests/unit/broker_world.h"
#include "wire/inspect.h"

#include <cmocka.h>

#define ROUNDS  120000
#define CLIENTS 3
#define WORKERS 4
#define PEERS   (CLIENTS + WORKERS + 2)
#define IDS     40
#define LEASES  64
#define PICKS   3
/* Array, type, seq, ack. */
#define ENVELOPE_BYTES 20

struct abuse {
    struct world *world;
    struct base_rng rng;
    struct peer *peers[PEERS];
    uint64_t leases[LEASES]; /* some that were given out */
    uint32_t lease_count;
};

static uint64_t pick(struct abuse *abuse, uint64_t bound) {
    return base_rng_below(&abuse->rng, bound);
}

/* A number that is often right, sometimes at an edge, sometimes anything. */
static uint64_t number(struct abuse *abuse, uint64_t right) {
    switch (pick(abuse, 40)) {
    case 0:
        return base_rng_next(&abuse->rng);
    case 1:
        return 0;
    case 2:
        return UINT32_MAX;
    default:
        return right;
    }
}

static uint64_t some_lease(struct abuse *abuse) {
    uint64_t known = abuse->lease_count > 0 ? abuse->leases[pick(abuse, LEASES)] : 0;

    return number(abuse, known);
}

static uint64_t some_id(struct abuse *abuse) {
    return number(abuse, pick(abuse, PICKS) << 32 | pick(abuse, IDS));
}

static void add_entry(struct abuse *abuse, struct wire_writer *writer, enum wire_type type) {
    uint64_t key[WIRE_KEY_MAX] = {0}, entry[WIRE_ENTRY_MAX] = {0};
    static const uint8_t data[70000];
    size_t size = 0;

    switch (type) {
    case WIRE_SUBMIT:
        key[0] = number(abuse, pick(abuse, 5)) % WIRE_CLASSES_MAX;
        key[1] = 1 + pick(abuse, 2);
        key[2] = pick(abuse, 5) == 0;
        entry[0] = some_id(abuse);
        size = pick(abuse, 50) == 0 ? 66000 : pick(abuse, 200);
        break;
    case WIRE_CANCEL:
        entry[0] = some_id(abuse);
        break;
    case WIRE_RESULTS:
        key[0] = pick(abuse, 4) == 0 ? pick(abuse, WIRE_KIND_CANCELLED) : 0;
        entry[0] = some_lease(abuse);
        size = pick(abuse, 100);
        break;
    case WIRE_CLAIMS:
        key[0] = abuse->peers[pick(abuse, CLIENTS)]->session.high;
        key[1] = abuse->peers[pick(abuse, CLIENTS)]->session.low;
        entry[0] = some_lease(abuse);
        entry[1] = some_id(abuse);
        entry[2] = 1 + pick(abuse, 3);
        break;
    default: /* RETURNED, RUNNING */
        key[0] = pick(abuse, 2);
        entry[0] = some_lease(abuse);
        break;
    }
    (void)wire_writer_put(writer, key, entry, data, size, NULL);
}

static struct wire_message *some_batch(struct abuse *abuse, enum wire_type type) {
    uint64_t extra[WIRE_EXTRA_MAX] = {pick(abuse, 3) == 0, 0};
    struct wire_writer *writer = wire_writer_new(type);
    struct wire_message *message;

    assert_non_null(writer);
    if (type == WIRE_RESULTS) {
        extra[0] = number(abuse, pick(abuse, 1000000));
    }
    for (uint64_t i = pick(abuse, 6); i > 0; i--) {
        add_entry(abuse, writer, type);
    }
    message = wire_writer_finish(writer, extra);
    wire_writer_free(writer);
    return message;
}

static struct wire_message *some_define(struct abuse *abuse) {
    static const char *const functions[] = {"f", "g", "h", "nobody"};
    struct wire_define define = define_of((uint32_t)pick(abuse, 5), functions[pick(abuse, 4)]);

    define.priority = (int32_t)pick(abuse, 3) - 1;
    define.flags = (uint32_t)pick(abuse, WIRE_FLAGS_MAX + 1);
    define.max_attempts = 1 + (uint32_t)pick(abuse, 3);
    define.queue_ms = pick(abuse, 4) == 0 ? pick(abuse, 50) : 0;
    define.retries = (uint32_t)pick(abuse, 2);
    define.retry_ms = pick(abuse, 20);
    if (pick(abuse, 4) == 0) {
        define.tags[0] = (struct wire_text){"tag", 3};
        define.tag_count = 1;
    }
    return wire_define_encode(&define);
}

static struct wire_message *some_death(struct abuse *abuse) {
    const struct peer *worker = abuse->peers[pick(abuse, PEERS)];
    uint64_t running[4];
    struct wire_child_died died = {
        .session = worker->session,
        .pid = 1,
        .signal = (uint32_t)number(abuse, 9),
        .host = {"h", 1},
        .expected = pick(abuse, 3) == 0,
        .running = running,
        .running_count = (uint32_t)pick(abuse, 5),
    };

    for (int i = 0; i < 4; i++) {
        running[i] = some_lease(abuse);
    }
    return wire_child_died_encode(&died);
}

static struct wire_message *some_question(struct abuse *abuse) {
    const struct peer *peer = abuse->peers[pick(abuse, PEERS)];
    const struct wire_list_request list = {1, pick(abuse, WIRE_LIST_COUNT), pick(abuse, 3) / 2};
    const struct wire_explain explain = {2, peer->session, pick(abuse, 2), some_id(abuse)};
    const struct wire_retire retire = {3, peer->session};

    switch (pick(abuse, 50)) {
    case 0:
        return wire_retire_encode(&retire);
    case 1:
        return wire_ping_encode(&(struct wire_ping){4});
    default:
        return pick(abuse, 2) == 0 ? wire_list_encode(&list) : wire_explain_encode(&explain);
    }
}

static struct wire_message *some_message(struct abuse *abuse, enum wire_role role) {
    static const enum wire_type of_clients[] = {WIRE_SUBMIT, WIRE_SUBMIT, WIRE_SUBMIT, WIRE_CANCEL};
    static const enum wire_type of_workers[] = {WIRE_RESULTS,  WIRE_RESULTS, WIRE_RESULTS,
                                                WIRE_RETURNED, WIRE_RUNNING, WIRE_CLAIMS};

    if (pick(abuse, 100) == 0) { /* what this role must not say */
        return pick(abuse, 2) == 0 ? some_batch(abuse, WIRE_SUBMIT) : some_death(abuse);
    }
    if (pick(abuse, 300) == 0) {
        return wire_plain_encode(pick(abuse, 2) == 0 ? WIRE_BYE : WIRE_DRAIN);
    }
    switch (role) {
    case WIRE_CLIENT:
        return pick(abuse, 10) == 0 ? some_define(abuse)
                                    : some_batch(abuse, of_clients[pick(abuse, 4)]);
    case WIRE_WORKER:
        return some_batch(abuse, of_workers[pick(abuse, 6)]);
    case WIRE_ADMIN:
        return some_question(abuse);
    case WIRE_SUPERVISOR:
        break;
    }
    return some_death(abuse);
}

/* Changes some bytes of a message's header, from `first` on. */
static void spoil(struct abuse *abuse, struct wire_message *message, size_t first) {
    struct wire_blob *header = message->frames[0];

    for (uint64_t i = 1 + pick(abuse, 3); i > 0 && header->size > first; i--) {
        header->data[first + pick(abuse, header->size - first)] = (uint8_t)pick(abuse, 256);
    }
}

static void remember_leases(struct abuse *abuse) {
    for (int i = CLIENTS; i < CLIENTS + WORKERS; i++) {
        struct peer *worker = abuse->peers[i];

        while (look(worker, WIRE_RUN) != NULL) {
            abuse->leases[abuse->lease_count++ % LEASES] = take(worker, WIRE_RUN)->values[0];
        }
    }
    world_forget(abuse->world);
}

static void speak(struct abuse *abuse, struct peer *peer) {
    struct wire_message *message;

    if (!peer->welcomed || peer->unknowns > 0 || pick(abuse, 2000) == 0) {
        peer->unknowns = 0;
        if (pick(abuse, 4) == 0) {
            peer->epoch = pick(abuse, 3);
        }
        peer_hello(peer);
        return;
    }
    message = some_message(abuse, peer->role);
    assert_non_null(message);
    if (pick(abuse, 40) == 0) {
        spoil(abuse, message, 0); /* outside of the stream, which would stand still otherwise */
        peer_raw(peer, message);
        return;
    }
    if (pick(abuse, 4) == 0) {
        spoil(abuse, message, ENVELOPE_BYTES);
    }
    if (peer->role == WIRE_ADMIN) {
        peer_mark(peer, message);
        return;
    }
    peer_post(peer, message);
}

static void anything_may_be_said_at_any_time(void **state) {
    struct abuse abuse = {.world = *state};
    struct world *world = *state;
    struct broker_stats stats;

    base_rng_init(&abuse.rng, 20240229);
    world->config.tasks_max = 200;
    world->config.silence_ns = 3 * WORLD_S;
    world->config.settle_ns = 20 * WORLD_MS;
    world->config.no_function_ns = 50 * WORLD_MS;
    world_begin(world);
    for (int i = 0; i < PEERS; i++) {
        abuse.peers[i] = peer_new(world, i < CLIENTS             ? WIRE_CLIENT
                                         : i < CLIENTS + WORKERS ? WIRE_WORKER
                                         : i == PEERS - 1        ? WIRE_ADMIN
                                                                 : WIRE_SUPERVISOR);
        abuse.peers[i]->slots = 1 + (uint32_t)i % 3;
        abuse.peers[i]->functions = i % 2 == 0 ? "f g" : "g h";
        abuse.peers[i]->tags = i % 3 == 0 ? "tag" : "";
    }
    for (int round = 0; round < ROUNDS; round++) {
        speak(&abuse, abuse.peers[pick(&abuse, PEERS)]);
        if (pick(&abuse, 4) == 0) {
            world_pass(world, pick(&abuse, 3) * WORLD_MS / 2 + 1);
            remember_leases(&abuse);
        }
    }
    stats = world_stats(world);
    assert_true(stats.rejected > ROUNDS / 20);
    assert_true(stats.submitted > 1000 && stats.finished > 100 && stats.failed > 100);
    assert_true(stats.cancelled > 10 && stats.reruns > 10 && stats.stale_results > 100);
    /* It still does its work. */
    world_pass(world, 20 * WORLD_S);
    struct peer *client = client_join(world), *worker = worker_join(world, 4, "sane", "");

    define_plain(client, 0, "sane");
    submit_many(client, 0, 0, 3);
    world_flush(world);
    assert_int_equal(finish_all(worker, 1000), 3);
    world_flush(world);
    assert_int_equal(waiting(client, WIRE_OUTCOMES), 3);
    for (int i = 0; i < PEERS; i++) { /* and forgets those who say nothing */
        abuse.peers[i]->mute = true;
    }
    peer_post(client, wire_plain_encode(WIRE_BYE));
    world_pass(world, 20 * WORLD_S);
    stats = world_stats(world);
    assert_int_equal(stats.clients + stats.supervisors + stats.admins, 0);
    assert_int_equal(stats.tasks_queued + stats.tasks_leased, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(anything_may_be_said_at_any_time, world_make, world_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
