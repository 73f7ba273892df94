/* The link: a dialer and a broker's end over connections that break when the script says so, with all
 * that is on its way; and a third end among envelopes of any numbers. Checked: what one end posts the
 * other gets once and in order, or the stream begins anew for both; in the end all has arrived. */
#include "tests/fuzz/fuzz_input.h"

#include "base/assert.h"
#include "wire/link.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WAY_MAX      4096u
#define SCRIPT_MAX   600u
#define EPOCH        7u
#define HEARTBEAT_MS 1000u
#define SILENCE_MS   5000u

/* What is on its way in one direction. */
struct way {
    struct wire_message *messages[WAY_MAX];
    uint32_t at, count;
};

/* What one end has posted and the other has got, in this stream. */
struct tally {
    uint64_t posted, got;
};

struct world {
    uint64_t now_ns;
    struct link_dialer dialer;
    struct link broker;
    bool known;   /* whether the broker has the session */
    bool welcome; /* a WELCOME is on its way */
    struct wire_welcome welcome_said;
    struct way up, down; /* to the broker, to the dialer */
    struct tally ups, downs;
    struct link stranger;
};

static struct world world;

static void way_clear(struct way *way) {
    while (way->count > 0) {
        wire_message_unref(way->messages[way->at++ % WAY_MAX]);
        way->count--;
    }
}

/* Puts a message on its way; takes it. */
static void way_put(struct way *way, struct wire_message *message) {
    struct wire_blob *frames[WIRE_FRAMES_MAX];
    struct wire_message *copy;

    BASE_ASSERT(message != NULL);
    if (way->count == WAY_MAX) {
        way_clear(way); /* as if the connection broke */
    }
    /* As a transport does: later stamps are not for this one. */
    for (uint32_t i = 0; i < message->frame_count; i++) {
        frames[i] = wire_blob_ref(message->frames[i]);
    }
    copy = wire_message_new(frames, message->frame_count);
    BASE_ASSERT(copy != NULL);
    wire_message_unref(message);
    way->messages[(way->at + way->count++) % WAY_MAX] = copy;
}

static struct wire_message *way_take(struct way *way) {
    way->count--;
    return way->messages[way->at++ % WAY_MAX];
}

static struct wire_message *numbered(uint64_t number) {
    const uint64_t extra[] = {number, 0};
    struct wire_writer *writer = wire_writer_new(WIRE_CREDIT);
    struct wire_message *message;

    BASE_ASSERT(writer != NULL);
    message = wire_writer_finish(writer, extra);
    wire_writer_free(writer);
    BASE_ASSERT(message != NULL);
    return message;
}

static void post(struct link *link, struct way *way, struct tally *tally) {
    struct wire_message *message = numbered(++tally->posted);

    BASE_ASSERT(link_post(link, world.now_ns, message));
    way_put(way, message);
}

static void mark(struct link *link, struct way *way, struct wire_message *message) {
    BASE_ASSERT(message != NULL);
    link_mark(link, world.now_ns, message);
    way_put(way, message);
}

static void send_again(struct link *link, struct way *way, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        way_put(way, wire_message_ref(link_kept_at(link, i)));
    }
}

static void ask(struct link *link, struct way *way) {
    if (link_resume_due(link, world.now_ns)) {
        mark(link, way, wire_resume_encode(link->received));
    }
}

