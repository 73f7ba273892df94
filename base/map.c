#include "base/map.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 16
/* Tables up to this size are kept when they run empty. */
#define BUCKETS_KEEP 1024
/* With no memory for a larger table, chains may grow to this many nodes on average. */
#define CHAIN_MAX 8

/* ---- SipHash-1-3, from its paper (Aumasson, Bernstein: SipHash, 2012) ---- */

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate_left(uint64_t x, int by) {
    return (x << by) | (x >> (64 - by));
}

static inline void sip_round(struct sip *s) {
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate_left(s->v1, 13) ^ s->v0;
    s->v3 = rotate_left(s->v3, 16) ^ s->v2;
    s->v0 = rotate_left(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate_left(s->v1, 17) ^ s->v2;
    s->v3 = rotate_left(s->v3, 21) ^ s->v0;
    s->v2 = rotate_left(s->v2, 32);
}

/* Reads `bytes` (at most 8) bytes as a little-endian number. */
static inline uint64_t read_le(const uint8_t *from, size_t bytes) {
    uint64_t word = 0;

    for (size_t i = 0; i < bytes; i++) {
        word |= (uint64_t)from[i] << (8 * i);
    }
    return word;
}

uint64_t base_map_hash(uint64_t seed0, uint64_t seed1, const void *key, size_t key_size) {
    const uint8_t *from = key;
    size_t left = key_size;
    struct sip s = {
        .v0 = seed0 ^ UINT64_C(0x736f6d6570736575),
        .v1 = seed1 ^ UINT64_C(0x646f72616e646f6d),
        .v2 = seed0 ^ UINT64_C(0x6c7967656e657261),
        .v3 = seed1 ^ UINT64_C(0x7465646279746573),
    };
    uint64_t word;

    for (; left >= 8; left -= 8, from += 8) {
        word = read_le(from, 8);
        s.v3 ^= word;
        sip_round(&s);
        s.v0 ^= word;
    }
    word = (uint64_t)key_size << 56 | read_le(from, left);
    s.v3 ^= word;
    sip_round(&s);
    s.v0 ^= word;
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* ---- byte strings ---- */

void base_map_init(struct base_map *map, uint64_t seed0, uint64_t seed1) {
    memset(map, 0, sizeof *map);
    map->seed[0] = seed0;
    map->seed[1] = seed1;
}

void base_map_fini(struct base_map *map) {
    free(map->buckets);
    base_map_init(map, map->seed[0], map->seed[1]);
}

static struct base_map_node **bucket_of(const struct base_map *map, uint64_t hash) {
    return &map->buckets[hash & (map->bucket_count - 1)];
}

static struct base_map_node *find_hashed(const struct base_map *map, uint64_t hash, const void *key,
                                         size_t key_size) {
    struct base_map_node *node = map->buckets == NULL ? NULL : *bucket_of(map, hash);

    while (node != NULL && (node->hash != hash || node->key_size != key_size ||
                            (key_size > 0 && memcmp(node->key, key, key_size) != 0))) {
        node = node->next;
    }
    return node;
}

struct base_map_node *base_map_find(const struct base_map *map, const void *key, size_t key_size) {
    if (map->count == 0) {
        return NULL;
    }
    return find_hashed(map, base_map_hash(map->seed[0], map->seed[1], key, key_size), key,
                       key_size);
}

/* Moves everything into a table of bucket_count buckets. Returns false if there is no memory. */
static bool map_rehash(struct base_map *map, size_t bucket_count) {
    struct base_map_node **old = map->buckets;
    size_t old_count = map->bucket_count;
    struct base_map_node **buckets = calloc(bucket_count, sizeof(struct base_map_node *));

    if (buckets == NULL) {
        return false;
    }
    map->buckets = buckets;
    map->bucket_count = bucket_count;
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            struct base_map_node *node = old[i];
            struct base_map_node **bucket = bucket_of(map, node->hash);

            old[i] = node->next;
            node->next = *bucket;
            *bucket = node;
        }
    }
    free(old);
    return true;
}

/* Makes the table fit one more entry. It may stay too small or too large if there is no memory:
 * false only if there is none at all, or the chains would become unbearable. */
static bool map_fit(struct base_map *map) {
    if (map->count >= map->bucket_count) {
        size_t wanted = map->bucket_count == 0 ? BUCKETS_MIN : map->bucket_count * 2;

        return map_rehash(map, wanted) || map->count < map->bucket_count * CHAIN_MAX;
    }
    if (map->bucket_count > BUCKETS_KEEP && map->count < map->bucket_count / 16) {
        (void)map_rehash(map, map->bucket_count / 4);
    }
    return true;
}

enum base_map_status base_map_insert(struct base_map *map, struct base_map_node *node,
                                     const void *key, size_t key_size) {
    uint64_t hash = base_map_hash(map->seed[0], map->seed[1], key, key_size);
    struct base_map_node **bucket;

    if (find_hashed(map, hash, key, key_size) != NULL) {
        return BASE_MAP_EXISTS;
    }
    if (!map_fit(map)) {
        return BASE_MAP_NO_MEMORY;
    }
    bucket = bucket_of(map, hash);
    node->hash = hash;
    node->key = key;
    node->key_size = key_size;
    node->next = *bucket;
    *bucket = node;
    map->count++;
    return BASE_MAP_INSERTED;
}

