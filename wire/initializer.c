#include "wire/packer.h"
#include "wire/reader.h"

/* docs/protocol.md section 3.1, "initializer". */
#define FIELDS 2u

bool wire_initializer_encode(const struct wire_initializer *initializer, struct base_buffer *out) {
    msgpack_packer packer = wire_packer_of(out);
    BASE_ASSERT(initializer->name.size > 0 && initializer->name.size <= WIRE_NAME_BYTES_MAX);
    msgpack_pack_array(&packer, FIELDS);
    wire_pack_text(&packer, initializer->name);
    msgpack_pack_bin(&packer, initializer->size);
    msgpack_pack_bin_body(&packer, initializer->arguments, initializer->size);
    return !out->failed;
}

static bool read_binary(struct wire_reader *in, const void **data, size_t *size) {
    struct wire_head head;
    if (!wire_peek(in, &head) || head.sort != WIRE_SORT_BIN) {
        return false;
    }
    *data = in->at + head.bytes;
    *size = head.body;
    in->at += head.bytes + head.body;
    return true;
}

size_t wire_initializer_decode(const void *data, size_t size,
                               struct wire_initializer *initializer) {
    struct wire_reader in = wire_reader_of(data, size);
    uint32_t fields;
    if (!wire_read_array(&in, &fields) || fields < FIELDS ||
        !wire_read_text(&in, &initializer->name) || initializer->name.size == 0 ||
        initializer->name.size > WIRE_NAME_BYTES_MAX ||
        memchr(initializer->name.data, 0, initializer->name.size) != NULL ||
        !read_binary(&in, &initializer->arguments, &initializer->size)) {
        return 0;
    }
    for (uint32_t i = FIELDS; i < fields; i++) {
        if (!wire_skip(&in, WIRE_DEPTH_MAX)) {
            return 0;
        }
    }
    return size - wire_left(&in);
}
