#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>

#include "base/buffer.h"
#include "fail_alloc.h"
#include "front.h"
#include "libclient/executor_private.h"
#include "task/status.h"

/* The front on an executor that only notes what it is asked: what all executors have in common, and
 * what becomes of outcomes that a worker elsewhere may send. */

#define SUBMITTED_MAX 64

struct fake {
    furrow_executor base;
    furrow_future *submitted[SUBMITTED_MAX];
    size_t count;
    furrow_status submit_status; /* what submit answers */
    furrow_status define_status;
    int defined;
    atomic_int cancels;
    atomic_bool cancel_waited;
    unsigned shutdown_flags;
    atomic_int users; /* threads inside cancel */
};

static struct fake *fake;

static furrow_status fake_define(furrow_executor *executor, struct executor_class *class_) {
    (void)executor;
    class_->own = 7;
    fake->defined++;
    return fake->define_status == FURROW_OK ? FURROW_OK : task_set_error(fake->define_status, "no");
}

static furrow_status fake_submit(furrow_executor *executor, furrow_future *future) {
    (void)executor;
    if (fake->submit_status != FURROW_OK) {
        return task_set_error(fake->submit_status, "refused");
    }
    fake->submitted[fake->count++] = future;
    return FURROW_OK;
}

static furrow_status fake_submit_chain(furrow_executor *executor, furrow_future *first,
                                       furrow_future *last, size_t count) {
    furrow_future *future = first;

    (void)executor;
    if (fake->submit_status != FURROW_OK) {
        return task_set_error(fake->submit_status, "refused");
    }
    for (size_t i = 0; i < count; i++) {
        furrow_future *next = future->next;

        fake->submitted[fake->count++] = future;
        if (i + 1 == count && future != last) {
            abort();
        }
        future = next;
    }
    return FURROW_OK;
}

static bool fake_cancel(furrow_executor *executor, furrow_future *future, bool wait) {
    struct fake *mine = BASE_CONTAINER_OF(executor, struct fake, base);
    bool cancelled;

    atomic_fetch_add(&mine->users, 1);
    atomic_fetch_add(&mine->cancels, 1);
    mine->cancel_waited = wait;
    cancelled = future_cancel_now(future);
    atomic_fetch_sub(&mine->users, 1);
    return cancelled || future_state(future) == FURROW_CANCELLED;
}

static furrow_status fake_shutdown(furrow_executor *executor, unsigned flags) {
    struct fake *mine = BASE_CONTAINER_OF(executor, struct fake, base);

    mine->shutdown_flags = flags;
    return FURROW_OK;
}

static void fake_free(furrow_executor *executor) {
    struct fake *mine = BASE_CONTAINER_OF(executor, struct fake, base);

    executor_fini(executor);
    if (atomic_load(&mine->users) != 0) {
        abort();
    }
    free(mine);
}

static void fake_describe(furrow_executor *executor, furrow_executor_info *info) {
    (void)executor;
    info->max_workers = 3;
}

static const struct executor_ops fake_ops = {
    .scheme = "fake",
    .allow_pointers = false,
    .define = fake_define,
    .submit = fake_submit,
    .submit_chain = fake_submit_chain,
    .cancel = fake_cancel,
    .shutdown = fake_shutdown,
    .describe = fake_describe,
    .free = fake_free,
};

static furrow_executor *pool;

static void open_fake(const char *text) {
    char fault[CLIENT_URL_FAULT_BYTES];
    struct client_url url;

    fake = calloc(1, sizeof *fake);
    assert_int_equal(client_url_parse(text, NULL, &url, fault), FURROW_OK);
    assert_true(executor_init(&fake->base, &fake_ops, &url));
    pool = &fake->base;
}

static int setup(void **state) {
    (void)state;
    open_fake("tcp://nowhere:1");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    return furrow_close(&pool) == FURROW_OK ? 0 : -1;
}

/* Resolves what was submitted as number `i`. */
static void resolve(size_t i, enum wire_kind kind, const void *data, size_t size) {
    assert_true(future_resolve(fake->submitted[i], kind, data, size, NULL));
}

static furrow_future *submit(int64_t value) {
    furrow_future *future = furrow_submit(pool, front_square, "i", value);

    assert_non_null(future);
    return future;
}

/* ------------------------------------------------------------------ submitting */

