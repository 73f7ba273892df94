#include "libclient/engine_local.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/entropy.h"
#include "task/status.h"

/* What engine_watch is told about the descriptors. */
enum { MARK_ROUTER = 1, MARK_SUPERVISOR };

/* Messages taken in at a time. */
#define RECEIVE_MAX 64u
/* Tasks queued at the broker's core that are enough: as many again as its workers hold at most, so that
 * they have theirs before it is looked again. */
#define ENOUGH_A_WORKER WIRE_WORKER_LEASES_MAX
#define ENOUGH_MIN      (2 * WIRE_WORKER_LEASES_MAX)

/* How long idle workers have for ending, and those of a broken executor, whose tasks have failed. */
#define STOP_NS   (5 * BASE_CLOCK_NS_PER_S)
#define BROKEN_NS (500 * BASE_CLOCK_NS_PER_MS)

/* ------------------------------------------------------------------- queues */

static bool queue_grow(struct engine_queue *queue) {
    uint32_t room = queue->room == 0 ? 64 : queue->room * 2;
    struct wire_message **ring = malloc(room * sizeof(struct wire_message *));

    if (ring == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < queue->count; i++) {
        ring[i] = queue->ring[(queue->at + i) & (queue->room - 1)];
    }
    free(queue->ring);
    queue->ring = ring;
    queue->room = room;
    queue->at = 0;
    return true;
}

void engine_queue_push(struct engine_queue *queue, struct wire_message *message) {
    if (queue->count == queue->room && !queue_grow(queue)) {
        wire_message_unref(message);
        return;
    }
    queue->ring[(queue->at + queue->count++) & (queue->room - 1)] = message;
}

static struct wire_message *queue_pop(struct engine_queue *queue) {
    struct wire_message *message;

    if (queue->count == 0) {
        return NULL;
    }
    message = queue->ring[queue->at];
    queue->at = (queue->at + 1) & (queue->room - 1);
    queue->count--;
    return message;
}

static void queue_fini(struct engine_queue *queue) {
    struct wire_message *message;

    while ((message = queue_pop(queue)) != NULL) {
        wire_message_unref(message);
    }
    free(queue->ring);
}

/* ------------------------------------------------------------------ opening */

static furrow_status open_router(struct engine *engine) {
    struct local *local = engine_local_of(engine);
    size_t size = sizeof local->router_fd;
    int error = engine_directory_make(&local->directory);

    if (error != 0) {
        return task_set_error(FURROW_ESYSTEM, "no directory for a socket: %s", strerror(error));
    }
    local->has_directory = true;
    (void)snprintf(local->endpoint, sizeof local->endpoint, "ipc://%s/broker",
                   local->directory.path);
    local->context = engine_context_get();
    if (local->context == NULL) {
        return task_set_error(FURROW_ESYSTEM, "no ZeroMQ context: %s", zmq_strerror(zmq_errno()));
    }
    local->router = wire_zmq_router(local->context);
    if (local->router == NULL || wire_zmq_bind(local->router, local->endpoint, NULL, 0) != 0 ||
        zmq_getsockopt(local->router, ZMQ_FD, &local->router_fd, &size) != 0) {
        return task_set_error(FURROW_ESYSTEM, "%s: %s", local->endpoint, zmq_strerror(zmq_errno()));
    }
    local->look = true;
    return FURROW_OK;
}

static furrow_status open_broker(struct engine *engine) {
    struct local *local = engine_local_of(engine);
    struct broker_config config = {.host = engine->host, .pid = getpid()};

    if (!base_entropy(&config.epoch, sizeof config.epoch) ||
        !base_entropy(&config.seed, sizeof config.seed) ||
        !engine_herald_init(engine, base_clock_ns())) {
        return task_set_error(FURROW_ESYSTEM, "no random numbers from the system: %s",
                              strerror(errno));
    }
    config.epoch |= 1; /* not 0 */
    broker_config_default(&config);
    local->broker = broker_new(&config, base_clock_ns());
    return local->broker == NULL ? task_set_plain_error(FURROW_ENOMEM) : FURROW_OK;
}

