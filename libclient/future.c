#include "libclient/future.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/copy.h"
#include "base/futex.h"
#include "libclient/executor_private.h"
#include "libclient/future_kept.h"
#include "libclient/future_memory.h"
#include "libclient/future_watch.h"

#define FAILURE_TEXT_BYTES 512

static _Thread_local struct future_batch *current_batch __attribute__((tls_model("initial-exec")));

/* The word's lower half, for the kernel alone: the library itself only ever uses the whole word. */
static atomic_uint *futex_of(furrow_future *future) {
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lower half comes first");
    return (atomic_uint *)(void *)&future->word;
}

/* ------------------------------------------------------- references and memory */

static void free_bytes(furrow_future *future) {
    switch ((enum future_storage)future->storage) {
    case FUTURE_BORROWED:
        break;
    case FUTURE_ALLOCATED:
        free((void *)(uintptr_t)future->task.data);
        break;
    case FUTURE_BLOB:
        wire_blob_unref(future->task.large);
        future->task.large = NULL;
        break;
    }
    future->storage = FUTURE_BORROWED;
}

/* What few futures have. */
static __attribute__((noinline)) void free_parts(furrow_future *future) {
    if (future->watches != NULL) {
        future_discard_watches(future);
    }
    free_bytes(future);
    future_kept_free(future);
}

static inline void free_future(furrow_future *future) {
    if (BASE_UNLIKELY(future->watches != NULL || future->storage != FUTURE_BORROWED ||
                      atomic_load_explicit(&future->kept, memory_order_relaxed) != NULL)) {
        free_parts(future);
    }
    future_release(future);
}

void future_drop(furrow_future *future) {
    uint64_t word = atomic_load_explicit(&future->word, memory_order_acquire);

    /* Whoever has the only reference needs no atomic operation to see that it is the last. */
    if (word >> 32 != 1) {
        word = atomic_fetch_sub_explicit(&future->word, FUTURE_REF_ONE, memory_order_acq_rel);
    }
    BASE_ASSERT(word >> 32 != 0);
    if (word >> 32 == 1) {
        free_future(future);
    }
}

void future_drop_arguments(furrow_future *future) {
    free_bytes(future);
    future->task.data = future->bytes;
    future->task.size = 0;
}

void future_take_blob(furrow_future *future, struct wire_blob *blob) {
    BASE_ASSERT(future->storage == FUTURE_BORROWED && blob->size >= WIRE_LARGE_BYTES_MIN &&
                blob->size <= WIRE_PAYLOAD_BYTES_MAX);
    future->task.large = blob;
    future->storage = FUTURE_BLOB;
    future->task.data = blob->data;
    future->task.size = (uint32_t)blob->size;
}

bool future_take_arguments(furrow_future *future, uint8_t *data, size_t size) {
    BASE_ASSERT(future->storage == FUTURE_BORROWED && size <= WIRE_PAYLOAD_BYTES_MAX);
    if (size >= WIRE_LARGE_BYTES_MIN) {
        struct wire_blob *blob = future_blob_around(data, size);

        if (blob == NULL) {
            return false;
        }
        future_take_blob(future, blob);
        return true;
    }
    future->storage = FUTURE_ALLOCATED;
    future->task.data = data;
    future->task.size = (uint32_t)size;
    return true;
}

/* -------------------------------------------------------------- transitions */

static void wake_and_drop(void *object) {
    furrow_future *future = object;

    base_futex_wake(futex_of(future), INT_MAX);
    future_drop(future);
}

/* end_slowly does what a future that has just become done owes to others. `before` is its word before
 * that; the caller has a reference. */
static __attribute__((noinline)) void end_slowly(furrow_future *future, uint64_t before) {
    if ((before & FUTURE_WAITED) != 0) {
        future_keep(future);
        future_owe(wake_and_drop, future);
    }
    if ((before & FUTURE_WATCHED) != 0) {
        future_notify_watches(future);
    }
}

#define OWES (FUTURE_WAITED | FUTURE_WATCHED | FUTURE_HOLDS)

