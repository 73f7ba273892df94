#include "libclient/submit.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buffer.h"
#include "libclient/executor_private.h"
#include "libclient/future_memory.h"
#include "task/block.h"
#include "task/status.h"
#include "wire/value.h"

/* What a bound may be more than what comes out. */
#define SMALL_ERROR_BYTES 32

void submit_undo(furrow_future *future) {
    future_drop(future);
    future_drop(future);
}

/* too_big sets the error for arguments over the limit. */
static __attribute__((cold)) furrow_status too_big(size_t size) {
    return task_set_error(FURROW_ETOOBIG, "arguments of %zu bytes are over the limit of %u", size,
                          WIRE_PAYLOAD_BYTES_MAX);
}

/* Memory of the executor's own kind for large arguments. NULL: there is none. */
static struct wire_blob *own_blob(void *user, size_t size) {
    furrow_executor *executor = user;

    return executor->ops->blob == NULL ? NULL : executor->ops->blob(executor, size);
}

/* Memory for large arguments: of the executor's own kind, if it has any. NULL: no memory. */
static struct wire_blob *blob_new(furrow_executor *executor, size_t size) {
    struct wire_blob *blob = own_blob(executor, size);

    return blob != NULL ? blob : wire_blob_new(size);
}

/* Packs large arguments where they stay. False: they are not large, or not of the simple kind, or there
 * is no memory; nothing has happened. */
static bool pack_blob(furrow_future *future, const void *head, size_t head_size, const char *format,
                      va_list *arguments) {
    struct wire_blob *blob;
    size_t bound, size, count = 0;
    va_list again;

    va_copy(again, *arguments);
    bound = wire_value_bound(format, &again);
    va_end(again);
    if (bound > WIRE_PAYLOAD_BYTES_MAX - head_size ||
        bound + head_size < WIRE_LARGE_BYTES_MIN + SMALL_ERROR_BYTES) {
        return false;
    }
    blob = blob_new(future->executor, head_size + bound);
    if (blob == NULL) {
        return false;
    }
    if (head_size > 0) {
        memcpy(blob->data, head, head_size);
    }
    va_copy(again, *arguments);
    size = wire_value_pack_small(blob->data + head_size, bound, &count,
                                 future->executor->ops->allow_pointers, format, &again);
    va_end(again);
    if (size == SIZE_MAX || head_size + size < WIRE_LARGE_BYTES_MIN) {
        wire_blob_unref(blob);
        return false;
    }
    blob->size = head_size + size;
    future_take_blob(future, blob);
    return true;
}

/* Makes packed arguments those of the future. Takes over the bytes on success; false: no memory. */
static bool take_bytes(furrow_future *future, uint8_t *data, size_t size) {
    if (size <= FUTURE_INLINE_BYTES) { /* few are always inside, whatever their format */
        memcpy(future->bytes, data, size);
        free(data);
        future->task.size = (uint32_t)size;
        return true;
    }
    if (size >= WIRE_LARGE_BYTES_MIN) {
        struct wire_blob *blob = own_blob(future->executor, size);

        if (blob != NULL) {
            memcpy(blob->data, data, size);
            free(data);
            future_take_blob(future, blob);
            return true;
        }
    }
    return future_take_arguments(future, data, size);
}

/* Packs arguments whose last one is a block: the future gets a reference to it, and *place is where the
 * user has it. Where its memory is not what is wanted the bytes are in the buffer in the end. */
static furrow_status pack_block(furrow_future *future, struct base_buffer *buffer,
                                const char *format, va_list *arguments, furrow_block ***place) {
    struct wire_blob *blob;
    size_t count = 0;
    furrow_status status =
        block_pack(buffer, &count, future->executor->ops->allow_pointers, format, arguments, place);

    if (status == FURROW_OK && !block_join(**place, buffer, 0, &blob)) {
        status = task_set_plain_error(FURROW_ENOMEM);
    } else if (status == FURROW_OK && blob != NULL) {
        base_buffer_clear(buffer);
        future_take_blob(future, blob);
    }
    return status;
}

static furrow_status pack_values(const furrow_future *future, struct base_buffer *buffer,
                                 const char *format, va_list *arguments) {
    struct wire_value_fault fault = {""};
    size_t count = 0;
    enum wire_value_status packed = wire_value_pack(
        buffer, &count, future->executor->ops->allow_pointers, format, arguments, &fault);

    if (packed != WIRE_VALUE_OK) {
        return task_set_value_error(packed, &fault);
    }
    if (buffer->failed) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    return buffer->size > WIRE_PAYLOAD_BYTES_MAX ? too_big(buffer->size) : FURROW_OK;
}

/* Arguments that are too many for the inside of a future, or wrong. *place gets where the user has a block
 * among them, which is to be freed once they are submitted; NULL: there is none. */
