#include "tests/conformance/harness.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void submit_after_shutdown(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    assert_ok(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT));
    assert_null(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_ESHUTDOWN);
    assert_true(strlen(furrow_last_error()) > 0);
    furrow_input *input = must(furrow_input_range(0, 3, 1));
    assert_null(furrow_map(pool, square, NULL, &input));
    assert_int_equal(furrow_last_status(), FURROW_ESHUTDOWN);
    furrow_input_free(&input);
}

static void shutdown_twice(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *future = must(furrow_submit(pool, square, "i", (int64_t)3));
    assert_ok(furrow_shutdown(pool, 0));
    assert_ok(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT));
    assert_ok(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT | FURROW_SHUTDOWN_CANCEL_FUTURES));
    assert_int_equal(result_int(future), 9);
    furrow_future_unref(&future);
}

static void waiting_returns_when_every_queued_task_has_finished(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *futures[50];
    (void)state;

    for (int64_t i = 0; i < 50; i++) {
        futures[i] = must(furrow_submit(pool, sleep_return, "di", 0.002, i));
    }
    assert_ok(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT));
    for (int64_t i = 0; i < 50; i++) {
        int64_t value;
        assert_ok(furrow_future_result(futures[i], 0, "i", &value));
        assert_int_equal(value, i);
        furrow_future_unref(&futures[i]);
    }
}

static void not_waiting_returns_at_once(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_future *futures[10];
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    for (int64_t i = 0; i < 10; i++) {
        futures[i] = must(furrow_submit(pool, square, "i", i));
    }
    assert_ok(furrow_shutdown(pool, 0));
    assert_false(furrow_future_done(held)); /* we are here, and it is not */
    assert_null(furrow_submit(pool, square, "i", (int64_t)1));
    gate_open();
    for (int64_t i = 0; i < 10; i++) {
        assert_int_equal(result_int(futures[i]), i * i);
        furrow_future_unref(&futures[i]);
    }
    furrow_future_unref(&held);
}

static void *shut_down_cancelling(void *pool) {
    unsigned flags = FURROW_SHUTDOWN_WAIT | FURROW_SHUTDOWN_CANCEL_FUTURES;
    return furrow_shutdown(pool, flags) == FURROW_OK ? NULL : pool;
}

static int count_cancelled(furrow_future *const *futures, int count) {
    int cancelled = 0;

    for (int i = 0; i < count; i++) {
        cancelled += furrow_future_cancelled(futures[i]);
    }
    return cancelled;
}

static void cancel_futures(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *futures[50], *future;
    pthread_t closer;
    void *failed;
    int finished = 0, yielded = 0;
    (void)state;

    for (int64_t i = 0; i < 50; i++) {
        futures[i] = must(furrow_submit(pool, hold, "si", gate_path(), i));
    }
    gate_wait_started(2);
    assert_int_equal(pthread_create(&closer, NULL, shut_down_cancelling, pool), 0);
    wait_for(count_cancelled(futures, 50) > 20); /* while the first two hold both workers */
    gate_open();
    assert_int_equal(pthread_join(closer, &failed), 0);
    assert_null(failed);
    furrow_completed *completed = must(furrow_as_completed(futures, 50, 30));
    while (furrow_completed_next(completed, &future) == FURROW_OK) {
        yielded++;
        furrow_future_unref(&future);
    }
    furrow_completed_free(&completed);
    assert_int_equal(yielded, 50);
    for (int i = 0; i < 50; i++) {
        assert_true(furrow_future_done(futures[i]));
        if (!furrow_future_cancelled(futures[i])) {
            result_int(futures[i]);
            finished++;
        }
    }
    assert_int_equal(count_cancelled(futures, 50) + finished, 50);
    for (int i = 0; i < 50; i++) {
        furrow_future_unref(&futures[i]);
    }
    assert_true(finished >= 1);
    assert_int_equal(gate_started(), finished); /* a cancelled one never started */
}

/* A sanitizer makes starting processes that much slower. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PROCESSES_ROUNDS 100
#else
#define PROCESSES_ROUNDS 1000
#endif

/* On a broker clients come and go, and it stays. */
static void submit_cancel_shutdown_in_a_tight_loop(void **state) {
    int rounds = conformance_kind == ON_PROCESSES ? PROCESSES_ROUNDS : 1000;
    const char *url = conformance_kind == ON_THREADS ? "threads:2" : "processes:2";
    (void)state;

    if (conformance_kind == ON_REMOTE) {
        conformance_open(2);
        url = conformance_url();
    }
    for (int round = 0; round < rounds; round++) {
        furrow_executor *pool = must(furrow_open(url, NULL));
        furrow_future *futures[8];

        for (int64_t i = 0; i < 8; i++) {
            futures[i] = must(furrow_submit(pool, square, "i", i));
        }
        furrow_future_cancel(futures[round % 8]);
        furrow_future_cancel_async(futures[(round + 3) % 8]);
        assert_ok(furrow_shutdown(pool, round % 2 == 0 ? 0 : FURROW_SHUTDOWN_CANCEL_FUTURES));
        assert_ok(furrow_close(&pool));
        for (int i = 0; i < 8; i++) {
            assert_true(furrow_future_done(futures[i]));
            furrow_future_unref(&futures[i]);
        }
    }
}

