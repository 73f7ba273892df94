/* Tasks of very different lengths: does a worker idle while another sits on tasks that it has not
 * started? Every task says when it began and ended, and where (the clock is the machine's, so processes
 * agree). While any task has not begun, whoever idles longer than a round trip could have had it.
 *
 * A round trip takes several wake-ups. How long one takes at worst in the same run, with the processors as
 * busy as they are, is measured beside it by a thread that does nothing but sleep. */
#include "tests/bench/bench.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WORKERS = 4, ROUND_TRIPS = 200, COUNT_MIN = 300, SLEEP_NS = 100000 };

struct span {
    int64_t began, ended, pid;
};

/* Bounded Pareto between 1 us and 1 s with shape 1/2: the median is 4 us, the mean 1 ms, and as much
 * time goes into the few long ones as into all others. The same lengths every time. */
static int64_t next_length_ns(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    double u = (double)(*state >> 11) * 0x1p-53, low = 1e3, high = 1e9;
    double root = 1 - u * (1 - sqrt(low / high));
    return (int64_t)(low / (root * root));
}

static int by_worker_and_time(const void *a, const void *b) {
    const struct span *x = a, *y = b;

    if (x->pid != y->pid) {
        return x->pid < y->pid ? -1 : 1;
    }
    return (x->began > y->began) - (x->began < y->began);
}

/* ---- the machine's own lateness ---- */

struct sleeper {
    pthread_t thread;
    atomic_bool stop;
    double latest_us;
};

/* How much later than asked for a sleep ended, at most. */
static void *sleep_on(void *argument) {
    struct sleeper *sleeper = argument;

    while (!atomic_load(&sleeper->stop)) {
        double asked = bench_now() + SLEEP_NS / 1e9;
        nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
        double late_us = (bench_now() - asked) * 1e6;
        if (late_us > sleeper->latest_us) {
            sleeper->latest_us = late_us;
        }
    }
    return NULL;
}

/* ---- gaps ---- */

static double idle_round_trip_ns(furrow_executor *executor) {
    double times[ROUND_TRIPS];

    for (int i = 0; i < ROUND_TRIPS; i++) {
        furrow_future *future;
        double start = bench_now();
        if (!bench_submit_and_read(executor, &future, 1)) {
            return -1;
        }
        times[i] = (bench_now() - start) * 1e9;
    }
    return bench_percentile(times, ROUND_TRIPS, 0.5);
}

/* The gaps of all workers between `from` and the last beginning of any task. */
static void tell_gaps(const struct bench_case *self, struct span *spans, int64_t count,
                      int64_t from, double round_trip_ns, double *longest_us) {
    double *gaps = calloc((size_t)count + WORKERS, sizeof *gaps), beyond = 0;
    int64_t last = 0;
    size_t gap_count = 0;

    for (int64_t i = 0; i < count; i++) {
        last = spans[i].began > last ? spans[i].began : last;
    }
    qsort(spans, (size_t)count, sizeof *spans, by_worker_and_time);
    for (int64_t i = 0; gaps != NULL && i < count; i++) {
        bool final = i + 1 == count || spans[i + 1].pid != spans[i].pid;
        int64_t begin = spans[i].ended > from ? spans[i].ended : from;
        int64_t end = final ? last : spans[i + 1].began;
        if (end > begin) {
            double gap = (double)(end - begin);
            gaps[gap_count++] = gap / 1e3;
            beyond += gap > round_trip_ns ? gap - round_trip_ns : 0;
        }
    }
    *longest_us = gap_count > 0 ? bench_percentile(gaps, gap_count, 1) : 0;
    bench_also(self, ".p99", gap_count > 0 ? bench_percentile(gaps, gap_count, 0.99) : 0, "us");
    bench_also(self, ".round_trip", round_trip_ns / 1e3, "us");
    bench_also(self, ".beyond_share", beyond / ((double)(last - from) * WORKERS), "of 1");
    free(gaps);
}

static double mixed_idle(const struct bench_case *self) {
    struct bench_pool pool;
    int64_t scaled = bench_count(self->count);
    int64_t count = scaled < COUNT_MIN ? COUNT_MIN : scaled;
    furrow_future **futures = calloc((size_t)count, sizeof *futures);
    struct span *spans = calloc((size_t)count, sizeof *spans);
    uint64_t state = 0x9e3779b97f4a7c15;
    double longest_us = -1;

    if (futures == NULL || spans == NULL || !bench_open(&pool, self->url, WORKERS)) {
        free(futures);
        free(spans);
        return -1;
    }
    double round_trip_ns = idle_round_trip_ns(pool.executor);
    struct sleeper sleeper = {.latest_us = 0};
    bool sleeping = pthread_create(&sleeper.thread, NULL, sleep_on, &sleeper) == 0;
    bool good = round_trip_ns > 0 && sleeping;
    for (int64_t i = 0; good && i < count; i++) {
        futures[i] = furrow_submit(pool.executor, bench_trace, "i", next_length_ns(&state));
        good = futures[i] != NULL;
    }
    int64_t from = (int64_t)(bench_now() * 1e9);
    for (int64_t i = 0; good && i < count; i++) {
        good = furrow_future_result(futures[i], -1, "[iii]", &spans[i].began, &spans[i].ended,
                                    &spans[i].pid) == FURROW_OK;
    }
    if (sleeping) {
        atomic_store(&sleeper.stop, true);
        pthread_join(sleeper.thread, NULL);
        bench_also(self, ".wakeup_max", sleeper.latest_us, "us");
    }
    if (good) {
        tell_gaps(self, spans, count, from, round_trip_ns, &longest_us);
    } else {
        bench_complain("mixed");
    }
    bench_unref_all(futures, count);
    bench_close(&pool);
    free(futures);
    free(spans);
    return longest_us;
}

const struct bench_case bench_mixed_cases[] = {
    {"processes.mixed_idle", "us", mixed_idle, "processes", 10000, 0},
    {"tcp.mixed_idle", "us", mixed_idle, "tcp", 10000, 0},
    {NULL, NULL, NULL, NULL, 0, 0},
};
