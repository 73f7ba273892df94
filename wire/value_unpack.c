#include "wire/format.h"
#include "wire/reader.h"

#include <inttypes.h>
#include <stdio.h>

struct unpack {
    struct wire_reader in;
    struct wire_format walk;
    va_list *arguments;
    const struct wire_value_keeper *keeper;
};

static enum wire_value_status found_other(const struct unpack *unpack)
    __attribute__((cold, noinline));
static enum wire_value_status found_other(const struct unpack *unpack) {
    return wire_format_fault(&unpack->walk, WIRE_VALUE_MISMATCH, "found %s",
                             wire_found(&unpack->in));
}

static enum wire_value_status unpack_signed(struct unpack *unpack) {
    int64_t *to = va_arg(*unpack->arguments, int64_t *);
    uint64_t value;
    bool negative;
    if (!wire_read_int(&unpack->in, &value, &negative)) {
        return found_other(unpack);
    }
    if (!negative && value > INT64_MAX) {
        return wire_format_fault(&unpack->walk, WIRE_VALUE_MISMATCH,
                                 "found %" PRIu64 ", which is above %" PRId64, value, INT64_MAX);
    }
    *to = (int64_t)value;
    return WIRE_VALUE_OK;
}

static enum wire_value_status unpack_unsigned(struct unpack *unpack) {
    uint64_t *to = va_arg(*unpack->arguments, uint64_t *);
    uint64_t value;
    bool negative;
    if (!wire_read_int(&unpack->in, &value, &negative)) {
        return found_other(unpack);
    }
    if (negative) {
        return wire_format_fault(&unpack->walk, WIRE_VALUE_MISMATCH,
                                 "found %" PRId64 ", which is below 0", (int64_t)value);
    }
    *to = value;
    return WIRE_VALUE_OK;
}

/* Whether an integer is a double without loss. 2^64 itself is where rounding up may lead, and must
 * not be converted back. */
static bool exact_double(uint64_t value, bool negative, double *number) {
    if (negative) {
        *number = (double)(int64_t)value;
        return (int64_t)*number == (int64_t)value;
    }
    *number = (double)value;
    return *number < 18446744073709551616.0 && (uint64_t)*number == value;
}

static enum wire_value_status unpack_double(struct unpack *unpack) {
    double *to = va_arg(*unpack->arguments, double *);
    const uint8_t *at = unpack->in.at;
    size_t left = wire_left(&unpack->in);
    if (left >= 9 && *at == 0xcb) {
        uint64_t bits = wire_load64(at + 1);
        memcpy(to, &bits, sizeof bits);
        unpack->in.at += 9;
        return WIRE_VALUE_OK;
    }
    if (left >= 5 && *at == 0xca) {
        uint32_t bits = wire_load32(at + 1);
        float number;
        memcpy(&number, &bits, sizeof bits);
        *to = (double)number;
        unpack->in.at += 5;
        return WIRE_VALUE_OK;
    }
    uint64_t value;
    bool negative;
    double number;
    if (!wire_read_int(&unpack->in, &value, &negative)) {
        return found_other(unpack);
    }
    if (!exact_double(value, negative, &number)) {
        return negative ? wire_format_fault(&unpack->walk, WIRE_VALUE_MISMATCH,
                                            "found %" PRId64 ", which no float is exactly",
                                            (int64_t)value)
                        : wire_format_fault(&unpack->walk, WIRE_VALUE_MISMATCH,
                                            "found %" PRIu64 ", which no float is exactly", value);
    }
    *to = number;
    return WIRE_VALUE_OK;
}

static enum wire_value_status unpack_bool(struct unpack *unpack) {
    bool *to = va_arg(*unpack->arguments, bool *);
    if (wire_left(&unpack->in) == 0 || (*unpack->in.at & 0xfe) != 0xc2) {
        return found_other(unpack);
    }
    *to = *unpack->in.at++ == 0xc3;
    return WIRE_VALUE_OK;
}

static enum wire_value_status unpack_nil(struct unpack *unpack) {
    if (wire_left(&unpack->in) == 0 || *unpack->in.at != 0xc0) {
        return found_other(unpack);
    }
    unpack->in.at++;
    return WIRE_VALUE_OK;
}

static enum wire_value_status unpack_string(struct unpack *unpack) {
    const char **to = va_arg(*unpack->arguments, const char **);
    struct wire_text text;
    if (unpack->keeper == NULL || unpack->keeper->keep == NULL) {
        return wire_format_fault(&unpack->walk, WIRE_VALUE_FORMAT,
                                 "nobody would own the terminated copy; use S");
    }
    if (!wire_read_text(&unpack->in, &text)) {
        return found_other(unpack);
    }
    if (text.size > 0 && memchr(text.data, 0, text.size) != NULL) {
        return wire_format_fault(&unpack->walk, WIRE_VALUE_MISMATCH,
                                 "found a string with a NUL in it; use S");
    }
    char *copy = unpack->keeper->keep(unpack->keeper->user, text.size + 1);
    if (copy == NULL) {
        return wire_format_fault(&unpack->walk, WIRE_VALUE_NOMEM, "out of memory");
    }
    memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    *to = copy;
    return WIRE_VALUE_OK;
}