static void cancel_and_shutdown_meet(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *futures[2000];
    (void)state;

    for (int64_t i = 0; i < 2000; i++) {
        futures[i] = must(furrow_submit(pool, square, "i", i));
    }
    for (int i = 0; i < 2000; i++) {
        furrow_future_cancel_async(futures[i]);
    }
    assert_ok(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT | FURROW_SHUTDOWN_CANCEL_FUTURES));
    for (int i = 0; i < 2000; i++) {
        assert_true(furrow_future_done(futures[i]));
        furrow_future_unref(&futures[i]);
    }
}

struct flooder {
    furrow_executor *pool;
    atomic_int accepted, started;
};

static void *flood(void *user) {
    struct flooder *flooder = user;

    atomic_fetch_add(&flooder->started, 1);
    for (int i = 0; i < 100000; i++) {
        furrow_future *future = furrow_submit(flooder->pool, square, "i", (int64_t)i);
        if (future == NULL) {
            break;
        }
        atomic_fetch_add(&flooder->accepted, 1);
        furrow_future_unref(&future);
    }
    return NULL;
}

/* cpython#105829: shutdown while submits flood the way to the I/O thread, and the gate of max_pending
 * is shut. */
static void shutdown_while_the_queue_is_full(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;
    options.max_pending = 64;
    furrow_executor *pool = conformance_open_with(2, &options, NULL);
    struct flooder flooder = {.pool = pool};
    pthread_t threads[3];
    (void)state;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, flood, &flooder), 0);
    }
    wait_for(atomic_load(&flooder.accepted) > 500);
    assert_ok(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT));
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void leave_a_scope(const char *url, furrow_future **kept, int64_t count) {
    FURROW_SCOPED furrow_executor *pool = furrow_open(url, NULL);

    assert_non_null(pool);
    for (int64_t i = 0; i < count; i++) {
        kept[i] = must(furrow_submit(pool, sleep_return, "di", 0.005, i));
    }
}

static void leaving_the_scope_waits(void **state) {
    furrow_future *kept[10];
    (void)state;

    conformance_open(2);
    leave_a_scope(conformance_url(), kept, 10);
    for (int64_t i = 0; i < 10; i++) {
        int64_t value;
        assert_ok(furrow_future_result(kept[i], 0, "i", &value));
        assert_int_equal(value, i);
        furrow_future_unref(&kept[i]);
    }
}

static void thread_names_carry_the_prefix(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;
    options.thread_name_prefix = "plough";
    furrow_executor *pool = conformance_open_with(1, &options, NULL);
    const char *name = NULL;
    (void)state;

    furrow_future *future = must(furrow_submit(pool, thread_name, ""));
    assert_ok(furrow_future_result(future, 30, "s", &name));
    assert_string_equal(name, "plough_0");
    furrow_future_unref(&future);
}

static void a_bounded_shutdown_lets_quick_tasks_finish(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *futures[10];
    (void)state;

    for (int64_t i = 0; i < 10; i++) {
        futures[i] = must(furrow_submit(pool, square, "i", i));
    }
    assert_ok(furrow_shutdown_within(pool, 20.0, 1.0));
    for (int64_t i = 0; i < 10; i++) {
        assert_int_equal(result_int(futures[i]), i * i);
        furrow_future_unref(&futures[i]);
    }
}

static void a_bounded_shutdown_is_bounded(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    gate_wait_started(1);
    furrow_future *waiting = must(furrow_submit(pool, square, "i", (int64_t)2));
    double start = now_seconds();
    assert_int_equal(furrow_shutdown_within(pool, 0.05, 5.0), FURROW_ETIMEOUT);
    assert_true(now_seconds() - start < 15.0);
    assert_true(furrow_future_done(held)); /* it was asked to end, and did */
    assert_true(furrow_future_cancelled(waiting));
    furrow_future_unref(&held);
    furrow_future_unref(&waiting);
}

static void a_task_that_never_ends_is_killed(void **state) {
    furrow_executor *pool = conformance_open(1);
    const furrow_error *error = NULL;
    (void)state;

    furrow_future *spin = must(furrow_submit(pool, crash, "s", "spin"));
    wait_for(furrow_future_running(spin));
    double start = now_seconds();
    assert_int_equal(furrow_shutdown_within(pool, 0.05, 0.2), FURROW_ETIMEOUT);
    assert_true(now_seconds() - start < 15.0);
    assert_true(furrow_future_done(spin));
    assert_ok(furrow_future_error(spin, 0, &error));
    assert_non_null(error);
    furrow_future_unref(&spin);
}

