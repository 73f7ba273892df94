/* The dialer: who says HELLO, again until WELCOME (docs/protocol.md section 4). */
#include "wire/link_stream.h"

#include "base/assert.h"

#define BACKOFF_FIRST_NS UINT64_C(50000000)
#define BACKOFF_MAX_NS   UINT64_C(2000000000)
#define MS_NS            UINT64_C(1000000)

/* splitmix64: one word of state is enough for jitter. */
static uint64_t random_below(struct link_dialer *dialer, uint64_t bound) {
    uint64_t z = dialer->rng += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % bound;
}

static void set_state(struct link_dialer *dialer, enum link_dialer_state to) {
    static const bool allowed[4][4] = {
        [LINK_IDLE] = {[LINK_HELLO_SENT] = true, [LINK_REFUSED] = true},
        [LINK_HELLO_SENT] = {[LINK_HELLO_SENT] = true, [LINK_UP] = true, [LINK_REFUSED] = true},
        [LINK_UP] = {[LINK_HELLO_SENT] = true, [LINK_UP] = true, [LINK_REFUSED] = true},
        [LINK_REFUSED] = {[LINK_REFUSED] = true},
    };

    BASE_ASSERT(allowed[dialer->state][to]);
    dialer->state = to;
}

void link_dialer_init(struct link_dialer *dialer, uint64_t now_ns, uint64_t seed) {
    /* Without a stream yet, so that the first HELLO says 0; WELCOME brings the link's times. */
    link_init(&dialer->link, 0, 0, 0);
    dialer->state = LINK_IDLE;
    dialer->epoch = 0;
    dialer->retry_ns = now_ns;
    dialer->backoff_ns = 0;
    dialer->hello_ns = 0;
    dialer->rng = seed;
    dialer->no_room.seq = 0;
}

void link_dialer_fini(struct link_dialer *dialer) {
    link_fini(&dialer->link);
}

/* Says HELLO now; the next one after a wait of `backoff_ns` and up to a half more. */
static enum link_dialer_do say_hello(struct link_dialer *dialer, uint64_t now_ns,
                                     uint64_t backoff_ns) {
    set_state(dialer, LINK_HELLO_SENT);
    dialer->backoff_ns = backoff_ns < BACKOFF_MAX_NS ? backoff_ns : BACKOFF_MAX_NS;
    dialer->hello_ns = now_ns;
    dialer->retry_ns =
        now_ns + dialer->backoff_ns + random_below(dialer, dialer->backoff_ns / 2 + 1);
    return LINK_DO_HELLO;
}

enum link_dialer_do link_dialer_tick(struct link_dialer *dialer, uint64_t now_ns) {
    switch (dialer->state) {
    case LINK_IDLE:
        return say_hello(dialer, now_ns, BACKOFF_FIRST_NS);
    case LINK_HELLO_SENT:
        if (now_ns < dialer->retry_ns) {
            return LINK_DO_NOTHING;
        }
        return say_hello(dialer, now_ns,
                         dialer->backoff_ns == 0 ? BACKOFF_FIRST_NS : dialer->backoff_ns * 2);
    case LINK_UP:
        switch (link_tick(&dialer->link, now_ns)) {
        case LINK_NOTHING:
            return LINK_DO_NOTHING;
        case LINK_SEND_HEARTBEAT:
            return LINK_DO_HEARTBEAT;
        case LINK_SILENT:
            return say_hello(dialer, now_ns, BACKOFF_FIRST_NS);
        }
        break;
    case LINK_REFUSED:
        break;
    }
    return LINK_DO_NOTHING;
}

uint64_t link_dialer_deadline(const struct link_dialer *dialer) {
    switch (dialer->state) {
    case LINK_IDLE:
        return 0;
    case LINK_HELLO_SENT:
        return dialer->retry_ns;
    case LINK_UP:
        return link_deadline(&dialer->link);
    case LINK_REFUSED:
        break;
    }
    return UINT64_MAX;
}

void link_dialer_lost(struct link_dialer *dialer, uint64_t now_ns) {
    uint64_t soonest_ns = now_ns;

    if (dialer->state != LINK_UP && dialer->state != LINK_HELLO_SENT) {
        return;
    }
    if (dialer->hello_ns != 0 && soonest_ns < dialer->hello_ns + BACKOFF_FIRST_NS) {
        soonest_ns = dialer->hello_ns + BACKOFF_FIRST_NS;
    }
    if (dialer->state == LINK_UP || dialer->retry_ns > soonest_ns) {
        dialer->retry_ns = soonest_ns;
        dialer->backoff_ns = 0;
    }
    set_state(dialer, LINK_HELLO_SENT);
}

static void up(struct link_dialer *dialer, uint64_t now_ns, const struct wire_welcome *welcome) {
    struct link *link = &dialer->link;

    set_state(dialer, LINK_UP);
    dialer->epoch = welcome->epoch;
    dialer->backoff_ns = 0;
    link->heartbeat_ns = welcome->heartbeat_ms * MS_NS;
    link->silence_ns = welcome->silence_ms * MS_NS;
    link->last_sent_ns = now_ns;
    link->last_received_ns = now_ns;
    link->patience_ns = 0;
    /* The connection may be new: what was asked for on the old one need not come. */
    link->resume_until = 0;
}

bool link_dialer_welcomed(struct link_dialer *dialer, uint64_t now_ns,
                          const struct wire_welcome *welcome, uint32_t *resend) {
    struct link *link = &dialer->link;
    bool known = welcome->epoch == dialer->epoch;

    *resend = 0;
    if (welcome->epoch == 0 || (dialer->state != LINK_UP && dialer->state != LINK_HELLO_SENT)) {
        return false;
    }
    if (!welcome->resumed) {
        /* In one epoch bases only rise: a lower one is of a WELCOME that was overtaken, our own of
         * one that came twice. */
        if (known && welcome->received <= link->base) {
            return false;
        }
        link_stream(link, now_ns, welcome->received);
        dialer->no_room.seq = 0;
        up(dialer, now_ns, welcome);
        return true;
    }
    if (known && welcome->received < link->base) {
        return false;
    }
    if (known && link_resend_from(link, now_ns, welcome->received, resend)) {
        up(dialer, now_ns, welcome);
        return false;
    }
    /* A broker that wants to go on with what never was. */
    link_dialer_renew(dialer, now_ns);
    return false;
}

void link_dialer_renew(struct link_dialer *dialer, uint64_t now_ns) {
    dialer->epoch = 0;
    link_stream(&dialer->link, now_ns, 0);
    if (dialer->state == LINK_UP) {
        link_dialer_lost(dialer, now_ns);
    }
}

void link_dialer_refused(struct link_dialer *dialer) {
    set_state(dialer, LINK_REFUSED);
}

void link_dialer_no_room(struct link_dialer *dialer, uint64_t now_ns,
                         const struct wire_coming *size) {
    dialer->no_room = *size;
    dialer->no_room.no_room = true;
    link_dialer_lost(dialer, now_ns);
}

struct wire_message *link_dialer_no_room_encode(const struct link_dialer *dialer) {
    return dialer->no_room.seq > dialer->link.received ? wire_coming_encode(&dialer->no_room)
                                                       : NULL;
}
