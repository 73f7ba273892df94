/* The worker's core between a broker and a pool that follow a script of any bytes: the broker says what
 * is right, what is wrong and what is no message at all; the pool begins, ends and gives back tasks in
 * any order. Checked after every step: what the worker says is right in itself, each lease that it was
 * given has at most one answer, the shell is asked only about tasks that it has. In the end a sane broker
 * gets an answer to all that is open, and a worker that drains leaves. */
#include "tests/fuzz/fuzz_input.h"

#include "base/assert.h"
#include "tests/fuzz/wire_exercise.h"
#include "wire/link.h"
#include "worker/core.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LEASES     240u /* that the broker knows, from 1 on */
#define POOL_MAX   8192u
#define SCRIPT_MAX 600u

struct said {
    uint32_t runs, answers; /* in this stream; a claim counts as a run */
    bool given;             /* in any */
};

struct pooled {
    struct worker_task *task;
    uint64_t lease;
    bool began, started;
};

struct world {
    struct worker_config config;
    struct worker_core *core;
    uint64_t now_ns, epoch;
    struct link link; /* the broker's */
    bool known, hello_came, sane, over, resend;
    uint64_t hello_epoch, hello_received, resend_from;
    struct said said[LEASES];
    struct pooled pool[POOL_MAX];
    uint32_t pool_count, next_lease;
    bool reconnected;
    bool crooked; /* said WELCOME to a stream that it doesn't have itself, or gave a lease twice */
};

static struct world world;

static void step(const struct worker_event *event);

/* --------------------------------------------------------------- the broker */

static struct said *said_of(uint64_t lease) {
    return lease >= 1 && lease <= LEASES ? &world.said[lease - 1] : NULL;
}

static void hear_entry(enum wire_type type, const struct wire_entry *entry) {
    struct said *said = said_of(entry->values[0]);

    /* What was withdrawn after a new broker's WELCOME is given back without having been claimed. */
    if (said == NULL || (type == WIRE_RETURNED && said->runs == 0)) {
        return;
    }
    if (type == WIRE_CLAIMS) {
        said->runs++;
    } else if (type == WIRE_RESULTS || (type == WIRE_RETURNED && entry->key[0] != 0)) {
        BASE_ASSERT(said->answers < said->runs || world.crooked);
        said->answers++;
    }
}

static void hear_batch(enum wire_type type, const struct wire_message *message) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;
    bool opened = wire_batch_open(&batch, message, &fault);

    BASE_ASSERT(opened);
    while (wire_batch_next(&batch, &entry)) {
        hear_entry(type, &entry);
    }
}

static void hear_hello(const struct wire_message *message) {
    struct wire_hello hello;
    struct wire_fault fault;
    bool decoded = wire_hello_decode(message, &hello, &fault);

    BASE_ASSERT(decoded && hello.role == WIRE_WORKER && hello.function_count == 3);
    world.hello_came = true;
    world.hello_epoch = hello.epoch;
    world.hello_received = hello.received;
    wire_hello_fini(&hello);
}

static void hear(const struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;
    uint32_t type = fuzz_check_message(message, &envelope);

    if (type == WIRE_HELLO) {
        hear_hello(message);
        return;
    }
    BASE_ASSERT(world.known || !world.sane); /* nothing else before WELCOME */
    if (!world.known || link_accept(&world.link, world.now_ns, &envelope,
                                    wire_message_bytes(message)) != LINK_DELIVER) {
        return;
    }
    switch (type) {
    case WIRE_RESUME:
        world.resend = wire_resume_decode(message, &world.resend_from, &fault);
        break;
    case WIRE_RESULTS:
    case WIRE_RETURNED:
    case WIRE_RUNNING:
    case WIRE_CLAIMS:
        hear_batch((enum wire_type)type, message);
        break;
    case WIRE_HEARTBEAT:
    case WIRE_REJECT:
    case WIRE_DRAIN:
    case WIRE_BYE:
        break;
    default:
        BASE_ASSERT(false); /* not for a worker to say */
    }
}

