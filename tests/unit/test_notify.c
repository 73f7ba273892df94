#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/notify.h"

/* Plays the service manager: a socket with a name in the abstract space, which leaves no file. */
struct manager {
    int fd;
    char address[64]; /* as NOTIFY_SOCKET has it */
    char said[256];
};

static struct manager manager;

static int begin(void **state) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int bytes;

    *state = &manager;
    bytes = snprintf(manager.address, sizeof manager.address, "@furrow-test-notify-%d", getpid());
    memcpy(name.sun_path, manager.address, (size_t)bytes);
    name.sun_path[0] = '\0';
    manager.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return manager.fd < 0 ||
           bind(manager.fd, (struct sockaddr *)&name,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)bytes)) != 0;
}

static int end(void **state) {
    (void)state;
    return close(manager.fd);
}

/* What was said last, or "". */
static const char *heard(void) {
    ssize_t got = recv(manager.fd, manager.said, sizeof manager.said - 1, 0);

    manager.said[got < 0 ? 0 : got] = '\0';
    return manager.said;
}

static void open_watched(struct base_notify *notify, const char *us, int pid) {
    char text[16];

    snprintf(text, sizeof text, "%d", pid);
    setenv("NOTIFY_SOCKET", manager.address, 1);
    setenv("WATCHDOG_USEC", us, 1);
    setenv("WATCHDOG_PID", text, 1);
    assert_int_equal(base_notify_open(notify), 0);
}

static void without_a_manager_nothing_is_said_and_nothing_fails(void **state) {
    struct base_notify notify;

    (void)state;
    setenv("WATCHDOG_USEC", "1000", 1);
    assert_int_equal(base_notify_open(&notify), 0);
    assert_int_equal(base_notify_fd(&notify), -1);
    base_notify_say(&notify, "READY=1");
    base_notify_alive(&notify);
    assert_string_equal(heard(), "");
    base_notify_close(&notify);
}

static void what_is_said_arrives_as_it_is(void **state) {
    struct base_notify notify;

    (void)state;
    setenv("NOTIFY_SOCKET", manager.address, 1);
    assert_int_equal(base_notify_open(&notify), 0);
    assert_int_equal(base_notify_fd(&notify), -1);
    base_notify_say(&notify, "READY=1\nSTATUS=serving");
    assert_string_equal(heard(), "READY=1\nSTATUS=serving");
    assert_string_equal(heard(), "");
    base_notify_close(&notify);
}

static void a_manager_may_be_a_path(void **state) {
    char directory[] = "/tmp/furrow-test-XXXXXX";
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct base_notify notify;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char got[16] = "";

    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(name.sun_path, sizeof name.sun_path, "%s/notify", directory);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    setenv("NOTIFY_SOCKET", name.sun_path, 1);
    assert_int_equal(base_notify_open(&notify), 0);
    base_notify_say(&notify, "READY=1");
    assert_int_equal(recv(fd, got, sizeof got - 1, MSG_DONTWAIT), 7);
    assert_string_equal(got, "READY=1");
    close(fd);
    /* It has gone: nobody is killed by SIGPIPE or waits. */
    base_notify_say(&notify, "STOPPING=1");
    base_notify_close(&notify);
    unlink(name.sun_path);
    rmdir(directory);
}

static void children_do_not_inherit_it(void **state) {
    struct base_notify notify;

    (void)state;
    open_watched(&notify, "1000000", getpid());
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));
    base_notify_close(&notify);
}

static void signs_of_life_are_given_when_they_are_due_and_only_then(void **state) {
    struct base_notify notify;
    struct pollfd due = {.events = POLLIN};

    (void)state;
    open_watched(&notify, "20000", getpid());
    due.fd = base_notify_fd(&notify);
    assert_true(due.fd >= 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(poll(&due, 1, 30000), 1);
        base_notify_alive(&notify);
        assert_string_equal(heard(), "WATCHDOG=1");
    }
    base_notify_close(&notify);

    open_watched(&notify, "3600000000", getpid());
    base_notify_alive(&notify);
    assert_string_equal(heard(), "");
    base_notify_close(&notify);
}

static void a_watchdog_for_another_process_is_not_ours(void **state) {
    struct base_notify notify;

    (void)state;
    open_watched(&notify, "1000", getppid());
    assert_int_equal(base_notify_fd(&notify), -1);
    base_notify_close(&notify);
}

static void a_watchdog_that_is_no_number_is_none(void **state) {
    static const char *const texts[] = {"", "soon", "-1", "12x", "99999999999999999999999"};
    struct base_notify notify;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        open_watched(&notify, texts[i], getpid());
        assert_int_equal(base_notify_fd(&notify), -1);
        base_notify_close(&notify);
    }
}

static void a_manager_that_can_not_be_reached_is_an_error_and_then_silence(void **state) {
    char longer[200];
    const char *const addresses[] = {"relative", "vsock:2:1234", "/",
                                     "@",        longer,         "/nowhere/at/all"};
    const int errors[] = {EINVAL, EINVAL, EINVAL, EINVAL, EINVAL, ENOENT};
    struct base_notify notify;

    (void)state;
    memset(longer, 'x', sizeof longer - 1);
    longer[0] = '/';
    longer[sizeof longer - 1] = '\0';
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        setenv("NOTIFY_SOCKET", addresses[i], 1);
        setenv("WATCHDOG_USEC", "1000", 1);
        assert_int_equal(base_notify_open(&notify), errors[i]);
        assert_null(getenv("NOTIFY_SOCKET"));
        assert_int_equal(base_notify_fd(&notify), -1);
        base_notify_say(&notify, "READY=1");
        base_notify_alive(&notify);
        base_notify_close(&notify);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_a_manager_nothing_is_said_and_nothing_fails, begin,
                                        end),
        cmocka_unit_test_setup_teardown(what_is_said_arrives_as_it_is, begin, end),
        cmocka_unit_test_setup_teardown(a_manager_may_be_a_path, begin, end),
        cmocka_unit_test_setup_teardown(children_do_not_inherit_it, begin, end),
        cmocka_unit_test_setup_teardown(signs_of_life_are_given_when_they_are_due_and_only_then,
                                        begin, end),
        cmocka_unit_test_setup_teardown(a_watchdog_for_another_process_is_not_ours, begin, end),
        cmocka_unit_test_setup_teardown(a_watchdog_that_is_no_number_is_none, begin, end),
        cmocka_unit_test_setup_teardown(
            a_manager_that_can_not_be_reached_is_an_error_and_then_silence, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
