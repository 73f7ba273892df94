#include "worker/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void close_fd(int *fd) {
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

/* Moves a descriptor out of the way of those that a child begins with. Returns the new one, or -1. */
static int move_up(int fd) {
    int moved;

    if (fd < 0 || fd >= WORKER_FD_FREE) {
        return fd;
    }
    moved = fcntl(fd, F_DUPFD_CLOEXEC, WORKER_FD_FREE);
    int saved = errno;

    (void)close(fd);
    errno = saved;
    return moved;
}

int worker_memory_fd(const char *name, const void *data, size_t size) {
    int fd = move_up(memfd_create(name, MFD_CLOEXEC));
    size_t written = 0;

    if (fd >= 0 && data == NULL && ftruncate(fd, (off_t)size) != 0) {
        int saved = errno;

        close_fd(&fd);
        errno = saved;
    }
    while (fd >= 0 && data != NULL && written < size) {
        ssize_t some = write(fd, (const char *)data + written, size - written);

        if (some >= 0) {
            written += (size_t)some;
        } else if (errno != EINTR) {
            int saved = errno;

            close_fd(&fd);
            errno = saved;
        }
    }
    return fd;
}

/* The child's ends. */
struct ends {
    int lifeline_fd, control_fd, box_fd, arguments_fd, home_fd, own_fd;
};

static int connect_ends(struct worker_spawned *spawned, struct ends *ends, unsigned threads) {
    size_t bytes = worker_box_bytes(threads);
    int pair[2];
    void *box;

    if (pipe2(pair, O_CLOEXEC) != 0) {
        return errno;
    }
    ends->lifeline_fd = move_up(pair[0]);
    spawned->lifeline_fd = move_up(pair[1]);
    if (ends->lifeline_fd < 0 || spawned->lifeline_fd < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        return errno;
    }
    ends->control_fd = move_up(pair[0]);
    spawned->control_fd = move_up(pair[1]);
    if (ends->control_fd < 0 || spawned->control_fd < 0) {
        return errno;
    }
    ends->box_fd = worker_memory_fd("furrow-box", NULL, bytes);
    if (ends->box_fd < 0) {
        return errno;
    }
    box = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ends->box_fd, 0);
    if (box == MAP_FAILED) {
        return errno;
    }
    spawned->box = box;
    spawned->box->slot_count = threads;
    return 0;
}

/* What the child finds: its ends at their places, nothing to read, and no other descriptor. */
static int make_actions(posix_spawn_file_actions_t *actions, const struct ends *ends) {
    int last = ends->own_fd >= 0         ? WORKER_FD_OWN
               : ends->arguments_fd >= 0 ? WORKER_FD_ARGS
                                         : WORKER_FD_BOX;
    int error = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);

    if (error == 0) {
        error = posix_spawn_file_actions_adddup2(actions, ends->lifeline_fd, WORKER_FD_LIFELINE);
    }
    if (error == 0) {
        error = posix_spawn_file_actions_adddup2(actions, ends->control_fd, WORKER_FD_CONTROL);
    }
    if (error == 0) {
        error = posix_spawn_file_actions_adddup2(actions, ends->box_fd, WORKER_FD_BOX);
    }
    if (error == 0 && ends->arguments_fd >= 0) {
        error = posix_spawn_file_actions_adddup2(actions, ends->arguments_fd, WORKER_FD_ARGS);
    } else if (error == 0) {
        error = posix_spawn_file_actions_addclose(actions, WORKER_FD_ARGS);
    }
    if (error == 0 && ends->own_fd >= 0) {
        error = posix_spawn_file_actions_adddup2(actions, ends->home_fd, WORKER_FD_HOME);
    }
    if (error == 0 && ends->own_fd >= 0) {
        error = posix_spawn_file_actions_adddup2(actions, ends->own_fd, WORKER_FD_OWN);
    }
    if (error == 0) {
        error = posix_spawn_file_actions_addclosefrom_np(actions, last + 1);
    }
    return error;
}

