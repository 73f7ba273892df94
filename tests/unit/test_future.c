#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>

#include "fail_alloc.h"
#include "front.h"
#include "libclient/future.h"

/* Futures that no executor resolves; and, where one is needed, those of `threads:`. */

/* A thread that waits for a future, as one waits in it already. */
struct waiter {
    pthread_t thread;
    furrow_future *future;
    furrow_status status;
    int64_t value;
    const furrow_error *error;
    bool wants_error;
};

static void *wait_for_it(void *argument) {
    struct waiter *waiter = argument;

    if (waiter->wants_error) {
        waiter->status = furrow_future_error(waiter->future, 20, &waiter->error);
    } else {
        waiter->status = furrow_future_result(waiter->future, 20, "i", &waiter->value);
    }
    return NULL;
}

static void waiter_start(struct waiter *waiter, furrow_future *future, bool wants_error) {
    memset(waiter, 0, sizeof *waiter);
    waiter->future = future;
    waiter->wants_error = wants_error;
    assert_int_equal(pthread_create(&waiter->thread, NULL, wait_for_it, waiter), 0);
    while ((atomic_load(&future->word) & FUTURE_WAITED) == 0) {
        sched_yield();
    }
}

static void waiter_join(struct waiter *waiter) {
    pthread_join(waiter->thread, NULL);
}

/* Four futures in each state. */
static furrow_future *pending(void) {
    furrow_future *future = furrow_future_new();

    assert_non_null(future);
    return future;
}

static furrow_future *running(void) {
    furrow_future *future = pending();
    bool run = false;

    assert_int_equal(furrow_future_set_running_or_notify_cancel(future, &run), FURROW_OK);
    assert_true(run);
    return future;
}

static furrow_future *cancelled(void) {
    furrow_future *future = pending();

    assert_true(furrow_future_cancel(future));
    return future;
}

static furrow_future *successful(int64_t value) {
    furrow_future *future = pending();

    assert_int_equal(furrow_future_set_result(future, "i", value), FURROW_OK);
    return future;
}

static furrow_future *failed(int32_t code, const char *message) {
    furrow_future *future = pending();

    assert_int_equal(furrow_future_set_error(future, code, "%s", message), FURROW_OK);
    return future;
}

/* ------------------------------------------------------------------ callbacks */

struct seen {
    int calls;
    furrow_future_state state;
    pthread_t thread;
    furrow_status answer;
};

static furrow_status look(furrow_future *future, void *user) {
    struct seen *seen = user;

    seen->calls++;
    seen->state = furrow_future_get_state(future);
    seen->thread = pthread_self();
    return seen->answer;
}

static void done_callback_sees_a_result(void **state) {
    furrow_future *future = pending();
    struct seen seen = {0};

    (void)state;
    assert_int_equal(furrow_future_add_done_callback(future, look, &seen), FURROW_OK);
    assert_int_equal(seen.calls, 0);
    assert_int_equal(furrow_future_set_result(future, "i", (int64_t)5), FURROW_OK);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.state, FURROW_FINISHED);
    furrow_future_unref(&future);
    assert_null(future);
    assert_int_equal(seen.calls, 1);
}

static void done_callback_sees_an_error(void **state) {
    furrow_future *future = pending();
    struct seen seen = {0};

    (void)state;
    assert_int_equal(furrow_future_add_done_callback(future, look, &seen), FURROW_OK);
    assert_int_equal(furrow_future_set_error(future, 7, "x"), FURROW_OK);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.state, FURROW_FINISHED);
    furrow_future_unref(&future);
}

static void done_callback_sees_a_cancel(void **state) {
    furrow_future *future = pending();
    struct seen seen = {0};

    (void)state;
    assert_int_equal(furrow_future_add_done_callback(future, look, &seen), FURROW_OK);
    assert_true(furrow_future_cancel(future));
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.state, FURROW_CANCELLED);
    furrow_future_unref(&future);
}

