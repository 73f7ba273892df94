/* A broker that is killed and restarted: who runs what is put together again from what workers claim
 * and clients submit (docs/protocol.md section 7). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/broker_world.h"

#include <cmocka.h>

/* A client and a worker that were with an earlier broker, in which task 1 had lease 77. */
struct stage {
    struct peer *client, *worker;
};

static struct stage begin(struct world *world, uint32_t slots) {
    struct stage stage;

    world_begin(world);
    stage.client = client_join(world);
    stage.worker = worker_join(world, slots, "f", "");
    world_restart(world);
    return stage;
}

static void client_returns(struct peer *client, uint32_t flags) {
    struct wire_define options = define_of(0, "f");

    options.flags = flags;
    peer_hello(client);
    assert_true(client->welcomed);
    assert_false(client->resumed);
    define(client, &options);
}

static void worker_returns(struct peer *worker) {
    peer_hello(worker);
    assert_true(worker->welcomed);
    assert_false(worker->resumed);
}

static void a_claim_before_the_task_leaves_it_where_it_runs(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 2);

    worker_returns(stage.worker);
    claim(stage.worker, true, stage.client, 77, 1, 1);
    client_returns(stage.client, 0);
    submit_as(stage.client, 0, 1, 1, true, "x", 1);
    world_pass(world, 2 * world->config.settle_ns);
    assert_null(look(stage.worker, WIRE_RUN));
    assert_null(look(stage.worker, WIRE_INTERRUPT));
    assert_int_equal(world_stats(world).tasks_leased, 1);
    give_value(stage.worker, 77, "v", 1);
    world_flush(world);
    expect_outcome(stage.client, 1, WIRE_KIND_VALUE);
    assert_int_equal(world_stats(world).tasks_leased, 0);
}

static void a_task_before_its_claim_waits_for_it(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 2);

    client_returns(stage.client, 0);
    submit_as(stage.client, 0, 1, 1, true, "x", 1);
    worker_returns(stage.worker);
    claim(stage.worker, true, stage.client, 77, 1, 1);
    world_pass(world, 2 * world->config.settle_ns);
    assert_null(look(stage.worker, WIRE_RUN));
    give_value(stage.worker, 77, "v", 1);
    world_flush(world);
    expect_outcome(stage.client, 1, WIRE_KIND_VALUE);
}

static void what_nobody_claims_is_queued_after_the_settling_time(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 2);

    client_returns(stage.client, 0);
    submit_as(stage.client, 0, 1, 1, true, "x", 1);
    worker_returns(stage.worker);
    claim_nothing(stage.worker);
    world_pass(world, world->config.settle_ns - 50 * WORLD_MS);
    assert_null(look(stage.worker, WIRE_RUN));
    world_pass(world, 100 * WORLD_MS);
    expect_run(stage.worker, 1);
}

static void new_tasks_do_not_wait_for_the_settling_time(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 2);

    client_returns(stage.client, 0);
    worker_returns(stage.worker);
    claim_nothing(stage.worker);
    submit(stage.client, 0, 2);
    world_flush(world);
    expect_run(stage.worker, 2);
}

static void a_worker_gets_nothing_before_it_has_said_what_it_has(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 1);

    client_returns(stage.client, 0);
    worker_returns(stage.worker);
    submit(stage.client, 0, 2);
    world_flush(world);
    assert_null(look(stage.worker, WIRE_RUN));
    claim(stage.worker, true, stage.client, 77, 1, 1);
    world_flush(world);
    assert_null(look(stage.worker, WIRE_RUN)); /* its only thread is taken */
    submit_as(stage.client, 0, 1, 1, true, "x", 1);
    give_value(stage.worker, 77, "v", 1);
    world_flush(world);
    expect_run(stage.worker, 2);
}

static void a_result_before_its_task_is_kept_for_it(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 1);
    uint8_t *large = calloc(1, 200000);

    worker_returns(stage.worker);
    claim(stage.worker, false, stage.client, 77, 1, 1);
    claim(stage.worker, true, stage.client, 78, 2, 1);
    give_value(stage.worker, 77, "early", 5);
    give_value(stage.worker, 78, large, 200000);
    world_flush(world);
    assert_true(world_stats(world).memory_bytes >= 200000);
    client_returns(stage.client, 0);
    submit_as(stage.client, 0, 1, 1, true, "x", 1);
    submit_as(stage.client, 0, 2, 1, true, "x", 1);
    world_flush(world);
    assert_memory_equal(expect_outcome(stage.client, 1, WIRE_KIND_VALUE)->data, "early", 5);
    assert_int_equal(expect_outcome(stage.client, 2, WIRE_KIND_VALUE)->size, 200000);
    assert_null(look(stage.worker, WIRE_RUN));
    free(large);
}

