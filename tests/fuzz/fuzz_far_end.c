#include "tests/fuzz/fuzz_far_end.h"

#include "base/assert.h"

#include <string.h>

void fuzz_far_init(struct fuzz_far_end *far, const struct fuzz_near_end *near) {
    memset(far, 0, sizeof *far);
    far->near = near;
    far->now_ns = 1000 * FUZZ_S;
    far->epoch = 77;
    link_init(&far->link, far->now_ns, 0, 0);
}

void fuzz_far_fini(struct fuzz_far_end *far) {
    link_fini(&far->link);
}

/* ------------------------------------------------------------- what is heard */

static void hear_hello(struct fuzz_far_end *far, const struct wire_message *message) {
    struct wire_hello hello;
    struct wire_fault fault;
    bool decoded = wire_hello_decode(message, &hello, &fault);

    BASE_ASSERT(decoded && hello.role == far->near->role &&
                hello.function_count == far->near->function_count);
    far->hello_came = true;
    far->hello_epoch = hello.epoch;
    far->hello_received = hello.received;
    wire_hello_fini(&hello);
}

void fuzz_far_hear(struct fuzz_far_end *far, const struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;
    uint32_t type = fuzz_check_message(message, &envelope);

    if (type == WIRE_HELLO) {
        hear_hello(far, message);
        return;
    }
    BASE_ASSERT(far->known || !far->sane); /* nothing else before WELCOME */
    if (!far->known || link_accept(&far->link, far->now_ns, &envelope,
                                   wire_message_bytes(message)) != LINK_DELIVER) {
        return;
    }
    switch (type) {
    case WIRE_RESUME:
        far->resend = wire_resume_decode(message, &far->resend_from, &fault);
        break;
    case WIRE_HEARTBEAT:
    case WIRE_REJECT:
        break;
    default:
        far->near->hear(type, message);
        break;
    }
}

/* --------------------------------------------------------------- what is said */

void fuzz_far_deliver(struct fuzz_far_end *far, struct wire_message *message) {
    BASE_ASSERT(message != NULL);
    far->near->receive(message);
    wire_message_unref(message);
}

static void resend_from(struct fuzz_far_end *far, uint64_t received) {
    uint32_t count;

    far->resend = false;
    if (!link_resend_from(&far->link, far->now_ns, received, &count)) {
        fuzz_far_deliver(far, wire_plain_encode(WIRE_UNKNOWN));
        return;
    }
    for (uint32_t i = 0; i < count && i < far->link.kept_count; i++) {
        fuzz_far_deliver(far, wire_message_ref(link_kept_at(&far->link, i)));
    }
}

void fuzz_far_note(struct fuzz_far_end *far, const struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    if (!wire_open(message, &envelope, &fault)) {
        return;
    }
    far->crooked = far->crooked || envelope.type == WIRE_WELCOME;
    far->near->note(envelope.type, message);
}

void fuzz_far_post(struct fuzz_far_end *far, struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    BASE_ASSERT(message != NULL);
    if (wire_open(message, &envelope, &fault) && envelope.type >= WIRE_FIRST_SEQUENCED) {
        BASE_ASSERT(link_post(&far->link, far->now_ns, message));
    } else if (envelope.type != WIRE_WELCOME && envelope.type != WIRE_UNKNOWN) {
        link_mark(&far->link, far->now_ns, message);
    }
    fuzz_far_deliver(far, message);
    if (far->resend) {
        resend_from(far, far->resend_from);
    }
}

