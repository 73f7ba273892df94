#include "worker/internal.h"

#include "base/map.h"

#include <stdlib.h>

/* Taking back: RECALL, INTERRUPT, and leaving. */

/* From so many leases in one message on a table is made instead of looking through all that is held. */
#define TABLE_MIN 16u

/* Finds held tasks by their lease. There is no table for it while nobody asks: recalls are rare, and
 * tasks are many. */
struct finder {
    struct worker_core *core;
    struct base_idmap table;
    bool tabled;
};

static void finder_init(struct finder *finder, struct worker_core *core, uint32_t leases) {
    struct worker_task *task;
    uint32_t cursor = 0;

    finder->core = core;
    finder->tabled = leases >= TABLE_MIN && worker_held(core) >= TABLE_MIN;
    base_idmap_init(&finder->table, core->config.seed);
    if (!finder->tabled) {
        return;
    }
    while ((task = worker_next(core, &cursor)) != NULL) {
        if (base_idmap_insert(&finder->table, task->lease, task) == BASE_MAP_NO_MEMORY) {
            finder->tabled = false;
        }
    }
}

static void finder_fini(struct finder *finder) {
    base_idmap_fini(&finder->table);
}

static struct worker_task *find(const struct finder *finder, uint64_t lease) {
    struct worker_task *task;
    uint32_t cursor = 0;

    if (finder->tabled) {
        return base_idmap_find(&finder->table, lease);
    }
    do {
        task = worker_next(finder->core, &cursor);
    } while (task != NULL && task->lease != lease);
    return task;
}

/* ------------------------------------------------------------------- RECALL */

static void withdraw(struct worker_core *core, struct worker_task *task, unsigned marks) {
    worker_phase_set(task, WORKER_WITHDRAWING);
    task->marks |= (uint8_t)marks;
    worker_act(core, WORKER_WITHDRAW)->task = task;
}

static bool is_newer(const struct worker_task *a, const struct worker_task *b) {
    return (int32_t)(a->arrival - b->arrival) > 0;
}

