/* What admins ask: docs/protocol.md section 3.3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/broker_world.h"
#include "wire/inspect.h"

#include <cmocka.h>

#define assert_name(text, literal)                                                                 \
    do {                                                                                           \
        assert_int_equal((text).size, sizeof(literal) - 1);                                        \
        assert_memory_equal((text).data, literal, sizeof(literal) - 1);                            \
    } while (0)

/* ------------------------------------------------------------------- asking */

static void ask(struct peer *admin, struct wire_message *request) {
    wire_message_unref(admin->answer);
    admin->answer = NULL;
    peer_mark(admin, request);
}

/* Opens the next page of a list. */
static struct wire_rows ask_page(struct peer *admin, enum wire_list list, uint64_t page) {
    const struct wire_list_request request = {9, list, page};
    struct wire_rows rows;
    struct wire_fault fault;

    ask(admin, wire_list_encode(&request));
    if (admin->answer == NULL || !wire_rows_open(&rows, admin->answer, &fault)) {
        fail_msg("no page %u of list %u: %s", (unsigned)page, list, admin->reject_text);
    }
    assert_int_equal(rows.number, 9);
    assert_int_equal(rows.list, list);
    assert_int_equal(rows.page, page);
    return rows;
}

/* The only row of a list, or the one whose name (or function) begins so. */
static union wire_row ask_row(struct peer *admin, enum wire_list list) {
    struct wire_rows rows = ask_page(admin, list, 0);
    union wire_row row;

    assert_int_equal(rows.count, 1);
    assert_false(rows.more);
    assert_true(wire_rows_next(&rows, &row));
    return row;
}

static struct wire_reason ask_why(struct peer *admin, const struct peer *client, uint64_t id) {
    const struct wire_explain question = {5, client->session, 1, id};
    struct wire_reason reason;
    struct wire_fault fault;

    ask(admin, wire_explain_encode(&question));
    assert_non_null(admin->answer);
    assert_true(wire_reason_decode(admin->answer, &reason, &fault));
    assert_int_equal(reason.number, 5);
    return reason;
}

static uint64_t retire(struct peer *admin, struct wire_session session) {
    const struct wire_retire order = {6, session};
    struct wire_retired retired;
    struct wire_fault fault;

    ask(admin, wire_retire_encode(&order));
    assert_non_null(admin->answer);
    assert_true(wire_retired_decode(admin->answer, &retired, &fault));
    assert_int_equal(retired.number, 6);
    world_flush(admin->world);
    return retired.role;
}

/* ---------------------------------------------------------------------- ping */

static void ping_is_answered_with_what_the_broker_is(void **state) {
    struct world *world = *state;
    const struct wire_ping ping = {77};
    struct wire_pong pong;
    struct wire_fault fault;
    struct peer *admin;

    world->config.version = "1.2.3";
    world_begin(world);
    admin = admin_join(world);
    world_pass(world, 2 * WORLD_S);
    ask(admin, wire_ping_encode(&ping));
    assert_true(wire_pong_decode(admin->answer, &pong, &fault));
    assert_int_equal(pong.number, 77);
    assert_name(pong.version, "1.2.3");
    assert_true(pong.epoch == world->config.epoch);
    assert_int_equal(pong.uptime_ms, 2000);
    assert_int_equal(pong.draining, 0);
    world_step(world, BROKER_DRAIN);
    ask(admin, wire_ping_encode(&ping));
    assert_true(wire_pong_decode(admin->answer, &pong, &fault));
    assert_int_equal(pong.draining, 1);
}

static void only_admins_may_ask(void **state) {
    struct world *world = *state;
    const struct wire_ping ping = {1};
    const struct wire_list_request list = {1, WIRE_LIST_CLIENTS, 0};
    const struct wire_explain explain = {.number = 1};
    const struct wire_retire retire_all = {.number = 1};
    struct peer *others[3];

    world_begin(world);
    others[0] = client_join(world);
    others[1] = worker_join(world, 1, "f", "");
    others[2] = supervisor_join(world);
    for (int i = 0; i < 3; i++) {
        peer_mark(others[i], wire_ping_encode(&ping));
        peer_mark(others[i], wire_list_encode(&list));
        peer_mark(others[i], wire_explain_encode(&explain));
        peer_mark(others[i], wire_retire_encode(&retire_all));
        assert_int_equal(others[i]->rejects, 4);
        assert_int_equal(others[i]->reject_code, WIRE_REJECT_ROLE);
        assert_null(others[i]->answer);
    }
}

