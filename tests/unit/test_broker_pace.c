/* How many tasks are worth a message, by how long they took. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "broker/pace.h"

/* Of `count` tasks that took that long, in messages of 50. */
static struct broker_pace pace_of(uint32_t count, uint64_t mean_ns) {
    struct broker_pace pace = {0};

    for (uint32_t i = 0; i < count; i += 50) {
        broker_pace_add(&pace, 50, mean_ns);
    }
    return pace;
}

static void of_the_unknown_one_is_worth_a_message(void **state) {
    struct broker_pace pace = {0};
    (void)state;

    assert_int_equal(broker_pace_grain(&pace, 1000000), 1);
}

static void of_long_tasks_too(void **state) {
    struct broker_pace pace = pace_of(10000, 100 * 1000);
    (void)state;

    assert_int_equal(broker_pace_grain(&pace, 1000000), 1);
    assert_int_equal(broker_pace_grain(&pace, 1), 1);
}

/* One worker has done 400 tasks of 0.1 us after a message and 40 us, two after two and 20 us. */
static void what_takes_no_longer_than_a_message_is_one(void **state) {
    struct broker_pace pace = pace_of(10000, 99);
    (void)state;

    assert_true(broker_pace_grain(&pace, 10) >= 10);
    assert_true(broker_pace_grain(&pace, 400) >= 400);
}

static void the_more_is_queued_the_larger_are_the_messages(void **state) {
    struct broker_pace pace = pace_of(10000, 999);
    (void)state;

    assert_in_range(broker_pace_grain(&pace, 30), 28, 38);     /* root(40 x 30) */
    assert_in_range(broker_pace_grain(&pace, 120), 54, 76);    /* root(40 x 120) */
    assert_in_range(broker_pace_grain(&pace, 480), 118, 162);  /* root(40 x 480) */
    assert_in_range(broker_pace_grain(&pace, 4800), 180, 226); /* 0.2 ms; that root is 438 */
}

static void messages_have_no_more_than_a_fifth_of_a_millisecond_and_a_half(void **state) {
    (void)state;

    for (uint64_t mean_ns = 1; mean_ns < 400 * 1000; mean_ns += 1 + mean_ns / 7) {
        struct broker_pace pace = pace_of(1000000, mean_ns);

        for (uint32_t queued = 1; queued < 4000000; queued += 1 + queued / 5) {
            uint32_t grain = broker_pace_grain(&pace, queued);

            assert_true(grain >= 1 && grain <= (queued > 4096 ? queued : 6144));
            assert_true(grain == 1 || grain * mean_ns <= 301 * 1000);
        }
    }
}

static void all_messages_are_alike(void **state) {
    struct broker_pace pace = pace_of(10000, 999);
    (void)state;

    for (uint32_t queued = 100; queued < 3000; queued++) {
        uint32_t grain = broker_pace_grain(&pace, queued), rest = queued % grain;

        assert_true(rest == 0 || rest > grain / 2);
    }
}

static void no_more_go_together_than_are_known(void **state) {
    struct broker_pace pace = {0};
    (void)state;

    broker_pace_add(&pace, 7, 100);
    assert_in_range(broker_pace_grain(&pace, 100000), 6, 8);
}

static void a_long_one_among_thousands_is_not_forgotten_at_once(void **state) {
    struct broker_pace pace = pace_of(10000, 1000);
    (void)state;

    broker_pace_add(&pace, 1, UINT64_C(3000) * 1000 * 1000);
    assert_int_equal(broker_pace_grain(&pace, 1000), 1);
    for (int i = 0; i < 40; i++) {
        broker_pace_add(&pace, 100, 1000);
    }
    assert_int_equal(broker_pace_grain(&pace, 1000), 1);
    for (int i = 0; i < 1000; i++) {
        broker_pace_add(&pace, 100, 1000);
    }
    assert_true(broker_pace_grain(&pace, 1000) > 50);
}

static void nonsense_does_no_harm(void **state) {
    struct broker_pace pace = {0};
    (void)state;

    for (int i = 0; i < 10000; i++) {
        broker_pace_add(&pace, 4096, UINT64_MAX);
        assert_in_range(pace.mean_ns, BROKER_PACE_MEAN_MAX_NS, 2 * BROKER_PACE_MEAN_MAX_NS);
    }
    pace = pace_of(10000, 0);
    assert_true(broker_pace_grain(&pace, UINT32_MAX) >= 1);
    assert_int_equal(broker_pace_grain(&pace, 0), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_the_unknown_one_is_worth_a_message),
        cmocka_unit_test(of_long_tasks_too),
        cmocka_unit_test(what_takes_no_longer_than_a_message_is_one),
        cmocka_unit_test(the_more_is_queued_the_larger_are_the_messages),
        cmocka_unit_test(messages_have_no_more_than_a_fifth_of_a_millisecond_and_a_half),
        cmocka_unit_test(all_messages_are_alike),
        cmocka_unit_test(no_more_go_together_than_are_known),
        cmocka_unit_test(a_long_one_among_thousands_is_not_forgotten_at_once),
        cmocka_unit_test(nonsense_does_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
