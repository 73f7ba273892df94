/* Deaths, silence, restarts: docs/protocol.md section 7. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/broker_world.h"

#include <cmocka.h>

static uint32_t attempt_of(struct peer *worker) {
    const struct got *run = look(worker, WIRE_RUN);

    assert_non_null(run);
    return (uint32_t)run->values[2];
}

/* ---------------------------------------------------------------- CHILD_DIED */

static void the_task_that_killed_its_worker_runs_again_with_the_next_attempt(void **state) {
    struct world *world = *state;
    struct peer *client, *worker, *other, *supervisor;
    uint64_t lease;

    world_begin(world);
    client = client_join(world);
    supervisor = supervisor_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    world_flush(world);
    assert_int_equal(attempt_of(worker), 1);
    lease = expect_run(worker, 1);
    child_died(supervisor, worker, 11, false, &lease, 1);
    other = worker_join(world, 1, "f", "");
    world_flush(world);
    assert_int_equal(attempt_of(other), 2);
    assert_int_not_equal(expect_run(other, 1), lease);
    world_pass(world, 50 * WORLD_MS);
    assert_int_equal(world_stats(world).workers, 1);
    assert_int_equal(world_stats(world).reruns, 1);
}

static void after_its_last_attempt_a_task_fails_with_its_history(void **state) {
    struct world *world = *state;
    struct peer *client, *supervisor;

    world_begin(world);
    client = client_join(world);
    supervisor = supervisor_join(world);
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    for (uint32_t attempt = 1; attempt <= 3; attempt++) {
        struct peer *worker = worker_join(world, 1, "f", "");
        uint64_t lease;

        world_flush(world);
        assert_int_equal(attempt_of(worker), attempt);
        lease = expect_run(worker, 1);
        child_died(supervisor, worker, 9 + attempt, false, &lease, 1);
        world_flush(world);
    }
    {
        const struct got *outcome = look(client, WIRE_OUTCOMES);
        struct wire_error error;

        assert_non_null(outcome);
        assert_true(wire_error_decode(outcome->data, outcome->size, &error));
        assert_int_equal(error.attempt, 3);
        assert_int_equal(error.signal, 12);
        assert_int_equal(error.function.size, 1);
    }
    expect_error(client, 1, WIRE_KIND_LOST,
                 "lost after 3 attempts: attempt 1: worker killed by signal 10, pid ");
    assert_int_equal(world_stats(world).tasks_queued, 0);
}

static void what_waited_beside_it_is_queued_again_uncharged(void **state) {
    struct world *world = *state;
    struct peer *client, *worker, *other, *supervisor;
    uint64_t leases[8];

    world_begin(world);
    client = client_join(world);
    supervisor = supervisor_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    for (uint64_t i = 0; i < 8; i++) { /* short tasks: credit ahead */
        submit(client, 0, 100 + i);
        world_flush(world);
        finish_all(worker, 1000);
    }
    submit_many(client, 0, 0, 8);
    world_flush(world);
    for (uint64_t id = 0; id < 8; id++) {
        leases[id] = expect_run(worker, id);
    }
    child_died(supervisor, worker, 9, false, &leases[0], 1);
    world_pass(world, world->config.child_grace_ns + WORLD_MS);
    other = worker_join(world, 8, "f", "");
    world_flush(world);
    for (uint64_t id = 1; id < 8; id++) { /* in their order; the guilty one behind them */
        const struct got *run = take(other, WIRE_RUN);

        assert_int_equal(run->values[1], id);
        assert_int_equal(run->values[2], 1);
    }
    assert_int_equal(attempt_of(other), 2);
    expect_run(other, 0);
}

