/* The task functions of this process, by name. Constructors of the program and of its modules fill it
 * in (furrow_function_register), before main or inside dlopen. One for the process; all functions are
 * thread-safe and only lock for short. */
#ifndef TASK_REGISTRY_H
#define TASK_REGISTRY_H

#include <furrow.h>

#include <stddef.h>
#include <stdint.h>

/* furrow_function.index of one that is not registered: its name was taken, too long or empty, or there
 * was no memory. Every name ever registered has an index of its own, from 0 without gaps, and keeps it
 * for the life of the process, also when its module is unloaded and loaded again: so the index may be
 * used as a key of tables. */
#define TASK_INDEX_NONE UINT32_MAX

/* task_registry_find returns the function of that name, or NULL. It lives as long as the module that
 * brought it. */
const furrow_function *task_registry_find(const char *name, size_t name_size);

/* All functions at one moment, in the order of their indices. The two arrays run in parallel; names
 * points to the functions' own names. */
struct task_function_list {
    const furrow_function **functions;
    const char **names;
    uint32_t count;
};

/* task_registry_list fills in `list`, to be freed with task_function_list_fini. Returns FURROW_OK, or
 * FURROW_ENOMEM with nothing to free. */
furrow_status task_registry_list(struct task_function_list *list);
void task_function_list_fini(struct task_function_list *list);

/* task_registry_refused returns how many registrations were ignored so far, and in *name (may be NULL)
 * the name of the last one ("" if none): for a note in the log. The name lives as long as the
 * function. */
size_t task_registry_refused(const char **name);

/* What was registered by this thread between begin and end: how a module tells its functions apart. The
 * functions are linked by furrow_function.next in order. Not nested. */
struct task_collector {
    furrow_function *first, *last;
    uint32_t count;
    uint32_t refused;         /* ignored ones among what was registered */
    const char *refused_name; /* the first of them */
};
void task_collect_begin(struct task_collector *collector);
void task_collect_end(struct task_collector *collector);

#endif
