/* What clients may do: classes, tasks, credit, cancel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/broker_world.h"

#include <cmocka.h>

/* ------------------------------------------------------------- from end to end */

static void a_task_goes_to_a_worker_and_its_value_comes_back(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    const struct got *run, *outcome;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f g", "");
    define_plain(client, 0, "g");
    submit_as(client, 0, 0x700000003, 1, false, "arguments", 9);
    world_flush(world);
    run = take(worker, WIRE_RUN);
    assert_int_equal(run->key[0], 1); /* "g" is the worker's second */
    assert_int_equal(run->key[3], client->session.high);
    assert_int_equal(run->key[4], client->session.low);
    assert_int_equal(run->values[1], 0x700000003);
    assert_int_equal(run->values[2], 1);
    assert_int_equal(run->size, 9);
    assert_memory_equal(run->data, "arguments", 9);
    give_value(worker, run->values[0], "value", 5);
    world_flush(world);
    outcome = expect_outcome(client, 0x700000003, WIRE_KIND_VALUE);
    assert_int_equal(outcome->size, 5);
    assert_memory_equal(outcome->data, "value", 5);
    assert_int_equal(world_stats(world).finished, 1);
    assert_int_equal(world_stats(world).tasks_leased, 0);
}

static void payloads_of_every_size_arrive_as_they_are(void **state) {
    static const size_t sizes[] = {0,   1,    7,     8,     9,     63,    64,     65,
                                   128, 1000, 65535, 65536, 65537, 70000, 300000, 1000000};
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *data = malloc(sizes[i] + 1);
        const struct got *run, *outcome;

        for (size_t j = 0; j < sizes[i]; j++) {
            data[j] = (uint8_t)(j * 7 + i);
        }
        submit_as(client, 0, i, 1, false, data, sizes[i]);
        world_flush(world);
        run = take(worker, WIRE_RUN);
        assert_int_equal(run->size, sizes[i]);
        assert_memory_equal(run->data, data, sizes[i]);
        give_value(worker, run->values[0], data, sizes[i]);
        world_flush(world);
        outcome = expect_outcome(client, i, WIRE_KIND_VALUE);
        assert_int_equal(outcome->size, sizes[i]);
        assert_memory_equal(outcome->data, data, sizes[i]);
        free(data);
    }
    world_pass(world, 2 * WORLD_S); /* everything is acknowledged */
    assert_true(world_stats(world).memory_bytes < 8192);
}

static void an_error_of_a_task_comes_back_as_it_is(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    world_flush(world);
    give_result(worker, expect_run(worker, 1), WIRE_KIND_ERROR, 1000);
    world_flush(world);
    expect_error(client, 1, WIRE_KIND_ERROR, "it failed");
    assert_int_equal(world_stats(world).failed, 1);
}

static void options_of_the_class_travel_with_the_run(void **state) {
    struct world *world = *state;
    struct wire_define options = define_of(3, "f");
    struct peer *client, *worker;
    const struct got *run;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    options.flags = WIRE_FLAG_CHUNK | WIRE_FLAG_INITIALIZED;
    options.run_ms = 2500;
    define(client, &options);
    submit(client, 3, 1);
    world_flush(world);
    run = take(worker, WIRE_RUN);
    assert_int_equal(run->key[1], WIRE_FLAG_CHUNK | WIRE_FLAG_INITIALIZED);
    assert_int_equal(run->key[2], 2500);
}

static void many_tasks_share_messages(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    const struct got *run;
    uint32_t messages;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 500, "f", "");
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 500);
    world_flush(world);
    run = take(worker, WIRE_RUN);
    messages = run->message;
    while (look(worker, WIRE_RUN) != NULL) {
        assert_int_equal(take(worker, WIRE_RUN)->message, messages);
    }
}

static void started_is_passed_on_for_tasks_that_run_long(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint64_t lease;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    world_flush(world);
    lease = expect_run(worker, 1);
    assert_null(look(client, WIRE_STARTED));
    say_running(worker, lease);
    world_flush(world);
    take_for(client, WIRE_STARTED, 1);
}

/* -------------------------------------------------------------- what is refused */

static void tasks_of_a_class_that_is_not_defined_end_as_rejected(void **state) {
    struct world *world = *state;
    struct wire_writer *writer = wire_writer_new(WIRE_SUBMIT);
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    for (uint64_t id = 0; id < 10; id++) {
        const uint64_t key[] = {id < 6 ? 0 : 1, 1, 0};

        wire_writer_put(writer, key, &id, "x", 1, NULL);
    }
    peer_post(client, wire_writer_finish(writer, NULL));
    wire_writer_free(writer);
    world_flush(world);
    assert_int_equal(client->rejects, 0);
    assert_int_equal(waiting(client, WIRE_OUTCOMES), 4);
    for (uint64_t id = 6; id < 10; id++) {
        expect_error(client, id, WIRE_KIND_REJECTED, "class is not defined");
    }
    assert_int_equal(world_stats(world).tasks_queued, 6);
    assert_int_equal(world_stats(world).submitted, 10);
    assert_int_equal(world_stats(world).failed, 4);
}

