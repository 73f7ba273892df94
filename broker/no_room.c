/* A peer has no memory to receive a message of ours that was announced. It would be sent again
 * for ever, so something takes its place that can be received, and the tasks are told what happened
 * (docs/protocol.md section 4). */
#include "broker/no_room.h"

#include <stdio.h>
#include <string.h>

#include "broker/core_private.h"
#include "broker/outbox.h"
#include "broker/recover.h"
#include "broker/router.h"
#include "broker/session.h"
#include "broker/worker.h"

/* A RUN without tasks, in the place of one that was too large. */
static struct wire_message *run_without(void) {
    struct wire_writer *writer = wire_writer_new(WIRE_RUN);
    struct wire_message *message = writer == NULL ? NULL : wire_writer_finish(writer, NULL);

    wire_writer_free(writer);
    return message;
}

static size_t largest(struct wire_batch batch) {
    struct wire_entry entry;
    size_t most = 0;

    while (wire_batch_next(&batch, &entry)) {
        most = entry.size > most ? entry.size : most;
    }
    return most;
}

/* Puts the entries of OUTCOMES into a writer, with an error where the largest value was. */
static bool put_all(struct broker_core *core, struct wire_writer *writer, struct wire_batch batch,
                    uint64_t bytes) {
    struct wire_error error = {.pid = core->config.pid};
    size_t most = largest(batch);
    struct wire_entry entry;
    bool good = true;
    char text[80];

    snprintf(text, sizeof text, "the client has no memory to receive its value: %llu bytes",
             (unsigned long long)bytes);
    error.message = (struct wire_text){text, strlen(text)};
    error.host = (struct wire_text){core->config.host, strlen(core->config.host)};
    base_buffer_clear(&core->scratch);
    good = wire_error_encode(&error, &core->scratch);
    while (good && wire_batch_next(&batch, &entry)) {
        static const uint64_t broken = WIRE_KIND_BROKEN;
        bool out = entry.size == most && entry.size >= WIRE_LARGE_BYTES_MIN;

        good = wire_writer_put(writer, out ? &broken : entry.key, entry.values,
                               out ? core->scratch.data : entry.data,
                               out ? core->scratch.size : entry.size,
                               out ? NULL : entry.large) == WIRE_PUT_OK;
    }
    return good;
}

static struct wire_message *outcomes_without(struct broker_core *core,
                                             const struct wire_batch *batch, uint64_t bytes) {
    struct wire_writer *writer = wire_writer_new(WIRE_OUTCOMES);
    struct wire_message *message = NULL;

    if (writer != NULL && put_all(core, writer, *batch, bytes)) {
        message = wire_writer_finish(writer, batch->extra);
    }
    wire_writer_free(writer);
    return message;
}

enum broker_handled broker_no_room(struct broker_core *core, struct broker_session *session,
                                   const struct wire_coming *coming) {
    struct wire_message *kept = link_kept_find(&session->link, coming->seq), *instead;
    struct wire_batch batch;
    struct wire_fault fault;

    /* It may have been replaced already, or be of an older stream. */
    if (kept == NULL || (session->role != WIRE_WORKER && session->role != WIRE_CLIENT) ||
        wire_message_bytes(kept) < coming->bytes ||
        wire_message_bytes(kept) < WIRE_COMING_BYTES_MIN ||
        !wire_batch_open(&batch, kept, &fault)) {
        return BROKER_DONE;
    }
    instead = session->role == WIRE_WORKER ? run_without()
                                           : outcomes_without(core, &batch, coming->bytes);
    if (instead == NULL) {
        broker_starve(core); /* it says so again after its next HELLO */
        return BROKER_DONE;
    }
    broker_log(core, true, "%s pid %lld on %s has no memory to receive %llu bytes", session->name,
               (long long)session->pid, session->host, (unsigned long long)coming->bytes);
    core->stats.no_room++;
    kept = wire_message_ref(kept);
    link_kept_replace(&session->link, coming->seq, instead);
    if (session->role == WIRE_WORKER) {
        broker_worker_no_room(core, broker_worker_of(session), &batch, coming->bytes);
    }
    wire_message_unref(kept);
    broker_session_count(core, session);
    return BROKER_DONE;
}