static void at_most_once_survives_with_a_claim_and_is_lost_without(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 2);

    client_returns(stage.client, ONCE);
    submit_as(stage.client, 0, 1, 1, true, "x", 1);
    submit_as(stage.client, 0, 2, 1, true, "x", 1);
    worker_returns(stage.worker);
    claim(stage.worker, true, stage.client, 77, 1, 1);
    world_pass(world, 2 * world->config.settle_ns);
    expect_error(stage.client, 2, WIRE_KIND_LOST, "lost");
    give_value(stage.worker, 77, "v", 1);
    world_flush(world);
    expect_outcome(stage.client, 1, WIRE_KIND_VALUE);
}

static void the_higher_attempt_wins_whichever_comes_first(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 1);
    struct peer *second = peer_new(world, WIRE_WORKER);

    second->epoch = 1;
    worker_returns(stage.worker);
    claim(stage.worker, true, stage.client, 77, 1, 1);
    client_returns(stage.client, 0);
    submit_as(stage.client, 0, 1, 1, true, "x", 1);
    world_flush(world);
    worker_returns(second);
    claim(second, true, stage.client, 88, 1, 2);
    world_flush(world);
    take_for(stage.worker, WIRE_INTERRUPT, 77);
    give_value(stage.worker, 77, "old", 3);
    world_flush(world);
    assert_null(look(stage.client, WIRE_OUTCOMES));
    give_value(second, 88, "new", 3);
    world_flush(world);
    assert_memory_equal(expect_outcome(stage.client, 1, WIRE_KIND_VALUE)->data, "new", 3);
    assert_int_equal(world_stats(world).stale_results, 1);
}

static void a_claim_of_an_older_attempt_is_interrupted(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 1);

    client_returns(stage.client, 0);
    submit_as(stage.client, 0, 1, 3, true, "x", 1);
    worker_returns(stage.worker);
    claim(stage.worker, true, stage.client, 77, 1, 2);
    world_flush(world);
    take_for(stage.worker, WIRE_INTERRUPT, 77);
    world_pass(world, 2 * world->config.settle_ns);
    assert_int_equal(look(stage.worker, WIRE_RUN)->values[2], 3);
}

static void a_claim_that_nobody_asks_for_is_given_up(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 1);

    worker_returns(stage.worker);
    claim(stage.worker, true, stage.client, 77, 1, 1);
    world_pass(world, world->config.settle_ns + world->config.silence_ns - WORLD_S);
    assert_null(look(stage.worker, WIRE_INTERRUPT));
    world_pass(world, 2 * WORLD_S);
    take_for(stage.worker, WIRE_INTERRUPT, 77);
    give_value(stage.worker, 77, "v", 1);
    assert_int_equal(world_stats(world).stale_results, 1);
    assert_int_equal(world_stats(world).memory_bytes, 0);
}

static void claims_of_a_worker_that_dies_are_forgotten(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 1);
    struct peer *supervisor;
    uint64_t lease = 77;

    worker_returns(stage.worker);
    claim(stage.worker, true, stage.client, 77, 1, 1);
    supervisor = supervisor_join(world);
    child_died(supervisor, stage.worker, 9, false, &lease, 1);
    world_pass(world, 50 * WORLD_MS);
    assert_int_equal(world_stats(world).workers, 0);
    client_returns(stage.client, 0);
    submit_as(stage.client, 0, 1, 1, true, "x", 1);
    world_pass(world, 2 * world->config.settle_ns);
    assert_int_equal(world_stats(world).tasks_queued, 1);
}

static void a_claimed_task_whose_worker_dies_is_charged(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 1);
    struct peer *supervisor, *other;
    uint64_t lease = 77;

    worker_returns(stage.worker);
    claim(stage.worker, true, stage.client, 77, 1, 1);
    client_returns(stage.client, 0);
    submit_as(stage.client, 0, 1, 1, true, "x", 1);
    supervisor = supervisor_join(world);
    child_died(supervisor, stage.worker, 9, false, &lease, 1);
    other = worker_join(world, 1, "f", "");
    world_flush(world);
    assert_int_equal(take(other, WIRE_RUN)->values[2], 2);
}

static void cancel_while_settling_waits_for_the_claim(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 2);

    client_returns(stage.client, 0);
    submit_as(stage.client, 0, 1, 1, true, "x", 1);
    submit_as(stage.client, 0, 2, 1, true, "x", 1);
    cancel(stage.client, 1);
    cancel(stage.client, 2);
    world_flush(world);
    assert_null(look(stage.client, WIRE_VERDICTS));
    worker_returns(stage.worker);
    claim(stage.worker, true, stage.client, 77, 1, 1);
    world_flush(world);
    take_for(stage.worker, WIRE_RECALL, 77);
    give_back(stage.worker, 77, false);
    world_pass(world, 2 * world->config.settle_ns);
    expect_verdict(stage.client, 1, false);
    expect_verdict(stage.client, 2, true);
}