static void an_admin_may_do_nothing_else(void **state) {
    struct world *world = *state;
    struct peer *admin, *client;

    world_begin(world);
    client = client_join(world);
    admin = admin_join(world);
    define_plain(admin, 0, "f");
    assert_int_equal(admin->reject_code, WIRE_REJECT_ROLE);
    submit(admin, 0, 1);
    child_died(admin, client, 9, false, NULL, 0);
    assert_int_equal(admin->rejects, 3);
    assert_int_equal(world_stats(world).submitted, 0);
}

static void an_admin_gets_in_where_others_find_no_room(void **state) {
    struct world *world = *state;
    struct peer *late;

    world->config.sessions_max = 2;
    world_begin(world);
    client_join(world);
    client_join(world);
    late = peer_new(world, WIRE_CLIENT);
    peer_hello(late);
    assert_int_equal(late->reject_code, WIRE_REJECT_LIMIT);
    assert_int_equal(ask_row(admin_join(world), WIRE_LIST_BROKER).broker.clients, 2);
}

/* --------------------------------------------------------------------- lists */

static void the_brokers_row_counts_what_there_is(void **state) {
    struct world *world = *state;
    struct peer *admin, *client, *worker;
    struct wire_broker_row row;

    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    worker = worker_join(world, 2, "f", "");
    supervisor_join(world);
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 5);
    world_flush(world);
    row = ask_row(admin, WIRE_LIST_BROKER).broker;
    assert_name(row.host, "broker-host");
    assert_int_equal(row.pid, 77);
    assert_int_equal(row.clients, 1);
    assert_int_equal(row.workers, 1);
    assert_int_equal(row.supervisors, 1);
    assert_int_equal(row.admins, 1);
    assert_int_equal(row.queued, 3);
    assert_int_equal(row.leased, 2);
    assert_int_equal(row.submitted, 5);
    assert_true(row.submit_rate > 0);
    assert_true(row.memory_bytes > 0 && row.memory_max == world->config.memory_bytes);
    give_result(worker, take(worker, WIRE_RUN)->values[0], WIRE_KIND_ERROR, 1000);
    give_result(worker, take(worker, WIRE_RUN)->values[0], WIRE_KIND_VALUE, 1000);
    world_flush(world);
    row = ask_row(admin, WIRE_LIST_BROKER).broker;
    assert_int_equal(row.finished, 1);
    assert_int_equal(row.failed, 1);
    assert_true(row.finish_rate > 0 && row.fail_rate > 0);
}

static void a_workers_row_says_what_it_holds_and_how_it_stands(void **state) {
    struct world *world = *state;
    struct peer *admin, *client, *worker;
    struct wire_worker_row row;

    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    worker = worker_join(world, 2, "f g h", "gpu big");
    define_plain(client, 0, "f");
    submit_many(client, 0, 0, 5);
    world_flush(world);
    world_pass(world, WORLD_S / 4);
    row = ask_row(admin, WIRE_LIST_WORKERS).worker;
    assert_name(row.name, "peer");
    assert_name(row.host, "peer-host");
    assert_int_equal(row.pid, 1000 + worker->address);
    assert_int_equal(row.session.low, worker->session.low);
    assert_int_equal(row.slots, 2);
    assert_int_equal(row.leases, 2);
    assert_int_equal(row.functions, 3);
    assert_int_equal(row.tags.count, 2);
    assert_name(row.tags.names[0], "big");
    assert_int_equal(row.state, 0);
    assert_in_range(row.heard_ms, 200, 300);
    finish_all(worker, 1000);
    peer_post(worker, wire_plain_encode(WIRE_DRAIN));
    world_flush(world);
    row = ask_row(admin, WIRE_LIST_WORKERS).worker;
    assert_int_equal(row.finished, 2);
    assert_int_equal(row.leases, 0);
    assert_int_equal(row.state, WIRE_STATE_DRAINING);
    assert_int_equal(row.heard_ms, 0);
}

