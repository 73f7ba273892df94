#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <msgpack.h>

#include "base/buffer.h"
#include "fail_alloc.h"
#include "wire/limits.h"
#include "wire/value.h"

#define I(number) ((int64_t)(number))
#define U(number) ((uint64_t)(number))
#define N(number) ((size_t)(number))

static struct wire_value_fault fault;
static struct base_buffer out;
static size_t count;
static bool allow_pointers; /* in unpack_out */

static int setup(void **state) {
    (void)state;
    base_buffer_init(&out);
    count = 0;
    allow_pointers = true;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    base_buffer_fini(&out);
    return 0;
}

static enum wire_value_status pack(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    enum wire_value_status status =
        wire_value_pack(&out, &count, false, format, &arguments, &fault);
    va_end(arguments);
    return status;
}

static enum wire_value_status pack_local(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    enum wire_value_status status = wire_value_pack(&out, &count, true, format, &arguments, &fault);
    va_end(arguments);
    return status;
}

static size_t pack_small(uint8_t *to, size_t room, size_t *values, bool pointers,
                         const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t size = wire_value_pack_small(to, room, values, pointers, format, &arguments);
    va_end(arguments);
    return size;
}

static char arena[1000];

static void *keep(void *user, size_t size) {
    size_t *used = user;
    if (size > sizeof arena - *used) {
        return NULL;
    }
    *used += size;
    return arena + *used - size;
}

/* From a copy that ends where its memory ends, so only for values that no pointer is kept to. */
static enum wire_value_status unpack(const void *data, size_t size, const char *format, ...) {
    uint8_t *copy = malloc(size > 0 ? size : 1);
    va_list arguments;
    assert_non_null(copy);
    memcpy(copy, data, size);
    va_start(arguments, format);
    enum wire_value_status status = wire_value_unpack(copy, size, format, &arguments, NULL, &fault);
    va_end(arguments);
    free(copy);
    return status;
}

/* From what was packed. */
static enum wire_value_status unpack_out(const char *format, ...) {
    size_t used = 0;
    const struct wire_value_keeper keeper = {keep, &used, allow_pointers};
    va_list arguments;
    va_start(arguments, format);
    enum wire_value_status status =
        wire_value_unpack(out.data, out.size, format, &arguments, &keeper, &fault);
    va_end(arguments);
    return status;
}

static void out_is(const char *bytes, size_t size) {
    assert_int_equal(out.size, size);
    assert_memory_equal(out.data, bytes, size);
    base_buffer_clear(&out);
}

/* ----------------------------------------------------------------- packing */

static void every_letter_packs_its_value(void **state) {
    (void)state;
    assert_int_equal(pack("i", I(-1)), WIRE_VALUE_OK);
    out_is("\xff", 1);
    assert_int_equal(pack("i", I(-300)), WIRE_VALUE_OK);
    out_is("\xd1\xfe\xd4", 3);
    assert_int_equal(pack("u", U(200)), WIRE_VALUE_OK);
    out_is("\xcc\xc8", 2);
    assert_int_equal(pack("d", 1.5), WIRE_VALUE_OK);
    out_is("\xcb\x3f\xf8\0\0\0\0\0\0", 9);
    assert_int_equal(pack("bb", 0, 17), WIRE_VALUE_OK);
    out_is("\xc2\xc3", 2);
    assert_int_equal(pack("s", "hi"), WIRE_VALUE_OK);
    out_is("\xa2hi", 3);
    assert_int_equal(pack("S", "a\0b", N(3)), WIRE_VALUE_OK);
    out_is("\xa3"
           "a\0b",
           4);
    assert_int_equal(pack("B", "xy", N(2)), WIRE_VALUE_OK);
    out_is("\xc4\x02xy", 4);
    assert_int_equal(pack("SB", NULL, N(0), NULL, N(0)), WIRE_VALUE_OK);
    out_is("\xa0\xc4\x00", 3);
    assert_int_equal(pack("v", "\x91\x05", N(2)), WIRE_VALUE_OK);
    out_is("\x91\x05", 2);
    assert_int_equal(pack("n"), WIRE_VALUE_OK);
    out_is("\xc0", 1);
    assert_int_equal(count, 11 + 2);
}

