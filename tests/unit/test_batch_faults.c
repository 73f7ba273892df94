/* What is wrong with a batch is refused whole, and the text names the field. */
#include "wire_frames.h"

static void refused_as(struct wire_message *message, enum wire_reject_code code, const char *text) {
    struct wire_batch batch;
    struct wire_fault fault = {0};
    assert_false(wire_batch_open(&batch, message, &fault));
    assert_string_equal(fault.text, text);
    assert_int_equal(fault.code, code);
    wire_message_unref(message);
}

static void refused(struct wire_message *message, const char *text) {
    refused_as(message, WIRE_REJECT_MALFORMED, text);
}

static void accepted(struct wire_message *message, uint32_t entries) {
    struct wire_batch batch;
    struct wire_fault fault;
    if (!wire_batch_open(&batch, message, &fault)) {
        fail_msg("%s", fault.text);
    }
    assert_int_equal(batch.entry_count, entries);
    wire_message_unref(message);
}

/* A SUBMIT of one group with one entry, right unless a number is wrong. */
static struct wire_message *submit(uint64_t class_index, uint64_t attempt, uint64_t resent,
                                   uint64_t size) {
    return frames_message(WIRE_SUBMIT, (size_t)size, "[[[uuu[uu]]]]", class_index, attempt, resent,
                          U(7), size);
}

static void keys_are_checked_against_their_ranges(void **state) {
    (void)state;
    accepted(submit(65535, 1000, 1, 3), 1);
    refused(submit(65536, 1, 0, 3), "SUBMIT: class: 65536 is above 65535");
    refused(submit(1, 0, 0, 3), "SUBMIT: attempt: 0 is below 1");
    refused(submit(1, 1001, 0, 3), "SUBMIT: attempt: 1001 is above 1000");
    refused(submit(1, 1, UINT64_MAX, 3),
            "SUBMIT: past: 18446744073709551615 is above 9223372036855");
    refused(frames_message(WIRE_OUTCOMES, 1, "[uu[[u[uu]]]]", U(1), U(2), U(8), U(5), U(1)),
            "OUTCOMES: kind: 8 is above 7");
    refused(frames_message(WIRE_RESULTS, 1, "[u[[u[uu]]]]", U(1), U(9), U(5), U(1)),
            "RESULTS: kind: 9 is above 7");
    refused(frames_message(WIRE_VERDICTS, 0, "[[[u[u]]]]", U(2), U(5)),
            "VERDICTS: cancelled: 2 is above 1");
    refused(frames_message(WIRE_RETURNED, 0, "[[[u[u]]]]", U(2), U(5)),
            "RETURNED: returned: 2 is above 1");
    refused(frames_message(WIRE_RUN, 0, "[[[uuuuu[uuuu]]]]", U(65536), U(0), U(0), U(1), U(1), U(1),
                           U(1), U(1), U(0)),
            "RUN: function: 65536 is above 65535");
    refused(frames_message(WIRE_RUN, 0, "[[[uuuuu[uuuu]]]]", U(1), U(8), U(0), U(1), U(1), U(1),
                           U(1), U(1), U(0)),
            "RUN: flags: 8 is above 7");
    refused(frames_message(WIRE_RUN, 0, "[[[uuuuu[uuuu]]]]", U(1), U(0), U(UINT64_MAX), U(1), U(1),
                           U(1), U(1), U(1), U(0)),
            "RUN: run_ms: 18446744073709551615 is above 4611686018427");
}

static void entries_are_checked_against_their_ranges(void **state) {
    (void)state;
    refused(frames_message(WIRE_RUN, 0, "[[[uuuuu[uuuu]]]]", U(1), U(0), U(0), U(1), U(1), U(1),
                           U(1), U(0), U(0)),
            "RUN: attempt: 0 is below 1");
    refused(frames_message(WIRE_CLAIMS, 0, "[u[[uu[uuu]]]]", U(1), U(1), U(1), U(5), U(6), U(1001)),
            "CLAIMS: attempt: 1001 is above 1000");
    accepted(
        frames_message(WIRE_CLAIMS, 0, "[u[[uu[uuu]]]]", U(1), U(1), U(1), U(5), U(6), U(1000)), 1);
}

