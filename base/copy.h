/* Copies of a few bytes. */
#ifndef BASE_COPY_H
#define BASE_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"

/* base_copy_short is memcpy for what mostly is a few bytes, which cost less than the call does. */
static inline void base_copy_short(uint8_t *to, const uint8_t *from, size_t size) {
    if (BASE_UNLIKELY(size > 16)) {
        memcpy(to, from, size);
    } else if (size >= 8) {
        uint64_t first, last;

        memcpy(&first, from, 8);
        memcpy(&last, from + size - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + size - 8, &last, 8);
    } else if (size >= 4) {
        uint32_t first, last;

        memcpy(&first, from, 4);
        memcpy(&last, from + size - 4, 4);
        memcpy(to, &first, 4);
        memcpy(to + size - 4, &last, 4);
    } else if (size > 0) {
        to[0] = from[0];
        to[size / 2] = from[size / 2];
        to[size - 1] = from[size - 1];
    }
}

#endif
