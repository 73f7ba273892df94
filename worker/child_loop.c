#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <zmq.h>

#include "base/assert.h"
#include "base/futex.h"
#include "worker/process.h"

/* Messages taken in before results are looked at again. */
#define RECEIVE_MAX 64u

/* ---- what the core wants ---- */

static void step(struct worker_process *process, const struct worker_event *event);

/* Takes back what it can of the tasks noted in process->withdrawing, and answers for each. */
static void withdraw(struct worker_process *process, uint32_t count) {
    struct worker_event answer = {.type = WORKER_WITHDRAWN};
    struct base_work *work;

    for (uint32_t i = 0; i < count; i++) {
        worker_run_of(process->withdrawing[i])->withdrawn = true;
    }
    work = worker_drive_withdraw(process);
    for (uint32_t i = 0; i < count; i++) {
        worker_run_of(process->withdrawing[i])->withdrawn = false;
    }
    while (work != NULL) {
        struct worker_run *run = (struct worker_run *)(void *)work;

        work = work->next;
        run->withdrawn = true;
    }
    for (uint32_t i = 0; i < count; i++) {
        answer.task = process->withdrawing[i];
        answer.withdrawn = worker_run_of(answer.task)->withdrawn;
        process->in_pool -= answer.withdrawn;
        step(process, &answer);
    }
}

static void interrupt(struct worker_task *task) {
    struct worker_run *run = worker_run_of(task);

    atomic_store(&run->cancel, 1);
    base_futex_wake(&run->cancel, INT_MAX);
}

/* A task runs that may not, and nothing but the death of the process ends it: of all that it has
 * started too. */
static _Noreturn void kill_self(const char *text) {
    (void)worker_record_send(WORKER_FD_CONTROL, WORKER_RECORD_KILLING, BASE_LOG_ERROR, text);
    (void)kill(-getpgrp(), SIGKILL);
    _exit(1);
}

static void reconnect(struct worker_process *process) {
    int error = worker_dealer_open(&process->dealer);

    if (error != 0) {
        base_log(&process->log, BASE_LOG_ERROR, "%s: %s", process->settings.endpoint,
                 zmq_strerror(error));
    }
}

static void leave(struct worker_process *process, const struct worker_action *action) {
    process->left = true;
    if (action->warn) {
        (void)worker_record_send(WORKER_FD_CONTROL, WORKER_RECORD_FAILED, BASE_LOG_ERROR,
                                 action->text);
    } else if (action->text != NULL) {
        base_log(&process->log, BASE_LOG_WARN, "%s", action->text);
    }
}

/* Carries out one action but WITHDRAW, all of which are collected. */
static void carry_out(struct worker_process *process, const struct worker_action *action) {
    switch (action->type) {
    case WORKER_SEND:
        worker_dealer_send(&process->dealer, action->message);
        break;
    case WORKER_START:
        process->in_pool += action->count;
        worker_drive_start(process, action->tasks, action->count, action->ahead);
        break;
    case WORKER_WITHDRAW:
        break;
    case WORKER_INTERRUPT:
        interrupt(action->task);
        break;
    case WORKER_RECONNECT:
        base_log(&process->log, BASE_LOG_WARN, "%s is silent: connecting anew",
                 process->settings.endpoint);
        reconnect(process);
        break;
    case WORKER_KILL:
        kill_self(action->text);
    case WORKER_LEAVE:
        leave(process, action);
        break;
    case WORKER_RETIRING:
        (void)worker_record_send(WORKER_FD_CONTROL, WORKER_RECORD_RETIRING, BASE_LOG_ERROR, NULL);
        break;
    case WORKER_LOG:
        base_log(&process->log, action->warn ? BASE_LOG_WARN : BASE_LOG_INFO, "%s", action->text);
        break;
    }
}

/* Steps the core and does what it says. */
static void step(struct worker_process *process, const struct worker_event *event) {
    uint32_t withdraws = 0;
    const struct worker_action *actions;
    size_t count;

    worker_step(process->core, process->now_ns, event);
    actions = worker_actions(process->core, &count);
    for (size_t i = 0; i < count; i++) {
        if (actions[i].type == WORKER_WITHDRAW) {
            withdraws++;
        } else {
            carry_out(process, &actions[i]);
        }
    }
    if (withdraws > 0) {
        uint32_t noted = 0;

        BASE_ASSERT(withdraws <= WIRE_WORKER_LEASES_MAX);
        for (size_t i = 0; i < count; i++) {
            if (actions[i].type == WORKER_WITHDRAW) {
                process->withdrawing[noted++] = actions[i].task;
            }
        }
        withdraw(process, noted);
    }
}