/* Hands a message to the worker as it is; takes it. */
static void deliver(struct wire_message *message) {
    BASE_ASSERT(message != NULL);
    step(&(struct worker_event){.type = WORKER_RECEIVE, .message = message});
    wire_message_unref(message);
}

static void resend_from(uint64_t received) {
    uint32_t count;

    world.resend = false;
    if (!link_resend_from(&world.link, world.now_ns, received, &count)) {
        deliver(wire_plain_encode(WIRE_UNKNOWN));
        return;
    }
    for (uint32_t i = 0; i < count && i < world.link.kept_count; i++) {
        deliver(wire_message_ref(link_kept_at(&world.link, i)));
    }
}

static void post(struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    BASE_ASSERT(message != NULL);
    if (wire_open(message, &envelope, &fault) && envelope.type >= WIRE_FIRST_SEQUENCED) {
        BASE_ASSERT(link_post(&world.link, world.now_ns, message));
    } else if (envelope.type != WIRE_WELCOME && envelope.type != WIRE_UNKNOWN) {
        link_mark(&world.link, world.now_ns, message);
    }
    deliver(message);
    if (world.resend) {
        resend_from(world.resend_from);
    }
}

static void forget_said(void) {
    for (uint32_t i = 0; i < LEASES; i++) {
        world.said[i].runs = world.said[i].answers = 0;
    }
}

/* A WELCOME that fits what the worker said last, or one that doesn't. */
static void welcome(struct fuzz_input *in, uint8_t how) {
    uint32_t count;
    bool resumed = how % 4 != 0 && world.known && world.hello_epoch == world.epoch &&
                   link_resend_from(&world.link, world.now_ns, world.hello_received, &count);
    struct wire_welcome welcome = {
        .version = how % 64 == 63 ? 7 : 1,
        .resumed = resumed,
        .heartbeat_ms = 1000,
        .silence_ms = 5000,
        .payload_max = how / 64 == 3 ? 100 : WIRE_PAYLOAD_BYTES_MAX,
    };

    if (how % 16 == 8) {
        world.epoch++;
    }
    if (!resumed) {
        link_reset(&world.link, world.now_ns);
        forget_said();
    }
    world.known = true;
    welcome.epoch = world.epoch;
    welcome.received = resumed ? world.link.received : world.link.base;
    if (how % 32 == 31) {
        welcome.received = fuzz_number(in, welcome.received);
        welcome.resumed = !resumed;
        welcome.heartbeat_ms = (uint32_t)fuzz_number(in, 1000);
        welcome.silence_ms = (uint32_t)fuzz_number(in, 5000);
        welcome.epoch = fuzz_number(in, welcome.epoch);
    }
    world.hello_came = false;
    world.crooked = world.crooked || how % 32 == 31;
    deliver(wire_welcome_encode(&welcome));
    for (uint32_t i = 0; resumed && i < world.link.kept_count; i++) {
        deliver(wire_message_ref(link_kept_at(&world.link, i)));
    }
}

static uint64_t some_lease(struct fuzz_input *in) {
    uint8_t which = fuzz_byte(in);

    return which >= 0xf0 ? fuzz_number(in, UINT64_MAX) : UINT64_C(1) + which;
}

static size_t make_entry(struct fuzz_input *in, enum wire_type type, uint64_t *key,
                         uint64_t *entry) {
    uint8_t how;

    entry[0] = some_lease(in);
    if (type != WIRE_RUN) {
        return 0;
    }
    how = fuzz_byte(in);
    key[0] = how % 16 == 15 ? 3u : how % 3u;
    key[1] = how / 16 % (WIRE_FLAGS_MAX + 1);
    key[2] = how >= 0x80 ? 20 : 0;
    key[3] = 8;
    key[4] = 9;
    if (how / 16 % 2 == 0) { /* one that was not given yet, as a real broker's */
        entry[0] = 1 + world.next_lease++ % LEASES;
    }
    entry[1] = entry[0] + 1000;
    entry[2] = 1 + how % 4;
    return how == 0xff ? 66000 : how;
}

