#include "tests/conformance/harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/fleet.h"

enum conformance_kind conformance_kind;

enum { LOG_LINES_MAX = 256 };

static struct {
    furrow_executor *executor;
    char url[256];
    struct fleet fleet;
    char directory[64]; /* of this test: the gate, the broker's port file */
    pthread_mutex_t log_lock;
    char *log[LOG_LINES_MAX];
    unsigned log_count;
    int fds, threads, children; /* before the test */
} now = {.log_lock = PTHREAD_MUTEX_INITIALIZER};

double now_seconds(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

void pause_ms(unsigned ms) {
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&time, NULL);
}

void conformance_assert_ok(furrow_status status, const char *what, const char *file, int line) {
    if (status != FURROW_OK) {
        print_error("%s: %s: %s\n", what, furrow_status_text(status), furrow_last_error());
        _fail(file, line);
    }
}

void *conformance_must(void *pointer, const char *what, const char *file, int line) {
    if (pointer == NULL) {
        print_error("%s: %s: %s\n", what, furrow_status_text(furrow_last_status()),
                    furrow_last_error());
        _fail(file, line);
    }
    return pointer;
}

int64_t result_int(furrow_future *future) {
    int64_t value = 0;

    assert_non_null(future);
    furrow_status status = furrow_future_result(future, 30.0, "i", &value);
    if (status != FURROW_OK) {
        const furrow_error *error = NULL;

        furrow_future_error(future, 0, &error);
        fail_msg("no integer: %s: %s", furrow_status_text(status),
                 error != NULL ? error->message : furrow_last_error());
    }
    return value;
}

/* --------------------------------------------------------- what is left behind */

static int count_entries(const char *path) {
    DIR *dir = opendir(path);
    int count = 0;

    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(dir);
    return count;
}

static int count_children(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/task");

    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[PATH_MAX];
        int pid;

        snprintf(path, sizeof path, "/proc/self/task/%s/children", entry->d_name);
        FILE *file = fopen(path, "re");
        while (file != NULL && fscanf(file, "%d", &pid) == 1) {
            count++;
        }
        if (file != NULL) {
            fclose(file);
        }
    }
    closedir(dir);
    return count;
}

static void count_now(int *fds, int *threads, int *children) {
    *fds = count_entries("/proc/self/fd");
    *threads = count_entries("/proc/self/task");
    *children = count_children();
}

/* A thread that was joined may be seen in /proc for a moment longer; so may one that is detached. */
static void expect_nothing_left(void) {
    int fds = 0, threads = 0, children = 0;

    for (int turns = 0; turns < 2000; turns++) {
        count_now(&fds, &threads, &children);
        if (fds <= now.fds && threads <= now.threads && children <= now.children) {
            return;
        }
        pause_ms(1);
    }
    fail_msg("left behind: %d fds (%d before), %d threads (%d), %d children (%d)", fds, now.fds,
             threads, now.threads, children, now.children);
}

/* --------------------------------------------------------------------- fleet */

static void start_fleet(int workers) {
    static const char *const broker_more[] = {"--no-function-timeout", "1", NULL};
    struct fleet_options options = {
        .broker_path = FURROW_BROKER_PATH,
        .worker_path = FURROW_WORKER_PATH,
        .module = FURROW_TASKS_PATH,
        .directory = now.directory,
        .workers = workers,
        .broker_more = broker_more,
    };

    if (!fleet_start(&now.fleet, &options)) {
        fail_msg("%s", now.fleet.error);
    }
    snprintf(now.url, sizeof now.url, "%s", now.fleet.url);
}

static void on_log(void *user, furrow_log_level level, const char *line) {
    (void)user;
    (void)level;
    pthread_mutex_lock(&now.log_lock);
    if (now.log_count < LOG_LINES_MAX) {
        now.log[now.log_count++] = strdup(line);
    }
    pthread_mutex_unlock(&now.log_lock);
}

unsigned conformance_logged(const char *text) {
    unsigned count = 0;

    pthread_mutex_lock(&now.log_lock);
    for (unsigned i = 0; i < now.log_count; i++) {
        count += strstr(now.log[i], text) != NULL;
    }
    pthread_mutex_unlock(&now.log_lock);
    return count;
}

const char *conformance_url(void) {
    return now.url;
}

furrow_executor *conformance_open(int workers) {
    return conformance_open_with(workers, NULL, NULL);
}