static void a_refused_submit_leaves_nothing(void **state) {
    char bytes[100000] = {0};

    (void)state;
    fake->submit_status = FURROW_EBROKEN;
    assert_null(furrow_submit(pool, front_square, "i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_EBROKEN);
    assert_string_equal(furrow_last_error(), "refused");
    assert_null(furrow_submit(pool, front_identity, "B", bytes, sizeof bytes));
    assert_int_equal(fake->count, 0);
}

static void a_class_is_defined_once_and_forgotten_when_that_fails(void **state) {
    furrow_future *future;

    (void)state;
    fake->define_status = FURROW_ENOMEM;
    assert_null(furrow_submit(pool, front_square, "i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_ENOMEM);
    fake->define_status = FURROW_OK;
    for (int i = 0; i < 3; i++) {
        future = submit(i);
        assert_int_equal(fake->submitted[i]->class_->own, 7);
        assert_int_equal(fake->submitted[i]->class_->define.class_index, 0);
        resolve((size_t)i, WIRE_KIND_VALUE, "\xc0", 1);
        furrow_future_unref(&future);
    }
    assert_int_equal(fake->defined, 2);
}

static void pointers_are_refused_where_there_is_another_process(void **state) {
    furrow_partial *partial = furrow_partial_new(front_hold, "p", &fake);
    furrow_input *input = furrow_input_range(0, 3, 1);

    (void)state;
    assert_null(furrow_submit(pool, front_hold, "p", &fake));
    assert_int_equal(furrow_last_status(), FURROW_EUNSUPPORTED);
    assert_null(furrow_submit_partial(pool, NULL, partial, ""));
    assert_int_equal(furrow_last_status(), FURROW_EUNSUPPORTED);
    assert_null(furrow_map_partial(pool, partial, NULL, &input));
    assert_int_equal(furrow_last_status(), FURROW_EUNSUPPORTED);
    assert_null(furrow_submit_call(pool, NULL, NULL));
    assert_int_equal(furrow_last_status(), FURROW_EUNSUPPORTED);
    furrow_partial_free(&partial);
    furrow_input_free(&input);
}

static void a_pointer_that_a_worker_sends_is_not_unpacked(void **state) {
    const uint8_t pointer[] = {0xd7, WIRE_EXT_POINTER, 1, 2, 3, 4, 5, 6, 7, 8};
    furrow_future *future = submit(1);
    void *value;

    (void)state;
    resolve(0, WIRE_KIND_VALUE, pointer, sizeof pointer);
    assert_int_not_equal(furrow_future_result(future, 0, "p", &value), FURROW_OK);
    furrow_future_unref(&future);
}

static void large_arguments_are_a_blob(void **state) {
    const size_t sizes[] = {WIRE_LARGE_BYTES_MIN - 6, WIRE_LARGE_BYTES_MIN};
    char *bytes = calloc(1, WIRE_LARGE_BYTES_MIN);

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        furrow_future *future = furrow_submit(pool, front_identity, "B", bytes, sizes[i]);
        struct client_task *task = &fake->submitted[i]->task;

        assert_non_null(future);
        assert_int_equal(task->large != NULL, i == 1);
        if (task->large != NULL) {
            assert_ptr_equal(task->large->data, task->data);
            assert_int_equal(task->large->size, task->size);
        }
        resolve(i, WIRE_KIND_VALUE, "\xc0", 1);
        furrow_future_unref(&future);
    }
    free(bytes);
}

static void names_need_not_be_known_here(void **state) {
    furrow_future *future = furrow_submit_by_name(pool, NULL, "elsewhere", "i", (int64_t)1);
    const furrow_error *error;

    (void)state;
    assert_non_null(future);
    assert_null(fake->submitted[0]->class_->function);
    assert_true(
        future_fail(fake->submitted[0], WIRE_KIND_NO_FUNCTION, 0, "no worker offers %s", "it"));
    assert_int_equal(furrow_future_error(future, 0, &error), FURROW_OK);
    assert_int_equal(error->kind, FURROW_ERROR_NO_FUNCTION);
    assert_string_equal(error->function, "elsewhere");
    assert_string_equal(error->message, "no worker offers it");
    furrow_future_unref(&future);
}

/* -------------------------------------------------------------------- outcomes */

static void every_kind_of_error_is_told(void **state) {
    const furrow_error_kind kinds[] = {FURROW_ERROR_TASK,     FURROW_ERROR_LOST,
                                       FURROW_ERROR_DEADLINE, FURROW_ERROR_NO_FUNCTION,
                                       FURROW_ERROR_BROKEN,   FURROW_ERROR_REJECTED};
    const struct wire_error sent = {
        .code = -5,
        .message = {"what", 4},
        .function = {"f", 1},
        .host = {"there", 5},
        .pid = 1234567,
        .attempt = 3,
        .signal = 11,
        .exit_code = 9,
    };
    struct base_buffer bytes = {0};

    (void)state;
    assert_true(wire_error_encode(&sent, &bytes));
    for (size_t i = 0; i < 6; i++) {
        furrow_future *future = submit(1);
        const furrow_error *error;

        resolve(i, (enum wire_kind)(WIRE_KIND_ERROR + i), bytes.data, bytes.size);
        assert_int_equal(furrow_future_error(future, 0, &error), FURROW_OK);
        assert_int_equal(error->kind, kinds[i]);
        assert_int_equal(error->code, -5);
        assert_int_equal(error->attempt, 3);
        assert_int_equal(error->signal, 11);
        assert_int_equal(error->exit_code, 9);
        assert_int_equal(error->pid, 1234567);
        assert_string_equal(error->host, "there");
        assert_string_equal(error->function, "f");
        assert_string_equal(error->message, "what");
        assert_int_equal(furrow_future_result(future, 0, "i", NULL), FURROW_EFAILED);
        assert_non_null(strstr(furrow_last_error(), "what"));
        furrow_future_unref(&future);
    }
    base_buffer_fini(&bytes);
}

static void a_malformed_error_is_an_error_all_the_same(void **state) {
    furrow_future *future = submit(1);
    const furrow_error *error;
    char text[64];

    (void)state;
    resolve(0, WIRE_KIND_ERROR, "\x98\x01", 2);
    assert_int_equal(furrow_future_error(future, 0, &error), FURROW_OK);
    assert_non_null(strstr(error->message, "malformed"));
    (void)furrow_future_describe(future, text, sizeof text);
    assert_string_equal(text, "finished: error");
    furrow_future_unref(&future);
}

static void an_executor_may_cancel_what_runs(void **state) {
    furrow_future *future = submit(1);

    (void)state;
    assert_true(future_begin(fake->submitted[0]));
    assert_false(future_begin(fake->submitted[0]));
    assert_false(future_cancel_now(fake->submitted[0]));
    resolve(0, WIRE_KIND_CANCELLED, NULL, 0);
    assert_true(furrow_future_cancelled(future));
    furrow_future_unref(&future);
}

static void an_outcome_that_comes_after_a_cancel_is_dropped(void **state) {
    furrow_future *future = submit(1);

    (void)state;
    assert_true(furrow_future_cancel(future));
    assert_false(future_begin(fake->submitted[0]));
    assert_false(future_resolve(fake->submitted[0], WIRE_KIND_VALUE, "\x01", 1, NULL));
    assert_true(furrow_future_cancelled(future));
    furrow_future_unref(&future);
}

static void large_outcomes_share_the_blob(void **state) {
    struct wire_blob *blob = wire_blob_new(100000);
    furrow_future *future = submit(1);
    const void *data;
    size_t size;

    (void)state;
    memset(blob->data, 0x01, blob->size);
    assert_true(future_resolve(fake->submitted[0], WIRE_KIND_VALUE, blob->data, blob->size, blob));
    assert_int_equal(atomic_load(&blob->refs), 2);
    assert_int_equal(furrow_future_value(future, 0, &data, &size), FURROW_OK);
    assert_ptr_equal(data, blob->data);
    assert_int_equal(size, 100000);
    furrow_future_unref(&future);
    assert_int_equal(atomic_load(&blob->refs), 1);
    wire_blob_unref(blob);
}

/* ----------------------------------------------------------------------- cancel */

static furrow_status cancel_other(furrow_future *future, void *user) {
    (void)future;
    (void)furrow_future_cancel(user);
    return FURROW_OK;
}

static void a_cancel_waits_except_in_a_callback(void **state) {
    furrow_future *one = submit(1);
    furrow_future *two = submit(2);
    furrow_future *three = submit(3);

    (void)state;
    assert_true(furrow_future_cancel(one));
    assert_true(fake->cancel_waited);
    assert_int_equal(furrow_future_add_done_callback(two, cancel_other, three), FURROW_OK);
    furrow_future_cancel_async(two);
    assert_int_equal(fake->cancels, 3);
    assert_false(fake->cancel_waited);
    assert_true(furrow_future_cancelled(three));
    for (size_t i = 0; i < 3; i++) {
        future_drop(fake->submitted[i]);
    }
    furrow_future_unref(&one);
    furrow_future_unref(&two);
    furrow_future_unref(&three);
}

static pthread_barrier_t barrier;
static furrow_future *raced;
static atomic_bool over;

static void *cancel_main(void *argument) {
    (void)argument;
    for (;;) {
        pthread_barrier_wait(&barrier);
        if (atomic_load(&over)) {
            return NULL;
        }
        (void)furrow_future_cancel(raced);
        pthread_barrier_wait(&barrier);
    }
}

/* What the executor would do at its end: resolve all and be gone. */
static void an_executor_is_not_freed_under_a_cancel(void **state) {
    pthread_t threads[2];

    (void)state;
    pthread_barrier_init(&barrier, NULL, 3);
    atomic_store(&over, false);
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, cancel_main, NULL);
    }
    for (int round = 0; round < 3000; round++) {
        if (round > 0) {
            open_fake("threads");
        }
        raced = submit(round);
        pthread_barrier_wait(&barrier);
        (void)future_resolve(fake->submitted[0], WIRE_KIND_VALUE, "\x01", 1, NULL);
        assert_int_equal(furrow_close(&pool), FURROW_OK);
        pthread_barrier_wait(&barrier);
        assert_true(furrow_future_done(raced));
        furrow_future_unref(&raced);
    }
    atomic_store(&over, true);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
}

/* ---------------------------------------------------------------------- batches */

static void *wait_main(void *argument) {
    (void)furrow_future_wait(argument, 20);
    return NULL;
}

static void wakes_are_put_off_until_the_batch_is_over(void **state) {
    struct future_batch batch;
    furrow_future *future = submit(1);
    pthread_t thread;

    (void)state;
    pthread_create(&thread, NULL, wait_main, future);
    while ((atomic_load(&future->word) & FUTURE_WAITED) == 0) {
        sched_yield();
    }
    future_batch_begin(&batch, NULL);
    resolve(0, WIRE_KIND_VALUE, "\x01", 1);
    assert_int_equal(batch.count, 1);
    future_batch_end(&batch);
    pthread_join(thread, NULL);
    furrow_future_unref(&future);
}

static void a_batch_owes_any_number_of_wakes(void **state) {
    enum { COUNT = 3 * FUTURE_BATCH_OWED };
    struct future_batch batch;
    furrow_completed *completed[COUNT];
    furrow_future *future = furrow_future_new();
    pthread_t threads[3];
    size_t waiters = 0;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, wait_main, future);
    }
    while ((atomic_load(&future->word) & FUTURE_WAITED) == 0) {
        sched_yield();
    }
    /* As many readers as asleep, without as many threads. */
    for (size_t i = 0; i < COUNT; i++) {
        completed[i] = furrow_as_completed(&future, 1, -1);
        assert_non_null(completed[i]);
    }
    future_batch_begin(&batch, NULL);
    assert_int_equal(furrow_future_set_result(future, "n"), FURROW_OK);
    for (size_t i = 0; i < COUNT; i++) {
        furrow_future *got;

        waiters += furrow_completed_next(completed[i], &got) == FURROW_OK;
        furrow_future_unref(&got);
    }
    future_batch_end(&batch);
    assert_int_equal(waiters, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        furrow_completed_free(&completed[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    furrow_future_unref(&future);
}

static int noted;

static furrow_status note_digit(furrow_future *future, void *user) {
    assert_true(furrow_future_done(future));
    noted = noted * 10 + *(const int *)user;
    return FURROW_OK;
}

static void callbacks_are_put_off_in_order_where_a_batch_says_so(void **state) {
    struct future_later_list later = {0};
    struct future_batch batch;
    furrow_future *futures[3];
    int digits[4] = {1, 2, 3, 4};

    (void)state;
    noted = 0;
    for (unsigned i = 0; i < 3; i++) {
        futures[i] = furrow_future_new();
        assert_int_equal(furrow_future_add_done_callback(futures[i], note_digit, &digits[i]),
                         FURROW_OK);
    }
    assert_int_equal(furrow_future_add_done_callback(futures[1], note_digit, &digits[3]),
                     FURROW_OK);
    future_batch_begin(&batch, &later);
    for (unsigned i = 3; i-- > 0;) {
        assert_int_equal(furrow_future_set_result(futures[i], "n"), FURROW_OK);
        furrow_future_unref(&futures[i]); /* what is put off has a reference */
    }
    future_batch_end(&batch);
    assert_int_equal(noted, 0);
    future_run_later(&later);
    assert_int_equal(noted, 3241);
    future_run_later(&later);
    assert_int_equal(noted, 3241);
}

/* ------------------------------------------------------------------------- map */

static furrow_results *map_of(int64_t count, int64_t chunksize, bool unordered) {
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    furrow_input *input = furrow_input_range(0, count, 1);
    furrow_results *results;

    options.chunksize = chunksize;
    options.unordered = unordered;
    results = furrow_map(pool, front_square, &options, &input);
    assert_non_null(results);
    return results;
}

static void a_map_that_is_refused_leaves_its_input(void **state) {
    furrow_input *input = furrow_input_range(0, 3, 1);

    (void)state;
    fake->submit_status = FURROW_EBROKEN;
    for (int unordered = 0; unordered < 2; unordered++) {
        furrow_map_options options = FURROW_MAP_OPTIONS_INIT;

        options.unordered = unordered;
        assert_null(furrow_map(pool, front_square, &options, &input));
        assert_int_equal(furrow_last_status(), FURROW_EBROKEN);
        assert_string_equal(furrow_last_error(), "refused");
        assert_non_null(input);
    }
    furrow_input_free(&input);
}

static void chunks_are_packed_as_the_protocol_says(void **state) {
    const uint8_t expected[] = {0xdd, 0, 0, 0, 3, 0x91, 0, 0x91, 1, 0x91, 2};
    furrow_results *results = map_of(4, 3, false);
    struct client_task *task = &fake->submitted[0]->task;

    (void)state;
    assert_int_equal(fake->count, 2);
    assert_int_equal(fake->submitted[0]->class_->define.flags, WIRE_FLAG_CHUNK);
    assert_int_equal(task->size, sizeof expected);
    assert_memory_equal(task->data, expected, sizeof expected);
    for (size_t i = 0; i < 2; i++) {
        resolve(i, WIRE_KIND_CANCELLED, NULL, 0);
    }
    furrow_results_close(&results);
}

static void a_chunk_that_fails_as_a_whole_fails_all_its_calls(void **state) {
    (void)state;
    for (int unordered = 0; unordered < 2; unordered++) {
        furrow_results *results = map_of(3, 3, unordered);
        int64_t value;

        assert_true(future_fail(fake->submitted[unordered], WIRE_KIND_LOST, 2, "gone"));
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EFAILED);
            assert_int_equal(furrow_results_index(results), i);
            assert_int_equal(furrow_results_error(results)->kind, FURROW_ERROR_LOST);
            assert_string_equal(furrow_results_error(results)->message, "gone");
        }
        assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
        furrow_results_close(&results);
    }
}