static void late_callback_runs_at_once_in_the_callers_thread(void **state) {
    furrow_future *futures[] = {successful(1), failed(1, "x"), cancelled()};
    const furrow_future_state states[] = {FURROW_FINISHED, FURROW_FINISHED, FURROW_CANCELLED};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct seen seen = {0};

        assert_int_equal(furrow_future_add_done_callback(futures[i], look, &seen), FURROW_OK);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.state, states[i]);
        assert_true(pthread_equal(seen.thread, pthread_self()));
        furrow_future_unref(&futures[i]);
    }
}

static int order[16];
static int order_count;

static furrow_status note_order(furrow_future *future, void *user) {
    (void)future;
    order[order_count++] = *(int *)user;
    return FURROW_OK;
}

static void callbacks_run_in_the_order_they_were_added(void **state) {
    furrow_future *future = pending();
    int numbers[16];

    (void)state;
    order_count = 0;
    for (int i = 0; i < 16; i++) {
        numbers[i] = i;
        assert_int_equal(furrow_future_add_done_callback(future, note_order, &numbers[i]),
                         FURROW_OK);
    }
    assert_int_equal(furrow_future_set_result(future, ""), FURROW_OK);
    assert_int_equal(order_count, 16);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(order[i], i);
    }
    furrow_future_unref(&future);
}

static void failing_callback_is_logged_and_later_ones_still_run(void **state) {
    struct front_log log = {0};
    furrow_options options = FURROW_OPTIONS_INIT;
    furrow_executor *pool;
    furrow_future *hold, *future;
    struct seen bad = {.answer = FURROW_EINVAL};
    struct seen good = {0};
    struct gate gate;

    (void)state;
    gate_init(&gate);
    options.log = front_log;
    options.log_user = &log;
    pool = furrow_open("threads:1", &options);
    assert_non_null(pool);
    hold = furrow_submit(pool, front_hold, "p", &gate);
    future = furrow_submit(pool, front_square, "i", (int64_t)3);
    assert_int_equal(furrow_future_add_done_callback(future, look, &bad), FURROW_OK);
    assert_int_equal(furrow_future_add_done_callback(future, look, &good), FURROW_OK);
    gate_open(&gate);
    assert_int_equal(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT), FURROW_OK);
    assert_int_equal(bad.calls, 1);
    assert_int_equal(good.calls, 1);
    assert_int_equal(log.lines, 1);
    assert_non_null(strstr(log.last, "callback"));
    /* A late one too. */
    assert_int_equal(furrow_future_add_done_callback(future, look, &bad), FURROW_OK);
    assert_int_equal(log.lines, 2);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    assert_int_equal(furrow_future_add_done_callback(future, look, &bad), FURROW_OK);
    assert_int_equal(bad.calls, 3);
    assert_int_equal(log.lines, 2);
    furrow_future_unref(&hold);
    furrow_future_unref(&future);
    gate_fini(&gate);
}

static furrow_status wait_in_callback(furrow_future *future, void *user) {
    struct {
        furrow_future *other;
        furrow_status waited, looked, own;
    } *seen = user;
    int64_t value;

    seen->waited = furrow_future_wait(seen->other, -1);
    seen->looked = furrow_future_wait(seen->other, 0);
    seen->own = furrow_future_result(future, -1, "i", &value);
    return FURROW_OK;
}

static void waiting_in_a_callback_of_the_same_executor_is_a_deadlock(void **state) {
    struct {
        furrow_future *other;
        furrow_status waited, looked, own;
    } seen = {0};
    furrow_executor *pool = furrow_open("threads:1", NULL);
    furrow_future *first, *future;
    struct gate gate, second;

    (void)state;
    gate_init(&gate);
    gate_init(&second);
    first = furrow_submit(pool, front_hold, "p", &gate);
    future = furrow_submit(pool, front_square, "i", (int64_t)3);
    seen.other = furrow_submit(pool, front_hold, "p", &second);
    assert_int_equal(furrow_future_add_done_callback(future, wait_in_callback, &seen), FURROW_OK);
    gate_open(&gate);
    assert_int_equal(furrow_future_wait(future, -1), FURROW_OK);
    gate_wait(&second, 1);
    assert_int_equal(seen.waited, FURROW_EDEADLOCK);
    assert_int_equal(seen.looked, FURROW_ETIMEOUT);
    assert_int_equal(seen.own, FURROW_OK);
    gate_open(&second);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    furrow_future_unref(&first);
    furrow_future_unref(&future);
    furrow_future_unref(&seen.other);
    gate_fini(&gate);
    gate_fini(&second);
}

