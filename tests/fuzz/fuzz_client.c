/* The client's core between an executor and a broker that follow a script of any bytes: tasks are
 * submitted and cancelled, time passes; the broker says what is right, what is wrong and what is no
 * message at all, comes and goes. Checked after every step: what the client says is right in itself,
 * nothing but HELLO goes before WELCOME, credit is kept, each task is resolved once, a cancel has one
 * answer, and the client's own count of its tasks is right. In the end a sane broker answers everything,
 * and the client leaves. */
#include "tests/fuzz/fuzz_input.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "libclient/core.h"
#include "tests/fuzz/wire_exercise.h"
#include "wire/link.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TASKS      512u
#define KNOWN      32u /* ids that the broker remembers */
#define CLASSES    4u
#define SCRIPT_MAX 600u

enum fate { FREE, OPEN, DONE };

struct task {
    struct client_task task;
    enum fate fate;
    bool cancelling, began;
};

struct world {
    struct client_core *core;
    struct wire_blob *large;
    uint64_t now_ns, epoch;
    struct link link; /* the broker's */
    bool known, hello_came, sane, crooked, resend, refused, leaving, left;
    bool over; /* byte credit was exceeded in this step */
    uint64_t hello_epoch, hello_received, resend_from;
    uint64_t credit_tasks, credit_bytes; /* told in this stream */
    uint64_t sent_tasks, sent_bytes;
    uint64_t ids[KNOWN];
    uint32_t id_count;
    bool defined[WIRE_CLASSES_MAX];
    struct task tasks[TASKS];
    uint32_t open;
};

static struct world world;

static void step(const struct client_event *event);

/* --------------------------------------------------------------- the broker */

static void hear_hello(const struct wire_message *message) {
    struct wire_hello hello;
    struct wire_fault fault;
    bool decoded = wire_hello_decode(message, &hello, &fault);

    BASE_ASSERT(decoded && hello.role == WIRE_CLIENT);
    world.hello_came = true;
    world.hello_epoch = hello.epoch;
    world.hello_received = hello.received;
    wire_hello_fini(&hello);
}

static void hear_define(const struct wire_message *message) {
    struct wire_define define;
    struct wire_fault fault;
    bool decoded = wire_define_decode(message, &define, &fault);

    BASE_ASSERT(decoded && (!world.defined[define.class_index] || world.crooked));
    world.defined[define.class_index] = true;
}

static void hear_submit(const struct wire_message *message) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;
    bool opened = wire_batch_open(&batch, message, &fault);

    BASE_ASSERT(opened);
    while (wire_batch_next(&batch, &entry)) {
        world.ids[world.id_count++ % KNOWN] = entry.values[0];
        world.sent_tasks++;
        world.sent_bytes += entry.size;
        if (!world.crooked) {
            BASE_ASSERT(world.defined[entry.key[0]]);
            BASE_ASSERT(world.sent_tasks <= world.credit_tasks);
            world.over = world.over || world.sent_bytes > world.credit_bytes;
        }
    }
}

static void hear(const struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;
    uint32_t type = fuzz_check_message(message, &envelope);

    BASE_ASSERT(!world.left);
    if (type == WIRE_HELLO) {
        hear_hello(message);
        return;
    }
    if (!world.known || link_accept(&world.link, world.now_ns, &envelope,
                                    wire_message_bytes(message)) != LINK_DELIVER) {
        return;
    }
    switch (type) {
    case WIRE_RESUME:
        world.resend = wire_resume_decode(message, &world.resend_from, &fault);
        break;
    case WIRE_DEFINE:
        hear_define(message);
        break;
    case WIRE_SUBMIT:
        hear_submit(message);
        break;
    case WIRE_HEARTBEAT:
    case WIRE_REJECT:
    case WIRE_CANCEL:
        break;
    case WIRE_BYE:
        BASE_ASSERT(world.leaving);
        break;
    default:
        BASE_ASSERT(false); /* not for a client to say */
    }
}

