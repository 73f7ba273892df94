#include "libclient/core_private.h"

#include <string.h>

/* The session with the broker: docs/protocol.md section 4. */

/* --------------------------------------------------------------- what goes out */

static void send_action(struct client_core *core, struct wire_message *message) {
    client_act(core, CLIENT_SEND)->message = message;
}

void client_post(struct client_core *core, uint64_t now_ns, struct wire_message *message) {
    BASE_ASSERT(client_connected(core) && core->held_count == 0);
    if (link_post(&core->dialer.link, now_ns, message)) {
        send_action(core, message);
        return;
    }
    core->held[core->held_count++] = message;
    client_starve(core, now_ns);
}

bool client_post_held(struct client_core *core, uint64_t now_ns) {
    uint32_t posted = 0;

    while (posted < core->held_count && client_reserve(core, 1) &&
           link_post(&core->dialer.link, now_ns, core->held[posted])) {
        send_action(core, core->held[posted++]);
    }
    core->held_count -= posted;
    memmove(core->held, core->held + posted, core->held_count * sizeof *core->held);
    if (core->held_count > 0) {
        client_starve(core, now_ns);
    }
    return core->held_count == 0;
}

void client_drop_held(struct client_core *core) {
    for (uint32_t i = 0; i < core->held_count; i++) {
        wire_message_unref(core->held[i]);
    }
    core->held_count = 0;
}

/* Sends an unsequenced message, or nothing if there is none for lack of memory: the link's heartbeats
 * bring up again what was to be said. */
static void send_mark(struct client_core *core, uint64_t now_ns, struct wire_message *message) {
    if (message == NULL) {
        return;
    }
    if (!client_reserve(core, 1)) {
        wire_message_unref(message);
        return;
    }
    link_mark(&core->dialer.link, now_ns, message);
    send_action(core, message);
}

static void send_heartbeat(struct client_core *core, uint64_t now_ns) {
    send_mark(core, now_ns, wire_heartbeat_encode(core->dialer.link.sent));
}

static void send_reject(struct client_core *core, uint64_t now_ns, uint32_t about,
                        const struct wire_fault *fault) {
    struct wire_reject reject = {
        .about = about,
        .code = fault->code,
        .text = {fault->text, strlen(fault->text)},
    };

    client_log(core, true, "refused a message of type %u from the broker: %s", about, fault->text);
    if (client_connected(core)) {
        send_mark(core, now_ns, wire_reject_encode(&reject));
    }
}

static void ask_resume(struct client_core *core, uint64_t now_ns) {
    if (link_resume_due(&core->dialer.link, now_ns)) {
        send_mark(core, now_ns, wire_resume_encode(core->dialer.link.received));
    }
}

static void say_no_room(struct client_core *core) {
    struct wire_message *message =
        client_reserve(core, 1) ? link_dialer_no_room_encode(&core->dialer) : NULL;

    if (message != NULL) {
        send_action(core, message);
    }
}

static void say_hello(struct client_core *core) {
    const struct client_config *config = &core->config;
    struct wire_hello hello = {
        .version_min = WIRE_VERSION_MIN,
        .version_max = WIRE_VERSION_MAX,
        .role = WIRE_CLIENT,
        .session = config->session,
        .epoch = core->dialer.epoch,
        .received = core->dialer.link.received,
        .name = {config->name, strlen(config->name)},
        .host = {config->host, strlen(config->host)},
        .pid = (uint64_t)config->pid,
    };
    struct wire_message *message;

    if (!client_reserve(core, 1)) {
        return; /* said again after the back-off */
    }
    message = wire_hello_encode(&hello);
    if (message != NULL) {
        send_action(core, message);
        say_no_room(core);
    }
}

/* Sends again the first `count` of the messages that the link keeps. Without memory for the actions
 * nothing is sent: the peer finds out by the next heartbeat. */
