#include "tests/fuzz/wire_exercise.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "wire/inspect_columns.h"
#include "wire/value.h"

#include <msgpack/unpack.h>
#include <stdlib.h>
#include <string.h>

#define NEED(cond) BASE_ASSERT(cond)

/* Reads every byte, so that the address sanitizer sees them all. */
static uint64_t touch(const void *data, size_t size) {
    const uint8_t *bytes = data;
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++) {
        sum += bytes[i];
    }
    return sum;
}

static volatile uint64_t touched;

static bool same_text(struct wire_text a, struct wire_text b) {
    touched += touch(a.data, a.size);
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* ----------------------------------------------------------------- batches */

static struct wire_message *copy_batch(const struct wire_message *message) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;
    uint32_t count = 0;
    NEED(wire_batch_open(&batch, message, &fault));
    struct wire_writer *writer = wire_writer_new((enum wire_type)batch.shape->type);
    NEED(writer != NULL);
    while (wire_batch_next(&batch, &entry)) {
        touched += touch(entry.data, entry.size);
        NEED((entry.large != NULL) == (entry.size >= WIRE_LARGE_BYTES_MIN));
        NEED(wire_writer_put(writer, entry.key, entry.values, entry.data, entry.size,
                             entry.large) == WIRE_PUT_OK);
        count++;
    }
    NEED(count == batch.entry_count && count == wire_writer_count(writer));
    struct wire_message *copy = wire_writer_finish(writer, batch.extra);
    NEED(copy != NULL);
    wire_writer_free(writer);
    return copy;
}

static void compare_batches(const struct wire_message *a, const struct wire_message *b) {
    struct wire_batch left, right;
    struct wire_entry one, two;
    struct wire_fault fault;
    NEED(wire_batch_open(&left, a, &fault) && wire_batch_open(&right, b, &fault));
    const struct wire_shape *shape = left.shape;
    NEED(shape == right.shape && left.entry_count == right.entry_count);
    NEED(memcmp(left.extra, right.extra, shape->extra * sizeof left.extra[0]) == 0);
    while (wire_batch_next(&left, &one)) {
        NEED(wire_batch_next(&right, &two));
        NEED(memcmp(one.key, two.key, shape->key * sizeof one.key[0]) == 0);
        NEED(memcmp(one.values, two.values, shape->entry * sizeof one.values[0]) == 0);
        NEED(one.size == two.size && one.large == two.large);
        NEED(one.size == 0 || memcmp(one.data, two.data, one.size) == 0);
        NEED(one.new_group || !two.new_group); /* groups of one key may have become one */
    }
    NEED(!wire_batch_next(&right, &two));
}

static bool exercise_batch(const struct wire_message *message, struct wire_fault *fault) {
    struct wire_batch batch;
    if (!wire_batch_open(&batch, message, fault)) {
        return false;
    }
    struct wire_message *copy = copy_batch(message);
    compare_batches(message, copy);
    wire_message_unref(copy);
    return true;
}

/* --------------------------------------------------------- single messages */

static void compare_texts(const struct wire_text *a, const struct wire_text *b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        NEED(same_text(a[i], b[i]));
    }
}

static bool exercise_hello(const struct wire_message *message, struct wire_fault *fault) {
    struct wire_hello a, b;
    if (!wire_hello_decode(message, &a, fault)) {
        return false;
    }
    struct wire_message *copy = wire_hello_encode(&a);
    NEED(copy != NULL && wire_hello_decode(copy, &b, fault));
    NEED(a.version_min == b.version_min && a.version_max == b.version_max && a.role == b.role);
    NEED(a.session.high == b.session.high && a.session.low == b.session.low);
    NEED(a.epoch == b.epoch && a.received == b.received && a.pid == b.pid && a.slots == b.slots);
    NEED(same_text(a.name, b.name) && same_text(a.host, b.host));
    NEED(a.function_count == b.function_count && a.tag_count == b.tag_count);
    compare_texts(a.functions, b.functions, a.function_count);
    compare_texts(a.tags, b.tags, a.tag_count);
    wire_hello_fini(&a);
    wire_hello_fini(&b);
    wire_message_unref(copy);
    return true;
}