static furrow_status local_open(struct engine *engine) {
    struct local *local = calloc(1, sizeof *local);
    furrow_status status;

    if (local == NULL) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    engine->own = local;
    engine->base.local_functions = engine->base.options.module == NULL;
    local->kill_ns = UINT64_MAX;
    status = open_broker(engine);
    if (status == FURROW_OK) {
        status = open_router(engine);
    }
    if (status == FURROW_OK) {
        engine_shared_open(engine);
    }
    if (status == FURROW_OK) {
        status = engine_workers_open(engine);
    }
    if (status == FURROW_OK &&
        (!engine_watch(engine, local->router_fd, MARK_ROUTER) ||
         !engine_watch(engine, worker_supervisor_fd(local->supervisor), MARK_SUPERVISOR))) {
        return task_set_error(FURROW_ESYSTEM, "the executor's descriptors: %s", strerror(errno));
    }
    return status;
}

/* ----------------------------------------------------------------- messages */

static void send_to_worker(struct local *local, uint64_t peer, struct wire_message *message) {
    message = wire_shared_out(local->shared, peer, message);
    /* What is for a worker that is gone is dropped, as it should be. */
    (void)wire_zmq_send(local->router, &peer, message);
    local->look = true;
    wire_message_unref(message);
}

static void carry_out(struct engine *engine, const struct broker_action *action) {
    struct local *local = engine_local_of(engine);

    switch (action->type) {
    case BROKER_SEND:
        if (action->to == ENGINE_CLIENT_ADDRESS) {
            engine_queue_push(&local->to_client, action->message);
        } else if (action->to == ENGINE_HERALD_ADDRESS) {
            engine_queue_push(&local->to_herald, action->message);
        } else {
            send_to_worker(local, action->to, action->message);
        }
        break;
    case BROKER_LOG:
        base_log(&engine->base.log, action->warn ? BASE_LOG_WARN : BASE_LOG_INFO, "%s%s%s",
                 action->text, action->fields[0] == '\0' ? "" : " ", action->fields);
        break;
    case BROKER_FORGET:
    case BROKER_DRAINED:
        break;
    }
}

static void step_broker(struct engine *engine, const struct broker_event *event) {
    struct local *local = engine_local_of(engine);
    const struct broker_action *actions;
    size_t count;

    broker_step(local->broker, engine->now_ns, event);
    actions = broker_actions(local->broker, &count);
    for (size_t i = 0; i < count; i++) {
        carry_out(engine, &actions[i]);
    }
}

static void tell_broker(struct engine *engine, broker_address from, struct wire_message *message) {
    struct local *local = engine_local_of(engine);

    step_broker(engine,
                &(struct broker_event){.type = BROKER_RECEIVE, .from = from, .message = message});
    local->broker_stirred = true;
    wire_message_unref(message);
}

static void local_send(struct engine *engine, struct wire_message *message) {
    engine_queue_push(&engine_local_of(engine)->from_client, message);
}

static bool receive_one(struct engine *engine) {
    struct local *local = engine_local_of(engine);
    struct wire_message *message;
    uint64_t peer;

    switch (wire_zmq_recv(local->router, &peer, &message)) {
    case WIRE_ZMQ_OK:
        if (BASE_UNLIKELY(!wire_shared_in(local->shared, peer, message))) {
            base_log(
                &engine->base.log, BASE_LOG_DEBUG,
                "a message is dropped: no memory, or it refers to shared memory that is no more");
            wire_message_unref(message);
            return true;
        }
        tell_broker(engine, peer, message);
        return true;
    case WIRE_ZMQ_MALFORMED:
    case WIRE_ZMQ_NOMEM:
        base_log(&engine->base.log, BASE_LOG_WARN,
                 "a message from a worker is lost: malformed, or no memory for it");
        return true;
    case WIRE_ZMQ_AGAIN:
    case WIRE_ZMQ_CLOSED:
        break;
    }
    local->look = false;
    return false;
}

static bool local_receive(struct engine *engine) {
    struct local *local = engine_local_of(engine);
    bool any = false;

    for (unsigned i = 0; i < RECEIVE_MAX && local->look; i++) {
        any |= receive_one(engine);
    }
    return any;
}

/* Enough is queued, and somebody is at it, or nobody is there yet who could be: a worker that comes is a
 * message, and where none can come the executor breaks. */
static bool local_full(const struct engine *engine) {
    const struct local *local = engine_local_of(engine);
    uint32_t enough = local->wanted * ENOUGH_A_WORKER;
    struct broker_stats stats;

    broker_get_stats(local->broker, &stats);
    return (stats.tasks_leased > 0 || stats.workers == 0) &&
           stats.tasks_queued >= (enough > ENOUGH_MIN ? enough : ENOUGH_MIN);
}

