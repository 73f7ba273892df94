/* Inside the simulation: what its files share.
 *
 *   sim.c         events, time, the end of a run
 *   network.c     connections, messages in flight, what is lost
 *   brokers.c     the broker's process; clients.c, workers.c, supervisors.c: the others'
 *   model.c, model_runs.c   what must hold, from every message and every run
 *   trace.c       messages in words */
#ifndef SIM_PRIVATE_H
#define SIM_PRIVATE_H

#include "base/assert.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/rng.h"
#include "tests/sim/sim.h"
#include "wire/link.h"

/* An event belongs to whatever it is part of; `fire` finds that by BASE_CONTAINER_OF. */
struct sim_event {
    struct base_heap_node node;
    void (*fire)(struct sim *sim, struct sim_event *event);
};

void sim_event_init(struct sim_event *event,
                    void (*fire)(struct sim *sim, struct sim_event *event));
/* sim_event_at puts an event at a time, also one that is scheduled already; not before now. */
void sim_event_at(struct sim *sim, struct sim_event *event, uint64_t at_ns);
void sim_event_off(struct sim *sim, struct sim_event *event);

/* A pointer array that grows. */
struct sim_array {
    void **items;
    uint32_t count, room;
};
void sim_array_add(struct sim_array *array, void *item);
void *sim_alloc(size_t size); /* zeroed; ends the program without memory */

/* -------------------------------------------------------------------- network */

enum sim_direction { SIM_TO_BROKER, SIM_FROM_BROKER };

struct sim_endpoint;

struct sim_packet {
    struct sim_event event;
    struct base_node node; /* in flight, held by a partition, or parked by a stopped process */
    struct sim_endpoint *end;
    uint64_t address;
    uint64_t broker; /* the incarnation that sent it, or that it is for */
    enum sim_direction direction;
    struct wire_message *message;
};

/* The end of a process that dials. */
struct sim_endpoint {
    struct sim *sim;
    enum sim_role role;
    uint32_t index;
    char name[24];
    bool alive;
    bool paused;
    bool cut[2];
    uint64_t address;  /* 0: not connected */
    uint64_t clock_ns; /* what its clock is ahead of the simulation's */
    uint64_t slow_ns;  /* added to the delay of its messages */
    uint64_t latest_ns[2];
    uint64_t busy_ns[2]; /* until when its line is busy with what was sent */
    uint64_t room_bytes; /* larger messages break its connection; 0: none does */
    struct base_list flying[2];
    struct base_list held[2]; /* by a partition */
    struct base_list parked;  /* for it, while it is paused */
    struct sim_event connect, tick, flush;
    uint64_t tick_ns; /* of the last tick; with the number of ticks at that time */
    uint32_t tick_count;

    /* the model's */
    struct wire_session session;
    bool known;           /* the broker has this session */
    uint64_t epoch, base; /* of the stream, as this side knows it */
    uint64_t top_seq[2];  /* highest seq sent in this stream, by direction */
    uint64_t told_base;   /* where the stream begins that the broker has last told of */
    uint64_t credit_tasks, used_tasks;
};

/* Hands a packet over, unless the process is gone (then it is lost) or stopped (then it waits). */
void sim_packet_arrive(struct sim *sim, struct sim_packet *packet);
/* Whether it has memory for a message of that size: for the cores' configurations. */
bool sim_endpoint_has_room(void *endpoint, uint64_t bytes);
void sim_endpoint_init(struct sim *sim, struct sim_endpoint *end, enum sim_role role,
                       uint32_t index);
/* Ends it; with `survive`, what it has sent may still arrive. */
void sim_endpoint_close(struct sim *sim, struct sim_endpoint *end, bool survive);
void sim_endpoint_free(struct sim_endpoint *end);
/* Drops the connection, and makes another one after a while. */
void sim_endpoint_reconnect(struct sim *sim, struct sim_endpoint *end);
void sim_endpoint_send(struct sim *sim, struct sim_endpoint *end, struct wire_message *message);
void sim_network_from_broker(struct sim *sim, uint64_t address, struct wire_message *message);
/* All connections end, because the broker did. */
void sim_network_broker_gone(struct sim *sim);
void sim_network_broker_here(struct sim *sim);
void sim_network_free(struct sim *sim);
void sim_network_calm(struct sim *sim);
struct sim_endpoint *sim_endpoint_at(const struct sim *sim, enum sim_role role, uint32_t index);
struct sim_endpoint *sim_endpoint_of(const struct sim *sim, uint64_t address); /* dead ones too */
uint64_t sim_pick(struct sim *sim, uint64_t min, uint64_t max);

