/* Many workers in one process, for furrow-bench: each has a worker's core, its own session and its own
 * connection, and runs tasks for real; but one thread serves them all, so that a thousand of them need
 * no thousand processes.
 *
 *     furrow-bench-crowd URL WORKERS
 *
 * Says "ready" when all are registered; SIGTERM lets them all leave. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/entropy.h"
#include "task/context.h"
#include "task/registry.h"
#include "wire/zmq.h"
#include "worker/core.h"

enum { EVENTS_MAX = 256, TICK_MS = 10, SOCKETS_SPARE = 64, FDS_EACH = 4 };

/* What worker_task.shell is: the queue's links, and whether it is in it. */
enum { NEXT, BEFORE, QUEUED };

struct member {
    struct worker_core *core;
    void *socket;
    struct worker_task *first, *last; /* not yet run */
    bool left;
};

static struct crowd {
    struct member *members;
    int count, left_count;
    void *zmq;
    const char *endpoint;
    int epoll;
    furrow_task *context;
    struct task_function_list functions;
    struct worker_task **withdrawing;
    size_t withdrawing_room;
    bool said_ready;
} crowd;

static volatile sig_atomic_t leaving;

static void on_signal(int number) {
    (void)number;
    leaving = 1;
}

static _Noreturn void die(const char *what) {
    fprintf(stderr, "furrow-bench-crowd: %s: %s\n", what, zmq_strerror(errno));
    exit(1);
}

/* ------------------------------------------------------------------ the queue */

static struct worker_task *next_of(const struct worker_task *task) {
    return (struct worker_task *)(uintptr_t)task->shell[NEXT];
}

static struct worker_task *before(const struct worker_task *task) {
    return (struct worker_task *)(uintptr_t)task->shell[BEFORE];
}

static void push(struct member *member, struct worker_task *task) {
    task->shell[QUEUED] = 1;
    task->shell[NEXT] = 0;
    task->shell[BEFORE] = (uintptr_t)member->last;
    if (member->last != NULL) {
        member->last->shell[NEXT] = (uintptr_t)task;
    } else {
        member->first = task;
    }
    member->last = task;
}

/* Takes a task out again; false if it is not there. */
static bool take_out(struct member *member, struct worker_task *task) {
    if (task->shell[QUEUED] == 0) {
        return false;
    }
    task->shell[QUEUED] = 0;
    if (before(task) != NULL) {
        before(task)->shell[NEXT] = task->shell[NEXT];
    } else {
        member->first = next_of(task);
    }
    if (next_of(task) != NULL) {
        next_of(task)->shell[BEFORE] = task->shell[BEFORE];
    } else {
        member->last = before(task);
    }
    return true;
}

/* ------------------------------------------------------------------ the core */

static void step(struct member *member, const struct worker_event *event);

static void connect_member(struct member *member) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = member};
    size_t size = sizeof(int);
    int fd;

    if (member->socket != NULL) {
        zmq_close(member->socket); /* which takes its descriptor out of the epoll */
    }
    member->socket = wire_zmq_dealer(crowd.zmq);
    if (member->socket == NULL || wire_zmq_connect(member->socket, crowd.endpoint) != 0 ||
        zmq_getsockopt(member->socket, ZMQ_FD, &fd, &size) != 0 ||
        epoll_ctl(crowd.epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("connect");
    }
}

/* Answers for the tasks that the broker wants back: those that have not been run can go. */
static void withdraw(struct member *member, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct worker_task *task = crowd.withdrawing[i];
        step(member, &(struct worker_event){.type = WORKER_WITHDRAWN,
                                            .task = task,
                                            .withdrawn = take_out(member, task)});
    }
}

static void carry_out(struct member *member, const struct worker_action *action) {
    switch (action->type) {
    case WORKER_SEND:
        (void)wire_zmq_send(member->socket, NULL, action->message);
        wire_message_unref(action->message);
        break;
    case WORKER_START:
        for (uint32_t i = 0; i < action->count; i++) {
            push(member, action->tasks[i]);
        }
        break;
    case WORKER_RECONNECT:
        connect_member(member);
        break;
    case WORKER_LEAVE:
        member->left = true;
        crowd.left_count++;
        break;
    case WORKER_KILL:
        die("a task ran too long");
    case WORKER_LOG:
    case WORKER_WITHDRAW:
    case WORKER_INTERRUPT: /* no task runs while the core is asked */
    case WORKER_RETIRING:
        break;
    }
}

