#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "fail_alloc.h"
#include "wire/block.h"

struct watched {
    struct wire_blob blob;
    unsigned destroyed;
};

static void watched_destroy(struct wire_blob *blob) {
    ((struct watched *)(void *)blob)->destroyed++;
}

static void watch(struct watched *watched, void *data, size_t size) {
    atomic_init(&watched->blob.refs, 1);
    watched->blob.data = data;
    watched->blob.size = size;
    watched->blob.destroy = watched_destroy;
    watched->destroyed = 0;
}

static void a_blob_is_destroyed_with_its_last_reference(void **state) {
    struct watched watched;
    uint8_t bytes[4];
    (void)state;
    watch(&watched, bytes, sizeof bytes);
    assert_ptr_equal(wire_blob_ref(&watched.blob), &watched.blob);
    wire_blob_ref(&watched.blob);
    wire_blob_unref(&watched.blob);
    wire_blob_unref(&watched.blob);
    assert_int_equal(watched.destroyed, 0);
    wire_blob_unref(&watched.blob);
    assert_int_equal(watched.destroyed, 1);
    wire_blob_unref(NULL);
}

static void a_copy_holds_exactly_the_bytes(void **state) {
    char bytes[] = "abc";
    struct wire_blob *blob = wire_blob_copy(bytes, 3);
    struct wire_blob *empty = wire_blob_copy(NULL, 0);
    (void)state;
    assert_non_null(blob);
    bytes[0] = 'x';
    assert_int_equal(blob->size, 3);
    assert_memory_equal(blob->data, "abc", 3);
    assert_non_null(empty);
    assert_int_equal(empty->size, 0);
    assert_non_null(empty->data);
    wire_blob_unref(blob);
    wire_blob_unref(empty);
    assert_null(wire_blob_new(SIZE_MAX - 4));
}

static void a_message_takes_over_the_references_of_its_frames(void **state) {
    struct watched watched[3];
    struct wire_blob *frames[3];
    uint8_t bytes[100];
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        watch(&watched[i], bytes, 10 + i);
        frames[i] = &watched[i].blob;
    }
    fail_alloc_after(0);
    assert_null(wire_message_new(frames, 3));
    fail_alloc_never();
    assert_int_equal(watched[0].blob.refs, 1);

    struct wire_message *message = wire_message_new(frames, 3);
    assert_non_null(message);
    assert_int_equal(wire_message_bytes(message), 33);
    assert_ptr_equal(wire_message_ref(message), message);
    wire_message_unref(message);
    assert_int_equal(watched[0].destroyed, 0);
    wire_blob_ref(frames[1]);
    wire_message_unref(message);
    assert_int_equal(watched[0].destroyed, 1);
    assert_int_equal(watched[1].destroyed, 0);
    assert_int_equal(watched[2].destroyed, 1);
    wire_blob_unref(frames[1]);
    assert_int_equal(watched[1].destroyed, 1);
    wire_message_unref(NULL);
}

/* Which of message, header and payloads goes last, in each order: the address sanitizer sees whether
 * the block that they share goes too early or never. */
static void the_frames_of_a_block_outlive_each_other_in_any_order(void **state) {
    static const unsigned orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                         {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        const struct wire_part parts[] = {{(const uint8_t *)"header", 6, NULL},
                                          {(const uint8_t *)"payloads", 8, NULL}};
        struct wire_message *message = wire_message_make(parts, 2);
        assert_non_null(message);
        struct wire_blob *held[] = {wire_blob_ref(message->frames[0]),
                                    wire_blob_ref(message->frames[1])};
        for (unsigned step = 0; step < 3; step++) {
            if (orders[i][step] == 2) {
                assert_int_equal(wire_message_bytes(message), 14);
                wire_message_unref(message);
            } else {
                unsigned which = orders[i][step];
                assert_memory_equal(held[which]->data, which == 0 ? "header" : "payloads",
                                    held[which]->size);
                wire_blob_unref(held[which]);
            }
        }
    }
}

static void memory_that_is_handed_over_is_freed_with_its_frame(void **state) {
    uint8_t *memory = malloc(100);
    (void)state;
    assert_non_null(memory);
    memset(memory, 'm', 100);
    const struct wire_part parts[] = {{memory + 10, 90, memory}, {NULL, 0, NULL}};
    fail_alloc_after(0);
    assert_null(wire_message_make(parts, 2));
    fail_alloc_never();
    assert_int_equal(memory[99], 'm'); /* still ours */

    struct wire_message *message = wire_message_make(parts, 2);
    assert_non_null(message);
    assert_ptr_equal(message->frames[0]->data, memory + 10);
    assert_int_equal(message->frames[0]->size, 90);
    assert_int_equal(message->frames[1]->size, 0);
    struct wire_blob *header = wire_blob_ref(message->frames[0]);
    wire_message_unref(message);
    assert_int_equal(header->data[0], 'm');
    wire_blob_unref(header);
}

static void *drop(void *blob) {
    wire_blob_unref(blob);
    return NULL;
}

static void references_may_be_dropped_on_other_threads(void **state) {
    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        const struct wire_part parts[] = {{(const uint8_t *)"header", 6, NULL},
                                          {(const uint8_t *)"payloads", 8, NULL}};
        struct wire_message *message = wire_message_make(parts, 2);
        pthread_t threads[2];
        assert_non_null(message);
        for (unsigned t = 0; t < 2; t++) {
            assert_int_equal(
                pthread_create(&threads[t], NULL, drop, wire_blob_ref(message->frames[t])), 0);
        }
        wire_message_unref(message);
        pthread_join(threads[0], NULL);
        pthread_join(threads[1], NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blob_is_destroyed_with_its_last_reference),
        cmocka_unit_test(a_copy_holds_exactly_the_bytes),
        cmocka_unit_test(a_message_takes_over_the_references_of_its_frames),
        cmocka_unit_test(the_frames_of_a_block_outlive_each_other_in_any_order),
        cmocka_unit_test(memory_that_is_handed_over_is_freed_with_its_frame),
        cmocka_unit_test(references_may_be_dropped_on_other_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
