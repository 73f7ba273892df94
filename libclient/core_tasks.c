#include "libclient/core_private.h"

#include <string.h>

#include "base/fetch.h"

/* Submitting, and what comes back. These are the paths that every task takes: see core_private.h for
 * the states. */

static bool fits(const struct client_core *core, const struct client_task *task) {
    return core->used_bytes + task->size <= core->credit_bytes;
}

/* One task larger than all the credit there is may go alone, unless the one before it did so and no
 * credit has come since (docs/protocol.md section 5). */
static bool has_credit(const struct client_core *core, const struct client_task *task) {
    if (core->used_tasks >= core->credit_tasks) {
        return false;
    }
    return fits(core, task) || (core->sent_count == 0 && core->used_bytes <= core->credit_bytes);
}

/* Makes a message of the batch that has formed. False: no memory. */
static bool finish_batch(struct client_core *core, uint64_t now_ns) {
    struct wire_message *message;

    if (wire_writer_count(core->submits) == 0) {
        return true;
    }
    if (core->held_count > 0 || !client_reserve(core, 1)) {
        return false;
    }
    message = wire_writer_finish(core->submits, NULL);
    if (message == NULL) {
        return false;
    }
    client_post(core, now_ns, message);
    return true;
}

/* For how long a task with a limit has waited here: the broker is to count on from that. */
static uint64_t waited_ms(const struct client_core *core, uint64_t now_ns,
                          const struct client_task *task) {
    uint64_t queue_ns, left_ns;

    if (BASE_LIKELY(task->start_by_ns == 0)) {
        return 0;
    }
    queue_ns = client_class_at(core, task->class_index)->queue_ns;
    left_ns = task->start_by_ns > now_ns ? task->start_by_ns - now_ns : 0;
    return queue_ns > left_ns ? (queue_ns - left_ns) / 1000000 : 0;
}

static enum wire_put put(struct client_core *core, uint64_t now_ns,
                         const struct client_task *task) {
    const uint64_t key[] = {
        task->class_index, task->attempt,
        wire_past((task->flags & CLIENT_TASK_RESENT) != 0, waited_ms(core, now_ns, task))};
    enum wire_put status =
        wire_writer_put(core->submits, key, &task->id, task->data, task->size, task->large);

    if (BASE_UNLIKELY(status == WIRE_PUT_FULL)) {
        if (!finish_batch(core, now_ns)) {
            return WIRE_PUT_NOMEM;
        }
        status =
            wire_writer_put(core->submits, key, &task->id, task->data, task->size, task->large);
        BASE_ASSERT(status != WIRE_PUT_FULL);
    }
    return status;
}

/* Puts a task, which is in no list, into the batch. False: no credit or no memory, it stays as it
 * was. */
static bool send_task(struct client_core *core, uint64_t now_ns, struct client_task *task) {
    struct client_class *cls = client_class_at(core, task->class_index);

    if (!has_credit(core, task)) {
        return false;
    }
    /* What has been given up since it was put into a batch is still there: alone means none of it. */
    if (BASE_UNLIKELY(!fits(core, task)) && !finish_batch(core, now_ns)) {
        client_starve(core, now_ns);
        return false;
    }
    if (BASE_UNLIKELY(cls->round != core->round) && !client_class_define(core, now_ns, cls)) {
        client_starve(core, now_ns);
        return false;
    }
    if ((task->flags & CLIENT_TASK_RESENT) == 0 && !client_slot_take(&core->slots, task)) {
        client_starve(core, now_ns);
        return false;
    }
    if (BASE_UNLIKELY(put(core, now_ns, task) != WIRE_PUT_OK)) {
        if ((task->flags & CLIENT_TASK_RESENT) == 0) {
            client_slot_release(&core->slots, task);
        }
        client_starve(core, now_ns);
        return false;
    }
    core->used_tasks++;
    core->used_bytes += task->size;
    task->state = CLIENT_TASK_SENT;
    base_list_push_back(&core->sent, &task->node);
    core->sent_count++;
    return true;
}

/* New tasks of one class that come one after the other. The first goes the long way, by send_task; if that
 * succeeds the others can go the short one. */
struct run {
    uint32_t class_index; /* UINT32_MAX: of none yet */
    bool open;            /* the batch's last entry is of this run */
    uint64_t start_by_ns;
    uint64_t key[WIRE_KEY_MAX];
};

