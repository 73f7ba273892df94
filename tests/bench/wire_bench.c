/* What the codec costs: nanoseconds an entry to put and to read, for the batches on the path of every
 * task; a single task's message; packing and unpacking of values.
 *
 *   wire_bench [milliseconds for each measurement, 300] */
#include "base/buffer.h"
#include "wire/message.h"
#include "wire/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t limit_ns = 300000000;
static volatile uint64_t sink; /* so that nothing is optimised away */

#define RUNS 50

/* MEASURE runs the statement until the time is over and reports what each of its `each` parts costs;
 * of many short runs the fastest, since whatever else the machine does only makes it slower. */
#define MEASURE(name, each, statement)                                                             \
    do {                                                                                           \
        double best = 1e18;                                                                        \
        for (int run = 0; run < RUNS; run++) {                                                     \
            uint64_t rounds = 0, begin = now_ns(), spent;                                          \
            do {                                                                                   \
                for (int again = 0; again < 16; again++) {                                         \
                    statement;                                                                     \
                }                                                                                  \
                rounds += 16;                                                                      \
                spent = now_ns() - begin;                                                          \
            } while (spent < limit_ns / RUNS);                                                     \
            double ns = (double)spent / (double)rounds / (double)(each);                           \
            best = ns < best ? ns : best;                                                          \
        }                                                                                          \
        printf("%-52s %8.2f ns\n", (name), best);                                                  \
    } while (0)

static void need(bool good) {
    if (!good) {
        fprintf(stderr, "wire_bench: failed\n");
        exit(1);
    }
}

static uint8_t payload[1024];

static inline void fill(struct wire_writer *writer, const struct wire_shape shape, uint32_t count,
                        size_t size, uint32_t group) {
    uint64_t key[WIRE_KEY_MAX] = {3, 1, 0, UINT64_MAX / 3, UINT64_MAX / 5};
    for (uint32_t i = 0; i < count; i++) {
        uint64_t entry[WIRE_ENTRY_MAX] = {(UINT64_C(7) << 32) + i, (UINT64_C(9) << 32) + i, 1};
        key[0] = group > 0 ? i / group % 2 : 3;
        need(wire_writer_put_quick(writer, shape, key, entry, payload, size, NULL) == WIRE_PUT_OK);
    }
}

static struct wire_message *finish(struct wire_writer *writer) {
    const uint64_t extra[WIRE_EXTRA_MAX] = {1, 0};
    struct wire_message *message = wire_writer_finish(writer, extra);
    need(message != NULL);
    return message;
}

static inline void write_batch(struct wire_writer *writer, const struct wire_shape shape,
                               uint32_t count, size_t size, uint32_t group) {
    fill(writer, shape, count, size, group);
    wire_message_unref(finish(writer));
}

static void check_batch(const struct wire_message *message) {
    struct wire_batch batch;
    struct wire_fault fault;
    need(wire_batch_open(&batch, message, &fault));
    sink += batch.entry_count;
}

static inline void read_batch(const struct wire_message *message, const struct wire_shape shape) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;
    uint64_t sum = 0;
    need(wire_batch_open(&batch, message, &fault));
    while (wire_batch_next_quick(&batch, shape, &entry)) {
        sum += entry.values[0] + entry.size + entry.data[0];
    }
    sink += sum;
}

/* Inlined, so that the shape is a constant, as in the cores. */
static inline __attribute__((always_inline)) void bench_batch(const struct wire_shape shape,
                                                              uint32_t count, size_t size,
                                                              uint32_t group) {
    char name[64];
    struct wire_writer *writer = wire_writer_new(shape.type);
    need(writer != NULL);
    const char *text = wire_type_name(shape.type);
    snprintf(name, sizeof name, "%s, %u x %zu B: put and finish, an entry", text, count, size);
    MEASURE(name, count, write_batch(writer, shape, count, size, group));

    fill(writer, shape, count, size, group);
    struct wire_message *message = finish(writer);
    snprintf(name, sizeof name, "%s, %u x %zu B: open, an entry", text, count, size);
    MEASURE(name, count, check_batch(message));
    snprintf(name, sizeof name, "%s, %u x %zu B: open and next, an entry", text, count, size);
    MEASURE(name, count, read_batch(message, shape));
    printf("    header %zu B, payloads %zu B\n", message->frames[0]->size,
           message->frames[1]->size);
    wire_message_unref(message);
    wire_writer_free(writer);
}

