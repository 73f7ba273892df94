/* Whole clusters in virtual time, when nothing fails. What holds in every run is checked at every
 * step by tests/sim/model.c; what is special about one stands here. */
#include "tests/sim/scenario.h"

/* ------------------------------------------------------------- all is well */

static void tasks_flow_through_three_cores(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);

    (void)state;
    sim_add_worker(sim, 2);
    sim_add_worker(sim, 2);
    for (int i = 0; i < 100; i++) {
        sim_submit(sim, client, .work_us = 1000);
    }
    finish_tasks(sim);
    for (uint64_t i = 0; i < 100; i++) {
        assert_value(sim_task_at(sim, i));
        assert_int_equal(sim_task_at(sim, i)->starts, 1);
    }
    assert_true(sim_now(sim) < 2 * SIM_SECOND); /* it began at 1 s */
    finish(sim);
}

static void both_workers_of_a_pair_are_used(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t first = sim_add_worker(sim, 1);
    uint32_t on_first = 0;

    (void)state;
    sim_add_worker(sim, 1);
    for (int i = 0; i < 40; i++) {
        sim_submit(sim, client, .work_us = 50000);
    }
    finish_tasks(sim);
    for (uint64_t i = 0; i < 40; i++) {
        on_first += sim_task_at(sim, i)->first_worker == first ? 1 : 0;
    }
    assert_in_range(on_first, 15, 25);
    finish(sim);
}

static void two_clients_take_fair_turns(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t many = sim_add_client(sim);
    uint32_t few = sim_add_client(sim);
    uint64_t began_ns;

    (void)state;
    sim_add_worker(sim, 2);
    for (int i = 0; i < 5000; i++) {
        sim_submit(sim, many, .work_us = 1000);
    }
    sim_run_for(sim, 200 * SIM_MS);
    began_ns = sim_now(sim);
    for (int i = 0; i < 10; i++) {
        sim_submit(sim, few, .work_us = 1000);
    }
    finish_tasks(sim);
    for (uint64_t i = 5000; i < 5010; i++) {
        assert_true(sim_task_at(sim, i)->resolved_ns < began_ns + 100 * SIM_MS);
    }
    finish(sim);
}

static void higher_priority_goes_first(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *last;
    struct sim_task *urgent;

    (void)state;
    sim_add_worker(sim, 1);
    for (int i = 0; i < 20; i++) {
        last = sim_submit(sim, client, .work_us = 100000);
    }
    sim_run_for(sim, 150 * SIM_MS);
    urgent = sim_submit(sim, client, .work_us = 100000, .priority = 5);
    finish_tasks(sim);
    assert_true(urgent->resolved_ns < last->resolved_ns - SIM_SECOND);
    finish(sim);
}

static void a_tag_leads_to_the_worker_that_has_it(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t tagged;

    (void)state;
    sim_add_worker(sim, 4);
    tagged = sim_add_worker_with(sim, .slots = 1, .tags = {"gpu"});
    for (int i = 0; i < 10; i++) {
        sim_submit(sim, client, .work_us = 20000, .tag = "gpu");
    }
    finish_tasks(sim);
    for (uint64_t i = 0; i < 10; i++) {
        assert_value(sim_task_at(sim, i));
        assert_int_equal(sim_task_at(sim, i)->first_worker, tagged);
    }
    finish(sim);
}

static void what_nobody_offers_fails_after_a_while(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *task;

    (void)state;
    sim_add_worker(sim, 1);
    task = sim_submit(sim, client, .function = "unheard_of");
    finish_tasks(sim);
    assert_kind(task, WIRE_KIND_NO_FUNCTION);
    assert_in_range(task->resolved_ns - task->submitted_ns, 2 * SIM_SECOND, 5 * SIM_SECOND);
    finish(sim);
}

static void without_workers_tasks_wait(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *task = sim_submit(sim, client, .work_us = 1000);

    (void)state;
    sim_run_for(sim, 60 * SIM_SECOND);
    assert_int_equal(task->state, SIM_PENDING);
    sim_add_worker(sim, 1);
    finish_tasks(sim);
    assert_value(task);
    finish(sim);
}

