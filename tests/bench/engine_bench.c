/* Where the time of an executor goes, for work on the engine: what submitting costs the caller, the
 * throughput of no-ops until the last result is read, and the round trip of one task alone.
 *
 *     engine_bench [URL [count [rounds [round trips]]]]
 *
 * URL defaults to processes:2. For tcp: and ipc: a broker and workers that serve this program's task
 * (bench_noop, of the benchmarks' module) must be running. furrow-bench measures the same and more;
 * this one is small enough to be read in a profile. */
#include <furrow.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static int bench_noop(furrow_task *task) {
    int64_t i;

    if (furrow_task_args(task, "i", &i) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", i);
}
FURROW_TASK(bench_noop);

static double now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double cpu(void) {
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, furrow_last_error());
    exit(1);
}

static void must_be(furrow_future **future, int64_t i) {
    int64_t value = -1;

    if (furrow_future_result(*future, 60, "i", &value) != FURROW_OK || value != i) {
        die("result");
    }
    furrow_future_unref(future);
}

static void throughput(furrow_executor *pool, furrow_future **futures, int64_t count) {
    double cpu_before = cpu(), start = now(), submitted, end;

    for (int64_t i = 0; i < count; i++) {
        futures[i] = furrow_submit(pool, bench_noop, "i", i);
        if (futures[i] == NULL) {
            die("submit");
        }
    }
    submitted = now();
    for (int64_t i = 0; i < count; i++) {
        must_be(&futures[i], i);
    }
    end = now();
    printf("%9.0f tasks/s  submitting %5.1f ns  own CPU %5.3f us a task\n",
           (double)count / (end - start), (submitted - start) * 1e9 / (double)count,
           (cpu() - cpu_before) * 1e6 / (double)count);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void round_trip(furrow_executor *pool, int count) {
    double *times = calloc((size_t)count + 1, sizeof *times);

    for (int i = 0; i < count; i++) {
        double start = now();
        furrow_future *future = furrow_submit(pool, bench_noop, "i", (int64_t)i);

        if (future == NULL) {
            die("submit");
        }
        must_be(&future, i);
        times[i] = (now() - start) * 1e6;
    }
    qsort(times, (size_t)count, sizeof times[0], compare);
    printf("round trip p50 %.1f us  p99 %.1f us\n", times[count / 2], times[count * 99 / 100]);
    free(times);
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    int64_t count = argc > 2 ? atoll(argv[2]) : 1000000;
    int rounds = argc > 3 ? atoi(argv[3]) : 5;
    furrow_future **futures = calloc((size_t)count, sizeof *futures);
    furrow_executor *pool = furrow_open(argc > 1 ? argv[1] : "processes:2", NULL);

    if (pool == NULL || futures == NULL) {
        die("open");
    }
    throughput(pool, futures, count < 20000 ? count : 20000);
    for (int i = 0; i < rounds; i++) {
        throughput(pool, futures, count);
    }
    round_trip(pool, argc > 4 ? atoi(argv[4]) : 10000);
    furrow_close(&pool);
    free(futures);
    return 0;
}
