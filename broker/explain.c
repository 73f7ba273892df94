/* Why a task isn't running (docs/protocol.md section 3.3). */
#include "broker/admin.h"

#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/outbox.h"
#include "broker/queue.h"
#include "broker/router.h"
#include "broker/session.h"
#include "broker/slots.h"
#include "broker/task.h"
#include "broker/timer.h"
#include "broker/worker.h"
#include "wire/inspect.h"

/* How many workers and offers are looked at. */
#define LOOKS_MAX 4096u

/* What was asked about, and what is found. */
struct inquiry {
    struct broker_core *core;
    struct broker_client *client;
    struct broker_task *task; /* NULL: it isn't here */
    struct wire_reason *reason;
};

static uint64_t left_ms(const struct broker_core *core, const struct broker_timer *timer) {
    return !broker_timer_runs(timer) || timer->node.key <= core->now_ns
               ? 0
               : (timer->node.key - core->now_ns) / BROKER_MS;
}

/* ---------------------------------------------------------- what it waits for */

static void tell_task(struct inquiry *inquiry) {
    const struct broker_task *task = inquiry->task;
    const struct broker_demand *demand = task->class->queue->demand;
    struct wire_reason *reason = inquiry->reason;

    reason->function = demand->function;
    reason->tags.count = demand->tag_count;
    memcpy(reason->tags.names, demand->tags, demand->tag_count * sizeof demand->tags[0]);
    reason->attempt = task->attempt;
    reason->max_attempts = task->class->max_attempts;
    reason->priority = (uint64_t)(task->class->queue->priority + 128);
    reason->queued = demand->queued;
    reason->workers = inquiry->core->stats.workers;
    reason->flags = ((task->flags & BROKER_TASK_STARTED) != 0 ? WIRE_REASON_BEGUN : 0u) |
                    ((task->flags & BROKER_TASK_CANCELLING) != 0 ? WIRE_REASON_CANCELLING : 0u) |
                    ((task->flags & BROKER_TASK_ALONE) != 0 ? WIRE_REASON_APART : 0u);
}

static void tell_client(struct inquiry *inquiry) {
    struct broker_client *client = inquiry->client;
    struct wire_reason *reason = inquiry->reason;

    reason->client = broker_text_of(client->session.name);
    reason->client_host = broker_text_of(client->session.host);
    reason->client_pid = (uint64_t)client->session.pid;
    reason->client_tasks = client->task_count;
    reason->credit_tasks = client->granted_tasks - client->sent_tasks;
    reason->credit_bytes =
        client->granted_bytes > client->sent_bytes ? client->granted_bytes - client->sent_bytes : 0;
    reason->client_state = broker_peer_state(&client->session);
}

/* Whether any offer has the function, whatever its tags. */
static bool is_offered(const struct broker_core *core, const struct broker_demand *demand) {
    struct base_map_cursor cursor = {0};
    struct base_map_node *node;

    for (uint32_t looks = 0;
         looks < LOOKS_MAX && (node = base_map_next(&core->offers, &cursor)) != NULL; looks++) {
        struct broker_offer *offer = BASE_CONTAINER_OF(node, struct broker_offer, node);

        if (base_map_find(&offer->functions, demand->function.data, demand->function.size) !=
            NULL) {
            return true;
        }
    }
    return false;
}

static void count_worker(const struct broker_worker *worker, struct wire_reason *reason) {
    reason->offering++;
    if (worker->draining || worker->dying) {
        reason->draining++;
    } else if (worker->claiming) {
        reason->claiming++;
    } else if (worker->alone != NULL || worker->reserved != NULL) {
        reason->emptied++;
    } else if (worker->held >= worker->limit) {
        reason->busy++;
    }
}

static void count_workers(const struct broker_demand *demand, struct wire_reason *reason) {
    BASE_LIST_FOREACH(&demand->services, seen) {
        const struct broker_service *service =
            BASE_LIST_ENTRY(seen, struct broker_service, in_demand);

        BASE_LIST_FOREACH(&service->offer->workers, node) {
            if (reason->offering >= LOOKS_MAX) {
                return;
            }
            count_worker(BASE_LIST_ENTRY(node, struct broker_worker, in_offer), reason);
        }
    }
}

/* Nothing can be done about it now, or there is somebody who offers it: 0. */
static enum wire_reason_code hopeless(struct inquiry *inquiry) {
    struct broker_demand *demand = inquiry->task->class->queue->demand;

    if (inquiry->core->stats.workers == 0) {
        return WIRE_REASON_NO_WORKER;
    }
    count_workers(demand, inquiry->reason);
    if (!base_list_empty(&demand->services)) {
        return 0;
    }
    inquiry->reason->left_ms = left_ms(inquiry->core, &demand->timer);
    return is_offered(inquiry->core, demand) ? WIRE_REASON_NO_TAGS : WIRE_REASON_NO_FUNCTION;
}

