#include "worker/reporter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "wire/dialer.h"

/* When to try again what there was no memory for. */
#define RETRY_NS UINT64_C(10000000)

/* A message that the broker does not have yet. */
struct pending {
    struct wire_message *message;
    uint64_t seq; /* 0: not posted in this stream */
    bool bye;     /* means nothing to another broker: it is said anew */
};

struct worker_reporter {
    struct worker_reporter_config config;
    struct link_dialer dialer;
    uint64_t retry_ns; /* after lack of memory; UINT64_MAX: no need */
    bool reachable, wants_reconnect, leaving, left;
    bool stopped;            /* STOP has come */
    struct pending *pending; /* the oldest first; those that are posted come before the others */
    uint32_t pending_count, pending_room;
    struct wire_message **sends;
    uint32_t send_at, send_count, send_room;
    char text[256];
};

static const struct link_owner link_owner;

struct worker_reporter *worker_reporter_new(const struct worker_reporter_config *config,
                                            uint64_t now_ns) {
    struct worker_reporter *reporter = calloc(1, sizeof *reporter);

    if (reporter != NULL) {
        reporter->config = *config;
        reporter->retry_ns = UINT64_MAX;
        link_dialer_init(&reporter->dialer, now_ns, config->seed);
        link_dialer_own(&reporter->dialer, &link_owner, reporter, now_ns);
    }
    return reporter;
}

void worker_reporter_free(struct worker_reporter *reporter) {
    if (reporter == NULL) {
        return;
    }
    for (uint32_t i = 0; i < reporter->pending_count; i++) {
        wire_message_unref(reporter->pending[i].message);
    }
    for (uint32_t i = reporter->send_at; i < reporter->send_count; i++) {
        wire_message_unref(reporter->sends[i]);
    }
    link_dialer_fini(&reporter->dialer);
    free(reporter->pending);
    free(reporter->sends);
    free(reporter);
}

/* ---- what goes out ---- */

static bool up(const struct worker_reporter *reporter) {
    return reporter->dialer.state == LINK_UP;
}

static bool send_reserve(void *user, uint32_t count) {
    struct worker_reporter *reporter = user;
    uint32_t room = reporter->send_room == 0 ? 16 : reporter->send_room;
    struct wire_message **sends;

    if (reporter->send_at == reporter->send_count) {
        reporter->send_at = reporter->send_count = 0;
    }
    while (room - reporter->send_count < count) {
        room *= 2;
    }
    if (room == reporter->send_room) {
        return true;
    }
    sends = realloc(reporter->sends, room * sizeof(struct wire_message *));
    if (sends == NULL) {
        return false;
    }
    reporter->sends = sends;
    reporter->send_room = room;
    return true;
}

static void send_later(void *user, struct wire_message *message) {
    struct worker_reporter *reporter = user;

    BASE_ASSERT(reporter->send_count < reporter->send_room);
    reporter->sends[reporter->send_count++] = message;
}

static const struct link_owner link_owner = {
    .role = "a supervisor",
    .reserve = send_reserve,
    .send = send_later,
};

static void say_hello(struct worker_reporter *reporter) {
    const struct worker_reporter_config *config = &reporter->config;
    struct wire_hello hello = {
        .role = WIRE_SUPERVISOR,
        .session = config->session,
        .name = {config->name, strlen(config->name)},
        .host = {config->host, strlen(config->host)},
        .pid = (uint64_t)config->pid,
    };

    link_dialer_hello(&reporter->dialer, &hello);
}

static bool add_pending(struct worker_reporter *reporter, struct wire_message *message, bool bye) {
    if (message != NULL && reporter->pending_count == reporter->pending_room) {
        uint32_t room = reporter->pending_room == 0 ? 16 : reporter->pending_room * 2;
        struct pending *pending = realloc(reporter->pending, room * sizeof *pending);

        if (pending == NULL) {
            wire_message_unref(message);
            return false;
        }
        reporter->pending = pending;
        reporter->pending_room = room;
    }
    if (message == NULL) {
        return false;
    }
    reporter->pending[reporter->pending_count++] = (struct pending){message, 0, bye};
    return true;
}

bool worker_reporter_died(struct worker_reporter *reporter, const struct wire_child_died *died) {
    return add_pending(reporter, wire_child_died_encode(died), false);
}

/* Forgets what is acknowledged. */
static void settle(struct worker_reporter *reporter) {
    uint32_t gone = 0;

    while (gone < reporter->pending_count && reporter->pending[gone].seq != 0 &&
           reporter->pending[gone].seq <= reporter->dialer.link.acknowledged) {
        reporter->left = reporter->left || reporter->pending[gone].bye;
        wire_message_unref(reporter->pending[gone].message);
        gone++;
    }
    reporter->pending_count -= gone;
    if (gone > 0) {
        memmove(reporter->pending, reporter->pending + gone,
                reporter->pending_count * sizeof *reporter->pending);
    }
}

/* A broker that knows nothing of us hears again all that no broker has acknowledged. */
static void begin_anew(struct worker_reporter *reporter) {
    uint32_t kept = 0;

    for (uint32_t i = 0; i < reporter->pending_count; i++) {
        struct pending pending = reporter->pending[i];

        if (pending.bye) {
            wire_message_unref(pending.message);
        } else {
            pending.seq = 0;
            reporter->pending[kept++] = pending;
        }
    }
    reporter->pending_count = kept;
}

