/* The client's core when connections are lost, brokers change, time passes and memory is short. */
#include "client_world.h"

#include "fail_alloc.h"

/* ------------------------------------------------- lost and new connections */

static void a_resumed_session_loses_nothing(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    submit(w, 0, 10);
    w->deaf = true; /* the connection breaks: this is lost */
    flush(w);
    submit(w, 10, 10);
    flush(w);
    w->deaf = false;
    step(w, &(struct client_event){.type = CLIENT_RECONNECTED});
    run_until(w, w->now_ns + SECOND / 2);
    assert_int_equal(w->submit_count, 20);
    assert_int_equal(w->submits[0].resent, 0);
    assert_int_equal(w->defines, 1);
    assert_int_equal(w->connected, 2);
    assert_int_equal(w->connected_anew, 1);
    world_free(w);
}

static void a_new_broker_is_told_of_everything_without_an_outcome(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);
    uint64_t *ids = calloc(20, sizeof *ids);

    (void)state;
    submit(w, 0, 20);
    flush(w);
    for (uint32_t i = 0; i < 20; i++) {
        ids[i] = w->submits[i].id;
    }
    for (uint32_t i = 0; i < 20; i += 2) {
        outcome(w, ids[i], WIRE_KIND_VALUE, "x");
    }
    restart_broker(w);
    submit(w, 20, 5);
    run_until(w, w->now_ns + SECOND);
    assert_int_equal(w->connected_anew, 2);
    assert_int_equal(w->defines, 1);
    assert_int_equal(w->submit_count, 15);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(w->submits[i].id, ids[2 * i + 1]); /* under the same ids, in order */
        assert_int_equal(w->submits[i].resent, 1);
        assert_int_equal(w->submits[i].attempt, 1);
    }
    /* These were sent to the new broker first, but before it knew the client. */
    for (uint32_t i = 10; i < 15; i++) {
        outcome(w, w->submits[i].id, WIRE_KIND_VALUE, "y");
        assert_string_equal(w->tasks[20 + i - 10].text, "y");
    }
    free(ids);
    world_free(w);
}

static void a_cancel_is_told_to_the_new_broker_after_the_task(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    submit(w, 0, 2);
    flush(w);
    cancel(w, 0);
    flush(w);
    restart_broker(w);
    w->granted_tasks = 0; /* no credit at first */
    run_until(w, w->now_ns + 2 * SECOND);
    assert_int_equal(stats_of(w).waiting, 2);
    cancel(w, 1); /* it waits, but may be running somewhere: only the broker can say */
    flush(w);
    assert_int_equal(w->tasks[1].last, NOTHING);
    assert_int_equal(w->cancels, 0);
    credit(w, 10, PLENTY);
    flush(w);
    assert_int_equal(w->submit_count, 2);
    assert_int_equal(w->cancels, 2);
    verdict(w, w->cancelled[0], true);
    verdict(w, w->cancelled[1], true);
    assert_int_equal(w->tasks[0].last, VERDICT_YES);
    assert_int_equal(w->tasks[1].last, VERDICT_YES);
    world_free(w);
}

static void silence_asks_for_a_new_connection(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    w->deaf = true;
    run_until(w, w->now_ns + 9 * SECOND);
    assert_int_equal(w->reconnects, 0);
    run_until(w, w->now_ns + 2 * SECOND);
    assert_int_equal(w->reconnects, 1);
    assert_false(stats_of(w).connected);
    run_until(w, w->now_ns + 60 * SECOND);
    assert_in_range(w->reconnects, 4, 7);
    w->deaf = false;
    run_until(w, w->now_ns + 5 * SECOND);
    assert_true(stats_of(w).connected);
    world_free(w);
}

static void a_final_refusal_is_told_with_its_reason(void **state) {
    struct world *w = world_new(0, 0);
    const struct wire_reject reject = {
        .about = WIRE_HELLO, .code = WIRE_REJECT_AUTH, .text = {"wrong key", 9}};

    (void)state;
    w->deaf = true;
    run_until(w, START + MS);
    submit(w, 0, 2);
    to_client(w, wire_reject_encode(&reject));
    to_client(w, wire_reject_encode(&reject));
    assert_int_equal(w->refused, 1);
    assert_non_null(strstr(w->refusal, "wrong key"));
    give_up(w);
    assert_int_equal(w->tasks[1].resolved, 1);
    assert_int_equal(client_deadline(w->core), UINT64_MAX);
    world_free(w);
}

/* Which tasks were in it can't be told, so none may be left waiting for ever. */
static void a_submit_that_the_broker_can_not_read_is_final(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);
    struct wire_reject reject = {
        .about = WIRE_SUBMIT, .code = WIRE_REJECT_DRAINING, .text = {"stopping", 8}};

    (void)state;
    submit(w, 0, 2);
    flush(w);
    to_client(w, wire_reject_encode(&reject)); /* the next broker will be sent them */
    assert_int_equal(w->refused, 0);
    reject.code = WIRE_REJECT_MALFORMED;
    reject.text = (struct wire_text){"SUBMIT: id: bad", 15};
    to_client(w, wire_reject_encode(&reject));
    assert_int_equal(w->refused, 1);
    assert_non_null(strstr(w->refusal, "SUBMIT: id: bad"));
    give_up(w);
    assert_int_equal(w->tasks[0].resolved, 1);
    assert_int_equal(w->tasks[1].resolved, 1);
    world_free(w);
}

