/* Inside the broker's core: what its files share.
 *
 *   core.c      steps, actions, timers, statistics
 *   router.c    what comes in: which message is for whom, and from whom it is allowed
 *   session.c   the link of one session: HELLO, sending, losing, leaving
 *   owner.c     keys: what each may do, its sessions, its quota
 *   client.c    classes, CANCEL, leaving, what goes back to a client
 *   submit.c    SUBMIT
 *   slots.c     a client's task ids
 *   credit.c    what clients may send: bounded memory
 *   task.c      task records, their states, their ends
 *   queue.c     demands, offers, and the queues between them
 *   schedule.c  dispatch: which worker gets which tasks
 *   suspects.c  tasks that run alone
 *   worker.c    joining, leases, credit, RETURNED, RUNNING
 *   results.c   RESULTS
 *   recall.c    taking back what waits at a worker
 *   recover.c   deaths, suspects, charges
 *   claims.c    settling after a restart
 *   meter.c     rates, waiting times
 *   inspect.c   what admins ask
 *   explain.c   why a task isn't running
 *   check.c     whether all that is counted is there
 *   no_room.c   messages that their receiver has no memory for
 *
 * Nothing is sent in the middle of a step but HELLO's answers, REJECT, RESUME and heartbeats: what
 * handlers put into writers goes out at BROKER_FLUSH. So a message for which there was no memory can
 * still be declined (link_decline), and comes again. */
#ifndef BROKER_INTERNAL_H
#define BROKER_INTERNAL_H

#include "base/assert.h"
#include "base/buffer.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/rng.h"
#include "base/slab.h"
#include "broker/core.h"
#include "wire/link.h"

#include <string.h>

#define BROKER_MS UINT64_C(1000000)
#define BROKER_S  UINT64_C(1000000000)

/* ------------------------------------------------------------------ limits */

/* A lease is a running number, and the task's place in the slab. The number begins somewhere else in
 * each epoch, because workers keep leases of the last one. */
#define BROKER_INDEX_BITS 24u
#define BROKER_INDEX_MASK ((UINT64_C(1) << BROKER_INDEX_BITS) - 1)
#define BROKER_TASKS_MAX  ((1u << BROKER_INDEX_BITS) - 65536u)

/* A client numbers its tasks from 0; this bounds the table that finds them. */
#define BROKER_SLOTS_MAX (1u << 26)
/* Views (below) over all offers: a bound on what many offers times many queues may cost. */
#define BROKER_VIEWS_MAX (1u << 22)
/* Log lines a step and a second; what is over is counted. */
#define BROKER_LOG_LINES      8u
#define BROKER_LOG_LINE_BYTES 640u
#define BROKER_LOG_RATE       20u
/* When to try again what there was no memory for. */
#define BROKER_RETRY_NS (10 * BROKER_MS)
/* How often it is looked whether memory can be given back: what was not needed from one time to the
 * next goes, so that an idle broker has given all of it back after twice that. */
#define BROKER_TRIM_NS    (500 * BROKER_MS)
#define BROKER_TRIM_BYTES (1u << 20) /* and not below that */
/* After how many entries a FLUSH is wanted: about 200 us of work. A message has up to 4,096. */
#define BROKER_TAKE_IN_MAX 2048u
/* How long a drained broker waits for its peers to have their last messages, and to leave. */
#define BROKER_LEAVE_NS (1 * BROKER_S)
/* What a task costs besides its payload, as memory_bytes counts it: record, slab, id. */
#define BROKER_TASK_BYTES 144u

/* ------------------------------------------------------------------ timers */

enum broker_timer_kind {
    BROKER_TIMER_SESSION, /* link: heartbeat, silence */
    BROKER_TIMER_TASK,    /* queue deadline, or back-off before a retry */
    BROKER_TIMER_DEMAND,  /* nobody offers the function */
    BROKER_TIMER_OFFER,   /* look whether something is to be recalled */
    BROKER_TIMER_GRACE,   /* a dead worker's results may still come until then */
    BROKER_TIMER_CLAIM,   /* a claim that no client has asked for */
    BROKER_TIMER_SETTLE,  /* what nobody claimed is queued */
    BROKER_TIMER_DRAIN,   /* workers have had their time to leave */
    BROKER_TIMER_TRIM,    /* give memory back that is no longer needed */
};
struct broker_timer {
    struct base_heap_node node;
    enum broker_timer_kind kind;
};

/* ------------------------------------------------------------------- tasks */

/*                                .-------- worker died, or gave it back ---------.
 *                                v                                               |
 *   NEW ---> QUEUED ----------------------------------------------------> LEASED-+-> ABANDONED
 *    |  `--> HELD (settling) -> QUEUED, LEASED         SUSPECT -> LEASED   |  |
 *    |                                                     ^---------------'  `-> DELAYED -> QUEUED
 *    `--------- from any but ABANDONED: ENDED, or FAILING -> ENDED
 *
 * ABANDONED: the client is gone, the worker still has it. FAILING: the outcome is known, but there
 * was no memory to tell it. */
