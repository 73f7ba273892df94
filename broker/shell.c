#include "broker/shell.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "base/blocks.h"
#include "base/clock.h"
#include "base/wake.h"
#include "broker/zap.h"
#include "wire/zmq.h"

/* Messages that are taken in before the core sends what has formed. */
#define RECEIVE_MAX 64
/* Likewise, those at the door that are let in or not. */
#define ZAP_MAX 32
/* A busy broker looks at its timers this often. */
#define TICK_NS (100 * BASE_CLOCK_NS_PER_MS)
/* A process that was stopped for that long reads for a while before it takes its own absence for the
 * silence of others. */
#define PAUSE_NS    BASE_CLOCK_NS_PER_S
#define CATCH_UP_NS (200 * BASE_CLOCK_NS_PER_MS)

/* When to publish again what somebody was just taking a copy of. */
#define RETRY_NS BASE_CLOCK_NS_PER_MS

/* Memory goes back to the system once it has been that much, and little of it for that long. */
#define TRIM_BYTES (UINT64_C(64) << 20)
#define TRIM_NS    (1 * BASE_CLOCK_NS_PER_S)

#define ENDPOINT_BYTES 256

enum request { REQUEST_NONE, REQUEST_DRAIN, REQUEST_STOP };

struct broker_shell {
    struct broker_shell_options options;
    struct broker_core *core;
    struct base_blocks blocks; /* the core's records */
    void *context, *router;
    struct broker_zap zap;
    struct base_wake wake;
    atomic_int request;
    char (*endpoints)[ENDPOINT_BYTES];
    uint64_t now_ns, ticked_ns;
    uint64_t peak_bytes;   /* most memory since it was last given back */
    uint64_t trim_ns;      /* when to give it back */
    bool stirred;          /* the core has something to flush */
    uint64_t caught_up_ns; /* no tick before */
    bool draining, drained;
    uint64_t malformed;  /* messages that could not be one of ours */
    uint64_t publish_ns; /* not before; and then, if `unpublished` */
    bool unpublished;    /* something has happened since the last time */
};

/* ------------------------------------------------------------------- opening */

/* The door is watched before it is opened: ZeroMQ lets everybody in while nobody answers for it. */
static int guard(struct broker_shell *shell) {
    int error;

    if (shell->options.curve == NULL) {
        return 0;
    }
    error = broker_zap_open(&shell->zap, shell->context);
    return error != 0 ? error : wire_curve_serve(shell->router, shell->options.curve);
}

static bool listen_all(struct broker_shell *shell, char *error, size_t error_bytes) {
    for (size_t i = 0; i < shell->options.endpoint_count; i++) {
        const char *endpoint = shell->options.endpoints[i];
        int failed = wire_zmq_bind(shell->router, endpoint, shell->endpoints[i], ENDPOINT_BYTES);

        if (failed != 0) {
            snprintf(error, error_bytes, "can't listen on %s: %s", endpoint, zmq_strerror(failed));
            return false;
        }
    }
    return true;
}

struct broker_shell *broker_shell_open(const struct broker_shell_options *options, char *error,
                                       size_t error_bytes) {
    struct broker_shell *shell = calloc(1, sizeof *shell);
    int failed;

    BASE_ASSERT((options->curve != NULL) == (options->authorized != NULL));

    if (shell == NULL) {
        snprintf(error, error_bytes, "no memory");
        return NULL;
    }
    shell->options = *options;
    shell->options.config.authenticate = options->curve != NULL;
    shell->wake.fd = -1;
    shell->now_ns = base_clock_ns();
    atomic_init(&shell->request, REQUEST_NONE);
    snprintf(error, error_bytes, "no memory");
    shell->endpoints = calloc(options->endpoint_count, sizeof *shell->endpoints);
    base_blocks_init(&shell->blocks);
    shell->options.config.memory = &shell->blocks.memory;
    shell->core = broker_new(&shell->options.config, shell->now_ns);
    shell->context = zmq_ctx_new();
    if (shell->endpoints == NULL || shell->core == NULL || shell->context == NULL) {
        goto failed;
    }
    if (base_wake_open(&shell->wake) != 0 ||
        (shell->router = wire_zmq_router(shell->context)) == NULL) {
        snprintf(error, error_bytes, "no socket: %s", zmq_strerror(errno));
        goto failed;
    }
    failed = guard(shell);
    if (failed != 0) {
        snprintf(error, error_bytes, "no keys for the socket: %s", zmq_strerror(failed));
        goto failed;
    }
    if (!listen_all(shell, error, error_bytes)) {
        goto failed;
    }
    shell->options.curve = NULL; /* it was the caller's for the call */
    error[0] = '\0';
    return shell;

failed:
    shell->options.authorized = NULL;
    broker_shell_close(shell);
    return NULL;
}

