/* The engine behind `processes:`, `tcp:` and `ipc:`: whoever drives it owns the client's core, its sockets
 * and every future from submission until it is done. There is an I/O thread for each executor that
 * drives when nobody else does.
 *
 *   executor_brokered.c  what executor.h asks of an executor; opening and closing
 *   engine_drive.c      who drives, and how that changes; the loop of the I/O thread
 *   engine_loop.c       a pass of the driver, and what the core's actions do
 *   engine_requests.c   what other threads ask of the driver: cancel, shutdown, ...
 *   engine_remote.c     a broker at an address
 *   engine_local.c      a broker of our own, and worker processes
 *   engine_initializer.c  an initializer for the workers of a broker
 *   engine_context.c    the process's ZeroMQ context
 *   engine_directory.c  the directory of the ipc socket
 *
 * What is submitted faster than it can be done stays in the inbox while the transport is full: handing
 * it on would only cost memory, and caches, at the broker. Tasks that somebody's priority or time limit
 * could overtake are handed on all the same, and so is everything before a request is carried out.
 *
 *   OPEN ---> CLOSING ---> LEAVING ---> ENDED
 *   CLOSING: no task is accepted any more, those there are go on. LEAVING: none is left; the transport
 *   says good-bye. ENDED: the thread is over, or about to be.
 *
 * ---- Who drives ----
 *
 * A result that goes from the I/O thread to the thread that waits for it costs a wake-up, and so does what
 * is submitted on its way to the I/O thread. So a thread that is about to sleep until a future is done
 * drives instead, if nobody does: one leads, the others sleep on their futures. `drive.state`:
 *
 *            take: compare-and-swap, by anyone              sleeps, but still leads
 *      FREE --------------------------------------> HELD ------------------------------> LED
 *        ^                                         | ^ ^                                 | |
 *        `------- leave: nothing is to be done ----' | `---- woken: compare-and-swap ----' |
 *                 now, or the I/O thread is called   `------ the I/O thread: it hangs -----'
 *
 *   FREE  nobody is inside. The I/O thread sleeps on all there is to wake for, or is about to.
 *   HELD  somebody is inside a pass, and nobody else touches what is marked as the driver's.
 *   LED   nobody is inside. A user thread sleeps on all there is to wake for, and the I/O thread doesn't.
 *
 * Each change is a full fence, which is what a ZeroMQ socket needs to go to another thread.
 *
 * Nothing is left lying:
 *  - All there is to wake for is in `events_fd`: `wake`, by which others hand something over, and the
 *    transport's descriptors. The I/O thread sleeps on `lookout_fd`, in which events_fd is armed or not, and
 *    that can be changed while it sleeps. Who leads disarms it, when it holds the drive, and arms it when
 *    it has left; so after the last of these it is armed, unless somebody holds or leads, who is to arm
 *    it yet. It is level-triggered: what happened before it was armed is seen.
 *  - Before the drive is left there was a pass that found nothing to do, and after base_wake_prepare nothing
 *    in the inboxes: so who hands over something later sees SLEEPING and writes. Or else the I/O
 *    thread is called: io_called is set before FREE, and looked at by the I/O thread after it has said
 *    that it is about to sleep (base/wake.h).
 *  - What is due is in `due_ns` before FREE, and the I/O thread sleeps no longer than that. Who leaves calls
 *    it if it sleeps longer (io_until_ns; both store first and look then, sequentially consistent).
 *  - An I/O thread that could not take the drive `parks`, so that it doesn't wake again and again for what
 *    another is about to do, and is called by whoever leaves next.
 *  - A thread that leads runs with signals blocked, and sleeps without. If a handler does not return, the I/O
 *    thread sees that what was due has not been done, and takes the drive from it.
 *
 * A thread that leads runs no user code but the log hook: callbacks go to the I/O thread (`later`). Nor
 * does it start worker processes, which inherit much from the thread that starts them. For both, and when
 * there are many tasks under way, so that two threads are better than one, it leaves at once and calls. It
 * doesn't lead in a callback, nor in a child that was forked. It leaves when its future is done or its
 * time is up, whatever is under way for others.
 *
 * Who submits wakes the driver if that sleeps. But a thread that submits one task and waits for it,
 * again and again, takes the drive, if it is FREE, and sends the task itself, before furrow_submit
 * returns. */
#ifndef CLIENT_ENGINE_H
#define CLIENT_ENGINE_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/inbox.h"
#include "base/wake.h"
#include "libclient/core.h"
#include "libclient/executor.h"

struct engine;

#define ENGINE_TEXT_BYTES 256u

enum engine_phase { ENGINE_OPEN, ENGINE_CLOSING, ENGINE_LEAVING, ENGINE_ENDED };

