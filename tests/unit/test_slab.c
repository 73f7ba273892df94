#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/slab.h"
#include "fail_alloc.h"

#define COUNT 20000

struct handle {
    uint32_t index;
    uint32_t generation;
    uint64_t *object;
};

static struct handle handles[COUNT];

static bool take(struct base_slab *slab, struct handle *handle) {
    *handle = (struct handle){0};
    handle->object = base_slab_alloc(slab, &handle->index, &handle->generation);
    return handle->object != NULL;
}

static void fill(struct base_slab *slab, size_t count) {
    for (size_t i = 0; i < count; i++) {
        assert_true(take(slab, &handles[i]));
        *handles[i].object = i;
    }
}

static void addresses_and_handles_stay_good_while_the_slab_grows(void **state) {
    struct base_slab slab;

    (void)state;
    base_slab_init(&slab, 40, 0);
    fill(&slab, COUNT);
    assert_int_equal(base_slab_count(&slab), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_ptr_equal(base_slab_get(&slab, handles[i].index), handles[i].object);
        assert_ptr_equal(base_slab_get_checked(&slab, handles[i].index, handles[i].generation),
                         handles[i].object);
        assert_int_equal(base_slab_generation(&slab, handles[i].index), handles[i].generation);
        assert_int_equal(*handles[i].object, i);
    }
    base_slab_fini(&slab);
}

static void objects_are_aligned(void **state) {
    static const size_t sizes[][2] = {{1, 16}, {24, 16}, {64, 64}, {192, 64}, {65536, 64}};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct base_slab slab;

        base_slab_init(&slab, sizes[i][0], 0);
        for (int j = 0; j < 20; j++) {
            void *object = base_slab_alloc(&slab, NULL, NULL);

            assert_non_null(object);
            assert_int_equal((uintptr_t)object % sizes[i][1], 0);
            memset(object, 0xff, sizes[i][0]);
        }
        base_slab_fini(&slab);
    }
}

static void a_stale_handle_resolves_to_nothing(void **state) {
    struct base_slab slab;
    struct handle first;
    struct handle second;

    (void)state;
    base_slab_init(&slab, 8, 0);
    assert_true(take(&slab, &first));
    base_slab_free(&slab, first.index);
    assert_null(base_slab_get_checked(&slab, first.index, first.generation));
    assert_true(take(&slab, &second));
    assert_int_equal(second.index, first.index);
    assert_int_not_equal(second.generation, first.generation);
    assert_null(base_slab_get_checked(&slab, first.index, first.generation));
    assert_ptr_equal(base_slab_get_checked(&slab, second.index, second.generation), second.object);
    base_slab_fini(&slab);
}

static void invented_handles_resolve_to_nothing(void **state) {
    struct base_slab slab;
    struct handle handle;

    (void)state;
    base_slab_init(&slab, 8, 0);
    assert_null(base_slab_get_checked(&slab, 0, 0));
    assert_null(base_slab_get_checked(&slab, 0, 1));
    assert_null(base_slab_get_live(&slab, 0));
    assert_null(base_slab_get_live(&slab, UINT32_MAX));
    assert_null(base_slab_get_checked(&slab, UINT32_MAX, UINT32_MAX));
    assert_true(take(&slab, &handle));
    assert_ptr_equal(base_slab_get_live(&slab, handle.index), handle.object);
    assert_null(base_slab_get_live(&slab, handle.index + 1));
    assert_null(base_slab_get_checked(&slab, 0, 0));
    for (uint32_t index = 0; index < 100000; index += 7) {
        for (uint32_t generation = 0; generation < 5; generation++) {
            if (index != handle.index || generation != handle.generation) {
                assert_null(base_slab_get_checked(&slab, index, generation));
            }
        }
    }
    base_slab_free(&slab, handle.index);
    assert_null(base_slab_get_live(&slab, handle.index));
    for (uint32_t generation = 0; generation < 5; generation++) {
        assert_null(base_slab_get_checked(&slab, handle.index, generation));
    }
    base_slab_fini(&slab);
}

static void trim_gives_everything_back_that_is_not_needed(void **state) {
    struct base_slab slab;
    size_t peak;

    (void)state;
    base_slab_init(&slab, 100, 0);
    fill(&slab, COUNT);
    peak = base_slab_bytes(&slab);
    assert_true(peak > 100 * COUNT);
    base_slab_trim(&slab);
    assert_int_equal(base_slab_bytes(&slab), peak);
    for (size_t i = 1; i < COUNT; i++) {
        base_slab_free(&slab, handles[i].index);
    }
    base_slab_trim(&slab);
    assert_true(base_slab_bytes(&slab) < 100000);
    assert_int_equal(*handles[0].object, 0);
    base_slab_fini(&slab);
}

static void memory_goes_back_by_itself_while_work_goes_on_after_a_peak(void **state) {
    struct base_slab slab;
    struct handle handle;

    (void)state;
    base_slab_init(&slab, 100, 0);
    fill(&slab, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        base_slab_free(&slab, handles[i].index);
    }
    for (int i = 0; i < 40 * COUNT; i++) {
        assert_true(take(&slab, &handle));
        base_slab_free(&slab, handle.index);
    }
    assert_true(base_slab_bytes(&slab) < 100000);
    base_slab_fini(&slab);
}