static inline uint64_t sim_local(uint64_t now_ns, const struct sim_endpoint *end) {
    return now_ns + end->clock_ns;
}
/* Counts ticks that lead nowhere. */
void sim_endpoint_ticked(struct sim *sim, struct sim_endpoint *end);
/* Puts the tick of a process where its core wants it. */
void sim_endpoint_deadline(struct sim *sim, struct sim_endpoint *end, uint64_t deadline_ns);
void sim_endpoint_soon(struct sim *sim, struct sim_endpoint *end); /* FLUSH */

/* ------------------------------------------------------------------- processes */

struct sim_broker {
    struct broker_core *core; /* NULL: dead */
    struct broker_config config;
    uint64_t incarnation;
    bool paused, drained;
    uint64_t clock_ns;
    struct base_list parked;
    struct sim_event tick, flush;
    uint64_t tick_ns;
    uint32_t tick_count;
};
void sim_broker_init(struct sim *sim);
void sim_broker_receive(struct sim *sim, uint64_t address, struct wire_message *message);
void sim_broker_fini(struct sim *sim);

struct sim_client {
    struct sim_endpoint end;
    struct client_core *core; /* NULL: dead, or has left */
    bool leaving, left;
    struct base_idmap ids; /* to struct sim_task */
};
void sim_client_receive(struct sim *sim, struct sim_client *client, struct wire_message *message);
void sim_client_reconnected(struct sim *sim, struct sim_client *client);
void sim_client_free(struct sim_client *client);

/* One lease in the hands of one worker. */
enum sim_run_state { SIM_RUN_WAITING, SIM_RUN_RUNNING };
struct sim_run {
    struct base_node node; /* of the worker's queue */
    struct worker_task *leased;
    struct sim_task *task;
    struct sim_worker *worker;
    uint64_t lease;
    uint32_t ordinal; /* which start of its task it is, from 1 */
    enum sim_run_state state;
    bool interrupted;
    uint64_t broker; /* the incarnation that gave the lease */
    bool forbidden;  /* the model's: its cancel said yes */
    bool stale;      /* the model's: the broker that gave the lease has given up the worker since */
    bool orphan;     /* the model's: the broker has forgotten the worker since, or is another one */
};

struct sim_thread {
    struct sim_worker *worker;
    struct sim_run *run; /* NULL: idle */
    struct sim_event done, begun;
    uint64_t started_ns;
    bool told; /* BEGAN was said */
};

struct sim_worker {
    struct sim_endpoint end;
    struct worker_core *core; /* NULL: dead */
    struct sim_worker_options options;
    uint32_t supervisor;
    struct base_list queue; /* of sim_run, waiting */
    uint32_t waiting;
    struct sim_thread *threads;
    bool retiring; /* its replacement was started */
};
uint32_t sim_worker_start(struct sim *sim, const struct sim_worker_options *options,
                          uint32_t supervisor);
void sim_worker_receive(struct sim *sim, struct sim_worker *worker, struct wire_message *message);
void sim_worker_reconnected(struct sim *sim, struct sim_worker *worker);
void sim_worker_free(struct sim_worker *worker);
/* The run of a lease, waiting or running; NULL: none. */
struct sim_run *sim_worker_run(struct sim_worker *worker, uint64_t lease);
void sim_worker_resumed(struct sim *sim, struct sim_worker *worker);
/* The process ends. signal 0: by itself, with `expected`. */
void sim_worker_die(struct sim *sim, struct sim_worker *worker, int signal, bool expected,
                    bool reported);

struct sim_death {
    struct sim_event event; /* when the supervisor knows */
    struct sim_event restart;
    struct sim_supervisor *supervisor;
    struct sim_worker_options options;
    struct wire_session session;
    uint64_t pid;
    uint32_t signal;
    bool expected, known, again;
    uint64_t *running;
    uint32_t running_count;
    uint64_t seq; /* 0: not posted in this stream */
    bool told;    /* acknowledged */
};

