#include "worker_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/buffer.h"

static const char *const functions[] = {"zero", "one", "two"};
static const char *const tags[] = {"gpu"};

int world_make(void **state) {
    struct world *world = calloc(1, sizeof *world);

    if (world == NULL) {
        return -1;
    }
    world->now_ns = 1000 * WORLD_MS;
    world->epoch = 77;
    world->config = (struct worker_config){
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
    };
    *state = world;
    return 0;
}

int world_free(void **state) {
    struct world *world = *state;

    for (uint32_t i = 0; i < world->sent_count; i++) {
        wire_message_unref(world->sent[i]);
    }
    worker_core_free(world->core);
    link_fini(&world->link);
    free(world);
    return 0;
}

void world_begin(struct world *world) {
    world->core = worker_core_new(&world->config, world->now_ns);
    assert_non_null(world->core);
    link_init(&world->link, world->now_ns, 0, 0);
}

/* ---- steps ---- */

static uint32_t index_of(const struct world *world, const struct worker_task *task) {
    for (uint32_t i = 0; i < world->started_count; i++) {
        if (world->started[i] == task) {
            return i;
        }
    }
    fail_msg("the core speaks of a task that was not started");
    return 0;
}

static void start(struct world *world, struct worker_task *task, bool ahead) {
    assert_true(world->started_count < WORLD_TASKS);
    for (size_t w = 0; w < sizeof task->shell / sizeof task->shell[0]; w++) {
        assert_true(task->shell[w] == 0);
    }
    world->running[world->started_count] = false;
    world->ahead[world->started_count] = ahead;
    world->started[world->started_count++] = task;
}

static void carry_out(struct world *world, const struct worker_action *action) {
    struct worker_event answer = {.type = WORKER_WITHDRAWN};
    uint32_t i;

    switch (action->type) {
    case WORKER_SEND:
        if (world->deaf) {
            wire_message_unref(action->message);
        } else {
            assert_true(world->sent_count < WORLD_MESSAGES);
            world->sent[world->sent_count++] = action->message;
        }
        break;
    case WORKER_START:
        for (i = 0; i < action->count; i++) {
            start(world, action->tasks[i], action->ahead);
        }
        break;
    case WORKER_WITHDRAW:
        i = index_of(world, action->task);
        answer.task = action->task;
        answer.withdrawn = !world->running[i];
        if (answer.withdrawn) {
            world->started[i] = NULL;
        }
        world_step(world, &answer);
        break;
    case WORKER_INTERRUPT:
        (void)index_of(world, action->task);
        assert_true(world->interrupted_count < 16);
        world->interrupted[world->interrupted_count++] = action->task;
        break;
    case WORKER_RECONNECT:
        world->reconnects++;
        break;
    case WORKER_KILL:
        world->kills++;
        assert_non_null(action->text);
        break;
    case WORKER_LEAVE:
        world->leaves++;
        world->left = true;
        (void)snprintf(world->left_text, sizeof world->left_text, "%s",
                       action->text == NULL ? "" : action->text);
        break;
    case WORKER_RETIRING:
        world->retiring++;
        break;
    case WORKER_LOG:
        world->warnings += action->warn;
        (void)snprintf(world->warning, sizeof world->warning, "%s", action->text);
        break;
    }
}

void world_step(struct world *world, const struct worker_event *event) {
    const struct worker_action *actions;
    struct worker_action *copy;
    size_t count;

    worker_step(world->core, world->now_ns, event);
    actions = worker_actions(world->core, &count);
    copy = test_malloc((count + 1) * sizeof *copy);
    memcpy(copy, actions, count * sizeof *copy);
    for (size_t i = 0; i < count; i++) {
        carry_out(world, &copy[i]);
    }
    test_free(copy);
}

void world_event(struct world *world, enum worker_event_type type) {
    struct worker_event event = {.type = type};

    world_step(world, &event);
}

void world_flush(struct world *world) {
    world_event(world, WORKER_FLUSH);
}

void world_pass(struct world *world, uint64_t ns) {
    uint64_t until_ns = world->now_ns + ns;
    int steps = 0;

    while (worker_deadline(world->core) <= until_ns) {
        uint64_t deadline_ns = worker_deadline(world->core);

        if (deadline_ns > world->now_ns) {
            world->now_ns = deadline_ns;
        }
        world_event(world, WORKER_TICK);
        world_flush(world);
        assert_true(++steps < 1000); /* a deadline that stays in the past */
    }
    world->now_ns = until_ns;
}

