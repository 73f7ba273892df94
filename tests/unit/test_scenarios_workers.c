/* Whole clusters in virtual time, whose workers die, leave, or run a task for too long. What holds in
 * every run is checked at every step by tests/sim/model.c. */
#include "tests/sim/scenario.h"

/* ------------------------------------------------------- a worker goes away */

static void a_task_whose_worker_dies_runs_again(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);
    struct sim_task *task = sim_submit(sim, client, .work_us = 500000);

    (void)state;
    sim_run_for(sim, 300 * SIM_MS);
    assert_int_equal(task->running, 1);
    sim_kill_worker(sim, worker);
    finish_tasks(sim);
    assert_value(task);
    assert_int_equal(task->starts, 2);
    assert_int_equal(task->deaths, 1);
    assert_true(task->last_worker != worker);
    assert_true(task->resolved_ns < SIM_SECOND + 900 * SIM_MS); /* it began at 1 s */
    finish(sim);
}

static void the_rerun_begins_within_50_ms(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);
    struct sim_task *task = sim_submit(sim, client, .work_us = 500000);
    uint64_t killed_ns;

    (void)state;
    sim_run_for(sim, 300 * SIM_MS);
    sim_add_worker(sim, 1);
    sim_run_for(sim, 50 * SIM_MS);
    killed_ns = sim_now(sim);
    sim_kill_worker(sim, worker);
    finish_tasks(sim);
    assert_int_equal(task->starts, 2);
    assert_true(task->started_ns - killed_ns < 50 * SIM_MS);
    finish(sim);
}

static void what_waited_at_a_dead_worker_runs_uncharged(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);

    (void)state;
    for (int i = 0; i < 1000; i++) {
        sim_submit(sim, client, .work_us = 20);
    }
    for (int i = 0; i < 5; i++) {
        sim_submit(sim, client, .work_us = 100000, .max_attempts = 1);
    }
    for (int i = 0; i < 1000 && sim_task_at(sim, 1000)->starts == 0; i++) {
        sim_run_for(sim, SIM_MS);
    }
    assert_true(sim_worker_waiting(sim, worker) > 0);
    sim_kill_worker(sim, worker);
    finish_tasks(sim);
    assert_kind(sim_task_at(sim, 1000), WIRE_KIND_LOST); /* it ran, and had one attempt */
    for (uint64_t i = 1001; i < 1005; i++) {
        assert_value(sim_task_at(sim, i));
        assert_int_equal(sim_task_at(sim, i)->starts, 1);
    }
    finish(sim);
}

static void max_attempts_ends_with_the_history(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *task;

    (void)state;
    sim_add_worker(sim, 2);
    task = sim_submit(sim, client, .work_us = 10000, .crash_runs = FOREVER);
    finish_tasks(sim);
    assert_kind(task, WIRE_KIND_LOST);
    assert_int_equal(task->starts, 3);
    assert_int_equal(task->attempt, 3);
    assert_non_null(strstr(task->text, "signal 11"));
    assert_non_null(strstr(task->text, "worker-host"));
    finish(sim);
}

static void a_poison_task_does_not_take_innocents_with_it(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *innocents[9];
    struct sim_task *poison = NULL;

    (void)state;
    sim_add_worker(sim, 4);
    sim_add_worker(sim, 4);
    for (int i = 0; i < 9; i++) {
        if (i == 4) {
            poison = sim_submit(sim, client, .work_us = 50000, .crash_runs = FOREVER);
        }
        innocents[i] = sim_submit(sim, client, .work_us = 200000, .max_attempts = 1);
    }
    finish_tasks(sim);
    assert_kind(poison, WIRE_KIND_LOST);
    assert_in_range(poison->deaths, 3, 4);
    for (int i = 0; i < 9; i++) {
        assert_value(innocents[i]);
    }
    finish(sim);
}

static void a_worker_that_is_stopped_on_purpose_charges_nobody(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);
    struct sim_task *task = sim_submit(sim, client, .work_us = 500000, .max_attempts = 1);

    (void)state;
    for (int i = 0; i < 3; i++) {
        sim_run_for(sim, 300 * SIM_MS);
        assert_int_equal(task->running, 1);
        sim_stop_worker(sim, task->last_worker);
    }
    finish_tasks(sim);
    assert_value(task);
    assert_int_equal(task->starts, 4);
    assert_true(task->last_worker != worker);
    finish(sim);
}

