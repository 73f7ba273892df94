/* A growable byte buffer. Lack of memory is sticky: after a failed append all further ones fail too
 * and change nothing, so that a run of appends is checked once, at its end, by `failed`.
 * No function blocks; the caller keeps threads apart. */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"

struct base_buffer {
    uint8_t *data;
    size_t size;      /* bytes in use */
    size_t capacity;  /* bytes usable without asking for more; equals size once failed */
    size_t allocated; /* bytes at data */
    bool failed;      /* an append or reserve found no memory; clear resets it */
};

/* base_buffer_init makes an empty buffer, which is also what zeroed memory is; allocates nothing. */
static inline void base_buffer_init(struct base_buffer *buffer) {
    memset(buffer, 0, sizeof *buffer);
}

/* base_buffer_fini frees the bytes and leaves an empty buffer. */
void base_buffer_fini(struct base_buffer *buffer);

/* base_buffer_clear forgets the contents and a failure, and keeps the memory. */
static inline void base_buffer_clear(struct base_buffer *buffer) {
    buffer->size = 0;
    buffer->capacity = buffer->allocated;
    buffer->failed = false;
}

/* base_buffer_trim gives memory beyond `keep_bytes` back, if the contents allow it: for a buffer that
 * is reused and has once been large. */
void base_buffer_trim(struct base_buffer *buffer, size_t keep_bytes);

/* base_buffer_grow is the slow path of reserve: not to be called by others. */
bool base_buffer_grow(struct base_buffer *buffer, size_t bytes);

/* base_buffer_reserve makes room for `bytes` more and returns where they begin, or NULL if there is
 * no memory (never NULL otherwise, for 0 bytes too). The contents grow by base_buffer_commit only.
 * The pointer is good until the next call that may grow the buffer. */
static inline uint8_t *base_buffer_reserve(struct base_buffer *buffer, size_t bytes) {
    if (BASE_UNLIKELY(buffer->capacity - buffer->size < bytes || buffer->capacity == 0) &&
        !base_buffer_grow(buffer, bytes)) {
        return NULL;
    }
    return BASE_UNLIKELY(buffer->failed) ? NULL : buffer->data + buffer->size;
}

/* base_buffer_commit makes `bytes`, written where reserve said, part of the contents. */
static inline void base_buffer_commit(struct base_buffer *buffer, size_t bytes) {
    BASE_ASSERT(bytes <= buffer->capacity - buffer->size);
    buffer->size += bytes;
}

/* base_buffer_append copies `bytes` bytes to the end. Returns false if there is no memory. `data` may
 * be NULL if bytes is 0, and must not point into the buffer. */
static inline bool base_buffer_append(struct base_buffer *buffer, const void *data, size_t bytes) {
    if (BASE_UNLIKELY(buffer->capacity - buffer->size < bytes) &&
        !base_buffer_grow(buffer, bytes)) {
        return false;
    }
    if (bytes > 0) {
        memcpy(buffer->data + buffer->size, data, bytes);
        buffer->size += bytes;
    }
    return !buffer->failed;
}

/* base_buffer_append_u8 adds one byte. Returns false if there is no memory. */
static inline bool base_buffer_append_u8(struct base_buffer *buffer, uint8_t byte) {
    if (BASE_UNLIKELY(buffer->capacity == buffer->size) && !base_buffer_grow(buffer, 1)) {
        return false;
    }
    buffer->data[buffer->size++] = byte;
    return true;
}

/* base_buffer_detach hands the bytes to the caller, who frees them with free(), and leaves an empty
 * buffer. *size gets their number. Returns NULL if the buffer is empty or has failed: then it is
 * emptied as well and *size is 0. */
uint8_t *base_buffer_detach(struct base_buffer *buffer, size_t *size);

#endif
