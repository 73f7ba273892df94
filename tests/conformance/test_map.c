#include "tests/conformance/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Takes `count` integers from a map, which must be start, start + 1, ... squared, and then its end. */
static void expect_squares(furrow_results *results, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        int64_t value = -1;

        assert_ok(furrow_results_next(results, "i", &value));
        assert_int_equal(value, i * i);
        assert_int_equal(furrow_results_index(results), i);
    }
    assert_int_equal(furrow_results_next(results, "i", &(int64_t){0}), FURROW_EEND);
    assert_int_equal(furrow_results_next(results, "i", &(int64_t){0}), FURROW_EEND);
}

static void map_over_one_input(void **state) {
    furrow_executor *pool = conformance_open(2);
    int64_t values[100];
    (void)state;

    for (int64_t i = 0; i < 100; i++) {
        values[i] = i;
    }
    furrow_input *input = must(furrow_input_ints(values, 100));
    furrow_results *results = must(furrow_map(pool, square, NULL, &input));
    assert_null(input);
    expect_squares(results, 100);
    furrow_results_close(&results);
    assert_null(results);
}

static void map_over_every_kind_of_input(void **state) {
    furrow_executor *pool = conformance_open(2);
    const double doubles[] = {1.5, -2.5};
    const char *const strings[] = {"one", "", "three"};
    double d;
    const char *s;
    int64_t i;
    (void)state;

    furrow_input *input = must(furrow_input_doubles(doubles, 2));
    furrow_results *results = must(furrow_map(pool, identity, NULL, &input));
    for (int at = 0; at < 2; at++) {
        assert_ok(furrow_results_next(results, "d", &d));
        assert_true(d == doubles[at]);
    }
    assert_int_equal(furrow_results_next(results, "d", &d), FURROW_EEND);
    furrow_results_close(&results);

    input = must(furrow_input_strings(strings, 3));
    results = must(furrow_map(pool, identity, NULL, &input));
    for (int at = 0; at < 3; at++) {
        assert_ok(furrow_results_next(results, "s", &s));
        assert_string_equal(s, strings[at]);
    }
    furrow_results_close(&results);

    input = must(furrow_input_range(10, 0, -3));
    results = must(furrow_map(pool, identity, NULL, &input));
    for (int64_t expected = 10; expected > 0; expected -= 3) {
        assert_ok(furrow_results_next(results, "i", &i));
        assert_int_equal(i, expected);
    }
    assert_int_equal(furrow_results_next(results, "i", &i), FURROW_EEND);
    furrow_results_close(&results);
    assert_null(furrow_input_range(0, 1, 0));
    assert_int_equal(furrow_last_status(), FURROW_EINVAL);
}

static void map_over_zipped_inputs(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    furrow_input *inputs[] = {must(furrow_input_range(0, 10, 1)),
                              must(furrow_input_range(100, 1000, 100))};
    furrow_input *zipped = must(furrow_input_zip(inputs, 2));
    assert_null(inputs[0]);
    furrow_results *results = must(furrow_map(pool, add, NULL, &zipped));
    int64_t value;
    for (int64_t i = 0; i < 9; i++) { /* the shorter one ends it */
        assert_ok(furrow_results_next(results, "i", &value));
        assert_int_equal(value, i + 100 + 100 * i);
    }
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
    furrow_results_close(&results);
}

static furrow_status next_backwards(void *user, furrow_buffer *item) {
    int64_t *left = user;

    if (*left == 0) {
        return FURROW_EEND;
    }
    --*left;
    return furrow_buffer_pack(item, "di", 0.004 * (double)*left, *left);
}

static void results_come_in_the_order_of_inputs(void **state) {
    furrow_executor *pool = conformance_open(4);
    int64_t left = 8, value;
    (void)state;

    furrow_input *input = must(furrow_input_callback(next_backwards, NULL, &left));
    furrow_results *results = must(furrow_map(pool, sleep_return, NULL, &input));
    for (int64_t i = 7; i >= 0; i--) {
        assert_ok(furrow_results_next(results, "i", &value));
        assert_int_equal(value, i);
    }
    furrow_results_close(&results);
}

static void unordered_gives_each_once_with_its_index(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    (void)state;

    options.unordered = true;
    for (options.chunksize = 1; options.chunksize <= 7; options.chunksize += 6) {
        bool seen[100] = {false};
        furrow_input *input = must(furrow_input_range(0, 100, 1));
        furrow_results *results = must(furrow_map(pool, square, &options, &input));
        for (int i = 0; i < 100; i++) {
            int64_t value;
            assert_ok(furrow_results_next(results, "i", &value));
            size_t index = furrow_results_index(results);
            assert_int_equal(value, index * index);
            assert_false(seen[index]);
            seen[index] = true;
        }
        assert_int_equal(furrow_results_next(results, "i", &(int64_t){0}), FURROW_EEND);
        furrow_results_close(&results);
    }
}

