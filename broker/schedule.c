/* Dispatch: which worker gets which tasks.
 *
 * An offer is active while it has both workers with credit and views that may have tasks. It serves
 * its highest level, there the clients in turn, of a client its queues in turn, of a queue the first
 * tasks; workers with free threads come first, then those with credit, each in turn. In a round of
 * the workers each gets the same share, so that a small backlog is spread over all; but not into
 * messages that cost more than the work in them (broker/pace.h). */
#include "broker/schedule.h"

#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/credit.h"
#include "broker/outbox.h"
#include "broker/queue.h"
#include "broker/recall.h"
#include "broker/session.h"
#include "broker/task.h"
#include "broker/timer.h"
#include "broker/worker.h"

/* How much work a client may have done before it is the next one's turn. */
#define TURN_NS        (250 * UINT64_C(1000))
#define TURN_TASKS_MAX 64u

/* ------------------------------------------------------------------ workers */

static enum broker_ring ring_of(const struct broker_worker *worker) {
    if (worker->claiming || worker->draining || worker->dying || worker->session.lost ||
        worker->reserved != NULL || worker->alone != NULL || worker->held >= worker->limit) {
        return BROKER_RING_NONE;
    }
    return worker->held < worker->slots ? BROKER_RING_IDLE : BROKER_RING_CREDIT;
}

static void ring_leave(struct broker_core *core, struct broker_worker *worker) {
    if (worker->ring == BROKER_RING_NONE) {
        return;
    }
    base_list_remove(&worker->in_ring);
    if (worker->ring == BROKER_RING_IDLE) {
        worker->offer->idle_count--;
    } else {
        worker->offer->credit_count--;
    }
    worker->ring = BROKER_RING_NONE;
    core->willing--;
}

static void ring_enter(struct broker_core *core, struct broker_worker *worker,
                       enum broker_ring ring) {
    struct broker_offer *offer = worker->offer;

    if (ring == BROKER_RING_NONE) {
        return;
    }
    if (ring == BROKER_RING_IDLE) {
        base_list_push_back(&offer->idle, &worker->in_ring);
        offer->idle_count++;
    } else {
        base_list_push_back(&offer->credit, &worker->in_ring);
        offer->credit_count++;
    }
    worker->ring = (uint8_t)ring;
    core->willing++;
}

void broker_worker_place(struct broker_core *core, struct broker_worker *worker) {
    enum broker_ring ring = ring_of(worker);
    bool laden = worker->held > worker->slots && !worker->session.lost;
    struct broker_offer *offer = worker->offer;

    if (laden != worker->laden) {
        worker->laden = laden;
        if (laden) {
            offer->laden++;
        } else {
            offer->laden--;
        }
    }
    if (ring != worker->ring) {
        ring_leave(core, worker);
        ring_enter(core, worker, ring);
        broker_offer_activate(core, offer);
    }
    if (offer->idle_count > 0 && offer->laden > 0) {
        broker_recall_watch(core, offer);
    }
}

/* ------------------------------------------------------------------- leases */

/* The lease that is number `count`. */
static uint64_t lease_of(uint64_t count, const struct broker_task *task) {
    return count << BROKER_INDEX_BITS | broker_task_index(task);
}

static void run_key(const struct broker_service *service, const struct broker_class *class,
                    uint64_t *key) {
    key[0] = service->function;
    key[1] = class->flags;
    key[2] = class->run_ms;
    key[3] = class->client->session.id.high;
    key[4] = class->client->session.id.low;
}

static bool run_put(struct broker_core *core, struct broker_worker *worker, const uint64_t *key,
                    const struct broker_task *task, uint64_t lease) {
    const uint64_t entry[] = {lease, task->id, task->attempt};

    return broker_session_put(core, &worker->session, &worker->runs, WIRE_RUN, key, entry,
                              broker_task_data(task), task->size, broker_task_blob(task));
}

