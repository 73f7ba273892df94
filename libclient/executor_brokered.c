#include "libclient/engine.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/entropy.h"
#include "base/futex.h"
#include "base/room.h"
#include "task/status.h"

static struct engine *engine_of(furrow_executor *executor) {
    return BASE_CONTAINER_OF(executor, struct engine, base);
}

/* ------------------------------------------------------------------ submitting */

static furrow_status define(furrow_executor *executor, struct executor_class *class_) {
    struct engine *engine = engine_of(executor);
    int64_t index;

    if (engine_is_strict_fleet(engine)) {
        class_->define.flags |= WIRE_FLAG_AT_MOST_ONCE;
    }
    index = client_class_intern(engine->core, &class_->define);
    if (index == -2) {
        return task_set_error(FURROW_ETOOBIG, "more than %u different kinds of tasks",
                              WIRE_CLASSES_MAX);
    }
    if (index < 0) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    class_->own = (uint64_t)index;
    return FURROW_OK;
}

static furrow_status refused(furrow_executor *executor) {
    furrow_status status = executor_check(executor);

    return status != FURROW_OK ? status : task_set_plain_error(FURROW_ESHUTDOWN);
}

static furrow_status submit(furrow_executor *executor, furrow_future *future) {
    struct engine *engine = engine_of(executor);

    future->task.class_index = (uint32_t)future->class_->own;
    if (BASE_UNLIKELY(!engine_submit(engine, &future->inbox, &future->inbox))) {
        return refused(executor);
    }
    return FURROW_OK;
}

static struct wire_blob *blob(furrow_executor *executor, size_t size) {
    struct engine *engine = engine_of(executor);

    return engine->transport->blob(engine, size);
}

/* Links futures as the inbox wants them, the newest first, and returns the newest. */
static struct base_inbox_node *link_newest_first(furrow_future *first) {
    struct base_inbox_node *newest = NULL;

    for (furrow_future *future = first, *next; future != NULL; future = next) {
        next = future->next;
        future->task.class_index = (uint32_t)future->class_->own;
        future->inbox.next = newest;
        newest = &future->inbox;
    }
    return newest;
}

/* The opposite. */
static void link_oldest_first(struct base_inbox_node *newest) {
    furrow_future *first = NULL;

    for (struct base_inbox_node *node = newest, *older; node != NULL; node = older) {
        older = node->next;
        future_of_inbox(node)->next = first;
        first = future_of_inbox(node);
    }
}

static furrow_status submit_chain(furrow_executor *executor, furrow_future *first,
                                  furrow_future *last, size_t count) {
    struct engine *engine = engine_of(executor);
    struct base_inbox_node *newest;
    (void)count;

    last->next = NULL;
    newest = link_newest_first(first);
    if (BASE_UNLIKELY(!engine_submit(engine, newest, &first->inbox))) {
        link_oldest_first(newest);
        return refused(executor);
    }
    return FURROW_OK;
}

/* ---- with an initializer for the workers of a broker: a way of its own, so that the others don't pay ---- */

static furrow_status define_initialized(furrow_executor *executor, struct executor_class *class_) {
    class_->define.flags |= WIRE_FLAG_INITIALIZED;
    return define(executor, class_);
}

static furrow_status submit_initialized(furrow_executor *executor, furrow_future *future) {
    furrow_status status = engine_initializer_prepend(engine_of(executor), future);

    return status == FURROW_OK ? submit(executor, future) : status;
}

/* What is not submitted is not submitted again, but dropped: so it may have got its head. */
static furrow_status submit_chain_initialized(furrow_executor *executor, furrow_future *first,
                                              furrow_future *last, size_t count) {
    furrow_future *future = first;

    for (size_t i = 0; i < count; i++, future = future->next) {
        furrow_status status = engine_initializer_prepend(engine_of(executor), future);

        if (status != FURROW_OK) {
            return status;
        }
    }
    return submit_chain(executor, first, last, count);
}

static bool cancel(furrow_executor *executor, furrow_future *future, bool wait) {
    struct engine *engine = engine_of(executor);
    struct engine_request request = {.type = ENGINE_CANCEL, .future = future};

    if (!future_done(future)) {
        if (wait && !engine_is_current(engine)) {
            (void)engine_ask(engine, &request);
        } else {
            (void)engine_tell(engine, &request);
        }
    }
    return future_state(future) == FURROW_CANCELLED;
}

static void help(furrow_executor *executor, const furrow_future *future, uint64_t deadline_ns) {
    engine_drive_help(engine_of(executor), future, deadline_ns);
}

/* --------------------------------------------------------------------- the end */

/* Whether the engine has ended by then. */
static bool wait_ended(struct engine *engine, uint64_t deadline_ns) {
    while (atomic_load(&engine->ended) == 0) {
        if (base_futex_wait(&engine->ended, 0, deadline_ns) == ETIMEDOUT) {
            return atomic_load(&engine->ended) != 0;
        }
    }
    return true;
}

