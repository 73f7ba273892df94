/* Whole clusters in virtual time, whose broker dies, is stopped or drains. What holds in every run is
 * checked at every step by tests/sim/model.c. */
#include "tests/sim/scenario.h"

static void a_broker_restart_does_not_disturb_what_runs(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);

    (void)state;
    sim_add_worker(sim, 2);
    sim_add_worker(sim, 2);
    for (int i = 0; i < 12; i++) {
        sim_submit(sim, client, .work_us = 2000000);
    }
    sim_run_for(sim, 500 * SIM_MS);
    sim_kill_broker(sim);
    sim_run_for(sim, 100 * SIM_MS);
    sim_start_broker(sim);
    finish_tasks(sim);
    for (uint64_t i = 0; i < 12; i++) {
        assert_value(sim_task_at(sim, i));
        assert_int_equal(sim_task_at(sim, i)->starts, 1);
    }
    assert_true(sim_counts(sim)->claims > 0);
    finish(sim);
}

static void work_flows_again_a_second_after_a_restart(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *task;
    uint64_t started_ns;

    (void)state;
    sim_add_worker(sim, 1);
    sim_run_for(sim, 500 * SIM_MS);
    sim_kill_broker(sim);
    sim_run_for(sim, 3 * SIM_SECOND);
    task = sim_submit(sim, client, .work_us = 1000);
    sim_start_broker(sim);
    started_ns = sim_now(sim);
    finish_tasks(sim);
    assert_value(task);
    assert_true(task->resolved_ns - started_ns < SIM_SECOND);
    finish(sim);
}

static void results_that_a_dead_broker_never_got_reach_the_next_one(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);

    (void)state;
    sim_add_worker(sim, 4);
    for (int i = 0; i < 4; i++) {
        sim_submit(sim, client, .work_us = 500000);
    }
    sim_run_for(sim, 300 * SIM_MS);
    sim_kill_broker(sim);
    sim_run_for(sim, SIM_SECOND); /* they finish while there is no broker */
    sim_start_broker(sim);
    finish_tasks(sim);
    for (uint64_t i = 0; i < 4; i++) {
        assert_value(sim_task_at(sim, i));
        assert_int_equal(sim_task_at(sim, i)->starts, 1);
    }
    finish(sim);
}

static void at_most_once_survives_a_restart_if_its_worker_does(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);
    struct sim_task *kept = sim_submit(sim, client, .work_us = 2000000, .at_most_once = true);
    struct sim_task *lost;

    (void)state;
    sim_run_for(sim, 300 * SIM_MS);
    sim_kill_broker(sim);
    sim_start_broker(sim);
    finish_tasks(sim);
    assert_value(kept);

    lost = sim_submit(sim, client, .work_us = 2000000, .at_most_once = true);
    sim_run_for(sim, 300 * SIM_MS);
    sim_kill_broker(sim);
    sim_kill_worker(sim, worker);
    sim_start_broker(sim);
    finish_tasks(sim);
    assert_kind(lost, WIRE_KIND_LOST);
    assert_int_equal(lost->starts, 1);
    finish(sim);
}

/* A worker may hold leases of the last epoch beside those of this one. */
static void a_new_broker_does_not_give_out_a_lease_that_is_still_held(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct sim *sim = scenario(seed);
        uint32_t holder = sim_add_client(sim);
        uint32_t other = sim_add_client(sim);

        sim_add_worker(sim, 8);
        sim_run_for(sim, 100 * SIM_MS);
        for (int i = 0; i < 4; i++) {
            sim_submit(sim, holder, .work_us = 1500000);
        }
        sim_run_for(sim, 50 * SIM_MS);
        sim_kill_broker(sim);
        sim_start_broker(sim);
        for (int i = 0; i < 4; i++) {
            sim_submit(sim, other, .work_us = 500000);
        }
        finish_tasks(sim);
        for (uint64_t i = 0; i < 8; i++) {
            assert_value(sim_task_at(sim, i));
            assert_int_equal(sim_task_at(sim, i)->starts, 1);
        }
        finish(sim);
    }
}

static void five_restarts_in_a_row_lose_nothing(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);

    (void)state;
    sim_add_worker(sim, 2);
    sim_add_worker(sim, 2);
    for (int i = 0; i < 1000; i++) {
        sim_submit(sim, client, .work_us = 10000);
    }
    for (int i = 0; i < 5; i++) {
        sim_run_for(sim, 400 * SIM_MS);
        sim_kill_broker(sim);
        sim_run_for(sim, 50 * SIM_MS);
        sim_start_broker(sim);
    }
    finish_tasks(sim);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_value(sim_task_at(sim, i));
    }
    finish(sim);
}

static void a_broker_that_was_stopped_for_long_goes_on(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);

    (void)state;
    sim_add_worker(sim, 2);
    for (int i = 0; i < 100; i++) {
        sim_submit(sim, client, .work_us = 100000);
    }
    sim_run_for(sim, SIM_SECOND);
    sim_pause_broker(sim);
    sim_run_for(sim, 25 * SIM_SECOND);
    sim_resume_broker(sim);
    finish_tasks(sim);
    for (uint64_t i = 0; i < 100; i++) {
        assert_value(sim_task_at(sim, i));
    }
    finish(sim);
}

static void a_broker_drains_when_its_tasks_are_done(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 2);

    (void)state;
    for (int i = 0; i < 20; i++) {
        sim_submit(sim, client, .work_us = 100000);
    }
    sim_run_for(sim, 200 * SIM_MS);
    sim_drain_broker(sim);
    finish_tasks(sim);
    sim_run_for(sim, 3 * SIM_SECOND);
    assert_true(sim_broker_drained(sim));
    assert_false(sim_worker_alive(sim, worker));
    for (uint64_t i = 0; i < 20; i++) {
        assert_value(sim_task_at(sim, i));
    }
    finish(sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broker_restart_does_not_disturb_what_runs),
        cmocka_unit_test(work_flows_again_a_second_after_a_restart),
        cmocka_unit_test(results_that_a_dead_broker_never_got_reach_the_next_one),
        cmocka_unit_test(at_most_once_survives_a_restart_if_its_worker_does),
        cmocka_unit_test(a_new_broker_does_not_give_out_a_lease_that_is_still_held),
        cmocka_unit_test(five_restarts_in_a_row_lose_nothing),
        cmocka_unit_test(a_broker_that_was_stopped_for_long_goes_on),
        cmocka_unit_test(a_broker_drains_when_its_tasks_are_done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
