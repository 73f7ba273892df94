#include "tests/conformance/harness.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void submit_returns_before_the_task_runs(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)1));
    gate_wait_started(1);
    furrow_future *next = must(furrow_submit(pool, mark, "si", gate_path(), (int64_t)2));
    assert_false(furrow_future_done(held));
    assert_int_equal(furrow_future_get_state(next), FURROW_PENDING);
    assert_int_equal(gate_started(), 1);
    gate_open();
    assert_int_equal(result_int(held), 1);
    assert_int_equal(result_int(next), 2);
    furrow_future_unref(&held);
    furrow_future_unref(&next);
}

static int64_t arguments_seen(furrow_future *future) {
    int64_t count = result_int(future);

    furrow_future_unref(&future);
    return count;
}

static void arguments_of_every_kind(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    assert_int_equal(arguments_seen(furrow_submit(pool, count_args, "")), 0);
    assert_int_equal(arguments_seen(furrow_submit(pool, count_args, NULL)), 0);
    assert_int_equal(
        arguments_seen(furrow_submit(pool, count_args, "iudbsSBn", (int64_t)-1, (uint64_t)1, 1.0, 1,
                                     "s", "S", (size_t)1, "B", (size_t)1)),
        8);
    assert_int_equal(arguments_seen(furrow_submit(pool, count_args, "[i[ss]]{sisi}", (int64_t)1,
                                                  "a", "b", "k", (int64_t)1, "l", (int64_t)2)),
                     2);

    const int64_t ints[] = {0, 1, -1, 127, 128, -32, -33, 65535, 65536, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++) {
        furrow_future *future = must(furrow_submit(pool, identity, "i", ints[i]));
        assert_true(result_int(future) == ints[i]);
        furrow_future_unref(&future);
    }
    const double doubles[] = {0.0, -0.5, 1e300, 5e-324, INFINITY};
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++) {
        double value;
        furrow_future *future = must(furrow_submit(pool, identity, "d", doubles[i]));
        assert_ok(furrow_future_result(future, 30, "d", &value));
        assert_true(value == doubles[i]);
        furrow_future_unref(&future);
    }
}

static void strings_and_binary_with_nul(void **state) {
    furrow_executor *pool = conformance_open(1);
    const char *text = NULL;
    const void *bytes = NULL;
    size_t size = 0;
    (void)state;

    furrow_future *future = must(furrow_submit(pool, identity, "S", "a\0b", (size_t)3));
    assert_ok(furrow_future_result(future, 30, "S", &text, &size));
    assert_int_equal(size, 3);
    assert_memory_equal(text, "a\0b", 3);
    assert_int_equal(furrow_future_result(future, 30, "s", &text), FURROW_EARGS);
    furrow_future_unref(&future);

    future = must(furrow_submit(pool, identity, "B", "\0\1\377", (size_t)3));
    assert_ok(furrow_future_result(future, 30, "B", &bytes, &size));
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "\0\1\377", 3);
    furrow_future_unref(&future);

    future = must(furrow_submit(pool, identity, "s", "gr\303\274\303\237e"));
    assert_ok(furrow_future_result(future, 30, "s", &text));
    assert_string_equal(text, "gr\303\274\303\237e");
    furrow_future_unref(&future);
}

static void nested_arrays_and_maps(void **state) {
    furrow_executor *pool = conformance_open(1);
    const char *a = NULL, *k = NULL;
    int64_t i = 0, j = 0;
    bool yes = false;
    (void)state;

    furrow_future *future = must(
        furrow_submit(pool, identity, "[i[s{si}]b n]", (int64_t)5, "deep", "key", (int64_t)-7, 1));
    assert_ok(furrow_future_result(future, 30, "[i[s{si}]bn]", &i, &a, &k, &j, &yes));
    assert_int_equal(i, 5);
    assert_string_equal(a, "deep");
    assert_string_equal(k, "key");
    assert_int_equal(j, -7);
    assert_true(yes);
    furrow_future_unref(&future);
}

static void sixteen_mebibytes(void **state) {
    furrow_executor *pool = conformance_open(1);
    size_t size = (size_t)16 << 20, got = 0;
    uint8_t *data = malloc(size);
    const void *back = NULL;
    (void)state;

    assert_non_null(data);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    furrow_future *future = must(furrow_submit(pool, identity, "B", data, size));
    assert_ok(furrow_future_result(future, 60, "B", &back, &got));
    assert_int_equal(got, size);
    assert_true(memcmp(back, data, size) == 0);
    furrow_future_unref(&future);
    free(data);
}