static bool exercise_welcome(const struct wire_message *message, struct wire_fault *fault) {
    struct wire_welcome a, b;
    if (!wire_welcome_decode(message, &a, fault)) {
        return false;
    }
    struct wire_message *copy = wire_welcome_encode(&a);
    NEED(copy != NULL && wire_welcome_decode(copy, &b, fault));
    NEED(a.version == b.version && a.epoch == b.epoch && a.resumed == b.resumed &&
         a.received == b.received && a.heartbeat_ms == b.heartbeat_ms &&
         a.silence_ms == b.silence_ms && a.payload_max == b.payload_max);
    wire_message_unref(copy);
    return true;
}

static bool exercise_reject(const struct wire_message *message, struct wire_fault *fault) {
    struct wire_reject a, b;
    if (!wire_reject_decode(message, &a, fault)) {
        return false;
    }
    struct wire_message *copy = wire_reject_encode(&a);
    NEED(copy != NULL && wire_reject_decode(copy, &b, fault));
    NEED(a.about == b.about && a.code == b.code && same_text(a.text, b.text));
    NEED(wire_reject_text(a.code)[0] != 0);
    wire_message_unref(copy);
    return true;
}

static bool exercise_define(const struct wire_message *message, struct wire_fault *fault) {
    struct wire_define a, b;
    if (!wire_define_decode(message, &a, fault)) {
        return false;
    }
    struct wire_message *copy = wire_define_encode(&a);
    NEED(copy != NULL && wire_define_decode(copy, &b, fault));
    NEED(a.class_index == b.class_index && same_text(a.function, b.function));
    NEED(a.tag_count == b.tag_count);
    compare_texts(a.tags, b.tags, a.tag_count);
    NEED(a.priority == b.priority && a.flags == b.flags && a.max_attempts == b.max_attempts &&
         a.queue_ms == b.queue_ms && a.run_ms == b.run_ms && a.retries == b.retries &&
         a.retry_ms == b.retry_ms);
    wire_message_unref(copy);
    return true;
}

static bool exercise_child_died(const struct wire_message *message, struct wire_fault *fault) {
    struct wire_child_died a, b;
    if (!wire_child_died_decode(message, &a, fault)) {
        return false;
    }
    struct wire_message *copy = wire_child_died_encode(&a);
    NEED(copy != NULL && wire_child_died_decode(copy, &b, fault));
    NEED(a.session.high == b.session.high && a.session.low == b.session.low && a.pid == b.pid &&
         a.signal == b.signal && a.exit_code == b.exit_code && a.expected == b.expected &&
         same_text(a.host, b.host) && a.running_count == b.running_count);
    NEED(a.running_count == 0 ||
         memcmp(a.running, b.running, a.running_count * sizeof a.running[0]) == 0);
    wire_child_died_fini(&a);
    wire_child_died_fini(&b);
    wire_message_unref(copy);
    return true;
}

static bool exercise_number(const struct wire_message *message, uint32_t type,
                            struct wire_fault *fault) {
    uint64_t a, b;
    bool heartbeat = type == WIRE_HEARTBEAT;
    if (heartbeat ? !wire_heartbeat_decode(message, &a, fault)
                  : !wire_resume_decode(message, &a, fault)) {
        return false;
    }
    struct wire_message *copy = heartbeat ? wire_heartbeat_encode(a) : wire_resume_encode(a);
    NEED(copy != NULL);
    NEED(heartbeat ? wire_heartbeat_decode(copy, &b, fault) : wire_resume_decode(copy, &b, fault));
    NEED(a == b);
    wire_message_unref(copy);
    return true;
}

/* ------------------------------------------------------- what admins hear */

