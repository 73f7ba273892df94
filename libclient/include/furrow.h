/* furrow.h: concurrent.futures for C, from threads to a fleet.
 *
 * One Executor interface over three places where a task can run, chosen by a string:
 *
 *   threads:8              a thread pool in this process
 *   processes:8            worker processes of this machine, started and stopped by the library
 *   tcp://host:7700        a furrow-broker and any number of furrow-workers on any machines
 *   ipc:///path/socket     the same broker on this machine
 *
 * The model is CPython's concurrent.futures; where a rule comes from there, its name is given.
 *
 * Conventions, true of every function unless its comment says otherwise:
 * - Any thread may call it.
 * - A call that returns a pointer gives NULL on error; furrow_last_status() then says which error
 *   and furrow_last_error() why, in words. Calls that return a furrow_status set the words too.
 * - Durations are double seconds. A negative timeout waits for ever, 0 only looks.
 * - `const T *` is borrowed for the call. Ownership moves only on success.
 * - Release functions accept NULL; those that take T ** also set the pointer to NULL.
 * - The library never prints, exits, aborts for lack of memory, or installs signal handlers.
 */
#ifndef FURROW_H
#define FURROW_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FURROW_VERSION_MAJOR 0
#define FURROW_VERSION_MINOR 1
#define FURROW_VERSION_PATCH 0

#define FURROW_API __attribute__((visibility("default")))

/* ------------------------------------------------------------------ status */

/* Every status: name, code, text. The codes are part of the ABI and never change meaning. */
#define FURROW_STATUS_MAP(X)                                                                       \
    X(OK, 0, "success")                                                                            \
    X(EINVAL, 1, "invalid argument")                                                               \
    X(ENOMEM, 2, "out of memory")                                                                  \
    X(ETIMEOUT, 3, "timed out")                                                                    \
    X(ECANCELLED, 4, "cancelled")                                                                  \
    X(EFAILED, 5, "the task failed")                                                               \
    X(EARGS, 6, "the value does not fit the format")                                               \
    X(ENOFUNCTION, 7, "unknown function")                                                          \
    X(ETOOBIG, 8, "over the limit")                                                                \
    X(EURL, 9, "malformed executor URL")                                                           \
    X(ESHUTDOWN, 10, "the executor was shut down")                                                 \
    X(EBROKEN, 11, "the executor is broken")                                                       \
    X(ESTATE, 12, "invalid state")                                                                 \
    X(EDEADLOCK, 13, "the call would wait for itself")                                             \
    X(EUNSUPPORTED, 14, "not supported by this executor")                                          \
    X(EEND, 15, "no more items")                                                                   \
    X(ESYSTEM, 16, "a system call failed")                                                         \
    X(EAUTH, 17, "not authorized")

typedef enum furrow_status {
#define FURROW_STATUS_ENUM(name, code, text) FURROW_##name = (code),
    FURROW_STATUS_MAP(FURROW_STATUS_ENUM)
#undef FURROW_STATUS_ENUM
} furrow_status;

/* furrow_status_text names a status in words; for a number that is none, "unknown status". */
FURROW_API const char *furrow_status_text(furrow_status status);

/* furrow_last_status and furrow_last_error tell of the last call of this thread that failed.
 * The text is the thread's own and stays until its next failing call; it is never NULL. */
FURROW_API furrow_status furrow_last_status(void);
FURROW_API const char *furrow_last_error(void);

/* furrow_version gives "major.minor.patch" of the library that runs. */
FURROW_API const char *furrow_version(void);

/* furrow_cpu_count: the processors this process may use (affinity and cgroup quota respected, as
 * os.process_cpu_count); at least 1. */
FURROW_API int furrow_cpu_count(void);

typedef struct furrow_executor furrow_executor;
typedef struct furrow_future furrow_future;
typedef struct furrow_task furrow_task;

/* ------------------------------------------------------- values and formats
 *
 * Arguments and results are MessagePack values. A format string packs C arguments into values and
 * unpacks values into C variables; each letter is one value:
 *
 *   letter  packs from                    unpacks into
 *   i       int64_t                       int64_t *            an integer
 *   u       uint64_t                      uint64_t *           an integer >= 0
 *   d       double                        double *             a float, or an integer exactly
 *   b       int (0 or not)                bool *               a boolean
 *   s       const char *                  const char **        a string without NUL
 *   S       const char *, size_t          const char **, size_t *   a string, NUL bytes allowed
 *   B       const void *, size_t          const void **, size_t *   binary
 *   v       const void *, size_t          const void **, size_t *   one whole packed value, any type
 *   n       nothing                       nothing              nil
 *   p       void *                        void **              a pointer; on `threads:` only
 *   [ ]     an array of what is inside    the same, of exactly that length
 *   { }     a map of alternating keys and values   the same, in that order
 *   *       (not in packing)              nothing              ignores all that is left, once, last
 *   H       furrow_block **               (not in unpacking)   binary that is handed over, see below
 *
 * Integers must be passed as 64-bit: (int64_t)1, not 1. "" and NULL mean no value.
 * Unpacked s, S, B and v point into the value's owner and live as long as it does.
 */

