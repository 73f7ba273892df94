/* Clients that want the same thing in turns compete for it, though at each moment only one may want it.
 * Plain functions of their arguments. */
#ifndef BROKER_RIVALS_H
#define BROKER_RIVALS_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/timer.h"

/* Who has competed will probably do so again. */
#define BROKER_RIVALS_NS BROKER_S

struct broker_client;

/* All zero: nobody has wanted it. */
struct broker_rivals {
    const struct broker_client *last; /* who had of it last; only to be compared */
    uint64_t last_ns;                 /* when that was */
    uint64_t until_ns;                /* so long there are several */
};

/* broker_rivals_note says that a client, one of so many that there are, has some of it now. */
static inline void broker_rivals_note(struct broker_rivals *rivals,
                                      const struct broker_client *client, uint64_t clients,
                                      uint64_t now_ns) {
    if (rivals->last != client) {
        if (clients > 1 && rivals->last != NULL && now_ns - rivals->last_ns < BROKER_RIVALS_NS) {
            rivals->until_ns = now_ns + BROKER_RIVALS_NS;
        }
        rivals->last = client;
    }
    rivals->last_ns = now_ns;
}

/* broker_rivals tells whether several have had some within the last second. */
static inline bool broker_rivals(const struct broker_rivals *rivals, uint64_t now_ns) {
    return now_ns < rivals->until_ns;
}

#endif
