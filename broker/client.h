/* Clients: their classes, what they submit and cancel, what goes back to them. */
#ifndef BROKER_CLIENT_H
#define BROKER_CLIENT_H

#include "broker/session.h"
#include "broker/slots.h"

struct broker_queue;
struct broker_task;

/* A class as a client defined it. */
struct broker_class {
    struct broker_client *client;
    struct broker_queue *queue;
    uint64_t queue_ns, run_ms, retry_ns; /* queue_ns, run_ms 0: no limit */
    uint32_t retries;
    uint32_t max_attempts;
    uint32_t flags; /* of enum wire_task_flag */
};

struct broker_client {
    struct broker_session session;
    struct broker_slots slots;
    struct broker_class **classes;
    uint32_t class_room;
    struct base_list queues;
    uint32_t queue_count;
    struct base_list turns;
    struct base_node starved; /* in core->starved: is to get more credit when there is some */
    struct wire_writer *outcomes, *verdicts, *started;
    uint32_t task_count;             /* that are here, in any state */
    uint64_t task_bytes;             /* of their payloads */
    uint64_t expected_bytes;         /* of values, by all its leases */
    uint64_t due_bytes;              /* of values, that its link doesn't keep yet */
    struct base_list clogged;        /* queues that wait until it has read more */
    bool credit_news;                /* grants have grown since they were told */
    uint64_t sent_tasks, sent_bytes; /* by the client, in this stream */
    uint64_t granted_tasks, granted_bytes;
    uint64_t window_tasks; /* what it should have in hand; 0: it was not given any yet */
    uint64_t counted_tasks, counted_bytes; /* of it in owner->tasks and bytes */
};

static inline struct broker_client *broker_client_of(struct broker_session *session) {
    BASE_ASSERT(session->role == WIRE_CLIENT);
    return BASE_CONTAINER_OF(session, struct broker_client, session);
}

struct broker_session *broker_client_new(struct broker_core *core, const struct wire_hello *hello);
/* broker_client_clear drops all that the client has here; leave its session too. */
void broker_client_clear(struct broker_core *core, struct broker_client *client);
void broker_client_leave(struct broker_core *core, struct broker_client *client);
void broker_client_trim(struct broker_client *client);
broker_handler broker_on_define, broker_on_cancel;
static inline struct broker_class *broker_class_of(const struct broker_client *client,
                                                   uint64_t index) {
    return index < client->class_room ? client->classes[index] : NULL;
}
/* broker_client_drop drops a task that its client doesn't want any more, and says nothing about it. */
void broker_client_drop(struct broker_core *core, struct broker_task *task);
bool broker_client_flush(struct broker_core *core, struct broker_client *client);
bool broker_verdict(struct broker_core *core, struct broker_client *client, uint64_t id,
                    bool cancelled);

broker_handler broker_on_submit;

#endif
