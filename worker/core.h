/* The worker's core: one session with a broker; takes leases, hands them to the pool, reports
 * results in batches (docs/protocol.md). Pure: step(core, now, event) -> actions. */
#ifndef WORKER_CORE_H
#define WORKER_CORE_H

#include "wire/message.h"

struct worker_core;

struct worker_config {
    struct wire_session session;
    uint64_t seed;
    uint32_t slots;          /* pool threads */
    uint64_t tasks_max;      /* leave after so many tasks (max_tasks_per_child); 0: never */
    const char *name, *host; /* borrowed for the core's life */
    int64_t pid;
    const char *const *functions; /* borrowed for the core's life; RUN names them by position */
    uint32_t function_count;
    const char *const *tags; /* borrowed likewise */
    uint32_t tag_count;
    uint64_t grace_ns;    /* from the end of a task's run_ms to its death; 0: the default, 1 s */
    bool await_transport; /* say no HELLO before the first WORKER_RECONNECTED */
    /* Whether there is memory to receive a message of so many bytes; NULL: always. */
    bool (*has_room)(void *user, uint64_t bytes);
    void *room_user;
};

/* worker_core_new: NULL without memory. */
struct worker_core *worker_core_new(const struct worker_config *config, uint64_t now_ns);
/* worker_core_free: tasks that the shell still runs may no longer be touched. NULL is fine. */
void worker_core_free(struct worker_core *core);

struct worker_limit;

/* A task that this worker holds. The core makes and frees it (from blocks: no malloc a task); the
 * shell runs it. Two cache lines: the first is only read while the task runs, the second is the shell's. */
struct worker_task {
    uint64_t lease;
    uint64_t id;                        /* the client's */
    const struct wire_session *session; /* likewise; as long as the task */
    const uint8_t *data;                /* arguments; as long as the task */
    union {
        struct wire_message *message; /* the core's: keeps data alive */
        struct worker_task *free;     /* the core's, too: the next of those that are no task */
    };
    uint32_t size;
    uint32_t arrival;  /* the core's */
    uint16_t function; /* position in the config's list */
    uint16_t attempt;
    uint8_t flags; /* enum wire_task_flag */
    uint8_t state; /* the core's, as is what follows but `shell` */
    uint8_t marks;
    struct worker_limit *limit;
    /* The shell's: pool node, cancel flag, ...; zeroed when the task is made. */
    uint64_t shell[8];
};
/* WORKER_START gives tasks to the shell. WORKER_FINISHED, or WORKER_WITHDRAWN with `withdrawn`, gives
 * each of them back: exactly one of them, once. */

/* What a task has come to. */
struct worker_outcome {
    struct worker_task *task;
    const void *data; /* borrowed for the step */
    size_t size;
    struct wire_blob *large; /* the same bytes, if they are a blob already; or NULL */
    enum wire_kind kind;
};

enum worker_event_type {
    WORKER_RECEIVE,   /* a message from the broker */
    WORKER_FINISHED,  /* the pool ran tasks: outcomes; the core frees the tasks */
    WORKER_WITHDRAWN, /* answer to WORKER_WITHDRAW: taken back (true) or already started (false) */
    WORKER_BEGAN, /* a task has been running for 5 ms or more, busy_ns says how long: RUNNING is to
                         be sent, and a run limit counts from then; at most once for each task */
    WORKER_RECONNECTED, /* the transport says so: HELLO is due */
    WORKER_TICK,
    WORKER_FLUSH, /* nothing more to take in now: send what has formed; ends every round of events */
    WORKER_DRAIN, /* stop: SIGTERM or the supervisor's wish */
};
struct worker_event {
    enum worker_event_type type;
    struct wire_message *message; /* RECEIVE: borrowed */
    struct worker_task *task;     /* WITHDRAWN, BEGAN */
    bool withdrawn;
    const struct worker_outcome *outcomes; /* FINISHED: `count` of them, borrowed for the step */
    uint32_t count;
    uint64_t
        busy_ns; /* FINISHED: how long they ran, all together. Of several events in a row one may
                         have the sum. BEGAN: how long it has run */
};

enum worker_action_type {
    WORKER_SEND,     /* message; the reference is the shell's */
    WORKER_START,    /* hand `count` tasks to the pool. Those `ahead` are to start before what waits
                         there already, in their order; a step has at most one START of either sort */
    WORKER_WITHDRAW, /* try to take task back from the pool; answer with WORKER_WITHDRAWN, in the
                         same order, before any other event */
    WORKER_INTERRUPT, /* tell the running task to end */
    WORKER_RECONNECT, /* the link has been silent for long: make a new connection */
    WORKER_KILL,     /* a task did not end after its run limit, and its outcome is sent: the process
                         must die now (text says why), so that the supervisor makes a new one */
    WORKER_LEAVE,    /* all is done and acknowledged, or refused for ever (text says why): exit */
    WORKER_RETIRING, /* tasks_max reached: a replacement may be started now */
    WORKER_LOG,
};
struct worker_action {
    enum worker_action_type type;
    struct wire_message *message;
    struct worker_task *task;         /* WITHDRAW, INTERRUPT */
    struct worker_task *const *tasks; /* START: `count` of them, in order; until the next RECEIVE */
    uint32_t count;
    bool ahead;       /* START */
    bool warn;        /* LOG; LEAVE: refused for ever */
    const char *text; /* until the next step; LEAVE: NULL if all is well */
};

void worker_step(struct worker_core *core, uint64_t now_ns, const struct worker_event *event);
const struct worker_action *worker_actions(const struct worker_core *core, size_t *count);
uint64_t worker_deadline(const struct worker_core *core);

struct worker_stats {
    uint32_t held; /* leases: waiting, running, or finished and not yet sent */
    bool connected;
    uint64_t finished;
};
void worker_get_stats(const struct worker_core *core, struct worker_stats *stats);

#endif
