#include "tests/conformance/harness.h"

#include <pthread.h>
#include <stdatomic.h>

static void wait_duplicates_are_counted_once(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    furrow_future *a = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)1));
    furrow_future *b = must(furrow_submit(pool, add, "ii", (int64_t)2, (int64_t)2));
    furrow_future *all[] = {a, a, b, a};
    bool done[4] = {false, false, false, false};
    size_t count = 0;

    assert_ok(furrow_wait(all, 4, -1, FURROW_ALL_COMPLETED, done, &count));
    assert_int_equal(count, 2);
    for (int i = 0; i < 4; i++) {
        assert_true(done[i]);
    }
    furrow_future_unref(&a);
    furrow_future_unref(&b);
}

static void first_completed(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    furrow_future *quick = must(furrow_submit(pool, add, "ii", (int64_t)21, (int64_t)2));
    furrow_future *all[] = {held, quick};
    bool done[2];
    size_t count;

    assert_ok(furrow_wait(all, 2, -1, FURROW_FIRST_COMPLETED, done, &count));
    assert_int_equal(count, 1);
    assert_false(done[0]);
    assert_true(done[1]);
    gate_open();
    furrow_future_unref(&held);
    furrow_future_unref(&quick);
}

static void first_completed_some_already_completed(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *finished = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)1));
    assert_ok(furrow_future_wait(finished, -1));
    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    gate_wait_started(1);
    furrow_future *cancelled = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)1));
    assert_true(furrow_future_cancel(cancelled));

    furrow_future *all[] = {cancelled, held, finished};
    bool done[3];
    size_t count;
    assert_ok(furrow_wait(all, 3, -1, FURROW_FIRST_COMPLETED, done, &count));
    assert_int_equal(count, 2);
    assert_true(done[0]);
    assert_false(done[1]);
    assert_true(done[2]);
    gate_open();
    furrow_future_unref(&finished);
    furrow_future_unref(&held);
    furrow_future_unref(&cancelled);
}

static void first_exception(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    furrow_future *good = must(furrow_submit(pool, add, "ii", (int64_t)2, (int64_t)21));
    assert_ok(furrow_future_wait(good, -1));
    furrow_future *bad = must(furrow_submit(pool, fail_with, "is", (int64_t)5, "bad"));
    furrow_future *all[] = {good, bad, held};
    bool done[3];
    size_t count;

    assert_ok(furrow_wait(all, 3, -1, FURROW_FIRST_EXCEPTION, done, &count));
    assert_int_equal(count, 2);
    assert_true(done[0]);
    assert_true(done[1]);
    assert_false(done[2]);
    gate_open();
    furrow_future_unref(&held);
    furrow_future_unref(&good);
    furrow_future_unref(&bad);
}

static void first_exception_one_already_failed(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *bad = must(furrow_submit(pool, fail_with, "is", (int64_t)5, "bad"));
    assert_ok(furrow_future_wait(bad, -1));
    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    furrow_future *all[] = {held, bad};
    bool done[2];
    size_t count;

    assert_ok(furrow_wait(all, 2, -1, FURROW_FIRST_EXCEPTION, done, &count));
    assert_int_equal(count, 1);
    assert_false(done[0]);
    assert_true(done[1]);
    gate_open();
    furrow_future_unref(&held);
    furrow_future_unref(&bad);
}

static void first_exception_none_fails(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_future *all[6];
    size_t count;
    (void)state;

    for (int64_t i = 0; i < 5; i++) {
        all[i] = must(furrow_submit(pool, sleep_return, "di", 0.005 * (double)i, i));
    }
    /* One that is cancelled is no exception either. */
    all[5] = must(furrow_future_new());
    assert_true(furrow_future_cancel(all[5]));
    assert_ok(furrow_wait(all, 6, -1, FURROW_FIRST_EXCEPTION, NULL, &count));
    assert_int_equal(count, 6);
    for (int i = 0; i < 6; i++) {
        furrow_future_unref(&all[i]);
    }
}

