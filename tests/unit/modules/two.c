#include <furrow.h>

static int module_first(furrow_task *task) {
    (void)task;
    return FURROW_OK;
}
FURROW_TASK(module_first);

static int module_second(furrow_task *task) {
    (void)task;
    return 2;
}
FURROW_TASK(module_second);
