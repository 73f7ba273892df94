#include "worker/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)
#define DONE_MIN  256u

/* Tasks from RUN to RESULTS. */

_Static_assert(sizeof(struct worker_task) == 128, "a task has two cache lines");

/* ------------------------------------------------------------------- phases */

void worker_phase_set(struct worker_task *task, enum worker_phase phase) {
#define TO(phase) (1u << (phase))
    static const uint32_t allowed[] = {
        [WORKER_WAITING] = TO(WORKER_WITHDRAWING) | TO(WORKER_RUNNING) | TO(WORKER_OWING_RESULT),
        [WORKER_WITHDRAWING] = TO(WORKER_RUNNING) | TO(WORKER_OWING_RETURN),
        [WORKER_RUNNING] = TO(WORKER_OVERDUE) | TO(WORKER_OWING_RESULT),
        [WORKER_OVERDUE] = TO(WORKER_CONDEMNED) | TO(WORKER_OWING_RESULT),
        [WORKER_CONDEMNED] = 0,
        [WORKER_OWING_RESULT] = 0,
        [WORKER_OWING_RETURN] = 0,
    };

    BASE_ASSERT((allowed[task->state] & TO(phase)) != 0);
    task->state = (uint8_t)phase;
#undef TO
}

/* Ends what only a task that may still run needs: its arguments, its limit. */
static void task_over(struct worker_core *core, struct worker_task *task) {
    struct worker_limit *limit = task->limit;

    wire_message_unref(task->message);
    task->message = NULL;
    task->data = NULL;
    if (BASE_UNLIKELY(limit != NULL)) {
        if (base_heap_node_linked(&limit->timer)) {
            base_heap_remove(&core->timers, &limit->timer);
        }
        base_slab_free(&core->limits, limit->index);
        task->limit = NULL;
    }
}

void worker_task_drop(struct worker_core *core, struct worker_task *task) {
    core->condemned -= task->state == WORKER_CONDEMNED;
    task_over(core, task);
    worker_guest_leave(core, worker_guest_of(task));
    base_slab_free(&core->tasks, task->position);
}

/* ------------------------------------------------------------- what is done */

/* Makes room for `more` tasks to become done besides those that are held: so that no task that is
 * finished needs memory for it. */
static bool done_reserve(struct worker_core *core, uint32_t more) {
    uint32_t needed = core->done_count + worker_held(core) + more;
    uint32_t room = core->done_room == 0 ? DONE_MIN : core->done_room;
    struct worker_done *ring;

    if (BASE_LIKELY(needed <= core->done_room)) {
        return true;
    }
    while (room < needed) {
        room *= 2;
    }
    ring = malloc(room * sizeof *ring);
    if (ring == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < core->done_count; i++) {
        ring[i] = *worker_done_at(core, i);
    }
    free(core->done);
    core->done = ring;
    core->done_at = 0;
    core->done_room = room;
    return true;
}

static void done_push(struct worker_core *core, const struct worker_task *task, bool kills) {
    BASE_ASSERT(core->done_count < core->done_room);
    *worker_done_at(core, core->done_count++) = (struct worker_done){
        .lease = task->lease,
        .id = task->id,
        .session = *task->session,
        .attempt = task->attempt,
        .kills = kills,
    };
}

bool worker_done_pop(struct worker_core *core, uint32_t count) {
    bool kills = false;

    BASE_ASSERT(count <= core->done_count);
    for (uint32_t i = 0; i < count && core->condemned > 0; i++) {
        kills = kills || worker_done_at(core, i)->kills;
    }
    if (count > 0) {
        core->done_at = (core->done_at + count) & (core->done_room - 1);
        core->done_count -= count;
    }
    return kills;
}

/* ---------------------------------------------------------------------- RUN */

/* Whether this worker takes another task in; what it doesn't take goes back at once. */
static bool welcome(const struct worker_core *core, uint32_t fresh) {
    return !core->draining && worker_held(core) < WIRE_WORKER_LEASES_MAX &&
           (core->config.tasks_max == 0 || core->accepted + fresh < core->config.tasks_max);
}

static struct worker_limit *limit_new(struct worker_core *core, struct worker_task *task,
                                      uint64_t run_ms) {
    uint32_t index;
    struct worker_limit *limit = base_slab_alloc(&core->limits, &index, NULL);

    if (limit != NULL) {
        base_heap_node_init(&limit->timer);
        limit->task = task;
        limit->run_ns = run_ms * NS_PER_MS;
        limit->index = index;
    }
    return limit;
}

