/* Hints to the processor about what will be read soon. They change nothing, and can't fault. */
#ifndef BASE_FETCH_H
#define BASE_FETCH_H

#include <stddef.h>
#include <stdint.h>

/* base_fetch_beyond is for who goes along a chain, from `at` to `next`: it gives an address near which the
 * node `steps` further on probably lies. Only the chain knows better, but has to be read for that one node
 * after the other; and what was allocated one after the other mostly lies at equal distances. */
static inline const void *base_fetch_beyond(const void *at, const void *next, unsigned steps) {
    uintptr_t distance = (uintptr_t)next - (uintptr_t)at;

    return (const void *)((uintptr_t)next + steps * distance);
}

/* base_fetch has what is at an offset of an object come near. Any address is fine. */
static inline void base_fetch(const void *object, size_t offset) {
    __builtin_prefetch((const void *)((uintptr_t)object + offset));
}

#endif
