/* Inside the supervisor: what its files share.
 *
 *   supervisor.c   the crew: how many children there are to be, and what is told of them
 *   supervised.c   one child, from its start to its last word */
#ifndef WORKER_SUPERVISOR_PRIVATE_H
#define WORKER_SUPERVISOR_PRIVATE_H

#include "worker/spawn.h"
#include "worker/supervisor.h"

#define WORKER_FAILED_TEXT_BYTES 512

/* What has happened to a child and was not yet told. */
enum worker_news {
    WORKER_NEWS_STARTED = 1,
    WORKER_NEWS_READY = 2,
    WORKER_NEWS_RETIRING = 4,
    WORKER_NEWS_DIED = 8,
};

struct worker_supervised {
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
    char text[WORKER_FAILED_TEXT_BYTES];
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
    char failed_text[WORKER_FAILED_TEXT_BYTES];
    uint32_t futile;        /* children in a row that died without any task having been finished */
    uint64_t finished;      /* tasks, by all children, when the last one died */
    uint64_t dead_finished; /* tasks, by those that are dead */
    uint64_t spawn_ns;      /* no child is started before */
    struct worker_supervised *children;
    unsigned child_room; /* twice the count: a replacement may start before the old one is gone */
    unsigned told; /* the child whose death was told last: it is freed next; child_room: none */
    uint64_t *running;
};

/* ---- supervisor.c ---- */

/* worker_supervisor_note_failure: no child is started any more, and this is why. The first reason stays. */
void worker_supervisor_note_failure(struct worker_supervisor *supervisor, bool initializer,
                                    const char *format, ...) __attribute__((format(printf, 3, 4)));
/* worker_supervisor_count_death counts deaths in a row between which no child has finished anything. */
void worker_supervisor_count_death(struct worker_supervisor *supervisor,
                                   struct worker_supervised *dead, uint64_t now_ns);

/* ---- supervised.c ---- */

/* worker_supervised_start starts a child in a free place. Returns 0 or an errno. */
int worker_supervised_start(struct worker_supervisor *supervisor, struct worker_supervised *child);
/* worker_supervised_read takes in what a child has to say. */
void worker_supervised_read(struct worker_supervisor *supervisor, struct worker_supervised *child);
/* worker_supervised_look takes note of its death, if it is dead. */
void worker_supervised_look(struct worker_supervisor *supervisor, struct worker_supervised *child,
                            uint64_t now_ns);
/* worker_supervised_wait waits for the end of one that was killed. */
void worker_supervised_wait(struct worker_supervised *child);
/* worker_supervised_open_box reads what it was at when it died: supervisor->running. */
void worker_supervised_open_box(struct worker_supervisor *supervisor,
                                struct worker_supervised *child);
uint64_t worker_supervised_finished(const struct worker_supervisor *supervisor,
                                    const struct worker_supervised *child);
void worker_supervised_free(struct worker_supervisor *supervisor, struct worker_supervised *child);

#endif
