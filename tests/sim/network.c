/* Connections, messages in flight, and what is lost of them. As with ZeroMQ, messages arrive in order
 * while a connection stands; a connection that breaks loses what was in flight, silently, and the
 * next one has another address. Drops, duplicates and reordering inside a connection are worse than
 * ZeroMQ. */
#include "tests/sim/sim_private.h"

#include <stdlib.h>
#include <string.h>

/* A core that asks for a tick again and again without getting anywhere. */
#define TICKS_AT_ONCE_MAX 200u

#define TRACE_BYTES 32768u /* of a message in words */

/* ------------------------------------------------------------------- packets */

static void packet_free(struct sim *sim, struct sim_packet *packet) {
    sim_event_off(sim, &packet->event);
    if (base_node_linked(&packet->node)) {
        base_list_remove(&packet->node);
    }
    wire_message_unref(packet->message);
    free(packet);
}

static void lose(struct sim *sim, struct sim_packet *packet) {
    sim->counts.lost++;
    if (sim->options.trace != NULL) {
        char text[TRACE_BYTES];

        sim_describe(sim, packet->end, packet->message, text, sizeof text);
        sim_say(sim, "    lost %s %s: %s", packet->direction == SIM_TO_BROKER ? "from" : "to",
                packet->end->name, text);
    }
    packet_free(sim, packet);
}

static void lose_all(struct sim *sim, struct base_list *list) {
    struct base_node *node;

    while ((node = base_list_first(list)) != NULL) {
        lose(sim, BASE_LIST_ENTRY(node, struct sim_packet, node));
    }
}

static void dialer_receive(struct sim *sim, struct sim_endpoint *end,
                           struct wire_message *message) {
    sim_model_dialer_receives(sim, end, message);
    switch (end->role) {
    case SIM_CLIENT:
        sim_client_receive(sim, BASE_CONTAINER_OF(end, struct sim_client, end), message);
        break;
    case SIM_WORKER:
        sim_worker_receive(sim, BASE_CONTAINER_OF(end, struct sim_worker, end), message);
        break;
    case SIM_SUPERVISOR:
        sim_supervisor_receive(sim, BASE_CONTAINER_OF(end, struct sim_supervisor, end), message);
        break;
    }
}

void sim_packet_arrive(struct sim *sim, struct sim_packet *packet) {
    struct sim_endpoint *end = packet->end;

    if (packet->direction == SIM_TO_BROKER) {
        if (sim->broker.core == NULL || packet->broker != sim->broker.incarnation) {
            lose(sim, packet);
            return;
        }
        if (sim->broker.paused) {
            base_list_push_back(&sim->broker.parked, &packet->node);
            return;
        }
        sim->counts.messages++;
        sim_model_broker_receives(sim, end, packet->message);
        sim_broker_receive(sim, packet->address, packet->message);
    } else {
        if (!end->alive || packet->address != end->address) {
            lose(sim, packet);
            return;
        }
        if (end->paused) {
            base_list_push_back(&end->parked, &packet->node);
            return;
        }
        if (end->room_bytes != 0 && wire_message_bytes(packet->message) > end->room_bytes) {
            sim_say(sim, "%s has no room for %zu bytes", end->name,
                    wire_message_bytes(packet->message));
            lose(sim, packet);
            sim_endpoint_reconnect(sim, end);
            return;
        }
        sim->counts.messages++;
        dialer_receive(sim, end, packet->message);
    }
    packet_free(sim, packet);
}

static void packet_due(struct sim *sim, struct sim_event *event) {
    struct sim_packet *packet = BASE_CONTAINER_OF(event, struct sim_packet, event);
    struct sim_endpoint *end = packet->end;

    base_list_remove(&packet->node);
    if (end->cut[packet->direction]) {
        base_list_push_back(&end->held[packet->direction], &packet->node);
        return;
    }
    sim_packet_arrive(sim, packet);
}

/* A message of its own with the same frames: the link stamps the sender's again. */
static struct wire_message *copy(struct wire_message *message) {
    struct wire_blob *frames[WIRE_FRAMES_MAX];
    struct wire_message *same;

    for (uint32_t i = 0; i < message->frame_count; i++) {
        frames[i] = wire_blob_ref(message->frames[i]);
    }
    same = wire_message_new(frames, message->frame_count);
    BASE_ASSERT(same != NULL);
    return same;
}