/* What arrives at one end; `out` leads back. False: the ends don't speak of the same stream. */
static bool arrive(struct link *link, struct way *out, struct tally *tally,
                   const struct wire_message *message, bool decline) {
    struct wire_envelope envelope;
    struct wire_batch batch;
    struct wire_fault fault;
    uint64_t number;
    uint32_t count;
    bool good = wire_open(message, &envelope, &fault);

    BASE_ASSERT(good);
    switch (link_accept(link, world.now_ns, &envelope, wire_message_bytes(message))) {
    case LINK_DELIVER:
        break;
    case LINK_DUPLICATE:
        return true;
    case LINK_GAP:
        ask(link, out);
        return true;
    case LINK_BROKEN:
        return false;
    }
    switch (envelope.type) {
    case WIRE_CREDIT:
        if (decline) {
            link_decline(link, world.now_ns, wire_message_bytes(message));
            return true;
        }
        good = wire_batch_open(&batch, message, &fault);
        BASE_ASSERT(good && batch.extra[0] == tally->got + 1); /* once and in order */
        tally->got++;
        return true;
    case WIRE_HEARTBEAT:
        good = wire_heartbeat_decode(message, &number, &fault);
        BASE_ASSERT(good);
        if (link_heard_sent(link, number)) {
            ask(link, out);
        }
        return true;
    default:
        good = wire_resume_decode(message, &number, &fault);
        BASE_ASSERT(good);
        if (!link_resend_from(link, world.now_ns, number, &count)) {
            return false;
        }
        send_again(link, out, count);
        return true;
    }
}

/* ---------------------------------------------------------------- sessions */

/* The broker hears HELLO: goes on with the stream if it can. What is sent again comes after WELCOME. */
static void hear_hello(uint64_t epoch, uint64_t received) {
    uint32_t count = 0;
    bool resumed = world.known && epoch == EPOCH &&
                   link_resend_from(&world.broker, world.now_ns, received, &count);

    if (!resumed) {
        if (world.known) {
            link_reset(&world.broker, world.now_ns);
        } else {
            link_init(&world.broker, world.now_ns, HEARTBEAT_MS * FUZZ_MS, SILENCE_MS * FUZZ_MS);
            link_reset(&world.broker, world.now_ns);
        }
        world.known = true;
        way_clear(&world.down);
        world.ups.got = 0;
        world.downs.posted = 0;
    }
    world.welcome = true;
    world.welcome_said = (struct wire_welcome){1,
                                               EPOCH,
                                               resumed,
                                               resumed ? world.broker.received : world.broker.base,
                                               HEARTBEAT_MS,
                                               SILENCE_MS,
                                               1};
    way_clear(&world.down); /* of the old connection */
    send_again(&world.broker, &world.down, count);
}

static void hear_welcome(void) {
    uint32_t count;

    world.welcome = false;
    if (link_dialer_welcomed(&world.dialer, world.now_ns, &world.welcome_said, &count)) {
        world.ups.posted = 0;
        world.downs.got = 0;
    }
    if (world.dialer.state == LINK_UP) {
        send_again(&world.dialer.link, &world.up, count);
    }
}

static void dialer_tick(bool hello_arrives) {
    switch (link_dialer_tick(&world.dialer, world.now_ns)) {
    case LINK_DO_NOTHING:
        break;
    case LINK_DO_HEARTBEAT:
        mark(&world.dialer.link, &world.up, wire_heartbeat_encode(world.dialer.link.sent));
        break;
    case LINK_DO_HELLO:
        way_clear(&world.up); /* a new connection */
        world.welcome = false;
        if (hello_arrives) {
            hear_hello(world.dialer.epoch, world.dialer.link.received);
        }
        break;
    }
}

static void broker_tick(void) {
    if (!world.known) {
        return;
    }
    switch (link_tick(&world.broker, world.now_ns)) {
    case LINK_NOTHING:
        break;
    case LINK_SEND_HEARTBEAT:
        mark(&world.broker, &world.down, wire_heartbeat_encode(world.broker.sent));
        break;
    case LINK_SILENT:
        link_fini(&world.broker);
        world.known = false;
        break;
    }
}

static void deliver_up(bool decline) {
    struct wire_message *message;

    if (world.up.count == 0) {
        return;
    }
    message = way_take(&world.up);
    if (!world.known || !arrive(&world.broker, &world.down, &world.ups, message, decline)) {
        link_dialer_lost(&world.dialer, world.now_ns); /* the broker says UNKNOWN */
    }
    wire_message_unref(message);
}

