/* Messages put together by hand, for the tests of the codec: right ones and wrong ones. */
#ifndef TEST_WIRE_FRAMES_H
#define TEST_WIRE_FRAMES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/message.h"

#define U(number)     ((uint64_t)(number))
#define TEXT(literal) ((struct wire_text){(literal), sizeof(literal) - 1})
#define NO_FRAME      SIZE_MAX

/* frames_message makes a message of this type whose body is packed by a format, with a second frame
 * of `small` bytes unless that is NO_FRAME. */
struct wire_message *frames_message(unsigned type, size_t small, const char *format, ...);
/* frames_raw makes a message of one frame with these bytes. */
struct wire_message *frames_raw(const void *data, size_t size);
/* frames_add adds a frame of `size` bytes to it. */
struct wire_message *frames_add(struct wire_message *message, size_t size);

#endif
