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
/* broker_session_mark sends an unsequenced message now; the reference is taken; NULL: nothing. */
void broker_session_mark(struct broker_core *core, struct broker_session *session,
                         struct wire_message *message);
/* broker_session_count takes note of how much the link keeps now. */
void broker_session_count(struct broker_core *core, struct broker_session *session);
/* broker_session_dirty has the next FLUSH look at it. */
static inline void broker_session_dirty(struct broker_core *core, struct broker_session *session) {
    if (!base_node_linked(&session->dirty)) {
        base_list_push_back(&core->dirty, &session->dirty);
    }
}
/* broker_session_put adds an entry to one of the session's writers, made if need be, and finishes its
 * messages when they are full. False: no memory, nothing was added. */
bool broker_session_put(struct broker_core *core, struct broker_session *session,
                        struct wire_writer **writer, enum wire_type type, const uint64_t *key,
                        const uint64_t *entry, const void *data, size_t size,
                        struct wire_blob *large);
/* broker_session_finish makes a message of what is in a writer (may be NULL), for the outbox. False:
 * no memory. */
bool broker_session_finish(struct broker_core *core, struct broker_session *session,
                           struct wire_writer *writer, enum wire_type type);
/* broker_session_post puts a message into the outbox; the reference is taken on success. */
bool broker_session_post(struct broker_session *session, struct wire_message *message);
/* broker_session_stop tells a worker or supervisor to leave. False: no memory, nothing happened. */
bool broker_session_stop(struct broker_core *core, struct broker_session *session);
void broker_session_flush(struct broker_core *core, struct broker_session *session);
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
