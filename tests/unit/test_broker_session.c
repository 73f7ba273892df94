/* Who is welcomed, heard, refused, lost: docs/protocol.md sections 3.2 and 4. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include "tests/unit/broker_world.h"

#include <cmocka.h>

static void a_hello_is_welcomed_with_the_epoch_and_a_new_stream(void **state) {
    struct world *world = *state;
    struct peer *client = peer_new(world, WIRE_CLIENT);

    world_begin(world);
    peer_hello(client);
    assert_true(client->welcomed);
    assert_false(client->resumed);
    assert_int_equal(client->epoch, world->config.epoch);
    assert_int_equal(world_stats(world).clients, 1);
}

static void a_client_is_granted_credit_at_once(void **state) {
    struct world *world = *state;
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    assert_non_null(look(client, WIRE_CREDIT));
    assert_true(client->credit_tasks > 1000);
    assert_true(client->credit_bytes > 1000000);
}

static void no_common_version_is_refused_for_good(void **state) {
    struct world *world = *state;
    struct peer *client = peer_new(world, WIRE_CLIENT);
    struct wire_hello hello = {.version_min = 2,
                               .version_max = 9,
                               .role = WIRE_CLIENT,
                               .name = {"n", 1},
                               .host = {"h", 1}};

    world_begin(world);
    peer_raw(client, wire_hello_encode(&hello));
    assert_int_equal(client->rejects, 1);
    assert_int_equal(client->reject_code, WIRE_REJECT_VERSION);
    assert_int_equal(world_stats(world).clients, 0);
}

static void a_session_can_not_change_its_role(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    worker = peer_new(world, WIRE_WORKER);
    worker->session = client->session;
    peer_hello(worker);
    assert_int_equal(worker->reject_code, WIRE_REJECT_ROLE);
    assert_int_equal(world_stats(world).clients, 1);
}

static void more_sessions_than_allowed_are_refused(void **state) {
    struct world *world = *state;
    struct peer *third;

    world->config.sessions_max = 2;
    world_begin(world);
    client_join(world);
    client_join(world);
    third = peer_new(world, WIRE_CLIENT);
    peer_hello(third);
    assert_false(third->welcomed);
    assert_int_equal(third->reject_code, WIRE_REJECT_LIMIT);
}

static void a_stranger_is_told_that_it_is_unknown(void **state) {
    struct world *world = *state;
    struct peer *stranger = peer_new(world, WIRE_CLIENT);

    world_begin(world);
    define_plain(stranger, 0, "f");
    assert_int_equal(stranger->unknowns, 1);
    peer_mark(stranger, wire_heartbeat_encode(0));
    assert_int_equal(stranger->unknowns, 2);
}

static void a_role_may_send_only_what_is_its_own(void **state) {
    struct world *world = *state;
    struct peer *client, *worker, *supervisor;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    supervisor = supervisor_join(world);
    give_result(client, 1, WIRE_KIND_VALUE, 1);
    assert_int_equal(client->reject_code, WIRE_REJECT_ROLE);
    define_plain(worker, 0, "f");
    assert_int_equal(worker->reject_code, WIRE_REJECT_ROLE);
    cancel(supervisor, 1);
    assert_int_equal(supervisor->reject_code, WIRE_REJECT_ROLE);
    child_died(client, worker, 9, false, NULL, 0);
    assert_int_equal(client->rejects, 2);
    assert_int_equal(world_stats(world).workers, 1);
    assert_int_equal(world_stats(world).rejected, 4);
}

static void what_only_a_broker_says_is_refused(void **state) {
    struct world *world = *state;
    struct wire_welcome welcome = {.version = 1, .epoch = 3};
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    peer_mark(client, wire_welcome_encode(&welcome));
    assert_int_equal(client->reject_code, WIRE_REJECT_ROLE);
}

/* The stream goes on behind a refused message: the next one is heard. */
static void an_unknown_type_is_refused_and_the_stream_goes_on(void **state) {
    struct world *world = *state;
    struct wire_message *strange;
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    strange = wire_plain_encode(WIRE_BYE);
    strange->frames[0]->data[1] = 60; /* a type of a later version */
    peer_post(client, strange);
    assert_int_equal(client->reject_code, WIRE_REJECT_TYPE);
    define_plain(client, 0, "f");
    submit(client, 0, 0);
    assert_int_equal(client->rejects, 1);
    assert_int_equal(world_stats(world).submitted, 1);
}