static struct sim_packet *packet_new(struct sim *sim, struct sim_endpoint *end,
                                     enum sim_direction direction, struct wire_message *message) {
    struct sim_packet *packet = sim_alloc(sizeof *packet);

    sim_event_init(&packet->event, packet_due);
    packet->end = end;
    packet->address = end->address;
    packet->broker = sim->broker.incarnation;
    packet->direction = direction;
    packet->message = copy(message);
    base_list_push_back(&end->flying[direction], &packet->node);
    return packet;
}

/* When all of a packet is on its line: one message after the other. */
static uint64_t line_ns(struct sim *sim, const struct sim_packet *packet) {
    uint64_t bytes = wire_message_bytes(packet->message);
    uint64_t *busy_ns = &packet->end->busy_ns[packet->direction], takes_ns;

    if (sim->options.rate == 0) {
        return sim->now_ns;
    }
    takes_ns = bytes * SIM_SECOND / sim->options.rate;
    sim->counts.outlasted += takes_ns > sim->broker.config.silence_ns ? 1 : 0;
    *busy_ns = (*busy_ns > sim->now_ns ? *busy_ns : sim->now_ns) + takes_ns;
    return *busy_ns;
}

static void launch(struct sim *sim, struct sim_packet *packet) {
    struct sim_options *options = &sim->options;
    struct sim_endpoint *end = packet->end;
    uint64_t *latest_ns = &end->latest_ns[packet->direction];
    uint64_t due_ns = line_ns(sim, packet) + end->slow_ns +
                      sim_pick(sim, options->delay_min_ns, options->delay_max_ns);

    if (base_rng_chance(&sim->rng, options->reorder)) {
        sim->counts.reordered++;
        due_ns += sim_pick(sim, 0, 5 * options->delay_max_ns);
    } else {
        due_ns = due_ns > *latest_ns ? due_ns : *latest_ns + 1;
        *latest_ns = due_ns;
    }
    sim_event_at(sim, &packet->event, due_ns);
}

static void transmit_one(struct sim *sim, struct sim_endpoint *end, enum sim_direction direction,
                         struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;
    struct sim_packet *packet = packet_new(sim, end, direction, message);

    if (sim->options.trace != NULL) {
        char text[TRACE_BYTES];

        sim_describe(sim, end, message, text, sizeof text);
        sim_say(sim, "%s %s broker: %s", end->name, direction == SIM_TO_BROKER ? "->" : "<-", text);
    }
    if (sim->lose_type[direction] != 0 && wire_open(message, &envelope, &fault) &&
        envelope.type == sim->lose_type[direction]) {
        sim->lose_type[direction] = 0;
        lose(sim, packet);
        return;
    }
    if (base_rng_chance(&sim->rng, sim->options.drop)) {
        lose(sim, packet);
    } else {
        launch(sim, packet);
    }
    if (base_rng_chance(&sim->rng, sim->options.duplicate)) {
        sim->counts.duplicated++;
        launch(sim, packet_new(sim, end, direction, message));
    }
}

/* As wire_zmq_send does. */
static void transmit(struct sim *sim, struct sim_endpoint *end, enum sim_direction direction,
                     struct wire_message *message) {
    struct wire_message *coming = wire_announce(message);

    if (coming != NULL) {
        sim->counts.announced++;
        transmit_one(sim, end, direction, coming);
        wire_message_unref(coming);
    }
    transmit_one(sim, end, direction, message);
}

void sim_endpoint_send(struct sim *sim, struct sim_endpoint *end, struct wire_message *message) {
    sim_model_dialer_sends(sim, end, message);
    if (end->address != 0) {
        transmit(sim, end, SIM_TO_BROKER, message);
    } else if (sim->options.trace != NULL) {
        char text[TRACE_BYTES];

        sim_describe(sim, end, message, text, sizeof text);
        sim_say(sim, "%s -> nowhere: %s", end->name, text);
    }
}

void sim_network_from_broker(struct sim *sim, uint64_t address, struct wire_message *message) {
    struct sim_endpoint *end = sim_endpoint_of(sim, address);

    if (end == NULL) {
        sim_fail(sim, "the broker sends to address %llu, which never was",
                 (unsigned long long)address);
        return;
    }
    sim_model_broker_sends(sim, end, message);
    if (end->address == address) {
        transmit(sim, end, SIM_FROM_BROKER, message);
    }
}

