#include "tests/sim/swarm.h"

#include "base/rng.h"

#include <string.h>

#define CALM_NS  (900 * SIM_SECOND) /* within which everything must end when the faults have */
#define UNDO_MAX 64u

#define LARGE_MAX 1200000u
#define RESTLESS  40u
#define FICKLE    8u /* one seed of so many has a client that gives up what is large */

#define WORKERS_MAX 8u
#define CLIENTS_MAX 6u

/* Something that ends again: a partition, a stopped process, a dead broker. */
enum undo_kind {
    UNDO_NOTHING,
    UNDO_CUT,
    UNDO_PAUSE,
    UNDO_PAUSE_BROKER,
    UNDO_KILL_BROKER,
    UNDO_DRAIN_BROKER,
};
struct undo {
    enum undo_kind kind;
    enum sim_role role;
    uint32_t index;
    uint64_t at_ns;
};

enum deed {
    DEED_SUBMIT,
    DEED_BURST,
    DEED_CANCEL,
    DEED_BREAK,
    DEED_CUT,
    DEED_PAUSE,
    DEED_PAUSE_BROKER,
    DEED_JUMP,
    DEED_SLOW,
    DEED_KILL_WORKER,
    DEED_STOP_WORKER,
    DEED_DRAIN_WORKER,
    DEED_KILL_MACHINE,
    DEED_ADD_WORKER,
    DEED_KILL_CLIENT,
    DEED_LEAVE_CLIENT,
    DEED_ADD_CLIENT,
    DEED_KILL_BROKER,
    DEED_DRAIN_BROKER,
    DEED_CANCEL_WHILE_SETTLING,
    DEED_COUNT,
};

struct swarm {
    struct sim *sim;
    struct base_rng rng; /* of the plan; the simulation has its own */
    uint32_t weights[DEED_COUNT];
    uint32_t weight;
    struct undo undo[UNDO_MAX];
    uint64_t work_max_us;
    double crashing, failing, deadlines, limits, once, tagged, large, odd_function;
};

static const char *const functions[] = {"work", "play"};
static const char *const tags[] = {"gpu", "disk"};

static uint64_t below(struct swarm *swarm, uint64_t bound) {
    return base_rng_below(&swarm->rng, bound);
}

static uint64_t between(struct swarm *swarm, uint64_t min, uint64_t max) {
    return min + below(swarm, max - min + 1);
}

static bool chance(struct swarm *swarm, double p) {
    return base_rng_chance(&swarm->rng, p);
}

/* A number up to `max` whose magnitude is drawn evenly. */
static uint64_t scaled(struct swarm *swarm, uint64_t max) {
    uint64_t bound = 1;
    uint64_t steps = 0;

    while (bound < max) {
        bound *= 2;
        steps++;
    }
    bound = UINT64_C(1) << below(swarm, steps + 1);
    return below(swarm, bound < max ? bound : max) + 1;
}

/* ----------------------------------------------------------------- the plan */

static void draw_network(struct swarm *swarm, struct sim_options *options) {
    options->delay_min_ns = scaled(swarm, SIM_MS);
    options->delay_max_ns = options->delay_min_ns + scaled(swarm, 5 * SIM_MS);
    options->drop = chance(swarm, 0.3) ? 0.1 * base_rng_double(&swarm->rng) : 0;
    options->duplicate = chance(swarm, 0.3) ? 0.1 * base_rng_double(&swarm->rng) : 0;
    options->reorder = chance(swarm, 0.3) ? 0.1 * base_rng_double(&swarm->rng) : 0;
    options->survive = chance(swarm, 0.5) ? 1 : base_rng_double(&swarm->rng);
    options->announce = chance(swarm, 0.5) ? 1 : base_rng_double(&swarm->rng);
    options->reconnect_max_ns = options->reconnect_min_ns + scaled(swarm, 500 * SIM_MS);
    if (chance(swarm, 0.2)) {
        options->rate = (1 << 20) + scaled(swarm, 64 << 20); /* WIRE_RATE_MIN is promised */
    }
    options->batch_ns = chance(swarm, 0.5) ? 0 : scaled(swarm, SIM_MS);
    options->report_ns = scaled(swarm, 20 * SIM_MS);
    options->restart_ns = scaled(swarm, 200 * SIM_MS);
}