static void compare_columns(struct wire_columns columns, void *a, void *b) {
    for (uint32_t i = 0; i < columns.count; i++) {
        const struct wire_column *column = &columns.at[i];
        const struct wire_tags *tags;
        switch (column->sort) {
        case WIRE_COLUMN_NUMBER:
            NEED(*wire_column_number(a, column) == *wire_column_number(b, column));
            break;
        case WIRE_COLUMN_NAME:
            NEED(same_text(*wire_column_name(a, column), *wire_column_name(b, column)));
            break;
        case WIRE_COLUMN_TAGS:
            tags = wire_column_tags(a, column);
            NEED(tags->count == wire_column_tags(b, column)->count);
            compare_texts(tags->names, wire_column_tags(b, column)->names, tags->count);
            break;
        }
    }
}

static bool exercise_rows(const struct wire_message *message, struct wire_fault *fault) {
    struct wire_rows a, b;
    struct wire_rows_writer writer;
    union wire_row left, right;
    if (!wire_rows_open(&a, message, fault)) {
        return false;
    }
    const struct wire_list_request request = {a.number, a.list, a.page};
    struct wire_rows again = a;
    bool whole = true;
    wire_rows_begin(&writer, &request);
    while (whole && wire_rows_next(&again, &left)) {
        wire_rows_put(&writer, &left);
        whole = !wire_rows_full(&writer);
    }
    struct wire_message *copy = wire_rows_finish(&writer, a.more);
    NEED(copy != NULL && wire_rows_open(&b, copy, fault));
    NEED(b.number == a.number && b.list == a.list && b.page == a.page && b.more == a.more);
    NEED(whole ? b.count == a.count : b.count <= a.count);
    while (wire_rows_next(&b, &right)) {
        NEED(wire_rows_next(&a, &left));
        compare_columns(wire_columns_of_list((enum wire_list)a.list), &left, &right);
    }
    wire_message_unref(copy);
    return true;
}

