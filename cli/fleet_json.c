#include "cli/fleet.h"

#include <inttypes.h>
#include <stdio.h>

#ifdef FURROW_JANSSON

#include <jansson.h>

#include "cli/output.h"

/* Without memory a value is NULL, which whatever it is put into refuses; so a lack of it shows at the
 * end, as the whole is then not complete: `failed` notes it. */
struct maker {
    bool failed;
};

static void set(struct maker *maker, json_t *object, const char *key, json_t *value) {
    maker->failed = json_object_set_new(object, key, value) != 0 || maker->failed;
}

/* JSON's numbers are 64 bits with a sign here; what is beyond stays at the top. */
static void set_number(struct maker *maker, json_t *object, const char *key, uint64_t number) {
    set(maker, object, key, json_integer(number > INT64_MAX ? INT64_MAX : (json_int_t)number));
}

static void set_real(struct maker *maker, json_t *object, const char *key, double number) {
    set(maker, object, key, json_real(number));
}

static json_t *text_of(struct wire_text text) {
    char clean[3 * WIRE_NAME_BYTES_MAX + 1];

    return json_stringn(clean, cli_clean(clean, text));
}

static void set_text(struct maker *maker, json_t *object, const char *key, struct wire_text text) {
    set(maker, object, key, text_of(text));
}

static void set_tags(struct maker *maker, json_t *object, const struct wire_tags *tags) {
    json_t *array = json_array();

    for (uint32_t i = 0; i < tags->count; i++) {
        maker->failed = json_array_append_new(array, text_of(tags->names[i])) != 0 || maker->failed;
    }
    set(maker, object, "tags", array);
}

static void set_state(struct maker *maker, json_t *object, uint64_t state) {
    json_t *array = json_array();

    for (unsigned i = 0; cli_state_names[i] != NULL; i++) {
        if ((state >> i & 1) != 0) {
            maker->failed =
                json_array_append_new(array, json_string(cli_state_names[i])) != 0 || maker->failed;
        }
    }
    set(maker, object, "state", array);
}

static void set_session(struct maker *maker, json_t *object, const struct wire_session *session) {
    char text[CLI_TEXT_BYTES];

    set(maker, object, "session", json_string(cli_session(text, session)));
}

/* What all peers have. */
static json_t *peer(struct maker *maker, struct wire_text name, struct wire_text host, uint64_t pid,
                    const struct wire_session *session, uint64_t state, uint64_t heard_ms) {
    json_t *object = json_object();

    set_text(maker, object, "name", name);
    set_text(maker, object, "host", host);
    set_number(maker, object, "pid", pid);
    set_session(maker, object, session);
    set_state(maker, object, state);
    set_real(maker, object, "heard_seconds", (double)heard_ms / 1e3);
    return object;
}

static void set_rates(struct maker *maker, json_t *object, uint64_t submitted, uint64_t finished,
                      uint64_t failed) {
    json_t *rates = json_object();

    set_real(maker, rates, "submitted", (double)submitted / 1e3);
    set_real(maker, rates, "finished", (double)finished / 1e3);
    set_real(maker, rates, "failed", (double)failed / 1e3);
    set(maker, object, "per_second", rates);
}

static json_t *broker(struct maker *maker, const struct wire_broker_row *row) {
    json_t *object = json_object();
    char epoch[24];

    snprintf(epoch, sizeof epoch, "%016" PRIx64, row->epoch);
    set_text(maker, object, "version", row->version);
    set_text(maker, object, "host", row->host);
    set_number(maker, object, "pid", row->pid);
    set(maker, object, "epoch", json_string(epoch));
    set_real(maker, object, "uptime_seconds", (double)row->uptime_ms / 1e3);
    set(maker, object, "draining", json_boolean(row->draining != 0));
    set_number(maker, object, "clients", row->clients);
    set_number(maker, object, "workers", row->workers);
    set_number(maker, object, "supervisors", row->supervisors);
    set_number(maker, object, "admins", row->admins);
    set_number(maker, object, "queued", row->queued);
    set_number(maker, object, "leased", row->leased);
    set_number(maker, object, "memory_bytes", row->memory_bytes);
    set_number(maker, object, "memory_max_bytes", row->memory_max);
    set_number(maker, object, "tasks_max", row->tasks_max);
    set_number(maker, object, "submitted", row->submitted);
    set_number(maker, object, "finished", row->finished);
    set_number(maker, object, "failed", row->failed);
    set_number(maker, object, "cancelled", row->cancelled);
    set_number(maker, object, "reruns", row->reruns);
    set_number(maker, object, "stale_results", row->stale);
    set_number(maker, object, "recalled", row->recalled);
    set_number(maker, object, "rejected_messages", row->rejected);
    set_rates(maker, object, row->submit_rate, row->finish_rate, row->fail_rate);
    return object;
}

