#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "fail_alloc.h"
#include "front.h"
#include "libclient/future.h"

/* Maps and their inputs, on `threads:`. */

static furrow_executor *pool;
static struct gate gate;

static int setup(void **state) {
    (void)state;
    gate_init(&gate);
    pool = furrow_open("threads:2", NULL);
    return pool == NULL;
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

static furrow_map_options options_of(int64_t chunksize, int64_t buffersize, bool unordered) {
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;

    options.chunksize = chunksize;
    options.buffersize = buffersize;
    options.unordered = unordered;
    options.timeout = 20;
    return options;
}

/* ---------------------------------------------------------------------- inputs */

/* A user's input that counts what is pulled. */
struct source {
    int64_t next;
    int64_t stop;    /* INT64_MAX: infinite */
    int64_t fail_at; /* fails there with FURROW_ESYSTEM */
    int closed;
};

static furrow_status source_next(void *user, furrow_buffer *item) {
    struct source *source = user;

    if (source->next == source->stop) {
        return FURROW_EEND;
    }
    if (source->next == source->fail_at) {
        return FURROW_ESYSTEM;
    }
    return furrow_buffer_pack(item, "i", source->next++);
}

static void source_close(void *user) {
    ((struct source *)user)->closed++;
}

static furrow_input *source_input(struct source *source, int64_t stop) {
    source->next = 0;
    source->stop = stop;
    source->fail_at = -1;
    source->closed = 0;
    return furrow_input_callback(source_next, source_close, source);
}

/* Takes all results, which are the squares of 0 to count - 1, in order or not. */
static void take_squares(furrow_results **results, int64_t count, bool unordered) {
    bool *seen = calloc((size_t)count + 1, sizeof *seen);
    int64_t value;

    assert_non_null(*results);
    for (int64_t i = 0; i < count; i++) {
        size_t index;

        assert_int_equal(furrow_results_next(*results, "i", &value), FURROW_OK);
        index = furrow_results_index(*results);
        if (!unordered) {
            assert_int_equal(index, i);
        }
        assert_true(index < (size_t)count && !seen[index]);
        seen[index] = true;
        assert_int_equal(value, (int64_t)(index * index));
    }
    assert_int_equal(furrow_results_next(*results, "i", &value), FURROW_EEND);
    assert_int_equal(furrow_results_next(*results, "i", &value), FURROW_EEND);
    furrow_results_close(results);
    assert_null(*results);
    free(seen);
}

static void results_come_in_the_order_of_the_inputs(void **state) {
    furrow_input *input = furrow_input_range(0, 1000, 1);
    furrow_results *results = furrow_map(pool, front_square, NULL, &input);

    (void)state;
    assert_null(input);
    take_squares(&results, 1000, false);
}

static void all_chunks_buffers_and_orders_give_the_same_results(void **state) {
    const int64_t chunksizes[] = {1, 2, 3, 15, 16, 17, 100, 1000};
    const int64_t buffersizes[] = {FURROW_MAP_UNBOUNDED, 1, 2, 7, 100, 5000};
    const int64_t counts[] = {0, 1, 2, 99, 300};

    (void)state;
    for (size_t c = 0; c < 8; c++) {
        for (size_t b = 0; b < 6; b++) {
            for (size_t n = 0; n < 5; n++) {
                for (int unordered = 0; unordered < 2; unordered++) {
                    furrow_map_options options =
                        options_of(chunksizes[c], buffersizes[b], unordered);
                    furrow_input *input = furrow_input_range(0, counts[n], 1);
                    furrow_results *results = furrow_map(pool, front_square, &options, &input);

                    take_squares(&results, counts[n], unordered);
                }
            }
        }
    }
}

static void several_inputs_are_zipped_to_the_shortest(void **state) {
    const int64_t ints[] = {1, 2, 3};

    (void)state;
    for (int64_t chunksize = 1; chunksize < 4; chunksize++) {
        furrow_map_options options = options_of(chunksize, FURROW_MAP_UNBOUNDED, false);
        furrow_input *inputs[2] = {furrow_input_ints(ints, 3), furrow_input_range(10, -100, -10)};
        furrow_input *input = furrow_input_zip(inputs, 2);
        furrow_results *results;
        int64_t value;

        assert_null(inputs[0]);
        assert_null(inputs[1]);
        results = furrow_map(pool, front_add, &options, &input);
        for (int64_t i = 0; i < 3; i++) {
            assert_int_equal(furrow_results_next(results, "i", &value), FURROW_OK);
            assert_int_equal(value, ints[i] + 10 - 10 * i);
        }
        assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
        furrow_results_close(&results);
    }
}

static void zipped_calls_may_have_many_arguments(void **state) {
    enum { COUNT = 40 };
    const int64_t ints[] = {7, 8};

    (void)state;
    for (int64_t chunksize = 1; chunksize < 3; chunksize++) {
        furrow_map_options options = options_of(chunksize, FURROW_MAP_UNBOUNDED, false);
        furrow_input *inputs[COUNT], *input;
        furrow_results *results;
        const void *data;
        size_t size;

        for (int i = 0; i < COUNT; i++) {
            inputs[i] = furrow_input_ints(ints, 2);
        }
        input = furrow_input_zip(inputs, COUNT);
        results = furrow_map(pool, front_count_arguments, &options, &input);
        for (int i = 0; i < 2; i++) {
            int64_t value;

            assert_int_equal(furrow_results_next(results, "i", &value), FURROW_OK);
            assert_int_equal(value, COUNT);
        }
        assert_int_equal(furrow_results_next_value(results, &data, &size), FURROW_EEND);
        furrow_results_close(&results);
    }
}

static void arrays_of_all_kinds_are_inputs(void **state) {
    const double doubles[] = {0.5, -1e300};
    const char *const strings[] = {"", "a", "a longer text than fits into thirty-one bytes"};
    const int64_t ints[] = {0, -1, 127, 128, 70000, INT64_MIN, INT64_MAX};

    (void)state;
    for (int64_t chunksize = 1; chunksize < 3; chunksize++) {
        furrow_map_options options = options_of(chunksize, FURROW_MAP_UNBOUNDED, false);
        furrow_input *input = furrow_input_doubles(doubles, 2);
        furrow_results *results = furrow_map(pool, front_identity, &options, &input);

        for (int i = 0; i < 2; i++) {
            double value;

            assert_int_equal(furrow_results_next(results, "d", &value), FURROW_OK);
            assert_true(value == doubles[i]);
        }
        furrow_results_close(&results);
        input = furrow_input_strings(strings, 3);
        results = furrow_map(pool, front_identity, &options, &input);
        for (int i = 0; i < 3; i++) {
            const char *one;

            assert_int_equal(furrow_results_next(results, "s", &one), FURROW_OK);
            assert_string_equal(one, strings[i]);
        }
        furrow_results_close(&results);
        input = furrow_input_ints(ints, 7);
        results = furrow_map(pool, front_identity, &options, &input);
        for (int i = 0; i < 7; i++) {
            int64_t value;

            assert_int_equal(furrow_results_next(results, "i", &value), FURROW_OK);
            assert_true(value == ints[i]);
        }
        furrow_results_close(&results);
    }
}

static void ranges_end_before_their_stop_and_never_overflow(void **state) {
    const struct {
        int64_t start, stop, step, count;
    } cases[] = {
        {0, 10, 3, 4},
        {10, 0, -3, 4},
        {0, 0, 1, 0},
        {5, 0, 1, 0},
        {0, 5, -1, 0},
        {INT64_MAX - 1, INT64_MAX, 5, 1},
        {INT64_MIN + 1, INT64_MIN, -5, 1},
        {INT64_MIN, INT64_MAX, INT64_MAX, 3},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        furrow_input *input = furrow_input_range(cases[i].start, cases[i].stop, cases[i].step);
        furrow_results *results = furrow_map(pool, front_identity, NULL, &input);
        int64_t value;

        for (int64_t j = 0, expected = cases[i].start; j < cases[i].count; j++) {
            assert_int_equal(furrow_results_next(results, "i", &value), FURROW_OK);
            assert_true(value == expected);
            (void)__builtin_add_overflow(expected, cases[i].step, &expected);
        }
        assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
        furrow_results_close(&results);
    }
    assert_null(furrow_input_range(0, 1, 0));
    assert_int_equal(furrow_last_status(), FURROW_EINVAL);
}

static void no_input_and_empty_zips_give_no_results(void **state) {
    furrow_input *input = furrow_input_zip(NULL, 0);
    furrow_results *results = furrow_map(pool, front_square, NULL, &input);

    (void)state;
    take_squares(&results, 0, false);
    input = furrow_input_ints(NULL, 0);
    results = furrow_map(pool, front_square, NULL, &input);
    take_squares(&results, 0, false);
    furrow_input_free(NULL);
    furrow_input_free(&input);
    furrow_results_close(NULL);
    furrow_results_close(&results);
}

static void a_map_without_buffersize_submits_though_nobody_iterates(void **state) {
    struct source source;
    furrow_input *input = source_input(&source, 500);
    furrow_results *results = furrow_map(pool, front_square, NULL, &input);
    furrow_executor_info info;

    (void)state;
    assert_int_equal(source.next, 500);
    do {
        sched_yield();
        furrow_executor_describe(pool, &info);
    } while (info.pending > 0);
    furrow_results_close(&results);
    assert_int_equal(source.closed, 1);
}

static void exactly_buffersize_inputs_are_pulled_ahead(void **state) {
    const int64_t buffersizes[] = {1, 2, 5, 100};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        for (int unordered = 0; unordered < 2; unordered++) {
            furrow_map_options options = options_of(1, buffersizes[i], unordered);
            struct source source;
            furrow_input *input = source_input(&source, INT64_MAX);
            furrow_results *results = furrow_map(pool, front_square, &options, &input);
            int64_t value;

            for (int64_t taken = 0; taken < 20; taken++) {
                assert_int_equal(source.next, taken + buffersizes[i]);
                assert_int_equal(furrow_results_next(results, "i", &value), FURROW_OK);
            }
            furrow_results_close(&results);
            assert_int_equal(source.closed, 1);
        }
    }
}

