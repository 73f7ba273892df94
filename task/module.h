/* Task modules: shared objects whose constructors register task functions. */
#ifndef TASK_MODULE_H
#define TASK_MODULE_H

#include <furrow.h>

#include <stdint.h>

struct task_module;

/* task_module_load loads the shared object at `path` (a file's path, also without a slash; the library
 * search path is not used) and registers its functions. Blocks while it is loaded; its constructors run
 * in this thread.
 *
 * Returns FURROW_OK and the module, which stays loaded until task_module_unload. Errors, each with a
 * text that names the path:
 *   FURROW_EINVAL  no such file, not a file, not a shared object, an unresolved symbol, already loaded,
 *                  no task in it, a task whose name is taken by the program or another module
 *   FURROW_ENOMEM
 *   FURROW_ESYSTEM the file can't be read */
furrow_status task_module_load(const char *path, struct task_module **module);

/* task_module_unload unregisters the module's functions and unloads it; none of them may run. NULL is
 * fine. A process that serves a module to its end need not call it. */
void task_module_unload(struct task_module *module);

uint32_t task_module_count(const struct task_module *module);
/* The functions in the order in which they were registered; i < count. */
const furrow_function *task_module_function(const struct task_module *module, uint32_t i);

#endif
