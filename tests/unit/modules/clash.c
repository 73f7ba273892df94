/* Has a task whose name is that of a task in two.c. */
#include <furrow.h>

static int module_other(furrow_task *task) {
    (void)task;
    return FURROW_OK;
}
FURROW_TASK(module_other);

static int module_second(furrow_task *task) {
    (void)task;
    return FURROW_OK;
}
FURROW_TASK(module_second);