enum broker_task_state {
    BROKER_TASK_NEW,
    BROKER_TASK_HELD,
    BROKER_TASK_QUEUED,
    BROKER_TASK_LEASED,
    BROKER_TASK_DELAYED,
    BROKER_TASK_SUSPECT,
    BROKER_TASK_ABANDONED,
    BROKER_TASK_FAILING,
    BROKER_TASK_ENDED,
};
#define BROKER_TASK_STATES 9u

enum broker_task_flag {
    BROKER_TASK_CANCELLING = 1, /* the client waits for a verdict */
    BROKER_TASK_STARTED = 2,    /* it has run, or may have: cancelling it is too late */
    BROKER_TASK_ALONE = 4,      /* runs on an otherwise empty worker only */
    BROKER_TASK_EXTRA = 8,      /* `extra` is set */
    BROKER_TASK_OLD = 16,       /* leased in an earlier epoch: its worker knows extra->old_lease */
    BROKER_TASK_UNSTARTED = 32, /* its worker died, and had certainly not begun it */
    BROKER_TASK_CONFIRMED = 64, /* its worker, which registers anew, has claimed it */
};

/* What few tasks have. */
struct broker_extra {
    struct broker_timer timer;
    struct broker_task *task;
    uint32_t index;       /* in the slab */
    uint64_t start_by_ns; /* queue deadline; 0: none */
    uint64_t old_lease;
    uint32_t retries; /* used so far */
    char *history;    /* of attempts that ended in a death */
};

#define BROKER_INLINE_BYTES 64u

/* Two cache lines; a task with a payload of up to 8 bytes is all in the first. */
struct broker_task {
    struct base_node node; /* of a queue, or of its worker's leases, or ... as its state says */
    struct broker_class *class;
    struct broker_worker *worker; /* LEASED, ABANDONED; else NULL */
    uint64_t id;
    uint64_t lease; /* the last one; its low bits are the task's index, always */
    uint32_t size;
    uint16_t attempt;
    uint8_t state;
    uint8_t flags;
    union {
        uint8_t bytes[BROKER_INLINE_BYTES]; /* up to BROKER_INLINE_BYTES */
        uint8_t *copy;                      /* below WIRE_LARGE_BYTES_MIN: malloc */
        struct wire_blob *blob;             /* from there on: a reference */
        enum wire_kind failing;             /* FAILING */
    } payload;
    struct broker_extra *extra; /* only if BROKER_TASK_EXTRA */
};
_Static_assert(sizeof(struct broker_task) == 128, "two cache lines");

/* ----------------------------------------------------------------- sessions */

/* A key that has sessions here. */
struct broker_owner {
    struct base_map_node node;
    struct broker_identity identity;
    struct base_list sessions;
    uint32_t session_count, client_count;
    /* What its clients have here or have been granted, as far as it has been counted. */
    uint64_t tasks, bytes;
};

/* A place in a list of all that there are, in the order in which they came: what an admin reads page
 * by page, with a cursor of his own among them. */
struct broker_roll {
    struct base_node node;
    bool cursor; /* it is one, and nothing else */
};

struct broker_session {
    struct base_map_node by_id;
    struct broker_owner *owner; /* NULL: not authenticated */
    struct base_node in_owner;
    struct broker_roll roll;
    uint8_t key[16];
    struct wire_session id;
    enum wire_role role;
    bool bound;   /* `address` is its */
    bool lost;    /* being taken apart: nothing more is to be sent */
    bool retired; /* an admin has told it to leave */
    broker_address address;
    struct link link;
    struct broker_timer timer;
    struct base_node dirty;       /* in core->dirty while the next FLUSH has to look at it */
    struct wire_message **outbox; /* made and not posted yet */
    uint32_t outbox_count, outbox_room;
    size_t counted_bytes; /* of what the link keeps, as counted in core->memory */
    char *name, *host;
    int64_t pid;
};

/* -- clients -- */

#define BROKER_PAGE_SLOTS 1024u

struct broker_page {
    uint32_t live;
    uint32_t index[BROKER_PAGE_SLOTS]; /* into the slab; BROKER_NO_TASK */
};
#define BROKER_NO_TASK UINT32_MAX

struct broker_slots {
    struct broker_page **pages;
    struct broker_page *spare; /* the last one that became empty */
    uint32_t page_count;
};

/* A class as a client defined it. */
struct broker_class {
    struct broker_client *client;
    struct broker_queue *queue;
    uint64_t queue_ns, run_ms, retry_ns; /* queue_ns, run_ms 0: no limit */
    uint32_t retries;
    uint32_t max_attempts;
    uint32_t flags; /* of enum wire_task_flag */
};

struct broker_client {
    struct broker_session session;
    struct broker_slots slots;
    struct broker_class **classes;
    uint32_t class_room;
    struct base_list queues;
    uint32_t queue_count;
    struct base_list turns;
    struct base_node starved; /* in core->starved: is to get more credit when there is some */
    struct wire_writer *outcomes, *verdicts, *started;
    uint32_t task_count;             /* that are here, in any state */
    uint64_t task_bytes;             /* of their payloads */
    uint64_t expected_bytes;         /* of values, by all its leases */
    uint64_t due_bytes;              /* of values, that its link doesn't keep yet */
    struct base_list clogged;        /* queues that wait until it has read more */
    bool credit_news;                /* grants have grown since they were told */
    uint64_t sent_tasks, sent_bytes; /* by the client, in this stream */
    uint64_t granted_tasks, granted_bytes;
    uint64_t counted_tasks, counted_bytes; /* of it in owner->tasks and bytes */
};

