/* Inside the worker's core: what its files share.
 *
 *   core.c          steps, actions, deadlines
 *   core_session.c  the link: HELLO, WELCOME, what comes in
 *   core_outgoing.c batches and messages until they are acknowledged
 *   core_claims.c   what a new broker has to hear
 *   core_store.c    memory for tasks
 *   core_tasks.c    tasks from RUN to RESULTS
 *   core_guests.c   whose tasks are here
 *   core_recall.c   RECALL, INTERRUPT, and leaving
 *
 * A task, from the core's point of view (when it starts the core does not know, until it runs long):
 *
 *                          started already
 *              WITHDRAWING ----------------> RUNNING --limit--> OVERDUE --grace--> CONDEMNED --> KILL
 *               ^       |   5 ms of running   ^  |                 |                  |
 *   RUN --> WAITING ----|---------------------'  |                 |                  |
 *               |       |                        v                 v                  |
 *               |   RETURNED                   done, until RESULTS is acknowledged    v
 *               `--------------------------------^                                  gone
 *
 * What becomes of a task that is done is kept for as long as its RESULTS is not acknowledged, because a
 * new broker has to be told which lease was which task. OWING is a task that is over but could not be
 * reported for lack of memory. */
#ifndef WORKER_INTERNAL_H
#define WORKER_INTERNAL_H

#include "base/assert.h"
#include "base/buffer.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/poison.h"
#include "base/slab.h"
#include "wire/dialer.h"
#include "worker/core.h"

enum worker_phase {
    WORKER_WAITING,
    WORKER_WITHDRAWING,
    WORKER_RUNNING,
    WORKER_OVERDUE,
    WORKER_CONDEMNED,
    WORKER_OWING_RESULT,
    WORKER_OWING_RETURN,
    WORKER_FREE, /* there is no task */
};

enum worker_mark {
    WORKER_NAMED = 1,       /* RECALL named it: the answer is due also if it is no */
    WORKER_END = 2,         /* to be interrupted if it has started */
    WORKER_OWES_ANSWER = 4, /* the no could not be written for lack of memory */
    WORKER_LONG = 8,        /* it has been running for 5 ms */
};

/* A client of whose tasks some are held. */
struct worker_guest {
    struct base_map_node node; /* in the core's guests */
    struct wire_session session;
    uint32_t count; /* its tasks that are held, and who looks at it just now */
    uint64_t ahead; /* the RUN whose tasks of this client go ahead of what waits */
};

static inline struct worker_guest *worker_guest_of(const struct worker_task *task) {
    return BASE_CONTAINER_OF((void *)(uintptr_t)task->session, struct worker_guest, session);
}

/* What a task with a run limit has besides. */
struct worker_limit {
    struct base_heap_node timer; /* in the core's heap from when it is known to run */
    struct worker_task *task;
    uint64_t run_ns;
    uint32_t index; /* in its slab */
};

/* A task whose outcome stands in a RESULTS that is not acknowledged. */
struct worker_done {
    uint64_t lease, id;
    struct wire_session session;
    uint32_t attempt;
    bool kills; /* it still runs: when the broker knows, the process dies */
};

/* Messages on their way: first those that were posted, not yet acknowledged, then those that wait for
 * a connection. The link keeps posted ones too, but forgets them when a broker does. */
struct worker_outgoing {
    struct wire_message *message;
    uint64_t seq;     /* 0: not posted */
    uint32_t results; /* so many of the done tasks are in it */
};

/* How long BYE and what is before it may wait for a broker that does not answer. */
#define WORKER_LEAVE_NS UINT64_C(5000000000)
/* How long the outcome of a condemned task may wait for its acknowledgement. */
#define WORKER_KILL_NS  UINT64_C(100000000)
#define WORKER_GRACE_NS UINT64_C(1000000000)
/* When to try again what there was no memory for. */
#define WORKER_RETRY_NS UINT64_C(10000000)

/* Tasks that a RUN has brought and that are to start. */
struct worker_starts {
    struct worker_task **tasks;
    uint32_t count, room;
};

struct worker_core {
    struct worker_config config;
    struct wire_text *texts; /* the names of the functions, then the tags, for HELLO */
    struct link_dialer dialer;
    uint64_t payload_max; /* the broker's */
    bool reachable;       /* the transport has had a connection */
    bool register_due;    /* the broker knows nothing of us and has not been told yet */

