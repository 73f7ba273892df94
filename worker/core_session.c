#include "worker/internal.h"

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

/* Sends an unsequenced message, or nothing if there is none for lack of memory: the link's heartbeats
 * bring up again what was to be said. */
static void send_mark(struct worker_core *core, uint64_t now_ns, struct wire_message *message) {
    if (message == NULL) {
        return;
    }
    if (!worker_reserve(core, 1)) {
        wire_message_unref(message);
        return;
    }
    link_mark(&core->dialer.link, now_ns, message);
    worker_act(core, WORKER_SEND)->message = message;
}

static void send_heartbeat(struct worker_core *core, uint64_t now_ns) {
    send_mark(core, now_ns, wire_heartbeat_encode(core->dialer.link.sent));
}

static void send_reject(struct worker_core *core, uint64_t now_ns, uint32_t about,
                        const struct wire_fault *fault) {
    struct wire_reject reject = {
        .about = about,
        .code = fault->code,
        .text = {fault->text, strlen(fault->text)},
    };

    worker_log(core, true, "refused a message of type %u from the broker: %s", about, fault->text);
    if (worker_connected(core)) {
        send_mark(core, now_ns, wire_reject_encode(&reject));
    }
}

static void ask_resume(struct worker_core *core, uint64_t now_ns) {
    if (link_resume_due(&core->dialer.link, now_ns)) {
        send_mark(core, now_ns, wire_resume_encode(core->dialer.link.received));
    }
}

static void say_no_room(struct worker_core *core) {
    struct wire_message *message =
        worker_reserve(core, 1) ? link_dialer_no_room_encode(&core->dialer) : NULL;

    if (message != NULL) {
        worker_act(core, WORKER_SEND)->message = message;
    }
}

static void say_hello(struct worker_core *core) {
    const struct worker_config *config = &core->config;
    struct wire_hello hello = {
        .version_min = WIRE_VERSION_MIN,
        .version_max = WIRE_VERSION_MAX,
        .role = WIRE_WORKER,
        .session = config->session,
        .epoch = core->dialer.epoch,
        .received = core->dialer.link.received,
        .name = {config->name, strlen(config->name)},
        .host = {config->host, strlen(config->host)},
        .pid = (uint64_t)config->pid,
        .slots = config->slots,
        .functions = core->texts,
        .function_count = config->function_count,
        .tags = core->texts + config->function_count,
        .tag_count = config->tag_count,
    };
    struct wire_message *message;

    if (!worker_reserve(core, 1)) {
        return; /* said again after the back-off */
    }
    message = wire_hello_encode(&hello);
    if (message != NULL) {
        worker_act(core, WORKER_SEND)->message = message;
        say_no_room(core);
    }
}

/* Sends again the first `count` of the messages that the link keeps. Without memory for the actions
 * nothing is sent: the peer finds out by the next heartbeat. */
static void resend(struct worker_core *core, uint32_t count) {
    if (!worker_reserve(core, count)) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        worker_act(core, WORKER_SEND)->message =
            wire_message_ref(link_kept_at(&core->dialer.link, i));
    }
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
            send_heartbeat(core, now_ns);
        }
    }
    if (starved) {
        worker_starve(core, now_ns);
    }
}

/* ------------------------------------------------------------- what comes in */

static void handle_welcome(struct worker_core *core, uint64_t now_ns,
                           const struct wire_message *message) {
    struct wire_welcome welcome;
    struct wire_fault fault;
    uint32_t count = 0;

    if (!wire_welcome_decode(message, &welcome, &fault)) {
        worker_log(core, true, "malformed WELCOME from the broker: %s", fault.text);
        return;
    }
    if (welcome.version < WIRE_VERSION_MIN || welcome.version > WIRE_VERSION_MAX) {
        worker_log(core, true, "the broker speaks version %u of the protocol, which we do not",
                   welcome.version);
        return;
    }
    if (link_dialer_welcomed(&core->dialer, now_ns, &welcome, &count)) {
        outgoing_keep_results(core);
        held_review(core);
        core->register_due = true;
        core->drain_due = core->drain_told;
        core->bye_queued = false;
    }
    if (!worker_connected(core)) {
        return;
    }
    core->reconnect_ns = now_ns;
    core->payload_max = welcome.payload_max > 0 && welcome.payload_max < WIRE_PAYLOAD_BYTES_MAX
                            ? welcome.payload_max
                            : WIRE_PAYLOAD_BYTES_MAX;
    resend(core, count);
}

static void handle_reject(struct worker_core *core, const struct wire_message *message) {
    struct wire_reject reject;
    struct wire_fault fault;
    bool final;

    if (!wire_reject_decode(message, &reject, &fault)) {
        worker_log(core, true, "malformed REJECT from the broker: %s", fault.text);
        return;
    }
    final = reject.about == WIRE_HELLO &&
            (reject.code == WIRE_REJECT_ROLE || reject.code == WIRE_REJECT_VERSION ||
             reject.code == WIRE_REJECT_AUTH);
    worker_log(core, true, "the broker rejected %s (%s): %.*s", wire_type_name(reject.about),
               wire_reject_text(reject.code), (int)reject.text.size, reject.text.data);
    if (final && !worker_connected(core) && worker_reserve(core, 1)) {
        link_dialer_refused(&core->dialer);
        memcpy(core->last_text, core->text, sizeof core->last_text);
        core->left = true;
        worker_act(core, WORKER_LEAVE)->text = core->last_text;
        core->actions[core->action_count - 1].warn = true;
    }
}

