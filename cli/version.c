#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

enum cli_exit cli_version(int argc, char **argv) {
    if (argc > 1) {
        bool help = strcmp(argv[1], "--help") == 0;
        fprintf(help ? stdout : stderr, "usage: furrow version\n");
        return help ? CLI_OK : CLI_USAGE;
    }
    printf("furrow %s\n", FURROW_VERSION);
    return CLI_OK;
}
