#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>

#include "task/registry.h"
#include "task/status.h"

#define THREADS     4
#define PER_THREAD  200
#define LONG_ENOUGH 255

static int nothing(furrow_task *task) {
    (void)task;
    return FURROW_OK;
}

/* The one that a constructor registers, as in users' programs. */
static int by_constructor(furrow_task *task) {
    (void)task;
    return FURROW_OK;
}
FURROW_TASK(by_constructor);

static const furrow_function *find(const char *name) {
    return task_registry_find(name, strlen(name));
}

static void a_task_is_known_before_main(void **state) {
    (void)state;
    assert_ptr_equal(find("by_constructor"), FURROW_FUNCTION(by_constructor));
    assert_int_not_equal(FURROW_FUNCTION(by_constructor)->index, TASK_INDEX_NONE);
    assert_ptr_equal(FURROW_FUNCTION(by_constructor)->call, by_constructor);
}

static void an_unknown_name_finds_nothing(void **state) {
    (void)state;
    assert_null(find("by_constructo"));
    assert_null(find("by_constructor2"));
    assert_null(find(""));
    assert_null(task_registry_find("by_constructor", 3));
    assert_ptr_equal(task_registry_find("by_constructor and more", 14),
                     FURROW_FUNCTION(by_constructor));
}

static void the_later_of_two_with_one_name_is_ignored_with_a_note(void **state) {
    furrow_function first = {"twice", nothing, NULL, 0};
    furrow_function second = {"twice", by_constructor, NULL, 0};
    const char *name;
    size_t before = task_registry_refused(NULL);

    (void)state;
    furrow_function_register(&first);
    assert_int_equal(task_registry_refused(NULL), before);
    furrow_function_register(&second);
    assert_ptr_equal(find("twice"), &first);
    assert_int_equal(second.index, TASK_INDEX_NONE);
    assert_int_equal(task_registry_refused(&name), before + 1);
    assert_string_equal(name, "twice");
    furrow_function_unregister(&second);
    assert_ptr_equal(find("twice"), &first);
    assert_int_equal(task_registry_refused(&name), before + 1);
    assert_string_equal(name, "");
    furrow_function_unregister(&first);
    assert_null(find("twice"));
}

static void a_name_keeps_its_index_for_ever(void **state) {
    furrow_function first = {"again", nothing, NULL, 0};
    furrow_function between = {"between", nothing, NULL, 0};
    furrow_function second = {"again", nothing, NULL, 0};
    uint32_t index;

    (void)state;
    furrow_function_register(&first);
    index = first.index;
    furrow_function_unregister(&first);
    assert_int_equal(first.index, TASK_INDEX_NONE);
    furrow_function_register(&between);
    assert_int_not_equal(between.index, index);
    furrow_function_register(&second);
    assert_int_equal(second.index, index);
    furrow_function_unregister(&second);
    furrow_function_unregister(&between);
    furrow_function_unregister(&between); /* once more does nothing */
}

static void names_must_have_a_length_within_the_limit(void **state) {
    char fits[LONG_ENOUGH + 1], over[LONG_ENOUGH + 2];
    furrow_function good = {fits, nothing, NULL, 0};
    furrow_function bad = {over, nothing, NULL, 0};
    furrow_function empty = {"", nothing, NULL, 0};

    (void)state;
    memset(fits, 'x', LONG_ENOUGH);
    fits[LONG_ENOUGH] = '\0';
    memset(over, 'x', LONG_ENOUGH + 1);
    over[LONG_ENOUGH + 1] = '\0';
    furrow_function_register(&good);
    furrow_function_register(&bad);
    furrow_function_register(&empty);
    assert_ptr_equal(find(fits), &good);
    assert_null(find(over));
    assert_int_equal(bad.index, TASK_INDEX_NONE);
    assert_int_equal(empty.index, TASK_INDEX_NONE);
    furrow_function_unregister(&good);
    furrow_function_unregister(&bad);
    furrow_function_unregister(&empty);
}