static void arguments_that_do_not_fit(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    assert_null(furrow_submit(pool, add, "i?", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_EARGS);
    assert_non_null(strstr(furrow_last_error(), "?"));
    assert_null(furrow_submit(pool, add, "[i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_EARGS);

    /* What the task was given is not what it takes: the task fails, with the reason. */
    const furrow_error *error = NULL;
    furrow_future *future = must(furrow_submit(pool, add, "is", (int64_t)1, "two"));
    assert_ok(furrow_future_error(future, 30, &error));
    assert_non_null(error);
    assert_int_equal(error->kind, FURROW_ERROR_TASK);
    assert_int_equal(error->code, FURROW_EARGS);
    assert_non_null(strstr(error->message, "string"));
    furrow_future_unref(&future);
}

/* Arguments are refused here, a result where it is made; neither does harm to what follows. */
static void payloads_over_the_limit(void **state) {
    furrow_executor *pool = conformance_open(1);
    const furrow_error *error = NULL;
    size_t size = (size_t)257 << 20;
    void *bytes = calloc(1, size);
    (void)state;

    assert_non_null(bytes);
    assert_null(furrow_submit(pool, identity, "B", bytes, size));
    assert_int_equal(furrow_last_status(), FURROW_ETOOBIG);
    assert_non_null(strstr(furrow_last_error(), "limit"));
    free(bytes);
    furrow_future *future = must(furrow_submit(pool, big, "i", (int64_t)size));
    assert_ok(furrow_future_error(future, 60, &error));
    assert_non_null(error);
    assert_int_equal(error->kind, FURROW_ERROR_TASK);
    assert_int_equal(error->code, FURROW_ETOOBIG);
    assert_non_null(strstr(error->message, "limit"));
    assert_int_equal(error->attempt, 1);
    furrow_future_unref(&future);
    future = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)2));
    assert_int_equal(result_int(future), 3);
    furrow_future_unref(&future);
}

static furrow_block *filled_block(furrow_executor *pool, size_t size) {
    furrow_block *block = must(furrow_block_new(pool, size));
    uint8_t *data = furrow_block_data(block);

    assert_int_equal(furrow_block_size(block), size);
    assert_int_equal((uintptr_t)data % 64, 0);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    return block;
}

/* The future is that of `remake` with a filled block. */
static void expect_remade(furrow_future *future, int64_t deaths, const char *text, size_t size) {
    const char *got_text = NULL;
    const uint8_t *bytes = NULL;
    size_t got = 0, text_size = 0, wrong = 0;
    int64_t i = -1;

    assert_ok(
        furrow_future_result(must(future), 60, "[iSB]", &i, &got_text, &text_size, &bytes, &got));
    assert_int_equal(i, deaths);
    assert_int_equal(text_size, strlen(text));
    assert_memory_equal(got_text, text, text_size);
    assert_int_equal(got, size);
    for (size_t k = 0; k < size; k++) {
        wrong += bytes[k] != (uint8_t) ~(uint8_t)(k * 2654435761u >> 13);
    }
    assert_int_equal(wrong, 0);
    furrow_future_unref(&future);
}

/* Of every size, behind little and behind so much that it is copied. */
static void blocks_are_handed_over(void **state) {
    static const size_t sizes[] = {0, 1, 31, 300, 65000, 65200, 65529, 65536, 1 << 20, 5000003};
    furrow_executor *pool = conformance_open(2), *other = must(furrow_open("threads:1", NULL));
    furrow_partial *partial = must(furrow_partial_new(remake, "is", (int64_t)0, "bound"));
    char text[301];
    (void)state;

    memset(text, 'x', 300);
    text[300] = '\0';
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const char *front = i % 2 == 0 ? "front" : text;
        furrow_executor *owner = i % 3 == 2 ? other : pool;
        furrow_block *block = filled_block(owner, sizes[i]);
        furrow_future *future = furrow_submit(pool, remake, "isH", (int64_t)0, front, &block);

        assert_null(block);
        expect_remade(future, 0, front, sizes[i]);
        block = filled_block(pool, sizes[i]);
        future = furrow_submit_by_name(pool, NULL, "remake", "i, s, H ", (int64_t)0, text, &block);
        assert_null(block);
        expect_remade(future, 0, text, sizes[i]);
        block = filled_block(pool, sizes[i]);
        future = furrow_submit_partial(pool, NULL, partial, "H", &block);
        assert_null(block);
        expect_remade(future, 0, "bound", sizes[i]);
    }
    furrow_partial_free(&partial);
    assert_ok(furrow_close(&other));
}

