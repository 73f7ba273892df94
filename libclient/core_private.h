/* Inside the client's core: what its files share.
 *
 *   core.c          steps, actions, deadlines
 *   core_session.c  the link: HELLO, WELCOME, acknowledgements, what comes in
 *   core_class.c    classes and DEFINE
 *   core_slots.c    ids
 *   core_tasks.c    tasks from submission to outcome
 *   core_limits.c   cancels, and tasks that wait too long
 *
 * A task of this client is in one of two lists:
 *
 *              put into a SUBMIT (connected, credit)
 *   WAITING ------------------------------------------> SENT
 *      |    <------------------------------------------   |
 *      |            a broker that knows nothing of us     |
 *      `-------------> resolved, or cancelled <-----------'
 *
 * A task that has been SENT once has an id, which it keeps when it waits again: only then may it
 * already run somewhere, and so can't be cancelled without being asked for. */
#ifndef CLIENT_CORE_PRIVATE_H
#define CLIENT_CORE_PRIVATE_H

#include <stdatomic.h>

#include "base/assert.h"
#include "base/buffer.h"
#include "base/list.h"
#include "base/map.h"
#include "libclient/core.h"
#include "wire/dialer.h"

enum client_task_state { CLIENT_TASK_GONE, CLIENT_TASK_WAITING, CLIENT_TASK_SENT };

enum client_task_flag {
    CLIENT_TASK_RESENT = 1,     /* an earlier stream had it: it has an id, and may be running */
    CLIENT_TASK_CANCELLING = 2, /* a verdict is awaited */
    CLIENT_TASK_BEGUN = 4,      /* CLIENT_BEGAN was said */
};

struct client_class {
    struct base_map_node node;
    struct wire_define define; /* its texts are in `key` */
    uint64_t queue_ns;
    uint64_t round; /* the stream in which it was defined last */
    uint8_t key[];
};

#define CLIENT_CLASS_PAGE  256u
#define CLIENT_CLASS_PAGES (WIRE_CLASSES_MAX / CLIENT_CLASS_PAGE)

/* Pages never move, so that a step may read one class while another thread adds a new one. */
struct client_classes {
    struct base_map map; /* only client_class_intern touches it, and count */
    uint32_t count;
    atomic_bool unlike; /* see client_classes_alike */
    struct client_class **pages[CLIENT_CLASS_PAGES];
};

struct client_slot {
    struct client_task *task; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct client_slots {
    struct client_slot *slots;
    uint32_t capacity;
    uint32_t touched; /* slots from here on have never been used since they were made */
    uint32_t free;    /* first of the freed ones, CLIENT_SLOT_NONE */
    uint32_t live;
    uint32_t peak;             /* most live ones since the last trim */
    uint32_t generation_floor; /* where slots begin that are made anew */
};

/* What expiring tasks may cost: this long between scans, for each task that was looked at. */
#define CLIENT_SCAN_NS UINT64_C(50)
/* How long a cancel waits when no broker has yet said how long it may be silent. */
#define CLIENT_VERDICT_NS UINT64_C(10000000000)
/* How long BYE waits for its acknowledgement. */
#define CLIENT_LEAVE_NS UINT64_C(1000000000)
/* When to try again what there was no memory for. */
#define CLIENT_RETRY_NS UINT64_C(10000000)

#define CLIENT_SLOT_NONE UINT32_MAX
#define CLIENT_SLOTS_MIN 1024u
#define CLIENT_SLOTS_MAX (1u << 30)

/* A cancel whose verdict is awaited; all wait equally long, so the first to end stands first. */
struct client_cancel {
    uint64_t id;
    uint64_t until_ns;
};

struct client_cancels {
    struct client_cancel *ring;
    uint32_t at, count, room; /* room: 0 or a power of two */
    uint32_t told;            /* so many of them, from `at` on, were told to this broker */
};

/* Messages that were made while there was no memory to post them. */
#define CLIENT_HELD_MAX 4u

struct client_core {
    struct client_config config;
    struct link_dialer dialer;
    uint64_t round; /* counts streams: what was defined in an earlier one is forgotten */
    bool reachable; /* the transport has had a connection */
    bool leaving, left;
    uint64_t leave_seq; /* BYE's */
    uint64_t leave_until_ns;

