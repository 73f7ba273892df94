#include "worker/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <zmq.h>

#include "base/entropy.h"
#include "base/room.h"
#include "wire/shared.h"
#include "worker/process.h"

/* How long threads may take to end that have nothing to do any more. */
#define JOIN_NS BASE_CLOCK_NS_PER_S

bool worker_is_child(int argc, char *const *argv) {
    return argc >= 2 &&
           strncmp(argv[1], WORKER_CHILD_ARGUMENT, sizeof(WORKER_CHILD_ARGUMENT) - 1) == 0;
}

/* ---- what it says ---- */

static void log_to_supervisor(void *user, enum base_log_level level, const char *message,
                              const char *fields) {
    char text[WORKER_RECORD_TEXT_BYTES];

    (void)snprintf(text, sizeof text, "%s%s%s", message, fields[0] == '\0' ? "" : " ", fields);
    (void)worker_record_send(WORKER_FD_CONTROL, WORKER_RECORD_LOG, level, text);
    (void)user;
}

static void fail(const char *text) {
    (void)worker_record_send(WORKER_FD_CONTROL, WORKER_RECORD_FAILED, BASE_LOG_ERROR, text);
}

/* ---- what it begins with ---- */

/* Binds this process, and whatever its tasks start, to the life of its supervisor: when the pipe ends
 * the kernel kills the whole process group, however busy or stopped it may be. Who drives looks at
 * the pipe as well. */
static void hold_lifeline(void) {
    int flags = fcntl(WORKER_FD_LIFELINE, F_GETFL);

    (void)fcntl(WORKER_FD_LIFELINE, F_SETSIG, SIGKILL);
    if (fcntl(WORKER_FD_LIFELINE, F_SETOWN, -getpgrp()) == 0) {
        (void)fcntl(WORKER_FD_LIFELINE, F_SETFL, flags | O_ASYNC);
    }
}

/* The processes that tasks start have no part in this. False: a descriptor is missing. */
static bool hide_fds(const struct worker_settings *settings) {
    for (int fd = WORKER_FD_LIFELINE; fd <= WORKER_FD_OWN; fd++) {
        bool there = fd <= WORKER_FD_BOX || (fd == WORKER_FD_ARGS && settings->arguments) ||
                     (fd > WORKER_FD_ARGS && settings->shared);

        if (there && fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
            return false;
        }
    }
    return true;
}

/* SIGTERM comes to who drives as something to read. Ctrl-C is for the supervisor: this process is
 * in a group of its own, and whoever sends SIGINT to it all the same is not heard. */
static bool take_signals(struct worker_process *process) {
    sigset_t term;

    (void)signal(SIGINT, SIG_IGN);
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &term, NULL) != 0) {
        return false;
    }
    process->signal_fd = signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK);
    return process->signal_fd >= 0;
}

static bool map_box(struct worker_process *process) {
    size_t bytes = worker_box_bytes(process->settings.threads);
    void *box = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, WORKER_FD_BOX, 0);

    process->box = box == MAP_FAILED ? NULL : box;
    return process->box != NULL && process->box->slot_count == process->settings.threads;
}

/* Without it large payloads go through the socket. */
static void map_shared(struct worker_process *process) {
    int error;

    if (!process->settings.shared) {
        return;
    }
    error = wire_shared_own_open(WORKER_FD_HOME, WORKER_FD_OWN, &process->shared);
    if (error != 0) {
        process->shared = NULL;
        base_log(&process->log, BASE_LOG_WARN,
                 "no shared memory, large payloads go through the socket: %s", strerror(error));
    }
    (void)close(WORKER_FD_HOME);
    (void)close(WORKER_FD_OWN);
}

static bool make_no_memory(struct worker_process *process) {
    static const char text[] = "no memory for the task's result";
    struct wire_error error = {
        .code = FURROW_ENOMEM,
        .message = {text, sizeof text - 1},
        .function = {"", 0},
        .host = {process->host, strlen(process->host)},
        .pid = getpid(),
    };

    base_buffer_init(&process->no_memory);
    return wire_error_encode(&error, &process->no_memory);
}

