/* Checks of our own invariants, and the two hints that go with them.
 *
 * BASE_ASSERT(cond) stays in release builds. It is for what only a bug of ours can break: never for
 * input, for lack of memory, or for what a peer does. When it fails it writes one line to stderr and
 * aborts; it is the only thing in the pure part of base/ that touches the outside. */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include <stddef.h>

#define BASE_LIKELY(cond)   __builtin_expect(!!(cond), 1)
#define BASE_UNLIKELY(cond) __builtin_expect(!!(cond), 0)

#define BASE_ASSERT(cond)                                                                          \
    (BASE_LIKELY(cond) ? (void)0 : base_assert_fail(__FILE__, __LINE__, #cond))

/* BASE_CONTAINER_OF gives the struct of `type` whose `member` `pointer` points to. */
#define BASE_CONTAINER_OF(pointer, type, member)                                                   \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

_Noreturn void base_assert_fail(const char *file, int line, const char *expression)
    __attribute__((cold));

#endif
