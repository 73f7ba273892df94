#include "tests/conformance/harness.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void pid_and_thread(furrow_executor *pool, int64_t *pid, int64_t *thread) {
    furrow_future *future = must(furrow_submit(pool, where, ""));

    assert_ok(furrow_future_result(future, 30, "[ii]", pid, thread));
    furrow_future_unref(&future);
}

static const furrow_error *error_of(furrow_future *future) {
    const furrow_error *error = NULL;

    assert_ok(furrow_future_error(future, 60, &error));
    assert_non_null(error);
    return error;
}

static void expect_pool_works(furrow_executor *pool) {
    furrow_future *future = must(furrow_submit(pool, add, "ii", (int64_t)40, (int64_t)2));

    assert_int_equal(result_int(future), 42);
    furrow_future_unref(&future);
}

/* Better than CPython, where one dead child breaks the pool: its task is run again. */
static void killed_child(void **state) {
    furrow_executor *pool = conformance_open(1);
    int64_t pid, thread;
    (void)state;

    pid_and_thread(pool, &pid, &thread);
    furrow_future *future = must(furrow_submit(pool, hold_once, "si", gate_path(), (int64_t)8));
    gate_wait_started(1);
    assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
    assert_int_equal(result_int(future), 8);
    furrow_future_unref(&future);
    int64_t later;
    pid_and_thread(pool, &later, &thread);
    assert_int_not_equal(later, pid);
}

static void an_idle_child_that_is_killed_is_replaced(void **state) {
    furrow_executor *pool = conformance_open(1);
    int64_t pid, thread, later;
    (void)state;

    pid_and_thread(pool, &pid, &thread);
    assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
    pid_and_thread(pool, &later, &thread);
    assert_int_not_equal(later, pid);
}

/* A task that always takes its worker down fails in bounded time, and says how; its neighbours get
 * their results. */
static void expect_crash(const char *how, int32_t signal_number, int32_t exit_code) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *others[40];

    for (int64_t i = 0; i < 20; i++) {
        others[i] = must(furrow_submit(pool, sleep_return, "di", 0.002, i));
    }
    furrow_future *bad = must(furrow_submit(pool, crash, "s", how));
    for (int64_t i = 20; i < 40; i++) {
        others[i] = must(furrow_submit(pool, sleep_return, "di", 0.002, i));
    }
    const furrow_error *error = error_of(bad);
    assert_int_equal(error->kind, FURROW_ERROR_LOST);
    assert_int_equal(error->signal, signal_number);
    assert_int_equal(error->exit_code, exit_code);
    assert_int_equal(error->attempt, 3);
    assert_true(error->pid > 0);
    assert_string_equal(error->function, "crash");
    assert_true(strlen(error->host) > 0);
    assert_true(strlen(error->message) > 0);
    for (int64_t i = 0; i < 40; i++) {
        assert_int_equal(result_int(others[i]), i);
        furrow_future_unref(&others[i]);
    }
    expect_pool_works(pool);
    furrow_future_unref(&bad);
}

static void segfault_in_a_task(void **state) {
    (void)state;
    expect_crash("segv", SIGSEGV, 0);
}
static void abort_in_a_task(void **state) {
    (void)state;
    expect_crash("abort", SIGABRT, 0);
}
static void exit_in_a_task(void **state) {
    (void)state;
    expect_crash("_exit", 0, 7);
}
static void stack_overflow_in_a_task(void **state) {
    (void)state;
    expect_crash("overflow", SIGSEGV, 0);
}
static void kill_in_a_task(void **state) {
    (void)state;
    expect_crash("kill", SIGKILL, 0);
}

static void a_task_that_crashes_once_is_run_again(void **state) {
    furrow_executor *pool = conformance_open(1);
    static const char *const ways[] = {"segv", "abort", "_exit", "kill"};
    (void)state;

    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        furrow_future *future = must(furrow_submit(pool, crash_once, "s", ways[i]));
        assert_int_equal(result_int(future), 2);
        furrow_future_unref(&future);
    }
}