static void extra_is_checked_against_its_range(void **state) {
    (void)state;
    refused(frames_message(WIRE_CLAIMS, 0, "[u[]]", U(2)), "CLAIMS: final: 2 is above 1");
    refused(frames_message(WIRE_RECALL, 0, "[u[]]", U(1) << 32),
            "RECALL: count: 4294967296 is above 4294967295");
    accepted(frames_message(WIRE_RECALL, 0, "[u[]]", U(5)), 0);
}

static void numbers_must_be_unsigned_integers(void **state) {
    (void)state;
    refused(frames_message(WIRE_SUBMIT, 0, "[[[suu[uu]]]]", "x", U(1), U(0), U(7), U(0)),
            "SUBMIT: class: found a string instead of an unsigned integer");
    refused(frames_message(WIRE_SUBMIT, 0, "[[[uuu[du]]]]", U(1), U(1), U(0), 1.5, U(0)),
            "SUBMIT: id: found a float instead of an unsigned integer");
    refused(frames_message(WIRE_SUBMIT, 0, "[[[uuu[ui]]]]", U(1), U(1), U(0), U(1), INT64_C(-1)),
            "SUBMIT: size: found an integer instead of an unsigned integer");
    refused(frames_message(WIRE_SUBMIT, 0, "[[[ubu[uu]]]]", U(1), 1, U(0), U(1), U(0)),
            "SUBMIT: attempt: found a boolean instead of an unsigned integer");
    refused(frames_message(WIRE_OUTCOMES, 0, "[nu[]]", U(1)),
            "OUTCOMES: credit_tasks: found nil instead of an unsigned integer");
}

static void arrays_must_have_the_shape_of_their_type(void **state) {
    (void)state;
    refused(frames_message(WIRE_SUBMIT, 0, "{}"), "SUBMIT: body: found a map instead of an array");
    refused(frames_message(WIRE_SUBMIT, 0, "[]"), "SUBMIT: body: has 0 fields instead of 1");
    refused(frames_message(WIRE_SUBMIT, 0, "[[]u]", U(1)),
            "SUBMIT: body: has 2 fields instead of 1");
    refused(frames_message(WIRE_OUTCOMES, 0, "[uuu]", U(1), U(2), U(3)),
            "OUTCOMES: groups: found an integer instead of an array");
    refused(frames_message(WIRE_SUBMIT, 0, "[[u]]", U(3)),
            "SUBMIT: group: found an integer instead of an array");
    refused(frames_message(WIRE_SUBMIT, 0, "[[[uu[uu]]]]", U(1), U(1), U(7), U(0)),
            "SUBMIT: group: has 3 fields instead of 4");
    refused(frames_message(WIRE_SUBMIT, 0, "[[[uuuu]]]", U(1), U(1), U(0), U(7)),
            "SUBMIT: entries: found an integer instead of an array");
    refused(frames_message(WIRE_SUBMIT, 0, "[[[uuu[uuu]]]]", U(1), U(1), U(0), U(7), U(0), U(8)),
            "SUBMIT: entries: 3 integers make no entries of 2");
    refused(frames_message(WIRE_SUBMIT, 0, "[[[uuu[]]]]", U(1), U(1), U(0)),
            "SUBMIT: entries: 0 integers make no entries of 2");
    refused(frames_message(WIRE_CREDIT, 0, "[uu[[[]]]]", U(1), U(2)),
            "CREDIT: groups: 1 instead of none");
    accepted(frames_message(WIRE_CREDIT, 0, "[uu[]]", U(1), U(2)), 0);
}

