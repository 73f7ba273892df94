#include "wire/block.h"
#include "wire/reader.h"
#include "wire/shape.h"

#include <stdlib.h>

#define ARRAY16_BYTES 3u
/* What one put adds to the header at most: a group's header and key, its entries' header, an entry. */
#define PUT_BYTES_MAX                                                                              \
    (1 + WIRE_KEY_MAX * WIRE_UINT_BYTES_MAX + ARRAY16_BYTES +                                      \
     (WIRE_ENTRY_MAX + 1) * WIRE_UINT_BYTES_MAX)

/* Up to here the bytes are copied into the message's block and the area stays with the writer; larger
 * areas become the frame themselves, and the writer takes a new one. */
#define COPY_BYTES_MAX     (4u << 10)
#define FIRST_BYTES        512u
#define EXPECTED_BYTES_MAX WIRE_BATCH_BYTES_MAX

/* Memory that is written to the end. */
struct area {
    uint8_t *data;
    size_t size;
    size_t room;
    size_t expected; /* how much the next message will need, from what the last one did */
};

struct wire_writer {
    const struct wire_layout *layout;
    struct area header;
    struct area payload;
    uint32_t count;
    uint32_t group_count;
    uint32_t group_entries;     /* of the group that is being written */
    size_t group_at;            /* where its number of integers goes */
    uint64_t key[WIRE_KEY_MAX]; /* its key */
    uint32_t large_count;
    size_t large_bytes;
    struct wire_blob *large[WIRE_LARGE_COUNT_MAX];
};

static bool area_grow(struct area *area, size_t bytes) {
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

static inline bool area_reserve(struct area *area, size_t bytes) {
    return BASE_LIKELY(area->room - area->size >= bytes) || area_grow(area, bytes);
}

static void area_drop(struct area *area) {
    free(area->data);
    area->data = NULL;
    area->room = 0;
}

/* Forgets the contents, and memory that the next message will hardly need. */
static void area_next(struct area *area) {
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
static struct wire_part area_part(struct area *area) {
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
    writer->layout = layout;
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

uint32_t wire_writer_count(const struct wire_writer *writer) {
    return writer->count;
}

void wire_writer_clear(struct wire_writer *writer) {
    drop_large(writer);
    area_next(&writer->header);
    area_next(&writer->payload);
    writer->count = 0;
    writer->group_count = 0;
    writer->group_entries = 0;
}

/* The bytes before the first group: envelope, body, extra (always of 9 bytes each, since it is known
 * last), number of groups. */
static inline size_t head_bytes(const struct wire_layout *layout) {
    return WIRE_BODY_AT + 1 + layout->shape.extra * WIRE_UINT_BYTES_MAX + ARRAY16_BYTES;
}

static void close_group(struct wire_writer *writer) {
    const struct wire_shape *shape = &writer->layout->shape;
    if (writer->group_count > 0) {
        uint32_t integers = writer->group_entries * (shape->entry + (shape->payload ? 1u : 0u));
        wire_store16(writer->header.data + writer->group_at, (uint16_t)integers);
    }
}

static uint8_t *open_group(struct wire_writer *writer, uint8_t *at, const uint64_t *key) {
    const struct wire_shape *shape = &writer->layout->shape;
    close_group(writer);
    *at++ = (uint8_t)(0x90 | (shape->key + 1));
    for (unsigned i = 0; i < shape->key; i++) {
        writer->key[i] = key[i];
        at = wire_write_uint(at, key[i]);
    }
    *at++ = 0xdc;
    writer->group_at = (size_t)(at - writer->header.data);
    writer->group_count++;
    writer->group_entries = 0;
    return at + 2;
}

static inline bool key_changed(const struct wire_writer *writer, const uint64_t *key) {
    if (writer->group_count == 0) {
        return true;
    }
    for (unsigned i = 0; i < writer->layout->shape.key; i++) {
        if (writer->key[i] != key[i]) {
            return true;
        }
    }
    return false;
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

/* Payloads of a few bytes are the common case, and a call of memcpy costs more than they do. */
static inline void copy_short(uint8_t *to, const void *from, size_t size) {
    if (size > 16 || size < 8) {
        memcpy(to, from, size);
    } else {
        uint64_t first, last;
        memcpy(&first, from, 8);
        memcpy(&last, (const uint8_t *)from + size - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + size - 8, &last, 8);
    }
}

enum wire_put wire_writer_put(struct wire_writer *writer, const uint64_t *key,
                              const uint64_t *entry, const void *data, size_t size,
                              struct wire_blob *large) {
    const struct wire_shape *shape = &writer->layout->shape;
    struct area *header = &writer->header;
    struct area *payload = &writer->payload;
    BASE_ASSERT(shape->entry > 0 && (shape->payload || size == 0));

    if (writer->count == WIRE_BATCH_ENTRIES_MAX) {
        return WIRE_PUT_FULL;
    }
    if (BASE_UNLIKELY(header->size == 0)) {
        if (!area_reserve(header, head_bytes(writer->layout) + PUT_BYTES_MAX)) {
            return WIRE_PUT_NOMEM;
        }
        header->size = head_bytes(writer->layout);
    }
    if (!area_reserve(header, PUT_BYTES_MAX)) {
        return WIRE_PUT_NOMEM;
    }
    if (BASE_UNLIKELY(size >= WIRE_LARGE_BYTES_MIN)) {
        enum wire_put kept = keep_large(writer, data, size, large);
        if (kept != WIRE_PUT_OK) {
            return kept;
        }
    } else if (size > 0) {
        if (payload->size + size > WIRE_BATCH_BYTES_MAX) {
            return WIRE_PUT_FULL;
        }
        if (!area_reserve(payload, size)) {
            return WIRE_PUT_NOMEM;
        }
        copy_short(payload->data + payload->size, data, size);
        payload->size += size;
    }

    /* From here on nothing fails. */
    uint8_t *at = header->data + header->size;
    if (key_changed(writer, key)) {
        at = open_group(writer, at, key);
    }
    for (unsigned i = 0; i < shape->entry; i++) {
        at = wire_write_uint(at, entry[i]);
    }
    if (shape->payload) {
        at = wire_write_uint(at, size);
    }
    header->size = (size_t)(at - header->data);
    writer->group_entries++;
    writer->count++;
    return WIRE_PUT_OK;
}

static void write_head(struct wire_writer *writer, const uint64_t *extra) {
    const struct wire_shape *shape = &writer->layout->shape;
    uint8_t *at = wire_write_envelope(writer->header.data, (enum wire_type)shape->type);
    *at++ = (uint8_t)(0x90 | (shape->extra + 1));
    for (unsigned i = 0; i < shape->extra; i++) {
        *at++ = 0xcf;
        at = wire_store64(at, extra[i]);
    }
    *at++ = 0xdc;
    at = wire_store16(at, (uint16_t)writer->group_count);
    BASE_ASSERT(at == writer->header.data + head_bytes(writer->layout));
}

struct wire_message *wire_writer_finish(struct wire_writer *writer, const uint64_t *extra) {
    struct area *header = &writer->header;
    if (header->size == 0) {
        if (!area_reserve(header, head_bytes(writer->layout))) {
            return NULL;
        }
        header->size = head_bytes(writer->layout);
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