static void draw_broker(struct swarm *swarm, struct sim_options *options) {
    struct broker_config *broker = &options->broker;

    broker->heartbeat_ns = between(swarm, 50, 1000) * SIM_MS;
    broker->silence_ns = broker->heartbeat_ns * between(swarm, 4, 10);
    broker->settle_ns = between(swarm, 50, 1000) * SIM_MS;
    broker->no_function_ns = between(swarm, 500, 5000) * SIM_MS;
    if (chance(swarm, 0.2)) {
        broker->tasks_max = (uint32_t)between(swarm, 4, 64);
    }
    if (chance(swarm, 0.2)) {
        broker->memory_bytes = between(swarm, 64, 4096) << 10;
    }
    if (chance(swarm, 0.2)) {
        broker->client_tasks_max = (uint32_t)between(swarm, 2, 32);
    }
}

/* Every seed leaves out some deeds, so that each meets the others in all company. */
static void draw_deeds(struct swarm *swarm) {
    static const uint32_t usual[DEED_COUNT] = {
        [DEED_SUBMIT] = 100,     [DEED_BURST] = 20,
        [DEED_CANCEL] = 30,      [DEED_BREAK] = 6,
        [DEED_CUT] = 4,          [DEED_PAUSE] = 3,
        [DEED_PAUSE_BROKER] = 1, [DEED_JUMP] = 2,
        [DEED_KILL_WORKER] = 6,  [DEED_STOP_WORKER] = 3,
        [DEED_DRAIN_WORKER] = 2, [DEED_KILL_MACHINE] = 1,
        [DEED_ADD_WORKER] = 3,   [DEED_KILL_CLIENT] = 1,
        [DEED_LEAVE_CLIENT] = 1, [DEED_SLOW] = 2,
        [DEED_ADD_CLIENT] = 2,   [DEED_KILL_BROKER] = 3,
        [DEED_DRAIN_BROKER] = 1, [DEED_CANCEL_WHILE_SETTLING] = 2,
    };

    for (uint32_t i = 0; i < DEED_COUNT; i++) {
        bool left_out = i != DEED_SUBMIT && chance(swarm, 0.4);

        swarm->weights[i] = left_out ? 0 : usual[i];
        if (i == DEED_KILL_BROKER && chance(swarm, 0.15)) {
            swarm->weights[i] = RESTLESS; /* one epoch meets what is left of several */
        }
        swarm->weight += swarm->weights[i];
    }
    swarm->work_max_us = scaled(swarm, 2000000);
    swarm->crashing = chance(swarm, 0.3) ? 0.1 * base_rng_double(&swarm->rng) : 0;
    swarm->failing = chance(swarm, 0.3) ? 0.3 * base_rng_double(&swarm->rng) : 0;
    swarm->deadlines = chance(swarm, 0.3) ? 0.5 * base_rng_double(&swarm->rng) : 0;
    swarm->limits = chance(swarm, 0.3) ? 0.3 * base_rng_double(&swarm->rng) : 0;
    swarm->once = chance(swarm, 0.3) ? 0.5 * base_rng_double(&swarm->rng) : 0;
    swarm->tagged = chance(swarm, 0.3) ? 0.5 * base_rng_double(&swarm->rng) : 0;
    swarm->large = chance(swarm, 0.2) ? 0.1 * base_rng_double(&swarm->rng) : 0;
    swarm->odd_function = chance(swarm, 0.1) ? 0.1 : 0;
}

/* ---------------------------------------------------------------- processes */

