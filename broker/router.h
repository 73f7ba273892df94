/* What comes in: who may send it, and what became of it. */
#ifndef BROKER_ROUTER_H
#define BROKER_ROUTER_H

#include "broker/core_private.h"

void broker_route(struct broker_core *core, const struct broker_event *event);
/* broker_reject tells a session (or an address that has none: NULL) why its message had no effect. */
void broker_reject(struct broker_core *core, broker_address to, struct broker_session *session,
                   uint32_t about, const struct wire_fault *fault);
__attribute__((format(printf, 3, 4))) void broker_fault(struct wire_fault *fault,
                                                        enum wire_reject_code code,
                                                        const char *format, ...);

/* What a handler made of a message. */
enum broker_handled {
    BROKER_DONE,
    BROKER_REFUSED, /* nothing happened: *fault goes back */
    BROKER_NOMEM,   /* not (all) done: it is to come again. What was done of it stays done. */
    BROKER_GONE,    /* the session is no more */
};
typedef enum broker_handled broker_handler(struct broker_core *core, struct broker_session *session,
                                           struct wire_message *message, struct wire_fault *fault);

#endif
