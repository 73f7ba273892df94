/* Whole clusters in virtual time, whose network loses, holds back and repeats, and whose clients and
 * workers fall silent. What holds in every run is checked at every step by tests/sim/model.c. */
#include "tests/sim/scenario.h"

static void what_a_broken_connection_loses_is_not_run_again(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 4);

    (void)state;
    for (int i = 0; i < 2000; i++) {
        sim_submit(sim, client, .work_us = 1000);
    }
    for (int i = 0; i < 10; i++) {
        sim_run_for(sim, 37 * SIM_MS);
        sim_break(sim, i % 2 == 0 ? SIM_WORKER : SIM_CLIENT, i % 2 == 0 ? worker : client);
    }
    finish_tasks(sim);
    assert_true(sim_counts(sim)->resumed >= 10);
    for (uint64_t i = 0; i < 2000; i++) {
        assert_value(sim_task_at(sim, i));
        assert_int_equal(sim_task_at(sim, i)->starts, 1);
    }
    finish(sim);
}

static void a_lost_message_is_found_by_the_next_heartbeat(void **state) {
    static const struct {
        enum wire_type type;
        bool to_broker;
    } lost[] = {
        {WIRE_SUBMIT, true},
        {WIRE_RUN, false},
        {WIRE_RESULTS, true},
        {WIRE_OUTCOMES, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof lost / sizeof lost[0]; i++) {
        struct sim *sim = scenario(SEED);
        uint32_t client = sim_add_client(sim);
        struct sim_task *task;

        sim_add_worker(sim, 1);
        sim_run_for(sim, 100 * SIM_MS);
        sim_lose_next(sim, lost[i].type, lost[i].to_broker);
        task = sim_submit(sim, client, .work_us = 1000);
        finish_tasks(sim);
        assert_value(task);
        assert_int_equal(task->starts, 1);
        assert_in_range(task->resolved_ns - task->submitted_ns, 500 * SIM_MS, 2500 * SIM_MS);
        finish(sim);
    }
}

static void a_short_partition_costs_nothing_but_time(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 2);

    (void)state;
    for (int i = 0; i < 20; i++) {
        sim_submit(sim, client, .work_us = 200000);
    }
    sim_run_for(sim, 300 * SIM_MS);
    sim_cut(sim, SIM_WORKER, worker, true, true);
    sim_run_for(sim, 5 * SIM_SECOND);
    sim_heal(sim, SIM_WORKER, worker);
    finish_tasks(sim);
    for (uint64_t i = 0; i < 20; i++) {
        assert_value(sim_task_at(sim, i));
        assert_int_equal(sim_task_at(sim, i)->starts, 1);
    }
    finish(sim);
}

static void a_late_result_of_the_first_attempt_is_dropped(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);
    struct sim_task *task = sim_submit(sim, client, .work_us = 15000000);

    (void)state;
    sim_run_for(sim, SIM_SECOND);
    assert_int_equal(task->running, 1);
    sim_add_worker(sim, 1);
    sim_cut(sim, SIM_WORKER, worker, true, true);
    sim_run_for(sim, 15 * SIM_SECOND);
    assert_int_equal(task->starts, 2); /* the first has ended by now, unheard */
    assert_int_equal(task->running, 1);
    sim_heal(sim, SIM_WORKER, worker);
    sim_run_for(sim, 5 * SIM_SECOND);
    assert_int_equal(task->state, SIM_PENDING);
    finish_tasks(sim);
    assert_value(task);
    assert_true(task->resolved_ns >= task->started_ns + 15 * SIM_SECOND);
    assert_true(task->last_worker != worker);
    finish(sim);
}

static void a_stopped_worker_that_goes_on_is_fenced(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);
    struct sim_task *task = sim_submit(sim, client, .work_us = 3000000);

    (void)state;
    sim_run_for(sim, SIM_SECOND);
    sim_pause(sim, SIM_WORKER, worker);
    sim_add_worker(sim, 1);
    sim_run_for(sim, 12 * SIM_SECOND);
    assert_int_equal(task->starts, 2);
    sim_resume(sim, SIM_WORKER, worker);
    finish_tasks(sim);
    assert_value(task);
    sim_submit(sim, client, .work_us = 1000);
    finish(sim);
}

static void a_stopped_worker_is_not_asked_again_and_again(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);
    uint64_t recalls;

    (void)state;
    for (int i = 0; i < 2000; i++) {
        sim_submit(sim, client, .work_us = 20);
    }
    for (int i = 0; i < 20; i++) {
        sim_submit(sim, client, .work_us = 100000);
    }
    for (int i = 0; i < 1000 && sim_task_at(sim, 2000)->starts == 0; i++) {
        sim_run_for(sim, SIM_MS);
    }
    assert_true(sim_worker_waiting(sim, worker) > 0);
    sim_pause(sim, SIM_WORKER, worker);
    sim_add_worker(sim, 1);
    recalls = sim_counts(sim)->recalls;
    sim_run_for(sim, 5 * SIM_SECOND);
    assert_in_range(sim_counts(sim)->recalls - recalls, 1, 6);
    sim_resume(sim, SIM_WORKER, worker);
    finish_tasks(sim);
    finish(sim);
}

