/* What a task function may call. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/futex.h"
#include "task/block.h"
#include "task/internal.h"
#include "task/status.h"
#include "wire/value.h"

#define NIL 0xc0

/* Keeps what a failing call had to say, in case the task returns its status. */
static __attribute__((cold)) furrow_status note(furrow_task *task, furrow_status status) {
    task->end.refused = status;
    (void)snprintf(task->own_text, sizeof task->own_text, "%s", furrow_last_error());
    return status;
}

/* ---- arguments ---- */

static bool arguments_good(furrow_task *task) {
    size_t count;

    if (task->arguments_state == TASK_ARGUMENTS_UNCHECKED) {
        task->arguments_state = wire_value_check(task->call.arguments, task->call.size, &count)
                                    ? TASK_ARGUMENTS_GOOD
                                    : TASK_ARGUMENTS_BAD;
    }
    return task->arguments_state == TASK_ARGUMENTS_GOOD;
}

static void *keep(void *user, size_t size) {
    return task_arena_get(user, size);
}

static __attribute__((cold)) furrow_status arguments_refused(furrow_task *task,
                                                             enum wire_value_status status,
                                                             const struct wire_value_fault *fault) {
    furrow_status code = task_set_value_error(status, fault);

    if (code != FURROW_ENOMEM) {
        code = task_set_error(FURROW_EARGS, "arguments of %s: %s", task->call.function->name,
                              furrow_last_error());
    }
    return note(task, code);
}

/* Unpacks what is not plain, or says what is wrong with it. */
static __attribute__((noinline)) int args_slowly(furrow_task *task, const char *format,
                                                 va_list *arguments) {
    struct wire_value_keeper keeper = {keep, &task->arena, task->local};
    enum wire_value_status status;
    struct wire_value_fault fault;

    if (BASE_UNLIKELY(!arguments_good(task))) {
        return (int)note(task, task_set_error(FURROW_EARGS, "arguments of %s: malformed",
                                              task->call.function->name));
    }
    status = wire_value_unpack(task->call.arguments, task->call.size, format, arguments, &keeper,
                               &fault);
    if (BASE_UNLIKELY(status != WIRE_VALUE_OK)) {
        return (int)arguments_refused(task, status, &fault);
    }
    return FURROW_OK;
}

/* Bytes that are plain values from first to last need no check of their own. */
int furrow_task_args(furrow_task *task, const char *format, ...) {
    struct wire_value_place place;
    va_list arguments;
    int status;

    va_start(arguments, format);
    place = wire_value_unpack_plain(task->call.arguments, task->call.size, format, &arguments,
                                    task->local);
    va_end(arguments);
    if (BASE_LIKELY(place.letter == NULL)) {
        return FURROW_OK;
    }
    va_start(arguments, format);
    status = args_slowly(task, format, &arguments);
    va_end(arguments);
    return status;
}

const void *furrow_task_args_raw(const furrow_task *task, size_t *size, size_t *count) {
    size_t values = 0;

    if (task->arguments_state == TASK_ARGUMENTS_BAD ||
        !wire_value_check(task->call.arguments, task->call.size, &values)) {
        *size = 0;
        *count = 0;
        return NULL;
    }
    *size = task->call.size;
    *count = values;
    return task->call.size == 0 ? (const void *)"" : task->call.arguments;
}

/* ---- results ---- */

static __attribute__((cold)) int result_refused(furrow_task *task, furrow_status status) {
    task->end.return_failed = true;
    return (int)note(task, status);
}

/* Says that the result is there, packed from `at` on in task->result. */
static inline void result_stands(furrow_task *task, size_t at) {
    task->result_at = at;
    task->end.returned = true;
    task->end.return_failed = false;
}

/* Ends the packing of a result of none or several values, which stand behind the head. */
static __attribute__((noinline)) void result_taken_many(furrow_task *task, size_t count) {
    uint8_t *value = task->result.data + TASK_HEAD_BYTES;

    if (count == 0) {
        *value = NIL;
        task->result.size = TASK_HEAD_BYTES + 1;
    } else if (count < 16) {
        *--value = (uint8_t)(0x90 | count);
    } else {
        *--value = (uint8_t)count;
        *--value = (uint8_t)(count >> 8);
        if (count <= UINT16_MAX) {
            *--value = 0xdc;
        } else {
            *--value = (uint8_t)(count >> 16);
            *--value = (uint8_t)(count >> 24);
            *--value = 0xdd;
        }
    }
    result_stands(task, (size_t)(value - task->result.data));
}

/* Ends the packing of a result: `count` values stand behind the head. */
static inline void result_taken(furrow_task *task, size_t count) {
    if (BASE_LIKELY(count == 1)) {
        result_stands(task, TASK_HEAD_BYTES);
    } else {
        result_taken_many(task, count);
    }
}

