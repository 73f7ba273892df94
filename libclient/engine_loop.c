#include "libclient/engine.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/futex.h"
#include "wire/value.h"

/* The longest that the cores see pass without the thread having run. */
#define STALL_NS (500 * BASE_CLOCK_NS_PER_MS)

/* ------------------------------------------------------------------- the clock */

/* The engine's clock stands still while the whole process did (stopped by a signal, or the machine
 * asleep), but for a moment: otherwise the cores would take their own absence for the silence of
 * their peers. */
void engine_read_clock(struct engine *engine) {
    uint64_t raw_ns = base_clock_ns();
    uint64_t expected_ns =
        engine->slept_until_ns > engine->raw_ns ? engine->slept_until_ns : engine->raw_ns;

    if (expected_ns != UINT64_MAX && raw_ns > expected_ns + STALL_NS) {
        engine->skew_ns += raw_ns - expected_ns - STALL_NS;
    }
    engine->raw_ns = raw_ns;
    engine->slept_until_ns = 0;
    engine->now_ns = raw_ns - engine->skew_ns;
}

/* --------------------------------------------------------------------- actions */

static int32_t break_code(const struct engine *engine) {
    return engine->break_status == FURROW_EAUTH ? FURROW_EAUTH : 0;
}

static inline void end_task(struct engine *engine, furrow_future *future, enum wire_kind kind,
                            const struct client_action *action) {
    /* Whoever waits for a verdict has a reference. */
    bool waited = (future->own_flags & ENGINE_FUTURE_CANCEL_WAITED) != 0;

    if (BASE_LIKELY(kind == WIRE_KIND_VALUE)) {
        /* of a chunk, perhaps, in which values are wrapped */
        if (BASE_LIKELY(wire_value_is_one(action->data, action->size, WIRE_NESTING_MAX))) {
            (void)future_resolve(future, kind, action->data, action->size, action->large);
        } else {
            (void)future_fail(future, WIRE_KIND_ERROR, 0, "the result that arrived is malformed");
        }
    } else if (engine->broken && action->data == NULL && kind == engine->break_kind) {
        (void)future_fail_as(future, kind, break_code(engine), 0, engine->break_text);
    } else {
        (void)future_resolve(future, kind, action->data, action->size, action->large);
    }
    if (BASE_UNLIKELY(waited)) {
        engine_verdict(engine, future);
    }
}

static inline void end_chain(struct engine *engine, enum wire_kind kind,
                             const struct client_action *action) {
    struct client_task *task = action->task, *next;

    do {
        next = BASE_UNLIKELY(action->chain) ? task->next : NULL;
        end_task(engine, future_of_task(task), kind, action);
        task = next;
    } while (BASE_UNLIKELY(task != NULL));
}

static void handle_verdict(struct engine *engine, const struct client_action *action) {
    furrow_future *future = future_of_task(action->task);

    if (action->yes) {
        end_chain(engine, WIRE_KIND_CANCELLED, action);
    } else if ((future->own_flags & ENGINE_FUTURE_CANCEL_WAITED) != 0) {
        engine_verdict(engine, future);
    }
}

static void tell_connected(struct engine *engine, enum engine_connected state) {
    if (atomic_load(&engine->connected) == ENGINE_NOT_YET) {
        atomic_store(&engine->connected, state);
        base_futex_wake(&engine->connected, INT_MAX);
    }
}

/* A worker of a broker has died with a task, and nobody else tells of it. */
static void break_strict(struct engine *engine, const struct client_action *action) {
    struct wire_error error = {0};

    (void)wire_error_decode(action->data, action->size, &error);
    engine_break(engine, WIRE_KIND_BROKEN, "a worker died: %.*s", (int)error.message.size,
                 error.message.data);
}

/* What an outcome that is no value means for the executor, and as what the task ends. */
static enum wire_kind look_at(struct engine *engine, const struct client_action *action) {
    if (action->kind == WIRE_KIND_BROKEN && action->data != NULL) {
        engine_initializer_look(engine, action);
    } else if (action->kind == WIRE_KIND_LOST && engine_is_strict_fleet(engine)) {
        break_strict(engine, action);
        return WIRE_KIND_BROKEN;
    }
    return action->kind;
}

static void carry_out(struct engine *engine, const struct client_action *action) {
    switch (action->type) {
    case CLIENT_SEND:
        engine->transport->send(engine, action->message);
        break;
    case CLIENT_RESOLVE:
        end_chain(engine, look_at(engine, action), action);
        break;
    case CLIENT_BEGAN:
        (void)future_begin(future_of_task(action->task));
        break;
    case CLIENT_VERDICT:
        handle_verdict(engine, action);
        break;
    case CLIENT_RECONNECT:
        engine->transport->reconnect(engine);
        break;
    case CLIENT_REFUSED:
        if (action->yes) {
            engine_break_auth(engine, action->text);
        } else {
            engine_break(engine, WIRE_KIND_BROKEN, "%s", action->text);
            tell_connected(engine, ENGINE_REFUSED);
        }
        break;
    case CLIENT_CONNECTED:
        base_log(&engine->base.log, BASE_LOG_INFO, "connected to %s broker %s",
                 action->yes ? "a" : "the same", engine->base.url.address);
        tell_connected(engine, ENGINE_CONNECTED);
        break;
    case CLIENT_LEFT:
        engine->left = true;
        break;
    case CLIENT_LOG:
        base_log(&engine->base.log, action->warn ? BASE_LOG_WARN : BASE_LOG_INFO, "%s",
                 action->text);
        break;
    }
}

