/* Everything that can be killed is killed again and again while tasks run; every future must get the
 * right value, once.
 *
 *   test_chaos tcp|processes [tasks]
 *
 * tcp: worker processes and whole machines (a supervisor with its children) every 100 to 300 ms, the
 * broker five times. processes: worker processes every 100 to 300 ms. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/e2e/fault_tasks.h"
#include "tests/e2e/faults.h"

enum {
    TASKS = 200000,
    MACHINES = 2,
    PROCESSES = 2,
    THREADS = 8,
    BROKER_DEATHS = 5,
    WORK_US_MAX = 6000,
    PATIENCE_S = 240,
};

static const char *where;
static size_t task_count;

static struct run {
    struct site site;
    furrow_executor *pool;
    furrow_future **futures;
    atomic_uchar *calls; /* of each future's callback */
    atomic_size_t done;
    atomic_bool stop, failed;
    unsigned child_deaths, machine_deaths, broker_deaths;
} run;

/* ---------------------------------------------------------------- the killer */

static bool kill_child_of(pid_t parent) {
    pid_t children[64];
    int count = children_of(parent, children, 64);

    if (count == 0 || kill(children[random_below((uint64_t)count)], SIGKILL) != 0) {
        return false;
    }
    run.child_deaths++;
    return true;
}

static bool kill_something(void) {
    int machine = (int)random_below(MACHINES);

    if (run.site.machine_count == 0) {
        (void)kill_child_of(getpid());
        return true;
    }
    if (random_below(4) != 0) {
        (void)kill_child_of(run.site.machines[machine]);
        return true;
    }
    site_kill_machine(&run.site, machine);
    run.machine_deaths++;
    pause_ms((long)random_below(100));
    return site_start_machine(&run.site, machine);
}

static bool kill_broker(void) {
    site_kill_broker(&run.site);
    run.broker_deaths++;
    pause_ms((long)random_below(300));
    return site_start_broker(&run.site);
}

