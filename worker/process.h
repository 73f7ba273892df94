/* Inside a worker process:
 *
 *   child.c          what it begins and ends with
 *   child_loop.c     the I/O thread (the main one): core, socket, supervisor
 *   child_lanes.c    the pool threads: they run tasks and hand over outcomes
 *
 *   I/O thread                         pool threads ("lanes")
 *   ----------                         ----------------------
 *   WORKER_START -> base_pool  ------> task_run, outcome kept in the task
 *   WORKER_FINISHED  <----- ring ----- noted at once; the wake-up comes later, once for a group
 *
 * A lane that has more to do does not wake the I/O thread for each task, but when a group of tasks has
 * taken GROUP_NS, or there is nothing more to do. What it has finished is in its ring all the same, so
 * that the I/O thread finds it whenever it looks; and while something runs it looks at least every
 * SAMPLE_NS, so that no outcome waits behind a long task for longer than that. */
#ifndef WORKER_PROCESS_H
#define WORKER_PROCESS_H

#include <furrow.h>

#include <stdatomic.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/pool.h"
#include "base/wake.h"
#include "task/context.h"
#include "task/module.h"
#include "task/registry.h"
#include "worker/core.h"
#include "worker/dealer.h"
#include "worker/wiring.h"

#define WORKER_GROUP_NS  UINT64_C(25000)
#define WORKER_GROUP_MAX 1024u
/* How often the I/O thread looks at what runs, and from when on that counts as long. */
#define WORKER_SAMPLE_NS (2 * BASE_CLOCK_NS_PER_MS)
#define WORKER_LONG_NS   (5 * BASE_CLOCK_NS_PER_MS)

/* ---- a task, as this process sees it ---- */

#define WORKER_INLINE_BYTES 24

enum worker_kept {
    WORKER_KEPT_INLINE,
    WORKER_KEPT_STATIC, /* somewhere for ever */
    WORKER_KEPT_CHUNK,  /* in a chunk of its lane */
    WORKER_KEPT_BLOB,
};

struct worker_chunk;

/* What worker_task.shell is. */
struct worker_run {
    struct base_work work; /* the pool's, from START until it is started or withdrawn */
    atomic_uint cancel;
    uint8_t kind;   /* enum wire_kind */
    uint8_t kept;   /* enum worker_kept */
    bool withdrawn; /* the I/O thread's own */
    bool reported;  /* likewise: as running long */
    uint64_t size;
    union {
        uint8_t bytes[WORKER_INLINE_BYTES];
        struct {
            const uint8_t *data;
            union {
                struct worker_chunk *chunk;
                struct wire_blob *blob;
            };
        };
    };
};
_Static_assert(sizeof(struct worker_run) <= sizeof(((struct worker_task *)0)->shell),
               "the core has room for it");

static inline struct worker_run *worker_run_of(struct worker_task *task) {
    return (struct worker_run *)(void *)task->shell;
}

static inline struct worker_task *worker_task_of(struct worker_run *run) {
    return (struct worker_task *)(void *)((char *)run - offsetof(struct worker_task, shell));
}

/* ---- lanes ---- */

struct worker_process;

#define WORKER_RING WIRE_WORKER_LEASES_MAX /* as many tasks as there can be: it never overflows */
_Static_assert((WORKER_RING & (WORKER_RING - 1)) == 0, "positions in the ring are masked");

struct worker_lane {
    /* the lane's own, but for reading */
    _Alignas(64) _Atomic(struct worker_task *) current; /* what it runs */
    atomic_uint finished;                               /* tasks put into the ring, altogether */
    _Atomic uint64_t busy_ns;                           /* spent in tasks, altogether */
    struct worker_box_slot *slot;
    furrow_task *context;
    struct worker_chunk *chunk;
    uint64_t group_ns; /* when the group began; 0: there is none */
    unsigned group_size, in_group;
    /* the I/O thread's */
    _Alignas(64) uint64_t seen_lease, seen_ns;
    unsigned taken; /* tasks taken out of the ring, altogether */
    /* both's */
    struct worker_task **ring;
};

enum worker_initialized { WORKER_INITIALIZING, WORKER_INITIALIZED, WORKER_INITIALIZER_FAILED };

struct worker_process {
    struct worker_settings settings;
    struct task_function_list functions;
    struct task_module **modules;
    const furrow_function *initializer;
    struct base_log log;
    struct base_pool *pool;
    struct worker_lane *lanes;
    struct base_wake wake;
    atomic_int initialized; /* enum worker_initialized */
    char initializer_text[WORKER_RECORD_TEXT_BYTES];
    struct base_buffer no_memory; /* an encoded wire_error */
    char host[256];
    struct worker_box *box;
    struct wire_shared_own *shared; /* memory for large payloads; NULL: none */

    /* the I/O thread's */
    struct worker_core *core;
    bool begun; /* the initializer is over */
    void *zmq;  /* context */
    struct worker_dealer dealer;
    struct wire_curve curve; /* for each new connection */
    int signal_fd;
    uint64_t now_ns;
    uint64_t sample_ns; /* when to look at the lanes; BASE_CLOCK_FOREVER: nothing is running */
    uint64_t busy_seen_ns;
    uint32_t in_pool;    /* tasks started and neither finished nor withdrawn */
    uint32_t long_count; /* so many of these are reported as running long */
    struct worker_task *withdrawing[WIRE_WORKER_LEASES_MAX];
    bool left;
};

/* ---- child_lanes.c ---- */

/* worker_lanes_open makes the lanes and the pool, whose first thread runs the initializer, if there is
 * one. Returns 0 or an errno. */
int worker_lanes_open(struct worker_process *process);
/* worker_lanes_close waits for the pool's threads until deadline_ns, and frees everything. False: some
 * still run, nothing was freed. */
bool worker_lanes_close(struct worker_process *process, uint64_t deadline_ns);
/* worker_outcome tells what a finished task has come to, for the core, and worker_outcome_release lets
 * go of it. I/O thread. */
void worker_outcome(struct worker_run *run, struct worker_event *event);
void worker_outcome_release(struct worker_run *run);

/* ---- child_loop.c ---- */

/* worker_loop serves until there is nothing left to do. Returns the process's exit code. */
int worker_loop(struct worker_process *process);
void worker_loop_close(struct worker_process *process);

#endif
