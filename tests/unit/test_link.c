#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fail_alloc.h"
#include "wire/link.h"

#define MS     UINT64_C(1000000)
#define SECOND (1000 * MS)
#define BEAT   SECOND
#define SILENT (10 * SECOND)

/* Posts a message to `link` as its owner would; returns its seq. */
static uint64_t post(struct link *link, uint64_t now_ns) {
    struct wire_message *message = wire_plain_encode(WIRE_STOP);
    struct wire_envelope envelope;
    struct wire_fault fault;

    assert_non_null(message);
    assert_true(link_post(link, now_ns, message));
    assert_true(wire_open(message, &envelope, &fault));
    assert_int_equal(envelope.seq, link->sent);
    assert_int_equal(envelope.ack, link->received);
    wire_message_unref(message);
    return envelope.seq;
}

static enum link_verdict receive(struct link *link, uint64_t now_ns, uint64_t seq, uint64_t ack) {
    struct wire_envelope envelope = {.type = WIRE_STOP, .seq = seq, .ack = ack};

    return link_accept(link, now_ns, &envelope, 100);
}

static enum link_verdict receive_heartbeat(struct link *link, uint64_t now_ns, uint64_t ack) {
    struct wire_envelope envelope = {.type = WIRE_HEARTBEAT, .seq = 0, .ack = ack};

    return link_accept(link, now_ns, &envelope, 30);
}

static void mark_heartbeat(struct link *link, uint64_t now_ns) {
    struct wire_message *message = wire_heartbeat_encode(link->sent);

    assert_non_null(message);
    link_mark(link, now_ns, message);
    wire_message_unref(message);
}

/* ------------------------------------------------------------ one direction */

static void messages_are_numbered_from_the_base(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 7 * SECOND, BEAT, SILENT);
    assert_true(link.base > 0);
    assert_int_equal(link.received, link.base);
    assert_int_equal(post(&link, 7 * SECOND), link.base + 1);
    assert_int_equal(post(&link, 7 * SECOND), link.base + 2);
    assert_int_equal(receive(&link, 7 * SECOND, link.base + 1, link.base), LINK_DELIVER);
    link_fini(&link);
}

static void a_message_is_kept_until_it_is_acknowledged(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    for (int i = 0; i < 5; i++) {
        post(&link, 0);
    }
    assert_int_equal(link.kept_count, 5);
    assert_true(link.kept_bytes > 0);
    assert_int_equal(receive_heartbeat(&link, 0, 3), LINK_DELIVER);
    assert_int_equal(link.kept_count, 2);
    assert_int_equal(receive(&link, 0, 1, 5), LINK_DELIVER);
    assert_int_equal(link.kept_count, 0);
    assert_int_equal(link.kept_bytes, 0);
    link_fini(&link);
}

static void an_old_acknowledgement_changes_nothing(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    post(&link, 0);
    post(&link, 0);
    receive_heartbeat(&link, 0, 2);
    assert_int_equal(receive_heartbeat(&link, 0, 1), LINK_DELIVER);
    assert_int_equal(link.acknowledged, 2);
    link_fini(&link);
}

static void an_acknowledgement_of_what_was_never_sent_is_broken(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    post(&link, 0);
    assert_int_equal(receive(&link, 5, 1, 2), LINK_BROKEN);
    assert_int_equal(receive_heartbeat(&link, 5, UINT64_MAX), LINK_BROKEN);
    assert_int_equal(link.kept_count, 1);
    assert_int_equal(link.received, 0);
    assert_int_equal(link.last_received_ns, 0);
    link_fini(&link);
}

static void a_sequenced_message_without_a_number_is_broken(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    assert_int_equal(receive(&link, 0, 0, 0), LINK_BROKEN);
    link_fini(&link);
}

static void an_unsequenced_message_with_a_number_is_broken(void **state) {
    struct wire_envelope envelope = {.type = WIRE_HEARTBEAT, .seq = 1, .ack = 0};
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    assert_int_equal(link_accept(&link, 0, &envelope, 30), LINK_BROKEN);
    assert_int_equal(link.received, 0);
    link_fini(&link);
}

