#include "libclient/future_memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/list.h"

_Thread_local struct future_cache future_cache __attribute__((tls_model("initial-exec")));

#ifdef FUTURE_MEMORY_PLAIN

furrow_future *future_allocate_slowly(void) {
    return aligned_alloc(64, sizeof(struct furrow_future));
}

void future_release_slowly(furrow_future *future) {
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

static pthread_key_t cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;
static bool cache_key_made;

static unsigned cache_count(void) {
    return future_cache.registered ? CACHED_MAX - future_cache.room : 0;
}

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

/* chunk_take moves up to `most` futures, and at least one, into the cache, and returns how many: a run of
 * the free ones as it is linked, or else some that have never been used. */
static unsigned chunk_take(struct chunk *chunk, unsigned most) {
    furrow_future *first = chunk->free, *last = first;
    unsigned count = 1;

    if (first != NULL) {
        for (; count < most && last->next != NULL; count++) {
            last = last->next;
        }
        chunk->free = last->next;
    } else {
        first = last = (furrow_future *)(void *)((char *)chunk + CHUNK_HEAD) + chunk->touched;
        for (; count < most && chunk->touched + count < CHUNK_FUTURES; count++) {
            last->next = last + 1;
            last++;
        }
        chunk->touched += count;
    }
    last->next = future_cache.free;
    future_cache.free = first;
    chunk->used += count;
    return count;
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

/* depot_take moves up to BATCH futures into the cache, which is empty. */
static void depot_take(void) {
    unsigned count = 0;
    struct chunk *chunk;

    pthread_mutex_lock(&depot.lock);
    if (!depot.ready) {
        base_list_init(&depot.usable);
        base_list_init(&depot.full);
        base_list_init(&depot.spare);
        depot.ready = true;
    }
    while (count < BATCH && (chunk = depot_chunk()) != NULL) {
        count += chunk_take(chunk, BATCH - count);
        if (chunk->used == CHUNK_FUTURES) {
            base_list_remove(&chunk->node);
            base_list_push_back(&depot.full, &chunk->node);
        }
    }
    pthread_mutex_unlock(&depot.lock);
    future_cache.room = CACHED_MAX - count;
}

/* chunk_take_back takes a run of `count` futures back; a chunk that is no longer wanted goes on
 * `unwanted`. */
static void chunk_take_back(struct chunk *chunk, furrow_future *first, furrow_future *last,
                            unsigned count, struct base_list *unwanted) {
    bool was_full = chunk->used == CHUNK_FUTURES;

    last->next = chunk->free;
    chunk->free = first;
    chunk->used -= count;
    if (chunk->used > 0 && !was_full) {
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

/* depot_give moves `count` futures out of the cache, in runs of one chunk each. */
static void depot_give(unsigned count) {
    struct base_list unwanted;

    BASE_ASSERT(count <= cache_count());
    base_list_init(&unwanted);
    pthread_mutex_lock(&depot.lock);
    while (count > 0) {
        furrow_future *first = future_cache.free, *last = first;
        struct chunk *chunk = chunk_of(first);
        unsigned run = 1;

        for (; run < count && chunk_of(last->next) == chunk; run++) {
            last = last->next;
        }
        future_cache.free = last->next;
        future_cache.room += run;
        count -= run;
        chunk_take_back(chunk, first, last, run, &unwanted);
    }
    pthread_mutex_unlock(&depot.lock);
    for (struct base_node *node; (node = base_list_pop_front(&unwanted)) != NULL;) {
        (void)munmap(BASE_LIST_ENTRY(node, struct chunk, node), CHUNK_BYTES);
    }
}

static void cache_end(void *unused) {
    (void)unused;
    depot_give(cache_count());
    BASE_ASSERT(future_cache.free == NULL);
    future_cache.registered = false;
    future_cache.room = 0;
}

static void cache_key_make(void) {
    cache_key_made = pthread_key_create(&cache_key, cache_end) == 0;
}

/* cache_register sees to it that this thread's cache goes back when it ends. If that can't be had, the
 * futures in it stay unused, no more. */
static void cache_register(void) {
    (void)pthread_once(&cache_once, cache_key_make);
    if (cache_key_made) {
        (void)pthread_setspecific(cache_key, &future_cache);
    }
    future_cache.registered = true;
    future_cache.room = CACHED_MAX;
}

furrow_future *future_allocate_slowly(void) {
    if (!future_cache.registered) {
        cache_register();
    }
    depot_take();
    return future_cache.free == NULL ? NULL : future_allocate();
}

void future_release_slowly(furrow_future *future) {
    if (!future_cache.registered) {
        cache_register();
    } else {
        depot_give(BATCH);
    }
    future_release(future);
}

#endif
