#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "front.h"
#include "libclient/future.h"

/* wait, as_completed and completion queues, on futures that the tests resolve themselves. */

#define MANY 100

static furrow_future *futures[MANY];

/* make gives `count` new futures. */
static void make(size_t count) {
    for (size_t i = 0; i < count; i++) {
        futures[i] = furrow_future_new();
        assert_non_null(futures[i]);
    }
}

static void drop(size_t count) {
    for (size_t i = 0; i < count; i++) {
        furrow_future_unref(&futures[i]);
    }
}

static void finish(size_t i) {
    assert_int_equal(furrow_future_set_result(futures[i], "i", (int64_t)i), FURROW_OK);
}

static void break_it(size_t i) {
    assert_int_equal(furrow_future_set_error(futures[i], 1, "failed"), FURROW_OK);
}

/* A thread that waits for the futures. */
struct waiter {
    pthread_t thread;
    size_t count;
    furrow_return_when return_when;
    double timeout;
    furrow_status status;
    bool done[MANY];
    size_t done_count;
};

static void *wait_main(void *argument) {
    struct waiter *waiter = argument;

    waiter->status = furrow_wait(futures, waiter->count, waiter->timeout, waiter->return_when,
                                 waiter->done, &waiter->done_count);
    return NULL;
}

/* Returns when the thread is as good as asleep on the future at `on`. */
static void waiter_start(struct waiter *waiter, size_t count, furrow_return_when return_when,
                         size_t on) {
    memset(waiter, 0, sizeof *waiter);
    waiter->count = count;
    waiter->return_when = return_when;
    waiter->timeout = 20;
    assert_int_equal(pthread_create(&waiter->thread, NULL, wait_main, waiter), 0);
    while ((atomic_load(&futures[on]->word) & (FUTURE_WAITED | FUTURE_WATCHED)) == 0) {
        sched_yield();
    }
}

static void waiter_join(struct waiter *waiter) {
    pthread_join(waiter->thread, NULL);
}

/* ------------------------------------------------------------------------ wait */

static void duplicates_are_counted_once(void **state) {
    furrow_future *list[5];
    bool done[5];
    size_t count = 0;

    (void)state;
    make(2);
    finish(0);
    list[0] = list[1] = list[3] = futures[0];
    list[2] = list[4] = futures[1];
    assert_int_equal(furrow_wait(list, 5, 0, FURROW_ALL_COMPLETED, done, &count), FURROW_ETIMEOUT);
    assert_int_equal(count, 1);
    assert_true(done[0] && done[1] && done[3] && !done[2] && !done[4]);
    finish(1);
    assert_int_equal(furrow_wait(list, 5, -1, FURROW_ALL_COMPLETED, NULL, &count), FURROW_OK);
    assert_int_equal(count, 2);
    assert_int_equal(furrow_wait(list, 5, -1, FURROW_ALL_COMPLETED, NULL, NULL), FURROW_OK);
    drop(2);
}

static void nothing_to_wait_for_is_done(void **state) {
    size_t count = 1;

    (void)state;
    assert_int_equal(furrow_wait(NULL, 0, -1, FURROW_ALL_COMPLETED, NULL, &count), FURROW_OK);
    assert_int_equal(count, 0);
    assert_int_equal(furrow_wait(NULL, 0, 0, FURROW_FIRST_COMPLETED, NULL, NULL), FURROW_OK);
}

static void first_completed_returns_with_the_finished_one(void **state) {
    struct waiter waiter;

    (void)state;
    make(3);
    waiter_start(&waiter, 3, FURROW_FIRST_COMPLETED, 2);
    finish(1);
    waiter_join(&waiter);
    assert_int_equal(waiter.status, FURROW_OK);
    assert_true(!waiter.done[0] && waiter.done[1] && !waiter.done[2]);
    assert_int_equal(waiter.done_count, 1);
    drop(3);
}