static void a_duplicate_is_told_apart(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    assert_int_equal(receive(&link, 0, 1, 0), LINK_DELIVER);
    assert_int_equal(receive(&link, 0, 1, 0), LINK_DUPLICATE);
    assert_int_equal(receive(&link, 0, 2, 0), LINK_DELIVER);
    assert_int_equal(receive(&link, 0, 1, 0), LINK_DUPLICATE);
    assert_int_equal(link.received, 2);
    link_fini(&link);
}

static void a_duplicate_still_acknowledges(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    post(&link, 0);
    receive(&link, 0, 1, 0);
    assert_int_equal(receive(&link, 0, 1, 1), LINK_DUPLICATE);
    assert_int_equal(link.kept_count, 0);
    link_fini(&link);
}

/* -------------------------------------------------------------------- gaps */

static void a_gap_is_asked_for_once(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    assert_false(link_resume_due(&link, 0));
    assert_int_equal(receive(&link, 0, 2, 0), LINK_GAP);
    assert_true(link_resume_due(&link, 0));
    for (uint64_t seq = 3; seq < 1000; seq++) {
        assert_int_equal(receive(&link, seq * 100, seq, 0), LINK_GAP);
        assert_false(link_resume_due(&link, seq * 100));
    }
    link_fini(&link);
}

static void a_lost_resume_is_repeated_after_a_heartbeat(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    receive(&link, 0, 2, 0);
    assert_true(link_resume_due(&link, 0));
    assert_false(link_resume_due(&link, BEAT - 1));
    assert_true(link_resume_due(&link, BEAT));
    assert_false(link_resume_due(&link, BEAT + 1));
    link_fini(&link);
}

static void what_the_last_resume_brings_is_awaited(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    receive(&link, 0, 9, 0);
    assert_true(link_resume_due(&link, 0));
    /* 1 to 9 are on their way; 3 is overtaken by 4, and the next hole is behind them all. */
    receive(&link, 1, 1, 0);
    receive(&link, 1, 2, 0);
    assert_int_equal(receive(&link, 1, 4, 0), LINK_GAP);
    assert_false(link_resume_due(&link, 1));
    for (uint64_t seq = 3; seq <= 9; seq++) {
        assert_int_equal(receive(&link, 2, seq, 0), LINK_DELIVER);
    }
    assert_false(link_resume_due(&link, 2));
    assert_int_equal(receive(&link, 3, 11, 0), LINK_GAP);
    assert_true(link_resume_due(&link, 3));
    link_fini(&link);
}

static void a_heartbeat_shows_a_lost_tail(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    receive(&link, 0, 1, 0);
    assert_false(link_heard_sent(&link, 1));
    assert_false(link_resume_due(&link, 0));
    assert_true(link_heard_sent(&link, 3));
    assert_true(link_resume_due(&link, 0));
    receive(&link, 1, 2, 0);
    receive(&link, 1, 3, 0);
    assert_false(link_heard_sent(&link, 3));
    assert_false(link_resume_due(&link, 10 * BEAT));
    link_fini(&link);
}

static void a_heartbeat_that_was_overtaken_does_no_harm(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    receive(&link, 0, 1, 0);
    receive(&link, 0, 2, 0);
    assert_false(link_heard_sent(&link, 0));
    assert_int_equal(receive(&link, 0, 3, 0), LINK_DELIVER);
    link_fini(&link);
}

static void a_declined_message_comes_again(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    receive(&link, 0, 1, 0);
    assert_int_equal(receive(&link, 0, 2, 0), LINK_DELIVER);
    link_decline(&link, 0, 100);
    assert_int_equal(link.received, 1);
    assert_int_equal(receive(&link, 1, 3, 0), LINK_GAP);
    assert_false(link_resume_due(&link, BEAT - 1));
    assert_true(link_resume_due(&link, BEAT));
    assert_int_equal(receive(&link, BEAT, 2, 0), LINK_DELIVER);
    assert_int_equal(receive(&link, BEAT, 3, 0), LINK_DELIVER);
    link_fini(&link);
}