static void add_worker(struct swarm *swarm) {
    struct sim_worker_options options = {.slots = (uint32_t)between(swarm, 1, 4)};
    uint32_t count = sim_worker_count(swarm->sim);

    options.functions[0] = functions[0];
    if (chance(swarm, 0.5)) {
        options.functions[1] = functions[1];
    }
    if (chance(swarm, 0.5)) {
        options.tags[0] = tags[below(swarm, 2)];
    }
    if (chance(swarm, 0.1)) {
        options.tasks_max = between(swarm, 1, 50);
    }
    if (swarm->large > 0 && chance(swarm, 0.3)) {
        options.room_bytes = between(swarm, 256 << 10, LARGE_MAX);
    }
    if (count > 0 && chance(swarm, 0.5)) {
        uint32_t other = (uint32_t)below(swarm, count);

        options.supervisor = sim_worker_supervisor(swarm->sim, other);
        options.shared = sim_worker_alive(swarm->sim, other);
    }
    sim_add_worker_options(swarm->sim, &options);
}

static void add_client(struct swarm *swarm) {
    uint32_t client = sim_add_client(swarm->sim);

    if (swarm->large > 0 && chance(swarm, 0.3)) {
        sim_limit_room(swarm->sim, SIM_CLIENT, client, between(swarm, 256 << 10, LARGE_MAX));
    }
}

static uint32_t alive(struct swarm *swarm, enum sim_role role) {
    uint32_t count = 0;

    if (role == SIM_CLIENT) {
        for (uint32_t i = 0; i < sim_client_count(swarm->sim); i++) {
            count += sim_client_alive(swarm->sim, i) ? 1 : 0;
        }
    } else {
        for (uint32_t i = 0; i < sim_worker_count(swarm->sim); i++) {
            count += sim_worker_alive(swarm->sim, i) ? 1 : 0;
        }
    }
    return count;
}

/* A living one, or `count`. */
static uint32_t some_worker(struct swarm *swarm) {
    uint32_t count = sim_worker_count(swarm->sim);
    uint32_t first = count > 0 ? (uint32_t)below(swarm, count) : 0;

    for (uint32_t i = 0; i < count; i++) {
        if (sim_worker_alive(swarm->sim, (first + i) % count)) {
            return (first + i) % count;
        }
    }
    return count;
}

static uint32_t some_client(struct swarm *swarm) {
    uint32_t count = sim_client_count(swarm->sim);
    uint32_t first = (uint32_t)below(swarm, count);

    for (uint32_t i = 0; i < count; i++) {
        if (sim_client_usable(swarm->sim, (first + i) % count)) {
            return (first + i) % count;
        }
    }
    return count;
}

/* Some process other than the broker; false: there is none. */
static bool some_process(struct swarm *swarm, enum sim_role *role, uint32_t *index) {
    *role = chance(swarm, 0.6) ? SIM_WORKER : SIM_CLIENT;
    if (*role == SIM_WORKER) {
        *index = some_worker(swarm);
        if (*index < sim_worker_count(swarm->sim) && chance(swarm, 0.2)) {
            *role = SIM_SUPERVISOR;
            *index = sim_worker_supervisor(swarm->sim, *index);
            return true;
        }
        return *index < sim_worker_count(swarm->sim);
    }
    *index = some_client(swarm);
    return *index < sim_client_count(swarm->sim);
}

/* --------------------------------------------------------------------- work */

