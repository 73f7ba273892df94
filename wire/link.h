/* The link: an exactly-once, in-order stream of messages between a session and an epoch, over a
 * transport that delivers in order while a connection stands and loses silently when it breaks
 * (docs/protocol.md section 4). Pure: time is passed in, deadlines are asked for.
 *
 * It knows sequence numbers, acknowledgements, resending, heartbeats and silence, and nothing about
 * what the messages mean. Both ends use `struct link`; dialers also use `struct link_dialer`.
 *
 * Who does what with a message that arrives (wire/dialer.h does it for dialers). A dialer that is not UP handles WELCOME, UNKNOWN and
 * a REJECT of HELLO, and drops everything else without link_accept: it is of an old connection, or
 * will be sent again. A broker drops what comes from an address that no session is bound to, HELLO
 * excepted, and answers UNKNOWN. Everything else passes link_accept first. HELLO, WELCOME and
 * UNKNOWN are sent with seq 0 and ack 0 (neither link_post nor link_mark), all the rest through
 * link_post (type 16 and up) or link_mark.
 *
 * link_mark, link_post and, later, link_kept_at write into the message's header. A transport that
 * keeps a message beyond the step makes a message of its own with references to the same frames
 * (wire_stamp then leaves the shared header alone), or copies the header.
 *
 * Read what has arrived before asking link_tick: a process that was stopped for a while would
 * otherwise take its own absence for the peer's silence. */
#ifndef WIRE_LINK_H
#define WIRE_LINK_H

#include "wire/message.h"

struct link_owner;

struct link {
    uint64_t heartbeat_ns, silence_ns;
    uint64_t base;         /* the stream's first seq is base + 1, in both directions */
    uint64_t sent;         /* highest seq given to one of our messages */
    uint64_t acknowledged; /* highest of ours that the peer has */
    uint64_t received;     /* highest of the peer's, in order */
    uint64_t heard;        /* highest of the peer's that we know of; above `received`: a gap */
    uint64_t told;         /* the ack we last put on a message */
    uint64_t told_bytes;   /* bytes received since then */
    uint64_t last_sent_ns, last_received_ns;
    uint64_t patience_ns;  /* how much longer than usual the peer may be silent now */
    uint64_t resume_until; /* what the last RESUME will bring: up to here it is not repeated */
    uint64_t resume_asked_ns;
    struct wire_message **kept; /* ring of sent and not acknowledged messages */
    uint32_t kept_at, kept_count, kept_room;
    size_t kept_bytes;
};

/* link_init begins a link; heartbeat_ns, silence_ns: 0 for no heartbeats, for never silent. */
void link_init(struct link *link, uint64_t now_ns, uint64_t heartbeat_ns, uint64_t silence_ns);
void link_fini(struct link *link); /* drops what it keeps */
/* link_reset begins a new stream, and drops kept messages. Its base is above every seq of the old
 * stream, and of the same session's links that were freed a millisecond ago or longer (because bases
 * rise with now_ns), so that no message of an old stream passes for one of the new. The broker calls
 * it when a HELLO can't be resumed, and tells the base as WELCOME's `received`. */
void link_reset(struct link *link, uint64_t now_ns);

/* link_post numbers and stamps a message that is about to be sent now, and keeps a reference until
 * it is acknowledged. A dialer posts only while it is UP; a broker whenever it has the session.
 * False: no memory, nothing happened. */
bool link_post(struct link *link, uint64_t now_ns, struct wire_message *message);
/* link_mark stamps an unsequenced message (ack, no seq) that is about to be sent now. */
void link_mark(struct link *link, uint64_t now_ns, struct wire_message *message);

enum link_verdict {
    LINK_DELIVER,   /* next in order (or unsequenced): handle it */
    LINK_DUPLICATE, /* seen before: drop it */
    LINK_GAP,       /* something is missing: drop it; link_resume_due says whether to ask now */
    LINK_BROKEN,    /* it acknowledges what was never sent, or is numbered and must not be, or the
                       other way round: the ends don't speak of the same stream. Drop it; a dialer
                       calls link_dialer_lost, the broker answers UNKNOWN */
};
/* link_accept takes note of an incoming message. */
enum link_verdict link_accept(struct link *link, uint64_t now_ns,
                              const struct wire_envelope *envelope, size_t bytes);
/* link_decline takes back the last LINK_DELIVER of a sequenced message, which its owner had no
 * memory to handle: it counts as missing, and is asked for again after a heartbeat. To be called
 * before anything else is sent or accepted. */
void link_decline(struct link *link, uint64_t now_ns, size_t bytes);
/* link_coming: the peer's COMING says that its next message has so many bytes: until something comes,
 * the peer may be silent for as long as that takes at WIRE_RATE_MIN, and silence_ns beside. */
void link_coming(struct link *link, uint64_t bytes);
/* link_heard_sent: the peer's HEARTBEAT says it sent up to `sent`. True: something is missing. */
bool link_heard_sent(struct link *link, uint64_t sent);
/* link_resume_due: whether a RESUME (with link->received) is to be sent now, after LINK_GAP or
 * link_heard_sent: not before what the last RESUME asked for has come, or a heartbeat has passed.
 * Asking marks it as sent. */
