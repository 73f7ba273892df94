/* msgpack-c's packer on top of a base_buffer, whose lack of memory is sticky: what the packer calls
 * return needs no look, `buffer->failed` at the end tells. */
#ifndef WIRE_PACKER_H
#define WIRE_PACKER_H

#include "base/buffer.h"
#include "wire/message.h"

#include <msgpack/pack.h>

static inline int wire_packer_write(void *buffer, const char *data, size_t size) {
    return base_buffer_append(buffer, data, size) ? 0 : -1;
}

static inline msgpack_packer wire_packer_of(struct base_buffer *buffer) {
    msgpack_packer packer;
    msgpack_packer_init(&packer, buffer, wire_packer_write);
    return packer;
}

/* wire_pack_text packs a string as it is. */
static inline void wire_pack_text(msgpack_packer *packer, struct wire_text text) {
    msgpack_pack_str(packer, text.size);
    msgpack_pack_str_body(packer, text.data, text.size);
}

/* wire_cut_text shortens a text to at most size_max bytes, not within a UTF-8 character. */
static inline struct wire_text wire_cut_text(struct wire_text text, size_t size_max) {
    if (text.size > size_max) {
        text.size = size_max;
        while (text.size > 0 && ((uint8_t)text.data[text.size] & 0xc0) == 0x80) {
            text.size--;
        }
    }
    return text;
}

#endif