static void results_that_were_on_their_way_still_count(void **state) {
    struct world *world = *state;
    struct peer *client, *worker, *supervisor;
    uint64_t leases[2];

    world_begin(world);
    client = client_join(world);
    supervisor = supervisor_join(world);
    worker = worker_join(world, 2, "f", "");
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 2);
    world_flush(world);
    leases[0] = expect_run(worker, 0);
    leases[1] = expect_run(worker, 1);
    child_died(supervisor, worker, 9, false, &leases[0], 1);
    world_pass(world, world->config.child_grace_ns / 2);
    give_value(worker, leases[1], "v", 1);
    give_value(worker, leases[0], "v", 1); /* it ran when the worker died: not to be believed */
    world_pass(world, world->config.child_grace_ns);
    expect_outcome(client, 1, WIRE_KIND_VALUE);
    assert_null(look(client, WIRE_OUTCOMES));
    assert_int_equal(world_stats(world).stale_results, 1);
    assert_int_equal(world_stats(world).tasks_queued, 1);
}

static void an_expected_death_charges_nobody(void **state) {
    struct world *world = *state;
    struct peer *client, *supervisor;

    world_begin(world);
    client = client_join(world);
    supervisor = supervisor_join(world);
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    for (int i = 0; i < 10; i++) {
        struct peer *worker = worker_join(world, 1, "f", "");
        uint64_t lease;

        world_flush(world);
        assert_int_equal(attempt_of(worker), 1);
        lease = expect_run(worker, 1);
        child_died(supervisor, worker, 15, true, &lease, 1);
        world_flush(world);
    }
    assert_null(look(client, WIRE_OUTCOMES));
}

static void the_death_of_a_worker_nobody_knows_changes_nothing(void **state) {
    struct world *world = *state;
    struct peer *supervisor, *stranger = peer_new(world, WIRE_WORKER);
    uint64_t lease = 12345;

    world_begin(world);
    supervisor = supervisor_join(world);
    child_died(supervisor, stranger, 9, false, &lease, 1);
    assert_int_equal(supervisor->rejects, 0);
}

/* ------------------------------------------------------------------- suspects */

static void suspects_run_again_alone_and_uncharged(void **state) {
    struct world *world = *state;
    struct peer *client, *worker, *other, *supervisor;
    uint64_t leases[3];

    world_begin(world);
    client = client_join(world);
    supervisor = supervisor_join(world);
    worker = worker_join(world, 3, "f", "");
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 3);
    world_flush(world);
    for (uint64_t id = 0; id < 3; id++) {
        leases[id] = expect_run(worker, id);
    }
    child_died(supervisor, worker, 9, false, leases, 3);
    world_pass(world, 20 * WORLD_MS);
    submit_many(client, 0, 10, 3);
    other = worker_join(world, 3, "f", "");
    for (int i = 0; i < 3; i++) {
        world_flush(world);
        assert_int_equal(waiting(other, WIRE_RUN), 1); /* and nothing beside it */
        assert_int_equal(attempt_of(other), 1);
        assert_true(look(other, WIRE_RUN)->values[1] < 3);
        finish_all(other, WORLD_S);
    }
    world_flush(world);
    assert_int_equal(waiting(other, WIRE_RUN), 3);
    assert_int_equal(waiting(client, WIRE_OUTCOMES), 3);
}

static void only_the_poison_among_innocents_is_lost(void **state) {
    struct world *world = *state;
    struct peer *client, *supervisor, *worker;
    uint64_t leases[4];

    world_begin(world);
    client = client_join(world);
    supervisor = supervisor_join(world);
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 4); /* 2 kills whoever runs it */
    worker = worker_join(world, 4, "f", "");
    world_flush(world);
    for (uint64_t id = 0; id < 4; id++) {
        leases[id] = expect_run(worker, id);
    }
    child_died(supervisor, worker, 11, false, leases, 4);
    worker = worker_join(world, 4, "f", "");
    for (int i = 0; i < 20 && waiting(client, WIRE_OUTCOMES) < 4; i++) {
        const struct got *run;

        world_pass(world, 20 * WORLD_MS);
        run = look(worker, WIRE_RUN);
        if (run != NULL && run->values[1] == 2) {
            leases[0] = take(worker, WIRE_RUN)->values[0];
            child_died(supervisor, worker, 11, false, leases, 1);
            worker = worker_join(world, 4, "f", "");
        } else {
            finish_all(worker, WORLD_S);
        }
    }
    expect_error(client, 2, WIRE_KIND_LOST, "lost after 3 attempts");
    expect_outcome(client, 0, WIRE_KIND_VALUE);
    expect_outcome(client, 1, WIRE_KIND_VALUE);
    expect_outcome(client, 3, WIRE_KIND_VALUE);
}

