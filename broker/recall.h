/* Taking back what waits at a worker. */
#ifndef BROKER_RECALL_H
#define BROKER_RECALL_H

#include "broker/core.h"

struct broker_core;
struct broker_offer;
struct broker_task;
struct broker_worker;

/* broker_recall asks for one lease; broker_recall_more for `count` others that have not started. */
bool broker_recall(struct broker_core *core, struct broker_task *task);
void broker_recall_more(struct broker_core *core, struct broker_worker *worker, uint32_t count);
bool broker_interrupt(struct broker_core *core, struct broker_worker *worker, uint64_t lease);
/* broker_abandon lets a leased task that its client no longer wants end at its worker. */
void broker_abandon(struct broker_core *core, struct broker_task *task);
/* broker_recall_watch notes that an offer has both idle workers and others with more than they can run.
 * broker_even_out, after dispatch, takes back what the idle ones could begin sooner, and so does
 * broker_offer_timer for as long as it stays like that. */
void broker_recall_watch(struct broker_core *core, struct broker_offer *offer);
void broker_even_out(struct broker_core *core);
void broker_offer_timer(struct broker_core *core, struct broker_offer *offer);

#endif
