/* Counting for those who look. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker/meter.h"

#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

static void count(struct broker_meter *meter, uint64_t now_ns, uint64_t tasks) {
    broker_meter_roll(meter, now_ns);
    meter->now.submitted += tasks;
}

static void a_steady_stream_has_its_rate(void **state) {
    struct broker_meter meter = {0};
    uint64_t now_ns = 1000 * S;
    (void)state;

    for (int i = 0; i < 300; i++) {
        count(&meter, now_ns += S / 10, 20);
    }
    assert_in_range(broker_meter_rates(&meter, now_ns).submitted, 199 * 1000, 204 * 1000);
    assert_int_equal(broker_meter_rates(&meter, now_ns).finished, 0);
}

static void a_burst_after_a_pause_is_not_thinned_by_the_pause(void **state) {
    struct broker_meter meter = {0};
    (void)state;

    count(&meter, 1000 * S, 5);
    count(&meter, 9000 * S, 100);
    assert_int_equal(broker_meter_rates(&meter, 9000 * S + S / 2).submitted, 100 * 1000);
    assert_int_equal(broker_meter_rates(&meter, 9002 * S).submitted, 50 * 1000);
}

static void a_stream_that_ends_has_rate_0_in_the_end(void **state) {
    struct broker_meter meter = {0};
    (void)state;

    count(&meter, 1000 * S, 1000);
    assert_true(broker_meter_rates(&meter, 1004 * S).submitted > 0);
    (void)broker_meter_rates(&meter, 1006 * S);
    assert_int_equal(broker_meter_rates(&meter, 1020 * S).submitted, 0);
}

static void a_histogram_counts_below_and_on_its_bounds(void **state) {
    struct broker_histogram histogram = {.sum_ns = 0};
    (void)state;

    broker_histogram_add(&histogram, 0, 1);
    broker_histogram_add(&histogram, 1000, 2);
    broker_histogram_add(&histogram, 1001, 3);
    broker_histogram_add(&histogram, 3601 * S, 4);
    assert_int_equal(histogram.counts[0], 3);
    assert_int_equal(histogram.counts[1], 3);
    assert_int_equal(histogram.counts[BROKER_BOUNDS], 4);
    assert_true(histogram.sum_ns == 2000 + 3003 + 4 * 3601 * S);
    for (uint32_t i = 1; i < BROKER_BOUNDS; i++) {
        assert_true(broker_bounds_ns[i] > broker_bounds_ns[i - 1]);
    }
}

static void tasks_are_as_old_as_they_are(void **state) {
    struct broker_ages ages = {0};
    struct broker_histogram waits = {.sum_ns = 0};
    (void)state;

    assert_int_equal(broker_ages_oldest_ns(&ages, 5 * S), 0);
    broker_ages_came(&ages, 10, 10 * S);
    broker_ages_came(&ages, 5, 12 * S);
    assert_true(broker_ages_oldest_ns(&ages, 15 * S) == 5 * S);
    broker_ages_gone(&ages, 12, 15 * S, &waits); /* ten of the first, two of the second */
    assert_true(waits.sum_ns == 10 * 5 * S + 2 * 3 * S);
    assert_true(broker_ages_oldest_ns(&ages, 15 * S) == 3 * S);
    broker_ages_back(&ages, 16 * S); /* in front: it is not younger than what is there */
    broker_ages_gone(&ages, 4, 16 * S, NULL);
    assert_int_equal(ages.count, 0);
    assert_int_equal(broker_ages_oldest_ns(&ages, 20 * S), 0);
    broker_ages_back(&ages, 20 * S);
    assert_true(broker_ages_oldest_ns(&ages, 21 * S) == S);
    broker_ages_gone(&ages, 1, 21 * S, NULL);
    assert_int_equal(ages.count, 0);
}

static void one_that_leaves_from_within_is_not_counted_any_more(void **state) {
    struct broker_ages ages = {0};
    (void)state;

    broker_ages_came(&ages, 2, 10 * S);
    broker_ages_came(&ages, 1, 20 * S);
    broker_ages_left(&ages);
    assert_int_equal(ages.count, 1);
    broker_ages_left(&ages);
    broker_ages_gone(&ages, 1, 30 * S, NULL);
    assert_int_equal(ages.count, 0);
    assert_true(ages.came == ages.gone);
}

/* Against a queue that remembers the time of each. */
static void whatever_comes_and_goes_ages_stay_near_the_truth(void **state) {
    enum { MOST = 4096 };
    static uint64_t came_ns[MOST];
    uint64_t first = 0, last = 0, now_ns = 1000 * S, seed = 7;
    struct broker_ages ages = {0};
    (void)state;

    for (int step = 0; step < 20000; step++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        now_ns += (seed >> 40) % (step % 1000 < 500 ? 2 * MS : S);
        if ((seed >> 33) % 2 == 0 && last - first < MOST - 8) {
            uint64_t n = 1 + (seed >> 35) % 7;

            broker_ages_came(&ages, n, now_ns);
            while (n-- > 0) {
                came_ns[last++ % MOST] = now_ns;
            }
        } else if (last > first) {
            uint64_t n = 1 + (seed >> 36) % (last - first < 7 ? last - first : 7);

            broker_ages_gone(&ages, n, now_ns, NULL);
            first += n;
        }
        assert_true(ages.came - ages.gone == last - first);
        assert_true(ages.count <= BROKER_AGE_MARKS);
        if (last > first) {
            uint64_t age_ns = now_ns - came_ns[first % MOST];
            uint64_t said_ns = broker_ages_oldest_ns(&ages, now_ns);

            assert_true(said_ns >= age_ns); /* never younger than it is */
            assert_true(said_ns <= age_ns + age_ns / 2 + 2 * S);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steady_stream_has_its_rate),
        cmocka_unit_test(a_burst_after_a_pause_is_not_thinned_by_the_pause),
        cmocka_unit_test(a_stream_that_ends_has_rate_0_in_the_end),
        cmocka_unit_test(a_histogram_counts_below_and_on_its_bounds),
        cmocka_unit_test(tasks_are_as_old_as_they_are),
        cmocka_unit_test(one_that_leaves_from_within_is_not_counted_any_more),
        cmocka_unit_test(whatever_comes_and_goes_ages_stay_near_the_truth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