static void at_most_once_is_lost_rather_than_run_again(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);
    struct sim_task *task = sim_submit(sim, client, .work_us = 500000, .at_most_once = true);

    (void)state;
    sim_run_for(sim, 300 * SIM_MS);
    sim_kill_worker(sim, worker);
    finish_tasks(sim);
    assert_kind(task, WIRE_KIND_LOST);
    assert_int_equal(task->starts, 1);
    finish(sim);
}

static void at_most_once_that_was_not_begun_runs_elsewhere(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);
    struct sim_task *first;
    struct sim_task *second;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        sim_submit(sim, client, .work_us = 20);
    }
    first = sim_submit(sim, client, .work_us = 100000, .at_most_once = true);
    second = sim_submit(sim, client, .work_us = 100000, .at_most_once = true);
    for (int i = 0; i < 1000 && first->starts == 0; i++) {
        sim_run_for(sim, SIM_MS);
    }
    assert_int_equal(sim_worker_waiting(sim, worker), 1);
    sim_kill_worker(sim, worker);
    finish_tasks(sim);
    assert_kind(first, WIRE_KIND_LOST);
    assert_value(second);
    finish(sim);
}

/* A worker gives back what it has not begun, and dies before that is known. Elsewhere it runs, and its
 * result is lost with that worker: what was true of the first one is not true of the second. */
static void what_was_given_back_unbegun_may_have_begun_elsewhere(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);
    struct sim_task *running;
    struct sim_task *waiting;

    (void)state;
    sim_run_for(sim, 100 * SIM_MS);
    for (int i = 0; i < 1000; i++) {
        sim_submit(sim, client, .work_us = 20);
    }
    running = sim_submit(sim, client, .work_us = 500000);
    waiting = sim_submit(sim, client, .work_us = 1000, .at_most_once = true);
    for (int i = 0; i < 1000 && running->starts == 0; i++) {
        sim_run_for(sim, SIM_MS);
    }
    assert_int_equal(sim_worker_waiting(sim, worker), 1);
    sim_slow(sim, SIM_WORKER, worker, 5 * SIM_MS);
    sim_drain_worker(sim, worker);
    sim_run_for(sim, 10 * SIM_US);
    sim_kill_worker(sim, worker);
    sim_options(sim)->survive = 0;
    for (int i = 0; i < 100000 && (waiting->starts == 0 || waiting->running > 0); i++) {
        sim_run_for(sim, 10 * SIM_US);
    }
    sim_kill_worker(sim, waiting->last_worker);
    finish_tasks(sim);
    assert_kind(waiting, WIRE_KIND_LOST);
    assert_int_equal(waiting->starts, 1);
    assert_value(running);
    finish(sim);
}

static void a_machine_that_falls_silent_is_noticed(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);
    struct sim_task *task = sim_submit(sim, client, .work_us = 500000);
    uint64_t died_ns;

    (void)state;
    sim_run_for(sim, 300 * SIM_MS);
    died_ns = sim_now(sim);
    sim_kill_machine(sim, sim_worker_supervisor(sim, worker));
    sim_add_worker(sim, 1);
    finish_tasks(sim);
    assert_value(task);
    assert_int_equal(task->starts, 2);
    assert_in_range(task->started_ns - died_ns, 9 * SIM_SECOND, 12 * SIM_SECOND);
    finish(sim);
}

static void a_worker_that_drains_finishes_what_it_has(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 2);

    (void)state;
    for (int i = 0; i < 20; i++) {
        sim_submit(sim, client, .work_us = 100000, .max_attempts = 1);
    }
    sim_run_for(sim, 250 * SIM_MS);
    sim_add_worker(sim, 1);
    sim_drain_worker(sim, worker);
    sim_run_for(sim, 300 * SIM_MS);
    assert_false(sim_worker_alive(sim, worker));
    finish_tasks(sim);
    for (uint64_t i = 0; i < 20; i++) {
        assert_value(sim_task_at(sim, i));
        assert_int_equal(sim_task_at(sim, i)->starts, 1);
    }
    finish(sim);
}

static void a_worker_retires_after_its_number_of_tasks(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker_with(sim, .slots = 1, .tasks_max = 5);

    (void)state;
    for (int i = 0; i < 23; i++) {
        sim_submit(sim, client, .work_us = 20000, .max_attempts = 1);
    }
    finish_tasks(sim);
    for (uint64_t i = 0; i < 23; i++) {
        assert_value(sim_task_at(sim, i));
        assert_int_equal(sim_task_at(sim, i)->starts, 1);
    }
    assert_false(sim_worker_alive(sim, worker));
    assert_in_range(sim_worker_count(sim), 5, 6);
    finish(sim);
}

