#include "client_world.h"

/* Messages a step. */
#define SENDS_MAX 64

/* ---------------------------------------------------------------- the broker */

void to_client(struct world *w, struct wire_message *message) {
    assert_non_null(message);
    step(w, &(struct client_event){.type = CLIENT_RECEIVE, .message = message});
    wire_message_unref(message);
}

void post(struct world *w, struct wire_message *message) {
    assert_non_null(message);
    assert_true(link_post(&w->link, w->now_ns, message));
    to_client(w, message);
}

struct wire_message *batch_of(enum wire_type type, const uint64_t *extra, uint64_t key,
                              const uint64_t *ids, uint32_t count, const char *data) {
    struct wire_writer *writer = wire_writer_new(type);
    struct wire_message *message;

    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(
            wire_writer_put(writer, &key, &ids[i], data, data == NULL ? 0 : strlen(data), NULL),
            WIRE_PUT_OK);
    }
    message = wire_writer_finish(writer, extra);
    wire_writer_free(writer);
    return message;
}

void credit(struct world *w, uint64_t tasks, uint64_t bytes) {
    const uint64_t extra[] = {tasks, bytes};

    post(w, batch_of(WIRE_CREDIT, extra, 0, NULL, 0, NULL));
}

void outcome(struct world *w, uint64_t id, enum wire_kind kind, const char *data) {
    const uint64_t extra[] = {w->granted_tasks, w->granted_bytes};

    post(w, batch_of(WIRE_OUTCOMES, extra, kind, &id, 1, data));
}

void verdict(struct world *w, uint64_t id, bool yes) {
    post(w, batch_of(WIRE_VERDICTS, NULL, yes, &id, 1, NULL));
}

static void welcome(struct world *w, bool resumed, uint64_t received) {
    const struct wire_welcome message = {
        .version = 1,
        .epoch = w->epoch,
        .resumed = resumed,
        .received = received,
        .heartbeat_ms = 1000,
        .silence_ms = 10000,
        .payload_max = WIRE_PAYLOAD_BYTES_MAX,
    };

    to_client(w, wire_welcome_encode(&message));
}

static void broker_hello(struct world *w, const struct wire_message *message) {
    struct wire_hello hello;
    struct wire_fault fault;
    uint32_t count;

    assert_true(wire_hello_decode(message, &hello, &fault));
    assert_int_equal(hello.role, WIRE_CLIENT);
    w->hellos++;
    if (w->known && hello.epoch == w->epoch &&
        link_resend_from(&w->link, w->now_ns, hello.received, &count)) {
        welcome(w, true, w->link.received);
        for (uint32_t i = 0; i < count; i++) {
            to_client(w, wire_message_ref(link_kept_at(&w->link, i)));
        }
    } else {
        link_reset(&w->link, w->now_ns);
        w->known = true;
        welcome(w, false, w->link.base);
        if (w->granted_tasks > 0) {
            credit(w, w->granted_tasks, w->granted_bytes);
        }
    }
    wire_hello_fini(&hello);
}

static void broker_batch(struct world *w, const struct wire_message *message, uint32_t type) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    assert_true(wire_batch_open(&batch, message, &fault));
    while (wire_batch_next(&batch, &entry)) {
        if (type == WIRE_CANCEL) {
            w->cancelled[w->cancels++] = entry.values[0];
            continue;
        }
        struct submitted *got = &w->submits[w->submit_count++];
        *got = (struct submitted){entry.values[0], entry.key[0], entry.key[1], entry.key[2], 0,
                                  entry.size};
        memcpy(&got->data, entry.data, entry.size < 8 ? entry.size : 8);
    }
}

static void broker_receive(struct world *w, struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;

    assert_true(wire_open(message, &envelope, &fault));
    if (w->deaf) {
        return;
    }
    if (envelope.type == WIRE_HELLO) {
        broker_hello(w, message);
        return;
    }
    if (!w->known) {
        to_client(w, wire_plain_encode(WIRE_UNKNOWN));
        return;
    }
    if (link_accept(&w->link, w->now_ns, &envelope, wire_message_bytes(message)) != LINK_DELIVER) {
        return;
    }
    switch (envelope.type) {
    case WIRE_DEFINE:
        w->defines++;
        break;
    case WIRE_SUBMIT:
    case WIRE_CANCEL:
        broker_batch(w, message, envelope.type);
        break;
    case WIRE_HEARTBEAT:
        w->heartbeats++;
        break;
    case WIRE_REJECT:
        w->rejects++;
        break;
    case WIRE_BYE:
        w->byes++;
        break;
    default:
        fail_msg("the client sent %s", wire_type_name(envelope.type));
    }
}

/* ---------------------------------------------------------------- the client */

static void note_outcome(struct test_task *task, const struct client_action *action) {
    struct wire_error error;

    task->resolved++;
    task->last = RESOLVED;
    task->kind = action->kind;
    task->text[0] = '\0';
    if (action->kind == WIRE_KIND_VALUE) {
        (void)snprintf(task->text, sizeof task->text, "%.*s", (int)action->size,
                       (const char *)action->data);
    } else if (wire_error_decode(action->data, action->size, &error)) {
        (void)snprintf(task->text, sizeof task->text, "%.*s", (int)error.message.size,
                       error.message.data);
    }
}

