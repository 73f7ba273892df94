#include "libclient/engine.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/futex.h"
#include "base/malloc.h"
#include "libclient/executor_private.h"

/* Who drives: engine.h has the states and why nothing is left lying between them. */

/* With more tasks than these under way a waiting thread leaves the work to the I/O thread, beside which
 * it can do its own. */
#define LEAD_TASKS_MAX 64u
/* So many passes for others alone a waiting thread makes before it leaves. */
#define LEAD_EXTRA 2u
/* A waiting thread that drives and is so late for what is due is taken to be stuck. */
#define STUCK_NS (50 * BASE_CLOCK_NS_PER_MS)

#define EVENTS 4

static _Thread_local const struct engine *current_engine __attribute__((tls_model("initial-exec")));

bool engine_is_current(const struct engine *engine) {
    return current_engine == engine;
}

/* --------------------------------------------------------------- what to wake for */

/* What descriptors are marked with; the transport's marks are greater. */
enum { MARK_WAKE, MARK_EVENTS = 0, MARK_KICK };

bool engine_watch(struct engine *engine, int fd, unsigned mark) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = mark};

    BASE_ASSERT(mark != MARK_WAKE);
    return epoll_ctl(engine->events_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

void engine_unwatch(struct engine *engine, int fd) {
    (void)epoll_ctl(engine->events_fd, EPOLL_CTL_DEL, fd, NULL);
}

static void arm(struct engine *engine, bool armed) {
    struct epoll_event event = {.events = armed ? EPOLLIN : 0, .data.u32 = MARK_EVENTS};
    int rc = epoll_ctl(engine->lookout_fd, EPOLL_CTL_MOD, engine->events_fd, &event);

    BASE_ASSERT(rc == 0);
}

static bool add(int epoll_fd, int fd, uint32_t mark) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = mark};

    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

int engine_drive_open(struct engine *engine) {
    struct engine_drive *drive = &engine->drive;
    int error;

    engine->wake.fd = drive->kick.fd = engine->events_fd = engine->lookout_fd = -1;
    atomic_init(&drive->state, ENGINE_HELD); /* by the I/O thread that is to be */
    atomic_init(&drive->due_ns, UINT64_MAX);
    atomic_init(&drive->io_until_ns, 0);
    drive->pid = getpid();
    error = base_wake_open(&engine->wake);
    if (error == 0) {
        error = base_wake_open(&drive->kick);
    }
    if (error != 0) {
        return error;
    }
    engine->events_fd = epoll_create1(EPOLL_CLOEXEC);
    engine->lookout_fd = epoll_create1(EPOLL_CLOEXEC);
    if (engine->events_fd < 0 || engine->lookout_fd < 0 ||
        !add(engine->events_fd, base_wake_fd(&engine->wake), MARK_WAKE) ||
        !add(engine->lookout_fd, engine->events_fd, MARK_EVENTS) ||
        !add(engine->lookout_fd, base_wake_fd(&drive->kick), MARK_KICK)) {
        return errno;
    }
    return 0;
}

void engine_drive_close(struct engine *engine) {
    if (engine->lookout_fd >= 0) {
        (void)close(engine->lookout_fd);
    }
    if (engine->events_fd >= 0) {
        (void)close(engine->events_fd);
    }
    base_wake_close(&engine->drive.kick);
    base_wake_close(&engine->wake);
}

/* ---------------------------------------------------------- taking and leaving */

static bool take(struct engine *engine, unsigned from) {
    if (!atomic_compare_exchange_strong(&engine->drive.state, &from, ENGINE_HELD)) {
        return false;
    }
    (void)base_wake_finish(&engine->wake);
    return true;
}

/* Tells the transport what has happened. */
static void see(struct engine *engine, const struct epoll_event *events, int count) {
    for (int i = 0; i < count; i++) {
        if (events[i].data.u32 != MARK_WAKE) {
            engine->transport->ready(engine, events[i].data.u32);
        }
    }
}

static bool pass(struct engine *engine) {
    engine->drive.rested = false;
    return engine_pass(engine);
}

/* rest gets ready for letting go of the drive, or for sleeping with it. False: there is something to do.
 * Until the next pass whoever hands something over sees to it that somebody wakes. */
static bool rest(struct engine *engine) {
    uint64_t deadline_ns;

    base_wake_prepare(&engine->wake);
    if (!engine_inboxes_empty(engine)) {
        (void)base_wake_finish(&engine->wake);
        return false;
    }
    deadline_ns = engine_deadline(engine);
    engine->slept_until_ns = deadline_ns == UINT64_MAX ? UINT64_MAX : deadline_ns + engine->skew_ns;
    atomic_store(&engine->drive.due_ns, engine->slept_until_ns);
    atomic_store(&engine->drive.load, engine_load(engine));
    engine->drive.rested = true;
    return true;
}