/* Begins a result: room for the head and a small value. NULL: no memory. */
static inline uint8_t *result_begin(furrow_task *task) {
    uint8_t *at;

    task_result_forget(task);
    base_buffer_clear(&task->result);
    at = base_buffer_reserve(&task->result, TASK_HEAD_BYTES + TASK_SMALL_BYTES);
    if (BASE_UNLIKELY(at == NULL)) {
        return NULL;
    }
    task->result.size = TASK_HEAD_BYTES;
    return at + TASK_HEAD_BYTES;
}

/* A blob for a large result of up to `size` bytes; NULL: it is not large, or there is none. */
static struct wire_blob *result_blob(furrow_task *task, size_t size) {
    if (task->blob == NULL || task->in_chunk || size < WIRE_LARGE_BYTES_MIN) {
        return NULL;
    }
    return task->blob(task->blob_user, size);
}

static void result_taken_in(furrow_task *task, struct wire_blob *blob, size_t size) {
    blob->size = size;
    task->result_blob = blob;
    task->end.returned = true;
    task->end.return_failed = false;
}

/* Whether the depth of a result of several values is within the limit: the array around them is one level
 * more. */
static bool result_fits(const furrow_task *task) {
    size_t count;

    if (task->result_blob != NULL) {
        return wire_value_check(task->result_blob->data, task->result_blob->size, &count);
    }
    return wire_value_check(task->result.data + task->result_at,
                            task->result.size - task->result_at, &count);
}

static __attribute__((cold)) int result_too_deep(furrow_task *task) {
    return result_refused(task, task_set_error(FURROW_EARGS, "result of %s: nested too deep",
                                               task->call.function->name));
}

/* Packs one large value where it stays. False: it is not of that kind; nothing has happened. */
static bool return_blob(furrow_task *task, const char *format, va_list *arguments) {
    size_t count = 0, bound, size;
    struct wire_blob *blob;
    va_list again;

    if (task->blob == NULL) {
        return false;
    }
    va_copy(again, *arguments);
    bound = wire_value_bound(format, &again);
    va_end(again);
    blob = bound == SIZE_MAX ? NULL : result_blob(task, bound);
    if (blob == NULL) {
        return false;
    }
    va_copy(again, *arguments);
    size = wire_value_pack_small(blob->data, bound, &count, task->local, format, &again);
    va_end(again);
    if (size == SIZE_MAX || count != 1 || size < WIRE_LARGE_BYTES_MIN) {
        wire_blob_unref(blob);
        return false;
    }
    result_taken_in(task, blob, size);
    return true;
}

/* Takes a block over as the last value, or the only one. In a chunk the results lie in a row, and it is
 * copied. */
static int return_block(furrow_task *task, const char *format, va_list *arguments) {
    struct base_buffer *result = &task->result;
    struct wire_blob *blob = NULL;
    furrow_block **place;
    size_t count = 0;
    furrow_status status = block_pack(result, &count, task->local, format, arguments, &place);

    if (status != FURROW_OK) {
        return result_refused(task, status);
    }
    result_taken(task, count + 1);
    if (!block_join(*place, result, task->result_at, &blob)) {
        return result_refused(task, task_set_plain_error(FURROW_ENOMEM));
    }
    if (blob != NULL) {
        result_taken_in(task, blob, blob->size);
    }
    if (count > 0 && !result_fits(task)) {
        task_result_forget(task);
        return result_too_deep(task);
    }
    furrow_block_free(place);
    return FURROW_OK;
}

furrow_block *furrow_task_block(furrow_task *task, size_t size) {
    return block_new(task->in_chunk ? NULL : task->blob, task->blob_user, size);
}

/* Packs what is not small, or says what is wrong with it. */
static __attribute__((noinline)) int return_slowly(furrow_task *task, const char *format,
                                                   va_list *arguments) {
    enum wire_value_status status;
    struct wire_value_fault fault;
    size_t count = 0;

    if (block_in(format)) {
        return return_block(task, format, arguments);
    }
    if (return_blob(task, format, arguments)) {
        return FURROW_OK;
    }
    status = wire_value_pack(&task->result, &count, task->local, format, arguments, &fault);
    if (status != WIRE_VALUE_OK) {
        return result_refused(task, task_set_value_error(status, &fault));
    }
    result_taken(task, count);
    return count > 1 && !result_fits(task) ? result_too_deep(task) : FURROW_OK;
}

int furrow_task_return(furrow_task *task, const char *format, ...) {
    uint8_t *at = result_begin(task);
    size_t count = 0;
    va_list arguments;
    size_t size;
    int status;

    if (BASE_UNLIKELY(at == NULL)) {
        return result_refused(task, task_set_plain_error(FURROW_ENOMEM));
    }
    va_start(arguments, format);
    size = wire_value_pack_small(at, TASK_SMALL_BYTES, &count, task->local, format, &arguments);
    va_end(arguments);
    if (BASE_LIKELY(size != SIZE_MAX)) {
        task->result.size += size;
        result_taken(task, count);
        return FURROW_OK;
    }
    va_start(arguments, format);
    status = return_slowly(task, format, &arguments);
    va_end(arguments);
    return status;
}

