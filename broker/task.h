/* Task records, their states, their ends. */
#ifndef BROKER_TASK_H
#define BROKER_TASK_H

#include "base/copy.h"
#include "broker/core_private.h"

struct broker_class;
struct broker_worker;

/* A lease is a running number, and the task's place in the slab. The number begins somewhere else in
 * each epoch, because workers keep leases of the last one. */
#define BROKER_INDEX_BITS 24u
#define BROKER_INDEX_MASK ((UINT64_C(1) << BROKER_INDEX_BITS) - 1)
#define BROKER_TASKS_MAX  ((1u << BROKER_INDEX_BITS) - 65536u)

/* What a task costs besides its payload, as memory_bytes counts it: record, slab, id. */
#define BROKER_TASK_BYTES 144u

/*                                .-------- worker died, or gave it back ---------.
 *                                v                                               |
 *   NEW ---> QUEUED ----------------------------------------------------> LEASED-+-> ABANDONED
 *    |  `--> HELD (settling) -> QUEUED, LEASED         SUSPECT -> LEASED   |  |
 *    |                                                     ^---------------'  `-> DELAYED -> QUEUED
 *    `--------- from any but ABANDONED: ENDED, or FAILING -> ENDED
 *
 * ABANDONED: the client is gone, the worker still has it. FAILING: the outcome is known, but there
 * was no memory to tell it. */
enum broker_task_state {
    BROKER_TASK_NEW,
    BROKER_TASK_HELD,
    BROKER_TASK_QUEUED,
    BROKER_TASK_LEASED,
    BROKER_TASK_DELAYED,
    BROKER_TASK_SUSPECT,
    BROKER_TASK_ABANDONED,
    BROKER_TASK_FAILING,
    BROKER_TASK_ENDED,
};
#define BROKER_TASK_STATES 9u

enum broker_task_flag {
    BROKER_TASK_CANCELLING = 1, /* the client waits for a verdict */
    BROKER_TASK_STARTED = 2,    /* it has run, or may have: cancelling it is too late */
    BROKER_TASK_ALONE = 4,      /* runs on an otherwise empty worker only */
    BROKER_TASK_EXTRA = 8,      /* `extra` is set */
    BROKER_TASK_OLD = 16,       /* leased in an earlier epoch: its worker knows extra->old_lease */
    BROKER_TASK_UNSTARTED = 32, /* its worker died, and had certainly not begun it */
    BROKER_TASK_CONFIRMED = 64, /* its worker, which registers anew, has claimed it */
};

/* What few tasks have. */
struct broker_extra {
    struct broker_timer timer;
    struct broker_task *task;
    uint32_t index;       /* in the slab */
    uint64_t start_by_ns; /* queue deadline; 0: none */
    uint64_t old_lease;
    uint32_t retries; /* used so far */
    char *history;    /* of attempts that ended in a death */
};

#define BROKER_INLINE_BYTES 64u

/* Two cache lines; a task with a payload of up to 8 bytes is all in the first. */
struct broker_task {
    struct base_node node; /* of a queue, or of its worker's leases, or ... as its state says */
    struct broker_class *class;
    struct broker_worker *worker; /* LEASED, ABANDONED; else NULL */
    uint64_t id;
    uint64_t lease; /* the last one; its low bits are the task's index, always */
    uint32_t size;
    uint16_t attempt;
    uint8_t state;
    uint8_t flags;
    union {
        uint8_t bytes[BROKER_INLINE_BYTES]; /* up to BROKER_INLINE_BYTES */
        uint8_t *copy;                      /* below WIRE_LARGE_BYTES_MIN: malloc */
        struct wire_blob *blob;             /* from there on: a reference */
        enum wire_kind failing;             /* FAILING */
    } payload;
    struct broker_extra *extra; /* only if BROKER_TASK_EXTRA */
};
_Static_assert(sizeof(struct broker_task) == 128, "two cache lines");