/* A growing buffer of packed values; for values that a format cannot say. */
typedef struct furrow_buffer furrow_buffer;
FURROW_API furrow_buffer *furrow_buffer_new(void);
FURROW_API void furrow_buffer_free(furrow_buffer **buffer);
FURROW_API const void *furrow_buffer_data(const furrow_buffer *buffer);
FURROW_API size_t furrow_buffer_size(const furrow_buffer *buffer);
FURROW_API void furrow_buffer_clear(furrow_buffer *buffer);
/* furrow_buffer_pack appends values. Errors: FURROW_EARGS (a letter that is none, nesting over 32
 * or not closed), FURROW_ETOOBIG, FURROW_ENOMEM; the buffer is then unchanged. Pointers (p) are
 * refused here. */
FURROW_API furrow_status furrow_buffer_pack(furrow_buffer *buffer, const char *format, ...);
/* furrow_buffer_write appends raw bytes; it has the type of a msgpack_packer_write callback, with
 * the buffer as its data: msgpack_packer_init(&packer, buffer, furrow_buffer_write). Returns 0, or
 * -1 without memory. */
FURROW_API int furrow_buffer_write(void *buffer, const char *data, size_t size);

/* furrow_unpack reads a sequence of packed values. `s` is refused here (use S), as nobody would own
 * the terminated copy. Errors: FURROW_EARGS with the position and what was found instead. */
FURROW_API furrow_status furrow_unpack(const void *data, size_t size, const char *format, ...);

/* A block is memory for one large binary value, given out by the library and filled in by the user, so that
 * the value is not copied on its way. On `processes:` the workers read arguments where the client has
 * made them, and the client results where a worker has, in memory that they share (shared_memory; while
 * there is no room in it, a block is of other memory and what is in it goes through a socket).
 *
 * The format letter H, in furrow_submit, furrow_submit_partial and their like and in furrow_task_return,
 * hands a block over: as the last value, not in brackets. Whoever gets the value reads it in place, with B.
 *
 *     furrow_block *block = furrow_block_new(executor, size);
 *     fill(furrow_block_data(block), size);
 *     future = furrow_submit(executor, work, "iH", (int64_t)7, &block);
 *
 * The call takes the block and sets it to NULL; its bytes may not be touched any more. If the call fails,
 * the block is as before. H is not for the other calls that pack. It does what B does, with a copy, for
 * payloads of less than 64 KiB; behind more than 240 bytes of other values; in the results of a
 * furrow_map with a chunksize; and on `tcp:` and `ipc:` with an initializer. A block that was made for one
 * executor may be handed over to another, but through shared memory it only goes in its own.
 *
 * A block is its user's until it is handed over or freed, also when its executor is closed or its task
 * has returned. One thread at a time may use it. Nothing here blocks. */
typedef struct furrow_block furrow_block;
/* furrow_block_new makes a block of `size` bytes, 0 too, whose contents are undefined, for arguments of the
 * executor's tasks; furrow_task_block one for the result of the task.
 * Errors: FURROW_ETOOBIG (over 256 MiB with its header), FURROW_ENOMEM. */
FURROW_API furrow_block *furrow_block_new(furrow_executor *executor, size_t size);
FURROW_API furrow_block *furrow_task_block(furrow_task *task, size_t size);
/* furrow_block_data: where the bytes are, aligned to 64; never NULL. */
FURROW_API void *furrow_block_data(const furrow_block *block);
FURROW_API size_t furrow_block_size(const furrow_block *block);
FURROW_API void furrow_block_free(furrow_block **block);

/* ------------------------------------------------------------------- tasks */

/* A task is a C function known by its name wherever it may run. It returns FURROW_OK, or any other
 * number as its error; `return furrow_task_fail(...)` adds a message. One that returns FURROW_OK
 * without a result has the result nil. It runs on a thread of a pool, and must not exit() or
 * longjmp away. */
typedef int furrow_task_function(furrow_task *task);

/* The identity of a task function; made by FURROW_TASK, never by hand. */
typedef struct furrow_function {
    const char *name;
    furrow_task_function *call;
    struct furrow_function *next; /* the library's */
    uint32_t index;               /* the library's */
} furrow_function;

FURROW_API void furrow_function_register(furrow_function *function);
FURROW_API void furrow_function_unregister(furrow_function *function);

