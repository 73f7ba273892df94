#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <msgpack.h>

#include "wire/reader.h"

/* A reader over a copy that ends where its memory ends, so that the address sanitizer sees the end. */
struct exact {
    uint8_t *memory;
    struct wire_reader in;
};

static struct exact exact_of(const void *data, size_t size) {
    struct exact exact;
    exact.memory = malloc(size > 0 ? size : 1);
    assert_non_null(exact.memory);
    memcpy(exact.memory, data, size);
    exact.in = wire_reader_of(exact.memory, size);
    return exact;
}

static const struct {
    const char *bytes;
    size_t size;
    bool negative;
    uint64_t value;
} integers[] = {
    {"\x00", 1, false, 0},
    {"\x7f", 1, false, 127},
    {"\xcc\xff", 2, false, 255},
    {"\xcd\x12\x34", 3, false, 0x1234},
    {"\xce\x12\x34\x56\x78", 5, false, 0x12345678},
    {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9, false, UINT64_MAX},
    {"\xcf\x00\x00\x00\x00\x00\x00\x00\x05", 9, false, 5}, /* longer than needed */
    {"\xd0\x05", 2, false, 5},                             /* positive in a signed form */
    {"\xd1\x12\x34", 3, false, 0x1234},
    {"\xd2\x12\x34\x56\x78", 5, false, 0x12345678},
    {"\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", 9, false, INT64_MAX},
    {"\xff", 1, true, (uint64_t)-1},
    {"\xe0", 1, true, (uint64_t)-32},
    {"\xd0\x80", 2, true, (uint64_t)-128},
    {"\xd1\x80\x00", 3, true, (uint64_t)-32768},
    {"\xd2\x80\x00\x00\x00", 5, true, (uint64_t)INT32_MIN},
    {"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", 9, true, (uint64_t)INT64_MIN},
};

static void every_form_of_an_integer_is_read(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        struct exact exact = exact_of(integers[i].bytes, integers[i].size);
        struct wire_reader in = exact.in;
        uint64_t value = 7;
        bool negative = false;
        assert_true(wire_read_int(&in, &value, &negative));
        assert_true(value == integers[i].value);
        assert_int_equal(negative, integers[i].negative);
        assert_int_equal(wire_left(&in), 0);

        in = exact.in;
        assert_int_equal(wire_read_uint(&in, &value), !integers[i].negative);
        assert_int_equal(wire_left(&in), integers[i].negative ? integers[i].size : 0);
        free(exact.memory);
    }
}

static void a_truncated_integer_is_not_read_and_the_reader_stays(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        for (size_t size = 0; size < integers[i].size; size++) {
            struct exact exact = exact_of(integers[i].bytes, size);
            struct wire_reader in = exact.in;
            uint64_t value;
            bool negative;
            assert_false(wire_read_uint(&in, &value));
            assert_false(wire_read_int(&in, &value, &negative));
            assert_false(wire_skip(&in, 1));
            assert_ptr_equal(in.at, exact.memory);
            free(exact.memory);
        }
    }
}

static void what_is_no_integer_is_not_read_as_one(void **state) {
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t bytes[20] = {(uint8_t)byte};
        struct wire_reader in = wire_reader_of(bytes, sizeof bytes);
        uint64_t value;
        bool negative;
        bool integer = byte < 0x80 || byte >= 0xe0 || (byte >= 0xcc && byte <= 0xd3);
        assert_int_equal(wire_read_int(&in, &value, &negative), integer);
        in = wire_reader_of(bytes, sizeof bytes);
        assert_int_equal(wire_read_uint(&in, &value), integer && byte < 0xe0);
    }
}

/* Each number that is a power of two, and its neighbours. */
static void an_integer_is_written_as_msgpack_writes_it(void **state) {
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    (void)state;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int off = -1; off <= 1; off++) {
            uint64_t number = (UINT64_C(1) << bit) + (uint64_t)(int64_t)off;
            uint8_t bytes[WIRE_UINT_BYTES_MAX];
            size_t size = (size_t)(wire_write_uint(bytes, number) - bytes);
            msgpack_sbuffer_clear(&buffer);
            msgpack_pack_uint64(&packer, number);
            assert_int_equal(size, buffer.size);
            assert_memory_equal(bytes, buffer.data, size);
        }
    }
    msgpack_sbuffer_destroy(&buffer);
}

static void an_array_of_more_elements_than_bytes_is_refused(void **state) {
    static const struct {
        const char *bytes;
        size_t size;
        bool good;
        uint32_t count;
    } arrays[] = {
        {"\x90", 1, true, 0},
        {"\x92\x01\x02", 3, true, 2},
        {"\x92\x01", 2, false, 0},
        {"\xdc\x00\x01\x05", 4, true, 1},
        {"\xdc\x00\x02\x05", 4, false, 0},
        {"\xdc\x00", 2, false, 0},
        {"\xdd\x00\x00\x00\x01\x05", 6, true, 1},
        {"\xdd\xff\xff\xff\xff", 5, false, 0},
        {"\xdd\xff\xff\xff\xff\x01", 6, false, 0},
        {"\xdd\x00\x00\x00", 4, false, 0},
        {"\x82\x01\x02", 3, false, 0},
        {"", 0, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        struct exact exact = exact_of(arrays[i].bytes, arrays[i].size);
        uint32_t count = 0;
        assert_int_equal(wire_read_array(&exact.in, &count), arrays[i].good);
        assert_int_equal(count, arrays[i].count);
        assert_int_equal(exact.in.at != exact.memory, arrays[i].good);
        free(exact.memory);
    }
}

static void a_text_of_every_form_is_read_in_place(void **state) {
    static const char *const headers[] = {"\xa2", "\xd9\x02", "\xda\x00\x02",
                                          "\xdb\x00\x00\x00\x02"};
    static const size_t sizes[] = {1, 2, 3, 5};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        char bytes[8];
        struct wire_text text;
        memcpy(bytes, headers[i], sizes[i]);
        memcpy(bytes + sizes[i], "hi", 2);
        for (size_t size = 0; size < sizes[i] + 2; size++) {
            struct exact exact = exact_of(bytes, size);
            assert_false(wire_read_text(&exact.in, &text));
            free(exact.memory);
        }
        struct exact exact = exact_of(bytes, sizes[i] + 2);
        assert_true(wire_read_text(&exact.in, &text));
        assert_int_equal(text.size, 2);
        assert_ptr_equal(text.data, (const char *)exact.memory + sizes[i]);
        assert_int_equal(wire_left(&exact.in), 0);
        free(exact.memory);
    }
}

