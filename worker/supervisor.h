/* Starts worker processes, watches them, replaces them: for furrow-worker, and for `processes:` from
 * the I/O loop of the library. It has no thread, no signal handler and no SIGCHLD, waits for nobody's
 * children but its own, and leaves no descriptor open for them but those they need.
 *
 * A child is this program (or another) run again with --furrow-child=...; it never has a copy of the
 * parent's memory. It has a process group of its own, so that a task's own children die with it, and
 * it dies with its parent: by a pipe whose other end only the parent has.
 *
 *   spawned --ready--> alive --died--> replaced (at once; with a back-off if children keep dying
 *                        |             before they have finished a single task)
 *                        `--retiring--> replaced, and goes on until it has finished
 *
 * All functions are called by one thread at a time. None blocks, except close. */
#ifndef WORKER_SUPERVISOR_H
#define WORKER_SUPERVISOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/log.h"
#include "wire/message.h"

struct worker_supervisor;
struct wire_shared_home;

/* Everything in it is copied by worker_supervisor_open, except `log`, which is borrowed. */
struct worker_supervisor_config {
    const char *program;        /* what is run; NULL: this program itself */
    const char *argv0;          /* what it is called in ps; NULL: "furrow-worker" */
    unsigned count;             /* worker processes, 1 to WORKER_CHILDREN_MAX */
    unsigned threads;           /* pool threads in each, 1 to BASE_POOL_THREADS_MAX */
    const char *endpoint;       /* of the broker, as ZeroMQ wants it */
    const char *key, *server;   /* file of the children's secret key, and the broker's public key as
                                   text; NULL: none */
    const char *name;           /* children are called "<name>-1", ...; NULL: "worker" */
    const char *const *modules; /* paths */
    uint32_t module_count;
    const char *const *tags;
    uint32_t tag_count;
    const char *initializer; /* a task function that each child runs first; NULL: none */
    const void *initializer_args;
    size_t initializer_args_size;
    uint64_t tasks_max;            /* each child is replaced after so many; 0: never */
    uint64_t grace_ns;             /* see worker/core.h; 0: the default */
    struct wire_shared_home *home; /* memory to be shared with the children, borrowed until close;
                                      NULL: none */
    bool on_demand;                /* start no child before worker_supervisor_want */
    const struct base_log *log;    /* also for what children say; NULL: nothing is logged */
};

#define WORKER_CHILDREN_MAX 1024u

/* worker_supervisor_open makes a supervisor; its first children are started by the first
 * worker_supervisor_next. Returns 0 and the supervisor, or an errno:
 *   EINVAL  a number out of range, too many tags, no endpoint
 *   ENOMEM, EMFILE, ENFILE */
int worker_supervisor_open(const struct worker_supervisor_config *config,
                           struct worker_supervisor **supervisor);

/* worker_supervisor_want says how many children there shall be: up to config.count (more is taken as
 * that). Fewer than there are: none is stopped, but dead ones are no longer replaced. */
void worker_supervisor_want(struct worker_supervisor *supervisor, unsigned count);

/* worker_supervisor_fd is readable when there is something to do; one for all children, for as long as
 * the supervisor lives. worker_supervisor_deadline is when to call worker_supervisor_next without it
 * (absolute, base_clock_ns; UINT64_MAX for never). */
int worker_supervisor_fd(const struct worker_supervisor *supervisor);
uint64_t worker_supervisor_deadline(const struct worker_supervisor *supervisor);

enum worker_supervisor_event_type {
    WORKER_CHILD_STARTED, /* the process is there */
    WORKER_CHILD_READY,   /* its modules are loaded, its initializer has run, it serves */
    WORKER_CHILD_RETIRING, /* it has had its tasks_max, or has been asked to end; it finishes what it has */
    WORKER_CHILD_DIED,      /* it is gone, its descriptors too */
    WORKER_CHILDREN_FAILED, /* a child can't be started at all, can't load its modules, or its
                               initializer failed: no further child is started; text says why */
};

/* Everything in it is valid until the next call with this supervisor. */
struct worker_supervisor_event {
    enum worker_supervisor_event_type type;
    struct wire_session session; /* the child's */
    pid_t pid;
    /* DIED: */
    int signal;    /* that killed it, or 0 */
    int exit_code; /* if signal is 0 */
    bool expected; /* it was told to end, or had finished, or ended itself because a task had to be
                      stopped: nobody is to blame */
    const uint64_t *running; /* the leases of the tasks that were running at that moment */
    uint32_t running_count;
    uint64_t finished; /* so many tasks it had finished */
    uint32_t
        futile; /* so many in a row have died by now, and no child has finished a task between */
    /* FAILED, and DIED if the child had something to say: */
    const char *text; /* else NULL */
    bool initializer; /* FAILED: it was the initializer */
};

/* worker_supervisor_next gives what has happened, one event after the other, and starts children.
 * Returns false when there is nothing more now. */
bool worker_supervisor_next(struct worker_supervisor *supervisor, uint64_t now_ns,
                            struct worker_supervisor_event *event);

/* worker_supervisor_stop: no child is started any more, and each is asked to finish what it runs, to
 * return the rest and to end. A child that gets SIGTERM does the same. */
void worker_supervisor_stop(struct worker_supervisor *supervisor);

/* worker_supervisor_interrupt is a stop that also asks what runs to end (furrow_task_cancelled). */
void worker_supervisor_interrupt(struct worker_supervisor *supervisor);

/* worker_supervisor_signal sends a signal to all children: to their whole process groups. Their deaths
 * count as expected; they are replaced all the same, unless stop or interrupt came before. Dead or
 * missing ones are no error. */
void worker_supervisor_signal(struct worker_supervisor *supervisor, int signal_number);

/* worker_supervisor_alive counts children that are not known to be dead. */
unsigned worker_supervisor_alive(const struct worker_supervisor *supervisor);

/* worker_supervisor_close kills what is left (SIGKILL, whole groups), waits for it, which is a matter
 * of milliseconds, and frees the supervisor. NULL is fine. */
void worker_supervisor_close(struct worker_supervisor *supervisor);

#endif