/* ------------------------------------------------------------------ limits */

static void a_task_that_waits_too_long_fails(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *late;

    (void)state;
    sim_add_worker(sim, 1);
    sim_submit(sim, client, .work_us = 2000000);
    late = sim_submit(sim, client, .work_us = 1000, .queue_ms = 300);
    finish_tasks(sim);
    assert_kind(late, WIRE_KIND_DEADLINE);
    assert_int_equal(late->starts, 0);
    assert_in_range(late->resolved_ns - late->submitted_ns, 290 * SIM_MS, 400 * SIM_MS);
    finish(sim);
}

/* A broker that is full holds it up at the client for most of its time; what is left is the broker's. */
static void the_wait_at_the_client_counts_as_waiting(void **state) {
    struct sim_options options;
    struct sim *sim;
    struct sim_task *late;
    uint32_t client;

    (void)state;
    sim_options_default(&options, SEED);
    options.broker.tasks_max = 1;
    sim = sim_new_with(&options);
    client = sim_add_client(sim);
    sim_add_worker(sim, 1);
    sim_run_for(sim, SIM_SECOND);
    sim_submit(sim, client, .work_us = 600000);
    sim_run_for(sim, 50 * SIM_MS);
    sim_submit(sim, client, .work_us = 10000000, .tag = NULL);
    late = sim_submit(sim, client, .work_us = 1000, .queue_ms = 1000);
    finish_tasks(sim);
    assert_kind(late, WIRE_KIND_DEADLINE);
    assert_in_range(late->resolved_ns - late->submitted_ns, 990 * SIM_MS, 1100 * SIM_MS);
    finish(sim);
}

static void the_wait_at_a_worker_counts_as_waiting(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    uint32_t worker = sim_add_worker(sim, 1);

    (void)state;
    for (int i = 0; i < 2000; i++) {
        sim_submit(sim, client, .work_us = 20);
    }
    for (int i = 0; i < 6; i++) {
        sim_submit(sim, client, .work_us = 300000, .queue_ms = 700);
    }
    for (int i = 0; i < 1000 && sim_task_at(sim, 2000)->starts == 0; i++) {
        sim_run_for(sim, SIM_MS);
    }
    assert_true(sim_worker_waiting(sim, worker) > 3);
    finish_tasks(sim);
    for (uint64_t i = 2000; i < 2006; i++) {
        struct sim_task *task = sim_task_at(sim, i);

        if (i < 2003) { /* begun after 0, 300 and 600 ms */
            assert_value(task);
        } else {
            assert_kind(task, WIRE_KIND_DEADLINE);
            assert_int_equal(task->starts, 0);
            assert_in_range(task->resolved_ns - task->submitted_ns, 690 * SIM_MS, 900 * SIM_MS);
        }
    }
    finish(sim);
}

static void a_task_that_runs_too_long_is_told(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *slow;

    (void)state;
    sim_add_worker(sim, 1);
    slow = sim_submit(sim, client, .work_us = 60000000, .run_ms = 200);
    finish_tasks(sim);
    assert_kind(slow, WIRE_KIND_DEADLINE);
    assert_int_equal(slow->deaths, 0);
    assert_in_range(slow->resolved_ns - slow->started_ns, 190 * SIM_MS, 300 * SIM_MS);
    finish(sim);
}

static void a_task_that_does_not_listen_loses_its_process(void **state) {
    struct sim *sim = scenario(SEED);
    uint32_t client = sim_add_client(sim);
    struct sim_task *deaf;
    struct sim_task *neighbour;

    (void)state;
    sim_add_worker(sim, 2);
    deaf = sim_submit(sim, client, .work_us = 60000000, .run_ms = 200, .deaf = true);
    neighbour = sim_submit(sim, client, .work_us = 3000000, .max_attempts = 1);
    finish_tasks(sim);
    assert_kind(deaf, WIRE_KIND_DEADLINE);
    assert_int_equal(deaf->starts, 1);
    assert_value(neighbour);
    assert_int_equal(neighbour->starts, 2);
    finish(sim);
}

/* ------------------------------------------------------ tasks of mixed lengths */

#define MIXED_TASKS   3000
#define MIXED_WORKERS 4
#define MIXED_DELAY   (50 * SIM_US)
/* Of four messages, and the moments that what has come waits for what comes with it. */
#define MIXED_ROUND_TRIP (4 * MIXED_DELAY + 4 * SIM_US)

