/* What every dialer makes of the messages that are the link's own: HELLO and WELCOME, heartbeats,
 * RESUME, COMING, REJECT (docs/protocol.md section 4). Its owner says HELLO, registers anew, and
 * handles all else. Pure, as the link is. */
#ifndef WIRE_DIALER_H
#define WIRE_DIALER_H

#include "wire/link.h"

/* How long nothing but HELLO may go out before another connection is asked for. */
#define LINK_RECONNECT_NS UINT64_C(10000000000)

/* How a dialer reaches its owner. */
struct link_owner {
    const char *role; /* "a client" */
    /* Makes room for so many messages to send, or other things to ask for; false: no memory. */
    bool (*reserve)(void *user, uint32_t count);
    /* Takes the reference. The room was reserved. */
    void (*send)(void *user, struct wire_message *message);
    /* What the broker has done wrong, or we are refused; NULL: nobody cares. */
    void (*warn)(void *user, const char *text);
    /* Whether there is memory to receive so many bytes; NULL: always. */
    bool (*has_room)(void *user, uint64_t bytes);
};

/* link_dialer_own tells a dialer, after its init, whose it is; the owner is borrowed. */
void link_dialer_own(struct link_dialer *dialer, const struct link_owner *owner, void *user,
                     uint64_t now_ns);

/* ---- what goes out; without memory it is nothing, and brought up again by the link's heartbeats ---- */

/* link_dialer_mark sends an unsequenced message, whose reference it takes; NULL: none. */
void link_dialer_mark(struct link_dialer *dialer, uint64_t now_ns, struct wire_message *message);
void link_dialer_heartbeat(struct link_dialer *dialer, uint64_t now_ns);
/* link_dialer_reject warns of a message of the broker's, and refuses it while we are connected. */
void link_dialer_reject(struct link_dialer *dialer, uint64_t now_ns, uint32_t about,
                        const struct wire_fault *fault);
/* link_dialer_misplaced rejects a message of a type that is not for our role. */
void link_dialer_misplaced(struct link_dialer *dialer, uint64_t now_ns, uint32_t type);
/* link_dialer_hello says HELLO, in which the link's fields are filled in, and what has to stand behind
 * it. */
void link_dialer_hello(struct link_dialer *dialer, struct wire_hello *hello);
/* link_dialer_resend sends again the first `count` of the messages that the link keeps. */
void link_dialer_resend(struct link_dialer *dialer, uint32_t count);

/* ---- what comes in ---- */

enum link_heard_type {
    LINK_HEARD_NOTHING, /* for the owner: it was the link's own, or is not to be handled */
    LINK_HEARD_WELCOME, /* we are connected; the owner registers anew if `anew`, then resends */
    LINK_HEARD_REJECT,  /* the owner has been warned */
    LINK_HEARD_NO_ROOM, /* a new connection is to be made; room to ask for it is reserved */
    LINK_HEARD_MESSAGE, /* the owner's to handle, or to reject; it may call link_decline */
};
struct link_heard {
    enum link_heard_type type;
    struct wire_envelope envelope;
    struct wire_welcome welcome;
    bool anew, was_up; /* WELCOME */
    uint32_t resend;   /* WELCOME: for link_dialer_resend */
    struct wire_reject reject;
    bool final;       /* REJECT: our HELLO is refused for good */
    const char *text; /* REJECT: it in words, until the next message */
};
/* link_dialer_receive takes in a message; it is borrowed, and so are heard's texts from it. */
void link_dialer_receive(struct link_dialer *dialer, uint64_t now_ns, struct wire_message *message,
                         struct link_heard *heard);

/* ---- time ---- */

/* link_dialer_go_on is link_dialer_tick, and sends the heartbeat. HELLO is the owner's to say;
 * *reconnect: behind a request for a new connection, room for which is reserved. */
enum link_dialer_do link_dialer_go_on(struct link_dialer *dialer, uint64_t now_ns, bool *reconnect);

#endif
