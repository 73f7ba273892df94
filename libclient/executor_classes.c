#include "libclient/executor_classes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buffer.h"
#include "task/registry.h"
#include "task/status.h"

#define TABLE_MIN   16U
#define RETRIES_MAX 1000000
#define NO_LIMIT    0
#define SECONDS_MAX 1e9 /* longer times count as this */

static const furrow_submit_options default_options = FURROW_SUBMIT_OPTIONS_INIT;

/* ------------------------------------------------------- options into a definition */

/* Milliseconds, rounded up, so that no limit becomes none by rounding. */
static uint64_t milliseconds(double seconds) {
    double ms = ceil((seconds < SECONDS_MAX ? seconds : SECONDS_MAX) * 1e3);

    return ms < 1 ? 1 : (uint64_t)ms;
}

static furrow_status read_timeout(double seconds, const char *name, uint64_t *ms) {
    if (isnan(seconds)) {
        return task_set_error(FURROW_EINVAL, "%s is not a number", name);
    }
    *ms = seconds < 0 ? NO_LIMIT : milliseconds(seconds);
    return FURROW_OK;
}

/* Splits "a,b" at its commas; spaces around a tag are not part of it. */
static furrow_status read_tags(const char *text, struct wire_define *define) {
    define->tag_count = 0;
    while (text != NULL && *text != '\0') {
        size_t length = strcspn(text, ",");
        const char *next = text + length + (text[length] == ',');

        while (length > 0 && *text == ' ') {
            text++;
            length--;
        }
        while (length > 0 && text[length - 1] == ' ') {
            length--;
        }
        if (length == 0) {
            return task_set_error(FURROW_EINVAL, "tags: an empty tag");
        }
        if (length > WIRE_NAME_BYTES_MAX || define->tag_count == WIRE_TAGS_MAX) {
            return task_set_error(FURROW_ETOOBIG, "tags: at most %u of at most %u bytes",
                                  WIRE_TAGS_MAX, WIRE_NAME_BYTES_MAX);
        }
        define->tags[define->tag_count].data = text;
        define->tags[define->tag_count].size = length;
        define->tag_count++;
        text = next;
    }
    return FURROW_OK;
}

static furrow_status read_options(const furrow_submit_options *options,
                                  struct wire_define *define) {
    furrow_status status;

    if (options->priority < -128 || options->priority > 127) {
        return task_set_error(FURROW_EINVAL, "priority %d is not within -128 .. 127",
                              options->priority);
    }
    if (options->max_attempts < 1 || options->max_attempts > (int)WIRE_ATTEMPTS_MAX) {
        return task_set_error(FURROW_EINVAL, "max_attempts %d is not within 1 .. %u",
                              options->max_attempts, WIRE_ATTEMPTS_MAX);
    }
    if (options->retries < 0 || options->retries > RETRIES_MAX) {
        return task_set_error(FURROW_EINVAL, "retries %d is not within 0 .. %d", options->retries,
                              RETRIES_MAX);
    }
    if (!(options->retry_delay >= 0)) {
        return task_set_error(FURROW_EINVAL, "retry_delay is negative or not a number");
    }
    define->priority = options->priority;
    define->max_attempts = (uint32_t)options->max_attempts;
    define->retries = (uint32_t)options->retries;
    define->retry_ms = options->retry_delay > 0 ? milliseconds(options->retry_delay) : 0;
    if (options->at_most_once) {
        define->flags |= WIRE_FLAG_AT_MOST_ONCE;
    }
    status = read_timeout(options->queue_timeout, "queue_timeout", &define->queue_ms);
    if (status == FURROW_OK) {
        status = read_timeout(options->run_timeout, "run_timeout", &define->run_ms);
    }
    return status == FURROW_OK ? read_tags(options->tags, define) : status;
}

/* ------------------------------------------------------------------- the classes */

/* A definition as bytes, by which equal ones are found: the numbers, the name, the tags. Two functions
 * of one name (the second was not registered) are told apart by their address. */