static void unordered_does_not_wait_for_the_slow_one(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    int64_t left = 6, value;
    (void)state;

    options.unordered = true;
    furrow_future *held = must(furrow_submit(pool, hold, "si", gate_path(), (int64_t)0));
    furrow_input *input = must(furrow_input_callback(next_backwards, NULL, &left));
    furrow_results *results = must(furrow_map(pool, sleep_return, &options, &input));
    for (int i = 0; i < 6; i++) {
        assert_ok(furrow_results_next(results, "i", &value));
    }
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
    gate_open();
    furrow_results_close(&results);
    furrow_future_unref(&held);
}

/* Tasks of a map mark the gate that they started. */
struct marks {
    int64_t next, end;
    int pulled, closed;
};

static furrow_status next_mark(void *user, furrow_buffer *item) {
    struct marks *marks = user;

    if (marks->next == marks->end) {
        return FURROW_EEND;
    }
    marks->pulled++;
    return furrow_buffer_pack(item, "si", gate_path(), marks->next++);
}

static void close_marks(void *user) {
    ((struct marks *)user)->closed++;
}

static void map_is_eager_without_buffersize(void **state) {
    furrow_executor *pool = conformance_open(2);
    struct marks marks = {0, 30, 0, 0};
    (void)state;

    furrow_input *input = must(furrow_input_callback(next_mark, close_marks, &marks));
    furrow_results *results = must(furrow_map(pool, mark, NULL, &input));
    assert_int_equal(marks.pulled, 30);
    gate_wait_started(30); /* though nobody iterates */
    furrow_results_close(&results);
    assert_int_equal(marks.closed, 1);
}

static void expect_map_error(furrow_executor *pool, int64_t chunksize) {
    const int64_t values[] = {1, 2, 0, 4};
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    double value;

    options.chunksize = chunksize;
    furrow_input *input = must(furrow_input_ints(values, 4));
    furrow_results *results = must(furrow_map(pool, reciprocal, &options, &input));
    assert_ok(furrow_results_next(results, "d", &value));
    assert_null(furrow_results_error(results));
    assert_ok(furrow_results_next(results, "d", &value));
    assert_true(value == 0.5);
    assert_int_equal(furrow_results_next(results, "d", &value), FURROW_EFAILED);
    const furrow_error *error = furrow_results_error(results);
    assert_non_null(error);
    assert_int_equal(error->kind, FURROW_ERROR_TASK);
    assert_int_equal(error->code, 33);
    assert_string_equal(error->message, "division by zero");
    assert_int_equal(furrow_results_index(results), 2);
    assert_ok(furrow_results_next(results, "d", &value));
    assert_true(value == 0.25);
    assert_null(furrow_results_error(results));
    assert_int_equal(furrow_results_next(results, "d", &value), FURROW_EEND);
    furrow_results_close(&results);
}

static void map_error(void **state) {
    (void)state;
    expect_map_error(conformance_open(2), 1);
}

static void map_error_with_chunks(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    expect_map_error(pool, 2);
    expect_map_error(pool, 3);
    expect_map_error(pool, 100);
}

/* A broker hears of cancels in their order: when this one has its verdict, those before have theirs. The
 * pool's workers are held. */
static void await_cancels(furrow_executor *pool) {
    furrow_future *last = must(furrow_submit(pool, square, "i", (int64_t)0));

    assert_true(furrow_future_cancel(last));
    furrow_future_unref(&last);
}

static void map_timeout(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    struct marks marks = {0, 10, 0, 0};
    int64_t value;
    (void)state;

    options.timeout = 0.1;
    furrow_input *input = must(furrow_input_callback(next_mark, close_marks, &marks));
    furrow_results *results = must(furrow_map(pool, hold, &options, &input));
    gate_wait_started(1);
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_ETIMEOUT);
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
    furrow_results_close(&results);
    await_cancels(pool);
    gate_open();
    conformance_close();
    assert_true(gate_started() < 10); /* the rest was cancelled */
}

