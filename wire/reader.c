#include "wire/reader.h"

/* Headers of the forms 0xc0 to 0xdf: their sort, the bytes of the number in them that is a length or
 * a count, and bytes of body that they have anyway (an ext's type counts as header). */
struct form {
    uint8_t sort;
    uint8_t length_bytes;
    uint8_t type_bytes;
    uint8_t body;
};

static const struct form forms[32] = {
    [0x00] = {WIRE_SORT_NIL, 0, 0, 0},   [0x01] = {WIRE_SORT_RESERVED, 0, 0, 0},
    [0x02] = {WIRE_SORT_BOOL, 0, 0, 0},  [0x03] = {WIRE_SORT_BOOL, 0, 0, 0},
    [0x04] = {WIRE_SORT_BIN, 1, 0, 0},   [0x05] = {WIRE_SORT_BIN, 2, 0, 0},
    [0x06] = {WIRE_SORT_BIN, 4, 0, 0},   [0x07] = {WIRE_SORT_EXT, 1, 1, 0},
    [0x08] = {WIRE_SORT_EXT, 2, 1, 0},   [0x09] = {WIRE_SORT_EXT, 4, 1, 0},
    [0x0a] = {WIRE_SORT_FLOAT, 0, 0, 4}, [0x0b] = {WIRE_SORT_FLOAT, 0, 0, 8},
    [0x0c] = {WIRE_SORT_UINT, 0, 0, 1},  [0x0d] = {WIRE_SORT_UINT, 0, 0, 2},
    [0x0e] = {WIRE_SORT_UINT, 0, 0, 4},  [0x0f] = {WIRE_SORT_UINT, 0, 0, 8},
    [0x10] = {WIRE_SORT_INT, 0, 0, 1},   [0x11] = {WIRE_SORT_INT, 0, 0, 2},
    [0x12] = {WIRE_SORT_INT, 0, 0, 4},   [0x13] = {WIRE_SORT_INT, 0, 0, 8},
    [0x14] = {WIRE_SORT_EXT, 0, 1, 1},   [0x15] = {WIRE_SORT_EXT, 0, 1, 2},
    [0x16] = {WIRE_SORT_EXT, 0, 1, 4},   [0x17] = {WIRE_SORT_EXT, 0, 1, 8},
    [0x18] = {WIRE_SORT_EXT, 0, 1, 16},  [0x19] = {WIRE_SORT_STR, 1, 0, 0},
    [0x1a] = {WIRE_SORT_STR, 2, 0, 0},   [0x1b] = {WIRE_SORT_STR, 4, 0, 0},
    [0x1c] = {WIRE_SORT_ARRAY, 2, 0, 0}, [0x1d] = {WIRE_SORT_ARRAY, 4, 0, 0},
    [0x1e] = {WIRE_SORT_MAP, 2, 0, 0},   [0x1f] = {WIRE_SORT_MAP, 4, 0, 0},
};

#define SIXTEEN(n) n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n

const uint8_t wire_simple_bytes[256] = {
    SIXTEEN(1), SIXTEEN(1), SIXTEEN(1), SIXTEEN(1), /* 0x00: positive fixint */
    SIXTEEN(1), SIXTEEN(1), SIXTEEN(1), SIXTEEN(1), /* 0x40 */
    SIXTEEN(0), SIXTEEN(0),                         /* 0x80: fixmap, fixarray */
    1,          2,          3,          4,          5,  6,  7,  8,  9,
    10,         11,         12,         13,         14, 15, 16, /* 0xa0: fixstr */
    17,         18,         19,         20,         21, 22, 23, 24, 25,
    26,         27,         28,         29,         30, 31, 32, /* 0xb0 */
    1,          0,          1,          1,          0,  0,  0,  0,  0,
    0,          5,          9,          2,          3,  5,  9, /* 0xc0: nil, booleans, floats, unsigned */
    2,          3,          5,          9,          3,  4,  6,  10, 18,
    0,          0,          0,          0,          0,  0,  0, /* 0xd0: signed, fixext */
    SIXTEEN(1), SIXTEEN(1),                                    /* 0xe0: negative fixint */
};

static inline uint32_t load_length(const uint8_t *at, uint8_t bytes) {
    return bytes == 1 ? *at : bytes == 2 ? wire_load16(at) : wire_load32(at);
}

static inline void head_of_short(uint8_t byte, struct wire_head *head) {
    *head = (struct wire_head){WIRE_SORT_UINT, 1, 0, 0};
    if (byte < 0x80) {
        return;
    }
    if (byte >= 0xe0) {
        head->sort = WIRE_SORT_INT;
    } else if (byte >= 0xa0) {
        head->sort = WIRE_SORT_STR;
        head->body = byte & 0x1f;
    } else if (byte >= 0x90) {
        head->sort = WIRE_SORT_ARRAY;
        head->children = byte & 0x0f;
    } else {
        head->sort = WIRE_SORT_MAP;
        head->children = 2 * (byte & 0x0fu);
    }
}

