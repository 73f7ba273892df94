/* Events, time, and the end of a run. */
#include "tests/sim/sim_private.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT_BYTES (UINT64_C(8) << 10)

/* --------------------------------------------------------------------- memory */

void *sim_alloc(size_t size) {
    void *memory = calloc(1, size);

    BASE_ASSERT(memory != NULL);
    return memory;
}

void sim_array_add(struct sim_array *array, void *item) {
    if (array->count == array->room) {
        array->room = array->room == 0 ? 16 : array->room * 2;
        array->items = realloc(array->items, array->room * sizeof *array->items);
        BASE_ASSERT(array->items != NULL);
    }
    array->items[array->count++] = item;
}

/* --------------------------------------------------------------------- events */

void sim_event_init(struct sim_event *event,
                    void (*fire)(struct sim *sim, struct sim_event *event)) {
    base_heap_node_init(&event->node);
    event->fire = fire;
}

void sim_event_at(struct sim *sim, struct sim_event *event, uint64_t at_ns) {
    uint64_t key = at_ns > sim->now_ns ? at_ns : sim->now_ns;

    if (base_heap_node_linked(&event->node)) {
        base_heap_update(&sim->events, &event->node, key);
    } else {
        BASE_ASSERT(base_heap_insert(&sim->events, &event->node, key));
    }
}

void sim_event_off(struct sim *sim, struct sim_event *event) {
    if (base_heap_node_linked(&event->node)) {
        base_heap_remove(&sim->events, &event->node);
    }
}

/* -------------------------------------------------------------------- options */

void sim_options_default(struct sim_options *options, uint64_t seed) {
    memset(options, 0, sizeof *options);
    options->seed = seed;
    broker_config_default(&options->broker);
    options->delay_min_ns = 50 * SIM_US;
    options->delay_max_ns = 150 * SIM_US;
    options->survive = 1;
    options->announce = 1;
    options->reconnect_min_ns = 5 * SIM_MS;
    options->reconnect_max_ns = 20 * SIM_MS;
    options->report_ns = 2 * SIM_MS;
    options->restart_ns = 20 * SIM_MS;
}

struct sim *sim_new(uint64_t seed) {
    struct sim_options options;

    sim_options_default(&options, seed);
    return sim_new_with(&options);
}

struct sim *sim_new_with(const struct sim_options *options) {
    struct sim *sim = sim_alloc(sizeof *sim);

    sim->options = *options;
    base_rng_init(&sim->rng, options->seed);
    base_heap_init(&sim->events);
    sim->now_ns = SIM_SECOND;
    sim_array_add(&sim->addresses, NULL);
    sim_model_init(sim);
    sim_broker_init(sim);
    sim_start_broker(sim);
    return sim;
}

void sim_free(struct sim *sim) {
    if (sim == NULL) {
        return;
    }
    for (uint32_t i = 0; i < sim->clients.count; i++) {
        sim_client_free(sim_client_at(sim, i));
    }
    for (uint32_t i = 0; i < sim->workers.count; i++) {
        sim_worker_free(sim_worker_at(sim, i));
    }
    for (uint32_t i = 0; i < sim->supervisors.count; i++) {
        sim_supervisor_free(sim_supervisor_at(sim, i));
    }
    sim_broker_fini(sim);
    sim_network_free(sim);
    sim_model_fini(sim);
    for (uint32_t i = 0; i < sim->tasks.count; i++) {
        wire_blob_unref(sim_task_at(sim, i)->blob);
        free(sim->tasks.items[i]);
    }
    free(sim->clients.items);
    free(sim->workers.items);
    free(sim->supervisors.items);
    free(sim->tasks.items);
    free(sim->addresses.items);
    base_heap_fini(&sim->events);
    free(sim);
}

struct sim_options *sim_options(struct sim *sim) {
    return &sim->options;
}

struct base_rng *sim_rng(struct sim *sim) {
    return &sim->rng;
}

uint64_t sim_now(const struct sim *sim) {
    return sim->now_ns;
}

const struct sim_counts *sim_counts(const struct sim *sim) {
    return &sim->counts;
}

uint64_t sim_pick(struct sim *sim, uint64_t min, uint64_t max) {
    return max <= min ? min : min + base_rng_below(&sim->rng, max - min + 1);
}

struct wire_session sim_new_session(struct sim *sim) {
    return (struct wire_session){base_rng_next(&sim->rng), ++sim->sessions};
}

/* ---------------------------------------------------------------------- words */

