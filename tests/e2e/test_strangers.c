/* Strangers at a broker's port who don't speak ZMTP, or not all of it: broken greetings, half a
 * handshake, wrong mechanisms, random bytes, bytes that come one by one, ten thousand connections that
 * say nothing, storms of connecting and resetting. Meanwhile a real client's tasks are run by real
 * workers, and when the strangers have gone the broker holds no descriptor more than before, and not
 * much more memory. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/e2e/fault_tasks.h"
#include "tests/e2e/faults.h"

#define SILENT_WANTED 10000
#define SILENT_SPARE  200 /* descriptors that the test itself needs */
#define ROUNDS        400
#define STORM         20000
#define SLOW          200
#define SLOW_FIRST_MS 3
/* What the allocator may keep after all is gone. */
#define RSS_GROWTH_KB (96 * 1024)

/* ZMTP 3.0: signature, version, mechanism NULL, not a server, filler; then READY of a DEALER. */
static const uint8_t greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
static const uint8_t ready[] = {4,   41,  5,   'R', 'E', 'A', 'D', 'Y', 11,  'S', 'o',
                                'c', 'k', 'e', 't', '-', 'T', 'y', 'p', 'e', 0,   0,
                                0,   6,   'D', 'E', 'A', 'L', 'E', 'R', 8,   'I', 'd',
                                'e', 'n', 't', 'i', 't', 'y', 0,   0,   0,   0};

/* A client of the broker that works all the time, in a thread of its own. */
struct customer {
    furrow_executor *pool;
    pthread_t thread;
    atomic_bool stop;
    atomic_long done;
    atomic_int wrong;
};

static struct {
    struct site site;
    struct customer customer;
    int port, fds;
    long rss_kb;
} scene;

static void *work_on(void *user) {
    struct customer *customer = user;
    enum { AT_ONCE = 8 };

    for (int64_t i = 0; !atomic_load(&customer->stop); i += AT_ONCE) {
        furrow_future *futures[AT_ONCE];

        for (int64_t k = 0; k < AT_ONCE; k++) {
            futures[k] = furrow_submit(customer->pool, echo_int, "i", i + k);
        }
        for (int64_t k = 0; k < AT_ONCE; k++) {
            int64_t value = -1;

            if (futures[k] == NULL ||
                furrow_future_result(futures[k], 60, "i", &value) != FURROW_OK || value != i + k) {
                atomic_fetch_add(&customer->wrong, 1);
            } else {
                atomic_fetch_add(&customer->done, 1);
            }
            furrow_future_unref(&futures[k]);
        }
    }
    return NULL;
}

/* Tasks are being done now, and none went wrong. */
static void expect_service(void) {
    long before = atomic_load(&scene.customer.done);

    wait_for(atomic_load(&scene.customer.done) > before + 32);
    assert_int_equal(atomic_load(&scene.customer.wrong), 0);
}

/* One who comes only now is served as well. */
static void expect_room_for_another(void) {
    furrow_executor *pool = open_pool(scene.site.fleet.url);
    furrow_future *future = must(furrow_submit(pool, echo_int, "i", (int64_t)77));

    assert_int_equal(take_int(&future), 77);
    close_pool(&pool);
}

/* How many descriptors the broker has when it has had none more and none less for a while. */
static int settled_fds(void) {
    int fds = fds_of(scene.site.fleet.broker);

    for (int same = 0; same < 50; same++) {
        int now = fds_of(scene.site.fleet.broker);

        same = now == fds ? same : 0;
        fds = now;
        pause_ms(10);
    }
    return fds;
}

static void expect_fds_back(void) {
    double until = now_seconds() + 40.0; /* ZeroMQ gives a handshake 30 s */

    while (fds_of(scene.site.fleet.broker) > scene.fds) {
        if (now_seconds() > until) {
            fail_msg("the broker has %d descriptors, and had %d", fds_of(scene.site.fleet.broker),
                     scene.fds);
        }
        pause_ms(10);
    }
}

