#include "broker/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "broker/metrics.h"

#define DEFAULT_ENDPOINT "tcp://127.0.0.1:7700"

#define MEMORY_BYTES_MIN (UINT64_C(1) << 20)

enum flag {
    OPTION_LISTEN = 256,
    OPTION_MEMORY,
    OPTION_TASKS,
    OPTION_HEARTBEAT,
    OPTION_SILENCE,
    OPTION_SETTLE,
    OPTION_NO_FUNCTION,
    OPTION_LOG_LEVEL,
    OPTION_LOG_FORMAT,
    OPTION_METRICS,
    OPTION_PORT_FILE,
    OPTION_KEY,
    OPTION_AUTHORIZED,
    OPTION_INSECURE,
    OPTION_HELP,
    OPTION_VERSION,
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"memory-limit", required_argument, NULL, OPTION_MEMORY},
    {"max-tasks", required_argument, NULL, OPTION_TASKS},
    {"heartbeat", required_argument, NULL, OPTION_HEARTBEAT},
    {"silence", required_argument, NULL, OPTION_SILENCE},
    {"settle", required_argument, NULL, OPTION_SETTLE},
    {"no-function-timeout", required_argument, NULL, OPTION_NO_FUNCTION},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"log-format", required_argument, NULL, OPTION_LOG_FORMAT},
    {"metrics", required_argument, NULL, OPTION_METRICS},
    {"port-file", required_argument, NULL, OPTION_PORT_FILE},
    {"key", required_argument, NULL, OPTION_KEY},
    {"authorized", required_argument, NULL, OPTION_AUTHORIZED},
    {"insecure", no_argument, NULL, OPTION_INSECURE},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

const char *broker_options_usage(void) {
    return "usage: furrow-broker [OPTION]...\n"
           "\n"
           "Accepts tasks from clients, queues them, leases them to workers, and passes the\n"
           "results back.\n"
           "\n"
           "  --listen URL               listen there; may be given several times\n"
           "                             (default " DEFAULT_ENDPOINT "); tcp://HOST:PORT,\n"
           "                             a port of * is chosen by the system; ipc://PATH\n"
           "  --memory-limit SIZE        for tasks and results that wait: bytes, or with K, M,\n"
           "                             G, T (default 4G); a broker that is full makes clients\n"
           "                             wait, it never drops anything\n"
           "  --max-tasks N              queued and running at once (default 8388608)\n"
           "  --heartbeat SECONDS        between two signs of life (default 1)\n"
           "  --silence SECONDS          after which a peer is taken for lost (default 10)\n"
           "  --settle SECONDS           how long workers may claim what they run after a\n"
           "                             restart (default 0.5)\n"
           "  --no-function-timeout SECONDS\n"
           "                             how long tasks wait for a function that no connected\n"
           "                             worker offers (default 3; 0: for ever)\n"
           "  --log-level LEVEL          error, warn, info (default) or debug\n"
           "  --log-format FORMAT        logfmt (default), json or text\n"
           "  --metrics [ADDRESS:]PORT   serve metrics for Prometheus over HTTP there, at\n"
           "                             /metrics; on loopback without an address\n"
           "  --port-file PATH           write the endpoints listened on there, one a line\n"
           "  --key FILE                 the broker's secret key: everything is encrypted, and\n"
           "                             only keys of the list are let in (furrow keygen)\n"
           "  --authorized FILE          that list: a line a key, `submit,work KEY name=...`;\n"
           "                             SIGHUP reads it again\n"
           "  --insecure                 listen on other addresses than loopback and ipc\n"
           "                             without keys, though anybody who can reach them may\n"
           "                             run tasks\n"
           "  --help, --version          say that, and exit\n"
           "\n"
           "SIGTERM and SIGINT: accept nothing new, finish what is there, stop the workers,\n"
           "exit. A second one: exit at once. SIGHUP: read the list of keys again; keys that\n"
           "are gone from it lose their sessions, a list with an error changes nothing.\n"
           "\n"
           "Environment: FURROW_BROKER_KEY and FURROW_BROKER_AUTHORIZED name the files if the\n"
           "options don't. A file without a slash that is not in the working directory is\n"
           "looked for in $CREDENTIALS_DIRECTORY (systemd) and /run/secrets (Docker).\n"
           "\n"
           "Exit codes: 0 all was finished; 1 can't listen, or no memory, files or sockets;\n"
           "2 wrong use; 3 stopped at once, with tasks left.\n";
}

/* ------------------------------------------------------------------- values */

static bool parse_size(const char *text, uint64_t *bytes) {
    static const char units[] = "KMGT";
    char *end;
    const char *unit;
    double value;

    errno = 0;
    value = strtod(text, &end);
    if (text[0] < '0' || text[0] > '9' || errno != 0 || !isfinite(value)) {
        return false;
    }
    if (*end != '\0') {
        unit = strchr(units, *end);
        if (unit == NULL || end[1] != '\0') {
            return false;
        }
        value = ldexp(value, 10 * (int)(unit - units + 1));
    }
    if (value < (double)MEMORY_BYTES_MIN || value > 0x1p60) {
        return false;
    }
    *bytes = (uint64_t)value;
    return true;
}

/* ---------------------------------------------------------------- endpoints */

static bool starts_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

/* Whether the part between tcp:// and the last colon is one of an IPv4 loopback address. */
static bool is_loopback_v4(const char *host, size_t size) {
    unsigned parts[4];
    char text[16], rest;

    if (size >= sizeof text) {
        return false;
    }
    memcpy(text, host, size);
    text[size] = '\0';
    return sscanf(text, "%3u.%3u.%3u.%3u%c", &parts[0], &parts[1], &parts[2], &parts[3], &rest) ==
               4 &&
           parts[0] == 127 && parts[1] <= 255 && parts[2] <= 255 && parts[3] <= 255;
}