/* ---- the broker ---- */

void world_deliver(struct world *world, struct wire_message *message) {
    struct worker_event event = {.type = WORKER_RECEIVE, .message = message};

    assert_non_null(message);
    world_step(world, &event);
    wire_message_unref(message);
}

void world_post(struct world *world, struct wire_message *message) {
    assert_non_null(message);
    assert_true(link_post(&world->link, world->now_ns, message));
    world_deliver(world, message);
}

void world_welcome(struct world *world, bool resumed, uint64_t received) {
    struct wire_welcome welcome = {
        .version = 1,
        .epoch = world->epoch,
        .resumed = resumed,
        .received = received,
        .heartbeat_ms = 1000,
        .silence_ms = 10000,
        .payload_max = world->payload_max == 0 ? WIRE_PAYLOAD_BYTES_MAX : world->payload_max,
    };

    world_deliver(world, wire_welcome_encode(&welcome));
}

void world_connect(struct world *world) {
    world_event(world, WORKER_TICK);
    wire_message_unref(world_take(world, WIRE_HELLO));
    link_reset(&world->link, world->now_ns);
    world_welcome(world, false, world->link.base);
    world_flush(world);
    world_expect(world, WIRE_CLAIMS, 0);
    world_nothing(world);
}

static struct wire_message *run_message(uint64_t lease, uint32_t count, const uint64_t *key) {
    struct wire_writer *writer = wire_writer_new(WIRE_RUN);
    struct wire_message *message;

    assert_non_null(writer);
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t entry[] = {lease + i, lease + i + 1000, 1};
        uint8_t argument[9] = {0xcf};

        for (int byte = 0; byte < 8; byte++) {
            argument[1 + byte] = (uint8_t)((lease + i) >> (8 * (7 - byte)));
        }
        assert_int_equal(wire_writer_put(writer, key, entry, argument, sizeof argument, NULL),
                         WIRE_PUT_OK);
    }
    message = wire_writer_finish(writer, NULL);
    wire_writer_free(writer);
    return message;
}

struct wire_message *world_run_message(uint64_t lease, uint32_t count, uint32_t function,
                                       uint64_t run_ms) {
    const uint64_t key[] = {function, 0, run_ms, 8, 9};

    return run_message(lease, count, key);
}

void world_run_of(struct world *world, uint64_t client, uint64_t lease, uint32_t count) {
    const uint64_t key[] = {0, 0, 0, 8, client};

    world_post(world, run_message(lease, count, key));
}

void world_run(struct world *world, uint64_t lease, uint32_t count) {
    world_post(world, world_run_message(lease, count, 0, 0));
}

void world_batch(struct world *world, enum wire_type type, uint64_t extra, const uint64_t *leases,
                 uint32_t count) {
    struct wire_writer *writer = wire_writer_new(type);
    const uint64_t no_key = 0;

    assert_non_null(writer);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(wire_writer_put(writer, &no_key, &leases[i], NULL, 0, NULL), WIRE_PUT_OK);
    }
    world_post(world, wire_writer_finish(writer, &extra));
    wire_writer_free(writer);
}

static unsigned first_type(const struct world *world) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    assert_true(world->sent_count > 0 && wire_open(world->sent[0], &envelope, &fault));
    return envelope.type;
}

static struct wire_message *take_first(struct world *world) {
    struct wire_message *message = world->sent[0];

    world->sent_count--;
    memmove(world->sent, world->sent + 1, world->sent_count * sizeof world->sent[0]);
    return message;
}

static void skip_heartbeats(struct world *world) {
    while (world->sent_count > 0 && first_type(world) == WIRE_HEARTBEAT) {
        wire_message_unref(take_first(world));
    }
}

struct wire_message *world_take(struct world *world, enum wire_type type) {
    struct wire_envelope envelope;
    struct wire_message *message;
    struct wire_fault fault;

