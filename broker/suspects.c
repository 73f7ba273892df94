/* Tasks that run alone: those that ran when their worker died, if it isn't known which of them did
 * it (docs/protocol.md section 7). Each is given to an empty worker, which gets nothing else
 * meanwhile. If no worker is empty one is reserved: it gets no more, and what waits there is recalled. */
#include "broker/schedule.h"

#include "broker/core_private.h"
#include "broker/queue.h"
#include "broker/recall.h"
#include "broker/task.h"
#include "broker/worker.h"

static void suspect_put(struct broker_core *core, struct broker_task *task) {
    struct broker_demand *demand = task->class->queue->demand;

    base_list_push_back(&demand->suspects, &task->node);
    if (demand->suspect_count++ == 0) {
        base_list_push_back(&core->suspicious, &demand->suspicious);
    }
    broker_demand_watch(core, demand);
}

void broker_suspect(struct broker_core *core, struct broker_task *task) {
    broker_task_set_state(task, BROKER_TASK_SUSPECT);
    task->flags |= BROKER_TASK_ALONE;
    suspect_put(core, task);
}

void broker_suspect_taken(struct broker_core *core, struct broker_task *task) {
    struct broker_demand *demand = task->class->queue->demand;

    base_list_remove(&task->node);
    if (--demand->suspect_count == 0) {
        base_list_remove(&demand->suspicious);
        broker_demand_unreserve(core, demand);
    }
}

void broker_worker_unreserve(struct broker_core *core, struct broker_worker *worker) {
    if (worker->reserved != NULL) {
        worker->reserved->reserved--;
        worker->reserved = NULL;
        broker_worker_place(core, worker);
    }
}

void broker_demand_unreserve(struct broker_core *core, struct broker_demand *demand) {
    BASE_LIST_FOREACH(&demand->services, seen) {
        struct broker_service *service = BASE_LIST_ENTRY(seen, struct broker_service, in_demand);

        BASE_LIST_FOREACH(&service->offer->workers, node) {
            struct broker_worker *worker = BASE_LIST_ENTRY(node, struct broker_worker, in_offer);

            if (demand->reserved > 0 && worker->reserved == demand) {
                broker_worker_unreserve(core, worker);
            }
        }
    }
    BASE_ASSERT(demand->reserved == 0);
}

static bool suits(const struct broker_worker *worker, const struct broker_demand *demand) {
    return !worker->claiming && !worker->draining && !worker->dying && worker->alone == NULL &&
           (worker->reserved == NULL || worker->reserved == demand);
}

/* Finds the worker that holds least, and how many there are. NULL: none. */
static struct broker_worker *find_worker(const struct broker_demand *demand,
                                         struct broker_service **service, uint32_t *workers) {
    struct broker_worker *best = NULL;

    *workers = 0;
    BASE_LIST_FOREACH(&demand->services, seen) {
        struct broker_service *at = BASE_LIST_ENTRY(seen, struct broker_service, in_demand);

        *workers += at->offer->worker_count;
        BASE_LIST_FOREACH(&at->offer->workers, node) {
            struct broker_worker *worker = BASE_LIST_ENTRY(node, struct broker_worker, in_offer);

            if (suits(worker, demand) && (best == NULL || worker->held < best->held)) {
                best = worker;
                *service = at;
            }
        }
    }
    return best;
}

/* Finds the busy worker that holds least and isn't reserved yet. */
static struct broker_worker *find_busy(const struct broker_demand *demand) {
    struct broker_worker *best = NULL;

    BASE_LIST_FOREACH(&demand->services, seen) {
        struct broker_service *at = BASE_LIST_ENTRY(seen, struct broker_service, in_demand);

        BASE_LIST_FOREACH(&at->offer->workers, node) {
            struct broker_worker *worker = BASE_LIST_ENTRY(node, struct broker_worker, in_offer);

            if (suits(worker, demand) && worker->reserved == NULL &&
                (best == NULL || worker->held < best->held)) {
                best = worker;
            }
        }
    }
    return best;
}

/* Half of the workers at most are emptied, so that the others' work goes on. */
static void reserve(struct broker_core *core, struct broker_demand *demand, uint32_t workers) {
    uint32_t most = workers / 2 > 0 ? workers / 2 : 1;

    while (demand->reserved < demand->suspect_count && demand->reserved < most) {
        struct broker_worker *worker = find_busy(demand);

        if (worker == NULL) {
            return;
        }
        worker->reserved = demand;
        demand->reserved++;
        broker_worker_place(core, worker);
        broker_recall_more(core, worker, worker->held);
    }
}

void broker_dispatch_suspects(struct broker_core *core) {
    BASE_LIST_FOREACH(&core->suspicious, listed) {
        struct broker_demand *demand = BASE_LIST_ENTRY(listed, struct broker_demand, suspicious);
        struct broker_service *service = NULL;
        struct broker_worker *worker;
        uint32_t workers, left = demand->suspect_count;

        for (; left > 0; left--) {
            struct base_node *first = base_list_first(&demand->suspects);
            struct broker_task *task = BASE_LIST_ENTRY(first, struct broker_task, node);

            worker = find_worker(demand, &service, &workers);
            if (worker == NULL || worker->held > 0) {
                reserve(core, demand, workers);
                break;
            }
            broker_suspect_taken(core, task);
            broker_worker_unreserve(core, worker);
            if (!broker_lease(core, worker, service, task)) {
                suspect_put(core, task);
                return;
            }
            worker->alone = task;
            core->stats.alone++;
            broker_worker_place(core, worker);
        }
    }
}
