#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "libclient/submit.h"
#include "task/status.h"
#include "wire/value.h"

/* pack tries without pointers first, so as to know whether there are any. */
static enum wire_value_status pack(furrow_partial *partial, struct base_buffer *buffer,
                                   const char *format, va_list *arguments,
                                   struct wire_value_fault *fault) {
    enum wire_value_status packed;
    va_list again;

    va_copy(again, *arguments);
    packed = wire_value_pack(buffer, &partial->count, false, format, &again, fault);
    va_end(again);
    if (packed == WIRE_VALUE_POINTER) {
        partial->pointers = true;
        partial->count = 0;
        packed = wire_value_pack(buffer, &partial->count, true, format, arguments, fault);
    }
    return packed;
}

furrow_partial *furrow_partial_new_function(const furrow_function *function, const char *format,
                                            ...) {
    furrow_partial *partial = calloc(1, sizeof *partial);
    struct wire_value_fault fault = {""};
    enum wire_value_status packed;
    struct base_buffer buffer;
    va_list arguments;

    if (partial == NULL) {
        (void)task_set_plain_error(FURROW_ENOMEM);
        return NULL;
    }
    partial->function = function;
    base_buffer_init(&buffer);
    va_start(arguments, format);
    packed = pack(partial, &buffer, format == NULL ? "" : format, &arguments, &fault);
    va_end(arguments);
    if (packed == WIRE_VALUE_OK && buffer.size <= WIRE_PAYLOAD_BYTES_MAX) {
        partial->data = base_buffer_detach(&buffer, &partial->size);
        return partial;
    }
    if (packed == WIRE_VALUE_OK) {
        (void)task_set_plain_error(FURROW_ETOOBIG);
    } else {
        (void)task_set_value_error(packed, &fault);
    }
    base_buffer_fini(&buffer);
    free(partial);
    return NULL;
}

void furrow_partial_free(furrow_partial **partial) {
    if (partial != NULL && *partial != NULL) {
        free((*partial)->data);
        free(*partial);
        *partial = NULL;
    }
}

furrow_status submit_check_partial(const furrow_executor *executor, const furrow_partial *partial) {
    if (partial->pointers && !executor->ops->allow_pointers) {
        return task_set_error(
            FURROW_EUNSUPPORTED,
            "pointers (p) can't be passed to the executor %s:", executor->ops->scheme);
    }
    return FURROW_OK;
}

furrow_future *furrow_submit_partial(furrow_executor *executor,
                                     const furrow_submit_options *options,
                                     const furrow_partial *partial, const char *format, ...) {
    struct executor_class *class_;
    furrow_future *future;
    va_list arguments;

    if (executor_check(executor) != FURROW_OK ||
        submit_check_partial(executor, partial) != FURROW_OK) {
        return NULL;
    }
    class_ = executor_class_of(executor, partial->function, NULL, 0, options, 0);
    if (class_ == NULL) {
        return NULL;
    }
    va_start(arguments, format);
    future = submit_values(executor, class_, partial->data, partial->size, format, &arguments);
    va_end(arguments);
    return future;
}
