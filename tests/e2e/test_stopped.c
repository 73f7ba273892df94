/* Processes that are stopped (SIGSTOP) for longer than the heartbeat limit, and go on (SIGCONT) when
 * everybody has given them up: what they still say is fenced off. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/e2e/fault_tasks.h"
#include "tests/e2e/faults.h"

enum { SLOT = 0, FIRST_GATE = 1, LATER_GATE = 2, TASKS = 2000 };

static const char *const short_silence[] = {"--heartbeat", "0.1", "--silence", "0.5", NULL};

static struct run {
    struct site site;
    furrow_executor *pool;
    atomic_uint calls;
} run;

static void open_site(int machines) {
    atomic_store(&run.calls, 0);
    site_open(&run.site, machines, 1, 1, short_silence);
    run.pool = open_pool(run.site.fleet.url);
}

static void close_site(void) {
    close_pool(&run.pool);
    site_close(&run.site);
}

static furrow_status count_call(furrow_future *future, void *user) {
    (void)future;
    (void)user;
    atomic_fetch_add(&run.calls, 1);
    return FURROW_OK;
}

static furrow_future *submit_held(void) {
    furrow_future *future = must(furrow_submit(run.pool, held, "iii", (int64_t)SLOT,
                                               (int64_t)FIRST_GATE, (int64_t)LATER_GATE));

    assert_int_equal(furrow_future_add_done_callback(future, count_call, NULL), FURROW_OK);
    return future;
}

static void wait_started(unsigned runs) {
    wait_for(atomic_load(&faults_book()->started[SLOT]) >= runs);
}

static void open_gate(int gate) {
    atomic_store(&faults_book()->gates[gate], 1);
}

/* Runs tasks until one has run in that process. */
static void wait_serving(pid_t pid) {
    double until = now_seconds() + 20;

    for (bool there = false; !there;) {
        furrow_future *futures[8];

        for (int i = 0; i < 8; i++) {
            futures[i] = must(furrow_submit(run.pool, whereabouts, "i", (int64_t)(100 + i)));
        }
        for (int i = 0; i < 8; i++) {
            there |= take_int(&futures[i]) == pid;
        }
        if (!there && now_seconds() > until) {
            fail_msg("process %d gets no tasks any more", (int)pid);
        }
    }
}

/* The hardest moment: the second run is going on when the result of the first arrives. */
static void a_late_result_of_a_stopped_worker_is_fenced(void **state) {
    struct book *shared = faults_book();
    (void)state;

    open_site(2);
    furrow_future *future = submit_held();
    wait_started(1);
    pid_t stopped = (pid_t)atomic_load(&shared->pids[SLOT]);
    double at = now_seconds();
    assert_int_equal(kill(stopped, SIGSTOP), 0);
    wait_started(2);
    figure("silent_worker_noticed", (now_seconds() - at) * 1000, "ms");
    assert_int_not_equal(atomic_load(&shared->pids[SLOT]), stopped);

    open_gate(FIRST_GATE); /* the first run now ends, with the result 1 */
    assert_int_equal(kill(stopped, SIGCONT), 0);
    wait_serving(stopped); /* it has said it all, and is back */
    assert_int_equal(furrow_future_wait(future, 0.3), FURROW_ETIMEOUT);

    open_gate(LATER_GATE);
    assert_int_equal(take_int(&future), 2);
    close_site();
    assert_int_equal(atomic_load(&run.calls), 1);
}

static void a_late_result_after_the_rerun_changes_nothing(void **state) {
    struct book *shared = faults_book();
    int64_t value;
    (void)state;

    open_site(2);
    furrow_future *future = submit_held();
    wait_started(1);
    pid_t stopped = (pid_t)atomic_load(&shared->pids[SLOT]);
    assert_int_equal(kill(stopped, SIGSTOP), 0);
    open_gate(LATER_GATE);
    assert_int_equal(furrow_future_result(future, 20, "i", &value), FURROW_OK);
    assert_int_equal(value, 2);

    open_gate(FIRST_GATE);
    assert_int_equal(kill(stopped, SIGCONT), 0);
    wait_serving(stopped);
    assert_int_equal(furrow_future_result(future, 0, "i", &value), FURROW_OK);
    assert_int_equal(value, 2);
    furrow_future_unref(&future);
    close_site();
    assert_int_equal(atomic_load(&run.calls), 1);
}

