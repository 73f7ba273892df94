/* A hint to the C library's allocator. */
#ifndef BASE_MALLOC_H
#define BASE_MALLOC_H

#include <stdlib.h>

/* base_malloc_expect_messages is called by who is about to send or receive. Messages are blocks of some 100
 * KB that come and go. Where that is all a thread allocates, glibc gives the memory back to the system each
 * time and gets it anew, at the price of page faults and interruptions of all processors. From a larger
 * block that has come and gone (untouched, it costs two system calls) it learns that such sizes are usual
 * here: see M_MMAP_THRESHOLD in mallopt(3). Any thread; does nothing where there is no memory. */
static inline void base_malloc_expect_messages(void) {
    void *volatile block = malloc((size_t)4 << 20);

    free(block);
}

#endif
