/* Initializers that came with tasks: each client's runs once in the process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#include "base/buffer.h"
#include "fail_alloc.h"
#include "worker/initializers.h"

static atomic_int set_up_count, task_count;

static int set_up(furrow_task *task) {
    int64_t value;

    if (furrow_task_args(task, "i", &value) != FURROW_OK) {
        return FURROW_EARGS;
    }
    atomic_fetch_add(&set_up_count, 1);
    return value == -1 ? furrow_task_fail(task, 7, "it was to fail") : FURROW_OK;
}
FURROW_TASK(set_up);

static int twice(furrow_task *task) {
    int64_t value;

    atomic_fetch_add(&task_count, 1);
    if (furrow_task_args(task, "i", &value) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", 2 * value);
}
FURROW_TASK(twice);

struct fixture {
    struct worker_initializers *initializers;
    furrow_task *context;
    struct base_buffer payload;
    bool failed_now;
    struct worker_initializer_end end;
};

static int setup(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    const struct task_context_config config = {.host = "here", .pid = 42};

    atomic_store(&set_up_count, 0);
    atomic_store(&task_count, 0);
    fixture->initializers = worker_initializers_new(4);
    fixture->context = task_context_new(&config);
    *state = fixture;
    return fixture->initializers == NULL || fixture->context == NULL;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;

    worker_initializers_free(fixture->initializers);
    task_context_free(fixture->context);
    base_buffer_fini(&fixture->payload);
    free(fixture);
    return 0;
}

static struct task_outcome run_bytes(struct fixture *fixture, uint64_t client, uint32_t flags) {
    const struct wire_session session = {1, client};
    struct task_call call = {
        .function = FURROW_FUNCTION(twice),
        .arguments = fixture->payload.data,
        .size = fixture->payload.size,
        .flags = WIRE_FLAG_INITIALIZED | flags,
        .attempt = 3,
    };

    return worker_initialized_run(fixture->initializers, fixture->context, &session, &call,
                                  &fixture->failed_now, &fixture->end);
}

/* A task of a client, with an initializer of this name that gets one byte. */
static struct task_outcome run(struct fixture *fixture, uint64_t client, const char *name,
                               const char *argument) {
    const struct wire_initializer initializer = {{name, strlen(name)}, argument, 1};

    base_buffer_clear(&fixture->payload);
    assert_true(wire_initializer_encode(&initializer, &fixture->payload));
    assert_true(base_buffer_append(&fixture->payload, "\x15", 1));
    return run_bytes(fixture, client, 0);
}

static void expect_42(struct task_outcome outcome) {
    assert_int_equal(outcome.kind, WIRE_KIND_VALUE);
    assert_int_equal(outcome.size, 1);
    assert_int_equal(outcome.data[0], 42);
}

static struct wire_error expect_error(struct task_outcome outcome, enum wire_kind kind) {
    struct wire_error error;

    assert_int_equal(outcome.kind, kind);
    assert_true(wire_error_decode(outcome.data, outcome.size, &error));
    assert_int_equal(error.pid, 42);
    return error;
}

static void expect_text(struct wire_text text, const char *expected) {
    assert_int_equal(text.size, strlen(expected));
    assert_memory_equal(text.data, expected, text.size);
}

static void it_runs_once_for_each_client(void **state) {
    struct fixture *fixture = *state;

    for (int i = 0; i < 3; i++) {
        expect_42(run(fixture, 1, "set_up", "\x01"));
        assert_int_equal(set_up_count, 1);
    }
    expect_42(run(fixture, 2, "set_up", "\x01"));
    assert_int_equal(set_up_count, 2);
    expect_42(run(fixture, 1, "set_up", "\x01"));
    assert_int_equal(set_up_count, 2);
    assert_int_equal(task_count, 5);
}

static void a_chunk_has_it_before_its_array(void **state) {
    struct fixture *fixture = *state;
    const struct wire_initializer initializer = {{"set_up", 6}, "\x01", 1};
    struct task_outcome outcome;

    assert_true(wire_initializer_encode(&initializer, &fixture->payload));
    assert_true(base_buffer_append(&fixture->payload, "\x92\x91\x01\x91\x02", 5));
    outcome = run_bytes(fixture, 1, WIRE_FLAG_CHUNK);
    assert_int_equal(outcome.kind, WIRE_KIND_VALUE);
    assert_int_equal(outcome.size, 7);
    assert_memory_equal(outcome.data, "\x92\x92\x00\x02\x92\x00\x04", 7);
}

static void when_it_fails_all_tasks_of_the_client_are_broken(void **state) {
    struct fixture *fixture = *state;

    for (int i = 0; i < 3; i++) {
        struct wire_error error = expect_error(run(fixture, 1, "set_up", "\xff"), WIRE_KIND_BROKEN);

        expect_text(error.message, "the initializer set_up failed with code 7: it was to fail");
        expect_text(error.function, "set_up");
        assert_int_equal(error.code, 7);
        assert_int_equal(error.attempt, 3);
        assert_int_equal(fixture->failed_now, i == 0);
    }
    assert_int_equal(set_up_count, 1);
    assert_int_equal(task_count, 0);
    expect_42(run(fixture, 2, "set_up", "\x01"));
}

