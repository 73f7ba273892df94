#include "broker/zap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "base/clock.h"
#include "wire/curve.h"

#define ADDRESS     "inproc://zeromq.zap.01"
#define VERSION     "1.0"
#define FIELD_BYTES 256
/* A line for those who were refused, not more often. */
#define TELL_NS BASE_CLOCK_NS_PER_S

/* The frames of a question. */
enum {
    ASK_VERSION,
    ASK_ID,
    ASK_DOMAIN,
    ASK_FROM,
    ASK_IDENTITY,
    ASK_MECHANISM,
    ASK_KEY,
    ASK_FRAMES
};

struct field {
    size_t size;
    char data[FIELD_BYTES];
};

int broker_zap_open(struct broker_zap *zap, void *context) {
    int none = 0, error;

    zap->socket = zmq_socket(context, ZMQ_REP);
    if (zap->socket != NULL && zmq_setsockopt(zap->socket, ZMQ_LINGER, &none, sizeof none) == 0 &&
        zmq_bind(zap->socket, ADDRESS) == 0) {
        return 0;
    }
    error = zmq_errno();
    broker_zap_close(zap);
    return error;
}

void broker_zap_close(struct broker_zap *zap) {
    if (zap->socket != NULL) {
        (void)zmq_close(zap->socket);
        zap->socket = NULL;
    }
}

/* Takes in a question. 1: it is one; 0: none is there; -1: it is none of ZAP's. */
static int receive(struct broker_zap *zap, struct field *fields) {
    int count = 0, more = 1;
    size_t size = sizeof more;
    bool good = true;

    for (; more != 0; count++) {
        struct field spare, *field = count < ASK_FRAMES ? &fields[count] : &spare;
        int got = zmq_recv(zap->socket, field->data, FIELD_BYTES, ZMQ_DONTWAIT);

        if (got < 0) {
            return 0;
        }
        good = good && got <= FIELD_BYTES; /* longer ones are cut */
        field->size = (size_t)got;
        if (zmq_getsockopt(zap->socket, ZMQ_RCVMORE, &more, &size) != 0) {
            return 0;
        }
    }
    return good && count == ASK_FRAMES ? 1 : -1;
}

static bool is(const struct field *field, const char *text) {
    return field->size == strlen(text) && memcmp(field->data, text, field->size) == 0;
}

static const struct broker_authorized_key *judge(const struct field *fields,
                                                 const struct broker_authorized *list) {
    const struct broker_authorized_key *key;

    if (!is(&fields[ASK_VERSION], VERSION) || !is(&fields[ASK_DOMAIN], WIRE_CURVE_DOMAIN) ||
        !is(&fields[ASK_MECHANISM], "CURVE") || fields[ASK_KEY].size != BROKER_KEY_BYTES) {
        return NULL;
    }
    key = broker_authorized_find(list, (const uint8_t *)fields[ASK_KEY].data);
    return key != NULL && key->identity.rights != 0 ? key : NULL;
}

static void answer(struct broker_zap *zap, const struct field *fields, const char *user) {
    const char *code = user[0] != '\0' ? "200" : "400";
    const char *text = user[0] != '\0' ? "OK" : "not authorized";

    /* Sending to a REP's peer never waits. */
    (void)zmq_send(zap->socket, VERSION, strlen(VERSION), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(zap->socket, fields[ASK_ID].data, fields[ASK_ID].size,
                   ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(zap->socket, code, strlen(code), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(zap->socket, text, strlen(text), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(zap->socket, user, strlen(user), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(zap->socket, "", 0, ZMQ_DONTWAIT);
}

static void tell(struct broker_zap *zap, const struct field *fields, uint64_t now_ns,
                 const struct base_log *log) {
    char key[WIRE_KEY_TEXT_BYTES] = "?";

    zap->refused++;
    if (now_ns - zap->told_ns < TELL_NS && zap->told_ns != 0) {
        return;
    }
    if (fields[ASK_KEY].size == BROKER_KEY_BYTES) {
        wire_key_encode((const uint8_t *)fields[ASK_KEY].data, key);
    }
    base_log(log, BASE_LOG_WARN,
             "%llu connections refused; the last with key %s from %.*s, which is not authorized",
             (unsigned long long)zap->refused, key, (int)fields[ASK_FROM].size,
             fields[ASK_FROM].data);
    zap->told_ns = now_ns;
    zap->refused = 0;
}

bool broker_zap_serve(struct broker_zap *zap, const struct broker_authorized *list, unsigned most,
                      uint64_t now_ns, const struct base_log *log) {
    for (unsigned i = 0; i < most; i++) {
        struct field fields[ASK_FRAMES] = {{.size = 0}};
        const struct broker_authorized_key *key;
        char user[WIRE_KEY_TEXT_BYTES] = "";
        int got = receive(zap, fields);

        if (got == 0) {
            return false;
        }
        key = got > 0 ? judge(fields, list) : NULL;
        if (key != NULL) {
            wire_key_encode(key->identity.key, user);
        } else {
            tell(zap, fields, now_ns, log);
        }
        answer(zap, fields, user);
    }
    return true;
}
