/* Where futures come from: free lists of each thread, filled and emptied in batches from a depot that
 * gives memory back to the system after a peak. What a thread has goes to the depot when it ends. */
#ifndef CLIENT_FUTURE_MEMORY_H
#define CLIENT_FUTURE_MEMORY_H

#include "base/assert.h"
#include "libclient/executor.h"
#include "libclient/future.h"

/* The address sanitizer is to see each future as an allocation of its own: the lists stay empty then. */
#if defined(__SANITIZE_ADDRESS__)
#define FUTURE_MEMORY_PLAIN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUTURE_MEMORY_PLAIN 1
#endif
#endif

/* This thread's free futures. Initial-exec: a submit must not pay for a call that looks the address up. */
struct future_cache {
    furrow_future *free; /* linked by next */
    unsigned room;       /* for so many more; 0 as well while nothing would empty it */
    bool registered;     /* it is emptied when the thread ends */
};
extern _Thread_local struct future_cache future_cache __attribute__((tls_model("initial-exec")));

/* What the two below seldom need. */
furrow_future *future_allocate_slowly(void);
void future_release_slowly(furrow_future *future);

/* future_allocate returns memory for a future, its contents undefined, aligned to a cache line.
 * NULL: no memory. Any thread; blocks only for the depot's lock, once in many calls. */
static inline furrow_future *future_allocate(void) {
    furrow_future *future = future_cache.free;

    if (BASE_UNLIKELY(future == NULL)) {
        return future_allocate_slowly();
    }
    future_cache.free = future->next;
    future_cache.room++;
    return future;
}
static inline void future_release(furrow_future *future) {
    if (BASE_UNLIKELY(future_cache.room == 0)) {
        future_release_slowly(future);
        return;
    }
    future->next = future_cache.free;
    future_cache.free = future;
    future_cache.room--;
}

/* future_new makes a PENDING future with two references, or with one if executor is NULL. It has no
 * arguments and no class yet. Any thread. NULL: no memory. */
static inline furrow_future *future_new(furrow_executor *executor) {
    furrow_future *future = future_allocate();

    if (BASE_UNLIKELY(future == NULL)) {
        return NULL;
    }
    atomic_init(&future->word, executor == NULL ? FUTURE_REF_ONE : 2 * FUTURE_REF_ONE);
    future->watches = NULL;
    atomic_init(&future->kept, NULL);
    future->executor = executor;
    future->class_ = NULL;
    future->storage = FUTURE_BORROWED;
    future->pointers = executor == NULL || executor->ops->allow_pointers;
    future->kind = WIRE_KIND_VALUE;
    future->own_flags = 0;
    future->own = 0;
    future->task.data = future->bytes;
    future->task.size = 0;
    future->task.large = NULL;
    future->task.id = UINT64_MAX; /* the broker's client gives it one */
    return future;
}

#endif
