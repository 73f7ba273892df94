/* Demands, offers, and the queues between them.
 *
 *   client --- queue --- demand --- service --- offer --- worker
 *                  \________ view, turn, level ____/
 *
 * A task waits in one queue. Every offer that can serve it sees that queue through a view, which
 * stands in the turn of the queue's client, at the level of its priority: so an offer finds what to
 * do next without looking at what it can't serve, or at what is idle. */
#include "broker/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/router.h"
#include "broker/schedule.h"
#include "broker/task.h"
#include "broker/timer.h"

/* ------------------------------------------------------------- levels, turns */

static struct broker_level *level_get(struct broker_offer *offer, int32_t priority) {
    struct broker_level *level;
    struct base_node *where = &offer->levels.root;

    BASE_LIST_FOREACH(&offer->levels, node) {
        level = BASE_LIST_ENTRY(node, struct broker_level, in_offer);
        if (level->priority == priority) {
            return level;
        }
        if (level->priority < priority) {
            where = node;
            break;
        }
    }
    level = calloc(1, sizeof *level);
    if (level != NULL) {
        level->offer = offer;
        level->priority = priority;
        base_list_init(&level->ring);
        base_list_insert_before(where, &level->in_offer);
    }
    return level;
}

static void level_release(struct broker_level *level) {
    if (level->turns == 0) {
        base_list_remove(&level->in_offer);
        free(level);
    }
}

static struct broker_turn *turn_get(struct broker_offer *offer, struct broker_queue *queue) {
    struct broker_client *client = queue->client;
    struct broker_level *level;
    struct broker_turn *turn;

    BASE_LIST_FOREACH(&client->turns, node) {
        turn = BASE_LIST_ENTRY(node, struct broker_turn, in_client);
        if (turn->level->offer == offer && turn->level->priority == queue->priority) {
            return turn;
        }
    }
    level = level_get(offer, queue->priority);
    if (level == NULL) {
        return NULL;
    }
    turn = calloc(1, sizeof *turn);
    if (turn == NULL) {
        level_release(level);
        return NULL;
    }
    turn->level = level;
    turn->client = client;
    base_list_init(&turn->views);
    base_list_push_back(&client->turns, &turn->in_client);
    level->turns++;
    return turn;
}

static void turn_release(struct broker_turn *turn) {
    struct broker_level *level = turn->level;

    if (turn->view_count > 0) {
        return;
    }
    BASE_ASSERT(!base_node_linked(&turn->in_ring));
    base_list_remove(&turn->in_client);
    free(turn);
    level->turns--;
    level_release(level);
}

/* -------------------------------------------------------------------- views */

static bool view_make(struct broker_core *core, struct broker_queue *queue,
                      struct broker_service *service) {
    struct broker_turn *turn;
    struct broker_view *view;

    if (core->view_count >= BROKER_VIEWS_MAX) {
        return false;
    }
    turn = turn_get(service->offer, queue);
    if (turn == NULL) {
        return false;
    }
    view = calloc(1, sizeof *view);
    if (view == NULL) {
        turn_release(turn);
        return false;
    }
    view->queue = queue;
    view->service = service;
    view->turn = turn;
    turn->view_count++;
    base_list_push_back(&queue->views, &view->in_queue);
    base_list_push_back(&queue->resting, &view->node);
    core->view_count++;
    return true;
}

static void view_wake(struct broker_core *core, struct broker_view *view) {
    struct broker_turn *turn = view->turn;
    struct broker_offer *offer = turn->level->offer;

    base_list_remove(&view->node);
    base_list_push_back(&turn->views, &view->node);
    view->ready = true;
    if (!base_node_linked(&turn->in_ring)) {
        base_list_push_back(&turn->level->ring, &turn->in_ring);
        turn->left = 0;
    }
    offer->ready++;
    broker_offer_activate(core, offer);
}