static void a_task_that_fails_with_timeout_is_told_apart(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    (void)state;

    options.timeout = 30;
    furrow_future *future = must(furrow_submit(pool, fail_timeout, ""));
    assert_int_equal(furrow_future_result(future, 30, "n"), FURROW_EFAILED);
    furrow_future_unref(&future);
    furrow_input *inputs[1] = {must(furrow_input_range(0, 1, 1))};
    furrow_results *results = must(furrow_map(pool, fail_timeout, &options, &inputs[0]));
    assert_int_equal(furrow_results_next(results, "n"), FURROW_EFAILED);
    assert_int_equal(furrow_results_error(results)->code, FURROW_ETIMEOUT);
    assert_int_equal(furrow_results_next(results, "n"), FURROW_EEND);
    furrow_results_close(&results);
}

static void map_close_cancels_what_has_not_started(void **state) {
    furrow_executor *pool = conformance_open(1);
    struct marks marks = {0, 50, 0, 0};
    (void)state;

    furrow_input *input = must(furrow_input_callback(next_mark, close_marks, &marks));
    furrow_results *results = must(furrow_map(pool, hold, NULL, &input));
    gate_wait_started(1);
    furrow_results_close(&results);
    assert_int_equal(marks.closed, 1);
    await_cancels(pool);
    gate_open();
    conformance_close();
    assert_true(gate_started() < 50);
}

static void chunksizes_give_the_same_results(void **state) {
    furrow_executor *pool = conformance_open(2);
    static const int64_t sizes[] = {1, 3, 100, 1000};
    (void)state;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
        options.chunksize = sizes[i];
        furrow_input *input = must(furrow_input_range(0, 250, 1));
        furrow_results *results = must(furrow_map(pool, square, &options, &input));
        expect_squares(results, 250);
        furrow_results_close(&results);
    }
}

/* As deep as a value may be, wrapped in a chunk, which is two deeper. */
#define DEEP "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[i]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"

static furrow_status next_deep(void *user, furrow_buffer *item) {
    int64_t *left = user;

    if (*left == 0) {
        return FURROW_EEND;
    }
    --*left;
    return furrow_buffer_pack(item, DEEP, *left);
}

static void the_deepest_values_fit_into_chunks(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    int64_t left = 10, value = -1;
    (void)state;

    options.chunksize = 3;
    furrow_input *input = must(furrow_input_callback(next_deep, NULL, &left));
    furrow_results *results = must(furrow_map(pool, identity, &options, &input));
    for (int64_t i = 9; i >= 0; i--) {
        assert_ok(furrow_results_next(results, DEEP, &value));
        assert_int_equal(value, i);
    }
    furrow_results_close(&results);
}

static void chunksize_below_one_is_invalid(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    for (int64_t size = -1; size <= 0; size++) {
        furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
        options.chunksize = size;
        furrow_input *input = must(furrow_input_range(0, 3, 1));
        assert_null(furrow_map(pool, square, &options, &input));
        assert_int_equal(furrow_last_status(), FURROW_EINVAL);
        assert_non_null(input); /* still ours */
        furrow_input_free(&input);
    }
}

static void buffersize_below_one_is_invalid(void **state) {
    furrow_executor *pool = conformance_open(1);
    (void)state;

    for (int64_t size = -1; size <= 0; size++) {
        furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
        options.buffersize = size;
        furrow_input *input = must(furrow_input_range(0, 3, 1));
        assert_null(furrow_map(pool, square, &options, &input));
        assert_int_equal(furrow_last_status(), FURROW_EINVAL);
        assert_non_null(input);
        furrow_input_free(&input);
    }
}

static void buffersize_is_what_is_pulled_ahead(void **state) {
    furrow_executor *pool = conformance_open(2);
    (void)state;

    for (int64_t size = 1; size <= 7; size += 3) {
        furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
        struct marks marks = {0, 100, 0, 0};
        int64_t value;

        options.buffersize = size;
        furrow_input *input = must(furrow_input_callback(next_mark, close_marks, &marks));
        furrow_results *results = must(furrow_map(pool, mark, &options, &input));
        assert_int_equal(marks.pulled, size);
        for (int64_t i = 0; i < 20; i++) {
            assert_ok(furrow_results_next(results, "i", &value));
            assert_int_equal(value, i);
            assert_int_equal(marks.pulled, size + i + 1);
        }
        furrow_results_close(&results);
        assert_int_equal(marks.closed, 1);
    }
}

static furrow_status count_for_ever(void *user, furrow_buffer *item) {
    return furrow_buffer_pack(item, "i", (*(int64_t *)user)++);
}

static void infinite_inputs(void **state) {
    furrow_executor *pool = conformance_open(2);
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    int64_t a = 0, b = 1000, value;
    (void)state;

    options.buffersize = 8;
    furrow_input *inputs[] = {must(furrow_input_callback(count_for_ever, NULL, &a)),
                              must(furrow_input_callback(count_for_ever, NULL, &b))};
    furrow_input *zipped = must(furrow_input_zip(inputs, 2));
    furrow_results *results = must(furrow_map(pool, add, &options, &zipped));
    for (int64_t i = 0; i < 500; i++) {
        assert_ok(furrow_results_next(results, "i", &value));
        assert_int_equal(value, 1000 + 2 * i);
    }
    furrow_results_close(&results);
    assert_true(a <= 510);
}