static void at_most_once_is_never_run_again(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    (void)state;

    options.at_most_once = true;
    furrow_future *future = must(furrow_submit_with(pool, &options, crash_once, "s", "kill"));
    assert_int_equal(error_of(future)->kind, FURROW_ERROR_LOST);
    furrow_future_unref(&future);
    expect_pool_works(pool);
}

static void max_attempts_bounds_the_runs(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    (void)state;

    options.max_attempts = 1;
    furrow_future *once = must(furrow_submit_with(pool, &options, crash, "s", "kill"));
    assert_int_equal(error_of(once)->attempt, 1);
    options.max_attempts = 5;
    furrow_future *more = must(furrow_submit_with(pool, &options, crash, "s", "kill"));
    assert_int_equal(error_of(more)->attempt, 5);
    furrow_future_unref(&once);
    furrow_future_unref(&more);
}

static void an_endless_loop_is_ended_by_its_run_timeout(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    (void)state;

    options.run_timeout = 0.1;
    furrow_future *future = must(furrow_submit_with(pool, &options, crash, "s", "spin"));
    assert_int_equal(error_of(future)->kind, FURROW_ERROR_DEADLINE);
    furrow_future_unref(&future);
    expect_pool_works(pool);
}

/* What CPython does, on request. */
static void strict_breaks_at_the_first_death(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;
    options.strict = true;
    furrow_executor *pool = conformance_open_with(8, &options, NULL);
    furrow_future *futures[5];
    (void)state;

    for (int64_t i = 0; i < 5; i++) {
        futures[i] = must(furrow_submit(pool, hold, "si", gate_path(), i));
    }
    gate_wait_started(5);
    furrow_future *bad = must(furrow_submit(pool, crash, "s", "kill"));
    const furrow_error *first = error_of(bad);
    assert_int_equal(first->kind, FURROW_ERROR_BROKEN);
    for (int i = 0; i < 5; i++) {
        const furrow_error *error = error_of(futures[i]);
        assert_int_equal(error->kind, FURROW_ERROR_BROKEN);
        assert_ptr_not_equal(error, first);
        furrow_future_unref(&futures[i]);
    }
    assert_null(furrow_submit(pool, square, "i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_EBROKEN);
    assert_non_null(strstr(furrow_last_error(), "signal"));
    furrow_future_unref(&bad);
}

/* ------------------------------------------------------- max_tasks_per_child */

static void max_tasks_per_child_changes_processes(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;
    options.max_tasks_per_child = 3;
    furrow_executor *pool = conformance_open_with(1, &options, NULL);
    int64_t pids[9], thread;
    (void)state;

    for (int i = 0; i < 9; i++) {
        pid_and_thread(pool, &pids[i], &thread);
    }
    for (int i = 0; i < 9; i++) {
        assert_int_equal(pids[i], pids[i - i % 3]);
    }
    assert_int_not_equal(pids[0], pids[3]);
    assert_int_not_equal(pids[3], pids[6]);
}

static void max_tasks_per_child_completes_the_backlog(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;
    options.max_tasks_per_child = 7;
    furrow_executor *pool = conformance_open_with(2, &options, NULL);
    furrow_future *futures[100];
    (void)state;

    for (int64_t i = 0; i < 100; i++) {
        futures[i] = must(furrow_submit(pool, square, "i", i));
    }
    for (int64_t i = 0; i < 100; i++) {
        assert_int_equal(result_int(futures[i]), i * i);
        furrow_future_unref(&futures[i]);
    }
}

static void max_tasks_per_child_shut_down_in_the_middle(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;
    options.max_tasks_per_child = 1;
    furrow_executor *pool = conformance_open_with(2, &options, NULL);
    furrow_future *futures[20];
    (void)state;

    for (int64_t i = 0; i < 20; i++) {
        futures[i] = must(furrow_submit(pool, square, "i", i));
    }
    assert_ok(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT));
    for (int64_t i = 0; i < 20; i++) {
        int64_t value;
        assert_ok(furrow_future_result(futures[i], 0, "i", &value));
        assert_int_equal(value, i * i);
        furrow_future_unref(&futures[i]);
    }
}

/* A module that vanishes: its workers cannot be replaced. */
static void failing_replacements_break_the_pool(void **state) {
    char module[600], copy[1300];
    furrow_options options = FURROW_OPTIONS_INIT;
    (void)state;

    snprintf(module, sizeof module, "%s/tasks.so", gate_path());
    snprintf(copy, sizeof copy, "cp '%s' '%s'", FURROW_TASKS_PATH, module);
    assert_int_equal(system(copy), 0);
    setenv("FURROW_WORKER", FURROW_WORKER_PATH, 1);
    options.module = module;
    options.max_tasks_per_child = 2;
    furrow_executor *pool = conformance_open_with(1, &options, NULL);
    expect_pool_works(pool);
    assert_int_equal(unlink(module), 0);
    furrow_future *future = NULL;
    for (int i = 0; i < 4; i++) { /* at the latest after two, a replacement is needed */
        furrow_future_unref(&future);
        future = furrow_submit_by_name(pool, NULL, "add", "ii", (int64_t)1, (int64_t)2);
        if (future == NULL || furrow_future_result(future, 60, NULL) != FURROW_OK) {
            break;
        }
    }
    if (future != NULL) {
        assert_int_equal(error_of(future)->kind, FURROW_ERROR_BROKEN);
    }
    assert_null(furrow_submit_by_name(pool, NULL, "add", "ii", (int64_t)1, (int64_t)2));
    assert_int_equal(furrow_last_status(), FURROW_EBROKEN);
    assert_non_null(strstr(furrow_last_error(), "tasks.so"));
    furrow_future_unref(&future);
    conformance_close();
    unsetenv("FURROW_WORKER");
}

/* This program has the same tasks: that they run in furrow-worker is what makes the difference. */
static void expect_module_served(furrow_executor *pool) {
    char link[64], program[PATH_MAX], expected[PATH_MAX];
    int64_t pid, thread;

    furrow_future *future =
        must(furrow_submit_by_name(pool, NULL, "add", "ii", (int64_t)20, (int64_t)3));
    assert_int_equal(result_int(future), 23);
    furrow_future_unref(&future);
    pid_and_thread(pool, &pid, &thread);
    snprintf(link, sizeof link, "/proc/%d/exe", (int)pid);
    ssize_t size = readlink(link, program, sizeof program - 1);
    assert_true(size > 0);
    program[size] = '\0';
    assert_non_null(realpath(FURROW_WORKER_PATH, expected));
    assert_string_equal(program, expected);
    conformance_close();
}

static void a_module_serves_programs_that_cannot_be_run_again(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;
    (void)state;

    setenv("FURROW_WORKER", FURROW_WORKER_PATH, 1);
    options.module = FURROW_TASKS_PATH;
    expect_module_served(conformance_open_with(2, &options, NULL));
    unsetenv("FURROW_WORKER");
}

static void a_module_may_be_named_in_the_url(void **state) {
    (void)state;

    setenv("FURROW_WORKER", FURROW_WORKER_PATH, 1);
    expect_module_served(conformance_open_with(4, NULL, "module=" FURROW_TASKS_PATH));
    unsetenv("FURROW_WORKER");
}

/* --------------------------------------------------------------- initializer */

static furrow_options initializer_options(furrow_buffer *args, int64_t value) {
    furrow_options options = FURROW_OPTIONS_INIT;

    assert_ok(furrow_buffer_pack(args, "i", value));
    options.initializer = FURROW_FUNCTION(set_up);
    options.initializer_args = furrow_buffer_data(args);
    options.initializer_args_size = furrow_buffer_size(args);
    return options;
}

static void expect_set_up(int64_t value, int64_t in_process, int64_t in_thread) {
    assert_int_equal(value, 1234);
    assert_int_equal(conformance_kind == ON_THREADS ? in_thread : in_process, 1);
}

static void initializer_runs_once_in_every_worker_before_its_first_task(void **state) {
    furrow_buffer *args = must(furrow_buffer_new());
    furrow_options options = initializer_options(args, 1234);
    furrow_executor *pool = conformance_open_with(2, &options, NULL);
    int64_t value, in_process, in_thread, threads[2];
    furrow_future *futures[20];
    (void)state;

    furrow_buffer_free(&args); /* it was copied */
    for (int64_t i = 0; i < 2; i++) {
        futures[i] = must(furrow_submit(pool, hold_set_up, "si", gate_path(), i));
    }
    gate_wait_started(2); /* each worker holds one: it is its first task */
    gate_open();
    for (int i = 0; i < 2; i++) {
        assert_ok(furrow_future_result(futures[i], 30, "[iiii]", &value, &in_process, &in_thread,
                                       &threads[i]));
        expect_set_up(value, in_process, in_thread);
        furrow_future_unref(&futures[i]);
    }
    assert_int_not_equal(threads[0], threads[1]);
    for (int i = 0; i < 20; i++) {
        futures[i] = must(furrow_submit(pool, was_set_up, ""));
    }
    for (int i = 0; i < 20; i++) {
        assert_ok(furrow_future_result(futures[i], 30, "[iii]", &value, &in_process, &in_thread));
        expect_set_up(value, in_process, in_thread);
        furrow_future_unref(&futures[i]);
    }
}

static void a_chunked_map_finds_its_workers_initialized(void **state) {
    furrow_buffer *args = must(furrow_buffer_new());
    furrow_options options = initializer_options(args, 1234);
    furrow_executor *pool = conformance_open_with(2, &options, NULL);
    furrow_map_options map_options = FURROW_MAP_OPTIONS_INIT;
    furrow_input *input = must(furrow_input_range(0, 50, 1));
    furrow_results *results;
    int64_t value, in_process, in_thread;
    int count = 0;
    (void)state;

    furrow_buffer_free(&args);
    map_options.chunksize = 7;
    results = must(furrow_map(pool, was_set_up, &map_options, &input));
    while (furrow_results_next(results, "[iii]", &value, &in_process, &in_thread) == FURROW_OK) {
        expect_set_up(value, in_process, in_thread);
        count++;
    }
    assert_int_equal(furrow_last_status(), FURROW_EEND);
    assert_int_equal(count, 50);
    furrow_results_close(&results);
    input = must(furrow_input_range(0, 50, 1));
    results = must(furrow_map(pool, square, &map_options, &input));
    for (int64_t i = 0; i < 50; i++) {
        assert_ok(furrow_results_next(results, "i", &value));
        assert_int_equal(value, i * i);
    }
    furrow_results_close(&results);
}

/* The arguments of the initializer, where they travel with the task's, are in nobody's way. */
static void arguments_of_every_size_pass_an_initializer(void **state) {
    static const size_t sizes[] = {0, 1, 40, 60, 80, 100, 300, 65000, 65500, 65536, 200000};
    static uint8_t bytes[200000];
    furrow_buffer *args = must(furrow_buffer_new());
    furrow_options options = initializer_options(args, 1234);
    furrow_executor *pool = conformance_open_with(2, &options, NULL);
    (void)state;

    furrow_buffer_free(&args);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        furrow_future *future = must(furrow_submit(pool, identity, "B", bytes, sizes[i]));
        const void *got;
        size_t size;

        assert_ok(furrow_future_result(future, 30, "B", &got, &size));
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(got, bytes, size);
        furrow_future_unref(&future);
    }
    for (int64_t i = 0; i < 3; i++) { /* few, but not packed where small arguments are */
        furrow_future *future = must(furrow_submit(pool, identity, "[ii]", i, i + 1));
        int64_t a = -1, b = -1;

        assert_ok(furrow_future_result(future, 30, "[ii]", &a, &b));
        assert_int_equal(a, i);
        assert_int_equal(b, i + 1);
        furrow_future_unref(&future);
    }
}