/* Lets messages go to and fro between the cores until there are none. */
static void local_flush(struct engine *engine) {
    struct local *local = engine_local_of(engine);
    struct wire_message *message;

    for (;;) {
        while ((message = queue_pop(&local->from_herald)) != NULL) {
            tell_broker(engine, ENGINE_HERALD_ADDRESS, message);
        }
        while ((message = queue_pop(&local->from_client)) != NULL) {
            tell_broker(engine, ENGINE_CLIENT_ADDRESS, message);
        }
        if (!local->broker_stirred) {
            return;
        }
        local->broker_stirred = false;
        step_broker(engine, &(struct broker_event){.type = BROKER_FLUSH});
        while ((message = queue_pop(&local->to_herald)) != NULL) {
            engine_herald_receive(engine, message);
            wire_message_unref(message);
        }
        while ((message = queue_pop(&local->to_client)) != NULL) {
            engine_step(engine, &(struct client_event){.type = CLIENT_RECEIVE, .message = message});
            wire_message_unref(message);
        }
        engine_step(engine, &(struct client_event){.type = CLIENT_FLUSH});
    }
}

/* --------------------------------------------------------------------- time */

static void local_tick(struct engine *engine) {
    struct local *local = engine_local_of(engine);

    engine_herald_tick(engine);
    engine_workers_watch(engine);
    if (engine->now_ns >= broker_deadline(local->broker)) {
        step_broker(engine, &(struct broker_event){.type = BROKER_TICK});
        local->broker_stirred = true;
    }
    if (engine->broken && !local->stopped) {
        engine_workers_stop(engine, BROKEN_NS);
    }
    if (engine->phase == ENGINE_LEAVING && worker_supervisor_alive(local->supervisor) == 0) {
        engine->left = true;
    }
}

static uint64_t local_deadline(const struct engine *engine) {
    const struct local *local = engine_local_of(engine);
    uint64_t broker_ns = broker_deadline(local->broker);
    uint64_t herald_ns = link_dialer_deadline(&local->herald.dialer);
    uint64_t workers_ns = engine_workers_deadline(engine);
    uint64_t deadline_ns = broker_ns < herald_ns ? broker_ns : herald_ns;

    return workers_ns < deadline_ns ? workers_ns : deadline_ns;
}

static void local_ready(struct engine *engine, unsigned mark) {
    struct local *local = engine_local_of(engine);

    local->look |= mark == MARK_ROUTER;
    local->supervise |= mark == MARK_SUPERVISOR;
}

static void local_reconnect(struct engine *engine) {
    (void)engine; /* there is no connection to the client's core */
}

static void local_leave(struct engine *engine) {
    engine_workers_stop(engine, STOP_NS);
}

static void local_signal(struct engine *engine, int signal_number) {
    struct local *local = engine_local_of(engine);

    worker_supervisor_interrupt(local->supervisor);
    if (signal_number != SIGTERM) {
        worker_supervisor_signal(local->supervisor, signal_number);
    }
    local->supervise = true;
}

static int local_workers_alive(const struct engine *engine) {
    return (int)worker_supervisor_alive(engine_local_of(engine)->supervisor);
}

static struct wire_blob *local_blob(struct engine *engine, size_t size) {
    struct wire_shared_home *shared = engine_local_of(engine)->shared;

    return shared == NULL ? NULL : wire_shared_block(wire_shared_home_heap(shared), size);
}

static void local_free(struct engine *engine) {
    struct local *local = engine_local_of(engine);

    if (local == NULL) {
        return;
    }
    worker_supervisor_close(local->supervisor);
    wire_shared_home_free(local->shared);
    broker_free(local->broker);
    engine_herald_fini(&local->herald);
    queue_fini(&local->from_client);
    queue_fini(&local->from_herald);
    queue_fini(&local->to_client);
    queue_fini(&local->to_herald);
    if (local->router != NULL) {
        (void)zmq_close(local->router);
    }
    if (local->context != NULL) {
        engine_context_put();
    }
    if (local->has_directory) {
        engine_directory_remove(&local->directory);
    }
    free(local);
}

const struct engine_transport engine_local = {
    .open = local_open,
    .send = local_send,
    .receive = local_receive,
    .full = local_full,
    .flush = local_flush,
    .tick = local_tick,
    .deadline = local_deadline,
    .ready = local_ready,
    .reconnect = local_reconnect,
    .leave = local_leave,
    .signal = local_signal,
    .workers_alive = local_workers_alive,
    .blob = local_blob,
    .free = local_free,
};
