#include "base/heap.h"

#include <stdlib.h>

/* Four children a node: half the levels of a binary heap, and the four keys that are compared lie in
 * one cache line. */
#define ARITY        4
#define CAPACITY_MIN 16
/* The array is halved when it is used to less than a quarter, and never below this. */
#define CAPACITY_KEEP 1024

void base_heap_init(struct base_heap *heap) {
    heap->slots = NULL;
    heap->count = 0;
    heap->capacity = 0;
}

void base_heap_fini(struct base_heap *heap) {
    free(heap->slots);
    base_heap_init(heap);
}

static bool resize(struct base_heap *heap, size_t capacity) {
    struct base_heap_slot *slots;

    if (capacity > SIZE_MAX / sizeof *slots) {
        return false;
    }
    slots = realloc(heap->slots, capacity * sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    heap->slots = slots;
    heap->capacity = capacity;
    return true;
}

bool base_heap_reserve(struct base_heap *heap, size_t count) {
    return count <= heap->capacity || resize(heap, count);
}

static void put(struct base_heap *heap, size_t at, struct base_heap_slot slot) {
    heap->slots[at] = slot;
    slot.node->index = at;
}

/* Moves `slot` from the hole at `at` towards the root until its parent isn't larger. */
static void sift_up(struct base_heap *heap, size_t at, struct base_heap_slot slot) {
    while (at > 0) {
        size_t parent = (at - 1) / ARITY;

        if (heap->slots[parent].key <= slot.key) {
            break;
        }
        put(heap, at, heap->slots[parent]);
        at = parent;
    }
    put(heap, at, slot);
}

/* Moves `slot` from the hole at `at` towards the leaves until no child is smaller. */
static void sift_down(struct base_heap *heap, size_t at, struct base_heap_slot slot) {
    for (;;) {
        size_t child = at * ARITY + 1;
        size_t end = child + ARITY < heap->count ? child + ARITY : heap->count;
        size_t least = child;

        if (child >= heap->count) {
            break;
        }
        while (++child < end) {
            if (heap->slots[child].key < heap->slots[least].key) {
                least = child;
            }
        }
        if (heap->slots[least].key >= slot.key) {
            break;
        }
        put(heap, at, heap->slots[least]);
        at = least;
    }
    put(heap, at, slot);
}

/* Puts `slot` into the hole at `at`, whichever way it has to go from there. */
static void settle(struct base_heap *heap, size_t at, struct base_heap_slot slot) {
    if (at > 0 && heap->slots[(at - 1) / ARITY].key > slot.key) {
        sift_up(heap, at, slot);
    } else {
        sift_down(heap, at, slot);
    }
}

bool base_heap_insert(struct base_heap *heap, struct base_heap_node *node, uint64_t key) {
    struct base_heap_slot slot = {.key = key, .node = node};

    BASE_ASSERT(!base_heap_node_linked(node));
    if (heap->count == heap->capacity &&
        !resize(heap, heap->capacity == 0 ? CAPACITY_MIN : heap->capacity * 2)) {
        return false;
    }
    node->key = key;
    sift_up(heap, heap->count++, slot);
    return true;
}

void base_heap_remove(struct base_heap *heap, struct base_heap_node *node) {
    size_t at = node->index;

    BASE_ASSERT(at < heap->count && heap->slots[at].node == node);
    node->index = BASE_HEAP_NOWHERE;
    heap->count--;
    if (at < heap->count) {
        settle(heap, at, heap->slots[heap->count]);
    }
    if (heap->capacity > CAPACITY_KEEP && heap->count < heap->capacity / 4) {
        (void)resize(heap, heap->capacity / 2); /* if that fails the larger one serves on */
    }
}

void base_heap_update(struct base_heap *heap, struct base_heap_node *node, uint64_t key) {
    struct base_heap_slot slot = {.key = key, .node = node};

    BASE_ASSERT(node->index < heap->count && heap->slots[node->index].node == node);
    node->key = key;
    settle(heap, node->index, slot);
}

struct base_heap_node *base_heap_pop(struct base_heap *heap) {
    struct base_heap_node *node = base_heap_peek(heap);

    if (node != NULL) {
        base_heap_remove(heap, node);
    }
    return node;
}
