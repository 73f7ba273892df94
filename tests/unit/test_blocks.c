#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/mman.h>
#include <unistd.h>

#include "base/blocks.h"
#include "base/slab.h"

#define PIECE_BYTES 67000
#define PIECES      200 /* of several blocks */

static void *take(struct base_blocks *blocks) {
    return blocks->memory.take(&blocks->memory, PIECE_BYTES);
}

static void give(struct base_blocks *blocks, void *piece) {
    blocks->memory.give(&blocks->memory, piece, PIECE_BYTES);
}

static void pieces_are_aligned_and_apart(void **state) {
    struct base_blocks blocks;
    uint8_t *pieces[PIECES];

    (void)state;
    base_blocks_init(&blocks);
    for (int i = 0; i < PIECES; i++) {
        pieces[i] = take(&blocks);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 64, 0);
        memset(pieces[i], i, PIECE_BYTES);
    }
    for (int i = 0; i < PIECES; i++) {
        for (size_t at = 0; at < PIECE_BYTES; at++) {
            assert_int_equal(pieces[i][at], (uint8_t)i);
        }
    }
    for (int i = 0; i < PIECES; i++) {
        give(&blocks, pieces[(i * 7) % PIECES]);
    }
    base_blocks_fini(&blocks);
}

/* Whether this kernel knows it (Linux 5.14). */
static bool can_populate(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *mapped = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool can;

    assert_ptr_not_equal(mapped, MAP_FAILED);
    can = madvise(mapped, page, MADV_POPULATE_WRITE) == 0;
    assert_int_equal(munmap(mapped, page), 0);
    return can;
}

static void a_piece_is_there_before_it_is_touched(void **state) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct base_blocks blocks;
    void *pieces[3];

    (void)state;
    if (!can_populate()) {
        skip();
    }
    base_blocks_init(&blocks);
    for (int i = 0; i < 3; i++) {
        unsigned char resident[PIECE_BYTES / 4096 + 2] = {0};
        uintptr_t from;

        pieces[i] = take(&blocks);
        from = (uintptr_t)pieces[i] & ~(uintptr_t)(page - 1);
        assert_int_equal(mincore((void *)from, (uintptr_t)pieces[i] + PIECE_BYTES - from, resident),
                         0);
        for (size_t at = 0; at * page < PIECE_BYTES; at++) {
            assert_true((resident[at] & 1) != 0);
        }
    }
    for (int i = 0; i < 3; i++) {
        give(&blocks, pieces[i]);
    }
    base_blocks_fini(&blocks);
}

static void what_was_given_back_is_taken_again(void **state) {
    struct base_blocks blocks;
    void *first, *second;

    (void)state;
    base_blocks_init(&blocks);
    first = take(&blocks);
    second = take(&blocks);
    give(&blocks, first);
    assert_ptr_equal(take(&blocks), first);
    give(&blocks, second);
    give(&blocks, first);
    assert_ptr_equal(take(&blocks), first); /* the block was kept spare */
    give(&blocks, first);
    base_blocks_fini(&blocks);
}

static void a_block_that_is_full_has_room_again(void **state) {
    struct base_blocks blocks;
    void *pieces[PIECES];
    uint32_t block;

    (void)state;
    base_blocks_init(&blocks);
    pieces[0] = take(&blocks);
    block = blocks.pieces;
    assert_in_range(block, 4, PIECES - 1);
    for (uint32_t i = 1; i < block; i++) {
        pieces[i] = take(&blocks);
    }
    assert_true(base_list_empty(&blocks.partial));
    give(&blocks, pieces[block / 2]);
    assert_ptr_equal(take(&blocks), pieces[block / 2]);
    for (uint32_t i = 0; i < block; i++) {
        give(&blocks, pieces[i]);
    }
    base_blocks_fini(&blocks);
}

static void a_slab_lives_in_it(void **state) {
    enum { COUNT = 100000 };
    struct base_blocks blocks;
    struct base_slab slab;
    uint32_t *indexes = malloc(COUNT * sizeof *indexes);

    (void)state;
    assert_non_null(indexes);
    base_blocks_init(&blocks);
    base_slab_init(&slab, 128, 0);
    base_slab_use(&slab, &blocks.memory);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            uint32_t *object = base_slab_alloc(&slab, &indexes[i], NULL);

            assert_non_null(object);
            assert_int_equal((uintptr_t)object % 64, 0);
            *object = i;
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            assert_int_equal(*(uint32_t *)base_slab_get(&slab, indexes[i]), i);
            base_slab_free(&slab, indexes[i]);
        }
        base_slab_trim(&slab);
    }
    for (uint32_t i = 0; i < 1000; i++) { /* some are left when it ends */
        assert_non_null(base_slab_alloc(&slab, NULL, NULL));
    }
    base_slab_fini(&slab);
    base_blocks_fini(&blocks);
    free(indexes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_apart),
        cmocka_unit_test(a_piece_is_there_before_it_is_touched),
        cmocka_unit_test(what_was_given_back_is_taken_again),
        cmocka_unit_test(a_block_that_is_full_has_room_again),
        cmocka_unit_test(a_slab_lives_in_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
