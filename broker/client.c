/* Classes, SUBMIT, CANCEL, and what goes back to a client. */
#include "broker/internal.h"

#include <stdlib.h>
#include <string.h>

struct broker_session *broker_client_new(struct broker_core *core, const struct wire_hello *hello) {
    struct broker_client *client = calloc(1, sizeof *client);

    if (client == NULL) {
        return NULL;
    }
    if (!broker_session_init(core, &client->session, hello)) {
        free(client);
        return NULL;
    }
    base_list_init(&client->queues);
    base_list_init(&client->turns);
    broker_log(core, false, "client %s joins: pid %lld on %s", client->session.name,
               (long long)client->session.pid, client->session.host);
    return &client->session;
}

/* ------------------------------------------------------------------ leaving */

/* Drops a task that its client doesn't want any more, and says nothing about it. */
static void drop(struct broker_core *core, struct broker_task *task) {
    if (task->state == BROKER_TASK_LEASED) {
        broker_abandon(core, task);
        return;
    }
    broker_task_detach(core, task);
    broker_task_end(core, task);
}

static void drop_all(struct broker_core *core, struct broker_client *client) {
    uint64_t cursor = 0;
    struct broker_task *task;

    while ((task = broker_slot_next(core, &client->slots, &cursor)) != NULL) {
        drop(core, task);
    }
    BASE_ASSERT(client->task_count == 0 && client->task_bytes == 0);
}

void broker_client_clear(struct broker_core *core, struct broker_client *client) {
    drop_all(core, client);
    BASE_LIST_FOREACH(&client->queues, node) {
        broker_queue_free(core, BASE_LIST_ENTRY(node, struct broker_queue, in_client));
    }
    BASE_ASSERT(base_list_empty(&client->turns));
    for (uint32_t i = 0; i < client->class_room; i++) {
        free(client->classes[i]);
    }
    free(client->classes);
    client->classes = NULL;
    client->class_room = 0;
    broker_slots_fini(core, &client->slots);
    broker_credit_leave(core, client);
    client->credit_news = false;
    client->clogged = false;
    wire_writer_free(client->outcomes);
    wire_writer_free(client->verdicts);
    wire_writer_free(client->started);
    client->outcomes = client->verdicts = client->started = NULL;
}

void broker_client_leave(struct broker_core *core, struct broker_client *client) {
    broker_log(core, false, "client %s leaves: pid %lld on %s", client->session.name,
               (long long)client->session.pid, client->session.host);
    broker_client_clear(core, client);
    broker_session_free(core, &client->session);
}

static void trim_writer(struct wire_writer **writer) {
    if (*writer != NULL && wire_writer_count(*writer) == 0) {
        wire_writer_free(*writer);
        *writer = NULL;
    }
}

void broker_client_trim(struct broker_client *client) {
    trim_writer(&client->outcomes);
    trim_writer(&client->verdicts);
    trim_writer(&client->started);
}

/* ------------------------------------------------------------------ classes */

static struct broker_class *class_of(const struct broker_client *client, uint64_t index) {
    return index < client->class_room ? client->classes[index] : NULL;
}

static bool class_reserve(struct broker_client *client, uint32_t index) {
    uint32_t room = client->class_room == 0 ? 16 : client->class_room;
    struct broker_class **classes;

    if (index < client->class_room) {
        return true;
    }
    while (room <= index) {
        room *= 2;
    }
    classes = realloc(client->classes, room * sizeof(struct broker_class *));
    if (classes == NULL) {
        return false;
    }
    memset(classes + client->class_room, 0, (room - client->class_room) * sizeof *classes);
    client->classes = classes;
    client->class_room = room;
    return true;
}

