/* The workers' processes: a core, and threads that run tasks for as long as their arguments say. */
#include "tests/sim/sim_private.h"

#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>

#define BEGUN_NS     (5 * SIM_MS)   /* from here on a task is reported as running */
#define OBEY_NS      (100 * SIM_US) /* from an interrupt to the end of a task that heeds it */
#define SIGNAL_CRASH 11
#define SIGNAL_KILL  9

static void step(struct sim *sim, struct sim_worker *worker, const struct worker_event *event);

/* -------------------------------------------------------------------- the pool */

static void start_waiting(struct sim *sim, struct sim_worker *worker);

static struct sim_run *run_of(const struct worker_task *leased) {
    return (struct sim_run *)(uintptr_t)leased->shell[0];
}

static struct sim_thread *thread_of(struct sim_run *run) {
    for (uint32_t i = 0; i < run->worker->options.slots; i++) {
        if (run->worker->threads[i].run == run) {
            return &run->worker->threads[i];
        }
    }
    return NULL;
}

static void thread_free(struct sim *sim, struct sim_thread *thread) {
    sim_event_off(sim, &thread->done);
    sim_event_off(sim, &thread->begun);
    free(thread->run);
    thread->run = NULL;
}

/* WORKER_START: the task waits for a thread. */
static void enqueue(struct sim *sim, struct sim_worker *worker, struct worker_task *leased,
                    struct base_node *before) {
    struct sim_run *run = sim_alloc(sizeof *run);

    run->leased = leased;
    run->lease = leased->lease;
    run->worker = worker;
    run->broker = sim->broker.incarnation;
    run->task = sim_task_by_arguments(sim, leased->data, leased->size);
    leased->shell[0] = (uintptr_t)run;
    if (run->task == NULL) {
        sim_fail(sim, "%s got a task that nobody has submitted", worker->end.name);
        free(run);
        return;
    }
    base_list_insert_before(before, &run->node);
    worker->waiting++;
}

static void begin(struct sim *sim, struct sim_thread *thread, struct sim_run *run) {
    const struct sim_job *job = &run->task->job;

    base_list_remove(&run->node);
    run->worker->waiting--;
    run->state = SIM_RUN_RUNNING;
    thread->run = run;
    thread->started_ns = sim->now_ns;
    thread->told = false;
    run->ordinal = ++run->task->starts;
    sim_model_started(sim, run);
    sim_event_at(sim, &thread->done, sim->now_ns + (run->interrupted ? 0 : job->work_us * SIM_US));
    sim_event_at(sim, &thread->begun, sim->now_ns + BEGUN_NS);
}

static void start_waiting(struct sim *sim, struct sim_worker *worker) {
    for (uint32_t i = 0; i < worker->options.slots && !sim->failed; i++) {
        struct base_node *node = base_list_first(&worker->queue);

        if (node == NULL) {
            return;
        }
        if (worker->threads[i].run == NULL) {
            begin(sim, &worker->threads[i], BASE_LIST_ENTRY(node, struct sim_run, node));
        }
    }
}

/* ------------------------------------------------------------ how a run ends */

static void finish(struct sim *sim, struct sim_thread *thread, enum wire_kind kind,
                   const void *data, size_t size) {
    struct sim_worker *worker = thread->worker;
    struct sim_run *run = thread->run;
    struct worker_outcome outcome = {
        .task = run->leased,
        .kind = kind,
        .data = data,
        .size = size,
    };
    struct worker_event event = {
        .type = WORKER_FINISHED,
        .outcomes = &outcome,
        .count = 1,
        .busy_ns = sim->now_ns - thread->started_ns,
    };

    sim_say(sim, "%s has finished #%llu: %s", worker->end.name,
            (unsigned long long)run->task->number,
            kind == WIRE_KIND_VALUE ? "a value" : "an error");
    sim_model_ended(sim, run);
    thread_free(sim, thread);
    step(sim, worker, &event);
    if (worker->core != NULL) {
        start_waiting(sim, worker);
        sim_endpoint_soon(sim, &worker->end);
    }
}

