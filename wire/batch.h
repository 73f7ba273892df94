/* Batches: many small things in one message (docs/protocol.md section 3.1).
 *
 * What is done once an entry is inline here, for entries with small payloads; the rest is in
 * batch_writer.c and batch_reader.c. */
#ifndef WIRE_BATCH_H
#define WIRE_BATCH_H

#include "wire/blob.h"
#include "wire/bytes.h"
#include "wire/types.h"

#include "base/assert.h"
#include "base/copy.h"

#include <stdbool.h>

#define WIRE_EXTRA_MAX 2u
#define WIRE_KEY_MAX   5u
#define WIRE_ENTRY_MAX 3u

/* The shape of a batch: how many integers its extra, group key and entry have (without `size`). */
struct wire_shape {
    uint8_t type;
    uint8_t extra;
    uint8_t key;
    uint8_t entry;
    bool payload;
};
/* Those of docs/protocol.md section 3.1. */
#define WIRE_SHAPE_SUBMIT                                                                          \
    { WIRE_SUBMIT, 0, 3, 1, true }
#define WIRE_SHAPE_CANCEL                                                                          \
    { WIRE_CANCEL, 0, 0, 1, false }
#define WIRE_SHAPE_OUTCOMES                                                                        \
    { WIRE_OUTCOMES, 2, 1, 1, true }
#define WIRE_SHAPE_VERDICTS                                                                        \
    { WIRE_VERDICTS, 0, 1, 1, false }
#define WIRE_SHAPE_STARTED                                                                         \
    { WIRE_STARTED, 0, 0, 1, false }
#define WIRE_SHAPE_CREDIT                                                                          \
    { WIRE_CREDIT, 2, 0, 0, false }
#define WIRE_SHAPE_RUN                                                                             \
    { WIRE_RUN, 0, 5, 3, true }
#define WIRE_SHAPE_RECALL                                                                          \
    { WIRE_RECALL, 1, 0, 1, false }
#define WIRE_SHAPE_INTERRUPT                                                                       \
    { WIRE_INTERRUPT, 0, 0, 1, false }
#define WIRE_SHAPE_RESULTS                                                                         \
    { WIRE_RESULTS, 1, 1, 1, true }
#define WIRE_SHAPE_RETURNED                                                                        \
    { WIRE_RETURNED, 0, 1, 1, false }
#define WIRE_SHAPE_RUNNING                                                                         \
    { WIRE_RUNNING, 0, 0, 1, false }
#define WIRE_SHAPE_CLAIMS                                                                          \
    { WIRE_CLAIMS, 1, 2, 3, false }

/* wire_shape_of gives the shape of a batch type, NULL for other types. */
const struct wire_shape *wire_shape_of(unsigned type);

/* ----------------------------------------------------------------- writing */

/* Memory that is written to the end. */
struct wire_area {
    uint8_t *data;
    size_t size;
    size_t room;
    size_t expected; /* how much the next message will need, from what the last one did */
};

/* A writer builds one batch message after the other, and keeps its memory in between. Its fields are
 * for the functions below. */
struct wire_writer {
    struct wire_shape shape;
    uint32_t count;
    uint32_t open; /* entries that the open group may still take; 0: none is open */
    struct wire_area header;
    struct wire_area payload;
    uint64_t key[WIRE_KEY_MAX]; /* of the open group */
    uint32_t group_count;
    uint32_t group_first; /* which entry the open group begins with */
    size_t group_at;      /* where its number of integers goes */
    uint32_t large_count;
    size_t large_bytes;
    struct wire_blob *large[WIRE_LARGE_COUNT_MAX];
};

struct wire_writer *wire_writer_new(enum wire_type type); /* NULL: no memory */
void wire_writer_free(struct wire_writer *writer);

/* wire_writer_count gives how many entries there are so far. */
static inline uint32_t wire_writer_count(const struct wire_writer *writer) {
    return writer->count;
}

enum wire_put { WIRE_PUT_OK, WIRE_PUT_FULL, WIRE_PUT_NOMEM };

/* What an entry takes in the header at most. */
#define WIRE_ENTRY_BYTES_MAX ((WIRE_ENTRY_MAX + 1) * WIRE_UINT_BYTES_MAX)

/* wire_writer_put adds an entry; a new group begins when `key` differs from the last one's.
 *
 * key, entry  as many integers as the shape says; borrowed
 * data, size  the payload, copied if below WIRE_LARGE_BYTES_MIN; NULL, 0 in shapes without
 * large       a blob with exactly these bytes, of which a reference is kept if size is
 *             WIRE_LARGE_BYTES_MIN or more; NULL: the bytes are copied into a new one
 *
 * FULL: finish this message and put again. NOMEM and FULL leave the writer as it was. */
enum wire_put wire_writer_put(struct wire_writer *writer, const uint64_t *key,
                              const uint64_t *entry, const void *data, size_t size,
                              struct wire_blob *large);

/* For those below `shape` is the writer's own, and a constant: so nothing is left of what it decides. */

static inline bool wire_writer_same_key(const struct wire_writer *writer,
                                        const struct wire_shape shape, const uint64_t *key) {
    for (unsigned i = 0; i < shape.key; i++) {
        if (writer->key[i] != key[i]) {
            return false;
        }
    }
    return true;
}