#define EXERCISE_COLUMNS(message_type, form)                                                       \
    do {                                                                                           \
        struct wire_##form a_, b_;                                                                 \
        if (!wire_##message_type##_decode(message, &a_, fault)) {                                  \
            return false;                                                                          \
        }                                                                                          \
        copy = wire_##message_type##_encode(&a_);                                                  \
        NEED(copy != NULL && wire_##message_type##_decode(copy, &b_, fault));                      \
        compare_columns(wire_columns_of((enum wire_type)type), &a_, &b_);                          \
        wire_message_unref(copy);                                                                  \
        return true;                                                                               \
    } while (0)

static bool exercise_inspect(const struct wire_message *message, uint32_t type,
                             struct wire_fault *fault) {
    struct wire_message *copy;
    switch (type) {
    case WIRE_PING:
        EXERCISE_COLUMNS(ping, ping);
    case WIRE_PONG:
        EXERCISE_COLUMNS(pong, pong);
    case WIRE_LIST:
        EXERCISE_COLUMNS(list, list_request);
    case WIRE_EXPLAIN:
        EXERCISE_COLUMNS(explain, explain);
    case WIRE_REASON:
        EXERCISE_COLUMNS(reason, reason);
    case WIRE_RETIRE:
        EXERCISE_COLUMNS(retire, retire);
    case WIRE_RETIRED:
        EXERCISE_COLUMNS(retired, retired);
    default:
        return exercise_rows(message, fault);
    }
}

static bool exercise_coming(const struct wire_message *message, struct wire_fault *fault) {
    struct wire_coming a, b;
    if (!wire_coming_decode(message, &a, fault)) {
        return false;
    }
    struct wire_message *copy = wire_coming_encode(&a);
    NEED(copy != NULL && wire_coming_decode(copy, &b, fault));
    NEED(a.seq == b.seq && a.bytes == b.bytes && a.no_room == b.no_room);
    wire_message_unref(copy);
    return true;
}

static bool exercise_by_type(const struct wire_message *message, uint32_t type,
                             struct wire_fault *fault) {
    switch (type) {
    case WIRE_HELLO:
        return exercise_hello(message, fault);
    case WIRE_WELCOME:
        return exercise_welcome(message, fault);
    case WIRE_REJECT:
        return exercise_reject(message, fault);
    case WIRE_DEFINE:
        return exercise_define(message, fault);
    case WIRE_CHILD_DIED:
        return exercise_child_died(message, fault);
    case WIRE_HEARTBEAT:
    case WIRE_RESUME:
        return exercise_number(message, type, fault);
    case WIRE_COMING:
        return exercise_coming(message, fault);
    case WIRE_UNKNOWN:
    case WIRE_BYE:
    case WIRE_DRAIN:
    case WIRE_STOP:
        return wire_plain_decode(message, (enum wire_type)type, fault);
    case WIRE_PING:
    case WIRE_PONG:
    case WIRE_LIST:
    case WIRE_ROWS:
    case WIRE_EXPLAIN:
    case WIRE_REASON:
    case WIRE_RETIRE:
    case WIRE_RETIRED:
        return exercise_inspect(message, type, fault);
    default:
        return exercise_batch(message, fault);
    }
}

bool exercise_message(const struct wire_message *message, struct wire_fault *fault) {
    struct wire_envelope envelope;
    memset(fault, 0, sizeof *fault);
    bool good =
        wire_open(message, &envelope, fault) && exercise_by_type(message, envelope.type, fault);
    if (!good) {
        NEED(fault->code >= WIRE_REJECT_MALFORMED && fault->code <= WIRE_REJECT_LIMIT);
        NEED(fault->text[0] != 0 && memchr(fault->text, 0, sizeof fault->text) != NULL);
    }
    return good;
}

/* ------------------------------------------------------------- as one run */

struct fixed_blob {
    struct wire_blob blob;
};

static void fixed_destroy(struct wire_blob *blob) {
    free(BASE_CONTAINER_OF(blob, struct fixed_blob, blob));
}

/* All payloads are the same zeroes: large ones would take most of a fuzzer's time otherwise. */
static struct wire_blob *zeroes(size_t size) {
    static uint8_t bytes[EXERCISE_LARGE_BYTES + UINT8_MAX];
    NEED(size <= sizeof bytes);
    struct fixed_blob *fixed = malloc(sizeof *fixed);
    NEED(fixed != NULL);
    atomic_init(&fixed->blob.refs, 1);
    fixed->blob.data = bytes;
    fixed->blob.size = size;
    fixed->blob.destroy = fixed_destroy;
    return &fixed->blob;
}

struct wire_message *exercise_read_message(const uint8_t *data, size_t size) {
    struct wire_blob *frames[WIRE_FRAMES_MAX];
    const uint8_t *at = data;
    const uint8_t *end = data + size;
    if (size == 0 || *at > WIRE_FRAMES_MAX) {
        return NULL;
    }
    uint32_t count = *at++;
    if (count >= 2) {
        if (end - at < 2 + (ptrdiff_t)(count - 2)) {
            return NULL;
        }
        frames[1] = zeroes((size_t)at[0] << 8 | at[1]);
        at += 2;
        for (uint32_t i = 2; i < count; i++) {
            frames[i] = zeroes(EXERCISE_LARGE_BYTES + *at++);
        }
    }
    if (count >= 1) {
        frames[0] = wire_blob_copy(at, (size_t)(end - at));
        NEED(frames[0] != NULL);
    }
    struct wire_message *message = wire_message_new(frames, count);
    NEED(message != NULL);
    return message;
}

uint8_t *exercise_write_message(const struct wire_message *message, size_t *size) {
    struct base_buffer out;
    base_buffer_init(&out);
    base_buffer_append_u8(&out, (uint8_t)message->frame_count);
    for (uint32_t i = 1; i < message->frame_count; i++) {
        size_t bytes = message->frames[i]->size;
        if (i == 1 && bytes <= UINT16_MAX) {
            base_buffer_append_u8(&out, (uint8_t)(bytes >> 8));
            base_buffer_append_u8(&out, (uint8_t)bytes);
        } else if (i > 1 && bytes - EXERCISE_LARGE_BYTES <= UINT8_MAX) {
            base_buffer_append_u8(&out, (uint8_t)(bytes - EXERCISE_LARGE_BYTES));
        } else {
            base_buffer_fini(&out);
            return NULL;
        }
    }
    if (message->frame_count > 0) {
        base_buffer_append(&out, message->frames[0]->data, message->frames[0]->size);
    }
    return base_buffer_detach(&out, size);
}

/* ------------------------------------------------------------------ values */

#define ARENA_BYTES 65536u
static uint8_t arena[ARENA_BYTES];
static size_t arena_used;

static void *keep(void *user, size_t size) {
    (void)user;
    if (size > ARENA_BYTES - arena_used) {
        return NULL;
    }
    arena_used += size;
    return arena + arena_used - size;
}

/* Every letter takes at most two pointers, and every variable fits into 8 bytes. */
#define LETTERS_MAX 8u

static enum wire_value_status unpack(const uint8_t *data, size_t size, const char *format, ...) {
    struct wire_value_keeper keeper = {keep, NULL, size % 2 == 0};
    struct wire_value_fault fault;
    va_list arguments;
    va_start(arguments, format);
    enum wire_value_status status =
        wire_value_unpack(data, size, format, &arguments, size % 3 == 0 ? NULL : &keeper, &fault);
    va_end(arguments);
    NEED((status == WIRE_VALUE_OK) == (fault.text[0] == 0));
    NEED(memchr(fault.text, 0, sizeof fault.text) != NULL);
    return status;
}

static void unpack_any(const uint8_t *data, size_t size, const char *format) {
    char letters[4 * LETTERS_MAX];
    uint64_t v[2 * LETTERS_MAX];
    size_t kept = 0, counted = 0;
    for (; *format != 0 && counted < LETTERS_MAX && kept < sizeof letters - 1; format++) {
        letters[kept++] = *format;
        counted += strchr("[]{} ,", *format) == NULL ? 1 : 0;
    }
    letters[kept] = 0;
    arena_used = 0;
    (void)unpack(data, size, letters, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7], &v[8],
                 &v[9], &v[10], &v[11], &v[12], &v[13], &v[14], &v[15]);
}

