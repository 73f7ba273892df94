/* The thread pool: it runs intrusive work items by one callback. Both `threads:` executors and worker
 * processes run their tasks on it.
 *
 * Works start in the order of submission; with one thread exactly, with several nearly so. No work
 * waits behind a long one while another thread has nothing to do. A submit is one compare-and-swap,
 * and a system call only if a thread has to be woken. Pool threads have all signals blocked except
 * those that a fault raises in the thread itself (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS,
 * SIGABRT).
 *
 * A work that submit has accepted is run, or returned by base_pool_withdraw, or (only if a start hook
 * has failed) given to `abandon`: exactly one of them, once. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embed it in what is to be done. The pool uses `next` from submit until the work is started or
 * withdrawn; a work may be freed or submitted again by its own run. */
struct base_work {
    struct base_work *next;
};

struct base_pool;

#define BASE_POOL_THREADS_MAX 1024

struct base_pool_options {
    unsigned max_threads; /* 1 to BASE_POOL_THREADS_MAX */
    bool eager;           /* create all threads at once; otherwise each when it is needed */
    const char
        *name_prefix;   /* threads are named "prefix_0", ...; cut to 15 bytes; NULL: no names */
    size_t stack_bytes; /* 0: the system's default */
    void *owner;        /* first argument of all callbacks */

    /* Runs one work, in a pool thread. thread_index is 0 to max_threads - 1. It may submit. */
    void (*run)(void *owner, unsigned thread_index, struct base_work *work);

    /* Optional: called in each new thread before its first work. false: it failed. Then the pool is
     * broken: no thread is created any more, submit returns ECANCELED, and all that is queued goes to
     * `abandon` from this thread. Works that already run finish. */
    bool (*start)(void *owner, unsigned thread_index);

    /* Optional: called in a thread that finds no (further) work, before it sleeps. It may submit. */
    void (*idle)(void *owner, unsigned thread_index);

    /* Optional: called in a thread whose `start` succeeded, after its last work. */
    void (*stop)(void *owner, unsigned thread_index);

    /* Required if `start` is there: gets the works that a broken pool will never run. */
    void (*abandon)(void *owner, struct base_work *work);

    /* Optional: called once, by the last thread that touches a detached pool (base_pool_detach),
     * after the pool's memory is gone. */
    void (*gone)(void *owner);
};

/* base_pool_new creates a pool. The options are copied, name_prefix included.
 * Returns 0 and the pool in *pool, or an errno:
 *   EINVAL  no run, max_threads out of range, start without abandon
 *   ENOMEM  no memory
 *   EAGAIN  eager, and not all threads could be created (none is left) */
int base_pool_new(const struct base_pool_options *options, struct base_pool **pool);

/* base_pool_submit queues one work; base_pool_submit_batch `count` of them, linked by `next` from
 * first to last in the order in which they are to start. Any thread may call them, from `run` too.
 * They never block on a work; creating a thread and waking one are system calls.
 * Returns 0 (all are the pool's now), or an errno (all are still the caller's):
 *   ESHUTDOWN  base_pool_stop was called
 *   ECANCELED  a start hook has failed
 *   EAGAIN     the pool has no thread yet and none could be created */
int base_pool_submit(struct base_pool *pool, struct base_work *work);
int base_pool_submit_batch(struct base_pool *pool, struct base_work *first, struct base_work *last,
                           size_t count);

/* base_pool_submit_ahead does the same for works that are to start before all that have not started, in
 * their order; those that a thread has claimed already may go before them. It takes the pool's lock.
 * Errors as above. */
int base_pool_submit_ahead(struct base_pool *pool, struct base_work *first, struct base_work *last,
                           size_t count);

/* base_pool_withdraw takes back works that have not started: all of them, or those for which `wanted`
 * returns true. The others stay in their order. Works afterwards, before join or while it runs, from
 * any thread.
 *
 * wanted  called for each queued work in order, with the pool's lock held: it must not call the pool
 *         and should be quick. NULL: all.
 *
 * Returns the works, now the caller's, linked by `next` in order; NULL if there are none. */
struct base_work *base_pool_withdraw(struct base_pool *pool,
                                     bool (*wanted)(void *user, const struct base_work *work),
                                     void *user);

/* base_pool_finishing tells that the run of this thread is as good as over: called inside `run`,
 * before the outcome becomes visible to others. A submitter who has seen the outcome then counts the
 * thread as free and doesn't create another. Optional. */
void base_pool_finishing(struct base_pool *pool, unsigned thread_index);

/* base_pool_stop refuses further works. Threads end when all that is queued has run. Doesn't block;
 * any thread; a second call does nothing. */
void base_pool_stop(struct base_pool *pool);

/* base_pool_join waits until all threads of a stopped pool have ended, or until deadline_ns
 * (absolute, base_clock_ns; UINT64_MAX for ever). One thread at a time may call it; after a timeout
 * it may be called again. Returns 0, or an errno:
 *   ETIMEDOUT  threads still run (their number is in base_pool_counts)
 *   EDEADLK    called from one of the pool's own threads */
int base_pool_join(struct base_pool *pool, uint64_t deadline_ns);

/* base_pool_free frees a joined pool, or one that has never had a thread. NULL is fine. Works that
 * a broken or never started pool still had queued must have been withdrawn. */
void base_pool_free(struct base_pool *pool);

/* base_pool_detach is for a pool that can't be joined in time or is let go by one of its own threads:
 * it is stopped, frees itself when its last thread has ended, and then calls `gone`. The caller must
 * not touch it any more, and no other thread may be inside a call on it, be it the submit of the very
 * work that detaches. `owner` must live until `gone`. Doesn't block; any thread. */
void base_pool_detach(struct base_pool *pool);

/* base_pool_thread_index returns the caller's index if it is one of the pool's threads, else -1. */
int base_pool_thread_index(const struct base_pool *pool);

/* base_pool_keeps_up tells, without a lock, whether works start as soon as they are submitted: a thread
 * sleeps or looks for works, or nothing was left when one last took some. As of a moment ago: for
 * guesses. Any thread. */
bool base_pool_keeps_up(struct base_pool *pool);

struct base_pool_counts {
    size_t queued;    /* accepted and not started */
    unsigned running; /* threads inside `run` */
    unsigned threads; /* threads created and not yet ended */
    unsigned idle;    /* threads asleep */
};

/* base_pool_counts takes a snapshot. It locks and walks what is newly queued: for statistics and
 * decisions, not for every work. Any thread. */
void base_pool_counts(struct base_pool *pool, struct base_pool_counts *counts);

#endif
