#include "base/huge.h"

#include <string.h>
#include <sys/mman.h>

#define NO_PIECE UINT32_MAX
#define ALIGN    ((size_t)64)

/* At the beginning of each block, which is aligned to its size. */
struct block {
    struct base_node node;
    uint32_t live;    /* pieces in use */
    uint32_t touched; /* pieces from here on have never been used */
    uint32_t free;    /* first of those given back, each holds the next; NO_PIECE */
};

static size_t head_bytes(void) {
    return (sizeof(struct block) + ALIGN - 1) & ~(ALIGN - 1);
}

static uint8_t *piece_at(const struct base_huge *huge, struct block *block, uint32_t index) {
    return (uint8_t *)block + head_bytes() + index * huge->piece_bytes;
}

static struct block *block_of(void *piece) {
    return (struct block *)((uintptr_t)piece & ~(uintptr_t)(BASE_HUGE_BLOCK_BYTES - 1));
}

/* Maps twice as much and cuts off what stands over, since mmap knows no alignment. */
static struct block *block_new(bool first) {
    size_t bytes = BASE_HUGE_BLOCK_BYTES;
    uint8_t *mapped =
        mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct block *block;
    size_t before;

    if (mapped == MAP_FAILED) {
        return NULL;
    }
    before = (bytes - ((uintptr_t)mapped & (bytes - 1))) & (bytes - 1);
    if (before > 0) {
        (void)munmap(mapped, before);
    }
    (void)munmap(mapped + before + bytes, bytes - before);
    block = (struct block *)(void *)(mapped + before);
    if (!first) { /* for little use a huge page would take longer than it saves */
        (void)madvise(block, bytes, MADV_HUGEPAGE);
    }
    base_node_init(&block->node);
    block->live = 0;
    block->touched = 0;
    block->free = NO_PIECE;
    return block;
}

static void *take(struct base_memory *memory, size_t bytes) {
    struct base_huge *huge = BASE_CONTAINER_OF(memory, struct base_huge, memory);
    struct base_node *node = base_list_first(&huge->partial);
    struct block *block;
    uint8_t *piece;

    if (huge->piece_bytes == 0) {
        BASE_ASSERT(bytes > 0 && bytes <= BASE_HUGE_BLOCK_BYTES / 4);
        huge->piece_bytes = (bytes + ALIGN - 1) & ~(ALIGN - 1);
        huge->pieces = (uint32_t)((BASE_HUGE_BLOCK_BYTES - head_bytes()) / huge->piece_bytes);
    }
    BASE_ASSERT(bytes <= huge->piece_bytes);
    if (node == NULL) {
        block = huge->spare != NULL ? BASE_LIST_ENTRY(huge->spare, struct block, node)
                                    : block_new(base_list_empty(&huge->full));
        if (block == NULL) {
            return NULL;
        }
        huge->spare = NULL;
        base_list_push_back(&huge->partial, &block->node);
    } else {
        block = BASE_LIST_ENTRY(node, struct block, node);
    }
    if (block->free == NO_PIECE) {
        piece = piece_at(huge, block, block->touched++);
    } else {
        piece = piece_at(huge, block, block->free);
        memcpy(&block->free, piece, sizeof block->free);
    }
    if (++block->live == huge->pieces) {
        base_list_remove(&block->node);
        base_list_push_back(&huge->full, &block->node);
    }
    return piece;
}

static void give(struct base_memory *memory, void *piece, size_t bytes) {
    struct base_huge *huge = BASE_CONTAINER_OF(memory, struct base_huge, memory);
    struct block *block = block_of(piece);
    size_t offset = (size_t)((uint8_t *)piece - (uint8_t *)block) - head_bytes();

    BASE_ASSERT(bytes <= huge->piece_bytes && offset % huge->piece_bytes == 0 && block->live > 0);
    memcpy(piece, &block->free, sizeof block->free);
    block->free = (uint32_t)(offset / huge->piece_bytes);
    base_list_remove(&block->node);
    if (--block->live > 0) {
        base_list_push_back(&huge->partial, &block->node);
    } else if (huge->spare == NULL) {
        huge->spare = &block->node;
    } else {
        (void)munmap(block, BASE_HUGE_BLOCK_BYTES);
    }
}

void base_huge_init(struct base_huge *huge) {
    memset(huge, 0, sizeof *huge);
    huge->memory.take = take;
    huge->memory.give = give;
    base_list_init(&huge->partial);
    base_list_init(&huge->full);
}

void base_huge_fini(struct base_huge *huge) {
    BASE_ASSERT(base_list_empty(&huge->partial) && base_list_empty(&huge->full));
    if (huge->spare != NULL) {
        (void)munmap(BASE_LIST_ENTRY(huge->spare, struct block, node), BASE_HUGE_BLOCK_BYTES);
        huge->spare = NULL;
    }
}
