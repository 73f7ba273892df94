#include "cli/fleet.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/output.h"

bool cli_fleet_read(struct cli_connection *connection, struct cli_fleet *fleet) {
    *fleet = (struct cli_fleet){.broker = {0}};
    if (cli_list_read(connection, WIRE_LIST_BROKER, &fleet->broker) && fleet->broker.count == 1 &&
        cli_list_read(connection, WIRE_LIST_WORKERS, &fleet->workers) &&
        cli_list_read(connection, WIRE_LIST_FUNCTIONS, &fleet->functions) &&
        cli_list_read(connection, WIRE_LIST_CLIENTS, &fleet->clients) &&
        cli_list_read(connection, WIRE_LIST_SUPERVISORS, &fleet->supervisors)) {
        return true;
    }
    cli_fleet_free(fleet);
    return false;
}

void cli_fleet_free(struct cli_fleet *fleet) {
    cli_list_free(&fleet->broker);
    cli_list_free(&fleet->workers);
    cli_list_free(&fleet->clients);
    cli_list_free(&fleet->functions);
    cli_list_free(&fleet->supervisors);
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static void print_broker(const struct wire_broker_row *row, uint64_t slots, FILE *out) {
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES], c[CLI_TEXT_BYTES];

    fprintf(out, "broker   furrow %s, pid %" PRIu64 " on %s, up %s, epoch %016" PRIx64 "%s\n",
            cli_escaped(a, row->version), row->pid, cli_escaped(b, row->host),
            cli_duration(c, row->uptime_ms), row->epoch, row->draining != 0 ? ", draining" : "");
    fprintf(out,
            "fleet    %" PRIu64 " workers with %" PRIu64 " slots, %" PRIu64 " supervisors, %" PRIu64
            " clients\n",
            row->workers, slots, row->supervisors, row->clients);
    fprintf(out,
            "tasks    %" PRIu64 " queued, %" PRIu64 " leased; %" PRIu64 " submitted, %" PRIu64
            " finished, %" PRIu64 " failed, %" PRIu64 " cancelled, %" PRIu64 " reruns\n",
            row->queued, row->leased, row->submitted, row->finished, row->failed, row->cancelled,
            row->reruns);
    fprintf(out, "rates    %s submitted/s, %s finished/s, %s failed/s\n",
            cli_rate(a, row->submit_rate), cli_rate(b, row->finish_rate),
            cli_rate(c, row->fail_rate));
    fprintf(out, "memory   %s of %s, room for %" PRIu64 " tasks; %" PRIu64 " messages refused\n",
            cli_size(a, row->memory_bytes), cli_size(b, row->memory_max), row->tasks_max,
            row->rejected);
}

static void print_workers(const struct cli_list *list, FILE *out) {
    static const char *const heads[] = {"WORKER",   "HOST",    ">PID",  ">SLOTS",
                                        ">RUNNING", ">LEASES", ">DONE", ">MEAN",
                                        ">HEARD",   "STATE",   "TAGS",  "SESSION"};
    char text[CLI_TEXT_BYTES];
    struct cli_table table;

    cli_table_begin(&table, heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < list->count; i++) {
        const struct wire_worker_row *row = &list->rows[i].worker;

        cli_table_text(&table, row->name);
        cli_table_text(&table, row->host);
        cli_table_put(&table, "%" PRIu64, row->pid);
        cli_table_put(&table, "%" PRIu64, row->slots);
        cli_table_put(&table, "%" PRIu64, least(row->leases, row->slots));
        cli_table_put(&table, "%" PRIu64, row->leases);
        cli_table_put(&table, "%" PRIu64, row->finished);
        cli_table_put(&table, "%s", row->mean_ns == 0 ? "-" : cli_duration_ns(text, row->mean_ns));
        cli_table_put(&table, "%s", cli_duration(text, row->heard_ms));
        cli_table_put(&table, "%s", cli_state(text, row->state));
        cli_table_tags(&table, &row->tags);
        cli_table_put(&table, "%s", cli_session(text, &row->session));
    }
    cli_table_end(&table, out);
}

