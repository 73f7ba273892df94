/* The library from end to end on `threads:`, while one allocation after the other fails, on whatever
 * thread: every call says clearly that it could not, or does what it should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fail_alloc.h"
#include "tests/unit/front.h"

enum { TASKS = 12, INPUTS = 6, PATIENCE_S = 20 };

static unsigned refused; /* calls, in this round */

/* A call that could not says why. An executor whose thread could not begin its work for lack of memory
 * is broken, and says that this was it. */
static bool went_well(furrow_status status) {
    if (status != FURROW_OK) {
        refused++;
        if (status != FURROW_ENOMEM &&
            (status != FURROW_EBROKEN || strstr(furrow_last_error(), "memory") == NULL)) {
            fail_msg("%s: %s", furrow_status_text(status), furrow_last_error());
        }
        assert_true(strlen(furrow_last_error()) > 0);
    }
    return status == FURROW_OK;
}

static void *gave(void *pointer) {
    (void)(pointer != NULL || went_well(furrow_last_status()));
    return pointer;
}

/* A failed task must say what for. */
static void expect_memory_error(const furrow_error *error) {
    assert_non_null(error);
    if (error->code != FURROW_ENOMEM && strstr(error->message, "memory") == NULL) {
        fail_msg("a task failed for another reason: kind %d, code %d, %s", (int)error->kind,
                 (int)error->code, error->message);
    }
    refused++;
}

/* What was accepted ends: with the right value, or an error that speaks of memory. */
static void expect_square(furrow_future *future, int64_t i) {
    const furrow_error *error = NULL;
    int64_t value = -1;
    furrow_status status = furrow_future_result(future, PATIENCE_S, "i", &value);

    if (status == FURROW_EFAILED) {
        assert_int_equal(furrow_future_error(future, 0, &error), FURROW_OK);
        expect_memory_error(error);
    } else if (went_well(status)) {
        assert_int_equal(value, i * i);
    }
}

static furrow_status count_call(furrow_future *future, void *user) {
    (void)future;
    (*(atomic_int *)user)++;
    return FURROW_OK;
}

static void submit_and_wait(furrow_executor *pool) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_future *futures[TASKS];
    atomic_int calls = 0;
    int expected = 0;
    size_t count = 0;

    for (int64_t i = 0; i < TASKS; i++) {
        options.priority = (int)(i % 3); /* several classes, and the queue of priorities */
        futures[count] = gave(furrow_submit_with(pool, &options, front_square, "i", i));
        if (futures[count] == NULL) {
            continue;
        }
        expected += went_well(furrow_future_add_done_callback(futures[count], count_call, &calls));
        count++;
    }
    if (count > 0) {
        size_t done = 0;
        furrow_status status =
            furrow_wait(futures, count, PATIENCE_S, FURROW_ALL_COMPLETED, NULL, &done);

        assert_true(!went_well(status) || done == count);
    }
    furrow_completed *completed = gave(furrow_as_completed(futures, count, PATIENCE_S));
    while (completed != NULL) {
        furrow_future *future = NULL;
        furrow_status status = furrow_completed_next(completed, &future);

        if (status == FURROW_EEND || !went_well(status)) {
            break;
        }
        furrow_future_unref(&future);
    }
    furrow_completed_free(&completed);
    for (size_t k = 0; k < count; k++) {
        (void)furrow_future_wait(futures[k], PATIENCE_S);
        assert_true(furrow_future_done(futures[k]));
    }
    for (size_t k = 0; count == TASKS && k < count; k++) {
        expect_square(futures[k], (int64_t)k);
    }
    for (size_t k = 0; k < count; k++) {
        furrow_future_unref(&futures[k]);
    }
    /* A callback may run just behind the waiters' waking. */
    (void)furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT);
    assert_int_equal(calls, expected);
}

