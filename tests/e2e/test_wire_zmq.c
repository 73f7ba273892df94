/* Messages over real sockets: what goes in comes out, by copy or by reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include <cmocka.h>

#include "wire/zmq.h"

#define WAIT_MS 5000

struct pair {
    void *context, *router, *dealer;
    char endpoint[128];
};

static int begin(void **state) {
    struct pair *pair = calloc(1, sizeof *pair);

    assert_non_null(pair);
    pair->context = zmq_ctx_new();
    assert_non_null(pair->context);
    pair->router = wire_zmq_router(pair->context);
    pair->dealer = wire_zmq_dealer(pair->context);
    assert_non_null(pair->router);
    assert_non_null(pair->dealer);
    assert_int_equal(
        wire_zmq_bind(pair->router, "tcp://127.0.0.1:*", pair->endpoint, sizeof pair->endpoint), 0);
    assert_int_equal(wire_zmq_connect(pair->dealer, pair->endpoint), 0);
    *state = pair;
    return 0;
}

static int end(void **state) {
    struct pair *pair = *state;

    if (pair->dealer != NULL) {
        assert_int_equal(zmq_close(pair->dealer), 0);
    }
    assert_int_equal(zmq_close(pair->router), 0);
    assert_int_equal(zmq_ctx_term(pair->context), 0);
    free(pair);
    return 0;
}

static enum wire_zmq_status receive(void *socket, uint64_t *peer, struct wire_message **message) {
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};

    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    return wire_zmq_recv(socket, peer, message);
}

static void send(void *socket, const uint64_t *peer, struct wire_message *message) {
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLOUT};

    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    assert_int_equal(wire_zmq_send(socket, peer, message), WIRE_ZMQ_OK);
}

static struct wire_message *message_of(const size_t *sizes, uint32_t count) {
    struct wire_blob *blobs[WIRE_FRAMES_MAX];
    struct wire_message *message;

    for (uint32_t i = 0; i < count; i++) {
        blobs[i] = wire_blob_new(sizes[i]);
        assert_non_null(blobs[i]);
        for (size_t at = 0; at < sizes[i]; at++) {
            blobs[i]->data[at] = (uint8_t)(at * 31 + i);
        }
    }
    message = wire_message_new(blobs, count);
    assert_non_null(message);
    return message;
}

static void assert_same(const struct wire_message *a, const struct wire_message *b) {
    assert_int_equal(a->frame_count, b->frame_count);
    for (uint32_t i = 0; i < a->frame_count; i++) {
        assert_int_equal(a->frames[i]->size, b->frames[i]->size);
        assert_memory_equal(a->frames[i]->data, b->frames[i]->data, a->frames[i]->size);
    }
}

static void frames_of_every_size_go_there_and_back(void **state) {
    static const size_t sizes[] = {
        40,     0,      1, 100, WIRE_ZMQ_REFERENCE_BYTES_MIN - 1, WIRE_ZMQ_REFERENCE_BYTES_MIN,
        100000, 3000000};
    struct pair *pair = *state;
    struct wire_message *sent = message_of(sizes, 8), *there, *back;
    uint64_t peer;

    send(pair->dealer, NULL, sent);
    assert_int_equal(receive(pair->router, &peer, &there), WIRE_ZMQ_OK);
    assert_in_range(peer, 1, WIRE_ZMQ_PEER_LIMIT - 1);
    assert_same(there, sent);
    send(pair->router, &peer, there);
    assert_int_equal(receive(pair->dealer, NULL, &back), WIRE_ZMQ_OK);
    assert_same(back, sent);
    wire_message_unref(sent);
    wire_message_unref(there);
    wire_message_unref(back);
}

static _Atomic int destroyed;

static void destroy(struct wire_blob *blob) {
    free(blob->data);
    free(blob);
    destroyed++;
}

static void large_frames_are_passed_by_reference_and_released(void **state) {
    struct pair *pair = *state;
    struct wire_blob *frames[2] = {wire_blob_copy("header", 6), calloc(1, sizeof **frames)};
    struct wire_message *message, *there;
    uint64_t peer;

    destroyed = 0;
    frames[1]->refs = 1;
    frames[1]->size = 1 << 20;
    frames[1]->data = calloc(1, 1 << 20);
    frames[1]->destroy = destroy;
    message = wire_message_new(frames, 2);
    send(pair->dealer, NULL, message);
    wire_message_unref(message);
    assert_int_equal(receive(pair->router, &peer, &there), WIRE_ZMQ_OK);
    assert_int_equal(there->frames[1]->size, 1 << 20);
    wire_message_unref(there);
    assert_int_equal(zmq_close(pair->dealer), 0); /* the last reference is ZeroMQ's own */
    pair->dealer = NULL;
    for (int i = 0; i < 1000 && destroyed == 0; i++) {
        zmq_poll(NULL, 0, 5);
    }
    assert_int_equal(destroyed, 1);
}

