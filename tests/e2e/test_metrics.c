/* furrow-broker --metrics: what it serves, and that nobody who disturbs there disturbs the broker. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/e2e/fault_tasks.h"
#include "tests/e2e/faults.h"

static const char *const with_metrics[] = {"--metrics", "0", NULL};
static char page[1 << 17];

/* The port of the metrics, which the port file names in its second line. */
static unsigned short metrics_port(void) {
    char path[300], line[300] = "";
    unsigned port = 0;
    FILE *file;

    snprintf(path, sizeof path, "%s/endpoint", faults_directory());
    file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    assert_int_equal(sscanf(line, "http://127.0.0.1:%u/metrics", &port), 1);
    return (unsigned short)port;
}

/* A connection, or -1. */
static int dial(unsigned short port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Sends a request and reads what comes; returns the HTTP status, 0 if none came. The body is in page. */
static int get(unsigned short port, const char *request) {
    int fd = dial(port), status = 0;
    size_t size = 0;
    ssize_t got;
    char *body;

    page[0] = '\0';
    if (fd < 0) {
        return 0;
    }
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request)) {
        while (size < sizeof page - 1 &&
               (got = read(fd, page + size, sizeof page - 1 - size)) > 0) {
            size += (size_t)got;
        }
    }
    page[size] = '\0';
    close(fd);
    (void)sscanf(page, "HTTP/1.%*d %d", &status);
    body = strstr(page, "\r\n\r\n");
    if (body != NULL) {
        memmove(page, body + 4, strlen(body + 4) + 1);
    }
    return status;
}

#define GET "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

/* The value of a metric with its labels; -1: it isn't there. */
static double value_of(const char *name) {
    size_t size = strlen(name);

    for (const char *line = page; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, size) == 0 && line[size] == ' ') {
            return atof(line + size + 1);
        }
    }
    return -1;
}

/* What is shown is up to half a second old. */
static bool shows(unsigned short port, const char *name, double value) {
    return get(port, GET) == 200 && value_of(name) == value;
}

static void metrics_count_what_the_broker_does(void **state) {
    furrow_future *tasks[10], *failing, *running;
    furrow_executor *pool;
    unsigned short port;
    struct site site;
    (void)state;

    site_open(&site, 1, 2, 3, with_metrics);
    port = metrics_port();
    wait_for(shows(port, "furrow_workers", 2));
    assert_true(value_of("furrow_worker_slots") == 6);
    assert_true(value_of("furrow_supervisors") == 1);
    pool = open_pool(site.fleet.url);
    for (int i = 0; i < 10; i++) {
        tasks[i] = must(furrow_submit(pool, work, "ii", (int64_t)i, (int64_t)2000));
    }
    for (int i = 0; i < 10; i++) {
        assert_int_equal(take_int(&tasks[i]), mixed(i));
    }
    failing = must(furrow_submit(pool, held, "i", (int64_t)1));
    assert_int_equal(furrow_future_wait(failing, 60), FURROW_OK);
    furrow_future_unref(&failing);
    running = must(furrow_submit(pool, held, "iii", (int64_t)1, (int64_t)1, (int64_t)1));
    wait_for(shows(port, "furrow_tasks_leased", 1));
    assert_true(value_of("furrow_tasks_submitted_total") == 12);
    assert_true(value_of("furrow_tasks_finished_total{outcome=\"value\"}") == 10);
    assert_true(value_of("furrow_tasks_finished_total{outcome=\"failed\"}") == 1);
    assert_true(value_of("furrow_tasks_queued") == 0);
    assert_true(value_of("furrow_clients") == 1);
    /* One that was given back unstarted has waited twice. */
    assert_true(value_of("furrow_task_queue_seconds_count") >= 12);
    assert_true(value_of("furrow_task_run_seconds_count") == 11);
    assert_true(value_of("furrow_task_run_seconds_bucket{le=\"+Inf\"}") == 11);
    assert_true(value_of("furrow_task_run_seconds_bucket{le=\"0.001\"}") <=
                1); /* the failing one */
    assert_true(value_of("furrow_task_run_seconds_sum") >= 0.02);
    assert_true(value_of("furrow_memory_bytes") > 0);
    assert_true(value_of("process_resident_memory_bytes") > 1e6);
    assert_true(value_of("process_open_fds") > 5);
    assert_true(value_of("process_cpu_seconds_total") > 0);
    atomic_store(&faults_book()->gates[1], 1);
    assert_int_equal(take_int(&running), 1);
    close_pool(&pool);
    wait_for(shows(port, "furrow_clients", 0));
    site_close(&site);
}

