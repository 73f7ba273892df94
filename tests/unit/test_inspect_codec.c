/* The codec of what admins ask and hear. */
#include "wire_frames.h"

#include "fail_alloc.h"
#include "wire/inspect.h"

static void a_reason_comes_back_as_it_was_sent(void **state) {
    const struct wire_reason sent = {
        .number = 7,
        .reason = WIRE_REASON_NO_TAGS,
        .function = TEXT("resize"),
        .tags = {2, {TEXT("gpu"), TEXT("big")}},
        .attempt = 2,
        .max_attempts = 3,
        .flags = WIRE_REASON_BEGUN,
        .priority = 128,
        .left_ms = UINT64_MAX,
        .workers = 9,
        .client = TEXT("program"),
        .client_pid = 4711,
        .worker_session = {5, 6},
        .client_state = WIRE_STATE_STARVED,
    };
    struct wire_reason got;
    struct wire_fault fault;
    struct wire_message *message = wire_reason_encode(&sent);
    (void)state;

    assert_non_null(message);
    assert_true(wire_reason_decode(message, &got, &fault));
    assert_int_equal(got.number, 7);
    assert_int_equal(got.reason, WIRE_REASON_NO_TAGS);
    assert_int_equal(got.function.size, 6);
    assert_memory_equal(got.function.data, "resize", 6);
    assert_int_equal(got.tags.count, 2);
    assert_memory_equal(got.tags.names[1].data, "big", 3);
    assert_int_equal(got.attempt, 2);
    assert_int_equal(got.max_attempts, 3);
    assert_int_equal(got.flags, WIRE_REASON_BEGUN);
    assert_true(got.left_ms == UINT64_MAX);
    assert_int_equal(got.workers, 9);
    assert_int_equal(got.worker_session.high, 5);
    assert_int_equal(got.worker_session.low, 6);
    assert_int_equal(got.client_pid, 4711);
    assert_int_equal(got.client_state, WIRE_STATE_STARVED);
    wire_message_unref(message);
}

static union wire_row worker_row(uint64_t i) {
    return (union wire_row){.worker = {.name = TEXT("alpha-1"),
                                       .host = TEXT("alpha"),
                                       .pid = i,
                                       .slots = 4,
                                       .tags = {1, {TEXT("gpu")}}}};
}

/* Reads a page; returns how many rows it has, which are numbered on from `first` by their pid. */
static uint64_t read_page(const struct wire_message *message, uint64_t page, uint64_t first,
                          bool more) {
    struct wire_rows rows;
    struct wire_fault fault;
    union wire_row row;
    uint64_t count = 0;

    assert_true(wire_rows_open(&rows, message, &fault));
    assert_int_equal(rows.list, WIRE_LIST_WORKERS);
    assert_int_equal(rows.page, page);
    assert_int_equal(rows.more, more);
    while (wire_rows_next(&rows, &row)) {
        assert_int_equal(row.worker.pid, first + count);
        assert_int_equal(row.worker.slots, 4);
        assert_int_equal(row.worker.tags.count, 1);
        count++;
    }
    return count;
}

static void a_thousand_rows_take_pages_of_bounded_size(void **state) {
    uint64_t sent = 0, got = 0, page = 0;
    (void)state;

    while (sent < 1000) {
        const struct wire_list_request request = {1, WIRE_LIST_WORKERS, page};
        struct wire_rows_writer writer;
        struct wire_message *message;

        wire_rows_begin(&writer, &request);
        while (sent < 1000 && !wire_rows_full(&writer)) {
            union wire_row row = worker_row(sent++);
            wire_rows_put(&writer, &row);
        }
        message = wire_rows_finish(&writer, sent < 1000);
        assert_non_null(message);
        assert_in_range(wire_message_bytes(message), 1, WIRE_ROWS_BYTES_MAX + 8192);
        got += read_page(message, page++, got, sent < 1000);
        wire_message_unref(message);
    }
    assert_int_equal(got, 1000);
    assert_int_equal(page, 4);
}

