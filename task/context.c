#include "task/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "task/internal.h"
#include "task/status.h"
#include "wire/value.h"

#define NIL                0xc0
#define ARENA_FIRST_BYTES  4096
#define ARENA_ALIGN        16
#define CHUNK_HEADER_BYTES 2 /* [0, value] begins with 0x92 0x00 */

static const uint8_t nil[] = {NIL};

/* ---- memory that lives as long as the task ---- */

void *task_arena_get(struct task_arena *arena, size_t size) {
    size_t taken = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    struct task_arena_more *more;

    if (taken >= size && taken <= arena->first_room - arena->used) {
        arena->used += taken;
        return arena->first + arena->used - taken;
    }
    if (size > SIZE_MAX - sizeof *more) {
        return NULL;
    }
    more = malloc(sizeof *more + size);
    if (more == NULL) {
        return NULL;
    }
    more->next = arena->more;
    arena->more = more;
    return more->bytes;
}

/* Lets go of what a task before has left that is not to be kept. */
static __attribute__((noinline)) void tidy(furrow_task *context) {
    task_result_forget(context);
    base_buffer_clear(&context->result);
    base_buffer_trim(&context->result, TASK_KEEP_BYTES);
    while (context->arena.more != NULL) {
        struct task_arena_more *more = context->arena.more;

        context->arena.more = more->next;
        free(more);
    }
}

/* ---- the context ---- */

furrow_task *task_context_new(const struct task_context_config *config) {
    static const char text[] = "out of memory";
    furrow_task *context = calloc(1, sizeof *context);
    struct wire_error error = {0};

    if (context == NULL) {
        return NULL;
    }
    context->local = config->local;
    context->host = config->host == NULL ? "" : config->host;
    context->pid = config->pid;
    context->blob = config->blob;
    context->blob_user = config->blob_user;
    atomic_init(&context->never, 0);
    error.code = FURROW_ENOMEM;
    error.message = (struct wire_text){text, sizeof text - 1};
    error.function = (struct wire_text){"", 0};
    error.host = (struct wire_text){context->host, strlen(context->host)};
    error.pid = context->pid;
    context->arena.first = malloc(ARENA_FIRST_BYTES);
    if (context->arena.first == NULL || !wire_error_encode(&error, &context->no_memory)) {
        task_context_free(context);
        return NULL;
    }
    context->arena.first_room = ARENA_FIRST_BYTES;
    return context;
}

void task_context_free(furrow_task *context) {
    if (context == NULL) {
        return;
    }
    BASE_ASSERT(!context->running);
    tidy(context);
    free(context->arena.first);
    base_buffer_fini(&context->result);
    base_buffer_fini(&context->chunk);
    base_buffer_fini(&context->error);
    base_buffer_fini(&context->no_memory);
    free(context);
}

/* ---- outcomes ---- */

static inline const struct task_outcome *give(furrow_task *context, enum wire_kind kind,
                                              const uint8_t *data, size_t size,
                                              struct base_buffer *in) {
    context->outcome_in = in;
    context->outcome.kind = kind;
    context->outcome.data = data;
    context->outcome.size = size;
    return &context->outcome;
}

static const struct task_outcome *refuse(furrow_task *context, enum wire_kind kind,
                                         struct wire_error *error) {
    BASE_ASSERT(!context->running);
    error->host = (struct wire_text){context->host, strlen(context->host)};
    error->pid = context->pid;
    base_buffer_clear(&context->error);
    if (wire_error_encode(error, &context->error)) {
        return give(context, kind, context->error.data, context->error.size, &context->error);
    }
    /* it stays here */
    return give(context, WIRE_KIND_ERROR, context->no_memory.data, context->no_memory.size, NULL);
}

struct task_outcome task_refuse(furrow_task *context, enum wire_kind kind,
                                struct wire_error *error) {
    return *refuse(context, kind, error);
}

