#include "worker/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)
#define DONE_MIN  256u

/* Tasks from RUN to RESULTS. */

_Static_assert(sizeof(struct worker_task) == 128, "a task has two cache lines");
_Static_assert(offsetof(struct worker_task, shell) == 64, "of which the second is the shell's");

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
        [WORKER_FREE] = 0,
    };

    BASE_ASSERT((allowed[task->state] & TO(phase)) != 0);
    task->state = (uint8_t)phase;
#undef TO
}

/* Frees the limit of a task that is over. */
static __attribute__((noinline)) void limit_free(struct worker_core *core,
                                                 struct worker_task *task) {
    struct worker_limit *limit = task->limit;

    if (base_heap_node_linked(&limit->timer)) {
        base_heap_remove(&core->timers, &limit->timer);
    }
    base_slab_free(&core->limits, limit->index);
    task->limit = NULL;
}

/* Ends what only a task that may still run needs: its arguments, its limit. */
static inline void task_over(struct worker_core *core, struct worker_task *task) {
    wire_message_unref(task->message);
    task->message = NULL;
    task->data = NULL;
    if (BASE_UNLIKELY(task->limit != NULL)) {
        limit_free(core, task);
    }
}

static inline void task_drop(struct worker_core *core, struct worker_task *task) {
    task_over(core, task);
    worker_guest_leave(core, worker_guest_of(task));
    worker_store_give(core, task);
}

