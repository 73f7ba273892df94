/* The tasks of the conformance suite: part of each test program, and the module that the remote
 * workers serve. */
#ifndef CONFORMANCE_TASKS_H
#define CONFORMANCE_TASKS_H

#include <furrow.h>

FURROW_TASK_EXTERN(nothing);         /* () -> nil */
FURROW_TASK_EXTERN(add);             /* (i, i) -> i */
FURROW_TASK_EXTERN(square);          /* (i) -> i */
FURROW_TASK_EXTERN(identity);        /* (v) -> v */
FURROW_TASK_EXTERN(count_args);      /* (...) -> how many */
FURROW_TASK_EXTERN(sleep_return);    /* (seconds, v) -> v */
FURROW_TASK_EXTERN(reciprocal);      /* (i) -> d; of 0: error 33 "division by zero" */
FURROW_TASK_EXTERN(fail_with);       /* (code, message) -> that error */
FURROW_TASK_EXTERN(fail_timeout);    /* () -> an error that is called timeout */
FURROW_TASK_EXTERN(hold);            /* (gate, i) -> i when the gate is open */
FURROW_TASK_EXTERN(hold_once);       /* (gate, i) -> i; kills itself in its first attempt */
FURROW_TASK_EXTERN(mark);            /* (gate, i) -> i; counts as started at the gate */
FURROW_TASK_EXTERN(where);           /* () -> [pid, thread id] */
FURROW_TASK_EXTERN(thread_name);     /* () -> s */
FURROW_TASK_EXTERN(processors);      /* () -> i: how many its process may use */
FURROW_TASK_EXTERN(crash);           /* (how): segv, abort, exit, overflow, kill, spin */
FURROW_TASK_EXTERN(crash_once);      /* (how): as crash in the first attempt, later the attempt */
FURROW_TASK_EXTERN(crash_unpacking); /* (i) -> i; the first attempt dies before it reads i */
FURROW_TASK_EXTERN(crash_packing);   /* (i) -> i; the first attempt dies with its result set */
FURROW_TASK_EXTERN(set_up);          /* (i): an initializer; -1 fails */
FURROW_TASK_EXTERN(was_set_up);      /* () -> [what set_up got, how often it ran in this process,
                                      in this thread] */
FURROW_TASK_EXTERN(
    hold_set_up); /* (gate, i) -> the same, and the thread id, when the gate is open */
FURROW_TASK_EXTERN(running_peak); /* (gate) -> the most tasks of its kind that ran at once */
FURROW_TASK_EXTERN(big);          /* (size) -> B of that many bytes */
FURROW_TASK_EXTERN(big_block);    /* the same, handed over */
FURROW_TASK_EXTERN(
    remake); /* (i, s, B) -> [i, s, B with its bits turned round]; dies i times before */

#endif
