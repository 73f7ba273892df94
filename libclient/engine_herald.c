#include "libclient/engine_local.h"

#include <string.h>
#include <unistd.h>

#include "base/entropy.h"
#include "wire/dialer.h"

/* A session as any other, so that the broker's core needs no second way to hear of deaths. */

static bool reserve(void *engine, uint32_t count) {
    (void)engine;
    (void)count;
    return true;
}

static void say(void *user, struct wire_message *message) {
    struct engine *engine = user;

    engine_queue_push(&engine_local_of(engine)->from_herald, message);
}

static const struct link_owner link_owner = {
    .role = "a supervisor",
    .reserve = reserve,
    .send = say,
};

bool engine_herald_init(struct engine *engine, uint64_t now_ns) {
    struct engine_herald *herald = &engine_local_of(engine)->herald;
    uint64_t seed;

    if (!base_entropy(&herald->session, sizeof herald->session) ||
        !base_entropy(&seed, sizeof seed)) {
        return false;
    }
    link_dialer_init(&herald->dialer, now_ns, seed);
    link_dialer_own(&herald->dialer, &link_owner, engine, now_ns);
    return true;
}

void engine_herald_fini(struct engine_herald *herald) {
    link_dialer_fini(&herald->dialer);
}

static void say_hello(struct engine *engine) {
    struct engine_herald *herald = &engine_local_of(engine)->herald;
    struct wire_hello hello = {
        .role = WIRE_SUPERVISOR,
        .session = herald->session,
        .name = {"supervisor", strlen("supervisor")},
        .host = {engine->host, strlen(engine->host)},
        .pid = (uint64_t)getpid(),
    };

    link_dialer_hello(&herald->dialer, &hello);
}

void engine_herald_tick(struct engine *engine) {
    struct link_dialer *dialer = &engine_local_of(engine)->herald.dialer;
    bool reconnect; /* as there is no connection, no other one is of use */

    if (engine->now_ns >= link_dialer_deadline(dialer) &&
        link_dialer_go_on(dialer, engine->now_ns, &reconnect) == LINK_DO_HELLO) {
        say_hello(engine);
    }
}

/* Nothing is meant for this supervisor: whoever has the executor ends its workers. */
void engine_herald_receive(struct engine *engine, struct wire_message *message) {
    struct link_dialer *dialer = &engine_local_of(engine)->herald.dialer;
    struct link_heard heard;

    link_dialer_receive(dialer, engine->now_ns, message, &heard);
    if (heard.type == LINK_HEARD_WELCOME) {
        link_dialer_resend(dialer, heard.resend);
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
