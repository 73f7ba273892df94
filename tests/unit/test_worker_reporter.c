#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fail_alloc.h"
#include "wire/link.h"
#include "worker/reporter.h"

#define MS UINT64_C(1000000)

struct world {
    struct worker_reporter *reporter;
    struct link link; /* the broker's end */
    uint64_t now_ns, epoch;
};

static int setup(void **state) {
    struct worker_reporter_config config = {
        .session = {1, 2}, .seed = 3, .name = "host", .host = "testhost", .pid = 4711};
    struct world *world = calloc(1, sizeof *world);

    world->now_ns = 1000 * MS;
    world->epoch = 5;
    world->reporter = worker_reporter_new(&config, world->now_ns);
    link_init(&world->link, world->now_ns, 0, 0);
    *state = world;
    return world->reporter == NULL;
}

static int teardown(void **state) {
    struct world *world = *state;

    worker_reporter_free(world->reporter);
    link_fini(&world->link);
    free(world);
    return 0;
}

/* ---- the broker ---- */

static void nothing(struct world *world) {
    assert_null(worker_reporter_take(world->reporter));
}

static struct wire_message *take(struct world *world, unsigned type) {
    struct wire_message *message = worker_reporter_take(world->reporter);
    struct wire_envelope envelope;
    struct wire_fault fault;

    assert_non_null(message);
    assert_true(wire_open(message, &envelope, &fault));
    assert_string_equal(wire_type_name(envelope.type), wire_type_name(type));
    if (envelope.type >= WIRE_FIRST_SEQUENCED) {
        assert_int_equal(
            link_accept(&world->link, world->now_ns, &envelope, wire_message_bytes(message)),
            LINK_DELIVER);
    }
    return message;
}

static void deliver(struct world *world, struct wire_message *message) {
    worker_reporter_receive(world->reporter, world->now_ns, message);
    worker_reporter_step(world->reporter, world->now_ns);
    wire_message_unref(message);
}

static void acknowledge(struct world *world) {
    struct wire_message *heartbeat = wire_heartbeat_encode(world->link.sent);

    link_mark(&world->link, world->now_ns, heartbeat);
    deliver(world, heartbeat);
}

static void welcome(struct world *world, bool resumed, uint64_t received) {
    struct wire_welcome message = {.version = 1,
                                   .epoch = world->epoch,
                                   .resumed = resumed,
                                   .received = received,
                                   .heartbeat_ms = 1000,
                                   .silence_ms = 10000,
                                   .payload_max = WIRE_PAYLOAD_BYTES_MAX};

    deliver(world, wire_welcome_encode(&message));
}

static void hello(struct world *world) {
    worker_reporter_step(world->reporter, world->now_ns);
    wire_message_unref(take(world, WIRE_HELLO));
}

static void connect_it(struct world *world) {
    worker_reporter_reconnected(world->reporter, world->now_ns);
    hello(world);
    link_reset(&world->link, world->now_ns);
    welcome(world, false, world->link.base);
    assert_int_equal(worker_reporter_state(world->reporter), WORKER_REPORTER_UP);
}

static void new_broker(struct world *world) {
    world->epoch++;
    world->now_ns += 100 * MS;
    deliver(world, wire_plain_encode(WIRE_UNKNOWN));
    wire_message_unref(take(world, WIRE_HELLO));
    link_reset(&world->link, world->now_ns);
    welcome(world, false, world->link.base);
}

/* ---- deaths ---- */

static bool die(struct world *world, uint64_t pid) {
    const uint64_t running[] = {pid + 1, pid + 2};
    struct wire_child_died died = {
        .session = {7, pid},
        .pid = pid,
        .signal = 11,
        .host = {"testhost", 8},
        .running = running,
        .running_count = 2,
    };
    bool noted = worker_reporter_died(world->reporter, &died);

    worker_reporter_step(world->reporter, world->now_ns);
    return noted;
}

