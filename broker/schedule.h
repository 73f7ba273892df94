/* Dispatch: which worker gets which tasks, and which runs alone. */
#ifndef BROKER_SCHEDULE_H
#define BROKER_SCHEDULE_H

#include "broker/worker.h"

struct broker_demand;
struct broker_service;

void broker_dispatch(struct broker_core *core);
/* broker_lease gives a task, which is in no list, to a worker. False: no memory, nothing happened. */
bool broker_lease(struct broker_core *core, struct broker_worker *worker,
                  const struct broker_service *service, struct broker_task *task);
/* broker_worker_place puts a worker into the ring where it belongs now. To be called whenever one
 * of the things that this depends on has changed. */
void broker_worker_place(struct broker_core *core, struct broker_worker *worker);

/* ---- suspects.c ---- */

void broker_dispatch_suspects(struct broker_core *core);
/* broker_suspect has a detached task run alone. */
void broker_suspect(struct broker_core *core, struct broker_task *task);
/* broker_suspect_taken takes a SUSPECT out of its list. */
void broker_suspect_taken(struct broker_core *core, struct broker_task *task);
void broker_worker_unreserve(struct broker_core *core, struct broker_worker *worker);
void broker_demand_unreserve(struct broker_core *core, struct broker_demand *demand);

#endif
