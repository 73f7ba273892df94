/* A fleet for tests and benchmarks: one furrow-broker and one furrow-worker with some processes, on
 * loopback. Plain C without a test framework; errors are texts. One thread at a time. */
#ifndef TESTS_SUPPORT_FLEET_H
#define TESTS_SUPPORT_FLEET_H

#include <stdbool.h>
#include <sys/types.h>

struct fleet {
    pid_t broker, worker;
    char url[256];   /* what the broker listens on */
    char error[256]; /* of the last call that returned false */
};

struct fleet_options {
    const char *broker_path, *worker_path, *module; /* programs and task module */
    const char *directory;                          /* existing, for the port file */
    const char *listen;                             /* NULL: tcp://127.0.0.1:* */
    int workers;                                    /* worker processes; 0: none, only the broker */
    int threads;                                    /* of each; 0: 1 */
    const char *log_level;                          /* NULL: error */
    const char *const *broker_more;                 /* more arguments, ended by NULL; NULL: none */
    const char *const *worker_more;
};

/* fleet_start starts both and waits until the broker listens (20 s at most). False: nothing runs. */
bool fleet_start(struct fleet *fleet, const struct fleet_options *options);
/* fleet_start_worker starts one more supervisor with its worker processes for a fleet. Returns its
 * pid, or -1. */
pid_t fleet_start_worker(struct fleet *fleet, const struct fleet_options *options);
/* fleet_start_broker starts the broker alone, for a fleet whose broker has died; options->listen may
 * be what fleet->url was. Returns as fleet_start. */
bool fleet_start_broker(struct fleet *fleet, const struct fleet_options *options);
/* fleet_stop ends both by SIGTERM, and by SIGKILL after 10 s. False: SIGKILL was needed. */
bool fleet_stop(struct fleet *fleet);
/* fleet_end ends one process that this program started, likewise; *pid becomes 0. */
bool fleet_end(pid_t *pid);

#endif
