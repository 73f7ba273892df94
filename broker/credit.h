/* What clients may send, and what may be leased for them: bounded memory. */
#ifndef BROKER_CREDIT_H
#define BROKER_CREDIT_H

#include "broker/client.h"
#include "broker/queue.h"

/* broker_credit_use checks a SUBMIT against what was granted, and counts it. */
bool broker_credit_use(struct broker_core *core, struct broker_client *client, uint32_t tasks,
                       uint64_t bytes);
/* broker_credit_unuse takes that back. */
void broker_credit_unuse(struct broker_core *core, struct broker_client *client, uint32_t tasks,
                         uint64_t bytes);
/* broker_credit_grant gives a client more if it runs short and there is some. */
void broker_credit_grant(struct broker_core *core, struct broker_client *client);
/* broker_credit_flush serves those that wait for credit. */
void broker_credit_flush(struct broker_core *core);
void broker_credit_leave(struct broker_core *core, struct broker_client *client);
/* broker_credit_room tells how many more tasks of a queue may be leased; if none may, the queue is
 * woken when that has changed. */
uint32_t broker_credit_room(struct broker_core *core, struct broker_queue *queue);
/* broker_credit_leased, _unleased: tasks of a queue have come under a lease, or are no longer. */
static inline void broker_credit_leased(struct broker_queue *queue, uint32_t count) {
    queue->leased += count;
    queue->demand->leased += count;
    queue->client->expected_bytes += (uint64_t)count * queue->value_bytes;
}
static inline void broker_credit_unleased(struct broker_queue *queue, uint32_t count) {
    BASE_ASSERT(queue->leased >= count);
    queue->leased -= count;
    queue->demand->leased -= count;
    queue->client->expected_bytes -= (uint64_t)count * queue->value_bytes;
}
/* broker_credit_learn takes note of how large values of a queue are. */
void broker_credit_learn(struct broker_core *core, struct broker_queue *queue, uint32_t count,
                         uint64_t bytes);
/* broker_credit_unclog wakes what waited, if it may go on. To be called when what a client has not
 * read, or what is expected for it, may have become less. */
void broker_credit_unclog(struct broker_core *core, struct broker_client *client);
/* broker_credit_freed: one task is no longer leased, and it was not by its result. */
void broker_credit_freed(struct broker_core *core, struct broker_queue *queue);
/* broker_credit_prove wakes queues that wait for their first value: there are more slots. */
void broker_credit_prove(struct broker_core *core);

#endif
