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

enum { WORKERS = 2, POINTS_MAX = 64, REPEATS = 3, COUNT_MAX = 1000000 };

/* What was measured of one length; the efficiency is known when the best rate is. */
struct point {
    double granularity_us, iterations_a_second;
};

static double scaled_seconds(double seconds) {
    double scaled = seconds * (double)bench_count(1000) / 1000;

    return scaled < 0.02 ? 0.02 : scaled;
}

/* The best of a few, since whatever else the machine does only ever takes from it. */
static double best_rate(double so_far) {
    for (int i = 0; i < 3; i++) {
        double rate = bench_work_peak(WORKERS);
        so_far = rate > so_far ? rate : so_far;
    }
    return so_far;
}

/* Runs tasks of so many iterations for about `seconds`. */
static bool measure_once(furrow_executor *executor, int64_t iterations, double useful_us,
                         double seconds, struct point *point) {
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
        point->iterations_a_second = (double)count * (double)iterations / elapsed;
    } else {
        bench_complain("metg");
    }
    bench_unref_all(futures, count);
    free(futures);
    return good;
}

static int by_rate(const void *a, const void *b) {
    double x = ((const struct point *)a)->iterations_a_second;
    double y = ((const struct point *)b)->iterations_a_second;

    return (x > y) - (x < y);
}

/* The median of a few runs with tasks that are useful for so long. */
static bool measure(furrow_executor *executor, double useful_us, double peak, double seconds,
                    struct point *point) {
    struct point points[REPEATS];
    int64_t iterations = (int64_t)(useful_us * 1e-6 * peak / WORKERS);

    for (int i = 0; i < REPEATS; i++) {
        if (!measure_once(executor, iterations, useful_us, seconds / REPEATS, &points[i])) {
            return false;
        }
    }
    qsort(points, REPEATS, sizeof *points, by_rate);
    *point = points[REPEATS / 2];
    return true;
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
static double crossing(const struct point *points, int count, double peak) {
    int best = -1;

    for (int i = 0; i < count; i++) {
        if (points[i].iterations_a_second >= 0.5 * peak &&
            (best < 0 || points[i].granularity_us < points[best].granularity_us)) {
            best = i;
        }
    }
    if (best < 0) {
        return -1;
    }
    const struct point *above = &points[best], *below = above + 1;
    double above_efficiency = above->iterations_a_second / peak;
    if (best + 1 == count || below->granularity_us >= above->granularity_us ||
        below->iterations_a_second >= above->iterations_a_second) {
        return above->granularity_us;
    }
    double part = (above_efficiency - 0.5) / (above_efficiency - below->iterations_a_second / peak);
    return above->granularity_us - part * (above->granularity_us - below->granularity_us);
}

/* Lengths go up from 64 us until tasks are efficient, then down by a quarter each until the efficiency has
 * been well below a half twice. */
static int measure_lengths(furrow_executor *executor, double peak, struct point *points) {
    enum { LENGTH_US_MAX = 100000 };
    double seconds = scaled_seconds(0.3), length_us = 32;
    int count, low = 0;

    do {
        length_us *= 2;
        if (!measure(executor, length_us, peak, seconds, &points[0])) {
            return 0;
        }
    } while (points[0].iterations_a_second < 0.6 * peak && length_us < LENGTH_US_MAX);
    for (count = 1; count < POINTS_MAX && low < 2 && length_us > 0.05; count++) {
        length_us *= 0.75;
        if (!measure(executor, length_us, peak, seconds, &points[count])) {
            return 0;
        }
        low = points[count].iterations_a_second < 0.4 * peak ? low + 1 : 0;
    }
    return count;
}

static double metg50(const struct bench_case *self) {
    struct bench_pool pool;
    struct point points[POINTS_MAX];
    double peak = best_rate(0);

    if (peak <= 0 || !open_warm(&pool, self->url)) {
        return -1;
    }
    int count = measure_lengths(pool.executor, peak, points);
    bench_close(&pool);
    double metg = crossing(points, count, best_rate(peak));
    bench_also(self, ".useful", metg / 2, "us");
    return metg;
}

/* The efficiency with tasks of `parameter` microseconds. */
static double efficiency(const struct bench_case *self) {
    struct bench_pool pool;
    struct point point = {0, 0};
    double peak = best_rate(0);

    if (peak <= 0 || !open_warm(&pool, self->url)) {
        return -1;
    }
    bool good = measure(pool.executor, (double)self->parameter, peak, scaled_seconds(0.6), &point);
    bench_close(&pool);
    bench_also(self, ".granularity", point.granularity_us, "us");
    return good ? point.iterations_a_second / best_rate(peak) : -1;
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
