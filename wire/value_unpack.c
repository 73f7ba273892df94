#include "base/copy.h"
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

/* A string, nearly always a short one. */
static inline bool read_text(struct wire_reader *in, struct wire_text *text) {
    const size_t left = wire_left(in);
    if (BASE_LIKELY(left > 0 && (*in->at & 0xe0) == 0xa0 && left > (*in->at & 0x1fu))) {
        text->data = (const char *)in->at + 1;
        text->size = *in->at & 0x1f;
        in->at += 1 + text->size;
        return true;
    }
    return wire_read_text(in, text);
}

static enum wire_value_status unpack_string(struct unpack *unpack) {
    const char **to = va_arg(*unpack->arguments, const char **);
    struct wire_text text;
    if (unpack->keeper == NULL || unpack->keeper->keep == NULL) {
        return wire_format_fault(&unpack->walk, WIRE_VALUE_FORMAT,
                                 "nobody would own the terminated copy; use S");
    }
    if (!read_text(&unpack->in, &text)) {
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
    base_copy_short((uint8_t *)copy, (const uint8_t *)text.data, text.size);
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
    unpack->walk.at = behind + strlen(behind);
    return WIRE_VALUE_OK;
}

static enum wire_value_status left_over(const struct unpack *unpack) __attribute__((cold));
static enum wire_value_status left_over(const struct unpack *unpack) {
    size_t count = 0;
    struct wire_value_fault *fault = unpack->walk.fault;
    if (wire_value_check_nested(unpack->in.at, wire_left(&unpack->in), WIRE_NESTING_MAX, &count)) {
        snprintf(fault->text, sizeof fault->text, "%zu %s left over: the format has %u", count,
                 count == 1 ? "value is" : "values are", wire_format_position(&unpack->walk));
    } else {
        snprintf(fault->text, sizeof fault->text, "malformed bytes are left over");
    }
    return WIRE_VALUE_MISMATCH;
}

enum wire_value_status wire_value_unpack_on(struct wire_value_place place, const uint8_t *end,
                                            const char *format, va_list *arguments,
                                            const struct wire_value_keeper *keeper,
                                            struct wire_value_fault *fault) {
    struct unpack unpack = {{place.at, end}, wire_format_of(format, fault), arguments, keeper};
    enum wire_value_status status = WIRE_VALUE_OK;
    fault->text[0] = 0;
    unpack.walk.at = place.letter;
    while (status == WIRE_VALUE_OK && wire_format_next(&unpack.walk, &status)) {
        status = unpack.walk.letter == '*' ? unpack_rest(&unpack) : unpack_letter(&unpack);
    }
    if (status == WIRE_VALUE_OK && wire_left(&unpack.in) > 0) {
        return left_over(&unpack);
    }
    return status;
}

/* --------------------------------------------------------------- fast path */

/* An integer that an int64_t holds, in whatever form it is written. Returns where it ends; NULL: there is
 * none. */
static inline const uint8_t *read_number(const uint8_t *at, const uint8_t *end, int64_t *number) {
    const size_t left = (size_t)(end - at);
    if (left == 0) {
        return NULL;
    }
    *number = (int8_t)*at;
    if (*number >= -32) {
        return at + 1;
    }
    /* 0xcc to 0xcf are unsigned, 0xd0 to 0xd3 signed, of 1, 2, 4 and 8 bytes. */
    const size_t bytes = (size_t)1 << (*at & 3);
    if (*at < 0xcc || *at > 0xd3 || left <= bytes) {
        return NULL;
    }
    const bool is_signed = *at >= 0xd0;
    switch (bytes) {
    case 1:
        *number = is_signed ? (int8_t)at[1] : at[1];
        break;
    case 2:
        *number = is_signed ? (int16_t)wire_load16(at + 1) : wire_load16(at + 1);
        break;
    case 4:
        *number = is_signed ? (int32_t)wire_load32(at + 1) : (int64_t)wire_load32(at + 1);
        break;
    default:
        *number = (int64_t)wire_load64(at + 1);
        if (!is_signed && *number < 0) {
            return NULL;
        }
    }
    return at + 1 + bytes;
}

/* The body of a short string or binary. */
static const uint8_t *view(const uint8_t *body, const uint8_t *end, size_t size,
                           va_list *arguments) {
    if ((size_t)(end - body) < size) {
        return NULL;
    }
    *va_arg(*arguments, const void **) = body;
    *va_arg(*arguments, size_t *) = size;
    return body + size;
}

/* One value. Returns where it ends; NULL, nothing having happened: that is not so simple. */
static inline const uint8_t *unpack_simple(const uint8_t *at, const uint8_t *end, char letter,
                                           va_list *arguments, bool pointers) {
    const uint8_t *next;
    int64_t number;
    uint64_t bits;
    switch (letter) {
    case 'i':
    case 'u':
        next = read_number(at, end, &number);
        if (next == NULL && letter == 'u' && end - at >= 9 && *at == 0xcf) {
            number = (int64_t)wire_load64(at + 1);
            next = at + 9;
        } else if (next == NULL || (letter == 'u' && number < 0)) {
            return NULL;
        }
        *va_arg(*arguments, uint64_t *) =
            (uint64_t)number; /* or of int64_t: they are passed alike */
        return next;
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
    case 'p':
        if (!pointers || end - at < 10 || at[0] != 0xd7 || at[1] != WIRE_EXT_POINTER) {
            return NULL;
        }
        memcpy(va_arg(*arguments, void **), at + 2, sizeof(void *));
        return at + 10;
    default:
        return NULL;
    }
}

static inline struct wire_value_place place_of(const uint8_t *at, const uint8_t *end,
                                               const char *letter) {
    return (struct wire_value_place){at, *letter == 0 && at == end ? NULL : letter};
}

/* Goes on with values of all simple kinds. */
static __attribute__((noinline)) struct wire_value_place unpack_simple_on(
    const uint8_t *at, const uint8_t *end, const char *letter, va_list *arguments, bool pointers) {
    for (; *letter != 0; letter++) {
        const uint8_t *next = unpack_simple(at, end, *letter, arguments, pointers);
        if (next != NULL) {
            at = next;
        } else if (*letter != ' ' && *letter != ',') {
            break;
        }
    }
    return place_of(at, end, letter);
}

/* What most values are is read here, where all that it takes stays in registers. */
struct wire_value_place wire_value_unpack_plain(const void *data, size_t size, const char *format,
                                                va_list *arguments, bool allow_pointers) {
    const struct wire_reader in = wire_reader_of(data, size);
    const uint8_t *at = in.at, *const end = in.end;
    const char *letter = format == NULL ? "" : format;
    for (; *letter != 0; letter++) {
        const ptrdiff_t left = end - at;
        uint64_t number;
        if (BASE_LIKELY(*letter == 'i' || *letter == 'u') && left > 0) {
            if (*at < 0x80) {
                number = *at;
                at += 1;
            } else if (*at == 0xcc && left > 1) {
                number = at[1];
                at += 2;
            } else if (*at == 0xcd && left > 2) {
                number = wire_load16(at + 1);
                at += 3;
            } else if (*at == 0xce && left > 4) {
                number = wire_load32(at + 1);
                at += 5;
            } else {
                return unpack_simple_on(at, end, letter, arguments, allow_pointers);
            }
            *va_arg(*arguments, uint64_t *) = number; /* as above */
        } else if (*letter == 'd' && left > 8 && *at == 0xcb) {
            number = wire_load64(at + 1);
            memcpy(va_arg(*arguments, double *), &number, sizeof number);
            at += 9;
        } else if (*letter == 's') {
            break; /* the long way knows where to keep it */
        } else if (*letter != ' ' && *letter != ',') {
            return unpack_simple_on(at, end, letter, arguments, allow_pointers);
        }
    }
    return place_of(at, end, letter);
}
