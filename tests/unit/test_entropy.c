#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/entropy.h"

static void every_byte_is_filled(void **state) {
    uint8_t seen[1000] = {0};
    uint8_t bytes[1001];

    (void)state;
    /* A byte that is left alone would stay as it was all eight times. */
    for (int round = 0; round < 8; round++) {
        memset(bytes, 0, sizeof bytes);
        assert_true(base_entropy(bytes, 1000));
        assert_int_equal(bytes[1000], 0);
        for (size_t i = 0; i < sizeof seen; i++) {
            seen[i] |= bytes[i];
        }
    }
    for (size_t i = 0; i < sizeof seen; i++) {
        assert_int_not_equal(seen[i], 0);
    }
}

static void two_draws_differ(void **state) {
    uint8_t a[16];
    uint8_t b[16];

    (void)state;
    assert_true(base_entropy(a, sizeof a));
    assert_true(base_entropy(b, sizeof b));
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_filled),
        cmocka_unit_test(two_draws_differ),
    };

    return cmocka_run_group_tests_name("entropy", tests, NULL, NULL);
}
