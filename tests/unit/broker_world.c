#include "tests/unit/broker_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "wire/link_stream.h"

#include <cmocka.h>

#define FIRST_NS   (UINT64_C(1000) * WORLD_S)
#define BATCH_MOST 1000u

int world_make(void **state) {
    struct world *world = calloc(1, sizeof *world);

    assert_non_null(world);
    world->now_ns = FIRST_NS;
    world->config.epoch = 0xE1;
    world->config.seed = 7;
    world->config.host = "broker-host";
    world->config.pid = 77;
    broker_config_default(&world->config);
    *state = world;
    return 0;
}

static void forget_in(struct peer *peer) {
    for (size_t i = 0; i < peer->in_count; i++) {
        free(peer->in[i].data);
    }
    free(peer->in);
}

int world_free(void **state) {
    struct world *world = *state;

    for (uint32_t i = 0; i < world->peer_count; i++) {
        link_fini(&world->peers[i]->link);
        wire_message_unref(world->peers[i]->answer);
        forget_in(world->peers[i]);
        free(world->peers[i]);
    }
    broker_free(world->core);
    free(world);
    return 0;
}

void world_begin(struct world *world) {
    world->core = broker_new(&world->config, world->now_ns);
    assert_non_null(world->core);
}

void world_restart(struct world *world) {
    broker_free(world->core);
    world->config.epoch++;
    world_begin(world);
}

/* ----------------------------------------------------------------- what comes */

static struct got *got_new(struct peer *peer, enum wire_type type) {
    if (peer->in_count == peer->in_room) {
        peer->in_room = peer->in_room == 0 ? 64 : peer->in_room * 2;
        peer->in = realloc(peer->in, peer->in_room * sizeof *peer->in);
        assert_non_null(peer->in);
    }
    peer->in[peer->in_count] = (struct got){.type = type, .message = peer->messages};
    return &peer->in[peer->in_count++];
}

static void read_batch(struct peer *peer, enum wire_type type, const struct wire_message *message) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;
    bool any = false;

    if (!wire_batch_open(&batch, message, &fault)) {
        fail_msg("a batch of the broker's is malformed: %s", fault.text);
    }
    if (type == WIRE_OUTCOMES || type == WIRE_CREDIT) {
        assert_true(batch.extra[0] >= peer->credit_tasks);
        assert_true(batch.extra[1] >= peer->credit_bytes);
        peer->credit_tasks = batch.extra[0];
        peer->credit_bytes = batch.extra[1];
    }
    while (wire_batch_next(&batch, &entry)) {
        struct got *got = got_new(peer, type);

        memcpy(got->extra, batch.extra, sizeof got->extra);
        memcpy(got->key, entry.key, sizeof got->key);
        memcpy(got->values, entry.values, sizeof got->values);
        got->size = entry.size;
        got->data = malloc(entry.size + 1);
        assert_non_null(got->data);
        memcpy(got->data, entry.data, entry.size);
        any = true;
    }
    if (!any) {
        memcpy(got_new(peer, type)->extra, batch.extra, sizeof batch.extra);
    }
    peer->messages++;
}

/* Sends again what the link keeps. What comes back meanwhile may change that, so it is listed first. */
static void resend_kept(struct peer *peer, uint64_t received) {
    struct wire_message **again;
    uint32_t count;

    assert_true(link_resend_from(&peer->link, peer->world->now_ns, received, &count));
    again = malloc((count + 1) * sizeof(struct wire_message *));
    assert_non_null(again);
    for (uint32_t i = 0; i < count; i++) {
        again[i] = wire_message_ref(link_kept_at(&peer->link, i));
    }
    for (uint32_t i = 0; i < count; i++) {
        peer_raw(peer, again[i]);
    }
    free(again);
}

static void read_welcome(struct peer *peer, const struct wire_message *message) {
    struct wire_welcome welcome;
    struct wire_fault fault;

    assert_true(wire_welcome_decode(message, &welcome, &fault));
    assert_int_equal(welcome.epoch, peer->world->config.epoch);
    peer->welcomed = true;
    peer->resumed = welcome.resumed;
    peer->epoch = welcome.epoch;
    if (!welcome.resumed) {
        link_stream(&peer->link, peer->world->now_ns, welcome.received);
        peer->credit_tasks = peer->credit_bytes = 0;
        return;
    }
    resend_kept(peer, welcome.received);
}

