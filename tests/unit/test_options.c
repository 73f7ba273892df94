/* Values and lines of options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/options.h"

static void a_number_is_digits_within_its_bounds(void **state) {
    static const char *const wrong[] = {
        "", "-1", "+1", " 1", "1 ", "0x1", "1.0", "one", "4", "1001", "18446744073709551616"};
    uint64_t number = 77;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(base_option_number(wrong[i], 5, 1000, &number));
    }
    assert_int_equal(number, 77);
    assert_true(base_option_number("5", 5, 1000, &number));
    assert_int_equal(number, 5);
    assert_true(base_option_number("1000", 5, 1000, &number));
    assert_int_equal(number, 1000);
    assert_true(base_option_number("18446744073709551615", 0, UINT64_MAX, &number));
    assert_true(number == UINT64_MAX);
}

static void seconds_may_have_a_fraction(void **state) {
    static const char *const wrong[] = {"",    "s",       "1s",   "-1",   "nan",
                                        "inf", "1000001", "0.05", "1e999"};
    uint64_t ns = 77;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(base_option_seconds(wrong[i], 0.1, &ns));
    }
    assert_int_equal(ns, 77);
    assert_true(base_option_seconds("0.5", 0.1, &ns));
    assert_int_equal(ns, 500000000);
    assert_true(base_option_seconds("1000000", 0, &ns));
    assert_true(ns == UINT64_C(1000000000000000));
    assert_true(base_option_seconds("0", 0, &ns));
    assert_int_equal(ns, 0);
}

static void the_environment_says_what_an_option_has_not(void **state) {
    const char *value = "said";

    (void)state;
    assert_int_equal(setenv("FURROW_TEST_OPTION", "environment", 1), 0);
    base_option_environment(&value, "FURROW_TEST_OPTION");
    assert_string_equal(value, "said");
    value = NULL;
    base_option_environment(&value, "FURROW_TEST_OPTION");
    assert_string_equal(value, "environment");
    value = NULL;
    assert_int_equal(setenv("FURROW_TEST_OPTION", "", 1), 0);
    base_option_environment(&value, "FURROW_TEST_OPTION");
    assert_null(value);
    assert_int_equal(unsetenv("FURROW_TEST_OPTION"), 0);
    base_option_environment(&value, "FURROW_TEST_OPTION");
    assert_null(value);
}

/* ---- lines ---- */

struct line {
    uint64_t number;
    bool flag;
};

static bool set(void *user, int option, const char *value) {
    struct line *line = user;

    if (option == 'f') {
        line->flag = true;
        return true;
    }
    return base_option_number(value, 1, 9, &line->number);
}

static int read_line(struct line *line, char *error, const char *const *argv) {
    static const struct option table[] = {
        {"number", required_argument, NULL, 'n'}, {"flag", no_argument, NULL, 'f'}, {0}};
    int argc = 0;

    while (argv[argc] != NULL) {
        argc++;
    }
    *line = (struct line){0};
    return base_options_read(argc, (char **)argv, table, set, line, error, 128);
}

#define LINE(...) ((const char *const[]){"program", __VA_ARGS__, NULL})

static void options_are_read_up_to_the_first_argument(void **state) {
    struct line line;
    char error[128];

    (void)state;
    assert_int_equal(read_line(&line, error, LINE("--flag", "--number", "7", "file", "--flag")), 4);
    assert_true(line.flag);
    assert_int_equal(line.number, 7);
    assert_int_equal(read_line(&line, error, LINE("--number=8")), 2);
    assert_int_equal(line.number, 8);
    assert_int_equal(read_line(&line, error, LINE("--", "--flag")), 2);
    assert_false(line.flag);
}

static void what_is_wrong_with_a_line_is_said(void **state) {
    struct line line;
    char error[128];

    (void)state;
    assert_int_equal(read_line(&line, error, LINE("--number")), -1);
    assert_string_equal(error, "--number needs a value");
    assert_int_equal(read_line(&line, error, LINE("--nothing")), -1);
    assert_string_equal(error, "--nothing: there is no such option, or it takes no value");
    assert_int_equal(read_line(&line, error, LINE("--flag=1")), -1);
    assert_non_null(strstr(error, "takes no value"));
    assert_int_equal(read_line(&line, error, LINE("--number", "10")), -1);
    assert_string_equal(error, "--number 10: not a value that it can have");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_digits_within_its_bounds),
        cmocka_unit_test(seconds_may_have_a_fraction),
        cmocka_unit_test(the_environment_says_what_an_option_has_not),
        cmocka_unit_test(options_are_read_up_to_the_first_argument),
        cmocka_unit_test(what_is_wrong_with_a_line_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
