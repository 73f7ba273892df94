/* Deaths, suspects, charges: docs/protocol.md section 7. */
#include "broker/recover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/claims.h"
#include "broker/client.h"
#include "broker/core_private.h"
#include "broker/queue.h"
#include "broker/router.h"
#include "broker/schedule.h"
#include "broker/session.h"
#include "broker/task.h"
#include "broker/timer.h"
#include "broker/worker.h"

/* The history of a task's attempts is cut here; the newest part is what is cut. */
#define HISTORY_BYTES_MAX 2048u

static struct wire_text text_of(const char *text) {
    return (struct wire_text){text, strlen(text)};
}

void broker_requeue(struct broker_core *core, struct broker_task *task) {
    if ((task->flags & BROKER_TASK_ALONE) != 0) {
        broker_suspect(core, task);
    } else {
        broker_queue_add(core, task, true);
    }
}

/* ------------------------------------------------------------------- charges */

/* What ended an attempt, in words. */
static void describe(char *text, size_t text_bytes, uint32_t attempt,
                     const struct wire_error *how) {
    char why[64];

    if (how->signal != 0) {
        snprintf(why, sizeof why, "killed by signal %d", how->signal);
    } else if (how->message.data != NULL) {
        snprintf(why, sizeof why, "%.*s", (int)how->message.size, how->message.data);
    } else {
        snprintf(why, sizeof why, "exited with code %d", how->exit_code);
    }
    snprintf(text, text_bytes, "attempt %u: worker %s, pid %lld on %.*s", attempt, why,
             (long long)how->pid, (int)how->host.size, how->host.data);
}

/* Without memory for it the history is shorter: nothing depends on it. */
static void remember(struct broker_core *core, struct broker_task *task, const char *line) {
    struct broker_extra *extra = broker_task_extra(core, task);
    size_t had = extra == NULL || extra->history == NULL ? 0 : strlen(extra->history);
    size_t room = had + strlen(line) + sizeof "; ";
    char *history;

    if (extra == NULL || room > HISTORY_BYTES_MAX) {
        return;
    }
    history = realloc(extra->history, room);
    if (history != NULL) {
        snprintf(history + had, room - had, "%s%s", had > 0 ? "; " : "", line);
        extra->history = history;
    }
}

static void lose_task(struct broker_core *core, struct broker_task *task,
                      const struct wire_error *how) {
    struct wire_error error = *how;
    const char *history = (task->flags & BROKER_TASK_EXTRA) != 0 ? task->extra->history : NULL;
    char text[HISTORY_BYTES_MAX + 64];

    snprintf(text, sizeof text, "lost after %u attempt%s: %s", task->attempt,
             task->attempt == 1 ? "" : "s", history != NULL ? history : "no memory for details");
    error.message = text_of(text);
    broker_task_fail(core, task, WIRE_KIND_LOST, &error);
}

/* A detached task had begun, and will have begun again: too late to cancel it. */
static void too_late_to_cancel(struct broker_core *core, struct broker_task *task) {
    if ((task->flags & BROKER_TASK_CANCELLING) != 0) {
        /* Without memory for the verdict the client stops waiting for it by itself. */
        (void)broker_verdict(core, task->class->client, task->id, false);
        task->flags &= (uint8_t)~BROKER_TASK_CANCELLING;
    }
    broker_task_started(core, task);
}

/* A detached task's worker died with it, or may have. It is charged with an attempt. */
static void charge(struct broker_core *core, struct broker_task *task,
                   const struct wire_error *how) {
    char line[512];

    describe(line, sizeof line, task->attempt, how);
    remember(core, task, line);
    if ((task->class->flags & WIRE_FLAG_AT_MOST_ONCE) != 0 ||
        task->attempt >= task->class->max_attempts) {
        lose_task(core, task, how);
        return;
    }
    too_late_to_cancel(core, task);
    task->attempt++;
    core->stats.reruns++;
    broker_requeue(core, task);
}

/* A detached task's worker died for a reason of its own, or it isn't known whose. */
static void spare(struct broker_core *core, struct broker_task *task, const struct wire_error *how,
                  bool started) {
    if (!started) {
        if ((task->flags & BROKER_TASK_CANCELLING) != 0) {
            broker_task_cancelled(core, task);
        } else {
            broker_requeue(core, task);
        }
        return;
    }
    if ((task->class->flags & WIRE_FLAG_AT_MOST_ONCE) != 0) {
        charge(core, task, how);
        return;
    }
    too_late_to_cancel(core, task);
    core->stats.reruns++;
    broker_requeue(core, task);
}

