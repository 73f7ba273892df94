#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/copy.h"
#include "wire/shared.h"
#include "worker/process.h"

/* Outcomes between inline and this size share chunks; larger ones are detached from the context. */
#define SHARED_BYTES_MAX ((size_t)8 << 10)
#define CHUNK_BYTES      ((size_t)32 << 10)

/* ---- outcomes ---- */

/* Memory for outcomes of one lane, one after the other. It goes when the lane has left it and the driver has
 * sent all that is in it. */
struct worker_chunk {
    atomic_uint refs;
    size_t used;
    uint8_t bytes[];
};

static void chunk_unref(struct worker_chunk *chunk) {
    if (chunk != NULL && atomic_fetch_sub_explicit(&chunk->refs, 1, memory_order_acq_rel) == 1) {
        free(chunk);
    }
}

/* Gives the lane a chunk with room for `size` more. False: no memory. */
static bool chunk_fit(struct worker_lane *lane, size_t size) {
    struct worker_chunk *chunk = lane->chunk;

    if (chunk != NULL && CHUNK_BYTES - chunk->used >= size) {
        return true;
    }
    chunk = malloc(sizeof *chunk + CHUNK_BYTES);
    if (chunk == NULL) {
        return false;
    }
    atomic_init(&chunk->refs, 1);
    chunk->used = 0;
    chunk_unref(lane->chunk);
    lane->chunk = chunk;
    return true;
}

/* An outcome that can't be kept becomes the one error for which there always is memory. */
static void keep_no_memory(const struct worker_process *process, struct worker_run *run) {
    run->kind = WIRE_KIND_ERROR;
    run->kept = WORKER_KEPT_STATIC;
    run->data = process->no_memory.data;
    run->size = process->no_memory.size;
}

static void keep_far(struct worker_process *process, struct worker_lane *lane,
                     struct worker_run *run, const struct task_outcome *outcome) {
    if (outcome->size <= SHARED_BYTES_MAX && chunk_fit(lane, outcome->size)) {
        uint8_t *at = lane->chunk->bytes + lane->chunk->used;

        memcpy(at, outcome->data, outcome->size);
        lane->chunk->used += outcome->size;
        atomic_fetch_add_explicit(&lane->chunk->refs, 1, memory_order_relaxed);
        run->kept = WORKER_KEPT_CHUNK;
        run->chunk = lane->chunk;
        run->data = at;
        return;
    }
    run->blob = task_detach(lane->context);
    if (run->blob == NULL) {
        keep_no_memory(process, run);
        return;
    }
    run->kept = WORKER_KEPT_BLOB;
    run->data = run->blob->data;
}

/* Keeps an outcome until the driver takes it: the context is used again at once. */
static inline void keep(struct worker_process *process, struct worker_lane *lane,
                        struct worker_run *run, const struct task_outcome *outcome) {
    run->kind = (uint8_t)outcome->kind;
    run->size = outcome->size;
    if (BASE_LIKELY(outcome->size <= WORKER_INLINE_BYTES)) {
        run->kept = WORKER_KEPT_INLINE;
        base_copy_short(run->bytes, outcome->data, outcome->size);
    } else {
        keep_far(process, lane, run, outcome);
    }
}

void worker_kept_release(const struct worker_run *run) {
    switch ((enum worker_kept)run->kept) {
    case WORKER_KEPT_INLINE:
    case WORKER_KEPT_STATIC:
        break;
    case WORKER_KEPT_CHUNK:
        chunk_unref(run->chunk);
        break;
    case WORKER_KEPT_BLOB:
        wire_blob_unref(run->blob);
        break;
    }
}

/* ---- running ---- */

/* Ends a group: takes the time. */
static void group_end(struct worker_lane *lane) {
    uint64_t now_ns = base_clock_ns();
    uint64_t spent_ns = now_ns - lane->group_ns;
    uint64_t busy_ns = atomic_load_explicit(&lane->busy_ns, memory_order_relaxed);

    atomic_store_explicit(&lane->busy_ns, busy_ns + spent_ns, memory_order_release);
    worker_group_end(&lane->group, spent_ns);
    lane->group_ns = now_ns;
}

/* Puts a task into the lane's ring, from where the driver may take it (and free it) at once. */
static inline void put(struct worker_lane *lane, struct worker_task *task) {
    unsigned finished = atomic_load_explicit(&lane->finished, memory_order_relaxed);

    lane->ring[finished & (WORKER_RING - 1)] = task;
    atomic_store_explicit(&lane->finished, finished + 1, memory_order_release);
}

