#include "libclient/executor.h"

#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/entropy.h"
#include "base/futex.h"
#include "libclient/executor_classes.h"
#include "libclient/executor_private.h"
#include "task/status.h"

#define FLAG_ASLEEP 0x80000000U /* in gate and guests: somebody sleeps on the word */
#define LINE_BYTES  (BASE_LOG_MESSAGE_BYTES + BASE_LOG_FIELDS_BYTES + 2)

/* ------------------------------------------------------------- the open executors
 *
 * A callback that fails late has only a future, whose executor may be gone: it asks here. */

static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static furrow_executor *open_first;
static uint64_t open_serial;

static void register_open(furrow_executor *executor) {
    pthread_mutex_lock(&open_lock);
    executor->open_next = open_first;
    executor->serial = ++open_serial;
    open_first = executor;
    pthread_mutex_unlock(&open_lock);
}

static void unregister_open(furrow_executor *executor) {
    furrow_executor **at = &open_first;

    pthread_mutex_lock(&open_lock);
    while (*at != NULL && *at != executor) {
        at = &(*at)->open_next;
    }
    if (*at != NULL) {
        *at = executor->open_next;
    }
    pthread_mutex_unlock(&open_lock);
}

/* find_open makes this thread a guest of an executor if it is open; serial 0: of whichever is at that
 * address now. */
static furrow_executor *find_open(const furrow_executor *executor, uint64_t serial) {
    furrow_executor *open;

    pthread_mutex_lock(&open_lock);
    for (open = open_first; open != NULL && open != executor; open = open->open_next) {
    }
    if (open != NULL && serial != 0 && open->serial != serial) {
        open = NULL;
    }
    if (open != NULL) {
        atomic_fetch_add(&open->guests, 1);
    }
    pthread_mutex_unlock(&open_lock);
    return open;
}

bool executor_enter_if_open(furrow_executor *executor, uint64_t serial) {
    return find_open(executor, serial) != NULL;
}

void executor_log_if_open(const furrow_executor *executor, enum base_log_level level,
                          const char *format, ...) {
    furrow_executor *open = find_open(executor, 0);
    char text[BASE_LOG_MESSAGE_BYTES];
    va_list arguments;

    if (open == NULL) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    base_log(&open->log, level, "%s", text);
    executor_guest_leave(open);
}

/* ------------------------------------------------------------------- the base */

static furrow_log_level public_level(enum base_log_level level) {
    switch (level) {
    case BASE_LOG_ERROR:
        return FURROW_LOG_ERROR;
    case BASE_LOG_WARN:
        return FURROW_LOG_WARN;
    case BASE_LOG_INFO:
        return FURROW_LOG_INFO;
    case BASE_LOG_DEBUG:
        break;
    }
    return FURROW_LOG_DEBUG;
}

static void log_to_user(void *user, enum base_log_level level, const char *message,
                        const char *fields) {
    const furrow_executor *executor = user;
    char line[LINE_BYTES];

    (void)snprintf(line, sizeof line, "%s%s%s", message, fields[0] == '\0' ? "" : " ", fields);
    executor->options.log(executor->options.log_user, public_level(level), line);
}

bool executor_init(furrow_executor *executor, const struct executor_ops *ops,
                   struct client_url *url) {
    uint64_t seed[2] = {0, 0};

    executor->ops = ops;
    executor->url = *url;
    executor->options = url->options;
    memset(url, 0, sizeof *url);
    executor->log.callback = executor->options.log == NULL ? NULL : log_to_user;
    executor->log.user = executor;
    executor->log.level = (enum base_log_level)executor->options.log_level;
    executor->local_functions = false;
    atomic_init(&executor->table, NULL);
    (void)pthread_mutex_init(&executor->lock, NULL);
    /* The keys are this program's own: without entropy a constant seed does as well. */
    (void)base_entropy(seed, sizeof seed);
    base_map_init(&executor->classes, seed[0], seed[1]);
    atomic_init(&executor->refusal, FURROW_OK);
    executor->text[0] = '\0';
    executor->max_pending = executor->options.max_pending == FURROW_DEFAULT
                                ? 0
                                : (unsigned)executor->options.max_pending;
    atomic_init(&executor->gate, 0);
    atomic_init(&executor->guests, 0);
    executor->open_next = NULL;
    return true;
}

void executor_await_guests(furrow_executor *executor) {
    unsigned guests = atomic_load(&executor->guests);

    while ((guests & ~FLAG_ASLEEP) != 0) {
        if ((guests & FLAG_ASLEEP) == 0) {
            if (!atomic_compare_exchange_weak(&executor->guests, &guests, guests | FLAG_ASLEEP)) {
                continue;
            }
            guests |= FLAG_ASLEEP;
        }
        (void)base_futex_wait(&executor->guests, guests, UINT64_MAX);
        guests = atomic_load(&executor->guests);
    }
}

