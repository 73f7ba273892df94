/* The broker's core among peers that follow a script of any bytes: they say what is right, what is
 * wrong and what is no message at all, at any time, come, go and come back, and the broker is started
 * anew. Checked after every step: what the broker says is right in itself, a task has one end for each
 * time it was submitted, what was cancelled never runs, leases are never used twice, credit never
 * shrinks, a refused message changes nothing, limits hold. In the end everybody has gone, and the broker
 * must be empty and serve on. */
#include "tests/fuzz/fuzz_input.h"

#include "base/assert.h"
#include "broker/core.h"
#include "tests/fuzz/wire_exercise.h"
#include "wire/inspect.h"
#include "wire/link.h"
#include "wire/link_stream.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CLIENTS      3u
#define WORKERS      3u
#define PEERS        (CLIENTS + WORKERS + 2u) /* an admin and a supervisor */
#define SLOTS        8u                       /* of each client's ids */
#define GENERATIONS  4u
#define IDS          (SLOTS * GENERATIONS)
#define LEASES       16u /* that a worker remembers */
#define TASKS_MAX    64u
#define SESSIONS_MAX 7u
#define SCRIPT_MAX   600u

/* What was said about one id of a client, since its stream began. */
struct told {
    uint32_t submits, ends;
    uint32_t cancelled_at; /* the count of submits when it was cancelled last */
    bool cancelling;       /* a CANCEL has no verdict yet */
    bool muddled; /* it was submitted again meanwhile: whose the verdict is can't be told */
};

struct lease {
    uint64_t lease, id;
    struct wire_session session;
};

struct peer {
    broker_address address;
    enum wire_role role;
    struct wire_session session;
    struct link link;
    uint64_t epoch;
    bool welcomed, deaf, resend;
    uint64_t resend_from;
    uint64_t credit_tasks, credit_bytes;
    struct told told[IDS];
    struct lease leases[LEASES];
    uint32_t lease_count;
    uint32_t streams; /* begun by this session */
};

struct world {
    struct broker_config config;
    struct broker_core *core;
    uint64_t now_ns;
    broker_address last_address;
    struct peer peers[PEERS];
    struct fuzz_set leases;
    bool draining, drained;
};

static struct world world;

/* ------------------------------------------------------------- what is heard */

static struct told *told_of(struct peer *client, uint64_t id) {
    uint32_t slot = (uint32_t)id;

    return slot < SLOTS && id >> 32 < GENERATIONS ? &client->told[(id >> 32) * SLOTS + slot] : NULL;
}

static struct peer *client_with(struct wire_session session) {
    for (uint32_t i = 0; i < CLIENTS; i++) {
        if (world.peers[i].session.high == session.high &&
            world.peers[i].session.low == session.low) {
            return &world.peers[i];
        }
    }
    return NULL;
}

static void hear_run(struct peer *worker, const struct wire_entry *entry) {
    const struct wire_session session = {entry->key[3], entry->key[4]};
    struct peer *client = client_with(session);
    const struct told *told = client == NULL ? NULL : told_of(client, entry->values[1]);

    BASE_ASSERT(fuzz_set_add(&world.leases, entry->values[0])); /* never used before */
    /* What was cancelled never runs. A client that began anew uses its ids again, as no real one does:
     * an old task of that name may still be on its way. */
    if (told != NULL && told->cancelled_at > 0 && !told->muddled && client->streams == 1) {
        BASE_ASSERT(told->submits > told->cancelled_at);
    }
    worker->leases[worker->lease_count++ % LEASES] =
        (struct lease){entry->values[0], entry->values[1], session};
}

static void hear_end(struct peer *client, uint64_t id, bool cancelled) {
    struct told *told = told_of(client, id);

    if (told == NULL) {
        return;
    }
    BASE_ASSERT(told->ends < told->submits);
    told->ends++;
    if (cancelled) {
        told->cancelled_at = told->submits;
    }
}

static void hear_verdict(struct peer *client, uint64_t id, bool cancelled) {
    struct told *told = told_of(client, id);

    if (told != NULL) {
        told->cancelling = false;
    }
    if (cancelled) {
        hear_end(client, id, true);
    }
}

