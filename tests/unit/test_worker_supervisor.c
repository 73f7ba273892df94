/* Worker processes for real: this program, run again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <furrow.h>

#include "base/clock.h"
#include "worker/child.h"
#include "worker/supervisor.h"
#include "worker_router.h"

#define LIMIT_NS (20 * BASE_CLOCK_NS_PER_S) /* for everything that a test waits for */

/* ---- tasks, run in the worker processes ---- */

static int64_t initialized_with = -1;

static int initialize(furrow_task *task) {
    return furrow_task_args(task, "i", &initialized_with) == FURROW_OK ? FURROW_OK : FURROW_EARGS;
}
FURROW_TASK(initialize);

static int initialize_in_vain(furrow_task *task) {
    return furrow_task_fail(task, 9, "no licence");
}
FURROW_TASK(initialize_in_vain);

static int initialize_fatally(furrow_task *task) {
    (void)task;
    (void)raise(SIGKILL);
    return FURROW_OK;
}
FURROW_TASK(initialize_fatally);

static int initialize_slowly(furrow_task *task) {
    return furrow_task_sleep(task, 1000);
}
FURROW_TASK(initialize_slowly);

static int get_initialized(furrow_task *task) {
    return furrow_task_return(task, "i", initialized_with);
}
FURROW_TASK(get_initialized);

static int no_op(furrow_task *task) {
    (void)task;
    return FURROW_OK;
}
FURROW_TASK(no_op);

static int crash(furrow_task *task) {
    (void)task;
    (void)signal(SIGSEGV, SIG_DFL); /* sanitizers have theirs */
    (void)raise(SIGSEGV);
    return FURROW_OK;
}
FURROW_TASK(crash);

static int exit_with_seven(furrow_task *task) {
    (void)task;
    _exit(7);
}
FURROW_TASK(exit_with_seven);

static int nap(furrow_task *task) {
    return furrow_task_sleep(task, 1000);
}
FURROW_TASK(nap);

static int nap_briefly(furrow_task *task) {
    return furrow_task_sleep(task, 0.1);
}
FURROW_TASK(nap_briefly);

static int busy_for_ever(furrow_task *task) {
    while (furrow_task_attempt(task) > 0) { /* that is, always */
        (void)usleep(1000);
    }
    return FURROW_OK;
}
FURROW_TASK(busy_for_ever);

static int start_grandchild(furrow_task *task) {
    char *argv[] = {(char *)"sleep", (char *)"1000", NULL};
    pid_t pid;
    if (posix_spawnp(&pid, "sleep", NULL, NULL, argv, environ) != 0) {
        return FURROW_ESYSTEM;
    }
    return furrow_task_return(task, "i", (int64_t)pid);
}
FURROW_TASK(start_grandchild);

static int64_t count_fds(void) {
    DIR *directory = opendir("/proc/self/fd");
    int64_t count = 0;
    while (readdir(directory) != NULL) {
        count++;
    }
    (void)closedir(directory);
    return count - 3; /* ".", ".." and the directory's own */
}

static int has_fd(furrow_task *task) {
    int64_t fd;
    if (furrow_task_args(task, "i", &fd) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "b", fcntl((int)fd, F_GETFD) >= 0);
}
FURROW_TASK(has_fd);

static int stdin_is_empty(furrow_task *task) {
    char byte;
    return furrow_task_return(task, "b", read(0, &byte, 1) == 0);
}
FURROW_TASK(stdin_is_empty);

/* ---- helpers ---- */

struct fixture {
    struct router router;
    struct worker_supervisor_config config;
    struct worker_supervisor *supervisor;
    struct worker_supervisor_event event; /* the last one */
    uint64_t running[8];                  /* its leases */
    char text[512];                       /* its text */
    unsigned counts[WORKER_CHILDREN_FAILED + 1];
};

