#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"

#define DEFAULT_TIMEOUT_NS UINT64_C(5000000000)

static bool is_broker(const char *url) {
    return (strncmp(url, "tcp://", 6) == 0 || strncmp(url, "ipc://", 6) == 0) && url[6] != '\0';
}

/* The parameters that an executor's URL may have mean nothing here. */
static bool take_url(struct cli_options *options, const char *url) {
    size_t size = strcspn(url, "?");

    if (!is_broker(url) || size >= sizeof options->url) {
        return false;
    }
    memcpy(options->url, url, size);
    options->url[size] = '\0';
    return true;
}

static bool find_broker(struct cli_options *options) {
    const char *broker = getenv("FURROW_BROKER"), *executor = getenv("FURROW_EXECUTOR");

    if (options->url[0] != '\0') {
        return true;
    }
    if (broker != NULL && broker[0] != '\0') {
        if (take_url(options, broker)) {
            return true;
        }
        fprintf(stderr,
                "furrow %s: FURROW_BROKER is \"%s\", neither tcp://HOST:PORT nor ipc://PATH\n",
                options->command, broker);
        return false;
    }
    if (executor != NULL && take_url(options, executor)) {
        return true;
    }
    fprintf(stderr,
            "furrow %s: which broker? Say --connect URL, or set FURROW_BROKER or FURROW_EXECUTOR "
            "to a tcp:// or ipc:// URL\n",
            options->command);
    return false;
}

static bool set_option(struct cli_options *options, int option, const char *value) {
    switch (option) {
    case CLI_OPTION_CONNECT:
        return take_url(options, value);
    case CLI_OPTION_TIMEOUT:
        return base_option_seconds(value, 0, &options->timeout_ns) && options->timeout_ns > 0;
    case CLI_OPTION_KEY:
        options->key = value;
        return value[0] != '\0';
    case CLI_OPTION_SERVER:
        options->server = value;
        return value[0] != '\0';
    default:
        return options->set(options->user, option, value);
    }
}

static bool wrong(const struct cli_options *options, const char *what, const char *why) {
    fprintf(stderr, "furrow %s: %s%s\nTry furrow %s --help.\n", options->command, what, why,
            options->command);
    return false;
}

static bool parse(struct cli_options *options, int argc, char **argv, bool *help) {
    int option, index = 0;
    char text[128];

    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", options->table, &index)) != -1) {
        if (option == ':') {
            return wrong(options, argv[optind - 1], " needs a value");
        }
        if (option == '?') {
            return wrong(options, argv[optind - 1],
                         ": there is no such option, or it takes no value");
        }
        if (option == CLI_OPTION_HELP) {
            *help = true;
            return true;
        }
        if (!set_option(options, option, optarg)) {
            snprintf(text, sizeof text, "--%.30s %.60s", options->table[index].name,
                     optarg != NULL ? optarg : "");
            return wrong(options, text, ": not a value that it can have");
        }
    }
    options->arguments = argv + optind;
    options->argument_count = argc - optind;
    if (options->argument_count < options->arguments_min) {
        return wrong(options, "an argument is missing", "");
    }
    if (options->argument_count > options->arguments_max) {
        return wrong(options, argv[argc - 1], ": no argument is expected there");
    }
    return true;
}

static bool find_keys(struct cli_options *options) {
    base_option_environment(&options->key, "FURROW_KEY");
    base_option_environment(&options->server, "FURROW_SERVER_KEY");
    if ((options->key == NULL) == (options->server == NULL)) {
        return true;
    }
    fprintf(stderr, "furrow %s: %s\n", options->command,
            options->key == NULL ? "the broker's key is given (--server), but not ours (--key)"
                                 : "a key is given (--key), but not the broker's (--server)");
    return false;
}

bool cli_options_parse(struct cli_options *options, int argc, char **argv, enum cli_exit *exit) {
    bool help = false;

    options->url[0] = '\0';
    options->key = options->server = NULL;
    options->timeout_ns = DEFAULT_TIMEOUT_NS;
    if (!parse(options, argc, argv, &help)) {
        *exit = CLI_USAGE;
        return false;
    }
    if (help) {
        fputs(options->usage, stdout);
        *exit = CLI_OK;
        return false;
    }
    *exit = CLI_USAGE;
    return find_broker(options) && find_keys(options);
}
