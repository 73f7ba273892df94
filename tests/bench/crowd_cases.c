/* What many connections cost the broker: processor time a task with so many workers or clients. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { WORKERS = 2, CLIENTS_MAX = 100, ROUNDS = 3 };

/* ------------------------------------------------------------------ the crowd */

/* A process with `workers` workers in it (crowd.c). Returns when all of them are registered. */
static pid_t start_crowd(int workers) {
    char number[16], line[16];
    char *argv[] = {FURROW_BENCH_CROWD_PATH, (char *)bench_fleet_url(), number, NULL};
    posix_spawn_file_actions_t actions;
    int fds[2];
    pid_t pid;

    snprintf(number, sizeof number, "%d", workers);
    if (pipe(fds) != 0) {
        return -1;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, fds[0]);
    int error = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    ssize_t got = error == 0 ? read(fds[0], line, sizeof line) : 0;
    close(fds[0]);
    if (error != 0) {
        return -1;
    }
    if (got <= 0) {
        waitpid(pid, NULL, 0);
        return -1;
    }
    return pid;
}

static void end_crowd(pid_t pid) {
    if (pid > 0) {
        kill(pid, SIGTERM);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
}

/* -------------------------------------------------------------------- measuring */

/* Submits to the executors in turn, and reads all. */
static bool round_over(furrow_executor **executors, int executor_count, furrow_future **futures,
                       int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        futures[i] = furrow_submit(executors[i % executor_count], bench_noop, "i", i);
        if (futures[i] == NULL) {
            return bench_complain("submit");
        }
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t value = -1;
        if (furrow_future_result(futures[i], -1, "i", &value) != FURROW_OK || value != i) {
            return bench_complain("result");
        }
        furrow_future_unref(&futures[i]);
    }
    return true;
}

static double measure(const struct bench_case *self, furrow_executor **executors,
                      int executor_count) {
    int64_t count = bench_count(self->count);
    furrow_future **futures = calloc((size_t)count, sizeof *futures);
    double rate = -1;

    if (futures != NULL && round_over(executors, executor_count, futures, count)) {
        double start = bench_now(), broker = bench_cpu_seconds(bench_broker_pid());
        int round = 0;
        while (round < ROUNDS && round_over(executors, executor_count, futures, count)) {
            round++;
        }
        broker = bench_cpu_seconds(bench_broker_pid()) - broker;
        if (round == ROUNDS) {
            rate = (double)(count * ROUNDS) / (bench_now() - start);
            bench_also(self, ".cpu_broker", broker * 1e6 / (double)(count * ROUNDS), "us");
        }
    }
    bench_unref_all(futures, futures != NULL ? count : 0);
    free(futures);
    return rate;
}

static double with_workers(const struct bench_case *self) {
    struct bench_pool pool;
    double rate = -1;

    if (!bench_open(&pool, self->url, 0)) {
        return -1;
    }
    pid_t crowd = start_crowd((int)self->parameter);
    if (crowd > 0) {
        rate = measure(self, &pool.executor, 1);
    } else {
        fprintf(stderr, "furrow-bench: the crowd of workers can't begin\n");
    }
    end_crowd(crowd);
    bench_close(&pool);
    return rate;
}

static double with_clients(const struct bench_case *self) {
    struct bench_pool pool;
    furrow_executor *executors[CLIENTS_MAX] = {NULL};
    int clients = (int)self->parameter;
    double rate = -1;
    bool good = true;

    if (!bench_open(&pool, self->url, WORKERS)) {
        return -1;
    }
    for (int i = 0; good && i < clients; i++) {
        executors[i] = furrow_open(bench_fleet_url(), NULL);
        good = executors[i] != NULL || bench_complain("open");
    }
    if (good) {
        rate = measure(self, executors, clients);
    }
    for (int i = 0; i < clients; i++) {
        furrow_close(&executors[i]);
    }
    bench_close(&pool);
    return rate;
}

const struct bench_case bench_crowd_cases[] = {
    {"tcp.workers_2", "tasks/s", with_workers, "tcp", 300000, 2},
    {"tcp.workers_10", "tasks/s", with_workers, "tcp", 300000, 10},
    {"tcp.workers_100", "tasks/s", with_workers, "tcp", 300000, 100},
    {"tcp.workers_1000", "tasks/s", with_workers, "tcp", 300000, 1000},
    {"tcp.clients_1", "tasks/s", with_clients, "tcp", 300000, 1},
    {"tcp.clients_10", "tasks/s", with_clients, "tcp", 300000, 10},
    {"tcp.clients_100", "tasks/s", with_clients, "tcp", 300000, 100},
    {NULL, NULL, NULL, NULL, 0, 0},
};
