/* How short a task may be, and still most of the machine's time is useful work. By Task Bench
 * (Slaughter et al., SC'20):
 *
 *     granularity = elapsed time x processors / tasks
 *     efficiency  = (useful operations / elapsed time) / (what the processors can do at best)
 *     METG(50 %)  = the smallest granularity at which efficiency is a half, linearly interpolated
 *
 * So a task of METG(50 %) does useful work for half of that time; the rest is what the executor costs.
 * A task is a fixed number of operations, so what others take from the processor while it runs does not
 * count as useful. The best rate is measured by processes that do nothing else. */
#include "tests/bench/bench.h"
#include "tests/bench/work.h"

#include <stdio.h>
#include <stdlib.h>

enum { WORKERS = 2, POINTS_MAX = 64, COUNT_MAX = 1000000 };

struct point {
    double granularity_us, efficiency;
};

static double scaled_seconds(double seconds) {
    double scaled = seconds * (double)bench_count(1000) / 1000;

    return scaled < 0.02 ? 0.02 : scaled;
}

/* Runs tasks of so many iterations for about `seconds`. */
static bool measure(furrow_executor *executor, int64_t iterations, double peak, double seconds,
                    struct point *point) {
    double useful_us = (double)iterations / peak * 1e6 * WORKERS;
    double wanted = seconds * 1e6 * WORKERS / (useful_us + 0.5); /* half a us: what ours costs */
    int64_t count = wanted < 20 ? 20 : wanted > COUNT_MAX ? COUNT_MAX : (int64_t)wanted;
    furrow_future **futures = calloc((size_t)count, sizeof *futures);
    bool good = futures != NULL;
    double start = bench_now();

    for (int64_t i = 0; good && i < count; i++) {
        futures[i] = furrow_submit(executor, bench_spin, "i", iterations);
        good = futures[i] != NULL;
    }
    for (int64_t i = 0; good && i < count; i++) {
        good = furrow_future_result(futures[i], -1, NULL) == FURROW_OK;
    }
    double elapsed = bench_now() - start;
    if (good) {
        point->granularity_us = elapsed * 1e6 * WORKERS / (double)count;
        point->efficiency = (double)count * (double)iterations / elapsed / peak;
    } else {
        bench_complain("metg");
    }
    bench_unref_all(futures, count);
    free(futures);
    return good;
}

static bool open_warm(struct bench_pool *pool, const char *url) {
    furrow_future *futures[1000] = {NULL};

    if (!bench_open(pool, url, WORKERS)) {
        return false;
    }
    for (int i = 0; i < 20; i++) {
        if (!bench_submit_and_read(pool->executor, futures, 1000)) {
            bench_unref_all(futures, 1000);
            bench_close(pool);
            return false;
        }
    }
    return true;
}

/* The crossing between the smallest granularity that is efficient and the next shorter task. */
static double crossing(const struct point *points, int count) {
    int best = -1;

    for (int i = 0; i < count; i++) {
        if (points[i].efficiency >= 0.5 &&
            (best < 0 || points[i].granularity_us < points[best].granularity_us)) {
            best = i;
        }
    }
    if (best < 0) {
        return -1;
    }
    const struct point *above = &points[best], *below = above + 1;
    if (best + 1 == count || below->granularity_us >= above->granularity_us ||
        below->efficiency >= 0.5) {
        return above->granularity_us;
    }
    return above->granularity_us - (above->efficiency - 0.5) /
                                       (above->efficiency - below->efficiency) *
                                       (above->granularity_us - below->granularity_us);
}

static bool measure_length(furrow_executor *executor, double length_us, double peak, double seconds,
                           struct point *point) {
    return measure(executor, (int64_t)(length_us * 1e-6 * peak / WORKERS), peak, seconds, point);
}

/* Lengths go up from 64 us until tasks are efficient, then down by a quarter each until efficiency is
 * well below a half. */
static double metg50(const struct bench_case *self) {
    enum { LENGTH_US_MAX = 100000 };
    struct bench_pool pool;
    struct point points[POINTS_MAX];
    double seconds = scaled_seconds(0.25), peak = bench_work_peak(WORKERS), length_us = 32;
    int count = 0;

    if (peak <= 0 || !open_warm(&pool, self->url)) {
        return -1;
    }
    do {
        length_us *= 2;
        if (!measure_length(pool.executor, length_us, peak, seconds, &points[0])) {
            break;
        }
        count = 1;
    } while (points[0].efficiency < 0.6 && length_us < LENGTH_US_MAX);
    while (count > 0 && count < POINTS_MAX && points[count - 1].efficiency >= 0.35 &&
           length_us > 0.05) {
        length_us *= 0.75;
        if (!measure_length(pool.executor, length_us, peak, seconds, &points[count])) {
            break;
        }
        count++;
    }
    bench_close(&pool);
    double metg = crossing(points, count);
    bench_also(self, ".useful", metg / 2, "us");
    return metg;
}

/* The efficiency with tasks of `parameter` microseconds. */
static double efficiency(const struct bench_case *self) {
    struct bench_pool pool;
    struct point point = {0, -1};
    double peak = bench_work_peak(WORKERS);
    double seconds = scaled_seconds(0.4);

    if (peak <= 0 || !open_warm(&pool, self->url)) {
        return -1;
    }
    if (measure_length(pool.executor, (double)self->parameter, peak, seconds, &point)) {
        bench_also(self, ".granularity", point.granularity_us, "us");
    }
    bench_close(&pool);
    return point.efficiency;
}

const struct bench_case bench_metg_cases[] = {
    {"threads.metg50", "us", metg50, "threads", 0, 0},
    {"processes.metg50", "us", metg50, "processes", 0, 0},
    {"tcp.metg50", "us", metg50, "tcp", 0, 0},
    {"processes.efficiency_1us", "of 1", efficiency, "processes", 0, 1},
    {"processes.efficiency_3us", "of 1", efficiency, "processes", 0, 3},
    {"processes.efficiency_10us", "of 1", efficiency, "processes", 0, 10},
    {"processes.efficiency_30us", "of 1", efficiency, "processes", 0, 30},
    {"processes.efficiency_100us", "of 1", efficiency, "processes", 0, 100},
    {"processes.efficiency_1000us", "of 1", efficiency, "processes", 0, 1000},
    {"processes.efficiency_10000us", "of 1", efficiency, "processes", 0, 10000},
    {"tcp.efficiency_1us", "of 1", efficiency, "tcp", 0, 1},
    {"tcp.efficiency_3us", "of 1", efficiency, "tcp", 0, 3},
    {"tcp.efficiency_10us", "of 1", efficiency, "tcp", 0, 10},
    {"tcp.efficiency_30us", "of 1", efficiency, "tcp", 0, 30},
    {"tcp.efficiency_100us", "of 1", efficiency, "tcp", 0, 100},
    {"tcp.efficiency_1000us", "of 1", efficiency, "tcp", 0, 1000},
    {"tcp.efficiency_10000us", "of 1", efficiency, "tcp", 0, 10000},
    {NULL, NULL, NULL, NULL, 0, 0},
};