void broker_view_rest(struct broker_core *core, struct broker_view *view) {
    struct broker_turn *turn = view->turn;

    base_list_remove(&view->node);
    base_list_push_back(&view->queue->resting, &view->node);
    view->ready = false;
    if (base_list_empty(&turn->views)) {
        base_list_remove(&turn->in_ring);
    }
    turn->level->offer->ready--;
    broker_offer_activate(core, turn->level->offer);
}

static void view_free(struct broker_core *core, struct broker_view *view) {
    if (view->ready) {
        broker_view_rest(core, view);
    }
    base_list_remove(&view->node);
    base_list_remove(&view->in_queue);
    view->turn->view_count--;
    turn_release(view->turn);
    free(view);
    core->view_count--;
}

void broker_queue_wake(struct broker_core *core, struct broker_queue *queue) {
    struct base_node *node;

    while ((node = base_list_first(&queue->resting)) != NULL) {
        view_wake(core, BASE_LIST_ENTRY(node, struct broker_view, node));
    }
}

/* Whether an offer is to be looked at by the next dispatch. */
void broker_offer_activate(struct broker_core *core, struct broker_offer *offer) {
    bool active = offer->ready > 0 && offer->idle_count + offer->credit_count > 0;

    if (active && !base_node_linked(&offer->active)) {
        base_list_push_back(&core->active, &offer->active);
    } else if (!active && base_node_linked(&offer->active)) {
        base_list_remove(&offer->active);
    }
}

/* ----------------------------------------------------------------- services */

static bool text_equal(struct wire_text a, struct wire_text b) {
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* Whether each of the demand's tags is among the offer's; the function's number in *function. */
static bool meets(const struct broker_offer *offer, const struct broker_demand *demand,
                  uint32_t *function) {
    const struct base_map_node *node =
        base_map_find(&offer->functions, demand->function.data, demand->function.size);
    uint32_t at = 0;

    if (node == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < demand->tag_count; i++) {
        while (at < offer->tag_count && !text_equal(offer->tags[at], demand->tags[i])) {
            at++; /* both are sorted: what was passed over is never needed again */
        }
        if (at == offer->tag_count) {
            return false;
        }
    }
    *function = BASE_CONTAINER_OF(node, const struct broker_offered, node)->index;
    return true;
}

static void service_free(struct broker_core *core, struct broker_service *service) {
    struct broker_demand *demand = service->demand;

    BASE_LIST_FOREACH(&demand->queues, node) {
        struct broker_queue *queue = BASE_LIST_ENTRY(node, struct broker_queue, in_demand);

        BASE_LIST_FOREACH(&queue->views, seen) {
            struct broker_view *view = BASE_LIST_ENTRY(seen, struct broker_view, in_queue);

            if (view->service == service) {
                view_free(core, view);
            }
        }
    }
    base_list_remove(&service->in_demand);
    base_list_remove(&service->in_offer);
    free(service);
    broker_demand_watch(core, demand);
}

/* Joins a demand and an offer if they fit. False: no memory, or too many views. */
static bool service_make(struct broker_core *core, struct broker_demand *demand,
                         struct broker_offer *offer) {
    struct broker_service *service;
    uint32_t function;

    if (!meets(offer, demand, &function)) {
        return true;
    }
    service = calloc(1, sizeof *service);
    if (service == NULL) {
        return false;
    }
    service->demand = demand;
    service->offer = offer;
    service->function = function;
    base_list_push_back(&demand->services, &service->in_demand);
    base_list_push_back(&offer->services, &service->in_offer);
    BASE_LIST_FOREACH(&demand->queues, node) {
        struct broker_queue *queue = BASE_LIST_ENTRY(node, struct broker_queue, in_demand);

        if (!view_make(core, queue, service)) {
            service_free(core, service);
            return false;
        }
        if (queue->count > 0) {
            broker_queue_wake(core, queue);
        }
    }
    broker_demand_watch(core, demand);
    return true;
}

/* ------------------------------------------------------------------ demands */

/* Sorts tags and drops those that are there twice. Returns how many are left. */
static uint32_t sort_tags(struct wire_text *tags, uint32_t count) {
    uint32_t kept = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct wire_text tag = tags[i];
        uint32_t at = kept;
        int order = 1;

        while (at > 0) {
            size_t common = tags[at - 1].size < tag.size ? tags[at - 1].size : tag.size;

            order = memcmp(tags[at - 1].data, tag.data, common);
            if (order == 0) {
                order = (tags[at - 1].size > tag.size) - (tags[at - 1].size < tag.size);
            }
            if (order <= 0) {
                break;
            }
            at--;
        }
        if (at > 0 && order == 0) {
            continue;
        }
        memmove(&tags[at + 1], &tags[at], (kept - at) * sizeof *tags);
        tags[at] = tag;
        kept++;
    }
    return kept;
}

