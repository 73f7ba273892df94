#include "libclient/core_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------- cancels */

static struct client_cancel *cancel_at(const struct client_cancels *cancels, uint32_t i) {
    return &cancels->ring[(cancels->at + i) & (cancels->room - 1)];
}

static bool cancels_grow(struct client_cancels *cancels) {
    uint32_t room = cancels->room == 0 ? 64 : cancels->room * 2;
    struct client_cancel *ring;

    if (cancels->room >= CLIENT_SLOTS_MAX) {
        return false;
    }
    ring = malloc(room * sizeof *ring);
    if (ring == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < cancels->count; i++) {
        ring[i] = *cancel_at(cancels, i);
    }
    free(cancels->ring);
    cancels->ring = ring;
    cancels->room = room;
    cancels->at = 0;
    return true;
}

static void cancels_shift(struct client_cancels *cancels) {
    cancels->at = (cancels->at + 1) & (cancels->room - 1);
    cancels->count--;
    cancels->told -= cancels->told > 0;
    if (cancels->count == 0 && cancels->room > 1024) {
        free(cancels->ring);
        *cancels = (struct client_cancels){0};
    }
}

static struct client_action *verdict(struct client_core *core, struct client_task *task, bool yes) {
    struct client_action *action = client_act(core, CLIENT_VERDICT);

    action->task = task;
    action->yes = yes;
    action->kind = WIRE_KIND_CANCELLED;
    return action;
}

static uint64_t verdict_limit(const struct client_core *core) {
    uint64_t silence_ns = core->dialer.link.silence_ns;

    return silence_ns == 0 ? CLIENT_VERDICT_NS : silence_ns;
}

void client_cancel(struct client_core *core, uint64_t now_ns, struct client_task *task) {
    struct client_cancels *cancels = &core->cancels;

    BASE_ASSERT(task->state != CLIENT_TASK_GONE);
    if (!client_task_named(task)) {
        client_task_leave(core, task);
        verdict(core, task, true);
        return;
    }
    if ((task->flags & CLIENT_TASK_CANCELLING) != 0) {
        return; /* the answer on its way is this one's too */
    }
    if (cancels->count == cancels->room && !cancels_grow(cancels)) {
        verdict(core, task, false);
        return;
    }
    task->flags |= CLIENT_TASK_CANCELLING;
    cancels->count++;
    *cancel_at(cancels, cancels->count - 1) =
        (struct client_cancel){task->id, now_ns + verdict_limit(core)};
}

static void cancel_named(struct client_core *core, uint64_t now_ns, struct base_list *list) {
    BASE_LIST_FOREACH(list, node) {
        if (client_reserve(core, 1)) {
            client_cancel(core, now_ns, BASE_LIST_ENTRY(node, struct client_task, node));
        }
    }
}

void client_cancel_all(struct client_core *core, uint64_t now_ns) {
    struct client_task *first = NULL, **last = &first;

    BASE_LIST_FOREACH(&core->waiting, node) {
        struct client_task *task = BASE_LIST_ENTRY(node, struct client_task, node);

        if (!client_task_named(task)) {
            client_task_leave(core, task);
            *last = task;
            last = &task->next;
        }
    }
    if (first != NULL) {
        verdict(core, first, true)->chain = true;
    }
    cancel_named(core, now_ns, &core->waiting);
    cancel_named(core, now_ns, &core->sent);
}

void client_cancels_settle(struct client_core *core) {
    struct client_cancels *cancels = &core->cancels;

    while (cancels->count > 0) {
        const struct client_task *task = client_slot_find(&core->slots, cancel_at(cancels, 0)->id);

        if (task != NULL && (task->flags & CLIENT_TASK_CANCELLING) != 0) {
            return;
        }
        cancels_shift(cancels);
    }
}

static bool finish_cancels(struct client_core *core, uint64_t now_ns) {
    struct wire_message *message;

    if (wire_writer_count(core->cancel_writer) == 0) {
        return true;
    }
    if (core->held_count > 0 || !client_reserve(core, 1)) {
        return false;
    }
    message = wire_writer_finish(core->cancel_writer, NULL);
    if (message == NULL) {
        return false;
    }
    client_post(core, now_ns, message);
    return true;
}

void client_cancels_flush(struct client_core *core, uint64_t now_ns) {
    struct client_cancels *cancels = &core->cancels;

    while (cancels->told < cancels->count) {
        uint64_t id = cancel_at(cancels, cancels->told)->id;
        const struct client_task *task = client_slot_find(&core->slots, id);
        enum wire_put status = WIRE_PUT_OK;

        if (task != NULL && (task->flags & CLIENT_TASK_CANCELLING) != 0) {
            if (task->state == CLIENT_TASK_WAITING) {
                break; /* this broker will hear of the task first */
            }
            status = wire_writer_put(core->cancel_writer, NULL, &id, NULL, 0, NULL);
        }
        if (status == WIRE_PUT_OK) {
            cancels->told++;
        } else if (status == WIRE_PUT_NOMEM || !finish_cancels(core, now_ns)) {
            client_starve(core, now_ns);
            return;
        }
    }
    if (!finish_cancels(core, now_ns)) {
        client_starve(core, now_ns);
    }
}

/* Cancels whose verdict is overdue are answered with no; a late yes still ends the task. */
static void give_up_cancels(struct client_core *core, uint64_t now_ns) {
    struct client_cancels *cancels = &core->cancels;

    while (cancels->count > 0 && cancel_at(cancels, 0)->until_ns <= now_ns &&
           client_reserve(core, 1)) {
        struct client_task *task = client_slot_find(&core->slots, cancel_at(cancels, 0)->id);

        if (task != NULL && (task->flags & CLIENT_TASK_CANCELLING) != 0) {
            task->flags &= (uint8_t)~CLIENT_TASK_CANCELLING;
            verdict(core, task, false);
        }
        cancels_shift(cancels);
    }
}

