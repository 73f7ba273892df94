#include "base/clock.h"

#include <limits.h>
#include <math.h>
#include <time.h>

uint64_t base_clock_ns(void) {
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * BASE_CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t base_clock_deadline(uint64_t now_ns, double seconds) {
    double ns = seconds * 1e9;
    uint64_t rest;

    if (isnan(seconds)) {
        return now_ns;
    }
    if (seconds < 0 || ns >= 0x1p63) {
        return BASE_CLOCK_FOREVER;
    }
    rest = (uint64_t)ns;
    return rest >= BASE_CLOCK_FOREVER - now_ns ? BASE_CLOCK_FOREVER : now_ns + rest;
}

uint64_t base_clock_left_ns(uint64_t deadline_ns, uint64_t now_ns) {
    if (deadline_ns == BASE_CLOCK_FOREVER) {
        return BASE_CLOCK_FOREVER;
    }
    return deadline_ns <= now_ns ? 0 : deadline_ns - now_ns;
}

int base_clock_poll_ms(uint64_t deadline_ns, uint64_t now_ns) {
    uint64_t left_ns = base_clock_left_ns(deadline_ns, now_ns);
    uint64_t ms = left_ns / BASE_CLOCK_NS_PER_MS + (left_ns % BASE_CLOCK_NS_PER_MS != 0);

    if (left_ns == BASE_CLOCK_FOREVER) {
        return -1;
    }
    return ms > INT_MAX ? INT_MAX : (int)ms;
}
