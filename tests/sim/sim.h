/* A whole cluster in one thread and in virtual time: the real cores of clients, a broker and workers,
 * joined by a simulated network, and everything that goes wrong decided by one seed. The same seed
 * gives the same run, step by step.
 *
 * A test builds a cluster, submits tasks, lets time pass and breaks things:
 *
 *     struct sim *sim = sim_new(1);
 *     uint32_t client = sim_add_client(sim);
 *     uint32_t worker = sim_add_worker(sim, 2);
 *     struct sim_task *task = sim_submit(sim, client, .work_us = 500000);
 *
 *     sim_run_for(sim, 100 * SIM_MS);
 *     sim_kill_worker(sim, worker);
 *     assert_true(sim_finish(sim, 60 * SIM_SECOND));
 *     assert_int_equal(task->starts, 2);
 *     sim_free(sim);
 *
 * A model beside the cluster reads every message and watches every run; the first rule that is broken
 * ends the run, and sim_failure tells it. Lack of memory ends the program. */
#ifndef SIM_H
#define SIM_H

#include "broker/core.h"
#include "libclient/core.h"
#include "worker/core.h"

#include <stdio.h>

#define SIM_US     UINT64_C(1000)
#define SIM_MS     (1000 * SIM_US)
#define SIM_SECOND (1000 * SIM_MS)

struct sim;

/* What a run is made of; start from sim_options_default. */
struct sim_options {
    uint64_t seed;
    struct broker_config broker; /* epoch, seed, host and pid are set at each start */

    uint64_t delay_min_ns, delay_max_ns; /* of a message */
    uint64_t rate; /* bytes a second over each line, in each direction; 0: no limit */
    double drop, duplicate, reorder; /* chances of a message; default 0 */
    double survive;                  /* chance that what a dead process has sent still arrives */
    double announce;                 /* chance that a core is told of a new connection; default 1 */
    uint64_t reconnect_min_ns, reconnect_max_ns; /* until a new connection stands */
    uint64_t batch_ns;   /* longest between a message and the FLUSH after it */
    uint64_t report_ns;  /* until a supervisor knows of a child's death */
    uint64_t restart_ns; /* until it has started another; 0: it starts none */

    FILE *trace; /* gets a line for everything that happens; NULL for none */
};
void sim_options_default(struct sim_options *options, uint64_t seed);

struct sim *sim_new(uint64_t seed); /* with the defaults, and a broker */
struct sim *sim_new_with(const struct sim_options *options);
void sim_free(struct sim *sim);

/* The options of the running simulation; those of the network may be changed at any time, those of
 * the broker count from its next start. */
