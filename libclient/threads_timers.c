#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/futex.h"
#include "libclient/threads.h"
#include "task/status.h"

bool threads_timers_init(struct threads_timers *timers) {
    pthread_condattr_t attributes;
    bool made;

    memset(timers, 0, sizeof *timers);
    base_heap_init(&timers->heap);
    if (pthread_condattr_init(&attributes) != 0) {
        return false;
    }
    made = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
           pthread_cond_init(&timers->changed, &attributes) == 0;
    (void)pthread_condattr_destroy(&attributes);
    if (made && pthread_mutex_init(&timers->lock, NULL) != 0) {
        (void)pthread_cond_destroy(&timers->changed);
        made = false;
    }
    return made;
}

void threads_timers_fini(struct threads_timers *timers) {
    BASE_ASSERT(!timers->started && timers->heap.count == 0);
    base_heap_fini(&timers->heap);
    (void)pthread_mutex_destroy(&timers->lock);
    (void)pthread_cond_destroy(&timers->changed);
}

/* ----------------------------------------------------------------- going off */

static furrow_future *future_of_timer(struct threads_timer *timer) {
    return threads_future(BASE_CONTAINER_OF(timer, struct threads_part, timer));
}

static void expire_in_queue(struct threads_executor *threads, furrow_future *future) {
    if (!future_begin(future)) {
        future_drop(future);
        return;
    }
    atomic_fetch_add(&threads->husks, 1);
    (void)future_fail(future, WIRE_KIND_DEADLINE, 0,
                      "not started within its queue_timeout of %llu ms",
                      (unsigned long long)future->class_->define.queue_ms);
}

static void go_off(struct threads_executor *threads, struct threads_timer *timer,
                   enum threads_timer_kind kind) {
    switch (kind) {
    case THREADS_TIMER_QUEUE:
        expire_in_queue(threads, future_of_timer(timer));
        break;
    case THREADS_TIMER_RETRY:
        threads_resubmit(threads, future_of_timer(timer));
        break;
    case THREADS_TIMER_RUN:
        break; /* done under the lock */
    }
}

/* pop takes out the next timer that is due. Its kind is only sure while the lock is held: the task
 * may use the timer again. */
static struct threads_timer *pop(struct threads_timers *timers, uint64_t now_ns,
                                 enum threads_timer_kind *kind) {
    struct base_heap_node *node = base_heap_peek(&timers->heap);
    struct threads_timer *timer;

    if (node == NULL || node->key > now_ns) {
        return NULL;
    }
    (void)base_heap_pop(&timers->heap);
    timer = BASE_CONTAINER_OF(node, struct threads_timer, node);
    *kind = timer->kind;
    if (timer->kind == THREADS_TIMER_RUN) {
        struct threads_slot *slot = BASE_CONTAINER_OF(timer, struct threads_slot, timer);

        slot->overdue = true;
        atomic_store(&slot->cancel, 1);
        base_futex_wake(&slot->cancel, INT_MAX);
    } else if (timer->kind == THREADS_TIMER_RETRY) {
        timers->retries--;
    }
    return timer;
}

static void sleep_until_next(struct threads_timers *timers) {
    struct base_heap_node *node = base_heap_peek(&timers->heap);

    if (node == NULL) {
        pthread_cond_wait(&timers->changed, &timers->lock);
    } else {
        struct timespec until = {
            .tv_sec = (time_t)(node->key / BASE_CLOCK_NS_PER_S),
            .tv_nsec = (long)(node->key % BASE_CLOCK_NS_PER_S),
        };

        (void)pthread_cond_timedwait(&timers->changed, &timers->lock, &until);
    }
}

static void *timer_main(void *argument) {
    struct threads_executor *threads = argument;
    struct threads_timers *timers = &threads->timers;
    struct executor_frame frame;

    executor_frame_push(&frame, &threads->base, false);
    pthread_mutex_lock(&timers->lock);
    while (!timers->ending) {
        enum threads_timer_kind kind;
        struct threads_timer *timer = pop(timers, base_clock_ns(), &kind);

        if (timer == NULL) {
            sleep_until_next(timers);
            continue;
        }
        pthread_mutex_unlock(&timers->lock);
        go_off(threads, timer, kind);
        pthread_mutex_lock(&timers->lock);
    }
    pthread_mutex_unlock(&timers->lock);
    executor_frame_pop(&frame);
    return NULL;
}

/* start makes the timer thread, with all signals blocked. The lock is held. */
static int start(struct threads_executor *threads) {
    struct threads_timers *timers = &threads->timers;
    sigset_t all, before;
    int error;

    if (timers->started) {
        return 0;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&timers->thread, NULL, timer_main, threads);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0) {
        timers->started = true;
        (void)pthread_setname_np(timers->thread, "furrow_timer");
    }
    return error;
}

void threads_timers_end(struct threads_timers *timers) {
    bool started;

    pthread_mutex_lock(&timers->lock);
    started = timers->started;
    timers->ending = true;
    timers->started = false;
    pthread_cond_broadcast(&timers->changed);
    pthread_mutex_unlock(&timers->lock);
    if (started) {
        (void)pthread_join(timers->thread, NULL);
    }
}

/* ------------------------------------------------------------------- setting */

furrow_status threads_timer_arm(struct threads_executor *threads, struct threads_timer *timer,
                                enum threads_timer_kind kind, uint64_t delay_ms) {
    struct threads_timers *timers = &threads->timers;
    uint64_t at_ns = base_clock_ns() + delay_ms * BASE_CLOCK_NS_PER_MS;
    int error;

    pthread_mutex_lock(&timers->lock);
    error = timers->ending ? ESHUTDOWN : start(threads);
    if (error == 0) {
        timer->kind = kind;
        if (!base_heap_insert(&timers->heap, &timer->node, at_ns)) {
            error = ENOMEM;
        } else {
            timers->retries += kind == THREADS_TIMER_RETRY;
            if (base_heap_peek(&timers->heap) == &timer->node) {
                pthread_cond_signal(&timers->changed);
            }
        }
    }
    pthread_mutex_unlock(&timers->lock);
    if (error == ENOMEM || error == ESHUTDOWN) {
        return task_set_plain_error(error == ENOMEM ? FURROW_ENOMEM : FURROW_ESHUTDOWN);
    }
    return error == 0
               ? FURROW_OK
               : task_set_error(FURROW_ESYSTEM, "the thread for timeouts: %s", strerror(error));
}

bool threads_timer_disarm(struct threads_executor *threads, struct threads_timer *timer) {
    struct threads_timers *timers = &threads->timers;
    bool linked;

    pthread_mutex_lock(&timers->lock);
    linked = base_heap_node_linked(&timer->node);
    if (linked) {
        base_heap_remove(&timers->heap, &timer->node);
        timers->retries -= timer->kind == THREADS_TIMER_RETRY;
    }
    pthread_mutex_unlock(&timers->lock);
    return linked;
}

furrow_future *threads_timers_take(struct threads_executor *threads) {
    struct threads_timers *timers = &threads->timers;
    struct threads_timer *found = NULL;

    pthread_mutex_lock(&timers->lock);
    for (size_t i = 0; i < timers->heap.count && found == NULL; i++) {
        struct threads_timer *timer =
            BASE_CONTAINER_OF(timers->heap.slots[i].node, struct threads_timer, node);

        if (timer->kind == THREADS_TIMER_RETRY) {
            found = timer;
        }
    }
    if (found != NULL) {
        base_heap_remove(&timers->heap, &found->node);
        timers->retries--;
    }
    pthread_mutex_unlock(&timers->lock);
    return found == NULL ? NULL : future_of_timer(found);
}
