/* Messages over ZeroMQ sockets: what the shells of broker, worker and client share. It alone knows
 * how a wire_message becomes frames and back, and how sockets are set up (target furrow_wire_zmq;
 * the codec itself stays pure).
 *
 * A socket belongs to one thread, so all of these are called there. None blocks. Frames are copied
 * if small; larger ones travel by reference in both directions, and ZeroMQ then drops its reference
 * of the blob on a thread of its own. Frame 0 is always copied, since the link stamps it anew when
 * it sends a message again. */
#ifndef WIRE_ZMQ_H
#define WIRE_ZMQ_H

#include "wire/message.h"

/* Frames from this size on are passed by reference instead of copied. */
#define WIRE_ZMQ_REFERENCE_BYTES_MIN (8u << 10)

enum wire_zmq_status {
    WIRE_ZMQ_OK,
    WIRE_ZMQ_AGAIN, /* recv: nothing there now. send: nobody to send to now (the link resends) */
    WIRE_ZMQ_MALFORMED, /* recv: a message came that can't be one of ours; it is gone, go on */
    WIRE_ZMQ_NOMEM,     /* recv: a message came and is lost; send: not sent (the link resends) */
    WIRE_ZMQ_CLOSED,    /* the context is being terminated, or it is no socket: stop using it */
};

/* A ROUTER names its peers by ids it assigns itself; they are these numbers, never 0, below 1 << 33,
 * and never used twice in a socket's life. */
#define WIRE_ZMQ_PEER_LIMIT (UINT64_C(1) << 33)

/* wire_zmq_send sends one message.
 *
 * peer     ROUTER: which one. NULL for a DEALER
 * message  borrowed; references to its frames are taken
 *
 * A large one is announced by a COMING in front of it.
 * A ROUTER drops what is for a peer that is gone, and returns OK.
 * Returns OK, AGAIN (only a DEALER without a connection), NOMEM, CLOSED. */
enum wire_zmq_status wire_zmq_send(void *socket, const uint64_t *peer,
                                   struct wire_message *message);

/* wire_zmq_recv takes in one message.
 *
 * peer     ROUTER: gets the sender, also when it says MALFORMED or NOMEM (0 if it isn't one of those
 *          named by ourselves). NULL for a DEALER
 * message  gets the message on OK: the caller's
 *
 * Returns OK, AGAIN, MALFORMED (too many frames, a peer that names itself), NOMEM, CLOSED. */
enum wire_zmq_status wire_zmq_recv(void *socket, uint64_t *peer, struct wire_message **message);
/* wire_zmq_recv_user is that for a ROUTER, and gives besides whom ZAP has found the sender to be.
 *
 * user  gets its User-Id, terminated; "" if it has none, or one that is too long */
#define WIRE_ZMQ_USER_BYTES 41u
enum wire_zmq_status wire_zmq_recv_user(void *socket, uint64_t *peer,
                                        char user[WIRE_ZMQ_USER_BYTES],
                                        struct wire_message **message);

/* wire_zmq_router and wire_zmq_dealer make a socket and set every option: a short linger, no
 * high-water mark (credit bounds what is sent), a largest frame, TCP keepalive; for the dealer
 * reconnection from 10 ms to 2 s, and no queueing without a connection. zmq_close closes it.
 * They return NULL with errno as zmq_socket: EMFILE, ETERM, EFAULT. */
void *wire_zmq_router(void *context);
void *wire_zmq_dealer(void *context);

/* wire_zmq_bind and wire_zmq_connect take ZeroMQ's endpoints; IPv6 addresses stand in brackets.
 *
 * bound  gets the endpoint as it came out (the port that * stood for), terminated; may be NULL
 *
 * They return 0, or an errno as zmq_bind and zmq_connect: EINVAL (no endpoint), EADDRINUSE,
 * EADDRNOTAVAIL, ENODEV, EPROTONOSUPPORT, EMTHREAD; EINVAL too if `bound` is too short. */
int wire_zmq_bind(void *socket, const char *endpoint, char *bound, size_t bound_bytes);
int wire_zmq_connect(void *socket, const char *endpoint);

#endif