static void carry_out(struct world *w, const struct client_action *action) {
    struct test_task *task = (struct test_task *)action->task;

    switch (action->type) {
    case CLIENT_SEND:
        break;
    case CLIENT_RESOLVE:
        for (struct client_task *at = action->task; at != NULL;
             at = action->chain ? at->next : NULL) {
            note_outcome((struct test_task *)at, action);
        }
        break;
    case CLIENT_BEGAN:
        task->began++;
        break;
    case CLIENT_VERDICT:
        for (struct client_task *at = action->task; at != NULL;
             at = action->chain ? at->next : NULL) {
            ((struct test_task *)at)->verdicts++;
            ((struct test_task *)at)->last = action->yes ? VERDICT_YES : VERDICT_NO;
        }
        break;
    case CLIENT_RECONNECT:
        w->reconnects++;
        break;
    case CLIENT_REFUSED:
        w->refused++;
        (void)snprintf(w->refusal, sizeof w->refusal, "%s", action->text);
        break;
    case CLIENT_CONNECTED:
        w->connected++;
        w->connected_anew += action->yes;
        break;
    case CLIENT_LEFT:
        w->left++;
        break;
    case CLIENT_LOG:
        assert_non_null(action->text);
        w->logs++;
        break;
    }
}

/* One step; what it sends reaches the broker after it, in order. */
void step(struct world *w, const struct client_event *event) {
    struct wire_message *sent[SENDS_MAX];
    size_t count, sends = 0;
    const struct client_action *actions;

    client_step(w->core, w->now_ns, event);
    actions = client_actions(w->core, &count);
    for (size_t i = 0; i < count; i++) {
        carry_out(w, &actions[i]);
        if (actions[i].type == CLIENT_SEND) {
            assert_true(sends < SENDS_MAX);
            sent[sends++] = actions[i].message;
        }
    }
    for (size_t i = 0; i < sends; i++) {
        broker_receive(w, sent[i]);
        wire_message_unref(sent[i]);
    }
}

void flush(struct world *w) {
    step(w, &(struct client_event){.type = CLIENT_FLUSH});
}

void run_until(struct world *w, uint64_t until_ns) {
    uint64_t deadline_ns;

    flush(w);
    while ((deadline_ns = client_deadline(w->core)) <= until_ns) {
        if (deadline_ns > w->now_ns) {
            w->now_ns = deadline_ns;
        }
        step(w, &(struct client_event){.type = CLIENT_TICK});
        flush(w);
    }
    w->now_ns = until_ns;
}

uint32_t class_of(struct world *w, const char *function, uint64_t queue_ms) {
    const struct wire_define define = {
        .function = {function, strlen(function)},
        .max_attempts = 3,
        .queue_ms = queue_ms,
    };
    int64_t index = client_class_intern(w->core, &define);

    assert_true(index >= 0);
    return (uint32_t)index;
}

struct client_task *task_at(struct world *w, uint32_t i) {
    return &w->tasks[i].task;
}

struct client_task *prepare(struct world *w, uint32_t i, uint32_t class_index) {
    struct test_task *task = &w->tasks[i];

    task->task = (struct client_task){.data = task->data, .size = 8, .class_index = class_index};
    memcpy(task->data, &(uint64_t){i}, 8);
    return &task->task;
}

/* Submits the tasks first to first + count - 1 as one chain. */
void submit_class(struct world *w, uint32_t first, uint32_t count, uint32_t class_index) {
    for (uint32_t i = first; i < first + count; i++) {
        (void)prepare(w, i, class_index);
    }
    for (uint32_t i = first; i + 1 < first + count; i++) {
        task_at(w, i)->next = task_at(w, i + 1);
    }
    step(w, &(struct client_event){.type = CLIENT_SUBMIT, .task = task_at(w, first)});
}

void submit(struct world *w, uint32_t first, uint32_t count) {
    submit_class(w, first, count, class_of(w, "f", 0));
}

void cancel(struct world *w, uint32_t i) {
    step(w, &(struct client_event){.type = CLIENT_CANCEL, .task = task_at(w, i)});
}

void give_up(struct world *w) {
    step(w, &(struct client_event){.type = CLIENT_BREAK, .kind = WIRE_KIND_BROKEN});
}

struct client_stats stats_of(struct world *w) {
    struct client_stats stats;

    client_get_stats(w->core, &stats);
    return stats;
}

struct world *world_new(uint64_t granted_tasks, uint64_t granted_bytes) {
    const struct client_config config = {
        .session = {1, 2}, .seed = 7, .name = "test", .host = "here", .pid = 42};
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    w->now_ns = START;
    w->epoch = 5;
    w->granted_tasks = granted_tasks;
    w->granted_bytes = granted_bytes;
    w->tasks = calloc(TASKS, sizeof *w->tasks);
    w->submits = calloc(SUBMITS, sizeof *w->submits);
    link_init(&w->link, START, SECOND, 10 * SECOND);
    w->core = client_core_new(&config, START);
    assert_non_null(w->core);
    return w;
}

struct world *connected_world(uint64_t granted_tasks, uint64_t granted_bytes) {
    struct world *w = world_new(granted_tasks, granted_bytes);

    run_until(w, START + MS);
    assert_true(stats_of(w).connected);
    return w;
}

void world_free(struct world *w) {
    if (stats_of(w).waiting + stats_of(w).sent > 0) {
        give_up(w);
    }
    client_core_free(w->core);
    link_fini(&w->link);
    free(w->tasks);
    free(w->submits);
    free(w);
}

/* The broker is another one from now on. */
void restart_broker(struct world *w) {
    w->epoch++;
    w->known = false;
    w->deaf = false;
    w->submit_count = 0;
    w->defines = 0;
    w->cancels = 0;
}