static void map_all(furrow_executor *pool) {
    furrow_input *input = gave(furrow_input_range(0, INPUTS, 1));
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    furrow_results *results;
    size_t next = 0;

    options.chunksize = 2;
    options.timeout = PATIENCE_S;
    results = input == NULL ? NULL : gave(furrow_map(pool, front_square, &options, &input));
    for (int turns = 0; results != NULL && turns < 2 * INPUTS; turns++) {
        int64_t value = -1;
        furrow_status status = furrow_results_next(results, "i", &value);

        if (status == FURROW_EEND) {
            break;
        }
        if (status == FURROW_EFAILED) {
            expect_memory_error(furrow_results_error(results));
        } else if (went_well(status)) {
            next = furrow_results_index(results);
            assert_int_equal(value, (int64_t)(next * next));
        }
    }
    furrow_results_close(&results);
    furrow_input_free(&input);
}

static void cancel_some(furrow_executor *pool) {
    struct gate gate;
    furrow_future *held, *waiting;

    gate_init(&gate);
    held = gave(furrow_submit(pool, front_hold, "p", &gate));
    waiting = gave(furrow_submit(pool, front_square, "i", (int64_t)3));
    if (waiting != NULL && held != NULL && !furrow_future_cancel(waiting)) {
        refused++;
    }
    gate_open(&gate);
    if (held != NULL) {
        assert_int_equal(furrow_future_wait(held, PATIENCE_S), FURROW_OK);
    }
    if (waiting != NULL) {
        assert_int_equal(furrow_future_wait(waiting, PATIENCE_S), FURROW_OK);
    }
    furrow_future_unref(&waiting);
    furrow_future_unref(&held);
    /* The task is over when its future is done, but its thread may still be inside the gate. */
    (void)furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT);
    gate_fini(&gate);
}

static void collect(furrow_executor *pool) {
    furrow_completion_queue *queue = gave(furrow_completion_queue_new());
    furrow_partial *partial = gave(furrow_partial_new(front_add, "i", (int64_t)40));
    furrow_future *future =
        partial == NULL ? NULL : gave(furrow_submit_partial(pool, NULL, partial, "i", (int64_t)2));
    bool added = future != NULL && queue != NULL &&
                 went_well(furrow_completion_queue_add(queue, future, NULL));
    furrow_future *got = NULL;
    void *user;

    if (future != NULL) {
        assert_int_equal(furrow_future_wait(future, PATIENCE_S), FURROW_OK);
    }
    (void)furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT);
    if (added) {
        assert_int_equal(furrow_completion_queue_next(queue, &got, &user), FURROW_OK);
        assert_ptr_equal(got, future);
    }
    furrow_future_unref(&got);
    furrow_future_unref(&future);
    furrow_partial_free(&partial);
    furrow_completion_queue_free(&queue);
}

/* Each story has an executor of its own, which it may shut down. */
static void play(void (*story)(furrow_executor *pool), const char *url) {
    furrow_executor *pool;

    refused = 0;
    pool = gave(furrow_open(url, NULL));
    if (pool != NULL) {
        story(pool);
        assert_int_equal(furrow_close(&pool), FURROW_OK);
        assert_null(pool);
    }
}

/* Every allocation of the story fails in one round; the last round has none that did. */
static void sweep(void (*story)(furrow_executor *pool), const char *url) {
    long count = 0;

    play(story, url); /* what is made once, and kept, is made here */
    assert_int_equal(refused, 0);
    for (bool failed = true; failed; count++) {
        fail_alloc_anywhere(count);
        play(story, url);
        failed = fail_alloc_anywhere_failed();
        fail_alloc_anywhere(-1);
        assert_true(failed || refused == 0);
    }
    print_message("%ld allocations\n", count - 1);
    assert_true(count > 5);
}

static void submitting_and_waiting(void **state) {
    (void)state;
    sweep(submit_and_wait, "threads:2");
}

static void mapping(void **state) {
    (void)state;
    sweep(map_all, "threads:2");
}

static void cancelling(void **state) {
    (void)state;
    sweep(cancel_some, "threads:1");
}

static void collecting(void **state) {
    (void)state;
    sweep(collect, "threads:1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submitting_and_waiting),
        cmocka_unit_test(mapping),
        cmocka_unit_test(cancelling),
        cmocka_unit_test(collecting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