static void a_failing_initializer_breaks_the_pool(void **state) {
    furrow_buffer *args = must(furrow_buffer_new());
    furrow_options options = initializer_options(args, -1);
    furrow_executor *pool = conformance_open_with(1, &options, NULL);
    furrow_future *futures[5] = {NULL};
    (void)state;

    furrow_buffer_free(&args);
    for (int i = 0; i < 5; i++) {
        futures[i] = furrow_submit(pool, square, "i", (int64_t)1);
    }
    for (int i = 0; i < 5; i++) {
        if (futures[i] != NULL) {
            assert_int_equal(error_of(futures[i])->kind, FURROW_ERROR_BROKEN);
            assert_non_null(strstr(error_of(futures[i])->message, "set_up"));
        }
        furrow_future_unref(&futures[i]);
    }
    wait_for(conformance_logged("set_up was told to fail") >= 1);
    assert_null(furrow_submit(pool, square, "i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_EBROKEN);
    assert_non_null(strstr(furrow_last_error(), "set_up"));
}

/* ---- on the workers of a broker, which serve others too ---- */

static void expect_set_up_for(furrow_executor *client, int64_t expected, int64_t times) {
    furrow_future *future = must(furrow_submit(client, was_set_up, ""));
    int64_t value, in_process, in_thread;

    assert_ok(furrow_future_result(future, 30, "[iii]", &value, &in_process, &in_thread));
    assert_int_equal(value, expected);
    assert_int_equal(in_process, times);
    furrow_future_unref(&future);
}

static void each_client_of_a_fleet_brings_its_own_initializer(void **state) {
    furrow_buffer *args = must(furrow_buffer_new()), *more = must(furrow_buffer_new());
    furrow_executor *plain = conformance_open(1), *first, *second;
    furrow_options options;
    (void)state;

    expect_set_up_for(plain, 0, 0);
    options = initializer_options(args, 1234);
    first = must(furrow_open(conformance_url(), &options));
    expect_set_up_for(first, 1234, 1);
    options = initializer_options(more, 5678);
    second = must(furrow_open(conformance_url(), &options));
    expect_set_up_for(second, 5678, 2);
    expect_set_up_for(first, 5678, 2); /* not again */
    expect_set_up_for(plain, 5678, 2);
    assert_ok(furrow_close(&first));
    assert_ok(furrow_close(&second));
    furrow_buffer_free(&args);
    furrow_buffer_free(&more);
}

static void one_that_fails_breaks_its_own_client_alone(void **state) {
    furrow_buffer *args = must(furrow_buffer_new());
    furrow_options options = initializer_options(args, -1);
    furrow_executor *plain = conformance_open(1);
    furrow_executor *client = must(furrow_open(conformance_url(), &options));
    furrow_future *future = must(furrow_submit(client, square, "i", (int64_t)1));
    (void)state;

    assert_int_equal(error_of(future)->kind, FURROW_ERROR_BROKEN);
    assert_string_equal(error_of(future)->function, "set_up");
    assert_int_equal(error_of(future)->code, 1);
    expect_pool_works(plain);
    furrow_future_unref(&future);
    assert_ok(furrow_close(&client));
    furrow_buffer_free(&args);
}

static int of_this_program(furrow_task *task) {
    return furrow_task_return(task, "i", (int64_t)1);
}
FURROW_TASK(of_this_program);

static void one_that_the_workers_lack_breaks_the_pool(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;
    (void)state;

    options.initializer = FURROW_FUNCTION(of_this_program);
    furrow_executor *pool = conformance_open_with(1, &options, NULL);
    furrow_future *future = must(furrow_submit(pool, square, "i", (int64_t)1));
    assert_int_equal(error_of(future)->kind, FURROW_ERROR_BROKEN);
    assert_int_equal(error_of(future)->code, FURROW_ENOFUNCTION);
    assert_null(furrow_submit(pool, square, "i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_EBROKEN);
    assert_non_null(strstr(furrow_last_error(), "of_this_program"));
    furrow_future_unref(&future);
}

/* More than is handed on before a worker is there: what waits before that fails as well. */
static void a_flood_at_a_pool_whose_initializer_fails_ends(void **state) {
    enum { COUNT = 50000 };
    furrow_buffer *args = must(furrow_buffer_new());
    furrow_options options = initializer_options(args, -1);
    furrow_executor *pool = conformance_open_with(1, &options, NULL);
    furrow_future **futures = calloc(COUNT, sizeof *futures);
    int count = 0;
    (void)state;

    furrow_buffer_free(&args);
    assert_non_null(futures);
    while (count < COUNT &&
           (futures[count] = furrow_submit(pool, square, "i", (int64_t)count)) != NULL) {
        count++;
    }
    for (int i = 0; i < count; i++) {
        assert_int_equal(error_of(futures[i])->kind, FURROW_ERROR_BROKEN);
        furrow_future_unref(&futures[i]);
    }
    free(futures);
}

/* ---------------------------------------------- terminate_workers, kill_workers */

static void expect_signalled(furrow_status (*signal_workers)(furrow_executor *)) {
    furrow_executor *pool = conformance_open(1);

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    gate_wait_started(1);
    furrow_future *waiting = must(furrow_submit(pool, mark, "si", gate_path(), (int64_t)1));
    assert_ok(signal_workers(pool));
    const furrow_error *error = error_of(held);
    assert_true(error->kind == FURROW_ERROR_LOST || error->kind == FURROW_ERROR_BROKEN);
    error = error_of(waiting);
    assert_true(error->kind == FURROW_ERROR_LOST || error->kind == FURROW_ERROR_BROKEN);
    assert_null(furrow_submit(pool, square, "i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_EBROKEN);
    assert_true(strlen(furrow_last_error()) > 0);
    assert_ok(signal_workers(pool)); /* on dead workers: no error */
    conformance_close();
    assert_int_equal(gate_started(), 1);
    furrow_future_unref(&held);
    furrow_future_unref(&waiting);
}

static void terminate_workers(void **state) {
    (void)state;
    expect_signalled(furrow_terminate_workers);
}

static void kill_workers(void **state) {
    (void)state;
    expect_signalled(furrow_kill_workers);
}

static void a_task_that_does_not_heed_is_killed_after_terminate(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *spin = must(furrow_submit(pool, crash, "s", "spin"));
    wait_for(furrow_future_running(spin));
    double start = now_seconds();
    assert_ok(furrow_terminate_workers(pool));
    error_of(spin);
    conformance_close();
    assert_true(now_seconds() - start < 20.0);
    furrow_future_unref(&spin);
}

static void signalling_before_the_start_is_no_error(void **state) {
    (void)state;
    assert_ok(furrow_terminate_workers(conformance_open(1)));
    conformance_close();
    assert_ok(furrow_kill_workers(conformance_open(1)));
}

static void signalling_is_for_processes_alone(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    assert_int_equal(furrow_terminate_workers(pool), FURROW_EUNSUPPORTED);
    assert_int_equal(furrow_kill_workers(pool), FURROW_EUNSUPPORTED);
    expect_pool_works(pool);
}

/* ------------------------------------------------------------ deadlock family */

static void a_crash_at_any_stage_of_a_task(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    furrow_future *unpacking = must(furrow_submit(pool, crash_unpacking, "i", (int64_t)1));
    furrow_future *running = must(furrow_submit(pool, crash_once, "s", "abort"));
    furrow_future *packing = must(furrow_submit(pool, crash_packing, "i", (int64_t)3));
    assert_int_equal(result_int(unpacking), 1);
    assert_int_equal(result_int(running), 2);
    assert_int_equal(result_int(packing), 3);
    furrow_future_unref(&unpacking);
    furrow_future_unref(&running);
    furrow_future_unref(&packing);
}

static void a_crash_among_a_thousand_large_payloads(void **state) {
    furrow_executor *pool = conformance_open(2);
    enum { COUNT = 1000, BYTES = 100000 };
    furrow_future *futures[COUNT];
    char *bytes = calloc(1, BYTES);
    (void)state;

    assert_non_null(bytes);
    furrow_future *bad = NULL;
    for (int i = 0; i < COUNT; i++) {
        if (i == COUNT / 2) {
            bad = must(furrow_submit(pool, crash_once, "s", "kill"));
        }
        futures[i] = must(furrow_submit(pool, identity, "B", bytes, (size_t)BYTES));
    }
    for (int i = 0; i < COUNT; i++) {
        const void *back;
        size_t size;
        assert_ok(furrow_future_result(futures[i], 60, "B", &back, &size));
        assert_int_equal(size, BYTES);
        furrow_future_unref(&futures[i]);
    }
    assert_int_equal(result_int(bad), 2);
    furrow_future_unref(&bad);
    free(bytes);
}

static void a_crash_while_a_large_result_is_on_its_way(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_future *futures[8];
    (void)state;

    for (int i = 0; i < 8; i++) {
        futures[i] = i % 2 == 0 ? must(furrow_submit(pool, big, "i", (int64_t)4 << 20))
                                : must(furrow_submit(pool, crash_once, "s", "kill"));
    }
    for (int i = 0; i < 8; i++) {
        const void *back;
        size_t size;
        if (i % 2 == 0) {
            assert_ok(furrow_future_result(futures[i], 60, "B", &back, &size));
            assert_int_equal(size, 4 << 20);
        } else {
            assert_int_equal(result_int(futures[i]), 2);
        }
        furrow_future_unref(&futures[i]);
    }
}

static void a_crash_after_shutdown_was_called(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)3));
    gate_wait_started(1);
    furrow_future *bad = must(furrow_submit(pool, crash, "s", "kill"));
    furrow_future *good = must(furrow_submit(pool, square, "i", (int64_t)5));
    assert_ok(furrow_shutdown(pool, 0));
    gate_open();
    assert_ok(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT));
    assert_int_equal(result_int(held), 3);
    assert_int_equal(error_of(bad)->kind, FURROW_ERROR_LOST);
    assert_int_equal(result_int(good), 25);
    furrow_future_unref(&held);
    furrow_future_unref(&bad);
    furrow_future_unref(&good);
}

static void a_flood_of_submits(void **state) {
    furrow_executor *pool = conformance_open(2);
    enum { COUNT = 100000 };
    furrow_future **futures = calloc(COUNT, sizeof *futures);
    (void)state;

    assert_non_null(futures);
    for (int64_t i = 0; i < COUNT; i++) {
        futures[i] = must(furrow_submit(pool, add, "ii", i, (int64_t)1));
    }
    for (int64_t i = 0; i < COUNT; i++) {
        if (result_int(futures[i]) != i + 1) {
            fail_msg("task %d has another's result", (int)i);
        }
        furrow_future_unref(&futures[i]);
    }
    free(futures);
}

/* Lengths around the time from which on a worker's main thread steps in for the one that is inside a
 * task, with cancels and pauses in between: whoever takes over from whom, each task ends once. */
static double mixed_length(unsigned random) {
    unsigned part = random % 100;

    return part < 80 ? 0 : part < 95 ? 0.0002 * (1 + random / 100 % 5) : 0.001 * (random / 100 % 7);
}

static void tasks_of_all_lengths_and_cancels_end_once(void **state) {
    enum { ROUNDS = 6, TASKS = 400 };
    furrow_executor *pool = conformance_open(2);
    static furrow_future *futures[TASKS];
    unsigned random = 4711, cancelled = 0, finished = 0;
    (void)state;

    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < TASKS; i++) {
            random = random * 1103515245 + 12345;
            futures[i] = must(
                furrow_submit(pool, sleep_return, "di", mixed_length(random >> 8), (int64_t)i));
            if (i % 16 == 0 && i > 0) {
                (void)furrow_future_cancel(futures[i - 8]);
            }
        }
        for (unsigned i = 0; i < TASKS; i++) {
            if (furrow_future_wait(futures[i], 60) != FURROW_OK) {
                fail_msg("task %u of round %u did not end: %s", i, round, furrow_last_error());
            }
            if (furrow_future_cancelled(futures[i])) {
                cancelled++;
            } else {
                assert_int_equal(result_int(futures[i]), i);
                finished++;
            }
            furrow_future_unref(&futures[i]);
        }
        pause_ms(round); /* so that workers idle in between */
        expect_pool_works(pool);
    }
    assert_int_equal(cancelled + finished, ROUNDS * TASKS);
}

