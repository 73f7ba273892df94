#include "tests/conformance/tasks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int nothing(furrow_task *task) {
    if (furrow_task_args(task, "") != FURROW_OK) {
        return FURROW_EARGS;
    }
    return FURROW_OK;
}

static int add(furrow_task *task) {
    int64_t a, b;

    if (furrow_task_args(task, "ii", &a, &b) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", a + b);
}

static int square(furrow_task *task) {
    int64_t x;

    if (furrow_task_args(task, "i", &x) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", x * x);
}

static int identity(furrow_task *task) {
    const void *value;
    size_t size;

    if (furrow_task_args(task, "v", &value, &size) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return_packed(task, value, size);
}

static int count_args(furrow_task *task) {
    size_t size, count;

    (void)furrow_task_args_raw(task, &size, &count);
    return furrow_task_return(task, "i", (int64_t)count);
}

static int sleep_return(furrow_task *task) {
    double seconds;
    const void *value;
    size_t size;

    if (furrow_task_args(task, "dv", &seconds, &value, &size) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (furrow_task_sleep(task, seconds) != FURROW_OK) {
        return FURROW_ECANCELLED;
    }
    return furrow_task_return_packed(task, value, size);
}

static int reciprocal(furrow_task *task) {
    int64_t x;

    if (furrow_task_args(task, "i", &x) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (x == 0) {
        return furrow_task_fail(task, 33, "division by zero");
    }
    return furrow_task_return(task, "d", 1.0 / (double)x);
}

static int fail_with(furrow_task *task) {
    int64_t code;
    const char *message;

    if (furrow_task_args(task, "is", &code, &message) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_fail(task, (int32_t)code, "%s", message);
}

static int fail_timeout(furrow_task *task) {
    return furrow_task_fail(task, FURROW_ETIMEOUT, "timeout");
}

/* One file in the gate's directory for each task that started at it. */
static bool gate_mark(const char *gate, int64_t i, uint32_t attempt) {
    char path[512];

    snprintf(path, sizeof path, "%s/started.%" PRId64 ".%" PRIu32, gate, i, attempt);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return false;
    }
    close(fd);
    return true;
}

static bool gate_is_open(const char *gate) {
    char path[512];

    snprintf(path, sizeof path, "%s/open", gate);
    return access(path, F_OK) == 0;
}

static int hold(furrow_task *task) {
    const char *gate;
    int64_t i;

    if (furrow_task_args(task, "si", &gate, &i) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (!gate_mark(gate, i, furrow_task_attempt(task))) {
        return furrow_task_fail(task, errno, "%s: %s", gate, strerror(errno));
    }
    for (int turns = 0; !gate_is_open(gate); turns++) {
        if (turns == 60000) {
            return furrow_task_fail(task, ETIMEDOUT, "nobody opened the gate");
        }
        if (furrow_task_sleep(task, 0.001) != FURROW_OK) {
            return FURROW_ECANCELLED;
        }
    }
    return furrow_task_return(task, "i", i);
}

static int hold_once(furrow_task *task) {
    if (furrow_task_attempt(task) > 1) {
        const char *gate;
        int64_t i;

        if (furrow_task_args(task, "si", &gate, &i) != FURROW_OK) {
            return FURROW_EARGS;
        }
        return furrow_task_return(task, "i", i);
    }
    return hold(task);
}

static int mark(furrow_task *task) {
    const char *gate;
    int64_t i;

    if (furrow_task_args(task, "si", &gate, &i) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (!gate_mark(gate, i, furrow_task_attempt(task))) {
        return furrow_task_fail(task, errno, "%s: %s", gate, strerror(errno));
    }
    return furrow_task_return(task, "i", i);
}

static int where(furrow_task *task) {
    return furrow_task_return(task, "ii", (int64_t)getpid(), (int64_t)syscall(SYS_gettid));
}

static int thread_name(furrow_task *task) {
    char name[16] = "";

    pthread_getname_np(pthread_self(), name, sizeof name);
    return furrow_task_return(task, "s", name);
}

static int processors(furrow_task *task) {
    cpu_set_t set;

    if (sched_getaffinity(getpid(), sizeof set, &set) != 0) {
        return furrow_task_fail(task, errno, "sched_getaffinity");
    }
    return furrow_task_return(task, "i", (int64_t)CPU_COUNT(&set));
}

static volatile uint64_t overflow_sink;
static volatile uint64_t overflow_depth = UINT64_MAX; /* the compilers must not know it */

__attribute__((noinline)) static uint64_t overflow(uint64_t depth) {
    volatile uint8_t frame[4096];

    frame[depth % sizeof frame] = (uint8_t)depth;
    overflow_sink += frame[0];
    return depth < overflow_depth ? overflow(depth + 1) + frame[depth % sizeof frame] : 0;
}

static int crash_how(furrow_task *task, const char *how) {
    if (strcmp(how, "segv") == 0) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would take its time */
        raise(SIGSEGV);
    } else if (strcmp(how, "abort") == 0) {
        signal(SIGABRT, SIG_DFL);
        abort();
    } else if (strcmp(how, "exit") == 0) {
        exit(7);
    } else if (strcmp(how, "_exit") == 0) {
        _exit(7);
    } else if (strcmp(how, "overflow") == 0) {
        signal(SIGSEGV, SIG_DFL);
        overflow(1);
    } else if (strcmp(how, "kill") == 0) {
        kill(getpid(), SIGKILL);
    } else if (strcmp(how, "spin") == 0) {
        for (;;) {
            overflow_sink++;
        }
    }
    return furrow_task_fail(task, EINVAL, "crash: how? \"%s\"", how);
}

static int crash(furrow_task *task) {
    const char *how;

    if (furrow_task_args(task, "s", &how) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return crash_how(task, how);
}

static int crash_once(furrow_task *task) {
    const char *how;

    if (furrow_task_args(task, "s", &how) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (furrow_task_attempt(task) > 1) {
        return furrow_task_return(task, "i", (int64_t)furrow_task_attempt(task));
    }
    return crash_how(task, how);
}

static int crash_unpacking(furrow_task *task) {
    int64_t i;

    if (furrow_task_attempt(task) == 1) {
        return crash_how(task, "kill");
    }
    if (furrow_task_args(task, "i", &i) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", i);
}

static int crash_packing(furrow_task *task) {
    int64_t i;

    if (furrow_task_args(task, "i", &i) != FURROW_OK) {
        return FURROW_EARGS;
    }
    int status = furrow_task_return(task, "i", i);
    if (furrow_task_attempt(task) == 1) {
        return crash_how(task, "kill");
    }
    return status;
}

/* An initializer runs once in each thread of `threads:`, and once in each worker process. */
static atomic_llong set_up_value;
static atomic_llong set_up_in_process;
static _Thread_local int64_t set_up_in_thread;

static int set_up(furrow_task *task) {
    int64_t value;

    if (furrow_task_args(task, "i", &value) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (value == -1) {
        return furrow_task_fail(task, 1, "set_up was told to fail");
    }
    atomic_store(&set_up_value, value);
    atomic_fetch_add(&set_up_in_process, 1);
    set_up_in_thread++;
    return FURROW_OK;
}

static int was_set_up(furrow_task *task) {
    return furrow_task_return(task, "iii", (int64_t)atomic_load(&set_up_value),
                              (int64_t)atomic_load(&set_up_in_process), set_up_in_thread);
}

/* What it was at the beginning of the task. */
static int hold_set_up(furrow_task *task) {
    int64_t value = atomic_load(&set_up_value), in_process = atomic_load(&set_up_in_process);
    int status = hold(task);

    if (status != FURROW_OK) {
        return status;
    }
    return furrow_task_return(task, "iiii", value, in_process, set_up_in_thread,
                              (int64_t)syscall(SYS_gettid));
}

/* Counts the files "in.*" in the gate's directory, of which each running task has one. */
static int64_t gate_inside(const char *gate) {
    DIR *dir = opendir(gate);
    int64_t count = 0;

    if (dir == NULL) {
        return -1;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        count += strncmp(entry->d_name, "in.", 3) == 0;
    }
    closedir(dir);
    return count;
}

static int running_peak(furrow_task *task) {
    const char *gate;
    char path[512];
    int64_t peak = 0;

    if (furrow_task_args(task, "s", &gate) != FURROW_OK) {
        return FURROW_EARGS;
    }
    snprintf(path, sizeof path, "%s/in.%ld.%ld", gate, (long)getpid(), (long)syscall(SYS_gettid));
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return furrow_task_fail(task, errno, "%s: %s", path, strerror(errno));
    }
    close(fd);
    for (int turns = 0; turns < 5; turns++) {
        int64_t inside = gate_inside(gate);

        peak = inside > peak ? inside : peak;
        furrow_task_sleep(task, 0.001);
    }
    unlink(path);
    return furrow_task_return(task, "i", peak);
}

static int big(furrow_task *task) {
    int64_t size;

    if (furrow_task_args(task, "i", &size) != FURROW_OK || size < 0) {
        return FURROW_EARGS;
    }
    void *bytes = malloc((size_t)size + 1);
    if (bytes == NULL) {
        return FURROW_ENOMEM;
    }
    memset(bytes, 0x5a, (size_t)size);
    int status = furrow_task_return(task, "B", bytes, (size_t)size);
    free(bytes);
    return status;
}

static int remake(furrow_task *task) {
    const uint8_t *bytes;
    furrow_block *block;
    const char *text;
    int64_t deaths;
    size_t size;

    if (furrow_task_args(task, "isB", &deaths, &text, &bytes, &size) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (furrow_task_attempt(task) <= deaths) {
        raise(SIGKILL);
    }
    block = furrow_task_block(task, size);
    if (block == NULL) {
        return FURROW_ENOMEM;
    }
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)furrow_block_data(block))[i] = (uint8_t)~bytes[i];
    }
    int status = furrow_task_return(task, "isH", deaths, text, &block);
    furrow_block_free(&block);
    return status;
}

static int big_block(furrow_task *task) {
    furrow_block *block;
    int64_t size;

    if (furrow_task_args(task, "i", &size) != FURROW_OK || size < 0) {
        return FURROW_EARGS;
    }
    block = furrow_task_block(task, (size_t)size);
    if (block == NULL) {
        return (int)furrow_last_status();
    }
    memset(furrow_block_data(block), 0x5a, (size_t)size);
    int status = furrow_task_return(task, "H", &block);
    furrow_block_free(&block);
    return status;
}

FURROW_TASK(nothing);
FURROW_TASK(add);
FURROW_TASK(square);
FURROW_TASK(identity);
FURROW_TASK(count_args);
FURROW_TASK(sleep_return);
FURROW_TASK(reciprocal);
FURROW_TASK(fail_with);
FURROW_TASK(fail_timeout);
FURROW_TASK(hold);
FURROW_TASK(hold_once);
FURROW_TASK(mark);
FURROW_TASK(where);
FURROW_TASK(thread_name);
FURROW_TASK(processors);
FURROW_TASK(crash);
FURROW_TASK(crash_once);
FURROW_TASK(crash_unpacking);
FURROW_TASK(crash_packing);
FURROW_TASK(set_up);
FURROW_TASK(was_set_up);
FURROW_TASK(hold_set_up);
FURROW_TASK(running_peak);
FURROW_TASK(big);
FURROW_TASK(big_block);
FURROW_TASK(remake);
