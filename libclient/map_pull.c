#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "libclient/executor_private.h"
#include "libclient/map.h"
#include "libclient/submit.h"
#include "task/status.h"
#include "wire/value.h"

/* Tasks are handed over in chains, the first ones shorter, so that the workers can begin. */
#define CHAIN_MAX 256
/* A chunk with so many bytes of arguments is not made longer. */
#define CHUNK_BYTES_MAX ((size_t)32 << 20)

#define ARRAY_16     0xdc
#define ARRAY_32     0xdd
#define FIXARRAY     0x90
#define FIXARRAY_MAX 15

/* ------------------------------------------------------------------ the ring */

static bool ring_grow(struct map_ring *ring) {
    size_t room = ring->room == 0 ? 64 : ring->room * 2;
    struct map_task *tasks;

    if (room > SIZE_MAX / 2 / sizeof *tasks) {
        return false;
    }
    tasks = malloc(room * sizeof *tasks);
    if (tasks == NULL) {
        return false;
    }
    for (size_t i = 0; i < ring->count; i++) {
        tasks[i] = *map_ring_at(ring, i);
    }
    free(ring->tasks);
    ring->tasks = tasks;
    ring->room = room;
    ring->at = 0;
    return true;
}

/* ----------------------------------------------------------------- arguments */

/* Writes the header of an array of `count` into the byte that was left for it at `at`, and makes room
 * if that is not enough. */
static bool write_array_header(struct base_buffer *out, size_t at, size_t count) {
    size_t size = out->size - at - 1;
    uint8_t *header;

    if (BASE_LIKELY(count <= FIXARRAY_MAX)) {
        out->data[at] = (uint8_t)(FIXARRAY | count);
        return true;
    }
    if (count > UINT16_MAX || base_buffer_reserve(out, 2) == NULL) {
        return false;
    }
    header = out->data + at;
    memmove(header + 3, header + 1, size);
    header[0] = ARRAY_16;
    header[1] = (uint8_t)(count >> 8);
    header[2] = (uint8_t)count;
    base_buffer_commit(out, 2);
    return true;
}

/* append_call adds the arguments of one call of a chunk: an array. */
static furrow_status append_call(furrow_results *results) {
    struct base_buffer *out = &results->arguments;
    size_t begin = out->size;
    size_t count = results->head_count;
    furrow_status status;

    base_buffer_append_u8(out, FIXARRAY);
    base_buffer_append(out, results->head, results->head_size);
    status = input_next(results->input, out, &count);
    if (BASE_UNLIKELY(status != FURROW_OK)) {
        out->size = begin;
        return status;
    }
    if (BASE_UNLIKELY(!write_array_header(out, begin, count))) {
        out->size = begin;
        return task_set_error(count > UINT16_MAX ? FURROW_ETOOBIG : FURROW_ENOMEM,
                              "the arguments of a call");
    }
    return FURROW_OK;
}

/* gather_chunk collects the arguments of up to `most` calls. *calls may come out less than that,
 * together with a status that is not FURROW_OK. */
static furrow_status gather_chunk(furrow_results *results, uint32_t most, uint32_t *calls) {
    struct base_buffer *out = &results->arguments;
    furrow_status status = FURROW_OK;
    uint8_t header[5] = {ARRAY_32};

    base_buffer_clear(out);
    base_buffer_append(out, header, sizeof header);
    for (*calls = 0; *calls < most && status == FURROW_OK && out->size < CHUNK_BYTES_MAX;) {
        status = append_call(results);
        *calls += status == FURROW_OK;
    }
    if (out->size >= sizeof header) {
        for (int i = 0; i < 4; i++) {
            out->data[1 + i] = (uint8_t)(*calls >> (24 - 8 * i));
        }
    }
    return status;
}

static furrow_status gather_single(furrow_results *results, uint32_t *calls) {
    struct base_buffer *out = &results->arguments;
    size_t count = 0;
    furrow_status status;

    base_buffer_clear(out);
    base_buffer_append(out, results->head, results->head_size);
    status = input_next(results->input, out, &count);
    *calls = status == FURROW_OK;
    return status;
}

/* -------------------------------------------------------------------- tasks */

static struct map_node *node_new(furrow_results *results, furrow_future *future, uint32_t calls) {
    struct map_node *node = malloc(sizeof *node);

    if (node != NULL) {
        node->watch.notify = map_node_done;
        base_node_init(&node->link);
        node->results = results;
        node->future = future;
        node->index = results->pulled;
        node->calls = calls;
    }
    return node;
}

/* add_task makes a task of the arguments that were gathered, and puts it among the unsent. */
static furrow_status add_task(furrow_results *results, uint32_t calls) {
    struct map_ring *ring = &results->ring;
    struct map_task task = {.calls = calls};

    if (results->arguments.size > WIRE_PAYLOAD_BYTES_MAX) {
        return task_set_error(FURROW_ETOOBIG, "the arguments of %u calls are %zu bytes", calls,
                              results->arguments.size);
    }
    if (ring->count == ring->room && !ring_grow(ring)) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    task.future = submit_new_packed(results->executor, results->class_, results->arguments.data,
                                    results->arguments.size);
    if (task.future == NULL) {
        return furrow_last_status();
    }
    if (results->unordered) {
        task.node = node_new(results, task.future, calls);
        if (task.node == NULL) {
            submit_undo(task.future);
            return task_set_plain_error(FURROW_ENOMEM);
        }
    }
    *map_ring_at(ring, ring->count) = task;
    ring->count++;
    results->unsent++;
    results->pulled += calls;
    return FURROW_OK;
}

