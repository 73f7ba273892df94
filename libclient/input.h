/* Inputs of a map from the inside. */
#ifndef CLIENT_INPUT_H
#define CLIENT_INPUT_H

#include <furrow.h>

#include "base/buffer.h"

struct input_ops {
    furrow_status (*next)(furrow_input *input, struct base_buffer *out, size_t *count);
    void (*free)(furrow_input *input);
};

struct furrow_input {
    const struct input_ops *ops;
};

/* input_next appends the packed values of the next call to `out` and adds their number to *count.
 * Returns FURROW_OK, FURROW_EEND, or an error with the error text set. If it is not FURROW_OK, `out`
 * may have got some bytes all the same: the caller cuts it back. */
static inline furrow_status input_next(furrow_input *input, struct base_buffer *out,
                                       size_t *count) {
    return input->ops->next(input, out, count);
}

#endif
