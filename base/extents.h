/* Divides a range of equal units among holders: first fit, so that what is used and used again lies
 * together at the beginning; neighbours that are free become one. Pure bookkeeping: it never looks at
 * what the units are. No function blocks; the caller keeps threads apart. */
#ifndef BASE_EXTENTS_H
#define BASE_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

#define BASE_EXTENTS_NONE      UINT32_MAX
#define BASE_EXTENTS_UNITS_MAX (UINT32_C(1) << 30)

struct base_extents {
    uint32_t
        *tags; /* at the first and the last unit of an extent: its length, and whether it is used */
    uint32_t count; /* units */
    uint32_t used;  /* of them */
    uint32_t first; /* no free unit is before */
};

/* base_extents_init makes a range of `count` free units, 1 to BASE_EXTENTS_UNITS_MAX. False: no
 * memory. */
bool base_extents_init(struct base_extents *extents, uint32_t count);
/* base_extents_fini frees what init took; zeroed memory is fine. */
void base_extents_fini(struct base_extents *extents);

/* base_extents_take returns where `units` (at least 1) units begin that were free and are now used, or
 * BASE_EXTENTS_NONE: there are not so many in a row. O(extents before them). */
uint32_t base_extents_take(struct base_extents *extents, uint32_t units);

/* base_extents_give frees the extent that was taken at `at`, and returns how many units it had. */
uint32_t base_extents_give(struct base_extents *extents, uint32_t at);

/* base_extents_back goes through all extents from the end of the range: it sets *begin to where the one
 * begins that ends at `end` (begin with extents->count), and returns whether it is free. */
bool base_extents_back(const struct base_extents *extents, uint32_t end, uint32_t *begin);

#endif