static furrow_status add_another(furrow_future *future, void *user) {
    return furrow_future_add_done_callback(future, look, user);
}

static void callback_added_in_a_callback_runs_at_once(void **state) {
    furrow_future *future = pending();
    struct seen seen = {0};

    (void)state;
    assert_int_equal(furrow_future_add_done_callback(future, add_another, &seen), FURROW_OK);
    assert_int_equal(furrow_future_set_result(future, "n"), FURROW_OK);
    assert_int_equal(seen.calls, 1);
    furrow_future_unref(&future);
}

static void callback_without_memory_never_runs(void **state) {
    furrow_future *future = pending();
    struct seen seen = {0};

    (void)state;
    fail_alloc_after(0);
    assert_int_equal(furrow_future_add_done_callback(future, look, &seen), FURROW_ENOMEM);
    fail_alloc_never();
    assert_int_equal(furrow_future_set_result(future, ""), FURROW_OK);
    assert_int_equal(seen.calls, 0);
    furrow_future_unref(&future);
}

/* --------------------------------------------------------------------- states */

static void describe_tells_the_state_and_the_error(void **state) {
    furrow_future *futures[] = {pending(), running(), cancelled(), failed(3, "no luck"),
                                successful(1)};
    const char *const texts[] = {"pending", "running", "cancelled", "finished: error no luck",
                                 "finished"};
    char text[64];

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(furrow_future_describe(futures[i], text, sizeof text), strlen(texts[i]));
        assert_string_equal(text, texts[i]);
        assert_int_equal(furrow_future_describe(futures[i], text, 4), strlen(texts[i]));
        assert_int_equal(strlen(text), 3);
        assert_int_equal(furrow_future_describe(futures[i], NULL, 0), strlen(texts[i]));
        furrow_future_unref(&futures[i]);
    }
}

static void cancel_answers_by_the_state(void **state) {
    furrow_future *futures[] = {pending(), running(), cancelled(), failed(1, "x"), successful(1)};
    const bool answers[] = {true, false, true, false, false};
    const furrow_future_state after[] = {FURROW_CANCELLED, FURROW_RUNNING, FURROW_CANCELLED,
                                         FURROW_FINISHED, FURROW_FINISHED};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(furrow_future_cancel(futures[i]), answers[i]);
        assert_int_equal(furrow_future_get_state(futures[i]), after[i]);
        furrow_future_cancel_async(futures[i]);
        assert_int_equal(furrow_future_get_state(futures[i]), after[i]);
        furrow_future_unref(&futures[i]);
    }
}

static void cancelled_done_and_running_tell_the_truth(void **state) {
    furrow_future *futures[] = {pending(), running(), cancelled(), failed(1, "x"), successful(1)};
    const bool is_cancelled[] = {false, false, true, false, false};
    const bool is_running[] = {false, true, false, false, false};
    const bool is_done[] = {false, false, true, true, true};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(furrow_future_cancelled(futures[i]), is_cancelled[i]);
        assert_int_equal(furrow_future_running(futures[i]), is_running[i]);
        assert_int_equal(furrow_future_done(futures[i]), is_done[i]);
        furrow_future_unref(&futures[i]);
    }
}

