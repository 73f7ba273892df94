/* A worker process, from the inside. */
#ifndef WORKER_CHILD_H
#define WORKER_CHILD_H

#include <stdbool.h>

/* The first argument of a worker process begins so. What follows it there is of no concern to others,
 * see worker/spawn.h. */
#define WORKER_CHILD_ARGUMENT "--furrow-child="

/* worker_is_child tells whether this process was started by worker/supervisor.h. */
bool worker_is_child(int argc, char *const *argv);

/* worker_child_main serves tasks and never returns, if this is a worker process; else it returns at
 * once and does nothing. To be called first thing in main. */
void worker_child_main(int argc, char **argv);

#endif