static void finish_value(struct sim *sim, struct sim_thread *thread) {
    struct sim_run *run = thread->run;
    struct sim_value value = {run->task->number, run->lease, run->worker->end.index};
    size_t size = run->task->job.result_bytes;
    uint8_t *data;

    size = size < sizeof value ? sizeof value : size;
    data = sim_alloc(size);
    memcpy(data, &value, sizeof value);
    if (size >= WIRE_LARGE_BYTES_MIN) {
        sim->counts.large++;
    }
    finish(sim, thread, WIRE_KIND_VALUE, data, size);
    free(data);
}

static void finish_error(struct sim *sim, struct sim_thread *thread, enum wire_kind kind,
                         const char *message) {
    struct sim_run *run = thread->run;
    struct base_buffer buffer;
    struct wire_error error = {
        .code = (int32_t)run->ordinal,
        .message = {message, strlen(message)},
        .function = {run->task->job.function, strlen(run->task->job.function)},
        .host = {"worker-host", 11},
        .pid = (int64_t)run->worker->end.session.low,
        .attempt = run->leased->attempt,
    };

    base_buffer_init(&buffer);
    BASE_ASSERT(wire_error_encode(&error, &buffer));
    finish(sim, thread, kind, buffer.data, buffer.size);
    base_buffer_fini(&buffer);
}

static void thread_done(struct sim *sim, struct sim_event *event) {
    struct sim_thread *thread = BASE_CONTAINER_OF(event, struct sim_thread, done);
    const struct sim_job *job = &thread->run->task->job;
    uint32_t ordinal = thread->run->ordinal;

    if (thread->worker->end.paused) {
        return; /* goes on in sim_worker_resumed */
    }
    if (thread->run->interrupted && !job->deaf) {
        finish_error(sim, thread, WIRE_KIND_ERROR, "interrupted");
    } else if (ordinal <= job->crash_runs) {
        sim_worker_die(sim, thread->worker, SIGNAL_CRASH, false, true);
    } else if (ordinal - job->crash_runs <= job->error_runs) {
        finish_error(sim, thread, WIRE_KIND_ERROR, "failed as told");
    } else {
        finish_value(sim, thread);
    }
}

static void thread_begun(struct sim *sim, struct sim_event *event) {
    struct sim_thread *thread = BASE_CONTAINER_OF(event, struct sim_thread, begun);
    struct sim_worker *worker = thread->worker;

    if (worker->end.paused) {
        return;
    }
    thread->told = true;
    step(sim, worker,
         &(struct worker_event){.type = WORKER_BEGAN,
                                .task = thread->run->leased,
                                .busy_ns = sim->now_ns - thread->started_ns});
    if (worker->core != NULL) {
        sim_endpoint_soon(sim, &worker->end);
    }
}

static void interrupt(struct sim *sim, struct sim_run *run) {
    struct sim_thread *thread = thread_of(run);

    sim->counts.interrupted++;
    run->interrupted = true;
    if (thread != NULL && !run->task->job.deaf) {
        sim_event_at(sim, &thread->done, sim->now_ns + OBEY_NS);
    }
}

/* ---------------------------------------------------------------------- steps */

static void withdraw(struct sim *sim, struct sim_worker *worker, struct worker_task *leased) {
    struct sim_run *run = run_of(leased);
    bool waiting = run->state == SIM_RUN_WAITING;

    if (waiting) {
        base_list_remove(&run->node);
        worker->waiting--;
        free(run);
    }
    step(sim, worker,
         &(struct worker_event){.type = WORKER_WITHDRAWN, .task = leased, .withdrawn = waiting});
}

static void replace(struct sim *sim, struct sim_worker *worker) {
    if (!worker->retiring && sim_supervisor_at(sim, worker->supervisor)->end.alive) {
        worker->retiring = true;
        sim_worker_start(sim, &worker->options, worker->supervisor);
    }
}

/* Carries out the last step's actions. WITHDRAW is answered by further steps, so the tasks that it
 * names are noted first. */