void executor_guest_leave(furrow_executor *executor) {
    unsigned before = atomic_fetch_sub(&executor->guests, 1);

    BASE_ASSERT((before & ~FLAG_ASLEEP) != 0);
    if (before == (1 | FLAG_ASLEEP)) {
        base_futex_wake(&executor->guests, INT_MAX);
    }
}

void executor_fini(furrow_executor *executor) {
    executor_await_guests(executor);
    executor_classes_free(executor);
    (void)pthread_mutex_destroy(&executor->lock);
    client_url_fini(&executor->url);
}

/* -------------------------------------------------------------------- refusal */

void executor_refuse(furrow_executor *executor) {
    int expected = FURROW_OK;

    (void)atomic_compare_exchange_strong(&executor->refusal, &expected, FURROW_ESHUTDOWN);
}

static bool is_break(int refusal) {
    return refusal == FURROW_EBROKEN || refusal == FURROW_EAUTH;
}

void executor_break_as(furrow_executor *executor, furrow_status status, const char *text) {
    BASE_ASSERT(is_break((int)status));
    pthread_mutex_lock(&executor->lock);
    if (!is_break(atomic_load(&executor->refusal))) {
        (void)snprintf(executor->text, sizeof executor->text, "%s", text);
        atomic_store(&executor->refusal, (int)status);
    }
    pthread_mutex_unlock(&executor->lock);
}

void executor_break(furrow_executor *executor, const char *format, ...) {
    char text[EXECUTOR_TEXT_BYTES];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    executor_break_as(executor, FURROW_EBROKEN, text);
}

const char *executor_why(const furrow_executor *executor) {
    return is_break(atomic_load(&executor->refusal)) ? executor->text : "";
}

furrow_status executor_refusal(const furrow_executor *executor) {
    furrow_status refusal =
        (furrow_status)atomic_load_explicit(&executor->refusal, memory_order_acquire);

    if (refusal == FURROW_EBROKEN) {
        return task_set_error(refusal, "the executor is broken: %s", executor->text);
    }
    if (refusal == FURROW_EAUTH) {
        return task_set_error(refusal, "%s", executor->text);
    }
    return task_set_plain_error(refusal);
}

/* ----------------------------------------------------------------------- gate */

unsigned executor_gate_enter(furrow_executor *executor, unsigned count) {
    unsigned gate = atomic_load(&executor->gate);

    for (;;) {
        unsigned used = gate & ~FLAG_ASLEEP;
        unsigned room = used < executor->max_pending ? executor->max_pending - used : 0;

        /* A task or callback of the same executor must not wait for itself to finish. */
        if (room == 0 && executor_inside(executor)) {
            room = 1;
        }
        if (room == 0 && atomic_load(&executor->refusal) != FURROW_OK) {
            return 0;
        }
        if (room > 0) {
            unsigned granted = room < count ? room : count;

            if (atomic_compare_exchange_weak(&executor->gate, &gate, gate + granted)) {
                return granted;
            }
            continue;
        }
        if ((gate & FLAG_ASLEEP) == 0) {
            if (!atomic_compare_exchange_weak(&executor->gate, &gate, gate | FLAG_ASLEEP)) {
                continue;
            }
            gate |= FLAG_ASLEEP;
        }
        (void)base_futex_wait(&executor->gate, gate, UINT64_MAX);
        gate = atomic_load(&executor->gate);
    }
}

static void gate_open(furrow_executor *executor) {
    (void)atomic_fetch_and(&executor->gate, ~FLAG_ASLEEP);
    base_futex_wake(&executor->gate, INT_MAX);
}

void executor_gate_leave(furrow_executor *executor, unsigned count) {
    unsigned before = atomic_fetch_sub(&executor->gate, count);

    BASE_ASSERT((before & ~FLAG_ASLEEP) >= count);
    if ((before & FLAG_ASLEEP) != 0) {
        gate_open(executor);
    }
}

/* --------------------------------------------------------------------- frames */

static _Thread_local struct executor_frame *innermost __attribute__((tls_model("initial-exec")));

void executor_frame_push(struct executor_frame *frame, const furrow_executor *executor,
                         bool callback) {
    frame->executor = executor;
    frame->callback = callback;
    frame->outer = innermost;
    innermost = frame;
}

void executor_frame_pop(struct executor_frame *frame) {
    BASE_ASSERT(innermost == frame);
    innermost = frame->outer;
}

bool executor_inside(const furrow_executor *executor) {
    for (const struct executor_frame *frame = innermost; frame != NULL; frame = frame->outer) {
        if (executor != NULL && frame->executor == executor) {
            return true;
        }
    }
    return false;
}

bool executor_in_callback(const furrow_executor *executor) {
    for (const struct executor_frame *frame = innermost; frame != NULL; frame = frame->outer) {
        if (executor != NULL && frame->callback && frame->executor == executor) {
            return true;
        }
    }
    return false;
}