/* -- workers -- */

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
    uint64_t probe_ns;    /* when the empty worker got a task; 0: no measurement going on */
    uint64_t progress_ns; /* when it last showed some */
    uint64_t recalled_ns; /* when it was asked to give back, and has not answered yet */
    struct broker_timer grace;
    struct broker_death death; /* if dying */
};

/* -- admins -- */

struct broker_admin {
    struct broker_session session;
    struct broker_roll cursor; /* in the list that it reads; unlinked: it reads none */
    uint32_t list;
    uint64_t page; /* the next one */
};

static inline struct broker_client *broker_client_of(struct broker_session *session) {
    BASE_ASSERT(session->role == WIRE_CLIENT);
    return BASE_CONTAINER_OF(session, struct broker_client, session);
}
static inline struct broker_worker *broker_worker_of(struct broker_session *session) {
    BASE_ASSERT(session->role == WIRE_WORKER);
    return BASE_CONTAINER_OF(session, struct broker_worker, session);
}

static inline struct broker_admin *broker_admin_of(struct broker_session *session) {
    BASE_ASSERT(session->role == WIRE_ADMIN);
    return BASE_CONTAINER_OF(session, struct broker_admin, session);
}

/* ------------------------------------------------------- demands and offers */

/* What tasks ask of a worker: a function and tags. Shared by all clients' classes that ask the same. */
struct broker_demand {
    struct base_map_node node;
    struct broker_roll roll;
    struct wire_text function;
    struct wire_text tags[WIRE_TAGS_MAX]; /* sorted, each once */
    uint32_t tag_count;
    struct base_list queues;
    uint32_t queue_count;
    struct base_list services;
    struct base_list suspects;   /* tasks that are to run alone */
    struct base_node suspicious; /* in core->suspicious while there are some */
    uint32_t queued;             /* tasks in its queues */
    uint32_t leased;             /* LEASED ones */
    struct broker_meter meter;
    uint32_t suspect_count;
    uint32_t reserved;         /* workers that are being emptied for it */
    uint32_t value_bytes;      /* what a queue of it learnt last: a new one begins with that */
    struct broker_timer timer; /* while tasks wait and nobody offers the function */
    uint8_t key[];
};

/* The tasks of one client, one demand and one priority, first in first out. */
struct broker_queue {
    struct base_node in_client;
    struct base_node in_demand;
    struct broker_client *client;
    struct broker_demand *demand;
    struct base_list tasks;
    uint32_t count;
    int32_t priority;
    struct broker_ages ages;
    struct base_list resting; /* its views that are in no turn now */
    struct base_list views;
    uint32_t leased;          /* its tasks at workers */
    uint32_t value_bytes;     /* that a value of it is reckoned to have; 0: none has come yet */
    struct base_node waiting; /* in client->clogged or core->unproven: gets no leases meanwhile */
};

/* What workers offer: functions and tags. Workers that offer the same share it. */
struct broker_offer {
    struct base_map_node node;
    struct base_map functions; /* broker_offered */
    struct broker_offered *offered;
    uint32_t function_count;
    struct wire_text tags[WIRE_TAGS_MAX]; /* sorted, each once */
    uint32_t tag_count;
    struct base_list services;
    struct base_list levels; /* by falling priority */
    struct base_list workers;
    uint32_t worker_count;
    uint32_t slots;                /* of all of them */
    struct base_list idle, credit; /* workers with free threads; others with credit */
    uint32_t idle_count, credit_count;
    uint32_t laden;          /* workers that hold more than they have threads */
    uint32_t ready;          /* views in turns */
    uint32_t slice;          /* what a worker gets in this round of them */
    uint32_t round;          /* workers that are still to get theirs */
    bool round_idle;         /* it is one of the idle ones */
    uint64_t dispatch;       /* in which it began */
    uint64_t crowded_ns;     /* until when its clients count as competing with each other */
    struct base_node active; /* in core->active: has both workers with credit and ready views */
    struct broker_timer timer;
    uint8_t key[];
};

struct broker_offered {
    struct base_map_node node;
    uint32_t index; /* in the worker's list */
};

/* An offer that meets a demand. */
struct broker_service {
    struct base_node in_demand;
    struct base_node in_offer;
    struct broker_demand *demand;
    struct broker_offer *offer;
    uint32_t function; /* as RUN says it */
};

/* A priority at an offer, with the clients that have something there, in turn. */
struct broker_level {
    struct base_node in_offer;
    struct broker_offer *offer;
    int32_t priority;
    uint32_t turns; /* all that there are, ready or not */
    struct base_list ring;
};

/* A client at a level of an offer. */
struct broker_turn {
    struct base_node in_ring; /* while it has ready views */
    struct base_node in_client;
    struct broker_level *level;
    struct broker_client *client;
    struct base_list views; /* ready ones, in turn */
    uint32_t view_count;    /* all that there are */
    uint32_t left;          /* tasks until the next client's turn */
};

