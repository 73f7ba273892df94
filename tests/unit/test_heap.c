#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/heap.h"
#include "base/rng.h"
#include "fail_alloc.h"

#define COUNT 3000

static struct base_heap_node nodes[COUNT];

static void prepare(struct base_heap *heap) {
    base_heap_init(heap);
    for (size_t i = 0; i < COUNT; i++) {
        base_heap_node_init(&nodes[i]);
    }
}

static void an_empty_heap_has_no_smallest_node(void **state) {
    struct base_heap heap;

    (void)state;
    prepare(&heap);
    assert_null(base_heap_peek(&heap));
    assert_null(base_heap_pop(&heap));
    base_heap_fini(&heap);
}

static void nodes_come_out_in_the_order_of_their_keys(void **state) {
    struct base_heap heap;
    struct base_rng rng;
    uint64_t last = 0;

    (void)state;
    prepare(&heap);
    base_rng_init(&rng, 1);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(base_heap_insert(&heap, &nodes[i], base_rng_below(&rng, 1000)));
    }
    for (size_t i = 0; i < COUNT; i++) {
        struct base_heap_node *smallest = base_heap_peek(&heap);
        struct base_heap_node *node = base_heap_pop(&heap);

        assert_ptr_equal(node, smallest);
        assert_true(node->key >= last);
        assert_false(base_heap_node_linked(node));
        last = node->key;
    }
    assert_null(base_heap_pop(&heap));
    base_heap_fini(&heap);
}

/* Every node knows its place, and no parent is larger than its child: found by walking the pointers,
 * not by the heap's own arithmetic alone. */
static void check(const struct base_heap *heap) {
    for (size_t i = 0; i < heap->count; i++) {
        assert_int_equal(heap->slots[i].node->index, i);
        assert_int_equal(heap->slots[i].node->key, heap->slots[i].key);
        if (i > 0) {
            assert_true(heap->slots[(i - 1) / 4].key <= heap->slots[i].key);
        }
    }
}

static void any_mix_of_operations_keeps_the_heap_in_order(void **state) {
    struct base_heap heap;
    struct base_rng rng;
    size_t count = 0;

    (void)state;
    prepare(&heap);
    base_rng_init(&rng, 2);
    for (int step = 0; step < 40000; step++) {
        struct base_heap_node *node = &nodes[base_rng_below(&rng, COUNT)];

        if (!base_heap_node_linked(node)) {
            assert_true(base_heap_insert(&heap, node, base_rng_below(&rng, 500)));
            count++;
        } else if (base_rng_chance(&rng, 0.5)) {
            base_heap_remove(&heap, node);
            assert_false(base_heap_node_linked(node));
            count--;
        } else {
            base_heap_update(&heap, node, base_rng_below(&rng, 500));
        }
        assert_int_equal(heap.count, count);
        if (step % 500 == 0) {
            check(&heap);
        }
    }
    check(&heap);
    base_heap_fini(&heap);
}

static void a_heap_that_has_emptied_gives_its_memory_back(void **state) {
    struct base_heap heap;
    size_t peak;

    (void)state;
    prepare(&heap);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(base_heap_insert(&heap, &nodes[i], i));
    }
    peak = heap.capacity;
    while (base_heap_pop(&heap) != NULL) {
    }
    assert_true(heap.capacity <= peak / 4);
    base_heap_fini(&heap);
}

static void without_memory_an_insert_fails_and_changes_nothing(void **state) {
    struct base_heap heap;
    size_t count = 0;

    (void)state;
    prepare(&heap);
    fail_alloc_after(0);
    assert_false(base_heap_insert(&heap, &nodes[0], 1));
    assert_false(base_heap_reserve(&heap, 1));
    fail_alloc_after(1);
    while (base_heap_insert(&heap, &nodes[count], 100 - count)) {
        count++;
    }
    fail_alloc_never();
    assert_true(count > 0 && count < COUNT);
    assert_false(base_heap_node_linked(&nodes[count]));
    check(&heap);
    assert_ptr_equal(base_heap_peek(&heap), &nodes[count - 1]);
    assert_true(base_heap_insert(&heap, &nodes[count], 0));
    assert_ptr_equal(base_heap_peek(&heap), &nodes[count]);
    base_heap_fini(&heap);
}

static void inserts_within_what_was_reserved_need_no_memory(void **state) {
    struct base_heap heap;

    (void)state;
    prepare(&heap);
    assert_true(base_heap_reserve(&heap, COUNT));
    fail_alloc_after(0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(base_heap_insert(&heap, &nodes[i], i));
    }
    fail_alloc_never();
    base_heap_fini(&heap);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_heap_has_no_smallest_node),
        cmocka_unit_test(nodes_come_out_in_the_order_of_their_keys),
        cmocka_unit_test(any_mix_of_operations_keeps_the_heap_in_order),
        cmocka_unit_test(a_heap_that_has_emptied_gives_its_memory_back),
        cmocka_unit_test(without_memory_an_insert_fails_and_changes_nothing),
        cmocka_unit_test(inserts_within_what_was_reserved_need_no_memory),
    };

    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
