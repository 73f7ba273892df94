/* Keys on ZeroMQ sockets (CURVE), and what a dialer's monitor tells of a handshake. Part of
 * furrow_wire_zmq: the text of keys is wire/key.h, which is pure. */
#ifndef WIRE_CURVE_H
#define WIRE_CURVE_H

#include "wire/key.h"

/* As text, because that is what ZeroMQ takes and a file holds. */
struct wire_curve {
    char public[WIRE_KEY_TEXT_BYTES], secret[WIRE_KEY_TEXT_BYTES];
    char server[WIRE_KEY_TEXT_BYTES]; /* the broker's public key; "" on the broker's own side */
};

#define WIRE_KEY_FILE_BYTES_MAX 4096u

/* wire_curve_load reads a secret key and finds its public one.
 *
 * key     a file, as base_file_find finds it; what it holds is wiped where it was read
 * server  the broker's public key: 40 letters of Z85, or such a file; NULL for the broker itself
 * error   gets what is wrong, in words; terminated
 *
 * Any thread may call it; it blocks for the files. Returns false, and `curve` is empty, when a file
 * can't be read, is not for this user's eyes alone, or holds no such key, or when libzmq has no CURVE. */
bool wire_curve_load(struct wire_curve *curve, const char *key, const char *server, char *error,
                     size_t error_bytes);
void wire_curve_wipe(struct wire_curve *curve);

/* wire_curve_dial and wire_curve_serve make a socket ask for, or give, proof of keys; before it
 * connects or binds. serve also sets the ZAP domain WIRE_CURVE_DOMAIN: a ZAP handler must run already,
 * since without one everybody would be let in. They return 0 or an errno. */
#define WIRE_CURVE_DOMAIN "furrow"
int wire_curve_dial(void *socket, const struct wire_curve *curve);
int wire_curve_serve(void *socket, const struct wire_curve *curve);

/* What a dialer's monitor has to listen to, for wire_handshake_event and to know of connections. */
#define WIRE_HANDSHAKE_EVENTS                                                                      \
    (ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |                        \
     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

struct wire_handshake {
    bool keyed;     /* the socket has keys */
    bool succeeded; /* once: what fails from then on is the network, or a broker that restarts */
    unsigned failures;
    uint64_t first_ns; /* of these */
};
/* wire_handshake_event takes an event of the monitor. Returns why no handshake will ever succeed, in
 * words; NULL: it has, or may yet. */
const char *wire_handshake_event(struct wire_handshake *handshake, unsigned event, uint32_t value,
                                 uint64_t now_ns);

/* wire_monitor_receive takes in one event of a monitor's PAIR socket. False: there is none now. */
bool wire_monitor_receive(void *monitor, unsigned *event, uint32_t *value);

#endif