static void step_plain(struct worker_process *process, enum worker_event_type type) {
    step(process, &(struct worker_event){.type = type});
}

/* ---- what has happened ---- */

/* The broker doesn't want us: there is nobody to whom results could go. */
static void give_up(struct worker_process *process) {
    char text[WORKER_RECORD_TEXT_BYTES];

    (void)snprintf(text, sizeof text, "%s: %s", process->settings.endpoint,
                   process->dealer.hopeless);
    (void)worker_record_send(WORKER_FD_CONTROL, WORKER_RECORD_FAILED, BASE_LOG_ERROR, text);
    process->left = true;
}

/* Takes in some of what is there; whether there was anything. */
static bool receive(struct worker_process *process) {
    struct wire_message *message;
    bool any = false;

    while (worker_dealer_connected(&process->dealer)) {
        step_plain(process, WORKER_RECONNECTED);
    }
    if (process->dealer.hopeless != NULL && !process->left) {
        give_up(process);
    }
    for (unsigned i = 0; i < RECEIVE_MAX; i++) {
        switch (worker_dealer_receive(&process->dealer, &message)) {
        case WORKER_DEALER_NOTHING:
            return any;
        case WORKER_DEALER_MESSAGE:
            step(process, &(struct worker_event){.type = WORKER_RECEIVE, .message = message});
            wire_message_unref(message);
            break;
        case WORKER_DEALER_LOST:
            base_log(&process->log, BASE_LOG_WARN, "a message from the broker is lost");
            break;
        }
        any = true;
    }
    return any;
}

/* What the lanes have spent in tasks since the last look. */
static uint64_t busy_since(struct worker_process *process) {
    uint64_t busy_ns = 0, before_ns = process->busy_seen_ns;

    for (unsigned i = 0; i < process->settings.threads; i++) {
        busy_ns += atomic_load_explicit(&process->lanes[i].busy_ns, memory_order_acquire);
    }
    process->busy_seen_ns = busy_ns;
    return busy_ns - before_ns;
}

/* Tasks of which the core is told in one step. */
#define TAKE_MAX 64u
/* How far ahead the tasks of a ring are fetched: they were last written to by another processor. */
#define AHEAD 6u

/* Takes up to TAKE_MAX tasks from a lane that has finished some. */
static void take_some(struct worker_process *process, struct worker_lane *lane, unsigned finished,
                      uint64_t busy_ns) {
    struct worker_outcome outcomes[TAKE_MAX], *outcome = outcomes;
    struct worker_run far[TAKE_MAX]; /* copies: the step frees the tasks */
    struct worker_task *const *ring = lane->ring;
    unsigned at = lane->taken, far_count = 0;
    unsigned end = finished - at > TAKE_MAX ? at + TAKE_MAX : finished;

    for (; at != end; at++, outcome++) {
        struct worker_run *run;

        if (finished - at > AHEAD) {
            __builtin_prefetch(ring[(at + AHEAD) & (WORKER_RING - 1)]->shell, 1);
        }
        outcome->task = ring[at & (WORKER_RING - 1)];
        run = worker_run_of(outcome->task);
        outcome->data = run->bytes;
        outcome->size = (size_t)run->size;
        outcome->large = NULL;
        outcome->kind = (enum wire_kind)run->kind;
        if (BASE_UNLIKELY(run->kept != WORKER_KEPT_INLINE)) {
            outcome->data = run->data;
            if (run->kept == WORKER_KEPT_BLOB && run->size >= WIRE_LARGE_BYTES_MIN) {
                outcome->large = run->blob;
            }
            far[far_count++] = *run;
        }
        process->long_count -= run->reported;
    }
    process->in_pool -= end - lane->taken;
    step(process, &(struct worker_event){.type = WORKER_FINISHED,
                                         .outcomes = outcomes,
                                         .count = end - lane->taken,
                                         .busy_ns = busy_ns});
    lane->taken = end;
    while (far_count > 0) {
        worker_kept_release(&far[--far_count]);
    }
}

