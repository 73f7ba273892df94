/* A client that doesn't read, with far more results on their way to it than the broker may hold: the
 * others go on, and the broker's memory stays within its limit. When it reads again, it gets all. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/e2e/fault_tasks.h"
#include "tests/e2e/faults.h"

enum {
    LIMIT_MIB = 64,
    /* What a broker is without tasks, what ZeroMQ holds, and what the allocator keeps. */
    OVERHEAD_MIB = 64,
    BLOBS = 3000,
    BLOB_BYTES = 256 << 10,
    OTHERS = 2000,
    STOPPED_MS = 5000,
};

static const char *const broker_more[] = {"--memory-limit", "64M", "--silence", "30", NULL};

static struct watch {
    pid_t pid;
    atomic_bool stop;
    long peak_kb;
} watch;

static void *watch_memory(void *user) {
    (void)user;
    while (!atomic_load(&watch.stop)) {
        long now_kb = rss_kb(watch.pid);

        watch.peak_kb = now_kb > watch.peak_kb ? now_kb : watch.peak_kb;
        pause_ms(5);
    }
    return NULL;
}

/* The others' work: small tasks, and some with large arguments. Returns the slowest in seconds. */
static double run_others(furrow_executor *pool) {
    static unsigned char bytes[BLOB_BYTES];
    double slowest = 0;

    for (int64_t i = 0; i < OTHERS; i++) {
        double at = now_seconds();
        furrow_future *future = i % 100 == 0
                                    ? must(furrow_submit(pool, weigh, "B", bytes, sizeof bytes))
                                    : must(furrow_submit(pool, echo_int, "i", i));
        assert_int_equal(take_int(&future), i % 100 == 0 ? 0 : i);
        double took = now_seconds() - at;
        slowest = took > slowest ? took : slowest;
    }
    return slowest;
}

static void a_client_that_does_not_read_harms_nobody(void **state) {
    static const char *const arguments[] = {"greedy", NULL};
    struct site site;
    pthread_t thread;
    (void)state;

    site_open(&site, 1, 2, 1, broker_more);
    setenv("FURROW_E2E_URL", site.fleet.url, 1);
    furrow_executor *pool = open_pool(site.fleet.url);
    watch = (struct watch){.pid = site.fleet.broker};
    assert_int_equal(pthread_create(&thread, NULL, watch_memory, NULL), 0);

    pid_t greedy = run_self(arguments);
    assert_true(greedy > 0);
    wait_for(atomic_load(&faults_book()->started[0]) >= 10); /* it has read some */
    assert_int_equal(kill(greedy, SIGSTOP), 0);
    double at = now_seconds(), slowest = 0;
    do {
        double took = run_others(pool);
        slowest = took > slowest ? took : slowest;
    } while (now_seconds() - at < STOPPED_MS / 1e3);
    assert_int_equal(kill(greedy, SIGCONT), 0);
    assert_int_equal(end_of(greedy), 0);

    atomic_store(&watch.stop, true);
    pthread_join(thread, NULL);
    figure("memory_limit", LIMIT_MIB, "MiB");
    figure("broker_rss_peak", (double)watch.peak_kb / 1024, "MiB");
    figure("others_slowest_task", slowest * 1000, "ms");
    close_pool(&pool);
    site_close(&site);
    assert_in_range(watch.peak_kb / 1024, 1, LIMIT_MIB + OVERHEAD_MIB);
    assert_true(slowest < 2.0);
}

/* Submits all at once, and takes the results one by one. */
static int greedy_main(void) {
    static furrow_future *futures[BLOBS];
    furrow_executor *pool = furrow_open(getenv("FURROW_E2E_URL"), NULL);
    int wrong = 0;

    if (pool == NULL || book() == NULL) {
        return 1;
    }
    for (int64_t i = 0; i < BLOBS; i++) {
        futures[i] = furrow_submit(pool, blob, "ii", i, (int64_t)BLOB_BYTES);
    }
    for (int64_t i = 0; i < BLOBS; i++) {
        const void *bytes;
        size_t size = 0;

        wrong += furrow_future_result(futures[i], 60, "B", &bytes, &size) != FURROW_OK ||
                 size != BLOB_BYTES || ((const unsigned char *)bytes)[size - 1] != blob_byte(i);
        furrow_future_unref(&futures[i]);
        atomic_fetch_add(&book()->started[0], 1);
    }
    return furrow_close(&pool) == FURROW_OK && wrong == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_client_that_does_not_read_harms_nobody, faults_set_up,
                                        faults_tear_down),
    };
    if (argc > 1) {
        return greedy_main();
    }
    faults_init(110);
    return cmocka_run_group_tests_name("slow_client", tests, NULL, NULL);
}
