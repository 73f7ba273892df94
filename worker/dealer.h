/* A connection to the broker: a DEALER socket, and another that tells when it has a connection. One
 * thread only; nothing blocks. */
#ifndef WORKER_DEALER_H
#define WORKER_DEALER_H

#include <poll.h>
#include <stdbool.h>

#include "wire/curve.h"
#include "wire/message.h"

struct worker_dealer {
    void *zmq;                      /* the context, borrowed */
    const char *endpoint;           /* borrowed */
    const struct wire_curve *curve; /* keys for it, borrowed; NULL: none */
    struct wire_handshake handshake;
    const char *hopeless;           /* why there will never be a connection; NULL: there may */
    void *socket, *monitor;         /* NULL: there are none */
    struct wire_shared_own *shared; /* memory for large payloads, borrowed; NULL: none */
    int socket_fd, monitor_fd;
    unsigned count; /* sockets so far: names the monitors' addresses */
    /* Whether there may be something: ZeroMQ's descriptors only tell of changes, and sending may have
     * taken notice of one. */
    bool look, look_monitor;
};

/* worker_dealer_open begins to connect; any sockets from before are closed. `zmq` and `endpoint` must
 * be set. Returns 0, or an errno (as zmq_socket and zmq_connect); there are no sockets then. */
int worker_dealer_open(struct worker_dealer *dealer);
void worker_dealer_close(struct worker_dealer *dealer);

/* worker_dealer_send takes the message's reference. What can't be sent now is sent again by the link
 * when there is a connection. */
void worker_dealer_send(struct worker_dealer *dealer, struct wire_message *message);

enum worker_dealer_received {
    WORKER_DEALER_NOTHING,
    WORKER_DEALER_MESSAGE,
    WORKER_DEALER_LOST, /* one that was malformed, or for which there was no memory */
};
/* worker_dealer_receive takes in one message, whose reference is the caller's. */
enum worker_dealer_received worker_dealer_receive(struct worker_dealer *dealer,
                                                  struct wire_message **message);
/* worker_dealer_connected tells, once each, that there is a new connection. When it says no, `hopeless`
 * may have been set: there are no sockets any more then. */
bool worker_dealer_connected(struct worker_dealer *dealer);

#define WORKER_DEALER_FDS 2u
/* worker_dealer_poll says what to poll; not before receive and connected have nothing more (`look` and
 * `look_monitor` are false). worker_dealer_polled takes what came of it. */
void worker_dealer_poll(const struct worker_dealer *dealer, struct pollfd *fds);
void worker_dealer_polled(struct worker_dealer *dealer, const struct pollfd *fds);

#endif
