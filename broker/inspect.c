/* What admins ask (docs/protocol.md section 3.3). Each question costs a bounded time: long lists are
 * read page by page, with a cursor in the list, which stays right whatever comes and goes. */
#include "broker/admin.h"

#include <stdlib.h>

#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/outbox.h"
#include "broker/queue.h"
#include "broker/router.h"
#include "broker/schedule.h"
#include "broker/session.h"
#include "broker/task.h"
#include "broker/timer.h"
#include "broker/worker.h"
#include "wire/inspect.h"

/* How many sessions, queues and offers are looked at for one page, and how many of these for one row. */
#define LOOKS_A_PAGE 4096u
#define LOOKS_A_ROW  1024u

/* ------------------------------------------------------------------- admins */

struct broker_session *broker_admin_new(struct broker_core *core, const struct wire_hello *hello) {
    struct broker_admin *admin = calloc(1, sizeof *admin);

    if (admin == NULL) {
        return NULL;
    }
    if (!broker_session_init(core, &admin->session, hello)) {
        free(admin);
        return NULL;
    }
    admin->cursor.cursor = true;
    return &admin->session;
}

void broker_admin_clear(struct broker_admin *admin) {
    if (base_node_linked(&admin->cursor.node)) {
        base_list_remove(&admin->cursor.node);
    }
}

void broker_admin_leave(struct broker_core *core, struct broker_admin *admin) {
    broker_admin_clear(admin);
    broker_session_free(core, &admin->session);
}

/* Without memory there is no answer: it is asked again. */
static enum broker_handled answer(struct broker_core *core, struct broker_session *session,
                                  struct wire_message *message) {
    broker_session_mark(core, session, message);
    return message == NULL ? BROKER_NOMEM : BROKER_DONE;
}

static uint64_t ms_since(const struct broker_core *core, uint64_t then_ns) {
    return core->now_ns > then_ns ? (core->now_ns - then_ns) / BROKER_MS : 0;
}

enum broker_handled broker_on_ping(struct broker_core *core, struct broker_session *session,
                                   struct wire_message *message, struct wire_fault *fault) {
    struct wire_ping ping;
    struct wire_pong pong;

    if (!wire_ping_decode(message, &ping, fault)) {
        return BROKER_REFUSED;
    }
    pong = (struct wire_pong){
        .number = ping.number,
        .version = broker_text_of(core->config.version != NULL ? core->config.version : ""),
        .epoch = core->config.epoch,
        .uptime_ms = ms_since(core, core->born_ns),
        .draining = core->draining,
    };
    return answer(core, session, wire_pong_encode(&pong));
}

/* --------------------------------------------------------------------- rows */

uint64_t broker_peer_state(struct broker_session *session) {
    uint64_t state = session->retired ? WIRE_STATE_RETIRED : 0;

    if (session->role == WIRE_WORKER) {
        const struct broker_worker *worker = broker_worker_of(session);

        state |= worker->draining ? WIRE_STATE_DRAINING : 0;
        state |= worker->stopped ? WIRE_STATE_RETIRED : 0;
        state |= worker->dying ? WIRE_STATE_DYING : 0;
        state |= worker->claiming ? WIRE_STATE_CLAIMING : 0;
        state |= worker->alone != NULL || worker->reserved != NULL ? WIRE_STATE_ALONE : 0;
    } else if (session->role == WIRE_CLIENT) {
        const struct broker_client *client = broker_client_of(session);

        state |= base_list_empty(&client->clogged) ? 0 : WIRE_STATE_CLOGGED;
        state |= base_node_linked(&client->starved) && client->granted_tasks <= client->sent_tasks
                     ? WIRE_STATE_STARVED
                     : 0;
    }
    return state;
}

static void broker_row(struct broker_core *core, struct wire_broker_row *row) {
    const char *version = core->config.version;
    struct broker_counts rates;
    struct broker_stats stats;

    broker_get_stats(core, &stats);
    core->meter.now = (struct broker_counts){stats.submitted, stats.finished, stats.failed};
    rates = broker_meter_rates(&core->meter, core->now_ns);
    *row = (struct wire_broker_row){
        .version = broker_text_of(version != NULL ? version : ""),
        .host = broker_text_of(core->config.host),
        .pid = (uint64_t)core->config.pid,
        .epoch = core->config.epoch,
        .uptime_ms = ms_since(core, core->born_ns),
        .draining = core->draining,
        .clients = stats.clients,
        .workers = stats.workers,
        .supervisors = stats.supervisors,
        .admins = stats.admins,
        .queued = stats.tasks_queued,
        .leased = stats.tasks_leased,
        .memory_bytes = stats.memory_bytes,
        .memory_max = core->config.memory_bytes,
        .tasks_max = core->config.tasks_max,
        .submitted = stats.submitted,
        .finished = stats.finished,
        .failed = stats.failed,
        .cancelled = stats.cancelled,
        .reruns = stats.reruns,
        .stale = stats.stale_results,
        .recalled = stats.recalled,
        .rejected = stats.rejected,
        .submit_rate = rates.submitted,
        .finish_rate = rates.finished,
        .fail_rate = rates.failed,
    };
}

