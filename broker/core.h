/* The broker's core: accepts tasks from clients, queues them, leases them to workers, passes
 * results back (docs/protocol.md). Pure: step(core, now, event) -> actions. It decodes and encodes
 * messages itself; the shell only moves them between addresses.
 *
 * Use: one broker_step for each message that is there (but see broker_wants_flush), then one with
 * BROKER_FLUSH, which dispatches and finishes the batches that have formed; after each step carry out
 * the actions. The same core runs in furrow-broker, embedded in `processes:`, and in the simulator. */
#ifndef BROKER_CORE_H
#define BROKER_CORE_H

#include "base/memory.h"
#include "broker/meter.h"
#include "wire/message.h"

struct broker_core;

struct broker_config {
    uint64_t epoch;             /* random, not 0 */
    uint64_t seed;              /* for choices and hashes */
    uint64_t heartbeat_ns;      /* told to dialers; default 1 s */
    uint64_t silence_ns;        /* default 10 s */
    uint64_t settle_ns;         /* default 500 ms */
    uint64_t no_function_ns;    /* how long a class may wait that no connected worker offers while
                                 there is any worker, before its tasks fail; default 3 s */
    uint64_t child_grace_ns;    /* after CHILD_DIED: how long results that were on their way still
                                 count for tasks that were not running; default 10 ms */
    uint64_t memory_bytes;      /* tasks and payloads held, over all clients; default 4 GiB */
    uint32_t tasks_max;         /* queued and leased, over all clients; default 8,388,608 */
    uint32_t client_tasks_max;  /* of one client; default as tasks_max */
    uint32_t sessions_max;      /* default 65,536 */
    struct base_memory *memory; /* for task records, in pieces of one size; borrowed for the core's
                                   life; NULL: malloc */
    const char *host;           /* for errors that the broker makes; borrowed for the core's life */
    const char *version;        /* told to admins; likewise; NULL: none */
    int64_t pid;
    bool authenticate; /* the transport tells peers apart by keys: a HELLO without one is refused */
};
/* broker_config_default fills in the defaults; epoch, seed, memory, host and pid are the caller's. */
void broker_config_default(struct broker_config *config);

/* broker_new: NULL without memory. */
struct broker_core *broker_new(const struct broker_config *config, uint64_t now_ns);
void broker_free(struct broker_core *core);

/* Where a message came from or goes to; the shell's number, never reused while in use. */
typedef uint64_t broker_address;

/* What a key may do. A key that may do nothing is one that nobody has allowed. */
enum broker_right {
    BROKER_MAY_SUBMIT = 1, /* HELLO as a client */
    BROKER_MAY_WORK = 2,   /* as a worker, or a supervisor */
    BROKER_MAY_ADMIN = 4,  /* as an admin */
};
#define BROKER_KEY_BYTES 32u
#define BROKER_NO_QUOTA  UINT64_MAX

/* Whom the transport has authenticated (docs/protocol.md section 10). */
struct broker_identity {
    uint8_t key[BROKER_KEY_BYTES]; /* the public one */
    unsigned rights;               /* of enum broker_right */
    uint64_t tasks_max, bytes_max; /* that all its sessions together may have here: at least 1, or
                                      BROKER_NO_QUOTA */
};
/* broker_may: whether a peer of this identity may say HELLO in a role, by its number on the wire. */
bool broker_may(const struct broker_identity *identity, unsigned role);

enum broker_event_type {
    BROKER_RECEIVE, /* a message came from an address */
    BROKER_TICK,    /* broker_deadline has come */
    BROKER_FLUSH,   /* nothing more to receive now: dispatch, and send what has formed */
    BROKER_DRAIN,   /* accept no new tasks (REJECT 7), finish what is there, then BROKER_DRAINED */
    BROKER_AUTHORIZE, /* what a key may do has changed: sessions that it may not have now end */
};
struct broker_event {
    enum broker_event_type type;
    broker_address from;
    struct wire_message *message; /* borrowed; the core takes references of its own */
    /* Borrowed. RECEIVE: whose connection the address is; looked at with a HELLO only, since an address
     * stays with its connection. NULL: the transport doesn't authenticate, and everybody may do
     * everything, unless config.authenticate is set. AUTHORIZE: the key, and its new rights. */
    const struct broker_identity *identity;
};

enum broker_action_type {
    BROKER_SEND,    /* send message to address; the reference is the shell's */
    BROKER_FORGET,  /* the session behind the address is gone; the shell may drop what it keeps */
    BROKER_LOG,     /* text and fields are for the log, at info or warn */
    BROKER_DRAINED, /* nothing is left and all workers were told to stop */
};
struct broker_action {
    enum broker_action_type type;
    broker_address to;
    struct wire_message *message;
    bool warn;
    const char *text;   /* until the next step */
    const char *fields; /* likewise: key=value pairs, as base/log.h has them; "" for none */
};

/* broker_step never fails: what can't be done for lack of memory is rejected or left to the
 * link's resending. Actions of the last step are void after it. */
void broker_step(struct broker_core *core, uint64_t now_ns, const struct broker_event *event);
/* broker_actions gives the actions of the last step, to be carried out in order, exactly once. */
const struct broker_action *broker_actions(const struct broker_core *core, size_t *count);
uint64_t broker_deadline(const struct broker_core *core);
/* broker_wants_flush: so many tasks and results have come since the last FLUSH that a batch gains
 * nothing by more of them. Where peers should not wait for each other the next step is a FLUSH, even if
 * there is more to receive. */
bool broker_wants_flush(const struct broker_core *core);

struct broker_stats {
    uint32_t clients, workers, supervisors, admins;
    uint32_t tasks_queued, tasks_leased;
    uint64_t memory_bytes;
    uint64_t submitted, finished, failed, cancelled, reruns, stale_results, recalled, rejected;
    uint64_t alone;   /* times that a task ran alone on a worker, as it may have killed one */
    uint64_t retried; /* failed tasks that were tried again, as asked for */
    uint64_t no_room; /* messages that their receiver had no memory for */
    uint64_t
        clogged; /* times that tasks were held back, since too much was under way to their client */
};
/* broker_check looks at everything, for tests: what in the core's books is wrong, or NULL. To be
 * called between steps. */
const char *broker_check(struct broker_core *core);
void broker_get_stats(const struct broker_core *core, struct broker_stats *stats);

/* What metrics show besides. */
struct broker_report {
    struct broker_histogram waits, runs; /* from queued to leased; at the workers */
    uint64_t slots;                      /* of all workers */
    uint64_t memory_max;
};
void broker_get_report(const struct broker_core *core, struct broker_report *report);

#endif
