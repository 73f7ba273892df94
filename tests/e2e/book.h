/* Memory that the tests and their tasks share, wherever the tasks run on this machine: a file, which
 * the environment variable FURROW_E2E_BOOK names. */
#ifndef E2E_BOOK_H
#define E2E_BOOK_H

#include <stdatomic.h>
#include <stdint.h>

enum { BOOK_SLOTS = 4096, BOOK_TASKS = 1 << 20 };

struct book {
    atomic_uint gates[BOOK_SLOTS];       /* a task waits until its gate is not 0 */
    atomic_uint started[BOOK_SLOTS];     /* how many runs have begun there */
    atomic_ullong stamps_ns[BOOK_SLOTS]; /* when the last of them did (CLOCK_MONOTONIC) */
    atomic_int pids[BOOK_SLOTS];         /* and where */
    atomic_uchar runs[BOOK_TASKS];       /* how often each task of a test was begun, up to 255 */
    atomic_uchar ends[BOOK_TASKS];       /* and ended */
};

#endif
