/* Workers: their leases, and what they say of them. */
#ifndef BROKER_WORKER_H
#define BROKER_WORKER_H

#include "broker/session.h"
#include "broker/task.h"

struct broker_demand;
struct broker_offer;

/* How a worker died. */
struct broker_death {
    int32_t signal, exit_code;
    int64_t pid;
    char *host; /* owned; NULL: as the session says */
};

enum broker_ring { BROKER_RING_NONE, BROKER_RING_IDLE, BROKER_RING_CREDIT };

struct broker_worker {
    struct broker_session session;
    struct broker_offer *offer;
    struct base_node in_offer;
    struct base_node in_ring;
    struct base_list leases;   /* tasks, LEASED and ABANDONED, in the order of dispatch */
    struct base_list claims;   /* that no client has asked for yet */
    struct base_idmap old;     /* lease of an earlier epoch -> task */
    struct base_idmap claimed; /* lease -> claim */
    struct wire_writer *runs, *recalls, *interrupts;
    uint32_t slots;
    uint32_t limit;                 /* leases it may hold */
    uint32_t held;                  /* leases and claims */
    uint32_t recall_count;          /* how many to ask for besides those in `recalls` */
    uint8_t ring;                   /* enum broker_ring */
    bool laden;                     /* holds more than its slots, as offer->laden counts */
    bool claiming;                  /* has yet to say what it holds */
    bool draining;                  /* gets no more: DRAIN, or STOP */
    bool stopped;                   /* STOP was sent */
    bool dying;                     /* its supervisor told of its death */
    struct broker_demand *reserved; /* emptied for a task of this demand that is to run alone */
    struct broker_task *alone;      /* runs alone here */
    uint64_t mean_ns;               /* of its tasks, 0: unknown */
    uint64_t mean_bytes;            /* of their arguments and results */
    uint64_t finished;              /* so many */
    uint64_t rtt_ns;                /* the round trip; 0: unknown */
    uint64_t rtt_window_ns;         /* the least one measured since rtt_since_ns; 0: none */
    uint64_t rtt_since_ns;
    uint64_t rtt_mean_ns, rtt_variation_ns; /* of all that were measured, under load too */
    uint64_t probe_ns;    /* when the empty worker got a task; 0: no measurement going on */
    uint64_t progress_ns; /* when it last showed some */
    uint64_t recalled_ns; /* when it was asked to give back, and has not answered yet */
    struct broker_timer grace;
    struct broker_death death; /* if dying */
};

static inline struct broker_worker *broker_worker_of(struct broker_session *session) {
    BASE_ASSERT(session->role == WIRE_WORKER);
    return BASE_CONTAINER_OF(session, struct broker_worker, session);
}

struct broker_session *broker_worker_new(struct broker_core *core, const struct wire_hello *hello);
/* broker_worker_join gives a new worker, or one that registers anew, its offer. */
enum broker_handled broker_worker_join(struct broker_core *core, struct broker_worker *worker,
                                       const struct wire_hello *hello, struct wire_fault *fault);
broker_handler broker_on_returned, broker_on_running, broker_on_drain;
/* broker_worker_measure takes note of results: their number, the time and bytes they took. */
void broker_worker_measure(struct broker_core *core, struct broker_worker *worker, uint32_t count,
                           uint64_t busy_ns, uint64_t bytes);
/* broker_worker_leave takes a worker apart that has no leases and no claims any more. */
void broker_worker_leave(struct broker_core *core, struct broker_worker *worker);
void broker_worker_trim(struct broker_worker *worker);
bool broker_worker_flush(struct broker_core *core, struct broker_worker *worker);
/* broker_task_lease is the lease as its worker knows it. */
uint64_t broker_task_lease(const struct broker_task *task);
/* broker_worker_late is how long a worker may take to answer, as its connection and both sides are loaded
 * now; broker_worker_soon how many tasks it should begin within a round trip; UINT64_MAX: unknown. */
uint64_t broker_worker_late(const struct broker_worker *worker);
uint64_t broker_worker_soon(const struct broker_worker *worker);

/* broker_worker_task finds the task that a worker means; NULL: it has no such lease (any more). */
static inline struct broker_task *broker_worker_task(struct broker_core *core,
                                                     struct broker_worker *worker, uint64_t lease) {
    struct broker_task *task;

    if (BASE_UNLIKELY(base_idmap_count(&worker->old) > 0)) {
        task = base_idmap_find(&worker->old, lease);
        if (task != NULL) {
            return task;
        }
    }
    task = base_slab_get_live(&core->tasks, (uint32_t)(lease & BROKER_INDEX_MASK));
    if (task == NULL || task->lease != lease || task->worker != worker ||
        (task->flags & BROKER_TASK_OLD) != 0) {
        return NULL;
    }
    return task;
}

broker_handler broker_on_results;

#endif
