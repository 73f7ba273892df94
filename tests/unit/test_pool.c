#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "base/pool.h"
#include "fail_alloc.h"

/* Only the main thread may use cmocka's asserts: works note what they see, and tests look at it. */

#define MANY       20000
#define PATIENCE_S 20

enum kind { COUNT, NOTHING, BLOCK, TREE, REPEAT, JOIN, LOOK, DETACH };

struct item {
    struct base_work work;
    enum kind kind;
    int number;
    atomic_int ran;
    atomic_int abandoned;
};

static struct base_pool *pool;
static struct item items[MANY];
static int order[MANY]; /* numbers of the works in the order they ran, for pools of one thread */
static atomic_int order_count;
static atomic_int total;
static atomic_bool repeat;
static atomic_int started;
static atomic_int stopped;
static atomic_int running;
static atomic_int most_running;
static bool start_fails;
static bool announce_finish;
static sem_t entered;  /* a BLOCK work has begun */
static sem_t gate;     /* lets a BLOCK work go on */
static sem_t finished; /* posted after each COUNT, JOIN, LOOK and DETACH */
static sem_t gone;
static struct {
    int join_result;
    int index;
    int other_index;
    char name[16];
    sigset_t mask;
} seen;

static void wait_for(sem_t *sem) {
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    while (sem_timedwait(sem, &until) != 0) {
        assert_int_equal(errno, EINTR);
    }
}

static void look(unsigned thread_index) {
    seen.index = base_pool_thread_index(pool);
    seen.other_index = (int)thread_index;
    pthread_getname_np(pthread_self(), seen.name, sizeof seen.name);
    pthread_sigmask(SIG_SETMASK, NULL, &seen.mask);
}

static void run(void *owner, unsigned thread_index, struct base_work *work) {
    struct item *item = (struct item *)(void *)work;
    int now = atomic_fetch_add(&running, 1) + 1;
    int most = atomic_load(&most_running);
    enum kind kind = item->kind;

    (void)owner;
    while (now > most && !atomic_compare_exchange_weak(&most_running, &most, now)) {
    }
    switch (kind) {
    case COUNT:
        order[atomic_fetch_add(&order_count, 1) % MANY] = item->number;
        break;
    case NOTHING:
        break;
    case BLOCK:
        sem_post(&entered);
        while (sem_wait(&gate) != 0) {
        }
        break;
    case TREE: /* number: which node; its children are the works 2n + 1 and 2n + 2 */
        for (int child = 2 * item->number + 1; child <= 2 * item->number + 2; child++) {
            if (child < MANY) {
                (void)base_pool_submit(pool, &items[child].work);
            }
        }
        break;
    case REPEAT:
        if (atomic_load(&repeat)) {
            (void)base_pool_submit(pool, work);
        }
        break;
    case JOIN:
        seen.join_result = base_pool_join(pool, BASE_CLOCK_FOREVER);
        break;
    case LOOK:
        look(thread_index);
        break;
    case DETACH:
        while (sem_wait(&gate) != 0) {
        }
        base_pool_detach(pool);
        break;
    }
    atomic_fetch_sub(&running, 1);
    if (kind != REPEAT) {
        atomic_fetch_add(&item->ran, 1);
        atomic_fetch_add(&total, 1);
    }
    if (announce_finish && kind != DETACH) {
        base_pool_finishing(pool, thread_index);
    }
    if (kind == COUNT || kind == JOIN || kind == LOOK || kind == DETACH) {
        sem_post(&finished);
    }
}

static bool on_start(void *owner, unsigned thread_index) {
    (void)owner;
    (void)thread_index;
    atomic_fetch_add(&started, 1);
    return !start_fails;
}

/* Submits one more work the first time that a thread has nothing to do after the first. */
static void on_idle(void *owner, unsigned thread_index) {
    (void)owner;
    (void)thread_index;
    if (atomic_load(&total) == 1) {
        (void)base_pool_submit(pool, &items[1].work);
    }
}

static void on_stop(void *owner, unsigned thread_index) {
    (void)owner;
    (void)thread_index;
    atomic_fetch_add(&stopped, 1);
}

static void on_abandon(void *owner, struct base_work *work) {
    struct item *item = (struct item *)(void *)work;

    (void)owner;
    atomic_fetch_add(&item->abandoned, 1);
    atomic_fetch_add(&total, 1);
    sem_post(&finished);
}