static void large_payloads_arrive_whole(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);

    (void)state;
    sim_add_worker(sim, 2);
    for (uint32_t i = 0; i < 30; i++) {
        sim_submit(sim, client, .work_us = 1000, .argument_bytes = i * 20000,
                   .result_bytes = (30 - i) * 20000);
    }
    finish_tasks(sim);
    for (uint64_t i = 0; i < 30; i++) {
        assert_value(sim_task_at(sim, i));
    }
    finish(sim);
}

static void a_long_task_is_reported_as_running_a_short_one_not(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *brief;
    struct sim_task *lengthy;

    (void)state;
    sim_add_worker(sim, 2);
    brief = sim_submit(sim, client, .work_us = 4000);
    lengthy = sim_submit(sim, client, .work_us = 100000);
    sim_run_for(sim, 80 * SIM_MS);
    assert_true(lengthy->began);
    finish_tasks(sim);
    assert_false(brief->began);
    finish(sim);
}

static void an_error_is_tried_again_as_often_as_asked_for(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *mended;
    struct sim_task *hopeless;
    struct sim_task *once;

    (void)state;
    sim_add_worker(sim, 2);
    mended = sim_submit(sim, client, .error_runs = 2, .retries = 3, .retry_ms = 100);
    hopeless = sim_submit(sim, client, .error_runs = FOREVER, .retries = 2, .retry_ms = 100);
    once = sim_submit(sim, client, .error_runs = 1);
    finish_tasks(sim);
    assert_value(mended);
    assert_int_equal(mended->starts, 3);
    assert_true(mended->resolved_ns - mended->submitted_ns >= 200 * SIM_MS);
    assert_kind(hopeless, WIRE_KIND_ERROR);
    assert_int_equal(hopeless->starts, 3);
    assert_kind(once, WIRE_KIND_ERROR);
    assert_int_equal(once->starts, 1);
    finish(sim);
}

/* ----------------------------------------------------------------- credit */

static void a_full_broker_slows_its_clients_and_drops_nothing(void **state) {
    struct sim_options options;
    struct sim *sim;
    uint32_t a;
    uint32_t b;

    (void)state;
    sim_options_default(&options, SEED);
    options.broker.tasks_max = 10;
    sim = sim_new_with(&options);
    a = sim_add_client(sim);
    b = sim_add_client(sim);
    sim_add_worker(sim, 2);
    for (int i = 0; i < 300; i++) {
        sim_submit(sim, a, .work_us = 2000);
        sim_submit(sim, b, .work_us = 2000);
    }
    finish_tasks(sim);
    for (uint64_t i = 0; i < 600; i++) {
        assert_value(sim_task_at(sim, i));
    }
    finish(sim);
}

static void memory_is_bounded_by_credit_in_bytes(void **state) {
    struct sim_options options;
    struct sim *sim;
    uint32_t client;

    (void)state;
    sim_options_default(&options, SEED);
    options.broker.memory_bytes = 2 << 20;
    sim = sim_new_with(&options);
    client = sim_add_client(sim);
    sim_add_worker(sim, 2);
    for (int i = 0; i < 100; i++) {
        sim_submit(sim, client, .work_us = 2000, .argument_bytes = 200000);
    }
    finish_tasks(sim);
    for (uint64_t i = 0; i < 100; i++) {
        assert_value(sim_task_at(sim, i));
    }
    finish(sim);
}

static void hoarded_tasks_are_recalled_for_an_idle_worker(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint64_t began_ns;

    (void)state;
    sim_add_worker(sim, 1);
    for (int i = 0; i < 2000; i++) {
        sim_submit(sim, client, .work_us = 20); /* short ones: the worker is trusted with many */
    }
    for (int i = 0; i < 40; i++) {
        sim_submit(sim, client, .work_us = 500000);
    }
    sim_run_for(sim, SIM_SECOND);
    sim_add_worker(sim, 1);
    began_ns = sim_now(sim);
    finish_tasks(sim);
    assert_true(sim_counts(sim)->recalled > 0);
    assert_true(sim_now(sim) - began_ns < 14 * SIM_SECOND); /* alone it would take 20 s */
    for (uint64_t i = 0; i < sim_task_count(sim); i++) {
        assert_int_equal(sim_task_at(sim, i)->starts, 1);
    }
    finish(sim);
}