static void read_reject(struct peer *peer, const struct wire_message *message) {
    struct wire_reject reject;
    struct wire_fault fault;

    assert_true(wire_reject_decode(message, &reject, &fault));
    peer->rejects++;
    peer->reject_code = reject.code;
    snprintf(peer->reject_text, sizeof peer->reject_text, "%.*s", (int)reject.text.size,
             reject.text.data);
}

static void resend(struct peer *peer, const struct wire_message *message) {
    struct wire_fault fault;
    uint64_t received;

    assert_true(wire_resume_decode(message, &received, &fault));
    resend_kept(peer, received);
}

static void deliver(struct peer *peer, const struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    assert_true(wire_open(message, &envelope, &fault));
    if (envelope.type == WIRE_WELCOME) {
        read_welcome(peer, message);
        return;
    }
    if (envelope.type == WIRE_UNKNOWN) {
        peer->unknowns++;
        return;
    }
    if (envelope.type == WIRE_REJECT && !peer->welcomed) {
        read_reject(peer, message);
        return;
    }
    if (link_accept(&peer->link, peer->world->now_ns, &envelope, wire_message_bytes(message)) !=
        LINK_DELIVER) {
        return;
    }
    if (envelope.type == WIRE_REJECT) {
        read_reject(peer, message);
    } else if (envelope.type == WIRE_RESUME) {
        resend(peer, message);
    } else if (envelope.type == WIRE_STOP) {
        peer->stops++;
    } else if (envelope.type >= WIRE_PING && envelope.type <= WIRE_RETIRED) {
        wire_message_unref(peer->answer);
        peer->answer = wire_message_ref((struct wire_message *)message);
    } else if (envelope.type != WIRE_HEARTBEAT) {
        read_batch(peer, (enum wire_type)envelope.type, message);
    }
}

static struct peer *peer_at(struct world *world, broker_address address) {
    for (uint32_t i = 0; i < world->peer_count; i++) {
        if (world->peers[i]->address == address) {
            return world->peers[i];
        }
    }
    return NULL;
}

