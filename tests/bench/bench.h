/* furrow-bench: what Furrow costs, measured through its public interface, beside raw ZeroMQ in the
 * same run. Every case prints lines of `name<TAB>value<TAB>unit`.
 *
 * Rates are in tasks/s, from the first submit to the last result read; times in us. All futures are
 * real: submitted one by one, resolved, read. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <furrow.h>

struct bench_case {
    const char *name; /* what is printed; cases that print more lines append to it */
    const char *unit;
    double (*run)(const struct bench_case *self); /* returns the value; < 0: failed, and said why */
    const char *url;                              /* the executor; "tcp": a fleet is started */
    int64_t count;
    int64_t parameter;
};

/* The table of cases, ended by a NULL name; one a file. */
extern const struct bench_case bench_chain_cases[], bench_rate_cases[], bench_queue_cases[],
    bench_time_cases[], bench_metg_cases[], bench_mixed_cases[], bench_load_cases[],
    bench_crowd_cases[];

/* Scales every count, for a quick look (--scale); at least 1 remains. */
int64_t bench_count(int64_t count);
/* bench_also adds a value beside a case's own. Its name is the case's with the suffix appended, or, if
 * the suffix begins with '_', with the suffix in place of what follows the last '_'. */
void bench_also(const struct bench_case *self, const char *suffix, double value, const char *unit);

double bench_now(void); /* seconds */
int bench_compare_doubles(const void *a, const void *b);
/* bench_percentile sorts values, and gives the smallest that so large a fraction (0 .. 1) of them is not above
 * (nearest rank). */
double bench_percentile(double *values, size_t count, double fraction);

/* ------------------------------------------------------------------ executors */

/* A pool of `workers` to measure on: url is "threads", "processes", "tcp", "ipc" or "tcp_curve" (the
 * last three start a broker and, unless `workers` is 0, workers of this machine; the very last with
 * keys). */
struct bench_pool {
    furrow_executor *executor;
    bool has_fleet;
};
bool bench_open(struct bench_pool *pool, const char *url, int workers);
void bench_close(struct bench_pool *pool);
pid_t bench_broker_pid(void);      /* of the fleet that is open, else 0 */
const char *bench_fleet_url(void); /* where it listens */

/* bench_complain says on stderr what failed and the library's last error. Returns false. */
bool bench_complain(const char *what);
/* bench_submit_and_read submits `count` no-ops one by one, then reads every result, and checks it. */
bool bench_submit_and_read(furrow_executor *executor, furrow_future **futures, int64_t count);
void bench_unref_all(furrow_future **futures, int64_t count);

/* ------------------------------------------------------------------ processes */

/* Processor time, in seconds: of a process (0 if there is none), of this one, of its calling thread, and
 * of all the children that this one has and of what they started. */
double bench_cpu_seconds(pid_t pid);
double bench_own_cpu_seconds(void);
double bench_thread_cpu_seconds(void);
double bench_children_cpu_seconds(void);
size_t bench_resident_bytes(pid_t pid);
/* bench_settle waits until a process and this one have nothing left to do, 30 s at most. */
void bench_settle(pid_t pid);

/* The tasks. */
FURROW_TASK_EXTERN(bench_noop);         /* (i) -> i */
FURROW_TASK_EXTERN(bench_echo);         /* (B) -> B */
FURROW_TASK_EXTERN(bench_remake);       /* (B) -> B: bench_turn of tests/bench/work.h */
FURROW_TASK_EXTERN(bench_remake_block); /* the same, handed over */
FURROW_TASK_EXTERN(bench_spin);         /* (iterations) -> i: bench_work of tests/bench/work.h */
FURROW_TASK_EXTERN(bench_gate);  /* (path) -> i, waits until the file is gone, 60 s at most */
FURROW_TASK_EXTERN(bench_trace); /* (nanoseconds) -> began, ended (monotonic ns), pid */

#endif
