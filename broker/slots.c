/* A client's task ids: the low half is a slot number, which leads to the task without a hash. Slots
 * stand in pages, so that memory follows what is in use, wherever the numbers lie. */
#include "broker/slots.h"

#include <stdlib.h>
#include <string.h>

#include "broker/core_private.h"
#include "broker/task.h"

#define PAGES_FIRST 16u

static uint32_t slot_of(uint64_t id) {
    return (uint32_t)id;
}

static bool grow(struct broker_slots *slots, uint32_t page) {
    uint32_t count = slots->page_count == 0 ? PAGES_FIRST : slots->page_count;
    struct broker_page **pages;

    while (count <= page) {
        count *= 2;
    }
    pages = realloc(slots->pages, count * sizeof(struct broker_page *));
    if (pages == NULL) {
        return false;
    }
    memset(pages + slots->page_count, 0, (count - slots->page_count) * sizeof *pages);
    slots->pages = pages;
    slots->page_count = count;
    return true;
}

static struct broker_page *page_new(struct broker_core *core, struct broker_slots *slots,
                                    uint32_t page) {
    struct broker_page *made = slots->spare;

    if (page >= slots->page_count && !grow(slots, page)) {
        return NULL;
    }
    slots->spare = NULL;
    if (made == NULL) {
        made = malloc(sizeof *made);
        if (made == NULL) {
            return NULL;
        }
        made->live = 0;
        memset(made->index, 0xff, sizeof made->index);
        core->memory += sizeof *made;
    }
    slots->pages[page] = made;
    return made;
}

enum broker_slot broker_slot_take(struct broker_core *core, struct broker_slots *slots,
                                  const struct broker_task *task) {
    uint32_t slot = slot_of(task->id), page = slot / BROKER_PAGE_SLOTS;
    struct broker_page *in = page < slots->page_count ? slots->pages[page] : NULL;
    uint32_t *index;

    if (BASE_UNLIKELY(in == NULL)) {
        if (slot >= BROKER_SLOTS_MAX) {
            return BROKER_SLOT_BEYOND;
        }
        in = page_new(core, slots, page);
        if (in == NULL) {
            return BROKER_SLOT_NOMEM;
        }
    }
    index = &in->index[slot % BROKER_PAGE_SLOTS];
    if (BASE_UNLIKELY(*index != BROKER_NO_TASK)) {
        return BROKER_SLOT_BUSY;
    }
    *index = broker_task_index(task);
    in->live++;
    return BROKER_SLOT_TAKEN;
}

static void page_free(struct broker_core *core, struct broker_page *page) {
    if (page != NULL) {
        core->memory -= sizeof *page;
        free(page);
    }
}

void broker_slot_release(struct broker_core *core, struct broker_slots *slots, uint64_t id) {
    uint32_t slot = slot_of(id), page = slot / BROKER_PAGE_SLOTS;
    struct broker_page *in;

    BASE_ASSERT(page < slots->page_count && slots->pages[page] != NULL);
    in = slots->pages[page];
    BASE_ASSERT(in->index[slot % BROKER_PAGE_SLOTS] != BROKER_NO_TASK);
    in->index[slot % BROKER_PAGE_SLOTS] = BROKER_NO_TASK;
    if (--in->live == 0) {
        slots->pages[page] = NULL;
        page_free(core, slots->spare);
        slots->spare = in;
    }
}

struct broker_task *broker_slot_holder(struct broker_core *core, const struct broker_slots *slots,
                                       uint64_t id) {
    uint32_t slot = slot_of(id), page = slot / BROKER_PAGE_SLOTS;
    uint32_t index;

    if (page >= slots->page_count || slots->pages[page] == NULL) {
        return NULL;
    }
    index = slots->pages[page]->index[slot % BROKER_PAGE_SLOTS];
    return index == BROKER_NO_TASK ? NULL : base_slab_get(&core->tasks, index);
}

struct broker_task *broker_slot_find(struct broker_core *core, const struct broker_slots *slots,
                                     uint64_t id) {
    struct broker_task *task = broker_slot_holder(core, slots, id);

    return task != NULL && task->id == id ? task : NULL;
}

struct broker_task *broker_slot_next(struct broker_core *core, const struct broker_slots *slots,
                                     uint64_t *cursor) {
    for (; *cursor / BROKER_PAGE_SLOTS < slots->page_count; ++*cursor) {
        const struct broker_page *in = slots->pages[*cursor / BROKER_PAGE_SLOTS];
        uint32_t index;

        if (in == NULL) {
            *cursor |= BROKER_PAGE_SLOTS - 1;
            continue;
        }
        index = in->index[*cursor % BROKER_PAGE_SLOTS];
        if (index != BROKER_NO_TASK) {
            ++*cursor;
            return base_slab_get(&core->tasks, index);
        }
    }
    return NULL;
}

void broker_slots_fini(struct broker_core *core, struct broker_slots *slots) {
    for (uint32_t i = 0; i < slots->page_count; i++) {
        BASE_ASSERT(slots->pages[i] == NULL);
    }
    page_free(core, slots->spare);
    free(slots->pages);
    *slots = (struct broker_slots){0};
}
