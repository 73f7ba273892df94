#include "worker/service.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/entropy.h"
#include "base/file.h"
#include "base/notify.h"
#include "worker/child.h"
#include "worker/dealer.h"
#include "worker/options.h"
#include "worker/reporter.h"
#include "worker/supervisor.h"

enum exit_code { EXIT_OK = 0, EXIT_RUNTIME = 1, EXIT_USAGE = 2, EXIT_LEFTOVERS = 3 };

/* How long the last words to the broker may take. */
#define LEAVE_NS (500 * BASE_CLOCK_NS_PER_MS)
/* How long the other children may take to end when it is clear that none can serve. */
#define FAILED_NS (5 * BASE_CLOCK_NS_PER_S)

/* What is polled besides the broker. */
#define OWN_FDS 3

struct service {
    struct worker_options options;
    struct base_log log;
    char host[256];
    struct worker_supervisor *supervisor;
    struct worker_reporter *reporter;
    struct worker_dealer dealer;
    struct wire_curve curve;
    char key[PATH_MAX]; /* the file of it; "" if there is none */
    void *zmq;
    struct base_notify notify;
    int signal_fd;
    uint64_t now_ns;
    unsigned signals;                 /* seen so far */
    enum worker_reporter_state state; /* of the connection, as it was last looked at */
    bool ready;                       /* a child has been */
    bool stopping;                    /* no child is to be started any more */
    bool retired; /* likewise, by an order of the broker's; we stay all the same */
    bool killed;
    uint64_t kill_ns; /* when to stop being patient; BASE_CLOCK_FOREVER: never */
    enum exit_code code;
};

/* ---- beginning ---- */

/* The signals that stop it come through a file descriptor. Children begin with a clean mask. */
static int watch_signals(void) {
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || sigprocmask(SIG_BLOCK, &signals, NULL) != 0) {
        return -1;
    }
    return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* Each child takes a few files. */
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

static int open_supervisor(struct service *service) {
    const struct worker_options *options = &service->options;
    struct worker_supervisor_config config = {
        .count = options->processes,
        .threads = options->threads,
        .endpoint = options->endpoint,
        .key = service->key[0] == '\0' ? NULL : service->key,
        .server = service->key[0] == '\0' ? NULL : service->curve.server,
        .name = options->name,
        .modules = options->modules,
        .module_count = options->module_count,
        .tags = options->tags,
        .tag_count = options->tag_count,
        .tasks_max = options->tasks_max,
        .initializer = options->initializer,
        .grace_ns = options->grace_ns,
        .log = &service->log,
    };

    return worker_supervisor_open(&config, &service->supervisor);
}

/* The supervisor has a connection of its own, and its children read the file themselves. */
static bool load_keys(struct service *service) {
    const struct worker_options *options = &service->options;
    char error[512];

    if (options->key == NULL) {
        return true;
    }
    if (base_file_find(options->key, service->key, sizeof service->key) == NULL) {
        base_log(&service->log, BASE_LOG_ERROR, "--key: the path is too long");
        return false;
    }
    if (!wire_curve_load(&service->curve, service->key, options->server, error, sizeof error)) {
        base_log(&service->log, BASE_LOG_ERROR, "%s", error);
        return false;
    }
    service->dealer.curve = &service->curve;
    return true;
}

static int open_reporter(struct service *service) {
    struct worker_reporter_config config = {
        .name = service->options.name, .host = service->host, .pid = getpid()};

    if (!base_entropy(&config.session, sizeof config.session) ||
        !base_entropy(&config.seed, sizeof config.seed)) {
        return errno;
    }
    service->reporter = worker_reporter_new(&config, base_clock_ns());
    service->zmq = zmq_ctx_new();
    if (service->reporter == NULL || service->zmq == NULL) {
        return ENOMEM;
    }
    service->dealer.zmq = service->zmq;
    service->dealer.endpoint = service->options.endpoint;
    return worker_dealer_open(&service->dealer);
}

