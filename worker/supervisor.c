#include "worker/supervisor_private.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/pool.h"

#define EPOLL_EVENTS 64

/* So many children more than there shall be may die without having done anything before the next ones
 * have to wait. */
#define FUTILE_FREE 3u
#define BACKOFF_NS  (50 * BASE_CLOCK_NS_PER_MS)
#define BACKOFF_MAX 7u /* doublings: up to 6.4 s */
/* After lack of memory, processes or descriptors. */
#define SPAWN_RETRY_NS (200 * BASE_CLOCK_NS_PER_MS)

/* ---- making ---- */

static void strings_free(const char **strings, uint32_t count) {
    for (uint32_t i = 0; strings != NULL && i < count; i++) {
        free((char *)strings[i]);
    }
    free(strings);
}

/* NULL: no memory. */
static const char **strings_copy(const char *const *strings, uint32_t count) {
    const char **copies = calloc(count + 1, sizeof *copies);

    for (uint32_t i = 0; copies != NULL && i < count; i++) {
        copies[i] = strdup(strings[i]);
        if (copies[i] == NULL) {
            strings_free(copies, count);
            copies = NULL;
        }
    }
    return copies;
}

static char *copy(const char *text, const char *otherwise) {
    return strdup(text != NULL ? text : otherwise);
}

static bool settings_copy(struct worker_supervisor *supervisor,
                          const struct worker_supervisor_config *config) {
    struct worker_settings *settings = &supervisor->settings;

    settings->endpoint = strdup(config->endpoint);
    settings->key = config->key == NULL ? NULL : strdup(config->key);
    settings->server = config->server == NULL ? NULL : strdup(config->server);
    settings->modules = strings_copy(config->modules, config->module_count);
    settings->module_count = settings->modules == NULL ? 0 : config->module_count;
    settings->tags = strings_copy(config->tags, config->tag_count);
    settings->tag_count = settings->tags == NULL ? 0 : config->tag_count;
    settings->initializer = config->initializer == NULL ? NULL : strdup(config->initializer);
    settings->threads = config->threads;
    settings->tasks_max = config->tasks_max;
    settings->grace_ns = config->grace_ns;
    settings->log_level = config->log == NULL ? BASE_LOG_ERROR : config->log->level;
    supervisor->program = config->program == NULL ? NULL : strdup(config->program);
    supervisor->argv0 = copy(config->argv0, "furrow-worker");
    supervisor->name = copy(config->name, "worker");
    supervisor->child_room = 2 * config->count;
    supervisor->told = supervisor->child_room;
    supervisor->children = calloc(supervisor->child_room, sizeof *supervisor->children);
    supervisor->running = calloc(config->threads, sizeof *supervisor->running);
    return settings->endpoint != NULL && settings->modules != NULL && settings->tags != NULL &&
           (config->key == NULL || (settings->key != NULL && settings->server != NULL)) &&
           (config->initializer == NULL || settings->initializer != NULL) &&
           (config->program == NULL || supervisor->program != NULL) && supervisor->argv0 != NULL &&
           supervisor->name != NULL && supervisor->children != NULL && supervisor->running != NULL;
}

static bool config_good(const struct worker_supervisor_config *config) {
    return config->count >= 1 && config->count <= WORKER_CHILDREN_MAX && config->threads >= 1 &&
           config->threads <= BASE_POOL_THREADS_MAX && config->endpoint != NULL &&
           (config->key != NULL) == (config->server != NULL) && config->tag_count <= WIRE_TAGS_MAX;
}

int worker_supervisor_open(const struct worker_supervisor_config *config,
                           struct worker_supervisor **out) {
    struct worker_supervisor *supervisor;
    int error = ENOMEM;

    if (!config_good(config)) {
        return EINVAL;
    }
    supervisor = calloc(1, sizeof *supervisor);
    if (supervisor == NULL) {
        return ENOMEM;
    }
    supervisor->arguments_fd = -1;
    supervisor->epoll_fd = -1;
    supervisor->log = config->log;
    supervisor->home = config->home;
    supervisor->count = config->count;
    supervisor->want = config->on_demand ? 0 : config->count;
    if (!settings_copy(supervisor, config)) {
        goto fail;
    }
    if (config->initializer != NULL && config->initializer_args_size > 0) {
        supervisor->settings.arguments = true;
        supervisor->arguments_fd = worker_memory_fd("furrow-arguments", config->initializer_args,
                                                    config->initializer_args_size);
        if (supervisor->arguments_fd < 0) {
            error = errno;
            goto fail;
        }
    }
    supervisor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (supervisor->epoll_fd < 0) {
        error = errno;
        goto fail;
    }
    *out = supervisor;
    return 0;
fail:
    worker_supervisor_close(supervisor);
    return error;
}

/* ---- failures and deaths ---- */

