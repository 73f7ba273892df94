/* What a future keeps for its user until it is freed, and blobs around memory of ours. */
#ifndef CLIENT_FUTURE_KEPT_H
#define CLIENT_FUTURE_KEPT_H

#include "libclient/future.h"

/* future_kept_memory returns `size` bytes that live as long as the future. Any thread. NULL: no
 * memory. Its second face is the callback of a wire_value_keeper, whose user is the future. */
void *future_kept_memory(void *future, size_t size);

/* future_kept_free frees all that is kept; the future is about to be freed. */
void future_kept_free(furrow_future *future);

/* future_blob_around makes a blob of malloced bytes, which it owns on success and frees at its end.
 * NULL: no memory. */
struct wire_blob *future_blob_around(uint8_t *data, size_t size);

#endif
