#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <limits.h>
#include <math.h>

#include "base/clock.h"

static void the_clock_never_goes_back(void **state) {
    uint64_t last = base_clock_ns();

    (void)state;
    assert_true(last > 0);
    for (int i = 0; i < 1000; i++) {
        uint64_t now = base_clock_ns();

        assert_true(now >= last);
        last = now;
    }
}

static void seconds_become_a_deadline(void **state) {
    (void)state;
    assert_true(base_clock_deadline(1000, 0) == 1000);
    assert_true(base_clock_deadline(1000, -0.0) == 1000);
    assert_true(base_clock_deadline(1000, 1.5) == UINT64_C(1500001000));
    assert_true(base_clock_deadline(1000, -1) == BASE_CLOCK_FOREVER);
    assert_true(base_clock_deadline(1000, -INFINITY) == BASE_CLOCK_FOREVER);
    assert_true(base_clock_deadline(1000, NAN) == 1000);
}

static void deadlines_saturate(void **state) {
    (void)state;
    assert_true(base_clock_deadline(1000, INFINITY) == BASE_CLOCK_FOREVER);
    assert_true(base_clock_deadline(1000, 1e300) == BASE_CLOCK_FOREVER);
    assert_true(base_clock_deadline(1000, 1e10) == BASE_CLOCK_FOREVER);
    assert_true(base_clock_deadline(UINT64_MAX - 10, 1) == BASE_CLOCK_FOREVER);
    assert_true(base_clock_deadline(1000, 9e9) < BASE_CLOCK_FOREVER);
}

static void what_is_left_is_never_negative(void **state) {
    (void)state;
    assert_true(base_clock_left_ns(100, 40) == 60);
    assert_true(base_clock_left_ns(100, 100) == 0);
    assert_true(base_clock_left_ns(100, 101) == 0);
    assert_true(base_clock_left_ns(BASE_CLOCK_FOREVER, 5) == BASE_CLOCK_FOREVER);
}

static void a_poll_lasts_until_the_deadline_and_not_less(void **state) {
    (void)state;
    assert_int_equal(base_clock_poll_ms(0, 5), 0);
    assert_int_equal(base_clock_poll_ms(6, 5), 1);
    assert_int_equal(base_clock_poll_ms(1000005, 5), 1);
    assert_int_equal(base_clock_poll_ms(1000006, 5), 2);
    assert_int_equal(base_clock_poll_ms(BASE_CLOCK_FOREVER, 5), -1);
    assert_int_equal(base_clock_poll_ms(BASE_CLOCK_FOREVER - 1, 5), INT_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_never_goes_back),
        cmocka_unit_test(seconds_become_a_deadline),
        cmocka_unit_test(deadlines_saturate),
        cmocka_unit_test(what_is_left_is_never_negative),
        cmocka_unit_test(a_poll_lasts_until_the_deadline_and_not_less),
    };

    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
