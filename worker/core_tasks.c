#include "worker/internal.h"

#include <stdio.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

/* Tasks from RUN to RESULTS. */

/* ------------------------------------------------------------------- phases */

void worker_phase_set(struct worker_item *item, enum worker_phase phase) {
#define TO(phase) (1u << (phase))
    static const uint32_t allowed[] = {
        [WORKER_WAITING] =
            TO(WORKER_WITHDRAWING) | TO(WORKER_RUNNING) | TO(WORKER_DONE) | TO(WORKER_OWING_RESULT),
        [WORKER_WITHDRAWING] = TO(WORKER_RUNNING) | TO(WORKER_OWING_RETURN),
        [WORKER_RUNNING] = TO(WORKER_OVERDUE) | TO(WORKER_DONE) | TO(WORKER_OWING_RESULT),
        [WORKER_OVERDUE] = TO(WORKER_CONDEMNED) | TO(WORKER_DONE) | TO(WORKER_OWING_RESULT),
        [WORKER_CONDEMNED] = 0,
        [WORKER_DONE] = 0,
        [WORKER_OWING_RESULT] = TO(WORKER_DONE),
        [WORKER_OWING_RETURN] = 0,
    };

    BASE_ASSERT((allowed[item->task.state] & TO(phase)) != 0);
    item->task.state = phase;
#undef TO
}

static struct worker_item *item_new(struct worker_core *core) {
    uint32_t index;
    struct worker_item *item = base_slab_alloc(&core->items, &index, NULL);

    if (item != NULL) {
        memset(item, 0, sizeof *item);
        item->task.position = index;
        base_heap_node_init(&item->timer);
    }
    return item;
}

/* Ends what a held task needs and a done one doesn't: its arguments, its timer. */
static void item_over(struct worker_core *core, struct worker_item *item) {
    wire_message_unref(item->task.message);
    item->task.message = NULL;
    item->task.data = NULL;
    if (item->task.run_ns != 0) {
        core->limited--;
        if (base_heap_node_linked(&item->timer)) {
            base_heap_remove(&core->timers, &item->timer);
        }
    }
    item->task.run_ns = 0;
}

void worker_item_drop(struct worker_core *core, struct worker_item *item) {
    if (item->task.state == WORKER_DONE) {
        core->done_count--;
    } else {
        core->held_count--;
        core->condemned -= item->task.state == WORKER_CONDEMNED;
        item_over(core, item);
    }
    base_list_remove(&item->node);
    base_slab_free(&core->items, item->task.position);
}

static void held_to_done(struct worker_core *core, struct worker_item *item) {
    item_over(core, item);
    worker_phase_set(item, WORKER_DONE);
    base_list_remove(&item->node);
    base_list_push_back(&core->done, &item->node);
    core->held_count--;
    core->done_count++;
}

/* ---------------------------------------------------------------------- RUN */

/* Whether this worker takes another task in; what it doesn't take goes back at once. */
static bool welcome(const struct worker_core *core, uint32_t fresh) {
    return !core->draining && core->held_count + fresh < WIRE_WORKER_LEASES_MAX &&
           (core->config.tasks_max == 0 || core->accepted + fresh < core->config.tasks_max);
}

static struct worker_item *item_from(struct worker_core *core, const struct wire_entry *entry) {
    struct worker_item *item = item_new(core);

    if (item == NULL) {
        return NULL;
    }
    item->task.lease = entry->values[0];
    item->task.id = entry->values[1];
    item->task.attempt = (uint32_t)entry->values[2];
    item->task.function = (uint32_t)entry->key[0];
    item->task.flags = (uint32_t)entry->key[1];
    item->task.run_ns = entry->key[2] * NS_PER_MS;
    item->task.session = (struct wire_session){entry->key[3], entry->key[4]};
    item->task.data = entry->data;
    item->task.size = entry->size;
    item->task.state = WORKER_WAITING;
    return item;
}

/* Makes the tasks of the message in `fresh`. False: no memory, or *fault says what is wrong. */
static bool items_make(struct worker_core *core, struct wire_batch *batch, struct base_list *fresh,
                       uint32_t *count, uint32_t *limited, struct wire_fault *fault) {
    struct wire_entry entry;

    while (wire_batch_next(batch, &entry)) {
        struct worker_item *item;

        if (entry.new_group && entry.key[0] >= core->config.function_count) {
            fault->code = WIRE_REJECT_MALFORMED;
            (void)snprintf(fault->text, sizeof fault->text,
                           "RUN: function: %u, and there are only %u", (unsigned)entry.key[0],
                           core->config.function_count);
            return false;
        }
        if (BASE_UNLIKELY(!welcome(core, *count))) {
            if (!worker_put(core, core->returned, 1, entry.values[0], NULL, 0, NULL)) {
                return false;
            }
            continue;
        }
        item = item_from(core, &entry);
        if (item == NULL) {
            return false;
        }
        *limited += item->task.run_ns != 0;
        (*count)++;
        base_list_push_back(fresh, &item->node);
    }
    return true;
}

