#include <limits.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/futex.h"
#include "libclient/executor.h"
#include "libclient/future.h"
#include "libclient/pointer_set.h"
#include "task/status.h"

/* What a thread that waits for one of several hangs on each of them. It is freed when the waiter has
 * gone and the last watch has been told, whichever comes later. */
struct group {
    atomic_size_t refs;
    atomic_size_t left; /* futures that are not done */
    atomic_uint signal; /* a futex: 1 when the condition has come true */
    furrow_return_when return_when;
    struct member {
        struct future_watch watch;
        struct group *group;
    } members[];
};

static void group_unref(struct group *group) {
    if (atomic_fetch_sub(&group->refs, 1) == 1) {
        free(group);
    }
}

static void group_wake(void *object) {
    struct group *group = object;

    base_futex_wake(&group->signal, INT_MAX);
    group_unref(group);
}

static bool failed(const furrow_future *future) {
    return future_state(future) == FURROW_FINISHED && future->kind != WIRE_KIND_VALUE;
}

static void notify(struct future_watch *watch, furrow_future *future) {
    struct group *group = BASE_CONTAINER_OF(watch, struct member, watch)->group;
    bool last = atomic_fetch_sub(&group->left, 1) == 1;

    if ((last || group->return_when == FURROW_FIRST_COMPLETED || failed(future)) &&
        atomic_exchange(&group->signal, 1) == 0) {
        atomic_fetch_add(&group->refs, 1);
        future_owe(group_wake, group);
    }
    group_unref(group);
}

static struct group *group_new(furrow_future *const *futures, size_t count,
                               furrow_return_when return_when) {
    struct group *group;

    if (count > (SIZE_MAX - sizeof *group) / sizeof group->members[0]) {
        return NULL;
    }
    group = malloc(sizeof *group + count * sizeof group->members[0]);
    if (group == NULL) {
        return NULL;
    }
    atomic_init(&group->refs, count + 1);
    atomic_init(&group->left, count);
    atomic_init(&group->signal, 0);
    group->return_when = return_when;
    for (size_t i = 0; i < count; i++) {
        group->members[i].watch.notify = notify;
        group->members[i].group = group;
        future_watch(futures[i], &group->members[i].watch);
    }
    return group;
}

static void group_leave(struct group *group, furrow_future *const *futures, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (future_unwatch(futures[i], &group->members[i].watch)) {
            group_unref(group);
        }
    }
    group_unref(group);
}

/* wait_for_one waits until one of them, or all, are done, as return_when says. */
static furrow_status wait_for_one(furrow_future *const *futures, size_t count, uint64_t deadline_ns,
                                  furrow_return_when return_when) {
    struct group *group = group_new(futures, count, return_when);
    furrow_status status = FURROW_OK;

    if (group == NULL) {
        return FURROW_ENOMEM;
    }
    while (atomic_load(&group->signal) == 0) {
        if (base_futex_wait(&group->signal, 0, deadline_ns) == ETIMEDOUT) {
            status = atomic_load(&group->signal) == 0 ? FURROW_ETIMEOUT : FURROW_OK;
            break;
        }
    }
    group_leave(group, futures, count);
    return status;
}

/* All of them: no need to watch each, it is enough to wait for one after the other. */
static furrow_status wait_for_all(furrow_future *const *futures, size_t count,
                                  uint64_t deadline_ns) {
    for (size_t i = 0; i < count; i++) {
        furrow_status status = future_wait_until(futures[i], deadline_ns);

        if (status != FURROW_OK) {
            return status;
        }
    }
    return FURROW_OK;
}

/* Whether the condition is true as things are. */
static bool satisfied(furrow_future *const *futures, size_t count, furrow_return_when return_when) {
    size_t done = 0;

    for (size_t i = 0; i < count; i++) {
        if (!future_done(futures[i])) {
            continue;
        }
        done++;
        if (return_when == FURROW_FIRST_COMPLETED ||
            (return_when == FURROW_FIRST_EXCEPTION && failed(futures[i]))) {
            return true;
        }
    }
    return done == count;
}

static bool would_wait_for_itself(furrow_future *const *futures, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!future_done(futures[i]) && executor_in_callback(futures[i]->executor)) {
            return true;
        }
    }
    return false;
}

/* report fills in what was done. Memory for telling duplicates is needed only for the count. */
static furrow_status report(furrow_future *const *futures, size_t count, bool *done,
                            size_t *done_count) {
    struct pointer_set seen;
    size_t sum = 0;

    if (done_count != NULL && !pointer_set_init(&seen, count)) {
        return FURROW_ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        bool is_done = future_done(futures[i]);

        if (done != NULL) {
            done[i] = is_done;
        }
        if (done_count != NULL && is_done) {
            sum += pointer_set_add(&seen, futures[i]);
        }
    }
    if (done_count != NULL) {
        *done_count = sum;
        pointer_set_fini(&seen);
    }
    return FURROW_OK;
}

static furrow_status wait_until(furrow_future *const *futures, size_t count, uint64_t deadline_ns,
                                furrow_return_when return_when) {
    if (satisfied(futures, count, return_when)) {
        return FURROW_OK;
    }
    if (deadline_ns == 0) {
        return FURROW_ETIMEOUT;
    }
    if (would_wait_for_itself(futures, count)) {
        return FURROW_EDEADLOCK;
    }
    if (return_when == FURROW_ALL_COMPLETED) {
        return wait_for_all(futures, count, deadline_ns);
    }
    return wait_for_one(futures, count, deadline_ns, return_when);
}

furrow_status furrow_wait(furrow_future *const *futures, size_t count, double timeout,
                          furrow_return_when return_when, bool *done, size_t *done_count) {
    furrow_status status;
    furrow_status reported;

    if ((unsigned)return_when > FURROW_FIRST_EXCEPTION) {
        return task_set_error(FURROW_EINVAL, "furrow_wait: return_when %d is none",
                              (int)return_when);
    }
    status = wait_until(futures, count, future_deadline(timeout), return_when);
    if (status != FURROW_OK && status != FURROW_ETIMEOUT) {
        return task_set_plain_error(status);
    }
    reported = report(futures, count, done, done_count);
    if (reported != FURROW_OK) {
        return task_set_plain_error(reported);
    }
    return status == FURROW_OK ? FURROW_OK : task_set_plain_error(status);
}
