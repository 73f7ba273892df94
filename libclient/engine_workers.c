#include "libclient/engine_local.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "task/status.h"

/* So many children in a row may die without having served: then it is not a task's fault. */
#define STILLBORN_MAX 8u

/* ----------------------------------------------------- finding furrow-worker */

#define WORKER_PROGRAM "furrow-worker"

/* The program at directory/name, if it can be executed. */
static bool program_at(char *path, const char *directory, size_t directory_size, const char *name) {
    int length = snprintf(path, PATH_MAX, "%.*s/%s", (int)directory_size, directory, name);

    return length > 0 && length < PATH_MAX && access(path, X_OK) == 0;
}

/* Beside the file, or where an installation has it. */
static bool program_near(char *path, const char *file) {
    const char *slash = strrchr(file, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - file);

    return slash != NULL && (program_at(path, file, size, WORKER_PROGRAM) ||
                             program_at(path, file, size, "../bin/" WORKER_PROGRAM) ||
                             program_at(path, file, size, "../../bin/" WORKER_PROGRAM));
}

static bool program_in_search_path(char *path) {
    const char *at = getenv("PATH");

    while (at != NULL && *at != '\0') {
        size_t size = strcspn(at, ":");

        if (size > 0 && program_at(path, at, size, WORKER_PROGRAM)) {
            return true;
        }
        at += size + (at[size] == ':');
    }
    return false;
}