void sim_lose_next(struct sim *sim, enum wire_type type, bool to_broker) {
    sim->lose_type[to_broker ? SIM_TO_BROKER : SIM_FROM_BROKER] = type;
}

/* --------------------------------------------------------------- connections */

struct sim_endpoint *sim_endpoint_of(const struct sim *sim, uint64_t address) {
    return address < sim->addresses.count ? sim->addresses.items[address] : NULL;
}

struct sim_endpoint *sim_endpoint_at(const struct sim *sim, enum sim_role role, uint32_t index) {
    switch (role) {
    case SIM_CLIENT:
        return &sim_client_at(sim, index)->end;
    case SIM_WORKER:
        return &sim_worker_at(sim, index)->end;
    case SIM_SUPERVISOR:
        return &sim_supervisor_at(sim, index)->end;
    }
    return NULL;
}

static void reconnected(struct sim *sim, struct sim_endpoint *end) {
    switch (end->role) {
    case SIM_CLIENT:
        sim_client_reconnected(sim, BASE_CONTAINER_OF(end, struct sim_client, end));
        break;
    case SIM_WORKER:
        sim_worker_reconnected(sim, BASE_CONTAINER_OF(end, struct sim_worker, end));
        break;
    case SIM_SUPERVISOR:
        sim_supervisor_reconnected(sim, BASE_CONTAINER_OF(end, struct sim_supervisor, end));
        break;
    }
}

static void connect_later(struct sim *sim, struct sim_endpoint *end) {
    sim_event_at(sim, &end->connect,
                 sim->now_ns +
                     sim_pick(sim, sim->options.reconnect_min_ns, sim->options.reconnect_max_ns));
}

static void connect_now(struct sim *sim, struct sim_event *event) {
    struct sim_endpoint *end = BASE_CONTAINER_OF(event, struct sim_endpoint, connect);

    if (sim->broker.core == NULL) {
        return; /* sim_network_broker_here tries again */
    }
    if (end->cut[SIM_TO_BROKER] || end->cut[SIM_FROM_BROKER] || end->paused) {
        connect_later(sim, end);
        return;
    }
    end->address = sim->addresses.count;
    sim_array_add(&sim->addresses, end);
    end->latest_ns[0] = end->latest_ns[1] = sim->now_ns;
    end->busy_ns[0] = end->busy_ns[1] = sim->now_ns;
    sim_say(sim, "%s has connection %llu", end->name, (unsigned long long)end->address);
    if (base_rng_chance(&sim->rng, sim->options.announce)) {
        reconnected(sim, end);
    }
}

static void disconnect(struct sim *sim, struct sim_endpoint *end, bool survive) {
    end->address = 0;
    lose_all(sim, &end->held[SIM_TO_BROKER]);
    lose_all(sim, &end->held[SIM_FROM_BROKER]);
    lose_all(sim, &end->flying[SIM_FROM_BROKER]);
    lose_all(sim, &end->parked);
    if (!survive || !base_rng_chance(&sim->rng, sim->options.survive)) {
        lose_all(sim, &end->flying[SIM_TO_BROKER]);
    }
}

void sim_endpoint_reconnect(struct sim *sim, struct sim_endpoint *end) {
    if (end->address != 0) {
        disconnect(sim, end, false);
    }
    connect_later(sim, end);
}

bool sim_endpoint_has_room(void *endpoint, uint64_t bytes) {
    struct sim_endpoint *end = endpoint;
    bool has = end->room_bytes == 0 || bytes <= end->room_bytes;

    end->sim->counts.no_room += has ? 0 : 1;
    return has;
}

void sim_endpoint_init(struct sim *sim, struct sim_endpoint *end, enum sim_role role,
                       uint32_t index) {
    static const char *const names[] = {"client", "worker", "supervisor"};

    end->sim = sim;
    end->role = role;
    end->index = index;
    snprintf(end->name, sizeof end->name, "%s %u", names[role], index);
    end->alive = true;
    end->clock_ns = base_rng_below(&sim->rng, 1000 * SIM_SECOND);
    for (int i = 0; i < 2; i++) {
        base_list_init(&end->flying[i]);
        base_list_init(&end->held[i]);
    }
    base_list_init(&end->parked);
    sim_event_init(&end->connect, connect_now);
    connect_later(sim, end);
}