/* FURROW_TASK(do_work) makes the function do_work (static or not) known under that name when the
 * program or module is loaded. FURROW_TASK_EXTERN(do_work), in a header, lets other files of the
 * same program submit it. */
#define FURROW_TASK(function)                                                                      \
    furrow_function furrow_function_##function = {#function, function, NULL, 0};                   \
    __attribute__((constructor)) static void furrow_register_##function(void) {                    \
        furrow_function_register(&furrow_function_##function);                                     \
    }                                                                                              \
    __attribute__((destructor)) static void furrow_unregister_##function(void) {                   \
        furrow_function_unregister(&furrow_function_##function);                                   \
    }                                                                                              \
    struct furrow_function /* swallows the semicolon */
#define FURROW_TASK_EXTERN(function) extern furrow_function furrow_function_##function
/* FURROW_FUNCTION(do_work): the identity of a function declared by one of the two above. */
#define FURROW_FUNCTION(function) (&furrow_function_##function)

/* The calls below that return an int return FURROW_OK or the error, a furrow_status. They have the type
 * of a task's own result, so that it may pass theirs on: `return furrow_task_sleep(task, 0.5);` leaves
 * no conversion for a compiler to warn of. */

/* furrow_task_args unpacks the arguments. What it hands out lives until the task returns.
 * Errors: FURROW_EARGS, FURROW_ENOMEM. */
FURROW_API int furrow_task_args(furrow_task *task, const char *format, ...);
/* furrow_task_args_raw: the packed arguments themselves, `count` values back to back. */
FURROW_API const void *furrow_task_args_raw(const furrow_task *task, size_t *size, size_t *count);
/* furrow_task_return sets the result by a format; a second call replaces the first. One value is the
 * result itself, two or more make an array. A task may end with
 * `return furrow_task_return(task, "i", n)`.
 * Errors: FURROW_EARGS, FURROW_ETOOBIG, FURROW_ENOMEM. */
FURROW_API int furrow_task_return(furrow_task *task, const char *format, ...);
/* furrow_task_returnf sets the result to a string made as by printf. */
FURROW_API int furrow_task_returnf(furrow_task *task, const char *printf_format, ...)
    __attribute__((format(printf, 2, 3)));
/* furrow_task_return_packed sets the result to one packed value, which is checked and copied. */
FURROW_API int furrow_task_return_packed(furrow_task *task, const void *data, size_t size);
/* furrow_task_fail records the task's error and returns FURROW_EFAILED for `return`. Any code is
 * allowed, 0 too; the message may be empty. */
FURROW_API int furrow_task_fail(furrow_task *task, int32_t code, const char *printf_format, ...)
    __attribute__((format(printf, 3, 4)));
/* furrow_task_cancelled: the task is asked to end (its running deadline has passed or its workers
 * are being terminated). Cheap enough for an inner loop. */
FURROW_API bool furrow_task_cancelled(const furrow_task *task);
/* furrow_task_sleep sleeps, or returns FURROW_ECANCELLED early when the task is asked to end.
 * Errors: also FURROW_EINVAL (`seconds` is negative or no number). */
FURROW_API int furrow_task_sleep(furrow_task *task, double seconds);
/* furrow_task_attempt: 1 for the first run of the task, 2 for its first rerun, ... */
FURROW_API uint32_t furrow_task_attempt(const furrow_task *task);
FURROW_API const char *furrow_task_name(const furrow_task *task);

/* ---------------------------------------------------------------- executors */

typedef enum furrow_log_level {
    FURROW_LOG_ERROR,
    FURROW_LOG_WARN,
    FURROW_LOG_INFO,
    FURROW_LOG_DEBUG,
} furrow_log_level;
/* Receives what the library has to say, one line without a newline. Runs on any thread of the
 * library, or on one that is in a call of it, and must not call back into it. */
typedef void furrow_log_function(void *user, furrow_log_level level, const char *line);

#define FURROW_DEFAULT INT32_MIN /* "not given", for the int options */

