/* A slab of objects of one size: addresses never change, alloc and free are a few nanoseconds, and
 * memory goes back after a peak. Not at once: a first touch of fresh memory costs more than a
 * thousand allocs, and load comes in waves. Chunks that have become wholly free are kept spare while
 * they are needed again now and then; those that were not, go back bit by bit as objects are freed,
 * or all together by base_slab_trim, for when nothing is going on.
 *
 * An object has an index, and a generation that changes whenever the object is freed, so that
 * {index, generation} is a handle which a peer may hold for as long as it likes: once the object is
 * gone the handle resolves to NULL, even when its place has been used again. Generations of live
 * objects are never 0, so {0, 0} is no object. No function blocks; the caller keeps threads apart. */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/poison.h"

#define BASE_SLAB_NONE UINT32_MAX

struct base_slab_slot {
    uint32_t generation; /* odd while the slot is live, even while it is free */
    uint32_t next;       /* free slot; BASE_SLAB_NONE behind the last */
};

struct base_slab_chunk {
    size_t live;   /* slots in use */
    uint32_t free; /* the first free slot, BASE_SLAB_NONE if there is none */
    struct base_slab_slot slots[];
};

/* One for each chunk that there is or has been. */
struct base_slab_entry {
    uint8_t *objects;
    struct base_slab_chunk *chunk; /* NULL: given back to the system */
    uint32_t generation;           /* what the slots of the next chunk in this place start from */
    uint32_t next;                 /* in the list of vacant, spare or partly used entries */
    uint32_t prev;
};

struct base_slab {
    struct base_slab_entry *entries;
    uint32_t entry_count;
    uint32_t entry_capacity;
    uint32_t vacant;  /* list of entries without a chunk */
    uint32_t partial; /* list of entries with free slots and live ones, the next to use first */
    uint32_t spare;   /* list of entries that are wholly free and kept */
    uint32_t spare_count;
    uint32_t spare_low; /* the fewest spare ones since the last review: so many were not needed */
    uint32_t review_in; /* frees until the next review */
    uint32_t object_bytes;
    uint32_t stride_bytes;
    uint32_t slot_shift; /* 1 << slot_shift slots a chunk */
    uint32_t slot_mask;  /* the bits of an index that are the slot */
    uint32_t limit;      /* most objects at once */
    size_t count;
    struct base_memory *memory; /* NULL: malloc */
};

/* base_slab_init makes an empty slab; it allocates nothing.
 *
 * object_bytes  1 to 64 KiB; objects are aligned to 16 bytes, to 64 if the size is a multiple of 64.
 * limit         the most objects that may live at once, 0 for as many as 32 bits can count. */
void base_slab_init(struct base_slab *slab, size_t object_bytes, uint32_t limit);

/* base_slab_use has the slab take its chunks, all of one size, from `memory` (borrowed until fini)
 * instead of malloc. To be called before the first alloc. */
void base_slab_use(struct base_slab *slab, struct base_memory *memory);

/* base_slab_fini frees everything, live objects included. */
void base_slab_fini(struct base_slab *slab);

/* What the two below seldom need. base_slab_refill makes `partial` an entry with a free slot; false: there
 * is no memory, or the limit is reached. base_slab_settle moves an entry whose chunk has become full or
 * empty, or was full before, to where it belongs, and now and then reviews the spare ones. */
bool base_slab_refill(struct base_slab *slab);
void base_slab_settle(struct base_slab *slab, uint32_t at, bool was_full);

/* base_slab_alloc returns an object, its contents undefined, and its handle in *index and
 * *generation (either may be NULL). Returns NULL if there is no memory or the limit is reached. */
