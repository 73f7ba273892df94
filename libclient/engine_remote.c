#include "libclient/engine.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "task/status.h"
#include "wire/curve.h"
#include "wire/zmq.h"

/* A broker at an address: a DEALER socket, and another that tells of its connections. */

/* What engine_watch is told about the descriptors. */
enum { MARK_DEALER = 1, MARK_MONITOR };

/* Messages taken in at a time. */
#define RECEIVE_MAX 64u

#define MONITORED (WIRE_HANDSHAKE_EVENTS | ZMQ_EVENT_DISCONNECTED)

struct remote {
    void *context;
    void *dealer, *monitor;
    int dealer_fd, monitor_fd;
    bool watched;
    /* Whether there may be something to receive: ZeroMQ's descriptors only tell of changes. */
    bool look, look_monitor;
    struct wire_curve curve; /* for each new connection; empty if there are no keys */
    struct wire_handshake handshake;
};

static struct remote *remote_of(const struct engine *engine) {
    return engine->own;
}

/* The descriptors are ZeroMQ's, which closes them some time later. The monitoring ends first: ZeroMQ's I/O thread, which all executors share, would block for ever in
 * sending an event to a monitor that is closed. */
static void close_sockets(struct engine *engine) {
    struct remote *remote = remote_of(engine);

    if (remote->watched) {
        engine_unwatch(engine, remote->dealer_fd);
        engine_unwatch(engine, remote->monitor_fd);
        remote->watched = false;
    }
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

static bool watch_sockets(struct engine *engine) {
    struct remote *remote = remote_of(engine);

    if (!engine_watch(engine, remote->dealer_fd, MARK_DEALER)) {
        return false;
    }
    if (!engine_watch(engine, remote->monitor_fd, MARK_MONITOR)) {
        int saved = errno;

        engine_unwatch(engine, remote->dealer_fd);
        errno = saved;
        return false;
    }
    remote->watched = true;
    return true;
}

static bool set_keys(const struct remote *remote) {
    int error = remote->handshake.keyed ? wire_curve_dial(remote->dealer, &remote->curve) : 0;

    errno = error;
    return error == 0;
}

/* What was not said in the URL or the options the environment may. */
static const char *said_or(const char *said, const char *variable) {
    const char *value = said != NULL ? said : getenv(variable);

    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* Reads the keys, if any are named. A key in the environment is for all that connect to brokers. */
static furrow_status load_keys(struct engine *engine) {
    struct remote *remote = remote_of(engine);
    const char *key = said_or(engine->base.options.key, "FURROW_KEY");
    const char *server = said_or(engine->base.options.server_key, "FURROW_SERVER_KEY");
    char error[512];

    if (key == NULL && server == NULL) {
        return FURROW_OK;
    }
    if (key == NULL || server == NULL) {
        return task_set_error(FURROW_EAUTH, "%s",
                              key == NULL
                                  ? "the broker's key is given (server), but none of our own (key)"
                                  : "a key is given, but not the broker's (server)");
    }
    if (!wire_curve_load(&remote->curve, key, server, error, sizeof error)) {
        return task_set_error(FURROW_EAUTH, "%s", error);
    }
    remote->handshake.keyed = true;
    return FURROW_OK;
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
        zmq_connect(remote->monitor, address) == 0 && set_keys(remote) &&
        wire_zmq_connect(remote->dealer, engine->base.url.address) == 0 &&
        fd_of(remote->dealer, &remote->dealer_fd) == FURROW_OK &&
        fd_of(remote->monitor, &remote->monitor_fd) == FURROW_OK && watch_sockets(engine)) {
        remote->look = true;
        remote->look_monitor = true;
        return FURROW_OK;
    }
    saved = zmq_errno();
    close_sockets(engine);
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
    status = engine_initializer_open(engine);
    if (status != FURROW_OK) {
        return status;
    }
    remote->context = engine_context_get();
    if (remote->context == NULL) {
        return task_set_error(FURROW_ESYSTEM, "no ZeroMQ context: %s", zmq_strerror(zmq_errno()));
    }
    status = load_keys(engine);
    if (status != FURROW_OK) {
        return status;
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

/* There will be no connection, ever: what is there fails, rather than to wait in silence. */
static void give_up(struct engine *engine, const char *why) {
    char text[ENGINE_TEXT_BYTES];

    (void)snprintf(text, sizeof text, "%s: %s", engine->base.url.address, why);
    base_log(&engine->base.log, BASE_LOG_ERROR, "%s", text);
    close_sockets(engine);
    engine_break_auth(engine, text);
}

static void handle_monitor(struct engine *engine, unsigned event, uint32_t value) {
    struct remote *remote = remote_of(engine);
    const char *hopeless = wire_handshake_event(&remote->handshake, event, value, engine->now_ns);
    uint32_t events;
    size_t size = sizeof events;

    if (hopeless != NULL) {
        give_up(engine, hopeless);
    } else if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        /* Lets the socket see its new connection, which it would otherwise do some time later. */
        (void)zmq_getsockopt(remote->dealer, ZMQ_EVENTS, &events, &size);
        remote->look = true;
        engine_step(engine, &(struct client_event){.type = CLIENT_RECONNECTED});
    } else if (event == ZMQ_EVENT_DISCONNECTED) {
        base_log(&engine->base.log, BASE_LOG_INFO, "the connection to %s is broken",
                 engine->base.url.address);
    } else {
        base_log(&engine->base.log, BASE_LOG_WARN, "no ZeroMQ handshake with %s",
                 engine->base.url.address);
    }
}

static bool receive_monitor(struct engine *engine) {
    unsigned event;
    uint32_t value;

    if (!wire_monitor_receive(remote_of(engine)->monitor, &event, &value)) {
        return false;
    }
    handle_monitor(engine, event, value);
    return true;
}

static void remote_reconnect(struct engine *engine) {
    if (engine->break_due || engine->broken) {
        return;
    }
    base_log(&engine->base.log, BASE_LOG_WARN, "%s is silent: connecting anew",
             engine->base.url.address);
    close_sockets(engine);
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

    while (remote->look_monitor && remote->monitor != NULL) { /* giving up closes it */
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

static void remote_ready(struct engine *engine, unsigned mark) {
    struct remote *remote = remote_of(engine);

    remote->look |= mark == MARK_DEALER;
    remote->look_monitor |= mark == MARK_MONITOR;
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
    close_sockets(engine);
    if (remote->context != NULL) {
        engine_context_put();
    }
    wire_curve_wipe(&remote->curve);
    free(remote);
}

const struct engine_transport engine_remote = {
    .open = remote_open,
    .send = remote_send,
    .receive = remote_receive,
    .flush = remote_flush,
    .tick = remote_tick,
    .deadline = remote_deadline,
    .ready = remote_ready,
    .reconnect = remote_reconnect,
    .leave = remote_leave,
    .signal = remote_signal,
    .workers_alive = remote_workers_alive,
    .free = remote_free,
};
