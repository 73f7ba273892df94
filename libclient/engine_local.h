/* Inside the engine of `processes:`: a broker's core in the same thread, a ROUTER socket for the worker
 * processes, and their supervisor.
 *
 *   engine_local.c    the transport: messages between the client's core, the broker's and the workers
 *   engine_herald.c   the supervisor's session with the broker: who tells it of deaths
 *   engine_workers.c  the worker processes: started, watched, stopped
 *
 * The broker's core knows everybody by an address: worker processes by the numbers that the socket
 * gives them, the client and the herald by two numbers above those. */
#ifndef CLIENT_ENGINE_LOCAL_H
#define CLIENT_ENGINE_LOCAL_H

#include "broker/core.h"
#include "libclient/engine.h"
#include "wire/link.h"
#include "wire/shared.h"
#include "wire/zmq.h"
#include "worker/supervisor.h"

#define ENGINE_CLIENT_ADDRESS WIRE_ZMQ_PEER_LIMIT
#define ENGINE_HERALD_ADDRESS (WIRE_ZMQ_PEER_LIMIT + 1)

/* Messages on their way between two cores, the oldest first. */
struct engine_queue {
    struct wire_message **ring;
    uint32_t at, count, room; /* room: 0 or a power of two */
};

struct engine_herald {
    struct link_dialer dialer;
    struct wire_session session;
};

struct local {
    void *context, *router;
    int router_fd;
    bool look; /* there may be something to receive: the descriptor only tells of changes */
    bool has_directory;
    struct engine_directory directory;
    char endpoint[sizeof((struct engine_directory *)0)->path + sizeof "ipc:///broker"];

    struct broker_core *broker;
    bool broker_stirred; /* it has received something since its last FLUSH */
    struct engine_queue from_client, from_herald, to_client, to_herald;
    struct engine_herald herald;

    struct wire_shared_home *shared; /* memory for large payloads; NULL: none */
    struct worker_supervisor *supervisor;
    bool stopped;       /* they were told to end */
    unsigned wanted;    /* so many worker processes were asked for */
    bool supervise;     /* the supervisor may have something to say */
    unsigned stillborn; /* children in a row that died without ever having served */
    uint64_t kill_ns;   /* when to kill what is left; UINT64_MAX: never */
};

static inline struct local *engine_local_of(const struct engine *engine) {
    return engine->own;
}

/* ---- engine_herald.c ---- */

bool engine_herald_init(struct engine *engine, uint64_t now_ns);
void engine_herald_fini(struct engine_herald *herald);
void engine_herald_tick(struct engine *engine);
void engine_herald_receive(struct engine *engine, struct wire_message *message);
/* engine_herald_died tells the broker of a death. */
void engine_herald_died(struct engine *engine, const struct worker_supervisor_event *event);

/* ---- engine_workers.c ---- */

/* engine_workers_open makes the supervisor. Returns a status with the error text set. */
furrow_status engine_workers_open(struct engine *engine);
/* engine_workers_watch starts them when there are tasks, and sees to what has happened to them. */
void engine_workers_watch(struct engine *engine);
void engine_workers_stop(struct engine *engine, uint64_t grace_ns);
uint64_t engine_workers_deadline(const struct engine *engine);

/* ---- engine_shared.c ---- */

/* engine_shared_open makes the memory that is shared with the worker processes, if there is to be any
 * and the system has it; large payloads go through the socket otherwise. */
void engine_shared_open(struct engine *engine);

/* ---- engine_local.c ---- */

/* engine_queue_push takes the reference; without memory the message is lost, and sent again by its
 * link. */
void engine_queue_push(struct engine_queue *queue, struct wire_message *message);

#endif