/* NULL: no memory. */
static struct worker_task *task_from(struct worker_core *core, struct worker_guest *guest,
                                     const struct wire_entry *entry) {
    uint32_t index;
    struct worker_task *task = base_slab_alloc(&core->tasks, &index, NULL);

    if (BASE_UNLIKELY(task == NULL)) {
        return NULL;
    }
    task->lease = entry->values[0];
    task->id = entry->values[1];
    task->session = &guest->session;
    task->data = entry->data;
    task->message = NULL;
    task->size = (uint32_t)entry->size;
    task->position = index;
    task->function = (uint16_t)entry->key[0];
    task->attempt = (uint16_t)entry->values[2];
    task->flags = (uint8_t)entry->key[1];
    task->state = WORKER_WAITING;
    task->marks = 0;
    memset(task->shell, 0, sizeof task->shell);
    task->limit = NULL;
    task->arrival = core->arrivals++;
    if (BASE_UNLIKELY(entry->key[2] != 0)) {
        task->limit = limit_new(core, task, entry->key[2]);
        if (task->limit == NULL) {
            base_slab_free(&core->tasks, index);
            return NULL;
        }
    }
    guest->count++;
    return task;
}

/* Looks at what the tasks of a group have in common, and makes their client *guest. */
static bool group_begin(struct worker_core *core, const struct wire_entry *entry, bool others,
                        struct worker_guest **guest, struct wire_fault *fault) {
    struct wire_session session = {entry->key[3], entry->key[4]};

    if (entry->key[0] >= core->config.function_count) {
        fault->code = WIRE_REJECT_MALFORMED;
        (void)snprintf(fault->text, sizeof fault->text, "RUN: function: %u, and there are only %u",
                       (unsigned)entry->key[0], core->config.function_count);
        return false;
    }
    *guest = worker_guest_enter(core, &session);
    if (*guest == NULL) {
        return false;
    }
    if (others && (*guest)->count == 1) {
        (*guest)->ahead = core->runs;
    }
    return true;
}

/* Makes a task with its START, or gives it back. False: no memory. */
static bool task_make(struct worker_core *core, struct worker_guest *guest,
                      const struct wire_entry *entry) {
    struct worker_action *start;
    struct worker_task *task;

    if (BASE_UNLIKELY(!welcome(core, (uint32_t)core->action_count))) {
        return worker_put(core, core->returned, 1, entry->values[0], NULL, 0, NULL);
    }
    task = task_from(core, guest, entry);
    if (BASE_UNLIKELY(task == NULL)) {
        return false;
    }
    start = worker_act(core, WORKER_START);
    start->task = task;
    start->ahead = guest->ahead == core->runs;
    return true;
}

/* Makes the tasks of the message. A client that has nothing here goes ahead of the others, as a new flow
 * does in FQ-CoDel (RFC 8290, 4.2): how many of its tasks come at once is up to the broker, which gives
 * each its turn. False: no memory, or *fault says what is wrong. */
static bool tasks_make(struct worker_core *core, struct wire_batch *batch,
                       struct wire_fault *fault) {
    bool others = worker_held(core) > 0, good = true;
    struct worker_guest *guest = NULL;
    struct wire_entry entry;

    core->runs++;
    while (good && wire_batch_next_quick(batch, (struct wire_shape)WIRE_SHAPE_RUN, &entry)) {
        if (entry.new_group) {
            if (guest != NULL) {
                worker_guest_leave(core, guest);
            }
            guest = NULL;
            good = group_begin(core, &entry, others, &guest, fault);
        }
        good = good && task_make(core, guest, &entry);
    }
    if (guest != NULL) {
        worker_guest_leave(core, guest);
    }
    return good;
}

bool worker_tasks_run(struct worker_core *core, struct wire_batch *batch,
                      struct wire_message *message, struct wire_fault *fault) {
    BASE_ASSERT(core->action_count == 0); /* from here on they are STARTs */
    if (!worker_reserve(core, batch->entry_count + 1) || !done_reserve(core, batch->entry_count) ||
        !tasks_make(core, batch, fault) ||
        !base_heap_reserve(&core->timers, base_slab_count(&core->limits))) {
        for (size_t i = 0; i < core->action_count; i++) {
            worker_task_drop(core, core->actions[i].task);
        }
        core->action_count = 0;
        return false;
    }
    for (size_t i = 0; i < core->action_count; i++) {
        core->actions[i].task->message = wire_message_ref(message);
    }
    core->accepted += core->action_count;
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
                   (unsigned long long)(task->limit->run_ns / NS_PER_MS));
    return put_error(core, task, WIRE_KIND_DEADLINE, message);
}

static inline bool put_outcome(struct worker_core *core, const struct worker_task *task,
                               const struct worker_event *event) {
    if (BASE_UNLIKELY(task->state == WORKER_OVERDUE && event->kind != WIRE_KIND_VALUE)) {
        return put_overdue(core, task);
    }
    if (BASE_UNLIKELY(event->size > core->payload_max)) {
        char message[96];

        (void)snprintf(message, sizeof message,
                       "its result of %zu bytes is over the broker's limit of %llu", event->size,
                       (unsigned long long)core->payload_max);
        return put_error(core, task, WIRE_KIND_REJECTED, message);
    }
    return worker_put(core, core->results, event->kind, task->lease, event->data, event->size,
                      event->large);
}

