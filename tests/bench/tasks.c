#include "tests/bench/bench.h"
#include "tests/bench/work.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

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

/* Both read all of the payload and make another as large, of other bytes. */
static int bench_remake(furrow_task *task) {
    static _Thread_local uint8_t *made; /* kept from task to task, as a program would */
    static _Thread_local size_t room;
    const void *bytes;
    size_t size;

    if (furrow_task_args(task, "B", &bytes, &size) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (size > room) {
        free(made);
        made = malloc(size);
        room = made == NULL ? 0 : size;
    }
    if (size > room) {
        return FURROW_ENOMEM;
    }
    bench_turn(made, bytes, size);
    return furrow_task_return(task, "B", made, size);
}

static int bench_remake_block(furrow_task *task) {
    furrow_block *block;
    const void *bytes;
    size_t size;
    int status;

    if (furrow_task_args(task, "B", &bytes, &size) != FURROW_OK) {
        return FURROW_EARGS;
    }
    block = furrow_task_block(task, size);
    if (block == NULL) {
        return FURROW_ENOMEM;
    }
    bench_turn(furrow_block_data(block), bytes, size);
    status = furrow_task_return(task, "H", &block);
    furrow_block_free(&block);
    return status;
}

static int bench_spin(furrow_task *task) {
    int64_t iterations;

    if (furrow_task_args(task, "i", &iterations) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", (int64_t)(bench_work((uint64_t)iterations) >> 1));
}

static int bench_gate(furrow_task *task) {
    const char *path;

    if (furrow_task_args(task, "s", &path) != FURROW_OK) {
        return FURROW_EARGS;
    }
    for (int ms = 0; ms < 60000 && access(path, F_OK) == 0; ms++) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    return furrow_task_return(task, "i", (int64_t)getpid());
}

static int64_t now_ns(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Long ones sleep: what is measured is who gives them out, not how processors are shared. */
static int bench_trace(furrow_task *task) {
    enum { SLEEP_NS_MIN = 1000000 };
    int64_t ns, began = now_ns();

    if (furrow_task_args(task, "i", &ns) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (ns >= SLEEP_NS_MIN) {
        nanosleep(&(struct timespec){ns / 1000000000, ns % 1000000000}, NULL);
    }
    while (now_ns() < began + ns) {
    }
    return furrow_task_return(task, "iii", began, now_ns(), (int64_t)getpid());
}

FURROW_TASK(bench_noop);
FURROW_TASK(bench_echo);
FURROW_TASK(bench_remake);
FURROW_TASK(bench_remake_block);
FURROW_TASK(bench_spin);
FURROW_TASK(bench_gate);
FURROW_TASK(bench_trace);