static void begin_run(const struct client_core *core, uint64_t now_ns, struct run *run,
                      uint32_t class_index) {
    uint64_t queue_ns = client_class_at(core, class_index)->queue_ns;

    run->class_index = class_index;
    run->open = false;
    run->start_by_ns = queue_ns == 0 ? 0 : now_ns + queue_ns;
    run->key[0] = class_index;
    run->key[1] = 1;
    run->key[2] = wire_past(false, 0);
}

/* Puts a new task into the batch behind the one before it. False: it has to go the long way; nothing
 * happened. */
static inline bool send_short(struct client_core *core, const struct run *run,
                              struct client_task *task) {
    if (BASE_UNLIKELY(core->used_tasks >= core->credit_tasks || !fits(core, task) ||
                      !client_slot_take(&core->slots, task))) {
        return false;
    }
    if (BASE_UNLIKELY(wire_writer_put_again(core->submits, (struct wire_shape)WIRE_SHAPE_SUBMIT,
                                            run->key, &task->id, task->data, task->size,
                                            task->large) != WIRE_PUT_OK)) {
        client_slot_release(&core->slots, task);
        return false;
    }
    core->used_tasks++;
    core->used_bytes += task->size;
    core->sent_count++;
    task->state = CLIENT_TASK_SENT;
    base_list_push_new(&core->sent, &task->node);
    return true;
}

/* Has a task (or where one may be) come near: others have written it, or nobody has read it for long. */
static inline void fetch(const void *task) {
    base_fetch(task, 0);
    base_fetch(task, offsetof(struct client_task, state));
}

void client_tasks_submit(struct client_core *core, uint64_t now_ns,
                         const struct client_event *event) {
    bool direct = client_connected(core) && core->waiting_count == 0;
    uint32_t left = event->rest == NULL ? UINT32_MAX : CLIENT_SUBMIT_MAX;
    struct client_task *first = event->task;
    struct run run = {.class_index = UINT32_MAX};

    for (; first != NULL && left > 0; left--) {
        struct client_task *task = first;

        first = task->next;
        fetch(first);
        fetch(base_fetch_beyond(task, first, 4));
        if (BASE_UNLIKELY(task->class_index != run.class_index)) {
            begin_run(core, now_ns, &run, task->class_index);
        }
        task->flags = 0;
        task->attempt = 1;
        task->start_by_ns = run.start_by_ns;
        if (BASE_LIKELY(run.open) && BASE_LIKELY(send_short(core, &run, task))) {
            continue;
        }
        base_node_init(&task->node);
        direct = direct && send_task(core, now_ns, task);
        run.open = direct;
        if (direct) {
            continue;
        }
        task->state = CLIENT_TASK_WAITING;
        base_list_push_back(&core->waiting, &task->node);
        core->waiting_count++;
        if (task->start_by_ns != 0 && task->start_by_ns < core->expiry_ns) {
            core->expiry_ns = task->start_by_ns;
        }
    }
    BASE_ASSERT(first == NULL || event->rest != NULL);
    if (event->rest != NULL) {
        *event->rest = first;
    }
}

void client_tasks_flush(struct client_core *core, uint64_t now_ns) {
    struct base_node *node;

    while ((node = base_list_first(&core->waiting)) != NULL) {
        struct client_task *task = BASE_LIST_ENTRY(node, struct client_task, node);

        base_list_remove(node);
        if (!send_task(core, now_ns, task)) {
            base_list_push_front(&core->waiting, node);
            break;
        }
        core->waiting_count--;
    }
    if (!finish_batch(core, now_ns)) {
        client_starve(core, now_ns);
    }
}

void client_tasks_restart(struct client_core *core) {
    BASE_LIST_FOREACH(&core->sent, node) {
        struct client_task *task = BASE_LIST_ENTRY(node, struct client_task, node);

        task->state = CLIENT_TASK_WAITING;
        task->flags |= CLIENT_TASK_RESENT;
    }
    base_list_splice(&core->sent, &core->waiting);
    base_list_splice(&core->waiting, &core->sent);
    core->waiting_count += core->sent_count;
    core->sent_count = 0;
    core->credit_tasks = 0;
    core->credit_bytes = 0;
    core->used_tasks = 0;
    core->used_bytes = 0;
    core->cancels.told = 0;
    core->round++;
    wire_writer_clear(core->submits);
    wire_writer_clear(core->cancel_writer);
}

