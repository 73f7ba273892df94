/* The inside of a task context, shared by context.c (which runs tasks) and task.c (which tasks call). */
#ifndef TASK_INTERNAL_H
#define TASK_INTERNAL_H

#include "task/context.h"

#include "base/buffer.h"

/* Room in front of a result, for the header of an array or string that turns out to be needed. */
#define TASK_HEAD_BYTES 5
/* Results up to this size are packed without a look at the memory. */
#define TASK_SMALL_BYTES 256
/* What a context keeps of a buffer that was once larger. */
#define TASK_KEEP_BYTES     ((size_t)64 << 10)
#define TASK_OWN_TEXT_BYTES 256

enum task_arguments { TASK_ARGUMENTS_UNCHECKED, TASK_ARGUMENTS_GOOD, TASK_ARGUMENTS_BAD };

/* What one task (or one call of a chunk) has said about its end so far. */
struct task_end {
    bool returned;         /* result has its value, from result_at on */
    bool return_failed;    /* the last furrow_task_return of whatever form did not succeed */
    bool failed;           /* furrow_task_fail was called: code and message are set */
    furrow_status refused; /* what the last failing call of the task got from us, with own_text */
};

/* Terminated copies of strings, and other memory that lives as long as the task. */
struct task_arena {
    uint8_t *first; /* kept from task to task */
    size_t first_room, used;
    struct task_arena_more *more; /* freed with the task */
};
struct task_arena_more {
    struct task_arena_more *next;
    _Alignas(16) uint8_t bytes[];
};

struct furrow_task {
    /* what runs */
    struct task_call call; /* of a chunk: its one call that runs */
    enum task_arguments arguments_state;
    bool local;
    bool running;
    bool in_chunk; /* it is one call of several: their results are to lie in a row */
    /* what becomes of it */
    struct task_end end;
    struct base_buffer result; /* TASK_HEAD_BYTES, then what was packed */
    size_t result_at;
    struct wire_blob *result_blob; /* the result is here instead; NULL: it is not */
    int32_t code;
    struct task_arena arena;
    struct base_buffer chunk; /* the outcome of a chunk as it grows */
    struct base_buffer error; /* an encoded wire_error */
    /* the outcome that was given out, for task_detach */
    struct base_buffer *outcome_in; /* NULL: it is in result_blob, or can only be copied */
    struct task_outcome outcome;
    /* of the context itself */
    const char *host;
    int64_t pid;
    task_blob_function *blob;
    void *blob_user;
    atomic_uint never;            /* stands in for a missing cancel word */
    struct base_buffer no_memory; /* an encoded wire_error that says so */
    char own_text[TASK_OWN_TEXT_BYTES];
    char message[WIRE_TEXT_BYTES_MAX + 1];
};

/* task_result_forget lets go of a result in a blob. */
static inline void task_result_forget(furrow_task *task) {
    if (BASE_UNLIKELY(task->result_blob != NULL)) {
        wire_blob_unref(task->result_blob);
        task->result_blob = NULL;
    }
}

/* task_arena_get returns memory that lives until the task ends, NULL without memory. */
void *task_arena_get(struct task_arena *arena, size_t size);

#endif
