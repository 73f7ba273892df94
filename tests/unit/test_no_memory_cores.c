/* The cores of a client, a broker and a worker joined in one thread and in virtual time, while one
 * allocation after the other fails: whatever was accepted gets its value, once, and nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker/core.h"
#include "libclient/core.h"
#include "tests/unit/fail_alloc.h"
#include "worker/core.h"

#define MS     UINT64_C(1000000)
#define SECOND (1000 * MS)

enum {
    TASKS = 60,
    LARGE_EVERY = 20,
    LARGE_BYTES = 70000,
    CANCELLED_FROM = 50, /* the last ones are cancelled, if that is not too late */
    TASKS_MAX = 4096,
    QUEUE_MAX = 4096,
    VIRTUAL_S = 120,
};

enum place { CLIENT = 1, WORKER = 2, BROKER = 3 };

struct parcel {
    enum place from, to;
    struct wire_message *message;
};

struct test_task {
    struct client_task task;
    uint64_t number;
    unsigned resolved;
    bool cancelled;
};

static struct {
    uint64_t now_ns, epoch;
    struct client_core *client;
    struct broker_core *broker;
    struct worker_core *worker;
    struct parcel queue[QUEUE_MAX];
    uint32_t queue_at, queue_count;
    struct worker_task *waiting[TASKS_MAX];
    uint32_t waiting_count;
    struct test_task tasks[TASKS];
    uint32_t submitted, done;
    unsigned wrong, failed;
} w;

static uint8_t large_bytes[LARGE_BYTES];

/* ---------------------------------------------------------------- the network */

/* Without memory a message is lost, as in the real transport. Takes the reference. */
static void post(enum place from, enum place to, struct wire_message *message) {
    struct wire_blob *frames[WIRE_FRAMES_MAX];
    struct wire_message *copy;

    for (uint32_t i = 0; i < message->frame_count; i++) {
        frames[i] = wire_blob_ref(message->frames[i]);
    }
    copy = wire_message_new(frames, message->frame_count);
    if (copy == NULL || w.queue_count == QUEUE_MAX) {
        for (uint32_t i = 0; copy == NULL && i < message->frame_count; i++) {
            wire_blob_unref(frames[i]);
        }
        wire_message_unref(copy);
    } else {
        w.queue[(w.queue_at + w.queue_count++) % QUEUE_MAX] = (struct parcel){from, to, copy};
    }
    wire_message_unref(message);
}

static void drop_queue(void) {
    while (w.queue_count > 0) {
        wire_message_unref(w.queue[w.queue_at].message);
        w.queue_at = (w.queue_at + 1) % QUEUE_MAX;
        w.queue_count--;
    }
}

/* ------------------------------------------------------------------ the client */

/* A task may fail for lack of memory, if it says so. */
static void note_failure(const struct client_action *action) {
    struct wire_error error;

    w.failed++;
    if (!wire_error_decode(action->data, action->size, &error) ||
        memmem(error.message.data, error.message.size, "memory", strlen("memory")) == NULL) {
        w.wrong++;
    }
}

static void resolved(const struct client_action *action) {
    struct test_task *task = BASE_CONTAINER_OF(action->task, struct test_task, task);

    task->resolved++;
    w.done++;
    if (action->kind != WIRE_KIND_VALUE) {
        note_failure(action);
    } else if (action->size != sizeof task->number ||
               memcmp(action->data, &task->number, sizeof task->number) != 0) {
        w.wrong++;
    }
}

static void step_client(const struct client_event *event) {
    const struct client_action *actions;
    size_t count;

    client_step(w.client, w.now_ns, event);
    actions = client_actions(w.client, &count);
    for (size_t i = 0; i < count; i++) {
        switch (actions[i].type) {
        case CLIENT_SEND:
            post(CLIENT, BROKER, actions[i].message);
            break;
        case CLIENT_RESOLVE:
            resolved(&actions[i]);
            break;
        case CLIENT_VERDICT:
            if (actions[i].yes) {
                BASE_CONTAINER_OF(actions[i].task, struct test_task, task)->cancelled = true;
                w.done++;
            }
            break;
        case CLIENT_BEGAN:
        case CLIENT_RECONNECT:
        case CLIENT_REFUSED:
        case CLIENT_CONNECTED:
        case CLIENT_LEFT:
        case CLIENT_LOG:
            break;
        }
    }
}

/* ------------------------------------------------------------------ the worker */

/* Answers WITHDRAW: only what still waits can be had back. */
static void step_worker(const struct worker_event *event);

static bool take_waiting(const struct worker_task *task) {
    for (uint32_t i = 0; i < w.waiting_count; i++) {
        if (w.waiting[i] == task) {
            w.waiting[i] = w.waiting[--w.waiting_count];
            return true;
        }
    }
    return false;
}