    if (type != WIRE_HEARTBEAT) {
        skip_heartbeats(world);
    }
    if (world->sent_count == 0) {
        fail_msg("the worker sent nothing instead of %s", wire_type_name(type));
    }
    message = take_first(world);
    assert_true(wire_open(message, &envelope, &fault));
    if (envelope.type != (unsigned)type) {
        fail_msg("the worker sent %s instead of %s", wire_type_name(envelope.type),
                 wire_type_name(type));
    }
    if (envelope.type >= WIRE_FIRST_SEQUENCED) {
        assert_int_equal(
            link_accept(&world->link, world->now_ns, &envelope, wire_message_bytes(message)),
            LINK_DELIVER);
    }
    return message;
}

void world_nothing(struct world *world) {
    skip_heartbeats(world);
    if (world->sent_count > 0) {
        fail_msg("the worker sent %s instead of nothing", wire_type_name(first_type(world)));
    }
}

void world_acknowledge(struct world *world) {
    struct wire_message *heartbeat = wire_heartbeat_encode(world->link.sent);

    link_mark(&world->link, world->now_ns, heartbeat);
    world_deliver(world, heartbeat);
    world_flush(world);
}

uint32_t world_take_batch(struct world *world, enum wire_type type, struct world_entry *entries,
                          uint32_t room) {
    struct wire_message *message = world_take(world, type);
    struct wire_fault fault = {0};
    struct wire_batch batch;
    struct wire_entry entry;
    uint32_t count = 0;

    if (!wire_batch_open(&batch, message, &fault)) {
        fail_msg("%s: %s", wire_type_name(type), fault.text);
    }
    while (wire_batch_next(&batch, &entry)) {
        assert_true(count < room);
        entries[count++] = (struct world_entry){
            batch.shape->key > 0 ? entry.key[0] : 0,
            entry.values[0],
        };
    }
    wire_message_unref(message);
    return count;
}

void world_expect(struct world *world, enum wire_type type, uint32_t count, ...) {
    static struct world_entry entries[WIRE_BATCH_ENTRIES_MAX];
    uint32_t got = world_take_batch(world, type, entries, WIRE_BATCH_ENTRIES_MAX);
    va_list arguments;

    assert_int_equal(got, count);
    va_start(arguments, count);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t key = va_arg(arguments, uint64_t);
        uint64_t lease = va_arg(arguments, uint64_t);

        assert_int_equal(entries[i].key, key);
        assert_int_equal(entries[i].lease, lease);
    }
    va_end(arguments);
}

/* ---- the pool ---- */

static uint32_t index_of_lease(struct world *world, uint64_t lease) {
    for (uint32_t i = 0; i < world->started_count; i++) {
        if (world->started[i] != NULL && world->started[i]->lease == lease) {
            return i;
        }
    }
    fail_msg("lease %u is not with the pool", (unsigned)lease);
    return 0;
}

struct worker_task *world_task(struct world *world, uint64_t lease) {
    return world->started[index_of_lease(world, lease)];
}

void world_finish_with(struct world *world, uint64_t lease, struct worker_outcome *outcome) {
    uint32_t i = index_of_lease(world, lease);

    outcome->task = world->started[i];
    world->started[i] = NULL; /* the step frees it */
    world_step(world,
               &(struct worker_event){
                   .type = WORKER_FINISHED, .outcomes = outcome, .count = 1, .busy_ns = 100});
}

void world_finish(struct world *world, uint64_t lease, enum wire_kind kind) {
    struct wire_error error = {.code = 3, .message = {"bad", 3}};
    const struct worker_task *task = world_task(world, lease);
    struct worker_outcome outcome = {.kind = kind, .data = task->data, .size = task->size};
    struct base_buffer buffer;

    base_buffer_init(&buffer);
    if (kind != WIRE_KIND_VALUE) {
        assert_true(wire_error_encode(&error, &buffer));
        outcome.data = buffer.data;
        outcome.size = buffer.size;
    }
    world_finish_with(world, lease, &outcome);
    base_buffer_fini(&buffer);
}

void world_started(struct world *world, uint64_t lease) {
    world->running[index_of_lease(world, lease)] = true;
}

void world_began(struct world *world, uint64_t lease) {
    struct worker_event event = {
        .type = WORKER_BEGAN,
        .task = world_task(world, lease),
        .busy_ns = 5 * WORLD_MS,
    };

    world_started(world, lease);
    world_step(world, &event);
}
