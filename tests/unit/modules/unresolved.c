/* Needs a symbol that is nowhere. */
#include <furrow.h>

int module_symbol_that_is_nowhere(void);

static int module_unresolved(furrow_task *task) {
    (void)task;
    return module_symbol_that_is_nowhere();
}
FURROW_TASK(module_unresolved);