static int begin(void **state) {
    if (faults_set_up(state) != 0) {
        return -1;
    }
    memset(&scene, 0, sizeof scene);
    site_open(&scene.site, 1, 2, 1, NULL);
    scene.port = atoi(strrchr(scene.site.fleet.url, ':') + 1);
    scene.customer.pool = open_pool(scene.site.fleet.url);
    assert_int_equal(pthread_create(&scene.customer.thread, NULL, work_on, &scene.customer), 0);
    expect_service();
    expect_room_for_another();
    scene.fds = settled_fds(); /* both workers are there, and the other client is gone */
    scene.rss_kb = rss_kb(scene.site.fleet.broker);
    return 0;
}

static int end(void **state) {
    expect_fds_back();
    expect_service();
    expect_room_for_another();
    expect_fds_back();
    long grown_kb = rss_kb(scene.site.fleet.broker) - scene.rss_kb;
    print_message("%ld tasks meanwhile; the broker has grown by %ld KiB\n",
                  atomic_load(&scene.customer.done), grown_kb);
    assert_true(grown_kb < RSS_GROWTH_KB);
    atomic_store(&scene.customer.stop, true);
    assert_int_equal(pthread_join(scene.customer.thread, NULL), 0);
    close_pool(&scene.customer.pool);
    site_close(&scene.site);
    return faults_tear_down(state);
}

/* --------------------------------------------------------------------- sockets */

/* -1: no descriptor or no port is left. */
static int try_connect(void) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)scene.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int connect_raw(void) {
    int fd = try_connect();

    if (fd < 0) {
        fail_msg("can't connect: %s", strerror(errno));
    }
    return fd;
}

/* What the other side thinks of it is seen elsewhere. */
static void say(int fd, const void *bytes, size_t size) {
    (void)!send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void fill(uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)random_below(256);
    }
}

/* Closes so that the other side gets a reset. */
static void reset(int fd) {
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

/* Whether the broker closes the connection within 10 s, instead of sending more than a greeting. */
static bool is_closed(int fd) {
    const struct timeval limit = {.tv_sec = 10};
    uint8_t bytes[256];
    ssize_t got;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    while ((got = recv(fd, bytes, sizeof bytes, 0)) > 0) {
    }
    return got == 0 || errno == ECONNRESET;
}

/* Reads exactly so many bytes, within 10 s each. */
static bool read_all(int fd, uint8_t *bytes, size_t size) {
    const struct timeval limit = {.tv_sec = 10};

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    for (size_t have = 0; have < size;) {
        ssize_t got = recv(fd, bytes + have, size - have, 0);

        if (got <= 0) {
            return false;
        }
        have += (size_t)got;
    }
    return true;
}

/* ----------------------------------------------------------------------- tests */

static void broken_greetings(void **state) {
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t broken[sizeof greeting];
        int fd = connect_raw();

        memcpy(broken, greeting, sizeof greeting);
        for (uint64_t k = 1 + random_below(4); k > 0; k--) {
            broken[random_below(16)] = (uint8_t)random_below(256);
        }
        say(fd, broken, sizeof broken);
        say(fd, ready, sizeof ready);
        i % 2 == 0 ? (void)close(fd) : reset(fd);
    }
    expect_service();
}

static void half_a_handshake(void **state) {
    enum { OPEN = 300 };
    int fds[OPEN];
    (void)state;

    for (int i = 0; i < OPEN; i++) {
        size_t size = sizeof greeting + sizeof ready;
        size_t cut = (size_t)i * size / OPEN;

        fds[i] = connect_raw();
        say(fds[i], greeting, cut < sizeof greeting ? cut : sizeof greeting);
        if (cut > sizeof greeting) {
            say(fds[i], ready, cut - sizeof greeting);
        }
    }
    expect_service();
    expect_room_for_another();
    for (int i = 0; i < OPEN; i++) {
        i % 2 == 0 ? (void)close(fds[i]) : reset(fds[i]);
    }
}