static void on_gone(void *owner) {
    (void)owner;
    sem_post(&gone);
}

static int setup(void **state) {
    (void)state;
    pool = NULL;
    memset(items, 0, sizeof items);
    for (int i = 0; i < MANY; i++) {
        items[i].number = i;
    }
    atomic_store(&order_count, 0);
    atomic_store(&total, 0);
    atomic_store(&repeat, false);
    atomic_store(&started, 0);
    atomic_store(&stopped, 0);
    atomic_store(&running, 0);
    atomic_store(&most_running, 0);
    start_fails = false;
    announce_finish = false;
    memset(&seen, 0, sizeof seen);
    sem_init(&entered, 0, 0);
    sem_init(&gate, 0, 0);
    sem_init(&finished, 0, 0);
    sem_init(&gone, 0, 0);
    return 0;
}

static void open_pool(unsigned max_threads) {
    struct base_pool_options options = {
        .max_threads = max_threads, .name_prefix = "test", .run = run, .gone = on_gone};

    assert_int_equal(base_pool_new(&options, &pool), 0);
}

static void close_pool(void) {
    base_pool_stop(pool);
    assert_int_equal(base_pool_join(pool, base_clock_deadline(base_clock_ns(), PATIENCE_S)), 0);
    base_pool_free(pool);
}

static void submit(int number, enum kind kind) {
    items[number].kind = kind;
    assert_int_equal(base_pool_submit(pool, &items[number].work), 0);
}

/* Links items[from] to items[to - 1] and submits them at once. */
static int submit_batch(int from, int to) {
    for (int i = from; i + 1 < to; i++) {
        items[i].work.next = &items[i + 1].work;
    }
    return base_pool_submit_batch(pool, &items[from].work, &items[to - 1].work,
                                  (size_t)(to - from));
}

/* ---- order ---- */

static void one_thread_runs_works_in_the_order_of_submission(void **state) {
    (void)state;
    open_pool(1);
    for (int i = 0; i < MANY;) {
        int size = i % 7 == 0 && i + 5 <= MANY ? 5 : 1;

        if (size == 1) {
            submit(i, COUNT);
        } else {
            assert_int_equal(submit_batch(i, i + size), 0);
        }
        i += size;
    }
    close_pool();
    assert_int_equal(atomic_load(&order_count), MANY);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(order[i], i);
    }
}

static void an_empty_batch_is_nothing(void **state) {
    (void)state;
    open_pool(1);
    assert_int_equal(base_pool_submit_batch(pool, NULL, NULL, 0), 0);
    close_pool();
}

/* ---- every work exactly once ---- */

static void *submit_a_share(void *argument) {
    int share = *(int *)argument;

    for (int i = share; i < MANY; i += 4) {
        if (base_pool_submit(pool, &items[i].work) != 0) {
            break;
        }
    }
    return NULL;
}

static void works_of_many_submitters_run_once_each(void **state) {
    pthread_t threads[4];
    int shares[4] = {0, 1, 2, 3};

    (void)state;
    open_pool(3);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, submit_a_share, &shares[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    close_pool();
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(atomic_load(&items[i].ran), 1);
    }
}

static void works_may_submit_works(void **state) {
    (void)state;
    open_pool(3);
    for (int i = 0; i < MANY; i++) {
        items[i].kind = TREE;
    }
    submit(0, TREE);
    for (int patience = 0; atomic_load(&total) < MANY && patience < PATIENCE_S * 1000; patience++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    close_pool();
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(atomic_load(&items[i].ran), 1);
    }
}

static void no_wakeup_is_lost_with_one_work_at_a_time(void **state) {
    (void)state;
    open_pool(2);
    for (int i = 0; i < MANY / 2; i++) {
        submit(i, COUNT);
        wait_for(&finished);
    }
    close_pool();
}

/* Pins the calling thread to its nth CPU, if it may use so many. */
static void pin(int nth) {
    cpu_set_t allowed;
    cpu_set_t one;

    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) <= nth) {
        return;
    }
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && nth-- == 0) {
            CPU_SET(cpu, &one);
        }
    }
    (void)sched_setaffinity(0, sizeof one, &one);
}

static bool start_on_the_second_cpu(void *owner, unsigned thread_index) {
    (void)owner;
    (void)thread_index;
    pin(1);
    return true;
}