static void a_class_can_not_be_defined_twice(void **state) {
    struct world *world = *state;
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 7, "f");
    define_plain(client, 7, "g");
    assert_int_equal(client->reject_code, WIRE_REJECT_MALFORMED);
}

static void an_id_far_beyond_all_slots_is_refused(void **state) {
    struct world *world = *state;
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    submit(client, 0, 0xFFFFFFF0);
    assert_int_equal(client->reject_code, WIRE_REJECT_LIMIT);
    assert_int_equal(client->unknowns, 1);
    assert_int_equal(world_stats(world).tasks_queued, 0);
    assert_true(world_stats(world).memory_bytes < 4096);
}

static void an_id_that_is_here_already_is_one_task(void **state) {
    struct world *world = *state;
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    submit(client, 0, 5);
    submit(client, 0, 5);
    assert_int_equal(world_stats(world).tasks_queued, 1);
}

/* The client gave up the first, say because its time was over while there was no connection. */
static void a_slot_that_is_used_again_drops_what_it_had(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    submit(client, 0, 5);
    submit(client, 0, (UINT64_C(1) << 32) + 5);
    assert_int_equal(world_stats(world).tasks_queued, 1);
    worker = worker_join(world, 2, "f", "");
    world_flush(world);
    expect_run(worker, (UINT64_C(1) << 32) + 5);
    assert_null(look(worker, WIRE_RUN));
}

/* --------------------------------------------------------------------- credit */

static void a_client_that_goes_beyond_its_credit_has_to_register_anew(void **state) {
    struct world *world = *state;
    struct peer *client;

    world->config.tasks_max = 100;
    world_begin(world);
    client = client_join(world);
    assert_in_range(client->credit_tasks, 1, 100);
    define_plain(client, 0, "f");
    submit(client, 0, 100);
    submit_many(client, 0, 0, (uint32_t)client->credit_tasks + 1);
    assert_int_equal(client->reject_code, WIRE_REJECT_LIMIT);
    assert_int_equal(client->unknowns, 1);
    assert_int_equal(world_stats(world).clients, 0);
    assert_int_equal(world_stats(world).tasks_queued, 0);

    peer_hello(client);
    assert_true(client->welcomed && !client->resumed);
    world_flush(world);
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, (uint32_t)client->credit_tasks);
    assert_int_equal(client->rejects, 1);
    assert_int_equal(world_stats(world).tasks_queued, client->credit_tasks);
}

/* All or nothing: neither what the message brings, nor a task that was there before and is named in it. */
static void a_refused_submit_has_no_effect(void **state) {
    static const uint64_t ids[] = {2, 1, 3, 0xFFFFFFF0};
    struct world *world = *state;
    struct wire_writer *writer = wire_writer_new(WIRE_SUBMIT);
    struct peer *client, *worker;

    assert_non_null(writer);
    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    for (int i = 0; i < 4; i++) {
        const uint64_t key[] = {0, 1, 0};

        assert_int_equal(wire_writer_put(writer, key, &ids[i], "x", 1, NULL), WIRE_PUT_OK);
    }
    peer_post(client, wire_writer_finish(writer, NULL));
    wire_writer_free(writer);
    assert_int_equal(client->rejects, 1);
    assert_int_equal(client->reject_code, WIRE_REJECT_LIMIT);
    assert_int_equal(world_stats(world).submitted, 1);

    worker = worker_join(world, 4, "f", "");
    world_flush(world);
    assert_null(look(worker, WIRE_RUN));
    assert_int_equal(world_stats(world).tasks_queued, 0);
}

/* Whatever way its tasks went: into places where others are or were, into the first of a page of them,
 * with arguments that fit into a record and with others. */
