/* One child, from its start to its last word. */
#include "worker/supervisor_private.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/entropy.h"

static void retire(struct worker_supervised *child) {
    if (!child->retiring) {
        child->retiring = true;
        child->news |= WORKER_NEWS_RETIRING;
    }
}

static void handle_record(struct worker_supervisor *supervisor, struct worker_supervised *child,
                          const struct worker_record *record) {
    switch ((enum worker_record_type)record->type) {
    case WORKER_RECORD_READY:
        child->ready = true;
        child->news |= WORKER_NEWS_READY;
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
        (void)snprintf(child->text, sizeof child->text, "%.*s", WORKER_FAILED_TEXT_BYTES - 1,
                       record->text);
        break;
    case WORKER_RECORD_FAILED:
        worker_supervisor_note_failure(supervisor, false, "%.*s", WORKER_FAILED_TEXT_BYTES - 1,
                                       record->text);
        break;
    case WORKER_RECORD_INITIALIZER:
        worker_supervisor_note_failure(supervisor, true, "%.*s", WORKER_FAILED_TEXT_BYTES - 1,
                                       record->text);
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

void worker_supervised_read(struct worker_supervisor *supervisor, struct worker_supervised *child) {
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
static bool reap(struct worker_supervised *child, int flags) {
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

void worker_supervised_wait(struct worker_supervised *child) {
    (void)reap(child, 0);
}

uint64_t worker_supervised_finished(const struct worker_supervisor *supervisor,
                                    const struct worker_supervised *child) {
    uint64_t finished = 0;

    for (unsigned i = 0; i < supervisor->settings.threads; i++) {
        finished +=
            atomic_load_explicit(&child->spawned.box->slots[i].finished, memory_order_relaxed);
    }
    return finished;
}

void worker_supervised_open_box(struct worker_supervisor *supervisor,
                                struct worker_supervised *child) {
    uint64_t *running = supervisor->running;

    child->running_count = 0;
    child->finished = worker_supervised_finished(supervisor, child);
    for (unsigned i = 0; i < supervisor->settings.threads; i++) {
        uint64_t lease =
            atomic_load_explicit(&child->spawned.box->slots[i].lease, memory_order_relaxed);

        if (lease != 0) {
            running[child->running_count++] = lease;
        }
    }
}

void worker_supervised_look(struct worker_supervisor *supervisor, struct worker_supervised *child,
                            uint64_t now_ns) {
    if (!reap(child, WNOHANG | WNOWAIT)) {
        return;
    }
    worker_supervised_read(supervisor, child);
    /* Its own children go with it: until it is waited for, nobody else can have the group's number. */
    (void)kill(-child->spawned.pid, SIGKILL);
    (void)reap(child, WNOHANG);
    child->dead = true;
    child->news |= WORKER_NEWS_DIED;
    worker_supervised_open_box(supervisor, child);
    if (!child->ready && !child->expected && supervisor->settings.initializer != NULL) {
        if (child->signal != 0) {
            worker_supervisor_note_failure(supervisor, true,
                                           "a worker process was killed in its initializer by "
                                           "signal %d (%s)",
                                           child->signal, strsignal(child->signal));
        } else {
            worker_supervisor_note_failure(
                supervisor, true, "a worker process exited in its initializer with code %d",
                child->exit_code);
        }
    }
    worker_supervisor_count_death(supervisor, child, now_ns);
}

void worker_supervised_free(struct worker_supervisor *supervisor, struct worker_supervised *child) {
    /* Closing would do, if the program never forked: then its copy would go on reporting. */
    (void)epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_DEL, child->spawned.pid_fd, NULL);
    if (child->spawned.control_fd >= 0) {
        (void)epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_DEL, child->spawned.control_fd, NULL);
    }
    worker_spawned_close(&child->spawned, supervisor->settings.threads);
    memset(child, 0, sizeof *child);
}

static bool watch(struct worker_supervisor *supervisor, struct worker_supervised *child) {
    uint32_t index = (uint32_t)(child - supervisor->children);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = index << 1};

    if (epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_ADD, child->spawned.pid_fd, &event) != 0) {
        return false;
    }
    event.data.u32 |= 1;
    return epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_ADD, child->spawned.control_fd, &event) == 0;
}

int worker_supervised_start(struct worker_supervisor *supervisor, struct worker_supervised *child) {
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
    child->news = WORKER_NEWS_STARTED;
    if (!watch(supervisor, child)) {
        error = errno;
        (void)kill(-child->spawned.pid, SIGKILL);
        (void)reap(child, 0);
        worker_supervised_free(supervisor, child);
    }
    return error;
}