static void result_with_a_timeout_answers_by_the_state(void **state) {
    furrow_future *futures[] = {pending(), running(), cancelled(), failed(9, "x"), successful(42)};
    const furrow_status statuses[] = {FURROW_ETIMEOUT, FURROW_ETIMEOUT, FURROW_ECANCELLED,
                                      FURROW_EFAILED, FURROW_OK};
    const double timeouts[] = {0, 0.001};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        for (size_t j = 0; j < 2; j++) {
            int64_t value = 0;
            const void *data = NULL;
            size_t size = 0;

            assert_int_equal(furrow_future_result(futures[i], timeouts[j], "i", &value),
                             statuses[i]);
            assert_int_equal(value, i == 4 ? 42 : 0);
            if (statuses[i] != FURROW_OK) {
                assert_int_equal(furrow_last_status(), statuses[i]);
            }
            assert_int_equal(furrow_future_value(futures[i], timeouts[j], &data, &size),
                             statuses[i]);
            assert_int_equal(size, i == 4 ? 1 : 0);
        }
        furrow_future_unref(&futures[i]);
    }
}

static void error_with_a_timeout_answers_by_the_state(void **state) {
    furrow_future *futures[] = {pending(), running(), cancelled(), failed(9, "why"),
                                successful(42)};
    const furrow_status statuses[] = {FURROW_ETIMEOUT, FURROW_ETIMEOUT, FURROW_ECANCELLED,
                                      FURROW_OK, FURROW_OK};
    const double timeouts[] = {0, 0.001};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        for (size_t j = 0; j < 2; j++) {
            const furrow_error *error = NULL;

            assert_int_equal(furrow_future_error(futures[i], timeouts[j], &error), statuses[i]);
            if (i == 3) {
                assert_non_null(error);
                assert_int_equal(error->kind, FURROW_ERROR_TASK);
                assert_int_equal(error->code, 9);
                assert_string_equal(error->message, "why");
                assert_string_equal(error->function, "");
                assert_string_equal(error->host, "");
            } else {
                assert_null(error);
            }
        }
        furrow_future_unref(&futures[i]);
    }
}

static void wait_takes_any_outcome_for_success(void **state) {
    furrow_future *futures[] = {cancelled(), failed(9, "x"), successful(42)};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(furrow_future_wait(futures[i], 0), FURROW_OK);
        assert_int_equal(furrow_future_wait(futures[i], -1), FURROW_OK);
        furrow_future_unref(&futures[i]);
    }
}

static void blocked_waiter_is_woken_by_a_result(void **state) {
    furrow_future *future = pending();
    struct waiter waiter;

    (void)state;
    waiter_start(&waiter, future, false);
    assert_int_equal(furrow_future_set_result(future, "i", (int64_t)42), FURROW_OK);
    waiter_join(&waiter);
    assert_int_equal(waiter.status, FURROW_OK);
    assert_int_equal(waiter.value, 42);
    furrow_future_unref(&future);
}

static void blocked_waiter_is_woken_by_a_cancel(void **state) {
    furrow_future *future = pending();
    struct waiter waiter;

    (void)state;
    waiter_start(&waiter, future, false);
    assert_true(furrow_future_cancel(future));
    waiter_join(&waiter);
    assert_int_equal(waiter.status, FURROW_ECANCELLED);
    furrow_future_unref(&future);
}

static void blocked_waiter_for_the_error_is_woken(void **state) {
    furrow_future *future = pending();
    struct waiter waiter;

    (void)state;
    waiter_start(&waiter, future, true);
    assert_int_equal(furrow_future_set_error(future, 5, "late"), FURROW_OK);
    waiter_join(&waiter);
    assert_int_equal(waiter.status, FURROW_OK);
    assert_non_null(waiter.error);
    assert_int_equal(waiter.error->code, 5);
    furrow_future_unref(&future);
}

