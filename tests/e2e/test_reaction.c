/* How fast the fleet reacts. What is measured is printed; the tests fail only if it is far off. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/e2e/fault_tasks.h"
#include "tests/e2e/faults.h"

enum { DEATHS = 200, RESTARTS = 10, SILENCES = 3, ROUND_TRIPS = 2000 };

static int scale(void) {
    return faults_long() ? 5 : 1;
}

/* ------------------------------------------------- a child dies, its task runs again */

/* With one worker process the time includes starting its successor. */
static void measure_reruns(furrow_executor *pool, const char *name) {
    static double ms[5 * DEATHS];
    int count = DEATHS * scale();

    for (int i = 0; i < count; i++) {
        furrow_future *future;

        atomic_store(&faults_book()->started[i], 0);
        future = must(furrow_submit(pool, die_once, "i", (int64_t)i));
        ms[i] = (double)take_int(&future) * 1e-6;
    }
    figures(name, ms, (size_t)count, "ms");
    assert_true(percentile(ms, (size_t)count, 0.99) < 1000);
}

static void rerun_with_processes(const char *url, const char *name) {
    furrow_executor *pool = open_pool(url);

    measure_reruns(pool, name);
    close_pool(&pool);
}

static void a_task_is_rerun_soon_after_its_process_died(void **state) {
    (void)state;
    rerun_with_processes("processes:2", "rerun_after_child_death_processes_2");
}

static void a_task_is_rerun_soon_when_a_process_must_be_started_first(void **state) {
    (void)state;
    rerun_with_processes("processes:1", "rerun_after_child_death_processes_1");
}

static void a_task_is_rerun_soon_with_a_fleet(void **state) {
    struct site site;
    (void)state;

    site_open(&site, 1, 2, 1, NULL);
    furrow_executor *pool = open_pool(site.fleet.url);
    measure_reruns(pool, "rerun_after_child_death_tcp");
    close_pool(&pool);
    site_close(&site);
}

/* --------------------------------------------------- the broker dies and comes back */

static double round_trip_ms(furrow_executor *pool) {
    double at = now_seconds();
    furrow_future *future = must(furrow_submit(pool, echo_int, "i", (int64_t)7));

    assert_int_equal(take_int(&future), 7);
    return (now_seconds() - at) * 1000;
}

static void work_flows_soon_after_the_broker_came_back(void **state) {
    static double fresh_ms[RESTARTS * 5], old_ms[RESTARTS * 5];
    int count = RESTARTS * scale();
    struct site site;
    (void)state;

    site_open(&site, 1, 2, 1, NULL);
    furrow_executor *pool = open_pool(site.fleet.url);
    (void)round_trip_ms(pool);
    for (int i = 0; i < count; i++) {
        /* More than the workers have: some are queued when the broker dies, some run. */
        furrow_future *old[6], *fresh;

        for (int k = 0; k < 6; k++) {
            old[k] = must(furrow_submit(pool, work, "ii", (int64_t)k, (int64_t)20000));
        }
        pause_ms(10);
        site_kill_broker(&site);
        assert_true(site_start_broker(&site));
        double at = now_seconds();
        fresh = must(furrow_submit(pool, echo_int, "i", (int64_t)1));
        assert_int_equal(take_int(&fresh), 1);
        fresh_ms[i] = (now_seconds() - at) * 1000;
        for (int64_t k = 0; k < 6; k++) {
            assert_int_equal(take_int(&old[k]), mixed(k));
        }
        old_ms[i] = (now_seconds() - at) * 1000;
    }
    figures("new_task_after_broker_restart", fresh_ms, (size_t)count, "ms");
    figures("all_old_tasks_after_broker_restart", old_ms, (size_t)count, "ms");
    close_pool(&pool);
    site_close(&site);
    assert_true(fresh_ms[count - 1] < 10000 && old_ms[count - 1] < 10000);
}

/* -------------------------------------------------------------- a machine goes silent */

static void a_silent_machine_is_noticed(void **state) {
    static const char *const broker_more[] = {"--heartbeat", "0.2", "--silence", "1", NULL};
    double ms[SILENCES * 5];
    int count = SILENCES * scale();
    (void)state;

    for (int i = 0; i < count; i++) {
        struct site site;
        pid_t children[4];
        int64_t slot = i, gate = 100 + 2 * i;

        site_open(&site, 2, 1, 1, broker_more);
        furrow_executor *pool = open_pool(site.fleet.url);
        furrow_future *future = must(furrow_submit(pool, held, "iii", slot, gate, gate + 1));
        wait_for(atomic_load(&faults_book()->started[slot]) == 1);
        pid_t stopped = (pid_t)atomic_load(&faults_book()->pids[slot]);
        int machine =
            children_of(site.machines[0], children, 4) == 1 && children[0] == stopped ? 0 : 1;
        pause_ms((long)random_below(400)); /* at any time between two heartbeats */
        double at = now_seconds();
        kill(site.machines[machine], SIGSTOP);
        kill(stopped, SIGSTOP);
        wait_for(atomic_load(&faults_book()->started[slot]) == 2);
        ms[i] = (now_seconds() - at) * 1000;
        atomic_store(&faults_book()->gates[gate], 1);
        atomic_store(&faults_book()->gates[gate + 1], 1);
        kill(stopped, SIGCONT);
        kill(site.machines[machine], SIGCONT);
        assert_int_equal(take_int(&future), 2);
        close_pool(&pool);
        site_close(&site);
    }
    figure("silence_configured", 1000, "ms");
    figures("silent_machine_noticed", ms, (size_t)count, "ms");
    assert_true(ms[0] > 700 && ms[count - 1] < 5000);
}

/* ------------------------------------------------------------------ for comparison */

static void without_any_fault(void **state) {
    static double ms[ROUND_TRIPS];
    struct site site;
    (void)state;

    site_open(&site, 1, 2, 1, NULL);
    furrow_executor *pool = open_pool(site.fleet.url);
    for (int i = 0; i < ROUND_TRIPS; i++) {
        ms[i] = round_trip_ms(pool);
    }
    figures("round_trip_tcp", ms, ROUND_TRIPS, "ms");
    close_pool(&pool);
    site_close(&site);
}

#define REACTION_TEST(test) cmocka_unit_test_setup_teardown(test, faults_set_up, faults_tear_down)

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    static const struct CMUnitTest tests[] = {
        REACTION_TEST(a_task_is_rerun_soon_after_its_process_died),
        REACTION_TEST(a_task_is_rerun_soon_when_a_process_must_be_started_first),
        REACTION_TEST(a_task_is_rerun_soon_with_a_fleet),
        REACTION_TEST(work_flows_soon_after_the_broker_came_back),
        REACTION_TEST(a_silent_machine_is_noticed),
        REACTION_TEST(without_any_fault),
    };
    faults_init(110);
    return cmocka_run_group_tests_name("reaction", tests, NULL, NULL);
}
