/* furrow status: what a broker has, and who is there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/options.h"
#include "cli/fleet.h"

#define WATCH_NS UINT64_C(2000000000)

enum { OPTION_JSON = CLI_OPTION_OWN, OPTION_WATCH, OPTION_COUNT };

static const struct option table[] = {
    CLI_OPTIONS_COMMON,
    {"json", no_argument, NULL, OPTION_JSON},
    {"watch", optional_argument, NULL, OPTION_WATCH},
    {"count", required_argument, NULL, OPTION_COUNT},
    {NULL, 0, NULL, 0},
};

struct settings {
    bool json, watch;
    uint64_t every_ns;
    uint64_t count; /* so many times; 0: for ever */
};

static bool set_option(void *user, int option, const char *value) {
    struct settings *settings = user;

    switch (option) {
    case OPTION_JSON:
        settings->json = true;
        return true;
    case OPTION_WATCH:
        settings->watch = true;
        return value == NULL ||
               (base_option_seconds(value, 0, &settings->every_ns) && settings->every_ns > 0);
    default:
        return base_option_number(value, 1, UINT64_MAX, &settings->count);
    }
}

/* getopt takes an optional value only behind '='; people write it behind a blank. */
static bool take_seconds(struct cli_options *options, struct settings *settings) {
    if (options->argument_count == 1 &&
        (!settings->watch || !base_option_seconds(options->arguments[0], 0, &settings->every_ns) ||
         settings->every_ns == 0)) {
        fprintf(stderr, "furrow status: %s: no argument is expected there\n",
                options->arguments[0]);
        return false;
    }
    return true;
}

static bool show(struct cli_connection *connection, const struct settings *settings) {
    struct cli_fleet fleet;
    bool good = true;

    if (!cli_fleet_read(connection, &fleet)) {
        return false;
    }
    if (settings->json) {
        good = cli_fleet_json(&fleet, stdout, settings->watch);
    } else {
        if (settings->watch && isatty(STDOUT_FILENO)) {
            fputs("\033[H\033[2J", stdout);
        }
        cli_fleet_print(&fleet, stdout);
    }
    cli_fleet_free(&fleet);
    return fflush(stdout) == 0 && good;
}

/* A broker that is gone may come back: whoever watches stays. */
static enum cli_exit watch(struct cli_connection *connection, const struct settings *settings) {
    bool good = true;

    for (unsigned long i = 1;; i++) {
        good = show(connection, settings);
        if (i == settings->count || ferror(stdout)) {
            return good ? CLI_OK : CLI_FAILED;
        }
        cli_wait(connection, settings->every_ns);
        if (!settings->json) {
            fputc('\n', stdout);
        }
    }
}

enum cli_exit cli_status(int argc, char **argv) {
    struct settings settings = {.every_ns = WATCH_NS};
    struct cli_options options = {
        .command = argv[0],
        .usage = "usage: furrow status [OPTION]...\n"
                 "\n"
                 "Shows a broker, its queues by function, its workers, supervisors and clients.\n"
                 "\n"
                 "  --json               as JSON instead of tables\n"
                 "  --watch [SECONDS]    again and again, every 2 seconds unless told otherwise;\n"
                 "                       with --json one line each time\n"
                 "  --count N            with --watch: only so many times\n"
                 "\n" CLI_OPTIONS_COMMON_HELP,
        .table = table,
        .set = set_option,
        .user = &settings,
        .arguments_max = 1,
    };
    struct cli_connection *connection;
    enum cli_exit exit;

    if (!cli_options_parse(&options, argc, argv, &exit)) {
        return exit;
    }
    if (!take_seconds(&options, &settings)) {
        return CLI_USAGE;
    }
    connection = cli_connect(&options);
    if (connection == NULL) {
        return CLI_FAILED;
    }
    exit = settings.watch                ? watch(connection, &settings)
           : show(connection, &settings) ? CLI_OK
                                         : CLI_FAILED;
    cli_disconnect(connection);
    return exit;
}
