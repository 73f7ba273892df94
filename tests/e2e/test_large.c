/* Large payloads between the processes of a pool: what comes back, and what stays behind, when they go
 * through shared memory, through sockets, and when workers are killed meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <dirent.h>
#include <errno.h>
#include <furrow.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* Sanitizers need an address space without a limit. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LIMITS 1u
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LIMITS 1u
#endif
#endif
#ifndef LIMITS
#define LIMITS 2u
#endif

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* ----------------------------------------------------------------------- tasks */

static void fill(uint8_t *bytes, size_t size, uint64_t seed) {
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

    for (size_t i = 0; i < size; i++) {
        if (i % 512 == 0) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        bytes[i] = (uint8_t)(state >> (i % 8 * 8));
    }
}

/* Whether these are the bytes of a seed; `turned`: each with its bits turned round. */
static bool are_of(const uint8_t *bytes, size_t size, uint64_t seed, bool turned) {
    uint8_t *wanted = malloc(size + 1);
    bool same;

    fill(wanted, size, seed);
    for (size_t i = 0; i < size && turned; i++) {
        wanted[i] = (uint8_t)~wanted[i];
    }
    same = memcmp(bytes, wanted, size) == 0;
    free(wanted);
    return same;
}

/* Odd forms and the last one get their bytes in a block, and the last one gives one back. */
enum { FORM_BLOCK = 4, FORMS = 5 };

static int give_block(furrow_task *task, int64_t seed, const uint8_t *bytes, size_t size) {
    furrow_block *block = furrow_task_block(task, size);
    int status;

    if (block == NULL) {
        return FURROW_ENOMEM;
    }
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)furrow_block_data(block))[i] = (uint8_t)~bytes[i];
    }
    status = furrow_task_return(task, "iH", seed, &block);
    furrow_block_free(&block);
    return status;
}

/* (seed, form, bytes) -> the bytes with their bits turned round, in one of several forms */
static int turn(furrow_task *task) {
    const uint8_t *bytes;
    uint8_t *turned;
    int64_t seed, form;
    size_t size;
    int status;

    if (furrow_task_args(task, "iiB", &seed, &form, &bytes, &size) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (!are_of(bytes, size, (uint64_t)seed, false)) {
        return furrow_task_fail(task, 1, "the arguments are not what was sent");
    }
    if (form == FORM_BLOCK) {
        return give_block(task, seed, bytes, size);
    }
    turned = malloc(size + 8);
    if (turned == NULL) {
        return FURROW_ENOMEM;
    }
    for (size_t i = 0; i < size; i++) {
        turned[i] = (uint8_t)~bytes[i];
    }
    switch (form) {
    case 0:
        status = furrow_task_return(task, "B", turned, size);
        break;
    case 1: /* not in one piece from the beginning */
        status = furrow_task_return(task, "[iB]", seed, turned, size);
        break;
    case 2:
        status = furrow_task_return(task, "iB", seed, turned, size);
        break;
    default: { /* packed already, and replaced once */
        furrow_buffer *buffer = furrow_buffer_new();

        (void)furrow_task_return(task, "B", bytes, size);
        status = (int)furrow_buffer_pack(buffer, "[iB]", seed, turned, size);
        if (status == FURROW_OK) {
            status = furrow_task_return_packed(task, furrow_buffer_data(buffer),
                                               furrow_buffer_size(buffer));
        }
        furrow_buffer_free(&buffer);
        break;
    }
    }
    free(turned);
    return status;
}
FURROW_TASK(turn);

static int own_pid(furrow_task *task) {
    return furrow_task_return(task, "i", (int64_t)getpid());
}
FURROW_TASK(own_pid);

/* --------------------------------------------------------------------- helpers */

static void *must(void *pointer) {
    if (pointer == NULL) {
        fail_msg("%s", furrow_last_error());
    }
    return pointer;
}

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static int entries_of(const char *path) {
    DIR *dir = opendir(path);
    int count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

/* Mappings of shared memory of ours that this process has, and their resident bytes. */
static unsigned maps_now(size_t *resident) {
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[512];
    unsigned count = 0;
    bool ours = false;
    size_t kib;

    assert_non_null(file);
    *resident = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strchr(line, '-') != NULL && strstr(line, " rw-s ") != NULL) {
            ours = strstr(line, "memfd:furrow-home") != NULL ||
                   strstr(line, "memfd:furrow-guest") != NULL;
            count += ours;
        } else if (strstr(line, " r--s ") != NULL) {
            ours = strstr(line, "memfd:furrow-guest") != NULL;
            count += ours;
        } else if (strstr(line, "p ") != NULL && strstr(line, "kB") == NULL) {
            ours = false;
        } else if (ours && sscanf(line, "Rss: %zu kB", &kib) == 1) {
            *resident += kib * KIB;
        }
    }
    fclose(file);
    return count;
}