static void hear_entry(struct peer *peer, enum wire_type type, const struct wire_entry *entry) {
    switch (type) {
    case WIRE_RUN:
        hear_run(peer, entry);
        break;
    case WIRE_OUTCOMES:
        BASE_ASSERT(entry->key[0] < WIRE_KIND_CANCELLED);
        hear_end(peer, entry->values[0], false);
        break;
    case WIRE_VERDICTS:
        hear_verdict(peer, entry->values[0], entry->key[0] != 0);
        break;
    default:
        break;
    }
}

static void hear_batch(struct peer *peer, enum wire_type type, const struct wire_message *message) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;
    bool opened = wire_batch_open(&batch, message, &fault);

    BASE_ASSERT(opened);
    if (type == WIRE_OUTCOMES || type == WIRE_CREDIT) {
        BASE_ASSERT(batch.extra[0] >= peer->credit_tasks && batch.extra[1] >= peer->credit_bytes);
        peer->credit_tasks = batch.extra[0];
        peer->credit_bytes = batch.extra[1];
    }
    while (wire_batch_next(&batch, &entry)) {
        hear_entry(peer, type, &entry);
    }
}

static void hear_welcome(struct peer *peer, const struct wire_message *message) {
    struct wire_welcome welcome;
    struct wire_fault fault;
    bool decoded = wire_welcome_decode(message, &welcome, &fault);

    BASE_ASSERT(decoded && welcome.epoch == world.config.epoch);
    peer->welcomed = true;
    peer->epoch = welcome.epoch;
    if (welcome.resumed) {
        peer->resend = true;
        peer->resend_from = welcome.received;
        return;
    }
    link_stream(&peer->link, world.now_ns, welcome.received);
    peer->credit_tasks = peer->credit_bytes = 0;
    peer->streams++;
    memset(peer->told, 0, sizeof peer->told);
}

static void hear_resume(struct peer *peer, const struct wire_message *message) {
    struct wire_fault fault;

    peer->resend = wire_resume_decode(message, &peer->resend_from, &fault);
    BASE_ASSERT(peer->resend);
}

/* Which types the broker may send to this role. */
static bool sendable(enum wire_role role, uint32_t type) {
    switch (type) {
    case WIRE_WELCOME:
    case WIRE_REJECT:
    case WIRE_HEARTBEAT:
    case WIRE_RESUME:
    case WIRE_UNKNOWN:
        return true;
    case WIRE_OUTCOMES:
    case WIRE_VERDICTS:
    case WIRE_STARTED:
    case WIRE_CREDIT:
        return role == WIRE_CLIENT;
    case WIRE_RUN:
    case WIRE_RECALL:
    case WIRE_INTERRUPT:
        return role == WIRE_WORKER;
    case WIRE_STOP:
        return role == WIRE_WORKER || role == WIRE_SUPERVISOR;
    case WIRE_PONG:
    case WIRE_ROWS:
    case WIRE_REASON:
    case WIRE_RETIRED:
        return role == WIRE_ADMIN;
    default:
        return false;
    }
}

static void hear(struct peer *peer, const struct wire_message *message) {
    struct wire_envelope envelope;
    uint32_t type = fuzz_check_message(message, &envelope);

    if (type == WIRE_WELCOME) {
        hear_welcome(peer, message);
        return;
    }
    if (!peer->welcomed || type == WIRE_UNKNOWN) {
        peer->welcomed = peer->welcomed && type != WIRE_UNKNOWN;
        return;
    }
    if (link_accept(&peer->link, world.now_ns, &envelope, wire_message_bytes(message)) !=
        LINK_DELIVER) {
        return;
    }
    /* Sequenced messages are those of a session, whose role is the peer's own: see say_hello. */
    BASE_ASSERT(sendable(peer->role, type));
    if (type == WIRE_RESUME) {
        hear_resume(peer, message);
    } else if (type >= WIRE_FIRST_SEQUENCED && type != WIRE_STOP) {
        hear_batch(peer, (enum wire_type)type, message);
    }
}

/* ------------------------------------------------------------------- steps */

static void check_stats(void) {
    struct broker_stats stats;

    broker_get_stats(world.core, &stats);
    BASE_ASSERT(stats.clients + stats.workers + stats.supervisors <= SESSIONS_MAX);
    /* One task of a client that has nothing here is always let in: broker/credit.c. */
    BASE_ASSERT(stats.tasks_queued + stats.tasks_leased <= TASKS_MAX + CLIENTS);
}

