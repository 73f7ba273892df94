/* Task records, their states, their ends. */
#include "broker/task.h"

#include <stdlib.h>
#include <string.h>

#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/credit.h"
#include "broker/outbox.h"
#include "broker/queue.h"
#include "broker/recall.h"
#include "broker/schedule.h"
#include "broker/slots.h"
#include "broker/timer.h"
#include "broker/worker.h"

#define TO(state) (1u << BROKER_TASK_##state)

const uint16_t broker_task_allowed[BROKER_TASK_STATES] = {
    [BROKER_TASK_NEW] = TO(HELD) | TO(QUEUED) | TO(LEASED) | TO(FAILING) | TO(ENDED),
    [BROKER_TASK_HELD] = TO(QUEUED) | TO(LEASED) | TO(FAILING) | TO(ENDED),
    [BROKER_TASK_QUEUED] = TO(QUEUED) | TO(LEASED) | TO(FAILING) | TO(ENDED),
    [BROKER_TASK_LEASED] = TO(QUEUED) | TO(LEASED) | TO(DELAYED) | TO(SUSPECT) | TO(ABANDONED) |
                           TO(FAILING) | TO(ENDED),
    [BROKER_TASK_DELAYED] = TO(QUEUED) | TO(FAILING) | TO(ENDED),
    [BROKER_TASK_SUSPECT] = TO(LEASED) | TO(FAILING) | TO(ENDED),
    [BROKER_TASK_ABANDONED] = TO(ENDED),
    [BROKER_TASK_FAILING] = TO(NEW) | TO(ENDED),
    [BROKER_TASK_ENDED] = 0,
};

/* ---------------------------------------------------------- making, freeing */

static bool payload_take(struct broker_task *task, const struct wire_entry *entry) {
    if (entry->size <= BROKER_INLINE_BYTES) {
        return true; /* broker_task_init has copied it */
    }
    if (entry->large != NULL) {
        task->payload.blob = wire_blob_ref(entry->large);
        return true;
    }
    task->payload.copy = malloc(entry->size);
    if (task->payload.copy == NULL) {
        return false;
    }
    memcpy(task->payload.copy, entry->data, entry->size);
    return true;
}

/* What a payload costs beside the record. */
static uint64_t payload_bytes(const struct broker_task *task) {
    return task->size <= BROKER_INLINE_BYTES ? 0 : task->size;
}

struct broker_task *broker_task_new(struct broker_core *core, struct broker_class *class,
                                    const struct wire_entry *entry) {
    uint32_t index;
    struct broker_task *task = base_slab_alloc(&core->tasks, &index, NULL);

    if (BASE_UNLIKELY(task == NULL)) {
        return NULL;
    }
    BASE_ASSERT(index <= BROKER_INDEX_MASK);
    broker_task_init(task, class, entry, index, (uint16_t)entry->key[1], BROKER_TASK_NEW);
    if (BASE_UNLIKELY(!payload_take(task, entry))) {
        base_slab_free(&core->tasks, index);
        return NULL;
    }
    base_node_init(&task->node);
    core->memory += BROKER_TASK_BYTES + payload_bytes(task);
    class->client->task_count++;
    class->client->task_bytes += task->size;
    return task;
}

void broker_task_drop_payload(struct broker_core *core, struct broker_task *task) {
    core->memory -= payload_bytes(task);
    if (task->class != NULL) {
        task->class->client->task_bytes -= task->size;
    }
    if (BASE_UNLIKELY(task->size > BROKER_INLINE_BYTES)) {
        if (task->size < WIRE_LARGE_BYTES_MIN) {
            free(task->payload.copy);
        } else {
            wire_blob_unref(task->payload.blob);
        }
    }
    task->size = 0;
}

struct broker_extra *broker_task_extra(struct broker_core *core, struct broker_task *task) {
    struct broker_extra *extra;
    uint32_t index;

    if ((task->flags & BROKER_TASK_EXTRA) != 0) {
        return task->extra;
    }
    extra = base_slab_alloc(&core->extras, &index, NULL);
    if (extra == NULL) {
        return NULL;
    }
    memset(extra, 0, sizeof *extra);
    extra->task = task;
    extra->index = index;
    if (!broker_timer_make(core, &extra->timer, BROKER_TIMER_TASK)) {
        base_slab_free(&core->extras, index);
        return NULL;
    }
    task->extra = extra;
    task->flags |= BROKER_TASK_EXTRA;
    return extra;
}

static void extra_free(struct broker_core *core, struct broker_task *task) {
    struct broker_extra *extra = task->extra;

    broker_timer_drop(core, &extra->timer);
    free(extra->history);
    base_slab_free(&core->extras, extra->index);
    task->flags &= (uint8_t)~BROKER_TASK_EXTRA;
}