/* leave lets go of the drive: for whoever comes or, `call`, for the I/O thread. */
static void leave(struct engine *engine, bool call) {
    struct engine_drive *drive = &engine->drive;
    bool disarmed = drive->disarmed;

    drive->disarmed = false;
    if (call) {
        atomic_store(&drive->io_called, true);
    }
    atomic_store(&drive->state, ENGINE_FREE);
    if (disarmed) {
        arm(engine, true);
    }
    if (atomic_load(&drive->io_parked) ||
        atomic_load(&drive->due_ns) < atomic_load(&drive->io_until_ns)) {
        atomic_store(&drive->io_called, true);
        call = true;
    }
    if (call) {
        base_wake_signal(&drive->kick);
    }
}

/* ------------------------------------------------------------ the I/O thread */

/* Drives until there is nothing to do. False: the engine has ended. */
static bool drive_all(struct engine *engine) {
    bool busy;

    engine->drive.led = false;
    engine->drive.io_wanted = false;
    do {
        do {
            future_run_later(&engine->drive.later);
            engine_read_clock(engine);
            busy = pass(engine);
            if (engine->left) {
                return false;
            }
        } while (busy);
    } while (!rest(engine));
    return true;
}

/* Sleeps until something happens, or until what is due. */
static void look_out(struct engine *engine) {
    struct engine_drive *drive = &engine->drive;
    struct epoll_event event;
    uint64_t until_ns;

    base_wake_prepare(&drive->kick);
    do {
        until_ns = atomic_load(&drive->due_ns);
        atomic_store(&drive->io_until_ns, until_ns);
    } while (atomic_load(&drive->due_ns) < until_ns);
    if (!atomic_load(&drive->io_called)) {
        (void)epoll_wait(engine->lookout_fd, &event, 1,
                         base_clock_poll_ms(until_ns, base_clock_ns()));
    }
    atomic_store(&drive->io_until_ns, 0);
    (void)base_wake_finish(&drive->kick);
}

/* Sleeps while somebody else drives, until that leaves; or looks again when it might be stuck. */
static void park(struct engine *engine) {
    struct engine_drive *drive = &engine->drive;
    struct pollfd fd = {.fd = base_wake_fd(&drive->kick), .events = POLLIN};
    uint64_t now_ns = base_clock_ns(), until_ns = atomic_load(&drive->due_ns);

    if (until_ns < now_ns + STUCK_NS) {
        until_ns = now_ns + STUCK_NS;
    }
    base_wake_prepare(&drive->kick);
    atomic_store(&drive->io_until_ns, until_ns);
    atomic_store(&drive->io_parked, true);
    if (!atomic_load(&drive->io_called) && atomic_load(&drive->state) != ENGINE_FREE) {
        (void)poll(&fd, 1, base_clock_poll_ms(until_ns, now_ns));
    }
    atomic_store(&drive->io_parked, false);
    atomic_store(&drive->io_until_ns, 0);
    (void)base_wake_finish(&drive->kick);
}

/* Whether a thread sleeps with the drive that should have woken long ago: in a signal handler, say. */
static bool is_stuck(struct engine *engine) {
    uint64_t due_ns = atomic_load(&engine->drive.due_ns), now_ns = base_clock_ns();

    return atomic_load(&engine->drive.state) == ENGINE_LED && now_ns > due_ns &&
           now_ns - due_ns > STUCK_NS;
}

void *engine_run(void *user) {
    struct engine *engine = user;
    struct epoll_event events[EVENTS];

    current_engine = engine;
    base_malloc_expect_messages();
    while (drive_all(engine)) {
        leave(engine, false);
        look_out(engine);
        for (;;) {
            atomic_store(&engine->drive.io_called, false);
            if (take(engine, ENGINE_FREE) || (is_stuck(engine) && take(engine, ENGINE_LED))) {
                break;
            }
            park(engine);
        }
        see(engine, events, epoll_wait(engine->events_fd, events, EVENTS, 0));
    }
    engine->phase = ENGINE_ENDED;
    engine_requests_end(engine);
    atomic_store(&engine->ended, 1);
    base_futex_wake(&engine->ended, INT_MAX);
    return NULL;
}

/* ------------------------------------------------------------- user threads */

struct lead {
    sigset_t signals;
    int cancel;
};

void engine_block_signals(sigset_t *before) {
    sigset_t all;

    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGSEGV);
    (void)sigdelset(&all, SIGBUS);
    (void)sigdelset(&all, SIGFPE);
    (void)sigdelset(&all, SIGILL);
    (void)sigdelset(&all, SIGTRAP);
    (void)sigdelset(&all, SIGSYS);
    (void)sigdelset(&all, SIGABRT);
    (void)pthread_sigmask(SIG_SETMASK, &all, before);
}

/* begin takes a free drive for a user thread. In between no signal handler may hold up a pass, and no
 * cancellation end it. */
static bool begin(struct engine *engine, struct lead *lead) {
    if (atomic_load_explicit(&engine->drive.state, memory_order_relaxed) != ENGINE_FREE ||
        atomic_load_explicit(&engine->drive.io_called, memory_order_relaxed) ||
        current_engine != NULL || executor_in_any_callback() || getpid() != engine->drive.pid) {
        return false;
    }
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &lead->cancel);
    engine_block_signals(&lead->signals);
    if (take(engine, ENGINE_FREE)) {
        current_engine = engine;
        engine->drive.led = true;
        return true;
    }
    (void)pthread_sigmask(SIG_SETMASK, &lead->signals, NULL);
    (void)pthread_setcancelstate(lead->cancel, NULL);
    return false;
}