static void the_first_outcome_stays(void **state) {
    furrow_future *futures[] = {successful(1), failed(2, "x"), cancelled()};
    const furrow_status statuses[] = {FURROW_OK, FURROW_EFAILED, FURROW_ECANCELLED};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        int64_t value = 1;

        assert_int_equal(furrow_future_set_result(futures[i], "i", (int64_t)7), FURROW_ESTATE);
        assert_int_equal(furrow_future_set_error(futures[i], 7, "y"), FURROW_ESTATE);
        assert_int_equal(furrow_future_result(futures[i], 0, "i", &value), statuses[i]);
        assert_int_equal(value, 1);
        furrow_future_unref(&futures[i]);
    }
}

static void set_running_answers_by_the_state(void **state) {
    furrow_future *futures[] = {pending(), running(), cancelled(), failed(1, "x"), successful(1)};
    const furrow_status statuses[] = {FURROW_OK, FURROW_ESTATE, FURROW_OK, FURROW_ESTATE,
                                      FURROW_ESTATE};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        bool run = i != 0;

        assert_int_equal(furrow_future_set_running_or_notify_cancel(futures[i], &run), statuses[i]);
        assert_int_equal(run, i == 0);
        furrow_future_unref(&futures[i]);
    }
}

static void a_future_of_an_executor_can_not_be_set(void **state) {
    furrow_executor *pool = furrow_open("threads:1", NULL);
    furrow_future *hold, *future;
    struct gate gate;
    bool run;

    (void)state;
    gate_init(&gate);
    hold = furrow_submit(pool, front_hold, "p", &gate);
    future = furrow_submit(pool, front_square, "i", (int64_t)2);
    assert_int_equal(furrow_future_set_result(future, "i", (int64_t)1), FURROW_ESTATE);
    assert_int_equal(furrow_future_set_error(future, 1, "x"), FURROW_ESTATE);
    assert_int_equal(furrow_future_set_running_or_notify_cancel(future, &run), FURROW_ESTATE);
    assert_int_equal(furrow_future_get_state(future), FURROW_PENDING);
    gate_open(&gate);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    furrow_future_unref(&hold);
    furrow_future_unref(&future);
    gate_fini(&gate);
}

/* ------------------------------------------------------------ values and memory */

static void results_take_any_shape(void **state) {
    furrow_future *future = pending();
    int64_t a = 0;
    double b = 0;
    const char *s = NULL;
    const void *data;
    size_t size;

    (void)state;
    assert_int_equal(furrow_future_set_result(future, "ids", (int64_t)1, 2.5, "three"), FURROW_OK);
    assert_int_equal(furrow_future_result(future, 0, "[ids]", &a, &b, &s), FURROW_OK);
    assert_int_equal(a, 1);
    assert_true(b == 2.5);
    assert_string_equal(s, "three");
    assert_int_equal(furrow_future_result(future, 0, "i", &a), FURROW_EARGS);
    assert_int_equal(furrow_future_result(future, 0, "[ids]", &a, &b, &s), FURROW_OK);
    assert_int_equal(furrow_future_value(future, 0, &data, &size), FURROW_OK);
    assert_int_equal(furrow_future_result(future, 0, NULL), FURROW_OK);
    furrow_future_unref(&future);
    future = pending();
    assert_int_equal(furrow_future_set_result(future, NULL), FURROW_OK);
    assert_int_equal(furrow_future_result(future, 0, "n"), FURROW_OK);
    furrow_future_unref(&future);
}

static void a_wrong_format_sets_nothing(void **state) {
    furrow_future *future = pending();

    (void)state;
    assert_int_equal(furrow_future_set_result(future, "?"), FURROW_EARGS);
    assert_int_equal(furrow_future_get_state(future), FURROW_PENDING);
    assert_int_equal(furrow_future_set_result(future, "i", (int64_t)1), FURROW_OK);
    furrow_future_unref(&future);
}

static void large_results_are_kept_whole(void **state) {
    const size_t sizes[] = {FUTURE_INLINE_BYTES - 5, FUTURE_INLINE_BYTES, 1000, 70000, 300000};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        furrow_future *future = pending();
        char *bytes = malloc(sizes[i]);
        const void *data;
        size_t size;

        memset(bytes, (int)i, sizes[i]);
        assert_int_equal(furrow_future_set_result(future, "B", bytes, sizes[i]), FURROW_OK);
        assert_int_equal(furrow_future_result(future, 0, "B", &data, &size), FURROW_OK);
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(data, bytes, size);
        free(bytes);
        furrow_future_unref(&future);
    }
}