static void first_completed_with_some_finished_returns_at_once_with_those(void **state) {
    bool done[4];
    size_t count;

    (void)state;
    make(4);
    finish(1);
    assert_true(furrow_future_cancel(futures[3]));
    assert_int_equal(furrow_wait(futures, 4, -1, FURROW_FIRST_COMPLETED, done, &count), FURROW_OK);
    assert_true(!done[0] && done[1] && !done[2] && done[3]);
    assert_int_equal(count, 2);
    drop(4);
}

static void first_exception_returns_at_the_first_failure_with_earlier_completions(void **state) {
    struct waiter waiter;

    (void)state;
    make(4);
    waiter_start(&waiter, 4, FURROW_FIRST_EXCEPTION, 3);
    finish(0);
    assert_true(furrow_future_cancel(futures[3]));
    break_it(2);
    waiter_join(&waiter);
    assert_int_equal(waiter.status, FURROW_OK);
    assert_true(waiter.done[0] && !waiter.done[1] && waiter.done[2] && waiter.done[3]);
    assert_int_equal(waiter.done_count, 3);
    drop(4);
}

static void first_exception_with_one_failed_returns_at_once(void **state) {
    bool done[3];

    (void)state;
    make(3);
    break_it(2);
    assert_int_equal(furrow_wait(futures, 3, -1, FURROW_FIRST_EXCEPTION, done, NULL), FURROW_OK);
    assert_true(!done[0] && !done[1] && done[2]);
    drop(3);
}

static void first_exception_with_none_failing_waits_for_all(void **state) {
    struct waiter waiter;

    (void)state;
    make(3);
    waiter_start(&waiter, 3, FURROW_FIRST_EXCEPTION, 2);
    finish(0);
    assert_true(furrow_future_cancel(futures[1]));
    finish(2);
    waiter_join(&waiter);
    assert_int_equal(waiter.status, FURROW_OK);
    assert_int_equal(waiter.done_count, 3);
    drop(3);
}

static void all_completed_includes_the_failed_and_the_cancelled(void **state) {
    struct waiter waiter;

    (void)state;
    make(3);
    waiter_start(&waiter, 3, FURROW_ALL_COMPLETED, 0);
    finish(0);
    break_it(1);
    assert_true(furrow_future_cancel(futures[2]));
    waiter_join(&waiter);
    assert_int_equal(waiter.status, FURROW_OK);
    assert_true(waiter.done[0] && waiter.done[1] && waiter.done[2]);
    assert_int_equal(waiter.done_count, 3);
    drop(3);
}

static void a_timeout_parts_the_done_from_the_others(void **state) {
    const furrow_return_when whens[] = {FURROW_ALL_COMPLETED, FURROW_FIRST_EXCEPTION};
    const double timeouts[] = {0, 0.005};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < 2; j++) {
            bool done[3];
            size_t count;

            make(3);
            finish(1);
            assert_int_equal(furrow_wait(futures, 3, timeouts[j], whens[i], done, &count),
                             FURROW_ETIMEOUT);
            assert_int_equal(furrow_last_status(), FURROW_ETIMEOUT);
            assert_true(!done[0] && done[1] && !done[2]);
            assert_int_equal(count, 1);
            drop(3);
        }
    }
    make(2);
    assert_int_equal(furrow_wait(futures, 2, 0.005, FURROW_FIRST_COMPLETED, NULL, NULL),
                     FURROW_ETIMEOUT);
    drop(2);
}

static void an_unknown_condition_is_refused(void **state) {
    (void)state;
    assert_int_equal(furrow_wait(NULL, 0, 0, (furrow_return_when)7, NULL, NULL), FURROW_EINVAL);
}

static void waiting_many_times_leaves_nothing_on_the_futures(void **state) {
    (void)state;
    make(3);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(furrow_wait(futures, 3, 0.00001, FURROW_FIRST_COMPLETED, NULL, NULL),
                         FURROW_ETIMEOUT);
    }
    for (int i = 0; i < 3; i++) {
        assert_null(futures[i]->watches);
    }
    drop(3);
}