static __attribute__((noinline)) furrow_status pack_outside(furrow_future *future, const void *head,
                                                            size_t head_size, const char *format,
                                                            va_list *arguments,
                                                            furrow_block ***place) {
    struct base_buffer buffer;
    furrow_status status;
    uint8_t *data;
    size_t size;

    *place = NULL;
    if (pack_blob(future, head, head_size, format, arguments)) {
        return FURROW_OK;
    }
    base_buffer_init(&buffer);
    base_buffer_append(&buffer, head, head_size);
    status = block_in(format) ? pack_block(future, &buffer, format, arguments, place)
                              : pack_values(future, &buffer, format, arguments);
    if (status == FURROW_OK) {
        data = base_buffer_detach(&buffer, &size);
        if (data != NULL && !take_bytes(future, data, size)) {
            free(data);
            status = task_set_plain_error(FURROW_ENOMEM);
        }
    }
    base_buffer_fini(&buffer);
    return status;
}

static __attribute__((cold, noinline)) furrow_future *no_memory(void) {
    (void)task_set_plain_error(FURROW_ENOMEM);
    return NULL;
}

static inline furrow_future *new_of_class(furrow_executor *executor,
                                          struct executor_class *class_) {
    furrow_future *future = future_new(executor);

    if (BASE_UNLIKELY(future == NULL)) {
        return no_memory();
    }
    future->class_ = class_;
    return future;
}

/* pack_inside packs arguments behind the `head_size` bytes that are in the future already. False: they are
 * too many, or wrong; pack_outside is to begin them anew. */
static inline bool pack_inside(furrow_future *future, size_t head_size, const char *format,
                               va_list *arguments) {
    uint8_t *out = future->bytes + head_size;
    size_t room = FUTURE_INLINE_BYTES - head_size;
    struct wire_value_packed packed =
        wire_value_pack_scalars(out, room, future->pointers, format, arguments);

    if (BASE_UNLIKELY(packed.letter != NULL)) {
        packed = wire_value_pack_small_on(out, room, packed, future->pointers, arguments);
        if (packed.letter != NULL) {
            return false;
        }
    }
    future->task.size = (uint32_t)head_size + packed.size;
    return true;
}

/* take_packed copies arguments into a new future. */
static furrow_status take_packed(furrow_future *future, const void *arguments, size_t size) {
    uint8_t *data;

    if (size <= FUTURE_INLINE_BYTES) {
        if (size > 0) {
            memcpy(future->bytes, arguments, size);
        }
        future->task.size = (uint32_t)size;
        return FURROW_OK;
    }
    if (size >= WIRE_LARGE_BYTES_MIN) {
        struct wire_blob *blob = blob_new(future->executor, size);

        if (blob == NULL) {
            return task_set_plain_error(FURROW_ENOMEM);
        }
        memcpy(blob->data, arguments, size);
        future_take_blob(future, blob);
        return FURROW_OK;
    }
    data = malloc(size);
    if (data == NULL) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    memcpy(data, arguments, size);
    if (!future_take_arguments(future, data, size)) {
        free(data);
        return task_set_plain_error(FURROW_ENOMEM);
    }
    return FURROW_OK;
}

furrow_future *submit_new_packed(furrow_executor *executor, struct executor_class *class_,
                                 const void *arguments, size_t size) {
    furrow_future *future = new_of_class(executor, class_);

    if (future != NULL && take_packed(future, arguments, size) != FURROW_OK) {
        submit_undo(future);
        return NULL;
    }
    return future;
}

static __attribute__((noinline)) furrow_future *send_through_gate(furrow_executor *executor,
                                                                  furrow_future *future) {
    if (executor_gate_enter(executor, 1) == 0) {
        (void)executor_check(executor);
        submit_undo(future);
        return NULL;
    }
    if (executor->ops->submit(executor, future) != FURROW_OK) {
        executor_gate_leave(executor, 1);
        submit_undo(future);
        return NULL;
    }
    return future;
}

static inline furrow_future *send_new(furrow_executor *executor, furrow_future *future) {
    if (BASE_UNLIKELY(executor->max_pending != 0)) {
        return send_through_gate(executor, future);
    }
    if (BASE_UNLIKELY(executor->ops->submit(executor, future) != FURROW_OK)) {
        submit_undo(future);
        return NULL;
    }
    return future;
}

furrow_future *submit_send(furrow_executor *executor, furrow_future *future) {
    return send_new(executor, future);
}

/* send_outside submits a new future with the arguments `head` and then the values of a format, which were
 * found to be too many for its inside, or wrong. */
static __attribute__((noinline)) furrow_future *send_outside(furrow_executor *executor,
                                                             furrow_future *future,
                                                             const void *head, size_t head_size,
                                                             const char *format,
                                                             va_list *arguments) {
    furrow_block **place;

    if (pack_outside(future, head, head_size, format, arguments, &place) != FURROW_OK) {
        submit_undo(future);
        return NULL;
    }
    future = submit_send(executor, future);
    if (future != NULL) {
        furrow_block_free(place);
    }
    return future;
}

