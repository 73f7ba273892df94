/* Keys, with real processes: who is let in, what the others are told, and how soon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <furrow.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#include "tests/e2e/dealer.h"
#include "tests/e2e/engine_tasks.h"
#include "tests/support/fleet.h"
#include "wire/zmq.h"

/* Longer than it should ever take to be told of a key that doesn't fit. */
#define TOLD_S 20.0

struct scene {
    char directory[64];
    struct fleet fleet;
    struct fleet_options options;
    const char *broker_more[5], *worker_more[5];
    char key[128], authorized[128], worker_key[128], broker_public[128];
};

/* ------------------------------------------------------------------- helpers */

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *format, ...) {
    char command[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    if (system(command) != 0) {
        fail_msg("failed: %s", command);
    }
}

static int begin(void **state) {
    struct scene *scene = calloc(1, sizeof *scene);

    assert_non_null(scene);
    *state = scene;
    unsetenv("FURROW_KEY");
    unsetenv("FURROW_SERVER_KEY");
    unsetenv("CREDENTIALS_DIRECTORY");
    strcpy(scene->directory, "/tmp/furrow-test-XXXXXX");
    assert_non_null(mkdtemp(scene->directory));
    run(FURROW_PATH " keygen %s --fleet 2>%s/said", scene->directory, scene->directory);
    snprintf(scene->key, sizeof scene->key, "%s/broker.key", scene->directory);
    snprintf(scene->authorized, sizeof scene->authorized, "%s/authorized", scene->directory);
    snprintf(scene->worker_key, sizeof scene->worker_key, "%s/worker.key", scene->directory);
    snprintf(scene->broker_public, sizeof scene->broker_public, "%s/broker.pub", scene->directory);
    memcpy(scene->broker_more,
           (const char *[]){"--key", scene->key, "--authorized", scene->authorized, NULL},
           sizeof scene->broker_more);
    memcpy(scene->worker_more,
           (const char *[]){"--key", scene->worker_key, "--server", scene->broker_public, NULL},
           sizeof scene->worker_more);
    scene->options = (struct fleet_options){
        .broker_path = FURROW_BROKER_PATH,
        .worker_path = FURROW_WORKER_PATH,
        .module = ENGINE_TASKS_PATH,
        .directory = scene->directory,
        .workers = 1,
        .broker_more = scene->broker_more,
        .worker_more = scene->worker_more,
        .log_level = "error",
    };
    return 0;
}

static int end(void **state) {
    struct scene *scene = *state;

    assert_true(fleet_stop(&scene->fleet));
    run("rm -rf %s", scene->directory);
    free(scene);
    return 0;
}

static void start(struct scene *scene) {
    if (!fleet_start(&scene->fleet, &scene->options)) {
        fail_msg("%s", scene->fleet.error);
    }
}

static void start_broker(struct scene *scene) {
    scene->options.workers = 0;
    start(scene);
    scene->options.workers = 1;
}

/* The URL with keys of that name, and the broker's as the server's if `server` is NULL. */
static const char *url_of(const struct scene *scene, const char *name, const char *server) {
    static char url[1024];

    snprintf(url, sizeof url, "%s?key=%s/%s.key&server=%s/%s.pub", scene->fleet.url,
             scene->directory, name, scene->directory, server == NULL ? "broker" : server);
    return url;
}

static furrow_executor *open_url(const char *url) {
    furrow_options options = FURROW_OPTIONS_INIT;
    furrow_executor *executor;

    options.connect_timeout = TOLD_S;
    executor = furrow_open(url, &options);
    if (executor == NULL) {
        fail_msg("%s: %s", url, furrow_last_error());
    }
    return executor;
}

/* furrow_open is told within its time why there will be no connection. */
static void expect_refused(const char *url, const char *text) {
    furrow_options options = FURROW_OPTIONS_INIT;

    options.connect_timeout = TOLD_S;
    assert_null(furrow_open(url, &options));
    if (furrow_last_status() != FURROW_EAUTH || strstr(furrow_last_error(), text) == NULL) {
        fail_msg("%s: %s (%s expected)", furrow_status_text(furrow_last_status()),
                 furrow_last_error(), text);
    }
}

static void expect_42(furrow_executor *executor) {
    furrow_future *future = furrow_submit(executor, twice, "i", (int64_t)21);
    int64_t value = 0;

    assert_non_null(future);
    assert_int_equal(furrow_future_result(future, 30, "i", &value), FURROW_OK);
    assert_int_equal(value, 42);
    furrow_future_unref(&future);
}

static void expect_auth_error(furrow_future *future) {
    const furrow_error *error = NULL;

    assert_int_equal(furrow_future_error(future, TOLD_S, &error), FURROW_OK);
    assert_non_null(error);
    assert_int_equal(error->kind, FURROW_ERROR_BROKEN);
    assert_int_equal(error->code, FURROW_EAUTH);
}

/* Starts a worker and waits for its end. */
static int worker_code(struct scene *scene) {
    pid_t pid = fleet_start_worker(&scene->fleet, &scene->options);
    int status = 0;

    assert_true(pid > 0);
    for (int ms = 0; ms < (int)(TOLD_S * 1000); ms++) {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        }
        pause_ms(1);
    }
    assert_true(fleet_end(&pid));
    return -2;
}

