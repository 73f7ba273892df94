/* A client's task ids. */
#ifndef BROKER_SLOTS_H
#define BROKER_SLOTS_H

#include "base/assert.h"
#include "broker/core.h"

struct broker_core;
struct broker_task;

/* A client numbers its tasks from 0; this bounds the table that finds them. */
#define BROKER_SLOTS_MAX (1u << 26)

#define BROKER_PAGE_SLOTS 1024u

struct broker_page {
    uint32_t live;
    uint32_t index[BROKER_PAGE_SLOTS]; /* into the slab; BROKER_NO_TASK */
};
#define BROKER_NO_TASK UINT32_MAX

struct broker_slots {
    struct broker_page **pages;
    struct broker_page *spare; /* the last one that became empty */
    uint32_t page_count;
};

/* broker_slot_take puts a task into its slot. */
enum broker_slot { BROKER_SLOT_TAKEN, BROKER_SLOT_BUSY, BROKER_SLOT_BEYOND, BROKER_SLOT_NOMEM };
enum broker_slot broker_slot_take(struct broker_core *core, struct broker_slots *slots,
                                  const struct broker_task *task);
/* broker_slot_page gives the page of an id; NULL: there is none. */
static inline struct broker_page *broker_slot_page(const struct broker_slots *slots, uint64_t id) {
    uint32_t page = (uint32_t)id / BROKER_PAGE_SLOTS;

    return BASE_LIKELY(page < slots->page_count) ? slots->pages[page] : NULL;
}
void broker_slot_release(struct broker_core *core, struct broker_slots *slots, uint64_t id);
/* broker_slot_find resolves any id; NULL: no task here. */
struct broker_task *broker_slot_find(struct broker_core *core, const struct broker_slots *slots,
                                     uint64_t id);
/* broker_slot_holder gives the task whose id has the same slot; NULL: none. */
struct broker_task *broker_slot_holder(struct broker_core *core, const struct broker_slots *slots,
                                       uint64_t id);
/* broker_slot_next gives the tasks one after the other, from *cursor = 0. */
struct broker_task *broker_slot_next(struct broker_core *core, const struct broker_slots *slots,
                                     uint64_t *cursor);
void broker_slots_fini(struct broker_core *core, struct broker_slots *slots);

#endif
