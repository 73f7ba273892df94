/* Classes, CANCEL, leaving, and what goes back to a client. */
#include "broker/client.h"

#include <stdlib.h>
#include <string.h>

#include "broker/core_private.h"
#include "broker/credit.h"
#include "broker/outbox.h"
#include "broker/queue.h"
#include "broker/recall.h"
#include "broker/router.h"
#include "broker/session.h"
#include "broker/slots.h"
#include "broker/task.h"
#include "broker/timer.h"

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
    base_list_init(&client->clogged);
    broker_log_peer(core, false, "client joins", &client->session, "%s", "");
    return &client->session;
}

/* ------------------------------------------------------------------ leaving */

void broker_client_drop(struct broker_core *core, struct broker_task *task) {
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
        broker_client_drop(core, task);
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
    BASE_ASSERT(client->expected_bytes == 0 && base_list_empty(&client->clogged));
    client->due_bytes = 0;
    wire_writer_free(client->outcomes);
    wire_writer_free(client->verdicts);
    wire_writer_free(client->started);
    client->outcomes = client->verdicts = client->started = NULL;
}

void broker_client_leave(struct broker_core *core, struct broker_client *client) {
    broker_log_peer(core, false, "client leaves", &client->session, "tasks=%u", client->task_count);
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
    if (broker_class_of(client, define.class_index) != NULL) {
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
    core->taken_in += batch.entry_count;
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
