/* The inside of `threads:`, shared by its files:
 *   executor_threads.c   opening, submitting, running
 *   threads_shutdown.c   the ways to end
 *   threads_timers.c     timeouts and delayed retries
 *   threads_priority.c   tasks of other than the default priority
 *
 * A task goes into the pool, whose works are the futures themselves. Tasks without priority, timeouts
 * and retries (class_->plain) touch nothing else. */
#ifndef CLIENT_THREADS_H
#define CLIENT_THREADS_H

#include "base/heap.h"
#include "base/pool.h"
#include "base/spin.h"
#include "libclient/executor.h"
#include "task/context.h"

/* furrow_future.own_flags here. */
enum {
    THREADS_TICKET = 1,  /* no task: lets one task of the side heap run */
    THREADS_CALL = 2,    /* of furrow_submit_call: the arguments are a struct threads_call */
    THREADS_RETRIED = 4, /* it is RUNNING already and comes back for another attempt */
};

struct threads_call {
    void *(*function)(void *);
    void *argument;
};

enum threads_timer_kind {
    THREADS_TIMER_QUEUE, /* a task has to start by then; the heap has a reference */
    THREADS_TIMER_RETRY, /* a task is to run again */
    THREADS_TIMER_RUN,   /* a task has to end by then; in a slot */
};

struct threads_timer {
    struct base_heap_node node; /* in timers.heap */
    enum threads_timer_kind kind;
};

/* What a task that is not plain needs besides: it lies over what the client core has there. */
struct threads_part {
    struct base_heap_node priority; /* in side.heap */
    struct threads_timer timer;
};
_Static_assert(sizeof(struct threads_part) <=
                   sizeof(struct client_task) - offsetof(struct client_task, id),
               "the part fits into the future");

static inline struct threads_part *threads_part(furrow_future *future) {
    return (struct threads_part *)(void *)&future->task.id;
}
static inline furrow_future *threads_future(struct threads_part *part) {
    return BASE_CONTAINER_OF((void *)part, struct furrow_future, task.id);
}

/* A thread of the pool. */
struct threads_slot {
    /* The future that runs here. Whoever takes it out, the thread at its end or a shutdown that gives
     * the thread up, resolves it. */
    _Atomic(furrow_future *) current;
    atomic_uint cancel; /* asks the task to end */
    bool overdue;       /* its running time is over; under timers.lock */
    furrow_task *context;
    struct executor_frame frame;
    struct threads_timer timer;
} __attribute__((aligned(64)));

struct threads_timers {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct base_heap heap;
    pthread_t thread;
    bool started; /* there is a thread */
    bool ending;
    size_t retries; /* tasks that wait for another attempt */
};

struct threads_side {
    pthread_mutex_t lock;
    struct base_heap heap;
    uint64_t sequence;
    atomic_size_t count; /* of the heap; read without the lock */
};

struct threads_executor {
    struct furrow_executor base;
    struct base_pool *pool;
    unsigned thread_count;
    char host[65];
    struct executor_class call_class; /* of furrow_submit_call */
    struct base_spin result_spin;     /* of threads that wait for a result */

    atomic_llong husks;      /* works in the pool whose futures are done already */
    atomic_size_t retryable; /* unfinished tasks that may have to run again: the pool stays open */
    atomic_bool ending; /* the time of furrow_shutdown_within is over: nothing starts any more */

    struct threads_timers timers;
    struct threads_side side;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned live; /* threads between their start and stop */
    bool joining;  /* somebody is in base_pool_join, without the lock */
    bool joined;
    bool bounded;     /* somebody is in threads_shutdown_within */
    bool left_behind; /* threads did not end in time, and nobody waits for them any more */
    atomic_uint
        uses; /* the user, and a pool that ends by itself: the last one frees the executor */

    struct threads_slot slots[];
};

static inline struct threads_executor *threads_of(furrow_executor *executor) {
    return BASE_CONTAINER_OF(executor, struct threads_executor, base);
}

/* ------------------------------------------------------- executor_threads.c */

/* threads_finished takes note that a task is done for good. */
void threads_finished(struct threads_executor *threads, const furrow_future *future);

/* threads_resubmit lets a retried task into the pool once more. */
void threads_resubmit(struct threads_executor *threads, furrow_future *future);

/* threads_discard cancels a task that was taken out of the pool (or, for a ticket, one of the side
 * heap), and returns whether it was one that had not been done. */
bool threads_discard(struct threads_executor *threads, furrow_future *future);

/* ------------------------------------------------------- threads_shutdown.c */

/* threads_shutdown_init makes lock and changed. */
bool threads_shutdown_init(struct threads_executor *threads);

/* threads_stop_when_quiet lets the pool's threads end when all is run, once submits are refused and no
 * task may have to run again. */
void threads_stop_when_quiet(struct threads_executor *threads);

furrow_status threads_shutdown(furrow_executor *executor, unsigned flags);
furrow_status threads_shutdown_within(furrow_executor *executor, uint64_t drain_ns,
                                      uint64_t grace_ns);
/* threads_free is executor_ops.free; threads_release lets go of one of `uses`. */
void threads_free(furrow_executor *executor);
void threads_release(struct threads_executor *threads);

/* --------------------------------------------------------- threads_timers.c */

bool threads_timers_init(struct threads_timers *timers);
/* threads_timers_end ends the timer thread, if there is one. */
void threads_timers_end(struct threads_timers *timers);
void threads_timers_fini(struct threads_timers *timers);

/* threads_timer_arm sets a timer for `delay_ms` from now. On error (FURROW_ENOMEM, FURROW_ESYSTEM,
 * FURROW_ESHUTDOWN once the thread has been ended; with the error text set) it is not set. */
furrow_status threads_timer_arm(struct threads_executor *threads, struct threads_timer *timer,
                                enum threads_timer_kind kind, uint64_t delay_ms);
/* threads_timer_disarm returns whether it was set and had not gone off. Afterwards it does nothing any
 * more, except that a THREADS_TIMER_QUEUE that has gone off may still be about to begin its future. */
bool threads_timer_disarm(struct threads_executor *threads, struct threads_timer *timer);

/* threads_timers_take takes out a task that waits for another attempt; NULL if there is none. */
furrow_future *threads_timers_take(struct threads_executor *threads);

/* ------------------------------------------------------- threads_priority.c */

bool threads_side_init(struct threads_side *side);
void threads_side_fini(struct threads_side *side);

/* threads_side_submit queues `count` tasks (linked by next) of one class, not of the default priority.
 * Returns as the submits of the pool do. */
int threads_side_submit(struct threads_executor *threads, furrow_future *first, size_t count);

/* threads_side_choose is called with each work that a thread gets while the side heap is in use: a
 * task, or a ticket, which is freed. Returns the task that is to run now, or NULL if none. */
furrow_future *threads_side_choose(struct threads_executor *threads, furrow_future *future);

/* threads_side_take takes the foremost task out of the side heap; it is not empty. */
furrow_future *threads_side_take(struct threads_executor *threads);

#endif