static void a_clients_row_says_what_it_waits_for(void **state) {
    struct world *world = *state;
    struct peer *admin, *client;
    struct wire_client_row row;

    world->config.tasks_max = 8;
    world->config.client_tasks_max = 8;
    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    define_plain(client, 1, "g");
    row = ask_row(admin, WIRE_LIST_CLIENTS).client;
    assert_int_equal(row.tasks, 0);
    assert_int_equal(row.credit_tasks, client->credit_tasks);
    assert_int_equal(row.state, 0);
    for (uint64_t id = 0; id < client->credit_tasks && id < 8; id++) {
        submit(client, (uint32_t)(id % 2), id);
        world_flush(world);
    }
    row = ask_row(admin, WIRE_LIST_CLIENTS).client;
    assert_int_equal(row.tasks, 8);
    assert_int_equal(row.queued, 8);
    assert_int_equal(row.bytes, 8 * sizeof(uint64_t));
    assert_int_equal(row.credit_tasks, 0);
    assert_int_equal(row.state, WIRE_STATE_STARVED);
}

static void a_functions_row_has_its_queue(void **state) {
    struct world *world = *state;
    struct wire_define tagged = define_of(0, "f");
    struct peer *admin, *one, *two, *worker;
    struct wire_function_row row;

    world_begin(world);
    admin = admin_join(world);
    one = client_join(world);
    two = client_join(world);
    tagged.tags[0] = (struct wire_text){"gpu", 3};
    tagged.tag_count = 1;
    define(one, &tagged);
    define(two, &tagged);
    submit_many(one, 0, 100, 4);
    world_flush(world);
    world_pass(world, 2 * WORLD_S);
    submit_many(two, 0, 200, 4);
    world_flush(world);
    world_pass(world, WORLD_S);
    row = ask_row(admin, WIRE_LIST_FUNCTIONS).function;
    assert_name(row.function, "f");
    assert_int_equal(row.tags.count, 1);
    assert_name(row.tags.names[0], "gpu");
    assert_int_equal(row.queued, 8);
    assert_int_equal(row.leased, 0);
    assert_int_equal(row.workers, 0);
    assert_in_range(row.oldest_ms, 2990, 3010);
    assert_true(row.session.high == one->session.high && row.session.low == one->session.low);
    assert_int_equal(row.id, 100);
    assert_int_equal(row.submitted, 8);
    assert_true(row.submit_rate > 0);
    worker = worker_join(world, 5, "f", "gpu");
    row = ask_row(admin, WIRE_LIST_FUNCTIONS).function;
    assert_int_equal(row.leased, 5);
    assert_int_equal(row.queued, 3);
    assert_int_equal(row.workers, 1);
    assert_int_equal(row.slots, 5);
    give_result(worker, take(worker, WIRE_RUN)->values[0], WIRE_KIND_ERROR, 1000);
    assert_int_equal(finish_all(worker, 1000), 4);
    row = ask_row(admin, WIRE_LIST_FUNCTIONS).function;
    assert_int_equal(row.failed, 1);
    assert_int_equal(row.finished, 4);
    assert_int_equal(row.leased, 0);
    cancel(two, row.id);
    world_flush(world);
    assert_int_equal(finish_all(worker, 1000) + waiting(worker, WIRE_RECALL), 3);
    peer_post(one, wire_plain_encode(WIRE_BYE));
    peer_post(two, wire_plain_encode(WIRE_BYE));
    assert_int_equal(ask_page(admin, WIRE_LIST_FUNCTIONS, 0).count, 0);
}

/* Reads a whole list; each row's pid counts once in seen. */
static uint32_t read_all(struct peer *admin, enum wire_list list, uint8_t *seen, uint32_t *pages) {
    uint32_t count = 0;
    bool more = true;

    for (*pages = 0; more; ++*pages) {
        struct wire_rows rows = ask_page(admin, list, *pages);
        union wire_row row;

        assert_in_range(wire_message_bytes(admin->answer), 1, WIRE_ROWS_BYTES_MAX + 8192);
        more = rows.more;
        while (wire_rows_next(&rows, &row)) {
            if (seen != NULL) {
                seen[row.worker.pid - 1000]++;
            }
            count++;
        }
    }
    return count;
}

static void a_thousand_workers_are_told_page_by_page(void **state) {
    static uint8_t seen[WORLD_PEERS + 200];
    struct world *world = *state;
    struct peer *admin, *workers[1000];
    uint32_t pages;

    world_begin(world);
    admin = admin_join(world);
    for (int i = 0; i < 1000; i++) {
        workers[i] = worker_join(world, 1, "f", "");
    }
    memset(seen, 0, sizeof seen);
    assert_int_equal(read_all(admin, WIRE_LIST_WORKERS, seen, &pages), 1000);
    assert_in_range(pages, 4, 6);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(seen[workers[i]->address], 1);
    }
}

