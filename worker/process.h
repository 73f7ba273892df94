/* Inside a worker process:
 *
 *   child.c          what it begins and ends with
 *   child_loop.c     driving: core, socket, supervisor; the main thread's loop
 *   child_drive.c    who drives, and how that changes
 *   child_lanes.c    the pool threads: they run tasks and hand over outcomes
 *   initializers.c   the initializers that came with tasks
 *
 *   who drives                         pool threads ("lanes")
 *   ----------                         ----------------------
 *   WORKER_START -> base_pool  ------> task_run, outcome kept in the task
 *   WORKER_FINISHED  <----- ring ----- noted at once; the wake-up comes later, once for a group
 *
 * A lane that has more to do does not wake the driver for each task, but when a group of tasks is over
 * (worker/group.h), or there is nothing more to do. What it has finished is in its ring all the same, so
 * that the driver finds it whenever it looks; and while something runs it looks at least every
 * SAMPLE_NS, so that no outcome waits behind a long task for longer than that.
 *
 * ---- Who drives ----
 *
 * The driver has the core, the socket and all that is marked as its own below. In a process of several
 * lanes that is the main thread, always. In a process of one lane a task would go from one thread to
 * another and its outcome back, for nothing; so there the lane drives itself, and runs a group of tasks
 * between two looks at the socket. Liveness may not depend on a task, so the main thread watches, and
 * drives instead as soon as a group takes long. `drive` says who it is:
 *
 *                  worker_drive_give (main): the lane has nothing, tasks are short
 *      .------------------------------------------------------------------.
 *      |                                                                  v
 *    MAIN                         LANE --- a group begins (lane) -----> LANE_RUNS
 *      ^                           ^  `<-- it ends (lane, CAS) ---------'  |
 *      |   the lane leaves         |                                       |
 *      `---------------------------+---- two looks saw the same group -----'
 *                                        (main, CAS)
 *
 *   MAIN       the main thread drives. What the core starts goes to the pool.
 *   LANE       the lane drives. What the core starts goes to `todo`. The main thread touches nothing.
 *   LANE_RUNS  nobody drives: the lane is inside a group of tasks, and touches nothing that is the
 *              driver's. Whoever makes of this LANE (the lane) or MAIN (the main thread), by
 *              compare-and-swap, drives; so exactly one of them does.
 *
 * A change of `drive` is a full fence, which is what a ZeroMQ socket needs to go to another thread.
 * `give` makes LANE before the lane is there to drive: it has nothing to do then but to take the next
 * work of the pool, which is `drive_work`; so nothing but the scheduler stands in between.
 *
 * `todo` is a ring. Tasks are put at its end, or in front of those in it, which then move up, by the
 * driver only, and taken from its beginning by compare-and-swap: by the lane, in a group, one by one, or by the main thread that has just become
 * the driver, all that is left. Positions only ever grow, so a lane that comes out of a long task finds
 * that there is nothing more for it.
 *
 * The main thread, while it watches, sleeps on `guard_fd`, a timer. Who begins a group sets the timer,
 * unless `guarded` says that it is set or about to be; the watcher clears `guarded` only when it has
 * seen no new group for a whole period, and looks at `drive` once more after that. Both do first
 * their store and then their load, sequentially consistent: so either the lane sees that nobody
 * watches, and sets the timer, or the watcher sees that a group has begun. A task that runs long is
 * so noticed after GUARD_NS to 2 GUARD_NS (and the time that the scheduler takes). */
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
#include "worker/group.h"
#include "worker/initializers.h"
#include "worker/wiring.h"

/* How often the driver looks at what runs, and from when on that counts as long. */
#define WORKER_SAMPLE_NS (2 * BASE_CLOCK_NS_PER_MS)
#define WORKER_LONG_NS   (5 * BASE_CLOCK_NS_PER_MS)
/* How often it is looked whether a lane that drives still gets to it. */
#define WORKER_GUARD_NS (2 * BASE_CLOCK_NS_PER_MS)
/* The main thread, when it had to drive, keeps on for so long, and for as long as tasks take more
 * than SHORT_NS each. */
#define WORKER_KEEP_NS  (5 * BASE_CLOCK_NS_PER_MS)
#define WORKER_SHORT_NS UINT64_C(250000)

/* ---- a task, as this process sees it ---- */

#define WORKER_INLINE_BYTES 40

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
    bool withdrawn; /* the driver's own */
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
    struct task_call *call;          /* the context's */
    struct task_outcome initialized; /* of a task whose client has an initializer */
    struct worker_chunk *chunk;
    uint64_t group_ns; /* when the group began; 0: there is none */
    struct worker_group group;
    /* the driver's */
    _Alignas(64) uint64_t seen_lease, seen_ns;
    unsigned taken; /* tasks taken out of the ring, altogether */
    /* both's */
    struct worker_task **ring;
};

enum worker_drive { WORKER_DRIVE_MAIN, WORKER_DRIVE_LANE, WORKER_DRIVE_LANE_RUNS };

