#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/futex.h"
#include "base/pool_private.h"

/* Why no work is left lying while a thread sleeps.
 *
 * A producer does:       (a) put the work where threads look; (b) read `idle`: if there is a sleeper
 *                        and nobody searches, set SEARCHING, count `epoch` up and wake one.
 * A thread that finds nothing does:
 *                        (1) read `epoch`; (2) add itself to `idle`; (3) look everywhere once more;
 *                        (4) sleep while `epoch` is unchanged; (5) leave `idle`, clear SEARCHING;
 *                        (6) look again; if it gets a work and leaves some, do (b).
 * All of these are sequentially consistent. If (3) misses a work, then (2) came before (b). So either
 * (b) wakes somebody, or somebody was searching: who has yet to do (5) and (6) and will see the work.
 *
 * Works move from place to place while (3) looks. From `inject` to `ready` to a batch they move under
 * the lock that (3) takes, and (3) looks at the batches last, so it can't miss one that moved before.
 * One that a thief moves between batches may be missed; but a thief that keeps more than it runs does
 * (b) as well, as does everybody who brings works back to the ready list.
 *
 * SEARCHING can't be left set without anybody who will clear it. A thread that spins clears it itself,
 * and looks everywhere afterwards. Otherwise it is set only while there is a sleeper that read `epoch`
 * before it is counted up. That one, or another in its place, wakes up or
 * finds work at (3), and clears it either way. Clearing it once too often only costs a needless
 * wake-up. */

/* How long a thread looks out for works before it sleeps, if that has been worth it lately. */
#define SPIN_NS 4000

static __thread struct base_pool_thread *self;

int base_pool_thread_index(const struct base_pool *pool) {
    return self != NULL && self->pool == pool ? (int)self->index : -1;
}

void base_pool_finishing(struct base_pool *pool, unsigned thread_index) {
    BASE_ASSERT(thread_index < atomic_load_explicit(&pool->created, memory_order_relaxed));
    atomic_store_explicit(&pool->threads[thread_index]->state, BASE_POOL_FINISHING,
                          memory_order_relaxed);
}

size_t base_pool_available(struct base_pool *pool) {
    unsigned created = atomic_load(&pool->created);
    size_t available = 0;

    for (unsigned i = 0; i < created; i++) {
        available += atomic_load_explicit(&pool->threads[i]->state, memory_order_relaxed) !=
                     BASE_POOL_RUNNING;
    }
    return available;
}

/* ---- sleeping and waking ---- */

void base_pool_wake_one(struct base_pool *pool) {
    unsigned idle = atomic_load(&pool->idle);

    do {
        if (idle < BASE_POOL_SLEEPER || (idle & BASE_POOL_SEARCHING) != 0) {
            return;
        }
    } while (!atomic_compare_exchange_weak(&pool->idle, &idle, idle | BASE_POOL_SEARCHING));
    atomic_fetch_add(&pool->epoch, 1);
    base_futex_wake(&pool->epoch, 1);
}

void base_pool_wake_all(struct base_pool *pool) {
    atomic_fetch_add(&pool->epoch, 1);
    base_futex_wake(&pool->epoch, INT_MAX);
}

/* Leaves the sleepers. */
static void get_up(struct base_pool *pool) {
    unsigned idle = atomic_load_explicit(&pool->idle, memory_order_relaxed);

    while (!atomic_compare_exchange_weak(&pool->idle, &idle,
                                         (idle - BASE_POOL_SLEEPER) & ~BASE_POOL_SEARCHING)) {
    }
}

/* Whether the pool is stopping and nothing is left: then this thread may end. Whoever brings works
 * back holds the lock, so none can come out of nowhere afterwards. */
static bool may_end(struct base_pool *pool) {
    bool end = false;

    if (atomic_load(&pool->stopping)) {
        pthread_mutex_lock(&pool->lock);
        end = base_pool_queued(pool) == 0;
        pthread_mutex_unlock(&pool->lock);
    }
    return end;
}

/* Looks out for new works for a moment, as the one thread that searches: it pays if works come soon
 * after each other. Returns whether something came. */
static bool spin(struct base_pool *pool) {
    unsigned idle = atomic_load(&pool->idle);
    uint64_t until_ns;
    bool found = false;

    if (!base_spin_pays(&pool->spin) || (idle & BASE_POOL_SEARCHING) != 0 ||
        !atomic_compare_exchange_strong(&pool->idle, &idle, idle | BASE_POOL_SEARCHING)) {
        return false;
    }
    until_ns = base_clock_ns() + SPIN_NS;
    do {
        for (int i = 0; i < 16 && !found; i++) {
            base_spin_pause();
            found = base_pool_injected(pool);
        }
    } while (!found && base_clock_ns() < until_ns);
    atomic_fetch_and(&pool->idle, ~BASE_POOL_SEARCHING);
    base_spin_learn(&pool->spin, found);
    return found;
}

/* Returns the next work, sleeping until there is one; NULL when the thread shall end. */
static struct base_work *next_work(struct base_pool_thread *thread) {
    struct base_pool *pool = thread->pool;
    bool more = false;
    struct base_work *work = base_pool_pop(thread);