/* -------------------------------------------------------------------- losses */

static struct wire_error death_of(const struct broker_worker *worker, enum broker_loss loss) {
    struct wire_error how = {
        .pid = worker->session.pid,
        .host = text_of(worker->session.host),
    };

    switch (loss) {
    case BROKER_LOSS_SILENCE:
        how.message = text_of("was silent for too long");
        break;
    case BROKER_LOSS_BYE:
        how.message = text_of("left");
        break;
    case BROKER_LOSS_REVOKED:
        how.message = text_of("was no longer allowed to work");
        break;
    case BROKER_LOSS_DEATH:
        how.pid = worker->death.pid;
        how.signal = worker->death.signal;
        how.exit_code = worker->death.exit_code;
        if (worker->death.host != NULL) {
            how.host = text_of(worker->death.host);
        }
        break;
    }
    return how;
}

static void take_back(struct broker_core *core, struct broker_task *task, enum broker_loss loss,
                      const struct wire_error *how) {
    bool unstarted = (task->flags & BROKER_TASK_UNSTARTED) != 0;

    broker_task_detach(core, task);
    if (task->class == NULL) {
        broker_task_end(core, task);
        return;
    }
    switch (loss) {
    case BROKER_LOSS_SILENCE:
        charge(core, task, how);
        break;
    case BROKER_LOSS_BYE: /* it gives back what it has not begun before it leaves */
        spare(core, task, how, false);
        break;
    case BROKER_LOSS_REVOKED: /* it may have begun it */
    case BROKER_LOSS_DEATH:   /* it did not run then; but it may have, and its result be lost */
        spare(core, task, how, !unstarted);
        break;
    }
}

void broker_worker_lost(struct broker_core *core, struct broker_worker *worker,
                        enum broker_loss loss) {
    struct wire_error how;
    struct base_node *node;

    if (worker->dying) {
        loss = BROKER_LOSS_DEATH;
    }
    how = death_of(worker, loss);
    worker->session.lost = true;
    broker_worker_unreserve(core, worker);
    /* From the last to the first, since each is put in front. */
    while ((node = base_list_last(&worker->leases)) != NULL) {
        take_back(core, BASE_LIST_ENTRY(node, struct broker_task, node), loss, &how);
    }
    while ((node = base_list_first(&worker->claims)) != NULL) {
        broker_claim_free(core, BASE_LIST_ENTRY(node, struct broker_claim, in_worker));
    }
    broker_worker_leave(core, worker);
}

void broker_worker_grace(struct broker_core *core, struct broker_worker *worker) {
    broker_worker_lost(core, worker, BROKER_LOSS_DEATH);
}

/* ------------------------------------------------------------------- NO_ROOM */

void broker_worker_no_room(struct broker_core *core, struct broker_worker *worker,
                           struct wire_batch *batch, uint64_t bytes) {
    struct wire_error how = death_of(worker, BROKER_LOSS_BYE);
    struct wire_batch again = *batch;
    struct wire_entry entry;
    size_t most = 0;
    char text[64];

    snprintf(text, sizeof text, "had no memory to receive %llu bytes", (unsigned long long)bytes);
    how.message = text_of(text);
    while (wire_batch_next(batch, &entry)) {
        most = entry.size > most ? entry.size : most;
    }
    while (wire_batch_next(&again, &entry)) {
        struct broker_task *task = broker_worker_task(core, worker, entry.values[0]);

        if (task == NULL) {
            continue;
        }
        broker_task_detach(core, task);
        if (task->class == NULL) {
            broker_task_end(core, task);
        } else if (entry.size == most) {
            charge(core, task, &how);
        } else {
            spare(core, task, &how, false);
        }
    }
}

/* --------------------------------------------------------------- CHILD_DIED */

static bool is_running(const struct wire_child_died *died, uint64_t lease) {
    for (uint32_t i = 0; i < died->running_count; i++) {
        if (died->running[i] == lease) {
            return true;
        }
    }
    return false;
}

