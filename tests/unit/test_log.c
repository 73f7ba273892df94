#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"

struct heard {
    int count;
    enum base_log_level level;
    char message[BASE_LOG_MESSAGE_BYTES];
    char fields[BASE_LOG_FIELDS_BYTES];
};

static void hear(void *user, enum base_log_level level, const char *message, const char *fields) {
    struct heard *heard = user;

    heard->count++;
    heard->level = level;
    assert_true(strlen(message) < sizeof heard->message);
    assert_true(strlen(fields) < sizeof heard->fields);
    strcpy(heard->message, message);
    strcpy(heard->fields, fields);
    errno = ENOTTY;
}

static void a_message_reaches_the_hook(void **state) {
    struct heard heard = {0};
    struct base_log log = {.callback = hear, .user = &heard, .level = BASE_LOG_INFO};

    (void)state;
    errno = ERANGE;
    base_log(&log, BASE_LOG_WARN, "%s and %d", "one", 2);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.level, BASE_LOG_WARN);
    assert_string_equal(heard.message, "one and 2");
    assert_string_equal(heard.fields, "");
    base_log_fields(&log, BASE_LOG_INFO, "worker lost", "worker=%u signal=%d", 7U, 9);
    assert_int_equal(heard.count, 2);
    assert_string_equal(heard.message, "worker lost");
    assert_string_equal(heard.fields, "worker=7 signal=9");
    assert_int_equal(errno, ERANGE);
}

static void more_detail_than_asked_for_is_dropped(void **state) {
    struct heard heard = {0};
    struct base_log log = {.callback = hear, .user = &heard, .level = BASE_LOG_WARN};

    (void)state;
    assert_true(base_log_enabled(&log, BASE_LOG_ERROR));
    assert_true(base_log_enabled(&log, BASE_LOG_WARN));
    assert_false(base_log_enabled(&log, BASE_LOG_INFO));
    base_log(&log, BASE_LOG_INFO, "no");
    base_log_fields(&log, BASE_LOG_DEBUG, "no", "a=%d", 1);
    assert_int_equal(heard.count, 0);
}

static void without_a_log_or_a_hook_nothing_happens(void **state) {
    struct base_log log = {.level = BASE_LOG_DEBUG};

    (void)state;
    base_log(NULL, BASE_LOG_ERROR, "no");
    base_log(&log, BASE_LOG_ERROR, "no");
    base_log_fields(NULL, BASE_LOG_ERROR, "no", "a=%d", 1);
    assert_false(base_log_enabled(&log, BASE_LOG_ERROR));
}

static void what_is_too_long_is_cut_visibly(void **state) {
    struct heard heard = {0};
    struct base_log log = {.callback = hear, .user = &heard, .level = BASE_LOG_INFO};
    char text[2000];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    base_log(&log, BASE_LOG_INFO, "%s", text);
    assert_int_equal(strlen(heard.message), BASE_LOG_MESSAGE_BYTES - 1);
    assert_string_equal(heard.message + BASE_LOG_MESSAGE_BYTES - 5, "x...");
}

static void level_names_are_read_back(void **state) {
    enum base_log_level level;

    (void)state;
    for (int i = BASE_LOG_ERROR; i <= BASE_LOG_DEBUG; i++) {
        assert_true(base_log_level_parse(base_log_level_name((enum base_log_level)i), &level));
        assert_int_equal(level, i);
    }
    assert_false(base_log_level_parse("loud", &level));
    assert_false(base_log_level_parse("", &level));
}

static void a_line_is_structured(void **state) {
    char line[200];
    size_t size = base_log_line(line, sizeof line, BASE_LOG_LOGFMT, UINT64_C(1714565105123),
                                BASE_LOG_WARN, "worker lost", "role=broker", "worker=7");

    (void)state;
    assert_string_equal(line, "ts=2024-05-01T12:05:05.123Z level=warn msg=\"worker lost\" "
                              "role=broker worker=7\n");
    assert_int_equal(size, strlen(line));
    base_log_line(line, sizeof line, BASE_LOG_LOGFMT, 0, BASE_LOG_INFO, "up", NULL, "");
    assert_string_equal(line, "ts=1970-01-01T00:00:00.000Z level=info msg=\"up\"\n");
}