/* ZeroMQ leaves the files of ipc endpoints behind. */
static void remove_files(const struct broker_shell *shell) {
    static const char scheme[] = "ipc://";

    for (size_t i = 0; i < shell->options.endpoint_count; i++) {
        const char *endpoint = shell->endpoints[i];

        if (strncmp(endpoint, scheme, sizeof scheme - 1) == 0 &&
            endpoint[sizeof scheme - 1] == '/') {
            (void)unlink(endpoint + sizeof scheme - 1);
        }
    }
}

void broker_shell_close(struct broker_shell *shell) {
    if (shell == NULL) {
        return;
    }
    broker_free(shell->core);
    base_blocks_fini(&shell->blocks);
    if (shell->router != NULL) {
        remove_files(shell);
        zmq_close(shell->router);
    }
    broker_zap_close(&shell->zap);
    broker_authorized_free(shell->options.authorized);
    if (shell->context != NULL) {
        while (zmq_ctx_term(shell->context) != 0 && errno == EINTR) {
        }
    }
    base_wake_close(&shell->wake);
    free(shell->endpoints);
    free(shell);
}

const char *broker_shell_endpoint(const struct broker_shell *shell, size_t i) {
    BASE_ASSERT(i < shell->options.endpoint_count);
    return shell->endpoints[i];
}

/* ------------------------------------------------------------------ requests */

static void request(struct broker_shell *shell, int wanted) {
    int had = atomic_load(&shell->request);

    while (had < wanted && !atomic_compare_exchange_weak(&shell->request, &had, wanted)) {
    }
    base_wake_signal(&shell->wake);
}

void broker_shell_drain(struct broker_shell *shell) {
    request(shell, REQUEST_DRAIN);
}

void broker_shell_stop(struct broker_shell *shell) {
    request(shell, REQUEST_STOP);
}

/* ------------------------------------------------------------------ the keys */

static bool same_identity(const struct broker_identity *a, const struct broker_identity *b) {
    return a->rights == b->rights && a->tasks_max == b->tasks_max && a->bytes_max == b->bytes_max;
}

static void carry_out(struct broker_shell *shell);

void broker_shell_authorize(struct broker_shell *shell, struct broker_authorized *authorized) {
    struct broker_authorized *old = shell->options.authorized;

    BASE_ASSERT(old != NULL && authorized != NULL);
    shell->options.authorized = authorized;
    for (size_t i = 0; i < broker_authorized_count(old); i++) {
        const struct broker_authorized_key *was = broker_authorized_at(old, i);
        const struct broker_authorized_key *is =
            broker_authorized_find(authorized, was->identity.key);
        struct broker_identity now = is != NULL ? is->identity : was->identity;

        if (is == NULL) {
            now.rights = 0;
        }
        if (!same_identity(&was->identity, &now)) {
            broker_step(shell->core, shell->now_ns,
                        &(struct broker_event){.type = BROKER_AUTHORIZE, .identity = &now});
            carry_out(shell);
            shell->stirred = true;
        }
    }
    broker_authorized_free(old);
}

/* ---------------------------------------------------------------- the core */

static void carry_out(struct broker_shell *shell) {
    size_t count;
    const struct broker_action *actions = broker_actions(shell->core, &count);

    for (size_t i = 0; i < count; i++) {
        const struct broker_action *action = &actions[i];

        switch (action->type) {
        case BROKER_SEND:
            /* What can't be sent for lack of memory the link sends again. */
            (void)wire_zmq_send(shell->router, &action->to, action->message);
            wire_message_unref(action->message);
            break;
        case BROKER_FORGET:
            break;
        case BROKER_LOG:
            base_log_event(shell->options.log, action->warn ? BASE_LOG_WARN : BASE_LOG_INFO,
                           action->text, action->fields);
            break;
        case BROKER_DRAINED:
            shell->drained = true;
            break;
        }
    }
}

