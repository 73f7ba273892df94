/* SUBMIT. Almost all tasks are new, without a deadline, in their first attempt: for these there is a
 * short way, which counts what it did once for a run of them. */
#include "broker/client.h"

#include "broker/claims.h"
#include "broker/core_private.h"
#include "broker/credit.h"
#include "broker/outbox.h"
#include "broker/owner.h"
#include "broker/queue.h"
#include "broker/router.h"
#include "broker/session.h"
#include "broker/slots.h"
#include "broker/task.h"
#include "broker/timer.h"

/* ------------------------------------------------------------- the long way */

/* What an earlier epoch or stream of this client had: somebody may be running it. */
static enum broker_handled resent(struct broker_core *core, struct broker_task *task) {
    static const char text[] = "it may have run when the broker or its connection was lost";
    const struct wire_error error = {.message = {text, sizeof text - 1}};
    enum broker_handled matched = broker_claim_match(core, task);

    if (matched != BROKER_REFUSED) {
        return matched;
    }
    if (core->settling) {
        broker_task_set_state(task, BROKER_TASK_HELD);
        base_list_push_back(&core->held, &task->node);
    } else if ((task->class->flags & WIRE_FLAG_AT_MOST_ONCE) != 0) {
        broker_task_fail(core, task, WIRE_KIND_LOST, &error);
    } else {
        broker_queue_add(core, task, false);
    }
    return BROKER_DONE;
}

/* What it has waited at its client counts: the limit is from the user's call on. */
static bool set_deadline(struct broker_core *core, struct broker_task *task, uint64_t waited_ms) {
    struct broker_extra *extra = broker_task_extra(core, task);
    uint64_t waited_ns = waited_ms * BROKER_MS, queue_ns = task->class->queue_ns;

    if (extra == NULL) {
        return false;
    }
    extra->start_by_ns = broker_after(core, queue_ns > waited_ns ? queue_ns - waited_ns : 0);
    broker_timer_set(core, &extra->timer, extra->start_by_ns);
    return true;
}

/* Finds a place for the task's id. REFUSED: it has one already, since the message came before, and
 * there was no memory for the rest of it. */
static enum broker_handled take_slot(struct broker_core *core, struct broker_client *client,
                                     struct broker_task *task) {
    struct broker_task *holder;

    switch (broker_slot_take(core, &client->slots, task)) {
    case BROKER_SLOT_TAKEN:
        return BROKER_DONE;
    case BROKER_SLOT_BUSY:
        holder = broker_slot_holder(core, &client->slots, task->id);
        if (holder->id == task->id) {
            return BROKER_REFUSED;
        }
        /* The client uses the slot again, so it has given up the task that was there. */
        broker_client_drop(core, holder);
        return take_slot(core, client, task);
    case BROKER_SLOT_BEYOND:
        BASE_ASSERT(false); /* check_rest has seen to it */
        break;
    case BROKER_SLOT_NOMEM:
        break;
    }
    return BROKER_NOMEM;
}

/* It would never fit in. */
static void over_quota(struct broker_core *core, struct broker_task *task) {
    static const char text[] = "its arguments alone are over the byte quota of the client's key";
    const struct wire_error error = {.message = {text, sizeof text - 1}};

    broker_task_fail(core, task, WIRE_KIND_REJECTED, &error);
}

/* A task whose class is not there, since its DEFINE was refused. */
static enum broker_handled without_class(struct broker_core *core, struct broker_client *client,
                                         const struct wire_entry *entry) {
    static const char text[] = "its class is not defined: the broker has refused the DEFINE of it";
    const struct wire_error error = {
        .message = {text, sizeof text - 1},
        .host = broker_text_of(core->config.host),
        .pid = core->config.pid,
        .attempt = (uint32_t)entry->key[1],
    };
    const uint64_t kind = WIRE_KIND_REJECTED;

    base_buffer_clear(&core->scratch);
    if (!wire_error_encode(&error, &core->scratch) ||
        !broker_session_put(core, &client->session, &client->outcomes, WIRE_OUTCOMES, &kind,
                            &entry->values[0], core->scratch.data, core->scratch.size, NULL)) {
        return BROKER_NOMEM;
    }
    core->stats.submitted++;
    core->stats.failed++;
    return BROKER_DONE;
}

