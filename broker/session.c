/* The link of one session: docs/protocol.md section 4. */
#include "broker/session.h"

#include <stdlib.h>
#include <string.h>

#include "broker/admin.h"
#include "broker/claims.h"
#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/credit.h"
#include "broker/no_room.h"
#include "broker/outbox.h"
#include "broker/owner.h"
#include "broker/recover.h"
#include "broker/router.h"
#include "broker/timer.h"
#include "broker/worker.h"

/* Roles free their own struct through the session. */
_Static_assert(offsetof(struct broker_client, session) == 0, "the session comes first");
_Static_assert(offsetof(struct broker_worker, session) == 0, "the session comes first");
_Static_assert(offsetof(struct broker_admin, session) == 0, "the session comes first");

/* Those that are let in though there are sessions_max: whoever looks why that is. */
#define ADMINS_MORE 16u

static uint32_t *gauge(struct broker_core *core, enum wire_role role) {
    switch (role) {
    case WIRE_CLIENT:
        return &core->stats.clients;
    case WIRE_WORKER:
        return &core->stats.workers;
    case WIRE_ADMIN:
        return &core->stats.admins;
    case WIRE_SUPERVISOR:
        break;
    }
    return &core->stats.supervisors;
}

/* ------------------------------------------------------------------ making */

static void make_key(uint8_t *key, const struct wire_session *id) {
    memcpy(key, &id->high, 8);
    memcpy(key + 8, &id->low, 8);
}

struct broker_session *broker_session_find(const struct broker_core *core,
                                           const struct wire_session *id) {
    uint8_t key[16];
    struct base_map_node *node;

    make_key(key, id);
    node = base_map_find(&core->sessions, key, sizeof key);
    return node == NULL ? NULL : BASE_CONTAINER_OF(node, struct broker_session, by_id);
}

bool broker_session_init(struct broker_core *core, struct broker_session *session,
                         const struct wire_hello *hello) {
    session->id = hello->session;
    session->role = hello->role;
    session->pid = (int64_t)hello->pid;
    make_key(session->key, &hello->session);
    session->name = broker_text(hello->name);
    session->host = broker_text(hello->host);
    if (!broker_timer_make(core, &session->timer, BROKER_TIMER_SESSION) || session->name == NULL ||
        session->host == NULL ||
        base_map_insert(&core->sessions, &session->by_id, session->key, sizeof session->key) !=
            BASE_MAP_INSERTED) {
        broker_timer_drop(core, &session->timer);
        free(session->name);
        free(session->host);
        return false;
    }
    link_init(&session->link, core->now_ns, core->config.heartbeat_ns, core->config.silence_ns);
    broker_timer_set(core, &session->timer, link_deadline(&session->link));
    base_list_push_back(&core->session_roll, &session->roll.node);
    ++*gauge(core, session->role);
    return true;
}

static void unbind(struct broker_core *core, struct broker_session *session) {
    if (session->bound) {
        base_idmap_remove(&core->addresses, session->address);
        session->bound = false;
    }
}

/* An address is bound to the session that said HELLO last, and a session to the address from which
 * it did. */
static bool bind_address(struct broker_core *core, struct broker_session *session,
                         broker_address from) {
    struct broker_session *other = base_idmap_find(&core->addresses, from);

    if (other == session) {
        return true;
    }
    if (other != NULL) {
        unbind(core, other);
    }
    if (base_idmap_insert(&core->addresses, from, session) != BASE_MAP_INSERTED) {
        return false;
    }
    unbind(core, session);
    session->address = from;
    session->bound = true;
    return true;
}

