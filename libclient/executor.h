/* Executors from the inside. The front (executor.c, submit.c, map.c) does what is the same for all of
 * them; each kind does the rest by its executor_ops and begins its own struct with furrow_executor. */
#ifndef CLIENT_EXECUTOR_H
#define CLIENT_EXECUTOR_H

#include <furrow.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/map.h"
#include "libclient/future.h"
#include "libclient/url.h"
#include "wire/message.h"

/* What a task is besides its arguments; made once for each different one, so that a submit only
 * carries a pointer. It lives as long as its executor. */
struct executor_class {
    struct base_map_node node;       /* in executor->classes */
    const furrow_function *function; /* NULL: only the name is known */
    struct wire_define define; /* class_index: from 0 without gaps, the executor's own count */
    bool plain;                /* no priority, timeouts or retries */
    uint64_t own;              /* the executor's, 0 at first */
};

struct executor_ops {
    const char *scheme;
    bool allow_pointers; /* values may have pointers (p) in them */

    /* define is told of a new class before its first task. One call at a time. On error, with the error
     * text set, the class is forgotten and the submit fails. NULL: need not know. */
    furrow_status (*define)(furrow_executor *executor, struct executor_class *class_);

    /* submit takes over the executor's reference to a PENDING future with class and arguments, and
     * never blocks on a task. Any thread. On error (a status, with the error text set) nothing has
     * happened and the reference is still the caller's. */
    furrow_status (*submit)(furrow_executor *executor, furrow_future *future);

    /* submit_chain does the same for `count` futures, linked by `next` from first to last in the order
     * in which they are to be started: all or none. */
    furrow_status (*submit_chain)(furrow_executor *executor, furrow_future *first,
                                  furrow_future *last, size_t count);

    /* blob gives memory of `size` bytes for the arguments of a large task, from where its workers get
     * them at the least cost. Any thread. NULL, or it returns NULL: from malloc. */
    struct wire_blob *(*blob)(furrow_executor *executor, size_t size);

    /* set_call makes a new future one that calls function(argument). NULL: unsupported. */
    void (*set_call)(furrow_executor *executor, furrow_future *future, void *(*function)(void *),
                     void *argument);

    /* cancel tries to cancel a submitted future; the caller has a reference. `wait`: it may block for
     * the verdict. Returns whether the future is CANCELLED now. The executor stays open meanwhile. */
    bool (*cancel)(furrow_executor *executor, furrow_future *future, bool wait);

    /* help is called by a thread that is about to sleep until a future is done: it may look out for that
     * for a moment, or do some of the executor's work meanwhile, but must not block beyond deadline_ns.
     * It may return at any time, the future done or not. The executor stays open meanwhile. NULL: there
     * is nothing to do but sleep. */
    void (*help)(furrow_executor *executor, const furrow_future *future, uint64_t deadline_ns);

    /* identify tells which session a submitted future's task is of, and its id there, or UINT64_MAX while
     * it has none. The executor stays open meanwhile. NULL: its tasks have no names. */
    void (*identify)(furrow_executor *executor, const furrow_future *future,
                     struct wire_session *session, uint64_t *id);

    /* shutdown: `flags` as furrow_shutdown has them; any number of times, by several threads at once.
     * With FURROW_SHUTDOWN_WAIT, after its return no thread of the executor runs user code, and
     * every future that it had is done. Not called with FURROW_SHUTDOWN_WAIT from inside. */
    furrow_status (*shutdown)(furrow_executor *executor, unsigned flags);

    /* shutdown_within: furrow_shutdown_within, the durations in nanoseconds (UINT64_MAX: for ever). */
    furrow_status (*shutdown_within)(furrow_executor *executor, uint64_t drain_ns,
                                     uint64_t grace_ns);

    /* signal_workers sends SIGTERM or SIGKILL to all workers. NULL: unsupported. */
    furrow_status (*signal_workers)(furrow_executor *executor, int signal_number);

    /* describe fills in all but scheme. */
    void (*describe)(furrow_executor *executor, furrow_executor_info *info);

    /* free is called after shutdown with FURROW_SHUTDOWN_WAIT, when nobody is inside any more. It ends
     * with executor_fini and free(executor). */
    void (*free)(furrow_executor *executor);
};

/* The classes of functions with default options, by furrow_function.index. */
struct executor_class_table {
    struct executor_class_table
        *older; /* still read by somebody, perhaps; freed with the executor */
    uint32_t count;
    _Atomic(struct executor_class *) entries[];
};

#define EXECUTOR_TEXT_BYTES 256

struct furrow_executor {
    const struct executor_ops *ops;
    struct base_log log; /* to the user's hook */
    furrow_options
        options; /* effective; strings are copies; max_workers may still be FURROW_DEFAULT */
    struct client_url url;
    bool
        local_functions; /* a name that this program doesn't have is refused (FURROW_ENOFUNCTION) */