struct sim_supervisor {
    struct sim_endpoint end;
    struct link_dialer dialer;
    struct sim_array deaths;
};
void sim_supervisor_receive(struct sim *sim, struct sim_supervisor *supervisor,
                            struct wire_message *message);
void sim_supervisor_reconnected(struct sim *sim, struct sim_supervisor *supervisor);
void sim_supervisor_free(struct sim_supervisor *supervisor);
/* A child has died; takes the array of leases. */
void sim_supervisor_child_died(struct sim *sim, struct sim_worker *worker, int signal,
                               bool expected, uint64_t *running, uint32_t running_count);

/* ----------------------------------------------------------------------- model */

/* A lease that this broker has given out. */
struct sim_grant {
    uint64_t lease, seq; /* seq: of its RUN */
    struct sim_task *task;
    struct sim_endpoint *worker;
    bool live;
};

struct sim_model {
    struct base_idmap grants;  /* lease to grant, of this epoch */
    struct base_idmap claims;  /* lease to task, of this epoch */
    struct sim_array all;      /* every grant of this epoch */
    struct sim_array live;     /* those that are alive, and some that were */
    struct broker_stats stats; /* as this broker has told them last */
    uint32_t unchecked;        /* flushes since its books were looked at */
    uint64_t settle_from_ns;   /* 0: this broker does not settle yet */
};

void sim_model_init(struct sim *sim);
void sim_model_fini(struct sim *sim);
void sim_model_new_broker(struct sim *sim);
void sim_model_broker_sends(struct sim *sim, struct sim_endpoint *end,
                            const struct wire_message *message);
void sim_model_broker_receives(struct sim *sim, struct sim_endpoint *end,
                               const struct wire_message *message);
void sim_model_dialer_sends(struct sim *sim, struct sim_endpoint *end,
                            const struct wire_message *message);
void sim_model_dialer_receives(struct sim *sim, struct sim_endpoint *end,
                               const struct wire_message *message);
void sim_model_forgotten(struct sim *sim, uint64_t address);
void sim_model_broker_stats(struct sim *sim);
void sim_model_started(struct sim *sim, struct sim_run *run);
void sim_model_ended(struct sim *sim, struct sim_run *run);
void sim_model_resolved(struct sim *sim, struct sim_task *task, enum wire_kind kind,
                        const uint8_t *data, size_t size);
void sim_model_verdict(struct sim *sim, struct sim_task *task, bool yes);
void sim_model_finished(struct sim *sim); /* at the end, when all is calm */

/* What travels as a task's arguments, and as its value. */
struct sim_arguments {
    uint64_t number;
};
struct sim_value {
    uint64_t number, lease, worker;
};

/* ------------------------------------------------------------------------- sim */

struct sim {
    struct sim_options options;
    struct base_rng rng;
    uint64_t now_ns;
    struct base_heap events;
    struct sim_counts counts;
    char failure[512];
    bool failed;

    struct sim_array clients, workers, supervisors, tasks;
    struct sim_array addresses; /* endpoint of each address; [0] is NULL */
    struct sim_broker broker;
    struct sim_model model;
    uint64_t sessions;
    uint64_t lose_type[2]; /* sim_lose_next; 0: nothing */
};

/* Names a message: "SUBMIT 5 (#1 #2)". */
void sim_describe(struct sim *sim, struct sim_endpoint *end, const struct wire_message *message,
                  char *text, size_t size);
struct sim_task *sim_task_by_id(struct sim *sim, const struct sim_endpoint *client, uint64_t id);
struct sim_task *sim_task_by_arguments(struct sim *sim, const uint8_t *data, size_t size);
struct wire_session sim_new_session(struct sim *sim);

static inline struct sim_client *sim_client_at(const struct sim *sim, uint32_t index) {
    BASE_ASSERT(index < sim->clients.count);
    return sim->clients.items[index];
}
static inline struct sim_worker *sim_worker_at(const struct sim *sim, uint32_t index) {
    BASE_ASSERT(index < sim->workers.count);
    return sim->workers.items[index];
}
static inline struct sim_supervisor *sim_supervisor_at(const struct sim *sim, uint32_t index) {
    BASE_ASSERT(index < sim->supervisors.count);
    return sim->supervisors.items[index];
}

#endif