enum broker_handled broker_on_define(struct broker_core *core, struct broker_session *session,
                                     struct wire_message *message, struct wire_fault *fault) {
    struct broker_client *client = broker_client_of(session);
    struct wire_define define;
    struct broker_class *class;

    if (!wire_define_decode(message, &define, fault)) {
        return BROKER_REFUSED;
    }
    if (class_of(client, define.class_index) != NULL) {
        broker_fault(fault, WIRE_REJECT_MALFORMED, "DEFINE: class: %u is defined already",
                     define.class_index);
        return BROKER_REFUSED;
    }
    class = calloc(1, sizeof *class);
    if (class == NULL || !class_reserve(client, define.class_index)) {
        free(class);
        return BROKER_NOMEM;
    }
    class->queue = broker_queue_get(core, client, &define, fault);
    if (class->queue == NULL) {
        free(class);
        return fault->text[0] == '\0' ? BROKER_NOMEM : BROKER_REFUSED;
    }
    class->client = client;
    class->queue_ns = define.queue_ms * BROKER_MS;
    class->run_ms = define.run_ms;
    class->retry_ns = define.retry_ms * BROKER_MS;
    class->retries = define.retries;
    class->max_attempts = define.max_attempts;
    class->flags = define.flags;
    client->classes[define.class_index] = class;
    return BROKER_DONE;
}

/* ------------------------------------------------------------------- SUBMIT */

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

static bool set_deadline(struct broker_core *core, struct broker_task *task) {
    struct broker_extra *extra = broker_task_extra(core, task);

    if (extra == NULL) {
        return false;
    }
    extra->start_by_ns = broker_after(core, task->class->queue_ns);
    broker_timer_set(core, &extra->timer, extra->start_by_ns);
    return true;
}

/* Finds a place for the task's id. REFUSED: it has one already, since the message came before, and
 * nobody had memory for the rest of it. */
static enum broker_handled take_slot(struct broker_core *core, struct broker_client *client,
                                     struct broker_task *task, struct wire_fault *fault) {
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
        drop(core, holder);
        return take_slot(core, client, task, fault);
    case BROKER_SLOT_BEYOND:
        broker_fault(fault, WIRE_REJECT_LIMIT, "SUBMIT: id: its slot is not below %u",
                     BROKER_SLOTS_MAX);
        return BROKER_REFUSED;
    case BROKER_SLOT_NOMEM:
        break;
    }
    return BROKER_NOMEM;
}

static enum broker_handled submit_one(struct broker_core *core, struct broker_class *class,
                                      const struct wire_entry *entry, struct wire_fault *fault) {
    struct broker_task *task = broker_task_new(core, class, entry, (uint32_t)entry->key[1]);
    enum broker_handled handled;

    if (BASE_UNLIKELY(task == NULL)) {
        return BROKER_NOMEM;
    }
    handled = take_slot(core, class->client, task, fault);
    if (BASE_UNLIKELY(handled != BROKER_DONE)) {
        broker_task_unmake(core, task);
        return handled == BROKER_REFUSED && fault->text[0] == '\0' ? BROKER_DONE : handled;
    }
    core->stats.submitted++;
    if (BASE_UNLIKELY(class->queue_ns != 0) && !set_deadline(core, task)) {
        handled = BROKER_NOMEM;
    } else if (BASE_UNLIKELY(entry->key[2] != 0)) {
        handled = resent(core, task);
    } else {
        broker_queue_add(core, task, false);
    }
    if (BASE_UNLIKELY(handled == BROKER_NOMEM)) {
        broker_task_end(core, task);
        core->stats.submitted--;
    }
    return handled;
}

/* Takes back the first `count` tasks of a message that turned out to be wrong further on. */
static void undo(struct broker_core *core, struct broker_client *client, struct wire_batch batch,
                 uint32_t count) {
    struct wire_entry entry;

    for (; count > 0 && wire_batch_next(&batch, &entry); count--) {
        struct broker_task *task = broker_slot_find(core, &client->slots, entry.values[0]);

        if (task != NULL) {
            drop(core, task);
            core->stats.submitted--;
        }
    }
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
    enum broker_handled handled = BROKER_DONE;
    struct broker_class *class = NULL;
    struct wire_batch batch, start;
    struct wire_entry entry;
    uint32_t count = 0;

    if (!wire_batch_open(&batch, message, fault)) {
        return BROKER_REFUSED;
    }
    if (core->draining) {
        broker_fault(fault, WIRE_REJECT_DRAINING, "SUBMIT: the broker is stopping");
        return BROKER_REFUSED;
    }
    if (!broker_credit_use(core, client, batch.entry_count, payload_bytes(message))) {
        broker_fault(fault, WIRE_REJECT_LIMIT, "SUBMIT: %u tasks, %llu bytes are over the credit",
                     batch.entry_count, (unsigned long long)payload_bytes(message));
        return BROKER_REFUSED;
    }
    start = batch;
    fault->text[0] = '\0';
    for (; handled == BROKER_DONE && wire_batch_next(&batch, &entry); count++) {
        if (entry.new_group) {
            class = class_of(client, entry.key[0]);
            if (class == NULL) {
                broker_fault(fault, WIRE_REJECT_MALFORMED, "SUBMIT: class: %u is not defined",
                             (unsigned)entry.key[0]);
                handled = BROKER_REFUSED;
                break;
            }
        }
        handled = submit_one(core, class, &entry, fault);
    }
    if (BASE_UNLIKELY(handled != BROKER_DONE)) {
        broker_credit_unuse(core, client, batch.entry_count, payload_bytes(message));
    }
    if (BASE_UNLIKELY(handled == BROKER_REFUSED)) {
        undo(core, client, start, count);
    }
    return handled;
}

