#include "worker/dealer.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <zmq.h>

#include "base/assert.h"
#include "base/clock.h"
#include "wire/shared.h"
#include "wire/zmq.h"

/* The monitoring ends first: ZeroMQ's I/O thread would block for ever in sending an event to a monitor
 * that is closed. */
void worker_dealer_close(struct worker_dealer *dealer) {
    if (dealer->socket != NULL) {
        (void)zmq_socket_monitor(dealer->socket, NULL, 0);
    }
    if (dealer->monitor != NULL) {
        (void)zmq_close(dealer->monitor);
        dealer->monitor = NULL;
    }
    if (dealer->socket != NULL) {
        (void)zmq_close(dealer->socket);
        dealer->socket = NULL;
    }
    dealer->look = false;
    dealer->look_monitor = false;
}

static bool fd_of(void *socket, int *fd) {
    size_t size = sizeof *fd;

    return zmq_getsockopt(socket, ZMQ_FD, fd, &size) == 0;
}

static bool set_keys(struct worker_dealer *dealer) {
    dealer->handshake.keyed = dealer->curve != NULL;
    errno = dealer->curve == NULL ? 0 : wire_curve_dial(dealer->socket, dealer->curve);
    return errno == 0;
}

int worker_dealer_open(struct worker_dealer *dealer) {
    char address[64];
    int none = 0, error;

    worker_dealer_close(dealer);
    if (dealer->hopeless != NULL) {
        return EACCES;
    }
    (void)snprintf(address, sizeof address, "inproc://furrow-monitor-%p-%u", (void *)dealer,
                   dealer->count++);
    dealer->socket = wire_zmq_dealer(dealer->zmq);
    dealer->monitor = dealer->socket == NULL ? NULL : zmq_socket(dealer->zmq, ZMQ_PAIR);
    if (dealer->monitor != NULL &&
        zmq_setsockopt(dealer->monitor, ZMQ_LINGER, &none, sizeof none) == 0 &&
        zmq_socket_monitor(dealer->socket, address, WIRE_HANDSHAKE_EVENTS) == 0 &&
        zmq_connect(dealer->monitor, address) == 0 && set_keys(dealer) &&
        fd_of(dealer->socket, &dealer->socket_fd) && fd_of(dealer->monitor, &dealer->monitor_fd)) {
        error = wire_zmq_connect(dealer->socket, dealer->endpoint);
    } else {
        error = zmq_errno();
    }
    if (error != 0) {
        worker_dealer_close(dealer);
        return error;
    }
    dealer->look = true;
    dealer->look_monitor = true;
    return 0;
}

void worker_dealer_send(struct worker_dealer *dealer, struct wire_message *message) {
    if (dealer->socket != NULL) {
        message = wire_shared_own_out(dealer->shared, message);
        (void)wire_zmq_send(dealer->socket, NULL, message);
        dealer->look = true;
    }
    wire_message_unref(message);
}

enum worker_dealer_received worker_dealer_receive(struct worker_dealer *dealer,
                                                  struct wire_message **message) {
    if (!dealer->look) {
        return WORKER_DEALER_NOTHING;
    }
    switch (wire_zmq_recv(dealer->socket, NULL, message)) {
    case WIRE_ZMQ_OK:
        if (BASE_LIKELY(wire_shared_own_in(dealer->shared, *message))) {
            return WORKER_DEALER_MESSAGE;
        }
        wire_message_unref(*message);
        return WORKER_DEALER_LOST;
    case WIRE_ZMQ_MALFORMED:
    case WIRE_ZMQ_NOMEM:
        return WORKER_DEALER_LOST;
    case WIRE_ZMQ_AGAIN:
    case WIRE_ZMQ_CLOSED:
        break;
    }
    dealer->look = false;
    return WORKER_DEALER_NOTHING;
}

bool worker_dealer_connected(struct worker_dealer *dealer) {
    uint32_t value, events;
    size_t size = sizeof events;
    unsigned event;

    while (dealer->look_monitor && wire_monitor_receive(dealer->monitor, &event, &value)) {
        dealer->hopeless = wire_handshake_event(&dealer->handshake, event, value, base_clock_ns());
        if (dealer->hopeless != NULL) {
            worker_dealer_close(dealer);
            return false;
        }
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            /* Lets the socket see its new connection, which it would otherwise do later. */
            (void)zmq_getsockopt(dealer->socket, ZMQ_EVENTS, &events, &size);
            dealer->look = true;
            return true;
        }
    }
    dealer->look_monitor = false;
    return false;
}

void worker_dealer_poll(const struct worker_dealer *dealer, struct pollfd *fds) {
    bool there = dealer->socket != NULL;

    fds[0] = (struct pollfd){.fd = there ? dealer->socket_fd : -1, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = there ? dealer->monitor_fd : -1, .events = POLLIN};
}

void worker_dealer_polled(struct worker_dealer *dealer, const struct pollfd *fds) {
    dealer->look = dealer->look || (dealer->socket != NULL && fds[0].revents != 0);
    dealer->look_monitor = dealer->look_monitor || (dealer->socket != NULL && fds[1].revents != 0);
}
