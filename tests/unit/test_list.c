#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
    int value;
    struct base_node node;
};

static struct item items[8];

static void prepare(struct base_list *list, int count) {
    base_list_init(list);
    memset(items, 0, sizeof items);
    for (int i = 0; i < count; i++) {
        items[i].value = i;
        base_list_push_back(list, &items[i].node);
    }
}

/* Checks the list against `expected`, decimal digits, forwards and backwards. */
static void check(const struct base_list *list, const char *expected) {
    size_t count = strlen(expected);
    const struct base_node *node = base_list_first(list);

    for (size_t i = 0; i < count; i++) {
        assert_non_null(node);
        assert_int_equal(BASE_LIST_ENTRY(node, struct item, node)->value, expected[i] - '0');
        node = base_list_next(list, node);
    }
    assert_null(node);
    node = base_list_last(list);
    for (size_t i = count; i > 0; i--) {
        assert_non_null(node);
        assert_int_equal(BASE_LIST_ENTRY(node, struct item, node)->value, expected[i - 1] - '0');
        node = base_list_prev(list, node);
    }
    assert_null(node);
    assert_int_equal(base_list_empty(list), count == 0);
}

static void nodes_keep_the_order_they_were_pushed_in(void **state) {
    struct base_list list;

    (void)state;
    prepare(&list, 3);
    check(&list, "012");
    items[3].value = 3;
    base_list_push_front(&list, &items[3].node);
    check(&list, "3012");
    items[4].value = 4;
    base_list_insert_before(&items[1].node, &items[4].node);
    check(&list, "30412");
    items[5].value = 5;
    memset(&items[5].node, 0xff, sizeof items[5].node); /* as new memory may be */
    base_list_push_new(&list, &items[5].node);
    check(&list, "304125");
}

static void removal_works_at_both_ends_and_in_the_middle(void **state) {
    struct base_list list;

    (void)state;
    prepare(&list, 5);
    base_list_remove(&items[2].node);
    assert_false(base_node_linked(&items[2].node));
    check(&list, "0134");
    base_list_remove(&items[0].node);
    base_list_remove(&items[4].node);
    check(&list, "13");
    assert_ptr_equal(base_list_pop_front(&list), &items[1].node);
    assert_ptr_equal(base_list_pop_front(&list), &items[3].node);
    assert_null(base_list_pop_front(&list));
    check(&list, "");
    base_list_push_back(&list, &items[2].node);
    check(&list, "2");
}

static void splice_moves_everything_and_leaves_the_source_empty(void **state) {
    struct base_list list;
    struct base_list other;

    (void)state;
    prepare(&list, 3);
    base_list_init(&other);
    base_list_splice(&list, &other);
    check(&list, "012");
    for (int i = 3; i < 6; i++) {
        items[i].value = i;
        base_list_push_back(&other, &items[i].node);
    }
    base_list_splice(&list, &other);
    check(&list, "012345");
    check(&other, "");
    base_list_splice(&other, &list);
    check(&other, "012345");
    check(&list, "");
}

static void foreach_lets_the_body_remove_the_node_it_is_at(void **state) {
    struct base_list list;
    int seen = 0;

    (void)state;
    prepare(&list, 6);
    BASE_LIST_FOREACH(&list, node) {
        struct item *item = BASE_LIST_ENTRY(node, struct item, node);

        assert_int_equal(item->value, seen++);
        if (item->value % 2 == 0) {
            base_list_remove(node);
            memset(node, 0xff, sizeof *node);
        }
    }
    assert_int_equal(seen, 6);
    check(&list, "135");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_keep_the_order_they_were_pushed_in),
        cmocka_unit_test(removal_works_at_both_ends_and_in_the_middle),
        cmocka_unit_test(splice_moves_everything_and_leaves_the_source_empty),
        cmocka_unit_test(foreach_lets_the_body_remove_the_node_it_is_at),
    };

    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