/* Single tasks one after the other, so that a worker goes to and fro between waiting and each length. */
static void single_tasks_of_all_lengths_end(void **state) {
    furrow_executor *pool = conformance_open(1);
    unsigned random = 815;
    (void)state;

    for (int64_t i = 0; i < 400; i++) {
        random = random * 1103515245 + 12345;
        furrow_future *future = must(
            furrow_submit(pool, sleep_return, "di", i % 3 == 0 ? mixed_length(random >> 8) : 0, i));
        assert_int_equal(result_int(future), i);
        furrow_future_unref(&future);
    }
}

static const struct conformance_row rows[] = {
    ROW(killed_child, ON_WORKERS),
    ROW(an_idle_child_that_is_killed_is_replaced, ON_WORKERS),
    ROW(segfault_in_a_task, ON_WORKERS),
    ROW(abort_in_a_task, ON_WORKERS),
    ROW(exit_in_a_task, ON_WORKERS),
    ROW(stack_overflow_in_a_task, ON_WORKERS),
    ROW(kill_in_a_task, ON_WORKERS),
    ROW(a_task_that_crashes_once_is_run_again, ON_WORKERS),
    ROW(at_most_once_is_never_run_again, ON_WORKERS),
    ROW(max_attempts_bounds_the_runs, ON_WORKERS),
    ROW(an_endless_loop_is_ended_by_its_run_timeout, ON_WORKERS),
    ROW(strict_breaks_at_the_first_death, ON_WORKERS),
    ROW(max_tasks_per_child_changes_processes, ON_PROCESSES),
    ROW(max_tasks_per_child_completes_the_backlog, ON_PROCESSES),
    ROW(max_tasks_per_child_shut_down_in_the_middle, ON_PROCESSES),
    ROW(failing_replacements_break_the_pool, ON_PROCESSES),
    ROW(a_module_serves_programs_that_cannot_be_run_again, ON_PROCESSES),
    ROW(a_module_may_be_named_in_the_url, ON_PROCESSES),
    ROW(initializer_runs_once_in_every_worker_before_its_first_task, ON_ALL),
    ROW(a_chunked_map_finds_its_workers_initialized, ON_ALL),
    ROW(arguments_of_every_size_pass_an_initializer, ON_ALL),
    ROW(a_failing_initializer_breaks_the_pool, ON_ALL),
    ROW(a_flood_at_a_pool_whose_initializer_fails_ends, ON_ALL),
    ROW(each_client_of_a_fleet_brings_its_own_initializer, ON_REMOTE),
    ROW(one_that_fails_breaks_its_own_client_alone, ON_REMOTE),
    ROW(one_that_the_workers_lack_breaks_the_pool, ON_REMOTE),
    ROW(terminate_workers, ON_PROCESSES),
    ROW(kill_workers, ON_PROCESSES),
    ROW(a_task_that_does_not_heed_is_killed_after_terminate, ON_PROCESSES),
    ROW(signalling_before_the_start_is_no_error, ON_PROCESSES),
    ROW(signalling_is_for_processes_alone, ON_THREADS | ON_REMOTE),
    ROW(a_crash_at_any_stage_of_a_task, ON_WORKERS),
    ROW(a_crash_among_a_thousand_large_payloads, ON_WORKERS),
    ROW(a_crash_while_a_large_result_is_on_its_way, ON_WORKERS),
    ROW(a_crash_after_shutdown_was_called, ON_WORKERS),
    ROW(tasks_of_all_lengths_and_cancels_end_once, ON_ALL),
    ROW(single_tasks_of_all_lengths_end, ON_ALL),
    ROW(a_flood_of_submits, ON_ALL),
};
CONFORMANCE_MAIN("workers", rows)
