/* The memory of messages: blobs and the messages that are made of them. */
#ifndef WIRE_BLOB_H
#define WIRE_BLOB_H

#include "base/assert.h"
#include "wire/limits.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* A blob is a run of bytes with a count of references; the shell makes one around a received ZeroMQ
 * frame, the codec around memory of its own. References may be dropped on any thread (ZeroMQ's
 * included); `destroy` then runs there. */
struct wire_blob {
    _Atomic uint32_t refs;
    uint8_t *data; /* written only by whoever made it, before it is shared; never NULL */
    size_t size;
    void (*destroy)(struct wire_blob *blob);
};

struct wire_blob *wire_blob_new(size_t size);                    /* NULL: no memory */
struct wire_blob *wire_blob_copy(const void *data, size_t size); /* NULL: no memory */
struct wire_blob *wire_blob_ref(struct wire_blob *blob);
void wire_blob_unref(struct wire_blob *blob); /* NULL is fine */

#define WIRE_FRAMES_MAX (2u + WIRE_LARGE_COUNT_MAX)

/* A message: frames[0] the header, frames[1] the small payloads (batches only), then large ones.
 * One owner at a time counts its references; not for several threads. */
struct wire_message {
    uint32_t refs;
    uint32_t frame_count;
    struct wire_blob *frames[WIRE_FRAMES_MAX];
};

/* wire_message_new takes over the references in `frames` on success; frame_count is at most
 * WIRE_FRAMES_MAX (refuse a longer message before). NULL: no memory. */
struct wire_message *wire_message_new(struct wire_blob **frames, uint32_t frame_count);
size_t wire_message_bytes(const struct wire_message *message);
/* wire_message_free is what wire_message_unref does when it was the last one. */
void wire_message_free(struct wire_message *message);

/* wire_message_ref_times takes `count` references. */
static inline void wire_message_ref_times(struct wire_message *message, uint32_t count) {
    BASE_ASSERT(message->refs > 0 && message->refs <= UINT32_MAX - count);
    message->refs += count;
}

static inline struct wire_message *wire_message_ref(struct wire_message *message) {
    wire_message_ref_times(message, 1);
    return message;
}

static inline void wire_message_unref(struct wire_message *message) { /* NULL is fine */
    if (message != NULL) {
        BASE_ASSERT(message->refs > 0);
        if (--message->refs == 0) {
            wire_message_free(message);
        }
    }
}

#endif