static void blocks_from_every_call_of_a_map(void **state) {
    static const int64_t sizes[] = {10, 70000, 0, 200000, 65536, 65532, 1 << 20};
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    furrow_executor *pool = conformance_open(2);
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    (void)state;

    for (options.chunksize = 1; options.chunksize <= 4; options.chunksize++) {
        furrow_input *input = must(furrow_input_ints(sizes, COUNT));
        furrow_results *results = must(furrow_map(pool, big_block, &options, &input));

        for (size_t i = 0; i < COUNT; i++) {
            const uint8_t *bytes = NULL;
            size_t size = 0;

            assert_ok(furrow_results_next(results, "B", &bytes, &size));
            assert_int_equal(size, sizes[i]);
            assert_true(size == 0 || (bytes[0] == 0x5a && bytes[size - 1] == 0x5a));
        }
        furrow_results_close(&results);
    }
}

static void a_block_that_is_refused_is_as_before(void **state) {
    static const char *const formats[] = {"H i", "[H]", "?H", "[iH", "HH"};
    furrow_executor *pool = conformance_open(1);
    furrow_block *block = filled_block(pool, 100000), *none = NULL;
    const void *data = furrow_block_data(block);
    furrow_submit_options wrong = FURROW_SUBMIT_OPTIONS_INIT;
    (void)state;

    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        assert_null(furrow_submit(pool, remake, formats[i], &block, &block));
        assert_int_equal(furrow_last_status(), FURROW_EARGS);
        assert_true(strlen(furrow_last_error()) > 0);
    }
    assert_null(furrow_submit(pool, remake, "H", &none));
    assert_int_equal(furrow_last_status(), FURROW_EARGS);
    assert_null(furrow_submit(pool, remake, "H", (furrow_block **)NULL));
    assert_int_equal(furrow_last_status(), FURROW_EARGS);
    wrong.priority = 1000;
    assert_null(furrow_submit_with(pool, &wrong, remake, "H", &block));
    assert_int_equal(furrow_last_status(), FURROW_EINVAL);
    assert_null(furrow_block_new(pool, ((size_t)256 << 20) + 1));
    assert_int_equal(furrow_last_status(), FURROW_ETOOBIG);
    assert_ptr_equal(furrow_block_data(block), data);
    furrow_future *future = furrow_submit(pool, remake, "isH", (int64_t)0, "", &block);
    assert_null(block);
    expect_remade(future, 0, "", 100000);

    block = filled_block(pool, 100000);
    none = filled_block(pool, 100000);
    assert_ok(furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT));
    assert_null(furrow_submit(pool, remake, "isH", (int64_t)0, "", &block));
    assert_int_equal(furrow_last_status(), FURROW_ESHUTDOWN);
    conformance_close();
    assert_non_null(block);
    assert_int_equal(((const uint8_t *)furrow_block_data(block))[99999],
                     (uint8_t)(99999 * 2654435761u >> 13));
    furrow_block_free(&block);
    furrow_block_free(&none);
    assert_null(block);
}

static void a_block_is_gone_with_a_cancelled_task(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)1));
    gate_wait_started(1);
    furrow_block *block = filled_block(pool, 1 << 20);
    furrow_future *next = must(furrow_submit(pool, remake, "isH", (int64_t)0, "", &block));
    assert_null(block);
    assert_true(furrow_future_cancel(next));
    gate_open();
    assert_int_equal(result_int(held), 1);
    furrow_future_unref(&held);
    furrow_future_unref(&next);
}

static void a_task_that_is_run_again_finds_its_block(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    for (int64_t deaths = 1; deaths <= 2; deaths++) {
        furrow_block *block = filled_block(pool, 1 << 20);
        furrow_future *future = furrow_submit(pool, remake, "isH", deaths, "again", &block);

        assert_null(block);
        expect_remade(future, deaths, "again", 1 << 20);
    }
}

