/* The broker runs out of memory at every point of a story in turn: nothing is lost, and the story
 * ends as it should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/broker_world.h"
#include "tests/unit/fail_alloc.h"

#include <cmocka.h>

/* Which allocation of which step fails. */
struct plan {
    uint32_t step;  /* counted from 0 */
    long nth;       /* allocation in it */
    bool all;       /* and all further ones of that step */
    uint32_t steps; /* so far */
    bool failed;
};

static void around(struct world *world, bool before) {
    struct plan *plan = world->user;

    if (!before) {
        plan->failed = plan->failed || fail_alloc_failed();
        fail_alloc_never();
        return;
    }
    if (plan->steps++ != plan->step) {
        return;
    }
    if (plan->all) {
        fail_alloc_after(plan->nth);
    } else {
        fail_alloc_only(plan->nth);
    }
}

/* HELLO until it is welcomed. */
static void arrive(struct peer *peer) {
    for (int i = 0; i < 5 && !peer->welcomed; i++) {
        peer_hello(peer);
    }
    assert_true(peer->welcomed);
    if (peer->role == WIRE_WORKER) {
        claim_nothing(peer);
    }
}

/* Time for what was not done to be done: resending waits for heartbeats. */
static void settle(struct world *world) {
    world_pass(world, 3 * WORLD_S);
}

static struct peer *newcomer(struct world *world, enum wire_role role, uint32_t slots) {
    struct peer *peer = peer_new(world, role);

    peer->slots = slots;
    arrive(peer);
    return peer;
}

/* Works off what a worker gets until the client has so many outcomes. */
static void work(struct world *world, struct peer *client, struct peer *worker, uint32_t outcomes) {
    for (int i = 0; i < 20 && waiting(client, WIRE_OUTCOMES) < outcomes; i++) {
        settle(world);
        finish_all(worker, 1000);
    }
    assert_int_equal(waiting(client, WIRE_OUTCOMES), outcomes);
    forget_all(client);
}

/* Every kind of message, one after the other. */
static void story(struct world *world) {
    struct peer *client, *worker, *other, *supervisor;
    struct wire_define options = define_of(1, "g");
    uint8_t *large = calloc(1, 100000);
    uint64_t lease;

    world_begin(world);
    client = newcomer(world, WIRE_CLIENT, 0);
    supervisor = newcomer(world, WIRE_SUPERVISOR, 0);
    define_plain(client, 0, "f");
    options.queue_ms = 3600000;
    options.retries = 1;
    options.tag_count = 0;
    define(client, &options);
    submit_many(client, 0, 0, 5);
    submit(client, 1, 10);
    submit_as(client, 0, 11, 1, false, large, 100);
    submit_as(client, 0, 12, 1, false, large, 100000);
    worker = newcomer(world, WIRE_WORKER, 10);
    work(world, client, worker, 8);

    submit(client, 1, 20); /* fails once, and is tried again */
    settle(world);
    give_result(worker, expect_run(worker, 20), WIRE_KIND_ERROR, 1000);
    work(world, client, worker, 1);

    submit(client, 0, 30); /* cancelled at the worker */
    settle(world);
    lease = expect_run(worker, 30);
    cancel(client, 30);
    settle(world);
    take_for(worker, WIRE_RECALL, lease);
    give_back(worker, lease, true);
    settle(world);
    if (look(client, WIRE_OUTCOMES) != NULL) {
        expect_outcome(client, 30, WIRE_KIND_CANCELLED);
    } else {
        expect_verdict(client, 30, true);
    }

    submit(client, 0, 40); /* its worker dies */
    settle(world);
    say_running(worker, look(worker, WIRE_RUN)->values[0]);
    lease = expect_run(worker, 40);
    child_died(supervisor, worker, 9, false, &lease, 1);
    settle(world);
    worker->mute = true;
    other = newcomer(world, WIRE_WORKER, 2);
    work(world, client, other, 1);
    assert_int_equal(world_stats(world).tasks_queued + world_stats(world).tasks_leased, 0);
    free(large);
}

static bool run_story(struct plan plan, uint32_t *steps) {
    struct world *world;
    void *state;

    assert_int_equal(world_make(&state), 0);
    world = state;
    world->around = around;
    world->user = &plan;
    story(world);
    world_free(&state);
    *steps = plan.steps;
    return plan.failed;
}

static void sweep(bool all) {
    uint32_t steps, ignored, failures = 0;

    run_story((struct plan){.step = UINT32_MAX}, &steps);
    for (uint32_t step = 0; step < steps; step++) {
        for (long nth = 0; run_story((struct plan){step, nth, all, 0, false}, &ignored); nth++) {
            failures++;
        }
    }
    assert_true(failures > 100);
}

static void any_one_allocation_may_fail(void **state) {
    (void)state;
    sweep(false);
}