/* Two threads on two CPUs, and the main thread doesn't sleep, so that its submits meet the other at
 * every step of falling asleep; the delay moves them along. */
static void no_wakeup_is_lost_at_the_edge_of_sleep(void **state) {
    struct base_pool_options options = {
        .max_threads = 1, .run = run, .start = start_on_the_second_cpu, .abandon = on_abandon};
    uint64_t deadline_ns = base_clock_deadline(base_clock_ns(), PATIENCE_S);
    cpu_set_t before;

    (void)state;
    assert_int_equal(base_pool_new(&options, &pool), 0);
    submit(0, COUNT);
    wait_for(&finished);
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    pin(0);
    for (int i = 1; i < MANY; i++) {
        submit(i, NOTHING);
        for (int spins = 0; atomic_load(&total) <= i; spins++) {
            if (spins % 1000 == 999) {
                sched_yield();
                assert_true(base_clock_ns() < deadline_ns);
            }
        }
        for (volatile int delay = i % 512; delay > 0; delay--) {
        }
    }
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    close_pool();
}

/* ---- nothing waits behind a long work ---- */

/* Many short works make the pool claim them in large batches. */
static void teach_that_works_are_short(void) {
    for (int i = 1000; i < 4000; i++) {
        submit(i, COUNT);
    }
    for (int i = 1000; i < 4000; i++) {
        wait_for(&finished);
    }
}

static void works_behind_a_long_one_are_run_by_others(void **state) {
    (void)state;
    open_pool(2);
    for (int round = 0; round < 60; round++) {
        int size = 2 + round * 7 % 100; /* from a part of one thread's batch to several batches */

        if (round % 3 == 0) {
            teach_that_works_are_short();
        }
        items[0].kind = BLOCK;
        assert_int_equal(submit_batch(0, size), 0);
        for (int i = 1; i < size; i++) {
            wait_for(&finished);
        }
        sem_post(&gate);
        wait_for(&entered);
    }
    close_pool();
}

static void works_behind_a_long_one_are_run_though_newer_ones_keep_coming(void **state) {
    (void)state;
    open_pool(2);
    for (int round = 0; round < 5; round++) {
        teach_that_works_are_short();
        atomic_store(&repeat, true);
        for (int i = 0; i < 20; i++) {
            submit(200 + 20 * round + i, REPEAT);
        }
        items[0].kind = BLOCK;
        assert_int_equal(submit_batch(0, 100), 0);
        for (int i = 1; i < 100; i++) {
            wait_for(&finished);
        }
        atomic_store(&repeat, false);
        sem_post(&gate);
        wait_for(&entered);
    }
    close_pool();
}

/* ---- threads ---- */

static void works_one_after_the_other_use_one_thread(void **state) {
    struct base_pool_counts counts;

    (void)state;
    announce_finish = true;
    open_pool(8);
    for (int i = 0; i < 1000; i++) {
        submit(i, COUNT);
        wait_for(&finished);
    }
    base_pool_counts(pool, &counts);
    assert_int_equal(counts.threads, 1);
    close_pool();
}

static void threads_are_created_as_works_need_them_up_to_the_limit(void **state) {
    struct base_pool_counts counts;

    (void)state;
    open_pool(4);
    base_pool_counts(pool, &counts);
    assert_int_equal(counts.threads, 0);
    for (int i = 0; i < 10; i++) {
        submit(i, BLOCK);
        base_pool_counts(pool, &counts);
        assert_int_equal(counts.threads, i < 4 ? i + 1 : 4);
        if (i < 4) {
            wait_for(&entered);
        }
    }
    base_pool_counts(pool, &counts);
    assert_int_equal(counts.running, 4);
    assert_int_equal(counts.queued, 6);
    assert_int_equal(counts.idle, 0);
    for (int i = 0; i < 10; i++) {
        sem_post(&gate);
    }
    close_pool();
    assert_int_equal(atomic_load(&most_running), 4);
}

static void a_batch_creates_a_thread_for_each_of_its_works(void **state) {
    struct base_pool_counts counts;

    (void)state;
    open_pool(4);
    for (int i = 0; i < 3; i++) {
        items[i].kind = BLOCK;
    }
    assert_int_equal(submit_batch(0, 3), 0);
    for (int i = 0; i < 3; i++) {
        wait_for(&entered);
    }
    base_pool_counts(pool, &counts);
    assert_int_equal(counts.threads, 3);
    for (int i = 0; i < 3; i++) {
        sem_post(&gate);
    }
    close_pool();
}

