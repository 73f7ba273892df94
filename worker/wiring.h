/* What a supervisor and its worker processes share: settings on the command line, descriptors, records
 * between the two, and the black box. Both are of one version of the library, which is checked. */
#ifndef WORKER_WIRING_H
#define WORKER_WIRING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "wire/message.h"

/* ---- descriptors that a child begins with, besides 0 to 2 ---- */

enum worker_fd {
    WORKER_FD_LIFELINE = 3, /* a pipe that ends when the supervisor does */
    WORKER_FD_CONTROL = 4,  /* a SOCK_SEQPACKET for records, in both directions */
    WORKER_FD_BOX = 5,      /* the black box, a memfd */
    WORKER_FD_ARGS = 6,     /* the initializer's arguments, a memfd; only if there are any */
    WORKER_FD_HOME = 7,     /* memory shared with the supervisor (wire/shared.h): its own, */
    WORKER_FD_OWN = 8,      /* and the child's; only if it is shared */
};
/* Others than these may not be below, while a child is being spawned. */
#define WORKER_FD_FREE 10

/* ---- settings ---- */

struct worker_settings {
    struct wire_session session;
    const char *endpoint;
    const char *key, *server; /* file of the secret key, and the broker's public one; NULL: none */
    const char *name;
    const char *initializer; /* NULL: none */
    unsigned threads;
    uint64_t tasks_max;
    uint64_t grace_ns;
    enum base_log_level log_level;
    bool arguments; /* WORKER_FD_ARGS is there */
    bool shared;    /* WORKER_FD_HOME and WORKER_FD_OWN are there */
    const char **modules;
    const char **tags;
    uint32_t module_count, tag_count;
};

/* worker_settings_print makes the command line of a child: a NULL-terminated argv, argv[0] being
 * `argv0`, in one block of memory that is released with free(). NULL: no memory. */
char **worker_settings_print(const struct worker_settings *settings, const char *argv0);

/* worker_settings_parse reads it, except argv[0]. The strings stay in argv; the lists are allocated and
 * freed by worker_settings_fini. Returns NULL, or what is wrong in words (nothing is to be freed then). */
const char *worker_settings_parse(struct worker_settings *settings, int argc, char *const *argv);
void worker_settings_fini(struct worker_settings *settings);

/* ---- records ---- */

enum worker_record_type {
    /* from the child */
    WORKER_RECORD_READY = 1,
    WORKER_RECORD_RETIRING,    /* it takes no further tasks */
    WORKER_RECORD_LEAVING,     /* it is about to exit, and all it had to say is said */
    WORKER_RECORD_KILLING,     /* it is about to kill itself: text says why */
    WORKER_RECORD_FAILED,      /* it can't serve, nor could another: text */
    WORKER_RECORD_INITIALIZER, /* likewise: the initializer failed: text */
    WORKER_RECORD_LOG,         /* level, text */
    /* to the child */
    WORKER_RECORD_STOP,      /* finish what runs, return the rest, leave */
    WORKER_RECORD_INTERRUPT, /* the same, and ask what runs to end */
};

#define WORKER_RECORD_TEXT_BYTES 1024u

struct worker_record {
    uint32_t type;
    uint32_t level;                      /* of LOG: enum base_log_level */
    char text[WORKER_RECORD_TEXT_BYTES]; /* terminated; only what is used is sent */
};

/* worker_record_send sends one without blocking; `text` may be NULL, and is cut. Any thread. Returns
 * false if it can't be: the other side is gone or doesn't read. */
bool worker_record_send(int fd, enum worker_record_type type, enum base_log_level level,
                        const char *text);
/* worker_record_receive takes one without blocking. Returns 1, 0 if there is none now, -1 if there will
 * be none any more. */
int worker_record_receive(int fd, struct worker_record *record);

/* ---- the black box: memory that outlives the child ---- */

/* One pool thread's. */
struct worker_box_slot {
    _Alignas(64) _Atomic uint64_t lease; /* that it runs; 0: none */
    _Atomic uint64_t finished;           /* tasks */
};
struct worker_box {
    uint32_t slot_count;
    struct worker_box_slot slots[];
};

static inline size_t worker_box_bytes(unsigned slots) {
    return sizeof(struct worker_box) + slots * sizeof(struct worker_box_slot);
}

#endif