static uint64_t ahead_of(const struct base_list *list, const struct broker_task *task) {
    uint64_t ahead = 0;

    BASE_LIST_FOREACH(list, node) {
        if (node == &task->node || ahead == WIRE_AHEAD_MAX) {
            break;
        }
        ahead++;
    }
    return ahead;
}

static enum wire_reason_code queued(struct inquiry *inquiry) {
    struct wire_reason *reason = inquiry->reason;
    enum wire_reason_code code = hopeless(inquiry);

    reason->ahead = ahead_of(&inquiry->task->class->queue->tasks, inquiry->task);
    if (code != 0) {
        return code;
    }
    if (!base_list_empty(&inquiry->client->clogged)) {
        return WIRE_REASON_CLOGGED;
    }
    return reason->busy + reason->draining + reason->claiming + reason->emptied == reason->offering
               ? WIRE_REASON_BUSY
               : WIRE_REASON_TURN;
}

static enum wire_reason_code alone(struct inquiry *inquiry) {
    enum wire_reason_code code = hopeless(inquiry);

    inquiry->reason->ahead =
        ahead_of(&inquiry->task->class->queue->demand->suspects, inquiry->task);
    return code != 0 ? code : WIRE_REASON_ALONE;
}

/* A worker begins its tasks in the order in which it gets them. */
static enum wire_reason_code leased(struct inquiry *inquiry) {
    const struct broker_worker *worker = inquiry->task->worker;
    struct wire_reason *reason = inquiry->reason;
    uint64_t ahead = ahead_of(&worker->leases, inquiry->task);

    reason->worker = broker_text_of(worker->session.name);
    reason->worker_host = broker_text_of(worker->session.host);
    reason->worker_pid = (uint64_t)worker->session.pid;
    reason->worker_session = worker->session.id;
    reason->ahead = ahead < worker->slots ? 0 : ahead;
    return ahead < worker->slots ? WIRE_REASON_RUNS : WIRE_REASON_WAITS_THERE;
}

static enum wire_reason_code explain(struct inquiry *inquiry) {
    tell_task(inquiry);
    switch ((enum broker_task_state)inquiry->task->state) {
    case BROKER_TASK_HELD:
        inquiry->reason->left_ms = left_ms(inquiry->core, &inquiry->core->settle);
        return WIRE_REASON_HELD;
    case BROKER_TASK_QUEUED:
        return queued(inquiry);
    case BROKER_TASK_LEASED:
        return leased(inquiry);
    case BROKER_TASK_DELAYED:
        inquiry->reason->left_ms = left_ms(inquiry->core, &inquiry->task->extra->timer);
        return WIRE_REASON_DELAYED;
    case BROKER_TASK_SUSPECT:
        return alone(inquiry);
    case BROKER_TASK_FAILING:
        return WIRE_REASON_NO_MEMORY;
    case BROKER_TASK_NEW:
    case BROKER_TASK_ABANDONED:
    case BROKER_TASK_ENDED:
        break;
    }
    BASE_ASSERT(false); /* a task with an id of its client's is in none of these states */
    return WIRE_REASON_NOT_HERE;
}

/* ---------------------------------------------------------------- answering */

static struct broker_client *find_client(struct broker_core *core, const struct wire_session *id) {
    struct broker_session *session = broker_session_find(core, id);

    return session != NULL && session->role == WIRE_CLIENT ? broker_client_of(session) : NULL;
}

enum broker_handled broker_on_explain(struct broker_core *core, struct broker_session *session,
                                      struct wire_message *message, struct wire_fault *fault) {
    struct wire_reason reason = {.reason = WIRE_REASON_NO_CLIENT};
    struct inquiry inquiry = {.core = core, .reason = &reason};
    struct wire_message *answer;
    struct wire_explain asked;

    if (!wire_explain_decode(message, &asked, fault)) {
        return BROKER_REFUSED;
    }
    reason.number = asked.number;
    inquiry.client = find_client(core, &asked.session);
    if (inquiry.client != NULL) {
        inquiry.task =
            asked.named == 0 ? NULL : broker_slot_find(core, &inquiry.client->slots, asked.id);
        tell_client(&inquiry);
        reason.reason = inquiry.task != NULL ? explain(&inquiry)
                        : asked.named != 0   ? WIRE_REASON_NOT_HERE
                                             : WIRE_REASON_CLIENT;
    }
    answer = wire_reason_encode(&reason);
    broker_session_mark(core, session, answer);
    return answer == NULL ? BROKER_NOMEM : BROKER_DONE;
}
