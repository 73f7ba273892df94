/* The engine behind `processes:`, `tcp:` and `ipc:`: one I/O thread for each executor, which owns the
 * client's core, its sockets and every future from submission until it is done.
 *
 *   executor_brokered.c  what executor.h asks of an executor; opening and closing
 *   engine_loop.c       the loop of the I/O thread, and what the core's actions do
 *   engine_requests.c   what other threads ask of the I/O thread: cancel, shutdown, ...
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
 *   says good-bye. ENDED: the thread is over, or about to be. */
#ifndef CLIENT_ENGINE_H
#define CLIENT_ENGINE_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/buffer.h"
#include "base/inbox.h"
#include "base/wake.h"
#include "libclient/core.h"
#include "libclient/executor.h"

struct engine;

#define ENGINE_FDS_MAX    4u
#define ENGINE_TEXT_BYTES 256u

enum engine_phase { ENGINE_OPEN, ENGINE_CLOSING, ENGINE_LEAVING, ENGINE_ENDED };

/* What differs between a broker elsewhere and our own. All but open and free are called by the I/O
 * thread. */
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
    /* poll_fds says what to wait for besides the wake-up; polled tells what came of it. */
    unsigned (*poll_fds)(struct engine *engine, struct pollfd *fds);
    void (*polled)(struct engine *engine, const struct pollfd *fds);
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

/* Lives on the stack of the thread that waits for it, or is `detached` and freed by the I/O thread. */
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

    atomic_bool full; /* the I/O thread takes no submits for now, and need not be woken for them */

    pthread_t thread;
    pthread_mutex_t join_lock;
    bool joined;
    atomic_uint ended;     /* a futex: 1 when the thread is as good as over */
    atomic_uint connected; /* a futex: enum engine_connected */

    /* From here on the I/O thread's own. */
    enum engine_phase phase;
    uint64_t now_ns; /* the engine's clock: see engine_clock */
    uint64_t raw_ns, slept_until_ns, skew_ns;
    struct base_inbox_node *backlog; /* taken from submits, not yet in the core */
    struct engine_request *cancels;  /* wait for a verdict */
    bool left;                       /* the transport has said good-bye */
    bool break_due, broken;
    enum wire_kind break_kind;
    furrow_status break_status;
    char break_text[ENGINE_TEXT_BYTES];
    atomic_bool forced; /* a shutdown had to cancel or kill */
    char host[256];
};

enum engine_connected { ENGINE_NOT_YET, ENGINE_CONNECTED, ENGINE_REFUSED };

/* ---- engine_loop.c ---- */

/* engine_run is the I/O thread. */
void *engine_run(void *engine);
/* engine_poll does what there is to do, or sleeps until there is something, or until until_ns (on the
 * engine's clock). False: the engine has ended. */
bool engine_poll(struct engine *engine, uint64_t until_ns);
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
/* engine_is_current: whether this is the engine's own I/O thread. */
bool engine_is_current(const struct engine *engine);
/* engine_take_submits gives the core all that was submitted so far. */
void engine_take_submits(struct engine *engine);
/* engine_close_submits refuses further ones; those that got in are in the backlog then. */
void engine_close_submits(struct engine *engine);

/* ---- engine_requests.c ---- */

/* engine_push and engine_push_chain hand something over to the I/O thread and wake it. False: the inbox
 * is closed. Any thread. */
bool engine_push_chain(struct engine *engine, struct base_inbox *inbox,
                       struct base_inbox_node *newest, struct base_inbox_node *oldest);
/* engine_ask hands over a request and waits until it is answered, or (`request` is copied) doesn't
 * wait. False: the engine has ended, or there is no memory. */
bool engine_ask(struct engine *engine, struct engine_request *request);
bool engine_tell(struct engine *engine, const struct engine_request *request);
/* engine_close_inbox closes it and returns what was in it, the oldest first. */
struct base_inbox_node *engine_close_inbox(struct base_inbox *inbox);
/* engine_requests_take carries out what was asked, after what was submitted before it. */
bool engine_requests_take(struct engine *engine);
/* engine_describe fills in what only the I/O thread knows. */
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
 * initializer failed. To be called before futures are resolved with it. The I/O thread. */
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