static void a_worker_is_emptied_for_a_suspect(void **state) {
    struct world *world = *state;
    struct peer *client, *busy, *worker, *supervisor;
    uint64_t leases[2], long_one;

    world_begin(world);
    client = client_join(world);
    supervisor = supervisor_join(world);
    define_plain(client, 0, "f");
    worker = worker_join(world, 2, "f", "");
    submit_many(client, 0, 0, 2);
    world_flush(world);
    leases[0] = expect_run(worker, 0);
    leases[1] = expect_run(worker, 1);
    busy = worker_join(world, 2, "f", "");
    submit_many(client, 0, 10, 100);
    world_flush(world);
    assert_int_equal(waiting(busy, WIRE_RUN), 2);
    child_died(supervisor, worker, 9, false, leases, 2);
    world_flush(world);
    take(busy, WIRE_RECALL);
    long_one = expect_run(busy, 11);
    finish_all(busy, WORLD_S);
    world_flush(world);
    assert_null(look(busy, WIRE_RUN)); /* it is not empty yet */
    give_value(busy, long_one, "", 0);
    world_flush(world);
    assert_int_equal(waiting(busy, WIRE_RUN), 1);
    assert_true(look(busy, WIRE_RUN)->values[1] < 2);
    finish_all(busy, WORLD_S);
    world_flush(world);
    finish_all(busy, WORLD_S);
    world_flush(world);
    assert_int_equal(waiting(busy, WIRE_RUN), 2); /* the others' work goes on */
}

/* -------------------------------------------------------------------- silence */

static void a_silent_workers_tasks_are_charged_and_run_elsewhere(void **state) {
    struct world *world = *state;
    struct peer *client, *silent, *other;

    world_begin(world);
    client = client_join(world);
    silent = worker_join(world, 2, "f", "");
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 2);
    world_flush(world);
    silent->mute = true;
    world_pass(world, 12 * WORLD_S);
    assert_int_equal(world_stats(world).workers, 0);
    other = worker_join(world, 2, "f", "");
    world_flush(world);
    assert_int_equal(attempt_of(other), 2);
    assert_int_equal(waiting(other, WIRE_RUN), 2);
    give_value(silent, take(silent, WIRE_RUN)->values[0], "late", 4);
    assert_int_equal(silent->unknowns, 1);
    world_flush(world);
    assert_null(look(client, WIRE_OUTCOMES));
}

static void a_late_result_of_an_older_attempt_is_dropped(void **state) {
    struct world *world = *state;
    struct peer *client, *silent, *other;
    uint64_t old_lease, lease;

    world_begin(world);
    client = client_join(world);
    silent = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    world_flush(world);
    old_lease = expect_run(silent, 1);
    silent->mute = true;
    world_pass(world, 12 * WORLD_S);
    other = worker_join(world, 1, "f", "");
    world_flush(world);
    lease = expect_run(other, 1);
    /* It comes back: a new stream, the same epoch. */
    silent->mute = false;
    peer_hello(silent);
    assert_false(silent->resumed);
    claim(silent, true, client, old_lease, 1, 1);
    world_flush(world);
    take_for(silent, WIRE_INTERRUPT, old_lease);
    give_value(silent, old_lease, "old", 3);
    world_flush(world);
    assert_null(look(client, WIRE_OUTCOMES));
    assert_int_equal(world_stats(world).stale_results, 1);
    give_value(other, lease, "new", 3);
    world_flush(world);
    assert_memory_equal(expect_outcome(client, 1, WIRE_KIND_VALUE)->data, "new", 3);
}

static void a_worker_that_leaves_charges_nobody(void **state) {
    struct world *world = *state;
    struct peer *client, *worker, *other;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 2, "f", "");
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 2);
    world_flush(world);
    peer_post(worker, wire_plain_encode(WIRE_BYE));
    other = worker_join(world, 2, "f", "");
    world_flush(world);
    assert_int_equal(attempt_of(other), 1);
    assert_int_equal(waiting(other, WIRE_RUN), 2);
}

