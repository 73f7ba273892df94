/* What must hold (design: one outcome a task, one live lease a task, a stale lease counts for nothing,
 * a cancel that said yes is kept, credit is kept to, limits are kept to). The model knows only what
 * can be seen from outside: messages, runs, and what clients are told. Where a message may or may not
 * have been acted on, it takes the side of the cores. */
#include "tests/sim/sim_private.h"

#include <stdlib.h>
#include <string.h>

/* For each so many tasks that it has, one flush of the broker goes by without a look at its books. */
#define BOOKS_TASKS  4u
#define MEMORY_SLACK (UINT64_C(4) << 20) /* messages that were under way when memory ran out */

/* --------------------------------------------------------------------- grants */

static void forget_grants(struct sim *sim) {
    struct sim_model *model = &sim->model;

    for (uint32_t i = 0; i < model->all.count; i++) {
        free(model->all.items[i]);
    }
    model->all.count = 0;
    model->live.count = 0;
    base_idmap_fini(&model->grants);
    base_idmap_fini(&model->claims);
    base_idmap_init(&model->grants, 1);
    base_idmap_init(&model->claims, 2);
}

void sim_model_init(struct sim *sim) {
    base_idmap_init(&sim->model.grants, 1);
    base_idmap_init(&sim->model.claims, 2);
}

void sim_model_fini(struct sim *sim) {
    forget_grants(sim);
    free(sim->model.all.items);
    free(sim->model.live.items);
}

/* Their leases are over; stale: because the worker was given up, and not because of a new broker, which
 * may yet hear of them. */
static void orphan_runs(struct sim_worker *worker, bool stale) {
    for (uint32_t i = 0; i < worker->options.slots; i++) {
        if (worker->threads != NULL && worker->threads[i].run != NULL) {
            worker->threads[i].run->orphan = true;
            worker->threads[i].run->stale |= stale;
        }
    }
    BASE_LIST_FOREACH(&worker->queue, node) {
        BASE_LIST_ENTRY(node, struct sim_run, node)->orphan = true;
        BASE_LIST_ENTRY(node, struct sim_run, node)->stale |= stale;
    }
}

void sim_model_new_broker(struct sim *sim) {
    forget_grants(sim);
    sim->model.settle_from_ns = 0;
    memset(&sim->model.stats, 0, sizeof sim->model.stats);
    for (uint32_t i = 0; i < sim->tasks.count; i++) {
        sim_task_at(sim, i)->grant = NULL;
        sim_task_at(sim, i)->over = false;
    }
    for (uint32_t i = 0; i < sim->workers.count; i++) {
        orphan_runs(sim_worker_at(sim, i), false);
        sim_worker_at(sim, i)->end.known = false;
    }
    for (uint32_t i = 0; i < sim->clients.count; i++) {
        sim_client_at(sim, i)->end.known = false;
    }
}

/* The next grant that is alive, from *at = 0; those that have died are taken out of the list. */
static struct sim_grant *next_live(struct sim *sim, uint32_t *at) {
    struct sim_array *live = &sim->model.live;

    while (*at < live->count) {
        struct sim_grant *grant = live->items[*at];

        if (grant->live) {
            ++*at;
            return grant;
        }
        live->items[*at] = live->items[--live->count];
    }
    return NULL;
}

static void end_grants_of(struct sim *sim, const struct sim_endpoint *worker) {
    struct sim_grant *grant;
    uint32_t at = 0;

    while ((grant = next_live(sim, &at)) != NULL) {
        if (grant->worker == worker) {
            grant->live = false;
        }
    }
}

/* A client begins anew, perhaps since a HELLO of old came late: the broker gives up what it has of it, and
 * need not wait for the workers before it takes the same tasks again. */
static void end_grants_for(struct sim *sim, const struct sim_endpoint *client) {
    struct sim_grant *grant;
    uint32_t at = 0;

    while ((grant = next_live(sim, &at)) != NULL) {
        if (&sim_client_at(sim, grant->task->client)->end == client) {
            grant->live = false;
        }
    }
}

void sim_model_forgotten(struct sim *sim, uint64_t address) {
    struct sim_endpoint *end = sim_endpoint_of(sim, address);

    if (end == NULL) {
        return;
    }
    sim->counts.forgotten++;
    end->known = false;
    if (end->role == SIM_WORKER) {
        end_grants_of(sim, end);
        orphan_runs(BASE_CONTAINER_OF(end, struct sim_worker, end), true);
    }
}

/* ---------------------------------------------------------------- the broker */