/* ---------------------------------------------------------------- resending */

static void what_the_peer_has_not_is_sent_again_in_order(void **state) {
    struct link link;
    uint32_t count;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    for (int i = 0; i < 6; i++) {
        post(&link, 0);
    }
    receive(&link, 0, 1, 0);
    assert_true(link_resend_from(&link, 0, 2, &count));
    assert_int_equal(count, 4);
    for (uint32_t i = 0; i < count; i++) {
        struct wire_envelope envelope;
        struct wire_fault fault;

        assert_true(wire_open(link_kept_at(&link, i), &envelope, &fault));
        assert_int_equal(envelope.seq, 3 + i);
        assert_int_equal(envelope.ack, 1);
    }
    link_fini(&link);
}

static void an_old_resume_acknowledges_nothing_back(void **state) {
    struct link link;
    uint32_t count;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    for (int i = 0; i < 6; i++) {
        post(&link, 0);
    }
    receive_heartbeat(&link, 0, 4);
    assert_true(link_resend_from(&link, 0, 2, &count));
    assert_int_equal(count, 2);
    assert_int_equal(link.acknowledged, 4);
    link_fini(&link);
}

static void a_resume_of_another_stream_is_refused(void **state) {
    struct link link;
    uint32_t count;

    (void)state;
    link_init(&link, SECOND, BEAT, SILENT);
    post(&link, SECOND);
    assert_false(link_resend_from(&link, SECOND, link.base + 2, &count));
    assert_int_equal(count, 0);
    assert_false(link_resend_from(&link, SECOND, link.base - 1, &count));
    assert_true(link_resend_from(&link, SECOND, link.base, &count));
    assert_int_equal(count, 1);
    link_fini(&link);
}

static void the_ring_grows_while_it_wraps(void **state) {
    struct link link;
    uint64_t next = 1;
    uint32_t count;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 17; i++) {
            post(&link, 0);
        }
        next += 11;
        assert_true(link_resend_from(&link, 0, next - 1, &count));
        for (uint32_t i = 0; i < count; i++) {
            struct wire_envelope envelope;
            struct wire_fault fault;

            assert_true(wire_open(link_kept_at(&link, i), &envelope, &fault));
            assert_int_equal(envelope.seq, next + i);
        }
    }
    assert_true(link.kept_room >= 600);
    receive_heartbeat(&link, 0, link.sent);
    assert_int_equal(link.kept_room, 0);
    assert_int_equal(post(&link, 0), 1701);
    link_fini(&link);
}

static void without_memory_nothing_is_posted(void **state) {
    struct wire_message *message = wire_plain_encode(WIRE_STOP);
    struct link link;

    (void)state;
    assert_non_null(message);
    link_init(&link, 0, BEAT, SILENT);
    fail_alloc_after(0);
    assert_false(link_post(&link, 0, message));
    fail_alloc_never();
    assert_int_equal(link.sent, 0);
    assert_int_equal(message->refs, 1);
    assert_true(link_post(&link, 0, message));
    assert_int_equal(link.sent, 1);
    assert_int_equal(message->refs, 2);
    wire_message_unref(message);
    link_fini(&link);
}

static void a_reset_link_shares_no_number_with_the_old_stream(void **state) {
    uint64_t first;
    struct link link;

    (void)state;
    link_init(&link, SECOND, BEAT, SILENT);
    first = link.base;
    for (int i = 0; i < 20; i++) {
        post(&link, SECOND);
    }
    receive(&link, SECOND, first + 1, first);
    link_reset(&link, SECOND + 1);
    /* What the peer may have sent meanwhile is below, too. */
    assert_true(link.base > first + 1000000);
    assert_int_equal(link.kept_count, 0);
    assert_int_equal(link.kept_bytes, 0);
    assert_int_equal(receive(&link, SECOND + 1, first + 2, first), LINK_DUPLICATE);
    first = link.base;
    link_reset(&link, 0); /* a clock that went back changes nothing */
    assert_true(link.base > first + 1000000);
    first = link.base;
    link_reset(&link, 5 * SECOND);
    assert_true(link.base > first + 1000000);
    assert_int_equal(post(&link, 5 * SECOND), link.base + 1);
    link_fini(&link);
}