static void what_a_refused_submit_has_brought_is_taken_back(void **state) {
    static const uint64_t ids[] = {2, 70000, 3, 70001, 90000, 4, 0xFFFFFFF0};
    static const size_t sizes[] = {1, 1, 1000, WIRE_LARGE_BYTES_MIN, 0, 65, 1};
    static const uint8_t bytes[WIRE_LARGE_BYTES_MIN];
    const uint64_t key[] = {0, 1, 0};
    struct world *world = *state;
    struct wire_writer *writer = wire_writer_new(WIRE_SUBMIT);
    struct peer *client, *other;

    assert_non_null(writer);
    world_begin(world);
    client = client_join(world);
    other = client_join(world);
    define_plain(client, 0, "f");
    define_plain(other, 0, "f");
    submit(other, 0, 1);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(wire_writer_put(writer, key, &ids[i], bytes, sizes[i], NULL), WIRE_PUT_OK);
    }
    peer_post(client, wire_writer_finish(writer, NULL));
    wire_writer_free(writer);
    assert_int_equal(client->reject_code, WIRE_REJECT_LIMIT);
    assert_int_equal(world_stats(world).submitted, 1);
    assert_int_equal(world_stats(world).tasks_queued, 1);
    assert_true(world_stats(world).memory_bytes < 8192);
}

/* Submits as far as credit goes until nothing more is granted; returns how many. */
static uint64_t fill(struct peer *client, uint64_t first) {
    uint64_t sent = 0;

    for (;;) {
        uint64_t before = client->credit_tasks;

        world_flush(client->world);
        if (client->credit_tasks == sent + first) {
            return sent;
        }
        submit_many(client, 0, first + sent, (uint32_t)(client->credit_tasks - first - sent));
        sent += client->credit_tasks - first - sent;
        assert_true(before <= client->credit_tasks);
        assert_int_equal(client->rejects, 0);
    }
}

/* Uses all credit, and returns how much there is then. */
static uint64_t use_up(struct peer *client, uint64_t *sent) {
    submit_many(client, 0, *sent, (uint32_t)(client->credit_tasks - *sent));
    *sent = client->credit_tasks;
    world_flush(client->world);
    assert_int_equal(client->rejects, 0);
    return client->credit_tasks - *sent;
}

static void what_a_client_has_in_hand_grows_with_what_it_uses(void **state) {
    struct world *world = *state;
    struct peer *client;
    uint64_t sent = 0, in_hand, before;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    in_hand = client->credit_tasks;
    assert_in_range(in_hand, 1000, 10000);
    do {
        before = in_hand;
        in_hand = use_up(client, &sent);
        assert_true(in_hand == 2 * before || in_hand == before);
    } while (in_hand > before);
    assert_int_equal(in_hand, 65536);
    assert_int_equal(use_up(client, &sent), 65536);
}

static void of_clients_that_compete_each_has_little_in_hand(void **state) {
    struct world *world = *state;
    struct peer *many, *few;
    uint64_t sent = 0;

    world_begin(world);
    many = client_join(world);
    few = client_join(world);
    define_plain(many, 0, "f");
    define_plain(few, 0, "f");
    assert_true(use_up(many, &sent) > 4096);
    submit(few, 0, 0);
    world_flush(world);
    assert_int_equal(use_up(many, &sent), 1024);
    assert_int_equal(use_up(many, &sent), 1024);

    /* The other one has not been heard of for a second. */
    world_pass(world, WORLD_S);
    assert_int_equal(use_up(many, &sent), 2048);
    assert_int_equal(use_up(many, &sent), 4096);
}

/* One that is far away needs more in hand to have something here all the time. */
static void a_client_that_has_nothing_left_here_gets_more_all_the_same(void **state) {
    struct world *world = *state;
    struct peer *far, *near, *worker;
    uint64_t sent = 0, in_hand;

    world_begin(world);
    far = client_join(world);
    near = client_join(world);
    worker = worker_join(world, 4000, "f", "");
    define_plain(far, 0, "f");
    define_plain(near, 0, "f");
    in_hand = far->credit_tasks;
    for (uint64_t round = 0; round < 4; round++) {
        submit(near, 0, round);
        submit_many(far, 0, sent, (uint32_t)in_hand);
        sent += in_hand;
        do {
            world_flush(world);
        } while (finish_all(worker, 1000) > 0);
        forget_all(far);
        assert_true(far->credit_tasks - sent >= in_hand);
        in_hand = far->credit_tasks - sent;
    }
    assert_true(in_hand >= 32768);
}

static void a_full_broker_grants_no_more_and_does_when_there_is_room(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint64_t full;

    world->config.tasks_max = 1000;
    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    full = fill(client, 0);
    assert_in_range(full, 900, 1000);
    worker = worker_join(world, 400, "f", "");
    world_flush(world);
    assert_int_equal(finish_all(worker, 1000), 400);
    world_flush(world);
    assert_true(client->credit_tasks >= full + 200);
}

