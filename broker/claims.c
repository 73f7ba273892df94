/* Settling after a restart: workers say what they still have of an earlier epoch (or stream), clients
 * submit what has no outcome, and whichever of the two comes first waits for the other
 * (docs/protocol.md section 7). */
#include "broker/claims.h"

#include <stdlib.h>
#include <string.h>

#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/credit.h"
#include "broker/queue.h"
#include "broker/recall.h"
#include "broker/recover.h"
#include "broker/router.h"
#include "broker/schedule.h"
#include "broker/session.h"
#include "broker/slots.h"
#include "broker/task.h"
#include "broker/timer.h"
#include "broker/worker.h"

/* ------------------------------------------------------------------ settling */

void broker_settle_begin(struct broker_core *core) {
    if (!core->settling && !core->settled) {
        core->settling = true;
        broker_timer_set(core, &core->settle, broker_after(core, core->config.settle_ns));
    }
}

void broker_settle_end(struct broker_core *core) {
    static const char text[] = "its worker was lost together with the broker";
    const struct wire_error error = {.message = {text, sizeof text - 1}};
    struct base_node *node;

    core->settling = false;
    core->settled = true;
    while ((node = base_list_first(&core->held)) != NULL) {
        struct broker_task *task = BASE_LIST_ENTRY(node, struct broker_task, node);

        broker_task_detach(core, task);
        if ((task->class->flags & WIRE_FLAG_AT_MOST_ONCE) != 0) {
            broker_task_fail(core, task, WIRE_KIND_LOST, &error);
        } else if ((task->flags & BROKER_TASK_CANCELLING) != 0) {
            broker_task_cancelled(core, task);
        } else {
            broker_queue_add(core, task, false);
        }
    }
}

/* -------------------------------------------------------------------- claims */

struct claim_key {
    uint8_t bytes[24];
};

static struct claim_key key_of(const struct wire_session *session, uint64_t id) {
    struct claim_key key;

    memcpy(key.bytes, &session->high, 8);
    memcpy(key.bytes + 8, &session->low, 8);
    memcpy(key.bytes + 16, &id, 8);
    return key;
}

static struct broker_claim *claim_find(struct broker_core *core, const struct wire_session *session,
                                       uint64_t id) {
    struct claim_key key = key_of(session, id);
    struct base_map_node *node = base_map_find(&core->claims, key.bytes, sizeof key.bytes);

    return node == NULL ? NULL : BASE_CONTAINER_OF(node, struct broker_claim, node);
}

/* The worker has no more to do with it. */
static void leave_worker(struct broker_core *core, struct broker_claim *claim) {
    struct broker_worker *worker = claim->worker;

    if (worker != NULL) {
        base_list_remove(&claim->in_worker);
        base_idmap_remove(&worker->claimed, claim->lease);
        worker->held--;
        claim->worker = NULL;
        broker_worker_place(core, worker);
    }
}

void broker_claim_free(struct broker_core *core, struct broker_claim *claim) {
    leave_worker(core, claim);
    if (claim->result != NULL) {
        core->memory -= claim->result->size;
        wire_blob_unref(claim->result);
    }
    broker_timer_drop(core, &claim->timer);
    base_map_remove(&core->claims, &claim->node);
    free(claim);
}

/* Tells the worker that its run is of no use any more. */
static void give_up(struct broker_core *core, struct broker_claim *claim) {
    if (claim->worker != NULL) {
        (void)broker_interrupt(core, claim->worker, claim->lease);
    }
    broker_claim_free(core, claim);
}

void broker_claim_timer(struct broker_core *core, struct broker_claim *claim) {
    give_up(core, claim);
}

void broker_claim_drop(struct broker_core *core, struct broker_worker *worker, uint64_t lease) {
    struct broker_claim *claim = base_idmap_find(&worker->claimed, lease);

    if (claim != NULL) {
        broker_claim_free(core, claim);
    }
}

