#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "front.h"
#include "libclient/executor.h"

/* The executor `threads:` and submitting. */

static furrow_executor *pool;
static struct gate gate;

static int setup(void **state) {
    (void)state;
    gate_init(&gate);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    gate_open(&gate);
    if (furrow_close(&pool) != FURROW_OK) {
        return -1;
    }
    gate_fini(&gate);
    return 0;
}

static void open_pool(const char *url) {
    pool = furrow_open(url, NULL);
    assert_non_null(pool);
}

static int64_t number(furrow_future *future) {
    int64_t value = -1;

    assert_int_equal(furrow_future_result(future, 20, "i", &value), FURROW_OK);
    return value;
}

/* ----------------------------------------------------------------- submitting */

static void submit_returns_before_the_task_runs(void **state) {
    furrow_future *future;

    (void)state;
    open_pool("threads:1");
    future = furrow_submit(pool, front_hold, "p", &gate);
    assert_non_null(future);
    gate_wait(&gate, 1);
    assert_int_equal(furrow_future_get_state(future), FURROW_RUNNING);
    gate_open(&gate);
    assert_int_equal(furrow_future_result(future, 20, "n"), FURROW_OK);
    furrow_future_unref(&future);
}

static void arguments_of_all_kinds_arrive(void **state) {
    furrow_future *future;
    const char *text;
    const void *bytes;
    size_t text_size, bytes_size;
    int64_t i, j;
    uint64_t u;
    double d;
    bool b;
    void *pointer;

    (void)state;
    open_pool("threads:2");
    future =
        furrow_submit(pool, front_identity, "[iudbSBn[i{si}]p]", INT64_MIN, UINT64_MAX, 0.5, 1,
                      "a\0b", (size_t)3, "\1\2", (size_t)2, (int64_t)7, "key", (int64_t)8, &gate);
    assert_non_null(future);
    assert_int_equal(furrow_future_result(future, 20, "[iudbSBn[i{Si}]p]", &i, &u, &d, &b, &text,
                                          &text_size, &bytes, &bytes_size, &j, &text, &text_size,
                                          &j, &pointer),
                     FURROW_OK);
    assert_true(i == INT64_MIN && u == UINT64_MAX && d == 0.5 && b);
    assert_int_equal(bytes_size, 2);
    assert_int_equal(j, 8);
    assert_ptr_equal(pointer, &gate);
    furrow_future_unref(&future);
}

static void arguments_of_all_sizes_arrive(void **state) {
    const size_t sizes[] = {0,  1,  50, 63, 64,  65,   66,    67,    68,     69,      70,
                            71, 72, 73, 80, 100, 1000, 65530, 65536, 100000, 16 << 20};
    char *bytes = malloc(16 << 20);

    (void)state;
    memset(bytes, 'y', 16 << 20);
    open_pool("threads:2");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        furrow_future *future = furrow_submit(pool, front_identity, "B", bytes, sizes[i]);
        const void *data;
        size_t size;

        assert_non_null(future);
        assert_int_equal(furrow_future_result(future, 20, "B", &data, &size), FURROW_OK);
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(data, bytes, size);
        furrow_future_unref(&future);
    }
    free(bytes);
}

/* (p, B) -> [whether the bytes are where the pointer says, where the block is that follows, B] */
static int look_where(furrow_task *task) {
    const void *where, *bytes;
    furrow_block *block;
    size_t size;

    if (furrow_task_args(task, "pB", &where, &bytes, &size) != FURROW_OK) {
        return FURROW_EARGS;
    }
    block = furrow_task_block(task, size);
    if (block == NULL) {
        return FURROW_ENOMEM;
    }
    memcpy(furrow_block_data(block), bytes, size);
    return furrow_task_return(task, "bpH", where == bytes, furrow_block_data(block), &block);
}
FURROW_TASK(look_where);

/* Also with options whose tasks are not plain. */
static void blocks_stay_where_they_are(void **state) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;

    (void)state;
    open_pool("threads:2");
    for (int round = 0; round < 3; round++) {
        furrow_block *block = furrow_block_new(pool, 1 << 20);
        furrow_future *future;
        void *back = NULL;
        const void *bytes = NULL;
        size_t size = 0;
        bool same = false;

        options.run_timeout = round == 1 ? 100 : -1;
        options.retries = round == 2;
        assert_non_null(block);
        memset(furrow_block_data(block), 'z', 1 << 20);
        future =
            furrow_submit_with(pool, &options, look_where, "pH", furrow_block_data(block), &block);
        assert_non_null(future);
        assert_null(block);
        assert_int_equal(furrow_future_result(future, 20, "[bpB]", &same, &back, &bytes, &size),
                         FURROW_OK);
        assert_true(same);
        assert_ptr_equal(back, bytes);
        assert_int_equal(size, 1 << 20);
        assert_int_equal(((const char *)bytes)[size - 1], 'z');
        furrow_future_unref(&future);
    }
}

static void handing_over_without_memory_keeps_the_block(void **state) {
    static const size_t sizes[] = {10, 1000, 100000};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        bool whole = false;

        for (long n = 0; !whole; n++) {
            furrow_block *block;
            furrow_future *future = NULL;

            open_pool("threads:1");
            fail_alloc_only(n);
            block = furrow_block_new(pool, sizes[i]);
            if (block != NULL) {
                memset(furrow_block_data(block), 1, sizes[i]);
                future = furrow_submit(pool, front_count_arguments, "sH", "front", &block);
                assert_true((future == NULL) == (block != NULL));
            }
            whole = !fail_alloc_failed();
            fail_alloc_never();
            if (future == NULL) {
                assert_true(furrow_last_status() == FURROW_ENOMEM ||
                            furrow_last_status() == FURROW_ESYSTEM);
            } else {
                int64_t count = 0;

                assert_int_equal(furrow_future_result(future, 20, "i", &count), FURROW_OK);
                assert_int_equal(count, 2);
            }
            furrow_block_free(&block);
            furrow_future_unref(&future);
            assert_int_equal(furrow_close(&pool), FURROW_OK);
        }
    }
}

static void arguments_over_the_limit_are_refused(void **state) {
    size_t size = (size_t)257 << 20;
    char *bytes = calloc(1, size);
    furrow_future *future;

    (void)state;
    open_pool("threads:1");
    future = furrow_submit(pool, front_identity, "B", bytes, size);
    assert_null(future);
    assert_int_equal(furrow_last_status(), FURROW_ETOOBIG);
    free(bytes);
}