/* broker_task_new makes a task with a copy of (or a reference to) its payload; NULL: no memory. */
struct broker_task *broker_task_new(struct broker_core *core, struct broker_class *class,
                                    const struct wire_entry *entry);
/* broker_task_end frees a task, which is in no list, and its id. */
void broker_task_end(struct broker_core *core, struct broker_task *task);
void broker_task_drop_payload(struct broker_core *core, struct broker_task *task);
struct broker_extra *broker_task_extra(struct broker_core *core, struct broker_task *task);
/* broker_task_detach takes a task out of wherever it is (a queue, a worker, ...). */
void broker_task_detach(struct broker_core *core, struct broker_task *task);
/* broker_task_tell tells the client how a task ended, which is then to be ended. False: no memory. */
bool broker_task_tell(struct broker_core *core, const struct broker_task *task, enum wire_kind kind,
                      const void *data, size_t size, struct wire_blob *large);
/* broker_task_fail ends a detached task with an error of the broker's making. It never fails. */
void broker_task_fail(struct broker_core *core, struct broker_task *task, enum wire_kind kind,
                      const struct wire_error *error);
/* broker_task_cancelled ends a detached task that was cancelled. It never fails. */
void broker_task_cancelled(struct broker_core *core, struct broker_task *task);
/* broker_task_started takes note that a LEASED task runs: it can be late no more. */
void broker_task_started(struct broker_core *core, struct broker_task *task);
/* broker_task_unmake frees a NEW task that never got its slot. */
void broker_task_unmake(struct broker_core *core, struct broker_task *task);
void broker_task_timer(struct broker_core *core, struct broker_task *task);
/* broker_tasks_came: several were made: there will be a time to give their memory back. */
void broker_tasks_came(struct broker_core *core);
void broker_tasks_trim(struct broker_core *core);
/* broker_tasks_failing tries again to tell the ends that could not be told. */
void broker_tasks_failing(struct broker_core *core);

/* For each state those that may follow it, as bits. */
extern const uint16_t broker_task_allowed[BROKER_TASK_STATES];

/* broker_task_set_state is the only one to set a task's state, after the one that it begins with. */
static inline void broker_task_set_state(struct broker_task *task, enum broker_task_state to) {
    BASE_ASSERT((broker_task_allowed[task->state] >> to & 1) != 0);
    task->state = (uint8_t)to;
}

/* broker_task_init fills a record in, all but its node; entry: of a SUBMIT; attempt: as its key says;
 * state: the one to begin with, NEW or QUEUED. A payload that fits into the record is copied. */
static inline void broker_task_init(struct broker_task *task, struct broker_class *class,
                                    const struct wire_entry *entry, uint32_t index,
                                    uint16_t attempt, enum broker_task_state state) {
    task->class = class;
    task->worker = NULL;
    task->id = entry->values[0];
    task->lease = index;
    task->size = (uint32_t)entry->size;
    task->attempt = attempt;
    task->state = (uint8_t)state;
    task->flags = attempt > 1 ? BROKER_TASK_STARTED : 0;
    if (BASE_LIKELY(entry->size <= BROKER_INLINE_BYTES)) {
        base_copy_short(task->payload.bytes, entry->data, entry->size);
    }
}

static inline uint32_t broker_task_index(const struct broker_task *task) {
    return (uint32_t)(task->lease & BROKER_INDEX_MASK);
}
static inline const void *broker_task_data(const struct broker_task *task) {
    if (task->size <= BROKER_INLINE_BYTES) {
        return task->payload.bytes;
    }
    return task->size < WIRE_LARGE_BYTES_MIN ? task->payload.copy : task->payload.blob->data;
}
static inline struct wire_blob *broker_task_blob(const struct broker_task *task) {
    return task->size < WIRE_LARGE_BYTES_MIN ? NULL : task->payload.blob;
}

#endif