/* Shorter than the limit: nobody runs it again. */
static void a_short_stop_costs_nothing(void **state) {
    struct book *shared = faults_book();
    (void)state;

    open_site(2);
    furrow_future *future = submit_held();
    wait_started(1);
    pid_t stopped = (pid_t)atomic_load(&shared->pids[SLOT]);
    assert_int_equal(kill(stopped, SIGSTOP), 0);
    pause_ms(200);
    assert_int_equal(kill(stopped, SIGCONT), 0);
    open_gate(FIRST_GATE);
    assert_int_equal(take_int(&future), 1);
    assert_int_equal(atomic_load(&shared->started[SLOT]), 1);
    close_site();
}

static void submit_work(furrow_future **futures, int64_t us) {
    for (int64_t i = 0; i < TASKS; i++) {
        futures[i] = must(furrow_submit(run.pool, work, "ii", i, us));
    }
}

static void expect_work(furrow_future **futures) {
    for (int64_t i = 0; i < TASKS; i++) {
        assert_int_equal(take_int(&futures[i]), mixed(i));
    }
}

/* All of a machine: its supervisor and its workers. */
static void a_machine_that_stops_and_comes_back(void **state) {
    static furrow_future *futures[TASKS];
    pid_t children[8];
    (void)state;

    open_site(2);
    submit_work(futures, 1000);
    wait_for(atomic_load(&faults_book()->ends[TASKS / 20]) > 0);
    int count = children_of(run.site.machines[0], children, 8);
    assert_int_equal(count, 1);
    assert_int_equal(kill(run.site.machines[0], SIGSTOP), 0);
    assert_int_equal(kill(children[0], SIGSTOP), 0);
    pause_ms(1500);
    assert_int_equal(kill(children[0], SIGCONT), 0);
    assert_int_equal(kill(run.site.machines[0], SIGCONT), 0);
    expect_work(futures);
    wait_serving(children[0]);
    close_site();
}

/* Then it is the broker that was silent for the others, and they for it. */
static void a_broker_that_stops_and_goes_on(void **state) {
    static furrow_future *futures[TASKS];
    (void)state;

    open_site(2);
    submit_work(futures, 1000);
    wait_for(atomic_load(&faults_book()->ends[TASKS / 20]) > 0);
    assert_int_equal(kill(run.site.fleet.broker, SIGSTOP), 0);
    pause_ms(2000);
    assert_int_equal(kill(run.site.fleet.broker, SIGCONT), 0);
    expect_work(futures);
    close_site();
}

/* The client: what it has submitted is dropped for its silence, and submitted again by itself. */
static void a_client_that_stops_and_goes_on(void **state) {
    static const char *const arguments[] = {"client", NULL};
    (void)state;

    site_open(&run.site, 2, 1, 1, short_silence);
    setenv("FURROW_E2E_URL", run.site.fleet.url, 1);
    pid_t client = run_self(arguments);
    assert_true(client > 0);
    wait_for(atomic_load(&faults_book()->ends[TASKS / 20]) > 0);
    assert_int_equal(kill(client, SIGSTOP), 0);
    pause_ms(2000);
    assert_int_equal(kill(client, SIGCONT), 0);
    assert_int_equal(end_of(client), 0);
    site_close(&run.site);
}

static int client_main(void) {
    static furrow_future *futures[TASKS];
    int wrong = 0;

    run.pool = furrow_open(getenv("FURROW_E2E_URL"), NULL);
    if (run.pool == NULL) {
        return 1;
    }
    for (int64_t i = 0; i < TASKS; i++) {
        futures[i] = furrow_submit(run.pool, work, "ii", i, (int64_t)1000);
    }
    for (int64_t i = 0; i < TASKS; i++) {
        int64_t value = -1;

        wrong +=
            furrow_future_result(futures[i], 60, "i", &value) != FURROW_OK || value != mixed(i);
        furrow_future_unref(&futures[i]);
    }
    return furrow_close(&run.pool) == FURROW_OK && wrong == 0 ? 0 : 1;
}

#define STOPPED_TEST(test) cmocka_unit_test_setup_teardown(test, faults_set_up, faults_tear_down)

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    static const struct CMUnitTest tests[] = {
        STOPPED_TEST(a_late_result_of_a_stopped_worker_is_fenced),
        STOPPED_TEST(a_late_result_after_the_rerun_changes_nothing),
        STOPPED_TEST(a_short_stop_costs_nothing),
        STOPPED_TEST(a_machine_that_stops_and_comes_back),
        STOPPED_TEST(a_broker_that_stops_and_goes_on),
        STOPPED_TEST(a_client_that_stops_and_goes_on),
    };
    if (argc > 1) {
        return client_main();
    }
    faults_init(110);
    return cmocka_run_group_tests_name("stopped", tests, NULL, NULL);
}
