#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/link.h"

#define MS     UINT64_C(1000000)
#define SECOND (1000 * MS)
#define START  (100 * SECOND)

static struct wire_welcome welcome_of(uint64_t epoch, bool resumed, uint64_t received) {
    return (struct wire_welcome){
        .version = 1,
        .epoch = epoch,
        .resumed = resumed,
        .received = received,
        .heartbeat_ms = 1000,
        .silence_ms = 10000,
        .payload_max = WIRE_PAYLOAD_BYTES_MAX,
    };
}

/* A dialer that epoch 5 has welcomed at START, with a stream from base 1000. */
static void bring_up(struct link_dialer *dialer) {
    struct wire_welcome welcome = welcome_of(5, false, 1000);
    uint32_t resend;

    link_dialer_init(dialer, START, 1);
    assert_int_equal(link_dialer_tick(dialer, START), LINK_DO_HELLO);
    assert_true(link_dialer_welcomed(dialer, START, &welcome, &resend));
    assert_int_equal(resend, 0);
    assert_int_equal(dialer->state, LINK_UP);
}

static void post(struct link_dialer *dialer, uint64_t now_ns) {
    struct wire_message *message = wire_plain_encode(WIRE_STOP);

    assert_non_null(message);
    assert_true(link_post(&dialer->link, now_ns, message));
    wire_message_unref(message);
}

static void the_first_hello_is_said_at_once(void **state) {
    struct link_dialer dialer;

    (void)state;
    link_dialer_init(&dialer, START, 1);
    assert_int_equal(dialer.state, LINK_IDLE);
    assert_true(link_dialer_deadline(&dialer) <= START);
    assert_int_equal(link_dialer_tick(&dialer, START), LINK_DO_HELLO);
    assert_int_equal(dialer.state, LINK_HELLO_SENT);
    assert_int_equal(dialer.epoch, 0);
    assert_int_equal(dialer.link.received, 0);
    assert_int_equal(link_dialer_tick(&dialer, START), LINK_DO_NOTHING);
    link_dialer_fini(&dialer);
}

static void hellos_back_off_from_50_ms_to_2_s_with_jitter(void **state) {
    uint64_t lowest_ns = 50 * MS;
    uint64_t now_ns = START;
    struct link_dialer dialer;

    (void)state;
    link_dialer_init(&dialer, START, 3);
    assert_int_equal(link_dialer_tick(&dialer, now_ns), LINK_DO_HELLO);
    for (int i = 0; i < 20; i++) {
        uint64_t wait_ns = link_dialer_deadline(&dialer) - now_ns;

        assert_in_range(wait_ns, lowest_ns, lowest_ns + lowest_ns / 2);
        assert_int_equal(link_dialer_tick(&dialer, now_ns + wait_ns - 1), LINK_DO_NOTHING);
        now_ns += wait_ns;
        assert_int_equal(link_dialer_tick(&dialer, now_ns), LINK_DO_HELLO);
        lowest_ns = lowest_ns * 2 < 2 * SECOND ? lowest_ns * 2 : 2 * SECOND;
    }
    link_dialer_fini(&dialer);
}

static void dialers_with_other_seeds_wait_for_other_times(void **state) {
    struct link_dialer a;
    struct link_dialer b;

    (void)state;
    link_dialer_init(&a, START, 1);
    link_dialer_init(&b, START, 2);
    link_dialer_tick(&a, START);
    link_dialer_tick(&b, START);
    assert_int_not_equal(link_dialer_deadline(&a), link_dialer_deadline(&b));
    link_dialer_fini(&a);
    link_dialer_fini(&b);
}

static void welcome_gives_the_times_and_the_base(void **state) {
    struct link_dialer dialer;

    (void)state;
    bring_up(&dialer);
    assert_int_equal(dialer.epoch, 5);
    assert_int_equal(dialer.link.received, 1000);
    assert_int_equal(link_dialer_deadline(&dialer), START + SECOND);
    assert_int_equal(link_dialer_tick(&dialer, START + SECOND), LINK_DO_HEARTBEAT);
    assert_int_equal(link_dialer_tick(&dialer, START + SECOND), LINK_DO_NOTHING);
    post(&dialer, START + SECOND);
    assert_int_equal(dialer.link.sent, 1001);
    link_dialer_fini(&dialer);
}

static void silence_leads_to_hello_at_once(void **state) {
    struct link_dialer dialer;

    (void)state;
    bring_up(&dialer);
    post(&dialer, START);
    assert_int_equal(link_dialer_tick(&dialer, START + 10 * SECOND), LINK_DO_HELLO);
    assert_int_equal(dialer.state, LINK_HELLO_SENT);
    assert_int_equal(dialer.epoch, 5);
    assert_int_equal(dialer.link.received, 1000);
    assert_int_equal(dialer.link.kept_count, 1);
    link_dialer_fini(&dialer);
}