bool worker_tasks_run(struct worker_core *core, struct wire_batch *batch,
                      struct wire_message *message, struct wire_fault *fault) {
    uint32_t count = 0, limited = 0;
    struct base_list fresh;

    base_list_init(&fresh);
    if (!worker_reserve(core, batch->entry_count + 1) ||
        !items_make(core, batch, &fresh, &count, &limited, fault) ||
        (limited > 0 && !base_heap_reserve(&core->timers, core->limited + limited))) {
        BASE_LIST_FOREACH(&fresh, node) {
            base_slab_free(&core->items, worker_item_at(node)->task.position);
        }
        return false;
    }
    BASE_LIST_FOREACH(&fresh, node) {
        struct worker_task *task = &worker_item_at(node)->task;

        task->message = wire_message_ref(message);
        worker_act(core, WORKER_START)->task = task;
    }
    base_list_splice(&core->held, &fresh);
    core->held_count += count;
    core->limited += limited;
    core->accepted += count;
    if (core->config.tasks_max != 0 && core->accepted >= core->config.tasks_max &&
        !core->retiring) {
        core->retiring = true;
        worker_act(core, WORKER_RETIRING);
        worker_drain(core, true, false);
    }
    return true;
}

/* ------------------------------------------------------------------ RESULTS */

/* Encodes an error of ours about a task into core->error. False: no memory. */
static bool error_make(struct worker_core *core, const struct worker_task *task,
                       const char *message) {
    const char *function = core->config.functions[task->function];
    struct wire_error error = {
        .message = {message, strlen(message)},
        .function = {function, strlen(function)},
        .host = {core->config.host, strlen(core->config.host)},
        .pid = core->config.pid,
        .attempt = task->attempt,
    };

    base_buffer_clear(&core->error);
    return wire_error_encode(&error, &core->error);
}

/* Puts an error of ours into RESULTS, with this text or, if there is no memory, a shorter one. */
static bool put_error(struct worker_core *core, const struct worker_task *task, enum wire_kind kind,
                      const char *message) {
    const struct base_buffer *error =
        error_make(core, task, message) ? &core->error : &core->no_memory;

    return worker_put(core, core->results, kind, task->lease, error->data, error->size, NULL);
}

static bool put_overdue(struct worker_core *core, const struct worker_task *task) {
    char message[96];

    (void)snprintf(message, sizeof message, "it ran longer than its limit of %llu ms",
                   (unsigned long long)(task->run_ns / NS_PER_MS));
    return put_error(core, task, WIRE_KIND_DEADLINE, message);
}

static bool put_outcome(struct worker_core *core, const struct worker_item *item,
                        const struct worker_event *event) {
    if (item->task.state == WORKER_OVERDUE && event->kind != WIRE_KIND_VALUE) {
        return put_overdue(core, &item->task);
    }
    if (BASE_UNLIKELY(event->size > core->payload_max)) {
        char message[96];

        (void)snprintf(message, sizeof message,
                       "its result of %zu bytes is over the broker's limit of %llu", event->size,
                       (unsigned long long)core->payload_max);
        return put_error(core, &item->task, WIRE_KIND_REJECTED, message);
    }
    return worker_put(core, core->results, event->kind, item->task.lease, event->data, event->size,
                      event->large);
}

void worker_tasks_finished(struct worker_core *core, uint64_t now_ns,
                           const struct worker_event *event) {
    struct worker_item *item = worker_item_of(event->task);

    core->busy_ns += event->busy_ns;
    core->finished++;
    if (item->task.state == WORKER_CONDEMNED) {
        worker_item_drop(core, item); /* its outcome is out */
    } else if (BASE_LIKELY(put_outcome(core, item, event))) {
        held_to_done(core, item);
    } else {
        item_over(core, item);
        worker_phase_set(item, WORKER_OWING_RESULT);
        core->owing++;
        worker_starve(core, now_ns);
    }
}

