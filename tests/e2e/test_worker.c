/* furrow-worker: how it begins, drains and ends, and what becomes of its tasks. */
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/e2e/fault_tasks.h"
#include "tests/e2e/faults.h"

extern char **environ;

/* Starts furrow-worker. *said is where to read what it says. */
static pid_t start_worker(int *said, char *const *arguments) {
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int out[2];

    assert_int_equal(pipe(out), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, out[1], 2);
    posix_spawn_file_actions_addclose(&actions, out[0]);
    assert_int_equal(posix_spawn(&pid, FURROW_WORKER_PATH, &actions, NULL, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    *said = out[0];
    return pid;
}

/* Runs furrow-worker until it ends by itself, and reads what it says. Returns its exit code, or 256 and
 * its signal. */
static int run_worker(char *text, size_t size, char *const *arguments) {
    size_t used = 0;
    ssize_t got;
    int said;
    pid_t pid = start_worker(&said, arguments);

    while (used < size - 1 && (got = read(said, text + used, size - 1 - used)) > 0) {
        used += (size_t)got;
    }
    text[used] = '\0';
    close(said);
    return end_of(pid);
}

/* Reads on until it has said a line with that in it (30 s). */
static void await_line(int said, const char *part) {
    double until = now_seconds() + 30.0;
    char line[1024] = "";
    size_t used = 0;

    for (;;) {
        struct pollfd poll_fd = {.fd = said, .events = POLLIN};

        if (poll(&poll_fd, 1, 100) == 1) {
            assert_int_equal(read(said, line + used, 1), 1);
            used += used < sizeof line - 2 ? 1 : 0;
            line[used] = '\0';
        }
        if (strchr(line, '\n') != NULL) {
            if (strstr(line, part) != NULL) {
                return;
            }
            used = 0;
            line[0] = '\0';
        }
        if (now_seconds() > until) {
            fail_msg("it has not said within 30 s: %s", part);
        }
    }
}

static void assert_says(const char *text, const char *part) {
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in what it says: %s", part, text);
    }
}

#define ARGUMENTS(...) ((char *const[]){(char *)"furrow-worker", __VA_ARGS__, NULL})
#define A(text)        ((char *)(text))

/* ---- its command line ---- */

static void help_and_version_are_printed(void **state) {
    char text[8192];
    (void)state;

    assert_int_equal(run_worker(text, sizeof text, ARGUMENTS(A("--help"))), 0);
    assert_says(text, "--max-tasks-per-child");
    assert_int_equal(run_worker(text, sizeof text, ARGUMENTS(A("--version"))), 0);
    assert_says(text, furrow_version());
}

static void wrong_use_ends_with_code_2(void **state) {
    char text[8192];
    (void)state;

    assert_int_equal(run_worker(text, sizeof text, ARGUMENTS(A("--connect"), A("tcp://h:1"))), 2);
    assert_says(text, "--module PATH is needed");
    assert_int_equal(run_worker(text, sizeof text, ARGUMENTS(A("--furrow-child=0.0.0"))), 2);
    assert_says(text, "another version");
}

static void a_module_that_can_not_be_loaded_ends_it_with_code_1(void **state) {
    char text[8192];
    (void)state;

    assert_int_equal(run_worker(text, sizeof text,
                                ARGUMENTS(A("--connect"), A("tcp://127.0.0.1:9"), A("--module"),
                                          A("/nowhere/tasks.so"), A("--processes"), A("3"))),
                     1);
    assert_says(text, "/nowhere/tasks.so: no such file");
    assert_int_equal(
        run_worker(text, sizeof text,
                   ARGUMENTS(A("--connect"), A("tcp://127.0.0.1:9"), A("--module"), A("/bin/sh"))),
        1);
    assert_says(text, "task module /bin/sh");
}

static void an_initializer_that_fails_ends_it_with_code_1(void **state) {
    char text[8192];
    (void)state;

    assert_int_equal(setenv("FURROW_E2E_FAIL", "1", 1), 0);
    int code = run_worker(text, sizeof text,
                          ARGUMENTS(A("--connect"), A("tcp://127.0.0.1:9"), A("--module"),
                                    A(FAULT_TASKS_PATH), A("--initializer"), A("prepare")));
    unsetenv("FURROW_E2E_FAIL");
    assert_int_equal(code, 1);
    assert_says(text, "prepare failed with code 9: told to fail");
    assert_int_equal(run_worker(text, sizeof text,
                                ARGUMENTS(A("--connect"), A("tcp://127.0.0.1:9"), A("--module"),
                                          A(FAULT_TASKS_PATH), A("--initializer"), A("nobody"))),
                     1);
    assert_says(text, "no task function nobody");
}

/* ---- its broker ---- */

static void it_says_when_it_is_connected(void **state) {
    char line[300];
    struct site site;
    pid_t worker;
    int said;
    (void)state;

    site_open(&site, 0, 1, 1, NULL);
    (void)snprintf(line, sizeof line, "connected to %s", site.fleet.url);
    worker = start_worker(&said, ARGUMENTS(A("--connect"), site.fleet.url, A("--module"),
                                           A(FAULT_TASKS_PATH), A("--processes"), A("1")));
    await_line(said, line);
    site_kill_broker(&site);
    assert_true(site_start_broker(&site));
    await_line(said, line); /* to the next one */
    assert_int_equal(kill(worker, SIGTERM), 0);
    assert_int_equal(end_of(worker), 0);
    close(said);
    site_close(&site);
}

/* ---- ending ---- */

static pid_t only_child(pid_t pid) {
    pid_t children[4];

    wait_for(children_of(pid, children, 4) == 1);
    return children[0];
}

static bool started(int slot, unsigned times) {
    return atomic_load(&faults_book()->started[slot]) >= times;
}

static void open_gate(int gate) {
    atomic_store(&faults_book()->gates[gate], 1);
}

static void a_first_sigterm_lets_finish_what_runs(void **state) {
    furrow_future *running, *waiting;
    furrow_executor *pool;
    struct site site;
    pid_t machine;
    (void)state;

    site_open(&site, 1, 1, 1, NULL);
    pool = open_pool(site.fleet.url);
    running = must(furrow_submit(pool, held, "iii", (int64_t)1, (int64_t)1, (int64_t)2));
    wait_for(started(1, 1));
    waiting = must(furrow_submit(pool, echo_int, "i", (int64_t)77));
    machine = site.machines[0];
    assert_int_equal(kill(machine, SIGTERM), 0);
    pause_ms(100);
    assert_int_equal(kill(machine, 0), 0); /* it waits for the task */
    open_gate(1);
    assert_int_equal(take_int(&running), 1); /* in its first attempt */
    assert_int_equal(end_of(machine), 0);
    site.machines[0] = 0;
    assert_true(site_start_machine(&site, 0)); /* what was given back runs on another */
    assert_int_equal(take_int(&waiting), 77);
    close_pool(&pool);
    site_close(&site);
}

static void a_second_sigterm_kills(void **state) {
    furrow_future *future;
    furrow_executor *pool;
    struct site site;
    pid_t machine;
    (void)state;

    site_open(&site, 1, 1, 1, NULL);
    pool = open_pool(site.fleet.url);
    future = must(furrow_submit(pool, held, "iii", (int64_t)1, (int64_t)1, (int64_t)2));
    wait_for(started(1, 1));
    machine = site.machines[0];
    assert_int_equal(kill(machine, SIGTERM), 0);
    pause_ms(50);
    assert_int_equal(kill(machine, SIGTERM), 0);
    assert_int_equal(end_of(machine), 3);
    site.machines[0] = 0;
    open_gate(1);
    open_gate(2);
    assert_true(site_start_machine(&site, 0));
    /* Stopped on purpose: nobody is charged an attempt, so this is still the first. */
    assert_int_equal(take_int(&future), 1);
    close_pool(&pool);
    site_close(&site);
}

static void ctrl_c_is_for_the_supervisor_alone(void **state) {
    furrow_future *future;
    furrow_executor *pool;
    struct site site;
    pid_t machine;
    (void)state;

    site_open(&site, 1, 2, 1, NULL);
    pool = open_pool(site.fleet.url);
    future = must(furrow_submit(pool, held, "iii", (int64_t)1, (int64_t)1, (int64_t)2));
    wait_for(started(1, 1));
    machine = site.machines[0];
    assert_int_equal(getpgid(machine), getpgrp());
    assert_int_equal(getpgid(atomic_load(&faults_book()->pids[1])),
                     atomic_load(&faults_book()->pids[1])); /* out of the terminal's reach */
    assert_int_equal(kill(machine, SIGINT), 0);
    pause_ms(50);
    open_gate(1);
    assert_int_equal(take_int(&future), 1);
    assert_int_equal(end_of(machine), 0);
    site.machines[0] = 0;
    close_pool(&pool);
    site_close(&site);
}

/* ---- children ---- */

static void a_child_is_replaced_after_its_tasks(void **state) {
    static const char *const more[] = {"--max-tasks-per-child", "5", NULL};
    enum { TASKS = 40 };
    furrow_executor *pool;
    struct site site;
    int64_t pids[TASKS];
    (void)state;

    site_open(&site, 0, 0, 0, NULL);
    site.options.workers = 1;
    site.options.threads = 1;
    site.options.worker_more = more;
    site.machine_count = 1;
    assert_true(site_start_machine(&site, 0));
    pool = open_pool(site.fleet.url);
    for (int i = 0; i < TASKS; i++) {
        furrow_future *future = must(furrow_submit(pool, whereabouts, "i", (int64_t)1));

        pids[i] = take_int(&future);
    }
    for (int i = 0; i < TASKS; i++) {
        int same = 0;

        for (int j = 0; j < TASKS; j++) {
            same += pids[j] == pids[i];
        }
        assert_int_equal(same, 5);
    }
    close_pool(&pool);
    site_close(&site);
}

static void each_process_runs_the_initializer_once_before_its_first_task(void **state) {
    static const char *const more[] = {"--initializer", "prepare", "--max-tasks-per-child", "3",
                                       NULL};
    furrow_executor *pool;
    struct site site;
    (void)state;

    site_open(&site, 0, 0, 0, NULL);
    site.options.workers = 2;
    site.options.threads = 2;
    site.options.worker_more = more;
    site.machine_count = 1;
    assert_true(site_start_machine(&site, 0));
    pool = open_pool(site.fleet.url);
    for (int i = 0; i < 20; i++) { /* so that processes are replaced */
        furrow_future *future = must(furrow_submit(pool, times_prepared, ""));

        assert_int_equal(take_int(&future), 1);
    }
    close_pool(&pool);
    site_close(&site);
}

static void a_task_over_its_limit_costs_its_child_and_nobody_else(void **state) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    const furrow_error *error;
    furrow_executor *pool;
    furrow_future *slow, *after;
    struct site site;
    pid_t child;
    (void)state;

    site_open(&site, 1, 1, 1, NULL);
    pool = open_pool(site.fleet.url);
    child = only_child(site.machines[0]);
    options.run_timeout = 0.1;
    slow =
        must(furrow_submit_with(pool, &options, held, "iii", (int64_t)1, (int64_t)1, (int64_t)1));
    assert_int_equal(furrow_future_error(slow, 30, &error), FURROW_OK);
    assert_non_null(error);
    assert_int_equal(error->kind, FURROW_ERROR_DEADLINE); /* it was told, and obeyed */
    furrow_future_unref(&slow);
    assert_int_equal(only_child(site.machines[0]), child);
    slow = must(furrow_submit_with(pool, &options, deaf, "i", (int64_t)2));
    after = must(furrow_submit(pool, whereabouts, "i", (int64_t)3));
    assert_int_equal(furrow_future_error(slow, 30, &error), FURROW_OK);
    assert_non_null(error);
    assert_int_equal(error->kind, FURROW_ERROR_DEADLINE); /* it was told, and killed */
    assert_int_equal(error->pid, child);
    furrow_future_unref(&slow);
    assert_int_not_equal(take_int(&after), child);
    assert_int_equal(atomic_load(&faults_book()->started[2]), 1);
    close_pool(&pool);
    site_close(&site);
}

