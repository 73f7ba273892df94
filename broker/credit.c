/* What clients may send: memory stays bounded, nothing is dropped, nobody waits for ever
 * (docs/protocol.md section 5).
 *
 * Grants are totals. What was granted and not used yet is promised: it counts as taken. While there
 * is plenty, each client is kept supplied with a window; when it gets scarce, only those are that
 * have less than their share. One task is always let through for a client that has nothing here, so
 * the limit may be exceeded by one task a client and by no more. */
#include "broker/internal.h"

#define WINDOW_TASKS_MAX UINT64_C(65536)
#define WINDOW_BYTES_MAX (UINT64_C(512) << 20)
#define CLOG_BYTES_MIN   (UINT64_C(1) << 20)
#define SERVED_A_FLUSH   64

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

static struct supply supply_tasks(const struct broker_core *core) {
    return supply_of(core, core->config.tasks_max,
                     base_slab_count(&core->tasks) + core->promised_tasks, WINDOW_TASKS_MAX);
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
    bool alone = tasks == 1 && client->task_count == 0 && hand_tasks(client) > 0;

    if (!fits && !alone) {
        return false;
    }
    core->promised_tasks -= least(tasks, hand_tasks(client));
    core->promised_bytes -= least(bytes, hand_bytes(client));
    client->sent_tasks += tasks;
    client->sent_bytes += bytes;
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

void broker_credit_grant(struct broker_core *core, struct broker_client *client) {
    struct supply tasks = supply_tasks(core), bytes = supply_bytes(core);
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
    broker_owner_count(client);
    set_starved(core, client, false);
}

void broker_credit_clog(struct broker_core *core, struct broker_client *client) {
    uint64_t clients = core->stats.clients > 0 ? core->stats.clients : 1;
    uint64_t limit = core->config.memory_bytes / (4 * clients);
    uint64_t kept = client->session.link.kept_bytes;

    if (limit < CLOG_BYTES_MIN) {
        limit = CLOG_BYTES_MIN;
    }
    if (kept > limit) {
        client->clogged = true;
    } else if (client->clogged && kept <= limit / 2) {
        client->clogged = false;
        BASE_LIST_FOREACH(&client->queues, node) {
            struct broker_queue *queue = BASE_LIST_ENTRY(node, struct broker_queue, in_client);

            if (queue->count > 0) {
                broker_queue_wake(core, queue);
            }
        }
    }
}
