/* RESULTS. Almost all are values of tasks about which there is nothing unusual: for these there is a
 * short way, which counts what it did once for a run of them. */
#include "broker/worker.h"

#include "broker/claims.h"
#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/credit.h"
#include "broker/queue.h"
#include "broker/router.h"
#include "broker/schedule.h"
#include "broker/session.h"
#include "broker/slots.h"
#include "broker/task.h"
#include "broker/timer.h"

/* A failed task is tried again after retry_ms, twice as long each time, up to this. */
#define RETRY_DOUBLINGS_MAX 10u
#define RETRY_MAX_NS        (3600 * BROKER_S)

/* ------------------------------------------------------------- the long way */

/* A task that failed by itself and may be tried again: after a while, ever longer. */
static bool retry(struct broker_core *core, struct broker_task *task) {
    struct broker_extra *extra;
    uint64_t wait_ns = task->class->retry_ns;

    if ((task->flags & BROKER_TASK_EXTRA) != 0 && task->extra->retries >= task->class->retries) {
        return false;
    }
    extra = broker_task_extra(core, task);
    if (extra == NULL) {
        return false; /* the failure is told instead: that is true as well */
    }
    for (uint32_t i = 0; i < extra->retries && i < RETRY_DOUBLINGS_MAX; i++) {
        wait_ns = wait_ns < RETRY_MAX_NS / 2 ? wait_ns * 2 : RETRY_MAX_NS;
    }
    extra->retries++;
    if ((task->flags & BROKER_TASK_CANCELLING) != 0) {
        (void)broker_verdict(core, task->class->client, task->id, false);
    }
    broker_task_detach(core, task);
    task->flags &= (uint8_t)~BROKER_TASK_CANCELLING;
    broker_task_started(core, task);
    core->stats.reruns++;
    core->stats.retried++;
    broker_task_set_state(task, BROKER_TASK_DELAYED);
    broker_timer_set(core, &extra->timer, broker_after(core, wait_ns));
    return true;
}

static bool result_long(struct broker_core *core, struct broker_task *task,
                        const struct wire_entry *entry, uint64_t mean_ns) {
    enum wire_kind kind = (enum wire_kind)entry->key[0];
    struct broker_queue *queue = NULL;

    if (task->state == BROKER_TASK_LEASED) {
        broker_pace_add(&task->class->queue->demand->pace, 1, mean_ns);
        if (kind == WIRE_KIND_ERROR && task->class->retries > 0 && retry(core, task)) {
            return true;
        }
        if (!broker_task_tell(core, task, kind, entry->data, entry->size, entry->large)) {
            return false;
        }
        queue = task->class->queue;
    }
    broker_task_detach(core, task);
    if (queue != NULL && kind == WIRE_KIND_VALUE) {
        broker_credit_learn(core, queue, 1, entry->size);
    }
    broker_task_end(core, task);
    return true;
}

/* ------------------------------------------------------------ the short way */

/* What a run of results for one class is to be counted as. */
struct run {
    struct broker_class *class;
    uint64_t mean_ns; /* that a task of the message took */
    uint64_t bytes;   /* of the tasks' payloads */
    uint32_t count;
    uint64_t value_bytes;
    uint64_t bytes_before; /* of both, in runs before this one and in what went the long way */
};

static void count_run(struct broker_core *core, struct broker_worker *worker, struct run *run) {
    struct broker_client *client;
    struct broker_demand *demand;

    if (run->count == 0) {
        return;
    }
    client = run->class->client;
    demand = run->class->queue->demand;
    broker_meter_roll(&demand->meter, core->now_ns);
    demand->meter.now.finished += run->count;
    broker_pace_add(&demand->pace, run->count, run->mean_ns);
    worker->held -= run->count;
    core->leased -= run->count;
    core->memory -= (uint64_t)run->count * BROKER_TASK_BYTES;
    core->stats.finished += run->count;
    client->task_count -= run->count;
    client->task_bytes -= run->bytes;
    broker_credit_unleased(run->class->queue, run->count);
    broker_credit_learn(core, run->class->queue, run->count, run->value_bytes);
    broker_session_dirty(core, &client->session);
    run->bytes_before += run->bytes + run->value_bytes;
    run->count = 0;
    run->bytes = 0;
    run->value_bytes = 0;
}

