/* A small seeded random generator (xoshiro256**), for jitter, sampling and simulation: the same seed
 * gives the same numbers everywhere. Not for secrets. No function blocks or fails; the caller keeps
 * threads apart. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct base_rng {
    uint64_t state[4];
};

/* base_rng_init starts the sequence of `seed`; any value is fine. */
void base_rng_init(struct base_rng *rng, uint64_t seed);

/* base_rng_next returns 64 random bits. */
uint64_t base_rng_next(struct base_rng *rng);

/* base_rng_below returns a number from 0 to bound - 1, all equally likely; bound must not be 0. */
uint64_t base_rng_below(struct base_rng *rng, uint64_t bound);

/* base_rng_double returns a number from 0 (included) to 1 (excluded). */
double base_rng_double(struct base_rng *rng);

/* base_rng_chance is true with probability p; p <= 0 is never, p >= 1 always. */
bool base_rng_chance(struct base_rng *rng, double p);

#endif