/* Workers keep leases of earlier epochs for a while: a new one must not look like any of them. */
static void check_fresh(struct sim *sim, uint64_t lease) {
    for (uint32_t i = 0; i < sim->workers.count; i++) {
        struct sim_run *run = sim_worker_run(sim_worker_at(sim, i), lease);

        if (run != NULL && run->broker != sim->broker.incarnation) {
            sim_fail(sim, "lease %llx is given out, and worker %u has it from an earlier epoch",
                     (unsigned long long)lease, i);
        }
    }
}

static void check_run(struct sim *sim, struct sim_endpoint *end, const struct wire_entry *entry,
                      uint64_t seq) {
    struct sim_task *task = sim_task_by_arguments(sim, entry->data, entry->size);
    struct sim_grant *grant = base_idmap_find(&sim->model.grants, entry->values[0]);

    if (task == NULL) {
        sim_fail(sim, "RUN of a task that nobody has submitted");
        return;
    }
    if (grant != NULL) {
        if (grant->task != task || grant->worker != end) {
            sim_fail(sim, "lease %llx is used twice, for #%llu and #%llu",
                     (unsigned long long)entry->values[0], (unsigned long long)grant->task->number,
                     (unsigned long long)task->number);
        }
        return; /* sent again */
    }
    if (task->grant != NULL && task->grant->live) {
        sim_fail(sim, "#%llu gets lease %llx while %llx at %s is alive",
                 (unsigned long long)task->number, (unsigned long long)entry->values[0],
                 (unsigned long long)task->grant->lease, task->grant->worker->name);
    }
    if (task->over) {
        sim_fail(sim, "#%llu is run after its end", (unsigned long long)task->number);
    }
    if (task->job.at_most_once && task->starts > 0) {
        sim_fail(sim, "#%llu is at most once, and is leased again after it has started",
                 (unsigned long long)task->number);
    }
    check_fresh(sim, entry->values[0]);
    grant = sim_alloc(sizeof *grant);
    grant->lease = entry->values[0];
    grant->seq = seq;
    grant->task = task;
    grant->worker = end;
    grant->live = true;
    task->grant = grant;
    sim_array_add(&sim->model.all, grant);
    sim_array_add(&sim->model.live, grant);
    BASE_ASSERT(base_idmap_insert(&sim->model.grants, grant->lease, grant) == BASE_MAP_INSERTED);
}

/* Whether a value made under this lease may count: the lease is the task's last one, or its worker has
 * claimed it from an earlier epoch, and nobody else has the task now. */
static bool may_count(struct sim *sim, const struct sim_task *task, uint64_t lease) {
    if (task->grant != NULL && task->grant->lease == lease) {
        return true;
    }
    return base_idmap_find(&sim->model.claims, lease) == task &&
           (task->grant == NULL || !task->grant->live);
}

static void check_outcome(struct sim *sim, struct sim_endpoint *end,
                          const struct wire_entry *entry) {
    struct sim_task *task = sim_task_by_id(sim, end, entry->values[0]);
    struct sim_value value;

    if (task == NULL) {
        sim_fail(sim, "an outcome of a task that %s does not have", end->name);
        return;
    }
    task->over = true;
    if (entry->key[0] != WIRE_KIND_VALUE) {
        return;
    }
    if (entry->size < sizeof value) {
        sim_fail(sim, "#%llu: the value is cut", (unsigned long long)task->number);
        return;
    }
    memcpy(&value, entry->data, sizeof value);
    if (value.number != task->number) {
        sim_fail(sim, "#%llu gets the value of #%llu", (unsigned long long)task->number,
                 (unsigned long long)value.number);
    } else if (!may_count(sim, task, value.lease)) {
        sim_fail(sim, "#%llu: the value is of lease %llx, which is not its last",
                 (unsigned long long)task->number, (unsigned long long)value.lease);
    }
}

static void broker_sends_batch(struct sim *sim, struct sim_endpoint *end,
                               const struct wire_message *message, uint64_t seq) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    if (!wire_batch_open(&batch, message, &fault)) {
        sim_fail(sim, "the broker sends a malformed message: %s", fault.text);
        return;
    }
    while (wire_batch_next(&batch, &entry)) {
        switch (batch.shape->type) {
        case WIRE_RUN:
            check_run(sim, end, &entry, seq);
            break;
        case WIRE_OUTCOMES:
            check_outcome(sim, end, &entry);
            break;
        case WIRE_VERDICTS:
            if (entry.key[0] != 0 && sim_task_by_id(sim, end, entry.values[0]) != NULL) {
                sim_task_by_id(sim, end, entry.values[0])->over = true;
            }
            break;
        default:
            break;
        }
    }
}

