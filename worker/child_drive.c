#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "worker/process.h"

/* Who drives: process.h has the states and why nothing is lost between them. */

/* ---- todo ---- */

static void todo_set(struct worker_process *process, unsigned position, struct worker_task *task) {
    atomic_store_explicit(&process->todo[position & (WORKER_RING - 1)], task, memory_order_relaxed);
}

static void todo_put(struct worker_process *process, struct worker_task *const *tasks,
                     uint32_t count) {
    unsigned end = process->todo_end;

    for (uint32_t i = 0; i < count; i++) {
        todo_set(process, end + i, tasks[i]);
    }
    process->todo_end = end + count;
}

/* Tasks in todo. The driver, of a lane that is not in a group. */
static unsigned todo_count(struct worker_process *process) {
    return process->todo_end - atomic_load_explicit(&process->todo_next, memory_order_relaxed);
}

/* Puts tasks in front of those that are there. */
static void todo_put_ahead(struct worker_process *process, struct worker_task *const *tasks,
                           uint32_t count) {
    unsigned next = process->todo_end - todo_count(process);

    for (unsigned from = process->todo_end; from != next; from--) {
        todo_set(process, from - 1 + count, worker_todo_get(process, from - 1));
    }
    process->todo_end += count;
    process->todo_ahead += count;
    for (uint32_t i = 0; i < count; i++) {
        todo_set(process, next + i, tasks[i]);
    }
}

/* Puts back at the end what the pool has had. */
static void todo_put_works(struct worker_process *process, struct base_work *work) {
    for (; work != NULL; work = work->next) {
        todo_set(process, process->todo_end++, worker_task_of((struct worker_run *)(void *)work));
    }
}

static void to_pool(struct worker_process *process, struct base_work *first, struct base_work *last,
                    uint32_t count, bool ahead) {
    int error = ahead ? base_pool_submit_ahead(process->pool, first, last, count)
                      : base_pool_submit_batch(process->pool, first, last, count);

    BASE_ASSERT(error == 0); /* all threads are there, and nobody has stopped them */
}

/* Gives the pool all that is left in todo. The main thread, which drives. */
static void todo_to_pool(struct worker_process *process) {
    unsigned next = atomic_exchange(&process->todo_next, process->todo_end);
    struct base_work *first = NULL, **end = &first, *last = NULL;
    uint32_t count = 0;

    for (; (int)(process->todo_end - next) > 0; next++, count++) {
        last = &worker_run_of(worker_todo_get(process, next))->work;
        *end = last;
        end = &last->next;
    }
    process->todo_ahead = 0;
    if (count > 0) {
        to_pool(process, first, last, count, false);
    }
}

static void tasks_to_pool(struct worker_process *process, struct worker_task *const *tasks,
                          uint32_t count, bool ahead) {
    for (uint32_t i = 0; i < count; i++) {
        worker_run_of(tasks[i])->work.next =
            i + 1 < count ? &worker_run_of(tasks[i + 1])->work : NULL;
    }
    to_pool(process, &worker_run_of(tasks[0])->work, &worker_run_of(tasks[count - 1])->work, count,
            ahead);
}

void worker_drive_start(struct worker_process *process, struct worker_task *const *tasks,
                        uint32_t count, bool ahead) {
    if (!process->joining && atomic_load(&process->drive) == WORKER_DRIVE_MAIN) {
        tasks_to_pool(process, tasks, count, ahead);
        return;
    }
    BASE_ASSERT(todo_count(process) + count <= WORKER_RING);
    if (ahead) {
        todo_put_ahead(process, tasks, count);
    } else {
        todo_put(process, tasks, count);
    }
}

static bool is_withdrawn(void *user, const struct base_work *work) {
    (void)user;
    return ((const struct worker_run *)(const void *)work)->withdrawn;
}

struct base_work *worker_drive_withdraw(struct worker_process *process) {
    struct base_work *taken = base_pool_withdraw(process->pool, is_withdrawn, NULL);
    struct base_work **end = &taken;
    unsigned to, count = todo_count(process);

    while (*end != NULL) {
        end = &(*end)->next;
    }
    to = process->todo_end - count;
    for (unsigned from = to; count > 0; count--, from++) {
        struct worker_task *task = worker_todo_get(process, from);

        if (worker_run_of(task)->withdrawn) {
            *end = &worker_run_of(task)->work;
            end = &(*end)->next;
        } else {
            todo_set(process, to++, task);
        }
    }
    *end = NULL;
    process->todo_end = to;
    return taken;
}

/* ---- the watcher ---- */

static void set_timer(struct worker_process *process, uint64_t ns) {
    const struct itimerspec time = {.it_value.tv_nsec = (long)ns};
    int rc = timerfd_settime(process->guard_fd, 0, &time, NULL);

    BASE_ASSERT(rc == 0);
}

