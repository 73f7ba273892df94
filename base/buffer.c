#include "base/buffer.h"

#include <stdlib.h>

#define ALLOCATED_MIN 64

void base_buffer_fini(struct base_buffer *buffer) {
    free(buffer->data);
    base_buffer_init(buffer);
}

bool base_buffer_grow(struct base_buffer *buffer, size_t bytes) {
    size_t needed = buffer->size + bytes;
    size_t allocated = buffer->allocated < ALLOCATED_MIN ? ALLOCATED_MIN : buffer->allocated;
    uint8_t *data = NULL;

    if (buffer->failed) {
        return false;
    }
    if (needed >= buffer->size && needed <= PTRDIFF_MAX) {
        while (allocated < needed) {
            allocated += allocated / 2;
        }
        data = realloc(buffer->data, allocated);
    }
    if (data == NULL) {
        buffer->failed = true;
        buffer->capacity = buffer->size;
        return false;
    }
    buffer->data = data;
    buffer->allocated = allocated;
    buffer->capacity = allocated;
    return true;
}

void base_buffer_trim(struct base_buffer *buffer, size_t keep_bytes) {
    size_t target = buffer->size > keep_bytes ? buffer->size : keep_bytes;

    if (buffer->failed || buffer->allocated <= target) {
        return;
    }
    if (target == 0) {
        base_buffer_fini(buffer);
    } else {
        uint8_t *data = realloc(buffer->data, target);

        if (data != NULL) {
            buffer->data = data;
            buffer->allocated = target;
            buffer->capacity = target;
        }
    }
}

uint8_t *base_buffer_detach(struct base_buffer *buffer, size_t *size) {
    uint8_t *data = NULL;

    *size = 0;
    if (!buffer->failed && buffer->size > 0) {
        data = buffer->data;
        *size = buffer->size;
        buffer->data = NULL;
    }
    base_buffer_fini(buffer);
    return data;
}
