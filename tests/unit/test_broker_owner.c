/* Keys: who may do what, whose a session is, quotas, revoking: docs/protocol.md section 10. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include "tests/unit/broker_world.h"

#include <cmocka.h>

enum { ALICE, BOB, WORKER, OTHER_WORKER, NOBODY, SMALL, KEYS };

static struct broker_identity keys[KEYS];

static int make(void **state) {
    static const unsigned rights[KEYS] = {
        [ALICE] = BROKER_MAY_SUBMIT,
        [BOB] = BROKER_MAY_SUBMIT,
        [WORKER] = BROKER_MAY_WORK,
        [OTHER_WORKER] = BROKER_MAY_WORK,
        [NOBODY] = 0,
        [SMALL] = BROKER_MAY_SUBMIT,
    };
    struct world *world;

    for (int i = 0; i < KEYS; i++) {
        keys[i] = (struct broker_identity){
            .rights = rights[i], .tasks_max = BROKER_NO_QUOTA, .bytes_max = BROKER_NO_QUOTA};
        memset(keys[i].key, i + 1, sizeof keys[i].key);
    }
    world_make(state);
    world = *state;
    world->config.authenticate = true;
    return 0;
}

static struct peer *peer_of(struct world *world, enum wire_role role, int key) {
    struct peer *peer = peer_new(world, role);

    peer->identity = key < 0 ? NULL : &keys[key];
    return peer;
}

static struct peer *join_as(struct world *world, enum wire_role role, int key) {
    return peer_join(peer_of(world, role, key));
}

static void authorize(struct world *world, int key) {
    world_authorize(world, &keys[key]);
}

static void expect_refused(struct peer *peer, enum wire_reject_code code) {
    peer_hello(peer);
    assert_false(peer->welcomed);
    assert_int_equal(peer->rejects, 1);
    assert_int_equal(peer->reject_code, code);
}

/* --------------------------------------------------------------------- rights */

