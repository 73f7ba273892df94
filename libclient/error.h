/* furrow_error out of the bytes that travel. */
#ifndef CLIENT_ERROR_H
#define CLIENT_ERROR_H

#include <furrow.h>

#include <stddef.h>

#include "wire/message.h"

/* client_error_bytes says how much memory the decoded form of an encoded wire_error takes. */
size_t client_error_bytes(const void *data, size_t size);

/* client_error_decode makes a furrow_error, with its strings behind it, in `memory` (aligned for it,
 * client_error_bytes long), and returns it. kind: none of WIRE_KIND_VALUE and _CANCELLED. Bytes that
 * are no wire_error become an error that says so. */
const furrow_error *client_error_decode(enum wire_kind kind, const void *data, size_t size,
                                        void *memory);

/* client_error_explain makes the error this thread's last one, and returns FURROW_EFAILED. */
furrow_status client_error_explain(const furrow_error *error) __attribute__((cold));

#endif
