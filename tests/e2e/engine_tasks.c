#include "tests/e2e/engine_tasks.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static int twice(furrow_task *task) {
    int64_t i;

    if (furrow_task_args(task, "i", &i) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", 2 * i);
}
FURROW_TASK(twice);

static int pid_of_worker(furrow_task *task) {
    return furrow_task_return(task, "i", (int64_t)getpid());
}
FURROW_TASK(pid_of_worker);

static int sleep_for(furrow_task *task) {
    double seconds;

    if (furrow_task_args(task, "d", &seconds) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_sleep(task, seconds) == FURROW_OK ? FURROW_OK : FURROW_ECANCELLED;
}
FURROW_TASK(sleep_for);

static int die_once(furrow_task *task) {
    const char *path;
    FILE *file;

    if (furrow_task_args(task, "s", &path) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (access(path, F_OK) == 0) {
        return furrow_task_return(task, "i", (int64_t)2);
    }
    file = fopen(path, "we");
    if (file != NULL) {
        fclose(file);
    }
    raise(SIGKILL);
    return FURROW_OK;
}
FURROW_TASK(die_once);

static int echo(furrow_task *task) {
    const void *bytes;
    size_t size;

    if (furrow_task_args(task, "v", &bytes, &size) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return_packed(task, bytes, size);
}
FURROW_TASK(echo);