/* Takes a task out of its list; its id is ended already, if it had one. */
static inline void take_out(struct client_core *core, struct client_task *task) {
    if (BASE_LIKELY(task->state == CLIENT_TASK_SENT)) {
        core->sent_count--;
    } else {
        BASE_ASSERT(task->state == CLIENT_TASK_WAITING);
        core->waiting_count--;
    }
    base_list_remove(&task->node);
    task->state = CLIENT_TASK_GONE;
    task->next = NULL;
}

void client_task_leave(struct client_core *core, struct client_task *task) {
    if (client_task_named(task)) {
        client_slot_release(&core->slots, task);
    }
    take_out(core, task);
}

void client_tasks_break(struct client_core *core, const struct client_event *event) {
    struct client_task *first = NULL, **last = &first;
    struct client_action *action;

    base_list_splice(&core->sent, &core->waiting);
    BASE_LIST_FOREACH(&core->sent, node) {
        struct client_task *task = BASE_LIST_ENTRY(node, struct client_task, node);

        client_task_leave(core, task);
        *last = task;
        last = &task->next;
    }
    /* What has not left yet leaves no more. */
    wire_writer_clear(core->submits);
    wire_writer_clear(core->cancel_writer);
    client_cancels_settle(core);
    if (first == NULL) {
        return;
    }
    action = client_act(core, CLIENT_RESOLVE);
    action->task = first;
    action->chain = true;
    action->kind = event->kind;
    action->data = event->data;
    action->size = event->size;
}

/* Credit only ever grows in a stream; a late message may bring an older one. */
static void take_credit(struct client_core *core, const struct wire_batch *batch) {
    if (batch->extra[0] > core->credit_tasks) {
        core->credit_tasks = batch->extra[0];
    }
    if (batch->extra[1] > core->credit_bytes) {
        core->credit_bytes = batch->extra[1];
    }
}

/* In two passes, because the tasks have been out of reach for long: when the last of a message's entries
 * is read, the first tasks are near. */
void client_tasks_outcomes(struct client_core *core, struct wire_batch *batch) {
    size_t first = core->action_count;
    struct wire_entry entry;

    take_credit(core, batch);
    while (wire_batch_next_quick(batch, (struct wire_shape)WIRE_SHAPE_OUTCOMES, &entry)) {
        struct client_task *task = client_slot_end(&core->slots, entry.values[0]);
        struct client_action *action;

        if (BASE_UNLIKELY(task == NULL)) {
            continue;
        }
        fetch(task);
        action = client_act(core, CLIENT_RESOLVE);
        action->task = task;
        action->kind = (enum wire_kind)entry.key[0]; /* the batch's check has seen to it */
        action->data = entry.data;
        action->size = entry.size;
        action->large = entry.large;
    }
    for (size_t i = first; i < core->action_count; i++) {
        take_out(core, core->actions[i].task);
    }
    client_cancels_settle(core);
}

void client_tasks_verdicts(struct client_core *core, struct wire_batch *batch) {
    struct wire_entry entry;

    while (wire_batch_next(batch, &entry)) {
        struct client_task *task = client_slot_find(&core->slots, entry.values[0]);
        bool asked = task != NULL && (task->flags & CLIENT_TASK_CANCELLING) != 0;
        struct client_action *action;

        if (task == NULL || (entry.key[0] == 0 && !asked)) {
            continue;
        }
        task->flags &= (uint8_t)~CLIENT_TASK_CANCELLING;
        if (entry.key[0] == 0) {
            action = client_act(core, CLIENT_VERDICT);
            action->task = task;
            continue;
        }
        client_task_leave(core, task);
        /* Nobody waits for a verdict that was given up; but the task is cancelled all the same. */
        action = client_act(core, asked ? CLIENT_VERDICT : CLIENT_RESOLVE);
        action->task = task;
        action->yes = asked;
        action->kind = WIRE_KIND_CANCELLED;
    }
    client_cancels_settle(core);
}

void client_tasks_started(struct client_core *core, struct wire_batch *batch) {
    struct wire_entry entry;

    while (wire_batch_next(batch, &entry)) {
        struct client_task *task = client_slot_find(&core->slots, entry.values[0]);

        if (task == NULL || (task->flags & CLIENT_TASK_BEGUN) != 0) {
            continue;
        }
        task->flags |= CLIENT_TASK_BEGUN;
        client_act(core, CLIENT_BEGAN)->task = task;
    }
}