bool broker_endpoint_is_local(const char *endpoint) {
    const char *host = endpoint + strlen("tcp://"), *colon;
    size_t size;

    if (starts_with(endpoint, "ipc://")) {
        return true;
    }
    if (!starts_with(endpoint, "tcp://") || (colon = strrchr(host, ':')) == NULL) {
        return false;
    }
    size = (size_t)(colon - host);
    return is_loopback_v4(host, size) || (size == 5 && starts_with(host, "[::1]")) ||
           (size == 9 && starts_with(host, "localhost"));
}

/* ZeroMQ takes any number for a port, modulo 65536. */
static bool is_endpoint(const char *endpoint) {
    uint64_t number;
    const char *port;

    if (starts_with(endpoint, "ipc://")) {
        return endpoint[strlen("ipc://")] != '\0';
    }
    if (!starts_with(endpoint, "tcp://")) {
        return false;
    }
    port = strrchr(endpoint, ':') + 1;
    return strcmp(port, "*") == 0 || base_option_number(port, 0, UINT16_MAX, &number);
}

static bool check_endpoints(struct broker_options *options, char *error, size_t error_bytes) {
    if (options->endpoint_count == 0) {
        options->endpoints[options->endpoint_count++] = DEFAULT_ENDPOINT;
    }
    for (size_t i = 0; i < options->endpoint_count; i++) {
        const char *endpoint = options->endpoints[i];

        if (!is_endpoint(endpoint)) {
            snprintf(error, error_bytes, "--listen %s: neither tcp://HOST:PORT nor ipc://PATH",
                     endpoint);
            return false;
        }
        if (!broker_endpoint_is_local(endpoint) && !options->insecure && options->key == NULL) {
            snprintf(error, error_bytes,
                     "--listen %s: others than this machine could reach it, and whoever does may "
                     "run tasks; give it keys (--key, --authorized; see furrow-keygen(1)), or "
                     "--insecure, which allows that",
                     endpoint);
            return false;
        }
    }
    return true;
}

static bool check_keys(struct broker_options *options, char *error, size_t error_bytes) {
    if (options->insecure && (options->key != NULL || options->authorized != NULL)) {
        snprintf(error, error_bytes, "--insecure is for a broker without keys");
        return false;
    }
    if (!options->insecure) {
        base_option_environment(&options->key, "FURROW_BROKER_KEY");
        base_option_environment(&options->authorized, "FURROW_BROKER_AUTHORIZED");
    }
    if ((options->key == NULL) != (options->authorized == NULL)) {
        snprintf(error, error_bytes,
                 options->key == NULL
                     ? "--authorized needs --key: without a key of its own a broker knows nobody's"
                     : "--key needs --authorized: the list of keys that are let in");
        return false;
    }
    return true;
}

static bool add_endpoint(struct broker_options *options, const char *endpoint) {
    if (options->endpoint_count == BROKER_ENDPOINTS_MAX) {
        return false;
    }
    options->endpoints[options->endpoint_count++] = endpoint;
    return true;
}

/* ------------------------------------------------------------------ options */

static bool set_option(void *user, int option, const char *value) {
    struct broker_options *options = user;
    struct broker_config *config = &options->config;
    uint64_t number = 0;
    bool good = true;

    switch ((enum flag)option) {
    case OPTION_LISTEN:
        return add_endpoint(options, value);
    case OPTION_MEMORY:
        return parse_size(value, &config->memory_bytes);
    case OPTION_TASKS:
        good = base_option_number(value, 1, UINT32_MAX, &number);
        config->tasks_max = (uint32_t)number;
        config->client_tasks_max = (uint32_t)number;
        return good;
    case OPTION_HEARTBEAT:
        return base_option_seconds(value, 0.001, &config->heartbeat_ns);
    case OPTION_SILENCE:
        return base_option_seconds(value, 0.002, &config->silence_ns);
    case OPTION_SETTLE:
        return base_option_seconds(value, 0, &config->settle_ns);
    case OPTION_NO_FUNCTION:
        good = base_option_seconds(value, 0, &config->no_function_ns);
        if (config->no_function_ns == 0) {
            config->no_function_ns = UINT64_MAX;
        }
        return good;
    case OPTION_LOG_LEVEL:
        return base_log_level_parse(value, &options->log_level);
    case OPTION_LOG_FORMAT:
        return base_log_format_parse(value, &options->log_format);
    case OPTION_METRICS:
        options->metrics = value;
        return broker_metrics_is_address(value);
    case OPTION_PORT_FILE:
        options->port_file = value;
        return true;
    case OPTION_KEY:
        options->key = value;
        return value[0] != '\0';
    case OPTION_AUTHORIZED:
        options->authorized = value;
        return value[0] != '\0';
    case OPTION_INSECURE:
        options->insecure = true;
        return true;
    case OPTION_HELP:
        options->help = true;
        return true;
    case OPTION_VERSION:
        options->version = true;
        return true;
    }
    return false;
}

bool broker_options_parse(struct broker_options *options, int argc, char **argv, char *error,
                          size_t error_bytes) {
    int behind;

    error[0] = '\0';
    behind = base_options_read(argc, argv, long_options, set_option, options, error, error_bytes);
    if (behind < 0) {
        return false;
    }
    if (options->help || options->version) {
        return true;
    }
    if (behind < argc) {
        snprintf(error, error_bytes, "%s: no argument is expected there", argv[behind]);
        return false;
    }
    if (options->config.silence_ns <= options->config.heartbeat_ns) {
        snprintf(error, error_bytes, "--silence must be longer than --heartbeat");
        return false;
    }
    return check_keys(options, error, error_bytes) && check_endpoints(options, error, error_bytes);
}