static void an_eager_pool_creates_all_threads_at_once(void **state) {
    struct base_pool_options options = {.max_threads = 5, .eager = true, .run = run};
    struct base_pool_counts counts;

    (void)state;
    assert_int_equal(base_pool_new(&options, &pool), 0);
    base_pool_counts(pool, &counts);
    assert_int_equal(counts.threads, 5);
    close_pool();
}

static void threads_have_names_indices_and_blocked_signals(void **state) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    static const int others[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGPIPE, SIGUSR1, SIGALRM};
    struct base_pool_options options = {
        .max_threads = 1, .name_prefix = "a-very-long-prefix", .run = run};
    sigset_t mine;

    (void)state;
    assert_int_equal(base_pool_new(&options, &pool), 0);
    submit(0, LOOK);
    wait_for(&finished);
    assert_string_equal(seen.name, "a-very-long-p_0");
    assert_int_equal(seen.index, 0);
    assert_int_equal(seen.other_index, 0);
    assert_int_equal(base_pool_thread_index(pool), -1);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        assert_false(sigismember(&seen.mask, faults[i]));
        assert_true(sigismember(&seen.mask, others[i]));
    }
    pthread_sigmask(SIG_SETMASK, NULL, &mine);
    assert_false(sigismember(&mine, SIGINT));
    close_pool();
}

/* ---- hooks ---- */

static void open_pool_with_hooks(unsigned max_threads) {
    struct base_pool_options options = {.max_threads = max_threads,
                                        .run = run,
                                        .start = on_start,
                                        .stop = on_stop,
                                        .abandon = on_abandon};

    assert_int_equal(base_pool_new(&options, &pool), 0);
}

static void each_thread_starts_and_stops_once(void **state) {
    (void)state;
    open_pool_with_hooks(3);
    for (int i = 0; i < 3; i++) {
        submit(i, BLOCK);
    }
    for (int i = 0; i < 3; i++) {
        wait_for(&entered);
    }
    assert_int_equal(atomic_load(&started), 3);
    assert_int_equal(atomic_load(&stopped), 0);
    for (int i = 0; i < 3; i++) {
        sem_post(&gate);
    }
    close_pool();
    assert_int_equal(atomic_load(&started), 3);
    assert_int_equal(atomic_load(&stopped), 3);
}

static void a_thread_without_work_tells_before_it_sleeps(void **state) {
    struct base_pool_options options = {.max_threads = 1, .run = run, .idle = on_idle};

    (void)state;
    assert_int_equal(base_pool_new(&options, &pool), 0);
    submit(0, COUNT);
    wait_for(&finished);
    wait_for(&finished);
    close_pool();
    assert_int_equal(atomic_load(&items[1].ran), 1);
}

static void a_start_that_fails_breaks_the_pool(void **state) {
    int accepted = 0;

    (void)state;
    start_fails = true;
    open_pool_with_hooks(2);
    while (base_pool_submit(pool, &items[accepted].work) == 0) {
        accepted++;
        assert_true(accepted < MANY);
        sched_yield();
    }
    assert_int_equal(base_pool_submit(pool, &items[accepted].work), ECANCELED);
    assert_int_equal(submit_batch(accepted, accepted + 3), ECANCELED);
    for (int i = 0; i < accepted; i++) {
        wait_for(&finished);
    }
    close_pool();
    assert_int_equal(atomic_load(&stopped), 0);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(atomic_load(&items[i].abandoned), i < accepted);
        assert_int_equal(atomic_load(&items[i].ran), 0);
    }
}

static void wait_until_one_sleeps(void) {
    struct base_pool_counts counts = {0};

    for (int patience = 0; counts.idle != 1; patience++) {
        assert_true(patience < PATIENCE_S * 1000);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        base_pool_counts(pool, &counts);
    }
}

