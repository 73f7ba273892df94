#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "fail_alloc.h"

static void appends_add_up(void **state) {
    struct base_buffer buffer;
    char expected[3000];

    (void)state;
    base_buffer_init(&buffer);
    assert_true(base_buffer_append(&buffer, NULL, 0));
    for (size_t i = 0; i < sizeof expected; i += 3) {
        memset(expected + i, 'a' + (int)(i % 20), 3);
        assert_true(base_buffer_append(&buffer, expected + i, 2));
        assert_true(base_buffer_append_u8(&buffer, (uint8_t)expected[i + 2]));
    }
    assert_int_equal(buffer.size, sizeof expected);
    assert_memory_equal(buffer.data, expected, sizeof expected);
    assert_false(buffer.failed);
    base_buffer_fini(&buffer);
    assert_int_equal(buffer.size, 0);
}

static void reserved_room_becomes_contents_on_commit(void **state) {
    struct base_buffer buffer;
    uint8_t *room;

    (void)state;
    base_buffer_init(&buffer);
    assert_non_null(base_buffer_reserve(&buffer, 0));
    room = base_buffer_reserve(&buffer, 1000);
    assert_non_null(room);
    memset(room, 'x', 1000);
    assert_int_equal(buffer.size, 0);
    base_buffer_commit(&buffer, 10);
    assert_int_equal(buffer.size, 10);
    assert_memory_equal(buffer.data, "xxxxxxxxxx", 10);
    base_buffer_fini(&buffer);
}

static void clear_keeps_the_memory_and_trim_gives_it_back(void **state) {
    struct base_buffer buffer;
    uint8_t *data;

    (void)state;
    base_buffer_init(&buffer);
    assert_non_null(base_buffer_reserve(&buffer, 5000));
    data = buffer.data;
    base_buffer_clear(&buffer);
    assert_non_null(base_buffer_reserve(&buffer, 5000));
    assert_ptr_equal(buffer.data, data);
    assert_true(base_buffer_append(&buffer, "abc", 3));
    base_buffer_trim(&buffer, 10000);
    assert_true(buffer.allocated >= 5000);
    base_buffer_trim(&buffer, 100);
    assert_int_equal(buffer.allocated, 100);
    base_buffer_trim(&buffer, 0);
    assert_int_equal(buffer.allocated, 3);
    assert_memory_equal(buffer.data, "abc", 3);
    base_buffer_clear(&buffer);
    base_buffer_trim(&buffer, 0);
    assert_null(buffer.data);
    assert_true(base_buffer_append(&buffer, "abc", 3));
    base_buffer_fini(&buffer);
}

static void detach_hands_the_bytes_over(void **state) {
    struct base_buffer buffer;
    uint8_t *data;
    size_t size;

    (void)state;
    base_buffer_init(&buffer);
    assert_null(base_buffer_detach(&buffer, &size));
    assert_int_equal(size, 0);
    assert_true(base_buffer_append(&buffer, "abc", 3));
    data = base_buffer_detach(&buffer, &size);
    assert_int_equal(size, 3);
    assert_memory_equal(data, "abc", 3);
    assert_int_equal(buffer.size, 0);
    assert_null(buffer.data);
    free(data);
}

static void a_failure_sticks_until_clear(void **state) {
    struct base_buffer buffer;
    size_t size;

    (void)state;
    base_buffer_init(&buffer);
    assert_true(base_buffer_append(&buffer, "abc", 3));
    fail_alloc_only(0);
    assert_null(base_buffer_reserve(&buffer, 1000));
    fail_alloc_never();
    assert_true(buffer.failed);
    /* There would be room for these, and memory: but the contents would have a hole. */
    assert_false(base_buffer_append(&buffer, "d", 1));
    assert_false(base_buffer_append(&buffer, NULL, 0));
    assert_false(base_buffer_append_u8(&buffer, 'd'));
    assert_null(base_buffer_reserve(&buffer, 1));
    assert_null(base_buffer_reserve(&buffer, 0));
    assert_int_equal(buffer.size, 3);
    base_buffer_clear(&buffer);
    assert_true(base_buffer_append(&buffer, "efg", 3));
    assert_memory_equal(buffer.data, "efg", 3);
    fail_alloc_only(0);
    assert_null(base_buffer_reserve(&buffer, 1000));
    fail_alloc_never();
    assert_null(base_buffer_detach(&buffer, &size));
    assert_int_equal(size, 0);
    assert_false(buffer.failed);
    base_buffer_fini(&buffer);
}

static void a_size_that_overflows_is_a_failure(void **state) {
    struct base_buffer buffer;

    (void)state;
    base_buffer_init(&buffer);
    assert_true(base_buffer_append(&buffer, "abc", 3));
    assert_null(base_buffer_reserve(&buffer, SIZE_MAX - 1));
    assert_true(buffer.failed);
    base_buffer_clear(&buffer);
    assert_null(base_buffer_reserve(&buffer, (size_t)PTRDIFF_MAX + 1));
    assert_true(buffer.failed);
    base_buffer_fini(&buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_add_up),
        cmocka_unit_test(reserved_room_becomes_contents_on_commit),
        cmocka_unit_test(clear_keeps_the_memory_and_trim_gives_it_back),
        cmocka_unit_test(detach_hands_the_bytes_over),
        cmocka_unit_test(a_failure_sticks_until_clear),
        cmocka_unit_test(a_size_that_overflows_is_a_failure),
    };

    return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