static void carry_out(struct world *world) {
    size_t count;
    const struct broker_action *actions = broker_actions(world->core, &count);
    struct broker_action *copy = malloc((count + 1) * sizeof *copy);

    /* Delivering may step the broker again. */
    assert_non_null(copy);
    if (count > 0) {
        memcpy(copy, actions, count * sizeof *copy);
    }
    for (size_t i = 0; i < count; i++) {
        if (copy[i].type == BROKER_LOG && copy[i].warn) {
            world->warnings++;
            snprintf(world->warning, sizeof world->warning, "%s", copy[i].text);
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct peer *peer = peer_at(world, copy[i].to);

        switch (copy[i].type) {
        case BROKER_SEND:
            if (peer != NULL && !peer->deaf) {
                deliver(peer, copy[i].message);
            }
            wire_message_unref(copy[i].message);
            break;
        case BROKER_FORGET:
            if (peer != NULL) {
                peer->forgotten++;
            }
            break;
        case BROKER_LOG:
            break;
        case BROKER_DRAINED:
            world->drained++;
            break;
        }
    }
    free(copy);
}

static void step(struct world *world, const struct broker_event *event) {
    if (world->around != NULL) {
        world->around(world, true);
    }
    broker_step(world->core, world->now_ns, event);
    if (world->around != NULL) {
        world->around(world, false);
    }
}

void world_step(struct world *world, enum broker_event_type type) {
    step(world, &(struct broker_event){.type = type});
    carry_out(world);
}

void world_authorize(struct world *world, const struct broker_identity *identity) {
    step(world, &(struct broker_event){.type = BROKER_AUTHORIZE, .identity = identity});
    carry_out(world);
    world_flush(world);
}

void world_forget(struct world *world) {
    for (uint32_t i = 0; i < world->peer_count; i++) {
        struct peer *peer = world->peers[i];

        forget_in(peer);
        peer->in = NULL;
        peer->in_count = peer->in_room = 0;
    }
}

void world_flush(struct world *world) {
    world_step(world, BROKER_FLUSH);
}

static void heartbeats(struct world *world) {
    for (uint32_t i = 0; i < world->peer_count; i++) {
        struct peer *peer = world->peers[i];

        if (peer->welcomed && !peer->mute && world->now_ns >= peer->link.last_sent_ns + WORLD_S) {
            peer_mark(peer, wire_heartbeat_encode(peer->link.sent));
        }
    }
}

void world_pass(struct world *world, uint64_t ns) {
    uint64_t end_ns = world->now_ns + ns;

    while (world->now_ns < end_ns) {
        uint64_t next_ns = broker_deadline(world->core);
        uint64_t beat_ns = world->now_ns + WORLD_S / 2;

        next_ns = next_ns < beat_ns ? next_ns : beat_ns;
        next_ns = next_ns < end_ns ? next_ns : end_ns;
        world->now_ns = next_ns > world->now_ns ? next_ns : world->now_ns + 1000;
        heartbeats(world);
        if (broker_deadline(world->core) <= world->now_ns) {
            world_step(world, BROKER_TICK);
        }
        world_flush(world);
    }
}

struct broker_stats world_stats(const struct world *world) {
    struct broker_stats stats;

    broker_get_stats(world->core, &stats);
    return stats;
}

/* --------------------------------------------------------------------- peers */

struct peer *peer_new(struct world *world, enum wire_role role) {
    struct peer *peer = calloc(1, sizeof *peer);

    assert_non_null(peer);
    assert_true(world->peer_count < WORLD_PEERS);
    world->peers[world->peer_count++] = peer;
    peer->world = world;
    peer->address = 100 + world->peer_count;
    peer->role = role;
    peer->session = (struct wire_session){0x5e55, world->peer_count};
    peer->slots = 1;
    peer->functions = "f g";
    peer->tags = "";
    link_init(&peer->link, world->now_ns, 0, 0);
    link_stream(&peer->link, world->now_ns, 0);
    return peer;
}

static uint32_t split(const char *words, struct wire_text *texts, uint32_t most) {
    uint32_t count = 0;

    while (*words != '\0') {
        size_t size = strcspn(words, " ");

        assert_true(count < most);
        texts[count++] = (struct wire_text){words, size};
        words += size;
        words += strspn(words, " ");
    }
    return count;
}

void peer_hello(struct peer *peer) {
    struct wire_text functions[64], tags[WIRE_TAGS_MAX + 1];
    struct wire_hello hello = {
        .version_min = 1,
        .version_max = 1,
        .role = peer->role,
        .session = peer->session,
        .epoch = peer->epoch,
        .received = peer->link.received,
        .name = {"peer", 4},
        .host = {"peer-host", 9},
        .pid = 1000 + peer->address,
        .slots = peer->role == WIRE_WORKER ? peer->slots : 0,
        .functions = functions,
        .tags = tags,
    };

    if (peer->role == WIRE_WORKER) {
        hello.function_count = split(peer->functions, functions, 64);
        hello.tag_count = split(peer->tags, tags, WIRE_TAGS_MAX);
    }
    peer->welcomed = false;
    peer_raw(peer, wire_hello_encode(&hello));
}

struct peer *peer_join(struct peer *peer) {
    peer_hello(peer);
    assert_true(peer->welcomed);
    assert_false(peer->resumed);
    if (peer->role == WIRE_WORKER) {
        claim_nothing(peer);
    }
    world_flush(peer->world);
    return peer;
}

struct peer *client_join(struct world *world) {
    return peer_join(peer_new(world, WIRE_CLIENT));
}

struct peer *supervisor_join(struct world *world) {
    return peer_join(peer_new(world, WIRE_SUPERVISOR));
}

struct peer *admin_join(struct world *world) {
    return peer_join(peer_new(world, WIRE_ADMIN));
}

struct peer *worker_join(struct world *world, uint32_t slots, const char *functions,
                         const char *tags) {
    struct peer *peer = peer_new(world, WIRE_WORKER);

    peer->slots = slots;
    peer->functions = functions;
    peer->tags = tags;
    return peer_join(peer);
}

void peer_raw(struct peer *peer, struct wire_message *message) {
    struct broker_event event = {.type = BROKER_RECEIVE,
                                 .from = peer->address,
                                 .message = message,
                                 .identity = peer->identity};

    assert_non_null(message);
    step(peer->world, &event);
    wire_message_unref(message);
    carry_out(peer->world);
}

void peer_post(struct peer *peer, struct wire_message *message) {
    assert_non_null(message);
    assert_true(link_post(&peer->link, peer->world->now_ns, message));
    peer_raw(peer, message);
}

void peer_mark(struct peer *peer, struct wire_message *message) {
    assert_non_null(message);
    link_mark(&peer->link, peer->world->now_ns, message);
    peer_raw(peer, message);
}

/* ------------------------------------------------------------------- looking */

const struct got *look(struct peer *peer, enum wire_type type) {
    for (size_t i = 0; i < peer->in_count; i++) {
        if (!peer->in[i].taken && peer->in[i].type == type) {
            return &peer->in[i];
        }
    }
    return NULL;
}

const struct got *take(struct peer *peer, enum wire_type type) {
    for (size_t i = 0; i < peer->in_count; i++) {
        if (!peer->in[i].taken && peer->in[i].type == type) {
            peer->in[i].taken = true;
            return &peer->in[i];
        }
    }
    fail_msg("there is no %s", wire_type_name(type));
    return NULL;
}

const struct got *take_for(struct peer *peer, enum wire_type type, uint64_t value) {
    for (size_t i = 0; i < peer->in_count; i++) {
        if (!peer->in[i].taken && peer->in[i].type == type && peer->in[i].values[0] == value) {
            peer->in[i].taken = true;
            return &peer->in[i];
        }
    }
    fail_msg("there is no %s for %llu", wire_type_name(type), (unsigned long long)value);
    return NULL;
}

uint32_t waiting(struct peer *peer, enum wire_type type) {
    uint32_t count = 0;

    for (size_t i = 0; i < peer->in_count; i++) {
        count += !peer->in[i].taken && peer->in[i].type == type;
    }
    return count;
}

void forget_all(struct peer *peer) {
    for (size_t i = 0; i < peer->in_count; i++) {
        peer->in[i].taken = true;
    }
}

/* ------------------------------------------------------------------- batches */

/* One batch of one group. */
static struct wire_message *batch_of(enum wire_type type, const uint64_t *extra,
                                     const uint64_t *key, const uint64_t *entry, const void *data,
                                     size_t size) {
    struct wire_writer *writer = wire_writer_new(type);
    struct wire_message *message;

    assert_non_null(writer);
    if (entry != NULL) {
        assert_int_equal(wire_writer_put(writer, key, entry, data, size, NULL), WIRE_PUT_OK);
    }
    message = wire_writer_finish(writer, extra);
    wire_writer_free(writer);
    assert_non_null(message);
    return message;
}

struct wire_define define_of(uint32_t class_index, const char *function) {
    return (struct wire_define){
        .class_index = class_index,
        .function = {function, strlen(function)},
        .max_attempts = 3,
    };
}

void define(struct peer *client, const struct wire_define *define) {
    peer_post(client, wire_define_encode(define));
}

void define_plain(struct peer *client, uint32_t class_index, const char *function) {
    struct wire_define plain = define_of(class_index, function);

    define(client, &plain);
}

void submit_as(struct peer *client, uint32_t class_index, uint64_t id, uint32_t attempt,
               bool resent, const void *data, size_t size) {
    const uint64_t key[] = {class_index, attempt, resent};

    peer_post(client, batch_of(WIRE_SUBMIT, NULL, key, &id, data, size));
}

void submit(struct peer *client, uint32_t class_index, uint64_t id) {
    submit_as(client, class_index, id, 1, false, &id, sizeof id);
}

void submit_many(struct peer *client, uint32_t class_index, uint64_t first, uint32_t count) {
    const uint64_t key[] = {class_index, 1, 0};
    struct wire_writer *writer = wire_writer_new(WIRE_SUBMIT);

    assert_non_null(writer);
    for (uint64_t id = first; id < first + count; id++) {
        assert_int_equal(wire_writer_put(writer, key, &id, &id, sizeof id, NULL), WIRE_PUT_OK);
        if (wire_writer_count(writer) == BATCH_MOST || id + 1 == first + count) {
            peer_post(client, wire_writer_finish(writer, NULL));
        }
    }
    wire_writer_free(writer);
}

void cancel(struct peer *client, uint64_t id) {
    peer_post(client, batch_of(WIRE_CANCEL, NULL, NULL, &id, NULL, 0));
}

const struct got *expect_outcome(struct peer *client, uint64_t id, enum wire_kind kind) {
    const struct got *got = take_for(client, WIRE_OUTCOMES, id);

    assert_int_equal(got->key[0], kind);
    return got;
}

void expect_error(struct peer *client, uint64_t id, enum wire_kind kind, const char *text) {
    const struct got *got = expect_outcome(client, id, kind);
    struct wire_error error;
    char message[4100];

    assert_true(wire_error_decode(got->data, got->size, &error));
    snprintf(message, sizeof message, "%.*s", (int)error.message.size, error.message.data);
    if (strstr(message, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", message, text);
    }
}

void expect_verdict(struct peer *client, uint64_t id, bool cancelled) {
    assert_int_equal(take_for(client, WIRE_VERDICTS, id)->key[0], cancelled);
}

uint64_t expect_run(struct peer *worker, uint64_t id) {
    for (size_t i = 0; i < worker->in_count; i++) {
        struct got *got = &worker->in[i];

        if (!got->taken && got->type == WIRE_RUN && got->values[1] == id) {
            got->taken = true;
            return got->values[0];
        }
    }
    fail_msg("there is no RUN of %llu", (unsigned long long)id);
    return 0;
}

static void some_error(struct base_buffer *out) {
    struct wire_error error = {
        .code = 42, .message = {"it failed", 9}, .function = {"f", 1}, .host = {"h", 1}};

    assert_true(wire_error_encode(&error, out));
}

void give_result(struct peer *worker, uint64_t lease, enum wire_kind kind, uint64_t busy_ns) {
    const uint64_t extra = busy_ns, key = kind;
    struct base_buffer error;

    base_buffer_init(&error);
    if (kind != WIRE_KIND_VALUE && kind != WIRE_KIND_CANCELLED) {
        some_error(&error);
    }
    peer_post(worker, batch_of(WIRE_RESULTS, &extra, &key, &lease, error.data, error.size));
    base_buffer_fini(&error);
}

void give_value(struct peer *worker, uint64_t lease, const void *data, size_t size) {
    const uint64_t extra = 1000, key = WIRE_KIND_VALUE;

    peer_post(worker, batch_of(WIRE_RESULTS, &extra, &key, &lease, data, size));
}

uint32_t finish_all(struct peer *worker, uint64_t busy_ns_each) {
    struct wire_writer *writer = wire_writer_new(WIRE_RESULTS);
    const uint64_t key = WIRE_KIND_VALUE;
    uint32_t done = 0;

    assert_non_null(writer);
    for (size_t i = 0; i < worker->in_count; i++) {
        struct got *got = &worker->in[i];

        if (!got->taken && got->type == WIRE_RUN) {
            got->taken = true;
            assert_int_equal(
                wire_writer_put(writer, &key, &got->values[0], got->data, got->size, NULL),
                WIRE_PUT_OK);
            done++;
        }
    }
    if (done > 0) {
        const uint64_t busy_ns = busy_ns_each * done;

        peer_post(worker, wire_writer_finish(writer, &busy_ns));
    }
    wire_writer_free(writer);
    return done;
}

void give_back(struct peer *worker, uint64_t lease, bool returned) {
    const uint64_t key = returned;

    peer_post(worker, batch_of(WIRE_RETURNED, NULL, &key, &lease, NULL, 0));
}

void say_running(struct peer *worker, uint64_t lease) {
    peer_post(worker, batch_of(WIRE_RUNNING, NULL, NULL, &lease, NULL, 0));
}

void claim(struct peer *worker, bool final, const struct peer *client, uint64_t lease, uint64_t id,
           uint32_t attempt) {
    const uint64_t extra = final, key[] = {client->session.high, client->session.low};
    const uint64_t entry[] = {lease, id, attempt};

    peer_post(worker, batch_of(WIRE_CLAIMS, &extra, key, entry, NULL, 0));
}

void claim_nothing(struct peer *worker) {
    const uint64_t extra = 1;

    peer_post(worker, batch_of(WIRE_CLAIMS, &extra, NULL, NULL, NULL, 0));
}

void child_died(struct peer *supervisor, const struct peer *worker, uint32_t signal, bool expected,
                const uint64_t *running, uint32_t running_count) {
    struct wire_child_died died = {
        .session = worker->session,
        .pid = 1000 + worker->address,
        .signal = signal,
        .host = {"peer-host", 9},
        .expected = expected,
        .running = running,
        .running_count = running_count,
    };

    peer_post(supervisor, wire_child_died_encode(&died));
}