static void unknown_function(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    furrow_future *future = furrow_submit_by_name(pool, NULL, "no_such_function", "");
    if (conformance_kind == ON_REMOTE) {
        const furrow_error *error = NULL;
        assert_non_null(future);
        assert_ok(furrow_future_error(future, 30, &error));
        assert_non_null(error);
        assert_int_equal(error->kind, FURROW_ERROR_NO_FUNCTION);
        assert_non_null(strstr(error->message, "no_such_function"));
        furrow_future_unref(&future);
    } else {
        assert_null(future);
        assert_int_equal(furrow_last_status(), FURROW_ENOFUNCTION);
        assert_non_null(strstr(furrow_last_error(), "no_such_function"));
    }
    future = must(furrow_submit_by_name(pool, NULL, "add", "ii", (int64_t)1, (int64_t)2));
    assert_int_equal(result_int(future), 3);
    furrow_future_unref(&future);
}

static void max_workers_below_one_is_invalid(void **state) {
    static const char *const schemes[] = {"threads:0", "threads:-1", "processes:0", "processes:-3"};
    (void)state;

    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        assert_null(furrow_open(schemes[i], NULL));
        assert_true(furrow_last_status() == FURROW_EINVAL || furrow_last_status() == FURROW_EURL);
        assert_true(strlen(furrow_last_error()) > 0);
    }
    for (int count = -1; count <= 0; count++) {
        furrow_options options = FURROW_OPTIONS_INIT;
        options.max_workers = count;
        assert_null(
            furrow_open(conformance_kind == ON_PROCESSES ? "processes:" : "threads:", &options));
        assert_int_equal(furrow_last_status(), FURROW_EINVAL);
    }
}

static void max_workers_defaults_to_the_usable_cpus(void **state) {
    furrow_executor_info info;
    (void)state;

    furrow_executor *pool =
        must(furrow_open(conformance_kind == ON_PROCESSES ? "processes:" : "threads:", NULL));
    furrow_executor_describe(pool, &info);
    assert_int_equal(info.max_workers, furrow_cpu_count());
    assert_true(furrow_cpu_count() >= 1);
    assert_true(furrow_cpu_count() <= sysconf(_SC_NPROCESSORS_ONLN));
    assert_ok(furrow_close(&pool));
}

static void urls_that_do_not_parse(void **state) {
    static const char *const urls[] = {
        "",           "thread:2",    "threads:two",   "threads:2?",           "threads:2?nothing=1",
        "tcp://",     "tcp://host",  "tcp://h:99999", "processes:2?threads=", "ipc://",
        "threads:2x", "tcp://:7700",
    };
    (void)state;

    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        furrow_executor *pool = furrow_open(urls[i], NULL);
        if (pool != NULL) {
            fail_msg("\"%s\" was opened", urls[i]);
        }
        if (furrow_last_status() != FURROW_EURL) {
            fail_msg("\"%s\": %s: %s", urls[i], furrow_status_text(furrow_last_status()),
                     furrow_last_error());
        }
        assert_true(strlen(furrow_last_error()) > 0);
    }
}

static void falsy_results(void **state) {
    furrow_executor *pool = conformance_open(1);
    const char *text = NULL;
    bool yes = true;
    size_t size = 1;
    (void)state;

    furrow_future *zero = must(furrow_submit(pool, identity, "i", (int64_t)0));
    assert_int_equal(result_int(zero), 0);
    furrow_future *empty = must(furrow_submit(pool, identity, "s", ""));
    assert_ok(furrow_future_result(empty, 30, "s", &text));
    assert_string_equal(text, "");
    furrow_future *nil = must(furrow_submit(pool, identity, "n"));
    assert_ok(furrow_future_result(nil, 30, "n"));
    furrow_future *none = must(furrow_submit(pool, nothing, ""));
    assert_ok(furrow_future_result(none, 30, "n"));
    furrow_future *no = must(furrow_submit(pool, identity, "b", 0));
    assert_ok(furrow_future_result(no, 30, "b", &yes));
    assert_false(yes);
    furrow_future *array = must(furrow_submit(pool, identity, "[]"));
    assert_ok(furrow_future_result(array, 30, "[]"));
    furrow_future *binary = must(furrow_submit(pool, identity, "B", "", (size_t)0));
    assert_ok(furrow_future_result(binary, 30, "B", &(const void *){NULL}, &size));
    assert_int_equal(size, 0);
    furrow_future *all[] = {zero, empty, nil, none, no, array, binary};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        furrow_future_unref(&all[i]);
    }
}

