#include "libclient/pointer_set.h"

#include <stdint.h>
#include <stdlib.h>

bool pointer_set_init(struct pointer_set *set, size_t count) {
    size_t room = 16;

    while (room / 2 < count) {
        if (room > SIZE_MAX / 2 / sizeof set->slots[0]) {
            return false;
        }
        room *= 2;
    }
    set->slots = calloc(room, sizeof set->slots[0]);
    set->mask = room - 1;
    return set->slots != NULL;
}

void pointer_set_fini(struct pointer_set *set) {
    free(set->slots);
    set->slots = NULL;
}

bool pointer_set_add(struct pointer_set *set, const void *pointer) {
    uint64_t hash = ((uint64_t)(uintptr_t)pointer >> 4) * UINT64_C(0x9e3779b97f4a7c15);
    size_t at = (size_t)(hash >> 20) & set->mask;

    while (set->slots[at] != NULL) {
        if (set->slots[at] == pointer) {
            return false;
        }
        at = (at + 1) & set->mask;
    }
    set->slots[at] = pointer;
    return true;
}
