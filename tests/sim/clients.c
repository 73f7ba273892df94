/* The clients' processes, and their tasks. */
#include "tests/sim/sim_private.h"

#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------- steps */

/* What a task has come to, and with it all of its chain. */
static void resolve(struct sim *sim, const struct client_action *action) {
    struct client_task *task = action->task;

    while (task != NULL) {
        struct client_task *next = action->chain ? task->next : NULL;

        sim_model_resolved(sim, BASE_CONTAINER_OF(task, struct sim_task, task), action->kind,
                           action->data, action->size);
        task = next;
    }
}

static void carry_out(struct sim *sim, struct sim_client *client) {
    size_t count;
    const struct client_action *actions = client_actions(client->core, &count);

    for (size_t i = 0; i < count; i++) {
        const struct client_action *action = &actions[i];

        switch (action->type) {
        case CLIENT_SEND:
            sim_endpoint_send(sim, &client->end, action->message);
            wire_message_unref(action->message);
            break;
        case CLIENT_RESOLVE:
            resolve(sim, action);
            break;
        case CLIENT_BEGAN:
            BASE_CONTAINER_OF(action->task, struct sim_task, task)->began = true;
            sim->counts.began++;
            break;
        case CLIENT_VERDICT:
            sim_model_verdict(sim, BASE_CONTAINER_OF(action->task, struct sim_task, task),
                              action->yes);
            break;
        case CLIENT_RECONNECT:
            sim_say(sim, "%s wants a new connection", client->end.name);
            sim_endpoint_reconnect(sim, &client->end);
            break;
        case CLIENT_REFUSED:
            sim_fail(sim, "%s is refused: %s", client->end.name, action->text);
            break;
        case CLIENT_CONNECTED:
            break;
        case CLIENT_LEFT:
            sim_say(sim, "%s has left", client->end.name);
            client->left = true;
            break;
        case CLIENT_LOG:
            sim_say(sim, "%s%s: %s", client->end.name, action->warn ? " warns" : "", action->text);
            break;
        }
    }
}

static void end_client(struct sim *sim, struct sim_client *client) {
    client_core_free(client->core);
    client->core = NULL;
    sim_endpoint_close(sim, &client->end, true);
}

static void step(struct sim *sim, struct sim_client *client, const struct client_event *event) {
    client_step(client->core, sim_local(sim->now_ns, &client->end), event);
    carry_out(sim, client);
    if (client->left) {
        end_client(sim, client);
        return;
    }
    sim_endpoint_deadline(sim, &client->end, client_deadline(client->core));
}

static void step_and_flush(struct sim *sim, struct sim_client *client,
                           const struct client_event *event) {
    step(sim, client, event);
    if (client->core != NULL) {
        sim_endpoint_soon(sim, &client->end);
    }
}

static void tick(struct sim *sim, struct sim_event *event) {
    struct sim_client *client = BASE_CONTAINER_OF(event, struct sim_client, end.tick);

    if (client->core != NULL && !client->end.paused) {
        sim_endpoint_ticked(sim, &client->end);
        step_and_flush(sim, client, &(struct client_event){.type = CLIENT_TICK});
    }
}

static void flush(struct sim *sim, struct sim_event *event) {
    struct sim_client *client = BASE_CONTAINER_OF(event, struct sim_client, end.flush);

    if (client->core != NULL && !client->end.paused) {
        step(sim, client, &(struct client_event){.type = CLIENT_FLUSH});
    }
}

void sim_client_receive(struct sim *sim, struct sim_client *client, struct wire_message *message) {
    step_and_flush(sim, client, &(struct client_event){.type = CLIENT_RECEIVE, .message = message});
}

void sim_client_reconnected(struct sim *sim, struct sim_client *client) {
    step_and_flush(sim, client, &(struct client_event){.type = CLIENT_RECONNECTED});
}

/* -------------------------------------------------------------------- lifetime */

