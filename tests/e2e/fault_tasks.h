/* The tasks of the tests with real faults: part of each program, and the module of remote workers. */
#ifndef E2E_FAULT_TASKS_H
#define E2E_FAULT_TASKS_H

#include <furrow.h>

#include "tests/e2e/book.h"

/* (i, us) -> mixed(i): sleeps for that long (0: doesn't) and counts itself in runs[i] and ends[i]. */
FURROW_TASK_EXTERN(work);
/* (i) -> i: as work, and no count. */
FURROW_TASK_EXTERN(echo_int);
/* (slot, gate of the first run, gate of later ones) -> attempt: stamps, and waits for the gate. */
FURROW_TASK_EXTERN(held);
/* (slot): stamps, and goes on for ever, whatever it is told. */
FURROW_TASK_EXTERN(deaf);
/* (slot) -> nanoseconds: the first run stamps and kills its process; the next one tells how long
 * ago that was. */
FURROW_TASK_EXTERN(die_once);
/* (slot) -> pid: stamps. */
FURROW_TASK_EXTERN(whereabouts);
/* (i, size) -> B: as blob_byte says. */
FURROW_TASK_EXTERN(blob);
/* (B) -> the sum of its bytes. */
FURROW_TASK_EXTERN(weigh);
/* (size) -> size: allocates and touches that much; an error with the code ENOMEM if it can't. */
FURROW_TASK_EXTERN(hog);
/* (count) -> how many descriptors it could open, up to count; closes them. */
FURROW_TASK_EXTERN(open_many);
/* () : an initializer; it fails if FURROW_E2E_FAIL is set. */
FURROW_TASK_EXTERN(prepare);
/* () -> how often `prepare` has run in this process. */
FURROW_TASK_EXTERN(times_prepared);

int64_t mixed(int64_t i);
unsigned char blob_byte(int64_t i);
uint64_t stamp_ns(void);
/* The book, or NULL. */
struct book *book(void);

#endif