static void falsy_results_arrive_as_they_are(void **state) {
    furrow_future *zero, *empty, *nil;
    int64_t value = 1;
    const char *text;
    size_t size = 1;

    (void)state;
    open_pool("threads:1");
    zero = furrow_submit(pool, front_identity, "i", (int64_t)0);
    empty = furrow_submit(pool, front_identity, "s", "");
    nil = furrow_submit(pool, front_identity, "n");
    assert_int_equal(furrow_future_result(zero, 20, "i", &value), FURROW_OK);
    assert_int_equal(value, 0);
    assert_int_equal(furrow_future_result(empty, 20, "S", &text, &size), FURROW_OK);
    assert_int_equal(size, 0);
    assert_int_equal(furrow_future_result(nil, 20, "n"), FURROW_OK);
    furrow_future_unref(&zero);
    furrow_future_unref(&empty);
    furrow_future_unref(&nil);
}

static void a_failed_task_tells_why_and_where(void **state) {
    const furrow_error *error;
    furrow_future *future;
    char host[128] = "";

    (void)state;
    open_pool("threads:1");
    future = furrow_submit(pool, front_fail, "i", (int64_t)0);
    assert_int_equal(furrow_future_result(future, 20, "n"), FURROW_EFAILED);
    assert_non_null(strstr(furrow_last_error(), "front_fail"));
    assert_non_null(strstr(furrow_last_error(), "failed on purpose"));
    assert_int_equal(furrow_future_error(future, 20, &error), FURROW_OK);
    assert_non_null(error);
    assert_int_equal(error->kind, FURROW_ERROR_TASK);
    assert_int_equal(error->code, 0);
    assert_int_equal(error->attempt, 1);
    assert_string_equal(error->message, "failed on purpose");
    assert_string_equal(error->function, "front_fail");
    assert_int_equal(error->pid, getpid());
    gethostname(host, 64);
    assert_string_equal(error->host, host);
    furrow_future_unref(&future);
}