static void wait_without_memory_says_so(void **state) {
    size_t count;
    bool done[2];

    (void)state;
    make(2);
    fail_alloc_after(0);
    assert_int_equal(furrow_wait(futures, 2, 1, FURROW_FIRST_COMPLETED, done, &count),
                     FURROW_ENOMEM);
    assert_int_equal(furrow_wait(futures, 2, 0, FURROW_ALL_COMPLETED, done, &count), FURROW_ENOMEM);
    assert_int_equal(furrow_wait(futures, 2, 0, FURROW_ALL_COMPLETED, done, NULL), FURROW_ETIMEOUT);
    fail_alloc_never();
    drop(2);
}

static pthread_barrier_t barrier;
#define RACE_ROUNDS 1000

static void *finish_half(void *argument) {
    size_t half = *(size_t *)argument;

    for (int round = 0; round < RACE_ROUNDS; round++) {
        pthread_barrier_wait(&barrier);
        for (size_t i = half; i < MANY; i += 2) {
            (void)furrow_future_set_result(futures[i], "i", (int64_t)i);
        }
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void a_hundred_futures_that_complete_at_once_lose_no_wakeup(void **state) {
    size_t halves[] = {0, 1};
    pthread_t threads[2];

    (void)state;
    pthread_barrier_init(&barrier, NULL, 3);
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, finish_half, &halves[i]);
    }
    for (int round = 0; round < RACE_ROUNDS; round++) {
        furrow_return_when when =
            round % 3 == 0 ? FURROW_ALL_COMPLETED
                           : (round % 3 == 1 ? FURROW_FIRST_EXCEPTION : FURROW_FIRST_COMPLETED);
        size_t count;

        make(MANY);
        pthread_barrier_wait(&barrier);
        assert_int_equal(furrow_wait(futures, MANY, 20, when, NULL, &count), FURROW_OK);
        assert_true(when == FURROW_FIRST_COMPLETED ? count >= 1 : count == MANY);
        pthread_barrier_wait(&barrier);
        drop(MANY);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
}

/* ---------------------------------------------------------------- as_completed */

static void as_completed_yields_all_in_the_order_of_completion(void **state) {
    const size_t order[] = {2, 0, 3, 1};
    furrow_completed *completed;
    furrow_future *future;

    (void)state;
    make(4);
    finish(order[0]);
    completed = furrow_as_completed(futures, 4, -1);
    assert_non_null(completed);
    for (size_t i = 1; i < 4; i++) {
        finish(order[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(furrow_completed_next(completed, &future), FURROW_OK);
        assert_ptr_equal(future, futures[order[i]]);
        furrow_future_unref(&future);
    }
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_EEND);
    assert_null(future);
    furrow_completed_free(&completed);
    assert_null(completed);
    drop(4);
}

static void as_completed_yields_duplicates_once(void **state) {
    furrow_completed *completed;
    furrow_future *list[3], *future;

    (void)state;
    make(1);
    list[0] = list[1] = list[2] = futures[0];
    completed = furrow_as_completed(list, 3, -1);
    finish(0);
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_OK);
    furrow_future_unref(&future);
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_EEND);
    furrow_completed_free(&completed);
    drop(1);
}

static void as_completed_with_timeout_zero_yields_what_is_done(void **state) {
    furrow_completed *completed;
    furrow_future *future;

    (void)state;
    make(4);
    finish(3);
    break_it(1);
    completed = furrow_as_completed(futures, 4, 0);
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_OK);
    furrow_future_unref(&future);
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_OK);
    furrow_future_unref(&future);
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_ETIMEOUT);
    assert_string_equal(furrow_last_error(), "2 (of 4) futures unfinished");
    furrow_completed_free(&completed);
    drop(4);
}