static void a_pool_keeps_up_unless_works_stand_behind_others(void **state) {
    (void)state;
    open_pool(1);
    assert_true(base_pool_keeps_up(pool));
    for (int i = 0; i < 3; i++) {
        items[i].kind = BLOCK;
        items[i].work.next = &items[i + 1].work;
    }
    assert_int_equal(base_pool_submit_batch(pool, &items[0].work, &items[2].work, 3), 0);
    wait_for(&entered);
    assert_false(base_pool_keeps_up(pool));
    for (int i = 0; i < 3; i++) {
        sem_post(&gate);
    }
    wait_until_one_sleeps();
    assert_true(base_pool_keeps_up(pool));
    close_pool();
}

static void a_start_that_fails_later_leaves_running_works_alone(void **state) {
    (void)state;
    open_pool_with_hooks(2);
    submit(0, BLOCK);
    wait_for(&entered);
    start_fails = true;
    submit(1, COUNT);
    wait_for(&finished);
    assert_int_equal(atomic_load(&items[1].abandoned), 1);
    sem_post(&gate);
    wait_until_one_sleeps();
    close_pool();
    assert_int_equal(atomic_load(&items[0].ran), 1);
    assert_int_equal(atomic_load(&stopped), 1);
}

/* ---- withdraw ---- */

static void withdraw_returns_what_has_not_started_in_order(void **state) {
    struct base_work *work;
    int next = 1;

    (void)state;
    open_pool(1);
    submit(0, BLOCK);
    wait_for(&entered);
    for (int i = 1; i < 500; i++) {
        submit(i, COUNT);
    }
    work = base_pool_withdraw(pool, NULL, NULL);
    for (; work != NULL; work = work->next) {
        assert_ptr_equal(work, &items[next++].work);
    }
    assert_int_equal(next, 500);
    assert_null(base_pool_withdraw(pool, NULL, NULL));
    sem_post(&gate);
    close_pool();
    assert_int_equal(atomic_load(&total), 1);
}

static bool is_even(void *user, const struct base_work *work) {
    const struct item *item = (const struct item *)(const void *)work;

    ++*(int *)user;
    return item->number % 2 == 0;
}

static void withdraw_leaves_the_unwanted_in_their_order(void **state) {
    struct base_work *work;
    int next = 2;
    int asked = 0;

    (void)state;
    open_pool(1);
    submit(0, BLOCK);
    wait_for(&entered);
    for (int i = 1; i < 500; i++) {
        submit(i, COUNT);
    }
    for (work = base_pool_withdraw(pool, is_even, &asked); work != NULL; work = work->next) {
        assert_ptr_equal(work, &items[next].work);
        next += 2;
    }
    assert_int_equal(next, 500);
    assert_int_equal(asked, 499);
    submit(500, COUNT);
    sem_post(&gate);
    close_pool();
    assert_int_equal(atomic_load(&order_count), 251);
    for (int i = 0; i < 250; i++) {
        assert_int_equal(order[i], 2 * i + 1);
    }
    assert_int_equal(order[250], 500);
}

static void works_put_ahead_start_first_in_their_order(void **state) {
    static const int expected[] = {4, 5, 6, 1, 2, 3};

    (void)state;
    open_pool(1);
    submit(0, BLOCK);
    wait_for(&entered);
    for (int i = 1; i <= 3; i++) {
        submit(i, COUNT);
    }
    for (int i = 4; i <= 6; i++) {
        items[i].kind = COUNT;
        items[i].number = i;
        items[i].work.next = &items[i + 1].work;
    }
    assert_int_equal(base_pool_submit_ahead(pool, &items[4].work, &items[6].work, 3), 0);
    sem_post(&gate);
    close_pool();
    assert_int_equal(atomic_load(&order_count), 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(order[i], expected[i]);
    }
}

static void works_put_ahead_have_a_thread_made_and_are_refused_as_others_are(void **state) {
    (void)state;
    open_pool(2);
    items[0].kind = COUNT;
    assert_int_equal(base_pool_submit_ahead(pool, &items[0].work, &items[0].work, 1), 0);
    wait_for(&finished);
    assert_int_equal(base_pool_submit_ahead(pool, NULL, NULL, 0), 0);
    base_pool_stop(pool);
    assert_int_equal(base_pool_submit_ahead(pool, &items[1].work, &items[1].work, 1), ESHUTDOWN);
    close_pool();
    assert_int_equal(atomic_load(&items[0].ran), 1);
}