static int64_t children_of(pid_t pid) {
    char path[64];
    int64_t count = 0;
    int child;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fscanf(file, "%d", &child) == 1) {
        count++;
    }
    if (file != NULL) {
        fclose(file);
    }
    return count;
}

/* exit without shutdown, in a program of its own: this one with another argument. */
static void exit_without_shutdown(void **state) {
    char self[512] = "", command[1024], line[64] = "";
    (void)state;

    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    conformance_open(2);
    snprintf(command, sizeof command, "%s --leave '%s'", self, conformance_url());
    FILE *program = popen(command, "re");
    assert_non_null(program);
    assert_non_null(fgets(line, sizeof line, program));
    int worker = atoi(line);
    assert_true(worker > 0);
    int status = pclose(program);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    if (conformance_kind == ON_PROCESSES) {
        wait_for(kill(worker, 0) != 0); /* no orphan */
    }
}

furrow_future *left_behind[11]; /* reachable, so that they are no leak to a sanitizer */

/* What that program does: leaves with tasks queued and running. Prints the pid of a worker. */
static int leave_without_shutdown(const char *url) {
    furrow_executor *pool = furrow_open(url, NULL);
    int64_t pid = 0, thread;

    if (pool == NULL) {
        fprintf(stderr, "%s\n", furrow_last_error());
        return 1;
    }
    furrow_future *future = left_behind[10] = furrow_submit(pool, where, "");
    if (furrow_future_result(future, 30, "[ii]", &pid, &thread) != FURROW_OK) {
        fprintf(stderr, "%s\n", furrow_last_error());
        return 1;
    }
    for (int i = 0; i < 10; i++) {
        left_behind[i] = furrow_submit(pool, sleep_return, "di", 30.0, (int64_t)i);
    }
    printf("%d\n", (int)pid);
    return 0;
}

static void the_workers_of_a_closed_pool_are_gone(void **state) {
    furrow_executor *pool = conformance_open(3);
    furrow_future *futures[12];
    (void)state;

    for (int64_t i = 0; i < 12; i++) {
        futures[i] = must(furrow_submit(pool, sleep_return, "di", 0.01, i));
    }
    for (int i = 0; i < 12; i++) {
        result_int(futures[i]);
        furrow_future_unref(&futures[i]);
    }
    conformance_close();
    assert_int_equal(children_of(getpid()), 0);
}

struct from_callback {
    furrow_executor *pool;
    atomic_int called;
    furrow_status waited, closed;
};

static furrow_status wait_in_callback(furrow_future *future, void *user) {
    struct from_callback *from = user;
    furrow_executor *pool = from->pool;
    (void)future;

    from->waited = furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT);
    from->closed = furrow_close(&pool);
    atomic_store(&from->called, 1);
    return FURROW_OK;
}

static void waiting_for_oneself_is_refused(void **state) {
    struct from_callback from = {.pool = conformance_open(1)};
    (void)state;

    furrow_future *future = must(furrow_submit(from.pool, hold, "si", gate_path(), (int64_t)0));
    assert_ok(furrow_future_add_done_callback(future, wait_in_callback, &from));
    gate_open();
    wait_for(atomic_load(&from.called) == 1);
    assert_int_equal(from.waited, FURROW_EDEADLOCK);
    assert_int_equal(from.closed, FURROW_EDEADLOCK);
    furrow_future_unref(&future);
}

static const struct conformance_row rows[] = {
    ROW(submit_after_shutdown, ON_ALL),
    ROW(shutdown_twice, ON_ALL),
    ROW(waiting_returns_when_every_queued_task_has_finished, ON_ALL),
    ROW(not_waiting_returns_at_once, ON_ALL),
    ROW(cancel_futures, ON_ALL),
    ROW(submit_cancel_shutdown_in_a_tight_loop, ON_ALL),
    ROW(cancel_and_shutdown_meet, ON_ALL),
    ROW(shutdown_while_the_queue_is_full, ON_ALL),
    ROW(leaving_the_scope_waits, ON_ALL),
    ROW(thread_names_carry_the_prefix, ON_THREADS),
    ROW(a_bounded_shutdown_lets_quick_tasks_finish, ON_ALL),
    ROW(a_bounded_shutdown_is_bounded, ON_ALL),
    ROW(a_task_that_never_ends_is_killed, ON_PROCESSES),
    ROW(exit_without_shutdown, ON_ALL),
    ROW(the_workers_of_a_closed_pool_are_gone, ON_ALL),
    ROW(waiting_for_oneself_is_refused, ON_ALL),
};

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    if (argc == 3 && strcmp(argv[1], "--leave") == 0) {
        return leave_without_shutdown(argv[2]);
    }
    return conformance_main(argc, argv, "shutdown", rows, sizeof rows / sizeof rows[0]);
}