static void take_death(struct world *world, uint64_t pid) {
    struct wire_message *message = take(world, WIRE_CHILD_DIED);
    struct wire_child_died died;
    struct wire_fault fault;

    assert_true(wire_child_died_decode(message, &died, &fault));
    assert_int_equal(died.pid, pid);
    assert_int_equal(died.session.low, pid);
    assert_int_equal(died.signal, 11);
    assert_int_equal(died.running_count, 2);
    assert_int_equal(died.running[1], pid + 2);
    wire_child_died_fini(&died);
    wire_message_unref(message);
}

/* ---- tests ---- */

static void hello_says_that_it_is_a_supervisor(void **state) {
    struct world *world = *state;
    struct wire_message *message;
    struct wire_hello said;
    struct wire_fault fault;

    worker_reporter_step(world->reporter, world->now_ns);
    nothing(world);
    assert_true(worker_reporter_deadline(world->reporter) == UINT64_MAX);
    worker_reporter_reconnected(world->reporter, world->now_ns);
    assert_true(worker_reporter_deadline(world->reporter) <= world->now_ns);
    worker_reporter_step(world->reporter, world->now_ns);
    message = take(world, WIRE_HELLO);
    assert_true(wire_hello_decode(message, &said, &fault));
    assert_int_equal(said.role, WIRE_SUPERVISOR);
    assert_int_equal(said.pid, 4711);
    assert_int_equal(said.session.high, 1);
    wire_hello_fini(&said);
    wire_message_unref(message);
}

static void a_death_is_told_at_once(void **state) {
    struct world *world = *state;

    connect_it(world);
    assert_true(die(world, 100));
    take_death(world, 100);
    nothing(world);
    acknowledge(world);
    nothing(world);
}

static void deaths_without_a_broker_are_told_when_there_is_one(void **state) {
    struct world *world = *state;

    assert_true(die(world, 100));
    assert_true(die(world, 200));
    nothing(world);
    connect_it(world);
    take_death(world, 100);
    take_death(world, 200);
    nothing(world);
}

static void a_new_broker_hears_of_deaths_that_none_has_acknowledged(void **state) {
    struct world *world = *state;

    connect_it(world);
    assert_true(die(world, 100));
    take_death(world, 100);
    acknowledge(world);
    assert_true(die(world, 200));
    take_death(world, 200);
    new_broker(world);
    take_death(world, 200);
    acknowledge(world);
    new_broker(world);
    nothing(world);
}

static void a_broker_that_knows_us_gets_what_it_misses(void **state) {
    struct world *world = *state;
    uint64_t received;

    connect_it(world);
    received = world->link.received;
    assert_true(die(world, 100));
    wire_message_unref(worker_reporter_take(world->reporter)); /* is lost */
    world->now_ns += 100 * MS;
    worker_reporter_reconnected(world->reporter, world->now_ns);
    hello(world);
    welcome(world, true, received);
    take_death(world, 100);
    nothing(world);
}

static void bye_comes_after_all_deaths(void **state) {
    struct world *world = *state;

    connect_it(world);
    assert_true(die(world, 100));
    worker_reporter_leave(world->reporter);
    worker_reporter_step(world->reporter, world->now_ns);
    take_death(world, 100);
    wire_message_unref(take(world, WIRE_BYE));
    assert_int_equal(worker_reporter_state(world->reporter), WORKER_REPORTER_UP);
    new_broker(world); /* not acknowledged: said anew, all of it */
    take_death(world, 100);
    wire_message_unref(take(world, WIRE_BYE));
    acknowledge(world);
    assert_int_equal(worker_reporter_state(world->reporter), WORKER_REPORTER_LEFT);
    assert_true(worker_reporter_deadline(world->reporter) == UINT64_MAX);
}

static void whom_no_broker_has_ever_known_may_leave_at_once(void **state) {
    struct world *world = *state;

    worker_reporter_leave(world->reporter);
    worker_reporter_step(world->reporter, world->now_ns);
    assert_int_equal(worker_reporter_state(world->reporter), WORKER_REPORTER_LEFT);
    nothing(world);
}

