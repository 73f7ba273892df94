/* Tasks in the client's core: submitted, resolved, cancelled. */
#include "client_world.h"

#include "base/rng.h"

/* --------------------------------------------------------------- submitting */

static void tasks_arrive_in_order_with_their_class_and_bytes(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    submit(w, 0, 10000);
    flush(w);
    assert_int_equal(w->defines, 1);
    assert_int_equal(w->submit_count, 10000);
    for (uint32_t i = 0; i < 10000; i++) {
        assert_int_equal(w->submits[i].data, i);
        assert_int_equal(w->submits[i].size, 8);
        assert_int_equal(w->submits[i].class_index, 0);
        assert_int_equal(w->submits[i].attempt, 1);
        assert_int_equal(w->submits[i].resent, 0);
    }
    world_free(w);
}

static void nothing_leaves_before_the_broker_has_answered(void **state) {
    struct world *w = world_new(PLENTY, PLENTY);

    (void)state;
    w->deaf = true;
    submit(w, 0, 5);
    run_until(w, START + 3 * SECOND);
    assert_int_equal(stats_of(w).waiting, 5);
    w->deaf = false;
    run_until(w, START + 10 * SECOND);
    assert_int_equal(w->submit_count, 5);
    assert_int_equal(w->connected_anew, 1);
    world_free(w);
}

static void hello_waits_for_the_transport_if_told_so(void **state) {
    const struct client_config config = {
        .session = {1, 2}, .name = "test", .host = "here", .await_transport = true};
    struct client_core *core = client_core_new(&config, START);
    size_t count;

    (void)state;
    assert_int_equal(client_deadline(core), UINT64_MAX);
    client_step(core, START, &(struct client_event){.type = CLIENT_RECONNECTED});
    assert_true(client_deadline(core) <= START);
    client_step(core, START, &(struct client_event){.type = CLIENT_TICK});
    assert_int_equal(client_actions(core, &count)->type, CLIENT_SEND);
    assert_int_equal(count, 1);
    wire_message_unref(client_actions(core, &count)->message);
    client_core_free(core);
}

static void classes_are_one_if_all_about_them_is_equal(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);
    struct wire_define define = {.function = {"ab", 2}, .max_attempts = 3};
    int64_t first = client_class_intern(w->core, &define);

    (void)state;
    assert_int_equal(client_class_intern(w->core, &define), first);
    define.priority = -1;
    assert_int_equal(client_class_intern(w->core, &define), first + 1);
    define.priority = 0;
    define.function.size = 1;
    define.tags[0] = (struct wire_text){"b", 1};
    define.tag_count = 1;
    assert_int_equal(client_class_intern(w->core, &define), first + 2);
    define.tags[0] = (struct wire_text){"bc", 2};
    assert_int_equal(client_class_intern(w->core, &define), first + 3);
    world_free(w);
}

static void only_so_many_classes_are_allowed(void **state) {
    struct world *w = world_new(0, 0);
    char name[16];

    (void)state;
    for (uint32_t i = 0; i < WIRE_CLASSES_MAX; i++) {
        (void)snprintf(name, sizeof name, "f%u", i);
        assert_int_equal(class_of(w, name, 0), i);
    }
    const struct wire_define more = {.function = {"more", 4}};
    assert_int_equal(client_class_intern(w->core, &more), -2);
    assert_int_equal(class_of(w, "f65535", 0), 65535);
    world_free(w);
}

static void a_class_is_defined_once_before_its_first_task(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    submit_class(w, 0, 3, class_of(w, "f", 0));
    submit_class(w, 3, 3, class_of(w, "g", 0));
    submit_class(w, 6, 3, class_of(w, "f", 0));
    flush(w);
    assert_int_equal(w->defines, 2);
    assert_int_equal(w->submit_count, 9);
    world_free(w);
}

