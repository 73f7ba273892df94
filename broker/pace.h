/* How long tasks of a function have taken of late, and how many of them are worth a message.
 *
 * Each RUN and the RESULTS that come of it cost the broker about 20 us, most of it in its I/O thread and
 * in the kernel, and the worker as much (docs/performance.md). The broker makes one message after the
 * other, and workers run what is in them side by side: n messages with work of w altogether are done in
 * about n x MESSAGE_NS + w / n, which is least when each has work of root(w x MESSAGE_NS). But a message
 * has no more work than about GRAIN_NS: results are held back as long as that anyway (worker/group.h), and
 * it is less than a round trip, so that a worker that idles meanwhile would not get it sooner.
 *
 * The mean is that of 2,000 to 4,000 tasks at whatever worker, all of them together: so a few long ones
 * among very many short ones count, and one that was kept waiting by its machine does not. No more tasks
 * go into a message than are known.
 *
 * Plain functions of their arguments. */
#ifndef BROKER_PACE_H
#define BROKER_PACE_H

#include <stdint.h>

#define BROKER_PACE_MESSAGE_NS (40 * UINT64_C(1000))
#define BROKER_PACE_GRAIN_NS   (200 * UINT64_C(1000))
#define BROKER_PACE_TASKS      4096u
/* So that sums don't overflow, whatever a worker says. */
#define BROKER_PACE_MEAN_MAX_NS (3600 * UINT64_C(1000000000))

/* All zero: nothing is known. */
struct broker_pace {
    uint64_t busy_ns; /* that `tasks` of them took */
    uint64_t mean_ns; /* at least 1; 0: nothing is known */
    uint32_t tasks;
};

/* broker_pace_add takes note of `count` > 0 tasks that took mean_ns on an average. */
static inline void broker_pace_add(struct broker_pace *pace, uint32_t count, uint64_t mean_ns) {
    if (mean_ns > BROKER_PACE_MEAN_MAX_NS) {
        mean_ns = BROKER_PACE_MEAN_MAX_NS;
    }
    if (pace->tasks >= BROKER_PACE_TASKS) {
        pace->busy_ns /= 2;
        pace->tasks /= 2;
    }
    pace->busy_ns += count * mean_ns;
    pace->tasks += count;
    pace->mean_ns = pace->busy_ns / pace->tasks + 1;
}

/* The square root of 1 or more, to some six per cent. */
static inline uint64_t broker_pace_root(uint64_t square) {
    uint64_t root = UINT64_C(1) << ((64 - (unsigned)__builtin_clzll(square)) / 2);

    return (root + square / root) / 2;
}

/* broker_pace_grain says how many tasks go into a message when so many are queued: at least 1, and all
 * messages alike, so that none is for a small rest. */
static inline uint32_t broker_pace_grain(const struct broker_pace *pace, uint32_t queued) {
    uint64_t most, best, messages;

    if (pace->mean_ns == 0 || pace->mean_ns > BROKER_PACE_GRAIN_NS / 2 || queued == 0) {
        return 1;
    }
    most = BROKER_PACE_GRAIN_NS / pace->mean_ns;
    if (most > pace->tasks) {
        most = pace->tasks;
    }
    best = broker_pace_root((uint64_t)queued * BROKER_PACE_MESSAGE_NS / pace->mean_ns + 1);
    if (best > most) {
        best = most;
    }
    messages = (queued + best / 2) / best;
    return messages == 0 ? (uint32_t)best : (uint32_t)((queued + messages - 1) / messages);
}

#endif
