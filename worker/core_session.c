#include "worker/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The session with the broker: docs/protocol.md section 4. */

#define OUTGOING_MIN 64u

/* ------------------------------------------------------ messages on their way */

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

/* ------------------------------------------------------------------- batches */

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

bool worker_put(struct worker_core *core, struct wire_writer *writer, uint64_t key, uint64_t lease,
                const void *data, size_t size, struct wire_blob *large) {
    enum wire_put put = wire_writer_put(writer, &key, &lease, data, size, large);

    if (BASE_UNLIKELY(put == WIRE_PUT_FULL) && close_batch(core, writer)) {
        put = wire_writer_put(writer, &key, &lease, data, size, large);
    }
    return put == WIRE_PUT_OK;
}

/* ------------------------------------------------------------- what goes out */

static bool reserve_for_dialer(void *core, uint32_t count) {
    return worker_reserve(core, count);
}

static void send_for_dialer(void *core, struct wire_message *message) {
    worker_act(core, WORKER_SEND)->message = message;
}

static void warn_for_dialer(void *core, const char *text) {
    worker_log(core, true, "%s", text);
}

static bool has_room(void *core, uint64_t bytes) {
    const struct worker_config *config = &((const struct worker_core *)core)->config;

    return config->has_room == NULL || config->has_room(config->room_user, bytes);
}

const struct link_owner worker_link_owner = {
    .role = "a worker",
    .reserve = reserve_for_dialer,
    .send = send_for_dialer,
    .warn = warn_for_dialer,
    .has_room = has_room,
};

static void say_hello(struct worker_core *core) {
    const struct worker_config *config = &core->config;
    struct wire_hello hello = {
        .role = WIRE_WORKER,
        .session = config->session,
        .name = {config->name, strlen(config->name)},
        .host = {config->host, strlen(config->host)},
        .pid = (uint64_t)config->pid,
        .slots = config->slots,
        .functions = core->texts,
        .function_count = config->function_count,
        .tags = core->texts + config->function_count,
        .tag_count = config->tag_count,
    };

    link_dialer_hello(&core->dialer, &hello);
}

/* ------------------------------------------------------------ a new broker */

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

/* Of what is on its way only results concern a new broker: the rest answers an old one. */
static void outgoing_keep_results(struct worker_core *core) {
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

/* What was to be answered to an old broker is void; what long runs here the new one has to hear. */
static void held_review(struct worker_core *core) {
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

/* Registers anew, in full: CLAIMS first, then results. False: no memory, to be tried again. */
static bool register_anew(struct worker_core *core) {
    uint32_t most = (worker_held(core) + core->done_count) / WIRE_BATCH_ENTRIES_MAX + 1;
    struct wire_message **messages;
    uint32_t count = 0;

    messages = malloc(most * sizeof(struct wire_message *));
    if (messages == NULL) {
        return false;
    }
    count = claims_make(core, messages);
    BASE_ASSERT(count <= most);
    if (count > 0 && !outgoing_resize(core, count, 1)) {
        while (count > 0) {
            wire_message_unref(messages[--count]);
        }
    }
    if (count > 0) {
        core->outgoing_at = 0;
        core->outgoing_count += count;
        for (uint32_t i = 0; i < count; i++) {
            *outgoing_at(core, i) = (struct worker_outgoing){messages[i], 0, 0};
        }
    }
    free(messages);
    return count > 0;
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
            core->register_due = !register_anew(core);
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

/* ------------------------------------------------------------- what comes in */

static void handle_welcome(struct worker_core *core, const struct link_heard *heard) {
    uint64_t payload_max = heard->welcome.payload_max;

    if (heard->anew) {
        outgoing_keep_results(core);
        held_review(core);
        core->register_due = true;
        core->drain_due = core->drain_told;
        core->bye_queued = false;
    }
    core->payload_max = payload_max > 0 && payload_max < WIRE_PAYLOAD_BYTES_MAX
                            ? payload_max
                            : WIRE_PAYLOAD_BYTES_MAX;
    link_dialer_resend(&core->dialer, heard->resend);
}

static void handle_reject(struct worker_core *core, const struct link_heard *heard) {
    if (heard->final && worker_reserve(core, 1)) {
        link_dialer_refused(&core->dialer);
        (void)snprintf(core->last_text, sizeof core->last_text, "%s", heard->text);
        core->left = true;
        worker_act(core, WORKER_LEAVE)->text = core->last_text;
        core->actions[core->action_count - 1].warn = true;
    }
}

static void handle_batch(struct worker_core *core, uint64_t now_ns, struct wire_message *message,
                         const struct wire_envelope *envelope) {
    struct wire_fault fault = {0};
    struct wire_batch batch;
    bool done;

    if (!wire_batch_open(&batch, message, &fault)) {
        link_dialer_reject(&core->dialer, now_ns, envelope->type, &fault);
        return;
    }
    switch (envelope->type) {
    case WIRE_RUN:
        done = worker_tasks_run(core, &batch, message, &fault);
        break;
    case WIRE_RECALL:
        done = worker_recall(core, &batch);
        break;
    default:
        done = worker_interrupt(core, &batch);
        break;
    }
    if (fault.text[0] != '\0') {
        link_dialer_reject(&core->dialer, now_ns, envelope->type, &fault);
    } else if (!done) {
        link_decline(&core->dialer.link, now_ns, wire_message_bytes(message));
        worker_starve(core, now_ns);
    }
}

static void handle_message(struct worker_core *core, uint64_t now_ns, struct wire_message *message,
                           const struct wire_envelope *envelope) {
    struct wire_fault fault;

    switch (envelope->type) {
    case WIRE_RUN:
    case WIRE_RECALL:
    case WIRE_INTERRUPT:
        handle_batch(core, now_ns, message, envelope);
        break;
    case WIRE_STOP:
        if (!wire_plain_decode(message, WIRE_STOP, &fault)) {
            link_dialer_reject(&core->dialer, now_ns, WIRE_STOP, &fault);
        } else {
            worker_drain(core, false, true);
        }
        break;
    default:
        link_dialer_misplaced(&core->dialer, now_ns, envelope->type);
        break;
    }
}

void worker_session_receive(struct worker_core *core, uint64_t now_ns,
                            struct wire_message *message) {
    struct link_heard heard;

    link_dialer_receive(&core->dialer, now_ns, message, &heard);
    switch (heard.type) {
    case LINK_HEARD_NOTHING:
        break;
    case LINK_HEARD_WELCOME:
        handle_welcome(core, &heard);
        break;
    case LINK_HEARD_REJECT:
        handle_reject(core, &heard);
        break;
    case LINK_HEARD_NO_ROOM:
        worker_act(core, WORKER_RECONNECT);
        break;
    case LINK_HEARD_MESSAGE:
        handle_message(core, now_ns, message, &heard.envelope);
        break;
    }
}

/* ---------------------------------------------------------------------- time */

void worker_session_tick(struct worker_core *core, uint64_t now_ns) {
    bool reconnect;

    if (!core->reachable || link_dialer_go_on(&core->dialer, now_ns, &reconnect) != LINK_DO_HELLO) {
        return;
    }
    if (reconnect) {
        worker_act(core, WORKER_RECONNECT);
    }
    say_hello(core);
}
