/* MessagePack's integers as bytes: big-endian, at any address. */
#ifndef WIRE_BYTES_H
#define WIRE_BYTES_H

#include <stdint.h>
#include <string.h>

static inline uint16_t wire_load16(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap16(value);
}

static inline uint32_t wire_load32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap32(value);
}

static inline uint64_t wire_load64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap64(value);
}

static inline uint8_t *wire_store16(uint8_t *at, uint16_t value) {
    value = __builtin_bswap16(value);
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

static inline uint8_t *wire_store32(uint8_t *at, uint32_t value) {
    value = __builtin_bswap32(value);
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

static inline uint8_t *wire_store64(uint8_t *at, uint64_t value) {
    value = __builtin_bswap64(value);
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

#define WIRE_UINT_BYTES_MAX 9u

/* wire_write_uint writes the shortest form, of at most WIRE_UINT_BYTES_MAX bytes, and returns where
 * it ends. */
static inline uint8_t *wire_write_uint(uint8_t *at, uint64_t value) {
    if (value < 0x80) {
        *at++ = (uint8_t)value;
    } else if (value > UINT32_MAX) {
        *at++ = 0xcf;
        at = wire_store64(at, value);
    } else if (value > UINT16_MAX) {
        *at++ = 0xce;
        at = wire_store32(at, (uint32_t)value);
    } else if (value > UINT8_MAX) {
        *at++ = 0xcd;
        at = wire_store16(at, (uint16_t)value);
    } else {
        *at++ = 0xcc;
        *at++ = (uint8_t)value;
    }
    return at;
}

#endif
