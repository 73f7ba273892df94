/* The client's core: one session with a broker; submits tasks, keeps them until they have an
 * outcome, submits them again to a new epoch, gets verdicts on cancels (docs/protocol.md).
 * Pure: step(core, now, event) -> actions. */
#ifndef CLIENT_CORE_H
#define CLIENT_CORE_H

#include "base/heap.h"
#include "base/list.h"
#include "wire/message.h"

struct client_core;

struct client_config {
    struct wire_session session;
    uint64_t seed;
    const char *name, *host; /* borrowed for the core's life */
    int64_t pid;
    bool await_transport; /* say no HELLO before the first CLIENT_RECONNECTED */
    /* Whether there is memory to receive a message of so many bytes; NULL: always. */
    bool (*has_room)(void *user, uint64_t bytes);
    void *room_user;
};
/* client_core_new: NULL without memory. */
struct client_core *client_core_new(const struct client_config *config, uint64_t now_ns);
void client_core_free(
    struct client_core *core); /* no task may be left: CLIENT_BREAK; NULL is fine */

/* What a task is besides its arguments; the same for many tasks, so it is interned.
 * client_class_intern gives the index of an equal class, made if need be. -1: no memory, -2: over
 * WIRE_CLASSES_MAX. The core copies what it needs. Not a per-task path: callers keep the index.
 * The one call that may run beside client_step, in another thread, as long as only one runs at a
 * time and a task of the class reaches a step after the call has returned. */
int64_t client_class_intern(struct client_core *core, const struct wire_define *define);

/* client_classes_alike: whether no class has a priority, tags, or a limit for waiting. Then it makes no
 * difference to any task whether it waits before the core, in it, or at the broker. Any thread. */
bool client_classes_alike(const struct client_core *core);

/* A task of this client; embedded in a future, so the core allocates nothing for it. The caller
 * fills in the first part and keeps `data` until the task is resolved. */
struct client_task {
    struct client_task *next; /* chains of SUBMIT events */
    const uint8_t *data;
    uint32_t size;
    uint32_t class_index;
    struct wire_blob *large; /* the bytes as a blob, if size >= WIRE_LARGE_BYTES_MIN; else NULL */
    /* the core's: */
    uint64_t id;
    uint64_t start_by_ns; /* the class's queue_ms from submission on; 0: no limit */
    struct base_node node;
    uint8_t state;
    uint8_t flags;
    uint16_t attempt;
};

/* So many tasks are taken at a time from a chain with a rest: enough to fill a batch, few enough that the
 * first are under way while the others are still to be looked at. */
#define CLIENT_SUBMIT_MAX 2048u

enum client_event_type {
    CLIENT_SUBMIT, /* task: a chain by `next`, in order, ending with NULL; rest: NULL, or where to put
                      what is left of it after CLIENT_SUBMIT_MAX tasks */
    CLIENT_CANCEL, /* task (one that is not resolved): answered by CLIENT_VERDICT or CLIENT_RESOLVE */
    CLIENT_CANCEL_ALL, /* the same for every task there is; those that can be are cancelled at once */
    CLIENT_RECEIVE,
    CLIENT_RECONNECTED, /* the transport says so: HELLO is due */
    CLIENT_TICK,
    CLIENT_FLUSH, /* nothing more to take in now: send what has formed */
    CLIENT_BREAK, /* resolve every task with `kind` and `data` (an encoded wire_error), at once: one
                      CLIENT_RESOLVE with all of them as its chain */
    CLIENT_LEAVE, /* say BYE (when all tasks are resolved); CLIENT_LEFT when acknowledged or after
                      a second */
};
struct client_event {
    enum client_event_type type;
    struct client_task *task;
    struct client_task **rest;    /* SUBMIT */
    struct wire_message *message; /* RECEIVE: borrowed */
    enum wire_kind kind;          /* BREAK */
    const void *data;
    size_t size;
};

enum client_action_type {
    CLIENT_SEND,    /* message; the reference is the shell's */
    CLIENT_RESOLVE, /* task has its outcome: kind, data (until the next step), large (likewise). With
                         `chain` the same outcome is that of all tasks behind it by `next` as well */
    CLIENT_BEGAN,   /* task is running */
    CLIENT_VERDICT, /* cancel of task: `yes` = it is cancelled and gone from the core; else it goes on */
    CLIENT_RECONNECT, /* the link has been silent for long: make a new connection */
    CLIENT_REFUSED,   /* the broker refuses us for good (text says why; yes: it is our key that it
                         doesn't want); tasks remain: BREAK them */
    CLIENT_CONNECTED, /* WELCOME came (text: NULL); yes: from a broker that knew nothing of us */
    CLIENT_LEFT,
    CLIENT_LOG,
};
struct client_action {
    enum client_action_type type;
    bool yes;
    bool warn;
    bool chain;
    enum wire_kind kind;
    struct client_task *task;
    struct wire_message *message;
    const uint8_t *data;
    size_t size;
    struct wire_blob *large; /* not a reference */
    const char *text;        /* until the next step */
};

void client_step(struct client_core *core, uint64_t now_ns, const struct client_event *event);
const struct client_action *client_actions(const struct client_core *core, size_t *count);
uint64_t client_deadline(const struct client_core *core);

struct client_stats {
    uint32_t waiting; /* not yet sent: no credit or no connection */
    uint32_t sent;    /* at the broker, without an outcome */
    bool connected;
    uint64_t epoch;
};
void client_get_stats(const struct client_core *core, struct client_stats *stats);

#endif