static void resend(struct client_core *core, uint32_t count) {
    if (!client_reserve(core, count)) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        send_action(core, wire_message_ref(link_kept_at(&core->dialer.link, i)));
    }
}

void client_session_acknowledge(struct client_core *core, uint64_t now_ns) {
    if (client_connected(core) && link_ack_due(&core->dialer.link)) {
        send_heartbeat(core, now_ns);
    }
}

/* --------------------------------------------------------------- what comes in */

static void handle_welcome(struct client_core *core, uint64_t now_ns,
                           const struct wire_message *message) {
    struct wire_welcome welcome;
    struct wire_fault fault;
    struct client_action *action;
    bool was_connected = client_connected(core), anew;
    uint32_t count = 0;

    if (!wire_welcome_decode(message, &welcome, &fault)) {
        client_log(core, true, "malformed WELCOME from the broker: %s", fault.text);
        return;
    }
    if (welcome.version < WIRE_VERSION_MIN || welcome.version > WIRE_VERSION_MAX) {
        client_log(core, true, "the broker speaks version %u of the protocol, which we do not",
                   welcome.version);
        return;
    }
    anew = link_dialer_welcomed(&core->dialer, now_ns, &welcome, &count);
    if (anew) {
        client_drop_held(core);
        client_tasks_restart(core);
        core->expiry_ns = now_ns;
    }
    if (!client_connected(core)) {
        return;
    }
    core->reconnect_ns = now_ns;
    if (anew || !was_connected) {
        action = client_act(core, CLIENT_CONNECTED);
        action->yes = anew;
    }
    resend(core, count);
}

/* Whether there is no use in going on. A SUBMIT that the broker can't read comes back as often as it is
 * sent, and which tasks were in it is not known: so all of them end, rather than some never. */
static bool is_final(const struct client_core *core, const struct wire_reject *reject) {
    switch (reject->about) {
    case WIRE_HELLO:
        return !client_connected(core) &&
               (reject->code == WIRE_REJECT_ROLE || reject->code == WIRE_REJECT_VERSION ||
                reject->code == WIRE_REJECT_AUTH);
    case WIRE_SUBMIT:
        return reject->code == WIRE_REJECT_MALFORMED || reject->code == WIRE_REJECT_TYPE;
    default:
        return false;
    }
}

static void handle_reject(struct client_core *core, const struct wire_message *message) {
    struct wire_reject reject;
    struct wire_fault fault;

    if (!wire_reject_decode(message, &reject, &fault)) {
        client_log(core, true, "malformed REJECT from the broker: %s", fault.text);
        return;
    }
    client_log(core, true, "the broker rejected %s (code %u): %.*s", wire_type_name(reject.about),
               (unsigned)reject.code, (int)reject.text.size, reject.text.data);
    if (is_final(core, &reject) && core->dialer.state != LINK_REFUSED) {
        struct client_action *action = client_act(core, CLIENT_REFUSED);

        link_dialer_refused(&core->dialer);
        action->text = core->text;
        action->yes = reject.code == WIRE_REJECT_AUTH;
    }
}

static void handle_heartbeat(struct client_core *core, uint64_t now_ns,
                             const struct wire_message *message) {
    struct wire_fault fault;
    uint64_t sent;

    if (!wire_heartbeat_decode(message, &sent, &fault)) {
        send_reject(core, now_ns, WIRE_HEARTBEAT, &fault);
    } else if (link_heard_sent(&core->dialer.link, sent)) {
        ask_resume(core, now_ns);
    }
}

static void handle_coming(struct client_core *core, uint64_t now_ns,
                          const struct wire_message *message) {
    const struct client_config *config = &core->config;
    struct wire_fault fault;
    struct wire_coming size;

    if (!wire_coming_decode(message, &size, &fault)) {
        send_reject(core, now_ns, WIRE_COMING, &fault);
        return;
    }
    link_coming(&core->dialer.link, size.bytes);
    if (config->has_room == NULL || config->has_room(config->room_user, size.bytes) ||
        !client_reserve(core, 2)) {
        return;
    }
    client_log(core, true, "no memory to receive a message of %llu bytes",
               (unsigned long long)size.bytes);
    link_dialer_no_room(&core->dialer, now_ns, &size);
    core->reconnect_ns = now_ns;
    client_act(core, CLIENT_RECONNECT);
}

