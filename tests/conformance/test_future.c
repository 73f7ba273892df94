#include "tests/conformance/harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* What a callback saw. */
struct seen {
    atomic_int calls;
    furrow_future_state state;
    furrow_status result;
    int64_t value;
    int32_t code;
    pthread_t thread;
};

static furrow_status look(furrow_future *future, void *user) {
    struct seen *seen = user;
    const furrow_error *error = NULL;

    seen->state = furrow_future_get_state(future);
    seen->result = furrow_future_result(future, 0, "i", &seen->value);
    if (furrow_future_error(future, 0, &error) == FURROW_OK && error != NULL) {
        seen->code = error->code;
    }
    seen->thread = pthread_self();
    atomic_fetch_add(&seen->calls, 1);
    return FURROW_OK;
}

/* ------------------------------------------------------------------ callbacks */

static void done_callback_with_result(void **state) {
    furrow_executor *pool = conformance_open(1);
    struct seen seen = {0};
    (void)state;

    furrow_future *future = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)5));
    assert_ok(furrow_future_add_done_callback(future, look, &seen));
    assert_int_equal(atomic_load(&seen.calls), 0);
    gate_open();
    assert_int_equal(result_int(future), 5);
    wait_for(atomic_load(&seen.calls) == 1);
    assert_int_equal(seen.state, FURROW_FINISHED);
    assert_int_equal(seen.result, FURROW_OK);
    assert_int_equal(seen.value, 5);
    furrow_future_unref(&future);
}

static void done_callback_with_error(void **state) {
    furrow_executor *pool = conformance_open(1);
    struct seen seen = {0};
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    gate_wait_started(1);
    furrow_future *future = must(furrow_submit(pool, fail_with, "is", (int64_t)42, "test"));
    assert_ok(furrow_future_add_done_callback(future, look, &seen));
    gate_open();
    wait_for(atomic_load(&seen.calls) == 1);
    assert_int_equal(seen.state, FURROW_FINISHED);
    assert_int_equal(seen.result, FURROW_EFAILED);
    assert_int_equal(seen.code, 42);
    furrow_future_unref(&future);
    furrow_future_unref(&held);
}

static void done_callback_with_cancel(void **state) {
    furrow_executor *pool = conformance_open(1);
    struct seen seen = {0};
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    gate_wait_started(1);
    furrow_future *future = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)2));
    assert_ok(furrow_future_add_done_callback(future, look, &seen));
    assert_true(furrow_future_cancel(future));
    wait_for(atomic_load(&seen.calls) == 1);
    assert_int_equal(seen.state, FURROW_CANCELLED);
    assert_int_equal(seen.result, FURROW_ECANCELLED);
    gate_open();
    assert_int_equal(result_int(held), 0);
    furrow_future_unref(&future);
    furrow_future_unref(&held);
}

static furrow_status fail_in_callback(furrow_future *future, void *user) {
    (void)future;
    atomic_fetch_add((atomic_int *)user, 1);
    return FURROW_EINVAL;
}

static void done_callback_raises(void **state) {
    furrow_executor *pool = conformance_open(1);
    atomic_int failing = 0;
    struct seen seen = {0};
    (void)state;

    furrow_future *future = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)5));
    assert_ok(furrow_future_add_done_callback(future, fail_in_callback, &failing));
    assert_ok(furrow_future_add_done_callback(future, look, &seen));
    gate_open();
    wait_for(atomic_load(&seen.calls) == 1);
    assert_int_equal(atomic_load(&failing), 1);
    assert_int_equal(seen.value, 5);
    assert_int_equal(conformance_logged("callback"), 1);
    assert_int_equal(conformance_logged("invalid argument"), 1);
    furrow_future_unref(&future);
}

static void expect_callback_at_once(furrow_future *future, furrow_future_state state,
                                    furrow_status result) {
    struct seen seen = {0};

    assert_ok(furrow_future_add_done_callback(future, look, &seen));
    assert_int_equal(atomic_load(&seen.calls), 1);
    assert_int_equal(seen.state, state);
    assert_int_equal(seen.result, result);
    assert_true(pthread_equal(seen.thread, pthread_self()));
}

static void done_callback_already_successful(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *future = must(furrow_submit(pool, add, "ii", (int64_t)2, (int64_t)3));
    assert_int_equal(result_int(future), 5);
    expect_callback_at_once(future, FURROW_FINISHED, FURROW_OK);
    furrow_future_unref(&future);
}