static void wrong_formats_are_refused_and_nothing_is_submitted(void **state) {
    furrow_executor_info info;

    (void)state;
    open_pool("threads:1");
    assert_null(furrow_submit(pool, front_square, "?", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_EARGS);
    assert_null(furrow_submit(pool, front_square, "[i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_EARGS);
    furrow_executor_describe(pool, &info);
    assert_int_equal(info.pending, 0);
    assert_int_equal(info.workers_alive, 0);
}

static void names_are_looked_up(void **state) {
    const uint8_t packed[] = {0x05};
    furrow_future *future;

    (void)state;
    open_pool("threads:1");
    future = furrow_submit_by_name(pool, NULL, "front_square", "i", (int64_t)4);
    assert_int_equal(number(future), 16);
    furrow_future_unref(&future);
    future = furrow_submit_packed(pool, NULL, "front_square", packed, sizeof packed);
    assert_int_equal(number(future), 25);
    furrow_future_unref(&future);
    assert_null(furrow_submit_by_name(pool, NULL, "no_such_task", ""));
    assert_int_equal(furrow_last_status(), FURROW_ENOFUNCTION);
    assert_non_null(strstr(furrow_last_error(), "no_such_task"));
    assert_null(furrow_submit_by_name(pool, NULL, "", ""));
    assert_int_equal(furrow_last_status(), FURROW_ENOFUNCTION);
}

static void packed_arguments_are_checked(void **state) {
    const uint8_t bad[] = {0x92, 0x01};

    (void)state;
    open_pool("threads:1");
    assert_null(furrow_submit_packed(pool, NULL, "front_square", bad, sizeof bad));
    assert_int_equal(furrow_last_status(), FURROW_EARGS);
}

static furrow_future *submit_v(furrow_executor *executor, const char *format, ...) {
    furrow_future *future;
    va_list arguments;

    va_start(arguments, format);
    future = furrow_vsubmit_function(executor, NULL, FURROW_FUNCTION(front_add), format, arguments);
    va_end(arguments);
    return future;
}

static void a_va_list_is_submitted(void **state) {
    furrow_future *future;

    (void)state;
    open_pool("threads:1");
    future = submit_v(pool, "ii", (int64_t)3, (int64_t)4);
    assert_int_equal(number(future), 7);
    furrow_future_unref(&future);
}

static void *twice(void *argument) {
    return (char *)argument + 1;
}

static void calls_of_plain_functions_return_their_pointer(void **state) {
    furrow_future *future;
    void *pointer;
    char text[2];

    (void)state;
    open_pool("threads:1");
    future = furrow_submit_call(pool, twice, text);
    assert_int_equal(furrow_future_result(future, 20, "p", &pointer), FURROW_OK);
    assert_ptr_equal(pointer, text + 1);
    furrow_future_unref(&future);
    future = furrow_submit_call(pool, twice, NULL);
    assert_int_equal(furrow_future_result(future, 20, "p", &pointer), FURROW_OK);
    furrow_future_unref(&future);
}

static void partials_bind_leading_arguments(void **state) {
    furrow_partial *partial = furrow_partial_new(front_add, "i", (int64_t)10);
    furrow_future *future;

    (void)state;
    open_pool("threads:1");
    for (int64_t i = 0; i < 3; i++) {
        future = furrow_submit_partial(pool, NULL, partial, "i", i);
        assert_int_equal(number(future), 10 + i);
        furrow_future_unref(&future);
    }
    furrow_partial_free(&partial);
    assert_null(partial);
    assert_null(furrow_partial_new(front_add, "?"));
    assert_int_equal(furrow_last_status(), FURROW_EARGS);
    partial = furrow_partial_new(front_hold, "p", &gate);
    gate_open(&gate);
    future = furrow_submit_partial(pool, NULL, partial, "");
    assert_int_equal(furrow_future_result(future, 20, "n"), FURROW_OK);
    furrow_future_unref(&future);
    furrow_partial_free(&partial);
    furrow_partial_free(&partial);
    furrow_partial_free(NULL);
}

static void wrong_options_are_refused(void **state) {
    const struct {
        furrow_submit_options options;
        furrow_status status;
        const char *says;
    } cases[] = {
        {{128, 3, false, -1, -1, NULL, 0, 0}, FURROW_EINVAL, "priority 128"},
        {{-129, 3, false, -1, -1, NULL, 0, 0}, FURROW_EINVAL, "priority -129"},
        {{0, 0, false, -1, -1, NULL, 0, 0}, FURROW_EINVAL, "max_attempts 0"},
        {{0, 1001, false, -1, -1, NULL, 0, 0}, FURROW_EINVAL, "max_attempts 1001"},
        {{0, 3, false, (double)NAN, -1, NULL, 0, 0}, FURROW_EINVAL, "queue_timeout"},
        {{0, 3, false, -1, (double)NAN, NULL, 0, 0}, FURROW_EINVAL, "run_timeout"},
        {{0, 3, false, -1, -1, NULL, -1, 0}, FURROW_EINVAL, "retries -1"},
        {{0, 3, false, -1, -1, NULL, 0, -1}, FURROW_EINVAL, "retry_delay"},
        {{0, 3, false, -1, -1, "a,,b", 0, 0}, FURROW_EINVAL, "tag"},
        {{0, 3, false, -1, -1, "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", 0, 0}, FURROW_ETOOBIG, "tags"},
    };

    (void)state;
    open_pool("threads:1");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_null(furrow_submit_with(pool, &cases[i].options, front_square, "i", (int64_t)1));
        assert_int_equal(furrow_last_status(), cases[i].status);
        assert_non_null(strstr(furrow_last_error(), cases[i].says));
    }
}

static void equal_options_share_a_class_and_others_do_not(void **state) {
    furrow_submit_options one = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_submit_options two = FURROW_SUBMIT_OPTIONS_INIT;
    char tags[] = "a, b";
    struct executor_class *first, *second;
    const furrow_function *function = FURROW_FUNCTION(front_square);

    (void)state;
    open_pool("threads:1");
    first = executor_class_of(pool, function, NULL, 0, NULL, 0);
    assert_non_null(first);
    assert_ptr_equal(executor_class_of(pool, function, NULL, 0, NULL, 0), first);
    assert_ptr_equal(executor_class_of(pool, function, NULL, 0, &one, 0), first);
    assert_ptr_equal(executor_class_of(pool, NULL, "front_square", 12, &two, 0), first);
    assert_true(first->plain);
    assert_int_equal(first->define.class_index, 0);
    assert_ptr_not_equal(executor_class_of(pool, function, NULL, 0, NULL, WIRE_FLAG_CHUNK), first);
    one.tags = tags;
    two.tags = "a,b";
    second = executor_class_of(pool, function, NULL, 0, &one, 0);
    assert_ptr_not_equal(second, first);
    assert_int_equal(second->define.tag_count, 2);
    memset(tags, 'z', sizeof tags - 1);
    assert_memory_equal(second->define.tags[1].data, "b", 2);
    assert_ptr_equal(executor_class_of(pool, function, NULL, 0, &two, 0), second);
    two.run_timeout = 0;
    second = executor_class_of(pool, function, NULL, 0, &two, 0);
    assert_int_equal(second->define.run_ms, 1);
    assert_false(second->plain);
    assert_ptr_not_equal(executor_class_of(pool, FURROW_FUNCTION(front_add), NULL, 0, NULL, 0),
                         first);
}

static void submitting_without_memory_fails_and_leaves_nothing(void **state) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    char bytes[1000] = {0};

    (void)state;
    for (int round = 0; round < 3; round++) {
        long succeeded = -1;

        options.priority = round == 1;
        options.queue_timeout = round == 2 ? 100 : -1;
        for (long i = 0; succeeded < 0; i++) {
            furrow_future *future;

            open_pool("threads:1");
            fail_alloc_only(i);
            future = furrow_submit_with(pool, &options, front_identity, "B", bytes, sizeof bytes);
            if (!fail_alloc_failed()) {
                succeeded = i;
            }
            fail_alloc_never();
            if (future == NULL) {
                assert_true(furrow_last_status() == FURROW_ENOMEM ||
                            furrow_last_status() == FURROW_ESYSTEM);
            } else {
                assert_int_equal(furrow_future_wait(future, 20), FURROW_OK);
            }
            furrow_future_unref(&future);
            assert_int_equal(furrow_close(&pool), FURROW_OK);
        }
        assert_true(succeeded > 2);
    }
}

static void opening_without_memory_fails_and_leaves_nothing(void **state) {
    long i;

    (void)state;
    for (i = 0;; i++) {
        fail_alloc_only(i);
        pool = furrow_open("threads:3", NULL);
        if (!fail_alloc_failed()) {
            break;
        }
        fail_alloc_never();
        assert_null(pool);
        assert_int_equal(furrow_last_status(), FURROW_ENOMEM);
    }
    fail_alloc_never();
    assert_non_null(pool);
    assert_true(i > 2);
}

/* ------------------------------------------------------------------- executors */

static void max_workers_below_one_is_refused(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;

    (void)state;
    assert_null(furrow_open("threads:0", NULL));
    assert_int_equal(furrow_last_status(), FURROW_EINVAL);
    assert_null(furrow_open("threads:-1", NULL));
    assert_int_equal(furrow_last_status(), FURROW_EINVAL);
    options.max_workers = 0;
    assert_null(furrow_open("threads:", &options));
    assert_int_equal(furrow_last_status(), FURROW_EINVAL);
    assert_null(furrow_open("threads:100000", NULL));
    assert_int_equal(furrow_last_status(), FURROW_EINVAL);
    assert_null(furrow_open("nonsense", NULL));
    assert_int_equal(furrow_last_status(), FURROW_EURL);
    assert_non_null(strstr(furrow_last_error(), "nonsense"));
}

static void the_default_is_a_thread_for_each_usable_processor(void **state) {
    furrow_executor_info info;

    (void)state;
    open_pool("threads:");
    furrow_executor_describe(pool, &info);
    assert_string_equal(info.scheme, "threads");
    assert_int_equal(info.max_workers, furrow_cpu_count());
    assert_int_equal(info.workers_alive, 0);
}

static void the_environment_names_the_default_executor(void **state) {
    furrow_executor_info info;

    (void)state;
    setenv("FURROW_EXECUTOR", "threads:3", 1);
    pool = furrow_open(NULL, NULL);
    unsetenv("FURROW_EXECUTOR");
    assert_non_null(pool);
    furrow_executor_describe(pool, &info);
    assert_int_equal(info.max_workers, 3);
}

static void never_more_tasks_run_at_once_than_there_are_threads(void **state) {
    furrow_future *futures[10];
    furrow_executor_info info;
    int running = 0;

    (void)state;
    open_pool("threads:3");
    for (int i = 0; i < 10; i++) {
        futures[i] = furrow_submit(pool, front_hold, "p", &gate);
    }
    gate_wait(&gate, 3);
    for (int i = 0; i < 10; i++) {
        running += furrow_future_running(futures[i]);
    }
    assert_int_equal(running, 3);
    furrow_executor_describe(pool, &info);
    assert_int_equal(info.pending, 10);
    assert_int_equal(info.workers_alive, 3);
    gate_open(&gate);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(furrow_future_wait(futures[i], 20), FURROW_OK);
        furrow_future_unref(&futures[i]);
    }
}