static void bytes_are_bounded_as_well(void **state) {
    struct world *world = *state;
    struct peer *client;
    uint8_t *data = calloc(1, 50000);
    uint64_t bytes = 0;

    world->config.memory_bytes = 4 << 20;
    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    for (uint64_t id = 0; id < 1000; id++) {
        if (bytes + 50000 > client->credit_bytes) {
            break;
        }
        submit_as(client, 0, id, 1, false, data, 50000);
        world_flush(world);
        bytes += 50000;
    }
    assert_int_equal(client->rejects, 0);
    assert_in_range(bytes, 2 << 20, 4 << 20);
    assert_true(world_stats(world).memory_bytes <= 4 << 20);
    free(data);
}

static void a_task_larger_than_all_credit_may_go_alone(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint8_t *data = calloc(1, 2 << 20);

    world->config.memory_bytes = 1 << 20;
    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    submit_as(client, 0, 0, 1, false, data, 2 << 20);
    assert_int_equal(client->rejects, 0);
    world_flush(world);
    assert_true(client->credit_bytes < 2 << 20); /* but not a second beside it */
    give_value(worker, expect_run(worker, 0), "", 0);
    world_flush(world);
    expect_outcome(client, 0, WIRE_KIND_VALUE);
    assert_true(client->credit_bytes >= 2 << 20); /* now */
    peer_mark(worker, wire_heartbeat_encode(worker->link.sent));
    submit_as(client, 0, 1, 1, false, data, 2 << 20);
    assert_int_equal(client->rejects, 0);
    submit_as(client, 0, 2, 1, false, data, 2 << 20); /* it has been told so */
    assert_int_equal(client->reject_code, WIRE_REJECT_LIMIT);
    free(data);
}

/* The broker's memory is another's, so there is no credit to grant; what is owed is forgiven. */
static void a_debt_is_forgotten_when_nothing_is_left_of_it(void **state) {
    struct world *world = *state;
    struct peer *client, *other, *worker;
    uint8_t *data = calloc(1, 2 << 20);

    world->config.memory_bytes = 1 << 20;
    world_begin(world);
    client = client_join(world);
    other = client_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    define_plain(other, 0, "g");
    submit_as(other, 0, 0, 1, false, data, 2 << 20);
    submit_as(client, 0, 0, 1, false, data, 2 << 20);
    world_flush(world);
    give_value(worker, expect_run(worker, 0), "", 0);
    world_flush(world);
    expect_outcome(client, 0, WIRE_KIND_VALUE);
    assert_int_equal(client->credit_bytes, 2 << 20);
    free(data);
}

static void a_client_with_nothing_here_gets_through_a_full_broker(void **state) {
    struct world *world = *state;
    struct peer *greedy, *modest;

    world->config.tasks_max = 100;
    world_begin(world);
    greedy = client_join(world);
    define_plain(greedy, 0, "f");
    fill(greedy, 0);
    modest = client_join(world);
    define_plain(modest, 0, "f");
    assert_true(modest->credit_tasks >= 1);
    submit(modest, 0, 0);
    assert_int_equal(modest->rejects, 0);
}

static void what_gets_free_goes_to_those_below_their_share(void **state) {
    struct world *world = *state;
    struct peer *greedy, *modest, *worker;
    uint64_t greedy_had, modest_had;

    world->config.tasks_max = 1000;
    world_begin(world);
    greedy = client_join(world);
    define_plain(greedy, 0, "f");
    fill(greedy, 0);
    modest = client_join(world);
    world_flush(world);
    greedy_had = greedy->credit_tasks;
    modest_had = modest->credit_tasks;
    worker = worker_join(world, 200, "f", "");
    world_flush(world);
    finish_all(worker, 1000);
    world_flush(world);
    world_flush(world);
    assert_int_equal(greedy->credit_tasks, greedy_had);
    assert_true(modest->credit_tasks > modest_had + 50);
}

static void a_client_that_reads_nothing_gets_no_more_outcomes(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint8_t *value = calloc(1, 60000);
    uint32_t ran = 0;

    world->config.memory_bytes = 16 << 20;
    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 4, "f", "");
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 1000);
    client->deaf = true;
    for (int i = 0; i < 1000; i++) {
        world_flush(world);
        while (look(worker, WIRE_RUN) != NULL) {
            give_value(worker, take(worker, WIRE_RUN)->values[0], value, 60000);
            ran++;
        }
    }
    assert_in_range(ran, 10, 200);
    assert_true(world_stats(world).memory_bytes < 16 << 20);
    client->deaf = false;
    peer_hello(client); /* it reads again, and the rest is run */
    for (int i = 0; i < 1000; i++) {
        peer_mark(client, wire_heartbeat_encode(client->link.sent));
        world_flush(world);
        while (look(worker, WIRE_RUN) != NULL) {
            give_value(worker, take(worker, WIRE_RUN)->values[0], value, 60000);
            ran++;
        }
    }
    assert_int_equal(ran, 1000);
    assert_int_equal(waiting(client, WIRE_OUTCOMES), 1000);
    free(value);
}