static void a_client_cut_off_for_long_submits_again(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);

    (void)state;
    sim_add_worker(sim, 1);
    for (int i = 0; i < 50; i++) {
        sim_submit(sim, client, .work_us = 400000);
    }
    sim_run_for(sim, SIM_SECOND);
    sim_cut(sim, SIM_CLIENT, client, true, true);
    sim_run_for(sim, 15 * SIM_SECOND);
    assert_int_equal(sim_broker_stats(sim).tasks_queued, 0);
    sim_heal(sim, SIM_CLIENT, client);
    finish_tasks(sim);
    for (uint64_t i = 0; i < 50; i++) {
        assert_value(sim_task_at(sim, i));
    }
    assert_true(sim_counts(sim)->resent > 0);
    finish(sim);
}

static void a_client_that_dies_leaves_nothing_behind(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t other = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 2);
    struct sim_task *running = sim_submit(sim, client, .work_us = 60000000);

    (void)state;
    for (int i = 0; i < 50; i++) {
        sim_submit(sim, client, .work_us = 1000000);
    }
    sim_run_for(sim, 300 * SIM_MS);
    assert_int_equal(running->running, 1);
    sim_kill_client(sim, client);
    sim_run_for(sim, 12 * SIM_SECOND);
    assert_int_equal(sim_worker_running(sim, worker), 0);
    assert_int_equal(sim_broker_stats(sim).clients, 1);
    sim_submit(sim, other, .work_us = 1000);
    finish(sim);
}

static void a_client_that_leaves_is_gone_at_once(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);

    (void)state;
    sim_add_worker(sim, 1);
    sim_submit(sim, client, .work_us = 1000);
    finish_tasks(sim);
    sim_leave_client(sim, client);
    sim_run_for(sim, 200 * SIM_MS);
    assert_false(sim_client_alive(sim, client));
    assert_int_equal(sim_broker_stats(sim).clients, 0);
    finish(sim);
}

static void repeated_and_reordered_messages_change_nothing(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sim_options options;
        struct sim *sim;
        uint32_t client;

        sim_options_default(&options, seed);
        options.duplicate = 0.1;
        options.reorder = 0.1;
        sim = sim_new_with(&options);
        client = sim_add_client(sim);
        sim_add_worker(sim, 2);
        sim_add_worker(sim, 2);
        for (int i = 0; i < 200; i++) {
            sim_submit(sim, client, .work_us = 3000);
            sim_run_for(sim, SIM_MS);
        }
        finish_tasks(sim);
        for (uint64_t i = 0; i < 200; i++) {
            assert_value(sim_task_at(sim, i));
        }
        finish(sim);
    }
}

/* A megabyte takes a second here, four times as long as anybody may be silent. It is announced, so all
 * wait for it; and it crosses once, either way. */
static void a_payload_that_takes_longer_than_silence_arrives(void **state) {
    struct sim_options options;
    struct sim *sim;
    struct sim_task *task;
    uint32_t client;

    (void)state;
    sim_options_default(&options, SEED);
    options.broker.heartbeat_ns = 50 * SIM_MS;
    options.broker.silence_ns = 250 * SIM_MS;
    options.rate = 1100 << 10;
    sim = sim_new_with(&options);
    client = sim_add_client(sim);
    sim_add_worker(sim, 1);
    sim_run_for(sim, SIM_SECOND);
    task = sim_submit(sim, client, .work_us = 1000, .argument_bytes = 1 << 20,
                      .result_bytes = 1 << 20);
    finish_tasks(sim);
    assert_value(task);
    assert_int_equal(task->starts, 1);
    assert_in_range(task->resolved_ns - task->submitted_ns, 3500 * SIM_MS, 5 * SIM_SECOND);
    assert_int_equal(sim_counts(sim)->announced, 4);
    assert_int_equal(sim_counts(sim)->outlasted, 4);
    assert_int_equal(sim_counts(sim)->forgotten, 0);
    finish(sim);
}

/* Who has announced a large message and then dies is missed later, but not for ever. */
static void a_machine_that_dies_while_it_sends_is_noticed(void **state) {
    struct sim_options options;
    struct sim *sim;
    struct sim_task *task;
    uint32_t client, worker;
    uint64_t died_ns;

    (void)state;
    sim_options_default(&options, SEED);
    options.broker.silence_ns = 2 * SIM_SECOND;
    options.broker.heartbeat_ns = 500 * SIM_MS;
    options.rate = 1100 << 10;
    sim = sim_new_with(&options);
    client = sim_add_client(sim);
    worker = sim_add_worker(sim, 1);
    task = sim_submit(sim, client, .work_us = 1000000, .result_bytes = 4 << 20);
    sim_run_for(sim, 2 * SIM_SECOND); /* the result is on its way */
    assert_int_equal(task->starts, 1);
    sim_options(sim)->survive = 0; /* what is under way is lost, but for what has arrived */
    sim_kill_machine(sim, sim_worker_supervisor(sim, worker));
    died_ns = sim_now(sim);
    sim_add_worker(sim, 1);
    finish_tasks(sim);
    assert_value(task);
    assert_int_equal(task->starts, 2);
    assert_in_range(task->started_ns - died_ns, 2 * SIM_SECOND, 6500 * SIM_MS);
    finish(sim);
}