static void garbage_is_refused_or_ignored(void **state) {
    struct world *world = *state;
    struct peer *stranger = peer_new(world, WIRE_CLIENT);
    struct wire_blob *blob = wire_blob_copy("\xdd\xff\xff\xff\xff", 5);

    world_begin(world);
    peer_raw(stranger, wire_message_new(&blob, 1));
    assert_int_equal(stranger->rejects, 1);
    assert_int_equal(stranger->reject_code, WIRE_REJECT_MALFORMED);
    assert_int_equal(world_stats(world).rejected, 1);
}

static void a_session_that_comes_back_goes_on_where_it_was(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint64_t lease;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    submit(client, 0, 5);
    world_flush(world);
    lease = expect_run(worker, 5);
    client->deaf = true; /* its connection breaks */
    give_value(worker, lease, "v", 1);
    world_flush(world);
    client->deaf = false;
    client->address = 9999; /* and it comes back on another */
    peer_hello(client);
    assert_true(client->resumed);
    expect_outcome(client, 5, WIRE_KIND_VALUE);
}

static void messages_that_were_lost_are_asked_for_again(void **state) {
    struct world *world = *state;
    struct wire_define lost;
    struct wire_message *message;
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    lost = define_of(0, "f");
    message = wire_define_encode(&lost);
    assert_true(link_post(&client->link, world->now_ns, message)); /* sent, but never arrives */
    wire_message_unref(message);
    submit(client, 0, 1);
    assert_int_equal(world_stats(world).submitted, 1);
    assert_int_equal(client->rejects, 0);
}

static void a_message_that_comes_twice_counts_once(void **state) {
    struct world *world = *state;
    struct peer *client;
    uint64_t id = 3;
    const uint64_t key[] = {0, 1, 0};
    struct wire_writer *writer = wire_writer_new(WIRE_SUBMIT);
    struct wire_message *message;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    wire_writer_put(writer, key, &id, "x", 1, NULL);
    message = wire_writer_finish(writer, NULL);
    wire_writer_free(writer);
    peer_post(client, wire_message_ref(message));
    peer_raw(client, message);
    assert_int_equal(world_stats(world).submitted, 1);
    assert_int_equal(client->rejects, 0);
}

static void a_hello_from_another_epoch_registers_anew(void **state) {
    struct world *world = *state;
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 10);
    client->epoch = 0xDEAD;
    peer_hello(client);
    assert_true(client->welcomed);
    assert_false(client->resumed);
    assert_int_equal(world_stats(world).tasks_queued, 0);
    define_plain(client, 0, "f"); /* the classes were forgotten as well */
    submit(client, 0, 1);
    assert_int_equal(client->rejects, 0);
}

static void a_silent_client_is_lost_with_its_tasks(void **state) {
    struct world *world = *state;
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 10);
    client->mute = true;
    world_pass(world, world->config.silence_ns - WORLD_S);
    assert_int_equal(world_stats(world).clients, 1);
    world_pass(world, 2 * WORLD_S);
    assert_int_equal(world_stats(world).clients, 0);
    assert_int_equal(world_stats(world).tasks_queued, 0);
    assert_int_equal(world_stats(world).memory_bytes, 0);
    assert_int_equal(client->forgotten, 1);
}

static void bye_is_acknowledged_and_ends_the_session(void **state) {
    struct world *world = *state;
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    peer_post(client, wire_plain_encode(WIRE_BYE));
    assert_int_equal(client->link.acknowledged, client->link.sent);
    assert_int_equal(world_stats(world).clients, 0);
    assert_int_equal(world_stats(world).tasks_queued, 0);
    peer_mark(client, wire_heartbeat_encode(0));
    assert_int_equal(client->unknowns, 1);
}

static void heartbeats_go_out_when_nothing_else_does(void **state) {
    struct world *world = *state;
    struct peer *client;
    uint64_t before;

    world_begin(world);
    client = client_join(world);
    before = client->link.last_received_ns;
    world_pass(world, world->config.heartbeat_ns + WORLD_S / 10);
    assert_true(client->link.last_received_ns > before);
}

static void much_that_is_unacknowledged_is_acknowledged_at_once(void **state) {
    struct world *world = *state;
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    for (uint64_t id = 0; id < 40; id++) {
        cancel(client, 1000 + id);
        forget_all(client);
    }
    world_flush(world);
    assert_true(client->link.acknowledged >= client->link.sent - 1);
}

