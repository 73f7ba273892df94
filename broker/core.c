/* Steps, actions, timers, statistics. */
#include "broker/core_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "broker/admin.h"
#include "broker/claims.h"
#include "broker/client.h"
#include "broker/credit.h"
#include "broker/outbox.h"
#include "broker/owner.h"
#include "broker/queue.h"
#include "broker/recall.h"
#include "broker/recover.h"
#include "broker/router.h"
#include "broker/schedule.h"
#include "broker/session.h"
#include "broker/task.h"
#include "broker/timer.h"
#include "broker/worker.h"

void broker_config_default(struct broker_config *config) {
    *config = (struct broker_config){
        .epoch = config->epoch,
        .seed = config->seed,
        .memory = config->memory,
        .host = config->host,
        .version = config->version,
        .pid = config->pid,
        .heartbeat_ns = 1 * BROKER_S,
        .silence_ns = 10 * BROKER_S,
        .settle_ns = 500 * BROKER_MS,
        .no_function_ns = 3 * BROKER_S,
        .child_grace_ns = 10 * BROKER_MS,
        .memory_bytes = UINT64_C(4) << 30,
        .tasks_max = 8388608,
        .client_tasks_max = 8388608,
        .sessions_max = 65536,
    };
}

/* ------------------------------------------------------------------ making */

struct broker_core *broker_new(const struct broker_config *config, uint64_t now_ns) {
    struct broker_core *core = calloc(1, sizeof *core);
    struct base_rng *rng;

    if (core == NULL) {
        return NULL;
    }
    BASE_ASSERT(config->epoch != 0 && config->host != NULL);
    core->config = *config;
    core->lease_count = config->epoch * UINT64_C(0x9e3779b97f4a7c15);
    if (core->config.tasks_max > BROKER_TASKS_MAX) {
        core->config.tasks_max = BROKER_TASKS_MAX;
    }
    core->now_ns = now_ns;
    core->born_ns = now_ns;
    core->retry_ns = UINT64_MAX;
    rng = &core->rng;
    base_rng_init(rng, config->seed);
    base_slab_init(&core->tasks, sizeof(struct broker_task), 0);
    base_slab_use(&core->tasks, config->memory);
    base_slab_init(&core->extras, sizeof(struct broker_extra), 0);
    base_map_init(&core->sessions, base_rng_next(rng), base_rng_next(rng));
    base_map_init(&core->owners, base_rng_next(rng), base_rng_next(rng));
    base_idmap_init(&core->addresses, base_rng_next(rng));
    base_map_init(&core->demands, base_rng_next(rng), base_rng_next(rng));
    base_map_init(&core->offers, base_rng_next(rng), base_rng_next(rng));
    base_map_init(&core->claims, base_rng_next(rng), base_rng_next(rng));
    base_heap_init(&core->timers);
    base_list_init(&core->dirty);
    base_list_init(&core->active);
    base_list_init(&core->uneven);
    base_list_init(&core->starved);
    base_list_init(&core->held);
    base_list_init(&core->failing);
    base_list_init(&core->suspicious);
    base_list_init(&core->session_roll);
    base_list_init(&core->demand_roll);
    base_list_init(&core->unproven);
    base_buffer_init(&core->scratch);
    if (!broker_timer_make(core, &core->settle, BROKER_TIMER_SETTLE) ||
        !broker_timer_make(core, &core->drain, BROKER_TIMER_DRAIN) ||
        !broker_timer_make(core, &core->trim, BROKER_TIMER_TRIM)) {
        broker_free(core);
        return NULL;
    }
    return core;
}

static void clear_actions(struct broker_core *core) {
    core->action_count = 0;
    core->line_count = 0;
}

static void leave_all(struct broker_core *core) {
    struct base_map_cursor cursor = {0};
    struct base_map_node *node;

    while ((node = base_map_next(&core->sessions, &cursor)) != NULL) {
        struct broker_session *session = BASE_CONTAINER_OF(node, struct broker_session, by_id);

        session->lost = true;
        switch (session->role) {
        case WIRE_CLIENT:
            broker_client_leave(core, broker_client_of(session));
            break;
        case WIRE_WORKER:
            broker_worker_lost(core, broker_worker_of(session), BROKER_LOSS_BYE);
            break;
        case WIRE_SUPERVISOR:
            broker_session_free(core, session);
            break;
        case WIRE_ADMIN:
            broker_admin_leave(core, broker_admin_of(session));
            break;
        }
    }
}

