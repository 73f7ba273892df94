#include "tests/bench/work.h"

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES_MAX = 16, CHUNK = 100000 };

static double seconds(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double rate_of_one(void) {
    static volatile uint64_t sink;
    double start = seconds(), now;
    uint64_t done = 0;

    do {
        sink = bench_work(CHUNK);
        done += CHUNK;
        now = seconds();
    } while (now - start < 0.05);
    (void)sink;
    return (double)done / (now - start);
}

double bench_work_peak(int processes) {
    pid_t pids[PROCESSES_MAX];
    double sum = 0, rate;
    int fds[2], started = 0;

    if (processes > PROCESSES_MAX || pipe(fds) != 0) {
        return 0;
    }
    for (; started < processes; started++) {
        pids[started] = fork();
        if (pids[started] == 0) {
            rate = rate_of_one();
            _exit(write(fds[1], &rate, sizeof rate) == (ssize_t)sizeof rate ? 0 : 1);
        }
        if (pids[started] < 0) {
            break;
        }
    }
    close(fds[1]);
    while (read(fds[0], &rate, sizeof rate) == (ssize_t)sizeof rate) {
        sum += rate;
    }
    close(fds[0]);
    for (int i = 0; i < started; i++) {
        waitpid(pids[i], NULL, 0);
    }
    return started == processes ? sum : 0;
}