uint32_t sim_add_client(struct sim *sim) {
    struct sim_client *client = sim_alloc(sizeof *client);
    struct client_config config = {0};

    sim_endpoint_init(sim, &client->end, SIM_CLIENT, sim->clients.count);
    sim_array_add(&sim->clients, client);
    sim_event_init(&client->end.tick, tick);
    sim_event_init(&client->end.flush, flush);
    base_idmap_init(&client->ids, sim->options.seed);
    client->end.session = sim_new_session(sim);
    config.session = client->end.session;
    config.seed = base_rng_next(&sim->rng);
    config.name = client->end.name;
    config.host = "client-host";
    config.pid = (int64_t)client->end.session.low;
    config.await_transport = sim->options.announce >= 1;
    config.has_room = sim_endpoint_has_room;
    config.room_user = &client->end;
    client->core = client_core_new(&config, sim_local(sim->now_ns, &client->end));
    BASE_ASSERT(client->core != NULL);
    sim_event_at(sim, &client->end.tick, sim->now_ns);
    return client->end.index;
}

static void abandon_tasks(struct sim *sim, uint32_t client) {
    for (uint32_t i = 0; i < sim->tasks.count; i++) {
        struct sim_task *task = sim->tasks.items[i];

        if (task->client == client && task->state == SIM_PENDING) {
            task->state = SIM_ABANDONED;
            task->resolved_ns = sim->now_ns;
        }
    }
}

static void give_up(struct sim *sim, struct sim_client *client) {
    struct client_event event = {.type = CLIENT_BREAK, .kind = WIRE_KIND_BROKEN};

    client_step(client->core, sim_local(sim->now_ns, &client->end), &event);
    client_core_free(client->core);
    client->core = NULL;
}

void sim_kill_client(struct sim *sim, uint32_t index) {
    struct sim_client *client = sim_client_at(sim, index);

    if (client->core == NULL) {
        return;
    }
    sim_say(sim, "%s dies", client->end.name);
    sim->counts.client_deaths++;
    abandon_tasks(sim, index);
    give_up(sim, client);
    sim_endpoint_close(sim, &client->end, true);
}

void sim_leave_client(struct sim *sim, uint32_t index) {
    struct sim_client *client = sim_client_at(sim, index);

    if (client->core != NULL && !client->leaving) {
        sim_say(sim, "%s leaves", client->end.name);
        client->leaving = true;
        sim->counts.client_leaves++;
        step_and_flush(sim, client, &(struct client_event){.type = CLIENT_LEAVE});
    }
}

void sim_client_free(struct sim_client *client) {
    if (client->core != NULL) {
        give_up(client->end.sim, client);
    }
    base_idmap_fini(&client->ids);
}

bool sim_client_alive(const struct sim *sim, uint32_t client) {
    return sim_client_at(sim, client)->core != NULL;
}

bool sim_client_usable(const struct sim *sim, uint32_t index) {
    const struct sim_client *client = sim_client_at(sim, index);

    return client->core != NULL && !client->leaving && !client->end.paused;
}

uint32_t sim_client_count(const struct sim *sim) {
    return sim->clients.count;
}

struct client_stats sim_client_stats(const struct sim *sim, uint32_t client) {
    struct client_stats stats = {0};

    if (sim_client_alive(sim, client)) {
        client_get_stats(sim_client_at(sim, client)->core, &stats);
    }
    return stats;
}

/* ----------------------------------------------------------------------- tasks */

static struct wire_text text_of(const char *string) {
    return (struct wire_text){string, strlen(string)};
}

static uint32_t intern(struct sim_client *client, const struct sim_job *job) {
    struct wire_define define = {
        .function = text_of(job->function),
        .priority = job->priority,
        .flags = job->at_most_once ? WIRE_FLAG_AT_MOST_ONCE : 0,
        .max_attempts = job->max_attempts,
        .queue_ms = job->queue_ms,
        .run_ms = job->run_ms,
        .retries = job->retries,
        .retry_ms = job->retry_ms,
    };
    int64_t class_index;

    if (job->tag != NULL) {
        define.tags[0] = text_of(job->tag);
        define.tag_count = 1;
    }
    class_index = client_class_intern(client->core, &define);
    BASE_ASSERT(class_index >= 0);
    return (uint32_t)class_index;
}

