#include "libclient/engine.h"

#include "worker/child.h"

/* Set before main goes on, and so before there are threads. */
static bool may_run_again;

void furrow_init(int *argc, char ***argv) {
    if (argc == NULL || argv == NULL) {
        return;
    }
    worker_child_main(*argc, *argv);
    may_run_again = true;
}

bool engine_may_run_again(void) {
    return may_run_again;
}