static enum broker_handled submit_one(struct broker_core *core, struct broker_class *class,
                                      const struct wire_entry *entry) {
    struct broker_task *task = broker_task_new(core, class, entry);
    enum broker_handled handled;

    if (task == NULL) {
        return BROKER_NOMEM;
    }
    handled = take_slot(core, class->client, task);
    if (handled != BROKER_DONE) {
        broker_task_unmake(core, task);
        return handled == BROKER_REFUSED ? BROKER_DONE : handled;
    }
    core->stats.submitted++;
    broker_meter_roll(&class->queue->demand->meter, core->now_ns);
    class->queue->demand->meter.now.submitted++;
    if (BASE_UNLIKELY(!broker_owner_allows(class->client, entry->size))) {
        over_quota(core, task);
    } else if (class->queue_ns != 0 &&
               !set_deadline(core, task, wire_past_waited_ms(entry->key[2]))) {
        handled = BROKER_NOMEM;
    } else if (wire_past_resent(entry->key[2])) {
        handled = resent(core, task);
    } else {
        broker_queue_add(core, task, false);
    }
    if (handled == BROKER_NOMEM) {
        broker_task_end(core, task);
        core->stats.submitted--;
        class->queue->demand->meter.now.submitted--;
    }
    return handled;
}

/* ------------------------------------------------------------ the short way */

/* A run of tasks of one class, and what those that went the short way are to be counted as. */
struct run {
    struct broker_class *class; /* NULL: it is not defined */
    bool plain;                 /* its tasks may go the short way */
    bool checked;               /* nothing of the message's rest can be refused */
    uint32_t count;
    uint64_t bytes;
};

static void count_run(struct broker_core *core, struct run *run) {
    struct broker_queue *queue;
    struct broker_client *client;

    if (run->count == 0) {
        return;
    }
    queue = run->class->queue;
    client = run->class->client;
    broker_ages_came(&queue->ages, run->count, core->now_ns);
    broker_meter_roll(&queue->demand->meter, core->now_ns);
    queue->demand->meter.now.submitted += run->count;
    client->task_count += run->count;
    client->task_bytes += run->bytes;
    core->memory += (uint64_t)run->count * BROKER_TASK_BYTES;
    core->stats.submitted += run->count;
    core->queued += run->count;
    queue->demand->queued += run->count;
    queue->count += run->count;
    if (queue->count == run->count) {
        broker_queue_wake(core, queue);
        broker_demand_watch(core, queue->demand);
    }
    run->count = 0;
    run->bytes = 0;
}

/* Queues one task whose id has a free place in a page that is there, and whose payload fits into the
 * record. False: it has to go the long way; nothing happened. */
static inline bool submit_short(struct broker_core *core, struct run *run,
                                const struct wire_entry *entry) {
    struct broker_class *class = run->class;
    struct broker_page *page = broker_slot_page(&class->client->slots, entry->values[0]);
    uint32_t slot = (uint32_t)entry->values[0] % BROKER_PAGE_SLOTS;
    struct broker_task *task;
    uint32_t index;

    if (BASE_UNLIKELY(entry->size > BROKER_INLINE_BYTES || page == NULL ||
                      page->index[slot] != BROKER_NO_TASK)) {
        return false;
    }
    task = base_slab_alloc(&core->tasks, &index, NULL);
    if (BASE_UNLIKELY(task == NULL)) {
        return false;
    }
    BASE_ASSERT(index <= BROKER_INDEX_MASK);
    page->index[slot] = index;
    page->live++;
    broker_task_init(task, class, entry, index, 1, BROKER_TASK_QUEUED);
    base_list_push_new(&class->queue->tasks, &task->node);
    run->count++;
    run->bytes += entry->size;
    return true;
}

/* Whether all that a task of a plain class does, the long way too, is to be queued in a place that was
 * free: then `undo` can take it back. */
static bool only_adds(const struct broker_client *client, const struct wire_entry *entry) {
    const struct broker_page *page = broker_slot_page(&client->slots, entry->values[0]);
    uint32_t slot = (uint32_t)entry->values[0];

    return slot < BROKER_SLOTS_MAX && broker_owner_allows(client, entry->size) &&
           (page == NULL || page->index[slot % BROKER_PAGE_SLOTS] == BROKER_NO_TASK);
}

/* Whether nothing from this entry on can be refused, so that effects which can't be taken back may
 * follow. False: *fault. */
