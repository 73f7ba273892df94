#include "base/extents.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define USED (UINT32_C(1) << 31)

static uint32_t length_of(uint32_t tag) {
    return tag & ~USED;
}

static void mark(struct base_extents *extents, uint32_t at, uint32_t length, uint32_t used) {
    extents->tags[at] = length | used;
    extents->tags[at + length - 1] = length | used;
}

bool base_extents_init(struct base_extents *extents, uint32_t count) {
    BASE_ASSERT(count >= 1 && count <= BASE_EXTENTS_UNITS_MAX);
    memset(extents, 0, sizeof *extents);
    extents->tags = calloc(count, sizeof *extents->tags);
    if (extents->tags == NULL) {
        return false;
    }
    extents->count = count;
    mark(extents, 0, count, 0);
    return true;
}

void base_extents_fini(struct base_extents *extents) {
    free(extents->tags);
    memset(extents, 0, sizeof *extents);
}

uint32_t base_extents_take(struct base_extents *extents, uint32_t units) {
    bool free_before = false;

    BASE_ASSERT(units >= 1);
    if (units > extents->count - extents->used) {
        return BASE_EXTENTS_NONE;
    }
    for (uint32_t at = extents->first; at < extents->count;) {
        uint32_t tag = extents->tags[at], length = length_of(tag);

        if ((tag & USED) == 0 && length >= units) {
            mark(extents, at, units, USED);
            if (length > units) {
                mark(extents, at + units, length - units, 0);
            }
            if (!free_before) {
                extents->first = at + units;
            }
            extents->used += units;
            return at;
        }
        free_before |= (tag & USED) == 0;
        at += length;
        if (!free_before) {
            extents->first = at;
        }
    }
    return BASE_EXTENTS_NONE;
}

uint32_t base_extents_give(struct base_extents *extents, uint32_t at) {
    BASE_ASSERT(at < extents->count && (extents->tags[at] & USED) != 0);

    uint32_t units = length_of(extents->tags[at]), length = units;

    BASE_ASSERT(units >= 1 && units <= extents->count - at);
    extents->used -= units;
    if (at + units < extents->count && (extents->tags[at + units] & USED) == 0) {
        length += length_of(extents->tags[at + units]);
    }
    if (at > 0 && (extents->tags[at - 1] & USED) == 0) {
        uint32_t before = length_of(extents->tags[at - 1]);

        at -= before;
        length += before;
    }
    mark(extents, at, length, 0);
    if (at < extents->first) {
        extents->first = at;
    }
    return units;
}

bool base_extents_back(const struct base_extents *extents, uint32_t end, uint32_t *begin) {
    uint32_t tag;

    BASE_ASSERT(end >= 1 && end <= extents->count);
    tag = extents->tags[end - 1];
    *begin = end - length_of(tag);
    return (tag & USED) == 0;
}
