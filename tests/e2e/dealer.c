#include "tests/e2e/dealer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <zmq.h>

#include <cmocka.h>

#include "base/clock.h"
#include "wire/zmq.h"

void dealer_open(struct dealer *dealer, const char *url, uint64_t number) {
    dealer_open_as(dealer, url, number, NULL);
}

void dealer_open_as(struct dealer *dealer, const char *url, uint64_t number,
                    const struct wire_curve *curve) {
    *dealer = (struct dealer){.session = {0xDEA1E5, number}};
    dealer->context = zmq_ctx_new();
    assert_non_null(dealer->context);
    dealer->socket = wire_zmq_dealer(dealer->context);
    assert_non_null(dealer->socket);
    if (curve != NULL) {
        assert_int_equal(wire_curve_dial(dealer->socket, curve), 0);
    }
    assert_int_equal(wire_zmq_connect(dealer->socket, url), 0);
}

void dealer_close(struct dealer *dealer) {
    int linger_ms = 0;

    assert_int_equal(zmq_setsockopt(dealer->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms), 0);
    assert_int_equal(zmq_close(dealer->socket), 0);
    assert_int_equal(zmq_ctx_term(dealer->context), 0);
}

/* Sends it as it is, as soon as there is a connection. */
static void send_now(struct dealer *dealer, struct wire_message *message) {
    zmq_pollitem_t item = {.socket = dealer->socket, .events = ZMQ_POLLOUT};

    assert_non_null(message);
    assert_int_equal(zmq_poll(&item, 1, 5000), 1);
    assert_int_equal(wire_zmq_send(dealer->socket, NULL, message), WIRE_ZMQ_OK);
    wire_message_unref(message);
}

void dealer_send(struct dealer *dealer, struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    assert_non_null(message);
    assert_true(wire_open(message, &envelope, &fault));
    if (envelope.type >= WIRE_FIRST_SEQUENCED) {
        wire_stamp(message, ++dealer->seq, dealer->received);
    } else {
        wire_stamp(message, 0, dealer->received);
    }
    send_now(dealer, message);
}

bool dealer_can_send(struct dealer *dealer, int ms) {
    zmq_pollitem_t item = {.socket = dealer->socket, .events = ZMQ_POLLOUT};

    return zmq_poll(&item, 1, ms) == 1;
}

struct wire_message *dealer_await(struct dealer *dealer, enum wire_type type, int ms) {
    uint64_t until_ns = base_clock_ns() + (uint64_t)ms * BASE_CLOCK_NS_PER_MS;

    for (;;) {
        zmq_pollitem_t item = {.socket = dealer->socket, .events = ZMQ_POLLIN};
        struct wire_message *message;
        struct wire_envelope envelope;
        struct wire_fault fault;
        int left_ms = base_clock_poll_ms(until_ns, base_clock_ns());

        if (left_ms == 0 || zmq_poll(&item, 1, left_ms) <= 0 ||
            wire_zmq_recv(dealer->socket, NULL, &message) != WIRE_ZMQ_OK) {
            return NULL;
        }
        assert_true(wire_open(message, &envelope, &fault));
        if (envelope.seq != 0) {
            dealer->received = envelope.seq;
        }
        if (envelope.type == type) {
            return message;
        }
        wire_message_unref(message);
    }
}

static void say_hello(struct dealer *dealer, enum wire_role role) {
    const struct wire_text functions[] = {{"f", 1}};
    struct wire_hello hello = {
        .version_min = WIRE_VERSION_MIN,
        .version_max = WIRE_VERSION_MAX,
        .role = role,
        .session = dealer->session,
        .name = {"dealer", 6},
        .host = {"here", 4},
        .slots = role == WIRE_WORKER,
        .functions = functions,
        .function_count = role == WIRE_WORKER,
    };

    send_now(dealer, wire_hello_encode(&hello));
}

unsigned dealer_hello(struct dealer *dealer, enum wire_role role, enum wire_reject_code *code) {
    zmq_pollitem_t item = {.socket = dealer->socket, .events = ZMQ_POLLIN};
    struct wire_welcome welcome;
    struct wire_envelope envelope;
    struct wire_reject reject;
    struct wire_fault fault;
    struct wire_message *message;

    say_hello(dealer, role);
    if (zmq_poll(&item, 1, 5000) <= 0 ||
        wire_zmq_recv(dealer->socket, NULL, &message) != WIRE_ZMQ_OK) {
        return 0;
    }
    assert_true(wire_open(message, &envelope, &fault));
    if (envelope.type == WIRE_REJECT) {
        assert_true(wire_reject_decode(message, &reject, &fault));
        *code = reject.code;
    } else {
        assert_true(wire_welcome_decode(message, &welcome, &fault));
        dealer->seq = dealer->received = welcome.received;
    }
    wire_message_unref(message);
    return envelope.type;
}

bool dealer_is_welcomed(struct dealer *dealer) {
    struct wire_welcome welcome;
    struct wire_fault fault;
    struct wire_message *message;

    say_hello(dealer, WIRE_CLIENT);
    message = dealer_await(dealer, WIRE_WELCOME, 5000);
    if (message == NULL) {
        return false;
    }
    assert_true(wire_welcome_decode(message, &welcome, &fault));
    assert_false(welcome.resumed);
    dealer->seq = dealer->received = welcome.received;
    wire_message_unref(message);
    return true;
}

void dealer_submit(struct dealer *dealer, uint64_t id) {
    struct wire_define define = {.function = {"f", 1}, .max_attempts = 1};
    const uint64_t key[] = {0, 1, 0};
    struct wire_writer *writer = wire_writer_new(WIRE_SUBMIT);

    assert_non_null(writer);
    dealer_send(dealer, wire_define_encode(&define));
    assert_int_equal(wire_writer_put(writer, key, &id, "x", 1, NULL), WIRE_PUT_OK);
    dealer_send(dealer, wire_writer_finish(writer, NULL));
    wire_writer_free(writer);
}
