#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "fail_alloc.h"
#include "worker_world.h"

#define VALUE    WIRE_KIND_VALUE
#define ERROR    WIRE_KIND_ERROR
#define DEADLINE WIRE_KIND_DEADLINE

static int begin(void **state) {
    int failed = world_make(state);

    if (!failed) {
        world_begin(*state);
    }
    return failed;
}

static int connected(void **state) {
    int failed = begin(state);

    if (!failed) {
        world_connect(*state);
    }
    return failed;
}

/* ---- the session ---- */

static void hello_says_what_the_worker_offers(void **state) {
    struct world *world = *state;
    struct wire_message *message;
    struct wire_fault fault;
    struct wire_hello hello;

    assert_true(worker_deadline(world->core) <= world->now_ns);
    world_event(world, WORKER_TICK);
    message = world_take(world, WIRE_HELLO);
    assert_true(wire_hello_decode(message, &hello, &fault));
    assert_int_equal(hello.role, WIRE_WORKER);
    assert_int_equal(hello.session.high, 0x1111);
    assert_int_equal(hello.session.low, 0x2222);
    assert_int_equal(hello.epoch, 0);
    assert_int_equal(hello.received, 0);
    assert_int_equal(hello.slots, 2);
    assert_int_equal(hello.pid, 4711);
    assert_int_equal(hello.function_count, 3);
    assert_memory_equal(hello.functions[2].data, "two", 3);
    assert_int_equal(hello.tag_count, 1);
    assert_memory_equal(hello.tags[0].data, "gpu", 3);
    wire_hello_fini(&hello);
    wire_message_unref(message);
}

static void with_a_transport_to_wait_for_hello_comes_once_it_is_there(void **state) {
    struct world *world = *state;

    world->config.await_transport = true;
    world_begin(world);
    assert_true(worker_deadline(world->core) == UINT64_MAX);
    world_event(world, WORKER_TICK);
    world_nothing(world);
    world_event(world, WORKER_RECONNECTED);
    assert_true(worker_deadline(world->core) <= world->now_ns);
    world_event(world, WORKER_TICK);
    wire_message_unref(world_take(world, WIRE_HELLO));
}

static void nothing_but_hello_goes_out_before_welcome(void **state) {
    struct world *world = *state;

    world_pass(world, 5000 * WORLD_MS);
    assert_true(world->sent_count > 2);
    while (world->sent_count > 0) {
        wire_message_unref(world_take(world, WIRE_HELLO));
    }
}

static void the_first_welcome_is_answered_with_final_claims_of_nothing(void **state) {
    struct world *world = *state;
    struct wire_message *message;
    struct wire_batch batch;
    struct wire_fault fault;

    world_event(world, WORKER_TICK);
    wire_message_unref(world_take(world, WIRE_HELLO));
    world_welcome(world, false, world->link.base);
    world_flush(world);
    message = world_take(world, WIRE_CLAIMS);
    assert_true(wire_batch_open(&batch, message, &fault));
    assert_int_equal(batch.extra[0], 1);
    assert_int_equal(batch.entry_count, 0);
    wire_message_unref(message);
}

static void a_refusal_of_hello_is_final(void **state) {
    struct wire_reject reject = {WIRE_HELLO, WIRE_REJECT_AUTH, {"no such key", 11}};
    struct world *world = *state;

    world_event(world, WORKER_TICK);
    wire_message_unref(world_take(world, WIRE_HELLO));
    world_deliver(world, wire_reject_encode(&reject));
    assert_true(world->left);
    assert_non_null(strstr(world->left_text, "no such key"));
    assert_true(worker_deadline(world->core) == UINT64_MAX);
}

static void a_refusal_for_now_is_not_final(void **state) {
    struct wire_reject reject = {WIRE_HELLO, WIRE_REJECT_DRAINING, {"later", 5}};
    struct world *world = *state;

    world_event(world, WORKER_TICK);
    wire_message_unref(world_take(world, WIRE_HELLO));
    world_deliver(world, wire_reject_encode(&reject));
    assert_false(world->left);
    world_pass(world, 500 * WORLD_MS);
    wire_message_unref(world_take(world, WIRE_HELLO));
}

static void silence_asks_for_another_connection(void **state) {
    struct world *world = *state;

    world_pass(world, 9500 * WORLD_MS);
    assert_int_equal(world->reconnects, 0);
    while (world->sent_count > 0) {
        wire_message_unref(world_take(world, WIRE_HEARTBEAT));
    }
    world_pass(world, 600 * WORLD_MS);
    assert_int_equal(world->reconnects, 1);
    wire_message_unref(world_take(world, WIRE_HELLO));
    world_pass(world, 10500 * WORLD_MS);
    assert_int_equal(world->reconnects, 2);
}