    struct base_slab blocks; /* memory for tasks */
    uint32_t block_count;
    uint32_t held;            /* tasks that are neither done nor given back */
    struct worker_task *free; /* what could be one, linked by `free` */
    struct base_slab limits;
    struct base_map guests;
    uint64_t runs; /* RUNs taken in */
    struct worker_starts ahead, behind;
    struct worker_done *done; /* a ring, in the order in which they stand in messages */
    uint32_t done_at, done_count, done_room;
    uint32_t arrivals;
    uint32_t owing;     /* held ones with something to report */
    uint32_t condemned; /* held ones */
    struct base_heap timers;
    uint64_t accepted, finished;
    uint64_t busy_ns; /* of what is in `results` */

    struct wire_writer *results, *returned, *running;
    struct worker_outgoing *outgoing; /* a ring, of which the first is the oldest */
    uint32_t outgoing_at, outgoing_count, outgoing_room;
    uint32_t posted; /* so many of them */

    bool draining;     /* no more tasks */
    bool retiring;     /* because tasks_max is reached */
    bool withdraw_due; /* what waits is to be returned */
    bool drain_told;   /* the broker is told by DRAIN, also a new one */
    bool drain_due, bye_queued, left, killed;
    uint64_t leave_until_ns; /* UINT64_MAX: something is still held */
    uint64_t retry_ns;       /* UINT64_MAX: no need */

    struct worker_action *actions;
    size_t action_count, action_room;
    struct base_buffer no_memory; /* an encoded wire_error */
    struct base_buffer error;     /* one that is being made */
    char text[256];               /* of a log action */
    char last_text[256];          /* of LEAVE and KILL */
};

/* ---- core.c ---- */

/* worker_reserve makes room for so many further actions of this step; false: no memory. Actions are
 * added only after their room was reserved (an invariant, checked). */