void engine_step(struct engine *engine, const struct client_event *event) {
    const struct client_action *actions;
    size_t count;

    client_step(engine->core, engine->now_ns, event);
    actions = client_actions(engine->core, &count);
    for (size_t i = 0; i < count; i++) {
        if (BASE_LIKELY(actions[i].type == CLIENT_RESOLVE && actions[i].kind == WIRE_KIND_VALUE)) {
            end_chain(engine, WIRE_KIND_VALUE, &actions[i]);
        } else {
            carry_out(engine, &actions[i]);
        }
    }
}

/* --------------------------------------------------------------------- submits */

_Static_assert(offsetof(struct client_task, next) == offsetof(struct base_inbox_node, next),
               "a chain from the inbox is a chain of tasks");

static struct client_task *tasks_of(struct base_inbox_node *first) {
    return first == NULL ? NULL : &future_of_inbox(first)->task;
}

void engine_close_submits(struct engine *engine) {
    struct client_task **end = &engine->backlog;

    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = tasks_of(engine_close_inbox(&engine->submits));
}

/* Refuses the first of the backlog, as many as the core would take. */
static void refuse_submits(struct engine *engine) {
    for (unsigned i = 0; i < CLIENT_SUBMIT_MAX && engine->backlog != NULL; i++) {
        struct client_task *task = engine->backlog;

        engine->backlog = task->next;
        (void)future_fail_as(future_of_task(task), engine->break_kind, break_code(engine), 0,
                             engine->break_text);
    }
}

static bool take_submits(struct engine *engine) {
    if (engine->backlog == NULL && engine->phase == ENGINE_OPEN) {
        engine->backlog = tasks_of(base_inbox_take(&engine->submits));
    }
    if (engine->backlog == NULL) {
        return false;
    }
    if (engine->broken) {
        refuse_submits(engine);
    } else {
        engine_step(engine, &(struct client_event){.type = CLIENT_SUBMIT,
                                                   .task = engine->backlog,
                                                   .rest = &engine->backlog});
    }
    return true;
}

void engine_take_submits(struct engine *engine) {
    while (take_submits(engine)) {
    }
}

/* ---------------------------------------------------------------------- breaks */

static void break_with(struct engine *engine, enum wire_kind kind, furrow_status status,
                       const char *text) {
    if (engine->break_due || engine->broken) {
        return;
    }
    (void)snprintf(engine->break_text, sizeof engine->break_text, "%s", text);
    engine->break_kind = kind;
    engine->break_status = status;
    engine->break_due = true;
    /* Whoever sees its future fail finds later submits refused, with the reason. */
    executor_break_as(&engine->base, status, engine->break_text);
}

void engine_break(struct engine *engine, enum wire_kind kind, const char *format, ...) {
    char text[ENGINE_TEXT_BYTES];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    break_with(engine, kind, FURROW_EBROKEN, text);
}

void engine_break_auth(struct engine *engine, const char *text) {
    break_with(engine, WIRE_KIND_BROKEN, FURROW_EAUTH, text);
    tell_connected(engine, ENGINE_REFUSED);
}

static void break_now(struct engine *engine) {
    engine->break_due = false;
    engine->broken = true;
    engine_step(engine, &(struct client_event){.type = CLIENT_BREAK, .kind = engine->break_kind});
}

/* -------------------------------------------------------------------- the loop */

static bool has_tasks(const struct engine *engine) {
    struct client_stats stats;

    client_get_stats(engine->core, &stats);
    return engine->backlog != NULL || stats.waiting > 0 || stats.sent > 0;
}

unsigned engine_load(const struct engine *engine) {
    struct client_stats stats;

    client_get_stats(engine->core, &stats);
    return stats.waiting + stats.sent + (engine->backlog != NULL);
}

/* Whether what is submitted stays where it is for now. Until it is looked at again something must be
 * sure to happen: tasks are under way, or a worker is to come. */
static bool is_full(struct engine *engine) {
    bool full = engine->transport->full != NULL && engine->phase == ENGINE_OPEN &&
                !engine->broken && engine->transport->full(engine) &&
                client_classes_alike(engine->core);

    if (full != atomic_load_explicit(&engine->full, memory_order_relaxed)) {
        atomic_store(&engine->full, full);
    }
    return full;
}

bool engine_pass(struct engine *engine) {
    struct future_batch batch;
    bool busy = false;

    future_batch_begin(&batch, engine->drive.led ? &engine->drive.later : NULL);
    busy |= engine_requests_take(engine);
    busy |= !is_full(engine) && take_submits(engine);
    busy |= engine->transport->receive(engine);
    if (engine->now_ns >= client_deadline(engine->core)) {
        engine_step(engine, &(struct client_event){.type = CLIENT_TICK});
    }
    engine->transport->tick(engine);
    if (engine->break_due) {
        break_now(engine);
    }
    engine_step(engine, &(struct client_event){.type = CLIENT_FLUSH});
    engine->transport->flush(engine);
    if (engine->break_due) {
        break_now(engine);
        busy = true;
    }
    if (engine->phase == ENGINE_CLOSING && !has_tasks(engine)) {
        engine->phase = ENGINE_LEAVING;
        engine->transport->leave(engine);
        busy = true;
    }
    future_batch_end(&batch);
    return busy;
}

bool engine_inboxes_empty(struct engine *engine) {
    if (!base_inbox_empty(&engine->requests)) {
        return false;
    }
    return is_full(engine) || (engine->backlog == NULL && (engine->phase != ENGINE_OPEN ||
                                                           base_inbox_empty(&engine->submits)));
}

uint64_t engine_deadline(const struct engine *engine) {
    uint64_t client_ns = client_deadline(engine->core);
    uint64_t transport_ns = engine->transport->deadline(engine);

    return transport_ns < client_ns ? transport_ns : client_ns;
}