void fuzz_far_welcome(struct fuzz_far_end *far, struct fuzz_input *in, uint8_t how) {
    uint32_t count;
    bool resumed = how % 4 != 0 && far->known && far->hello_epoch == far->epoch &&
                   link_resend_from(&far->link, far->now_ns, far->hello_received, &count);
    struct wire_welcome welcome = {
        .version = how % 64 == 63 ? 7 : 1,
        .resumed = resumed,
        .heartbeat_ms = 1000,
        .silence_ms = 5000,
        .payload_max = how / 64 == 3 ? 100 : WIRE_PAYLOAD_BYTES_MAX,
    };

    if (how % 16 == 8) {
        far->epoch++;
    }
    if (!resumed) {
        link_reset(&far->link, far->now_ns);
        far->near->forget();
    }
    far->known = true;
    welcome.epoch = far->epoch;
    welcome.received = resumed ? far->link.received : far->link.base;
    if (how % 32 == 31) {
        far->crooked = true;
        welcome.received = fuzz_number(in, welcome.received);
        welcome.resumed = !resumed;
        welcome.heartbeat_ms = (uint32_t)fuzz_number(in, 1000);
        welcome.silence_ms = (uint32_t)fuzz_number(in, 5000);
        welcome.epoch = fuzz_number(in, welcome.epoch);
    }
    far->hello_came = false;
    fuzz_far_deliver(far, wire_welcome_encode(&welcome));
    for (uint32_t i = 0; resumed && i < far->link.kept_count; i++) {
        fuzz_far_deliver(far, wire_message_ref(link_kept_at(&far->link, i)));
    }
}

/* ------------------------------------------------------------------ scripts */

void fuzz_far_pass(struct fuzz_far_end *far, uint64_t duration_ns) {
    uint64_t end_ns = far->now_ns + duration_ns;
    uint32_t steps = 0;

    while (!far->ended && far->now_ns < end_ns) {
        uint64_t next_ns = far->near->deadline();

        next_ns = next_ns < end_ns ? next_ns : end_ns;
        far->now_ns = next_ns > far->now_ns ? next_ns : far->now_ns + 1000;
        far->near->tick();
        far->near->flush();
        BASE_ASSERT(++steps < 40000);
    }
}

static struct wire_message *make_message(const struct fuzz_far_end *far, struct fuzz_input *in,
                                         uint8_t how) {
    const struct wire_reject reject = {how / 16 < 12 ? far->near->rejected : WIRE_HELLO,
                                       (enum wire_reject_code)(1 + how / 16 % 7),
                                       {"because", 7}};

    switch (how % 16) {
    case 8:
        return wire_heartbeat_encode(fuzz_number(in, far->link.sent));
    case 9:
        return wire_resume_encode(fuzz_number(in, far->link.received));
    case 10:
        return wire_plain_encode(how >= 0xc0 ? WIRE_STOP : WIRE_UNKNOWN);
    case 11:
        return wire_reject_encode(&reject);
    default:
        return far->near->make_batch(in, far->near->batches[how % FUZZ_BATCHES]);
    }
}

static void say(struct fuzz_far_end *far, struct fuzz_input *in, uint8_t how) {
    struct wire_message *message = make_message(far, in, how);

    BASE_ASSERT(message != NULL);
    if (how % 16 >= 14) {
        fuzz_spoil(in, message, true);
    }
    fuzz_far_note(far, message);
    if (how % 16 == 15) {
        fuzz_forge(message, fuzz_number(in, far->link.sent + 1),
                   fuzz_number(in, far->link.received));
        fuzz_far_deliver(far, message);
    } else {
        fuzz_far_post(far, message);
    }
}

static void say_anything(struct fuzz_far_end *far, struct fuzz_input *in, uint8_t how) {
    struct wire_message *message = fuzz_message(in);

    if (message != NULL) {
        fuzz_far_note(far, message);
        if (how < 0x80) {
            fuzz_forge(message, far->link.sent + 1, far->link.received);
        }
        fuzz_far_deliver(far, message);
    }
}

bool fuzz_far_play(struct fuzz_far_end *far, struct fuzz_input *in, uint8_t what, uint8_t how) {
    switch (what % 8) {
    case 0:
    case 1:
        say(far, in, how);
        return true;
    case 4:
        far->near->flush();
        if (how >= 0x80) {
            fuzz_far_pass(far, fuzz_duration(in));
        }
        return true;
    case 5:
        if (far->hello_came || how >= 0xe0) {
            fuzz_far_welcome(far, in, how);
        } else {
            far->near->tick();
        }
        return true;
    case 6:
        say_anything(far, in, how);
        return true;
    default:
        return false;
    }
}

void fuzz_far_mend(struct fuzz_far_end *far) {
    far->sane = true;
    far->crooked = false;
    far->known = false;
    far->epoch += UINT64_C(1) << 40;
    far->now_ns += 100 * FUZZ_S; /* above what wrong numbers there were */
    fuzz_far_deliver(far, wire_plain_encode(WIRE_UNKNOWN));
}
