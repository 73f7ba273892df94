/* Where large pieces of memory come from, for those who leave that to their owner: the cores are
 * pure, and what the system has to offer beyond malloc is not theirs to ask for. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

/* take returns `bytes` bytes aligned to 64, contents undefined, or NULL; give takes them back, with
 * the same `bytes`. Neither blocks; the caller keeps threads apart. */
struct base_memory {
    void *(*take)(struct base_memory *memory, size_t bytes);
    void (*give)(struct base_memory *memory, void *piece, size_t bytes);
};

#endif