static void one_that_is_not_there_has_failed(void **state) {
    struct fixture *fixture = *state;
    struct wire_error error = expect_error(run(fixture, 1, "elsewhere", "\x01"), WIRE_KIND_BROKEN);

    expect_text(error.message, "the initializer elsewhere failed: the worker has no task function "
                               "of this name");
    assert_int_equal(error.code, FURROW_ENOFUNCTION);
    assert_true(fixture->failed_now);
    assert_int_equal(task_count, 0);
}

static void arguments_that_it_cannot_read_are_its_failure(void **state) {
    struct fixture *fixture = *state;
    struct wire_error error = expect_error(run(fixture, 1, "set_up", "\xc1"), WIRE_KIND_BROKEN);

    assert_int_equal(error.code, FURROW_EARGS);
    assert_int_equal(task_count, 0);
}

static void a_task_without_a_whole_one_is_an_error_and_nothing_runs(void **state) {
    struct fixture *fixture = *state;
    static const struct {
        const char *bytes;
        size_t size;
    } payloads[] = {
        {"", 0}, {"\x15", 1}, {"\x92\xa6set_up\xc4\x09\x01", 10}, {"\xdd\xff\xff\xff\xff", 5}};

    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        struct wire_error error;

        base_buffer_clear(&fixture->payload);
        assert_true(base_buffer_append(&fixture->payload, payloads[i].bytes, payloads[i].size));
        error = expect_error(run_bytes(fixture, 1, 0), WIRE_KIND_ERROR);
        assert_int_equal(error.code, FURROW_EARGS);
        expect_text(error.function, "twice");
        assert_false(fixture->failed_now);
    }
    assert_int_equal(set_up_count + task_count, 0);
    expect_42(run(fixture, 1, "set_up", "\x01"));
}

static void who_was_served_longest_ago_is_forgotten_first(void **state) {
    struct fixture *fixture = *state;

    for (uint64_t client = 1; client <= 4; client++) {
        expect_42(run(fixture, client, "set_up", "\x01"));
    }
    expect_42(run(fixture, 1, "set_up", "\x01"));
    assert_int_equal(set_up_count, 4);
    expect_42(run(fixture, 5, "set_up", "\x01")); /* in the place of 2 */
    for (uint64_t client = 3; client <= 5; client++) {
        expect_42(run(fixture, client, "set_up", "\x01"));
    }
    expect_42(run(fixture, 1, "set_up", "\x01"));
    assert_int_equal(set_up_count, 5);
    expect_42(run(fixture, 2, "set_up", "\x01"));
    assert_int_equal(set_up_count, 6);
}

static void those_that_run_are_never_forgotten(void **state) {
    struct fixture *fixture = *state;
    const struct worker_initializer_end good = {0};
    struct worker_initializer_end end;

    for (uint64_t client = 1; client <= 6; client++) { /* more than it has room for */
        assert_int_equal(worker_initializer_enter(fixture->initializers,
                                                  &(struct wire_session){1, client}, &end),
                         WORKER_INITIALIZER_RUN);
    }
    for (uint64_t client = 1; client <= 6; client++) {
        worker_initializer_ran(fixture->initializers, &(struct wire_session){1, client}, &good);
        assert_int_equal(worker_initializer_enter(fixture->initializers,
                                                  &(struct wire_session){1, client}, &end),
                         WORKER_INITIALIZER_DONE);
    }
}

static const struct wire_session shared_session = {3, 4};

static void *enter(void *user) {
    struct worker_initializer_end end = {0};
    enum worker_initializer_turn turn = worker_initializer_enter(user, &shared_session, &end);

    return turn == WORKER_INITIALIZER_BAD && end.code == 9 ? user : NULL;
}

/* Whether they come before its end or after it: both get to know it. */
static void others_wait_until_it_has_ended(void **state) {
    struct fixture *fixture = *state;
    const struct worker_initializer_end bad = {true, 9, "bad"};
    struct worker_initializer_end end;
    pthread_t threads[4];

    assert_int_equal(worker_initializer_enter(fixture->initializers, &shared_session, &end),
                     WORKER_INITIALIZER_RUN);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, enter, fixture->initializers), 0);
    }
    worker_initializer_ran(fixture->initializers, &shared_session, &bad);
    for (int i = 0; i < 4; i++) {
        void *got;

        assert_int_equal(pthread_join(threads[i], &got), 0);
        assert_ptr_equal(got, fixture->initializers);
    }
}

static void without_memory_it_is_tried_again_with_the_next_task(void **state) {
    struct fixture *fixture = *state;
    struct worker_initializer_end end;

    fail_alloc_after(0);
    assert_int_equal(worker_initializer_enter(fixture->initializers, &shared_session, &end),
                     WORKER_INITIALIZER_NO_MEMORY);
    fail_alloc_never();
    assert_int_equal(worker_initializer_enter(fixture->initializers, &shared_session, &end),
                     WORKER_INITIALIZER_RUN);
    fail_alloc_after(0);
    assert_null(worker_initializers_new(4));
    fail_alloc_never();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(it_runs_once_for_each_client),
        TEST(a_chunk_has_it_before_its_array),
        TEST(when_it_fails_all_tasks_of_the_client_are_broken),
        TEST(one_that_is_not_there_has_failed),
        TEST(arguments_that_it_cannot_read_are_its_failure),
        TEST(a_task_without_a_whole_one_is_an_error_and_nothing_runs),
        TEST(who_was_served_longest_ago_is_forgotten_first),
        TEST(those_that_run_are_never_forgotten),
        TEST(others_wait_until_it_has_ended),
        TEST(without_memory_it_is_tried_again_with_the_next_task),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
