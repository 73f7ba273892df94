#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>

#include "base/inbox.h"

#define PRODUCERS 4
#define EACH      50000

struct item {
    struct base_inbox_node node;
    int producer;
    int number;
};

static struct base_inbox inbox;

static void items_come_out_in_the_order_they_were_pushed(void **state) {
    struct item items[3];
    struct base_inbox_node *node;

    (void)state;
    base_inbox_init(&inbox);
    assert_true(base_inbox_empty(&inbox));
    assert_null(base_inbox_take(&inbox));
    assert_true(base_inbox_push(&inbox, &items[0].node));
    assert_false(base_inbox_push(&inbox, &items[1].node));
    assert_false(base_inbox_push(&inbox, &items[2].node));
    assert_false(base_inbox_empty(&inbox));
    node = base_inbox_take(&inbox);
    assert_true(base_inbox_empty(&inbox));
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(node, &items[i].node);
        node = node->next;
    }
    assert_null(node);
    assert_true(base_inbox_push(&inbox, &items[0].node));
}

static void a_chain_comes_out_oldest_first(void **state) {
    struct item items[4];
    struct base_inbox_node *node;

    (void)state;
    base_inbox_init(&inbox);
    items[3].node.next = &items[2].node;
    items[2].node.next = &items[1].node;
    assert_true(base_inbox_push(&inbox, &items[0].node));
    assert_false(base_inbox_push_chain(&inbox, &items[3].node, &items[1].node));
    node = base_inbox_take(&inbox);
    for (int i = 0; i < 4; i++) {
        assert_ptr_equal(node, &items[i].node);
        node = node->next;
    }
    assert_null(node);
}

static void *produce(void *argument) {
    struct item *items = argument;

    for (int i = 0; i < EACH; i++) {
        base_inbox_push(&inbox, &items[i].node);
    }
    return NULL;
}

static void many_producers_lose_nothing_and_each_keeps_its_order(void **state) {
    struct item *items = calloc((size_t)PRODUCERS * EACH, sizeof *items);
    pthread_t threads[PRODUCERS];
    int next[PRODUCERS] = {0};
    int left = PRODUCERS * EACH;

    (void)state;
    assert_non_null(items);
    base_inbox_init(&inbox);
    for (int p = 0; p < PRODUCERS; p++) {
        for (int i = 0; i < EACH; i++) {
            items[p * EACH + i].producer = p;
            items[p * EACH + i].number = i;
        }
        assert_int_equal(pthread_create(&threads[p], NULL, produce, &items[p * EACH]), 0);
    }
    while (left > 0) {
        struct base_inbox_node *node = base_inbox_take(&inbox);

        for (; node != NULL; node = node->next) {
            struct item *item = (struct item *)(void *)node;

            assert_int_equal(item->number, next[item->producer]++);
            left--;
        }
        sched_yield();
    }
    for (int p = 0; p < PRODUCERS; p++) {
        assert_int_equal(pthread_join(threads[p], NULL), 0);
    }
    assert_true(base_inbox_empty(&inbox));
    free(items);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_the_order_they_were_pushed),
        cmocka_unit_test(a_chain_comes_out_oldest_first),
        cmocka_unit_test(many_producers_lose_nothing_and_each_keeps_its_order),
    };

    return cmocka_run_group_tests_name("inbox", tests, NULL, NULL);
}
