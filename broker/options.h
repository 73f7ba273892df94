/* The command line of furrow-broker. */
#ifndef BROKER_OPTIONS_H
#define BROKER_OPTIONS_H

#include "base/log.h"
#include "broker/core.h"

#define BROKER_ENDPOINTS_MAX 16

struct broker_options {
    const char *endpoints[BROKER_ENDPOINTS_MAX]; /* borrowed from argv */
    size_t endpoint_count;
    struct broker_config config; /* its durations and limits; the rest is as it was */
    enum base_log_level log_level;
    const char *port_file; /* NULL: none */
    /* Both or neither; borrowed from argv or the environment. */
    const char *key, *authorized;
    const char *metrics; /* where to serve them; NULL: nowhere */
    enum base_log_format log_format;
    bool insecure;
    bool help, version; /* asked for: nothing else matters */
};

/* broker_options_parse reads the arguments; broker_config_default has been called for
 * options->config. Not for several threads (getopt).
 *
 * error  gets what is wrong, in words; terminated
 *
 * Returns false if something is. */
bool broker_options_parse(struct broker_options *options, int argc, char **argv, char *error,
                          size_t error_bytes);

/* broker_options_usage is what --help says. */
const char *broker_options_usage(void);

/* broker_endpoint_is_local: whether only this machine can reach what listens there. */
bool broker_endpoint_is_local(const char *endpoint);

#endif