void broker_task_end(struct broker_core *core, struct broker_task *task) {
    BASE_ASSERT(!base_node_linked(&task->node) && task->worker == NULL);
    broker_task_set_state(task, BROKER_TASK_ENDED);
    broker_task_drop_payload(core, task);
    if (BASE_UNLIKELY((task->flags & BROKER_TASK_EXTRA) != 0)) {
        extra_free(core, task);
    }
    if (BASE_LIKELY(task->class != NULL)) {
        struct broker_client *client = task->class->client;

        broker_slot_release(core, &client->slots, task->id);
        client->task_count--;
    }
    core->memory -= BROKER_TASK_BYTES;
    base_slab_free(&core->tasks, broker_task_index(task));
}

void broker_tasks_came(struct broker_core *core) {
    if (base_slab_count(&core->tasks) > core->task_peak) {
        core->task_peak = base_slab_count(&core->tasks);
    }
    if (BASE_UNLIKELY(!broker_timer_runs(&core->trim))) {
        broker_timer_set(core, &core->trim, broker_after(core, BROKER_TRIM_NS));
    }
}

/* What was not needed for a while goes back; what was, stays for the next wave. */
void broker_tasks_trim(struct broker_core *core) {
    if (core->task_peak * sizeof(struct broker_task) < base_slab_bytes(&core->tasks) / 2) {
        base_slab_trim(&core->tasks);
        base_slab_trim(&core->extras);
    }
    core->task_peak = base_slab_count(&core->tasks);
    if (core->task_peak > 0 || base_slab_bytes(&core->tasks) > BROKER_TRIM_BYTES) {
        broker_timer_set(core, &core->trim, broker_after(core, BROKER_TRIM_NS));
    }
}

void broker_task_unmake(struct broker_core *core, struct broker_task *task) {
    BASE_ASSERT(task->state == BROKER_TASK_NEW);
    broker_task_drop_payload(core, task);
    task->class->client->task_count--;
    core->memory -= BROKER_TASK_BYTES;
    base_slab_free(&core->tasks, broker_task_index(task));
}

void broker_task_started(struct broker_core *core, struct broker_task *task) {
    task->flags |= BROKER_TASK_STARTED;
    if ((task->flags & BROKER_TASK_EXTRA) != 0) {
        task->extra->start_by_ns = 0;
        broker_timer_stop(core, &task->extra->timer);
    }
}

static void detach_lease(struct broker_core *core, struct broker_task *task) {
    struct broker_worker *worker = task->worker;

    base_list_remove(&task->node);
    if ((task->flags & BROKER_TASK_OLD) != 0) {
        base_idmap_remove(&worker->old, task->extra->old_lease);
        task->flags &= (uint8_t)~BROKER_TASK_OLD;
    }
    task->flags &= (uint8_t) ~(BROKER_TASK_UNSTARTED | BROKER_TASK_CONFIRMED);
    if (worker->alone == task) {
        worker->alone = NULL;
    }
    task->worker = NULL;
    worker->held--;
    if (task->state == BROKER_TASK_LEASED) {
        core->leased--;
        broker_credit_freed(core, task->class->queue);
    } else {
        core->abandoned--;
    }
    broker_worker_place(core, worker);
}

void broker_task_detach(struct broker_core *core, struct broker_task *task) {
    switch ((enum broker_task_state)task->state) {
    case BROKER_TASK_NEW:
        break;
    case BROKER_TASK_HELD:
    case BROKER_TASK_FAILING:
        base_list_remove(&task->node);
        break;
    case BROKER_TASK_QUEUED:
        if (task->node.prev == &task->class->queue->tasks.root) {
            broker_ages_gone(&task->class->queue->ages, 1, core->now_ns, NULL);
        } else {
            broker_ages_left(&task->class->queue->ages);
        }
        base_list_remove(&task->node);
        broker_queue_taken(core, task->class->queue, 1);
        break;
    case BROKER_TASK_LEASED:
    case BROKER_TASK_ABANDONED:
        detach_lease(core, task);
        break;
    case BROKER_TASK_DELAYED:
        broker_timer_stop(core, &task->extra->timer);
        break;
    case BROKER_TASK_SUSPECT:
        broker_suspect_taken(core, task);
        break;
    case BROKER_TASK_ENDED:
        BASE_ASSERT(task->state != BROKER_TASK_ENDED);
    }
}

/* --------------------------------------------------------------------- ends */

