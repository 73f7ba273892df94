#include "libclient/future_memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/list.h"

/* The address sanitizer is to see each future as an allocation of its own. */
#if defined(__SANITIZE_ADDRESS__)
#define FUTURE_MEMORY_PLAIN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUTURE_MEMORY_PLAIN 1
#endif
#endif

#ifdef FUTURE_MEMORY_PLAIN

furrow_future *future_allocate(void) {
    return aligned_alloc(64, sizeof(struct furrow_future));
}

void future_release(furrow_future *future) {
    free(future);
}

#else

/* A chunk is aligned to its size, so that a future finds it; and that is the size of a large page,
 * because what a future costs when very many are outstanding is the page faults. The first chunk is of
 * ordinary pages, so that a small program stays small. */
#define CHUNK_BYTES   ((size_t)2 << 20)
#define CHUNK_HEAD    64
#define CHUNK_FUTURES ((CHUNK_BYTES - CHUNK_HEAD) / FUTURE_BYTES)

#define BATCH      64  /* futures that move between a thread and the depot at once */
#define CACHED_MAX 128 /* futures that a thread keeps */
#define SPARE_MAX  16  /* unused chunks that the depot keeps */

struct chunk {
    struct base_node node;
    furrow_future *free; /* linked by next */
    size_t used;         /* futures that are not in the depot */
    size_t touched;      /* those behind have never been used */
};

_Static_assert(sizeof(struct chunk) <= CHUNK_HEAD, "the chunk's head fits before its first future");

/* Every chunk is in one of the lists, so that nothing looks leaked at exit. */
static struct {
    pthread_mutex_t lock;
    bool ready;
    struct base_list usable; /* has free futures and used ones */
    struct base_list full;   /* has no free future */
    struct base_list spare;  /* has free ones only */
    size_t spare_count;
    size_t chunk_count;
} depot = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct cache {
    furrow_future *free;
    unsigned count;
    bool registered; /* the destructor below will be called for this thread */
};

/* Initial-exec: a submit must not pay for a call that looks the address up. */
static _Thread_local struct cache cache __attribute__((tls_model("initial-exec")));
static pthread_key_t cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;
static bool cache_key_made;

static struct chunk *chunk_of(furrow_future *future) {
    return (struct chunk *)((uintptr_t)future & ~(uintptr_t)(CHUNK_BYTES - 1));
}