/* end is for after having left. */
static void end(struct lead *lead) {
    current_engine = NULL;
    (void)pthread_sigmask(SIG_SETMASK, &lead->signals, NULL);
    (void)pthread_setcancelstate(lead->cancel, NULL);
}

/* Whether there is something that a user thread must not do, or need not. */
static bool is_for_io(const struct engine *engine) {
    return engine->left || engine->drive.io_wanted || engine->drive.later.first != NULL ||
           engine_load(engine) > LEAD_TASKS_MAX;
}

/* Sleeps with the drive. False: it was taken away. */
static bool lead_sleep(struct engine *engine, const struct lead *lead, int timeout_ms) {
    struct epoll_event events[EVENTS];
    int count;

    if (!engine->drive.disarmed) {
        engine->drive.disarmed = true;
        arm(engine, false);
    }
    atomic_store(&engine->drive.state, ENGINE_LED);
    count = epoll_pwait(engine->events_fd, events, EVENTS, timeout_ms, &lead->signals);
    if (!take(engine, ENGINE_LED)) {
        return false;
    }
    engine->drive.led = true;
    see(engine, events, count);
    return true;
}

/* How long to sleep: too short by a millisecond rather than too long. */
static int lead_timeout(const struct engine *engine, uint64_t deadline_ns) {
    int timeout_ms = base_clock_poll_ms(engine_deadline(engine), engine->now_ns);
    uint64_t left_ms = (deadline_ns - engine->raw_ns) / BASE_CLOCK_NS_PER_MS;

    if (deadline_ns != UINT64_MAX && (timeout_ms < 0 || left_ms < (uint64_t)timeout_ms)) {
        timeout_ms = left_ms < INT_MAX ? (int)left_ms : INT_MAX;
    }
    return timeout_ms;
}

/* Drives until the future is done (NULL: until there is nothing to do), or almost deadline_ns, or until
 * the I/O thread is needed. The drive is left then. */
static void drive_for(struct engine *engine, const struct lead *lead, const furrow_future *future,
                      uint64_t deadline_ns) {
    unsigned extra = 0;

    while (!is_for_io(engine)) {
        bool busy = false, over;

        engine_read_clock(engine);
        if (!engine->drive.rested || !engine_inboxes_empty(engine) ||
            engine->now_ns >= engine_deadline(engine)) {
            busy = pass(engine);
        }
        over = future == NULL || future_done(future) ||
               deadline_ns < engine->raw_ns + BASE_CLOCK_NS_PER_MS;
        if (over && extra++ == LEAD_EXTRA) {
            break;
        }
        if (busy || !rest(engine)) {
            continue;
        }
        if (over) {
            leave(engine, false);
            return;
        }
        if (!lead_sleep(engine, lead, lead_timeout(engine, deadline_ns))) {
            return;
        }
        engine->drive.rested = false;
    }
    leave(engine, true);
}

/* ---- habits ----
 *
 * A thread that submits one task and waits for it, again and again, sends it itself: waking the I/O
 * thread would be for nothing. If it then doesn't wait, the I/O thread does the rest. */

_Thread_local struct engine_habit engine_habit __attribute__((tls_model("initial-exec")));

static void note_wait(const struct engine *engine) {
    if (engine_habit.serial != engine->base.serial) {
        engine_habit.serial = engine->base.serial;
        engine_habit.turn = ENGINE_TURN_ANY;
    }
    engine_habit.turn =
        engine_habit.turn == ENGINE_TURN_SUBMITTED || engine_habit.turn == ENGINE_TURN_SENT
            ? ENGINE_TURN_SEND
            : ENGINE_TURN_WAITED;
}

/* Whether this thread is to send what it has submitted. */
static bool note_submit(void) {
    bool send = engine_habit.turn == ENGINE_TURN_SEND;

    engine_habit.turn = send                                      ? ENGINE_TURN_SENT
                        : engine_habit.turn == ENGINE_TURN_WAITED ? ENGINE_TURN_SUBMITTED
                                                                  : ENGINE_TURN_ANY;
    return send;
}

void engine_drive_help(struct engine *engine, const furrow_future *future, uint64_t deadline_ns) {
    struct lead lead;

    note_wait(engine);
    if (atomic_load_explicit(&engine->drive.load, memory_order_relaxed) <= LEAD_TASKS_MAX &&
        begin(engine, &lead)) {
        drive_for(engine, &lead, future, deadline_ns);
        end(&lead);
    }
}

bool engine_drive_habitual(struct engine *engine) {
    struct lead lead;

    if (engine_habit.serial != engine->base.serial || !note_submit() || !begin(engine, &lead)) {
        return false;
    }
    drive_for(engine, &lead, NULL, UINT64_MAX);
    end(&lead);
    return true;
}
