#include "wire/block.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

static void blob_destroy(struct wire_blob *blob) {
    free(blob);
}

struct wire_blob *wire_blob_new(size_t size) {
    if (size > SIZE_MAX - sizeof(struct wire_blob)) {
        return NULL;
    }
    struct wire_blob *blob = malloc(sizeof *blob + size);
    if (blob == NULL) {
        return NULL;
    }
    atomic_init(&blob->refs, 1);
    blob->data = (uint8_t *)(blob + 1);
    blob->size = size;
    blob->destroy = blob_destroy;
    return blob;
}

struct wire_blob *wire_blob_copy(const void *data, size_t size) {
    struct wire_blob *blob = wire_blob_new(size);
    if (blob != NULL && size > 0) {
        memcpy(blob->data, data, size);
    }
    return blob;
}

struct wire_blob *wire_blob_ref(struct wire_blob *blob) {
    uint32_t before = atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
    BASE_ASSERT(before > 0 && before < UINT32_MAX);
    return blob;
}

void wire_blob_unref(struct wire_blob *blob) {
    if (blob == NULL) {
        return;
    }
    /* The last holder needs no read-modify-write: nobody else can take a reference any more. */
    if (atomic_load_explicit(&blob->refs, memory_order_acquire) == 1) {
        atomic_store_explicit(&blob->refs, 0, memory_order_relaxed);
        blob->destroy(blob);
        return;
    }
    uint32_t before = atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel);
    BASE_ASSERT(before > 0);
    if (before == 1) {
        blob->destroy(blob);
    }
}

/* ------------------------------------------------------------------ blocks */

struct block;

struct block_blob {
    struct wire_blob blob;
    struct block *block;
    uint8_t *owned;
};

/* Held by the message and by each blob inside; the last of them to go frees it. A message of foreign
 * frames is a block without blobs. */
struct block {
    struct wire_message message;
    _Atomic uint32_t holders;
    struct block_blob blobs[];
};

static void block_release(struct block *block) {
    if (atomic_load_explicit(&block->holders, memory_order_acquire) == 1 ||
        atomic_fetch_sub_explicit(&block->holders, 1, memory_order_acq_rel) == 1) {
        free(block);
    }
}

static void block_blob_destroy(struct wire_blob *blob) {
    struct block_blob *inner = BASE_CONTAINER_OF(blob, struct block_blob, blob);
    free(inner->owned);
    block_release(inner->block);
}

struct wire_message *wire_message_make(const struct wire_part *parts, uint32_t count) {
    BASE_ASSERT(count > 0 && count <= WIRE_PARTS_MAX);
    size_t bytes = sizeof(struct block) + count * sizeof(struct block_blob);
    size_t inside = bytes;
    for (uint32_t i = 0; i < count; i++) {
        bytes += parts[i].owned == NULL ? parts[i].size : 0;
    }
    struct block *block = malloc(bytes);
    if (block == NULL) {
        return NULL;
    }
    uint8_t *at = (uint8_t *)block + inside;
    block->message.refs = 1;
    block->message.frame_count = count;
    atomic_init(&block->holders, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        struct block_blob *inner = &block->blobs[i];
        uint8_t *data = at;
        if (parts[i].owned != NULL) {
            data = parts[i].owned + (parts[i].data - parts[i].owned);
        } else if (parts[i].size > 0) {
            memcpy(at, parts[i].data, parts[i].size);
            at += parts[i].size;
        }
        atomic_init(&inner->blob.refs, 1);
        inner->blob.data = data;
        inner->blob.size = parts[i].size;
        inner->blob.destroy = block_blob_destroy;
        inner->block = block;
        inner->owned = parts[i].owned;
        block->message.frames[i] = &inner->blob;
    }
    return &block->message;
}

/* ---------------------------------------------------------------- messages */

struct wire_message *wire_message_new(struct wire_blob **frames, uint32_t frame_count) {
    BASE_ASSERT(frame_count <= WIRE_FRAMES_MAX);
    struct block *block = malloc(sizeof *block);
    if (block == NULL) {
        return NULL;
    }
    block->message.refs = 1;
    block->message.frame_count = frame_count;
    atomic_init(&block->holders, 1);
    for (uint32_t i = 0; i < frame_count; i++) {
        block->message.frames[i] = frames[i];
    }
    return &block->message;
}

void wire_message_free(struct wire_message *message) {
    for (uint32_t i = 0; i < message->frame_count; i++) {
        wire_blob_unref(message->frames[i]);
    }
    block_release(BASE_CONTAINER_OF(message, struct block, message));
}

size_t wire_message_bytes(const struct wire_message *message) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < message->frame_count; i++) {
        bytes += message->frames[i]->size;
    }
    return bytes;
}