static void unknown_is_answered_with_hello(void **state) {
    struct world *world = *state;

    world_pass(world, 100 * WORLD_MS);
    world_deliver(world, wire_plain_encode(WIRE_UNKNOWN));
    world_pass(world, 0);
    wire_message_unref(world_take(world, WIRE_HELLO));
}

static void a_lost_message_is_asked_for_and_a_repeated_one_dropped(void **state) {
    struct world *world = *state;
    struct wire_message *first = world_run_message(1, 1, 0, 0);
    struct wire_message *second = world_run_message(2, 1, 0, 0);

    assert_true(link_post(&world->link, world->now_ns, first));
    assert_true(link_post(&world->link, world->now_ns, second));
    world_deliver(world, wire_message_ref(second));
    assert_int_equal(world->started_count, 0);
    wire_message_unref(world_take(world, WIRE_RESUME));
    world_deliver(world, wire_message_ref(first));
    world_deliver(world, wire_message_ref(first));
    world_deliver(world, second);
    wire_message_unref(first);
    assert_int_equal(world->started_count, 2);
    assert_int_equal(world_task(world, 2)->lease, 2);
}

static void many_messages_are_acknowledged_by_a_heartbeat(void **state) {
    struct world *world = *state;

    for (uint64_t lease = 0; lease < 31; lease++) {
        world_run(world, lease, 1);
        world_flush(world);
    }
    world_nothing(world);
    world_run(world, 31, 1);
    world_flush(world);
    wire_message_unref(world_take(world, WIRE_HEARTBEAT));
}

static void what_is_malformed_or_not_for_workers_is_rejected(void **state) {
    struct world *world = *state;
    struct wire_reject reject;
    struct wire_fault fault;
    struct wire_message *message;
    const uint64_t unknown_function = 3;

    world_post(world, world_run_message(1, 1, (uint32_t)unknown_function, 0));
    message = world_take(world, WIRE_REJECT);
    assert_true(wire_reject_decode(message, &reject, &fault));
    assert_int_equal(reject.about, WIRE_RUN);
    assert_int_equal(reject.code, WIRE_REJECT_MALFORMED);
    assert_non_null(memmem(reject.text.data, reject.text.size, "function", 8));
    wire_message_unref(message);
    world_post(world, wire_plain_encode(WIRE_DRAIN));
    message = world_take(world, WIRE_REJECT);
    assert_true(wire_reject_decode(message, &reject, &fault));
    assert_int_equal(reject.code, WIRE_REJECT_ROLE);
    wire_message_unref(message);
    world_deliver(world, wire_message_new(NULL, 0));
    wire_message_unref(world_take(world, WIRE_REJECT));
    assert_int_equal(world->started_count, 0);
    world_run(world, 5, 1); /* and the worker serves on */
    assert_int_equal(world->started_count, 1);
}

/* ---- running ---- */

static void tasks_start_in_order_with_their_arguments(void **state) {
    struct world *world = *state;

    world_post(world, world_run_message(10, 3, 2, 0));
    assert_int_equal(world->started_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct worker_task *task = world->started[i];

        assert_int_equal(task->lease, 10 + i);
        assert_int_equal(task->id, 1010 + i);
        assert_int_equal(task->function, 2);
        assert_int_equal(task->attempt, 1);
        assert_int_equal(task->session->high, 8);
        assert_int_equal(task->session->low, 9);
        assert_int_equal(task->size, 9);
        assert_int_equal(task->data[8], 10 + i);
    }
    world_flush(world);
    world_nothing(world);
}

static void a_client_that_has_nothing_here_goes_ahead(void **state) {
    struct world *world = *state;

    world_run_of(world, 1, 10, 3); /* the only one: there is nothing to be ahead of */
    world_run_of(world, 1, 13, 1);
    world_run_of(world, 2, 20, 2);
    world_run_of(world, 2, 22, 1); /* behind its own, that have not been run yet */
    world_run_of(world, 1, 14, 1);
    world_run_of(world, 3, 30, 1);
    assert_int_equal(world->started_count, 9);
    for (uint32_t i = 0; i < 9; i++) {
        uint64_t lease = world->started[i]->lease;

        assert_int_equal(world->ahead[i], lease == 20 || lease == 21 || lease == 30);
    }
    world_finish(world, 20, VALUE);
    world_finish(world, 21, VALUE);
    world_run_of(world, 2, 23, 1);
    assert_false(world->ahead[9]);
    world_finish(world, 22, VALUE);
    world_finish(world, 23, VALUE);
    world_run_of(world, 2, 24, 1); /* all that it had is done */
    assert_true(world->ahead[10]);
    world_flush(world);
    world_acknowledge(world);
}