void broker_session_free(struct broker_core *core, struct broker_session *session) {
    if (session->bound) {
        broker_act(core, BROKER_FORGET, session->address);
    }
    unbind(core, session);
    broker_outbox_drop(session);
    free(session->outbox);
    link_fini(&session->link);
    broker_session_count(core, session);
    broker_timer_drop(core, &session->timer);
    broker_owner_leave(core, session);
    base_map_remove(&core->sessions, &session->by_id);
    base_list_remove(&session->roll.node);
    if (base_node_linked(&session->dirty)) {
        base_list_remove(&session->dirty);
    }
    --*gauge(core, session->role);
    free(session->name);
    free(session->host);
    free(session);
}

static void lose(struct broker_core *core, struct broker_session *session, enum broker_loss loss) {
    session->lost = true;
    switch (session->role) {
    case WIRE_CLIENT:
        broker_client_leave(core, broker_client_of(session));
        break;
    case WIRE_WORKER:
        broker_worker_lost(core, broker_worker_of(session), loss);
        break;
    case WIRE_SUPERVISOR:
        broker_session_free(core, session);
        break;
    case WIRE_ADMIN:
        broker_admin_leave(core, broker_admin_of(session));
        break;
    }
}

/* ------------------------------------------------------------------- HELLO */

static bool check_hello(struct broker_core *core, const struct broker_identity *identity,
                        const struct wire_hello *hello, const struct broker_session *known,
                        struct wire_fault *fault) {
    if (hello->version_max < WIRE_VERSION_MIN || hello->version_min > WIRE_VERSION_MAX) {
        broker_fault(fault, WIRE_REJECT_VERSION, "HELLO: version: we speak %u to %u",
                     WIRE_VERSION_MIN, WIRE_VERSION_MAX);
        return false;
    }
    if (!broker_owner_check(core, identity, hello, known, fault)) {
        return false;
    }
    if (known != NULL && known->role != hello->role) {
        broker_fault(fault, WIRE_REJECT_ROLE, "HELLO: role: the session has another");
        return false;
    }
    if (known == NULL && (core->stopped || (core->draining && hello->role == WIRE_CLIENT))) {
        broker_fault(fault, WIRE_REJECT_DRAINING, "HELLO: the broker is stopping");
        return false;
    }
    if (known == NULL &&
        base_map_count(&core->sessions) >=
            core->config.sessions_max + (hello->role == WIRE_ADMIN ? ADMINS_MORE : 0)) {
        broker_fault(fault, WIRE_REJECT_LIMIT, "HELLO: session: there are %u already",
                     core->config.sessions_max);
        return false;
    }
    return true;
}

static struct broker_session *session_of_role(struct broker_core *core,
                                              const struct wire_hello *hello) {
    struct broker_session *session;

    switch (hello->role) {
    case WIRE_CLIENT:
        return broker_client_new(core, hello);
    case WIRE_WORKER:
        return broker_worker_new(core, hello);
    case WIRE_ADMIN:
        return broker_admin_new(core, hello);
    case WIRE_SUPERVISOR:
        break;
    }
    session = calloc(1, sizeof *session);
    if (session != NULL && !broker_session_init(core, session, hello)) {
        free(session);
        session = NULL;
    }
    return session;
}

static struct broker_session *session_new(struct broker_core *core, const struct wire_hello *hello,
                                          const struct broker_identity *identity) {
    struct broker_session *session = session_of_role(core, hello);

    if (session != NULL && identity != NULL && !broker_owner_join(core, session, identity)) {
        lose(core, session, BROKER_LOSS_BYE);
        session = NULL;
    }
    return session;
}

static void welcome(struct broker_core *core, struct broker_session *session,
                    const struct wire_hello *hello, bool resumed) {
    uint32_t common = hello->version_max < WIRE_VERSION_MAX ? hello->version_max : WIRE_VERSION_MAX;
    struct wire_welcome answer = {
        .version = common,
        .epoch = core->config.epoch,
        .resumed = resumed,
        .received = session->link.received,
        .heartbeat_ms = (uint32_t)(core->config.heartbeat_ns / BROKER_MS),
        .silence_ms = (uint32_t)(core->config.silence_ns / BROKER_MS),
        .payload_max = WIRE_PAYLOAD_BYTES_MAX,
    };
    struct wire_message *message = wire_welcome_encode(&answer);

    if (message != NULL) { /* else it says HELLO again */
        broker_send(core, session->address, message);
    }
}

