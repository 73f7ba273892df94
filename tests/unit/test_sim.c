/* The simulation itself: it repeats exactly, and its model sees what it is there to see. */
#include "tests/sim/scenario.h"
#include "tests/sim/sim_private.h"
#include "tests/sim/swarm.h"

#include "base/buffer.h"

static char *trace_of(uint64_t seed) {
    char *text = NULL;
    size_t size = 0;
    FILE *trace = open_memstream(&text, &size);
    struct swarm_result result;

    assert_non_null(trace);
    swarm_play(seed, trace, &result);
    assert_int_equal(fclose(trace), 0);
    return text;
}

static void the_same_seed_gives_the_same_run(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        char *first = trace_of(seed);
        char *second = trace_of(seed);
        char *other = trace_of(seed + 100);

        assert_true(strlen(first) > 10000);
        assert_string_equal(first, second);
        assert_string_not_equal(first, other);
        free(first);
        free(second);
        free(other);
    }
}

/* A client with a task that the broker knows, and two workers. */
struct stage {
    struct sim *sim;
    struct sim_task *task;
    uint32_t workers[2];
};

static void set_up(struct stage *stage) {
    uint32_t client;

    stage->sim = scenario(SEED);
    client = sim_add_client(stage->sim);
    stage->task = sim_submit(stage->sim, client, .work_us = 1000);
    sim_run_for(stage->sim, 100 * SIM_MS);
    stage->workers[0] = sim_add_worker(stage->sim, 1);
    stage->workers[1] = sim_add_worker(stage->sim, 1);
    assert_null(sim_failure(stage->sim));
}

static void expect_failure(struct stage *stage, const char *words) {
    assert_non_null(sim_failure(stage->sim));
    assert_non_null(strstr(sim_failure(stage->sim), words));
    sim_free(stage->sim);
}

static uint64_t next_seq(struct sim_endpoint *end, enum sim_direction direction) {
    return end->top_seq[direction] + 1;
}

static struct wire_message *batch(enum wire_type type, uint64_t seq, const uint64_t *key,
                                  const uint64_t *entry, const void *data, size_t size) {
    static const uint64_t extra[WIRE_EXTRA_MAX] = {0, 0};
    struct wire_writer *writer = wire_writer_new(type);
    struct wire_message *message;

    assert_non_null(writer);
    assert_int_equal(wire_writer_put(writer, key, entry, data, size, NULL), WIRE_PUT_OK);
    message = wire_writer_finish(writer, extra);
    assert_non_null(message);
    wire_stamp(message, seq, 0);
    wire_writer_free(writer);
    return message;
}

static void broker_leases(struct stage *stage, uint32_t worker, uint64_t lease) {
    struct sim_endpoint *end = sim_endpoint_at(stage->sim, SIM_WORKER, worker);
    const uint64_t key[] = {0, 0, 0, 0, 0};
    const uint64_t entry[] = {lease, stage->task->task.id, 1};
    struct wire_message *message = batch(WIRE_RUN, next_seq(end, SIM_FROM_BROKER), key, entry,
                                         stage->task->task.data, stage->task->task.size);

    sim_model_broker_sends(stage->sim, end, message);
    wire_message_unref(message);
}

static void worker_returns(struct stage *stage, uint32_t worker, uint64_t lease) {
    struct sim_endpoint *end = sim_endpoint_at(stage->sim, SIM_WORKER, worker);
    const uint64_t key[] = {1};
    struct wire_message *message =
        batch(WIRE_RETURNED, next_seq(end, SIM_TO_BROKER), key, &lease, NULL, 0);

    sim_model_broker_receives(stage->sim, end, message);
    wire_message_unref(message);
}

static void broker_ends_with(struct stage *stage, const struct sim_value *value) {
    struct sim_endpoint *end = sim_endpoint_at(stage->sim, SIM_CLIENT, stage->task->client);
    const uint64_t key[] = {WIRE_KIND_VALUE};
    struct wire_message *message = batch(WIRE_OUTCOMES, next_seq(end, SIM_FROM_BROKER), key,
                                         &stage->task->task.id, value, sizeof *value);

    sim_model_broker_sends(stage->sim, end, message);
    wire_message_unref(message);
}

static void two_live_leases_of_a_task_are_seen(void **state) {
    struct stage stage;

    (void)state;
    set_up(&stage);
    broker_leases(&stage, stage.workers[0], 1001);
    worker_returns(&stage, stage.workers[0], 1001);
    broker_leases(&stage, stage.workers[1], 1002);
    assert_null(sim_failure(stage.sim));
    broker_leases(&stage, stage.workers[0], 1003);
    expect_failure(&stage, "while");
}

static void a_lease_that_is_used_twice_is_seen(void **state) {
    struct stage stage;

    (void)state;
    set_up(&stage);
    broker_leases(&stage, stage.workers[0], 1001);
    broker_leases(&stage, stage.workers[0], 1001);
    assert_null(sim_failure(stage.sim));
    broker_leases(&stage, stage.workers[1], 1001);
    expect_failure(&stage, "used twice");
}

