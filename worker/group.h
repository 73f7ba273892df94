/* How many tasks a lane runs before what has come of them goes out: a group. Each message of results
 * wakes several threads on its way, so a message should carry many; but what is held back must not be
 * missed by anybody.
 *
 * A group takes GROUP_NS, by what tasks took of late, and ends before that when no task is left: so the
 * outcome of a last task, or of an only one, is never held. A lane that sees what stands behind the
 * group makes it longer, up to GROUP_HELD_NS, but not than half of that: the broker gets the results of
 * the one half, and sends more tasks, while the other half is run. It ends as well when outcomes of
 * GROUP_BYTES are held.
 *
 * Tasks that were put ahead of others are a group of their own: their client has nothing else here, and
 * probably waits for them.
 *
 * Plain functions of their arguments. */
#ifndef WORKER_GROUP_H
#define WORKER_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/limits.h"

#define WORKER_GROUP_NS      UINT64_C(100000)
#define WORKER_GROUP_HELD_NS UINT64_C(700000)
#define WORKER_GROUP_BYTES   ((size_t)256 << 10)
/* No-ops are not cut into smaller groups than what a worker may hold. */
#define WORKER_GROUP_MAX WIRE_WORKER_LEASES_MAX

/* The lane's own. All zero: nothing is known of its tasks, and they go out one by one. */
struct worker_group {
    unsigned usual,
        most;       /* tasks that take GROUP_NS, and GROUP_HELD_NS; at least 1, or 0: unknown */
    unsigned size;  /* of this group */
    unsigned count; /* tasks that are in it */
    size_t bytes;   /* of their outcomes */
};

static inline unsigned worker_group_fitting(unsigned count, uint64_t spent_ns, uint64_t within_ns) {
    uint64_t fitting = spent_ns == 0 ? WORKER_GROUP_MAX : count * within_ns / spent_ns;

    return fitting < 1 ? 1 : fitting > WORKER_GROUP_MAX ? WORKER_GROUP_MAX : (unsigned)fitting;
}

/* worker_group_begin says that `waiting` tasks are there for the group and behind it, of which the first
 * `ahead` were put ahead. Without it a group is of the usual size. */
static inline void worker_group_begin(struct worker_group *group, unsigned waiting,
                                      unsigned ahead) {
    unsigned half = waiting / 2;

    if (ahead > 0) {
        group->size = ahead;
        return;
    }
    group->size = half > group->most ? group->most : half > group->usual ? half : group->usual;
}

/* worker_group_add counts a task. Returns whether the group ends with it: worker_group_end is due. */
static inline bool worker_group_add(struct worker_group *group, size_t bytes) {
    group->bytes += bytes;
    return ++group->count >= group->size || group->bytes >= WORKER_GROUP_BYTES;
}

/* worker_group_end ends a group of at least one task, which took so long. */
static inline void worker_group_end(struct worker_group *group, uint64_t spent_ns) {
    group->usual = worker_group_fitting(group->count, spent_ns, WORKER_GROUP_NS);
    group->most = worker_group_fitting(group->count, spent_ns, WORKER_GROUP_HELD_NS);
    group->size = group->usual;
    group->count = 0;
    group->bytes = 0;
}

#endif
