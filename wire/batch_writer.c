#include "wire/batch.h"
#include "wire/block.h"
#include "wire/shape.h"

#include <stdlib.h>

#define ARRAY16_BYTES 3u
/* What opening a group adds to the header at most. */
#define GROUP_BYTES_MAX (1 + WIRE_KEY_MAX * WIRE_UINT_BYTES_MAX + ARRAY16_BYTES)

/* Up to here the bytes are copied into the message's block and the area stays with the writer; larger
 * areas become the frame themselves, and the writer takes a new one. */
#define COPY_BYTES_MAX     (4u << 10)
#define FIRST_BYTES        512u
#define EXPECTED_BYTES_MAX WIRE_BATCH_BYTES_MAX

static bool area_grow(struct wire_area *area, size_t bytes) {
    size_t room = area->room == 0 ? area->expected : area->room * 2;
    while (room - area->size < bytes) {
        room *= 2;
    }
    uint8_t *data = realloc(area->data, room);
    if (data == NULL) {
        return false;
    }
    area->data = data;
    area->room = room;
    return true;
}

static inline bool area_reserve(struct wire_area *area, size_t bytes) {
    return BASE_LIKELY(area->room - area->size >= bytes) || area_grow(area, bytes);
}

static void area_drop(struct wire_area *area) {
    free(area->data);
    area->data = NULL;
    area->room = 0;
}

/* Forgets the contents, and memory that the next message will hardly need. */
static void area_next(struct wire_area *area) {
    size_t expected = area->size + area->size / 8;
    area->expected = expected < FIRST_BYTES          ? FIRST_BYTES
                     : expected > EXPECTED_BYTES_MAX ? EXPECTED_BYTES_MAX
                                                     : expected;
    area->size = 0;
    if (area->room > 2 * COPY_BYTES_MAX) {
        area_drop(area);
    }
}

/* Offers the contents as a frame; they are taken over if the part says so. */
static struct wire_part area_part(struct wire_area *area) {
    struct wire_part part = {area->data, area->size, NULL};
    if (area->size > COPY_BYTES_MAX) {
        /* Much that is not needed goes back; a little stays, as giving it back costs more than it is
         * worth: large blocks of malloc are then mapped and faulted in anew each time. */
        uint8_t *exact =
            area->room - area->size > area->room / 4 ? realloc(area->data, area->size) : NULL;
        if (exact != NULL) {
            area->data = exact;
            area->room = area->size;
        }
        part.data = part.owned = area->data;
    }
    return part;
}

/* ------------------------------------------------------------------ writers */

struct wire_writer *wire_writer_new(enum wire_type type) {
    const struct wire_layout *layout = wire_layout_of(type);
    BASE_ASSERT(layout != NULL);
    struct wire_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL) {
        return NULL;
    }
    writer->shape = layout->shape;
    writer->header.expected = FIRST_BYTES;
    writer->payload.expected = FIRST_BYTES;
    return writer;
}

static void drop_large(struct wire_writer *writer) {
    for (uint32_t i = 0; i < writer->large_count; i++) {
        wire_blob_unref(writer->large[i]);
    }
    writer->large_count = 0;
    writer->large_bytes = 0;
}

void wire_writer_free(struct wire_writer *writer) {
    if (writer != NULL) {
        drop_large(writer);
        free(writer->header.data);
        free(writer->payload.data);
        free(writer);
    }
}

void wire_writer_clear(struct wire_writer *writer) {
    drop_large(writer);
    area_next(&writer->header);
    area_next(&writer->payload);
    writer->count = 0;
    writer->open = 0;
    writer->group_count = 0;
}

/* The bytes before the first group: envelope, body, extra (always of 9 bytes each, since it is known
 * last), number of groups. */
static inline size_t head_bytes(const struct wire_writer *writer) {
    return WIRE_BODY_AT + 1 + writer->shape.extra * WIRE_UINT_BYTES_MAX + ARRAY16_BYTES;
}

static void close_group(struct wire_writer *writer) {
    const struct wire_shape *shape = &writer->shape;
    if (writer->group_count > 0) {
        uint32_t entries = writer->count - writer->group_first;
        uint32_t integers = entries * (shape->entry + (shape->payload ? 1u : 0u));
        wire_store16(writer->header.data + writer->group_at, (uint16_t)integers);
    }
}

