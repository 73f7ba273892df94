/* What the tests with real faults share: a site (a broker and worker machines that can be killed and
 * started again), a look at processes, and the proof that nothing is left behind.
 *
 * A test program calls faults_init first in main(), after furrow_init, and uses faults_set_up and
 * faults_tear_down around each of its tests. FURROW_LONG=1 asks for the long forms. */
#ifndef E2E_FAULTS_H
#define E2E_FAULTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <furrow.h>

#include <cmocka.h>

#include "tests/e2e/book.h"
#include "tests/support/fleet.h"

/* ------------------------------------------------------------------- the test */

/* faults_init: after limit_s seconds (the long forms: never) the program is killed, and what it has
 * started. */
void faults_init(unsigned limit_s);
int faults_set_up(void **state);
/* faults_tear_down fails the test if anything is left: a process (orphans come to us, because we ask
 * the kernel for that), a thread, a descriptor, a socket, a directory. */
int faults_tear_down(void **state);

bool faults_long(void);
const char *faults_directory(void); /* of this test, removed after it */
struct book *faults_book(void);     /* shared with every task, empty at the test's start */

double now_seconds(void);
void pause_ms(long ms);
/* wait_for fails the test if the condition is not true within 30 s. */
#define wait_for(condition)                                                                        \
    do {                                                                                           \
        double wait_until = now_seconds() + 30.0;                                                  \
        while (!(condition)) {                                                                     \
            if (now_seconds() > wait_until) {                                                      \
                fail_msg("waited 30 s for: %s", #condition);                                       \
            }                                                                                      \
            pause_ms(1);                                                                           \
        }                                                                                          \
    } while (0)

/* random_below draws from 0 to bound - 1; one thread at a time. The seed is FURROW_SEED, or new. */
uint64_t random_below(uint64_t bound);

/* figure prints "name<TAB>value<TAB>unit" on standard output. */
void figure(const char *name, double value, const char *unit);
/* figures prints median, 99th percentile and maximum of what was measured, which it sorts. */
void figures(const char *name, double *values, size_t count, const char *unit);
double percentile(const double *sorted, size_t count, double share);

/* ---------------------------------------------------------------- the library */

/* open_pool opens an executor whose log lines go to standard error. Fails the test if it can't. */
furrow_executor *open_pool(const char *url);
void close_pool(furrow_executor **pool);
/* must: a pointer is not NULL; says the error text otherwise. */
void *must(void *pointer);
/* take_int waits (60 s) for an integer, and drops the future. */
int64_t take_int(furrow_future **future);

/* ------------------------------------------------------------------- the site */

enum { SITE_MACHINES_MAX = 8 };

struct site {
    struct fleet fleet;
    struct fleet_options options;
    pid_t machines[SITE_MACHINES_MAX]; /* supervisors, each with its worker processes; 0: dead */
    int machine_count;
};

/* site_open starts a broker with these further arguments (NULL-terminated; NULL: none) and `machines`
 * supervisors, each with `processes` worker processes of `threads` threads. */
void site_open(struct site *site, int machines, int processes, int threads,
               const char *const *broker_more);
/* site_close stops all of it by SIGTERM, and fails the test if that is not enough. */
void site_close(struct site *site);
/* The rest is for any one thread. They return false, with site->fleet.error set, if they can't. */
void site_kill_broker(struct site *site);
bool site_start_broker(struct site *site); /* at the same address; returns when it listens */
void site_kill_machine(struct site *site,
                       int i); /* the supervisor alone: its children must follow */
bool site_start_machine(struct site *site, int i);

/* ------------------------------------------------------------------ processes */

/* children_of lists the direct children of a process, at most `max`. */
int children_of(pid_t pid, pid_t *children, int max);
int zombies_of(pid_t pid);
int fds_of(pid_t pid);
int threads_of(pid_t pid);
long rss_kb(pid_t pid);
/* run_self runs this test program again with these arguments, as a client of its own. */
pid_t run_self(const char *const *arguments);
/* end_of waits (60 s) until a process that we have started has ended. Returns its exit code, or 256
 * and its signal. */
int end_of(pid_t pid);

#endif
