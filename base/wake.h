/* Wakes a thread that sleeps in poll(). A signal costs a system call only if the consumer has said
 * that it is about to sleep, and only one of all producers then pays it.
 *
 * The consumer:
 *     for (;;) {
 *         drain the queues;
 *         base_wake_prepare(wake);
 *         if (the queues are still empty) poll(base_wake_fd(wake), other fds ..., until);
 *         base_wake_finish(wake);
 *     }
 * A producer:
 *     put something in a queue; base_wake_signal(wake);
 *
 * The queue must be a base_inbox, or one under a mutex that both sides lock, or else put and the
 * consumer's look must be sequentially consistent atomic operations: wake.c says why. */
#ifndef BASE_WAKE_H
#define BASE_WAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"

enum base_wake_state { BASE_WAKE_AWAKE, BASE_WAKE_SLEEPING, BASE_WAKE_SIGNALLED };

struct base_wake {
    atomic_int state; /* enum base_wake_state */
    int fd;
    uint64_t owed; /* signals that were announced and not yet read from fd; the consumer's own */
};

/* base_wake_open creates the eventfd. Returns 0, or an errno (EMFILE, ENFILE, ENOMEM). */
int base_wake_open(struct base_wake *wake);

/* base_wake_close closes it; no producer may be inside base_wake_signal any more. */
void base_wake_close(struct base_wake *wake);

/* base_wake_fd is what the consumer polls for reading. It is never to be read by others. */
static inline int base_wake_fd(const struct base_wake *wake) {
    return wake->fd;
}

/* base_wake_write is the slow path of signal: not to be called by others. */
void base_wake_write(struct base_wake *wake);

/* base_wake_signal wakes the consumer if it sleeps or is about to. Any thread; never blocks; may be
 * called in a signal handler. */
static inline void base_wake_signal(struct base_wake *wake) {
    if (BASE_UNLIKELY(atomic_load(&wake->state) == BASE_WAKE_SLEEPING)) {
        base_wake_write(wake);
    }
}

/* base_wake_prepare announces that the consumer is about to sleep. It must look at its queues once
 * more before it does. Consumer only. */
void base_wake_prepare(struct base_wake *wake);

/* base_wake_finish ends what prepare began, whether or not the consumer slept, and clears the fd.
 * Returns whether somebody signalled in between. Consumer only; never blocks. */
bool base_wake_finish(struct base_wake *wake);

#endif