static bool says_bye(const struct worker_reporter *reporter) {
    return reporter->pending_count > 0 && reporter->pending[reporter->pending_count - 1].bye;
}

/* Posts what has not been. False: no memory. */
static bool post(struct worker_reporter *reporter, uint64_t now_ns) {
    struct link *link = &reporter->dialer.link;

    if (reporter->leaving && !says_bye(reporter) &&
        !add_pending(reporter, wire_plain_encode(WIRE_BYE), true)) {
        return false;
    }
    for (uint32_t i = 0; i < reporter->pending_count; i++) {
        struct pending *pending = &reporter->pending[i];

        if (pending->seq != 0) {
            continue;
        }
        if (!send_reserve(reporter, 1) || !link_post(link, now_ns, pending->message)) {
            return false;
        }
        pending->seq = link->sent;
        send_later(reporter, wire_message_ref(pending->message));
    }
    return true;
}

/* ---- what comes in ---- */

static void handle_reject(struct worker_reporter *reporter, const struct link_heard *heard) {
    (void)snprintf(reporter->text, sizeof reporter->text, "%s", heard->text);
    if (heard->final) {
        link_dialer_refused(&reporter->dialer);
    }
}

static void handle_message(struct worker_reporter *reporter, uint64_t now_ns,
                           const struct wire_message *message,
                           const struct wire_envelope *envelope) {
    struct wire_fault fault;

    if (envelope->type != WIRE_STOP) {
        link_dialer_misplaced(&reporter->dialer, now_ns, envelope->type);
    } else if (wire_plain_decode(message, WIRE_STOP, &fault)) {
        reporter->stopped = true;
    } else {
        link_dialer_reject(&reporter->dialer, now_ns, WIRE_STOP, &fault);
    }
}

void worker_reporter_receive(struct worker_reporter *reporter, uint64_t now_ns,
                             struct wire_message *message) {
    struct link_heard heard;

    link_dialer_receive(&reporter->dialer, now_ns, message, &heard);
    switch (heard.type) {
    case LINK_HEARD_NOTHING:
    case LINK_HEARD_NO_ROOM: /* there is always room */
        break;
    case LINK_HEARD_WELCOME:
        if (heard.anew) {
            begin_anew(reporter);
        }
        link_dialer_resend(&reporter->dialer, heard.resend);
        break;
    case LINK_HEARD_REJECT:
        handle_reject(reporter, &heard);
        break;
    case LINK_HEARD_MESSAGE:
        handle_message(reporter, now_ns, message, &heard.envelope);
        break;
    }
}

void worker_reporter_reconnected(struct worker_reporter *reporter, uint64_t now_ns) {
    reporter->reachable = true;
    link_dialer_lost(&reporter->dialer, now_ns);
}

void worker_reporter_leave(struct worker_reporter *reporter) {
    reporter->leaving = true;
}

/* ---- time ---- */

static void tick(struct worker_reporter *reporter, uint64_t now_ns) {
    bool reconnect;

    if (link_dialer_go_on(&reporter->dialer, now_ns, &reconnect) == LINK_DO_HELLO) {
        reporter->wants_reconnect = reporter->wants_reconnect || reconnect;
        say_hello(reporter);
    }
}

void worker_reporter_step(struct worker_reporter *reporter, uint64_t now_ns) {
    reporter->retry_ns = UINT64_MAX;
    settle(reporter);
    if (reporter->leaving && reporter->dialer.epoch == 0) {
        reporter->left = true;
    }
    if (reporter->left) {
        return;
    }
    if (reporter->reachable && now_ns >= link_dialer_deadline(&reporter->dialer)) {
        tick(reporter, now_ns);
    }
    if (up(reporter) && !post(reporter, now_ns)) {
        reporter->retry_ns = now_ns + RETRY_NS;
    }
    if (up(reporter) && link_ack_due(&reporter->dialer.link)) {
        link_dialer_heartbeat(&reporter->dialer, now_ns);
    }
}

uint64_t worker_reporter_deadline(const struct worker_reporter *reporter) {
    uint64_t dialer_ns = reporter->reachable ? link_dialer_deadline(&reporter->dialer) : UINT64_MAX;

    if (reporter->left) {
        return UINT64_MAX;
    }
    return dialer_ns < reporter->retry_ns ? dialer_ns : reporter->retry_ns;
}

struct wire_message *worker_reporter_take(struct worker_reporter *reporter) {
    return reporter->send_at < reporter->send_count ? reporter->sends[reporter->send_at++] : NULL;
}

bool worker_reporter_wants_reconnect(struct worker_reporter *reporter) {
    bool wants = reporter->wants_reconnect;

    reporter->wants_reconnect = false;
    return wants;
}

enum worker_reporter_state worker_reporter_state(const struct worker_reporter *reporter) {
    if (reporter->left) {
        return WORKER_REPORTER_LEFT;
    }
    if (reporter->dialer.state == LINK_REFUSED) {
        return WORKER_REPORTER_REFUSED;
    }
    return up(reporter) ? WORKER_REPORTER_UP : WORKER_REPORTER_WAITING;
}

bool worker_reporter_stopped(const struct worker_reporter *reporter) {
    return reporter->stopped;
}

const char *worker_reporter_text(const struct worker_reporter *reporter) {
    return reporter->text;
}