static void done_callback_already_failed(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *future = must(furrow_submit(pool, fail_with, "is", (int64_t)1, "test"));
    assert_ok(furrow_future_wait(future, -1));
    expect_callback_at_once(future, FURROW_FINISHED, FURROW_EFAILED);
    furrow_future_unref(&future);
}

static void done_callback_already_cancelled(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    gate_wait_started(1);
    furrow_future *future = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)2));
    assert_true(furrow_future_cancel(future));
    expect_callback_at_once(future, FURROW_CANCELLED, FURROW_ECANCELLED);
    gate_open();
    furrow_future_unref(&held);
    furrow_future_unref(&future);
}

struct order {
    atomic_int next;
    int at[20];
};
struct order_item {
    struct order *order;
    int number;
};

static furrow_status note_order(furrow_future *future, void *user) {
    struct order_item *item = user;
    (void)future;

    item->order->at[item->number] = atomic_fetch_add(&item->order->next, 1);
    return FURROW_OK;
}

static void callbacks_run_in_order_each_once(void **state) {
    furrow_executor *pool = conformance_open(1);
    struct order order = {0};
    struct order_item items[20];
    (void)state;

    furrow_future *future = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    for (int i = 0; i < 20; i++) {
        items[i] = (struct order_item){&order, i};
        order.at[i] = -1;
        assert_ok(furrow_future_add_done_callback(future, note_order, &items[i]));
    }
    gate_open();
    wait_for(atomic_load(&order.next) == 20);
    conformance_close();
    assert_int_equal(atomic_load(&order.next), 20);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(order.at[i], i);
    }
    furrow_future_unref(&future);
}

/* --------------------------------------------------------------------- states */

/* One future in each of the states that a future can have. */
struct all_states {
    furrow_future *running, *pending, *cancelled, *failed, *finished;
};

static struct all_states make_all_states(furrow_executor *pool) {
    struct all_states all;

    all.finished = must(furrow_submit(pool, add, "ii", (int64_t)40, (int64_t)2));
    all.failed = must(furrow_submit(pool, fail_with, "is", (int64_t)7, "went wrong"));
    assert_ok(furrow_future_wait(all.finished, -1));
    assert_ok(furrow_future_wait(all.failed, -1));
    all.running = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    gate_wait_started(1);
    wait_for(furrow_future_running(all.running));
    all.pending = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)2));
    all.cancelled = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)2));
    assert_true(furrow_future_cancel(all.cancelled));
    return all;
}

static void free_all_states(struct all_states *all) {
    gate_open();
    furrow_future_unref(&all->running);
    furrow_future_unref(&all->pending);
    furrow_future_unref(&all->cancelled);
    furrow_future_unref(&all->failed);
    furrow_future_unref(&all->finished);
}

static void expect_text(furrow_future *future, const char *text) {
    char line[128];

    assert_int_equal(furrow_future_describe(future, line, sizeof line), strlen(text));
    assert_string_equal(line, text);
    assert_int_equal(furrow_future_describe(future, line, 4), strlen(text));
    assert_int_equal(strlen(line), 3);
}

static void describe(void **state) {
    struct all_states all = make_all_states(conformance_open(1));
    (void)state;

    expect_text(all.pending, "pending");
    expect_text(all.running, "running");
    expect_text(all.cancelled, "cancelled");
    expect_text(all.failed, "finished: error went wrong");
    expect_text(all.finished, "finished");
    free_all_states(&all);
}

static void cancel(void **state) {
    struct all_states all = make_all_states(conformance_open(1));
    (void)state;

    assert_true(furrow_future_cancel(all.pending));
    assert_int_equal(furrow_future_get_state(all.pending), FURROW_CANCELLED);
    assert_false(furrow_future_cancel(all.running));
    assert_int_equal(furrow_future_get_state(all.running), FURROW_RUNNING);
    assert_true(furrow_future_cancel(all.cancelled));
    assert_int_equal(furrow_future_get_state(all.cancelled), FURROW_CANCELLED);
    assert_false(furrow_future_cancel(all.finished));
    assert_int_equal(furrow_future_get_state(all.finished), FURROW_FINISHED);
    assert_false(furrow_future_cancel(all.failed));
    assert_int_equal(furrow_future_get_state(all.failed), FURROW_FINISHED);
    free_all_states(&all);
}

