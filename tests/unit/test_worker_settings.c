#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <unistd.h>

#include <furrow.h>

#include "worker/child.h"
#include "worker/options.h"
#include "worker/wiring.h"

static int count(char *const *argv) {
    int argc = 0;

    while (argv[argc] != NULL) {
        argc++;
    }
    return argc;
}

/* ---- settings ---- */

static void settings_arrive_as_they_were(void **state) {
    const char *modules[] = {"./a b.so", "=/odd\nname.so"};
    const char *tags[] = {"gpu", "", "a=b"};
    struct worker_settings out, in = {
                                    .session = {0x0123456789abcdef, 7},
                                    .endpoint = "ipc:///tmp/a=b/socket",
                                    .key = "/a b/worker.key",
                                    .server = "HelloWorldHelloWorldHelloWorldHello=&%#$",
                                    .name = "name with spaces-1",
                                    .initializer = "begin",
                                    .threads = 12,
                                    .tasks_max = UINT64_MAX,
                                    .grace_ns = 5,
                                    .log_level = BASE_LOG_DEBUG,
                                    .arguments = true,
                                    .shared = true,
                                    .modules = modules,
                                    .module_count = 2,
                                    .tags = tags,
                                    .tag_count = 3,
                                };
    char **argv = worker_settings_print(&in, "furrow-worker");

    (void)state;
    assert_string_equal(argv[0], "furrow-worker");
    assert_true(worker_is_child(count(argv), argv));
    assert_null(worker_settings_parse(&out, count(argv), argv));
    assert_true(out.session.high == in.session.high && out.session.low == in.session.low);
    assert_string_equal(out.endpoint, in.endpoint);
    assert_string_equal(out.key, in.key);
    assert_string_equal(out.server, in.server);
    assert_string_equal(out.name, in.name);
    assert_string_equal(out.initializer, in.initializer);
    assert_int_equal(out.threads, 12);
    assert_true(out.tasks_max == UINT64_MAX);
    assert_int_equal(out.grace_ns, 5);
    assert_int_equal(out.log_level, BASE_LOG_DEBUG);
    assert_true(out.arguments);
    assert_true(out.shared);
    assert_int_equal(out.module_count, 2);
    assert_string_equal(out.modules[0], modules[0]);
    assert_string_equal(out.modules[1], modules[1]);
    assert_int_equal(out.tag_count, 3);
    assert_string_equal(out.tags[2], "a=b");
    worker_settings_fini(&out);
    free(argv);
}

static void what_is_missing_stays_missing(void **state) {
    struct worker_settings out, in = {.endpoint = "tcp://h:1", .name = "n", .threads = 1};
    char **argv = worker_settings_print(&in, "x");

    (void)state;
    assert_null(worker_settings_parse(&out, count(argv), argv));
    assert_null(out.initializer);
    assert_null(out.key);
    assert_null(out.server);
    assert_false(out.arguments);
    assert_false(out.shared);
    assert_int_equal(out.module_count + out.tag_count, 0);
    worker_settings_fini(&out);
    free(argv);
}

static void malformed_settings_are_refused(void **state) {
    static const char version[] = WORKER_CHILD_ARGUMENT "0.0.0-other";
    char good[64] = WORKER_CHILD_ARGUMENT;
    struct worker_settings out;

    (void)state;
    strncat(good, furrow_version(), sizeof good - strlen(good) - 1);
#define REFUSED(...)                                                                               \
    do {                                                                                           \
        char *argv[] = {(char *)"x", __VA_ARGS__, NULL};                                           \
        assert_non_null(                                                                           \
            worker_settings_parse(&out, (int)(sizeof argv / sizeof argv[0]) - 1, argv));           \
    } while (0)
#define S(text) ((char *)(text))
    REFUSED(S("--help"));
    REFUSED(S(version), S("endpoint=e"), S("name=n"), S("threads=1"));
    REFUSED(good, S("endpoint=e"), S("name=n"));
    REFUSED(good, S("endpoint=e"), S("threads=1"));
    REFUSED(good, S("name=n"), S("threads=1"));
    REFUSED(good, S("endpoint=e"), S("name=n"), S("threads=0"));
    REFUSED(good, S("endpoint=e"), S("name=n"), S("threads=1x"));
    REFUSED(good, S("endpoint=e"), S("name=n"), S("threads=99999"));
    REFUSED(good, S("endpoint=e"), S("name=n"), S("threads=1"), S("tasks_max=-1"));
    REFUSED(good, S("endpoint=e"), S("name=n"), S("threads=1"), S("session=12"));
    REFUSED(good, S("endpoint=e"), S("name=n"), S("threads=1"), S("log=loud"));
    REFUSED(good, S("endpoint=e"), S("name=n"), S("threads=1"), S("unknown=1"));
    REFUSED(good, S("endpoint=e"), S("name=n"), S("threads=1"), S("nothing"));
#undef REFUSED
}