static const struct task_outcome *give_error(furrow_task *context, int32_t code,
                                             const char *message) {
    struct wire_error error = {
        .code = code,
        .message = {message, strlen(message)},
        .function = {context->call.function->name, strlen(context->call.function->name)},
        .attempt = context->call.attempt,
    };

    return refuse(context, WIRE_KIND_ERROR, &error);
}

/* The outcome of a function that returned anything but FURROW_OK, or whose result could not be taken. */
static __attribute__((noinline)) const struct task_outcome *conclude_failure(furrow_task *context,
                                                                             int returned) {
    const struct task_end *end = &context->end;
    const char *message = "";

    if (returned == FURROW_OK) {
        return give_error(context, (int32_t)end->refused, context->own_text);
    }
    if (end->failed) {
        return give_error(context, context->code, context->message);
    }
    /* `return FURROW_EARGS` after a call that said so: the text is what that call found. */
    if (end->refused != FURROW_OK && returned == (int)end->refused) {
        message = context->own_text;
    }
    return give_error(context, (int32_t)returned, message);
}

static inline const struct task_outcome *conclude(furrow_task *context, int returned) {
    if (BASE_UNLIKELY(returned != FURROW_OK || context->end.return_failed)) {
        return conclude_failure(context, returned);
    }
    if (!context->end.returned) {
        return give(context, WIRE_KIND_VALUE, nil, sizeof nil, NULL);
    }
    if (BASE_UNLIKELY(context->result_blob != NULL)) {
        return give(context, WIRE_KIND_VALUE, context->result_blob->data,
                    context->result_blob->size, NULL);
    }
    return give(context, WIRE_KIND_VALUE, context->result.data + context->result_at,
                context->result.size - context->result_at, &context->result);
}

/* ---- running ---- */

static inline const struct task_outcome *run_one(furrow_task *context) {
    int returned;

    context->end = (struct task_end){0};
    context->arena.used = 0;
    if (BASE_UNLIKELY(context->arena.more != NULL || context->result_blob != NULL ||
                      context->result.allocated > TASK_KEEP_BYTES)) {
        tidy(context);
    }
    context->running = true;
    returned = context->call.function->call(context);
    context->running = false;
    return conclude(context, returned);
}

/* Reads the header of an array in checked data. False: it is none. */
static bool array_header(const uint8_t *data, size_t size, uint32_t *count, size_t *bytes) {
    if (size >= 1 && (data[0] & 0xf0) == 0x90) {
        *count = data[0] & 0x0fU;
        *bytes = 1;
    } else if (size >= 3 && data[0] == 0xdc) {
        *count = (uint32_t)data[1] << 8 | data[2];
        *bytes = 3;
    } else if (size >= 5 && data[0] == 0xdd) {
        *count =
            (uint32_t)data[1] << 24 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 8 | data[4];
        *bytes = 5;
    } else {
        return false;
    }
    return true;
}

/* Appends [0, value] or [1, error]. */
static bool chunk_append(struct base_buffer *chunk, const struct task_outcome *outcome) {
    const uint8_t header[CHUNK_HEADER_BYTES] = {0x92, outcome->kind != WIRE_KIND_VALUE};

    return base_buffer_append(chunk, header, sizeof header) &&
           base_buffer_append(chunk, outcome->data, outcome->size);
}

/* Runs the calls of a chunk whose array is open: `count` argument arrays at `at`. False: malformed. */
static bool run_calls(furrow_task *context, const uint8_t *at, const uint8_t *end, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        size_t size = wire_value_skip(at, (size_t)(end - at));
        const struct task_outcome *outcome;
        uint32_t arguments;
        size_t header;

        if (!array_header(at, size, &arguments, &header)) {
            return false;
        }
        context->call.arguments = at + header;
        context->call.size = size - header;
        context->arguments_state = TASK_ARGUMENTS_GOOD;
        if (BASE_UNLIKELY(furrow_task_cancelled(context))) {
            outcome = give_error(context, FURROW_ECANCELLED, "the task was asked to end");
        } else {
            outcome = run_one(context);
        }
        (void)chunk_append(&context->chunk, outcome); /* failure is sticky: looked at in the end */
        at += size;
    }
    return true;
}

