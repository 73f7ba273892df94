#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/extents.h"
#include "wire/shared_private.h"

#define KEEP_UNITS (WIRE_SHARED_KEEP_BYTES / WIRE_SHARED_UNIT_BYTES)

struct shared_block {
    struct wire_blob blob;
    struct wire_shared_heap *heap;
    struct shared_block *next; /* among the retired */
    uint32_t unit;
};

/* Lock order: there is no other lock beneath this one. */
struct wire_shared_heap {
    _Atomic uint32_t refs; /* its owner's, and one for each block that is not retired */
    uint32_t units;
    uint8_t *blocks;
    shared_word *generations;
    struct shared_mapping mapping;

    pthread_mutex_t lock; /* over all below */
    struct base_extents extents;
    struct shared_block *retired; /* dropped by us, and still held by a reader */
    struct base_list readers;
    uint8_t *resident; /* for each unit: whether it has memory */
    uint32_t resident_units;
    uint32_t resident_end; /* none from here on has */
    struct shared_reader first;
};

/* ------------------------------------------------------------ the heap itself */

struct wire_shared_heap *shared_heap_new(struct shared_mapping *mapping, size_t at, uint32_t units,
                                         const shared_word *holds) {
    struct shared_layout layout = shared_layout_of(at, units);
    struct wire_shared_heap *heap = calloc(1, sizeof *heap);

    BASE_ASSERT(layout.end <= mapping->bytes);
    if (heap == NULL) {
        return NULL;
    }
    heap->resident = calloc(units, 1);
    if (heap->resident == NULL || !base_extents_init(&heap->extents, units)) {
        free(heap->resident);
        free(heap);
        return NULL;
    }
    atomic_init(&heap->refs, 1);
    heap->units = units;
    heap->blocks = (uint8_t *)mapping->at + layout.blocks_at;
    heap->generations = (shared_word *)(void *)((uint8_t *)mapping->at + layout.generations_at);
    heap->mapping = *mapping;
    *mapping = (struct shared_mapping){NULL, 0};
    (void)pthread_mutex_init(&heap->lock, NULL);
    base_list_init(&heap->readers);
    if (holds != NULL) {
        heap->first.holds = holds;
        shared_heap_add_reader(heap, &heap->first);
    }
    return heap;
}

struct wire_shared_heap *shared_heap_ref(struct wire_shared_heap *heap) {
    atomic_fetch_add_explicit(&heap->refs, 1, memory_order_relaxed);
    return heap;
}

