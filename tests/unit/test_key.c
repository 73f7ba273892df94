/* Keys as text, and files that hold one: wire/key.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/key.h"

/* RFC 32's own example, four times over. */
#define HELLO_WORLD "HelloWorldHelloWorldHelloWorldHelloWorld"

static void z85_is_as_its_specification_has_it(void **state) {
    static const uint8_t bytes[] = {0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B};
    uint8_t key[WIRE_KEY_BYTES];
    char text[WIRE_KEY_TEXT_BYTES];

    (void)state;
    assert_true(wire_key_decode(HELLO_WORLD, WIRE_KEY_LETTERS, key));
    for (size_t i = 0; i < sizeof key; i += sizeof bytes) {
        assert_memory_equal(key + i, bytes, sizeof bytes);
    }
    wire_key_encode(key, text);
    assert_string_equal(text, HELLO_WORLD);
}

static void every_key_comes_back_from_its_text(void **state) {
    uint8_t key[WIRE_KEY_BYTES], back[WIRE_KEY_BYTES];
    char text[WIRE_KEY_TEXT_BYTES];
    uint32_t random = 1;

    (void)state;
    for (int i = 0; i < 2000; i++) {
        for (size_t j = 0; j < sizeof key; j++) {
            random = random * 1664525u + 1013904223u;
            key[j] = i == 0 ? 0 : i == 1 ? 0xff : (uint8_t)(random >> 24);
        }
        wire_key_encode(key, text);
        assert_int_equal(strlen(text), WIRE_KEY_LETTERS);
        assert_true(wire_key_decode(text, WIRE_KEY_LETTERS, back));
        assert_memory_equal(key, back, sizeof key);
    }
}

static void what_is_no_key_is_refused(void **state) {
    uint8_t key[WIRE_KEY_BYTES];

    (void)state;
    assert_false(wire_key_decode(HELLO_WORLD, WIRE_KEY_LETTERS - 1, key));
    assert_false(wire_key_decode("", 0, key));
    assert_false(
        wire_key_decode("HelloWorldHelloWorldHelloWorldHelloWor~d", WIRE_KEY_LETTERS, key));
    assert_false(
        wire_key_decode("HelloWorldHelloWorldHelloWorldHelloWor\0d", WIRE_KEY_LETTERS, key));
    assert_false(
        wire_key_decode("HelloWorldHelloWorldHelloWorldHelloWor d", WIRE_KEY_LETTERS, key));
    /* 85 to the fifth is more than 32 bits hold. */
    assert_false(
        wire_key_decode("#####WorldHelloWorldHelloWorldHelloWorld", WIRE_KEY_LETTERS, key));
}

/* --------------------------------------------------------------------- files */

static bool parse(const char *text, enum wire_key_kind kind, char *key,
                  struct wire_key_fault *fault) {
    size_t size = strlen(text);
    char *copy = malloc(size + (size == 0)); /* so that reading beyond it is noticed */
    bool good;

    assert_non_null(copy);
    memcpy(copy, text, size);
    good = wire_key_parse(copy, size, kind, key, fault);
    free(copy);
    return good;
}

static void a_file_holds_one_key_comments_and_empty_lines(void **state) {
    static const char *const files[] = {"secret " HELLO_WORLD, "secret " HELLO_WORLD "\n",
                                        "# a comment\n\n  \t\n#another\nsecret\t" HELLO_WORLD
                                        "  \r\n# the end",
                                        "  secret   " HELLO_WORLD "\n\n"};
    struct wire_key_fault fault;
    char key[WIRE_KEY_TEXT_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        assert_true(parse(files[i], WIRE_KEY_SECRET, key, &fault));
        assert_string_equal(key, HELLO_WORLD);
    }
    assert_true(parse("public " HELLO_WORLD, WIRE_KEY_PUBLIC, key, &fault));
}

static void a_wrong_file_is_refused_with_the_line_and_no_part_of_a_key(void **state) {
    static const struct {
        const char *text;
        enum wire_key_kind kind;
        unsigned line;
        const char *says;
    } table[] = {
        {"", WIRE_KEY_SECRET, 0, "no key"},
        {"# nothing\n\n", WIRE_KEY_SECRET, 0, "no key"},
        {"public " HELLO_WORLD, WIRE_KEY_SECRET, 1, "the secret one is asked for"},
        {"\nsecret " HELLO_WORLD, WIRE_KEY_PUBLIC, 2, "the public one is asked for"},
        {"secret", WIRE_KEY_SECRET, 1, "missing"},
        {"secret HelloWorld", WIRE_KEY_SECRET, 1, "40 letters"},
        {"secret " HELLO_WORLD "x", WIRE_KEY_SECRET, 1, "40 letters"},
        {"secret " HELLO_WORLD " x", WIRE_KEY_SECRET, 1, "behind the key"},
        {"secret " HELLO_WORLD "\nsecret " HELLO_WORLD, WIRE_KEY_SECRET, 2, "second key"},
        {"# one\n# two\n" HELLO_WORLD, WIRE_KEY_SECRET, 3, "begins with"},
        {"secrets " HELLO_WORLD, WIRE_KEY_SECRET, 1, "begins with"},
    };
    struct wire_key_fault fault;
    char key[WIRE_KEY_TEXT_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_false(parse(table[i].text, table[i].kind, key, &fault));
        assert_int_equal(fault.line, table[i].line);
        assert_non_null(strstr(fault.text, table[i].says));
        assert_null(strstr(fault.text, "Hello"));
        assert_int_equal(key[0], '\0');
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(z85_is_as_its_specification_has_it),
        cmocka_unit_test(every_key_comes_back_from_its_text),
        cmocka_unit_test(what_is_no_key_is_refused),
        cmocka_unit_test(a_file_holds_one_key_comments_and_empty_lines),
        cmocka_unit_test(a_wrong_file_is_refused_with_the_line_and_no_part_of_a_key),
    };

    return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