static void copy_tags(struct wire_tags *to, const struct wire_text *tags, uint32_t count) {
    to->count = count;
    memcpy(to->names, tags, count * sizeof *tags);
}

static void worker_row(struct broker_core *core, struct broker_worker *worker,
                       struct wire_worker_row *row) {
    struct broker_session *session = &worker->session;

    *row = (struct wire_worker_row){
        .name = broker_text_of(session->name),
        .host = broker_text_of(session->host),
        .pid = (uint64_t)session->pid,
        .session = session->id,
        .slots = worker->slots,
        .leases = worker->held,
        .limit = worker->limit,
        .finished = worker->finished,
        .mean_ns = worker->mean_ns,
        .state = broker_peer_state(session),
        .heard_ms = ms_since(core, session->link.last_received_ns),
        .functions = worker->offer->function_count,
    };
    copy_tags(&row->tags, worker->offer->tags, worker->offer->tag_count);
}

static void client_row(struct broker_core *core, struct broker_client *client,
                       struct wire_client_row *row, uint32_t *looks) {
    struct broker_session *session = &client->session;
    uint32_t left = LOOKS_A_ROW;

    *row = (struct wire_client_row){
        .name = broker_text_of(session->name),
        .host = broker_text_of(session->host),
        .pid = (uint64_t)session->pid,
        .session = session->id,
        .tasks = client->task_count,
        .bytes = client->task_bytes,
        .credit_tasks = client->granted_tasks - client->sent_tasks,
        .credit_bytes = client->granted_bytes > client->sent_bytes
                            ? client->granted_bytes - client->sent_bytes
                            : 0,
        .state = broker_peer_state(session),
        .heard_ms = ms_since(core, session->link.last_received_ns),
    };
    BASE_LIST_FOREACH(&client->queues, node) {
        if (left-- == 0) {
            break;
        }
        row->queued += BASE_LIST_ENTRY(node, struct broker_queue, in_client)->count;
        *looks += 1;
    }
}

/* Finds the task of a demand that waits longest. */
static void first_task(struct broker_core *core, struct broker_demand *demand,
                       struct wire_function_row *row, uint32_t *looks) {
    const struct base_node *first = base_list_first(&demand->suspects);
    const struct broker_queue *oldest = NULL;
    const struct broker_task *task;
    uint64_t oldest_ns = 0;
    uint32_t left = LOOKS_A_ROW;

    BASE_LIST_FOREACH(&demand->queues, node) {
        const struct broker_queue *queue = BASE_LIST_ENTRY(node, struct broker_queue, in_demand);
        uint64_t age_ns = broker_ages_oldest_ns(&queue->ages, core->now_ns);

        if (left-- == 0) {
            break;
        }
        *looks += 1;
        if (queue->count > 0 && (oldest == NULL || age_ns > oldest_ns)) {
            oldest = queue;
            oldest_ns = age_ns;
        }
    }
    row->oldest_ms = oldest_ns / BROKER_MS;
    if (oldest != NULL) {
        first = base_list_first(&oldest->tasks);
    }
    if (first != NULL) {
        task = BASE_LIST_ENTRY(first, struct broker_task, node);
        row->session = task->class->client->session.id;
        row->id = task->id;
    }
}

static void function_row(struct broker_core *core, struct broker_demand *demand,
                         struct wire_function_row *row, uint32_t *looks) {
    struct broker_counts rates = broker_meter_rates(&demand->meter, core->now_ns);
    uint32_t left = LOOKS_A_ROW;

    *row = (struct wire_function_row){
        .function = demand->function,
        .queued = demand->queued,
        .leased = demand->leased,
        .alone = demand->suspect_count,
        .submitted = demand->meter.now.submitted,
        .finished = demand->meter.now.finished,
        .failed = demand->meter.now.failed,
        .submit_rate = rates.submitted,
        .finish_rate = rates.finished,
        .fail_rate = rates.failed,
    };
    copy_tags(&row->tags, demand->tags, demand->tag_count);
    BASE_LIST_FOREACH(&demand->services, node) {
        const struct broker_service *service =
            BASE_LIST_ENTRY(node, struct broker_service, in_demand);

        if (left-- == 0) {
            break;
        }
        row->workers += service->offer->worker_count;
        row->slots += service->offer->slots;
        *looks += 1;
    }
    first_task(core, demand, row, looks);
}

static void supervisor_row(struct broker_core *core, struct broker_session *session,
                           struct wire_supervisor_row *row) {
    *row = (struct wire_supervisor_row){
        .name = broker_text_of(session->name),
        .host = broker_text_of(session->host),
        .pid = (uint64_t)session->pid,
        .session = session->id,
        .state = broker_peer_state(session),
        .heard_ms = ms_since(core, session->link.last_received_ns),
    };
}

/* -------------------------------------------------------------------- pages */