struct sim_options *sim_options(struct sim *sim);
struct base_rng *sim_rng(struct sim *sim);
uint64_t sim_now(const struct sim *sim);
/* What rule was broken, or NULL. */
const char *sim_failure(const struct sim *sim);
void sim_fail(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_say(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ------------------------------------------------------------------- tasks */

/* What a task is, and what its function does when a worker runs it. */
struct sim_job {
    const char *function; /* default "work" */
    const char *tag;      /* one tag, or NULL */
    int priority;
    bool at_most_once;
    uint32_t max_attempts; /* default 3 */
    uint64_t queue_ms, run_ms;
    uint32_t retries;
    uint64_t retry_ms;

    uint64_t work_us;        /* how long it runs */
    uint32_t crash_runs;     /* the first so many runs kill their worker, at their end */
    uint32_t error_runs;     /* the next so many runs end with an error */
    bool deaf;               /* takes no notice of interrupts */
    uint32_t argument_bytes; /* at least; padding */
    uint32_t result_bytes;   /* likewise */
};

enum sim_task_state {
    SIM_PENDING,
    SIM_CANCELLED, /* a cancel said true */
    SIM_FINISHED,  /* resolved: kind says how */
    SIM_ABANDONED, /* its client died */
};

struct sim_task {
    struct client_task task; /* the client core's */
    struct sim_job job;
    uint64_t number; /* of all tasks, from 0 */
    uint32_t client;

    /* for tests to look at */
    enum sim_task_state state;
    enum wire_kind kind;
    uint64_t submitted_ns, resolved_ns;
    uint64_t started_ns;  /* the last start */
    uint32_t starts;      /* how often some worker began it */
    uint32_t deaths;      /* how often a worker died while it ran */
    uint32_t running;     /* runs right now (more than one only if a worker was given up) */
    uint32_t last_worker; /* that began it last */
    uint32_t first_worker;
    bool began;            /* the client was told that it runs */
    uint32_t cancels;      /* asked for */
    uint32_t cancels_left; /* not answered yet */
    uint32_t attempt;      /* in the error */
    char text[512];        /* the error's message */

    uint32_t charged;        /* deaths that were this task's and no other's */
    bool refused;            /* a worker had no room for it */
    bool resent;             /* the client has submitted it again to a broker */
    struct wire_blob *blob;  /* the arguments */
    struct sim_grant *grant; /* the model's: the last lease in this epoch */
    bool over;               /* the model's: the broker has sent its outcome, or a verdict of yes */
};

#define sim_submit(sim, client, ...)                                                               \
    sim_submit_job((sim), (client), &(const struct sim_job){__VA_ARGS__})
/* The task belongs to the simulation and lives as long. */
struct sim_task *sim_submit_job(struct sim *sim, uint32_t client, const struct sim_job *job);
void sim_cancel(struct sim *sim, struct sim_task *task);
void sim_count_burst(struct sim *sim);
uint64_t sim_task_count(const struct sim *sim);
struct sim_task *sim_task_at(const struct sim *sim, uint64_t number);

/* ----------------------------------------------------------------- clients */

uint32_t sim_add_client(struct sim *sim);
void sim_kill_client(struct sim *sim, uint32_t client);
void sim_leave_client(struct sim *sim, uint32_t client); /* BYE; its tasks should be done */
bool sim_client_alive(const struct sim *sim, uint32_t client);
/* Whether its program can do anything: alive, not leaving, not stopped. */
bool sim_client_usable(const struct sim *sim, uint32_t client);
uint32_t sim_client_count(const struct sim *sim);
struct client_stats sim_client_stats(const struct sim *sim, uint32_t client);

/* ----------------------------------------------------------------- workers */

struct sim_worker_options {
    uint32_t slots;           /* default 1 */
    uint32_t supervisor;      /* whose child it is; default: one of its own */
    bool shared;              /* `supervisor` is set */
    const char *functions[4]; /* default: "work" */
    const char *tags[4];
    uint64_t tasks_max;
    uint64_t room_bytes; /* it has no memory for messages that are larger; 0: for all */
};
uint32_t sim_add_supervisor(struct sim *sim);
uint32_t sim_add_worker(struct sim *sim, uint32_t slots);
#define sim_add_worker_with(sim, ...)                                                              \
    sim_add_worker_options((sim), &(const struct sim_worker_options){__VA_ARGS__})
uint32_t sim_add_worker_options(struct sim *sim, const struct sim_worker_options *options);
/* kill -9 of the process; its supervisor tells of it and starts another (a worker of a new number). */
void sim_kill_worker(struct sim *sim, uint32_t worker);
/* As the supervisor does to its children: stopped on purpose, nobody is charged. */
void sim_stop_worker(struct sim *sim, uint32_t worker);
void sim_drain_worker(struct sim *sim, uint32_t worker); /* SIGTERM */
/* The supervisor and its children are gone without a word, as when the power fails. */
void sim_kill_machine(struct sim *sim, uint32_t supervisor);
bool sim_worker_alive(const struct sim *sim, uint32_t worker);
uint32_t sim_worker_count(const struct sim *sim); /* dead ones too */
uint32_t sim_worker_running(const struct sim *sim, uint32_t worker);
uint32_t sim_worker_waiting(const struct sim *sim, uint32_t worker);
uint32_t sim_worker_supervisor(const struct sim *sim, uint32_t worker);
struct worker_stats sim_worker_stats(const struct sim *sim, uint32_t worker);

/* ------------------------------------------------------------------ broker */

void sim_kill_broker(struct sim *sim);
void sim_start_broker(struct sim *sim); /* another epoch */
void sim_drain_broker(struct sim *sim);
bool sim_broker_alive(const struct sim *sim);
bool sim_broker_drained(const struct sim *sim);
struct broker_stats sim_broker_stats(const struct sim *sim);

/* ------------------------------------------------------- network and processes */

/* A process other than the broker. */
enum sim_role { SIM_CLIENT, SIM_WORKER, SIM_SUPERVISOR };
/* Breaks its connection: what is in flight is lost, and another one comes up. */
void sim_break(struct sim *sim, enum sim_role role, uint32_t index);
/* Lets nothing through, in one or both directions, until sim_heal; then what was held back arrives,
 * unless a new connection was made meanwhile. */
void sim_cut(struct sim *sim, enum sim_role role, uint32_t index, bool to_broker, bool from_broker);
void sim_heal(struct sim *sim, enum sim_role role, uint32_t index);
/* SIGSTOP and SIGCONT. */
void sim_pause(struct sim *sim, enum sim_role role, uint32_t index);
void sim_resume(struct sim *sim, enum sim_role role, uint32_t index);
void sim_pause_broker(struct sim *sim);
void sim_resume_broker(struct sim *sim);
/* Its messages take so much longer from now on, in both directions. */
void sim_slow(struct sim *sim, enum sim_role role, uint32_t index, uint64_t ns);
/* It has no memory for messages that are larger than that: they break its connection. */
void sim_limit_room(struct sim *sim, enum sim_role role, uint32_t index, uint64_t bytes);
/* Its clock jumps ahead. */
void sim_jump(struct sim *sim, enum sim_role role, uint32_t index, uint64_t ns);
/* Loses the next message of that type in that direction, whoever sends it. */
void sim_lose_next(struct sim *sim, enum wire_type type, bool to_broker);

/* -------------------------------------------------------------------- time */

void sim_run_for(struct sim *sim, uint64_t ns);
/* Runs until `done` says so, for at most `ns`; returns what it said last. */
bool sim_run_until(struct sim *sim, bool (*done)(struct sim *sim, void *context), void *context,
                   uint64_t ns);
/* Runs until no task of a living client is pending, for at most `ns`; true: so it is. */
bool sim_run_tasks(struct sim *sim, uint64_t ns);
/* The end of faults: heals and resumes all, starts the broker if it is dead, and runs until every
 * task has ended, the broker is empty and the workers hold nothing. False if that takes longer than
 * `ns` (which is a failure), or something was broken earlier. */
bool sim_finish(struct sim *sim, uint64_t ns);

/* ------------------------------------------------------------------- counts */

/* How often the interesting things have happened. */
#define SIM_COUNT_MAP(X)                                                                           \
    X(messages, "messages delivered")                                                              \
    X(lost, "messages lost")                                                                       \
    X(duplicated, "messages duplicated")                                                           \
    X(reordered, "messages reordered")                                                             \
    X(broken, "connections broken")                                                                \
    X(cuts, "partitions")                                                                          \
    X(half_cuts, "partitions of one direction alone")                                              \
    X(released, "messages held up by a partition, then let through")                               \
    X(pauses, "processes stopped for a while")                                                     \
    X(slow, "peers that became slow")                                                              \
    X(jumps, "clock jumps")                                                                        \
    X(broker_deaths, "broker deaths")                                                              \
    X(broker_starts, "brokers started")                                                            \
    X(broker_drains, "brokers drained")                                                            \
    X(tight_tasks, "brokers with a tight limit of tasks")                                          \
    X(tight_memory, "brokers with a tight limit of memory")                                        \
    X(tight_client, "brokers with a tight limit of tasks a client")                                \
    X(worker_deaths, "worker deaths")                                                              \
    X(worker_starts, "workers started in the place of another")                                    \
    X(worker_drains, "workers drained")                                                            \
    X(overruns, "workers killed for a task beyond its time")                                       \
    X(machine_deaths, "machine deaths")                                                            \
    X(client_deaths, "client deaths")                                                              \
    X(client_leaves, "clients that left")                                                          \
    X(hellos, "HELLO")                                                                             \
    X(resumed, "WELCOME that resumed")                                                             \
    X(anew, "WELCOME that began a stream")                                                         \
    X(unknowns, "UNKNOWN")                                                                         \
    X(resumes, "RESUME")                                                                           \
    X(rejects, "REJECT")                                                                           \
    X(forgotten, "sessions given up")                                                              \
    X(resent, "tasks submitted again")                                                             \
    X(claims, "leases claimed")                                                                    \
    X(submitted, "tasks submitted")                                                                \
    X(bursts, "bursts of tasks")                                                                   \
    X(prioritised, "tasks with a priority")                                                        \
    X(tagged, "tasks with a tag")                                                                  \
    X(queue_limited, "tasks with a limit of waiting")                                              \
    X(run_limited, "tasks with a limit of running")                                                \
    X(retriable, "tasks to be tried again if they fail")                                           \
    X(once, "tasks to be run at most once")                                                        \
    X(poison, "tasks that kill their worker in every run")                                         \
    X(alone, "runs alone on a worker, of suspects")                                                \
    X(retried, "failed tasks tried again")                                                         \
    X(starts, "runs begun")                                                                        \
    X(reruns, "runs begun again")                                                                  \
    X(interrupted, "runs interrupted")                                                             \
    X(recalls, "RECALL")                                                                           \
    X(recalled, "leases returned unstarted")                                                       \
    X(kept, "leases recalled in vain")                                                             \
    X(began, "tasks reported as running")                                                          \
    X(values, "outcome: value")                                                                    \
    X(errors, "outcome: error of the task")                                                        \
    X(losses, "outcome: lost")                                                                     \
    X(deadlines, "outcome: deadline")                                                              \
    X(no_functions, "outcome: no function")                                                        \
    X(undeliverable, "outcome: no room for the value at its client")                               \
    X(cancels, "cancels asked for")                                                                \
    X(cancelled, "cancels that said yes")                                                          \
    X(refused_cancels, "cancels that said no")                                                     \
    X(stale_results, "results of a lease that was over")                                           \
    X(large, "large payloads")                                                                     \
    X(announced, "messages announced")                                                             \
    X(outlasted, "messages that took longer than silence")                                         \
    X(no_room, "messages without room for them")                                                   \
    X(clogged, "tasks held back for a client that does not read")

struct sim_counts {
#define SIM_COUNT_FIELD(name, text) uint64_t name;
    SIM_COUNT_MAP(SIM_COUNT_FIELD)
#undef SIM_COUNT_FIELD
};
const struct sim_counts *sim_counts(const struct sim *sim);

#endif