static void step_worker(const struct worker_event *event) {
    struct worker_task *withdrawn[TASKS_MAX];
    const struct worker_action *actions;
    size_t count, withdrawals = 0;

    worker_step(w.worker, w.now_ns, event);
    actions = worker_actions(w.worker, &count);
    for (size_t i = 0; i < count; i++) {
        switch (actions[i].type) {
        case WORKER_SEND:
            post(WORKER, BROKER, actions[i].message);
            break;
        case WORKER_START:
            for (uint32_t k = 0; k < actions[i].count; k++) {
                assert_true(w.waiting_count < TASKS_MAX);
                w.waiting[w.waiting_count++] = actions[i].tasks[k];
            }
            break;
        case WORKER_WITHDRAW:
            withdrawn[withdrawals++] = actions[i].task;
            break;
        case WORKER_INTERRUPT:
        case WORKER_RECONNECT:
        case WORKER_KILL:
        case WORKER_LEAVE:
        case WORKER_RETIRING:
        case WORKER_LOG:
            break;
        }
    }
    for (size_t i = 0; i < withdrawals; i++) {
        bool back = take_waiting(withdrawn[i]);

        step_worker(&(struct worker_event){
            .type = WORKER_WITHDRAWN, .task = withdrawn[i], .withdrawn = back});
    }
}

/* Runs one task: its value is the number that its arguments begin with. */
static void run_one(void) {
    struct worker_task *task = w.waiting[0];
    uint64_t number = 0;

    w.waiting[0] = w.waiting[--w.waiting_count];
    memcpy(&number, task->data, sizeof number);
    step_worker(&(struct worker_event){
        .type = WORKER_FINISHED,
        .outcomes =
            &(struct worker_outcome){
                .task = task, .kind = WIRE_KIND_VALUE, .data = &number, .size = sizeof number},
        .count = 1,
        .busy_ns = MS,
    });
}

/* ------------------------------------------------------------------ the broker */

static void step_broker(const struct broker_event *event) {
    const struct broker_action *actions;
    size_t count;

    broker_step(w.broker, w.now_ns, event);
    actions = broker_actions(w.broker, &count);
    for (size_t i = 0; i < count; i++) {
        switch (actions[i].type) {
        case BROKER_SEND:
            post(BROKER, actions[i].to == CLIENT ? CLIENT : WORKER, actions[i].message);
            break;
        case BROKER_FORGET:
        case BROKER_LOG:
        case BROKER_DRAINED:
            break;
        }
    }
}

static void start_broker(void) {
    struct broker_config config = {0};

    broker_config_default(&config);
    config.epoch = ++w.epoch;
    config.seed = 1;
    config.host = "broker-host";
    config.pid = 1;
    w.broker = broker_new(&config, w.now_ns);
}

/* ------------------------------------------------------------------- the world */

static void deliver(void) {
    while (w.queue_count > 0) {
        struct parcel parcel = w.queue[w.queue_at];

        w.queue_at = (w.queue_at + 1) % QUEUE_MAX;
        w.queue_count--;
        if (parcel.to == CLIENT) {
            step_client(&(struct client_event){.type = CLIENT_RECEIVE, .message = parcel.message});
        } else if (parcel.to == WORKER) {
            step_worker(&(struct worker_event){.type = WORKER_RECEIVE, .message = parcel.message});
        } else if (w.broker != NULL) {
            step_broker(&(struct broker_event){
                .type = BROKER_RECEIVE, .from = parcel.from, .message = parcel.message});
        }
        wire_message_unref(parcel.message);
    }
}

static void pass_1ms(void) {
    w.now_ns += MS;
    if (w.broker == NULL) {
        start_broker();
    }
    deliver();
    if (w.waiting_count > 0) {
        run_one();
    }
    if (client_deadline(w.client) <= w.now_ns) {
        step_client(&(struct client_event){.type = CLIENT_TICK});
    }
    if (worker_deadline(w.worker) <= w.now_ns) {
        step_worker(&(struct worker_event){.type = WORKER_TICK});
    }
    if (w.broker != NULL && broker_deadline(w.broker) <= w.now_ns) {
        step_broker(&(struct broker_event){.type = BROKER_TICK});
    }
    step_client(&(struct client_event){.type = CLIENT_FLUSH});
    step_worker(&(struct worker_event){.type = WORKER_FLUSH});
    if (w.broker != NULL) {
        step_broker(&(struct broker_event){.type = BROKER_FLUSH});
    }
}

static bool make_world(void) {
    static const char *const functions[] = {"work"};
    struct client_config client = {.session = {1, 1}, .seed = 1, .name = "c", .host = "h"};
    struct worker_config worker = {.session = {2, 2},
                                   .seed = 2,
                                   .slots = 1,
                                   .name = "w",
                                   .host = "h",
                                   .functions = functions,
                                   .function_count = 1};

    memset(&w, 0, sizeof w);
    w.now_ns = 100 * SECOND;
    w.client = client_core_new(&client, w.now_ns);
    w.worker = worker_core_new(&worker, w.now_ns);
    start_broker();
    return w.client != NULL && w.worker != NULL;
}

