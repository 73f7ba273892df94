/* furrow drain: takes a worker, or a supervisor with all of its workers, out of service. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/options.h"
#include "cli/connection.h"
#include "cli/output.h"

#define LOOK_NS UINT64_C(250000000)

enum { OPTION_ALL = CLI_OPTION_OWN, OPTION_WAIT };

static const struct option table[] = {
    CLI_OPTIONS_COMMON,
    {"all", no_argument, NULL, OPTION_ALL},
    {"wait", optional_argument, NULL, OPTION_WAIT},
    {NULL, 0, NULL, 0},
};

/* One that is to leave. Its texts are in the lists. */
struct target {
    bool supervisor;
    struct wire_session session;
    struct wire_text name, host;
    uint64_t pid;
};

struct drain {
    struct cli_connection *connection;
    bool all, wait;
    uint64_t wait_ns;
    const char *name;
    struct cli_list workers, supervisors;
    struct target *targets;
    size_t count;
};

static bool set_option(void *user, int option, const char *value) {
    struct drain *drain = user;

    if (option == OPTION_ALL) {
        drain->all = true;
        return true;
    }
    drain->wait = true;
    return value == NULL || base_option_seconds(value, 0, &drain->wait_ns);
}

/* ------------------------------------------------------------------- finding */

static bool is_named(const char *name, struct wire_text text, const struct wire_session *session) {
    char hex[CLI_TEXT_BYTES];

    return (text.size == strlen(name) && memcmp(text.data, name, text.size) == 0) ||
           strcmp(name, cli_session(hex, session)) == 0;
}

static bool find_targets(struct drain *drain) {
    drain->targets =
        calloc(drain->workers.count + drain->supervisors.count + 1, sizeof *drain->targets);
    if (drain->targets == NULL) {
        fprintf(stderr, "furrow drain: out of memory\n");
        return false;
    }
    for (size_t i = 0; i < drain->supervisors.count; i++) {
        const struct wire_supervisor_row *row = &drain->supervisors.rows[i].supervisor;

        if (is_named(drain->name, row->name, &row->session)) {
            drain->targets[drain->count++] =
                (struct target){true, row->session, row->name, row->host, row->pid};
        }
    }
    for (size_t i = 0; i < drain->workers.count; i++) {
        const struct wire_worker_row *row = &drain->workers.rows[i].worker;

        if (is_named(drain->name, row->name, &row->session)) {
            drain->targets[drain->count++] =
                (struct target){false, row->session, row->name, row->host, row->pid};
        }
    }
    return true;
}

static void print_target(FILE *out, const struct target *target, const char *what) {
    char name[CLI_TEXT_BYTES], host[CLI_TEXT_BYTES], session[CLI_TEXT_BYTES];

    fprintf(out, "%s %s, pid %" PRIu64 " on %s, session %s%s\n",
            target->supervisor ? "supervisor" : "worker", cli_escaped(name, target->name),
            target->pid, cli_escaped(host, target->host), cli_session(session, &target->session),
            what);
}

/* ------------------------------------------------------------------- telling */

static bool retire(struct drain *drain, const struct target *target) {
    const struct wire_retire order = {cli_number(drain->connection), target->session};
    struct wire_message *message =
        cli_ask(drain->connection, wire_retire_encode(&order), WIRE_RETIRED);
    struct wire_retired retired = {.role = 0};
    struct wire_fault fault = {.text = ""};
    bool good = message != NULL && wire_retired_decode(message, &retired, &fault);

    wire_message_unref(message);
    if (!good) {
        return false;
    }
    if (retired.role == 0) {
        print_target(stdout, target, " has left by itself");
    } else {
        print_target(stdout, target,
                     target->supervisor
                         ? ": told to finish what its workers run, and to start no others"
                         : ": told to finish what it runs, and to leave");
    }
    return true;
}

/* ------------------------------------------------------------------- waiting */

/* A supervisor's workers are called as it is, with a number behind. */
static bool is_workers_of(const struct wire_worker_row *row, const struct target *supervisor) {
    size_t size = supervisor->name.size;

    return row->name.size > size + 1 && memcmp(row->name.data, supervisor->name.data, size) == 0 &&
           row->name.data[size] == '-' && row->host.size == supervisor->host.size &&
           memcmp(row->host.data, supervisor->host.data, row->host.size) == 0;
}