static size_t pack_small(uint8_t *out, size_t room, const char *format, ...) {
    size_t count = 0;
    va_list arguments;
    va_start(arguments, format);
    size_t size = wire_value_pack_small(out, room, &count, false, format, &arguments);
    va_end(arguments);
    return size;
}

static void pack(struct base_buffer *out, const char *format, ...) {
    size_t count = 0;
    struct wire_value_fault fault;
    va_list arguments;
    base_buffer_clear(out);
    va_start(arguments, format);
    need(wire_value_pack(out, &count, false, format, &arguments, &fault) == WIRE_VALUE_OK);
    va_end(arguments);
}

static void unpack(const void *data, size_t size, const char *format, ...) {
    struct wire_value_fault fault;
    va_list arguments;
    va_start(arguments, format);
    need(wire_value_unpack(data, size, format, &arguments, NULL, &fault) == WIRE_VALUE_OK);
    va_end(arguments);
}

static void check(const void *data, size_t size) {
    size_t count;
    need(wire_value_check(data, size, &count));
    sink += count;
}

static void bench_values(void) {
    uint8_t out[256];
    size_t size;
    int64_t i = 0;
    double d;
    const char *text;
    size_t text_size;
    struct base_buffer buffer;
    base_buffer_init(&buffer);

    MEASURE("pack_small \"i\"", 1,
            sink += pack_small(out, sizeof out, "i", (int64_t)(sink % 1000)));
    MEASURE("pack_small \"isd\"", 1,
            sink += pack_small(out, sizeof out, "isd", INT64_C(1) << 40, "hello, world", 1.5));
    size = pack_small(out, sizeof out, "i", INT64_C(123456));
    MEASURE("check of \"i\"", 1, check(out, size));
    MEASURE("unpack \"i\"", 1, unpack(out, size, "i", &i));
    size = pack_small(out, sizeof out, "isd", INT64_C(1) << 40, "hello, world", 1.5);
    MEASURE("check of \"isd\"", 1, check(out, size));
    MEASURE("unpack \"iSd\"", 1, unpack(out, size, "iSd", &i, &text, &text_size, &d));
    MEASURE("pack \"i\"", 1, pack(&buffer, "i", INT64_C(123456)));
    MEASURE("pack \"is[dd]{sb}\"", 1,
            pack(&buffer, "is[dd]{sb}", INT64_C(1), "hello", 1.0, 2.0, "k", 1));

    base_buffer_clear(&buffer);
    need(wire_value_begin_array(&buffer, 1000000));
    for (uint32_t n = 0; n < 1000000; n++) {
        need(base_buffer_append(&buffer, "\xcd\x12\x34", 3));
    }
    MEASURE("check of an array of 1,000,000 integers, each", 1000000,
            check(buffer.data, buffer.size));
    base_buffer_fini(&buffer);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        limit_ns = strtoull(argv[1], NULL, 10) * 1000000u;
    }
    bench_batch((struct wire_shape)WIRE_SHAPE_SUBMIT, 256, 16, 0);
    bench_batch((struct wire_shape)WIRE_SHAPE_SUBMIT, 4096, 16, 0);
    bench_batch((struct wire_shape)WIRE_SHAPE_SUBMIT, 4096, 250, 0);
    bench_batch((struct wire_shape)WIRE_SHAPE_SUBMIT, 1, 16, 0);
    bench_batch((struct wire_shape)WIRE_SHAPE_RUN, 256, 16, 0);
    bench_batch((struct wire_shape)WIRE_SHAPE_RUN, 256, 16, 4);
    bench_batch((struct wire_shape)WIRE_SHAPE_RESULTS, 256, 9, 0);
    bench_batch((struct wire_shape)WIRE_SHAPE_RESULTS, 1, 9, 0);
    bench_batch((struct wire_shape)WIRE_SHAPE_OUTCOMES, 256, 9, 0);
    bench_values();
    return 0;
}