static bool write_key(struct base_buffer *key, const struct wire_define *define,
                      const furrow_function *function) {
    const uint64_t numbers[] = {
        (uint64_t)(uintptr_t)function,
        define->flags,
        (uint64_t)define->priority,
        define->max_attempts,
        define->queue_ms,
        define->run_ms,
        define->retries,
        define->retry_ms,
        define->tag_count,
        define->function.size,
    };

    base_buffer_append(key, numbers, sizeof numbers);
    base_buffer_append(key, define->function.data, define->function.size);
    for (uint32_t i = 0; i < define->tag_count; i++) {
        base_buffer_append_u8(key, (uint8_t)define->tags[i].size);
        base_buffer_append(key, define->tags[i].data, define->tags[i].size);
    }
    return !key->failed;
}

/* A class with its key and strings behind it. */
struct class_block {
    struct executor_class class_;
    char key[];
};

static struct wire_text copy_text(char **at, struct wire_text text) {
    struct wire_text copy = {*at, text.size};

    memcpy(*at, text.data, text.size);
    (*at)[text.size] = '\0';
    *at += text.size + 1;
    return copy;
}

static struct class_block *new_class(const struct base_buffer *key,
                                     const struct wire_define *define,
                                     const furrow_function *function) {
    size_t size = key->size + define->function.size + 1;
    struct class_block *block;
    char *at;

    for (uint32_t i = 0; i < define->tag_count; i++) {
        size += define->tags[i].size + 1;
    }
    block = calloc(1, sizeof *block + size);
    if (block == NULL) {
        return NULL;
    }
    memcpy(block->key, key->data, key->size);
    at = block->key + key->size;
    block->class_.define = *define;
    block->class_.define.function = copy_text(&at, define->function);
    for (uint32_t i = 0; i < define->tag_count; i++) {
        block->class_.define.tags[i] = copy_text(&at, define->tags[i]);
    }
    block->class_.function = function;
    block->class_.plain = define->priority == 0 && define->queue_ms == NO_LIMIT &&
                          define->run_ms == NO_LIMIT && define->retries == 0;
    return block;
}

/* intern finds or makes the class with this key. The lock is held. */
static furrow_status intern(furrow_executor *executor, const struct base_buffer *key,
                            struct wire_define *define, const furrow_function *function,
                            struct executor_class **class_) {
    struct base_map_node *node = base_map_find(&executor->classes, key->data, key->size);
    struct class_block *block;
    furrow_status status;

    if (node != NULL) {
        *class_ = BASE_CONTAINER_OF(node, struct executor_class, node);
        return FURROW_OK;
    }
    if (base_map_count(&executor->classes) >= WIRE_CLASSES_MAX) {
        return task_set_error(FURROW_ETOOBIG, "more than %u different functions and options",
                              WIRE_CLASSES_MAX);
    }
    define->class_index = (uint32_t)base_map_count(&executor->classes);
    block = new_class(key, define, function);
    if (block == NULL) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    if (base_map_insert(&executor->classes, &block->class_.node, block->key, key->size) !=
        BASE_MAP_INSERTED) {
        free(block);
        return task_set_plain_error(FURROW_ENOMEM);
    }
    status =
        executor->ops->define == NULL ? FURROW_OK : executor->ops->define(executor, &block->class_);
    if (status != FURROW_OK) {
        base_map_remove(&executor->classes, &block->class_.node);
        free(block);
        return status;
    }
    *class_ = &block->class_;
    return FURROW_OK;
}

/* remember puts a class of default options into the table. Without memory it is merely looked up again
 * next time. The lock is held. */
static void remember(furrow_executor *executor, uint32_t index, struct executor_class *class_) {
    struct executor_class_table *table = atomic_load(&executor->table);
    struct executor_class_table *larger;
    uint32_t count;

    if (table != NULL && index < table->count) {
        atomic_store_explicit(&table->entries[index], class_, memory_order_release);
        return;
    }
    for (count = TABLE_MIN; count <= index; count *= 2) {
    }
    larger = calloc(1, sizeof *larger + count * sizeof larger->entries[0]);
    if (larger == NULL) {
        return;
    }
    larger->count = count;
    larger->older = table;
    for (uint32_t i = 0; table != NULL && i < table->count; i++) {
        atomic_init(&larger->entries[i], atomic_load(&table->entries[i]));
    }
    atomic_store_explicit(&larger->entries[index], class_, memory_order_relaxed);
    atomic_store_explicit(&executor->table, larger, memory_order_release);
}