static struct peer *peer_at(broker_address address) {
    for (uint32_t i = 0; i < PEERS; i++) {
        if (world.peers[i].address == address) {
            return &world.peers[i];
        }
    }
    return NULL;
}

static void act(void) {
    size_t count;
    const struct broker_action *actions = broker_actions(world.core, &count);

    for (size_t i = 0; i < count; i++) {
        struct peer *peer = peer_at(actions[i].to);

        switch (actions[i].type) {
        case BROKER_SEND:
            if (peer != NULL && !peer->deaf) {
                hear(peer, actions[i].message);
            }
            wire_message_unref(actions[i].message);
            break;
        case BROKER_LOG:
            BASE_ASSERT(strlen(actions[i].text) > 0);
            break;
        case BROKER_DRAINED:
            BASE_ASSERT(world.draining && !world.drained);
            world.drained = true;
            break;
        case BROKER_FORGET:
            break;
        }
    }
}

static void step(enum broker_event_type type) {
    broker_step(world.core, world.now_ns, &(struct broker_event){.type = type});
    act();
    check_stats();
}

/* What was refused has had no effect, beyond its being counted; but a client whose SUBMIT was over a limit
 * is gone with its tasks. */
static void check_refused(const struct broker_stats *before, const struct broker_stats *after) {
    if (after->rejected == before->rejected) {
        return;
    }
    if (after->clients == before->clients) {
        BASE_ASSERT(after->tasks_queued == before->tasks_queued);
        BASE_ASSERT(after->tasks_leased == before->tasks_leased);
    } else {
        BASE_ASSERT(after->clients == before->clients - 1);
        BASE_ASSERT(after->tasks_queued <= before->tasks_queued);
        BASE_ASSERT(after->tasks_leased <= before->tasks_leased);
    }
    BASE_ASSERT(after->submitted == before->submitted && after->finished == before->finished);
    BASE_ASSERT(after->failed == before->failed && after->cancelled == before->cancelled);
}

static void receive(broker_address from, struct wire_message *message, bool hello) {
    struct broker_event event = {.type = BROKER_RECEIVE, .from = from, .message = message};
    struct broker_stats before, after;

    broker_get_stats(world.core, &before);
    broker_step(world.core, world.now_ns, &event);
    broker_get_stats(world.core, &after);
    if (!hello) { /* one that can't be registered ends its session */
        check_refused(&before, &after);
    }
    act();
    check_stats();
}

static void resend_wanted(struct peer *peer) {
    uint32_t count;

    peer->resend = false;
    if (!link_resend_from(&peer->link, world.now_ns, peer->resend_from, &count)) {
        peer->welcomed = false;
        return;
    }
    for (uint32_t i = 0; i < count && i < peer->link.kept_count; i++) {
        struct wire_message *message = wire_message_ref(link_kept_at(&peer->link, i));

        receive(peer->address, message, false);
        wire_message_unref(message);
    }
}

/* Gives the broker a message as it is; takes it. */
static void send_raw(struct peer *peer, struct wire_message *message, bool hello) {
    receive(peer->address, message, hello);
    wire_message_unref(message);
    for (uint32_t i = 0; i < PEERS; i++) {
        if (world.peers[i].resend) {
            resend_wanted(&world.peers[i]);
        }
    }
}

/* Takes note of what a message submits and cancels, if it can be read at all. */
static void note_sent(struct peer *client, const struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    if (!wire_open(message, &envelope, &fault) ||
        (envelope.type != WIRE_SUBMIT && envelope.type != WIRE_CANCEL) ||
        !wire_batch_open(&batch, message, &fault)) {
        return;
    }
    while (wire_batch_next(&batch, &entry)) {
        struct told *told = told_of(client, entry.values[0]);

        if (told != NULL && envelope.type == WIRE_SUBMIT) {
            told->submits++;
            told->muddled = told->muddled || told->cancelling;
        } else if (told != NULL) {
            told->cancelling = true;
        }
    }
}