static void brackets_pack_arrays_and_maps(void **state) {
    (void)state;
    assert_int_equal(pack("[i[]{}]", I(1)), WIRE_VALUE_OK);
    out_is("\x93\x01\x90\x80", 4);
    assert_int_equal(pack("{si s[dd]} i", "a", I(1), "b", 0.0, 0.0, I(2)), WIRE_VALUE_OK);
    assert_int_equal(out.data[0], 0x82);
    assert_int_equal(out.size, 1 + 2 + 1 + 2 + 1 + 18 + 1);
    assert_int_equal(count, 3);
    base_buffer_clear(&out);
    assert_int_equal(pack("[nnnnnnnnnnnnnnnnnn]"), WIRE_VALUE_OK);
    assert_memory_equal(out.data, "\xdc\x00\x12\xc0", 4);
}

static void blanks_and_commas_say_nothing(void **state) {
    (void)state;
    assert_int_equal(pack(" i, [ i , ] ,", I(1), I(2)), WIRE_VALUE_OK);
    out_is("\x01\x91\x02", 3);
    assert_int_equal(pack(""), WIRE_VALUE_OK);
    assert_int_equal(pack(NULL), WIRE_VALUE_OK);
    assert_int_equal(pack(" , "), WIRE_VALUE_OK);
    assert_int_equal(out.size, 0);
    assert_int_equal(count, 2);
}

static void what_we_pack_msgpack_unpacks(void **state) {
    msgpack_unpacked unpacked;
    size_t at = 0;
    (void)state;
    assert_int_equal(
        pack("[iudbsBn{s[i]}]", INT64_MIN, UINT64_MAX, -0.25, 1, "text", "bin", N(3), "key", I(7)),
        WIRE_VALUE_OK);
    msgpack_unpacked_init(&unpacked);
    assert_int_equal(msgpack_unpack_next(&unpacked, (const char *)out.data, out.size, &at),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(at, out.size);
    const msgpack_object *o = unpacked.data.via.array.ptr;
    assert_int_equal(unpacked.data.via.array.size, 8);
    assert_true(o[0].type == MSGPACK_OBJECT_NEGATIVE_INTEGER && o[0].via.i64 == INT64_MIN);
    assert_true(o[1].type == MSGPACK_OBJECT_POSITIVE_INTEGER && o[1].via.u64 == UINT64_MAX);
    assert_true(o[2].type == MSGPACK_OBJECT_FLOAT64 && o[2].via.f64 == -0.25);
    assert_true(o[3].type == MSGPACK_OBJECT_BOOLEAN && o[3].via.boolean);
    assert_true(o[4].type == MSGPACK_OBJECT_STR && o[4].via.str.size == 4);
    assert_memory_equal(o[4].via.str.ptr, "text", 4);
    assert_true(o[5].type == MSGPACK_OBJECT_BIN && o[5].via.bin.size == 3);
    assert_true(o[6].type == MSGPACK_OBJECT_NIL);
    assert_true(o[7].type == MSGPACK_OBJECT_MAP && o[7].via.map.size == 1);
    assert_true(o[7].via.map.ptr[0].val.via.array.ptr[0].via.u64 == 7);
    msgpack_unpacked_destroy(&unpacked);
}

/* The two ways of packing give the same bytes, at every boundary between forms. */
static void packing_small_gives_the_same_bytes(void **state) {
    uint8_t small[2000];
    char text[700];
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int off = -1; off <= 1; off++) {
            uint64_t number = (UINT64_C(1) << bit) + (uint64_t)(int64_t)off;
            size_t values = 0;
            size_t size = pack_small(small, sizeof small, &values, false, "iui", (int64_t)number,
                                     number, (int64_t)(0 - number));
            assert_int_equal(pack("iui", (int64_t)number, number, (int64_t)(0 - number)),
                             WIRE_VALUE_OK);
            assert_int_equal(values, 3);
            out_is((const char *)small, size);
        }
    }
    memset(text, 'x', sizeof text);
    for (size_t length = 0; length < sizeof text - 1; length++) {
        size_t values = 5;
        text[length] = 0;
        size_t size = pack_small(small, sizeof small, &values, false, "s,S B", text, text, length,
                                 text, length);
        if (size == SIZE_MAX) {
            assert_true(3 * length + 15 > sizeof small);
        } else {
            assert_int_equal(pack("sSB", text, text, length, text, length), WIRE_VALUE_OK);
            assert_int_equal(values, 8);
            out_is((const char *)small, size);
        }
        text[length] = 'x';
    }
    size_t values = 0;
    size_t size = pack_small(small, sizeof small, &values, true, "dbbnp", -1e300, 5, 0, text);
    assert_int_equal(pack_local("dbbnp", -1e300, 5, 0, text), WIRE_VALUE_OK);
    out_is((const char *)small, size);
}

