/* Settling after a restart: what workers claim. */
#ifndef BROKER_CLAIMS_H
#define BROKER_CLAIMS_H

#include "broker/worker.h"

/* A lease of an earlier epoch that a worker has, and whose task no client has asked for yet. */
struct broker_claim {
    struct base_map_node node;
    uint8_t key[24]; /* session and id */
    struct base_node in_worker;
    struct broker_timer timer;
    struct broker_worker *worker; /* NULL once the result has come */
    uint64_t lease;
    uint32_t attempt;
    enum wire_kind kind;
    struct wire_blob *result; /* set once it has come */
};

broker_handler broker_on_claims;
/* broker_settle_begin starts the settling time, if it has not been. */
void broker_settle_begin(struct broker_core *core);
void broker_settle_end(struct broker_core *core);
/* broker_claim_match looks whether a worker has claimed this new task of a client, and gives it what
 * is due. DONE: it did, and the task is no longer the caller's; REFUSED: nobody did. */
enum broker_handled broker_claim_match(struct broker_core *core, struct broker_task *task);
/* broker_claim_result: a result for a lease that is only claimed. REFUSED: it isn't. */
enum broker_handled broker_claim_result(struct broker_core *core, struct broker_worker *worker,
                                        const struct wire_entry *entry);
/* broker_claim_drop forgets a claim of this worker, if there is one. */
void broker_claim_drop(struct broker_core *core, struct broker_worker *worker, uint64_t lease);
void broker_claim_free(struct broker_core *core, struct broker_claim *claim);
void broker_claim_timer(struct broker_core *core, struct broker_claim *claim);

#endif