/* Sends a message as the next of the stream, or outside of it if its type says so; takes it. */
static void send(struct fuzz_input *in, struct peer *peer, struct wire_message *message,
                 uint8_t how) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    BASE_ASSERT(message != NULL);
    if ((how & 0x80) != 0) {
        fuzz_spoil(in, message, true);
    }
    if (!wire_open(message, &envelope, &fault)) {
        send_raw(peer, message, false);
        return;
    }
    note_sent(peer, message);
    if ((how & 0x40) != 0) { /* not what the link would make of it */
        fuzz_forge(message, fuzz_number(in, peer->link.sent + 1),
                   fuzz_number(in, peer->link.received));
        send_raw(peer, message, false);
    } else if (envelope.type >= WIRE_FIRST_SEQUENCED) {
        BASE_ASSERT(link_post(&peer->link, world.now_ns, message));
        send_raw(peer, message, false);
    } else {
        link_mark(&peer->link, world.now_ns, message);
        send_raw(peer, message, false);
    }
}

/* ------------------------------------------------------------- what is said */

static const struct wire_text function_names[] = {{"f", 1}, {"g", 1}, {"h", 1}, {"nobody", 6}};
static const struct wire_text tag_names[] = {{"gpu", 3}, {"big", 3}};

static void say_hello(struct fuzz_input *in, struct peer *peer) {
    struct wire_text functions[3];
    uint8_t which = fuzz_byte(in), how = fuzz_byte(in);
    struct wire_hello hello = {
        .version_min = (how & 0xf0) == 0xf0 ? 2 : 1,
        .version_max = 1u + (how & 1u),
        .role = peer->role,
        .session = peer->session,
        .epoch = (how & 6u) == 6u ? fuzz_number(in, 0) : peer->epoch,
        .received = (how & 8u) != 0 ? fuzz_number(in, peer->link.received) : peer->link.received,
        .name = {"peer", 4},
        .host = {"peer-host", 9},
        .pid = 4711,
        .functions = functions,
        .tags = tag_names,
    };
    bool spoilt = (how & 0x30) == 0x30;
    struct wire_message *message;

    if (peer->role == WIRE_WORKER) {
        hello.slots = 1u + which / 8 % 4;
        hello.tag_count = which / 32 % 3;
        for (uint32_t i = 0; i < 3; i++) {
            if ((which & (1u << i)) != 0) {
                functions[hello.function_count++] = function_names[i];
            }
        }
    }
    peer->welcomed = false;
    message = wire_hello_encode(&hello);
    BASE_ASSERT(message != NULL);
    if (spoilt) {
        fuzz_spoil(in, message, true);
        /* It may be welcomed as somebody else now, which nobody here is. */
        peer->address = ++world.last_address;
        receive(world.last_address + 1000, message, true);
        wire_message_unref(message);
        return;
    }
    send_raw(peer, message, true);
}

static struct wire_message *make_define(struct fuzz_input *in) {
    uint8_t what = fuzz_byte(in), how = fuzz_byte(in);
    struct wire_define define = {
        .class_index =
            what % 8 == 7 ? (uint32_t)fuzz_number(in, 65535) % WIRE_CLASSES_MAX : what % 8u,
        .function = function_names[what / 8 % 4],
        .tags = {tag_names[0], tag_names[1]},
        .tag_count = what / 32 % 4 == 3   ? 2u
                     : what / 32 % 4 == 2 ? 1u
                                          : 0u,
        .priority = how % 3 - 1,
        .flags = how / 4 % (WIRE_FLAGS_MAX + 1),
        .max_attempts = 1 + how / 16 % 2,
        .queue_ms = (how & 0x20) != 0 ? 10 : 0,
        .run_ms = (how & 0x40) != 0 ? 20 : 0,
        .retries = how / 0x80,
        .retry_ms = how,
    };

    return wire_define_encode(&define);
}

static uint64_t some_id(struct fuzz_input *in) {
    uint8_t which = fuzz_byte(in);

    return which >= 0xf0 ? fuzz_number(in, 1u << 20)
                         : (uint64_t)(which / SLOTS % GENERATIONS) << 32 | which % SLOTS;
}

static uint64_t some_lease(struct fuzz_input *in, const struct peer *worker) {
    uint8_t which = fuzz_byte(in);

    return which >= 0xf0 ? fuzz_number(in, 1) : worker->leases[which % LEASES].lease;
}

