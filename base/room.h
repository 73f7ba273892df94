/* Whether the system would give memory, asked before it is needed. */
#ifndef BASE_ROOM_H
#define BASE_ROOM_H

#include <stdbool.h>
#include <stdint.h>

/* base_has_room tries to allocate so many bytes, and gives them back. It does not block; any thread.
 * True is no promise: another may take them, and where memory is overcommitted it costs nothing to
 * ask. */
bool base_has_room(void *unused, uint64_t bytes);

#endif
