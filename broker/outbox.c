/* What goes out of a session: handlers put entries into its writers, whose messages wait in the outbox
 * for the next FLUSH. */
#include "broker/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "broker/client.h"
#include "broker/credit.h"
#include "broker/worker.h"

#define OUTBOX_ROOM_FIRST 4u
#define OUTBOX_ROOM_SPARE 64u

void broker_session_count(struct broker_core *core, struct broker_session *session) {
    if (session->role != WIRE_CLIENT) {
        return;
    }
    core->memory += session->link.kept_bytes;
    core->memory -= session->counted_bytes;
    session->counted_bytes = session->link.kept_bytes;
    if (!session->lost) {
        broker_credit_unclog(core, broker_client_of(session));
    }
}

void broker_session_mark(struct broker_core *core, struct broker_session *session,
                         struct wire_message *message) {
    if (message == NULL) {
        return; /* the link's heartbeats bring it up again */
    }
    if (!session->bound) {
        wire_message_unref(message);
        return;
    }
    link_mark(&session->link, core->now_ns, message);
    broker_send(core, session->address, message);
}

bool broker_session_post(struct broker_session *session, struct wire_message *message) {
    if (session->outbox_count == session->outbox_room) {
        uint32_t room = session->outbox_room == 0 ? OUTBOX_ROOM_FIRST : session->outbox_room * 2;
        struct wire_message **outbox = realloc(session->outbox, room * sizeof *outbox);

        if (outbox == NULL) {
            return false;
        }
        session->outbox = outbox;
        session->outbox_room = room;
    }
    session->outbox[session->outbox_count++] = message;
    return true;
}

bool broker_session_stop(struct broker_core *core, struct broker_session *session) {
    struct wire_message *stop = wire_plain_encode(WIRE_STOP);

    if (stop == NULL || !broker_session_post(session, stop)) {
        wire_message_unref(stop);
        broker_starve(core);
        return false;
    }
    broker_session_dirty(core, session);
    return true;
}

/* What stands before the groups; it is known only when the message ends. */
static void fill_extra(struct broker_session *session, enum wire_type type, uint64_t *extra) {
    if (type == WIRE_OUTCOMES) {
        extra[0] = broker_client_of(session)->granted_tasks;
        extra[1] = broker_client_of(session)->granted_bytes;
    } else if (type == WIRE_RECALL) {
        extra[0] = broker_worker_of(session)->recall_count;
    }
}

bool broker_session_finish(struct broker_core *core, struct broker_session *session,
                           struct wire_writer *writer, enum wire_type type) {
    uint64_t extra[WIRE_EXTRA_MAX] = {0};
    struct wire_message *message;

    fill_extra(session, type, extra);
    /* The place first: a finished message can't be put back. */
    if (!broker_session_post(session, NULL)) {
        broker_starve(core);
        return false;
    }
    message = wire_writer_finish(writer, extra);
    if (message == NULL) {
        session->outbox_count--;
        broker_starve(core);
        return false;
    }
    session->outbox[session->outbox_count - 1] = message;
    if (type == WIRE_OUTCOMES) {
        broker_client_of(session)->credit_news = false;
    } else if (type == WIRE_RECALL) {
        broker_worker_of(session)->recall_count = 0;
    }
    broker_session_dirty(core, session);
    return true;
}

static bool put_slow(struct broker_core *core, struct broker_session *session,
                     struct wire_writer **writer, enum wire_type type) {
    if (*writer == NULL) {
        *writer = wire_writer_new(type);
        if (*writer == NULL) {
            broker_starve(core);
        }
        return *writer != NULL;
    }
    return broker_session_finish(core, session, *writer, type);
}

bool broker_session_put(struct broker_core *core, struct broker_session *session,
                        struct wire_writer **writer, enum wire_type type, const uint64_t *key,
                        const uint64_t *entry, const void *data, size_t size,
                        struct wire_blob *large) {
    enum wire_put put;

    if (BASE_UNLIKELY(*writer == NULL) && !put_slow(core, session, writer, type)) {
        return false;
    }
    put = wire_writer_put(*writer, key, entry, data, size, large);
    if (BASE_UNLIKELY(put == WIRE_PUT_FULL)) {
        if (!put_slow(core, session, writer, type)) {
            return false;
        }
        put = wire_writer_put(*writer, key, entry, data, size, large);
        BASE_ASSERT(put != WIRE_PUT_FULL);
    }
    if (BASE_UNLIKELY(put != WIRE_PUT_OK)) {
        broker_starve(core);
        return false;
    }
    broker_session_dirty(core, session);
    return true;
}

/* Hands over what the outbox has. Without memory the rest stays there. */
static bool send_outbox(struct broker_core *core, struct broker_session *session) {
    uint32_t posted = 0;

    while (posted < session->outbox_count &&
           link_post(&session->link, core->now_ns, session->outbox[posted])) {
        if (session->bound) {
            broker_send(core, session->address, session->outbox[posted]);
        } else {
            wire_message_unref(session->outbox[posted]);
        }
        posted++;
    }
    session->outbox_count -= posted;
    if (session->outbox_count > 0) {
        memmove(session->outbox, session->outbox + posted,
                session->outbox_count * sizeof *session->outbox);
    } else if (session->outbox_room > OUTBOX_ROOM_SPARE) {
        free(session->outbox);
        session->outbox = NULL;
        session->outbox_room = 0;
    }
    return session->outbox_count == 0;
}

/* A worker that leaves waits for the acknowledgement of all that it has said. */
static bool ack_due(struct broker_session *session) {
    return link_ack_due(&session->link) ||
           (session->role == WIRE_WORKER && broker_worker_of(session)->draining &&
            session->link.received != session->link.told);
}

void broker_session_flush(struct broker_core *core, struct broker_session *session) {
    bool all = true;

    switch (session->role) {
    case WIRE_CLIENT:
        all = broker_client_flush(core, broker_client_of(session));
        break;
    case WIRE_WORKER:
        all = broker_worker_flush(core, broker_worker_of(session));
        break;
    case WIRE_ADMIN:
    case WIRE_SUPERVISOR:
        break;
    }
    all = send_outbox(core, session) && all;
    if (all && session->role == WIRE_CLIENT) {
        broker_client_of(session)->due_bytes = 0; /* the link keeps them now */
    }
    if (ack_due(session)) {
        broker_session_mark(core, session, wire_heartbeat_encode(session->link.sent));
    }
    broker_session_count(core, session);
    if (!all) {
        broker_starve(core);
        broker_session_dirty(core, session);
    }
}

void broker_outbox_drop(struct broker_session *session) {
    for (uint32_t i = 0; i < session->outbox_count; i++) {
        wire_message_unref(session->outbox[i]);
    }
    session->outbox_count = 0;
}
