/* What clients may send: memory stays bounded, nothing is dropped, nobody waits for ever
 * (docs/protocol.md section 5).
 *
 * Grants are totals. What was granted and not used yet is promised: it counts as taken. While there
 * is plenty, each client is kept supplied with a window; when it gets scarce, only those are that
 * have less than their share. One task is always let through for a client that has nothing here, so
 * the limit may be exceeded by one task a client and by no more. */
#include "broker/credit.h"

#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/owner.h"
#include "broker/queue.h"
#include "broker/session.h"
#include "broker/task.h"

/* A client that uses up what it was given is given twice as much. While several submit, one that has
 * enough here has less in hand: what it sends at once is what the messages of the others wait behind. */
#define WINDOW_TASKS_FIRST  UINT64_C(4096)
#define WINDOW_TASKS_MAX    UINT64_C(65536)
#define WINDOW_TASKS_RIVALS UINT64_C(1024)
#define WINDOW_BYTES_MAX    (UINT64_C(512) << 20)
#define CLOG_BYTES_MIN      (UINT64_C(1) << 20)
#define VALUE_BYTES_MIN     16u /* what a value costs beside itself */
#define SERVED_A_FLUSH      64

struct supply {
    uint64_t total;   /* there is altogether */
    uint64_t free;    /* neither taken nor promised */
    uint64_t window;  /* what a client is to have in hand */
    uint64_t clients; /* that share it */
};

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t minus(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

static struct supply supply_of(const struct broker_core *core, uint64_t total, uint64_t taken,
                               uint64_t window_max) {
    struct supply supply = {.total = total, .free = minus(total, taken)};

    supply.clients = core->stats.clients > 0 ? core->stats.clients : 1;
    supply.window = least(total / (4 * supply.clients), window_max);
    if (supply.window == 0) {
        supply.window = 1;
    }
    return supply;
}

static struct supply supply_tasks(const struct broker_core *core,
                                  const struct broker_client *client) {
    return supply_of(core, core->config.tasks_max,
                     base_slab_count(&core->tasks) + core->promised_tasks, client->window_tasks);
}

static struct supply supply_bytes(const struct broker_core *core) {
    return supply_of(core, core->config.memory_bytes,
                     core->memory + core->promised_bytes + core->promised_tasks * BROKER_TASK_BYTES,
                     WINDOW_BYTES_MAX);
}

/* How much more a client gets that has `hand` in hand and `here` at the broker. */
static uint64_t portion(const struct supply *supply, uint64_t hand, uint64_t here) {
    uint64_t more = minus(supply->window, hand);

    if (supply->free < supply->total / 4) {
        more = least(more, minus(supply->total / supply->clients, here + hand));
    }
    return least(more, supply->free);
}

static uint64_t hand_tasks(const struct broker_client *client) {
    return minus(client->granted_tasks, client->sent_tasks);
}

static uint64_t hand_bytes(const struct broker_client *client) {
    return minus(client->granted_bytes, client->sent_bytes);
}

bool broker_credit_use(struct broker_core *core, struct broker_client *client, uint32_t tasks,
                       uint64_t bytes) {
    bool fits = tasks <= hand_tasks(client) && bytes <= hand_bytes(client);
    /* A client may have given up some of its tasks while the connection was down, of which this end
     * knows nothing: so one that owes nothing is believed that it has none here. */
    bool alone = tasks == 1 && hand_tasks(client) > 0 &&
                 (client->task_count == 0 || client->sent_bytes <= client->granted_bytes);

    if (!fits && !alone) {
        return false;
    }
    core->promised_tasks -= least(tasks, hand_tasks(client));
    core->promised_bytes -= least(bytes, hand_bytes(client));
    client->sent_tasks += tasks;
    client->sent_bytes += bytes;
    broker_rivals_note(&core->submitters, client, core->stats.clients, core->now_ns);
    return true;
}

void broker_credit_unuse(struct broker_core *core, struct broker_client *client, uint32_t tasks,
                         uint64_t bytes) {
    uint64_t had_tasks = hand_tasks(client), had_bytes = hand_bytes(client);

    client->sent_tasks -= tasks;
    client->sent_bytes -= bytes;
    core->promised_tasks += hand_tasks(client) - had_tasks;
    core->promised_bytes += hand_bytes(client) - had_bytes;
}

static void grant(struct broker_core *core, struct broker_client *client, uint64_t tasks,
                  uint64_t bytes) {
    if (tasks > 0) {
        client->granted_tasks = client->sent_tasks + hand_tasks(client) + tasks;
        core->promised_tasks += tasks;
        client->credit_news = true;
    }
    if (bytes > 0) {
        client->granted_bytes = client->sent_bytes + hand_bytes(client) + bytes;
        core->promised_bytes += bytes;
        client->credit_news = true;
    }
}

static void set_starved(struct broker_core *core, struct broker_client *client, bool starved) {
    if (starved && !base_node_linked(&client->starved)) {
        base_list_push_back(&core->starved, &client->starved);
    } else if (!starved && base_node_linked(&client->starved)) {
        base_list_remove(&client->starved);
    }
}

/* Records of tasks cost memory too: half of the window is theirs, half is for payloads. */
static void split_window(struct supply *tasks, struct supply *bytes) {
    bytes->window = bytes->window / 2 + 1;
    tasks->window = least(tasks->window, bytes->window / BROKER_TASK_BYTES + 1);
}

static void adapt_window(const struct broker_core *core, struct broker_client *client) {
    if (client->window_tasks == 0) {
        client->window_tasks = WINDOW_TASKS_FIRST;
    } else if (broker_rivals(&core->submitters, core->now_ns) &&
               client->task_count > client->window_tasks) {
        client->window_tasks = WINDOW_TASKS_RIVALS;
    } else if (hand_tasks(client) <= client->window_tasks / 2) {
        client->window_tasks = least(2 * client->window_tasks, WINDOW_TASKS_MAX);
    }
}

void broker_credit_grant(struct broker_core *core, struct broker_client *client) {
    adapt_window(core, client);
    struct supply tasks = supply_tasks(core, client), bytes = supply_bytes(core);
    uint64_t in_hand = hand_tasks(client), in_hand_bytes = hand_bytes(client);
    uint64_t more_tasks, more_bytes, room_tasks, room_bytes;

    broker_owner_count(client);
    broker_owner_room(client, &room_tasks, &room_bytes);
    split_window(&tasks, &bytes);
    if (core->draining || (in_hand > tasks.window / 2 && in_hand_bytes > bytes.window / 2)) {
        set_starved(core, client, false);
        return;
    }
    more_tasks = least(portion(&tasks, in_hand, client->task_count),
                       minus(core->config.client_tasks_max, client->task_count + in_hand));
    more_tasks = least(more_tasks, bytes.free / BROKER_TASK_BYTES);
    if (more_tasks == 0 && in_hand == 0 && client->task_count == 0) {
        more_tasks = 1;
    }
    more_tasks = least(more_tasks, room_tasks);
    bytes.free = minus(bytes.free, more_tasks * BROKER_TASK_BYTES);
    more_bytes =
        portion(&bytes, in_hand_bytes, client->task_bytes + client->task_count * BROKER_TASK_BYTES);
    grant(core, client, more_tasks, least(more_bytes, room_bytes));
    /* What it sent beyond its credit is gone, so the next one may go alone. */
    if (client->task_count == 0 && client->granted_bytes < client->sent_bytes) {
        client->granted_bytes = client->sent_bytes;
        client->credit_news = true;
    }
    broker_owner_count(client);
    set_starved(core, client,
                hand_tasks(client) <= tasks.window / 2 || hand_bytes(client) <= bytes.window / 2);
}

/* What a key's client has used or got rid of may be another's now. */
static void count_owned(struct broker_core *core) {
    if (base_map_count(&core->owners) == 0) {
        return;
    }
    BASE_LIST_FOREACH(&core->dirty, node) {
        struct broker_session *session = BASE_LIST_ENTRY(node, struct broker_session, dirty);

        if (session->role == WIRE_CLIENT) {
            broker_owner_count(broker_client_of(session));
        }
    }
}

void broker_credit_flush(struct broker_core *core) {
    struct base_list now;
    struct base_node *node;

    count_owned(core);
    base_list_init(&now);
    for (int i = 0; i < SERVED_A_FLUSH && !core->draining; i++) {
        node = base_list_pop_front(&core->starved);
        if (node == NULL) {
            break;
        }
        base_list_push_back(&now, node);
    }
    while ((node = base_list_pop_front(&now)) != NULL) {
        struct broker_client *client = BASE_LIST_ENTRY(node, struct broker_client, starved);

        broker_credit_grant(core, client);
        if (client->credit_news) {
            broker_session_dirty(core, &client->session);
        }
    }
}

void broker_credit_leave(struct broker_core *core, struct broker_client *client) {
    core->promised_tasks -= hand_tasks(client);
    core->promised_bytes -= hand_bytes(client);
    client->granted_tasks = 0;
    client->granted_bytes = 0;
    client->sent_tasks = 0;
    client->sent_bytes = 0;
    client->window_tasks = 0;
    broker_owner_count(client);
    set_starved(core, client, false);
}

/* ------------------------------------------------ clients that don't read */

/* How much of values may be under way to a client: those that it has not acknowledged, and those that
 * its leases will bring. */
static uint64_t clog_limit(const struct broker_core *core) {
    uint64_t clients = core->stats.clients > 0 ? core->stats.clients : 1;
    uint64_t share = core->config.memory_bytes / (4 * clients);

    /* A client acknowledges so much at once: with less it would be held up for no reason, which is
     * right only where there is no memory left. */
    if (share < CLOG_BYTES_MIN && core->memory < core->config.memory_bytes) {
        share = CLOG_BYTES_MIN;
    }
    return share;
}

static uint64_t clog_load(const struct broker_client *client) {
    return client->session.link.kept_bytes + client->due_bytes + client->expected_bytes;
}

static void wait_in(struct broker_core *core, struct base_list *list, struct broker_queue *queue) {
    core->stats.clogged++;
    base_list_push_back(list, &queue->waiting);
}

uint32_t broker_credit_room(struct broker_core *core, struct broker_queue *queue) {
    struct broker_client *client = queue->client;
    uint64_t load = clog_load(client), limit = clog_limit(core), room = minus(limit, load);

    if (base_node_linked(&queue->waiting)) {
        return 0;
    }
    /* Whatever the limit, one task gets through when nothing else is under way. */
    if (load > 0 && (room == 0 || room < queue->value_bytes)) {
        wait_in(core, &client->clogged, queue);
        return 0;
    }
    if (queue->value_bytes == 0) {
        /* Nobody knows yet what comes of these: no more than can run at once. */
        room = minus(core->slots, queue->leased);
        if (room == 0) {
            wait_in(core, &core->unproven, queue);
        }
    } else {
        room = room < queue->value_bytes ? 1 : room / queue->value_bytes;
    }
    return room < UINT32_MAX ? (uint32_t)room : UINT32_MAX;
}

static void wake(struct broker_core *core, struct broker_queue *queue) {
    base_list_remove(&queue->waiting);
    if (queue->count > 0) {
        broker_queue_wake(core, queue);
    }
}

/* The estimate follows larger values at once and smaller ones slowly: too large a one costs a round
 * trip, too small a one memory. */
void broker_credit_learn(struct broker_core *core, struct broker_queue *queue, uint32_t count,
                         uint64_t bytes) {
    uint64_t sample = bytes / count + VALUE_BYTES_MIN, mean = queue->value_bytes;
    struct broker_client *client = queue->client;

    client->due_bytes += bytes;
    mean = sample >= mean ? sample : (7 * mean + sample) / 8;
    if (mean == queue->value_bytes) {
        return;
    }
    client->expected_bytes -= (uint64_t)queue->leased * queue->value_bytes;
    if (queue->value_bytes == 0 && base_node_linked(&queue->waiting)) {
        wake(core, queue);
    }
    queue->value_bytes = mean < UINT32_MAX ? (uint32_t)mean : UINT32_MAX;
    queue->demand->value_bytes = queue->value_bytes;
    client->expected_bytes += (uint64_t)queue->leased * queue->value_bytes;
}

void broker_credit_unclog(struct broker_core *core, struct broker_client *client) {
    struct base_list now;
    struct base_node *node;

    if (BASE_LIKELY(base_list_empty(&client->clogged)) ||
        clog_load(client) > clog_limit(core) / 2) {
        return;
    }
    base_list_init(&now);
    base_list_splice(&now, &client->clogged);
    while ((node = base_list_first(&now)) != NULL) {
        wake(core, BASE_LIST_ENTRY(node, struct broker_queue, waiting));
    }
}

void broker_credit_freed(struct broker_core *core, struct broker_queue *queue) {
    broker_credit_unleased(queue, 1);
    if (queue->value_bytes == 0 && base_node_linked(&queue->waiting)) {
        wake(core, queue);
    }
    broker_credit_unclog(core, queue->client);
}

void broker_credit_prove(struct broker_core *core) {
    struct base_list now;
    struct base_node *node;

    base_list_init(&now);
    base_list_splice(&now, &core->unproven);
    while ((node = base_list_first(&now)) != NULL) {
        wake(core, BASE_LIST_ENTRY(node, struct broker_queue, waiting));
    }
}