static bool take_finished(struct worker_process *process) {
    uint64_t busy_ns = 0, untold_ns = 0;
    unsigned count = 0;

    for (unsigned i = 0; i < process->settings.threads; i++) {
        struct worker_lane *lane = &process->lanes[i];
        unsigned finished = atomic_load_explicit(&lane->finished, memory_order_acquire);

        if (lane->taken == finished) {
            continue;
        }
        if (count == 0) {
            busy_ns = untold_ns = busy_since(process);
        }
        count += finished - lane->taken;
        while (lane->taken != finished) {
            take_some(process, lane, finished, untold_ns);
            untold_ns = 0;
        }
    }
    if (count > 0) {
        process->mean_ns = busy_ns / count;
    }
    return count > 0;
}

/* Whether the lanes have finished nothing more. Sequentially consistent, as base/wake.h wants it. */
static bool nothing_finished(struct worker_process *process) {
    for (unsigned i = 0; i < process->settings.threads; i++) {
        if (atomic_load(&process->lanes[i].finished) != process->lanes[i].taken) {
            return false;
        }
    }
    return true;
}

/* Looks at what each lane runs. One that runs the same task as WORKER_LONG_NS ago is reported. */
void worker_sample(struct worker_process *process) {
    for (unsigned i = 0; i < process->settings.threads; i++) {
        struct worker_lane *lane = &process->lanes[i];
        /* It is the core's until this thread says that it is finished, so it may be looked at. */
        struct worker_task *task = atomic_load_explicit(&lane->current, memory_order_relaxed);

        if (task == NULL || lane->seen_ns == 0 || task->lease != lane->seen_lease) {
            lane->seen_lease = task == NULL ? 0 : task->lease;
            lane->seen_ns = task == NULL ? 0 : process->now_ns;
        } else if (!worker_run_of(task)->reported &&
                   process->now_ns - lane->seen_ns >= WORKER_LONG_NS) {
            worker_run_of(task)->reported = true;
            process->long_count++;
            step(process, &(struct worker_event){.type = WORKER_BEGAN,
                                                 .task = task,
                                                 .busy_ns = process->now_ns - lane->seen_ns});
        }
    }
}

/* When to look at the lanes next: not while they do nothing, or nothing that is not known. */
static void plan_sample(struct worker_process *process) {
    bool needed = process->in_pool > 0 && process->long_count < process->settings.threads &&
                  process->long_count < process->in_pool;

    if (!needed) {
        process->sample_ns = BASE_CLOCK_FOREVER;
    } else if (process->sample_ns == BASE_CLOCK_FOREVER) {
        process->sample_ns = process->now_ns + WORKER_SAMPLE_NS;
    }
}

/* ---- the supervisor ---- */

static void drain(struct worker_process *process, bool interrupt_all) {
    (void)worker_record_send(WORKER_FD_CONTROL, WORKER_RECORD_RETIRING, BASE_LOG_ERROR, NULL);
    step_plain(process, WORKER_DRAIN);
    for (unsigned i = 0; i < process->settings.threads && interrupt_all; i++) {
        struct worker_task *task =
            atomic_load_explicit(&process->lanes[i].current, memory_order_relaxed);

        if (task != NULL) {
            interrupt(task);
        }
    }
}

static void read_control(struct worker_process *process) {
    struct worker_record record;
    int got;

    while ((got = worker_record_receive(WORKER_FD_CONTROL, &record)) > 0) {
        if (record.type == WORKER_RECORD_STOP || record.type == WORKER_RECORD_INTERRUPT) {
            drain(process, record.type == WORKER_RECORD_INTERRUPT);
        }
    }
    if (got < 0) {
        (void)kill(-getpgrp(), SIGKILL); /* the supervisor is gone */
        _exit(1);
    }
}

