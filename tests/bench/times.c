/* Times of single tasks. */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>

static bool one_round_trip(furrow_executor *executor, int64_t i) {
    int64_t value = -1;
    furrow_future *future = furrow_submit(executor, bench_noop, "i", i);
    bool good =
        future != NULL && furrow_future_result(future, -1, "i", &value) == FURROW_OK && value == i;

    furrow_future_unref(&future);
    return good;
}

/* The median of submit to result with one task outstanding; p99 beside it. */
static double round_trip(const struct bench_case *self) {
    struct bench_pool pool;
    int64_t count = bench_count(self->count);
    double *times = calloc((size_t)count, sizeof *times);
    bool good = true;

    if (times == NULL || !bench_open(&pool, self->url, (int)self->parameter)) {
        free(times);
        return -1;
    }
    for (int64_t i = -1000; good && i < count; i++) {
        double start = bench_now();
        good = one_round_trip(pool.executor, i);
        if (i >= 0) {
            times[i] = (bench_now() - start) * 1e6;
        }
    }
    bench_close(&pool);
    double median = good ? bench_percentile(times, (size_t)count, 0.5) : -1;
    if (good) {
        bench_also(self, "_p99", bench_percentile(times, (size_t)count, 0.99), "us");
    } else {
        fprintf(stderr, "furrow-bench: round trip: %s\n", furrow_last_error());
    }
    free(times);
    return median;
}

/* What submit and reading a result cost the caller alone: the results are all there when read. */
static double caller_cost(const struct bench_case *self) {
    struct bench_pool pool;
    int64_t count = bench_count(self->count), value;
    furrow_future **futures = calloc((size_t)count, sizeof *futures);
    double submit = -1;
    bool good = true;

    if (futures == NULL || !bench_open(&pool, self->url, (int)self->parameter)) {
        free(futures);
        return -1;
    }
    for (int round = 0; good && round < 2; round++) { /* the first one warms the memory up */
        double start = bench_now();
        for (int64_t i = 0; i < count; i++) {
            futures[i] = furrow_submit(pool.executor, bench_noop, "i", i);
            good = good && futures[i] != NULL;
        }
        submit = (bench_now() - start) * 1e9 / (double)count;
        for (int64_t i = 0; good && i < count; i++) {
            good = furrow_future_wait(futures[i], -1) == FURROW_OK;
        }
        start = bench_now();
        for (int64_t i = 0; i < count; i++) {
            good = good && furrow_future_result(futures[i], 0, "i", &value) == FURROW_OK;
            furrow_future_unref(&futures[i]);
        }
        if (round == 1) {
            bench_also(self, ".result", (bench_now() - start) * 1e9 / (double)count, "ns");
        }
    }
    bench_close(&pool);
    free(futures);
    return good ? submit : -1;
}

const struct bench_case bench_time_cases[] = {
    {"threads.rtt_p50", "us", round_trip, "threads", 20000, 2},
    {"processes.rtt_p50", "us", round_trip, "processes", 20000, 2},
    {"tcp.rtt_p50", "us", round_trip, "tcp", 20000, 2},
    {"tcp_curve.rtt_p50", "us", round_trip, "tcp_curve", 20000, 2},
    {"ipc.rtt_p50", "us", round_trip, "ipc", 20000, 2},
    {"threads.submit", "ns", caller_cost, "threads", 200000, 1},
    {"processes.submit", "ns", caller_cost, "processes", 200000, 1},
    {NULL, NULL, NULL, NULL, 0, 0},
};