static bool claim_make(struct broker_core *core, struct broker_worker *worker,
                       const struct wire_entry *entry) {
    struct wire_session session = {entry->key[0], entry->key[1]};
    struct claim_key key = key_of(&session, entry->values[1]);
    struct broker_claim *claim = calloc(1, sizeof *claim);

    if (claim == NULL) {
        return false;
    }
    memcpy(claim->key, key.bytes, sizeof claim->key);
    claim->lease = entry->values[0];
    claim->attempt = (uint32_t)entry->values[2];
    if (!broker_timer_make(core, &claim->timer, BROKER_TIMER_CLAIM) ||
        base_idmap_insert(&worker->claimed, claim->lease, claim) != BASE_MAP_INSERTED) {
        broker_timer_drop(core, &claim->timer);
        free(claim);
        return false;
    }
    if (base_map_insert(&core->claims, &claim->node, claim->key, sizeof claim->key) !=
        BASE_MAP_INSERTED) {
        base_idmap_remove(&worker->claimed, claim->lease);
        broker_timer_drop(core, &claim->timer);
        free(claim);
        return false;
    }
    claim->worker = worker;
    base_list_push_back(&worker->claims, &claim->in_worker);
    worker->held++;
    broker_worker_place(core, worker);
    broker_timer_set(core, &claim->timer,
                     broker_after(core, core->config.settle_ns + core->config.silence_ns));
    return true;
}

/* ------------------------------------------------------------------ matching */

/* All of adopting that may fail, done while the task is still where it was. */
static bool adopt_prepare(struct broker_core *core, struct broker_worker *worker,
                          struct broker_task *task, uint64_t lease) {
    return broker_task_extra(core, task) != NULL &&
           base_idmap_insert(&worker->old, lease, task) == BASE_MAP_INSERTED;
}

/* Makes a detached task leased as it was. */
static void adopt(struct broker_core *core, struct broker_worker *worker, struct broker_task *task,
                  uint64_t lease, uint32_t attempt) {
    task->extra->old_lease = lease;
    task->flags |= BROKER_TASK_OLD;
    if (worker->claiming) {
        task->flags |= BROKER_TASK_CONFIRMED;
    }
    task->attempt = (uint16_t)attempt;
    task->worker = worker;
    broker_task_set_state(task, BROKER_TASK_LEASED);
    base_list_push_back(&worker->leases, &task->node);
    worker->held++;
    core->leased++;
    broker_credit_leased(task->class->queue, 1);
    broker_worker_place(core, worker);
    if ((task->flags & BROKER_TASK_CANCELLING) != 0) {
        (void)broker_recall(core, task);
    }
}

enum broker_handled broker_claim_match(struct broker_core *core, struct broker_task *task) {
    struct broker_claim *claim;

    if (base_map_count(&core->claims) == 0) {
        return BROKER_REFUSED;
    }
    claim = claim_find(core, &task->class->client->session.id, task->id);
    if (claim == NULL) {
        return BROKER_REFUSED;
    }
    if (claim->attempt < task->attempt) {
        give_up(core, claim);
        return BROKER_REFUSED;
    }
    if (claim->result == NULL) {
        if (!adopt_prepare(core, claim->worker, task, claim->lease)) {
            return BROKER_NOMEM;
        }
        adopt(core, claim->worker, task, claim->lease, claim->attempt);
    } else {
        bool large = claim->result->size >= WIRE_LARGE_BYTES_MIN;

        if (!broker_task_tell(core, task, claim->kind, claim->result->data, claim->result->size,
                              large ? claim->result : NULL)) {
            return BROKER_NOMEM;
        }
        broker_task_end(core, task);
    }
    broker_claim_free(core, claim);
    return BROKER_DONE;
}

enum broker_handled broker_claim_result(struct broker_core *core, struct broker_worker *worker,
                                        const struct wire_entry *entry) {
    struct broker_claim *claim;

    if (base_idmap_count(&worker->claimed) == 0) {
        return BROKER_REFUSED;
    }
    claim = base_idmap_find(&worker->claimed, entry->values[0]);
    if (claim == NULL) {
        return BROKER_REFUSED;
    }
    claim->result = entry->large != NULL ? wire_blob_ref(entry->large)
                                         : wire_blob_copy(entry->data, entry->size);
    if (claim->result == NULL) {
        return BROKER_NOMEM;
    }
    claim->kind = (enum wire_kind)entry->key[0];
    core->memory += claim->result->size;
    leave_worker(core, claim);
    return BROKER_DONE;
}

static struct broker_task *find_task(struct broker_core *core, const struct wire_session *id,
                                     uint64_t task_id) {
    struct broker_session *session = broker_session_find(core, id);

    return session != NULL && session->role == WIRE_CLIENT
               ? broker_slot_find(core, &broker_client_of(session)->slots, task_id)
               : NULL;
}

