/* What the peers' programs in C and C++ share: a clock, percentiles, and lines as furrow-bench prints
 * them. */
#ifndef PEER_H
#define PEER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline double peer_now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static inline int peer_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static inline void peer_print(const char *peer, const char *name, double value, const char *unit) {
    printf("%s.%s\t%.6g\t%s\n", peer, name, value, unit);
    fflush(stdout);
}

/* Seconds in, microseconds out. */
static inline void peer_print_round_trips(const char *peer, double *times, size_t count) {
    qsort(times, count, sizeof *times, peer_compare);
    peer_print(peer, "rtt_p99", times[count * 99 / 100] * 1e6, "us");
    peer_print(peer, "rtt_p50", times[count / 2] * 1e6, "us");
}

static inline void peer_die(const char *peer, const char *what) {
    fprintf(stderr, "%s: %s\n", peer, what);
    exit(1);
}

/* What a name like queued_1000 or efficiency_30us says; 0 if it does not begin with `prefix`. */
static inline long peer_number(const char *name, const char *prefix) {
    size_t size = strlen(prefix);

    return strncmp(name, prefix, size) == 0 ? atol(name + size) : 0;
}

/* echo_1kib, echo_1mib: bytes. */
static inline size_t peer_echo_bytes(const char *name) {
    size_t number = (size_t)peer_number(name, "echo_");

    return strstr(name, "mib") != NULL ? number << 20 : number << 10;
}

#endif
