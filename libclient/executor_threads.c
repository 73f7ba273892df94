/* `threads:`: tasks run on a pool of this process. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/futex.h"
#include "libclient/executor_private.h"
#include "libclient/threads.h"
#include "task/status.h"

/* About as long as it takes to wake a thread on an idle processor. */
#define RESULT_SPIN_NS 20000

#define DELAY_MS_MAX (UINT64_C(1) << 40)

static const struct executor_ops threads_ops;

/* ------------------------------------------------------------------- running */

void threads_finished(struct threads_executor *threads, const furrow_future *future) {
    if (future->class_->define.retries > 0 && atomic_fetch_sub(&threads->retryable, 1) == 1) {
        threads_stop_when_quiet(threads);
    }
}

/* Resolves a task that could not be put into the pool again. */
static void fail_retry(struct threads_executor *threads, furrow_future *future,
                       const char *reason) {
    threads_finished(threads, future);
    (void)future_fail(future, WIRE_KIND_BROKEN, future->own, "failed, and was not run again: %s",
                      reason);
}

void threads_resubmit(struct threads_executor *threads, furrow_future *future) {
    int error;

    if (future->class_->define.priority != 0) {
        future->next = NULL;
        error = threads_side_submit(threads, future, 1);
    } else {
        error = base_pool_submit(threads->pool, &future->work);
    }
    if (error != 0) {
        fail_retry(threads, future, strerror(error));
    }
}

/* Whether a task that has failed is to run again; then it is not this thread's any more. */
static bool retry(struct threads_executor *threads, furrow_future *future) {
    const struct wire_define *define = &future->class_->define;
    uint64_t delay_ms = define->retry_ms;

    if (future->own >= define->retries || atomic_load(&threads->ending)) {
        return false;
    }
    for (uint32_t i = 0; i < future->own && delay_ms < DELAY_MS_MAX; i++) {
        delay_ms *= 2;
    }
    future->own++;
    future->own_flags |= THREADS_RETRIED;
    if (delay_ms == 0) {
        threads_resubmit(threads, future);
        return true;
    }
    if (threads_timer_arm(threads, &threads_part(future)->timer, THREADS_TIMER_RETRY, delay_ms) !=
        FURROW_OK) {
        future->own--;
        return false;
    }
    return true;
}

/* The task was done before it could start: cancelled, or too long in the queue. */
static void forget(struct threads_executor *threads, furrow_future *future) {
    atomic_fetch_sub(&threads->husks, 1);
    threads_finished(threads, future);
    future_drop(future);
}

/* claim takes a future out of its slot. False: a shutdown has given this thread up and resolved it. */
static bool claim(struct threads_slot *slot) {
    return atomic_exchange_explicit(&slot->current, NULL, memory_order_acq_rel) != NULL;
}

static __attribute__((noinline)) void resolve_large(struct threads_slot *slot,
                                                    furrow_future *future,
                                                    const struct task_outcome *outcome) {
    struct wire_blob *blob = task_detach(slot->context);

    if (blob == NULL) {
        (void)future_resolve(future, outcome->kind, outcome->data, outcome->size, NULL);
        return;
    }
    (void)future_resolve(future, outcome->kind, blob->data, blob->size, blob);
    wire_blob_unref(blob);
}

static inline void resolve(struct threads_slot *slot, furrow_future *future,
                           const struct task_outcome *outcome) {
    if (BASE_UNLIKELY(outcome->size >= WIRE_LARGE_BYTES_MIN)) {
        resolve_large(slot, future, outcome);
    } else {
        (void)future_resolve(future, outcome->kind, outcome->data, outcome->size, NULL);
    }
}

/* pointer_value packs a pointer, as `p` does. */
static size_t pointer_value(uint8_t *out, void *pointer) {
    out[0] = 0xd7;
    out[1] = WIRE_EXT_POINTER;
    memcpy(out + 2, &pointer, sizeof pointer);
    return 2 + sizeof pointer;
}

static void run_call(struct threads_executor *threads, unsigned index, furrow_future *future) {
    uint8_t value[16];
    struct threads_call call;
    size_t size;

    memcpy(&call, future->task.data, sizeof call);
    size = pointer_value(value, call.function(call.argument));
    if (claim(&threads->slots[index])) {
        base_pool_finishing(threads->pool, index);
        (void)future_resolve(future, WIRE_KIND_VALUE, value, size, NULL);
    }
}