static void long_rows_end_a_page_early(void **state) {
    static char name[WIRE_NAME_BYTES_MAX + 50];
    const struct wire_list_request request = {1, WIRE_LIST_WORKERS, 0};
    union wire_row row = worker_row(0);
    struct wire_rows_writer writer;
    struct wire_message *message;
    struct wire_rows rows;
    struct wire_fault fault;
    (void)state;

    memset(name, 'n', sizeof name);
    row.worker.name = (struct wire_text){name, sizeof name};
    row.worker.tags.count = WIRE_TAGS_MAX;
    for (uint32_t i = 0; i < WIRE_TAGS_MAX; i++) {
        row.worker.tags.names[i] = (struct wire_text){name, WIRE_NAME_BYTES_MAX};
    }
    wire_rows_begin(&writer, &request);
    while (!wire_rows_full(&writer)) {
        wire_rows_put(&writer, &row);
    }
    message = wire_rows_finish(&writer, true);
    assert_in_range(wire_message_bytes(message), WIRE_ROWS_BYTES_MAX, WIRE_ROWS_BYTES_MAX + 8192);
    assert_true(wire_rows_open(&rows, message, &fault));
    assert_in_range(rows.count, 10, 20);
    assert_true(wire_rows_next(&rows, &row));
    assert_int_equal(row.worker.name.size, WIRE_NAME_BYTES_MAX); /* it was cut */
    wire_message_unref(message);
}

static void expect_fault(struct wire_message *message, const char *text) {
    struct wire_rows rows;
    struct wire_fault fault = {.text = ""};

    assert_non_null(message);
    assert_false(wire_rows_open(&rows, message, &fault));
    assert_string_equal(fault.text, text);
    wire_message_unref(message);
}

static void rows_with_more_fields_are_read_and_with_fewer_are_not(void **state) {
    struct wire_message *message = frames_message(
        WIRE_ROWS, NO_FRAME, "[uuuu[[SSuuuuuS[i]]]]", U(1), U(4), U(0), U(0), "n", (size_t)1, "h",
        (size_t)1, U(7), U(1), U(2), U(0), U(30), "of a later version", (size_t)18, INT64_C(5));
    struct wire_rows rows;
    struct wire_fault fault;
    union wire_row row;
    (void)state;

    assert_true(wire_rows_open(&rows, message, &fault));
    assert_true(wire_rows_next(&rows, &row));
    assert_int_equal(row.supervisor.heard_ms, 30);
    assert_false(wire_rows_next(&rows, &row));
    wire_message_unref(message);
    expect_fault(frames_message(WIRE_ROWS, NO_FRAME, "[uuuu[[SSuuu]]]", U(1), U(4), U(0), U(0), "n",
                                (size_t)1, "h", (size_t)1, U(7), U(1), U(2)),
                 "ROWS: row: has 5 fields instead of 7");
    expect_fault(frames_message(WIRE_ROWS, NO_FRAME, "[uuuu[]]", U(1), U(5), U(0), U(0)),
                 "ROWS: list: 5 is above 4");
    expect_fault(frames_message(WIRE_ROWS, NO_FRAME, "[uuuu[[SSuuuuu]]]", U(1), U(4), U(0), U(0),
                                "n", (size_t)1, "h", (size_t)1, U(7), U(1), U(2), U(128), U(30)),
                 "ROWS: state: 128 is above 127");
}

static void requests_are_checked(void **state) {
    struct wire_fault fault;
    struct wire_explain explain;
    struct wire_retire retire;
    struct wire_message *message;
    (void)state;

    message = frames_message(WIRE_EXPLAIN, NO_FRAME, "[uuuuu]", U(1), U(2), U(3), U(2), U(5));
    assert_false(wire_explain_decode(message, &explain, &fault));
    assert_string_equal(fault.text, "EXPLAIN: named: 2 is above 1");
    wire_message_unref(message);
    message = frames_message(WIRE_RETIRE, NO_FRAME, "[uu]", U(1), U(0));
    assert_false(wire_retire_decode(message, &retire, &fault));
    assert_string_equal(fault.text, "RETIRE: body: has 2 fields instead of 3");
    wire_message_unref(message);
}

static void without_memory_there_is_no_message(void **state) {
    const struct wire_list_request request = {1, WIRE_LIST_WORKERS, 0};
    const struct wire_ping ping = {1};
    union wire_row row = worker_row(1);
    bool done = false;
    (void)state;

    fail_alloc_after(0);
    assert_null(wire_ping_encode(&ping));
    fail_alloc_never();
    for (long n = 0; !done; n++) {
        struct wire_rows_writer writer;
        struct wire_message *message;

        fail_alloc_after(n);
        wire_rows_begin(&writer, &request);
        wire_rows_put(&writer, &row);
        message = wire_rows_finish(&writer, false);
        done = !fail_alloc_failed();
        fail_alloc_never();
        assert_true(done == (message != NULL));
        wire_message_unref(message);
        assert_in_range(n, 0, 20);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reason_comes_back_as_it_was_sent),
        cmocka_unit_test(a_thousand_rows_take_pages_of_bounded_size),
        cmocka_unit_test(long_rows_end_a_page_early),
        cmocka_unit_test(rows_with_more_fields_are_read_and_with_fewer_are_not),
        cmocka_unit_test(requests_are_checked),
        cmocka_unit_test(without_memory_there_is_no_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