static void cancelled_done_running(void **state) {
    struct all_states all = make_all_states(conformance_open(1));
    (void)state;

    const struct {
        furrow_future *future;
        furrow_future_state state;
        bool cancelled, done, running;
    } table[] = {
        {all.pending, FURROW_PENDING, false, false, false},
        {all.running, FURROW_RUNNING, false, false, true},
        {all.cancelled, FURROW_CANCELLED, true, true, false},
        {all.failed, FURROW_FINISHED, false, true, false},
        {all.finished, FURROW_FINISHED, false, true, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_int_equal(furrow_future_get_state(table[i].future), table[i].state);
        assert_int_equal(furrow_future_cancelled(table[i].future), table[i].cancelled);
        assert_int_equal(furrow_future_done(table[i].future), table[i].done);
        assert_int_equal(furrow_future_running(table[i].future), table[i].running);
    }
    free_all_states(&all);
}

/* -------------------------------------------------------------------- results */

static void result_with_timeout(void **state) {
    struct all_states all = make_all_states(conformance_open(1));
    int64_t value = 0;
    (void)state;

    for (int turn = 0; turn < 2; turn++) {
        double timeout = turn == 0 ? 0.0 : 0.02;

        assert_int_equal(furrow_future_result(all.pending, timeout, "i", &value), FURROW_ETIMEOUT);
        assert_int_equal(furrow_future_result(all.running, timeout, "i", &value), FURROW_ETIMEOUT);
        assert_int_equal(furrow_future_result(all.cancelled, timeout, "i", &value),
                         FURROW_ECANCELLED);
        assert_int_equal(furrow_future_result(all.failed, timeout, "i", &value), FURROW_EFAILED);
        assert_ok(furrow_future_result(all.finished, timeout, "i", &value));
        assert_int_equal(value, 42);
    }
    assert_ok(furrow_future_result(all.finished, -1, "i", &value));
    free_all_states(&all);
}

static void error_with_timeout(void **state) {
    struct all_states all = make_all_states(conformance_open(1));
    const furrow_error *error = NULL;
    (void)state;

    for (int turn = 0; turn < 2; turn++) {
        double timeout = turn == 0 ? 0.0 : 0.02;

        assert_int_equal(furrow_future_error(all.pending, timeout, &error), FURROW_ETIMEOUT);
        assert_int_equal(furrow_future_error(all.running, timeout, &error), FURROW_ETIMEOUT);
        assert_int_equal(furrow_future_error(all.cancelled, timeout, &error), FURROW_ECANCELLED);
        assert_ok(furrow_future_error(all.failed, timeout, &error));
        assert_non_null(error);
        assert_int_equal(error->kind, FURROW_ERROR_TASK);
        assert_int_equal(error->code, 7);
        assert_string_equal(error->message, "went wrong");
        assert_ok(furrow_future_error(all.finished, timeout, &error));
        assert_null(error);
    }
    free_all_states(&all);
}

static void a_result_of_another_shape_can_be_read_again(void **state) {
    furrow_executor *pool = conformance_open(1);
    const char *text = NULL;
    (void)state;

    furrow_future *future = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)2));
    assert_int_equal(furrow_future_result(future, -1, "s", &text), FURROW_EARGS);
    assert_non_null(strstr(furrow_last_error(), "integer"));
    assert_int_equal(result_int(future), 3);
    furrow_future_unref(&future);
}

struct waiter {
    furrow_future *future;
    bool for_error;
    atomic_int waiting;
    furrow_status status;
    int64_t value;
    int32_t code;
};

static void *wait_in_thread(void *user) {
    struct waiter *waiter = user;
    const furrow_error *error = NULL;

    atomic_store(&waiter->waiting, 1);
    if (waiter->for_error) {
        waiter->status = furrow_future_error(waiter->future, -1, &error);
        waiter->code = error != NULL ? error->code : 0;
    } else {
        waiter->status = furrow_future_result(waiter->future, -1, "i", &waiter->value);
    }
    return NULL;
}

static pthread_t start_waiter(struct waiter *waiter) {
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, wait_in_thread, waiter), 0);
    wait_for(atomic_load(&waiter->waiting) == 1);
    pause_ms(10); /* most likely asleep by now; the test holds either way */
    return thread;
}