static void waves_find_the_memory_of_the_wave_before(void **state) {
    struct base_slab slab;

    (void)state;
    base_slab_init(&slab, 100, 0);
    for (int wave = 0; wave < 20; wave++) {
        if (wave > 0) {
            fail_alloc_after(0);
        }
        fill(&slab, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            base_slab_free(&slab, handles[i].index);
        }
    }
    fail_alloc_never();
    base_slab_fini(&slab);
}

static void a_handle_stays_stale_when_its_chunk_was_given_back_and_made_again(void **state) {
    struct base_slab slab;

    (void)state;
    base_slab_init(&slab, 1000, 0);
    fill(&slab, COUNT / 2);
    for (size_t i = 0; i < COUNT / 2; i++) {
        base_slab_free(&slab, handles[i].index);
    }
    base_slab_trim(&slab);
    for (size_t i = 0; i < COUNT / 2; i++) {
        assert_non_null(base_slab_alloc(&slab, NULL, NULL));
    }
    for (size_t i = 0; i < COUNT / 2; i++) {
        assert_null(base_slab_get_checked(&slab, handles[i].index, handles[i].generation));
    }
    base_slab_fini(&slab);
}

static void any_mix_of_alloc_and_free_keeps_objects_apart(void **state) {
    struct base_slab slab;
    struct base_rng rng;
    size_t live = 0;

    (void)state;
    base_slab_init(&slab, sizeof(uint64_t), 0);
    base_rng_init(&rng, 5);
    memset(handles, 0, sizeof handles);
    for (int step = 0; step < 400000; step++) {
        bool put = base_rng_chance(&rng, (step / 50000) % 2 == 0 ? 0.9 : 0.1);
        size_t i = base_rng_below(&rng, COUNT);

        if (put && handles[i].object == NULL) {
            assert_true(take(&slab, &handles[i]));
            *handles[i].object = i;
            live++;
        } else if (!put && handles[i].object != NULL) {
            assert_ptr_equal(base_slab_get_checked(&slab, handles[i].index, handles[i].generation),
                             handles[i].object);
            assert_int_equal(*handles[i].object, i);
            base_slab_free(&slab, handles[i].index);
            handles[i].object = NULL;
            live--;
        }
        assert_int_equal(base_slab_count(&slab), live);
    }
    base_slab_fini(&slab);
}

static void iteration_sees_every_live_object_and_may_free_it(void **state) {
    struct base_slab slab;
    uint32_t cursor = 0;
    uint32_t found;
    uint64_t *object;
    size_t count = 0;

    (void)state;
    base_slab_init(&slab, 500, 0);
    fill(&slab, 3000);
    for (size_t i = 0; i < 3000; i += 2) {
        base_slab_free(&slab, handles[i].index);
    }
    while ((object = base_slab_next(&slab, &cursor, &found)) != NULL) {
        assert_int_equal(*object % 2, 1);
        assert_int_equal(handles[*object].index, found);
        base_slab_free(&slab, found);
        count++;
    }
    assert_int_equal(count, 1500);
    assert_int_equal(base_slab_count(&slab), 0);
    base_slab_fini(&slab);
}

static void the_limit_is_kept(void **state) {
    struct base_slab slab;
    uint32_t index = 0;

    (void)state;
    base_slab_init(&slab, 16, 3);
    for (int i = 0; i < 3; i++) {
        assert_non_null(base_slab_alloc(&slab, &index, NULL));
    }
    assert_null(base_slab_alloc(&slab, NULL, NULL));
    base_slab_free(&slab, index);
    assert_non_null(base_slab_alloc(&slab, NULL, NULL));
    base_slab_fini(&slab);
}

static void without_memory_an_alloc_fails_and_the_rest_stays_good(void **state) {
    (void)state;
    for (long fail = 0; fail < 6; fail++) {
        struct base_slab slab;
        size_t count = 0;

        base_slab_init(&slab, 2000, 0);
        fail_alloc_after(fail);
        while (count < COUNT && take(&slab, &handles[count])) {
            *handles[count].object = count;
            count++;
        }
        assert_true(fail_alloc_failed());
        fail_alloc_never();
        assert_int_equal(base_slab_count(&slab), count);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(*(uint64_t *)base_slab_get(&slab, handles[i].index), i);
        }
        assert_true(take(&slab, &handles[count]));
        base_slab_fini(&slab);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_and_handles_stay_good_while_the_slab_grows),
        cmocka_unit_test(objects_are_aligned),
        cmocka_unit_test(a_stale_handle_resolves_to_nothing),
        cmocka_unit_test(invented_handles_resolve_to_nothing),
        cmocka_unit_test(trim_gives_everything_back_that_is_not_needed),
        cmocka_unit_test(memory_goes_back_by_itself_while_work_goes_on_after_a_peak),
        cmocka_unit_test(waves_find_the_memory_of_the_wave_before),
        cmocka_unit_test(a_handle_stays_stale_when_its_chunk_was_given_back_and_made_again),
        cmocka_unit_test(any_mix_of_alloc_and_free_keeps_objects_apart),
        cmocka_unit_test(iteration_sees_every_live_object_and_may_free_it),
        cmocka_unit_test(the_limit_is_kept),
        cmocka_unit_test(without_memory_an_alloc_fails_and_the_rest_stays_good),
    };

    return cmocka_run_group_tests_name("slab", tests, NULL, NULL);
}
