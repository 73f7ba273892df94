/* furrow-sim: plays seeds of the swarm.
 *
 *   furrow-sim --seeds FROM..TO [--stats] [--until-failure]
 *                                   plays them all (or up to the first failure), prints those that fail
 *   furrow-sim --seed N [--trace]   plays one, and tells what happens in it
 *
 * Ends with 0 if all is well, 1 if a seed failed or, with --stats and a thousand seeds or more,
 * something never happened in any of them; 2 for bad arguments. */
#include "tests/sim/swarm.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEEDS_FOR_ALL 1000u /* so many seeds should have met everything there is */
#define FAILURES_MAX  20u   /* more are not printed one by one */

struct wish {
    uint64_t from, to;
    bool given, trace, stats, until_failure;
};

static bool number(const char *text, uint64_t *value, const char **rest) {
    char *end;

    if (*text < '0' || *text > '9') {
        return false;
    }
    *value = strtoull(text, &end, 10);
    *rest = end;
    return true;
}

static bool understand(int argc, char **argv, struct wish *wish) {
    for (int i = 1; i < argc; i++) {
        const char *rest;

        if (strcmp(argv[i], "--trace") == 0) {
            wish->trace = true;
        } else if (strcmp(argv[i], "--stats") == 0) {
            wish->stats = true;
        } else if (strcmp(argv[i], "--until-failure") == 0) {
            wish->until_failure = true;
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            wish->given = number(argv[++i], &wish->from, &rest) && *rest == '\0';
            wish->to = wish->from;
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc) {
            wish->given = number(argv[++i], &wish->from, &rest) && strncmp(rest, "..", 2) == 0 &&
                          number(rest + 2, &wish->to, &rest) && *rest == '\0' &&
                          wish->to >= wish->from;
        } else {
            return false;
        }
    }
    return wish->given;
}

static void add_counts(struct sim_counts *sum, const struct sim_counts *counts) {
#define ADD(name, text) sum->name += counts->name;
    SIM_COUNT_MAP(ADD)
#undef ADD
}

/* Prints how often things happened; returns how many never did. */
static unsigned print_counts(const struct sim_counts *counts) {
    unsigned never = 0;

#define PRINT(name, text)                                                                          \
    printf("%14" PRIu64 "  %s%s\n", counts->name, text, counts->name == 0 ? "  NEVER" : "");       \
    never += counts->name == 0 ? 1 : 0;
    SIM_COUNT_MAP(PRINT)
#undef PRINT
    return never;
}

static double seconds_now(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    struct wish wish = {0};
    struct sim_counts sum = {0};
    double virtual_seconds = 0;
    uint64_t slowest_ns = 0;
    uint64_t slowest = wish.from;
    double began = seconds_now();
    uint64_t failed = 0;
    unsigned never = 0;
    double took;

    if (!understand(argc, argv, &wish)) {
        fprintf(stderr,
                "usage: %s --seeds FROM..TO [--stats] [--until-failure] | --seed N [--trace]\n",
                argv[0]);
        return 2;
    }
    for (uint64_t seed = wish.from; seed <= wish.to; seed++) {
        struct swarm_result result;

        if (failed > 0 && wish.until_failure) {
            wish.to = seed - 1;
            break;
        }
        if (!swarm_play(seed, wish.trace ? stdout : NULL, &result) && ++failed <= FAILURES_MAX) {
            printf("seed %" PRIu64 " failed %s\n", seed, result.failure);
            fflush(stdout);
        }
        add_counts(&sum, &result.counts);
        virtual_seconds += (double)result.virtual_ns / 1e9;
        if (result.recovery_ns > slowest_ns) {
            slowest_ns = result.recovery_ns;
            slowest = seed;
        }
    }
    if (wish.stats) {
        never = print_counts(&sum);
        printf(
            "%14.3f  seconds from the end of faults to the end of all tasks, at most (seed %" PRIu64
            ")\n",
            (double)slowest_ns / 1e9, slowest);
    }
    took = seconds_now() - began;
    printf("%" PRIu64 " seeds, %" PRIu64 " failed; %.2f cluster-hours in %.1f s: %.0f "
           "cluster-seconds a second\n",
           wish.to - wish.from + 1, failed, virtual_seconds / 3600, took, virtual_seconds / took);
    return failed > 0 || (never > 0 && wish.to - wish.from + 1 >= SEEDS_FOR_ALL) ? 1 : 0;
}
