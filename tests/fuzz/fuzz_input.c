#include "tests/fuzz/fuzz_input.h"

#include "base/assert.h"
#include "tests/fuzz/wire_exercise.h"

#include <string.h>

/* Array, type, and the marks of seq and ack before their 8 bytes: [0x94 type 0xcf seq 0xcf ack body]. */
#define SEQ_AT  3u
#define ACK_AT  12u
#define BODY_AT 20u

uint64_t fuzz_number(struct fuzz_input *in, uint64_t right) {
    static const uint64_t edges[] = {0, 1, 255, UINT16_MAX, UINT32_MAX, UINT64_MAX};
    uint8_t choice = fuzz_byte(in);
    uint64_t any = 0;

    if (choice < 224) {
        return right;
    }
    if (choice < 248) {
        return edges[choice % (sizeof edges / sizeof edges[0])];
    }
    if (choice < 252) {
        return right + 1 + choice % 2;
    }
    for (int i = 0; i < 8; i++) {
        any = any << 8 | fuzz_byte(in);
    }
    return any;
}

uint64_t fuzz_duration(struct fuzz_input *in) {
    uint8_t choice = fuzz_byte(in);

    return (1 + (uint64_t)choice % 8) * (UINT64_C(1000) << (3 * (choice / 8 % 8)));
}

struct wire_message *fuzz_message(struct fuzz_input *in) {
    size_t size = fuzz_byte(in), left = (size_t)(in->end - in->at);
    const uint8_t *bytes = in->at;

    size = size < left ? size : left;
    in->at += size;
    return exercise_read_message(bytes, size);
}

void fuzz_spoil(struct fuzz_input *in, struct wire_message *message, bool body) {
    struct wire_blob *header = message->frames[0];
    size_t first = body ? BODY_AT : 0;
    size_t at = fuzz_byte(in);
    uint8_t byte = fuzz_byte(in);

    if (header->size > first) {
        header->data[first + at % (header->size - first)] = byte;
    }
}

static void put_number(uint8_t *at, uint64_t number) {
    for (int i = 7; i >= 0; i--, number >>= 8) {
        at[i] = (uint8_t)number;
    }
}

void fuzz_forge(struct wire_message *message, uint64_t seq, uint64_t ack) {
    struct wire_blob *header;

    if (message->frame_count == 0 || message->frames[0]->size < BODY_AT) {
        return;
    }
    header = message->frames[0];
    put_number(header->data + SEQ_AT, seq);
    put_number(header->data + ACK_AT, ack);
}

uint32_t fuzz_check_message(const struct wire_message *message, struct wire_envelope *envelope) {
    struct wire_fault fault;
    bool opened, good;

    opened = wire_open(message, envelope, &fault);
    BASE_ASSERT(opened);
    good = exercise_message(message, &fault);
    BASE_ASSERT(good);
    return envelope->type;
}

bool fuzz_set_add(struct fuzz_set *set, uint64_t number) {
    uint32_t at = (uint32_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 40) % FUZZ_SET_ROOM;

    if (set->count == FUZZ_SET_ROOM / 2) {
        memset(set, 0, sizeof *set);
    }
    while (set->slots[at] != 0) {
        if (set->slots[at] == number) {
            return false;
        }
        at = (at + 1) % FUZZ_SET_ROOM;
    }
    set->slots[at] = number;
    set->count++;
    return true;
}
