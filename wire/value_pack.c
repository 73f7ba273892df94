#include "base/copy.h"
#include "wire/format.h"
#include "wire/packer.h"
#include "wire/reader.h"

/* The arguments are read by whoever calls a function of ours only through the pointer, so that all
 * see the same list. */
struct pack {
    struct base_buffer *out;
    msgpack_packer packer;
    struct wire_format walk;
    va_list *arguments;
    bool allow_pointers;
};

/* Bytes that a user points to: where, and whether so many may be added. */
static enum wire_value_status take_bytes(struct pack *pack, const void *data, size_t size) {
    if (data == NULL && (size > 0 || pack->walk.letter == 's' || pack->walk.letter == 'v')) {
        return wire_format_fault(&pack->walk, WIRE_VALUE_MISMATCH, "the pointer is NULL");
    }
    if (size > WIRE_PAYLOAD_BYTES_MAX || pack->out->size + size > WIRE_PAYLOAD_BYTES_MAX) {
        return wire_format_fault(&pack->walk, WIRE_VALUE_TOOBIG,
                                 "%zu bytes: the values are over the limit of %u bytes", size,
                                 WIRE_PAYLOAD_BYTES_MAX);
    }
    return WIRE_VALUE_OK;
}

static enum wire_value_status pack_bytes(struct pack *pack) {
    const char letter = pack->walk.letter;
    const void *data = va_arg(*pack->arguments, const void *);
    size_t size = 0;
    if (letter == 's') {
        size = data == NULL ? 0 : strlen(data);
    } else {
        size = va_arg(*pack->arguments, size_t);
    }
    enum wire_value_status status = take_bytes(pack, data, size);
    if (status != WIRE_VALUE_OK) {
        return status;
    }
    if (letter == 'B') {
        msgpack_pack_bin(&pack->packer, size);
        msgpack_pack_bin_body(&pack->packer, data, size);
    } else {
        wire_pack_text(&pack->packer, (struct wire_text){data, size});
    }
    return WIRE_VALUE_OK;
}

static enum wire_value_status pack_whole(struct pack *pack) {
    const void *data = va_arg(*pack->arguments, const void *);
    size_t size = va_arg(*pack->arguments, size_t);
    size_t count = 0;
    enum wire_value_status status = take_bytes(pack, data, size);
    if (status != WIRE_VALUE_OK) {
        return status;
    }
    if (!wire_value_check_nested(data, size, WIRE_DEPTH_MAX - pack->walk.depth, &count)) {
        return wire_format_fault(&pack->walk, WIRE_VALUE_MISMATCH,
                                 "the bytes are malformed, or nested deeper than %u",
                                 WIRE_DEPTH_MAX);
    }
    if (count != 1) {
        return wire_format_fault(&pack->walk, WIRE_VALUE_MISMATCH,
                                 "the bytes are %zu values instead of one", count);
    }
    base_buffer_append(pack->out, data, size);
    return WIRE_VALUE_OK;
}

static enum wire_value_status pack_pointer(struct pack *pack) {
    void *pointer = va_arg(*pack->arguments, void *);
    if (!pack->allow_pointers) {
        return wire_format_fault(&pack->walk, WIRE_VALUE_POINTER,
                                 "pointers can't leave this process");
    }
    msgpack_pack_ext(&pack->packer, sizeof pointer, WIRE_EXT_POINTER);
    msgpack_pack_ext_body(&pack->packer, &pointer, sizeof pointer);
    return WIRE_VALUE_OK;
}

static enum wire_value_status pack_brackets(struct pack *pack) {
    const bool array = pack->walk.letter == '[';
    uint32_t count;
    enum wire_value_status status = wire_format_open(&pack->walk, &count);
    if (status == WIRE_VALUE_OK) {
        if (array) {
            msgpack_pack_array(&pack->packer, count);
        } else {
            msgpack_pack_map(&pack->packer, count / 2);
        }
    }
    return status;
}

static enum wire_value_status pack_letter(struct pack *pack) {
    switch (pack->walk.letter) {
    case 'i':
        msgpack_pack_int64(&pack->packer, va_arg(*pack->arguments, int64_t));
        return WIRE_VALUE_OK;
    case 'u':
        msgpack_pack_uint64(&pack->packer, va_arg(*pack->arguments, uint64_t));
        return WIRE_VALUE_OK;
    case 'd':
        msgpack_pack_double(&pack->packer, va_arg(*pack->arguments, double));
        return WIRE_VALUE_OK;
    case 'b':
        if (va_arg(*pack->arguments, int) != 0) {
            msgpack_pack_true(&pack->packer);
        } else {
            msgpack_pack_false(&pack->packer);
        }
        return WIRE_VALUE_OK;
    case 'n':
        msgpack_pack_nil(&pack->packer);
        return WIRE_VALUE_OK;
    case 's':
    case 'S':
    case 'B':
        return pack_bytes(pack);
    case 'v':
        return pack_whole(pack);
    case 'p':
        return pack_pointer(pack);
    case '[':
    case '{':
        return pack_brackets(pack);
    default:
        return wire_format_unknown(&pack->walk);
    }
}