static void those_who_stay_are_told_once_whoever_comes_and_goes_meanwhile(void **state) {
    static uint8_t seen[WORLD_PEERS + 200];
    struct world *world = *state;
    struct peer *admin, *workers[600];
    struct wire_rows rows;
    union wire_row row;

    world_begin(world);
    admin = admin_join(world);
    for (int i = 0; i < 600; i++) {
        workers[i] = worker_join(world, 1, "f", "");
    }
    memset(seen, 0, sizeof seen);
    for (uint64_t page = 0;; page++) {
        rows = ask_page(admin, WIRE_LIST_WORKERS, page);
        while (wire_rows_next(&rows, &row)) {
            seen[row.worker.pid - 1000]++;
        }
        if (!rows.more) {
            break;
        }
        for (int i = 0; i < 600; i += 3) { /* whoever stands at the cursor goes too */
            if (i % 7 == (int)page) {
                peer_post(workers[i], wire_plain_encode(WIRE_BYE));
            }
        }
        worker_join(world, 1, "g", "");
    }
    for (int i = 0; i < 600; i++) {
        assert_in_range(seen[workers[i]->address], i % 3 == 0 ? 0 : 1, 1);
    }
}

static void ten_thousand_functions_are_told_page_by_page(void **state) {
    struct world *world = *state;
    struct peer *admin, *client;
    uint32_t pages;

    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    for (uint32_t i = 0; i < 10000; i++) {
        char name[32];

        snprintf(name, sizeof name, "function_%u", i);
        define_plain(client, i, name);
    }
    assert_int_equal(read_all(admin, WIRE_LIST_FUNCTIONS, NULL, &pages), 10000);
    assert_in_range(pages, 40, 45);
}

static void a_page_out_of_order_is_refused(void **state) {
    const struct wire_list_request second = {1, WIRE_LIST_WORKERS, 1};
    struct world *world = *state;
    struct peer *admin, *other;

    world_begin(world);
    admin = admin_join(world);
    other = admin_join(world);
    for (int i = 0; i < 300; i++) {
        worker_join(world, 1, "f", "");
    }
    ask(admin, wire_list_encode(&second));
    assert_null(admin->answer);
    assert_string_equal(admin->reject_text, "LIST: page: 1 is not the next one");
    (void)ask_page(admin, WIRE_LIST_WORKERS, 0);
    (void)ask_page(other, WIRE_LIST_WORKERS, 0); /* each reads by itself */
    (void)ask_page(admin, WIRE_LIST_WORKERS, 1);
    ask(admin, wire_list_encode(&second));
    assert_int_equal(admin->rejects, 2);
    peer_post(other, wire_plain_encode(WIRE_BYE)); /* with a list half read */
    assert_int_equal(ask_page(admin, WIRE_LIST_WORKERS, 0).count, 256);
}

/* ------------------------------------------------------------------- reasons */

static void what_nobody_knows_is_not_here(void **state) {
    struct world *world = *state;
    const struct wire_explain about_client = {.number = 5};
    struct wire_explain question = about_client;
    struct peer *admin, *client, stranger = {.session = {1, 2}};
    struct wire_reason reason;
    struct wire_fault fault;

    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    assert_int_equal(ask_why(admin, &stranger, 5).reason, WIRE_REASON_NO_CLIENT);
    assert_int_equal(ask_why(admin, admin, 5).reason, WIRE_REASON_NO_CLIENT);
    reason = ask_why(admin, client, 5);
    assert_int_equal(reason.reason, WIRE_REASON_NOT_HERE);
    assert_name(reason.client, "peer");
    assert_int_equal(reason.credit_tasks, client->credit_tasks);
    question.session = client->session;
    ask(admin, wire_explain_encode(&question));
    assert_true(wire_reason_decode(admin->answer, &reason, &fault));
    assert_int_equal(reason.reason, WIRE_REASON_CLIENT);
}