static json_t *worker(struct maker *maker, const union wire_row *any) {
    const struct wire_worker_row *row = &any->worker;
    json_t *object =
        peer(maker, row->name, row->host, row->pid, &row->session, row->state, row->heard_ms);

    set_number(maker, object, "slots", row->slots);
    set_number(maker, object, "running", row->leases < row->slots ? row->leases : row->slots);
    set_number(maker, object, "leases", row->leases);
    set_number(maker, object, "leases_max", row->limit);
    set_number(maker, object, "finished", row->finished);
    set_real(maker, object, "mean_seconds", (double)row->mean_ns / 1e9);
    set_number(maker, object, "functions", row->functions);
    set_tags(maker, object, &row->tags);
    return object;
}

static json_t *client(struct maker *maker, const union wire_row *any) {
    const struct wire_client_row *row = &any->client;
    json_t *object =
        peer(maker, row->name, row->host, row->pid, &row->session, row->state, row->heard_ms);

    set_number(maker, object, "tasks", row->tasks);
    set_number(maker, object, "queued", row->queued);
    set_number(maker, object, "running",
               row->tasks - (row->queued < row->tasks ? row->queued : row->tasks));
    set_number(maker, object, "bytes", row->bytes);
    set_number(maker, object, "credit_tasks", row->credit_tasks);
    set_number(maker, object, "credit_bytes", row->credit_bytes);
    return object;
}

static json_t *function(struct maker *maker, const union wire_row *any) {
    const struct wire_function_row *row = &any->function;
    json_t *object = json_object();
    char session[CLI_TEXT_BYTES], task[64];

    set_text(maker, object, "function", row->function);
    set_tags(maker, object, &row->tags);
    set_number(maker, object, "queued", row->queued);
    set_number(maker, object, "waiting_alone", row->alone);
    set_number(maker, object, "leased", row->leased);
    set_real(maker, object, "oldest_waiting_seconds", (double)row->oldest_ms / 1e3);
    set_number(maker, object, "workers", row->workers);
    set_number(maker, object, "slots", row->slots);
    set_number(maker, object, "submitted", row->submitted);
    set_number(maker, object, "finished", row->finished);
    set_number(maker, object, "failed", row->failed);
    set_rates(maker, object, row->submit_rate, row->finish_rate, row->fail_rate);
    if (row->queued + row->alone > 0) {
        snprintf(task, sizeof task, "%.32s:%" PRIx64, cli_session(session, &row->session), row->id);
        set(maker, object, "first_waiting", json_string(task));
    } else {
        set(maker, object, "first_waiting", json_null());
    }
    return object;
}

static json_t *supervisor(struct maker *maker, const union wire_row *any) {
    const struct wire_supervisor_row *row = &any->supervisor;

    return peer(maker, row->name, row->host, row->pid, &row->session, row->state, row->heard_ms);
}

static void set_list(struct maker *maker, json_t *object, const char *key,
                     const struct cli_list *list,
                     json_t *(*make)(struct maker *maker, const union wire_row *row)) {
    json_t *array = json_array();

    for (size_t i = 0; i < list->count; i++) {
        maker->failed =
            json_array_append_new(array, make(maker, &list->rows[i])) != 0 || maker->failed;
    }
    set(maker, object, key, array);
}

bool cli_fleet_json(const struct cli_fleet *fleet, FILE *out, bool line) {
    struct maker maker = {false};
    json_t *root = json_object();

    set(&maker, root, "broker", broker(&maker, &fleet->broker.rows[0].broker));
    set_list(&maker, root, "functions", &fleet->functions, function);
    set_list(&maker, root, "workers", &fleet->workers, worker);
    set_list(&maker, root, "supervisors", &fleet->supervisors, supervisor);
    set_list(&maker, root, "clients", &fleet->clients, client);
    if (!maker.failed) {
        maker.failed = json_dumpf(root, out, line ? JSON_COMPACT : JSON_INDENT(2)) != 0;
        fputc('\n', out);
    }
    json_decref(root);
    if (maker.failed) {
        fprintf(stderr, "furrow status: no memory, or the output can't be written\n");
    }
    return !maker.failed;
}

#else

bool cli_fleet_json(const struct cli_fleet *fleet, FILE *out, bool line) {
    (void)fleet;
    (void)out;
    (void)line;
    fprintf(stderr,
            "furrow status: this program was built without jansson, and so without --json\n");
    return false;
}

#endif
