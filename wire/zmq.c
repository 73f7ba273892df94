#include "wire/zmq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "base/assert.h"

/* Automatic routing ids are a zero byte and a number of 32 bits. The bit above it keeps the peer
 * whose number is 0 apart from "nobody". */
#define PEER_ID_BYTES 5U
#define PEER_BIT      (UINT64_C(1) << 32)

#define FRAMES_MAX (2U + WIRE_LARGE_COUNT_MAX)

/* A frame over this is refused by ZeroMQ itself, and its connection closed. */
#define FRAME_BYTES_MAX ((int64_t)WIRE_PAYLOAD_BYTES_MAX + 4096)

#define LINGER_MS           250
#define RECONNECT_MS        10
#define RECONNECT_MAX_MS    2000
#define KEEPALIVE_IDLE_S    30
#define KEEPALIVE_PROBES    3
#define KEEPALIVE_BETWEEN_S 10
#define BACKLOG             4096

/* ---- out ---- */

static void blob_done(void *data, void *hint) {
    (void)data;
    wire_blob_unref(hint);
}

/* Makes the frame of a blob: a copy, or a reference to it. */
static enum wire_zmq_status frame_from_blob(zmq_msg_t *frame, struct wire_blob *blob, bool copy) {
    if (copy || blob->size < WIRE_ZMQ_REFERENCE_BYTES_MIN) {
        if (zmq_msg_init_size(frame, blob->size) != 0) {
            return WIRE_ZMQ_NOMEM;
        }
        if (blob->size > 0) {
            memcpy(zmq_msg_data(frame), blob->data, blob->size);
        }
        return WIRE_ZMQ_OK;
    }
    if (zmq_msg_init_data(frame, blob->data, blob->size, blob_done, wire_blob_ref(blob)) != 0) {
        wire_blob_unref(blob);
        return WIRE_ZMQ_NOMEM;
    }
    return WIRE_ZMQ_OK;
}

/* Sends a frame, or closes it. */
static enum wire_zmq_status frame_send(void *socket, zmq_msg_t *frame, int more) {
    int rc;

    do {
        rc = zmq_msg_send(frame, socket, ZMQ_DONTWAIT | more);
    } while (rc < 0 && errno == EINTR);
    if (rc >= 0) {
        return WIRE_ZMQ_OK;
    }
    rc = errno;
    zmq_msg_close(frame);
    switch (rc) {
    case EAGAIN:
    case EHOSTUNREACH:
        return WIRE_ZMQ_AGAIN;
    case ENOMEM:
        return WIRE_ZMQ_NOMEM;
    default:
        return WIRE_ZMQ_CLOSED;
    }
}

static enum wire_zmq_status peer_send(void *socket, uint64_t peer) {
    uint8_t id[PEER_ID_BYTES] = {0, (uint8_t)(peer >> 24), (uint8_t)(peer >> 16),
                                 (uint8_t)(peer >> 8), (uint8_t)peer};
    zmq_msg_t frame;

    BASE_ASSERT((peer & ~(PEER_BIT - 1)) == PEER_BIT);
    zmq_msg_init_size(&frame, sizeof id); /* fits into the message itself: can't fail */
    memcpy(zmq_msg_data(&frame), id, sizeof id);
    return frame_send(socket, &frame, ZMQ_SNDMORE);
}

/* All frames are made before the first is sent, because a message can't be given up half way. */
static enum wire_zmq_status message_send(void *socket, const uint64_t *peer,
                                         struct wire_message *message) {
    enum wire_zmq_status status = WIRE_ZMQ_OK;
    zmq_msg_t frames[FRAMES_MAX];
    uint32_t made = 0;

    BASE_ASSERT(message->frame_count >= 1 && message->frame_count <= FRAMES_MAX);
    while (made < message->frame_count && status == WIRE_ZMQ_OK) {
        status = frame_from_blob(&frames[made], message->frames[made], made == 0);
        if (status == WIRE_ZMQ_OK) {
            made++;
        }
    }
    if (status == WIRE_ZMQ_OK && peer != NULL) {
        status = peer_send(socket, *peer);
    }
    if (status != WIRE_ZMQ_OK) {
        for (uint32_t i = 0; i < made; i++) {
            zmq_msg_close(&frames[i]);
        }
        return status;
    }
    for (uint32_t i = 0; i < made; i++) {
        enum wire_zmq_status one = frame_send(socket, &frames[i], i + 1 < made ? ZMQ_SNDMORE : 0);

        /* A connection that breaks between two frames makes the socket skip the rest of this
         * message, for which it must see that rest; a refused first frame has no rest. */
        if (one != WIRE_ZMQ_OK && status == WIRE_ZMQ_OK) {
            status = one;
        }
        if (one != WIRE_ZMQ_OK && i == 0 && peer == NULL) {
            for (i = 1; i < made; i++) {
                zmq_msg_close(&frames[i]);
            }
        }
    }
    return status;
}