/* Options of an executor; start from FURROW_OPTIONS_INIT. What the URL says after `?` wins. */
typedef struct furrow_options {
    int max_workers;         /* threads or processes, >= 1; default furrow_cpu_count() */
    int threads_per_worker;  /* `processes:` >= 1: pool threads in each process; default 1 */
    int max_tasks_per_child; /* `processes:` >= 1: a process is replaced after this many tasks;
                                default: never */
    bool strict;             /* `processes:`: the first worker that dies breaks the executor, as
                                CPython's BrokenProcessPool; default false: it is replaced. `tcp:`,
                                `ipc:`: the first that dies or is lost with a task of this executor
                                that had begun does so; all of them run at most once */
    const char *thread_name_prefix; /* `threads:`; default "furrow" */
    const char *module;             /* `processes:`: path of a task module to serve instead of this
                                program's own functions; programs that cannot be re-executed need it */
    const furrow_function *initializer; /* run once in every worker (a thread of `threads:`, else a
                                           process) before its first task; when it fails, the executor
                                           is broken. On `tcp:` and `ipc:` it is called by its name in
                                           the workers, which may serve others too, before their first
                                           task of this executor, and counts to that task's run_timeout.
                                           A worker may call it again after tasks of very many others */
    const void *initializer_args; /* packed values, from a furrow_buffer; on `tcp:` and `ipc:` they
                                     travel with every task: not for much data */
    size_t initializer_args_size;
    double connect_timeout; /* `tcp:`, `ipc:`: furrow_open waits so long for the broker and fails
                               with FURROW_ETIMEOUT; 0, the default: does not wait */
    int max_pending;        /* unfinished tasks above which submit blocks; default: no limit */
    furrow_log_function *log;
    void *log_user;
    furrow_log_level log_level; /* default FURROW_LOG_WARN */
    const char *key;        /* `tcp:`, `ipc:`: file with this program's secret key (furrow keygen);
                               default: the environment variable FURROW_KEY, else no encryption */
    const char *server_key; /* with a key: the broker's public one, as text or as a file; default:
                               FURROW_SERVER_KEY */
    int shared_memory; /* `processes:` MiB of memory, at most, in which this process and each worker
                          process hand over large arguments and results; 0: none, they go through
                          sockets, as also do those for which there is no room; default 1024, or a
                          quarter of the machine's memory if that is less */
} furrow_options;

#define FURROW_OPTIONS_INIT                                                                        \
    {                                                                                              \
        FURROW_DEFAULT, FURROW_DEFAULT, FURROW_DEFAULT, false, NULL, NULL, NULL, NULL, 0, 0,       \
            FURROW_DEFAULT, NULL, NULL, FURROW_LOG_WARN, NULL, NULL, FURROW_DEFAULT                \
    }

/* furrow_init must be the first call in main() of a program that uses `processes:`, since its
 * workers are the same program run again: in a worker it serves tasks and never returns. */
FURROW_API void furrow_init(int *argc, char ***argv);

/* furrow_open makes an executor.
 *
 * url      scheme and parameters: `threads[:N]`, `processes[:N]`, `tcp://host:port`, `ipc://path`;
 *          then `?name=value&...` with max_workers, threads (threads_per_worker), max_tasks_per_child,
 *          strict (0|1), module, thread_name_prefix, max_pending, connect_timeout, shared_memory, key,
 *          server (server_key; in a URL letters like & and % are written %26 and %25).
 *          NULL: the environment variable FURROW_EXECUTOR, else `processes:`.
 * options  NULL for the defaults.
 *
 * Blocks only for connect_timeout. No broker at the address is no error: tasks wait until there is.
 * Errors: FURROW_EURL (with what is wrong in it), FURROW_EINVAL (a number out of range; `processes:`
 * without furrow_init or module), FURROW_ETIMEOUT, FURROW_EAUTH (a key file that can't be read, that
 * others may read too, or that holds no key; within connect_timeout also a broker that refuses the key),
 * FURROW_ENOMEM, FURROW_ESYSTEM. A broker that refuses the key, at first or later, breaks the executor:
 * its futures fail (FURROW_ERROR_BROKEN, code FURROW_EAUTH), and submits with FURROW_EAUTH. */
FURROW_API furrow_executor *furrow_open(const char *url, const furrow_options *options);

/* furrow_close shuts down, waits for every task, and frees the executor. Futures stay valid. Called
 * from a task or callback of the same executor it would wait for itself: FURROW_EDEADLOCK, nothing
 * done. */
FURROW_API furrow_status furrow_close(furrow_executor **executor);

/* FURROW_SCOPED furrow_executor *pool = furrow_open(...): leaving the block closes it. */
#define FURROW_SCOPED __attribute__((cleanup(furrow_scope_end)))
FURROW_API void furrow_scope_end(furrow_executor **executor);

enum {
    FURROW_SHUTDOWN_WAIT = 1, /* return when all has finished and nothing is left behind */
    FURROW_SHUTDOWN_CANCEL_FUTURES = 2, /* cancel what has not started */
};
/* furrow_shutdown refuses further submits. Without FURROW_SHUTDOWN_WAIT it returns at once and
 * queued tasks still run. May be called again. Errors: FURROW_EDEADLOCK (waiting from a task or
 * callback of the same executor; submits are refused all the same). */
FURROW_API furrow_status furrow_shutdown(furrow_executor *executor, unsigned flags);

