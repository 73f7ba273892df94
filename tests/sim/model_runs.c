/* What must hold of runs, and of what clients hear: the other half of model.c. */
#include "tests/sim/sim_private.h"

#include <string.h>

/* ----------------------------------------------------------------------- runs */

static bool counts_for(const struct sim *sim, const struct sim_run *run) {
    return !run->orphan && run->broker == sim->broker.incarnation;
}

/* How many runs of a task are going on that are not of workers given up. */
static uint32_t good_runs(const struct sim *sim, const struct sim_task *task) {
    uint32_t count = 0;

    if (task->running == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < sim->workers.count; i++) {
        struct sim_worker *worker = sim_worker_at(sim, i);

        for (uint32_t k = 0; worker->core != NULL && k < worker->options.slots; k++) {
            const struct sim_run *run = worker->threads[k].run;

            count += run != NULL && run->task == task && counts_for(sim, run) ? 1 : 0;
        }
    }
    return count;
}

/* A run of an earlier epoch that its worker has claimed is this broker's as well. */
static void forbid(struct sim *sim, struct sim_run *run, const struct sim_task *task) {
    if (run->task == task && run->broker != sim->broker.incarnation && run->worker->end.known &&
        base_idmap_find(&sim->model.claims, run->lease) == task) {
        run->forbidden = true;
        if (run->state == SIM_RUN_RUNNING) {
            sim_fail(sim, "#%llu runs under a lease that was claimed, and its cancel said yes",
                     (unsigned long long)task->number);
        }
    }
}

static void forbid_claimed(struct sim *sim, const struct sim_task *task) {
    for (uint32_t i = 0; i < sim->workers.count; i++) {
        struct sim_worker *worker = sim_worker_at(sim, i);

        if (worker->core == NULL) {
            continue;
        }
        BASE_LIST_FOREACH(&worker->queue, node) {
            forbid(sim, BASE_LIST_ENTRY(node, struct sim_run, node), task);
        }
        for (uint32_t k = 0; k < worker->options.slots; k++) {
            if (worker->threads[k].run != NULL) {
                forbid(sim, worker->threads[k].run, task);
            }
        }
    }
}

void sim_model_started(struct sim *sim, struct sim_run *run) {
    struct sim_task *task = run->task;

    sim->counts.starts++;
    sim->counts.reruns += task->starts > 1 ? 1 : 0;
    task->running++;
    task->started_ns = sim->now_ns;
    task->last_worker = run->worker->end.index;
    if (task->starts == 1) {
        task->first_worker = task->last_worker;
    }
    sim_say(sim, "%s begins #%llu (lease %llx, attempt %u)", run->worker->end.name,
            (unsigned long long)task->number, (unsigned long long)run->lease, run->leased->attempt);
    if (task->job.at_most_once && task->starts > 1) {
        sim_fail(sim, "#%llu is at most once, and starts again", (unsigned long long)task->number);
    }
    if (run->forbidden) {
        sim_fail(sim, "#%llu starts under a claimed lease after a cancel said yes",
                 (unsigned long long)task->number);
    }
    if (!counts_for(sim, run)) {
        return;
    }
    if (task->charged >= task->job.max_attempts && !task->resent) {
        sim_fail(sim, "#%llu starts again after %u attempts of %u",
                 (unsigned long long)task->number, task->charged, task->job.max_attempts);
    }
    if (task->state == SIM_CANCELLED) {
        sim_fail(sim, "#%llu starts after a cancel said yes", (unsigned long long)task->number);
    }
    if (good_runs(sim, task) > 1) {
        sim_fail(sim, "#%llu runs twice at once", (unsigned long long)task->number);
    }
}

void sim_model_ended(struct sim *sim, struct sim_run *run) {
    (void)sim;
    run->task->running--;
}

/* ----------------------------------------------------------- what clients hear */

static void count_outcome(struct sim *sim, const struct sim_task *task, enum wire_kind kind) {
    switch (kind) {
    case WIRE_KIND_VALUE:
        sim->counts.values++;
        break;
    case WIRE_KIND_ERROR:
        sim->counts.errors++;
        break;
    case WIRE_KIND_LOST:
        sim->counts.losses++;
        break;
    case WIRE_KIND_DEADLINE:
        sim->counts.deadlines++;
        break;
    case WIRE_KIND_NO_FUNCTION:
        sim->counts.no_functions++;
        break;
    case WIRE_KIND_BROKEN:
        sim->counts.undeliverable++;
        if (sim_client_at(sim, task->client)->end.room_bytes == 0) {
            sim_fail(sim, "no room for a value at a client that has room for all");
        }
        break;
    case WIRE_KIND_REJECTED:
        sim_fail(sim, "a task is rejected that is within all limits");
        break;
    case WIRE_KIND_CANCELLED:
        sim->counts.cancelled++;
        break;
    }
}

