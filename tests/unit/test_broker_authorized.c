/* The list of keys that are let in: broker/authorized.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker/authorized.h"
#include "tests/unit/fail_alloc.h"
#include "wire/key.h"

#define KEY_A "HelloWorldHelloWorldHelloWorldHelloWorld"
#define KEY_B "HelloWorldHelloWorldHelloWorldHelloWorlb"

static struct broker_authorized *parse(const char *text, struct broker_authorized_fault *fault) {
    size_t size = strlen(text);
    char *copy = malloc(size + (size == 0)); /* so that reading beyond it is noticed */
    struct broker_authorized *list;

    assert_non_null(copy);
    memcpy(copy, text, size);
    list = broker_authorized_parse(copy, size, fault);
    free(copy);
    return list;
}

static const struct broker_authorized_key *find(const struct broker_authorized *list,
                                                const char *text) {
    uint8_t key[WIRE_KEY_BYTES];

    assert_true(wire_key_decode(text, strlen(text), key));
    return broker_authorized_find(list, key);
}

static void a_line_gives_rights_name_and_quota(void **state) {
    static const char text[] = "# who may come in\n"
                               "\n"
                               "submit,work " KEY_A " name=alice tasks=1000 bytes=4G\r\n"
                               "  admin\t" KEY_B "   ";
    struct broker_authorized_fault fault;
    struct broker_authorized *list = parse(text, &fault);
    const struct broker_authorized_key *key;

    (void)state;
    assert_non_null(list);
    assert_int_equal(broker_authorized_count(list), 2);
    key = find(list, KEY_A);
    assert_ptr_equal(key, broker_authorized_at(list, 0));
    assert_int_equal(key->identity.rights, BROKER_MAY_SUBMIT | BROKER_MAY_WORK);
    assert_int_equal(key->identity.tasks_max, 1000);
    assert_int_equal(key->identity.bytes_max, UINT64_C(4) << 30);
    assert_string_equal(key->name, "alice");
    key = find(list, KEY_B);
    assert_ptr_equal(key, broker_authorized_at(list, 1));
    assert_int_equal(key->identity.rights, BROKER_MAY_ADMIN);
    assert_int_equal(key->identity.tasks_max, BROKER_NO_QUOTA);
    assert_int_equal(key->identity.bytes_max, BROKER_NO_QUOTA);
    assert_string_equal(key->name, "");
    broker_authorized_free(list);
}

static void an_empty_list_lets_nobody_in(void **state) {
    struct broker_authorized_fault fault;
    struct broker_authorized *list = parse("# nobody\n", &fault);

    (void)state;
    assert_non_null(list);
    assert_int_equal(broker_authorized_count(list), 0);
    assert_null(find(list, KEY_A));
    broker_authorized_free(list);
}

static void a_wrong_line_is_refused_with_its_number(void **state) {
    static const struct {
        const char *text;
        unsigned line;
        const char *says;
    } table[] = {
        {"all " KEY_A, 1, "begins with submit"},
        {"submit, " KEY_A, 1, "begins with submit"},
        {",submit " KEY_A, 1, "begins with submit"},
        {"submit,submit " KEY_A, 1, "begins with submit"},
        {"Submit " KEY_A, 1, "begins with submit"},
        {KEY_A " submit", 1, "begins with submit"},
        {"submit", 1, "no public key"},
        {"\n#\nsubmit HelloWorld", 3, "no public key"},
        {"submit " KEY_A "x", 1, "no public key"},
        {"submit " KEY_A " alice", 1, "only name="},
        {"submit " KEY_A " host=x", 1, "only name="},
        {"submit " KEY_A " name=", 1, "name="},
        {"submit " KEY_A " name=a name=b", 1, "name="},
        {"submit " KEY_A " name=a\x01", 1, "name="},
        {"submit " KEY_A " name=0123456789012345678901234567890123456789012345678901234567890123",
         1, "name="},
        {"submit " KEY_A " tasks=0", 1, "tasks="},
        {"submit " KEY_A " tasks=", 1, "tasks="},
        {"submit " KEY_A " tasks=-1", 1, "tasks="},
        {"submit " KEY_A " tasks=1K", 1, "tasks="},
        {"submit " KEY_A " tasks=99999999999999999999", 1, "tasks="},
        {"submit " KEY_A " tasks=1 tasks=1", 1, "tasks="},
        {"submit " KEY_A " bytes=1023", 1, "bytes="},
        {"submit " KEY_A " bytes=1X", 1, "bytes="},
        {"submit " KEY_A " bytes=K", 1, "bytes="},
        {"submit " KEY_A " bytes=18446744073709551615T", 1, "bytes="},
        {"submit " KEY_A "\nwork " KEY_B "\nwork " KEY_A, 3, "before"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct broker_authorized_fault fault = {.line = 99};

        if (parse(table[i].text, &fault) != NULL) {
            fail_msg("accepted: %s", table[i].text);
        }
        assert_int_equal(fault.line, table[i].line);
        if (strstr(fault.text, table[i].says) == NULL) {
            fail_msg("\"%s\" of: %s", fault.text, table[i].text);
        }
    }
}

static void a_long_list_is_found_by_key(void **state) {
    enum { COUNT = 3000, LINE = 80 };
    char *text = malloc(COUNT * LINE), letters[WIRE_KEY_TEXT_BYTES];
    uint8_t key[WIRE_KEY_BYTES] = {0};
    struct broker_authorized_fault fault;
    struct broker_authorized *list;
    size_t size = 0;

    (void)state;
    assert_non_null(text);
    for (uint32_t i = 0; i < COUNT; i++) {
        memcpy(key, &i, sizeof i);
        wire_key_encode(key, letters);
        size += (size_t)snprintf(text + size, LINE, "work %s tasks=%u\n", letters, i + 1);
    }
    list = broker_authorized_parse(text, size, &fault);
    free(text);
    assert_non_null(list);
    for (uint32_t i = 0; i < COUNT; i++) {
        memcpy(key, &i, sizeof i);
        assert_int_equal(broker_authorized_find(list, key)->identity.tasks_max, i + 1);
    }
    key[31] = 1;
    assert_null(broker_authorized_find(list, key));
    broker_authorized_free(list);
}

static void without_memory_there_is_no_list(void **state) {
    struct broker_authorized_fault fault;
    struct broker_authorized *list = NULL;
    unsigned failures = 0;

    (void)state;
    for (long allowed = 0; list == NULL; allowed++) {
        fail_alloc_after(allowed);
        list = broker_authorized_parse("work " KEY_A, strlen("work " KEY_A), &fault);
        fail_alloc_never();
        if (list == NULL) {
            failures++;
            assert_string_equal(fault.text, "out of memory");
        }
    }
    assert_true(failures > 0);
    broker_authorized_free(list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_gives_rights_name_and_quota),
        cmocka_unit_test(an_empty_list_lets_nobody_in),
        cmocka_unit_test(a_wrong_line_is_refused_with_its_number),
        cmocka_unit_test(a_long_list_is_found_by_key),
        cmocka_unit_test(without_memory_there_is_no_list),
    };

    return cmocka_run_group_tests_name("broker_authorized", tests, NULL, NULL);
}