static void the_value_of_a_stale_lease_is_seen(void **state) {
    struct stage stage;
    struct sim_value value = {0, 1001, 0};

    (void)state;
    set_up(&stage);
    broker_leases(&stage, stage.workers[0], 1001);
    worker_returns(&stage, stage.workers[0], 1001);
    broker_leases(&stage, stage.workers[1], 1002);
    broker_ends_with(&stage, &value);
    expect_failure(&stage, "not its last");
}

static void a_run_after_the_end_is_seen(void **state) {
    struct stage stage;
    struct sim_value value = {0, 1001, 0};

    (void)state;
    set_up(&stage);
    broker_leases(&stage, stage.workers[0], 1001);
    broker_ends_with(&stage, &value);
    worker_returns(&stage, stage.workers[0], 1001);
    assert_null(sim_failure(stage.sim));
    broker_leases(&stage, stage.workers[1], 1002);
    expect_failure(&stage, "after its end");
}

static void a_second_outcome_is_seen(void **state) {
    struct stage stage;
    struct sim_value value = {0, 1001, 0};

    (void)state;
    set_up(&stage);
    stage.task->starts = 1;
    sim_model_resolved(stage.sim, stage.task, WIRE_KIND_VALUE, (const uint8_t *)&value,
                       sizeof value);
    assert_null(sim_failure(stage.sim));
    sim_model_resolved(stage.sim, stage.task, WIRE_KIND_VALUE, (const uint8_t *)&value,
                       sizeof value);
    expect_failure(&stage, "resolved twice");
}

static void the_value_of_another_task_is_seen(void **state) {
    struct stage stage;
    struct sim_value value = {77, 1001, 0};

    (void)state;
    set_up(&stage);
    stage.task->starts = 1;
    sim_model_resolved(stage.sim, stage.task, WIRE_KIND_VALUE, (const uint8_t *)&value,
                       sizeof value);
    expect_failure(&stage, "the value of #77");
}

static void a_start_after_a_yes_is_seen(void **state) {
    struct stage stage;
    struct worker_task leased = {.lease = 1001};
    struct sim_run run = {.leased = &leased, .lease = 1001};

    (void)state;
    set_up(&stage);
    run.task = stage.task;
    run.worker = sim_worker_at(stage.sim, stage.workers[0]);
    run.broker = stage.sim->broker.incarnation;
    stage.task->cancels_left = 1;
    sim_model_verdict(stage.sim, stage.task, true);
    assert_null(sim_failure(stage.sim));
    stage.task->starts = 1;
    sim_model_started(stage.sim, &run);
    expect_failure(&stage, "after a cancel said yes");
}

static void a_loss_without_a_death_is_seen(void **state) {
    struct stage stage;
    struct base_buffer buffer;
    struct wire_error error = {.attempt = 1};

    (void)state;
    set_up(&stage);
    base_buffer_init(&buffer);
    assert_true(wire_error_encode(&error, &buffer));
    sim_model_resolved(stage.sim, stage.task, WIRE_KIND_LOST, buffer.data, buffer.size);
    base_buffer_fini(&buffer);
    expect_failure(&stage, "nobody has died");
}

static void more_tasks_than_credit_are_seen(void **state) {
    struct stage stage;
    struct sim_endpoint *end;
    const uint64_t key[] = {0, 1, 0};
    const uint64_t id = 99;
    struct wire_message *message;

    (void)state;
    set_up(&stage);
    end = sim_endpoint_at(stage.sim, SIM_CLIENT, stage.task->client);
    end->used_tasks = end->credit_tasks;
    message = batch(WIRE_SUBMIT, next_seq(end, SIM_TO_BROKER), key, &id, stage.task->task.data,
                    stage.task->task.size);
    sim_model_dialer_sends(stage.sim, end, message);
    wire_message_unref(message);
    expect_failure(&stage, "credit");
}

static void what_does_not_end_is_seen(void **state) {
    struct sim *sim = scenario(SEED);

    (void)state;
    sim_submit(sim, sim_add_client(sim), .work_us = 1000); /* and there is no worker */
    assert_false(sim_finish(sim, 10 * SIM_SECOND));
    assert_non_null(strstr(sim_failure(sim), "has not ended"));
    sim_free(sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_run),
        cmocka_unit_test(two_live_leases_of_a_task_are_seen),
        cmocka_unit_test(a_lease_that_is_used_twice_is_seen),
        cmocka_unit_test(the_value_of_a_stale_lease_is_seen),
        cmocka_unit_test(a_run_after_the_end_is_seen),
        cmocka_unit_test(a_second_outcome_is_seen),
        cmocka_unit_test(the_value_of_another_task_is_seen),
        cmocka_unit_test(a_start_after_a_yes_is_seen),
        cmocka_unit_test(a_loss_without_a_death_is_seen),
        cmocka_unit_test(more_tasks_than_credit_are_seen),
        cmocka_unit_test(what_does_not_end_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