/* ---------------------------------------------------------------- at most once */

static struct peer *once_client(struct world *world) {
    struct peer *client = client_join(world);
    struct wire_define options = define_of(0, "f");

    options.flags = WIRE_FLAG_AT_MOST_ONCE;
    define(client, &options);
    return client;
}

static void at_most_once_is_lost_at_the_first_death(void **state) {
    struct world *world = *state;
    struct peer *client, *worker, *supervisor;
    uint64_t lease;

    world_begin(world);
    client = once_client(world);
    supervisor = supervisor_join(world);
    worker = worker_join(world, 1, "f", "");
    submit(client, 0, 1);
    world_flush(world);
    lease = expect_run(worker, 1);
    child_died(supervisor, worker, 9, false, &lease, 1);
    world_flush(world);
    expect_error(client, 1, WIRE_KIND_LOST, "lost after 1 attempt: ");
}

static void at_most_once_is_lost_with_a_silent_worker(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = once_client(world);
    worker = worker_join(world, 1, "f", "");
    submit(client, 0, 1);
    world_flush(world);
    worker->mute = true;
    world_pass(world, 12 * WORLD_S);
    expect_error(client, 1, WIRE_KIND_LOST, "silent");
}

/* Gives a worker with one slot three tasks: one runs, two wait. */
static void lease_three(struct peer *client, struct peer *worker, uint64_t *leases) {
    struct world *world = client->world;

    for (uint64_t i = 0; i < 8; i++) {
        submit(client, 0, 100 + i);
        world_flush(world);
        finish_all(worker, 1000);
    }
    submit_many(client, 0, 0, 3);
    world_flush(world);
    for (uint64_t id = 0; id < 3; id++) {
        leases[id] = expect_run(worker, id);
    }
    forget_all(client);
}

static void at_most_once_runs_later_if_it_had_certainly_not_begun(void **state) {
    struct world *world = *state;
    struct peer *client, *worker, *supervisor, *other;
    uint64_t leases[3];

    world_begin(world);
    client = once_client(world);
    supervisor = supervisor_join(world);
    worker = worker_join(world, 1, "f", "");
    lease_three(client, worker, leases);
    child_died(supervisor, worker, 9, false, &leases[0], 1);
    world_pass(world, 20 * WORLD_MS);
    world_flush(world);
    expect_outcome(client, 0, WIRE_KIND_LOST);
    other = worker_join(world, 2, "f", "");
    world_flush(world);
    expect_run(other, 1);
    expect_run(other, 2);
}

static void at_most_once_is_lost_if_it_may_have_run(void **state) {
    struct world *world = *state;
    struct peer *client, *worker, *supervisor;
    uint64_t leases[3];

    world_begin(world);
    client = once_client(world);
    supervisor = supervisor_join(world);
    worker = worker_join(world, 1, "f", "");
    lease_three(client, worker, leases);
    child_died(supervisor, worker, 9, false, &leases[1], 1); /* 0 is done, its value lost */
    world_pass(world, 20 * WORLD_MS);
    expect_outcome(client, 0, WIRE_KIND_LOST);
    expect_outcome(client, 1, WIRE_KIND_LOST);
    assert_null(look(client, WIRE_OUTCOMES));
    assert_int_equal(world_stats(world).tasks_queued, 1);
}

/* It may have gone ahead of the other client's, and be done, its value lost. */
static void at_most_once_is_lost_if_it_may_have_gone_ahead(void **state) {
    struct world *world = *state;
    struct peer *client, *guest, *worker, *supervisor;
    uint64_t leases[3];

    world_begin(world);
    client = once_client(world);
    guest = once_client(world);
    supervisor = supervisor_join(world);
    worker = worker_join(world, 1, "f", "");
    lease_three(client, worker, leases);
    submit(guest, 0, 7);
    world_flush(world);
    expect_run(worker, 7);
    child_died(supervisor, worker, 9, false, &leases[0], 1);
    world_pass(world, 20 * WORLD_MS);
    expect_outcome(client, 0, WIRE_KIND_LOST);
    expect_outcome(guest, 7, WIRE_KIND_LOST);
    assert_int_equal(world_stats(world).tasks_queued, 2); /* these had to wait */
}

