#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "base/inbox.h"
#include "base/wake.h"

static struct base_wake wake;

static bool readable(int timeout_ms) {
    struct pollfd fd = {.fd = base_wake_fd(&wake), .events = POLLIN};

    return poll(&fd, 1, timeout_ms) == 1;
}

static void a_signal_to_a_consumer_that_is_awake_costs_nothing(void **state) {
    (void)state;
    assert_int_equal(base_wake_open(&wake), 0);
    base_wake_signal(&wake);
    assert_false(readable(0));
    base_wake_close(&wake);
}

static void a_signal_after_prepare_makes_the_fd_readable_until_finish(void **state) {
    (void)state;
    assert_int_equal(base_wake_open(&wake), 0);
    for (int i = 0; i < 3; i++) {
        base_wake_prepare(&wake);
        assert_false(readable(0));
        base_wake_signal(&wake);
        base_wake_signal(&wake);
        assert_true(readable(0));
        assert_true(base_wake_finish(&wake));
        assert_false(readable(0));
    }
    base_wake_prepare(&wake);
    assert_false(base_wake_finish(&wake));
    base_wake_close(&wake);
}

/* A producer may be held up between announcing a signal and writing it: this plays that part. */
static void a_write_that_comes_late_is_cleared_by_a_later_finish(void **state) {
    uint64_t one = 1;

    (void)state;
    assert_int_equal(base_wake_open(&wake), 0);
    base_wake_prepare(&wake);
    atomic_store(&wake.state, BASE_WAKE_SIGNALLED);
    assert_true(base_wake_finish(&wake));
    assert_int_equal(write(base_wake_fd(&wake), &one, sizeof one), sizeof one);
    assert_true(readable(0));
    base_wake_prepare(&wake);
    base_wake_finish(&wake);
    assert_false(readable(0));
    base_wake_close(&wake);
}

/* ---- stress: a lost wake-up would be a poll that times out with something in the inbox ---- */

#define PRODUCERS 3
#define ITEMS     20000

static struct base_inbox inbox;
static atomic_int consumed;

static void *produce(void *argument) {
    struct base_inbox_node *nodes = argument;

    for (int i = 0; i < ITEMS; i++) {
        base_inbox_push(&inbox, &nodes[i]);
        base_wake_signal(&wake);
        /* Now and then let the consumer run dry, so that it really sleeps. */
        if (i % 64 == 0) {
            sched_yield();
        }
    }
    return NULL;
}

static void no_wakeup_is_lost(void **state) {
    struct base_inbox_node *nodes = calloc((size_t)PRODUCERS * ITEMS, sizeof *nodes);
    pthread_t threads[PRODUCERS];
    int left = PRODUCERS * ITEMS;

    (void)state;
    assert_non_null(nodes);
    assert_int_equal(base_wake_open(&wake), 0);
    base_inbox_init(&inbox);
    for (int p = 0; p < PRODUCERS; p++) {
        assert_int_equal(pthread_create(&threads[p], NULL, produce, &nodes[p * ITEMS]), 0);
    }
    while (left > 0) {
        for (struct base_inbox_node *node = base_inbox_take(&inbox); node != NULL;
             node = node->next) {
            left--;
        }
        base_wake_prepare(&wake);
        if (base_inbox_empty(&inbox) && left > 0) {
            assert_true(readable(20000));
        }
        base_wake_finish(&wake);
    }
    for (int p = 0; p < PRODUCERS; p++) {
        assert_int_equal(pthread_join(threads[p], NULL), 0);
    }
    assert_true(base_inbox_empty(&inbox));
    base_wake_close(&wake);
    free(nodes);
}

/* One item at a time, the producer waiting for each to be consumed: every item finds the consumer
 * somewhere between awake and asleep. */
static void *produce_one_by_one(void *argument) {
    struct base_inbox_node *nodes = argument;

    for (int i = 0; i < ITEMS; i++) {
        base_inbox_push(&inbox, &nodes[i]);
        base_wake_signal(&wake);
        while (atomic_load(&consumed) <= i) {
            sched_yield();
        }
    }
    return NULL;
}

static void no_wakeup_is_lost_one_at_a_time(void **state) {
    struct base_inbox_node *nodes = calloc(ITEMS, sizeof *nodes);
    pthread_t thread;

    (void)state;
    assert_non_null(nodes);
    assert_int_equal(base_wake_open(&wake), 0);
    base_inbox_init(&inbox);
    atomic_store(&consumed, 0);
    assert_int_equal(pthread_create(&thread, NULL, produce_one_by_one, nodes), 0);
    for (int taken = 0; taken < ITEMS;) {
        if (base_inbox_take(&inbox) != NULL) {
            atomic_store(&consumed, ++taken);
            continue;
        }
        base_wake_prepare(&wake);
        if (base_inbox_empty(&inbox)) {
            assert_true(readable(20000));
        }
        base_wake_finish(&wake);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    base_wake_close(&wake);
    free(nodes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_to_a_consumer_that_is_awake_costs_nothing),
        cmocka_unit_test(a_signal_after_prepare_makes_the_fd_readable_until_finish),
        cmocka_unit_test(a_write_that_comes_late_is_cleared_by_a_later_finish),
        cmocka_unit_test(no_wakeup_is_lost),
        cmocka_unit_test(no_wakeup_is_lost_one_at_a_time),
    };

    return cmocka_run_group_tests_name("wake", tests, NULL, NULL);
}
