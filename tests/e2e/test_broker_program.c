/* furrow-broker as a program: arguments, exit codes, signals. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/e2e/dealer.h"
#include "tests/support/fleet.h"

extern char **environ;

/* Runs it to its end and returns its exit code; what it says is in `text`. */
static int run(char *text, size_t text_bytes, const char *const *arguments) {
    posix_spawn_file_actions_t actions;
    char *argv[16] = {(char *)FURROW_BROKER_PATH};
    int fds[2], status;
    size_t size = 0;
    ssize_t got;
    pid_t pid;

    for (int i = 0; arguments[i] != NULL; i++) {
        assert_true(i < 14);
        argv[i + 1] = (char *)arguments[i];
    }
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, fds[1], 1), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, fds[1], 2), 0);
    assert_int_equal(posix_spawn(&pid, argv[0], &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    while ((got = read(fds[0], text + size, text_bytes - 1 - size)) > 0) {
        size += (size_t)got;
    }
    text[size] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}
#define RUN(text, ...) run(text, sizeof text, (const char *const[]){__VA_ARGS__, NULL})

static void help_and_version_are_said(void **state) {
    char text[8192];

    (void)state;
    assert_int_equal(RUN(text, "--help"), 0);
    assert_non_null(strstr(text, "--memory-limit"));
    assert_int_equal(RUN(text, "--version"), 0);
    assert_int_equal(strncmp(text, "furrow-broker ", 14), 0);
}

static void wrong_use_says_what_is_wrong(void **state) {
    char text[8192];

    (void)state;
    assert_int_equal(RUN(text, "--bogus"), 2);
    assert_non_null(strstr(text, "--bogus"));
    assert_int_equal(RUN(text, "--memory-limit", "much"), 2);
    assert_non_null(strstr(text, "--memory-limit much"));
    assert_int_equal(RUN(text, "--memory-limit", "5"), 2);
    assert_int_equal(RUN(text, "--max-tasks", "0"), 2);
    assert_int_equal(RUN(text, "--heartbeat", "-1"), 2);
    assert_int_equal(RUN(text, "--heartbeat", "nan"), 2);
    assert_int_equal(RUN(text, "--heartbeat", "2", "--silence", "1"), 2);
    assert_int_equal(RUN(text, "--log-level", "loud"), 2);
    assert_int_equal(RUN(text, "--listen"), 2);
    assert_int_equal(RUN(text, "--listen", "http://127.0.0.1:80"), 2);
    assert_int_equal(RUN(text, "--listen", "tcp://127.0.0.1"), 2);
    assert_int_equal(RUN(text, "--listen", "tcp://127.0.0.1:99999"), 2);
    assert_int_equal(RUN(text, "--listen", "tcp://127.0.0.1:80x"), 2);
    assert_int_equal(RUN(text, "--listen", "ipc://"), 2);
    assert_int_equal(RUN(text, "somewhere"), 2);
}

static void others_than_this_machine_need_insecure(void **state) {
    static const char *const endpoints[] = {"tcp://*:7700", "tcp://0.0.0.0:7700",
                                            "tcp://192.0.2.1:7700", "tcp://[::]:7700",
                                            "tcp://127.0.0.1.example.org:7700"};
    char text[8192];

    (void)state;
    for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++) {
        assert_int_equal(RUN(text, "--listen", endpoints[i]), 2);
        assert_non_null(strstr(text, "--insecure"));
    }
}

static void keys_and_their_list_come_together_and_without_insecure(void **state) {
    char text[8192];

    (void)state;
    assert_int_equal(RUN(text, "--key", "/nowhere/key"), 2);
    assert_non_null(strstr(text, "--key needs --authorized"));
    assert_int_equal(RUN(text, "--authorized", "/nowhere/list"), 2);
    assert_non_null(strstr(text, "--authorized needs --key"));
    assert_int_equal(
        RUN(text, "--key", "/nowhere/key", "--authorized", "/nowhere/list", "--insecure"), 2);
    assert_non_null(strstr(text, "--insecure"));
    assert_int_equal(RUN(text, "--key", "", "--authorized", "x"), 2);
    /* An address that anybody could reach needs no --insecure then, but the keys. */
    assert_int_equal(RUN(text, "--listen", "tcp://0.0.0.0:*", "--key", "/nowhere/key",
                         "--authorized", "/nowhere/list"),
                     1);
    assert_non_null(strstr(text, "/nowhere/key"));
}

