#include "wire/dialer.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void link_dialer_own(struct link_dialer *dialer, const struct link_owner *owner, void *user,
                     uint64_t now_ns) {
    dialer->owner = owner;
    dialer->user = user;
    dialer->reconnect_ns = now_ns;
}

static bool reserve(struct link_dialer *dialer, uint32_t count) {
    return dialer->owner->reserve(dialer->user, count);
}

static void send_message(struct link_dialer *dialer, struct wire_message *message) {
    dialer->owner->send(dialer->user, message);
}

__attribute__((format(printf, 2, 3))) static void warn(struct link_dialer *dialer,
                                                       const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(dialer->text, sizeof dialer->text, format, arguments);
    va_end(arguments);
    if (dialer->owner->warn != NULL) {
        dialer->owner->warn(dialer->user, dialer->text);
    }
}

/* ---- what goes out ---- */

void link_dialer_mark(struct link_dialer *dialer, uint64_t now_ns, struct wire_message *message) {
    if (message == NULL) {
        return;
    }
    if (!reserve(dialer, 1)) {
        wire_message_unref(message);
        return;
    }
    link_mark(&dialer->link, now_ns, message);
    send_message(dialer, message);
}

void link_dialer_heartbeat(struct link_dialer *dialer, uint64_t now_ns) {
    link_dialer_mark(dialer, now_ns, wire_heartbeat_encode(dialer->link.sent));
}

void link_dialer_reject(struct link_dialer *dialer, uint64_t now_ns, uint32_t about,
                        const struct wire_fault *fault) {
    struct wire_reject reject = {
        .about = about,
        .code = fault->code,
        .text = {fault->text, strlen(fault->text)},
    };

    warn(dialer, "refused a message of type %u from the broker: %s", about, fault->text);
    if (dialer->state == LINK_UP) {
        link_dialer_mark(dialer, now_ns, wire_reject_encode(&reject));
    }
}

void link_dialer_misplaced(struct link_dialer *dialer, uint64_t now_ns, uint32_t type) {
    struct wire_fault fault = {.code = WIRE_REJECT_ROLE};

    (void)snprintf(fault.text, sizeof fault.text, "not for %s", dialer->owner->role);
    link_dialer_reject(dialer, now_ns, type, &fault);
}

static void ask_resume(struct link_dialer *dialer, uint64_t now_ns) {
    if (link_resume_due(&dialer->link, now_ns)) {
        link_dialer_mark(dialer, now_ns, wire_resume_encode(dialer->link.received));
    }
}

static void say_no_room(struct link_dialer *dialer) {
    struct wire_message *message = reserve(dialer, 1) ? link_dialer_no_room_encode(dialer) : NULL;

    if (message != NULL) {
        send_message(dialer, message);
    }
}

void link_dialer_hello(struct link_dialer *dialer, struct wire_hello *hello) {
    struct wire_message *message;

    hello->version_min = WIRE_VERSION_MIN;
    hello->version_max = WIRE_VERSION_MAX;
    hello->epoch = dialer->epoch;
    hello->received = dialer->link.received;
    if (!reserve(dialer, 1)) {
        return; /* said again after the back-off */
    }
    message = wire_hello_encode(hello);
    if (message != NULL) {
        send_message(dialer, message);
        say_no_room(dialer);
    }
}

void link_dialer_resend(struct link_dialer *dialer, uint32_t count) {
    if (!reserve(dialer, count)) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        send_message(dialer, wire_message_ref(link_kept_at(&dialer->link, i)));
    }
}

/* ---- what comes in ---- */

static void handle_welcome(struct link_dialer *dialer, uint64_t now_ns,
                           const struct wire_message *message, struct link_heard *heard) {
    struct wire_fault fault;

    if (!wire_welcome_decode(message, &heard->welcome, &fault)) {
        warn(dialer, "malformed WELCOME from the broker: %s", fault.text);
        return;
    }
    if (heard->welcome.version < WIRE_VERSION_MIN || heard->welcome.version > WIRE_VERSION_MAX) {
        warn(dialer, "the broker speaks version %u of the protocol, which we do not",
             heard->welcome.version);
        return;
    }
    heard->was_up = dialer->state == LINK_UP;
    heard->anew = link_dialer_welcomed(dialer, now_ns, &heard->welcome, &heard->resend);
    if (dialer->state == LINK_UP) {
        dialer->reconnect_ns = now_ns;
        heard->type = LINK_HEARD_WELCOME;
    }
}

static void handle_reject(struct link_dialer *dialer, const struct wire_message *message,
                          struct link_heard *heard) {
    struct wire_reject *reject = &heard->reject;
    struct wire_fault fault;

    if (!wire_reject_decode(message, reject, &fault)) {
        warn(dialer, "malformed REJECT from the broker: %s", fault.text);
        return;
    }
    warn(dialer, "the broker rejected %s (%s): %.*s", wire_type_name(reject->about),
         wire_reject_text(reject->code), (int)reject->text.size, reject->text.data);
    heard->type = LINK_HEARD_REJECT;
    heard->text = dialer->text;
    heard->final = reject->about == WIRE_HELLO && dialer->state != LINK_UP &&
                   (reject->code == WIRE_REJECT_ROLE || reject->code == WIRE_REJECT_VERSION ||
                    reject->code == WIRE_REJECT_AUTH);
}