void sim_endpoint_close(struct sim *sim, struct sim_endpoint *end, bool survive) {
    disconnect(sim, end, survive);
    end->alive = false;
    end->paused = false;
    end->cut[0] = end->cut[1] = false;
    sim_event_off(sim, &end->connect);
    sim_event_off(sim, &end->tick);
    sim_event_off(sim, &end->flush);
}

void sim_network_broker_gone(struct sim *sim) {
    for (uint32_t i = 1; i < sim->addresses.count; i++) {
        struct sim_endpoint *end = sim->addresses.items[i];

        if (end->alive && end->address == i) {
            disconnect(sim, end, false);
        }
    }
    lose_all(sim, &sim->broker.parked);
}

static void for_each_endpoint(struct sim *sim,
                              void (*call)(struct sim *sim, struct sim_endpoint *end)) {
    for (uint32_t i = 0; i < sim->clients.count; i++) {
        call(sim, &sim_client_at(sim, i)->end);
    }
    for (uint32_t i = 0; i < sim->workers.count; i++) {
        call(sim, &sim_worker_at(sim, i)->end);
    }
    for (uint32_t i = 0; i < sim->supervisors.count; i++) {
        call(sim, &sim_supervisor_at(sim, i)->end);
    }
}

static void connect_if_alone(struct sim *sim, struct sim_endpoint *end) {
    if (end->alive && end->address == 0) {
        connect_later(sim, end);
    }
}

void sim_network_broker_here(struct sim *sim) {
    for_each_endpoint(sim, connect_if_alone);
}

static void drop_packets(struct sim *sim, struct sim_endpoint *end) {
    for (int i = 0; i < 2; i++) {
        struct base_list *lists[] = {&end->flying[i], &end->held[i], &end->parked};

        for (size_t k = 0; k < 3; k++) {
            struct base_node *node;

            while ((node = base_list_first(lists[k])) != NULL) {
                packet_free(sim, BASE_LIST_ENTRY(node, struct sim_packet, node));
            }
        }
    }
}

/* The endpoints themselves are their processes'. */
void sim_network_free(struct sim *sim) {
    struct base_node *node;

    while ((node = base_list_first(&sim->broker.parked)) != NULL) {
        packet_free(sim, BASE_LIST_ENTRY(node, struct sim_packet, node));
    }
    for_each_endpoint(sim, drop_packets);
    for (uint32_t i = 0; i < sim->clients.count; i++) {
        free(sim->clients.items[i]);
    }
    for (uint32_t i = 0; i < sim->workers.count; i++) {
        free(sim->workers.items[i]);
    }
    for (uint32_t i = 0; i < sim->supervisors.count; i++) {
        free(sim->supervisors.items[i]);
    }
}

/* -------------------------------------------------------------------- faults */

void sim_break(struct sim *sim, enum sim_role role, uint32_t index) {
    struct sim_endpoint *end = sim_endpoint_at(sim, role, index);

    if (end->alive && end->address != 0) {
        sim_say(sim, "the connection of %s breaks", end->name);
        sim->counts.broken++;
        sim_endpoint_reconnect(sim, end);
    }
}

void sim_cut(struct sim *sim, enum sim_role role, uint32_t index, bool to_broker,
             bool from_broker) {
    struct sim_endpoint *end = sim_endpoint_at(sim, role, index);

    if (end->alive) {
        sim_say(sim, "%s is cut off%s%s", end->name, to_broker ? " to" : "",
                from_broker ? " from" : "");
        sim->counts.cuts++;
        sim->counts.half_cuts += to_broker != from_broker ? 1 : 0;
        end->cut[SIM_TO_BROKER] = to_broker;
        end->cut[SIM_FROM_BROKER] = from_broker;
    }
}

static void release(struct sim *sim, struct sim_endpoint *end) {
    for (int i = 0; i < 2; i++) {
        struct base_node *node;

        end->cut[i] = false;
        while ((node = base_list_pop_front(&end->held[i])) != NULL) {
            base_list_push_back(&end->flying[i], node);
            sim->counts.released++;
            launch(sim, BASE_LIST_ENTRY(node, struct sim_packet, node));
        }
    }
}