/* ----------------------------------------------------------------- cancel */

static void a_queued_task_can_be_cancelled_a_running_one_not(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *running;
    struct sim_task *queued;

    (void)state;
    sim_add_worker(sim, 1);
    running = sim_submit(sim, client, .work_us = 500000);
    sim_run_for(sim, 100 * SIM_MS);
    queued = sim_submit(sim, client, .work_us = 500000);
    sim_run_for(sim, 10 * SIM_MS);
    sim_cancel(sim, running);
    sim_cancel(sim, queued);
    sim_run_for(sim, 10 * SIM_MS);
    assert_int_equal(queued->state, SIM_CANCELLED);
    assert_int_equal(running->state, SIM_PENDING);
    assert_int_equal(running->cancels_left, 0);
    finish_tasks(sim);
    assert_value(running);
    assert_int_equal(queued->starts, 0);
    finish(sim);
}

static void what_waits_at_a_worker_is_taken_back_by_a_cancel(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);
    uint32_t cancelled = 0;

    (void)state;
    for (int i = 0; i < 2000; i++) {
        sim_submit(sim, client, .work_us = 20);
    }
    for (int i = 0; i < 5; i++) {
        sim_submit(sim, client, .work_us = 300000);
    }
    for (int i = 0; i < 1000 && sim_task_at(sim, 2000)->starts == 0; i++) {
        sim_run_for(sim, SIM_MS);
    }
    assert_true(sim_worker_waiting(sim, worker) > 0);
    for (uint64_t i = 2000; i < 2005; i++) {
        sim_cancel(sim, sim_task_at(sim, i));
    }
    finish_tasks(sim);
    for (uint64_t i = 2000; i < 2005; i++) {
        cancelled += sim_task_at(sim, i)->state == SIM_CANCELLED ? 1 : 0;
    }
    assert_true(cancelled >= 4);
    finish(sim);
}

static void a_cancel_that_races_with_the_start_is_answered_and_kept(void **state) {
    uint32_t cancelled = 0;
    uint32_t started = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim *sim = scenario(seed);
        uint32_t client = sim_add_client(sim);

        sim_add_worker(sim, 1);
        sim_run_for(sim, 100 * SIM_MS);
        for (int i = 0; i < 50; i++) {
            struct sim_task *task = sim_submit(sim, client, .work_us = 600);

            sim_run_for(sim, base_rng_below(sim_rng(sim), 800) * SIM_US);
            sim_cancel(sim, task);
        }
        finish_tasks(sim);
        for (uint64_t i = 0; i < 50; i++) {
            struct sim_task *task = sim_task_at(sim, i);

            assert_int_equal(task->cancels_left, 0);
            if (task->state == SIM_CANCELLED) {
                assert_int_equal(task->starts, 0);
                cancelled++;
            } else {
                assert_value(task);
                started++;
            }
        }
        finish(sim);
    }
    assert_true(cancelled > 100 && started > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_flow_through_three_cores),
        cmocka_unit_test(both_workers_of_a_pair_are_used),
        cmocka_unit_test(two_clients_take_fair_turns),
        cmocka_unit_test(higher_priority_goes_first),
        cmocka_unit_test(a_tag_leads_to_the_worker_that_has_it),
        cmocka_unit_test(what_nobody_offers_fails_after_a_while),
        cmocka_unit_test(without_workers_tasks_wait),
        cmocka_unit_test(large_payloads_arrive_whole),
        cmocka_unit_test(a_long_task_is_reported_as_running_a_short_one_not),
        cmocka_unit_test(an_error_is_tried_again_as_often_as_asked_for),
        cmocka_unit_test(a_full_broker_slows_its_clients_and_drops_nothing),
        cmocka_unit_test(memory_is_bounded_by_credit_in_bytes),
        cmocka_unit_test(hoarded_tasks_are_recalled_for_an_idle_worker),
        cmocka_unit_test(a_queued_task_can_be_cancelled_a_running_one_not),
        cmocka_unit_test(what_waits_at_a_worker_is_taken_back_by_a_cancel),
        cmocka_unit_test(a_cancel_that_races_with_the_start_is_answered_and_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
