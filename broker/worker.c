/* Joining, leases, credit, and what workers say besides results. */
#include "broker/worker.h"

#include <stdlib.h>

#include "broker/claims.h"
#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/credit.h"
#include "broker/outbox.h"
#include "broker/queue.h"
#include "broker/recover.h"
#include "broker/router.h"
#include "broker/schedule.h"
#include "broker/session.h"
#include "broker/task.h"
#include "broker/timer.h"

#define HORIZON_MIN_NS (3 * BROKER_MS)
#define HORIZON_MAX_NS (200 * BROKER_MS)
/* The least while clients compete, since the next one's tasks stand behind what was sent ahead. */
#define HORIZON_CROWDED_NS (250 * UINT64_C(1000))
#define RTT_WINDOW_NS      (10 * BROKER_S)
#define MEAN_MAX_NS        (3600 * BROKER_S)
/* What a worker may be given ahead, in bytes of tasks and results. */
#define AHEAD_BYTES (UINT64_C(4) << 20)

/* ------------------------------------------------------------------ joining */

struct broker_session *broker_worker_new(struct broker_core *core, const struct wire_hello *hello) {
    struct broker_worker *worker = calloc(1, sizeof *worker);

    if (worker == NULL) {
        return NULL;
    }
    if (!broker_timer_make(core, &worker->grace, BROKER_TIMER_GRACE) ||
        !broker_session_init(core, &worker->session, hello)) {
        broker_timer_drop(core, &worker->grace);
        free(worker);
        return NULL;
    }
    base_list_init(&worker->leases);
    base_list_init(&worker->claims);
    base_idmap_init(&worker->old, base_rng_next(&core->rng));
    base_idmap_init(&worker->claimed, base_rng_next(&core->rng));
    if (core->stats.workers == 1) {
        broker_demands_watch(core);
    }
    return &worker->session;
}

static void offer_leave(struct broker_core *core, struct broker_worker *worker) {
    struct broker_offer *offer = worker->offer;

    if (offer != NULL) {
        bool lost = worker->session.lost;

        worker->session.lost = true; /* so that it is placed nowhere */
        broker_worker_place(core, worker);
        worker->session.lost = lost;
        base_list_remove(&worker->in_offer);
        offer->worker_count--;
        offer->slots -= worker->slots;
        core->slots -= worker->slots;
        worker->offer = NULL;
        broker_offer_release(core, offer);
    }
}

enum broker_handled broker_worker_join(struct broker_core *core, struct broker_worker *worker,
                                       const struct wire_hello *hello, struct wire_fault *fault) {
    struct broker_offer *offer = broker_offer_get(core, hello, fault);

    if (offer == NULL) {
        return fault->text[0] == '\0' ? BROKER_NOMEM : BROKER_REFUSED;
    }
    if (worker->offer != offer) {
        broker_worker_unreserve(core, worker);
        offer_leave(core, worker);
        base_list_push_back(&offer->workers, &worker->in_offer);
        offer->worker_count++;
        worker->offer = offer;
    } else {
        offer->slots -= worker->slots;
        core->slots -= worker->slots;
    }
    worker->slots = hello->slots;
    offer->slots += worker->slots;
    core->slots += worker->slots;
    broker_credit_prove(core);
    worker->limit = hello->slots;
    worker->mean_ns = 0;
    worker->rtt_ns = 0;
    worker->rtt_window_ns = 0;
    worker->rtt_since_ns = core->now_ns;
    worker->rtt_mean_ns = 0;
    worker->rtt_variation_ns = 0;
    worker->probe_ns = 0;
    worker->progress_ns = core->now_ns;
    worker->recall_count = 0;
    worker->stopped = false;
    /* Whoever has been with a broker before says first what it still has. */
    worker->claiming = hello->epoch != 0 || worker->held > 0;
    wire_writer_free(worker->runs);
    wire_writer_free(worker->recalls);
    wire_writer_free(worker->interrupts);
    worker->runs = worker->recalls = worker->interrupts = NULL;
    broker_worker_place(core, worker);
    broker_log_peer(core, false, "worker joins", &worker->session, "slots=%u functions=%u",
                    worker->slots, hello->function_count);
    return BROKER_DONE;
}

void broker_worker_leave(struct broker_core *core, struct broker_worker *worker) {
    BASE_ASSERT(base_list_empty(&worker->leases) && base_list_empty(&worker->claims));
    BASE_ASSERT(worker->held == 0 && worker->alone == NULL);
    broker_log_peer(core, false, "worker leaves", &worker->session, "finished=%llu",
                    (unsigned long long)worker->finished);
    offer_leave(core, worker);
    broker_timer_drop(core, &worker->grace);
    base_idmap_fini(&worker->old);
    base_idmap_fini(&worker->claimed);
    wire_writer_free(worker->runs);
    wire_writer_free(worker->recalls);
    wire_writer_free(worker->interrupts);
    free(worker->death.host);
    broker_session_free(core, &worker->session);
    if (core->stats.workers == 0) {
        broker_demands_watch(core);
    }
}

