/* Threads that wait may do the executor's work meanwhile: nobody may notice. */
#include "tests/conformance/harness.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static furrow_future *submit_square(furrow_executor *pool, int64_t x) {
    return must(furrow_submit(pool, square, "i", x));
}

static furrow_future *submit_held(furrow_executor *pool) {
    return must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)7));
}

/* Submits one and waits for it, some times: from then on this thread is in the habit. */
static void get_into_the_habit(furrow_executor *pool) {
    for (int64_t i = 0; i < 10; i++) {
        furrow_future *future = submit_square(pool, i);

        assert_int_equal(result_int(future), i * i);
        furrow_future_unref(&future);
    }
}

/* ---- waiting ---- */

struct waiter {
    pthread_t thread;
    furrow_executor *pool;
    furrow_future *future;
    int64_t first;
    double timeout;
    atomic_int entered, failures;
    furrow_status status;
};

static void *ping(void *user) {
    struct waiter *waiter = user;

    for (int64_t i = 0; i < 300; i++) {
        furrow_future *futures[3];
        int count = 1 + (int)(i % 3);

        for (int k = 0; k < count; k++) {
            futures[k] = furrow_submit(waiter->pool, square, "i", waiter->first + i + k);
        }
        for (int k = 0; k < count; k++) {
            int64_t value = -1, x = waiter->first + i + k;

            if (futures[k] == NULL ||
                furrow_future_result(futures[k], -1, "i", &value) != FURROW_OK || value != x * x) {
                atomic_fetch_add(&waiter->failures, 1);
            }
            furrow_future_unref(&futures[k]);
        }
    }
    return NULL;
}

static void round_trips_of_many_threads(void **state) {
    furrow_executor *pool = conformance_open(2);
    struct waiter waiters[5] = {{0}};
    (void)state;

    for (int i = 0; i < 5; i++) {
        waiters[i].pool = pool;
        waiters[i].first = i * 1000;
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, ping, &waiters[i]), 0);
    }
    for (int i = 0; i < 5; i++) {
        pthread_join(waiters[i].thread, NULL);
        assert_int_equal(waiters[i].failures, 0);
    }
}

static void timeouts_of_every_length(void **state) {
    static const double timeouts[] = {1e-6, 0.0005, 0.0015, 0.003, 0.02, 0.06};
    furrow_executor *pool = conformance_open(2);
    furrow_future *held = submit_held(pool);
    (void)state;

    gate_wait_started(1);
    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        furrow_future *quick = submit_square(pool, 5);
        double start = now_seconds();

        assert_int_equal(furrow_future_wait(held, timeouts[i]), FURROW_ETIMEOUT);
        assert_true(now_seconds() - start >= timeouts[i]);
        assert_int_equal(result_int(quick), 25);
        furrow_future_unref(&quick);
    }
    assert_int_equal(furrow_future_wait(held, 0), FURROW_ETIMEOUT);
    gate_open();
    assert_int_equal(result_int(held), 7);
    furrow_future_unref(&held);
}

static void *wait_for_future(void *user) {
    struct waiter *waiter = user;

    atomic_store(&waiter->entered, 1);
    waiter->status = furrow_future_wait(waiter->future, waiter->timeout);
    return NULL;
}

static void start_waiter(struct waiter *waiter, furrow_future *future, double timeout) {
    *waiter = (struct waiter){.future = future, .timeout = timeout};
    assert_int_equal(pthread_create(&waiter->thread, NULL, wait_for_future, waiter), 0);
    wait_for(atomic_load(&waiter->entered) != 0);
    pause_ms(5); /* it sleeps by now, most likely */
}

static void expect_waiter(struct waiter *waiter, furrow_status status) {
    pthread_join(waiter->thread, NULL);
    assert_int_equal(waiter->status, status);
}

static void a_waiter_that_gives_up_leaves_the_others_served(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *held = submit_held(pool);
    struct waiter impatient, patient;
    (void)state;

    gate_wait_started(1);
    for (int64_t i = 0; i < 20; i++) {
        furrow_future *slow = must(furrow_submit(pool, sleep_return, "di", 0.02, i));

        start_waiter(&impatient, held, 0.012);
        start_waiter(&patient, slow, -1);
        expect_waiter(&impatient, FURROW_ETIMEOUT);
        expect_waiter(&patient, FURROW_OK);
        assert_int_equal(result_int(slow), i);
        furrow_future_unref(&slow);
    }
    gate_open();
    assert_int_equal(result_int(held), 7);
    furrow_future_unref(&held);
}