/* What differs between a broker elsewhere and our own. All but open, blob and free are called by the
 * driver. */
struct engine_transport {
    /* open makes what can fail. On error (a status, with the error text set) free is called. */
    furrow_status (*open)(struct engine *engine);
    /* send takes the reference of a message from the client's core. */
    void (*send)(struct engine *engine, struct wire_message *message);
    /* receive takes in what is there, up to some bound; whether there was anything. */
    bool (*receive)(struct engine *engine);
    /* full: whether there are tasks enough that more would only lie about. NULL: never. */
    bool (*full)(const struct engine *engine);
    /* flush lets what was sent and received take effect. */
    void (*flush)(struct engine *engine);
    void (*tick)(struct engine *engine); /* deadline has come, perhaps */
    uint64_t (*deadline)(const struct engine *engine);
    /* ready tells that a descriptor of engine_watch is readable, by its mark. */
    void (*ready)(struct engine *engine, unsigned mark);
    void (*reconnect)(struct engine *engine);
    /* leave begins to end what there is; engine->left is set when it has ended. */
    void (*leave)(struct engine *engine);
    /* signal asks the workers to end (SIGTERM) or ends them (SIGKILL), if they are ours. */
    void (*signal)(struct engine *engine, int signal_number);
    int (*workers_alive)(const struct engine *engine); /* -1: not known */
    /* blob: as executor_ops has it. Any thread. May be NULL. */
    struct wire_blob *(*blob)(struct engine *engine, size_t size);
    void (*free)(struct engine *engine);
};

extern const struct engine_transport engine_remote;
extern const struct engine_transport engine_local;

enum engine_request_type {
    ENGINE_CANCEL,   /* future */
    ENGINE_SHUTDOWN, /* flags */
    ENGINE_STOP,     /* cancel what has not started, ask the rest to end */
    ENGINE_KILL,     /* give up what is left */
    ENGINE_SIGNAL,   /* signal_number, to all workers; breaks the executor */
    ENGINE_DESCRIBE, /* info */
};

/* Lives on the stack of the thread that waits for it, or is `detached` and freed by the driver. */
struct engine_request {
    struct base_inbox_node node;
    enum engine_request_type type;
    bool detached;
    unsigned flags;
    int signal_number;
    furrow_future *future; /* referenced if detached */
    furrow_executor_info *info;
    struct engine_request *next_cancel; /* among those that wait for a verdict */
    atomic_uint answered;               /* a futex */
};

/* own_flags of a future. */
enum { ENGINE_FUTURE_CANCEL_WAITED = 1 /* somebody waits for the verdict */ };

enum engine_drive_state { ENGINE_FREE, ENGINE_HELD, ENGINE_LED };

/* Who drives: see the top. */
struct engine_drive {
    atomic_uint state;            /* enum engine_drive_state */
    atomic_uint load;             /* unfinished tasks, when the last driver rested */
    _Atomic uint64_t due_ns;      /* base_clock_ns: to be driven again by then at the latest */
    _Atomic uint64_t io_until_ns; /* until then the I/O thread sleeps at most; 0: it is awake */
    atomic_bool io_called;        /* the I/O thread is to drive */
    atomic_bool io_parked;        /* it sleeps until it is called, whatever happens */
    struct base_wake kick;        /* what wakes the I/O thread, and nobody else */
    pid_t pid;

    /* the driver's */
    bool rested;                    /* there was nothing to do when it was left */
    bool led;                       /* the driver is not the I/O thread */
    bool io_wanted;                 /* there is something that only the I/O thread may do */
    bool disarmed;                  /* the I/O thread sleeps on whatever happens */
    struct future_later_list later; /* callbacks, for the I/O thread */
};

struct engine {
    furrow_executor base;
    const struct engine_transport *transport;
    void *own; /* the transport's */
    struct client_core *core;
    struct wire_session session; /* the core's */
    struct base_buffer head;     /* what all arguments begin with: an initializer; empty: none */

    struct base_inbox submits;  /* futures; closed when a shutdown begins */
    struct base_inbox requests; /* closed at the very end */
    struct base_wake wake;

    atomic_bool full; /* the driver takes no submits for now, and need not be woken for them */

    pthread_t thread;
    pthread_mutex_t join_lock;
    bool joined;
    atomic_uint ended;     /* a futex: 1 when the thread is as good as over */
    atomic_uint connected; /* a futex: enum engine_connected */

    struct engine_drive drive;
    int events_fd;  /* epoll: all that there is to wake for, but for what is due */
    int lookout_fd; /* epoll: that, if it is armed, and drive.kick; where the I/O thread sleeps */