static void as_completed_times_out_after_the_completed(void **state) {
    furrow_completed *completed;
    furrow_future *future;

    (void)state;
    make(2);
    finish(1);
    completed = furrow_as_completed(futures, 2, 0.1);
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_OK);
    assert_ptr_equal(future, futures[1]);
    furrow_future_unref(&future);
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_ETIMEOUT);
    assert_string_equal(furrow_last_error(), "1 (of 2) futures unfinished");
    furrow_completed_free(&completed);
    drop(2);
}

static void as_completed_drops_its_reference_once_yielded(void **state) {
    furrow_completed *completed;
    furrow_future *future;

    (void)state;
    make(2);
    finish(0);
    completed = furrow_as_completed(futures, 2, -1);
    assert_int_equal(atomic_load(&futures[0]->word) >> 32, 2);
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_OK);
    furrow_future_unref(&future);
    assert_int_equal(atomic_load(&futures[0]->word) >> 32, 1);
    assert_int_equal(atomic_load(&futures[1]->word) >> 32, 2);
    furrow_completed_free(&completed);
    assert_int_equal(atomic_load(&futures[1]->word) >> 32, 1);
    drop(2);
}

static void as_completed_freed_early_leaves_no_watch(void **state) {
    furrow_completed *completed;

    (void)state;
    make(3);
    completed = furrow_as_completed(futures, 3, -1);
    finish(1);
    furrow_completed_free(&completed);
    assert_null(futures[0]->watches);
    finish(0);
    finish(2);
    drop(3);
    furrow_completed_free(&completed);
    furrow_completed_free(NULL);
}

static void as_completed_without_memory_says_so(void **state) {
    (void)state;
    make(2);
    for (long i = 0; i < 2; i++) {
        fail_alloc_only(i);
        assert_null(furrow_as_completed(futures, 2, -1));
        assert_true(fail_alloc_failed());
        fail_alloc_never();
        assert_int_equal(furrow_last_status(), FURROW_ENOMEM);
    }
    drop(2);
}

static void as_completed_of_nothing_is_at_its_end(void **state) {
    furrow_completed *completed = furrow_as_completed(NULL, 0, -1);
    furrow_future *future;

    (void)state;
    assert_int_equal(furrow_completed_next(completed, &future), FURROW_EEND);
    furrow_completed_free(&completed);
}

static void as_completed_loses_nothing_while_others_complete(void **state) {
    size_t halves[] = {0, 1};
    pthread_t threads[2];

    (void)state;
    pthread_barrier_init(&barrier, NULL, 3);
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, finish_half, &halves[i]);
    }
    for (int round = 0; round < RACE_ROUNDS; round++) {
        furrow_completed *completed;
        furrow_future *future;
        size_t count = 0;

        make(MANY);
        completed = furrow_as_completed(futures, MANY, 20);
        pthread_barrier_wait(&barrier);
        while (count < MANY - (size_t)(round % 5) &&
               furrow_completed_next(completed, &future) == FURROW_OK) {
            furrow_future_unref(&future);
            count++;
        }
        furrow_completed_free(&completed);
        pthread_barrier_wait(&barrier);
        assert_int_equal(count, MANY - (size_t)(round % 5));
        drop(MANY);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
}

/* ------------------------------------------------------------ completion queue */

static bool readable(const furrow_completion_queue *queue, int timeout_ms) {
    struct pollfd fd = {.fd = furrow_completion_queue_fd(queue), .events = POLLIN};

    return poll(&fd, 1, timeout_ms) == 1;
}