/* furrow_shutdown_within is a shutdown with a bound: lets queued tasks finish for `drain` seconds,
 * then cancels what has not started and asks running tasks to end (workers get SIGTERM), and after
 * `grace` more seconds kills the worker processes. Returns FURROW_OK when all tasks finished by
 * themselves, FURROW_ETIMEOUT when some had to be cancelled or killed. A thread of this process
 * can't be killed: on `threads:` its future fails as lost and the thread is left behind, and
 * furrow_close then no longer waits for it. */
FURROW_API furrow_status furrow_shutdown_within(furrow_executor *executor, double drain,
                                                double grace);

/* furrow_terminate_workers and furrow_kill_workers (`processes:`): SIGTERM or SIGKILL to every
 * worker; their tasks fail as lost, the rest too, and later submits say why
 * (FURROW_EBROKEN). No error on workers already dead or not yet started.
 * Errors: FURROW_EUNSUPPORTED elsewhere. */
FURROW_API furrow_status furrow_terminate_workers(furrow_executor *executor);
FURROW_API furrow_status furrow_kill_workers(furrow_executor *executor);

typedef struct furrow_executor_info {
    const char *scheme; /* "threads", "processes", "tcp", "ipc" */
    int max_workers;    /* threads, or processes x threads; 0 if only the broker knows */
    size_t pending;     /* accepted and unfinished tasks */
    int workers_alive;  /* threads or worker processes that exist now; -1 if not known */
} furrow_executor_info;
FURROW_API void furrow_executor_describe(furrow_executor *executor, furrow_executor_info *info);

/* ------------------------------------------------------------------- submit */

/* Options of a task; start from FURROW_SUBMIT_OPTIONS_INIT. Times in seconds. */
typedef struct furrow_submit_options {
    int priority;         /* -128 .. 127, higher first; default 0 */
    int max_attempts;     /* 1 .. 1000 runs when workers die under it; default 3 */
    bool at_most_once;    /* never run again: fails as lost instead */
    double queue_timeout; /* fails (FURROW_ERROR_DEADLINE) if not started by then; default: never */
    double run_timeout;   /* asked to end, then killed (FURROW_ERROR_DEADLINE); default: never */
    const char *tags;     /* comma-separated; the task runs only on workers that have all of them */
    int retries;          /* runs again after a failure of its own, at most so often; default 0 */
    double retry_delay;   /* before the first retry; doubles for each further one */
} furrow_submit_options;
#define FURROW_SUBMIT_OPTIONS_INIT                                                                 \
    { 0, 3, false, -1.0, -1.0, NULL, 0, 0.0 }

/* furrow_submit(executor, function, format, ...) schedules function(arguments) and returns its
 * future (one reference, the caller's), without waiting for the task. It blocks only while
 * max_pending tasks are unfinished. `function` was declared by FURROW_TASK or FURROW_TASK_EXTERN;
 * that it exists is checked by the compiler.
 *
 * Tasks start in the order of submission on `threads:`. A broker (`processes:` has one inside) starts
 * those of one function, priority and set of tags in that order, and different ones in turn, so that
 * none has to wait for a million of another.
 *
 * Errors: FURROW_EARGS (format), FURROW_ETOOBIG (over 256 MiB), FURROW_EINVAL (an option),
 * FURROW_ESHUTDOWN, FURROW_EBROKEN, FURROW_EAUTH (the broker refuses the key), FURROW_EUNSUPPORTED (p outside `threads:`), FURROW_ENOMEM.
 * Nothing was submitted then. */
#define furrow_submit(executor, function, ...)                                                     \
    furrow_submit_function((executor), NULL, FURROW_FUNCTION(function), __VA_ARGS__)
#define furrow_submit_with(executor, options, function, ...)                                       \
    furrow_submit_function((executor), (options), FURROW_FUNCTION(function), __VA_ARGS__)

FURROW_API furrow_future *furrow_submit_function(furrow_executor *executor,
                                                 const furrow_submit_options *options,
                                                 const furrow_function *function,
                                                 const char *format, ...);
FURROW_API furrow_future *furrow_vsubmit_function(furrow_executor *executor,
                                                  const furrow_submit_options *options,
                                                  const furrow_function *function,
                                                  const char *format, va_list arguments);
/* furrow_submit_by_name serves programs that do not link the function. On `threads:` and
 * `processes:` (without module) an unknown name is FURROW_ENOFUNCTION at once; elsewhere the future
 * fails with FURROW_ERROR_NO_FUNCTION when no worker offers it. */
FURROW_API furrow_future *furrow_submit_by_name(furrow_executor *executor,
                                                const furrow_submit_options *options,
                                                const char *name, const char *format, ...);
/* furrow_submit_packed takes the arguments as packed values back to back (checked). */
FURROW_API furrow_future *furrow_submit_packed(furrow_executor *executor,
                                               const furrow_submit_options *options,
                                               const char *name, const void *arguments,
                                               size_t arguments_size);
