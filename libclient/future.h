/* A future from the inside: what executors see of it, and the watches that wait, as_completed,
 * completion queues and callbacks hang on it.
 *
 * One allocation of three cache lines holds all of a small task: its state, its place in a queue, its
 * packed arguments and later its packed result. Futures come from per-thread free lists.
 *
 * A future has two references when it is made: the user's, and the executor's. The executor drops its
 * own by future_resolve, or by future_drop if the future was cancelled under it. */
#ifndef CLIENT_FUTURE_H
#define CLIENT_FUTURE_H

#include <furrow.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/inbox.h"
#include "base/pool.h"
#include "libclient/core.h"
#include "wire/message.h"

struct executor_class;
struct future_kept;
struct future_watch;

/* The word of a future: its state in the lowest two bits (enum furrow_future_state), flags, and the
 * count of references in the upper half, so that resolving and letting go is one atomic operation. The
 * lower half is the futex. */
#define FUTURE_STATE    UINT64_C(3)
#define FUTURE_WAITED   UINT64_C(4)  /* somebody sleeps on it */
#define FUTURE_WATCHED  UINT64_C(8)  /* it has, or had, watches */
#define FUTURE_HOLD_ONE UINT64_C(16) /* from here up: user threads on their way into the executor */
#define FUTURE_HOLDS    UINT64_C(0xfffffff0)
#define FUTURE_REF_ONE  (UINT64_C(1) << 32)

/* Where the bytes at task.data are. */
enum future_storage {
    FUTURE_BORROWED,  /* in the future itself, or static */
    FUTURE_ALLOCATED, /* malloc */
    FUTURE_BLOB,      /* in task.large, a reference of the future's */
};

#define FUTURE_BYTES        192
#define FUTURE_INLINE_BYTES (FUTURE_BYTES - 48 - sizeof(struct client_task))

struct furrow_future {
    _Atomic uint64_t word;
    struct future_watch *watches;       /* a ring, the oldest first; under the lock of watch.c */
    _Atomic(struct future_kept *) kept; /* decoded error, terminated strings: until it is freed */
    furrow_executor *executor;          /* NULL: nobody's. May be gone once the future is done */
    struct executor_class *class_;      /* goes with the executor */
    uint8_t storage;                    /* enum future_storage */
    bool pointers;                      /* its values may have pointers in them */
    uint8_t kind;                       /* enum wire_kind, once done */
    uint8_t own_flags;                  /* the executor's, 0 at first */
    uint32_t own;                       /* likewise */

    /* The executor's place for it. From submit until it is resolved, task.data and task.size are the
     * packed arguments, and task.large their blob if they are large; afterwards all three are the
     * result. The link is whichever of the four the executor needs. */
    union {
        furrow_future *next; /* chains of submit_chain */
        struct base_work work;
        struct base_inbox_node inbox;
        struct client_task task;
    };
    uint8_t bytes[FUTURE_INLINE_BYTES];
};

_Static_assert(sizeof(struct furrow_future) == FUTURE_BYTES, "a future is three cache lines");
_Static_assert(FUTURE_INLINE_BYTES >= 48, "small arguments fit inside");

static inline furrow_future *future_of_task(struct client_task *task) {
    return BASE_CONTAINER_OF(task, struct furrow_future, task);
}
static inline furrow_future *future_of_work(struct base_work *work) {
    return BASE_CONTAINER_OF(work, struct furrow_future, work);
}
static inline furrow_future *future_of_inbox(struct base_inbox_node *node) {
    return BASE_CONTAINER_OF(node, struct furrow_future, inbox);
}

/* How to make one: libclient/future_memory.h. */

/* ------------------------------------------------------------ for executors */

/* future_begin makes PENDING into RUNNING. False: it was cancelled; the executor then forgets it by
 * future_drop. Any thread, the executor's own. */
static inline bool future_begin(furrow_future *future) {
    uint64_t word = atomic_load_explicit(&future->word, memory_order_relaxed);

    do {
        if ((word & FUTURE_STATE) != FURROW_PENDING) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&future->word, &word, word | FURROW_RUNNING,
                                                    memory_order_acq_rel, memory_order_relaxed));
    return true;
}

/* future_resolve is the end of a future: FINISHED, or CANCELLED with WIRE_KIND_CANCELLED. It wakes who
 * waits, runs the watches (callbacks: user code) in this thread and drops the executor's reference.
 *
 * kind        of the outcome
 * data, size  one packed value, or an encoded wire_error; borrowed and copied. NULL, 0 if cancelled
 * blob        the same bytes as a blob, of which a reference is taken instead of a copy if they are
 *             too many to be held inside; NULL: none
 *
 * Returns false, and does nothing but drop the reference, if the future is done already: only a
 * cancelled one may be. Without memory for the copy the outcome becomes an error that says so. */
bool future_resolve(furrow_future *future, enum wire_kind kind, const void *data, size_t size,
                    struct wire_blob *blob);

/* future_fail resolves with an error (kind is none of VALUE, CANCELLED) that is made from a text and
 * the function's name. Also drops the executor's reference; returns as future_resolve. */
bool future_fail(furrow_future *future, enum wire_kind kind, uint32_t attempt, const char *format,
                 ...) __attribute__((format(printf, 4, 5), cold));
