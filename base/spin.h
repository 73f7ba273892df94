/* Looking out for something for a moment instead of sleeping at once: going to sleep and being woken
 * costs both sides more than such a moment. Whether it comes soon enough is learnt from the last times, so
 * that where spinning is of no use it is tried again only now and then.
 *
 * One struct base_spin for each thing that is waited for, shared by all threads that wait for it:
 *
 *     if (base_spin_pays(&spin)) {
 *         look out, with base_spin_pause() in the loop, for no longer than one moment;
 *         base_spin_learn(&spin, whether it came);
 *     }
 *
 * All zero is a spin that has learnt nothing. No function blocks; any thread may call them. */
#ifndef BASE_SPIN_H
#define BASE_SPIN_H

#include <stdatomic.h>
#include <stdbool.h>

/* The score counts up when it came and down when not; spinning goes on while it is above 0. */
#define BASE_SPIN_SCORE_MAX 4
/* Otherwise it is tried once in so many times. */
#define BASE_SPIN_TRY_EVERY 32

struct base_spin {
    atomic_int score;
    atomic_uint skipped; /* times that it was not tried */
};

/* base_spin_pays tells whether spinning has been worth it lately, or is to be tried again. */
static inline bool base_spin_pays(struct base_spin *spin) {
    return atomic_load_explicit(&spin->score, memory_order_relaxed) > 0 ||
           atomic_fetch_add_explicit(&spin->skipped, 1, memory_order_relaxed) %
                   BASE_SPIN_TRY_EVERY ==
               0;
}

/* base_spin_learn takes note of how one time ended. Two threads that learn at once may count as one. */
static inline void base_spin_learn(struct base_spin *spin, bool came) {
    int score = atomic_load_explicit(&spin->score, memory_order_relaxed) + (came ? 1 : -1);

    if (score >= 0 && score <= BASE_SPIN_SCORE_MAX) {
        atomic_store_explicit(&spin->score, score, memory_order_relaxed);
    }
}

/* base_spin_pause tells the processor that this is a loop that waits. */
static inline void base_spin_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