static void join(struct engine *engine) {
    pthread_mutex_lock(&engine->join_lock);
    if (!engine->joined) {
        (void)pthread_join(engine->thread, NULL);
        engine->joined = true;
    }
    pthread_mutex_unlock(&engine->join_lock);
}

static void ask_or_tell(struct engine *engine, struct engine_request *request) {
    if (!engine_is_current(engine)) {
        (void)engine_ask(engine, request);
    } else if (!engine_tell(engine, request)) {
        base_log(&engine->base.log, BASE_LOG_ERROR,
                 "out of memory: a request in a callback is lost");
    }
}

static furrow_status shutdown_engine(furrow_executor *executor, unsigned flags) {
    struct engine *engine = engine_of(executor);
    struct engine_request request = {.type = ENGINE_SHUTDOWN, .flags = flags};

    ask_or_tell(engine, &request);
    if ((flags & FURROW_SHUTDOWN_WAIT) != 0) {
        join(engine);
    }
    return FURROW_OK;
}

static uint64_t deadline_after(uint64_t duration_ns) {
    uint64_t now_ns = base_clock_ns();

    return duration_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + duration_ns;
}

static furrow_status shutdown_within(furrow_executor *executor, uint64_t drain_ns,
                                     uint64_t grace_ns) {
    struct engine *engine = engine_of(executor);
    struct engine_request drain = {.type = ENGINE_SHUTDOWN};
    struct engine_request stop = {.type = ENGINE_STOP};
    struct engine_request kill_all = {.type = ENGINE_KILL};
    uint64_t drained_ns = deadline_after(drain_ns);

    if (engine_ask(engine, &drain) && !wait_ended(engine, drained_ns) &&
        engine_ask(engine, &stop) && !wait_ended(engine, deadline_after(grace_ns))) {
        (void)engine_ask(engine, &kill_all);
    }
    join(engine);
    if (atomic_load(&engine->forced)) {
        return task_set_error(FURROW_ETIMEOUT,
                              "the shutdown had to cancel, interrupt or give up tasks");
    }
    return FURROW_OK;
}

static furrow_status signal_workers(furrow_executor *executor, int signal_number) {
    struct engine *engine = engine_of(executor);
    struct engine_request request = {.type = ENGINE_SIGNAL, .signal_number = signal_number};

    ask_or_tell(engine, &request);
    return FURROW_OK;
}

static void identify(furrow_executor *executor, const furrow_future *future,
                     struct wire_session *session, uint64_t *id) {
    *session = ((const struct engine *)executor)->session;
    *id = __atomic_load_n(&future->task.id, __ATOMIC_RELAXED);
}

static void describe(furrow_executor *executor, furrow_executor_info *info) {
    struct engine *engine = engine_of(executor);
    struct engine_request request = {.type = ENGINE_DESCRIBE, .info = info};
    const furrow_options *options = &executor->options;
    bool local = executor->url.scheme == CLIENT_PROCESSES;

    info->max_workers = local ? options->max_workers * options->threads_per_worker : 0;
    info->pending = 0;
    info->workers_alive = local ? 0 : -1;
    if (engine_is_current(engine)) {
        engine_describe(engine, info);
    } else {
        (void)engine_ask(engine, &request);
    }
}

static void destroy(struct engine *engine) {
    executor_await_guests(&engine->base); /* one that drove may be about to leave */
    engine->transport->free(engine);
    client_core_free(engine->core);
    base_buffer_fini(&engine->head);
    engine_drive_close(engine);
    (void)pthread_mutex_destroy(&engine->join_lock);
    executor_fini(&engine->base);
    free(engine);
}

static void free_executor(furrow_executor *executor) {
    struct engine *engine = engine_of(executor);

    join(engine);
    destroy(engine);
}

/* ------------------------------------------------------------------- beginning */

static const struct executor_ops processes_ops = {
    .scheme = "processes",
    .define = define,
    .submit = submit,
    .submit_chain = submit_chain,
    .blob = blob,
    .cancel = cancel,
    .help = help,
    .shutdown = shutdown_engine,
    .shutdown_within = shutdown_within,
    .signal_workers = signal_workers,
    .identify = identify,
    .describe = describe,
    .free = free_executor,
};
#define REMOTE_OPS(scheme_name, way)                                                               \
    {                                                                                              \
        .scheme = (scheme_name), .define = define##way, .submit = submit##way,                     \
        .submit_chain = submit_chain##way, .cancel = cancel, .help = help,                         \
        .shutdown = shutdown_engine, .shutdown_within = shutdown_within, .identify = identify,     \
        .describe = describe, .free = free_executor                                                \
    }