bool link_resume_due(struct link *link, uint64_t now_ns);
/* link_resend_from: the peer has everything up to `received` (from RESUME, WELCOME or HELLO).
 * Acknowledges that, then gives how many kept messages are to be sent again; link_kept_at(i) gives
 * each, stamped anew. False if `received` is not of this stream (never sent, or below its base):
 * after HELLO the broker resets the link; after RESUME the broker answers UNKNOWN, a dialer calls
 * link_dialer_lost. */
bool link_resend_from(struct link *link, uint64_t now_ns, uint64_t received, uint32_t *count);
struct wire_message *link_kept_at(struct link *link, uint32_t i); /* borrowed */
/* link_kept_find gives the kept message of that seq, as it was stamped last; NULL: there is none. */
struct wire_message *link_kept_find(struct link *link, uint64_t seq);
/* link_kept_replace puts another message, whose reference is taken, in the place of a kept one. */
void link_kept_replace(struct link *link, uint64_t seq, struct wire_message *message);

/* link_ack_due: 32 messages or 1 MiB are received and not acknowledged: send a bare HEARTBEAT if
 * nothing else goes out now. */
bool link_ack_due(const struct link *link);
/* link_deadline: when link_tick has something to say; UINT64_MAX for never. */
uint64_t link_deadline(const struct link *link);
enum link_tick { LINK_NOTHING, LINK_SEND_HEARTBEAT, LINK_SILENT };
/* link_tick: SEND_HEARTBEAT is said once each heartbeat (HEARTBEAT carries link->sent), SILENT again
 * and again until something is accepted: the broker then forgets the session. */
enum link_tick link_tick(struct link *link, uint64_t now_ns);

/* -------------------------------------------------------------- the dialer
 *
 *           dial                 WELCOME
 *   IDLE ---------> HELLO_SENT -----------> UP
 *                    ^   |  back-off passed  |  silence, UNKNOWN, transport says reconnected
 *                    |   `-> says HELLO      |
 *                    `-----------------------'        final REJECT of HELLO: from any to REFUSED
 */
enum link_dialer_state { LINK_IDLE, LINK_HELLO_SENT, LINK_UP, LINK_REFUSED };

struct link_dialer {
    struct link link;
    enum link_dialer_state state;
    uint64_t epoch;             /* of the broker we were last welcomed by; 0: none yet */
    uint64_t retry_ns;          /* when to say HELLO again */
    uint64_t backoff_ns;        /* the wait after the last HELLO, without its jitter */
    uint64_t hello_ns;          /* when HELLO was last said; 0: never */
    uint64_t rng;               /* state of the jitter */
    struct wire_coming no_room; /* the message that there was no memory to receive; seq 0: none */
    /* of wire/dialer.h: */
    const struct link_owner *owner;
    void *user;
    uint64_t reconnect_ns; /* when a new connection was last asked for, or WELCOME came */
    char text[256];        /* of the last warning */
};

void link_dialer_init(struct link_dialer *dialer, uint64_t now_ns, uint64_t seed);
void link_dialer_fini(struct link_dialer *dialer);

/* What the owner is to do next. HELLO is to be sent with dialer->epoch and link.received. */
enum link_dialer_do { LINK_DO_NOTHING, LINK_DO_HELLO, LINK_DO_HEARTBEAT };
/* link_dialer_tick: called at or after link_dialer_deadline. It begins the first HELLO too, at once.
 * The waits between HELLOs are 50 ms, doubled up to 2 s, each with up to half of it added. */
enum link_dialer_do link_dialer_tick(struct link_dialer *dialer, uint64_t now_ns);
uint64_t link_dialer_deadline(const struct link_dialer *dialer);
/* link_dialer_lost: the peer said UNKNOWN, or the transport reconnected: HELLO is due at once (but
 * not more than one in 50 ms). Messages are kept. */
void link_dialer_lost(struct link_dialer *dialer, uint64_t now_ns);
/* link_dialer_welcomed: WELCOME came. *resend says how many kept messages to send again (resumed);
 * returns true if the owner must register anew (link was reset). A WELCOME that is a repetition, or
 * that doesn't fit what this dialer knows, is passed over: false, *resend 0, and `state` tells
 * whether the dialer is UP. */
bool link_dialer_welcomed(struct link_dialer *dialer, uint64_t now_ns,
                          const struct wire_welcome *welcome, uint32_t *resend);
/* link_dialer_renew has the next HELLO ask for a new stream, though the broker may know the old one. */
void link_dialer_renew(struct link_dialer *dialer, uint64_t now_ns);
void link_dialer_refused(struct link_dialer *dialer);
/* link_dialer_no_room: COMING has announced what there is no memory for. The transport breaks when it
 * comes, so HELLO is due at once, over a new connection, and a COMING that says so right behind it. */
void link_dialer_no_room(struct link_dialer *dialer, uint64_t now_ns,
                         const struct wire_coming *size);
/* link_dialer_no_room_encode makes the COMING that is to be sent after a HELLO, with neither
 * link_mark nor link_post; NULL: none is, or there is no memory for it. */
struct wire_message *link_dialer_no_room_encode(const struct link_dialer *dialer);

#endif