void base_map_remove(struct base_map *map, struct base_map_node *node) {
    struct base_map_node **link;

    BASE_ASSERT(map->count > 0);
    link = bucket_of(map, node->hash);
    while (*link != node) {
        BASE_ASSERT(*link != NULL);
        link = &(*link)->next;
    }
    *link = node->next;
    node->next = NULL;
    map->count--;
    if (map->count == 0 && map->bucket_count > BUCKETS_KEEP) {
        base_map_fini(map);
    }
}

struct base_map_node *base_map_next(const struct base_map *map, struct base_map_cursor *cursor) {
    struct base_map_node *node = cursor->next;

    while (node == NULL && cursor->bucket < map->bucket_count) {
        node = map->buckets[cursor->bucket++];
    }
    cursor->next = node == NULL ? NULL : node->next;
    return node;
}

/* ---- 64-bit ids: linear probing, removal by shifting back, so there are no tombstones ---- */

#define SLOTS_MIN 16
/* Tables up to this size are kept when they run empty. */
#define SLOTS_KEEP 1024

void base_idmap_init(struct base_idmap *map, uint64_t seed) {
    memset(map, 0, sizeof *map);
    map->seed = seed;
}

void base_idmap_fini(struct base_idmap *map) {
    free(map->slots);
    base_idmap_init(map, map->seed);
}

/* One multiplication to 128 bits, folded, between two keyings: every bit of the key reaches the low
 * bits of the home slot, and without the seed no two keys are known to meet. */
static inline size_t home_of(const struct base_idmap *map, uint64_t key) {
    unsigned __int128 product = (unsigned __int128)(key ^ map->seed) *
                                ((rotate_left(map->seed, 32) ^ UINT64_C(0x9e3779b97f4a7c15)) | 1);
    uint64_t folded = (uint64_t)product ^ (uint64_t)(product >> 64);

    folded ^= folded >> 32;
    return (size_t)folded & (map->capacity - 1);
}

/* Returns the slot that has the key, or the free one where it would go. There always is one. */
static struct base_idmap_slot *slot_of(const struct base_idmap *map, uint64_t key) {
    size_t at = home_of(map, key);

    while (map->slots[at].value != NULL && map->slots[at].key != key) {
        at = (at + 1) & (map->capacity - 1);
    }
    return &map->slots[at];
}

void *base_idmap_find(const struct base_idmap *map, uint64_t key) {
    return map->count == 0 ? NULL : slot_of(map, key)->value;
}

static bool idmap_rehash(struct base_idmap *map, size_t capacity) {
    struct base_idmap_slot *old = map->slots;
    size_t old_capacity = map->capacity;
    struct base_idmap_slot *slots = calloc(capacity, sizeof *slots);

    if (slots == NULL) {
        return false;
    }
    map->slots = slots;
    map->capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].value != NULL) {
            *slot_of(map, old[i].key) = old[i];
        }
    }
    free(old);
    return true;
}

/* Makes the table fit one more entry: grown when half full; if there is no memory for that, filled
 * up to seven eighths before it refuses. */
static bool idmap_fit(struct base_idmap *map) {
    if (map->count >= map->capacity / 2) {
        size_t wanted = map->capacity == 0 ? SLOTS_MIN : map->capacity * 2;

        return idmap_rehash(map, wanted) || map->count < map->capacity / 8 * 7;
    }
    if (map->capacity > SLOTS_KEEP && map->count < map->capacity / 16) {
        (void)idmap_rehash(map, map->capacity / 4);
    }
    return true;
}

enum base_map_status base_idmap_insert(struct base_idmap *map, uint64_t key, void *value) {
    size_t capacity = map->capacity;
    struct base_idmap_slot *slot = capacity == 0 ? NULL : slot_of(map, key);

    BASE_ASSERT(value != NULL);
    if (slot != NULL && slot->value != NULL) {
        return BASE_MAP_EXISTS;
    }
    if (!idmap_fit(map)) {
        return BASE_MAP_NO_MEMORY;
    }
    if (map->capacity != capacity) {
        slot = slot_of(map, key);
    }
    slot->key = key;
    slot->value = value;
    map->count++;
    return BASE_MAP_INSERTED;
}

void *base_idmap_remove(struct base_idmap *map, uint64_t key) {
    size_t mask = map->capacity - 1;
    struct base_idmap_slot *slot;
    void *value;
    size_t hole;

    if (map->count == 0) {
        return NULL;
    }
    slot = slot_of(map, key);
    value = slot->value;
    if (value == NULL) {
        return NULL;
    }
    hole = (size_t)(slot - map->slots);
    /* Whatever stands behind the hole and has its home at or before it moves up, so that probing from
     * a home never meets a gap before its key. */
    for (size_t at = (hole + 1) & mask; map->slots[at].value != NULL; at = (at + 1) & mask) {
        size_t home = home_of(map, map->slots[at].key);

        if (((at - home) & mask) >= ((at - hole) & mask)) {
            map->slots[hole] = map->slots[at];
            hole = at;
        }
    }
    map->slots[hole].value = NULL;
    map->count--;
    if (map->count == 0 && map->capacity > SLOTS_KEEP) {
        base_idmap_fini(map);
    }
    return value;
}

void *base_idmap_next(const struct base_idmap *map, size_t *cursor, uint64_t *key) {
    while (*cursor < map->capacity) {
        const struct base_idmap_slot *slot = &map->slots[(*cursor)++];

        if (slot->value != NULL) {
            if (key != NULL) {
                *key = slot->key;
            }
            return slot->value;
        }
    }
    return NULL;
}
