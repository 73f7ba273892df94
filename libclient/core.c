#include "libclient/core_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for actions that is always there: no step without a batch needs more at its beginning. */
#define ACTIONS_MIN 64u

struct client_core *client_core_new(const struct client_config *config, uint64_t now_ns) {
    struct client_core *core = calloc(1, sizeof *core);

    if (core == NULL) {
        return NULL;
    }
    core->config = *config;
    core->reachable = !config->await_transport;
    core->round = 1;
    core->retry_ns = UINT64_MAX;
    core->expiry_ns = UINT64_MAX;
    link_dialer_init(&core->dialer, now_ns, config->seed);
    link_dialer_own(&core->dialer, &client_link_owner, core, now_ns);
    base_map_init(&core->classes.map, config->seed, config->session.low);
    client_slots_init(&core->slots);
    base_list_init(&core->waiting);
    base_list_init(&core->sent);
    core->submits = wire_writer_new(WIRE_SUBMIT);
    core->cancel_writer = wire_writer_new(WIRE_CANCEL);
    core->actions = malloc(ACTIONS_MIN * sizeof *core->actions);
    core->action_room = ACTIONS_MIN;
    if (core->submits == NULL || core->cancel_writer == NULL || core->actions == NULL) {
        client_core_free(core);
        return NULL;
    }
    return core;
}

void client_core_free(struct client_core *core) {
    if (core == NULL) {
        return;
    }
    BASE_ASSERT(core->waiting_count == 0 && core->sent_count == 0);
    client_drop_held(core);
    wire_writer_free(core->submits);
    wire_writer_free(core->cancel_writer);
    client_classes_fini(&core->classes);
    client_slots_fini(&core->slots);
    link_dialer_fini(&core->dialer);
    base_buffer_fini(&core->errors);
    free(core->cancels.ring);
    free(core->actions);
    free(core);
}

/* ----------------------------------------------------------------- actions */

bool client_reserve(struct client_core *core, size_t count) {
    size_t needed = core->action_count + count, room = core->action_room;
    struct client_action *actions;

    if (needed <= room) {
        return true;
    }
    while (room < needed) {
        room *= 2;
    }
    actions = realloc(core->actions, room * sizeof *actions);
    if (actions == NULL) {
        return false;
    }
    core->actions = actions;
    core->action_room = room;
    return true;
}

void client_log(struct client_core *core, bool warn, const char *format, ...) {
    va_list arguments;
    struct client_action *action;

    if (core->text[0] != '\0' || !client_reserve(core, 2)) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(core->text, sizeof core->text, format, arguments);
    va_end(arguments);
    action = client_act(core, CLIENT_LOG);
    action->warn = warn;
    action->text = core->text;
}

const struct client_action *client_actions(const struct client_core *core, size_t *count) {
    *count = core->action_count;
    return core->actions;
}

void client_starve(struct client_core *core, uint64_t now_ns) {
    core->retry_ns = now_ns + CLIENT_RETRY_NS;
}

/* ------------------------------------------------------------------- steps */

static void flush(struct client_core *core, uint64_t now_ns) {
    if (client_connected(core) && client_post_held(core, now_ns)) {
        client_tasks_flush(core, now_ns);
        client_cancels_flush(core, now_ns);
    }
    client_session_acknowledge(core, now_ns);
}

static void tick(struct client_core *core, uint64_t now_ns) {
    client_session_tick(core, now_ns);
    client_limits_tick(core, now_ns);
    if (now_ns >= core->retry_ns) {
        core->retry_ns = UINT64_MAX;
        flush(core, now_ns);
    }
}

/* Says LEFT once: when BYE has arrived, or there is no use in waiting for it. */
static void check_left(struct client_core *core, uint64_t now_ns) {
    if (!core->leaving || core->left) {
        return;
    }
    if ((core->leave_seq != UINT64_MAX && core->dialer.link.acknowledged >= core->leave_seq) ||
        !client_connected(core) || now_ns >= core->leave_until_ns) {
        if (client_reserve(core, 1)) {
            core->left = true;
            client_act(core, CLIENT_LEFT);
        }
    }
}

void client_step(struct client_core *core, uint64_t now_ns, const struct client_event *event) {
    bool was_connected = client_connected(core);

    core->action_count = 0;
    core->text[0] = '\0';
    base_buffer_clear(&core->errors);
    switch (event->type) {
    case CLIENT_SUBMIT:
        client_tasks_submit(core, now_ns, event);
        break;
    case CLIENT_CANCEL:
        client_cancel(core, now_ns, event->task);
        break;
    case CLIENT_CANCEL_ALL:
        client_cancel_all(core, now_ns);
        break;
    case CLIENT_RECEIVE:
        client_session_receive(core, now_ns, event->message);
        break;
    case CLIENT_RECONNECTED:
        core->reachable = true;
        if (core->dialer.state != LINK_IDLE) {
            link_dialer_lost(&core->dialer, now_ns);
        }
        break;
    case CLIENT_TICK:
        tick(core, now_ns);
        break;
    case CLIENT_FLUSH:
        flush(core, now_ns);
        break;
    case CLIENT_BREAK:
        client_tasks_break(core, event);
        break;
    case CLIENT_LEAVE:
        client_session_leave(core, now_ns);
        break;
    }
    if (was_connected && !client_connected(core) && core->sent_count > 0) {
        core->expiry_ns = now_ns; /* nobody else keeps the time limits now */
    }
    check_left(core, now_ns);
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns) {
    return a_ns < b_ns ? a_ns : b_ns;
}

uint64_t client_deadline(const struct client_core *core) {
    uint64_t deadline_ns = earlier(client_limits_deadline(core), core->retry_ns);

    if (core->reachable && !core->left) {
        deadline_ns = earlier(deadline_ns, link_dialer_deadline(&core->dialer));
    }
    if (core->leaving && !core->left) {
        deadline_ns = earlier(deadline_ns, core->leave_until_ns);
    }
    return deadline_ns;
}

void client_get_stats(const struct client_core *core, struct client_stats *stats) {
    *stats = (struct client_stats){
        .waiting = core->waiting_count,
        .sent = core->sent_count,
        .connected = client_connected(core),
        .epoch = core->dialer.epoch,
    };
}