static void print_functions(const struct cli_list *list, FILE *out) {
    static const char *const heads[] = {"FUNCTION", "TAGS",      ">QUEUED",      ">LEASED",
                                        ">OLDEST",  ">WORKERS",  ">SLOTS",       ">SUBMITTED/s",
                                        ">DONE/s",  ">FAILED/s", "FIRST WAITING"};
    char text[CLI_TEXT_BYTES];
    struct cli_table table;

    cli_table_begin(&table, heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < list->count; i++) {
        const struct wire_function_row *row = &list->rows[i].function;
        bool waits = row->queued + row->alone > 0;

        cli_table_text(&table, row->function);
        cli_table_tags(&table, &row->tags);
        cli_table_put(&table, "%" PRIu64, row->queued + row->alone);
        cli_table_put(&table, "%" PRIu64, row->leased);
        cli_table_put(&table, "%s", waits ? cli_duration(text, row->oldest_ms) : "-");
        cli_table_put(&table, "%" PRIu64, row->workers);
        cli_table_put(&table, "%" PRIu64, row->slots);
        cli_table_put(&table, "%s", cli_rate(text, row->submit_rate));
        cli_table_put(&table, "%s", cli_rate(text, row->finish_rate));
        cli_table_put(&table, "%s", cli_rate(text, row->fail_rate));
        if (waits) {
            cli_table_put(&table, "%s:%" PRIx64, cli_session(text, &row->session), row->id);
        } else {
            cli_table_put(&table, "-");
        }
    }
    cli_table_end(&table, out);
}

static void print_clients(const struct cli_list *list, FILE *out) {
    static const char *const heads[] = {"CLIENT", "HOST",    ">PID",   ">TASKS", ">QUEUED",
                                        ">BYTES", ">CREDIT", ">HEARD", "STATE",  "SESSION"};
    char text[CLI_TEXT_BYTES];
    struct cli_table table;

    cli_table_begin(&table, heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < list->count; i++) {
        const struct wire_client_row *row = &list->rows[i].client;

        cli_table_text(&table, row->name);
        cli_table_text(&table, row->host);
        cli_table_put(&table, "%" PRIu64, row->pid);
        cli_table_put(&table, "%" PRIu64, row->tasks);
        cli_table_put(&table, "%" PRIu64, row->queued);
        cli_table_put(&table, "%s", cli_size(text, row->bytes));
        cli_table_put(&table, "%" PRIu64, row->credit_tasks);
        cli_table_put(&table, "%s", cli_duration(text, row->heard_ms));
        cli_table_put(&table, "%s", cli_state(text, row->state));
        cli_table_put(&table, "%s", cli_session(text, &row->session));
    }
    cli_table_end(&table, out);
}

static void print_supervisors(const struct cli_list *list, FILE *out) {
    static const char *const heads[] = {"SUPERVISOR", "HOST", ">PID", ">HEARD", "STATE", "SESSION"};
    char text[CLI_TEXT_BYTES];
    struct cli_table table;

    cli_table_begin(&table, heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < list->count; i++) {
        const struct wire_supervisor_row *row = &list->rows[i].supervisor;

        cli_table_text(&table, row->name);
        cli_table_text(&table, row->host);
        cli_table_put(&table, "%" PRIu64, row->pid);
        cli_table_put(&table, "%s", cli_duration(text, row->heard_ms));
        cli_table_put(&table, "%s", cli_state(text, row->state));
        cli_table_put(&table, "%s", cli_session(text, &row->session));
    }
    cli_table_end(&table, out);
}

void cli_fleet_print(const struct cli_fleet *fleet, FILE *out) {
    uint64_t slots = 0;

    for (size_t i = 0; i < fleet->workers.count; i++) {
        slots += fleet->workers.rows[i].worker.slots;
    }
    print_broker(&fleet->broker.rows[0].broker, slots, out);
    if (fleet->functions.count > 0) {
        fputc('\n', out);
        print_functions(&fleet->functions, out);
    }
    if (fleet->workers.count > 0) {
        fputc('\n', out);
        print_workers(&fleet->workers, out);
    }
    if (fleet->supervisors.count > 0) {
        fputc('\n', out);
        print_supervisors(&fleet->supervisors, out);
    }
    if (fleet->clients.count > 0) {
        fputc('\n', out);
        print_clients(&fleet->clients, out);
    }
}
