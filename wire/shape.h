/* What the protocol's tables say of each batch type: names and ranges of the fields. */
#ifndef WIRE_SHAPE_H
#define WIRE_SHAPE_H

#include "wire/message.h"

struct wire_field {
    const char *name;
    uint64_t min, max;
};

struct wire_layout {
    struct wire_shape shape;
    bool kind; /* the key is an enum wire_kind */
    struct wire_field extra[WIRE_EXTRA_MAX];
    struct wire_field key[WIRE_KEY_MAX];
    struct wire_field entry[WIRE_ENTRY_MAX];
};

/* wire_layout_of gives the layout of a batch type, NULL for other types. */
const struct wire_layout *wire_layout_of(unsigned type);

/* Every header starts so: array of 4, type (below 128), 0xcf and seq, 0xcf and ack, body. */
#define WIRE_TYPE_AT 1u
#define WIRE_SEQ_AT  2u
#define WIRE_ACK_AT  11u
#define WIRE_BODY_AT 20u

/* wire_write_envelope writes those bytes with seq and ack 0, and returns where the body begins. */
uint8_t *wire_write_envelope(uint8_t *at, enum wire_type type);

struct wire_reader;
/* wire_open_body is wire_open that leaves a reader at the body. */
bool wire_open_body(struct wire_reader *in, const struct wire_message *message,
                    struct wire_envelope *envelope, struct wire_fault *fault);

#endif