static void tasks_one_after_the_other_use_one_thread(void **state) {
    furrow_executor_info info;

    (void)state;
    open_pool("threads:8");
    for (int64_t i = 0; i < 20; i++) {
        furrow_future *future = furrow_submit(pool, front_square, "i", i);

        assert_int_equal(number(future), i * i);
        furrow_future_unref(&future);
    }
    furrow_executor_describe(pool, &info);
    assert_int_equal(info.workers_alive, 1);
}

static void *thread_name(void *name) {
    pthread_getname_np(pthread_self(), name, 16);
    return NULL;
}

static void threads_carry_the_prefix(void **state) {
    furrow_future *future;
    char name[16];

    (void)state;
    open_pool("threads:1");
    future = furrow_submit_call(pool, thread_name, name);
    assert_int_equal(furrow_future_wait(future, 20), FURROW_OK);
    furrow_future_unref(&future);
    assert_string_equal(name, "furrow_0");
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    open_pool("threads:1?thread_name_prefix=mine");
    future = furrow_submit_call(pool, thread_name, name);
    assert_int_equal(furrow_future_wait(future, 20), FURROW_OK);
    furrow_future_unref(&future);
    assert_string_equal(name, "mine_0");
}

static void workers_that_are_threads_get_no_signals(void **state) {
    (void)state;
    open_pool("threads:1");
    assert_int_equal(furrow_terminate_workers(pool), FURROW_EUNSUPPORTED);
    assert_int_equal(furrow_kill_workers(pool), FURROW_EUNSUPPORTED);
}

static void pending_tasks_are_cancelled_and_running_ones_are_not(void **state) {
    furrow_future *running, *pending;
    furrow_executor_info info;

    (void)state;
    open_pool("threads:1");
    running = furrow_submit(pool, front_hold, "p", &gate);
    pending = furrow_submit(pool, front_square, "i", (int64_t)2);
    gate_wait(&gate, 1);
    assert_false(furrow_future_cancel(running));
    assert_true(furrow_future_cancel(pending));
    assert_true(furrow_future_cancel(pending));
    assert_int_equal(furrow_future_get_state(pending), FURROW_CANCELLED);
    assert_int_equal(furrow_future_result(pending, 20, "i", NULL), FURROW_ECANCELLED);
    furrow_executor_describe(pool, &info);
    assert_int_equal(info.pending, 1);
    gate_open(&gate);
    assert_int_equal(furrow_future_wait(running, 20), FURROW_OK);
    assert_false(furrow_future_cancel(running));
    furrow_future_unref(&running);
    furrow_future_unref(&pending);
}

struct flood {
    pthread_t thread;
    int64_t from;
    bool good;
};

static void *flood_main(void *argument) {
    struct flood *flood = argument;
    furrow_future *futures[200];

    flood->good = true;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 200; i++) {
            futures[i] = furrow_submit(pool, front_square, "i", flood->from + i);
        }
        for (int i = 0; i < 200; i++) {
            int64_t value = 0;

            flood->good &= futures[i] != NULL &&
                           furrow_future_result(futures[i], 20, "i", &value) == FURROW_OK &&
                           value == (flood->from + i) * (flood->from + i);
            furrow_future_unref(&futures[i]);
        }
    }
    return NULL;
}