static __attribute__((noinline)) struct executor_class *find_class(
    furrow_executor *executor, const furrow_function *function, const char *name, size_t name_size,
    const furrow_submit_options *options, uint32_t flags) {
    struct executor_class *class_ = NULL;
    struct wire_define define;
    struct base_buffer key;
    furrow_status status;

    memset(&define, 0, sizeof define);
    define.flags = flags;
    define.function.data = name;
    define.function.size = name_size;
    if (name_size == 0 || name_size > WIRE_NAME_BYTES_MAX) {
        (void)task_set_error(name_size == 0 ? FURROW_ENOFUNCTION : FURROW_ETOOBIG,
                             "a function's name has 1 to %u bytes", WIRE_NAME_BYTES_MAX);
        return NULL;
    }
    if (function == NULL) {
        function = task_registry_find(name, name_size);
    }
    if (function == NULL && executor->local_functions) {
        (void)task_set_error(FURROW_ENOFUNCTION, "this program has no task function named \"%.*s\"",
                             (int)name_size, name);
        return NULL;
    }
    status = read_options(options == NULL ? &default_options : options, &define);
    if (status != FURROW_OK) {
        return NULL;
    }
    base_buffer_init(&key);
    if (!write_key(&key, &define, function)) {
        (void)task_set_plain_error(FURROW_ENOMEM);
    } else {
        pthread_mutex_lock(&executor->lock);
        status = intern(executor, &key, &define, function, &class_);
        if (status == FURROW_OK && options == NULL && flags == 0 && function != NULL &&
            function->index != TASK_INDEX_NONE) {
            remember(executor, function->index, class_);
        }
        pthread_mutex_unlock(&executor->lock);
    }
    base_buffer_fini(&key);
    return class_;
}

/* What this thread asked for last with options of its own: most programs use the same ones over and
 * over. (Tags are left out: their text may change.) */
static _Thread_local struct {
    uint64_t serial; /* of the executor; 0: nothing yet */
    const furrow_function *function;
    uint32_t index; /* of the function; a module at the same address may have another one */
    uint32_t flags;
    furrow_submit_options options;
    struct executor_class *class_;
} last __attribute__((tls_model("initial-exec")));

static bool same_options(const furrow_submit_options *a, const furrow_submit_options *b) {
    return a->priority == b->priority && a->max_attempts == b->max_attempts &&
           a->at_most_once == b->at_most_once && a->queue_timeout == b->queue_timeout &&
           a->run_timeout == b->run_timeout && a->retries == b->retries &&
           a->retry_delay == b->retry_delay && a->tags == NULL && b->tags == NULL;
}

static struct executor_class *find_with_options(furrow_executor *executor,
                                                const furrow_function *function,
                                                const furrow_submit_options *options,
                                                uint32_t flags) {
    struct executor_class *class_;

    if (last.serial == executor->serial && last.serial != 0 && last.function == function &&
        last.index == function->index && last.flags == flags &&
        same_options(&last.options, options)) {
        return last.class_;
    }
    class_ = find_class(executor, function, function->name, strlen(function->name), options, flags);
    if (class_ != NULL && options->tags == NULL) {
        last.serial = executor->serial;
        last.function = function;
        last.index = function->index;
        last.flags = flags;
        last.options = *options;
        last.class_ = class_;
    }
    return class_;
}

struct executor_class *executor_class_of(furrow_executor *executor, const furrow_function *function,
                                         const char *name, size_t name_size,
                                         const furrow_submit_options *options, uint32_t flags) {
    struct executor_class *class_;

    if (function == NULL) {
        return find_class(executor, NULL, name, name_size, options, flags);
    }
    if (options != NULL) {
        return find_with_options(executor, function, options, flags);
    }
    class_ = flags == 0 ? executor_class_known(executor, function) : NULL;
    if (class_ != NULL) {
        return class_;
    }
    return find_class(executor, function, function->name, strlen(function->name), NULL, flags);
}

void executor_classes_free(furrow_executor *executor) {
    struct executor_class_table *table = atomic_load(&executor->table);
    struct base_map_cursor cursor = {0};
    struct base_map_node *node;

    while (table != NULL) {
        struct executor_class_table *older = table->older;

        free(table);
        table = older;
    }
    while ((node = base_map_next(&executor->classes, &cursor)) != NULL) {
        base_map_remove(&executor->classes, node);
        free(BASE_CONTAINER_OF(node, struct class_block, class_.node));
    }
    base_map_fini(&executor->classes);
}