/* ------------------------------------------------------------------- CANCEL */

bool broker_verdict(struct broker_core *core, struct broker_client *client, uint64_t id,
                    bool cancelled) {
    uint64_t key = cancelled;

    return broker_session_put(core, &client->session, &client->verdicts, WIRE_VERDICTS, &key, &id,
                              NULL, 0, NULL);
}

/* Waits for somebody's word: that of the worker, or of whoever may claim it. */
static bool cancel_later(struct broker_core *core, struct broker_task *task) {
    if (task->state == BROKER_TASK_LEASED && !broker_recall(core, task)) {
        return false;
    }
    task->flags |= BROKER_TASK_CANCELLING;
    return true;
}

static bool cancel_one(struct broker_core *core, struct broker_client *client, uint64_t id) {
    struct broker_task *task = broker_slot_find(core, &client->slots, id);

    if (task == NULL) {
        return broker_verdict(core, client, id, false);
    }
    if ((task->flags & BROKER_TASK_CANCELLING) != 0) {
        return true; /* the answer on its way is this one's too */
    }
    if ((task->flags & BROKER_TASK_STARTED) != 0 || task->state == BROKER_TASK_FAILING) {
        return broker_verdict(core, client, id, false);
    }
    if (task->state == BROKER_TASK_LEASED || task->state == BROKER_TASK_HELD) {
        return cancel_later(core, task);
    }
    if (!broker_verdict(core, client, id, true)) {
        return false;
    }
    core->stats.cancelled++;
    broker_task_detach(core, task);
    broker_task_end(core, task);
    return true;
}

enum broker_handled broker_on_cancel(struct broker_core *core, struct broker_session *session,
                                     struct wire_message *message, struct wire_fault *fault) {
    struct broker_client *client = broker_client_of(session);
    struct wire_batch batch;
    struct wire_entry entry;

    if (!wire_batch_open(&batch, message, fault)) {
        return BROKER_REFUSED;
    }
    while (wire_batch_next(&batch, &entry)) {
        if (!cancel_one(core, client, entry.values[0])) {
            return BROKER_NOMEM;
        }
    }
    return BROKER_DONE;
}

/* ---------------------------------------------------------------- going out */

static bool finish(struct broker_core *core, struct broker_client *client,
                   struct wire_writer *writer, enum wire_type type) {
    return writer == NULL || wire_writer_count(writer) == 0 ||
           broker_session_finish(core, &client->session, writer, type);
}

static bool finish_credit(struct broker_core *core, struct broker_client *client) {
    const uint64_t extra[] = {client->granted_tasks, client->granted_bytes};
    struct wire_message *message;

    if (!client->credit_news) {
        return true;
    }
    if (core->credits == NULL) {
        core->credits = wire_writer_new(WIRE_CREDIT);
    }
    message = core->credits == NULL ? NULL : wire_writer_finish(core->credits, extra);
    if (message == NULL || !broker_session_post(&client->session, message)) {
        wire_message_unref(message);
        return false;
    }
    client->credit_news = false;
    return true;
}

bool broker_client_flush(struct broker_core *core, struct broker_client *client) {
    broker_credit_grant(core, client);
    return finish(core, client, client->started, WIRE_STARTED) &&
           finish(core, client, client->outcomes, WIRE_OUTCOMES) &&
           finish(core, client, client->verdicts, WIRE_VERDICTS) && finish_credit(core, client);
}