static bool open_service(struct service *service) {
    int error = base_notify_open(&service->notify);

    if (error != 0) {
        base_log(&service->log, BASE_LOG_WARN, "can't tell the service manager anything: %s",
                 strerror(error));
    }
    if (gethostname(service->host, sizeof service->host - 1) != 0) {
        (void)snprintf(service->host, sizeof service->host, "unknown");
    }
    if (service->options.name == NULL) {
        service->options.name = service->host;
    }
    if (service->options.processes == 0) {
        int cpus = furrow_cpu_count();

        service->options.processes =
            cpus < (int)WORKER_CHILDREN_MAX ? (unsigned)cpus : WORKER_CHILDREN_MAX;
    }
    service->kill_ns = BASE_CLOCK_FOREVER;
    service->signal_fd = watch_signals();
    if (service->signal_fd < 0) {
        base_log(&service->log, BASE_LOG_ERROR, "can't watch signals: %s", strerror(errno));
        return false;
    }
    raise_file_limit(&service->log);
    if (!load_keys(service)) {
        return false;
    }
    error = open_reporter(service);
    if (error != 0) {
        base_log(&service->log, BASE_LOG_ERROR, "%s: %s", service->options.endpoint,
                 zmq_strerror(error));
        return false;
    }
    error = open_supervisor(service);
    if (error != 0) {
        base_log(&service->log, BASE_LOG_ERROR, "can't supervise worker processes: %s",
                 strerror(error));
        return false;
    }
    return true;
}

static void close_service(struct service *service) {
    worker_supervisor_close(service->supervisor);
    worker_dealer_close(&service->dealer);
    wire_curve_wipe(&service->curve);
    worker_reporter_free(service->reporter);
    if (service->zmq != NULL) {
        (void)zmq_ctx_term(service->zmq);
    }
    if (service->signal_fd >= 0) {
        (void)close(service->signal_fd);
    }
    base_notify_close(&service->notify);
}

/* ---- children ---- */

static void handle_death(struct service *service, const struct worker_supervisor_event *event) {
    struct wire_child_died died = {
        .session = event->session,
        .pid = (uint64_t)event->pid,
        .signal = (uint32_t)event->signal,
        .exit_code = (uint32_t)event->exit_code,
        .host = {service->host, strlen(service->host)},
        .expected = event->expected,
        .running = event->running,
        .running_count = event->running_count,
    };
    char why[BASE_LOG_FIELDS_BYTES / 2] = "";

    if (!worker_reporter_died(service->reporter, &died)) {
        base_log(&service->log, BASE_LOG_ERROR,
                 "no memory to tell of the death of worker process %d", (int)event->pid);
    }
    if (event->text != NULL) {
        base_log_quote(why, sizeof why, event->text);
    }
    if (event->signal != 0) {
        base_log_fields(&service->log, event->expected ? BASE_LOG_INFO : BASE_LOG_WARN,
                        "worker process was killed", "pid=%d signal=%d running=%u%s%s",
                        (int)event->pid, event->signal, event->running_count,
                        why[0] == '\0' ? "" : " reason=", why);
    } else if (!event->expected || event->exit_code != 0) {
        base_log_fields(&service->log, BASE_LOG_WARN, "worker process exited",
                        "pid=%d exit_code=%d running=%u%s%s", (int)event->pid, event->exit_code,
                        event->running_count, why[0] == '\0' ? "" : " reason=", why);
    } else {
        base_log_fields(&service->log, BASE_LOG_DEBUG, "worker process has ended", "pid=%d",
                        (int)event->pid);
    }
}

/* No child can serve: those that are there need not try for long. */
static void fail(struct service *service, const char *text) {
    base_log(&service->log, BASE_LOG_ERROR, "%s", text);
    if (service->code == EXIT_OK) {
        service->code = EXIT_RUNTIME;
    }
    if (!service->stopping) {
        service->stopping = true;
        service->kill_ns = service->now_ns + FAILED_NS;
        worker_supervisor_stop(service->supervisor);
    }
}