static void handle_heartbeat(struct link_dialer *dialer, uint64_t now_ns,
                             const struct wire_message *message) {
    struct wire_fault fault;
    uint64_t sent;

    if (!wire_heartbeat_decode(message, &sent, &fault)) {
        link_dialer_reject(dialer, now_ns, WIRE_HEARTBEAT, &fault);
    } else if (link_heard_sent(&dialer->link, sent)) {
        ask_resume(dialer, now_ns);
    }
}

static void handle_coming(struct link_dialer *dialer, uint64_t now_ns,
                          const struct wire_message *message, struct link_heard *heard) {
    const struct link_owner *owner = dialer->owner;
    struct wire_fault fault;
    struct wire_coming size;

    if (!wire_coming_decode(message, &size, &fault)) {
        link_dialer_reject(dialer, now_ns, WIRE_COMING, &fault);
        return;
    }
    link_coming(&dialer->link, size.bytes);
    if (owner->has_room == NULL || owner->has_room(dialer->user, size.bytes) ||
        !reserve(dialer, 2)) { /* for the warning too */
        return;
    }
    warn(dialer, "no memory to receive a message of %llu bytes", (unsigned long long)size.bytes);
    link_dialer_no_room(dialer, now_ns, &size);
    dialer->reconnect_ns = now_ns;
    heard->type = LINK_HEARD_NO_ROOM;
}

static void handle_resume(struct link_dialer *dialer, uint64_t now_ns,
                          const struct wire_message *message) {
    struct wire_fault fault;
    uint64_t received;
    uint32_t count = 0;

    if (!wire_resume_decode(message, &received, &fault)) {
        link_dialer_reject(dialer, now_ns, WIRE_RESUME, &fault);
    } else if (!link_resend_from(&dialer->link, now_ns, received, &count)) {
        link_dialer_lost(dialer, now_ns);
    } else {
        link_dialer_resend(dialer, count);
    }
}

/* What every other message has to pass first. */
static bool accept_message(struct link_dialer *dialer, uint64_t now_ns,
                           const struct wire_message *message,
                           const struct wire_envelope *envelope) {
    switch (link_accept(&dialer->link, now_ns, envelope, wire_message_bytes(message))) {
    case LINK_DELIVER:
        return true;
    case LINK_DUPLICATE:
        return false;
    case LINK_GAP:
        ask_resume(dialer, now_ns);
        return false;
    case LINK_BROKEN:
        link_dialer_lost(dialer, now_ns);
        return false;
    }
    return false;
}

static void deliver(struct link_dialer *dialer, uint64_t now_ns, struct wire_message *message,
                    struct link_heard *heard) {
    switch (heard->envelope.type) {
    case WIRE_HEARTBEAT:
        handle_heartbeat(dialer, now_ns, message);
        break;
    case WIRE_COMING:
        handle_coming(dialer, now_ns, message, heard);
        break;
    case WIRE_RESUME:
        handle_resume(dialer, now_ns, message);
        break;
    case WIRE_REJECT:
        handle_reject(dialer, message, heard);
        break;
    default:
        heard->type = LINK_HEARD_MESSAGE;
        break;
    }
}

void link_dialer_receive(struct link_dialer *dialer, uint64_t now_ns, struct wire_message *message,
                         struct link_heard *heard) {
    struct wire_fault fault;

    *heard = (struct link_heard){.type = LINK_HEARD_NOTHING};
    if (dialer->state == LINK_IDLE || dialer->state == LINK_REFUSED) {
        return;
    }
    if (!wire_open(message, &heard->envelope, &fault)) {
        link_dialer_reject(dialer, now_ns, 0, &fault);
    } else if (heard->envelope.type == WIRE_WELCOME) {
        handle_welcome(dialer, now_ns, message, heard);
    } else if (heard->envelope.type == WIRE_UNKNOWN) {
        link_dialer_lost(dialer, now_ns);
    } else if (dialer->state != LINK_UP) {
        if (heard->envelope.type == WIRE_REJECT) {
            handle_reject(dialer, message, heard);
        }
    } else if (accept_message(dialer, now_ns, message, &heard->envelope)) {
        deliver(dialer, now_ns, message, heard);
    }
}

/* ---- time ---- */

enum link_dialer_do link_dialer_go_on(struct link_dialer *dialer, uint64_t now_ns,
                                      bool *reconnect) {
    bool was_up = dialer->state == LINK_UP;
    enum link_dialer_do next = link_dialer_tick(dialer, now_ns);

    *reconnect = false;
    if (next == LINK_DO_HEARTBEAT) {
        link_dialer_heartbeat(dialer, now_ns);
    } else if (next == LINK_DO_HELLO &&
               (was_up || now_ns - dialer->reconnect_ns >= LINK_RECONNECT_NS) &&
               reserve(dialer, 1)) {
        dialer->reconnect_ns = now_ns;
        *reconnect = true;
    }
    return next;
}