/* drop_unsent takes back what could not be submitted. */
static void drop_unsent(furrow_results *results) {
    while (results->unsent > 0) {
        struct map_task *task = map_ring_at(&results->ring, results->ring.count - 1);

        results->pulled -= task->calls;
        free(task->node);
        submit_undo(task->future);
        results->ring.count--;
        results->unsent--;
    }
}

/* Watches the nodes of tasks that were just submitted: they are at the front of the ring. */
static void watch_sent(furrow_results *results, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct map_node *node = map_ring_at(&results->ring, i)->node;

        atomic_fetch_add(&results->refs, 1);
        base_list_push_back(&results->nodes, &node->link);
        future_watch(node->future, &node->watch);
    }
    results->ring.at = (results->ring.at + count) & (results->ring.room - 1);
    results->ring.count -= count;
}

/* send_some submits the first `count` of the unsent tasks. */
static furrow_status send_some(furrow_results *results, size_t count) {
    struct map_ring *ring = &results->ring;
    size_t first = ring->count - results->unsent;
    furrow_status status;

    for (size_t i = 0; i < count; i++) {
        map_ring_at(ring, first + i)->future->next =
            i + 1 < count ? map_ring_at(ring, first + i + 1)->future : NULL;
    }
    status =
        results->executor->ops->submit_chain(results->executor, map_ring_at(ring, first)->future,
                                             map_ring_at(ring, first + count - 1)->future, count);
    if (status == FURROW_OK) {
        results->unsent -= count;
        if (results->unordered) {
            watch_sent(results, count);
        }
    }
    return status;
}

/* send submits all unsent tasks. On error they are taken back. */
static furrow_status send_all(furrow_results *results) {
    furrow_executor *executor = results->executor;
    furrow_status status = FURROW_OK;

    while (results->unsent > 0 && status == FURROW_OK) {
        size_t count = results->unsent;

        if (executor->max_pending != 0) {
            count = executor_gate_enter(executor, (unsigned)count);
            if (count == 0) {
                status = executor_check(executor);
                break;
            }
        }
        status = executor_check(executor);
        if (status == FURROW_OK) {
            status = send_some(results, count);
        }
        if (status != FURROW_OK && executor->max_pending != 0) {
            executor_gate_leave(executor, (unsigned)count);
        }
    }
    drop_unsent(results);
    return status;
}

/* ------------------------------------------------------------------- pulling */

static void fail(furrow_results *results, furrow_status status) {
    results->pulled_all = true;
    if (status != FURROW_EEND && results->failure == FURROW_OK) {
        results->failure = status;
        results->failure_text = strdup(furrow_last_error());
    }
}

/* add_next makes the next task. Returns whether there may be more. */
static bool add_next(furrow_results *results, size_t limit) {
    uint32_t most = results->chunksize;
    uint32_t calls;
    furrow_status status;
    furrow_status added;

    if (limit - results->pulled < most) {
        most = (uint32_t)(limit - results->pulled);
    }
    status = results->chunksize > 1 ? gather_chunk(results, most, &calls)
                                    : gather_single(results, &calls);
    if (calls > 0) {
        added = add_task(results, calls);
        if (added != FURROW_OK) {
            status = added;
        }
    }
    if (status != FURROW_OK) {
        fail(results, status);
        return false;
    }
    return true;
}

void map_pull(furrow_results *results, size_t limit) {
    size_t chain = 1;
    bool more = true;

    while (more && results->pulled < limit) {
        furrow_status status;

        while (more && results->unsent < chain && results->pulled < limit) {
            more = add_next(results, limit);
        }
        status = send_all(results);
        if (status != FURROW_OK) {
            fail(results, status);
            results->send_failed = true;
            return;
        }
        chain = chain < CHAIN_MAX ? chain * 2 : CHAIN_MAX;
    }
}

void map_pull_more(furrow_results *results) {
    /* The result that is about to be taken makes room. */
    size_t outstanding = results->pulled - results->given - 1;
    furrow_executor *executor = results->executor;

    if (results->pulled_all || results->buffersize == SIZE_MAX ||
        (results->pulled > results->given && outstanding >= results->buffersize)) {
        return;
    }
    /* Whole chunks only, unless nothing else is on its way. */
    if (results->pulled > results->given &&
        results->buffersize - outstanding < results->chunksize) {
        return;
    }
    if (!executor_enter_if_open(executor, results->executor_serial)) {
        (void)task_set_plain_error(FURROW_ESHUTDOWN);
        fail(results, FURROW_ESHUTDOWN);
        return;
    }
    map_pull(results, results->given + 1 + results->buffersize);
    executor_guest_leave(executor);
}
