#include "libclient/engine_local.h"

#include <string.h>
#include <unistd.h>

#include "base/entropy.h"

/* A session as any other, so that the broker's core needs no second way to hear of deaths. */

bool engine_herald_init(struct engine_herald *herald, uint64_t now_ns) {
    uint64_t seed;

    if (!base_entropy(&herald->session, sizeof herald->session) ||
        !base_entropy(&seed, sizeof seed)) {
        return false;
    }
    link_dialer_init(&herald->dialer, now_ns, seed);
    return true;
}

void engine_herald_fini(struct engine_herald *herald) {
    link_dialer_fini(&herald->dialer);
}

static void say(struct engine *engine, struct wire_message *message) {
    if (message != NULL) {
        engine_queue_push(&engine_local_of(engine)->from_herald, message);
    }
}

static void say_marked(struct engine *engine, struct wire_message *message) {
    if (message != NULL) {
        link_mark(&engine_local_of(engine)->herald.dialer.link, engine->now_ns, message);
        say(engine, message);
    }
}

static void say_hello(struct engine *engine) {
    const struct engine_herald *herald = &engine_local_of(engine)->herald;
    struct wire_hello hello = {
        .version_min = WIRE_VERSION_MIN,
        .version_max = WIRE_VERSION_MAX,
        .role = WIRE_SUPERVISOR,
        .session = herald->session,
        .epoch = herald->dialer.epoch,
        .received = herald->dialer.link.received,
        .name = {"supervisor", strlen("supervisor")},
        .host = {engine->host, strlen(engine->host)},
        .pid = (uint64_t)getpid(),
    };

    say(engine, wire_hello_encode(&hello));
}

void engine_herald_tick(struct engine *engine) {
    struct link_dialer *dialer = &engine_local_of(engine)->herald.dialer;

    if (engine->now_ns < link_dialer_deadline(dialer)) {
        return;
    }
    switch (link_dialer_tick(dialer, engine->now_ns)) {
    case LINK_DO_NOTHING:
        break;
    case LINK_DO_HELLO:
        say_hello(engine);
        break;
    case LINK_DO_HEARTBEAT:
        say_marked(engine, wire_heartbeat_encode(dialer->link.sent));
        break;
    }
}

static void resend(struct engine *engine, uint32_t count) {
    struct link *link = &engine_local_of(engine)->herald.dialer.link;

    for (uint32_t i = 0; i < count; i++) {
        say(engine, wire_message_ref(link_kept_at(link, i)));
    }
}

static void handle_welcome(struct engine *engine, const struct wire_message *message) {
    struct link_dialer *dialer = &engine_local_of(engine)->herald.dialer;
    struct wire_welcome welcome;
    struct wire_fault fault;
    uint32_t count;

    if (wire_welcome_decode(message, &welcome, &fault)) {
        (void)link_dialer_welcomed(dialer, engine->now_ns, &welcome, &count);
        resend(engine, count);
    }
}

/* Nothing sequenced is meant for a supervisor; what comes is acknowledgements and the link's own. */
static void handle_accepted(struct engine *engine, const struct wire_message *message,
                            const struct wire_envelope *envelope) {
    struct link_dialer *dialer = &engine_local_of(engine)->herald.dialer;
    struct wire_fault fault;
    uint64_t received;
    uint32_t count;

    if (envelope->type != WIRE_RESUME || !wire_resume_decode(message, &received, &fault)) {
        return;
    }
    if (link_resend_from(&dialer->link, engine->now_ns, received, &count)) {
        resend(engine, count);
    } else {
        link_dialer_lost(dialer, engine->now_ns);
    }
}

void engine_herald_receive(struct engine *engine, struct wire_message *message) {
    struct link_dialer *dialer = &engine_local_of(engine)->herald.dialer;
    struct wire_envelope envelope;
    struct wire_fault fault;

    if (!wire_open(message, &envelope, &fault)) {
        return;
    }
    if (envelope.type == WIRE_WELCOME) {
        handle_welcome(engine, message);
    } else if (envelope.type == WIRE_UNKNOWN) {
        link_dialer_lost(dialer, engine->now_ns);
    } else if (dialer->state == LINK_UP) {
        switch (
            link_accept(&dialer->link, engine->now_ns, &envelope, wire_message_bytes(message))) {
        case LINK_DELIVER:
            handle_accepted(engine, message, &envelope);
            break;
        case LINK_BROKEN:
            link_dialer_lost(dialer, engine->now_ns);
            break;
        case LINK_DUPLICATE:
        case LINK_GAP:
            break;
        }
    }
}

void engine_herald_died(struct engine *engine, const struct worker_supervisor_event *event) {
    struct link_dialer *dialer = &engine_local_of(engine)->herald.dialer;
    const struct wire_child_died died = {
        .session = event->session,
        .pid = (uint64_t)event->pid,
        .signal = (uint32_t)event->signal,
        .exit_code = (uint32_t)event->exit_code,
        .host = {engine->host, strlen(engine->host)},
        .expected = event->expected,
        .running = event->running,
        .running_count = event->running_count,
    };
    struct wire_message *message = NULL;

    /* Without it the broker finds out by the worker's silence, only later. */
    if (dialer->state == LINK_UP) {
        message = wire_child_died_encode(&died);
    }
    if (message != NULL && link_post(&dialer->link, engine->now_ns, message)) {
        say(engine, message);
    } else {
        wire_message_unref(message);
        base_log(&engine->base.log, BASE_LOG_ERROR,
                 "out of memory: the death of worker %d was not told", (int)event->pid);
    }
}