static void hang_up(const struct scene *scene) {
    assert_int_equal(kill(scene->fleet.broker, SIGHUP), 0);
}

static void load(const struct scene *scene, const char *name, struct wire_curve *curve) {
    char key[160], error[256];

    snprintf(key, sizeof key, "%s/%s.key", scene->directory, name);
    if (!wire_curve_load(curve, key, scene->broker_public, error, sizeof error)) {
        fail_msg("%s", error);
    }
}

/* --------------------------------------------------------------------- keygen */

static int code_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int code_of(const char *format, ...) {
    char command[1024];
    va_list arguments;
    int status;

    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static mode_t mode_of(const char *path) {
    struct stat status;

    assert_int_equal(stat(path, &status), 0);
    return status.st_mode & 07777;
}

static void keygen_makes_secrets_that_only_their_owner_can_read(void **state) {
    struct scene *scene = *state;
    char path[192];

    assert_int_equal(code_of("umask 0; " FURROW_PATH " keygen %s/new/ --name alice >%s/line "
                             "2>/dev/null",
                             scene->directory, scene->directory),
                     0);
    snprintf(path, sizeof path, "%s/new", scene->directory);
    assert_int_equal(mode_of(path), 0700);
    snprintf(path, sizeof path, "%s/new/alice.key", scene->directory);
    assert_int_equal(mode_of(path), 0600);
    snprintf(path, sizeof path, "%s/new/alice.pub", scene->directory);
    assert_int_equal(mode_of(path), 0644);
    assert_int_equal(code_of("grep -Eq '^submit .{40} name=alice$' %s/line", scene->directory), 0);
    /* The line has the public key, and the secret one is nowhere but in its file. */
    assert_int_equal(code_of("key=$(sed -n 's/^public //p' %s/new/alice.pub); "
                             "grep -qF -e \"$key\" %s/line",
                             scene->directory, scene->directory),
                     0);
    assert_int_equal(code_of("key=$(sed -n 's/^secret //p' %s/new/alice.key); "
                             "! grep -qF -e \"$key\" %s/line %s/new/alice.pub",
                             scene->directory, scene->directory, scene->directory),
                     0);
}

static void keygen_never_writes_over_a_file(void **state) {
    struct scene *scene = *state;
    const char *in = scene->directory;

    run("cat %s/*.key %s/*.pub %s/authorized >%s/before", in, in, in, in);
    assert_int_equal(code_of(FURROW_PATH " keygen %s --fleet >%s/said 2>&1", in, in), 1);
    assert_int_equal(code_of("grep -q 'is there already' %s/said", in), 0);
    assert_int_equal(code_of(FURROW_PATH " keygen %s --name worker >%s/said 2>&1", in, in), 1);
    run("cat %s/*.key %s/*.pub %s/authorized | cmp - %s/before", in, in, in, in);
    /* What it had made before it met one that is there is gone again. */
    run("mkdir %s/half; touch %s/half/client.pub", in, in);
    assert_int_equal(code_of(FURROW_PATH " keygen %s/half --fleet >%s/said 2>&1", in, in), 1);
    assert_int_equal(code_of("test \"$(ls %s/half)\" = client.pub", in), 0);
    /* Nor does it follow a link to somewhere else. */
    run("mkdir %s/link; ln -s %s/victim %s/link/furrow.key", in, in, in);
    assert_int_equal(code_of(FURROW_PATH " keygen %s/link >%s/said 2>&1", in, in), 1);
    assert_int_equal(code_of("test -e %s/victim", in), 1);
}

static void keygen_says_what_is_wrong_with_its_arguments(void **state) {
    static const char *const wrong[] = {
        "",
        "a b",
        "%s --name ''",
        "%s --name ../x",
        "%s --name 'a b'",
        "%s --rights all",
        "%s --rights submit,",
        "%s --rights ''",
        "%s --rights '#'",
        "%s --rights 'submit work'",
        "%s --bogus",
        "%s --name",
        "%s --fleet --name x",
    };
    struct scene *scene = *state;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char arguments[192] = "", *at;

        strcpy(arguments, wrong[i]);
        at = strstr(arguments, "%s");
        if (at != NULL) {
            snprintf(arguments, sizeof arguments, "%s/none%s", scene->directory, wrong[i] + 2);
        }
        if (code_of(FURROW_PATH " keygen %s >/dev/null 2>&1", arguments) != 2) {
            fail_msg("accepted, or no wrong use: %s", wrong[i]);
        }
    }
    assert_int_equal(code_of("test -e %s/none", scene->directory), 1);
    assert_int_equal(code_of(FURROW_PATH " keygen --help | grep -q usage"), 0);
}