    if (BASE_LIKELY(work != NULL)) {
        return work;
    }
    atomic_store_explicit(&thread->state, BASE_POOL_LOOKING, memory_order_relaxed);
    work = base_pool_find(thread, &more);
    if (work == NULL && pool->options.idle != NULL) {
        pool->options.idle(pool->options.owner, thread->index);
    }
    while (work == NULL && !may_end(pool)) {
        unsigned epoch;

        if (spin(pool)) {
            work = base_pool_find(thread, &more);
            continue;
        }
        epoch = atomic_load(&pool->epoch);
        atomic_fetch_add(&pool->idle, BASE_POOL_SLEEPER);
        work = base_pool_find(thread, &more);
        if (work == NULL && !atomic_load(&pool->stopping)) {
            (void)base_futex_wait(&pool->epoch, epoch, UINT64_MAX);
        }
        get_up(pool);
        if (work == NULL) {
            work = base_pool_find(thread, &more);
        }
    }
    if (more) {
        base_pool_wake_one(pool);
        /* A submitter did not see works that were on their way from batch to batch. */
        if (atomic_load_explicit(&pool->created, memory_order_relaxed) <
            pool->options.max_threads) {
            base_pool_grow(pool);
        }
    }
    return work;
}

/* ---- the life of a thread ---- */

/* The number is what tells threads apart, so it is the prefix that is cut to fit. */
static void set_name(const struct base_pool_thread *thread) {
    char name[2 * BASE_POOL_NAME_BYTES];
    char number[BASE_POOL_NAME_BYTES];
    size_t number_size = (size_t)snprintf(number, sizeof number, "_%u", thread->index);
    size_t prefix_size = strlen(thread->pool->name_prefix);

    if (prefix_size > BASE_POOL_NAME_BYTES - 1 - number_size) {
        prefix_size = BASE_POOL_NAME_BYTES - 1 - number_size;
    }
    if (prefix_size > 0) {
        memcpy(name, thread->pool->name_prefix, prefix_size);
        memcpy(name + prefix_size, number, number_size + 1);
        (void)pthread_setname_np(pthread_self(), name);
    }
}

/* Hands everything that is queued to `abandon` and refuses what comes later. */
static void break_pool(struct base_pool *pool) {
    struct base_work *work;

    pthread_mutex_lock(&pool->lock);
    base_pool_close(pool, &base_pool_broken_mark);
    base_pool_gather(pool);
    work = pool->ready.first;
    pool->ready = (struct base_pool_list){0};
    pthread_mutex_unlock(&pool->lock);
    while (work != NULL) {
        struct base_work *next = work->next;

        pool->options.abandon(pool->options.owner, work);
        work = next;
    }
}

static void end_thread(struct base_pool *pool) {
    void (*gone)(void *owner) = pool->options.gone;
    void *owner = pool->options.owner;
    bool last;

    self = NULL;
    pthread_mutex_lock(&pool->lock);
    pool->live--;
    last = pool->live == 0 && pool->detached;
    pthread_cond_broadcast(&pool->ended);
    pthread_mutex_unlock(&pool->lock);
    if (last) {
        base_pool_destroy(pool);
        if (gone != NULL) {
            gone(owner);
        }
    }
}

static void *thread_main(void *argument) {
    struct base_pool_thread *thread = argument;
    struct base_pool *pool = thread->pool;
    const struct base_pool_options *options = &pool->options;
    struct base_work *work;

    self = thread;
    set_name(thread);
    if (options->start != NULL && !options->start(options->owner, thread->index)) {
        break_pool(pool);
    } else {
        while ((work = next_work(thread)) != NULL) {
            thread->ran++;
            options->run(options->owner, thread->index, work);
        }
        if (options->stop != NULL) {
            options->stop(options->owner, thread->index);
        }
    }
    end_thread(pool);
    return NULL;
}

/* Creates a thread with every signal blocked that isn't raised by its own fault. The mask is set
 * before, because a thread is born with it. */
static int create(struct base_pool *pool, struct base_pool_thread *thread) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    pthread_attr_t attributes;
    sigset_t blocked;
    sigset_t before;
    int error = pthread_attr_init(&attributes);

    if (error != 0) {
        return error;
    }
    if (pool->options.stack_bytes > 0) {
        error = pthread_attr_setstacksize(&attributes, pool->options.stack_bytes);
    }
    if (error == 0) {
        sigfillset(&blocked);
        for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
            sigdelset(&blocked, faults[i]);
        }
        pthread_sigmask(SIG_SETMASK, &blocked, &before);
        error = pthread_create(&thread->handle, &attributes, thread_main, thread);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attributes);
    return error;
}

int base_pool_spawn(struct base_pool *pool) {
    unsigned created = atomic_load(&pool->created);
    struct base_pool_thread *thread = aligned_alloc(BASE_POOL_LINE, sizeof *thread);
    int error;

    BASE_ASSERT(created < pool->options.max_threads);
    if (thread == NULL) {
        return ENOMEM;
    }
    memset(thread, 0, sizeof *thread);
    thread->pool = pool;
    thread->index = created;
    /* Thieves may look at it as soon as it counts. It gets no work before, because for that it needs
     * the lock. */
    pool->threads[created] = thread;
    error = create(pool, thread);
    if (error == 0) {
        pool->live++;
        atomic_store(&pool->created, created + 1);
    } else {
        pool->threads[created] = NULL;
        free(thread);
    }
    return error;
}

void base_pool_grow(struct base_pool *pool) {
    size_t available;
    size_t queued;

    pthread_mutex_lock(&pool->lock);
    queued = base_pool_queued(pool);
    available = base_pool_available(pool);
    while (queued > available && atomic_load(&pool->created) < pool->options.max_threads &&
           base_pool_spawn(pool) == 0) {
        available++;
    }
    pthread_mutex_unlock(&pool->lock);
}