/* Ends one task with its value. False: it has to go the long way; nothing happened. */
static inline bool result_short(struct broker_core *core, struct broker_worker *worker,
                                struct run *run, struct broker_task *task,
                                const struct wire_entry *entry) {
    static const uint64_t key = WIRE_KIND_VALUE;
    struct broker_client *client;
    struct broker_page *page;

    if (BASE_UNLIKELY((task->flags & ~BROKER_TASK_STARTED) != 0 ||
                      task->state != BROKER_TASK_LEASED || task->size > BROKER_INLINE_BYTES ||
                      entry->key[0] != WIRE_KIND_VALUE)) {
        return false;
    }
    client = task->class->client;
    page = broker_slot_page(&client->slots, task->id);
    BASE_ASSERT(page != NULL);
    if (BASE_UNLIKELY(page->live == 1 || client->outcomes == NULL) ||
        BASE_UNLIKELY(wire_writer_put_quick(
                          client->outcomes, (struct wire_shape)WIRE_SHAPE_OUTCOMES, &key, &task->id,
                          entry->data, entry->size, entry->large) != WIRE_PUT_OK)) {
        return false;
    }
    if (BASE_UNLIKELY(task->class != run->class)) {
        count_run(core, worker, run);
        run->class = task->class;
    }
    run->count++;
    run->bytes += task->size;
    run->value_bytes += entry->size;
    page->index[(uint32_t)task->id % BROKER_PAGE_SLOTS] = BROKER_NO_TASK;
    page->live--;
    task->node.prev->next = task->node.next;
    task->node.next->prev = task->node.prev;
    base_slab_free(&core->tasks, broker_task_index(task));
    return true;
}

/* A result for a lease that is no task's. */
static enum broker_handled result_stray(struct broker_core *core, struct broker_worker *worker,
                                        const struct wire_entry *entry) {
    enum broker_handled handled = broker_claim_result(core, worker, entry);

    if (handled == BROKER_REFUSED) {
        core->stats.stale_results++;
        return BROKER_DONE;
    }
    return handled;
}

/* A result that doesn't go the short way; task: NULL if the lease is none's. */
static __attribute__((noinline)) enum broker_handled result_slowly(struct broker_core *core,
                                                                   struct broker_worker *worker,
                                                                   struct run *run,
                                                                   struct broker_task *task,
                                                                   const struct wire_entry entry) {
    count_run(core, worker, run);
    if (task == NULL) {
        return result_stray(core, worker, &entry);
    }
    run->bytes_before += task->size + entry.size;
    return result_long(core, task, &entry, run->mean_ns) ? BROKER_DONE : BROKER_NOMEM;
}

enum broker_handled broker_on_results(struct broker_core *core, struct broker_session *session,
                                      struct wire_message *message, struct wire_fault *fault) {
    struct broker_worker *worker = broker_worker_of(session);
    enum broker_handled handled = BROKER_DONE;
    struct run run = {.count = 0};
    struct wire_batch batch;
    struct wire_entry entry;

    if (!wire_batch_open(&batch, message, fault)) {
        return BROKER_REFUSED;
    }
    core->taken_in += batch.entry_count;
    run.mean_ns = batch.entry_count == 0 ? 0 : batch.extra[0] / batch.entry_count;
    while (handled == BROKER_DONE &&
           wire_batch_next_quick(&batch, (struct wire_shape)WIRE_SHAPE_RESULTS, &entry)) {
        struct broker_task *task = broker_worker_task(core, worker, entry.values[0]);

        if (BASE_UNLIKELY(task == NULL) ||
            BASE_UNLIKELY(!result_short(core, worker, &run, task, &entry))) {
            handled = result_slowly(core, worker, &run, task, entry);
        }
    }
    count_run(core, worker, &run);
    if (batch.entry_count > 0) {
        broker_worker_measure(core, worker, batch.entry_count, batch.extra[0], run.bytes_before);
    }
    broker_worker_place(core, worker);
    return handled;
}