static void a_long_chain_is_taken_in_parts_if_its_rest_is_asked_for(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);
    uint32_t class_index = class_of(w, "f", 0), left = 2 * CLIENT_SUBMIT_MAX + 1;
    struct client_task *chain = task_at(w, 0);

    (void)state;
    for (uint32_t i = 0; i < left; i++) {
        prepare(w, i, class_index)->next = i + 1 < left ? task_at(w, i + 1) : NULL;
    }
    for (uint32_t taken = 0; left > 0; left -= taken) {
        uint32_t before = w->submit_count;

        step(w, &(struct client_event){.type = CLIENT_SUBMIT, .task = chain, .rest = &chain});
        flush(w);
        taken = w->submit_count - before;
        assert_int_equal(taken, left < CLIENT_SUBMIT_MAX ? left : CLIENT_SUBMIT_MAX);
        assert_ptr_equal(chain, left > taken ? task_at(w, before + taken) : NULL);
    }
    for (uint32_t i = 0; i < w->submit_count; i++) {
        assert_int_equal(w->submits[i].data, i);
    }
    world_free(w);
}

/* Whatever stands in a chain beside what, each leaves as itself and in order, up to where credit ends. */
static void a_chain_of_different_tasks_leaves_in_order(void **state) {
    struct world *w = connected_world(900, PLENTY);
    struct wire_blob *blob = wire_blob_new(WIRE_LARGE_BYTES_MIN);
    const uint32_t classes[] = {class_of(w, "f", 0), class_of(w, "g", 1000)};
    struct base_rng rng;

    (void)state;
    base_rng_init(&rng, 1);
    memset(blob->data, 0, blob->size);
    for (uint32_t i = 0; i < 1000; i++) {
        struct client_task *task = prepare(w, i, classes[base_rng_chance(&rng, 0.2)]);

        task->next = i + 1 < 1000 ? task_at(w, i + 1) : NULL;
        if (base_rng_chance(&rng, 0.01)) {
            task->large = blob;
            task->data = blob->data;
            task->size = (uint32_t)blob->size;
        }
    }
    step(w, &(struct client_event){.type = CLIENT_SUBMIT, .task = task_at(w, 0)});
    flush(w);
    assert_int_equal(w->submit_count, 900);
    assert_int_equal(stats_of(w).waiting, 100);
    for (uint32_t i = 0; i < 900; i++) {
        const struct client_task *task = task_at(w, i);

        assert_int_equal(w->submits[i].id, task->id);
        assert_int_equal(w->submits[i].class_index, task->class_index);
        assert_int_equal(w->submits[i].attempt, 1);
        assert_int_equal(w->submits[i].size, task->size);
        assert_int_equal(w->submits[i].data, task->large != NULL ? 0 : i);
    }
    give_up(w);
    world_free(w);
    wire_blob_unref(blob);
}

static void no_more_tasks_leave_than_credit_allows(void **state) {
    struct world *w = connected_world(3, PLENTY);

    (void)state;
    submit(w, 0, 10);
    flush(w);
    assert_int_equal(w->submit_count, 3);
    outcome(w, w->submits[0].id, WIRE_KIND_VALUE, "x"); /* tells the same credit: no more */
    flush(w);
    assert_int_equal(w->submit_count, 3);
    credit(w, 7, PLENTY);
    credit(w, 5, PLENTY); /* overtaken: does no harm */
    flush(w);
    assert_int_equal(w->submit_count, 7);
    assert_int_equal(w->submits[6].data, 6);
    world_free(w);
}

static void no_more_bytes_leave_than_credit_allows_but_one_may_go_alone(void **state) {
    struct world *w = connected_world(PLENTY, 20);
    static uint8_t much[100];

    (void)state;
    submit(w, 0, 3);
    flush(w);
    assert_int_equal(w->submit_count, 2);
    outcome(w, w->submits[0].id, WIRE_KIND_VALUE, "x");
    outcome(w, w->submits[1].id, WIRE_KIND_VALUE, "x");
    flush(w);
    assert_int_equal(w->submit_count, 3); /* 24 bytes in all, and nothing else outstanding */
    outcome(w, w->submits[2].id, WIRE_KIND_VALUE, "x");
    prepare(w, 3, class_of(w, "f", 0))->data = much;
    w->tasks[3].task.size = sizeof much;
    step(w, &(struct client_event){.type = CLIENT_SUBMIT, .task = task_at(w, 3)});
    flush(w);
    assert_int_equal(w->submit_count, 3); /* not before the broker has let the 24 bytes go */
    credit(w, PLENTY, 24);
    flush(w);
    assert_int_equal(w->submit_count, 4);
    submit(w, 4, 1);
    flush(w);
    assert_int_equal(w->submit_count, 4);
    world_free(w);
}