enum wire_zmq_status wire_zmq_send(void *socket, const uint64_t *peer,
                                   struct wire_message *message) {
    struct wire_message *coming = wire_announce(message);

    /* Without it the message may be taken for silence, no more. */
    if (BASE_UNLIKELY(coming != NULL)) {
        (void)message_send(socket, peer, coming);
        wire_message_unref(coming);
    }
    return message_send(socket, peer, message);
}

/* ---- in ---- */

struct frame_blob {
    struct wire_blob blob;
    zmq_msg_t frame;
};

static void frame_blob_destroy(struct wire_blob *blob) {
    struct frame_blob *held = BASE_CONTAINER_OF(blob, struct frame_blob, blob);

    zmq_msg_close(&held->frame);
    free(held);
}

/* Makes the blob of a frame: a copy, or the frame itself, which `frame` then no longer holds. The
 * caller closes `frame` in either case. NULL: no memory. */
static struct wire_blob *blob_from_frame(zmq_msg_t *frame) {
    size_t size = zmq_msg_size(frame);
    struct frame_blob *held;

    if (size < WIRE_ZMQ_REFERENCE_BYTES_MIN) {
        return wire_blob_copy(zmq_msg_data(frame), size);
    }
    held = malloc(sizeof *held);
    if (held == NULL) {
        return NULL;
    }
    zmq_msg_init(&held->frame);
    zmq_msg_move(&held->frame, frame);
    atomic_init(&held->blob.refs, 1);
    held->blob.data = zmq_msg_data(&held->frame);
    held->blob.size = size;
    held->blob.destroy = frame_blob_destroy;
    return &held->blob;
}

static enum wire_zmq_status frame_recv(void *socket, zmq_msg_t *frame) {
    int rc;

    do {
        rc = zmq_msg_recv(frame, socket, ZMQ_DONTWAIT);
    } while (rc < 0 && errno == EINTR);
    if (rc >= 0) {
        return WIRE_ZMQ_OK;
    }
    return errno == EAGAIN ? WIRE_ZMQ_AGAIN : WIRE_ZMQ_CLOSED;
}

/* 0 for an id that the peer chose for itself. */
static uint64_t peer_from_frame(zmq_msg_t *frame) {
    const uint8_t *id = zmq_msg_data(frame);

    if (zmq_msg_size(frame) != PEER_ID_BYTES || id[0] != 0) {
        return 0;
    }
    return PEER_BIT | (uint64_t)id[1] << 24 | (uint64_t)id[2] << 16 | (uint64_t)id[3] << 8 | id[4];
}

/* Takes in the frames of the message that has begun, all of them whatever happens. */
static enum wire_zmq_status frames_recv(void *socket, zmq_msg_t *frame, struct wire_blob **blobs,
                                        uint32_t *count) {
    enum wire_zmq_status status = WIRE_ZMQ_OK;

    *count = 0;
    for (;;) {
        int more = zmq_msg_more(frame); /* before the frame may be moved into its blob */

        if (status == WIRE_ZMQ_OK && *count == FRAMES_MAX) {
            status = WIRE_ZMQ_MALFORMED;
        }
        if (status == WIRE_ZMQ_OK) {
            blobs[*count] = blob_from_frame(frame);
            if (blobs[*count] != NULL) {
                ++*count;
            } else {
                status = WIRE_ZMQ_NOMEM;
            }
        }
        if (!more) {
            return status;
        }
        if (frame_recv(socket, frame) != WIRE_ZMQ_OK) {
            return WIRE_ZMQ_CLOSED; /* the frames of a message come together */
        }
    }
}

/* The frame with the peer's id has lost its metadata if the socket was polled first; those of the
 * message itself have it. */
static void user_from_frame(zmq_msg_t *frame, char *user) {
    const char *text = zmq_msg_gets(frame, "User-Id");
    size_t size = text == NULL ? 0 : strlen(text);

    if (size > 0 && size < WIRE_ZMQ_USER_BYTES) {
        memcpy(user, text, size + 1);
    }
}