static void results_of_one_round_go_out_together(void **state) {
    struct world *world = *state;
    struct wire_message *message;
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    world_run(world, 1, 4);
    world_finish(world, 1, VALUE);
    world_finish(world, 2, VALUE);
    world_finish(world, 4, ERROR);
    world_nothing(world);
    world_flush(world);
    message = world_take(world, WIRE_RESULTS);
    assert_true(wire_batch_open(&batch, message, &fault));
    assert_int_equal(batch.extra[0], 300);
    assert_int_equal(batch.entry_count, 3);
    assert_true(wire_batch_next(&batch, &entry));
    assert_int_equal(entry.key[0], VALUE);
    assert_int_equal(entry.size, 9);
    assert_int_equal(entry.data[8], 1);
    assert_true(wire_batch_next(&batch, &entry));
    assert_int_equal(entry.data[8], 2);
    assert_true(wire_batch_next(&batch, &entry));
    assert_int_equal(entry.key[0], ERROR);
    assert_int_equal(entry.values[0], 4);
    wire_message_unref(message);
    world_finish(world, 3, VALUE);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 3));
    world_flush(world);
    world_nothing(world);
}

static void a_large_result_is_not_copied(void **state) {
    struct world *world = *state;
    struct wire_blob *blob = wire_blob_new(WIRE_LARGE_BYTES_MIN);
    struct worker_outcome outcome = {.kind = VALUE, .size = blob->size, .large = blob};
    struct wire_message *message;

    world_run(world, 1, 1);
    memset(blob->data, 0xc0, blob->size);
    outcome.data = blob->data;
    world_finish_with(world, 1, &outcome);
    world_flush(world);
    message = world_take(world, WIRE_RESULTS);
    assert_int_equal(message->frame_count, 3);
    assert_ptr_equal(message->frames[2], blob);
    wire_message_unref(message);
    wire_blob_unref(blob);
}

static void a_result_over_the_brokers_limit_is_rejected(void **state) {
    struct world *world = *state;
    uint8_t bytes[1001] = {0};
    struct worker_outcome outcome = {.kind = VALUE, .data = bytes, .size = 1000};

    world->payload_max = 1000;
    world_connect(world);
    world_run(world, 1, 2);
    world_finish_with(world, 1, &outcome);
    outcome.size = 1001;
    world_finish_with(world, 2, &outcome);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 2, WORLD_PAIR(VALUE, 1), WORLD_PAIR(WIRE_KIND_REJECTED, 2));
}

static void tasks_that_finish_together_are_reported_in_their_order(void **state) {
    struct world *world = *state;
    struct worker_outcome outcomes[4];
    struct worker_event event = {.type = WORKER_FINISHED, .outcomes = outcomes, .count = 4};
    uint8_t bytes[1001] = {0};

    world->payload_max = 1000;
    world_connect(world);
    world_run(world, 1, 5);
    for (uint32_t i = 0; i < 4; i++) {
        outcomes[i] = (struct worker_outcome){
            .task = world->started[i], .kind = VALUE, .data = bytes, .size = i == 1 ? 1001 : i};
        world->started[i] = NULL;
    }
    outcomes[2].kind = WIRE_KIND_ERROR;
    world_step(world, &event);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 4, WORLD_PAIR(VALUE, 1), WORLD_PAIR(WIRE_KIND_REJECTED, 2),
                 WORLD_PAIR(WIRE_KIND_ERROR, 3), WORLD_PAIR(VALUE, 4));
    world_finish(world, 5, VALUE);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 5));
}

static void a_task_that_runs_long_is_reported(void **state) {
    struct world *world = *state;

    world_run(world, 1, 2);
    world_began(world, 2);
    world_flush(world);
    world_expect(world, WIRE_RUNNING, 1, WORLD_PAIR(0, 2));
    world_finish(world, 2, VALUE);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 2));
}

static void more_than_a_worker_may_hold_goes_back(void **state) {
    struct world *world = *state;
    struct worker_stats stats;

    world_run(world, 1, WIRE_WORKER_LEASES_MAX - 1);
    world_run(world, 10000, 3);
    world_flush(world);
    world_expect(world, WIRE_RETURNED, 2, WORLD_PAIR(1, 10001), WORLD_PAIR(1, 10002));
    worker_get_stats(world->core, &stats);
    assert_int_equal(stats.held, WIRE_WORKER_LEASES_MAX);
    assert_true(stats.connected);
}

/* ---- taking back ---- */

static void a_recall_is_answered_for_each_lease_named(void **state) {
    const uint64_t leases[] = {1, 2, 3, 99};
    struct world *world = *state;

    world_run(world, 1, 4);
    world_started(world, 1);
    world_finish(world, 2, VALUE);
    world_batch(world, WIRE_RECALL, 0, leases, 4);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 2));
    world_expect(world, WIRE_RETURNED, 4, WORLD_PAIR(0, 2), WORLD_PAIR(0, 99), WORLD_PAIR(0, 1),
                 WORLD_PAIR(1, 3));
    world_finish(world, 1, VALUE);
    world_finish(world, 4, VALUE);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 2, WORLD_PAIR(VALUE, 1), WORLD_PAIR(VALUE, 4));
}