void sim_heal(struct sim *sim, enum sim_role role, uint32_t index) {
    struct sim_endpoint *end = sim_endpoint_at(sim, role, index);

    if (end->cut[0] || end->cut[1]) {
        sim_say(sim, "%s is reached again", end->name);
        release(sim, end);
    }
}

void sim_pause(struct sim *sim, enum sim_role role, uint32_t index) {
    struct sim_endpoint *end = sim_endpoint_at(sim, role, index);

    if (end->alive && !end->paused) {
        sim_say(sim, "%s is stopped", end->name);
        sim->counts.pauses++;
        end->paused = true;
    }
}

/* What has arrived meanwhile is read before anything else, as a shell does. */
static void resume(struct sim *sim, struct sim_endpoint *end) {
    struct base_node *node;

    if (!end->paused) {
        return;
    }
    end->paused = false;
    sim_say(sim, "%s goes on", end->name);
    while (end->alive && (node = base_list_pop_front(&end->parked)) != NULL) {
        sim_packet_arrive(sim, BASE_LIST_ENTRY(node, struct sim_packet, node));
    }
    if (!end->alive) {
        return;
    }
    if (end->role == SIM_WORKER) {
        sim_worker_resumed(sim, BASE_CONTAINER_OF(end, struct sim_worker, end));
    }
    sim_event_at(sim, &end->tick, sim->now_ns);
    sim_endpoint_soon(sim, end);
}

void sim_resume(struct sim *sim, enum sim_role role, uint32_t index) {
    resume(sim, sim_endpoint_at(sim, role, index));
}

void sim_jump(struct sim *sim, enum sim_role role, uint32_t index, uint64_t ns) {
    struct sim_endpoint *end = sim_endpoint_at(sim, role, index);

    if (end->alive) {
        sim_say(sim, "the clock of %s jumps %.3f s ahead", end->name, (double)ns / 1e9);
        sim->counts.jumps++;
        end->clock_ns += ns;
        sim_event_at(sim, &end->tick, sim->now_ns);
    }
}

void sim_slow(struct sim *sim, enum sim_role role, uint32_t index, uint64_t ns) {
    struct sim_endpoint *end = sim_endpoint_at(sim, role, index);

    sim_say(sim, "%s is slow", end->name);
    sim->counts.slow++;
    end->slow_ns = ns;
}

void sim_limit_room(struct sim *sim, enum sim_role role, uint32_t index, uint64_t bytes) {
    sim_endpoint_at(sim, role, index)->room_bytes = bytes;
}

static void calm(struct sim *sim, struct sim_endpoint *end) {
    if (end->alive) {
        end->slow_ns = 0;
        release(sim, end);
        resume(sim, end);
    }
}

void sim_network_calm(struct sim *sim) {
    sim_say(sim, "all faults end");
    sim->options.drop = 0;
    sim->options.duplicate = 0;
    sim->options.reorder = 0;
    for_each_endpoint(sim, calm);
}

/* ---------------------------------------------------------------------- ticks */

void sim_endpoint_deadline(struct sim *sim, struct sim_endpoint *end, uint64_t deadline_ns) {
    uint64_t at_ns = deadline_ns > end->clock_ns ? deadline_ns - end->clock_ns : 0;

    if (deadline_ns == UINT64_MAX) {
        sim_event_off(sim, &end->tick);
        return;
    }
    sim_event_at(sim, &end->tick, at_ns);
}

void sim_endpoint_ticked(struct sim *sim, struct sim_endpoint *end) {
    if (end->tick_ns != sim->now_ns) {
        end->tick_ns = sim->now_ns;
        end->tick_count = 0;
    } else if (++end->tick_count > TICKS_AT_ONCE_MAX) {
        sim_fail(sim, "%s wants a tick again and again", end->name);
    }
}

void sim_endpoint_soon(struct sim *sim, struct sim_endpoint *end) {
    if (!base_heap_node_linked(&end->flush.node)) {
        sim_event_at(sim, &end->flush, sim->now_ns + sim_pick(sim, 0, sim->options.batch_ns));
    }
}