/* furrow_submit_call runs the classic fn(argument) on `threads:`; the result is read with "p".
 * Errors: also FURROW_EUNSUPPORTED on the other executors. */
FURROW_API furrow_future *furrow_submit_call(furrow_executor *executor, void *(*fn)(void *),
                                             void *argument);

/* A partial binds leading arguments, as functools.partial. */
typedef struct furrow_partial furrow_partial;
#define furrow_partial_new(function, ...)                                                          \
    furrow_partial_new_function(FURROW_FUNCTION(function), __VA_ARGS__)
FURROW_API furrow_partial *furrow_partial_new_function(const furrow_function *function,
                                                       const char *format, ...);
FURROW_API void furrow_partial_free(furrow_partial **partial);
FURROW_API furrow_future *furrow_submit_partial(furrow_executor *executor,
                                                const furrow_submit_options *options,
                                                const furrow_partial *partial, const char *format,
                                                ...);

/* ------------------------------------------------------------------ futures
 *
 *            set_running             set_result, set_error
 *   PENDING ------------> RUNNING ---------------------------> FINISHED
 *      | cancel      `-------------------------------------------^
 *      `-------> CANCELLED
 */
typedef enum furrow_future_state {
    FURROW_PENDING,
    FURROW_RUNNING,
    FURROW_CANCELLED,
    FURROW_FINISHED,
} furrow_future_state;

typedef enum furrow_error_kind {
    FURROW_ERROR_TASK,        /* the function failed: code and message are its own */
    FURROW_ERROR_LOST,        /* its worker died or was lost, max_attempts times */
    FURROW_ERROR_DEADLINE,    /* queue_timeout or run_timeout passed */
    FURROW_ERROR_NO_FUNCTION, /* no worker offers the function */
    FURROW_ERROR_BROKEN,      /* the executor broke or its workers were terminated */
    FURROW_ERROR_REJECTED,    /* the broker refused the task: over a limit, not allowed */
} furrow_error_kind;

/* Why a task failed. Owned by the future (or iterator) that gave it out. Strings are never NULL. */
typedef struct furrow_error {
    furrow_error_kind kind;
    int32_t code;         /* FURROW_ERROR_TASK: what the function returned or said; FURROW_EAUTH if
                             the executor broke because of its key; else 0 */
    uint32_t attempt;     /* which run it was, from 1; 0 if it never ran */
    int32_t signal;       /* FURROW_ERROR_LOST: the signal that killed the worker, or 0 */
    int32_t exit_code;    /* FURROW_ERROR_LOST: the worker's exit code, or 0 */
    int64_t pid;          /* of the process where it happened; 0 if not known */
    const char *host;     /* likewise; "" if not known */
    const char *function; /* the task function's name */
    const char *message;  /* for FURROW_ERROR_LOST: what happened in each attempt */
} furrow_error;

FURROW_API furrow_future *furrow_future_ref(furrow_future *future);
/* furrow_future_unref drops a reference and sets *future to NULL. Dropping the last one of an
 * unresolved future neither cancels the task nor leaks. */
FURROW_API void furrow_future_unref(furrow_future **future);

FURROW_API furrow_future_state furrow_future_get_state(const furrow_future *future);
FURROW_API bool furrow_future_cancelled(const furrow_future *future);
FURROW_API bool furrow_future_running(const furrow_future *future);
FURROW_API bool furrow_future_done(const furrow_future *future); /* cancelled or finished */

/* furrow_future_cancel: true if the task is cancelled and will never start (again: still true),
 * false if it is running or finished. With a broker the verdict is awaited, for at most the link's
 * heartbeat limit, after which it is false. furrow_future_cancel_async only asks: when the verdict
 * is yes, the future becomes CANCELLED. In a done-callback it does not wait either. */
FURROW_API bool furrow_future_cancel(furrow_future *future);
FURROW_API void furrow_future_cancel_async(furrow_future *future);

/* furrow_future_wait blocks until the future is done or `timeout` seconds pass. A failed or
 * cancelled task is an outcome, not an error of this call.
 * Errors: FURROW_ETIMEOUT (the task goes on), FURROW_EDEADLOCK (called in a callback of the same
 * executor on a future that is not done). */
FURROW_API furrow_status furrow_future_wait(furrow_future *future, double timeout);

/* furrow_future_result waits and unpacks the result by `format` (NULL: only waits).
 * Errors: FURROW_ETIMEOUT, FURROW_EDEADLOCK as above; FURROW_ECANCELLED; FURROW_EFAILED (see
 * furrow_future_error); FURROW_EARGS (the result is of another shape; may be called again). */