/* Both of the other client's may have gone ahead of the last of the first one's: one of them still runs,
 * as does that, and the other one is done, its value lost. */
static void at_most_once_is_lost_if_it_may_have_gone_ahead_with_others(void **state) {
    struct world *world = *state;
    struct peer *client, *guest, *worker, *supervisor;
    uint64_t leases[3], running[2];

    world_begin(world);
    client = once_client(world);
    guest = once_client(world);
    supervisor = supervisor_join(world);
    worker = worker_join(world, 2, "f", "");
    lease_three(client, worker, leases);
    submit_many(guest, 0, 7, 2);
    world_flush(world);
    running[0] = leases[2];
    running[1] = expect_run(worker, 7);
    expect_run(worker, 8);
    child_died(supervisor, worker, 9, false, running, 2);
    world_pass(world, 20 * WORLD_MS);
    expect_outcome(guest, 8, WIRE_KIND_LOST);
    assert_int_equal(world_stats(world).tasks_queued, 0);
}

/* -------------------------------------------------------- cancel meets a death */

static void cancel_of_what_waited_at_a_dead_worker_says_yes(void **state) {
    struct world *world = *state;
    struct peer *client, *worker, *supervisor;
    uint64_t leases[3];

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    supervisor = supervisor_join(world);
    worker = worker_join(world, 1, "f", "");
    lease_three(client, worker, leases);
    cancel(client, 2);
    cancel(client, 0);
    child_died(supervisor, worker, 9, false, &leases[0], 1);
    world_pass(world, 20 * WORLD_MS);
    expect_verdict(client, 2, true);
    expect_verdict(client, 0, false);
    assert_int_equal(world_stats(world).tasks_queued, 2);
}

static void cancel_of_a_task_that_has_run_before_says_no(void **state) {
    struct world *world = *state;
    struct peer *client, *worker, *supervisor;
    uint64_t lease;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    supervisor = supervisor_join(world);
    worker = worker_join(world, 1, "f", "");
    submit(client, 0, 1);
    world_flush(world);
    lease = expect_run(worker, 1);
    child_died(supervisor, worker, 9, false, &lease, 1);
    cancel(client, 1);
    world_flush(world);
    expect_verdict(client, 1, false);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_free)
    const struct CMUnitTest tests[] = {
        TEST(the_task_that_killed_its_worker_runs_again_with_the_next_attempt),
        TEST(after_its_last_attempt_a_task_fails_with_its_history),
        TEST(what_waited_beside_it_is_queued_again_uncharged),
        TEST(results_that_were_on_their_way_still_count),
        TEST(an_expected_death_charges_nobody),
        TEST(the_death_of_a_worker_nobody_knows_changes_nothing),
        TEST(suspects_run_again_alone_and_uncharged),
        TEST(only_the_poison_among_innocents_is_lost),
        TEST(a_worker_is_emptied_for_a_suspect),
        TEST(a_silent_workers_tasks_are_charged_and_run_elsewhere),
        TEST(a_late_result_of_an_older_attempt_is_dropped),
        TEST(a_worker_that_leaves_charges_nobody),
        TEST(at_most_once_is_lost_at_the_first_death),
        TEST(at_most_once_is_lost_with_a_silent_worker),
        TEST(at_most_once_runs_later_if_it_had_certainly_not_begun),
        TEST(at_most_once_is_lost_if_it_may_have_run),
        TEST(at_most_once_is_lost_if_it_may_have_gone_ahead),
        TEST(at_most_once_is_lost_if_it_may_have_gone_ahead_with_others),
        TEST(cancel_of_what_waited_at_a_dead_worker_says_yes),
        TEST(cancel_of_a_task_that_has_run_before_says_no),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
