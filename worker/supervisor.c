#include "worker/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/entropy.h"
#include "base/pool.h"
#include "worker/spawn.h"

#define FAILED_TEXT_BYTES 512
#define EPOLL_EVENTS      64

/* So many children more than there shall be may die without having done anything before the next ones
 * have to wait. */
#define FUTILE_FREE 3u
#define BACKOFF_NS  (50 * BASE_CLOCK_NS_PER_MS)
#define BACKOFF_MAX 7u /* doublings: up to 6.4 s */
/* After lack of memory, processes or descriptors. */
#define SPAWN_RETRY_NS (200 * BASE_CLOCK_NS_PER_MS)

/* What has happened to a child and was not yet told. */
enum news { NEWS_STARTED = 1, NEWS_READY = 2, NEWS_RETIRING = 4, NEWS_DIED = 8 };

struct child {
    bool used;
    bool retiring; /* takes no more tasks: it has said so, or was told to */
    bool expected; /* whatever it dies of */
    bool ready;
    bool dead;
    unsigned news;
    struct wire_session session;
    struct worker_spawned spawned;
    int signal, exit_code;
    uint64_t finished;
    uint32_t futile;
    uint32_t running_count;
    char text[FAILED_TEXT_BYTES];
};

struct worker_supervisor {
    struct worker_settings settings; /* with everything but the session and the name */
    char *program, *argv0, *name;
    const struct base_log *log;
    struct wire_shared_home *home; /* NULL: no memory is shared */
    unsigned count, want;
    unsigned started; /* children so far: the number in the next one's name */
    int epoll_fd;
    int arguments_fd;
    bool stopping;
    bool failed; /* no child is started any more */
    bool failed_told;
    bool failed_initializer;
    char failed_text[FAILED_TEXT_BYTES];
    uint32_t futile;        /* children in a row that died without any task having been finished */
    uint64_t finished;      /* tasks, by all children, when the last one died */
    uint64_t dead_finished; /* tasks, by those that are dead */
    uint64_t spawn_ns;      /* no child is started before */
    struct child *children;
    unsigned child_room; /* twice the count: a replacement may start before the old one is gone */
    unsigned told; /* the child whose death was told last: it is freed next; child_room: none */
    uint64_t *running;
};

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

/* ---- looking after one child ---- */

static void note_failure(struct worker_supervisor *supervisor, bool initializer, const char *format,
                         ...) __attribute__((format(printf, 3, 4)));

/* The first reason stays. */
static void note_failure(struct worker_supervisor *supervisor, bool initializer, const char *format,
                         ...) {
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

static void retire(struct child *child) {
    if (!child->retiring) {
        child->retiring = true;
        child->news |= NEWS_RETIRING;
    }
}

static void handle_record(struct worker_supervisor *supervisor, struct child *child,
                          const struct worker_record *record) {
    switch ((enum worker_record_type)record->type) {
    case WORKER_RECORD_READY:
        child->ready = true;
        child->news |= NEWS_READY;
        break;
    case WORKER_RECORD_RETIRING:
        retire(child);
        break;
    case WORKER_RECORD_LEAVING:
        child->expected = true;
        retire(child);
        break;
    case WORKER_RECORD_KILLING:
        child->expected = true;
        (void)snprintf(child->text, sizeof child->text, "%.*s", FAILED_TEXT_BYTES - 1,
                       record->text);
        break;
    case WORKER_RECORD_FAILED:
        note_failure(supervisor, false, "%.*s", FAILED_TEXT_BYTES - 1, record->text);
        break;
    case WORKER_RECORD_INITIALIZER:
        note_failure(supervisor, true, "%.*s", FAILED_TEXT_BYTES - 1, record->text);
        break;
    case WORKER_RECORD_LOG:
        base_log(supervisor->log, record->level <= BASE_LOG_DEBUG ? record->level : BASE_LOG_DEBUG,
                 "%s", record->text);
        break;
    case WORKER_RECORD_STOP:
    case WORKER_RECORD_INTERRUPT:
        break; /* ours, not a child's */
    }
}

static void read_records(struct worker_supervisor *supervisor, struct child *child) {
    struct worker_record record;
    int got = 1;

    while (child->spawned.control_fd >= 0 && got > 0) {
        got = worker_record_receive(child->spawned.control_fd, &record);
        if (got > 0) {
            handle_record(supervisor, child, &record);
        } else if (got < 0) {
            (void)epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_DEL, child->spawned.control_fd, NULL);
            (void)close(child->spawned.control_fd);
            child->spawned.control_fd = -1;
        }
    }
}