static void large_arguments_travel_as_their_blob(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);
    struct wire_blob *blob = wire_blob_new(WIRE_LARGE_BYTES_MIN);
    struct client_task *task = prepare(w, 0, class_of(w, "f", 0));

    (void)state;
    memset(blob->data, 7, blob->size);
    task->data = blob->data;
    task->size = (uint32_t)blob->size;
    task->large = blob;
    step(w, &(struct client_event){.type = CLIENT_SUBMIT, .task = task});
    flush(w);
    assert_int_equal(w->submits[0].size, WIRE_LARGE_BYTES_MIN);
    assert_true(atomic_load(&blob->refs) > 1); /* not copied: the link keeps the blob itself */
    world_free(w);
    assert_int_equal(atomic_load(&blob->refs), 1);
    wire_blob_unref(blob);
}

/* ----------------------------------------------------------------- outcomes */

static void each_task_gets_its_own_outcome_once(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);
    char text[16];

    (void)state;
    submit(w, 0, 1000);
    flush(w);
    for (uint32_t i = 1000; i-- > 0;) {
        (void)snprintf(text, sizeof text, "v%u", i);
        outcome(w, w->submits[i].id, WIRE_KIND_VALUE, text);
        outcome(w, w->submits[i].id, WIRE_KIND_VALUE, "again");
    }
    for (uint32_t i = 0; i < 1000; i++) {
        (void)snprintf(text, sizeof text, "v%u", i);
        assert_int_equal(w->tasks[i].resolved, 1);
        assert_string_equal(w->tasks[i].text, text);
    }
    assert_int_equal(stats_of(w).sent, 0);
    world_free(w);
}

static void ids_are_not_used_twice(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    for (uint32_t round = 0; round < 2000; round++) {
        submit(w, 0, 1);
        flush(w);
        outcome(w, w->submits[round].id, WIRE_KIND_VALUE, "x");
        for (uint32_t i = round < 5 ? 0 : round - 5; i < round; i++) {
            assert_true(w->submits[i].id != w->submits[round].id);
        }
    }
    assert_int_equal(w->tasks[0].resolved, 2000);
    world_free(w);
}

static void ids_stay_unused_after_memory_was_given_back(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);
    uint64_t *before = calloc(TASKS, sizeof *before);

    (void)state;
    submit(w, 0, TASKS);
    flush(w);
    for (uint32_t i = 0; i < TASKS; i++) {
        before[i] = w->submits[i].id;
        outcome(w, w->submits[i].id, WIRE_KIND_VALUE, "x");
    }
    for (unsigned i = 0; i < 5; i++) { /* heartbeats, at which tables are trimmed */
        w->link.last_received_ns = w->now_ns;
        run_until(w, w->now_ns + SECOND);
        to_client(w, wire_heartbeat_encode(w->link.sent));
    }
    w->submit_count = 0;
    submit(w, 0, TASKS);
    flush(w);
    for (uint32_t i = 0; i < TASKS; i++) {
        outcome(w, before[i], WIRE_KIND_VALUE, "late");
    }
    for (uint32_t i = 0; i < TASKS; i++) {
        assert_int_equal(w->tasks[i].resolved, 1);
    }
    assert_int_equal(stats_of(w).sent, TASKS);
    free(before);
    world_free(w);
}

static void started_is_told_once(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    submit(w, 0, 2);
    flush(w);
    for (unsigned i = 0; i < 2; i++) {
        post(w, batch_of(WIRE_STARTED, NULL, 0, &w->submits[1].id, 1, NULL));
    }
    assert_int_equal(w->tasks[0].began, 0);
    assert_int_equal(w->tasks[1].began, 1);
    world_free(w);
}