/* future_fail_as does so with a code. */
bool future_fail_as(furrow_future *future, enum wire_kind kind, int32_t code, uint32_t attempt,
                    const char *text) __attribute__((cold));

/* future_cancel_now makes PENDING into CANCELLED, wakes who waits and runs the watches. The caller has
 * a reference, and the executor keeps its own. False: it was not PENDING (it may be CANCELLED). */
bool future_cancel_now(furrow_future *future);

/* future_drop drops a reference; the last one frees the future. future_keep adds one. */
void future_drop(furrow_future *future);
static inline void future_keep(furrow_future *future) {
    atomic_fetch_add_explicit(&future->word, FUTURE_REF_ONE, memory_order_relaxed);
}

/* future_state is the state as of now. What the resolver wrote is seen by whoever sees a done state. */
static inline furrow_future_state future_state(const furrow_future *future) {
    return (furrow_future_state)(atomic_load_explicit(&future->word, memory_order_acquire) &
                                 FUTURE_STATE);
}
static inline bool future_done(const furrow_future *future) {
    return future_state(future) >= FURROW_CANCELLED;
}

/* Between begin and end, wakes that this thread's resolves owe are put off until the end (or until
 * there are many), so that a thread that waits for a row of futures wakes once for all of them.
 * Callbacks are not put off, unless they are to be run by another thread. Not nested; nothing in
 * between may block for long. */
#define FUTURE_BATCH_OWED 64
struct future_later_list;
struct future_batch {
    unsigned count;
    struct future_later_list *later; /* where user code is put off to; NULL: it is run */
    struct future_owed {
        void (*settle)(void *object);
        void *object;
    } owed[FUTURE_BATCH_OWED];
};
/* later  NULL, or where callbacks go that this thread must not run, for future_run_later in one that
 *        may. */
void future_batch_begin(struct future_batch *batch, struct future_later_list *later);
void future_batch_end(struct future_batch *batch);

/* User code that is put off. All zero is an empty list. future_later takes `later` over, whose `run` is
 * then called once, and returns true, if this thread has a batch that puts off; else false. */
struct future_later {
    struct future_later *next;
    void (*run)(struct future_later *later);
};
struct future_later_list {
    struct future_later *first, *last;
};
bool future_later(struct future_later *later);
/* future_run_later runs what was put off, in order, and what is put off meanwhile. */
void future_run_later(struct future_later_list *list);

/* ------------------------------------------------------------ for the front */

/* future_take_arguments makes `size` malloced bytes the arguments of a new future, which owns them on
 * success. They become a blob if they are large. False: no memory. */
bool future_take_arguments(furrow_future *future, uint8_t *data, size_t size);

/* future_take_blob makes a blob the arguments of a new future, which gets the reference. */
void future_take_blob(furrow_future *future, struct wire_blob *blob);

/* future_drop_arguments takes the arguments of a future that was not submitted yet away again. */
void future_drop_arguments(furrow_future *future);

/* future_finish is future_resolve for a future without an executor: no reference is dropped. The
 * caller has seen to it that nobody else resolves it. */
void future_finish(furrow_future *future, enum wire_kind kind, const void *data, size_t size);

/* future_enter makes this thread a guest of the future's executor (there must be one), which therefore
 * stays open until it leaves by executor_guest_leave. Any thread that has a reference. False: the future
 * is beyond the state `last` (FURROW_PENDING or FURROW_RUNNING), and the executor may be gone. */
bool future_enter(furrow_future *future, furrow_future_state last);

/* future_owe calls settle(object), which wakes somebody: at the end of this thread's batch if it has
 * one, else now. */
void future_owe(void (*settle)(void *object), void *object);

/* A watch hangs on one future and is told once when it is done. It belongs to its owner, who may free
 * it in `notify`. */
struct future_watch {
    struct future_watch *next, *prev;
    void (*notify)(struct future_watch *watch, furrow_future *future);
};

/* future_watch hangs a watch on a future. notify is called exactly once: later, by the thread that
 * resolves the future and in the order in which watches were added; or at once, in this thread, if the
 * future is done already. The caller has a reference during this call; notify is called under one. A
 * future that is freed without ever having been resolved (one of the user's own) calls it with NULL. */
void future_watch(furrow_future *future, struct future_watch *watch);

/* future_unwatch takes the watch away again. False: too late, notify has been called or is about to be
 * called by another thread. */
bool future_unwatch(furrow_future *future, struct future_watch *watch);

/* future_wait_until blocks until the future is done or deadline_ns (base_clock_ns; 0 only looks,
 * UINT64_MAX for ever) has passed. Returns FURROW_OK, FURROW_ETIMEOUT, or FURROW_EDEADLOCK (it would
 * block, in a callback of its own executor); sets no error text. */
furrow_status future_wait_until(furrow_future *future, uint64_t deadline_ns);

/* future_deadline turns a timeout of the public interface into a deadline for future_wait_until and
 * its like: 0 for timeout 0, UINT64_MAX for a negative one. */
uint64_t future_deadline(double timeout);

/* future_error_of gives the decoded error of a finished future whose kind is an error; it belongs to
 * the future. NULL: no memory. */
const furrow_error *future_error_of(furrow_future *future);

#endif
