#include "worker/internal.h"

#include <stdio.h>
#include <string.h>

/* The session with the broker: docs/protocol.md section 4. */

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

/* ------------------------------------------------------------- what comes in */

static void handle_welcome(struct worker_core *core, const struct link_heard *heard) {
    uint64_t payload_max = heard->welcome.payload_max;

    if (heard->anew) {
        worker_outgoing_keep_results(core);
        worker_held_review(core);
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
