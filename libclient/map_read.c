#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "libclient/error.h"
#include "libclient/executor_private.h"
#include "libclient/map.h"
#include "task/status.h"
#include "wire/value.h"

#define MALFORMED "the results of a chunk arrived malformed"

/* ---------------------------------------------------------- what was handed out */

/* The callback of a wire_value_keeper. */
static void *scratch_memory(void *user, size_t size) {
    furrow_results *results = user;
    struct map_scratch *scratch;

    if (size > SIZE_MAX - sizeof *scratch) {
        return NULL;
    }
    scratch = malloc(sizeof *scratch + size);
    if (scratch == NULL) {
        return NULL;
    }
    scratch->next = results->scratch;
    results->scratch = scratch;
    return scratch->memory;
}

void map_forget_result(furrow_results *results) {
    while (BASE_UNLIKELY(results->scratch != NULL)) {
        struct map_scratch *scratch = results->scratch;

        results->scratch = scratch->next;
        free(scratch);
    }
    if (BASE_UNLIKELY(results->error != NULL)) {
        results->error = NULL;
        free(results->error_memory);
        results->error_memory = NULL;
    }
    if (results->calls_left == 0 && results->current != NULL) {
        furrow_future_unref(&results->current);
    }
}

/* --------------------------------------------------------------- the next task */

static furrow_status time_is_over(furrow_results *results) {
    size_t left = results->pulled - results->given;

    map_cancel_rest(results);
    results->pulled_all = true;
    results->failure = FURROW_OK;
    return task_set_error(FURROW_ETIMEOUT, "the time of the map is over, %zu results are missing",
                          left);
}

static furrow_status explain_wait(furrow_results *results, furrow_status status) {
    if (status == FURROW_ETIMEOUT) {
        return time_is_over(results);
    }
    return task_set_error(status, "waiting for a task of the same executor in its own callback");
}

static furrow_status take_ordered(furrow_results *results) {
    struct map_ring *ring = &results->ring;
    struct map_task *task = map_ring_at(ring, 0);
    furrow_status status = future_wait_until(task->future, results->deadline_ns);

    if (status != FURROW_OK) {
        return explain_wait(results, status);
    }
    results->current = task->future;
    results->calls_left = task->calls;
    results->current_index = results->given;
    ring->at = (ring->at + 1) & (ring->room - 1);
    ring->count--;
    return FURROW_OK;
}

static furrow_status take_any(furrow_results *results) {
    struct base_inbox_node *done;
    struct map_node *node;

    while ((done = completion_look(&results->completion)) == NULL) {
        if (results->deadline_ns == 0) {
            return time_is_over(results);
        }
        if (executor_in_callback(results->executor)) {
            return explain_wait(results, FURROW_EDEADLOCK);
        }
        if (!completion_sleep(&results->completion, results->deadline_ns)) {
            return time_is_over(results);
        }
    }
    node = BASE_CONTAINER_OF(done, struct map_node, done);
    base_list_remove(&node->link);
    results->current = node->future;
    results->calls_left = node->calls;
    results->current_index = node->index;
    free(node);
    return FURROW_OK;
}

/* Reads the header of an array. False: there is none. */
static bool read_array(const uint8_t **at, size_t *left, uint32_t *count) {
    const uint8_t *data = *at;
    size_t size = 1;

    if (*left == 0) {
        return false;
    }
    if ((data[0] & 0xf0) == 0x90) {
        *count = data[0] & 0x0f;
    } else if (data[0] == 0xdc && *left >= 3) {
        *count = (uint32_t)data[1] << 8 | data[2];
        size = 3;
    } else if (data[0] == 0xdd && *left >= 5) {
        *count =
            (uint32_t)data[1] << 24 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 8 | data[4];
        size = 5;
    } else {
        return false;
    }
    *at += size;
    *left -= size;
    return true;
}

/* open_chunk begins to read the outcomes of a chunk. What comes from other processes is checked. */
static bool open_chunk(furrow_results *results) {
    const furrow_future *future = results->current;
    uint32_t count;

    results->at = future->task.data;
    results->left_bytes = future->task.size;
    if (!future->pointers) {
        size_t values;

        if (!wire_value_check_nested(results->at, results->left_bytes, WIRE_NESTING_MAX, &values) ||
            values != 1) {
            return false;
        }
    }
    return read_array(&results->at, &results->left_bytes, &count) && count == results->calls_left;
}