    /* From here on the driver's own. */
    enum engine_phase phase;
    uint64_t now_ns; /* the engine's clock: see engine_clock */
    uint64_t raw_ns, slept_until_ns, skew_ns;
    struct client_task *backlog;    /* a chain, taken from submits and not yet in the core */
    struct engine_request *cancels; /* wait for a verdict */
    bool left;                      /* the transport has said good-bye */
    bool break_due, broken;
    enum wire_kind break_kind;
    furrow_status break_status;
    char break_text[ENGINE_TEXT_BYTES];
    atomic_bool forced; /* a shutdown had to cancel or kill */
    char host[256];
};

enum engine_connected { ENGINE_NOT_YET, ENGINE_CONNECTED, ENGINE_REFUSED };

/* ---- engine_loop.c ---- */

/* engine_read_clock reads the engine's clock. */
void engine_read_clock(struct engine *engine);
/* engine_pass does what can be done now without waiting; whether it was anything. */
bool engine_pass(struct engine *engine);
/* engine_inboxes_empty: whether nothing has been handed over that a pass would take. */
bool engine_inboxes_empty(struct engine *engine);
/* engine_deadline is when a pass is due if nothing happens before, on the engine's clock. */
uint64_t engine_deadline(const struct engine *engine);
/* engine_load counts unfinished tasks; those that still wait to be given to the core count as one. */
unsigned engine_load(const struct engine *engine);
/* engine_step steps the client's core and carries out what it says. Not from inside itself: callbacks
 * run there. */
void engine_step(struct engine *engine, const struct client_event *event);
/* engine_is_strict_fleet: the executor is strict, and only a broker knows of its workers' deaths. Its
 * tasks then run at most once, so that it hears of the first death that one of them began. */
static inline bool engine_is_strict_fleet(const struct engine *engine) {
    return engine->base.options.strict && engine->transport == &engine_remote;
}
/* engine_break ends everything with an error: at the next occasion, so that it may be called while
 * actions are carried out. The first text stays. */
