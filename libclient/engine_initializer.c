#include "libclient/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "task/status.h"

furrow_status engine_initializer_open(struct engine *engine) {
    const furrow_options *options = &engine->base.options;
    struct wire_initializer initializer = {
        .arguments = options->initializer_args,
        .size = options->initializer_args == NULL ? 0 : options->initializer_args_size,
    };

    if (options->initializer == NULL) {
        return FURROW_OK;
    }
    initializer.name.data = options->initializer->name;
    initializer.name.size = strlen(initializer.name.data);
    if (initializer.name.size == 0 || initializer.name.size > WIRE_NAME_BYTES_MAX) {
        return task_set_error(FURROW_EINVAL, "the initializer's name has to have 1 to %u bytes",
                              WIRE_NAME_BYTES_MAX);
    }
    if (initializer.size > WIRE_PAYLOAD_BYTES_MAX) {
        return task_set_error(FURROW_EINVAL, "the initializer's arguments are %zu bytes, over %u",
                              initializer.size, WIRE_PAYLOAD_BYTES_MAX);
    }
    return wire_initializer_encode(&initializer, &engine->head)
               ? FURROW_OK
               : task_set_plain_error(FURROW_ENOMEM);
}

static void join(uint8_t *to, const struct engine *engine, const furrow_future *future) {
    memcpy(to, engine->head.data, engine->head.size);
    if (future->task.size > 0) {
        memcpy(to + engine->head.size, future->task.data, future->task.size);
    }
}

furrow_status engine_initializer_prepend(const struct engine *engine, furrow_future *future) {
    size_t size = engine->head.size + future->task.size;
    struct wire_blob *blob;
    uint8_t *data;

    if (size > WIRE_PAYLOAD_BYTES_MAX) {
        return task_set_error(FURROW_ETOOBIG,
                              "arguments of %zu bytes, with the initializer's, are over the limit "
                              "of %u",
                              size, WIRE_PAYLOAD_BYTES_MAX);
    }
    if (size <= FUTURE_INLINE_BYTES) {
        BASE_ASSERT(future->storage == FUTURE_BORROWED);
        memmove(future->bytes + engine->head.size, future->bytes, future->task.size);
        memcpy(future->bytes, engine->head.data, engine->head.size);
        future->task.size = (uint32_t)size;
        return FURROW_OK;
    }
    if (size >= WIRE_LARGE_BYTES_MIN) {
        blob = wire_blob_new(size);
        if (blob == NULL) {
            return task_set_plain_error(FURROW_ENOMEM);
        }
        join(blob->data, engine, future);
        future_drop_arguments(future);
        future_take_blob(future, blob);
        return FURROW_OK;
    }
    data = malloc(size);
    if (data == NULL) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    join(data, engine, future);
    future_drop_arguments(future);
    (void)future_take_arguments(future, data, size); /* needs memory for large ones only */
    return FURROW_OK;
}

/* Other tasks are broken one by one, by something of their own (a value that there was no memory to
 * receive): here the function that failed is not the task's, but the initializer. */
void engine_initializer_look(struct engine *engine, const struct client_action *action) {
    const furrow_function *initializer = engine->base.options.initializer;
    char text[ENGINE_TEXT_BYTES];
    struct wire_error error;

    if (engine->head.size == 0 || engine->break_due || engine->broken ||
        !wire_error_decode(action->data, action->size, &error) ||
        error.function.size != strlen(initializer->name) ||
        memcmp(error.function.data, initializer->name, error.function.size) != 0) {
        return;
    }
    (void)snprintf(text, sizeof text, "%.*s (pid %lld on %.*s)", (int)error.message.size,
                   error.message.data, (long long)error.pid, (int)error.host.size, error.host.data);
    base_log(&engine->base.log, BASE_LOG_ERROR, "%s", text);
    engine_break(engine, WIRE_KIND_BROKEN, "%s", text);
}
