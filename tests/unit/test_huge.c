#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/huge.h"
#include "base/slab.h"

#define PIECE_BYTES 67000
#define PIECES      200 /* of several blocks */

static void *take(struct base_huge *huge) {
    return huge->memory.take(&huge->memory, PIECE_BYTES);
}

static void give(struct base_huge *huge, void *piece) {
    huge->memory.give(&huge->memory, piece, PIECE_BYTES);
}

static void pieces_are_aligned_and_apart(void **state) {
    struct base_huge huge;
    uint8_t *pieces[PIECES];

    (void)state;
    base_huge_init(&huge);
    for (int i = 0; i < PIECES; i++) {
        pieces[i] = take(&huge);
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
        give(&huge, pieces[(i * 7) % PIECES]);
    }
    base_huge_fini(&huge);
}

static void what_was_given_back_is_taken_again(void **state) {
    struct base_huge huge;
    void *first, *second;

    (void)state;
    base_huge_init(&huge);
    first = take(&huge);
    second = take(&huge);
    give(&huge, first);
    assert_ptr_equal(take(&huge), first);
    give(&huge, second);
    give(&huge, first);
    assert_ptr_equal(take(&huge), first); /* the block was kept spare */
    give(&huge, first);
    base_huge_fini(&huge);
}

static void a_block_that_is_full_has_room_again(void **state) {
    struct base_huge huge;
    void *pieces[PIECES];
    uint32_t block;

    (void)state;
    base_huge_init(&huge);
    pieces[0] = take(&huge);
    block = huge.pieces;
    assert_in_range(block, 4, PIECES - 1);
    for (uint32_t i = 1; i < block; i++) {
        pieces[i] = take(&huge);
    }
    assert_true(base_list_empty(&huge.partial));
    give(&huge, pieces[block / 2]);
    assert_ptr_equal(take(&huge), pieces[block / 2]);
    for (uint32_t i = 0; i < block; i++) {
        give(&huge, pieces[i]);
    }
    base_huge_fini(&huge);
}

static void a_slab_lives_in_it(void **state) {
    enum { COUNT = 100000 };
    struct base_huge huge;
    struct base_slab slab;
    uint32_t *indexes = malloc(COUNT * sizeof *indexes);

    (void)state;
    assert_non_null(indexes);
    base_huge_init(&huge);
    base_slab_init(&slab, 128, 0);
    base_slab_use(&slab, &huge.memory);
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
    base_huge_fini(&huge);
    free(indexes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_apart),
        cmocka_unit_test(what_was_given_back_is_taken_again),
        cmocka_unit_test(a_block_that_is_full_has_room_again),
        cmocka_unit_test(a_slab_lives_in_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