/* ---- not waiting ---- */

static void what_nobody_waits_for_is_done_all_the_same(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    for (int64_t i = 0; i < 20; i++) {
        get_into_the_habit(pool);
        furrow_future *alone = submit_square(pool, i);
        wait_for(furrow_future_done(alone));
        furrow_future *one = submit_square(pool, i), *two = submit_square(pool, i + 1);
        wait_for(furrow_future_done(one) && furrow_future_done(two));
        furrow_future_unref(&alone);
        furrow_future_unref(&one);
        furrow_future_unref(&two);
    }
}

static void a_queue_is_served_after_a_wait(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_completion_queue *queue = must(furrow_completion_queue_new());
    struct pollfd fd = {.fd = furrow_completion_queue_fd(queue), .events = POLLIN};
    (void)state;

    for (int64_t i = 0; i < 50; i++) {
        furrow_future *one = submit_square(pool, i), *two = submit_square(pool, 2), *got = NULL;

        assert_ok(furrow_completion_queue_add(queue, two, NULL));
        assert_int_equal(result_int(one), i * i);
        assert_int_equal(poll(&fd, 1, 20000), 1);
        assert_ok(furrow_completion_queue_next(queue, &got, NULL));
        assert_ptr_equal(got, two);
        furrow_future_unref(&one);
        furrow_future_unref(&two);
        furrow_future_unref(&got);
    }
    furrow_completion_queue_free(&queue);
}

/* ---- callbacks ---- */

static pthread_t main_thread;
static _Thread_local bool adding;
static atomic_int called, called_wrong;
static atomic_int order;

static furrow_status note_thread(furrow_future *future, void *user) {
    (void)future;
    (void)user;
    if (pthread_equal(pthread_self(), main_thread) && !adding) {
        atomic_fetch_add(&called_wrong, 1);
    }
    atomic_fetch_add(&called, 1);
    return FURROW_OK;
}

static furrow_status note_order(furrow_future *future, void *user) {
    int expected = *(const int *)user;

    (void)future;
    if (atomic_fetch_add(&order, 1) != expected) {
        atomic_fetch_add(&called_wrong, 1);
    }
    return FURROW_OK;
}

static void add_callback(furrow_future *future, furrow_done_callback *callback, void *user) {
    adding = true;
    assert_ok(furrow_future_add_done_callback(future, callback, user));
    adding = false;
}

static void callbacks_never_run_in_a_thread_that_waits(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    main_thread = pthread_self();
    atomic_store(&called, 0);
    atomic_store(&called_wrong, 0);
    for (int64_t i = 0; i < 300; i++) {
        furrow_future *future = submit_square(pool, i);

        add_callback(future, note_thread, NULL);
        assert_int_equal(result_int(future), i * i);
        furrow_future_unref(&future);
    }
    conformance_close(); /* after which none is left to run */
    assert_int_equal(called, 300);
    assert_int_equal(called_wrong, 0);
}

static void callbacks_of_one_that_waits_for_another(void **state) {
    static const int numbers[] = {0, 1, 2};
    furrow_executor *pool = conformance_open(2);
    furrow_future *held = submit_held(pool), *quick;
    struct waiter waiter;
    (void)state;

    gate_wait_started(1);
    start_waiter(&waiter, held, -1);
    atomic_store(&order, 0);
    atomic_store(&called_wrong, 0);
    quick = must(furrow_submit(pool, sleep_return, "di", 0.05, (int64_t)1));
    for (int i = 0; i < 3; i++) {
        add_callback(quick, note_order, (void *)(uintptr_t)&numbers[i]);
    }
    wait_for(atomic_load(&order) == 3); /* while the other still waits */
    assert_int_equal(called_wrong, 0);
    gate_open();
    expect_waiter(&waiter, FURROW_OK);
    furrow_future_unref(&quick);
    furrow_future_unref(&held);
}

static furrow_status wait_in_callback(furrow_future *future, void *user) {
    furrow_future *other = user;
    (void)future;

    /* of the same executor, so it may not be waited for here */
    if (furrow_future_wait(other, 10) != FURROW_EDEADLOCK) {
        atomic_fetch_add(&called_wrong, 1);
    }
    atomic_fetch_add(&called, 1);
    return FURROW_OK;
}