static void packing_small_never_writes_beyond_its_room(void **state) {
    (void)state;
    for (size_t room = 0; room < 60; room++) {
        uint8_t *exact = malloc(room > 0 ? room : 1);
        size_t values = 0;
        assert_non_null(exact);
        size_t size = pack_small(exact, room, &values, true, "isdpu", I(INT64_MIN), "hello", 1.0,
                                 (void *)exact, UINT64_MAX);
        assert_true(size == SIZE_MAX ? values == 0 : size <= room && values == 5);
        assert_int_equal(size == SIZE_MAX, room < 9 + 6 + 9 + 10 + 10);
        free(exact);
    }
}

static void what_is_not_small_is_left_to_the_long_way(void **state) {
    uint8_t small[100];
    size_t values = 7;
    (void)state;
    assert_int_equal(pack_small(small, sizeof small, &values, false, "[i]", I(1)), SIZE_MAX);
    assert_int_equal(pack_small(small, sizeof small, &values, false, "ix", I(1)), SIZE_MAX);
    assert_int_equal(pack_small(small, sizeof small, &values, false, "v", "\x01\x02", N(2)),
                     SIZE_MAX);
    assert_int_equal(pack_small(small, sizeof small, &values, false, "v", "\xc1", N(1)), SIZE_MAX);
    assert_int_equal(pack_small(small, sizeof small, &values, false, "v", NULL, N(0)), SIZE_MAX);
    assert_int_equal(pack_small(small, sizeof small, &values, false, "p", (void *)small), SIZE_MAX);
    assert_int_equal(pack_small(small, sizeof small, &values, false, "s", NULL), SIZE_MAX);
    assert_int_equal(pack_small(small, sizeof small, &values, false, "S", NULL, N(3)), SIZE_MAX);
    assert_int_equal(pack_small(small, sizeof small, &values, false, "S", "x", SIZE_MAX), SIZE_MAX);
    assert_int_equal(values, 7);
    assert_int_equal(pack_small(small, sizeof small, &values, false, ""), 0);
    assert_int_equal(pack_small(small, sizeof small, &values, false, NULL), 0);
    assert_int_equal(values, 7);
}

static size_t bound(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t size = wire_value_bound(format, &arguments);
    va_end(arguments);
    return size;
}

static void what_is_large_fits_into_its_bound(void **state) {
    static const size_t sizes[] = {0, 31, 32, 255, 256, 65535, 65536, 1 << 20};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *bytes = calloc(1, sizes[i] + 1), *packed;
        size_t values = 0, size;
        size_t room =
            bound("iSB v,d", I(INT64_MIN), bytes, sizes[i], bytes, sizes[i], "\x91\x05", N(2), 0.5);
        assert_in_range(room, 2 * sizes[i], 2 * sizes[i] + 100);
        packed = malloc(room);
        assert_non_null(packed);
        size = pack_small(packed, room, &values, false, "iSB v,d", I(INT64_MIN), bytes, sizes[i],
                          bytes, sizes[i], "\x91\x05", N(2), 0.5);
        assert_in_range(size, 2 * sizes[i], room);
        assert_int_equal(values, 5);
        assert_int_equal(
            pack("iSBvd", I(INT64_MIN), bytes, sizes[i], bytes, sizes[i], "\x91\x05", N(2), 0.5),
            WIRE_VALUE_OK);
        out_is((const char *)packed, size);
        free(packed);
        free(bytes);
    }
}

static void what_the_short_way_does_not_pack_has_no_bound(void **state) {
    (void)state;
    assert_int_equal(bound("[i]", I(1)), SIZE_MAX);
    assert_int_equal(bound("x"), SIZE_MAX);
    assert_int_equal(bound("B", "", (size_t)WIRE_PAYLOAD_BYTES_MAX + 1), SIZE_MAX);
    assert_int_equal(bound("BB", "", N(200 << 20), "", N(100 << 20)), SIZE_MAX);
    assert_true(bound(NULL) < 16);
    assert_true(bound("s", NULL) < 32);
}