static void buffersize_holds_for_chunks_too(void **state) {
    (void)state;
    for (int64_t chunksize = 2; chunksize < 12; chunksize += 3) {
        furrow_map_options options = options_of(chunksize, 10, false);
        struct source source;
        furrow_input *input = source_input(&source, INT64_MAX);
        furrow_results *results = furrow_map(pool, front_square, &options, &input);
        int64_t value;

        for (int64_t taken = 0; taken < 100; taken++) {
            assert_true(source.next <= taken + 10);
            assert_int_equal(furrow_results_next(results, "i", &value), FURROW_OK);
            assert_int_equal(value, taken * taken);
        }
        furrow_results_close(&results);
    }
}

static void several_infinite_inputs_are_zipped_lazily(void **state) {
    furrow_map_options options = options_of(1, 3, false);
    struct source one, two;
    furrow_input *inputs[2] = {source_input(&one, INT64_MAX), source_input(&two, INT64_MAX)};
    furrow_input *input = furrow_input_zip(inputs, 2);
    furrow_results *results = furrow_map(pool, front_add, &options, &input);
    int64_t value;

    (void)state;
    for (int64_t i = 0; i < 50; i++) {
        assert_int_equal(furrow_results_next(results, "i", &value), FURROW_OK);
        assert_int_equal(value, 2 * i);
    }
    furrow_results_close(&results);
    assert_int_equal(one.closed + two.closed, 2);
}