bool worker_reserve(struct worker_core *core, size_t count);
struct worker_action *worker_act(struct worker_core *core, enum worker_action_type type);
/* worker_log adds a log action, if there is memory and none with a text yet in this step. */
void worker_log(struct worker_core *core, bool warn, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* worker_starve remembers that memory was short, and when to try again. */
void worker_starve(struct worker_core *core, uint64_t now_ns);

/* ---- core_session.c ---- */

extern const struct link_owner worker_link_owner;

static inline bool worker_connected(const struct worker_core *core) {
    return core->dialer.state == LINK_UP;
}

void worker_session_receive(struct worker_core *core, uint64_t now_ns,
                            struct wire_message *message);
void worker_session_tick(struct worker_core *core, uint64_t now_ns);

/* ---- core_outgoing.c ---- */

/* worker_session_settle forgets messages, and tasks in them, that are acknowledged by now. */
void worker_session_settle(struct worker_core *core);
/* worker_session_flush sends what has formed. */
void worker_session_flush(struct worker_core *core, uint64_t now_ns);
/* worker_queue queues a message whose reference it takes; the room must be there. */
bool worker_queue_reserve(struct worker_core *core);
void worker_queue(struct worker_core *core, struct wire_message *message, uint32_t results);
void worker_outgoing_drop(struct worker_core *core);
/* worker_put adds an entry to one of the core's batches, closing a full one, which is what worker_put_anew
 * is for. False: no memory. */
bool worker_put_anew(struct worker_core *core, struct wire_writer *writer, uint64_t key,
                     uint64_t lease, const void *data, size_t size, struct wire_blob *large);
static inline bool worker_put(struct worker_core *core, struct wire_writer *writer, uint64_t key,
                              uint64_t lease, const void *data, size_t size,
                              struct wire_blob *large) {
    enum wire_put put = wire_writer_put(writer, &key, &lease, data, size, large);

    return BASE_LIKELY(put == WIRE_PUT_OK) ||
           (put == WIRE_PUT_FULL && worker_put_anew(core, writer, key, lease, data, size, large));
}
/* worker_put_result adds one to RESULTS. */
static inline bool worker_put_result(struct worker_core *core, uint64_t kind, uint64_t lease,
                                     const void *data, size_t size, struct wire_blob *large) {
    enum wire_put put = wire_writer_put_quick(core->results, (struct wire_shape)WIRE_SHAPE_RESULTS,
                                              &kind, &lease, data, size, large);

    return BASE_LIKELY(put == WIRE_PUT_OK) ||
           (put == WIRE_PUT_FULL &&
            worker_put_anew(core, core->results, kind, lease, data, size, large));
}
/* worker_outgoing_keep_results: of what is on its way only results concern a new broker, the rest
 * answers an old one. */
void worker_outgoing_keep_results(struct worker_core *core);
/* worker_outgoing_put_first takes messages that are to go before all others. False: no memory. */
bool worker_outgoing_put_first(struct worker_core *core, struct wire_message *const *messages,
                               uint32_t count);

/* ---- core_claims.c ---- */

/* worker_held_review: what was to be answered to an old broker is void; what long runs here the new one
 * has to hear. */
void worker_held_review(struct worker_core *core);
/* worker_register_anew registers in full: CLAIMS first, then results. False: no memory, to be tried
 * again. */
bool worker_register_anew(struct worker_core *core);

/* ---- core_guests.c ---- */

/* worker_guest_enter finds or makes the guest of a session and counts one up. NULL: no memory. */
struct worker_guest *worker_guest_enter(struct worker_core *core,
                                        const struct wire_session *session);
void worker_guest_end(struct worker_core *core, struct worker_guest *guest);
/* worker_guest_leave counts one down. */
static inline void worker_guest_leave(struct worker_core *core, struct worker_guest *guest) {
    BASE_ASSERT(guest->count > 0);
    if (--guest->count == 0) {
        worker_guest_end(core, guest);
    }
}
/* worker_guests_free forgets them all. */
void worker_guests_free(struct worker_core *core);

/* ---- core_store.c ---- */

void worker_store_init(struct worker_core *core);
void worker_store_fini(struct worker_core *core);
/* worker_store_add adds a block to what is free. False: no memory. */
bool worker_store_add(struct worker_core *core);
/* worker_store_take gives memory for a task, its contents undefined; NULL: no memory. */
static inline struct worker_task *worker_store_take(struct worker_core *core) {
    struct worker_task *task;

    if (BASE_UNLIKELY(core->free == NULL) && !worker_store_add(core)) {
        return NULL;
    }
    task = core->free;
    BASE_UNPOISON(task, sizeof *task);
    core->free = task->free;
    core->held++;
    return task;
}
/* worker_store_give takes it back. */
static inline void worker_store_give(struct worker_core *core, struct worker_task *task) {
    task->free = core->free;
    task->state = WORKER_FREE;
    core->free = task;
    core->held--;
    BASE_POISON(task->shell, sizeof task->shell);
}
/* worker_next goes over all that is held, in no particular order: begin with *cursor = 0. The task just
 * given may be dropped. Not for every task. */
struct worker_task *worker_next(const struct worker_core *core, uint32_t *cursor);

/* ---- core_tasks.c ---- */

static inline uint32_t worker_held(const struct worker_core *core) {
    return core->held;
}

/* worker_task_drop ends a held task. */
void worker_task_drop(struct worker_core *core, struct worker_task *task);
void worker_phase_set(struct worker_task *task, enum worker_phase phase);
static inline struct worker_done *worker_done_at(const struct worker_core *core, uint32_t i) {
    return &core->done[(core->done_at + i) & (core->done_room - 1)];
}
/* worker_done_pop forgets the first `count` tasks that are done; whether one of them kills. */
bool worker_done_pop(struct worker_core *core, uint32_t count);
/* False: no memory, the message is to be declined. *fault is set (code not 0) if it is refused. */
bool worker_tasks_run(struct worker_core *core, struct wire_batch *batch,
                      struct wire_message *message, struct wire_fault *fault);
void worker_tasks_finished(struct worker_core *core, uint64_t now_ns,
                           const struct worker_event *event);
void worker_tasks_began(struct worker_core *core, uint64_t now_ns,
                        const struct worker_event *event);
void worker_tasks_tick(struct worker_core *core, uint64_t now_ns);
/* worker_tasks_owed reports what there was no memory for. */
void worker_tasks_owed(struct worker_core *core, uint64_t now_ns);
/* worker_tasks_kill: the outcome of a condemned task has arrived, or was waited for in vain. */
void worker_tasks_kill(struct worker_core *core);

/* ---- core_recall.c ---- */

/* False: no memory, the message is to be declined. */
bool worker_recall(struct worker_core *core, struct wire_batch *batch);
bool worker_interrupt(struct worker_core *core, struct wire_batch *batch);
void worker_withdrawn(struct worker_core *core, uint64_t now_ns, const struct worker_event *event);
/* worker_drain begins to leave. tell: the broker does not know yet. withdraw: what has not started is
 * given back. */
void worker_drain(struct worker_core *core, bool tell, bool withdraw);
/* worker_leave_on goes on with leaving, as far as it is possible now. */
void worker_leave_on(struct worker_core *core, uint64_t now_ns);

#endif
