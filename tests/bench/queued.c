/* What a deep queue costs: in time and in the broker's memory. */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 2 };

/* Both workers are held at a gate, so that the whole queue stands before the first of it runs; then
 * the gate opens. Tasks/s from there to the last result read; < 0: failed. */
static double drain_rate(furrow_executor *executor, furrow_future **futures, int64_t count) {
    char path[] = "/tmp/furrow-bench-gate.XXXXXX";
    furrow_future *gates[WORKERS] = {NULL};
    double rate = -1, until = bench_now() + 20;
    int64_t value = -1, read = 0;
    int fd = mkstemp(path), running = 0;
    bool good = fd >= 0;

    for (int i = 0; good && i < WORKERS; i++) {
        gates[i] = furrow_submit(executor, bench_gate, "s", path);
        good = gates[i] != NULL;
    }
    while (good && running < WORKERS && bench_now() < until) {
        usleep(1000);
        for (running = 0; running < WORKERS && furrow_future_running(gates[running]);) {
            running++;
        }
    }
    good = good && running == WORKERS;
    for (int64_t i = 0; good && i < count; i++) {
        futures[i] = furrow_submit(executor, bench_noop, "i", i);
        good = futures[i] != NULL;
    }
    if (good) {
        bench_settle(bench_broker_pid());
    }
    double start = bench_now();
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
    for (; good && read < count; read++) {
        good = furrow_future_result(futures[read], -1, "i", &value) == FURROW_OK && value == read;
    }
    if (good) {
        rate = (double)count / (bench_now() - start);
    } else {
        bench_complain(running == WORKERS ? "drain" : "the gates are not all running");
    }
    bench_unref_all(futures, count);
    bench_unref_all(gates, WORKERS);
    return rate;
}

/* `count` at once, again and again until enough have been done that a clock can tell: tasks/s from the
 * first submit to the last result read. Beside it, how fast such a queue drains once it stands. */
static double queued_rate(const struct bench_case *self) {
    struct bench_pool pool;
    int64_t count = bench_count(self->count), rounds = bench_count(500000) / count, round = 0;
    furrow_future **futures = calloc((size_t)count, sizeof *futures);
    double rate = -1, drained = -1;

    if (futures == NULL || !bench_open(&pool, self->url, WORKERS)) {
        free(futures);
        return -1;
    }
    rounds = rounds < 1 ? 1 : rounds;
    if (bench_submit_and_read(pool.executor, futures, count)) { /* warms up, as in noop_rate */
        double start = bench_now();
        while (round < rounds && bench_submit_and_read(pool.executor, futures, count)) {
            round++;
        }
        rate = (double)(count * round) / (bench_now() - start);
    }
    bench_unref_all(futures, count);
    if (round == rounds) {
        drained = drain_rate(pool.executor, futures, count);
    }
    bench_close(&pool);
    free(futures);
    bench_also(self, ".drain", drained, "tasks/s");
    return drained > 0 ? rate : -1;
}

/* Resident memory of the broker for each no-op that is queued there while no worker is connected, and
 * what is left of it two seconds after they were all cancelled: a broker that gave it back at once would
 * have to take it again for the next wave. */
static double bytes_per_queued(const struct bench_case *self) {
    enum { COUNT_MIN = 50000 }; /* fewer are lost in what the process takes in pages */
    struct bench_pool pool;
    int64_t count = bench_count(self->count), queued = 0;

    count = count < COUNT_MIN ? COUNT_MIN : count;
    furrow_future **futures = calloc((size_t)count, sizeof *futures);
    if (futures == NULL || !bench_open(&pool, self->url, 0)) {
        free(futures);
        return -1;
    }
    bench_settle(bench_broker_pid());
    double before = (double)bench_resident_bytes(bench_broker_pid());
    for (; queued < count; queued++) {
        futures[queued] = furrow_submit(pool.executor, bench_noop, "i", queued);
        if (futures[queued] == NULL) {
            bench_complain("submit");
            break;
        }
    }
    bench_settle(bench_broker_pid());
    double full = (double)bench_resident_bytes(bench_broker_pid());
    furrow_shutdown(pool.executor, FURROW_SHUTDOWN_CANCEL_FUTURES);
    for (int64_t i = 0; i < queued; i++) {
        furrow_future_wait(futures[i], 30);
    }
    bench_unref_all(futures, count);
    bench_settle(bench_broker_pid());
    nanosleep(&(struct timespec){2, 0}, NULL);
    double kept = (double)bench_resident_bytes(bench_broker_pid()) - before;
    bench_also(self, ".kept_after", kept > 0 ? kept / (double)count : 0, "bytes");
    bench_close(&pool);
    free(futures);
    return queued == count ? (full - before) / (double)count : -1;
}

const struct bench_case bench_queue_cases[] = {
    {"processes.queued_1000", "tasks/s", queued_rate, "processes", 1000, 0},
    {"processes.queued_10000", "tasks/s", queued_rate, "processes", 10000, 0},
    {"processes.queued_100000", "tasks/s", queued_rate, "processes", 100000, 0},
    {"processes.queued_1000000", "tasks/s", queued_rate, "processes", 1000000, 0},
    {"tcp.queued_1000", "tasks/s", queued_rate, "tcp", 1000, 0},
    {"tcp.queued_10000", "tasks/s", queued_rate, "tcp", 10000, 0},
    {"tcp.queued_100000", "tasks/s", queued_rate, "tcp", 100000, 0},
    {"tcp.queued_1000000", "tasks/s", queued_rate, "tcp", 1000000, 0},
    {"tcp.bytes_per_queued", "bytes", bytes_per_queued, "tcp", 1000000, 0},
    {NULL, NULL, NULL, NULL, 0, 0},
};
