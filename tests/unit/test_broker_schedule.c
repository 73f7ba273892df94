/* Which worker gets which tasks, and when: docs/protocol.md section 5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/broker_world.h"

#include <cmocka.h>

static uint32_t held(struct peer *worker) {
    return waiting(worker, WIRE_RUN);
}

/* Lets a worker show that its tasks are as short as that, so that it gets credit beyond its slots. */
static void teach(struct peer *worker, struct peer *client, uint32_t class_index, uint64_t first_id,
                  uint64_t mean_ns) {
    for (uint64_t i = 0; i < 8; i++) {
        submit(client, class_index, first_id + i);
        world_flush(worker->world);
        worker->world->now_ns += 1000; /* the round trip */
        assert_int_equal(finish_all(worker, mean_ns), 1);
        world_flush(worker->world);
    }
    forget_all(client);
}

/* ------------------------------------------------------------------- matching */

static void a_worker_gets_only_functions_that_it_offers(void **state) {
    struct world *world = *state;
    struct peer *client, *f, *g;

    world_begin(world);
    client = client_join(world);
    f = worker_join(world, 8, "f", "");
    g = worker_join(world, 8, "g", "");
    define_plain(client, 0, "f");
    define_plain(client, 1, "g");
    submit_many(client, 0, 0, 4);
    submit_many(client, 1, 10, 4);
    world_flush(world);
    for (uint64_t id = 0; id < 4; id++) {
        expect_run(f, id);
        expect_run(g, 10 + id);
    }
    assert_int_equal(held(f) + held(g), 0);
}

static void tags_must_all_be_there(void **state) {
    struct world *world = *state;
    struct wire_define gpu = define_of(0, "f"), big = define_of(1, "f");
    struct peer *client, *plain, *some, *all;

    world_begin(world);
    client = client_join(world);
    gpu.tags[0] = (struct wire_text){"gpu", 3};
    gpu.tag_count = 1;
    big.tags[0] = (struct wire_text){"gpu", 3};
    big.tags[1] = (struct wire_text){"big", 3};
    big.tags[2] = (struct wire_text){"gpu", 3};
    big.tag_count = 3;
    define(client, &gpu);
    define(client, &big);
    submit_many(client, 1, 10, 2);
    plain = worker_join(world, 9, "f", "");
    some = worker_join(world, 9, "f", "gpu");
    world_flush(world);
    assert_int_equal(held(plain) + held(some), 0);
    all = worker_join(world, 9, "f", "other big gpu");
    world_flush(world);
    expect_run(all, 10);
    expect_run(all, 11);
    submit_many(client, 0, 0, 2);
    world_flush(world);
    assert_int_equal(held(plain), 0);
    assert_int_equal(held(some) + held(all), 2);
}

static void tasks_that_came_before_the_worker_run_when_it_comes(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 3);
    world_flush(world);
    worker = worker_join(world, 3, "f", "");
    world_flush(world);
    assert_int_equal(held(worker), 3);
}

/* ---------------------------------------------------------------------- order */

static void first_in_first_out_within_a_client(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 50);
    worker = worker_join(world, 50, "f", "");
    world_flush(world);
    for (uint64_t id = 0; id < 50; id++) {
        assert_int_equal(take(worker, WIRE_RUN)->values[1], id);
    }
}

static void higher_priorities_first(void **state) {
    static const int32_t priorities[] = {-5, 100, 0, 7};
    static const uint64_t order[] = {1, 3, 2, 0};
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    for (uint32_t i = 0; i < 4; i++) {
        struct wire_define options = define_of(i, "f");

        options.priority = priorities[i];
        define(client, &options);
        submit(client, i, i);
    }
    worker = worker_join(world, 1, "f", "");
    for (int i = 0; i < 4; i++) {
        world_flush(world);
        assert_int_equal(held(worker), 1);
        assert_int_equal(look(worker, WIRE_RUN)->values[1], order[i]);
        finish_all(worker, WORLD_S);
    }
}

