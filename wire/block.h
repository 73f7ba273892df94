/* Where the codec's own messages live: the message, its header and its small payloads are one block
 * of memory when they are small, so that a message of one task costs one allocation. */
#ifndef WIRE_BLOCK_H
#define WIRE_BLOCK_H

#include "wire/message.h"

#define WIRE_PARTS_MAX 2u

/* A frame to be. Its bytes are copied into the block if `owned` is NULL; else they lie somewhere in
 * the memory at `owned`, which the message takes over and releases with free(). */
struct wire_part {
    const uint8_t *data;
    size_t size;
    uint8_t *owned;
};

/* wire_message_make gives a message whose first frames are the 1 to WIRE_PARTS_MAX parts; the caller
 * may add large frames to it while nobody else has it. NULL: no memory, and nothing was taken over. */
struct wire_message *wire_message_make(const struct wire_part *parts, uint32_t count);

#endif
