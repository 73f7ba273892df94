/* The two futex calls that are needed, private to the process. */
#ifndef BASE_FUTEX_H
#define BASE_FUTEX_H

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* base_futex_wait sleeps while *word is `expected`, until woken or until deadline_ns (absolute, on
 * the clock of base_clock_ns; UINT64_MAX for ever). It may return early: look at the word again.
 * Returns 0 (woken), EAGAIN (the word has another value), EINTR, or ETIMEDOUT. errno is preserved. */
static inline int base_futex_wait(atomic_uint *word, unsigned expected, uint64_t deadline_ns) {
    int saved = errno;
    struct timespec until = {
        .tv_sec = (time_t)(deadline_ns / 1000000000U),
        .tv_nsec = (long)(deadline_ns % 1000000000U),
    };
    long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected,
                      deadline_ns == UINT64_MAX ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
    int error = rc < 0 ? errno : 0;

    errno = saved;
    return error;
}

/* base_futex_wake wakes at most `count` sleepers. */
static inline void base_futex_wake(atomic_uint *word, int count) {
    int saved = errno;

    (void)syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL, 0);
    errno = saved;
}

#endif