/* Loads modules and looks up the initializer. False: the supervisor has been told why not. */
static bool load_functions(struct worker_process *process) {
    const struct worker_settings *settings = &process->settings;
    const char *refused;

    process->modules = calloc(settings->module_count + 1, sizeof(struct task_module *));
    if (process->modules == NULL) {
        fail("out of memory");
        return false;
    }
    for (uint32_t i = 0; i < settings->module_count; i++) {
        if (task_module_load(settings->modules[i], &process->modules[i]) != FURROW_OK) {
            fail(furrow_last_error());
            return false;
        }
    }
    if (task_registry_refused(&refused) > 0) {
        base_log(&process->log, BASE_LOG_WARN,
                 "a second task function of the name \"%s\" was ignored", refused);
    }
    if (task_registry_list(&process->functions) != FURROW_OK) {
        fail(furrow_last_error());
        return false;
    }
    if (settings->initializer != NULL) {
        process->initializer =
            task_registry_find(settings->initializer, strlen(settings->initializer));
        if (process->initializer == NULL) {
            char text[WORKER_RECORD_TEXT_BYTES];

            (void)snprintf(text, sizeof text, "there is no task function %s for an initializer",
                           settings->initializer);
            (void)worker_record_send(WORKER_FD_CONTROL, WORKER_RECORD_INITIALIZER, BASE_LOG_ERROR,
                                     text);
            return false;
        }
    }
    return true;
}

static bool make_core(struct worker_process *process) {
    const struct worker_settings *settings = &process->settings;
    struct worker_config config = {
        .session = settings->session,
        .slots = settings->threads,
        .tasks_max = settings->tasks_max,
        .name = settings->name,
        .host = process->host,
        .pid = getpid(),
        .functions = process->functions.names,
        .function_count = process->functions.count,
        .tags = settings->tags,
        .tag_count = settings->tag_count,
        .grace_ns = settings->grace_ns,
        .await_transport = true,
        .has_room = base_has_room,
    };

    (void)base_entropy(&config.seed, sizeof config.seed);
    process->core = worker_core_new(&config, base_clock_ns());
    return process->core != NULL;
}

/* ---- its life ---- */

static bool open_process(struct worker_process *process) {
    int error;

    process->log = (struct base_log){log_to_supervisor, NULL, process->settings.log_level};
    if (gethostname(process->host, sizeof process->host) != 0) {
        process->host[0] = '\0';
    }
    process->host[sizeof process->host - 1] = '\0';
    if (!take_signals(process) || !map_box(process) || !make_no_memory(process)) {
        fail(strerror(errno));
        return false;
    }
    error = base_wake_open(&process->wake);
    if (error != 0) {
        fail(strerror(error));
        return false;
    }
    map_shared(process);
    if (!load_functions(process)) {
        return false;
    }
    process->zmq = zmq_ctx_new();
    if (process->zmq == NULL || !make_core(process)) {
        fail("out of memory");
        return false;
    }
    error = worker_drive_open(process);
    if (error == 0) {
        error = worker_lanes_open(process);
    }
    if (error != 0) {
        fail(strerror(error));
        return false;
    }
    return true;
}

static void close_process(struct worker_process *process) {
    /* The core has the tasks, and the pool may still run some: it must end first. */
    if (!worker_lanes_close(process, base_clock_ns() + JOIN_NS)) {
        _exit(process->left ? 0 : 1);
    }
    worker_loop_close(process);
    worker_core_free(process->core);
    if (process->zmq != NULL) {
        (void)zmq_ctx_term(process->zmq);
    }
    task_function_list_fini(&process->functions);
    wire_shared_own_close(process->shared);
    base_buffer_fini(&process->no_memory);
    base_wake_close(&process->wake);
    worker_drive_close(process);
    /* process->modules stays: what they have registered with atexit has to run. */
    worker_settings_fini(&process->settings);
}

/* Outside of worker_child_main, because the memory is to be free of whatever exit() runs. */
static int serve(int argc, char *const *argv) {
    static struct worker_process process;
    const char *wrong = worker_settings_parse(&process.settings, argc, argv);
    int code = 1;

    if (wrong == NULL && !hide_fds(&process.settings)) {
        wrong = "its descriptors are missing";
        worker_settings_fini(&process.settings);
    }
    if (wrong != NULL) {
        (void)fprintf(stderr, "%s: not started as a worker process should be: %s\n", argv[0],
                      wrong);
        return 2;
    }
    hold_lifeline();
    process.wake.fd = -1;
    process.guard_fd = -1;
    if (open_process(&process)) {
        code = worker_loop(&process);
    }
    if (process.left) {
        (void)worker_record_send(WORKER_FD_CONTROL, WORKER_RECORD_LEAVING, BASE_LOG_ERROR, NULL);
    }
    close_process(&process);
    return code;
}

void worker_child_main(int argc, char **argv) {
    if (worker_is_child(argc, argv)) {
        exit(serve(argc, argv));
    }
}