static int setup(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);

    router_open(&fixture->router);
    fixture->config = (struct worker_supervisor_config){
        .count = 1,
        .threads = 1,
        .endpoint = fixture->router.endpoint,
        .name = "test",
    };
    *state = fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;

    worker_supervisor_close(fixture->supervisor);
    router_close(&fixture->router);
    free(fixture);
    return 0;
}

static void open_supervisor(struct fixture *fixture) {
    assert_int_equal(worker_supervisor_open(&fixture->config, &fixture->supervisor), 0);
}

/* Takes one event if there is one; keeps what the next call would invalidate. */
static bool take_event(struct fixture *fixture, uint64_t now_ns) {
    struct worker_supervisor_event *event = &fixture->event;

    if (!worker_supervisor_next(fixture->supervisor, now_ns, event)) {
        return false;
    }
    fixture->counts[event->type]++;
    assert_true(event->running_count <= 8);
    for (uint32_t i = 0; i < event->running_count; i++) {
        fixture->running[i] = event->running[i];
    }
    (void)snprintf(fixture->text, sizeof fixture->text, "%s",
                   event->text == NULL ? "" : event->text);
    return true;
}

static void wait_for(struct fixture *fixture, enum worker_supervisor_event_type type) {
    uint64_t until_ns = base_clock_ns() + LIMIT_NS;

    for (;;) {
        while (take_event(fixture, base_clock_ns())) {
            if (fixture->event.type == type) {
                return;
            }
        }
        assert_true(base_clock_ns() < until_ns);
        router_pump(&fixture->router, 2);
    }
}

/* The next child that is ready and has said HELLO. */
static struct router_peer *wait_for_worker(struct fixture *fixture) {
    uint64_t until_ns = base_clock_ns() + LIMIT_NS;
    struct wire_session session;

    wait_for(fixture, WORKER_CHILD_READY);
    session = fixture->event.session;
    while (router_peer_of(&fixture->router, session) == NULL) {
        router_pump(&fixture->router, 5);
        assert_true(base_clock_ns() < until_ns);
    }
    return router_peer_of(&fixture->router, session);
}

static const struct router_result *wait_for_result(struct fixture *fixture, uint64_t lease) {
    uint64_t until_ns = base_clock_ns() + LIMIT_NS;

    while (router_result_of(&fixture->router, lease) == NULL) {
        router_pump(&fixture->router, 5);
        assert_true(base_clock_ns() < until_ns);
    }
    return router_result_of(&fixture->router, lease);
}

static void wait_for_running(struct fixture *fixture, uint64_t lease) {
    uint64_t until_ns = base_clock_ns() + LIMIT_NS;

    for (;;) {
        for (uint32_t i = 0; i < fixture->router.running_count; i++) {
            if (fixture->router.running[i] == lease) {
                return;
            }
        }
        router_pump(&fixture->router, 5);
        assert_true(base_clock_ns() < until_ns);
    }
}

static void run(struct fixture *fixture, struct router_peer *peer, uint64_t lease,
                const char *function) {
    router_run(&fixture->router, peer, lease, function, NULL, 0, 0);
}

