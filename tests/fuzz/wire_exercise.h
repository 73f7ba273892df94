/* Messages and values from anywhere, put through everything that reads them: used by the fuzz targets
 * and by the unit tests of mutated messages. Whatever breaks a promise of the codec aborts. */
#ifndef TEST_WIRE_EXERCISE_H
#define TEST_WIRE_EXERCISE_H

#include "wire/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* exercise_message decodes a message by its type. What is accepted is written again, and what was
 * written must read the same. Returns whether it was accepted; false: *fault. */
bool exercise_message(const struct wire_message *message, struct wire_fault *fault);

/* exercise_value checks values, unpacks them by a format of any bytes (cut to what the test has
 * variables for), and compares with msgpack-c. Returns whether the check accepted them. */
bool exercise_value(const uint8_t *data, size_t size, const char *format);

/* A message as one run of bytes, for the fuzzer: number of frames; if there are two or more, the size
 * of the second in 2 bytes and one byte for each large frame, whose size is 65,528 plus it; then the
 * header. The payloads are all zeroes. */
#define EXERCISE_LARGE_BYTES 65528u
struct wire_message *exercise_read_message(const uint8_t *data, size_t size);
/* exercise_write_message gives that run of bytes, to be freed; NULL if the message can't be one. */
uint8_t *exercise_write_message(const struct wire_message *message, size_t *size);

/* exercise_sample gives message number `index` of a series that has every type and form, small
 * enough to change every byte of it; NULL behind the last. */
struct wire_message *exercise_sample(unsigned index);

#endif
