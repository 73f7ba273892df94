/* The supervisors: a dialer each, children, and what is to be told of their deaths. A death is told
 * again in every new stream until the broker has it. */
#include "tests/sim/sim_private.h"

#include <stdlib.h>
#include <string.h>

static void send_and_unref(struct sim *sim, struct sim_supervisor *supervisor,
                           struct wire_message *message) {
    BASE_ASSERT(message != NULL);
    sim_endpoint_send(sim, &supervisor->end, message);
    wire_message_unref(message);
}

static uint64_t local(const struct sim *sim, const struct sim_supervisor *supervisor) {
    return sim_local(sim->now_ns, &supervisor->end);
}

static void say_hello(struct sim *sim, struct sim_supervisor *supervisor) {
    const struct wire_hello hello = {
        .version_min = WIRE_VERSION_MIN,
        .version_max = WIRE_VERSION_MAX,
        .role = WIRE_SUPERVISOR,
        .session = supervisor->end.session,
        .epoch = supervisor->dialer.epoch,
        .received = supervisor->dialer.link.received,
        .name = {supervisor->end.name, strlen(supervisor->end.name)},
        .host = {"worker-host", 11},
        .pid = supervisor->end.session.low,
    };

    send_and_unref(sim, supervisor, wire_hello_encode(&hello));
}

static void mark_and_send(struct sim *sim, struct sim_supervisor *supervisor,
                          struct wire_message *message) {
    BASE_ASSERT(message != NULL);
    link_mark(&supervisor->dialer.link, local(sim, supervisor), message);
    send_and_unref(sim, supervisor, message);
}

static void tell(struct sim *sim, struct sim_supervisor *supervisor, struct sim_death *death) {
    const struct wire_child_died died = {
        .session = death->session,
        .pid = death->pid,
        .signal = death->signal,
        .host = {"worker-host", 11},
        .expected = death->expected,
        .running = death->running,
        .running_count = death->running_count,
    };
    struct wire_message *message = wire_child_died_encode(&died);

    BASE_ASSERT(message != NULL);
    BASE_ASSERT(link_post(&supervisor->dialer.link, local(sim, supervisor), message));
    death->seq = supervisor->dialer.link.sent;
    send_and_unref(sim, supervisor, message);
}

static void tell_what_is_known(struct sim *sim, struct sim_supervisor *supervisor) {
    if (supervisor->dialer.state != LINK_UP) {
        return;
    }
    for (uint32_t i = 0; i < supervisor->deaths.count; i++) {
        struct sim_death *death = supervisor->deaths.items[i];

        if (death->seq != 0 && death->seq <= supervisor->dialer.link.acknowledged) {
            death->told = true;
        }
        if (death->known && !death->told && death->seq == 0) {
            tell(sim, supervisor, death);
        }
    }
}

static void plan_tick(struct sim *sim, struct sim_supervisor *supervisor) {
    sim_endpoint_deadline(sim, &supervisor->end, link_dialer_deadline(&supervisor->dialer));
}

static void tick(struct sim *sim, struct sim_event *event) {
    struct sim_supervisor *supervisor = BASE_CONTAINER_OF(event, struct sim_supervisor, end.tick);

    if (!supervisor->end.alive || supervisor->end.paused) {
        return;
    }
    sim_endpoint_ticked(sim, &supervisor->end);
    switch (link_dialer_tick(&supervisor->dialer, local(sim, supervisor))) {
    case LINK_DO_NOTHING:
        break;
    case LINK_DO_HELLO:
        say_hello(sim, supervisor);
        break;
    case LINK_DO_HEARTBEAT:
        mark_and_send(sim, supervisor, wire_heartbeat_encode(supervisor->dialer.link.sent));
        break;
    }
    tell_what_is_known(sim, supervisor);
    plan_tick(sim, supervisor);
}

/* It sends at once whatever it has to say: nothing waits for a FLUSH. */
static void flush(struct sim *sim, struct sim_event *event) {
    (void)sim;
    (void)event;
}

/* ------------------------------------------------------------------- messages */

static void handle_welcome(struct sim *sim, struct sim_supervisor *supervisor,
                           const struct wire_message *message) {
    struct wire_welcome welcome;
    struct wire_fault fault;
    uint32_t resend;

    if (!wire_welcome_decode(message, &welcome, &fault)) {
        sim_fail(sim, "malformed WELCOME: %s", fault.text);
        return;
    }
    if (link_dialer_welcomed(&supervisor->dialer, local(sim, supervisor), &welcome, &resend)) {
        for (uint32_t i = 0; i < supervisor->deaths.count; i++) {
            ((struct sim_death *)supervisor->deaths.items[i])->seq = 0;
        }
    }
    for (uint32_t i = 0; i < resend; i++) {
        sim_endpoint_send(sim, &supervisor->end, link_kept_at(&supervisor->dialer.link, i));
    }
}