void worker_supervisor_note_failure(struct worker_supervisor *supervisor, bool initializer,
                                    const char *format, ...) {
    va_list arguments;

    if (supervisor->failed) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(supervisor->failed_text, sizeof supervisor->failed_text, format, arguments);
    va_end(arguments);
    supervisor->failed = true;
    supervisor->failed_initializer = initializer;
}

/* Counts deaths in a row between which no child has finished anything. */
static void count_futile(struct worker_supervisor *supervisor,
                         const struct worker_supervised *dead) {
    uint64_t finished;

    supervisor->dead_finished += dead->finished;
    finished = supervisor->dead_finished;
    for (unsigned i = 0; i < supervisor->child_room; i++) {
        const struct worker_supervised *child = &supervisor->children[i];

        finished += child->used && !child->dead ? worker_supervised_finished(supervisor, child) : 0;
    }
    if (finished > supervisor->finished) {
        supervisor->futile = 0;
        supervisor->spawn_ns = 0;
    } else if (!dead->expected) {
        supervisor->futile++;
    }
    supervisor->finished = finished;
}

void worker_supervisor_count_death(struct worker_supervisor *supervisor,
                                   struct worker_supervised *dead, uint64_t now_ns) {
    count_futile(supervisor, dead);
    dead->futile = supervisor->futile;
    if (supervisor->futile > supervisor->count + FUTILE_FREE) {
        uint32_t doublings = supervisor->futile - supervisor->count - FUTILE_FREE - 1;

        supervisor->spawn_ns =
            now_ns + (BACKOFF_NS << (doublings < BACKOFF_MAX ? doublings : BACKOFF_MAX));
    }
}

/* ---- starting ---- */

/* Children that take tasks, or will. */
static unsigned serving(const struct worker_supervisor *supervisor) {
    unsigned count = 0;

    for (unsigned i = 0; i < supervisor->child_room; i++) {
        const struct worker_supervised *child = &supervisor->children[i];

        count += child->used && !child->dead && !child->retiring;
    }
    return count;
}

static struct worker_supervised *free_child(struct worker_supervisor *supervisor) {
    for (unsigned i = 0; i < supervisor->child_room; i++) {
        if (!supervisor->children[i].used) {
            return &supervisor->children[i];
        }
    }
    return NULL;
}

static bool spawn_due(const struct worker_supervisor *supervisor) {
    return !supervisor->stopping && !supervisor->failed && serving(supervisor) < supervisor->want;
}

static void start_children(struct worker_supervisor *supervisor, uint64_t now_ns) {
    while (spawn_due(supervisor) && now_ns >= supervisor->spawn_ns) {
        struct worker_supervised *child = free_child(supervisor);
        int error;

        if (child == NULL) {
            return; /* so many are still finishing; a death will bring us here again */
        }
        error = worker_supervised_start(supervisor, child);
        if (error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE) {
            base_log(supervisor->log, BASE_LOG_WARN, "can't start a worker process: %s",
                     strerror(error));
            supervisor->spawn_ns = now_ns + SPAWN_RETRY_NS;
        } else if (error != 0) {
            worker_supervisor_note_failure(
                supervisor, false, "can't start a worker process (%s): %s",
                supervisor->program != NULL ? supervisor->program : "this program",
                strerror(error));
        }
    }
}

void worker_supervisor_want(struct worker_supervisor *supervisor, unsigned count) {
    supervisor->want = count < supervisor->count ? count : supervisor->count;
}

/* ---- what has happened ---- */

static void look(struct worker_supervisor *supervisor, uint64_t now_ns) {
    struct epoll_event events[EPOLL_EVENTS];
    int count = epoll_wait(supervisor->epoll_fd, events, EPOLL_EVENTS, 0);

    for (int i = 0; i < count; i++) {
        struct worker_supervised *child = &supervisor->children[events[i].data.u32 >> 1];

        if (!child->used || child->dead) {
            continue;
        }
        if ((events[i].data.u32 & 1) != 0) {
            worker_supervised_read(supervisor, child);
        } else {
            worker_supervised_look(supervisor, child, now_ns);
        }
    }
}

/* Tells one piece of news of a child, in the order in which they happen. */
static void tell(struct worker_supervisor *supervisor, struct worker_supervised *child,
                 struct worker_supervisor_event *event) {
    static const enum worker_supervisor_event_type types[] = {
        WORKER_CHILD_STARTED, WORKER_CHILD_READY, WORKER_CHILD_RETIRING, WORKER_CHILD_DIED};
    unsigned which = (unsigned)__builtin_ctz(child->news);

    child->news &= child->news - 1;
    *event = (struct worker_supervisor_event){
        .type = types[which], .session = child->session, .pid = child->spawned.pid};
    if (event->type == WORKER_CHILD_DIED) {
        worker_supervised_open_box(supervisor, child);
        event->signal = child->signal;
        event->exit_code = child->exit_code;
        event->expected = child->expected;
        event->running = supervisor->running;
        event->running_count = child->running_count;
        event->finished = child->finished;
        event->futile = child->futile;
        event->text = child->text[0] == '\0' ? NULL : child->text;
        supervisor->told = (unsigned)(child - supervisor->children);
    }
}