/* wire_writer_add writes an entry's integers, for which there must be room. */
static inline void wire_writer_add(struct wire_writer *writer, const struct wire_shape shape,
                                   const uint64_t *entry, size_t size) {
    uint8_t *at = writer->header.data + writer->header.size;
    at = wire_write_uint(at, entry[0]);
    if (shape.entry > 1) {
        at = wire_write_uint(at, entry[1]);
        at = wire_write_uint(at, entry[2]);
    }
    if (shape.payload) {
        at = wire_write_uint(at, size);
    }
    writer->header.size = (size_t)(at - writer->header.data);
    writer->open--;
    writer->count++;
}

/* wire_writer_put_again is wire_writer_put for those who have put the writer's last entry too, with the
 * same key. */
static inline enum wire_put wire_writer_put_again(struct wire_writer *writer,
                                                  const struct wire_shape shape,
                                                  const uint64_t *key, const uint64_t *entry,
                                                  const void *data, size_t size,
                                                  struct wire_blob *large) {
    struct wire_area *payload = &writer->payload;
    if (BASE_UNLIKELY(writer->open == 0 || size >= WIRE_LARGE_BYTES_MIN ||
                      payload->room - payload->size < size ||
                      payload->size + size > WIRE_BATCH_BYTES_MAX ||
                      writer->header.room - writer->header.size < WIRE_ENTRY_BYTES_MAX)) {
        return wire_writer_put(writer, key, entry, data, size, large);
    }
    if (size > 0) {
        base_copy_short(payload->data + payload->size, data, size);
        payload->size += size;
    }
    wire_writer_add(writer, shape, entry, size);
    return WIRE_PUT_OK;
}

/* wire_writer_put_quick is wire_writer_put, whatever the last entry was. */
static inline enum wire_put wire_writer_put_quick(struct wire_writer *writer,
                                                  const struct wire_shape shape,
                                                  const uint64_t *key, const uint64_t *entry,
                                                  const void *data, size_t size,
                                                  struct wire_blob *large) {
    if (BASE_UNLIKELY(!wire_writer_same_key(writer, shape, key))) {
        return wire_writer_put(writer, key, entry, data, size, large);
    }
    return wire_writer_put_again(writer, shape, key, entry, data, size, large);
}

/* wire_writer_finish gives the message (seq and ack 0), and empties the writer. `extra` as many
 * integers as the shape says (NULL if none). NULL: no memory, the writer keeps what it has. */
struct wire_message *wire_writer_finish(struct wire_writer *writer, const uint64_t *extra);
void wire_writer_clear(struct wire_writer *writer);

/* ----------------------------------------------------------------- reading */

/* A batch that is being read; it borrows the message. */
struct wire_batch {
    const struct wire_message *message;
    const struct wire_shape *shape;
    uint64_t extra[WIRE_EXTRA_MAX];
    uint32_t entry_count; /* of the whole message */
    /* below: the reader's */
    uint32_t groups_left, entries_left, next_large;
    const uint8_t *at;         /* in the header */
    const uint8_t *payload_at; /* in the small payloads */
    uint64_t key[WIRE_KEY_MAX];
};
struct wire_entry {
    const uint64_t *key; /* of its group; until the next group */
    uint64_t values[WIRE_ENTRY_MAX];
    const uint8_t *data; /* until the message goes; valid also for size 0 */
    size_t size;
    struct wire_blob *large; /* the frame, if it is a large payload (not a reference), else NULL */
    bool new_group;          /* first of its group */
};

/* wire_batch_open checks the whole message against the shape of its type, its frames and the
 * limits. False: *fault, and nothing may be used. */
bool wire_batch_open(struct wire_batch *batch, const struct wire_message *message,
                     struct wire_fault *fault);

/* wire_batch_next gives the next entry; false at the end. It can't fail. */
bool wire_batch_next(struct wire_batch *batch, struct wire_entry *entry);

bool wire_batch_next_group(struct wire_batch *batch);
uint64_t wire_batch_uint_slow(struct wire_batch *batch);
struct wire_blob *wire_batch_next_large(struct wire_batch *batch);

/* wire_batch_uint reads an integer of an open batch, whose bytes are known to be right. */
static inline uint64_t wire_batch_uint(struct wire_batch *batch) {
    const uint8_t *at = batch->at;
    if (*at < 0x80) {
        batch->at = at + 1;
        return *at;
    }
    if (BASE_LIKELY(*at == 0xcf)) {
        batch->at = at + 9;
        return wire_load64(at + 1);
    }
    return wire_batch_uint_slow(batch);
}

/* wire_batch_next_quick is wire_batch_next for those who know the batch's shape, as a constant. An entry
 * whose address is given to nobody else stays in registers. */
static inline bool wire_batch_next_quick(struct wire_batch *batch, const struct wire_shape shape,
                                         struct wire_entry *entry) {
    entry->new_group = batch->entries_left == 0;
    if (BASE_UNLIKELY(entry->new_group) && !wire_batch_next_group(batch)) {
        return false;
    }
    batch->entries_left--;
    entry->key = batch->key;
    for (unsigned i = 0; i < shape.entry; i++) {
        entry->values[i] = wire_batch_uint(batch);
    }
    entry->size = shape.payload ? (size_t)wire_batch_uint(batch) : 0;
    entry->data = batch->payload_at;
    entry->large = NULL;
    if (BASE_LIKELY(entry->size < WIRE_LARGE_BYTES_MIN)) {
        batch->payload_at += entry->size;
    } else {
        entry->large = wire_batch_next_large(batch);
        entry->data = entry->large->data;
    }
    return true;
}

#endif