static void submit(struct swarm *swarm, uint32_t client) {
    struct sim_job job = {.work_us = scaled(swarm, swarm->work_max_us)};

    job.function = functions[below(swarm, 2)];
    job.priority = chance(swarm, 0.2) ? (int)below(swarm, 5) - 2 : 0;
    job.max_attempts = (uint32_t)between(swarm, 1, 4);
    job.at_most_once = chance(swarm, swarm->once);
    if (chance(swarm, swarm->tagged)) {
        job.tag = tags[below(swarm, 2)];
    }
    if (chance(swarm, swarm->odd_function)) {
        job.function = "unheard_of";
    }
    if (chance(swarm, swarm->crashing)) {
        job.crash_runs = (uint32_t)between(swarm, 1, 5);
    }
    if (!job.at_most_once && chance(swarm, swarm->failing)) {
        job.error_runs = (uint32_t)between(swarm, 1, 3);
        job.retries = (uint32_t)below(swarm, 4);
        job.retry_ms = scaled(swarm, 500);
    }
    if (chance(swarm, swarm->deadlines)) {
        job.queue_ms = scaled(swarm, 3000);
    }
    if (chance(swarm, swarm->limits)) {
        job.run_ms = scaled(swarm, 1000);
        job.deaf = chance(swarm, 0.3);
    }
    if (chance(swarm, swarm->large)) {
        job.argument_bytes = (uint32_t)scaled(swarm, LARGE_MAX);
        job.result_bytes = (uint32_t)scaled(swarm, LARGE_MAX);
    }
    sim_submit_job(swarm->sim, client, &job);
}

static void submit_some(struct swarm *swarm, uint64_t count) {
    uint32_t client = some_client(swarm);

    while (client < sim_client_count(swarm->sim) && count-- > 0) {
        submit(swarm, client);
    }
}

/* Cancels up to `most` tasks that are pending, anywhere among the last few hundred. */
static void cancel_some(struct swarm *swarm, uint64_t most) {
    uint64_t count = sim_task_count(swarm->sim);
    uint64_t recent = count < 300 ? count : 300;

    for (uint64_t n = between(swarm, 1, most); recent > 0 && n > 0; n--) {
        uint64_t at = count - recent + below(swarm, recent);

        while (at < count && sim_task_at(swarm->sim, at)->state != SIM_PENDING) {
            at++;
        }
        if (at < count && sim_client_usable(swarm->sim, sim_task_at(swarm->sim, at)->client)) {
            sim_cancel(swarm->sim, sim_task_at(swarm->sim, at));
        }
    }
}

/* -------------------------------------------------------------------- faults */

static struct undo *undo_slot(struct swarm *swarm) {
    for (uint32_t i = 0; i < UNDO_MAX; i++) {
        if (swarm->undo[i].kind == UNDO_NOTHING) {
            return &swarm->undo[i];
        }
    }
    return NULL;
}

static void undo_one(struct swarm *swarm, struct undo *undo) {
    switch (undo->kind) {
    case UNDO_NOTHING:
        break;
    case UNDO_CUT:
        sim_heal(swarm->sim, undo->role, undo->index);
        break;
    case UNDO_PAUSE:
        sim_resume(swarm->sim, undo->role, undo->index);
        break;
    case UNDO_PAUSE_BROKER:
        sim_resume_broker(swarm->sim);
        break;
    case UNDO_DRAIN_BROKER:
        sim_kill_broker(swarm->sim);
        sim_start_broker(swarm->sim);
        break;
    case UNDO_KILL_BROKER:
        if (!sim_broker_alive(swarm->sim)) {
            sim_start_broker(swarm->sim);
        }
        break;
    }
    undo->kind = UNDO_NOTHING;
}

static void undo_due(struct swarm *swarm) {
    for (uint32_t i = 0; i < UNDO_MAX; i++) {
        if (swarm->undo[i].kind != UNDO_NOTHING && swarm->undo[i].at_ns <= sim_now(swarm->sim)) {
            undo_one(swarm, &swarm->undo[i]);
        }
    }
}

static void for_a_while(struct swarm *swarm, enum undo_kind kind, enum sim_role role,
                        uint32_t index) {
    struct undo *undo = undo_slot(swarm);
    uint64_t silence_ns = sim_options(swarm->sim)->broker.silence_ns;

    *undo = (struct undo){kind, role, index, sim_now(swarm->sim) + scaled(swarm, 2 * silence_ns)};
}

