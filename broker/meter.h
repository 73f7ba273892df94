/* Counting for those who look: rates, how long tasks wait and run. Pure. All of it is paid for once a
 * batch, not once a task. */
#ifndef BROKER_METER_H
#define BROKER_METER_H

#include "base/assert.h"

#include <stdbool.h>
#include <stdint.h>

/* ------------------------------------------------------------------- rates */

struct broker_counts {
    uint64_t submitted, finished, failed;
};

/* Counts, and what they were at one or two earlier moments. Zeroed memory is a meter. */
struct broker_meter {
    struct broker_counts now;
    struct broker_moment {
        uint64_t at_ns;
        struct broker_counts counts;
    } newer, older;
};

#define BROKER_METER_NS UINT64_C(5000000000)

void broker_meter_turn(struct broker_meter *meter, uint64_t now_ns);
/* broker_meter_roll is called before something is counted. */
static inline void broker_meter_roll(struct broker_meter *meter, uint64_t now_ns) {
    if (BASE_UNLIKELY(now_ns - meter->newer.at_ns >= BROKER_METER_NS)) {
        broker_meter_turn(meter, now_ns);
    }
}
/* broker_meter_rates gives tasks per 1,000 seconds, over the last 5 to 10 s or since something has
 * happened after a pause. */
struct broker_counts broker_meter_rates(struct broker_meter *meter, uint64_t now_ns);

/* -------------------------------------------------------------- histograms */

/* Upper bounds of the buckets; one more has what is above them all. */
#define BROKER_BOUNDS 17u
extern const uint64_t broker_bounds_ns[BROKER_BOUNDS];

struct broker_histogram {
    uint64_t counts[BROKER_BOUNDS + 1];
    uint64_t sum_ns;
};
/* broker_histogram_add counts `count` tasks of `each_ns`. */
void broker_histogram_add(struct broker_histogram *histogram, uint64_t each_ns, uint64_t count);

/* -------------------------------------------------------------------- ages */

/* When the tasks of a queue came, to about an eighth of their age: marks that many tasks share. The
 * tasks of a queue are numbered as they come; those from `gone` on are there. */
#define BROKER_AGE_MARKS 16u

struct broker_ages {
    uint64_t came, gone;
    uint32_t count;
    struct broker_age {
        uint64_t upto; /* tasks below this number, and not below that of the mark before */
        uint64_t at_ns;
    } marks[BROKER_AGE_MARKS];
};

/* broker_ages_came: so many have come, at the end. */
void broker_ages_came(struct broker_ages *ages, uint64_t count, uint64_t now_ns);
/* broker_ages_back: one has come back, in front. */
void broker_ages_back(struct broker_ages *ages, uint64_t now_ns);
/* broker_ages_gone: the first ones have gone, and are counted in `waits` (NULL: not). */
void broker_ages_gone(struct broker_ages *ages, uint64_t count, uint64_t now_ns,
                      struct broker_histogram *waits);
/* broker_ages_left: one has gone that was not the first. */
void broker_ages_left(struct broker_ages *ages);
/* broker_ages_oldest_ns: how long the first has waited; 0 if there is none. */
static inline uint64_t broker_ages_oldest_ns(const struct broker_ages *ages, uint64_t now_ns) {
    return ages->count == 0 || now_ns < ages->marks[0].at_ns ? 0 : now_ns - ages->marks[0].at_ns;
}

#endif