static void a_recall_by_number_takes_the_newest_that_wait(void **state) {
    const uint64_t named = 2;
    struct world *world = *state;

    world_run(world, 1, 5);
    world_started(world, 1);
    world_began(world, 1);
    world_batch(world, WIRE_RECALL, 2, &named, 1);
    world_flush(world);
    world_expect(world, WIRE_RETURNED, 3, WORLD_PAIR(1, 2), WORLD_PAIR(1, 5), WORLD_PAIR(1, 4));
    world_expect(world, WIRE_RUNNING, 1, WORLD_PAIR(0, 1));
    world_batch(world, WIRE_RECALL, UINT32_MAX, NULL, 0);
    world_flush(world);
    world_expect(world, WIRE_RETURNED, 1, WORLD_PAIR(1, 3));
    world_batch(world, WIRE_RECALL, UINT32_MAX, NULL, 0);
    world_flush(world);
    world_nothing(world);
}

static void what_had_started_is_not_listed_by_number(void **state) {
    struct world *world = *state;

    world_run(world, 1, 3);
    world_started(world, 3);
    world_batch(world, WIRE_RECALL, 2, NULL, 0);
    world_flush(world);
    world_expect(world, WIRE_RETURNED, 1, WORLD_PAIR(1, 2));
    world_began(world, 3); /* it is known to have started, and still reported as running */
    world_flush(world);
    world_expect(world, WIRE_RUNNING, 1, WORLD_PAIR(0, 3));
}

static void a_recall_of_very_many_finds_each(void **state) {
    static uint64_t leases[3000];
    static struct world_entry entries[3000];
    struct world *world = *state;
    bool seen[3000] = {false};

    world_run(world, 0, 3000);
    for (uint32_t i = 0; i < 3000; i++) {
        leases[i] = 2999 - i;
    }
    world_started(world, 7);
    world_batch(world, WIRE_RECALL, 0, leases, 3000);
    world_flush(world);
    assert_int_equal(world_take_batch(world, WIRE_RETURNED, entries, 3000), 3000);
    for (uint32_t i = 0; i < 3000; i++) {
        assert_false(seen[entries[i].lease]);
        seen[entries[i].lease] = true;
        assert_int_equal(entries[i].key, entries[i].lease != 7);
    }
}

static void an_interrupt_reaches_what_runs_and_takes_back_what_waits(void **state) {
    const uint64_t leases[] = {1, 2, 3, 77};
    struct world *world = *state;

    world_run(world, 1, 3);
    world_started(world, 1);
    world_began(world, 2);
    world_batch(world, WIRE_INTERRUPT, 0, leases, 4);
    world_flush(world);
    assert_int_equal(world->interrupted_count, 2);
    assert_ptr_equal(world->interrupted[0], world_task(world, 1));
    assert_ptr_equal(world->interrupted[1], world_task(world, 2));
    world_expect(world, WIRE_RETURNED, 1, WORLD_PAIR(1, 3));
}

/* ---- limits ---- */

/* One task with a limit of 100 ms has begun, 5 ms ago. */
static void with_a_limit(struct world *world) {
    world_post(world, world_run_message(1, 1, 0, 100));
    world->now_ns += 5 * WORLD_MS;
    world_began(world, 1);
    world_flush(world);
    world_expect(world, WIRE_RUNNING, 1, WORLD_PAIR(0, 1));
}

static void a_task_is_told_when_its_limit_has_passed(void **state) {
    struct world *world = *state;

    with_a_limit(world);
    world_pass(world, 94 * WORLD_MS);
    assert_int_equal(world->interrupted_count, 0);
    world_pass(world, 2 * WORLD_MS);
    assert_int_equal(world->interrupted_count, 1);
    world_finish(world, 1, ERROR);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(DEADLINE, 1));
    world_pass(world, 900 * WORLD_MS);
    assert_int_equal(world->kills, 0);
}

static void a_deadline_is_told_with_the_limit_and_the_function(void **state) {
    struct world *world = *state;
    struct wire_message *message;
    struct wire_error error;
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    with_a_limit(world);
    world_pass(world, 100 * WORLD_MS);
    world_finish(world, 1, ERROR);
    world_flush(world);
    message = world_take(world, WIRE_RESULTS);
    assert_true(wire_batch_open(&batch, message, &fault) && wire_batch_next(&batch, &entry));
    assert_true(wire_error_decode(entry.data, entry.size, &error));
    assert_non_null(memmem(error.message.data, error.message.size, "100 ms", 6));
    assert_memory_equal(error.function.data, "zero", error.function.size);
    assert_int_equal(error.pid, 4711);
    assert_int_equal(error.attempt, 1);
    wire_message_unref(message);
}