static void count_end(struct broker_core *core, struct broker_meter *meter, enum wire_kind kind) {
    broker_meter_roll(meter, core->now_ns);
    switch (kind) {
    case WIRE_KIND_VALUE:
        core->stats.finished++;
        meter->now.finished++;
        break;
    case WIRE_KIND_CANCELLED:
        core->stats.cancelled++;
        break;
    case WIRE_KIND_ERROR:
    case WIRE_KIND_LOST:
    case WIRE_KIND_DEADLINE:
    case WIRE_KIND_NO_FUNCTION:
    case WIRE_KIND_BROKEN:
    case WIRE_KIND_REJECTED:
        core->stats.failed++;
        meter->now.failed++;
        break;
    }
}

bool broker_task_tell(struct broker_core *core, const struct broker_task *task, enum wire_kind kind,
                      const void *data, size_t size, struct wire_blob *large) {
    struct broker_client *client = task->class->client;
    uint64_t key = kind;

    if (BASE_UNLIKELY(!broker_session_put(core, &client->session, &client->outcomes, WIRE_OUTCOMES,
                                          &key, &task->id, data, size, large))) {
        return false;
    }
    if (BASE_UNLIKELY((task->flags & BROKER_TASK_CANCELLING) != 0)) {
        /* Without memory for it there is none: the outcome says as much. */
        (void)broker_verdict(core, client, task->id, false);
    }
    count_end(core, &task->class->queue->demand->meter, kind);
    return true;
}

/* Keeps a detached task whose end could not be told. */
static void fail_later(struct broker_core *core, struct broker_task *task, enum wire_kind kind) {
    broker_task_set_state(task, BROKER_TASK_FAILING);
    broker_task_drop_payload(core, task);
    task->payload.failing = kind;
    base_list_push_back(&core->failing, &task->node);
    broker_starve(core);
}

void broker_task_fail(struct broker_core *core, struct broker_task *task, enum wire_kind kind,
                      const struct wire_error *error) {
    const struct broker_demand *demand = task->class->queue->demand;
    struct wire_error full = *error;

    full.function = demand->function;
    if (full.attempt == 0) {
        full.attempt = task->attempt;
    }
    if (full.host.data == NULL) {
        full.host = (struct wire_text){core->config.host, strlen(core->config.host)};
        full.pid = core->config.pid;
    }
    base_buffer_clear(&core->scratch);
    if (wire_error_encode(&full, &core->scratch) &&
        broker_task_tell(core, task, kind, core->scratch.data, core->scratch.size, NULL)) {
        broker_task_end(core, task);
    } else {
        fail_later(core, task, kind);
    }
}

void broker_task_cancelled(struct broker_core *core, struct broker_task *task) {
    if (broker_verdict(core, task->class->client, task->id, true)) {
        core->stats.cancelled++;
        broker_task_end(core, task);
    } else {
        fail_later(core, task, WIRE_KIND_CANCELLED);
    }
}

void broker_tasks_failing(struct broker_core *core) {
    static const char text[] = "the broker was short of memory; details are lost";
    const struct wire_error error = {.message = {text, sizeof text - 1}};
    struct base_list again;
    struct base_node *node;

    if (BASE_LIKELY(base_list_empty(&core->failing)) || core->retry_ns != UINT64_MAX) {
        return;
    }
    base_list_init(&again);
    base_list_splice(&again, &core->failing);
    while ((node = base_list_pop_front(&again)) != NULL) {
        struct broker_task *task = BASE_LIST_ENTRY(node, struct broker_task, node);
        enum wire_kind kind = task->payload.failing;

        if (core->retry_ns != UINT64_MAX) { /* memory ran out again */
            base_list_push_back(&core->failing, node);
            continue;
        }
        broker_task_set_state(task, BROKER_TASK_NEW); /* so that it may fail once more */
        if (kind == WIRE_KIND_CANCELLED) {
            broker_task_cancelled(core, task);
        } else {
            broker_task_fail(core, task, kind, &error);
        }
    }
}

/* --------------------------------------------------------------------- time */

static void too_late(struct broker_core *core, struct broker_task *task) {
    static const char text[] = "it was not started in time";
    const struct wire_error error = {.message = {text, sizeof text - 1}};

    broker_task_detach(core, task);
    broker_task_fail(core, task, WIRE_KIND_DEADLINE, &error);
}

void broker_task_timer(struct broker_core *core, struct broker_task *task) {
    switch ((enum broker_task_state)task->state) {
    case BROKER_TASK_DELAYED:
        broker_queue_add(core, task, false);
        break;
    case BROKER_TASK_HELD:
    case BROKER_TASK_QUEUED:
    case BROKER_TASK_SUSPECT:
        too_late(core, task);
        break;
    case BROKER_TASK_LEASED:
        /* It may still wait at its worker: if it comes back, it is too late. */
        (void)broker_recall(core, task);
        break;
    case BROKER_TASK_NEW:
    case BROKER_TASK_ABANDONED:
    case BROKER_TASK_FAILING:
    case BROKER_TASK_ENDED:
        break;
    }
}
