#include "worker/internal.h"

/* Memory for tasks. Blocks are kept until the end: a worker holds WIRE_WORKER_LEASES_MAX tasks at most,
 * and what becomes free last is used first, while it is still in a cache. */

#define BLOCK_TASKS 64u

struct block {
    struct worker_task tasks[BLOCK_TASKS];
};
_Static_assert(sizeof(struct block) % 64 == 0, "the slab then aligns it, and so each task, to 64");

void worker_store_init(struct worker_core *core) {
    base_slab_init(&core->blocks, sizeof(struct block), 0);
}

void worker_store_fini(struct worker_core *core) {
    struct block *block;
    uint32_t cursor = 0;

    while ((block = base_slab_next(&core->blocks, &cursor, NULL)) != NULL) {
        BASE_UNPOISON(block, sizeof *block);
    }
    base_slab_fini(&core->blocks);
    core->free = NULL;
    core->block_count = 0;
}

bool worker_store_add(struct worker_core *core) {
    uint32_t index;
    struct block *block = base_slab_alloc(&core->blocks, &index, NULL);

    if (block == NULL) {
        return false;
    }
    BASE_ASSERT(index == core->block_count); /* as none is ever freed */
    core->block_count++;
    for (uint32_t i = BLOCK_TASKS; i > 0; i--) {
        struct worker_task *task = &block->tasks[i - 1];

        task->state = WORKER_FREE;
        task->free = core->free;
        core->free = task;
        BASE_POISON(task->shell, sizeof task->shell);
    }
    return true;
}

struct worker_task *worker_next(const struct worker_core *core, uint32_t *cursor) {
    while (*cursor / BLOCK_TASKS < core->block_count) {
        struct block *block = base_slab_get(&core->blocks, *cursor / BLOCK_TASKS);
        struct worker_task *task = &block->tasks[*cursor % BLOCK_TASKS];

        ++*cursor;
        if (task->state != WORKER_FREE) {
            return task;
        }
    }
    return NULL;
}