static void put_file(const char *path, const char *text, mode_t mode) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void key_files_are_checked_before_anything_listens(void **state) {
    static const char secret[] = "secret cx/q@U81y}L#^p>w{A)ve&7AsiDu}i]s7C0TS/J.\n";
    char directory[] = "/tmp/furrow-test-XXXXXX", key[64], list[64], text[8192];

    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(key, sizeof key, "%s/key", directory);
    snprintf(list, sizeof list, "%s/list", directory);
    put_file(key, secret, 0644);
    put_file(list, "# nobody\n", 0644);
    assert_int_equal(RUN(text, "--key", key, "--authorized", list), 1);
    assert_non_null(strstr(text, "others may read this secret"));
    assert_null(strstr(text, "cx/q"));
    assert_null(strstr(text, "listening"));
    put_file(key, "secret nonsense\n", 0600);
    assert_int_equal(RUN(text, "--key", key, "--authorized", list), 1);
    assert_non_null(strstr(text, "key:1: "));
    put_file(key, secret, 0600);
    put_file(list, "\nwork nobody\n", 0644);
    assert_int_equal(RUN(text, "--key", key, "--authorized", list), 1);
    assert_non_null(strstr(text, "list:2: "));
    put_file(list, "# nobody\n", 0666);
    assert_int_equal(RUN(text, "--key", key, "--authorized", list), 1);
    assert_non_null(strstr(text, "write to it"));
    assert_int_equal(unlink(key), 0);
    assert_int_equal(unlink(list), 0);
    assert_int_equal(rmdir(directory), 0);
}

/* Sockets that others could connect to, or put their own in the place of. */
static void ipc_sockets_where_others_may_enter_need_insecure(void **state) {
    char directory[] = "/tmp/furrow-test-XXXXXX", listen[64], text[8192];

    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(listen, sizeof listen, "ipc://%s/socket", directory);
    assert_int_equal(chmod(directory, 0755), 0);
    assert_int_equal(RUN(text, "--listen", listen), 1);
    assert_non_null(strstr(text, "others may enter"));
    assert_int_equal(chmod(directory, 0770), 0);
    assert_int_equal(RUN(text, "--listen", listen), 1);
    assert_int_equal(RUN(text, "--listen", "ipc:///tmp/furrow-test-socket"), 1);
    assert_int_equal(RUN(text, "--listen", "ipc://@furrow-test"), 1);
    assert_non_null(strstr(text, "everybody on this machine"));
    assert_int_equal(rmdir(directory), 0);
}

static void an_endpoint_that_can_not_be_had_is_an_error(void **state) {
    char text[8192];

    (void)state;
    assert_int_equal(RUN(text, "--listen", "ipc:///nowhere/at/all"), 1);
    assert_non_null(strstr(text, "can't listen on ipc:///nowhere/at/all"));
    assert_int_equal(RUN(text, "--listen", "tcp://192.0.2.1:7700", "--insecure"), 1);
}

struct scene {
    struct fleet fleet;
    struct fleet_options options;
    char directory[64];
};

static int begin(void **state) {
    struct scene *scene = calloc(1, sizeof *scene);

    assert_non_null(scene);
    strcpy(scene->directory, "/tmp/furrow-test-XXXXXX");
    assert_non_null(mkdtemp(scene->directory));
    scene->options.broker_path = FURROW_BROKER_PATH;
    scene->options.directory = scene->directory;
    *state = scene;
    return 0;
}

/* Everything is removed: the directory must be empty. */
static int end(void **state) {
    struct scene *scene = *state;

    if (scene->fleet.broker > 0) {
        assert_true(fleet_stop(&scene->fleet));
    }
    assert_int_equal(rmdir(scene->directory), 0);
    free(scene);
    return 0;
}

static void start(struct scene *scene) {
    if (!fleet_start_broker(&scene->fleet, &scene->options)) {
        fail_msg("%s", scene->fleet.error);
    }
}