static size_t make_entry(struct fuzz_input *in, const struct peer *peer, enum wire_type type,
                         uint64_t *key, uint64_t *entry) {
    const struct lease *lease = &peer->leases[0];
    uint8_t how;

    switch (type) {
    case WIRE_SUBMIT:
        how = fuzz_byte(in);
        key[0] = how % 8 == 7 ? 65535 : how % 8;
        key[1] = 1 + how / 8 % 4;
        key[2] = how / 32 % 4 == 3;
        entry[0] = some_id(in);
        return how >= 0xf8 ? 66000 : how / 4u;
    case WIRE_RESULTS:
        key[0] = fuzz_pick(in, 16) < 10 ? 0 : fuzz_pick(in, WIRE_KIND_CANCELLED);
        entry[0] = some_lease(in, peer);
        return fuzz_byte(in);
    case WIRE_CLAIMS:
        how = fuzz_byte(in);
        lease = &peer->leases[how % LEASES];
        key[0] = lease->session.high;
        key[1] = how >= 0x80 ? world.peers[how % CLIENTS].session.low : lease->session.low;
        entry[0] = how >= 0xc0 ? some_lease(in, peer) : lease->lease;
        entry[1] = how >= 0x80 ? some_id(in) : lease->id;
        entry[2] = 1 + how / 16 % 4;
        break;
    case WIRE_CANCEL:
        entry[0] = some_id(in);
        break;
    default: /* RETURNED, RUNNING */
        key[0] = fuzz_pick(in, 2);
        entry[0] = some_lease(in, peer);
        break;
    }
    return 0;
}

static struct wire_message *make_batch(struct fuzz_input *in, const struct peer *peer,
                                       enum wire_type type) {
    static const uint8_t bytes[70000];
    uint8_t shape = fuzz_byte(in);
    uint64_t extra[WIRE_EXTRA_MAX] = {shape / 64, 0};
    struct wire_writer *writer = wire_writer_new(type);
    struct wire_message *message;

    BASE_ASSERT(writer != NULL);
    if (type == WIRE_CLAIMS) {
        extra[0] = shape / 64 > 1;
    }
    for (uint32_t i = shape % 8; i > 0; i--) {
        uint64_t key[WIRE_KEY_MAX] = {0}, entry[WIRE_ENTRY_MAX] = {0};
        size_t size = make_entry(in, peer, type, key, entry);

        (void)wire_writer_put(writer, key, entry, bytes, size, NULL);
    }
    message = wire_writer_finish(writer, extra);
    wire_writer_free(writer);
    return message;
}

static struct wire_message *make_death(struct fuzz_input *in) {
    uint8_t how = fuzz_byte(in);
    const struct peer *worker = &world.peers[CLIENTS + how % WORKERS];
    uint64_t running[4];
    struct wire_child_died died = {
        .session = worker->session,
        .pid = 4711,
        .signal = how / 64 == 1 ? 11 : 0,
        .exit_code = how / 64 == 2 ? 1 : 0,
        .host = {"host", 4},
        .expected = how / 64 == 3,
        .running = running,
        .running_count = how / 4 % 4,
    };

    for (uint32_t i = 0; i < died.running_count; i++) {
        running[i] = some_lease(in, worker);
    }
    return wire_child_died_encode(&died);
}

/* A worker that does all that it was given. */
static struct wire_message *make_results_of_all(const struct peer *worker) {
    static const uint64_t key = WIRE_KIND_VALUE, extra = 1000;
    struct wire_writer *writer = wire_writer_new(WIRE_RESULTS);
    struct wire_message *message;

    BASE_ASSERT(writer != NULL);
    for (uint32_t i = 0; i < worker->lease_count && i < LEASES; i++) {
        (void)wire_writer_put(writer, &key, &worker->leases[i].lease, "\xc0", 1, NULL);
    }
    message = wire_writer_finish(writer, &extra);
    wire_writer_free(writer);
    return message;
}

/* -------------------------------------------------------------------- time */

static void heartbeats(void) {
    for (uint32_t i = 0; i < PEERS; i++) {
        struct peer *peer = &world.peers[i];

        if (peer->welcomed && world.now_ns >= peer->link.last_sent_ns + FUZZ_S) {
            struct wire_message *beat = wire_heartbeat_encode(peer->link.sent);

            BASE_ASSERT(beat != NULL);
            link_mark(&peer->link, world.now_ns, beat);
            send_raw(peer, beat, false);
        }
    }
}

