#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/futex.h"
#include "libclient/threads.h"
#include "task/status.h"

/* How long a join may take that is only for threads which are starting or ending. */
#define JOIN_NS UINT64_C(10000000)

bool threads_shutdown_init(struct threads_executor *threads) {
    pthread_condattr_t attributes;
    bool made;

    if (pthread_condattr_init(&attributes) != 0) {
        return false;
    }
    made = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
           pthread_cond_init(&threads->changed, &attributes) == 0;
    (void)pthread_condattr_destroy(&attributes);
    if (made && pthread_mutex_init(&threads->lock, NULL) != 0) {
        (void)pthread_cond_destroy(&threads->changed);
        made = false;
    }
    return made;
}

/* A shutdown refuses first and then looks at the count, and who lowers the count looks at the refusal
 * afterwards: one of the two stops the pool. */
void threads_stop_when_quiet(struct threads_executor *threads) {
    if (atomic_load(&threads->base.refusal) != FURROW_OK && atomic_load(&threads->retryable) == 0) {
        base_pool_stop(threads->pool);
    }
}

/* Returns how many tasks it cancelled. */
static size_t cancel_queued(struct threads_executor *threads) {
    struct base_work *work = base_pool_withdraw(threads->pool, NULL, NULL);
    size_t cancelled = 0;

    while (work != NULL) {
        struct base_work *next = work->next;

        cancelled += threads_discard(threads, future_of_work(work));
        work = next;
    }
    return cancelled;
}

/* wait_for_change waits for `changed` until the deadline. False: it has passed. */
static bool wait_for_change(struct threads_executor *threads, uint64_t deadline_ns) {
    struct timespec until = {
        .tv_sec = (time_t)(deadline_ns / BASE_CLOCK_NS_PER_S),
        .tv_nsec = (long)(deadline_ns % BASE_CLOCK_NS_PER_S),
    };

    if (deadline_ns == BASE_CLOCK_FOREVER) {
        pthread_cond_wait(&threads->changed, &threads->lock);
        return true;
    }
    return pthread_cond_timedwait(&threads->changed, &threads->lock, &until) != ETIMEDOUT;
}

/* join_briefly joins threads that are about to begin or to end. The lock is held, and let go meanwhile:
 * they need it. */
static void join_briefly(struct threads_executor *threads, uint64_t now_ns) {
    bool joined;

    threads->joining = true;
    pthread_mutex_unlock(&threads->lock);
    base_pool_stop(threads->pool);
    joined = base_pool_join(threads->pool, now_ns + JOIN_NS) == 0;
    pthread_mutex_lock(&threads->lock);
    threads->joining = false;
    threads->joined |= joined;
    pthread_cond_broadcast(&threads->changed);
}

/* wait_ended waits until all threads of the stopped (or stopping) pool have ended, or were left behind
 * by somebody else. The lock is held. False: the deadline has passed.
 *
 * The pool can be joined by one thread at a time only, which nobody could wake: so the long wait is for
 * our own count of threads. */
static bool wait_ended(struct threads_executor *threads, uint64_t deadline_ns) {
    while (!threads->joined && !threads->left_behind) {
        uint64_t now_ns = base_clock_ns();
        bool quiet = atomic_load(&threads->retryable) == 0 || atomic_load(&threads->ending);

        if (threads->live > 0 || threads->joining) {
            if (!wait_for_change(threads, deadline_ns)) {
                return threads->joined || threads->left_behind;
            }
            continue;
        }
        if (quiet) {
            join_briefly(threads, now_ns);
        } else {
            /* The one task that is to be retried is between two threads. */
            (void)wait_for_change(threads, now_ns + JOIN_NS / 10);
        }
        if (!threads->joined && now_ns >= deadline_ns) {
            return false;
        }
    }
    return true;
}

/* Ends the timer thread, and whatever still waited for it. */
static size_t end_timers(struct threads_executor *threads) {
    furrow_future *waiting;
    size_t cancelled = 0;

    threads_timers_end(&threads->timers);
    while ((waiting = threads_timers_take(threads)) != NULL) {
        cancelled += threads_discard(threads, waiting);
    }
    return cancelled;
}