static void result_with_success(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    struct waiter waiter = {.future =
                                must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)9))};
    pthread_t thread = start_waiter(&waiter);
    gate_open();
    pthread_join(thread, NULL);
    assert_int_equal(waiter.status, FURROW_OK);
    assert_int_equal(waiter.value, 9);
    furrow_future_unref(&waiter.future);
}

static void result_with_cancel(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    gate_wait_started(1);
    struct waiter waiter = {.future = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)2))};
    pthread_t thread = start_waiter(&waiter);
    assert_true(furrow_future_cancel(waiter.future));
    pthread_join(thread, NULL);
    assert_int_equal(waiter.status, FURROW_ECANCELLED);
    gate_open();
    furrow_future_unref(&waiter.future);
    furrow_future_unref(&held);
}

static void error_with_success(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    struct waiter waiter = {
        .future = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)9)),
        .for_error = true,
        .code = -1,
    };
    pthread_t thread = start_waiter(&waiter);
    gate_open();
    pthread_join(thread, NULL);
    assert_int_equal(waiter.status, FURROW_OK);
    assert_int_equal(waiter.code, 0); /* there is none */
    furrow_future_unref(&waiter.future);
}

static void error_with_error(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    gate_wait_started(1);
    struct waiter waiter = {
        .future = must(furrow_submit(pool, fail_with, "is", (int64_t)11, "late")),
        .for_error = true,
    };
    pthread_t thread = start_waiter(&waiter);
    gate_open();
    pthread_join(thread, NULL);
    assert_int_equal(waiter.status, FURROW_OK);
    assert_int_equal(waiter.code, 11);
    furrow_future_unref(&waiter.future);
    furrow_future_unref(&held);
}

/* ------------------------------------------- futures for executors of one's own */

static void set_result_twice(void **state) {
    furrow_future *future = must(furrow_future_new());
    (void)state;

    assert_ok(furrow_future_set_result(future, "i", (int64_t)1));
    assert_int_equal(furrow_future_set_result(future, "i", (int64_t)2), FURROW_ESTATE);
    assert_int_equal(furrow_future_set_error(future, 3, "no"), FURROW_ESTATE);
    assert_int_equal(result_int(future), 1);
    furrow_future_unref(&future);
}

static void set_error_twice(void **state) {
    furrow_future *future = must(furrow_future_new());
    const furrow_error *error = NULL;
    (void)state;

    assert_ok(furrow_future_set_error(future, 1, "first %d", 1));
    assert_int_equal(furrow_future_set_error(future, 2, "second"), FURROW_ESTATE);
    assert_int_equal(furrow_future_set_result(future, "i", (int64_t)2), FURROW_ESTATE);
    assert_ok(furrow_future_error(future, 0, &error));
    assert_string_equal(error->message, "first 1");
    furrow_future_unref(&future);
}

static void set_after_cancel(void **state) {
    furrow_future *future = must(furrow_future_new());
    (void)state;

    assert_true(furrow_future_cancel(future));
    assert_int_equal(furrow_future_set_result(future, "i", (int64_t)1), FURROW_ESTATE);
    assert_int_equal(furrow_future_set_error(future, 1, "no"), FURROW_ESTATE);
    assert_true(furrow_future_cancelled(future));
    furrow_future_unref(&future);
}

static void set_running_or_notify_cancel(void **state) {
    furrow_future *future = must(furrow_future_new());
    bool run = false;
    (void)state;

    assert_ok(furrow_future_set_running_or_notify_cancel(future, &run));
    assert_true(run);
    assert_true(furrow_future_running(future));
    assert_false(furrow_future_cancel(future));
    assert_int_equal(furrow_future_set_running_or_notify_cancel(future, &run), FURROW_ESTATE);
    assert_ok(furrow_future_set_result(future, "s", "done"));
    assert_int_equal(furrow_future_set_running_or_notify_cancel(future, &run), FURROW_ESTATE);
    furrow_future_unref(&future);

    future = must(furrow_future_new());
    assert_true(furrow_future_cancel(future));
    assert_ok(furrow_future_set_running_or_notify_cancel(future, &run));
    assert_false(run);
    furrow_future_unref(&future);
}

/* ------------------------------------------------------------------- snapshots */