/* A queue as an offer sees it. It rests when the offer, looking at it, finds nothing there, and is
 * made ready when something comes: so a look that was in vain is paid for by a task that came. */
struct broker_view {
    struct base_node node; /* of its turn when ready, else of its queue's `resting` */
    struct base_node in_queue;
    struct broker_queue *queue;
    struct broker_service *service;
    struct broker_turn *turn;
    bool ready;
};

/* ------------------------------------------------------------------- claims */

/* A lease of an earlier epoch that a worker has, and whose task no client has asked for yet. */
struct broker_claim {
    struct base_map_node node;
    uint8_t key[24]; /* session and id */
    struct base_node in_worker;
    struct broker_timer timer;
    struct broker_worker *worker; /* NULL once the result has come */
    uint64_t lease;
    uint32_t attempt;
    enum wire_kind kind;
    struct wire_blob *result; /* set once it has come */
};

/* --------------------------------------------------------------------- core */

struct broker_core {
    struct broker_config config;
    uint64_t now_ns;
    struct base_slab tasks, extras;
    struct base_map sessions;    /* by id */
    struct base_map owners;      /* by key */
    struct base_idmap addresses; /* -> session */
    struct base_map demands, offers;
    struct base_map claims;
    struct base_list session_roll, demand_roll;
    struct base_heap timers;
    struct base_list dirty;      /* sessions for the next FLUSH */
    struct base_list active;     /* offers that can dispatch */
    struct base_list starved;    /* clients that wait for credit */
    struct base_list held;       /* tasks that settle */
    struct base_list failing;    /* tasks whose end can't be told for lack of memory */
    struct base_list suspicious; /* demands with suspects */
    struct base_list unproven;   /* queues that wait for their first value */
    struct broker_timer settle, drain, trim;
    size_t task_peak;  /* most tasks at once since the last trim */
    uint64_t retry_ns; /* memory was short: when to try again; UINT64_MAX: no need */
    struct base_rng rng;
    struct base_buffer scratch;
    struct wire_writer *credits;

    uint64_t lease_count; /* its low 40 bits are used */
    uint64_t dispatches;  /* so far */
    uint32_t taken_in;    /* entries of SUBMIT, CANCEL and RESULTS since the last FLUSH */
    uint32_t view_count;
    uint32_t leased;    /* LEASED tasks */
    uint32_t abandoned; /* ABANDONED ones */
    uint32_t queued;    /* in queues */
    uint32_t willing;   /* workers with credit */
    uint64_t memory;    /* bytes of tasks, payloads, and what links to clients keep */
    /* Granted to clients and not used by them. */
    uint64_t promised_tasks, promised_bytes;
    bool settled;  /* the settling time is over */
    bool settling; /* it runs */
    bool draining; /* no new tasks are accepted */
    bool stopped;  /* nothing is left, and the workers were told */
    bool drained, drained_told;
    struct broker_stats stats;
    uint64_t born_ns;
    struct broker_meter meter;           /* its counts are those of `stats` */
    struct broker_histogram waits, runs; /* as in struct broker_report */
    uint64_t slots;                      /* of all workers */

    struct broker_action *actions;
    size_t action_count, action_room;
    char *lines[BROKER_LOG_LINES]; /* of this step's log actions; the memory is kept */
    uint32_t line_count;
    uint64_t log_window_ns;
    uint32_t log_count, log_dropped;
};

/* ---- core.c ---- */

/* broker_send hands a message to the shell; the reference is taken. Without memory for the action it
 * is dropped, as a transport may: the link sends it again. */