static void a_task_may_ask_for_a_tag(void **state) {
    static const char *const more[] = {"--tag", "gpu", "--tag", "big", NULL};
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_executor *pool;
    struct site site;
    (void)state;

    site_open(&site, 1, 1, 1, NULL);
    pool = open_pool(site.fleet.url);
    site.machine_count = 2;
    site.options.worker_more = more;
    assert_true(site_start_machine(&site, 1));
    pid_t plain = only_child(site.machines[0]), tagged = only_child(site.machines[1]);
    options.tags = "big,gpu";
    for (int i = 0; i < 20; i++) {
        furrow_future *future =
            must(furrow_submit_with(pool, &options, whereabouts, "i", (int64_t)1));

        assert_int_equal(take_int(&future), tagged);
    }
    assert_int_not_equal(plain, tagged);
    close_pool(&pool);
    site_close(&site);
}

/* ---- the broker goes and comes ---- */

static void a_running_task_outlives_its_broker(void **state) {
    furrow_executor *pool;
    furrow_future *running, *finished;
    struct site site;
    (void)state;

    site_open(&site, 1, 2, 1, NULL);
    pool = open_pool(site.fleet.url);
    running = must(furrow_submit(pool, held, "iii", (int64_t)1, (int64_t)1, (int64_t)1));
    finished = must(furrow_submit(pool, held, "iii", (int64_t)2, (int64_t)2, (int64_t)2));
    wait_for(started(1, 1) && started(2, 1));
    site_kill_broker(&site);
    open_gate(2); /* its result finds no broker */
    pause_ms(100);
    assert_true(site_start_broker(&site));
    assert_int_equal(take_int(&finished), 1);
    open_gate(1);
    assert_int_equal(take_int(&running), 1);
    assert_int_equal(atomic_load(&faults_book()->started[1]), 1);
    assert_int_equal(atomic_load(&faults_book()->started[2]), 1);
    close_pool(&pool);
    site_close(&site);
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    faults_init(110);
#define TEST(name) cmocka_unit_test_setup_teardown(name, faults_set_up, faults_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(help_and_version_are_printed),
        TEST(wrong_use_ends_with_code_2),
        TEST(a_module_that_can_not_be_loaded_ends_it_with_code_1),
        TEST(an_initializer_that_fails_ends_it_with_code_1),
        TEST(it_says_when_it_is_connected),
        TEST(a_first_sigterm_lets_finish_what_runs),
        TEST(a_second_sigterm_kills),
        TEST(ctrl_c_is_for_the_supervisor_alone),
        TEST(a_child_is_replaced_after_its_tasks),
        TEST(each_process_runs_the_initializer_once_before_its_first_task),
        TEST(a_task_over_its_limit_costs_its_child_and_nobody_else),
        TEST(a_task_may_ask_for_a_tag),
        TEST(a_running_task_outlives_its_broker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
