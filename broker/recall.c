/* Taking back what waits at a worker. */
#include "broker/recall.h"

#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/credit.h"
#include "broker/outbox.h"
#include "broker/queue.h"
#include "broker/schedule.h"
#include "broker/session.h"
#include "broker/slots.h"
#include "broker/task.h"
#include "broker/timer.h"
#include "broker/worker.h"

/* How often an offer is looked at while some of its workers are idle and others have more than they
 * can run; and how long not, whatever happens, when nothing was found: so long for each worker, since a look
 * goes over all of them. */
#define WATCH_NS BROKER_MS
#define LOOK_NS  UINT64_C(2000)

/* The least time without results that means something: more than a worker holds them back. */
#define QUIET_MIN_NS BROKER_MS

static bool put_lease(struct broker_core *core, struct broker_worker *worker,
                      struct wire_writer **writer, enum wire_type type, uint64_t lease) {
    return broker_session_put(core, &worker->session, writer, type, NULL, &lease, NULL, 0, NULL);
}

bool broker_recall(struct broker_core *core, struct broker_task *task) {
    struct broker_worker *worker = task->worker;

    return put_lease(core, worker, &worker->recalls, WIRE_RECALL, broker_task_lease(task));
}

bool broker_interrupt(struct broker_core *core, struct broker_worker *worker, uint64_t lease) {
    return put_lease(core, worker, &worker->interrupts, WIRE_INTERRUPT, lease);
}

void broker_recall_more(struct broker_core *core, struct broker_worker *worker, uint32_t count) {
    if (count == 0) {
        return;
    }
    if (worker->recalls == NULL) {
        worker->recalls = wire_writer_new(WIRE_RECALL);
    }
    if (worker->recalls == NULL) {
        broker_starve(core);
        return;
    }
    worker->recall_count += count;
    worker->recalled_ns = core->now_ns;
    broker_session_dirty(core, &worker->session);
}

void broker_abandon(struct broker_core *core, struct broker_task *task) {
    struct broker_worker *worker = task->worker;
    struct broker_client *client = task->class->client;

    /* Without memory for these it runs to its end: that does no harm. */
    (void)broker_recall(core, task);
    (void)broker_interrupt(core, worker, broker_task_lease(task));
    broker_task_set_state(task, BROKER_TASK_ABANDONED);
    broker_task_drop_payload(core, task);
    broker_slot_release(core, &client->slots, task->id);
    client->task_count--;
    broker_credit_freed(core, task->class->queue);
    task->class = NULL;
    core->leased--;
    core->abandoned++;
}

/* ------------------------------------------------- from the busy to the idle */

void broker_recall_watch(struct broker_core *core, struct broker_offer *offer) {
    if (!base_node_linked(&offer->uneven)) {
        base_list_push_back(&core->uneven, &offer->uneven);
    }
}

/* Whether the tasks that run at a worker take longer than it seemed: nothing has come from there for
 * longer than an answer takes, and than a worker holds results back. */
static bool is_stuck(const struct broker_core *core, const struct broker_worker *worker) {
    uint64_t late_ns = broker_worker_late(worker);
    uint64_t quiet_ns = late_ns > QUIET_MIN_NS ? late_ns : QUIET_MIN_NS;

    return core->now_ns >= worker->progress_ns + quiet_ns;
}

/* How many of the tasks that wait at a worker should be had back, because others would begin them sooner:
 * all if it is stuck; else half of those that it won't have begun itself before they could be brought
 * elsewhere. None while it has not answered what it was asked before. */
static uint32_t surplus(const struct broker_core *core, const struct broker_worker *worker) {
    bool asked =
        worker->recalled_ns > 0 && core->now_ns < worker->recalled_ns + core->config.heartbeat_ns;
    uint64_t waiting, soon;

    if (!worker->laden || worker->dying || asked) {
        return 0;
    }
    waiting = worker->held - worker->slots;
    if (is_stuck(core, worker)) {
        return (uint32_t)waiting;
    }
    soon = broker_worker_soon(worker);
    return waiting > soon ? (uint32_t)((waiting - soon + 1) / 2) : 0;
}

static struct broker_worker *find_fullest(struct broker_core *core, struct broker_offer *offer,
                                          uint32_t *count) {
    struct broker_worker *fullest = NULL;

    *count = 0;
    BASE_LIST_FOREACH(&offer->workers, node) {
        struct broker_worker *worker = BASE_LIST_ENTRY(node, struct broker_worker, in_offer);
        uint32_t more = surplus(core, worker);

        if (more > *count) {
            *count = more;
            fullest = worker;
        }
    }
    return fullest;
}

static uint32_t idle_threads(const struct broker_offer *offer) {
    uint32_t threads = 0;

    BASE_LIST_FOREACH(&offer->idle, node) {
        struct broker_worker *worker = BASE_LIST_ENTRY(node, struct broker_worker, in_ring);

        threads += worker->slots - worker->held;
    }
    return threads;
}

/* Has the idle ones' share taken back from those that have too much. */
static void even_out(struct broker_core *core, struct broker_offer *offer) {
    uint32_t wanted, count;

    if (core->queued > 0 && base_node_linked(&offer->active)) {
        return; /* there is still something to be had without that */
    }
    wanted = idle_threads(offer);
    while (wanted > 0) {
        struct broker_worker *worker = find_fullest(core, offer, &count);

        if (worker == NULL) {
            offer->looked_ns = core->now_ns;
            return;
        }
        broker_recall_more(core, worker, count);
        if (worker->recall_count == 0) {
            return; /* no memory for it */
        }
        /* It gets nothing more, nor this again, until it has shown how fast it is. */
        worker->limit = worker->slots;
        broker_worker_place(core, worker);
        wanted -= count < wanted ? count : wanted;
    }
}

static bool is_uneven(const struct broker_offer *offer) {
    return offer->idle_count > 0 && offer->laden > 0;
}

void broker_offer_timer(struct broker_core *core, struct broker_offer *offer) {
    if (is_uneven(offer)) {
        even_out(core, offer);
        broker_timer_set(core, &offer->timer, broker_after(core, WATCH_NS));
    }
}

void broker_even_out(struct broker_core *core) {
    struct base_list uneven;
    struct base_node *node;

    base_list_init(&uneven);
    base_list_splice(&uneven, &core->uneven);
    while ((node = base_list_pop_front(&uneven)) != NULL) {
        struct broker_offer *offer = BASE_LIST_ENTRY(node, struct broker_offer, uneven);

        if (!is_uneven(offer)) {
            continue;
        }
        if (core->now_ns >= offer->looked_ns + LOOK_NS * offer->worker_count) {
            even_out(core, offer);
        }
        if (!broker_timer_runs(&offer->timer)) {
            broker_timer_set(core, &offer->timer, broker_after(core, WATCH_NS));
        }
    }
}
