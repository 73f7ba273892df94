#include "tests/e2e/fault_tasks.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------ the book */

static struct book *the_book;
static int why_no_book;
static pthread_once_t book_once = PTHREAD_ONCE_INIT;

static void map_book(void) {
    const char *path = getenv("FURROW_E2E_BOOK");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    void *memory;

    if (fd < 0) {
        why_no_book = errno;
        return;
    }
    memory = mmap(NULL, sizeof(struct book), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    why_no_book = errno;
    the_book = memory == MAP_FAILED ? NULL : memory;
}

struct book *book(void) {
    pthread_once(&book_once, map_book);
    return the_book;
}

uint64_t stamp_ns(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int64_t mixed(int64_t i) {
    uint64_t z = (uint64_t)i + UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (int64_t)((z ^ (z >> 31)) >> 1);
}

unsigned char blob_byte(int64_t i) {
    return (unsigned char)(mixed(i) & 0xff);
}

static bool in_book(int64_t i, int64_t limit) {
    return book() != NULL && i >= 0 && i < limit;
}

static void mark_start(int64_t slot) {
    atomic_store(&book()->stamps_ns[slot], stamp_ns());
    atomic_store(&book()->pids[slot], getpid());
    atomic_fetch_add(&book()->started[slot], 1);
}

/* ----------------------------------------------------------------- the tasks */

static int work(furrow_task *task) {
    int64_t i, us;

    if (furrow_task_args(task, "ii", &i, &us) != FURROW_OK) {
        return furrow_task_fail(task, FURROW_EARGS, "%s", furrow_last_error());
    }
    if (!in_book(i, BOOK_TASKS)) {
        return furrow_task_fail(task, EINVAL, "%s: %s", getenv("FURROW_E2E_BOOK"),
                                strerror(why_no_book));
    }
    atomic_fetch_add_explicit(&book()->runs[i], 1, memory_order_relaxed);
    if (us > 0 && furrow_task_sleep(task, (double)us * 1e-6) != FURROW_OK) {
        return FURROW_ECANCELLED;
    }
    atomic_fetch_add_explicit(&book()->ends[i], 1, memory_order_relaxed);
    return furrow_task_return(task, "i", mixed(i));
}
FURROW_TASK(work);

static int echo_int(furrow_task *task) {
    int64_t i;

    if (furrow_task_args(task, "i", &i) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", i);
}
FURROW_TASK(echo_int);

static int held(furrow_task *task) {
    int64_t slot, first, later;
    const atomic_uint *gate;

    if (furrow_task_args(task, "iii", &slot, &first, &later) != FURROW_OK ||
        !in_book(slot, BOOK_SLOTS) || !in_book(first, BOOK_SLOTS) || !in_book(later, BOOK_SLOTS)) {
        return FURROW_EARGS;
    }
    gate = &book()->gates[furrow_task_attempt(task) == 1 ? first : later];
    mark_start(slot);
    while (atomic_load(gate) == 0) {
        if (furrow_task_sleep(task, 0.001) != FURROW_OK) {
            return FURROW_ECANCELLED;
        }
    }
    return furrow_task_return(task, "i", (int64_t)furrow_task_attempt(task));
}
FURROW_TASK(held);

static int deaf(furrow_task *task) {
    int64_t slot;

    if (furrow_task_args(task, "i", &slot) != FURROW_OK || !in_book(slot, BOOK_SLOTS)) {
        return FURROW_EARGS;
    }
    mark_start(slot);
    while (book() != NULL) {
        usleep(1000);
    }
    return FURROW_OK;
}
FURROW_TASK(deaf);

static int die_once(furrow_task *task) {
    int64_t slot;

    if (furrow_task_args(task, "i", &slot) != FURROW_OK || !in_book(slot, BOOK_SLOTS)) {
        return FURROW_EARGS;
    }
    if (atomic_load(&book()->started[slot]) > 0) {
        return furrow_task_return(task, "i",
                                  (int64_t)(stamp_ns() - atomic_load(&book()->stamps_ns[slot])));
    }
    mark_start(slot);
    kill(getpid(), SIGKILL);
    return FURROW_EFAILED;
}
FURROW_TASK(die_once);

static int whereabouts(furrow_task *task) {
    int64_t slot;

    if (furrow_task_args(task, "i", &slot) != FURROW_OK || !in_book(slot, BOOK_SLOTS)) {
        return FURROW_EARGS;
    }
    mark_start(slot);
    return furrow_task_return(task, "i", (int64_t)getpid());
}
FURROW_TASK(whereabouts);

static int blob(furrow_task *task) {
    int64_t i, size;

    if (furrow_task_args(task, "ii", &i, &size) != FURROW_OK || size < 0) {
        return FURROW_EARGS;
    }
    void *bytes = malloc((size_t)size + 1);
    if (bytes == NULL) {
        return furrow_task_fail(task, ENOMEM, "no memory for %lld bytes", (long long)size);
    }
    memset(bytes, blob_byte(i), (size_t)size);
    int status = furrow_task_return(task, "B", bytes, (size_t)size);
    free(bytes);
    return status;
}
FURROW_TASK(blob);

static int weigh(furrow_task *task) {
    const void *bytes;
    size_t size;
    int64_t sum = 0;

    if (furrow_task_args(task, "B", &bytes, &size) != FURROW_OK) {
        return FURROW_EARGS;
    }
    for (size_t i = 0; i < size; i++) {
        sum += ((const unsigned char *)bytes)[i];
    }
    return furrow_task_return(task, "i", sum);
}
FURROW_TASK(weigh);

static int hog(furrow_task *task) {
    int64_t size;

    if (furrow_task_args(task, "i", &size) != FURROW_OK || size < 0) {
        return FURROW_EARGS;
    }
    char *bytes = malloc((size_t)size + 1);
    if (bytes == NULL) {
        return furrow_task_fail(task, ENOMEM, "no memory for %lld bytes", (long long)size);
    }
    for (int64_t i = 0; i < size; i += 4096) {
        ((volatile char *)bytes)[i] = 1;
    }
    free(bytes);
    return furrow_task_return(task, "i", size);
}
FURROW_TASK(hog);

static int open_many(furrow_task *task) {
    int64_t count, opened = 0;
    int *fds;

    if (furrow_task_args(task, "i", &count) != FURROW_OK || count < 0 || count > 100000) {
        return FURROW_EARGS;
    }
    fds = calloc((size_t)count + 1, sizeof *fds);
    if (fds == NULL) {
        return FURROW_ENOMEM;
    }
    for (; opened < count; opened++) {
        fds[opened] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fds[opened] < 0) {
            break;
        }
    }
    for (int64_t i = 0; i < opened; i++) {
        close(fds[i]);
    }
    free(fds);
    return furrow_task_return(task, "i", opened);
}
FURROW_TASK(open_many);

static _Atomic int64_t prepared;

static int prepare(furrow_task *task) {
    if (getenv("FURROW_E2E_FAIL") != NULL) {
        return furrow_task_fail(task, 9, "told to fail");
    }
    atomic_fetch_add(&prepared, 1);
    return FURROW_OK;
}
FURROW_TASK(prepare);

static int times_prepared(furrow_task *task) {
    return furrow_task_return(task, "i", (int64_t)atomic_load(&prepared));
}
FURROW_TASK(times_prepared);
