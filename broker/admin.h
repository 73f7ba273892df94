/* Admins, and what they ask. */
#ifndef BROKER_ADMIN_H
#define BROKER_ADMIN_H

#include "broker/session.h"

struct broker_admin {
    struct broker_session session;
    struct broker_roll cursor; /* in the list that it reads; unlinked: it reads none */
    uint32_t list;
    uint64_t page; /* the next one */
};

static inline struct broker_admin *broker_admin_of(struct broker_session *session) {
    BASE_ASSERT(session->role == WIRE_ADMIN);
    return BASE_CONTAINER_OF(session, struct broker_admin, session);
}

struct broker_session *broker_admin_new(struct broker_core *core, const struct wire_hello *hello);
/* broker_admin_clear ends the list that it reads. */
void broker_admin_clear(struct broker_admin *admin);
void broker_admin_leave(struct broker_core *core, struct broker_admin *admin);
broker_handler broker_on_ping, broker_on_list, broker_on_explain, broker_on_retire;
/* broker_session_retire has a worker or supervisor leave. False: no memory. */
bool broker_session_retire(struct broker_core *core, struct broker_session *session);
/* broker_peer_state tells how a peer stands, as admins are told: of enum wire_peer_state. */
uint64_t broker_peer_state(struct broker_session *session);

#endif