static void count_single(struct sim *sim, uint32_t type) {
    switch (type) {
    case WIRE_HELLO:
        sim->counts.hellos++;
        break;
    case WIRE_UNKNOWN:
        sim->counts.unknowns++;
        break;
    case WIRE_RESUME:
        sim->counts.resumes++;
        break;
    case WIRE_REJECT:
        sim->counts.rejects++;
        break;
    case WIRE_RECALL:
        sim->counts.recalls++;
        break;
    default:
        break;
    }
}

/* Our clients give a broker no reason to refuse their tasks. */
static void check_reject(struct sim *sim, const struct sim_endpoint *end,
                         const struct wire_message *message) {
    struct wire_reject reject;
    struct wire_fault fault;

    if (wire_reject_decode(message, &reject, &fault) && reject.about == WIRE_SUBMIT &&
        reject.code != WIRE_REJECT_DRAINING) {
        sim_fail(sim, "tasks of %s are refused: %.*s", end->name, (int)reject.text.size,
                 reject.text.data);
    }
}

void sim_model_broker_sends(struct sim *sim, struct sim_endpoint *end,
                            const struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_welcome welcome;
    struct wire_fault fault;

    if (!wire_open(message, &envelope, &fault)) {
        sim_fail(sim, "the broker sends a malformed message: %s", fault.text);
        return;
    }
    count_single(sim, envelope.type);
    if (envelope.type == WIRE_REJECT) {
        check_reject(sim, end, message);
    }
    if (envelope.type == WIRE_WELCOME && wire_welcome_decode(message, &welcome, &fault)) {
        end->known = true;
        if (welcome.resumed) {
            sim->counts.resumed++;
        } else {
            sim->counts.anew++;
            end_grants_for(sim, end);
            end->top_seq[SIM_FROM_BROKER] = welcome.received;
            end->told_base = welcome.received;
        }
    }
    if (envelope.seq > end->top_seq[SIM_FROM_BROKER]) {
        end->top_seq[SIM_FROM_BROKER] = envelope.seq;
        if (wire_shape_of(envelope.type) != NULL) {
            broker_sends_batch(sim, end, message, envelope.seq);
        }
    }
}

static void result_arrives(struct sim *sim, struct sim_endpoint *end, uint64_t lease, bool over) {
    struct sim_grant *grant = base_idmap_find(&sim->model.grants, lease);

    if (grant == NULL || grant->worker != end) {
        return;
    }
    if (over && !grant->live) {
        sim->counts.stale_results++;
    }
    if (over) {
        grant->live = false;
    }
}

static struct sim_task *task_of_session(struct sim *sim, uint64_t low, uint64_t id) {
    for (uint32_t i = 0; i < sim->clients.count; i++) {
        struct sim_endpoint *end = &sim_client_at(sim, i)->end;

        if (end->session.low == low) {
            return sim_task_by_id(sim, end, id);
        }
    }
    return NULL;
}

/* What a worker that registers anew does not claim, it does not have. */
static void claims_arrive(struct sim *sim, const struct sim_endpoint *end,
                          const struct wire_message *message) {
    struct sim_grant *grant;
    uint32_t at = 0;

    while ((grant = next_live(sim, &at)) != NULL) {
        struct wire_batch batch;
        struct wire_entry entry;
        struct wire_fault fault;
        bool claimed = false;

        if (grant->worker != end || !wire_batch_open(&batch, message, &fault)) {
            continue;
        }
        while (wire_batch_next(&batch, &entry)) {
            claimed = claimed || entry.values[0] == grant->lease;
        }
        grant->live = claimed;
    }
}

/* A cancel that is asked for while the broker settles must wait: this claim came in time, and its task
 * was told to be cancelled already. */
static void check_settling(struct sim *sim, struct sim_endpoint *end, const struct sim_task *task,
                           uint64_t lease) {
    struct sim_run *run = sim_worker_run(BASE_CONTAINER_OF(end, struct sim_worker, end), lease);

    if (run != NULL && !run->stale && task->state == SIM_CANCELLED &&
        task->resolved_ns > sim->model.settle_from_ns && sim->model.settle_from_ns != 0 &&
        sim->now_ns < sim->model.settle_from_ns + sim->broker.config.settle_ns) {
        sim_fail(sim, "#%llu is claimed in time, and its cancel has said yes",
                 (unsigned long long)task->number);
    }
}