/* Takes note of how it ended. False: it has not. */
static bool reap(struct child *child, int flags) {
    const struct worker_spawned *spawned = &child->spawned;
    idtype_t type = spawned->exact ? P_PIDFD : P_PID;
    id_t id = (id_t)(spawned->exact ? spawned->pid_fd : spawned->pid);
    siginfo_t info = {0};
    int rc;

    do {
        rc = waitid(type, id, &info, WEXITED | flags);
    } while (rc != 0 && errno == EINTR);
    if (rc == 0 && info.si_pid == 0) {
        return false;
    }
    /* Otherwise (ECHILD) the program has SIGCHLD ignored, or somebody else has waited for it. */
    if (rc == 0) {
        child->signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
        child->exit_code = info.si_code == CLD_EXITED ? info.si_status : 0;
    }
    return true;
}

static uint64_t finished_by(const struct worker_supervisor *supervisor, const struct child *child) {
    uint64_t finished = 0;

    for (unsigned i = 0; i < supervisor->settings.threads; i++) {
        finished +=
            atomic_load_explicit(&child->spawned.box->slots[i].finished, memory_order_relaxed);
    }
    return finished;
}

/* Counts deaths in a row between which no child has finished anything. */
static void count_futile(struct worker_supervisor *supervisor, const struct child *dead) {
    uint64_t finished;

    supervisor->dead_finished += dead->finished;
    finished = supervisor->dead_finished;
    for (unsigned i = 0; i < supervisor->child_room; i++) {
        const struct child *child = &supervisor->children[i];

        finished += child->used && !child->dead ? finished_by(supervisor, child) : 0;
    }
    if (finished > supervisor->finished) {
        supervisor->futile = 0;
        supervisor->spawn_ns = 0;
    } else if (!dead->expected) {
        supervisor->futile++;
    }
    supervisor->finished = finished;
}

/* What it was at when it died. */
static void open_box(struct worker_supervisor *supervisor, struct child *child) {
    uint64_t *running = supervisor->running;

    child->running_count = 0;
    child->finished = finished_by(supervisor, child);
    for (unsigned i = 0; i < supervisor->settings.threads; i++) {
        uint64_t lease =
            atomic_load_explicit(&child->spawned.box->slots[i].lease, memory_order_relaxed);

        if (lease != 0) {
            running[child->running_count++] = lease;
        }
    }
}

static void died(struct worker_supervisor *supervisor, struct child *child, uint64_t now_ns) {
    if (!reap(child, WNOHANG | WNOWAIT)) {
        return;
    }
    read_records(supervisor, child);
    /* Its own children go with it: until it is waited for, nobody else can have the group's number. */
    (void)kill(-child->spawned.pid, SIGKILL);
    (void)reap(child, WNOHANG);
    child->dead = true;
    child->news |= NEWS_DIED;
    open_box(supervisor, child);
    if (!child->ready && !child->expected && supervisor->settings.initializer != NULL) {
        if (child->signal != 0) {
            note_failure(supervisor, true,
                         "a worker process was killed in its initializer by "
                         "signal %d (%s)",
                         child->signal, strsignal(child->signal));
        } else {
            note_failure(supervisor, true,
                         "a worker process exited in its initializer with code %d",
                         child->exit_code);
        }
    }
    count_futile(supervisor, child);
    child->futile = supervisor->futile;
    if (supervisor->futile > supervisor->count + FUTILE_FREE) {
        uint32_t doublings = supervisor->futile - supervisor->count - FUTILE_FREE - 1;

        supervisor->spawn_ns =
            now_ns + (BACKOFF_NS << (doublings < BACKOFF_MAX ? doublings : BACKOFF_MAX));
    }
}

static void child_free(struct worker_supervisor *supervisor, struct child *child) {
    /* Closing would do, if the program never forked: then its copy would go on reporting. */
    (void)epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_DEL, child->spawned.pid_fd, NULL);
    if (child->spawned.control_fd >= 0) {
        (void)epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_DEL, child->spawned.control_fd, NULL);
    }
    worker_spawned_close(&child->spawned, supervisor->settings.threads);
    memset(child, 0, sizeof *child);
}