struct job {
    furrow_future *future;
    uint64_t seed;
    size_t size;
    int form;
};

static void submit(furrow_executor *pool, struct job *job, uint64_t seed, size_t size, int form,
                   const furrow_submit_options *options) {
    uint8_t *bytes;

    *job = (struct job){NULL, seed, size, form};
    if (form % 2 == 1 || form == FORM_BLOCK) {
        furrow_block *block = must(furrow_block_new(pool, size));

        fill(furrow_block_data(block), size, seed);
        job->future = must(
            furrow_submit_with(pool, options, turn, "iiH", (int64_t)seed, (int64_t)form, &block));
        assert_null(block);
        return;
    }
    bytes = malloc(size + 1);
    assert_non_null(bytes);
    fill(bytes, size, seed);
    job->future = must(
        furrow_submit_with(pool, options, turn, "iiB", (int64_t)seed, (int64_t)form, bytes, size));
    free(bytes);
}

static void check(struct job *job) {
    const uint8_t *bytes = NULL;
    int64_t seed = (int64_t)job->seed;
    size_t size = 0;
    furrow_status status = furrow_future_wait(job->future, 60);

    assert_int_equal(status, FURROW_OK);
    if (job->form == 0) {
        status = furrow_future_result(job->future, 0, "B", &bytes, &size);
    } else {
        status = furrow_future_result(job->future, 0, "[iB]", &seed, &bytes, &size);
    }
    if (status != FURROW_OK) {
        fail_msg("%s", furrow_last_error());
    }
    assert_int_equal(seed, job->seed);
    assert_int_equal(size, job->size);
    assert_true(are_of(bytes, size, job->seed, true));
}

static int fds_before, named_before;

static int set_up(void **state) {
    (void)state;
    fds_before = entries_of("/proc/self/fd");
    named_before = entries_of("/dev/shm");
    return 0;
}

static int tear_down(void **state) {
    size_t resident;
    (void)state;
    if (entries_of("/proc/self/fd") != fds_before || entries_of("/dev/shm") != named_before ||
        maps_now(&resident) != 0 || waitpid(-1, NULL, WNOHANG) >= 0) {
        print_error("left behind: %d fds (%d), %d files in /dev/shm (%d), %u mappings\n",
                    entries_of("/proc/self/fd"), fds_before, entries_of("/dev/shm"), named_before,
                    maps_now(&resident));
        return -1;
    }
    return 0;
}

/* ------------------------------------------------------------- what comes back */

static void all_sizes_come_back(const char *url) {
    static const size_t sizes[] = {64 * KIB - 20, 64 * KIB - 1, 64 * KIB,    64 * KIB + 1,
                                   100000,        MIB,          5 * MIB + 3, 16 * MIB};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    furrow_executor *pool = must(furrow_open(url, NULL));
    struct job jobs[SIZES * FORMS];

    for (size_t i = 0; i < SIZES * FORMS; i++) {
        submit(pool, &jobs[i], i, sizes[i / FORMS], (int)(i % FORMS), NULL);
    }
    for (size_t i = 0; i < SIZES * FORMS; i++) {
        check(&jobs[i]);
        furrow_future_unref(&jobs[i].future);
    }
    assert_int_equal(furrow_close(&pool), FURROW_OK);
}

static void through_shared_memory_all_sizes_come_back(void **state) {
    (void)state;
    all_sizes_come_back("processes:2");
    all_sizes_come_back("processes:1?threads=4");
}

static void without_shared_memory_all_sizes_come_back(void **state) {
    (void)state;
    all_sizes_come_back("processes:2?shared_memory=0");
}

/* Some are shared then, others not. */
static void in_too_little_shared_memory_all_sizes_come_back(void **state) {
    (void)state;
    all_sizes_come_back("processes:2?shared_memory=1");
    all_sizes_come_back("processes:2?shared_memory=9");
}

/* The memory's size is limited as a file's; that of the address space is, in workers too. */
static void under_limits_of_the_system_all_sizes_come_back(void **state) {
    static const int resources[] = {RLIMIT_FSIZE, RLIMIT_AS};
    (void)state;
    for (unsigned i = 0; i < LIMITS; i++) {
        struct rlimit before, small;
        assert_int_equal(getrlimit((__rlimit_resource_t)resources[i], &before), 0);
        small = before;
        small.rlim_cur = i == 0 ? 10 * MIB : 1000 * MIB;
        assert_int_equal(setrlimit((__rlimit_resource_t)resources[i], &small), 0);
        all_sizes_come_back("processes:2");
        assert_int_equal(setrlimit((__rlimit_resource_t)resources[i], &before), 0);
    }
}