static void sizes_below_one_are_refused(void **state) {
    const int64_t sizes[] = {0, -1, -100};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        furrow_input *input = furrow_input_range(0, 3, 1);
        furrow_map_options options = FURROW_MAP_OPTIONS_INIT;

        options.chunksize = sizes[i];
        assert_null(furrow_map(pool, front_square, &options, &input));
        assert_int_equal(furrow_last_status(), FURROW_EINVAL);
        options.chunksize = 1;
        options.buffersize = sizes[i];
        assert_null(furrow_map(pool, front_square, &options, &input));
        assert_int_equal(furrow_last_status(), FURROW_EINVAL);
        assert_non_null(input);
        furrow_input_free(&input);
        assert_null(input);
    }
}

/* ---------------------------------------------------------------------- errors */

static void an_error_comes_at_its_position_and_iteration_goes_on(void **state) {
    (void)state;
    for (int64_t chunksize = 1; chunksize < 8; chunksize += 3) {
        furrow_map_options options = options_of(chunksize, FURROW_MAP_UNBOUNDED, false);
        furrow_input *input = furrow_input_range(0, 10, 1);
        furrow_results *results = furrow_map(pool, front_fail_at_5, &options, &input);
        int64_t value;

        for (int64_t i = 0; i < 10; i++) {
            furrow_status status = furrow_results_next(results, "i", &value);

            assert_int_equal(furrow_results_index(results), i);
            if (i == 5) {
                const furrow_error *error = furrow_results_error(results);

                assert_int_equal(status, FURROW_EFAILED);
                assert_non_null(error);
                assert_int_equal(error->kind, FURROW_ERROR_TASK);
                assert_int_equal(error->code, 55);
                assert_string_equal(error->message, "five");
                assert_string_equal(error->function, "front_fail_at_5");
            } else {
                assert_int_equal(status, FURROW_OK);
                assert_int_equal(value, i);
                assert_null(furrow_results_error(results));
            }
        }
        assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
        assert_null(furrow_results_error(results));
        furrow_results_close(&results);
    }
}

