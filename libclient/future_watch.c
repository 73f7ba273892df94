#include "libclient/future_watch.h"

#include <pthread.h>

#include "base/assert.h"

/* A future has no lock of its own; it borrows one by its address. A lock is held for a few
 * instructions, and only for futures that are watched. */
#define LOCKS 64

static union {
    pthread_mutex_t mutex;
    char line[64];
} locks[LOCKS] __attribute__((aligned(64))) = {
    [0 ... LOCKS - 1] = {.mutex = PTHREAD_MUTEX_INITIALIZER},
};

static pthread_mutex_t *lock_of(const furrow_future *future) {
    uint64_t hash = ((uint64_t)(uintptr_t)future >> 6) * UINT64_C(0x9e3779b97f4a7c15);

    return &locks[hash >> 58].mutex;
}

void future_watch(furrow_future *future, struct future_watch *watch) {
    pthread_mutex_t *lock = lock_of(future);
    uint64_t word;

    pthread_mutex_lock(lock);
    /* Either the resolver sees the flag and then comes for the lock, or this sees that it is done. */
    word = atomic_fetch_or_explicit(&future->word, FUTURE_WATCHED, memory_order_acq_rel);
    if ((word & FUTURE_STATE) >= FURROW_CANCELLED) {
        pthread_mutex_unlock(lock);
        watch->notify(watch, future);
        return;
    }
    if (future->watches == NULL) {
        watch->next = watch;
        watch->prev = watch;
        future->watches = watch;
    } else {
        struct future_watch *first = future->watches;

        watch->next = first;
        watch->prev = first->prev;
        first->prev->next = watch;
        first->prev = watch;
    }
    pthread_mutex_unlock(lock);
}

bool future_unwatch(furrow_future *future, struct future_watch *watch) {
    pthread_mutex_t *lock = lock_of(future);
    bool removed = false;

    if (future_done(future)) {
        return false;
    }
    pthread_mutex_lock(lock);
    /* Once it is done the ring is the resolver's, even if that has not got the lock yet. */
    if (!future_done(future)) {
        if (watch->next == watch) {
            BASE_ASSERT(future->watches == watch);
            future->watches = NULL;
        } else {
            watch->next->prev = watch->prev;
            watch->prev->next = watch->next;
            if (future->watches == watch) {
                future->watches = watch->next;
            }
        }
        removed = true;
    }
    pthread_mutex_unlock(lock);
    return removed;
}

/* notify_all tells each watch of a ring in order. */
static void notify_all(struct future_watch *first, furrow_future *future) {
    struct future_watch *watch = first;

    first->prev->next = NULL;
    while (watch != NULL) {
        struct future_watch *next = watch->next;

        watch->notify(watch, future);
        watch = next;
    }
}

void future_notify_watches(furrow_future *future) {
    pthread_mutex_t *lock = lock_of(future);
    struct future_watch *first;

    pthread_mutex_lock(lock);
    first = future->watches;
    future->watches = NULL;
    pthread_mutex_unlock(lock);
    if (first != NULL) {
        notify_all(first, future);
    }
}

void future_discard_watches(furrow_future *future) {
    struct future_watch *first = future->watches;

    future->watches = NULL;
    notify_all(first, NULL);
}