/* Takes note of what a message gives to the worker, if it can be read at all. */
static void note(const struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    if (!wire_open(message, &envelope, &fault)) {
        return;
    }
    world.crooked = world.crooked || envelope.type == WIRE_WELCOME;
    if (envelope.type != WIRE_RUN || !wire_batch_open(&batch, message, &fault)) {
        return;
    }
    while (wire_batch_next(&batch, &entry)) {
        struct said *said = said_of(entry.values[0]);

        if (said != NULL) {
            world.crooked = world.crooked || said->given;
            said->given = true;
            said->runs++;
        }
    }
}

static struct wire_message *make_batch(struct fuzz_input *in, enum wire_type type) {
    static const uint8_t bytes[70000];
    uint8_t shape = fuzz_byte(in);
    const uint64_t extra[WIRE_EXTRA_MAX] = {shape == 0xff ? UINT64_MAX : shape / 8, 0};
    struct wire_writer *writer = wire_writer_new(type);
    struct wire_message *message;

    BASE_ASSERT(writer != NULL);
    for (uint32_t i = type == WIRE_CREDIT ? 0 : shape % 8; i > 0; i--) {
        uint64_t key[WIRE_KEY_MAX] = {0}, entry[WIRE_ENTRY_MAX] = {0};
        size_t size = make_entry(in, type, key, entry);

        (void)wire_writer_put(writer, key, entry, bytes, size, NULL);
    }
    message = wire_writer_finish(writer, extra);
    wire_writer_free(writer);
    return message;
}

/* ----------------------------------------------------------------- the pool */

static struct pooled *pooled_of(const struct worker_task *task) {
    for (uint32_t i = 0; i < world.pool_count; i++) {
        if (world.pool[i].task == task) {
            return &world.pool[i];
        }
    }
    BASE_ASSERT(false); /* the worker speaks of a task that the pool doesn't have */
    return NULL;
}

static void pool_remove(struct pooled *pooled) {
    *pooled = world.pool[--world.pool_count];
}

static void pool_start(struct worker_task *task) {
    static volatile uint8_t touched;

    BASE_ASSERT(world.pool_count < POOL_MAX && task->function < 3);
    for (uint32_t i = 0; i < task->size; i++) {
        touched = (uint8_t)(touched + task->data[i]);
    }
    for (uint32_t i = 0; i < sizeof task->shell / sizeof task->shell[0]; i++) {
        BASE_ASSERT(task->shell[i] == 0);
    }
    for (uint32_t i = 0; i < world.pool_count; i++) {
        BASE_ASSERT(world.pool[i].task != task);
    }
    world.pool[world.pool_count++] = (struct pooled){task, task->lease, false, false};
}

static void pool_begin(uint32_t which) {
    struct pooled *pooled = &world.pool[which];

    pooled->started = true;
    if (!pooled->began) {
        pooled->began = true;
        step(&(struct worker_event){
            .type = WORKER_BEGAN, .task = pooled->task, .busy_ns = 5 * FUZZ_MS});
    }
}

static void pool_finish(uint32_t which, uint8_t how) {
    static const uint8_t bytes[300];
    struct pooled *pooled = &world.pool[which];
    struct worker_event event = {
        .type = WORKER_FINISHED,
        .task = pooled->task,
        .kind = how % 4 == 3 ? WIRE_KIND_ERROR : WIRE_KIND_VALUE,
        .data = bytes,
        .size = how,
        .busy_ns = how,
    };

    BASE_ASSERT(pooled->task->lease == pooled->lease);
    pool_remove(pooled);
    step(&event);
}