static inline bool peek(const struct wire_reader *in, struct wire_head *head) {
    size_t left = wire_left(in);
    if (left == 0) {
        return false;
    }
    uint8_t byte = *in->at;
    if (byte < 0xc0 || byte >= 0xe0) {
        head_of_short(byte, head);
    } else {
        const struct form *form = &forms[byte - 0xc0];
        head->sort = (enum wire_sort)form->sort;
        head->bytes = 1u + form->length_bytes + form->type_bytes;
        head->body = form->body;
        head->children = 0;
        if (left < head->bytes || head->sort == WIRE_SORT_RESERVED) {
            return false;
        }
        if (form->length_bytes > 0) {
            uint32_t length = load_length(in->at + 1, form->length_bytes);
            if (head->sort == WIRE_SORT_ARRAY) {
                head->children = length;
            } else if (head->sort == WIRE_SORT_MAP) {
                head->children = 2 * (uint64_t)length;
            } else {
                head->body = length;
            }
        }
    }
    left -= head->bytes;
    return head->body <= left && head->children <= left;
}

bool wire_peek(const struct wire_reader *in, struct wire_head *head) {
    return peek(in, head);
}

bool wire_skip(struct wire_reader *in, uint32_t depth_max) {
    const uint8_t *at = in->at;
    const uint8_t *const end = in->end;
    uint64_t rest = 1;                /* values to come at this level */
    uint64_t outer[WIRE_NESTING_MAX]; /* the same of the containers around it */
    uint32_t depth = 0;
    BASE_ASSERT(depth_max <= WIRE_NESTING_MAX);
    for (;;) {
        size_t simple = at < end ? wire_simple_bytes[*at] : 0;
        if (BASE_LIKELY(simple > 0)) {
            if ((size_t)(end - at) < simple) {
                return false;
            }
            at += simple;
        } else {
            struct wire_head head;
            if (!peek(&(struct wire_reader){at, end}, &head)) {
                return false;
            }
            at += head.bytes + (size_t)head.body;
            if (head.sort == WIRE_SORT_ARRAY || head.sort == WIRE_SORT_MAP) {
                if (depth == depth_max) {
                    return false;
                }
                outer[depth++] = rest - 1;
                rest = head.children + 1;
            }
        }
        rest--;
        while (rest == 0) {
            if (depth == 0) {
                in->at = at;
                return true;
            }
            rest = outer[--depth];
        }
    }
}

const char *wire_found(const struct wire_reader *in) {
    static const char *const names[] = {
        [WIRE_SORT_NIL] = "nil",         [WIRE_SORT_BOOL] = "a boolean",
        [WIRE_SORT_UINT] = "an integer", [WIRE_SORT_INT] = "an integer",
        [WIRE_SORT_FLOAT] = "a float",   [WIRE_SORT_STR] = "a string",
        [WIRE_SORT_BIN] = "binary",      [WIRE_SORT_EXT] = "an extension value",
        [WIRE_SORT_ARRAY] = "an array",  [WIRE_SORT_MAP] = "a map",
    };
    struct wire_head head;
    if (wire_left(in) == 0) {
        return "nothing";
    }
    return wire_peek(in, &head) ? names[head.sort] : "malformed bytes";
}

bool wire_read_int(struct wire_reader *in, uint64_t *value, bool *negative) {
    size_t left = wire_left(in);
    const uint8_t *at = in->at;
    int64_t number;
    size_t bytes;
    if (left >= 1 && *at >= 0xe0) {
        number = (int8_t)*at;
        bytes = 1;
    } else if (left >= 2 && *at == 0xd0) {
        number = (int8_t)at[1];
        bytes = 2;
    } else if (left >= 3 && *at == 0xd1) {
        number = (int16_t)wire_load16(at + 1);
        bytes = 3;
    } else if (left >= 5 && *at == 0xd2) {
        number = (int32_t)wire_load32(at + 1);
        bytes = 5;
    } else if (left >= 9 && *at == 0xd3) {
        number = (int64_t)wire_load64(at + 1);
        bytes = 9;
    } else {
        *negative = false;
        return left >= 1 && (*at < 0x80 || (*at >= 0xcc && *at <= 0xcf)) &&
               wire_read_uint(in, value);
    }
    *value = (uint64_t)number;
    *negative = number < 0;
    in->at = at + bytes;
    return true;
}

/* Some packers write positive numbers in the signed forms. */
bool wire_read_uint_signed(struct wire_reader *in, uint64_t *value) {
    const struct wire_reader before = *in;
    bool negative;
    if (wire_left(in) == 0 || (*in->at >= 0xcc && *in->at <= 0xcf) ||
        !wire_read_int(in, value, &negative)) {
        return false;
    }
    if (negative) {
        *in = before;
    }
    return !negative;
}

bool wire_read_text(struct wire_reader *in, struct wire_text *text) {
    struct wire_head head;
    if (!wire_peek(in, &head) || head.sort != WIRE_SORT_STR) {
        return false;
    }
    text->data = (const char *)in->at + head.bytes;
    text->size = head.body;
    in->at += head.bytes + (size_t)head.body;
    return true;
}