furrow_executor *conformance_open_with(int workers, furrow_options *options,
                                       const char *parameters) {
    furrow_options defaults = FURROW_OPTIONS_INIT;

    assert_null(now.executor);
    if (options == NULL) {
        options = &defaults;
    }
    options->log = on_log;
    switch (conformance_kind) {
    case ON_THREADS:
        snprintf(now.url, sizeof now.url, "threads:%d", workers);
        break;
    case ON_PROCESSES:
        snprintf(now.url, sizeof now.url, "processes:%d", workers);
        break;
    case ON_REMOTE:
        start_fleet(workers);
        break;
    case ON_WORKERS:
    case ON_ALL:
        fail_msg("not one kind");
    }
    if (parameters != NULL) {
        size_t at = strlen(now.url);
        snprintf(now.url + at, sizeof now.url - at, "?%s", parameters);
    }
    now.executor = furrow_open(now.url, options);
    return must(now.executor);
}

void conformance_close(void) {
    if (now.executor != NULL) {
        assert_ok(furrow_close(&now.executor));
    }
    if (!fleet_stop(&now.fleet)) {
        fail_msg("a daemon did not stop on SIGTERM within 10 s");
    }
}

/* ---------------------------------------------------------------------- gate */

const char *gate_path(void) {
    return now.directory;
}

static unsigned gate_count(const char *prefix) {
    DIR *dir = opendir(now.directory);
    unsigned count = 0;

    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    }
    closedir(dir);
    return count;
}

unsigned gate_started(void) {
    return gate_count("started.");
}

void gate_wait_started(unsigned at_least) {
    wait_for(gate_started() >= at_least);
}

void gate_open(void) {
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/open", now.directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void remove_directory(void) {
    DIR *dir = opendir(now.directory);

    if (dir == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
    rmdir(now.directory);
}

/* ---------------------------------------------------------------------- main */

static int before_test(void **state) {
    (void)state;
    snprintf(now.directory, sizeof now.directory, "/tmp/furrow-gate.XXXXXX");
    if (mkdtemp(now.directory) == NULL) {
        return -1;
    }
    count_now(&now.fds, &now.threads, &now.children);
    return 0;
}

static int after_test(void **state) {
    (void)state;
    gate_open(); /* a test that failed may have left tasks at it */
    conformance_close();
    expect_nothing_left();
    remove_directory();
    for (unsigned i = 0; i < now.log_count; i++) {
        free(now.log[i]);
    }
    now.log_count = 0;
    return 0;
}

static void at_exit(void) {
    if (now.fleet.worker > 0) {
        kill(now.fleet.worker, SIGKILL);
    }
    if (now.fleet.broker > 0) {
        kill(now.fleet.broker, SIGKILL);
    }
}

/* What the library or a sanitizer makes once and keeps (a thread, a descriptor) is not a leak. */
static void warm_up(void) {
    furrow_executor *pool = furrow_open("threads:1", NULL);

    if (pool != NULL) {
        furrow_future *future = furrow_submit(pool, nothing, "");
        furrow_future_unref(&future);
        furrow_close(&pool);
    }
}

int conformance_main(int argc, char **argv, const char *section, const struct conformance_row *rows,
                     size_t count) {
    static const struct {
        const char *name;
        enum conformance_kind kind;
    } kinds[] = {{"threads", ON_THREADS}, {"processes", ON_PROCESSES}, {"remote", ON_REMOTE}};
    struct CMUnitTest tests[128];
    size_t chosen = 0;
    char group[64];

    for (size_t i = 0; argc >= 2 && i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(argv[1], kinds[i].name) == 0) {
            conformance_kind = kinds[i].kind;
        }
    }
    if (conformance_kind == 0 || count > sizeof tests / sizeof tests[0]) {
        fprintf(stderr, "usage: %s threads|processes|remote [test]\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < count; i++) {
        if ((rows[i].kinds & conformance_kind) != 0 &&
            (argc < 3 || strcmp(argv[2], rows[i].name) == 0)) {
            tests[chosen++] =
                (struct CMUnitTest){rows[i].name, rows[i].test, before_test, after_test, NULL};
        }
    }
    snprintf(group, sizeof group, "%s.%s", section, argv[1]);
    atexit(at_exit);
    warm_up();
    return _cmocka_run_group_tests(group, tests, chosen, NULL, NULL);
}