static void a_client_without_credit_is_told_as_the_reason(void **state) {
    struct world *world = *state;
    struct peer *admin, *client;
    struct wire_reason reason;

    world->config.tasks_max = world->config.client_tasks_max = 4;
    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    for (uint64_t id = 0; id < 4; id++) {
        submit(client, 0, id);
        world_flush(world);
    }
    reason = ask_why(admin, client, 4);
    assert_int_equal(reason.reason, WIRE_REASON_NOT_HERE);
    assert_int_equal(reason.credit_tasks, 0);
    assert_int_equal(reason.client_tasks, 4);
    assert_int_equal(reason.client_state, WIRE_STATE_STARVED);
}

static void no_worker_no_function_and_no_tags_are_told_apart(void **state) {
    struct world *world = *state;
    struct wire_define gpu = define_of(1, "f");
    struct peer *admin, *client;
    struct wire_reason reason;

    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    gpu.tags[0] = (struct wire_text){"gpu", 3};
    gpu.tag_count = 1;
    define_plain(client, 0, "h");
    define(client, &gpu);
    submit(client, 0, 10);
    submit(client, 1, 11);
    world_flush(world);
    reason = ask_why(admin, client, 10);
    assert_int_equal(reason.reason, WIRE_REASON_NO_WORKER);
    assert_name(reason.function, "h");
    assert_int_equal(reason.attempt, 1);
    assert_int_equal(reason.max_attempts, 3);
    worker_join(world, 1, "f", "");
    reason = ask_why(admin, client, 10);
    assert_int_equal(reason.reason, WIRE_REASON_NO_FUNCTION);
    assert_in_range(reason.left_ms, 2000, 3000);
    assert_int_equal(reason.workers, 1);
    reason = ask_why(admin, client, 11);
    assert_int_equal(reason.reason, WIRE_REASON_NO_TAGS);
    assert_in_range(reason.left_ms, 2000, 3000);
    assert_name(reason.tags.names[0], "gpu");
}

static void workers_that_have_all_they_may_are_busy(void **state) {
    struct world *world = *state;
    struct peer *admin, *client, *busy, *draining;
    struct wire_reason reason;

    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    busy = worker_join(world, 2, "f", "");
    draining = worker_join(world, 2, "f", "");
    peer_post(draining, wire_plain_encode(WIRE_DRAIN));
    submit_many(client, 0, 0, 6);
    world_flush(world);
    reason = ask_why(admin, client, 5);
    assert_int_equal(reason.reason, WIRE_REASON_BUSY);
    assert_int_equal(reason.offering, 2);
    assert_int_equal(reason.busy, 1);
    assert_int_equal(reason.draining, 1);
    assert_int_equal(reason.ahead, 3);
    assert_int_equal(reason.queued, 4);
    assert_int_equal(ask_why(admin, client, 2).ahead, 0);
    reason = ask_why(admin, client, 0);
    assert_int_equal(reason.reason, WIRE_REASON_RUNS);
    assert_name(reason.worker, "peer");
    assert_int_equal(reason.worker_pid, 1000 + busy->address);
    assert_true(reason.worker_session.low == busy->session.low);
}

static void before_the_next_flush_it_is_another_ones_turn(void **state) {
    struct world *world = *state;
    struct peer *admin, *client;

    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    worker_join(world, 2, "f", "");
    submit(client, 0, 1);
    assert_int_equal(ask_why(admin, client, 1).reason, WIRE_REASON_TURN);
    world_flush(world);
    assert_int_equal(ask_why(admin, client, 1).reason, WIRE_REASON_RUNS);
}

static void what_waits_at_a_worker_is_told_from_what_runs_there(void **state) {
    struct world *world = *state;
    struct peer *admin, *client, *worker;
    struct wire_reason reason;

    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    worker = worker_join(world, 1, "f", "");
    for (uint64_t id = 0; id < 8; id++) { /* short ones: it gets more than it has threads */
        submit(client, 0, id);
        world_flush(world);
        world->now_ns += 1000;
        assert_int_equal(finish_all(worker, 1000), 1);
        world_flush(world);
    }
    submit_many(client, 0, 100, 20);
    world_flush(world);
    assert_int_equal(ask_why(admin, client, 100).reason, WIRE_REASON_RUNS);
    reason = ask_why(admin, client, 107);
    assert_int_equal(reason.reason, WIRE_REASON_WAITS_THERE);
    assert_int_equal(reason.ahead, 7);
    assert_int_equal(reason.worker_pid, 1000 + worker->address);
}