static void strings_live_as_long_as_the_future(void **state) {
    furrow_future *future = pending();
    const char *strings[100];

    (void)state;
    assert_int_equal(furrow_future_set_result(future, "s", "text"), FURROW_OK);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(furrow_future_result(future, 0, "s", &strings[i]), FURROW_OK);
    }
    for (int i = 0; i < 100; i++) {
        assert_string_equal(strings[i], "text");
    }
    furrow_future_unref(&future);
}

static void an_error_is_decoded_once(void **state) {
    furrow_future *future = failed(-3, "first");
    const furrow_error *error, *again;

    (void)state;
    assert_int_equal(furrow_future_error(future, 0, &error), FURROW_OK);
    assert_int_equal(furrow_future_error(future, 0, &again), FURROW_OK);
    assert_ptr_equal(error, again);
    assert_int_equal(error->code, -3);
    assert_int_equal(furrow_future_result(future, 0, "i", NULL), FURROW_EFAILED);
    assert_non_null(strstr(furrow_last_error(), "first"));
    furrow_future_unref(&future);
}

static void without_memory_an_outcome_is_an_error_that_says_so(void **state) {
    char bytes[1000] = {0};
    furrow_future *future = pending();
    const furrow_error *error;
    int failures = 0;

    (void)state;
    for (long i = 0;; i++) {
        furrow_status status;

        fail_alloc_only(i);
        status = furrow_future_set_result(future, "B", bytes, sizeof bytes);
        if (!fail_alloc_failed()) {
            fail_alloc_never();
            break;
        }
        fail_alloc_never();
        failures++;
        if (status == FURROW_OK) {
            assert_int_equal(furrow_future_error(future, 0, &error), FURROW_OK);
            assert_non_null(error);
            assert_string_equal(error->message, "out of memory");
            furrow_future_unref(&future);
            future = pending();
        } else {
            assert_int_equal(status, FURROW_ENOMEM);
            assert_int_equal(furrow_future_get_state(future), FURROW_PENDING);
        }
    }
    assert_true(failures > 0);
    furrow_future_unref(&future);
}

static void reading_without_memory_is_an_error_and_may_be_repeated(void **state) {
    furrow_future *good = pending();
    furrow_future *bad = failed(1, "why");
    const furrow_error *error;
    const char *text;

    (void)state;
    assert_int_equal(furrow_future_set_result(good, "s", "text"), FURROW_OK);
    fail_alloc_after(0);
    assert_int_equal(furrow_future_result(good, 0, "s", &text), FURROW_ENOMEM);
    assert_int_equal(furrow_future_error(bad, 0, &error), FURROW_ENOMEM);
    assert_int_equal(furrow_future_result(bad, 0, "s", &text), FURROW_EFAILED);
    fail_alloc_never();
    assert_int_equal(furrow_future_result(good, 0, "s", &text), FURROW_OK);
    assert_int_equal(furrow_future_error(bad, 0, &error), FURROW_OK);
    assert_string_equal(error->message, "why");
    furrow_future_unref(&good);
    furrow_future_unref(&bad);
}

/* ------------------------------------------------------------------ references */

static void dropping_the_last_reference_of_an_unresolved_future_leaks_nothing(void **state) {
    furrow_future *future = pending();
    struct seen seen = {0};
    furrow_future *again;

    (void)state;
    assert_int_equal(furrow_future_add_done_callback(future, look, &seen), FURROW_OK);
    assert_int_equal(furrow_future_add_done_callback(future, look, &seen), FURROW_OK);
    again = furrow_future_ref(future);
    assert_ptr_equal(again, future);
    furrow_future_unref(&again);
    furrow_future_unref(&future);
    assert_int_equal(seen.calls, 0);
}