/* -------------------------------------------------------------------- steps */

static void act(const struct worker_action *action) {
    struct worker_event answer = {.type = WORKER_WITHDRAWN};
    struct pooled *pooled;

    switch (action->type) {
    case WORKER_SEND:
        hear(action->message);
        wire_message_unref(action->message);
        break;
    case WORKER_START:
        pool_start(action->task);
        break;
    case WORKER_WITHDRAW:
        pooled = pooled_of(action->task);
        answer.task = action->task;
        answer.withdrawn = !pooled->started;
        if (answer.withdrawn) {
            pool_remove(pooled);
        }
        step(&answer);
        break;
    case WORKER_INTERRUPT:
        BASE_ASSERT(pooled_of(action->task)->started);
        break;
    case WORKER_RECONNECT:
        world.reconnected = true;
        break;
    case WORKER_KILL:
        BASE_ASSERT(action->text != NULL && world.pool_count > 0);
        world.over = true;
        break;
    case WORKER_LEAVE:
        BASE_ASSERT(action->warn || world.pool_count == 0);
        world.over = true;
        break;
    case WORKER_RETIRING:
        BASE_ASSERT(world.config.tasks_max > 0);
        break;
    case WORKER_LOG:
        BASE_ASSERT(action->text[0] != '\0');
        break;
    }
}

static void step(const struct worker_event *event) {
    const struct worker_action *actions;
    struct worker_action *copy;
    struct worker_stats stats;
    size_t count;

    if (world.over) {
        return;
    }
    worker_step(world.core, world.now_ns, event);
    actions = worker_actions(world.core, &count);
    copy = malloc((count + 1) * sizeof *copy);
    BASE_ASSERT(copy != NULL);
    memcpy(copy, actions, count * sizeof *copy); /* answers are steps */
    for (size_t i = 0; i < count; i++) {
        act(&copy[i]);
    }
    free(copy);
    worker_get_stats(world.core, &stats);
    BASE_ASSERT(world.over || stats.held >= world.pool_count);
}

static void event(enum worker_event_type type) {
    step(&(struct worker_event){.type = type});
}

static void pass(uint64_t duration_ns) {
    uint64_t end_ns = world.now_ns + duration_ns;
    uint32_t steps = 0;

    while (!world.over && world.now_ns < end_ns) {
        uint64_t next_ns = worker_deadline(world.core);

        next_ns = next_ns < end_ns ? next_ns : end_ns;
        world.now_ns = next_ns > world.now_ns ? next_ns : world.now_ns + 1000;
        event(WORKER_TICK);
        event(WORKER_FLUSH);
        BASE_ASSERT(++steps < 40000);
    }
}

/* ------------------------------------------------------------------ scripts */

static void say(struct fuzz_input *in, uint8_t how) {
    static const enum wire_type batches[] = {WIRE_RUN,    WIRE_RUN,       WIRE_RUN, WIRE_RUN,
                                             WIRE_RECALL, WIRE_INTERRUPT, WIRE_RUN, WIRE_CREDIT};
    struct wire_message *message;

    switch (how % 16) {
    case 8:
        message = wire_heartbeat_encode(fuzz_number(in, world.link.sent));
        break;
    case 9:
        message = wire_resume_encode(fuzz_number(in, world.link.received));
        break;
    case 10:
        message = wire_plain_encode(how >= 0xc0 ? WIRE_STOP : WIRE_UNKNOWN);
        break;
    case 11:
        message =
            wire_reject_encode(&(struct wire_reject){how / 16 < 12 ? WIRE_RESULTS : WIRE_HELLO,
                                                     (enum wire_reject_code)(1 + how / 16 % 7),
                                                     {"because", 7}});
        break;
    default:
        message = make_batch(in, batches[how % 8]);
        break;
    }
    BASE_ASSERT(message != NULL);
    if (how % 16 >= 14) {
        fuzz_spoil(in, message, true);
    }
    note(message);
    if (how % 16 == 15) {
        fuzz_forge(message, fuzz_number(in, world.link.sent + 1),
                   fuzz_number(in, world.link.received));
        deliver(message);
    } else {
        post(message);
    }
}

