#include "wire/fault.h"
#include "wire/reader.h"
#include "wire/shape.h"

uint8_t *wire_write_envelope(uint8_t *at, enum wire_type type) {
    BASE_ASSERT(type < 0x80);
    *at++ = 0x94;
    *at++ = (uint8_t)type;
    *at++ = 0xcf;
    at = wire_store64(at, 0);
    *at++ = 0xcf;
    return wire_store64(at, 0);
}

static bool read_envelope(struct wire_reader *in, struct wire_envelope *envelope,
                          struct wire_fault *fault) {
    static const char *const names[] = {"type", "seq", "ack"};
    uint64_t values[3];
    uint32_t fields;
    if (!wire_read_array(in, &fields)) {
        return wire_fault_set(fault, WIRE_REJECT_MALFORMED, "header: found %s instead of an array",
                              wire_found(in));
    }
    if (fields != 4) {
        return wire_fault_set(fault, WIRE_REJECT_MALFORMED, "header: has %u fields instead of 4",
                              fields);
    }
    for (uint32_t i = 0; i < 3; i++) {
        if (!wire_read_uint(in, &values[i])) {
            return wire_fault_set(fault, WIRE_REJECT_MALFORMED,
                                  "header: %s: found %s instead of an unsigned integer", names[i],
                                  wire_found(in));
        }
    }
    if (values[0] > UINT32_MAX) {
        return wire_fault_set(fault, WIRE_REJECT_TYPE, "header: type: %llu is above %u",
                              (unsigned long long)values[0], UINT32_MAX);
    }
    envelope->type = (uint32_t)values[0];
    envelope->seq = values[1];
    envelope->ack = values[2];
    return true;
}

/* Large frames and the small payloads' one, of a message of any type. */
static bool check_frames(const struct wire_message *message, unsigned type,
                         struct wire_fault *fault) {
    const bool batch = wire_shape_of(type) != NULL;
    if (batch != (message->frame_count >= 2) && (batch || wire_type_name(type)[0] != '?')) {
        return wire_fault_set(fault, WIRE_REJECT_MALFORMED, "%s: has %u frames",
                              wire_type_name(type), message->frame_count);
    }
    if (message->frame_count >= 2 && message->frames[1]->size > WIRE_BATCH_BYTES_MAX) {
        return wire_fault_set(fault, WIRE_REJECT_LIMIT, "%s: small payloads: %zu bytes are over %u",
                              wire_type_name(type), message->frames[1]->size, WIRE_BATCH_BYTES_MAX);
    }
    for (uint32_t i = 2; i < message->frame_count; i++) {
        size_t size = message->frames[i]->size;
        if (size < WIRE_LARGE_BYTES_MIN) {
            return wire_fault_set(fault, WIRE_REJECT_MALFORMED,
                                  "%s: frame %u: %zu bytes are below %u", wire_type_name(type), i,
                                  size, WIRE_LARGE_BYTES_MIN);
        }
        if (size > WIRE_PAYLOAD_BYTES_MAX) {
            return wire_fault_set(fault, WIRE_REJECT_LIMIT, "%s: frame %u: %zu bytes are over %u",
                                  wire_type_name(type), i, size, WIRE_PAYLOAD_BYTES_MAX);
        }
    }
    return true;
}

bool wire_open_body(struct wire_reader *in, const struct wire_message *message,
                    struct wire_envelope *envelope, struct wire_fault *fault) {
    if (message->frame_count == 0 || message->frame_count > WIRE_FRAMES_MAX) {
        return wire_fault_set(fault, WIRE_REJECT_MALFORMED, "message: has %u frames",
                              message->frame_count);
    }
    const struct wire_blob *header = message->frames[0];
    if (header->size > WIRE_HEADER_BYTES_MAX) {
        return wire_fault_set(fault, WIRE_REJECT_LIMIT, "header: %zu bytes are over %u",
                              header->size, WIRE_HEADER_BYTES_MAX);
    }
    *in = wire_reader_of(header->data, header->size);
    return read_envelope(in, envelope, fault) && check_frames(message, envelope->type, fault);
}

bool wire_open(const struct wire_message *message, struct wire_envelope *envelope,
               struct wire_fault *fault) {
    struct wire_reader in;
    return wire_open_body(&in, message, envelope, fault);
}

void wire_stamp(struct wire_message *message, uint64_t seq, uint64_t ack) {
    struct wire_blob *header = message->frames[0];
    BASE_ASSERT(header->size > WIRE_BODY_AT && header->data[WIRE_SEQ_AT] == 0xcf &&
                header->data[WIRE_ACK_AT] == 0xcf);
    if (atomic_load_explicit(&header->refs, memory_order_acquire) != 1) {
        struct wire_blob *copy = wire_blob_copy(header->data, header->size);
        if (copy == NULL) {
            BASE_ASSERT(wire_load64(header->data + WIRE_SEQ_AT + 1) == seq);
            return;
        }
        message->frames[0] = copy;
        wire_blob_unref(header);
        header = copy;
    }
    wire_store64(header->data + WIRE_SEQ_AT + 1, seq);
    wire_store64(header->data + WIRE_ACK_AT + 1, ack);
}