static size_t count_left(const struct drain *drain, const struct cli_list *workers) {
    size_t left = 0;

    for (size_t i = 0; i < workers->count; i++) {
        const struct wire_worker_row *row = &workers->rows[i].worker;
        bool one = false;

        for (size_t t = 0; t < drain->count && !one; t++) {
            const struct target *target = &drain->targets[t];

            one = target->supervisor ? is_workers_of(row, target)
                                     : row->session.high == target->session.high &&
                                           row->session.low == target->session.low;
        }
        left += one;
    }
    return left;
}

static enum cli_exit wait_for_all(struct drain *drain) {
    uint64_t begun_ns = base_clock_ns();
    size_t left;

    for (;;) {
        struct cli_list workers;

        if (!cli_list_read(drain->connection, WIRE_LIST_WORKERS, &workers)) {
            return CLI_FAILED;
        }
        left = count_left(drain, &workers);
        cli_list_free(&workers);
        if (left == 0) {
            printf("all of it has left\n");
            return CLI_OK;
        }
        if (drain->wait_ns > 0 && base_clock_ns() - begun_ns >= drain->wait_ns) {
            fprintf(stderr, "furrow drain: %zu workers have not finished yet\n", left);
            return CLI_FAILED;
        }
        cli_wait(drain->connection, LOOK_NS);
    }
}

static enum cli_exit run(struct drain *drain) {
    if (!cli_list_read(drain->connection, WIRE_LIST_SUPERVISORS, &drain->supervisors) ||
        !cli_list_read(drain->connection, WIRE_LIST_WORKERS, &drain->workers) ||
        !find_targets(drain)) {
        return CLI_FAILED;
    }
    if (drain->count == 0) {
        fprintf(stderr, "furrow drain: no worker or supervisor is called %s\n", drain->name);
        return CLI_FAILED;
    }
    if (drain->count > 1 && !drain->all) {
        fprintf(stderr, "furrow drain: %zu are called %s; name one by its session, or say --all:\n",
                drain->count, drain->name);
        for (size_t i = 0; i < drain->count; i++) {
            fputs("  ", stderr);
            print_target(stderr, &drain->targets[i], "");
        }
        return CLI_FAILED;
    }
    for (size_t i = 0; i < drain->count; i++) {
        if (!retire(drain, &drain->targets[i])) {
            return CLI_FAILED;
        }
    }
    (void)fflush(stdout);
    return drain->wait ? wait_for_all(drain) : CLI_OK;
}

enum cli_exit cli_drain(int argc, char **argv) {
    struct drain drain = {.all = false};
    struct cli_options options = {
        .command = argv[0],
        .usage =
            "usage: furrow drain [OPTION]... WORKER\n"
            "\n"
            "Takes a worker out of service: it gets nothing more, finishes what it runs, gives\n"
            "back the rest, and leaves. WORKER is a name or a session, as furrow status gives\n"
            "them. The name of a supervisor stands for all of its workers. A worker alone is\n"
            "replaced by its supervisor once it has left; a supervisor that is drained starts\n"
            "no other, and stays without any until it is ended.\n"
            "\n"
            "  --all                all of this name, if there are several\n"
            "  --wait[=SECONDS]     until all has left, or the time is over (exit code 1)\n"
            "\n" CLI_OPTIONS_COMMON_HELP,
        .table = table,
        .set = set_option,
        .user = &drain,
        .arguments_min = 1,
        .arguments_max = 1,
    };
    enum cli_exit exit;

    if (!cli_options_parse(&options, argc, argv, &exit)) {
        return exit;
    }
    drain.name = options.arguments[0];
    drain.connection = cli_connect(&options);
    exit = drain.connection == NULL ? CLI_FAILED : run(&drain);
    free(drain.targets);
    cli_list_free(&drain.workers);
    cli_list_free(&drain.supervisors);
    cli_disconnect(drain.connection);
    return fflush(stdout) == 0 ? exit : CLI_FAILED;
}