/* Makes a session's row. False: it isn't in this list. */
static bool session_row(struct broker_core *core, enum wire_list list,
                        struct broker_session *session, union wire_row *row, uint32_t *looks) {
    if (list == WIRE_LIST_WORKERS && session->role == WIRE_WORKER) {
        worker_row(core, broker_worker_of(session), &row->worker);
    } else if (list == WIRE_LIST_CLIENTS && session->role == WIRE_CLIENT) {
        client_row(core, broker_client_of(session), &row->client, looks);
    } else if (list == WIRE_LIST_SUPERVISORS && session->role == WIRE_SUPERVISOR) {
        supervisor_row(core, session, &row->supervisor);
    } else {
        return false;
    }
    return true;
}

static void put_row(struct broker_core *core, enum wire_list list, struct base_node *node,
                    struct wire_rows_writer *writer, uint32_t *looks) {
    struct broker_roll *roll = BASE_LIST_ENTRY(node, struct broker_roll, node);
    union wire_row row;

    if (roll->cursor) {
        return;
    }
    if (list == WIRE_LIST_FUNCTIONS) {
        function_row(core, BASE_CONTAINER_OF(roll, struct broker_demand, roll), &row.function,
                     looks);
    } else if (!session_row(core, list, BASE_CONTAINER_OF(roll, struct broker_session, roll), &row,
                            looks)) {
        return;
    }
    wire_rows_put(writer, &row);
}

/* Writes what stands behind the admin's cursor, and moves that on. Returns whether there is more. */
static bool write_page(struct broker_core *core, struct broker_admin *admin, enum wire_list list,
                       struct wire_rows_writer *writer) {
    struct base_list *all = list == WIRE_LIST_FUNCTIONS ? &core->demand_roll : &core->session_roll;
    struct base_node *node = base_list_next(all, &admin->cursor.node);
    uint32_t looks = 0;

    base_list_remove(&admin->cursor.node);
    for (; node != NULL && !wire_rows_full(writer) && looks < LOOKS_A_PAGE; looks++) {
        put_row(core, list, node, writer, &looks);
        node = base_list_next(all, node);
    }
    if (node != NULL) {
        base_list_insert_before(node, &admin->cursor.node);
    }
    return node != NULL;
}

static bool open_list(struct broker_core *core, struct broker_admin *admin,
                      const struct wire_list_request *request, struct wire_fault *fault) {
    if (request->page == 0) {
        broker_admin_clear(admin);
        admin->list = (uint32_t)request->list;
        admin->page = 0;
        base_list_push_front(request->list == WIRE_LIST_FUNCTIONS ? &core->demand_roll
                                                                  : &core->session_roll,
                             &admin->cursor.node);
        return true;
    }
    if (!base_node_linked(&admin->cursor.node) || admin->list != request->list ||
        admin->page != request->page) {
        broker_fault(fault, WIRE_REJECT_MALFORMED, "LIST: page: %llu is not the next one",
                     (unsigned long long)request->page);
        return false;
    }
    return true;
}

enum broker_handled broker_on_list(struct broker_core *core, struct broker_session *session,
                                   struct wire_message *message, struct wire_fault *fault) {
    struct broker_admin *admin = broker_admin_of(session);
    struct wire_list_request request;
    struct wire_rows_writer writer;
    union wire_row row;
    bool more = false;

    if (!wire_list_decode(message, &request, fault) ||
        (request.list != WIRE_LIST_BROKER && !open_list(core, admin, &request, fault))) {
        return BROKER_REFUSED;
    }
    wire_rows_begin(&writer, &request);
    if (request.list == WIRE_LIST_BROKER) {
        broker_row(core, &row.broker);
        wire_rows_put(&writer, &row);
    } else {
        more = write_page(core, admin, (enum wire_list)request.list, &writer);
        admin->page++;
    }
    return answer(core, session, wire_rows_finish(&writer, more));
}

/* ----------------------------------------------------------------- retiring */

bool broker_session_retire(struct broker_core *core, struct broker_session *session) {
    struct broker_worker *worker;

    if (!broker_session_stop(core, session)) {
        return false;
    }
    session->retired = true;
    if (session->role == WIRE_WORKER) {
        worker = broker_worker_of(session);
        worker->stopped = true;
        worker->draining = true;
        broker_worker_unreserve(core, worker);
        broker_worker_place(core, worker);
    }
    return true;
}

enum broker_handled broker_on_retire(struct broker_core *core, struct broker_session *session,
                                     struct wire_message *message, struct wire_fault *fault) {
    struct wire_retire retire;
    struct wire_retired retired = {0};
    struct broker_session *found;

    if (!wire_retire_decode(message, &retire, fault)) {
        return BROKER_REFUSED;
    }
    found = broker_session_find(core, &retire.session);
    retired.number = retire.number;
    if (found != NULL && (found->role == WIRE_WORKER || found->role == WIRE_SUPERVISOR)) {
        retired.role = found->role;
        if (!found->retired) {
            if (!broker_session_retire(core, found)) {
                return BROKER_NOMEM;
            }
            broker_log_peer(core, false, "told to leave", found, "by_pid=%lld",
                            (long long)session->pid);
        }
    }
    return answer(core, session, wire_retired_encode(&retired));
}
