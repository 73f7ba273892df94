#include "worker/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for actions that is always there: no step without a batch needs more at its beginning. */
#define ACTIONS_MIN 64u

static bool texts_make(struct worker_core *core) {
    const struct worker_config *config = &core->config;
    size_t count = (size_t)config->function_count + config->tag_count;

    core->texts = malloc((count + 1) * sizeof *core->texts);
    if (core->texts == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < config->function_count; i++) {
        core->texts[i] = (struct wire_text){config->functions[i], strlen(config->functions[i])};
    }
    for (uint32_t i = 0; i < config->tag_count; i++) {
        core->texts[config->function_count + i] =
            (struct wire_text){config->tags[i], strlen(config->tags[i])};
    }
    return true;
}

/* What is said when there is no memory to say more. */
static bool no_memory_make(struct worker_core *core) {
    static const char text[] = "no memory in the worker for the task's result";
    struct wire_error error = {
        .message = {text, sizeof text - 1},
        .function = {"", 0},
        .host = {core->config.host, strlen(core->config.host)},
        .pid = core->config.pid,
    };

    return wire_error_encode(&error, &core->no_memory);
}

struct worker_core *worker_core_new(const struct worker_config *config, uint64_t now_ns) {
    struct worker_core *core = calloc(1, sizeof *core);

    if (core == NULL) {
        return NULL;
    }
    core->config = *config;
    if (core->config.grace_ns == 0) {
        core->config.grace_ns = WORKER_GRACE_NS;
    }
    core->reachable = !config->await_transport;
    core->payload_max = WIRE_PAYLOAD_BYTES_MAX;
    core->leave_until_ns = UINT64_MAX;
    core->retry_ns = UINT64_MAX;
    link_dialer_init(&core->dialer, now_ns, config->seed);
    link_dialer_own(&core->dialer, &worker_link_owner, core, now_ns);
    worker_store_init(core);
    base_slab_init(&core->limits, sizeof(struct worker_limit), 0);
    base_map_init(&core->guests, config->seed, config->session.low);
    base_heap_init(&core->timers);
    core->results = wire_writer_new(WIRE_RESULTS);
    core->returned = wire_writer_new(WIRE_RETURNED);
    core->running = wire_writer_new(WIRE_RUNNING);
    core->actions = malloc(ACTIONS_MIN * sizeof *core->actions);
    core->action_room = ACTIONS_MIN;
    if (core->results == NULL || core->returned == NULL || core->running == NULL ||
        core->actions == NULL || !texts_make(core) || !no_memory_make(core)) {
        worker_core_free(core);
        return NULL;
    }
    return core;
}

void worker_core_free(struct worker_core *core) {
    struct worker_task *task;
    uint32_t cursor = 0;

    if (core == NULL) {
        return;
    }
    while ((task = worker_next(core, &cursor)) != NULL) {
        wire_message_unref(task->message);
    }
    worker_guests_free(core);
    worker_outgoing_drop(core);
    wire_writer_free(core->results);
    wire_writer_free(core->returned);
    wire_writer_free(core->running);
    base_heap_fini(&core->timers);
    worker_store_fini(core);
    base_slab_fini(&core->limits);
    free(core->ahead.tasks);
    free(core->behind.tasks);
    free(core->done);
    link_dialer_fini(&core->dialer);
    base_buffer_fini(&core->no_memory);
    base_buffer_fini(&core->error);
    free(core->texts);
    free(core->actions);
    free(core);
}

/* ----------------------------------------------------------------- actions */

bool worker_reserve(struct worker_core *core, size_t count) {
    size_t needed = core->action_count + count, room = core->action_room;
    struct worker_action *actions;

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

struct worker_action *worker_act(struct worker_core *core, enum worker_action_type type) {
    struct worker_action *action;

    BASE_ASSERT(core->action_count < core->action_room);
    action = &core->actions[core->action_count++];
    *action = (struct worker_action){.type = type};
    return action;
}

void worker_log(struct worker_core *core, bool warn, const char *format, ...) {
    va_list arguments;
    struct worker_action *action;

    if (core->text[0] != '\0' || !worker_reserve(core, 1)) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(core->text, sizeof core->text, format, arguments);
    va_end(arguments);
    action = worker_act(core, WORKER_LOG);
    action->warn = warn;
    action->text = core->text;
}

const struct worker_action *worker_actions(const struct worker_core *core, size_t *count) {
    *count = core->action_count;
    return core->actions;
}

void worker_starve(struct worker_core *core, uint64_t now_ns) {
    core->retry_ns = now_ns + WORKER_RETRY_NS;
}

/* ------------------------------------------------------------------- steps */

static void flush(struct worker_core *core, uint64_t now_ns) {
    if (core->owing > 0) {
        worker_tasks_owed(core, now_ns);
    }
    if (core->draining) {
        worker_leave_on(core, now_ns);
    }
    worker_session_flush(core, now_ns);
}

static void tick(struct worker_core *core, uint64_t now_ns) {
    worker_session_tick(core, now_ns);
    worker_tasks_tick(core, now_ns);
    if (now_ns >= core->retry_ns) {
        core->retry_ns = UINT64_MAX;
        flush(core, now_ns);
    } else if (core->draining) {
        worker_leave_on(core, now_ns);
    }
}

void worker_step(struct worker_core *core, uint64_t now_ns, const struct worker_event *event) {
    core->action_count = 0;
    core->text[0] = '\0';
    if (core->left || core->killed) {
        return;
    }
    switch (event->type) {
    case WORKER_RECEIVE:
        worker_session_receive(core, now_ns, event->message);
        worker_session_settle(core);
        break;
    case WORKER_FINISHED:
        worker_tasks_finished(core, now_ns, event);
        break;
    case WORKER_WITHDRAWN:
        worker_withdrawn(core, now_ns, event);
        break;
    case WORKER_BEGAN:
        worker_tasks_began(core, now_ns, event);
        break;
    case WORKER_RECONNECTED:
        core->reachable = true;
        link_dialer_lost(&core->dialer, now_ns);
        break;
    case WORKER_TICK:
        tick(core, now_ns);
        break;
    case WORKER_FLUSH:
        flush(core, now_ns);
        break;
    case WORKER_DRAIN:
        worker_drain(core, true, true);
        break;
    }
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns) {
    return a_ns < b_ns ? a_ns : b_ns;
}

uint64_t worker_deadline(const struct worker_core *core) {
    const struct base_heap_node *first = base_heap_peek(&core->timers);
    uint64_t deadline_ns = earlier(core->retry_ns, core->leave_until_ns);

    if (core->left || core->killed) {
        return UINT64_MAX;
    }
    if (first != NULL) {
        deadline_ns = earlier(deadline_ns, first->key);
    }
    if (core->reachable) {
        deadline_ns = earlier(deadline_ns, link_dialer_deadline(&core->dialer));
    }
    return deadline_ns;
}

void worker_get_stats(const struct worker_core *core, struct worker_stats *stats) {
    *stats = (struct worker_stats){
        .held = worker_held(core) + wire_writer_count(core->results),
        .connected = worker_connected(core),
        .finished = core->finished,
    };
}
