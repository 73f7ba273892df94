/* The engine with real processes: what the conformance suite can't see from the interface alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <dirent.h>
#include <furrow.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#include <cmocka.h>

#include "tests/e2e/engine_tasks.h"
#include "tests/support/fleet.h"

/* ------------------------------------------------------------------- helpers */

static char directory[64]; /* of the test that runs */
static char module_path[PATH_MAX];

static double now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

#define wait_for(condition)                                                                        \
    do {                                                                                           \
        double until = now() + 20.0;                                                               \
        while (!(condition)) {                                                                     \
            if (now() > until) {                                                                   \
                fail_msg("waited 20 s for: %s", #condition);                                       \
            }                                                                                      \
            pause_ms(1);                                                                           \
        }                                                                                          \
    } while (0)

static void *must(void *pointer) {
    if (pointer == NULL) {
        fail_msg("%s", furrow_last_error());
    }
    return pointer;
}

static int64_t value_of(furrow_future **future) {
    int64_t value = -1;
    furrow_status status = furrow_future_result(must(*future), 30, "i", &value);

    if (status != FURROW_OK) {
        const furrow_error *error = NULL;

        (void)furrow_future_error(*future, 0, &error);
        fail_msg("no value: %s: %s", furrow_status_text(status),
                 error != NULL ? error->message : furrow_last_error());
    }
    furrow_future_unref(future);
    return value;
}

static const furrow_error *error_of(furrow_future *future) {
    const furrow_error *error = NULL;

    assert_int_equal(furrow_future_error(future, 30, &error), FURROW_OK);
    assert_non_null(error);
    return error;
}

static int count_entries(const char *path, const char *prefix) {
    DIR *dir = opendir(path);
    int count = 0;

    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        count += entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    }
    closedir(dir);
    return count;
}

static const char *socket_parent(void) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    return runtime != NULL && access(runtime, W_OK) == 0 ? runtime : "/tmp";
}

/* How many directories for sockets a process has. */
static int directories_of(pid_t pid) {
    char prefix[32];

    snprintf(prefix, sizeof prefix, "furrow-%d-", (int)pid);
    return count_entries(socket_parent(), prefix);
}

static int threads_now(void) {
    return count_entries("/proc/self/task", "");
}

static int fds_now(void) {
    return count_entries("/proc/self/fd", "");
}

static int fds_before, threads_before;

