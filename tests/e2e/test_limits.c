/* What happens where something runs out: descriptors, memory, address space, disk. Nothing may crash,
 * hang or lose a task; what can't be done is said. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/e2e/fault_tasks.h"
#include "tests/e2e/faults.h"

#define MIB (INT64_C(1) << 20)

/* A script in the test's directory that sets a limit and becomes the program. */
static void limited(char *path, size_t size, const char *name, const char *ulimit,
                    const char *program) {
    snprintf(path, size, "%s/%s", faults_directory(), name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s || exit 1\nexec '%s' \"$@\"\n", ulimit, program);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0700), 0);
}

static void expect_service(furrow_executor *pool, int64_t count) {
    furrow_future **futures = must(calloc((size_t)count, sizeof(furrow_future *)));

    for (int64_t i = 0; i < count; i++) {
        futures[i] = must(furrow_submit(pool, echo_int, "i", i));
    }
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(take_int(&futures[i]), i);
    }
    free(futures);
}

/* ---------------------------------------------------------------- descriptors */

static int port_of(const struct site *site) {
    return atoi(strrchr(site->fleet.url, ':') + 1);
}

static int connect_to(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Restarts the broker with another program or other arguments. */
static void open_site_with(struct site *site, const char *broker, const char *worker, int processes,
                           const char *const *broker_more) {
    site_open(site, 0, processes, 1, broker_more);
    if (broker != NULL) {
        assert_true(fleet_end(&site->fleet.broker));
        site->options.broker_path = broker;
        if (!site_start_broker(site)) {
            fail_msg("%s", site->fleet.error);
        }
    }
    if (worker != NULL) {
        site->options.worker_path = worker;
    }
    site->machine_count = 1;
    assert_true(site_start_machine(site, 0));
}

static void a_broker_short_of_descriptors_serves_those_it_has(void **state) {
    enum { STRANGERS = 100 };
    char broker[128];
    int strangers[STRANGERS];
    struct site site;
    (void)state;

    limited(broker, sizeof broker, "broker", "ulimit -n 40", FURROW_BROKER_PATH);
    open_site_with(&site, broker, NULL, 2, NULL);
    furrow_executor *pool = open_pool(site.fleet.url);
    expect_service(pool, 100);
    for (int i = 0; i < STRANGERS; i++) {
        strangers[i] = connect_to(port_of(&site));
    }
    pause_ms(200);
    expect_service(pool, 1000);
    for (int i = 0; i < STRANGERS; i++) {
        if (strangers[i] >= 0) {
            close(strangers[i]);
        }
    }
    furrow_executor *later = open_pool(site.fleet.url);
    expect_service(later, 100);
    close_pool(&later);
    close_pool(&pool);
    site_close(&site);
}

static void a_worker_short_of_descriptors_serves(void **state) {
    char worker[128];
    struct site site;
    (void)state;

    limited(worker, sizeof worker, "worker", "ulimit -n 32", FURROW_WORKER_PATH);
    open_site_with(&site, NULL, worker, 1, NULL);
    furrow_executor *pool = open_pool(site.fleet.url);
    for (int i = 0; i < 20; i++) {
        furrow_future *future = must(furrow_submit(pool, open_many, "i", (int64_t)1000));
        assert_in_range(take_int(&future), 1, 31);
    }
    expect_service(pool, 1000);
    close_pool(&pool);
    site_close(&site);
}

/* More processes are asked for than its descriptors allow: it does with fewer. */
static void a_supervisor_short_of_descriptors_starts_what_it_can(void **state) {
    char worker[128];
    struct site site;
    (void)state;

    limited(worker, sizeof worker, "worker", "ulimit -n 24", FURROW_WORKER_PATH);
    open_site_with(&site, NULL, worker, 16, NULL);
    furrow_executor *pool = open_pool(site.fleet.url);
    expect_service(pool, 1000);
    close_pool(&pool);
    site_close(&site);
}

/* Opens an executor and runs a task while this process has `spare` descriptors left. */
static bool works_with_spare(const char *url, int spare) {
    int taken[4096], count = 0;
    bool works = false;

    while (count < 4096 && (taken[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) {
        count++;
    }
    for (int i = 0; i < spare && count > 0; i++) {
        close(taken[--count]);
    }
    furrow_executor *pool = furrow_open(url, NULL);
    if (pool == NULL) {
        furrow_status status = furrow_last_status();
        assert_true(status == FURROW_ESYSTEM || status == FURROW_ENOMEM);
        assert_true(strlen(furrow_last_error()) > 0);
    } else {
        furrow_future *future = furrow_submit(pool, echo_int, "i", (int64_t)5);
        int64_t value = 0;

        assert_non_null(future);
        /* It may open and yet be unable to start a worker process: then it says so, or goes on
         * trying, and works as soon as there are descriptors again. */
        if (furrow_future_result(future, 1.0, "i", &value) == FURROW_OK) {
            works = true;
        } else {
            while (count > 0) {
                close(taken[--count]);
            }
            furrow_status status = furrow_future_result(future, 30, "i", &value);
            assert_true(status == FURROW_OK || status == FURROW_EFAILED);
        }
        assert_true(!works || value == 5);
        furrow_future_unref(&future);
        assert_int_equal(furrow_close(&pool), FURROW_OK);
    }
    while (count > 0) {
        close(taken[--count]);
    }
    return works;
}

/* libzmq ends the process where it can't have a descriptor, so that is not to happen to it. */
static void a_program_short_of_descriptors_is_told_so(void **state) {
    struct rlimit before, low = {64, 64};
    struct site site;
    int at = 0;
    (void)state;

    site_open(&site, 1, 1, 1, NULL);
    const char *const urls[] = {"threads:2", "processes:1", site.fleet.url};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        for (at = 0; at <= 40 && !works_with_spare(urls[i], at); at++) {
        }
        fprintf(stderr, "%s works with %d descriptors\n", urls[i], at);
        assert_true(at <= 40);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    site_close(&site);
}

/* -------------------------------------------------------------------- memory */

static long peak_of_flood(struct site *site, furrow_executor *pool, int64_t count, size_t size) {
    unsigned char *bytes = must(malloc(size));
    furrow_future **futures = must(calloc((size_t)count, sizeof(furrow_future *)));
    long peak_kb = 0;

    memset(bytes, 1, size);
    for (int64_t i = 0; i < count; i++) {
        futures[i] = must(furrow_submit(pool, weigh, "B", bytes, size));
    }
    for (int64_t i = 0; i < count; i++) {
        long now_kb = i % 16 == 0 ? rss_kb(site->fleet.broker) : 0;

        peak_kb = now_kb > peak_kb ? now_kb : peak_kb;
        assert_int_equal(take_int(&futures[i]), size);
    }
    free(futures);
    free(bytes);
    return peak_kb;
}

static void a_flood_of_arguments_stays_within_the_memory_limit(void **state) {
    static const char *const broker_more[] = {"--memory-limit", "16M", NULL};
    struct site site;
    (void)state;

    site_open(&site, 1, 1, 1, broker_more);
    furrow_executor *pool = open_pool(site.fleet.url);
    long small_kb = peak_of_flood(&site, pool, 10000, 16 << 10);
    long large_kb = peak_of_flood(&site, pool, 200, 1 << 20);
    figure("flood_memory_limit", 16, "MiB");
    figure("flood_broker_rss_peak_16_kib", (double)small_kb / 1024, "MiB");
    figure("flood_broker_rss_peak_1_mib", (double)large_kb / 1024, "MiB");
    assert_in_range(small_kb, 1, 64 * 1024);
    assert_in_range(large_kb, 1, 64 * 1024);
    close_pool(&pool);
    site_close(&site);
}

static void a_task_larger_than_the_memory_limit_still_runs(void **state) {
    static const char *const broker_more[] = {"--memory-limit", "1M", NULL};
    struct site site;
    (void)state;

    site_open(&site, 1, 1, 1, broker_more);
    furrow_executor *pool = open_pool(site.fleet.url);
    (void)peak_of_flood(&site, pool, 5, 8 << 20);
    expect_service(pool, 1000);
    close_pool(&pool);
    site_close(&site);
}

static void a_flood_of_tasks_stays_within_the_task_limit(void **state) {
    static const char *const broker_more[] = {"--max-tasks", "50", NULL};
    struct site site;
    (void)state;

    site_open(&site, 1, 2, 1, broker_more);
    furrow_executor *pool = open_pool(site.fleet.url);
    expect_service(pool, 20000);
    close_pool(&pool);
    site_close(&site);
}

/* ------------------------------------------------------------- address space */

static void a_task_that_allocates_too_much_fails_alone(void **state) {
    char worker[128];
    struct site site;
    (void)state;

    limited(worker, sizeof worker, "worker", "ulimit -v 1000000", FURROW_WORKER_PATH);
    open_site_with(&site, NULL, worker, 2, NULL);
    furrow_executor *pool = open_pool(site.fleet.url);
    for (int i = 0; i < 10; i++) {
        const furrow_error *error = NULL;
        furrow_future *large = must(furrow_submit(pool, hog, "i", 4096 * MIB));
        furrow_future *small = must(furrow_submit(pool, hog, "i", 16 * MIB));

        assert_int_equal(furrow_future_error(large, 30, &error), FURROW_OK);
        assert_non_null(error);
        assert_int_equal(error->kind, FURROW_ERROR_TASK);
        assert_int_equal(error->code, ENOMEM);
        furrow_future_unref(&large);
        assert_int_equal(take_int(&small), 16 * MIB);
    }
    expect_service(pool, 1000);
    close_pool(&pool);
    site_close(&site);
}

/* The library itself finds no room for a result or an argument: the task ends with an error, in
 * bounded time, and the pool lives. */
static void a_payload_too_large_for_its_worker_fails_alone(void **state) {
    enum { SIZE = 100 << 20 };
    static const char *const broker_more[] = {"--heartbeat", "0.2", "--silence", "3", NULL};
    const furrow_error *error = NULL;
    char worker[128];
    struct site site;
    (void)state;

    limited(worker, sizeof worker, "worker", "ulimit -v 250000", FURROW_WORKER_PATH);
    open_site_with(&site, NULL, worker, 1, broker_more);
    furrow_executor *pool = open_pool(site.fleet.url);
    expect_service(pool, 100);

    furrow_future *result = must(furrow_submit(pool, blob, "ii", (int64_t)1, (int64_t)SIZE));
    assert_int_equal(furrow_future_error(result, 60, &error), FURROW_OK);
    assert_non_null(error);
    fprintf(stderr, "result: %s\n", error->message);
    furrow_future_unref(&result);
    expect_service(pool, 100);

    unsigned char *bytes = must(calloc(1, SIZE));
    furrow_future *argument = must(furrow_submit(pool, weigh, "B", bytes, (size_t)SIZE));
    free(bytes);
    assert_int_equal(furrow_future_error(argument, 60, &error), FURROW_OK);
    assert_non_null(error);
    fprintf(stderr, "argument: %s\n", error->message);
    furrow_future_unref(&argument);
    expect_service(pool, 100);
    close_pool(&pool);
    site_close(&site);
}

/* ---------------------------------------------------------------------- disk */

/* A file system without room; skips the test where that can't be had. */
static void mount_full(char *path, size_t size) {
    char file[160];

    snprintf(path, size, "%s/full", faults_directory());
    assert_int_equal(mkdir(path, 0700), 0);
    if (mount("none", path, "tmpfs", 0, "size=4k,nr_inodes=2") != 0) {
        print_message("no tmpfs can be mounted (%s): not tested\n", strerror(errno));
        skip();
    }
    snprintf(file, sizeof file, "%s/filler", path);
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    char page[4096] = {0};
    assert_int_equal(write(fd, page, sizeof page), sizeof page);
    close(fd);
}

static int status_of_program(const char *command) {
    int status = system(command);

    return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

/* Nobody would find a broker whose address was not written. */
static void a_broker_that_can_not_write_its_port_file_says_so_and_exits(void **state) {
    char full[128], command[1024];
    (void)state;

    mount_full(full, sizeof full);
    snprintf(command, sizeof command,
             "timeout 10 %s --listen 'tcp://127.0.0.1:*' --port-file %s/endpoint 2> %s/said",
             FURROW_BROKER_PATH, full, faults_directory());
    int status = status_of_program(command);
    umount(full);
    assert_int_equal(status, 1);
    snprintf(command, sizeof command, "grep -q 'No space left' %s/said", faults_directory());
    assert_int_equal(status_of_program(command), 0);
}

static void daemons_whose_log_is_full_go_on(void **state) {
    char full[128], broker[128], worker[128], redirect[256];
    struct site site;
    (void)state;

    mount_full(full, sizeof full);
    snprintf(redirect, sizeof redirect, "exec 2>> %s/filler", full);
    limited(broker, sizeof broker, "broker", redirect, FURROW_BROKER_PATH);
    limited(worker, sizeof worker, "worker", redirect, FURROW_WORKER_PATH);
    site_open(&site, 0, 1, 1, NULL);
    assert_true(fleet_end(&site.fleet.broker));
    site.options.broker_path = broker;
    site.options.worker_path = worker;
    site.options.log_level = "debug";
    assert_true(site_start_broker(&site));
    site.machine_count = 1;
    assert_true(site_start_machine(&site, 0));
    furrow_executor *pool = open_pool(site.fleet.url);
    expect_service(pool, 1000);
    furrow_future *future = must(furrow_submit(pool, die_once, "i", (int64_t)0));
    (void)take_int(&future);
    expect_service(pool, 1000);
    close_pool(&pool);
    site_close(&site);
    umount(full);
}

/* Where sockets are to be made there is no room: then elsewhere. */
static void processes_work_with_a_full_runtime_directory(void **state) {
    char full[128];
    (void)state;

    mount_full(full, sizeof full);
    setenv("XDG_RUNTIME_DIR", full, 1);
    furrow_executor *pool = open_pool("processes:1");
    expect_service(pool, 100);
    close_pool(&pool);
    umount(full);
}

#define LIMITS_TEST(test) cmocka_unit_test_setup_teardown(test, faults_set_up, faults_tear_down)

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    static const struct CMUnitTest tests[] = {
        LIMITS_TEST(a_broker_short_of_descriptors_serves_those_it_has),
        LIMITS_TEST(a_worker_short_of_descriptors_serves),
        LIMITS_TEST(a_supervisor_short_of_descriptors_starts_what_it_can),
        LIMITS_TEST(a_program_short_of_descriptors_is_told_so),
        LIMITS_TEST(a_flood_of_arguments_stays_within_the_memory_limit),
        LIMITS_TEST(a_task_larger_than_the_memory_limit_still_runs),
        LIMITS_TEST(a_flood_of_tasks_stays_within_the_task_limit),
        LIMITS_TEST(a_task_that_allocates_too_much_fails_alone),
        LIMITS_TEST(a_payload_too_large_for_its_worker_fails_alone),
        LIMITS_TEST(a_broker_that_can_not_write_its_port_file_says_so_and_exits),
        LIMITS_TEST(daemons_whose_log_is_full_go_on),
        LIMITS_TEST(processes_work_with_a_full_runtime_directory),
    };

    faults_init(170);
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