    struct client_classes classes;
    struct client_slots slots;
    struct base_list waiting, sent;
    uint32_t waiting_count, sent_count;

    uint64_t credit_tasks, credit_bytes; /* what the broker allows altogether in this stream */
    uint64_t used_tasks, used_bytes;     /* what was sent in this stream */
    struct wire_writer *submits, *cancel_writer;
    struct wire_message *held[CLIENT_HELD_MAX];
    uint32_t held_count;
    uint64_t retry_ns; /* after lack of memory; UINT64_MAX: no need */

    struct client_cancels cancels;
    uint64_t expiry_ns; /* no start_by_ns that is to be looked at is before this */

    struct client_action *actions;
    size_t action_count, action_room;
    struct base_buffer errors; /* encoded wire_errors of this step's actions */
    char text[256];            /* of a log action */
};

/* ---- core.c ---- */

/* client_reserve makes room for so many further actions of this step; false: no memory. Actions are
 * added only after their room was reserved (an invariant, checked). */
bool client_reserve(struct client_core *core, size_t count);
static inline struct client_action *client_act(struct client_core *core,
                                               enum client_action_type type) {
    struct client_action *action = &core->actions[core->action_count];

    BASE_ASSERT(core->action_count < core->action_room);
    core->action_count++;
    *action = (struct client_action){.type = type};
    return action;
}
/* client_log adds a log action, if there is memory and none with a text yet in this step. */
void client_log(struct client_core *core, bool warn, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* client_starve remembers that memory was short, and when to try again. */
void client_starve(struct client_core *core, uint64_t now_ns);

/* ---- core_session.c ---- */

extern const struct link_owner client_link_owner;

static inline bool client_connected(const struct client_core *core) {
    return core->dialer.state == LINK_UP;
}

/* client_post sends a sequenced message whose reference it takes, or holds it until there is memory.
 * To be called only while connected and nothing is held. */
void client_post(struct client_core *core, uint64_t now_ns, struct wire_message *message);
/* client_post_held tries to send what is held; true: nothing is any more. */
bool client_post_held(struct client_core *core, uint64_t now_ns);
void client_drop_held(struct client_core *core);
void client_session_receive(struct client_core *core, uint64_t now_ns,
                            struct wire_message *message);
void client_session_tick(struct client_core *core, uint64_t now_ns);
void client_session_leave(struct client_core *core, uint64_t now_ns);
/* client_session_acknowledge sends what has to be, if nothing carried it. */
void client_session_acknowledge(struct client_core *core, uint64_t now_ns);

/* ---- core_class.c ---- */

void client_classes_fini(struct client_classes *classes);

static inline struct client_class *client_class_at(const struct client_core *core,
                                                   uint32_t class_index) {
    struct client_class **page;

    BASE_ASSERT(class_index < WIRE_CLASSES_MAX);
    page = core->classes.pages[class_index / CLIENT_CLASS_PAGE];
    BASE_ASSERT(page != NULL && page[class_index % CLIENT_CLASS_PAGE] != NULL);
    return page[class_index % CLIENT_CLASS_PAGE];
}

/* client_class_define sends DEFINE. False: no memory, or something is held. */
bool client_class_define(struct client_core *core, uint64_t now_ns, struct client_class *cls);

/* ---- core_slots.c ---- */

void client_slots_init(struct client_slots *slots);
void client_slots_fini(struct client_slots *slots);
bool client_slots_grow(struct client_slots *slots);
/* client_slots_trim gives memory back after a peak; called now and then. */
void client_slots_trim(struct client_slots *slots);

/* client_slot_take gives the task an id. False: no memory. */
static inline bool client_slot_take(struct client_slots *slots, struct client_task *task) {
    uint32_t index = slots->free;
    struct client_slot *slot;

    if (index != CLIENT_SLOT_NONE) {
        slot = &slots->slots[index];
        slots->free = slot->next_free;
    } else {
        if (BASE_UNLIKELY(slots->touched == slots->capacity) && !client_slots_grow(slots)) {
            return false;
        }
        index = slots->touched++;
        slot = &slots->slots[index];
        slot->generation = slots->generation_floor;
    }
    slot->task = task;
    /* Other threads may look at it: see furrow_future_task. */
    __atomic_store_n(&task->id, (uint64_t)slot->generation << 32 | index, __ATOMIC_RELAXED);
    slots->live++;
    if (slots->live > slots->peak) {
        slots->peak = slots->live;
    }
    return true;
}

/* client_slot_find resolves any id; NULL: no task of ours (any more). */
static inline struct client_task *client_slot_find(const struct client_slots *slots, uint64_t id) {
    uint32_t index = (uint32_t)id;

    if (index >= slots->touched || slots->slots[index].generation != id >> 32) {
        return NULL;
    }
    return slots->slots[index].task;
}

/* client_slot_end resolves any id, as client_slot_find does, and ends it. */
static inline struct client_task *client_slot_end(struct client_slots *slots, uint64_t id) {
    struct client_task *task = client_slot_find(slots, id);
    uint32_t index = (uint32_t)id;

    if (BASE_LIKELY(task != NULL)) {
        slots->slots[index].task = NULL;
        slots->slots[index].generation++;
        slots->slots[index].next_free = slots->free;
        slots->free = index;
        slots->live--;
    }
    return task;
}

/* client_slot_release ends the task's id. */
static inline void client_slot_release(struct client_slots *slots, const struct client_task *task) {
    struct client_task *ended = client_slot_end(slots, task->id);

    BASE_ASSERT(ended == task);
}

/* ---- core_tasks.c ---- */

void client_tasks_submit(struct client_core *core, uint64_t now_ns,
                         const struct client_event *event);
/* client_tasks_flush sends waiting tasks as far as credit goes, and the batch that has formed. */
void client_tasks_flush(struct client_core *core, uint64_t now_ns);
/* client_tasks_restart: a broker that knows nothing of us: what was sent waits again. */
void client_tasks_restart(struct client_core *core);
void client_tasks_break(struct client_core *core, const struct client_event *event);
/* client_task_leave takes a task out of its list, and its id away; it is the caller's again. */
void client_task_leave(struct client_core *core, struct client_task *task);
/* The handlers of batches. Room for an action an entry is reserved. */
void client_tasks_outcomes(struct client_core *core, struct wire_batch *batch);
void client_tasks_verdicts(struct client_core *core, struct wire_batch *batch);
void client_tasks_started(struct client_core *core, struct wire_batch *batch);

/* ---- core_limits.c: cancels and time limits ---- */

void client_cancel(struct client_core *core, uint64_t now_ns, struct client_task *task);
void client_cancel_all(struct client_core *core, uint64_t now_ns);
/* client_cancels_flush tells the broker of cancels, after the tasks themselves. */
void client_cancels_flush(struct client_core *core, uint64_t now_ns);
/* client_cancels_settle forgets the first ones as far as they have their answer. */
void client_cancels_settle(struct client_core *core);
void client_limits_tick(struct client_core *core, uint64_t now_ns);
uint64_t client_limits_deadline(const struct client_core *core);

/* Whether this task has an id, and so may be known to a broker. */
static inline bool client_task_named(const struct client_task *task) {
    return task->state == CLIENT_TASK_SENT || (task->flags & CLIENT_TASK_RESENT) != 0;
}

#endif
