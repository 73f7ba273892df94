/* Messages that their receiver has no memory for. */
#ifndef BROKER_NO_ROOM_H
#define BROKER_NO_ROOM_H

#include "broker/router.h"

/* broker_no_room: a client or worker has no memory for a message of ours. */
enum broker_handled broker_no_room(struct broker_core *core, struct broker_session *session,
                                   const struct wire_coming *coming);

#endif