/* change is the one terminal transition: to FINISHED from whatever is not done, to CANCELLED from
 * PENDING, or, `any`, also from RUNNING. With `drop`, and if nothing is owed, it gives away a reference.
 * *before is the word as it was. False: it can't be.
 *
 * Who holds the future is on the way into the executor: on its behalf the executor gets a guest more,
 * before it could be freed.
 *
 * It, `end` and `resolve` are inlined where a result comes in, with what is known there. */
static inline __attribute__((always_inline)) bool change(furrow_future *future,
                                                         furrow_future_state state, bool any,
                                                         bool drop, uint64_t *before) {
    furrow_executor *executor = future->executor;
    bool counted = false;
    bool changed = false;

    *before = atomic_load_explicit(&future->word, memory_order_relaxed);
    while (!changed) {
        uint64_t after = (*before & ~FUTURE_STATE) | state;
        uint64_t now = *before & FUTURE_STATE;

        if (BASE_UNLIKELY(now >= FURROW_CANCELLED || (now == FURROW_RUNNING && !any))) {
            break;
        }
        if (BASE_UNLIKELY((*before & FUTURE_HOLDS) != 0) && !counted) {
            atomic_fetch_add(&executor->guests, 1);
            counted = true;
        }
        if (BASE_LIKELY((*before & OWES) == 0) && drop) {
            after -= FUTURE_REF_ONE;
        }
        changed = atomic_compare_exchange_weak_explicit(&future->word, before, after,
                                                        memory_order_acq_rel, memory_order_relaxed);
    }
    if (BASE_UNLIKELY(counted) && (!changed || (*before & FUTURE_HOLDS) == 0)) {
        executor_guest_leave(executor);
    }
    return changed;
}

/* end makes a future done. `drop`: with it goes a reference of the caller's, but only if it returns
 * true. */
static inline __attribute__((always_inline)) bool end(furrow_future *future,
                                                      furrow_future_state state, bool any,
                                                      bool drop) {
    furrow_executor *executor = future->executor;
    uint64_t before;

    if (!change(future, state, any, drop, &before)) {
        return false;
    }
    if (executor != NULL && executor->max_pending != 0) {
        executor_gate_leave(executor, 1);
    }
    if (BASE_UNLIKELY((before & OWES) != 0)) {
        end_slowly(future, before);
        if (drop) {
            future_drop(future);
        }
    } else if (drop && before >> 32 == 1) {
        free_future(future);
    }
    return true;
}

bool future_cancel_now(furrow_future *future) {
    return end(future, FURROW_CANCELLED, false, false);
}

/* An error for which no memory is needed: [FURROW_ENOMEM, "out of memory", "", "", 0, 0, 0, 0]. */
static const uint8_t no_memory_error[] = {
    0x98, 0x02, 0xad, 'o', 'u', 't',  ' ',  'o', 'f', ' ', 'm',
    'e',  'm',  'o',  'r', 'y', 0xa0, 0xa0, 0,   0,   0,   0,
};

/* Stores an outcome that doesn't fit into the future. */
static __attribute__((noinline)) void store_outside(furrow_future *future, const void *data,
                                                    size_t size, struct wire_blob *blob) {
    uint8_t *copy;

    BASE_ASSERT(size <= UINT32_MAX);
    future->task.size = (uint32_t)size;
    if (blob != NULL) {
        BASE_ASSERT(blob->data == data && blob->size == size);
        future->task.large = wire_blob_ref(blob);
        future->task.data = data;
        future->storage = FUTURE_BLOB;
        return;
    }
    copy = malloc(size);
    if (copy == NULL) {
        future->kind = WIRE_KIND_ERROR;
        future->task.data = no_memory_error;
        future->task.size = sizeof no_memory_error;
        return;
    }
    memcpy(copy, data, size);
    future->task.data = copy;
    future->storage = FUTURE_ALLOCATED;
}