/* How many of the first `count` tasks that a worker with one slot runs are a client's. */
static uint32_t share_of(struct peer *worker, struct peer *client, uint32_t count,
                         uint64_t busy_ns) {
    uint32_t mine = 0;

    for (uint32_t i = 0; i < count;) {
        world_flush(worker->world);
        assert_true(held(worker) > 0);
        for (size_t at = 0; at < worker->in_count; at++) {
            const struct got *got = &worker->in[at];

            if (!got->taken && got->type == WIRE_RUN) {
                mine += got->key[4] == client->session.low;
                i++;
            }
        }
        finish_all(worker, busy_ns);
    }
    return mine;
}

static void clients_take_turns(void **state) {
    struct world *world = *state;
    struct peer *greedy, *modest, *worker;

    world_begin(world);
    greedy = client_join(world);
    modest = client_join(world);
    define_plain(greedy, 0, "f");
    define_plain(modest, 0, "f");
    submit_many(greedy, 0, 0, 2000);
    submit_many(modest, 0, 0, 10);
    worker = worker_join(world, 1, "f", "");
    /* Long tasks: turns are single tasks. */
    assert_int_equal(share_of(worker, modest, 20, WORLD_S), 10);
}

static void turns_hold_across_functions_of_one_offer(void **state) {
    struct world *world = *state;
    struct peer *greedy, *modest, *worker;

    world_begin(world);
    greedy = client_join(world);
    modest = client_join(world);
    for (uint32_t i = 0; i < 8; i++) {
        char name[2] = {(char)('a' + i), '\0'};

        define_plain(greedy, i, name);
        submit_many(greedy, i, i * 1000, 100);
    }
    define_plain(modest, 0, "i");
    submit_many(modest, 0, 0, 10);
    worker = worker_join(world, 1, "a b c d e f g h i", "");
    assert_int_equal(share_of(worker, modest, 20, WORLD_S), 10);
}

static void the_functions_of_one_client_take_turns(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint32_t second = 0;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    define_plain(client, 1, "g");
    submit_many(client, 0, 0, 100);
    submit_many(client, 1, 1000, 10);
    worker = worker_join(world, 1, "f g", "");
    for (int i = 0; i < 20; i++) {
        world_flush(world);
        second += look(worker, WIRE_RUN)->values[1] >= 1000;
        finish_all(worker, WORLD_S);
    }
    assert_int_equal(second, 10);
}

static void ten_short_tasks_do_not_wait_behind_a_million(void **state) {
    struct world *world = *state;
    struct peer *greedy, *modest, *worker;
    uint32_t done = 0;

    world_begin(world);
    greedy = client_join(world);
    define_plain(greedy, 0, "f");
    worker = worker_join(world, 1, "f", "");
    teach(worker, greedy, 0, 100000, 1000);
    submit_many(greedy, 0, 0, 20000);
    world_flush(world);
    modest = client_join(world);
    define_plain(modest, 0, "f");
    submit_many(modest, 0, 0, 10);
    while (waiting(modest, WIRE_OUTCOMES) < 10) {
        world_flush(world);
        done += finish_all(worker, 1000);
        assert_true(done < 7000); /* what is on its way, twice */
    }
}

/* --------------------------------------------------------------------- credit */

static void who_sends_little_need_not_wait_until_all_that_others_send_is_in(void **state) {
    struct world *world = *state;
    struct peer *many, *few;

    world_begin(world);
    many = client_join(world);
    few = client_join(world);
    define_plain(many, 0, "f");
    define_plain(few, 0, "f");
    submit_many(few, 0, 0, 10);
    assert_false(broker_wants_flush(world->core));
    submit_many(many, 0, 0, 4000);
    assert_true(broker_wants_flush(world->core));
    world_flush(world);
    assert_false(broker_wants_flush(world->core));
    for (uint64_t id = 0; id < 4000; id++) {
        assert_int_equal(broker_wants_flush(world->core), id >= 2048);
        cancel(many, id);
    }
}

