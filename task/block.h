/* The inside of furrow_block: memory for one binary value, with room in front of it for the rest of a
 * payload, so that the payload is in one piece without the bytes being moved. Used by task/ and libclient/.
 * Nothing here blocks; one thread at a time may use a block. */
#ifndef TASK_BLOCK_H
#define TASK_BLOCK_H

#include <furrow.h>

#include <string.h>

#include "base/buffer.h"
#include "task/context.h"

/* What may stand in front of the bytes without their being copied: the other values, and the header of the
 * binary value and of the array around them all. */
#define BLOCK_FRONT_BYTES 256u

/* block_new makes a block in memory that `blob` gives, if it is for a large payload and there is some;
 * else in memory from malloc. NULL, with the error set: FURROW_ETOOBIG, FURROW_ENOMEM. */
furrow_block *block_new(task_blob_function *blob, void *user, size_t size);

/* block_in says whether a format hands over a block. */
static inline bool block_in(const char *format) {
    return format != NULL && strchr(format, 'H') != NULL;
}

/* block_pack appends the values in front of the block to `out`, adds their number to *count, and sets
 * *place to where the user has the block. `out` may have grown also on error.
 *
 * Errors, with the text set: FURROW_EARGS, FURROW_ETOOBIG (all of it would be over the limit),
 * FURROW_ENOMEM, FURROW_EUNSUPPORTED (pointers). */
furrow_status block_pack(struct base_buffer *out, size_t *count, bool allow_pointers,
                         const char *format, va_list *arguments, furrow_block ***place);

/* block_join makes the payload of what `front` has from `at` on and the block's bytes. *blob gets a
 * reference to it, or NULL if it is not large or the front is too long: then the bytes were appended to
 * the front. The block is the user's until it is freed, and may be joined again, unless the payload has been
 * given away.
 *
 * False: no memory. */
bool block_join(const furrow_block *block, struct base_buffer *front, size_t at,
                struct wire_blob **blob);

#endif