/* -------------------------------------------------------------- time limits */

static void a_task_that_no_broker_takes_in_time_fails(void **state) {
    struct world *w = world_new(PLENTY, PLENTY);

    (void)state;
    w->deaf = true;
    submit_class(w, 0, 2, class_of(w, "f", 1500));
    submit_class(w, 2, 1, class_of(w, "g", 2500));
    submit_class(w, 3, 1, class_of(w, "h", 0));
    run_until(w, START + 1499 * MS);
    assert_int_equal(w->tasks[0].last, NOTHING);
    run_until(w, START + 1501 * MS);
    assert_int_equal(w->tasks[0].kind, WIRE_KIND_DEADLINE);
    assert_string_equal(w->tasks[1].text, "not started within 1500 ms: no broker answered");
    assert_int_equal(w->tasks[2].last, NOTHING);
    run_until(w, START + 2501 * MS);
    assert_string_equal(w->tasks[2].text, "not started within 2500 ms: no broker answered");
    run_until(w, START + 3600 * SECOND);
    assert_int_equal(w->tasks[3].last, NOTHING);
    world_free(w);
}

static void tasks_of_several_classes_that_end_together_all_fail(void **state) {
    struct world *w = world_new(PLENTY, PLENTY);
    char name[8];

    (void)state;
    w->deaf = true;
    for (uint32_t i = 0; i < 10; i++) {
        (void)snprintf(name, sizeof name, "f%u", i);
        submit_class(w, i, 1, class_of(w, name, 100));
    }
    run_until(w, START + 110 * MS);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(w->tasks[i].resolved, 1);
    }
    world_free(w);
}

static void a_task_that_gets_no_credit_in_time_fails(void **state) {
    struct world *w = connected_world(1, PLENTY);

    (void)state;
    submit_class(w, 0, 2, class_of(w, "f", 500));
    run_until(w, w->now_ns + 501 * MS);
    assert_int_equal(w->tasks[0].last, NOTHING); /* the broker's now */
    assert_int_equal(w->tasks[1].kind, WIRE_KIND_DEADLINE);
    assert_non_null(strstr(w->tasks[1].text, "takes no more tasks"));
    world_free(w);
}

static void the_client_keeps_the_limits_of_a_broker_that_is_gone(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    submit_class(w, 0, 2, class_of(w, "f", 5000));
    flush(w);
    post(w, batch_of(WIRE_STARTED, NULL, 0, &w->submits[1].id, 1, NULL));
    w->deaf = true;
    run_until(w, w->now_ns + 15 * SECOND);
    assert_int_equal(w->tasks[0].kind, WIRE_KIND_DEADLINE);
    assert_non_null(strstr(w->tasks[0].text, "connection to the broker is lost"));
    assert_int_equal(w->tasks[1].last, NOTHING); /* it runs, as far as we know */
    world_free(w);
}

/* Nobody wants what the broker has of it, and what it has counted for that is to count no more. */
static void a_client_that_has_given_up_all_it_sent_begins_anew(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    submit_class(w, 0, 1, class_of(w, "f", 5000));
    submit_class(w, 1, 1, class_of(w, "f", 0));
    flush(w);
    w->deaf = true;
    run_until(w, w->now_ns + 15 * SECOND);
    w->deaf = false;
    run_until(w, w->now_ns + 5 * SECOND);
    assert_int_equal(w->tasks[0].kind, WIRE_KIND_DEADLINE);
    assert_int_equal(w->connected_anew, 1); /* one is left: the stream goes on */
    outcome(w, w->submits[1].id, WIRE_KIND_VALUE, "x");
    assert_int_equal(w->tasks[1].resolved, 1);

    submit_class(w, 2, 1, class_of(w, "f", 5000));
    flush(w);
    w->deaf = true;
    run_until(w, w->now_ns + 15 * SECOND);
    assert_non_null(strstr(w->tasks[2].text, "connection to the broker is lost"));
    submit_class(w, 3, 1, class_of(w, "f", 1000));
    run_until(w, w->now_ns + 2 * SECOND);
    assert_non_null(strstr(w->tasks[3].text, "connection to the broker is lost"));
    w->deaf = false;
    run_until(w, w->now_ns + 5 * SECOND);
    assert_int_equal(w->connected_anew, 2);
    assert_true(stats_of(w).connected);
    world_free(w);
}

/* -------------------------------------------------------------- ends, memory */

