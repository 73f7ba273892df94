/* Numbering, acknowledging, resending: both ends of a link (docs/protocol.md section 4). */
#include "wire/link_stream.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

#define ACK_MESSAGES 32u
#define ACK_BYTES    (UINT64_C(1) << 20)

#define KEPT_ROOM_FIRST 16u
#define KEPT_ROOM_SPARE 256u /* a larger ring is given back when it is empty */

#define SECOND_NS UINT64_C(1000000000)

/* How long a RESUME is not repeated where there are no heartbeats. */
#define RESUME_NS_DEFAULT SECOND_NS

/* ------------------------------------------------------- the kept messages */

static uint32_t kept_index(const struct link *link, uint32_t i) {
    return (link->kept_at + i) & (link->kept_room - 1);
}

static bool kept_reserve(struct link *link) {
    uint32_t room = link->kept_room == 0 ? KEPT_ROOM_FIRST : link->kept_room * 2;
    struct wire_message **kept;

    if (link->kept_count < link->kept_room) {
        return true;
    }
    if (room == 0) {
        return false;
    }
    kept = malloc(room * sizeof *kept);
    if (kept == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < link->kept_count; i++) {
        kept[i] = link->kept[kept_index(link, i)];
    }
    free(link->kept);
    link->kept = kept;
    link->kept_at = 0;
    link->kept_room = room;
    return true;
}

static void kept_drop(struct link *link, uint64_t count) {
    BASE_ASSERT(count <= link->kept_count);
    for (; count > 0; count--) {
        struct wire_message *message = link->kept[link->kept_at];

        link->kept_at = kept_index(link, 1);
        link->kept_count--;
        link->kept_bytes -= wire_message_bytes(message);
        wire_message_unref(message);
    }
    if (link->kept_count == 0 && link->kept_room > KEPT_ROOM_SPARE) {
        free(link->kept);
        link->kept = NULL;
        link->kept_room = 0;
        link->kept_at = 0;
    }
}

/* ------------------------------------------------------------------ streams */

void link_stream(struct link *link, uint64_t now_ns, uint64_t base) {
    kept_drop(link, link->kept_count);
    link->base = base;
    link->sent = base;
    link->acknowledged = base;
    link->received = base;
    link->heard = base;
    link->told = base;
    link->told_bytes = 0;
    link->resume_until = 0;
    link->resume_asked_ns = 0;
    link->last_sent_ns = now_ns;
    link->last_received_ns = now_ns;
    link->patience_ns = 0;
}

/* Bases come in steps of 2^24 and rise by one step a millisecond or so: more than anybody sends
 * meanwhile, and enough for 36 years. */
static uint64_t base_at(uint64_t now_ns) {
    return (now_ns >> 20) << 24;
}

static uint64_t base_above(uint64_t seq) {
    return ((seq >> 24) + 1) << 24;
}

void link_init(struct link *link, uint64_t now_ns, uint64_t heartbeat_ns, uint64_t silence_ns) {
    memset(link, 0, sizeof *link);
    link->heartbeat_ns = heartbeat_ns;
    link->silence_ns = silence_ns;
    link_stream(link, now_ns, base_at(now_ns));
}

void link_fini(struct link *link) {
    kept_drop(link, link->kept_count);
    free(link->kept);
    memset(link, 0, sizeof *link);
}

void link_reset(struct link *link, uint64_t now_ns) {
    uint64_t used = link->sent > link->received ? link->sent : link->received;
    uint64_t base = base_at(now_ns);

    /* The peer may have numbered more of the old stream than has arrived here. */
    link_stream(link, now_ns, base > used ? base : base_above(used));
}

/* ------------------------------------------------------------------ sending */

static void stamp(struct link *link, uint64_t now_ns, struct wire_message *message, uint64_t seq) {
    wire_stamp(message, seq, link->received);
    link->told = link->received;
    link->told_bytes = 0;
    link->last_sent_ns = now_ns;
}

bool link_post(struct link *link, uint64_t now_ns, struct wire_message *message) {
    if (BASE_UNLIKELY(!kept_reserve(link))) {
        return false;
    }
    link->sent++;
    stamp(link, now_ns, message, link->sent);
    link->kept[kept_index(link, link->kept_count)] = wire_message_ref(message);
    link->kept_count++;
    link->kept_bytes += wire_message_bytes(message);
    BASE_ASSERT(link->sent - link->acknowledged == link->kept_count);
    return true;
}

void link_mark(struct link *link, uint64_t now_ns, struct wire_message *message) {
    stamp(link, now_ns, message, 0);
}

bool link_resend_from(struct link *link, uint64_t now_ns, uint64_t received, uint32_t *count) {
    *count = 0;
    if (received < link->base || received > link->sent) {
        return false;
    }
    link->last_received_ns = now_ns;
    link->patience_ns = 0;
    if (received > link->acknowledged) {
        kept_drop(link, received - link->acknowledged);
        link->acknowledged = received;
    }
    *count = link->kept_count;
    if (link->kept_count > 0) {
        link->last_sent_ns = now_ns;
    }
    return true;
}