/* Puts one more task with the same key. False: it has to go by run_put; nothing happened. */
static inline bool run_put_again(struct broker_worker *worker, const uint64_t *key,
                                 const struct broker_task *task, uint64_t lease) {
    const uint64_t entry[] = {lease, task->id, task->attempt};

    return BASE_LIKELY(task->size <= BROKER_INLINE_BYTES) &&
           BASE_LIKELY(wire_writer_put_again(worker->runs, (struct wire_shape)WIRE_SHAPE_RUN, key,
                                             entry, task->payload.bytes, task->size,
                                             NULL) == WIRE_PUT_OK);
}

static void leased(struct broker_core *core, struct broker_worker *worker, uint32_t count) {
    broker_session_dirty(core, &worker->session);
    if (worker->held == 0) {
        worker->progress_ns = core->now_ns;
        worker->probe_ns = core->now_ns;
    }
    worker->held += count;
    core->leased += count;
    broker_worker_place(core, worker);
}

bool broker_lease(struct broker_core *core, struct broker_worker *worker,
                  const struct broker_service *service, struct broker_task *task) {
    uint64_t lease = lease_of(++core->lease_count, task);
    uint64_t key[WIRE_KEY_MAX];

    run_key(service, task->class, key);
    if (!run_put(core, worker, key, task, lease)) {
        return false;
    }
    task->lease = lease;
    task->worker = worker;
    broker_task_set_state(task, BROKER_TASK_LEASED);
    base_list_push_back(&worker->leases, &task->node);
    broker_credit_leased(task->class->queue, 1);
    leased(core, worker, 1);
    return true;
}

/* Moves the first nodes of a list, up to `last`, to the end of another, as they stand. */
static void move_front(struct base_list *from, struct base_node *last, struct base_list *to) {
    struct base_node *first = from->root.next, *rest = last->next;

    from->root.next = rest;
    rest->prev = &from->root;
    first->prev = to->root.prev;
    to->root.prev->next = first;
    last->next = &to->root;
    to->root.prev = last;
}

/* Leases the first `count` tasks of a view's queue to a worker. Returns how many it were: fewer only
 * without memory. Not inlined, as every task goes through this loop, which wants the registers. */
static __attribute__((noinline)) uint32_t lease_run(struct broker_core *core,
                                                    struct broker_worker *worker,
                                                    const struct broker_view *view,
                                                    uint32_t count) {
    struct broker_queue *queue = view->queue;
    struct base_node *node = queue->tasks.root.next, *last = NULL;
    const struct broker_class *class = NULL;
    uint64_t key[WIRE_KEY_MAX], count_before = core->lease_count;
    uint32_t done = 0;

    for (; done < count; done++, last = node, node = node->next) {
        struct broker_task *task = BASE_LIST_ENTRY(node, struct broker_task, node);
        uint64_t lease = lease_of(count_before + done + 1, task);
        bool again = task->class == class;

        __builtin_prefetch(node->next->next);
        if (BASE_UNLIKELY(!again)) {
            class = task->class;
            run_key(view->service, class, key);
        }
        if (!(BASE_LIKELY(again) && BASE_LIKELY(run_put_again(worker, key, task, lease))) &&
            !run_put(core, worker, key, task, lease)) {
            break;
        }
        task->lease = lease;
        task->worker = worker;
        broker_task_set_state(task, BROKER_TASK_LEASED);
    }
    if (done > 0) {
        core->lease_count += done;
        move_front(&queue->tasks, last, &worker->leases);
        broker_ages_gone(&queue->ages, done, core->now_ns, &core->waits);
        broker_queue_taken(core, queue, done);
        broker_credit_leased(queue, done);
        leased(core, worker, done);
    }
    return done;
}

/* ----------------------------------------------------------------- dispatch */

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static struct broker_turn *next_turn(const struct broker_offer *offer) {
    BASE_LIST_FOREACH(&offer->levels, node) {
        struct broker_level *level = BASE_LIST_ENTRY(node, struct broker_level, in_offer);
        struct base_node *first = base_list_first(&level->ring);

        if (first != NULL) {
            return BASE_LIST_ENTRY(first, struct broker_turn, in_ring);
        }
    }
    return NULL;
}

/* How many tasks a client's turn is: many if they are short. */
static uint32_t turn_tasks(const struct broker_worker *worker) {
    uint64_t tasks;

    if (worker->mean_ns == 0) {
        return 1;
    }
    tasks = TURN_NS * worker->slots / worker->mean_ns;
    return tasks == 0 ? 1 : tasks > TURN_TASKS_MAX ? TURN_TASKS_MAX : (uint32_t)tasks;
}

