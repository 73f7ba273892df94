#include "base/room.h"

#include <stdlib.h>

bool base_has_room(void *unused, uint64_t bytes) {
    /* Volatile: an allocation that nobody uses may be left out otherwise. */
    void *volatile piece = bytes <= SIZE_MAX ? malloc((size_t)bytes) : NULL;
    bool had = piece != NULL;

    (void)unused;
    free(piece);
    return had;
}