/* S, B and v: a pointer into the data and a size. */
static enum wire_value_status unpack_view(struct unpack *unpack) {
    const void **to = va_arg(*unpack->arguments, const void **);
    size_t *size = va_arg(*unpack->arguments, size_t *);
    const uint8_t *begin = unpack->in.at;
    struct wire_head head;
    if (unpack->walk.letter == 'v') {
        if (!wire_skip(&unpack->in, WIRE_NESTING_MAX)) {
            return found_other(unpack);
        }
        *to = begin;
        *size = (size_t)(unpack->in.at - begin);
        return WIRE_VALUE_OK;
    }
    enum wire_sort sort = unpack->walk.letter == 'S' ? WIRE_SORT_STR : WIRE_SORT_BIN;
    if (!wire_peek(&unpack->in, &head) || head.sort != sort) {
        return found_other(unpack);
    }
    *to = begin + head.bytes;
    *size = head.body;
    unpack->in.at += head.bytes + (size_t)head.body;
    return WIRE_VALUE_OK;
}

static enum wire_value_status unpack_pointer(struct unpack *unpack) {
    void **to = va_arg(*unpack->arguments, void **);
    const uint8_t *at = unpack->in.at;
    if (unpack->keeper == NULL || !unpack->keeper->allow_pointers) {
        return wire_format_fault(&unpack->walk, WIRE_VALUE_POINTER,
                                 "pointers come from this process only");
    }
    if (wire_left(&unpack->in) < 2 + sizeof *to || at[0] != 0xd7 || at[1] != WIRE_EXT_POINTER) {
        return found_other(unpack);
    }
    memcpy(to, at + 2, sizeof *to);
    unpack->in.at += 2 + sizeof *to;
    return WIRE_VALUE_OK;
}

static enum wire_value_status unpack_brackets(struct unpack *unpack) {
    const bool array = unpack->walk.letter == '[';
    uint32_t count;
    struct wire_head head;
    enum wire_value_status status = wire_format_open(&unpack->walk, &count);
    if (status != WIRE_VALUE_OK) {
        return status;
    }
    if (!wire_peek(&unpack->in, &head) || head.sort != (array ? WIRE_SORT_ARRAY : WIRE_SORT_MAP)) {
        return found_other(unpack);
    }
    if (head.children != count) {
        return wire_format_fault(
            &unpack->walk, WIRE_VALUE_MISMATCH, "found %s of %" PRIu64 " instead of %u",
            array ? "an array" : "a map", array ? head.children : head.children / 2,
            array ? count : count / 2);
    }
    unpack->in.at += head.bytes;
    return WIRE_VALUE_OK;
}

static enum wire_value_status unpack_letter(struct unpack *unpack) {
    switch (unpack->walk.letter) {
    case 'i':
        return unpack_signed(unpack);
    case 'u':
        return unpack_unsigned(unpack);
    case 'd':
        return unpack_double(unpack);
    case 'b':
        return unpack_bool(unpack);
    case 'n':
        return unpack_nil(unpack);
    case 's':
        return unpack_string(unpack);
    case 'S':
    case 'B':
    case 'v':
        return unpack_view(unpack);
    case 'p':
        return unpack_pointer(unpack);
    case '[':
    case '{':
        return unpack_brackets(unpack);
    default:
        return wire_format_unknown(&unpack->walk);
    }
}

/* What * stands for: everything that is left, at the very end of the format. */
static enum wire_value_status unpack_rest(struct unpack *unpack) {
    const char *behind = unpack->walk.at;
    if (behind[strspn(behind, " ,")] != 0) { /* be it the bracket around it */
        return wire_format_fault(&unpack->walk, WIRE_VALUE_FORMAT, "stands only at the end");
    }
    unpack->in.at = unpack->in.end;
    unpack->walk.at = "";
    return WIRE_VALUE_OK;
}

static enum wire_value_status left_over(const struct unpack *unpack) __attribute__((cold));
static enum wire_value_status left_over(const struct unpack *unpack) {
    size_t count = 0;
    struct wire_value_fault *fault = unpack->walk.fault;
    if (wire_value_check_nested(unpack->in.at, wire_left(&unpack->in), WIRE_NESTING_MAX, &count)) {
        snprintf(fault->text, sizeof fault->text, "%zu %s left over: the format has %u", count,
                 count == 1 ? "value is" : "values are", unpack->walk.position);
    } else {
        snprintf(fault->text, sizeof fault->text, "malformed bytes are left over");
    }
    return WIRE_VALUE_MISMATCH;
}