static void *killer(void *user) {
    (void)user;
    while (!atomic_load(&run.stop)) {
        size_t due = (run.broker_deaths + 1) * task_count / (BROKER_DEATHS + 1);
        bool good = true;

        pause_ms(100 + (long)random_below(200));
        if (atomic_load(&run.stop)) {
            break;
        }
        if (run.site.machine_count > 0 && run.broker_deaths < BROKER_DEATHS &&
            atomic_load(&run.done) >= due) {
            good = kill_broker();
        } else {
            good = kill_something();
        }
        if (!good) {
            fprintf(stderr, "%s\n", run.site.fleet.error);
            atomic_store(&run.failed, true);
            return NULL;
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------ the tasks */

static furrow_status count_call(furrow_future *future, void *user) {
    (void)future;
    atomic_fetch_add((atomic_uchar *)user, 1);
    atomic_fetch_add(&run.done, 1);
    return FURROW_OK;
}

/* Whoever is near that often when something is killed may be charged several times. */
static furrow_submit_options patient_options(void) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;

    options.max_attempts = 1000;
    return options;
}

static void submit_all(void) {
    furrow_submit_options options = patient_options();

    for (size_t i = 0; i < task_count; i++) {
        run.futures[i] = must(furrow_submit_with(run.pool, &options, work, "ii", (int64_t)i,
                                                 (int64_t)random_below(WORK_US_MAX)));
        assert_int_equal(furrow_future_add_done_callback(run.futures[i], count_call, &run.calls[i]),
                         FURROW_OK);
    }
}

static void await_all(void) {
    double until = now_seconds() + PATIENCE_S;
    size_t before = 0;

    while (atomic_load(&run.done) < task_count && now_seconds() < until &&
           !atomic_load(&run.failed)) {
        pause_ms(10);
        if (atomic_load(&run.done) - before >= task_count / 10) {
            before = atomic_load(&run.done);
            fprintf(stderr, "%zu of %zu\n", before, task_count);
        }
    }
}

struct tally {
    unsigned unresolved, failed, wrong, duplicates;
    unsigned reruns; /* runs beyond the first of each task */
};

static void tell_failure(size_t i) {
    const furrow_error *error = NULL;

    if (furrow_future_error(run.futures[i], 0, &error) == FURROW_OK && error != NULL) {
        fprintf(stderr, "task %zu, attempt %u, kind %d, code %d, pid %lld: %s\n", i, error->attempt,
                (int)error->kind, (int)error->code, (long long)error->pid, error->message);
    } else {
        fprintf(stderr, "task %zu: %s\n", i, furrow_last_error());
    }
}

static struct tally count_all(void) {
    struct tally tally = {0};
    struct book *shared = faults_book();

    for (size_t i = 0; i < task_count; i++) {
        int64_t value = 0;

        if (!furrow_future_done(run.futures[i])) {
            tally.unresolved++;
        } else if (furrow_future_result(run.futures[i], 0, "i", &value) != FURROW_OK) {
            if (tally.failed++ < 10) {
                tell_failure(i);
            }
        } else {
            tally.wrong += value != mixed((int64_t)i);
        }
        tally.duplicates += atomic_load(&run.calls[i]) > 1;
        unsigned runs = atomic_load(&shared->runs[i]);
        tally.reruns += runs > 1 ? runs - 1 : 0;
    }
    return tally;
}

static void report(const struct tally *tally, double seconds) {
    figure("tasks", (double)task_count, "tasks");
    figure("tasks_lost", tally->unresolved + tally->failed, "tasks");
    figure("wrong_values", tally->wrong, "tasks");
    figure("duplicates_seen", tally->duplicates, "tasks");
    figure("reruns", tally->reruns, "runs");
    figure("worker_processes_killed", run.child_deaths, "kills");
    if (run.site.machine_count > 0) {
        figure("machines_killed", run.machine_deaths, "kills");
        figure("brokers_killed", run.broker_deaths, "kills");
    }
    figure("seconds", seconds, "s");
}

static void every_future_resolves_once_with_the_right_value(void **state) {
    static const char *const broker_more[] = {"--heartbeat", "0.1", "--silence", "0.5", NULL};
    pthread_t thread;
    (void)state;

    memset(&run, 0, sizeof run);
    run.futures = calloc(task_count, sizeof(furrow_future *));
    run.calls = calloc(task_count, sizeof *run.calls);
    assert_true(run.futures != NULL && run.calls != NULL);
    if (strcmp(where, "tcp") == 0) {
        site_open(&run.site, MACHINES, PROCESSES, THREADS, broker_more);
        run.pool = open_pool(run.site.fleet.url);
    } else {
        char url[64];

        snprintf(url, sizeof url, "processes:%d?threads=%d", MACHINES * PROCESSES, THREADS);
        run.pool = open_pool(url);
    }
    double start = now_seconds();
    assert_int_equal(pthread_create(&thread, NULL, killer, NULL), 0);
    submit_all();
    await_all();
    double seconds = now_seconds() - start;
    atomic_store(&run.stop, true);
    pthread_join(thread, NULL);

    struct tally tally = count_all();
    report(&tally, seconds);
    for (size_t i = 0; i < task_count; i++) {
        furrow_future_unref(&run.futures[i]);
    }
    if (tally.unresolved > 0) { /* waiting for them would take for ever */
        (void)furrow_shutdown_within(run.pool, 0, 1);
    }
    close_pool(&run.pool);
    if (run.site.machine_count > 0) {
        site_close(&run.site);
        assert_int_equal(run.broker_deaths, BROKER_DEATHS);
    }
    free(run.futures);
    free(run.calls);
    assert_int_equal(tally.unresolved, 0);
    assert_int_equal(tally.failed, 0);
    assert_int_equal(tally.wrong, 0);
    assert_int_equal(tally.duplicates, 0);
    assert_false(atomic_load(&run.failed));
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_future_resolves_once_with_the_right_value,
                                        faults_set_up, faults_tear_down),
    };
    if (argc < 2 || (strcmp(argv[1], "tcp") != 0 && strcmp(argv[1], "processes") != 0)) {
        fprintf(stderr, "usage: %s tcp|processes [tasks]\n", argv[0]);
        return 2;
    }
    where = argv[1];
    task_count = argc > 2 ? strtoul(argv[2], NULL, 10) : TASKS;
    if (task_count == 0 || task_count > BOOK_TASKS) {
        return 2;
    }
    faults_init(290);
    return cmocka_run_group_tests_name("chaos", tests, NULL, NULL);
}
