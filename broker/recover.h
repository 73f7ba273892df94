/* Deaths, suspects, charges. */
#ifndef BROKER_RECOVER_H
#define BROKER_RECOVER_H

#include "broker/worker.h"

enum broker_loss { BROKER_LOSS_SILENCE, BROKER_LOSS_BYE, BROKER_LOSS_DEATH, BROKER_LOSS_REVOKED };

broker_handler broker_on_child_died;
/* broker_requeue queues a task again that was LEASED and is detached: in front, or alone. */
void broker_requeue(struct broker_core *core, struct broker_task *task);
/* broker_worker_lost takes back all that a worker has whose session is gone, and the session. */
void broker_worker_lost(struct broker_core *core, struct broker_worker *worker,
                        enum broker_loss loss);
void broker_worker_grace(struct broker_core *core, struct broker_worker *worker);

/* broker_worker_no_room charges the task that made a RUN so large that its worker has no memory for
 * it, and queues the others of it again. */
void broker_worker_no_room(struct broker_core *core, struct broker_worker *worker,
                           struct wire_batch *batch, uint64_t bytes);

#endif