/* After each of them the buffer and the count are as before. */
static void a_format_that_is_wrong_is_refused_by_its_letter(void **state) {
    static const struct {
        const char *format;
        const char *text;
    } formats[] = {
        {"x", "argument 1 (\"x\"): is no format letter"},
        {"n\x01", "argument 2 (\"?\"): is no format letter"},
        {"n*", "argument 2 (\"*\"): is no format letter"},
        {"n]", "argument 2 (\"]\"): closes no bracket"},
        {"[n", "argument 1 (\"[\"): is not closed"},
        {"[n}", "argument 1 (\"[\"): is not closed"},
        {"n[n[n]", "argument 2 (\"[\"): is not closed"},
        {"{[n}]", "argument 1 (\"{\"): is not closed"},
        {"[{n]]}", "argument 2 (\"{\"): is not closed"},
        {"{n}", "argument 1 (\"{\"): has a key without a value"},
        {"{n[]n}", "argument 1 (\"{\"): has a key without a value"},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
         "argument 33 (\"[\"): nested deeper than 32"},
    };
    (void)state;
    assert_int_equal(pack("i", I(5)), WIRE_VALUE_OK);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        assert_int_equal(pack(formats[i].format), WIRE_VALUE_FORMAT);
        assert_string_equal(fault.text, formats[i].text);
        assert_int_equal(count, 1);
        assert_int_equal(out.size, 1);
    }
    out_is("\x05", 1);
}

static void an_argument_that_is_no_value_is_refused(void **state) {
    (void)state;
    assert_int_equal(pack("is", I(1), NULL), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "argument 2 (\"s\"): the pointer is NULL");
    assert_int_equal(pack("S", NULL, N(1)), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "argument 1 (\"S\"): the pointer is NULL");
    assert_int_equal(pack("v", NULL, N(0)), WIRE_VALUE_MISMATCH);
    assert_int_equal(pack("v", "", N(0)), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "argument 1 (\"v\"): the bytes are 0 values instead of one");
    assert_int_equal(pack("v", "\x01\x02", N(2)), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "argument 1 (\"v\"): the bytes are 2 values instead of one");
    assert_int_equal(pack("v", "\x92\x02", N(2)), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "argument 1 (\"v\"): the bytes are malformed, or nested deeper "
                                    "than 32");
    assert_int_equal(pack("ip", I(1), (void *)&fault), WIRE_VALUE_POINTER);
    assert_string_equal(fault.text, "argument 2 (\"p\"): pointers can't leave this process");
    assert_int_equal(out.size, 0);
    assert_int_equal(count, 0);
}

/* What v brings counts towards the depth of what it stands in. */
static void whole_values_are_nested_no_deeper_than_32(void **state) {
    uint8_t deep[33];
    (void)state;
    memset(deep, 0x91, sizeof deep);
    deep[31] = 0x90;
    assert_int_equal(pack("v", deep, N(32)), WIRE_VALUE_OK);
    assert_int_equal(pack("[v]", deep, N(32)), WIRE_VALUE_MISMATCH);
    assert_int_equal(pack("[v]", deep + 1, N(31)), WIRE_VALUE_OK);
    assert_true(wire_value_check(out.data, out.size, NULL));
}

static void values_over_the_limit_are_refused(void **state) {
    (void)state;
    assert_int_equal(pack("iB", I(1), "x", (size_t)WIRE_PAYLOAD_BYTES_MAX + 1), WIRE_VALUE_TOOBIG);
    assert_string_equal(fault.text, "argument 2 (\"B\"): 268435457 bytes: the values are over the "
                                    "limit of 268435456 bytes");
    assert_int_equal(pack("iv", I(1), "x", SIZE_MAX), WIRE_VALUE_TOOBIG);
    assert_int_equal(out.size, 0);
}

static void without_memory_the_buffer_is_as_before(void **state) {
    static char text[5000];
    (void)state;
    memset(text, 'x', sizeof text - 1);
    assert_int_equal(pack("i", I(5)), WIRE_VALUE_OK);
    fail_alloc_after(0);
    assert_int_equal(pack("is", I(6), text), WIRE_VALUE_NOMEM);
    assert_string_equal(fault.text, "out of memory");
    fail_alloc_never();
    assert_int_equal(count, 1);
    assert_false(out.failed);
    assert_int_equal(pack("is", I(6), text), WIRE_VALUE_OK);
    assert_int_equal(count, 3);
    assert_memory_equal(out.data, "\x05\x06\xda\x13\x87", 5);
}

static void an_array_of_any_count_is_begun(void **state) {
    (void)state;
    assert_true(wire_value_begin_array(&out, 3));
    out_is("\x93", 1);
    assert_true(wire_value_begin_array(&out, 16));
    out_is("\xdc\x00\x10", 3);
    assert_true(wire_value_begin_array(&out, UINT32_MAX));
    out_is("\xdd\xff\xff\xff\xff", 5);
    base_buffer_fini(&out);
    fail_alloc_after(0);
    assert_false(wire_value_begin_array(&out, 3));
    fail_alloc_never();
}