/* ----------------------------------------------------------------- those who fit */

static void a_fleet_with_keys_runs_tasks(void **state) {
    struct scene *scene = *state;
    furrow_executor *executor;

    start(scene);
    executor = open_url(url_of(scene, "client", NULL));
    expect_42(executor);
    assert_int_equal(furrow_close(&executor), FURROW_OK);
}

static void keys_may_be_named_by_the_environment(void **state) {
    struct scene *scene = *state;
    furrow_executor *executor;

    /* As systemd does it: bare names, and a directory of credentials. */
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", scene->directory, 1), 0);
    scene->broker_more[1] = "broker.key";
    scene->broker_more[3] = "authorized";
    assert_int_equal(setenv("FURROW_KEY", "worker.key", 1), 0);
    assert_int_equal(setenv("FURROW_SERVER_KEY", "broker.pub", 1), 0);
    scene->options.worker_more = NULL;
    start(scene);
    assert_int_equal(setenv("FURROW_KEY", "client.key", 1), 0);
    executor = open_url(scene->fleet.url);
    expect_42(executor);
    assert_int_equal(furrow_close(&executor), FURROW_OK);
}

static void ipc_asks_for_keys_too(void **state) {
    struct scene *scene = *state;
    char listen[128];
    furrow_executor *executor;

    snprintf(listen, sizeof listen, "ipc://%s/socket", scene->directory);
    scene->options.listen = listen;
    start(scene);
    expect_refused(listen, "asks for a key");
    executor = open_url(url_of(scene, "client", NULL));
    expect_42(executor);
    assert_int_equal(furrow_close(&executor), FURROW_OK);
}

static void an_admins_key_lets_the_furrow_program_look(void **state) {
    struct scene *scene = *state;
    const char *in = scene->directory, *url;

    start(scene);
    url = scene->fleet.url;
    assert_int_equal(code_of(FURROW_PATH " ping --connect %s --key %s/admin.key --server "
                                         "%s/broker.pub >%s/said 2>&1",
                             url, in, in, in),
                     0);
    assert_int_equal(code_of("FURROW_KEY=%s/admin.key FURROW_SERVER_KEY=%s/broker.pub " FURROW_PATH
                             " status --connect %s >%s/said 2>&1",
                             in, in, url, in),
                     0);
    assert_int_equal(code_of(FURROW_PATH " ping --connect %s >%s/said 2>&1", url, in), 1);
    assert_int_equal(code_of("grep -q 'asks for a key' %s/said", in), 0);
    assert_int_equal(code_of(FURROW_PATH " ping --connect %s --key %s/client.key --server "
                                         "%s/broker.pub >%s/said 2>&1",
                             url, in, in, in),
                     1);
    assert_int_equal(code_of("grep -q 'may not' %s/said", in), 0);
}

/* ----------------------------------------------------------- those who don't */

static void a_client_without_a_key_is_told(void **state) {
    struct scene *scene = *state;

    start_broker(scene);
    expect_refused(scene->fleet.url, "the broker asks for a key");
}

static void a_key_that_is_not_in_the_list_is_told(void **state) {
    struct scene *scene = *state;

    start_broker(scene);
    run(FURROW_PATH " keygen %s --name stranger >/dev/null 2>&1", scene->directory);
    expect_refused(url_of(scene, "stranger", NULL), "does not know this key");
}