static void the_list_has_what_is_registered_in_the_order_of_the_indices(void **state) {
    furrow_function a = {"list_a", nothing, NULL, 0};
    furrow_function b = {"list_b", nothing, NULL, 0};
    struct task_function_list before, list;

    (void)state;
    assert_int_equal(task_registry_list(&before), FURROW_OK);
    furrow_function_register(&a);
    furrow_function_register(&b);
    assert_int_equal(task_registry_list(&list), FURROW_OK);
    assert_int_equal(list.count, before.count + 2);
    for (uint32_t i = 0; i < list.count; i++) {
        assert_ptr_equal(list.names[i], list.functions[i]->name);
        assert_true(i == 0 || list.functions[i - 1]->index < list.functions[i]->index);
    }
    assert_string_equal(list.names[list.count - 2], "list_a");
    assert_string_equal(list.names[list.count - 1], "list_b");
    furrow_function_unregister(&a);
    task_function_list_fini(&list);
    assert_int_equal(task_registry_list(&list), FURROW_OK);
    assert_int_equal(list.count, before.count + 1);
    task_function_list_fini(&list);
    task_function_list_fini(&before);
    furrow_function_unregister(&b);
}

static void what_is_registered_meanwhile_is_collected_in_order(void **state) {
    furrow_function a = {"collect_a", nothing, NULL, 0};
    furrow_function b = {"collect_b", nothing, NULL, 0};
    furrow_function clash = {"by_constructor", nothing, NULL, 0};
    struct task_collector collector;

    (void)state;
    task_collect_begin(&collector);
    furrow_function_register(&a);
    furrow_function_register(&clash);
    furrow_function_register(&b);
    task_collect_end(&collector);
    assert_int_equal(collector.count, 2);
    assert_ptr_equal(collector.first, &a);
    assert_ptr_equal(a.next, &b);
    assert_null(b.next);
    assert_int_equal(collector.refused, 1);
    assert_string_equal(collector.refused_name, "by_constructor");
    furrow_function_unregister(&a);
    furrow_function_unregister(&b);
    furrow_function_unregister(&clash);
}

struct worker {
    pthread_t thread;
    furrow_function functions[PER_THREAD];
    char names[PER_THREAD][32];
};

static void *register_all(void *argument) {
    struct worker *worker = argument;

    for (size_t i = 0; i < PER_THREAD; i++) {
        furrow_function_register(&worker->functions[i]);
        (void)find(worker->names[i]);
    }
    return NULL;
}

static void threads_may_register_at_once(void **state) {
    static struct worker workers[THREADS];

    (void)state;
    for (size_t t = 0; t < THREADS; t++) {
        for (size_t i = 0; i < PER_THREAD; i++) {
            (void)snprintf(workers[t].names[i], sizeof workers[t].names[i], "thread%zu-%zu", t, i);
            workers[t].functions[i] =
                (furrow_function){workers[t].names[i], nothing, NULL, TASK_INDEX_NONE};
        }
        assert_int_equal(pthread_create(&workers[t].thread, NULL, register_all, &workers[t]), 0);
    }
    for (size_t t = 0; t < THREADS; t++) {
        assert_int_equal(pthread_join(workers[t].thread, NULL), 0);
    }
    for (size_t t = 0; t < THREADS; t++) {
        for (size_t i = 0; i < PER_THREAD; i++) {
            assert_ptr_equal(find(workers[t].names[i]), &workers[t].functions[i]);
            furrow_function_unregister(&workers[t].functions[i]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_is_known_before_main),
        cmocka_unit_test(an_unknown_name_finds_nothing),
        cmocka_unit_test(the_later_of_two_with_one_name_is_ignored_with_a_note),
        cmocka_unit_test(a_name_keeps_its_index_for_ever),
        cmocka_unit_test(names_must_have_a_length_within_the_limit),
        cmocka_unit_test(the_list_has_what_is_registered_in_the_order_of_the_indices),
        cmocka_unit_test(what_is_registered_meanwhile_is_collected_in_order),
        cmocka_unit_test(threads_may_register_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