static void a_million_results_are_not_taken_in_at_once_either(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    bool wanted = false;

    world_begin(world);
    client = client_join(world);
    worker = worker_join(world, 4096, "f", "");
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 4000);
    world_flush(world);
    submit_many(client, 0, 4000, 97);
    world_flush(world);
    give_value(worker, take(worker, WIRE_RUN)->values[0], "v", 1);
    world_flush(world);
    for (uint32_t i = 0; i < 4096 && !wanted; i++) {
        assert_true(i <= 2048);
        give_value(worker, take(worker, WIRE_RUN)->values[0], "v", 1);
        wanted = broker_wants_flush(world->core);
    }
    assert_true(wanted);
}

/* How many leases a worker gets while one client has plenty queued. */
static uint32_t ahead(struct peer *worker) {
    finish_all(worker, 100 * 1000);
    world_flush(worker->world);
    return held(worker);
}

static void less_is_sent_ahead_while_clients_compete(void **state) {
    struct world *world = *state;
    struct peer *many, *few, *worker;

    world_begin(world);
    many = client_join(world);
    few = client_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(many, 0, "f");
    define_plain(few, 0, "f");
    teach(worker, many, 0, 100000, 100 * 1000);
    submit_many(many, 0, 0, 100);
    world_flush(world);
    assert_int_equal(ahead(worker), 30); /* a horizon of 3 ms */
    submit(few, 0, 1);
    world_flush(world);
    ahead(worker);
    assert_int_equal(ahead(worker), 3); /* 0.25 ms */
    expect_outcome(few, 1, WIRE_KIND_VALUE);
    while (ahead(worker) > 0) {
    }
    world_pass(world, WORLD_S);
    submit_many(many, 0, 1000, 40);
    world_flush(world);
    assert_int_equal(held(worker), 3);
    assert_int_equal(ahead(worker), 30);
}

/* They need not have anything here at the same time. */
static void less_is_sent_ahead_while_clients_take_turns(void **state) {
    struct world *world = *state;
    struct peer *many, *few, *worker;

    world_begin(world);
    many = client_join(world);
    few = client_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(many, 0, "f");
    define_plain(few, 0, "f");
    teach(worker, many, 0, 100000, 100 * 1000);
    world_pass(world, WORLD_S);
    submit(few, 0, 1);
    world_flush(world);
    ahead(worker);
    submit_many(many, 0, 0, 100);
    world_flush(world);
    assert_int_equal(ahead(worker), 3);
    world_pass(world, WORLD_S);
    ahead(worker);
    assert_int_equal(ahead(worker), 30);
}

static void a_new_worker_gets_its_slots_first(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 1000);
    worker = worker_join(world, 3, "f", "");
    world_flush(world);
    assert_int_equal(held(worker), 3);
}

static void short_tasks_earn_credit_ahead(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    worker = worker_join(world, 1, "f", "");
    teach(worker, client, 0, 100000, 100 * 1000); /* 0.1 ms: 30 in a horizon of 3 ms */
    submit_many(client, 0, 0, 1000);
    world_flush(world);
    assert_in_range(held(worker), 28, 32);
}

/* Lets a task of 0.1 ms come back from an empty worker after this round trip. */
static void travel(struct peer *worker, struct peer *client, uint64_t rtt_ns) {
    submit(client, 0, 100000);
    world_flush(worker->world);
    worker->world->now_ns += 100 * 1000 + rtt_ns;
    assert_int_equal(finish_all(worker, 100 * 1000), 1);
    world_flush(worker->world);
    expect_outcome(client, 100000, WIRE_KIND_VALUE);
}

/* How many tasks of 0.1 ms an empty worker then gets. */
static uint32_t given(struct peer *worker, struct peer *client) {
    uint32_t count;

    submit_many(client, 0, 0, 400);
    world_flush(worker->world);
    count = held(worker);
    while (held(worker) > 0) {
        worker->world->now_ns += WORLD_S; /* not to be taken for a round trip: all are slower */
        finish_all(worker, 100 * 1000);
        world_flush(worker->world);
    }
    forget_all(client);
    return count;
}