/* --------------------------------------------------------------- unpacking */

static void every_letter_unpacks_what_it_packed(void **state) {
    int64_t i, inner;
    uint64_t u;
    double d;
    bool yes, no;
    const char *s, *text, *key;
    const void *bytes, *whole;
    size_t text_size, bytes_size, whole_size, key_size;
    void *pointer;
    (void)state;
    assert_int_equal(pack_local("iudbbsSBvnp[i{Si}]", INT64_MIN, UINT64_MAX, 0.1, 1, 0, "string",
                                "a\0b", N(3), "\1\2", N(2), "\x92\x01\x02", N(3), (void *)&out,
                                I(5), "key", N(3), I(-6)),
                     WIRE_VALUE_OK);
    enum wire_value_status status =
        unpack_out("iudbbsSBvnp[i{Si}]", &i, &u, &d, &yes, &no, &s, &text, &text_size, &bytes,
                   &bytes_size, &whole, &whole_size, &pointer, &inner, &key, &key_size, &inner);
    if (status != WIRE_VALUE_OK) {
        fail_msg("%s", fault.text);
    }
    assert_true(i == INT64_MIN && u == UINT64_MAX && d == 0.1 && yes && !no);
    assert_string_equal(s, "string");
    assert_true(s >= arena && s < arena + sizeof arena);
    assert_int_equal(text_size, 3);
    assert_memory_equal(text, "a\0b", 3);
    assert_int_equal(bytes_size, 2);
    assert_memory_equal(bytes, "\1\2", 2);
    assert_int_equal(whole_size, 3);
    assert_memory_equal(whole, "\x92\x01\x02", 3);
    assert_ptr_equal(pointer, &out);
    assert_int_equal(key_size, 3);
    assert_int_equal(inner, -6);
    assert_true((const uint8_t *)text > out.data && (const uint8_t *)text < out.data + out.size);
}

static void the_rest_is_ignored_only_where_the_format_says_so(void **state) {
    int64_t a, b;
    (void)state;
    assert_int_equal(unpack("\x01\x02", 2, "ii", &a, &b), WIRE_VALUE_OK);
    assert_int_equal(unpack("\x01\x02", 2, "i", &a), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "1 value is left over: the format has 1");
    assert_int_equal(unpack("\x01\x91\x02\x03", 4, NULL), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "3 values are left over: the format has 0");
    assert_int_equal(unpack("\x01\x02", 2, "i *, ", &a), WIRE_VALUE_OK);
    assert_int_equal(unpack("\x01\x02", 2, "*"), WIRE_VALUE_OK);
    assert_int_equal(unpack("", 0, "*"), WIRE_VALUE_OK);
    assert_int_equal(unpack("", 0, NULL), WIRE_VALUE_OK);
    assert_int_equal(unpack("\x01\x02", 2, "iii", &a, &a, &b), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "argument 3 (\"i\"): found nothing");
    assert_int_equal(unpack("\x01\x02", 2, "*i", &a), WIRE_VALUE_FORMAT);
    assert_string_equal(fault.text, "argument 1 (\"*\"): stands only at the end");
    assert_int_equal(unpack("\x01\x02", 2, "**"), WIRE_VALUE_FORMAT);
    assert_int_equal(unpack("\x91\x01", 2, "[*]"), WIRE_VALUE_FORMAT);
}

