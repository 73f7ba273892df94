/* The worker's core between a broker and a pool that follow a script of any bytes: the broker says what
 * is right, what is wrong and what is no message at all; the pool begins, ends and gives back tasks in
 * any order. Checked after every step: what the worker says is right in itself, each lease that it was
 * given has at most one answer, the shell is asked only about tasks that it has. In the end a sane broker
 * gets an answer to all that is open, and a worker that drains leaves. */
#include "tests/fuzz/fuzz_far_end.h"

#include "base/assert.h"
#include "tests/fuzz/wire_exercise.h"
#include "worker/core.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LEASES   240u /* that the broker knows, from 1 on */
#define POOL_MAX 8192u

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
    struct fuzz_far_end far; /* crooked also if it gave a lease twice */
    struct said said[LEASES];
    struct pooled pool[POOL_MAX];
    uint32_t pool_count, next_lease;
    bool reconnected;
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
        BASE_ASSERT(said->answers < said->runs || world.far.crooked);
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

static void hear(uint32_t type, const struct wire_message *message) {
    switch (type) {
    case WIRE_RESULTS:
    case WIRE_RETURNED:
    case WIRE_RUNNING:
    case WIRE_CLAIMS:
        hear_batch((enum wire_type)type, message);
        break;
    case WIRE_DRAIN:
    case WIRE_BYE:
        break;
    default:
        BASE_ASSERT(false); /* not for a worker to say */
    }
}

static void forget_said(void) {
    for (uint32_t i = 0; i < LEASES; i++) {
        world.said[i].runs = world.said[i].answers = 0;
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

/* What a message gives to the worker. */
static void note(uint32_t type, const struct wire_message *message) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    if (type != WIRE_RUN || !wire_batch_open(&batch, message, &fault)) {
        return;
    }
    while (wire_batch_next(&batch, &entry)) {
        struct said *said = said_of(entry.values[0]);

        if (said != NULL) {
            world.far.crooked = world.far.crooked || said->given;
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

/* Finishes a task, and up to three more that come after it. */
static void pool_finish(uint32_t which, uint8_t how) {
    static const uint8_t bytes[300];
    struct worker_outcome outcomes[4];
    struct worker_event event = {.type = WORKER_FINISHED, .outcomes = outcomes, .busy_ns = how};

    while (event.count <= how / 64u && which < world.pool_count) {
        struct pooled *pooled = &world.pool[which];

        BASE_ASSERT(pooled->task->lease == pooled->lease);
        outcomes[event.count++] = (struct worker_outcome){
            .task = pooled->task,
            .kind = how % 4 == 3 ? WIRE_KIND_ERROR : WIRE_KIND_VALUE,
            .data = bytes,
            .size = how,
        };
        pool_remove(pooled);
    }
    step(&event);
}

/* -------------------------------------------------------------------- steps */

static void act(const struct worker_action *action) {
    struct worker_event answer = {.type = WORKER_WITHDRAWN};
    struct pooled *pooled;

    switch (action->type) {
    case WORKER_SEND:
        fuzz_far_hear(&world.far, action->message);
        wire_message_unref(action->message);
        break;
    case WORKER_START:
        for (uint32_t i = 0; i < action->count; i++) {
            pool_start(action->tasks[i]);
        }
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
        world.far.ended = true;
        break;
    case WORKER_LEAVE:
        BASE_ASSERT(action->warn || world.pool_count == 0);
        world.far.ended = true;
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

    if (world.far.ended) {
        return;
    }
    worker_step(world.core, world.far.now_ns, event);
    actions = worker_actions(world.core, &count);
    copy = malloc((count + 1) * sizeof *copy);
    BASE_ASSERT(copy != NULL);
    memcpy(copy, actions, count * sizeof *copy); /* answers are steps */
    for (size_t i = 0; i < count; i++) {
        act(&copy[i]);
    }
    free(copy);
    worker_get_stats(world.core, &stats);
    BASE_ASSERT(world.far.ended || stats.held >= world.pool_count);
}

static void event(enum worker_event_type type) {
    step(&(struct worker_event){.type = type});
}

static void receive(struct wire_message *message) {
    step(&(struct worker_event){.type = WORKER_RECEIVE, .message = message});
}

static void tick(void) {
    event(WORKER_TICK);
}

static void flush(void) {
    event(WORKER_FLUSH);
}

static uint64_t deadline(void) {
    return worker_deadline(world.core);
}

static const struct fuzz_near_end near_end = {
    .role = WIRE_WORKER,
    .function_count = 3,
    .batches = {WIRE_RUN, WIRE_RUN, WIRE_RUN, WIRE_RUN, WIRE_RECALL, WIRE_INTERRUPT, WIRE_RUN,
                WIRE_CREDIT},
    .rejected = WIRE_RESULTS,
    .receive = receive,
    .hear = hear,
    .forget = forget_said,
    .note = note,
    .make_batch = make_batch,
    .tick = tick,
    .flush = flush,
    .deadline = deadline,
};

/* ------------------------------------------------------------------ scripts */

static void play(struct fuzz_input *in, uint8_t what, uint8_t how) {
    if (fuzz_far_play(&world.far, in, what, how)) {
        return;
    }
    switch (what % 8) {
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
    default:
        event(how == 0xff ? WORKER_DRAIN : how >= 0xf0 ? WORKER_RECONNECTED : WORKER_FLUSH);
        break;
    }
}

/* From now on the broker is sane, and new: everything gets its answer, and the worker leaves. */
static void good_end(void) {
    static const uint8_t nothing[1];
    struct fuzz_input in = {nothing, nothing};

    fuzz_far_mend(&world.far);
    event(WORKER_DRAIN);
    for (uint32_t round = 0; !world.far.ended && round < 200; round++) {
        while (world.pool_count > 0 && !world.far.ended) {
            pool_begin(0);
            pool_finish(0, 0);
        }
        event(WORKER_FLUSH);
        if (world.far.hello_came) {
            fuzz_far_welcome(&world.far, &in, 1);
        } else if (world.far.known) {
            fuzz_far_post(&world.far, wire_heartbeat_encode(world.far.link.sent));
        }
        fuzz_far_pass(&world.far, 200 * FUZZ_MS);
    }
    BASE_ASSERT(world.far.ended);
}

static void world_init(uint8_t how) {
    static const char *const functions[] = {"zero", "one", "two"};
    static const char *const tags[] = {"gpu"};

    memset(&world, 0, sizeof world);
    fuzz_far_init(&world.far, &near_end);
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
    world.core = worker_core_new(&world.config, world.far.now_ns);
    BASE_ASSERT(world.core != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input in = {data, data + (size < FUZZ_SCRIPT_MAX ? size : FUZZ_SCRIPT_MAX)};

    world_init(fuzz_byte(&in));
    if (world.config.await_transport) {
        event(WORKER_RECONNECTED);
    }
    event(WORKER_TICK);
    while (fuzz_more(&in) && !world.far.ended) {
        uint8_t what = fuzz_byte(&in);

        play(&in, what, fuzz_byte(&in));
    }
    if (!world.far.ended) {
        good_end();
    }
    worker_core_free(world.core);
    fuzz_far_fini(&world.far);
    return 0;
}
