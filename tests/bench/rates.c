/* Throughput: many tasks at once. */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { WORKERS = 2 };

static double own_cpu_seconds(void) {
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static bool complain(const char *what) {
    fprintf(stderr, "furrow-bench: %s: %s\n", what, furrow_last_error());
    return false;
}

/* Submits `count` no-ops one by one, then reads every result, and checks it. */
static bool submit_and_read(furrow_executor *executor, furrow_future **futures, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        futures[i] = furrow_submit(executor, bench_noop, "i", i);
        if (futures[i] == NULL) {
            return complain("submit");
        }
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t value = -1;
        if (furrow_future_result(futures[i], -1, "i", &value) != FURROW_OK || value != i) {
            return complain("result");
        }
        furrow_future_unref(&futures[i]);
    }
    return true;
}

static double noop_rate(const struct bench_case *self) {
    struct bench_pool pool;
    int64_t count = bench_count(self->count);
    furrow_future **futures = calloc((size_t)count, sizeof *futures);
    double rate = -1;

    if (futures == NULL || !bench_open(&pool, self->url, WORKERS)) {
        free(futures);
        return -1;
    }
    int64_t warm = count < 20000 ? count : 20000;
    double own = 0, broker = 0, children = 0, elapsed = 0;
    if (submit_and_read(pool.executor, futures, warm)) {
        own = own_cpu_seconds();
        broker = bench_cpu_seconds(bench_broker_pid());
        children = bench_children_cpu_seconds();
        double start = bench_now();
        if (submit_and_read(pool.executor, futures, count)) {
            elapsed = bench_now() - start;
            rate = (double)count / elapsed;
        }
    }
    if (rate > 0) {
        double n = (double)count / 1e6;
        own = own_cpu_seconds() - own;
        broker = bench_cpu_seconds(bench_broker_pid()) - broker;
        children = bench_children_cpu_seconds() - children;
        bench_also(self, ".cpu_client", own / n, "us");
        if (bench_broker_pid() > 0) {
            bench_also(self, ".cpu_broker", broker / n, "us");
        }
        bench_also(self, ".cpu_workers", (children - broker) / n, "us");
        bench_also(self, ".cpu", (own + children) / n, "us");
    }
    bench_close(&pool);
    free(futures);
    return rate;
}

static double map_rate(const struct bench_case *self) {
    struct bench_pool pool;
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    int64_t count = bench_count(self->count), sum = 0, value;
    double rate = -1;

    if (!bench_open(&pool, self->url, WORKERS)) {
        return -1;
    }
    options.chunksize = self->parameter;
    double start = bench_now();
    furrow_input *input = furrow_input_range(0, count, 1);
    furrow_results *results = furrow_map(pool.executor, bench_noop, &options, &input);
    if (results == NULL) {
        complain("map");
        furrow_input_free(&input);
    } else {
        while (furrow_results_next(results, "i", &value) == FURROW_OK) {
            sum += value;
        }
        if (sum == count * (count - 1) / 2) {
            rate = (double)count / (bench_now() - start);
        } else {
            complain("map: wrong sum");
        }
    }
    furrow_results_close(&results);
    bench_close(&pool);
    return rate;
}

/* Echoes of a payload with a window outstanding. */
static double echo_rate(const struct bench_case *self) {
    struct bench_pool pool;
    enum { WINDOW_LARGE = 16, WINDOW_SMALL = 1000 };
    size_t size = (size_t)self->parameter;
    int64_t count = bench_count(self->count);
    int64_t window = size > 65536 ? WINDOW_LARGE : WINDOW_SMALL;
    furrow_future *futures[WINDOW_SMALL] = {NULL};
    char *payload = calloc(1, size);
    double rate = -1, start = 0;
    bool good = true;

    if (payload == NULL || !bench_open(&pool, self->url, WORKERS)) {
        free(payload);
        return -1;
    }
    for (int64_t i = -window; good && i < count + window; i++) {
        furrow_future **slot = &futures[(i + window) % window];
        if (*slot != NULL) {
            const void *back;
            size_t got = 0;
            good = furrow_future_result(*slot, -1, "B", &back, &got) == FURROW_OK && got == size;
            furrow_future_unref(slot);
        }
        if (i == 0) {
            start = bench_now();
        }
        if (good && i < count) {
            *slot = furrow_submit(pool.executor, bench_echo, "B", payload, size);
            good = *slot != NULL;
        }
    }
    if (good) {
        rate = (double)count / (bench_now() - start);
    } else {
        complain("echo");
    }
    for (int64_t i = 0; i < window; i++) {
        furrow_future_unref(&futures[i]);
    }
    bench_close(&pool);
    free(payload);
    return rate;
}

static double echo_bandwidth(const struct bench_case *self) {
    double rate = echo_rate(self);

    return rate < 0 ? rate : rate * (double)self->parameter / 1e9;
}

const struct bench_case bench_rate_cases[] = {
    {"threads.noop", "tasks/s", noop_rate, "threads", 1000000, 0},
    {"processes.noop", "tasks/s", noop_rate, "processes", 1000000, 0},
    {"tcp.noop", "tasks/s", noop_rate, "tcp", 1000000, 0},
    {"ipc.noop", "tasks/s", noop_rate, "ipc", 1000000, 0},
    {"threads.map_100", "tasks/s", map_rate, "threads", 10000000, 100},
    {"processes.map_100", "tasks/s", map_rate, "processes", 10000000, 100},
    {"tcp.map_100", "tasks/s", map_rate, "tcp", 10000000, 100},
    {"processes.echo_1kib", "tasks/s", echo_rate, "processes", 200000, 1 << 10},
    {"tcp.echo_1kib", "tasks/s", echo_rate, "tcp", 200000, 1 << 10},
    {"processes.echo_1mib", "GB/s", echo_bandwidth, "processes", 2000, 1 << 20},
    {"tcp.echo_1mib", "GB/s", echo_bandwidth, "tcp", 2000, 1 << 20},
    {"processes.queued_1000", "tasks/s", noop_rate, "processes", 1000, 0},
    {"processes.queued_10000", "tasks/s", noop_rate, "processes", 10000, 0},
    {"processes.queued_100000", "tasks/s", noop_rate, "processes", 100000, 0},
    {"processes.queued_1000000", "tasks/s", noop_rate, "processes", 1000000, 0},
    {"tcp.queued_1000", "tasks/s", noop_rate, "tcp", 1000, 0},
    {"tcp.queued_10000", "tasks/s", noop_rate, "tcp", 10000, 0},
    {"tcp.queued_100000", "tasks/s", noop_rate, "tcp", 100000, 0},
    {"tcp.queued_1000000", "tasks/s", noop_rate, "tcp", 1000000, 0},
    {NULL, NULL, NULL, NULL, 0, 0},
};