static void a_value_of_another_type_is_named(void **state) {
    static const struct {
        const char *letter, *bytes;
        size_t size;
        const char *text;
    } others[] = {
        {"i", "\xa2hi", 3, "argument 1 (\"i\"): found a string"},
        {"i", "\xcb\x3f\xf0\0\0\0\0\0\0", 9, "argument 1 (\"i\"): found a float"},
        {"i", "\xc3", 1, "argument 1 (\"i\"): found a boolean"},
        {"u", "\xc0", 1, "argument 1 (\"u\"): found nil"},
        {"d", "\xa1x", 2, "argument 1 (\"d\"): found a string"},
        {"b", "\x01", 1, "argument 1 (\"b\"): found an integer"},
        {"b", "\xc0", 1, "argument 1 (\"b\"): found nil"},
        {"n", "\xc2", 1, "argument 1 (\"n\"): found a boolean"},
        {"S", "\xc4\x01x", 3, "argument 1 (\"S\"): found binary"},
        {"B", "\xa1x", 2, "argument 1 (\"B\"): found a string"},
        {"[", "\x01", 1, "argument 1 (\"[\"): is not closed"},
        {"[]", "\x80", 1, "argument 1 (\"[\"): found a map"},
        {"{}", "\x90", 1, "argument 1 (\"{\"): found an array"},
        {"[n]", "\x92\xc0\xc0", 3, "argument 1 (\"[\"): found an array of 2 instead of 1"},
        {"{nn}", "\x80", 1, "argument 1 (\"{\"): found a map of 0 instead of 1"},
        {"[n]", "\x91\x01", 2, "argument 2 (\"n\"): found an integer"},
        {"x", "\x01", 1, "argument 1 (\"x\"): is no format letter"},
        {"v", "", 0, "argument 1 (\"v\"): found nothing"},
        {"i", "\xcd\x01", 2, "argument 1 (\"i\"): found malformed bytes"},
        {"v", "\x92\x01", 2, "argument 1 (\"v\"): found malformed bytes"},
    };
    uint64_t slot[4];
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_not_equal(
            unpack(others[i].bytes, others[i].size, others[i].letter, &slot[0], &slot[1]),
            WIRE_VALUE_OK);
        assert_string_equal(fault.text, others[i].text);
    }
}

static void integers_must_be_in_range(void **state) {
    int64_t i = 0;
    uint64_t u = 0;
    (void)state;
    assert_int_equal(unpack("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", 9, "i", &i), WIRE_VALUE_OK);
    assert_true(i == INT64_MAX);
    assert_int_equal(unpack("\xcf\x80\0\0\0\0\0\0\0", 9, "i", &i), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "argument 1 (\"i\"): found 9223372036854775808, which is above "
                                    "9223372036854775807");
    assert_int_equal(unpack("\xcf\x80\0\0\0\0\0\0\0", 9, "u", &u), WIRE_VALUE_OK);
    assert_true(u == UINT64_C(1) << 63);
    assert_int_equal(unpack("\xd3\0\0\0\0\0\0\0\x05", 9, "u", &u), WIRE_VALUE_OK);
    assert_true(u == 5);
    assert_int_equal(unpack("\xfb", 1, "u", &u), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "argument 1 (\"u\"): found -5, which is below 0");
    assert_true(u == 5);
}