/* Whether a claim is still worth something to a task that its client has submitted. */
static bool may_adopt(const struct broker_task *task, uint32_t attempt) {
    switch ((enum broker_task_state)task->state) {
    case BROKER_TASK_HELD:
    case BROKER_TASK_QUEUED:
        return attempt >= task->attempt;
    case BROKER_TASK_LEASED:
        return attempt > task->attempt;
    case BROKER_TASK_NEW:
    case BROKER_TASK_DELAYED:
    case BROKER_TASK_SUSPECT:
    case BROKER_TASK_ABANDONED:
    case BROKER_TASK_FAILING:
    case BROKER_TASK_ENDED:
        break;
    }
    return false;
}

static bool claim_task(struct broker_core *core, struct broker_worker *worker,
                       struct broker_task *task, const struct wire_entry *entry) {
    uint64_t lease = entry->values[0];
    uint32_t attempt = (uint32_t)entry->values[2];
    struct broker_worker *other = task->worker;
    uint64_t other_lease = other != NULL ? broker_task_lease(task) : 0;

    if (!may_adopt(task, attempt)) {
        (void)broker_interrupt(core, worker, lease);
        return true;
    }
    if (!adopt_prepare(core, worker, task, lease)) {
        return false;
    }
    broker_task_detach(core, task);
    if (other != NULL) {
        (void)broker_interrupt(core, other, other_lease);
    }
    adopt(core, worker, task, lease, attempt);
    return true;
}

static bool claim_one(struct broker_core *core, struct broker_worker *worker,
                      const struct wire_entry *entry) {
    struct wire_session session = {entry->key[0], entry->key[1]};
    struct broker_task *task = broker_worker_task(core, worker, entry->values[0]);
    struct broker_claim *other;

    if (task != NULL && task->id == entry->values[1]) {
        if (worker->claiming) { /* it registers anew in the same epoch */
            task->flags |= BROKER_TASK_CONFIRMED;
        }
        return true;
    }
    task = find_task(core, &session, entry->values[1]);
    if (task != NULL) {
        return claim_task(core, worker, task, entry);
    }
    if (base_idmap_find(&worker->claimed, entry->values[0]) != NULL) {
        return true; /* the message came before, and there was no memory for the rest of it */
    }
    other = claim_find(core, &session, entry->values[1]);
    if (other != NULL && other->attempt >= entry->values[2]) {
        (void)broker_interrupt(core, worker, entry->values[0]);
        return true;
    }
    if (other != NULL) {
        give_up(core, other);
    }
    return claim_make(core, worker, entry);
}

/* What it holds as far as we know, and did not claim, never reached it. */
static void claims_end(struct broker_core *core, struct broker_worker *worker) {
    struct base_node *node = base_list_last(&worker->leases);

    worker->claiming = false;
    while (node != NULL) {
        struct broker_task *task = BASE_LIST_ENTRY(node, struct broker_task, node);

        node = base_list_prev(&worker->leases, node);
        if ((task->flags & BROKER_TASK_CONFIRMED) != 0) {
            task->flags &= (uint8_t)~BROKER_TASK_CONFIRMED;
            continue;
        }
        broker_task_detach(core, task);
        if (task->class == NULL) {
            broker_task_end(core, task);
        } else if ((task->flags & BROKER_TASK_CANCELLING) != 0) {
            broker_task_cancelled(core, task);
        } else {
            broker_requeue(core, task);
        }
    }
    broker_worker_place(core, worker);
}

enum broker_handled broker_on_claims(struct broker_core *core, struct broker_session *session,
                                     struct wire_message *message, struct wire_fault *fault) {
    struct broker_worker *worker = broker_worker_of(session);
    struct wire_batch batch;
    struct wire_entry entry;

    if (!wire_batch_open(&batch, message, fault)) {
        return BROKER_REFUSED;
    }
    if (worker->held + batch.entry_count > 2 * WIRE_WORKER_LEASES_MAX) {
        broker_fault(fault, WIRE_REJECT_LIMIT, "CLAIMS: lease: more than %u",
                     WIRE_WORKER_LEASES_MAX);
        return BROKER_REFUSED;
    }
    while (wire_batch_next(&batch, &entry)) {
        if (!claim_one(core, worker, &entry)) {
            return BROKER_NOMEM;
        }
    }
    if (batch.extra[0] != 0 && worker->claiming) {
        claims_end(core, worker);
    }
    return BROKER_DONE;
}
