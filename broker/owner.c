/* Keys: what each may do, its sessions, its quota (docs/protocol.md section 10).
 *
 * A quota is kept by credit, as memory is: what a key's clients have here and what they were granted
 * may together not be more. A grant can't be taken back, so one client of a key must not be granted
 * what the others need to go on: none gets more tasks in hand than its share of half of the quota, and
 * the number of a key's clients is bounded accordingly. Bytes are less strict, since a task alone is
 * let through whatever the credit in bytes. */
#include "broker/owner.h"

#include <stdlib.h>
#include <string.h>

#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/router.h"
#include "broker/session.h"

#define CLIENTS_MAX 64u /* of a key with a quota */

/* Which right each role needs, by its number on the wire; what is not here nobody may be. */
static const unsigned rights[] = {
    [WIRE_CLIENT] = BROKER_MAY_SUBMIT,
    [WIRE_WORKER] = BROKER_MAY_WORK,
    [WIRE_SUPERVISOR] = BROKER_MAY_WORK,
    [WIRE_ADMIN] = BROKER_MAY_ADMIN,
};

bool broker_may(const struct broker_identity *identity, unsigned role) {
    return role < sizeof rights / sizeof rights[0] && (identity->rights & rights[role]) != 0;
}

static struct broker_owner *owner_find(const struct broker_core *core, const uint8_t *key) {
    struct base_map_node *node = base_map_find(&core->owners, key, BROKER_KEY_BYTES);

    return node == NULL ? NULL : BASE_CONTAINER_OF(node, struct broker_owner, node);
}

static bool is_of(const struct broker_session *session, const struct broker_identity *identity) {
    if (session->owner == NULL || identity == NULL) {
        return session->owner == NULL && identity == NULL;
    }
    return memcmp(session->owner->identity.key, identity->key, BROKER_KEY_BYTES) == 0;
}

/* ------------------------------------------------------------------- sessions */

static bool has_quota(const struct broker_identity *identity) {
    return identity->tasks_max != BROKER_NO_QUOTA || identity->bytes_max != BROKER_NO_QUOTA;
}

static uint32_t clients_max(const struct broker_identity *identity) {
    uint64_t most = identity->tasks_max / 2;

    return most < 1 ? 1 : most < CLIENTS_MAX ? (uint32_t)most : CLIENTS_MAX;
}

bool broker_owner_check(struct broker_core *core, const struct broker_identity *identity,
                        const struct wire_hello *hello, const struct broker_session *known,
                        struct wire_fault *fault) {
    const struct broker_owner *owner;

    /* One text for all, so that nobody learns of sessions that are not its own. */
    if ((identity == NULL && core->config.authenticate) ||
        (identity != NULL && !broker_may(identity, hello->role)) ||
        (known != NULL && !is_of(known, identity))) {
        broker_fault(fault, WIRE_REJECT_AUTH, "HELLO: this key may not do that");
        return false;
    }
    if (identity == NULL || known != NULL || hello->role != WIRE_CLIENT || !has_quota(identity)) {
        return true;
    }
    owner = owner_find(core, identity->key);
    if (owner != NULL && owner->client_count >= clients_max(identity)) {
        broker_fault(fault, WIRE_REJECT_LIMIT, "HELLO: session: this key's quota is for %u clients",
                     clients_max(identity));
        return false;
    }
    return true;
}

static struct broker_owner *owner_get(struct broker_core *core,
                                      const struct broker_identity *identity) {
    struct broker_owner *owner = owner_find(core, identity->key);

    if (owner == NULL) {
        owner = calloc(1, sizeof *owner);
        if (owner == NULL) {
            return NULL;
        }
        owner->identity = *identity;
        base_list_init(&owner->sessions);
        if (base_map_insert(&core->owners, &owner->node, owner->identity.key, BROKER_KEY_BYTES) !=
            BASE_MAP_INSERTED) {
            free(owner);
            return NULL;
        }
    }
    owner->identity = *identity;
    return owner;
}

bool broker_owner_join(struct broker_core *core, struct broker_session *session,
                       const struct broker_identity *identity) {
    struct broker_owner *owner = owner_get(core, identity);

    if (owner == NULL) {
        return false;
    }
    session->owner = owner;
    base_list_push_back(&owner->sessions, &session->in_owner);
    owner->session_count++;
    owner->client_count += session->role == WIRE_CLIENT;
    return true;
}

void broker_owner_leave(struct broker_core *core, struct broker_session *session) {
    struct broker_owner *owner = session->owner;

    if (owner == NULL) {
        return;
    }
    base_list_remove(&session->in_owner);
    session->owner = NULL;
    owner->client_count -= session->role == WIRE_CLIENT;
    if (--owner->session_count == 0) {
        BASE_ASSERT(owner->tasks == 0 && owner->bytes == 0);
        base_map_remove(&core->owners, &owner->node);
        free(owner);
    }
}

void broker_owner_authorize(struct broker_core *core, const struct broker_identity *identity) {
    struct broker_owner *owner = owner_find(core, identity->key);
    uint32_t left;

    if (owner == NULL) {
        return;
    }
    owner->identity = *identity;
    /* With its last session it goes itself. */
    left = owner->session_count;
    for (struct base_node *node = base_list_first(&owner->sessions), *next; left > 0; node = next) {
        struct broker_session *session = BASE_LIST_ENTRY(node, struct broker_session, in_owner);

        left--;
        next = left > 0 ? base_list_next(&owner->sessions, node) : NULL;
        if (!broker_may(identity, session->role)) {
            broker_session_end(core, session, "its key is no longer allowed to");
        } else {
            broker_session_dirty(core, session); /* it may have more, or less */
        }
    }
}

/* --------------------------------------------------------------------- quotas */

static uint64_t minus(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

void broker_owner_count(struct broker_client *client) {
    struct broker_owner *owner = client->session.owner;
    uint64_t tasks = client->task_count + minus(client->granted_tasks, client->sent_tasks);
    uint64_t bytes = client->task_bytes + minus(client->granted_bytes, client->sent_bytes);

    if (owner != NULL) {
        owner->tasks += tasks - client->counted_tasks;
        owner->bytes += bytes - client->counted_bytes;
        client->counted_tasks = tasks;
        client->counted_bytes = bytes;
    }
}

/* clients: so many are to share half of it. */
static uint64_t room(uint64_t quota, uint64_t taken, uint64_t hand, uint64_t clients) {
    uint64_t window = quota / (2 * clients);

    if (quota == BROKER_NO_QUOTA) {
        return UINT64_MAX;
    }
    return least(minus(window > 0 ? window : 1, hand), minus(quota, taken));
}

void broker_owner_room(const struct broker_client *client, uint64_t *tasks, uint64_t *bytes) {
    const struct broker_owner *owner = client->session.owner;
    const struct broker_identity *identity;

    *tasks = *bytes = UINT64_MAX;
    if (owner != NULL) {
        identity = &owner->identity;
        *tasks = room(identity->tasks_max, owner->tasks,
                      minus(client->granted_tasks, client->sent_tasks), clients_max(identity));
        *bytes = room(identity->bytes_max, owner->bytes,
                      minus(client->granted_bytes, client->sent_bytes), 2 * owner->client_count);
    }
}