static void a_float_takes_integers_that_it_can_hold_exactly(void **state) {
    static const struct {
        const char *bytes;
        size_t size;
        bool good;
        double value;
    } numbers[] = {
        {"\x05", 1, true, 5},
        {"\xff", 1, true, -1},
        {"\xca\x3f\xc0\0\0", 5, true, 1.5},
        {"\xcf\0\x20\0\0\0\0\0\0", 9, true, 9007199254740992.0},    /* 2^53 */
        {"\xcf\0\x20\0\0\0\0\0\1", 9, false, 0},                    /* 2^53 + 1 */
        {"\xcf\x80\0\0\0\0\0\0\0", 9, true, 9223372036854775808.0}, /* 2^63 */
        {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9, false, 0},      /* rounds up to 2^64 */
        {"\xcf\xff\xff\xff\xff\xff\xff\xf8\0", 9, true, 18446744073709549568.0},
        {"\xd3\x80\0\0\0\0\0\0\0", 9, true, -9223372036854775808.0},
        {"\xd3\x80\0\0\0\0\0\0\1", 9, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        double d = 0;
        assert_int_equal(unpack(numbers[i].bytes, numbers[i].size, "d", &d) == WIRE_VALUE_OK,
                         numbers[i].good);
        assert_true(d == numbers[i].value);
    }
    double d;
    assert_int_equal(unpack("\xcf\0\x20\0\0\0\0\0\1", 9, "d", &d), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text,
                        "argument 1 (\"d\"): found 9007199254740993, which no float is exactly");
}

static void strings_are_kept_terminated_or_refused(void **state) {
    const char *s = NULL, *t = NULL;
    (void)state;
    assert_int_equal(pack("ss", "", "hello"), WIRE_VALUE_OK);
    assert_int_equal(unpack_out("ss", &s, &t), WIRE_VALUE_OK);
    assert_string_equal(s, "");
    assert_string_equal(t, "hello");
    assert_int_equal(unpack("\xa1x", 2, "s", &s), WIRE_VALUE_FORMAT);
    assert_string_equal(fault.text,
                        "argument 1 (\"s\"): nobody would own the terminated copy; use S");
    base_buffer_clear(&out);
    assert_int_equal(pack("iS", I(1), "a\0b", N(3)), WIRE_VALUE_OK);
    int64_t i;
    assert_int_equal(unpack_out("is", &i, &s), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "argument 2 (\"s\"): found a string with a NUL in it; use S");
    base_buffer_clear(&out);
    static char text[sizeof arena + 1];
    memset(text, 'x', sizeof text - 1);
    assert_int_equal(pack("s", text), WIRE_VALUE_OK);
    assert_int_equal(unpack_out("s", &s), WIRE_VALUE_NOMEM);
    assert_string_equal(fault.text, "argument 1 (\"s\"): out of memory");
}

/* Any bytes can claim to be a pointer. */
static void a_pointer_is_taken_only_where_it_is_allowed(void **state) {
    static const char bytes[] = "\xd7\x50\x01\x02\x03\x04\x05\x06\x07\x08";
    void *pointer = NULL;
    (void)state;
    assert_int_equal(unpack(bytes, 10, "p", &pointer), WIRE_VALUE_POINTER);
    assert_string_equal(fault.text, "argument 1 (\"p\"): pointers come from this process only");
    assert_null(pointer);
    assert_int_equal(pack_local("p", NULL), WIRE_VALUE_OK);
    pointer = &count;
    allow_pointers = false;
    assert_int_equal(unpack_out("p", &pointer), WIRE_VALUE_POINTER);
    assert_ptr_equal(pointer, &count);
    allow_pointers = true;
    assert_int_equal(unpack_out("p", &pointer), WIRE_VALUE_OK);
    assert_null(pointer);
    base_buffer_clear(&out);
    assert_int_equal(pack("v", "\xd7\x51\x01\x02\x03\x04\x05\x06\x07\x08", N(10)), WIRE_VALUE_OK);
    assert_int_equal(unpack_out("p", &pointer), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "argument 1 (\"p\"): found an extension value");
}

static void what_msgpack_packs_is_unpacked(void **state) {
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    int64_t i;
    uint64_t u;
    double d;
    bool b;
    const char *text;
    const void *bytes;
    size_t text_size, bytes_size;
    (void)state;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    msgpack_pack_fix_int16(&packer, -5);
    msgpack_pack_unsigned_long_long(&packer, 1u << 20);
    msgpack_pack_float(&packer, 0.5f);
    msgpack_pack_true(&packer);
    msgpack_pack_map(&packer, 1);
    msgpack_pack_str_with_body(&packer, "key", 3);
    msgpack_pack_bin_with_body(&packer, "bytes", 5);
    assert_int_equal(wire_value_check(buffer.data, buffer.size, &count), true);
    assert_int_equal(count, 5);
    base_buffer_append(&out, buffer.data, buffer.size);
    assert_int_equal(unpack_out("iudb{SB}", &i, &u, &d, &b, &text, &text_size, &bytes, &bytes_size),
                     WIRE_VALUE_OK);
    assert_true(i == -5 && u == 1u << 20 && d == 0.5 && b);
    assert_int_equal(text_size, 3);
    assert_int_equal(bytes_size, 5);
    assert_memory_equal(bytes, "bytes", 5);
    msgpack_sbuffer_destroy(&buffer);
}

/* What unpacking a format gives: values in cells, as far as it came, and what it had to say. */
#define CELLS 4
struct unpacked {
    enum wire_value_status status;
    struct wire_value_fault fault;
    unsigned char cells[CELLS][sizeof(uint64_t)];
};

/* Into cells that belong to no type, `shortly` as everybody does and else by the long way alone. */
static struct unpacked unpack_into(void *cells[CELLS], bool shortly, bool keeps,
                                   const uint8_t *data, size_t size, const char *format, ...) {
    size_t used = 0;
    const struct wire_value_keeper keeper = {keep, &used, true}, *user = keeps ? &keeper : NULL;
    struct unpacked to = {.fault = {"none"}};
    va_list arguments;
    for (size_t i = 0; i < CELLS; i++) {
        memset(cells[i], 0x5a, sizeof to.cells[i]);
    }
    va_start(arguments, format);
    to.status = shortly ? wire_value_unpack(data, size, format, &arguments, user, &to.fault)
                        : wire_value_unpack_on((struct wire_value_place){data, format}, data + size,
                                               format, &arguments, user, &to.fault);
    va_end(arguments);
    for (size_t i = 0; i < CELLS; i++) {
        memcpy(to.cells[i], cells[i], sizeof to.cells[i]);
    }
    return to;
}

static void both_ways_agree(const uint8_t *data, size_t size, const char *format) {
    uint8_t *copy = malloc(size > 0 ? size : 1); /* ends where its memory ends */
    void *to[CELLS];
    assert_non_null(copy);
    memcpy(copy, data, size);
    for (size_t i = 0; i < CELLS; i++) {
        to[i] = malloc(sizeof(uint64_t));
        assert_non_null(to[i]);
    }
    for (int keeps = 0; keeps < 2; keeps++) {
        struct unpacked one =
            unpack_into(to, true, keeps, copy, size, format, to[0], to[1], to[2], to[3]);
        struct unpacked two =
            unpack_into(to, false, keeps, copy, size, format, to[0], to[1], to[2], to[3]);
        assert_int_equal(one.status, two.status);
        assert_memory_equal(one.cells, two.cells, sizeof one.cells);
        assert_string_equal(one.fault.text, two.fault.text);
        assert_int_equal(one.status == WIRE_VALUE_OK, one.fault.text[0] == 0);
    }
    for (size_t i = 0; i < CELLS; i++) {
        free(to[i]);
    }
    free(copy);
}

/* For every first byte of a value, with several bodies and lengths, wherever it stands. */
static void the_short_way_and_the_long_way_of_unpacking_agree(void **state) {
    static const char *const formats[] = {"i",  "u",  "d",  "b",  "n",  "s",   "S",  "B",
                                          "v",  "p",  "x",  "*",  "",   "[i]", "ii", "i u",
                                          "iS", "iB", "id", "ib", "i,", "Si",  "i]"};
    static const uint8_t fills[] = {0x00, 0x01, 0x7f, 0x80, 0xc3, 0xff};
    static const uint8_t pointer[] = {0xd7, WIRE_EXT_POINTER, 1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t data[12];
    (void)state;
    for (size_t size = 0; size <= sizeof pointer; size++) {
        both_ways_agree(pointer, size, "p");
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t fill = 0; fill < sizeof fills; fill++) {
            memset(data, fills[fill], sizeof data);
            data[0] = (uint8_t)byte;
            for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
                for (size_t size = 0; size < sizeof data; size++) {
                    both_ways_agree(data, size, formats[i]);
                }
            }
            data[0] = 0xd0; /* an integer in front of it */
            data[1] = 0xfe;
            data[2] = (uint8_t)byte;
            for (size_t size = 2; size < sizeof data; size++) {
                both_ways_agree(data, size, "i u");
                both_ways_agree(data, size, "iS");
            }
        }
    }
}