static void handle_linked(struct sim *sim, struct sim_supervisor *supervisor,
                          const struct wire_envelope *envelope,
                          const struct wire_message *message) {
    struct link *link = &supervisor->dialer.link;
    struct wire_fault fault;
    uint64_t number;
    uint32_t resend;

    if (envelope->type == WIRE_HEARTBEAT && wire_heartbeat_decode(message, &number, &fault)) {
        (void)link_heard_sent(link, number);
    } else if (envelope->type == WIRE_RESUME && wire_resume_decode(message, &number, &fault)) {
        if (!link_resend_from(link, local(sim, supervisor), number, &resend)) {
            link_dialer_lost(&supervisor->dialer, local(sim, supervisor));
            return;
        }
        for (uint32_t i = 0; i < resend; i++) {
            sim_endpoint_send(sim, &supervisor->end, link_kept_at(link, i));
        }
    } else if (envelope->type == WIRE_REJECT) {
        sim_fail(sim, "%s got a REJECT", supervisor->end.name);
    }
}

static void handle(struct sim *sim, struct sim_supervisor *supervisor,
                   struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;
    uint64_t now_ns = local(sim, supervisor);

    if (!wire_open(message, &envelope, &fault)) {
        sim_fail(sim, "%s got a malformed message: %s", supervisor->end.name, fault.text);
    } else if (envelope.type == WIRE_WELCOME) {
        handle_welcome(sim, supervisor, message);
    } else if (envelope.type == WIRE_UNKNOWN) {
        link_dialer_lost(&supervisor->dialer, now_ns);
    } else if (supervisor->dialer.state == LINK_UP) {
        switch (
            link_accept(&supervisor->dialer.link, now_ns, &envelope, wire_message_bytes(message))) {
        case LINK_DELIVER:
            handle_linked(sim, supervisor, &envelope, message);
            break;
        case LINK_BROKEN:
            link_dialer_lost(&supervisor->dialer, now_ns);
            break;
        case LINK_DUPLICATE:
        case LINK_GAP:
            break;
        }
        if (link_resume_due(&supervisor->dialer.link, now_ns)) {
            mark_and_send(sim, supervisor, wire_resume_encode(supervisor->dialer.link.received));
        }
    }
}

void sim_supervisor_receive(struct sim *sim, struct sim_supervisor *supervisor,
                            struct wire_message *message) {
    handle(sim, supervisor, message);
    tell_what_is_known(sim, supervisor);
    plan_tick(sim, supervisor);
}

void sim_supervisor_reconnected(struct sim *sim, struct sim_supervisor *supervisor) {
    link_dialer_lost(&supervisor->dialer, local(sim, supervisor));
    plan_tick(sim, supervisor);
}

/* ------------------------------------------------------------------- children */

static void death_known(struct sim *sim, struct sim_event *event) {
    struct sim_death *death = BASE_CONTAINER_OF(event, struct sim_death, event);

    death->known = true;
    if (death->supervisor->end.alive && !death->supervisor->end.paused) {
        tell_what_is_known(sim, death->supervisor);
        plan_tick(sim, death->supervisor);
    }
}

static void start_another(struct sim *sim, struct sim_event *event) {
    struct sim_death *death = BASE_CONTAINER_OF(event, struct sim_death, restart);

    if (death->supervisor->end.paused) {
        sim_event_at(sim, event, sim->now_ns + 10 * SIM_MS);
    } else if (death->supervisor->end.alive) {
        sim->counts.worker_starts++;
        sim_worker_start(sim, &death->options, death->supervisor->end.index);
    }
}

void sim_supervisor_child_died(struct sim *sim, struct sim_worker *worker, int signal,
                               bool expected, uint64_t *running, uint32_t running_count) {
    struct sim_supervisor *supervisor = sim_supervisor_at(sim, worker->supervisor);
    struct sim_death *death = sim_alloc(sizeof *death);

    death->supervisor = supervisor;
    death->options = worker->options;
    death->session = worker->end.session;
    death->pid = worker->end.session.low;
    death->signal = (uint32_t)signal;
    death->expected = expected;
    death->running = running;
    death->running_count = running_count;
    sim_event_init(&death->event, death_known);
    sim_event_init(&death->restart, start_another);
    sim_array_add(&supervisor->deaths, death);
    sim_event_at(sim, &death->event, sim->now_ns + sim->options.report_ns);
    if (signal != 0 && !worker->retiring && sim->options.restart_ns != 0) {
        sim_event_at(sim, &death->restart, sim->now_ns + sim->options.restart_ns);
    }
}

/* ------------------------------------------------------------------- lifetime */

uint32_t sim_add_supervisor(struct sim *sim) {
    struct sim_supervisor *supervisor = sim_alloc(sizeof *supervisor);

    sim_endpoint_init(sim, &supervisor->end, SIM_SUPERVISOR, sim->supervisors.count);
    sim_array_add(&sim->supervisors, supervisor);
    sim_event_init(&supervisor->end.tick, tick);
    sim_event_init(&supervisor->end.flush, flush);
    supervisor->end.session = sim_new_session(sim);
    link_dialer_init(&supervisor->dialer, local(sim, supervisor), base_rng_next(&sim->rng));
    sim_event_at(sim, &supervisor->end.tick, sim->now_ns);
    return supervisor->end.index;
}

void sim_supervisor_free(struct sim_supervisor *supervisor) {
    struct sim *sim = supervisor->end.sim;

    for (uint32_t i = 0; i < supervisor->deaths.count; i++) {
        struct sim_death *death = supervisor->deaths.items[i];

        sim_event_off(sim, &death->event);
        sim_event_off(sim, &death->restart);
        free(death->running);
        free(death);
    }
    free(supervisor->deaths.items);
    link_dialer_fini(&supervisor->dialer);
}