/* Appends a name with its length before it, so that no two lists of names look the same. */
static void key_add(struct base_buffer *key, struct wire_text name) {
    BASE_ASSERT(name.size <= UINT8_MAX);
    base_buffer_append_u8(key, (uint8_t)name.size);
    base_buffer_append(key, name.data, name.size);
}

static struct wire_text key_next(const uint8_t **at) {
    struct wire_text name = {(const char *)*at + 1, **at};

    *at += 1 + name.size;
    return name;
}

static void demand_release(struct broker_core *core, struct broker_demand *demand) {
    if (!base_list_empty(&demand->queues)) {
        return;
    }
    BASE_ASSERT(demand->suspect_count == 0 && demand->queued == 0);
    BASE_LIST_FOREACH(&demand->services, node) {
        service_free(core, BASE_LIST_ENTRY(node, struct broker_service, in_demand));
    }
    broker_demand_unreserve(core, demand);
    broker_timer_drop(core, &demand->timer);
    base_map_remove(&core->demands, &demand->node);
    base_list_remove(&demand->roll.node);
    free(demand);
}

static bool demand_offers(struct broker_core *core, struct broker_demand *demand) {
    struct base_map_cursor cursor = {0};
    struct base_map_node *node;

    while ((node = base_map_next(&core->offers, &cursor)) != NULL) {
        if (!service_make(core, demand, BASE_CONTAINER_OF(node, struct broker_offer, node))) {
            return false;
        }
    }
    return true;
}

static struct broker_demand *demand_make(struct broker_core *core, const struct base_buffer *key,
                                         uint32_t tag_count) {
    struct broker_demand *demand = calloc(1, sizeof *demand + key->size);
    const uint8_t *at;

    if (demand == NULL) {
        return NULL;
    }
    memcpy(demand->key, key->data, key->size);
    at = demand->key;
    demand->function = key_next(&at);
    demand->tag_count = tag_count;
    for (uint32_t i = 0; i < tag_count; i++) {
        demand->tags[i] = key_next(&at);
    }
    base_list_init(&demand->queues);
    base_list_init(&demand->services);
    base_list_init(&demand->suspects);
    if (!broker_timer_make(core, &demand->timer, BROKER_TIMER_DEMAND) ||
        base_map_insert(&core->demands, &demand->node, demand->key, key->size) !=
            BASE_MAP_INSERTED) {
        broker_timer_drop(core, &demand->timer);
        free(demand);
        return NULL;
    }
    base_list_push_back(&core->demand_roll, &demand->roll.node);
    if (!demand_offers(core, demand)) {
        demand_release(core, demand);
        return NULL;
    }
    return demand;
}