static furrow_status note(furrow_future *future, void *user) {
    int64_t value;

    if (furrow_future_result(future, 0, "i", &value) == FURROW_OK) {
        *(int64_t *)user = value;
    }
    return FURROW_OK;
}

static void dropping_a_future_does_not_cancel_its_task(void **state) {
    furrow_executor *pool = furrow_open("threads:1", NULL);
    furrow_future *hold, *future;
    struct gate gate;
    int64_t value = 0;

    (void)state;
    gate_init(&gate);
    hold = furrow_submit(pool, front_hold, "p", &gate);
    future = furrow_submit(pool, front_square, "i", (int64_t)6);
    assert_int_equal(furrow_future_add_done_callback(future, note, &value), FURROW_OK);
    furrow_future_unref(&future);
    gate_open(&gate);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    assert_int_equal(value, 36);
    furrow_future_unref(&hold);
    gate_fini(&gate);
}

static void unref_accepts_null(void **state) {
    furrow_future *future = NULL;

    (void)state;
    furrow_future_unref(NULL);
    furrow_future_unref(&future);
    assert_null(furrow_future_ref(NULL));
}

/* ---------------------------------------------------------------------- races */

#define ROUNDS 2000

static furrow_future *shared;
static pthread_barrier_t barrier;
static atomic_int wins;

