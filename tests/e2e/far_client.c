/* A client for namespaces.sh: submits tasks and checks every result.
 *
 *   far_client URL TASKS MICROSECONDS [BYTES]
 *
 * Each task takes so long, and has an argument of BYTES if that is given. Exits with 0 if every future
 * got the right value, once. Prints what it saw as figures. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/e2e/fault_tasks.h"

enum { PATIENCE_S = 120 };

static void on_log(void *user, furrow_log_level level, const char *line) {
    (void)user;
    (void)level;
    fprintf(stderr, "library: %s\n", line);
}

/* Where the tasks count themselves: the file may not be there yet. */
static bool make_book(void) {
    const char *path = getenv("FURROW_E2E_BOOK");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool made = fd >= 0 && ftruncate(fd, sizeof(struct book)) == 0;

    if (fd >= 0) {
        close(fd);
    }
    return made && book() != NULL;
}

static furrow_status count_call(furrow_future *future, void *user) {
    (void)future;
    atomic_fetch_add((atomic_uint *)user, 1);
    return FURROW_OK;
}

static furrow_future *submit(furrow_executor *pool, int64_t i, int64_t us, const void *bytes,
                             size_t size) {
    furrow_submit_options options = FURROW_SUBMIT_OPTIONS_INIT;

    options.max_attempts = 100;
    return size > 0 ? furrow_submit_with(pool, &options, weigh, "B", bytes, size)
                    : furrow_submit_with(pool, &options, work, "ii", i, us);
}

static bool is_right(furrow_future *future, int64_t i, size_t size, double timeout) {
    const furrow_error *error = NULL;
    int64_t value = -1;

    if (furrow_future_result(future, timeout, "i", &value) == FURROW_OK) {
        return value == (size > 0 ? (int64_t)size : mixed(i));
    }
    (void)furrow_future_error(future, 0, &error);
    fprintf(stderr, "task %lld: %s\n", (long long)i,
            error != NULL ? error->message : furrow_last_error());
    return false;
}

static int run(furrow_executor *pool, int64_t count, int64_t us, size_t size) {
    furrow_future **futures = calloc((size_t)count, sizeof(furrow_future *));
    atomic_uint *calls = calloc((size_t)count, sizeof *calls);
    unsigned char *bytes = malloc(size + 1);
    double until = (double)stamp_ns() * 1e-9 + PATIENCE_S, start = until - PATIENCE_S;
    int64_t lost = 0, duplicates = 0, reruns = 0;

    memset(bytes, 1, size + 1);
    for (int64_t i = 0; i < count; i++) {
        futures[i] = submit(pool, i, us, bytes, size);
        if (futures[i] == NULL ||
            furrow_future_add_done_callback(futures[i], count_call, &calls[i]) != FURROW_OK) {
            fprintf(stderr, "%s\n", furrow_last_error());
            return 1;
        }
    }
    for (int64_t i = 0; i < count; i++) {
        double left = until - (double)stamp_ns() * 1e-9;

        lost += !is_right(futures[i], i, size, left > 0 ? left : 0);
    }
    printf("seconds\t%.3f\ts\n", (double)stamp_ns() * 1e-9 - start);
    if (lost > 0) {
        (void)furrow_shutdown_within(pool, 0, 1);
    }
    furrow_close(&pool);
    for (int64_t i = 0; i < count; i++) {
        unsigned runs = atomic_load(&book()->runs[i % BOOK_TASKS]);

        furrow_future_unref(&futures[i]);
        duplicates += atomic_load(&calls[i]) > 1;
        reruns += runs > 1 ? runs - 1 : 0;
    }
    printf("tasks\t%lld\ttasks\ntasks_lost\t%lld\ttasks\nduplicates_seen\t%lld\ttasks\n"
           "reruns\t%lld\truns\n",
           (long long)count, (long long)lost, (long long)duplicates, (long long)reruns);
    free(futures);
    free(calls);
    free(bytes);
    return lost == 0 && duplicates == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    furrow_options options = FURROW_OPTIONS_INIT;
    furrow_executor *pool;

    if (argc < 4 || atoll(argv[2]) > BOOK_TASKS) {
        fprintf(stderr, "usage: %s URL TASKS MICROSECONDS [BYTES]\n", argv[0]);
        return 2;
    }
    options.log = on_log;
    if (!make_book() || (pool = furrow_open(argv[1], &options)) == NULL) {
        fprintf(stderr, "%s\n", furrow_last_error());
        return 1;
    }
    return run(pool, atoll(argv[2]), atoll(argv[3]),
               argc > 4 ? (size_t)strtoull(argv[4], NULL, 10) : 0);
}