static void open_group(struct wire_writer *writer, const uint64_t *key) {
    uint8_t *at = writer->header.data + writer->header.size;
    close_group(writer);
    *at++ = (uint8_t)(0x90 | (writer->shape.key + 1));
    for (unsigned i = 0; i < writer->shape.key; i++) {
        writer->key[i] = key[i];
        at = wire_write_uint(at, key[i]);
    }
    *at++ = 0xdc;
    writer->group_at = (size_t)(at - writer->header.data);
    writer->header.size = writer->group_at + 2;
    writer->group_first = writer->count;
    writer->group_count++;
    writer->open = WIRE_BATCH_ENTRIES_MAX - writer->count;
}

static enum wire_put keep_large(struct wire_writer *writer, const void *data, size_t size,
                                struct wire_blob *large) {
    BASE_ASSERT(size <= WIRE_PAYLOAD_BYTES_MAX);
    BASE_ASSERT(large == NULL || large->size == size);
    /* A message is heard of when all of it is there: so it does not wait for others. */
    if (writer->large_count == WIRE_LARGE_COUNT_MAX ||
        (writer->large_count > 0 && writer->large_bytes + size > WIRE_LARGE_BYTES_MAX)) {
        return WIRE_PUT_FULL;
    }
    struct wire_blob *blob = large != NULL ? wire_blob_ref(large) : wire_blob_copy(data, size);
    if (blob == NULL) {
        return WIRE_PUT_NOMEM;
    }
    writer->large[writer->large_count++] = blob;
    writer->large_bytes += size;
    return WIRE_PUT_OK;
}

static enum wire_put keep_small(struct wire_area *payload, const void *data, size_t size) {
    if (payload->size + size > WIRE_BATCH_BYTES_MAX) {
        return WIRE_PUT_FULL;
    }
    if (!area_reserve(payload, size)) {
        return WIRE_PUT_NOMEM;
    }
    if (size > 0) {
        memcpy(payload->data + payload->size, data, size);
    }
    payload->size += size;
    return WIRE_PUT_OK;
}

enum wire_put wire_writer_put(struct wire_writer *writer, const uint64_t *key,
                              const uint64_t *entry, const void *data, size_t size,
                              struct wire_blob *large) {
    struct wire_area *header = &writer->header;
    BASE_ASSERT(writer->shape.entry > 0 && (writer->shape.payload || size == 0));

    if (writer->count == WIRE_BATCH_ENTRIES_MAX) {
        return WIRE_PUT_FULL;
    }
    size_t head = header->size == 0 ? head_bytes(writer) : 0;
    if (!area_reserve(header, head + GROUP_BYTES_MAX + WIRE_ENTRY_BYTES_MAX)) {
        return WIRE_PUT_NOMEM;
    }
    header->size += head;
    enum wire_put kept = size >= WIRE_LARGE_BYTES_MIN ? keep_large(writer, data, size, large)
                                                      : keep_small(&writer->payload, data, size);
    if (kept != WIRE_PUT_OK) {
        return kept;
    }
    /* From here on nothing fails. */
    if (writer->open == 0 || !wire_writer_same_key(writer, writer->shape, key)) {
        open_group(writer, key);
    }
    wire_writer_add(writer, writer->shape, entry, size);
    return WIRE_PUT_OK;
}

static void write_head(struct wire_writer *writer, const uint64_t *extra) {
    const struct wire_shape *shape = &writer->shape;
    uint8_t *at = wire_write_envelope(writer->header.data, (enum wire_type)shape->type);
    *at++ = (uint8_t)(0x90 | (shape->extra + 1));
    for (unsigned i = 0; i < shape->extra; i++) {
        *at++ = 0xcf;
        at = wire_store64(at, extra[i]);
    }
    *at++ = 0xdc;
    at = wire_store16(at, (uint16_t)writer->group_count);
    BASE_ASSERT(at == writer->header.data + head_bytes(writer));
}

struct wire_message *wire_writer_finish(struct wire_writer *writer, const uint64_t *extra) {
    struct wire_area *header = &writer->header;
    if (header->size == 0) {
        if (!area_reserve(header, head_bytes(writer))) {
            return NULL;
        }
        header->size = head_bytes(writer);
    }
    close_group(writer);
    write_head(writer, extra);

    struct wire_part parts[] = {area_part(header), area_part(&writer->payload)};
    struct wire_message *message = wire_message_make(parts, 2);
    if (message == NULL) {
        return NULL;
    }
    if (parts[0].owned != NULL) {
        header->data = NULL;
        header->room = 0;
    }
    if (parts[1].owned != NULL) {
        writer->payload.data = NULL;
        writer->payload.room = 0;
    }
    for (uint32_t i = 0; i < writer->large_count; i++) {
        message->frames[2 + i] = writer->large[i];
    }
    message->frame_count = 2 + writer->large_count;
    writer->large_count = 0;
    wire_writer_clear(writer);
    return message;
}
