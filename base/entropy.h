/* Random bytes from the kernel, fit for secrets. */
#ifndef BASE_ENTROPY_H
#define BASE_ENTROPY_H

#include <stdbool.h>
#include <stddef.h>

/* base_entropy fills `bytes` bytes at `data`. It blocks only until the kernel's generator has been
 * seeded once after boot. Any thread may call it.
 * Returns false, with errno set, if the kernel can't or may not (ENOSYS, EPERM under a filter). */
bool base_entropy(void *data, size_t bytes);

#endif