/* take_task waits for the next task. */
static furrow_status take_task(furrow_results *results) {
    furrow_status status;

    if (results->pulled == results->given) {
        status = results->failure;
        if (status == FURROW_OK) {
            return task_set_plain_error(FURROW_EEND);
        }
        results->failure = FURROW_OK;
        return task_set_error(status, "%s",
                              results->failure_text == NULL ? furrow_status_text(status)
                                                            : results->failure_text);
    }
    status = results->unordered ? take_any(results) : take_ordered(results);
    if (status != FURROW_OK) {
        return status;
    }
    results->in_chunk = (results->class_flags & WIRE_FLAG_CHUNK) != 0 &&
                        future_state(results->current) == FURROW_FINISHED &&
                        results->current->kind == WIRE_KIND_VALUE;
    if (results->in_chunk && !open_chunk(results)) {
        results->left_bytes = 0;
    }
    return FURROW_OK;
}

/* -------------------------------------------------------------- the next result */

/* give_error makes an encoded error the last one. */
static furrow_status give_error(furrow_results *results, enum wire_kind kind, const void *data,
                                size_t size) {
    results->error_memory = malloc(client_error_bytes(data, size));
    if (results->error_memory == NULL) {
        return task_set_plain_error(FURROW_EFAILED);
    }
    results->error = client_error_decode(kind, data, size, results->error_memory);
    return client_error_explain(results->error);
}

/* next_in_chunk gives the next of a chunk's outcomes, [0, value] or [1, error]. */
static furrow_status next_in_chunk(furrow_results *results, const uint8_t **data, size_t *size) {
    uint8_t failed;

    if (results->left_bytes < 3 || results->at[0] != 0x92 || results->at[1] > 1) {
        static const furrow_error error = {
            .kind = FURROW_ERROR_LOST, .host = "", .function = "", .message = MALFORMED};

        results->left_bytes = 0;
        results->error = &error;
        return task_set_error(FURROW_EFAILED, MALFORMED);
    }
    failed = results->at[1];
    *data = results->at + 2;
    *size = wire_value_skip(*data, results->left_bytes - 2);
    results->at = *data + *size;
    results->left_bytes -= 2 + *size;
    return BASE_LIKELY(failed == 0) ? FURROW_OK
                                    : give_error(results, WIRE_KIND_ERROR, *data, *size);
}

static furrow_status next_whole(furrow_results *results, const uint8_t **data, size_t *size) {
    furrow_future *future = results->current;

    if (BASE_UNLIKELY(future_state(future) == FURROW_CANCELLED)) {
        return task_set_plain_error(FURROW_ECANCELLED);
    }
    if (BASE_UNLIKELY(future->kind != WIRE_KIND_VALUE)) {
        return give_error(results, (enum wire_kind)future->kind, future->task.data,
                          future->task.size);
    }
    *data = future->task.data;
    *size = future->task.size;
    return FURROW_OK;
}

/* next gives the next result as a packed value. */
static furrow_status next(furrow_results *results, const uint8_t **data, size_t *size) {
    furrow_status status;

    map_forget_result(results);
    map_pull_more(results);
    if (results->calls_left == 0) {
        status = take_task(results);
        if (BASE_UNLIKELY(status != FURROW_OK)) {
            return status;
        }
    }
    results->calls_left--;
    results->given++;
    results->index = results->current_index++;
    return results->in_chunk ? next_in_chunk(results, data, size) : next_whole(results, data, size);
}

furrow_status furrow_results_next(furrow_results *results, const char *format, ...) {
    const uint8_t *data;
    size_t size;
    furrow_status status = next(results, &data, &size);
    struct wire_value_keeper keeper;
    enum wire_value_status unpacked;
    struct wire_value_fault fault;
    va_list arguments;

    if (BASE_UNLIKELY(status != FURROW_OK) || format == NULL) {
        return status;
    }
    keeper.keep = scratch_memory;
    keeper.user = results;
    keeper.allow_pointers = results->current->pointers;
    va_start(arguments, format);
    unpacked = wire_value_unpack(data, size, format, &arguments, &keeper, &fault);
    va_end(arguments);
    return BASE_LIKELY(unpacked == WIRE_VALUE_OK) ? FURROW_OK
                                                  : task_set_value_error(unpacked, &fault);
}

furrow_status furrow_results_next_value(furrow_results *results, const void **data, size_t *size) {
    const uint8_t *bytes;
    furrow_status status = next(results, &bytes, size);

    if (status == FURROW_OK) {
        *data = bytes;
    }
    return status;
}

size_t furrow_results_index(const furrow_results *results) {
    return results->index;
}

const furrow_error *furrow_results_error(const furrow_results *results) {
    return results->error;
}
