/* Broker and worker under a service manager that wants to know how they are (systemd's Type=notify). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/fleet.h"

#define PATIENCE_MS 30000

struct scene {
    int manager; /* the socket that the programs know */
    struct fleet fleet;
    struct fleet_options options;
    char directory[64];
};

static int begin(void **state) {
    struct scene *scene = calloc(1, sizeof *scene);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char address[64];
    int on = 1, bytes;

    assert_non_null(scene);
    strcpy(scene->directory, "/tmp/furrow-test-XXXXXX");
    assert_non_null(mkdtemp(scene->directory));
    scene->options = (struct fleet_options){.broker_path = FURROW_BROKER_PATH,
                                            .worker_path = FURROW_WORKER_PATH,
                                            .module = FAULT_TASKS_PATH,
                                            .directory = scene->directory,
                                            .workers = 1};
    bytes = snprintf(address, sizeof address, "@%s", scene->directory);
    memcpy(name.sun_path + 1, address + 1, (size_t)bytes - 1);
    scene->manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(scene->manager, (struct sockaddr *)&name,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)bytes)),
                     0);
    /* Who it is that says something. */
    assert_int_equal(setsockopt(scene->manager, SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
    setenv("NOTIFY_SOCKET", address, 1);
    setenv("WATCHDOG_USEC", "100000", 1);
    *state = scene;
    return 0;
}

static int end(void **state) {
    struct scene *scene = *state;

    assert_true(fleet_stop(&scene->fleet));
    close(scene->manager);
    assert_int_equal(rmdir(scene->directory), 0);
    free(scene);
    return 0;
}

/* The next thing that is said, and by whom. False: nothing, for that long. */
static bool next(struct scene *scene, char *said, size_t said_bytes, pid_t *pid, int patience_ms) {
    char control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec into = {said, said_bytes - 1};
    struct msghdr message = {.msg_iov = &into,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct pollfd fd = {.fd = scene->manager, .events = POLLIN};
    struct cmsghdr *header;
    struct ucred who;
    ssize_t got;

    if (poll(&fd, 1, patience_ms) != 1) {
        return false;
    }
    got = recvmsg(scene->manager, &message, 0);
    assert_true(got >= 0);
    said[got] = '\0';
    header = CMSG_FIRSTHDR(&message);
    assert_non_null(header);
    assert_int_equal(header->cmsg_type, SCM_CREDENTIALS);
    memcpy(&who, CMSG_DATA(header), sizeof who);
    *pid = who.pid;
    return true;
}

/* Waits until this process says something that begins like this; what others say is no matter. */
static void hears(struct scene *scene, pid_t from, const char *what) {
    char said[256];
    pid_t pid;

    do {
        if (!next(scene, said, sizeof said, &pid, PATIENCE_MS)) {
            fail_msg("process %d does not say %s", (int)from, what);
        }
    } while (pid != from || strncmp(said, what, strlen(what)) != 0);
}

static void broker_and_worker_say_when_they_serve_live_and_stop(void **state) {
    struct scene *scene = *state;
    pid_t pids[2];

    if (!fleet_start(&scene->fleet, &scene->options)) {
        fail_msg("%s", scene->fleet.error);
    }
    pids[0] = scene->fleet.broker;
    pids[1] = scene->fleet.worker;
    for (int i = 0; i < 2; i++) {
        hears(scene, pids[i], "READY=1\n");
    }
    for (int i = 0; i < 6; i++) {
        hears(scene, pids[i % 2], "WATCHDOG=1");
    }
    for (int i = 1; i >= 0; i--) { /* a broker that ends takes its workers with it */
        assert_int_equal(kill(pids[i], SIGTERM), 0);
        hears(scene, pids[i], "STOPPING=1\n");
    }
}

/* Nothing is left in the socket. */
static void forget(struct scene *scene) {
    char said[256];
    pid_t pid;

    while (next(scene, said, sizeof said, &pid, 0)) {
    }
}

static void a_loop_that_stands_shows_no_life(void **state) {
    struct scene *scene = *state;
    char said[256];
    pid_t pid, who;

    scene->options.workers = 0;
    if (!fleet_start_broker(&scene->fleet, &scene->options)) {
        fail_msg("%s", scene->fleet.error);
    }
    pid = scene->fleet.broker;
    hears(scene, pid, "WATCHDOG=1");
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
    forget(scene);
    assert_false(next(scene, said, sizeof said, &who, 500));
    assert_int_equal(kill(pid, SIGCONT), 0);
    hears(scene, pid, "WATCHDOG=1");
}

static void a_worker_without_its_module_never_says_that_it_serves(void **state) {
    struct scene *scene = *state;
    char said[256];
    pid_t worker, pid;
    int status;

    scene->options.module = "/nowhere/at/all.so";
    if (!fleet_start_broker(&scene->fleet, &scene->options)) {
        fail_msg("%s", scene->fleet.error);
    }
    worker = fleet_start_worker(&scene->fleet, &scene->options);
    assert_true(worker > 0);
    assert_int_equal(waitpid(worker, &status, 0), worker);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    while (next(scene, said, sizeof said, &pid, 0)) {
        assert_true(pid == scene->fleet.broker || strncmp(said, "READY", 5) != 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(broker_and_worker_say_when_they_serve_live_and_stop, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_loop_that_stands_shows_no_life, begin, end),
        cmocka_unit_test_setup_teardown(a_worker_without_its_module_never_says_that_it_serves,
                                        begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