static void resend(struct broker_core *core, struct broker_session *session, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        broker_send(core, session->address, wire_message_ref(link_kept_at(&session->link, i)));
    }
}

/* Begins the session's stream anew, as far as it had one. */
static enum broker_handled register_anew(struct broker_core *core, struct broker_session *session,
                                         const struct wire_hello *hello, struct wire_fault *fault) {
    broker_outbox_drop(session);
    link_reset(&session->link, core->now_ns);
    broker_session_count(core, session);
    if (hello->epoch != 0 && hello->epoch != core->config.epoch) {
        broker_settle_begin(core);
    }
    switch (session->role) {
    case WIRE_CLIENT:
        broker_client_clear(core, broker_client_of(session));
        broker_credit_grant(core, broker_client_of(session));
        break;
    case WIRE_WORKER:
        return broker_worker_join(core, broker_worker_of(session), hello, fault);
    case WIRE_ADMIN:
        broker_admin_clear(broker_admin_of(session));
        break;
    case WIRE_SUPERVISOR:
        break;
    }
    return BROKER_DONE;
}

static enum broker_handled hello_from(struct broker_core *core, const struct broker_event *event,
                                      const struct wire_hello *hello, struct wire_fault *fault) {
    struct broker_session *session = broker_session_find(core, &hello->session);
    enum broker_handled handled;
    uint32_t count = 0;
    bool fresh;

    if (!check_hello(core, event->identity, hello, session, fault)) {
        return BROKER_REFUSED;
    }
    fresh = session == NULL;
    if (fresh) {
        session = session_new(core, hello, event->identity);
    }
    if (session == NULL) {
        return BROKER_NOMEM;
    }
    if (!bind_address(core, session, event->from)) {
        if (fresh) {
            lose(core, session, BROKER_LOSS_BYE);
        }
        return BROKER_NOMEM;
    }
    broker_session_dirty(core, session);
    if (!fresh && hello->epoch == core->config.epoch &&
        link_resend_from(&session->link, core->now_ns, hello->received, &count)) {
        welcome(core, session, hello, true);
        resend(core, session, count);
        broker_session_count(core, session);
        return BROKER_DONE;
    }
    handled = register_anew(core, session, hello, fault);
    if (handled == BROKER_DONE) {
        if (session->retired) { /* the word was in the stream that ended */
            (void)broker_session_retire(core, session);
        }
        welcome(core, session, hello, false);
    } else {
        unbind(core, session); /* so that the REJECT is the last it hears */
        lose(core, session, BROKER_LOSS_BYE);
    }
    return handled;
}

void broker_hello(struct broker_core *core, const struct broker_event *event) {
    struct wire_hello hello;
    struct wire_fault fault;

    if (!wire_hello_decode(event->message, &hello, &fault)) {
        broker_reject(core, event->from, NULL, WIRE_HELLO, &fault);
        return;
    }
    switch (hello_from(core, event, &hello, &fault)) {
    case BROKER_REFUSED:
        broker_reject(core, event->from, NULL, WIRE_HELLO, &fault);
        break;
    case BROKER_NOMEM:
        broker_log(core, true, "no memory for a session: it will be tried again");
        break;
    case BROKER_DONE:
    case BROKER_GONE:
        break;
    }
    wire_hello_fini(&hello);
}

void broker_session_end(struct broker_core *core, struct broker_session *session, const char *why) {
    broker_log(core, true, "%s pid %lld on %s: %s", session->name, (long long)session->pid,
               session->host, why);
    broker_session_mark(core, session, wire_plain_encode(WIRE_UNKNOWN));
    lose(core, session, BROKER_LOSS_REVOKED);
}