static bool check_rest(struct wire_batch batch, struct wire_entry entry, struct wire_fault *fault) {
    do {
        if ((uint32_t)entry.values[0] >= BROKER_SLOTS_MAX) {
            broker_fault(fault, WIRE_REJECT_LIMIT, "SUBMIT: id: its slot is not below %u",
                         BROKER_SLOTS_MAX);
            return false;
        }
    } while (wire_batch_next(&batch, &entry));
    return true;
}

/* Takes back the first `count` tasks of a message that turned out to be wrong further on. None of them
 * was there before, and all they did was to be queued. */
static void undo(struct broker_core *core, struct broker_client *client, struct wire_batch batch,
                 uint32_t count) {
    struct wire_entry entry;

    for (; count > 0 && wire_batch_next(&batch, &entry); count--) {
        struct broker_task *task = broker_slot_find(core, &client->slots, entry.values[0]);

        if (task != NULL) {
            task->class->queue->demand->meter.now.submitted--;
            broker_client_drop(core, task);
            core->stats.submitted--;
        }
    }
}

/* An entry that doesn't go the short way. */
static __attribute__((noinline)) enum broker_handled submit_slowly(
    struct broker_core *core, struct broker_client *client, struct run *run,
    const struct wire_batch *batch, const struct wire_entry entry, struct wire_fault *fault) {
    count_run(core, run);
    if (!run->checked && !(run->plain && only_adds(client, &entry))) {
        if (!check_rest(*batch, entry, fault)) {
            return BROKER_REFUSED;
        }
        run->checked = true;
    }
    return run->class != NULL ? submit_one(core, run->class, &entry)
                              : without_class(core, client, &entry);
}

static enum broker_handled submit_all(struct broker_core *core, struct broker_client *client,
                                      struct wire_batch *batch, uint32_t *count,
                                      struct wire_fault *fault) {
    enum broker_handled handled = BROKER_DONE;
    struct run run = {.count = 0};
    struct wire_entry entry;

    for (*count = 0; wire_batch_next_quick(batch, (struct wire_shape)WIRE_SHAPE_SUBMIT, &entry);
         ++*count) {
        if (BASE_UNLIKELY(entry.new_group)) {
            count_run(core, &run);
            run.class = broker_class_of(client, entry.key[0]);
            run.plain = run.class != NULL && run.class->queue_ns == 0 && entry.key[1] == 1 &&
                        !wire_past_resent(entry.key[2]);
        }
        if (BASE_LIKELY(run.plain) && BASE_LIKELY(submit_short(core, &run, &entry))) {
            continue;
        }
        handled = submit_slowly(core, client, &run, batch, entry, fault);
        if (handled != BROKER_DONE) {
            break;
        }
    }
    count_run(core, &run);
    return handled;
}

static uint64_t payload_bytes(const struct wire_message *message) {
    uint64_t bytes = 0;

    for (uint32_t i = 1; i < message->frame_count; i++) {
        bytes += message->frames[i]->size;
    }
    return bytes;
}

enum broker_handled broker_on_submit(struct broker_core *core, struct broker_session *session,
                                     struct wire_message *message, struct wire_fault *fault) {
    struct broker_client *client = broker_client_of(session);
    uint64_t bytes = payload_bytes(message);
    enum broker_handled handled;
    struct wire_batch batch, start;
    uint32_t count;

    if (!wire_batch_open(&batch, message, fault)) {
        return BROKER_REFUSED;
    }
    if (core->draining) {
        broker_fault(fault, WIRE_REJECT_DRAINING, "SUBMIT: the broker is stopping");
        return BROKER_REFUSED;
    }
    if (!broker_credit_use(core, client, batch.entry_count, bytes)) {
        broker_fault(fault, WIRE_REJECT_LIMIT, "SUBMIT: %u tasks, %llu bytes are over the credit",
                     batch.entry_count, (unsigned long long)bytes);
        return BROKER_REFUSED;
    }
    core->taken_in += batch.entry_count;
    start = batch;
    handled = submit_all(core, client, &batch, &count, fault);
    broker_tasks_came(core);
    if (BASE_UNLIKELY(handled != BROKER_DONE)) {
        broker_credit_unuse(core, client, batch.entry_count, bytes);
    }
    if (BASE_UNLIKELY(handled == BROKER_REFUSED)) {
        undo(core, client, start, count);
    }
    return handled;
}