static const struct executor_ops tcp_ops[] = {REMOTE_OPS("tcp", ), REMOTE_OPS("tcp", _initialized)};
static const struct executor_ops ipc_ops[] = {REMOTE_OPS("ipc", ), REMOTE_OPS("ipc", _initialized)};

static const struct executor_ops *ops_of(const struct client_url *url) {
    unsigned initialized = url->options.initializer != NULL;

    switch (url->scheme) {
    case CLIENT_PROCESSES:
        return &processes_ops;
    case CLIENT_TCP:
        return &tcp_ops[initialized];
    case CLIENT_IPC:
    case CLIENT_THREADS:
        break;
    }
    return &ipc_ops[initialized];
}

static void apply_defaults(struct engine *engine) {
    furrow_options *options = &engine->base.options;

    if (options->max_workers == FURROW_DEFAULT) {
        options->max_workers = furrow_cpu_count();
    }
    if (options->threads_per_worker == FURROW_DEFAULT) {
        options->threads_per_worker = 1;
    }
    if (gethostname(engine->host, sizeof engine->host) != 0) {
        engine->host[0] = '\0';
    }
    engine->host[sizeof engine->host - 1] = '\0';
}

static furrow_status make_core(struct engine *engine) {
    struct client_config config = {
        .name = program_invocation_short_name,
        .host = engine->host,
        .pid = getpid(),
        .await_transport = engine->transport == &engine_remote,
        .has_room = base_has_room,
    };

    if (!base_entropy(&config.session, sizeof config.session) ||
        !base_entropy(&config.seed, sizeof config.seed)) {
        return task_set_error(FURROW_ESYSTEM, "no random numbers from the system: %s",
                              strerror(errno));
    }
    engine->session = config.session;
    engine->core = client_core_new(&config, base_clock_ns());
    return engine->core == NULL ? task_set_plain_error(FURROW_ENOMEM) : FURROW_OK;
}

/* Signals are for the program's own threads. */
static furrow_status start_thread(struct engine *engine) {
    sigset_t before;
    int error;

    engine_block_signals(&before);
    error = pthread_create(&engine->thread, NULL, engine_run, engine);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        return task_set_error(FURROW_ESYSTEM, "no thread for the executor: %s", strerror(error));
    }
    (void)pthread_setname_np(engine->thread, "furrow-io");
    return FURROW_OK;
}

static furrow_status await_connection(struct engine *engine) {
    double seconds = engine->base.options.connect_timeout;
    uint64_t deadline_ns = base_clock_deadline(base_clock_ns(), seconds);
    unsigned state;

    if (!(seconds > 0) || engine->transport != &engine_remote) {
        return FURROW_OK;
    }
    while ((state = atomic_load(&engine->connected)) == ENGINE_NOT_YET) {
        if (base_futex_wait(&engine->connected, state, deadline_ns) == ETIMEDOUT &&
            atomic_load(&engine->connected) == ENGINE_NOT_YET) {
            return task_set_error(FURROW_ETIMEOUT, "no broker answered at %s within %g s",
                                  engine->base.url.address, seconds);
        }
    }
    return state == ENGINE_REFUSED ? executor_check(&engine->base) : FURROW_OK;
}

/* Makes all that there is without a thread. On error everything is gone again. */
static struct engine *engine_new(struct client_url *url) {
    struct engine *engine = calloc(1, sizeof *engine);
    int error;

    if (engine == NULL) {
        (void)task_set_plain_error(FURROW_ENOMEM);
        return NULL;
    }
    engine->transport = url->scheme == CLIENT_PROCESSES ? &engine_local : &engine_remote;
    base_inbox_init(&engine->submits);
    base_inbox_init(&engine->requests);
    error = engine_drive_open(engine);
    if (error != 0) {
        (void)task_set_error(FURROW_ESYSTEM, "no event for the executor: %s", strerror(error));
        engine_drive_close(engine);
        free(engine);
        return NULL;
    }
    if (!executor_init(&engine->base, ops_of(url), url)) {
        (void)task_set_plain_error(FURROW_ENOMEM);
        engine_drive_close(engine);
        free(engine);
        return NULL;
    }
    (void)pthread_mutex_init(&engine->join_lock, NULL);
    engine->joined = true;
    engine->raw_ns = base_clock_ns();
    apply_defaults(engine);
    if (make_core(engine) != FURROW_OK || engine->transport->open(engine) != FURROW_OK) {
        destroy(engine);
        return NULL;
    }
    return engine;
}

furrow_executor *executor_open_brokered(struct client_url *url) {
    struct engine *engine = engine_new(url);

    if (engine == NULL) {
        return NULL;
    }
    if (start_thread(engine) != FURROW_OK) {
        destroy(engine);
        return NULL;
    }
    engine->joined = false;
    if (await_connection(engine) != FURROW_OK) {
        (void)shutdown_engine(&engine->base, FURROW_SHUTDOWN_WAIT);
        destroy(engine);
        return NULL;
    }
    return &engine->base;
}