static void handle_children(struct service *service) {
    struct worker_supervisor_event event;

    while (worker_supervisor_next(service->supervisor, service->now_ns, &event)) {
        switch (event.type) {
        case WORKER_CHILD_STARTED:
            break;
        case WORKER_CHILD_READY:
            base_log_fields(&service->log, BASE_LOG_INFO, "worker process serves", "pid=%d",
                            (int)event.pid);
            if (!service->ready) {
                /* Not before: what can't load its modules has not started well. The broker may be
                 * away, though. */
                service->ready = true;
                base_notify_say(&service->notify, "READY=1\nSTATUS=serving");
            }
            break;
        case WORKER_CHILD_RETIRING:
            base_log_fields(&service->log, BASE_LOG_DEBUG, "worker process takes nothing new",
                            "pid=%d", (int)event.pid);
            break;
        case WORKER_CHILD_DIED:
            handle_death(service, &event);
            break;
        case WORKER_CHILDREN_FAILED:
            fail(service, event.text);
            break;
        }
    }
}

/* ---- the broker ---- */

static void handle_broker(struct service *service) {
    enum worker_dealer_received received;
    struct wire_message *message;

    while (worker_dealer_connected(&service->dealer)) {
        worker_reporter_reconnected(service->reporter, service->now_ns);
    }
    while ((received = worker_dealer_receive(&service->dealer, &message)) !=
           WORKER_DEALER_NOTHING) {
        if (received == WORKER_DEALER_MESSAGE) {
            worker_reporter_receive(service->reporter, service->now_ns, message);
            wire_message_unref(message);
        }
    }
}

/* What has come in may have changed the state as well as what time does, so it is looked at once a
 * round. */
static void say_if_connected(struct service *service) {
    enum worker_reporter_state now = worker_reporter_state(service->reporter);

    if (now == WORKER_REPORTER_UP && service->state != WORKER_REPORTER_UP) {
        base_log(&service->log, BASE_LOG_INFO, "connected to %s", service->options.endpoint);
    }
    service->state = now;
}

static void talk(struct service *service) {
    struct wire_message *message;

    worker_reporter_step(service->reporter, service->now_ns);
    if (worker_reporter_wants_reconnect(service->reporter)) {
        int error = worker_dealer_open(&service->dealer);

        base_log(&service->log, BASE_LOG_WARN, "%s is silent: connecting anew%s%s",
                 service->options.endpoint, error == 0 ? "" : ": ",
                 error == 0 ? "" : zmq_strerror(error));
    }
    while ((message = worker_reporter_take(service->reporter)) != NULL) {
        worker_dealer_send(&service->dealer, message);
    }
    say_if_connected(service);
}

/* `furrow drain` has taken this machine out of service. The process stays, without worker processes:
 * whatever watches over it would start it again, and the machine would be back. */
static void retire_if_told(struct service *service) {
    if (!worker_reporter_stopped(service->reporter) || service->retired || service->stopping) {
        return;
    }
    service->retired = true;
    base_log(&service->log, BASE_LOG_INFO,
             "drained by the broker: finishing what runs, then waiting to be ended");
    worker_supervisor_stop(service->supervisor);
}

/* ---- the loop ---- */

