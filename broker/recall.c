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
 * can run. */
#define WATCH_NS BROKER_MS

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
    if (!broker_timer_runs(&offer->timer)) {
        broker_timer_set(core, &offer->timer, broker_after(core, WATCH_NS));
    }
}

/* Whether what waits at a worker should be had back: it has shown no progress within its horizon (if
 * it had, that would be done sooner than it could be brought elsewhere), and it was not asked lately
 * without an answer. */
static bool is_stuck(const struct broker_core *core, const struct broker_worker *worker) {
    bool asked = worker->recalled_ns > worker->progress_ns;

    return worker->laden && !worker->dying &&
           core->now_ns >= worker->progress_ns + broker_worker_horizon(worker) &&
           (!asked || core->now_ns >= worker->recalled_ns + core->config.heartbeat_ns);
}

/* Finds the one with the most that waits. */
static struct broker_worker *find_stuck(struct broker_core *core, struct broker_offer *offer) {
    struct broker_worker *worst = NULL;

    BASE_LIST_FOREACH(&offer->workers, node) {
        struct broker_worker *worker = BASE_LIST_ENTRY(node, struct broker_worker, in_offer);

        if (is_stuck(core, worker) &&
            (worst == NULL || worker->held - worker->slots > worst->held - worst->slots)) {
            worst = worker;
        }
    }
    return worst;
}

void broker_offer_timer(struct broker_core *core, struct broker_offer *offer) {
    uint32_t wanted = 0;

    if (offer->idle_count == 0 || offer->laden == 0) {
        return;
    }
    broker_recall_watch(core, offer);
    if (core->queued > 0 && base_node_linked(&offer->active)) {
        return; /* there is still something to be had without that */
    }
    BASE_LIST_FOREACH(&offer->idle, node) {
        struct broker_worker *worker = BASE_LIST_ENTRY(node, struct broker_worker, in_ring);

        wanted += worker->slots - worker->held;
    }
    while (wanted > 0) {
        struct broker_worker *worker = find_stuck(core, offer);
        uint32_t count;

        if (worker == NULL) {
            return;
        }
        count = (worker->held - worker->slots + 1) / 2;
        broker_recall_more(core, worker, count);
        if (worker->recall_count == 0) {
            return; /* no memory for it */
        }
        /* Its tasks take longer than it seemed: no more than it can run, until it shows otherwise. */
        worker->limit = worker->slots;
        broker_worker_place(core, worker);
        wanted -= count < wanted ? count : wanted;
    }
}
