/* furrow: see `furrow --help`. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct cli_command commands[] = {
    {"ping", "ask whether a broker is there", cli_ping},
    {"status", "show a broker, its queues, workers and clients", cli_status},
    {"explain", "say why a task isn't running", cli_explain},
    {"drain", "take a worker or a machine out of service", cli_drain},
    {"keygen", "make keys for a fleet", cli_keygen},
    {"version", "print the version", cli_version},
};

enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void print_help(void) {
    printf("usage: furrow COMMAND [OPTION...]\n\n");
    for (int i = 0; i < COMMAND_COUNT; i++) {
        printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    printf("\n`furrow COMMAND --help` tells more of each.\n");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "furrow: which command? `furrow --help` lists them\n");
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return CLI_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        return (int)cli_version(1, argv + 1);
    }
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return (int)commands[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "furrow: there is no command '%s'; `furrow --help` lists them\n", argv[1]);
    return CLI_USAGE;
}