static inline void *base_slab_alloc(struct base_slab *slab, uint32_t *index, uint32_t *generation) {
    struct base_slab_chunk *chunk;
    uint32_t at, slot, next;
    uint8_t *object;

    if (BASE_UNLIKELY(slab->partial == BASE_SLAB_NONE || slab->count >= slab->limit) &&
        !base_slab_refill(slab)) {
        return NULL;
    }
    at = slab->partial;
    chunk = slab->entries[at].chunk;
    slot = chunk->free;
    next = chunk->slots[slot].next;
    chunk->slots[slot].generation++;
    chunk->free = next;
    chunk->live++;
    slab->count++;
    object = slab->entries[at].objects + (size_t)slot * slab->stride_bytes;
    BASE_UNPOISON(object, slab->object_bytes);
    if (index != NULL) {
        *index = at << slab->slot_shift | slot;
    }
    if (generation != NULL) {
        *generation = chunk->slots[slot].generation;
    }
    if (BASE_UNLIKELY(next == BASE_SLAB_NONE)) {
        base_slab_settle(slab, at, false);
    }
    return object;
}

/* base_slab_free frees a live object by its index. All its handles stop to resolve. */
static inline void base_slab_free(struct base_slab *slab, uint32_t index) {
    uint32_t at = index >> slab->slot_shift, slot = index & slab->slot_mask, next;
    struct base_slab_chunk *chunk;

    BASE_ASSERT(at < slab->entry_count);
    chunk = slab->entries[at].chunk;
    chunk->slots[slot].generation++;
    BASE_ASSERT((chunk->slots[slot].generation & 1) == 0); /* it was live */
    BASE_POISON(slab->entries[at].objects + (size_t)slot * slab->stride_bytes, slab->stride_bytes);
    next = chunk->free;
    chunk->slots[slot].next = next;
    chunk->free = slot;
    chunk->live--;
    slab->count--;
    if (BASE_UNLIKELY(--slab->review_in == 0 || next == BASE_SLAB_NONE || chunk->live == 0)) {
        base_slab_settle(slab, at, next == BASE_SLAB_NONE);
    }
}

/* base_slab_get returns the live object at an index that is our own: a wrong one is a bug. */
static inline void *base_slab_get(const struct base_slab *slab, uint32_t index) {
    uint32_t slot = index & slab->slot_mask;
    uint32_t at = index >> slab->slot_shift;

    BASE_ASSERT(at < slab->entry_count && slab->entries[at].chunk != NULL);
    return slab->entries[at].objects + (size_t)slot * slab->stride_bytes;
}

/* base_slab_get_live returns the object at an index, or NULL if none lives there. Any value is fine;
 * for those who know an object by something of its own. */
static inline void *base_slab_get_live(const struct base_slab *slab, uint32_t index) {
    uint32_t slot = index & slab->slot_mask;
    uint32_t at = index >> slab->slot_shift;
    const struct base_slab_entry *entry;

    if (BASE_UNLIKELY(at >= slab->entry_count)) {
        return NULL;
    }
    entry = &slab->entries[at];
    if (BASE_UNLIKELY(entry->chunk == NULL || (entry->chunk->slots[slot].generation & 1) == 0)) {
        return NULL;
    }
    return entry->objects + (size_t)slot * slab->stride_bytes;
}

/* base_slab_get_checked returns the object, or NULL if this handle is not (or no longer) a live
 * object. Any values are fine: they may come from a peer. */
static inline void *base_slab_get_checked(const struct base_slab *slab, uint32_t index,
                                          uint32_t generation) {
    uint32_t slot = index & slab->slot_mask;
    void *object = base_slab_get_live(slab, index);

    if (BASE_UNLIKELY(object == NULL ||
                      slab->entries[index >> slab->slot_shift].chunk->slots[slot].generation !=
                          generation)) {
        return NULL;
    }
    return object;
}

/* base_slab_generation returns the generation of the live object at `index`. */
uint32_t base_slab_generation(const struct base_slab *slab, uint32_t index);

/* base_slab_next returns the next live object at or after *index, and moves *index behind it; NULL at
 * the end. Start with 0; objects may be freed meanwhile, allocated ones may or may not be seen.
 * `found` (may be NULL) gets the object's own index. O(slots), not for hot paths. */
void *base_slab_next(const struct base_slab *slab, uint32_t *index, uint32_t *found);

/* base_slab_trim gives back all memory that no live object needs. */
void base_slab_trim(struct base_slab *slab);

static inline size_t base_slab_count(const struct base_slab *slab) {
    return slab->count;
}

/* base_slab_bytes returns what the slab holds from the system, in bytes. */
size_t base_slab_bytes(const struct base_slab *slab);

#endif