static void a_result_of_another_shape_is_passed_over(void **state) {
    furrow_input *input = furrow_input_range(0, 3, 1);
    furrow_results *results = furrow_map(pool, front_identity, NULL, &input);
    const char *text;
    int64_t value;

    (void)state;
    assert_int_equal(furrow_results_next(results, "s", &text), FURROW_EARGS);
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_OK);
    assert_int_equal(value, 1);
    assert_int_equal(furrow_results_next(results, NULL), FURROW_OK);
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
    furrow_results_close(&results);
}

static void an_input_that_fails_ends_the_map_there(void **state) {
    const int64_t buffersizes[] = {FURROW_MAP_UNBOUNDED, 2};

    (void)state;
    for (int64_t chunksize = 1; chunksize < 5; chunksize++) {
        for (int b = 0; b < 2; b++) {
            furrow_map_options options = options_of(chunksize, buffersizes[b], false);
            struct source source;
            furrow_input *input = source_input(&source, INT64_MAX);
            furrow_results *results;
            int64_t value;

            source.fail_at = 7;
            results = furrow_map(pool, front_square, &options, &input);
            assert_non_null(results);
            for (int64_t i = 0; i < 7; i++) {
                assert_int_equal(furrow_results_next(results, "i", &value), FURROW_OK);
                assert_int_equal(value, i * i);
            }
            assert_int_equal(furrow_results_next(results, "i", &value), FURROW_ESYSTEM);
            assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
            furrow_results_close(&results);
            assert_int_equal(source.closed, 1);
        }
    }
}

static furrow_status bad_item(void *user, furrow_buffer *item) {
    (void)user;
    return furrow_buffer_write(item, "\x92\x01", 2) == 0 ? FURROW_OK : FURROW_ENOMEM;
}

static void an_input_that_is_no_values_ends_the_map_there(void **state) {
    furrow_input *input = furrow_input_callback(bad_item, NULL, NULL);
    furrow_results *results = furrow_map(pool, front_square, NULL, &input);
    int64_t value;

    (void)state;
    assert_non_null(results);
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EARGS);
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
    furrow_results_close(&results);
}

static void cancelled_calls_are_told(void **state) {
    (void)state;
    for (int unordered = 0; unordered < 2; unordered++) {
        furrow_map_options options = options_of(2, FURROW_MAP_UNBOUNDED, unordered);
        furrow_executor *own = furrow_open("threads:1", NULL);
        furrow_input *input = furrow_input_range(0, 5, 1);
        furrow_results *results;
        furrow_future *hold;
        int64_t value;

        gate.open = false;
        hold = furrow_submit(own, front_hold, "p", &gate);
        gate_wait(&gate, unordered + 1);
        results = furrow_map(own, front_square, &options, &input);
        assert_int_equal(furrow_shutdown(own, FURROW_SHUTDOWN_CANCEL_FUTURES), FURROW_OK);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(furrow_results_next(results, "i", &value), FURROW_ECANCELLED);
            assert_null(furrow_results_error(results));
        }
        assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
        furrow_results_close(&results);
        gate_open(&gate);
        assert_int_equal(furrow_close(&own), FURROW_OK);
        furrow_future_unref(&hold);
    }
}

static void a_map_on_a_closed_executor_is_refused_and_the_input_stays(void **state) {
    furrow_executor *own = furrow_open("threads:1", NULL);
    furrow_input *input = furrow_input_range(0, 5, 1);

    (void)state;
    assert_int_equal(furrow_shutdown(own, 0), FURROW_OK);
    assert_null(furrow_map(own, front_square, NULL, &input));
    assert_int_equal(furrow_last_status(), FURROW_ESHUTDOWN);
    assert_non_null(input);
    furrow_input_free(&input);
    assert_int_equal(furrow_close(&own), FURROW_OK);
}