static void one_that_failed_is_delayed(void **state) {
    struct world *world = *state;
    struct wire_define again = define_of(0, "f");
    struct peer *admin, *client, *worker;
    struct wire_reason reason;

    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    again.retries = 2;
    again.retry_ms = 5000;
    define(client, &again);
    submit(client, 0, 1);
    world_flush(world);
    give_result(worker, expect_run(worker, 1), WIRE_KIND_ERROR, 1000);
    reason = ask_why(admin, client, 1);
    assert_int_equal(reason.reason, WIRE_REASON_DELAYED);
    assert_int_equal(reason.left_ms, 5000);
    assert_int_equal(reason.flags, WIRE_REASON_BEGUN);
}

static void suspects_wait_to_run_alone(void **state) {
    struct world *world = *state;
    struct peer *admin, *client, *dead, *busy, *supervisor;
    struct wire_reason reason;
    uint64_t running[2];

    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    supervisor = supervisor_join(world);
    define_plain(client, 0, "f");
    dead = worker_join(world, 2, "f", "");
    submit(client, 0, 1);
    submit(client, 0, 2);
    world_flush(world);
    running[0] = expect_run(dead, 1);
    running[1] = expect_run(dead, 2);
    busy = worker_join(world, 1, "f", "");
    submit(client, 0, 3);
    world_flush(world);
    expect_run(busy, 3);
    child_died(supervisor, dead, 11, false, running, 2);
    world_flush(world);
    reason = ask_why(admin, client, 1);
    assert_int_equal(reason.reason, WIRE_REASON_ALONE);
    assert_int_equal(reason.flags & WIRE_REASON_APART, WIRE_REASON_APART);
    assert_int_equal(reason.emptied, 1);
    world_pass(world, WORLD_S);
    assert_int_equal(ask_row(admin, WIRE_LIST_WORKERS).worker.state, WIRE_STATE_ALONE);
    assert_int_equal(ask_row(admin, WIRE_LIST_FUNCTIONS).function.alone, 2);
}

static void what_is_held_back_after_a_restart_says_for_how_long(void **state) {
    struct world *world = *state;
    struct peer *admin, *client;
    struct wire_reason reason;

    world_begin(world);
    client = client_join(world);
    world_restart(world);
    admin = admin_join(world);
    peer_hello(client);
    assert_true(client->welcomed);
    world_flush(world);
    define_plain(client, 0, "f");
    submit_as(client, 0, 9, 1, true, NULL, 0);
    reason = ask_why(admin, client, 9);
    assert_int_equal(reason.reason, WIRE_REASON_HELD);
    assert_in_range(reason.left_ms, 1, 500);
    world_pass(world, WORLD_S);
    assert_int_equal(ask_why(admin, client, 9).reason, WIRE_REASON_NO_WORKER);
}

static void who_does_not_read_outcomes_is_clogged(void **state) {
    static uint8_t bytes[60000];
    struct world *world = *state;
    struct peer *admin, *client, *worker;

    world->config.memory_bytes = 4 << 20;
    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    worker = worker_join(world, 1, "f", "");
    define_plain(client, 0, "f");
    client->deaf = true; /* nothing is acknowledged */
    for (uint64_t id = 0; id < 40 && world_stats(world).tasks_queued == 0; id++) {
        submit(client, 0, id);
        world_flush(world);
        if (waiting(worker, WIRE_RUN) > 0) {
            give_value(worker, take(worker, WIRE_RUN)->values[0], bytes, sizeof bytes);
            world_flush(world);
        } else {
            assert_int_equal(ask_why(admin, client, id).reason, WIRE_REASON_CLOGGED);
            assert_int_equal(ask_row(admin, WIRE_LIST_CLIENTS).client.state & WIRE_STATE_CLOGGED,
                             WIRE_STATE_CLOGGED);
            return;
        }
    }
    fail_msg("it never clogged");
}

/* ------------------------------------------------------------------ retiring */