/* Gives so many results of so many bytes each, and lets the broker flush after each message. */
static uint32_t run_all(struct world *world, struct peer *worker, const struct peer *of,
                        size_t bytes) {
    uint8_t *value = calloc(1, bytes);
    uint32_t ran = 0;
    const struct got *run;

    world_flush(world);
    while ((run = look(worker, WIRE_RUN)) != NULL) {
        bool large = run->key[3] == of->session.high && run->key[4] == of->session.low;

        give_value(worker, take(worker, WIRE_RUN)->values[0], value, large ? bytes : 8);
        ran += large;
        world_flush(world);
    }
    free(value);
    return ran;
}

/* What a worker is given ahead follows from all of its tasks; what a client may have under way follows
 * from its own values. */
static void large_values_for_one_that_reads_nothing_hide_behind_small_ones_in_vain(void **state) {
    struct world *world = *state;
    struct peer *greedy, *modest, *worker;
    uint32_t ran = 0;

    world->config.memory_bytes = 16 << 20;
    world_begin(world);
    greedy = client_join(world);
    modest = client_join(world);
    worker = worker_join(world, 4, "f g", "");
    define_plain(modest, 0, "f");
    for (uint64_t i = 0; i < 50; i++) { /* the worker is known for small, short tasks */
        submit_many(modest, 0, 100 * i, 100);
        (void)run_all(world, worker, greedy, 60000);
    }
    define_plain(greedy, 0, "g");
    submit_many(greedy, 0, 0, 1000);
    world_flush(world);
    assert_true(waiting(worker, WIRE_RUN) <= 4); /* nobody knows yet how large its values are */
    greedy->deaf = true;
    for (uint64_t i = 50; i < 100; i++) {
        submit_many(modest, 0, 100 * i, 100);
        ran += run_all(world, worker, greedy, 60000);
    }
    assert_in_range(ran, 4, 40); /* an eighth of the memory */
    assert_true(world_stats(world).clogged > 0);
    assert_int_equal(waiting(modest, WIRE_OUTCOMES), 10000);
    greedy->deaf = false;
    peer_hello(greedy);
    for (int i = 0; i < 1000; i++) {
        peer_mark(greedy, wire_heartbeat_encode(greedy->link.sent));
        ran += run_all(world, worker, greedy, 60000);
    }
    assert_int_equal(ran, 1000);
    assert_int_equal(waiting(greedy, WIRE_OUTCOMES), 1000);
}

/* Leases that end without a value make room as well. */
static void what_waits_for_room_goes_on_when_leases_end_without_values(void **state) {
    struct world *world = *state;
    struct peer *client, *worker, *late;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 2, "f g", "");
    define_plain(client, 0, "f");
    for (uint64_t i = 0; i < 50; i++) { /* teaches the worker, so that it is given some ahead */
        submit_many(client, 0, 100 * i, 100);
        (void)run_all(world, worker, client, 8);
    }
    define_plain(client, 1, "g");
    submit_many(client, 1, 10000, 20);
    world_flush(world);
    assert_int_equal(waiting(worker, WIRE_RUN), 2);
    give_result(worker, take(worker, WIRE_RUN)->values[0], WIRE_KIND_ERROR, 1000);
    world_flush(world);
    assert_int_equal(waiting(worker, WIRE_RUN), 2);
    late = worker_join(world, 3, "f g", ""); /* more can run at once */
    world_flush(world);
    assert_int_equal(waiting(late, WIRE_RUN), 3);
    (void)run_all(world, worker, client, 8);
    (void)run_all(world, late, client, 8);
    (void)run_all(world, worker, client, 8);
    assert_int_equal(world_stats(world).tasks_queued, 0);
}

static void credit_is_conserved_when_clients_leave(void **state) {
    struct world *world = *state;

    world->config.tasks_max = 1000;
    world_begin(world);
    for (int i = 0; i < 50; i++) {
        struct peer *client = client_join(world);

        define_plain(client, 0, "f");
        submit_many(client, 0, 0, (uint32_t)client->credit_tasks / 2);
        peer_post(client, wire_plain_encode(WIRE_BYE));
        world_flush(world);
    }
    assert_true(client_join(world)->credit_tasks >= 200);
}

/* --------------------------------------------------------------------- cancel */

