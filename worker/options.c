#include "worker/options.h"

#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "base/pool.h"
#include "worker/supervisor.h"

enum flag {
    OPTION_CONNECT = 256,
    OPTION_MODULE,
    OPTION_PROCESSES,
    OPTION_THREADS,
    OPTION_TAG,
    OPTION_KEY,
    OPTION_SERVER,
    OPTION_NAME,
    OPTION_TASKS_MAX,
    OPTION_INITIALIZER,
    OPTION_GRACE,
    OPTION_LOG_LEVEL,
    OPTION_LOG_FORMAT,
    OPTION_HELP,
    OPTION_VERSION,
};

static const struct option long_options[] = {
    {"connect", required_argument, NULL, OPTION_CONNECT},
    {"module", required_argument, NULL, OPTION_MODULE},
    {"processes", required_argument, NULL, OPTION_PROCESSES},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"tag", required_argument, NULL, OPTION_TAG},
    {"key", required_argument, NULL, OPTION_KEY},
    {"server", required_argument, NULL, OPTION_SERVER},
    {"name", required_argument, NULL, OPTION_NAME},
    {"max-tasks-per-child", required_argument, NULL, OPTION_TASKS_MAX},
    {"initializer", required_argument, NULL, OPTION_INITIALIZER},
    {"grace", required_argument, NULL, OPTION_GRACE},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"log-format", required_argument, NULL, OPTION_LOG_FORMAT},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

const char *worker_options_usage(void) {
    return "usage: furrow-worker --connect URL --module PATH [OPTION]...\n"
           "\n"
           "Runs the tasks of a broker in worker processes, and replaces those that die.\n"
           "\n"
           "  --connect URL              of the broker: tcp://HOST:PORT or ipc://PATH\n"
           "  --module PATH              a shared object with task functions; may be given\n"
           "                             several times\n"
           "  --key FILE                 this worker's secret key (furrow keygen), for a broker "
           "that\n"
           "                             asks for keys\n"
           "  --server KEY               that broker's public key, as text or as a file\n"
           "  --processes N              worker processes (default: the number of CPUs)\n"
           "  --threads N                tasks that each runs at once (default 1)\n"
           "  --tag TAG                  tasks that ask for this tag may run here; may be given\n"
           "                             several times\n"
           "  --name NAME                what the broker calls these workers (default: the\n"
           "                             host's name)\n"
           "  --max-tasks-per-child N    a process is replaced after so many (default: never)\n"
           "  --initializer FUNCTION     a function of a module that each process calls once,\n"
           "                             without arguments, before its first task; if it fails,\n"
           "                             furrow-worker ends\n"
           "  --grace SECONDS            how long a task may go on that is asked to end because\n"
           "                             its time is over, before its process is killed\n"
           "                             (default 1)\n"
           "  --log-level LEVEL          error, warn, info (default) or debug\n"
           "  --log-format FORMAT        logfmt (default), json or text\n"
           "  --help, --version          say that, and exit\n"
           "\n"
           "SIGTERM and SIGINT: take nothing new, finish what runs, give back the rest, exit.\n"
           "A second one: kill the worker processes, whose tasks run again elsewhere.\n"
           "\n"
           "Environment: FURROW_KEY and FURROW_SERVER_KEY if the options don't say it. A key's\n"
           "file without a slash that is not in the working directory is looked for in\n"
           "$CREDENTIALS_DIRECTORY (systemd) and /run/secrets (Docker).\n"
           "\n"
           "Exit codes: 0 all was finished; 1 worker processes can't be started, can't load a\n"
           "module, fail in the initializer, or are refused by the broker; 2 wrong use; 3 killed,\n"
           "with tasks left.\n";
}

static bool parse_count(const char *text, uint64_t max, unsigned *count) {
    uint64_t number;

    if (!base_option_number(text, 1, max, &number)) {
        return false;
    }
    *count = (unsigned)number;
    return true;
}

