/* The initializers that came with tasks: which clients' have run in this process, so that each runs once
 * (docs/protocol.md section 3.1). Thread-safe; the lanes of a process share one table. */
#ifndef WORKER_INITIALIZERS_H
#define WORKER_INITIALIZERS_H

#include "task/context.h"
#include "wire/message.h"

/* So many clients are remembered. */
#define WORKER_INITIALIZERS_MAX       256u
#define WORKER_INITIALIZER_TEXT_BYTES 256u

struct worker_initializers;

/* worker_initializers_new: `max` clients are remembered, those that were served last. NULL: no memory. */
struct worker_initializers *worker_initializers_new(unsigned max);
/* worker_initializers_free: nobody is inside. NULL is fine. */
void worker_initializers_free(struct worker_initializers *initializers);

enum worker_initializer_turn {
    WORKER_INITIALIZER_RUN,  /* the caller is to run it, and then to call worker_initializer_ran */
    WORKER_INITIALIZER_DONE, /* it has run, and succeeded */
    WORKER_INITIALIZER_BAD,  /* it has run, and failed: *end says how */
    WORKER_INITIALIZER_NO_MEMORY,
};

/* How an initializer ended. If it failed, the text is "the initializer set_up failed ...". */
struct worker_initializer_end {
    bool failed;
    int32_t code;
    char text[WORKER_INITIALIZER_TEXT_BYTES];
};

/* worker_initializer_enter tells what is to be done about a client's initializer before a task of it. It
 * blocks while another thread runs that. */
enum worker_initializer_turn worker_initializer_enter(struct worker_initializers *initializers,
                                                      const struct wire_session *session,
                                                      struct worker_initializer_end *end);
/* worker_initializer_ran tells everybody how it ended; `end` is copied. */
void worker_initializer_ran(struct worker_initializers *initializers,
                            const struct wire_session *session,
                            const struct worker_initializer_end *end);

/* worker_initialized_run is task_run for a task with WIRE_FLAG_INITIALIZED: it takes the initializer off
 * the arguments (call->arguments and size are then the task's own) and runs it first if need be, in the
 * same context. If that fails, now or before, the outcome is of WIRE_KIND_BROKEN, and its error's function
 * is the initializer's. *failed_now gets whether it failed in this very call, which is to be logged; *end then says how. */
struct task_outcome worker_initialized_run(struct worker_initializers *initializers,
                                           furrow_task *context, const struct wire_session *session,
                                           struct task_call *call, bool *failed_now,
                                           struct worker_initializer_end *end);

#endif