struct wire_message *link_kept_at(struct link *link, uint32_t i) {
    struct wire_message *message;

    BASE_ASSERT(i < link->kept_count);
    message = link->kept[kept_index(link, i)];
    stamp(link, link->last_sent_ns, message, link->acknowledged + 1 + i);
    return message;
}

struct wire_message *link_kept_find(struct link *link, uint64_t seq) {
    uint64_t first = link->acknowledged + 1;

    return seq >= first && seq - first < link->kept_count
               ? link->kept[kept_index(link, (uint32_t)(seq - first))]
               : NULL;
}

void link_kept_replace(struct link *link, uint64_t seq, struct wire_message *message) {
    struct wire_message **place =
        &link->kept[kept_index(link, (uint32_t)(seq - link->acknowledged - 1))];

    BASE_ASSERT(link_kept_find(link, seq) == *place);
    link->kept_bytes -= wire_message_bytes(*place);
    wire_message_unref(*place);
    wire_stamp(message, seq, link->received);
    *place = message;
    link->kept_bytes += wire_message_bytes(message);
}

/* ---------------------------------------------------------------- receiving */

enum link_verdict link_accept(struct link *link, uint64_t now_ns,
                              const struct wire_envelope *envelope, size_t bytes) {
    bool sequenced = envelope->type >= WIRE_FIRST_SEQUENCED;

    if (envelope->ack > link->sent || sequenced != (envelope->seq != 0)) {
        return LINK_BROKEN;
    }
    link->last_received_ns = now_ns;
    link->patience_ns = 0;
    if (envelope->ack > link->acknowledged) {
        kept_drop(link, envelope->ack - link->acknowledged);
        link->acknowledged = envelope->ack;
    }
    if (!sequenced) {
        return LINK_DELIVER;
    }
    if (envelope->seq > link->heard) {
        link->heard = envelope->seq;
    }
    if (envelope->seq <= link->received) {
        return LINK_DUPLICATE;
    }
    if (envelope->seq != link->received + 1) {
        return LINK_GAP;
    }
    link->received++;
    link->told_bytes += bytes;
    return LINK_DELIVER;
}

void link_decline(struct link *link, uint64_t now_ns, size_t bytes) {
    BASE_ASSERT(link->received > link->told && link->told_bytes >= bytes);
    link->received--;
    link->told_bytes -= bytes;
    link->resume_until = link->heard;
    link->resume_asked_ns = now_ns;
}

void link_coming(struct link *link, uint64_t bytes) {
    uint64_t most = WIRE_PAYLOAD_BYTES_MAX + WIRE_BATCH_BYTES_MAX + WIRE_HEADER_BYTES_MAX;

    bytes = bytes < most ? bytes : most;
    link->patience_ns = bytes * SECOND_NS / WIRE_RATE_MIN;
}

bool link_heard_sent(struct link *link, uint64_t sent) {
    link->heard = sent > link->received ? sent : link->received;
    return link->heard > link->received;
}

bool link_resume_due(struct link *link, uint64_t now_ns) {
    uint64_t again_ns = link->heartbeat_ns != 0 ? link->heartbeat_ns : RESUME_NS_DEFAULT;

    if (link->heard <= link->received) {
        return false;
    }
    if (link->received < link->resume_until && now_ns < link->resume_asked_ns + again_ns) {
        return false;
    }
    link->resume_until = link->heard;
    link->resume_asked_ns = now_ns;
    return true;
}

bool link_ack_due(const struct link *link) {
    return link->received - link->told >= ACK_MESSAGES ||
           (link->told_bytes >= ACK_BYTES && link->received != link->told);
}

/* --------------------------------------------------------------------- time */

uint64_t link_deadline(const struct link *link) {
    uint64_t heartbeat_ns =
        link->heartbeat_ns != 0 ? link->last_sent_ns + link->heartbeat_ns : UINT64_MAX;
    uint64_t silence_ns = link->silence_ns != 0
                              ? link->last_received_ns + link->silence_ns + link->patience_ns
                              : UINT64_MAX;

    return heartbeat_ns < silence_ns ? heartbeat_ns : silence_ns;
}

enum link_tick link_tick(struct link *link, uint64_t now_ns) {
    if (link->silence_ns != 0 &&
        now_ns >= link->last_received_ns + link->silence_ns + link->patience_ns) {
        return LINK_SILENT;
    }
    if (link->heartbeat_ns != 0 && now_ns >= link->last_sent_ns + link->heartbeat_ns) {
        link->last_sent_ns = now_ns;
        return LINK_SEND_HEARTBEAT;
    }
    return LINK_NOTHING;
}