static void carry_out(struct sim *sim, struct sim_worker *worker) {
    struct sim_array withdrawals = {0};
    bool leaves = false;
    bool killed = false;
    size_t count;
    const struct worker_action *actions = worker_actions(worker->core, &count);
    struct base_node *waits = worker->queue.root.next; /* already */

    for (size_t i = 0; i < count; i++) {
        const struct worker_action *action = &actions[i];

        switch (action->type) {
        case WORKER_SEND:
            sim_endpoint_send(sim, &worker->end, action->message);
            wire_message_unref(action->message);
            break;
        case WORKER_START:
            for (uint32_t k = 0; k < action->count; k++) {
                enqueue(sim, worker, action->tasks[k], action->ahead ? waits : &worker->queue.root);
            }
            break;
        case WORKER_WITHDRAW:
            sim_array_add(&withdrawals, action->task);
            break;
        case WORKER_INTERRUPT:
            interrupt(sim, run_of(action->task));
            break;
        case WORKER_RECONNECT:
            sim_say(sim, "%s wants a new connection", worker->end.name);
            sim_endpoint_reconnect(sim, &worker->end);
            break;
        case WORKER_LEAVE:
            if (action->text != NULL) {
                sim_say(sim, "%s: %s", worker->end.name, action->text);
            }
            leaves = true;
            break;
        case WORKER_KILL:
            sim_say(sim, "%s is to be killed: %s", worker->end.name, action->text);
            sim->counts.overruns++;
            killed = true;
            break;
        case WORKER_RETIRING:
            sim_say(sim, "%s retires", worker->end.name);
            replace(sim, worker);
            break;
        case WORKER_LOG:
            sim_say(sim, "%s%s: %s", worker->end.name, action->warn ? " warns" : "", action->text);
            break;
        }
    }
    for (uint32_t i = 0; i < withdrawals.count && worker->core != NULL; i++) {
        withdraw(sim, worker, withdrawals.items[i]);
    }
    free(withdrawals.items);
    if (leaves || killed) {
        sim_worker_die(sim, worker, killed ? SIGNAL_KILL : 0, true, true);
    } else if (worker->core != NULL) {
        start_waiting(sim, worker);
    }
}

static void step(struct sim *sim, struct sim_worker *worker, const struct worker_event *event) {
    worker_step(worker->core, sim_local(sim->now_ns, &worker->end), event);
    carry_out(sim, worker);
    if (worker->core != NULL) {
        sim_endpoint_deadline(sim, &worker->end, worker_deadline(worker->core));
    }
}

static void step_and_flush(struct sim *sim, struct sim_worker *worker,
                           const struct worker_event *event) {
    step(sim, worker, event);
    if (worker->core != NULL) {
        sim_endpoint_soon(sim, &worker->end);
    }
}

static void tick(struct sim *sim, struct sim_event *event) {
    struct sim_worker *worker = BASE_CONTAINER_OF(event, struct sim_worker, end.tick);

    if (worker->core != NULL && !worker->end.paused) {
        sim_endpoint_ticked(sim, &worker->end);
        step_and_flush(sim, worker, &(struct worker_event){.type = WORKER_TICK});
    }
}

static void flush(struct sim *sim, struct sim_event *event) {
    struct sim_worker *worker = BASE_CONTAINER_OF(event, struct sim_worker, end.flush);

    if (worker->core != NULL && !worker->end.paused) {
        step(sim, worker, &(struct worker_event){.type = WORKER_FLUSH});
    }
}

void sim_worker_receive(struct sim *sim, struct sim_worker *worker, struct wire_message *message) {
    step_and_flush(sim, worker, &(struct worker_event){.type = WORKER_RECEIVE, .message = message});
}

void sim_worker_reconnected(struct sim *sim, struct sim_worker *worker) {
    step_and_flush(sim, worker, &(struct worker_event){.type = WORKER_RECONNECTED});
}

/* -------------------------------------------------------------------- lifetime */

static void make_threads(struct sim_worker *worker) {
    worker->threads = sim_alloc(worker->options.slots * sizeof *worker->threads);
    for (uint32_t i = 0; i < worker->options.slots; i++) {
        worker->threads[i].worker = worker;
        sim_event_init(&worker->threads[i].done, thread_done);
        sim_event_init(&worker->threads[i].begun, thread_begun);
    }
}

static uint32_t count_names(const char *const *names, uint32_t room) {
    uint32_t count = 0;

    while (count < room && names[count] != NULL) {
        count++;
    }
    return count;
}

