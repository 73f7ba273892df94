#include "base/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/pool_private.h"

/* ---- creation ---- */

static int init_lock(struct base_pool *pool) {
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);

    if (error != 0) {
        return error;
    }
    error = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (error == 0) {
        error = pthread_cond_init(&pool->ended, &attributes);
    }
    pthread_condattr_destroy(&attributes);
    if (error != 0) {
        return error;
    }
    error = pthread_mutex_init(&pool->lock, NULL);
    if (error != 0) {
        pthread_cond_destroy(&pool->ended);
    }
    return error;
}

void base_pool_destroy(struct base_pool *pool) {
    unsigned created = atomic_load(&pool->created);

    BASE_ASSERT(pool->live == 0);
    BASE_ASSERT(base_pool_queued(pool) == 0);
    for (unsigned i = 0; i < created; i++) {
        free(pool->threads[i]);
    }
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->ended);
    free(pool);
}

/* Creates all threads. On failure none is left. */
static int create_all(struct base_pool *pool) {
    int error = 0;

    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < pool->options.max_threads && error == 0; i++) {
        error = base_pool_spawn(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    if (error != 0) {
        base_pool_stop(pool);
        (void)base_pool_join(pool, BASE_CLOCK_FOREVER);
    }
    return error;
}

int base_pool_new(const struct base_pool_options *options, struct base_pool **out) {
    size_t size = sizeof(struct base_pool);
    struct base_pool *pool;
    int error;

    if (options->run == NULL || options->max_threads < 1 ||
        options->max_threads > BASE_POOL_THREADS_MAX ||
        (options->start != NULL && options->abandon == NULL)) {
        return EINVAL;
    }
    size += options->max_threads * sizeof(struct base_pool_thread *);
    size = (size + BASE_POOL_LINE - 1) & ~(size_t)(BASE_POOL_LINE - 1);
    pool = aligned_alloc(BASE_POOL_LINE, size);
    if (pool == NULL) {
        return ENOMEM;
    }
    memset(pool, 0, size);
    pool->options = *options;
    if (options->name_prefix != NULL) {
        strncpy(pool->name_prefix, options->name_prefix, sizeof pool->name_prefix - 1);
    }
    pool->options.name_prefix = NULL;
    error = init_lock(pool);
    if (error != 0) {
        free(pool);
        return error;
    }
    if (options->eager) {
        error = create_all(pool);
        if (error != 0) {
            base_pool_destroy(pool);
            return error;
        }
    }
    *out = pool;
    return 0;
}

/* ---- submission ---- */

/* Creates the first thread, without which nothing may be accepted. */
static int create_first(struct base_pool *pool) {
    int error = 0;

    pthread_mutex_lock(&pool->lock);
    if (atomic_load(&pool->created) == 0 && !atomic_load(&pool->stopping)) {
        error = base_pool_spawn(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return error;
}

/* Sees to it that there is a thread for what has been added. */
static inline void man(struct base_pool *pool) {
    unsigned idle = atomic_load(&pool->idle);

    if (idle >= BASE_POOL_SLEEPER && (idle & BASE_POOL_SEARCHING) == 0) {
        base_pool_wake_one(pool);
    }
    if (BASE_UNLIKELY(atomic_load_explicit(&pool->created, memory_order_relaxed) <
                      pool->options.max_threads)) {
        base_pool_grow(pool);
    }
}

/* Takes a chain that is linked newest first. */
static inline int submit(struct base_pool *pool, struct base_work *newest,
                         struct base_work *oldest) {
    int error = 0;

    if (BASE_UNLIKELY(atomic_load_explicit(&pool->created, memory_order_relaxed) == 0)) {
        error = create_first(pool);
    }
    if (BASE_LIKELY(error == 0)) {
        error = base_pool_push(pool, newest, oldest);
    }
    if (BASE_LIKELY(error == 0)) {
        man(pool);
    }
    return error;
}

int base_pool_submit(struct base_pool *pool, struct base_work *work) {
    return submit(pool, work, work);
}

/* Turns a chain round. */
static void reverse(struct base_work *work) {
    struct base_work *before = NULL;

    while (work != NULL) {
        struct base_work *next = work->next;

        work->next = before;
        before = work;
        work = next;
    }
}

int base_pool_submit_batch(struct base_pool *pool, struct base_work *first, struct base_work *last,
                           size_t count) {
    int error;

    if (count == 0) {
        return 0;
    }
    last->next = NULL;
    reverse(first);
    error = submit(pool, last, first);
    if (error != 0) {
        first->next = NULL;
        reverse(last);
    }
    return error;
}

int base_pool_submit_ahead(struct base_pool *pool, struct base_work *first, struct base_work *last,
                           size_t count) {
    int error = count > 0 && atomic_load(&pool->created) == 0 ? create_first(pool) : 0;

    if (count == 0 || error != 0) {
        return error;
    }
    pthread_mutex_lock(&pool->lock);
    error = base_pool_put_ahead(pool, first, last, count);
    pthread_mutex_unlock(&pool->lock);
    if (error == 0) {
        man(pool);
    }
    return error;
}

struct base_work *base_pool_withdraw(struct base_pool *pool,
                                     bool (*wanted)(void *user, const struct base_work *work),
                                     void *user) {
    struct base_pool_list kept = {0};
    struct base_work *taken = NULL;
    struct base_work **taken_end = &taken;
    struct base_work **kept_end = &kept.first;
    struct base_work *work;

    pthread_mutex_lock(&pool->lock);
    base_pool_gather(pool);
    for (work = pool->ready.first; work != NULL; work = work->next) {
        if (wanted == NULL || wanted(user, work)) {
            *taken_end = work;
            taken_end = &work->next;
        } else {
            *kept_end = work;
            kept_end = &work->next;
            kept.last = work;
            kept.count++;
        }
    }
    *taken_end = NULL;
    *kept_end = NULL;
    pool->ready = kept;
    pthread_mutex_unlock(&pool->lock);
    if (kept.count > 0) {
        base_pool_wake_one(pool);
    }
    return taken;
}

/* ---- shutdown ---- */

void base_pool_stop(struct base_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    base_pool_close(pool, &base_pool_closed_mark);
    atomic_store(&pool->stopping, true);
    pthread_mutex_unlock(&pool->lock);
    base_pool_wake_all(pool);
}

int base_pool_join(struct base_pool *pool, uint64_t deadline_ns) {
    struct timespec until = {
        .tv_sec = (time_t)(deadline_ns / BASE_CLOCK_NS_PER_S),
        .tv_nsec = (long)(deadline_ns % BASE_CLOCK_NS_PER_S),
    };
    int error = 0;

    if (base_pool_thread_index(pool) >= 0) {
        return EDEADLK;
    }
    BASE_ASSERT(atomic_load(&pool->stopping));
    pthread_mutex_lock(&pool->lock);
    while (pool->live > 0 && error == 0) {
        error = deadline_ns == BASE_CLOCK_FOREVER
                    ? pthread_cond_wait(&pool->ended, &pool->lock)
                    : pthread_cond_timedwait(&pool->ended, &pool->lock, &until);
    }
    error = pool->live > 0 ? ETIMEDOUT : 0;
    pthread_mutex_unlock(&pool->lock);
    if (error == 0 && !pool->joined) {
        for (unsigned i = 0; i < atomic_load(&pool->created); i++) {
            error = pthread_join(pool->threads[i]->handle, NULL);
            BASE_ASSERT(error == 0);
        }
        pool->joined = true;
    }
    return error;
}

void base_pool_free(struct base_pool *pool) {
    if (pool != NULL) {
        BASE_ASSERT(pool->joined || atomic_load(&pool->created) == 0);
        base_pool_destroy(pool);
    }
}

void base_pool_detach(struct base_pool *pool) {
    void (*gone)(void *owner) = pool->options.gone;
    void *owner = pool->options.owner;
    bool last;

    base_pool_stop(pool);
    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < atomic_load(&pool->created) && !pool->joined; i++) {
        (void)pthread_detach(pool->threads[i]->handle);
    }
    pool->detached = true;
    last = pool->live == 0;
    pthread_mutex_unlock(&pool->lock);
    if (last) {
        base_pool_destroy(pool);
        if (gone != NULL) {
            gone(owner);
        }
    }
}

bool base_pool_keeps_up(struct base_pool *pool) {
    return atomic_load_explicit(&pool->idle, memory_order_relaxed) != 0 ||
           !atomic_load_explicit(&pool->backlog, memory_order_relaxed);
}

void base_pool_counts(struct base_pool *pool, struct base_pool_counts *counts) {
    unsigned created;

    memset(counts, 0, sizeof *counts);
    pthread_mutex_lock(&pool->lock);
    created = atomic_load(&pool->created);
    for (unsigned i = 0; i < created; i++) {
        counts->running += atomic_load_explicit(&pool->threads[i]->state, memory_order_relaxed) ==
                           BASE_POOL_RUNNING;
    }
    counts->queued = base_pool_queued(pool);
    counts->threads = pool->live;
    counts->idle = atomic_load(&pool->idle) / BASE_POOL_SLEEPER;
    pthread_mutex_unlock(&pool->lock);
}
