/* Writing a single message's body: what the encoders share. */
#ifndef WIRE_ENCODER_H
#define WIRE_ENCODER_H

#include "wire/block.h"
#include "wire/packer.h"
#include "wire/shape.h"

/* Begins a message: the envelope and the body's header. */
static inline msgpack_packer begin(struct base_buffer *buffer, enum wire_type type,
                                   uint32_t fields) {
    msgpack_packer packer = wire_packer_of(buffer);
    base_buffer_init(buffer);
    uint8_t *at = base_buffer_reserve(buffer, WIRE_BODY_AT);
    if (at != NULL) {
        base_buffer_commit(buffer, (size_t)(wire_write_envelope(at, type) - at));
    }
    msgpack_pack_array(&packer, fields);
    return packer;
}

static inline struct wire_message *finish(struct base_buffer *buffer) {
    struct wire_message *message = NULL;
    if (!buffer->failed) {
        struct wire_part part = {buffer->data, buffer->size, NULL};
        message = wire_message_make(&part, 1);
    }
    base_buffer_fini(buffer);
    return message;
}

static inline void pack_session(msgpack_packer *packer, const struct wire_session *session) {
    msgpack_pack_uint64(packer, session->high);
    msgpack_pack_uint64(packer, session->low);
}

static inline void pack_flag(msgpack_packer *packer, bool flag) {
    msgpack_pack_uint32(packer, flag ? 1 : 0);
}

static inline void pack_name(msgpack_packer *packer, struct wire_text name) {
    BASE_ASSERT(name.size <= WIRE_NAME_BYTES_MAX);
    wire_pack_text(packer, name);
}

static inline void pack_names(msgpack_packer *packer, const struct wire_text *names,
                              uint32_t count) {
    msgpack_pack_array(packer, count);
    for (uint32_t i = 0; i < count; i++) {
        pack_name(packer, names[i]);
    }
}

#endif