static void unknown_leads_to_hello_at_once(void **state) {
    struct link_dialer dialer;

    (void)state;
    bring_up(&dialer);
    link_dialer_lost(&dialer, START + SECOND);
    assert_int_equal(dialer.state, LINK_HELLO_SENT);
    assert_int_equal(link_dialer_deadline(&dialer), START + SECOND);
    assert_int_equal(link_dialer_tick(&dialer, START + SECOND), LINK_DO_HELLO);
    assert_in_range(link_dialer_deadline(&dialer), START + SECOND + 50 * MS,
                    START + SECOND + 75 * MS);
    link_dialer_fini(&dialer);
}

static void a_storm_of_unknown_leads_to_one_hello_in_50_ms(void **state) {
    struct wire_welcome welcome = welcome_of(5, true, 1000);
    struct link_dialer dialer;
    uint32_t resend;
    int hellos = 0;

    (void)state;
    bring_up(&dialer);
    for (uint64_t now_ns = START + SECOND; now_ns < START + 2 * SECOND; now_ns += MS) {
        link_dialer_lost(&dialer, now_ns);
        if (link_dialer_tick(&dialer, now_ns) == LINK_DO_HELLO) {
            hellos++;
            assert_false(link_dialer_welcomed(&dialer, now_ns, &welcome, &resend));
            assert_int_equal(dialer.state, LINK_UP);
        }
    }
    assert_in_range(hellos, 19, 21);
    link_dialer_fini(&dialer);
}

static void a_reconnection_shortens_a_long_wait(void **state) {
    uint64_t now_ns = START;
    struct link_dialer dialer;

    (void)state;
    link_dialer_init(&dialer, START, 1);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(link_dialer_tick(&dialer, now_ns), LINK_DO_HELLO);
        now_ns = link_dialer_deadline(&dialer);
    }
    now_ns -= SECOND;
    link_dialer_lost(&dialer, now_ns);
    assert_int_equal(link_dialer_tick(&dialer, now_ns), LINK_DO_HELLO);
    assert_in_range(link_dialer_deadline(&dialer) - now_ns, 50 * MS, 75 * MS);
    link_dialer_fini(&dialer);
}

static void a_resumed_link_sends_again_what_is_missing(void **state) {
    struct wire_welcome welcome = welcome_of(5, true, 1001);
    struct link_dialer dialer;
    uint32_t resend;

    (void)state;
    bring_up(&dialer);
    for (int i = 0; i < 3; i++) {
        post(&dialer, START);
    }
    link_dialer_lost(&dialer, START);
    link_dialer_tick(&dialer, START + SECOND);
    assert_false(link_dialer_welcomed(&dialer, START + SECOND, &welcome, &resend));
    assert_int_equal(dialer.state, LINK_UP);
    assert_int_equal(resend, 2);
    link_dialer_fini(&dialer);
}

static void a_new_epoch_begins_a_new_stream(void **state) {
    struct wire_welcome welcome = welcome_of(6, false, 30);
    struct link_dialer dialer;
    uint32_t resend;

    (void)state;
    bring_up(&dialer);
    post(&dialer, START);
    link_dialer_lost(&dialer, START + SECOND);
    link_dialer_tick(&dialer, START + SECOND);
    assert_true(link_dialer_welcomed(&dialer, START + SECOND, &welcome, &resend));
    assert_int_equal(dialer.epoch, 6);
    assert_int_equal(dialer.link.kept_count, 0);
    assert_int_equal(dialer.link.sent, 30);
    assert_int_equal(dialer.link.received, 30);
    link_dialer_fini(&dialer);
}

static void a_session_given_up_begins_a_new_stream_in_the_same_epoch(void **state) {
    struct wire_welcome welcome = welcome_of(5, false, 2000);
    struct link_dialer dialer;
    uint32_t resend;

    (void)state;
    bring_up(&dialer);
    link_dialer_lost(&dialer, START + SECOND);
    link_dialer_tick(&dialer, START + SECOND);
    assert_true(link_dialer_welcomed(&dialer, START + SECOND, &welcome, &resend));
    assert_int_equal(dialer.link.base, 2000);
    link_dialer_fini(&dialer);
}

static void a_welcome_that_comes_twice_registers_once(void **state) {
    struct wire_welcome welcome = welcome_of(5, false, 1000);
    struct link_dialer dialer;
    uint32_t resend;

    (void)state;
    bring_up(&dialer);
    post(&dialer, START);
    assert_false(link_dialer_welcomed(&dialer, START + 1, &welcome, &resend));
    assert_int_equal(resend, 0);
    assert_int_equal(dialer.link.sent, 1001);
    assert_int_equal(dialer.link.kept_count, 1);
    /* Nor does it answer a later HELLO. */
    link_dialer_lost(&dialer, START + SECOND);
    link_dialer_tick(&dialer, START + SECOND);
    assert_false(link_dialer_welcomed(&dialer, START + SECOND, &welcome, &resend));
    assert_int_equal(dialer.state, LINK_HELLO_SENT);
    link_dialer_fini(&dialer);
}

