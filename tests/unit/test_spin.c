#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/spin.h"

/* Asks `times` times and answers each spin with `came`. Returns how often it was tried. */
static int spins(struct base_spin *spin, int times, bool came) {
    int tried = 0;

    for (int i = 0; i < times; i++) {
        if (base_spin_pays(spin)) {
            tried++;
            base_spin_learn(spin, came);
        }
    }
    return tried;
}

static void what_comes_soon_is_looked_out_for_each_time(void **state) {
    struct base_spin spin = {0};

    (void)state;
    assert_int_equal(spins(&spin, 1000, true), 1000);
}

static void what_never_comes_soon_is_tried_now_and_then(void **state) {
    struct base_spin spin = {0};

    (void)state;
    assert_int_equal(spins(&spin, 100 * BASE_SPIN_TRY_EVERY, false), 100);
}

static void a_few_that_come_late_do_not_end_it(void **state) {
    struct base_spin spin = {0};

    (void)state;
    (void)spins(&spin, 10, true);
    assert_int_equal(spins(&spin, BASE_SPIN_SCORE_MAX - 1, false), BASE_SPIN_SCORE_MAX - 1);
    assert_int_equal(spins(&spin, 10, true), 10);
}

static void it_ends_soon_when_nothing_comes_any_more(void **state) {
    struct base_spin spin = {0};

    (void)state;
    (void)spins(&spin, 1000, true);
    assert_in_range(spins(&spin, BASE_SPIN_TRY_EVERY, false), BASE_SPIN_SCORE_MAX,
                    BASE_SPIN_SCORE_MAX + 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_soon_is_looked_out_for_each_time),
        cmocka_unit_test(what_never_comes_soon_is_tried_now_and_then),
        cmocka_unit_test(a_few_that_come_late_do_not_end_it),
        cmocka_unit_test(it_ends_soon_when_nothing_comes_any_more),
    };

    return cmocka_run_group_tests_name("spin", tests, NULL, NULL);
}