/* The link changes a header's stamp when it sends the message again, while the first is on its way. */
static void a_header_may_be_stamped_anew_after_sending(void **state) {
    struct pair *pair = *state;
    struct wire_message *message = wire_plain_encode(WIRE_BYE), *there;
    uint64_t peer;

    for (uint64_t seq = 1; seq <= 100; seq++) {
        wire_stamp(message, seq, 7);
        send(pair->dealer, NULL, message);
    }
    for (uint64_t seq = 1; seq <= 100; seq++) {
        struct wire_envelope envelope;
        struct wire_fault fault;

        assert_int_equal(receive(pair->router, &peer, &there), WIRE_ZMQ_OK);
        assert_true(wire_open(there, &envelope, &fault));
        assert_int_equal(envelope.seq, seq);
        wire_message_unref(there);
    }
    wire_message_unref(message);
}

static void too_many_frames_are_malformed_and_the_next_message_is_not(void **state) {
    struct pair *pair = *state;
    struct wire_message *good = wire_plain_encode(WIRE_BYE), *there;
    zmq_pollitem_t item = {.socket = pair->dealer, .events = ZMQ_POLLOUT};
    uint64_t peer, other;

    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    for (uint32_t i = 0; i < WIRE_FRAMES_MAX + 5; i++) {
        assert_int_equal(zmq_send(pair->dealer, "x", 1, i < WIRE_FRAMES_MAX + 4 ? ZMQ_SNDMORE : 0),
                         1);
    }
    send(pair->dealer, NULL, good);
    assert_int_equal(receive(pair->router, &peer, &there), WIRE_ZMQ_MALFORMED);
    assert_null(there);
    assert_int_equal(receive(pair->router, &other, &there), WIRE_ZMQ_OK);
    assert_int_equal(peer, other);
    assert_same(there, good);
    wire_message_unref(there);
    wire_message_unref(good);
}

static void a_peer_that_names_itself_is_malformed(void **state) {
    struct pair *pair = *state;
    void *named = zmq_socket(pair->context, ZMQ_DEALER);
    struct wire_message *there;
    uint64_t peer = 1;
    int linger_ms = 0;

    assert_non_null(named);
    assert_int_equal(zmq_setsockopt(named, ZMQ_LINGER, &linger_ms, sizeof linger_ms), 0);
    assert_int_equal(zmq_setsockopt(named, ZMQ_ROUTING_ID, "abcde", 5), 0);
    assert_int_equal(zmq_connect(named, pair->endpoint), 0);
    assert_int_equal(zmq_send(named, "x", 1, 0), 1);
    assert_int_equal(receive(pair->router, &peer, &there), WIRE_ZMQ_MALFORMED);
    assert_int_equal(peer, 0);
    assert_int_equal(zmq_close(named), 0);
}

static void nothing_there_is_said_so(void **state) {
    struct pair *pair = *state;
    struct wire_message *there;
    uint64_t peer;

    assert_int_equal(wire_zmq_recv(pair->router, &peer, &there), WIRE_ZMQ_AGAIN);
}

static void a_dealer_without_a_connection_does_not_queue(void **state) {
    struct pair *pair = *state;
    void *lonely = wire_zmq_dealer(pair->context);
    struct wire_message *message = wire_plain_encode(WIRE_BYE);

    assert_non_null(lonely);
    assert_int_equal(wire_zmq_connect(lonely, "tcp://127.0.0.1:1"), 0);
    assert_int_equal(wire_zmq_send(lonely, NULL, message), WIRE_ZMQ_AGAIN);
    wire_message_unref(message);
    assert_int_equal(zmq_close(lonely), 0);
}

static void what_is_for_a_peer_that_is_gone_is_dropped(void **state) {
    static const size_t sizes[] = {40, 100, 200000};
    struct pair *pair = *state;
    struct wire_message *message = message_of(sizes, 3);
    uint64_t nobody = (UINT64_C(1) << 32) | 12345;

    assert_int_equal(wire_zmq_send(pair->router, &nobody, message), WIRE_ZMQ_OK);
    assert_int_equal(message->frames[2]->refs, 1);
    wire_message_unref(message);
}

static void endpoints_that_are_none_are_refused(void **state) {
    struct pair *pair = *state;

    assert_int_not_equal(wire_zmq_bind(pair->router, "nowhere", NULL, 0), 0);
    assert_int_not_equal(wire_zmq_bind(pair->router, "tcp://127.0.0.1", NULL, 0), 0);
    assert_int_not_equal(wire_zmq_bind(pair->router, pair->endpoint, NULL, 0), 0);
    assert_int_not_equal(wire_zmq_connect(pair->dealer, "http://127.0.0.1:80"), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(frames_of_every_size_go_there_and_back),
        TEST(large_frames_are_passed_by_reference_and_released),
        TEST(a_header_may_be_stamped_anew_after_sending),
        TEST(too_many_frames_are_malformed_and_the_next_message_is_not),
        TEST(a_peer_that_names_itself_is_malformed),
        TEST(nothing_there_is_said_so),
        TEST(a_dealer_without_a_connection_does_not_queue),
        TEST(what_is_for_a_peer_that_is_gone_is_dropped),
        TEST(endpoints_that_are_none_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
