/* What goes out of a session. */
#ifndef BROKER_OUTBOX_H
#define BROKER_OUTBOX_H

#include "broker/session.h"

/* broker_session_mark sends an unsequenced message now; the reference is taken; NULL: nothing. */
void broker_session_mark(struct broker_core *core, struct broker_session *session,
                         struct wire_message *message);
/* broker_session_count takes note of how much the link keeps now. */
void broker_session_count(struct broker_core *core, struct broker_session *session);
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
/* broker_outbox_drop drops what is made and not posted. */
void broker_outbox_drop(struct broker_session *session);

#endif