static __attribute__((noinline)) const struct task_outcome *run_chunk(furrow_task *context) {
    const uint8_t *data = context->call.arguments, *end = data + context->call.size;
    uint32_t count = 0;
    size_t values = 0;
    size_t header = 0;

    base_buffer_clear(&context->chunk);
    base_buffer_trim(&context->chunk, TASK_KEEP_BYTES);
    if (!wire_value_check_nested(context->call.arguments, context->call.size, WIRE_NESTING_MAX,
                                 &values) ||
        values != 1 || !array_header(data, context->call.size, &count, &header)) {
        return give_error(context, FURROW_EARGS, "the chunk is not an array of argument arrays");
    }
    (void)wire_value_begin_array(&context->chunk, count);
    if (!run_calls(context, data + header, end, count)) {
        return give_error(context, FURROW_EARGS, "the chunk has an element that is no array");
    }
    if (context->chunk.failed) {
        return give_error(context, FURROW_ENOMEM, "no memory for the results of the chunk");
    }
    if (context->chunk.size > WIRE_PAYLOAD_BYTES_MAX) {
        return give_error(context, FURROW_ETOOBIG, "the results of the chunk are over the limit");
    }
    return give(context, WIRE_KIND_VALUE, context->chunk.data, context->chunk.size,
                &context->chunk);
}

struct task_call *task_call_of(furrow_task *context) {
    return &context->call;
}

const struct task_outcome *task_execute(furrow_task *context) {
    BASE_ASSERT(!context->running);
    context->arguments_state = TASK_ARGUMENTS_UNCHECKED;
    context->in_chunk = (context->call.flags & WIRE_FLAG_CHUNK) != 0;
    if (BASE_UNLIKELY(context->in_chunk)) {
        return run_chunk(context);
    }
    return run_one(context);
}

struct task_outcome task_run(furrow_task *context, const struct task_call *call) {
    context->call = *call;
    if (call->cancel == NULL) {
        context->call.cancel = &context->never;
    }
    return *task_execute(context);
}

/* ---- large outcomes ---- */

struct detached {
    struct wire_blob blob;
    uint8_t *memory;
};

static void detached_destroy(struct wire_blob *blob) {
    struct detached *detached = BASE_CONTAINER_OF(blob, struct detached, blob);

    free(detached->memory);
    free(detached);
}

struct wire_blob *task_detach(furrow_task *context) {
    struct detached *detached;
    size_t size;

    if (context->result_blob != NULL && context->outcome.data == context->result_blob->data) {
        struct wire_blob *blob = context->result_blob;

        context->result_blob = NULL;
        return blob;
    }
    if (context->blob != NULL && context->outcome.size >= WIRE_LARGE_BYTES_MIN) {
        struct wire_blob *blob = context->blob(context->blob_user, context->outcome.size);

        if (blob != NULL) {
            memcpy(blob->data, context->outcome.data, context->outcome.size);
            return blob;
        }
    }
    if (context->outcome_in == NULL) {
        return wire_blob_copy(context->outcome.data, context->outcome.size);
    }
    detached = malloc(sizeof *detached);
    if (detached == NULL) {
        return NULL;
    }
    detached->memory = base_buffer_detach(context->outcome_in, &size);
    BASE_ASSERT(detached->memory != NULL);
    atomic_init(&detached->blob.refs, 1);
    detached->blob.data = detached->memory + (context->outcome.data - detached->memory);
    detached->blob.size = context->outcome.size;
    detached->blob.destroy = detached_destroy;
    context->outcome_in = NULL;
    return &detached->blob;
}
