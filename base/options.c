#include "base/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

bool base_option_number(const char *text, uint64_t min, uint64_t max, uint64_t *number) {
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < min ||
        value > max) {
        return false;
    }
    *number = value;
    return true;
}

bool base_option_seconds(const char *text, double min, uint64_t *ns) {
    char *end;
    double value;

    errno = 0;
    value = strtod(text, &end);
    if (end == text || *end != '\0' || errno != 0 ||
        !(value >= min && value <= BASE_OPTION_SECONDS_MAX)) {
        return false;
    }
    *ns = (uint64_t)(value * 1e9);
    return true;
}

void base_option_environment(const char **value, const char *name) {
    if (*value == NULL) {
        *value = getenv(name);
        if (*value != NULL && (*value)[0] == '\0') {
            *value = NULL;
        }
    }
}

int base_options_read(int argc, char **argv, const struct option *table,
                      bool (*set)(void *user, int option, const char *value), void *user,
                      char *error, size_t error_bytes) {
    int option, index = 0;

    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "+:", table, &index)) != -1) {
        if (option == ':') {
            (void)snprintf(error, error_bytes, "%s needs a value", argv[optind - 1]);
            return -1;
        }
        if (option == '?') {
            (void)snprintf(error, error_bytes, "%s: there is no such option, or it takes no value",
                           argv[optind - 1]);
            return -1;
        }
        if (!set(user, option, optarg)) {
            (void)snprintf(error, error_bytes, "--%s %s: not a value that it can have",
                           table[index].name, optarg);
            return -1;
        }
    }
    return optind;
}