static void a_link_that_begins_later_has_a_higher_base(void **state) {
    struct link earlier;
    struct link later;

    (void)state;
    link_init(&earlier, SECOND, BEAT, SILENT);
    link_init(&later, SECOND + 2 * MS, BEAT, SILENT);
    assert_true(later.base > earlier.base + 1000000);
    link_fini(&earlier);
    link_fini(&later);
}

/* ------------------------------------------------------- acknowledging, time */

static void an_acknowledgement_is_due_after_32_messages(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    for (uint64_t seq = 1; seq <= 31; seq++) {
        receive(&link, 0, seq, 0);
        receive(&link, 0, seq, 0);
    }
    assert_false(link_ack_due(&link));
    receive(&link, 0, 32, 0);
    assert_true(link_ack_due(&link));
    mark_heartbeat(&link, 0);
    assert_false(link_ack_due(&link));
    link_fini(&link);
}

static void an_acknowledgement_is_due_after_a_mebibyte(void **state) {
    struct wire_envelope envelope = {.type = WIRE_STOP, .seq = 1, .ack = 0};
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    link_accept(&link, 0, &envelope, (1u << 20) - 1);
    assert_false(link_ack_due(&link));
    envelope.seq = 2;
    link_accept(&link, 0, &envelope, 1);
    assert_true(link_ack_due(&link));
    post(&link, 0);
    assert_false(link_ack_due(&link));
    link_fini(&link);
}

static void a_heartbeat_is_due_when_nothing_was_sent(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    assert_int_equal(link_deadline(&link), BEAT);
    assert_int_equal(link_tick(&link, BEAT - 1), LINK_NOTHING);
    assert_int_equal(link_tick(&link, BEAT), LINK_SEND_HEARTBEAT);
    assert_int_equal(link_tick(&link, BEAT), LINK_NOTHING);
    post(&link, BEAT + BEAT / 2);
    assert_int_equal(link_tick(&link, 2 * BEAT), LINK_NOTHING);
    mark_heartbeat(&link, 2 * BEAT);
    assert_int_equal(link_tick(&link, 3 * BEAT - 1), LINK_NOTHING);
    assert_int_equal(link_deadline(&link), 3 * BEAT);
    link_fini(&link);
}

static void silence_is_told_until_something_comes(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, BEAT, SILENT);
    receive_heartbeat(&link, SECOND, 0);
    link.last_sent_ns = SILENT;
    assert_int_equal(link_deadline(&link), SILENT + SECOND);
    assert_int_equal(link_tick(&link, SILENT + SECOND), LINK_SILENT);
    assert_int_equal(link_tick(&link, SILENT + SECOND + 1), LINK_SILENT);
    receive(&link, SILENT + SECOND + 2, 1, 0);
    assert_int_equal(link_tick(&link, SILENT + SECOND + 2), LINK_SEND_HEARTBEAT);
    assert_int_equal(link_tick(&link, SILENT + SECOND + 2), LINK_NOTHING);
    link_fini(&link);
}

static void without_limits_there_is_no_deadline(void **state) {
    struct link link;

    (void)state;
    link_init(&link, 0, 0, 0);
    assert_int_equal(link_deadline(&link), UINT64_MAX);
    assert_int_equal(link_tick(&link, UINT64_MAX - 1), LINK_NOTHING);
    link_fini(&link);
}

/* As long as a message of that size takes at the slowest rate, no longer; and only until something
 * comes. */
