/* Runs tasks. `furrow_task`, what a task function gets, is a context: each pool thread has one and uses
 * it for one task after the other, so that an ordinary task allocates nothing.
 *
 * The arguments of a task are packed values back to back (not one array); those of a chunk are one
 * array of argument arrays. */
#ifndef TASK_CONTEXT_H
#define TASK_CONTEXT_H

#include <furrow.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/message.h"

/* Where large results are put, so that they need not be copied on their way: a blob of `size` bytes, which
 * may be made shorter. NULL: there is none, and malloc will do. */
typedef struct wire_blob *task_blob_function(void *user, size_t size);

struct task_context_config {
    bool local;               /* pointers (p) may be passed: `threads:` */
    const char *host;         /* for errors; borrowed for the context's life; NULL: "" */
    int64_t pid;              /* likewise */
    task_blob_function *blob; /* NULL: none */
    void *blob_user;
};

/* task_context_new makes a context. NULL: no memory. One thread at a time may use it. */
furrow_task *task_context_new(const struct task_context_config *config);
/* task_context_free frees it; no task runs in it. NULL is fine. */
void task_context_free(furrow_task *context);

/* What is to be run. */
struct task_call {
    const furrow_function *function;
    const void *arguments; /* foreign bytes are fine: they are checked before use */
    size_t size;
    uint32_t flags;   /* enum wire_task_flag; WIRE_FLAG_CHUNK counts */
    uint32_t attempt; /* from 1 */
    /* Not 0 asks the task to end. Whoever sets it then calls base_futex_wake(word, INT_MAX), which ends
     * furrow_task_sleep. NULL: never. It must stay until task_run returns. */
    atomic_uint *cancel;
};

/* WIRE_KIND_VALUE: data is one packed value. WIRE_KIND_ERROR: an encoded wire_error. */
struct task_outcome {
    enum wire_kind kind;
    const uint8_t *data; /* valid until the context is used again */
    size_t size;
};

/* task_call_of gives where the context has what it is to run, for task_execute: for those who fill it in
 * anew for each task. */
struct task_call *task_call_of(furrow_task *context);
/* task_execute calls the function (once for each call of a chunk) and gives its outcome, which is in the
 * context. What is to be run stands at task_call_of, and `cancel` there may not be NULL. It blocks as long as the function does. Without memory the outcome is an error all the same
 * (kept in the context). In a chunk that is asked to end, the calls not yet made fail with
 * FURROW_ECANCELLED; a chunk that is malformed as a whole is one error. */
const struct task_outcome *task_execute(furrow_task *context);
/* task_run does both steps, and gives a copy of the outcome. */
struct task_outcome task_run(furrow_task *context, const struct task_call *call);

/* task_refuse gives the outcome of a task that is not run at all: an error of this kind. It fills in host
 * and pid; the texts are borrowed for the call. Without memory it is the error that says so. */
struct task_outcome task_refuse(furrow_task *context, enum wire_kind kind,
                                struct wire_error *error);

/* task_detach takes the outcome's bytes out of the context without a copy, for large ones: a blob with
 * one reference, its bytes those of the outcome. To be called at most once after each task_run or task_refuse, and
 * before anything else is done with the context. NULL: no memory, the outcome is as before. */
struct wire_blob *task_detach(furrow_task *context);

#endif
