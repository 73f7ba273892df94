#include "task/registry.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "task/status.h"
#include "wire/limits.h"

/* A name that is or was registered. Entries are never freed, because an index is for ever; there are as
 * many as there are task functions in all the code that this process has ever loaded. */
struct entry {
    struct base_map_node node;
    furrow_function *function; /* NULL: not registered now */
    uint32_t index;
    char name[];
};

/* All of it is usable while it is zero: constructors run before anything could set it up. The hash is
 * not seeded, since names come from the program's own code. */
static struct {
    pthread_mutex_t lock;
    struct base_map names;
    struct entry **entries; /* by index */
    uint32_t count, room;
    size_t refused;
    const char *refused_name;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local struct task_collector *collector;

static struct entry *entry_find(const char *name, size_t name_size) {
    struct base_map_node *node = base_map_find(&registry.names, name, name_size);

    return node == NULL ? NULL : BASE_CONTAINER_OF(node, struct entry, node);
}

/* Gives a name its entry and index. NULL: no memory, or there are too many. */
static struct entry *entry_new(const char *name, size_t name_size) {
    struct entry *entry;

    if (registry.count == WIRE_FUNCTIONS_MAX) {
        return NULL;
    }
    if (registry.count == registry.room) {
        uint32_t room = registry.room == 0 ? 16 : registry.room * 2;
        struct entry **entries = realloc(registry.entries, room * sizeof *entries);

        if (entries == NULL) {
            return NULL;
        }
        registry.entries = entries;
        registry.room = room;
    }
    entry = calloc(1, sizeof *entry + name_size + 1);
    if (entry == NULL) {
        return NULL;
    }
    memcpy(entry->name, name, name_size);
    if (base_map_insert(&registry.names, &entry->node, entry->name, name_size) !=
        BASE_MAP_INSERTED) {
        free(entry);
        return NULL;
    }
    entry->index = registry.count;
    registry.entries[registry.count++] = entry;
    return entry;
}

/* Takes the function in under its name, or returns false. */
static bool enter(furrow_function *function) {
    size_t size = strnlen(function->name, WIRE_NAME_BYTES_MAX + 1);
    struct entry *entry;

    if (size == 0 || size > WIRE_NAME_BYTES_MAX) {
        return false;
    }
    entry = entry_find(function->name, size);
    if (entry == NULL) {
        entry = entry_new(function->name, size);
    }
    if (entry == NULL || entry->function != NULL) {
        return false;
    }
    function->index = entry->index;
    entry->function = function;
    return true;
}

static void collect(furrow_function *function, bool entered) {
    if (!entered) {
        if (collector->refused++ == 0) {
            collector->refused_name = function->name;
        }
        return;
    }
    if (collector->last == NULL) {
        collector->first = function;
    } else {
        collector->last->next = function;
    }
    collector->last = function;
    collector->count++;
}

void furrow_function_register(furrow_function *function) {
    bool entered;

    pthread_mutex_lock(&registry.lock);
    function->index = TASK_INDEX_NONE;
    function->next = NULL;
    entered = enter(function);
    if (!entered) {
        registry.refused++;
        registry.refused_name = function->name;
    }
    pthread_mutex_unlock(&registry.lock);
    if (collector != NULL) {
        collect(function, entered);
    }
}

void furrow_function_unregister(furrow_function *function) {
    pthread_mutex_lock(&registry.lock);
    if (function->index != TASK_INDEX_NONE && function->index < registry.count &&
        registry.entries[function->index]->function == function) {
        registry.entries[function->index]->function = NULL;
    }
    if (registry.refused_name == function->name) {
        registry.refused_name = NULL;
    }
    function->index = TASK_INDEX_NONE;
    pthread_mutex_unlock(&registry.lock);
}

const furrow_function *task_registry_find(const char *name, size_t name_size) {
    const furrow_function *function = NULL;
    struct entry *entry;

    pthread_mutex_lock(&registry.lock);
    entry = entry_find(name, name_size);
    if (entry != NULL) {
        function = entry->function;
    }
    pthread_mutex_unlock(&registry.lock);
    return function;
}

furrow_status task_registry_list(struct task_function_list *list) {
    uint32_t room;

    memset(list, 0, sizeof *list);
    pthread_mutex_lock(&registry.lock);
    room = registry.count > 0 ? registry.count : 1;
    list->functions = malloc(room * sizeof *list->functions);
    list->names = malloc(room * sizeof *list->names);
    if (list->functions != NULL && list->names != NULL) {
        for (uint32_t i = 0; i < registry.count; i++) {
            furrow_function *function = registry.entries[i]->function;

            if (function != NULL) {
                list->functions[list->count] = function;
                list->names[list->count++] = function->name;
            }
        }
    }
    pthread_mutex_unlock(&registry.lock);
    if (list->functions == NULL || list->names == NULL) {
        task_function_list_fini(list);
        return task_set_plain_error(FURROW_ENOMEM);
    }
    return FURROW_OK;
}

void task_function_list_fini(struct task_function_list *list) {
    free(list->functions);
    free(list->names);
    memset(list, 0, sizeof *list);
}

size_t task_registry_refused(const char **name) {
    size_t refused;

    pthread_mutex_lock(&registry.lock);
    refused = registry.refused;
    if (name != NULL) {
        *name = registry.refused_name == NULL ? "" : registry.refused_name;
    }
    pthread_mutex_unlock(&registry.lock);
    return refused;
}

void task_collect_begin(struct task_collector *into) {
    BASE_ASSERT(collector == NULL);
    memset(into, 0, sizeof *into);
    collector = into;
}

void task_collect_end(struct task_collector *into) {
    BASE_ASSERT(collector == into);
    collector = NULL;
}