static void await_timer(struct worker_process *process) {
    struct pollfd fd = {.fd = process->guard_fd, .events = POLLIN};
    uint64_t times;
    ssize_t got;

    if (poll(&fd, 1, -1) > 0) {
        got = read(process->guard_fd, &times, sizeof times);
        BASE_ASSERT(got == (ssize_t)sizeof times || errno == EAGAIN);
    }
}

/* Watches a lane that drives, until this thread does. */
static void watch(struct worker_process *process) {
    unsigned seen = atomic_load(&process->groups), groups;

    for (;; seen = groups) {
        unsigned drive = atomic_load(&process->drive);

        groups = atomic_load(&process->groups);
        if (drive == WORKER_DRIVE_MAIN) {
            return; /* the lane has left */
        }
        if (drive == WORKER_DRIVE_LANE_RUNS && groups == seen) {
            if (atomic_compare_exchange_strong(&process->drive, &drive, WORKER_DRIVE_MAIN)) {
                return;
            }
        } else if (drive == WORKER_DRIVE_LANE && groups == seen) {
            atomic_store(&process->guarded, false);
            if (atomic_load(&process->drive) == WORKER_DRIVE_LANE) {
                await_timer(process);
                continue;
            }
        }
        atomic_store(&process->guarded, true);
        set_timer(process, WORKER_GUARD_NS);
        await_timer(process);
    }
}

bool worker_drive_give(struct worker_process *process) {
    unsigned waiting = todo_count(process);

    if (process->guard_fd < 0 || process->now_ns < process->keep_ns || process->left) {
        return false;
    }
    if (process->in_pool > waiting) {
        /* The lane has something: it gets the rest when it has done that, if all are short. */
        if (!process->joining && process->long_count == 0 && process->mean_ns < WORKER_SHORT_NS &&
            process->mean_ns > 0) {
            process->joining = true;
            todo_put_works(process, base_pool_withdraw(process->pool, NULL, NULL));
        }
        return false;
    }
    process->joining = false;
    atomic_store(&process->guarded, true);
    atomic_store(&process->drive, WORKER_DRIVE_LANE);
    to_pool(process, &process->drive_work, &process->drive_work, 1, false);
    set_timer(process, WORKER_GUARD_NS);
    watch(process);
    process->now_ns = base_clock_ns();
    process->keep_ns = process->now_ns + WORKER_KEEP_NS;
    process->mean_ns = 0;
    todo_to_pool(process);
    worker_sample(process);
    return true;
}

/* ---- the lane ---- */

/* Runs some of what is to do. False: it took too long, and the main thread drives. */
static bool run_group(struct worker_process *process, struct worker_lane *lane) {
    unsigned drive = WORKER_DRIVE_LANE_RUNS, end = process->todo_end;

    worker_group_begin(&lane->group, todo_count(process), process->todo_ahead);
    process->todo_ahead = 0;
    atomic_fetch_add(&process->groups, 1);
    atomic_store(&process->drive, WORKER_DRIVE_LANE_RUNS);
    if (!atomic_load(&process->guarded)) {
        atomic_store(&process->guarded, true);
        set_timer(process, WORKER_GUARD_NS);
    }
    worker_lane_group(process, lane, end);
    if (atomic_compare_exchange_strong(&process->drive, &drive, WORKER_DRIVE_LANE)) {
        return true;
    }
    worker_lane_tell(process, lane);
    return false;
}

void worker_drive_lane(struct worker_process *process) {
    while (!process->left) {
        bool busy;

        process->now_ns = base_clock_ns();
        busy = worker_pass(process);
        if (process->left) {
            break;
        }
        if (todo_count(process) > 0) {
            /* What woke up to take the results, or to bring more, goes first: the system would let it
             * wait for as long as this thread has its slice. */
            (void)sched_yield();
            if (!run_group(process, &process->lanes[0])) {
                return;
            }
        } else if (!busy) {
            worker_sleep(process);
        }
    }
    atomic_store(&process->drive, WORKER_DRIVE_MAIN);
    set_timer(process, 1);
}

/* ---- opening and closing ---- */

int worker_drive_open(struct worker_process *process) {
    atomic_init(&process->drive, WORKER_DRIVE_MAIN);
    if (process->settings.threads != 1) {
        return 0;
    }
    process->todo = calloc(WORKER_RING, sizeof *process->todo);
    if (process->todo == NULL) {
        return ENOMEM;
    }
    process->guard_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return process->guard_fd < 0 ? errno : 0;
}

void worker_drive_close(struct worker_process *process) {
    free(process->todo);
    process->todo = NULL;
    if (process->guard_fd >= 0) {
        (void)close(process->guard_fd);
        process->guard_fd = -1;
    }
}