/* A task whose client has an initializer. */
static __attribute__((noinline)) const struct task_outcome *run_initialized(
    struct worker_process *process, struct worker_lane *lane, const struct worker_task *task) {
    struct task_call call = *lane->call; /* the initializer's comes there */
    struct worker_initializer_end end;
    bool failed;

    lane->initialized = worker_initialized_run(process->initializers, lane->context, task->session,
                                               &call, &failed, &end);
    if (failed) {
        base_log(&process->log, BASE_LOG_ERROR, "%s", end.text);
    }
    return &lane->initialized;
}

/* Runs one task. Returns whether that ends a group: the time has been taken then, and the driver is to see
 * what is in the ring. */
static inline __attribute__((always_inline)) bool execute(struct worker_process *process,
                                                          struct worker_lane *lane,
                                                          struct worker_task *task) {
    struct worker_run *run = worker_run_of(task);
    struct worker_box_slot *slot = lane->slot;
    const struct task_outcome *outcome;
    uint64_t finished;
    bool ends;

    if (lane->group_ns == 0) {
        lane->group_ns = base_clock_ns();
    }
    atomic_store_explicit(&lane->current, task, memory_order_relaxed);
    atomic_store_explicit(&slot->lease, task->lease, memory_order_relaxed);
    *lane->call = (struct task_call){
        .function = process->functions.functions[task->function],
        .arguments = task->data,
        .size = task->size,
        .flags = task->flags,
        .attempt = task->attempt,
        .cancel = &run->cancel,
    };
    if (BASE_LIKELY((task->flags & WIRE_FLAG_INITIALIZED) == 0)) {
        outcome = task_execute(lane->context);
    } else {
        outcome = run_initialized(process, lane, task);
    }
    atomic_store_explicit(&slot->lease, 0, memory_order_relaxed);
    finished = atomic_load_explicit(&slot->finished, memory_order_relaxed);
    atomic_store_explicit(&slot->finished, finished + 1, memory_order_relaxed);
    atomic_store_explicit(&lane->current, NULL, memory_order_relaxed);
    keep(process, lane, run, outcome);
    ends = worker_group_add(&lane->group, outcome->size);
    if (ends) {
        group_end(lane);
    }
    put(lane, task);
    return ends;
}

void worker_lane_group(struct worker_process *process, struct worker_lane *lane, unsigned end) {
    struct worker_task *task;

    do {
        task = worker_todo_take(process, end);
    } while (task != NULL && !execute(process, lane, task));
    (void)worker_lane_rest(lane);
}

bool worker_lane_rest(struct worker_lane *lane) {
    bool any = lane->group.count > 0;

    if (any) {
        group_end(lane);
    }
    lane->group_ns = 0;
    return any;
}

/* The store is sequentially consistent, as base/wake.h wants it. */
void worker_lane_tell(struct worker_process *process, struct worker_lane *lane) {
    atomic_store(&lane->finished, atomic_load_explicit(&lane->finished, memory_order_relaxed));
    base_wake_signal(&process->wake);
}

static void lane_run(void *owner, unsigned index, struct base_work *work) {
    struct worker_process *process = owner;
    struct worker_lane *lane = &process->lanes[index];

    if (work == &process->drive_work) {
        (void)worker_lane_rest(lane); /* the driver looks into the ring anyhow */
        worker_drive_lane(process);
    } else if (execute(process, lane, worker_task_of((struct worker_run *)(void *)work))) {
        worker_lane_tell(process, lane);
    }
}

static void lane_idle(void *owner, unsigned index) {
    struct worker_process *process = owner;

    if (worker_lane_rest(&process->lanes[index])) {
        worker_lane_tell(process, &process->lanes[index]);
    }
}

/* ---- the initializer ---- */

/* Its arguments lie in memory that all children share. */
static bool arguments_map(const struct worker_process *process, const void **data, size_t *size) {
    struct stat info;
    void *mapped;

    *data = NULL;
    *size = 0;
    if (!process->settings.arguments) {
        return true;
    }
    if (fstat(WORKER_FD_ARGS, &info) != 0) {
        return false;
    }
    mapped = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, WORKER_FD_ARGS, 0);
    if (mapped == MAP_FAILED) {
        return false;
    }
    *data = mapped;
    *size = (size_t)info.st_size;
    return true;
}

