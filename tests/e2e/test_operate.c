/* The program furrow against a real broker and real workers: ping, status, explain, drain. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/e2e/fault_tasks.h"
#include "tests/e2e/faults.h"

static char said[1 << 16]; /* what the last command has said */

/* Runs a shell command, in which $furrow is the program and $FURROW_BROKER the broker. Returns its exit
 * code. */
static int run(const char *command) {
    char line[1024];
    size_t size;
    int status;
    FILE *pipe;

    snprintf(line, sizeof line, "{ %s ; } 2>&1", command);
    pipe = popen(line, "r");
    assert_non_null(pipe);
    size = fread(said, 1, sizeof said - 1, pipe);
    said[size] = '\0';
    status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Runs it and looks for a text in what it says. */
static bool says(const char *command, const char *text) {
    (void)run(command);
    return strstr(said, text) != NULL;
}

#define expect_says(command, text)                                                                 \
    do {                                                                                           \
        if (!says(command, text)) {                                                                \
            fail_msg("\"%s\" is not in what %s says:\n%s", text, command, said);                   \
        }                                                                                          \
    } while (0)

/* Whether an expression of jq is true of the fleet. */
static bool status_is(const char *expression) {
    char command[900];

    snprintf(command, sizeof command, "$furrow status --json | jq -e '%s'", expression);
    return run(command) == 0;
}

/* A site whose machines are called alpha. */
static void open_alpha(struct site *site, int machines, int processes, int threads,
                       const char *const *broker_more) {
    static const char *const more[] = {"--name", "alpha", "--tag", "red", "--tag", "blue", NULL};

    site_open(site, 0, processes, threads, broker_more);
    site->options.worker_more = more;
    site->machine_count = machines;
    for (int i = 0; i < machines; i++) {
        assert_true(site_start_machine(site, i));
    }
    setenv("FURROW_BROKER", site->fleet.url, 1);
    setenv("furrow", FURROW_PROGRAM_PATH, 1);
}

static bool started(int slot) {
    return atomic_load(&faults_book()->started[slot]) > 0;
}

static void open_gate(int gate) {
    atomic_store(&faults_book()->gates[gate], 1);
}

static furrow_future *hold(furrow_executor *pool, int slot, int gate) {
    return must(furrow_submit(pool, held, "iii", (int64_t)slot, (int64_t)gate, (int64_t)gate));
}

/* The name of a task, once the broker has it. */
static const char *task_of(furrow_future *future) {
    static char name[FURROW_TASK_BYTES];

    wait_for(furrow_future_task(future, name, sizeof name) == FURROW_OK &&
             strchr(name, ':') != NULL);
    return name;
}

static void expect_reason(furrow_future *future, const char *reason) {
    char command[200];
    double until = now_seconds() + 30;

    snprintf(command, sizeof command, "$furrow explain %s", task_of(future));
    while (!says(command, reason)) { /* it may be on its way there */
        if (now_seconds() > until) {
            fail_msg("\"%s\" is not in what %s says:\n%s", reason, command, said);
        }
        pause_ms(10);
    }
}

static void drop(furrow_future **future) {
    furrow_future_cancel_async(*future);
    furrow_future_unref(future);
}

/* ---------------------------------------------------------------------- ping */

static void ping_tells_a_broker_that_is_there_from_one_that_is_not(void **state) {
    struct site site;
    double begun;
    (void)state;

    open_alpha(&site, 0, 1, 1, NULL);
    assert_int_equal(run("$furrow ping"), 0);
    assert_non_null(strstr(said, "answers in"));
    assert_int_equal(run("env -u FURROW_BROKER FURROW_EXECUTOR=\"$FURROW_BROKER?max_pending=5\" "
                         "$furrow ping"),
                     0);
    assert_int_equal(run("FURROW_BROKER=nonsense $furrow ping --connect $FURROW_BROKER"), 0);
    site_close(&site);
    begun = now_seconds();
    assert_int_equal(run("$furrow ping --timeout 0.5"), 1);
    assert_non_null(strstr(said, "no broker has answered in time"));
    assert_true(now_seconds() - begun < 20); /* of 0.5; a busy machine is slow */
    assert_int_equal(run("$furrow status --connect ipc:///nowhere/at-all --timeout 0.2"), 1);
}

static void wrong_use_is_told_from_failure(void **state) {
    (void)state;

    setenv("furrow", FURROW_PROGRAM_PATH, 1);
    unsetenv("FURROW_BROKER");
    unsetenv("FURROW_EXECUTOR");
    assert_int_equal(run("$furrow ping"), 2);
    assert_non_null(strstr(said, "which broker?"));
    assert_int_equal(run("FURROW_EXECUTOR=threads:2 $furrow ping"), 2);
    assert_int_equal(run("FURROW_BROKER=threads:2 $furrow ping"), 2);
    assert_int_equal(run("$furrow ping --connect threads:2"), 2);
    assert_int_equal(run("$furrow ping --timeout 0 --connect tcp://h:1"), 2);
    assert_int_equal(run("$furrow ping --timeout"), 2);
    assert_int_equal(run("$furrow ping --nonsense"), 2);
    assert_int_equal(run("$furrow ping more"), 2);
    assert_int_equal(run("$furrow explain"), 2);
    assert_int_equal(run("$furrow drain"), 2);
    assert_int_equal(run("$furrow status 2"), 2);
    assert_int_equal(run("$furrow status --watch=0"), 2);
    assert_int_equal(run("$furrow nonsense"), 2);
    for (int i = 0; i < 4; i++) {
        static const char *const commands[] = {"ping", "status", "explain", "drain"};
        char command[64];

        snprintf(command, sizeof command, "$furrow %s --help", commands[i]);
        assert_int_equal(run(command), 0);
        assert_non_null(strstr(said, "usage: furrow "));
        assert_non_null(strstr(said, "--connect URL"));
    }
}

static void with_keys_only_an_admins_is_let_in(void **state) {
    char directory[300], key[320], authorized[320], command[700];
    const char *more[] = {"--key", key, "--authorized", authorized, NULL};
    struct site site;
    (void)state;

    setenv("furrow", FURROW_PROGRAM_PATH, 1);
    snprintf(directory, sizeof directory, "%s/keys", faults_directory());
    snprintf(key, sizeof key, "%s/broker.key", directory);
    snprintf(authorized, sizeof authorized, "%s/authorized", directory);
    snprintf(command, sizeof command, "$furrow keygen %s --fleet", directory);
    assert_int_equal(run(command), 0);
    setenv("keys", directory, 1);
    open_alpha(&site, 0, 1, 1, more);
    assert_int_equal(run("$furrow ping --key $keys/admin.key --server $keys/broker.pub"), 0);
    assert_int_equal(run("FURROW_KEY=$keys/admin.key FURROW_SERVER_KEY=$keys/broker.pub "
                         "$furrow status --json | jq -e .broker.admins==1"),
                     0);
    assert_int_equal(run("$furrow ping --key $keys/client.key --server $keys/broker.pub"), 1);
    assert_non_null(strstr(said, "may not"));
    assert_int_equal(run("$furrow ping --timeout 20"), 1); /* without a key */
    assert_non_null(strstr(said, "key"));
    assert_int_equal(run("$furrow ping --key $keys/admin.key"), 2);
    assert_int_equal(run("$furrow ping --key $keys/none --server $keys/broker.pub"), 1);
    site_close(&site);
}

/* -------------------------------------------------------------------- status */

static void status_shows_who_is_there_and_what_they_do(void **state) {
    furrow_future *running, *waiting;
    furrow_executor *pool;
    struct site site;
    (void)state;

    open_alpha(&site, 1, 2, 1, NULL);
    wait_for(status_is(".broker.workers == 2 and .broker.supervisors == 1"));
    assert_true(status_is(".workers | length == 2 and all(.slots == 1 and .running == 0 and "
                          "(.tags | sort) == [\"blue\", \"red\"] and .pid > 1 and (.session | "
                          "length) == 32 and .state == [])"));
    assert_true(status_is("[.workers[].name] | sort == [\"alpha-1\", \"alpha-2\"]"));
    assert_true(status_is(".supervisors == [.supervisors[] | select(.name == \"alpha\")] and "
                          "(.clients | length) == 0 and .functions == []"));
    pool = open_pool(site.fleet.url);
    running = hold(pool, 1, 1);
    wait_for(started(1));
    wait_for(status_is(".functions | length == 1 and .[0].function == \"held\" and "
                       ".[0].leased == 1 and .[0].workers == 2 and .[0].first_waiting == null"));
    waiting = must(furrow_submit_by_name(pool, NULL, "echo_int", "i", (int64_t)5));
    assert_int_equal(take_int(&waiting), 5);
    wait_for(status_is(".broker.finished == 1 and .broker.leased == 1 and "
                       "([.workers[].running] | add) == 1 and .clients[0].tasks == 1 and "
                       "(.broker.per_second.finished | type) == \"number\""));
    assert_int_equal(run("$furrow status"), 0);
    assert_non_null(strstr(said, "alpha-1"));
    assert_non_null(strstr(said, "held"));
    assert_int_equal(run("$furrow status --json --watch 0.01 --count 3 | jq -e -s 'length == 3 and "
                         "all(.broker.leased == 1)'"),
                     0);
    assert_int_equal(run("$furrow status --watch --count 1"), 0);
    open_gate(1);
    assert_int_equal(take_int(&running), 1);
    close_pool(&pool);
    site_close(&site);
}

static void names_of_others_are_escaped(void **state) {
    static const char *const more[] = {"--name", "evil\033[2J\"\\\xff", NULL};
    struct site site;
    (void)state;

    open_alpha(&site, 0, 1, 1, NULL);
    site.options.worker_more = more;
    site.machine_count = 1;
    assert_true(site_start_machine(&site, 0));
    wait_for(status_is(".broker.workers == 1 and .broker.supervisors == 1"));
    assert_true(status_is(".supervisors[0].name == \"evil\\u001b[2J\\\"\\\\\\ufffd\""));
    assert_int_equal(run("$furrow status"), 0);
    assert_null(strchr(said, '\033'));
    assert_non_null(strstr(said, "evil\\x1b[2J\"\\x5c\\xff"));
    site_close(&site);
}

/* ------------------------------------------------------------------- explain */

static void explain_tells_where_a_task_runs_and_why_others_do_not(void **state) {
    furrow_submit_options tagged = FURROW_SUBMIT_OPTIONS_INIT, again = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_future *early, *running, *busy, *nowhere, *moon, *failing;
    static const char *const patient[] = {"--no-function-timeout", "1000", NULL};
    char name[FURROW_TASK_BYTES], command[200];
    furrow_executor *pool;
    struct site site;
    (void)state;

    open_alpha(&site, 0, 1, 1, patient);
    pool = open_pool(site.fleet.url);
    early = hold(pool, 1, 1);
    expect_reason(early, "no worker: none is connected, for function held");
    site.machine_count = 1;
    assert_true(site_start_machine(&site, 0));
    wait_for(started(1));
    expect_reason(early, "runs, function held");
    expect_reason(early, "worker alpha-1");
    busy = hold(pool, 2, 1);
    expect_reason(busy, "busy: no worker can take function held now");
    nowhere = must(furrow_submit_by_name(pool, NULL, "nowhere", "i", (int64_t)1));
    expect_reason(nowhere, "no function: none of 1 workers offers function nowhere");
    tagged.tags = "red,moon";
    moon = must(furrow_submit_with(pool, &tagged, echo_int, "i", (int64_t)1));
    expect_reason(moon, "no tags: no worker that offers function echo_int with tags moon,red");
    expect_says("$furrow explain held", "busy: ");
    expect_says("$furrow explain echo_int", "no tags: ");
    assert_int_equal(run("$furrow explain nobody_asks_for_it"), 1);
    drop(&nowhere);
    drop(&moon);
    snprintf(name, sizeof name, "%s", task_of(early));
    open_gate(1);
    assert_int_equal(take_int(&early), 1);
    assert_int_equal(take_int(&busy), 1);
    snprintf(command, sizeof command, "$furrow explain %s", name);
    expect_says(command, "not here: it has ended");
    again.retries = 1;
    again.retry_delay = 6;
    failing = must(furrow_submit_with(pool, &again, held, "i", (int64_t)1)); /* wrong arguments */
    expect_reason(failing, "delayed: it has failed");
    furrow_future_unref(&failing); /* it has begun: too late to cancel it */
    running = hold(pool, 3, 3);
    expect_reason(running, "runs");
    open_gate(3);
    assert_int_equal(take_int(&running), 1);
    close_pool(&pool);
    assert_int_equal(run(command), 1); /* its client has left */
    assert_non_null(strstr(said, "no client"));
    site_close(&site);
}

static void explain_tells_of_a_client_that_has_used_its_credit(void **state) {
    static const char *const few[] = {"--max-tasks", "3", NULL};
    char name[FURROW_TASK_BYTES], command[200];
    furrow_future *tasks[6];
    furrow_executor *pool;
    struct site site;
    (void)state;

    open_alpha(&site, 0, 1, 1, few);
    pool = open_pool(site.fleet.url);
    for (int i = 0; i < 6; i++) {
        tasks[i] = hold(pool, 1 + i, 1);
    }
    wait_for(status_is(".clients[0].tasks == 3 and .clients[0].state == [\"starved\"]"));
    assert_int_equal(furrow_future_task(tasks[5], name, sizeof name), FURROW_OK);
    assert_int_equal(strlen(name), 32); /* it is not sent, and so has no id */
    snprintf(command, sizeof command, "$furrow explain %s", name);
    expect_says(command, "it has used up its credit");
    for (int i = 0; i < 6; i++) {
        drop(&tasks[i]);
    }
    close_pool(&pool);
    site_close(&site);
}

static pid_t only_child(pid_t pid) {
    pid_t children[4];

    wait_for(children_of(pid, children, 4) == 1);
    return children[0];
}

static void explain_tells_who_waits_to_run_alone(void **state) {
    furrow_future *one, *two, *waiting = NULL;
    furrow_executor *pool;
    struct site site;
    (void)state;

    open_alpha(&site, 1, 1, 2, NULL);
    pool = open_pool(site.fleet.url);
    one = hold(pool, 1, 1);
    two = hold(pool, 2, 1);
    wait_for(started(1) && started(2));
    expect_reason(one, "runs");
    assert_int_equal(kill(only_child(site.machines[0]), SIGKILL), 0);
    /* One of the two runs again, the other waits for that. */
    for (double until = now_seconds() + 30; waiting == NULL && now_seconds() < until;) {
        char command[200];

        for (int i = 0; i < 2 && waiting == NULL; i++) {
            snprintf(command, sizeof command, "$furrow explain %s", task_of(i == 0 ? one : two));
            waiting =
                says(command, "alone: a worker died while it ran") ? (i == 0 ? one : two) : NULL;
        }
    }
    assert_non_null(waiting);
    expect_reason(waiting == one ? two : one, "runs");
    expect_reason(waiting == one ? two : one, "runs alone");
    open_gate(1);
    assert_int_equal(take_int(&one), 1);
    assert_int_equal(take_int(&two), 1);
    close_pool(&pool);
    site_close(&site);
}

static void explain_tells_what_is_held_back_after_a_restart(void **state) {
    static const char *const settling[] = {"--settle", "1000", NULL};
    furrow_future *task;
    furrow_executor *pool;
    struct site site;
    (void)state;

    open_alpha(&site, 0, 1, 1, settling);
    pool = open_pool(site.fleet.url);
    task = hold(pool, 1, 1);
    expect_reason(task, "no worker");
    site_kill_broker(&site);
    assert_true(site_start_broker(&site));
    expect_reason(task, "held back: the broker was restarted");
    drop(&task);
    furrow_shutdown(pool, FURROW_SHUTDOWN_CANCEL_FUTURES);
    site_kill_broker(&site); /* the cancel waits for whoever may claim it */
    site.options.broker_more = NULL;
    assert_true(site_start_broker(&site));
    close_pool(&pool);
    site_close(&site);
}

/* --------------------------------------------------------------------- drain */

static void a_drained_worker_finishes_what_it_runs_and_is_replaced(void **state) {
    furrow_future *running, *later;
    furrow_executor *pool;
    struct site site;
    pid_t first;
    (void)state;

    open_alpha(&site, 1, 1, 1, NULL);
    pool = open_pool(site.fleet.url);
    running = hold(pool, 1, 1);
    wait_for(started(1));
    first = only_child(site.machines[0]);
    assert_int_equal(run("$furrow drain nobody"), 1);
    assert_int_equal(run("$furrow drain alpha-1"), 0);
    assert_non_null(strstr(said, "told to finish what it runs, and to leave"));
    wait_for(status_is("[.workers[] | select(.name == \"alpha-1\")][0].state == "
                       "[\"draining\", \"retired\"]"));
    later = must(furrow_submit(pool, echo_int, "i", (int64_t)7));
    expect_reason(later, "1 are draining");
    assert_int_equal(kill(first, 0), 0); /* it is there yet, for its task */
    assert_int_equal(run("$furrow drain alpha-1 --wait=0.1"), 1);
    assert_non_null(strstr(said, "1 workers have not finished yet"));
    open_gate(1);
    assert_int_equal(take_int(&running), 1); /* in its first attempt */
    assert_int_equal(take_int(&later), 7);   /* by its replacement */
    wait_for(status_is("[.workers[].name] == [\"alpha-2\"]"));
    close_pool(&pool);
    site_close(&site);
}

static void a_drained_machine_loses_nothing_and_stays_empty(void **state) {
    enum { TASKS = 400 };
    furrow_future *tasks[TASKS], *running[2];
    furrow_executor *pool;
    struct site site;
    pid_t children[8];
    (void)state;

    open_alpha(&site, 1, 2, 1, NULL);
    pool = open_pool(site.fleet.url);
    running[0] = hold(pool, 1, 1);
    running[1] = hold(pool, 2, 1);
    wait_for(started(1) && started(2));
    for (int i = 0; i < TASKS; i++) {
        tasks[i] = must(furrow_submit(pool, work, "ii", (int64_t)i, (int64_t)200));
    }
    assert_int_equal(run("$furrow drain alpha"), 0);
    assert_non_null(strstr(said, "and to start no others"));
    open_gate(1);
    assert_int_equal(take_int(&running[0]), 1);
    assert_int_equal(take_int(&running[1]), 1);
    assert_int_equal(run("$furrow drain alpha --wait"), 0); /* again: no matter */
    assert_int_equal(children_of(site.machines[0], children, 8), 0);
    assert_true(status_is(".workers == [] and .supervisors[0].state == [\"retired\"]"));
    assert_int_equal(kill(site.machines[0], 0), 0);
    expect_reason(tasks[TASKS - 1], "no worker");
    site.machine_count = 2;
    assert_true(site_start_machine(&site, 1));
    wait_for(status_is(".broker.supervisors == 2"));
    assert_int_equal(run("$furrow drain alpha"), 1); /* two are called so: which? */
    assert_non_null(strstr(said, "2 are called alpha"));
    for (int i = 0; i < TASKS; i++) {
        assert_int_equal(take_int(&tasks[i]), mixed(i));
        assert_int_equal(atomic_load(&faults_book()->ends[i]), 1);
    }
    assert_int_equal(run("$furrow drain --all --wait alpha"), 0);
    close_pool(&pool);
    site_close(&site);
}

/* ---------------------------------------------------------------------- logs */

static void logs_are_json_where_that_is_asked_for(void **state) {
    static const char *const json[] = {"--log-level", "debug", "--log-format", "json", NULL};
    static const char *const worker_json[] = {
        "--log-level", "debug", "--log-format", "json", "--name", "a \"b", NULL};
    char path[300], command[700];
    struct site site;
    int saved = dup(STDERR_FILENO);
    FILE *file;
    (void)state;

    snprintf(path, sizeof path, "%s/log", faults_directory());
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0); /* the daemons inherit it */
    site_open(&site, 0, 1, 1, json);
    site.options.worker_more = worker_json;
    site.machine_count = 1;
    assert_true(site_start_machine(&site, 0));
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    fclose(file);
    setenv("FURROW_BROKER", site.fleet.url, 1);
    setenv("furrow", FURROW_PROGRAM_PATH, 1);
    wait_for(status_is(".broker.workers == 1"));
    site_close(&site);
    snprintf(
        command, sizeof command,
        "jq -e -s 'all(.ts and .level and .msg and (.role == \"broker\" or .role == "
        "\"worker\")) and any(.msg == \"worker joins\" and .worker == \"a \\\"b-1\" and .slots "
        "== 1 and (.pid | type) == \"number\") and any(.msg == \"worker leaves\")' %s",
        path);
    if (run(command) != 0) {
        snprintf(command, sizeof command, "cat %s", path);
        (void)run(command);
        fail_msg("the log is not as it should be:\n%s", said);
    }
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    faults_init(170);
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define OPERATE_TEST(name) cmocka_unit_test_setup_teardown(name, faults_set_up, faults_tear_down)
    const struct CMUnitTest tests[] = {
        OPERATE_TEST(ping_tells_a_broker_that_is_there_from_one_that_is_not),
        OPERATE_TEST(wrong_use_is_told_from_failure),
        OPERATE_TEST(with_keys_only_an_admins_is_let_in),
        OPERATE_TEST(status_shows_who_is_there_and_what_they_do),
        OPERATE_TEST(names_of_others_are_escaped),
        OPERATE_TEST(explain_tells_where_a_task_runs_and_why_others_do_not),
        OPERATE_TEST(explain_tells_of_a_client_that_has_used_its_credit),
        OPERATE_TEST(explain_tells_who_waits_to_run_alone),
        OPERATE_TEST(explain_tells_what_is_held_back_after_a_restart),
        OPERATE_TEST(a_drained_worker_finishes_what_it_runs_and_is_replaced),
        OPERATE_TEST(a_drained_machine_loses_nothing_and_stays_empty),
        OPERATE_TEST(logs_are_json_where_that_is_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