static void a_role_needs_its_right(void **state) {
    static const struct {
        unsigned rights;
        bool client, worker, supervisor, admin;
    } table[] = {
        {0, false, false, false, false},
        {BROKER_MAY_SUBMIT, true, false, false, false},
        {BROKER_MAY_WORK, false, true, true, false},
        {BROKER_MAY_ADMIN, false, false, false, true},
        {BROKER_MAY_SUBMIT | BROKER_MAY_WORK | BROKER_MAY_ADMIN, true, true, true, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct broker_identity identity = {.rights = table[i].rights};

        assert_int_equal(broker_may(&identity, WIRE_CLIENT), table[i].client);
        assert_int_equal(broker_may(&identity, WIRE_WORKER), table[i].worker);
        assert_int_equal(broker_may(&identity, WIRE_SUPERVISOR), table[i].supervisor);
        assert_int_equal(broker_may(&identity, WIRE_ADMIN), table[i].admin);
        for (unsigned role = 5; role < 40; role++) {
            assert_false(broker_may(&identity, role));
        }
        assert_false(broker_may(&identity, 0));
    }
}

static void a_hello_in_a_role_that_the_key_has_not_is_refused(void **state) {
    struct world *world = *state;

    world_begin(world);
    expect_refused(peer_of(world, WIRE_WORKER, ALICE), WIRE_REJECT_AUTH);
    expect_refused(peer_of(world, WIRE_SUPERVISOR, ALICE), WIRE_REJECT_AUTH);
    expect_refused(peer_of(world, WIRE_CLIENT, WORKER), WIRE_REJECT_AUTH);
    expect_refused(peer_of(world, WIRE_CLIENT, NOBODY), WIRE_REJECT_AUTH);
    assert_int_equal(world_stats(world).clients + world_stats(world).workers, 0);
}

static void without_a_key_nobody_is_let_in_where_keys_are_asked_for(void **state) {
    struct world *world = *state;

    world_begin(world);
    expect_refused(peer_of(world, WIRE_CLIENT, -1), WIRE_REJECT_AUTH);
    expect_refused(peer_of(world, WIRE_WORKER, -1), WIRE_REJECT_AUTH);
    expect_refused(peer_of(world, WIRE_SUPERVISOR, -1), WIRE_REJECT_AUTH);
}

static void where_no_keys_are_asked_for_everybody_is_let_in(void **state) {
    struct world *world = *state;

    world->config.authenticate = false;
    world_begin(world);
    join_as(world, WIRE_CLIENT, -1);
    join_as(world, WIRE_WORKER, -1);
    join_as(world, WIRE_SUPERVISOR, -1);
}

/* ------------------------------------------------------------------- sessions */

static void a_session_of_another_key_is_refused_and_goes_on_undisturbed(void **state) {
    struct world *world = *state;
    struct peer *alice, *bob, *worker;
    uint64_t lease;

    world_begin(world);
    alice = join_as(world, WIRE_CLIENT, ALICE);
    worker = join_as(world, WIRE_WORKER, WORKER);
    define_plain(alice, 0, "f");
    submit(alice, 0, 1);
    world_flush(world);
    lease = expect_run(worker, 1);
    bob = peer_of(world, WIRE_CLIENT, BOB);
    bob->session = alice->session;
    bob->epoch = alice->epoch;
    expect_refused(bob, WIRE_REJECT_AUTH);
    give_value(worker, lease, "v", 1);
    world_flush(world);
    expect_outcome(alice, 1, WIRE_KIND_VALUE);
    assert_null(look(bob, WIRE_OUTCOMES));
    assert_int_equal(world_stats(world).clients, 1);
}

/* What is said of a session that is somebody else's is what is said of anything that isn't allowed. */
static void the_refusal_does_not_tell_whether_there_is_such_a_session(void **state) {
    struct world *world = *state;
    struct peer *alice, *there, *not_there;

    world_begin(world);
    alice = join_as(world, WIRE_CLIENT, ALICE);
    there = peer_of(world, WIRE_WORKER, BOB);
    there->session = alice->session;
    not_there = peer_of(world, WIRE_WORKER, BOB);
    expect_refused(there, WIRE_REJECT_AUTH);
    expect_refused(not_there, WIRE_REJECT_AUTH);
    assert_string_equal(there->reject_text, not_there->reject_text);
}

static void a_session_is_taken_up_again_by_its_own_key_only(void **state) {
    struct world *world = *state;
    struct peer *alice;

    world_begin(world);
    alice = join_as(world, WIRE_CLIENT, ALICE);
    alice->address += 1000; /* another connection */
    peer_hello(alice);
    assert_true(alice->welcomed);
    assert_true(alice->resumed);
    alice->address += 1000;
    alice->identity = &keys[BOB];
    expect_refused(alice, WIRE_REJECT_AUTH);
    alice->identity = NULL;
    peer_hello(alice);
    assert_false(alice->welcomed);
}

static void one_client_can_not_cancel_the_tasks_of_another(void **state) {
    struct world *world = *state;
    struct peer *alice, *bob, *worker;

    world_begin(world);
    alice = join_as(world, WIRE_CLIENT, ALICE);
    bob = join_as(world, WIRE_CLIENT, BOB);
    define_plain(alice, 0, "f");
    submit(alice, 0, 7);
    world_flush(world);
    cancel(bob, 7);
    world_flush(world);
    expect_verdict(bob, 7, false);
    worker = join_as(world, WIRE_WORKER, WORKER);
    give_value(worker, expect_run(worker, 7), "v", 1);
    world_flush(world);
    expect_outcome(alice, 7, WIRE_KIND_VALUE);
    assert_null(look(bob, WIRE_OUTCOMES));
}

static void a_worker_can_not_answer_for_another(void **state) {
    struct world *world = *state;
    struct peer *alice, *worker, *other;
    uint64_t lease;

    world_begin(world);
    alice = join_as(world, WIRE_CLIENT, ALICE);
    worker = join_as(world, WIRE_WORKER, WORKER);
    other = join_as(world, WIRE_WORKER, OTHER_WORKER);
    define_plain(alice, 0, "f");
    submit(alice, 0, 1);
    world_flush(world);
    if (look(worker, WIRE_RUN) == NULL) { /* the broker chooses */
        struct peer *swap = worker;

        worker = other;
        other = swap;
    }
    lease = expect_run(worker, 1);
    give_value(other, lease, "lie", 3);
    world_flush(world);
    assert_null(look(alice, WIRE_OUTCOMES));
    give_value(worker, lease, "v", 1);
    world_flush(world);
    assert_memory_equal(expect_outcome(alice, 1, WIRE_KIND_VALUE)->data, "v", 1);
}

static void a_supervisor_speaks_of_workers_of_its_own_key_only(void **state) {
    struct world *world = *state;
    struct peer *alice, *worker, *stranger, *supervisor;
    uint64_t lease;

    world_begin(world);
    alice = join_as(world, WIRE_CLIENT, ALICE);
    worker = join_as(world, WIRE_WORKER, WORKER);
    stranger = join_as(world, WIRE_SUPERVISOR, OTHER_WORKER);
    supervisor = join_as(world, WIRE_SUPERVISOR, WORKER);
    define_plain(alice, 0, "f");
    submit(alice, 0, 1);
    world_flush(world);
    lease = expect_run(worker, 1);
    child_died(stranger, worker, 9, false, &lease, 1);
    world_pass(world, WORLD_S);
    assert_int_equal(world_stats(world).workers, 1);
    assert_int_equal(world_stats(world).reruns, 0);
    assert_int_equal(stranger->rejects, 0);
    child_died(supervisor, worker, 9, false, &lease, 1);
    world_pass(world, WORLD_S);
    assert_int_equal(world_stats(world).workers, 0);
    assert_int_equal(world_stats(world).reruns, 1);
}

static void no_role_may_send_what_is_another_roles(void **state) {
    struct world *world = *state;
    struct peer *alice, *worker;

    world_begin(world);
    alice = join_as(world, WIRE_CLIENT, ALICE);
    worker = join_as(world, WIRE_WORKER, WORKER);
    child_died(alice, worker, 9, false, NULL, 0);
    assert_int_equal(alice->reject_code, WIRE_REJECT_ROLE);
    cancel(worker, 1);
    assert_int_equal(worker->reject_code, WIRE_REJECT_ROLE);
    assert_int_equal(world_stats(world).workers, 1);
}

/* ------------------------------------------------------------------- revoking */

static void a_revoked_clients_session_ends_and_its_next_hello_is_refused(void **state) {
    struct world *world = *state;
    struct peer *alice, *bob, *worker;

    world_begin(world);
    alice = join_as(world, WIRE_CLIENT, ALICE);
    bob = join_as(world, WIRE_CLIENT, BOB);
    define_plain(alice, 0, "f");
    submit(alice, 0, 1);
    world_flush(world);
    keys[ALICE].rights = 0;
    authorize(world, ALICE);
    assert_int_equal(alice->unknowns, 1);
    assert_int_equal(alice->forgotten, 1);
    assert_int_equal(world_stats(world).clients, 1);
    assert_int_equal(world_stats(world).tasks_queued, 0);
    expect_refused(alice, WIRE_REJECT_AUTH);
    worker = join_as(world, WIRE_WORKER, WORKER);
    assert_null(look(worker, WIRE_RUN));
    assert_int_equal(bob->unknowns, 0);
}

static void a_revoked_workers_leases_are_given_to_others_uncharged(void **state) {
    struct world *world = *state;
    struct peer *alice, *worker, *other;
    uint64_t lease;

    world_begin(world);
    alice = join_as(world, WIRE_CLIENT, ALICE);
    worker = join_as(world, WIRE_WORKER, WORKER);
    define_plain(alice, 0, "f");
    submit(alice, 0, 1);
    world_flush(world);
    lease = expect_run(worker, 1);
    other = join_as(world, WIRE_WORKER, OTHER_WORKER);
    keys[WORKER].rights = BROKER_MAY_SUBMIT;
    authorize(world, WORKER);
    assert_int_equal(worker->unknowns, 1);
    give_value(worker, lease, "late", 4);
    world_flush(world);
    assert_null(look(alice, WIRE_OUTCOMES));
    assert_int_equal(look(other, WIRE_RUN)->values[2], 1); /* the attempt */
    give_value(other, expect_run(other, 1), "v", 1);
    world_flush(world);
    assert_memory_equal(expect_outcome(alice, 1, WIRE_KIND_VALUE)->data, "v", 1);
}

static void what_may_run_once_only_fails_when_its_worker_is_revoked(void **state) {
    struct world *world = *state;
    struct wire_define once = define_of(0, "f");
    struct peer *alice, *worker;

    world_begin(world);
    alice = join_as(world, WIRE_CLIENT, ALICE);
    worker = join_as(world, WIRE_WORKER, WORKER);
    once.flags = ONCE;
    define(alice, &once);
    submit(alice, 0, 1);
    world_flush(world);
    expect_run(worker, 1);
    keys[WORKER].rights = 0;
    authorize(world, WORKER);
    expect_error(alice, 1, WIRE_KIND_LOST, "no longer allowed");
}

static void all_sessions_of_a_revoked_key_end(void **state) {
    struct world *world = *state;

    world_begin(world);
    for (int i = 0; i < 5; i++) {
        join_as(world, WIRE_WORKER, WORKER);
        join_as(world, WIRE_SUPERVISOR, WORKER);
    }
    join_as(world, WIRE_WORKER, OTHER_WORKER);
    keys[WORKER].rights = 0;
    authorize(world, WORKER);
    assert_int_equal(world_stats(world).workers, 1);
    assert_int_equal(world_stats(world).supervisors, 0);
}

static void a_key_that_loses_one_right_keeps_the_sessions_of_the_other(void **state) {
    struct world *world = *state;

    world_begin(world);
    keys[ALICE].rights = BROKER_MAY_SUBMIT | BROKER_MAY_WORK;
    join_as(world, WIRE_WORKER, ALICE);
    join_as(world, WIRE_CLIENT, ALICE);
    keys[ALICE].rights = BROKER_MAY_WORK;
    authorize(world, ALICE);
    assert_int_equal(world_stats(world).clients, 0);
    assert_int_equal(world_stats(world).workers, 1);
}

static void revoking_a_key_without_sessions_does_nothing(void **state) {
    struct world *world = *state;

    world_begin(world);
    keys[BOB].rights = 0;
    authorize(world, BOB);
    join_as(world, WIRE_CLIENT, ALICE);
}

/* --------------------------------------------------------------------- quotas */

static uint64_t next_id;

/* Submits as many as the client has credit for; returns how many those were. */
static uint64_t submit_credit(struct peer *client, uint64_t *sent) {
    uint64_t count = 0;

    while (*sent < client->credit_tasks) {
        submit(client, 0, next_id++);
        ++*sent;
        count++;
    }
    world_flush(client->world);
    return count;
}

static uint64_t submit_all(struct peer *client, uint64_t *sent) {
    uint64_t count = 0, more;

    while ((more = submit_credit(client, sent)) > 0) {
        count += more;
    }
    return count;
}

static void a_key_never_has_more_tasks_here_than_its_quota(void **state) {
    struct world *world = *state;
    struct peer *one, *two, *worker;
    uint64_t sent_one = 0, sent_two = 0, first;

    next_id = 1;
    keys[SMALL].tasks_max = 100;
    world_begin(world);
    one = join_as(world, WIRE_CLIENT, SMALL);
    define_plain(one, 0, "f");
    first = submit_all(one, &sent_one);
    assert_int_equal(first, 100);
    two = join_as(world, WIRE_CLIENT, SMALL);
    define_plain(two, 0, "f");
    assert_int_equal(submit_all(two, &sent_two), 0);
    assert_int_equal(world_stats(world).tasks_queued, 100);
    /* As tasks end, both go on; never more than 100 are there. */
    worker = join_as(world, WIRE_WORKER, WORKER);
    for (int i = 0; i < 1000 && (sent_one < 300 || sent_two < 50); i++) {
        assert_int_equal(finish_all(worker, 1000) > 0, true);
        world_flush(world);
        submit_credit(two, &sent_two);
        submit_credit(one, &sent_one);
        assert_true(world_stats(world).tasks_queued + world_stats(world).tasks_leased <= 100);
    }
    assert_true(sent_one >= 300);
    assert_true(sent_two >= 50);
    assert_int_equal(one->rejects + two->rejects, 0);
}

static void a_key_never_has_more_bytes_here_than_its_quota_and_a_task_a_client(void **state) {
    static const uint8_t kilobyte[1024];
    struct world *world = *state;
    struct peer *client;
    uint64_t bytes = 0;

    keys[SMALL].bytes_max = 64 * 1024;
    world_begin(world);
    client = join_as(world, WIRE_CLIENT, SMALL);
    define_plain(client, 0, "f");
    for (uint64_t id = 1; bytes + sizeof kilobyte <= client->credit_bytes; id++) {
        submit_as(client, 0, id, 1, false, kilobyte, sizeof kilobyte);
        bytes += sizeof kilobyte;
        world_flush(world);
    }
    assert_true(bytes > 0);
    assert_true(bytes <= 64 * 1024);
    assert_int_equal(client->rejects, 0);
}

static void what_is_over_the_quota_all_by_itself_fails(void **state) {
    static const uint8_t large[5000];
    struct world *world = *state;
    struct peer *client;

    keys[SMALL].bytes_max = 4096;
    world_begin(world);
    client = join_as(world, WIRE_CLIENT, SMALL);
    define_plain(client, 0, "f");
    submit_as(client, 0, 1, 1, false, large, sizeof large);
    world_flush(world);
    expect_error(client, 1, WIRE_KIND_REJECTED, "quota");
    submit_as(client, 0, 2, 1, false, large, 8);
    world_flush(world);
    assert_int_equal(world_stats(world).tasks_queued, 1);
}

/* What idle clients were granted is not taken from those that have something to do. */
static void idle_clients_of_a_key_starve_none_of_the_others(void **state) {
    struct world *world = *state;
    uint64_t sent = 0;
    struct peer *busy, *worker;

    next_id = 1;
    keys[SMALL].tasks_max = 8;
    world_begin(world);
    for (int i = 0; i < 3; i++) {
        join_as(world, WIRE_CLIENT, SMALL);
    }
    busy = join_as(world, WIRE_CLIENT, SMALL);
    define_plain(busy, 0, "f");
    worker = join_as(world, WIRE_WORKER, WORKER);
    for (int i = 0; i < 100 && sent < 50; i++) {
        submit_credit(busy, &sent);
        finish_all(worker, 1000);
        world_flush(world);
    }
    assert_int_equal(sent, 50);
    expect_refused(peer_of(world, WIRE_CLIENT, SMALL), WIRE_REJECT_LIMIT);
}

static void one_keys_quota_is_nothing_to_another(void **state) {
    struct world *world = *state;
    struct peer *small, *alice;
    uint64_t sent_small = 0;

    next_id = 1;
    keys[SMALL].tasks_max = 10;
    world_begin(world);
    small = join_as(world, WIRE_CLIENT, SMALL);
    define_plain(small, 0, "f");
    assert_int_equal(submit_all(small, &sent_small), 10);
    alice = join_as(world, WIRE_CLIENT, ALICE);
    assert_true(alice->credit_tasks > 1000);
}

static void a_quota_that_is_raised_takes_effect_at_once(void **state) {
    struct world *world = *state;
    struct peer *client;
    uint64_t sent = 0;

    next_id = 1;
    keys[SMALL].tasks_max = 10;
    world_begin(world);
    client = join_as(world, WIRE_CLIENT, SMALL);
    define_plain(client, 0, "f");
    assert_int_equal(submit_all(client, &sent), 10);
    keys[SMALL].tasks_max = 30;
    authorize(world, SMALL);
    assert_int_equal(submit_all(client, &sent), 20);
    keys[SMALL].tasks_max = 5;
    authorize(world, SMALL);
    assert_int_equal(submit_all(client, &sent), 0);
    assert_int_equal(world_stats(world).clients, 1);
}

static void a_client_that_leaves_frees_its_keys_quota(void **state) {
    struct world *world = *state;
    struct peer *one, *two;
    uint64_t sent_one = 0, sent_two = 0;

    next_id = 1;
    keys[SMALL].tasks_max = 20;
    world_begin(world);
    one = join_as(world, WIRE_CLIENT, SMALL);
    two = join_as(world, WIRE_CLIENT, SMALL);
    define_plain(one, 0, "f");
    define_plain(two, 0, "f");
    submit_all(one, &sent_one);
    submit_all(two, &sent_two);
    assert_true(sent_one + sent_two <= 20);
    peer_post(one, wire_plain_encode(WIRE_BYE));
    world_flush(world);
    world_pass(world, WORLD_S);
    submit_all(two, &sent_two);
    assert_int_equal(sent_two, 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, world_free)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_role_needs_its_right),
        TEST(a_hello_in_a_role_that_the_key_has_not_is_refused),
        TEST(without_a_key_nobody_is_let_in_where_keys_are_asked_for),
        TEST(where_no_keys_are_asked_for_everybody_is_let_in),
        TEST(a_session_of_another_key_is_refused_and_goes_on_undisturbed),
        TEST(the_refusal_does_not_tell_whether_there_is_such_a_session),
        TEST(a_session_is_taken_up_again_by_its_own_key_only),
        TEST(one_client_can_not_cancel_the_tasks_of_another),
        TEST(a_worker_can_not_answer_for_another),
        TEST(a_supervisor_speaks_of_workers_of_its_own_key_only),
        TEST(no_role_may_send_what_is_another_roles),
        TEST(a_revoked_clients_session_ends_and_its_next_hello_is_refused),
        TEST(a_revoked_workers_leases_are_given_to_others_uncharged),
        TEST(what_may_run_once_only_fails_when_its_worker_is_revoked),
        TEST(all_sessions_of_a_revoked_key_end),
        TEST(a_key_that_loses_one_right_keeps_the_sessions_of_the_other),
        TEST(revoking_a_key_without_sessions_does_nothing),
        TEST(a_key_never_has_more_tasks_here_than_its_quota),
        TEST(a_key_never_has_more_bytes_here_than_its_quota_and_a_task_a_client),
        TEST(what_is_over_the_quota_all_by_itself_fails),
        TEST(idle_clients_of_a_key_starve_none_of_the_others),
        TEST(one_keys_quota_is_nothing_to_another),
        TEST(a_quota_that_is_raised_takes_effect_at_once),
        TEST(a_client_that_leaves_frees_its_keys_quota),
    };

    return cmocka_run_group_tests_name("broker_owner", tests, NULL, NULL);
}