static void rotate(struct base_list *ring, struct base_node *node) {
    if (ring->root.prev != node) {
        base_list_remove(node);
        base_list_push_back(ring, node);
    }
}

/* How many tasks of a demand are worth a message: the same throughout a dispatch. */
static uint32_t worth_message(const struct broker_core *core, struct broker_demand *demand) {
    if (demand->dispatch != core->dispatches) {
        demand->dispatch = core->dispatches;
        demand->grain = broker_pace_grain(&demand->pace, demand->queued);
    }
    return demand->grain;
}

/* A worker's share of what a demand has queued: the same for all in a round of the workers. */
static uint32_t share(struct broker_core *core, struct broker_offer *offer,
                      const struct broker_demand *demand, bool idle) {
    if (offer->round == 0 || offer->round_idle != idle || offer->dispatch != core->dispatches) {
        offer->dispatch = core->dispatches;
        offer->round_idle = idle;
        offer->round = idle ? offer->idle_count : offer->credit_count;
        offer->slice = (demand->queued + core->willing - 1) / core->willing;
    }
    offer->round--;
    return offer->slice;
}

/* How many tasks a worker gets now: its share, or so many that the message is worth it; an idle one at
 * first no more than it has threads, since others may be idle too. */
static uint32_t portion(struct broker_core *core, struct broker_offer *offer,
                        const struct broker_worker *worker, const struct broker_queue *queue,
                        bool idle) {
    uint32_t worth = least(worth_message(core, queue->demand), worker->limit);
    uint32_t most = !idle ? worker->limit : worker->slots > worth ? worker->slots : worth;
    uint32_t count = share(core, offer, queue->demand, idle);

    BASE_ASSERT(worker->held < most);
    count = count > worth ? count : worth;
    return least(least(count, most - worker->held), queue->count);
}

static struct broker_worker *first_worker(const struct base_list *ring) {
    struct base_node *first = base_list_first(ring);

    BASE_ASSERT(first != NULL);
    return BASE_LIST_ENTRY(first, struct broker_worker, in_ring);
}

/* Gives tasks of one queue to one worker. False: no memory. */
static bool visit(struct broker_core *core, struct broker_offer *offer) {
    struct broker_turn *turn = next_turn(offer);
    struct base_list *ring = &turn->level->ring;
    struct broker_view *view =
        BASE_LIST_ENTRY(base_list_first(&turn->views), struct broker_view, node);
    struct broker_queue *queue = view->queue;
    bool idle = offer->idle_count > 0;
    struct broker_worker *worker;
    uint32_t count, done, room;

    room = queue->count == 0 ? 0 : broker_credit_room(core, queue);
    if (room == 0) {
        broker_view_rest(core, view);
        return true;
    }
    worker = first_worker(idle ? &offer->idle : &offer->credit);
    count = least(portion(core, offer, worker, queue, idle), room);
    broker_rivals_note(&offer->clients, queue->client, core->stats.clients, core->now_ns);
    if (ring->root.next != ring->root.prev) { /* others wait for their turn */
        if (turn->left == 0) {
            turn->left = turn_tasks(worker);
        }
        count = least(count, turn->left);
    }
    rotate(idle ? &offer->idle : &offer->credit, &worker->in_ring);
    done = lease_run(core, worker, view, count);
    rotate(&turn->views, &view->node);
    turn->left -= least(done, turn->left);
    if (turn->left == 0) {
        rotate(ring, &turn->in_ring);
    }
    return done == count;
}

void broker_dispatch(struct broker_core *core) {
    struct base_node *node;

    core->dispatches++;
    if (BASE_UNLIKELY(!base_list_empty(&core->suspicious))) {
        broker_dispatch_suspects(core);
    }
    while (core->queued > 0 && (node = base_list_first(&core->active)) != NULL) {
        struct broker_offer *offer = BASE_LIST_ENTRY(node, struct broker_offer, active);

        rotate(&core->active, &offer->active);
        if (!visit(core, offer)) {
            return;
        }
    }
}
