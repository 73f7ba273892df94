/* Values: MessagePack as users see it; formats pack and unpack them (furrow.h, "values and
 * formats"). Pure. Foreign bytes go through wire_value_check before anything else looks at them:
 * msgpack_unpack itself trusts the counts in its input (5 bytes can make it ask for 96 GB). */
#ifndef WIRE_VALUE_H
#define WIRE_VALUE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct base_buffer;

/* wire_value_check walks headers only: counts <= bytes left, depth <= WIRE_DEPTH_MAX, no reserved
 * byte, strings are not checked for UTF-8. `data` must hold exactly *count whole values when count
 * is not NULL on return; false: malformed (truncated, trailing garbage or too deep). */
bool wire_value_check(const void *data, size_t size, size_t *count);
/* wire_value_skip gives the size of the first whole value in checked data. */
size_t wire_value_skip(const void *data, size_t size);

enum wire_value_status {
    WIRE_VALUE_OK,
    WIRE_VALUE_FORMAT,   /* the format itself is wrong */
    WIRE_VALUE_MISMATCH, /* the data is of another shape */
    WIRE_VALUE_TOOBIG,
    WIRE_VALUE_NOMEM,
    WIRE_VALUE_POINTER,  /* p where pointers are not allowed */
};

/* What a failing call has to say, for furrow_last_error. */
struct wire_value_fault {
    char text[160];
};

/* Pointers travel as an ext value of this type with the 8 bytes of the pointer. */
#define WIRE_EXT_POINTER 0x50

/* wire_value_pack appends the values of a format to `out` and adds their number to *count; on error
 * `out` is as before. allow_pointers: whether p is allowed. */
enum wire_value_status wire_value_pack(struct base_buffer *out, size_t *count, bool allow_pointers,
                                       const char *format, va_list *arguments,
                                       struct wire_value_fault *fault);
/* wire_value_pack_small packs into fixed memory: the fast path of submit. Returns the bytes written,
 * or SIZE_MAX if it does not fit or the format has anything but scalars and short strings (then use
 * wire_value_pack, which tells the error). */
size_t wire_value_pack_small(uint8_t *out, size_t room, size_t *count, bool allow_pointers,
                             const char *format, va_list *arguments);

/* Where unpacking copies terminated strings (s): a callback that returns memory which lives as long
 * as the value, or NULL without memory. keep NULL: s is a format error. */
struct wire_value_keeper {
    void *(*keep)(void *user, size_t size);
    void *user;
};
/* wire_value_unpack reads checked data by a format; all values must be consumed unless it ends
 * with *. */
enum wire_value_status wire_value_unpack(const void *data, size_t size, const char *format,
                                         va_list *arguments,
                                         const struct wire_value_keeper *keeper,
                                         struct wire_value_fault *fault);
/* wire_value_begin_array writes an array header of any count (for results of several values, and
 * chunks). False: no memory. */
bool wire_value_begin_array(struct base_buffer *out, uint32_t count);

#endif