/* ---------------------------------------------------------------- handlers */

enum broker_handled broker_on_bye(struct broker_core *core, struct broker_session *session,
                                  struct wire_message *message, struct wire_fault *fault) {
    if (!wire_plain_decode(message, WIRE_BYE, fault)) {
        return BROKER_REFUSED;
    }
    /* The acknowledgement is all that it waits for. */
    broker_session_mark(core, session, wire_heartbeat_encode(session->link.sent));
    lose(core, session, BROKER_LOSS_BYE);
    return BROKER_GONE;
}

enum broker_handled broker_on_heartbeat(struct broker_core *core, struct broker_session *session,
                                        struct wire_message *message, struct wire_fault *fault) {
    uint64_t sent;

    if (!wire_heartbeat_decode(message, &sent, fault)) {
        return BROKER_REFUSED;
    }
    if (link_heard_sent(&session->link, sent) && link_resume_due(&session->link, core->now_ns)) {
        broker_session_mark(core, session, wire_resume_encode(session->link.received));
    }
    return BROKER_DONE;
}

enum broker_handled broker_on_coming(struct broker_core *core, struct broker_session *session,
                                     struct wire_message *message, struct wire_fault *fault) {
    struct wire_coming coming;

    if (!wire_coming_decode(message, &coming, fault)) {
        return BROKER_REFUSED;
    }
    if (coming.no_room) {
        return broker_no_room(core, session, &coming);
    }
    link_coming(&session->link, coming.bytes);
    broker_timer_set(core, &session->timer, link_deadline(&session->link));
    return BROKER_DONE;
}

enum broker_handled broker_on_resume(struct broker_core *core, struct broker_session *session,
                                     struct wire_message *message, struct wire_fault *fault) {
    struct wire_message *unknown;
    uint64_t received;
    uint32_t count;

    if (!wire_resume_decode(message, &received, fault)) {
        return BROKER_REFUSED;
    }
    if (link_resend_from(&session->link, core->now_ns, received, &count)) {
        resend(core, session, count);
        broker_session_count(core, session);
        return BROKER_DONE;
    }
    unknown = wire_plain_encode(WIRE_UNKNOWN);
    if (unknown != NULL) {
        broker_send(core, session->address, unknown);
    }
    return BROKER_DONE;
}

enum broker_handled broker_on_reject(struct broker_core *core, struct broker_session *session,
                                     struct wire_message *message, struct wire_fault *fault) {
    struct wire_reject reject;

    (void)session;
    /* A malformed REJECT is not rejected: that could go on for ever. */
    if (wire_reject_decode(message, &reject, fault)) {
        broker_log(core, true, "a peer refused our %s: %.*s", wire_type_name(reject.about),
                   (int)(reject.text.size < 128 ? reject.text.size : 128), reject.text.data);
    }
    return BROKER_DONE;
}

/* -------------------------------------------------------------------- time */

/* Memory of writers goes back when nothing has been said for a while. */
static void trim(struct broker_session *session) {
    switch (session->role) {
    case WIRE_CLIENT:
        broker_client_trim(broker_client_of(session));
        break;
    case WIRE_WORKER:
        broker_worker_trim(broker_worker_of(session));
        break;
    case WIRE_ADMIN:
    case WIRE_SUPERVISOR:
        break;
    }
}

void broker_session_timer(struct broker_core *core, struct broker_session *session) {
    switch (link_tick(&session->link, core->now_ns)) {
    case LINK_NOTHING:
        break;
    case LINK_SEND_HEARTBEAT:
        broker_session_mark(core, session, wire_heartbeat_encode(session->link.sent));
        trim(session);
        break;
    case LINK_SILENT:
        broker_log_peer(core, true, "silent for too long: lost", session, "%s", "");
        lose(core, session, BROKER_LOSS_SILENCE);
        return;
    }
    broker_timer_set(core, &session->timer, link_deadline(&session->link));
}