static void step(struct member *member, const struct worker_event *event) {
    const struct worker_action *actions;
    size_t count, withdraws = 0;

    worker_step(member->core, base_clock_ns(), event);
    actions = worker_actions(member->core, &count);
    if (count > crowd.withdrawing_room) {
        crowd.withdrawing_room = 2 * count;
        crowd.withdrawing =
            realloc(crowd.withdrawing, crowd.withdrawing_room * sizeof(struct worker_task *));
        if (crowd.withdrawing == NULL) {
            die("memory");
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (actions[i].type == WORKER_WITHDRAW) {
            crowd.withdrawing[withdraws++] = actions[i].task;
        } else {
            carry_out(member, &actions[i]);
        }
    }
    withdraw(member, withdraws);
}

/* Runs all that this worker has. How long it took goes with the last one. */
static void run_waiting(struct member *member) {
    uint64_t before_ns = base_clock_ns();

    while (member->first != NULL) {
        struct worker_task *task = member->first;
        struct task_call call = {.function = crowd.functions.functions[task->function],
                                 .arguments = task->data,
                                 .size = task->size,
                                 .flags = task->flags,
                                 .attempt = task->attempt};

        (void)take_out(member, task);
        struct task_outcome outcome = task_run(crowd.context, &call);
        uint64_t now_ns = member->first == NULL ? base_clock_ns() : before_ns;
        step(member,
             &(struct worker_event){.type = WORKER_FINISHED,
                                    .outcomes = &(struct worker_outcome){.task = task,
                                                                         .kind = outcome.kind,
                                                                         .data = outcome.data,
                                                                         .size = outcome.size},
                                    .count = 1,
                                    .busy_ns = now_ns - before_ns});
    }
}

/* ZeroMQ's descriptors only tell of changes: goes on until nothing more is there. */
static void serve(struct member *member) {
    struct wire_message *message;
    bool any = true;

    while (any && !member->left) {
        any = false;
        while (wire_zmq_recv(member->socket, NULL, &message) == WIRE_ZMQ_OK) {
            any = true;
            step(member, &(struct worker_event){.type = WORKER_RECEIVE, .message = message});
            wire_message_unref(message);
        }
        run_waiting(member);
        step(member, &(struct worker_event){.type = WORKER_FLUSH});
    }
}

/* -------------------------------------------------------------------- main */

static void add_member(struct member *member, int number) {
    struct worker_config config = {
        .slots = 1,
        .name = "crowd",
        .host = "localhost",
        .pid = getpid(),
        .functions = crowd.functions.names,
        .function_count = crowd.functions.count,
    };

    if (!base_entropy(&config.session, sizeof config.session)) {
        die("entropy");
    }
    config.seed = config.session.low + (uint64_t)number;
    member->core = worker_core_new(&config, base_clock_ns());
    if (member->core == NULL) {
        die("memory");
    }
    connect_member(member);
}

/* Looks at every clock. Says so when all are registered. */
static void tick(void) {
    uint64_t now_ns = base_clock_ns();
    int connected = 0;

    for (int i = 0; i < crowd.count; i++) {
        struct member *member = &crowd.members[i];
        struct worker_stats stats;

        if (member->left) {
            continue;
        }
        if (now_ns >= worker_deadline(member->core)) {
            step(member, &(struct worker_event){.type = WORKER_TICK});
        }
        serve(member);
        worker_get_stats(member->core, &stats);
        connected += stats.connected;
    }
    if (connected == crowd.count && !crowd.said_ready) {
        crowd.said_ready = true;
        puts("ready");
        fflush(stdout);
        fclose(stdout);
    }
}

static void serve_until_told(void) {
    struct epoll_event events[EVENTS_MAX];
    uint64_t tick_ns = 0, give_up_ns = UINT64_MAX;
    bool drained = false;

    while (crowd.left_count < crowd.count && base_clock_ns() < give_up_ns) {
        int count = epoll_wait(crowd.epoll, events, EVENTS_MAX, TICK_MS);

        for (int i = 0; i < count; i++) {
            serve(events[i].data.ptr);
        }
        if (leaving && !drained) {
            drained = true;
            give_up_ns = base_clock_ns() + 5 * BASE_CLOCK_NS_PER_S;
            for (int i = 0; i < crowd.count; i++) {
                step(&crowd.members[i], &(struct worker_event){.type = WORKER_DRAIN});
            }
            tick_ns = 0;
        }
        if (base_clock_ns() >= tick_ns) {
            tick();
            tick_ns = base_clock_ns() + TICK_MS * BASE_CLOCK_NS_PER_MS;
        }
    }
}

static void raise_limit(rlim_t wanted) {
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = on_signal};
    struct task_context_config config = {.host = "localhost", .pid = getpid()};

    crowd.count = argc == 3 ? atoi(argv[2]) : 0;
    if (crowd.count < 1) {
        fprintf(stderr, "usage: furrow-bench-crowd URL WORKERS\n");
        return 2;
    }
    sigaction(SIGTERM, &action, NULL);
    raise_limit((rlim_t)(FDS_EACH * crowd.count + SOCKETS_SPARE));
    crowd.endpoint = argv[1];
    crowd.zmq = zmq_ctx_new();
    crowd.epoll = epoll_create1(EPOLL_CLOEXEC);
    crowd.members = calloc((size_t)crowd.count, sizeof *crowd.members);
    crowd.context = task_context_new(&config);
    if (crowd.zmq == NULL || crowd.epoll < 0 || crowd.members == NULL || crowd.context == NULL ||
        zmq_ctx_set(crowd.zmq, ZMQ_MAX_SOCKETS, crowd.count + SOCKETS_SPARE) != 0 ||
        task_registry_list(&crowd.functions) != FURROW_OK) {
        die("start");
    }
    for (int i = 0; i < crowd.count; i++) {
        add_member(&crowd.members[i], i);
    }
    serve_until_told();
    for (int i = 0; i < crowd.count; i++) {
        zmq_close(crowd.members[i].socket);
        worker_core_free(crowd.members[i].core);
    }
    zmq_ctx_term(crowd.zmq);
    task_context_free(crowd.context);
    task_function_list_fini(&crowd.functions);
    free(crowd.withdrawing);
    free(crowd.members);
    close(crowd.epoll);
    return crowd.left_count == crowd.count ? 0 : 1;
}
