/* Memory in blocks of 2 MiB. Pieces of one size are cut from them; a block goes back to the system when
 * its last piece is given back (one is kept spare). One thread at a time.
 *
 * The first touch of fresh memory costs far more than its use. So when a piece is taken for the first
 * time, the system is asked for all of its pages at once. Huge pages would be fewer still, but each
 * stops its thread for as long as 2 MiB take to clear, and where a hypervisor has to find the memory
 * first that was measured to be 5 ms: too long for a broker that others wait for. */
#ifndef BASE_BLOCKS_H
#define BASE_BLOCKS_H

#include <stdint.h>

#include "base/list.h"
#include "base/memory.h"

#define BASE_BLOCKS_BYTES ((size_t)2 << 20)

struct base_blocks {
    struct base_memory memory; /* what to hand to others */
    struct base_list partial;  /* blocks with room */
    struct base_list full;
    struct base_node *spare; /* a block without pieces, or NULL */
    size_t piece_bytes;      /* of all pieces: what is taken first says it */
    uint32_t pieces;         /* a block */
};

/* base_blocks_init allocates nothing. All takes must ask for the same number of bytes, at most a
 * quarter of a block. */
void base_blocks_init(struct base_blocks *blocks);

/* base_blocks_fini gives back what is left; all pieces must have been given back. */
void base_blocks_fini(struct base_blocks *blocks);

#endif