/* Puts the header of a string of `size` bytes in front of it. */
static void string_header(furrow_task *task, size_t size) {
    uint8_t *value = task->result.data + TASK_HEAD_BYTES;

    if (size < 32) {
        *--value = (uint8_t)(0xa0 | size);
    } else {
        *--value = (uint8_t)size;
        if (size <= UINT8_MAX) {
            *--value = 0xd9;
        } else {
            *--value = (uint8_t)(size >> 8);
            if (size <= UINT16_MAX) {
                *--value = 0xda;
            } else {
                *--value = (uint8_t)(size >> 16);
                *--value = (uint8_t)(size >> 24);
                *--value = 0xdb;
            }
        }
    }
    task->result_at = (size_t)(value - task->result.data);
}

int furrow_task_returnf(furrow_task *task, const char *printf_format, ...) {
    size_t room = TASK_SMALL_BYTES;
    uint8_t *at = result_begin(task);
    va_list arguments;
    int size = -1;

    if (at != NULL) {
        va_start(arguments, printf_format);
        size = vsnprintf((char *)at, room, printf_format, arguments);
        va_end(arguments);
        if (size >= (int)room && (unsigned)size < WIRE_PAYLOAD_BYTES_MAX) {
            room = (size_t)size + 1;
            at = base_buffer_reserve(&task->result, room);
            if (at != NULL) {
                va_start(arguments, printf_format);
                size = vsnprintf((char *)at, room, printf_format, arguments);
                va_end(arguments);
            }
        }
    }
    if (at == NULL) {
        return result_refused(task, task_set_plain_error(FURROW_ENOMEM));
    }
    if (size < 0) {
        return result_refused(task, task_set_error(FURROW_EARGS, "result of %s: printf refuses it",
                                                   task->call.function->name));
    }
    if (size >= (int)room) {
        return result_refused(
            task, task_set_error(FURROW_ETOOBIG, "result of %s: over the limit of %u bytes",
                                 task->call.function->name, WIRE_PAYLOAD_BYTES_MAX));
    }
    base_buffer_commit(&task->result, (size_t)size);
    string_header(task, (size_t)size);
    task->end.returned = true;
    task->end.return_failed = false;
    return FURROW_OK;
}

int furrow_task_return_packed(furrow_task *task, const void *data, size_t size) {
    struct wire_blob *blob;
    size_t count = 0;

    if (size > WIRE_PAYLOAD_BYTES_MAX) {
        return result_refused(
            task, task_set_error(FURROW_ETOOBIG, "result of %s: over the limit of %u bytes",
                                 task->call.function->name, WIRE_PAYLOAD_BYTES_MAX));
    }
    if (!wire_value_check(data, size, &count) || count != 1) {
        return result_refused(task,
                              task_set_error(FURROW_EARGS, "result of %s: not one packed value",
                                             task->call.function->name));
    }
    task_result_forget(task);
    blob = result_blob(task, size);
    if (blob != NULL) {
        memcpy(blob->data, data, size);
        result_taken_in(task, blob, size);
        return FURROW_OK;
    }
    if (result_begin(task) == NULL || !base_buffer_append(&task->result, data, size)) {
        return result_refused(task, task_set_plain_error(FURROW_ENOMEM));
    }
    result_taken(task, 1);
    return FURROW_OK;
}

int furrow_task_fail(furrow_task *task, int32_t code, const char *printf_format, ...) {
    va_list arguments;

    task->end.failed = true;
    task->code = code;
    va_start(arguments, printf_format);
    if (vsnprintf(task->message, sizeof task->message, printf_format, arguments) < 0) {
        task->message[0] = '\0';
    }
    va_end(arguments);
    return FURROW_EFAILED;
}

/* ---- the end and the rest ---- */

bool furrow_task_cancelled(const furrow_task *task) {
    return atomic_load_explicit(task->call.cancel, memory_order_acquire) != 0;
}

int furrow_task_sleep(furrow_task *task, double seconds) {
    uint64_t now = base_clock_ns();
    uint64_t deadline;

    if (isnan(seconds) || seconds < 0) {
        return (int)note(task,
                         task_set_error(FURROW_EINVAL, "furrow_task_sleep: %g seconds", seconds));
    }
    deadline = base_clock_deadline(now, seconds);
    while (!furrow_task_cancelled(task)) {
        if (now >= deadline) {
            return FURROW_OK;
        }
        (void)base_futex_wait(task->call.cancel, 0, deadline);
        now = base_clock_ns();
    }
    return (int)note(task, task_set_error(FURROW_ECANCELLED, "the task was asked to end"));
}

uint32_t furrow_task_attempt(const furrow_task *task) {
    return task->call.attempt;
}

const char *furrow_task_name(const furrow_task *task) {
    return task->call.function->name;
}