static void read_signals(struct worker_process *process) {
    struct signalfd_siginfo info;
    bool any = false;

    while (read(process->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        any = true;
    }
    if (any) {
        drain(process, false);
    }
}

/* ---- the loop ---- */

enum { FD_WAKE, FD_LIFELINE, FD_CONTROL, FD_SIGNAL, FD_DEALER, FD_COUNT };

static void sleep_until(struct worker_process *process, uint64_t until_ns) {
    struct pollfd fds[FD_COUNT - 1 + WORKER_DEALER_FDS] = {
        [FD_WAKE] = {.fd = base_wake_fd(&process->wake), .events = POLLIN},
        [FD_LIFELINE] = {.fd = WORKER_FD_LIFELINE, .events = POLLIN},
        [FD_CONTROL] = {.fd = WORKER_FD_CONTROL, .events = POLLIN},
        [FD_SIGNAL] = {.fd = process->signal_fd, .events = POLLIN},
    };
    int ready = 0;

    worker_dealer_poll(&process->dealer, fds + FD_DEALER);
    base_wake_prepare(&process->wake);
    if (nothing_finished(process) &&
        (process->begun || atomic_load(&process->initialized) == WORKER_INITIALIZING)) {
        ready =
            poll(fds, sizeof fds / sizeof fds[0], base_clock_poll_ms(until_ns, process->now_ns));
    }
    (void)base_wake_finish(&process->wake);
    if (ready <= 0) {
        return;
    }
    process->now_ns = base_clock_ns();
    if (fds[FD_LIFELINE].revents != 0) {
        (void)kill(-getpgrp(), SIGKILL); /* the supervisor is gone, and so is everything here */
        _exit(1);
    }
    worker_dealer_polled(&process->dealer, fds + FD_DEALER);
    if (fds[FD_CONTROL].revents != 0) {
        read_control(process);
    }
    if (fds[FD_SIGNAL].revents != 0) {
        read_signals(process);
    }
}

bool worker_pass(struct worker_process *process) {
    bool busy = receive(process);

    busy = take_finished(process) || busy;
    if (process->now_ns >= process->sample_ns) {
        process->sample_ns = BASE_CLOCK_FOREVER;
        worker_sample(process);
    }
    if (process->now_ns >= worker_deadline(process->core)) {
        step_plain(process, WORKER_TICK);
    }
    step_plain(process, WORKER_FLUSH);
    plan_sample(process);
    return busy || process->dealer.look;
}

/* False: the supervisor has been told why not. */
static bool load_keys(struct worker_process *process) {
    const struct worker_settings *settings = &process->settings;
    char error[WORKER_RECORD_TEXT_BYTES];

    if (settings->key == NULL) {
        return true;
    }
    if (!wire_curve_load(&process->curve, settings->key, settings->server, error, sizeof error)) {
        (void)worker_record_send(WORKER_FD_CONTROL, WORKER_RECORD_FAILED, BASE_LOG_ERROR, error);
        return false;
    }
    process->dealer.curve = &process->curve;
    return true;
}

/* Waits for the initializer, as lively as ever, then connects. False: there is nothing to serve. */
static bool begin(struct worker_process *process) {
    int error;

    while (atomic_load(&process->initialized) == WORKER_INITIALIZING && !process->left) {
        sleep_until(process, worker_deadline(process->core));
        process->now_ns = base_clock_ns();
        step_plain(process, WORKER_FLUSH);
    }
    process->begun = true;
    if (process->left) {
        return false;
    }
    if (atomic_load(&process->initialized) == WORKER_INITIALIZER_FAILED) {
        (void)worker_record_send(WORKER_FD_CONTROL, WORKER_RECORD_INITIALIZER, BASE_LOG_ERROR,
                                 process->initializer_text);
        return false;
    }
    process->dealer.zmq = process->zmq;
    process->dealer.shared = process->shared;
    process->dealer.endpoint = process->settings.endpoint;
    if (!load_keys(process)) {
        return false;
    }
    error = worker_dealer_open(&process->dealer);
    if (error != 0) {
        char text[WORKER_RECORD_TEXT_BYTES];

        (void)snprintf(text, sizeof text, "%s: %s", process->settings.endpoint,
                       zmq_strerror(error));
        (void)worker_record_send(WORKER_FD_CONTROL, WORKER_RECORD_FAILED, BASE_LOG_ERROR, text);
        return false;
    }
    (void)worker_record_send(WORKER_FD_CONTROL, WORKER_RECORD_READY, BASE_LOG_ERROR, NULL);
    return true;
}

void worker_sleep(struct worker_process *process) {
    uint64_t until_ns = worker_deadline(process->core);

    sleep_until(process, until_ns < process->sample_ns ? until_ns : process->sample_ns);
}

int worker_loop(struct worker_process *process) {
    process->now_ns = base_clock_ns();
    process->sample_ns = BASE_CLOCK_FOREVER;
    if (!begin(process)) {
        return process->left ? 0 : 1;
    }
    while (!process->left) {
        bool busy;

        process->now_ns = base_clock_ns();
        busy = worker_pass(process);
        if (!process->left && !worker_drive_give(process) && !busy) {
            worker_sleep(process);
        }
    }
    return 0;
}

void worker_loop_close(struct worker_process *process) {
    worker_dealer_close(&process->dealer);
    wire_curve_wipe(&process->curve);
}
