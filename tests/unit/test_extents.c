#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/extents.h"
#include "base/rng.h"
#include "fail_alloc.h"

static void units_are_taken_from_the_beginning(void **state) {
    struct base_extents extents;
    (void)state;
    assert_true(base_extents_init(&extents, 10));
    assert_int_equal(base_extents_take(&extents, 3), 0);
    assert_int_equal(base_extents_take(&extents, 1), 3);
    assert_int_equal(base_extents_take(&extents, 6), 4);
    assert_int_equal(extents.used, 10);
    assert_int_equal(base_extents_take(&extents, 1), BASE_EXTENTS_NONE);
    base_extents_fini(&extents);
}

static void what_was_given_back_is_taken_first(void **state) {
    struct base_extents extents;
    (void)state;
    assert_true(base_extents_init(&extents, 10));
    assert_int_equal(base_extents_take(&extents, 2), 0);
    assert_int_equal(base_extents_take(&extents, 2), 2);
    assert_int_equal(base_extents_take(&extents, 2), 4);
    assert_int_equal(base_extents_give(&extents, 2), 2);
    assert_int_equal(base_extents_take(&extents, 3), 6);
    assert_int_equal(base_extents_take(&extents, 2), 2);
    base_extents_fini(&extents);
}

static void free_neighbours_become_one(void **state) {
    struct base_extents extents;
    (void)state;
    assert_true(base_extents_init(&extents, 9));
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(base_extents_take(&extents, 3), 3 * i);
    }
    assert_int_equal(base_extents_give(&extents, 0), 3);
    assert_int_equal(base_extents_give(&extents, 6), 3);
    assert_int_equal(base_extents_take(&extents, 4), BASE_EXTENTS_NONE);
    assert_int_equal(base_extents_give(&extents, 3), 3);
    assert_int_equal(extents.used, 0);
    assert_int_equal(base_extents_take(&extents, 9), 0);
    base_extents_fini(&extents);
}

static void going_back_visits_every_extent(void **state) {
    struct base_extents extents;
    uint32_t begin;
    (void)state;
    assert_true(base_extents_init(&extents, 10));
    assert_int_equal(base_extents_take(&extents, 4), 0);
    assert_int_equal(base_extents_take(&extents, 1), 4);
    assert_int_equal(base_extents_give(&extents, 0), 4);
    assert_true(base_extents_back(&extents, 10, &begin));
    assert_int_equal(begin, 5);
    assert_false(base_extents_back(&extents, 5, &begin));
    assert_int_equal(begin, 4);
    assert_true(base_extents_back(&extents, 4, &begin));
    assert_int_equal(begin, 0);
    base_extents_fini(&extents);
}

/* Against a map of the units; the extents must cover all of them, and no two free ones may meet. */
static void a_long_random_run_keeps_the_books(void **state) {
    enum { UNITS = 300, STEPS = 20000 };
    struct base_extents extents;
    struct base_rng rng;
    uint8_t owner[UNITS] = {0};
    uint32_t begins[UNITS], lengths[UNITS], live = 0, used = 0;
    (void)state;
    base_rng_init(&rng, 5);
    assert_true(base_extents_init(&extents, UNITS));
    for (unsigned step = 0; step < STEPS; step++) {
        if (live == 0 || base_rng_below(&rng, 2) == 0) {
            uint32_t units = 1 + (uint32_t)base_rng_below(&rng, 20), run = 0, first = 0;
            uint32_t at = base_extents_take(&extents, units);
            for (uint32_t i = 0; i < UNITS && run < units; i++) {
                run = owner[i] == 0 ? run + 1 : 0;
                first = i + 1 - run;
            }
            assert_int_equal(at, run < units ? BASE_EXTENTS_NONE : first);
            if (at != BASE_EXTENTS_NONE) {
                memset(owner + at, 1, units);
                begins[live] = at;
                lengths[live++] = units;
                used += units;
            }
        } else {
            uint32_t i = (uint32_t)base_rng_below(&rng, live);
            assert_int_equal(base_extents_give(&extents, begins[i]), lengths[i]);
            memset(owner + begins[i], 0, lengths[i]);
            used -= lengths[i];
            begins[i] = begins[--live];
            lengths[i] = lengths[live];
        }
        assert_int_equal(extents.used, used);
    }
    bool was_free = false;
    for (uint32_t end = UNITS, begin; end > 0; end = begin) {
        bool is_free = base_extents_back(&extents, end, &begin);
        assert_true(begin < end);
        assert_false(is_free && was_free);
        was_free = is_free;
    }
    base_extents_fini(&extents);
}

static void without_memory_there_is_none(void **state) {
    struct base_extents extents;
    (void)state;
    fail_alloc_after(0);
    assert_false(base_extents_init(&extents, 10));
    fail_alloc_never();
    base_extents_fini(&extents);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_are_taken_from_the_beginning),
        cmocka_unit_test(what_was_given_back_is_taken_first),
        cmocka_unit_test(free_neighbours_become_one),
        cmocka_unit_test(going_back_visits_every_extent),
        cmocka_unit_test(a_long_random_run_keeps_the_books),
        cmocka_unit_test(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