/* ------------------------------------------------------------- time limits */

/* A task that a broker may have is the broker's to judge, as long as there is one. */
static bool may_expire(const struct client_core *core, const struct client_task *task) {
    return task->start_by_ns != 0 && (task->flags & CLIENT_TASK_BEGUN) == 0 &&
           (!client_task_named(task) || !client_connected(core));
}

/* The expired ones of one class, which share an error. */
struct expired {
    uint32_t class_index;
    struct client_task *first, **last;
};

/* Classes that end in one step; the others are next. */
#define EXPIRED_MAX 64u
/* An error's bytes at most: its text, a function's and a host's name, and little more. */
#define ERROR_BYTES_MAX 1024u

struct expiry {
    struct expired classes[EXPIRED_MAX];
    uint32_t count;
    uint64_t next_ns; /* when the next is due */
    uint64_t seen;
};

static struct expired *expired_of(struct expiry *expiry, uint32_t class_index) {
    struct expired *expired;

    for (uint32_t i = expiry->count; i-- > 0;) {
        if (expiry->classes[i].class_index == class_index) {
            return &expiry->classes[i];
        }
    }
    if (expiry->count == EXPIRED_MAX) {
        return NULL;
    }
    expired = &expiry->classes[expiry->count++];
    expired->class_index = class_index;
    expired->first = NULL;
    expired->last = &expired->first;
    return expired;
}

static void expire_list(struct client_core *core, uint64_t now_ns, struct base_list *list,
                        struct expiry *expiry) {
    BASE_LIST_FOREACH(list, node) {
        struct client_task *task = BASE_LIST_ENTRY(node, struct client_task, node);
        struct expired *expired = NULL;

        expiry->seen++;
        if (!may_expire(core, task)) {
            continue;
        }
        if (task->start_by_ns <= now_ns) {
            expired = expired_of(expiry, task->class_index);
        }
        if (expired != NULL) {
            client_task_leave(core, task);
            *expired->last = task;
            expired->last = &task->next;
        } else if (task->start_by_ns < expiry->next_ns) {
            expiry->next_ns = task->start_by_ns;
        }
    }
}

static void resolve_expired(struct client_core *core, const struct expired *expired) {
    const struct client_class *cls = client_class_at(core, expired->class_index);
    struct client_action *action = client_act(core, CLIENT_RESOLVE);
    struct wire_error error = {
        .function = cls->define.function,
        .host = {core->config.host, strlen(core->config.host)},
        .pid = core->config.pid,
    };
    size_t before = core->errors.size;
    char text[128];
    int length = snprintf(text, sizeof text, "not started within %llu ms: %s",
                          (unsigned long long)cls->define.queue_ms,
                          client_connected(core) ? "the broker takes no more tasks now"
                          : core->round == 1     ? "no broker answered"
                                                 : "the connection to the broker is lost");

    BASE_ASSERT(length > 0 && (size_t)length < sizeof text);
    error.message = (struct wire_text){text, (size_t)length};
    action->task = expired->first;
    action->chain = true;
    action->kind = WIRE_KIND_DEADLINE;
    /* The buffer must not move, since earlier actions point into it. */
    if (core->errors.capacity - before >= ERROR_BYTES_MAX &&
        wire_error_encode(&error, &core->errors)) {
        action->data = core->errors.data + before;
        action->size = core->errors.size - before;
        BASE_ASSERT(action->size <= ERROR_BYTES_MAX);
    }
}

/* Ends what has waited too long. The lists are scanned whole, which is why the next scan of a long one
 * is not due before some time has passed. */
static void expire(struct client_core *core, uint64_t now_ns) {
    struct expiry expiry = {.count = 0, .next_ns = UINT64_MAX};
    uint32_t had = core->sent_count;

    if (!client_reserve(core, EXPIRED_MAX)) {
        core->expiry_ns = now_ns + CLIENT_RETRY_NS;
        return;
    }
    expire_list(core, now_ns, &core->waiting, &expiry);
    if (!client_connected(core)) {
        expire_list(core, now_ns, &core->sent, &expiry);
        if (had > 0 && core->sent_count == 0) {
            /* The broker may have them all, and have run out of credit for us by that. */
            link_dialer_renew(&core->dialer, now_ns);
        }
    }
    core->expiry_ns = expiry.next_ns;
    if (expiry.next_ns > now_ns && expiry.next_ns < now_ns + expiry.seen * CLIENT_SCAN_NS) {
        core->expiry_ns = now_ns + expiry.seen * CLIENT_SCAN_NS;
    }
    /* Without memory the errors say less; their kind says the most important thing. */
    (void)base_buffer_reserve(&core->errors, (size_t)expiry.count * ERROR_BYTES_MAX);
    for (uint32_t i = 0; i < expiry.count; i++) {
        resolve_expired(core, &expiry.classes[i]);
    }
    if (expiry.count > 0) {
        client_cancels_settle(core);
    }
}

void client_limits_tick(struct client_core *core, uint64_t now_ns) {
    if (now_ns >= core->expiry_ns) {
        expire(core, now_ns);
    }
    give_up_cancels(core, now_ns);
}

uint64_t client_limits_deadline(const struct client_core *core) {
    uint64_t deadline_ns = core->expiry_ns;

    if (core->cancels.count > 0 && cancel_at(&core->cancels, 0)->until_ns < deadline_ns) {
        deadline_ns = cancel_at(&core->cancels, 0)->until_ns;
    }
    return deadline_ns;
}
