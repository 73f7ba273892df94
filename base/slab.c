#include "base/slab.h"

#include <stdlib.h>
#include <string.h>

#define OBJECT_BYTES_MAX 65536
#define CHUNK_BYTES      65536
#define SLOTS_MIN        8
#define SLOTS_MAX        2048
#define ENTRIES_MIN      8
/* A review comes after as many frees as there are slots, times the first, but at least the second. */
#define REVIEW_ROUNDS    4
#define REVIEW_FREES_MIN 4096
#define ALIGN            16
#define ALIGN_LINE       64

static uint32_t slots_of(const struct base_slab *slab) {
    return 1U << slab->slot_shift;
}

void base_slab_init(struct base_slab *slab, size_t object_bytes, uint32_t limit) {
    uint32_t most;

    BASE_ASSERT(object_bytes >= 1 && object_bytes <= OBJECT_BYTES_MAX);
    memset(slab, 0, sizeof *slab);
    slab->object_bytes = (uint32_t)object_bytes;
    slab->stride_bytes = (slab->object_bytes + ALIGN - 1) & ~(uint32_t)(ALIGN - 1);
    while ((1U << slab->slot_shift) < SLOTS_MIN ||
           ((1U << slab->slot_shift) < SLOTS_MAX &&
            (size_t)slab->stride_bytes << (slab->slot_shift + 1) <= CHUNK_BYTES)) {
        slab->slot_shift++;
    }
    slab->slot_mask = slots_of(slab) - 1;
    most = UINT32_MAX - slots_of(slab); /* so that no index is BASE_SLAB_NONE */
    slab->limit = limit == 0 || limit > most ? most : limit;
    slab->vacant = BASE_SLAB_NONE;
    slab->partial = BASE_SLAB_NONE;
    slab->spare = BASE_SLAB_NONE;
    slab->review_in = REVIEW_FREES_MIN;
}

void base_slab_use(struct base_slab *slab, struct base_memory *memory) {
    BASE_ASSERT(slab->entry_count == 0);
    slab->memory = memory;
}

/* Header, slots and room to align, in front of the objects. */
static size_t head_bytes(const struct base_slab *slab) {
    return sizeof(struct base_slab_chunk) + slots_of(slab) * sizeof(struct base_slab_slot) +
           ALIGN_LINE;
}

static size_t chunk_bytes(const struct base_slab *slab) {
    return head_bytes(slab) + (size_t)slab->stride_bytes * slots_of(slab);
}

static struct base_slab_chunk *chunk_take(struct base_slab *slab) {
    return slab->memory == NULL ? malloc(chunk_bytes(slab))
                                : slab->memory->take(slab->memory, chunk_bytes(slab));
}

static void chunk_give(struct base_slab *slab, struct base_slab_chunk *chunk) {
    if (slab->memory == NULL) {
        free(chunk);
    } else {
        slab->memory->give(slab->memory, chunk, chunk_bytes(slab));
    }
}

void base_slab_fini(struct base_slab *slab) {
    size_t bytes = slab->object_bytes;
    uint32_t limit = slab->limit;

    for (uint32_t i = 0; i < slab->entry_count; i++) {
        if (slab->entries[i].chunk != NULL) {
            BASE_UNPOISON(slab->entries[i].objects, (size_t)slab->stride_bytes * slots_of(slab));
            chunk_give(slab, slab->entries[i].chunk);
        }
    }
    free(slab->entries);
    base_slab_init(slab, bytes, limit);
}

/* ---- the list of partly used entries ---- */

static void partial_add(struct base_slab *slab, uint32_t at) {
    struct base_slab_entry *entry = &slab->entries[at];

    entry->next = slab->partial;
    entry->prev = BASE_SLAB_NONE;
    if (entry->next != BASE_SLAB_NONE) {
        slab->entries[entry->next].prev = at;
    }
    slab->partial = at;
}

static void partial_remove(struct base_slab *slab, uint32_t at) {
    struct base_slab_entry *entry = &slab->entries[at];

    if (entry->next != BASE_SLAB_NONE) {
        slab->entries[entry->next].prev = entry->prev;
    }
    if (entry->prev != BASE_SLAB_NONE) {
        slab->entries[entry->prev].next = entry->next;
    } else {
        slab->partial = entry->next;
    }
}

/* ---- chunks ---- */

/* Returns an entry without a chunk, or BASE_SLAB_NONE if there is no memory for one. */
static uint32_t entry_take(struct base_slab *slab) {
    uint32_t at = slab->vacant;

    if (at != BASE_SLAB_NONE) {
        slab->vacant = slab->entries[at].next;
        return at;
    }
    if (slab->entry_count == slab->entry_capacity) {
        uint32_t capacity = slab->entry_capacity == 0 ? ENTRIES_MIN : slab->entry_capacity * 2;
        struct base_slab_entry *entries = realloc(slab->entries, capacity * sizeof *entries);

        if (entries == NULL) {
            return BASE_SLAB_NONE;
        }
        slab->entries = entries;
        slab->entry_capacity = capacity;
    }
    at = slab->entry_count++;
    memset(&slab->entries[at], 0, sizeof slab->entries[at]);
    return at;
}

static void entry_give(struct base_slab *slab, uint32_t at) {
    slab->entries[at].next = slab->vacant;
    slab->vacant = at;
}

