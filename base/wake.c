#include "base/wake.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Why no wake-up is lost.
 *
 * The consumer C does: (1) state = SLEEPING; (2) look at the queue, find it empty; (3) poll.
 * A producer P does:   (a) put into the queue;  (b) read state, and write the fd if SLEEPING.
 * All four are sequentially consistent, so they have one order that everybody agrees on. If C misses
 * the item, (2) comes before (a), so (1) before (2) before (a) before (b): P reads SLEEPING, or
 * SIGNALLED by another producer since (1). Either way the fd becomes readable, and stays so until
 * finish reads it: poll returns.
 *
 * With a queue under a mutex: if C misses the item, its critical section came before P's; the unlock
 * and lock order (1) before (b), so P reads SLEEPING too.
 *
 * Only the producer whose exchange turns SLEEPING into SIGNALLED writes, once. It may be delayed
 * between the two. So finish counts one write as owed for each SIGNALLED it finds, and subtracts
 * what it reads (an eventfd adds up): a late write ends a later poll once for nothing, and is then
 * read there because it is still owed. Nothing is left readable for ever. */

int base_wake_open(struct base_wake *wake) {
    atomic_init(&wake->state, BASE_WAKE_AWAKE);
    wake->owed = 0;
    wake->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return wake->fd < 0 ? errno : 0;
}

void base_wake_close(struct base_wake *wake) {
    if (wake->fd >= 0) {
        (void)close(wake->fd);
        wake->fd = -1;
    }
}

void base_wake_write(struct base_wake *wake) {
    int expected = BASE_WAKE_SLEEPING;
    uint64_t one = 1;
    int saved = errno;
    ssize_t written;

    if (!atomic_compare_exchange_strong(&wake->state, &expected, BASE_WAKE_SIGNALLED)) {
        return;
    }
    do {
        written = write(wake->fd, &one, sizeof one);
    } while (written < 0 && errno == EINTR);
    BASE_ASSERT(written == (ssize_t)sizeof one);
    errno = saved;
}

void base_wake_prepare(struct base_wake *wake) {
    atomic_store(&wake->state, BASE_WAKE_SLEEPING);
}

bool base_wake_finish(struct base_wake *wake) {
    bool signalled = atomic_exchange(&wake->state, BASE_WAKE_AWAKE) == BASE_WAKE_SIGNALLED;
    uint64_t count;

    wake->owed += signalled;
    if (wake->owed > 0 && read(wake->fd, &count, sizeof count) == (ssize_t)sizeof count) {
        BASE_ASSERT(count <= wake->owed);
        wake->owed -= count;
    }
    return signalled;
}
