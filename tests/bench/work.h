/* Useful work, in the sense of Task Bench: a chain of operations of which each needs the one before. So
 * many of them are one task, and their number a second is what a processor can do at best. Ours and the
 * peers' in C run the same. */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t bench_work(uint64_t iterations) {
    uint64_t state = iterations | 1;

    for (uint64_t i = 0; i < iterations; i++) {
        state ^= state << 13; /* xorshift64: the compiler can't shorten it */
        state ^= state >> 7;
        state ^= state << 17;
    }
    return state;
}

/* bench_turn makes bytes of others: each with its bits turned round. */
static inline void bench_turn(uint8_t *made, const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        made[i] = (uint8_t)~bytes[i];
    }
}

/* bench_work_peak measures how many iterations a second `processes` (at most 16) processes do together
 * that do nothing else, for 50 ms. It forks, so no other thread may run in this process. 0: it can't. */
double bench_work_peak(int processes);

#endif
