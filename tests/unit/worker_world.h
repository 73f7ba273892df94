/* A worker core, a broker played by the test, and a pool that does what the test says: for tests of
 * the core in virtual time. Each function fails the test if something is not as it should be. */
#ifndef TEST_WORKER_WORLD_H
#define TEST_WORKER_WORLD_H

#include "wire/link.h"
#include "worker/core.h"

#define WORLD_MS       UINT64_C(1000000)
#define WORLD_TASKS    8192
#define WORLD_MESSAGES 512

struct world {
    struct worker_config config;
    struct worker_core *core;
    uint64_t now_ns;
    struct link link; /* the broker's end */
    uint64_t epoch;
    uint64_t payload_max;
    bool deaf; /* what the worker sends is lost */

    struct wire_message *sent[WORLD_MESSAGES]; /* by the worker, not yet taken */
    uint32_t sent_count;
    struct worker_task *started[WORLD_TASKS]; /* in order; NULL once finished or withdrawn */
    uint32_t started_count;
    bool running[WORLD_TASKS]; /* can't be withdrawn any more */
    bool ahead[WORLD_TASKS];   /* were to start before the others */
    struct worker_task *interrupted[16];
    uint32_t interrupted_count;
    uint32_t reconnects, kills, retiring, leaves, warnings;
    bool left;
    char left_text[256], warning[256];
};

/* world_make begins with slots 2, functions "zero", "one", "two"; change world->config, then
 * world_begin. */
int world_make(void **state);
int world_free(void **state);
void world_begin(struct world *world);

void world_step(struct world *world, const struct worker_event *event);
void world_event(struct world *world, enum worker_event_type type); /* and nothing with it */
void world_flush(struct world *world);
/* world_pass lets time go by, in steps of the core's deadlines. */
void world_pass(struct world *world, uint64_t ns);

/* The broker's side. */
void world_deliver(struct world *world, struct wire_message *message); /* takes the reference */
void world_post(struct world *world, struct wire_message *message);    /* numbered; likewise */
void world_welcome(struct world *world, bool resumed, uint64_t received);
/* world_connect: HELLO, WELCOME of a new epoch, and empty CLAIMS. */
void world_connect(struct world *world);
/* world_run sends one RUN with `count` tasks of leases from `lease` on; ids are lease + 1000, each
 * task's argument is its lease packed. */
struct wire_message *world_run_message(uint64_t lease, uint32_t count, uint32_t function,
                                       uint64_t run_ms);
void world_run(struct world *world, uint64_t lease, uint32_t count);
/* world_run_of does so for a client, by the lower half of its session (which is 9 elsewhere). */
void world_run_of(struct world *world, uint64_t client, uint64_t lease, uint32_t count);
void world_batch(struct world *world, enum wire_type type, uint64_t extra, const uint64_t *leases,
                 uint32_t count);
/* world_take takes the next message that the worker sent and checks its type; what is sequenced must
 * be next in order. Heartbeats are passed over unless asked for. The caller unrefs. world_nothing:
 * there is none. */
struct wire_message *world_take(struct world *world, enum wire_type type);
void world_nothing(struct world *world);
/* world_acknowledge: all that was taken is acknowledged by a heartbeat. */
void world_acknowledge(struct world *world);

/* world_take_batch takes one batch message as a list: the first of each key, the first of each entry. */
struct world_entry {
    uint64_t key, lease;
};
uint32_t world_take_batch(struct world *world, enum wire_type type, struct world_entry *entries,
                          uint32_t room);
/* world_expect: the next message is a batch of this type with exactly these entries. */
void world_expect(struct world *world, enum wire_type type, uint32_t count, ...);
#define WORLD_PAIR(key, lease) (uint64_t)(key), (uint64_t)(lease)

/* The pool's side. */
struct worker_task *world_task(struct world *world, uint64_t lease); /* must be there */
void world_finish(struct world *world, uint64_t lease, enum wire_kind kind);
/* world_finish_with: the same with an outcome of the test's own, whose task is set. */
void world_finish_with(struct world *world, uint64_t lease, struct worker_outcome *outcome);
void world_started(struct world *world, uint64_t lease); /* from now on it is not withdrawn */
void world_began(struct world *world, uint64_t lease);

#endif