static void many_threads_submit_over_many_rounds(void **state) {
    struct flood floods[4];

    (void)state;
    open_pool("threads:3");
    for (int i = 0; i < 4; i++) {
        floods[i].from = i * 1000;
        pthread_create(&floods[i].thread, NULL, flood_main, &floods[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(floods[i].thread, NULL);
        assert_true(floods[i].good);
    }
}

static furrow_status submit_another(furrow_future *future, void *user) {
    (void)future;
    *(furrow_future **)user = furrow_submit(pool, front_square, "i", (int64_t)5);
    return FURROW_OK;
}

static void a_callback_may_submit(void **state) {
    furrow_future *other = NULL;
    furrow_future *future, *hold;

    (void)state;
    open_pool("threads:1?max_pending=2");
    hold = furrow_submit(pool, front_hold, "p", &gate);
    future = furrow_submit(pool, front_square, "i", (int64_t)1);
    assert_int_equal(furrow_future_add_done_callback(future, submit_another, &other), FURROW_OK);
    gate_open(&gate);
    assert_int_equal(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT), FURROW_OK);
    if (other != NULL) {
        assert_int_equal(number(other), 25);
    }
    furrow_future_unref(&other);
    furrow_future_unref(&future);
    furrow_future_unref(&hold);
}

/* --------------------------------------------------------------------- max_pending */

struct submitter {
    pthread_t thread;
    atomic_int submitted;
    int count;
    furrow_future *futures[16];
};

static void *submitter_main(void *argument) {
    struct submitter *submitter = argument;

    for (int i = 0; i < submitter->count; i++) {
        submitter->futures[i] = furrow_submit(pool, front_hold, "p", &gate);
        atomic_fetch_add(&submitter->submitted, 1);
    }
    return NULL;
}

static void wait_until_gate_is_full(void) {
    while ((atomic_load(&pool->gate) & 0x80000000U) == 0) {
        sched_yield();
    }
}

static void submit_blocks_while_max_pending_tasks_are_unfinished(void **state) {
    struct submitter submitter = {.count = 10};

    (void)state;
    open_pool("threads:2?max_pending=4");
    pthread_create(&submitter.thread, NULL, submitter_main, &submitter);
    wait_until_gate_is_full();
    assert_int_equal(atomic_load(&submitter.submitted), 4);
    /* A cancelled task makes room. */
    gate_wait(&gate, 2);
    assert_true(furrow_future_cancel(submitter.futures[3]));
    while (atomic_load(&submitter.submitted) < 5) {
        sched_yield();
    }
    gate_open(&gate);
    pthread_join(submitter.thread, NULL);
    assert_int_equal(atomic_load(&submitter.submitted), 10);
    for (int i = 0; i < 10; i++) {
        assert_non_null(submitter.futures[i]);
        assert_int_equal(furrow_future_wait(submitter.futures[i], 20), FURROW_OK);
        furrow_future_unref(&submitter.futures[i]);
    }
}

static void a_shutdown_frees_submitters_that_are_blocked(void **state) {
    struct submitter submitter = {.count = 3};

    (void)state;
    open_pool("threads:1?max_pending=1");
    pthread_create(&submitter.thread, NULL, submitter_main, &submitter);
    wait_until_gate_is_full();
    assert_int_equal(furrow_shutdown(pool, 0), FURROW_OK);
    pthread_join(submitter.thread, NULL);
    assert_non_null(submitter.futures[0]);
    assert_null(submitter.futures[1]);
    assert_null(submitter.futures[2]);
    gate_open(&gate);
    furrow_future_unref(&submitter.futures[0]);
}

/* ------------------------------------------------------------------------ shutdown */

static void submit_after_shutdown_is_refused(void **state) {
    (void)state;
    open_pool("threads:1");
    assert_int_equal(furrow_shutdown(pool, 0), FURROW_OK);
    assert_null(furrow_submit(pool, front_square, "i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_ESHUTDOWN);
    assert_null(furrow_submit_by_name(pool, NULL, "front_square", "i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_ESHUTDOWN);
    assert_null(furrow_submit_call(pool, twice, NULL));
    assert_int_equal(furrow_last_status(), FURROW_ESHUTDOWN);
    assert_int_equal(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT), FURROW_OK);
    assert_int_equal(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT), FURROW_OK);
    assert_int_equal(furrow_shutdown(pool, 64), FURROW_EINVAL);
}

static void shutdown_that_waits_returns_when_all_has_finished(void **state) {
    furrow_future *futures[50];

    (void)state;
    open_pool("threads:2");
    for (int64_t i = 0; i < 50; i++) {
        futures[i] = furrow_submit(pool, front_square, "i", i);
    }
    assert_int_equal(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT), FURROW_OK);
    for (int64_t i = 0; i < 50; i++) {
        assert_int_equal(furrow_future_get_state(futures[i]), FURROW_FINISHED);
        assert_int_equal(number(futures[i]), i * i);
        furrow_future_unref(&futures[i]);
    }
}

static void shutdown_that_does_not_wait_lets_queued_tasks_finish(void **state) {
    furrow_future *hold, *future;

    (void)state;
    open_pool("threads:1");
    hold = furrow_submit(pool, front_hold, "p", &gate);
    future = furrow_submit(pool, front_square, "i", (int64_t)3);
    assert_int_equal(furrow_shutdown(pool, 0), FURROW_OK);
    assert_false(furrow_future_done(future));
    gate_open(&gate);
    assert_int_equal(number(future), 9);
    furrow_future_unref(&hold);
    furrow_future_unref(&future);
}

static void shutdown_may_cancel_what_has_not_started(void **state) {
    furrow_submit_options urgent = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_submit_options timed = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_future *futures[50], *future;
    furrow_completed *completed;
    int cancelled = 0, seen = 0;

    (void)state;
    urgent.priority = 5;
    timed.queue_timeout = 1000;
    timed.retries = 2;
    open_pool("threads:2");
    for (int i = 0; i < 50; i++) {
        futures[i] = furrow_submit_with(
            pool, i < 2 ? NULL : (i % 3 == 0 ? &urgent : (i % 3 == 1 ? &timed : NULL)), front_hold,
            "p", &gate);
        assert_non_null(futures[i]);
    }
    gate_wait(&gate, 2);
    completed = furrow_as_completed(futures, 50, 20);
    assert_int_equal(furrow_shutdown(pool, FURROW_SHUTDOWN_CANCEL_FUTURES), FURROW_OK);
    gate_open(&gate);
    assert_int_equal(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT), FURROW_OK);
    while (furrow_completed_next(completed, &future) == FURROW_OK) {
        seen++;
        cancelled += furrow_future_cancelled(future);
        furrow_future_unref(&future);
    }
    assert_int_equal(furrow_last_status(), FURROW_EEND);
    furrow_completed_free(&completed);
    assert_int_equal(seen, 50);
    assert_int_equal(cancelled, 48);
    for (int i = 0; i < 50; i++) {
        furrow_future_unref(&futures[i]);
    }
}

static void submit_cancel_and_shutdown_in_a_tight_loop_never_hang(void **state) {
    (void)state;
    for (int round = 0; round < 1000; round++) {
        furrow_future *one, *two;

        open_pool("threads:2");
        one = furrow_submit(pool, front_square, "i", (int64_t)2);
        two = furrow_submit(pool, front_square, "i", (int64_t)3);
        (void)furrow_future_cancel(two);
        if (round % 3 == 0) {
            assert_int_equal(furrow_shutdown(pool, (unsigned)round % 4), FURROW_OK);
        }
        assert_int_equal(furrow_close(&pool), FURROW_OK);
        assert_true(furrow_future_done(one) && furrow_future_done(two));
        furrow_future_unref(&one);
        furrow_future_unref(&two);
    }
}

static int count_threads(void) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[128];
    int threads = -1;

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Threads: %d", &threads) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return threads;
}

/* A thread that was joined is still counted for a moment. The test's time limit bounds this. */
static void wait_for_threads(int count) {
    while (count_threads() > count) {
        sched_yield();
    }
}

static void leaving_the_scope_waits_and_leaves_no_thread(void **state) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    int before = count_threads();
    furrow_future *futures[20];

    (void)state;
    options.queue_timeout = 1000;
    {
        FURROW_SCOPED furrow_executor *scoped = furrow_open("threads:4", NULL);

        for (int64_t i = 0; i < 20; i++) {
            futures[i] = furrow_submit_with(scoped, i % 2 ? &options : NULL, front_square, "i", i);
        }
    }
    wait_for_threads(before);
    for (int64_t i = 0; i < 20; i++) {
        assert_int_equal(number(futures[i]), i * i);
        furrow_future_unref(&futures[i]);
    }
    {
        FURROW_SCOPED furrow_executor *unused = furrow_open("threads:4", NULL);

        assert_non_null(unused);
    }
    furrow_scope_end(NULL);
    assert_int_equal(furrow_close(NULL), FURROW_OK);
}