void broker_send(struct broker_core *core, broker_address to, struct wire_message *message);
void broker_act(struct broker_core *core, enum broker_action_type type, broker_address to);
/* broker_log adds a line to the log; not more than a few a second. */
void broker_log(struct broker_core *core, bool warn, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* broker_log_peer says what a peer does, with who it is as fields, and further ones (numbers, or texts
 * from base_log_quote). */
void broker_log_peer(struct broker_core *core, bool warn, const char *message,
                     const struct broker_session *session, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* A timer stands in the heap from make to drop, stopped ones at "never": so only make needs memory.
 * broker_timer_make: false without memory; the timer may be dropped all the same. */
bool broker_timer_make(struct broker_core *core, struct broker_timer *timer,
                       enum broker_timer_kind kind);
void broker_timer_drop(struct broker_core *core, struct broker_timer *timer);
void broker_timer_set(struct broker_core *core, struct broker_timer *timer, uint64_t at_ns);
static inline void broker_timer_stop(struct broker_core *core, struct broker_timer *timer) {
    broker_timer_set(core, timer, UINT64_MAX);
}
static inline bool broker_timer_runs(const struct broker_timer *timer) {
    return timer->node.key != UINT64_MAX;
}
/* broker_starve remembers that memory was short: there will be a TICK soon. */
void broker_starve(struct broker_core *core);
/* broker_after adds a duration to now, and stays below "never". */
uint64_t broker_after(const struct broker_core *core, uint64_t duration_ns);
/* broker_text copies a text, terminated; NULL: no memory. */
char *broker_text(struct wire_text text);

/* ---- router.c ---- */

void broker_route(struct broker_core *core, const struct broker_event *event);
/* broker_reject tells a session (or an address that has none: NULL) why its message had no effect. */
void broker_reject(struct broker_core *core, broker_address to, struct broker_session *session,
                   uint32_t about, const struct wire_fault *fault);
__attribute__((format(printf, 3, 4))) void broker_fault(struct wire_fault *fault,
                                                        enum wire_reject_code code,
                                                        const char *format, ...);

/* What a handler made of a message. */
enum broker_handled {
    BROKER_DONE,
    BROKER_REFUSED, /* nothing happened: *fault goes back */
    BROKER_NOMEM,   /* not (all) done: it is to come again. What was done of it stays done. */
    BROKER_GONE,    /* the session is no more */
};
typedef enum broker_handled broker_handler(struct broker_core *core, struct broker_session *session,
                                           struct wire_message *message, struct wire_fault *fault);

/* ---- session.c ---- */

void broker_hello(struct broker_core *core, const struct broker_event *event);
broker_handler broker_on_bye, broker_on_heartbeat, broker_on_resume, broker_on_reject;
broker_handler broker_on_coming;
/* broker_session_find: the session of that id, whatever its role, or NULL. */
struct broker_session *broker_session_find(const struct broker_core *core,
                                           const struct wire_session *id);
/* broker_session_mark sends an unsequenced message now; the reference is taken; NULL: nothing. */
void broker_session_mark(struct broker_core *core, struct broker_session *session,
                         struct wire_message *message);
/* broker_session_count takes note of how much the link keeps now. */
void broker_session_count(struct broker_core *core, struct broker_session *session);
/* broker_session_dirty has the next FLUSH look at it. */
static inline void broker_session_dirty(struct broker_core *core, struct broker_session *session) {
    if (!base_node_linked(&session->dirty)) {
        base_list_push_back(&core->dirty, &session->dirty);
    }
}
/* broker_session_put adds an entry to one of the session's writers, made if need be, and finishes its
 * messages when they are full. False: no memory, nothing was added. */
bool broker_session_put(struct broker_core *core, struct broker_session *session,
                        struct wire_writer **writer, enum wire_type type, const uint64_t *key,
                        const uint64_t *entry, const void *data, size_t size,
                        struct wire_blob *large);
/* broker_session_finish makes a message of what is in a writer (may be NULL), for the outbox. False:
 * no memory. */
bool broker_session_finish(struct broker_core *core, struct broker_session *session,
                           struct wire_writer *writer, enum wire_type type);
/* broker_session_post puts a message into the outbox; the reference is taken on success. */
bool broker_session_post(struct broker_session *session, struct wire_message *message);
/* broker_session_stop tells a worker or supervisor to leave. False: no memory, nothing happened. */
bool broker_session_stop(struct broker_core *core, struct broker_session *session);
void broker_session_flush(struct broker_core *core, struct broker_session *session);
void broker_session_timer(struct broker_core *core, struct broker_session *session);
/* broker_session_end ends a session and all that it has here. UNKNOWN has the peer say HELLO again,
 * with which it registers anew, or is refused for good. */
void broker_session_end(struct broker_core *core, struct broker_session *session, const char *why);
/* broker_session_init begins a session of a HELLO; false: no memory, and nothing is left of it. */
bool broker_session_init(struct broker_core *core, struct broker_session *session,
                         const struct wire_hello *hello);
/* broker_session_free takes a session apart and frees it; its role's things are gone before. */
void broker_session_free(struct broker_core *core, struct broker_session *session);

/* ---- owner.c ---- */

/* broker_owner_check: whether a HELLO of this identity may make or take up a session (`known`, or NULL
 * if there is none of that id). False: *fault, which tells of nothing that is not the peer's own. */
bool broker_owner_check(struct broker_core *core, const struct broker_identity *identity,
                        const struct wire_hello *hello, const struct broker_session *known,
                        struct wire_fault *fault);
/* broker_owner_join makes a session its key's. False: no memory. */
bool broker_owner_join(struct broker_core *core, struct broker_session *session,
                       const struct broker_identity *identity);
void broker_owner_leave(struct broker_core *core, struct broker_session *session);
/* broker_owner_authorize gives a key other rights and another quota, and ends what it may not have. */
void broker_owner_authorize(struct broker_core *core, const struct broker_identity *identity);
/* broker_owner_count takes note of how much a client has; broker_owner_room says how much more it may
 * be granted. */
void broker_owner_count(struct broker_client *client);
void broker_owner_room(const struct broker_client *client, uint64_t *tasks, uint64_t *bytes);
/* broker_owner_allows: whether a payload of that size is within the client's quota if it is alone. */
static inline bool broker_owner_allows(const struct broker_client *client, size_t size) {
    const struct broker_owner *owner = client->session.owner;

    return owner == NULL || size <= owner->identity.bytes_max;
}

/* ---- client.c ---- */

struct broker_session *broker_client_new(struct broker_core *core, const struct wire_hello *hello);
/* broker_client_clear drops all that the client has here; leave its session too. */
void broker_client_clear(struct broker_core *core, struct broker_client *client);
void broker_client_leave(struct broker_core *core, struct broker_client *client);
void broker_client_trim(struct broker_client *client);
broker_handler broker_on_define, broker_on_cancel;
static inline struct broker_class *broker_class_of(const struct broker_client *client,
                                                   uint64_t index) {
    return index < client->class_room ? client->classes[index] : NULL;
}
/* broker_client_drop drops a task that its client doesn't want any more, and says nothing about it. */
void broker_client_drop(struct broker_core *core, struct broker_task *task);
bool broker_client_flush(struct broker_core *core, struct broker_client *client);
bool broker_verdict(struct broker_core *core, struct broker_client *client, uint64_t id,
                    bool cancelled);

/* ---- submit.c, results.c ---- */

broker_handler broker_on_submit, broker_on_results;

/* ---- slots.c ---- */

/* broker_slot_take puts a task into its slot. */
enum broker_slot { BROKER_SLOT_TAKEN, BROKER_SLOT_BUSY, BROKER_SLOT_BEYOND, BROKER_SLOT_NOMEM };
enum broker_slot broker_slot_take(struct broker_core *core, struct broker_slots *slots,
                                  const struct broker_task *task);
/* broker_slot_page gives the page of an id; NULL: there is none. */
static inline struct broker_page *broker_slot_page(const struct broker_slots *slots, uint64_t id) {
    uint32_t page = (uint32_t)id / BROKER_PAGE_SLOTS;

    return BASE_LIKELY(page < slots->page_count) ? slots->pages[page] : NULL;
}
void broker_slot_release(struct broker_core *core, struct broker_slots *slots, uint64_t id);
/* broker_slot_find resolves any id; NULL: no task here. */
struct broker_task *broker_slot_find(struct broker_core *core, const struct broker_slots *slots,
                                     uint64_t id);
/* broker_slot_holder gives the task whose id has the same slot; NULL: none. */
struct broker_task *broker_slot_holder(struct broker_core *core, const struct broker_slots *slots,
                                       uint64_t id);
/* broker_slot_next gives the tasks one after the other, from *cursor = 0. */
struct broker_task *broker_slot_next(struct broker_core *core, const struct broker_slots *slots,
                                     uint64_t *cursor);
void broker_slots_fini(struct broker_core *core, struct broker_slots *slots);

/* ---- credit.c ---- */

/* broker_credit_use checks a SUBMIT against what was granted, and counts it. */
bool broker_credit_use(struct broker_core *core, struct broker_client *client, uint32_t tasks,
                       uint64_t bytes);
/* broker_credit_unuse takes that back. */
void broker_credit_unuse(struct broker_core *core, struct broker_client *client, uint32_t tasks,
                         uint64_t bytes);
/* broker_credit_grant gives a client more if it runs short and there is some. */
void broker_credit_grant(struct broker_core *core, struct broker_client *client);
/* broker_credit_flush serves those that wait for credit. */
void broker_credit_flush(struct broker_core *core);
void broker_credit_leave(struct broker_core *core, struct broker_client *client);
/* broker_credit_room tells how many more tasks of a queue may be leased; if none may, the queue is
 * woken when that has changed. */
uint32_t broker_credit_room(struct broker_core *core, struct broker_queue *queue);
/* broker_credit_leased, _unleased: tasks of a queue have come under a lease, or are no longer. */
static inline void broker_credit_leased(struct broker_queue *queue, uint32_t count) {
    queue->leased += count;
    queue->demand->leased += count;
    queue->client->expected_bytes += (uint64_t)count * queue->value_bytes;
}
static inline void broker_credit_unleased(struct broker_queue *queue, uint32_t count) {
    BASE_ASSERT(queue->leased >= count);
    queue->leased -= count;
    queue->demand->leased -= count;
    queue->client->expected_bytes -= (uint64_t)count * queue->value_bytes;
}
/* broker_credit_learn takes note of how large values of a queue are. */
void broker_credit_learn(struct broker_core *core, struct broker_queue *queue, uint32_t count,
                         uint64_t bytes);
/* broker_credit_unclog wakes what waited, if it may go on. To be called when what a client has not
 * read, or what is expected for it, may have become less. */
void broker_credit_unclog(struct broker_core *core, struct broker_client *client);
/* broker_credit_freed: one task is no longer leased, and it was not by its result. */
void broker_credit_freed(struct broker_core *core, struct broker_queue *queue);
/* broker_credit_prove wakes queues that wait for their first value: there are more slots. */
void broker_credit_prove(struct broker_core *core);

/* ---- task.c ---- */

/* broker_copy_short copies a payload that fits into a record. Most are of a few bytes, for which a call
 * of memcpy costs more than they do. */
static inline void broker_copy_short(uint8_t *to, const uint8_t *from, size_t size) {
    if (BASE_UNLIKELY(size > 16)) {
        memcpy(to, from, size);
    } else if (size >= 8) {
        uint64_t first, last;

        memcpy(&first, from, 8);
        memcpy(&last, from + size - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + size - 8, &last, 8);
    } else if (size >= 4) {
        uint32_t first, last;

        memcpy(&first, from, 4);
        memcpy(&last, from + size - 4, 4);
        memcpy(to, &first, 4);
        memcpy(to + size - 4, &last, 4);
    } else if (size > 0) {
        to[0] = from[0];
        to[size / 2] = from[size / 2];
        to[size - 1] = from[size - 1];
    }
}

/* broker_task_new makes a task with a copy of (or a reference to) its payload; NULL: no memory. */
struct broker_task *broker_task_new(struct broker_core *core, struct broker_class *class,
                                    const struct wire_entry *entry);
/* broker_task_end frees a task, which is in no list, and its id. */
void broker_task_end(struct broker_core *core, struct broker_task *task);
void broker_task_drop_payload(struct broker_core *core, struct broker_task *task);
struct broker_extra *broker_task_extra(struct broker_core *core, struct broker_task *task);
/* broker_task_detach takes a task out of wherever it is (a queue, a worker, ...). */
void broker_task_detach(struct broker_core *core, struct broker_task *task);
/* broker_task_tell tells the client how a task ended, which is then to be ended. False: no memory. */
bool broker_task_tell(struct broker_core *core, const struct broker_task *task, enum wire_kind kind,
                      const void *data, size_t size, struct wire_blob *large);
/* broker_task_fail ends a detached task with an error of the broker's making. It never fails. */
void broker_task_fail(struct broker_core *core, struct broker_task *task, enum wire_kind kind,
                      const struct wire_error *error);
/* broker_task_cancelled ends a detached task that was cancelled. It never fails. */
void broker_task_cancelled(struct broker_core *core, struct broker_task *task);
/* broker_task_started takes note that a LEASED task runs: it can be late no more. */
void broker_task_started(struct broker_core *core, struct broker_task *task);
/* broker_task_unmake frees a NEW task that never got its slot. */
void broker_task_unmake(struct broker_core *core, struct broker_task *task);
void broker_task_timer(struct broker_core *core, struct broker_task *task);
/* broker_tasks_came: several were made: there will be a time to give their memory back. */
void broker_tasks_came(struct broker_core *core);
void broker_tasks_trim(struct broker_core *core);
/* broker_tasks_failing tries again to tell the ends that could not be told. */
void broker_tasks_failing(struct broker_core *core);

/* For each state those that may follow it, as bits. */
extern const uint16_t broker_task_allowed[BROKER_TASK_STATES];

/* broker_task_set_state is the only one to set a task's state, after the one that it begins with. */
static inline void broker_task_set_state(struct broker_task *task, enum broker_task_state to) {
    BASE_ASSERT((broker_task_allowed[task->state] >> to & 1) != 0);
    task->state = (uint8_t)to;
}

/* broker_task_init fills a record in; entry: of a SUBMIT. A payload that fits into it is copied. */
static inline void broker_task_init(struct broker_task *task, struct broker_class *class,
                                    const struct wire_entry *entry, uint32_t index) {
    task->class = class;
    task->worker = NULL;
    task->id = entry->values[0];
    task->lease = index;
    task->size = (uint32_t)entry->size;
    task->attempt = (uint16_t)entry->key[1];
    task->state = BROKER_TASK_NEW;
    task->flags = entry->key[1] > 1 ? BROKER_TASK_STARTED : 0;
    if (BASE_LIKELY(entry->size <= BROKER_INLINE_BYTES)) {
        broker_copy_short(task->payload.bytes, entry->data, entry->size);
    }
}

static inline uint32_t broker_task_index(const struct broker_task *task) {
    return (uint32_t)(task->lease & BROKER_INDEX_MASK);
}
static inline const void *broker_task_data(const struct broker_task *task) {
    if (task->size <= BROKER_INLINE_BYTES) {
        return task->payload.bytes;
    }
    return task->size < WIRE_LARGE_BYTES_MIN ? task->payload.copy : task->payload.blob->data;
}
static inline struct wire_blob *broker_task_blob(const struct broker_task *task) {
    return task->size < WIRE_LARGE_BYTES_MIN ? NULL : task->payload.blob;
}

/* ---- queue.c ---- */

/* broker_queue_get finds or makes the queue for a class. NULL: *fault, or (code 0) no memory. */
struct broker_queue *broker_queue_get(struct broker_core *core, struct broker_client *client,
                                      const struct wire_define *define, struct wire_fault *fault);
void broker_queue_free(struct broker_core *core, struct broker_queue *queue);
/* broker_offer_get finds or makes the offer of a worker. NULL: *fault, or (code 0) no memory. */
struct broker_offer *broker_offer_get(struct broker_core *core, const struct wire_hello *hello,
                                      struct wire_fault *fault);
/* broker_offer_release frees an offer that has no worker left. */
void broker_offer_release(struct broker_core *core, struct broker_offer *offer);
/* broker_queue_add queues a task, which is in no list, as QUEUED: at the end, or at the front. */
void broker_queue_add(struct broker_core *core, struct broker_task *task, bool front);
/* broker_queue_taken: the task was QUEUED and has been taken out of its list. */
void broker_queue_taken(struct broker_core *core, struct broker_queue *queue, uint32_t count);
/* broker_queue_wake makes its resting views ready. */
void broker_queue_wake(struct broker_core *core, struct broker_queue *queue);
void broker_view_rest(struct broker_core *core, struct broker_view *view);
/* broker_demand_watch starts or stops the clock of a demand that nobody offers. */
void broker_demand_watch(struct broker_core *core, struct broker_demand *demand);
void broker_demands_watch(struct broker_core *core);
void broker_demand_timer(struct broker_core *core, struct broker_demand *demand);
void broker_offer_activate(struct broker_core *core, struct broker_offer *offer);

/* ---- schedule.c ---- */

void broker_dispatch(struct broker_core *core);
/* broker_lease gives a task, which is in no list, to a worker. False: no memory, nothing happened. */
bool broker_lease(struct broker_core *core, struct broker_worker *worker,
                  const struct broker_service *service, struct broker_task *task);
/* broker_worker_place puts a worker into the ring where it belongs now. To be called whenever one
 * of the things that this depends on has changed. */
void broker_worker_place(struct broker_core *core, struct broker_worker *worker);

/* ---- suspects.c ---- */

void broker_dispatch_suspects(struct broker_core *core);
/* broker_suspect has a detached task run alone. */
void broker_suspect(struct broker_core *core, struct broker_task *task);
/* broker_suspect_taken takes a SUSPECT out of its list. */
void broker_suspect_taken(struct broker_core *core, struct broker_task *task);
void broker_worker_unreserve(struct broker_core *core, struct broker_worker *worker);
void broker_demand_unreserve(struct broker_core *core, struct broker_demand *demand);

/* ---- worker.c ---- */

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
uint64_t broker_worker_horizon(const struct broker_worker *worker);

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

/* ---- recall.c ---- */

/* broker_recall asks for one lease; broker_recall_more for `count` others that have not started. */
bool broker_recall(struct broker_core *core, struct broker_task *task);
void broker_recall_more(struct broker_core *core, struct broker_worker *worker, uint32_t count);
bool broker_interrupt(struct broker_core *core, struct broker_worker *worker, uint64_t lease);
/* broker_abandon lets a leased task that its client no longer wants end at its worker. */
void broker_abandon(struct broker_core *core, struct broker_task *task);
void broker_offer_timer(struct broker_core *core, struct broker_offer *offer);
/* broker_recall_watch sees to it that the offer is looked at when there may be something to recall. */
void broker_recall_watch(struct broker_core *core, struct broker_offer *offer);

/* ---- recover.c ---- */

broker_handler broker_on_child_died;
/* broker_requeue queues a task again that was LEASED and is detached: in front, or alone. */
void broker_requeue(struct broker_core *core, struct broker_task *task);
/* broker_worker_lost takes back all that a worker has whose session is gone, and the session. */
enum broker_loss { BROKER_LOSS_SILENCE, BROKER_LOSS_BYE, BROKER_LOSS_DEATH, BROKER_LOSS_REVOKED };
void broker_worker_lost(struct broker_core *core, struct broker_worker *worker,
                        enum broker_loss loss);
void broker_worker_grace(struct broker_core *core, struct broker_worker *worker);

/* ---- inspect.c, explain.c ---- */

struct broker_session *broker_admin_new(struct broker_core *core, const struct wire_hello *hello);
/* broker_admin_clear ends the list that it reads. */
void broker_admin_clear(struct broker_admin *admin);
void broker_admin_leave(struct broker_core *core, struct broker_admin *admin);
broker_handler broker_on_ping, broker_on_list, broker_on_explain, broker_on_retire;
/* broker_session_retire has a worker or supervisor leave. False: no memory. */
bool broker_session_retire(struct broker_core *core, struct broker_session *session);
/* broker_peer_state tells how a peer stands, as admins are told: of enum wire_peer_state. */
uint64_t broker_peer_state(struct broker_session *session);
static inline struct wire_text broker_text_of(const char *text) {
    return (struct wire_text){text, strlen(text)};
}
/* broker_worker_no_room charges the task that made a RUN so large that its worker has no memory for
 * it, and queues the others of it again. */
void broker_worker_no_room(struct broker_core *core, struct broker_worker *worker,
                           struct wire_batch *batch, uint64_t bytes);

/* ---- no_room.c ---- */

/* broker_no_room: a client or worker has no memory for a message of ours. */
enum broker_handled broker_no_room(struct broker_core *core, struct broker_session *session,
                                   const struct wire_coming *coming);

/* ---- claims.c ---- */

broker_handler broker_on_claims;
/* broker_settle_begin starts the settling time, if it has not been. */
void broker_settle_begin(struct broker_core *core);
void broker_settle_end(struct broker_core *core);
/* broker_claim_match looks whether a worker has claimed this new task of a client, and gives it what
 * is due. DONE: it did, and the task is no longer the caller's; REFUSED: nobody did. */
enum broker_handled broker_claim_match(struct broker_core *core, struct broker_task *task);
/* broker_claim_result: a result for a lease that is only claimed. REFUSED: it isn't. */
enum broker_handled broker_claim_result(struct broker_core *core, struct broker_worker *worker,
                                        const struct wire_entry *entry);
/* broker_claim_drop forgets a claim of this worker, if there is one. */
void broker_claim_drop(struct broker_core *core, struct broker_worker *worker, uint64_t lease);
void broker_claim_free(struct broker_core *core, struct broker_claim *claim);
void broker_claim_timer(struct broker_core *core, struct broker_claim *claim);

#endif