furrow_status threads_shutdown(furrow_executor *executor, unsigned flags) {
    struct threads_executor *threads = threads_of(executor);

    if ((flags & FURROW_SHUTDOWN_CANCEL_FUTURES) != 0) {
        (void)cancel_queued(threads);
    }
    threads_stop_when_quiet(threads);
    if ((flags & FURROW_SHUTDOWN_WAIT) != 0) {
        pthread_mutex_lock(&threads->lock);
        (void)wait_ended(threads, BASE_CLOCK_FOREVER);
        pthread_mutex_unlock(&threads->lock);
        (void)end_timers(threads);
    }
    return FURROW_OK;
}

/* Cancels all that has not started, and asks all that runs to end. Returns how many were cancelled. */
static size_t end_tasks(struct threads_executor *threads) {
    size_t cancelled;

    atomic_store(&threads->ending, true);
    cancelled = cancel_queued(threads) + end_timers(threads);
    base_pool_stop(threads->pool);
    for (unsigned i = 0; i < threads->thread_count; i++) {
        atomic_store(&threads->slots[i].cancel, 1);
        base_futex_wake(&threads->slots[i].cancel, INT_MAX);
    }
    return cancelled;
}

/* Gives up the threads that still run: their futures fail. Returns how many. */
static unsigned leave_behind(struct threads_executor *threads) {
    unsigned left = 0;

    for (unsigned i = 0; i < threads->thread_count; i++) {
        furrow_future *future =
            atomic_exchange_explicit(&threads->slots[i].current, NULL, memory_order_acq_rel);

        if (future != NULL) {
            left++;
            (void)future_fail(
                future, WIRE_KIND_LOST, future->own + 1,
                "its thread did not end when the executor was shut down, and was left "
                "behind");
        }
    }
    return left;
}

static uint64_t add(uint64_t now_ns, uint64_t duration_ns) {
    return duration_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + duration_ns;
}

/* Lets the tasks drain, or waits for somebody else who already does this. Returns whether all ended. */
static bool drain(struct threads_executor *threads, uint64_t drain_ns, uint64_t grace_ns,
                  bool *first) {
    uint64_t deadline_ns = add(base_clock_ns(), drain_ns);
    bool ended;

    pthread_mutex_lock(&threads->lock);
    *first = !threads->bounded;
    threads->bounded = true;
    ended = wait_ended(threads, *first ? deadline_ns : add(deadline_ns, grace_ns));
    pthread_mutex_unlock(&threads->lock);
    return ended;
}

furrow_status threads_shutdown_within(furrow_executor *executor, uint64_t drain_ns,
                                      uint64_t grace_ns) {
    struct threads_executor *threads = threads_of(executor);
    size_t cancelled;
    unsigned left = 0;
    bool first;

    threads_stop_when_quiet(threads);
    if (drain(threads, drain_ns, grace_ns, &first)) {
        (void)end_timers(threads);
        return FURROW_OK;
    }
    if (!first) {
        return task_set_plain_error(FURROW_ETIMEOUT);
    }
    cancelled = end_tasks(threads);
    pthread_mutex_lock(&threads->lock);
    if (!wait_ended(threads, add(base_clock_ns(), grace_ns))) {
        pthread_mutex_unlock(&threads->lock);
        left = leave_behind(threads);
        pthread_mutex_lock(&threads->lock);
        threads->left_behind = true;
        pthread_cond_broadcast(&threads->changed);
    }
    pthread_mutex_unlock(&threads->lock);
    return task_set_error(FURROW_ETIMEOUT,
                          "%zu tasks were cancelled and %u left behind in their threads", cancelled,
                          left);
}

void threads_release(struct threads_executor *threads) {
    if (atomic_fetch_sub(&threads->uses, 1) > 1) {
        return;
    }
    threads_side_fini(&threads->side);
    threads_timers_fini(&threads->timers);
    (void)pthread_cond_destroy(&threads->changed);
    (void)pthread_mutex_destroy(&threads->lock);
    executor_fini(&threads->base);
    free(threads);
}

void threads_free(furrow_executor *executor) {
    struct threads_executor *threads = threads_of(executor);

    if (threads->joined || base_pool_join(threads->pool, base_clock_ns()) == 0) {
        base_pool_free(threads->pool);
    } else {
        /* Threads that were left behind still use the executor, and may for ever. */
        atomic_fetch_add(&threads->uses, 1);
        base_pool_detach(threads->pool);
    }
    threads_release(threads);
}
