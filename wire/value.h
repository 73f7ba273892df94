/* Values: MessagePack as users see it; formats pack and unpack them (furrow.h, "values and
 * formats"). Pure. Foreign bytes go through wire_value_check before anything else looks at them:
 * msgpack_unpack itself trusts the counts in its input (5 bytes can make it ask for 96 GB). */
#ifndef WIRE_VALUE_H
#define WIRE_VALUE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "wire/reader.h"

struct base_buffer;

/* wire_value_check walks headers only: counts <= bytes left, depth <= WIRE_DEPTH_MAX, no reserved
 * byte; strings are not checked for UTF-8. O(size), no recursion, no memory.
 *
 * count  gets the number of values that `data` holds back to back, 0 for none; may be NULL
 *
 * False: malformed (truncated, trailing garbage or too deep). */
bool wire_value_check(const void *data, size_t size, size_t *count);
/* wire_value_check_nested is the same with another depth, up to WIRE_NESTING_MAX: for what the library
 * itself has wrapped around a user's values. */
bool wire_value_check_nested(const void *data, size_t size, uint32_t depth_max, size_t *count);
/* wire_value_is_one says whether `data` is one whole value. */
static inline bool wire_value_is_one(const uint8_t *data, size_t size, uint32_t depth_max) {
    size_t count;

    if (BASE_LIKELY(size > 0 && wire_simple_bytes[*data] == size)) {
        return true;
    }
    return wire_value_check_nested(data, size, depth_max, &count) && count == 1;
}
/* wire_value_skip gives the size of the first whole value in checked data; 0 if there is none. */
size_t wire_value_skip(const void *data, size_t size);

enum wire_value_status {
    WIRE_VALUE_OK,
    WIRE_VALUE_FORMAT,   /* the format itself is wrong */
    WIRE_VALUE_MISMATCH, /* the data is of another shape */
    WIRE_VALUE_TOOBIG,
    WIRE_VALUE_NOMEM,
    WIRE_VALUE_POINTER, /* p where pointers are not allowed */
};

/* What a failing call has to say, for furrow_last_error; "" after one that succeeds. */
struct wire_value_fault {
    char text[160];
};

/* Pointers travel as an ext value of this type with the 8 bytes of the pointer. */
#define WIRE_EXT_POINTER 0x50

/* wire_value_pack appends the values of a format to `out` and adds their number to *count; on error
 * both are as before. allow_pointers: whether p is allowed. Errors:
 *   FORMAT    a letter that is none, brackets that don't match, nesting over WIRE_DEPTH_MAX
 *   MISMATCH  an argument that is no value: NULL for s, bytes for v that are not one whole value
 *   TOOBIG    `out` would be larger than WIRE_PAYLOAD_BYTES_MAX
 *   NOMEM, POINTER
 * Faults name the argument by its position among the letters and opening brackets, from 1. */
enum wire_value_status wire_value_pack(struct base_buffer *out, size_t *count, bool allow_pointers,
                                       const char *format, va_list *arguments,
                                       struct wire_value_fault *fault);
/* The two steps of wire_value_pack_small: numbers and the like, without a call or a struct in memory; and
 * the rest, from the letter on in front of which the first step has stopped. */
struct wire_value_packed {
    uint32_t size, count; /* bytes and values so far */
    const char *letter;   /* in front of which it has stopped; NULL: that was all */
};
struct wire_value_packed wire_value_pack_scalars(uint8_t *out, size_t room, bool allow_pointers,
                                                 const char *format, va_list *arguments);
struct wire_value_packed wire_value_pack_small_on(uint8_t *out, size_t room,
                                                  struct wire_value_packed packed,
                                                  bool allow_pointers, va_list *arguments);
/* wire_value_pack_small packs into fixed memory: the fast path of submit. Returns the bytes written
 * and adds to *count, or SIZE_MAX if it does not fit or the format has anything but scalars, strings,
 * binary and whole values (then begin the arguments anew with wire_value_pack, which also tells the error). */
static inline size_t wire_value_pack_small(uint8_t *out, size_t room, size_t *count,
                                           bool allow_pointers, const char *format,
                                           va_list *arguments) {
    struct wire_value_packed packed =
        wire_value_pack_scalars(out, room, allow_pointers, format, arguments);
    if (BASE_UNLIKELY(packed.letter != NULL)) {
        packed = wire_value_pack_small_on(out, room, packed, allow_pointers, arguments);
        if (packed.letter != NULL) {
            return SIZE_MAX;
        }
    }
    *count += packed.count;
    return packed.size;
}
/* wire_value_bound says how much room is enough for wire_value_pack_small with the same format and
 * arguments, whatever the size of strings, binary and whole values (v) among them. SIZE_MAX: it would
 * not pack them, or they are over WIRE_PAYLOAD_BYTES_MAX. */
size_t wire_value_bound(const char *format, va_list *arguments);

/* What only some callers allow when unpacking. */
struct wire_value_keeper {
    /* Where terminated copies of strings go (s): returns memory which lives as long as the value, or
     * NULL without memory. keep NULL: s is a format error. */
    void *(*keep)(void *user, size_t size);
    void *user;
    /* Whether p is allowed: only for values that never left this process, since any bytes can claim
     * to be a pointer. */
    bool allow_pointers;
};
/* The two steps of wire_value_unpack: values of the common kinds, without a call or a struct in memory;
 * and the rest, from the value on in front of which the first step has stopped: whatever else there is,
 * and whatever is wrong. */
struct wire_value_place {
    const uint8_t *at;  /* the value, or the data's end */
    const char *letter; /* its letter, or the format's end; NULL: that was all, and all is well */
};
struct wire_value_place wire_value_unpack_plain(const void *data, size_t size, const char *format,
                                                va_list *arguments, bool allow_pointers);
enum wire_value_status wire_value_unpack_on(struct wire_value_place place, const uint8_t *end,
                                            const char *format, va_list *arguments,
                                            const struct wire_value_keeper *keeper,
                                            struct wire_value_fault *fault);
/* wire_value_unpack reads data by a format; all values must be consumed unless it ends with *.
 * Malformed data is never read beyond its end, but check it first: this only sees what it touches.
 * On error, variables of letters before the failing one may have been set.
 *
 * keeper  NULL: neither s nor p
 *
 * Errors: FORMAT, MISMATCH (too few or too many values, another type, out of range), POINTER, NOMEM
 * (keep returned NULL). */
static inline enum wire_value_status wire_value_unpack(const void *data, size_t size,
                                                       const char *format, va_list *arguments,
                                                       const struct wire_value_keeper *keeper,
                                                       struct wire_value_fault *fault) {
    struct wire_value_place place = wire_value_unpack_plain(
        data, size, format, arguments, keeper != NULL && keeper->allow_pointers);
    if (BASE_LIKELY(place.letter == NULL)) {
        fault->text[0] = 0;
        return WIRE_VALUE_OK;
    }
    const uint8_t *begin = data;
    return wire_value_unpack_on(place, size > 0 ? begin + size : begin, format, arguments, keeper,
                                fault);
}
/* wire_value_begin_array writes an array header of any count (for results of several values, and
 * chunks). False: no memory. */
bool wire_value_begin_array(struct base_buffer *out, uint32_t count);

#endif
