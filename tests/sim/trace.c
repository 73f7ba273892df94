/* Messages in words. */
#include "tests/sim/sim_private.h"

#include <stdarg.h>
#include <stdio.h>

struct words {
    char *text;
    size_t size, at;
};

__attribute__((format(printf, 2, 3))) static void add(struct words *words, const char *format,
                                                      ...) {
    va_list arguments;
    int length;

    if (words->at + 1 >= words->size) {
        return;
    }
    va_start(arguments, format);
    length = vsnprintf(words->text + words->at, words->size - words->at, format, arguments);
    va_end(arguments);
    if (length > 0) {
        words->at += (size_t)length;
    }
    if (words->at >= words->size) {
        words->at = words->size - 1;
    }
}

/* Ids and leases are numbers of their owners' making; a task's own number says more. */
static void add_entry(struct sim *sim, struct sim_endpoint *end, struct words *words,
                      const struct wire_batch *batch, const struct wire_entry *entry) {
    struct sim_task *task = NULL;
    struct sim_grant *grant;

    switch (batch->shape->type) {
    case WIRE_SUBMIT:
        task = sim_task_by_arguments(sim, entry->data, entry->size);
        break;
    case WIRE_RUN:
        task = sim_task_by_arguments(sim, entry->data, entry->size);
        add(words, " %llx", (unsigned long long)entry->values[0]);
        break;
    case WIRE_CANCEL:
    case WIRE_OUTCOMES:
    case WIRE_VERDICTS:
    case WIRE_STARTED:
        task = sim_task_by_id(sim, end, entry->values[0]);
        break;
    default:
        grant = base_idmap_find(&sim->model.grants, entry->values[0]);
        task = grant != NULL ? grant->task : NULL;
        add(words, " %llx", (unsigned long long)entry->values[0]);
        break;
    }
    if (task != NULL) {
        add(words, " #%llu", (unsigned long long)task->number);
    }
}

static void add_key(struct words *words, const struct wire_batch *batch,
                    const struct wire_entry *entry) {
    switch (batch->shape->type) {
    case WIRE_SUBMIT:
        add(words, " (attempt %u%s)", (unsigned)entry->key[1],
            wire_past_resent(entry->key[2]) ? ", resent" : "");
        break;
    case WIRE_OUTCOMES:
    case WIRE_RESULTS:
        add(words, " (kind %u)", (unsigned)entry->key[0]);
        break;
    case WIRE_VERDICTS:
    case WIRE_RETURNED:
        add(words, " (%s)", entry->key[0] != 0 ? "yes" : "no");
        break;
    default:
        break;
    }
}

static void add_batch(struct sim *sim, struct sim_endpoint *end, struct words *words,
                      const struct wire_message *message) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    if (!wire_batch_open(&batch, message, &fault)) {
        add(words, " malformed: %s", fault.text);
        return;
    }
    if (batch.shape->type == WIRE_RECALL) {
        add(words, " up to %u and", (unsigned)batch.extra[0]);
    } else if (batch.shape->type == WIRE_OUTCOMES || batch.shape->type == WIRE_CREDIT) {
        add(words, " credit %llu", (unsigned long long)batch.extra[0]);
    }
    while (wire_batch_next(&batch, &entry)) {
        if (entry.new_group) {
            add_key(words, &batch, &entry);
        }
        add_entry(sim, end, words, &batch, &entry);
    }
}

static void add_single(struct words *words, const struct wire_message *message, uint32_t type) {
    struct wire_welcome welcome;
    struct wire_hello hello;
    struct wire_reject reject;
    struct wire_child_died died;
    struct wire_fault fault;
    struct wire_coming size;
    uint64_t number;

    if (type == WIRE_HELLO && wire_hello_decode(message, &hello, &fault)) {
        add(words, " epoch %llx received %llx", (unsigned long long)hello.epoch,
            (unsigned long long)hello.received);
        wire_hello_fini(&hello);
    } else if (type == WIRE_WELCOME && wire_welcome_decode(message, &welcome, &fault)) {
        add(words, " epoch %llx %s %llx", (unsigned long long)welcome.epoch,
            welcome.resumed ? "resumed, received" : "anew from",
            (unsigned long long)welcome.received);
    } else if (type == WIRE_REJECT && wire_reject_decode(message, &reject, &fault)) {
        add(words, " of %s: %.*s", wire_type_name(reject.about), (int)reject.text.size,
            reject.text.data);
    } else if (type == WIRE_CHILD_DIED && wire_child_died_decode(message, &died, &fault)) {
        add(words, " pid %llu signal %u%s, running", (unsigned long long)died.pid, died.signal,
            died.expected ? " expected" : "");
        for (uint32_t i = 0; i < died.running_count; i++) {
            add(words, " %llx", (unsigned long long)died.running[i]);
        }
        wire_child_died_fini(&died);
    } else if (type == WIRE_HEARTBEAT && wire_heartbeat_decode(message, &number, &fault)) {
        add(words, " sent %llx", (unsigned long long)number);
    } else if (type == WIRE_COMING && wire_coming_decode(message, &size, &fault)) {
        add(words, "%s of [%llx], %llu bytes", size.no_room ? ", no room" : "",
            (unsigned long long)size.seq, (unsigned long long)size.bytes);
    } else if (type == WIRE_RESUME && wire_resume_decode(message, &number, &fault)) {
        add(words, " received %llx", (unsigned long long)number);
    }
}

void sim_describe(struct sim *sim, struct sim_endpoint *end, const struct wire_message *message,
                  char *text, size_t size) {
    struct words words = {text, size, 0};
    struct wire_envelope envelope;
    struct wire_fault fault;

    text[0] = '\0';
    if (!wire_open(message, &envelope, &fault)) {
        add(&words, "malformed: %s", fault.text);
        return;
    }
    add(&words, "%s", wire_type_name(envelope.type));
    if (envelope.seq != 0) {
        add(&words, " [%llx]", (unsigned long long)envelope.seq);
    }
    if (wire_shape_of(envelope.type) != NULL) {
        add_batch(sim, end, &words, message);
    } else {
        add_single(&words, message, envelope.type);
    }
}