static enum wire_zmq_status receive(void *socket, uint64_t *peer, char *user,
                                    struct wire_message **message) {
    struct wire_blob *blobs[FRAMES_MAX];
    enum wire_zmq_status status;
    uint32_t count = 0;
    zmq_msg_t frame;

    *message = NULL;
    zmq_msg_init(&frame);
    status = frame_recv(socket, &frame);
    if (status == WIRE_ZMQ_OK && peer != NULL) {
        bool alone = !zmq_msg_more(&frame);

        *peer = peer_from_frame(&frame);
        status = alone ? WIRE_ZMQ_MALFORMED : frame_recv(socket, &frame);
    }
    if (status == WIRE_ZMQ_OK && user != NULL) {
        user_from_frame(&frame, user);
    }
    if (status == WIRE_ZMQ_OK) {
        status = frames_recv(socket, &frame, blobs, &count);
    }
    zmq_msg_close(&frame);
    if (status == WIRE_ZMQ_OK && peer != NULL && *peer == 0) {
        status = WIRE_ZMQ_MALFORMED;
    }
    if (status == WIRE_ZMQ_OK) {
        *message = wire_message_new(blobs, count);
        status = *message == NULL ? WIRE_ZMQ_NOMEM : WIRE_ZMQ_OK;
    }
    if (status != WIRE_ZMQ_OK) {
        for (uint32_t i = 0; i < count; i++) {
            wire_blob_unref(blobs[i]);
        }
    }
    return status;
}

enum wire_zmq_status wire_zmq_recv(void *socket, uint64_t *peer, struct wire_message **message) {
    return receive(socket, peer, NULL, message);
}

enum wire_zmq_status wire_zmq_recv_user(void *socket, uint64_t *peer,
                                        char user[WIRE_ZMQ_USER_BYTES],
                                        struct wire_message **message) {
    user[0] = '\0';
    return receive(socket, peer, user, message);
}

/* ---- sockets ---- */

static bool set_int(void *socket, int option, int value) {
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

static void *socket_new(void *context, int type) {
    int64_t frame_bytes_max = FRAME_BYTES_MAX;
    void *socket = zmq_socket(context, type);
    int saved;

    if (socket == NULL) {
        return NULL;
    }
    if (set_int(socket, ZMQ_LINGER, LINGER_MS) && set_int(socket, ZMQ_SNDHWM, 0) &&
        set_int(socket, ZMQ_RCVHWM, 0) && set_int(socket, ZMQ_TCP_KEEPALIVE, 1) &&
        set_int(socket, ZMQ_TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S) &&
        set_int(socket, ZMQ_TCP_KEEPALIVE_CNT, KEEPALIVE_PROBES) &&
        set_int(socket, ZMQ_TCP_KEEPALIVE_INTVL, KEEPALIVE_BETWEEN_S) &&
        zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &frame_bytes_max, sizeof frame_bytes_max) == 0) {
        return socket;
    }
    saved = errno;
    zmq_close(socket);
    errno = saved;
    return NULL;
}

static void *socket_keep(void *socket, bool good) {
    int saved = errno;

    if (!good) {
        zmq_close(socket);
        errno = saved;
        return NULL;
    }
    return socket;
}

void *wire_zmq_router(void *context) {
    void *socket = socket_new(context, ZMQ_ROUTER);

    return socket == NULL ? NULL : socket_keep(socket, set_int(socket, ZMQ_BACKLOG, BACKLOG));
}

void *wire_zmq_dealer(void *context) {
    void *socket = socket_new(context, ZMQ_DEALER);
    bool good = socket != NULL && set_int(socket, ZMQ_IMMEDIATE, 1) &&
                set_int(socket, ZMQ_RECONNECT_IVL, RECONNECT_MS) &&
                set_int(socket, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);

    return socket == NULL ? NULL : socket_keep(socket, good);
}

/* With IPv6 allowed ZeroMQ writes 127.0.0.1 as ::ffff:127.0.0.1, so it is allowed where asked for. */
static bool allow_ipv6(void *socket, const char *endpoint) {
    return set_int(socket, ZMQ_IPV6, strchr(endpoint, '[') != NULL);
}

int wire_zmq_bind(void *socket, const char *endpoint, char *bound, size_t bound_bytes) {
    if (!allow_ipv6(socket, endpoint) || zmq_bind(socket, endpoint) != 0) {
        return errno;
    }
    if (bound != NULL && zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, bound, &bound_bytes) != 0) {
        return errno;
    }
    return 0;
}

int wire_zmq_connect(void *socket, const char *endpoint) {
    return allow_ipv6(socket, endpoint) && zmq_connect(socket, endpoint) == 0 ? 0 : errno;
}