static void trim_writer(struct wire_writer **writer) {
    if (*writer != NULL && wire_writer_count(*writer) == 0) {
        wire_writer_free(*writer);
        *writer = NULL;
    }
}

void broker_worker_trim(struct broker_worker *worker) {
    trim_writer(&worker->runs);
    trim_writer(&worker->interrupts);
    if (worker->recall_count == 0) {
        trim_writer(&worker->recalls);
    }
}

static bool finish(struct broker_core *core, struct broker_worker *worker,
                   struct wire_writer *writer, enum wire_type type, bool even_empty) {
    return writer == NULL || (wire_writer_count(writer) == 0 && !even_empty) ||
           broker_session_finish(core, &worker->session, writer, type);
}

bool broker_worker_flush(struct broker_core *core, struct broker_worker *worker) {
    return finish(core, worker, worker->runs, WIRE_RUN, false) &&
           finish(core, worker, worker->recalls, WIRE_RECALL, worker->recall_count > 0) &&
           finish(core, worker, worker->interrupts, WIRE_INTERRUPT, false);
}

/* ------------------------------------------------------------------- leases */

uint64_t broker_task_lease(const struct broker_task *task) {
    return (task->flags & BROKER_TASK_OLD) != 0 ? task->extra->old_lease : task->lease;
}

/* ------------------------------------------------------------------- credit */

static uint64_t horizon_of(const struct broker_worker *worker) {
    uint64_t horizon_ns = 2 * worker->rtt_ns;

    return horizon_ns < HORIZON_MIN_NS   ? HORIZON_MIN_NS
           : horizon_ns > HORIZON_MAX_NS ? HORIZON_MAX_NS
                                         : horizon_ns;
}

uint64_t broker_worker_late(const struct broker_worker *worker) {
    return worker->rtt_mean_ns + 4 * worker->rtt_variation_ns;
}

uint64_t broker_worker_soon(const struct broker_worker *worker) {
    return worker->mean_ns == 0 ? UINT64_MAX
                                : worker->slots * worker->rtt_mean_ns / worker->mean_ns;
}

/* How long what a worker is given should last it. */
static uint64_t ahead_ns(const struct broker_core *core, const struct broker_worker *worker) {
    uint64_t horizon_ns = horizon_of(worker);

    if (!broker_rivals(&worker->offer->clients, core->now_ns)) {
        return horizon_ns;
    }
    horizon_ns = 2 * worker->rtt_ns < horizon_ns ? 2 * worker->rtt_ns : horizon_ns;
    return horizon_ns > HORIZON_CROWDED_NS ? horizon_ns : HORIZON_CROWDED_NS;
}

/* As RFC 6298, section 2, does it for a retransmission timer. */
static void smooth_rtt(struct broker_worker *worker, uint64_t rtt_ns) {
    uint64_t mean_ns = worker->rtt_mean_ns;
    uint64_t off_ns = rtt_ns > mean_ns ? rtt_ns - mean_ns : mean_ns - rtt_ns;

    if (mean_ns == 0) {
        worker->rtt_mean_ns = rtt_ns;
        worker->rtt_variation_ns = rtt_ns / 2;
    } else {
        worker->rtt_variation_ns = (3 * worker->rtt_variation_ns + off_ns) / 4;
        worker->rtt_mean_ns = (7 * mean_ns + rtt_ns) / 8;
    }
}

/* The round trip is measured when the worker was empty: then nothing waited there. What waited on the way,
 * because this broker or that worker had much to do, is no part of it: so it is the least of what was
 * measured in this window or the one before, as BBR's min_rtt (draft-cardwell-iccrg-bbr-congestion-control). */
static void measure_rtt(struct broker_core *core, struct broker_worker *worker, uint64_t run_ns) {
    uint64_t elapsed_ns = core->now_ns - worker->probe_ns;
    uint64_t rtt_ns = elapsed_ns > run_ns ? elapsed_ns - run_ns : 1;

    if (core->now_ns - worker->rtt_since_ns >= RTT_WINDOW_NS) {
        worker->rtt_ns = worker->rtt_window_ns;
        worker->rtt_window_ns = 0;
        worker->rtt_since_ns = core->now_ns;
    }
    if (worker->rtt_window_ns == 0 || rtt_ns < worker->rtt_window_ns) {
        worker->rtt_window_ns = rtt_ns;
    }
    if (worker->rtt_ns == 0 || rtt_ns < worker->rtt_ns) {
        worker->rtt_ns = rtt_ns;
    }
    smooth_rtt(worker, rtt_ns);
    worker->probe_ns = 0;
}