static void what_waited_on_the_way_is_no_round_trip(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    worker = worker_join(world, 1, "f", "");
    travel(worker, client, 5000 * 1000);
    travel(worker, client, 2000 * 1000);
    travel(worker, client, 50000 * 1000);
    travel(worker, client, 50000 * 1000);
    assert_in_range(given(worker, client), 38, 42); /* a horizon of 2 x 2 ms */
}

static void a_way_that_has_become_longer_is_noticed(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    worker = worker_join(world, 1, "f", "");
    travel(worker, client, 2000 * 1000);
    for (int i = 0; i < 25; i++) {
        world_pass(world, WORLD_S);
        travel(worker, client, 5000 * 1000);
    }
    assert_in_range(given(worker, client), 95, 105); /* 2 x 5 ms */
}

static void credit_is_bounded(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    worker = worker_join(world, 1, "f", "");
    teach(worker, client, 0, 100000, 1);
    submit_many(client, 0, 0, 4000);
    world_flush(world);
    submit_many(client, 0, 4000, 6000);
    world_flush(world);
    assert_int_equal(held(worker), WIRE_WORKER_LEASES_MAX);
}

static void long_tasks_get_exactly_the_slots(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    worker = worker_join(world, 2, "f", "");
    submit_many(client, 0, 0, 100);
    for (int i = 0; i < 10; i++) {
        world_flush(world);
        assert_int_equal(held(worker), 2);
        finish_all(worker, WORLD_S);
    }
}

static void large_values_are_not_asked_for_far_ahead(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint8_t *value = calloc(1, 1 << 20);

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    worker = worker_join(world, 1, "f", "");
    submit_many(client, 0, 0, 100);
    for (int i = 0; i < 10; i++) {
        world_flush(world);
        give_value(worker, take(worker, WIRE_RUN)->values[0], value, 1 << 20);
    }
    world_flush(world);
    assert_in_range(held(worker), 1, 6);
    free(value);
}

/* Workers with one slot each, of which each runs `rounds` tasks of a function that take so long. */
static void pace(struct peer **workers, uint32_t count, struct peer *client, uint32_t class_index,
                 uint32_t rounds, uint64_t mean_ns) {
    struct world *world = client->world;

    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < count; i++) {
            submit(client, class_index, 200000 + i);
            world_flush(world);
        }
        for (uint32_t i = 0; i < count; i++) {
            world->now_ns += 1000; /* the round trip */
            assert_true(finish_all(workers[i], mean_ns) <= count);
        }
        world_flush(world);
    }
    forget_all(client);
}

static void join_many(struct peer **workers, uint32_t count, struct world *world,
                      const char *functions) {
    for (uint32_t i = 0; i < count; i++) {
        workers[i] = worker_join(world, 1, functions, "");
    }
}

/* How many of them hold something. */
static uint32_t busy(struct peer **workers, uint32_t count) {
    uint32_t those = 0;

    for (uint32_t i = 0; i < count; i++) {
        those += held(workers[i]) > 0;
    }
    return those;
}

static uint32_t most_held(struct peer **workers, uint32_t count) {
    uint32_t most = 0;

    for (uint32_t i = 0; i < count; i++) {
        most = held(workers[i]) > most ? held(workers[i]) : most;
    }
    return most;
}

static void a_small_backlog_is_spread_evenly(void **state) {
    struct world *world = *state;
    struct peer *client, *workers[2];

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    join_many(workers, 2, world, "f");
    pace(workers, 2, client, 0, 16, 10 * 1000);
    submit_many(client, 0, 0, 10);
    world_flush(world);
    assert_int_equal(held(workers[0]), 5);
    assert_int_equal(held(workers[1]), 5);
}

static void what_is_worth_one_message_is_not_spread(void **state) {
    struct world *world = *state;
    struct peer *client, *workers[2];

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    join_many(workers, 2, world, "f");
    pace(workers, 2, client, 0, 16, 1000);
    submit_many(client, 0, 0, 10);
    world_flush(world);
    assert_int_equal(busy(workers, 2), 1);
}