/* Waits for its end, 5 s at most, and returns its exit code. */
static int exit_code(struct scene *scene) {
    uint64_t until_ns = base_clock_ns() + 5 * BASE_CLOCK_NS_PER_S;
    int status;

    while (waitpid(scene->fleet.broker, &status, WNOHANG) == 0) {
        assert_true(base_clock_ns() < until_ns);
        usleep(5000);
    }
    scene->fleet.broker = 0;
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_second_broker_on_the_same_port_is_told_so(void **state) {
    struct scene *scene = *state;
    char text[8192];

    start(scene);
    assert_int_equal(RUN(text, "--listen", scene->fleet.url), 1);
    assert_non_null(strstr(text, "Address already in use"));
}

static void sigterm_drains_an_idle_broker_at_once(void **state) {
    struct scene *scene = *state;

    start(scene);
    assert_int_equal(kill(scene->fleet.broker, SIGTERM), 0);
    assert_int_equal(exit_code(scene), 0);
}

static void sigint_waits_for_tasks_and_a_second_one_does_not(void **state) {
    struct scene *scene = *state;
    struct wire_message *message;
    struct dealer dealer;

    start(scene);
    dealer_open(&dealer, scene->fleet.url, 1);
    assert_true(dealer_is_welcomed(&dealer));
    dealer_submit(&dealer, 1);
    message = dealer_await(&dealer, WIRE_CREDIT, 2000);
    assert_non_null(message);
    wire_message_unref(message);
    assert_int_equal(kill(scene->fleet.broker, SIGINT), 0);
    usleep(300000);
    assert_int_equal(waitpid(scene->fleet.broker, NULL, WNOHANG), 0);
    dealer_submit(&dealer, 2);
    message = dealer_await(&dealer, WIRE_REJECT, 2000); /* it accepts no more */
    assert_non_null(message);
    wire_message_unref(message);
    assert_int_equal(kill(scene->fleet.broker, SIGINT), 0);
    assert_int_equal(exit_code(scene), 3);
    dealer_close(&dealer);
}

static void ipc_sockets_are_for_their_user_and_removed_at_the_end(void **state) {
    struct scene *scene = *state;
    struct dealer dealer;
    char listen[128];
    struct stat status;

    snprintf(listen, sizeof listen, "ipc://%s/socket", scene->directory);
    scene->options.listen = listen;
    start(scene);
    assert_string_equal(scene->fleet.url, listen);
    assert_int_equal(stat(listen + 6, &status), 0);
    assert_int_equal(status.st_mode & 077, 0);
    dealer_open(&dealer, listen, 1);
    assert_true(dealer_is_welcomed(&dealer));
    dealer_close(&dealer);
}

static void it_listens_on_several_endpoints(void **state) {
    struct scene *scene = *state;
    char endpoint[128];
    const char *more[] = {"--listen", endpoint, NULL};
    struct dealer one, other;

    snprintf(endpoint, sizeof endpoint, "ipc://%s/second", scene->directory);
    scene->options.broker_more = more;
    start(scene);
    dealer_open(&one, scene->fleet.url, 1);
    dealer_open(&other, endpoint, 2);
    assert_true(dealer_is_welcomed(&one));
    assert_true(dealer_is_welcomed(&other));
    dealer_close(&one);
    dealer_close(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_and_version_are_said),
        cmocka_unit_test(wrong_use_says_what_is_wrong),
        cmocka_unit_test(others_than_this_machine_need_insecure),
        cmocka_unit_test(keys_and_their_list_come_together_and_without_insecure),
        cmocka_unit_test(key_files_are_checked_before_anything_listens),
        cmocka_unit_test(ipc_sockets_where_others_may_enter_need_insecure),
        cmocka_unit_test(an_endpoint_that_can_not_be_had_is_an_error),
        cmocka_unit_test_setup_teardown(a_second_broker_on_the_same_port_is_told_so, begin, end),
        cmocka_unit_test_setup_teardown(sigterm_drains_an_idle_broker_at_once, begin, end),
        cmocka_unit_test_setup_teardown(sigint_waits_for_tasks_and_a_second_one_does_not, begin,
                                        end),
        cmocka_unit_test_setup_teardown(ipc_sockets_are_for_their_user_and_removed_at_the_end,
                                        begin, end),
        cmocka_unit_test_setup_teardown(it_listens_on_several_endpoints, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