uint32_t sim_worker_start(struct sim *sim, const struct sim_worker_options *options,
                          uint32_t supervisor) {
    struct sim_worker *worker = sim_alloc(sizeof *worker);
    struct worker_config config = {0};

    worker->options = *options;
    worker->supervisor = supervisor;
    sim_endpoint_init(sim, &worker->end, SIM_WORKER, sim->workers.count);
    sim_array_add(&sim->workers, worker);
    sim_event_init(&worker->end.tick, tick);
    sim_event_init(&worker->end.flush, flush);
    base_list_init(&worker->queue);
    make_threads(worker);
    worker->end.session = sim_new_session(sim);
    config.session = worker->end.session;
    config.seed = base_rng_next(&sim->rng);
    config.slots = worker->options.slots;
    config.tasks_max = worker->options.tasks_max;
    config.name = worker->end.name;
    config.host = "worker-host";
    config.pid = (int64_t)worker->end.session.low;
    config.functions = worker->options.functions;
    config.function_count = count_names(worker->options.functions, 4);
    config.tags = worker->options.tags;
    config.tag_count = count_names(worker->options.tags, 4);
    config.await_transport = sim->options.announce >= 1;
    worker->end.room_bytes = options->room_bytes;
    config.has_room = sim_endpoint_has_room;
    config.room_user = &worker->end;
    sim_say(sim, "%s starts", worker->end.name);
    worker->core = worker_core_new(&config, sim_local(sim->now_ns, &worker->end));
    BASE_ASSERT(worker->core != NULL);
    sim_event_at(sim, &worker->end.tick, sim->now_ns);
    return worker->end.index;
}

uint32_t sim_add_worker_options(struct sim *sim, const struct sim_worker_options *given) {
    struct sim_worker_options options = *given;

    if (options.slots == 0) {
        options.slots = 1;
    }
    if (options.functions[0] == NULL) {
        options.functions[0] = "work";
    }
    return sim_worker_start(sim, &options,
                            options.shared ? options.supervisor : sim_add_supervisor(sim));
}

uint32_t sim_add_worker(struct sim *sim, uint32_t slots) {
    return sim_add_worker_with(sim, .slots = slots);
}

/* Whoever ran alone in a process that died unexpectedly, and whose lease was good, is to be charged. */
static void charge(struct sim *sim, struct sim_worker *worker) {
    struct sim_run *alone = NULL;
    uint32_t count = 0;

    for (uint32_t i = 0; i < worker->options.slots; i++) {
        if (worker->threads[i].run != NULL) {
            alone = worker->threads[i].run;
            count++;
        }
    }
    if (count == 1 && !alone->orphan && alone->broker == sim->broker.incarnation) {
        alone->task->charged++;
    }
}

/* The process is no more: what it held is gone with it. Gives the leases that were running. */
static uint64_t *take_down(struct sim *sim, struct sim_worker *worker, uint32_t *count) {
    uint64_t *running = sim_alloc(worker->options.slots * sizeof *running);
    struct base_node *node;

    *count = 0;
    for (uint32_t i = 0; i < worker->options.slots; i++) {
        struct sim_thread *thread = &worker->threads[i];

        if (thread->run != NULL) {
            running[(*count)++] = thread->run->lease;
            thread->run->task->deaths++;
            sim_model_ended(sim, thread->run);
            thread_free(sim, thread);
        }
    }
    while ((node = base_list_pop_front(&worker->queue)) != NULL) {
        free(BASE_LIST_ENTRY(node, struct sim_run, node));
    }
    worker->waiting = 0;
    worker_core_free(worker->core);
    worker->core = NULL;
    return running;
}

void sim_worker_die(struct sim *sim, struct sim_worker *worker, int signal, bool expected,
                    bool reported) {
    struct sim_supervisor *supervisor = sim_supervisor_at(sim, worker->supervisor);
    uint32_t count;
    uint64_t *running;

    if (worker->core == NULL) {
        return;
    }
    sim_say(sim, "%s %s", worker->end.name, signal == 0 ? "leaves" : "dies");
    if (!expected && reported) {
        charge(sim, worker);
    }
    running = take_down(sim, worker, &count);
    if (signal != 0) {
        sim->counts.worker_deaths++;
    }
    sim_endpoint_close(sim, &worker->end, reported);
    if (reported && supervisor->end.alive) {
        sim_supervisor_child_died(sim, worker, signal, expected, running, count);
    } else {
        free(running);
    }
}