static void whatever_the_broker_says_of_unknown_tasks_does_nothing(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);
    struct base_rng rng;

    (void)state;
    base_rng_init(&rng, 1);
    submit(w, 0, 100);
    flush(w);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t id = base_rng_next(&rng) >> base_rng_below(&rng, 64);

        if (base_rng_chance(&rng, 0.3)) {
            id = w->submits[base_rng_below(&rng, 100)].id + (UINT64_C(1) << 32);
        } else if (id >> 32 == 0 && (uint32_t)id < 100) {
            continue; /* may be one of ours */
        }
        switch (base_rng_below(&rng, 4)) {
        case 0:
            outcome(w, id, (enum wire_kind)base_rng_below(&rng, WIRE_KIND_COUNT), NULL);
            break;
        case 1:
            verdict(w, id, base_rng_chance(&rng, 0.5));
            break;
        default:
            post(w, batch_of(WIRE_STARTED, NULL, 0, &id, 1, NULL));
            break;
        }
    }
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(w->tasks[i].last, NOTHING);
        assert_int_equal(w->tasks[i].began, 0);
    }
    assert_int_equal(stats_of(w).sent, 100);
    world_free(w);
}

static void a_message_that_is_not_for_clients_is_rejected(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    post(w, wire_plain_encode(WIRE_STOP));
    assert_int_equal(w->rejects, 1);
    assert_int_equal(w->logs, 1);
    submit(w, 0, 1);
    flush(w);
    outcome(w, w->submits[0].id, WIRE_KIND_VALUE, "x"); /* the stream goes on */
    assert_int_equal(w->tasks[0].resolved, 1);
    world_free(w);
}

/* ------------------------------------------------------------------ cancels */

static void what_has_not_left_is_cancelled_at_once(void **state) {
    struct world *w = connected_world(1, PLENTY);

    (void)state;
    submit(w, 0, 3);
    flush(w);
    cancel(w, 1);
    assert_int_equal(w->tasks[1].last, VERDICT_YES);
    credit(w, 10, PLENTY);
    flush(w);
    assert_int_equal(w->submit_count, 2);
    assert_int_equal(w->submits[1].data, 2);
    assert_int_equal(w->cancels, 0);
    world_free(w);
}

static void a_cancel_of_what_has_left_awaits_the_verdict(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    submit(w, 0, 2);
    cancel(w, 0); /* still in the batch that is being formed */
    flush(w);
    cancel(w, 1);
    cancel(w, 1);
    flush(w);
    assert_int_equal(w->cancels, 2);
    assert_int_equal(w->cancelled[0], w->submits[0].id);
    assert_int_equal(w->tasks[0].last, NOTHING);
    verdict(w, w->submits[0].id, true);
    verdict(w, w->submits[1].id, false);
    assert_int_equal(w->tasks[0].last, VERDICT_YES);
    assert_int_equal(w->tasks[1].last, VERDICT_NO);
    outcome(w, w->submits[1].id, WIRE_KIND_VALUE, "x");
    assert_int_equal(w->tasks[1].last, RESOLVED);
    assert_int_equal(stats_of(w).sent, 0);
    world_free(w);
}

static void an_outcome_that_overtakes_the_verdict_is_all_there_is(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    submit(w, 0, 1);
    flush(w);
    cancel(w, 0);
    flush(w);
    outcome(w, w->submits[0].id, WIRE_KIND_VALUE, "x");
    verdict(w, w->submits[0].id, false);
    verdict(w, w->submits[0].id, true);
    assert_int_equal(w->tasks[0].resolved, 1);
    assert_int_equal(w->tasks[0].verdicts, 0);
    world_free(w);
}

