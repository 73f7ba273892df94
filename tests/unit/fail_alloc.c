#include "fail_alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

static __thread long left = -1; /* negative: none fails */
static __thread bool only_one;
static __thread bool failed;

void fail_alloc_after(long count) {
    left = count;
    only_one = false;
    failed = false;
}

void fail_alloc_only(long count) {
    fail_alloc_after(count);
    only_one = true;
}

void fail_alloc_never(void) {
    left = -1;
}

int fail_alloc_failed(void) {
    return failed;
}

/* Above 0: so many are to succeed, and the next one is to fail. 0: nothing. */
static atomic_long anywhere;
static atomic_bool anywhere_failed;

void fail_alloc_anywhere(long count) {
    atomic_store(&anywhere_failed, false);
    atomic_store(&anywhere, count + 1);
}

int fail_alloc_anywhere_failed(void) {
    return atomic_load(&anywhere_failed);
}

static bool fails_anywhere(void) {
    long now = atomic_load(&anywhere);

    while (now > 0 && !atomic_compare_exchange_weak(&anywhere, &now, now - 1)) {
    }
    if (now == 1) {
        atomic_store(&anywhere_failed, true);
    }
    return now == 1;
}

static bool fails(void) {
    if (fails_anywhere()) {
        return true;
    }
    if (left < 0) {
        return false;
    }
    if (left > 0) {
        left--;
        return false;
    }
    failed = true;
    if (only_one) {
        left = -1;
    }
    return true;
}

/* The linker's --wrap gives these names. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size) {
    return fails() ? NULL : __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return fails() ? NULL : __real_aligned_alloc(alignment, size);
}