static void short_tasks_go_to_as_many_workers_as_are_worth_a_message(void **state) {
    struct world *world = *state;
    struct peer *client, *workers[100];

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    join_many(workers, 100, world, "f");
    pace(workers, 100, client, 0, 8, 1000);
    submit_many(client, 0, 0, 400);
    world_flush(world);
    assert_int_equal(world_stats(world).tasks_queued, 0);
    assert_int_equal(busy(workers, 100), 3); /* root(40 us x 400 us) of work for each */
    assert_int_equal(most_held(workers, 100), 134);
}

static void longer_tasks_go_one_to_each(void **state) {
    struct world *world = *state;
    struct peer *client, *workers[100];

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    join_many(workers, 100, world, "f");
    pace(workers, 100, client, 0, 8, 100 * 1000);
    submit_many(client, 0, 0, 100);
    world_flush(world);
    assert_int_equal(busy(workers, 100), 100);
}

static void a_function_of_which_nothing_is_known_goes_one_to_each(void **state) {
    struct world *world = *state;
    struct peer *client, *workers[100];

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    define_plain(client, 1, "g");
    join_many(workers, 100, world, "f g");
    pace(workers, 100, client, 0, 8, 1000);
    submit_many(client, 1, 0, 100);
    world_flush(world);
    assert_int_equal(busy(workers, 100), 100);
}

static void no_more_go_together_than_have_shown_that_they_are_short(void **state) {
    struct world *world = *state;
    struct peer *client, *workers[100];

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    define_plain(client, 1, "g");
    join_many(workers, 100, world, "f g");
    pace(workers, 100, client, 0, 8, 1000);
    pace(workers, 3, client, 1, 1, 1000);
    submit_many(client, 1, 0, 90);
    world_flush(world);
    assert_int_equal(busy(workers, 100), 30);
    assert_int_equal(most_held(workers, 100), 3);
}

static void a_long_task_among_a_thousand_short_ones_counts(void **state) {
    struct world *world = *state;
    struct peer *client, *workers[100];

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    join_many(workers, 100, world, "f");
    pace(workers, 100, client, 0, 8, 1000);
    submit(client, 0, 100000);
    world_flush(world);
    for (uint32_t i = 0; i < 100; i++) {
        finish_all(workers[i], 300 * WORLD_MS);
    }
    pace(workers, 100, client, 0, 3, 1000);
    submit_many(client, 0, 0, 100);
    world_flush(world);
    assert_int_equal(busy(workers, 100), 100);
    for (uint32_t i = 0; i < 100; i++) {
        finish_all(workers[i], 1000);
    }
    pace(workers, 100, client, 0, 600, 1000); /* it is forgotten at last */
    submit_many(client, 0, 1000, 100);
    world_flush(world);
    assert_true(busy(workers, 100) <= 4);
}

static void idle_threads_are_served_before_credit_ahead(void **state) {
    struct world *world = *state;
    struct peer *client, *busy, *idle;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    busy = worker_join(world, 2, "f", "");
    teach(busy, client, 0, 100000, 1000);
    submit_many(client, 0, 0, 2);
    world_flush(world);
    assert_int_equal(held(busy), 2);
    idle = worker_join(world, 2, "f", "");
    submit_many(client, 0, 10, 2);
    world_flush(world);
    assert_int_equal(held(busy), 2);
    assert_int_equal(held(idle), 2);
}

static void a_draining_worker_gets_no_more(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    worker = worker_join(world, 4, "f", "");
    peer_post(worker, wire_plain_encode(WIRE_DRAIN));
    submit_many(client, 0, 0, 2);
    world_flush(world);
    assert_int_equal(held(worker), 0);
    assert_int_equal(world_stats(world).tasks_queued, 2);
}

/* --------------------------------------------------------------------- recall */

/* A worker with one thread and tasks of 0.1 ms, this round trip away. */
static struct peer *hoarder(struct world *world, struct peer *client, uint64_t rtt_ns) {
    struct peer *worker = worker_join(world, 1, "f", "");

    travel(worker, client, rtt_ns);
    submit_many(client, 0, 0, 20);
    world_flush(world);
    assert_int_equal(held(worker), 20);
    return worker;
}