static void falsy_errors(void **state) {
    furrow_executor *pool = conformance_open(1);
    const furrow_error *error = NULL;
    (void)state;

    furrow_future *future = must(furrow_submit(pool, fail_with, "is", (int64_t)0, ""));
    assert_int_equal(furrow_future_result(future, 30, "n"), FURROW_EFAILED);
    assert_ok(furrow_future_error(future, 30, &error));
    assert_non_null(error);
    assert_int_equal(error->code, 0);
    assert_string_equal(error->message, "");
    furrow_future_unref(&future);
}

static void errors_say_where(void **state) {
    furrow_executor *pool = conformance_open(1);
    const furrow_error *error = NULL;
    char host[256] = "";
    (void)state;

    gethostname(host, sizeof host - 1);
    furrow_future *future = must(furrow_submit(pool, fail_with, "is", (int64_t)-3, "here"));
    assert_ok(furrow_future_error(future, 30, &error));
    assert_non_null(error);
    assert_int_equal(error->kind, FURROW_ERROR_TASK);
    assert_int_equal(error->code, -3);
    assert_string_equal(error->message, "here");
    assert_string_equal(error->function, "fail_with");
    assert_string_equal(error->host, host);
    assert_int_equal(error->attempt, 1);
    if (conformance_kind == ON_THREADS) {
        assert_int_equal(error->pid, getpid());
    } else {
        assert_true(error->pid > 0);
        assert_int_not_equal(error->pid, getpid());
    }
    furrow_future_unref(&future);
}

static void *plain_function(void *argument) {
    return (char *)argument + 1;
}

static void pointers_are_for_threads_alone(void **state) {
    furrow_executor *pool = conformance_open(1);
    char here[2];
    void *back = NULL;
    (void)state;

    furrow_future *passed = furrow_submit(pool, identity, "p", (void *)here);
    furrow_future *called = furrow_submit_call(pool, plain_function, here);
    if (conformance_kind == ON_THREADS) {
        assert_ok(furrow_future_result(must(passed), 30, "p", &back));
        assert_ptr_equal(back, here);
        assert_ok(furrow_future_result(must(called), 30, "p", &back));
        assert_ptr_equal(back, here + 1);
    } else {
        assert_null(passed);
        assert_null(called);
        assert_int_equal(furrow_last_status(), FURROW_EUNSUPPORTED);
    }
    furrow_future_unref(&passed);
    furrow_future_unref(&called);
}

static void partial_binds_leading_arguments(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    furrow_partial *add_ten = must(furrow_partial_new(add, "i", (int64_t)10));
    furrow_future *future = must(furrow_submit_partial(pool, NULL, add_ten, "i", (int64_t)5));
    assert_int_equal(result_int(future), 15);
    furrow_future_unref(&future);

    furrow_input *input = must(furrow_input_range(0, 20, 1));
    furrow_results *results = must(furrow_map_partial(pool, add_ten, NULL, &input));
    for (int64_t i = 0; i < 20; i++) {
        int64_t value;
        assert_ok(furrow_results_next(results, "i", &value));
        assert_int_equal(value, 10 + i);
    }
    furrow_results_close(&results);
    furrow_partial_free(&add_ten);
}

/* Many threads, many rounds, one executor. */
struct submitter {
    furrow_executor *pool;
    int number;
    atomic_int *wrong;
};

static void *submit_rounds(void *user) {
    struct submitter *submitter = user;

    for (int round = 0; round < 10; round++) {
        furrow_future *futures[50];

        for (int i = 0; i < 50; i++) {
            futures[i] = furrow_submit(submitter->pool, add, "ii", (int64_t)(1000 * i),
                                       (int64_t)submitter->number);
        }
        for (int i = 0; i < 50; i++) {
            int64_t value = -1;
            if (futures[i] == NULL ||
                furrow_future_result(futures[i], 60, "i", &value) != FURROW_OK ||
                value != 1000 * i + submitter->number) {
                atomic_fetch_add(submitter->wrong, 1);
            }
            furrow_future_unref(&futures[i]);
        }
    }
    return NULL;
}