static void free_world(void) {
    static uint8_t none[1];

    drop_queue();
    if (w.client != NULL) {
        step_client(&(struct client_event){
            .type = CLIENT_BREAK, .kind = WIRE_KIND_BROKEN, .data = none, .size = 0});
    }
    drop_queue();
    client_core_free(w.client);
    worker_core_free(w.worker);
    broker_free(w.broker);
}

static void make_task(struct test_task *task, uint64_t number, int64_t class_index) {
    bool large = number % LARGE_EVERY == 0;

    memset(task, 0, sizeof *task);
    task->number = number;
    task->task.class_index = (uint32_t)class_index;
    task->task.data = (const uint8_t *)&task->number;
    task->task.size = sizeof task->number;
    if (large) {
        memcpy(large_bytes, &number, sizeof number);
        task->task.large = wire_blob_copy(large_bytes, sizeof large_bytes);
        if (task->task.large != NULL) {
            task->task.data = task->task.large->data;
            task->task.size = sizeof large_bytes;
        }
    }
}

/* In several waves, so that a failure may come at any of them. False: refused, with a clear answer. */
static bool submit(uint32_t from, uint32_t to) {
    static const char name[] = "work";
    struct wire_define define = {.function = {name, sizeof name - 1}, .max_attempts = 3};
    int64_t class_index = client_class_intern(w.client, &define);

    if (class_index < 0) {
        assert_int_equal(class_index, -1);
        return false;
    }
    for (uint32_t i = from; i < to; i++) {
        make_task(&w.tasks[i], i, class_index);
        step_client(&(struct client_event){.type = CLIENT_SUBMIT, .task = &w.tasks[i].task});
        w.submitted++;
    }
    return true;
}

static void cancel_last(void) {
    for (uint32_t i = CANCELLED_FROM; i < TASKS; i++) {
        struct test_task *task = &w.tasks[i];

        if (task->resolved == 0 && !task->cancelled) {
            step_client(&(struct client_event){.type = CLIENT_CANCEL, .task = &task->task});
        }
    }
}

static void run_for(uint64_t ms) {
    for (uint64_t i = 0; i < ms; i++) {
        pass_1ms();
    }
}

static void kill_broker(void) {
    broker_free(w.broker);
    w.broker = NULL;
}

/* The whole story; `relieve` is called when memory is to be there again. */
static void play(void (*relieve)(void)) {
    static const uint32_t waves[] = {0, 5, 30, TASKS};
    uint64_t until;

    memset(&w, 0, sizeof w);
    if (!make_world()) {
        relieve();
        free_world();
        return;
    }
    for (size_t i = 0; i + 1 < sizeof waves / sizeof waves[0]; i++) {
        if (!submit(waves[i], waves[i + 1])) {
            relieve();
            assert_true(submit(waves[i], waves[i + 1]));
        }
        if (i == 2) {
            cancel_last();
            run_for(5);
            kill_broker();
        }
        run_for(10);
    }
    run_for(500);
    relieve();
    until = w.now_ns + VIRTUAL_S * SECOND;
    while (w.done < w.submitted && w.now_ns < until) {
        pass_1ms();
    }
    for (uint32_t i = 0; i < TASKS; i++) {
        assert_int_equal(w.tasks[i].resolved + w.tasks[i].cancelled, 1);
    }
    assert_int_equal(w.wrong, 0);
    free_world();
    for (uint32_t i = 0; i < TASKS; i++) {
        wire_blob_unref(w.tasks[i].task.large);
    }
}

static void relieve(void) {
    fail_alloc_never();
}

/* sweep plays the story again and again, each time with a later failure, until there is none. */
static void sweep(void (*fail_from)(long), long step, unsigned failed_max) {
    long count = 0;
    bool more = true;
    unsigned most_failed = 0;

    for (; more; count += step) {
        fail_from(count);
        play(relieve);
        more = fail_alloc_failed();
        most_failed = w.failed > most_failed ? w.failed : most_failed;
        if (w.failed > failed_max) {
            fail_msg("allocation %ld: %u tasks failed", count, w.failed);
        }
    }
    print_message("%ld allocations, at most %u tasks failed\n", count / step, most_failed);
    assert_true(count > 200);
}

static void without_failures_every_task_gets_its_value(void **state) {
    (void)state;
    fail_alloc_never();
    play(relieve);
    assert_int_equal(w.failed, 0);
}

static void every_allocation_may_fail_once(void **state) {
    (void)state;
    sweep(fail_alloc_only, 1, 1);
}

static void memory_may_be_gone_for_a_while(void **state) {
    (void)state;
    sweep(fail_alloc_after, 7, TASKS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_failures_every_task_gets_its_value),
        cmocka_unit_test(every_allocation_may_fail_once),
        cmocka_unit_test(memory_may_be_gone_for_a_while),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
