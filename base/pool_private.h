/* The inside of the thread pool, shared by its three files:
 *   pool.c         creation, submission, shutdown
 *   pool_queue.c   where works wait: inject list, ready list, batches
 *   pool_thread.c  the threads: running, searching, sleeping, waking
 *
 * A work goes from the inject list (lock-free, newest first) to the ready list (under the lock, in
 * order) to the batch of a thread (claimed by compare-and-swap, by its owner or by a thief) to its
 * run. Nearly always a thread claims several works by one lock, so that the lock costs little. */
#ifndef BASE_POOL_PRIVATE_H
#define BASE_POOL_PRIVATE_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>

#include "base/assert.h"
#include "base/pool.h"
#include "base/spin.h"

#define BASE_POOL_LINE       64
#define BASE_POOL_BATCH_MAX  64
#define BASE_POOL_NAME_BYTES 16

/* Works that one thread has claimed and not started. Their owner fills the batch only while it is
 * empty, and counts `epoch` up each time; everybody may take from its front. */
struct base_pool_batch {
    /* epoch (48 bits), position (8), count (8): positions from `position` to `count` are filled. A
     * taker reads the slots first and then moves the position: if that succeeds, the epoch has not
     * changed in between, so what it read was right. */
    _Atomic uint64_t cursor;
    _Atomic(struct base_work *) slots[BASE_POOL_BATCH_MAX];
};

enum base_pool_thread_state { BASE_POOL_LOOKING, BASE_POOL_RUNNING, BASE_POOL_FINISHING };

struct base_pool_thread {
    struct base_pool *pool;
    pthread_t handle;
    unsigned index;
    unsigned ran;              /* works since `since_ns`; the thread's own */
    _Atomic uint64_t since_ns; /* when the batch was filled */
    atomic_int state;          /* enum base_pool_thread_state */
    alignas(BASE_POOL_LINE) struct base_pool_batch batch;
};

/* Works in order. */
struct base_pool_list {
    struct base_work *first;
    struct base_work *last;
    size_t count;
};

/* The bits of `idle`. At most one thread searches at a time: one that has been woken and not yet
 * looked, or one that spins. While there is one nobody wakes another. */
#define BASE_POOL_SEARCHING 1U
#define BASE_POOL_SLEEPER   2U

struct base_pool {
    struct base_pool_options options;
    char name_prefix[BASE_POOL_NAME_BYTES];

    /* Producers: the newest work, or NULL, or one of the two marks. */
    alignas(BASE_POOL_LINE) _Atomic(struct base_work *) inject;

    /* Read by every producer, written when a thread falls asleep or is woken. */
    alignas(BASE_POOL_LINE) atomic_uint idle;
    atomic_uint epoch;   /* the futex: counts wake-ups */
    atomic_uint created; /* threads[0] to threads[created - 1] are there */
    atomic_bool stopping;
    atomic_bool backlog;   /* the thread that last took works left some for others */
    struct base_spin spin; /* of threads that look out for works */

    /* Under the lock. */
    alignas(BASE_POOL_LINE) pthread_mutex_t lock;
    pthread_cond_t ended; /* live has become 0 */
    struct base_pool_list ready;
    uint64_t mean_ns;   /* run time of a work, roughly; reacts to longer ones at once */
    uint64_t rescue_ns; /* when batches were last looked through for works that are stuck */
    unsigned live;      /* threads that have not ended */
    bool joined;
    bool detached;

    struct base_pool_thread *threads[]; /* options.max_threads */
};

/* ---- pool_queue.c ---- */

/* What `inject` is once nothing is accepted any more. */
extern struct base_work base_pool_closed_mark;
extern struct base_work base_pool_broken_mark;

static inline bool base_pool_is_mark(const struct base_work *head) {
    return head == &base_pool_closed_mark || head == &base_pool_broken_mark;
}

/* base_pool_refusal is why nothing is accepted any more, by the mark: ESHUTDOWN or ECANCELED. */
int base_pool_refusal(const struct base_work *mark);

/* base_pool_injected tells whether works have been pushed that nobody has taken. */
static inline bool base_pool_injected(struct base_pool *pool) {
    const struct base_work *head = atomic_load(&pool->inject);

    return head != NULL && !base_pool_is_mark(head);
}

/* base_pool_push adds a chain, newest first. Returns 0, ESHUTDOWN or ECANCELED. Lock-free. */
static inline int base_pool_push(struct base_pool *pool, struct base_work *newest,
                                 struct base_work *oldest) {
    struct base_work *head = atomic_load_explicit(&pool->inject, memory_order_relaxed);

    do {
        if (BASE_UNLIKELY(base_pool_is_mark(head))) {
            return base_pool_refusal(head);
        }
        oldest->next = head;
    } while (!atomic_compare_exchange_weak(&pool->inject, &head, newest));
    return 0;
}

/* base_pool_put_ahead puts a chain, in order, before all that nobody has claimed. Returns as base_pool_push
 * does. Under the lock. */
int base_pool_put_ahead(struct base_pool *pool, struct base_work *first, struct base_work *last,
                        size_t count);

/* base_pool_absorb moves all injected works to the ready list. Under the lock. */
void base_pool_absorb(struct base_pool *pool);

/* base_pool_close leaves `mark` in the place of the inject list, if none is there yet, and moves what
 * was injected to the ready list. Under the lock. */
void base_pool_close(struct base_pool *pool, struct base_work *mark);

/* base_pool_gather moves all works that have not started to the ready list. Under the lock. */
void base_pool_gather(struct base_pool *pool);

/* base_pool_queued counts works that have not started. Under the lock. */
size_t base_pool_queued(struct base_pool *pool);

/* base_pool_pop takes the next work of the thread's own batch, or returns NULL. */
struct base_work *base_pool_pop(struct base_pool_thread *thread);

/* base_pool_find gets the next work from elsewhere, and more of them into the thread's empty batch.
 * *more tells whether works are left for others. NULL if there are none. Takes the lock. */
struct base_work *base_pool_find(struct base_pool_thread *thread, bool *more);

/* ---- pool_thread.c ---- */

/* base_pool_spawn creates a thread. Under the lock. Returns 0, EAGAIN or ENOMEM. */
int base_pool_spawn(struct base_pool *pool);

/* base_pool_grow creates threads as long as there are more works than threads free to take them. If
 * one can't be created the others serve on. Takes the lock. */
void base_pool_grow(struct base_pool *pool);

/* base_pool_available counts threads that are free to take a work. Under the lock. */
size_t base_pool_available(struct base_pool *pool);

/* base_pool_wake_one wakes a thread unless none sleeps or one is already searching. */
void base_pool_wake_one(struct base_pool *pool);

/* base_pool_wake_all wakes all that sleep, or are about to. */
void base_pool_wake_all(struct base_pool *pool);

/* base_pool_destroy frees the memory. No thread may be left. */
void base_pool_destroy(struct base_pool *pool);

#endif
