#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

static void the_same_seed_gives_the_same_numbers(void **state) {
    struct base_rng a;
    struct base_rng b;
    struct base_rng c;
    int same = 0;

    (void)state;
    base_rng_init(&a, 42);
    base_rng_init(&b, 42);
    base_rng_init(&c, 43);
    for (int i = 0; i < 1000; i++) {
        uint64_t number = base_rng_next(&a);

        assert_true(number == base_rng_next(&b));
        same += number == base_rng_next(&c);
    }
    assert_int_equal(same, 0);
}

/* The published reference code gives these for the state 1, 2, 3, 4. */
static void the_numbers_are_those_of_xoshiro256ss(void **state) {
    static const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240};
    struct base_rng rng = {.state = {1, 2, 3, 4}};

    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_true(base_rng_next(&rng) == expected[i]);
    }
}

static void below_stays_below_and_reaches_everything_evenly(void **state) {
    int counts[7] = {0};
    struct base_rng rng;

    (void)state;
    base_rng_init(&rng, 1);
    for (int i = 0; i < 70000; i++) {
        counts[base_rng_below(&rng, 7)]++;
    }
    for (int i = 0; i < 7; i++) {
        assert_in_range(counts[i], 9500, 10500);
    }
    for (int i = 0; i < 100; i++) {
        assert_int_equal(base_rng_below(&rng, 1), 0);
    }
}

/* A plain modulo would hit the lower half of such a bound twice as often. */
static void below_is_unbiased_for_large_bounds(void **state) {
    uint64_t bound = UINT64_MAX / 3 * 2;
    int low = 0;
    struct base_rng rng;

    (void)state;
    base_rng_init(&rng, 2);
    for (int i = 0; i < 20000; i++) {
        uint64_t number = base_rng_below(&rng, bound);

        assert_true(number < bound);
        low += number < bound / 2;
    }
    assert_in_range(low, 9600, 10400);
}

static void doubles_are_in_the_unit_interval(void **state) {
    struct base_rng rng;
    double sum = 0;

    (void)state;
    base_rng_init(&rng, 3);
    for (int i = 0; i < 10000; i++) {
        double number = base_rng_double(&rng);

        assert_true(number >= 0 && number < 1);
        sum += number;
    }
    assert_true(sum > 4800 && sum < 5200);
}

static void chance_is_never_always_or_in_between(void **state) {
    struct base_rng rng;
    int hits = 0;

    (void)state;
    base_rng_init(&rng, 4);
    for (int i = 0; i < 10000; i++) {
        assert_false(base_rng_chance(&rng, 0));
        assert_false(base_rng_chance(&rng, -1));
        assert_true(base_rng_chance(&rng, 1));
        hits += base_rng_chance(&rng, 0.1);
    }
    assert_in_range(hits, 850, 1150);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_numbers),
        cmocka_unit_test(the_numbers_are_those_of_xoshiro256ss),
        cmocka_unit_test(below_stays_below_and_reaches_everything_evenly),
        cmocka_unit_test(below_is_unbiased_for_large_bounds),
        cmocka_unit_test(doubles_are_in_the_unit_interval),
        cmocka_unit_test(chance_is_never_always_or_in_between),
    };

    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