static void queue_polls_readable_while_completed_futures_wait_in_it(void **state) {
    furrow_completion_queue *queue = furrow_completion_queue_new();
    furrow_future *future;
    int marks[3];
    void *user;

    (void)state;
    make(3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(furrow_completion_queue_add(queue, futures[i], &marks[i]), FURROW_OK);
    }
    assert_false(readable(queue, 0));
    assert_int_equal(furrow_completion_queue_next(queue, &future, &user), FURROW_EEND);
    finish(2);
    break_it(0);
    assert_true(readable(queue, 0));
    assert_int_equal(furrow_completion_queue_next(queue, &future, &user), FURROW_OK);
    assert_ptr_equal(future, futures[2]);
    assert_ptr_equal(user, &marks[2]);
    furrow_future_unref(&future);
    assert_true(readable(queue, 0));
    assert_int_equal(furrow_completion_queue_next(queue, &future, NULL), FURROW_OK);
    assert_ptr_equal(future, futures[0]);
    furrow_future_unref(&future);
    assert_false(readable(queue, 0));
    assert_true(furrow_future_cancel(futures[1]));
    assert_true(readable(queue, 0));
    assert_int_equal(furrow_completion_queue_next(queue, &future, &user), FURROW_OK);
    furrow_future_unref(&future);
    assert_int_equal(furrow_completion_queue_next(queue, &future, &user), FURROW_EEND);
    assert_null(future);
    furrow_completion_queue_free(&queue);
    assert_null(queue);
    drop(3);
}

static void queue_takes_futures_that_are_done(void **state) {
    furrow_completion_queue *queue = furrow_completion_queue_new();
    furrow_future *future;

    (void)state;
    make(1);
    finish(0);
    assert_int_equal(furrow_completion_queue_add(queue, futures[0], NULL), FURROW_OK);
    assert_true(readable(queue, 0));
    assert_int_equal(furrow_completion_queue_next(queue, &future, NULL), FURROW_OK);
    furrow_future_unref(&future);
    furrow_completion_queue_free(&queue);
    drop(1);
}

static void freeing_a_queue_drops_what_it_holds(void **state) {
    furrow_completion_queue *queue = furrow_completion_queue_new();

    (void)state;
    make(3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(furrow_completion_queue_add(queue, futures[i], NULL), FURROW_OK);
    }
    finish(1);
    furrow_completion_queue_free(&queue);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(atomic_load(&futures[i]->word) >> 32, 1);
    }
    finish(0);
    drop(3);
    furrow_completion_queue_free(&queue);
    furrow_completion_queue_free(NULL);
}

static void queue_without_memory_says_so(void **state) {
    furrow_completion_queue *queue;

    (void)state;
    make(1);
    fail_alloc_after(0);
    assert_null(furrow_completion_queue_new());
    fail_alloc_never();
    queue = furrow_completion_queue_new();
    fail_alloc_after(0);
    assert_int_equal(furrow_completion_queue_add(queue, futures[0], NULL), FURROW_ENOMEM);
    fail_alloc_never();
    furrow_completion_queue_free(&queue);
    drop(1);
}

static void queue_loses_nothing_while_others_complete(void **state) {
    size_t halves[] = {0, 1};
    pthread_t threads[2];

    (void)state;
    pthread_barrier_init(&barrier, NULL, 3);
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, finish_half, &halves[i]);
    }
    for (int round = 0; round < RACE_ROUNDS; round++) {
        furrow_completion_queue *queue = furrow_completion_queue_new();
        furrow_future *future;
        size_t count = 0;

        make(MANY);
        for (size_t i = 0; i < MANY; i++) {
            assert_int_equal(furrow_completion_queue_add(queue, futures[i], NULL), FURROW_OK);
        }
        pthread_barrier_wait(&barrier);
        while (count < MANY && readable(queue, 20000)) {
            while (furrow_completion_queue_next(queue, &future, NULL) == FURROW_OK) {
                furrow_future_unref(&future);
                count++;
            }
        }
        if (round % 2 == 0) {
            pthread_barrier_wait(&barrier);
        }
        furrow_completion_queue_free(&queue);
        if (round % 2 == 1) {
            pthread_barrier_wait(&barrier);
        }
        assert_int_equal(count, MANY);
        drop(MANY);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
}

/* -------------------------------------------------------------------- deadlocks */

struct tried {
    furrow_future *other;
    furrow_status wait_all, wait_first, next;
};

