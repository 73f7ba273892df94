#include "tests/support/fleet.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { ARGUMENTS_MAX = 64, STOP_MS = 10000, LISTEN_MS = 20000 };

struct arguments {
    char *argv[ARGUMENTS_MAX];
    int count;
};

static void add(struct arguments *arguments, const char *argument) {
    if (arguments->count < ARGUMENTS_MAX - 1) {
        arguments->argv[arguments->count++] = (char *)argument;
        arguments->argv[arguments->count] = NULL;
    }
}

static void add_all(struct arguments *arguments, const char *const *more) {
    for (; more != NULL && *more != NULL; more++) {
        add(arguments, *more);
    }
}

static void pause_1ms(void) {
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

static pid_t start(struct fleet *fleet, struct arguments *arguments) {
    pid_t pid;
    posix_spawnattr_t attributes;
    sigset_t none;

    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int error = posix_spawn(&pid, arguments->argv[0], NULL, &attributes, arguments->argv, environ);
    posix_spawnattr_destroy(&attributes);
    if (error != 0) {
        snprintf(fleet->error, sizeof fleet->error, "%.200s: %s", arguments->argv[0],
                 strerror(error));
        return -1;
    }
    return pid;
}

bool fleet_end(pid_t *pid) {
    int status;

    if (*pid <= 0) {
        return true;
    }
    kill(*pid, SIGTERM);
    for (int ms = 0; ms < STOP_MS; ms++) {
        if (waitpid(*pid, &status, WNOHANG) == *pid) {
            *pid = 0;
            return true;
        }
        pause_1ms();
    }
    kill(*pid, SIGKILL);
    waitpid(*pid, &status, 0);
    *pid = 0;
    return false;
}

/* Reads the endpoint that the broker has bound; false if it is not there in time. */
static bool read_endpoint(struct fleet *fleet, const char *path) {
    for (int ms = 0; ms < LISTEN_MS; ms++) {
        FILE *file = fopen(path, "re");
        if (file != NULL) {
            char *line = fgets(fleet->url, sizeof fleet->url, file);
            fclose(file);
            char *end = line != NULL ? strchr(line, '\n') : NULL;
            if (end != NULL) {
                *end = '\0';
                return true;
            }
        }
        int status;
        if (waitpid(fleet->broker, &status, WNOHANG) == fleet->broker) {
            fleet->broker = 0;
            snprintf(fleet->error, sizeof fleet->error, "the broker ended with status %d", status);
            return false;
        }
        pause_1ms();
    }
    snprintf(fleet->error, sizeof fleet->error, "the broker does not listen");
    return false;
}

bool fleet_start_broker(struct fleet *fleet, const struct fleet_options *options) {
    char port_file[PATH_MAX];
    struct arguments arguments = {.count = 0};

    snprintf(port_file, sizeof port_file, "%s/endpoint", options->directory);
    unlink(port_file);
    add(&arguments, options->broker_path);
    add(&arguments, "--listen");
    add(&arguments, options->listen != NULL ? options->listen : "tcp://127.0.0.1:*");
    add(&arguments, "--port-file");
    add(&arguments, port_file);
    add(&arguments, "--log-level");
    add(&arguments, options->log_level != NULL ? options->log_level : "error");
    add_all(&arguments, options->broker_more);
    fleet->broker = start(fleet, &arguments);
    return fleet->broker > 0 && read_endpoint(fleet, port_file);
}

pid_t fleet_start_worker(struct fleet *fleet, const struct fleet_options *options) {
    char processes[16], threads[16];
    struct arguments arguments = {.count = 0};

    snprintf(processes, sizeof processes, "%d", options->workers);
    snprintf(threads, sizeof threads, "%d", options->threads > 0 ? options->threads : 1);
    add(&arguments, options->worker_path);
    add(&arguments, "--connect");
    add(&arguments, fleet->url);
    add(&arguments, "--module");
    add(&arguments, options->module);
    add(&arguments, "--processes");
    add(&arguments, processes);
    add(&arguments, "--threads");
    add(&arguments, threads);
    add(&arguments, "--log-level");
    add(&arguments, options->log_level != NULL ? options->log_level : "error");
    add_all(&arguments, options->worker_more);
    return start(fleet, &arguments);
}

bool fleet_start(struct fleet *fleet, const struct fleet_options *options) {
    memset(fleet, 0, sizeof *fleet);
    if (fleet_start_broker(fleet, options)) {
        if (options->workers == 0) {
            return true;
        }
        fleet->worker = fleet_start_worker(fleet, options);
        if (fleet->worker > 0) {
            return true;
        }
    }
    fleet_stop(fleet);
    return false;
}

bool fleet_stop(struct fleet *fleet) {
    bool worker = fleet_end(&fleet->worker);
    bool broker = fleet_end(&fleet->broker);

    return worker && broker;
}