/* Lets the task at `i` sink in a heap whose first is the newest. */
static void sink(struct worker_task **heap, uint32_t count, uint32_t i) {
    struct worker_task *task = heap[i];
    uint32_t child;

    while ((child = 2 * i + 1) < count) {
        if (child + 1 < count && is_newer(heap[child + 1], heap[child])) {
            child++;
        }
        if (!is_newer(heap[child], task)) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = task;
}

/* Takes back up to `most` tasks that wait, the newest first; there is room for the actions. Their order
 * is made only now, because that is asked for rarely. False: no memory. */
static bool withdraw_newest(struct worker_core *core, uint64_t most) {
    struct worker_task **heap, *task;
    uint32_t count = 0, cursor = 0;

    if (most == 0 || worker_held(core) == 0) {
        return true;
    }
    heap = malloc(worker_held(core) * sizeof(struct worker_task *));
    if (heap == NULL) {
        return false;
    }
    while ((task = worker_next(core, &cursor)) != NULL) {
        if (task->state == WORKER_WAITING) {
            heap[count++] = task;
        }
    }
    for (uint32_t i = count / 2; i > 0; i--) {
        sink(heap, count, i - 1);
    }
    for (; count > 0 && most > 0; most--) {
        withdraw(core, heap[0], 0);
        heap[0] = heap[--count];
        sink(heap, count, 0);
    }
    free(heap);
    return true;
}

static bool recall_one(struct worker_core *core, struct worker_task *task, uint64_t lease) {
    if (task != NULL && task->state == WORKER_WAITING) {
        withdraw(core, task, WORKER_NAMED);
        return true;
    }
    if (task != NULL && (task->state == WORKER_WITHDRAWING || task->state == WORKER_OWING_RETURN)) {
        task->marks |= WORKER_NAMED; /* its answer is under way */
        return true;
    }
    return worker_put(core, core->returned, 0, lease, NULL, 0, NULL);
}

bool worker_recall(struct worker_core *core, struct wire_batch *batch) {
    uint64_t count = batch->extra[0] < worker_held(core) ? batch->extra[0] : worker_held(core);
    struct wire_entry entry;
    struct finder finder;
    bool good = true;

    if (!worker_reserve(core, batch->entry_count + count)) {
        return false;
    }
    finder_init(&finder, core, batch->entry_count);
    while (good && wire_batch_next(batch, &entry)) {
        good = recall_one(core, find(&finder, entry.values[0]), entry.values[0]);
    }
    finder_fini(&finder);
    return good && withdraw_newest(core, count);
}

bool worker_interrupt(struct worker_core *core, struct wire_batch *batch) {
    struct wire_entry entry;
    struct finder finder;

    if (!worker_reserve(core, batch->entry_count)) {
        return false;
    }
    finder_init(&finder, core, batch->entry_count);
    while (wire_batch_next(batch, &entry)) {
        struct worker_task *task = find(&finder, entry.values[0]);

        if (task == NULL) {
            continue;
        }
        switch ((enum worker_phase)task->state) {
        case WORKER_WAITING:
            withdraw(core, task, WORKER_END);
            break;
        case WORKER_WITHDRAWING:
            task->marks |= WORKER_END;
            break;
        case WORKER_RUNNING:
            worker_act(core, WORKER_INTERRUPT)->task = task;
            break;
        case WORKER_OVERDUE: /* has been told */
        case WORKER_CONDEMNED:
        case WORKER_OWING_RESULT:
        case WORKER_OWING_RETURN:
        case WORKER_FREE:
            break;
        }
    }
    finder_fini(&finder);
    return true;
}

/* It had started before it could be taken back. */
static void kept(struct worker_core *core, uint64_t now_ns, struct worker_task *task) {
    worker_phase_set(task, WORKER_RUNNING);
    if ((task->marks & WORKER_END) != 0 && worker_reserve(core, 1)) {
        worker_act(core, WORKER_INTERRUPT)->task = task;
    }
    if ((task->marks & WORKER_NAMED) != 0 &&
        !worker_put(core, core->returned, 0, task->lease, NULL, 0, NULL)) {
        task->marks |= WORKER_OWES_ANSWER;
        core->owing++;
        worker_starve(core, now_ns);
    }
    task->marks &= (uint8_t) ~(WORKER_NAMED | WORKER_END);
}

void worker_withdrawn(struct worker_core *core, uint64_t now_ns, const struct worker_event *event) {
    struct worker_task *task = event->task;

    BASE_ASSERT(task->state == WORKER_WITHDRAWING);
    if (!event->withdrawn) {
        kept(core, now_ns, task);
        return;
    }
    core->accepted--;
    if (worker_put(core, core->returned, 1, task->lease, NULL, 0, NULL)) {
        worker_task_drop(core, task);
    } else {
        worker_phase_set(task, WORKER_OWING_RETURN);
        core->owing++;
        worker_starve(core, now_ns);
    }
}

/* ------------------------------------------------------------------ leaving */

void worker_drain(struct worker_core *core, bool tell, bool withdraw_all) {
    core->draining = true;
    core->withdraw_due = core->withdraw_due || withdraw_all;
    if (tell && !core->drain_told) {
        core->drain_told = true;
        core->drain_due = true;
    }
    if (core->withdraw_due && worker_reserve(core, worker_held(core))) {
        core->withdraw_due = !withdraw_newest(core, worker_held(core));
    }
}

/* Queues a message without fields. False: no memory. */
static bool queue_plain(struct worker_core *core, enum wire_type type) {
    struct wire_message *message;

    if (!worker_queue_reserve(core)) {
        return false;
    }
    message = wire_plain_encode(type);
    if (message != NULL) {
        worker_queue(core, message, 0);
    }
    return message != NULL;
}

static void leave(struct worker_core *core, const char *text) {
    if (worker_reserve(core, 1)) {
        core->left = true;
        worker_act(core, WORKER_LEAVE)->text = text;
    }
}

/* Whether nothing is left to do here but to say BYE, and all that was said has arrived. */
static bool all_is_told(const struct worker_core *core) {
    return !core->register_due && !core->drain_due && core->outgoing_count == 0 &&
           wire_writer_count(core->results) == 0 && wire_writer_count(core->returned) == 0;
}

void worker_leave_on(struct worker_core *core, uint64_t now_ns) {
    bool good = true;

    if (core->withdraw_due) {
        worker_drain(core, false, true);
        good = !core->withdraw_due;
    }
    if (core->drain_due && worker_connected(core)) {
        core->drain_due = !queue_plain(core, WIRE_DRAIN);
        good = good && !core->drain_due;
    }
    if (worker_held(core) > 0) {
        core->leave_until_ns = UINT64_MAX;
    } else if (core->dialer.epoch == 0) {
        leave(core, NULL); /* no broker has ever known us */
        return;
    } else if (core->leave_until_ns == UINT64_MAX) {
        core->leave_until_ns = now_ns + WORKER_LEAVE_NS;
    } else if (now_ns >= core->leave_until_ns) {
        leave(core, "the broker did not acknowledge the last results");
        return;
    }
    if (worker_held(core) == 0 && worker_connected(core) && all_is_told(core)) {
        if (core->bye_queued) {
            leave(core, NULL);
            return;
        }
        core->bye_queued = queue_plain(core, WIRE_BYE);
        good = good && core->bye_queued;
    }
    if (!good) {
        worker_starve(core, now_ns);
    }
}
