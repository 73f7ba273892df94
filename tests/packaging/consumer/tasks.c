/* A task as a user of the installed library writes it; linked into the program, and a module. */
#include <furrow.h>

static int add(furrow_task *task) {
    int64_t a, b;
    if (furrow_task_args(task, "ii", &a, &b) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", a + b);
}
FURROW_TASK(add);