static inline __attribute__((always_inline)) void store_outcome(furrow_future *future,
                                                                enum wire_kind kind,
                                                                const void *data, size_t size,
                                                                struct wire_blob *blob) {
    if (BASE_UNLIKELY(future->storage != FUTURE_BORROWED)) {
        free_bytes(future);
    }
    future->kind = (uint8_t)kind;
    if (BASE_UNLIKELY(size > FUTURE_INLINE_BYTES)) {
        store_outside(future, data, size, blob);
        return;
    }
    future->task.data = future->bytes;
    future->task.size = (uint32_t)size;
    base_copy_short(future->bytes, data, size);
}

static inline __attribute__((always_inline)) bool resolve(furrow_future *future,
                                                          enum wire_kind kind, const void *data,
                                                          size_t size, struct wire_blob *blob,
                                                          bool drop) {
    furrow_future_state state = FURROW_CANCELLED;

    if (BASE_UNLIKELY(future_done(future))) {
        return false;
    }
    if (BASE_LIKELY(kind != WIRE_KIND_CANCELLED)) {
        store_outcome(future, kind, data, size, blob);
        state = FURROW_FINISHED;
    }
    return end(future, state, true, drop);
}

bool future_resolve(furrow_future *future, enum wire_kind kind, const void *data, size_t size,
                    struct wire_blob *blob) {
    if (BASE_LIKELY(resolve(future, kind, data, size, blob, true))) {
        return true;
    }
    future_drop(future);
    return false;
}

void future_finish(furrow_future *future, enum wire_kind kind, const void *data, size_t size) {
    bool ended = resolve(future, kind, data, size, NULL, false);

    BASE_ASSERT(ended);
}

bool future_fail_as(furrow_future *future, enum wire_kind kind, int32_t code, uint32_t attempt,
                    const char *text) {
    const struct executor_class *class_ = future->class_;
    struct base_buffer bytes;
    struct wire_error error;
    bool resolved;

    memset(&error, 0, sizeof error);
    error.code = code;
    error.message.data = text;
    error.message.size = strlen(text);
    error.host.data = "";
    error.function.data = "";
    if (class_ != NULL) {
        error.function = class_->define.function;
    }
    error.attempt = attempt;
    base_buffer_init(&bytes);
    if (wire_error_encode(&error, &bytes)) {
        resolved = future_resolve(future, kind, bytes.data, bytes.size, NULL);
    } else {
        resolved = future_resolve(future, kind, no_memory_error, sizeof no_memory_error, NULL);
    }
    base_buffer_fini(&bytes);
    return resolved;
}

bool future_fail(furrow_future *future, enum wire_kind kind, uint32_t attempt, const char *format,
                 ...) {
    char text[FAILURE_TEXT_BYTES];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return future_fail_as(future, kind, 0, attempt, text);
}

/* ------------------------------------------------------------------ waiting */

void future_batch_begin(struct future_batch *batch, struct future_later_list *later) {
    BASE_ASSERT(current_batch == NULL);
    batch->count = 0;
    batch->later = later;
    current_batch = batch;
}

static void settle(struct future_batch *batch) {
    unsigned count = batch->count;

    batch->count = 0;
    for (unsigned i = 0; i < count; i++) {
        batch->owed[i].settle(batch->owed[i].object);
    }
}

void future_batch_end(struct future_batch *batch) {
    BASE_ASSERT(current_batch == batch);
    current_batch = NULL;
    settle(batch);
}

void future_owe(void (*settle_one)(void *object), void *object) {
    struct future_batch *batch = current_batch;

    if (batch == NULL) {
        settle_one(object);
        return;
    }
    if (batch->count == FUTURE_BATCH_OWED) {
        settle(batch);
    }
    batch->owed[batch->count].settle = settle_one;
    batch->owed[batch->count].object = object;
    batch->count++;
}

bool future_later(struct future_later *later) {
    struct future_later_list *list = current_batch == NULL ? NULL : current_batch->later;

    if (list == NULL) {
        return false;
    }
    later->next = NULL;
    if (list->first == NULL) {
        list->first = later;
    } else {
        list->last->next = later;
    }
    list->last = later;
    return true;
}

