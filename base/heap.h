/* An intrusive min-heap of 64-bit keys, for deadlines. The node lives in the object; only the array
 * of pointers is allocated. Insert, remove, update and pop are O(log n), peek is O(1). Nodes with
 * equal keys come out in no particular order. No function blocks; the caller keeps threads apart. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"

#define BASE_HEAP_NOWHERE SIZE_MAX

struct base_heap_node {
    uint64_t key;
    size_t index; /* place in the heap, BASE_HEAP_NOWHERE while in none */
};

/* The key stands beside its node, so that sifting stays inside the array. */
struct base_heap_slot {
    uint64_t key;
    struct base_heap_node *node;
};

struct base_heap {
    struct base_heap_slot *slots;
    size_t count;
    size_t capacity;
};

/* base_heap_init makes an empty heap; it allocates nothing. base_heap_fini frees the array; nodes
 * that are still inside belong to the caller as ever. */
void base_heap_init(struct base_heap *heap);
void base_heap_fini(struct base_heap *heap);

/* base_heap_node_init must be called once before a node is used: zero is a valid index. */
static inline void base_heap_node_init(struct base_heap_node *node) {
    node->key = 0;
    node->index = BASE_HEAP_NOWHERE;
}

static inline bool base_heap_node_linked(const struct base_heap_node *node) {
    return node->index != BASE_HEAP_NOWHERE;
}

/* base_heap_reserve makes room for `count` nodes in all, so that inserts up to there can't fail.
 * Returns false if there is no memory; the heap is as before. */
bool base_heap_reserve(struct base_heap *heap, size_t count);

/* base_heap_insert puts `node`, which is in no heap, at `key`.
 * Returns false if there is no memory; heap and node are as before. */
bool base_heap_insert(struct base_heap *heap, struct base_heap_node *node, uint64_t key);

/* base_heap_remove takes out a node that is in this heap. */
void base_heap_remove(struct base_heap *heap, struct base_heap_node *node);

/* base_heap_update gives a node that is in this heap another key, smaller or larger. */
void base_heap_update(struct base_heap *heap, struct base_heap_node *node, uint64_t key);

/* base_heap_peek returns the node with the smallest key and leaves it there; NULL if empty. */
static inline struct base_heap_node *base_heap_peek(const struct base_heap *heap) {
    return heap->count == 0 ? NULL : heap->slots[0].node;
}

/* base_heap_pop removes and returns the node with the smallest key; NULL if empty. */
struct base_heap_node *base_heap_pop(struct base_heap *heap);

#endif