static void a_retired_worker_gets_no_more_and_finishes_what_it_has(void **state) {
    struct world *world = *state;
    struct peer *admin, *client, *worker, *other;

    world_begin(world);
    admin = admin_join(world);
    client = client_join(world);
    define_plain(client, 0, "f");
    worker = worker_join(world, 1, "f", "");
    submit(client, 0, 1);
    world_flush(world);
    assert_int_equal(retire(admin, worker->session), WIRE_WORKER);
    assert_int_equal(worker->stops, 1);
    assert_int_equal(retire(admin, worker->session), WIRE_WORKER); /* again: no matter */
    assert_int_equal(worker->stops, 1);
    submit(client, 0, 2);
    world_flush(world);
    assert_int_equal(waiting(worker, WIRE_RUN), 1);
    assert_int_equal(ask_row(admin, WIRE_LIST_WORKERS).worker.state,
                     WIRE_STATE_DRAINING | WIRE_STATE_RETIRED);
    give_result(worker, expect_run(worker, 1), WIRE_KIND_VALUE, 1000);
    world_flush(world);
    expect_outcome(client, 1, WIRE_KIND_VALUE);
    assert_int_equal(waiting(worker, WIRE_RUN), 0);
    peer_post(worker, wire_plain_encode(WIRE_BYE));
    other = worker_join(world, 1, "f", "");
    give_result(other, expect_run(other, 2), WIRE_KIND_VALUE, 1000);
    world_flush(world);
    expect_outcome(client, 2, WIRE_KIND_VALUE);
    assert_int_equal(retire(admin, worker->session), 0);
}

static void a_retired_supervisor_is_told_to_leave(void **state) {
    struct world *world = *state;
    struct peer *admin, *supervisor, *client;

    world_begin(world);
    admin = admin_join(world);
    supervisor = supervisor_join(world);
    client = client_join(world);
    assert_int_equal(retire(admin, supervisor->session), WIRE_SUPERVISOR);
    assert_int_equal(supervisor->stops, 1);
    assert_int_equal(ask_row(admin, WIRE_LIST_SUPERVISORS).supervisor.state, WIRE_STATE_RETIRED);
    assert_int_equal(retire(admin, client->session), 0);
    assert_int_equal(retire(admin, admin->session), 0);
}

static void a_retired_peer_whose_stream_begins_anew_is_told_again(void **state) {
    struct world *world = *state;
    struct peer *admin, *worker, *supervisor;

    world_begin(world);
    admin = admin_join(world);
    worker = worker_join(world, 1, "f", "");
    supervisor = supervisor_join(world);
    worker->deaf = supervisor->deaf = true; /* so the word is lost */
    retire(admin, worker->session);
    retire(admin, supervisor->session);
    worker->deaf = supervisor->deaf = false;
    worker->epoch = supervisor->epoch = 0; /* they know of no stream any more */
    peer_hello(worker);
    peer_hello(supervisor);
    world_flush(world);
    assert_int_equal(worker->stops, 1);
    assert_int_equal(supervisor->stops, 1);
    assert_int_equal(ask_row(admin, WIRE_LIST_WORKERS).worker.state &
                         (WIRE_STATE_DRAINING | WIRE_STATE_RETIRED),
                     WIRE_STATE_DRAINING | WIRE_STATE_RETIRED);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_free)
    const struct CMUnitTest tests[] = {
        TEST(ping_is_answered_with_what_the_broker_is),
        TEST(only_admins_may_ask),
        TEST(an_admin_may_do_nothing_else),
        TEST(an_admin_gets_in_where_others_find_no_room),
        TEST(the_brokers_row_counts_what_there_is),
        TEST(a_workers_row_says_what_it_holds_and_how_it_stands),
        TEST(a_clients_row_says_what_it_waits_for),
        TEST(a_functions_row_has_its_queue),
        TEST(a_thousand_workers_are_told_page_by_page),
        TEST(those_who_stay_are_told_once_whoever_comes_and_goes_meanwhile),
        TEST(ten_thousand_functions_are_told_page_by_page),
        TEST(a_page_out_of_order_is_refused),
        TEST(what_nobody_knows_is_not_here),
        TEST(a_client_without_credit_is_told_as_the_reason),
        TEST(no_worker_no_function_and_no_tags_are_told_apart),
        TEST(workers_that_have_all_they_may_are_busy),
        TEST(before_the_next_flush_it_is_another_ones_turn),
        TEST(what_waits_at_a_worker_is_told_from_what_runs_there),
        TEST(one_that_failed_is_delayed),
        TEST(suspects_wait_to_run_alone),
        TEST(what_is_held_back_after_a_restart_says_for_how_long),
        TEST(who_does_not_read_outcomes_is_clogged),
        TEST(a_retired_worker_gets_no_more_and_finishes_what_it_has),
        TEST(a_retired_supervisor_is_told_to_leave),
        TEST(a_retired_peer_whose_stream_begins_anew_is_told_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
