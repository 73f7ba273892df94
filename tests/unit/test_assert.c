#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

static void an_assert_that_holds_evaluates_its_condition_once(void **state) {
    int count = 0;

    (void)state;
    BASE_ASSERT(++count == 1);
    assert_int_equal(count, 1);
}

/* In a child, whose stderr is read to its end. */
static void an_assert_that_fails_says_where_and_aborts(void **state) {
    char text[600];
    size_t size = 0;
    ssize_t got;
    int ends[2];
    int status;
    pid_t child;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        BASE_ASSERT(ends[0] < 0);
        _exit(0);
    }
    close(ends[1]);
    while ((got = read(ends[0], text + size, sizeof text - 1 - size)) > 0) {
        size += (size_t)got;
    }
    text[size] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "test_assert.c:"));
    assert_non_null(strstr(text, ": assertion failed: ends[0] < 0\n"));
}

static void the_container_of_a_member_is_found(void **state) {
    struct container {
        int before;
        double member;
    } container;

    (void)state;
    assert_ptr_equal(BASE_CONTAINER_OF(&container.member, struct container, member), &container);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_assert_that_holds_evaluates_its_condition_once),
        cmocka_unit_test(an_assert_that_fails_says_where_and_aborts),
        cmocka_unit_test(the_container_of_a_member_is_found),
    };

    return cmocka_run_group_tests_name("assert", tests, NULL, NULL);
}