/* Two sessions on one address: the later one has it. */
static void an_address_belongs_to_the_session_that_said_hello_last(void **state) {
    struct world *world = *state;
    struct peer *first, *second;

    world_begin(world);
    first = client_join(world);
    second = peer_new(world, WIRE_CLIENT);
    second->address = first->address;
    first->address = 1; /* where nothing comes from */
    peer_hello(second);
    assert_true(second->welcomed);
    define_plain(second, 0, "f");
    submit(second, 0, 1);
    assert_int_equal(second->rejects, 0);
    define_plain(first, 0, "f");
    assert_int_equal(first->unknowns, 1);
}

static void a_draining_broker_refuses_new_work_and_ends_when_all_is_done(void **state) {
    struct world *world = *state;
    struct peer *client, *worker, *late;
    uint64_t lease;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    world_flush(world);
    lease = expect_run(worker, 1);
    world_step(world, BROKER_DRAIN);
    submit(client, 0, 2);
    assert_int_equal(client->reject_code, WIRE_REJECT_DRAINING);
    late = peer_new(world, WIRE_CLIENT);
    peer_hello(late);
    assert_int_equal(late->reject_code, WIRE_REJECT_DRAINING);
    world_flush(world);
    assert_int_equal(worker->stops, 0);
    give_value(worker, lease, "v", 1);
    world_flush(world);
    expect_outcome(client, 1, WIRE_KIND_VALUE);
    world_flush(world);
    assert_int_equal(worker->stops, 1);
    assert_int_equal(world->drained, 0);
    peer_post(worker, wire_plain_encode(WIRE_BYE));
    peer_mark(client, wire_heartbeat_encode(client->link.sent)); /* acknowledges the outcome */
    world_flush(world);
    assert_int_equal(world->drained, 1);
    world_pass(world, 3 * WORLD_S);
    assert_int_equal(world->drained, 1);
}

static void a_drain_ends_though_peers_do_not_leave(void **state) {
    struct world *world = *state;
    struct peer *worker;

    world_begin(world);
    client_join(world);
    worker = worker_join(world, 1, "f", "");
    world_step(world, BROKER_DRAIN);
    world_flush(world);
    assert_int_equal(worker->stops, 1);
    world_pass(world, 2 * WORLD_S);
    assert_int_equal(world->drained, 1);
}

static void a_flood_of_bad_messages_does_not_flood_the_log(void **state) {
    struct world *world = *state;
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    for (int i = 0; i < 1000; i++) {
        give_result(client, 1, WIRE_KIND_VALUE, 1);
    }
    assert_int_equal(client->rejects, 1000);
    assert_true(world->warnings <= 25);
    world_pass(world, 2 * WORLD_S);
    give_result(client, 1, WIRE_KIND_VALUE, 1);
    assert_true(world->warnings >= 21);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_free)
    const struct CMUnitTest tests[] = {
        TEST(a_hello_is_welcomed_with_the_epoch_and_a_new_stream),
        TEST(a_client_is_granted_credit_at_once),
        TEST(no_common_version_is_refused_for_good),
        TEST(a_session_can_not_change_its_role),
        TEST(more_sessions_than_allowed_are_refused),
        TEST(a_stranger_is_told_that_it_is_unknown),
        TEST(a_role_may_send_only_what_is_its_own),
        TEST(what_only_a_broker_says_is_refused),
        TEST(an_unknown_type_is_refused_and_the_stream_goes_on),
        TEST(garbage_is_refused_or_ignored),
        TEST(a_session_that_comes_back_goes_on_where_it_was),
        TEST(messages_that_were_lost_are_asked_for_again),
        TEST(a_message_that_comes_twice_counts_once),
        TEST(a_hello_from_another_epoch_registers_anew),
        TEST(a_silent_client_is_lost_with_its_tasks),
        TEST(bye_is_acknowledged_and_ends_the_session),
        TEST(heartbeats_go_out_when_nothing_else_does),
        TEST(much_that_is_unacknowledged_is_acknowledged_at_once),
        TEST(an_address_belongs_to_the_session_that_said_hello_last),
        TEST(a_draining_broker_refuses_new_work_and_ends_when_all_is_done),
        TEST(a_drain_ends_though_peers_do_not_leave),
        TEST(a_flood_of_bad_messages_does_not_flood_the_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