/* Never 0, which would stand for the default. */
static bool parse_grace(const char *text, uint64_t *ns) {
    if (!base_option_seconds(text, 0, ns)) {
        return false;
    }
    ++*ns;
    return true;
}

static bool parse_endpoint(const char *text, const char **endpoint) {
    *endpoint = text;
    return (strncmp(text, "tcp://", 6) == 0 || strncmp(text, "ipc://", 6) == 0) && strlen(text) > 6;
}

static bool add_string(const char **strings, uint32_t *count, uint32_t max, const char *value) {
    if (*count == max || value[0] == '\0') {
        return false;
    }
    strings[(*count)++] = value;
    return true;
}

static bool set_option(void *user, int option, const char *value) {
    struct worker_options *options = user;

    switch ((enum flag)option) {
    case OPTION_CONNECT:
        return options->endpoint == NULL && parse_endpoint(value, &options->endpoint);
    case OPTION_MODULE:
        return add_string(options->modules, &options->module_count, WORKER_MODULES_MAX, value);
    case OPTION_PROCESSES:
        return parse_count(value, WORKER_CHILDREN_MAX, &options->processes);
    case OPTION_THREADS:
        return parse_count(value, BASE_POOL_THREADS_MAX, &options->threads);
    case OPTION_TAG:
        return strlen(value) <= WIRE_NAME_BYTES_MAX && strchr(value, ',') == NULL &&
               add_string(options->tags, &options->tag_count, WIRE_TAGS_MAX, value);
    case OPTION_KEY:
        options->key = value;
        return value[0] != '\0';
    case OPTION_SERVER:
        options->server = value;
        return value[0] != '\0';
    case OPTION_NAME:
        options->name = value;
        return value[0] != '\0' && strlen(value) <= WIRE_NAME_BYTES_MAX;
    case OPTION_TASKS_MAX:
        return base_option_number(value, 1, UINT64_MAX, &options->tasks_max);
    case OPTION_INITIALIZER:
        options->initializer = value;
        return value[0] != '\0' && strlen(value) <= WIRE_NAME_BYTES_MAX;
    case OPTION_GRACE:
        return parse_grace(value, &options->grace_ns);
    case OPTION_LOG_LEVEL:
        return base_log_level_parse(value, &options->log_level);
    case OPTION_LOG_FORMAT:
        return base_log_format_parse(value, &options->log_format);
    case OPTION_HELP:
        options->help = true;
        return true;
    case OPTION_VERSION:
        options->version = true;
        return true;
    }
    return false;
}

static bool check_keys(struct worker_options *options, char *error, size_t error_bytes) {
    base_option_environment(&options->key, "FURROW_KEY");
    base_option_environment(&options->server, "FURROW_SERVER_KEY");
    if ((options->key == NULL) != (options->server == NULL)) {
        (void)snprintf(error, error_bytes, "%s",
                       options->key == NULL
                           ? "--server is given, the broker's key, but not --key, our own"
                           : "--key is given, but not --server, the broker's public key");
        return false;
    }
    return true;
}

bool worker_options_parse(struct worker_options *options, int argc, char **argv, char *error,
                          size_t error_bytes) {
    int behind;

    memset(options, 0, sizeof *options);
    options->threads = 1;
    options->log_level = BASE_LOG_INFO;
    error[0] = '\0';
    behind = base_options_read(argc, argv, long_options, set_option, options, error, error_bytes);
    if (behind < 0) {
        return false;
    }
    if (options->help || options->version) {
        return true;
    }
    if (behind < argc) {
        (void)snprintf(error, error_bytes, "%s: no argument is expected there", argv[behind]);
        return false;
    }
    if (options->endpoint == NULL || options->module_count == 0) {
        (void)snprintf(error, error_bytes, "%s is needed",
                       options->endpoint == NULL ? "--connect URL" : "--module PATH");
        return false;
    }
    return check_keys(options, error, error_bytes);
}