static void all_allocations_of_a_step_may_fail(void **state) {
    (void)state;
    sweep(true);
}

/* The same for a broker that comes back: claims, and results for them. */
static void comeback(struct world *world) {
    struct peer *client, *worker;

    world_begin(world);
    client = newcomer(world, WIRE_CLIENT, 0);
    worker = newcomer(world, WIRE_WORKER, 4);
    client->epoch = worker->epoch = 1; /* they were with another */
    client->welcomed = worker->welcomed = false;
    arrive(client);
    for (int i = 0; i < 5 && !worker->welcomed; i++) {
        peer_hello(worker);
    }
    assert_true(worker->welcomed);
    define_plain(client, 0, "f");
    submit_as(client, 0, 1, 1, true, "x", 1);
    submit_as(client, 0, 2, 1, true, "x", 1);
    claim(worker, false, client, 71, 1, 1);
    claim(worker, false, client, 73, 3, 1);
    claim(worker, true, client, 74, 4, 1);
    give_value(worker, 73, "early", 5);
    submit_as(client, 0, 3, 1, true, "x", 1);
    submit_as(client, 0, 4, 1, true, "x", 1);
    settle(world);
    give_value(worker, 71, "v", 1);
    give_value(worker, 74, "v", 1);
    work(world, client, worker, 4);
}

static void a_comeback_survives_any_failure(void **state) {
    uint32_t failures = 0;
    bool failed;

    (void)state;
    for (uint32_t step = 0; step < 200; step++) {
        long nth = 0;

        do {
            struct plan plan = {step, nth++, false, 0, false};
            struct world *world;
            void *made;

            assert_int_equal(world_make(&made), 0);
            world = made;
            world->around = around;
            world->user = &plan;
            comeback(world);
            world_free(&made);
            failed = plan.failed;
            failures += failed;
        } while (failed);
    }
    assert_true(failures > 20);
}

/* ------------------------------------------------------------- giving it back */

/* What the core holds for records, counted. */
struct counted {
    struct base_memory memory;
    size_t bytes, taken;
};

static void *counted_take(struct base_memory *memory, size_t bytes) {
    struct counted *counted = BASE_CONTAINER_OF(memory, struct counted, memory);

    counted->bytes += bytes;
    counted->taken += bytes;
    return malloc(bytes);
}

static void counted_give(struct base_memory *memory, void *piece, size_t bytes) {
    struct counted *counted = BASE_CONTAINER_OF(memory, struct counted, memory);

    counted->bytes -= bytes;
    free(piece);
}

enum { WAVE = 30000 };

static struct peer *counted_begin(struct world *world, struct counted *counted) {
    struct peer *client;

    *counted = (struct counted){.memory = {counted_take, counted_give}};
    world->config.memory = &counted->memory;
    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    return client;
}

/* Queues many, lets some time go by, and cancels them all. */
static void wave(struct peer *client, uint64_t first, uint64_t ns) {
    for (uint64_t id = first; id < first + WAVE; id += WAVE / 10) { /* within its credit */
        submit_many(client, 0, id, WAVE / 10);
        world_flush(client->world);
    }
    world_pass(client->world, ns);
    for (uint64_t id = first; id < first + WAVE; id++) {
        cancel(client, id);
    }
    world_flush(client->world);
    world_forget(client->world);
    assert_int_equal(world_stats(client->world).tasks_queued, 0);
}

static void an_idle_broker_gives_a_queues_memory_back_within_a_second(void **state) {
    struct world *world = *state;
    struct counted counted;
    struct peer *client = counted_begin(world, &counted);

    wave(client, 0, 10 * WORLD_S);
    assert_true(counted.bytes > (size_t)WAVE * 64);
    world_pass(world, 1001 * WORLD_MS);
    assert_int_equal(counted.bytes, 0);
    assert_null(broker_check(world->core));
    world_free(state);
    *state = NULL;
}

static void waves_find_the_memory_of_the_last_one(void **state) {
    struct world *world = *state;
    struct counted counted;
    struct peer *client = counted_begin(world, &counted);
    size_t taken;

    wave(client, 0, WORLD_MS);
    taken = counted.taken;
    for (uint64_t i = 1; i < 30; i++) {
        wave(client, i * (UINT64_C(1) << 32), 150 * WORLD_MS);
    }
    assert_int_equal(counted.taken, taken);
    world_free(state);
    *state = NULL;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_one_allocation_may_fail),
        cmocka_unit_test(all_allocations_of_a_step_may_fail),
        cmocka_unit_test(a_comeback_survives_any_failure),
        cmocka_unit_test_setup(an_idle_broker_gives_a_queues_memory_back_within_a_second,
                               world_make),
        cmocka_unit_test_setup(waves_find_the_memory_of_the_last_one, world_make),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
