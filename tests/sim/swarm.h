/* The swarm: each seed draws its own cluster, its own workload and its own mix of faults. First the
 * faults: no rule may be broken. Then they stop: everything must come to its end. */
#ifndef SIM_SWARM_H
#define SIM_SWARM_H

#include "tests/sim/sim.h"

struct swarm_result {
    char failure[512]; /* empty: all is well */
    struct sim_counts counts;
    uint64_t virtual_ns;
    uint64_t recovery_ns; /* from the end of the faults to the end of all tasks */
};

/* swarm_play plays one seed; `trace` may be NULL. Returns whether all is well. */
bool swarm_play(uint64_t seed, FILE *trace, struct swarm_result *result);

#endif