void engine_break(struct engine *engine, enum wire_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
/* engine_break_auth is that for a broker that refuses the key, or that can't be reached with it:
 * FURROW_EAUTH. Whoever waits for the connection is told. */
void engine_break_auth(struct engine *engine, const char *text) __attribute__((cold));
/* engine_take_submits gives the core all that was submitted so far. */
void engine_take_submits(struct engine *engine);
/* engine_close_submits refuses further ones; those that got in are in the backlog then. */
void engine_close_submits(struct engine *engine);

/* ---- engine_drive.c ---- */

/* engine_drive_open comes before all else; the I/O thread has the drive then, even if it is not there yet.
 * Returns 0 or an errno; engine_drive_close may be called in either case. */
int engine_drive_open(struct engine *engine);
void engine_drive_close(struct engine *engine);
/* engine_watch has the transport told (ready, with the mark, above 0) when a descriptor is readable, for as
 * long as that is so. False: errno says why not. To be undone by engine_unwatch before the descriptor is
 * closed. The driver. */
bool engine_watch(struct engine *engine, int fd, unsigned mark);
void engine_unwatch(struct engine *engine, int fd);
/* engine_run is the I/O thread. */
void *engine_run(void *engine);
/* engine_is_current: whether this thread is the I/O thread, or drives: it must not wait for the driver. */
bool engine_is_current(const struct engine *engine);
/* engine_drive_help drives, if nobody does and it may, until the future is done, its time is up or the I/O
 * thread does better; not beyond deadline_ns (base_clock_ns). Any thread; the executor stays open. */
void engine_drive_help(struct engine *engine, const furrow_future *future, uint64_t deadline_ns);
/* What this thread does with an executor again and again: engine_drive.c. */
enum engine_turn {
    ENGINE_TURN_ANY,       /* nothing is known */
    ENGINE_TURN_WAITED,    /* it has waited; has it submitted but one before? */
    ENGINE_TURN_SUBMITTED, /* and has submitted one */
    ENGINE_TURN_SEND,      /* and has waited: what it submits next it sends itself */
    ENGINE_TURN_SENT,      /* and has done so */
};
struct engine_habit {
    uint64_t serial; /* of the executor */
    enum engine_turn turn;
};
extern _Thread_local struct engine_habit engine_habit __attribute__((tls_model("initial-exec")));

/* engine_drive_submit is told of a submit that is in the inbox. It returns true if it has carried it out,
 * or called the I/O thread for it; false: the driver is to be woken. Doesn't block. Any thread.
 * (engine_drive_habitual is for a thread that has a habit.) */
bool engine_drive_habitual(struct engine *engine);
static inline bool engine_drive_submit(struct engine *engine) {
    return BASE_UNLIKELY(engine_habit.turn != ENGINE_TURN_ANY) && engine_drive_habitual(engine);
}
/* engine_block_signals blocks all but those that tell of a fault, and gives the mask as it was. */
void engine_block_signals(sigset_t *before);

/* ---- engine_requests.c ---- */

/* What a closed inbox has as its head. */
extern struct base_inbox_node engine_inbox_closed;
/* engine_inbox_push is base_inbox_push_chain for an inbox that may be closed: then it returns false. It
 * wakes nobody. Any thread. */
static inline bool engine_inbox_push(struct base_inbox *inbox, struct base_inbox_node *newest,
                                     struct base_inbox_node *oldest) {
    struct base_inbox_node *head = atomic_load_explicit(&inbox->head, memory_order_relaxed);

    do {
        if (BASE_UNLIKELY(head == &engine_inbox_closed)) {
            return false;
        }
        oldest->next = head;
    } while (!atomic_compare_exchange_weak(&inbox->head, &head, newest));
    return true;
}
/* engine_submit hands futures over to the driver, linked as base_inbox_push_chain wants them, and sees to
 * it that somebody drives. False: submits are closed. Any thread. */
static inline bool engine_submit(struct engine *engine, struct base_inbox_node *newest,
                                 struct base_inbox_node *oldest) {
    if (BASE_UNLIKELY(!engine_inbox_push(&engine->submits, newest, oldest))) {
        return false;
    }
    /* While it is full the driver looks at its submits before it next sleeps without. Both the push
     * and this look are sequentially consistent, as are its store to `full` and its look at the inbox. */
    if (!engine_drive_submit(engine) && !atomic_load(&engine->full)) {
        base_wake_signal(&engine->wake);
    }
    return true;
}
/* engine_ask hands over a request and waits until it is answered, or (`request` is copied) doesn't
 * wait. False: the engine has ended, or there is no memory. */
bool engine_ask(struct engine *engine, struct engine_request *request);
bool engine_tell(struct engine *engine, const struct engine_request *request);
/* engine_close_inbox closes it and returns what was in it, the oldest first. */
struct base_inbox_node *engine_close_inbox(struct base_inbox *inbox);
/* engine_requests_take carries out what was asked, after what was submitted before it. */
bool engine_requests_take(struct engine *engine);
/* engine_describe fills in what only the driver knows. */
void engine_describe(struct engine *engine, furrow_executor_info *info);
/* engine_requests_end answers whatever is asked from now on, and whoever still waits. */
void engine_requests_end(struct engine *engine);
/* engine_verdict answers those who wait for the cancel of a future. */
void engine_verdict(struct engine *engine, furrow_future *future);

/* ---- engine_init.c ---- */

/* engine_may_run_again: whether furrow_init was called, so that this program serves as a worker when
 * it is run again. */
bool engine_may_run_again(void);

/* ---- engine_initializer.c ----
 *
 * The workers of a broker serve many clients, so a client's initializer goes to them with each of its
 * tasks (docs/protocol.md section 3.1). On `processes:` the workers are started with it instead. */

/* engine_initializer_open makes engine->head of the options. Returns a status, with the error set. */
furrow_status engine_initializer_open(struct engine *engine);
/* engine_initializer_prepend puts the head in front of the arguments of a new future. On error (a
 * status, with the error text set) they are as before. Any thread. */
furrow_status engine_initializer_prepend(const struct engine *engine, furrow_future *future);
/* engine_initializer_look breaks the executor if that is what an outcome of kind BROKEN means: its
 * initializer failed. To be called before futures are resolved with it. The driver. */
void engine_initializer_look(struct engine *engine, const struct client_action *action);

/* ---- engine_context.c ---- */

/* engine_context_get gives the process's ZeroMQ context, made for the first; engine_context_put lets
 * it go, and ends it with the last. Any thread. get returns NULL with errno set (EMFILE); put blocks
 * until the sockets' last messages are out, or their linger is over. */
void *engine_context_get(void);
void engine_context_put(void);

/* ---- engine_directory.c ---- */

/* A directory of our own for sockets, mode 0700, under XDG_RUNTIME_DIR or /tmp. It is removed by
 * engine_directory_remove, or when the process exits; what a process that died has left is removed
 * by the next that makes one. */
struct engine_directory {
    char path[72]; /* so that a socket's path in it fits into a socket address */
    int lock_fd;
    int owner; /* pid */
    struct engine_directory *next;
};

/* engine_directory_make returns 0 or an errno. Any thread. */
int engine_directory_make(struct engine_directory *directory);
void engine_directory_remove(struct engine_directory *directory);

#endif