static void describe_failure(struct worker_process *process, const struct task_outcome *outcome) {
    struct wire_error error;

    if (!wire_error_decode(outcome->data, outcome->size, &error)) {
        error = (struct wire_error){.message = {"", 0}};
    }
    (void)snprintf(process->initializer_text, sizeof process->initializer_text,
                   "the initializer %s failed with code %d%s%.*s", process->initializer->name,
                   error.code, error.message.size > 0 ? ": " : "", (int)error.message.size,
                   error.message.data);
}

/* The first thread runs it, so that what it leaves in thread-local variables is there for the tasks of
 * a process with one thread. */
static bool lane_start(void *owner, unsigned index) {
    struct worker_process *process = owner;
    struct task_call call = {.function = process->initializer, .attempt = 1};
    enum worker_initialized result = WORKER_INITIALIZED;
    struct task_outcome outcome;
    const void *arguments;

    if (index != 0 || process->initializer == NULL) {
        return true;
    }
    if (!arguments_map(process, &arguments, &call.size)) {
        (void)snprintf(process->initializer_text, sizeof process->initializer_text,
                       "the initializer's arguments can't be read: %s", strerror(errno));
        result = WORKER_INITIALIZER_FAILED;
    } else {
        call.arguments = arguments;
        outcome = task_run(process->lanes[0].context, &call);
        if (outcome.kind != WIRE_KIND_VALUE) {
            describe_failure(process, &outcome);
            result = WORKER_INITIALIZER_FAILED;
        }
    }
    atomic_store(&process->initialized, result);
    base_wake_signal(&process->wake);
    return result == WORKER_INITIALIZED;
}

/* Nothing is submitted before the initializer has succeeded. */
static void lane_abandon(void *owner, struct base_work *work) {
    (void)owner;
    (void)work;
    BASE_ASSERT(false);
}

/* ---- opening and closing ---- */

static struct wire_blob *shared_blob(void *user, size_t size) {
    return wire_shared_block(user, size);
}

static void lanes_free(struct worker_process *process) {
    for (unsigned i = 0; i < process->settings.threads; i++) {
        chunk_unref(process->lanes[i].chunk);
        free(process->lanes[i].ring);
        task_context_free(process->lanes[i].context);
    }
    free(process->lanes);
    process->lanes = NULL;
    worker_initializers_free(process->initializers);
    process->initializers = NULL;
}

int worker_lanes_open(struct worker_process *process) {
    struct task_context_config config = {
        .host = process->host,
        .pid = getpid(),
        .blob = process->shared == NULL ? NULL : shared_blob,
        .blob_user = process->shared == NULL ? NULL : wire_shared_own_heap(process->shared),
    };
    struct base_pool_options options = {
        .max_threads = process->settings.threads,
        .eager = true,
        .name_prefix = "furrow",
        .owner = process,
        .run = lane_run,
        .idle = lane_idle,
        .start = lane_start,
        .abandon = lane_abandon,
    };
    size_t bytes = process->settings.threads * sizeof *process->lanes;
    int error = 0;

    process->lanes = aligned_alloc(_Alignof(struct worker_lane), bytes);
    if (process->lanes == NULL) {
        return ENOMEM;
    }
    memset(process->lanes, 0, bytes);
    process->initializers = worker_initializers_new(WORKER_INITIALIZERS_MAX);
    if (process->initializers == NULL) {
        error = ENOMEM;
    }
    for (unsigned i = 0; i < process->settings.threads; i++) {
        process->lanes[i].slot = &process->box->slots[i];
        process->lanes[i].context = task_context_new(&config);
        if (process->lanes[i].context != NULL) {
            process->lanes[i].call = task_call_of(process->lanes[i].context);
        }
        process->lanes[i].ring = malloc(WORKER_RING * sizeof(struct worker_task *));
        if (process->lanes[i].context == NULL || process->lanes[i].ring == NULL) {
            error = ENOMEM;
        }
    }
    atomic_init(&process->initialized,
                process->initializer == NULL ? WORKER_INITIALIZED : WORKER_INITIALIZING);
    if (error == 0) {
        error = base_pool_new(&options, &process->pool);
    }
    if (error != 0) {
        lanes_free(process);
    }
    return error;
}

bool worker_lanes_close(struct worker_process *process, uint64_t deadline_ns) {
    if (process->lanes == NULL) {
        return true;
    }
    base_pool_stop(process->pool);
    if (base_pool_join(process->pool, deadline_ns) != 0) {
        return false;
    }
    base_pool_free(process->pool);
    lanes_free(process);
    return true;
}