static void cancel_of_a_queued_task_says_yes_and_it_never_runs(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 3);
    cancel(client, 1);
    world_flush(world);
    expect_verdict(client, 1, true);
    worker = worker_join(world, 4, "f", "");
    world_flush(world);
    expect_run(worker, 0);
    expect_run(worker, 2);
    assert_null(look(worker, WIRE_RUN));
    assert_int_equal(world_stats(world).cancelled, 1);
}

static void cancel_of_a_finished_or_unknown_task_says_no(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    world_flush(world);
    give_value(worker, expect_run(worker, 1), "", 0);
    cancel(client, 1);
    cancel(client, 12345);
    world_flush(world);
    expect_verdict(client, 1, false);
    expect_verdict(client, 12345, false);
}

static void cancel_of_a_leased_task_asks_the_worker(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint64_t first, second;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 2, "f", "");
    define_plain(client, 0, "f");
    submit_many(client, 0, 1, 2);
    world_flush(world);
    first = expect_run(worker, 1);
    second = expect_run(worker, 2);
    cancel(client, 1);
    cancel(client, 2);
    world_flush(world);
    take_for(worker, WIRE_RECALL, first);
    take_for(worker, WIRE_RECALL, second);
    assert_null(look(client, WIRE_VERDICTS));
    give_back(worker, first, true);
    give_back(worker, second, false);
    world_flush(world);
    expect_verdict(client, 1, true);
    expect_verdict(client, 2, false);
    give_value(worker, second, "", 0);
    world_flush(world);
    expect_outcome(client, 2, WIRE_KIND_VALUE);
    assert_int_equal(world_stats(world).tasks_leased, 0);
}

static void a_result_that_comes_before_the_answer_makes_it_no(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint64_t lease;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    world_flush(world);
    lease = expect_run(worker, 1);
    cancel(client, 1);
    world_flush(world);
    give_value(worker, lease, "v", 1);
    give_back(worker, lease, false);
    world_flush(world);
    expect_outcome(client, 1, WIRE_KIND_VALUE);
    expect_verdict(client, 1, false);
    assert_null(look(client, WIRE_VERDICTS));
}

static void cancel_of_a_task_known_to_run_says_no_at_once(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint64_t lease;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    world_flush(world);
    lease = expect_run(worker, 1);
    say_running(worker, lease);
    cancel(client, 1);
    world_flush(world);
    expect_verdict(client, 1, false);
    assert_null(look(worker, WIRE_RECALL));
}

static void nobody_can_cancel_the_task_of_another(void **state) {
    struct world *world = *state;
    struct peer *client, *other;

    world_begin(world);
    client = client_join(world);
    other = client_join(world);
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    cancel(other, 1);
    world_flush(world);
    expect_verdict(other, 1, false);
    assert_int_equal(world_stats(world).tasks_queued, 1);
}

/* -------------------------------------------------------------------- leaving */

static void tasks_of_a_client_that_leaves_are_dropped_and_interrupted(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint64_t first, second;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 2, "f", "");
    define_plain(client, 0, "f");
    submit_many(client, 0, 1, 10);
    world_flush(world);
    first = expect_run(worker, 1);
    second = expect_run(worker, 2);
    peer_post(client, wire_plain_encode(WIRE_BYE));
    world_flush(world);
    take_for(worker, WIRE_INTERRUPT, first);
    take_for(worker, WIRE_INTERRUPT, second);
    assert_int_equal(world_stats(world).tasks_queued, 0);
    give_result(worker, first, WIRE_KIND_CANCELLED, 1000);
    give_back(worker, second, true);
    world_flush(world);
    assert_int_equal(world_stats(world).memory_bytes, 0);
    assert_int_equal(world_stats(world).stale_results, 0);
}

/* ------------------------------------------------------------ time in the queue */

static void a_task_not_started_in_time_fails(void **state) {
    struct world *world = *state;
    struct wire_define options = define_of(0, "f");
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    options.queue_ms = 200;
    define(client, &options);
    submit_many(client, 0, 0, 3);
    world_pass(world, 150 * WORLD_MS);
    assert_null(look(client, WIRE_OUTCOMES));
    world_pass(world, 100 * WORLD_MS);
    expect_error(client, 0, WIRE_KIND_DEADLINE, "in time");
    expect_error(client, 1, WIRE_KIND_DEADLINE, "in time");
    expect_error(client, 2, WIRE_KIND_DEADLINE, "in time");
    assert_int_equal(world_stats(world).tasks_queued, 0);
}