static struct broker_demand *demand_get(struct broker_core *core,
                                        const struct wire_define *define) {
    struct wire_text tags[WIRE_TAGS_MAX];
    struct base_map_node *node;
    struct base_buffer *key = &core->scratch;
    uint32_t tag_count;

    memcpy(tags, define->tags, define->tag_count * sizeof *tags);
    tag_count = sort_tags(tags, define->tag_count);
    base_buffer_clear(key);
    key_add(key, define->function);
    for (uint32_t i = 0; i < tag_count; i++) {
        key_add(key, tags[i]);
    }
    if (key->failed) {
        return NULL;
    }
    node = base_map_find(&core->demands, key->data, key->size);
    return node != NULL ? BASE_CONTAINER_OF(node, struct broker_demand, node)
                        : demand_make(core, key, tag_count);
}

/* ------------------------------------------- functions that nobody offers */

void broker_demand_watch(struct broker_core *core, struct broker_demand *demand) {
    bool hopeless = demand->queued + demand->suspect_count > 0 &&
                    base_list_empty(&demand->services) && core->stats.workers > 0 &&
                    core->config.no_function_ns != UINT64_MAX;

    if (!hopeless) {
        broker_timer_stop(core, &demand->timer);
    } else if (!broker_timer_runs(&demand->timer)) {
        broker_timer_set(core, &demand->timer, broker_after(core, core->config.no_function_ns));
    }
}

void broker_demands_watch(struct broker_core *core) {
    struct base_map_cursor cursor = {0};
    struct base_map_node *node;

    while ((node = base_map_next(&core->demands, &cursor)) != NULL) {
        broker_demand_watch(core, BASE_CONTAINER_OF(node, struct broker_demand, node));
    }
}

static void fail_first(struct broker_core *core, struct base_node *first,
                       const struct wire_error *error) {
    struct broker_task *task = BASE_LIST_ENTRY(first, struct broker_task, node);

    broker_task_detach(core, task);
    broker_task_fail(core, task, WIRE_KIND_NO_FUNCTION, error);
}

void broker_demand_timer(struct broker_core *core, struct broker_demand *demand) {
    char text[WIRE_NAME_BYTES_MAX + 128];
    struct wire_error error = {.code = 0};
    struct base_node *first;
    int length;

    if (!base_list_empty(&demand->services) || core->stats.workers == 0) {
        return;
    }
    length = snprintf(text, sizeof text, "none of %u workers offers %.*s%s", core->stats.workers,
                      (int)demand->function.size, demand->function.data,
                      demand->tag_count > 0 ? " with the tags asked for" : "");
    error.message = (struct wire_text){text, (size_t)length};
    BASE_LIST_FOREACH(&demand->queues, node) {
        struct broker_queue *queue = BASE_LIST_ENTRY(node, struct broker_queue, in_demand);

        while ((first = base_list_first(&queue->tasks)) != NULL) {
            fail_first(core, first, &error);
        }
    }
    while ((first = base_list_first(&demand->suspects)) != NULL) {
        fail_first(core, first, &error);
    }
}

/* ------------------------------------------------------------------- queues */

void broker_queue_free(struct broker_core *core, struct broker_queue *queue) {
    BASE_ASSERT(queue->count == 0 && queue->leased == 0);
    if (base_node_linked(&queue->waiting)) {
        base_list_remove(&queue->waiting);
    }
    BASE_LIST_FOREACH(&queue->views, node) {
        view_free(core, BASE_LIST_ENTRY(node, struct broker_view, in_queue));
    }
    base_list_remove(&queue->in_client);
    base_list_remove(&queue->in_demand);
    queue->client->queue_count--;
    queue->demand->queue_count--;
    demand_release(core, queue->demand);
    free(queue);
}

/* A client may have many queues, and a demand too: the shorter list is searched. */
static struct broker_queue *queue_find(struct broker_client *client, struct broker_demand *demand,
                                       int32_t priority) {
    if (client->queue_count <= demand->queue_count) {
        BASE_LIST_FOREACH(&client->queues, node) {
            struct broker_queue *queue = BASE_LIST_ENTRY(node, struct broker_queue, in_client);

            if (queue->demand == demand && queue->priority == priority) {
                return queue;
            }
        }
        return NULL;
    }
    BASE_LIST_FOREACH(&demand->queues, node) {
        struct broker_queue *queue = BASE_LIST_ENTRY(node, struct broker_queue, in_demand);

        if (queue->client == client && queue->priority == priority) {
            return queue;
        }
    }
    return NULL;
}