static void a_value_that_comes_late_is_still_the_value(void **state) {
    struct world *world = *state;

    with_a_limit(world);
    world_pass(world, 500 * WORLD_MS);
    world_finish(world, 1, VALUE);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 1));
}

static void a_task_that_does_not_end_costs_the_process_its_life(void **state) {
    struct world *world = *state;

    with_a_limit(world);
    world_pass(world, 1094 * WORLD_MS);
    world_nothing(world);
    world_pass(world, 2 * WORLD_MS);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(DEADLINE, 1));
    assert_int_equal(world->kills, 0);
    world_acknowledge(world);
    assert_int_equal(world->kills, 1);
    assert_true(worker_deadline(world->core) == UINT64_MAX);
}

static void the_death_does_not_wait_long_for_an_acknowledgement(void **state) {
    struct world *world = *state;

    with_a_limit(world);
    world_pass(world, 1096 * WORLD_MS);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(DEADLINE, 1));
    world_pass(world, 98 * WORLD_MS);
    assert_int_equal(world->kills, 0);
    world_pass(world, 3 * WORLD_MS);
    assert_int_equal(world->kills, 1);
}

static void a_task_that_ends_in_the_last_moment_saves_the_process(void **state) {
    struct world *world = *state;

    with_a_limit(world);
    world_pass(world, 1096 * WORLD_MS);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(DEADLINE, 1));
    world_finish(world, 1, VALUE); /* its outcome is out already */
    world_acknowledge(world);
    world_pass(world, 900 * WORLD_MS);
    assert_int_equal(world->kills, 0);
    world_run(world, 2, 1);
    world_finish(world, 2, VALUE);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 2));
}

static void the_grace_is_configurable(void **state) {
    struct world *world = *state;

    world->config.grace_ns = 10 * WORLD_MS;
    world_begin(world);
    world_connect(world);
    with_a_limit(world);
    world_pass(world, 106 * WORLD_MS);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(DEADLINE, 1));
}

/* ---- leaving ---- */

static void a_stopped_worker_returns_what_waits_and_finishes_what_runs(void **state) {
    struct world *world = *state;

    world_run(world, 1, 3);
    world_started(world, 1);
    world_post(world, wire_plain_encode(WIRE_STOP));
    world_flush(world);
    world_expect(world, WIRE_RETURNED, 2, WORLD_PAIR(1, 3), WORLD_PAIR(1, 2));
    world_run(world, 4, 1);
    world_flush(world);
    world_expect(world, WIRE_RETURNED, 1, WORLD_PAIR(1, 4));
    world_acknowledge(world);
    world_nothing(world);
    world_finish(world, 1, VALUE);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 1));
    world_nothing(world);
    world_acknowledge(world);
    wire_message_unref(world_take(world, WIRE_BYE));
    assert_false(world->left);
    world_acknowledge(world);
    assert_true(world->left);
    assert_string_equal(world->left_text, "");
    assert_int_equal(world->leaves, 1);
}

static void a_worker_that_drains_tells_the_broker(void **state) {
    struct world *world = *state;

    world_event(world, WORKER_DRAIN);
    world_event(world, WORKER_DRAIN);
    world_flush(world);
    wire_message_unref(world_take(world, WIRE_DRAIN));
    world_nothing(world);
    world_acknowledge(world);
    wire_message_unref(world_take(world, WIRE_BYE));
    world_acknowledge(world);
    assert_true(world->left);
}

static void without_a_broker_a_worker_leaves_at_once(void **state) {
    struct world *world = *state;

    world_event(world, WORKER_TICK);
    world_event(world, WORKER_DRAIN);
    world_flush(world);
    assert_true(world->left);
}

static void a_broker_that_does_not_answer_is_not_waited_for_for_ever(void **state) {
    struct world *world = *state;

    world_run(world, 1, 1);
    world_started(world, 1);
    world_event(world, WORKER_DRAIN);
    world_pass(world, 7000 * WORLD_MS);
    assert_false(world->left);
    world_finish(world, 1, VALUE);
    world_flush(world);
    world_pass(world, 4900 * WORLD_MS);
    assert_false(world->left);
    world_pass(world, 200 * WORLD_MS);
    assert_true(world->left);
    assert_non_null(strstr(world->left_text, "acknowledge"));
}