static void empty_inputs(void **state) {
    furrow_executor *pool = conformance_open(1);
    int64_t value;
    (void)state;

    furrow_input *empty = must(furrow_input_ints(NULL, 0));
    furrow_results *results = must(furrow_map(pool, square, NULL, &empty));
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
    furrow_results_close(&results);

    furrow_input *none = must(furrow_input_zip(NULL, 0));
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    options.buffersize = 3;
    options.chunksize = 2;
    results = must(furrow_map(pool, square, &options, &none));
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
    furrow_results_close(&results);
}

static furrow_status fail_at_three(void *user, furrow_buffer *item) {
    int64_t *next = user;

    if (*next == 3) {
        return FURROW_ESYSTEM;
    }
    return furrow_buffer_pack(item, "i", (*next)++);
}

static void an_input_that_fails_ends_the_map_there(void **state) {
    furrow_executor *pool = conformance_open(1);
    int64_t next = 0, value;
    (void)state;

    furrow_input *input = must(furrow_input_callback(fail_at_three, NULL, &next));
    furrow_results *results = must(furrow_map(pool, square, NULL, &input));
    for (int64_t i = 0; i < 3; i++) {
        assert_ok(furrow_results_next(results, "i", &value));
        assert_int_equal(value, i * i);
    }
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_ESYSTEM);
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
    furrow_results_close(&results);
}

static size_t resident_bytes(void) {
    size_t pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu %zu", &pages, &resident), 2);
    fclose(file);
    return resident * 4096;
}

/* 400 results and arguments of 1 MiB pass through; they must not pile up. A sanitizer keeps freed
 * memory on purpose, so only the values are checked there. */
static furrow_status next_big(void *user, furrow_buffer *item) {
    int64_t *left = user;
    static char bytes[1 << 20];

    if ((*left)-- == 0) {
        return FURROW_EEND;
    }
    return furrow_buffer_pack(item, "B", bytes, sizeof bytes);
}

static void map_keeps_nothing_that_it_has_yielded(void **state) {
    furrow_executor *pool = conformance_open(1);
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    int64_t left = 400;
    size_t before = 0, peak = 0;
    (void)state;

    options.buffersize = 4;
    furrow_input *input = must(furrow_input_callback(next_big, NULL, &left));
    furrow_results *results = must(furrow_map(pool, identity, &options, &input));
    for (int i = 0; i < 400; i++) {
        const void *bytes;
        size_t size;

        assert_ok(furrow_results_next(results, "B", &bytes, &size));
        assert_int_equal(size, 1 << 20);
        size_t now = resident_bytes();
        before = i == 20 ? now : before;
        peak = now > peak ? now : peak;
    }
    furrow_results_close(&results);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(peak < before + ((size_t)100 << 20));
#endif
}

static const struct conformance_row rows[] = {
    ROW(map_over_one_input, ON_ALL),
    ROW(map_over_every_kind_of_input, ON_ALL),
    ROW(map_over_zipped_inputs, ON_ALL),
    ROW(results_come_in_the_order_of_inputs, ON_ALL),
    ROW(unordered_gives_each_once_with_its_index, ON_ALL),
    ROW(unordered_does_not_wait_for_the_slow_one, ON_ALL),
    ROW(map_is_eager_without_buffersize, ON_ALL),
    ROW(map_error, ON_ALL),
    ROW(map_error_with_chunks, ON_ALL),
    ROW(map_timeout, ON_ALL),
    ROW(a_task_that_fails_with_timeout_is_told_apart, ON_ALL),
    ROW(map_close_cancels_what_has_not_started, ON_ALL),
    ROW(chunksizes_give_the_same_results, ON_ALL),
    ROW(the_deepest_values_fit_into_chunks, ON_ALL),
    ROW(chunksize_below_one_is_invalid, ON_ALL),
    ROW(buffersize_below_one_is_invalid, ON_ALL),
    ROW(buffersize_is_what_is_pulled_ahead, ON_ALL),
    ROW(infinite_inputs, ON_ALL),
    ROW(empty_inputs, ON_ALL),
    ROW(an_input_that_fails_ends_the_map_there, ON_ALL),
    ROW(map_keeps_nothing_that_it_has_yielded, ON_ALL),
};
CONFORMANCE_MAIN("map", rows)