void sim_say(struct sim *sim, const char *format, ...) {
    va_list arguments;

    if (sim->options.trace == NULL) {
        return;
    }
    fprintf(sim->options.trace, "%12.6f  ", (double)sim->now_ns / 1e9);
    va_start(arguments, format);
    vfprintf(sim->options.trace, format, arguments);
    va_end(arguments);
    fputc('\n', sim->options.trace);
}

void sim_fail(struct sim *sim, const char *format, ...) {
    va_list arguments;
    size_t at;

    if (sim->failed) {
        return;
    }
    sim->failed = true;
    at = (size_t)snprintf(sim->failure, sizeof sim->failure,
                          "at %.6f s: ", (double)sim->now_ns / 1e9);
    va_start(arguments, format);
    vsnprintf(sim->failure + at, sizeof sim->failure - at, format, arguments);
    va_end(arguments);
    sim_say(sim, "FAILED %s", sim->failure);
}

const char *sim_failure(const struct sim *sim) {
    return sim->failed ? sim->failure : NULL;
}

/* ----------------------------------------------------------------------- time */

/* One event; false: none before `until_ns`, which is then the time. */
static bool step(struct sim *sim, uint64_t until_ns) {
    struct base_heap_node *node = base_heap_peek(&sim->events);
    struct sim_event *event;

    if (sim->failed) {
        return false;
    }
    if (node == NULL || node->key > until_ns) {
        sim->now_ns = until_ns;
        return false;
    }
    event = BASE_CONTAINER_OF(node, struct sim_event, node);
    sim->now_ns = node->key;
    base_heap_remove(&sim->events, node);
    event->fire(sim, event);
    return true;
}

void sim_run_for(struct sim *sim, uint64_t ns) {
    uint64_t until_ns = sim->now_ns + ns;

    while (step(sim, until_ns)) {
    }
}

bool sim_run_until(struct sim *sim, bool (*done)(struct sim *sim, void *context), void *context,
                   uint64_t ns) {
    uint64_t until_ns = sim->now_ns + ns;

    while (!done(sim, context)) {
        if (!step(sim, until_ns)) {
            return done(sim, context);
        }
    }
    return true;
}

/* -------------------------------------------------------------------- the end */

/* Tasks end in order more often than not, so the first that is pending is remembered. */
static bool tasks_done(struct sim *sim, void *context) {
    uint32_t *first = context;

    while (*first < sim->tasks.count) {
        struct sim_task *task = sim->tasks.items[*first];

        if (task->state == SIM_PENDING) {
            return false;
        }
        ++*first;
    }
    return true;
}

bool sim_run_tasks(struct sim *sim, uint64_t ns) {
    uint32_t first = 0;

    return sim_run_until(sim, tasks_done, &first, ns) && !sim->failed;
}

/* Some memory stays with a client as long as its session. */
static bool everything_empty(struct sim *sim, void *context) {
    struct broker_stats stats = sim_broker_stats(sim);

    (void)context;
    if (stats.tasks_queued != 0 || stats.tasks_leased != 0 ||
        stats.memory_bytes > stats.clients * CLIENT_BYTES) {
        return false;
    }
    for (uint32_t i = 0; i < sim->workers.count; i++) {
        if (sim_worker_alive(sim, i) && sim_worker_stats(sim, i).held != 0) {
            return false;
        }
    }
    return true;
}

bool sim_finish(struct sim *sim, uint64_t ns) {
    uint64_t until_ns = sim->now_ns + ns;

    sim_network_calm(sim);
    if (!sim_broker_alive(sim)) {
        sim_start_broker(sim);
    }
    sim_resume_broker(sim);
    if (!sim_run_tasks(sim, ns)) {
        for (uint32_t i = 0; i < sim->tasks.count; i++) {
            struct sim_task *task = sim->tasks.items[i];

            if (task->state == SIM_PENDING) {
                sim_fail(sim, "#%u of client %u has not ended: %u starts, %u running", i,
                         task->client, task->starts, task->running);
            }
        }
        return false;
    }
    if (!sim_run_until(sim, everything_empty, NULL,
                       until_ns > sim->now_ns ? until_ns - sim->now_ns : 0)) {
        struct broker_stats stats = sim_broker_stats(sim);

        sim_fail(sim, "not empty at the end: %u queued, %u leased, %llu bytes", stats.tasks_queued,
                 stats.tasks_leased, (unsigned long long)stats.memory_bytes);
        return false;
    }
    sim_model_finished(sim);
    return !sim->failed;
}