static int close_from_inside(furrow_task *task) {
    furrow_executor *executor = pool;

    if (furrow_close(&executor) != FURROW_EDEADLOCK || executor != pool ||
        furrow_shutdown_within(pool, 1, 1) != FURROW_EDEADLOCK ||
        furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT) != FURROW_EDEADLOCK) {
        return 1;
    }
    return furrow_task_return(task, "i", (int64_t)1);
}
FURROW_TASK(close_from_inside);

static furrow_status close_in_callback(furrow_future *future, void *user) {
    furrow_executor *executor = pool;

    (void)future;
    *(furrow_status *)user = furrow_close(&executor);
    return FURROW_OK;
}

static void waiting_for_oneself_to_shut_down_is_a_deadlock(void **state) {
    furrow_status closed = FURROW_OK;
    furrow_future *future;

    (void)state;
    open_pool("threads:1");
    future = furrow_submit(pool, close_from_inside, "");
    assert_int_equal(furrow_future_add_done_callback(future, close_in_callback, &closed),
                     FURROW_OK);
    assert_int_equal(number(future), 1);
    /* The wait was refused, the shutdown was not. */
    assert_null(furrow_submit(pool, front_square, "i", (int64_t)1));
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    assert_int_equal(closed, FURROW_EDEADLOCK);
    furrow_future_unref(&future);
}

/* ---------------------------------------------------------------- bounded shutdown */

static void a_bounded_shutdown_lets_tasks_finish(void **state) {
    furrow_future *futures[20];

    (void)state;
    open_pool("threads:2");
    for (int64_t i = 0; i < 20; i++) {
        futures[i] = furrow_submit(pool, front_square, "i", i);
    }
    assert_int_equal(furrow_shutdown_within(pool, 20, 20), FURROW_OK);
    for (int64_t i = 0; i < 20; i++) {
        assert_int_equal(number(futures[i]), i * i);
        furrow_future_unref(&futures[i]);
    }
    assert_int_equal(furrow_shutdown_within(pool, 0, 0), FURROW_OK);
}

static void a_bounded_shutdown_cancels_and_asks_to_end(void **state) {
    furrow_future *running, *queued;

    (void)state;
    open_pool("threads:1");
    running = furrow_submit(pool, front_until_cancelled, "p", &gate);
    gate_open(&gate);
    gate_wait(&gate, 1);
    queued = furrow_submit(pool, front_square, "i", (int64_t)1);
    assert_int_equal(furrow_shutdown_within(pool, 0.001, 20), FURROW_ETIMEOUT);
    assert_int_equal(furrow_future_result(running, 0, "n"), FURROW_EFAILED);
    assert_int_equal(furrow_future_result(queued, 0, "i", NULL), FURROW_ECANCELLED);
    furrow_future_unref(&running);
    furrow_future_unref(&queued);
}

static void a_bounded_shutdown_leaves_a_thread_behind_that_does_not_end(void **state) {
    furrow_future *stuck, *queued;
    const furrow_error *error;
    furrow_executor_info info;
    int before = count_threads();

    (void)state;
    open_pool("threads:2");
    stuck = furrow_submit(pool, front_hold, "p", &gate);
    gate_wait(&gate, 1);
    queued = furrow_submit(pool, front_square, "i", (int64_t)1);
    assert_int_equal(furrow_future_wait(queued, 20), FURROW_OK);
    assert_int_equal(furrow_shutdown_within(pool, 0, 0.01), FURROW_ETIMEOUT);
    assert_int_equal(furrow_future_error(stuck, 0, &error), FURROW_OK);
    assert_non_null(error);
    assert_int_equal(error->kind, FURROW_ERROR_LOST);
    furrow_executor_describe(pool, &info);
    assert_int_equal(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT), FURROW_OK);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    gate_open(&gate);
    wait_for_threads(before);
    assert_int_equal(furrow_future_result(stuck, 0, "n"), FURROW_EFAILED);
    furrow_future_unref(&stuck);
    furrow_future_unref(&queued);
}

struct closer {
    pthread_t thread;
    furrow_status status;
    atomic_bool started;
};

static void *shutdown_main(void *argument) {
    struct closer *closer = argument;

    atomic_store(&closer->started, true);
    closer->status = furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT);
    return NULL;
}

static void a_bounded_shutdown_also_frees_who_waits_for_an_unbounded_one(void **state) {
    struct closer closer = {.status = FURROW_EINVAL};
    int before = count_threads();
    furrow_future *stuck;

    (void)state;
    open_pool("threads:1");
    stuck = furrow_submit(pool, front_hold, "p", &gate);
    gate_wait(&gate, 1);
    pthread_create(&closer.thread, NULL, shutdown_main, &closer);
    while (!atomic_load(&closer.started)) {
        sched_yield();
    }
    assert_int_equal(furrow_shutdown_within(pool, 0, 0.01), FURROW_ETIMEOUT);
    pthread_join(closer.thread, NULL);
    assert_int_equal(closer.status, FURROW_OK);
    furrow_future_unref(&stuck);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    gate_open(&gate);
    wait_for_threads(before);
}

static void a_bounded_shutdown_gives_up_retries(void **state) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    const furrow_error *error;
    furrow_future *future;

    (void)state;
    options.retries = 3;
    options.retry_delay = 1000;
    open_pool("threads:1");
    future = furrow_submit_with(pool, &options, front_fail, "i", (int64_t)1);
    while (!furrow_future_running(future)) {
        sched_yield();
    }
    assert_int_equal(furrow_shutdown_within(pool, 0.01, 20), FURROW_ETIMEOUT);
    assert_int_equal(furrow_future_error(future, 0, &error), FURROW_OK);
    assert_non_null(error);
    furrow_future_unref(&future);
}

/* -------------------------------------------------------------------- initializer */

static atomic_int initialized;

static int initialize(furrow_task *task) {
    int64_t fail;

    if (furrow_task_args(task, "i", &fail) != FURROW_OK) {
        return FURROW_EARGS;
    }
    atomic_fetch_add(&initialized, 1);
    return fail ? (int)furrow_task_fail(task, 3, "no licence") : FURROW_OK;
}
FURROW_TASK(initialize);

static furrow_buffer *arguments;

