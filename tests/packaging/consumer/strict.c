/* Tasks and calls as users write them, for compilers of C and C++ that warn of every conversion. Prints
 * "0.5 7 6 1 text in attempt 1". Compiled by check.sh. */
#include <furrow.h>
#include <inttypes.h>
#include <stdio.h>

static int nap(furrow_task *task) {
    double seconds;
    int status = furrow_task_args(task, "d", &seconds);

    if (status != FURROW_OK) {
        return status;
    }
    return furrow_task_sleep(task, seconds);
}
FURROW_TASK(nap);

static int ignore_arguments(furrow_task *task) {
    int64_t ignored;

    return furrow_task_args(task, "i", &ignored);
}
FURROW_TASK(ignore_arguments);

static int half(furrow_task *task) {
    double value;

    if (furrow_task_args(task, "d", &value) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (value < 0) {
        return furrow_task_fail(task, 7, "%g is negative", value);
    }
    return furrow_task_return(task, "d", value / 2);
}
FURROW_TASK(half);

static int text(furrow_task *task) {
    return furrow_task_returnf(task, "%s in attempt %u", furrow_task_name(task),
                               furrow_task_attempt(task));
}
FURROW_TASK(text);

static int packed(furrow_task *task) {
    size_t size, count;
    const void *data = furrow_task_args_raw(task, &size, &count);

    return count == 1 ? furrow_task_return_packed(task, data, size) : FURROW_EARGS;
}
FURROW_TASK(packed);

static furrow_status count_up(furrow_future *future, void *user) {
    (void)future;
    ++*(int *)user;
    return FURROW_OK;
}

static int complain(const char *what) {
    fprintf(stderr, "%s: %s: %s\n", what, furrow_status_text(furrow_last_status()),
            furrow_last_error());
    return 1;
}

static int expect_map(furrow_executor *pool) {
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    furrow_partial *partial = furrow_partial_new(packed, "");
    const int64_t values[] = {4, 5};
    furrow_input *input = furrow_input_ints(values, 2);
    furrow_results *results;
    int64_t value;

    options.chunksize = 2;
    results = furrow_map_partial(pool, partial, &options, &input);
    for (int64_t i = 4; i <= 5; i++) {
        if (furrow_results_next(results, "i", &value) != FURROW_OK || value != i) {
            return complain("map");
        }
    }
    furrow_results_close(&results);
    furrow_partial_free(&partial);
    return 0;
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    furrow_options options = FURROW_OPTIONS_INIT;
    furrow_submit_options urgent = FURROW_SUBMIT_OPTIONS_INIT;
    const furrow_error *error = NULL;
    const char *line = NULL;
    double value = 0;
    int calls = 0;

    options.max_workers = 1;
    urgent.priority = 1;
    FURROW_SCOPED furrow_executor *pool = furrow_open(argc > 1 ? argv[1] : NULL, &options);
    if (pool == NULL) {
        return complain("open");
    }
    furrow_future *futures[] = {
        furrow_submit(pool, half, "d", 1.0),
        furrow_submit(pool, half, "d", -1.0),
        furrow_submit_with(pool, &urgent, nap, "d", 0.001),
        furrow_submit(pool, ignore_arguments, "s", "no integer"),
        furrow_submit(pool, text, ""),
    };
    const size_t count = sizeof futures / sizeof futures[0];
    if (furrow_wait(futures, count, 30.0, FURROW_ALL_COMPLETED, NULL, NULL) != FURROW_OK ||
        furrow_future_result(futures[0], 0, "d", &value) != FURROW_OK ||
        furrow_future_error(futures[1], 0, &error) != FURROW_OK || error == NULL ||
        furrow_future_result(futures[2], 0, "n") != FURROW_OK ||
        furrow_future_result(futures[4], 0, "s", &line) != FURROW_OK ||
        furrow_future_add_done_callback(futures[0], count_up, &calls) != FURROW_OK) {
        return complain("the tasks");
    }
    printf("%g %" PRId32, value, error->code);
    if (furrow_future_error(futures[3], 0, &error) != FURROW_OK || error == NULL) {
        return complain("arguments");
    }
    printf(" %" PRId32 " %d %s\n", error->code, calls, line);
    for (size_t i = 0; i < count; i++) {
        furrow_future_unref(&futures[i]);
    }
    return expect_map(pool);
}
