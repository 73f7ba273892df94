#include "tests/bench/bench.h"

#include <time.h>

static int bench_noop(furrow_task *task) {
    int64_t i;

    if (furrow_task_args(task, "i", &i) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", i);
}

static int bench_echo(furrow_task *task) {
    const void *bytes;
    size_t size;

    if (furrow_task_args(task, "v", &bytes, &size) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return_packed(task, bytes, size);
}

static int64_t now_ns(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Works for a time rather than a number of turns: on a machine shared with others an efficiency
 * above 1 would come out otherwise. */
static int bench_spin(furrow_task *task) {
    int64_t ns;

    if (furrow_task_args(task, "i", &ns) != FURROW_OK) {
        return FURROW_EARGS;
    }
    for (int64_t until = now_ns() + ns; now_ns() < until;) {
    }
    return furrow_task_return(task, "i", ns);
}

FURROW_TASK(bench_noop);
FURROW_TASK(bench_echo);
FURROW_TASK(bench_spin);