static void exactly_tasks_max_tasks_are_run(void **state) {
    struct world *world = *state;

    world->config.tasks_max = 3;
    world_begin(world);
    world_connect(world);
    world_run(world, 1, 2);
    assert_int_equal(world->retiring, 0);
    world_run(world, 3, 3);
    assert_int_equal(world->started_count, 3);
    assert_int_equal(world->retiring, 1);
    world_flush(world);
    wire_message_unref(world_take(world, WIRE_DRAIN));
    world_expect(world, WIRE_RETURNED, 2, WORLD_PAIR(1, 4), WORLD_PAIR(1, 5));
    world_run(world, 6, 1);
    world_flush(world);
    world_expect(world, WIRE_RETURNED, 1, WORLD_PAIR(1, 6));
    for (uint64_t lease = 1; lease <= 3; lease++) {
        world_finish(world, lease, VALUE);
    }
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 3, WORLD_PAIR(VALUE, 1), WORLD_PAIR(VALUE, 2),
                 WORLD_PAIR(VALUE, 3));
    world_acknowledge(world);
    wire_message_unref(world_take(world, WIRE_BYE));
    world_acknowledge(world);
    assert_true(world->left);
    assert_int_equal(world->retiring, 1);
}

static void a_retiring_worker_that_is_stopped_returns_what_waits(void **state) {
    struct world *world = *state;

    world->config.tasks_max = 2;
    world_begin(world);
    world_connect(world);
    world_run(world, 1, 2);
    world_started(world, 1);
    world_flush(world);
    wire_message_unref(world_take(world, WIRE_DRAIN));
    world_post(world, wire_plain_encode(WIRE_STOP));
    world_flush(world);
    world_expect(world, WIRE_RETURNED, 1, WORLD_PAIR(1, 2));
}

/* ---- another broker ---- */

static void new_broker(struct world *world) {
    world->epoch++;
    world->now_ns += 100 * WORLD_MS;
    world_deliver(world, wire_plain_encode(WIRE_UNKNOWN));
    world_pass(world, 60 * WORLD_MS);
    wire_message_unref(world_take(world, WIRE_HELLO));
    link_reset(&world->link, world->now_ns);
    world_welcome(world, false, world->link.base);
    world_flush(world);
}

static void a_new_broker_hears_of_all_that_is_held_or_not_acknowledged(void **state) {
    struct world *world = *state;
    struct wire_message *message;
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    world_run(world, 1, 5);
    world_finish(world, 1, VALUE);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 1));
    world_acknowledge(world);
    world_finish(world, 2, VALUE);
    world_flush(world); /* sent, and lost with the broker */
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 2));
    world_began(world, 4);
    world_finish(world, 3, ERROR); /* not sent yet */
    new_broker(world);
    message = world_take(world, WIRE_CLAIMS);
    assert_true(wire_batch_open(&batch, message, &fault));
    assert_int_equal(batch.extra[0], 1);
    assert_int_equal(batch.entry_count, 4);
    for (uint64_t lease = 2; lease <= 5; lease++) {
        assert_true(wire_batch_next(&batch, &entry));
        assert_int_equal(entry.key[0], 8);
        assert_int_equal(entry.key[1], 9);
        assert_int_equal(entry.values[0], lease);
        assert_int_equal(entry.values[1], lease + 1000);
        assert_int_equal(entry.values[2], 1);
    }
    wire_message_unref(message);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 2));
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(ERROR, 3));
    world_expect(world, WIRE_RUNNING, 1, WORLD_PAIR(0, 4));
    world_nothing(world);
    world_acknowledge(world);
    new_broker(world);
    world_expect(world, WIRE_CLAIMS, 2, WORLD_PAIR(8, 4), WORLD_PAIR(8, 5));
    world_expect(world, WIRE_RUNNING, 1, WORLD_PAIR(0, 4));
    world_nothing(world);
}

static void claims_of_very_many_are_final_in_the_last_message(void **state) {
    static struct world_entry entries[WIRE_BATCH_ENTRIES_MAX];
    struct world *world = *state;
    struct wire_message *message;
    struct wire_batch batch;
    struct wire_fault fault;

    world_run(world, 1, 4000);
    for (uint64_t lease = 1; lease <= 4000; lease++) {
        world_finish(world, lease, VALUE);
    }
    world->deaf = true;
    world_flush(world);
    world->deaf = false;
    world_run(world, 5001, 1000);
    new_broker(world);
    message = world_take(world, WIRE_CLAIMS);
    assert_true(wire_batch_open(&batch, message, &fault));
    assert_int_equal(batch.extra[0], 0);
    assert_int_equal(batch.entry_count, WIRE_BATCH_ENTRIES_MAX);
    wire_message_unref(message);
    message = world_take(world, WIRE_CLAIMS);
    assert_true(wire_batch_open(&batch, message, &fault));
    assert_int_equal(batch.extra[0], 1);
    assert_int_equal(batch.entry_count, 5000 - WIRE_BATCH_ENTRIES_MAX);
    wire_message_unref(message);
    assert_int_equal(world_take_batch(world, WIRE_RESULTS, entries, WIRE_BATCH_ENTRIES_MAX), 4000);
}