/* Hands a message to the client as it is; takes it. */
static void deliver(struct wire_message *message) {
    BASE_ASSERT(message != NULL);
    step(&(struct client_event){.type = CLIENT_RECEIVE, .message = message});
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

/* Takes note of what a message grants and begins, if it can be read at all. */
static void note(const struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_batch batch;
    struct wire_fault fault;

    if (!wire_open(message, &envelope, &fault)) {
        return;
    }
    world.crooked = world.crooked || envelope.type == WIRE_WELCOME;
    if ((envelope.type != WIRE_OUTCOMES && envelope.type != WIRE_CREDIT) ||
        !wire_batch_open(&batch, message, &fault)) {
        return;
    }
    if (batch.extra[0] > world.credit_tasks) {
        world.credit_tasks = batch.extra[0];
    }
    if (batch.extra[1] > world.credit_bytes) {
        world.credit_bytes = batch.extra[1];
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

/* A WELCOME that fits what the client said last, or one that doesn't. */
static void welcome(struct fuzz_input *in, uint8_t how) {
    uint32_t count;
    bool resumed = how % 4 != 0 && world.known && world.hello_epoch == world.epoch &&
                   link_resend_from(&world.link, world.now_ns, world.hello_received, &count);
    struct wire_welcome welcome = {
        .version = how % 64 == 63 ? 7 : 1,
        .resumed = resumed,
        .heartbeat_ms = 1000,
        .silence_ms = 5000,
        .payload_max = WIRE_PAYLOAD_BYTES_MAX,
    };

    if (how % 16 == 8) {
        world.epoch++;
    }
    if (!resumed) {
        link_reset(&world.link, world.now_ns);
        world.credit_tasks = world.credit_bytes = world.sent_tasks = world.sent_bytes = 0;
        memset(world.defined, 0, sizeof world.defined);
    }
    world.known = true;
    welcome.epoch = world.epoch;
    welcome.received = resumed ? world.link.received : world.link.base;
    if (how % 32 == 31) {
        world.crooked = true;
        welcome.received = fuzz_number(in, welcome.received);
        welcome.resumed = !resumed;
        welcome.heartbeat_ms = (uint32_t)fuzz_number(in, 1000);
        welcome.silence_ms = (uint32_t)fuzz_number(in, 5000);
        welcome.epoch = fuzz_number(in, welcome.epoch);
    }
    world.hello_came = false;
    deliver(wire_welcome_encode(&welcome));
    for (uint32_t i = 0; resumed && i < world.link.kept_count; i++) {
        deliver(wire_message_ref(link_kept_at(&world.link, i)));
    }
}

static struct wire_message *make_batch(struct fuzz_input *in, enum wire_type type) {
    static const uint8_t bytes[300];
    uint8_t shape = fuzz_byte(in);
    const uint64_t extra[WIRE_EXTRA_MAX] = {
        shape >= 0xf0 ? fuzz_number(in, UINT64_MAX) : world.sent_tasks + shape / 8,
        shape >= 0xf0 ? fuzz_number(in, UINT64_MAX) : world.sent_bytes + 8 * (uint64_t)shape};
    struct wire_writer *writer = wire_writer_new(type);
    struct wire_message *message;

    BASE_ASSERT(writer != NULL);
    for (uint32_t i = type == WIRE_CREDIT ? 0 : shape % 8; i > 0; i--) {
        uint8_t which = fuzz_byte(in);
        uint64_t key = type == WIRE_OUTCOMES  ? fuzz_pick(in, 64) % 9
                       : type == WIRE_STARTED ? 0
                                              : fuzz_pick(in, 2);
        uint64_t entry = which >= 0xf0 ? fuzz_number(in, 0) : world.ids[which % KNOWN];

        (void)wire_writer_put(writer, &key, &entry, bytes, type == WIRE_OUTCOMES ? which : 0, NULL);
    }
    message = wire_writer_finish(writer, extra);
    wire_writer_free(writer);
    return message;
}

/* ------------------------------------------------------------- the executor */

static struct task *task_of(struct client_task *task) {
    return BASE_CONTAINER_OF(task, struct task, task);
}

static void resolve(struct client_task *first, bool chain) {
    for (struct client_task *at = first; at != NULL; at = chain ? at->next : NULL) {
        struct task *task = task_of(at);

        BASE_ASSERT(task->fate == OPEN);
        task->fate = DONE;
        world.open--;
    }
}

static void verdict(const struct client_action *action) {
    for (struct client_task *at = action->task; at != NULL; at = action->chain ? at->next : NULL) {
        BASE_ASSERT(task_of(at)->cancelling && task_of(at)->fate == OPEN);
        task_of(at)->cancelling = false;
    }
    if (action->yes) {
        resolve(action->task, action->chain);
    }
}

static void act(const struct client_action *action) {
    static volatile uint8_t touched;

    switch (action->type) {
    case CLIENT_SEND:
        hear(action->message);
        wire_message_unref(action->message);
        break;
    case CLIENT_RESOLVE:
        for (size_t i = 0; i < action->size; i++) {
            touched = (uint8_t)(touched + action->data[i]);
        }
        BASE_ASSERT(action->kind < WIRE_KIND_COUNT);
        resolve(action->task, action->chain);
        break;
    case CLIENT_BEGAN:
        BASE_ASSERT(task_of(action->task)->fate == OPEN && !task_of(action->task)->began);
        task_of(action->task)->began = true;
        break;
    case CLIENT_VERDICT:
        verdict(action);
        break;
    case CLIENT_RECONNECT:
        break;
    case CLIENT_REFUSED:
        BASE_ASSERT(!world.refused && action->text[0] != '\0');
        world.refused = true;
        break;
    case CLIENT_CONNECTED:
        break;
    case CLIENT_LEFT:
        BASE_ASSERT(world.leaving && !world.left);
        world.left = true;
        break;
    case CLIENT_LOG:
        BASE_ASSERT(action->text[0] != '\0');
        break;
    }
}

static void step(const struct client_event *event) {
    const struct client_action *actions;
    struct client_stats stats;
    size_t count;

    world.over = false;
    client_step(world.core, world.now_ns, event);
    actions = client_actions(world.core, &count);
    for (size_t i = 0; i < count; i++) {
        act(&actions[i]);
    }
    client_get_stats(world.core, &stats);
    BASE_ASSERT(stats.waiting + stats.sent == world.open);
    BASE_ASSERT(!world.over ||
                stats.sent <= 1); /* only a task that is alone may be over the credit */
}

static void event(enum client_event_type type) {
    step(&(struct client_event){.type = type});
}

static void pass(uint64_t duration_ns) {
    uint64_t end_ns = world.now_ns + duration_ns;
    uint32_t steps = 0;

    while (world.now_ns < end_ns) {
        uint64_t next_ns = client_deadline(world.core);

        next_ns = next_ns < end_ns ? next_ns : end_ns;
        world.now_ns = next_ns > world.now_ns ? next_ns : world.now_ns + 1000;
        event(CLIENT_TICK);
        event(CLIENT_FLUSH);
        BASE_ASSERT(++steps < 40000);
    }
}

static uint32_t class_of(uint8_t how) {
    static const char *const functions[CLASSES] = {"a", "b", "c", "d"};
    const struct wire_define define = {
        .function = {functions[how % CLASSES], 1},
        .max_attempts = 3,
        .queue_ms = how % CLASSES == 3 ? 30 : 0,
    };
    int64_t index = client_class_intern(world.core, &define);

    BASE_ASSERT(index >= 0);
    return (uint32_t)index;
}

static void submit(uint8_t how) {
    struct client_task *first = NULL, **last = &first;
    uint32_t class_index = class_of(how), wanted = 1 + how / 4 % 8;

    for (uint32_t i = 0; i < TASKS && wanted > 0; i++) {
        struct task *task = &world.tasks[i];
        bool large = how >= 0xf8 && first == NULL;

        if (task->fate == OPEN) {
            continue;
        }
        *task = (struct task){.fate = OPEN};
        task->task.data = world.large->data;
        task->task.size = large ? (uint32_t)world.large->size : how;
        task->task.large = large ? world.large : NULL;
        task->task.class_index = class_index;
        *last = &task->task;
        last = &task->task.next;
        world.open++;
        wanted--;
    }
    if (first != NULL) {
        step(&(struct client_event){.type = CLIENT_SUBMIT, .task = first});
    }
}

static void cancel(uint8_t which) {
    struct task *task = &world.tasks[which];

    if (task->fate == OPEN) {
        task->cancelling = true;
        step(&(struct client_event){.type = CLIENT_CANCEL, .task = &task->task});
    }
}

static void cancel_all(void) {
    for (uint32_t i = 0; i < TASKS; i++) {
        world.tasks[i].cancelling = world.tasks[i].cancelling || world.tasks[i].fate == OPEN;
    }
    event(CLIENT_CANCEL_ALL);
}

static void give_up(void) {
    static const struct wire_error error = {.message = {"given up", 8}};
    struct base_buffer buffer;

    base_buffer_init(&buffer);
    BASE_ASSERT(wire_error_encode(&error, &buffer));
    step(&(struct client_event){
        .type = CLIENT_BREAK, .kind = WIRE_KIND_BROKEN, .data = buffer.data, .size = buffer.size});
    base_buffer_fini(&buffer);
    BASE_ASSERT(world.open == 0);
}

/* ------------------------------------------------------------------ scripts */

static void say(struct fuzz_input *in, uint8_t how) {
    static const enum wire_type batches[] = {WIRE_OUTCOMES, WIRE_OUTCOMES, WIRE_CREDIT,
                                             WIRE_VERDICTS, WIRE_STARTED,  WIRE_CREDIT,
                                             WIRE_OUTCOMES, WIRE_RECALL};
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
            wire_reject_encode(&(struct wire_reject){how / 16 < 12 ? WIRE_SUBMIT : WIRE_HELLO,
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
        submit(how);
        break;
    case 3:
        if (how >= 0xf0) {
            cancel_all();
        } else {
            cancel(how);
        }
        break;
    case 4:
        event(CLIENT_FLUSH);
        if (how >= 0x80) {
            pass(fuzz_duration(in));
        }
        break;
    case 5:
        if (world.hello_came || how >= 0xe0) {
            welcome(in, how);
        } else {
            event(CLIENT_TICK);
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
        if (how == 0xff) {
            give_up();
        } else {
            event(how >= 0xf0 ? CLIENT_RECONNECTED : CLIENT_FLUSH);
        }
        break;
    }
}

/* Gives a value to all that was submitted to it in this stream and may be open. */
static void answer_all(void) {
    const uint64_t extra[] = {world.sent_tasks + TASKS, world.sent_bytes + (UINT64_C(1) << 30)};
    static const uint64_t key = WIRE_KIND_VALUE;
    struct wire_writer *writer = wire_writer_new(WIRE_OUTCOMES);
    struct wire_message *message;

    BASE_ASSERT(writer != NULL);
    for (uint32_t i = 0; i < TASKS; i++) {
        const struct task *task = &world.tasks[i];

        if (task->fate == OPEN) { /* an id that was never sent is nobody's */
            (void)wire_writer_put(writer, &key, &task->task.id, "\xc0", 1, NULL);
        }
    }
    message = wire_writer_finish(writer, extra);
    wire_writer_free(writer);
    note(message);
    post(message);
}

/* From now on the broker is sane, and new: every task has its outcome, and the client leaves. */
static void good_end(void) {
    static const uint8_t nothing[1];
    struct fuzz_input in = {nothing, nothing};

    world.sane = true;
    world.epoch += UINT64_C(1) << 40;
    world.now_ns += 100 * FUZZ_S; /* above what wrong numbers there were */
    world.known = false;
    if (!world.refused) {
        deliver(wire_plain_encode(WIRE_UNKNOWN));
        for (uint32_t round = 0; world.open > 0 && round < 200; round++) {
            event(CLIENT_FLUSH);
            if (world.hello_came) {
                welcome(&in, 1);
            } else if (world.known) {
                answer_all();
            }
            pass(200 * FUZZ_MS);
        }
        BASE_ASSERT(world.open == 0);
    } else {
        give_up();
    }
    world.leaving = true;
    event(CLIENT_LEAVE);
    for (uint32_t round = 0; !world.left && round < 20; round++) {
        pass(200 * FUZZ_MS);
    }
    BASE_ASSERT(world.left);
}

static void world_init(uint8_t how) {
    const struct client_config config = {
        .session = {0x1111, 0x2222},
        .seed = 5,
        .name = "client-1",
        .host = "testhost",
        .pid = 4711,
        .await_transport = how % 2 == 1,
    };

    memset(&world, 0, sizeof world);
    world.now_ns = 1000 * FUZZ_S;
    world.epoch = 77;
    world.core = client_core_new(&config, world.now_ns);
    world.large = wire_blob_new(70000);
    BASE_ASSERT(world.core != NULL && world.large != NULL);
    memset(world.large->data, 0, world.large->size);
    link_init(&world.link, world.now_ns, 0, 0);
    if (config.await_transport) {
        event(CLIENT_RECONNECTED);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input in = {data, data + (size < SCRIPT_MAX ? size : SCRIPT_MAX)};

    world_init(fuzz_byte(&in));
    event(CLIENT_TICK);
    while (fuzz_more(&in)) {
        uint8_t what = fuzz_byte(&in);

        play(&in, what, fuzz_byte(&in));
    }
    good_end();
    client_core_free(world.core);
    wire_blob_unref(world.large);
    link_fini(&world.link);
    return 0;
}
