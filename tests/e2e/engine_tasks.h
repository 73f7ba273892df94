/* The tasks of test_engine: part of the program, and a module for the workers of a fleet. */
#ifndef E2E_ENGINE_TASKS_H
#define E2E_ENGINE_TASKS_H

#include <furrow.h>

FURROW_TASK_EXTERN(twice);         /* (i) -> 2 i */
FURROW_TASK_EXTERN(pid_of_worker); /* () -> i */
FURROW_TASK_EXTERN(sleep_for);     /* (seconds) -> nil */
FURROW_TASK_EXTERN(
    die_once);            /* (path): kills itself if there is no such file, and makes it; else 2 */
FURROW_TASK_EXTERN(echo); /* (v) -> v */

#endif