#ifdef PROMTOOL_PATH
static void promtool_finds_nothing_wrong(void **state) {
    unsigned short port;
    struct site site;
    FILE *promtool;
    char line[200];
    (void)state;

    site_open(&site, 1, 1, 1, with_metrics);
    port = metrics_port();
    wait_for(shows(port, "furrow_workers", 1));
    assert_true(value_of("furrow_build_info{version=\"0\"}") < 0);
    snprintf(line, sizeof line, "%s check metrics >&2", PROMTOOL_PATH);
    promtool = popen(line, "we");
    assert_non_null(promtool);
    assert_int_equal(fwrite(page, 1, strlen(page), promtool), strlen(page));
    assert_int_equal(pclose(promtool), 0);
    site_close(&site);
}
#endif

static void what_is_no_request_gets_an_error_and_no_more(void **state) {
    static char long_request[40000] = "GET /metrics HTTP/1.1\r\nX: ";
    unsigned short port;
    struct site site;
    (void)state;

    site_open(&site, 0, 0, 1, with_metrics);
    port = metrics_port();
    assert_int_equal(get(port, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), 404);
    assert_int_equal(get(port, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                               "Connection: close\r\n\r\nhello"),
                     405);
    assert_int_equal(get(port, "HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
                     200);
    memset(long_request + strlen(long_request), 'x', sizeof long_request - 40);
    assert_int_not_equal(get(port, long_request), 200);
    assert_int_not_equal(get(port, "\x01\x02\xff nonsense\r\n\r\n"), 200);
    wait_for(shows(port, "furrow_build_info{version=\"" FURROW_TEST_VERSION "\"}", 1));
    site_close(&site);
}

/* Connections that say nothing, half a request, or ask and don't read; and floods of nonsense. */
static void disturb(unsigned short port, int *fds, int count) {
    static const char *const half[] = {"", "GET /met", GET GET GET GET GET GET GET GET,
                                       "\xff\xff\n\n"};

    for (int i = 0; i < count; i++) {
        const char *text = half[i % 4];

        if (fds[i] >= 0) {
            close(fds[i]);
        }
        fds[i] = dial(port);
        if (fds[i] >= 0) {
            (void)!send(fds[i], text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
        }
    }
}

static void whoever_disturbs_there_does_not_disturb_the_broker(void **state) {
    enum { CONNECTIONS = 200, ROUNDS = 10, TASKS = 50 };
    static int fds[CONNECTIONS];
    furrow_executor *pool;
    unsigned short port;
    struct site site;
    (void)state;

    site_open(&site, 1, 1, 1, with_metrics);
    port = metrics_port();
    pool = open_pool(site.fleet.url);
    memset(fds, 0xff, sizeof fds);
    for (int round = 0; round < ROUNDS; round++) {
        disturb(port, fds, CONNECTIONS);
        for (int i = 0; i < TASKS; i++) {
            furrow_future *task = must(furrow_submit(pool, echo_int, "i", (int64_t)i));

            assert_int_equal(take_int(&task), i);
        }
        assert_true(fds_of(site.fleet.broker) < 150); /* it lets few of them in */
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    wait_for(shows(port, "furrow_tasks_finished_total{outcome=\"value\"}", ROUNDS * TASKS));
    close_pool(&pool);
    site_close(&site);
}

static void an_address_that_is_taken_ends_the_broker_with_code_1(void **state) {
    struct site site;
    char command[600];
    int status;
    (void)state;

    site_open(&site, 0, 0, 1, with_metrics);
    snprintf(command, sizeof command,
             "%s --listen 'tcp://127.0.0.1:*' --metrics 127.0.0.1:%u 2>/dev/null",
             FURROW_BROKER_PATH, metrics_port());
    status = system(command);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    snprintf(command, sizeof command, "%s --metrics nonsense 2>/dev/null", FURROW_BROKER_PATH);
    status = system(command);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    site_close(&site);
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    faults_init(110);
#define METRICS_TEST(name) cmocka_unit_test_setup_teardown(name, faults_set_up, faults_tear_down)
    const struct CMUnitTest tests[] = {
        METRICS_TEST(metrics_count_what_the_broker_does),
#ifdef PROMTOOL_PATH
        METRICS_TEST(promtool_finds_nothing_wrong),
#endif
        METRICS_TEST(what_is_no_request_gets_an_error_and_no_more),
        METRICS_TEST(whoever_disturbs_there_does_not_disturb_the_broker),
        METRICS_TEST(an_address_that_is_taken_ends_the_broker_with_code_1),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