static void only_the_first_argument_makes_a_child(void **state) {
    char *child[] = {S("x"), S(WORKER_CHILD_ARGUMENT "1"), NULL};
    char *second[] = {S("x"), S("y"), S(WORKER_CHILD_ARGUMENT "1"), NULL};
    char *other[] = {S("x"), S("--furrow-child"), NULL};

    (void)state;
    assert_true(worker_is_child(2, child));
    assert_false(worker_is_child(1, child));
    assert_false(worker_is_child(0, NULL));
    assert_false(worker_is_child(3, second));
    assert_false(worker_is_child(2, other));
    worker_child_main(3, second); /* returns */
}

/* ---- records ---- */

static void records_pass_whole_and_in_order(void **state) {
    char text[2 * WORKER_RECORD_TEXT_BYTES];
    struct worker_record record;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(worker_record_receive(pair[1], &record), 0);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_true(worker_record_send(pair[0], WORKER_RECORD_READY, BASE_LOG_ERROR, NULL));
    assert_true(worker_record_send(pair[0], WORKER_RECORD_LOG, BASE_LOG_INFO, "hello"));
    assert_true(worker_record_send(pair[0], WORKER_RECORD_FAILED, BASE_LOG_ERROR, text));
    assert_int_equal(worker_record_receive(pair[1], &record), 1);
    assert_int_equal(record.type, WORKER_RECORD_READY);
    assert_string_equal(record.text, "");
    assert_int_equal(worker_record_receive(pair[1], &record), 1);
    assert_int_equal(record.level, BASE_LOG_INFO);
    assert_string_equal(record.text, "hello");
    assert_int_equal(worker_record_receive(pair[1], &record), 1);
    assert_int_equal(strlen(record.text), WORKER_RECORD_TEXT_BYTES - 1);
    assert_int_equal(close(pair[0]), 0);
    assert_int_equal(worker_record_receive(pair[1], &record), -1);
    assert_false(worker_record_send(pair[1], WORKER_RECORD_STOP, BASE_LOG_ERROR, NULL));
    assert_int_equal(close(pair[1]), 0);
}

static void a_reader_that_does_not_read_does_not_block_the_writer(void **state) {
    int pair[2], sent = 0;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    while (worker_record_send(pair[0], WORKER_RECORD_LOG, BASE_LOG_INFO, "again")) {
        assert_true(++sent < 1000000);
    }
    assert_int_equal(close(pair[0]), 0);
    assert_int_equal(close(pair[1]), 0);
}

/* ---- furrow-worker's command line ---- */

static bool parse(struct worker_options *options, char *error, size_t error_bytes,
                  char *const *argv) {
    return worker_options_parse(options, count(argv), (char **)argv, error, error_bytes);
}

static void every_option_is_taken(void **state) {
    char *argv[] = {S("furrow-worker"),
                    S("--connect"),
                    S("tcp://h:7700"),
                    S("--module"),
                    S("a.so"),
                    S("--module=b.so"),
                    S("--processes"),
                    S("3"),
                    S("--threads"),
                    S("2"),
                    S("--tag"),
                    S("gpu"),
                    S("--tag"),
                    S("big"),
                    S("--name"),
                    S("me"),
                    S("--max-tasks-per-child"),
                    S("100"),
                    S("--initializer"),
                    S("prepare"),
                    S("--grace"),
                    S("0.5"),
                    S("--log-level"),
                    S("warn"),
                    NULL};
    struct worker_options options;
    char error[256];

    (void)state;
    assert_true(parse(&options, error, sizeof error, argv));
    assert_string_equal(options.endpoint, "tcp://h:7700");
    assert_int_equal(options.module_count, 2);
    assert_string_equal(options.modules[1], "b.so");
    assert_int_equal(options.processes, 3);
    assert_int_equal(options.threads, 2);
    assert_int_equal(options.tag_count, 2);
    assert_string_equal(options.tags[1], "big");
    assert_string_equal(options.name, "me");
    assert_int_equal(options.tasks_max, 100);
    assert_string_equal(options.initializer, "prepare");
    assert_in_range(options.grace_ns, 500000000, 500000001);
    assert_int_equal(options.log_level, BASE_LOG_WARN);
}