static void disturb(struct swarm *swarm, enum deed deed) {
    enum sim_role role;
    uint32_t index;

    if (undo_slot(swarm) == NULL || !some_process(swarm, &role, &index)) {
        return;
    }
    if (deed == DEED_BREAK) {
        sim_break(swarm->sim, role, index);
    } else if (deed == DEED_CUT) {
        uint64_t which = between(swarm, 1, 3);

        sim_cut(swarm->sim, role, index, (which & 1) != 0, (which & 2) != 0);
        for_a_while(swarm, UNDO_CUT, role, index);
    } else if (deed == DEED_PAUSE) {
        sim_pause(swarm->sim, role, index);
        for_a_while(swarm, UNDO_PAUSE, role, index);
    } else if (deed == DEED_SLOW) {
        sim_slow(swarm->sim, role, index, scaled(swarm, 100 * SIM_MS));
    } else {
        sim_jump(swarm->sim, role, index, scaled(swarm, 30 * SIM_SECOND));
    }
}

static void disturb_client(struct swarm *swarm, enum deed deed) {
    uint32_t client = some_client(swarm);

    if (client == sim_client_count(swarm->sim)) {
        return;
    }
    if (deed == DEED_KILL_CLIENT) {
        sim_kill_client(swarm->sim, client);
    } else if (sim_client_stats(swarm->sim, client).waiting == 0 &&
               sim_client_stats(swarm->sim, client).sent == 0) {
        sim_leave_client(swarm->sim, client);
    }
}

static void disturb_broker(struct swarm *swarm, enum deed deed) {
    if (undo_slot(swarm) == NULL || !sim_broker_alive(swarm->sim)) {
        return;
    }
    if (deed == DEED_PAUSE_BROKER) {
        sim_pause_broker(swarm->sim);
        for_a_while(swarm, UNDO_PAUSE_BROKER, SIM_CLIENT, 0);
    } else if (deed == DEED_DRAIN_BROKER) {
        sim_drain_broker(swarm->sim);
        for_a_while(swarm, UNDO_DRAIN_BROKER, SIM_CLIENT, 0);
    } else {
        sim_kill_broker(swarm->sim);
        for_a_while(swarm, UNDO_KILL_BROKER, SIM_CLIENT, 0);
        if (swarm->weights[DEED_KILL_CLIENT] > 0 && chance(swarm, 0.3)) {
            /* As when one machine had both: what its workers claim then, nobody asks for. */
            disturb_client(swarm, DEED_KILL_CLIENT);
            submit_some(swarm, between(swarm, 1, 20));
        }
    }
}

/* A new broker waits for claims; what is cancelled meanwhile may be somebody's already. */
static void cancel_while_settling(struct swarm *swarm) {
    uint64_t settle_ns = sim_options(swarm->sim)->broker.settle_ns;

    if (!sim_broker_alive(swarm->sim)) {
        return;
    }
    sim_kill_broker(swarm->sim);
    sim_start_broker(swarm->sim);
    for (int i = 0; i < 5; i++) {
        sim_run_for(swarm->sim, below(swarm, settle_ns / 4));
        cancel_some(swarm, 10);
    }
}

static void disturb_worker(struct swarm *swarm, enum deed deed) {
    uint32_t worker = some_worker(swarm);

    if (worker == sim_worker_count(swarm->sim)) {
        return;
    }
    if (deed == DEED_KILL_WORKER) {
        sim_kill_worker(swarm->sim, worker);
    } else if (deed == DEED_STOP_WORKER) {
        sim_stop_worker(swarm->sim, worker);
    } else if (deed == DEED_DRAIN_WORKER) {
        sim_drain_worker(swarm->sim, worker);
    } else {
        sim_kill_machine(swarm->sim, sim_worker_supervisor(swarm->sim, worker));
    }
}