/* msgpack-c must see the same values in what was accepted. */
static void compare_with_msgpack(const uint8_t *data, size_t size, size_t count) {
    msgpack_unpacked unpacked;
    size_t at = 0, values = 0;
    msgpack_unpacked_init(&unpacked);
    while (at < size) {
        size_t before = at;
        NEED(msgpack_unpack_next(&unpacked, (const char *)data, size, &at) ==
             MSGPACK_UNPACK_SUCCESS);
        NEED(wire_value_skip(data + before, size - before) == at - before);
        values++;
    }
    NEED(values == count);
    msgpack_unpacked_destroy(&unpacked);
}

/* It is whole, whatever follows; and what it says comes back. */
static void exercise_initializer(const uint8_t *data, size_t size) {
    struct wire_initializer initializer, again;
    size_t taken = wire_initializer_decode(data, size, &initializer);
    struct base_buffer out;
    if (taken == 0) {
        return;
    }
    NEED(taken <= size && wire_initializer_decode(data, taken, &again) == taken);
    touched += touch(initializer.name.data, initializer.name.size);
    touched += touch(initializer.arguments, initializer.size);
    base_buffer_init(&out);
    if (wire_initializer_encode(&initializer, &out)) {
        NEED(wire_initializer_decode(out.data, out.size, &again) == out.size &&
             again.name.size == initializer.name.size && again.size == initializer.size);
    }
    base_buffer_fini(&out);
}

bool exercise_value(const uint8_t *data, size_t size, const char *format) {
    struct wire_error error;
    size_t count = 0, nested = 0;
    const bool good = wire_value_check(data, size, &count);
    if (good) {
        NEED(wire_value_check_nested(data, size, WIRE_NESTING_MAX, &nested) && nested == count);
        compare_with_msgpack(data, size, count);
    } else {
        (void)wire_value_skip(data, size);
    }
    exercise_initializer(data, size);
    unpack_any(data, size, format); /* malformed ones too: nothing may be read beyond the end */
    if (wire_error_decode(data, size, &error)) {
        touched += touch(error.message.data, error.message.size);
        touched += touch(error.function.data, error.function.size);
        touched += touch(error.host.data, error.host.size);
        NEED(good && count == 1);
    }
    return good;
}
