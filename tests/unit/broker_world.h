/* A broker core in virtual time, with clients, workers and supervisors played by the test. Each
 * function fails the test if something is not as it should be. */
#ifndef TEST_BROKER_WORLD_H
#define TEST_BROKER_WORLD_H

#include "broker/core.h"
#include "wire/link.h"

#define WORLD_MS    UINT64_C(1000000)
#define WORLD_S     UINT64_C(1000000000)
#define WORLD_PEERS 1200

struct world;

/* One entry of a batch that came from the broker, or a message without entries. */
struct got {
    enum wire_type type;
    bool taken;
    uint64_t extra[WIRE_EXTRA_MAX], key[WIRE_KEY_MAX], values[WIRE_ENTRY_MAX];
    size_t size;
    uint8_t *data;
    uint32_t message; /* which message of this peer's it was in */
};

struct peer {
    struct world *world;
    broker_address address;
    enum wire_role role;
    const struct broker_identity *identity; /* NULL: the transport knows of none */
    struct wire_session session;
    const char *functions, *tags; /* separated by spaces */
    uint32_t slots;
    struct link link;
    uint64_t epoch;
    bool welcomed, resumed;
    bool deaf; /* what is sent to it is lost */
    bool mute; /* no heartbeats */
    struct got *in;
    size_t in_count, in_room;
    uint32_t messages;
    uint32_t unknowns, rejects, stops, forgotten;
    enum wire_reject_code reject_code;
    char reject_text[256];
    uint64_t credit_tasks, credit_bytes; /* the last told */
    struct wire_message *answer;         /* an admin's last; NULL: none */
};

struct world {
    struct broker_config config;
    struct broker_core *core;
    uint64_t now_ns;
    struct peer *peers[WORLD_PEERS];
    uint32_t peer_count;
    uint32_t warnings, drained;
    char warning[512];
    /* called before (true) and after each step of the broker, if set */
    void (*around)(struct world *world, bool before);
    void *user;
};

/* world_make: a configuration with defaults; change it, then world_begin. */
int world_make(void **state);
int world_free(void **state);
void world_begin(struct world *world);
/* world_restart: the broker dies, another epoch begins; peers keep what they were. */
void world_restart(struct world *world);

void world_step(struct world *world, enum broker_event_type type);
/* world_forget frees what all peers have got: for long runs. */
void world_forget(struct world *world);
/* world_flush: the broker has taken in everything. */
void world_flush(struct world *world);
/* world_pass lets time go by, in steps of the broker's deadlines; peers send heartbeats. */
void world_pass(struct world *world, uint64_t ns);
/* world_authorize: a key's rights or quota have changed. */
void world_authorize(struct world *world, const struct broker_identity *identity);
struct broker_stats world_stats(const struct world *world);

/* peer_new makes one that has not spoken yet; peer_join says HELLO, is welcomed, and the broker
 * flushes. */
struct peer *peer_new(struct world *world, enum wire_role role);
void peer_hello(struct peer *peer);
/* peer_join: as below, for one that was made before. */
struct peer *peer_join(struct peer *peer);
struct peer *client_join(struct world *world);
struct peer *worker_join(struct world *world, uint32_t slots, const char *functions,
                         const char *tags);
struct peer *supervisor_join(struct world *world);
struct peer *admin_join(struct world *world);
/* peer_raw steps the broker with a message as it is; peer_post numbers it first. Both take it. */
void peer_raw(struct peer *peer, struct wire_message *message);
void peer_post(struct peer *peer, struct wire_message *message);
void peer_mark(struct peer *peer, struct wire_message *message);

/* take gives the first entry of a type that was not taken yet; there must be one. */
const struct got *take(struct peer *peer, enum wire_type type);
/* look gives it without taking it; NULL: none. */
const struct got *look(struct peer *peer, enum wire_type type);
uint32_t waiting(struct peer *peer, enum wire_type type);
/* take_for: the same for the entry with this first value. */
const struct got *take_for(struct peer *peer, enum wire_type type, uint64_t value);
void forget_all(struct peer *peer); /* all that came counts as taken */

/* -- clients -- */
#define ONCE WIRE_FLAG_AT_MOST_ONCE
struct wire_define define_of(uint32_t class_index, const char *function);
void define(struct peer *client, const struct wire_define *define);
void define_plain(struct peer *client, uint32_t class_index, const char *function);
void submit_as(struct peer *client, uint32_t class_index, uint64_t id, uint32_t attempt,
               bool resent, const void *data, size_t size);
void submit(struct peer *client, uint32_t class_index, uint64_t id); /* the payload is the id */
/* submit_many submits ids from `first` on, in one message or several. */
void submit_many(struct peer *client, uint32_t class_index, uint64_t first, uint32_t count);
void cancel(struct peer *client, uint64_t id);
/* expect_outcome takes the outcome of a task and checks its kind. */
const struct got *expect_outcome(struct peer *client, uint64_t id, enum wire_kind kind);
/* expect_error does so and checks that the message holds a text. */
void expect_error(struct peer *client, uint64_t id, enum wire_kind kind, const char *text);
void expect_verdict(struct peer *client, uint64_t id, bool cancelled);

/* -- workers -- */
/* expect_run takes the run of a task and gives its lease. */
uint64_t expect_run(struct peer *worker, uint64_t id);
void give_result(struct peer *worker, uint64_t lease, enum wire_kind kind, uint64_t busy_ns);
void give_value(struct peer *worker, uint64_t lease, const void *data, size_t size);
/* finish_all gives a value for every run that was not taken; returns how many. */
uint32_t finish_all(struct peer *worker, uint64_t busy_ns_each);
void give_back(struct peer *worker, uint64_t lease, bool returned);
void say_running(struct peer *worker, uint64_t lease);
void claim(struct peer *worker, bool final, const struct peer *client, uint64_t lease, uint64_t id,
           uint32_t attempt);
void claim_nothing(struct peer *worker);

/* -- supervisors -- */
void child_died(struct peer *supervisor, const struct peer *worker, uint32_t signal, bool expected,
                const uint64_t *running, uint32_t running_count);

#endif