static void results_wait_while_there_is_no_broker(void **state) {
    struct world *world = *state;

    world_run(world, 1, 2);
    world_deliver(world, wire_plain_encode(WIRE_UNKNOWN));
    world_finish(world, 1, VALUE);
    world_flush(world);
    world_nothing(world);
    world_finish(world, 2, VALUE);
    world_flush(world);
    world_nothing(world);
    new_broker(world);
    world_expect(world, WIRE_CLAIMS, 2, WORLD_PAIR(8, 1), WORLD_PAIR(8, 2));
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 1));
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 2));
}

static void a_broker_that_knows_us_gets_only_what_it_misses(void **state) {
    struct world *world = *state;
    uint64_t received;

    world_run(world, 1, 2);
    world_finish(world, 1, VALUE);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 1));
    received = world->link.received;
    world_finish(world, 2, VALUE);
    world->deaf = true;
    world_flush(world);
    world->deaf = false;
    world->now_ns += 100 * WORLD_MS;
    world_event(world, WORKER_RECONNECTED);
    world_pass(world, 0);
    wire_message_unref(world_take(world, WIRE_HELLO));
    world_welcome(world, true, received);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 2));
    world_nothing(world);
}

static void answers_to_an_old_broker_are_not_given_to_a_new_one(void **state) {
    const uint64_t lease = 2;
    struct world *world = *state;

    world_run(world, 1, 2);
    world_batch(world, WIRE_RECALL, 0, &lease, 1);
    world->deaf = true;
    world_flush(world);
    world->deaf = false;
    new_broker(world);
    world_expect(world, WIRE_CLAIMS, 1, WORLD_PAIR(8, 1));
    world_nothing(world);
}

static void a_new_broker_is_told_of_draining_too(void **state) {
    struct world *world = *state;

    world_run(world, 1, 1);
    world_started(world, 1);
    world_event(world, WORKER_DRAIN);
    world_flush(world);
    wire_message_unref(world_take(world, WIRE_DRAIN));
    new_broker(world);
    world_expect(world, WIRE_CLAIMS, 1, WORLD_PAIR(8, 1));
    wire_message_unref(world_take(world, WIRE_DRAIN));
    world_finish(world, 1, VALUE);
    world_flush(world);
    world_expect(world, WIRE_RESULTS, 1, WORLD_PAIR(VALUE, 1));
    world_acknowledge(world);
    wire_message_unref(world_take(world, WIRE_BYE));
    new_broker(world);
    world_expect(world, WIRE_CLAIMS, 0);
    wire_message_unref(world_take(world, WIRE_DRAIN));
    world_acknowledge(world);
    wire_message_unref(world_take(world, WIRE_BYE));
    world_acknowledge(world);
    assert_true(world->left);
}

/* ---- memory ---- */

/* Every lease must be reported once: in RESULTS, or as returned. */
static void collect(struct world *world, uint32_t *reported) {
    static struct world_entry entries[WIRE_BATCH_ENTRIES_MAX];

    while (world->sent_count > 0) {
        struct wire_envelope envelope;
        struct wire_fault fault;
        uint32_t count;

        assert_true(wire_open(world->sent[0], &envelope, &fault));
        if (envelope.type != WIRE_RESULTS && envelope.type != WIRE_RETURNED) {
            wire_message_unref(world_take(world, (enum wire_type)envelope.type));
            continue;
        }
        count =
            world_take_batch(world, (enum wire_type)envelope.type, entries, WIRE_BATCH_ENTRIES_MAX);
        for (uint32_t i = 0; i < count; i++) {
            reported[entries[i].lease] += envelope.type == WIRE_RESULTS || entries[i].key == 1;
        }
    }
}

/* Posts a message that the worker may decline at first, and sends it again until it is taken. */
static void post_until_taken(struct world *world, struct wire_message *message) {
    world_post(world, wire_message_ref(message));
    for (int i = 0; i < 3; i++) {
        world_pass(world, 1100 * WORLD_MS);
        world_deliver(world, wire_message_ref(message));
    }
    wire_message_unref(message);
}