static void take_error(struct sim *sim, struct sim_task *task, const uint8_t *data, size_t size) {
    struct wire_error error;

    if (!wire_error_decode(data, size, &error)) {
        sim_fail(sim, "#%llu ends with a malformed error", (unsigned long long)task->number);
        return;
    }
    task->attempt = error.attempt;
    snprintf(task->text, sizeof task->text, "%.*s", (int)error.message.size, error.message.data);
}

static void check_lost(struct sim *sim, const struct sim_task *task) {
    const struct sim_counts *counts = &sim->counts;

    if (task->resent || task->refused) {
        return; /* what had become of it, nobody knew any more */
    }
    if (counts->worker_deaths + counts->forgotten + counts->broker_deaths == 0) {
        sim_fail(sim, "#%llu is lost, and nobody has died", (unsigned long long)task->number);
    }
    if (!task->job.at_most_once && counts->forgotten + counts->broker_deaths == 0 &&
        task->deaths < task->job.max_attempts) {
        sim_fail(sim, "#%llu is lost after %u deaths of %u", (unsigned long long)task->number,
                 task->deaths, task->job.max_attempts);
    }
}

void sim_model_resolved(struct sim *sim, struct sim_task *task, enum wire_kind kind,
                        const uint8_t *data, size_t size) {
    struct sim_value value;

    count_outcome(sim, task, kind);
    if (task->state != SIM_PENDING) {
        sim_fail(sim, "#%llu is resolved twice", (unsigned long long)task->number);
        return;
    }
    task->state = kind == WIRE_KIND_CANCELLED ? SIM_CANCELLED : SIM_FINISHED;
    task->kind = kind;
    task->resolved_ns = sim->now_ns;
    task->cancels_left = 0;
    if (kind == WIRE_KIND_VALUE) {
        if (size < sizeof value || size < task->job.result_bytes) {
            sim_fail(sim, "#%llu: the value is cut", (unsigned long long)task->number);
            return;
        }
        memcpy(&value, data, sizeof value);
        if (value.number != task->number || task->starts == 0) {
            sim_fail(sim, "#%llu ends with the value of #%llu", (unsigned long long)task->number,
                     (unsigned long long)value.number);
        }
    } else if (kind == WIRE_KIND_CANCELLED) {
        if (task->cancels == 0) {
            sim_fail(sim, "#%llu is cancelled, and nobody asked", (unsigned long long)task->number);
        }
    } else {
        take_error(sim, task, data, size);
    }
    if (kind == WIRE_KIND_LOST) {
        check_lost(sim, task);
    }
    sim_say(sim, "client %u: #%llu ends, kind %u%s%s", task->client,
            (unsigned long long)task->number, (unsigned)kind, task->text[0] != '\0' ? ": " : "",
            task->text);
}

void sim_model_verdict(struct sim *sim, struct sim_task *task, bool yes) {
    sim_say(sim, "client %u: cancel of #%llu: %s", task->client, (unsigned long long)task->number,
            yes ? "yes" : "no");
    if (task->cancels_left == 0 || task->state != SIM_PENDING) {
        sim_fail(sim, "#%llu: a verdict that nobody waits for", (unsigned long long)task->number);
        return;
    }
    task->cancels_left--;
    if (!yes) {
        sim->counts.refused_cancels++;
        return;
    }
    sim->counts.cancelled++;
    task->state = SIM_CANCELLED;
    task->resolved_ns = sim->now_ns;
    forbid_claimed(sim, task);
    if (good_runs(sim, task) > 0) {
        sim_fail(sim, "#%llu runs, and its cancel said yes", (unsigned long long)task->number);
    }
}

void sim_model_finished(struct sim *sim) {
    for (uint32_t i = 0; i < sim->tasks.count; i++) {
        struct sim_task *task = sim_task_at(sim, i);

        if (task->state != SIM_ABANDONED && task->cancels_left > 0) {
            sim_fail(sim, "#%u: a cancel was never answered", i);
        }
    }
}