static void what_is_not_given_has_its_default(void **state) {
    char *argv[] = {S("furrow-worker"), S("--connect"), S("ipc:///s"),
                    S("--module"),      S("a.so"),      NULL};
    struct worker_options options;
    char error[256];

    (void)state;
    assert_true(parse(&options, error, sizeof error, argv));
    assert_null(options.name);
    assert_int_equal(options.processes, 0);
    assert_int_equal(options.threads, 1);
    assert_int_equal(options.tasks_max, 0);
    assert_null(options.initializer);
    assert_int_equal(options.grace_ns, 0);
    assert_int_equal(options.log_level, BASE_LOG_INFO);
}

static void wrong_use_is_told_with_what_is_wrong(void **state) {
    static const struct {
        const char *wrong;
        char *argv[10];
    } cases[] = {
        {"--connect URL is needed", {S("x"), S("--module"), S("a.so"), NULL}},
        {"--module PATH is needed", {S("x"), S("--connect"), S("tcp://h:1"), NULL}},
        {"--connect http://h", {S("x"), S("--connect"), S("http://h"), NULL}},
        {"--connect tcp://b:1",
         {S("x"), S("--connect"), S("tcp://a:1"), S("--connect"), S("tcp://b:1"), NULL}},
        {"--connect needs a value", {S("x"), S("--connect"), NULL}},
        {"--processes 0", {S("x"), S("--processes"), S("0"), NULL}},
        {"--processes -1", {S("x"), S("--processes"), S("-1"), NULL}},
        {"--processes 5000", {S("x"), S("--processes"), S("5000"), NULL}},
        {"--threads 2x", {S("x"), S("--threads"), S("2x"), NULL}},
        {"--tag a,b", {S("x"), S("--tag"), S("a,b"), NULL}},
        {"--max-tasks-per-child 0", {S("x"), S("--max-tasks-per-child"), S("0"), NULL}},
        {"--initializer : not a value", {S("x"), S("--initializer"), S(""), NULL}},
        {"--grace nan", {S("x"), S("--grace"), S("nan"), NULL}},
        {"--log-level loud", {S("x"), S("--log-level"), S("loud"), NULL}},
        {"--frob", {S("x"), S("--frob"), NULL}},
        {"stray", {S("x"), S("--threads"), S("1"), S("stray"), NULL}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct worker_options options;
        char error[256] = "";

        assert_false(parse(&options, error, sizeof error, cases[i].argv));
        if (strstr(error, cases[i].wrong) == NULL) {
            fail_msg("\"%s\" does not say \"%s\"", error, cases[i].wrong);
        }
    }
}

static void help_and_version_need_nothing_else(void **state) {
    char *help[] = {S("x"), S("--help"), NULL}, *version[] = {S("x"), S("--version"), NULL};
    struct worker_options options;
    char error[256];

    (void)state;
    assert_true(parse(&options, error, sizeof error, help) && options.help);
    assert_true(parse(&options, error, sizeof error, version) && options.version);
    assert_non_null(strstr(worker_options_usage(), "--connect URL"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_arrive_as_they_were),
        cmocka_unit_test(what_is_missing_stays_missing),
        cmocka_unit_test(malformed_settings_are_refused),
        cmocka_unit_test(only_the_first_argument_makes_a_child),
        cmocka_unit_test(records_pass_whole_and_in_order),
        cmocka_unit_test(a_reader_that_does_not_read_does_not_block_the_writer),
        cmocka_unit_test(every_option_is_taken),
        cmocka_unit_test(what_is_not_given_has_its_default),
        cmocka_unit_test(wrong_use_is_told_with_what_is_wrong),
        cmocka_unit_test(help_and_version_need_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
