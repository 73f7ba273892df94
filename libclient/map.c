#include "libclient/map.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "libclient/executor_private.h"
#include "libclient/submit.h"
#include "task/status.h"

static const furrow_map_options default_options = FURROW_MAP_OPTIONS_INIT;

/* ------------------------------------------------------------------- the end */

void map_unref(furrow_results *results) {
    struct base_node *link;

    if (atomic_fetch_sub(&results->refs, 1) > 1) {
        return;
    }
    while ((link = base_list_pop_front(&results->nodes)) != NULL) {
        struct map_node *node = BASE_LIST_ENTRY(link, struct map_node, link);

        future_drop(node->future);
        free(node);
    }
    free(results);
}

static void wake(void *object) {
    furrow_results *results = object;

    completion_wake(&results->completion);
    map_unref(results);
}

void map_node_done(struct future_watch *watch, furrow_future *future) {
    struct map_node *node = BASE_CONTAINER_OF(watch, struct map_node, watch);
    furrow_results *results = node->results;

    (void)future;
    if (completion_push(&results->completion, &node->done)) {
        /* The watch's reference goes on to the wake. */
        future_owe(wake, results);
        return;
    }
    map_unref(results);
}

/* Nodes that have been told, or are being told, stay in the list until the memory is freed. */
static void cancel_nodes(furrow_results *results) {
    BASE_LIST_FOREACH(&results->nodes, link) {
        struct map_node *node = BASE_LIST_ENTRY(link, struct map_node, link);

        if (future_unwatch(node->future, &node->watch)) {
            furrow_future_cancel_async(node->future);
            base_list_remove(&node->link);
            future_drop(node->future);
            free(node);
            (void)atomic_fetch_sub(&results->refs, 1);
        }
    }
}

void map_cancel_rest(furrow_results *results) {
    struct map_ring *ring = &results->ring;

    for (; ring->count > 0; ring->count--) {
        furrow_future *future = map_ring_at(ring, ring->count - 1)->future;

        furrow_future_cancel_async(future);
        future_drop(future);
    }
    cancel_nodes(results);
    results->pulled = results->given;
}

static void free_results(furrow_results *results) {
    results->calls_left = 0;
    map_forget_result(results);
    map_cancel_rest(results);
    furrow_input_free(&results->input);
    base_buffer_fini(&results->arguments);
    free(results->ring.tasks);
    free(results->head);
    free(results->failure_text);
    map_unref(results);
}

void furrow_results_close(furrow_results **results) {
    if (results != NULL && *results != NULL) {
        furrow_results *old = *results;

        *results = NULL;
        free_results(old);
    }
}

/* ----------------------------------------------------------------- the beginning */

static furrow_status check_options(const furrow_map_options *options) {
    if (options->chunksize < 1) {
        return task_set_error(FURROW_EINVAL, "chunksize %lld: must be at least 1",
                              (long long)options->chunksize);
    }
    if (options->buffersize < 1 && options->buffersize != FURROW_MAP_UNBOUNDED) {
        return task_set_error(FURROW_EINVAL, "buffersize %lld: must be at least 1",
                              (long long)options->buffersize);
    }
    return FURROW_OK;
}

static furrow_results *new_results(furrow_executor *executor, struct executor_class *class_,
                                   const furrow_map_options *options,
                                   const furrow_partial *partial) {
    furrow_results *results = calloc(1, sizeof *results);

    if (results == NULL) {
        return NULL;
    }
    atomic_init(&results->refs, 1);
    results->executor = executor;
    results->executor_serial = executor->serial;
    results->class_ = class_;
    results->class_flags = class_->define.flags;
    results->chunksize =
        options->chunksize > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)options->chunksize;
    results->buffersize =
        options->buffersize == FURROW_MAP_UNBOUNDED ? SIZE_MAX : (size_t)options->buffersize;
    if (results->chunksize > results->buffersize) {
        results->chunksize = (uint32_t)results->buffersize;
    }
    results->unordered = options->unordered;
    results->deadline_ns = future_deadline(options->timeout);
    base_buffer_init(&results->arguments);
    completion_init(&results->completion);
    base_list_init(&results->nodes);
    if (partial != NULL && partial->size > 0) {
        results->head = malloc(partial->size);
        if (results->head == NULL) {
            free(results);
            return NULL;
        }
        memcpy(results->head, partial->data, partial->size);
        results->head_size = partial->size;
        results->head_count = partial->count;
    }
    return results;
}

/* open_map is furrow_map for a function, or (NULL) a name. */
static furrow_results *open_map(furrow_executor *executor, const furrow_function *function,
                                const char *name, const furrow_partial *partial,
                                const furrow_map_options *options, furrow_input **input) {
    struct executor_class *class_;
    furrow_results *results;
    uint32_t flags;

    if (options == NULL) {
        options = &default_options;
    }
    if (check_options(options) != FURROW_OK || executor_check(executor) != FURROW_OK) {
        return NULL;
    }
    flags = options->chunksize > 1 && options->buffersize != 1 ? WIRE_FLAG_CHUNK : 0;
    class_ = executor_class_of(executor, function, name, name == NULL ? 0 : strlen(name),
                               options->submit, flags);
    if (class_ == NULL) {
        return NULL;
    }
    results = new_results(executor, class_, options, partial);
    if (results == NULL) {
        (void)task_set_plain_error(FURROW_ENOMEM);
        return NULL;
    }
    results->input = *input;
    map_pull(results, results->buffersize);
    if (results->failure != FURROW_OK && results->send_failed) {
        (void)task_set_error(results->failure, "%s",
                             results->failure_text == NULL ? "" : results->failure_text);
        results->input = NULL;
        free_results(results);
        return NULL;
    }
    *input = NULL;
    return results;
}

furrow_results *furrow_map_function(furrow_executor *executor, const furrow_function *function,
                                    const furrow_map_options *options, furrow_input **input) {
    return open_map(executor, function, NULL, NULL, options, input);
}

furrow_results *furrow_map_partial(furrow_executor *executor, const furrow_partial *partial,
                                   const furrow_map_options *options, furrow_input **input) {
    if (submit_check_partial(executor, partial) != FURROW_OK) {
        return NULL;
    }
    return open_map(executor, partial->function, NULL, partial, options, input);
}

furrow_results *furrow_map_by_name(furrow_executor *executor, const char *name,
                                   const furrow_map_options *options, furrow_input **input) {
    return open_map(executor, NULL, name, NULL, options, input);
}