static void payloads_are_where_the_option_says(void **state) {
    static const char *const urls[] = {"processes:1", "processes:1?shared_memory=0"};
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        furrow_executor *pool = must(furrow_open(urls[i], NULL));
        struct job job;
        size_t resident;
        submit(pool, &job, 3, 8 * MIB, 0, NULL);
        check(&job);
        unsigned maps = maps_now(&resident);
        assert_int_equal(maps > 0, i == 0);
        assert_int_equal(resident >= 16 * MIB, i == 0);
        furrow_future_unref(&job.future);
        assert_int_equal(furrow_close(&pool), FURROW_OK);
    }
}

/* A block is in shared memory from the beginning, and submitting it takes no more of that. A copy would: what
 * is used once is kept as often again. */
static void a_block_is_the_payload_itself(void **state) {
    enum { SIZE = 40 << 20 };
    furrow_executor *pool = must(furrow_open("processes:1", NULL));
    furrow_block *block = must(furrow_block_new(pool, SIZE));
    struct job job = {NULL, 5, SIZE, FORM_BLOCK};
    size_t resident;
    (void)state;
    fill(furrow_block_data(block), SIZE, job.seed);
    (void)maps_now(&resident);
    assert_in_range(resident, SIZE, SIZE + MIB);
    job.future =
        must(furrow_submit(pool, turn, "iiH", (int64_t)job.seed, (int64_t)job.form, &block));
    (void)maps_now(&resident);
    assert_in_range(resident, 1, SIZE + MIB);
    check(&job);
    furrow_future_unref(&job.future);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
}

static void blocks_outlive_their_executor(void **state) {
    furrow_executor *pool = must(furrow_open("processes:1", NULL));
    furrow_block *block = must(furrow_block_new(pool, MIB));
    size_t resident;
    (void)state;
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    assert_true(maps_now(&resident) > 0);
    fill(furrow_block_data(block), MIB, 1);
    assert_true(are_of(furrow_block_data(block), MIB, 1, false));
    furrow_block_free(&block);
    assert_int_equal(maps_now(&resident), 0);
}

static void results_outlive_their_executor(void **state) {
    enum { COUNT = 5 };
    furrow_executor *pool = must(furrow_open("processes:2", NULL));
    struct job jobs[COUNT];
    size_t resident;
    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        submit(pool, &jobs[i], i, 2 * MIB, (int)(i % FORMS), NULL);
    }
    assert_int_equal(furrow_close(&pool), FURROW_OK);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_true(maps_now(&resident) > 0);
        check(&jobs[i]);
        furrow_future_unref(&jobs[i].future);
    }
    assert_int_equal(maps_now(&resident), 0);
}

/* ---------------------------------------------------------------------- memory */

/* Results of dead and retired workers stay for as long as they are wanted, and no longer. */
static void replaced_workers_leave_no_memory(void **state) {
    enum { COUNT = 40 };
    furrow_executor *pool = must(furrow_open("processes:2?max_tasks_per_child=2", NULL));
    struct job jobs[COUNT];
    size_t resident, most = 0;
    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        submit(pool, &jobs[i], i, MIB, (int)(i % FORMS), NULL);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        check(&jobs[i]);
        furrow_future_unref(&jobs[i].future);
        (void)maps_now(&resident);
        most = resident > most ? resident : most;
    }
    assert_in_range(most, MIB, 2 * COUNT * (MIB + 64 * KIB));
    assert_int_equal(furrow_close(&pool), FURROW_OK);
}

/* However many tasks there were, no more memory is in use than the window needs and what may be kept. */
static void memory_does_not_grow_with_the_tasks(void **state) {
    enum { WINDOW = 4, ROUNDS = 60 };
    furrow_executor *pool = must(furrow_open("processes:2", NULL));
    struct job jobs[WINDOW];
    size_t resident;
    (void)state;
    for (unsigned i = 0; i < WINDOW * ROUNDS; i++) {
        struct job *job = &jobs[i % WINDOW];
        if (i >= WINDOW) {
            check(job);
            furrow_future_unref(&job->future);
        }
        submit(pool, job, i, 2 * MIB + i % 7 * 100000, 0, NULL);
    }
    for (unsigned i = 0; i < WINDOW; i++) {
        check(&jobs[i]);
        furrow_future_unref(&jobs[i].future);
    }
    (void)maps_now(&resident);
    assert_in_range(resident, 2 * MIB, 3 * 32 * MIB + 3 * WINDOW * 3 * MIB);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
}