/* The worker that has room gets it in the end; a worker that has none loses nothing else. */
static void a_payload_without_room_at_a_worker_runs_elsewhere_or_fails(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *large, *small[20];

    (void)state;
    sim_add_worker_with(sim, .slots = 2, .room_bytes = 500000);
    sim_run_for(sim, SIM_SECOND);
    for (int i = 0; i < 20; i++) {
        small[i] = sim_submit(sim, client, .work_us = 1000);
    }
    large = sim_submit(sim, client, .work_us = 1000, .argument_bytes = 600000, .max_attempts = 3);
    finish_tasks(sim);
    assert_kind(large, WIRE_KIND_LOST);
    assert_non_null(strstr(large->text, "lost after 3 attempts"));
    assert_non_null(strstr(large->text, "had no memory to receive 600"));
    assert_int_equal(large->starts, 0);
    assert_true(large->resolved_ns - large->submitted_ns < 2 * SIM_SECOND);
    for (int i = 0; i < 20; i++) {
        assert_value(small[i]);
        assert_int_equal(small[i]->starts, 1);
    }
    large =
        sim_submit(sim, client, .work_us = 1000, .argument_bytes = 600000, .max_attempts = 1000);
    sim_run_for(sim, 500 * SIM_MS);
    sim_add_worker(sim, 1);
    finish_tasks(sim);
    assert_value(large);
    finish(sim);
}

static void a_value_without_room_at_its_client_fails_alone(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *large, *small;

    (void)state;
    sim_limit_room(sim, SIM_CLIENT, client, 500000);
    sim_add_worker(sim, 1);
    large = sim_submit(sim, client, .work_us = 1000, .result_bytes = 600000);
    small = sim_submit(sim, client, .work_us = 1000, .result_bytes = 300000);
    finish_tasks(sim);
    assert_kind(large, WIRE_KIND_BROKEN);
    assert_non_null(strstr(large->text, "the client has no memory to receive its value"));
    assert_value(small);
    assert_int_equal(large->starts, 1);
    finish(sim);
}

/* The first task is all that the broker has memory for, and its client gives it up without hearing that
 * it runs. Then nobody wants it, and what the client sends next must not be refused for it. */
static void tasks_behind_a_large_one_that_was_given_up_are_taken(void **state) {
    struct sim_options options;
    struct sim *sim;
    struct sim_task *given_up, *large, *small;
    uint32_t client;

    (void)state;
    sim_options_default(&options, SEED);
    options.broker.memory_bytes = 1 << 20;
    sim = sim_new_with(&options);
    client = sim_add_client(sim);
    sim_add_worker(sim, 1);
    sim_run_for(sim, SIM_SECOND);
    given_up =
        sim_submit(sim, client, .work_us = 600000000, .argument_bytes = 1200000, .queue_ms = 2000);
    sim_cut(sim, SIM_CLIENT, client, false, true);
    sim_run_for(sim, 15 * SIM_SECOND);
    assert_kind(given_up, WIRE_KIND_DEADLINE);
    assert_int_equal(given_up->running, 1);
    sim_heal(sim, SIM_CLIENT, client);
    sim_run_for(sim, 5 * SIM_SECOND);
    large = sim_submit(sim, client, .work_us = 1000, .argument_bytes = 1200000);
    small = sim_submit(sim, client, .work_us = 1000);
    finish_tasks(sim);
    assert_value(large);
    assert_value(small);
    assert_true(large->resolved_ns - large->submitted_ns < SIM_SECOND);
    assert_int_equal(given_up->running, 0);
    assert_int_equal(sim_counts(sim)->rejects, 0);
    finish(sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_broken_connection_loses_is_not_run_again),
        cmocka_unit_test(a_lost_message_is_found_by_the_next_heartbeat),
        cmocka_unit_test(a_short_partition_costs_nothing_but_time),
        cmocka_unit_test(a_late_result_of_the_first_attempt_is_dropped),
        cmocka_unit_test(a_stopped_worker_that_goes_on_is_fenced),
        cmocka_unit_test(a_stopped_worker_is_not_asked_again_and_again),
        cmocka_unit_test(a_client_cut_off_for_long_submits_again),
        cmocka_unit_test(a_client_that_dies_leaves_nothing_behind),
        cmocka_unit_test(a_client_that_leaves_is_gone_at_once),
        cmocka_unit_test(repeated_and_reordered_messages_change_nothing),
        cmocka_unit_test(a_payload_that_takes_longer_than_silence_arrives),
        cmocka_unit_test(a_machine_that_dies_while_it_sends_is_noticed),
        cmocka_unit_test(a_payload_without_room_at_a_worker_runs_elsewhere_or_fails),
        cmocka_unit_test(a_value_without_room_at_its_client_fails_alone),
        cmocka_unit_test(tasks_behind_a_large_one_that_was_given_up_are_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