/* begin_special is future_begin for a task with timeouts or retries. */
static bool begin_special(struct threads_executor *threads, furrow_future *future) {
    if ((future->own_flags & THREADS_RETRIED) != 0) {
        return true;
    }
    if (future->class_->define.queue_ms > 0 &&
        threads_timer_disarm(threads, &threads_part(future)->timer)) {
        future_drop(future);
    }
    return future_begin(future);
}

static void end_special(struct threads_executor *threads, struct threads_slot *slot,
                        furrow_future *future, const struct task_outcome *outcome) {
    uint64_t run_ms = future->class_->define.run_ms;

    if (outcome->kind == WIRE_KIND_ERROR && run_ms > 0 && slot->overdue) {
        threads_finished(threads, future);
        (void)future_fail(future, WIRE_KIND_DEADLINE, future->own + 1,
                          "ran longer than its run_timeout of %llu ms", (unsigned long long)run_ms);
        return;
    }
    if (outcome->kind == WIRE_KIND_ERROR && retry(threads, future)) {
        return;
    }
    threads_finished(threads, future);
    resolve(slot, future, outcome);
}

/* A task with a running time is asked to end when that is over. */
static struct task_outcome run_limited(struct threads_executor *threads, struct threads_slot *slot,
                                       uint64_t run_ms, const struct task_call *call) {
    struct task_outcome outcome;

    slot->overdue = false;
    /* Without memory for the timer the task runs without a limit. */
    (void)threads_timer_arm(threads, &slot->timer, THREADS_TIMER_RUN, run_ms);
    outcome = task_run(slot->context, call);
    (void)threads_timer_disarm(threads, &slot->timer);
    /* Nobody but an ending shutdown may ask now, and then no further task starts. */
    if (slot->overdue && !atomic_load(&threads->ending)) {
        atomic_store(&slot->cancel, 0);
    }
    return outcome;
}

static void run_task(struct threads_executor *threads, unsigned index, furrow_future *future) {
    struct threads_slot *slot = &threads->slots[index];
    const struct executor_class *class_ = future->class_;
    bool plain = class_->plain;
    struct task_outcome outcome;
    struct task_call call = {
        .function = class_->function,
        .arguments = future->task.data,
        .size = future->task.size,
        .flags = class_->define.flags,
        .attempt = future->own + 1,
        .cancel = &slot->cancel,
    };

    if (BASE_UNLIKELY(class_->define.run_ms > 0)) {
        outcome = run_limited(threads, slot, class_->define.run_ms, &call);
    } else {
        outcome = task_run(slot->context, &call);
    }
    if (BASE_UNLIKELY(!claim(slot))) {
        return;
    }
    base_pool_finishing(threads->pool, index);
    if (BASE_UNLIKELY(!plain)) {
        end_special(threads, slot, future, &outcome);
    } else {
        resolve(slot, future, &outcome);
    }
}

static void run(void *owner, unsigned index, struct base_work *work) {
    struct threads_executor *threads = owner;
    struct threads_slot *slot = &threads->slots[index];
    furrow_future *future = future_of_work(work);
    bool begun;

    if (BASE_UNLIKELY(atomic_load_explicit(&threads->side.count, memory_order_relaxed) > 0 ||
                      (future->own_flags & THREADS_TICKET) != 0)) {
        future = threads_side_choose(threads, future);
        if (future == NULL) {
            return;
        }
    }
    /* First here, then RUNNING, then a look at `ending`: so that a shutdown that gives threads up
     * either sees the task here, or the task sees that it may not run any more. (What keeps the order is
     * the compare-and-swap in between.) */
    atomic_store_explicit(&slot->current, future, memory_order_release);
    if (BASE_LIKELY(future->class_->plain)) {
        begun = future_begin(future);
    } else {
        begun = begin_special(threads, future);
    }
    if (BASE_UNLIKELY(!begun)) {
        if (claim(slot)) {
            forget(threads, future);
        }
    } else if (BASE_UNLIKELY(atomic_load_explicit(&threads->ending, memory_order_relaxed))) {
        if (claim(slot)) {
            threads_finished(threads, future);
            (void)future_resolve(future, WIRE_KIND_CANCELLED, NULL, 0, NULL);
        }
    } else if (BASE_UNLIKELY((future->own_flags & THREADS_CALL) != 0)) {
        run_call(threads, index, future);
    } else {
        run_task(threads, index, future);
    }
}

/* ------------------------------------------------------------- threads of the pool */