static void nothing_in_a_message_can_pose_as_something_else(void **state) {
    char line[200];

    (void)state;
    base_log_line(line, sizeof line, BASE_LOG_LOGFMT, 0, BASE_LOG_INFO, "a\" b=\"c\\\nd\x1b[m",
                  NULL, "x=1\ny=2");
    assert_string_equal(line, "ts=1970-01-01T00:00:00.000Z level=info "
                              "msg=\"a\\\" b=\\\"c\\\\\\nd\\x1b[m\" x=1?y=2\n");
}

static void a_line_fits_whatever_room_there_is(void **state) {
    char whole[200];
    size_t whole_size = base_log_line(whole, sizeof whole, BASE_LOG_LOGFMT, 0, BASE_LOG_INFO,
                                      "\x01\"q\"", "a=1", "b");

    (void)state;
    for (size_t room = 2; room <= whole_size + 1; room++) {
        char *line = malloc(room); /* exactly, so that the sanitizer sees the end */
        size_t size =
            base_log_line(line, room, BASE_LOG_LOGFMT, 0, BASE_LOG_INFO, "\x01\"q\"", "a=1", "b");

        assert_true(size < room);
        assert_int_equal(strlen(line), size);
        assert_int_equal(line[size - 1], '\n');
        assert_memory_equal(line, whole, size - 1);
        free(line);
    }
}

static void json_has_members_of_the_right_sort(void **state) {
    char line[500];

    (void)state;
    base_log_line(line, sizeof line, BASE_LOG_JSON, UINT64_C(1714565105123), BASE_LOG_WARN,
                  "worker lost", "role=broker",
                  "worker=alpha-1 pid=12 mean=-0.5 id=007 x=1e5 bare q=\"\"");
    assert_string_equal(line, "{\"ts\":\"2024-05-01T12:05:05.123Z\",\"level\":\"warn\","
                              "\"msg\":\"worker lost\",\"role\":\"broker\",\"worker\":\"alpha-1\","
                              "\"pid\":12,\"mean\":-0.5,\"id\":\"007\",\"x\":\"1e5\",\"bare\":true,"
                              "\"q\":\"\"}\n");
}

static void nothing_breaks_out_of_json(void **state) {
    char line[500], value[64], fields[80];

    (void)state;
    base_log_quote(value, sizeof value, "a\" b=\"c\\\n\x01\xff\xc3\xa4");
    snprintf(fields, sizeof fields, "who=%s n=1", value);
    base_log_line(line, sizeof line, BASE_LOG_JSON, 0, BASE_LOG_INFO,
                  "m\"\\\n\x1b\xc3\xa4\xed\xa0\x80", NULL, fields);
    assert_string_equal(line,
                        "{\"ts\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\","
                        "\"msg\":\"m\\\"\\\\\\u000a\\u001b\xc3\xa4\\ufffd\\ufffd\\ufffd\","
                        "\"who\":\"a\\\" b=\\\"c\\\\\\u000a\\u0001\\ufffd\xc3\xa4\",\"n\":1}\n");
}

/* Counts quotes and braces: good enough for lines without either in what is said. */
static void a_json_line_that_does_not_fit_is_cut_at_a_member(void **state) {
    (void)state;
    for (size_t room = 128; room < 260; room++) {
        char *line = malloc(room);
        size_t size = base_log_line(line, room, BASE_LOG_JSON, 0, BASE_LOG_INFO,
                                    "a message that is quite long, \x01\x02\x03 and not over yet",
                                    "role=broker", "worker=alpha-1 number=17 text=\"a b c\"");
        size_t quotes = 0;

        assert_true(size < room);
        assert_int_equal(strlen(line), size);
        for (size_t i = 0; i < size; i++) {
            quotes += line[i] == '"';
        }
        assert_int_equal(quotes % 2, 0);
        assert_memory_equal(line + size - 2, "}\n", 2);
        assert_true(line[size - 3] == '"' || (line[size - 3] >= '0' && line[size - 3] <= '9'));
        free(line);
    }
}