static void random_bytes(void **state) {
    static uint8_t bytes[65536];
    (void)state;

    fill(bytes, sizeof bytes);
    for (int i = 0; i < ROUNDS; i++) {
        int fd = connect_raw();
        size_t size = random_below(sizeof bytes) + 1;

        switch (i % 4) {
        case 0:
            break;
        case 1:
            say(fd, greeting, sizeof greeting);
            break;
        default: /* frames of any bytes, once the handshake is done */
            say(fd, greeting, sizeof greeting);
            say(fd, ready, sizeof ready);
            break;
        }
        say(fd, bytes + random_below(1000), size > 1000 ? size - 1000 : 1);
        close(fd);
    }
    expect_service();
}

static void wrong_mechanisms_are_turned_away(void **state) {
    static const char *const names[] = {"PLAIN", "CURVE", "GSSAPI", "XYZZY", "null", ""};
    (void)state;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        uint8_t wrong[sizeof greeting];
        int fd = connect_raw();

        memcpy(wrong, greeting, sizeof greeting);
        memset(wrong + 12, 0, 20);
        memcpy(wrong + 12, names[i], strlen(names[i]));
        say(fd, wrong, sizeof wrong);
        if (!is_closed(fd)) {
            fail_msg("the mechanism \"%s\" was not turned away", names[i]);
        }
        close(fd);
    }
    expect_service();
}

/* Slow loris: greetings that come byte by byte, from many at once; the last ones are complete, and are
 * answered. */
static void bytes_that_come_one_by_one(void **state) {
    int fds[SLOW];
    uint8_t answer[sizeof greeting];
    (void)state;

    for (int i = 0; i < SLOW; i++) {
        fds[i] = connect_raw();
    }
    for (size_t at = 0; at < sizeof greeting; at++) {
        for (int i = 0; i < SLOW; i++) {
            say(fds[i], greeting + at, 1);
        }
        pause_ms(SLOW_FIRST_MS);
    }
    expect_service();
    expect_room_for_another();
    for (int i = 0; i < SLOW; i++) {
        assert_true(read_all(fds[i], answer, sizeof answer));
        assert_int_equal(answer[0], 0xff);
        assert_memory_equal(answer + 12, "NULL", 5);
        close(fds[i]);
    }
}

static int silent_wanted(void) {
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < SILENT_WANTED + SILENT_SPARE) {
        return (int)limit.rlim_cur - SILENT_SPARE;
    }
    return SILENT_WANTED;
}

static void ten_thousand_connections_that_say_nothing(void **state) {
    int wanted = silent_wanted(), count = 0;
    int *fds = must(calloc(SILENT_WANTED, sizeof *fds));
    (void)state;

    while (count < wanted && (fds[count] = try_connect()) >= 0) {
        count++;
    }
    print_message("%d connections that say nothing%s\n", count,
                  count == SILENT_WANTED ? "" : ": more were not to be had here");
    assert_true(count >= SILENT_WANTED || (count > 0 && wanted < SILENT_WANTED));
    wait_for(fds_of(scene.site.fleet.broker) >= scene.fds + count); /* it has taken them all in */
    print_message("the broker holds %ld KiB more\n",
                  rss_kb(scene.site.fleet.broker) - scene.rss_kb);
    expect_service();
    expect_room_for_another();
    for (int i = 0; i < count; i++) {
        close(fds[i]);
    }
    free(fds);
}

static void storms_of_connecting_and_resetting(void **state) {
    (void)state;
    for (int i = 0; i < STORM; i++) {
        int fd = try_connect();

        if (fd < 0) { /* the ports are used up for a moment */
            pause_ms(1);
            continue;
        }
        if (i % 3 == 0) {
            say(fd, greeting, random_below(sizeof greeting + 1));
        }
        i % 4 == 0 ? (void)close(fd) : reset(fd);
    }
    expect_service();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        TEST(broken_greetings),
        TEST(half_a_handshake),
        TEST(random_bytes),
        TEST(wrong_mechanisms_are_turned_away),
        TEST(bytes_that_come_one_by_one),
        TEST(ten_thousand_connections_that_say_nothing),
        TEST(storms_of_connecting_and_resetting),
    };

    furrow_init(&argc, &argv);
    faults_init(230);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
