#include "broker/meter.h"

#include <string.h>

#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

/* ------------------------------------------------------------------- rates */

void broker_meter_turn(struct broker_meter *meter, uint64_t now_ns) {
    struct broker_moment now = {now_ns, meter->now};

    /* After a pause what was before it says nothing about now. */
    meter->older = now_ns - meter->newer.at_ns >= 2 * BROKER_METER_NS ? now : meter->newer;
    meter->newer = now;
}

static uint64_t rate(uint64_t now, uint64_t then, uint64_t elapsed_ns) {
    uint64_t elapsed_ms = elapsed_ns < S ? 1000 : elapsed_ns / MS;

    return (now - then) * 1000000 / elapsed_ms;
}

struct broker_counts broker_meter_rates(struct broker_meter *meter, uint64_t now_ns) {
    const struct broker_counts *now = &meter->now, *then = &meter->older.counts;
    uint64_t elapsed_ns;

    broker_meter_roll(meter, now_ns);
    elapsed_ns = now_ns - meter->older.at_ns;
    return (struct broker_counts){
        .submitted = rate(now->submitted, then->submitted, elapsed_ns),
        .finished = rate(now->finished, then->finished, elapsed_ns),
        .failed = rate(now->failed, then->failed, elapsed_ns),
    };
}

/* -------------------------------------------------------------- histograms */

const uint64_t broker_bounds_ns[BROKER_BOUNDS] = {
    1000,     10000, 100000, 500000, 1 * MS, 5 * MS,  10 * MS,  50 * MS,  100 * MS,
    500 * MS, 1 * S, 5 * S,  10 * S, 60 * S, 300 * S, 1800 * S, 3600 * S,
};

void broker_histogram_add(struct broker_histogram *histogram, uint64_t each_ns, uint64_t count) {
    uint32_t bucket = 0;

    while (bucket < BROKER_BOUNDS && each_ns > broker_bounds_ns[bucket]) {
        bucket++;
    }
    histogram->counts[bucket] += count;
    histogram->sum_ns += each_ns * count;
}

/* -------------------------------------------------------------------- ages */

/* Joins pairs of marks: the tasks of both count as being as old as the older. */
static void thin_out(struct broker_ages *ages) {
    for (uint32_t i = 0; i < BROKER_AGE_MARKS / 2; i++) {
        ages->marks[i] = (struct broker_age){ages->marks[2 * i + 1].upto, ages->marks[2 * i].at_ns};
    }
    ages->count = BROKER_AGE_MARKS / 2;
}

void broker_ages_came(struct broker_ages *ages, uint64_t count, uint64_t now_ns) {
    struct broker_age *last = ages->count == 0 ? NULL : &ages->marks[ages->count - 1];

    ages->came += count;
    if (last != NULL &&
        now_ns - last->at_ns <= MS / 10 + (last->at_ns - ages->marks[0].at_ns) / 8) {
        last->upto = ages->came;
        return;
    }
    if (ages->count == BROKER_AGE_MARKS) {
        thin_out(ages);
    }
    ages->marks[ages->count++] = (struct broker_age){ages->came, now_ns};
}

void broker_ages_back(struct broker_ages *ages, uint64_t now_ns) {
    ages->gone--;
    if (ages->count == 0) {
        ages->marks[ages->count++] = (struct broker_age){ages->came, now_ns};
    }
}

void broker_ages_gone(struct broker_ages *ages, uint64_t count, uint64_t now_ns,
                      struct broker_histogram *waits) {
    uint32_t used = 0;

    while (count > 0) {
        struct broker_age *first = &ages->marks[used];
        uint64_t there = first->upto - ages->gone, here = count < there ? count : there;

        BASE_ASSERT(used < ages->count);
        if (waits != NULL) {
            broker_histogram_add(waits, now_ns - first->at_ns, here);
        }
        ages->gone += here;
        count -= here;
        used += here == there;
    }
    if (used > 0) {
        ages->count -= used;
        memmove(ages->marks, ages->marks + used, ages->count * sizeof ages->marks[0]);
    }
}

void broker_ages_left(struct broker_ages *ages) {
    uint64_t before;

    BASE_ASSERT(ages->count > 0);
    ages->came--;
    ages->marks[ages->count - 1].upto--;
    before = ages->count == 1 ? ages->gone : ages->marks[ages->count - 2].upto;
    ages->count -= ages->marks[ages->count - 1].upto == before;
}
