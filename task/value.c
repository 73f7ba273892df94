#include "task/value.h"

#include <stdlib.h>

#include "task/status.h"
#include "wire/value.h"

furrow_buffer *furrow_buffer_new(void) {
    furrow_buffer *buffer = calloc(1, sizeof *buffer);

    if (buffer == NULL) {
        task_set_plain_error(FURROW_ENOMEM);
        return NULL;
    }
    base_buffer_init(&buffer->bytes);
    return buffer;
}

void furrow_buffer_free(furrow_buffer **buffer) {
    if (buffer != NULL && *buffer != NULL) {
        base_buffer_fini(&(*buffer)->bytes);
        free(*buffer);
        *buffer = NULL;
    }
}

const void *furrow_buffer_data(const furrow_buffer *buffer) {
    return buffer->bytes.data;
}

size_t furrow_buffer_size(const furrow_buffer *buffer) {
    return buffer->bytes.size;
}

void furrow_buffer_clear(furrow_buffer *buffer) {
    base_buffer_clear(&buffer->bytes);
}

/* A buffer whose last append found no memory is usable again, as what it holds is whole values. */
static void forgive(struct base_buffer *bytes) {
    size_t size = bytes->size;

    if (bytes->failed) {
        base_buffer_clear(bytes);
        bytes->size = size;
    }
}

furrow_status furrow_buffer_pack(furrow_buffer *buffer, const char *format, ...) {
    struct wire_value_fault fault;
    enum wire_value_status status;
    size_t count = 0;
    va_list arguments;

    forgive(&buffer->bytes);
    va_start(arguments, format);
    status = wire_value_pack(&buffer->bytes, &count, false, format, &arguments, &fault);
    va_end(arguments);
    return status == WIRE_VALUE_OK ? FURROW_OK : task_set_value_error(status, &fault);
}

int furrow_buffer_write(void *buffer, const char *data, size_t size) {
    struct base_buffer *bytes = &((furrow_buffer *)buffer)->bytes;

    forgive(bytes);
    return base_buffer_append(bytes, data, size) ? 0 : -1;
}

furrow_status furrow_unpack(const void *data, size_t size, const char *format, ...) {
    struct wire_value_fault fault;
    enum wire_value_status status;
    size_t count = 0;
    va_list arguments;

    if (!wire_value_check(data, size, &count)) {
        return task_set_error(FURROW_EARGS, "the data is not a sequence of packed values");
    }
    va_start(arguments, format);
    status = wire_value_unpack(data, size, format, &arguments, NULL, &fault);
    va_end(arguments);
    return status == WIRE_VALUE_OK ? FURROW_OK : task_set_value_error(status, &fault);
}