void worker_task_drop(struct worker_core *core, struct worker_task *task) {
    core->condemned -= task->state == WORKER_CONDEMNED;
    task_drop(core, task);
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

/* There is room: RUN made it, for all that is held. */
static inline void done_push(struct worker_core *core, const struct worker_task *task, bool kills) {
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

/* How many tasks this worker takes in now; what it doesn't take goes back at once. */
static uint32_t welcome(const struct worker_core *core) {
    uint64_t room, most = core->config.tasks_max;

    if (core->draining) {
        return 0;
    }
    room = WIRE_WORKER_LEASES_MAX - worker_held(core);
    if (most != 0 && most - core->accepted < room) {
        room = most - core->accepted;
    }
    return (uint32_t)room;
}

static bool starts_reserve(struct worker_starts *starts, uint32_t count) {
    struct worker_task **tasks;

    if (count <= starts->room) {
        return true;
    }
    tasks = realloc(starts->tasks, count * sizeof(struct worker_task *));
    if (tasks == NULL) {
        return false;
    }
    starts->tasks = tasks;
    starts->room = count;
    return true;
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

/* What the tasks of a group of a RUN have in common. */
struct group {
    struct worker_guest *guest;
    struct worker_starts *starts;
    uint64_t run_ms; /* 0: no limit */
    uint16_t function;
    uint8_t flags;
};

/* NULL: no memory. The message is not referenced yet. */
static inline struct worker_task *task_from(struct worker_core *core, const struct group *group,
                                            const struct wire_entry *entry,
                                            struct wire_message *message) {
    struct worker_task *task = worker_store_take(core);

    if (BASE_UNLIKELY(task == NULL)) {
        return NULL;
    }
    task->lease = entry->values[0];
    task->id = entry->values[1];
    task->session = &group->guest->session;
    task->data = entry->data;
    task->message = message;
    task->size = (uint32_t)entry->size;
    task->arrival = core->arrivals++;
    task->function = group->function;
    task->attempt = (uint16_t)entry->values[2];
    task->flags = group->flags;
    task->state = WORKER_WAITING;
    task->marks = 0;
    memset(task->shell, 0, sizeof task->shell);
    task->limit = NULL;
    if (BASE_UNLIKELY(group->run_ms != 0)) {
        task->limit = limit_new(core, task, group->run_ms);
        if (task->limit == NULL) {
            worker_store_give(core, task);
            return NULL;
        }
    }
    group->guest->count++;
    return task;
}

/* Looks at what the tasks of a group have in common. Its guest is counted up, if there is one. */
static bool group_begin(struct worker_core *core, const struct wire_entry *entry, bool others,
                        struct group *group, struct wire_fault *fault) {
    struct wire_session session = {entry->key[3], entry->key[4]};

    group->guest = NULL;
    if (entry->key[0] >= core->config.function_count) {
        fault->code = WIRE_REJECT_MALFORMED;
        (void)snprintf(fault->text, sizeof fault->text, "RUN: function: %u, and there are only %u",
                       (unsigned)entry->key[0], core->config.function_count);
        return false;
    }
    group->guest = worker_guest_enter(core, &session);
    if (group->guest == NULL) {
        return false;
    }
    if (others && group->guest->count == 1) {
        group->guest->ahead = core->runs;
    }
    group->starts = group->guest->ahead == core->runs ? &core->ahead : &core->behind;
    group->function = (uint16_t)entry->key[0];
    group->flags = (uint8_t)entry->key[1];
    group->run_ms = entry->key[2];
    return true;
}

static void group_end(struct worker_core *core, struct group *group) {
    if (group->guest != NULL) {
        worker_guest_leave(core, group->guest);
    }
}

/* Makes the tasks of the message, and notes them in `ahead` and `behind`. A client that has nothing here
 * goes ahead of the others, as a new flow does in FQ-CoDel (RFC 8290, 4.2): how many of its tasks come at
 * once is up to the broker, which gives each its turn. False: no memory, or *fault says what is wrong. */
static bool tasks_make(struct worker_core *core, struct wire_batch *batch,
                       struct wire_message *message, struct wire_fault *fault) {
    bool others = worker_held(core) > 0, good = true;
    uint32_t room = welcome(core);
    struct group group = {0};
    struct wire_entry entry;

    core->runs++;
    while (good && wire_batch_next_quick(batch, (struct wire_shape)WIRE_SHAPE_RUN, &entry)) {
        struct worker_task *task;

        if (entry.new_group) {
            group_end(core, &group);
            if (!group_begin(core, &entry, others, &group, fault)) {
                good = false;
                break;
            }
        }
        if (BASE_UNLIKELY(room == 0)) {
            good = worker_put(core, core->returned, 1, entry.values[0], NULL, 0, NULL);
            continue;
        }
        task = task_from(core, &group, &entry, message);
        if (BASE_UNLIKELY(task == NULL)) {
            good = false;
            break;
        }
        group.starts->tasks[group.starts->count++] = task;
        room--;
    }
    group_end(core, &group);
    return good;
}

static void starts_undo(struct worker_core *core, struct worker_starts *starts) {
    for (uint32_t i = 0; i < starts->count; i++) {
        starts->tasks[i]->message = NULL;
        task_drop(core, starts->tasks[i]);
    }
}

static void starts_act(struct worker_core *core, const struct worker_starts *starts, bool ahead) {
    struct worker_action *start;

    if (starts->count > 0) {
        start = worker_act(core, WORKER_START);
        start->tasks = starts->tasks;
        start->count = starts->count;
        start->ahead = ahead;
    }
}

bool worker_tasks_run(struct worker_core *core, struct wire_batch *batch,
                      struct wire_message *message, struct wire_fault *fault) {
    uint32_t count;

    core->ahead.count = core->behind.count = 0;
    if (!worker_reserve(core, 3) || !starts_reserve(&core->ahead, batch->entry_count) ||
        !starts_reserve(&core->behind, batch->entry_count) ||
        !done_reserve(core, batch->entry_count)) {
        return false;
    }
    if (!tasks_make(core, batch, message, fault) ||
        !base_heap_reserve(&core->timers, base_slab_count(&core->limits))) {
        starts_undo(core, &core->ahead);
        starts_undo(core, &core->behind);
        return false;
    }
    count = core->ahead.count + core->behind.count;
    wire_message_ref_times(message, count);
    starts_act(core, &core->ahead, true);
    starts_act(core, &core->behind, false);
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
                   (unsigned long long)(task->limit->run_ns / NS_PER_MS));
    return put_error(core, task, WIRE_KIND_DEADLINE, message);
}

/* An outcome that is too large, or one of a task whose state tells more than that it runs. */
static bool put_otherwise(struct worker_core *core, const struct worker_outcome *outcome) {
    char message[96];

    BASE_ASSERT(outcome->task->state != WORKER_WITHDRAWING); /* the shell owes an answer first */
    if (outcome->task->state == WORKER_OVERDUE && outcome->kind != WIRE_KIND_VALUE) {
        return put_overdue(core, outcome->task);
    }
    if (outcome->size > core->payload_max) {
        (void)snprintf(message, sizeof message,
                       "its result of %zu bytes is over the broker's limit of %llu", outcome->size,
                       (unsigned long long)core->payload_max);
        return put_error(core, outcome->task, WIRE_KIND_REJECTED, message);
    }
    return worker_put(core, core->results, outcome->kind, outcome->task->lease, outcome->data,
                      outcome->size, outcome->large);
}

static inline bool put_outcome(struct worker_core *core, const struct worker_outcome *outcome) {
    const struct worker_task *task = outcome->task;

    if (BASE_UNLIKELY((task->state != WORKER_WAITING && task->state != WORKER_RUNNING) ||
                      outcome->size > core->payload_max)) {
        return put_otherwise(core, outcome);
    }
    return worker_put_result(core, outcome->kind, outcome->task->lease, outcome->data,
                             outcome->size, outcome->large);
}

void worker_tasks_finished(struct worker_core *core, uint64_t now_ns,
                           const struct worker_event *event) {
    const struct worker_outcome *outcome = event->outcomes, *end = outcome + event->count;

    BASE_ASSERT(core->done_count + event->count <= core->done_room);
    core->busy_ns += event->busy_ns;
    core->finished += event->count;
    for (; outcome < end; outcome++) {
        struct worker_task *task = outcome->task;

        if (BASE_UNLIKELY(task->state == WORKER_CONDEMNED)) {
            worker_task_drop(core, task); /* its outcome is out */
        } else if (BASE_LIKELY(put_outcome(core, outcome))) {
            done_push(core, task, false);
            task_drop(core, task);
        } else {
            task_over(core, task);
            worker_phase_set(task, WORKER_OWING_RESULT);
            core->owing++;
            worker_starve(core, now_ns);
        }
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
            BASE_ASSERT(core->done_count < core->done_room);
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
    BASE_ASSERT(core->done_count < core->done_room);
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
    case WORKER_FREE:
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