static void claim_arrives(struct sim *sim, struct sim_endpoint *end,
                          const struct wire_entry *entry) {
    struct sim_task *task = task_of_session(sim, entry->key[1], entry->values[1]);

    sim->counts.claims++;
    if (task != NULL) {
        check_settling(sim, end, task, entry->values[0]);
    }
    if (task != NULL && base_idmap_find(&sim->model.claims, entry->values[0]) == NULL) {
        BASE_ASSERT(base_idmap_insert(&sim->model.claims, entry->values[0], task) !=
                    BASE_MAP_NO_MEMORY);
    }
}

static void broker_receives_batch(struct sim *sim, struct sim_endpoint *end,
                                  const struct wire_message *message, uint64_t seq) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    if (!wire_batch_open(&batch, message, &fault)) {
        sim_fail(sim, "%s sends a malformed message: %s", end->name, fault.text);
        return;
    }
    if (batch.shape->type == WIRE_CLAIMS) {
        claims_arrive(sim, end, message);
    }
    while (wire_batch_next(&batch, &entry)) {
        switch (batch.shape->type) {
        case WIRE_SUBMIT: {
            struct sim_task *task = sim_task_by_arguments(sim, entry.data, entry.size);

            if (task != NULL && wire_past_resent(entry.key[2])) {
                task->over = false; /* the client has not heard of its end */
            }
            break;
        }
        case WIRE_RESULTS:
            result_arrives(sim, end, entry.values[0], true);
            break;
        case WIRE_RETURNED:
            result_arrives(sim, end, entry.values[0], entry.key[0] != 0);
            sim->counts.recalled += entry.key[0] != 0 ? 1 : 0;
            sim->counts.kept += entry.key[0] == 0 ? 1 : 0;
            break;
        case WIRE_CLAIMS:
            if (seq > end->told_base) { /* else of an earlier stream, and of no effect */
                claim_arrives(sim, end, &entry);
            }
            break;
        default:
            break;
        }
    }
}

/* Settling begins with the first that speaks of another epoch. */
static void hello_arrives(struct sim *sim, const struct wire_message *message) {
    struct wire_hello hello;
    struct wire_fault fault;

    if (!wire_hello_decode(message, &hello, &fault)) {
        return;
    }
    if (sim->model.settle_from_ns == 0 && hello.epoch != 0 &&
        hello.epoch != sim->broker.config.epoch) {
        sim->model.settle_from_ns = sim->now_ns;
    }
    wire_hello_fini(&hello);
}

static void death_arrives(struct sim *sim, const struct wire_message *message) {
    struct wire_child_died died;
    struct wire_fault fault;

    if (!wire_child_died_decode(message, &died, &fault)) {
        return;
    }
    for (uint32_t i = 0; i < sim->workers.count; i++) {
        struct sim_endpoint *end = &sim_worker_at(sim, i)->end;

        if (end->session.low == died.session.low) {
            end_grants_of(sim, end);
        }
    }
    wire_child_died_fini(&died);
}

/* What was in a RUN that its worker has no memory for is leased no more. */
static void no_room_arrives(struct sim *sim, struct sim_endpoint *end,
                            const struct wire_message *message) {
    struct wire_coming size;
    struct sim_grant *grant;
    struct wire_fault fault;
    uint32_t at = 0;

    if (end->role != SIM_WORKER || !end->known || !wire_coming_decode(message, &size, &fault) ||
        !size.no_room) {
        return;
    }
    while ((grant = next_live(sim, &at)) != NULL) {
        if (grant->worker == end && grant->seq == size.seq) {
            grant->live = false;
            grant->task->refused = true;
        }
    }
}

void sim_model_broker_receives(struct sim *sim, struct sim_endpoint *end,
                               const struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    if (!wire_open(message, &envelope, &fault)) {
        sim_fail(sim, "%s sends a malformed message: %s", end->name, fault.text);
        return;
    }
    if (envelope.type == WIRE_HELLO) {
        hello_arrives(sim, message);
    } else if (envelope.type == WIRE_CHILD_DIED) {
        death_arrives(sim, message);
    } else if (envelope.type == WIRE_COMING) {
        no_room_arrives(sim, end, message);
    } else if (envelope.type == WIRE_BYE && end->role == SIM_WORKER) {
        end_grants_of(sim, end);
    } else if (wire_shape_of(envelope.type) != NULL) {
        broker_receives_batch(sim, end, message, envelope.seq);
    }
}

/* What this broker has counted since it was last asked. */
static void count_branches(struct sim *sim, const struct broker_stats *stats) {
    struct broker_stats *seen = &sim->model.stats;

    sim->counts.clogged += stats->clogged - seen->clogged;
    sim->counts.alone += stats->alone - seen->alone;
    sim->counts.retried += stats->retried - seen->retried;
    *seen = *stats;
}

