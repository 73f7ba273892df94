#include "base/rng.h"

#include "base/assert.h"

static uint64_t rotate_left(uint64_t x, int by) {
    return (x << by) | (x >> (64 - by));
}

/* splitmix64 spreads the seed over the state, which must not be all zero: its outputs can't all be. */
void base_rng_init(struct base_rng *rng, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        uint64_t z;

        seed += UINT64_C(0x9e3779b97f4a7c15);
        z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        rng->state[i] = z ^ (z >> 31);
    }
}

uint64_t base_rng_next(struct base_rng *rng) {
    uint64_t *s = rng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* Lemire's method: the high half of a product is below the bound; the few low halves that would make
 * some results likelier are rejected. */
uint64_t base_rng_below(struct base_rng *rng, uint64_t bound) {
    unsigned __int128 product;
    uint64_t low;

    BASE_ASSERT(bound != 0);
    product = (unsigned __int128)base_rng_next(rng) * bound;
    low = (uint64_t)product;
    if (low < bound) {
        uint64_t reject_below = (0 - bound) % bound;

        while (low < reject_below) {
            product = (unsigned __int128)base_rng_next(rng) * bound;
            low = (uint64_t)product;
        }
    }
    return (uint64_t)(product >> 64);
}

double base_rng_double(struct base_rng *rng) {
    return (double)(base_rng_next(rng) >> 11) * 0x1.0p-53;
}

bool base_rng_chance(struct base_rng *rng, double p) {
    return base_rng_double(rng) < p;
}