FURROW_API furrow_status furrow_future_result(furrow_future *future, double timeout,
                                              const char *format, ...);
/* furrow_future_value gives the result as one packed value that lives as long as the future.
 * Errors: as furrow_future_result. */
FURROW_API furrow_status furrow_future_value(furrow_future *future, double timeout,
                                             const void **data, size_t *size);
/* furrow_future_error waits, and sets *error to the task's error, or NULL after a success.
 * Errors: FURROW_ETIMEOUT, FURROW_EDEADLOCK, FURROW_ECANCELLED. */
FURROW_API furrow_status furrow_future_error(furrow_future *future, double timeout,
                                             const furrow_error **error);

/* furrow_future_describe writes one line as CPython's repr does: "pending", "running", "cancelled",
 * "finished: error <message>" or "finished"; always terminated. Returns the length it wanted. */
FURROW_API size_t furrow_future_describe(const furrow_future *future, char *text, size_t size);

/* furrow_future_task names a task as `furrow explain` takes it: "SESSION:ID", or "SESSION" alone while the
 * task has not been sent to the broker. FURROW_TASK_BYTES are enough for it and its terminator.
 * Errors: FURROW_ESTATE (it is done), FURROW_EUNSUPPORTED (there is no broker), FURROW_EINVAL (`size` is
 * too small). */
#define FURROW_TASK_BYTES 50
FURROW_API furrow_status furrow_future_task(furrow_future *future, char *text, size_t size);

/* furrow_future_add_done_callback calls callback(future, user) exactly once when the future is
 * done: on a thread of the executor, or at once in this thread if it is done already. Callbacks
 * run in the order they were added; one that returns not FURROW_OK is reported to the log hook, and
 * the later ones still run. A callback must not block; it may submit, cancel and add callbacks.
 * Errors: FURROW_ENOMEM; the callback then never runs. */
typedef furrow_status furrow_done_callback(furrow_future *future, void *user);
FURROW_API furrow_status furrow_future_add_done_callback(furrow_future *future,
                                                         furrow_done_callback *callback,
                                                         void *user);

/* For those who write an executor of their own: a future that no executor resolves.
 * set_running_or_notify_cancel: *run is true from PENDING (now RUNNING), false from CANCELLED;
 * FURROW_ESTATE otherwise. set_result (a format) and set_error: FURROW_ESTATE if the future is
 * done; the first outcome stays. */
FURROW_API furrow_future *furrow_future_new(void);
FURROW_API furrow_status furrow_future_set_running_or_notify_cancel(furrow_future *future,
                                                                    bool *run);