static void what_waits_behind_a_long_task_goes_to_an_idle_worker(void **state) {
    struct world *world = *state;
    struct peer *client, *stuck, *idle;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    stuck = hoarder(world, client, 2 * WORLD_MS);
    idle = worker_join(world, 1, "f", "");
    world_flush(world);
    assert_null(look(stuck, WIRE_RECALL));
    world_pass(world, 10 * WORLD_MS);
    assert_int_equal(take(stuck, WIRE_RECALL)->extra[0], 19); /* all that wait */
    for (uint64_t id = 19; id > 0; id--) {                    /* the newest first */
        give_back(stuck, expect_run(stuck, id), true);
    }
    world_flush(world);
    expect_run(idle, 1); /* the oldest of them goes on first */
    assert_int_equal(world_stats(world).recalled, 19);
}

static void what_an_idle_worker_could_begin_sooner_is_recalled_at_once(void **state) {
    struct world *world = *state;
    struct peer *client, *full, *idle;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    full = hoarder(world, client, WORLD_MS);
    idle = worker_join(world, 1, "f", "");
    world_flush(world);
    /* Ten it will have begun itself by the time that they could be brought there, and half of the rest
     * by the time that the other half is done. */
    assert_int_equal(take(full, WIRE_RECALL)->extra[0], 5);
    for (uint64_t id = 19; id > 14; id--) {
        give_back(full, expect_run(full, id), true);
    }
    world_flush(world);
    expect_run(idle, 15);
    assert_int_equal(held(full), 15); /* it gets none of them again */
    assert_null(look(full, WIRE_RECALL));
}

static void what_will_be_begun_within_a_round_trip_is_not_recalled(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    worker = hoarder(world, client, 2 * WORLD_MS);
    worker_join(world, 1, "f", "");
    world_pass(world, 2 * WORLD_MS);
    while (held(worker) > 0) {
        world_pass(world, 100 * 1000);
        give_value(worker, take(worker, WIRE_RUN)->values[0], "", 0);
        world_flush(world);
        assert_null(look(worker, WIRE_RECALL));
    }
}

static void a_worker_that_has_not_answered_is_not_asked_again(void **state) {
    struct world *world = *state;
    struct peer *client, *stuck, *idle;

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    stuck = hoarder(world, client, WORLD_MS);
    idle = worker_join(world, 1, "f", "");
    world_flush(world);
    assert_int_equal(take(stuck, WIRE_RECALL)->extra[0], 5);
    world_pass(world, 100 * WORLD_MS);
    assert_null(look(stuck, WIRE_RECALL));
    give_back(stuck, expect_run(stuck, 19), true);
    world_flush(world);
    give_value(idle, expect_run(idle, 19), "", 0);
    world_pass(world, 2 * WORLD_MS);
    assert_int_equal(take(stuck, WIRE_RECALL)->extra[0], 18);
}

static void what_is_given_back_is_queued_in_front(void **state) {
    struct world *world = *state;
    struct peer *client, *worker;
    uint64_t leases[3];

    world_begin(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    worker = worker_join(world, 3, "f", "");
    submit_many(client, 0, 0, 6);
    world_flush(world);
    for (uint64_t id = 0; id < 3; id++) {
        leases[id] = expect_run(worker, id);
    }
    peer_post(worker, wire_plain_encode(WIRE_DRAIN));
    for (uint64_t id = 3; id-- > 0;) {
        give_back(worker, leases[id], true);
    }
    peer_post(worker, wire_plain_encode(WIRE_BYE));
    worker = worker_join(world, 6, "f", "");
    world_flush(world);
    for (uint64_t id = 0; id < 6; id++) {
        assert_int_equal(take(worker, WIRE_RUN)->values[1], id);
        assert_int_equal(world_stats(world).failed, 0);
    }
}

/* ---------------------------------------------------------------------- many */

static void a_thousand_workers_and_a_hundred_clients_get_along(void **state) {
    struct world *world = *state;
    struct peer *clients[100], *workers[1000];
    uint32_t outcomes = 0;

    world_begin(world);
    for (int i = 0; i < 1000; i++) {
        workers[i] = worker_join(world, 1, "f", "");
    }
    for (int i = 0; i < 100; i++) {
        clients[i] = client_join(world);
        define_plain(clients[i], 0, "f");
        submit_many(clients[i], 0, 0, 30);
    }
    for (int round = 0; round < 3; round++) {
        world_flush(world);
        for (int i = 0; i < 1000; i++) {
            assert_int_equal(finish_all(workers[i], WORLD_S), 1);
        }
    }
    world_flush(world);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(waiting(clients[i], WIRE_OUTCOMES), 30);
        outcomes += waiting(clients[i], WIRE_OUTCOMES);
    }
    assert_int_equal(outcomes, 3000);
}

