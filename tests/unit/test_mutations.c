/* Every byte of every kind of message, changed and cut off: it decodes to something that keeps its
 * meaning when written again, or is refused. Best run under the address sanitizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fuzz/wire_exercise.h"

/* The message with another header; its payload frames are shared. */
static struct wire_message *with_header(const struct wire_message *message, const uint8_t *header,
                                        size_t size) {
    struct wire_blob *frames[WIRE_FRAMES_MAX];
    frames[0] = wire_blob_copy(header, size);
    assert_non_null(frames[0]);
    for (uint32_t i = 1; i < message->frame_count; i++) {
        frames[i] = wire_blob_ref(message->frames[i]);
    }
    struct wire_message *changed = wire_message_new(frames, message->frame_count);
    assert_non_null(changed);
    return changed;
}

static bool accepted(const struct wire_message *message, const uint8_t *header, size_t size) {
    struct wire_fault fault;
    struct wire_message *changed = with_header(message, header, size);
    bool good = exercise_message(changed, &fault);
    wire_message_unref(changed);
    return good;
}

static void every_sample_is_accepted(void **state) {
    struct wire_message *message;
    unsigned count = 0;
    (void)state;
    for (; (message = exercise_sample(count)) != NULL; count++) {
        struct wire_fault fault;
        if (!exercise_message(message, &fault)) {
            fail_msg("sample %u: %s", count, fault.text);
        }
        wire_message_unref(message);
    }
    assert_true(count >= 24);
}

static void every_cut_is_refused(void **state) {
    struct wire_message *message;
    (void)state;
    for (unsigned i = 0; (message = exercise_sample(i)) != NULL; i++) {
        const struct wire_blob *header = message->frames[0];
        for (size_t size = 0; size < header->size; size++) {
            assert_false(accepted(message, header->data, size));
        }
        wire_message_unref(message);
    }
}

static void every_addition_is_refused(void **state) {
    struct wire_message *message;
    uint8_t longer[1024];
    (void)state;
    for (unsigned i = 0; (message = exercise_sample(i)) != NULL; i++) {
        const struct wire_blob *header = message->frames[0];
        assert_true(header->size < sizeof longer);
        memcpy(longer, header->data, header->size);
        for (unsigned byte = 0; byte < 256; byte++) {
            longer[header->size] = (uint8_t)byte;
            assert_false(accepted(message, longer, header->size + 1));
        }
        wire_message_unref(message);
    }
}

static void every_changed_byte_is_survived(void **state) {
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0x81, 0x90, 0x91, 0x9f, 0xa0, 0xa1,
                                     0xbf, 0xc0, 0xc1, 0xc4, 0xca, 0xcc, 0xcd, 0xce, 0xcf, 0xd0,
                                     0xd3, 0xd4, 0xd9, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff};
    struct wire_message *message;
    uint8_t changed[1024];
    unsigned refusals = 0;
    (void)state;
    for (unsigned i = 0; (message = exercise_sample(i)) != NULL; i++) {
        const struct wire_blob *header = message->frames[0];
        memcpy(changed, header->data, header->size);
        for (size_t at = 0; at < header->size; at++) {
            for (size_t v = 0; v < sizeof values; v++) {
                changed[at] = values[v];
                refusals += accepted(message, changed, header->size) ? 0 : 1;
            }
            for (unsigned bit = 0; bit < 8; bit++) {
                changed[at] = (uint8_t)(header->data[at] ^ (1u << bit));
                refusals += accepted(message, changed, header->size) ? 0 : 1;
            }
            changed[at] = header->data[at];
        }
        wire_message_unref(message);
    }
    assert_true(refusals > 10000);
}

/* One byte more or less of small payloads, one frame more or less. */
static void payloads_of_another_size_are_refused(void **state) {
    struct wire_message *message;
    (void)state;
    for (unsigned i = 0; (message = exercise_sample(i)) != NULL; i++) {
        struct wire_fault fault;
        uint32_t count = message->frame_count;
        if (count >= 2) {
            size_t size = message->frames[1]->size;
            message->frames[1]->size = size + 1;
            assert_false(exercise_message(message, &fault));
            if (size > 0) {
                message->frames[1]->size = size - 1;
                assert_false(exercise_message(message, &fault));
            }
            message->frames[1]->size = size;
            message->frame_count = count - 1;
            assert_false(exercise_message(message, &fault));
        }
        message->frames[count] = wire_blob_new(70000);
        assert_non_null(message->frames[count]);
        memset(message->frames[count]->data, 0, 70000);
        message->frame_count = count + 1;
        assert_false(exercise_message(message, &fault));
        wire_message_unref(message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sample_is_accepted),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(every_addition_is_refused),
        cmocka_unit_test(every_changed_byte_is_survived),
        cmocka_unit_test(payloads_of_another_size_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
