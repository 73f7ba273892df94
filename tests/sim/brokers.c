/* The broker's process: one core at a time, another epoch after each death. */
#include "tests/sim/sim_private.h"

#include <string.h>

#define TICKS_AT_ONCE_MAX 200u

/* Limits that many a workload of the swarm runs into. */
#define TIGHT_TASKS 64u
#define TIGHT_BYTES (UINT64_C(4) << 20)

static uint64_t local(const struct sim *sim) {
    return sim->now_ns + sim->broker.clock_ns;
}

static void carry_out(struct sim *sim) {
    size_t count;
    const struct broker_action *actions = broker_actions(sim->broker.core, &count);

    for (size_t i = 0; i < count; i++) {
        const struct broker_action *action = &actions[i];

        switch (action->type) {
        case BROKER_SEND:
            sim_network_from_broker(sim, action->to, action->message);
            wire_message_unref(action->message);
            break;
        case BROKER_FORGET:
            sim_say(sim, "broker forgets the session at %llu", (unsigned long long)action->to);
            sim_model_forgotten(sim, action->to);
            break;
        case BROKER_LOG:
            sim_say(sim, "broker%s: %s", action->warn ? " warns" : "", action->text);
            break;
        case BROKER_DRAINED:
            sim_say(sim, "broker is drained");
            sim->broker.drained = true;
            break;
        }
    }
}

static void step(struct sim *sim, const struct broker_event *event) {
    struct sim_broker *broker = &sim->broker;
    uint64_t deadline_ns;
    uint64_t at_ns;

    broker_step(broker->core, local(sim), event);
    carry_out(sim);
    deadline_ns = broker_deadline(broker->core);
    if (deadline_ns == UINT64_MAX) {
        sim_event_off(sim, &broker->tick);
        return;
    }
    at_ns = deadline_ns > broker->clock_ns ? deadline_ns - broker->clock_ns : 0;
    if (at_ns <= sim->now_ns && event->type == BROKER_TICK && broker->tick_ns == sim->now_ns) {
        if (++broker->tick_count > TICKS_AT_ONCE_MAX) {
            sim_fail(sim, "the broker wants a tick again and again");
        }
    } else {
        broker->tick_ns = sim->now_ns;
        broker->tick_count = 0;
    }
    sim_event_at(sim, &broker->tick, at_ns);
}

static void tick(struct sim *sim, struct sim_event *event) {
    (void)event;
    if (sim->broker.core != NULL && !sim->broker.paused) {
        step(sim, &(struct broker_event){.type = BROKER_TICK});
        sim_event_at(sim, &sim->broker.flush, sim->now_ns);
    }
}

static void flush(struct sim *sim, struct sim_event *event) {
    (void)event;
    if (sim->broker.core != NULL && !sim->broker.paused) {
        step(sim, &(struct broker_event){.type = BROKER_FLUSH});
        sim_model_broker_stats(sim);
    }
}

static void flush_soon(struct sim *sim) {
    if (!base_heap_node_linked(&sim->broker.flush.node)) {
        sim_event_at(sim, &sim->broker.flush,
                     sim->now_ns + sim_pick(sim, 0, sim->options.batch_ns));
    }
}

void sim_broker_receive(struct sim *sim, uint64_t address, struct wire_message *message) {
    step(sim, &(struct broker_event){.type = BROKER_RECEIVE, .from = address, .message = message});
    flush_soon(sim);
}

void sim_broker_init(struct sim *sim) {
    base_list_init(&sim->broker.parked);
    sim_event_init(&sim->broker.tick, tick);
    sim_event_init(&sim->broker.flush, flush);
}

void sim_broker_fini(struct sim *sim) {
    broker_free(sim->broker.core);
    sim->broker.core = NULL;
}

void sim_start_broker(struct sim *sim) {
    struct sim_broker *broker = &sim->broker;

    BASE_ASSERT(broker->core == NULL);
    broker->incarnation++;
    broker->config = sim->options.broker;
    broker->config.epoch = base_rng_next(&sim->rng) | 1;
    broker->config.seed = base_rng_next(&sim->rng);
    broker->config.host = "broker-host";
    broker->config.pid = (int64_t)broker->incarnation;
    broker->clock_ns = base_rng_below(&sim->rng, 1000 * SIM_SECOND);
    broker->paused = false;
    broker->drained = false;
    sim_say(sim, "broker %llu starts", (unsigned long long)broker->incarnation);
    sim->counts.broker_starts++;
    sim->counts.tight_tasks += broker->config.tasks_max <= TIGHT_TASKS ? 1 : 0;
    sim->counts.tight_memory += broker->config.memory_bytes <= TIGHT_BYTES ? 1 : 0;
    sim->counts.tight_client += broker->config.client_tasks_max <= TIGHT_TASKS ? 1 : 0;
    sim_model_new_broker(sim);
    broker->core = broker_new(&broker->config, local(sim));
    BASE_ASSERT(broker->core != NULL);
    sim_event_at(sim, &broker->tick, sim->now_ns);
    sim_network_broker_here(sim);
}

void sim_kill_broker(struct sim *sim) {
    struct sim_broker *broker = &sim->broker;

    if (broker->core == NULL) {
        return;
    }
    sim_say(sim, "broker %llu dies", (unsigned long long)broker->incarnation);
    sim->counts.broker_deaths++;
    broker_free(broker->core);
    broker->core = NULL;
    sim_event_off(sim, &broker->tick);
    sim_event_off(sim, &broker->flush);
    sim_network_broker_gone(sim);
}

void sim_drain_broker(struct sim *sim) {
    if (sim->broker.core != NULL && !sim->broker.paused) {
        sim_say(sim, "broker is to drain");
        sim->counts.broker_drains++;
        step(sim, &(struct broker_event){.type = BROKER_DRAIN});
        flush_soon(sim);
    }
}

void sim_pause_broker(struct sim *sim) {
    if (sim->broker.core != NULL && !sim->broker.paused) {
        sim_say(sim, "broker is stopped");
        sim->counts.pauses++;
        sim->broker.paused = true;
    }
}

void sim_resume_broker(struct sim *sim) {
    struct base_node *node;

    if (sim->broker.core == NULL || !sim->broker.paused) {
        return;
    }
    sim_say(sim, "broker goes on");
    sim->broker.paused = false;
    while ((node = base_list_first(&sim->broker.parked)) != NULL) {
        struct sim_packet *packet = BASE_LIST_ENTRY(node, struct sim_packet, node);

        base_list_remove(node);
        sim_packet_arrive(sim, packet);
    }
    sim_event_at(sim, &sim->broker.tick, sim->now_ns);
    flush_soon(sim);
}

bool sim_broker_alive(const struct sim *sim) {
    return sim->broker.core != NULL;
}

bool sim_broker_drained(const struct sim *sim) {
    return sim->broker.drained;
}

struct broker_stats sim_broker_stats(const struct sim *sim) {
    struct broker_stats stats;

    memset(&stats, 0, sizeof stats);
    if (sim->broker.core != NULL) {
        broker_get_stats(sim->broker.core, &stats);
    }
    return stats;
}