static void offers_and_queues_come_and_go(void **state) {
    struct world *world = *state;

    world_begin(world);
    for (int round = 0; round < 20; round++) {
        struct peer *client = client_join(world);
        struct peer *one = worker_join(world, 1, "f g", round % 2 == 0 ? "x" : "y");
        struct peer *two = worker_join(world, 1, "g", "");

        define_plain(client, 0, "f");
        define_plain(client, 1, "g");
        submit_many(client, 0, 0, 5);
        submit_many(client, 1, 10, 5);
        world_flush(world);
        peer_post(two, wire_plain_encode(WIRE_BYE));
        world_flush(world);
        peer_post(round % 3 == 0 ? one : client, wire_plain_encode(WIRE_BYE));
        world_flush(world);
        peer_post(round % 3 == 0 ? client : one, wire_plain_encode(WIRE_BYE));
        world_flush(world);
        assert_int_equal(world_stats(world).memory_bytes, 0);
        assert_int_equal(world_stats(world).workers, 0);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_free)
    const struct CMUnitTest tests[] = {
        TEST(a_worker_gets_only_functions_that_it_offers),
        TEST(tags_must_all_be_there),
        TEST(tasks_that_came_before_the_worker_run_when_it_comes),
        TEST(first_in_first_out_within_a_client),
        TEST(higher_priorities_first),
        TEST(clients_take_turns),
        TEST(turns_hold_across_functions_of_one_offer),
        TEST(the_functions_of_one_client_take_turns),
        TEST(ten_short_tasks_do_not_wait_behind_a_million),
        TEST(who_sends_little_need_not_wait_until_all_that_others_send_is_in),
        TEST(a_million_results_are_not_taken_in_at_once_either),
        TEST(less_is_sent_ahead_while_clients_compete),
        TEST(less_is_sent_ahead_while_clients_take_turns),
        TEST(a_new_worker_gets_its_slots_first),
        TEST(short_tasks_earn_credit_ahead),
        TEST(what_waited_on_the_way_is_no_round_trip),
        TEST(a_way_that_has_become_longer_is_noticed),
        TEST(credit_is_bounded),
        TEST(long_tasks_get_exactly_the_slots),
        TEST(large_values_are_not_asked_for_far_ahead),
        TEST(a_small_backlog_is_spread_evenly),
        TEST(what_is_worth_one_message_is_not_spread),
        TEST(short_tasks_go_to_as_many_workers_as_are_worth_a_message),
        TEST(longer_tasks_go_one_to_each),
        TEST(a_function_of_which_nothing_is_known_goes_one_to_each),
        TEST(no_more_go_together_than_have_shown_that_they_are_short),
        TEST(a_long_task_among_a_thousand_short_ones_counts),
        TEST(idle_threads_are_served_before_credit_ahead),
        TEST(a_draining_worker_gets_no_more),
        TEST(what_waits_behind_a_long_task_goes_to_an_idle_worker),
        TEST(what_an_idle_worker_could_begin_sooner_is_recalled_at_once),
        TEST(what_will_be_begun_within_a_round_trip_is_not_recalled),
        TEST(a_worker_that_has_not_answered_is_not_asked_again),
        TEST(what_is_given_back_is_queued_in_front),
        TEST(a_thousand_workers_and_a_hundred_clients_get_along),
        TEST(offers_and_queues_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
