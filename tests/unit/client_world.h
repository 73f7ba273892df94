/* A client's core and the broker that it talks to, which is made of the codec and a link: in virtual
 * time, for the tests of the core. */
#ifndef TEST_CLIENT_WORLD_H
#define TEST_CLIENT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libclient/core.h"
#include "wire/link.h"

#define MS     UINT64_C(1000000)
#define SECOND (1000 * MS)
#define START  (100 * SECOND)

#define TASKS   20000u
#define PLENTY  UINT64_C(1000000000)
#define SUBMITS 65536u

enum fate { NOTHING, RESOLVED, VERDICT_NO, VERDICT_YES };

struct test_task {
    struct client_task task;
    uint8_t data[8];
    unsigned resolved, verdicts, began; /* how often */
    enum fate last;
    enum wire_kind kind;
    char text[160]; /* the value's bytes, or the error's message */
};

struct submitted {
    uint64_t id, class_index, attempt, resent;
    uint64_t data; /* the first bytes of the payload */
    size_t size;
};

struct world {
    struct client_core *core;
    uint64_t now_ns;
    struct test_task *tasks;

    struct link link; /* the broker's */
    uint64_t epoch;
    bool known;                            /* whether the broker has a session */
    bool deaf;                             /* the broker hears nothing */
    uint64_t granted_tasks, granted_bytes; /* at each new session */

    struct submitted *submits;
    uint32_t submit_count, defines, cancels, heartbeats, hellos, byes, rejects;
    uint64_t cancelled[TASKS];
    unsigned reconnects, connected, connected_anew, refused, left, logs;
    char refusal[128];
};

/* ---- the broker ---- */

/* Hands a message to the client as it is; takes the reference. */
void to_client(struct world *w, struct wire_message *message);
/* Numbers it first. */
void post(struct world *w, struct wire_message *message);
/* A batch of one group, with the same payload in each entry. */
struct wire_message *batch_of(enum wire_type type, const uint64_t *extra, uint64_t key,
                              const uint64_t *ids, uint32_t count, const char *data);
/* What the broker says of tasks. */
void credit(struct world *w, uint64_t tasks, uint64_t bytes);
void outcome(struct world *w, uint64_t id, enum wire_kind kind, const char *data);
void verdict(struct world *w, uint64_t id, bool yes);

/* ---- the client ---- */

/* One step; what it sends reaches the broker after it, in order. */
void step(struct world *w, const struct client_event *event);
void flush(struct world *w);
/* Lets time pass, with a tick at each deadline. */
void run_until(struct world *w, uint64_t until_ns);
uint32_t class_of(struct world *w, const char *function, uint64_t queue_ms);
struct client_task *task_at(struct world *w, uint32_t i);
struct client_task *prepare(struct world *w, uint32_t i, uint32_t class_index);
/* Submits the tasks first to first + count - 1 as one chain. */
void submit_class(struct world *w, uint32_t first, uint32_t count, uint32_t class_index);
void submit(struct world *w, uint32_t first, uint32_t count);
void cancel(struct world *w, uint32_t i);
/* BREAK. */
void give_up(struct world *w);
struct client_stats stats_of(struct world *w);

/* ---- the world ---- */

struct world *world_new(uint64_t granted_tasks, uint64_t granted_bytes);
/* A world whose client has been welcomed, and has its credit. */
struct world *connected_world(uint64_t granted_tasks, uint64_t granted_bytes);
void world_free(struct world *w);
/* The broker is another one from now on, which knows nobody. */
void restart_broker(struct world *w);

#endif
