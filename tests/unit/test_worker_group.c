/* How many tasks a lane runs before their results go out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/group.h"

/* Runs a group of tasks that take `task_ns` each, of `waiting` that are there. Returns how many it ran. */
static unsigned run(struct worker_group *group, unsigned waiting, uint64_t task_ns, size_t bytes) {
    unsigned count = 0;
    bool ends = false;

    worker_group_begin(group, waiting, 0);
    while (!ends && count < waiting) {
        ends = worker_group_add(group, bytes);
        count++;
    }
    worker_group_end(group, count * task_ns);
    return count;
}

static struct worker_group used_to(uint64_t task_ns) {
    struct worker_group group = {0};

    (void)run(&group, WORKER_GROUP_MAX, task_ns, 0);
    (void)run(&group, WORKER_GROUP_MAX, task_ns, 0);
    return group;
}

static void a_first_task_is_a_group_of_its_own(void **state) {
    struct worker_group group = {0};
    (void)state;

    assert_int_equal(run(&group, 1000, 3000, 0), 1);
}

static void results_are_held_while_as_much_again_stands_behind(void **state) {
    struct worker_group group = used_to(3000);
    (void)state;

    assert_int_equal(run(&group, 1000, 3000, 0), 233); /* 700 us */
    assert_int_equal(run(&group, 466, 3000, 0), 233);
    assert_int_equal(run(&group, 140, 3000, 0), 70);
}

static void few_tasks_are_not_cut_smaller_than_usual(void **state) {
    struct worker_group group = used_to(3000);
    (void)state;

    assert_int_equal(run(&group, 40, 3000, 0), 33); /* 100 us */
    assert_int_equal(run(&group, 5, 3000, 0), 5);
}

static void what_was_put_ahead_is_a_group_of_its_own(void **state) {
    struct worker_group group = used_to(3000);
    (void)state;

    worker_group_begin(&group, 1000, 2);
    assert_false(worker_group_add(&group, 0));
    assert_true(worker_group_add(&group, 0));
    worker_group_end(&group, 6000);
    assert_int_equal(run(&group, 1000, 3000, 0), 233);
}

static void without_a_view_of_the_queue_a_group_is_usual(void **state) {
    struct worker_group group = used_to(10000);
    unsigned count = 1;
    (void)state;

    while (!worker_group_add(&group, 8)) {
        count++;
    }
    assert_int_equal(count, 10);
}

static void long_tasks_go_out_one_by_one(void **state) {
    struct worker_group group = used_to(500000);
    (void)state;

    assert_int_equal(run(&group, 100, 500000, 0), 1);
    group = used_to(UINT64_C(5000000000));
    assert_int_equal(run(&group, 100, 1, 0), 1);
}

static void no_ops_fill_a_message(void **state) {
    struct worker_group group = used_to(20);
    (void)state;

    assert_int_equal(run(&group, WORKER_GROUP_MAX, 20, 0), WORKER_GROUP_MAX);
    group = used_to(0); /* quicker than the clock */
    assert_int_equal(run(&group, WORKER_GROUP_MAX, 0, 0), WORKER_GROUP_MAX);
}

static void large_outcomes_are_not_held(void **state) {
    struct worker_group group = used_to(3000);
    (void)state;

    assert_int_equal(run(&group, 1000, 3000, WORKER_GROUP_BYTES / 4), 4);
    assert_int_equal(run(&group, 1000, 3000, WORKER_GROUP_BYTES), 1);
    assert_int_equal(run(&group, 1000, 3000, 0), 233); /* bytes count for their group only */
}

static void a_group_shrinks_at_once_when_tasks_get_long(void **state) {
    struct worker_group group = used_to(1000);
    (void)state;

    (void)run(&group, 10, 1000000, 0);
    assert_int_equal(run(&group, 1000, 1000000, 0), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_task_is_a_group_of_its_own),
        cmocka_unit_test(results_are_held_while_as_much_again_stands_behind),
        cmocka_unit_test(few_tasks_are_not_cut_smaller_than_usual),
        cmocka_unit_test(what_was_put_ahead_is_a_group_of_its_own),
        cmocka_unit_test(without_a_view_of_the_queue_a_group_is_usual),
        cmocka_unit_test(long_tasks_go_out_one_by_one),
        cmocka_unit_test(no_ops_fill_a_message),
        cmocka_unit_test(large_outcomes_are_not_held),
        cmocka_unit_test(a_group_shrinks_at_once_when_tasks_get_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