/* Makes a chunk and returns its entry, or BASE_SLAB_NONE if there is no memory. */
static uint32_t chunk_new(struct base_slab *slab) {
    size_t objects_bytes = (size_t)slab->stride_bytes * slots_of(slab);
    uint32_t at = entry_take(slab);
    struct base_slab_entry *entry;
    struct base_slab_chunk *chunk;
    uintptr_t objects;

    if (at == BASE_SLAB_NONE) {
        return BASE_SLAB_NONE;
    }
    entry = &slab->entries[at];
    chunk = chunk_take(slab);
    if (chunk == NULL) {
        entry_give(slab, at);
        return BASE_SLAB_NONE;
    }
    chunk->live = 0;
    chunk->free = 0;
    for (uint32_t i = 0; i < slots_of(slab); i++) {
        chunk->slots[i].generation = entry->generation;
        chunk->slots[i].next = i + 1;
    }
    chunk->slots[slab->slot_mask].next = BASE_SLAB_NONE;
    objects = (uintptr_t)&chunk->slots[slots_of(slab)];
    objects = (objects + ALIGN_LINE - 1) & ~(uintptr_t)(ALIGN_LINE - 1);
    entry->objects = (uint8_t *)chunk + (objects - (uintptr_t)chunk);
    entry->chunk = chunk;
    BASE_POISON(entry->objects, objects_bytes);
    return at;
}

/* Gives a chunk without live objects back. Its generations go on above the highest one ever, so that
 * old handles do not come to life in the chunk that takes this place. */
static void chunk_release(struct base_slab *slab, uint32_t at) {
    struct base_slab_entry *entry = &slab->entries[at];

    for (uint32_t i = 0; i < slots_of(slab); i++) {
        uint32_t generation = entry->chunk->slots[i].generation;

        if ((int32_t)(generation - entry->generation) > 0) {
            entry->generation = generation;
        }
    }
    BASE_UNPOISON(entry->objects, (size_t)slab->stride_bytes * slots_of(slab));
    chunk_give(slab, entry->chunk);
    entry->chunk = NULL;
    entry->objects = NULL;
    entry_give(slab, at);
}

static void spare_release(struct base_slab *slab, uint32_t count) {
    BASE_ASSERT(count <= slab->spare_count);
    slab->spare_count -= count;
    for (; count > 0; count--) {
        uint32_t at = slab->spare;

        slab->spare = slab->entries[at].next;
        chunk_release(slab, at);
    }
    slab->spare_low = slab->spare_count;
}

/* Gives back half of the spare chunks that nobody needed since the last review: after a peak they
 * are gone in a few rounds; a wave that returns within a round finds its chunks. */
static void spare_review(struct base_slab *slab) {
    uint64_t slots;
    uint64_t frees;

    spare_release(slab, (slab->spare_low + 1) / 2);
    slots = slab->count + ((uint64_t)slab->spare_count << slab->slot_shift);
    frees = slots * REVIEW_ROUNDS;
    slab->review_in = frees < REVIEW_FREES_MIN ? REVIEW_FREES_MIN
                      : frees > UINT32_MAX     ? UINT32_MAX
                                               : (uint32_t)frees;
}

void base_slab_trim(struct base_slab *slab) {
    spare_release(slab, slab->spare_count);
}

/* ---- objects ---- */

bool base_slab_refill(struct base_slab *slab) {
    uint32_t at = slab->spare;

    if (slab->count >= slab->limit) {
        return false;
    }
    if (at != BASE_SLAB_NONE) {
        slab->spare = slab->entries[at].next;
        slab->spare_count--;
        if (slab->spare_low > slab->spare_count) {
            slab->spare_low = slab->spare_count;
        }
    } else {
        at = chunk_new(slab);
    }
    if (at == BASE_SLAB_NONE) {
        return false;
    }
    partial_add(slab, at);
    return true;
}

void base_slab_settle(struct base_slab *slab, uint32_t at, bool was_full) {
    size_t live = slab->entries[at].chunk->live;

    if (live == slots_of(slab) || live == 0) {
        partial_remove(slab, at);
    } else if (was_full) {
        partial_add(slab, at);
    }
    if (live == 0) {
        slab->entries[at].next = slab->spare;
        slab->spare = at;
        slab->spare_count++;
    }
    if (slab->review_in == 0) {
        spare_review(slab);
    }
}

uint32_t base_slab_generation(const struct base_slab *slab, uint32_t index) {
    uint32_t slot = index & slab->slot_mask;
    uint32_t at = index >> slab->slot_shift;
    uint32_t generation;

    BASE_ASSERT(at < slab->entry_count && slab->entries[at].chunk != NULL);
    generation = slab->entries[at].chunk->slots[slot].generation;
    BASE_ASSERT((generation & 1) == 1);
    return generation;
}

void *base_slab_next(const struct base_slab *slab, uint32_t *index, uint32_t *found) {
    while (*index >> slab->slot_shift < slab->entry_count) {
        const struct base_slab_entry *entry = &slab->entries[*index >> slab->slot_shift];
        uint32_t slot = *index & slab->slot_mask;

        if (entry->chunk == NULL) {
            *index = (*index | slab->slot_mask) + 1;
            continue;
        }
        if ((entry->chunk->slots[slot].generation & 1) == 1) {
            if (found != NULL) {
                *found = *index;
            }
            ++*index;
            return entry->objects + (size_t)slot * slab->stride_bytes;
        }
        ++*index;
    }
    return NULL;
}

size_t base_slab_bytes(const struct base_slab *slab) {
    size_t bytes = slab->entry_capacity * sizeof(struct base_slab_entry);

    for (uint32_t i = 0; i < slab->entry_count; i++) {
        if (slab->entries[i].chunk != NULL) {
            bytes += chunk_bytes(slab);
        }
    }
    return bytes;
}
