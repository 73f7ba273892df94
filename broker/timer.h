/* Timers of the core: what may be due, and when. */
#ifndef BROKER_TIMER_H
#define BROKER_TIMER_H

#include "base/heap.h"

struct broker_core;

#define BROKER_MS UINT64_C(1000000)
#define BROKER_S  UINT64_C(1000000000)

enum broker_timer_kind {
    BROKER_TIMER_SESSION, /* link: heartbeat, silence */
    BROKER_TIMER_TASK,    /* queue deadline, or back-off before a retry */
    BROKER_TIMER_DEMAND,  /* nobody offers the function */
    BROKER_TIMER_OFFER,   /* look whether something is to be recalled */
    BROKER_TIMER_GRACE,   /* a dead worker's results may still come until then */
    BROKER_TIMER_CLAIM,   /* a claim that no client has asked for */
    BROKER_TIMER_SETTLE,  /* what nobody claimed is queued */
    BROKER_TIMER_DRAIN,   /* workers have had their time to leave */
    BROKER_TIMER_TRIM,    /* give memory back that is no longer needed */
};
struct broker_timer {
    struct base_heap_node node;
    enum broker_timer_kind kind;
};

/* A timer stands in the heap from make to drop, stopped ones at "never": so only make needs memory.
 * broker_timer_make: false without memory; the timer may be dropped all the same. */
bool broker_timer_make(struct broker_core *core, struct broker_timer *timer,
                       enum broker_timer_kind kind);
void broker_timer_drop(struct broker_core *core, struct broker_timer *timer);
void broker_timer_set(struct broker_core *core, struct broker_timer *timer, uint64_t at_ns);
static inline void broker_timer_stop(struct broker_core *core, struct broker_timer *timer) {
    broker_timer_set(core, timer, UINT64_MAX);
}
static inline bool broker_timer_runs(const struct broker_timer *timer) {
    return timer->node.key != UINT64_MAX;
}

#endif
