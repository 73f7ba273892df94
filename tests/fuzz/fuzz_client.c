/* The client's core between an executor and a broker that follow a script of any bytes: tasks are
 * submitted and cancelled, time passes; the broker says what is right, what is wrong and what is no
 * message at all, comes and goes. Checked after every step: what the client says is right in itself,
 * nothing but HELLO goes before WELCOME, credit is kept, each task is resolved once, a cancel has one
 * answer, and the client's own count of its tasks is right. In the end a sane broker answers everything,
 * and the client leaves. */
#include "tests/fuzz/fuzz_far_end.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "libclient/core.h"
#include "tests/fuzz/wire_exercise.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TASKS   512u
#define KNOWN   32u /* ids that the broker remembers */
#define CLASSES 4u

enum fate { FREE, OPEN, DONE };

struct task {
    struct client_task task;
    enum fate fate;
    bool cancelling, began;
};

struct world {
    struct client_core *core;
    struct wire_blob *large;
    struct fuzz_far_end far;
    bool refused, leaving, left;
    bool over;                           /* byte credit was exceeded in this step */
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

static void hear_define(const struct wire_message *message) {
    struct wire_define define;
    struct wire_fault fault;
    bool decoded = wire_define_decode(message, &define, &fault);

    BASE_ASSERT(decoded && (!world.defined[define.class_index] || world.far.crooked));
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
        if (!world.far.crooked) {
            BASE_ASSERT(world.defined[entry.key[0]]);
            BASE_ASSERT(world.sent_tasks <= world.credit_tasks);
            world.over = world.over || world.sent_bytes > world.credit_bytes;
        }
    }
}

static void hear(uint32_t type, const struct wire_message *message) {
    switch (type) {
    case WIRE_DEFINE:
        hear_define(message);
        break;
    case WIRE_SUBMIT:
        hear_submit(message);
        break;
    case WIRE_CANCEL:
        break;
    case WIRE_BYE:
        BASE_ASSERT(world.leaving);
        break;
    default:
        BASE_ASSERT(false); /* not for a client to say */
    }
}

/* What a message grants. */
static void note(uint32_t type, const struct wire_message *message) {
    struct wire_batch batch;
    struct wire_fault fault;

    if ((type != WIRE_OUTCOMES && type != WIRE_CREDIT) ||
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

static void forget(void) {
    world.credit_tasks = world.credit_bytes = world.sent_tasks = world.sent_bytes = 0;
    memset(world.defined, 0, sizeof world.defined);
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
        BASE_ASSERT(!world.left);
        fuzz_far_hear(&world.far, action->message);
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
    client_step(world.core, world.far.now_ns, event);
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

static void receive(struct wire_message *message) {
    step(&(struct client_event){.type = CLIENT_RECEIVE, .message = message});
}

static void tick(void) {
    event(CLIENT_TICK);
}

static void flush(void) {
    event(CLIENT_FLUSH);
}

static uint64_t deadline(void) {
    return client_deadline(world.core);
}

static const struct fuzz_near_end near_end = {
    .role = WIRE_CLIENT,
    .batches = {WIRE_OUTCOMES, WIRE_OUTCOMES, WIRE_CREDIT, WIRE_VERDICTS, WIRE_STARTED, WIRE_CREDIT,
                WIRE_OUTCOMES, WIRE_RECALL},
    .rejected = WIRE_SUBMIT,
    .receive = receive,
    .hear = hear,
    .forget = forget,
    .note = note,
    .make_batch = make_batch,
    .tick = tick,
    .flush = flush,
    .deadline = deadline,
};

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

static void play(struct fuzz_input *in, uint8_t what, uint8_t how) {
    if (fuzz_far_play(&world.far, in, what, how)) {
        return;
    }
    switch (what % 8) {
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
    fuzz_far_note(&world.far, message);
    fuzz_far_post(&world.far, message);
}

/* From now on the broker is sane, and new: every task has its outcome, and the client leaves. */
static void good_end(void) {
    static const uint8_t nothing[1];
    struct fuzz_input in = {nothing, nothing};

    fuzz_far_mend(&world.far);
    if (!world.refused) {
        for (uint32_t round = 0; world.open > 0 && round < 200; round++) {
            event(CLIENT_FLUSH);
            if (world.far.hello_came) {
                fuzz_far_welcome(&world.far, &in, 1);
            } else if (world.far.known) {
                answer_all();
            }
            fuzz_far_pass(&world.far, 200 * FUZZ_MS);
        }
        BASE_ASSERT(world.open == 0);
    } else {
        give_up();
    }
    world.leaving = true;
    event(CLIENT_LEAVE);
    for (uint32_t round = 0; !world.left && round < 20; round++) {
        fuzz_far_pass(&world.far, 200 * FUZZ_MS);
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
    fuzz_far_init(&world.far, &near_end);
    world.core = client_core_new(&config, world.far.now_ns);
    world.large = wire_blob_new(70000);
    BASE_ASSERT(world.core != NULL && world.large != NULL);
    memset(world.large->data, 0, world.large->size);
    if (config.await_transport) {
        event(CLIENT_RECONNECTED);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input in = {data, data + (size < FUZZ_SCRIPT_MAX ? size : FUZZ_SCRIPT_MAX)};

    world_init(fuzz_byte(&in));
    event(CLIENT_TICK);
    while (fuzz_more(&in)) {
        uint8_t what = fuzz_byte(&in);

        play(&in, what, fuzz_byte(&in));
    }
    good_end();
    client_core_free(world.core);
    wire_blob_unref(world.large);
    fuzz_far_fini(&world.far);
    return 0;
}