void broker_free(struct broker_core *core) {
    struct base_map_cursor cursor = {0};
    struct base_map_node *node;

    if (core == NULL) {
        return;
    }
    clear_actions(core); /* those of the last step have been carried out */
    leave_all(core);
    while ((node = base_map_next(&core->claims, &cursor)) != NULL) {
        broker_claim_free(core, BASE_CONTAINER_OF(node, struct broker_claim, node));
    }
    BASE_ASSERT(base_slab_count(&core->tasks) == 0 && base_slab_count(&core->extras) == 0);
    BASE_ASSERT(base_map_count(&core->demands) == 0 && base_map_count(&core->offers) == 0);
    BASE_ASSERT(core->memory == 0 && core->queued == 0 && core->leased == 0);
    base_slab_fini(&core->tasks);
    base_slab_fini(&core->extras);
    BASE_ASSERT(base_map_count(&core->owners) == 0);
    base_map_fini(&core->sessions);
    base_map_fini(&core->owners);
    base_idmap_fini(&core->addresses);
    base_map_fini(&core->demands);
    base_map_fini(&core->offers);
    base_map_fini(&core->claims);
    base_heap_fini(&core->timers);
    base_buffer_fini(&core->scratch);
    wire_writer_free(core->credits);
    for (size_t i = 0; i < BROKER_LOG_LINES; i++) {
        free(core->lines[i]);
    }
    free(core->actions);
    free(core);
}

/* ----------------------------------------------------------------- actions */

static struct broker_action *action_new(struct broker_core *core) {
    if (core->action_count == core->action_room) {
        size_t room = core->action_room == 0 ? 64 : core->action_room * 2;
        struct broker_action *actions = realloc(core->actions, room * sizeof *actions);

        if (actions == NULL) {
            broker_starve(core);
            return NULL;
        }
        core->actions = actions;
        core->action_room = room;
    }
    return &core->actions[core->action_count++];
}

void broker_send(struct broker_core *core, broker_address to, struct wire_message *message) {
    struct broker_action *action = action_new(core);

    if (action == NULL) {
        wire_message_unref(message);
        return;
    }
    *action = (struct broker_action){.type = BROKER_SEND, .to = to, .message = message};
}

void broker_act(struct broker_core *core, enum broker_action_type type, broker_address to) {
    struct broker_action *action = action_new(core);

    if (action != NULL) {
        *action = (struct broker_action){.type = type, .to = to};
    }
}

static char *line_new(struct broker_core *core) {
    char **line = &core->lines[core->line_count];

    if (*line == NULL) {
        *line = malloc(BROKER_LOG_LINE_BYTES);
    }
    core->line_count += *line != NULL;
    return *line;
}

static char *line_begin(struct broker_core *core, bool warn) {
    char *line = line_new(core);
    struct broker_action *action = line == NULL ? NULL : action_new(core);

    if (action == NULL) {
        return NULL;
    }
    line[0] = '\0';
    *action = (struct broker_action){.type = BROKER_LOG, .warn = warn, .text = line, .fields = ""};
    return line;
}

static void log_line(struct broker_core *core, bool warn, const char *format, va_list arguments) {
    char *line = line_begin(core, warn);

    if (line != NULL) {
        vsnprintf(line, BROKER_LOG_LINE_BYTES, format, arguments);
    }
}

static void log_dropped(struct broker_core *core, const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    log_line(core, true, format, arguments);
    va_end(arguments);
}

/* Whether there may be another line now; says so if some were left out. */
static bool log_allowed(struct broker_core *core) {
    if (core->now_ns >= core->log_window_ns) {
        core->log_window_ns = broker_after(core, BROKER_S);
        core->log_count = 0;
    }
    if (core->log_count >= BROKER_LOG_RATE || core->line_count + 2 > BROKER_LOG_LINES) {
        core->log_dropped++;
        return false;
    }
    core->log_count++;
    if (core->log_dropped > 0) {
        log_dropped(core, "%u log lines were left out", core->log_dropped);
        core->log_dropped = 0;
    }
    return true;
}

void broker_log(struct broker_core *core, bool warn, const char *format, ...) {
    va_list arguments;

    if (log_allowed(core)) {
        va_start(arguments, format);
        log_line(core, warn, format, arguments);
        va_end(arguments);
    }
}