static bool run_initializer(struct threads_executor *threads, struct threads_slot *slot) {
    const furrow_options *options = &threads->base.options;
    struct task_call call = {
        .function = options->initializer,
        .arguments = options->initializer_args,
        .size = options->initializer_args_size,
        .attempt = 1,
        .cancel = &slot->cancel,
    };
    struct task_outcome outcome;
    struct wire_error error;

    if (options->initializer == NULL) {
        return true;
    }
    outcome = task_run(slot->context, &call);
    if (outcome.kind == WIRE_KIND_VALUE) {
        return true;
    }
    if (!wire_error_decode(outcome.data, outcome.size, &error)) {
        memset(&error, 0, sizeof error);
        error.message.data = "";
    }
    base_log(&threads->base.log, BASE_LOG_ERROR, "the initializer %s failed: %.*s (code %d)",
             options->initializer->name, (int)error.message.size, error.message.data, error.code);
    executor_break(&threads->base, "the initializer %s failed: %.*s (code %d)",
                   options->initializer->name, (int)error.message.size, error.message.data,
                   error.code);
    return false;
}

static void end_thread(struct threads_executor *threads, struct threads_slot *slot) {
    executor_frame_pop(&slot->frame);
    task_context_free(slot->context);
    slot->context = NULL;
    pthread_mutex_lock(&threads->lock);
    threads->live--;
    pthread_cond_broadcast(&threads->changed);
    pthread_mutex_unlock(&threads->lock);
}

static bool start_thread(void *owner, unsigned index) {
    struct threads_executor *threads = owner;
    struct threads_slot *slot = &threads->slots[index];
    struct task_context_config config = {
        .local = true,
        .host = threads->host,
        .pid = getpid(),
    };

    pthread_mutex_lock(&threads->lock);
    threads->live++;
    pthread_mutex_unlock(&threads->lock);
    executor_frame_push(&slot->frame, &threads->base, false);
    slot->context = task_context_new(&config);
    if (slot->context == NULL) {
        executor_break(&threads->base, "out of memory in a new thread");
    } else if (run_initializer(threads, slot)) {
        return true;
    }
    end_thread(threads, slot);
    return false;
}

static void stop_thread(void *owner, unsigned index) {
    struct threads_executor *threads = owner;

    end_thread(threads, &threads->slots[index]);
}

/* A broken pool won't run it. */
static void abandon(void *owner, struct base_work *work) {
    struct threads_executor *threads = owner;
    furrow_future *future = future_of_work(work);

    if ((future->own_flags & THREADS_TICKET) != 0) {
        future_drop(future);
        future = threads_side_take(threads);
    }
    if (!future->class_->plain && future->class_->define.queue_ms > 0 &&
        threads_timer_disarm(threads, &threads_part(future)->timer)) {
        future_drop(future);
    }
    if ((future->own_flags & THREADS_RETRIED) == 0 && !future_begin(future)) {
        forget(threads, future);
        return;
    }
    threads_finished(threads, future);
    (void)future_fail(future, WIRE_KIND_BROKEN, 0, "%s", executor_why(&threads->base));
}

static void gone(void *owner) {
    threads_release(owner);
}

/* ---------------------------------------------------------------- submitting */

/* pool_error turns what the pool says into a status. */
static furrow_status pool_error(struct threads_executor *threads, int error) {
    switch (error) {
    case 0:
        return FURROW_OK;
    case ESHUTDOWN:
        executor_refuse(&threads->base);
        return executor_check(&threads->base);
    case ECANCELED:
        executor_break(&threads->base, "a thread could not be started");
        return executor_check(&threads->base);
    case ENOMEM:
        return task_set_plain_error(FURROW_ENOMEM);
    default:
        return task_set_error(FURROW_ESYSTEM, "no thread could be created: %s", strerror(error));
    }
}

static void undo_special(struct threads_executor *threads, furrow_future *future) {
    if (future->class_->define.queue_ms > 0 &&
        threads_timer_disarm(threads, &threads_part(future)->timer)) {
        future_drop(future);
    }
    if (future->class_->define.retries > 0) {
        atomic_fetch_sub(&threads->retryable, 1);
    }
}