static void act(struct swarm *swarm, enum deed deed) {
    switch (deed) {
    case DEED_SUBMIT:
        submit_some(swarm, between(swarm, 1, 5));
        break;
    case DEED_BURST:
        sim_count_burst(swarm->sim);
        submit_some(swarm, between(swarm, 10, 100));
        break;
    case DEED_CANCEL:
        cancel_some(swarm, 5);
        break;
    case DEED_BREAK:
    case DEED_CUT:
    case DEED_PAUSE:
    case DEED_JUMP:
    case DEED_SLOW:
        disturb(swarm, deed);
        break;
    case DEED_KILL_BROKER:
    case DEED_DRAIN_BROKER:
    case DEED_PAUSE_BROKER:
        disturb_broker(swarm, deed);
        break;
    case DEED_CANCEL_WHILE_SETTLING:
        cancel_while_settling(swarm);
        break;
    case DEED_KILL_WORKER:
    case DEED_STOP_WORKER:
    case DEED_DRAIN_WORKER:
    case DEED_KILL_MACHINE:
        disturb_worker(swarm, deed);
        break;
    case DEED_ADD_WORKER:
        if (alive(swarm, SIM_WORKER) < WORKERS_MAX) {
            add_worker(swarm);
        }
        break;
    case DEED_KILL_CLIENT:
    case DEED_LEAVE_CLIENT:
        disturb_client(swarm, deed);
        break;
    case DEED_ADD_CLIENT:
        if (alive(swarm, SIM_CLIENT) < CLIENTS_MAX) {
            add_client(swarm);
        }
        break;
    case DEED_COUNT:
        break;
    }
}

static enum deed draw_deed(struct swarm *swarm) {
    uint64_t at = below(swarm, swarm->weight);
    uint32_t deed = 0;

    while (at >= swarm->weights[deed]) {
        at -= swarm->weights[deed++];
    }
    return (enum deed)deed;
}

/* ---------------------------------------------------------------------- play */

static void build(struct swarm *swarm) {
    for (uint64_t n = between(swarm, 1, 4); n > 0; n--) {
        add_client(swarm);
    }
    for (uint64_t n = between(swarm, 0, 5); n > 0; n--) {
        add_worker(swarm);
    }
}

/* What can be run must be run in the end: one worker that has everything, and stays. */
static void make_good(struct swarm *swarm) {
    for (uint32_t i = 0; i < UNDO_MAX; i++) {
        undo_one(swarm, &swarm->undo[i]);
    }
    sim_add_worker_with(swarm->sim, .slots = 4, .functions = {functions[0], functions[1]},
                        .tags = {tags[0], tags[1]});
}

/* A client whose first task is more than the broker has memory for, and would run for longer than anybody
 * waits. It gives the task up in a partition that it has noticed and the broker has not, and then submits
 * another. */
static void lose_interest(struct swarm *swarm) {
    const struct broker_config *broker = &sim_options(swarm->sim)->broker;
    uint64_t silence_ns = broker->silence_ns;
    struct sim_job job = {.function = functions[0], .work_us = 2 * CALM_NS / 1000};
    uint32_t client = sim_add_client(swarm->sim);

    sim_run_for(swarm->sim, between(swarm, 50, 500) * SIM_MS);
    job.argument_bytes = (uint32_t)(broker->memory_bytes + scaled(swarm, broker->memory_bytes));
    job.queue_ms = scaled(swarm, silence_ns / SIM_MS);
    sim_submit_job(swarm->sim, client, &job);
    sim_run_for(swarm->sim, below(swarm, 5 * SIM_MS));
    sim_cut(swarm->sim, SIM_CLIENT, client, false, true);
    sim_run_for(swarm->sim, silence_ns + between(swarm, 1, silence_ns / 2));
    sim_heal(swarm->sim, SIM_CLIENT, client);
    sim_run_for(swarm->sim, below(swarm, 5 * SIM_SECOND));
    job.work_us = 1000;
    job.queue_ms = 0;
    sim_submit_job(swarm->sim, client, &job);
}

#define AGAIN_TASKS   200u /* more than there can be threads */
#define AGAIN_CANCELS 50u
#define AGAIN_YES     10u /* so many at least have not begun yet */

