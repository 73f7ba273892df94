#include "tests/fuzz/wire_exercise.h"

#include "base/assert.h"
#include "wire/inspect_columns.h"

#define TEXT(literal)                                                                              \
    (struct wire_text) {                                                                           \
        literal, sizeof literal - 1                                                                \
    }

/* Numbers of every width, so that every form of an integer occurs. */
static uint64_t number(unsigned i) {
    static const uint64_t numbers[] = {0,          1,
                                       127,        128,
                                       255,        256,
                                       65535,      65536,
                                       UINT32_MAX, UINT64_C(1) << 32,
                                       UINT64_MAX, UINT64_C(5) << 32 | 3};
    return numbers[i % (sizeof numbers / sizeof numbers[0])];
}

static struct wire_message *sample_batch(enum wire_type type, unsigned groups, unsigned entries,
                                         bool large) {
    static uint8_t bytes[70000];
    const struct wire_shape *shape = wire_shape_of(type);
    struct wire_writer *writer = wire_writer_new(type);
    const uint64_t extra[WIRE_EXTRA_MAX] = {1, number(groups)};
    BASE_ASSERT(writer != NULL);
    for (unsigned g = 0; g < groups && shape->entry > 0; g++) {
        /* Within the ranges of every type; the second is an attempt or flags, from 1. */
        uint64_t key[WIRE_KEY_MAX] = {g % 2, 1 + g % 2, g % 2, number(g + 5), number(g + 10)};
        for (unsigned e = 0; e < entries; e++) {
            uint64_t entry[WIRE_ENTRY_MAX] = {number(g * entries + e), number(e + 9), 1 + e};
            size_t size = !shape->payload ? 0 : large && e == 1 ? 65536 + g : e * 7 % 40;
            enum wire_put put = wire_writer_put(writer, key, entry, bytes, size, NULL);
            BASE_ASSERT(put == WIRE_PUT_OK);
        }
    }
    struct wire_message *message = wire_writer_finish(writer, extra);
    BASE_ASSERT(message != NULL);
    wire_writer_free(writer);
    return message;
}

static struct wire_message *sample_hello(unsigned index) {
    const struct wire_text functions[] = {TEXT("resize"), TEXT("do_work"), TEXT("x")};
    const struct wire_text tags[] = {TEXT("gpu"), TEXT("zone=a")};
    const struct wire_hello hello = {
        .version_min = 1,
        .version_max = 1 + index,
        .role = (enum wire_role)(1 + index % 4),
        .session = {number(10), number(11)},
        .epoch = number(index + 7),
        .received = number(index),
        .name = TEXT("worker-1"),
        .host = TEXT("node.example"),
        .pid = 4711,
        .slots = 8,
        .functions = functions,
        .function_count = index,
        .tags = tags,
        .tag_count = index,
    };
    return wire_hello_encode(&hello);
}

static struct wire_message *sample_define(void) {
    const struct wire_define define = {
        .class_index = 300,
        .function = TEXT("do_work"),
        .tags = {TEXT("gpu"), TEXT("big")},
        .tag_count = 2,
        .priority = -5,
        .flags = WIRE_FLAG_AT_MOST_ONCE | WIRE_FLAG_INITIALIZED,
        .max_attempts = 3,
        .queue_ms = 60000,
        .run_ms = WIRE_DURATION_MS_MAX,
        .retries = 2,
        .retry_ms = 250,
    };
    return wire_define_encode(&define);
}

/* Fills in whatever has columns: numbers of every width, names, tags. */
static void fill_columns(struct wire_columns columns, void *what, unsigned seed) {
    for (uint32_t i = 0; i < columns.count; i++) {
        const struct wire_column *column = &columns.at[i];
        uint64_t value = number(seed + i);
        switch (column->sort) {
        case WIRE_COLUMN_NUMBER:
            value = value < column->min ? column->min : value;
            *wire_column_number(what, column) = value > column->max ? column->max : value;
            break;
        case WIRE_COLUMN_NAME:
            *wire_column_name(what, column) = (i + seed) % 3 == 0 ? TEXT("") : TEXT("alpha-1");
            break;
        case WIRE_COLUMN_TAGS:
            *wire_column_tags(what, column) =
                (struct wire_tags){seed % 3, {TEXT("gpu"), TEXT("zone=a")}};
            break;
        }
    }
}

