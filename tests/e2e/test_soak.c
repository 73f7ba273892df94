/* Hours of mixed work, and whether anything grows.
 *
 *   test_soak [SECONDS]     25 by default
 *
 * A fleet (a broker, a machine with two worker processes) and an executor on processes: get waves of
 * small tasks, large payloads, failures, cancels, maps and, now and then, deaths of worker processes.
 * Memory and descriptors of this program, the broker and the supervisor are looked at between two waves,
 * when nothing is under way. Their slopes over the second half are printed; the test fails where they
 * have clearly grown. Worker processes are replaced now and then, so their own growth is not looked at. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/e2e/fault_tasks.h"
#include "tests/e2e/faults.h"

enum {
    SECONDS = 25,
    SMALL = 2000,
    LARGE = 4,
    LARGE_BYTES = 300000,
    CANCELS = 50,
    INPUTS = 200,
    DEATH_EVERY = 20, /* waves */
    SAMPLES_MAX = 1 << 16,
    GROWTH_KB_MAX = 8192, /* between the half and the end, and ... */
    GROWTH_SHARE_MAX = 4, /* ... a quarter of what it was */
    GROWTH_FDS_MAX = 4,
};

struct sample {
    double at;
    long kb;
    int fds;
};

static struct watched {
    const char *name;
    pid_t pid;
    struct sample samples[SAMPLES_MAX];
    size_t count;
} watched[3];

static double seconds_wanted = SECONDS;

static void look(struct watched *one) {
    if (one->count < SAMPLES_MAX) {
        one->samples[one->count++] =
            (struct sample){now_seconds(), rss_kb(one->pid), fds_of(one->pid)};
    }
}

/* --------------------------------------------------------------------- the work */

static void small_tasks(furrow_executor *pool) {
    static furrow_future *futures[SMALL];

    for (int64_t i = 0; i < SMALL; i++) {
        futures[i] = must(furrow_submit(pool, echo_int, "i", i));
    }
    for (int64_t i = 0; i < SMALL; i++) {
        assert_int_equal(take_int(&futures[i]), i);
    }
}

static void large_tasks(furrow_executor *pool) {
    static unsigned char bytes[LARGE_BYTES];

    for (int64_t i = 0; i < LARGE; i++) {
        furrow_future *up = must(furrow_submit(pool, weigh, "B", bytes, sizeof bytes));
        furrow_future *down = must(furrow_submit(pool, blob, "ii", i, (int64_t)LARGE_BYTES));
        const void *data;
        size_t size = 0;

        assert_int_equal(take_int(&up), 0);
        assert_int_equal(furrow_future_result(down, 60, "B", &data, &size), FURROW_OK);
        assert_int_equal(size, LARGE_BYTES);
        furrow_future_unref(&down);
    }
}

static void failures(furrow_executor *pool) {
    const furrow_error *error = NULL;
    furrow_future *future = must(furrow_submit(pool, weigh, "s", "not binary"));

    assert_int_equal(furrow_future_error(future, 60, &error), FURROW_OK);
    assert_non_null(error);
    furrow_future_unref(&future);
}

static void cancels(furrow_executor *pool) {
    furrow_future *futures[CANCELS];

    for (int64_t i = 0; i < CANCELS; i++) {
        futures[i] = must(furrow_submit(pool, work, "ii", i, (int64_t)500));
    }
    for (int i = CANCELS - 1; i >= 0; i--) {
        (void)furrow_future_cancel(futures[i]);
        assert_int_equal(furrow_future_wait(futures[i], 60), FURROW_OK);
        furrow_future_unref(&futures[i]);
    }
}

static void a_map(furrow_executor *pool) {
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    furrow_input *input = must(furrow_input_range(0, INPUTS, 1));
    int64_t value, next = 0;

    options.chunksize = 8;
    options.buffersize = 32;
    furrow_results *results = must(furrow_map(pool, echo_int, &options, &input));
    while (furrow_results_next(results, "i", &value) == FURROW_OK) {
        assert_int_equal(value, next++);
    }
    assert_int_equal(next, INPUTS);
    furrow_results_close(&results);
}

static void a_death(furrow_executor *pool) {
    atomic_store(&faults_book()->started[0], 0);
    furrow_future *future = must(furrow_submit(pool, die_once, "i", (int64_t)0));

    (void)take_int(&future);
}

static void wave(furrow_executor *pool, unsigned number) {
    small_tasks(pool);
    large_tasks(pool);
    failures(pool);
    cancels(pool);
    a_map(pool);
    if (number % DEATH_EVERY == DEATH_EVERY - 1) {
        a_death(pool);
    }
}

/* ------------------------------------------------------------------- the verdict */

/* Least squares over the samples from `first` on: how much a second. */
static double slope(const struct watched *one, size_t first, bool fds) {
    double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0, d;

    for (size_t i = first; i < one->count; i++) {
        double x = one->samples[i].at - one->samples[first].at;
        double y = fds ? one->samples[i].fds : (double)one->samples[i].kb;

        n++;
        sx += x;
        sy += y;
        sxx += x * x;
        sxy += x * y;
    }
    d = n * sxx - sx * sx;
    return d > 0 ? (n * sxy - sx * sy) / d : 0;
}

static bool judge(const struct watched *one) {
    size_t first = one->count / 2;
    const struct sample *half = &one->samples[first], *end = &one->samples[one->count - 1];
    double took = end->at - half->at;
    double kb = slope(one, first, false), fds = slope(one, first, true);
    bool grown, leaks;
    char name[64];

    snprintf(name, sizeof name, "%s_rss", one->name);
    figure(name, (double)end->kb, "KiB");
    snprintf(name, sizeof name, "%s_rss_slope", one->name);
    figure(name, kb, "KiB/s");
    snprintf(name, sizeof name, "%s_fds", one->name);
    figure(name, end->fds, "descriptors");
    snprintf(name, sizeof name, "%s_fds_slope", one->name);
    figure(name, fds * 3600, "descriptors/h");
    grown = kb * took > GROWTH_KB_MAX && kb * took * GROWTH_SHARE_MAX > (double)half->kb;
    leaks = fds * took > GROWTH_FDS_MAX;
    return !grown && !leaks;
}

static void nothing_grows(void **state) {
    struct site site;
    double until;
    unsigned waves = 0;
    (void)state;

    site_open(&site, 1, 2, 2, NULL);
    furrow_executor *fleet = open_pool(site.fleet.url), *local = open_pool("processes:2");
    watched[0] = (struct watched){.name = "client", .pid = getpid()};
    watched[1] = (struct watched){.name = "broker", .pid = site.fleet.broker};
    watched[2] = (struct watched){.name = "supervisor", .pid = site.machines[0]};
    for (until = now_seconds() + seconds_wanted; now_seconds() < until; waves++) {
        wave(fleet, waves);
        wave(local, waves);
        for (size_t i = 0; i < 3; i++) {
            look(&watched[i]);
        }
    }
    figure("waves", waves, "waves");
    bool good = true;
    for (size_t i = 0; i < 3; i++) {
        good &= judge(&watched[i]);
    }
    close_pool(&fleet);
    assert_int_equal(furrow_close(&local), FURROW_OK); /* the fleet's processes are ours as well */
    site_close(&site);
    assert_true(waves >= 4);
    assert_true(good);
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_grows, faults_set_up, faults_tear_down),
    };
    if (argc > 1) {
        seconds_wanted = strtod(argv[1], NULL);
    }
    faults_init((unsigned)seconds_wanted + 90);
    return cmocka_run_group_tests_name("soak", tests, NULL, NULL);
}