static void a_verdict_that_does_not_come_is_no(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    submit(w, 0, 1);
    flush(w);
    w->deaf = true;
    cancel(w, 0);
    run_until(w, w->now_ns + 9 * SECOND);
    assert_int_equal(w->tasks[0].last, NOTHING);
    run_until(w, w->now_ns + 2 * SECOND);
    assert_int_equal(w->tasks[0].last, VERDICT_NO);
    assert_int_equal(stats_of(w).sent, 1);
    world_free(w);
}

static void a_late_yes_still_ends_the_task(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    submit(w, 0, 1);
    flush(w);
    cancel(w, 0);
    flush(w);
    for (unsigned i = 0; i < 12; i++) {
        run_until(w, w->now_ns + SECOND);
        to_client(w, wire_heartbeat_encode(w->link.sent));
    }
    assert_int_equal(w->tasks[0].last, VERDICT_NO);
    verdict(w, w->submits[0].id, true);
    assert_int_equal(w->tasks[0].last, RESOLVED);
    assert_int_equal(w->tasks[0].kind, WIRE_KIND_CANCELLED);
    world_free(w);
}

static void many_cancels_are_all_told(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    submit(w, 0, TASKS);
    flush(w);
    for (uint32_t i = 0; i < TASKS; i++) {
        cancel(w, i);
    }
    flush(w);
    assert_int_equal(w->cancels, TASKS);
    for (uint32_t i = 0; i < TASKS; i++) {
        verdict(w, w->cancelled[i], true);
    }
    assert_int_equal(stats_of(w).sent, 0);
    world_free(w);
}

static void all_can_be_cancelled_together(void **state) {
    struct world *w = connected_world(3, PLENTY);

    (void)state;
    submit(w, 0, 10);
    flush(w);
    cancel(w, 0);
    step(w, &(struct client_event){.type = CLIENT_CANCEL_ALL});
    flush(w);
    for (uint32_t i = 3; i < 10; i++) {
        assert_int_equal(w->tasks[i].last, VERDICT_YES);
    }
    assert_int_equal(w->cancels, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(w->tasks[i].last, NOTHING);
        verdict(w, w->submits[i].id, i != 1);
        assert_int_equal(w->tasks[i].last, i != 1 ? VERDICT_YES : VERDICT_NO);
    }
    assert_int_equal(stats_of(w).sent, 1);
    world_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_arrive_in_order_with_their_class_and_bytes),
        cmocka_unit_test(nothing_leaves_before_the_broker_has_answered),
        cmocka_unit_test(hello_waits_for_the_transport_if_told_so),
        cmocka_unit_test(classes_are_one_if_all_about_them_is_equal),
        cmocka_unit_test(only_so_many_classes_are_allowed),
        cmocka_unit_test(a_class_is_defined_once_before_its_first_task),
        cmocka_unit_test(a_long_chain_is_taken_in_parts_if_its_rest_is_asked_for),
        cmocka_unit_test(a_chain_of_different_tasks_leaves_in_order),
        cmocka_unit_test(no_more_tasks_leave_than_credit_allows),
        cmocka_unit_test(no_more_bytes_leave_than_credit_allows_but_one_may_go_alone),
        cmocka_unit_test(large_arguments_travel_as_their_blob),
        cmocka_unit_test(each_task_gets_its_own_outcome_once),
        cmocka_unit_test(ids_are_not_used_twice),
        cmocka_unit_test(ids_stay_unused_after_memory_was_given_back),
        cmocka_unit_test(started_is_told_once),
        cmocka_unit_test(whatever_the_broker_says_of_unknown_tasks_does_nothing),
        cmocka_unit_test(a_message_that_is_not_for_clients_is_rejected),
        cmocka_unit_test(what_has_not_left_is_cancelled_at_once),
        cmocka_unit_test(a_cancel_of_what_has_left_awaits_the_verdict),
        cmocka_unit_test(an_outcome_that_overtakes_the_verdict_is_all_there_is),
        cmocka_unit_test(a_verdict_that_does_not_come_is_no),
        cmocka_unit_test(a_late_yes_still_ends_the_task),
        cmocka_unit_test(many_cancels_are_all_told),
        cmocka_unit_test(all_can_be_cancelled_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
