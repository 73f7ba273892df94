#include "wire/curve.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "base/file.h"

/* A handshake with a broker that has another key than we think ends without a word. So it does when
 * something between us and a broker that isn't there takes the connection and drops it; so not the
 * first failure counts, but several in some time, and none after a success. */
#define FAILURES_MIN   5u
#define FAILURES_NS    UINT64_C(3000000000)
#define NO_CURVE       "this libzmq has no CURVE"
#define MISMATCH(what) ((what) == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)

/* ----------------------------------------------------------------------- keys */

static bool read_key(const char *name, enum wire_key_kind kind, char *key, char *error,
                     size_t error_bytes) {
    struct wire_key_fault fault;
    char path[PATH_MAX], *text;
    size_t size;
    bool good;

    if (base_file_find(name, path, sizeof path) == NULL) {
        (void)snprintf(error, error_bytes, "%.100s...: the path is too long", name);
        return false;
    }
    if (!base_file_read(path, kind == WIRE_KEY_SECRET ? BASE_FILE_SECRET : BASE_FILE_TRUSTED,
                        WIRE_KEY_FILE_BYTES_MAX, &text, &size, error, error_bytes)) {
        return false;
    }
    good = wire_key_parse(text, size, kind, key, &fault);
    base_file_free(text, size);
    if (!good && fault.line > 0) {
        (void)snprintf(error, error_bytes, "%s:%u: %s", path, fault.line, fault.text);
    } else if (!good) {
        (void)snprintf(error, error_bytes, "%s: %s", path, fault.text);
    }
    return good;
}

static bool load_server(struct wire_curve *curve, const char *server, char *error,
                        size_t error_bytes) {
    uint8_t bytes[WIRE_KEY_BYTES];

    if (wire_key_decode(server, strlen(server), bytes)) {
        memcpy(curve->server, server, sizeof curve->server);
        return true;
    }
    return read_key(server, WIRE_KEY_PUBLIC, curve->server, error, error_bytes);
}

bool wire_curve_load(struct wire_curve *curve, const char *key, const char *server, char *error,
                     size_t error_bytes) {
    memset(curve, 0, sizeof *curve);
    if (!zmq_has("curve")) {
        (void)snprintf(error, error_bytes, NO_CURVE);
        return false;
    }
    if (!read_key(key, WIRE_KEY_SECRET, curve->secret, error, error_bytes)) {
        wire_curve_wipe(curve);
        return false;
    }
    if (zmq_curve_public(curve->public, curve->secret) != 0) {
        (void)snprintf(error, error_bytes, "%s: %s", key, zmq_strerror(zmq_errno()));
        wire_curve_wipe(curve);
        return false;
    }
    if (server != NULL && !load_server(curve, server, error, error_bytes)) {
        wire_curve_wipe(curve);
        return false;
    }
    return true;
}

void wire_curve_wipe(struct wire_curve *curve) {
    explicit_bzero(curve, sizeof *curve);
}

/* -------------------------------------------------------------------- sockets */

static bool set_key(void *socket, int option, const char *key) {
    return zmq_setsockopt(socket, option, key, WIRE_KEY_TEXT_BYTES) == 0;
}

int wire_curve_dial(void *socket, const struct wire_curve *curve) {
    return set_key(socket, ZMQ_CURVE_SERVERKEY, curve->server) &&
                   set_key(socket, ZMQ_CURVE_PUBLICKEY, curve->public) &&
                   set_key(socket, ZMQ_CURVE_SECRETKEY, curve->secret)
               ? 0
               : zmq_errno();
}

int wire_curve_serve(void *socket, const struct wire_curve *curve) {
    int yes = 1;

    return zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, WIRE_CURVE_DOMAIN,
                          sizeof WIRE_CURVE_DOMAIN - 1) == 0 &&
                   zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) == 0 &&
                   set_key(socket, ZMQ_CURVE_SECRETKEY, curve->secret)
               ? 0
               : zmq_errno();
}

/* ------------------------------------------------------------------ handshakes */

static bool seems_hopeless(struct wire_handshake *handshake, uint64_t now_ns) {
    if (handshake->failures++ == 0) {
        handshake->first_ns = now_ns;
    }
    return handshake->keyed && !handshake->succeeded && handshake->failures >= FAILURES_MIN &&
           now_ns - handshake->first_ns >= FAILURES_NS;
}

const char *wire_handshake_event(struct wire_handshake *handshake, unsigned event, uint32_t value,
                                 uint64_t now_ns) {
    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        handshake->succeeded = true;
        handshake->failures = 0;
        return NULL;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        return "the broker does not know this key, or has revoked it";
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        if (MISMATCH(value)) {
            return handshake->keyed ? "the broker has no key, but one was given for it"
                                    : "the broker asks for a key, and none was given";
        }
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        break;
    default:
        return NULL;
    }
    return seems_hopeless(handshake, now_ns)
               ? "the broker breaks off every handshake: its key is not the one given for it"
               : NULL;
}

bool wire_monitor_receive(void *monitor, unsigned *event, uint32_t *value) {
    uint16_t number = 0;
    unsigned frames = 0;
    zmq_msg_t frame;
    bool more = true;

    *value = 0;
    while (more) {
        (void)zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, monitor, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(&frame);
            return false;
        }
        /* The number, the value behind it; then an address. */
        if (frames++ == 0 && zmq_msg_size(&frame) >= sizeof number + sizeof *value) {
            const char *data = zmq_msg_data(&frame);

            memcpy(&number, data, sizeof number);
            memcpy(value, data + sizeof number, sizeof *value);
        }
        more = zmq_msg_more(&frame) != 0;
        (void)zmq_msg_close(&frame);
    }
    *event = number;
    return true;
}
