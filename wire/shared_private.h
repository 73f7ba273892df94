/* The inside of shared memory: heaps (whose owner this process is), views (of the heaps of others), and
 * references. */
#ifndef WIRE_SHARED_PRIVATE_H
#define WIRE_SHARED_PRIVATE_H

#include "base/list.h"
#include "wire/shared.h"

/* ------------------------------------------------------------------ layout */

typedef _Atomic uint32_t shared_word;

/* How `units` units lie in a memory from some offset on: a generation for each, then the units. */
struct shared_layout {
    uint32_t units;
    size_t generations_at, blocks_at, end;
};
struct shared_layout shared_layout_of(size_t at, uint32_t units);

/* The beginning of a guest's memory: written by home, but for `mapped`. */
struct shared_head {
    uint32_t version;
    uint32_t home_units, own_units;
    shared_word mapped; /* the guest has mapped both memories */
};
#define SHARED_VERSION 1u

struct shared_guest_layout {
    size_t held_by_guest_at, held_by_home_at; /* a word for each unit of the other's heap */
    size_t control_bytes;                     /* head and holds: what both write */
    struct shared_layout heap;
};
struct shared_guest_layout shared_guest_layout_of(uint32_t home_units, uint32_t own_units);

struct shared_mapping {
    void *at; /* NULL: none */
    size_t bytes;
};
/* shared_map maps bytes [offset, offset + bytes) of a memory; 0 or an errno. */
int shared_map(struct shared_mapping *mapping, int fd, size_t offset, size_t bytes, bool writable);
void shared_unmap(struct shared_mapping *mapping);

/* -------------------------------------------------------------- references */

struct shared_reference {
    uint32_t unit, generation; /* of the block */
    uint64_t offset, size;     /* of the bytes, from the block's beginning on */
};
#define SHARED_REFERENCE_BYTES_MAX 40u

/* shared_reference_encode gives the frame; NULL: no memory. */
struct wire_blob *shared_reference_encode(const struct shared_reference *reference);
/* shared_reference_decode checks shape and limits; false: it is none. */
bool shared_reference_decode(const struct wire_blob *frame, struct shared_reference *reference);

/* ------------------------------------------------------------------- heaps */

/* A process that reads in a heap: its holds, of the heap's units. */
struct shared_reader {
    struct base_node node;
    const shared_word *holds;
};

/* shared_heap_new takes over the mapping, and makes a heap of the part of it at `at`. holds, in the same
 * mapping: those of a reader who is there as long as the heap; may be NULL. NULL: no memory, the mapping
 * is still the caller's. */
struct wire_shared_heap *shared_heap_new(struct shared_mapping *mapping, size_t at, uint32_t units,
                                         const shared_word *holds);
struct wire_shared_heap *shared_heap_ref(struct wire_shared_heap *heap);
void shared_heap_unref(struct wire_shared_heap *heap); /* NULL is fine */
void shared_heap_add_reader(struct wire_shared_heap *heap, struct shared_reader *reader);
void shared_heap_remove_reader(struct wire_shared_heap *heap, struct shared_reader *reader);
/* shared_heap_refer says how to refer to a blob; false: it is no block of this heap. */
bool shared_heap_refer(const struct wire_shared_heap *heap, const struct wire_blob *blob,
                       struct shared_reference *reference);

/* ------------------------------------------------------------------- views */

struct shared_view {
    _Atomic uint32_t refs; /* its owner's, and one for each blob */
    uint32_t units;
    const uint8_t *blocks;
    const shared_word *generations;
    shared_word *holds;              /* ours */
    struct shared_mapping mapped[2]; /* what all this lies in; unmapped with the view */
    struct wire_shared_heap *heap;   /* or this keeps it mapped */
};

void shared_view_unref(struct shared_view *view); /* NULL is fine */
/* shared_view_blob gives what a reference stands for, and holds it until the blob is destroyed. NULL: it
 * is nowhere inside, its block is another by now, or there is no memory. */
struct wire_blob *shared_view_blob(struct shared_view *view,
                                   const struct shared_reference *reference);

/* ------------------------------------------------------------------ frames */

/* shared_frames_out and shared_frames_in do what wire_shared_out and wire_shared_in say. */
struct wire_message *shared_frames_out(const struct wire_shared_heap *heap,
                                       struct wire_message *message);
/* view NULL: nothing can be referred to. */
bool shared_frames_in(struct shared_view *view, struct wire_message *message);

#endif