static void without_memory_every_task_is_still_reported_once(void **state) {
    bool whole = false;

    (void)state;
    for (long n = 0; !whole; n++) {
        const uint64_t recalled[] = {3, 4};
        uint32_t reported[16] = {0};
        struct wire_message *run = world_run_message(1, 6, 0, 60000);
        struct wire_writer *writer = wire_writer_new(WIRE_RECALL);
        const uint64_t none = 0;
        struct wire_message *recall;
        struct world *world;

        for (int i = 0; i < 2; i++) {
            assert_int_equal(wire_writer_put(writer, &none, &recalled[i], NULL, 0, NULL),
                             WIRE_PUT_OK);
        }
        recall = wire_writer_finish(writer, &none);
        wire_writer_free(writer);
        assert_int_equal(connected((void **)&world), 0);
        world_run(world, 7, 1); /* so that the test's own end of the link has its memory */
        world_finish(world, 7, VALUE);
        fail_alloc_only(n);
        post_until_taken(world, run);
        world_began(world, 1);
        world_started(world, 4);
        post_until_taken(world, recall);
        for (uint32_t i = 0; i < world->started_count; i++) {
            if (world->started[i] != NULL) {
                world_finish(world, world->started[i]->lease, VALUE);
                world_flush(world);
            }
        }
        world_pass(world, 100 * WORLD_MS);
        whole = fail_alloc_failed() == 0;
        fail_alloc_never();
        collect(world, reported);
        for (uint64_t lease = 1; lease <= 7; lease++) {
            assert_int_equal(reported[lease], 1);
        }
        assert_int_equal(world_free((void **)&world), 0);
    }
}

static void a_core_that_can_not_be_made_leaves_nothing(void **state) {
    struct world *world = *state;

    for (long n = 0; world->core == NULL; n++) {
        fail_alloc_only(n);
        world->core = worker_core_new(&world->config, world->now_ns);
        assert_true((world->core == NULL) == (fail_alloc_failed() != 0));
        fail_alloc_never();
    }
    link_init(&world->link, world->now_ns, 0, 0);
}

int main(void) {
#define FRESH(name) cmocka_unit_test_setup_teardown(name, world_make, world_free)
#define BEGUN(name) cmocka_unit_test_setup_teardown(name, begin, world_free)
#define TEST(name)  cmocka_unit_test_setup_teardown(name, connected, world_free)
    const struct CMUnitTest tests[] = {
        BEGUN(hello_says_what_the_worker_offers),
        FRESH(with_a_transport_to_wait_for_hello_comes_once_it_is_there),
        BEGUN(nothing_but_hello_goes_out_before_welcome),
        BEGUN(the_first_welcome_is_answered_with_final_claims_of_nothing),
        BEGUN(a_refusal_of_hello_is_final),
        BEGUN(a_refusal_for_now_is_not_final),
        TEST(silence_asks_for_another_connection),
        TEST(unknown_is_answered_with_hello),
        TEST(a_lost_message_is_asked_for_and_a_repeated_one_dropped),
        TEST(many_messages_are_acknowledged_by_a_heartbeat),
        TEST(what_is_malformed_or_not_for_workers_is_rejected),
        TEST(tasks_start_in_order_with_their_arguments),
        TEST(a_client_that_has_nothing_here_goes_ahead),
        TEST(results_of_one_round_go_out_together),
        TEST(a_large_result_is_not_copied),
        BEGUN(a_result_over_the_brokers_limit_is_rejected),
        BEGUN(tasks_that_finish_together_are_reported_in_their_order),
        TEST(a_task_that_runs_long_is_reported),
        TEST(more_than_a_worker_may_hold_goes_back),
        TEST(a_recall_is_answered_for_each_lease_named),
        TEST(a_recall_by_number_takes_the_newest_that_wait),
        TEST(what_had_started_is_not_listed_by_number),
        TEST(a_recall_of_very_many_finds_each),
        TEST(an_interrupt_reaches_what_runs_and_takes_back_what_waits),
        TEST(a_task_is_told_when_its_limit_has_passed),
        TEST(a_deadline_is_told_with_the_limit_and_the_function),
        TEST(a_value_that_comes_late_is_still_the_value),
        TEST(a_task_that_does_not_end_costs_the_process_its_life),
        TEST(the_death_does_not_wait_long_for_an_acknowledgement),
        TEST(a_task_that_ends_in_the_last_moment_saves_the_process),
        FRESH(the_grace_is_configurable),
        TEST(a_stopped_worker_returns_what_waits_and_finishes_what_runs),
        TEST(a_worker_that_drains_tells_the_broker),
        BEGUN(without_a_broker_a_worker_leaves_at_once),
        TEST(a_broker_that_does_not_answer_is_not_waited_for_for_ever),
        FRESH(exactly_tasks_max_tasks_are_run),
        FRESH(a_retiring_worker_that_is_stopped_returns_what_waits),
        TEST(a_new_broker_hears_of_all_that_is_held_or_not_acknowledged),
        TEST(claims_of_very_many_are_final_in_the_last_message),
        TEST(results_wait_while_there_is_no_broker),
        TEST(a_broker_that_knows_us_gets_only_what_it_misses),
        TEST(answers_to_an_old_broker_are_not_given_to_a_new_one),
        TEST(a_new_broker_is_told_of_draining_too),
        cmocka_unit_test(without_memory_every_task_is_still_reported_once),
        FRESH(a_core_that_can_not_be_made_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
