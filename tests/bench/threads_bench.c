/* Measures `threads:` through the public interface, with tasks that do nothing.
 *
 *     threads_bench [TASKS [THREADS [ROUNDS [CASE]]]]
 *
 * all      submit all tasks one by one, then read all results in order
 * window   the same with a window of 1,000 tasks outstanding
 * call     as `all`, with furrow_submit_call
 * options  as `window`, with options of its own (that change nothing)
 * urgent   as `window`, with a priority
 * map      10 times as many calls by a map in chunks of 100
 * map1     as many calls by a map, one a task
 * any      the same, unordered
 * complete as `all`, read by as_completed
 * trip     one outstanding: submit, wait, read; p50 and p99 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <furrow.h>

#include "base/clock.h"

static size_t count = 1000000;
static furrow_executor *pool;
static furrow_future **futures;

static int bench_noop(furrow_task *task) {
    int64_t value;

    if (furrow_task_args(task, "i", &value) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", value);
}
FURROW_TASK(bench_noop);

static void *noop(void *argument) {
    return argument;
}

static void fail(void) {
    fprintf(stderr, "%s\n", furrow_last_error());
    exit(1);
}

static double cpu_seconds(void) {
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6 +
           (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6;
}

static void report(const char *name, size_t tasks, uint64_t start_ns, double cpu) {
    double seconds = (double)(base_clock_ns() - start_ns) * 1e-9;
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    printf("%-8s %7.2f M tasks/s   %6.1f ns CPU each   %ld switches\n", name,
           (double)tasks / seconds * 1e-6, (cpu_seconds() - cpu) * 1e9 / (double)tasks,
           usage.ru_nvcsw + usage.ru_nivcsw);
}

static furrow_future *submit(size_t i) {
    furrow_future *future = furrow_submit(pool, bench_noop, "i", (int64_t)i);

    if (future == NULL) {
        fail();
    }
    return future;
}

static void read_result(furrow_future **future, size_t i) {
    int64_t value;

    if (furrow_future_result(*future, -1, "i", &value) != FURROW_OK || value != (int64_t)i) {
        fail();
    }
    furrow_future_unref(future);
}

static void all(void) {
    double cpu = cpu_seconds();
    uint64_t start = base_clock_ns();
    uint64_t submitted;

    for (size_t i = 0; i < count; i++) {
        futures[i] = submit(i);
    }
    submitted = base_clock_ns();
    for (size_t i = 0; i < count; i++) {
        read_result(&futures[i], i);
    }
    report("all", count, start, cpu);
    printf("%-8s %7.1f ns a submit\n", "", (double)(submitted - start) / (double)count);
}

/* window keeps WINDOW tasks outstanding, submitted with `options`. */
static void keep_window(const char *name, const furrow_submit_options *options) {
    enum { WINDOW = 1000 };
    double cpu = cpu_seconds();
    uint64_t start = base_clock_ns();

    for (size_t i = 0; i < count + WINDOW; i++) {
        furrow_future **future = &futures[i % WINDOW];

        if (i >= WINDOW) {
            read_result(future, i - WINDOW);
        }
        if (i < count) {
            *future = furrow_submit_with(pool, options, bench_noop, "i", (int64_t)i);
        }
    }
    report(name, count, start, cpu);
}

static void window(void) {
    keep_window("window", NULL);
}

static void with_options(void) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;

    keep_window("options", &options);
}

static void urgent(void) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;

    options.priority = 1;
    keep_window("urgent", &options);
}

static void calls(void) {
    double cpu = cpu_seconds();
    uint64_t start = base_clock_ns();
    void *pointer;

    for (size_t i = 0; i < count; i++) {
        futures[i] = furrow_submit_call(pool, noop, &futures[i]);
        if (futures[i] == NULL) {
            fail();
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (furrow_future_result(futures[i], -1, "p", &pointer) != FURROW_OK ||
            pointer != &futures[i]) {
            fail();
        }
        furrow_future_unref(&futures[i]);
    }
    report("call", count, start, cpu);
}

static void map(const char *name, size_t calls, int64_t chunksize, bool unordered) {
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    furrow_input *input = furrow_input_range(0, (int64_t)calls, 1);
    double cpu = cpu_seconds();
    uint64_t start = base_clock_ns();
    uint64_t submitted;
    furrow_results *results;
    int64_t value;
    size_t got = 0;

    options.chunksize = chunksize;
    options.unordered = unordered;
    results = furrow_map(pool, bench_noop, &options, &input);
    submitted = base_clock_ns();
    if (results == NULL) {
        fail();
    }
    while (furrow_results_next(results, "i", &value) == FURROW_OK) {
        if (value != (int64_t)furrow_results_index(results)) {
            fail();
        }
        got++;
    }
    if (got != calls) {
        fail();
    }
    furrow_results_close(&results);
    report(name, calls, start, cpu);
    printf("%-8s %7.1f ns to submit one\n", "", (double)(submitted - start) / (double)calls);
}

static void complete(void) {
    double cpu = cpu_seconds();
    uint64_t start = base_clock_ns();
    furrow_completed *completed;
    furrow_future *future;
    size_t got = 0;
    int64_t value;

    for (size_t i = 0; i < count; i++) {
        futures[i] = submit(i);
    }
    completed = furrow_as_completed(futures, count, -1);
    for (size_t i = 0; i < count; i++) {
        furrow_future_unref(&futures[i]);
    }
    while (furrow_completed_next(completed, &future) == FURROW_OK) {
        if (furrow_future_result(future, 0, "i", &value) != FURROW_OK) {
            fail();
        }
        furrow_future_unref(&future);
        got++;
    }
    if (got != count) {
        fail();
    }
    furrow_completed_free(&completed);
    report("complete", count, start, cpu);
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void trips(void) {
    enum { TIMES = 5000 };
    static uint64_t laps[TIMES];

    for (int i = 0; i < TIMES; i++) {
        uint64_t start = base_clock_ns();
        furrow_future *future = submit((size_t)i);

        read_result(&future, (size_t)i);
        laps[i] = base_clock_ns() - start;
    }
    qsort(laps, TIMES, sizeof laps[0], compare);
    printf("%-8s p50 %6.1f us   p99 %6.1f us\n", "trip", (double)laps[TIMES / 2] * 1e-3,
           (double)laps[TIMES * 99 / 100] * 1e-3);
}

static void run_map(void) {
    map("map", count * 10, 100, false);
}
static void run_map1(void) {
    map("map1", count, 1, false);
}
static void run_any(void) {
    map("any", count, 1, true);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"all", all},           {"window", window}, {"call", calls},    {"options", with_options},
    {"urgent", urgent},     {"map", run_map},   {"map1", run_map1}, {"any", run_any},
    {"complete", complete}, {"trip", trips},
};

int main(int argc, char **argv) {
    furrow_options options = FURROW_OPTIONS_INIT;
    int rounds = argc > 3 ? atoi(argv[3]) : 3;

    count = argc > 1 ? strtoul(argv[1], NULL, 10) : count;
    futures = calloc(count, sizeof(furrow_future *));
    options.max_workers = argc > 2 ? atoi(argv[2]) : 2;
    pool = furrow_open("threads:", &options);
    if (pool == NULL || futures == NULL) {
        fail();
    }
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        for (int i = 0; i < rounds && (argc <= 4 || strcmp(argv[4], cases[c].name) == 0); i++) {
            cases[c].run();
        }
    }
    (void)furrow_close(&pool);
    free(futures);
    return 0;
}