/* Bounded Pareto between 1 us and 1 s with shape 1/2: half are shorter than 4 us, the mean is 1 ms. */
static uint64_t mixed_us(struct base_rng *rng) {
    double u = (double)(base_rng_next(rng) >> 11) * 0x1p-53, root = 1 - u * (1 - 1e-3);

    return (uint64_t)(1 / (root * root));
}

static int by_start(const void *a, const void *b) {
    const struct sim_task *x = *(const struct sim_task *const *)a;
    const struct sim_task *y = *(const struct sim_task *const *)b;

    return (x->started_ns > y->started_ns) - (x->started_ns < y->started_ns);
}

/* The longest that a worker had nothing to run, after its first task and before the last of all began. */
static uint64_t longest_gap_ns(struct sim *sim) {
    uint64_t ended_ns[MIXED_WORKERS] = {0}, longest_ns = 0, count = sim_task_count(sim);
    struct sim_task **tasks = calloc(count, sizeof(struct sim_task *));

    assert_non_null(tasks);
    for (uint64_t i = 0; i < count; i++) {
        tasks[i] = sim_task_at(sim, i);
        assert_value(tasks[i]);
        assert_int_equal(tasks[i]->starts, 1);
    }
    qsort(tasks, count, sizeof(struct sim_task *), by_start);
    for (uint64_t i = 0; i < count; i++) {
        for (uint32_t w = 0; w < MIXED_WORKERS; w++) {
            bool idle = ended_ns[w] != 0 && tasks[i]->started_ns > ended_ns[w];
            uint64_t idle_ns = idle ? tasks[i]->started_ns - ended_ns[w] : 0;

            longest_ns = idle_ns > longest_ns ? idle_ns : longest_ns;
        }
        ended_ns[tasks[i]->last_worker] = tasks[i]->started_ns + tasks[i]->job.work_us * SIM_US;
    }
    free(tasks);
    return longest_ns;
}

/* A round trip is from a client to a worker and back, so four messages; and so many are what it takes to
 * have something back from another worker. */
static void no_worker_idles_longer_than_a_round_trip_while_tasks_wait(void **state) {
    int within = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sim *sim = scenario(seed);
        uint32_t client = sim_add_client(sim);
        struct base_rng rng;
        uint64_t gap_ns;

        base_rng_init(&rng, seed);
        sim_options(sim)->delay_min_ns = sim_options(sim)->delay_max_ns = MIXED_DELAY;
        sim_options(sim)->batch_ns = SIM_US;
        for (int i = 0; i < MIXED_WORKERS; i++) {
            sim_add_worker(sim, 1);
        }
        for (int i = 0; i < MIXED_TASKS; i++) {
            sim_submit(sim, client, .work_us = mixed_us(&rng));
        }
        finish_tasks(sim);
        gap_ns = longest_gap_ns(sim);
        /* A worker whose first long task has just begun looks like one that will soon be done. */
        assert_true(gap_ns <= 500 * SIM_US + MIXED_ROUND_TRIP);
        within += gap_ns <= MIXED_ROUND_TRIP;
        finish(sim);
    }
    assert_in_range(within, 8, 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_whose_worker_dies_runs_again),
        cmocka_unit_test(the_rerun_begins_within_50_ms),
        cmocka_unit_test(what_waited_at_a_dead_worker_runs_uncharged),
        cmocka_unit_test(max_attempts_ends_with_the_history),
        cmocka_unit_test(a_poison_task_does_not_take_innocents_with_it),
        cmocka_unit_test(a_worker_that_is_stopped_on_purpose_charges_nobody),
        cmocka_unit_test(at_most_once_is_lost_rather_than_run_again),
        cmocka_unit_test(at_most_once_that_was_not_begun_runs_elsewhere),
        cmocka_unit_test(what_was_given_back_unbegun_may_have_begun_elsewhere),
        cmocka_unit_test(a_machine_that_falls_silent_is_noticed),
        cmocka_unit_test(a_worker_that_drains_finishes_what_it_has),
        cmocka_unit_test(a_worker_retires_after_its_number_of_tasks),
        cmocka_unit_test(a_task_that_waits_too_long_fails),
        cmocka_unit_test(the_wait_at_the_client_counts_as_waiting),
        cmocka_unit_test(the_wait_at_a_worker_counts_as_waiting),
        cmocka_unit_test(a_task_that_runs_too_long_is_told),
        cmocka_unit_test(a_task_that_does_not_listen_loses_its_process),
        cmocka_unit_test(no_worker_idles_longer_than_a_round_trip_while_tasks_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
