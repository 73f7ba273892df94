#include "libclient/core_private.h"

#include <stdlib.h>

void client_slots_init(struct client_slots *slots) {
    *slots = (struct client_slots){.free = CLIENT_SLOT_NONE};
}

void client_slots_fini(struct client_slots *slots) {
    free(slots->slots);
    client_slots_init(slots);
}

bool client_slots_grow(struct client_slots *slots) {
    uint32_t capacity = slots->capacity == 0 ? CLIENT_SLOTS_MIN : slots->capacity * 2;
    struct client_slot *grown;

    if (slots->capacity >= CLIENT_SLOTS_MAX) {
        return false;
    }
    grown = realloc(slots->slots, capacity * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    slots->slots = grown;
    slots->capacity = capacity;
    return true;
}

/* Puts the free slots below `touched` into order, the lowest first. */
static void rebuild_free(struct client_slots *slots) {
    slots->free = CLIENT_SLOT_NONE;
    for (uint32_t i = slots->touched; i-- > 0;) {
        if (slots->slots[i].task == NULL) {
            slots->slots[i].next_free = slots->free;
            slots->free = i;
        }
    }
}

void client_slots_trim(struct client_slots *slots) {
    uint32_t needed = slots->peak, capacity = slots->capacity, floor = slots->generation_floor;
    uint32_t top = slots->touched;
    struct client_slot *shrunk;

    slots->peak = slots->live;
    if (capacity <= CLIENT_SLOTS_MIN || needed >= capacity / 4) {
        return;
    }
    while (top > 0 && slots->slots[top - 1].task == NULL) {
        top--;
    }
    needed = needed > top ? needed : top;
    while (capacity > CLIENT_SLOTS_MIN && capacity / 2 >= needed) {
        capacity /= 2;
    }
    if (capacity == slots->capacity) {
        return;
    }
    /* An id that was used in a slot given back must not come again: what is made there later begins
     * above all of them. Generations wrap, and are compared as distances. */
    for (uint32_t i = capacity; i < slots->touched; i++) {
        if ((int32_t)(slots->slots[i].generation - floor) > 0) {
            floor = slots->slots[i].generation;
        }
    }
    shrunk = realloc(slots->slots, capacity * sizeof *shrunk);
    if (shrunk == NULL) {
        return;
    }
    slots->slots = shrunk;
    slots->capacity = capacity;
    slots->generation_floor = floor;
    if (slots->touched > capacity) {
        slots->touched = capacity;
    }
    rebuild_free(slots);
}