static void waiting_in_a_callback_is_refused(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *held = submit_held(pool), *slow;
    (void)state;

    gate_wait_started(1);
    atomic_store(&called, 0);
    atomic_store(&called_wrong, 0);
    slow = must(furrow_submit(pool, sleep_return, "di", 0.05, (int64_t)1));
    add_callback(slow, wait_in_callback, held);
    assert_int_equal(result_int(slow), 1);
    wait_for(atomic_load(&called) == 1);
    assert_int_equal(called_wrong, 0);
    gate_open();
    assert_int_equal(result_int(held), 7);
    furrow_future_unref(&slow);
    furrow_future_unref(&held);
}

/* ---- ends ---- */

static void a_cancel_reaches_one_that_is_waited_for(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_future *held = submit_held(pool);
    (void)state;

    gate_wait_started(1);
    for (int i = 0; i < 20; i++) {
        furrow_future *queued = submit_square(pool, i);
        struct waiter waiter;

        start_waiter(&waiter, queued, -1);
        assert_true(furrow_future_cancel(queued));
        expect_waiter(&waiter, FURROW_OK);
        assert_true(furrow_future_cancelled(queued));
        furrow_future_unref(&queued);
    }
    gate_open();
    assert_int_equal(result_int(held), 7);
    furrow_future_unref(&held);
}

static void a_shutdown_while_somebody_waits(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_future *held = submit_held(pool), *queued;
    struct waiter first, second;
    (void)state;

    gate_wait_started(1);
    queued = submit_square(pool, 3);
    start_waiter(&first, held, -1);
    start_waiter(&second, queued, -1);
    assert_ok(furrow_shutdown(pool, FURROW_SHUTDOWN_CANCEL_FUTURES));
    expect_waiter(&second, FURROW_OK);
    assert_true(furrow_future_cancelled(queued));
    assert_null(furrow_submit(pool, square, "i", (int64_t)1));
    gate_open();
    assert_ok(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT));
    expect_waiter(&first, FURROW_OK);
    assert_int_equal(result_int(held), 7);
    furrow_future_unref(&held);
    furrow_future_unref(&queued);
}

static void a_bounded_shutdown_while_somebody_waits(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_future *slow = must(furrow_submit(pool, sleep_return, "di", 30.0, (int64_t)1));
    struct waiter waiter;
    (void)state;

    wait_for(furrow_future_running(slow) || conformance_kind != ON_THREADS);
    start_waiter(&waiter, slow, -1);
    assert_int_equal(furrow_shutdown_within(pool, 0.05, 1.0), FURROW_ETIMEOUT);
    expect_waiter(&waiter, FURROW_OK);
    furrow_future_unref(&slow);
}

/* The waiter is on its way out when the executor is freed under it. */
static void closing_as_soon_as_the_last_result_is_there(void **state) {
    (void)state;

    for (int64_t i = 0; i < 15; i++) {
        furrow_executor *pool = conformance_open(1);
        furrow_future *future = must(furrow_submit(pool, sleep_return, "di", 0.02, i));
        struct waiter waiter;

        start_waiter(&waiter, future, -1);
        wait_for(furrow_future_done(future));
        conformance_close();
        expect_waiter(&waiter, FURROW_OK);
        assert_int_equal(result_int(future), i);
        furrow_future_unref(&future);
    }
}

/* ---- signals, cancellation, fork ---- */

static atomic_int handled;

static void count_signal(int signal_number) {
    (void)signal_number;
    atomic_fetch_add(&handled, 1);
}

static void a_signal_is_handled_while_its_thread_waits(void **state) {
    struct sigaction action = {.sa_handler = count_signal}, before;
    furrow_executor *pool = conformance_open(2);
    furrow_future *held = submit_held(pool);
    struct waiter waiter;
    (void)state;

    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    gate_wait_started(1);
    atomic_store(&handled, 0);
    start_waiter(&waiter, held, -1);
    for (int i = 1; i <= 20; i++) {
        furrow_future *quick = submit_square(pool, i);

        assert_int_equal(pthread_kill(waiter.thread, SIGUSR1), 0);
        wait_for(atomic_load(&handled) == i);
        assert_int_equal(result_int(quick), i * i);
        furrow_future_unref(&quick);
    }
    gate_open();
    expect_waiter(&waiter, FURROW_OK);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    furrow_future_unref(&held);
}

static atomic_int blocked, unblock;

static void block_in_handler(int signal_number) {
    (void)signal_number;
    atomic_store(&blocked, 1);
    while (atomic_load(&unblock) == 0) {
        (void)sched_yield();
    }
}