static const char *role_name(enum wire_role role) {
    switch (role) {
    case WIRE_CLIENT:
        return "client";
    case WIRE_WORKER:
        return "worker";
    case WIRE_SUPERVISOR:
        return "supervisor";
    case WIRE_ADMIN:
        break;
    }
    return "admin";
}

void broker_log_peer(struct broker_core *core, bool warn, const char *message,
                     const struct broker_session *session, const char *format, ...) {
    char name[96], host[96], more[128] = "", *line;
    size_t used = strlen(message) + 1;
    va_list arguments;

    line = log_allowed(core) ? line_begin(core, warn) : NULL;
    if (line == NULL) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(more, sizeof more, format, arguments);
    va_end(arguments);
    memcpy(line, message, used);
    core->actions[core->action_count - 1].fields = line + used;
    snprintf(line + used, BROKER_LOG_LINE_BYTES - used,
             "%s=%s pid=%lld host=%s session=%016llx%016llx%s%s", role_name(session->role),
             base_log_quote(name, sizeof name, session->name), (long long)session->pid,
             base_log_quote(host, sizeof host, session->host), (unsigned long long)session->id.high,
             (unsigned long long)session->id.low, more[0] == '\0' ? "" : " ", more);
}

const struct broker_action *broker_actions(const struct broker_core *core, size_t *count) {
    *count = core->action_count;
    return core->actions;
}

/* ------------------------------------------------------------------ timers */

bool broker_timer_make(struct broker_core *core, struct broker_timer *timer,
                       enum broker_timer_kind kind) {
    base_heap_node_init(&timer->node);
    timer->kind = kind;
    return base_heap_insert(&core->timers, &timer->node, UINT64_MAX);
}

void broker_timer_drop(struct broker_core *core, struct broker_timer *timer) {
    if (base_heap_node_linked(&timer->node)) {
        base_heap_remove(&core->timers, &timer->node);
    }
}

void broker_timer_set(struct broker_core *core, struct broker_timer *timer, uint64_t at_ns) {
    if (timer->node.key != at_ns) {
        base_heap_update(&core->timers, &timer->node, at_ns);
    }
}

void broker_starve(struct broker_core *core) {
    uint64_t at_ns = broker_after(core, BROKER_RETRY_NS);

    if (at_ns < core->retry_ns) {
        core->retry_ns = at_ns;
    }
}

uint64_t broker_after(const struct broker_core *core, uint64_t duration_ns) {
    uint64_t room = UINT64_MAX - 1 - core->now_ns;

    return core->now_ns + (duration_ns < room ? duration_ns : room);
}

static void fire(struct broker_core *core, struct broker_timer *timer) {
    switch (timer->kind) {
    case BROKER_TIMER_SESSION:
        broker_session_timer(core, BASE_CONTAINER_OF(timer, struct broker_session, timer));
        break;
    case BROKER_TIMER_TASK:
        broker_task_timer(core, BASE_CONTAINER_OF(timer, struct broker_extra, timer)->task);
        break;
    case BROKER_TIMER_DEMAND:
        broker_demand_timer(core, BASE_CONTAINER_OF(timer, struct broker_demand, timer));
        break;
    case BROKER_TIMER_OFFER:
        broker_offer_timer(core, BASE_CONTAINER_OF(timer, struct broker_offer, timer));
        break;
    case BROKER_TIMER_GRACE:
        broker_worker_grace(core, BASE_CONTAINER_OF(timer, struct broker_worker, grace));
        break;
    case BROKER_TIMER_CLAIM:
        broker_claim_timer(core, BASE_CONTAINER_OF(timer, struct broker_claim, timer));
        break;
    case BROKER_TIMER_SETTLE:
        broker_settle_end(core);
        break;
    case BROKER_TIMER_DRAIN:
        core->drained = true;
        break;
    case BROKER_TIMER_TRIM:
        broker_tasks_trim(core);
        break;
    }
}

static void tick(struct broker_core *core) {
    struct base_heap_node *node;

    while ((node = base_heap_peek(&core->timers)) != NULL && node->key <= core->now_ns) {
        struct broker_timer *timer = BASE_CONTAINER_OF(node, struct broker_timer, node);

        broker_timer_stop(core, timer);
        fire(core, timer);
    }
}