static int set_up(void **state) {
    (void)state;
    strcpy(directory, "/tmp/test-engine-XXXXXX");
    fds_before = fds_now();
    threads_before = threads_now();
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static int tear_down(void **state) {
    char command[128];
    (void)state;

    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    if (system(command) != 0) {
        return -1;
    }
    /* A thread that was joined may be seen for a moment longer. */
    for (int i = 0; i < 2000 && (threads_now() > threads_before || fds_now() > fds_before); i++) {
        pause_ms(1);
    }
    if (threads_now() > threads_before || fds_now() > fds_before || directories_of(getpid()) != 0 ||
        waitpid(-1, NULL, WNOHANG) >= 0) {
        print_error("left behind: %d threads (%d), %d fds (%d), %d directories\n", threads_now(),
                    threads_before, fds_now(), fds_before, directories_of(getpid()));
        return -1;
    }
    return 0;
}

static void path_in_directory(char *path, size_t size, const char *name) {
    snprintf(path, size, "%s/%s", directory, name);
}

/* ----------------------------------------------------------------- processes: */

static void a_burst_of_tasks_comes_back_in_full(void **state) {
    enum { COUNT = 200000 };
    furrow_executor *pool = must(furrow_open("processes:2", NULL));
    furrow_future **futures = calloc(COUNT, sizeof *futures);
    (void)state;

    for (int64_t i = 0; i < COUNT; i++) {
        futures[i] = must(furrow_submit(pool, twice, "i", i));
    }
    for (int64_t i = 0; i < COUNT; i++) {
        assert_int_equal(value_of(&futures[i]), 2 * i);
    }
    free(futures);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
}

static void large_arguments_and_results_come_back_in_full(void **state) {
    enum { COUNT = 8, SIZE = 3 << 20 };
    furrow_executor *pool = must(furrow_open("processes:2", NULL));
    char *bytes = malloc(SIZE);
    furrow_future *futures[COUNT];
    (void)state;

    memset(bytes, 'x', SIZE);
    for (int i = 0; i < COUNT; i++) {
        bytes[i] = 'y';
        futures[i] = must(furrow_submit(pool, echo, "B", bytes, (size_t)SIZE));
        bytes[i] = 'x';
    }
    for (int i = 0; i < COUNT; i++) {
        const char *back;
        size_t size;

        assert_int_equal(furrow_future_result(futures[i], 30, "B", &back, &size), FURROW_OK);
        assert_int_equal(size, SIZE);
        for (int j = 0; j < COUNT; j++) {
            assert_int_equal(back[j], i == j ? 'y' : 'x');
        }
        furrow_future_unref(&futures[i]);
    }
    free(bytes);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
}

static void the_socket_lives_in_a_directory_of_ours_alone(void **state) {
    furrow_executor *pool = must(furrow_open("processes:1", NULL));
    furrow_future *future = must(furrow_submit(pool, twice, "i", (int64_t)1));
    char name[PATH_MAX] = "";
    struct stat status;
    (void)state;

    assert_int_equal(value_of(&future), 2);
    assert_int_equal(directories_of(getpid()), 1);
    DIR *dir = opendir(socket_parent());
    char prefix[32];
    snprintf(prefix, sizeof prefix, "furrow-%d-", (int)getpid());
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0) {
            snprintf(name, sizeof name, "%s/%s", socket_parent(), entry->d_name);
        }
    }
    closedir(dir);
    assert_int_equal(stat(name, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    assert_int_not_equal(stat(name, &status), 0);
}

static void what_a_dead_process_left_is_removed_by_the_next(void **state) {
    char stale[PATH_MAX], file[PATH_MAX + 8];
    struct stat status;
    (void)state;

    snprintf(stale, sizeof stale, "%s/furrow-999999-abcdef", socket_parent());
    snprintf(file, sizeof file, "%s/lock", stale);
    assert_int_equal(mkdir(stale, 0700), 0);
    fclose(fopen(file, "we"));
    furrow_executor *pool = must(furrow_open("processes:1", NULL));
    assert_int_equal(stat(stale, &status), 0); /* too young to be certain */
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    utime(stale, &(struct utimbuf){time(NULL) - 60, time(NULL) - 60});
    pool = must(furrow_open("processes:1", NULL));
    assert_int_not_equal(stat(stale, &status), 0);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
}

static void a_task_whose_worker_dies_is_run_again(void **state) {
    furrow_executor *pool = must(furrow_open("processes:2", NULL));
    furrow_future *future;
    char path[128];
    (void)state;

    for (int i = 0; i < 5; i++) {
        char name[16];

        snprintf(name, sizeof name, "died-%d", i);
        path_in_directory(path, sizeof path, name);
        future = must(furrow_submit(pool, die_once, "s", path));
        assert_int_equal(value_of(&future), 2);
    }
    assert_int_equal(furrow_close(&pool), FURROW_OK);
}

static void executors_come_and_go(void **state) {
    (void)state;
    for (int64_t i = 0; i < 20; i++) {
        furrow_executor *pool = must(furrow_open("processes:2", NULL));
        furrow_future *future = NULL;

        if (i % 4 != 3) { /* some without a task */
            future = must(furrow_submit(pool, twice, "i", i));
        }
        assert_int_equal(furrow_shutdown(pool, i % 2 == 0 ? 0 : FURROW_SHUTDOWN_WAIT), FURROW_OK);
        assert_int_equal(furrow_close(&pool), FURROW_OK);
        if (future != NULL) {
            assert_int_equal(value_of(&future), 2 * i);
        }
    }
}

static void several_executors_share_a_process(void **state) {
    furrow_executor *pools[3];
    furrow_future *futures[3][50];
    (void)state;

    for (int p = 0; p < 3; p++) {
        pools[p] = must(furrow_open("processes:1", NULL));
    }
    for (int64_t i = 0; i < 50; i++) {
        for (int p = 0; p < 3; p++) {
            futures[p][i] = must(furrow_submit(pools[p], twice, "i", i));
        }
    }
    for (int p = 0; p < 3; p++) {
        for (int64_t i = 0; i < 50; i++) {
            assert_int_equal(value_of(&futures[p][i]), 2 * i);
        }
        assert_int_equal(furrow_close(&pools[p]), FURROW_OK);
    }
}

struct chain {
    furrow_executor *pool;
    atomic_int left, cancelled;
};

static furrow_status submit_next(furrow_future *future, void *user) {
    struct chain *chain = user;
    furrow_executor_info info;
    (void)future;

    furrow_executor_describe(chain->pool, &info);
    if (atomic_fetch_sub(&chain->left, 1) > 1) {
        furrow_future *next = furrow_submit(chain->pool, twice, "i", (int64_t)1);
        furrow_future *other = furrow_submit(chain->pool, sleep_for, "d", 0.001);

        furrow_future_cancel_async(other);
        (void)furrow_future_add_done_callback(next, submit_next, chain);
        furrow_future_unref(&next);
        furrow_future_unref(&other);
    }
    return FURROW_OK;
}

static void a_callback_may_submit_and_cancel(void **state) {
    struct chain chain = {.pool = must(furrow_open("processes:2", NULL))};
    (void)state;

    atomic_store(&chain.left, 200);
    furrow_future *first = must(furrow_submit(chain.pool, twice, "i", (int64_t)1));
    furrow_future_add_done_callback(first, submit_next, &chain);
    furrow_future_unref(&first);
    wait_for(atomic_load(&chain.left) <= 0);
    assert_int_equal(furrow_close(&chain.pool), FURROW_OK);
}

static furrow_status shut_down(furrow_future *future, void *user) {
    (void)future;
    return furrow_shutdown(user, FURROW_SHUTDOWN_CANCEL_FUTURES);
}

static void a_callback_may_shut_down_without_waiting(void **state) {
    furrow_executor *pool = must(furrow_open("processes:1", NULL));
    furrow_future *first = must(furrow_submit(pool, twice, "i", (int64_t)1));
    furrow_future *futures[100];
    (void)state;

    assert_int_equal(furrow_future_add_done_callback(first, shut_down, pool), FURROW_OK);
    for (int i = 0; i < 100; i++) {
        futures[i] = furrow_submit(pool, sleep_for, "d", 0.2); /* NULL once it is shut down */
    }
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    for (int i = 0; i < 100; i++) {
        assert_true(futures[i] == NULL || furrow_future_done(futures[i]));
        furrow_future_unref(&futures[i]);
    }
    furrow_future_unref(&first);
}

static void a_stopped_program_takes_up_its_work_again(void **state) {
    furrow_executor *pool = must(furrow_open("processes:1", NULL));
    furrow_future *future;
    pid_t helper;
    (void)state;

    future = must(furrow_submit(pool, sleep_for, "d", 1.0));
    helper = fork();
    if (helper == 0) {
        (void)kill(getppid(), SIGSTOP);
        pause_ms(500);
        (void)kill(getppid(), SIGCONT);
        _exit(0);
    }
    assert_int_equal(waitpid(helper, NULL, 0), helper);
    assert_int_equal(furrow_future_wait(future, 20), FURROW_OK);
    assert_false(furrow_future_cancelled(future));
    furrow_future_unref(&future);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
}

/* What a program does that leaves without a word. Prints the pid of a worker. */
static int leave_without_shutdown(void) {
    furrow_executor *pool = furrow_open("processes:2", NULL);
    furrow_future *future = furrow_submit(pool, pid_of_worker, "");
    int64_t pid = 0;

    if (furrow_future_result(future, 20, "i", &pid) != FURROW_OK) {
        return 1;
    }
    for (int i = 0; i < 10; i++) {
        (void)furrow_submit(pool, sleep_for, "d", 30.0);
    }
    printf("%d\n", (int)pid);
    return 0;
}

static void exit_without_shutdown_leaves_no_process_and_no_file(void **state) {
    char command[PATH_MAX + 32], line[32] = "";
    pid_t program = 0, worker;
    (void)state;

    snprintf(command, sizeof command, "%s --leave & echo $!; wait", "/proc/self/exe");
    char self[PATH_MAX] = "";
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    snprintf(command, sizeof command, "'%.4000s' --leave & echo $!; wait", self);
    FILE *output = popen(command, "re");
    assert_non_null(output);
    assert_non_null(fgets(line, sizeof line, output));
    program = atoi(line);
    assert_non_null(fgets(line, sizeof line, output));
    worker = atoi(line);
    assert_true(program > 0 && worker > 0);
    pclose(output);
    wait_for(kill(worker, 0) != 0);
    assert_int_equal(directories_of(program), 0);
}

/* ------------------------------------------------------------------- a broker */

static struct fleet_options fleet_options_of(const char *listen, int workers) {
    return (struct fleet_options){
        .broker_path = FURROW_BROKER_PATH,
        .worker_path = FURROW_WORKER_PATH,
        .module = module_path,
        .directory = directory,
        .listen = listen,
        .workers = workers,
    };
}

static void must_start(struct fleet *fleet, const struct fleet_options *options) {
    if (!fleet_start(fleet, options)) {
        fail_msg("%s", fleet->error);
    }
}

static void without_a_broker_tasks_wait_until_their_time_is_over(void **state) {
    furrow_executor *pool = must(furrow_open("tcp://127.0.0.1:9", NULL));
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_future *forever = must(furrow_submit(pool, twice, "i", (int64_t)1));
    (void)state;

    options.queue_timeout = 0.1;
    furrow_future *bounded = must(furrow_submit_with(pool, &options, twice, "i", (int64_t)1));
    const furrow_error *error = error_of(bounded);
    assert_int_equal(error->kind, FURROW_ERROR_DEADLINE);
    assert_non_null(strstr(error->message, "no broker"));
    assert_string_equal(error->function, "twice");
    assert_false(furrow_future_done(forever));
    assert_true(furrow_future_cancel(forever)); /* at once: it never left */
    furrow_future_unref(&forever);
    furrow_future_unref(&bounded);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
}

static void connect_timeout_bounds_the_opening(void **state) {
    furrow_options options = FURROW_OPTIONS_INIT;
    double start = now();
    (void)state;

    options.connect_timeout = 0.1;
    assert_null(furrow_open("tcp://127.0.0.1:9", &options));
    assert_int_equal(furrow_last_status(), FURROW_ETIMEOUT);
    assert_true(now() - start < 5);
}

static void a_bounded_shutdown_without_a_broker_is_bounded(void **state) {
    furrow_executor *pool = must(furrow_open("tcp://127.0.0.1:9", NULL));
    furrow_future *future = must(furrow_submit(pool, twice, "i", (int64_t)1));
    double start = now();
    (void)state;

    assert_int_equal(furrow_shutdown_within(pool, 0.1, 0.1), FURROW_ETIMEOUT);
    assert_true(now() - start < 5);
    assert_true(furrow_future_cancelled(future));
    furrow_future_unref(&future);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
}

static void work_goes_on_when_the_broker_comes_up_later(void **state) {
    struct fleet_options options;
    struct fleet fleet;
    char path[128], listen[160];
    (void)state;

    path_in_directory(path, sizeof path, "broker");
    snprintf(listen, sizeof listen, "ipc://%s", path);
    furrow_executor *pool = must(furrow_open(listen, NULL));
    furrow_future *future = must(furrow_submit(pool, twice, "i", (int64_t)21));
    options = fleet_options_of(listen, 1);
    must_start(&fleet, &options);
    assert_int_equal(value_of(&future), 42);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    assert_true(fleet_stop(&fleet));
}

static void a_broker_that_is_killed_and_restarted_loses_nothing(void **state) {
    enum { COUNT = 400 };
    struct fleet_options options;
    struct fleet fleet;
    furrow_future *futures[COUNT];
    char path[128], listen[160];
    (void)state;

    path_in_directory(path, sizeof path, "broker");
    snprintf(listen, sizeof listen, "ipc://%s", path);
    options = fleet_options_of(listen, 2);
    must_start(&fleet, &options);
    furrow_executor *pool = must(furrow_open(listen, NULL));
    for (int64_t i = 0; i < COUNT; i++) {
        furrow_future *pause = must(furrow_submit(pool, sleep_for, "d", 0.002));

        furrow_future_unref(&pause);
        futures[i] = must(furrow_submit(pool, twice, "i", i));
    }
    assert_int_equal(value_of(&futures[0]), 0);
    assert_int_equal(kill(fleet.broker, SIGKILL), 0);
    assert_int_equal(waitpid(fleet.broker, NULL, 0), fleet.broker);
    struct fleet second;
    struct fleet_options again = fleet_options_of(listen, 0);
    must_start(&second, &again);
    for (int64_t i = 1; i < COUNT; i++) {
        assert_int_equal(value_of(&futures[i]), 2 * i);
    }
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    assert_true(fleet_end(&fleet.worker));
    assert_true(fleet_stop(&second));
}

static void *nothing(void *user) {
    return user;
}

/* A sanitizer may have a thread of its own, from the first that the program makes. */
static int make_a_thread(void **state) {
    pthread_t thread;
    (void)state;

    return pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0 ? -1
                                                                                                : 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_burst_of_tasks_comes_back_in_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_arguments_and_results_come_back_in_full, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_socket_lives_in_a_directory_of_ours_alone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_a_dead_process_left_is_removed_by_the_next, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_task_whose_worker_dies_is_run_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(executors_come_and_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(several_executors_share_a_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_callback_may_submit_and_cancel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_callback_may_shut_down_without_waiting, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_stopped_program_takes_up_its_work_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(exit_without_shutdown_leaves_no_process_and_no_file, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(without_a_broker_tasks_wait_until_their_time_is_over,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(connect_timeout_bounds_the_opening, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bounded_shutdown_without_a_broker_is_bounded, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(work_goes_on_when_the_broker_comes_up_later, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_broker_that_is_killed_and_restarted_loses_nothing, set_up,
                                        tear_down),
    };

    furrow_init(&argc, &argv);
    if (argc == 2 && strcmp(argv[1], "--leave") == 0) {
        return leave_without_shutdown();
    }
    snprintf(module_path, sizeof module_path, "%s", ENGINE_TASKS_PATH);
    return cmocka_run_group_tests(tests, make_a_thread, NULL);
}
