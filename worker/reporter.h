/* The supervisor's own session with a broker: it tells of worker processes that have died
 * (CHILD_DIED, docs/protocol.md section 7), until the broker has it. Pure: time is passed in, what is
 * to be sent is taken out. */
#ifndef WORKER_REPORTER_H
#define WORKER_REPORTER_H

#include "wire/message.h"

struct worker_reporter;

struct worker_reporter_config {
    struct wire_session session;
    uint64_t seed;
    const char *name, *host; /* borrowed for the reporter's life */
    int64_t pid;
};

/* worker_reporter_new: NULL without memory. It says no HELLO before the first reconnected. */
struct worker_reporter *worker_reporter_new(const struct worker_reporter_config *config,
                                            uint64_t now_ns);
void worker_reporter_free(struct worker_reporter *reporter); /* NULL is fine */

/* worker_reporter_died takes note of a death, to be told as soon as there is a broker. A broker that
 * comes later is told too, as long as none has acknowledged it. False: no memory. */
bool worker_reporter_died(struct worker_reporter *reporter, const struct wire_child_died *died);
void worker_reporter_receive(struct worker_reporter *reporter, uint64_t now_ns,
                             struct wire_message *message); /* borrowed */
void worker_reporter_reconnected(struct worker_reporter *reporter, uint64_t now_ns);
/* worker_reporter_leave says BYE after all that is to be told. */
void worker_reporter_leave(struct worker_reporter *reporter);

/* worker_reporter_step does what is due, and has to be called after any of the above and at
 * worker_reporter_deadline. */
void worker_reporter_step(struct worker_reporter *reporter, uint64_t now_ns);
uint64_t worker_reporter_deadline(const struct worker_reporter *reporter);

/* worker_reporter_take gives the next message to be sent, whose reference is the caller's; NULL: there
 * is none now. */
struct wire_message *worker_reporter_take(struct worker_reporter *reporter);
/* worker_reporter_wants_reconnect tells, once each, that a new connection should be made. */
bool worker_reporter_wants_reconnect(struct worker_reporter *reporter);

enum worker_reporter_state {
    WORKER_REPORTER_WAITING, /* for a broker */
    WORKER_REPORTER_UP,
    WORKER_REPORTER_REFUSED, /* for ever: see the text */
    WORKER_REPORTER_LEFT,    /* BYE is acknowledged, or nobody has ever known us */
};
enum worker_reporter_state worker_reporter_state(const struct worker_reporter *reporter);
/* worker_reporter_stopped: the broker has told us to end our worker processes, and to start no more. */
bool worker_reporter_stopped(const struct worker_reporter *reporter);
/* worker_reporter_text is why it was refused. */
const char *worker_reporter_text(const struct worker_reporter *reporter);

#endif