enum worker_initialized { WORKER_INITIALIZING, WORKER_INITIALIZED, WORKER_INITIALIZER_FAILED };

struct worker_process {
    struct worker_settings settings;
    struct task_function_list functions;
    struct task_module **modules;
    const furrow_function *initializer;       /* of the settings; NULL: none */
    struct worker_initializers *initializers; /* of tasks */
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

    /* between the main thread and the lane of a process that has one */
    _Alignas(64) atomic_uint drive;      /* enum worker_drive */
    atomic_uint groups;                  /* begun by the lane as the driver, altogether */
    atomic_uint todo_next;               /* in todo: the first that nobody has taken */
    atomic_bool guarded;                 /* the watcher will look again */
    int guard_fd;                        /* a timerfd; -1: the lane never drives */
    struct base_work drive_work;         /* what the pool gets when the lane is to drive */
    _Atomic(struct worker_task *) *todo; /* a ring of WORKER_RING */

    /* the driver's */
    unsigned todo_end;   /* in todo: one behind the last */
    unsigned todo_ahead; /* so many of the first were put ahead since the last group */
    bool joining;        /* the lane shall drive as soon as it has nothing else to do */
    uint64_t keep_ns;    /* the main thread drives until then */
    uint64_t mean_ns;    /* of the tasks that were taken last */
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

/* ---- todo ---- */

/* A slot may be read by a lane that then finds its position gone: so they are atomic. */
static inline struct worker_task *worker_todo_get(const struct worker_process *process,
                                                  unsigned position) {
    return atomic_load_explicit(&process->todo[position & (WORKER_RING - 1)], memory_order_relaxed);
}

/* worker_todo_take takes the next task below `end`; NULL: there is none. The lane, in a group. `end` is what
 * it was when the group began: by now todo may be somebody else's, and then nothing below it is left. */
static inline struct worker_task *worker_todo_take(struct worker_process *process, unsigned end) {
    unsigned next = atomic_load_explicit(&process->todo_next, memory_order_relaxed);
    struct worker_task *task;

    do {
        if ((int)(end - next) <= 0) {
            return NULL;
        }
        task = worker_todo_get(process, next);
    } while (!atomic_compare_exchange_weak(&process->todo_next, &next, next + 1));
    return task;
}

/* ---- child_lanes.c ---- */

/* worker_lanes_open makes the lanes and the pool, whose first thread runs the initializer, if there is
 * one. Returns 0 or an errno. */
int worker_lanes_open(struct worker_process *process);
/* worker_lanes_close waits for the pool's threads until deadline_ns, and frees everything. False: some
 * still run, nothing was freed. */
bool worker_lanes_close(struct worker_process *process, uint64_t deadline_ns);
/* worker_kept_release lets go of where an outcome was kept. The driver. */
void worker_kept_release(const struct worker_run *run);

/* worker_lane_group runs tasks of todo below `end` until none is left or a group ends. The lane, in
 * LANE_RUNS. */
void worker_lane_group(struct worker_process *process, struct worker_lane *lane, unsigned end);
/* worker_lane_rest ends a group, if one has begun, without a next one. Returns whether it had. */
bool worker_lane_rest(struct worker_lane *lane);
/* worker_lane_tell wakes the main thread for what is in the ring. */
void worker_lane_tell(struct worker_process *process, struct worker_lane *lane);

/* ---- child_drive.c ---- */

/* worker_drive_open returns 0 or an errno; worker_drive_close may be called in any case. */
int worker_drive_open(struct worker_process *process);
void worker_drive_close(struct worker_process *process);
/* worker_drive_start has tasks run that the core has started, `ahead` of what waits already or behind
 * it; and worker_drive_withdraw takes those back that are marked as withdrawn and that nobody has begun,
 * and returns them, linked by `next`. The driver. */
void worker_drive_start(struct worker_process *process, struct worker_task *const *tasks,
                        uint32_t count, bool ahead);
struct base_work *worker_drive_withdraw(struct worker_process *process);
/* worker_drive_give lets the lane drive, if it is time; then it returns true when the main thread is the
 * driver again. The main thread, driving. */
bool worker_drive_give(struct worker_process *process);
/* worker_drive_lane drives until the process leaves or the main thread has taken over. The lane, as the
 * run of drive_work. */
void worker_drive_lane(struct worker_process *process);

/* ---- child_loop.c ---- */

/* worker_pass does what can be done now without waiting; whether it was anything. worker_sleep waits
 * for more. The driver. */
bool worker_pass(struct worker_process *process);
void worker_sleep(struct worker_process *process);
/* worker_sample looks at what the lanes run: see WORKER_LONG_NS. The driver. */
void worker_sample(struct worker_process *process);
/* worker_loop serves until there is nothing left to do. Returns the process's exit code. */
int worker_loop(struct worker_process *process);
void worker_loop_close(struct worker_process *process);

#endif