static void handle_signals(struct service *service) {
    struct signalfd_siginfo info;

    while (read(service->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (service->signals++ == 0) {
            base_log(&service->log, BASE_LOG_INFO,
                     "signal %u: finishing what runs, a second one kills", info.ssi_signo);
            base_notify_say(&service->notify, "STOPPING=1\nSTATUS=finishing what runs");
            service->stopping = true;
            worker_supervisor_stop(service->supervisor);
        } else {
            service->kill_ns = service->now_ns;
        }
    }
}

static void kill_if_due(struct service *service) {
    if (service->now_ns < service->kill_ns) {
        return;
    }
    service->kill_ns = BASE_CLOCK_FOREVER;
    if (worker_supervisor_alive(service->supervisor) > 0) {
        service->killed = true;
        if (service->code == EXIT_OK) {
            service->code = EXIT_LEFTOVERS;
        }
        worker_supervisor_stop(service->supervisor);
        worker_supervisor_signal(service->supervisor, SIGKILL);
    }
}

static void sleep_until(struct service *service, uint64_t until_ns) {
    struct pollfd fds[OWN_FDS + WORKER_DEALER_FDS] = {
        {.fd = service->signal_fd, .events = POLLIN},
        {.fd = worker_supervisor_fd(service->supervisor), .events = POLLIN},
        {.fd = base_notify_fd(&service->notify), .events = POLLIN},
    };

    worker_dealer_poll(&service->dealer, fds + OWN_FDS);
    if (poll(fds, sizeof fds / sizeof fds[0], base_clock_poll_ms(until_ns, service->now_ns)) > 0) {
        worker_dealer_polled(&service->dealer, fds + OWN_FDS);
    }
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns) {
    return a_ns < b_ns ? a_ns : b_ns;
}

static void serve(struct service *service) {
    uint64_t until_ns = 0;

    do {
        if (!service->dealer.look && !service->dealer.look_monitor && until_ns > 0) {
            sleep_until(service, until_ns);
        }
        service->now_ns = base_clock_ns();
        base_notify_alive(&service->notify);
        handle_signals(service);
        kill_if_due(service);
        handle_children(service);
        handle_broker(service);
        talk(service);
        if (service->dealer.hopeless != NULL && !service->stopping) {
            char text[512];

            (void)snprintf(text, sizeof text, "%s: %s", service->options.endpoint,
                           service->dealer.hopeless);
            fail(service, text);
        }
        retire_if_told(service);
        if (worker_reporter_state(service->reporter) == WORKER_REPORTER_REFUSED &&
            !service->stopping) {
            fail(service, worker_reporter_text(service->reporter));
        }
        until_ns = earlier(worker_supervisor_deadline(service->supervisor),
                           worker_reporter_deadline(service->reporter));
        until_ns = earlier(until_ns, service->kill_ns);
    } while (!service->stopping || worker_supervisor_alive(service->supervisor) > 0 ||
             worker_supervisor_deadline(service->supervisor) == 0);
}

/* The last deaths are told, and good-bye said, as far as that goes quickly. */
static void take_leave(struct service *service) {
    uint64_t until_ns = base_clock_ns() + LEAVE_NS;

    worker_reporter_leave(service->reporter);
    for (;;) {
        service->now_ns = base_clock_ns();
        handle_broker(service);
        talk(service);
        if (worker_reporter_state(service->reporter) == WORKER_REPORTER_LEFT ||
            worker_reporter_state(service->reporter) == WORKER_REPORTER_REFUSED ||
            service->dealer.hopeless != NULL || service->now_ns >= until_ns) {
            return;
        }
        if (!service->dealer.look && !service->dealer.look_monitor) {
            sleep_until(service, earlier(until_ns, worker_reporter_deadline(service->reporter)));
        }
    }
}

int furrow_private_worker_main(int argc, char **argv) {
    static struct base_log_stderr_user log_user = {.fields = "role=worker"};
    static struct service service = {.signal_fd = -1, .notify = {-1, -1}};
    char error[512];

    worker_child_main(argc, argv);
    service.log = (struct base_log){base_log_stderr, &log_user, BASE_LOG_INFO};
    if (!worker_options_parse(&service.options, argc, argv, error, sizeof error)) {
        (void)fprintf(stderr, "furrow-worker: %s\nTry --help.\n", error);
        return EXIT_USAGE;
    }
    if (service.options.help) {
        (void)fputs(worker_options_usage(), stdout);
    } else if (service.options.version) {
        (void)printf("furrow-worker %s\n", furrow_version());
    }
    if (service.options.help || service.options.version) {
        return fflush(stdout) == 0 ? EXIT_OK : EXIT_RUNTIME;
    }
    service.log.level = service.options.log_level;
    log_user.format = service.options.log_format;
    if (open_service(&service)) {
        serve(&service);
        take_leave(&service);
        base_log(&service.log, BASE_LOG_INFO, service.killed ? "killed" : "ended");
    } else {
        service.code = EXIT_RUNTIME;
    }
    close_service(&service);
    return (int)service.code;
}
