/* What a broker has to hear that knows nothing of us: docs/protocol.md sections 4 and 7. */
#include "worker/internal.h"

#include <stdlib.h>

/* CLAIMS in the making. */
struct claims {
    struct wire_writer *writer;
    struct wire_message **messages; /* has room for all */
    uint32_t count;
};

/* Adds one task. False: no memory. */
static bool claim(struct claims *claims, const struct wire_session *session, uint64_t lease,
                  uint64_t id, uint64_t attempt) {
    static const uint64_t not_final = 0;
    const uint64_t key[] = {session->high, session->low};
    const uint64_t entry[] = {lease, id, attempt};
    enum wire_put put = wire_writer_put(claims->writer, key, entry, NULL, 0, NULL);

    if (put == WIRE_PUT_FULL) {
        struct wire_message *message = wire_writer_finish(claims->writer, &not_final);

        if (message == NULL) {
            return false;
        }
        claims->messages[claims->count++] = message;
        put = wire_writer_put(claims->writer, key, entry, NULL, 0, NULL);
    }
    return put == WIRE_PUT_OK;
}

static bool claim_all(const struct worker_core *core, struct claims *claims) {
    const struct worker_task *task;
    uint32_t cursor = 0;
    bool good = true;

    for (uint32_t i = 0; i < core->done_count && good; i++) {
        const struct worker_done *done = worker_done_at(core, i);

        good = claim(claims, &done->session, done->lease, done->id, done->attempt);
    }
    while (good && (task = worker_next(core, &cursor)) != NULL) {
        /* a condemned task has its outcome, and is among the done ones */
        good = task->state == WORKER_CONDEMNED ||
               claim(claims, task->session, task->lease, task->id, task->attempt);
    }
    return good;
}

/* Makes CLAIMS of all that a broker may ask for: what is held, and what is finished but was not
 * acknowledged. `messages` has room for them. Returns their number, 0 without memory. */
static uint32_t claims_make(struct worker_core *core, struct wire_message **messages) {
    static const uint64_t final = 1;
    struct claims claims = {wire_writer_new(WIRE_CLAIMS), messages, 0};
    bool good = claims.writer != NULL && claim_all(core, &claims);

    if (good) {
        messages[claims.count] = wire_writer_finish(claims.writer, &final);
        good = messages[claims.count] != NULL;
        claims.count += good;
    }
    wire_writer_free(claims.writer);
    while (!good && claims.count > 0) {
        wire_message_unref(messages[--claims.count]);
    }
    return claims.count;
}

void worker_held_review(struct worker_core *core) {
    struct worker_task *task;
    uint32_t cursor = 0;

    wire_writer_clear(core->returned);
    wire_writer_clear(core->running);
    while ((task = worker_next(core, &cursor)) != NULL) {
        if ((task->marks & WORKER_OWES_ANSWER) != 0) {
            core->owing--;
        }
        task->marks &= (uint8_t) ~(WORKER_NAMED | WORKER_OWES_ANSWER);
        if (task->state == WORKER_OWING_RETURN) {
            core->owing--;
            worker_task_drop(core, task);
        } else if ((task->marks & WORKER_LONG) != 0 && task->state != WORKER_CONDEMNED) {
            (void)worker_put(core, core->running, 0, task->lease, NULL, 0, NULL);
        }
    }
}

bool worker_register_anew(struct worker_core *core) {
    uint32_t most = (worker_held(core) + core->done_count) / WIRE_BATCH_ENTRIES_MAX + 1;
    struct wire_message **messages;
    uint32_t count = 0;

    messages = malloc(most * sizeof(struct wire_message *));
    if (messages == NULL) {
        return false;
    }
    count = claims_make(core, messages);
    BASE_ASSERT(count <= most);
    if (!worker_outgoing_put_first(core, messages, count)) {
        while (count > 0) {
            wire_message_unref(messages[--count]);
        }
    }
    free(messages);
    return count > 0;
}
