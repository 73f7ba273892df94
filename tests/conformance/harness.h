/* The conformance suite: what concurrent.futures promises, one test a row, the same on every
 * executor. A program is run once for each executor, which its argument names: threads, processes
 * or remote (a furrow-broker and furrow-worker over TCP, started for each test).
 *
 * Every test also checks that it leaves nothing behind: threads, children, file descriptors. */
#ifndef CONFORMANCE_HARNESS_H
#define CONFORMANCE_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <furrow.h>
#include <cmocka.h>

#include "tests/conformance/tasks.h"

enum conformance_kind {
    ON_THREADS = 1,
    ON_PROCESSES = 2,
    ON_REMOTE = 4,
    ON_WORKERS = ON_PROCESSES | ON_REMOTE,
    ON_ALL = ON_THREADS | ON_WORKERS,
};
extern enum conformance_kind conformance_kind;

/* A row: its name in conformance.md's words, the test, and where it applies. */
struct conformance_row {
    const char *name;
    void (*test)(void **state);
    unsigned kinds;
};
#define ROW(test, kinds)                                                                           \
    { #test, test, kinds }

/* conformance_main is the whole main() of a test program. */
int conformance_main(int argc, char **argv, const char *section, const struct conformance_row *rows,
                     size_t count);
#define CONFORMANCE_MAIN(section, rows)                                                            \
    int main(int argc, char **argv) {                                                              \
        furrow_init(&argc, &argv);                                                                 \
        return conformance_main(argc, argv, section, rows, sizeof rows / sizeof rows[0]);          \
    }

/* conformance_open makes an executor with `workers` workers of one thread each; with REMOTE it starts
 * a broker and the workers. conformance_open_with takes options too (max_workers is set in them), and
 * parameters to append to the URL after "?" (NULL: none). One executor at a time; conformance_close
 * closes it and ends the fleet, and is called at a test's end if the test didn't. */
furrow_executor *conformance_open(int workers);
furrow_executor *conformance_open_with(int workers, furrow_options *options,
                                       const char *parameters);
void conformance_close(void);

/* The URL of the executor that is open. */
const char *conformance_url(void);
/* How many log lines the library has said to the hook that conformance_open sets, and the last one
 * that contains `text`. */
unsigned conformance_logged(const char *text);

/* A gate holds tasks (hold) until it is opened; it works across processes. One a test. */
const char *gate_path(void);               /* to be passed to `hold` */
unsigned gate_started(void);               /* how many tasks wait or waited at it */
void gate_wait_started(unsigned at_least); /* fails the test after 20 s */
void gate_open(void);

/* wait_for fails the test if the condition is not true within 20 s. */
#define wait_for(condition)                                                                        \
    do {                                                                                           \
        double wait_until = now_seconds() + 20.0;                                                  \
        while (!(condition)) {                                                                     \
            if (now_seconds() > wait_until) {                                                      \
                fail_msg("waited 20 s for: %s", #condition);                                       \
            }                                                                                      \
            pause_ms(1);                                                                           \
        }                                                                                          \
    } while (0)
double now_seconds(void);
void pause_ms(unsigned ms);

/* assert_ok: a status is FURROW_OK; says the error text otherwise. */
#define assert_ok(expression) conformance_assert_ok((expression), #expression, __FILE__, __LINE__)
void conformance_assert_ok(furrow_status status, const char *what, const char *file, int line);
/* must: a pointer is not NULL; says the error text otherwise. */
#define must(expression) conformance_must((expression), #expression, __FILE__, __LINE__)
void *conformance_must(void *pointer, const char *what, const char *file, int line);

int64_t result_int(furrow_future *future); /* waits; fails the test if there is no integer */

#endif