/* prepare_special makes a task that is not plain ready for the pool. */
static furrow_status prepare_special(struct threads_executor *threads, furrow_future *future) {
    const struct wire_define *define = &future->class_->define;
    struct threads_part *part = threads_part(future);
    furrow_status status;

    base_heap_node_init(&part->priority);
    base_heap_node_init(&part->timer.node);
    if (define->retries > 0) {
        atomic_fetch_add(&threads->retryable, 1);
    }
    if (define->queue_ms > 0) {
        future_keep(future);
        status = threads_timer_arm(threads, &part->timer, THREADS_TIMER_QUEUE, define->queue_ms);
        if (status != FURROW_OK) {
            future_drop(future);
            undo_special(threads, future);
            return status;
        }
    }
    return FURROW_OK;
}

/* push gives a chain of futures of one class, linked by next, to the pool. */
static int push(struct threads_executor *threads, furrow_future *first, furrow_future *last,
                size_t count) {
    if (first->class_->define.priority != 0) {
        return threads_side_submit(threads, first, count);
    }
    for (furrow_future *future = first; future != last;) {
        furrow_future *next = future->next;

        future->work.next = &next->work;
        future = next;
    }
    return base_pool_submit_batch(threads->pool, &first->work, &last->work, count);
}

static furrow_status submit_special(struct threads_executor *threads, furrow_future *first,
                                    furrow_future *last, size_t count) {
    furrow_future *future = first;
    furrow_status status;
    size_t prepared;
    int error;

    for (prepared = 0; prepared < count; prepared++, future = future->next) {
        status = prepare_special(threads, future);
        if (status != FURROW_OK) {
            break;
        }
    }
    if (prepared == count) {
        error = push(threads, first, last, count);
        if (error == 0) {
            return FURROW_OK;
        }
        status = pool_error(threads, error);
    }
    future = first;
    for (size_t i = 0; i < prepared; i++) {
        undo_special(threads, future);
        future = future->next;
    }
    return status;
}

static furrow_status threads_submit(furrow_executor *executor, furrow_future *future) {
    struct threads_executor *threads = threads_of(executor);
    int error;

    if (BASE_UNLIKELY(!future->class_->plain)) {
        future->next = NULL;
        return submit_special(threads, future, future, 1);
    }
    error = base_pool_submit(threads->pool, &future->work);
    return BASE_LIKELY(error == 0) ? FURROW_OK : pool_error(threads, error);
}

static furrow_status threads_submit_chain(furrow_executor *executor, furrow_future *first,
                                          furrow_future *last, size_t count) {
    struct threads_executor *threads = threads_of(executor);

    if (!first->class_->plain) {
        return submit_special(threads, first, last, count);
    }
    return pool_error(threads, push(threads, first, last, count));
}

bool threads_discard(struct threads_executor *threads, furrow_future *future) {
    bool cancelled;

    if ((future->own_flags & THREADS_TICKET) != 0) {
        future_drop(future);
        future = threads_side_take(threads);
    }
    if (!future->class_->plain && future->class_->define.queue_ms > 0 &&
        threads_timer_disarm(threads, &threads_part(future)->timer)) {
        future_drop(future);
    }
    if ((future->own_flags & THREADS_RETRIED) != 0) {
        fail_retry(threads, future, "the executor was shut down");
        return true;
    }
    cancelled = future_cancel_now(future);
    if (!cancelled) {
        atomic_fetch_sub(&threads->husks, 1);
    }
    threads_finished(threads, future);
    future_drop(future);
    return cancelled;
}

static bool threads_cancel(furrow_executor *executor, furrow_future *future, bool wait) {
    (void)wait;
    if (future_cancel_now(future)) {
        atomic_fetch_add(&threads_of(executor)->husks, 1);
        return true;
    }
    return future_state(future) == FURROW_CANCELLED;
}

static void threads_set_call(furrow_executor *executor, furrow_future *future,
                             void *(*function)(void *), void *argument) {
    struct threads_call call = {function, argument};

    _Static_assert(sizeof call <= FUTURE_INLINE_BYTES, "a call fits into a future");
    memcpy(future->bytes, &call, sizeof call);
    future->task.size = sizeof call;
    future->class_ = &threads_of(executor)->call_class;
    future->own_flags = THREADS_CALL;
}

static void threads_describe(furrow_executor *executor, furrow_executor_info *info) {
    struct threads_executor *threads = threads_of(executor);
    struct base_pool_counts counts;
    long long pending;

    info->max_workers = (int)threads->thread_count;
    base_pool_counts(threads->pool, &counts);
    pending = (long long)(counts.queued + counts.running) - atomic_load(&threads->husks);
    pthread_mutex_lock(&threads->timers.lock);
    pending += (long long)threads->timers.retries;
    pthread_mutex_unlock(&threads->timers.lock);
    info->pending = pending > 0 ? (size_t)pending : 0;
    info->workers_alive = (int)counts.threads;
}