static void withdraw_amid_running_works_loses_and_doubles_none(void **state) {
    int withdrawn = 0;

    (void)state;
    open_pool(2);
    for (int i = 0; i < MANY; i++) {
        submit(i, COUNT);
        if (i % 50 == 0) {
            int asked = 0;
            struct base_work *work =
                base_pool_withdraw(pool, i % 100 == 0 ? is_even : NULL, &asked);

            for (; work != NULL; work = work->next) {
                atomic_fetch_add(&((struct item *)(void *)work)->abandoned, 1);
                withdrawn++;
            }
        }
    }
    close_pool();
    assert_int_equal(atomic_load(&total), MANY - withdrawn);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(atomic_load(&items[i].ran) + atomic_load(&items[i].abandoned), 1);
    }
}

/* ---- shutdown ---- */

static void a_stopped_pool_finishes_what_is_queued_and_refuses_more(void **state) {
    (void)state;
    open_pool(2);
    submit(0, BLOCK);
    submit(1, BLOCK);
    wait_for(&entered);
    wait_for(&entered);
    for (int i = 2; i < 300; i++) {
        submit(i, COUNT);
    }
    base_pool_stop(pool);
    assert_int_equal(base_pool_submit(pool, &items[300].work), ESHUTDOWN);
    assert_int_equal(submit_batch(301, 304), ESHUTDOWN);
    assert_ptr_equal(items[301].work.next, &items[302].work);
    assert_ptr_equal(items[302].work.next, &items[303].work);
    assert_int_equal(base_pool_join(pool, base_clock_ns()), ETIMEDOUT);
    sem_post(&gate);
    sem_post(&gate);
    close_pool();
    assert_int_equal(atomic_load(&total), 300);
}

static void a_pool_that_never_had_a_thread_can_be_freed(void **state) {
    (void)state;
    base_pool_free(NULL);
    open_pool(2);
    base_pool_free(pool);
    open_pool(2);
    close_pool();
}

static void a_work_that_joins_its_own_pool_is_told(void **state) {
    (void)state;
    open_pool(2);
    submit(0, BLOCK);
    wait_for(&entered);
    submit(1, JOIN);
    base_pool_stop(pool);
    sem_post(&gate);
    wait_for(&finished);
    assert_int_equal(seen.join_result, EDEADLK);
    close_pool();
}

static void submit_and_stop_in_a_tight_loop_never_hangs(void **state) {
    (void)state;
    for (int round = 0; round < 300; round++) {
        int before = atomic_load(&total);
        int count = round % 5;

        open_pool(1 + (unsigned)round % 3);
        for (int i = 0; i < count; i++) {
            submit(i, COUNT);
        }
        close_pool();
        assert_int_equal(atomic_load(&total), before + count);
    }
}

static void submits_that_race_with_stop_are_refused_or_run(void **state) {
    pthread_t thread;
    int share = 0;

    (void)state;
    for (int round = 0; round < 30; round++) {
        setup(NULL);
        open_pool(2);
        assert_int_equal(pthread_create(&thread, NULL, submit_a_share, &share), 0);
        while (round % 3 > 0 && atomic_load(&total) < round * 10) {
            sched_yield();
        }
        base_pool_stop(pool);
        assert_int_equal(pthread_join(thread, NULL), 0);
        close_pool();
        /* What was accepted is a prefix of the share, and has run. */
        for (int i = 0, ended = 0; i < MANY; i += 4) {
            int ran = atomic_load(&items[i].ran);

            assert_true(ran == 0 || (ran == 1 && !ended));
            ended = ran == 0;
        }
    }
}

static void a_detached_pool_frees_itself_when_its_works_are_done(void **state) {
    (void)state;
    open_pool(2);
    submit(0, BLOCK);
    wait_for(&entered);
    submit(1, COUNT);
    base_pool_detach(pool);
    wait_for(&finished);
    assert_int_equal(sem_trywait(&gone), -1);
    sem_post(&gate);
    wait_for(&gone);
    assert_int_equal(atomic_load(&total), 2);
    open_pool(2);
    base_pool_detach(pool);
    wait_for(&gone);
}

static void a_pool_may_be_detached_by_its_own_work(void **state) {
    (void)state;
    for (int round = 0; round < 100; round++) {
        open_pool(2);
        submit(round, DETACH);
        sem_post(&gate);
        wait_for(&gone);
        assert_int_equal(atomic_load(&items[round].ran), 1);
    }
}