static void one_executor_many_rounds_many_threads(void **state) {
    furrow_executor *pool = conformance_open(2);
    pthread_t threads[8];
    struct submitter submitters[8];
    atomic_int wrong = 0;
    (void)state;

    for (int i = 0; i < 8; i++) {
        submitters[i] = (struct submitter){pool, i, &wrong};
        assert_int_equal(pthread_create(&threads[i], NULL, submit_rounds, &submitters[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&wrong), 0);
}

static void saturation(void **state) {
    furrow_executor *pool = conformance_open(3);
    furrow_future *futures[60];
    int64_t peak = 0;
    (void)state;

    for (int i = 0; i < 60; i++) {
        futures[i] = must(furrow_submit(pool, running_peak, "s", gate_path()));
    }
    for (int i = 0; i < 60; i++) {
        int64_t seen = result_int(futures[i]);
        peak = seen > peak ? seen : peak;
        furrow_future_unref(&futures[i]);
    }
    assert_true(peak <= 3);
    assert_true(peak >= 2);
}

/* CPython's test_idle_thread_reuse and test_idle_process_reuse_one: no second worker is started for
 * one task after the other. */
static void idle_reuse(void **state) {
    furrow_executor *pool = conformance_open(4);
    int64_t first_pid = 0, first_thread = 0;
    (void)state;

    for (int i = 0; i < 8; i++) {
        int64_t pid, thread;
        furrow_future *future = must(furrow_submit(pool, where, ""));

        assert_ok(furrow_future_result(future, 30, "[ii]", &pid, &thread));
        furrow_future_unref(&future);
        if (i == 0) {
            first_pid = pid;
            first_thread = thread;
        }
        assert_int_equal(pid, first_pid);
        assert_int_equal(thread, first_thread);
    }
    furrow_executor_info info;
    furrow_executor_describe(pool, &info);
    assert_int_equal(info.workers_alive, 1);
}

static void priorities_go_first(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_submit_options low = FURROW_SUBMIT_OPTIONS_INIT, high = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_future *futures[20], *urgent, *future;
    (void)state;

    low.priority = -5;
    high.priority = 100;
    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    gate_wait_started(1);
    for (int64_t i = 0; i < 20; i++) {
        futures[i] = must(furrow_submit_with(pool, &low, square, "i", i));
    }
    urgent = must(furrow_submit_with(pool, &high, square, "i", (int64_t)99));
    furrow_future *all[21];
    memcpy(all, futures, sizeof futures);
    all[20] = urgent;
    furrow_completed *completed = must(furrow_as_completed(all, 21, 60));
    pause_ms(100); /* until a remote broker, too, has the urgent one */
    gate_open();
    assert_ok(furrow_completed_next(completed, &future));
    assert_ptr_equal(future, urgent);
    furrow_future_unref(&future);
    furrow_completed_free(&completed);
    for (int i = 0; i < 21; i++) {
        furrow_future_unref(&all[i]);
    }
    furrow_future_unref(&held);
}

static void a_task_that_fails_may_be_tried_again(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    const furrow_error *error = NULL;
    (void)state;

    options.retries = 2;
    options.retry_delay = 0.01;
    double start = now_seconds();
    furrow_future *future =
        must(furrow_submit_with(pool, &options, fail_with, "is", (int64_t)4, "again"));
    assert_ok(furrow_future_error(future, 30, &error));
    assert_non_null(error);
    assert_string_equal(error->message, "again");
    assert_true(now_seconds() - start >= 0.03); /* 10 ms, then 20 */
    furrow_future_unref(&future);
}

static void queue_timeout_fails_what_has_not_started(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    const furrow_error *error = NULL;
    (void)state;

    options.queue_timeout = 0.05;
    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    gate_wait_started(1);
    furrow_future *late =
        must(furrow_submit_with(pool, &options, mark, "si", gate_path(), (int64_t)1));
    assert_ok(furrow_future_error(late, 30, &error));
    assert_non_null(error);
    assert_int_equal(error->kind, FURROW_ERROR_DEADLINE);
    gate_open();
    assert_int_equal(result_int(held), 0);
    conformance_close();
    assert_int_equal(gate_started(), 1);
    furrow_future_unref(&late);
    furrow_future_unref(&held);
}

static void run_timeout_asks_the_task_to_end(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    const furrow_error *error = NULL;
    (void)state;

    options.run_timeout = 0.05;
    furrow_future *future =
        must(furrow_submit_with(pool, &options, hold, "si", gate_path(), (int64_t)0));
    assert_ok(furrow_future_error(future, 30, &error));
    assert_non_null(error);
    assert_int_equal(error->kind, FURROW_ERROR_DEADLINE);
    furrow_future_unref(&future);
    future = must(furrow_submit(pool, add, "ii", (int64_t)1, (int64_t)2));
    assert_int_equal(result_int(future), 3);
    furrow_future_unref(&future);
}

static void invalid_options_are_refused(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    for (int i = 0; i < 5; i++) {
        furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
        switch (i) {
        case 0:
            options.priority = 128;
            break;
        case 1:
            options.max_attempts = 0;
            break;
        case 2:
            options.max_attempts = 1001;
            break;
        case 3:
            options.retries = -1;
            break;
        default:
            options.retry_delay = -0.5;
        }
        assert_null(furrow_submit_with(pool, &options, add, "ii", (int64_t)1, (int64_t)2));
        assert_int_equal(furrow_last_status(), FURROW_EINVAL);
        assert_true(strlen(furrow_last_error()) > 0);
    }
}

static void max_pending_slows_the_submitter(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;
    options.max_pending = 4;
    furrow_executor *pool = conformance_open_with(2, &options, NULL);
    furrow_executor_info info;
    furrow_future *futures[200];
    (void)state;

    for (int64_t i = 0; i < 200; i++) {
        futures[i] = must(furrow_submit(pool, square, "i", i));
        furrow_executor_describe(pool, &info);
        assert_true(info.pending <= 4);
    }
    for (int64_t i = 0; i < 200; i++) {
        assert_int_equal(result_int(futures[i]), i * i);
        furrow_future_unref(&futures[i]);
    }
}

static const struct conformance_row rows[] = {
    ROW(submit_returns_before_the_task_runs, ON_ALL),
    ROW(arguments_of_every_kind, ON_ALL),
    ROW(strings_and_binary_with_nul, ON_ALL),
    ROW(nested_arrays_and_maps, ON_ALL),
    ROW(sixteen_mebibytes, ON_ALL),
    ROW(arguments_that_do_not_fit, ON_ALL),
    ROW(payloads_over_the_limit, ON_ALL),
    ROW(blocks_are_handed_over, ON_ALL),
    ROW(blocks_from_every_call_of_a_map, ON_ALL),
    ROW(a_block_that_is_refused_is_as_before, ON_ALL),
    ROW(a_block_is_gone_with_a_cancelled_task, ON_ALL),
    ROW(a_task_that_is_run_again_finds_its_block, ON_WORKERS),
    ROW(unknown_function, ON_ALL),
    ROW(max_workers_below_one_is_invalid, ON_THREADS | ON_PROCESSES),
    ROW(max_workers_defaults_to_the_usable_cpus, ON_THREADS | ON_PROCESSES),
    ROW(urls_that_do_not_parse, ON_ALL),
    ROW(falsy_results, ON_ALL),
    ROW(falsy_errors, ON_ALL),
    ROW(errors_say_where, ON_ALL),
    ROW(pointers_are_for_threads_alone, ON_ALL),
    ROW(partial_binds_leading_arguments, ON_ALL),
    ROW(one_executor_many_rounds_many_threads, ON_ALL),
    ROW(saturation, ON_ALL),
    ROW(idle_reuse, ON_THREADS | ON_PROCESSES),
    ROW(priorities_go_first, ON_ALL),
    ROW(a_task_that_fails_may_be_tried_again, ON_ALL),
    ROW(queue_timeout_fails_what_has_not_started, ON_ALL),
    ROW(run_timeout_asks_the_task_to_end, ON_ALL),
    ROW(invalid_options_are_refused, ON_ALL),
    ROW(max_pending_slows_the_submitter, ON_ALL),
};
CONFORMANCE_MAIN("submit", rows)
