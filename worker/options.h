/* The command line of furrow-worker. */
#ifndef WORKER_OPTIONS_H
#define WORKER_OPTIONS_H

#include "base/log.h"
#include "wire/limits.h"

#include <stddef.h>

#define WORKER_MODULES_MAX 64

/* Strings are borrowed from argv. */
struct worker_options {
    const char *endpoint;
    const char *modules[WORKER_MODULES_MAX];
    uint32_t module_count;
    const char *tags[WIRE_TAGS_MAX];
    uint32_t tag_count;
    const char *key, *server; /* both or neither; from argv or the environment */
    const char *name;         /* NULL: none was given */
    const char *initializer;  /* NULL: none was given */
    unsigned processes;       /* 0: none was given */
    unsigned threads;
    uint64_t tasks_max; /* 0: no limit */
    uint64_t grace_ns;
    enum base_log_level log_level;
    enum base_log_format log_format;
    bool help, version; /* asked for: nothing else matters */
};

/* worker_options_parse reads the arguments. Not for several threads (getopt).
 *
 * error  gets what is wrong, in words; terminated
 *
 * Returns false if something is. */
bool worker_options_parse(struct worker_options *options, int argc, char **argv, char *error,
                          size_t error_bytes);

/* worker_options_usage is what --help says. */
const char *worker_options_usage(void);

#endif