/* All of the broker's books, now and then: that looks at each task. */
static void check_books(struct sim *sim, const struct broker_stats *stats) {
    const char *wrong;

    if (sim->model.unchecked++ < (stats->tasks_queued + stats->tasks_leased) / BOOKS_TASKS) {
        return;
    }
    sim->model.unchecked = 0;
    wrong = broker_check(sim->broker.core);
    if (wrong != NULL) {
        sim_fail(sim, "the broker's books are wrong: %s", wrong);
    }
}

void sim_model_broker_stats(struct sim *sim) {
    struct broker_stats stats = sim_broker_stats(sim);
    const struct broker_config *config = &sim->broker.config;

    count_branches(sim, &stats);
    check_books(sim, &stats);
    /* Each client may always have one. */
    if (stats.tasks_queued + stats.tasks_leased > config->tasks_max + stats.clients) {
        sim_fail(sim, "the broker holds %u tasks, the limit is %u",
                 stats.tasks_queued + stats.tasks_leased, config->tasks_max);
    }
    if (stats.memory_bytes > config->memory_bytes + MEMORY_SLACK) {
        sim_fail(sim, "the broker holds %llu bytes, the limit is %llu",
                 (unsigned long long)stats.memory_bytes, (unsigned long long)config->memory_bytes);
    }
}

/* --------------------------------------------------------------- the dialers */

static void client_submits(struct sim *sim, struct sim_client *client,
                           const struct wire_message *message) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    if (!wire_batch_open(&batch, message, &fault)) {
        sim_fail(sim, "%s sends a malformed message: %s", client->end.name, fault.text);
        return;
    }
    while (wire_batch_next(&batch, &entry)) {
        struct sim_task *task = sim_task_by_arguments(sim, entry.data, entry.size);

        if (task == NULL || task->client != client->end.index) {
            sim_fail(sim, "%s submits what it does not have", client->end.name);
            return;
        }
        client->end.used_tasks++;
        if (wire_past_resent(entry.key[2])) {
            sim->counts.resent++;
            task->resent = true;
        }
        base_idmap_remove(&client->ids, entry.values[0]);
        BASE_ASSERT(base_idmap_insert(&client->ids, entry.values[0], task) == BASE_MAP_INSERTED);
    }
    if (client->end.used_tasks > client->end.credit_tasks) {
        sim_fail(sim, "%s has sent %llu tasks with credit for %llu", client->end.name,
                 (unsigned long long)client->end.used_tasks,
                 (unsigned long long)client->end.credit_tasks);
    }
}

void sim_model_dialer_sends(struct sim *sim, struct sim_endpoint *end,
                            const struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    if (!wire_open(message, &envelope, &fault)) {
        sim_fail(sim, "%s sends a malformed message: %s", end->name, fault.text);
        return;
    }
    count_single(sim, envelope.type);
    if (envelope.seq <= end->top_seq[SIM_TO_BROKER]) {
        return;
    }
    end->top_seq[SIM_TO_BROKER] = envelope.seq;
    if (envelope.type == WIRE_SUBMIT) {
        client_submits(sim, BASE_CONTAINER_OF(end, struct sim_client, end), message);
    }
}

static void welcome_arrives(struct sim_endpoint *end, const struct wire_welcome *welcome) {
    if (welcome->resumed || (end->epoch == welcome->epoch && welcome->received <= end->base)) {
        return;
    }
    end->epoch = welcome->epoch;
    end->base = welcome->received;
    end->top_seq[SIM_TO_BROKER] = welcome->received;
    end->credit_tasks = 0;
    end->used_tasks = 0;
}

void sim_model_dialer_receives(struct sim *sim, struct sim_endpoint *end,
                               const struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_welcome welcome;
    struct wire_batch batch;
    struct wire_fault fault;

    if (!wire_open(message, &envelope, &fault)) {
        sim_fail(sim, "the broker has sent a malformed message: %s", fault.text);
        return;
    }
    if (envelope.type == WIRE_WELCOME && wire_welcome_decode(message, &welcome, &fault)) {
        welcome_arrives(end, &welcome);
    } else if ((envelope.type == WIRE_OUTCOMES || envelope.type == WIRE_CREDIT) &&
               envelope.seq > end->base && wire_batch_open(&batch, message, &fault) &&
               batch.extra[0] > end->credit_tasks) {
        end->credit_tasks = batch.extra[0];
    }
}
