#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <msgpack.h>

#include "base/rng.h"
#include "wire/limits.h"
#include "wire/value.h"

/* Over a copy that ends where its memory ends. */
static bool checks(const void *data, size_t size, size_t *count) {
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, data, size);
    bool good = wire_value_check(copy, size, count);
    free(copy);
    return good;
}

static void values_are_counted(void **state) {
    size_t count = 99;
    (void)state;
    assert_true(checks("", 0, &count));
    assert_int_equal(count, 0);
    assert_true(wire_value_check(NULL, 0, &count));
    assert_int_equal(count, 0);
    assert_false(wire_value_is_one(NULL, 0, WIRE_DEPTH_MAX));
    assert_true(checks("\x01\xa1x\x92\x01\x02\x81\x01\xc0", 9, &count));
    assert_int_equal(count, 4);
    assert_true(checks("\x01\x02", 2, NULL));
}

static void a_count_of_more_than_the_bytes_left_fails_at_once(void **state) {
    static const struct {
        const char *bytes;
        size_t size;
    } claims[] = {
        {"\xdd\xff\xff\xff\xff", 5},
        {"\xdf\xff\xff\xff\xff", 5},
        {"\xdb\xff\xff\xff\xff", 5},
        {"\xc6\xff\xff\xff\xff", 5},
        {"\xc9\xff\xff\xff\xff", 5},
        {"\xdc\xff\xff", 3},
        {"\x91\xdd\xff\xff\xff\xff", 6},
        {"\x9f\x01", 2},
        {"\x81\x01", 2},
    };
    size_t count;
    (void)state;
    for (size_t i = 0; i < sizeof claims / sizeof claims[0]; i++) {
        assert_false(checks(claims[i].bytes, claims[i].size, &count));
    }
}

static void the_reserved_byte_is_malformed_wherever_it_stands(void **state) {
    size_t count;
    (void)state;
    assert_false(checks("\xc1", 1, &count));
    assert_false(checks("\x01\xc1", 2, &count));
    assert_false(checks("\x92\x01\xc1", 3, &count));
    assert_true(checks("\xa1\xc1", 2, &count)); /* inside a string it is text */
}

static void values_may_be_nested_32_deep(void **state) {
    uint8_t bytes[64];
    size_t count;
    (void)state;
    memset(bytes, 0x91, sizeof bytes);
    bytes[32] = 5;
    assert_true(checks(bytes, 33, &count));
    bytes[32] = 0x91;
    bytes[33] = 5;
    assert_false(checks(bytes, 34, &count));
    assert_true(wire_value_check_nested(bytes, 34, 33, &count));
    memset(bytes, 0x81, sizeof bytes); /* maps in keys: {{{... */
    memset(bytes + 32, 5, 32);
    assert_false(wire_value_check_nested(bytes, 33, 32, &count));
    assert_false(wire_value_check_nested(bytes, 64, 31, &count));
}

/* A value of 1 to 3 bytes for every first byte: msgpack-c and the check agree about truncation. */
static void what_is_accepted_msgpack_reads_to_the_end(void **state) {
    struct base_rng rng;
    unsigned good = 0;
    (void)state;
    base_rng_init(&rng, 7);
    for (unsigned round = 0; round < 200000; round++) {
        uint8_t bytes[12];
        size_t size = 1 + (size_t)base_rng_below(&rng, sizeof bytes);
        size_t count = 0, at = 0, values = 0;
        for (size_t i = 0; i < size; i++) {
            /* Small numbers keep lengths in reach. */
            bytes[i] = (uint8_t)(base_rng_next(&rng) >> (base_rng_chance(&rng, 0.5) ? 61 : 56));
        }
        bool well = wire_value_check(bytes, size, &count);
        assert_int_equal(wire_value_is_one(bytes, size, WIRE_DEPTH_MAX), well && count == 1);
        if (!well) {
            continue;
        }
        good++;
        msgpack_unpacked unpacked;
        msgpack_unpacked_init(&unpacked);
        while (at < size) {
            size_t before = at;
            assert_int_equal(msgpack_unpack_next(&unpacked, (const char *)bytes, size, &at),
                             MSGPACK_UNPACK_SUCCESS);
            assert_int_equal(wire_value_skip(bytes + before, size - before), at - before);
            values++;
        }
        assert_int_equal(values, count);
        msgpack_unpacked_destroy(&unpacked);
    }
    assert_true(good > 1000);
}

static void skip_gives_the_first_value(void **state) {
    (void)state;
    assert_int_equal(wire_value_skip("\x92\x01\xa1x\x05", 5), 4);
    assert_int_equal(wire_value_skip("\x05", 1), 1);
    assert_int_equal(wire_value_skip("", 0), 0);
    assert_int_equal(wire_value_skip("\xc1", 1), 0);
}

/* The largest payload there may be, of the values that take longest: time is linear. */
static void a_large_value_is_checked(void **state) {
    const size_t size = 16u << 20;
    uint8_t *bytes = malloc(size);
    size_t count = 0;
    (void)state;
    assert_non_null(bytes);
    memset(bytes, 0x90, size);
    assert_true(wire_value_check(bytes, size, &count));
    assert_int_equal(count, size);
    bytes[0] = 0xdd;
    const uint32_t children = (uint32_t)size - 5;
    for (unsigned i = 0; i < 4; i++) {
        bytes[1 + i] = (uint8_t)(children >> (24 - 8 * i));
    }
    assert_true(wire_value_check(bytes, size, &count));
    assert_int_equal(count, 1);
    bytes[4]++; /* one child too many */
    assert_false(wire_value_check(bytes, size, &count));
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_counted),
        cmocka_unit_test(a_count_of_more_than_the_bytes_left_fails_at_once),
        cmocka_unit_test(the_reserved_byte_is_malformed_wherever_it_stands),
        cmocka_unit_test(values_may_be_nested_32_deep),
        cmocka_unit_test(what_is_accepted_msgpack_reads_to_the_end),
        cmocka_unit_test(skip_gives_the_first_value),
        cmocka_unit_test(a_large_value_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
