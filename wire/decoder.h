/* Reading a single message's body field by field: what the decoders share. */
#ifndef WIRE_DECODER_H
#define WIRE_DECODER_H

#include "wire/fault.h"
#include "wire/reader.h"
#include "wire/shape.h"

#include <stdlib.h>

/* A body that is being read. Every function returns false with the fault
 * set, so that a decoder is one chain of &&. */
struct decoder {
    struct wire_reader in;
    const char *name;
    struct wire_fault *fault;
    uint32_t more_fields; /* of a later version, behind those that we know */
};

static inline bool begin(struct decoder *decoder, const struct wire_message *message,
                         enum wire_type type, uint32_t fields, struct wire_fault *fault) {
    struct wire_envelope envelope;
    uint32_t found;
    decoder->name = wire_type_name(type);
    decoder->fault = fault;
    if (!wire_open_body(&decoder->in, message, &envelope, fault)) {
        return false;
    }
    if (envelope.type != type) {
        return wire_fault_set(fault, WIRE_REJECT_TYPE, "header: type: %u is not %s", envelope.type,
                              decoder->name);
    }
    if (!wire_read_array(&decoder->in, &found)) {
        return wire_fault_set(fault, WIRE_REJECT_MALFORMED,
                              "%s: body: found %s instead of an array", decoder->name,
                              wire_found(&decoder->in));
    }
    if (found < fields) {
        return wire_fault_set(fault, WIRE_REJECT_MALFORMED, "%s: body: has %u fields instead of %u",
                              decoder->name, found, fields);
    }
    decoder->more_fields = found - fields;
    return true;
}

static inline bool end(struct decoder *decoder) {
    for (uint32_t i = 0; i < decoder->more_fields; i++) {
        if (!wire_skip(&decoder->in, WIRE_DEPTH_MAX)) {
            return wire_fault_set(decoder->fault, WIRE_REJECT_MALFORMED,
                                  "%s: body: malformed field at its end", decoder->name);
        }
    }
    if (wire_left(&decoder->in) != 0) {
        return wire_fault_set(decoder->fault, WIRE_REJECT_MALFORMED, "%s: body: %zu bytes too many",
                              decoder->name, wire_left(&decoder->in));
    }
    return true;
}

static inline bool fault_found(struct decoder *decoder, const char *field, const char *wanted) {
    return wire_fault_set(decoder->fault, WIRE_REJECT_MALFORMED, "%s: %s: found %s instead of %s",
                          decoder->name, field, wire_found(&decoder->in), wanted);
}

static inline bool read_u64(struct decoder *decoder, const char *field, uint64_t min, uint64_t max,
                            uint64_t *value) {
    if (!wire_read_uint(&decoder->in, value)) {
        return fault_found(decoder, field, "an unsigned integer");
    }
    if (*value < min || *value > max) {
        bool below = *value < min;
        return wire_fault_set(decoder->fault, WIRE_REJECT_MALFORMED, "%s: %s: %llu is %s %llu",
                              decoder->name, field, (unsigned long long)*value,
                              below ? "below" : "above", (unsigned long long)(below ? min : max));
    }
    return true;
}

static inline bool read_u32(struct decoder *decoder, const char *field, uint32_t min, uint32_t max,
                            uint32_t *value) {
    uint64_t wide = 0;
    bool read = read_u64(decoder, field, min, max, &wide);
    *value = (uint32_t)wide;
    return read;
}

static inline bool read_flag(struct decoder *decoder, const char *field, bool *flag) {
    uint64_t value = 0;
    bool read = read_u64(decoder, field, 0, 1, &value);
    *flag = value == 1;
    return read;
}

static inline bool read_any(struct decoder *decoder, const char *field, uint64_t *value) {
    return read_u64(decoder, field, 0, UINT64_MAX, value);
}

static inline bool read_session(struct decoder *decoder, struct wire_session *session) {
    return read_any(decoder, "session", &session->high) &&
           read_any(decoder, "session", &session->low);
}

static inline bool read_text(struct decoder *decoder, const char *field, size_t size_max,
                             struct wire_text *text) {
    if (!wire_read_text(&decoder->in, text)) {
        return fault_found(decoder, field, "a string");
    }
    if (text->size > size_max) {
        return wire_fault_set(decoder->fault, WIRE_REJECT_LIMIT, "%s: %s: %zu bytes are over %zu",
                              decoder->name, field, text->size, size_max);
    }
    return true;
}

/* Names become C strings sooner or later, so they hold no NUL. */
static inline bool read_name(struct decoder *decoder, const char *field, struct wire_text *name) {
    if (!read_text(decoder, field, WIRE_NAME_BYTES_MAX, name)) {
        return false;
    }
    if (name->size > 0 && memchr(name->data, 0, name->size) != NULL) {
        return wire_fault_set(decoder->fault, WIRE_REJECT_MALFORMED, "%s: %s: holds a NUL",
                              decoder->name, field);
    }
    return true;
}

/* The header of a list; its length is bounded by the bytes left too. */
static inline bool read_count(struct decoder *decoder, const char *field, uint32_t max,
                              uint32_t *count) {
    if (!wire_read_array(&decoder->in, count)) {
        return fault_found(decoder, field, "an array");
    }
    if (*count > max) {
        return wire_fault_set(decoder->fault, WIRE_REJECT_LIMIT, "%s: %s: %u are over %u",
                              decoder->name, field, *count, max);
    }
    return true;
}

static inline void *allocate(struct decoder *decoder, const char *field, uint32_t count,
                             size_t each) {
    void *memory = calloc(count > 0 ? count : 1, each);
    if (memory == NULL) {
        wire_fault_set(decoder->fault, WIRE_REJECT_LIMIT, "%s: %s: no memory", decoder->name,
                       field);
    }
    return memory;
}

#endif