static void *read_until_done(void *user) {
    furrow_future *future = user;
    int64_t value = 0;

    for (;;) {
        bool done = furrow_future_done(future);
        furrow_status status = furrow_future_result(future, 0, "i", &value);

        if (status == FURROW_OK) {
            return (void *)(intptr_t)(value == 77 ? 1 : 2);
        }
        if (done || status != FURROW_ETIMEOUT) {
            return (void *)(intptr_t)3; /* done, and yet no value: torn */
        }
    }
}

/* The state, the result's status and the error, each read while the task fails, fit together. */
static void *read_until_failed(void *user) {
    furrow_future *future = user;

    for (;;) {
        const furrow_error *error = NULL;
        bool finished = furrow_future_get_state(future) == FURROW_FINISHED;
        furrow_status status = furrow_future_error(future, 0, &error);

        if (status == FURROW_OK) {
            bool whole = error != NULL && error->kind == FURROW_ERROR_TASK && error->code == 5 &&
                         strcmp(error->message, "as it is") == 0 &&
                         strcmp(error->function, "fail_with") == 0 &&
                         furrow_future_get_state(future) == FURROW_FINISHED &&
                         furrow_future_result(future, 0, NULL) == FURROW_EFAILED;
            return (void *)(intptr_t)(whole ? 1 : 2);
        }
        if (finished || status != FURROW_ETIMEOUT) {
            return (void *)(intptr_t)3; /* finished, and yet no error: torn */
        }
    }
}

static void expect_snapshots(furrow_future *future, void *(*reader)(void *)) {
    pthread_t threads[2];

    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, reader, future), 0);
    }
    for (int i = 0; i < 2; i++) {
        void *verdict;
        pthread_join(threads[i], &verdict);
        assert_int_equal((intptr_t)verdict, 1);
    }
}

static void snapshot(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    for (int round = 0; round < 50; round++) {
        furrow_future *future = must(furrow_submit(pool, add, "ii", (int64_t)70, (int64_t)7));

        expect_snapshots(future, read_until_done);
        furrow_future_unref(&future);
    }
}

static void snapshot_of_an_error(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    for (int round = 0; round < 50; round++) {
        furrow_future *future = must(furrow_submit(pool, fail_with, "is", (int64_t)5, "as it is"));

        expect_snapshots(future, read_until_failed);
        furrow_future_unref(&future);
    }
}

static void references(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    for (int64_t i = 1; i <= 20; i++) {
        furrow_future *future = must(furrow_submit(pool, mark, "si", gate_path(), i));
        furrow_future *again = furrow_future_ref(future);

        assert_ptr_equal(again, future);
        furrow_future_unref(&again);
        assert_null(again);
        furrow_future_unref(&future);
        assert_null(future);
    }
    furrow_future *none = NULL;
    furrow_future_unref(&none);
    gate_open();
    conformance_close();
    assert_int_equal(gate_started(), 21);
    furrow_future_unref(&held);
}

static const struct conformance_row rows[] = {
    ROW(done_callback_with_result, ON_ALL),
    ROW(done_callback_with_error, ON_ALL),
    ROW(done_callback_with_cancel, ON_ALL),
    ROW(done_callback_raises, ON_ALL),
    ROW(done_callback_already_successful, ON_ALL),
    ROW(done_callback_already_failed, ON_ALL),
    ROW(done_callback_already_cancelled, ON_ALL),
    ROW(callbacks_run_in_order_each_once, ON_ALL),
    ROW(describe, ON_ALL),
    ROW(cancel, ON_ALL),
    ROW(cancelled_done_running, ON_ALL),
    ROW(result_with_timeout, ON_ALL),
    ROW(error_with_timeout, ON_ALL),
    ROW(a_result_of_another_shape_can_be_read_again, ON_ALL),
    ROW(result_with_success, ON_ALL),
    ROW(result_with_cancel, ON_ALL),
    ROW(error_with_success, ON_ALL),
    ROW(error_with_error, ON_ALL),
    ROW(set_result_twice, ON_ALL),
    ROW(set_error_twice, ON_ALL),
    ROW(set_after_cancel, ON_ALL),
    ROW(set_running_or_notify_cancel, ON_ALL),
    ROW(snapshot, ON_ALL),
    ROW(snapshot_of_an_error, ON_ALL),
    ROW(references, ON_ALL),
};
CONFORMANCE_MAIN("future", rows)
