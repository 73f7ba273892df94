#include "wire/packer.h"
#include "wire/reader.h"

#define FIELDS 8u

bool wire_error_encode(const struct wire_error *error, struct base_buffer *out) {
    msgpack_packer packer = wire_packer_of(out);
    msgpack_pack_array(&packer, FIELDS);
    msgpack_pack_int32(&packer, error->code);
    wire_pack_text(&packer, wire_cut_text(error->message, WIRE_TEXT_BYTES_MAX));
    wire_pack_text(&packer, wire_cut_text(error->function, WIRE_NAME_BYTES_MAX));
    wire_pack_text(&packer, wire_cut_text(error->host, WIRE_NAME_BYTES_MAX));
    msgpack_pack_int64(&packer, error->pid);
    msgpack_pack_uint32(&packer, error->attempt);
    msgpack_pack_int32(&packer, error->signal);
    msgpack_pack_int32(&packer, error->exit_code);
    return !out->failed;
}

static bool read_int(struct wire_reader *in, int64_t min, int64_t max, int64_t *value) {
    uint64_t number;
    bool negative;
    if (!wire_read_int(in, &number, &negative) || (!negative && number > INT64_MAX)) {
        return false;
    }
    *value = (int64_t)number;
    return *value >= min && *value <= max;
}

static bool read_int32(struct wire_reader *in, int32_t *value) {
    int64_t number;
    if (!read_int(in, INT32_MIN, INT32_MAX, &number)) {
        return false;
    }
    *value = (int32_t)number;
    return true;
}

static bool read_text(struct wire_reader *in, size_t size_max, struct wire_text *text) {
    return wire_read_text(in, text) && text->size <= size_max;
}

bool wire_error_decode(const void *data, size_t size, struct wire_error *error) {
    struct wire_reader in = wire_reader_of(data, size);
    uint32_t fields;
    int64_t attempt;
    if (!wire_read_array(&in, &fields) || fields < FIELDS || !read_int32(&in, &error->code) ||
        !read_text(&in, WIRE_TEXT_BYTES_MAX, &error->message) ||
        !read_text(&in, WIRE_NAME_BYTES_MAX, &error->function) ||
        !read_text(&in, WIRE_NAME_BYTES_MAX, &error->host) ||
        !read_int(&in, INT64_MIN, INT64_MAX, &error->pid) ||
        !read_int(&in, 0, UINT32_MAX, &attempt) || !read_int32(&in, &error->signal) ||
        !read_int32(&in, &error->exit_code)) {
        return false;
    }
    error->attempt = (uint32_t)attempt;
    for (uint32_t i = FIELDS; i < fields; i++) {
        if (!wire_skip(&in, WIRE_DEPTH_MAX)) {
            return false;
        }
    }
    return wire_left(&in) == 0;
}