static void malformed_chunks_fail_call_by_call(void **state) {
    const struct {
        const char *bytes;
        size_t size;
        int good; /* calls that can still be read */
    } cases[] = {
        {"", 0, 0},
        {"\xc0", 1, 0},
        {"\x92\x92\x00\x01", 4, 0},                          /* truncated */
        {"\x93\x92\x00\x01\x92\x00\x04\x92\x00\x09", 10, 0}, /* three for two */
        {"\x91\x92\x00\x01", 4, 0},                          /* one for two */
        {"\x92\x92\x00\x01\x91\x00", 6, 1},                  /* the second is too short */
        {"\x92\x92\x00\x01\x92\x02\x04", 7, 1},              /* neither value nor error */
        {"\x92\x92\x00\x01\x05", 5, 1},
        {"\x92\x92\x00\x01\x92\x01\x04", 7, 1}, /* the error is none */
        {"\xdd\xff\xff\xff\xff", 5, 0},
        {"\xdc\x00\x02\x92\x00\x01\x92\x00\x04", 9, 2},
        {"\xdd\x00\x00\x00\x02\x92\x00\x01\x92\x00\x04", 11, 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        furrow_results *results = map_of(2, 2, false);
        int64_t value;

        resolve(i, WIRE_KIND_VALUE, cases[i].bytes, cases[i].size);
        for (int call = 0; call < 2; call++) {
            furrow_status status = furrow_results_next(results, "i", &value);

            assert_int_equal(status, call < cases[i].good ? FURROW_OK : FURROW_EFAILED);
            if (status == FURROW_OK) {
                assert_int_equal(value, (call + 1) * (call + 1));
            } else {
                assert_non_null(furrow_results_error(results));
            }
        }
        assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
        furrow_results_close(&results);
    }
}

static void closing_a_map_asks_to_cancel_without_waiting(void **state) {
    (void)state;
    for (int unordered = 0; unordered < 2; unordered++) {
        furrow_results *results = map_of(5, 1, unordered);
        size_t first = (size_t)unordered * 5;

        fake->cancel_waited = true;
        fake->cancels = 0;
        resolve(first + 2, WIRE_KIND_VALUE, "\x04", 1);
        assert_true(future_begin(fake->submitted[first + 3]));
        furrow_results_close(&results);
        assert_int_equal(fake->cancels, 3);
        assert_false(fake->cancel_waited);
        for (size_t i = 0; i < 5; i++) {
            if (i == 3) {
                resolve(first + i, WIRE_KIND_VALUE, "\x09", 1);
            } else if (i != 2) {
                future_drop(fake->submitted[first + i]);
            }
        }
    }
}

/* ------------------------------------------------------------------------ state */

static void a_break_goes_before_a_shutdown_and_its_first_text_stays(void **state) {
    (void)state;
    assert_string_equal(executor_why(pool), "");
    executor_refuse(pool);
    assert_int_equal(executor_check(pool), FURROW_ESHUTDOWN);
    executor_break(pool, "first %d", 1);
    executor_break(pool, "second");
    executor_refuse(pool);
    assert_int_equal(executor_check(pool), FURROW_EBROKEN);
    assert_non_null(strstr(furrow_last_error(), "first 1"));
    assert_string_equal(executor_why(pool), "first 1");
    assert_null(furrow_submit(pool, front_square, "i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_EBROKEN);
}

static void describe_asks_the_executor(void **state) {
    furrow_executor_info info;

    (void)state;
    furrow_executor_describe(pool, &info);
    assert_string_equal(info.scheme, "fake");
    assert_int_equal(info.max_workers, 3);
    assert_int_equal(info.pending, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_refused_submit_leaves_nothing),
        TEST(a_class_is_defined_once_and_forgotten_when_that_fails),
        TEST(pointers_are_refused_where_there_is_another_process),
        TEST(a_pointer_that_a_worker_sends_is_not_unpacked),
        TEST(large_arguments_are_a_blob),
        TEST(names_need_not_be_known_here),
        TEST(every_kind_of_error_is_told),
        TEST(a_malformed_error_is_an_error_all_the_same),
        TEST(an_executor_may_cancel_what_runs),
        TEST(an_outcome_that_comes_after_a_cancel_is_dropped),
        TEST(large_outcomes_share_the_blob),
        TEST(a_cancel_waits_except_in_a_callback),
        TEST(an_executor_is_not_freed_under_a_cancel),
        TEST(wakes_are_put_off_until_the_batch_is_over),
        TEST(a_batch_owes_any_number_of_wakes),
        TEST(callbacks_are_put_off_in_order_where_a_batch_says_so),
        TEST(a_map_that_is_refused_leaves_its_input),
        TEST(chunks_are_packed_as_the_protocol_says),
        TEST(a_chunk_that_fails_as_a_whole_fails_all_its_calls),
        TEST(malformed_chunks_fail_call_by_call),
        TEST(closing_a_map_asks_to_cancel_without_waiting),
        TEST(a_break_goes_before_a_shutdown_and_its_first_text_stays),
        TEST(describe_asks_the_executor),
    };

    return cmocka_run_group_tests_name("executor", tests, NULL, NULL);
}