void sim_kill_worker(struct sim *sim, uint32_t worker) {
    sim_worker_die(sim, sim_worker_at(sim, worker), SIGNAL_KILL, false, true);
}

void sim_stop_worker(struct sim *sim, uint32_t worker) {
    sim_worker_die(sim, sim_worker_at(sim, worker), SIGNAL_KILL, true, true);
}

void sim_drain_worker(struct sim *sim, uint32_t index) {
    struct sim_worker *worker = sim_worker_at(sim, index);

    if (worker->core != NULL && !worker->end.paused) {
        sim_say(sim, "%s is to drain", worker->end.name);
        sim->counts.worker_drains++;
        step_and_flush(sim, worker, &(struct worker_event){.type = WORKER_DRAIN});
    }
}

void sim_kill_machine(struct sim *sim, uint32_t index) {
    struct sim_supervisor *supervisor = sim_supervisor_at(sim, index);

    if (!supervisor->end.alive) {
        return;
    }
    sim_say(sim, "the machine of %s dies", supervisor->end.name);
    sim->counts.machine_deaths++;
    for (uint32_t i = 0; i < sim->workers.count; i++) {
        if (sim_worker_at(sim, i)->supervisor == index) {
            sim_worker_die(sim, sim_worker_at(sim, i), SIGNAL_KILL, false, false);
        }
    }
    sim_endpoint_close(sim, &supervisor->end, false);
}

/* What should have happened while the process was stopped happens now. */
void sim_worker_resumed(struct sim *sim, struct sim_worker *worker) {
    for (uint32_t i = 0; i < worker->options.slots; i++) {
        struct sim_thread *thread = &worker->threads[i];

        if (thread->run == NULL) {
            continue;
        }
        if (!base_heap_node_linked(&thread->done.node)) {
            sim_event_at(sim, &thread->done, sim->now_ns + 1);
        }
        if (!thread->told && !base_heap_node_linked(&thread->begun.node)) {
            sim_event_at(sim, &thread->begun, sim->now_ns);
        }
    }
}

void sim_worker_free(struct sim_worker *worker) {
    if (worker->core != NULL) {
        uint32_t count;

        free(take_down(worker->end.sim, worker, &count));
    }
    free(worker->threads);
    worker->threads = NULL;
}

/* ------------------------------------------------------------------- questions */

struct sim_run *sim_worker_run(struct sim_worker *worker, uint64_t lease) {
    if (worker->core == NULL) {
        return NULL;
    }
    BASE_LIST_FOREACH(&worker->queue, node) {
        struct sim_run *run = BASE_LIST_ENTRY(node, struct sim_run, node);

        if (run->lease == lease) {
            return run;
        }
    }
    for (uint32_t i = 0; i < worker->options.slots; i++) {
        if (worker->threads[i].run != NULL && worker->threads[i].run->lease == lease) {
            return worker->threads[i].run;
        }
    }
    return NULL;
}

bool sim_worker_alive(const struct sim *sim, uint32_t worker) {
    return sim_worker_at(sim, worker)->core != NULL;
}

uint32_t sim_worker_count(const struct sim *sim) {
    return sim->workers.count;
}

uint32_t sim_worker_running(const struct sim *sim, uint32_t index) {
    struct sim_worker *worker = sim_worker_at(sim, index);
    uint32_t running = 0;

    for (uint32_t i = 0; i < worker->options.slots; i++) {
        running += worker->threads[i].run != NULL ? 1 : 0;
    }
    return running;
}

uint32_t sim_worker_waiting(const struct sim *sim, uint32_t worker) {
    return sim_worker_at(sim, worker)->waiting;
}

uint32_t sim_worker_supervisor(const struct sim *sim, uint32_t worker) {
    return sim_worker_at(sim, worker)->supervisor;
}

struct worker_stats sim_worker_stats(const struct sim *sim, uint32_t worker) {
    struct worker_stats stats = {0};

    if (sim_worker_alive(sim, worker)) {
        worker_get_stats(sim_worker_at(sim, worker)->core, &stats);
    }
    return stats;
}