/* Lets time pass as a shell does: from deadline to deadline. There must be an end to these. */
static void pass(uint64_t duration_ns, bool beating) {
    uint64_t end_ns = world.now_ns + duration_ns;
    uint32_t steps = 0;

    while (world.now_ns < end_ns) {
        uint64_t next_ns = broker_deadline(world.core);

        next_ns = next_ns < end_ns ? next_ns : end_ns;
        next_ns = beating && next_ns > world.now_ns + FUZZ_S ? world.now_ns + FUZZ_S : next_ns;
        world.now_ns = next_ns > world.now_ns ? next_ns : world.now_ns + 1000;
        if (beating) {
            heartbeats();
        }
        step(BROKER_TICK);
        step(BROKER_FLUSH);
        BASE_ASSERT(++steps < 20000);
    }
}

/* ------------------------------------------------------------------ scripts */

static void begin(void) {
    world.config.epoch++;
    world.config.seed = 7;
    world.core = broker_new(&world.config, world.now_ns);
    BASE_ASSERT(world.core != NULL);
    world.draining = world.drained = false;
}

static void connect_anew(struct peer *peer, uint8_t how) {
    peer->address = ++world.last_address;
    peer->deaf = how % 4 == 3;
    if (how % 4 == 2) { /* another process */
        peer->session.high++;
        peer->epoch = 0;
        peer->lease_count = 0;
        peer->streams = 0;
        link_stream(&peer->link, world.now_ns, 0);
    }
    peer->welcomed = peer->welcomed && how % 4 == 3;
}

static void general(struct fuzz_input *in, struct peer *peer, uint8_t how) {
    struct wire_message *message;

    switch (how % 8) {
    case 0:
        say_hello(in, peer);
        break;
    case 1:
        pass(fuzz_duration(in), (how & 0x80) == 0);
        break;
    case 2:
        step(BROKER_FLUSH);
        break;
    case 3:
        connect_anew(peer, fuzz_byte(in));
        break;
    case 4:
        message = how / 8 % 2 == 0 ? wire_heartbeat_encode(fuzz_number(in, peer->link.sent))
                                   : wire_resume_encode(fuzz_number(in, peer->link.received));
        send(in, peer, message, how);
        break;
    case 5:
        message = fuzz_message(in);
        if (message != NULL) {
            note_sent(peer, message);
            if ((how & 0x80) == 0) {
                fuzz_forge(message, peer->link.sent + 1, peer->link.received);
            }
            send_raw(peer, message, true); /* it may be a HELLO */
        }
        break;
    case 6:
        if (how == 0xfe) {
            world.draining = true;
            step(BROKER_DRAIN);
        } else if (how == 0xee) {
            broker_free(world.core);
            begin();
        } else if (how >= 0xc0) {
            send(in, peer, wire_plain_encode(how % 16 < 8 ? WIRE_BYE : WIRE_DRAIN), 0);
        } else {
            step(BROKER_FLUSH);
        }
        break;
    default:
        peer->deaf = !peer->deaf;
        break;
    }
}

static struct wire_message *make_question(struct fuzz_input *in, uint8_t what) {
    uint8_t how = fuzz_byte(in);
    const struct wire_session session = world.peers[how % PEERS].session;

    switch (what % 4) {
    case 0:
        return wire_ping_encode(&(struct wire_ping){how});
    case 1:
        return wire_list_encode(
            &(struct wire_list_request){how, how % WIRE_LIST_COUNT, how / 0x80});
    case 2:
        return wire_explain_encode(&(struct wire_explain){
            .number = how, .session = session, .named = 1, .id = some_id(in)});
    default:
        return wire_retire_encode(&(struct wire_retire){.number = how, .session = session});
    }
}

static void speak(struct fuzz_input *in, struct peer *peer, uint8_t how) {
    static const enum wire_type of_workers[] = {WIRE_RESULTS, WIRE_RETURNED, WIRE_RUNNING,
                                                WIRE_CLAIMS};
    uint8_t what = how % 16;

    switch (peer->role) {
    case WIRE_CLIENT:
        send(in, peer,
             what < 4 ? make_define(in)
                      : make_batch(in, peer, what < 12 ? WIRE_SUBMIT : WIRE_CANCEL),
             how);
        break;
    case WIRE_WORKER:
        send(in, peer,
             what < 8 ? make_results_of_all(peer) : make_batch(in, peer, of_workers[what % 4]),
             how);
        break;
    case WIRE_ADMIN:
        send(in, peer, make_question(in, what), how);
        break;
    case WIRE_SUPERVISOR:
        send(in, peer, what == 15 ? make_batch(in, peer, WIRE_SUBMIT) : make_death(in), how);
        break;
    }
}