bool executor_in_any_callback(void) {
    for (const struct executor_frame *frame = innermost; frame != NULL; frame = frame->outer) {
        if (frame->callback) {
            return true;
        }
    }
    return false;
}

/* --------------------------------------------------------------------- public */

static furrow_executor *open_url(const char *text, const furrow_options *options) {
    char fault[CLIENT_URL_FAULT_BYTES];
    struct client_url url;
    furrow_executor *executor = NULL;
    furrow_status status = client_url_parse(text, options, &url, fault);

    if (status != FURROW_OK) {
        (void)task_set_error(status, "%s", fault);
        return NULL;
    }
    switch (url.scheme) {
    case CLIENT_THREADS:
        executor = executor_open_threads(&url);
        break;
    case CLIENT_PROCESSES:
    case CLIENT_TCP:
    case CLIENT_IPC:
        executor = executor_open_brokered(&url);
        break;
    }
    if (executor == NULL) {
        client_url_fini(&url);
    }
    return executor;
}

furrow_executor *furrow_open(const char *url, const furrow_options *options) {
    furrow_executor *executor;

    if (url == NULL) {
        url = getenv("FURROW_EXECUTOR");
        if (url == NULL || url[0] == '\0') {
            url = "processes:";
        }
    }
    executor = open_url(url, options);
    if (executor != NULL) {
        register_open(executor);
    }
    return executor;
}

static furrow_status refuse_inside(const furrow_executor *executor, const char *what) {
    if (executor_inside(executor)) {
        return task_set_error(FURROW_EDEADLOCK,
                              "%s in a task or callback of the same executor would wait for itself",
                              what);
    }
    return FURROW_OK;
}

furrow_status furrow_close(furrow_executor **executor) {
    furrow_executor *old;
    furrow_status status;

    if (executor == NULL || *executor == NULL) {
        return FURROW_OK;
    }
    old = *executor;
    status = refuse_inside(old, "furrow_close");
    if (status != FURROW_OK) {
        return status;
    }
    status = furrow_shutdown(old, FURROW_SHUTDOWN_WAIT);
    unregister_open(old);
    *executor = NULL;
    old->ops->free(old);
    return status;
}

void furrow_scope_end(furrow_executor **executor) {
    (void)furrow_close(executor);
}

furrow_status furrow_shutdown(furrow_executor *executor, unsigned flags) {
    furrow_status status;

    if ((flags & ~(unsigned)(FURROW_SHUTDOWN_WAIT | FURROW_SHUTDOWN_CANCEL_FUTURES)) != 0) {
        return task_set_error(FURROW_EINVAL, "furrow_shutdown: unknown flags 0x%x", flags);
    }
    executor_refuse(executor);
    /* Whoever waits at the gate is to hear of it. */
    if (executor->max_pending != 0) {
        gate_open(executor);
    }
    if ((flags & FURROW_SHUTDOWN_WAIT) != 0) {
        status = refuse_inside(executor, "waiting for a shutdown");
        if (status != FURROW_OK) {
            (void)executor->ops->shutdown(executor, flags & ~(unsigned)FURROW_SHUTDOWN_WAIT);
            return status;
        }
    }
    return executor->ops->shutdown(executor, flags);
}

static uint64_t duration_ns(double seconds) {
    if (seconds < 0) {
        return UINT64_MAX;
    }
    return isnan(seconds) ? 0 : base_clock_deadline(0, seconds);
}

furrow_status furrow_shutdown_within(furrow_executor *executor, double drain, double grace) {
    furrow_status status = refuse_inside(executor, "furrow_shutdown_within");

    executor_refuse(executor);
    if (executor->max_pending != 0) {
        gate_open(executor);
    }
    if (status != FURROW_OK) {
        return status;
    }
    return executor->ops->shutdown_within(executor, duration_ns(drain), duration_ns(grace));
}

static furrow_status signal_workers(furrow_executor *executor, int signal_number,
                                    const char *what) {
    if (executor->ops->signal_workers == NULL) {
        return task_set_error(FURROW_EUNSUPPORTED, "%s: the executor %s: has no worker processes",
                              what, executor->ops->scheme);
    }
    return executor->ops->signal_workers(executor, signal_number);
}

furrow_status furrow_terminate_workers(furrow_executor *executor) {
    return signal_workers(executor, SIGTERM, "furrow_terminate_workers");
}

furrow_status furrow_kill_workers(furrow_executor *executor) {
    return signal_workers(executor, SIGKILL, "furrow_kill_workers");
}

void furrow_executor_describe(furrow_executor *executor, furrow_executor_info *info) {
    memset(info, 0, sizeof *info);
    info->scheme = executor->ops->scheme;
    executor->ops->describe(executor, info);
}