static void a_lazy_map_outlives_its_executor(void **state) {
    const bool closes[] = {false, true};

    (void)state;
    for (int i = 0; i < 2; i++) {
        furrow_map_options options = options_of(1, 3, false);
        furrow_executor *own = furrow_open("threads:1", NULL);
        furrow_input *input = furrow_input_range(0, 10, 1);
        furrow_results *results = furrow_map(own, front_square, &options, &input);
        int64_t value;

        if (closes[i]) {
            assert_int_equal(furrow_close(&own), FURROW_OK);
        } else {
            assert_int_equal(furrow_shutdown(own, 0), FURROW_OK);
        }
        for (int64_t j = 0; j < 3; j++) {
            assert_int_equal(furrow_results_next(results, "i", &value), FURROW_OK);
            assert_int_equal(value, j * j);
        }
        assert_int_equal(furrow_results_next(results, "i", &value), FURROW_ESHUTDOWN);
        assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
        furrow_results_close(&results);
        assert_int_equal(furrow_close(&own), FURROW_OK);
    }
}

/* ----------------------------------------------------------------- time and closing */

static void when_its_time_is_over_the_rest_is_cancelled(void **state) {
    (void)state;
    for (int unordered = 0; unordered < 2; unordered++) {
        furrow_map_options options = options_of(1, FURROW_MAP_UNBOUNDED, unordered);
        furrow_executor *own = furrow_open("threads:1", NULL);
        furrow_partial *partial = furrow_partial_new(front_hold_at_1, "p", &gate);
        furrow_input *input = furrow_input_range(0, 5, 1);
        furrow_executor_info info;
        furrow_results *results;
        int64_t value;

        options.timeout = 0.05;
        results = furrow_map_partial(own, partial, &options, &input);
        assert_int_equal(furrow_results_next(results, "i", &value), FURROW_OK);
        assert_int_equal(value, 0);
        assert_int_equal(furrow_results_next(results, "i", &value), FURROW_ETIMEOUT);
        assert_int_equal(furrow_last_status(), FURROW_ETIMEOUT);
        assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EEND);
        furrow_executor_describe(own, &info);
        assert_int_equal(info.pending, 1);
        furrow_results_close(&results);
        gate_open(&gate);
        assert_int_equal(furrow_close(&own), FURROW_OK);
        furrow_partial_free(&partial);
        gate.open = false;
    }
}

static void a_timeout_of_zero_only_looks(void **state) {
    furrow_map_options options = options_of(1, FURROW_MAP_UNBOUNDED, false);
    furrow_partial *partial = furrow_partial_new(front_hold_at_1, "p", &gate);
    furrow_input *input = furrow_input_range(1, 2, 1);
    furrow_results *results;
    int64_t value;

    (void)state;
    options.timeout = 0;
    results = furrow_map_partial(pool, partial, &options, &input);
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_ETIMEOUT);
    furrow_results_close(&results);
    furrow_partial_free(&partial);
}

static void a_task_that_fails_with_a_timeout_is_told_from_the_maps_own(void **state) {
    const int64_t code = FURROW_ETIMEOUT;
    furrow_input *input = furrow_input_ints(&code, 1);
    furrow_results *results = furrow_map(pool, front_fail, NULL, &input);
    int64_t value;

    (void)state;
    assert_int_equal(furrow_results_next(results, "i", &value), FURROW_EFAILED);
    assert_int_equal(furrow_results_error(results)->code, FURROW_ETIMEOUT);
    furrow_results_close(&results);
}

static void closing_early_cancels_what_has_not_started(void **state) {
    const int64_t buffersizes[] = {FURROW_MAP_UNBOUNDED, 50};

    (void)state;
    for (int i = 0; i < 8; i++) {
        furrow_map_options options = options_of(i / 4 * 3 + 1, buffersizes[i % 2], i / 2 % 2);
        furrow_executor *own = furrow_open("threads:1", NULL);
        furrow_partial *partial = furrow_partial_new(front_hold_at_1, "p", &gate);
        struct source source;
        furrow_input *input = source_input(&source, 100);
        furrow_executor_info info;
        furrow_results *results;

        gate.open = false;
        gate.inside = 0;
        results = furrow_map_partial(own, partial, &options, &input);
        gate_wait(&gate, 1);
        furrow_results_close(&results);
        assert_int_equal(source.closed, 1);
        furrow_executor_describe(own, &info);
        assert_int_equal(info.pending, 1);
        gate_open(&gate);
        assert_int_equal(furrow_close(&own), FURROW_OK);
        furrow_partial_free(&partial);
    }
}

