/* Whether the core's books agree: what it counts as it goes against what is there. For tests: it looks
 * at everything. */
#include "broker/claims.h"
#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/queue.h"
#include "broker/session.h"
#include "broker/slots.h"
#include "broker/task.h"
#include "broker/worker.h"

/* What is found by looking. */
struct sums {
    uint64_t promised_tasks, promised_bytes, memory, slots;
    uint32_t queued, leased, abandoned, views;
    size_t tasks;
};

static uint64_t minus(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

static uint32_t length(const struct base_list *list) {
    uint32_t count = 0;

    for (struct base_node *node = base_list_first(list); node != NULL;
         node = base_list_next(list, node)) {
        count++;
    }
    return count;
}

static const char *check_queues(struct broker_client *client, struct sums *sums) {
    uint64_t expected = 0;

    BASE_LIST_FOREACH(&client->queues, node) {
        struct broker_queue *queue = BASE_LIST_ENTRY(node, struct broker_queue, in_client);

        if (length(&queue->tasks) != queue->count) {
            return "a queue has more or fewer tasks than it counts";
        }
        expected += (uint64_t)queue->leased * queue->value_bytes;
        sums->queued += queue->count;
        sums->views += length(&queue->views);
    }
    return expected == client->expected_bytes ? NULL : "expected bytes are not those of the leases";
}

static uint64_t page_bytes(const struct broker_slots *slots) {
    uint64_t bytes = slots->spare != NULL ? sizeof *slots->spare : 0;

    for (uint32_t i = 0; i < slots->page_count; i++) {
        bytes += slots->pages[i] != NULL ? sizeof *slots->pages[i] : 0;
    }
    return bytes;
}

static const char *check_client(struct broker_core *core, struct broker_client *client,
                                struct sums *sums) {
    struct broker_task *task;
    uint64_t cursor = 0, bytes = 0;
    uint32_t count = 0;

    sums->promised_tasks += minus(client->granted_tasks, client->sent_tasks);
    sums->promised_bytes += minus(client->granted_bytes, client->sent_bytes);
    sums->memory += client->session.counted_bytes + page_bytes(&client->slots);
    while ((task = broker_slot_next(core, &client->slots, &cursor)) != NULL) {
        count++;
        bytes += task->state == BROKER_TASK_FAILING ? 0 : task->size;
        sums->memory += BROKER_TASK_BYTES + (task->size > BROKER_INLINE_BYTES ? task->size : 0);
        if ((task->state == BROKER_TASK_LEASED) != (task->worker != NULL)) {
            return "a task is leased to nobody, or not leased to somebody";
        }
    }
    sums->tasks += count;
    if (count != client->task_count || bytes != client->task_bytes) {
        return "a client has more or fewer tasks than are counted";
    }
    return check_queues(client, sums);
}

static const char *check_worker(struct broker_worker *worker, struct sums *sums) {
    uint32_t held = length(&worker->claims);

    BASE_LIST_FOREACH(&worker->leases, node) {
        struct broker_task *task = BASE_LIST_ENTRY(node, struct broker_task, node);
        bool leased = task->state == BROKER_TASK_LEASED;

        held++;
        if (task->worker != worker || (!leased && task->state != BROKER_TASK_ABANDONED)) {
            return "a worker has a lease that is not its";
        }
        if (leased) {
            sums->leased++;
        } else {
            sums->abandoned++;
            sums->tasks++;
            sums->memory += BROKER_TASK_BYTES;
        }
    }
    sums->slots += worker->slots;
    return held == worker->held ? NULL : "a worker holds more or fewer leases than are counted";
}

static const char *check_session(struct broker_core *core, struct broker_session *session,
                                 struct sums *sums) {
    switch (session->role) {
    case WIRE_CLIENT:
        return check_client(core, broker_client_of(session), sums);
    case WIRE_WORKER:
        return check_worker(broker_worker_of(session), sums);
    case WIRE_SUPERVISOR:
    case WIRE_ADMIN:
        break;
    }
    return NULL;
}

const char *broker_check(struct broker_core *core) {
    struct base_map_cursor cursor = {0};
    struct base_map_node *node;
    struct sums sums = {0};

    while ((node = base_map_next(&core->sessions, &cursor)) != NULL) {
        const char *wrong =
            check_session(core, BASE_CONTAINER_OF(node, struct broker_session, by_id), &sums);

        if (wrong != NULL) {
            return wrong;
        }
    }
    cursor = (struct base_map_cursor){0};
    while ((node = base_map_next(&core->claims, &cursor)) != NULL) {
        const struct broker_claim *claim = BASE_CONTAINER_OF(node, struct broker_claim, node);

        sums.memory += claim->result != NULL ? claim->result->size : 0;
    }
    if (sums.promised_tasks != core->promised_tasks ||
        sums.promised_bytes != core->promised_bytes) {
        return "credit is not conserved";
    }
    if (sums.queued != core->queued || sums.leased != core->leased ||
        sums.abandoned != core->abandoned || sums.tasks != base_slab_count(&core->tasks)) {
        return "tasks are not where they are counted";
    }
    if (sums.memory != core->memory) {
        return "memory is not that of tasks and kept messages";
    }
    if (sums.slots != core->slots || sums.views != core->view_count) {
        return "slots or views are not those of workers and queues";
    }
    if (base_map_count(&core->sessions) > core->config.sessions_max) {
        return "there are more sessions than may be";
    }
    return NULL;
}
