/* furrow-broker: see `furrow-broker --help`. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/entropy.h"
#include "base/log.h"
#include "base/malloc.h"
#include "base/notify.h"
#include "broker/door.h"
#include "broker/options.h"
#include "broker/shell.h"

enum exit_code { EXIT_OK = 0, EXIT_RUNTIME = 1, EXIT_USAGE = 2, EXIT_LEFTOVERS = 3 };

struct program {
    struct broker_options options;
    struct base_log log;
    struct base_log_stderr_user log_user;
    struct broker_metrics *metrics;
    struct broker_metrics_server *server;
    char host[256];
    struct base_notify notify;
    int signal_fd;
    int watch_fd;     /* readable when one of those two wants something */
    unsigned signals; /* to stop, seen so far */
};

/* Each connection is a file: as many as the system allows. */
static void raise_file_limit(const struct base_log *log) {
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            base_log(log, BASE_LOG_WARN, "can't raise the limit of open files: %s",
                     strerror(errno));
        }
    }
}

/* The signals that it acts on come through a file descriptor; a peer that closes must not kill it. The
 * threads that ZeroMQ starts later inherit the mask. SIGHUP means a list of keys, if there is one. */
static int watch_signals(bool hangup) {
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (hangup) {
        sigaddset(&signals, SIGHUP);
    }
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || sigprocmask(SIG_BLOCK, &signals, NULL) != 0) {
        return -1;
    }
    return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

static bool watch(struct program *program) {
    int fds[] = {program->signal_fd, base_notify_fd(&program->notify)};

    program->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    if (program->watch_fd < 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        struct epoll_event event = {.events = EPOLLIN};

        if (fds[i] >= 0 && epoll_ctl(program->watch_fd, EPOLL_CTL_ADD, fds[i], &event) != 0) {
            return false;
        }
    }
    return true;
}

/* A list that can't be read, or has an error in it, leaves the old one in force. */
static void reload(const struct program *program, struct broker_shell *shell) {
    char error[512];
    struct broker_authorized *list =
        broker_authorized_load(program->options.authorized, error, sizeof error);

    if (list == NULL) {
        base_log(&program->log, BASE_LOG_ERROR, "%s; the list of keys stays as it was", error);
        return;
    }
    base_log(&program->log, BASE_LOG_INFO, "%zu keys are authorized now",
             broker_authorized_count(list));
    broker_shell_authorize(shell, list);
}

/* In the shell's loop: so a sign of life means that the loop goes round. */
static void watched(void *user, struct broker_shell *shell) {
    struct program *program = user;
    struct signalfd_siginfo info;

    base_notify_alive(&program->notify);
    while (read(program->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGHUP) {
            reload(program, shell);
        } else if (program->signals++ == 0) {
            base_log(&program->log, BASE_LOG_INFO,
                     "signal %u: finishing what is there, a second one stops at once",
                     info.ssi_signo);
            base_notify_say(&program->notify, "STOPPING=1\nSTATUS=finishing what is there");
            broker_shell_drain(shell);
        } else {
            broker_shell_stop(shell);
        }
    }
}

/* False: it was asked for, and can't be. */
static bool serve_metrics(struct program *program) {
    char error[256];

    if (program->options.metrics == NULL) {
        return true;
    }
    program->metrics = broker_metrics_new(FURROW_VERSION);
    if (program->metrics == NULL) {
        base_log(&program->log, BASE_LOG_ERROR, "no memory");
        return false;
    }
    program->server =
        broker_metrics_serve(program->metrics, program->options.metrics, error, sizeof error);
    if (program->server == NULL) {
        base_log(&program->log, BASE_LOG_ERROR, "%s", error);
        return false;
    }
    return true;
}

/* Written beside and renamed, so that whoever waits for the file finds it whole. */
static bool write_port_file(const struct program *program, const struct broker_shell *shell) {
    const char *path = program->options.port_file;
    size_t bytes = strlen(path) + sizeof ".new";
    char *beside = malloc(bytes);
    FILE *file;
    bool good;

    if (beside == NULL) {
        return false;
    }
    snprintf(beside, bytes, "%s.new", path);
    file = fopen(beside, "we");
    good = file != NULL;
    for (size_t i = 0; good && i < program->options.endpoint_count; i++) {
        good = fprintf(file, "%s\n", broker_shell_endpoint(shell, i)) > 0;
    }
    if (good && program->server != NULL) {
        good = fprintf(file, "%s\n", broker_metrics_url(program->server)) > 0;
    }
    if (file != NULL) {
        good = fclose(file) == 0 && good;
    }
    good = good && rename(beside, path) == 0;
    if (!good) {
        base_log(&program->log, BASE_LOG_ERROR, "can't write %s: %s", path, strerror(errno));
        (void)unlink(beside);
    }
    free(beside);
    return good;
}

static void announce(const struct program *program, const struct broker_shell *shell) {
    for (size_t i = 0; i < program->options.endpoint_count; i++) {
        const char *endpoint = broker_shell_endpoint(shell, i);

        if (!broker_endpoint_is_local(endpoint) && program->options.key == NULL) {
            base_log(&program->log, BASE_LOG_WARN,
                     "%s is INSECURE: whoever can reach it may run tasks, and read those of others",
                     endpoint);
        }
        base_log(&program->log, BASE_LOG_INFO, "listening on %s", endpoint);
    }
    if (program->server != NULL) {
        base_log(&program->log, BASE_LOG_INFO, "metrics at %s",
                 broker_metrics_url(program->server));
    }
    base_notify_say(&program->notify, "READY=1\nSTATUS=serving");
}