static void text_is_for_people(void **state) {
    char line[500];

    (void)state;
    base_log_line(line, sizeof line, BASE_LOG_TEXT, UINT64_C(1714565105123), BASE_LOG_WARN,
                  "worker \"lost\"\n", "role=broker", "worker=7");
    assert_string_equal(
        line, "2024-05-01T12:05:05.123Z warn  worker \"lost\"\\n  role=broker worker=7\n");
    base_log_line(line, sizeof line, BASE_LOG_TEXT, 0, BASE_LOG_ERROR, "m", NULL, "a=1");
    assert_string_equal(line, "1970-01-01T00:00:00.000Z error m  a=1\n");
}

static void values_are_quoted_where_they_must_be(void **state) {
    char value[16];

    (void)state;
    assert_string_equal(base_log_quote(value, sizeof value, "alpha-1"), "alpha-1");
    assert_string_equal(base_log_quote(value, sizeof value, ""), "\"\"");
    assert_string_equal(base_log_quote(value, sizeof value, "a b"), "\"a b\"");
    assert_string_equal(base_log_quote(value, sizeof value, "a=b"), "\"a=b\"");
    assert_string_equal(base_log_quote(value, sizeof value, "\"\\\n\x1b"), "\"\\\"\\\\\\n\\x1b\"");
    assert_string_equal(base_log_quote(value, sizeof value, "much too long for it"),
                        "\"much too l\"");
    assert_string_equal(base_log_quote(value, 8, "\x01\x01\x01"), "\"\\x01\"");
}

static void format_names_are_read(void **state) {
    enum base_log_format format;

    (void)state;
    assert_true(base_log_format_parse("json", &format));
    assert_int_equal(format, BASE_LOG_JSON);
    assert_true(base_log_format_parse("logfmt", &format));
    assert_int_equal(format, BASE_LOG_LOGFMT);
    assert_true(base_log_format_parse("text", &format));
    assert_int_equal(format, BASE_LOG_TEXT);
    assert_false(base_log_format_parse("xml", &format));
}

static void the_hook_for_stderr_writes_one_line(void **state) {
    struct base_log_stderr_user how = {.fields = "role=x"};
    struct base_log log = {.callback = base_log_stderr, .user = &how, .level = BASE_LOG_INFO};
    char line[500];
    ssize_t size;
    int saved = dup(STDERR_FILENO);
    int ends[2];

    (void)state;
    assert_true(saved >= 0);
    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    base_log(&log, BASE_LOG_ERROR, "hello");
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    size = read(ends[0], line, sizeof line - 1);
    assert_true(size > 0);
    line[size] = '\0';
    assert_memory_equal(line, "ts=20", 5);
    assert_string_equal(strchr(line, ' '), " level=error msg=\"hello\" role=x\n");
    close(saved);
    close(ends[0]);
    close(ends[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_reaches_the_hook),
        cmocka_unit_test(more_detail_than_asked_for_is_dropped),
        cmocka_unit_test(without_a_log_or_a_hook_nothing_happens),
        cmocka_unit_test(what_is_too_long_is_cut_visibly),
        cmocka_unit_test(level_names_are_read_back),
        cmocka_unit_test(a_line_is_structured),
        cmocka_unit_test(nothing_in_a_message_can_pose_as_something_else),
        cmocka_unit_test(a_line_fits_whatever_room_there_is),
        cmocka_unit_test(json_has_members_of_the_right_sort),
        cmocka_unit_test(nothing_breaks_out_of_json),
        cmocka_unit_test(a_json_line_that_does_not_fit_is_cut_at_a_member),
        cmocka_unit_test(text_is_for_people),
        cmocka_unit_test(values_are_quoted_where_they_must_be),
        cmocka_unit_test(format_names_are_read),
        cmocka_unit_test(the_hook_for_stderr_writes_one_line),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