static void handle_heartbeat(struct worker_core *core, uint64_t now_ns,
                             const struct wire_message *message) {
    struct wire_fault fault;
    uint64_t sent;

    if (!wire_heartbeat_decode(message, &sent, &fault)) {
        send_reject(core, now_ns, WIRE_HEARTBEAT, &fault);
    } else if (link_heard_sent(&core->dialer.link, sent)) {
        ask_resume(core, now_ns);
    }
}

static void handle_coming(struct worker_core *core, uint64_t now_ns,
                          const struct wire_message *message) {
    const struct worker_config *config = &core->config;
    struct wire_fault fault;
    struct wire_coming size;

    if (!wire_coming_decode(message, &size, &fault)) {
        send_reject(core, now_ns, WIRE_COMING, &fault);
        return;
    }
    link_coming(&core->dialer.link, size.bytes);
    if (config->has_room == NULL || config->has_room(config->room_user, size.bytes) ||
        !worker_reserve(core, 2)) {
        return;
    }
    worker_log(core, true, "no memory to receive a message of %llu bytes",
               (unsigned long long)size.bytes);
    link_dialer_no_room(&core->dialer, now_ns, &size);
    core->reconnect_ns = now_ns;
    worker_act(core, WORKER_RECONNECT);
}

static void handle_resume(struct worker_core *core, uint64_t now_ns,
                          const struct wire_message *message) {
    struct wire_fault fault;
    uint64_t received;
    uint32_t count = 0;

    if (!wire_resume_decode(message, &received, &fault)) {
        send_reject(core, now_ns, WIRE_RESUME, &fault);
    } else if (!link_resend_from(&core->dialer.link, now_ns, received, &count)) {
        link_dialer_lost(&core->dialer, now_ns);
    } else {
        resend(core, count);
    }
}

static void handle_batch(struct worker_core *core, uint64_t now_ns, struct wire_message *message,
                         const struct wire_envelope *envelope) {
    struct wire_fault fault = {0};
    struct wire_batch batch;
    bool done;

    if (!wire_batch_open(&batch, message, &fault)) {
        send_reject(core, now_ns, envelope->type, &fault);
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
        send_reject(core, now_ns, envelope->type, &fault);
    } else if (!done) {
        link_decline(&core->dialer.link, now_ns, wire_message_bytes(message));
        worker_starve(core, now_ns);
    }
}

/* What every other message has to pass first. */
static bool accept_message(struct worker_core *core, uint64_t now_ns,
                           const struct wire_message *message,
                           const struct wire_envelope *envelope) {
    switch (link_accept(&core->dialer.link, now_ns, envelope, wire_message_bytes(message))) {
    case LINK_DELIVER:
        return true;
    case LINK_DUPLICATE:
        return false;
    case LINK_GAP:
        ask_resume(core, now_ns);
        return false;
    case LINK_BROKEN:
        link_dialer_lost(&core->dialer, now_ns);
        return false;
    }
    return false;
}

static void deliver(struct worker_core *core, uint64_t now_ns, struct wire_message *message,
                    const struct wire_envelope *envelope) {
    struct wire_fault fault = {WIRE_REJECT_ROLE, "not for a worker"};

    switch (envelope->type) {
    case WIRE_HEARTBEAT:
        handle_heartbeat(core, now_ns, message);
        break;
    case WIRE_COMING:
        handle_coming(core, now_ns, message);
        break;
    case WIRE_RESUME:
        handle_resume(core, now_ns, message);
        break;
    case WIRE_REJECT:
        handle_reject(core, message);
        break;
    case WIRE_RUN:
    case WIRE_RECALL:
    case WIRE_INTERRUPT:
        handle_batch(core, now_ns, message, envelope);
        break;
    case WIRE_STOP:
        if (!wire_plain_decode(message, WIRE_STOP, &fault)) {
            send_reject(core, now_ns, WIRE_STOP, &fault);
        } else {
            worker_drain(core, false, true);
        }
        break;
    default:
        send_reject(core, now_ns, envelope->type, &fault);
        break;
    }
}

void worker_session_receive(struct worker_core *core, uint64_t now_ns,
                            struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    if (core->dialer.state == LINK_IDLE) {
        return;
    }
    if (!wire_open(message, &envelope, &fault)) {
        send_reject(core, now_ns, 0, &fault);
        return;
    }
    if (envelope.type == WIRE_WELCOME) {
        handle_welcome(core, now_ns, message);
    } else if (envelope.type == WIRE_UNKNOWN) {
        link_dialer_lost(&core->dialer, now_ns);
    } else if (!worker_connected(core)) {
        if (envelope.type == WIRE_REJECT) {
            handle_reject(core, message);
        }
    } else if (accept_message(core, now_ns, message, &envelope)) {
        deliver(core, now_ns, message, &envelope);
    }
}

/* ---------------------------------------------------------------------- time */

void worker_session_tick(struct worker_core *core, uint64_t now_ns) {
    bool was_connected = worker_connected(core);
    enum link_dialer_do next;

    if (!core->reachable) {
        return;
    }
    next = link_dialer_tick(&core->dialer, now_ns);
    if (next == LINK_DO_HEARTBEAT) {
        send_heartbeat(core, now_ns);
    } else if (next == LINK_DO_HELLO) {
        if ((was_connected || now_ns - core->reconnect_ns >= WORKER_RECONNECT_NS) &&
            worker_reserve(core, 1)) {
            core->reconnect_ns = now_ns;
            worker_act(core, WORKER_RECONNECT);
        }
        say_hello(core);
    }
}