static void play(struct fuzz_input *in, uint8_t what, uint8_t how) {
    struct wire_message *message;

    switch (what % 8) {
    case 0:
    case 1:
        say(in, how);
        break;
    case 2:
        if (world.pool_count > 0) {
            pool_finish(how % world.pool_count, fuzz_byte(in));
        }
        break;
    case 3:
        if (world.pool_count > 0) {
            pool_begin(how % world.pool_count);
        }
        break;
    case 4:
        event(WORKER_FLUSH);
        if (how >= 0x80) {
            pass(fuzz_duration(in));
        }
        break;
    case 5:
        if (world.hello_came || how >= 0xe0) {
            welcome(in, how);
        } else {
            event(WORKER_TICK);
        }
        break;
    case 6:
        message = fuzz_message(in);
        if (message != NULL) {
            note(message);
            if (how < 0x80) {
                fuzz_forge(message, world.link.sent + 1, world.link.received);
            }
            deliver(message);
        }
        break;
    default:
        event(how == 0xff ? WORKER_DRAIN : how >= 0xf0 ? WORKER_RECONNECTED : WORKER_FLUSH);
        break;
    }
}

/* From now on the broker is sane, and new: everything gets its answer, and the worker leaves. */
static void good_end(void) {
    static const uint8_t nothing[1];
    struct fuzz_input in = {nothing, nothing};

    world.sane = true;
    world.crooked = false;
    world.known = false;
    world.epoch += UINT64_C(1) << 40;
    world.now_ns += 100 * FUZZ_S; /* above what wrong numbers there were */
    deliver(wire_plain_encode(WIRE_UNKNOWN));
    event(WORKER_DRAIN);
    for (uint32_t round = 0; !world.over && round < 200; round++) {
        while (world.pool_count > 0 && !world.over) {
            pool_begin(0);
            pool_finish(0, 0);
        }
        event(WORKER_FLUSH);
        if (world.hello_came) {
            welcome(&in, 1);
        } else if (world.known) {
            struct wire_message *beat = wire_heartbeat_encode(world.link.sent);

            post(beat);
        }
        pass(200 * FUZZ_MS);
    }
    BASE_ASSERT(world.over);
}

static void world_init(uint8_t how) {
    static const char *const functions[] = {"zero", "one", "two"};
    static const char *const tags[] = {"gpu"};

    memset(&world, 0, sizeof world);
    world.now_ns = 1000 * FUZZ_S;
    world.epoch = 77;
    world.config = (struct worker_config){
        .session = {0x1111, 0x2222},
        .seed = 5,
        .slots = 2,
        .name = "worker-1",
        .host = "testhost",
        .pid = 4711,
        .functions = functions,
        .function_count = 3,
        .tags = tags,
        .tag_count = 1,
        .tasks_max = how % 4 == 3 ? 5 : 0,
        .await_transport = how % 8 >= 4,
    };
    world.core = worker_core_new(&world.config, world.now_ns);
    BASE_ASSERT(world.core != NULL);
    link_init(&world.link, world.now_ns, 0, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input in = {data, data + (size < SCRIPT_MAX ? size : SCRIPT_MAX)};

    world_init(fuzz_byte(&in));
    if (world.config.await_transport) {
        event(WORKER_RECONNECTED);
    }
    event(WORKER_TICK);
    while (fuzz_more(&in) && !world.over) {
        uint8_t what = fuzz_byte(&in);

        play(&in, what, fuzz_byte(&in));
    }
    if (!world.over) {
        good_end();
    }
    worker_core_free(world.core);
    link_fini(&world.link);
    return 0;
}