static void a_refusal_is_kept_with_its_reason(void **state) {
    struct wire_reject reject = {WIRE_HELLO, WIRE_REJECT_VERSION, {"too old", 7}};
    struct world *world = *state;

    worker_reporter_reconnected(world->reporter, world->now_ns);
    hello(world);
    deliver(world, wire_reject_encode(&reject));
    assert_int_equal(worker_reporter_state(world->reporter), WORKER_REPORTER_REFUSED);
    assert_non_null(strstr(worker_reporter_text(world->reporter), "too old"));
}

static void silence_asks_for_another_connection(void **state) {
    struct world *world = *state;

    connect_it(world);
    while (world->now_ns < 11500 * MS) {
        struct wire_message *message;

        world->now_ns = worker_reporter_deadline(world->reporter);
        worker_reporter_step(world->reporter, world->now_ns);
        while ((message = worker_reporter_take(world->reporter)) != NULL) {
            wire_message_unref(message);
        }
    }
    assert_true(worker_reporter_wants_reconnect(world->reporter));
    assert_false(worker_reporter_wants_reconnect(world->reporter));
    assert_int_equal(worker_reporter_state(world->reporter), WORKER_REPORTER_WAITING);
}

static void a_supervisor_that_is_told_to_stop_remembers_it(void **state) {
    struct world *world = *state;
    struct wire_message *stop = wire_plain_encode(WIRE_STOP);

    connect_it(world);
    assert_false(worker_reporter_stopped(world->reporter));
    assert_true(link_post(&world->link, world->now_ns, stop));
    deliver(world, stop);
    nothing(world);
    assert_true(worker_reporter_stopped(world->reporter));
    assert_true(die(world, 100)); /* and it goes on */
    take_death(world, 100);
}

static void what_is_not_for_a_supervisor_is_rejected(void **state) {
    struct world *world = *state;
    struct wire_message *drain = wire_plain_encode(WIRE_DRAIN);

    connect_it(world);
    assert_true(link_post(&world->link, world->now_ns, drain));
    deliver(world, drain);
    wire_message_unref(take(world, WIRE_REJECT));
    deliver(world, wire_message_new(NULL, 0));
    wire_message_unref(take(world, WIRE_REJECT));
    assert_true(die(world, 100)); /* and it goes on */
    take_death(world, 100);
}

static void without_memory_a_death_is_refused_or_told(void **state) {
    bool whole = false;

    (void)state;
    for (long n = 0; !whole; n++) {
        struct world *world;
        bool noted;

        assert_int_equal(setup((void **)&world), 0);
        connect_it(world);
        fail_alloc_only(n);
        noted = die(world, 100);
        whole = fail_alloc_failed() == 0;
        fail_alloc_never();
        if (noted) {
            world->now_ns += 20 * MS;
            worker_reporter_step(world->reporter, world->now_ns);
            take_death(world, 100);
        }
        nothing(world);
        assert_true(noted || !whole);
        assert_int_equal(teardown((void **)&world), 0);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(hello_says_that_it_is_a_supervisor),
        TEST(a_death_is_told_at_once),
        TEST(deaths_without_a_broker_are_told_when_there_is_one),
        TEST(a_new_broker_hears_of_deaths_that_none_has_acknowledged),
        TEST(a_broker_that_knows_us_gets_what_it_misses),
        TEST(bye_comes_after_all_deaths),
        TEST(whom_no_broker_has_ever_known_may_leave_at_once),
        TEST(a_refusal_is_kept_with_its_reason),
        TEST(silence_asks_for_another_connection),
        TEST(a_supervisor_that_is_told_to_stop_remembers_it),
        TEST(what_is_not_for_a_supervisor_is_rejected),
        cmocka_unit_test(without_memory_a_death_is_refused_or_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