/* The session is known, but its stream is not: nothing of what runs is lost. */
static void a_worker_that_registers_anew_in_the_same_epoch_keeps_its_leases(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint64_t first, second;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 2, "f", "");
    define_plain(client, 0, "f");
    submit_many(client, 0, 1, 2);
    world_flush(world);
    first = expect_run(worker, 1);
    second = expect_run(worker, 2);
    worker->epoch = 0;
    worker_returns(worker);
    claim(worker, true, client, first, 1, 1); /* the second never reached it */
    world_flush(world);
    assert_int_not_equal(expect_run(worker, 2), second);
    give_value(worker, first, "v", 1);
    world_flush(world);
    expect_outcome(client, 1, WIRE_KIND_VALUE);
    assert_int_equal(world_stats(world).reruns, 0);
}

/* What was confirmed once says nothing about a later lease. */
static void a_lease_that_never_arrived_is_given_again_however_often(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint64_t lease;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    worker = peer_new(world, WIRE_WORKER);
    submit(client, 0, 1);
    peer_hello(worker);
    world_flush(world);
    lease = expect_run(worker, 1);
    claim(worker, true, client, lease, 1,
          1); /* it had the task before it could say that it has none */
    for (int i = 0; i < 3; i++) {
        give_back(worker, lease, true);
        world_flush(world);
        expect_run(worker, 1);
        worker->epoch = 0;
        worker_returns(worker);
        claim_nothing(worker); /* the RUN was lost */
        world_flush(world);
        lease = expect_run(worker, 1);
    }
    give_value(worker, lease, "v", 1);
    world_flush(world);
    expect_outcome(client, 1, WIRE_KIND_VALUE);
}

static void a_claim_of_a_queued_task_is_taken_even_after_settling(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 1);

    client_returns(stage.client, 0);
    submit_as(stage.client, 0, 1, 1, true, "x", 1);
    world_pass(world, 2 * world->config.settle_ns);
    assert_int_equal(world_stats(world).tasks_queued, 1);
    worker_returns(stage.worker);
    claim(stage.worker, true, stage.client, 77, 1, 1);
    world_flush(world);
    assert_null(look(stage.worker, WIRE_RUN));
    give_value(stage.worker, 77, "v", 1);
    world_flush(world);
    expect_outcome(stage.client, 1, WIRE_KIND_VALUE);
}

static void more_claims_than_a_worker_may_hold_are_refused(void **state) {
    struct world *world = *state;
    struct stage stage = begin(world, 1);
    const uint64_t key[] = {1, 2}, not_final = 0;
    struct wire_writer *writer = wire_writer_new(WIRE_CLAIMS);

    worker_returns(stage.worker);
    for (uint64_t id = 0; id < 10000; id++) {
        const uint64_t entry[] = {1000000 + id, id, 1};

        if (wire_writer_put(writer, key, entry, NULL, 0, NULL) == WIRE_PUT_FULL) {
            peer_post(stage.worker, wire_writer_finish(writer, &not_final));
        }
    }
    peer_post(stage.worker, wire_writer_finish(writer, &not_final));
    wire_writer_free(writer);
    assert_int_equal(stage.worker->reject_code, WIRE_REJECT_LIMIT);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_free)
    const struct CMUnitTest tests[] = {
        TEST(a_claim_before_the_task_leaves_it_where_it_runs),
        TEST(a_task_before_its_claim_waits_for_it),
        TEST(what_nobody_claims_is_queued_after_the_settling_time),
        TEST(new_tasks_do_not_wait_for_the_settling_time),
        TEST(a_worker_gets_nothing_before_it_has_said_what_it_has),
        TEST(a_result_before_its_task_is_kept_for_it),
        TEST(at_most_once_survives_with_a_claim_and_is_lost_without),
        TEST(the_higher_attempt_wins_whichever_comes_first),
        TEST(a_claim_of_an_older_attempt_is_interrupted),
        TEST(a_claim_that_nobody_asks_for_is_given_up),
        TEST(claims_of_a_worker_that_dies_are_forgotten),
        TEST(a_claimed_task_whose_worker_dies_is_charged),
        TEST(cancel_while_settling_waits_for_the_claim),
        TEST(a_worker_that_registers_anew_in_the_same_epoch_keeps_its_leases),
        TEST(a_lease_that_never_arrived_is_given_again_however_often),
        TEST(a_claim_of_a_queued_task_is_taken_even_after_settling),
        TEST(more_claims_than_a_worker_may_hold_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
