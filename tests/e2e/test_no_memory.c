/* `processes:` and `tcp:` from end to end while one allocation after the other fails: those of the
 * library's own code in this process (the front, the engine and its I/O thread, the embedded broker, the
 * supervisor), on whatever thread. Those inside libzmq can't be: it ends the process where it gets no
 * memory. Those of worker processes are not failed here; tests/unit/test_no_memory_cores does it to
 * their core. */
#include <stdio.h>
#include <string.h>

#include "tests/e2e/fault_tasks.h"
#include "tests/e2e/faults.h"
#include "tests/unit/fail_alloc.h"

enum {
    SMALL = 6,
    LARGE_BYTES = 100000,
    PATIENCE_S = 30,
    ALLOCATIONS_MIN = 30,
    SKIPPED = 3, /* of the sweep over processes: each round starts one; FURROW_LONG skips none */
};

static unsigned refused; /* calls and tasks, in this round */
static long round_number;

static void blame_memory(furrow_status status, const char *text) {
    refused++;
    if (status != FURROW_ENOMEM && strstr(text, "memory") == NULL) {
        fail_msg("allocation %ld: %s: %s", round_number, furrow_status_text(status), text);
    }
}

static void *gave(void *pointer) {
    if (pointer == NULL) {
        blame_memory(furrow_last_status(), furrow_last_error());
    }
    return pointer;
}

/* A task that was accepted ends: with its value, or an error that speaks of memory. */
static bool ended_well(furrow_future *future) {
    const furrow_error *error = NULL;
    furrow_status status = furrow_future_error(future, PATIENCE_S, &error);

    if (status == FURROW_ECANCELLED) {
        return false;
    }
    if (status != FURROW_OK) {
        blame_memory(status, furrow_last_error());
        return false;
    }
    if (error != NULL) {
        blame_memory((furrow_status)error->code, error->message);
        return false;
    }
    return true;
}

static void expect_int(furrow_future **future, int64_t wanted) {
    int64_t value = -1;

    if (*future != NULL && ended_well(*future)) {
        furrow_status status = furrow_future_result(*future, 0, "i", &value);

        if (status != FURROW_OK) {
            blame_memory(status, furrow_last_error());
        } else {
            assert_int_equal(value, wanted);
        }
    }
    furrow_future_unref(future);
}

static void expect_blob(furrow_future **future) {
    const void *bytes;
    size_t size = 0;

    if (*future != NULL && ended_well(*future)) {
        furrow_status status = furrow_future_result(*future, 0, "B", &bytes, &size);

        if (status != FURROW_OK) {
            blame_memory(status, furrow_last_error());
        } else {
            assert_int_equal(size, LARGE_BYTES);
            assert_int_equal(((const unsigned char *)bytes)[size - 1], blob_byte(1));
        }
    }
    furrow_future_unref(future);
}

static void story(furrow_executor *pool) {
    static unsigned char bytes[LARGE_BYTES];
    furrow_future *small[SMALL], *up, *down, *dropped;

    for (int64_t i = 0; i < SMALL; i++) {
        small[i] = gave(furrow_submit(pool, echo_int, "i", i));
    }
    up = gave(furrow_submit(pool, weigh, "B", bytes, sizeof bytes));
    down = gave(furrow_submit(pool, blob, "ii", (int64_t)1, (int64_t)LARGE_BYTES));
    dropped = gave(furrow_submit(pool, echo_int, "i", (int64_t)7));
    if (dropped != NULL) {
        (void)furrow_future_cancel(dropped);
    }
    for (int64_t i = 0; i < SMALL; i++) {
        expect_int(&small[i], i);
    }
    expect_int(&up, 0);
    expect_blob(&down);
    expect_int(&dropped, 7);
}

static void play(const char *url) {
    furrow_executor *pool;

    refused = 0;
    pool = gave(furrow_open(url, NULL));
    if (pool != NULL) {
        story(pool);
        assert_int_equal(furrow_close(&pool), FURROW_OK);
    }
}

/* Every so-manieth allocation fails in a round of its own; the last round has none that did. */
static void sweep(const char *url, const char *name, long step) {
    unsigned told = 0;
    bool failed = true;

    play(url); /* what is made once, and kept, is made here */
    assert_int_equal(refused, 0);
    for (round_number = 0; failed; round_number += step) {
        fail_alloc_anywhere(round_number);
        play(url);
        failed = fail_alloc_anywhere_failed();
        fail_alloc_anywhere(-1);
        assert_true(failed || refused == 0);
        told += refused > 0;
    }
    figure(name, (double)round_number, "allocations");
    assert_true(round_number > ALLOCATIONS_MIN && told > 0);
}

static void processes_bear_that_any_allocation_fails(void **state) {
    (void)state;
    sweep("processes:1", "allocations_failed_processes", faults_long() ? 1 : SKIPPED);
}

static void a_client_of_a_fleet_bears_that_any_allocation_fails(void **state) {
    struct site site;
    (void)state;

    site_open(&site, 1, 1, 1, NULL);
    sweep(site.fleet.url, "allocations_failed_tcp", 1);
    site_close(&site);
}

#define NO_MEMORY_TEST(test) cmocka_unit_test_setup_teardown(test, faults_set_up, faults_tear_down)

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    static const struct CMUnitTest tests[] = {
        NO_MEMORY_TEST(a_client_of_a_fleet_bears_that_any_allocation_fails),
        NO_MEMORY_TEST(processes_bear_that_any_allocation_fails),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    faults_init(280);
    return cmocka_run_group_tests_name("no_memory", tests, NULL, NULL);
}
