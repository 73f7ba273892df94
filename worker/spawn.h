/* Starting one worker process, and what connects it to its supervisor. */
#ifndef WORKER_SPAWN_H
#define WORKER_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "wire/shared.h"
#include "worker/wiring.h"

/* The supervisor's ends. */
struct worker_spawned {
    pid_t pid;
    int pid_fd; /* becomes readable when it dies */
    /* pid_fd is a pidfd. Where there are none (before Linux 5.3, in valgrind 3.19) it is a copy of
     * control_fd: readable for other reasons too, and not while a process lives that the child has
     * forked. */
    bool exact;
    int lifeline_fd; /* to be kept open for as long as the child shall live */
    int control_fd;
    struct worker_box *box;
    struct wire_shared_guest *guest; /* the memory that it shares with us; NULL: none */
};

/* worker_spawn starts a process.
 *
 * program       a path; NULL: this program itself
 * arguments_fd  the initializer's arguments, or -1; below WORKER_FD_FREE it is no good
 * home          memory to be shared with it, which outlives worker_spawned_close; NULL: none. Where it
 *               can't be shared there is none
 *
 * It blocks until the new program has been loaded, or could not be. Returns 0, or an errno: ENOENT,
 * EACCES, ENOEXEC and others of execve; EAGAIN, ENOMEM, EMFILE, ENFILE. */
int worker_spawn(const struct worker_settings *settings, const char *program, const char *argv0,
                 int arguments_fd, struct wire_shared_home *home, struct worker_spawned *spawned);

/* worker_spawned_close closes all but the pid: it doesn't kill and doesn't wait. The process must be
 * dead, as what it reads in shared memory is no longer kept for it. */
void worker_spawned_close(struct worker_spawned *spawned, unsigned threads);

/* worker_memory_fd makes a memfd with these bytes (none: `size` zero bytes), at WORKER_FD_FREE or
 * above. Returns it, or -1 with errno. */
int worker_memory_fd(const char *name, const void *data, size_t size);

#endif
