#include "worker/internal.h"

#include <stdlib.h>
#include <string.h>

/* Whose tasks are here, and how many: so that a client with few of them need not wait until all of
 * another one's are done. */

static struct worker_guest *guest_new(struct worker_core *core,
                                      const struct wire_session *session) {
    struct worker_guest *guest = calloc(1, sizeof *guest);

    if (guest == NULL) {
        return NULL;
    }
    guest->session = *session;
    if (base_map_insert(&core->guests, &guest->node, &guest->session, sizeof guest->session) !=
        BASE_MAP_INSERTED) {
        free(guest);
        return NULL;
    }
    return guest;
}

struct worker_guest *worker_guest_enter(struct worker_core *core,
                                        const struct wire_session *session) {
    struct base_map_node *node = base_map_find(&core->guests, session, sizeof *session);
    struct worker_guest *guest = node != NULL ? BASE_CONTAINER_OF(node, struct worker_guest, node)
                                              : guest_new(core, session);

    if (guest != NULL) {
        guest->count++;
    }
    return guest;
}

void worker_guest_end(struct worker_core *core, struct worker_guest *guest) {
    base_map_remove(&core->guests, &guest->node);
    free(guest);
}

void worker_guests_free(struct worker_core *core) {
    struct base_map_cursor cursor = {0};
    struct base_map_node *node;

    while ((node = base_map_next(&core->guests, &cursor)) != NULL) {
        worker_guest_end(core, BASE_CONTAINER_OF(node, struct worker_guest, node));
    }
    base_map_fini(&core->guests);
}
