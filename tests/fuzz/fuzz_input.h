/* A fuzzer's bytes read as a script: what the targets share that drive a core. Behind the end there
 * are only zeroes, so that every script is one. */
#ifndef TEST_FUZZ_INPUT_H
#define TEST_FUZZ_INPUT_H

#include "wire/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_MS UINT64_C(1000000)
#define FUZZ_S  UINT64_C(1000000000)

struct fuzz_input {
    const uint8_t *at, *end;
};

static inline bool fuzz_more(const struct fuzz_input *in) {
    return in->at < in->end;
}

static inline uint8_t fuzz_byte(struct fuzz_input *in) {
    return in->at < in->end ? *in->at++ : 0;
}

/* One of `count`, at most 256. */
static inline uint32_t fuzz_pick(struct fuzz_input *in, uint32_t count) {
    return fuzz_byte(in) % count;
}

/* fuzz_number: mostly what would be right, else one at an edge, else any (8 bytes more). */
uint64_t fuzz_number(struct fuzz_input *in, uint64_t right);
/* fuzz_duration in nanoseconds, from a microsecond to 16 seconds. */
uint64_t fuzz_duration(struct fuzz_input *in);

/* fuzz_message takes a message of any bytes: their number, then what exercise_read_message reads.
 * NULL: it can't be one. */
struct wire_message *fuzz_message(struct fuzz_input *in);
/* fuzz_spoil changes one byte of the header: of its body, or any of it. */
void fuzz_spoil(struct fuzz_input *in, struct wire_message *message, bool body);
/* fuzz_forge gives the message this seq and ack, if its header has a place for them. */
void fuzz_forge(struct wire_message *message, uint64_t seq, uint64_t ack);

/* fuzz_check_message: what a core sends is right in itself. Returns its type. */
uint32_t fuzz_check_message(const struct wire_message *message, struct wire_envelope *envelope);

/* A set of numbers other than 0. */
#define FUZZ_SET_ROOM 16384u
struct fuzz_set {
    uint64_t slots[FUZZ_SET_ROOM];
    uint32_t count;
};
/* fuzz_set_add returns false if it was in already. A full set forgets all. */
bool fuzz_set_add(struct fuzz_set *set, uint64_t number);

#endif