static void sizes_must_add_up_exactly(void **state) {
    (void)state;
    refused(
        frames_message(WIRE_SUBMIT, 9, "[[[uuu[uuuu]]]]", U(1), U(1), U(0), U(7), U(4), U(8), U(4)),
        "SUBMIT: size: they add up to 8, small payloads are 9 bytes");
    refused(
        frames_message(WIRE_SUBMIT, 7, "[[[uuu[uuuu]]]]", U(1), U(1), U(0), U(7), U(4), U(8), U(4)),
        "SUBMIT: size: they add up to 8, small payloads are 7 bytes");
    refused(frames_message(WIRE_CANCEL, 1, "[[[[u]]]]", U(1)),
            "CANCEL: size: they add up to 0, small payloads are 1 bytes");
    refused(frames_message(WIRE_SUBMIT, 0, "[[[uuu[uu]]]]", U(1), U(1), U(0), U(7), U(65536)),
            "SUBMIT: size: 65536 has no large frame");
    refused(frames_message(WIRE_SUBMIT, 0, "[[[uuu[uu]]]]", U(1), U(1), U(0), U(7), UINT64_MAX),
            "SUBMIT: size: 18446744073709551615 has no large frame");
}

static struct wire_message *two_large(uint64_t first, uint64_t second) {
    return frames_message(WIRE_SUBMIT, 0, "[[[uuu[uuuu]]]]", U(1), U(1), U(0), U(7), first, U(8),
                          second);
}

static void large_payloads_must_match_their_frames_in_order(void **state) {
    (void)state;
    accepted(frames_add(frames_add(two_large(65536, 65537), 65536), 65537), 2);
    refused(frames_add(frames_add(two_large(65536, 65537), 65537), 65536),
            "SUBMIT: size: 65536 is not that of frame 2, which is 65537");
    refused(frames_add(frames_add(frames_add(two_large(65536, 65537), 65536), 65537), 65538),
            "SUBMIT: size: 1 large frames belong to no entry");
    refused(frames_add(submit(1, 1, 0, 3), 65535), "SUBMIT: frame 2: 65535 bytes are below 65536");
    refused(frames_add(frames_message(WIRE_CANCEL, 0, "[[[[u]]]]", U(1)), 70000),
            "CANCEL: size: 1 large frames belong to no entry");
}

static void a_cancelled_outcome_has_no_payload(void **state) {
    (void)state;
    accepted(frames_message(WIRE_OUTCOMES, 0, "[uu[[u[uu]]]]", U(1), U(2), U(7), U(5), U(0)), 1);
    refused(frames_message(WIRE_OUTCOMES, 2, "[uu[[u[uu]]]]", U(1), U(2), U(7), U(5), U(2)),
            "OUTCOMES: size: a payload with kind 7");
    refused(frames_add(
                frames_message(WIRE_OUTCOMES, 0, "[uu[[u[uu]]]]", U(1), U(2), U(7), U(5), U(65536)),
                65536),
            "OUTCOMES: size: a payload with kind 7");
}

static void frames_must_be_as_many_as_the_type_has(void **state) {
    (void)state;
    refused(frames_message(WIRE_SUBMIT, NO_FRAME, "[[]]"), "SUBMIT: has 1 frames");
    struct wire_message *none = frames_raw("", 0);
    wire_blob_unref(none->frames[0]);
    none->frame_count = 0;
    refused(none, "message: has 0 frames");
    refused_as(frames_message(WIRE_HELLO, NO_FRAME, "[]"), WIRE_REJECT_TYPE,
               "header: type: 1 is no batch");
    refused_as(frames_message(99, 0, "[]"), WIRE_REJECT_TYPE, "header: type: 99 is no batch");
}

