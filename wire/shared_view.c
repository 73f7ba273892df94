/* Reading in the memory of others, references, and the frames that carry them. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "wire/reader.h"
#include "wire/shared_private.h"

/* ---------------------------------------------------------------- references */

#define REFERENCE_FIELDS 4u

struct wire_blob *shared_reference_encode(const struct shared_reference *reference) {
    uint8_t bytes[SHARED_REFERENCE_BYTES_MAX], *at = bytes;

    *at++ = 0x90 | REFERENCE_FIELDS;
    at = wire_write_uint(at, reference->unit);
    at = wire_write_uint(at, reference->generation);
    at = wire_write_uint(at, reference->offset);
    at = wire_write_uint(at, reference->size);
    return wire_blob_copy(bytes, (size_t)(at - bytes));
}

bool shared_reference_decode(const struct wire_blob *frame, struct shared_reference *reference) {
    struct wire_reader in = wire_reader_of(frame->data, frame->size);
    uint64_t fields[REFERENCE_FIELDS];
    uint32_t count;

    if (!wire_read_array(&in, &count) || count != REFERENCE_FIELDS) {
        return false;
    }
    for (uint32_t i = 0; i < REFERENCE_FIELDS; i++) {
        if (!wire_read_uint(&in, &fields[i])) {
            return false;
        }
    }
    if (wire_left(&in) != 0 || fields[0] > UINT32_MAX || fields[1] > UINT32_MAX ||
        fields[3] < WIRE_LARGE_BYTES_MIN || fields[3] > WIRE_PAYLOAD_BYTES_MAX) {
        return false;
    }
    *reference =
        (struct shared_reference){(uint32_t)fields[0], (uint32_t)fields[1], fields[2], fields[3]};
    return true;
}

/* --------------------------------------------------------------------- views */

struct view_blob {
    struct wire_blob blob;
    struct shared_view *view;
    uint32_t unit;
};

void shared_view_unref(struct shared_view *view) {
    if (view == NULL || atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    shared_unmap(&view->mapped[0]);
    shared_unmap(&view->mapped[1]);
    shared_heap_unref(view->heap);
    free(view);
}

static void view_blob_destroy(struct wire_blob *blob) {
    struct view_blob *held = BASE_CONTAINER_OF(blob, struct view_blob, blob);

    atomic_fetch_sub_explicit(&held->view->holds[held->unit], 1, memory_order_release);
    shared_view_unref(held->view);
    free(held);
}

/* What a reference says came from another process, and is not believed. */
static bool is_inside(const struct shared_view *view, const struct shared_reference *reference) {
    uint64_t room;

    if (reference->unit >= view->units) {
        return false;
    }
    room = (uint64_t)(view->units - reference->unit) * WIRE_SHARED_UNIT_BYTES;
    return reference->offset <= room && reference->size <= room - reference->offset;
}

struct wire_blob *shared_view_blob(struct shared_view *view,
                                   const struct shared_reference *reference) {
    struct view_blob *held;

    if (!is_inside(view, reference)) {
        return NULL;
    }
    held = malloc(sizeof *held);
    if (held == NULL) {
        return NULL;
    }
    /* See is_held of the heap. */
    atomic_fetch_add(&view->holds[reference->unit], 1);
    if (atomic_load(&view->generations[reference->unit]) != reference->generation) {
        atomic_fetch_sub(&view->holds[reference->unit], 1);
        free(held);
        return NULL;
    }
    atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
    held->view = view;
    held->unit = reference->unit;
    atomic_init(&held->blob.refs, 1);
    /* Only read, as every blob is once it is shared. */
    held->blob.data = (uint8_t *)(uintptr_t)view->blocks +
                      (size_t)reference->unit * WIRE_SHARED_UNIT_BYTES + (size_t)reference->offset;
    held->blob.size = (size_t)reference->size;
    held->blob.destroy = view_blob_destroy;
    return &held->blob;
}

/* -------------------------------------------------------------------- frames */

#define FIRST_LARGE 2u

struct wire_message *shared_frames_out(const struct wire_shared_heap *heap,
                                       struct wire_message *message) {
    struct wire_blob *frames[WIRE_FRAMES_MAX];
    struct wire_message *other;
    struct shared_reference reference;
    uint32_t count = message->frame_count, replaced = 0, made = 0;

    for (; made < count; made++) {
        frames[made] = NULL;
        if (made >= FIRST_LARGE && shared_heap_refer(heap, message->frames[made], &reference)) {
            frames[made] = shared_reference_encode(&reference);
            replaced += frames[made] != NULL;
        }
        if (frames[made] == NULL) { /* also without memory: then the bytes themselves are sent */
            frames[made] = wire_blob_ref(message->frames[made]);
        }
    }
    other = replaced == 0 ? NULL : wire_message_new(frames, count);
    if (other == NULL) {
        for (uint32_t i = 0; i < made; i++) {
            wire_blob_unref(frames[i]);
        }
        return message;
    }
    wire_message_unref(message);
    return other;
}

bool shared_frames_in(struct shared_view *view, struct wire_message *message) {
    for (uint32_t i = FIRST_LARGE; i < message->frame_count; i++) {
        struct wire_blob *frame = message->frames[i], *blob;
        struct shared_reference reference;

        if (frame->size >= WIRE_LARGE_BYTES_MIN) {
            continue;
        }
        if (view == NULL || !shared_reference_decode(frame, &reference)) {
            return false;
        }
        blob = shared_view_blob(view, &reference);
        if (blob == NULL) {
            return false;
        }
        wire_blob_unref(frame);
        message->frames[i] = blob;
    }
    return true;
}
