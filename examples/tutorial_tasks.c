#include <inttypes.h>

#include "tasks.h"

static int slow_foo(furrow_task *task) {
    double seconds;
    if (furrow_task_args(task, "d", &seconds) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (furrow_task_sleep(task, seconds) != FURROW_OK) {
        return FURROW_ECANCELLED;
    }
    return furrow_task_return(task, "s", "foo");
}
FURROW_TASK(slow_foo);

static int do_work(furrow_task *task) {
    double seconds;
    int64_t i;
    if (furrow_task_args(task, "di", &seconds, &i) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (furrow_task_sleep(task, seconds) != FURROW_OK) {
        return FURROW_ECANCELLED;
    }
    return furrow_task_returnf(task, "foo-%" PRId64, i);
}
FURROW_TASK(do_work);