static void a_map_keeps_no_reference_to_what_it_has_yielded(void **state) {
    furrow_input *input = furrow_input_range(100000, 100004, 1);
    furrow_results *results = furrow_map(pool, front_string, NULL, &input);
    const char *text;
    size_t size;

    (void)state;
    /* What was handed out is freed by the next call: the address sanitizer and valgrind look. */
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(furrow_results_next(results, "S", &text, &size), FURROW_OK);
        assert_int_equal(size, 100000 + i);
        assert_int_equal(text[size - 1], 'x');
    }
    furrow_results_close(&results);
}

/* ----------------------------------------------------------------------- the rest */

static void names_and_partials_are_mapped(void **state) {
    (void)state;
    for (int64_t chunksize = 1; chunksize < 4; chunksize += 2) {
        furrow_map_options options = options_of(chunksize, FURROW_MAP_UNBOUNDED, false);
        furrow_partial *partial = furrow_partial_new(front_add, "i", (int64_t)100);
        furrow_input *input = furrow_input_range(0, 10, 1);
        furrow_results *results = furrow_map_by_name(pool, "front_square", &options, &input);
        int64_t value;

        take_squares(&results, 10, false);
        input = furrow_input_range(0, 10, 1);
        results = furrow_map_partial(pool, partial, &options, &input);
        furrow_partial_free(&partial);
        for (int64_t i = 0; i < 10; i++) {
            assert_int_equal(furrow_results_next(results, "i", &value), FURROW_OK);
            assert_int_equal(value, 100 + i);
        }
        furrow_results_close(&results);
        input = furrow_input_range(0, 10, 1);
        assert_null(furrow_map_by_name(pool, "no_such_task", &options, &input));
        assert_int_equal(furrow_last_status(), FURROW_ENOFUNCTION);
        furrow_input_free(&input);
    }
}

static void maps_take_options_of_tasks(void **state) {
    furrow_submit_options submit = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_map_options options = options_of(1, FURROW_MAP_UNBOUNDED, false);

    (void)state;
    submit.priority = 4;
    submit.retries = 1;
    submit.queue_timeout = 100;
    options.submit = &submit;
    for (int i = 0; i < 4; i++) {
        furrow_input *input = furrow_input_range(0, 500, 1);
        furrow_results *results;

        options.chunksize = i % 2 * 5 + 1;
        options.unordered = i / 2;
        results = furrow_map(pool, front_square, &options, &input);
        take_squares(&results, 500, i / 2);
    }
    submit.priority = 1000;
    {
        furrow_input *input = furrow_input_range(0, 500, 1);

        assert_null(furrow_map(pool, front_square, &options, &input));
        assert_int_equal(furrow_last_status(), FURROW_EINVAL);
        furrow_input_free(&input);
    }
}

static void maps_pass_the_gate_of_max_pending(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        furrow_map_options options = options_of(i % 2 * 4 + 1, FURROW_MAP_UNBOUNDED, i / 2);
        furrow_executor *own = furrow_open("threads:2?max_pending=3", NULL);
        furrow_input *input = furrow_input_range(0, 300, 1);
        furrow_results *results = furrow_map(own, front_square, &options, &input);

        take_squares(&results, 300, i / 2);
        assert_int_equal(furrow_close(&own), FURROW_OK);
    }
}

static void strings_live_until_the_next_call(void **state) {
    furrow_input *input = furrow_input_range(1, 5, 1);
    furrow_results *results = furrow_map(pool, front_string, NULL, &input);

    (void)state;
    for (size_t i = 1; i < 5; i++) {
        const char *text;

        assert_int_equal(furrow_results_next(results, "s", &text), FURROW_OK);
        assert_int_equal(strlen(text), i);
    }
    furrow_results_close(&results);
}

static void large_chunks_of_large_arguments_are_cut(void **state) {
    enum { COUNT = 12 };
    furrow_map_options options = options_of(COUNT, FURROW_MAP_UNBOUNDED, false);
    const char *strings[COUNT];
    char *text = malloc((4 << 20) + 1);
    furrow_input *input;
    furrow_results *results;

    (void)state;
    options.timeout = -1;
    memset(text, 'x', 4 << 20);
    text[4 << 20] = '\0';
    for (int i = 0; i < COUNT; i++) {
        strings[i] = text;
    }
    input = furrow_input_strings(strings, COUNT);
    results = furrow_map(pool, front_length, &options, &input);
    for (int i = 0; i < COUNT; i++) {
        int64_t value;

        assert_int_equal(furrow_results_next(results, "i", &value), FURROW_OK);
        assert_int_equal(value, 4 << 20);
    }
    furrow_results_close(&results);
    free(text);
}