static void deliver_down(bool decline) {
    struct wire_message *message;

    if (world.welcome) {
        hear_welcome();
        return;
    }
    if (world.down.count == 0) {
        return;
    }
    message = way_take(&world.down);
    if (world.dialer.state == LINK_UP &&
        !arrive(&world.dialer.link, &world.up, &world.downs, message, decline)) {
        link_dialer_lost(&world.dialer, world.now_ns);
    }
    wire_message_unref(message);
}

/* ------------------------------------------------------------------ scripts */

/* Numbers of anybody's: no more than the link's own asserts are checked here. */
static void meet_stranger(struct fuzz_input *in) {
    struct link *link = &world.stranger;
    struct wire_envelope envelope = {.type = fuzz_pick(in, 64)};
    struct wire_message *message;
    uint32_t count;
    bool sequenced = envelope.type >= WIRE_FIRST_SEQUENCED;

    envelope.seq = fuzz_number(in, sequenced ? link->received + 1 : 0);
    envelope.ack = fuzz_number(in, link->sent);
    if (link_accept(link, world.now_ns, &envelope, fuzz_byte(in)) == LINK_GAP) {
        (void)link_resume_due(link, world.now_ns);
    }
    (void)link_heard_sent(link, fuzz_number(in, link->heard));
    (void)link_resend_from(link, world.now_ns, fuzz_number(in, link->acknowledged), &count);
    message = numbered(1);
    BASE_ASSERT(link_post(link, world.now_ns, message));
    wire_message_unref(message);
    BASE_ASSERT(link->kept_count == link->sent - link->acknowledged);
}

static void play(struct fuzz_input *in, uint8_t how) {
    bool decline = how >= 0xf0;

    switch (how % 16) {
    case 0:
    case 1:
        if (world.dialer.state == LINK_UP) {
            post(&world.dialer.link, &world.up, &world.ups);
        }
        break;
    case 2:
    case 3:
        if (world.known) {
            post(&world.broker, &world.down, &world.downs);
        }
        break;
    case 4:
    case 5:
    case 6:
        deliver_up(decline);
        break;
    case 7:
    case 8:
    case 9:
        deliver_down(decline);
        break;
    case 10:
        world.now_ns += fuzz_duration(in);
        break;
    case 11:
        dialer_tick(how < 0xe0);
        break;
    case 12:
        broker_tick();
        break;
    case 13: /* the connection breaks, which the dialer may notice */
        way_clear(&world.up);
        way_clear(&world.down);
        world.welcome = false;
        if (how < 0x80) {
            link_dialer_lost(&world.dialer, world.now_ns);
        }
        break;
    case 14:
        if (world.up.count > 0) { /* one message alone is lost */
            wire_message_unref(way_take(&world.up));
        }
        break;
    default:
        meet_stranger(in);
        break;
    }
}

/* From now on nothing is lost: all that was posted arrives. */
static void good_end(void) {
    for (uint32_t round = 0; round < 120; round++) {
        dialer_tick(true);
        broker_tick();
        while (world.up.count > 0 || world.down.count > 0 || world.welcome) {
            deliver_up(false);
            deliver_down(false);
        }
        world.now_ns += 100 * FUZZ_MS;
    }
    BASE_ASSERT(world.dialer.state == LINK_UP && world.known);
    BASE_ASSERT(world.ups.got == world.ups.posted && world.downs.got == world.downs.posted);
    BASE_ASSERT(world.broker.kept_count == 0 && world.dialer.link.kept_count == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input in = {data, data + (size < SCRIPT_MAX ? size : SCRIPT_MAX)};

    memset(&world, 0, sizeof world);
    world.now_ns = 1000 * FUZZ_S;
    link_dialer_init(&world.dialer, world.now_ns, 3);
    link_init(&world.stranger, world.now_ns, 0, 0);
    dialer_tick(true);
    while (fuzz_more(&in)) {
        play(&in, fuzz_byte(&in));
    }
    good_end();
    way_clear(&world.up);
    way_clear(&world.down);
    link_dialer_fini(&world.dialer);
    link_fini(&world.stranger);
    if (world.known) {
        link_fini(&world.broker);
    }
    return 0;
}