void worker_tasks_owed(struct worker_core *core, uint64_t now_ns) {
    BASE_LIST_FOREACH(&core->held, node) {
        struct worker_item *item = worker_item_at(node);
        uint64_t lease = item->task.lease;

        if ((item->marks & WORKER_OWES_ANSWER) != 0 &&
            worker_put(core, core->returned, 0, lease, NULL, 0, NULL)) {
            item->marks &= ~(uint32_t)WORKER_OWES_ANSWER;
            core->owing--;
        }
        if (item->task.state == WORKER_OWING_RETURN &&
            worker_put(core, core->returned, 1, lease, NULL, 0, NULL)) {
            core->owing--;
            worker_item_drop(core, item);
        } else if (item->task.state == WORKER_OWING_RESULT &&
                   worker_put(core, core->results, WIRE_KIND_ERROR, lease, core->no_memory.data,
                              core->no_memory.size, NULL)) {
            core->owing--;
            held_to_done(core, item);
        }
    }
    if (core->owing > 0) {
        worker_starve(core, now_ns);
    }
}

/* --------------------------------------------------------------- long tasks */

void worker_tasks_began(struct worker_core *core, uint64_t now_ns,
                        const struct worker_event *event) {
    struct worker_item *item = worker_item_of(event->task);

    BASE_ASSERT((item->marks & WORKER_LONG) == 0);
    item->marks |= WORKER_LONG;
    item->task.started_ns = now_ns > event->busy_ns ? now_ns - event->busy_ns : 0;
    if (item->task.state == WORKER_WAITING) {
        worker_phase_set(item, WORKER_RUNNING);
    }
    /* without memory it is merely not known as running: nothing depends on it */
    (void)worker_put(core, core->running, 0, item->task.lease, NULL, 0, NULL);
    if (item->task.run_ns != 0) {
        bool inserted = base_heap_insert(&core->timers, &item->timer,
                                         item->task.started_ns + item->task.run_ns);

        BASE_ASSERT(inserted); /* RUN made the room */
    }
}

/* Says that the task failed by its limit, while it still runs: it may not be waited for any more. */
static void condemn(struct worker_core *core, uint64_t now_ns, struct worker_item *item) {
    struct worker_item *done = item_new(core);

    if (done == NULL || !put_overdue(core, &item->task)) {
        if (done != NULL) {
            base_slab_free(&core->items, done->task.position);
        }
        base_heap_update(&core->timers, &item->timer, now_ns + WORKER_RETRY_NS);
        return;
    }
    done->task.lease = item->task.lease;
    done->task.id = item->task.id;
    done->task.attempt = item->task.attempt;
    done->task.session = item->task.session;
    done->task.state = WORKER_DONE;
    done->marks = WORKER_KILLS;
    base_list_push_back(&core->done, &done->node);
    core->done_count++;
    worker_phase_set(item, WORKER_CONDEMNED);
    core->condemned++;
    base_heap_update(&core->timers, &item->timer, now_ns + WORKER_KILL_NS);
}

void worker_tasks_kill(struct worker_core *core) {
    if (core->condemned == 0 || core->killed || !worker_reserve(core, 1)) {
        return;
    }
    core->killed = true;
    (void)snprintf(core->last_text, sizeof core->last_text,
                   "a task did not end after its run limit");
    worker_act(core, WORKER_KILL)->text = core->last_text;
}

static void limit_passed(struct worker_core *core, uint64_t now_ns, struct worker_item *item) {
    switch ((enum worker_phase)item->task.state) {
    case WORKER_WAITING:
    case WORKER_WITHDRAWING:
    case WORKER_DONE:
    case WORKER_OWING_RESULT:
    case WORKER_OWING_RETURN:
        BASE_ASSERT(false); /* none of these has a timer */
        break;
    case WORKER_RUNNING:
        if (worker_reserve(core, 1)) {
            worker_phase_set(item, WORKER_OVERDUE);
            worker_act(core, WORKER_INTERRUPT)->task = &item->task;
            base_heap_update(&core->timers, &item->timer, now_ns + core->config.grace_ns);
        } else {
            base_heap_update(&core->timers, &item->timer, now_ns + WORKER_RETRY_NS);
        }
        break;
    case WORKER_OVERDUE:
        condemn(core, now_ns, item);
        break;
    case WORKER_CONDEMNED:
        base_heap_update(&core->timers, &item->timer, now_ns + WORKER_RETRY_NS);
        worker_tasks_kill(core);
        break;
    }
}

void worker_tasks_tick(struct worker_core *core, uint64_t now_ns) {
    struct base_heap_node *first = base_heap_peek(&core->timers);

    while (first != NULL && first->key <= now_ns && !core->killed) {
        limit_passed(core, now_ns, BASE_CONTAINER_OF(first, struct worker_item, timer));
        first = base_heap_peek(&core->timers);
    }
}