/* Whether a broker may still have a task that takes its worker, and others with it, along: also one whose
 * client has died. */
static bool has_crashers(const struct sim *sim) {
    for (uint64_t i = 0; i < sim_task_count(sim); i++) {
        const struct sim_task *task = sim_task_at(sim, i);

        if (task->job.crash_runs > 0 && !task->over) {
            return true;
        }
    }
    return false;
}

/* When all is over the cluster must be as good as new: what is submitted runs soon, and what is
 * cancelled before it starts does not. */
static void try_once_more(struct swarm *swarm) {
    struct sim *sim = swarm->sim;
    uint64_t first = sim_task_count(sim);
    uint32_t client = some_client(swarm);
    uint32_t cancelled = 0;
    bool calm;

    if (client == sim_client_count(sim)) {
        client = sim_add_client(sim);
    }
    sim_run_for(sim, 5 * SIM_SECOND);
    calm = !has_crashers(sim);
    for (uint32_t i = 0; i < AGAIN_TASKS; i++) {
        sim_submit(sim, client, .work_us = 20000);
    }
    sim_run_for(sim, 10 * SIM_MS);
    for (uint64_t i = first + AGAIN_TASKS - AGAIN_CANCELS; i < first + AGAIN_TASKS; i++) {
        sim_cancel(sim, sim_task_at(sim, i));
    }
    if (!sim_run_tasks(sim, 20 * SIM_SECOND)) {
        sim_fail(sim, "the cluster has not recovered");
    }
    for (uint64_t i = first; i < first + AGAIN_TASKS; i++) {
        struct sim_task *task = sim_task_at(sim, i);

        cancelled += task->state == SIM_CANCELLED ? 1 : 0;
        if (task->state != SIM_CANCELLED &&
            (task->kind != WIRE_KIND_VALUE || (calm && task->starts != 1))) {
            sim_fail(sim, "#%u: kind %d, %u starts, in a cluster without faults", (unsigned)i,
                     (int)task->kind, task->starts);
        }
    }
    if (calm && cancelled < AGAIN_YES) {
        sim_fail(sim, "only %u cancels of %u said yes", cancelled, AGAIN_CANCELS);
    }
}

bool swarm_play(uint64_t seed, FILE *trace, struct swarm_result *result) {
    struct swarm swarm = {0};
    struct sim_options options;
    bool fickle = seed % FICKLE == 0;
    uint64_t pause_ns;
    uint64_t calm_ns;

    memset(result, 0, sizeof *result);
    base_rng_init(&swarm.rng, seed ^ UINT64_C(0x5eed5eed5eed5eed));
    sim_options_default(&options, seed);
    options.trace = trace;
    draw_network(&swarm, &options);
    draw_broker(&swarm, &options);
    draw_deeds(&swarm);
    if (fickle) {
        options.broker.memory_bytes = between(&swarm, 64, 512) << 10;
    }
    swarm.sim = sim_new_with(&options);
    build(&swarm);
    pause_ns = scaled(&swarm, SIM_SECOND);
    for (uint64_t n = between(&swarm, 20, 300); n > 0 && sim_failure(swarm.sim) == NULL; n--) {
        sim_run_for(swarm.sim, below(&swarm, 2 * pause_ns));
        undo_due(&swarm);
        act(&swarm, draw_deed(&swarm));
    }
    make_good(&swarm);
    calm_ns = sim_now(swarm.sim);
    if (sim_finish(swarm.sim, CALM_NS)) {
        result->recovery_ns = sim_now(swarm.sim) - calm_ns;
        if (fickle) {
            lose_interest(&swarm);
        }
        try_once_more(&swarm);
    }
    if (sim_failure(swarm.sim) != NULL) {
        snprintf(result->failure, sizeof result->failure, "%s", sim_failure(swarm.sim));
    }
    result->counts = *sim_counts(swarm.sim);
    result->virtual_ns = sim_now(swarm.sim);
    sim_free(swarm.sim);
    return result->failure[0] == '\0';
}