static void a_wrong_key_of_the_broker_is_told(void **state) {
    struct scene *scene = *state;

    start_broker(scene);
    expect_refused(url_of(scene, "client", "worker"), "its key is not the one given");
}

static void a_key_for_a_broker_that_has_none_is_told(void **state) {
    struct scene *scene = *state;

    scene->options.broker_more = NULL;
    start_broker(scene);
    expect_refused(url_of(scene, "client", NULL), "the broker has no key");
}

static void a_key_without_the_right_is_told(void **state) {
    struct scene *scene = *state;

    start_broker(scene);
    expect_refused(url_of(scene, "worker", NULL), "may not");
    expect_refused(url_of(scene, "admin", NULL), "may not");
}

static void what_was_submitted_meanwhile_fails_and_says_why(void **state) {
    struct scene *scene = *state;
    furrow_executor *executor;
    furrow_future *future;

    start_broker(scene);
    executor = furrow_open(scene->fleet.url, NULL); /* doesn't wait */
    assert_non_null(executor);
    future = furrow_submit(executor, twice, "i", (int64_t)1);
    if (future != NULL) { /* else it was told already */
        expect_auth_error(future);
        furrow_future_unref(&future);
    }
    assert_null(furrow_submit(executor, twice, "i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_EAUTH);
    assert_non_null(strstr(furrow_last_error(), "asks for a key"));
    assert_int_equal(furrow_close(&executor), FURROW_OK);
}

static void a_key_file_that_others_may_read_is_refused(void **state) {
    struct scene *scene = *state;

    start_broker(scene);
    run("chmod 644 %s/client.key", scene->directory);
    expect_refused(url_of(scene, "client", NULL), "others may read this secret");
    run("chmod 600 %s/client.key", scene->directory);
    run("cp %s/client.pub %s/client.key", scene->directory, scene->directory);
    expect_refused(url_of(scene, "client", NULL), "this is a public key");
    expect_refused(url_of(scene, "nobody", NULL), "No such file");
}

static void a_worker_that_is_not_let_in_ends_with_code_1(void **state) {
    struct scene *scene = *state;

    start_broker(scene);
    snprintf(scene->worker_key, sizeof scene->worker_key, "%s/client.key", scene->directory);
    assert_int_equal(worker_code(scene), 1); /* no right to work */
    run(FURROW_PATH " keygen %s --name stranger --rights work >/dev/null 2>&1", scene->directory);
    snprintf(scene->worker_key, sizeof scene->worker_key, "%s/stranger.key", scene->directory);
    assert_int_equal(worker_code(scene), 1); /* not in the list */
    scene->options.worker_more = NULL;
    assert_int_equal(worker_code(scene), 1); /* no key at all */
}

static void a_worker_with_a_wrong_key_of_the_broker_ends_with_code_1(void **state) {
    struct scene *scene = *state;

    start_broker(scene);
    snprintf(scene->broker_public, sizeof scene->broker_public, "%s/admin.pub", scene->directory);
    assert_int_equal(worker_code(scene), 1);
}

/* The door itself: nothing that is said without a right key arrives. */
static void raw_peers_without_a_right_key_get_nothing(void **state) {
    struct scene *scene = *state;
    struct dealer plain, stranger;
    struct wire_curve curve;

    start_broker(scene);
    dealer_open(&plain, scene->fleet.url, 1);
    run(FURROW_PATH " keygen %s --name stranger >/dev/null 2>&1", scene->directory);
    load(scene, "stranger", &curve);
    dealer_open_as(&stranger, scene->fleet.url, 2, &curve);
    assert_false(dealer_can_send(&plain, 1000));
    assert_false(dealer_can_send(&stranger, 1000));
    dealer_close(&plain);
    dealer_close(&stranger);
}

static void a_raw_peer_can_not_take_the_session_of_another_key(void **state) {
    struct scene *scene = *state;
    enum wire_reject_code code = 0;
    struct dealer owner, thief, worker;
    struct wire_message *message;
    struct wire_curve curve;

    run(FURROW_PATH " keygen %s --name thief >>%s 2>/dev/null", scene->directory,
        scene->authorized);
    start_broker(scene);
    load(scene, "client", &curve);
    dealer_open_as(&owner, scene->fleet.url, 7, &curve);
    assert_true(dealer_is_welcomed(&owner));
    dealer_submit(&owner, 1);
    load(scene, "thief", &curve);
    dealer_open_as(&thief, scene->fleet.url, 7, &curve); /* the same session */
    assert_int_equal(dealer_hello(&thief, WIRE_CLIENT, &code), WIRE_REJECT);
    assert_int_equal(code, WIRE_REJECT_AUTH);
    /* And not with a claim to be something else. */
    assert_int_equal(dealer_hello(&thief, WIRE_WORKER, &code), WIRE_REJECT);
    assert_int_equal(code, WIRE_REJECT_AUTH);
    assert_int_equal(dealer_hello(&thief, WIRE_SUPERVISOR, &code), WIRE_REJECT);
    /* The owner's task is still there, and goes to who may work. */
    load(scene, "worker", &curve);
    dealer_open_as(&worker, scene->fleet.url, 8, &curve);
    assert_int_equal(dealer_hello(&worker, WIRE_WORKER, &code), WIRE_WELCOME);
    message = dealer_await(&worker, WIRE_RUN, 5000);
    assert_non_null(message);
    wire_message_unref(message);
    dealer_close(&owner);
    dealer_close(&thief);
    dealer_close(&worker);
}

/* A crowd of refused peers at the door, who try again and again, keeps nobody from working. */
static void many_refused_peers_do_not_keep_the_others_from_working(void **state) {
    enum { CROWD = 100 };
    struct scene *scene = *state;
    void *context = zmq_ctx_new(), *crowd[CROWD];
    int none = 0;
    furrow_executor *executor;
    struct wire_curve curve;

    assert_non_null(context);
    start(scene);
    executor = open_url(url_of(scene, "client", NULL));
    run(FURROW_PATH " keygen %s --name stranger >/dev/null 2>&1", scene->directory);
    load(scene, "stranger", &curve);
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = wire_zmq_dealer(context);
        assert_non_null(crowd[i]);
        assert_int_equal(zmq_setsockopt(crowd[i], ZMQ_LINGER, &none, sizeof none), 0);
        assert_int_equal(wire_curve_dial(crowd[i], &curve), 0);
        assert_int_equal(wire_zmq_connect(crowd[i], scene->fleet.url), 0);
    }
    for (int i = 0; i < 200; i++) {
        expect_42(executor);
    }
    for (int i = 0; i < CROWD; i++) {
        zmq_pollitem_t item = {.socket = crowd[i], .events = ZMQ_POLLOUT};

        assert_int_equal(zmq_poll(&item, 1, 0), 0);
        assert_int_equal(zmq_close(crowd[i]), 0);
    }
    assert_int_equal(zmq_ctx_term(context), 0);
    assert_int_equal(furrow_close(&executor), FURROW_OK);
}

/* ------------------------------------------------------------------- the list */

static void a_revoked_client_is_told_and_its_futures_fail(void **state) {
    struct scene *scene = *state;
    furrow_executor *executor;
    furrow_future *future;

    start(scene);
    executor = open_url(url_of(scene, "client", NULL));
    expect_42(executor);
    future = furrow_submit(executor, sleep_for, "d", 60.0);
    assert_non_null(future);
    run("sed -i /name=client/d %s", scene->authorized);
    hang_up(scene);
    expect_auth_error(future);
    furrow_future_unref(&future);
    assert_null(furrow_submit(executor, twice, "i", (int64_t)1));
    assert_int_equal(furrow_last_status(), FURROW_EAUTH);
    assert_int_equal(furrow_close(&executor), FURROW_OK);
    expect_refused(url_of(scene, "client", NULL), "does not know this key");
}

static void a_revoked_workers_tasks_run_elsewhere(void **state) {
    struct scene *scene = *state;
    char second_key[128];
    const char *more[] = {"--key", second_key, "--server", scene->broker_public, NULL};
    struct fleet_options second = scene->options;
    furrow_executor *executor;
    furrow_future *future;
    int64_t first = 0, where = 0;
    pid_t pid;
    int status = 0;

    run(FURROW_PATH " keygen %s --name second --rights work >>%s 2>/dev/null", scene->directory,
        scene->authorized);
    start(scene);
    executor = open_url(url_of(scene, "client", NULL));
    future = furrow_submit(executor, pid_of_worker, "");
    assert_int_equal(furrow_future_result(future, 30, "i", &first), FURROW_OK);
    furrow_future_unref(&future);
    future = furrow_submit(executor, sleep_for, "d", 3.0);
    assert_non_null(future);
    while (!furrow_future_running(future)) {
        pause_ms(1);
    }
    snprintf(second_key, sizeof second_key, "%s/second.key", scene->directory);
    second.worker_more = more;
    pid = fleet_start_worker(&scene->fleet, &second);
    assert_true(pid > 0);
    run("sed -i /name=worker/d %s", scene->authorized);
    hang_up(scene);
    assert_int_equal(waitpid(scene->fleet.worker, &status, 0), scene->fleet.worker);
    scene->fleet.worker = 0;
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_int_equal(furrow_future_result(future, 60, "n"), FURROW_OK);
    furrow_future_unref(&future);
    future = furrow_submit(executor, pid_of_worker, "");
    assert_int_equal(furrow_future_result(future, 30, "i", &where), FURROW_OK);
    assert_true(where != first);
    furrow_future_unref(&future);
    assert_int_equal(furrow_close(&executor), FURROW_OK);
    assert_true(fleet_end(&pid));
}

static void a_list_with_an_error_changes_nothing(void **state) {
    struct scene *scene = *state;
    furrow_executor *executor;

    start(scene);
    executor = open_url(url_of(scene, "client", NULL));
    run("mv %s %s/good", scene->authorized, scene->directory);
    hang_up(scene);
    expect_42(executor);
    run("echo 'everything for everybody' >%s", scene->authorized);
    hang_up(scene);
    expect_42(executor);
    run("rm %s; cp %s/good %s; chmod 666 %s", scene->authorized, scene->directory,
        scene->authorized, scene->authorized);
    run("sed -i /name=client/d %s; chmod 666 %s", scene->authorized, scene->authorized);
    hang_up(scene); /* anybody could have written that */
    expect_42(executor);
    assert_int_equal(furrow_close(&executor), FURROW_OK);
    executor = open_url(url_of(scene, "client", NULL));
    expect_42(executor);
    assert_int_equal(furrow_close(&executor), FURROW_OK);
}

static void a_key_that_is_added_is_let_in(void **state) {
    struct scene *scene = *state;
    furrow_executor *executor;

    start(scene);
    run(FURROW_PATH " keygen %s --name late >%s/line 2>/dev/null", scene->directory,
        scene->directory);
    expect_refused(url_of(scene, "late", NULL), "does not know this key");
    run("cat %s/line >>%s", scene->directory, scene->authorized);
    hang_up(scene);
    for (int i = 0;; i++) { /* until the broker has read it */
        furrow_options options = FURROW_OPTIONS_INIT;

        options.connect_timeout = TOLD_S;
        executor = furrow_open(url_of(scene, "late", NULL), &options);
        if (executor != NULL) {
            break;
        }
        assert_int_equal(furrow_last_status(), FURROW_EAUTH);
        assert_true(i < 200);
        pause_ms(20);
    }
    expect_42(executor);
    assert_int_equal(furrow_close(&executor), FURROW_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        TEST(keygen_makes_secrets_that_only_their_owner_can_read),
        TEST(keygen_never_writes_over_a_file),
        TEST(keygen_says_what_is_wrong_with_its_arguments),
        TEST(a_fleet_with_keys_runs_tasks),
        TEST(keys_may_be_named_by_the_environment),
        TEST(ipc_asks_for_keys_too),
        TEST(an_admins_key_lets_the_furrow_program_look),
        TEST(a_client_without_a_key_is_told),
        TEST(a_key_that_is_not_in_the_list_is_told),
        TEST(a_wrong_key_of_the_broker_is_told),
        TEST(a_key_for_a_broker_that_has_none_is_told),
        TEST(a_key_without_the_right_is_told),
        TEST(what_was_submitted_meanwhile_fails_and_says_why),
        TEST(a_key_file_that_others_may_read_is_refused),
        TEST(a_worker_that_is_not_let_in_ends_with_code_1),
        TEST(a_worker_with_a_wrong_key_of_the_broker_ends_with_code_1),
        TEST(raw_peers_without_a_right_key_get_nothing),
        TEST(a_raw_peer_can_not_take_the_session_of_another_key),
        TEST(many_refused_peers_do_not_keep_the_others_from_working),
        TEST(a_revoked_client_is_told_and_its_futures_fail),
        TEST(a_revoked_workers_tasks_run_elsewhere),
        TEST(a_list_with_an_error_changes_nothing),
        TEST(a_key_that_is_added_is_let_in),
    };

    furrow_init(&argc, &argv);
    if (argc > 1) { /* for a look at one of them */
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
