/* Throughput: many tasks at once. */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 2 };

/* Processor time of each role. In `processes:` the client's process is the broker's too. */
struct cpu {
    double caller, own, broker, children;
};

static struct cpu cpu_now(void) {
    return (struct cpu){.caller = bench_thread_cpu_seconds(),
                        .own = bench_own_cpu_seconds(),
                        .broker = bench_cpu_seconds(bench_broker_pid()),
                        .children = bench_children_cpu_seconds()};
}

static void tell_cpu(const struct bench_case *self, const struct cpu *before,
                     const struct cpu *after, double millions) {
    double caller = after->caller - before->caller, own = after->own - before->own;
    double broker = after->broker - before->broker, children = after->children - before->children;

    bench_also(self, ".cpu_caller", caller / millions, "us");
    bench_also(self, ".cpu_client", own / millions, "us");
    if (bench_broker_pid() > 0) {
        bench_also(self, ".cpu_broker", broker / millions, "us");
    }
    if (strcmp(self->url, "threads") != 0) {
        bench_also(self, ".cpu_workers", (children - broker) / millions, "us");
    }
    bench_also(self, ".cpu", (own + children) / millions, "us");
}

/* With `parameter` workers, WORKERS if it is 0. A first round as large warms up, as with the peers: what it
 * costs to touch so much memory for the first time is the machine's (`.first` is its rate). */