static void make_arguments(struct sim_task *task) {
    struct sim_arguments arguments = {task->number};
    uint32_t size = task->job.argument_bytes;
    struct wire_blob *blob;

    size = size < sizeof arguments ? (uint32_t)sizeof arguments : size;
    blob = wire_blob_new(size);
    BASE_ASSERT(blob != NULL);
    memset(blob->data, 0xc0, size);
    memcpy(blob->data, &arguments, sizeof arguments);
    task->blob = blob;
    task->task.data = blob->data;
    task->task.size = size;
    task->task.large = size >= WIRE_LARGE_BYTES_MIN ? blob : NULL;
}

static void count_job(struct sim *sim, const struct sim_job *job) {
    struct sim_counts *counts = &sim->counts;

    counts->submitted++;
    counts->prioritised += job->priority != 0 ? 1 : 0;
    counts->tagged += job->tag != NULL ? 1 : 0;
    counts->queue_limited += job->queue_ms != 0 ? 1 : 0;
    counts->run_limited += job->run_ms != 0 ? 1 : 0;
    counts->retriable += job->retries > 0 ? 1 : 0;
    counts->once += job->at_most_once ? 1 : 0;
    counts->poison += job->crash_runs >= job->max_attempts ? 1 : 0;
}

void sim_count_burst(struct sim *sim) {
    sim->counts.bursts++;
}

struct sim_task *sim_submit_job(struct sim *sim, uint32_t index, const struct sim_job *job) {
    struct sim_client *client = sim_client_at(sim, index);
    struct sim_task *task = sim_alloc(sizeof *task);

    BASE_ASSERT(client->core != NULL && !client->leaving);
    task->job = *job;
    if (task->job.function == NULL) {
        task->job.function = "work";
    }
    if (task->job.max_attempts == 0) {
        task->job.max_attempts = 3;
    }
    task->number = sim->tasks.count;
    task->client = index;
    task->submitted_ns = sim->now_ns;
    sim_array_add(&sim->tasks, task);
    make_arguments(task);
    task->task.class_index = intern(client, &task->job);
    count_job(sim, &task->job);
    if (task->task.large != NULL) {
        sim->counts.large++;
    }
    sim_say(sim, "%s submits #%llu", client->end.name, (unsigned long long)task->number);
    step_and_flush(sim, client, &(struct client_event){.type = CLIENT_SUBMIT, .task = &task->task});
    return task;
}

void sim_cancel(struct sim *sim, struct sim_task *task) {
    struct sim_client *client = sim_client_at(sim, task->client);

    if (task->state != SIM_PENDING || client->core == NULL || task->cancels_left > 0) {
        return;
    }
    sim_say(sim, "%s cancels #%llu", client->end.name, (unsigned long long)task->number);
    sim->counts.cancels++;
    task->cancels++;
    task->cancels_left++;
    step_and_flush(sim, client, &(struct client_event){.type = CLIENT_CANCEL, .task = &task->task});
}

uint64_t sim_task_count(const struct sim *sim) {
    return sim->tasks.count;
}

struct sim_task *sim_task_at(const struct sim *sim, uint64_t number) {
    BASE_ASSERT(number < sim->tasks.count);
    return sim->tasks.items[number];
}

struct sim_task *sim_task_by_id(struct sim *sim, const struct sim_endpoint *end, uint64_t id) {
    (void)sim;
    if (end->role != SIM_CLIENT) {
        return NULL;
    }
    return base_idmap_find(&BASE_CONTAINER_OF(end, const struct sim_client, end)->ids, id);
}

struct sim_task *sim_task_by_arguments(struct sim *sim, const uint8_t *data, size_t size) {
    struct sim_arguments arguments;

    if (size < sizeof arguments) {
        return NULL;
    }
    memcpy(&arguments, data, sizeof arguments);
    return arguments.number < sim->tasks.count ? sim->tasks.items[arguments.number] : NULL;
}