static void killed_workers_spoil_nothing(void **state) {
    enum { WINDOW = 8, COUNT = 160, KILLS = 12 };
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;
    furrow_executor *pool = must(furrow_open("processes:2", NULL));
    struct job jobs[WINDOW];
    furrow_future *who = NULL;
    unsigned kills = 0;
    size_t resident, most = 0;
    int fds_most = 0;
    (void)state;

    options.max_attempts = 1000;
    for (unsigned i = 0; i < COUNT; i++) {
        struct job *job = &jobs[i % WINDOW];
        int64_t pid;

        if (i >= WINDOW) {
            check(job);
            furrow_future_unref(&job->future);
        }
        submit(pool, job, i, 64 * KIB + (i * 7919) % 40 * 64 * KIB, (int)(i % FORMS), &options);
        if (who == NULL) {
            who = must(furrow_submit_with(pool, &options, own_pid, ""));
        } else if (furrow_future_done(who) && kills < KILLS) {
            if (furrow_future_result(who, 0, "i", &pid) == FURROW_OK &&
                kill((pid_t)pid, SIGKILL) == 0) {
                kills++;
            }
            furrow_future_unref(&who);
        }
        (void)maps_now(&resident);
        most = resident > most ? resident : most;
        fds_most = entries_of("/proc/self/fd") > fds_most ? entries_of("/proc/self/fd") : fds_most;
    }
    for (unsigned i = 0; i < WINDOW; i++) {
        check(&jobs[(COUNT + i) % WINDOW]);
        furrow_future_unref(&jobs[(COUNT + i) % WINDOW].future);
    }
    furrow_future_unref(&who);
    assert_true(kills > KILLS / 3);
    /* home's, those of the living workers, and of the dead what is in the window */
    assert_in_range(most, MIB, 3 * 32 * MIB + 3 * WINDOW * 3 * MIB);
    assert_in_range(fds_most, fds_before, fds_before + 30);
    assert_int_equal(furrow_close(&pool), FURROW_OK);
}

/* A program that is killed while its pool is at it: the kernel has all back when the last has gone. */
static int be_killed(int fd) {
    furrow_executor *pool = furrow_open("processes:2", NULL);
    furrow_future *who[2] = {NULL, NULL};
    static uint8_t bytes[MIB];
    int64_t pid;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    fill(bytes, sizeof bytes, 1);
    for (unsigned i = 0; pool != NULL && i < 100; i++) {
        (void)furrow_submit(pool, turn, "iiB", (int64_t)1, (int64_t)0, bytes, sizeof bytes);
        if (i < 2) {
            who[i] = furrow_submit(pool, own_pid, "");
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        if (furrow_future_result(who[i], 60, "i", &pid) != FURROW_OK ||
            write(fd, &pid, sizeof pid) != (ssize_t)sizeof pid) {
            return 1;
        }
    }
    for (;;) {
        pause();
    }
}

static void a_killed_program_leaves_nothing(void **state) {
    int64_t workers[2] = {0, 0};
    int ends[2];
    char number[16];
    pid_t pid;
    (void)state;

    assert_int_equal(pipe(ends), 0);
    snprintf(number, sizeof number, "%d", ends[1]);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "test_large", "--be-killed", number, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(read(ends[0], &workers[i], sizeof workers[i]), sizeof workers[i]);
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    for (unsigned i = 0; i < 2; i++) {
        for (int tries = 0; kill((pid_t)workers[i], 0) == 0 && tries < 20000; tries++) {
            pause_ms(1);
        }
        assert_int_equal(kill((pid_t)workers[i], 0), -1);
    }
    close(ends[0]);
}

int main(int argc, char **argv) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(through_shared_memory_all_sizes_come_back),
        TEST(without_shared_memory_all_sizes_come_back),
        TEST(in_too_little_shared_memory_all_sizes_come_back),
        TEST(under_limits_of_the_system_all_sizes_come_back),
        TEST(payloads_are_where_the_option_says),
        TEST(a_block_is_the_payload_itself),
        TEST(blocks_outlive_their_executor),
        TEST(results_outlive_their_executor),
        TEST(replaced_workers_leave_no_memory),
        TEST(memory_does_not_grow_with_the_tasks),
        TEST(killed_workers_spoil_nothing),
        TEST(a_killed_program_leaves_nothing),
    };

    furrow_init(&argc, &argv);
    if (argc == 3 && strcmp(argv[1], "--be-killed") == 0) {
        return be_killed(atoi(argv[2]));
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