/* ------------------------------------------------------------------- opening */

/* Where a task starts at once its result may be there before this thread would sleep, and waking it
 * takes longer than a short task. Where tasks queue up the processor is better left to those who run
 * them. */
static void threads_help(furrow_executor *executor, const furrow_future *future,
                         uint64_t deadline_ns) {
    struct threads_executor *threads = threads_of(executor);
    uint64_t until_ns;
    bool done = false;

    if (!base_pool_keeps_up(threads->pool) || !base_spin_pays(&threads->result_spin)) {
        return;
    }
    until_ns = base_clock_ns() + RESULT_SPIN_NS;
    until_ns = until_ns < deadline_ns ? until_ns : deadline_ns;
    do {
        for (int i = 0; i < 16 && !done; i++) {
            base_spin_pause();
            done = future_done(future);
        }
    } while (!done && base_clock_ns() < until_ns);
    base_spin_learn(&threads->result_spin, done);
}

static const struct executor_ops threads_ops = {
    .scheme = "threads",
    .allow_pointers = true,
    .submit = threads_submit,
    .submit_chain = threads_submit_chain,
    .set_call = threads_set_call,
    .cancel = threads_cancel,
    .help = threads_help,
    .shutdown = threads_shutdown,
    .shutdown_within = threads_shutdown_within,
    .describe = threads_describe,
    .free = threads_free,
};

static struct threads_executor *threads_new(unsigned thread_count) {
    struct threads_executor *threads;
    size_t size = sizeof *threads + thread_count * sizeof threads->slots[0];

    size = (size + 63) & ~(size_t)63;
    threads = aligned_alloc(64, size);
    if (threads == NULL) {
        return NULL;
    }
    memset(threads, 0, size);
    threads->thread_count = thread_count;
    atomic_init(&threads->uses, 1);
    if (gethostname(threads->host, sizeof threads->host - 1) != 0) {
        threads->host[0] = '\0';
    }
    threads->call_class.define.function.data = "";
    threads->call_class.plain = true;
    for (unsigned i = 0; i < thread_count; i++) {
        base_heap_node_init(&threads->slots[i].timer.node);
    }
    return threads;
}

static int new_pool(struct threads_executor *threads) {
    const furrow_options *options = &threads->base.options;
    const struct base_pool_options pool = {
        .max_threads = threads->thread_count,
        .name_prefix = options->thread_name_prefix == NULL ? "furrow" : options->thread_name_prefix,
        .owner = threads,
        .run = run,
        .start = start_thread,
        .stop = stop_thread,
        .abandon = abandon,
        .gone = gone,
    };

    return base_pool_new(&pool, &threads->pool);
}

furrow_executor *executor_open_threads(struct client_url *url) {
    unsigned count =
        (unsigned)(url->options.max_workers == FURROW_DEFAULT ? furrow_cpu_count()
                                                              : url->options.max_workers);
    struct threads_executor *threads;

    if (count > BASE_POOL_THREADS_MAX) {
        if (url->options.max_workers != FURROW_DEFAULT) {
            (void)task_set_error(FURROW_EINVAL, "max_workers %u is over the limit of %u threads",
                                 count, BASE_POOL_THREADS_MAX);
            return NULL;
        }
        count = BASE_POOL_THREADS_MAX;
    }
    threads = threads_new(count);
    if (threads == NULL) {
        goto no_memory;
    }
    if (!threads_shutdown_init(threads)) {
        goto free_threads;
    }
    if (!threads_timers_init(&threads->timers)) {
        goto destroy_changed;
    }
    if (!threads_side_init(&threads->side)) {
        goto fini_timers;
    }
    threads->base.options = url->options;
    if (new_pool(threads) != 0) {
        goto fini_side;
    }
    if (executor_init(&threads->base, &threads_ops, url)) {
        threads->base.local_functions = true;
        return &threads->base;
    }
    base_pool_free(threads->pool);
fini_side:
    threads_side_fini(&threads->side);
fini_timers:
    threads_timers_fini(&threads->timers);
destroy_changed:
    (void)pthread_cond_destroy(&threads->changed);
    (void)pthread_mutex_destroy(&threads->lock);
free_threads:
    free(threads);
no_memory:
    (void)task_set_plain_error(FURROW_ENOMEM);
    return NULL;
}