/* Whatever lets others in than those it is meant for is refused here: with keys the keys decide, and
 * who says --insecure has been told. */
static bool check_places(const struct program *program) {
    char error[512];

    for (size_t i = 0; i < program->options.endpoint_count; i++) {
        if (program->options.key == NULL && !program->options.insecure &&
            !broker_endpoint_check_place(program->options.endpoints[i], error, sizeof error)) {
            base_log(&program->log, BASE_LOG_ERROR, "%s; or give it keys, or --insecure", error);
            return false;
        }
    }
    return true;
}

/* Opens the shell, with keys if there are some. */
static struct broker_shell *open_shell(struct program *program,
                                       struct broker_shell_options *options, char *error,
                                       size_t error_bytes) {
    struct wire_curve curve;
    struct broker_shell *shell;

    if (program->options.key == NULL) {
        return broker_shell_open(options, error, error_bytes);
    }
    if (!wire_curve_load(&curve, program->options.key, NULL, error, error_bytes)) {
        return NULL;
    }
    options->curve = &curve;
    options->authorized = broker_authorized_load(program->options.authorized, error, error_bytes);
    shell = options->authorized == NULL ? NULL : broker_shell_open(options, error, error_bytes);
    if (shell == NULL) {
        broker_authorized_free(options->authorized);
    } else {
        base_log(&program->log, BASE_LOG_INFO, "public key %s, %zu keys are authorized",
                 curve.public, broker_authorized_count(options->authorized));
    }
    wire_curve_wipe(&curve);
    return shell;
}

static enum exit_code serve(struct program *program) {
    struct broker_shell_options options = {
        .config = program->options.config,
        .endpoints = program->options.endpoints,
        .endpoint_count = program->options.endpoint_count,
        .log = &program->log,
        .metrics = program->metrics,
        .watch_fd = program->watch_fd,
        .watched = watched,
        .user = program,
    };
    char error[512];
    struct broker_shell *shell;
    enum exit_code code = EXIT_RUNTIME;

    if (!check_places(program)) {
        return EXIT_RUNTIME;
    }
    shell = open_shell(program, &options, error, sizeof error);
    if (shell == NULL) {
        base_log(&program->log, BASE_LOG_ERROR, "%s", error);
        return EXIT_RUNTIME;
    }
    if (program->options.port_file == NULL || write_port_file(program, shell)) {
        announce(program, shell);
        code = broker_shell_run(shell) ? EXIT_OK : EXIT_LEFTOVERS;
        base_log(&program->log, BASE_LOG_INFO, code == EXIT_OK ? "drained" : "stopped at once");
    }
    if (program->options.port_file != NULL) {
        (void)unlink(program->options.port_file);
    }
    broker_shell_close(shell);
    return code;
}

static bool prepare(struct program *program) {
    struct broker_config *config = &program->options.config;
    int error = base_notify_open(&program->notify);

    if (error != 0) {
        base_log(&program->log, BASE_LOG_WARN, "can't tell the service manager anything: %s",
                 strerror(error));
    }
    if (gethostname(program->host, sizeof program->host - 1) != 0) {
        snprintf(program->host, sizeof program->host, "unknown");
    }
    config->host = program->host;
    config->version = FURROW_VERSION;
    config->pid = getpid();
    if (!base_entropy(&config->epoch, sizeof config->epoch) ||
        !base_entropy(&config->seed, sizeof config->seed)) {
        base_log(&program->log, BASE_LOG_ERROR, "no random numbers: %s", strerror(errno));
        return false;
    }
    config->epoch |= config->epoch == 0;
    program->signal_fd = watch_signals(program->options.authorized != NULL);
    if (program->signal_fd < 0 || !watch(program)) {
        base_log(&program->log, BASE_LOG_ERROR, "can't watch signals: %s", strerror(errno));
        return false;
    }
    raise_file_limit(&program->log);
    umask(S_IRWXG | S_IRWXO); /* ipc sockets are for this user only */
    return true;
}

int main(int argc, char **argv) {
    struct program program = {.log_user = {.fields = "role=broker"}};
    enum exit_code code;
    char error[512];

    program.log = (struct base_log){base_log_stderr, &program.log_user, BASE_LOG_INFO};

    broker_config_default(&program.options.config);
    program.options.log_level = BASE_LOG_INFO;
    if (!broker_options_parse(&program.options, argc, argv, error, sizeof error)) {
        fprintf(stderr, "furrow-broker: %s\nTry --help.\n", error);
        return EXIT_USAGE;
    }
    if (program.options.help || program.options.version) {
        fputs(program.options.help ? broker_options_usage() : "furrow-broker " FURROW_VERSION "\n",
              stdout);
        return fflush(stdout) == 0 ? EXIT_OK : EXIT_RUNTIME;
    }
    program.log.level = program.options.log_level;
    program.log_user.format = program.options.log_format;
    base_malloc_expect_messages();
    code = prepare(&program) && serve_metrics(&program) ? serve(&program) : EXIT_RUNTIME;
    broker_metrics_stop(program.server);
    broker_metrics_free(program.metrics);
    return (int)code;
}