static double noop_rate(const struct bench_case *self) {
    struct bench_pool pool;
    int64_t count = bench_count(self->count);
    furrow_future **futures = calloc((size_t)count, sizeof *futures);
    double rate = -1;

    int workers = self->parameter > 0 ? (int)self->parameter : WORKERS;
    if (futures == NULL || !bench_open(&pool, self->url, workers)) {
        free(futures);
        return -1;
    }
    struct cpu before = {0, 0, 0, 0}, after = before;
    double start = bench_now();
    if (bench_submit_and_read(pool.executor, futures, count)) {
        bench_also(self, ".first", (double)count / (bench_now() - start), "tasks/s");
        before = cpu_now();
        start = bench_now();
        if (bench_submit_and_read(pool.executor, futures, count)) {
            rate = (double)count / (bench_now() - start);
            after = cpu_now();
        }
    }
    if (rate > 0) {
        tell_cpu(self, &before, &after, (double)count / 1e6);
    }
    bench_close(&pool);
    bench_unref_all(futures, count);
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
        bench_complain("map");
        furrow_input_free(&input);
    } else {
        while (furrow_results_next(results, "i", &value) == FURROW_OK) {
            sum += value;
        }
        if (sum == count * (count - 1) / 2) {
            rate = (double)count / (bench_now() - start);
        } else {
            bench_complain("map: wrong sum");
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
        bench_complain("echo");
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

/* Payloads that are made for each task, read and made anew by it, and read: in memory of the program and
 * of the task, from where they are copied, or in blocks that are handed over. */
static furrow_future *submit_made(furrow_executor *executor, int64_t i, uint8_t *own, size_t size) {
    furrow_block *block;
    furrow_future *future;

    if (own != NULL) {
        memset(own, (int)(i & 0x7f), size);
        return furrow_submit(executor, bench_remake, "B", own, size);
    }
    block = furrow_block_new(executor, size);
    if (block == NULL) {
        return NULL;
    }
    memset(furrow_block_data(block), (int)(i & 0x7f), size);
    future = furrow_submit(executor, bench_remake_block, "H", &block);
    furrow_block_free(&block);
    return future;
}

static bool read_made(furrow_future *future, int64_t i, size_t size) {
    uint64_t sum = 0, wanted = (uint64_t)(uint8_t) ~(i & 0x7f) * size;
    const void *back;
    size_t got = 0;

    if (furrow_future_result(future, -1, "B", &back, &got) != FURROW_OK || got != size) {
        return false;
    }
    for (size_t k = 0; k < size; k++) {
        sum += ((const uint8_t *)back)[k];
    }
    return sum == wanted;
}

static double made_bandwidth_of(const struct bench_case *self, uint8_t *own) {
    enum { WINDOW = 16 };
    size_t size = (size_t)self->parameter;
    int64_t count = bench_count(self->count);
    furrow_future *futures[WINDOW] = {NULL};
    double rate = -1, start = 0;
    struct bench_pool pool;
    bool good = true;

    if (!bench_open(&pool, self->url, WORKERS)) {
        return -1;
    }
    for (int64_t i = -WINDOW; good && i < count + WINDOW; i++) {
        furrow_future **slot = &futures[(i + WINDOW) % WINDOW];
        if (*slot != NULL) {
            good = read_made(*slot, i - WINDOW, size);
            furrow_future_unref(slot);
        }
        if (i == 0) {
            start = bench_now();
        }
        if (good && i < count) {
            *slot = submit_made(pool.executor, i, own, size);
            good = *slot != NULL;
        }
    }
    if (good) {
        rate = (double)count * (double)size / (bench_now() - start) / 1e9;
    } else {
        bench_complain("made payloads");
    }
    for (int64_t i = 0; i < WINDOW; i++) {
        furrow_future_unref(&futures[i]);
    }
    bench_close(&pool);
    return rate;
}

static double hand_over_bandwidth(const struct bench_case *self) {
    return made_bandwidth_of(self, NULL);
}

static double made_bandwidth(const struct bench_case *self) {
    uint8_t *own = malloc((size_t)self->parameter);
    double rate = own == NULL ? -1 : made_bandwidth_of(self, own);

    free(own);
    return rate;
}

const struct bench_case bench_rate_cases[] = {
    {"threads.noop", "tasks/s", noop_rate, "threads", 1000000, 0},
    {"processes.noop", "tasks/s", noop_rate, "processes", 1000000, 0},
    {"tcp.noop", "tasks/s", noop_rate, "tcp", 1000000, 0},
    {"ipc.noop", "tasks/s", noop_rate, "ipc", 1000000, 0},
    {"tcp_curve.noop", "tasks/s", noop_rate, "tcp_curve", 1000000, 0},
    {"threads.map_100", "tasks/s", map_rate, "threads", 10000000, 100},
    {"processes.map_100", "tasks/s", map_rate, "processes", 10000000, 100},
    {"tcp.map_100", "tasks/s", map_rate, "tcp", 10000000, 100},
    {"processes.echo_1kib", "tasks/s", echo_rate, "processes", 200000, 1 << 10},
    {"tcp.echo_1kib", "tasks/s", echo_rate, "tcp", 200000, 1 << 10},
    {"processes.echo_16kib", "tasks/s", echo_rate, "processes", 50000, 16 << 10},
    {"processes.echo_128kib", "tasks/s", echo_rate, "processes", 10000, 128 << 10},
    {"tcp.echo_16kib", "tasks/s", echo_rate, "tcp", 50000, 16 << 10},
    {"tcp.echo_128kib", "tasks/s", echo_rate, "tcp", 10000, 128 << 10},
    {"processes.echo_64kib", "GB/s", echo_bandwidth, "processes", 20000, 1 << 16},
    {"processes.echo_1mib", "GB/s", echo_bandwidth, "processes", 2000, 1 << 20},
    {"processes.echo_16mib", "GB/s", echo_bandwidth, "processes", 150, 16 << 20},
    {"tcp.echo_64kib", "GB/s", echo_bandwidth, "tcp", 20000, 1 << 16},
    {"tcp.echo_1mib", "GB/s", echo_bandwidth, "tcp", 2000, 1 << 20},
    {"tcp_curve.echo_1mib", "GB/s", echo_bandwidth, "tcp_curve", 2000, 1 << 20},
    {"tcp.echo_16mib", "GB/s", echo_bandwidth, "tcp", 150, 16 << 20},
    {"processes.made_1mib", "GB/s", made_bandwidth, "processes", 2000, 1 << 20},
    {"processes.hand_over_1mib", "GB/s", hand_over_bandwidth, "processes", 2000, 1 << 20},
    {"processes.made_16mib", "GB/s", made_bandwidth, "processes", 150, 16 << 20},
    {"processes.hand_over_16mib", "GB/s", hand_over_bandwidth, "processes", 150, 16 << 20},
    {"tcp.made_1mib", "GB/s", made_bandwidth, "tcp", 2000, 1 << 20},
    {"tcp.hand_over_1mib", "GB/s", hand_over_bandwidth, "tcp", 2000, 1 << 20},
    {"processes.workers_1", "tasks/s", noop_rate, "processes", 1000000, 1},
    {"processes.workers_2", "tasks/s", noop_rate, "processes", 1000000, 2},
    {"processes.workers_4", "tasks/s", noop_rate, "processes", 1000000, 4},
    {"processes.workers_8", "tasks/s", noop_rate, "processes", 1000000, 8},
    {"processes.workers_16", "tasks/s", noop_rate, "processes", 1000000, 16},
    {NULL, NULL, NULL, NULL, 0, 0},
};