static void mapping_without_memory_fails_and_leaves_nothing(void **state) {
    (void)state;
    for (int variant = 0; variant < 6; variant++) {
        furrow_map_options options = options_of(
            variant / 2 * 7 + 1, variant / 2 == 2 ? 30 : FURROW_MAP_UNBOUNDED, variant % 2);
        bool survived = false;

        for (long i = 0; !survived; i++) {
            furrow_input *inputs[2] = {furrow_input_range(0, 100, 1),
                                       furrow_input_range(0, 200, 1)};
            furrow_input *input = furrow_input_zip(inputs, 2);
            furrow_results *results;
            furrow_status status;
            int64_t value;

            fail_alloc_only(i);
            results = furrow_map(pool, front_add, &options, &input);
            if (results == NULL) {
                assert_int_equal(furrow_last_status(), FURROW_ENOMEM);
            } else {
                while ((status = furrow_results_next(results, "i", &value)) == FURROW_OK) {
                }
                assert_true(status == FURROW_EEND || status == FURROW_ENOMEM);
                survived = status == FURROW_EEND && !fail_alloc_failed();
            }
            fail_alloc_never();
            furrow_results_close(&results);
            furrow_input_free(&input);
        }
    }
}

static void inputs_without_memory_are_null(void **state) {
    furrow_input *inputs[1] = {furrow_input_ints(NULL, 0)};

    (void)state;
    fail_alloc_after(0);
    assert_null(furrow_input_ints(NULL, 0));
    assert_null(furrow_input_doubles(NULL, 0));
    assert_null(furrow_input_strings(NULL, 0));
    assert_null(furrow_input_range(0, 1, 1));
    assert_null(furrow_input_callback(source_next, NULL, NULL));
    assert_null(furrow_input_zip(inputs, 1));
    assert_non_null(inputs[0]);
    assert_null(furrow_partial_new(front_add, "i", (int64_t)1));
    fail_alloc_never();
    furrow_input_free(&inputs[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(results_come_in_the_order_of_the_inputs),
        TEST(all_chunks_buffers_and_orders_give_the_same_results),
        TEST(several_inputs_are_zipped_to_the_shortest),
        TEST(zipped_calls_may_have_many_arguments),
        TEST(arrays_of_all_kinds_are_inputs),
        TEST(ranges_end_before_their_stop_and_never_overflow),
        TEST(no_input_and_empty_zips_give_no_results),
        TEST(a_map_without_buffersize_submits_though_nobody_iterates),
        TEST(exactly_buffersize_inputs_are_pulled_ahead),
        TEST(buffersize_holds_for_chunks_too),
        TEST(several_infinite_inputs_are_zipped_lazily),
        TEST(sizes_below_one_are_refused),
        TEST(an_error_comes_at_its_position_and_iteration_goes_on),
        TEST(a_result_of_another_shape_is_passed_over),
        TEST(an_input_that_fails_ends_the_map_there),
        TEST(an_input_that_is_no_values_ends_the_map_there),
        TEST(cancelled_calls_are_told),
        TEST(a_map_on_a_closed_executor_is_refused_and_the_input_stays),
        TEST(a_lazy_map_outlives_its_executor),
        TEST(when_its_time_is_over_the_rest_is_cancelled),
        TEST(a_timeout_of_zero_only_looks),
        TEST(a_task_that_fails_with_a_timeout_is_told_from_the_maps_own),
        TEST(closing_early_cancels_what_has_not_started),
        TEST(a_map_keeps_no_reference_to_what_it_has_yielded),
        TEST(names_and_partials_are_mapped),
        TEST(maps_take_options_of_tasks),
        TEST(maps_pass_the_gate_of_max_pending),
        TEST(strings_live_until_the_next_call),
        TEST(large_chunks_of_large_arguments_are_cut),
        TEST(mapping_without_memory_fails_and_leaves_nothing),
        TEST(inputs_without_memory_are_null),
    };

    return cmocka_run_group_tests_name("client_map", tests, NULL, NULL);
}
