/* Messages on their way to the broker, from the batches that form to their acknowledgement. */
#include "worker/internal.h"

#include <stdlib.h>

#define OUTGOING_MIN 64u

/* ------------------------------------------------------------------- the ring */

static struct worker_outgoing *outgoing_at(const struct worker_core *core, uint32_t i) {
    BASE_ASSERT(i < core->outgoing_count);
    return &core->outgoing[(core->outgoing_at + i) & (core->outgoing_room - 1)];
}

/* Gives the ring room for `count` messages more, with `gap` free places in front of those that are
 * there already. False: no memory, nothing changed. */
static bool outgoing_resize(struct worker_core *core, uint32_t gap, uint32_t count) {
    uint32_t room = OUTGOING_MIN;
    struct worker_outgoing *ring;

    while (room < gap + core->outgoing_count + count) {
        room *= 2;
    }
    ring = malloc(room * sizeof *ring);
    if (ring == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < core->outgoing_count; i++) {
        ring[gap + i] = *outgoing_at(core, i);
    }
    free(core->outgoing);
    core->outgoing = ring;
    core->outgoing_at = gap;
    core->outgoing_room = room;
    return true;
}

bool worker_queue_reserve(struct worker_core *core) {
    return BASE_LIKELY(core->outgoing_count < core->outgoing_room) || outgoing_resize(core, 0, 1);
}

void worker_queue(struct worker_core *core, struct wire_message *message, uint32_t results) {
    BASE_ASSERT(core->outgoing_count < core->outgoing_room);
    core->outgoing_count++;
    *outgoing_at(core, core->outgoing_count - 1) = (struct worker_outgoing){message, 0, results};
}

void worker_outgoing_drop(struct worker_core *core) {
    for (uint32_t i = 0; i < core->outgoing_count; i++) {
        wire_message_unref(outgoing_at(core, i)->message);
    }
    free(core->outgoing);
    core->outgoing = NULL;
    core->outgoing_count = core->outgoing_room = core->posted = 0;
}

void worker_session_settle(struct worker_core *core) {
    bool kill = false;

    while (core->posted > 0 && outgoing_at(core, 0)->seq <= core->dialer.link.acknowledged) {
        struct worker_outgoing *first = outgoing_at(core, 0);

        kill = worker_done_pop(core, first->results) || kill;
        wire_message_unref(first->message);
        core->outgoing_at = (core->outgoing_at + 1) & (core->outgoing_room - 1);
        core->outgoing_count--;
        core->posted--;
    }
    if (kill) {
        worker_tasks_kill(core);
    }
}

bool worker_outgoing_put_first(struct worker_core *core, struct wire_message *const *messages,
                               uint32_t count) {
    if (!outgoing_resize(core, count, 1)) {
        return false;
    }
    core->outgoing_at = 0;
    core->outgoing_count += count;
    for (uint32_t i = 0; i < count; i++) {
        *outgoing_at(core, i) = (struct worker_outgoing){messages[i], 0, 0};
    }
    return true;
}

void worker_outgoing_keep_results(struct worker_core *core) {
    uint32_t kept = 0;

    for (uint32_t i = 0; i < core->outgoing_count; i++) {
        struct worker_outgoing outgoing = *outgoing_at(core, i);

        if (outgoing.results > 0) {
            outgoing.seq = 0;
            *outgoing_at(core, kept++) = outgoing;
        } else {
            wire_message_unref(outgoing.message);
        }
    }
    core->outgoing_count = kept;
    core->posted = 0;
}

/* -------------------------------------------------------------------- batches */

/* Makes what has formed into a message and queues it. False: no memory, nothing is lost. */
static bool close_batch(struct worker_core *core, struct wire_writer *writer) {
    uint32_t results = writer == core->results ? wire_writer_count(writer) : 0;
    struct wire_message *message;

    if (!worker_queue_reserve(core)) {
        return false;
    }
    message = wire_writer_finish(writer, results > 0 ? &core->busy_ns : NULL);
    if (message == NULL) {
        return false;
    }
    worker_queue(core, message, results);
    if (results > 0) {
        core->busy_ns = 0;
    }
    return true;
}

bool worker_put_anew(struct worker_core *core, struct wire_writer *writer, uint64_t key,
                     uint64_t lease, const void *data, size_t size, struct wire_blob *large) {
    return close_batch(core, writer) &&
           wire_writer_put(writer, &key, &lease, data, size, large) == WIRE_PUT_OK;
}

void worker_session_flush(struct worker_core *core, uint64_t now_ns) {
    struct link *link = &core->dialer.link;
    bool sent = false, starved = false;

    if (wire_writer_count(core->results) > 0) {
        starved = !close_batch(core, core->results) || starved;
    }
    if (wire_writer_count(core->returned) > 0) {
        starved = !close_batch(core, core->returned) || starved;
    }
    if (wire_writer_count(core->running) > 0) {
        starved = !close_batch(core, core->running) || starved;
    }
    if (worker_connected(core)) {
        if (core->register_due) {
            core->register_due = !worker_register_anew(core);
            starved = core->register_due || starved;
        }
        while (!core->register_due && core->posted < core->outgoing_count) {
            struct worker_outgoing *next = outgoing_at(core, core->posted);

            if (!worker_reserve(core, 1) || !link_post(link, now_ns, next->message)) {
                starved = true;
                break;
            }
            next->seq = link->sent;
            worker_act(core, WORKER_SEND)->message = wire_message_ref(next->message);
            core->posted++;
            sent = true;
        }
        if (!sent && link_ack_due(link)) {
            link_dialer_heartbeat(&core->dialer, now_ns);
        }
    }
    if (starved) {
        worker_starve(core, now_ns);
    }
}
