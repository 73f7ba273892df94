/* Reads MessagePack in place: every read is checked against what is left, and counts against the
 * bytes that so many elements need at least, so that a few bytes can't claim to be a huge array.
 * Reads that fail leave the reader where it was; wire_found then says what stands there. */
#ifndef WIRE_READER_H
#define WIRE_READER_H

#include "wire/bytes.h"
#include "wire/message.h"

#include "base/assert.h"

struct wire_reader {
    const uint8_t *at;
    const uint8_t *end;
};

static inline struct wire_reader wire_reader_of(const void *data, size_t size) {
    const uint8_t *at = data;
    return (struct wire_reader){at, size > 0 ? at + size : at};
}

static inline size_t wire_left(const struct wire_reader *in) {
    return (size_t)(in->end - in->at);
}

/* What a value is, as its first byte tells. */
enum wire_sort {
    WIRE_SORT_NIL,
    WIRE_SORT_BOOL,
    WIRE_SORT_UINT,
    WIRE_SORT_INT, /* the signed formats; the number may still be positive */
    WIRE_SORT_FLOAT,
    WIRE_SORT_STR,
    WIRE_SORT_BIN,
    WIRE_SORT_EXT,
    WIRE_SORT_ARRAY,
    WIRE_SORT_MAP,
    WIRE_SORT_RESERVED,
};

/* One header. */
struct wire_head {
    enum wire_sort sort;
    uint32_t bytes;    /* of the header itself, the type of an ext included */
    uint32_t body;     /* bytes that follow and belong to the value: numbers, strings */
    uint64_t children; /* values that follow and belong to it */
};

/* wire_peek reads the header at the reader and checks that its body is there and that there are
 * bytes enough for its children. It doesn't move. False: truncated, or the reserved byte. */
bool wire_peek(const struct wire_reader *in, struct wire_head *head);

/* The whole size of a value that begins with this byte; 0 if that takes more than the byte to know
 * (a length, children), or if it is reserved. */
extern const uint8_t wire_simple_bytes[256];

/* wire_skip goes over one whole value; false (and the reader stays): it is malformed, or nested
 * deeper than `depth_max`. O(bytes), no recursion. */
bool wire_skip(struct wire_reader *in, uint32_t depth_max);

/* wire_found names what stands at the reader, for messages: "a string", "nothing". */
const char *wire_found(const struct wire_reader *in);

bool wire_read_uint_signed(struct wire_reader *in, uint64_t *value);

/* wire_read_uint reads an integer that is not negative, in whatever form it is written. */
static inline bool wire_read_uint(struct wire_reader *in, uint64_t *value) {
    size_t left = wire_left(in);
    const uint8_t *at = in->at;
    if (BASE_UNLIKELY(left == 0)) {
        return false;
    }
    uint8_t byte = *at;
    if (byte < 0x80) {
        *value = byte;
        in->at = at + 1;
        return true;
    }
    if (byte == 0xcf && left >= 9) {
        *value = wire_load64(at + 1);
        in->at = at + 9;
        return true;
    }
    if (byte == 0xce && left >= 5) {
        *value = wire_load32(at + 1);
        in->at = at + 5;
        return true;
    }
    if (byte == 0xcd && left >= 3) {
        *value = wire_load16(at + 1);
        in->at = at + 3;
        return true;
    }
    if (byte == 0xcc && left >= 2) {
        *value = at[1];
        in->at = at + 2;
        return true;
    }
    return wire_read_uint_signed(in, value);
}

/* wire_read_int reads any integer; *negative tells whether *value is to be seen as an int64_t. */
bool wire_read_int(struct wire_reader *in, uint64_t *value, bool *negative);

/* wire_read_array reads an array's header. */
static inline bool wire_read_array(struct wire_reader *in, uint32_t *count) {
    size_t left = wire_left(in);
    const uint8_t *at = in->at;
    uint32_t found;
    if (left >= 1 && (*at & 0xf0) == 0x90) {
        found = *at & 0x0f;
        at += 1;
    } else if (left >= 3 && *at == 0xdc) {
        found = wire_load16(at + 1);
        at += 3;
    } else if (left >= 5 && *at == 0xdd) {
        found = wire_load32(at + 1);
        at += 5;
    } else {
        return false;
    }
    if (found > (size_t)(in->end - at)) {
        return false;
    }
    in->at = at;
    *count = found;
    return true;
}

/* wire_read_text reads a string; it points into the input. */
bool wire_read_text(struct wire_reader *in, struct wire_text *text);

#endif
