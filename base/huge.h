/* Memory in blocks of 2 MiB, which the system is asked to back by huge pages: the first touch of fresh
 * memory costs far more than its use, and so there are 512 times fewer of them. Pieces of one size are
 * cut from them; a block goes back to the system when its last piece is given back (one is kept
 * spare). Where there are no huge pages it works with ordinary ones. One thread at a time. */
#ifndef BASE_HUGE_H
#define BASE_HUGE_H

#include <stdint.h>

#include "base/list.h"
#include "base/memory.h"

#define BASE_HUGE_BLOCK_BYTES ((size_t)2 << 20)

struct base_huge {
    struct base_memory memory; /* what to hand to others */
    struct base_list partial;  /* blocks with room */
    struct base_list full;
    struct base_node *spare; /* a block without pieces, or NULL */
    size_t piece_bytes;      /* of all pieces: what is taken first says it */
    uint32_t pieces;         /* a block */
};

/* base_huge_init allocates nothing. All takes must ask for the same number of bytes, at most a quarter
 * of a block. */
void base_huge_init(struct base_huge *huge);

/* base_huge_fini gives back what is left; all pieces must have been given back. */
void base_huge_fini(struct base_huge *huge);

#endif
