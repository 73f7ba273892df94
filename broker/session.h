/* The link of one session, and what all roles have in common. */
#ifndef BROKER_SESSION_H
#define BROKER_SESSION_H

#include "broker/core_private.h"
#include "broker/router.h"
#include "wire/link.h"

struct broker_owner;

/* A place in a list of all that there are, in the order in which they came: what an admin reads page
 * by page, with a cursor of his own among them. */
struct broker_roll {
    struct base_node node;
    bool cursor; /* it is one, and nothing else */
};

struct broker_session {
    struct base_map_node by_id;
    struct broker_owner *owner; /* NULL: not authenticated */
    struct base_node in_owner;
    struct broker_roll roll;
    uint8_t key[16];
    struct wire_session id;
    enum wire_role role;
    bool bound;   /* `address` is its */
    bool lost;    /* being taken apart: nothing more is to be sent */
    bool retired; /* an admin has told it to leave */
    broker_address address;
    struct link link;
    struct broker_timer timer;
    struct base_node dirty;       /* in core->dirty while the next FLUSH has to look at it */
    struct wire_message **outbox; /* made and not posted yet */
    uint32_t outbox_count, outbox_room;
    size_t counted_bytes; /* of what the link keeps, as counted in core->memory */
    char *name, *host;
    int64_t pid;
};

void broker_hello(struct broker_core *core, const struct broker_event *event);
broker_handler broker_on_bye, broker_on_heartbeat, broker_on_resume, broker_on_reject;
broker_handler broker_on_coming;
/* broker_session_find: the session of that id, whatever its role, or NULL. */
struct broker_session *broker_session_find(const struct broker_core *core,
                                           const struct wire_session *id);
/* broker_session_dirty has the next FLUSH look at it. */
static inline void broker_session_dirty(struct broker_core *core, struct broker_session *session) {
    if (!base_node_linked(&session->dirty)) {
        base_list_push_back(&core->dirty, &session->dirty);
    }
}
void broker_session_timer(struct broker_core *core, struct broker_session *session);
/* broker_session_end ends a session and all that it has here. UNKNOWN has the peer say HELLO again,
 * with which it registers anew, or is refused for good. */
void broker_session_end(struct broker_core *core, struct broker_session *session, const char *why);
/* broker_session_init begins a session of a HELLO; false: no memory, and nothing is left of it. */
bool broker_session_init(struct broker_core *core, struct broker_session *session,
                         const struct wire_hello *hello);
/* broker_session_free takes a session apart and frees it; its role's things are gone before. */
void broker_session_free(struct broker_core *core, struct broker_session *session);

#endif