/* Waits until a process that is not our child, but may become it, is gone. */
static void wait_for_death(pid_t pid) {
    uint64_t until_ns = base_clock_ns() + LIMIT_NS;
    char path[64], stat[256];

    for (;;) {
        FILE *file;
        const char *state;

        (void)waitpid(pid, NULL, WNOHANG);
        (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
        file = fopen(path, "re");
        if (file == NULL) {
            return;
        }
        state = fgets(stat, sizeof stat, file) == NULL ? NULL : strrchr(stat, ')');
        (void)fclose(file);
        if (state == NULL || state[2] == 'Z' || state[2] == 'X') {
            return;
        }
        assert_true(base_clock_ns() < until_ns);
        (void)poll(NULL, 0, 2);
    }
}

/* ---- living ---- */

static void children_serve_under_names_of_their_own(void **state) {
    struct fixture *fixture = *state;
    struct router_peer *peers[2];

    fixture->config.count = 2;
    fixture->config.threads = 3;
    open_supervisor(fixture);
    peers[0] = wait_for_worker(fixture);
    peers[1] = wait_for_worker(fixture);
    assert_int_equal(worker_supervisor_alive(fixture->supervisor), 2);
    assert_int_equal(fixture->counts[WORKER_CHILD_STARTED], 2);
    assert_string_not_equal(peers[0]->name, peers[1]->name);
    assert_memory_equal(peers[0]->name, "test-", 5);
    assert_int_not_equal(peers[0]->pid, peers[1]->pid);
    assert_int_equal(peers[0]->slots, 3);
    assert_int_equal(getpgid((pid_t)peers[0]->pid), peers[0]->pid);
    for (uint64_t lease = 1; lease <= 2; lease++) {
        run(fixture, peers[lease - 1], lease, "no_op");
        assert_int_equal(wait_for_result(fixture, lease)->kind, WIRE_KIND_VALUE);
    }
}

static void on_demand_no_child_is_started_before_it_is_wanted(void **state) {
    struct fixture *fixture = *state;

    fixture->config.count = 3;
    fixture->config.on_demand = true;
    open_supervisor(fixture);
    assert_false(take_event(fixture, base_clock_ns()));
    assert_true(worker_supervisor_deadline(fixture->supervisor) == BASE_CLOCK_FOREVER);
    worker_supervisor_want(fixture->supervisor, 1);
    (void)wait_for_worker(fixture);
    worker_supervisor_want(fixture->supervisor, 99);
    (void)wait_for_worker(fixture);
    (void)wait_for_worker(fixture);
    assert_int_equal(worker_supervisor_alive(fixture->supervisor), 3);
    assert_false(take_event(fixture, base_clock_ns()));
}

static void children_inherit_no_descriptor_and_an_empty_stdin(void **state) {
    struct fixture *fixture = *state;
    int leaked = fcntl(1, F_DUPFD, 50);
    uint8_t argument[] = {(uint8_t)leaked};
    struct router_peer *peer;

    assert_true(leaked >= 50 && leaked < 128);
    open_supervisor(fixture);
    peer = wait_for_worker(fixture);
    router_run(&fixture->router, peer, 1, "has_fd", argument, 1, 0);
    run(fixture, peer, 2, "stdin_is_empty");
    assert_int_equal(wait_for_result(fixture, 1)->data[0], 0xc2);
    assert_int_equal(wait_for_result(fixture, 2)->data[0], 0xc3);
    assert_int_equal(close(leaked), 0);
}

static void a_task_that_runs_long_is_reported_as_running(void **state) {
    struct fixture *fixture = *state;
    struct router_peer *peer;

    open_supervisor(fixture);
    peer = wait_for_worker(fixture);
    run(fixture, peer, 1, "no_op");
    run(fixture, peer, 2, "nap");
    (void)wait_for_result(fixture, 1);
    wait_for_running(fixture, 2);
    assert_int_equal(fixture->router.running_count, 1);
}

/* ---- dying ---- */

static void a_crash_is_told_with_its_signal_and_what_was_running(void **state) {
    struct fixture *fixture = *state;
    struct router_peer *peer;
    pid_t pid;

    fixture->config.threads = 2;
    open_supervisor(fixture);
    peer = wait_for_worker(fixture);
    pid = (pid_t)peer->pid;
    run(fixture, peer, 11, "no_op");
    (void)wait_for_result(fixture, 11);
    run(fixture, peer, 12, "nap");
    wait_for_running(fixture, 12);
    run(fixture, peer, 13, "crash");
    run(fixture, peer, 14, "no_op");
    wait_for(fixture, WORKER_CHILD_DIED);
    assert_int_equal(fixture->event.pid, pid);
    assert_int_equal(fixture->event.signal, SIGSEGV);
    assert_false(fixture->event.expected);
    assert_int_equal(fixture->event.running_count, 2);
    assert_true(fixture->running[0] + fixture->running[1] == 12 + 13);
    assert_true(fixture->event.finished >= 1);
    assert_int_equal(fixture->event.session.high, peer->session.high);
    assert_int_equal(fixture->event.session.low, peer->session.low);
}

static void a_dead_child_is_replaced_and_the_new_one_serves(void **state) {
    struct fixture *fixture = *state;
    struct router_peer *peer;

    open_supervisor(fixture);
    peer = wait_for_worker(fixture);
    run(fixture, peer, 1, "exit_with_seven");
    wait_for(fixture, WORKER_CHILD_DIED);
    assert_int_equal(fixture->event.signal, 0);
    assert_int_equal(fixture->event.exit_code, 7);
    assert_int_equal(fixture->event.running_count, 1);
    assert_int_equal(fixture->running[0], 1);
    peer = wait_for_worker(fixture);
    assert_string_equal(peer->name, "test-2");
    run(fixture, peer, 2, "no_op");
    (void)wait_for_result(fixture, 2);
}

static void what_a_task_has_started_dies_with_its_worker(void **state) {
    struct fixture *fixture = *state;
    struct router_peer *peer;
    int64_t grandchild;
    const struct router_result *result;

    open_supervisor(fixture);
    peer = wait_for_worker(fixture);
    run(fixture, peer, 1, "start_grandchild");
    result = wait_for_result(fixture, 1);
    assert_int_equal(furrow_unpack(result->data, result->size, "i", &grandchild), FURROW_OK);
    assert_int_equal(kill((pid_t)grandchild, 0), 0);
    assert_int_equal(kill((pid_t)peer->pid, SIGKILL), 0);
    wait_for(fixture, WORKER_CHILD_DIED);
    assert_int_equal(fixture->event.signal, SIGKILL);
    wait_for_death((pid_t)grandchild);
}

static void a_task_over_its_limit_is_ended_by_the_death_of_its_worker(void **state) {
    struct fixture *fixture = *state;
    struct router_peer *peer;

    fixture->config.grace_ns = 20 * BASE_CLOCK_NS_PER_MS;
    open_supervisor(fixture);
    peer = wait_for_worker(fixture);
    router_run(&fixture->router, peer, 1, "nap", NULL, 0, 30);
    assert_int_equal(wait_for_result(fixture, 1)->kind, WIRE_KIND_DEADLINE);
    router_run(&fixture->router, peer, 2, "busy_for_ever", NULL, 0, 30);
    assert_int_equal(wait_for_result(fixture, 2)->kind, WIRE_KIND_DEADLINE);
    wait_for(fixture, WORKER_CHILD_DIED);
    assert_true(fixture->event.expected);
    assert_int_equal(fixture->event.signal, SIGKILL);
    assert_non_null(strstr(fixture->text, "limit"));
    run(fixture, wait_for_worker(fixture), 3, "no_op");
    (void)wait_for_result(fixture, 3);
}

static void with_sigchld_ignored_deaths_are_seen_all_the_same(void **state) {
    struct fixture *fixture = *state;

    (void)signal(SIGCHLD, SIG_IGN);
    open_supervisor(fixture);
    run(fixture, wait_for_worker(fixture), 1, "crash");
    wait_for(fixture, WORKER_CHILD_DIED);
    assert_int_equal(fixture->event.running_count, 1);
    (void)wait_for_worker(fixture);
    worker_supervisor_close(fixture->supervisor);
    fixture->supervisor = NULL;
    (void)signal(SIGCHLD, SIG_DFL);
}

static void children_that_die_again_and_again_are_started_ever_more_slowly(void **state) {
    struct fixture *fixture = *state;
    uint64_t now_ns = 1000, waited_ns = 0;

    fixture->config.program = "/bin/false";
    fixture->config.count = 2;
    open_supervisor(fixture);
    while (fixture->counts[WORKER_CHILD_DIED] < 16) {
        if (take_event(fixture, now_ns)) {
            continue;
        }
        if (worker_supervisor_alive(fixture->supervisor) == 0) {
            uint64_t deadline_ns = worker_supervisor_deadline(fixture->supervisor);

            assert_true(deadline_ns > now_ns && deadline_ns != BASE_CLOCK_FOREVER);
            waited_ns = deadline_ns - now_ns;
            now_ns = deadline_ns;
        } else {
            struct pollfd poller = {.fd = worker_supervisor_fd(fixture->supervisor),
                                    .events = POLLIN};

            assert_int_equal(poll(&poller, 1, 20000), 1);
        }
    }
    assert_int_equal(fixture->event.exit_code, 1);
    assert_int_equal(fixture->event.futile, 16);
    assert_true(waited_ns >= BASE_CLOCK_NS_PER_S && waited_ns <= 10 * BASE_CLOCK_NS_PER_S);
}

static void a_child_that_finishes_tasks_may_die_as_often_as_it_likes(void **state) {
    struct fixture *fixture = *state;

    open_supervisor(fixture);
    for (uint64_t i = 0; i < 8; i++) {
        struct router_peer *peer = wait_for_worker(fixture);

        run(fixture, peer, 2 * i + 1, "no_op");
        (void)wait_for_result(fixture, 2 * i + 1);
        run(fixture, peer, 2 * i + 2, "crash");
        wait_for(fixture, WORKER_CHILD_DIED);
        assert_int_equal(fixture->event.futile, 0);
    }
}

/* ---- failing for good ---- */

static void assert_failed(struct fixture *fixture, bool initializer, const char *why) {
    wait_for(fixture, WORKER_CHILDREN_FAILED);
    assert_true(fixture->event.initializer == initializer);
    if (strstr(fixture->text, why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", fixture->text, why);
    }
    while (worker_supervisor_alive(fixture->supervisor) > 0) {
        wait_for(fixture, WORKER_CHILD_DIED);
    }
    assert_true(worker_supervisor_deadline(fixture->supervisor) == BASE_CLOCK_FOREVER ||
                take_event(fixture, base_clock_ns()));
    assert_false(take_event(fixture, base_clock_ns() + 3600 * BASE_CLOCK_NS_PER_S));
    assert_int_equal(fixture->counts[WORKER_CHILD_READY], 0);
}

static void a_program_that_is_not_there_is_a_failure(void **state) {
    struct fixture *fixture = *state;

    fixture->config.program = "/nowhere/furrow-worker";
    open_supervisor(fixture);
    assert_failed(fixture, false, "/nowhere/furrow-worker");
    assert_int_equal(fixture->counts[WORKER_CHILD_STARTED], 0);
}

static void a_module_that_is_not_there_is_a_failure(void **state) {
    static const char *const modules[] = {"/nowhere/tasks.so"};
    struct fixture *fixture = *state;

    fixture->config.modules = modules;
    fixture->config.module_count = 1;
    open_supervisor(fixture);
    assert_failed(fixture, false, "/nowhere/tasks.so: no such file");
}

static void an_initializer_runs_before_the_first_task(void **state) {
    struct fixture *fixture = *state;
    struct router_peer *peer;

    fixture->config.initializer = "initialize";
    fixture->config.initializer_args = "\x2a";
    fixture->config.initializer_args_size = 1;
    open_supervisor(fixture);
    for (uint64_t lease = 1; lease <= 2; lease++) { /* in each child */
        peer = wait_for_worker(fixture);
        run(fixture, peer, lease, "get_initialized");
        assert_int_equal(wait_for_result(fixture, lease)->data[0], 42);
        run(fixture, peer, lease + 100, "crash");
        wait_for(fixture, WORKER_CHILD_DIED);
    }
}

static void an_initializer_that_fails_is_told_in_its_own_words(void **state) {
    struct fixture *fixture = *state;

    fixture->config.initializer = "initialize_in_vain";
    open_supervisor(fixture);
    assert_failed(fixture, true, "initialize_in_vain failed with code 9: no licence");
}

static void an_initializer_that_kills_its_process_has_failed(void **state) {
    struct fixture *fixture = *state;

    fixture->config.initializer = "initialize_fatally";
    open_supervisor(fixture);
    assert_failed(fixture, true, "signal 9");
}

static void an_initializer_that_nobody_knows_has_failed(void **state) {
    struct fixture *fixture = *state;

    fixture->config.initializer = "initialise";
    open_supervisor(fixture);
    assert_failed(fixture, true, "initialise");
}

/* ---- ending ---- */

static void after_its_tasks_a_child_is_replaced_before_it_is_gone(void **state) {
    struct fixture *fixture = *state;
    struct router_peer *peer, *second;

    fixture->config.tasks_max = 2;
    open_supervisor(fixture);
    peer = wait_for_worker(fixture);
    run(fixture, peer, 1, "no_op");
    run(fixture, peer, 2, "nap");
    wait_for(fixture, WORKER_CHILD_RETIRING);
    second = wait_for_worker(fixture);
    assert_int_equal(fixture->counts[WORKER_CHILD_DIED], 0);
    run(fixture, second, 3, "no_op");
    run(fixture, second, 4, "no_op");
    wait_for(fixture, WORKER_CHILD_DIED);
    assert_true(fixture->event.expected);
    assert_int_equal(fixture->event.signal, 0);
    assert_int_equal(fixture->event.exit_code, 0);
    assert_int_equal(fixture->event.pid, second->pid);
    assert_int_equal(fixture->event.finished, 2);
    assert_true(second->drains && second->gone);
}

static void stopped_children_finish_what_they_run_and_end(void **state) {
    struct fixture *fixture = *state;
    struct router_peer *peer;

    fixture->config.count = 2;
    open_supervisor(fixture);
    peer = wait_for_worker(fixture);
    (void)wait_for_worker(fixture);
    run(fixture, peer, 1, "nap_briefly");
    wait_for_running(fixture, 1); /* what comes after a child has left, its broker runs elsewhere */
    worker_supervisor_stop(fixture->supervisor);
    for (int i = 0; i < 2; i++) {
        wait_for(fixture, WORKER_CHILD_DIED);
        assert_true(fixture->event.expected);
        assert_int_equal(fixture->event.exit_code, 0);
        assert_int_equal(fixture->event.signal, 0);
    }
    assert_int_equal(worker_supervisor_alive(fixture->supervisor), 0);
    assert_int_equal(wait_for_result(fixture, 1)->kind, WIRE_KIND_VALUE);
    assert_false(take_event(fixture, base_clock_ns()));
}

static void a_child_that_gets_sigterm_drains_and_is_replaced(void **state) {
    struct fixture *fixture = *state;
    struct router_peer *peer;

    open_supervisor(fixture);
    peer = wait_for_worker(fixture);
    assert_int_equal(kill((pid_t)peer->pid, SIGINT), 0); /* is not heard */
    assert_int_equal(kill((pid_t)peer->pid, SIGTERM), 0);
    wait_for(fixture, WORKER_CHILD_DIED);
    assert_true(fixture->event.expected);
    assert_int_equal(fixture->event.exit_code, 0);
    assert_int_equal(fixture->event.pid, peer->pid);
    while (fixture->counts[WORKER_CHILD_READY] < 2) { /* perhaps it came first */
        wait_for(fixture, WORKER_CHILD_READY);
    }
}

static void interrupted_children_ask_their_tasks_to_end(void **state) {
    struct fixture *fixture = *state;
    struct router_peer *peer;

    open_supervisor(fixture);
    peer = wait_for_worker(fixture);
    run(fixture, peer, 1, "nap");
    run(fixture, peer, 2, "nap");
    wait_for_running(fixture, 1);
    worker_supervisor_interrupt(fixture->supervisor);
    wait_for(fixture, WORKER_CHILD_DIED);
    assert_true(fixture->event.expected);
    assert_int_equal(wait_for_result(fixture, 1)->kind, WIRE_KIND_ERROR);
    assert_int_equal(fixture->router.returned_count, 1);
    assert_int_equal(fixture->router.returned[0], 2);
}

static void a_signal_reaches_whole_groups_and_is_expected(void **state) {
    struct fixture *fixture = *state;
    struct router_peer *peer;
    const struct router_result *result;
    int64_t grandchild;

    open_supervisor(fixture);
    peer = wait_for_worker(fixture);
    run(fixture, peer, 1, "start_grandchild");
    result = wait_for_result(fixture, 1);
    assert_int_equal(furrow_unpack(result->data, result->size, "i", &grandchild), FURROW_OK);
    run(fixture, peer, 2, "busy_for_ever");
    worker_supervisor_stop(fixture->supervisor);
    worker_supervisor_signal(fixture->supervisor, SIGKILL);
    wait_for(fixture, WORKER_CHILD_DIED);
    assert_true(fixture->event.expected);
    assert_int_equal(fixture->event.signal, SIGKILL);
    wait_for_death((pid_t)grandchild);
    worker_supervisor_signal(fixture->supervisor, SIGKILL); /* nobody is left: no matter */
}

static void a_child_in_its_initializer_can_be_stopped(void **state) {
    struct fixture *fixture = *state;

    fixture->config.initializer = "initialize_slowly";
    open_supervisor(fixture);
    wait_for(fixture, WORKER_CHILD_STARTED);
    worker_supervisor_stop(fixture->supervisor);
    wait_for(fixture, WORKER_CHILD_DIED);
    assert_true(fixture->event.expected);
}

static void nothing_is_left_after_close(void **state) {
    struct fixture *fixture = *state;
    int64_t before = count_fds();
    struct router_peer *peer;

    fixture->config.count = 3;
    fixture->config.initializer = "initialize";
    fixture->config.initializer_args = "\x2a";
    fixture->config.initializer_args_size = 1;
    open_supervisor(fixture);
    (void)wait_for_worker(fixture);
    (void)wait_for_worker(fixture);
    peer = wait_for_worker(fixture);
    run(fixture, peer, 1, "crash");
    wait_for(fixture, WORKER_CHILD_DIED);
    peer = wait_for_worker(fixture);
    run(fixture, peer, 2, "busy_for_ever");
    worker_supervisor_close(fixture->supervisor);
    fixture->supervisor = NULL;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    router_pump(&fixture->router, 50); /* the broker's side of the connections goes too */
    for (int i = 0; i < 200 && count_fds() > before; i++) {
        router_pump(&fixture->router, 10);
    }
    assert_int_equal(count_fds(), before);
}

static void numbers_out_of_range_are_refused(void **state) {
    struct fixture *fixture = *state;
    struct worker_supervisor_config config = fixture->config;

    config.count = 0;
    assert_int_equal(worker_supervisor_open(&config, &fixture->supervisor), EINVAL);
    config = fixture->config;
    config.threads = 0;
    assert_int_equal(worker_supervisor_open(&config, &fixture->supervisor), EINVAL);
    config = fixture->config;
    config.endpoint = NULL;
    assert_int_equal(worker_supervisor_open(&config, &fixture->supervisor), EINVAL);
    assert_null(fixture->supervisor);
    worker_supervisor_close(NULL);
}

/* ---- the death of the supervisor ---- */

/* What this program is with --supervise ENDPOINT: a supervisor that tells its children's pids. */
static int supervise(const char *endpoint) {
    struct worker_supervisor_config config = {.count = 2, .threads = 1, .endpoint = endpoint};
    struct worker_supervisor *supervisor;
    struct worker_supervisor_event event;

    if (worker_supervisor_open(&config, &supervisor) != 0) {
        return 1;
    }
    for (;;) {
        struct pollfd poller = {.fd = worker_supervisor_fd(supervisor), .events = POLLIN};

        while (worker_supervisor_next(supervisor, base_clock_ns(), &event)) {
            if (event.type == WORKER_CHILD_READY) {
                (void)printf("%d\n", event.pid);
                (void)fflush(stdout);
            }
        }
        (void)poll(&poller, 1, 1000);
    }
}

static void children_die_with_their_supervisor_even_if_they_are_busy(void **state) {
    struct fixture *fixture = *state;
    char *argv[] = {(char *)"test", (char *)"--supervise", fixture->router.endpoint, NULL};
    posix_spawn_file_actions_t actions;
    struct router_peer *peer = NULL;
    pid_t supervisor, children[2];
    int64_t grandchild;
    const struct router_result *result;
    int out[2];
    FILE *lines;

    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, out[1], 1), 0);
    assert_int_equal(posix_spawn(&supervisor, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(close(out[1]), 0);
    lines = fdopen(out[0], "r");
    assert_int_equal(fscanf(lines, "%d %d", &children[0], &children[1]), 2);
    assert_int_equal(fclose(lines), 0);
    while (peer == NULL) {
        router_pump(&fixture->router, 5);
        for (unsigned i = 0; i < ROUTER_PEERS && peer == NULL; i++) {
            if (fixture->router.peers[i].pid == children[0]) {
                peer = &fixture->router.peers[i];
            }
        }
    }
    run(fixture, peer, 1, "start_grandchild");
    result = wait_for_result(fixture, 1);
    assert_int_equal(furrow_unpack(result->data, result->size, "i", &grandchild), FURROW_OK);
    run(fixture, peer, 2, "busy_for_ever");
    wait_for_running(fixture, 2);
    assert_int_equal(kill(children[1], SIGSTOP), 0); /* and even if they are stopped */
    assert_int_equal(kill(supervisor, SIGKILL), 0);
    assert_int_equal(waitpid(supervisor, NULL, 0), supervisor);
    wait_for_death(children[0]);
    wait_for_death(children[1]);
    wait_for_death((pid_t)grandchild);
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

int main(int argc, char **argv) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(children_serve_under_names_of_their_own),
        TEST(on_demand_no_child_is_started_before_it_is_wanted),
        TEST(children_inherit_no_descriptor_and_an_empty_stdin),
        TEST(a_task_that_runs_long_is_reported_as_running),
        TEST(a_crash_is_told_with_its_signal_and_what_was_running),
        TEST(a_dead_child_is_replaced_and_the_new_one_serves),
        TEST(what_a_task_has_started_dies_with_its_worker),
        TEST(a_task_over_its_limit_is_ended_by_the_death_of_its_worker),
        TEST(with_sigchld_ignored_deaths_are_seen_all_the_same),
        TEST(children_that_die_again_and_again_are_started_ever_more_slowly),
        TEST(a_child_that_finishes_tasks_may_die_as_often_as_it_likes),
        TEST(a_program_that_is_not_there_is_a_failure),
        TEST(a_module_that_is_not_there_is_a_failure),
        TEST(an_initializer_runs_before_the_first_task),
        TEST(an_initializer_that_fails_is_told_in_its_own_words),
        TEST(an_initializer_that_kills_its_process_has_failed),
        TEST(an_initializer_that_nobody_knows_has_failed),
        TEST(after_its_tasks_a_child_is_replaced_before_it_is_gone),
        TEST(stopped_children_finish_what_they_run_and_end),
        TEST(a_child_that_gets_sigterm_drains_and_is_replaced),
        TEST(interrupted_children_ask_their_tasks_to_end),
        TEST(a_signal_reaches_whole_groups_and_is_expected),
        TEST(a_child_in_its_initializer_can_be_stopped),
        TEST(nothing_is_left_after_close),
        TEST(numbers_out_of_range_are_refused),
        TEST(children_die_with_their_supervisor_even_if_they_are_busy),
    };

    worker_child_main(argc, argv);
    if (argc == 3 && strcmp(argv[1], "--supervise") == 0) {
        return supervise(argv[2]);
    }
    (void)prctl(PR_SET_CHILD_SUBREAPER,
                1); /* orphans become ours, so that none stays as a zombie */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
