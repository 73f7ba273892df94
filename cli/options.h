/* What the commands that talk to a broker have in common on their command lines. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"

enum cli_option {
    CLI_OPTION_CONNECT = 256,
    CLI_OPTION_TIMEOUT,
    CLI_OPTION_KEY,
    CLI_OPTION_SERVER,
    CLI_OPTION_HELP,
    CLI_OPTION_OWN, /* from here on they are the command's own */
};

/* The beginning of a command's table of long options; its own follow, and an empty one ends it. */
#define CLI_OPTIONS_COMMON                                                                         \
    {"connect", required_argument, NULL, CLI_OPTION_CONNECT},                                      \
        {"timeout", required_argument, NULL, CLI_OPTION_TIMEOUT},                                  \
        {"key", required_argument, NULL, CLI_OPTION_KEY},                                          \
        {"server", required_argument, NULL, CLI_OPTION_SERVER}, {                                  \
        "help", no_argument, NULL, CLI_OPTION_HELP                                                 \
    }

#define CLI_OPTIONS_COMMON_HELP                                                                    \
    "  --connect URL        of the broker: tcp://HOST:PORT or ipc://PATH (default: the\n"          \
    "                       environment's FURROW_BROKER, else FURROW_EXECUTOR)\n"                  \
    "  --timeout SECONDS    for the broker to answer (default 5)\n"                                \
    "  --key FILE           our secret key, with the right `admin`, for a broker that asks for\n"  \
    "                       keys (default: the environment's FURROW_KEY)\n"                        \
    "  --server KEY         that broker's public key, as text or as a file (default: the\n"        \
    "                       environment's FURROW_SERVER_KEY)\n"                                    \
    "  --help               say this, and exit\n"

struct cli_options {
    const char *command; /* its name */
    const char *usage;   /* what --help says */
    const struct option *table;
    /* sets one of the command's own; false: not a value that it can have. NULL: there are none */
    bool (*set)(void *user, int option, const char *value);
    void *user;
    int arguments_min, arguments_max; /* besides options */
    /* what comes out: */
    char url[512];
    const char *key, *server; /* both or neither; borrowed */
    uint64_t timeout_ns;
    char **arguments;
    int argument_count;
};

/* cli_options_parse reads the command line, and finds the broker's address. Returns true if the command
 * is to go on; else *exit is its exit code, and all is said. */
bool cli_options_parse(struct cli_options *options, int argc, char **argv, enum cli_exit *exit);

#endif