uint64_t broker_deadline(const struct broker_core *core) {
    const struct base_heap_node *node = base_heap_peek(&core->timers);

    return node == NULL || node->key > core->retry_ns ? core->retry_ns : node->key;
}

/* ------------------------------------------------------------------- steps */

static void stop_worker(struct broker_core *core, struct broker_worker *worker) {
    if (worker->stopped || !broker_session_stop(core, &worker->session)) {
        return;
    }
    worker->stopped = true;
    worker->draining = true;
    broker_worker_place(core, worker);
}

/* A broker that drains tells its workers to stop when the last task has ended, and is done when they
 * and the last outcomes are gone, or after a while. */
static void drain_on(struct broker_core *core) {
    struct base_map_cursor cursor = {0};
    struct base_map_node *node;
    bool waiting = false;

    if (base_slab_count(&core->tasks) > 0) {
        return;
    }
    while ((node = base_map_next(&core->sessions, &cursor)) != NULL) {
        struct broker_session *session = BASE_CONTAINER_OF(node, struct broker_session, by_id);

        if (session->role == WIRE_WORKER) {
            stop_worker(core, broker_worker_of(session));
        }
        waiting = waiting || session->role == WIRE_WORKER || session->link.kept_count > 0 ||
                  session->outbox_count > 0;
    }
    if (!core->stopped) {
        core->stopped = true;
        broker_timer_set(core, &core->drain, broker_after(core, BROKER_LEAVE_NS));
    }
    core->drained = core->drained || !waiting;
}

static void flush_sessions(struct broker_core *core) {
    struct base_list dirty;
    struct base_node *node;

    base_list_init(&dirty);
    base_list_splice(&dirty, &core->dirty);
    while ((node = base_list_pop_front(&dirty)) != NULL) {
        broker_session_flush(core, BASE_LIST_ENTRY(node, struct broker_session, dirty));
    }
}

/* The counts of all functions together are kept in `stats`. */
static void roll_meter(struct broker_core *core) {
    if (BASE_UNLIKELY(core->now_ns - core->meter.newer.at_ns >= BROKER_METER_NS)) {
        core->meter.now =
            (struct broker_counts){core->stats.submitted, core->stats.finished, core->stats.failed};
        broker_meter_turn(&core->meter, core->now_ns);
    }
}

static void flush(struct broker_core *core) {
    roll_meter(core);
    broker_tasks_failing(core);
    broker_dispatch(core);
    broker_even_out(core);
    broker_credit_flush(core);
    if (core->draining && !core->drained) {
        drain_on(core);
    }
    flush_sessions(core);
    if (core->drained && !core->drained_told) {
        core->drained_told = true;
        broker_act(core, BROKER_DRAINED, 0);
    }
}

void broker_step(struct broker_core *core, uint64_t now_ns, const struct broker_event *event) {
    clear_actions(core);
    if (now_ns > core->now_ns) {
        core->now_ns = now_ns;
    }
    if (core->now_ns >= core->retry_ns) {
        core->retry_ns = UINT64_MAX;
    }
    switch (event->type) {
    case BROKER_RECEIVE:
        broker_route(core, event);
        break;
    case BROKER_TICK:
        tick(core);
        break;
    case BROKER_FLUSH:
        core->taken_in = 0;
        flush(core);
        break;
    case BROKER_DRAIN:
        core->draining = true;
        break;
    case BROKER_AUTHORIZE:
        broker_owner_authorize(core, event->identity);
        break;
    }
}

bool broker_wants_flush(const struct broker_core *core) {
    return core->taken_in >= BROKER_TAKE_IN_MAX;
}

void broker_get_stats(const struct broker_core *core, struct broker_stats *stats) {
    *stats = core->stats;
    stats->tasks_leased = core->leased;
    stats->tasks_queued = (uint32_t)base_slab_count(&core->tasks) - core->leased - core->abandoned;
    stats->memory_bytes = core->memory;
}

void broker_get_report(const struct broker_core *core, struct broker_report *report) {
    *report = (struct broker_report){
        .waits = core->waits,
        .runs = core->runs,
        .slots = core->slots,
        .memory_max = core->config.memory_bytes,
    };
}

char *broker_text(struct wire_text text) {
    char *copy = malloc(text.size + 1);

    if (copy != NULL) {
        if (text.size > 0) {
            memcpy(copy, text.data, text.size);
        }
        copy[text.size] = '\0';
    }
    return copy;
}