    _Atomic(struct executor_class_table *) table;
    pthread_mutex_t lock; /* over classes, the growth of table, text */
    struct base_map classes;

    /* FURROW_OK, FURROW_ESHUTDOWN, FURROW_EBROKEN or FURROW_EAUTH: what submit says. */
    atomic_int refusal;
    char text[EXECUTOR_TEXT_BYTES]; /* why; written once, before refusal becomes one of the last */

    /* The gate of max_pending; not touched if there is no limit. */
    unsigned max_pending; /* 0: no limit */
    atomic_uint gate;     /* unfinished tasks, and a flag that somebody waits; a futex */

    atomic_uint guests; /* user threads that are inside without the executor's knowledge; a futex */

    furrow_executor *open_next; /* in the list of open ones */
    uint64_t serial;            /* no other executor of this process has or had it */
};

/* ------------------------------------------------------------- constructors */

/* Each makes an executor from a parsed URL, of which it takes the contents on success. Returns NULL
 * with the error set. */
furrow_executor *executor_open_threads(struct client_url *url);
furrow_executor *executor_open_brokered(struct client_url *url); /* processes:, tcp:, ipc: */

/* ------------------------------------------------------ for the constructors */

/* executor_init fills in the base and takes url's contents. False: no memory, url is as before. */
bool executor_init(furrow_executor *executor, const struct executor_ops *ops,
                   struct client_url *url);
/* executor_await_guests waits until there is no guest; none comes any more. */
void executor_await_guests(furrow_executor *executor);
/* executor_fini waits until the last guest has left, and frees what the base has. */
void executor_fini(furrow_executor *executor);

/* executor_refuse makes later submits fail with FURROW_ESHUTDOWN. executor_break makes them fail with
 * FURROW_EBROKEN and a text; the first text stays, and a break goes before a shutdown. Any thread. */
void executor_refuse(furrow_executor *executor);
void executor_break(furrow_executor *executor, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));
/* executor_break_as does so with a status: FURROW_EBROKEN or FURROW_EAUTH. */
void executor_break_as(furrow_executor *executor, furrow_status status, const char *text)
    __attribute__((cold));

/* executor_check returns FURROW_OK, or the refusal with the error text set. (executor_refusal is for when
 * there is one.) */
furrow_status executor_refusal(const furrow_executor *executor) __attribute__((cold));
static inline furrow_status executor_check(const furrow_executor *executor) {
    if (BASE_LIKELY(atomic_load_explicit(&executor->refusal, memory_order_acquire) == FURROW_OK)) {
        return FURROW_OK;
    }
    return executor_refusal(executor);
}

/* executor_why is the text of a break, "" if there is none. */
const char *executor_why(const furrow_executor *executor);

/* executor_gate_leave is called by future_resolve and future_cancel_now for each future that becomes
 * done, and by nobody else. */
void executor_gate_leave(furrow_executor *executor, unsigned count);

/* ------------------------------------------------------------- what runs where */

/* A frame says, for the current thread, that it is inside user code that an executor has called: a
 * task, or a done-callback. Waiting for oneself is found out by it. */
struct executor_frame {
    const furrow_executor *executor;
    struct executor_frame *outer;
    bool callback;
};
void executor_frame_push(struct executor_frame *frame, const furrow_executor *executor,
                         bool callback);
void executor_frame_pop(struct executor_frame *frame);
/* executor_inside: is this thread in a task or callback of the executor; executor_in_callback: in a
 * callback of it. False for NULL. */
bool executor_inside(const furrow_executor *executor);
bool executor_in_callback(const furrow_executor *executor);

/* ------------------------------------------------------------------ classes */

/* executor_class_known gives the class of a function (NULL: of none) with default options, if it was asked
 * for before; else NULL. It costs two loads. Any thread. */
static inline struct executor_class *executor_class_known(const furrow_executor *executor,
                                                          const furrow_function *function) {
    const struct executor_class_table *table =
        atomic_load_explicit(&executor->table, memory_order_acquire);
    struct executor_class *class_;

    if (BASE_UNLIKELY(function == NULL || table == NULL || function->index >= table->count)) {
        return NULL;
    }
    class_ = atomic_load_explicit(&table->entries[function->index], memory_order_acquire);
    return BASE_LIKELY(class_ != NULL && class_->function == function) ? class_ : NULL;
}

/* executor_class_of gives the class of a function (or, function being NULL, of a name of name_size
 * bytes) with these options (NULL: the defaults) and flags (WIRE_FLAG_CHUNK or 0). With default
 * options and flags it begins with executor_class_known. Returns NULL with the error set:
 * FURROW_EINVAL (an option), FURROW_ENOFUNCTION, FURROW_ETOOBIG (a name or tag, too many of either),
 * FURROW_ENOMEM. */
struct executor_class *executor_class_of(furrow_executor *executor, const furrow_function *function,
                                         const char *name, size_t name_size,
                                         const furrow_submit_options *options, uint32_t flags);

#endif