FURROW_API furrow_status furrow_future_set_result(furrow_future *future, const char *format, ...);
FURROW_API furrow_status furrow_future_set_error(furrow_future *future, int32_t code,
                                                 const char *printf_format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---------------------------------------------------- wait and as_completed */

typedef enum furrow_return_when {
    FURROW_ALL_COMPLETED,
    FURROW_FIRST_COMPLETED,
    FURROW_FIRST_EXCEPTION, /* as concurrent.futures.wait: the first that failed; a cancelled one
                               does not count */
} furrow_return_when;

/* furrow_wait waits for several futures. done[i] (may be NULL) says of each whether it was done on
 * return, *done_count (may be NULL) how many different ones were: duplicates count once.
 * Returns FURROW_OK when the condition came true, FURROW_ETIMEOUT when time ran out first (done is
 * filled in all the same). Errors: FURROW_EDEADLOCK, FURROW_ENOMEM. */
FURROW_API furrow_status furrow_wait(furrow_future *const *futures, size_t count, double timeout,
                                     furrow_return_when return_when, bool *done,
                                     size_t *done_count);

/* furrow_as_completed iterates over futures in the order in which they complete, each once,
 * duplicates once. It takes references of its own. `timeout` counts from this call.
 * furrow_completed_next hands its reference over with the future: unref it.
 * Errors of next: FURROW_EEND, FURROW_ETIMEOUT ("2 (of 4) futures unfinished"). */
typedef struct furrow_completed furrow_completed;
FURROW_API furrow_completed *furrow_as_completed(furrow_future *const *futures, size_t count,
                                                 double timeout);
FURROW_API furrow_status furrow_completed_next(furrow_completed *completed, furrow_future **future);
FURROW_API void furrow_completed_free(furrow_completed **completed);

/* A completion queue has a file descriptor that polls readable while completed futures wait in it,
 * for epoll, libuv or GLib loops. add takes a reference; next hands it over, and never blocks:
 * FURROW_EEND when there is none now. Freeing it drops what it holds. */
typedef struct furrow_completion_queue furrow_completion_queue;
FURROW_API furrow_completion_queue *furrow_completion_queue_new(void);
FURROW_API int furrow_completion_queue_fd(const furrow_completion_queue *queue);
FURROW_API furrow_status furrow_completion_queue_add(furrow_completion_queue *queue,
                                                     furrow_future *future, void *user);
FURROW_API furrow_status furrow_completion_queue_next(furrow_completion_queue *queue,
                                                      furrow_future **future, void **user);
FURROW_API void furrow_completion_queue_free(furrow_completion_queue **queue);

/* ---------------------------------------------------------------------- map */

/* An input yields the arguments of one call after the other. */
typedef struct furrow_input furrow_input;
FURROW_API furrow_input *furrow_input_ints(const int64_t *values, size_t count); /* borrowed */
FURROW_API furrow_input *furrow_input_doubles(const double *values, size_t count);
FURROW_API furrow_input *furrow_input_strings(const char *const *values, size_t count);
/* start, start + step, ... below stop (above it for a negative step). Errors: FURROW_EINVAL for
 * step 0. */
FURROW_API furrow_input *furrow_input_range(int64_t start, int64_t stop, int64_t step);
/* next packs the values of one call into `item` and returns FURROW_OK, or FURROW_EEND, or an error,
 * which ends the map there: results before it still come, then the iterator gives that error.
 * It runs in the threads that call furrow_map and furrow_results_next, never at once in two. close
 * (may be NULL) runs once, when the input is freed. */
typedef furrow_status furrow_input_next_function(void *user, furrow_buffer *item);
FURROW_API furrow_input *furrow_input_callback(furrow_input_next_function *next,
                                               void (*close)(void *user), void *user);
/* furrow_input_zip yields the values of all, and ends with the shortest, as zip(). Takes its inputs
 * (each is set to NULL) on success. */
FURROW_API furrow_input *furrow_input_zip(furrow_input **inputs, size_t count);
FURROW_API void furrow_input_free(furrow_input **input);

/* Options of a map; start from FURROW_MAP_OPTIONS_INIT. */
typedef struct furrow_map_options {
    double timeout;     /* for the whole map, from the call; default: none */
    int64_t chunksize;  /* calls a task, >= 1; default 1 */
    int64_t buffersize; /* inputs pulled ahead of the results taken, >= 1; default: all at once */
    bool unordered;     /* results as they complete instead of in the order of the inputs */
    const furrow_submit_options *submit; /* NULL for the defaults */
} furrow_map_options;
#define FURROW_MAP_UNBOUNDED INT64_MIN
#define FURROW_MAP_OPTIONS_INIT                                                                    \
    { -1.0, 1, FURROW_MAP_UNBOUNDED, false, NULL }

/* furrow_map(executor, function, options, &input) calls function for every input and returns at
 * once an iterator over the results, in the order of the inputs. Takes the input on success.
 * Without buffersize all inputs are submitted by this call, as CPython does.
 * Errors: FURROW_EINVAL (chunksize or buffersize below 1), those of furrow_submit. */
typedef struct furrow_results furrow_results;
#define furrow_map(executor, function, options, input)                                             \
    furrow_map_function((executor), FURROW_FUNCTION(function), (options), (input))
FURROW_API furrow_results *furrow_map_function(furrow_executor *executor,
                                               const furrow_function *function,
                                               const furrow_map_options *options,
                                               furrow_input **input);
FURROW_API furrow_results *furrow_map_partial(furrow_executor *executor,
                                              const furrow_partial *partial,
                                              const furrow_map_options *options,
                                              furrow_input **input);
FURROW_API furrow_results *furrow_map_by_name(furrow_executor *executor, const char *name,
                                              const furrow_map_options *options,
                                              furrow_input **input);

/* furrow_results_next waits for the next result and unpacks it; what it hands out lives until the
 * next call. One thread at a time. Errors: FURROW_EEND; FURROW_EFAILED (this call failed, see
 * furrow_results_error; iteration goes on after it); FURROW_ECANCELLED (likewise); FURROW_EARGS (the
 * result has another shape; it is passed over); FURROW_ETIMEOUT (the map's time is over: the rest is
 * cancelled, and the iterator is at its end). */
FURROW_API furrow_status furrow_results_next(furrow_results *results, const char *format, ...);
FURROW_API furrow_status furrow_results_next_value(furrow_results *results, const void **data,
                                                   size_t *size);
/* The position in the inputs, from 0, of what next gave last. */
FURROW_API size_t furrow_results_index(const furrow_results *results);
/* The error behind the last FURROW_EFAILED, else NULL; lives until the next call of next. */
FURROW_API const furrow_error *furrow_results_error(const furrow_results *results);
/* furrow_results_close cancels what has not started and frees the iterator. */
FURROW_API void furrow_results_close(furrow_results **results);

#ifdef __cplusplus
}
#endif
#endif