/* ---- errors ---- */

static void wrong_options_are_refused(void **state) {
    struct base_pool_options options = {.max_threads = 1, .run = run};

    (void)state;
    options.max_threads = 0;
    assert_int_equal(base_pool_new(&options, &pool), EINVAL);
    options.max_threads = BASE_POOL_THREADS_MAX + 1;
    assert_int_equal(base_pool_new(&options, &pool), EINVAL);
    options.max_threads = 1;
    options.run = NULL;
    assert_int_equal(base_pool_new(&options, &pool), EINVAL);
    options.run = run;
    options.start = on_start;
    assert_int_equal(base_pool_new(&options, &pool), EINVAL);
}

static void without_memory_new_and_the_first_submit_fail(void **state) {
    struct base_pool_options options = {.max_threads = 3, .eager = true, .run = run};

    (void)state;
    for (long fail = 0; fail < 4; fail++) {
        fail_alloc_only(fail);
        assert_int_equal(base_pool_new(&options, &pool), ENOMEM);
        fail_alloc_never();
    }
    open_pool(2);
    fail_alloc_only(0);
    assert_int_equal(base_pool_submit(pool, &items[0].work), ENOMEM);
    fail_alloc_never();
    submit(0, BLOCK);
    wait_for(&entered);
    /* With one thread there already, a second that can't be had is no error. */
    fail_alloc_only(0);
    submit(1, COUNT);
    assert_true(fail_alloc_failed());
    fail_alloc_never();
    sem_post(&gate);
    close_pool();
    assert_int_equal(atomic_load(&total), 2);
}

static void a_thread_that_can_not_be_created_is_reported(void **state) {
    struct base_pool_options options = {
        .max_threads = 2, .stack_bytes = (size_t)1 << 46, .run = run};

    (void)state;
    assert_int_equal(base_pool_new(&options, &pool), 0);
    assert_int_equal(base_pool_submit(pool, &items[0].work), EAGAIN);
    base_pool_free(pool);
    options.eager = true;
    assert_int_equal(base_pool_new(&options, &pool), EAGAIN);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(one_thread_runs_works_in_the_order_of_submission),
        TEST(an_empty_batch_is_nothing),
        TEST(works_of_many_submitters_run_once_each),
        TEST(works_may_submit_works),
        TEST(no_wakeup_is_lost_with_one_work_at_a_time),
        TEST(no_wakeup_is_lost_at_the_edge_of_sleep),
        TEST(works_behind_a_long_one_are_run_by_others),
        TEST(works_behind_a_long_one_are_run_though_newer_ones_keep_coming),
        TEST(works_one_after_the_other_use_one_thread),
        TEST(threads_are_created_as_works_need_them_up_to_the_limit),
        TEST(a_batch_creates_a_thread_for_each_of_its_works),
        TEST(an_eager_pool_creates_all_threads_at_once),
        TEST(threads_have_names_indices_and_blocked_signals),
        TEST(each_thread_starts_and_stops_once),
        TEST(a_thread_without_work_tells_before_it_sleeps),
        TEST(a_pool_keeps_up_unless_works_stand_behind_others),
        TEST(a_start_that_fails_breaks_the_pool),
        TEST(a_start_that_fails_later_leaves_running_works_alone),
        TEST(withdraw_returns_what_has_not_started_in_order),
        TEST(withdraw_leaves_the_unwanted_in_their_order),
        TEST(works_put_ahead_start_first_in_their_order),
        TEST(works_put_ahead_have_a_thread_made_and_are_refused_as_others_are),
        TEST(withdraw_amid_running_works_loses_and_doubles_none),
        TEST(a_stopped_pool_finishes_what_is_queued_and_refuses_more),
        TEST(a_pool_that_never_had_a_thread_can_be_freed),
        TEST(a_work_that_joins_its_own_pool_is_told),
        TEST(submit_and_stop_in_a_tight_loop_never_hangs),
        TEST(submits_that_race_with_stop_are_refused_or_run),
        TEST(a_detached_pool_frees_itself_when_its_works_are_done),
        TEST(a_pool_may_be_detached_by_its_own_work),
        TEST(wrong_options_are_refused),
        TEST(without_memory_new_and_the_first_submit_fail),
        TEST(a_thread_that_can_not_be_created_is_reported),
    };

    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
