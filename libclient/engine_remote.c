#include "libclient/engine.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "task/status.h"
#include "wire/zmq.h"

/* A broker at an address: a DEALER socket, and another that tells of its connections. */

/* Messages taken in at a time. */
#define RECEIVE_MAX 64u

#define MONITORED                                                                                  \
    (ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |                                      \
     ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |                  \
     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

struct remote {
    void *context;
    void *dealer, *monitor;
    int dealer_fd, monitor_fd;
    /* Whether there may be something to receive: ZeroMQ's descriptors only tell of changes. */
    bool look, look_monitor;
};

static struct remote *remote_of(const struct engine *engine) {
    return engine->own;
}

/* The monitoring ends first: ZeroMQ's I/O thread, which all executors share, would block for ever in
 * sending an event to a monitor that is closed. */
static void close_sockets(struct remote *remote) {
    if (remote->dealer != NULL) {
        (void)zmq_socket_monitor(remote->dealer, NULL, 0);
    }
    if (remote->monitor != NULL) {
        (void)zmq_close(remote->monitor);
        remote->monitor = NULL;
    }
    if (remote->dealer != NULL) {
        (void)zmq_close(remote->dealer);
        remote->dealer = NULL;
    }
}

static furrow_status fd_of(void *socket, int *fd) {
    size_t size = sizeof *fd;

    return zmq_getsockopt(socket, ZMQ_FD, fd, &size) == 0 ? FURROW_OK : FURROW_ESYSTEM;
}

/* Makes both sockets and begins to connect. On error there are none, and errno says why. */
static furrow_status open_sockets(struct engine *engine) {
    struct remote *remote = remote_of(engine);
    /* Names the monitors' addresses. ZeroMQ lets go of one some time after its socket is closed, so
     * not even another engine may use it again. */
    static atomic_uint connections;
    char address[64];
    int none = 0, saved;

    (void)snprintf(address, sizeof address, "inproc://furrow-monitor-%u",
                   atomic_fetch_add(&connections, 1));
    remote->dealer = wire_zmq_dealer(remote->context);
    remote->monitor = zmq_socket(remote->context, ZMQ_PAIR);
    if (remote->dealer != NULL && remote->monitor != NULL &&
        zmq_setsockopt(remote->monitor, ZMQ_LINGER, &none, sizeof none) == 0 &&
        zmq_socket_monitor(remote->dealer, address, MONITORED) == 0 &&
        zmq_connect(remote->monitor, address) == 0 &&
        wire_zmq_connect(remote->dealer, engine->base.url.address) == 0 &&
        fd_of(remote->dealer, &remote->dealer_fd) == FURROW_OK &&
        fd_of(remote->monitor, &remote->monitor_fd) == FURROW_OK) {
        remote->look = true;
        remote->look_monitor = true;
        return FURROW_OK;
    }
    saved = zmq_errno();
    close_sockets(remote);
    errno = saved;
    return FURROW_ESYSTEM;
}

static furrow_status remote_open(struct engine *engine) {
    struct remote *remote = calloc(1, sizeof *remote);
    furrow_status status;

    if (remote == NULL) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    engine->own = remote;
    remote->context = engine_context_get();
    if (remote->context == NULL) {
        return task_set_error(FURROW_ESYSTEM, "no ZeroMQ context: %s", zmq_strerror(zmq_errno()));
    }
    status = open_sockets(engine);
    if (status != FURROW_OK) {
        bool url = errno == EINVAL || errno == ENODEV || errno == EPROTONOSUPPORT;

        return task_set_error(url ? FURROW_EURL : status, "%s: %s", engine->base.url.address,
                              zmq_strerror(errno));
    }
    return FURROW_OK;
}

static void remote_send(struct engine *engine, struct wire_message *message) {
    struct remote *remote = remote_of(engine);

    /* What can't be sent now is sent again by the link when there is a connection. */
    if (remote->dealer != NULL) {
        (void)wire_zmq_send(remote->dealer, NULL, message);
        remote->look = true;
    }
    wire_message_unref(message);
}

/* ---------------------------------------------------------------- connections */

static void handle_monitor(struct engine *engine, uint16_t event) {
    struct remote *remote = remote_of(engine);
    uint32_t events;
    size_t size = sizeof events;

    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        /* Lets the socket see its new connection, which it would otherwise do some time later. */
        (void)zmq_getsockopt(remote->dealer, ZMQ_EVENTS, &events, &size);
        remote->look = true;
        engine_step(engine, &(struct client_event){.type = CLIENT_RECONNECTED});
        break;
    case ZMQ_EVENT_DISCONNECTED:
        base_log(&engine->base.log, BASE_LOG_INFO, "the connection to %s is broken",
                 engine->base.url.address);
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        base_log(&engine->base.log, BASE_LOG_ERROR, "%s refuses our key", engine->base.url.address);
        break;
    default:
        base_log(&engine->base.log, BASE_LOG_WARN, "no ZeroMQ handshake with %s",
                 engine->base.url.address);
        break;
    }
}