static void limits_are_kept(void **state) {
    struct wire_batch batch;
    struct wire_fault fault;
    struct wire_message *full;
    struct wire_writer *writer = wire_writer_new(WIRE_CANCEL);
    (void)state;
    refused_as(submit(1, 1, 0, WIRE_BATCH_BYTES_MAX + 1), WIRE_REJECT_LIMIT,
               "SUBMIT: small payloads: 1048577 bytes are over 1048576");
    refused_as(frames_raw("", 0), WIRE_REJECT_MALFORMED,
               "header: found nothing instead of an array");

    /* 4,096 entries in one group, and one more in a second. */
    assert_non_null(writer);
    for (uint64_t id = 0; id < WIRE_BATCH_ENTRIES_MAX; id++) {
        assert_int_equal(wire_writer_put(writer, NULL, &id, NULL, 0, NULL), WIRE_PUT_OK);
    }
    full = wire_writer_finish(writer, NULL);
    wire_writer_free(writer);
    assert_non_null(full);
    assert_true(wire_batch_open(&batch, full, &fault));
    struct wire_blob *longer = wire_blob_new(full->frames[0]->size + 3);
    assert_non_null(longer);
    memcpy(longer->data, full->frames[0]->data, full->frames[0]->size);
    longer->data[23] = 2; /* the number of groups */
    memcpy(longer->data + full->frames[0]->size, "\x91\x91\x05", 3);
    wire_blob_unref(full->frames[0]);
    full->frames[0] = longer;
    refused_as(full, WIRE_REJECT_LIMIT, "CANCEL: entries: over 4096");
}

static void a_blob_that_claims_to_be_huge_is_refused_by_its_size(void **state) {
    struct wire_message *message = submit(1, 1, 0, 3);
    (void)state;
    message = frames_add(message, 65536);
    message->frames[2]->size = WIRE_PAYLOAD_BYTES_MAX + 1u;
    refused_as(message, WIRE_REJECT_LIMIT, "SUBMIT: frame 2: 268435457 bytes are over 268435456");
    message = frames_raw("x", 1);
    message->frames[0]->size = WIRE_HEADER_BYTES_MAX + 1u;
    refused_as(message, WIRE_REJECT_LIMIT, "header: 8388609 bytes are over 8388608");
}

static void nothing_may_follow_the_body(void **state) {
    struct wire_message *message = frames_message(WIRE_CANCEL, 0, "[[[[u]]]]n", U(1));
    (void)state;
    refused(message, "CANCEL: body: 1 bytes too many");
}

static void the_envelope_is_checked(void **state) {
    (void)state;
    refused(frames_raw("\x83\x01\x02", 3), "header: found malformed bytes instead of an array");
    refused(frames_raw("\xc0", 1), "header: found nil instead of an array");
    refused(frames_raw("\x93\x10\x00\x00", 4), "header: has 3 fields instead of 4");
    refused(frames_raw("\x95\x10\x00\x00\x91\x90\xc0", 7), "header: has 5 fields instead of 4");
    refused(frames_raw("\x94\xc0\x00\x00\x90", 5),
            "header: type: found nil instead of an unsigned integer");
    refused(frames_raw("\x94\x10\xff\x00\x90", 5),
            "header: seq: found an integer instead of an unsigned integer");
    refused(frames_raw("\x94\x10\x00\xa1x", 5),
            "header: ack: found a string instead of an unsigned integer");
    refused_as(frames_raw("\x94\xcf\0\0\0\1\0\0\0\0\x00\x00\x90", 13), WIRE_REJECT_TYPE,
               "header: type: 4294967296 is above 4294967295");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_checked_against_their_ranges),
        cmocka_unit_test(entries_are_checked_against_their_ranges),
        cmocka_unit_test(extra_is_checked_against_its_range),
        cmocka_unit_test(numbers_must_be_unsigned_integers),
        cmocka_unit_test(arrays_must_have_the_shape_of_their_type),
        cmocka_unit_test(sizes_must_add_up_exactly),
        cmocka_unit_test(large_payloads_must_match_their_frames_in_order),
        cmocka_unit_test(a_cancelled_outcome_has_no_payload),
        cmocka_unit_test(frames_must_be_as_many_as_the_type_has),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(a_blob_that_claims_to_be_huge_is_refused_by_its_size),
        cmocka_unit_test(nothing_may_follow_the_body),
        cmocka_unit_test(the_envelope_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