static void what_a_task_has_waited_at_its_client_counts(void **state) {
    struct world *world = *state;
    struct wire_define options = define_of(0, "f");
    struct wire_writer *writer = wire_writer_new(WIRE_SUBMIT);
    const uint64_t waited_ms[] = {0, 150, 300};
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    options.queue_ms = 200;
    define(client, &options);
    for (uint64_t id = 0; id < 3; id++) {
        const uint64_t key[] = {0, 1, wire_past(false, waited_ms[id])};

        assert_int_equal(wire_writer_put(writer, key, &id, "x", 1, NULL), WIRE_PUT_OK);
    }
    peer_post(client, wire_writer_finish(writer, NULL));
    wire_writer_free(writer);
    world_pass(world, 10 * WORLD_MS);
    expect_error(client, 2, WIRE_KIND_DEADLINE, "in time");
    world_pass(world, 50 * WORLD_MS);
    expect_error(client, 1, WIRE_KIND_DEADLINE, "in time");
    assert_null(look(client, WIRE_OUTCOMES));
    world_pass(world, 150 * WORLD_MS);
    expect_error(client, 0, WIRE_KIND_DEADLINE, "in time");
}

static void a_task_that_waits_too_long_at_a_worker_is_called_back(void **state) {
    struct world *world = *state;
    struct wire_define options = define_of(0, "f");
    struct peer *client, *worker;
    uint64_t lease;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    options.queue_ms = 200;
    define(client, &options);
    submit(client, 0, 1);
    world_flush(world);
    lease = expect_run(worker, 1);
    world_pass(world, 250 * WORLD_MS);
    take_for(worker, WIRE_RECALL, lease);
    give_back(worker, lease, true);
    world_pass(world, 1 * WORLD_MS);
    expect_error(client, 1, WIRE_KIND_DEADLINE, "in time");
}

static void a_task_that_began_in_time_is_not_late(void **state) {
    struct world *world = *state;
    struct wire_define options = define_of(0, "f");
    struct peer *client, *worker;
    uint64_t lease;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    options.queue_ms = 200;
    define(client, &options);
    submit(client, 0, 1);
    world_flush(world);
    lease = expect_run(worker, 1);
    say_running(worker, lease);
    world_pass(world, 2 * WORLD_S);
    assert_null(look(worker, WIRE_RECALL));
    give_value(worker, lease, "", 0);
    world_flush(world);
    expect_outcome(client, 1, WIRE_KIND_VALUE);
}

/* --------------------------------------------------------------------- retries */

static void a_failed_task_is_tried_again_ever_later(void **state) {
    struct world *world = *state;
    struct wire_define options = define_of(0, "f");
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    options.retries = 2;
    options.retry_ms = 100;
    define(client, &options);
    submit(client, 0, 1);
    world_flush(world);
    give_result(worker, expect_run(worker, 1), WIRE_KIND_ERROR, 1000);
    world_pass(world, 90 * WORLD_MS);
    assert_null(look(worker, WIRE_RUN));
    world_pass(world, 20 * WORLD_MS);
    give_result(worker, expect_run(worker, 1), WIRE_KIND_ERROR, 1000);
    world_pass(world, 190 * WORLD_MS);
    assert_null(look(worker, WIRE_RUN));
    world_pass(world, 20 * WORLD_MS);
    assert_null(look(client, WIRE_OUTCOMES));
    give_result(worker, expect_run(worker, 1), WIRE_KIND_ERROR, 1000);
    world_flush(world);
    expect_outcome(client, 1, WIRE_KIND_ERROR);
    assert_int_equal(world_stats(world).reruns, 2);
}

static void a_retry_that_succeeds_is_a_success(void **state) {
    struct world *world = *state;
    struct wire_define options = define_of(0, "f");
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    options.retries = 5;
    define(client, &options);
    submit(client, 0, 1);
    world_flush(world);
    give_result(worker, expect_run(worker, 1), WIRE_KIND_ERROR, 1000);
    world_pass(world, 1 * WORLD_MS);
    give_value(worker, expect_run(worker, 1), "v", 1);
    world_flush(world);
    expect_outcome(client, 1, WIRE_KIND_VALUE);
    assert_null(look(client, WIRE_OUTCOMES));
}

static void a_task_that_waits_for_its_retry_ends_with_its_client(void **state) {
    struct world *world = *state;
    struct wire_define options = define_of(0, "f");
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    options.retries = 5;
    options.retry_ms = 1000;
    define(client, &options);
    submit(client, 0, 1);
    world_flush(world);
    give_result(worker, expect_run(worker, 1), WIRE_KIND_ERROR, 1000);
    peer_post(client, wire_plain_encode(WIRE_BYE));
    world_pass(world, 2 * WORLD_S);
    assert_null(look(worker, WIRE_RUN));
    assert_int_equal(world_stats(world).memory_bytes, 0);
}

/* ----------------------------------------------------------- unknown functions */