static void step(struct broker_shell *shell, enum broker_event_type type) {
    broker_step(shell->core, shell->now_ns, &(struct broker_event){.type = type});
    carry_out(shell);
}

/* Whom ZAP has let in under that User-Id, and what the list says of it by now. */
static const struct broker_identity *identify(const struct broker_shell *shell, const char *user,
                                              struct broker_identity *unknown) {
    const struct broker_authorized_key *key;

    if (!wire_key_decode(user, strlen(user), unknown->key)) {
        return NULL;
    }
    key = broker_authorized_find(shell->options.authorized, unknown->key);
    return key != NULL ? &key->identity : unknown;
}

/* Takes in one message. False: there is none. */
static bool receive(struct broker_shell *shell, bool *closed) {
    struct broker_identity unknown = {.rights = 0};
    struct broker_event event = {.type = BROKER_RECEIVE};
    bool open = shell->options.authorized == NULL;
    char user[WIRE_ZMQ_USER_BYTES];
    struct wire_message *message;

    switch (open ? wire_zmq_recv(shell->router, &event.from, &message)
                 : wire_zmq_recv_user(shell->router, &event.from, user, &message)) {
    case WIRE_ZMQ_OK:
        event.message = message;
        event.identity = open ? NULL : identify(shell, user, &unknown);
        broker_step(shell->core, shell->now_ns, &event);
        wire_message_unref(message);
        carry_out(shell);
        shell->stirred = true;
        return true;
    case WIRE_ZMQ_MALFORMED:
        if (shell->malformed++ == 0) {
            base_log(shell->options.log, BASE_LOG_WARN,
                     "a peer sends what can't be a message; more of that will not be reported");
        }
        return true;
    case WIRE_ZMQ_NOMEM:
        base_log(shell->options.log, BASE_LOG_WARN, "no memory for a message: it will come again");
        return true;
    case WIRE_ZMQ_AGAIN:
        return false;
    case WIRE_ZMQ_CLOSED:
        break;
    }
    *closed = true;
    return false;
}

/* Takes in what is there, up to a limit: whoever has sent little should not wait until all of those
 * who have sent much is in. Returns whether there may be more. */
static bool receive_some(struct broker_shell *shell, bool *closed) {
    for (int i = 0; i < RECEIVE_MAX && !broker_wants_flush(shell->core); i++) {
        if (!receive(shell, closed)) {
            return false;
        }
    }
    return true;
}

/* Answers some of those at the door. Returns whether there may be more. */
static bool let_in(struct broker_shell *shell) {
    return shell->zap.socket != NULL &&
           broker_zap_serve(&shell->zap, shell->options.authorized, ZAP_MAX, shell->now_ns,
                            shell->options.log);
}

static void tick(struct broker_shell *shell, bool more) {
    if (shell->now_ns < broker_deadline(shell->core) || shell->now_ns < shell->caught_up_ns) {
        return;
    }
    /* What has come and was not read yet may say that a peer is not silent. */
    if (more && shell->now_ns - shell->ticked_ns < TICK_NS) {
        return;
    }
    shell->ticked_ns = shell->now_ns;
    step(shell, BROKER_TICK);
    shell->stirred = true;
}

/* ------------------------------------------------------------------- metrics */

/* Something has happened: it is published now, or when it is time to. */
static void publish(struct broker_shell *shell) {
    if (shell->options.metrics != NULL && shell->now_ns >= shell->publish_ns) {
        shell->unpublished =
            !broker_metrics_publish(shell->options.metrics, shell->core, shell->malformed);
        if (!shell->unpublished) {
            shell->publish_ns = shell->now_ns + BROKER_METRICS_NS;
        }
    }
}

/* -------------------------------------------------------------------- sleep */

/* After a peak the allocator keeps what was freed. Some time after it, when the core has freed it, it
 * goes back to the system. */
