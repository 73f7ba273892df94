/* Who drives an engine, seen from the inside, with a worker process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <furrow.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "libclient/engine.h"

static int square(furrow_task *task) {
    int64_t x;

    if (furrow_task_args(task, "i", &x) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", x * x);
}
FURROW_TASK(square);

/* Runs until the file is gone. */
static int await_removal(furrow_task *task) {
    const char *path;

    if (furrow_task_args(task, "s", &path) != FURROW_OK) {
        return FURROW_EARGS;
    }
    while (access(path, F_OK) == 0) {
        if (furrow_task_sleep(task, 0.001) != FURROW_OK) {
            return FURROW_ECANCELLED;
        }
    }
    return FURROW_OK;
}
FURROW_TASK(await_removal);

static furrow_executor *pool;
static struct engine *engine;
static char gate[64];

static int open_pool(void **state) {
    int fd;
    (void)state;

    snprintf(gate, sizeof gate, "/tmp/furrow-drive.XXXXXX");
    fd = mkstemp(gate);
    pool = furrow_open("processes:1?threads=2", NULL);
    engine = (struct engine *)pool;
    return fd < 0 || close(fd) != 0 || pool == NULL ? -1 : 0;
}

static int close_pool(void **state) {
    (void)state;
    (void)unlink(gate);
    return furrow_close(&pool) == FURROW_OK ? 0 : -1;
}

#define eventually(condition)                                                                      \
    do {                                                                                           \
        uint64_t until_ns = base_clock_deadline(base_clock_ns(), 20.0);                            \
        while (!(condition)) {                                                                     \
            assert_true(base_clock_ns() < until_ns);                                               \
            (void)sched_yield();                                                                   \
        }                                                                                          \
    } while (0)

static void expect_square(int64_t x) {
    furrow_future *future = furrow_submit(pool, square, "i", x);
    int64_t value = -1;

    assert_non_null(future);
    assert_int_equal(furrow_future_result(future, 20, "i", &value), FURROW_OK);
    assert_int_equal(value, x * x);
    furrow_future_unref(&future);
}

static void *wait_for_ever(void *user) {
    furrow_future *future = user;
    bool good = furrow_future_wait(future, -1) == FURROW_OK;

    furrow_future_unref(&future);
    return good ? user : NULL;
}

/* Somebody waits for a task that does not end, and drives. */
static pthread_t start_leader(furrow_future **held) {
    pthread_t thread;

    *held = furrow_submit(pool, await_removal, "s", gate);
    assert_non_null(*held);
    eventually(atomic_load(&engine->drive.state) == ENGINE_FREE &&
               atomic_load(&engine->drive.load) == 1);
    do {
        assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, furrow_future_ref(*held)), 0);
        eventually((atomic_load(&(*held)->word) & FUTURE_WAITED) != 0 ||
                   atomic_load(&engine->drive.state) == ENGINE_LED);
        /* if it came when the I/O thread was busy it sleeps; the next one may have more luck */
        if (atomic_load(&engine->drive.state) != ENGINE_LED) {
            (void)pthread_detach(thread);
        }
    } while (atomic_load(&engine->drive.state) != ENGINE_LED);
    return thread;
}

static void end_leader(pthread_t thread, furrow_future **held) {
    void *result = NULL;

    assert_int_equal(unlink(gate), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, *held);
    furrow_future_unref(held);
}

static void one_that_waits_drives_for_all(void **state) {
    furrow_future *held;
    pthread_t leader;
    (void)state;

    expect_square(1); /* the worker is there then: only the I/O thread may start it */
    leader = start_leader(&held);
    for (int64_t i = 0; i < 100; i++) {
        expect_square(i);
        eventually(atomic_load(&engine->drive.state) == ENGINE_LED);
    }
    end_leader(leader, &held);
    expect_square(5);
}

static pthread_t called_by;
static atomic_int called;

static furrow_status note_caller(furrow_future *future, void *user) {
    (void)future;
    (void)user;
    called_by = pthread_self();
    atomic_store(&called, 1);
    return FURROW_OK;
}

static void callbacks_are_left_to_the_io_thread(void **state) {
    furrow_future *held, *other;
    pthread_t leader;
    (void)state;

    expect_square(1); /* the worker is there then: only the I/O thread may start it */
    leader = start_leader(&held);
    atomic_store(&called, 0);
    assert_int_equal(furrow_future_add_done_callback(held, note_caller, NULL), FURROW_OK);
    other = furrow_submit(pool, square, "i", (int64_t)3);
    assert_non_null(other);
    end_leader(leader, &held);
    eventually(atomic_load(&called) == 1);
    assert_true(pthread_equal(called_by, engine->thread));
    furrow_future_unref(&other);
}

static atomic_int in_handler, go_on;

static void hang(int signal_number) {
    (void)signal_number;
    atomic_store(&in_handler, 1);
    while (atomic_load(&go_on) == 0) {
        (void)sched_yield();
    }
}

static void one_that_hangs_is_relieved(void **state) {
    struct sigaction action = {.sa_handler = hang}, before;
    furrow_future *held;
    pthread_t leader;
    (void)state;

    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    expect_square(1); /* the worker is there then: only the I/O thread may start it */
    leader = start_leader(&held);
    atomic_store(&in_handler, 0);
    atomic_store(&go_on, 0);
    assert_int_equal(pthread_kill(leader, SIGUSR1), 0);
    eventually(atomic_load(&in_handler) == 1);
    expect_square(7);
    assert_int_not_equal(atomic_load(&engine->drive.state), ENGINE_LED);
    atomic_store(&go_on, 1);
    end_leader(leader, &held);
    expect_square(8);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

static void a_thread_in_the_habit_sends_itself_and_may_stay_away(void **state) {
    (void)state;

    for (int64_t i = 0; i < 50; i++) {
        furrow_future *future;

        expect_square(i);
        expect_square(i);
        expect_square(i);
        future = furrow_submit(pool, square, "i", i);
        assert_non_null(future);
        eventually(furrow_future_done(future));
        furrow_future_unref(&future);
    }
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_that_waits_drives_for_all, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(callbacks_are_left_to_the_io_thread, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(one_that_hangs_is_relieved, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(a_thread_in_the_habit_sends_itself_and_may_stay_away,
                                        open_pool, close_pool),
    };

    return cmocka_run_group_tests_name("engine_drive", tests, NULL, NULL);
}
