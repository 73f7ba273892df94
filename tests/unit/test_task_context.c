#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/futex.h"
#include "fail_alloc.h"
#include "task/context.h"
#include "task/status.h"
#include "task/value.h"
#include "wire/value.h"

#define BIG (256 << 10)

/* ---- tasks: each tests what it is given; what they return is looked at below ---- */

static int no_op(furrow_task *task) {
    (void)task;
    return FURROW_OK;
}

static int add(furrow_task *task) {
    int64_t a, b;
    if (furrow_task_args(task, "ii", &a, &b) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", a + b);
}

static int divide(furrow_task *task) {
    int64_t a, b;
    if (furrow_task_args(task, "ii", &a, &b) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (b == 0) {
        return furrow_task_fail(task, 33, "%" PRId64 " by nothing", a);
    }
    return furrow_task_return(task, "i", a / b);
}

static int several(furrow_task *task) {
    return furrow_task_return(task, "isdbn", (int64_t)-1, "two", 3.0, 1);
}

static int sixteen(furrow_task *task) {
    int64_t i = 7;
    return furrow_task_return(task, "iiiiiiiiiiiiiiii", i, i, i, i, i, i, i, i, i, i, i, i, i, i, i,
                              i);
}

static int nothing_returned(furrow_task *task) {
    return furrow_task_return(task, "");
}

static int twice(furrow_task *task) {
    int first = furrow_task_return(task, "s", "first");
    return first != FURROW_OK ? first : furrow_task_return(task, "s", "second");
}

static int greet(furrow_task *task) {
    const char *name;
    if (furrow_task_args(task, "s", &name) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_returnf(task, "hello %s", name);
}

static int repeat(furrow_task *task) {
    int64_t size;
    if (furrow_task_args(task, "i", &size) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_returnf(task, "%*s", (int)size, "x");
}

static int blob(furrow_task *task) {
    static char bytes[BIG];
    return furrow_task_return(task, "B", bytes, sizeof bytes);
}

static int return_seven(furrow_task *task) {
    (void)task;
    return 7;
}

static int fail_with_zero(furrow_task *task) {
    return furrow_task_fail(task, 0, "%s", "");
}

static int fail_and_go_on(furrow_task *task) {
    (void)furrow_task_fail(task, 5, "not so bad");
    return furrow_task_return(task, "i", (int64_t)5);
}

static int ignores_a_failed_return(furrow_task *task) {
    (void)furrow_task_return(task, "i", (int64_t)1);
    (void)furrow_task_return(task, "?");
    return FURROW_OK;
}

static int repairs_a_failed_return(furrow_task *task) {
    (void)furrow_task_return(task, "?");
    return furrow_task_return(task, "i", (int64_t)1);
}

static int echo(furrow_task *task) {
    size_t size, count;
    const void *data = furrow_task_args_raw(task, &size, &count);
    if (data == NULL || count != 1) {
        return furrow_task_fail(task, (int32_t)count, "not one value");
    }
    return furrow_task_return_packed(task, data, size);
}

static int packed_badly(furrow_task *task) {
    return furrow_task_return_packed(task, "\x01\x02", 2);
}

static int pointer_back(furrow_task *task) {
    void *pointer;
    if (furrow_task_args(task, "p", &pointer) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "p", pointer);
}

static int too_deep(furrow_task *task) {
    /* as deep as one value may be, and one more by the array around two */
    return furrow_task_return(task,
                              "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[n]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]n");
}

static int attempt(furrow_task *task) {
    return furrow_task_return(task, "us", (uint64_t)furrow_task_attempt(task),
                              furrow_task_name(task));
}

static int nap(furrow_task *task) {
    double seconds;
    if (furrow_task_args(task, "d", &seconds) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_sleep(task, seconds);
}

static int is_cancelled(furrow_task *task) {
    return furrow_task_return(task, "b", furrow_task_cancelled(task));
}

/* Two copies of one string must be two, and stay while the task runs. */
static int join(furrow_task *task) {
    const char *a, *b, *again;
    if (furrow_task_args(task, "ss", &a, &b) != FURROW_OK ||
        furrow_task_args(task, "s*", &again) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return again == a ? 1 : furrow_task_returnf(task, "%s%s%s", a, b, again);
}

#define F(name) (&(const furrow_function){#name, name, NULL, 0})

/* ---- helpers ---- */

struct fixture {
    furrow_task *context;
    furrow_buffer *arguments;
};

static int fixture_make(void **state, bool local) {
    struct task_context_config config = {.local = local, .host = "testhost", .pid = 4711};
    struct fixture *fixture = calloc(1, sizeof *fixture);

    fixture->context = task_context_new(&config);
    fixture->arguments = furrow_buffer_new();
    *state = fixture;
    return fixture->context == NULL || fixture->arguments == NULL;
}

static int setup(void **state) {
    return fixture_make(state, false);
}

static int setup_local(void **state) {
    return fixture_make(state, true);
}

static int teardown(void **state) {
    struct fixture *fixture = *state;

    task_context_free(fixture->context);
    furrow_buffer_free(&fixture->arguments);
    free(fixture);
    return 0;
}

static struct task_outcome run_with(struct fixture *fixture, const furrow_function *function,
                                    uint32_t flags, atomic_uint *cancel) {
    struct task_call call = {
        .function = function,
        .arguments = furrow_buffer_data(fixture->arguments),
        .size = furrow_buffer_size(fixture->arguments),
        .flags = flags,
        .attempt = 3,
        .cancel = cancel,
    };
    struct task_outcome outcome = task_run(fixture->context, &call);

    furrow_buffer_clear(fixture->arguments);
    return outcome;
}

#define RUN(fixture, name) run_with(fixture, F(name), 0, NULL)
#define ARGS(fixture, ...)                                                                         \
    assert_int_equal(furrow_buffer_pack((fixture)->arguments, __VA_ARGS__), FURROW_OK)
#define assert_value(outcome, ...)                                                                 \
    do {                                                                                           \
        assert_int_equal((outcome).kind, WIRE_KIND_VALUE);                                         \
        assert_int_equal(furrow_unpack((outcome).data, (outcome).size, __VA_ARGS__), FURROW_OK);   \
    } while (0)

static void assert_error(struct task_outcome outcome, int32_t code, const char *message) {
    char text[512];
    struct wire_error error;

    assert_int_equal(outcome.kind, WIRE_KIND_ERROR);
    assert_true(wire_error_decode(outcome.data, outcome.size, &error));
    (void)snprintf(text, sizeof text, "%.*s", (int)error.message.size, error.message.data);
    assert_string_equal(text, message);
    assert_int_equal(error.code, code);
    assert_int_equal(error.pid, 4711);
    assert_int_equal(error.host.size, 8);
    assert_memory_equal(error.host.data, "testhost", 8);
}

static void assert_text(struct task_outcome outcome, const char *expected) {
    const char *text;
    size_t size;

    assert_value(outcome, "S", &text, &size);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(text, expected, size);
}

/* ---- values ---- */

static void a_task_without_a_result_has_the_result_nil(void **state) {
    struct fixture *fixture = *state;
    struct task_outcome outcome = RUN(fixture, no_op);

    assert_value(outcome, "n");
    outcome = RUN(fixture, nothing_returned);
    assert_value(outcome, "n");
}

static void arguments_come_in_and_a_result_goes_out(void **state) {
    struct fixture *fixture = *state;
    struct task_outcome outcome;
    int64_t sum;

    ARGS(fixture, "ii", INT64_MAX - 1, (int64_t)1);
    outcome = RUN(fixture, add);
    assert_value(outcome, "i", &sum);
    assert_true(sum == INT64_MAX);
}

static void several_values_make_an_array(void **state) {
    struct fixture *fixture = *state;
    struct task_outcome outcome = RUN(fixture, several);
    const char *text;
    size_t size;
    int64_t i;
    double d;
    bool b;

    assert_value(outcome, "[iSdbn]", &i, &text, &size, &d, &b);
    assert_int_equal(i, -1);
    assert_memory_equal(text, "two", 3);
    assert_true(d > 2.9 && d < 3.1 && b);
    outcome = RUN(fixture, sixteen);
    assert_int_equal(outcome.size, 3 + 16);
    assert_value(outcome, "[iiiiiiiiiiiiiiii]", &i, &i, &i, &i, &i, &i, &i, &i, &i, &i, &i, &i, &i,
                 &i, &i, &i);
}

static void the_last_result_counts(void **state) {
    struct fixture *fixture = *state;

    assert_text(RUN(fixture, twice), "second");
    assert_value(RUN(fixture, repairs_a_failed_return), "i", &(int64_t){0});
}

static void printf_makes_strings_of_every_size(void **state) {
    static const int sizes[] = {1, 31, 32, 250, 251, 255, 256, 257, 65535, 65536, 300000};
    struct fixture *fixture = *state;

    ARGS(fixture, "s", "you");
    assert_text(RUN(fixture, greet), "hello you");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct task_outcome outcome;
        const char *text;
        size_t size;

        ARGS(fixture, "i", (int64_t)sizes[i]);
        outcome = RUN(fixture, repeat);
        assert_value(outcome, "S", &text, &size);
        assert_int_equal(size, sizes[i]);
        assert_int_equal(text[size - 1], 'x');
        assert_true(size == 1 || text[0] == ' ');
    }
}

static void packed_values_pass_as_they_are(void **state) {
    struct fixture *fixture = *state;
    struct task_outcome outcome;
    bool flag;

    ARGS(fixture, "{sb}", "key", 1);
    outcome = RUN(fixture, echo);
    assert_value(outcome, "{Sb}", &(const char *){NULL}, &(size_t){0}, &flag);
    assert_true(flag);
    ARGS(fixture, "ii", (int64_t)1, (int64_t)2);
    assert_error(RUN(fixture, echo), 2, "not one value");
    assert_error(RUN(fixture, packed_badly), FURROW_EARGS,
                 "result of packed_badly: not one packed value");
}

static void strings_are_copied_and_live_as_long_as_the_task(void **state) {
    struct fixture *fixture = *state;
    char *big = malloc(BIG);
    struct task_outcome outcome;
    const char *text;
    size_t size;

    ARGS(fixture, "ss", "ab", "cd");
    assert_text(RUN(fixture, join), "abcdab");
    memset(big, 'y', BIG - 1);
    big[BIG - 1] = '\0';
    for (int i = 0; i < 3; i++) {
        ARGS(fixture, "ss", big, "cd");
        outcome = RUN(fixture, join);
        assert_value(outcome, "S", &text, &size);
        assert_int_equal(size, 2 * (BIG - 1) + 2);
        assert_memory_equal(text + BIG - 2, "ycdy", 4);
    }
    free(big);
}

static void a_task_knows_its_attempt_and_name(void **state) {
    struct fixture *fixture = *state;
    struct task_outcome outcome = RUN(fixture, attempt);
    const char *name;
    uint64_t number;
    size_t size;

    assert_value(outcome, "[uS]", &number, &name, &size);
    assert_int_equal(number, 3);
    assert_memory_equal(name, "attempt", size);
}

/* ---- errors ---- */

static void a_failed_task_has_its_code_and_message(void **state) {
    struct fixture *fixture = *state;
    struct wire_error error;
    struct task_outcome outcome;

    ARGS(fixture, "ii", (int64_t)8, (int64_t)0);
    outcome = RUN(fixture, divide);
    assert_error(outcome, 33, "8 by nothing");
    assert_true(wire_error_decode(outcome.data, outcome.size, &error));
    assert_int_equal(error.attempt, 3);
    assert_memory_equal(error.function.data, "divide", error.function.size);
    assert_error(RUN(fixture, return_seven), 7, "");
    assert_error(RUN(fixture, fail_with_zero), 0, "");
}

static void what_is_returned_decides(void **state) {
    struct fixture *fixture = *state;
    int64_t five;

    assert_value(RUN(fixture, fail_and_go_on), "i", &five);
    assert_int_equal(five, 5);
}

static void a_result_that_was_refused_is_never_lost_in_silence(void **state) {
    struct fixture *fixture = *state;
    struct task_outcome outcome = RUN(fixture, ignores_a_failed_return);
    struct wire_error error;

    assert_int_equal(outcome.kind, WIRE_KIND_ERROR);
    assert_true(wire_error_decode(outcome.data, outcome.size, &error));
    assert_int_equal(error.code, FURROW_EARGS);
    assert_true(error.message.size > 0);
}

static void arguments_that_do_not_fit_are_told_with_their_position(void **state) {
    struct fixture *fixture = *state;
    struct wire_error error;
    struct task_outcome outcome;

    ARGS(fixture, "is", (int64_t)8, "zero");
    outcome = RUN(fixture, divide);
    assert_int_equal(outcome.kind, WIRE_KIND_ERROR);
    assert_true(wire_error_decode(outcome.data, outcome.size, &error));
    assert_int_equal(error.code, FURROW_EARGS);
    assert_true(memmem(error.message.data, error.message.size, "arguments of divide: ", 21) !=
                NULL);
    assert_true(memmem(error.message.data, error.message.size, "2", 1) != NULL);
}

static void an_error_of_one_task_is_not_that_of_the_next(void **state) {
    struct fixture *fixture = *state;
    struct task_outcome outcome;

    assert_error(RUN(fixture, return_seven), 7, "");
    outcome = RUN(fixture, no_op);
    assert_value(outcome, "n");
    ARGS(fixture, "ii", (int64_t)8, (int64_t)0);
    assert_error(RUN(fixture, divide), 33, "8 by nothing");
    assert_error(RUN(fixture, return_seven), 7, "");
}

static void malformed_arguments_are_never_read(void **state) {
    static const uint8_t bomb[] = {0xdd, 0xff, 0xff, 0xff, 0xff};
    struct fixture *fixture = *state;

    assert_int_equal(furrow_buffer_write(fixture->arguments, (const char *)bomb, sizeof bomb), 0);
    assert_error(RUN(fixture, add), FURROW_EARGS, "arguments of add: malformed");
    assert_int_equal(furrow_buffer_write(fixture->arguments, (const char *)bomb, sizeof bomb), 0);
    assert_error(RUN(fixture, echo), 0, "not one value");
    assert_int_equal(furrow_buffer_write(fixture->arguments, (const char *)bomb, sizeof bomb), 0);
    assert_value(RUN(fixture, no_op), "n");
}

static void a_result_nests_as_deep_as_a_value_may(void **state) {
    struct fixture *fixture = *state;

    assert_error(RUN(fixture, too_deep), FURROW_EARGS, "result of too_deep: nested too deep");
}

static void pointers_stay_in_the_process(void **state) {
    uint8_t ext[] = {0xd7, WIRE_EXT_POINTER, 1, 2, 3, 4, 5, 6, 7, 8};
    struct fixture *fixture = *state;
    struct wire_error error;
    struct task_outcome outcome;

    assert_int_equal(furrow_buffer_write(fixture->arguments, (const char *)ext, sizeof ext), 0);
    outcome = RUN(fixture, pointer_back);
    assert_int_equal(outcome.kind, WIRE_KIND_ERROR);
    assert_true(wire_error_decode(outcome.data, outcome.size, &error));
    assert_int_equal(error.code, FURROW_EARGS);
}

static void pointers_pass_where_they_are_allowed(void **state) {
    struct fixture *fixture = *state;
    uint8_t ext[10] = {0xd7, WIRE_EXT_POINTER};
    struct task_outcome outcome;
    void *pointer = fixture;

    memcpy(ext + 2, &pointer, sizeof pointer);
    assert_int_equal(furrow_buffer_write(fixture->arguments, (const char *)ext, sizeof ext), 0);
    outcome = RUN(fixture, pointer_back);
    assert_int_equal(outcome.kind, WIRE_KIND_VALUE);
    assert_int_equal(outcome.size, sizeof ext);
    assert_memory_equal(outcome.data, ext, sizeof ext);
}

/* ---- being asked to end ---- */

static void a_sleep_lasts_as_long_as_it_should(void **state) {
    struct fixture *fixture = *state;
    uint64_t before = base_clock_ns();
    struct task_outcome outcome;

    ARGS(fixture, "d", 0.002);
    outcome = RUN(fixture, nap);
    assert_value(outcome, "n");
    assert_true(base_clock_ns() - before >= 2 * BASE_CLOCK_NS_PER_MS);
    ARGS(fixture, "d", 0.0);
    outcome = RUN(fixture, nap);
    assert_value(outcome, "n");
}

static void a_sleep_of_no_duration_is_refused(void **state) {
    struct fixture *fixture = *state;

    ARGS(fixture, "d", -1.0);
    assert_int_equal(RUN(fixture, nap).kind, WIRE_KIND_ERROR);
    ARGS(fixture, "d", (double)NAN);
    assert_int_equal(RUN(fixture, nap).kind, WIRE_KIND_ERROR);
}

static void *ask_to_end(void *argument) {
    atomic_uint *word = argument;

    atomic_store(word, 1);
    base_futex_wake(word, INT_MAX);
    return NULL;
}

static void a_sleeping_task_wakes_when_it_is_asked_to_end(void **state) {
    struct fixture *fixture = *state;
    atomic_uint word = 0;
    struct task_outcome outcome;
    pthread_t thread;

    ARGS(fixture, "d", 1000.0);
    assert_int_equal(pthread_create(&thread, NULL, ask_to_end, &word), 0);
    outcome = run_with(fixture, F(nap), 0, &word);
    assert_error(outcome, FURROW_ECANCELLED, "the task was asked to end");
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void a_task_sees_that_it_is_asked_to_end(void **state) {
    struct fixture *fixture = *state;
    atomic_uint word = 0;
    bool cancelled;

    assert_value(run_with(fixture, F(is_cancelled), 0, &word), "b", &cancelled);
    assert_false(cancelled);
    atomic_store(&word, 1);
    assert_value(run_with(fixture, F(is_cancelled), 0, &word), "b", &cancelled);
    assert_true(cancelled);
    assert_value(RUN(fixture, is_cancelled), "b", &cancelled);
    assert_false(cancelled);
}

/* ---- chunks ---- */

/* Reads one [kind, ...] of a chunk's value. */
static const uint8_t *next_of_chunk(const uint8_t *at, const uint8_t *end, bool *failed,
                                    const void **data, size_t *size) {
    const void *whole;
    size_t whole_size;
    uint64_t kind;

    assert_int_equal(furrow_unpack(at, (size_t)(end - at), "v*", &whole, &whole_size), FURROW_OK);
    assert_int_equal(furrow_unpack(whole, whole_size, "[uv]", &kind, data, size), FURROW_OK);
    *failed = kind == 1;
    return at + whole_size;
}

static void a_chunk_gives_each_call_its_own_outcome(void **state) {
    struct fixture *fixture = *state;
    struct task_outcome outcome;
    const uint8_t *at, *end;
    struct wire_error error;
    const void *data;
    size_t size;
    bool failed;
    int64_t i;

    ARGS(fixture, "[[ii][ii][ii]]", (int64_t)8, (int64_t)2, (int64_t)8, (int64_t)0, (int64_t)9,
         (int64_t)3);
    outcome = run_with(fixture, F(divide), WIRE_FLAG_CHUNK, NULL);
    assert_int_equal(outcome.kind, WIRE_KIND_VALUE);
    assert_int_equal(outcome.data[0], 0x93);
    at = outcome.data + 1;
    end = outcome.data + outcome.size;
    at = next_of_chunk(at, end, &failed, &data, &size);
    assert_false(failed);
    assert_int_equal(furrow_unpack(data, size, "i", &i), FURROW_OK);
    assert_int_equal(i, 4);
    at = next_of_chunk(at, end, &failed, &data, &size);
    assert_true(failed);
    assert_true(wire_error_decode(data, size, &error));
    assert_int_equal(error.code, 33);
    at = next_of_chunk(at, end, &failed, &data, &size);
    assert_false(failed);
    assert_int_equal(furrow_unpack(data, size, "i", &i), FURROW_OK);
    assert_int_equal(i, 3);
    assert_ptr_equal(at, end);
}

static void a_chunk_may_be_empty_and_its_calls_without_arguments(void **state) {
    struct fixture *fixture = *state;
    struct task_outcome outcome;

    ARGS(fixture, "[]");
    outcome = run_with(fixture, F(no_op), WIRE_FLAG_CHUNK, NULL);
    assert_value(outcome, "[]");
    ARGS(fixture, "[[][]]");
    outcome = run_with(fixture, F(no_op), WIRE_FLAG_CHUNK, NULL);
    assert_value(outcome, "[[in][in]]", &(int64_t){0}, &(int64_t){0});
}

static void a_malformed_chunk_is_one_error(void **state) {
    static const char text[] = "the chunk is not an array of argument arrays";
    struct fixture *fixture = *state;

    ARGS(fixture, "ii", (int64_t)1, (int64_t)2);
    assert_error(run_with(fixture, F(add), WIRE_FLAG_CHUNK, NULL), FURROW_EARGS, text);
    assert_error(run_with(fixture, F(add), WIRE_FLAG_CHUNK, NULL), FURROW_EARGS, text);
    ARGS(fixture, "[[ii]i]", (int64_t)1, (int64_t)2, (int64_t)3);
    assert_error(run_with(fixture, F(add), WIRE_FLAG_CHUNK, NULL), FURROW_EARGS,
                 "the chunk has an element that is no array");
    assert_int_equal(furrow_buffer_write(fixture->arguments, "\xdd\xff\xff\xff\xff", 5), 0);
    assert_error(run_with(fixture, F(add), WIRE_FLAG_CHUNK, NULL), FURROW_EARGS, text);
}

static void a_chunk_that_is_asked_to_end_makes_no_further_calls(void **state) {
    struct fixture *fixture = *state;
    struct task_outcome outcome;
    atomic_uint word = 1;
    const uint8_t *at;
    const void *data;
    bool failed;
    size_t size;

    ARGS(fixture, "[[][]]");
    outcome = run_with(fixture, F(no_op), WIRE_FLAG_CHUNK, &word);
    at = next_of_chunk(outcome.data + 1, outcome.data + outcome.size, &failed, &data, &size);
    assert_true(failed);
    assert_error((struct task_outcome){WIRE_KIND_ERROR, data, size}, FURROW_ECANCELLED,
                 "the task was asked to end");
    at = next_of_chunk(at, outcome.data + outcome.size, &failed, &data, &size);
    assert_true(failed && at == outcome.data + outcome.size);
}

/* ---- memory ---- */

static void a_large_outcome_is_detached_without_a_copy(void **state) {
    struct fixture *fixture = *state;
    struct task_outcome outcome = RUN(fixture, blob);
    struct wire_blob *detached;
    const uint8_t *data = outcome.data;
    const void *bytes;
    size_t size;

    detached = task_detach(fixture->context);
    assert_non_null(detached);
    assert_ptr_equal(detached->data, data);
    assert_int_equal(detached->size, outcome.size);
    /* the context goes on without it */
    ARGS(fixture, "s", "you");
    assert_text(RUN(fixture, greet), "hello you");
    assert_int_equal(furrow_unpack(detached->data, detached->size, "B", &bytes, &size), FURROW_OK);
    assert_int_equal(size, BIG);
    wire_blob_unref(detached);
    outcome = RUN(fixture, no_op);
    detached = task_detach(fixture->context);
    assert_int_equal(detached->size, 1);
    wire_blob_unref(detached);
}

struct store {
    struct wire_blob *given; /* the last one; not a reference */
    unsigned count;
    bool empty;
};

static struct wire_blob *store_blob(void *user, size_t size) {
    struct store *store = user;

    if (store->empty) {
        return NULL;
    }
    store->count++;
    store->given = wire_blob_new(size);
    return store->given;
}

static const uint8_t many_bytes[WIRE_LARGE_BYTES_MIN];

static int large_value(furrow_task *task) {
    return furrow_task_return(task, "B", many_bytes, sizeof many_bytes);
}
static int large_values(furrow_task *task) {
    return furrow_task_return(task, "iB", (int64_t)1, many_bytes, sizeof many_bytes);
}
static int large_then_small(furrow_task *task) {
    (void)large_value(task);
    return furrow_task_return(task, "i", (int64_t)5);
}
static int large_then_failure(furrow_task *task) {
    (void)large_value(task);
    return furrow_task_fail(task, 9, "no");
}

/* Each result in turn, and a chunk of them: it is detached as a blob of the store's if it is large. */
static void a_large_outcome_is_put_where_the_owner_says(void **state) {
    static const struct {
        furrow_function function;
        bool stored, in_place;
    } cases[] = {
        {{"large_value", large_value, NULL, 0}, true, true},
        {{"large_values", large_values, NULL, 0}, true, false},
        {{"large_then_small", large_then_small, NULL, 0}, false, false},
        {{"large_then_failure", large_then_failure, NULL, 0}, false, false},
    };
    struct store store = {0};
    struct task_context_config config = {.blob = store_blob, .blob_user = &store};
    furrow_task *context = task_context_new(&config);
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        store.empty = round == 1;
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct task_call call = {.function = &cases[i].function, .attempt = 1};
            struct task_outcome outcome = task_run(context, &call);
            const void *bytes = NULL;
            size_t size = outcome.size;
            struct wire_blob *blob = task_detach(context);
            assert_non_null(blob);
            assert_int_equal(blob->size, size);
            assert_int_equal(blob == store.given, cases[i].stored && !store.empty);
            if (cases[i].in_place && !store.empty) {
                assert_ptr_equal(blob->data, outcome.data);
            }
            if (i == 0) {
                assert_int_equal(furrow_unpack(blob->data, blob->size, "B", &bytes, &size),
                                 FURROW_OK);
                assert_int_equal(size, sizeof many_bytes);
            }
            wire_blob_unref(blob);
            store.given = NULL;
        }
    }
    assert_true(store.count > 0);
    task_context_free(context);
}

static void large_results_of_a_chunk_lie_in_a_row(void **state) {
    static const furrow_function function = {"large_value", large_value, NULL, 0};
    struct store store = {0};
    struct task_context_config config = {.blob = store_blob, .blob_user = &store};
    furrow_task *context = task_context_new(&config);
    struct task_call call = {.function = &function,
                             .arguments = "\x93\x90\x90\x90",
                             .size = 4,
                             .flags = WIRE_FLAG_CHUNK,
                             .attempt = 1};
    struct task_outcome outcome = task_run(context, &call);
    struct wire_blob *blob = task_detach(context);
    size_t values;
    (void)state;
    assert_int_equal(outcome.kind, WIRE_KIND_VALUE);
    assert_int_equal(store.count, 1);
    assert_ptr_equal(blob, store.given);
    assert_in_range(blob->size, 3 * sizeof many_bytes, 3 * sizeof many_bytes + 100);
    assert_true(wire_value_check(blob->data, blob->size, &values) && values == 1);
    wire_blob_unref(blob);
    task_context_free(context);
}

/* What the tasks below have been given or have left. */
static struct {
    furrow_block *block;
    const uint8_t *data;
    size_t size;
    const char *format;
    furrow_status status;
} handed;

/* Returns a block of handed.size bytes by handed.format. */
static int hand_over(furrow_task *task) {
    int64_t i = 1;
    int status;

    handed.block = furrow_task_block(task, handed.size);
    if (handed.block == NULL) {
        return (int)furrow_last_status();
    }
    handed.data = furrow_block_data(handed.block);
    memset(furrow_block_data(handed.block), 7, handed.size);
    if (strcmp(handed.format, "H") == 0) {
        status = furrow_task_return(task, "H", &handed.block);
    } else {
        status = furrow_task_return(task, handed.format, i, &handed.block);
    }
    handed.status = (furrow_status)status;
    return status;
}

static int hand_over_twice(furrow_task *task) {
    (void)hand_over(task);
    return hand_over(task);
}

static int hand_over_and_change_its_mind(furrow_task *task) {
    (void)hand_over(task);
    return furrow_task_return(task, "i", (int64_t)5);
}

static struct task_outcome run_handing(furrow_task *context, furrow_task_function *function,
                                       size_t size, const char *format) {
    static furrow_function named = {"hand_over", NULL, NULL, 0};
    struct task_call call = {.function = &named, .attempt = 1};

    named.call = function;
    handed.size = size;
    handed.format = format;
    handed.status = FURROW_OK;
    return task_run(context, &call);
}

static void expect_sevens(const void *data, size_t size, bool array) {
    const uint8_t *bytes = NULL;
    size_t got = 0, wrong = 0;
    int64_t i = 1;

    assert_int_equal(array ? furrow_unpack(data, size, "[iB]", &i, &bytes, &got)
                           : furrow_unpack(data, size, "B", &bytes, &got),
                     FURROW_OK);
    assert_int_equal(got, handed.size);
    for (size_t k = 0; k < got; k++) {
        wrong += bytes[k] != 7;
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(i, 1);
}

/* With memory of the owner's and with that of malloc. */
static void a_block_that_is_handed_over_is_the_result_itself(void **state) {
    static const char *const formats[] = {"H", "iH"};
    struct store store = {0};
    struct task_context_config config = {.blob = store_blob, .blob_user = &store};
    furrow_task *context = task_context_new(&config);
    (void)state;
    for (unsigned round = 0; round < 4; round++) {
        const bool array = round % 2 == 1;
        struct task_outcome outcome;
        struct wire_blob *blob;

        store.empty = round >= 2;
        store.given = NULL;
        outcome = run_handing(context, hand_over, WIRE_LARGE_BYTES_MIN, formats[array]);
        assert_int_equal(outcome.kind, WIRE_KIND_VALUE);
        assert_null(handed.block);
        assert_int_equal((uintptr_t)handed.data % 64, 0);
        assert_ptr_equal(outcome.data + outcome.size, handed.data + handed.size);
        expect_sevens(outcome.data, outcome.size, array);
        blob = task_detach(context);
        assert_ptr_equal(blob->data, outcome.data);
        assert_int_equal(blob->size, outcome.size);
        assert_true(store.empty || blob == store.given);
        wire_blob_unref(blob);
    }
    task_context_free(context);
}

static void small_blocks_and_those_of_chunks_are_copied(void **state) {
    static const furrow_function function = {"hand_over", hand_over, NULL, 0};
    static const size_t sizes[] = {0, 1, 255, 256, 65000, WIRE_LARGE_BYTES_MIN - 10};
    struct fixture *fixture = *state;
    struct task_call call = {.function = &function,
                             .arguments = "\x92\x90\x90",
                             .size = 3,
                             .flags = WIRE_FLAG_CHUNK,
                             .attempt = 1};
    struct task_outcome outcome;
    const void *one = NULL, *two = NULL;
    size_t one_size = 0, two_size = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        outcome = run_handing(fixture->context, hand_over, sizes[i], "H");
        assert_null(handed.block);
        expect_sevens(outcome.data, outcome.size, false);
        outcome = run_handing(fixture->context, hand_over, sizes[i], "iH");
        expect_sevens(outcome.data, outcome.size, true);
    }
    handed.size = BIG;
    handed.format = "iH";
    outcome = task_run(fixture->context, &call);
    assert_value(outcome, "[[iv][iv]]", &(int64_t){0}, &one, &one_size, &(int64_t){0}, &two,
                 &two_size);
    expect_sevens(one, one_size, true);
    expect_sevens(two, two_size, true);
}

static void a_block_is_gone_with_the_result_that_it_was(void **state) {
    struct fixture *fixture = *state;
    struct task_outcome outcome = run_handing(fixture->context, hand_over_twice, BIG, "H");

    expect_sevens(outcome.data, outcome.size, false);
    assert_ptr_equal(outcome.data + outcome.size, handed.data + BIG);
    assert_value(run_handing(fixture->context, hand_over_and_change_its_mind, BIG, "H"), "i",
                 &(int64_t){0});
}

static void a_block_that_is_refused_stays_the_tasks(void **state) {
    static const char *const formats[] = {
        "i?H",
        "iHi",
        "[iH]",
        "pH",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[i]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]H", /* one too deep */
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct task_outcome outcome = run_handing(fixture->context, hand_over, BIG, formats[i]);

        assert_int_equal(outcome.kind, WIRE_KIND_ERROR);
        assert_int_equal(handed.status, formats[i][0] == 'p' ? FURROW_EUNSUPPORTED : FURROW_EARGS);
        assert_non_null(handed.block);
        assert_ptr_equal(furrow_block_data(handed.block), handed.data);
        assert_int_equal(handed.data[BIG - 1], 7);
        furrow_block_free(&handed.block);
    }
    assert_int_equal(run_handing(fixture->context, hand_over, WIRE_PAYLOAD_BYTES_MAX - 4, "H").kind,
                     WIRE_KIND_ERROR);
    assert_null(handed.block);
    assert_int_equal(furrow_last_status(), FURROW_ETOOBIG);
    furrow_block_free(&handed.block);
    furrow_block_free(NULL);
}

static void without_memory_a_block_is_handed_over_or_kept(void **state) {
    static const size_t sizes[] = {100, 60000, BIG};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof sizes[0]; i++) {
        bool whole = false;

        for (long n = 0; !whole && n < 100; n++) {
            struct task_context_config config = {.host = "testhost"};
            furrow_task *context = task_context_new(&config);
            struct task_outcome outcome;
            struct wire_error error;

            fail_alloc_only(n);
            outcome = run_handing(context, hand_over, sizes[i / 2], i % 2 == 0 ? "H" : "iH");
            whole = fail_alloc_failed() == 0;
            fail_alloc_never();
            if (outcome.kind == WIRE_KIND_VALUE) {
                assert_null(handed.block);
                expect_sevens(outcome.data, outcome.size, i % 2 == 1);
            } else {
                assert_false(whole);
                assert_true(wire_error_decode(outcome.data, outcome.size, &error));
                assert_int_equal(error.code, FURROW_ENOMEM);
                furrow_block_free(&handed.block);
            }
            task_context_free(context);
        }
        assert_true(whole);
    }
}

static void an_ordinary_task_allocates_nothing(void **state) {
    struct fixture *fixture = *state;
    struct task_call call = {.function = F(join), .attempt = 1};

    ARGS(fixture, "ss", "ab", "cd");
    call.arguments = furrow_buffer_data(fixture->arguments);
    call.size = furrow_buffer_size(fixture->arguments);
    (void)task_run(fixture->context, &call);
    fail_alloc_after(0);
    for (int i = 0; i < 100; i++) {
        (void)task_run(fixture->context, &call);
    }
    fail_alloc_never();
    assert_int_equal(fail_alloc_failed(), 0);
}

static void without_memory_a_task_has_an_error_or_its_value(void **state) {
    struct fixture *fixture = *state;
    bool whole = false;

    for (long n = 1; !whole && n < 100; n++) {
        struct task_context_config config = {.host = "testhost", .pid = 4711};
        struct task_outcome outcome;
        struct wire_error error;
        furrow_task *context = task_context_new(&config);
        struct task_call call = {.function = F(join), .attempt = 1};

        assert_non_null(context);
        furrow_buffer_clear(fixture->arguments);
        ARGS(fixture, "ss", "ab", "cd");
        call.arguments = furrow_buffer_data(fixture->arguments);
        call.size = furrow_buffer_size(fixture->arguments);
        fail_alloc_only(n - 1);
        outcome = task_run(context, &call);
        whole = fail_alloc_failed() == 0;
        fail_alloc_never();
        if (whole) {
            assert_text(outcome, "abcdab");
        } else {
            assert_int_equal(outcome.kind, WIRE_KIND_ERROR);
            assert_true(wire_error_decode(outcome.data, outcome.size, &error));
            assert_int_equal(error.code, FURROW_ENOMEM);
        }
        task_context_free(context);
    }
    assert_true(whole);
}

static void a_context_that_can_not_be_made_leaves_nothing(void **state) {
    struct task_context_config config = {.host = "testhost"};
    furrow_task *context = NULL;

    (void)state;
    for (long n = 1; context == NULL; n++) {
        fail_alloc_only(n - 1);
        context = task_context_new(&config);
        assert_true((context == NULL) == (fail_alloc_failed() != 0));
        fail_alloc_never();
    }
    task_context_free(context);
    task_context_free(NULL);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_task_without_a_result_has_the_result_nil),
        TEST(arguments_come_in_and_a_result_goes_out),
        TEST(several_values_make_an_array),
        TEST(the_last_result_counts),
        TEST(printf_makes_strings_of_every_size),
        TEST(packed_values_pass_as_they_are),
        TEST(strings_are_copied_and_live_as_long_as_the_task),
        TEST(a_task_knows_its_attempt_and_name),
        TEST(a_failed_task_has_its_code_and_message),
        TEST(what_is_returned_decides),
        TEST(a_result_that_was_refused_is_never_lost_in_silence),
        TEST(arguments_that_do_not_fit_are_told_with_their_position),
        TEST(an_error_of_one_task_is_not_that_of_the_next),
        TEST(malformed_arguments_are_never_read),
        TEST(a_result_nests_as_deep_as_a_value_may),
        TEST(pointers_stay_in_the_process),
        cmocka_unit_test_setup_teardown(pointers_pass_where_they_are_allowed, setup_local,
                                        teardown),
        TEST(a_sleep_lasts_as_long_as_it_should),
        TEST(a_sleep_of_no_duration_is_refused),
        TEST(a_sleeping_task_wakes_when_it_is_asked_to_end),
        TEST(a_task_sees_that_it_is_asked_to_end),
        TEST(a_chunk_gives_each_call_its_own_outcome),
        TEST(a_chunk_may_be_empty_and_its_calls_without_arguments),
        TEST(a_malformed_chunk_is_one_error),
        TEST(a_chunk_that_is_asked_to_end_makes_no_further_calls),
        TEST(a_large_outcome_is_detached_without_a_copy),
        cmocka_unit_test(a_large_outcome_is_put_where_the_owner_says),
        cmocka_unit_test(large_results_of_a_chunk_lie_in_a_row),
        cmocka_unit_test(a_block_that_is_handed_over_is_the_result_itself),
        TEST(small_blocks_and_those_of_chunks_are_copied),
        TEST(a_block_is_gone_with_the_result_that_it_was),
        TEST(a_block_that_is_refused_stays_the_tasks),
        cmocka_unit_test(without_memory_a_block_is_handed_over_or_kept),
        TEST(an_ordinary_task_allocates_nothing),
        TEST(without_memory_a_task_has_an_error_or_its_value),
        TEST(a_context_that_can_not_be_made_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
