/* The inside of a map, shared by its files:
 *   map.c       opening and closing
 *   map_pull.c  from the input to submitted tasks
 *   map_read.c  from outcomes to results
 *
 * A task of the map is one call, or a chunk of calls. Tasks stand in a ring in the order of the inputs
 * until their results are taken; the last `unsent` of them are not submitted yet. In an unordered map
 * the ring only holds the unsent ones: each submitted task has a node, which the resolver puts into the
 * mailbox. */
#ifndef CLIENT_MAP_H
#define CLIENT_MAP_H

#include "base/list.h"
#include "libclient/completion.h"
#include "libclient/executor.h"
#include "libclient/input.h"

struct map_node {
    struct future_watch watch;
    struct base_inbox_node done;
    struct base_node link; /* in results->nodes */
    furrow_results *results;
    furrow_future *future;
    size_t index; /* of its first call */
    uint32_t calls;
};

struct map_task {
    furrow_future *future;
    struct map_node *node; /* in an unordered map */
    uint32_t calls;
};

struct map_ring {
    struct map_task *tasks;
    size_t room; /* 0 or a power of two */
    size_t at, count;
};

/* What a result hands out besides itself, until the next call. */
struct map_scratch {
    struct map_scratch *next;
    max_align_t memory[];
};

struct furrow_results {
    atomic_size_t refs; /* the iterator, and in an unordered map each node that is watched */

    /* Pulling. The executor may be closed before the iterator: the serial tells. */
    furrow_executor *executor;
    uint64_t executor_serial;
    struct executor_class *class_;
    uint32_t class_flags;
    uint8_t *head; /* leading arguments of a partial, packed */
    size_t head_size, head_count;
    furrow_input *input;
    struct base_buffer arguments; /* of the task that is being made */
    uint32_t chunksize;
    size_t buffersize; /* SIZE_MAX: no limit */
    size_t pulled;     /* inputs */
    size_t unsent;
    bool pulled_all;
    bool send_failed;      /* the executor took a task no more */
    furrow_status failure; /* ends the iteration behind what was pulled; FURROW_OK: none */
    char *failure_text;    /* may be NULL */

    /* Reading. */
    bool unordered;
    uint64_t deadline_ns;
    struct map_ring ring;
    struct completion completion;
    struct base_list nodes; /* submitted and not taken */
    size_t given;           /* results handed out */

    /* The task whose results are being handed out. */
    furrow_future *current;
    size_t current_index; /* of the next call of it */
    uint32_t calls_left;
    bool in_chunk;     /* its value is an array of outcomes */
    const uint8_t *at; /* the next of them */
    size_t left_bytes;

    /* What was handed out last. */
    size_t index;
    const furrow_error *error;
    void *error_memory;
    struct map_scratch *scratch;
};

static inline struct map_task *map_ring_at(const struct map_ring *ring, size_t i) {
    return &ring->tasks[(ring->at + i) & (ring->room - 1)];
}

/* map_pull makes and submits tasks until `limit` inputs are pulled (SIZE_MAX: all). What goes wrong is
 * kept in failure, behind the tasks that were submitted. */
void map_pull(furrow_results *results, size_t limit);

/* map_pull_more goes on pulling before a result is taken. */
void map_pull_more(furrow_results *results);

/* map_node_done is the notify of a node's watch. */
void map_node_done(struct future_watch *watch, furrow_future *future);

/* map_unref drops a reference; the last one frees the memory. */
void map_unref(furrow_results *results);

/* map_cancel_rest cancels what has not started and forgets all that was submitted. */
void map_cancel_rest(furrow_results *results);

/* map_forget_result frees what the last call of next handed out. */
void map_forget_result(furrow_results *results);

#endif