static void break_resolves_everything_once(void **state) {
    struct world *w = connected_world(5, PLENTY);

    (void)state;
    submit(w, 0, 10);
    flush(w);
    cancel(w, 0);
    submit(w, 10, 1);
    give_up(w);
    for (uint32_t i = 0; i < 11; i++) {
        assert_int_equal(w->tasks[i].resolved, 1);
        assert_int_equal(w->tasks[i].kind, WIRE_KIND_BROKEN);
    }
    outcome(w, w->submits[1].id, WIRE_KIND_VALUE, "late");
    credit(w, 100, PLENTY);
    flush(w);
    assert_int_equal(w->tasks[1].resolved, 1);
    assert_int_equal(w->submit_count, 5);
    world_free(w);
}

static void leaving_is_over_when_bye_is_acknowledged(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    step(w, &(struct client_event){.type = CLIENT_LEAVE});
    assert_int_equal(w->byes, 1);
    assert_int_equal(w->left, 0);
    struct wire_message *heartbeat = wire_heartbeat_encode(w->link.sent);
    link_mark(&w->link, w->now_ns, heartbeat);
    to_client(w, heartbeat);
    assert_int_equal(w->left, 1);
    world_free(w);
}

static void leaving_does_not_wait_longer_than_a_second(void **state) {
    struct world *w = connected_world(PLENTY, PLENTY);

    (void)state;
    w->deaf = true;
    step(w, &(struct client_event){.type = CLIENT_LEAVE});
    run_until(w, w->now_ns + 1001 * MS);
    assert_int_equal(w->left, 1);
    assert_int_equal(client_deadline(w->core), UINT64_MAX);
    world_free(w);
}

static void leaving_without_a_broker_is_over_at_once(void **state) {
    struct world *w = world_new(0, 0);

    (void)state;
    step(w, &(struct client_event){.type = CLIENT_LEAVE});
    assert_int_equal(w->left, 1);
    world_free(w);
}

/* Everything once, with the nth allocation failing: nothing is lost, and nothing hangs. */
static void lack_of_memory_loses_nothing(void **state) {
    (void)state;
    for (long nth = 0; nth < 400; nth++) {
        struct world *w = connected_world(PLENTY, PLENTY);
        uint32_t f = class_of(w, "f", 0), g = class_of(w, "g", 0);
        uint32_t answered = 0;

        fail_alloc_only(nth);
        submit_class(w, 0, 1500, f);
        submit_class(w, 1500, 3000, g);
        cancel(w, 4499);
        flush(w);
        fail_alloc_never();
        for (unsigned i = 0; i < 20; i++) {
            w->link.last_received_ns = w->now_ns;
            run_until(w, w->now_ns + SECOND / 2);
            to_client(w, wire_heartbeat_encode(w->link.sent));
        }
        /* What could not be sent was cancelled at once. */
        assert_int_equal(w->submit_count, w->tasks[4499].last == VERDICT_YES ? 4499 : 4500);
        while (answered < 4499) {
            outcome(w, w->submits[answered++].id, WIRE_KIND_VALUE, "x");
        }
        for (uint32_t i = 0; i < 4499; i++) {
            assert_int_equal(w->tasks[i].resolved, 1);
        }
        world_free(w);
    }
}

static void lack_of_memory_at_the_beginning_is_told(void **state) {
    const struct client_config config = {.session = {1, 2}, .name = "test", .host = "here"};
    struct client_core *core = NULL;

    (void)state;
    for (long nth = 0; core == NULL; nth++) {
        assert_true(nth < 50);
        fail_alloc_after(nth);
        core = client_core_new(&config, START);
        fail_alloc_never();
    }
    client_core_free(core);
    client_core_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resumed_session_loses_nothing),
        cmocka_unit_test(a_new_broker_is_told_of_everything_without_an_outcome),
        cmocka_unit_test(a_cancel_is_told_to_the_new_broker_after_the_task),
        cmocka_unit_test(silence_asks_for_a_new_connection),
        cmocka_unit_test(a_final_refusal_is_told_with_its_reason),
        cmocka_unit_test(a_submit_that_the_broker_can_not_read_is_final),
        cmocka_unit_test(a_task_that_no_broker_takes_in_time_fails),
        cmocka_unit_test(tasks_of_several_classes_that_end_together_all_fail),
        cmocka_unit_test(a_task_that_gets_no_credit_in_time_fails),
        cmocka_unit_test(the_client_keeps_the_limits_of_a_broker_that_is_gone),
        cmocka_unit_test(a_client_that_has_given_up_all_it_sent_begins_anew),
        cmocka_unit_test(break_resolves_everything_once),
        cmocka_unit_test(leaving_is_over_when_bye_is_acknowledged),
        cmocka_unit_test(leaving_does_not_wait_longer_than_a_second),
        cmocka_unit_test(leaving_without_a_broker_is_over_at_once),
        cmocka_unit_test(lack_of_memory_loses_nothing),
        cmocka_unit_test(lack_of_memory_at_the_beginning_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