void future_run_later(struct future_later_list *list) {
    while (list->first != NULL) {
        struct future_later *first = list->first;

        list->first = first->next;
        first->run(first);
    }
}

uint64_t future_deadline(double timeout) {
    if (timeout < 0) {
        return UINT64_MAX;
    }
    /* Also for what is no number. */
    if (!(timeout > 0)) {
        return 0;
    }
    return base_clock_deadline(base_clock_ns(), timeout);
}

/* An executor is not freed before its futures are done. So the future is held first, as long as it is
 * not done: who resolves it then sees the hold, and counts one guest more on its behalf. */
bool future_enter(furrow_future *future, furrow_future_state last) {
    uint64_t word = atomic_load_explicit(&future->word, memory_order_acquire);

    do {
        if ((word & FUTURE_STATE) > (uint64_t)last) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&future->word, &word, word + FUTURE_HOLD_ONE,
                                                    memory_order_acq_rel, memory_order_acquire));
    atomic_fetch_add(&future->executor->guests, 1);
    word = atomic_fetch_sub_explicit(&future->word, FUTURE_HOLD_ONE, memory_order_acq_rel);
    if ((word & FUTURE_STATE) >= FURROW_CANCELLED && (word & FUTURE_HOLDS) == FUTURE_HOLD_ONE) {
        executor_guest_leave(future->executor);
    }
    return true;
}

/* Lets the executor, if it can do anything for a future that somebody waits for, do so. */
static void let_help(furrow_future *future, uint64_t deadline_ns) {
    furrow_executor *executor = future->executor;

    if (executor == NULL || !future_enter(future, FURROW_RUNNING)) {
        return;
    }
    if (executor->ops->help != NULL) {
        executor->ops->help(executor, future, deadline_ns);
    }
    executor_guest_leave(executor);
}

static furrow_status sleep_until(furrow_future *future, uint64_t deadline_ns) {
    uint64_t word = atomic_load_explicit(&future->word, memory_order_acquire);
    int error = 0;

    for (;;) {
        if ((word & FUTURE_STATE) >= FURROW_CANCELLED) {
            return FURROW_OK;
        }
        if (error == ETIMEDOUT) {
            return FURROW_ETIMEOUT;
        }
        if ((word & FUTURE_WAITED) == 0) {
            if (!atomic_compare_exchange_weak_explicit(&future->word, &word, word | FUTURE_WAITED,
                                                       memory_order_acq_rel,
                                                       memory_order_acquire)) {
                continue;
            }
            word |= FUTURE_WAITED;
        }
        error = base_futex_wait(futex_of(future), (unsigned)word, deadline_ns);
        word = atomic_load_explicit(&future->word, memory_order_acquire);
    }
}

furrow_status future_wait_until(furrow_future *future, uint64_t deadline_ns) {
    if (future_done(future)) {
        return FURROW_OK;
    }
    if (deadline_ns == 0) {
        return FURROW_ETIMEOUT;
    }
    if (executor_in_callback(future->executor)) {
        return FURROW_EDEADLOCK;
    }
    let_help(future, deadline_ns);
    return sleep_until(future, deadline_ns);
}

/* ------------------------------------------------------------------- public */

furrow_future *furrow_future_ref(furrow_future *future) {
    if (future != NULL) {
        future_keep(future);
    }
    return future;
}

void furrow_future_unref(furrow_future **future) {
    if (future != NULL && *future != NULL) {
        furrow_future *old = *future;

        *future = NULL;
        future_drop(old);
    }
}

furrow_future_state furrow_future_get_state(const furrow_future *future) {
    return future_state(future);
}

bool furrow_future_cancelled(const furrow_future *future) {
    return future_state(future) == FURROW_CANCELLED;
}

bool furrow_future_running(const furrow_future *future) {
    return future_state(future) == FURROW_RUNNING;
}

bool furrow_future_done(const furrow_future *future) {
    return future_done(future);
}