/* One value for each first byte, as msgpack-c's unpacker understands it. */
static void skip_agrees_with_msgpack_for_every_first_byte(void **state) {
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t bytes[64] = {(uint8_t)byte, 0, 0, 0, 2}; /* lengths are 0, 0 and 2 */
        struct wire_reader in = wire_reader_of(bytes, sizeof bytes);
        msgpack_unpacked unpacked;
        size_t size = 0;
        msgpack_unpacked_init(&unpacked);
        bool good = msgpack_unpack_next(&unpacked, (const char *)bytes, sizeof bytes, &size) ==
                    MSGPACK_UNPACK_SUCCESS;
        assert_int_equal(wire_skip(&in, 4), good);
        if (good) {
            assert_int_equal(in.at - bytes, size);
        }
        assert_int_equal(good, byte != 0xc1);
        msgpack_unpacked_destroy(&unpacked);

        struct wire_head head;
        in = wire_reader_of(bytes, sizeof bytes);
        if (wire_simple_bytes[byte] > 0) {
            assert_true(wire_peek(&in, &head));
            assert_int_equal(head.bytes + head.body, wire_simple_bytes[byte]);
            assert_int_equal(head.children, 0);
        }
        for (size_t cut = 0; good && cut < size; cut++) {
            struct exact exact = exact_of(bytes, cut);
            assert_false(wire_skip(&exact.in, 4));
            assert_ptr_equal(exact.in.at, exact.memory);
            free(exact.memory);
        }
    }
}

static void skip_stops_at_the_depth_given(void **state) {
    uint8_t bytes[WIRE_NESTING_MAX + 2];
    (void)state;
    for (uint32_t depth = 1; depth <= WIRE_NESTING_MAX; depth++) {
        memset(bytes, 0x91, depth);
        bytes[depth] = 0xc0;
        struct wire_reader in = wire_reader_of(bytes, depth + 1);
        assert_false(wire_skip(&in, depth - 1));
        assert_true(wire_skip(&in, depth));
        bytes[depth - 1] = 0x90; /* empty ones count too */
        in = wire_reader_of(bytes, depth);
        assert_false(wire_skip(&in, depth - 1));
        assert_true(wire_skip(&in, depth));
    }
}

static void siblings_do_not_add_to_the_depth(void **state) {
    /* [[[]], {1: [2]}, []] */
    static const uint8_t bytes[] = {0x93, 0x91, 0x90, 0x81, 0x01, 0x91, 0x02, 0x90};
    struct wire_reader in = wire_reader_of(bytes, sizeof bytes);
    (void)state;
    assert_false(wire_skip(&in, 2));
    assert_true(wire_skip(&in, 3));
    assert_int_equal(wire_left(&in), 0);
}

static void what_stands_there_is_named(void **state) {
    static const struct {
        const char *bytes;
        size_t size;
        const char *name;
    } found[] = {
        {"", 0, "nothing"},
        {"\xc0", 1, "nil"},
        {"\xc3", 1, "a boolean"},
        {"\x05", 1, "an integer"},
        {"\xff", 1, "an integer"},
        {"\xca\0\0\0\0", 5, "a float"},
        {"\xa1x", 2, "a string"},
        {"\xc4\x01x", 3, "binary"},
        {"\xd4\x05x", 3, "an extension value"},
        {"\x91\x01", 2, "an array"},
        {"\x80", 1, "a map"},
        {"\xc1", 1, "malformed bytes"},
        {"\xa2x", 2, "malformed bytes"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof found / sizeof found[0]; i++) {
        struct wire_reader in = wire_reader_of(found[i].bytes, found[i].size);
        assert_string_equal(wire_found(&in), found[i].name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_an_integer_is_read),
        cmocka_unit_test(a_truncated_integer_is_not_read_and_the_reader_stays),
        cmocka_unit_test(what_is_no_integer_is_not_read_as_one),
        cmocka_unit_test(an_integer_is_written_as_msgpack_writes_it),
        cmocka_unit_test(an_array_of_more_elements_than_bytes_is_refused),
        cmocka_unit_test(a_text_of_every_form_is_read_in_place),
        cmocka_unit_test(skip_agrees_with_msgpack_for_every_first_byte),
        cmocka_unit_test(skip_stops_at_the_depth_given),
        cmocka_unit_test(siblings_do_not_add_to_the_depth),
        cmocka_unit_test(what_stands_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
