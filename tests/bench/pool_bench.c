/* Measures the thread pool with works that do nothing.
 *
 *     pool_bench [WORKS [THREADS [ROUNDS]]]
 *
 * flood    one outside thread submits all works one by one, then waits for the last
 * batches  the same, 64 works a submit
 * nested   each work submits the next: one outstanding, from inside
 * one      one outstanding, from outside: submit, sleep until it has run; p50 and p99
 * spin     works of 5 us: how much of the threads' time is left for them */
#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/pool.h"

struct item {
    struct base_work work;
    uint32_t value;
    uint32_t spin_ns;
    struct base_pool *resubmit; /* nested: submit this item again so many times */
    uint32_t times;
};

#define COUNTERS 64

/* Completions are counted apart by thread, so that counting isn't what is measured. */
static struct { _Alignas(64) atomic_ulong done; } counters[COUNTERS];
static atomic_ulong goal;
static sem_t reached;

static void fail(const char *what, int error) {
    fprintf(stderr, "%s: %s\n", what, strerror(error));
    exit(1);
}

static unsigned long done_in_all(void) {
    unsigned long sum = 0;

    for (int i = 0; i < COUNTERS; i++) {
        sum += atomic_load_explicit(&counters[i].done, memory_order_relaxed);
    }
    return sum;
}

static void run(void *owner, unsigned thread_index, struct base_work *work) {
    struct item *item = (struct item *)(void *)work;
    atomic_ulong *done = &counters[thread_index % COUNTERS].done;
    unsigned long mine;

    (void)owner;
    item->value++;
    if (item->spin_ns > 0) {
        uint64_t until = base_clock_ns() + item->spin_ns;

        while (base_clock_ns() < until) {
        }
    }
    mine = atomic_load_explicit(done, memory_order_relaxed) + 1;
    atomic_store_explicit(done, mine, memory_order_relaxed);
    if (item->resubmit != NULL && --item->times > 0) {
        (void)base_pool_submit(item->resubmit, work);
    } else if (atomic_load_explicit(&goal, memory_order_relaxed) == 1) {
        sem_post(&reached);
    }
}

static void wait_for(unsigned long count) {
    while (done_in_all() < count) {
        struct timespec nap = {.tv_nsec = 200000};

        nanosleep(&nap, NULL);
    }
}

static double cpu_seconds(void) {
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6 +
           (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6;
}

static void flood(struct base_pool *pool, struct item *items, size_t count, size_t batch,
                  uint32_t spin_ns, const char *name) {
    unsigned long before = done_in_all();
    double cpu;
    uint64_t start;
    uint64_t submitted;
    double seconds;

    for (size_t i = 0; i < count; i++) {
        items[i] = (struct item){.spin_ns = spin_ns};
    }
    cpu = cpu_seconds();
    start = base_clock_ns();
    for (size_t i = 0; i < count; i += batch) {
        size_t size = count - i < batch ? count - i : batch;

        for (size_t j = 0; j + 1 < size; j++) {
            items[i + j].work.next = &items[i + j + 1].work;
        }
        if (base_pool_submit_batch(pool, &items[i].work, &items[i + size - 1].work, size) != 0) {
            fail("submit", 0);
        }
    }
    submitted = base_clock_ns();
    wait_for(before + count);
    seconds = (double)(base_clock_ns() - start) * 1e-9;
    cpu = cpu_seconds() - cpu;
    printf("%-8s %8.2f M works/s   %6.1f ns CPU each   submit %6.1f ns each\n", name,
           (double)count / seconds * 1e-6, cpu * 1e9 / (double)count,
           (double)(submitted - start) / (double)count);
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void one_outstanding(struct base_pool *pool, struct item *item) {
    enum { TIMES = 5000 };
    static uint64_t laps[TIMES];

    *item = (struct item){0};
    atomic_store(&goal, 1);
    for (int i = 0; i < TIMES; i++) {
        uint64_t start = base_clock_ns();

        (void)base_pool_submit(pool, &item->work);
        while (sem_wait(&reached) != 0) {
        }
        laps[i] = base_clock_ns() - start;
    }
    atomic_store(&goal, 0);
    qsort(laps, TIMES, sizeof laps[0], compare);
    printf("%-8s p50 %6.1f us   p99 %6.1f us\n", "one", (double)laps[TIMES / 2] * 1e-3,
           (double)laps[TIMES * 99 / 100] * 1e-3);
}

static void nested(struct base_pool *pool, struct item *item) {
    enum { TIMES = 300000 };
    unsigned long before = done_in_all();
    uint64_t start = base_clock_ns();

    *item = (struct item){.resubmit = pool, .times = TIMES};
    (void)base_pool_submit(pool, &item->work);
    wait_for(before + TIMES);
    printf("%-8s %8.2f M works/s\n", "nested",
           (double)TIMES / (double)(base_clock_ns() - start) * 1e3);
}

int main(int argc, char **argv) {
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
    unsigned threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 2;
    int rounds = argc > 3 ? atoi(argv[3]) : 3;
    struct base_pool_options options = {.max_threads = threads, .name_prefix = "bench", .run = run};
    struct item *items = calloc(count, sizeof *items);
    struct base_pool *pool;
    int error;

    if (items == NULL) {
        fail("items", ENOMEM);
    }
    sem_init(&reached, 0, 0);
    error = base_pool_new(&options, &pool);
    if (error != 0) {
        fail("base_pool_new", error);
    }
    for (int i = 0; i < rounds; i++) {
        flood(pool, items, count, 1, 0, "flood");
    }
    for (int i = 0; i < rounds; i++) {
        flood(pool, items, count, 64, 0, "batches");
    }
    for (int i = 0; i < rounds; i++) {
        flood(pool, items, count / 20, 1, 5000, "spin");
    }
    for (int i = 0; i < rounds; i++) {
        nested(pool, &items[0]);
    }
    for (int i = 0; i < rounds; i++) {
        one_outstanding(pool, &items[0]);
    }
    base_pool_stop(pool);
    (void)base_pool_join(pool, BASE_CLOCK_FOREVER);
    base_pool_free(pool);
    free(items);
    return 0;
}
