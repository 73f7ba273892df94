#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "libclient/completion.h"
#include "libclient/executor_private.h"
#include "libclient/future.h"
#include "libclient/pointer_set.h"
#include "task/status.h"

/* Freed when the iterator has gone and the last watch has been told. */
struct furrow_completed {
    struct completion completion;
    atomic_size_t refs;
    uint64_t deadline_ns;
    size_t count; /* different futures */
    size_t given; /* of them handed out */
    struct member {
        struct future_watch watch;
        struct base_inbox_node node;
        furrow_future *future; /* NULL once handed out */
        furrow_completed *owner;
    } members[];
};

static void unref(furrow_completed *completed) {
    if (atomic_fetch_sub(&completed->refs, 1) > 1) {
        return;
    }
    for (size_t i = 0; i < completed->count; i++) {
        furrow_future_unref(&completed->members[i].future);
    }
    free(completed);
}

static void wake(void *object) {
    furrow_completed *completed = object;

    completion_wake(&completed->completion);
    unref(completed);
}

static void notify(struct future_watch *watch, furrow_future *future) {
    struct member *member = BASE_CONTAINER_OF(watch, struct member, watch);
    furrow_completed *completed = member->owner;

    (void)future;
    if (completion_push(&completed->completion, &member->node)) {
        /* This watch's reference goes on to the wake. */
        future_owe(wake, completed);
        return;
    }
    unref(completed);
}

/* collect makes a member of each different future. False: no memory. */
static bool collect(furrow_completed *completed, furrow_future *const *futures, size_t count) {
    struct pointer_set seen;

    if (!pointer_set_init(&seen, count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct member *member = &completed->members[completed->count];

        if (!pointer_set_add(&seen, futures[i])) {
            continue;
        }
        member->watch.notify = notify;
        member->future = furrow_future_ref(futures[i]);
        member->owner = completed;
        completed->count++;
    }
    pointer_set_fini(&seen);
    return true;
}

furrow_completed *furrow_as_completed(furrow_future *const *futures, size_t count, double timeout) {
    furrow_completed *completed = NULL;

    if (count <= (SIZE_MAX - sizeof *completed) / sizeof completed->members[0]) {
        completed = malloc(sizeof *completed + count * sizeof completed->members[0]);
    }
    if (completed == NULL) {
        (void)task_set_plain_error(FURROW_ENOMEM);
        return NULL;
    }
    completion_init(&completed->completion);
    completed->count = 0;
    completed->given = 0;
    completed->deadline_ns = future_deadline(timeout);
    if (!collect(completed, futures, count)) {
        free(completed);
        (void)task_set_plain_error(FURROW_ENOMEM);
        return NULL;
    }
    atomic_init(&completed->refs, completed->count + 1);
    for (size_t i = 0; i < completed->count; i++) {
        future_watch(completed->members[i].future, &completed->members[i].watch);
    }
    return completed;
}

/* In a callback: whether one of those that are missing is of the same executor. */
static bool would_wait_for_itself(const furrow_completed *completed) {
    if (!executor_in_any_callback()) {
        return false;
    }
    for (size_t i = 0; i < completed->count; i++) {
        const furrow_future *future = completed->members[i].future;

        if (future != NULL && !future_done(future) && executor_in_callback(future->executor)) {
            return true;
        }
    }
    return false;
}

furrow_status furrow_completed_next(furrow_completed *completed, furrow_future **future) {
    struct base_inbox_node *node;
    struct member *member;

    *future = NULL;
    if (completed->given == completed->count) {
        return task_set_plain_error(FURROW_EEND);
    }
    while ((node = completion_look(&completed->completion)) == NULL) {
        if (completed->deadline_ns != 0 && would_wait_for_itself(completed)) {
            return task_set_plain_error(FURROW_EDEADLOCK);
        }
        if (completed->deadline_ns == 0 ||
            !completion_sleep(&completed->completion, completed->deadline_ns)) {
            return task_set_error(FURROW_ETIMEOUT, "%zu (of %zu) futures unfinished",
                                  completed->count - completed->given, completed->count);
        }
    }
    member = BASE_CONTAINER_OF(node, struct member, node);
    completed->given++;
    *future = member->future;
    member->future = NULL;
    return FURROW_OK;
}

void furrow_completed_free(furrow_completed **completed) {
    furrow_completed *old;

    if (completed == NULL || *completed == NULL) {
        return;
    }
    old = *completed;
    *completed = NULL;
    for (size_t i = 0; i < old->count; i++) {
        struct member *member = &old->members[i];

        if (member->future != NULL && future_unwatch(member->future, &member->watch)) {
            unref(old);
        }
    }
    unref(old);
}
