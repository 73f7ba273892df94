/* Keys: what each may do, its sessions, its quota. */
#ifndef BROKER_OWNER_H
#define BROKER_OWNER_H

#include "broker/client.h"

/* A key that has sessions here. */
struct broker_owner {
    struct base_map_node node;
    struct broker_identity identity;
    struct base_list sessions;
    uint32_t session_count, client_count;
    /* What its clients have here or have been granted, as far as it has been counted. */
    uint64_t tasks, bytes;
};

/* broker_owner_check: whether a HELLO of this identity may make or take up a session (`known`, or NULL
 * if there is none of that id). False: *fault, which tells of nothing that is not the peer's own. */
bool broker_owner_check(struct broker_core *core, const struct broker_identity *identity,
                        const struct wire_hello *hello, const struct broker_session *known,
                        struct wire_fault *fault);
/* broker_owner_join makes a session its key's. False: no memory. */
bool broker_owner_join(struct broker_core *core, struct broker_session *session,
                       const struct broker_identity *identity);
void broker_owner_leave(struct broker_core *core, struct broker_session *session);
/* broker_owner_authorize gives a key other rights and another quota, and ends what it may not have. */
void broker_owner_authorize(struct broker_core *core, const struct broker_identity *identity);
/* broker_owner_count takes note of how much a client has; broker_owner_room says how much more it may
 * be granted. */
void broker_owner_count(struct broker_client *client);
void broker_owner_room(const struct broker_client *client, uint64_t *tasks, uint64_t *bytes);
/* broker_owner_allows: whether a payload of that size is within the client's quota if it is alone. */
static inline bool broker_owner_allows(const struct broker_client *client, size_t size) {
    const struct broker_owner *owner = client->session.owner;

    return owner == NULL || size <= owner->identity.bytes_max;
}

#endif