/* Everybody has fallen silent: the broker forgets them all, and what they had. */
static void end_of_all(void) {
    struct broker_stats stats;

    for (uint32_t i = 0; i < PEERS; i++) {
        world.peers[i].welcomed = false;
        world.peers[i].deaf = true;
    }
    pass(world.config.silence_ns + world.config.settle_ns + 60 * FUZZ_S, false);
    broker_get_stats(world.core, &stats);
    BASE_ASSERT(stats.clients == 0 && stats.workers == 0 && stats.supervisors == 0);
    BASE_ASSERT(stats.tasks_queued == 0 && stats.tasks_leased == 0 && stats.memory_bytes == 0);
    BASE_ASSERT(!world.draining || world.drained);
}

/* And a new client's task is run by a new worker. */
static void service(void) {
    static const uint8_t zeroes[16] = {0};
    static const uint8_t hello[] = {7, 0}, define[] = {0, 0}, submit[] = {1, 0, 0};
    static const uint8_t claims[] = {0x80}; /* none, and these are all */
    struct peer *client = &world.peers[0], *worker = &world.peers[CLIENTS];
    struct fuzz_input in;

    if (world.draining) {
        return;
    }
    for (uint32_t i = 0; i < PEERS; i++) {
        connect_anew(&world.peers[i], 2);
        world.peers[i].deaf = false;
    }
    in = (struct fuzz_input){hello, hello + sizeof hello};
    say_hello(&in, worker);
    in = (struct fuzz_input){zeroes, zeroes + 2};
    say_hello(&in, client);
    BASE_ASSERT(client->welcomed && worker->welcomed);
    in = (struct fuzz_input){define, define + sizeof define};
    send(&in, client, make_define(&in), 0);
    in = (struct fuzz_input){submit, submit + sizeof submit};
    send(&in, client, make_batch(&in, client, WIRE_SUBMIT), 0);
    in = (struct fuzz_input){claims, claims + sizeof claims};
    send(&in, worker, make_batch(&in, worker, WIRE_CLAIMS), 0);
    step(BROKER_FLUSH);
    BASE_ASSERT(worker->lease_count == 1);
    send(&in, worker, make_results_of_all(worker), 0);
    step(BROKER_FLUSH);
    BASE_ASSERT(client->told[0].submits == 1 && client->told[0].ends == 1);
}

static void world_init(void) {
    memset(&world, 0, sizeof world);
    world.now_ns = 1000 * FUZZ_S;
    world.config.host = "broker-host";
    world.config.pid = 77;
    broker_config_default(&world.config);
    world.config.tasks_max = TASKS_MAX;
    world.config.sessions_max = SESSIONS_MAX;
    world.config.memory_bytes = 1 << 20;
    world.config.silence_ns = 5 * FUZZ_S;
    world.config.settle_ns = 20 * FUZZ_MS;
    world.config.no_function_ns = 50 * FUZZ_MS;
    for (uint32_t i = 0; i < PEERS; i++) {
        world.peers[i].role = i < CLIENTS             ? WIRE_CLIENT
                              : i < CLIENTS + WORKERS ? WIRE_WORKER
                              : i < PEERS - 1         ? WIRE_ADMIN
                                                      : WIRE_SUPERVISOR;
        world.peers[i].address = ++world.last_address;
        world.peers[i].session = (struct wire_session){1, i + 1};
        link_init(&world.peers[i].link, world.now_ns, 0, 0);
        link_stream(&world.peers[i].link, world.now_ns, 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input in = {data, data + (size < SCRIPT_MAX ? size : SCRIPT_MAX)};

    world_init();
    begin();
    while (fuzz_more(&in)) {
        uint8_t who = fuzz_byte(&in), how = fuzz_byte(&in);
        struct peer *peer = &world.peers[who % PEERS];

        if (who < 0x80 && peer->welcomed) {
            speak(&in, peer, how);
        } else {
            general(&in, peer, who < 0x80 ? 0 : how);
        }
    }
    end_of_all();
    service();
    broker_free(world.core);
    for (uint32_t i = 0; i < PEERS; i++) {
        link_fini(&world.peers[i].link);
    }
    return 0;
}
