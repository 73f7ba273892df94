/* What the module shares with the programs that submit its tasks. */
#ifndef COLLATZ_H
#define COLLATZ_H

#include <furrow.h>

/* Up to here no chain leaves 64 bits. */
#define COLLATZ_MAX INT64_C(10000000000)

FURROW_TASK_EXTERN(collatz_longest);

#endif