static void open_initialized(int64_t fails, struct front_log *log) {
    furrow_options options = FURROW_OPTIONS_INIT;

    atomic_store(&initialized, 0);
    arguments = furrow_buffer_new();
    assert_int_equal(furrow_buffer_pack(arguments, "i", fails), FURROW_OK);
    options.initializer = FURROW_FUNCTION(initialize);
    options.initializer_args = furrow_buffer_data(arguments);
    options.initializer_args_size = furrow_buffer_size(arguments);
    options.log = front_log;
    options.log_user = log;
    pool = furrow_open("threads:2", &options);
    assert_non_null(pool);
    furrow_buffer_free(&arguments);
}

static void the_initializer_runs_once_in_every_thread_before_its_first_task(void **state) {
    struct front_log log = {0};
    furrow_future *futures[6];

    (void)state;
    open_initialized(0, &log);
    for (int i = 0; i < 6; i++) {
        futures[i] = furrow_submit(pool, front_hold, "p", &gate);
    }
    gate_wait(&gate, 2);
    assert_int_equal(atomic_load(&initialized), 2);
    gate_open(&gate);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(furrow_future_wait(futures[i], 20), FURROW_OK);
        furrow_future_unref(&futures[i]);
    }
    assert_int_equal(atomic_load(&initialized), 2);
    assert_int_equal(log.lines, 0);
}

static void a_failing_initializer_breaks_the_executor(void **state) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    struct front_log log = {0};
    furrow_future *futures[6];
    const furrow_error *error;
    int submitted = 0;

    (void)state;
    open_initialized(1, &log);
    options.priority = 3;
    options.retries = 1;
    for (int i = 0; i < 6; i++) {
        futures[submitted] =
            furrow_submit_with(pool, i % 2 ? &options : NULL, front_square, "i", (int64_t)i);
        if (futures[submitted] != NULL) {
            submitted++;
        } else { /* the thread has been quicker, even than the first submit */
            assert_int_equal(furrow_last_status(), FURROW_EBROKEN);
        }
    }
    for (int i = 0; i < submitted; i++) {
        assert_int_equal(furrow_future_error(futures[i], 20, &error), FURROW_OK);
        assert_non_null(error);
        assert_int_equal(error->kind, FURROW_ERROR_BROKEN);
        assert_non_null(strstr(error->message, "no licence"));
        furrow_future_unref(&futures[i]);
    }
    assert_null(furrow_submit(pool, front_square, "i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_EBROKEN);
    assert_non_null(strstr(furrow_last_error(), "no licence"));
    assert_int_equal(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT), FURROW_OK);
    assert_true(log.lines >= 1);
    assert_non_null(strstr(log.last, "no licence"));
}

/* ----------------------------------------------------- priorities, timeouts, retries */

static int64_t order[64];
static atomic_int order_count;

static int note_order(furrow_task *task) {
    int64_t mark;

    if (furrow_task_args(task, "i", &mark) != FURROW_OK) {
        return FURROW_EARGS;
    }
    order[atomic_fetch_add(&order_count, 1)] = mark;
    return FURROW_OK;
}
FURROW_TASK(note_order);

static void higher_priorities_run_first_and_equal_ones_in_order(void **state) {
    const int priorities[] = {0, -1, 5, 0, 127, -128, 5, 0, -1, 1};
    const int64_t expected[] = {4, 2, 6, 9, 0, 3, 7, 1, 8, 5};
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_future *futures[10];
    furrow_future *hold;

    (void)state;
    atomic_store(&order_count, 0);
    open_pool("threads:1");
    hold = furrow_submit(pool, front_hold, "p", &gate);
    gate_wait(&gate, 1);
    for (int i = 0; i < 10; i++) {
        options.priority = priorities[i];
        futures[i] = furrow_submit_with(pool, &options, note_order, "i", (int64_t)i);
        assert_non_null(futures[i]);
    }
    gate_open(&gate);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(furrow_future_wait(futures[i], 20), FURROW_OK);
        furrow_future_unref(&futures[i]);
    }
    furrow_future_unref(&hold);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(order[i], expected[i]);
    }
}

static void priorities_lose_nothing_amid_cancels(void **state) {
    enum { COUNT = 3000 };
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_future **futures = calloc(COUNT, sizeof *futures);
    int64_t value;

    (void)state;
    open_pool("threads:3");
    for (int i = 0; i < COUNT; i++) {
        options.priority = i % 5 - 2;
        futures[i] = furrow_submit_with(pool, &options, front_square, "i", (int64_t)i);
        assert_non_null(futures[i]);
        if (i % 7 == 0) {
            (void)furrow_future_cancel(futures[i / 2]);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        furrow_status status = furrow_future_result(futures[i], 20, "i", &value);

        assert_true(status == FURROW_ECANCELLED ||
                    (status == FURROW_OK && value == (int64_t)i * i));
        furrow_future_unref(&futures[i]);
    }
    free(futures);
}

static void a_task_that_does_not_start_in_time_fails(void **state) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_future *hold, *late, *early;
    const furrow_error *error;
    furrow_executor_info info;

    (void)state;
    open_pool("threads:1");
    hold = furrow_submit(pool, front_hold, "p", &gate);
    gate_wait(&gate, 1);
    options.queue_timeout = 100;
    early = furrow_submit_with(pool, &options, front_square, "i", (int64_t)2);
    options.queue_timeout = 0.005;
    late = furrow_submit_with(pool, &options, front_square, "i", (int64_t)1);
    assert_int_equal(furrow_future_error(late, 20, &error), FURROW_OK);
    assert_non_null(error);
    assert_int_equal(error->kind, FURROW_ERROR_DEADLINE);
    assert_int_equal(error->attempt, 0);
    assert_string_equal(error->function, "front_square");
    assert_false(furrow_future_cancel(late));
    furrow_executor_describe(pool, &info);
    assert_int_equal(info.pending, 2);
    gate_open(&gate);
    assert_int_equal(number(early), 4);
    furrow_future_unref(&hold);
    furrow_future_unref(&late);
    furrow_future_unref(&early);
}

static void a_task_that_runs_too_long_is_asked_to_end_and_fails(void **state) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_future *slow, *next;
    const furrow_error *error;

    (void)state;
    gate_open(&gate);
    open_pool("threads:1");
    options.run_timeout = 0.005;
    slow = furrow_submit_with(pool, &options, front_until_cancelled, "p", &gate);
    assert_int_equal(furrow_future_error(slow, 20, &error), FURROW_OK);
    assert_non_null(error);
    assert_int_equal(error->kind, FURROW_ERROR_DEADLINE);
    assert_int_equal(error->attempt, 1);
    /* The thread serves on, and nobody asks the next task to end. */
    options.run_timeout = 100;
    next = furrow_submit_with(pool, &options, front_square, "i", (int64_t)3);
    assert_int_equal(number(next), 9);
    furrow_future_unref(&slow);
    furrow_future_unref(&next);
}