furrow_future *submit_values(furrow_executor *executor, struct executor_class *class_,
                             const void *head, size_t head_size, const char *format,
                             va_list *arguments) {
    furrow_future *future = new_of_class(executor, class_);
    bool packed = false;

    if (future == NULL) {
        return NULL;
    }
    if (head_size <= FUTURE_INLINE_BYTES) {
        va_list again;

        if (head_size > 0) {
            memcpy(future->bytes, head, head_size);
        }
        va_copy(again, *arguments);
        packed = pack_inside(future, head_size, format, &again);
        va_end(again);
    }
    return packed ? submit_send(executor, future)
                  : send_outside(executor, future, head, head_size, format, arguments);
}

/* ------------------------------------------------------------------- public */

/* The class of a function, or NULL with the error set: the executor may refuse tasks. */
static inline struct executor_class *class_for(furrow_executor *executor,
                                               const furrow_submit_options *options,
                                               const furrow_function *function) {
    struct executor_class *class_ = NULL;

    if (BASE_UNLIKELY(executor_check(executor) != FURROW_OK)) {
        return NULL;
    }
    if (BASE_LIKELY(options == NULL)) {
        class_ = executor_class_known(executor, function);
    }
    return BASE_LIKELY(class_ != NULL) ? class_
                                       : executor_class_of(executor, function, NULL, 0, options, 0);
}

furrow_future *furrow_vsubmit_function(furrow_executor *executor,
                                       const furrow_submit_options *options,
                                       const furrow_function *function, const char *format,
                                       va_list arguments) {
    struct executor_class *class_ = class_for(executor, options, function);
    furrow_future *future;
    va_list copy;

    if (class_ == NULL) {
        return NULL;
    }
    va_copy(copy, arguments);
    future = submit_values(executor, class_, NULL, 0, format, &copy);
    va_end(copy);
    return future;
}

/* As furrow_vsubmit_function, in a straight line. */
furrow_future *furrow_submit_function(furrow_executor *executor,
                                      const furrow_submit_options *options,
                                      const furrow_function *function, const char *format, ...) {
    struct executor_class *class_ = class_for(executor, options, function);
    furrow_future *future;
    va_list arguments;
    bool packed;

    if (BASE_UNLIKELY(class_ == NULL)) {
        return NULL;
    }
    future = new_of_class(executor, class_);
    if (BASE_UNLIKELY(future == NULL)) {
        return NULL;
    }
    va_start(arguments, format);
    packed = pack_inside(future, 0, format, &arguments);
    va_end(arguments);
    if (BASE_UNLIKELY(!packed)) {
        va_start(arguments, format);
        future = send_outside(executor, future, NULL, 0, format, &arguments);
        va_end(arguments);
        return future;
    }
    return send_new(executor, future);
}

furrow_future *furrow_submit_by_name(furrow_executor *executor,
                                     const furrow_submit_options *options, const char *name,
                                     const char *format, ...) {
    struct executor_class *class_;
    furrow_future *future;
    va_list arguments;

    if (executor_check(executor) != FURROW_OK) {
        return NULL;
    }
    class_ = executor_class_of(executor, NULL, name, strlen(name), options, 0);
    if (class_ == NULL) {
        return NULL;
    }
    va_start(arguments, format);
    future = submit_values(executor, class_, NULL, 0, format, &arguments);
    va_end(arguments);
    return future;
}

furrow_future *furrow_submit_packed(furrow_executor *executor, const furrow_submit_options *options,
                                    const char *name, const void *arguments,
                                    size_t arguments_size) {
    struct executor_class *class_;
    furrow_future *future;
    size_t count;

    if (executor_check(executor) != FURROW_OK) {
        return NULL;
    }
    if (arguments_size > WIRE_PAYLOAD_BYTES_MAX) {
        (void)too_big(arguments_size);
        return NULL;
    }
    if (!wire_value_check(arguments, arguments_size, &count)) {
        (void)task_set_error(FURROW_EARGS, "the packed arguments are no whole MessagePack values");
        return NULL;
    }
    class_ = executor_class_of(executor, NULL, name, strlen(name), options, 0);
    if (class_ == NULL) {
        return NULL;
    }
    future = submit_new_packed(executor, class_, arguments, arguments_size);
    return future == NULL ? NULL : submit_send(executor, future);
}

furrow_future *furrow_submit_call(furrow_executor *executor, void *(*fn)(void *), void *argument) {
    furrow_future *future;

    if (executor->ops->set_call == NULL) {
        (void)task_set_error(FURROW_EUNSUPPORTED,
                             "furrow_submit_call: the executor %s: runs tasks in other processes",
                             executor->ops->scheme);
        return NULL;
    }
    if (executor_check(executor) != FURROW_OK) {
        return NULL;
    }
    future = new_of_class(executor, NULL);
    if (future == NULL) {
        return NULL;
    }
    executor->ops->set_call(executor, future, fn, argument);
    return submit_send(executor, future);
}

furrow_block *furrow_block_new(furrow_executor *executor, size_t size) {
    return block_new(own_blob, executor, size);
}