static void all_completed(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    gate_wait_started(1);
    furrow_future *cancelled = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)1));
    assert_true(furrow_future_cancel(cancelled));
    furrow_future *bad = must(furrow_submit(pool, fail_with, "is", (int64_t)5, "bad"));
    furrow_future *good = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)1));
    gate_open();

    furrow_future *all[] = {held, cancelled, bad, good};
    bool done[4];
    size_t count;
    assert_ok(furrow_wait(all, 4, -1, FURROW_ALL_COMPLETED, done, &count));
    assert_int_equal(count, 4);
    for (int i = 0; i < 4; i++) {
        assert_true(done[i]);
        assert_true(furrow_future_done(all[i]));
        furrow_future_unref(&all[i]);
    }
}

static void wait_timeout(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    furrow_future *quick = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)1));
    assert_ok(furrow_future_wait(quick, -1));
    furrow_future *all[] = {quick, held};
    bool done[2] = {false, true};
    size_t count;

    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(
            furrow_wait(all, 2, turn == 0 ? 0.0 : 0.05, FURROW_ALL_COMPLETED, done, &count),
            FURROW_ETIMEOUT);
        assert_int_equal(count, 1);
        assert_true(done[0]);
        assert_false(done[1]);
    }
    assert_ok(furrow_wait(NULL, 0, -1, FURROW_ALL_COMPLETED, NULL, &count));
    assert_int_equal(count, 0);
    gate_open();
    furrow_future_unref(&held);
    furrow_future_unref(&quick);
}

/* CPython's test_pending_calls_race: futures that complete while wait hangs its watches on them. */
static void pending_calls_race(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    for (int round = 0; round < 1000; round++) {
        furrow_future *all[100];
        size_t count;

        for (int64_t i = 0; i < 100; i++) {
            all[i] = must(furrow_submit(pool, square, "i", i));
        }
        assert_ok(furrow_wait(all, 100, 60, FURROW_ALL_COMPLETED, NULL, &count));
        assert_int_equal(count, 100);
        for (int i = 0; i < 100; i++) {
            furrow_future_unref(&all[i]);
        }
    }
}

struct resolver {
    furrow_future *futures[100];
    pthread_barrier_t *barrier;
    int first, step;
};

static void *resolve(void *user) {
    struct resolver *resolver = user;

    pthread_barrier_wait(resolver->barrier);
    for (int i = resolver->first; i < 100; i += resolver->step) {
        furrow_future_set_result(resolver->futures[i], "i", (int64_t)i);
    }
    return NULL;
}

/* The same with futures of our own and two resolving threads: 1,000 rounds. */
static void resolving_threads_race_with_wait(void **state) {
    (void)state;
    for (int round = 0; round < 1000; round++) {
        struct resolver resolvers[2];
        pthread_barrier_t barrier;
        pthread_t threads[2];
        size_t count;

        pthread_barrier_init(&barrier, NULL, 3);
        for (int i = 0; i < 100; i++) {
            resolvers[0].futures[i] = resolvers[1].futures[i] = must(furrow_future_new());
        }
        for (int i = 0; i < 2; i++) {
            resolvers[i].barrier = &barrier;
            resolvers[i].first = i;
            resolvers[i].step = 2;
            assert_int_equal(pthread_create(&threads[i], NULL, resolve, &resolvers[i]), 0);
        }
        pthread_barrier_wait(&barrier);
        assert_ok(furrow_wait(resolvers[0].futures, 100, 60, FURROW_ALL_COMPLETED, NULL, &count));
        assert_int_equal(count, 100);
        for (int i = 0; i < 2; i++) {
            pthread_join(threads[i], NULL);
        }
        for (int i = 0; i < 100; i++) {
            furrow_future_unref(&resolvers[0].futures[i]);
        }
        pthread_barrier_destroy(&barrier);
    }
}

static const struct conformance_row rows[] = {
    ROW(wait_duplicates_are_counted_once, ON_ALL),
    ROW(first_completed, ON_ALL),
    ROW(first_completed_some_already_completed, ON_ALL),
    ROW(first_exception, ON_ALL),
    ROW(first_exception_one_already_failed, ON_ALL),
    ROW(first_exception_none_fails, ON_ALL),
    ROW(all_completed, ON_ALL),
    ROW(wait_timeout, ON_ALL),
    ROW(pending_calls_race, ON_ALL),
    ROW(resolving_threads_race_with_wait, ON_THREADS),
};
CONFORMANCE_MAIN("wait", rows)
