/* Fairness: a client's few tasks while another one has very many queued. */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WORKERS = 2, TASKS = 10, IDLE_ROUNDS = 200, ROUNDS_MAX = 1000 };

/* The time until TASKS no-ops that were submitted together are all back. */
static double few_us(furrow_executor *executor) {
    furrow_future *few[TASKS] = {NULL};
    double start = bench_now();
    bool good = bench_submit_and_read(executor, few, TASKS);

    bench_unref_all(few, TASKS);
    return good ? (bench_now() - start) * 1e6 : -1;
}

/* Up to `most` of these, until `last` (if there is one) is done. Returns how many; 0: failed. */
static int rounds(furrow_executor *executor, int most, const furrow_future *last, double *times) {
    int count = 0;

    while (count < most && (last == NULL || !furrow_future_done(last))) {
        times[count] = few_us(executor);
        if (times[count++] < 0) {
            return 0;
        }
        usleep(1000);
    }
    return count;
}

static double fair_p99(const struct bench_case *self) {
    struct bench_pool pool;
    int64_t count = bench_count(self->count), submitted = 0;
    double times[ROUNDS_MAX], value = -1;
    furrow_future **futures = calloc((size_t)count, sizeof *futures);

    if (futures == NULL || !bench_open(&pool, self->url, WORKERS)) {
        free(futures);
        return -1;
    }
    furrow_executor *other = furrow_open(bench_fleet_url(), NULL);
    int idle_rounds = other != NULL ? rounds(other, IDLE_ROUNDS, NULL, times) : 0;
    double idle = idle_rounds > 0 ? bench_percentile(times, (size_t)idle_rounds, 0.5) : -1;
    for (; idle > 0 && submitted < count; submitted++) {
        futures[submitted] = furrow_submit(pool.executor, bench_spin, "i", (int64_t)1000);
        if (futures[submitted] == NULL) {
            break;
        }
    }
    int done =
        idle > 0 && submitted == count ? rounds(other, ROUNDS_MAX, futures[count - 1], times) : 0;
    if (done > 0) {
        value = bench_percentile(times, (size_t)done, 0.99);
        bench_also(self, ".p50", bench_percentile(times, (size_t)done, 0.5), "us");
        bench_also(self, ".idle", idle, "us");
        bench_also(self, ".by_idle", value / idle, "x");
        bench_also(self, ".rounds", done, "count");
    } else {
        bench_complain("fair");
    }
    furrow_close(&other);
    furrow_shutdown(pool.executor, FURROW_SHUTDOWN_CANCEL_FUTURES);
    bench_unref_all(futures, count);
    bench_close(&pool);
    free(futures);
    return value;
}

const struct bench_case bench_load_cases[] = {
    {"tcp.fair_p99", "us", fair_p99, "tcp", 1000000, 0},
    {NULL, NULL, NULL, NULL, 0, 0},
};
