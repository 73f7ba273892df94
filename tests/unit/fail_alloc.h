/* Makes allocations fail on purpose, in programs linked with furrow_fail_alloc: the linker puts these
 * functions between the program's own code (not the C library's) and malloc, calloc, realloc and
 * aligned_alloc. */
#ifndef TEST_FAIL_ALLOC_H
#define TEST_FAIL_ALLOC_H

/* fail_alloc_after lets `count` allocations of this thread succeed and fails all further ones, until
 * fail_alloc_never. */
void fail_alloc_after(long count);
void fail_alloc_never(void);

/* fail_alloc_only fails the one allocation of this thread after the next `count`. */
void fail_alloc_only(long count);

/* fail_alloc_anywhere fails the one allocation of the whole program, whatever its thread, after the next
 * `count`; fail_alloc_anywhere(-1) none. fail_alloc_anywhere_failed tells whether it has. */
void fail_alloc_anywhere(long count);
int fail_alloc_anywhere_failed(void);

/* fail_alloc_failed tells whether one has failed since the last call of the above. */
int fail_alloc_failed(void);

#endif
