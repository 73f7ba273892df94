/* All that a broker tells of a fleet, at one moment or nearly so. */
#ifndef CLI_FLEET_H
#define CLI_FLEET_H

#include <stdio.h>

#include "cli/connection.h"

struct cli_fleet {
    struct cli_list broker, workers, clients, functions, supervisors;
};

/* cli_fleet_read: false if something went wrong; nothing is to be freed then. */
bool cli_fleet_read(struct cli_connection *connection, struct cli_fleet *fleet);
void cli_fleet_free(struct cli_fleet *fleet);

/* cli_fleet_print writes it for people, cli_fleet_json as one JSON value (on one line if `line`).
 * False: no memory, or this program was built without JSON. */
void cli_fleet_print(const struct cli_fleet *fleet, FILE *out);
bool cli_fleet_json(const struct cli_fleet *fleet, FILE *out, bool line);

#endif