static void *set_it(void *argument) {
    int64_t mine = *(int64_t *)argument;

    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(&barrier);
        if (furrow_future_set_result(shared, "ii", mine, mine) == FURROW_OK) {
            atomic_fetch_add(&wins, 1);
        }
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void *read_it(void *argument) {
    long *wrong = argument;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t a = 0, b = 1;
        furrow_status status;

        pthread_barrier_wait(&barrier);
        status = furrow_future_result(shared, 0, "[ii]", &a, &b);
        *wrong += status == FURROW_OK ? a != b : status != FURROW_ETIMEOUT;
        status = furrow_future_result(shared, -1, "[ii]", &a, &b);
        *wrong += status != FURROW_OK || a != b;
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void state_and_value_are_read_as_one_while_two_threads_set_them(void **state) {
    int64_t one = 1, two = 2;
    long wrong = 0;
    pthread_t threads[3];

    (void)state;
    atomic_store(&wins, 0);
    pthread_barrier_init(&barrier, NULL, 4);
    pthread_create(&threads[0], NULL, set_it, &one);
    pthread_create(&threads[1], NULL, set_it, &two);
    pthread_create(&threads[2], NULL, read_it, &wrong);
    for (int i = 0; i < ROUNDS; i++) {
        shared = pending();
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        furrow_future_unref(&shared);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
    assert_int_equal(atomic_load(&wins), ROUNDS);
    assert_int_equal(wrong, 0);
}

static void *cancel_it(void *argument) {
    (void)argument;
    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(&barrier);
        if (furrow_future_cancel(shared)) {
            atomic_fetch_add(&wins, 1);
        }
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static furrow_status count_call(furrow_future *future, void *user) {
    (void)future;
    atomic_fetch_add((atomic_int *)user, 1);
    return FURROW_OK;
}

static void a_cancel_and_a_result_never_both_win_and_callbacks_run_once(void **state) {
    int64_t one = 1;
    atomic_int calls;
    pthread_t threads[2];

    (void)state;
    atomic_init(&calls, 0);
    atomic_store(&wins, 0);
    pthread_barrier_init(&barrier, NULL, 3);
    pthread_create(&threads[0], NULL, set_it, &one);
    pthread_create(&threads[1], NULL, cancel_it, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        shared = pending();
        pthread_barrier_wait(&barrier);
        assert_int_equal(furrow_future_add_done_callback(shared, count_call, &calls), FURROW_OK);
        assert_int_equal(furrow_future_add_done_callback(shared, count_call, &calls), FURROW_OK);
        pthread_barrier_wait(&barrier);
        furrow_future_unref(&shared);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
    assert_int_equal(atomic_load(&wins), ROUNDS);
    assert_int_equal(atomic_load(&calls), 2 * ROUNDS);
}

static void *make_and_drop(void *argument) {
    furrow_future *futures[500];

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 500; i++) {
            futures[i] = furrow_future_new();
            if (futures[i] == NULL) {
                *(bool *)argument = false;
                return NULL;
            }
        }
        for (int i = 0; i < 500; i++) {
            furrow_future_unref(&futures[i]);
        }
    }
    return NULL;
}

static void threads_that_end_give_their_futures_back(void **state) {
    bool good[4] = {true, true, true, true};
    pthread_t threads[4];

    (void)state;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 4; i++) {
            pthread_create(&threads[i], NULL, make_and_drop, &good[i]);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
            assert_true(good[i]);
        }
    }
}

static void very_many_futures_come_and_go(void **state) {
    enum { COUNT = 100000 };
    furrow_future **futures = calloc(COUNT, sizeof *futures);

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            futures[i] = furrow_future_new();
            assert_non_null(futures[i]);
            futures[i]->own = (uint32_t)i;
        }
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(futures[i]->own, i);
            furrow_future_unref(&futures[i]);
        }
    }
    free(futures);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(done_callback_sees_a_result),
        cmocka_unit_test(done_callback_sees_an_error),
        cmocka_unit_test(done_callback_sees_a_cancel),
        cmocka_unit_test(late_callback_runs_at_once_in_the_callers_thread),
        cmocka_unit_test(callbacks_run_in_the_order_they_were_added),
        cmocka_unit_test(failing_callback_is_logged_and_later_ones_still_run),
        cmocka_unit_test(waiting_in_a_callback_of_the_same_executor_is_a_deadlock),
        cmocka_unit_test(callback_added_in_a_callback_runs_at_once),
        cmocka_unit_test(callback_without_memory_never_runs),
        cmocka_unit_test(describe_tells_the_state_and_the_error),
        cmocka_unit_test(cancel_answers_by_the_state),
        cmocka_unit_test(cancelled_done_and_running_tell_the_truth),
        cmocka_unit_test(result_with_a_timeout_answers_by_the_state),
        cmocka_unit_test(error_with_a_timeout_answers_by_the_state),
        cmocka_unit_test(wait_takes_any_outcome_for_success),
        cmocka_unit_test(blocked_waiter_is_woken_by_a_result),
        cmocka_unit_test(blocked_waiter_is_woken_by_a_cancel),
        cmocka_unit_test(blocked_waiter_for_the_error_is_woken),
        cmocka_unit_test(the_first_outcome_stays),
        cmocka_unit_test(set_running_answers_by_the_state),
        cmocka_unit_test(a_future_of_an_executor_can_not_be_set),
        cmocka_unit_test(results_take_any_shape),
        cmocka_unit_test(a_wrong_format_sets_nothing),
        cmocka_unit_test(large_results_are_kept_whole),
        cmocka_unit_test(strings_live_as_long_as_the_future),
        cmocka_unit_test(an_error_is_decoded_once),
        cmocka_unit_test(without_memory_an_outcome_is_an_error_that_says_so),
        cmocka_unit_test(reading_without_memory_is_an_error_and_may_be_repeated),
        cmocka_unit_test(dropping_the_last_reference_of_an_unresolved_future_leaks_nothing),
        cmocka_unit_test(dropping_a_future_does_not_cancel_its_task),
        cmocka_unit_test(unref_accepts_null),
        cmocka_unit_test(state_and_value_are_read_as_one_while_two_threads_set_them),
        cmocka_unit_test(a_cancel_and_a_result_never_both_win_and_callbacks_run_once),
        cmocka_unit_test(threads_that_end_give_their_futures_back),
        cmocka_unit_test(very_many_futures_come_and_go),
    };

    return cmocka_run_group_tests_name("future", tests, NULL, NULL);
}