/* chunk_map maps memory aligned to its size: twice as much, of which the ends go back. */
static void *chunk_map(void) {
    char *memory =
        mmap(NULL, 2 * CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t before;

    if (memory == MAP_FAILED) {
        return NULL;
    }
    before = -(uintptr_t)memory & (CHUNK_BYTES - 1);
    if (before > 0) {
        (void)munmap(memory, before);
    }
    (void)munmap(memory + before + CHUNK_BYTES, CHUNK_BYTES - before);
    return memory + before;
}

static struct chunk *chunk_new(void) {
    struct chunk *chunk = chunk_map();

    if (chunk == NULL) {
        return NULL;
    }
    if (depot.chunk_count > 0) {
        (void)madvise(chunk, CHUNK_BYTES, MADV_HUGEPAGE);
    }
    depot.chunk_count++;
    return chunk; /* all zero: an unused chunk */
}

/* chunk_take gives a future, NULL if the chunk has no more. */
static furrow_future *chunk_take(struct chunk *chunk) {
    furrow_future *future = chunk->free;

    if (future != NULL) {
        chunk->free = future->next;
    } else if (chunk->touched < CHUNK_FUTURES) {
        future = (furrow_future *)(void *)((char *)chunk + CHUNK_HEAD) + chunk->touched++;
    } else {
        return NULL;
    }
    chunk->used++;
    return future;
}

/* depot_chunk gives a chunk with at least one free future, in the usable list. The lock is held. */
static struct chunk *depot_chunk(void) {
    struct base_node *node = base_list_first(&depot.usable);
    struct chunk *chunk;

    if (node != NULL) {
        return BASE_LIST_ENTRY(node, struct chunk, node);
    }
    node = base_list_pop_front(&depot.spare);
    if (node != NULL) {
        depot.spare_count--;
        chunk = BASE_LIST_ENTRY(node, struct chunk, node);
    } else {
        chunk = chunk_new();
    }
    if (chunk != NULL) {
        base_list_push_front(&depot.usable, &chunk->node);
    }
    return chunk;
}

/* depot_take moves up to BATCH futures into the cache. */
static void depot_take(void) {
    pthread_mutex_lock(&depot.lock);
    if (!depot.ready) {
        base_list_init(&depot.usable);
        base_list_init(&depot.full);
        base_list_init(&depot.spare);
        depot.ready = true;
    }
    while (cache.count < BATCH) {
        struct chunk *chunk = depot_chunk();

        if (chunk == NULL) {
            break;
        }
        while (cache.count < BATCH) {
            furrow_future *future = chunk_take(chunk);

            if (future == NULL) {
                break;
            }
            future->next = cache.free;
            cache.free = future;
            cache.count++;
        }
        if (chunk->used == CHUNK_FUTURES) {
            base_list_remove(&chunk->node);
            base_list_push_back(&depot.full, &chunk->node);
        }
    }
    pthread_mutex_unlock(&depot.lock);
}

/* chunk_take_back takes a future back; a chunk that is no longer wanted goes on `unwanted`. */
static void chunk_take_back(furrow_future *future, struct base_list *unwanted) {
    struct chunk *chunk = chunk_of(future);

    future->next = chunk->free;
    chunk->free = future;
    chunk->used--;
    if (chunk->used > 0 && chunk->used < CHUNK_FUTURES - 1) {
        return;
    }
    base_list_remove(&chunk->node);
    if (chunk->used > 0) {
        base_list_push_back(&depot.usable, &chunk->node);
    } else if (depot.spare_count < SPARE_MAX) {
        depot.spare_count++;
        base_list_push_front(&depot.spare, &chunk->node);
    } else {
        depot.chunk_count--;
        base_list_push_back(unwanted, &chunk->node);
    }
}

/* depot_give moves `count` futures out of the cache. */
static void depot_give(unsigned count) {
    struct base_list unwanted;

    base_list_init(&unwanted);
    pthread_mutex_lock(&depot.lock);
    while (count-- > 0) {
        furrow_future *future = cache.free;

        BASE_ASSERT(future != NULL);
        cache.free = future->next;
        cache.count--;
        chunk_take_back(future, &unwanted);
    }
    pthread_mutex_unlock(&depot.lock);
    for (struct base_node *node; (node = base_list_pop_front(&unwanted)) != NULL;) {
        (void)munmap(BASE_LIST_ENTRY(node, struct chunk, node), CHUNK_BYTES);
    }
}

static void cache_end(void *unused) {
    (void)unused;
    depot_give(cache.count);
    cache.registered = false;
}

static void cache_key_make(void) {
    cache_key_made = pthread_key_create(&cache_key, cache_end) == 0;
}

/* cache_register sees to it that this thread's cache goes back when it ends. If that can't be had, the
 * futures in it stay unused, no more. */
static void cache_register(void) {
    (void)pthread_once(&cache_once, cache_key_make);
    if (cache_key_made) {
        (void)pthread_setspecific(cache_key, &cache);
    }
    cache.registered = true;
}

static __attribute__((noinline)) furrow_future *allocate_slowly(void) {
    furrow_future *future;

    if (!cache.registered) {
        cache_register();
    }
    depot_take();
    future = cache.free;
    if (future != NULL) {
        cache.free = future->next;
        cache.count--;
    }
    return future;
}

static __attribute__((noinline)) void release_slowly(void) {
    if (!cache.registered) {
        cache_register();
    }
    if (cache.count >= CACHED_MAX) {
        depot_give(BATCH);
    }
}

furrow_future *future_allocate(void) {
    furrow_future *future = cache.free;

    if (BASE_UNLIKELY(future == NULL)) {
        return allocate_slowly();
    }
    cache.free = future->next;
    cache.count--;
    return future;
}

void future_release(furrow_future *future) {
    future->next = cache.free;
    cache.free = future;
    cache.count++;
    if (BASE_UNLIKELY(cache.count >= CACHED_MAX || !cache.registered)) {
        release_slowly();
    }
}

#endif
