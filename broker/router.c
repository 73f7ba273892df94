/* What comes in: which message is for whom, and from whom it is allowed. */
#include "broker/router.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "broker/admin.h"
#include "broker/claims.h"
#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/outbox.h"
#include "broker/owner.h"
#include "broker/recover.h"
#include "broker/session.h"
#include "broker/worker.h"

#define CLIENT     (1u << WIRE_CLIENT)
#define WORKER     (1u << WIRE_WORKER)
#define SUPERVISOR (1u << WIRE_SUPERVISOR)
#define ADMIN      (1u << WIRE_ADMIN)
#define ANYBODY    (CLIENT | WORKER | SUPERVISOR | ADMIN)

/* Who may send what; nobody may send what isn't here. */
struct rule {
    enum wire_type type;
    unsigned roles;
    broker_handler *handler;
};
static const struct rule rules[] = {
    {WIRE_SUBMIT, CLIENT, broker_on_submit},
    {WIRE_RESULTS, WORKER, broker_on_results},
    {WIRE_HEARTBEAT, ANYBODY, broker_on_heartbeat},
    {WIRE_RESUME, ANYBODY, broker_on_resume},
    {WIRE_COMING, ANYBODY, broker_on_coming},
    {WIRE_REJECT, ANYBODY, broker_on_reject},
    {WIRE_BYE, ANYBODY, broker_on_bye},
    {WIRE_CANCEL, CLIENT, broker_on_cancel},
    {WIRE_DEFINE, CLIENT, broker_on_define},
    {WIRE_RETURNED, WORKER, broker_on_returned},
    {WIRE_RUNNING, WORKER, broker_on_running},
    {WIRE_CLAIMS, WORKER, broker_on_claims},
    {WIRE_DRAIN, WORKER, broker_on_drain},
    {WIRE_CHILD_DIED, SUPERVISOR, broker_on_child_died},
    {WIRE_PING, ADMIN, broker_on_ping},
    {WIRE_LIST, ADMIN, broker_on_list},
    {WIRE_EXPLAIN, ADMIN, broker_on_explain},
    {WIRE_RETIRE, ADMIN, broker_on_retire},
};

static const struct rule *rule_of(uint32_t type) {
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (rules[i].type == type) {
            return &rules[i];
        }
    }
    return NULL;
}

void broker_fault(struct wire_fault *fault, enum wire_reject_code code, const char *format, ...) {
    va_list arguments;

    fault->code = code;
    va_start(arguments, format);
    vsnprintf(fault->text, sizeof fault->text, format, arguments);
    va_end(arguments);
}

void broker_reject(struct broker_core *core, broker_address to, struct broker_session *session,
                   uint32_t about, const struct wire_fault *fault) {
    struct wire_reject reject = {
        .about = about, .code = fault->code, .text = {fault->text, strlen(fault->text)}};
    struct wire_message *message = wire_reject_encode(&reject);

    core->stats.rejected++;
    broker_log(core, true, "refused a message: %s (%s from %s)", fault->text, wire_type_name(about),
               session == NULL                ? "nobody we know"
               : session->role == WIRE_CLIENT ? "a client"
               : session->role == WIRE_WORKER ? "a worker"
               : session->role == WIRE_ADMIN  ? "an admin"
                                              : "a supervisor");
    if (message == NULL) {
        return;
    }
    if (session != NULL) {
        broker_session_mark(core, session, message);
    } else {
        broker_send(core, to, message);
    }
}

static void say_unknown(struct broker_core *core, broker_address to) {
    struct wire_message *message = wire_plain_encode(WIRE_UNKNOWN);

    if (message != NULL) {
        broker_send(core, to, message);
    }
}

static void ask_resume(struct broker_core *core, struct broker_session *session) {
    if (link_resume_due(&session->link, core->now_ns)) {
        broker_session_mark(core, session, wire_resume_encode(session->link.received));
    }
}

static enum broker_handled handle(struct broker_core *core, struct broker_session *session,
                                  const struct wire_envelope *envelope,
                                  struct wire_message *message, struct wire_fault *fault) {
    const struct rule *rule = rule_of(envelope->type);

    if (rule == NULL && wire_type_name(envelope->type)[0] == '?') {
        broker_fault(fault, WIRE_REJECT_TYPE, "header: type: %u is unknown", envelope->type);
        return BROKER_REFUSED;
    }
    if (rule == NULL || (rule->roles & (1u << session->role)) == 0 ||
        (session->owner != NULL && !broker_may(&session->owner->identity, session->role))) {
        broker_fault(fault, WIRE_REJECT_ROLE, "%s is not for this role to send",
                     wire_type_name(envelope->type));
        return BROKER_REFUSED;
    }
    return rule->handler(core, session, message, fault);
}

/* A client whose SUBMIT is over a limit reckons in another way than we do: both begin anew, or its tasks
 * would never end (docs/protocol.md section 5). */
static bool ends_session(const struct broker_session *session, const struct wire_envelope *envelope,
                         const struct wire_fault *fault) {
    return session->role == WIRE_CLIENT && envelope->type == WIRE_SUBMIT &&
           fault->code == WIRE_REJECT_LIMIT;
}

/* A message that is next in order, or outside of it. */
static void deliver(struct broker_core *core, struct broker_session *session,
                    const struct wire_envelope *envelope, struct wire_message *message) {
    struct wire_fault fault = {.code = WIRE_REJECT_MALFORMED};

    switch (handle(core, session, envelope, message, &fault)) {
    case BROKER_DONE:
        broker_session_dirty(core, session);
        break;
    case BROKER_REFUSED:
        broker_reject(core, session->address, session, envelope->type, &fault);
        if (ends_session(session, envelope, &fault)) {
            broker_session_end(core, session, "it is to register anew");
        } else {
            broker_session_dirty(core, session);
        }
        break;
    case BROKER_NOMEM:
        broker_starve(core);
        if (envelope->type >= WIRE_FIRST_SEQUENCED) {
            link_decline(&session->link, core->now_ns, wire_message_bytes(message));
        }
        break;
    case BROKER_GONE:
        break;
    }
}

void broker_route(struct broker_core *core, const struct broker_event *event) {
    struct broker_session *session = base_idmap_find(&core->addresses, event->from);
    struct wire_message *message = event->message;
    broker_address from = event->from;
    struct wire_envelope envelope;
    struct wire_fault fault;

    if (BASE_UNLIKELY(!wire_open(message, &envelope, &fault))) {
        broker_reject(core, from, session, 0, &fault);
        return;
    }
    if (BASE_UNLIKELY(envelope.type == WIRE_HELLO)) {
        broker_hello(core, event);
        return;
    }
    if (BASE_UNLIKELY(session == NULL)) {
        if (envelope.type != WIRE_REJECT && envelope.type != WIRE_UNKNOWN) {
            say_unknown(core, from);
        }
        return;
    }
    switch (link_accept(&session->link, core->now_ns, &envelope, wire_message_bytes(message))) {
    case LINK_DELIVER:
        broker_session_count(core, session);
        deliver(core, session, &envelope, message);
        break;
    case LINK_DUPLICATE:
        broker_session_dirty(core, session);
        break;
    case LINK_GAP:
        ask_resume(core, session);
        break;
    case LINK_BROKEN:
        say_unknown(core, from);
        break;
    }
}