/* Takes back what was appended; lack of memory is forgiven, as it was reported. */
static void restore(struct base_buffer *out, size_t size) {
    base_buffer_clear(out);
    if (size > 0) {
        base_buffer_commit(out, size);
    }
}

enum wire_value_status wire_value_pack(struct base_buffer *out, size_t *count, bool allow_pointers,
                                       const char *format, va_list *arguments,
                                       struct wire_value_fault *fault) {
    const size_t before = out->size;
    enum wire_value_status status = WIRE_VALUE_OK;
    struct pack pack = {out, wire_packer_of(out), wire_format_of(format, fault), arguments,
                        allow_pointers};
    size_t values = 0;
    fault->text[0] = 0;
    while (status == WIRE_VALUE_OK && wire_format_next(&pack.walk, &status)) {
        values += pack.walk.depth == 0 ? 1 : 0;
        status = pack_letter(&pack);
    }
    if (status == WIRE_VALUE_OK && out->failed) {
        snprintf(fault->text, sizeof fault->text, "out of memory");
        status = WIRE_VALUE_NOMEM;
    }
    if (status == WIRE_VALUE_OK && out->size > WIRE_PAYLOAD_BYTES_MAX) {
        snprintf(fault->text, sizeof fault->text, "the values are over the limit of %u bytes",
                 WIRE_PAYLOAD_BYTES_MAX);
        status = WIRE_VALUE_TOOBIG;
    }
    if (status != WIRE_VALUE_OK) {
        restore(out, before);
        return status;
    }
    *count += values;
    return WIRE_VALUE_OK;
}

bool wire_value_begin_array(struct base_buffer *out, uint32_t count) {
    msgpack_packer packer = wire_packer_of(out);
    return msgpack_pack_array(&packer, count) == 0;
}

/* --------------------------------------------------------------- fast path */

static inline uint8_t *write_int(uint8_t *at, int64_t value) {
    if (value >= 0) {
        return wire_write_uint(at, (uint64_t)value);
    }
    if (value >= -32) {
        *at++ = (uint8_t)value;
    } else if (value >= INT8_MIN) {
        *at++ = 0xd0;
        *at++ = (uint8_t)value;
    } else if (value >= INT16_MIN) {
        *at++ = 0xd1;
        at = wire_store16(at, (uint16_t)value);
    } else if (value >= INT32_MIN) {
        *at++ = 0xd2;
        at = wire_store32(at, (uint32_t)value);
    } else {
        *at++ = 0xd3;
        at = wire_store64(at, (uint64_t)value);
    }
    return at;
}

#define BYTES_HEAD_MAX 5u

/* A string or binary; NULL: it does not fit, or is none. */
static uint8_t *write_bytes(uint8_t *at, const uint8_t *end, char letter, const void *data,
                            size_t size) {
    if (data == NULL && (size > 0 || letter == 's')) {
        return NULL;
    }
    if ((size_t)(end - at) < BYTES_HEAD_MAX || size > (size_t)(end - at) - BYTES_HEAD_MAX) {
        return NULL;
    }
    if (size < 32 && letter != 'B') {
        *at++ = (uint8_t)(0xa0 | size);
    } else if (size <= UINT8_MAX) {
        *at++ = letter == 'B' ? 0xc4 : 0xd9;
        *at++ = (uint8_t)size;
    } else if (size <= UINT16_MAX) {
        *at++ = letter == 'B' ? 0xc5 : 0xda;
        at = wire_store16(at, (uint16_t)size);
    } else if (size <= UINT32_MAX) {
        *at++ = letter == 'B' ? 0xc6 : 0xdb;
        at = wire_store32(at, (uint32_t)size);
    } else {
        return NULL;
    }
    if (size > 0) {
        memcpy(at, data, size);
    }
    return at + size;
}

/* The same, and inline for those that are short, as they nearly always are. */
static inline uint8_t *write_short(uint8_t *at, const uint8_t *end, char letter, const void *data,
                                   size_t size) {
    if (BASE_UNLIKELY(data == NULL || size >= 32 || (size_t)(end - at) < size + 2)) {
        return write_bytes(at, end, letter, data, size);
    }
    if (letter == 'B') {
        *at++ = 0xc4;
        *at++ = (uint8_t)size;
    } else {
        *at++ = (uint8_t)(0xa0 | size);
    }
    base_copy_short(at, data, size);
    return at + size;
}

/* A value that is packed already; NULL: it does not fit, or is none. */
static uint8_t *write_whole(uint8_t *at, const uint8_t *end, const void *data, size_t size) {
    size_t count = 0;
    if (data == NULL || size > (size_t)(end - at) || !wire_value_check(data, size, &count) ||
        count != 1) {
        return NULL;
    }
    memcpy(at, data, size);
    return at + size;
}

static inline uint8_t *write_double(uint8_t *at, double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    *at++ = 0xcb;
    return wire_store64(at, bits);
}

static inline uint8_t *write_pointer(uint8_t *at, const void *pointer) {
    *at++ = 0xd7;
    *at++ = WIRE_EXT_POINTER;
    memcpy(at, &pointer, sizeof pointer);
    return at + sizeof pointer;
}