static void a_waiter_that_hangs_in_a_handler_holds_up_nobody(void **state) {
    struct sigaction action = {.sa_handler = block_in_handler}, before;
    furrow_executor *pool = conformance_open(2);
    furrow_future *held = submit_held(pool), *quick;
    struct waiter waiter;
    (void)state;

    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    gate_wait_started(1);
    atomic_store(&blocked, 0);
    atomic_store(&unblock, 0);
    start_waiter(&waiter, held, -1);
    assert_int_equal(pthread_kill(waiter.thread, SIGUSR1), 0);
    wait_for(atomic_load(&blocked) != 0);
    quick = submit_square(pool, 9);
    wait_for(furrow_future_done(quick));
    assert_int_equal(result_int(quick), 81);
    gate_open();
    wait_for(furrow_future_done(held));
    atomic_store(&unblock, 1);
    expect_waiter(&waiter, FURROW_OK);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    furrow_future_unref(&quick);
    furrow_future_unref(&held);
}

static void a_cancelled_thread_finishes_its_wait(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *held = submit_held(pool), *quick;
    struct waiter waiter;
    (void)state;

    gate_wait_started(1);
    start_waiter(&waiter, held, -1);
    assert_int_equal(pthread_cancel(waiter.thread), 0);
    quick = submit_square(pool, 4);
    assert_int_equal(result_int(quick), 16);
    gate_open();
    expect_waiter(&waiter, FURROW_OK);
    furrow_future_unref(&quick);
    furrow_future_unref(&held);
}

/* The child has copies of everything, and no thread but this. */
static void a_forked_child_leaves_the_executor_alone(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *held;
    int status = -1;
    (void)state;

    get_into_the_habit(pool);
    held = submit_held(pool);
    gate_wait_started(1);
    for (int64_t i = 0; i < 5; i++) {
        pid_t child = fork();

        if (child == 0) {
            _exit(furrow_future_wait(held, 0.02) == FURROW_ETIMEOUT ? 0 : 1);
        }
        assert_true(child > 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        get_into_the_habit(pool);
    }
    gate_open();
    assert_int_equal(result_int(held), 7);
    furrow_future_unref(&held);
}

/* ---- workers ---- */

static void workers_inherit_nothing_from_a_thread_that_waits(void **state) {
    cpu_set_t all, one;
    furrow_executor *pool;
    size_t first = 0;
    (void)state;

    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    while (!CPU_ISSET(first, &all)) {
        first++;
    }
    pool = conformance_open(2);
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    for (int i = 0; i < 5; i++) { /* each ends its worker, so that new ones are started */
        furrow_future *future = must(furrow_submit(pool, crash_once, "s", "kill"));

        (void)furrow_future_wait(future, -1);
        furrow_future_unref(&future);
        future = must(furrow_submit(pool, processors, ""));
        assert_int_equal(result_int(future), CPU_COUNT(&all));
        furrow_future_unref(&future);
    }
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

static const struct conformance_row rows[] = {
    ROW(round_trips_of_many_threads, ON_ALL),
    ROW(timeouts_of_every_length, ON_ALL),
    ROW(a_waiter_that_gives_up_leaves_the_others_served, ON_ALL),
    ROW(what_nobody_waits_for_is_done_all_the_same, ON_ALL),
    ROW(a_queue_is_served_after_a_wait, ON_ALL),
    ROW(callbacks_never_run_in_a_thread_that_waits, ON_ALL),
    ROW(callbacks_of_one_that_waits_for_another, ON_ALL),
    ROW(waiting_in_a_callback_is_refused, ON_ALL),
    ROW(a_cancel_reaches_one_that_is_waited_for, ON_ALL),
    ROW(a_shutdown_while_somebody_waits, ON_ALL),
    ROW(a_bounded_shutdown_while_somebody_waits, ON_ALL),
    ROW(closing_as_soon_as_the_last_result_is_there, ON_ALL),
    ROW(a_signal_is_handled_while_its_thread_waits, ON_ALL),
    ROW(a_waiter_that_hangs_in_a_handler_holds_up_nobody, ON_ALL),
    ROW(a_cancelled_thread_finishes_its_wait, ON_ALL),
    ROW(a_forked_child_leaves_the_executor_alone, ON_WORKERS),
    ROW(workers_inherit_nothing_from_a_thread_that_waits, ON_PROCESSES),
};
CONFORMANCE_MAIN("drive", rows)
