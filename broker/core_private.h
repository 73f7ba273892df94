/* Inside the broker's core: what its files share.
 *
 *   core.c      steps, actions, timers, statistics
 *   router.c    what comes in: which message is for whom, and from whom it is allowed
 *   session.c   the link of one session: HELLO, losing, leaving
 *   outbox.c    what goes out of a session
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
 * What a file has for the others stands in the header of its name; submit.c's is client.h, results.c's
 * worker.h, suspects.c's schedule.h, and admin.h is that of inspect.c and explain.c. core.c's is this one.
 *
 * Nothing is sent in the middle of a step but HELLO's answers, REJECT, RESUME and heartbeats: what
 * handlers put into writers goes out at BROKER_FLUSH. So a message for which there was no memory can
 * still be declined (link_decline), and comes again. */
#ifndef BROKER_CORE_PRIVATE_H
#define BROKER_CORE_PRIVATE_H

#include <string.h>

#include "base/assert.h"
#include "base/buffer.h"
#include "base/list.h"
#include "base/map.h"
#include "base/rng.h"
#include "base/slab.h"
#include "broker/core.h"
#include "broker/rivals.h"
#include "broker/timer.h"
#include "wire/message.h"

struct broker_session;

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
    struct base_list uneven;     /* offers that may have something to recall */
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
    struct broker_rivals submitters; /* of SUBMIT */
    bool settled;                    /* the settling time is over */
    bool settling;                   /* it runs */
    bool draining;                   /* no new tasks are accepted */
    bool stopped;                    /* nothing is left, and the workers were told */
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
/* broker_starve remembers that memory was short: there will be a TICK soon. */
void broker_starve(struct broker_core *core);
/* broker_after adds a duration to now, and stays below "never". */
uint64_t broker_after(const struct broker_core *core, uint64_t duration_ns);
/* broker_text copies a text, terminated; NULL: no memory. */
char *broker_text(struct wire_text text);
static inline struct wire_text broker_text_of(const char *text) {
    return (struct wire_text){text, strlen(text)};
}

#endif