void shared_heap_unref(struct wire_shared_heap *heap) {
    if (heap == NULL || atomic_fetch_sub_explicit(&heap->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    while (heap->retired != NULL) {
        struct shared_block *block = heap->retired;

        heap->retired = block->next;
        free(block);
    }
    base_extents_fini(&heap->extents);
    (void)pthread_mutex_destroy(&heap->lock);
    shared_unmap(&heap->mapping);
    free(heap->resident);
    free(heap);
}

/* -------------------------------------------------------------------- memory */

/* Notes that the units have memory from now on; returns how many had none. Locked. */
static uint32_t note_resident(struct wire_shared_heap *heap, uint32_t at, uint32_t units) {
    uint32_t fresh = 0;

    for (uint32_t i = at; i < at + units; i++) {
        fresh += heap->resident[i] == 0;
        heap->resident[i] = 1;
    }
    heap->resident_units += fresh;
    if (at + units > heap->resident_end) {
        heap->resident_end = at + units;
    }
    return fresh;
}

/* Gives the memory of units back to the system. Locked. False: it can't be. */
static bool strip(struct wire_shared_heap *heap, uint32_t at, uint32_t end) {
    if (madvise(heap->blocks + (size_t)at * WIRE_SHARED_UNIT_BYTES,
                (size_t)(end - at) * WIRE_SHARED_UNIT_BYTES, MADV_REMOVE) != 0) {
        return false;
    }
    for (uint32_t i = at; i < end; i++) {
        heap->resident_units -= heap->resident[i];
        heap->resident[i] = 0;
    }
    return true;
}

/* How much may be resident: what is used, and for the next blocks as much again, since use goes up and
 * down. Locked. */
static uint32_t resident_most(const struct wire_shared_heap *heap) {
    uint32_t used = heap->extents.used;

    return used + (used > KEEP_UNITS ? used : KEEP_UNITS);
}

/* Gives free memory back that is more than may be kept: that at the end first, since blocks are taken at
 * the beginning. Locked. */
static void trim(struct wire_shared_heap *heap) {
    uint32_t end = heap->extents.count, begin;

    for (; end > 0 && heap->resident_units > resident_most(heap); end = begin) {
        bool is_free = base_extents_back(&heap->extents, end, &begin);
        uint32_t upto = end < heap->resident_end ? end : heap->resident_end;
        uint32_t excess = heap->resident_units - resident_most(heap), from = begin;

        if (!is_free || upto <= begin) {
            continue;
        }
        for (from = upto; from > begin && excess > 0; from--) {
            excess -= heap->resident[from - 1];
        }
        if (strip(heap, from, upto) && upto == heap->resident_end) {
            heap->resident_end = from;
        }
    }
}

/* Lets the kernel make all the pages in one go, where it can: a fault for each costs more than the page.
 * False: there is no memory for them; touching them would be a signal. */
static bool populate(const struct wire_shared_heap *heap, uint32_t at, uint32_t units) {
#ifdef MADV_POPULATE_WRITE
    int saved = errno, error = 0;

    if (madvise(heap->blocks + (size_t)at * WIRE_SHARED_UNIT_BYTES,
                (size_t)units * WIRE_SHARED_UNIT_BYTES, MADV_POPULATE_WRITE) != 0) {
        error = errno;
    }
    errno = saved;
    return error != ENOMEM && error != EFAULT && error != EHWPOISON;
#else
    (void)heap, (void)at, (void)units;
    return true;
#endif
}

/* -------------------------------------------------------------------- blocks */

/* Sequentially consistent, as is the reader's part: it counts its hold, then looks at the generation;
 * here the generation has been changed before the holds are looked at. So either the hold is seen, or
 * the reader sees that it comes too late. */
static bool is_held(const struct wire_shared_heap *heap, uint32_t unit) {
    BASE_LIST_FOREACH(&heap->readers, node) {
        const struct shared_reader *reader = BASE_LIST_ENTRY(node, struct shared_reader, node);

        if (atomic_load(&reader->holds[unit]) != 0) {
            return true;
        }
    }
    return false;
}

/* Frees what no reader holds any more. Locked. */
static void sweep(struct wire_shared_heap *heap) {
    struct shared_block **at = &heap->retired;

    while (*at != NULL) {
        struct shared_block *block = *at;

        if (is_held(heap, block->unit)) {
            at = &block->next;
        } else {
            *at = block->next;
            (void)base_extents_give(&heap->extents, block->unit);
            free(block);
        }
    }
    trim(heap);
}

static void block_destroy(struct wire_blob *blob) {
    struct shared_block *block = BASE_CONTAINER_OF(blob, struct shared_block, blob);
    struct wire_shared_heap *heap = block->heap;

    pthread_mutex_lock(&heap->lock);
    atomic_fetch_add(&heap->generations[block->unit], 1);
    if (is_held(heap, block->unit)) {
        block->next = heap->retired;
        heap->retired = block;
    } else {
        (void)base_extents_give(&heap->extents, block->unit);
        free(block);
        trim(heap);
    }
    pthread_mutex_unlock(&heap->lock);
    shared_heap_unref(heap);
}

/* Units for a block; BASE_EXTENTS_NONE: there are none, or no memory for them. */
static uint32_t take_units(struct wire_shared_heap *heap, uint32_t units) {
    uint32_t at, fresh = 0;

    pthread_mutex_lock(&heap->lock);
    if (heap->retired != NULL) {
        sweep(heap);
    }
    at = base_extents_take(&heap->extents, units);
    if (at != BASE_EXTENTS_NONE) {
        fresh = note_resident(heap, at, units);
    }
    pthread_mutex_unlock(&heap->lock);
    if (fresh > 0 && !populate(heap, at, units)) {
        pthread_mutex_lock(&heap->lock);
        (void)base_extents_give(&heap->extents, at);
        (void)strip(heap, at, at + units);
        pthread_mutex_unlock(&heap->lock);
        return BASE_EXTENTS_NONE;
    }
    return at;
}

struct wire_blob *wire_shared_block(struct wire_shared_heap *heap, size_t size) {
    size_t units = (size - 1) / WIRE_SHARED_UNIT_BYTES + 1;
    struct shared_block *block;

    BASE_ASSERT(size >= 1);
    if (units > heap->units) {
        return NULL;
    }
    block = malloc(sizeof *block);
    if (block == NULL) {
        return NULL;
    }
    block->unit = take_units(heap, (uint32_t)units);
    if (block->unit == BASE_EXTENTS_NONE) {
        free(block);
        return NULL;
    }
    block->heap = shared_heap_ref(heap);
    block->next = NULL;
    atomic_init(&block->blob.refs, 1);
    block->blob.data = heap->blocks + (size_t)block->unit * WIRE_SHARED_UNIT_BYTES;
    block->blob.size = size;
    block->blob.destroy = block_destroy;
    return &block->blob;
}

void wire_shared_usage(struct wire_shared_heap *heap, struct wire_shared_usage *usage) {
    pthread_mutex_lock(&heap->lock);
    sweep(heap);
    *usage = (struct wire_shared_usage){
        .room = (uint64_t)heap->units * WIRE_SHARED_UNIT_BYTES,
        .used = (uint64_t)heap->extents.used * WIRE_SHARED_UNIT_BYTES,
        .resident = (uint64_t)heap->resident_units * WIRE_SHARED_UNIT_BYTES,
    };
    pthread_mutex_unlock(&heap->lock);
}

/* ------------------------------------------------------------------- readers */

void shared_heap_add_reader(struct wire_shared_heap *heap, struct shared_reader *reader) {
    base_node_init(&reader->node);
    pthread_mutex_lock(&heap->lock);
    base_list_push_back(&heap->readers, &reader->node);
    pthread_mutex_unlock(&heap->lock);
}

void shared_heap_remove_reader(struct wire_shared_heap *heap, struct shared_reader *reader) {
    pthread_mutex_lock(&heap->lock);
    base_list_remove(&reader->node);
    sweep(heap);
    pthread_mutex_unlock(&heap->lock);
}

bool shared_heap_refer(const struct wire_shared_heap *heap, const struct wire_blob *blob,
                       struct shared_reference *reference) {
    const struct shared_block *block;

    if (blob->destroy != block_destroy) {
        return false;
    }
    block = BASE_CONTAINER_OF(blob, const struct shared_block, blob);
    if (block->heap != heap) {
        return false;
    }
    /* The generation can't change while there is a reference to the blob. */
    *reference = (struct shared_reference){
        .unit = block->unit,
        .generation = atomic_load_explicit(&heap->generations[block->unit], memory_order_relaxed),
        .offset =
            (uint64_t)(blob->data - (heap->blocks + (size_t)block->unit * WIRE_SHARED_UNIT_BYTES)),
        .size = blob->size,
    };
    return true;
}
