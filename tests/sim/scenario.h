/* For tests that are scenarios of the simulation. */
#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tests/sim/sim.h"

#define SEED    1
#define ENOUGH  (300 * SIM_SECOND)
#define FOREVER UINT32_MAX

/* A simulation with the defaults; FURROW_TRACE in the environment has it tell what happens. */
static inline struct sim *scenario(uint64_t seed) {
    struct sim_options options;

    sim_options_default(&options, seed);
    options.trace = getenv("FURROW_TRACE") != NULL ? stderr : NULL;
    return sim_new_with(&options);
}

/* Runs until no task is left. */
static inline void finish_tasks(struct sim *sim) {
    if (!sim_run_tasks(sim, ENOUGH)) {
        fail_msg("%s", sim_failure(sim) != NULL ? sim_failure(sim) : "tasks are left");
    }
}

/* Ends a scenario: everything comes to its end, and no rule was broken. */
static inline void finish(struct sim *sim) {
    if (!sim_finish(sim, ENOUGH)) {
        fail_msg("%s", sim_failure(sim));
    }
    sim_free(sim);
}

static inline void assert_kind(const struct sim_task *task, enum wire_kind kind) {
    if (task->state != SIM_FINISHED || task->kind != kind) {
        fail_msg("#%u: state %d, kind %d: %s", (unsigned)task->number, (int)task->state,
                 (int)task->kind, task->text);
    }
}

static inline void assert_value(const struct sim_task *task) {
    assert_kind(task, WIRE_KIND_VALUE);
}

#endif