/* A group of its own, and signals as if nobody had ever touched them. */
static int make_attributes(posix_spawnattr_t *attributes) {
    sigset_t none, all;
    int error;

    sigemptyset(&none);
    sigfillset(&all);
    error = posix_spawnattr_setpgroup(attributes, 0);
    if (error == 0) {
        error = posix_spawnattr_setsigmask(attributes, &none);
    }
    if (error == 0) {
        error = posix_spawnattr_setsigdefault(attributes, &all);
    }
    if (error == 0) {
        error = posix_spawnattr_setflags(
            attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    }
    return error;
}

static int run(pid_t *pid, const char *program, char *const *argv, const struct ends *ends) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);

    if (error != 0) {
        return error;
    }
    error = posix_spawnattr_init(&attributes);
    if (error != 0) {
        goto free_actions;
    }
    error = make_actions(&actions, ends);
    if (error == 0) {
        error = make_attributes(&attributes);
    }
    if (error == 0) {
        error = posix_spawn(pid, program, &actions, &attributes, argv, environ);
    }
    posix_spawnattr_destroy(&attributes);
free_actions:
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

#define SELF "/proc/self/exe"

/* The path of this program: so it has its own name in lists of processes, and tools that run it under
 * theirs (valgrind) are understood. A file that was replaced or removed meanwhile is found by SELF. */
static const char *own_path(char *path, size_t size) {
    static const char removed[] = " (deleted)";
    ssize_t length = readlink(SELF, path, size);

    if (length <= 0 || (size_t)length >= size) {
        return SELF;
    }
    path[length] = '\0';
    if ((size_t)length >= sizeof removed &&
        strcmp(path + length - (sizeof removed - 1), removed) == 0) {
        return SELF;
    }
    return access(path, X_OK) == 0 ? path : SELF;
}

/* Returns 0, or an errno. */
static int watch(struct worker_spawned *spawned) {
    spawned->pid_fd = pidfd_open(spawned->pid, 0);
    spawned->exact = spawned->pid_fd >= 0;
    if (!spawned->exact && errno == ENOSYS) {
        spawned->pid_fd = fcntl(spawned->control_fd, F_DUPFD_CLOEXEC, WORKER_FD_FREE);
    }
    return spawned->pid_fd >= 0 ? 0 : errno;
}

/* Nobody could watch it, so it may not live. */
static void kill_unwatched(pid_t pid) {
    (void)kill(-pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

int worker_spawn(const struct worker_settings *given, const char *program, const char *argv0,
                 int arguments_fd, struct wire_shared_home *home, struct worker_spawned *spawned) {
    struct ends ends = {-1, -1, -1, arguments_fd, -1, -1};
    struct worker_settings full = *given, *settings = &full;
    char path[PATH_MAX];
    int error = ENOMEM;
    char **argv;

    *spawned =
        (struct worker_spawned){.pid_fd = -1, .lifeline_fd = -1, .control_fd = -1, .exact = false};
    if (home != NULL) {
        ends.home_fd = wire_shared_home_fd(home);
        spawned->guest = wire_shared_admit(home, settings->session, &ends.own_fd);
        full.shared = spawned->guest != NULL;
    }
    argv = worker_settings_print(settings, argv0);
    if (argv != NULL) {
        error = connect_ends(spawned, &ends, settings->threads);
    }
    if (error == 0) {
        error = run(&spawned->pid, program != NULL ? program : own_path(path, sizeof path), argv,
                    &ends);
    }
    if (error == 0) {
        error = watch(spawned);
        if (error != 0) {
            kill_unwatched(spawned->pid);
        }
    }
    close_fd(&ends.lifeline_fd);
    close_fd(&ends.control_fd);
    close_fd(&ends.box_fd);
    close_fd(&ends.own_fd);
    free(argv);
    if (error != 0) {
        worker_spawned_close(spawned, settings->threads);
    }
    return error;
}

void worker_spawned_close(struct worker_spawned *spawned, unsigned threads) {
    close_fd(&spawned->pid_fd);
    close_fd(&spawned->lifeline_fd);
    close_fd(&spawned->control_fd);
    if (spawned->box != NULL) {
        (void)munmap(spawned->box, worker_box_bytes(threads));
        spawned->box = NULL;
    }
    wire_shared_dismiss(spawned->guest);
    spawned->guest = NULL;
}
