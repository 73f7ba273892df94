#include "worker/internal.h"

#include "base/map.h"

#include <stdio.h>

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
    finder->core = core;
    finder->tabled = leases >= TABLE_MIN && core->held_count >= TABLE_MIN;
    base_idmap_init(&finder->table, core->config.seed);
    if (!finder->tabled) {
        return;
    }
    BASE_LIST_FOREACH(&core->held, node) {
        struct worker_item *item = worker_item_at(node);

        if (base_idmap_insert(&finder->table, item->task.lease, item) == BASE_MAP_NO_MEMORY) {
            finder->tabled = false;
        }
    }
}

static void finder_fini(struct finder *finder) {
    base_idmap_fini(&finder->table);
}

static struct worker_item *find(const struct finder *finder, uint64_t lease) {
    if (finder->tabled) {
        return base_idmap_find(&finder->table, lease);
    }
    BASE_LIST_FOREACH(&finder->core->held, node) {
        if (worker_item_at(node)->task.lease == lease) {
            return worker_item_at(node);
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------- RECALL */

static void withdraw(struct worker_core *core, struct worker_item *item, uint32_t marks) {
    worker_phase_set(item, WORKER_WITHDRAWING);
    item->marks |= marks;
    worker_act(core, WORKER_WITHDRAW)->task = &item->task;
}

/* Takes back up to `count` tasks that wait, the newest first. */
static void withdraw_newest(struct worker_core *core, uint64_t count) {
    struct base_node *node = base_list_last(&core->held);

    for (; node != NULL && count > 0; node = base_list_prev(&core->held, node)) {
        struct worker_item *item = worker_item_at(node);

        if (item->task.state == WORKER_WAITING) {
            withdraw(core, item, 0);
            count--;
        }
    }
}

static bool recall_one(struct worker_core *core, struct worker_item *item, uint64_t lease) {
    if (item != NULL && item->task.state == WORKER_WAITING) {
        withdraw(core, item, WORKER_NAMED);
        return true;
    }
    if (item != NULL &&
        (item->task.state == WORKER_WITHDRAWING || item->task.state == WORKER_OWING_RETURN)) {
        item->marks |= WORKER_NAMED; /* its answer is under way */
        return true;
    }
    return worker_put(core, core->returned, 0, lease, NULL, 0, NULL);
}

bool worker_recall(struct worker_core *core, struct wire_batch *batch) {
    uint64_t count = batch->extra[0] < core->held_count ? batch->extra[0] : core->held_count;
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
    if (good) {
        withdraw_newest(core, count);
    }
    return good;
}

bool worker_interrupt(struct worker_core *core, struct wire_batch *batch) {
    struct wire_entry entry;
    struct finder finder;

    if (!worker_reserve(core, batch->entry_count)) {
        return false;
    }
    finder_init(&finder, core, batch->entry_count);
    while (wire_batch_next(batch, &entry)) {
        struct worker_item *item = find(&finder, entry.values[0]);

        if (item == NULL) {
            continue;
        }
        switch ((enum worker_phase)item->task.state) {
        case WORKER_WAITING:
            withdraw(core, item, WORKER_END);
            break;
        case WORKER_WITHDRAWING:
            item->marks |= WORKER_END;
            break;
        case WORKER_RUNNING:
            worker_act(core, WORKER_INTERRUPT)->task = &item->task;
            break;
        case WORKER_OVERDUE: /* has been told */
        case WORKER_CONDEMNED:
        case WORKER_DONE:
        case WORKER_OWING_RESULT:
        case WORKER_OWING_RETURN:
            break;
        }
    }
    finder_fini(&finder);
    return true;
}

/* It had started before it could be taken back. */
static void kept(struct worker_core *core, uint64_t now_ns, struct worker_item *item) {
    worker_phase_set(item, WORKER_RUNNING);
    if ((item->marks & WORKER_END) != 0 && worker_reserve(core, 1)) {
        worker_act(core, WORKER_INTERRUPT)->task = &item->task;
    }
    if ((item->marks & WORKER_NAMED) != 0 &&
        !worker_put(core, core->returned, 0, item->task.lease, NULL, 0, NULL)) {
        item->marks |= WORKER_OWES_ANSWER;
        core->owing++;
        worker_starve(core, now_ns);
    }
    item->marks &= ~(uint32_t)(WORKER_NAMED | WORKER_END);
}

void worker_withdrawn(struct worker_core *core, uint64_t now_ns, const struct worker_event *event) {
    struct worker_item *item = worker_item_of(event->task);

    BASE_ASSERT(item->task.state == WORKER_WITHDRAWING);
    if (!event->withdrawn) {
        kept(core, now_ns, item);
        return;
    }
    core->accepted--;
    if (worker_put(core, core->returned, 1, item->task.lease, NULL, 0, NULL)) {
        worker_item_drop(core, item);
    } else {
        worker_phase_set(item, WORKER_OWING_RETURN);
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
    if (core->withdraw_due && worker_reserve(core, core->held_count)) {
        core->withdraw_due = false;
        withdraw_newest(core, core->held_count);
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
    if (core->held_count > 0) {
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
    if (core->held_count == 0 && worker_connected(core) && all_is_told(core)) {
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