static furrow_status try_to_wait(furrow_future *future, void *user) {
    struct tried *tried = user;
    furrow_completed *completed = furrow_as_completed(&tried->other, 1, -1);
    furrow_future *list[2] = {tried->other, future};
    furrow_future *got;

    tried->wait_all = furrow_wait(list, 2, -1, FURROW_ALL_COMPLETED, NULL, NULL);
    tried->wait_first = furrow_wait(list, 1, -1, FURROW_FIRST_COMPLETED, NULL, NULL);
    tried->next = furrow_completed_next(completed, &got);
    furrow_completed_free(&completed);
    return FURROW_OK;
}

static void waiting_in_a_callback_of_the_same_executor_is_a_deadlock(void **state) {
    furrow_executor *pool = furrow_open("threads:1", NULL);
    furrow_future *first, *future;
    struct tried tried = {0};
    struct gate gate, second;

    (void)state;
    gate_init(&gate);
    gate_init(&second);
    first = furrow_submit(pool, front_hold, "p", &gate);
    future = furrow_submit(pool, front_square, "i", (int64_t)3);
    tried.other = furrow_submit(pool, front_hold, "p", &second);
    assert_int_equal(furrow_future_add_done_callback(future, try_to_wait, &tried), FURROW_OK);
    gate_open(&gate);
    gate_wait(&second, 1);
    assert_int_equal(tried.wait_all, FURROW_EDEADLOCK);
    assert_int_equal(tried.wait_first, FURROW_EDEADLOCK);
    assert_int_equal(tried.next, FURROW_EDEADLOCK);
    gate_open(&second);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    furrow_future_unref(&first);
    furrow_future_unref(&future);
    furrow_future_unref(&tried.other);
    gate_fini(&gate);
    gate_fini(&second);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duplicates_are_counted_once),
        cmocka_unit_test(nothing_to_wait_for_is_done),
        cmocka_unit_test(first_completed_returns_with_the_finished_one),
        cmocka_unit_test(first_completed_with_some_finished_returns_at_once_with_those),
        cmocka_unit_test(first_exception_returns_at_the_first_failure_with_earlier_completions),
        cmocka_unit_test(first_exception_with_one_failed_returns_at_once),
        cmocka_unit_test(first_exception_with_none_failing_waits_for_all),
        cmocka_unit_test(all_completed_includes_the_failed_and_the_cancelled),
        cmocka_unit_test(a_timeout_parts_the_done_from_the_others),
        cmocka_unit_test(an_unknown_condition_is_refused),
        cmocka_unit_test(waiting_many_times_leaves_nothing_on_the_futures),
        cmocka_unit_test(wait_without_memory_says_so),
        cmocka_unit_test(a_hundred_futures_that_complete_at_once_lose_no_wakeup),
        cmocka_unit_test(as_completed_yields_all_in_the_order_of_completion),
        cmocka_unit_test(as_completed_yields_duplicates_once),
        cmocka_unit_test(as_completed_with_timeout_zero_yields_what_is_done),
        cmocka_unit_test(as_completed_times_out_after_the_completed),
        cmocka_unit_test(as_completed_drops_its_reference_once_yielded),
        cmocka_unit_test(as_completed_freed_early_leaves_no_watch),
        cmocka_unit_test(as_completed_without_memory_says_so),
        cmocka_unit_test(as_completed_of_nothing_is_at_its_end),
        cmocka_unit_test(as_completed_loses_nothing_while_others_complete),
        cmocka_unit_test(queue_polls_readable_while_completed_futures_wait_in_it),
        cmocka_unit_test(queue_takes_futures_that_are_done),
        cmocka_unit_test(freeing_a_queue_drops_what_it_holds),
        cmocka_unit_test(queue_without_memory_says_so),
        cmocka_unit_test(queue_loses_nothing_while_others_complete),
        cmocka_unit_test(waiting_in_a_callback_of_the_same_executor_is_a_deadlock),
    };

    return cmocka_run_group_tests_name("wait", tests, NULL, NULL);
}
