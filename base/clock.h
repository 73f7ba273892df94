/* Monotonic time in nanoseconds, and deadlines in it. Clock times of the day appear nowhere else than
 * in log lines. No function blocks or fails; any thread may call them. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define BASE_CLOCK_FOREVER   UINT64_MAX
#define BASE_CLOCK_NS_PER_MS UINT64_C(1000000)
#define BASE_CLOCK_NS_PER_S  UINT64_C(1000000000)

/* base_clock_ns returns the monotonic time (CLOCK_MONOTONIC). */
uint64_t base_clock_ns(void);

/* base_clock_deadline turns a duration in seconds into an absolute deadline, counted from now_ns.
 * Negative: BASE_CLOCK_FOREVER. Too large to count: BASE_CLOCK_FOREVER too. Not a number: now_ns. */
uint64_t base_clock_deadline(uint64_t now_ns, double seconds);

/* base_clock_left_ns returns how long it is until the deadline: 0 if it has passed,
 * BASE_CLOCK_FOREVER for that. */
uint64_t base_clock_left_ns(uint64_t deadline_ns, uint64_t now_ns);

/* base_clock_poll_ms returns the same as poll() and zmq_poll() want it: milliseconds, rounded up so
 * that a poll never ends just before its deadline; -1 for ever; at most INT_MAX. */
int base_clock_poll_ms(uint64_t deadline_ns, uint64_t now_ns);

#endif