static void give_memory_back(struct broker_shell *shell) {
    struct broker_stats stats;

    broker_get_stats(shell->core, &stats);
    if (stats.memory_bytes > shell->peak_bytes / 4) {
        shell->trim_ns = shell->now_ns + TRIM_NS;
    }
    if (stats.memory_bytes > shell->peak_bytes) {
        shell->peak_bytes = stats.memory_bytes;
    } else if (shell->peak_bytes > TRIM_BYTES && shell->now_ns >= shell->trim_ns) {
        shell->peak_bytes = stats.memory_bytes;
        (void)malloc_trim(0);
    }
}

/* awake_ns: when this thread last did something, or meant to wake up. */
static void take_time(struct broker_shell *shell, uint64_t awake_ns) {
    shell->now_ns = base_clock_ns();
    if (shell->now_ns > awake_ns && shell->now_ns - awake_ns > PAUSE_NS) {
        shell->caught_up_ns = shell->now_ns + CATCH_UP_NS;
    }
}

/* Sleeps until there is something to do. False: the socket is gone. */
static bool wait(struct broker_shell *shell) {
    zmq_pollitem_t items[4] = {
        {.socket = shell->router, .events = ZMQ_POLLIN},
        {.fd = base_wake_fd(&shell->wake), .events = ZMQ_POLLIN},
    };
    const zmq_pollitem_t *watched = NULL;
    int count = 2, ready = 0;
    uint64_t deadline_ns = broker_deadline(shell->core);

    if (shell->options.watch_fd >= 0) {
        watched = &items[count];
        items[count++] = (zmq_pollitem_t){.fd = shell->options.watch_fd, .events = ZMQ_POLLIN};
    }
    if (shell->zap.socket != NULL) {
        items[count++] = (zmq_pollitem_t){.socket = shell->zap.socket, .events = ZMQ_POLLIN};
    }
    if (deadline_ns < shell->caught_up_ns) {
        deadline_ns = shell->caught_up_ns;
    }
    if (shell->unpublished && shell->publish_ns < deadline_ns) {
        deadline_ns =
            shell->publish_ns > shell->now_ns ? shell->publish_ns : shell->now_ns + RETRY_NS;
    }
    give_memory_back(shell);
    base_wake_prepare(&shell->wake);
    if (atomic_load(&shell->request) <= (shell->draining ? REQUEST_DRAIN : REQUEST_NONE)) {
        ready = zmq_poll(items, count, base_clock_poll_ms(deadline_ns, base_clock_ns()));
    }
    base_wake_finish(&shell->wake);
    take_time(shell, deadline_ns);
    if (ready < 0) {
        return errno == EINTR;
    }
    if (ready > 0 && watched != NULL && watched->revents != 0) {
        shell->options.watched(shell->options.user, shell);
    }
    return true;
}

/* A busy loop doesn't come to sleep, but signals must be seen all the same. */
static void look_at_watched(struct broker_shell *shell) {
    zmq_pollitem_t item = {.fd = shell->options.watch_fd, .events = ZMQ_POLLIN};

    if (item.fd >= 0 && zmq_poll(&item, 1, 0) > 0) {
        shell->options.watched(shell->options.user, shell);
    }
}

static void begin_drain(struct broker_shell *shell) {
    shell->draining = true;
    step(shell, BROKER_DRAIN);
    shell->stirred = true;
}

bool broker_shell_run(struct broker_shell *shell) {
    uint64_t looked_ns = shell->now_ns = base_clock_ns();
    bool closed = false;

    while (!closed && !shell->drained) {
        int wanted = atomic_load(&shell->request);
        bool more;

        if (wanted == REQUEST_STOP) {
            break;
        }
        if (wanted == REQUEST_DRAIN && !shell->draining) {
            begin_drain(shell);
        }
        take_time(shell, shell->now_ns);
        more = let_in(shell);
        more = receive_some(shell, &closed) || more;
        tick(shell, more);
        if (shell->stirred) {
            shell->stirred = false;
            step(shell, BROKER_FLUSH);
            shell->unpublished = shell->options.metrics != NULL;
        }
        if (shell->unpublished) {
            publish(shell);
        }
        if (!more && !shell->drained) {
            closed = closed || !wait(shell);
        } else if (shell->now_ns - looked_ns > TICK_NS) {
            looked_ns = shell->now_ns;
            look_at_watched(shell);
        }
    }
    return shell->drained;
}
