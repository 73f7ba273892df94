/* Where futures come from: free lists of each thread, filled and emptied in batches from a depot that
 * gives memory back to the system after a peak. What a thread has goes to the depot when it ends. */
#ifndef CLIENT_FUTURE_MEMORY_H
#define CLIENT_FUTURE_MEMORY_H

#include "libclient/future.h"

/* future_allocate returns memory for a future, its contents undefined, aligned to a cache line.
 * NULL: no memory. Any thread; blocks only for the depot's lock, once in many calls. */
furrow_future *future_allocate(void);
void future_release(furrow_future *future);

#endif
