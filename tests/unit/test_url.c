#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "fail_alloc.h"
#include "libclient/url.h"

static char fault[CLIENT_URL_FAULT_BYTES];
static struct client_url url;

static void good(const char *text) {
    assert_int_equal(client_url_parse(text, NULL, &url, fault), FURROW_OK);
}

static void bad(const char *text, furrow_status status, const char *says) {
    assert_int_equal(client_url_parse(text, NULL, &url, fault), status);
    if (strstr(fault, says) == NULL) {
        fail_msg("\"%s\" says \"%s\", not \"%s\"", text, fault, says);
    }
}

static void schemes_and_addresses_are_read(void **state) {
    const struct {
        const char *text;
        enum client_scheme scheme;
        int max_workers;
        const char *address;
    } cases[] = {
        {"threads", CLIENT_THREADS, FURROW_DEFAULT, ""},
        {"threads:", CLIENT_THREADS, FURROW_DEFAULT, ""},
        {"threads:8", CLIENT_THREADS, 8, ""},
        {"processes", CLIENT_PROCESSES, FURROW_DEFAULT, ""},
        {"processes:3", CLIENT_PROCESSES, 3, ""},
        {"tcp://host:7700", CLIENT_TCP, FURROW_DEFAULT, "tcp://host:7700"},
        {"tcp://127.0.0.1:1", CLIENT_TCP, FURROW_DEFAULT, "tcp://127.0.0.1:1"},
        {"tcp://[::1]:65535", CLIENT_TCP, FURROW_DEFAULT, "tcp://[::1]:65535"},
        {"ipc:///run/furrow.sock", CLIENT_IPC, FURROW_DEFAULT, "ipc:///run/furrow.sock"},
        {"ipc://relative", CLIENT_IPC, FURROW_DEFAULT, "ipc://relative"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        good(cases[i].text);
        assert_int_equal(url.scheme, cases[i].scheme);
        assert_int_equal(url.options.max_workers, cases[i].max_workers);
        assert_string_equal(url.address, cases[i].address);
        client_url_fini(&url);
    }
    assert_string_equal(client_scheme_name(CLIENT_THREADS), "threads");
    assert_string_equal(client_scheme_name(CLIENT_PROCESSES), "processes");
    assert_string_equal(client_scheme_name(CLIENT_TCP), "tcp");
    assert_string_equal(client_scheme_name(CLIENT_IPC), "ipc");
}

static void parameters_are_read(void **state) {
    (void)state;
    good("processes?max_workers=3&threads=4&max_tasks_per_child=5&strict=1&module=./a%20b.so"
         "&thread_name_prefix=pre&max_pending=6&connect_timeout=0.25&shared_memory=0");
    assert_int_equal(url.options.max_workers, 3);
    assert_int_equal(url.options.threads_per_worker, 4);
    assert_int_equal(url.options.max_tasks_per_child, 5);
    assert_true(url.options.strict);
    assert_string_equal(url.options.module, "./a b.so");
    assert_string_equal(url.options.thread_name_prefix, "pre");
    assert_int_equal(url.options.max_pending, 6);
    assert_true(url.options.connect_timeout == 0.25);
    assert_int_equal(url.options.shared_memory, 0);
    client_url_fini(&url);
    good("processes:2?shared_memory=64");
    assert_int_equal(url.options.shared_memory, 64);
    client_url_fini(&url);
    good("processes:2");
    assert_int_equal(url.options.shared_memory, FURROW_DEFAULT);
    client_url_fini(&url);
    good("tcp://h:1?strict=0&connect_timeout=3&threads_per_worker=2");
    assert_string_equal(url.address, "tcp://h:1");
    assert_false(url.options.strict);
    assert_int_equal(url.options.threads_per_worker, 2);
    assert_true(url.options.connect_timeout == 3);
    client_url_fini(&url);
}

static void the_url_wins_over_the_options(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;
    char module[] = "./m.so";
    char arguments[] = {1, 0, 2};

    (void)state;
    options.max_workers = 7;
    options.max_pending = 9;
    options.module = module;
    options.thread_name_prefix = "mine";
    options.initializer_args = arguments;
    options.initializer_args_size = sizeof arguments;
    assert_int_equal(client_url_parse("processes:2?thread_name_prefix=url", &options, &url, fault),
                     FURROW_OK);
    memset(module, 'z', sizeof module - 1);
    memset(arguments, 9, sizeof arguments);
    assert_int_equal(url.options.max_workers, 2);
    assert_int_equal(url.options.max_pending, 9);
    assert_string_equal(url.options.module, "./m.so");
    assert_string_equal(url.options.thread_name_prefix, "url");
    assert_int_equal(url.options.initializer_args_size, 3);
    assert_memory_equal(url.options.initializer_args, "\1\0\2", 3);
    client_url_fini(&url);
}

static void keys_are_read_and_may_have_any_letter(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;

    (void)state;
    options.key = "mine.key";
    options.server_key = "b.pub";
    assert_int_equal(
        client_url_parse("tcp://h:1?server=a%26b%25c%23&key=/x/y.key", &options, &url, fault),
        FURROW_OK);
    assert_string_equal(url.options.key, "/x/y.key");
    assert_string_equal(url.options.server_key, "a&b%c#");
    client_url_fini(&url);
    assert_int_equal(client_url_parse("ipc:///s", &options, &url, fault), FURROW_OK);
    assert_string_equal(url.options.key, "mine.key");
    assert_string_equal(url.options.server_key, "b.pub");
    client_url_fini(&url);
    bad("tcp://h:1?key=", FURROW_EURL, "key: a value is missing");
    bad("tcp://h:1?key=a&key=b", FURROW_EURL, "key is given twice");
}

static void what_is_wrong_in_a_url_is_told(void **state) {
    (void)state;
    bad("", FURROW_EURL, "unknown scheme \"\"");
    bad("thread:2", FURROW_EURL, "unknown scheme \"thread\"");
    bad("Threads:2", FURROW_EURL, "unknown scheme \"Threads\"");
    bad("http://x", FURROW_EURL, "it is threads, processes, tcp or ipc");
    bad("threads:x", FURROW_EURL, "max_workers: \"x\" is not a whole number");
    bad("threads:2x", FURROW_EURL, "is not a whole number");
    bad("threads: 2", FURROW_EURL, "is not a whole number");
    bad("threads:-", FURROW_EURL, "a number is missing");
    bad("tcp:host:1", FURROW_EURL, "\"//\" and an address are missing");
    bad("tcp://", FURROW_EURL, "is not host:port");
    bad("tcp://host", FURROW_EURL, "\"host\" is not host:port");
    bad("tcp://:1", FURROW_EURL, "is not host:port");
    bad("tcp://a/b:1", FURROW_EURL, "is not host:port");
    bad("tcp://host:", FURROW_EURL, "the port is missing");
    bad("tcp://host:0", FURROW_EURL, "is not a port from 1 to 65535");
    bad("tcp://host:65536", FURROW_EURL, "is not a port");
    bad("tcp://host:99999999999999999999", FURROW_EURL, "is not a port");
    bad("tcp://host:1a", FURROW_EURL, "is not a port");
    bad("tcp://[::1", FURROW_EURL, "is not [address]:port");
    bad("tcp://[]:1", FURROW_EURL, "is not [address]:port");
    bad("tcp://[::1]1", FURROW_EURL, "is not [address]:port");
    bad("tcp://[::1]:", FURROW_EURL, "the port is missing");
    bad("tcp://a:1,b:2", FURROW_EURL, "several addresses");
    bad("ipc://", FURROW_EURL, "the path is missing");
    bad("threads?", FURROW_EURL, "a parameter is missing");
    bad("threads?x=1", FURROW_EURL, "unknown parameter \"x\"");
    bad("threads?max_workers", FURROW_EURL, "max_workers: \"=\" and a value are missing");
    bad("threads?max_workers=", FURROW_EURL, "a number is missing");
    bad("threads:2?max_workers=2", FURROW_EURL, "max_workers is given twice");
    bad("threads?strict=1&strict=1", FURROW_EURL, "strict is given twice");
    bad("threads?threads=1&threads_per_worker=1", FURROW_EURL, "given twice");
    bad("processes?strict=yes", FURROW_EURL, "\"yes\" is neither 0 nor 1");
    bad("processes?module=", FURROW_EURL, "module: a value is missing");
    bad("processes?module=%2", FURROW_EURL, "not followed by two hex digits");
    bad("processes?module=%zz", FURROW_EURL, "not followed by two hex digits");
    bad("processes?module=%00", FURROW_EURL, "not followed by two hex digits");
    bad("tcp://h:1?connect_timeout=x", FURROW_EURL, "is not a number of seconds");
    bad("tcp://h:1?connect_timeout=1.2.3", FURROW_EURL, "is not a number of seconds");
    bad("tcp://h:1?connect_timeout=", FURROW_EURL, "is not a number of seconds");
    bad("threads&max_workers=1", FURROW_EURL, "unknown scheme");
    bad("threads?strict=1&", FURROW_EURL, "a parameter is missing");
}

static void a_long_path_is_told(void **state) {
    char text[300] = "ipc://";

    (void)state;
    memset(text + 6, 'a', 200);
    bad(text, FURROW_EURL, "longer than 107 bytes");
}

static void numbers_out_of_range_are_told(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;

    (void)state;
    bad("threads:0", FURROW_EINVAL, "max_workers 0: must be at least 1");
    bad("threads:-3", FURROW_EINVAL, "max_workers -3: must be at least 1");
    bad("threads:4294967297", FURROW_EINVAL, "out of range");
    bad("threads:99999999999999999999999999", FURROW_EINVAL, "out of range");
    bad("processes?threads=0", FURROW_EINVAL, "threads_per_worker 0");
    bad("processes?threads=5000", FURROW_EINVAL, "at most 4096");
    bad("processes?max_tasks_per_child=0", FURROW_EINVAL, "max_tasks_per_child 0");
    bad("processes?max_pending=0", FURROW_EINVAL, "max_pending 0");
    bad("processes?shared_memory=-1", FURROW_EINVAL, "shared_memory -1: must be at least 0");
    options.max_workers = 0;
    assert_int_equal(client_url_parse("threads", &options, &url, fault), FURROW_EINVAL);
    options.max_workers = FURROW_DEFAULT;
    options.connect_timeout = -1;
    assert_int_equal(client_url_parse("threads", &options, &url, fault), FURROW_EINVAL);
    options.connect_timeout = NAN;
    assert_int_equal(client_url_parse("threads", &options, &url, fault), FURROW_EINVAL);
    options.connect_timeout = 0;
    options.log_level = (furrow_log_level)9;
    assert_int_equal(client_url_parse("threads", &options, &url, fault), FURROW_EINVAL);
}

static void without_memory_nothing_is_left(void **state) {
    (void)state;
    fail_alloc_after(0);
    assert_int_equal(client_url_parse("threads", NULL, &url, fault), FURROW_ENOMEM);
    fail_alloc_never();
    assert_null(url.memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schemes_and_addresses_are_read),
        cmocka_unit_test(parameters_are_read),
        cmocka_unit_test(the_url_wins_over_the_options),
        cmocka_unit_test(keys_are_read_and_may_have_any_letter),
        cmocka_unit_test(what_is_wrong_in_a_url_is_told),
        cmocka_unit_test(a_long_path_is_told),
        cmocka_unit_test(numbers_out_of_range_are_told),
        cmocka_unit_test(without_memory_nothing_is_left),
    };

    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