static void a_function_that_nobody_offers_fails_after_a_while(void **state) {
    struct world *world = *state;
    struct peer *client;

    world_begin(world);
    client = client_join(world);
    worker_join(world, 1, "f", "");
    define_plain(client, 0, "missing");
    submit_many(client, 0, 0, 2);
    world_pass(world, world->config.no_function_ns - 100 * WORLD_MS);
    assert_null(look(client, WIRE_OUTCOMES));
    world_pass(world, 200 * WORLD_MS);
    expect_error(client, 0, WIRE_KIND_NO_FUNCTION, "none of 1 workers offers missing");
    expect_error(client, 1, WIRE_KIND_NO_FUNCTION, "none of 1 workers offers missing");
}

static void without_any_worker_tasks_wait(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    submit(client, 0, 1);
    world_pass(world, 60 * WORLD_S);
    assert_null(look(client, WIRE_OUTCOMES));
    worker = worker_join(world, 1, "f", "");
    world_flush(world);
    expect_run(worker, 1);
}

static void a_worker_that_comes_in_time_saves_them(void **state) {
    struct world *world = *state;
    struct peer *client, *late;

    world_begin(world);
    client = client_join(world);
    worker_join(world, 1, "f", "");
    define_plain(client, 0, "missing");
    submit(client, 0, 1);
    world_pass(world, world->config.no_function_ns - 100 * WORLD_MS);
    late = worker_join(world, 1, "missing", "");
    world_pass(world, WORLD_S);
    expect_run(late, 1);
    assert_null(look(client, WIRE_OUTCOMES));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_free)
    const struct CMUnitTest tests[] = {
        TEST(a_task_goes_to_a_worker_and_its_value_comes_back),
        TEST(payloads_of_every_size_arrive_as_they_are),
        TEST(an_error_of_a_task_comes_back_as_it_is),
        TEST(options_of_the_class_travel_with_the_run),
        TEST(many_tasks_share_messages),
        TEST(started_is_passed_on_for_tasks_that_run_long),
        TEST(tasks_of_a_class_that_is_not_defined_end_as_rejected),
        TEST(a_class_can_not_be_defined_twice),
        TEST(an_id_far_beyond_all_slots_is_refused),
        TEST(an_id_that_is_here_already_is_one_task),
        TEST(a_slot_that_is_used_again_drops_what_it_had),
        TEST(a_client_that_goes_beyond_its_credit_has_to_register_anew),
        TEST(a_full_broker_grants_no_more_and_does_when_there_is_room),
        TEST(bytes_are_bounded_as_well),
        TEST(what_a_client_has_in_hand_grows_with_what_it_uses),
        TEST(of_clients_that_compete_each_has_little_in_hand),
        TEST(a_client_that_has_nothing_left_here_gets_more_all_the_same),
        TEST(a_task_larger_than_all_credit_may_go_alone),
        TEST(a_debt_is_forgotten_when_nothing_is_left_of_it),
        TEST(a_refused_submit_has_no_effect),
        TEST(what_a_refused_submit_has_brought_is_taken_back),
        TEST(a_client_with_nothing_here_gets_through_a_full_broker),
        TEST(what_gets_free_goes_to_those_below_their_share),
        TEST(a_client_that_reads_nothing_gets_no_more_outcomes),
        TEST(large_values_for_one_that_reads_nothing_hide_behind_small_ones_in_vain),
        TEST(what_waits_for_room_goes_on_when_leases_end_without_values),
        TEST(credit_is_conserved_when_clients_leave),
        TEST(cancel_of_a_queued_task_says_yes_and_it_never_runs),
        TEST(cancel_of_a_finished_or_unknown_task_says_no),
        TEST(cancel_of_a_leased_task_asks_the_worker),
        TEST(a_result_that_comes_before_the_answer_makes_it_no),
        TEST(cancel_of_a_task_known_to_run_says_no_at_once),
        TEST(nobody_can_cancel_the_task_of_another),
        TEST(tasks_of_a_client_that_leaves_are_dropped_and_interrupted),
        TEST(a_task_not_started_in_time_fails),
        TEST(what_a_task_has_waited_at_its_client_counts),
        TEST(a_task_that_waits_too_long_at_a_worker_is_called_back),
        TEST(a_task_that_began_in_time_is_not_late),
        TEST(a_failed_task_is_tried_again_ever_later),
        TEST(a_retry_that_succeeds_is_a_success),
        TEST(a_task_that_waits_for_its_retry_ends_with_its_client),
        TEST(a_function_that_nobody_offers_fails_after_a_while),
        TEST(without_any_worker_tasks_wait),
        TEST(a_worker_that_comes_in_time_saves_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
