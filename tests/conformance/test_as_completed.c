#include "tests/conformance/harness.h"

#include <poll.h>
#include <string.h>

static void no_timeout(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *all[10], *future;
    unsigned seen[10] = {0};
    (void)state;

    for (int64_t i = 0; i < 10; i++) {
        all[i] = must(furrow_submit(pool, sleep_return, "di", 0.002 * (double)(i % 3), i));
    }
    furrow_completed *completed = must(furrow_as_completed(all, 10, -1));
    for (int i = 0; i < 10; i++) {
        assert_ok(furrow_completed_next(completed, &future));
        assert_true(furrow_future_done(future));
        seen[result_int(future)]++;
        furrow_future_unref(&future);
    }
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_EEND);
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_EEND);
    furrow_completed_free(&completed);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(seen[i], 1);
        furrow_future_unref(&all[i]);
    }
}

static void comes_in_the_order_of_completion(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *future;
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)1));
    furrow_future *quick = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)1));
    furrow_future *all[] = {held, quick};
    furrow_completed *completed = must(furrow_as_completed(all, 2, 30));

    assert_ok(furrow_completed_next(completed, &future));
    assert_ptr_equal(future, quick);
    furrow_future_unref(&future);
    gate_open();
    assert_ok(furrow_completed_next(completed, &future));
    assert_ptr_equal(future, held);
    furrow_future_unref(&future);
    furrow_completed_free(&completed);
    furrow_future_unref(&held);
    furrow_future_unref(&quick);
}

static void duplicates_are_yielded_once(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_future *future;
    (void)state;

    furrow_future *a = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)1));
    furrow_future *all[] = {a, a, a};
    furrow_completed *completed = must(furrow_as_completed(all, 3, -1));
    assert_ok(furrow_completed_next(completed, &future));
    furrow_future_unref(&future);
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_EEND);
    furrow_completed_free(&completed);
    furrow_future_unref(&a);
}

static void zero_timeout(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *future;
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)1));
    furrow_future *quick = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)1));
    assert_ok(furrow_future_wait(quick, -1));
    furrow_future *all[] = {held, quick};
    furrow_completed *completed = must(furrow_as_completed(all, 2, 0));
    assert_ok(furrow_completed_next(completed, &future));
    assert_ptr_equal(future, quick);
    furrow_future_unref(&future);
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_ETIMEOUT);
    furrow_completed_free(&completed);
    gate_open();
    furrow_future_unref(&held);
    furrow_future_unref(&quick);
}

static void times_out(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *all[4], *future;
    (void)state;

    all[0] = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)1));
    all[1] = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)1));
    assert_ok(furrow_wait(all, 2, -1, FURROW_ALL_COMPLETED, NULL, NULL));
    all[2] = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)1));
    all[3] = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)2));
    double start = now_seconds();
    furrow_completed *completed = must(furrow_as_completed(all, 4, 0.1));
    for (int i = 0; i < 2; i++) {
        assert_ok(furrow_completed_next(completed, &future));
        furrow_future_unref(&future);
    }
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_ETIMEOUT);
    assert_string_equal(furrow_last_error(), "2 (of 4) futures unfinished");
    assert_true(now_seconds() - start >= 0.1);
    furrow_completed_free(&completed);
    gate_open();
    for (int i = 0; i < 4; i++) {
        furrow_future_unref(&all[i]);
    }
}

/* The iterator hands its reference over: when ours is the last one, the future goes with it. That it
 * does is seen by the leak checkers; here, that it may. */
static void frees_its_reference_once_yielded(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_future *all[3], *future;
    (void)state;

    for (int64_t i = 0; i < 3; i++) {
        all[i] = must(furrow_submit(pool, square, "i", i));
    }
    furrow_completed *completed = must(furrow_as_completed(all, 3, -1));
    for (int i = 0; i < 3; i++) {
        furrow_future_unref(&all[i]);
    }
    int64_t sum = 0;
    while (furrow_completed_next(completed, &future) == FURROW_OK) {
        sum += result_int(future);
        furrow_future_unref(&future);
    }
    assert_int_equal(sum, 0 + 1 + 4);
    furrow_completed_free(&completed);
}

static void freed_early_lets_the_tasks_run(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)6));
    furrow_completed *completed = must(furrow_as_completed(&held, 1, -1));
    furrow_completed_free(&completed);
    assert_null(completed);
    gate_open();
    assert_int_equal(result_int(held), 6);
    furrow_future_unref(&held);
}

/* The same for programs with a loop of their own. */
static void completion_queue_polls_readable(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_completion_queue *queue = must(furrow_completion_queue_new());
    furrow_future *future;
    void *user;
    int64_t sum = 0;
    (void)state;

    struct pollfd poller = {furrow_completion_queue_fd(queue), POLLIN, 0};
    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)100));
    assert_ok(furrow_completion_queue_add(queue, held, &sum));
    assert_int_equal(poll(&poller, 1, 0), 0);
    assert_int_equal(furrow_completion_queue_next(queue, &future, &user), FURROW_EEND);
    for (int64_t i = 0; i < 10; i++) {
        furrow_future *each = must(furrow_submit(pool, square, "i", i));
        assert_ok(furrow_completion_queue_add(queue, each, &sum));
        furrow_future_unref(&each);
    }
    gate_open();
    for (int left = 11; left > 0;) {
        assert_int_equal(poll(&poller, 1, 20000), 1);
        while (furrow_completion_queue_next(queue, &future, &user) == FURROW_OK) {
            assert_ptr_equal(user, &sum);
            sum += result_int(future);
            furrow_future_unref(&future);
            left--;
        }
    }
    assert_int_equal(sum, 285 + 100);
    assert_int_equal(poll(&poller, 1, 0), 0);
    furrow_completion_queue_free(&queue);
    furrow_future_unref(&held);
}

static const struct conformance_row rows[] = {
    ROW(no_timeout, ON_ALL),
    ROW(comes_in_the_order_of_completion, ON_ALL),
    ROW(duplicates_are_yielded_once, ON_ALL),
    ROW(zero_timeout, ON_ALL),
    ROW(times_out, ON_ALL),
    ROW(frees_its_reference_once_yielded, ON_ALL),
    ROW(freed_early_lets_the_tasks_run, ON_ALL),
    ROW(completion_queue_polls_readable, ON_ALL),
};
CONFORMANCE_MAIN("as_completed", rows)