static uint64_t smooth(uint64_t mean, uint64_t sample) {
    return mean == 0 ? sample : (3 * mean + sample) / 4;
}

/* Sets how many leases a worker may hold: its threads, and as many as they do within the horizon; but
 * fewer if tasks and results are large, so that not too much memory is on its way. */
void broker_worker_measure(struct broker_core *core, struct broker_worker *worker, uint32_t count,
                           uint64_t busy_ns, uint64_t bytes) {
    uint64_t mean_ns = busy_ns / count, more;

    worker->finished += count;
    broker_histogram_add(&core->runs, mean_ns, count);
    if (worker->probe_ns != 0) {
        measure_rtt(core, worker, count < worker->slots ? mean_ns : busy_ns / worker->slots);
    }
    worker->mean_ns = smooth(worker->mean_ns, mean_ns < MEAN_MAX_NS ? mean_ns : MEAN_MAX_NS);
    worker->mean_bytes = smooth(worker->mean_bytes, bytes / count);
    more = worker->slots * ahead_ns(core, worker) / (worker->mean_ns + 1);
    if (more > AHEAD_BYTES / (worker->mean_bytes + 1)) {
        more = AHEAD_BYTES / (worker->mean_bytes + 1);
    }
    worker->limit = more > WIRE_WORKER_LEASES_MAX - worker->slots ? WIRE_WORKER_LEASES_MAX
                                                                  : worker->slots + (uint32_t)more;
    worker->progress_ns = core->now_ns;
}

/* ----------------------------------------------------------- RETURNED, RUNNING */

static void returned(struct broker_core *core, struct broker_task *task) {
    broker_task_detach(core, task);
    core->stats.recalled++;
    if (task->class == NULL) {
        broker_task_end(core, task);
    } else if ((task->flags & BROKER_TASK_CANCELLING) != 0) {
        broker_task_cancelled(core, task);
    } else {
        broker_requeue(core, task);
    }
}

static bool kept(struct broker_core *core, struct broker_task *task) {
    if (task->state == BROKER_TASK_ABANDONED) {
        return true; /* it was asked to end */
    }
    if ((task->flags & BROKER_TASK_CANCELLING) != 0 &&
        !broker_verdict(core, task->class->client, task->id, false)) {
        return false;
    }
    task->flags &= (uint8_t)~BROKER_TASK_CANCELLING;
    broker_task_started(core, task);
    return true;
}

enum broker_handled broker_on_returned(struct broker_core *core, struct broker_session *session,
                                       struct wire_message *message, struct wire_fault *fault) {
    struct broker_worker *worker = broker_worker_of(session);
    struct wire_batch batch;
    struct wire_entry entry;

    if (!wire_batch_open(&batch, message, fault)) {
        return BROKER_REFUSED;
    }
    worker->recalled_ns = 0;
    while (wire_batch_next(&batch, &entry)) {
        struct broker_task *task = broker_worker_task(core, worker, entry.values[0]);
        bool back = entry.key[0] != 0;

        if (task != NULL && back) {
            returned(core, task);
        } else if (task != NULL && !kept(core, task)) {
            return BROKER_NOMEM;
        } else if (task == NULL && back) {
            broker_claim_drop(core, worker, entry.values[0]);
        }
    }
    return BROKER_DONE;
}

enum broker_handled broker_on_running(struct broker_core *core, struct broker_session *session,
                                      struct wire_message *message, struct wire_fault *fault) {
    struct broker_worker *worker = broker_worker_of(session);
    struct wire_batch batch;
    struct wire_entry entry;

    if (!wire_batch_open(&batch, message, fault)) {
        return BROKER_REFUSED;
    }
    while (wire_batch_next(&batch, &entry)) {
        struct broker_task *task = broker_worker_task(core, worker, entry.values[0]);
        struct broker_client *client;

        if (task == NULL || task->state != BROKER_TASK_LEASED) {
            continue;
        }
        client = task->class->client;
        if (!broker_session_put(core, &client->session, &client->started, WIRE_STARTED, NULL,
                                &task->id, NULL, 0, NULL)) {
            return BROKER_NOMEM;
        }
        broker_task_started(core, task);
    }
    return BROKER_DONE;
}

enum broker_handled broker_on_drain(struct broker_core *core, struct broker_session *session,
                                    struct wire_message *message, struct wire_fault *fault) {
    struct broker_worker *worker = broker_worker_of(session);

    if (!wire_plain_decode(message, WIRE_DRAIN, fault)) {
        return BROKER_REFUSED;
    }
    worker->draining = true;
    broker_worker_unreserve(core, worker);
    broker_worker_place(core, worker);
    return BROKER_DONE;
}
