/* Efficiency, memory and fairness under load. */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WORKERS = 2 };

static bool complain(const char *what) {
    fprintf(stderr, "furrow-bench: %s: %s\n", what, furrow_last_error());
    return false;
}

/* Which part of the machine's time is useful work when it runs tasks of `ns` each; < 0: failed. */
static double efficiency(furrow_executor *executor, int64_t ns, double seconds) {
    int64_t count = (int64_t)(seconds * 1e9 * WORKERS / (double)(ns + 500));
    furrow_future **futures = calloc((size_t)count, sizeof *futures);
    double start = bench_now(), result = -1;
    bool good = futures != NULL;

    for (int64_t i = 0; good && i < count; i++) {
        futures[i] = furrow_submit(executor, bench_spin, "i", ns);
        good = futures[i] != NULL;
    }
    for (int64_t i = 0; good && i < count; i++) {
        good = furrow_future_result(futures[i], -1, NULL) == FURROW_OK;
    }
    if (good) {
        result = (double)count * (double)ns / ((bench_now() - start) * 1e9 * WORKERS);
    } else {
        complain("efficiency");
    }
    for (int64_t i = 0; futures != NULL && i < count; i++) {
        furrow_future_unref(&futures[i]);
    }
    free(futures);
    return result;
}

/* Task Bench's METG(50 %): the shortest task at which half of the two processors' time is useful work.
 * Lengths go down by a quarter each until it is less, and the crossing is interpolated. */
static double metg50(const struct bench_case *self) {
    struct bench_pool pool;
    double seconds = 0.4 * (double)bench_count(1000) / 1000.0, metg = -1;
    double length = 64000, above = length, above_efficiency = 1;

    if (!bench_open(&pool, self->url, WORKERS)) {
        return -1;
    }
    for (; length >= 100; length *= 0.75) {
        double now = efficiency(pool.executor, (int64_t)length, seconds);
        if (now < 0) {
            break;
        }
        if (now < 0.5) {
            double part =
                above_efficiency > now ? (above_efficiency - 0.5) / (above_efficiency - now) : 0;
            metg = (above - part * (above - length)) / 1000;
            break;
        }
        above = length;
        above_efficiency = now;
        metg = length / 1000; /* at least that good, if it never falls below a half */
    }
    bench_close(&pool);
    return metg;
}

/* Resident memory of the broker for each no-op that is queued there while no worker is connected. */
static double bytes_per_queued(const struct bench_case *self) {
    struct bench_pool pool;
    int64_t count = bench_count(self->count);
    furrow_future **futures = calloc((size_t)count, sizeof *futures);
    double value = -1;

    if (futures == NULL || !bench_open(&pool, self->url, 0)) {
        free(futures);
        return -1;
    }
    usleep(200000);
    size_t before = bench_resident_bytes(bench_broker_pid()), last = 0, now = before;
    for (int64_t i = 0; i < count; i++) {
        futures[i] = furrow_submit(pool.executor, bench_noop, "i", i);
    }
    for (int quiet = 0; quiet < 5; quiet = now == last ? quiet + 1 : 0) { /* until all is there */
        usleep(200000);
        last = now;
        now = bench_resident_bytes(bench_broker_pid());
    }
    value = (double)(now - before) / (double)count;
    furrow_shutdown(pool.executor, FURROW_SHUTDOWN_CANCEL_FUTURES);
    for (int64_t i = 0; i < count; i++) {
        furrow_future_wait(futures[i], 30);
        furrow_future_unref(&futures[i]);
    }
    usleep(500000);
    now = bench_resident_bytes(bench_broker_pid());
    bench_also(self, ".kept_after", now > before ? (double)(now - before) / (double)count : 0,
               "bytes");
    bench_close(&pool);
    free(futures);
    return value;
}

/* A client's 10 tasks while another has a million queued: p99 of the time until all 10 are back. */
static double fair_p99(const struct bench_case *self) {
    struct bench_pool pool;
    int64_t count = bench_count(self->count);
    enum { ROUNDS = 100, TASKS = 10 };
    double times[ROUNDS];
    furrow_executor_info info;
    furrow_future **futures = calloc((size_t)count, sizeof *futures);
    bool good = futures != NULL;
    int rounds = 0;

    if (!good || !bench_open(&pool, self->url, WORKERS)) {
        free(futures);
        return -1;
    }
    furrow_executor_describe(pool.executor, &info);
    furrow_executor *other = furrow_open(getenv("FURROW_BENCH_URL"), NULL);
    good = other != NULL;
    for (int64_t i = 0; good && i < count; i++) {
        futures[i] = furrow_submit(pool.executor, bench_spin, "i", (int64_t)2000);
        good = futures[i] != NULL;
    }
    for (; good && rounds < ROUNDS; rounds++) {
        furrow_future *few[TASKS];
        double start = bench_now();
        for (int i = 0; i < TASKS; i++) {
            few[i] = furrow_submit(other, bench_noop, "i", (int64_t)i);
        }
        for (int i = 0; i < TASKS; i++) {
            good = furrow_future_wait(few[i], -1) == FURROW_OK && good;
            furrow_future_unref(&few[i]);
        }
        times[rounds] = (bench_now() - start) * 1e6;
        if (furrow_future_done(futures[count - 1])) {
            rounds++;
            break;
        }
        usleep(2000);
    }
    furrow_close(&other);
    furrow_shutdown(pool.executor, FURROW_SHUTDOWN_CANCEL_FUTURES);
    for (int64_t i = 0; i < count; i++) {
        furrow_future_unref(&futures[i]);
    }
    bench_close(&pool);
    free(futures);
    if (!good || rounds == 0) {
        return -1;
    }
    double p99 = bench_percentile(times, (size_t)rounds, 0.99);
    bench_also(self, ".p50", bench_percentile(times, (size_t)rounds, 0.5), "us");
    return p99;
}

const struct bench_case bench_load_cases[] = {
    {"threads.metg50", "us", metg50, "threads", 0, 0},
    {"processes.metg50", "us", metg50, "processes", 0, 0},
    {"tcp.metg50", "us", metg50, "tcp", 0, 0},
    {"tcp.bytes_per_queued", "bytes", bytes_per_queued, "tcp", 1000000, 0},
    {"tcp.fair_p99", "us", fair_p99, "tcp", 1000000, 0},
    {NULL, NULL, NULL, NULL, 0, 0},
};