#define SCALAR_BYTES_MAX 10u

/* A number or the like; NULL: the letter is none of these. There is room for it. */
static inline __attribute__((always_inline)) uint8_t *write_scalar(uint8_t *at, char letter,
                                                                   bool allow_pointers,
                                                                   va_list *arguments) {
    if (BASE_LIKELY(letter == 'i')) { /* most are: not by the switch's table */
        return write_int(at, va_arg(*arguments, int64_t));
    }
    switch (letter) {
    case 'u':
        return wire_write_uint(at, va_arg(*arguments, uint64_t));
    case 'd':
        return write_double(at, va_arg(*arguments, double));
    case 'b':
        *at = va_arg(*arguments, int) != 0 ? 0xc3 : 0xc2;
        return at + 1;
    case 'n':
        *at = 0xc0;
        return at + 1;
    case 'p':
        return allow_pointers ? write_pointer(at, va_arg(*arguments, void *)) : NULL;
    default:
        return NULL;
    }
}

/* Any one value; NULL: it is nothing small. There is room for a scalar. */
static inline uint8_t *write_letter(uint8_t *at, const uint8_t *end, char letter,
                                    bool allow_pointers, va_list *arguments) {
    const void *data;
    size_t size;
    switch (letter) {
    case 's':
        data = va_arg(*arguments, const char *);
        size = data == NULL ? 0 : strlen(data);
        break;
    case 'S':
    case 'B':
        data = va_arg(*arguments, const void *);
        size = va_arg(*arguments, size_t);
        break;
    case 'v':
        data = va_arg(*arguments, const void *);
        return write_whole(at, end, data, va_arg(*arguments, size_t));
    default:
        return write_scalar(at, letter, allow_pointers, arguments);
    }
    return write_short(at, end, letter, data, size);
}

struct wire_value_packed wire_value_pack_scalars(uint8_t *out, size_t room, bool allow_pointers,
                                                 const char *format, va_list *arguments) {
    const uint8_t *const end = out + room;
    uint8_t *at = out, *next;
    uint32_t count = 0;
    const char *letter = format == NULL ? "" : format;
    for (; *letter != 0; letter++) {
        next = (size_t)(end - at) < SCALAR_BYTES_MAX
                   ? NULL
                   : write_scalar(at, *letter, allow_pointers, arguments);
        if (next != NULL) {
            at = next;
            count++;
        } else if (*letter != ' ' && *letter != ',') {
            return (struct wire_value_packed){(uint32_t)(at - out), count, letter};
        }
    }
    return (struct wire_value_packed){(uint32_t)(at - out), count, NULL};
}

struct wire_value_packed wire_value_pack_small_on(uint8_t *out, size_t room,
                                                  struct wire_value_packed packed,
                                                  bool allow_pointers, va_list *arguments) {
    const uint8_t *const end = out + room;
    uint8_t *at = out + packed.size, *next;
    for (; *packed.letter != 0; packed.letter++) {
        if (*packed.letter == ' ' || *packed.letter == ',') {
            continue;
        }
        next = (size_t)(end - at) < SCALAR_BYTES_MAX
                   ? NULL
                   : write_letter(at, end, *packed.letter, allow_pointers, arguments);
        if (next == NULL) {
            return packed;
        }
        at = next;
        packed.count++;
    }
    return (struct wire_value_packed){(uint32_t)(at - out), packed.count, NULL};
}

/* The most that one value may become; SIZE_MAX: it is none for the fast path. */
static size_t letter_bound(char letter, va_list *arguments) {
    const void *data;
    size_t size;
    switch (letter) {
    case 'i':
    case 'u':
        (void)va_arg(*arguments, uint64_t);
        return SCALAR_BYTES_MAX;
    case 'd':
        (void)va_arg(*arguments, double);
        return SCALAR_BYTES_MAX;
    case 'b':
        (void)va_arg(*arguments, int);
        return SCALAR_BYTES_MAX;
    case 'n':
        return SCALAR_BYTES_MAX;
    case 'p':
        (void)va_arg(*arguments, void *);
        return SCALAR_BYTES_MAX;
    case 's':
        data = va_arg(*arguments, const char *);
        size = data == NULL ? 0 : strlen(data);
        break;
    case 'S':
    case 'B':
    case 'v':
        (void)va_arg(*arguments, const void *);
        size = va_arg(*arguments, size_t);
        break;
    default:
        return SIZE_MAX;
    }
    return size > WIRE_PAYLOAD_BYTES_MAX ? SIZE_MAX : size + SCALAR_BYTES_MAX;
}

size_t wire_value_bound(const char *format, va_list *arguments) {
    size_t bound = SCALAR_BYTES_MAX; /* so much must seem to be there even for a shorter last one */
    for (; format != NULL && *format != 0; format++) {
        if (*format == ' ' || *format == ',') {
            continue;
        }
        size_t more = letter_bound(*format, arguments);
        if (more == SIZE_MAX || bound + more > WIRE_PAYLOAD_BYTES_MAX) {
            return SIZE_MAX;
        }
        bound += more;
    }
    return bound;
}