static void handle_resume(struct client_core *core, uint64_t now_ns,
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

static void handle_batch(struct client_core *core, uint64_t now_ns, struct wire_message *message,
                         const struct wire_envelope *envelope) {
    struct wire_batch batch;
    struct wire_fault fault;

    if (!wire_batch_open(&batch, message, &fault)) {
        send_reject(core, now_ns, envelope->type, &fault);
        return;
    }
    if (!client_reserve(core, batch.entry_count)) {
        link_decline(&core->dialer.link, now_ns, wire_message_bytes(message));
        client_starve(core, now_ns);
        return;
    }
    switch (envelope->type) {
    case WIRE_OUTCOMES:
    case WIRE_CREDIT:
        client_tasks_outcomes(core, &batch);
        break;
    case WIRE_VERDICTS:
        client_tasks_verdicts(core, &batch);
        break;
    default:
        client_tasks_started(core, &batch);
        break;
    }
}

/* What every other message has to pass first. */
static bool accept_message(struct client_core *core, uint64_t now_ns,
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

static void deliver(struct client_core *core, uint64_t now_ns, struct wire_message *message,
                    const struct wire_envelope *envelope) {
    struct wire_fault fault = {WIRE_REJECT_ROLE, "not for a client"};

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
    case WIRE_OUTCOMES:
    case WIRE_VERDICTS:
    case WIRE_STARTED:
    case WIRE_CREDIT:
        handle_batch(core, now_ns, message, envelope);
        break;
    default:
        send_reject(core, now_ns, envelope->type, &fault);
        break;
    }
}

void client_session_receive(struct client_core *core, uint64_t now_ns,
                            struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    if (core->dialer.state == LINK_IDLE || core->dialer.state == LINK_REFUSED || core->left) {
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
    } else if (!client_connected(core)) {
        if (envelope.type == WIRE_REJECT) {
            handle_reject(core, message);
        }
    } else if (accept_message(core, now_ns, message, &envelope)) {
        deliver(core, now_ns, message, &envelope);
    }
}

/* ------------------------------------------------------------------------ time */

void client_session_tick(struct client_core *core, uint64_t now_ns) {
    bool was_connected = client_connected(core);
    enum link_dialer_do next;

    if (core->left || !core->reachable) {
        return;
    }
    next = link_dialer_tick(&core->dialer, now_ns);
    if (next == LINK_DO_HEARTBEAT) {
        send_heartbeat(core, now_ns);
        client_slots_trim(&core->slots);
    } else if (next == LINK_DO_HELLO) {
        if ((was_connected || now_ns - core->reconnect_ns >= CLIENT_RECONNECT_NS) &&
            client_reserve(core, 1)) {
            core->reconnect_ns = now_ns;
            client_act(core, CLIENT_RECONNECT);
        }
        say_hello(core);
    }
}

void client_session_leave(struct client_core *core, uint64_t now_ns) {
    struct wire_message *bye;

    if (core->leaving) {
        return;
    }
    core->leaving = true;
    core->leave_seq = UINT64_MAX;
    core->leave_until_ns = now_ns;
    if (!client_connected(core) || !client_post_held(core, now_ns) || !client_reserve(core, 1)) {
        return;
    }
    bye = wire_plain_encode(WIRE_BYE);
    if (bye != NULL) {
        client_post(core, now_ns, bye);
        core->leave_seq = core->dialer.link.sent;
        core->leave_until_ns = now_ns + CLIENT_LEAVE_NS;
    }
}