/* The client whose tasks alone were running; NULL: there is none. */
static const struct broker_client *only_client(struct broker_core *core,
                                               struct broker_worker *worker,
                                               const struct wire_child_died *died) {
    const struct broker_client *client = NULL;

    for (uint32_t i = 0; i < died->running_count; i++) {
        const struct broker_task *task = broker_worker_task(core, worker, died->running[i]);

        if (task == NULL || task->class == NULL ||
            (client != NULL && task->class->client != client)) {
            return NULL;
        }
        client = task->class->client;
    }
    return client;
}

/* A worker begins the tasks of one client in order. So if all of its threads were busy with tasks of one,
 * then of that client nothing had begun that came after the newest of them. Of other clients nothing is
 * known: theirs may have gone ahead of what was running, and be over. */
static void mark_unstarted(struct broker_core *core, struct broker_worker *worker,
                           const struct wire_child_died *died) {
    const struct broker_client *client = only_client(core, worker, died);

    if (died->running_count < worker->slots || client == NULL) {
        return;
    }
    for (struct base_node *node = base_list_last(&worker->leases); node != NULL;
         node = base_list_prev(&worker->leases, node)) {
        struct broker_task *task = BASE_LIST_ENTRY(node, struct broker_task, node);

        if (is_running(died, broker_task_lease(task))) {
            return;
        }
        if (task->class != NULL && task->class->client == client) {
            task->flags |= BROKER_TASK_UNSTARTED;
        }
    }
}

/* One that ran when its worker died. */
static void was_running(struct broker_core *core, struct broker_task *task,
                        const struct wire_error *how, bool expected, uint32_t runners) {
    bool crowded = task->worker->slots > 1;

    broker_task_detach(core, task);
    if (expected) {
        spare(core, task, how, true);
    } else if (runners == 1) {
        if (crowded) {
            task->flags |= BROKER_TASK_ALONE; /* not to endanger its neighbours again */
        }
        charge(core, task, how);
    } else {
        task->flags |= BROKER_TASK_ALONE;
        spare(core, task, how, true);
    }
}

static void take_back_running(struct broker_core *core, struct broker_worker *worker,
                              const struct wire_child_died *died) {
    struct wire_error how = death_of(worker, BROKER_LOSS_DEATH);
    uint32_t runners = 0;

    for (uint32_t i = 0; i < died->running_count; i++) {
        const struct broker_task *task = broker_worker_task(core, worker, died->running[i]);

        runners += task != NULL;
    }
    for (uint32_t i = died->running_count; i-- > 0;) {
        struct broker_task *task = broker_worker_task(core, worker, died->running[i]);

        if (task == NULL) {
            continue;
        }
        if (task->state == BROKER_TASK_ABANDONED) {
            broker_task_detach(core, task);
            broker_task_end(core, task);
        } else {
            was_running(core, task, &how, died->expected, runners);
        }
    }
}

static struct broker_worker *find_worker(struct broker_core *core, const struct wire_session *id) {
    struct broker_session *session = broker_session_find(core, id);

    return session != NULL && session->role == WIRE_WORKER ? broker_worker_of(session) : NULL;
}

enum broker_handled broker_on_child_died(struct broker_core *core, struct broker_session *session,
                                         struct wire_message *message, struct wire_fault *fault) {
    struct wire_child_died died;
    struct broker_worker *worker;

    if (!wire_child_died_decode(message, &died, fault)) {
        return fault->code == WIRE_REJECT_LIMIT ? BROKER_NOMEM : BROKER_REFUSED;
    }
    worker = find_worker(core, &died.session);
    /* A key speaks of its own workers only; another's is to it as one that is not there. */
    if (worker != NULL && worker->session.owner == session->owner && !worker->dying) {
        worker->dying = true;
        worker->death.pid = (int64_t)died.pid;
        worker->death.signal = (int32_t)died.signal;
        worker->death.exit_code = (int32_t)died.exit_code;
        worker->death.host = broker_text(died.host);
        broker_log_peer(core, !died.expected, "worker died", &worker->session,
                        "signal=%d exit_code=%d running=%u", worker->death.signal,
                        worker->death.exit_code, died.running_count);
        broker_worker_unreserve(core, worker);
        broker_worker_place(core, worker);
        mark_unstarted(core, worker, &died);
        take_back_running(core, worker, &died);
        /* What it said last may still be on its way, since it comes from another connection. */
        broker_timer_set(core, &worker->grace, broker_after(core, core->config.child_grace_ns));
    }
    wire_child_died_fini(&died);
    return BROKER_DONE;
}