/* Where the short way stops in between, the position in what is said is right. */
static void a_fault_behind_what_was_unpacked_shortly_names_its_position(void **state) {
    int64_t i;
    double d;
    (void)state;
    assert_int_equal(unpack("\x01\xcb\0\0\0\0\0\0\0\0\xc0", 11, "i, d i", &i, &d, &i),
                     WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "argument 3 (\"i\"): found nil");
    assert_int_equal(unpack("\x01\x02", 2, "i", &i), WIRE_VALUE_MISMATCH);
    assert_string_equal(fault.text, "1 value is left over: the format has 1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_letter_packs_its_value),
        TEST(brackets_pack_arrays_and_maps),
        TEST(blanks_and_commas_say_nothing),
        TEST(what_we_pack_msgpack_unpacks),
        TEST(packing_small_gives_the_same_bytes),
        TEST(packing_small_never_writes_beyond_its_room),
        TEST(what_is_not_small_is_left_to_the_long_way),
        TEST(what_is_large_fits_into_its_bound),
        TEST(what_the_short_way_does_not_pack_has_no_bound),
        TEST(a_format_that_is_wrong_is_refused_by_its_letter),
        TEST(an_argument_that_is_no_value_is_refused),
        TEST(whole_values_are_nested_no_deeper_than_32),
        TEST(values_over_the_limit_are_refused),
        TEST(without_memory_the_buffer_is_as_before),
        TEST(an_array_of_any_count_is_begun),
        TEST(every_letter_unpacks_what_it_packed),
        TEST(the_rest_is_ignored_only_where_the_format_says_so),
        TEST(a_value_of_another_type_is_named),
        TEST(integers_must_be_in_range),
        TEST(a_float_takes_integers_that_it_can_hold_exactly),
        TEST(strings_are_kept_terminated_or_refused),
        TEST(a_pointer_is_taken_only_where_it_is_allowed),
        TEST(what_msgpack_packs_is_unpacked),
        TEST(the_short_way_and_the_long_way_of_unpacking_agree),
        TEST(a_fault_behind_what_was_unpacked_shortly_names_its_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
