/* furrow ping: does a broker answer? */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "cli/connection.h"
#include "cli/output.h"

static const struct option table[] = {CLI_OPTIONS_COMMON, {NULL, 0, NULL, 0}};

static enum cli_exit ping(struct cli_connection *connection, const struct cli_options *options) {
    const struct wire_ping question = {cli_number(connection)};
    uint64_t begun_ns = base_clock_ns();
    struct wire_message *message = cli_ask(connection, wire_ping_encode(&question), WIRE_PONG);
    char version[CLI_TEXT_BYTES], took[CLI_TEXT_BYTES], uptime[CLI_TEXT_BYTES];
    struct wire_fault fault;
    struct wire_pong pong;

    if (message == NULL) {
        return CLI_FAILED;
    }
    cli_duration_ns(took, base_clock_ns() - begun_ns);
    if (!wire_pong_decode(message, &pong, &fault)) {
        fprintf(stderr, "furrow ping: %s: %s\n", options->url, fault.text);
        wire_message_unref(message);
        return CLI_FAILED;
    }
    printf("%s: furrow %s answers in %s, up %s, epoch %016" PRIx64 "%s\n", options->url,
           cli_escaped(version, pong.version), took, cli_duration(uptime, pong.uptime_ms),
           pong.epoch, pong.draining != 0 ? ", draining: it takes no new tasks" : "");
    wire_message_unref(message);
    return CLI_OK;
}

enum cli_exit cli_ping(int argc, char **argv) {
    struct cli_options options = {
        .command = argv[0],
        .usage = "usage: furrow ping [OPTION]...\n"
                 "\n"
                 "Asks a broker whether it is there. Exit code 0 if it answers, else 1.\n"
                 "\n" CLI_OPTIONS_COMMON_HELP,
        .table = table,
    };
    struct cli_connection *connection;
    enum cli_exit exit;

    if (!cli_options_parse(&options, argc, argv, &exit)) {
        return exit;
    }
    connection = cli_connect(&options);
    exit = connection == NULL ? CLI_FAILED : ping(connection, &options);
    cli_disconnect(connection);
    return exit;
}