static bool tell_next(struct worker_supervisor *supervisor, struct worker_supervisor_event *event) {
    if (supervisor->failed && !supervisor->failed_told) {
        supervisor->failed_told = true;
        *event = (struct worker_supervisor_event){.type = WORKER_CHILDREN_FAILED,
                                                  .text = supervisor->failed_text,
                                                  .initializer = supervisor->failed_initializer};
        return true;
    }
    for (unsigned i = 0; i < supervisor->child_room; i++) {
        if (supervisor->children[i].news != 0) {
            tell(supervisor, &supervisor->children[i], event);
            return true;
        }
    }
    return false;
}

bool worker_supervisor_next(struct worker_supervisor *supervisor, uint64_t now_ns,
                            struct worker_supervisor_event *event) {
    if (supervisor->told < supervisor->child_room) {
        worker_supervised_free(supervisor, &supervisor->children[supervisor->told]);
        supervisor->told = supervisor->child_room;
    }
    if (tell_next(supervisor, event)) {
        return true;
    }
    look(supervisor, now_ns);
    start_children(supervisor, now_ns);
    return tell_next(supervisor, event);
}

int worker_supervisor_fd(const struct worker_supervisor *supervisor) {
    return supervisor->epoll_fd;
}

uint64_t worker_supervisor_deadline(const struct worker_supervisor *supervisor) {
    if (supervisor->failed && !supervisor->failed_told) {
        return 0;
    }
    for (unsigned i = 0; i < supervisor->child_room; i++) {
        if (supervisor->children[i].news != 0) {
            return 0;
        }
    }
    return spawn_due(supervisor) ? supervisor->spawn_ns : BASE_CLOCK_FOREVER;
}

/* ---- ending ---- */

static void send_all(struct worker_supervisor *supervisor, enum worker_record_type type) {
    supervisor->stopping = true;
    for (unsigned i = 0; i < supervisor->child_room; i++) {
        struct worker_supervised *child = &supervisor->children[i];

        if (!child->used || child->dead) {
            continue;
        }
        child->expected = true;
        if (child->spawned.control_fd < 0 ||
            !worker_record_send(child->spawned.control_fd, type, BASE_LOG_ERROR, NULL)) {
            (void)kill(child->spawned.pid, SIGTERM);
        }
    }
}

void worker_supervisor_stop(struct worker_supervisor *supervisor) {
    send_all(supervisor, WORKER_RECORD_STOP);
}

void worker_supervisor_interrupt(struct worker_supervisor *supervisor) {
    send_all(supervisor, WORKER_RECORD_INTERRUPT);
}

void worker_supervisor_signal(struct worker_supervisor *supervisor, int signal_number) {
    for (unsigned i = 0; i < supervisor->child_room; i++) {
        struct worker_supervised *child = &supervisor->children[i];

        if (child->used && !child->dead) {
            child->expected = true;
            (void)kill(-child->spawned.pid, signal_number);
        }
    }
}

unsigned worker_supervisor_alive(const struct worker_supervisor *supervisor) {
    unsigned count = 0;

    for (unsigned i = 0; i < supervisor->child_room; i++) {
        count += supervisor->children[i].used && !supervisor->children[i].dead;
    }
    return count;
}

void worker_supervisor_close(struct worker_supervisor *supervisor) {
    if (supervisor == NULL) {
        return;
    }
    if (supervisor->children != NULL) {
        worker_supervisor_signal(supervisor, SIGKILL);
    }
    for (unsigned i = 0; supervisor->children != NULL && i < supervisor->child_room; i++) {
        struct worker_supervised *child = &supervisor->children[i];

        if (child->used && !child->dead) {
            worker_supervised_wait(child);
        }
        if (child->used) {
            worker_supervised_free(supervisor, child);
        }
    }
    if (supervisor->epoll_fd >= 0) {
        (void)close(supervisor->epoll_fd);
    }
    if (supervisor->arguments_fd >= 0) {
        (void)close(supervisor->arguments_fd);
    }
    strings_free(supervisor->settings.modules, supervisor->settings.module_count);
    strings_free(supervisor->settings.tags, supervisor->settings.tag_count);
    free((char *)supervisor->settings.endpoint);
    free((char *)supervisor->settings.key);
    free((char *)supervisor->settings.server);
    free((char *)supervisor->settings.initializer);
    free(supervisor->program);
    free(supervisor->argv0);
    free(supervisor->name);
    free(supervisor->children);
    free(supervisor->running);
    free(supervisor);
}