/* A monitor's message is its event's number, with a value behind it, and the address. */
static bool receive_monitor(struct engine *engine) {
    struct remote *remote = remote_of(engine);
    uint16_t event = 0;
    zmq_msg_t frame;
    bool more = true;
    unsigned count = 0;

    while (more) {
        (void)zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, remote->monitor, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(&frame);
            return false;
        }
        if (count++ == 0 && zmq_msg_size(&frame) >= sizeof event) {
            memcpy(&event, zmq_msg_data(&frame), sizeof event);
        }
        more = zmq_msg_more(&frame) != 0;
        (void)zmq_msg_close(&frame);
    }
    handle_monitor(engine, event);
    return true;
}

static void remote_reconnect(struct engine *engine) {
    struct remote *remote = remote_of(engine);

    base_log(&engine->base.log, BASE_LOG_WARN, "%s is silent: connecting anew",
             engine->base.url.address);
    close_sockets(remote);
    if (open_sockets(engine) != FURROW_OK) {
        base_log(&engine->base.log, BASE_LOG_ERROR, "%s: %s", engine->base.url.address,
                 zmq_strerror(errno));
    }
}

/* ------------------------------------------------------------------- messages */

static bool receive_one(struct engine *engine) {
    struct remote *remote = remote_of(engine);
    struct wire_message *message;

    switch (wire_zmq_recv(remote->dealer, NULL, &message)) {
    case WIRE_ZMQ_OK:
        engine_step(engine, &(struct client_event){.type = CLIENT_RECEIVE, .message = message});
        wire_message_unref(message);
        return true;
    case WIRE_ZMQ_MALFORMED:
    case WIRE_ZMQ_NOMEM:
        base_log(&engine->base.log, BASE_LOG_WARN, "a message from %s is lost: %s",
                 engine->base.url.address, "malformed, or no memory for it");
        return true;
    case WIRE_ZMQ_AGAIN:
    case WIRE_ZMQ_CLOSED:
        break;
    }
    remote->look = false;
    return false;
}

static bool remote_receive(struct engine *engine) {
    struct remote *remote = remote_of(engine);
    bool any = false;

    while (remote->look_monitor && remote->monitor != NULL) {
        remote->look_monitor = receive_monitor(engine);
        any |= remote->look_monitor;
    }
    for (unsigned i = 0; i < RECEIVE_MAX && remote->look && remote->dealer != NULL; i++) {
        any |= receive_one(engine);
    }
    return any;
}

static void remote_flush(struct engine *engine) {
    (void)engine;
}

static void remote_tick(struct engine *engine) {
    (void)engine;
}

static uint64_t remote_deadline(const struct engine *engine) {
    (void)engine;
    return UINT64_MAX;
}

static unsigned remote_poll_fds(struct engine *engine, struct pollfd *fds) {
    const struct remote *remote = remote_of(engine);

    if (remote->dealer == NULL) {
        return 0;
    }
    fds[0] = (struct pollfd){.fd = remote->dealer_fd, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = remote->monitor_fd, .events = POLLIN};
    return 2;
}

static void remote_polled(struct engine *engine, const struct pollfd *fds) {
    struct remote *remote = remote_of(engine);

    if (remote->dealer != NULL) {
        remote->look |= fds[0].revents != 0;
        remote->look_monitor |= fds[1].revents != 0;
    }
}

static void remote_leave(struct engine *engine) {
    engine_step(engine, &(struct client_event){.type = CLIENT_LEAVE});
}

static void remote_signal(struct engine *engine, int signal_number) {
    (void)engine; /* the workers are not ours */
    (void)signal_number;
}

static int remote_workers_alive(const struct engine *engine) {
    (void)engine;
    return -1;
}

static void remote_free(struct engine *engine) {
    struct remote *remote = remote_of(engine);

    if (remote == NULL) {
        return;
    }
    close_sockets(remote);
    if (remote->context != NULL) {
        engine_context_put();
    }
    free(remote);
}

const struct engine_transport engine_remote = {
    .open = remote_open,
    .send = remote_send,
    .receive = remote_receive,
    .flush = remote_flush,
    .tick = remote_tick,
    .deadline = remote_deadline,
    .poll_fds = remote_poll_fds,
    .polled = remote_polled,
    .reconnect = remote_reconnect,
    .leave = remote_leave,
    .signal = remote_signal,
    .workers_alive = remote_workers_alive,
    .free = remote_free,
};