static struct wire_message *sample_rows(enum wire_list list) {
    const struct wire_list_request request = {number(list), list, list};
    struct wire_rows_writer writer;
    union wire_row row;
    wire_rows_begin(&writer, &request);
    for (unsigned i = 0; i < list; i++) {
        fill_columns(wire_columns_of_list(list), &row, i + 3);
        wire_rows_put(&writer, &row);
    }
    return wire_rows_finish(&writer, list % 2 == 0);
}

/* One of each message that admins send and get. */
static struct wire_message *sample_inspect(unsigned index) {
    union {
        struct wire_ping ping;
        struct wire_pong pong;
        struct wire_list_request list;
        struct wire_explain explain;
        struct wire_reason reason;
        struct wire_retire retire;
        struct wire_retired retired;
    } what;
    static const enum wire_type types[] = {WIRE_PING,   WIRE_PONG,   WIRE_LIST,   WIRE_EXPLAIN,
                                           WIRE_REASON, WIRE_RETIRE, WIRE_RETIRED};
    enum { TYPES = sizeof types / sizeof types[0] };
    if (index >= TYPES) {
        return sample_rows((enum wire_list)(index - TYPES));
    }
    fill_columns(wire_columns_of(types[index]), &what, index);
    switch (index) {
    case 0:
        return wire_ping_encode(&what.ping);
    case 1:
        return wire_pong_encode(&what.pong);
    case 2:
        return wire_list_encode(&what.list);
    case 3:
        return wire_explain_encode(&what.explain);
    case 4:
        return wire_reason_encode(&what.reason);
    case 5:
        return wire_retire_encode(&what.retire);
    default:
        return wire_retired_encode(&what.retired);
    }
}

static struct wire_message *sample_single(unsigned index) {
    static const uint64_t leases[] = {1, 70000, UINT64_MAX};
    switch (index) {
    case 0:
    case 1:
    case 2:
        return sample_hello(index);
    case 3:
        return wire_welcome_encode(
            &(struct wire_welcome){1, number(11), true, 70000, 1000, 5000, 256u << 20});
    case 4:
        return wire_reject_encode(&(struct wire_reject){WIRE_SUBMIT, WIRE_REJECT_MALFORMED,
                                                        TEXT("SUBMIT: attempt: 0 is below 1")});
    case 5:
        return sample_define();
    case 6:
        return wire_child_died_encode(
            &(struct wire_child_died){{1, 2}, 4711, 11, 0, TEXT("node"), false, leases, 3});
    case 7:
        return wire_heartbeat_encode(number(9));
    case 8:
        return wire_resume_encode(number(3));
    case 9:
        return wire_plain_encode(WIRE_UNKNOWN);
    case 10:
        return wire_plain_encode(WIRE_BYE);
    case 11:
        return wire_plain_encode(WIRE_DRAIN);
    case 12:
        return wire_plain_encode(WIRE_STOP);
    default:
        return NULL;
    }
}

#define SINGLES 13u
/* Their numbers follow those of the batches, so that the corpus keeps its names. */
#define INSPECTS (7u + WIRE_LIST_COUNT)

struct wire_message *exercise_sample(unsigned index) {
    static const enum wire_type types[] = {
        WIRE_SUBMIT,   WIRE_CANCEL,  WIRE_OUTCOMES, WIRE_VERDICTS,  WIRE_STARTED,
        WIRE_CREDIT,   WIRE_RUN,     WIRE_RECALL,   WIRE_INTERRUPT, WIRE_RESULTS,
        WIRE_RETURNED, WIRE_RUNNING, WIRE_CLAIMS,
    };
    enum { FORMS = 4, TYPES = sizeof types / sizeof types[0] };
    static const struct {
        unsigned groups, entries;
        bool large;
    } forms[FORMS] = {{0, 0, false}, {1, 1, false}, {2, 6, false}, {2, 3, true}};

    if (index < SINGLES) {
        return sample_single(index);
    }
    index -= SINGLES;
    if (index >= TYPES * FORMS) {
        index -= TYPES * FORMS;
        return index < INSPECTS       ? sample_inspect(index)
               : index < INSPECTS + 2 ? wire_coming_encode(&(struct wire_coming){
                                            number(9), 100u << 20, index == INSPECTS})
                                      : NULL;
    }
    return sample_batch(types[index / FORMS], forms[index % FORMS].groups,
                        forms[index % FORMS].entries, forms[index % FORMS].large);
}