static void what_is_announced_may_take_its_time(void **state) {
    const uint64_t bytes = 100u << 20, takes = 100 * SECOND;
    struct link link;

    (void)state;
    assert_int_equal(bytes / WIRE_RATE_MIN, 100);
    link_init(&link, 0, 0, SILENT);
    assert_int_equal(receive_heartbeat(&link, SECOND, link.base), LINK_DELIVER);
    link_coming(&link, bytes);
    assert_int_equal(link_deadline(&link), SECOND + SILENT + takes);
    assert_int_equal(link_tick(&link, SECOND + SILENT + takes - 1), LINK_NOTHING);
    assert_int_equal(link_tick(&link, SECOND + SILENT + takes), LINK_SILENT);
    assert_int_equal(receive(&link, 50 * SECOND, link.base + 1, link.base), LINK_DELIVER);
    assert_int_equal(link_tick(&link, 50 * SECOND + SILENT), LINK_SILENT);
    link_coming(&link, UINT64_MAX); /* nothing is that large */
    assert_true(link_deadline(&link) < 50 * SECOND + SILENT + 300 * SECOND);
    link_fini(&link);
}

static void a_kept_message_can_be_replaced(void **state) {
    struct wire_message *other = wire_plain_encode(WIRE_BYE);
    struct wire_envelope envelope;
    struct wire_fault fault;
    struct link link;
    uint64_t first, second;
    uint32_t count;

    (void)state;
    link_init(&link, 0, 0, 0);
    first = post(&link, 0);
    second = post(&link, 0);
    assert_null(link_kept_find(&link, first - 1));
    assert_null(link_kept_find(&link, second + 1));
    assert_non_null(link_kept_find(&link, first));
    link_kept_replace(&link, second, other);
    assert_true(link_resend_from(&link, 0, first, &count));
    assert_int_equal(count, 1);
    assert_true(wire_open(link_kept_at(&link, 0), &envelope, &fault));
    assert_int_equal(envelope.type, WIRE_BYE);
    assert_int_equal(envelope.seq, second);
    assert_int_equal(link.kept_bytes, wire_message_bytes(other));
    assert_null(link_kept_find(&link, first));
    link_fini(&link);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_numbered_from_the_base),
        cmocka_unit_test(a_message_is_kept_until_it_is_acknowledged),
        cmocka_unit_test(an_old_acknowledgement_changes_nothing),
        cmocka_unit_test(an_acknowledgement_of_what_was_never_sent_is_broken),
        cmocka_unit_test(a_sequenced_message_without_a_number_is_broken),
        cmocka_unit_test(an_unsequenced_message_with_a_number_is_broken),
        cmocka_unit_test(a_duplicate_is_told_apart),
        cmocka_unit_test(a_duplicate_still_acknowledges),
        cmocka_unit_test(a_gap_is_asked_for_once),
        cmocka_unit_test(a_lost_resume_is_repeated_after_a_heartbeat),
        cmocka_unit_test(what_the_last_resume_brings_is_awaited),
        cmocka_unit_test(a_heartbeat_shows_a_lost_tail),
        cmocka_unit_test(a_heartbeat_that_was_overtaken_does_no_harm),
        cmocka_unit_test(a_declined_message_comes_again),
        cmocka_unit_test(what_the_peer_has_not_is_sent_again_in_order),
        cmocka_unit_test(an_old_resume_acknowledges_nothing_back),
        cmocka_unit_test(a_resume_of_another_stream_is_refused),
        cmocka_unit_test(the_ring_grows_while_it_wraps),
        cmocka_unit_test(without_memory_nothing_is_posted),
        cmocka_unit_test(a_reset_link_shares_no_number_with_the_old_stream),
        cmocka_unit_test(a_link_that_begins_later_has_a_higher_base),
        cmocka_unit_test(an_acknowledgement_is_due_after_32_messages),
        cmocka_unit_test(an_acknowledgement_is_due_after_a_mebibyte),
        cmocka_unit_test(a_heartbeat_is_due_when_nothing_was_sent),
        cmocka_unit_test(silence_is_told_until_something_comes),
        cmocka_unit_test(without_limits_there_is_no_deadline),
        cmocka_unit_test(what_is_announced_may_take_its_time),
        cmocka_unit_test(a_kept_message_can_be_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