static struct broker_queue *queue_make(struct broker_core *core, struct broker_client *client,
                                       struct broker_demand *demand, int32_t priority) {
    struct broker_queue *queue = calloc(1, sizeof *queue);

    if (queue == NULL) {
        demand_release(core, demand);
        return NULL;
    }
    queue->client = client;
    queue->demand = demand;
    queue->priority = priority;
    queue->value_bytes = demand->value_bytes;
    base_list_init(&queue->tasks);
    base_list_init(&queue->resting);
    base_list_init(&queue->views);
    base_list_push_back(&client->queues, &queue->in_client);
    base_list_push_back(&demand->queues, &queue->in_demand);
    client->queue_count++;
    demand->queue_count++;
    BASE_LIST_FOREACH(&demand->services, node) {
        if (!view_make(core, queue, BASE_LIST_ENTRY(node, struct broker_service, in_demand))) {
            broker_queue_free(core, queue);
            return NULL;
        }
    }
    return queue;
}

struct broker_queue *broker_queue_get(struct broker_core *core, struct broker_client *client,
                                      const struct wire_define *define, struct wire_fault *fault) {
    struct broker_demand *demand = demand_get(core, define);
    struct broker_queue *queue = NULL;

    if (demand != NULL) {
        queue = queue_find(client, demand, define->priority);
        if (queue == NULL) {
            queue = queue_make(core, client, demand, define->priority);
        }
    }
    if (queue == NULL) {
        fault->text[0] = '\0';
        if (core->view_count >= BROKER_VIEWS_MAX) {
            broker_fault(fault, WIRE_REJECT_LIMIT, "DEFINE: too many classes over too many offers");
        }
    }
    return queue;
}

void broker_queue_add(struct broker_core *core, struct broker_task *task, bool front) {
    struct broker_queue *queue = task->class->queue;

    broker_task_set_state(task, BROKER_TASK_QUEUED);
    if (front) {
        base_list_push_front(&queue->tasks, &task->node);
        broker_ages_back(&queue->ages, core->now_ns);
    } else {
        base_list_push_back(&queue->tasks, &task->node);
        broker_ages_came(&queue->ages, 1, core->now_ns);
    }
    queue->demand->queued++;
    core->queued++;
    if (++queue->count == 1) {
        broker_queue_wake(core, queue);
        broker_demand_watch(core, queue->demand);
    }
    if (BASE_UNLIKELY((task->flags & BROKER_TASK_EXTRA) != 0) && task->extra->start_by_ns != 0) {
        broker_timer_set(core, &task->extra->timer, task->extra->start_by_ns);
    }
}

void broker_queue_taken(struct broker_core *core, struct broker_queue *queue, uint32_t count) {
    queue->count -= count;
    queue->demand->queued -= count;
    core->queued -= count;
}

/* ------------------------------------------------------------------- offers */

void broker_offer_release(struct broker_core *core, struct broker_offer *offer) {
    if (!base_list_empty(&offer->workers)) {
        return;
    }
    BASE_LIST_FOREACH(&offer->services, node) {
        service_free(core, BASE_LIST_ENTRY(node, struct broker_service, in_offer));
    }
    BASE_ASSERT(base_list_empty(&offer->levels) && offer->ready == 0);
    if (base_node_linked(&offer->uneven)) {
        base_list_remove(&offer->uneven);
    }
    if (base_node_linked(&offer->active)) {
        base_list_remove(&offer->active);
    }
    broker_timer_drop(core, &offer->timer);
    base_map_remove(&core->offers, &offer->node);
    base_map_fini(&offer->functions);
    free(offer->offered);
    free(offer);
}

