#include "base/blocks.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

static uint8_t *piece_at(const struct base_blocks *blocks, struct block *block, uint32_t index) {
    return (uint8_t *)block + head_bytes() + index * blocks->piece_bytes;
}

static struct block *block_of(void *piece) {
    return (struct block *)((uintptr_t)piece & ~(uintptr_t)(BASE_BLOCKS_BYTES - 1));
}

/* Maps twice as much and cuts off what stands over, since mmap knows no alignment. */
static struct block *block_new(void) {
    size_t bytes = BASE_BLOCKS_BYTES;
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
    (void)madvise(block, bytes, MADV_NOHUGEPAGE);
    base_node_init(&block->node);
    block->live = 0;
    block->touched = 0;
    block->free = NO_PIECE;
    return block;
}

/* Has the system back a piece that is about to be used for the first time. If it can't, the pages come
 * one by one when they are touched. */
static void populate(uint8_t *piece, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)piece + page - 1) & ~(uintptr_t)(page - 1);
    uintptr_t to = ((uintptr_t)piece + bytes + page - 1) & ~(uintptr_t)(page - 1);

    if (to > from) {
        (void)madvise((void *)from, to - from, MADV_POPULATE_WRITE);
    }
}

static void *take(struct base_memory *memory, size_t bytes) {
    struct base_blocks *blocks = BASE_CONTAINER_OF(memory, struct base_blocks, memory);
    struct base_node *node = base_list_first(&blocks->partial);
    struct block *block;
    uint8_t *piece;

    if (blocks->piece_bytes == 0) {
        BASE_ASSERT(bytes > 0 && bytes <= BASE_BLOCKS_BYTES / 4);
        blocks->piece_bytes = (bytes + ALIGN - 1) & ~(ALIGN - 1);
        blocks->pieces = (uint32_t)((BASE_BLOCKS_BYTES - head_bytes()) / blocks->piece_bytes);
    }
    BASE_ASSERT(bytes <= blocks->piece_bytes);
    if (node == NULL) {
        block = blocks->spare != NULL ? BASE_LIST_ENTRY(blocks->spare, struct block, node)
                                      : block_new();
        if (block == NULL) {
            return NULL;
        }
        blocks->spare = NULL;
        base_list_push_back(&blocks->partial, &block->node);
    } else {
        block = BASE_LIST_ENTRY(node, struct block, node);
    }
    if (block->free == NO_PIECE) {
        piece = piece_at(blocks, block, block->touched++);
        populate(piece, blocks->piece_bytes);
    } else {
        piece = piece_at(blocks, block, block->free);
        memcpy(&block->free, piece, sizeof block->free);
    }
    if (++block->live == blocks->pieces) {
        base_list_remove(&block->node);
        base_list_push_back(&blocks->full, &block->node);
    }
    return piece;
}

static void give(struct base_memory *memory, void *piece, size_t bytes) {
    struct base_blocks *blocks = BASE_CONTAINER_OF(memory, struct base_blocks, memory);
    struct block *block = block_of(piece);
    size_t offset = (size_t)((uint8_t *)piece - (uint8_t *)block) - head_bytes();

    BASE_ASSERT(bytes <= blocks->piece_bytes && offset % blocks->piece_bytes == 0 &&
                block->live > 0);
    memcpy(piece, &block->free, sizeof block->free);
    block->free = (uint32_t)(offset / blocks->piece_bytes);
    base_list_remove(&block->node);
    if (--block->live > 0) {
        base_list_push_back(&blocks->partial, &block->node);
    } else if (blocks->spare == NULL) {
        blocks->spare = &block->node;
    } else {
        (void)munmap(block, BASE_BLOCKS_BYTES);
    }
}

void base_blocks_init(struct base_blocks *blocks) {
    memset(blocks, 0, sizeof *blocks);
    blocks->memory.take = take;
    blocks->memory.give = give;
    base_list_init(&blocks->partial);
    base_list_init(&blocks->full);
}

void base_blocks_fini(struct base_blocks *blocks) {
    BASE_ASSERT(base_list_empty(&blocks->partial) && base_list_empty(&blocks->full));
    if (blocks->spare != NULL) {
        (void)munmap(BASE_LIST_ENTRY(blocks->spare, struct block, node), BASE_BLOCKS_BYTES);
        blocks->spare = NULL;
    }
}