/* ---- starting ---- */

/* Children that take tasks, or will. */
static unsigned serving(const struct worker_supervisor *supervisor) {
    unsigned count = 0;

    for (unsigned i = 0; i < supervisor->child_room; i++) {
        const struct child *child = &supervisor->children[i];

        count += child->used && !child->dead && !child->retiring;
    }
    return count;
}

static struct child *free_child(struct worker_supervisor *supervisor) {
    for (unsigned i = 0; i < supervisor->child_room; i++) {
        if (!supervisor->children[i].used) {
            return &supervisor->children[i];
        }
    }
    return NULL;
}

static bool watch(struct worker_supervisor *supervisor, struct child *child) {
    uint32_t index = (uint32_t)(child - supervisor->children);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = index << 1};

    if (epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_ADD, child->spawned.pid_fd, &event) != 0) {
        return false;
    }
    event.data.u32 |= 1;
    return epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_ADD, child->spawned.control_fd, &event) == 0;
}

/* Returns 0 or an errno. */
static int start(struct worker_supervisor *supervisor, struct child *child) {
    struct worker_settings settings = supervisor->settings;
    char name[WIRE_NAME_BYTES_MAX + 1];
    int error;

    (void)snprintf(name, sizeof name, "%.200s-%u", supervisor->name, supervisor->started + 1);
    settings.name = name;
    if (!base_entropy(&settings.session, sizeof settings.session)) {
        return errno;
    }
    error = worker_spawn(&settings, supervisor->program, supervisor->argv0,
                         supervisor->arguments_fd, supervisor->home, &child->spawned);
    if (error != 0) {
        return error;
    }
    supervisor->started++;
    child->used = true;
    child->session = settings.session;
    child->news = NEWS_STARTED;
    if (!watch(supervisor, child)) {
        error = errno;
        (void)kill(-child->spawned.pid, SIGKILL);
        (void)reap(child, 0);
        child_free(supervisor, child);
    }
    return error;
}

static bool spawn_due(const struct worker_supervisor *supervisor) {
    return !supervisor->stopping && !supervisor->failed && serving(supervisor) < supervisor->want;
}

static void start_children(struct worker_supervisor *supervisor, uint64_t now_ns) {
    while (spawn_due(supervisor) && now_ns >= supervisor->spawn_ns) {
        struct child *child = free_child(supervisor);
        int error;

        if (child == NULL) {
            return; /* so many are still finishing; a death will bring us here again */
        }
        error = start(supervisor, child);
        if (error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE) {
            base_log(supervisor->log, BASE_LOG_WARN, "can't start a worker process: %s",
                     strerror(error));
            supervisor->spawn_ns = now_ns + SPAWN_RETRY_NS;
        } else if (error != 0) {
            note_failure(supervisor, false, "can't start a worker process (%s): %s",
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
        struct child *child = &supervisor->children[events[i].data.u32 >> 1];

        if (!child->used || child->dead) {
            continue;
        }
        if ((events[i].data.u32 & 1) != 0) {
            read_records(supervisor, child);
        } else {
            died(supervisor, child, now_ns);
        }
    }
}

/* Tells one piece of news of a child, in the order in which they happen. */
static void tell(struct worker_supervisor *supervisor, struct child *child,
                 struct worker_supervisor_event *event) {
    static const enum worker_supervisor_event_type types[] = {
        WORKER_CHILD_STARTED, WORKER_CHILD_READY, WORKER_CHILD_RETIRING, WORKER_CHILD_DIED};
    unsigned which = (unsigned)__builtin_ctz(child->news);

    child->news &= child->news - 1;
    *event = (struct worker_supervisor_event){
        .type = types[which], .session = child->session, .pid = child->spawned.pid};
    if (event->type == WORKER_CHILD_DIED) {
        open_box(supervisor, child);
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
        child_free(supervisor, &supervisor->children[supervisor->told]);
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
        struct child *child = &supervisor->children[i];

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
        struct child *child = &supervisor->children[i];

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
        struct child *child = &supervisor->children[i];

        if (child->used && !child->dead) {
            (void)reap(child, 0);
        }
        if (child->used) {
            child_free(supervisor, child);
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