enum wire_value_status wire_value_unpack_on(struct wire_value_place place, const void *data,
                                            size_t size, const char *format, va_list *arguments,
                                            const struct wire_value_keeper *keeper,
                                            struct wire_value_fault *fault) {
    struct unpack unpack = {wire_reader_of(data, size), wire_format_of(place.letter, fault),
                            arguments, keeper};
    enum wire_value_status status = WIRE_VALUE_OK;
    fault->text[0] = 0;
    unpack.in.at = place.at;
    for (const char *done = format; done != NULL && done != place.letter; done++) {
        unpack.walk.position += *done == ' ' || *done == ',' ? 0 : 1;
    }
    while (status == WIRE_VALUE_OK && wire_format_next(&unpack.walk, &status)) {
        status = unpack.walk.letter == '*' ? unpack_rest(&unpack) : unpack_letter(&unpack);
    }
    if (status == WIRE_VALUE_OK && wire_left(&unpack.in) > 0) {
        return left_over(&unpack);
    }
    return status;
}

/* --------------------------------------------------------------- fast path */

/* The forms of an integer that few numbers need. As read_number. */
static inline const uint8_t *read_other_number(const uint8_t *at, size_t left, int64_t *number) {
    switch (*at) {
    case 0xcf:
        *number = left < 9 ? -1 : (int64_t)wire_load64(at + 1);
        return *number < 0 ? NULL : at + 9;
    case 0xd0:
        *number = left < 2 ? 0 : (int8_t)at[1];
        return left < 2 ? NULL : at + 2;
    case 0xd1:
        *number = left < 3 ? 0 : (int16_t)wire_load16(at + 1);
        return left < 3 ? NULL : at + 3;
    case 0xd2:
        *number = left < 5 ? 0 : (int32_t)wire_load32(at + 1);
        return left < 5 ? NULL : at + 5;
    case 0xd3:
        *number = left < 9 ? 0 : (int64_t)wire_load64(at + 1);
        return left < 9 ? NULL : at + 9;
    default:
        return NULL;
    }
}

/* An integer that an int64_t holds, in whatever form it is written. Returns where it ends; NULL: there is
 * none. */
static inline const uint8_t *read_number(const uint8_t *at, const uint8_t *end, int64_t *number) {
    const size_t left = (size_t)(end - at);
    if (left == 0) {
        return NULL;
    }
    if ((int8_t)*at >= -32) {
        *number = (int8_t)*at;
        return at + 1;
    }
    switch (*at) {
    case 0xcc:
        *number = left < 2 ? 0 : at[1];
        return left < 2 ? NULL : at + 2;
    case 0xcd:
        *number = left < 3 ? 0 : wire_load16(at + 1);
        return left < 3 ? NULL : at + 3;
    case 0xce:
        *number = left < 5 ? 0 : wire_load32(at + 1);
        return left < 5 ? NULL : at + 5;
    default:
        return read_other_number(at, left, number);
    }
}

/* The body of a short string or binary. */
static inline const uint8_t *view(const uint8_t *body, const uint8_t *end, size_t size,
                                  va_list *arguments) {
    if ((size_t)(end - body) < size) {
        return NULL;
    }
    *va_arg(*arguments, const void **) = body;
    *va_arg(*arguments, size_t *) = size;
    return body + size;
}

/* One value of the common kinds. Returns where it ends; NULL, nothing having happened: it is
 * none of these, or none for this letter. */
static inline const uint8_t *unpack_plain(const uint8_t *at, const uint8_t *end, char letter,
                                          va_list *arguments) {
    const uint8_t *next;
    int64_t number;
    uint64_t bits;
    if (BASE_LIKELY(letter == 'i') || letter == 'u') { /* most are: not by the switch's table */
        next = read_number(at, end, &number);
        if (next != NULL && letter == 'i') {
            *va_arg(*arguments, int64_t *) = number;
        } else if (next != NULL && number >= 0) {
            *va_arg(*arguments, uint64_t *) = (uint64_t)number;
        } else {
            return NULL;
        }
        return next;
    }
    switch (letter) {
    case 'd':
        if (end - at < 9 || *at != 0xcb) {
            return NULL;
        }
        bits = wire_load64(at + 1);
        memcpy(va_arg(*arguments, double *), &bits, sizeof bits);
        return at + 9;
    case 'b':
        if (at == end || (*at & 0xfe) != 0xc2) {
            return NULL;
        }
        *va_arg(*arguments, bool *) = *at == 0xc3;
        return at + 1;
    case 'S':
        return at == end || (*at & 0xe0) != 0xa0 ? NULL : view(at + 1, end, *at & 0x1f, arguments);
    case 'B':
        return end - at < 2 || *at != 0xc4 ? NULL : view(at + 2, end, at[1], arguments);
    default:
        return NULL;
    }
}

struct wire_value_place wire_value_unpack_plain(const void *data, size_t size, const char *format,
                                                va_list *arguments) {
    struct wire_reader in = wire_reader_of(data, size);
    const char *letter = format == NULL ? "" : format;
    const uint8_t *next;
    for (; *letter != 0; letter++) {
        next = unpack_plain(in.at, in.end, *letter, arguments);
        if (next != NULL) {
            in.at = next;
        } else if (*letter != ' ' && *letter != ',') {
            return (struct wire_value_place){in.at, letter};
        }
    }
    return (struct wire_value_place){in.at, in.at == in.end ? NULL : letter};
}