static int fail_until(furrow_task *task) {
    int64_t attempt;

    if (furrow_task_args(task, "i", &attempt) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (furrow_task_attempt(task) < (uint32_t)attempt) {
        return furrow_task_fail(task, 5, "attempt %u", furrow_task_attempt(task));
    }
    return furrow_task_return(task, "u", (uint64_t)furrow_task_attempt(task));
}
FURROW_TASK(fail_until);

static void a_failed_task_is_retried(void **state) {
    const double delays[] = {0, 0.002};
    const int priorities[] = {0, 7};

    (void)state;
    open_pool("threads:2");
    for (int i = 0; i < 4; i++) {
        furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
        furrow_future *good, *bad;
        const furrow_error *error;

        options.retries = 2;
        options.retry_delay = delays[i % 2];
        options.priority = priorities[i / 2];
        good = furrow_submit_with(pool, &options, fail_until, "i", (int64_t)3);
        bad = furrow_submit_with(pool, &options, fail_until, "i", (int64_t)4);
        assert_int_equal(number(good), 3);
        assert_int_equal(furrow_future_error(bad, 20, &error), FURROW_OK);
        assert_non_null(error);
        assert_int_equal(error->attempt, 3);
        assert_string_equal(error->message, "attempt 3");
        furrow_future_unref(&good);
        furrow_future_unref(&bad);
    }
}

static void a_shutdown_waits_for_retries(void **state) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_future *futures[10];

    (void)state;
    options.retries = 2;
    options.retry_delay = 0.001;
    open_pool("threads:2");
    for (int i = 0; i < 10; i++) {
        futures[i] = furrow_submit_with(pool, &options, fail_until, "i", (int64_t)3);
    }
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(number(futures[i]), 3);
        furrow_future_unref(&futures[i]);
    }
}

static void cancels_race_with_everything(void **state) {
    enum { COUNT = 2000 };
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_future **futures = calloc(COUNT, sizeof *futures);

    (void)state;
    options.queue_timeout = 0.002;
    options.run_timeout = 1;
    options.retries = 1;
    for (int round = 0; round < 5; round++) {
        open_pool("threads:2");
        for (int i = 0; i < COUNT; i++) {
            options.priority = i % 3 - 1;
            futures[i] = furrow_submit_with(pool, i % 4 == 0 ? NULL : &options, fail_until, "i",
                                            (int64_t)(i % 3));
            assert_non_null(futures[i]);
            if (i % 2 == 0) {
                (void)furrow_future_cancel(futures[i - i % 16]);
            }
        }
        if (round % 2 == 0) {
            assert_int_equal(furrow_shutdown(pool, FURROW_SHUTDOWN_CANCEL_FUTURES), FURROW_OK);
        } else if (round % 3 == 0) {
            (void)furrow_shutdown_within(pool, 0, 10);
        }
        assert_int_equal(furrow_close(&pool), FURROW_OK);
        for (int i = 0; i < COUNT; i++) {
            assert_true(furrow_future_done(futures[i]));
            furrow_future_unref(&futures[i]);
        }
    }
    free(futures);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(submit_returns_before_the_task_runs),
        TEST(arguments_of_all_kinds_arrive),
        TEST(arguments_of_all_sizes_arrive),
        TEST(blocks_stay_where_they_are),
        TEST(handing_over_without_memory_keeps_the_block),
        TEST(arguments_over_the_limit_are_refused),
        TEST(falsy_results_arrive_as_they_are),
        TEST(a_failed_task_tells_why_and_where),
        TEST(wrong_formats_are_refused_and_nothing_is_submitted),
        TEST(names_are_looked_up),
        TEST(packed_arguments_are_checked),
        TEST(a_va_list_is_submitted),
        TEST(calls_of_plain_functions_return_their_pointer),
        TEST(partials_bind_leading_arguments),
        TEST(wrong_options_are_refused),
        TEST(equal_options_share_a_class_and_others_do_not),
        TEST(submitting_without_memory_fails_and_leaves_nothing),
        TEST(opening_without_memory_fails_and_leaves_nothing),
        TEST(max_workers_below_one_is_refused),
        TEST(the_default_is_a_thread_for_each_usable_processor),
        TEST(the_environment_names_the_default_executor),
        TEST(never_more_tasks_run_at_once_than_there_are_threads),
        TEST(tasks_one_after_the_other_use_one_thread),
        TEST(threads_carry_the_prefix),
        TEST(workers_that_are_threads_get_no_signals),
        TEST(pending_tasks_are_cancelled_and_running_ones_are_not),
        TEST(many_threads_submit_over_many_rounds),
        TEST(a_callback_may_submit),
        TEST(submit_blocks_while_max_pending_tasks_are_unfinished),
        TEST(a_shutdown_frees_submitters_that_are_blocked),
        TEST(submit_after_shutdown_is_refused),
        TEST(shutdown_that_waits_returns_when_all_has_finished),
        TEST(shutdown_that_does_not_wait_lets_queued_tasks_finish),
        TEST(shutdown_may_cancel_what_has_not_started),
        TEST(submit_cancel_and_shutdown_in_a_tight_loop_never_hang),
        TEST(leaving_the_scope_waits_and_leaves_no_thread),
        TEST(waiting_for_oneself_to_shut_down_is_a_deadlock),
        TEST(a_bounded_shutdown_lets_tasks_finish),
        TEST(a_bounded_shutdown_cancels_and_asks_to_end),
        TEST(a_bounded_shutdown_leaves_a_thread_behind_that_does_not_end),
        TEST(a_bounded_shutdown_also_frees_who_waits_for_an_unbounded_one),
        TEST(a_bounded_shutdown_gives_up_retries),
        TEST(the_initializer_runs_once_in_every_thread_before_its_first_task),
        TEST(a_failing_initializer_breaks_the_executor),
        TEST(higher_priorities_run_first_and_equal_ones_in_order),
        TEST(priorities_lose_nothing_amid_cancels),
        TEST(a_task_that_does_not_start_in_time_fails),
        TEST(a_task_that_runs_too_long_is_asked_to_end_and_fails),
        TEST(a_failed_task_is_retried),
        TEST(a_shutdown_waits_for_retries),
        TEST(cancels_race_with_everything),
    };

    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
