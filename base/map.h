/* Two hash maps.
 *
 * base_map: intrusive and chained, keys are byte strings that live in the entry itself.
 * base_idmap: 64-bit key to pointer, open addressing, for hot paths.
 *
 * Both are seeded, because peers choose keys: without the seed they can't make them collide. Memory
 * follows the number of entries up and down. No function blocks; the caller keeps threads apart. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"

enum base_map_status {
    BASE_MAP_INSERTED,
    BASE_MAP_EXISTS,   /* the key is there already; the map is as before */
    BASE_MAP_NO_MEMORY /* the map is as before and stays usable */
};

/* ---- byte strings ---- */

struct base_map_node {
    struct base_map_node *next;
    uint64_t hash;
    const void *key; /* belongs to the entry and stays valid and unchanged while it is in the map */
    size_t key_size; /* bytes, may be 0 */
};

struct base_map {
    struct base_map_node **buckets; /* NULL until the first insert */
    size_t bucket_count;            /* 0 or a power of two */
    size_t count;
    uint64_t seed[2];
};

/* base_map_init makes an empty map and allocates nothing. seed0, seed1: random, unknown to peers.
 * base_map_fini frees the table; entries still inside belong to the caller as ever. */
void base_map_init(struct base_map *map, uint64_t seed0, uint64_t seed1);
void base_map_fini(struct base_map *map);

static inline size_t base_map_count(const struct base_map *map) {
    return map->count;
}

/* base_map_find returns the node with that key, or NULL. */
struct base_map_node *base_map_find(const struct base_map *map, const void *key, size_t key_size);

/* base_map_insert puts in `node` under `key` (borrowed for as long as the node is inside). */
enum base_map_status base_map_insert(struct base_map *map, struct base_map_node *node,
                                     const void *key, size_t key_size);

/* base_map_remove takes out a node that is in this map. */
void base_map_remove(struct base_map *map, struct base_map_node *node);

/* base_map_next iterates in no particular order: start with a zeroed cursor, stop at NULL. The node
 * just returned may be removed (and freed) before the next call; other changes are not allowed. */
struct base_map_cursor {
    size_t bucket;
    struct base_map_node *next;
};
struct base_map_node *base_map_next(const struct base_map *map, struct base_map_cursor *cursor);

/* base_map_hash is the keyed hash (SipHash-1-3) the map uses. */
uint64_t base_map_hash(uint64_t seed0, uint64_t seed1, const void *key, size_t key_size);

/* ---- 64-bit ids ---- */

struct base_idmap_slot {
    uint64_t key;
    void *value; /* NULL: the slot is free */
};

struct base_idmap {
    struct base_idmap_slot *slots; /* NULL until the first insert */
    size_t capacity;               /* 0 or a power of two */
    size_t count;
    uint64_t seed;
};

/* base_idmap_init makes an empty map and allocates nothing. seed: random, unknown to peers.
 * base_idmap_fini frees the table, not the values. */
void base_idmap_init(struct base_idmap *map, uint64_t seed);
void base_idmap_fini(struct base_idmap *map);

static inline size_t base_idmap_count(const struct base_idmap *map) {
    return map->count;
}

/* base_idmap_find returns the value of `key`, or NULL. */
void *base_idmap_find(const struct base_idmap *map, uint64_t key);

/* base_idmap_insert puts `value` (not NULL, borrowed) under `key` (any). */
enum base_map_status base_idmap_insert(struct base_idmap *map, uint64_t key, void *value);

/* base_idmap_remove takes out `key` and returns its value, or NULL if it wasn't there. */
void *base_idmap_remove(struct base_idmap *map, uint64_t key);

/* base_idmap_next iterates in no particular order: start with *cursor = 0, stop at NULL. `key` may be
 * NULL. The map must not be changed meanwhile. */
void *base_idmap_next(const struct base_idmap *map, size_t *cursor, uint64_t *key);

#endif