void worker_tasks_finished(struct worker_core *core, uint64_t now_ns,
                           const struct worker_event *event) {
    struct worker_task *task = event->task;

    core->busy_ns += event->busy_ns;
    core->finished++;
    if (BASE_UNLIKELY(task->state == WORKER_CONDEMNED)) {
        worker_task_drop(core, task); /* its outcome is out */
    } else if (BASE_LIKELY(put_outcome(core, task, event))) {
        BASE_ASSERT(task->state != WORKER_WITHDRAWING); /* the shell owes an answer first */
        done_push(core, task, false);
        worker_task_drop(core, task);
    } else {
        task_over(core, task);
        worker_phase_set(task, WORKER_OWING_RESULT);
        core->owing++;
        worker_starve(core, now_ns);
    }
}

void worker_tasks_owed(struct worker_core *core, uint64_t now_ns) {
    struct worker_task *task;
    uint32_t cursor = 0;

    while ((task = worker_next(core, &cursor)) != NULL) {
        if ((task->marks & WORKER_OWES_ANSWER) != 0 &&
            worker_put(core, core->returned, 0, task->lease, NULL, 0, NULL)) {
            task->marks &= (uint8_t)~WORKER_OWES_ANSWER;
            core->owing--;
        }
        if (task->state == WORKER_OWING_RETURN &&
            worker_put(core, core->returned, 1, task->lease, NULL, 0, NULL)) {
            core->owing--;
            worker_task_drop(core, task);
        } else if (task->state == WORKER_OWING_RESULT &&
                   worker_put(core, core->results, WIRE_KIND_ERROR, task->lease,
                              core->no_memory.data, core->no_memory.size, NULL)) {
            core->owing--;
            done_push(core, task, false);
            worker_task_drop(core, task);
        }
    }
    if (core->owing > 0) {
        worker_starve(core, now_ns);
    }
}

/* --------------------------------------------------------------- long tasks */

void worker_tasks_began(struct worker_core *core, uint64_t now_ns,
                        const struct worker_event *event) {
    struct worker_task *task = event->task;

    BASE_ASSERT((task->marks & WORKER_LONG) == 0);
    task->marks |= WORKER_LONG;
    if (task->state == WORKER_WAITING) {
        worker_phase_set(task, WORKER_RUNNING);
    }
    /* without memory it is merely not known as running: nothing depends on it */
    (void)worker_put(core, core->running, 0, task->lease, NULL, 0, NULL);
    if (task->limit != NULL) {
        uint64_t began_ns = now_ns > event->busy_ns ? now_ns - event->busy_ns : 0;
        bool inserted =
            base_heap_insert(&core->timers, &task->limit->timer, began_ns + task->limit->run_ns);

        BASE_ASSERT(inserted); /* RUN made the room */
    }
}

/* Says that the task failed by its limit, while it still runs: it may not be waited for any more. */
static void condemn(struct worker_core *core, uint64_t now_ns, struct worker_task *task) {
    if (!put_overdue(core, task)) {
        base_heap_update(&core->timers, &task->limit->timer, now_ns + WORKER_RETRY_NS);
        return;
    }
    done_push(core, task, true);
    worker_phase_set(task, WORKER_CONDEMNED);
    core->condemned++;
    base_heap_update(&core->timers, &task->limit->timer, now_ns + WORKER_KILL_NS);
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

static void limit_passed(struct worker_core *core, uint64_t now_ns, struct worker_limit *limit) {
    struct worker_task *task = limit->task;

    switch ((enum worker_phase)task->state) {
    case WORKER_WAITING:
    case WORKER_WITHDRAWING:
    case WORKER_OWING_RESULT:
    case WORKER_OWING_RETURN:
        BASE_ASSERT(false); /* none of these has a timer */
        break;
    case WORKER_RUNNING:
        if (worker_reserve(core, 1)) {
            worker_phase_set(task, WORKER_OVERDUE);
            worker_act(core, WORKER_INTERRUPT)->task = task;
            base_heap_update(&core->timers, &limit->timer, now_ns + core->config.grace_ns);
        } else {
            base_heap_update(&core->timers, &limit->timer, now_ns + WORKER_RETRY_NS);
        }
        break;
    case WORKER_OVERDUE:
        condemn(core, now_ns, task);
        break;
    case WORKER_CONDEMNED:
        base_heap_update(&core->timers, &limit->timer, now_ns + WORKER_RETRY_NS);
        worker_tasks_kill(core);
        break;
    }
}

void worker_tasks_tick(struct worker_core *core, uint64_t now_ns) {
    struct base_heap_node *first = base_heap_peek(&core->timers);

    while (first != NULL && first->key <= now_ns && !core->killed) {
        limit_passed(core, now_ns, BASE_CONTAINER_OF(first, struct worker_limit, timer));
        first = base_heap_peek(&core->timers);
    }
}