static furrow_status find_program(char *path) {
    const char *named = getenv("FURROW_WORKER");
    char self[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    Dl_info library;

    if (named != NULL && named[0] != '\0') {
        if (access(named, X_OK) != 0 || strlen(named) >= PATH_MAX) {
            return task_set_error(FURROW_EINVAL, "FURROW_WORKER: %s: %s", named, strerror(errno));
        }
        (void)snprintf(path, PATH_MAX, "%s", named);
        return FURROW_OK;
    }
    self[size > 0 ? size : 0] = '\0';
    if ((dladdr(&engine_local, &library) != 0 && library.dli_fname != NULL &&
         program_near(path, library.dli_fname)) ||
        program_near(path, self) || program_in_search_path(path)) {
        return FURROW_OK;
    }
    return task_set_error(FURROW_EINVAL,
                          "processes: with a module needs the program " WORKER_PROGRAM
                          ", which is neither beside the library or this program nor in PATH; "
                          "set FURROW_WORKER to its path");
}

/* ------------------------------------------------------------------- opening */

static furrow_status check_options(const struct engine *engine) {
    const furrow_options *options = &engine->base.options;

    if (options->module == NULL && !engine_may_run_again()) {
        return task_set_error(FURROW_EINVAL,
                              "processes: runs this program again for its workers: call "
                              "furrow_init(&argc, &argv) first thing in main, or name a task "
                              "module (processes:?module=./tasks.so)");
    }
    if (options->max_workers > (int)WORKER_CHILDREN_MAX) {
        return task_set_error(FURROW_EINVAL, "processes: %d workers are more than %u",
                              options->max_workers, WORKER_CHILDREN_MAX);
    }
    return FURROW_OK;
}

furrow_status engine_workers_open(struct engine *engine) {
    struct local *local = engine_local_of(engine);
    const furrow_options *options = &engine->base.options;
    struct worker_supervisor_config config = {
        .count = (unsigned)options->max_workers,
        .threads = (unsigned)options->threads_per_worker,
        .endpoint = local->endpoint,
        .initializer = options->initializer == NULL ? NULL : options->initializer->name,
        .initializer_args = options->initializer_args,
        .initializer_args_size = options->initializer_args_size,
        .home = local->shared,
        .on_demand = true,
        .log = &engine->base.log,
    };
    char program[PATH_MAX];
    furrow_status status = check_options(engine);
    int error;

    if (status != FURROW_OK) {
        return status;
    }
    if (options->max_tasks_per_child != FURROW_DEFAULT) {
        config.tasks_max = (uint64_t)options->max_tasks_per_child;
    }
    if (options->module != NULL) {
        status = find_program(program);
        if (status != FURROW_OK) {
            return status;
        }
        config.program = program;
        config.modules = &options->module;
        config.module_count = 1;
    }
    error = worker_supervisor_open(&config, &local->supervisor);
    if (error != 0) {
        return task_set_error(error == EINVAL   ? FURROW_EINVAL
                              : error == ENOMEM ? FURROW_ENOMEM
                                                : FURROW_ESYSTEM,
                              "the worker processes: %s", strerror(error));
    }
    return FURROW_OK;
}

/* ------------------------------------------------------------------ watching */

static void describe_death(const struct worker_supervisor_event *event, char *text, size_t size) {
    if (event->signal != 0) {
        (void)snprintf(text, size, "worker process %d was killed by signal %d (%s)",
                       (int)event->pid, event->signal, strsignal(event->signal));
    } else {
        (void)snprintf(text, size, "worker process %d exited with code %d", (int)event->pid,
                       event->exit_code);
    }
    if (event->text != NULL) {
        size_t length = strlen(text);

        (void)snprintf(text + length, size - length, ": %s", event->text);
    }
}

static void handle_death(struct engine *engine, const struct worker_supervisor_event *event) {
    struct local *local = engine_local_of(engine);
    char text[ENGINE_TEXT_BYTES / 2];

    engine_herald_died(engine, event);
    if (event->expected) {
        return;
    }
    describe_death(event, text, sizeof text);
    if (engine->base.options.strict) {
        engine_break(engine, WIRE_KIND_BROKEN, "%s", text);
        return;
    }
    base_log(&engine->base.log, BASE_LOG_WARN, "%s; it is replaced", text);
    local->stillborn += event->finished == 0 && event->running_count == 0;
    if (local->stillborn >= STILLBORN_MAX) {
        engine_break(engine, WIRE_KIND_BROKEN, "no worker process lives long enough to serve: %s",
                     text);
    }
}

static void handle_event(struct engine *engine, const struct worker_supervisor_event *event) {
    struct local *local = engine_local_of(engine);

    switch (event->type) {
    case WORKER_CHILD_STARTED:
    case WORKER_CHILD_RETIRING:
        break;
    case WORKER_CHILD_READY:
        local->stillborn = 0;
        break;
    case WORKER_CHILD_DIED:
        handle_death(engine, event);
        break;
    case WORKER_CHILDREN_FAILED:
        base_log(&engine->base.log, BASE_LOG_ERROR, "%s",
                 event->text == NULL ? "worker processes can't be started" : event->text);
        engine_break(engine, WIRE_KIND_BROKEN, "%s%s",
                     event->initializer ? "the initializer failed: " : "",
                     event->text == NULL ? "worker processes can't be started" : event->text);
        break;
    }
}

/* As many as there are tasks to keep busy at once: a program that submits one after the other needs
 * but one process, and always the same. */
static void start_if_needed(struct engine *engine) {
    struct local *local = engine_local_of(engine);
    const furrow_options *options = &engine->base.options;
    unsigned threads = (unsigned)options->threads_per_worker;
    struct client_stats stats;
    uint64_t needed;

    if (local->wanted == (unsigned)options->max_workers || local->stopped) {
        return;
    }
    client_get_stats(engine->core, &stats);
    needed = ((uint64_t)stats.sent + stats.waiting + threads - 1) / threads;
    if (needed > (unsigned)options->max_workers) {
        needed = (unsigned)options->max_workers;
    }
    if (needed > local->wanted) {
        local->wanted = (unsigned)needed;
        local->supervise = true;
        worker_supervisor_want(local->supervisor, local->wanted);
    }
}

void engine_workers_watch(struct engine *engine) {
    struct local *local = engine_local_of(engine);
    struct worker_supervisor_event event;

    start_if_needed(engine);
    if (engine->raw_ns >= local->kill_ns) {
        local->kill_ns = UINT64_MAX;
        worker_supervisor_signal(local->supervisor, SIGKILL);
    }
    if (!local->supervise && engine->raw_ns < worker_supervisor_deadline(local->supervisor)) {
        return;
    }
    /* A process inherits much from the thread that starts it: so that is always the same one. */
    if (engine->drive.led) {
        engine->drive.io_wanted = true;
        return;
    }
    local->supervise = false;
    while (worker_supervisor_next(local->supervisor, engine->raw_ns, &event)) {
        handle_event(engine, &event);
    }
}

void engine_workers_stop(struct engine *engine, uint64_t grace_ns) {
    struct local *local = engine_local_of(engine);
    uint64_t kill_ns = engine->raw_ns + grace_ns;

    worker_supervisor_stop(local->supervisor);
    local->stopped = true;
    local->supervise = true;
    if (kill_ns < local->kill_ns) {
        local->kill_ns = kill_ns;
    }
}

uint64_t engine_workers_deadline(const struct engine *engine) {
    const struct local *local = engine_local_of(engine);
    uint64_t raw_ns = worker_supervisor_deadline(local->supervisor);

    if (local->kill_ns < raw_ns) {
        raw_ns = local->kill_ns;
    }
    /* The supervisor knows the real clock. */
    return raw_ns == UINT64_MAX ? UINT64_MAX : raw_ns - engine->skew_ns;
}
