#include "libclient/core_private.h"

#include <string.h>

/* The session with the broker: docs/protocol.md section 4. */

/* --------------------------------------------------------------- what goes out */

static void send_action(struct client_core *core, struct wire_message *message) {
    client_act(core, CLIENT_SEND)->message = message;
}

static bool reserve_for_dialer(void *core, uint32_t count) {
    return client_reserve(core, count);
}

static void send_for_dialer(void *core, struct wire_message *message) {
    send_action(core, message);
}

static void warn_for_dialer(void *core, const char *text) {
    client_log(core, true, "%s", text);
}

static bool has_room(void *core, uint64_t bytes) {
    const struct client_config *config = &((const struct client_core *)core)->config;

    return config->has_room == NULL || config->has_room(config->room_user, bytes);
}

const struct link_owner client_link_owner = {
    .role = "a client",
    .reserve = reserve_for_dialer,
    .send = send_for_dialer,
    .warn = warn_for_dialer,
    .has_room = has_room,
};

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

static void say_hello(struct client_core *core) {
    const struct client_config *config = &core->config;
    struct wire_hello hello = {
        .role = WIRE_CLIENT,
        .session = config->session,
        .name = {config->name, strlen(config->name)},
        .host = {config->host, strlen(config->host)},
        .pid = (uint64_t)config->pid,
    };

    link_dialer_hello(&core->dialer, &hello);
}

void client_session_acknowledge(struct client_core *core, uint64_t now_ns) {
    if (client_connected(core) && link_ack_due(&core->dialer.link)) {
        link_dialer_heartbeat(&core->dialer, now_ns);
    }
}

/* --------------------------------------------------------------- what comes in */

static void handle_welcome(struct client_core *core, uint64_t now_ns,
                           const struct link_heard *heard) {
    if (heard->anew) {
        client_drop_held(core);
        client_tasks_restart(core);
        core->expiry_ns = now_ns;
    }
    if (heard->anew || !heard->was_up) {
        client_act(core, CLIENT_CONNECTED)->yes = heard->anew;
    }
    link_dialer_resend(&core->dialer, heard->resend);
}

/* A SUBMIT that the broker can't read comes back as often as it is sent, and which tasks were in it is not
 * known: so all of them end, rather than some never. */
static bool is_final(const struct link_heard *heard) {
    return heard->final ||
           (heard->reject.about == WIRE_SUBMIT && (heard->reject.code == WIRE_REJECT_MALFORMED ||
                                                   heard->reject.code == WIRE_REJECT_TYPE));
}

static void handle_reject(struct client_core *core, const struct link_heard *heard) {
    if (is_final(heard) && client_reserve(core, 1)) {
        struct client_action *action = client_act(core, CLIENT_REFUSED);

        link_dialer_refused(&core->dialer);
        action->text = heard->text;
        action->yes = heard->reject.code == WIRE_REJECT_AUTH;
    }
}

static void handle_batch(struct client_core *core, uint64_t now_ns, struct wire_message *message,
                         const struct wire_envelope *envelope) {
    struct wire_batch batch;
    struct wire_fault fault;

    if (!wire_batch_open(&batch, message, &fault)) {
        link_dialer_reject(&core->dialer, now_ns, envelope->type, &fault);
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

static void handle_message(struct client_core *core, uint64_t now_ns, struct wire_message *message,
                           const struct wire_envelope *envelope) {
    switch (envelope->type) {
    case WIRE_OUTCOMES:
    case WIRE_VERDICTS:
    case WIRE_STARTED:
    case WIRE_CREDIT:
        handle_batch(core, now_ns, message, envelope);
        break;
    default:
        link_dialer_misplaced(&core->dialer, now_ns, envelope->type);
        break;
    }
}

void client_session_receive(struct client_core *core, uint64_t now_ns,
                            struct wire_message *message) {
    struct link_heard heard;

    if (core->left) {
        return;
    }
    link_dialer_receive(&core->dialer, now_ns, message, &heard);
    switch (heard.type) {
    case LINK_HEARD_NOTHING:
        break;
    case LINK_HEARD_WELCOME:
        handle_welcome(core, now_ns, &heard);
        break;
    case LINK_HEARD_REJECT:
        handle_reject(core, &heard);
        break;
    case LINK_HEARD_NO_ROOM:
        client_act(core, CLIENT_RECONNECT);
        break;
    case LINK_HEARD_MESSAGE:
        handle_message(core, now_ns, message, &heard.envelope);
        break;
    }
}

/* ------------------------------------------------------------------------ time */

void client_session_tick(struct client_core *core, uint64_t now_ns) {
    bool reconnect;

    if (core->left || !core->reachable) {
        return;
    }
    switch (link_dialer_go_on(&core->dialer, now_ns, &reconnect)) {
    case LINK_DO_NOTHING:
        break;
    case LINK_DO_HEARTBEAT:
        client_slots_trim(&core->slots);
        break;
    case LINK_DO_HELLO:
        if (reconnect) {
            client_act(core, CLIENT_RECONNECT);
        }
        say_hello(core);
        break;
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