static bool offer_functions(struct broker_core *core, struct broker_offer *offer,
                            uint32_t function_count, const uint8_t **at) {
    base_map_init(&offer->functions, base_rng_next(&core->rng), base_rng_next(&core->rng));
    offer->offered = calloc(function_count + 1, sizeof *offer->offered);
    if (offer->offered == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < function_count; i++) {
        struct wire_text name = key_next(at);

        offer->offered[i].index = i;
        /* A name that is there twice is the first one. */
        if (base_map_insert(&offer->functions, &offer->offered[i].node, name.data, name.size) ==
            BASE_MAP_NO_MEMORY) {
            return false;
        }
    }
    offer->function_count = function_count;
    return true;
}

static bool offer_demands(struct broker_core *core, struct broker_offer *offer) {
    struct base_map_cursor cursor = {0};
    struct base_map_node *node;

    while ((node = base_map_next(&core->demands, &cursor)) != NULL) {
        if (!service_make(core, BASE_CONTAINER_OF(node, struct broker_demand, node), offer)) {
            return false;
        }
    }
    return true;
}

static struct broker_offer *offer_make(struct broker_core *core, const struct base_buffer *key,
                                       uint32_t function_count, uint32_t tag_count) {
    struct broker_offer *offer = calloc(1, sizeof *offer + key->size);
    const uint8_t *at;

    if (offer == NULL) {
        return NULL;
    }
    base_list_init(&offer->services);
    base_list_init(&offer->levels);
    base_list_init(&offer->workers);
    base_list_init(&offer->idle);
    base_list_init(&offer->credit);
    memcpy(offer->key, key->data, key->size);
    at = offer->key;
    if (!broker_timer_make(core, &offer->timer, BROKER_TIMER_OFFER) ||
        !offer_functions(core, offer, function_count, &at) ||
        base_map_insert(&core->offers, &offer->node, offer->key, key->size) != BASE_MAP_INSERTED) {
        broker_timer_drop(core, &offer->timer);
        base_map_fini(&offer->functions);
        free(offer->offered);
        free(offer);
        return NULL;
    }
    offer->tag_count = tag_count;
    for (uint32_t i = 0; i < tag_count; i++) {
        offer->tags[i] = key_next(&at);
    }
    if (!offer_demands(core, offer)) {
        broker_offer_release(core, offer);
        return NULL;
    }
    return offer;
}

struct broker_offer *broker_offer_get(struct broker_core *core, const struct wire_hello *hello,
                                      struct wire_fault *fault) {
    struct wire_text tags[WIRE_TAGS_MAX];
    struct base_buffer key;
    struct base_map_node *node = NULL;
    struct broker_offer *offer = NULL;
    uint32_t tag_count;

    base_buffer_init(&key);
    memcpy(tags, hello->tags, hello->tag_count * sizeof *tags);
    tag_count = sort_tags(tags, hello->tag_count);
    for (uint32_t i = 0; i < hello->function_count; i++) {
        key_add(&key, hello->functions[i]);
    }
    for (uint32_t i = 0; i < tag_count; i++) {
        key_add(&key, tags[i]);
    }
    /* Where the functions end and the tags begin is part of the key. */
    base_buffer_append(&key, &hello->function_count, sizeof hello->function_count);
    if (!key.failed) {
        node = base_map_find(&core->offers, key.data, key.size);
        offer = node != NULL ? BASE_CONTAINER_OF(node, struct broker_offer, node)
                             : offer_make(core, &key, hello->function_count, tag_count);
    }
    base_buffer_fini(&key);
    if (offer == NULL) {
        fault->text[0] = '\0';
        if (core->view_count >= BROKER_VIEWS_MAX) {
            broker_fault(fault, WIRE_REJECT_LIMIT, "HELLO: too many offers for too many classes");
        }
    }
    return offer;
}