static void the_answer_to_a_repeated_first_hello_registers_again(void **state) {
    struct wire_welcome second = welcome_of(5, false, 1010);
    struct wire_welcome first = welcome_of(5, false, 1000);
    struct link_dialer dialer;
    uint32_t resend;

    (void)state;
    bring_up(&dialer);
    post(&dialer, START);
    assert_true(link_dialer_welcomed(&dialer, START + 1, &second, &resend));
    assert_int_equal(dialer.link.base, 1010);
    assert_int_equal(dialer.link.kept_count, 0);
    assert_false(link_dialer_welcomed(&dialer, START + 2, &first, &resend));
    assert_int_equal(dialer.link.base, 1010);
    link_dialer_fini(&dialer);
}

static void a_welcome_that_resumes_what_never_was_asks_for_a_new_stream(void **state) {
    struct wire_welcome strange = welcome_of(6, true, 3);
    struct wire_welcome ahead = welcome_of(5, true, 1001);
    struct link_dialer dialer;
    uint32_t resend;

    (void)state;
    link_dialer_init(&dialer, START, 1);
    link_dialer_tick(&dialer, START);
    assert_false(link_dialer_welcomed(&dialer, START, &strange, &resend));
    assert_int_equal(dialer.state, LINK_HELLO_SENT);
    assert_int_equal(dialer.epoch, 0);
    link_dialer_fini(&dialer);

    bring_up(&dialer);
    link_dialer_lost(&dialer, START + SECOND);
    link_dialer_tick(&dialer, START + SECOND);
    assert_false(link_dialer_welcomed(&dialer, START + SECOND, &ahead, &resend));
    assert_int_equal(dialer.state, LINK_HELLO_SENT);
    assert_int_equal(dialer.epoch, 0);
    assert_int_equal(dialer.link.received, 0);
    link_dialer_fini(&dialer);
}

static void a_welcome_nobody_asked_for_is_passed_over(void **state) {
    struct wire_welcome welcome = welcome_of(5, false, 1000);
    struct link_dialer dialer;
    uint32_t resend;

    (void)state;
    link_dialer_init(&dialer, START, 1);
    assert_false(link_dialer_welcomed(&dialer, START, &welcome, &resend));
    assert_int_equal(dialer.state, LINK_IDLE);
    link_dialer_lost(&dialer, START);
    assert_int_equal(dialer.state, LINK_IDLE);
    link_dialer_fini(&dialer);
}

static void who_is_refused_says_nothing_more(void **state) {
    struct wire_welcome welcome = welcome_of(5, false, 1000);
    struct link_dialer dialer;
    uint32_t resend;

    (void)state;
    link_dialer_init(&dialer, START, 1);
    link_dialer_tick(&dialer, START);
    link_dialer_refused(&dialer);
    assert_int_equal(link_dialer_deadline(&dialer), UINT64_MAX);
    assert_int_equal(link_dialer_tick(&dialer, START + 100 * SECOND), LINK_DO_NOTHING);
    link_dialer_lost(&dialer, START + 100 * SECOND);
    assert_false(link_dialer_welcomed(&dialer, START, &welcome, &resend));
    assert_int_equal(dialer.state, LINK_REFUSED);
    link_dialer_fini(&dialer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_hello_is_said_at_once),
        cmocka_unit_test(hellos_back_off_from_50_ms_to_2_s_with_jitter),
        cmocka_unit_test(dialers_with_other_seeds_wait_for_other_times),
        cmocka_unit_test(welcome_gives_the_times_and_the_base),
        cmocka_unit_test(silence_leads_to_hello_at_once),
        cmocka_unit_test(unknown_leads_to_hello_at_once),
        cmocka_unit_test(a_storm_of_unknown_leads_to_one_hello_in_50_ms),
        cmocka_unit_test(a_reconnection_shortens_a_long_wait),
        cmocka_unit_test(a_resumed_link_sends_again_what_is_missing),
        cmocka_unit_test(a_new_epoch_begins_a_new_stream),
        cmocka_unit_test(a_session_given_up_begins_a_new_stream_in_the_same_epoch),
        cmocka_unit_test(a_welcome_that_comes_twice_registers_once),
        cmocka_unit_test(the_answer_to_a_repeated_first_hello_registers_again),
        cmocka_unit_test(a_welcome_that_resumes_what_never_was_asks_for_a_new_stream),
        cmocka_unit_test(a_welcome_nobody_asked_for_is_passed_over),
        cmocka_unit_test(who_is_refused_says_nothing_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
