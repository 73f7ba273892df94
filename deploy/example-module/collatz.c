/* An example of a task module: collatz_longest(first, last) looks for the longest Collatz chain
 * (half of n if n is even, else 3n + 1, until 1) that begins at a number from first to last, and
 * returns [number, length], where the length counts both ends. */
#include "collatz.h"

static int64_t chain_length(uint64_t n) {
    int64_t length = 1;
    while (n != 1) {
        n = n % 2 == 0 ? n / 2 : 3 * n + 1;
        length++;
    }
    return length;
}

static int collatz_longest(furrow_task *task) {
    int64_t first, last;
    int64_t number = 0, longest = 0;
    if (furrow_task_args(task, "ii", &first, &last) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (first < 1 || last < first || last > COLLATZ_MAX) {
        return furrow_task_fail(task, 1, "not from 1 to %lld", (long long)COLLATZ_MAX);
    }
    for (int64_t n = first; n <= last; n++) {
        int64_t length = chain_length((uint64_t)n);
        if (length > longest) {
            number = n;
            longest = length;
        }
        if (n % 4096 == 0 && furrow_task_cancelled(task)) {
            return FURROW_ECANCELLED;
        }
    }
    return furrow_task_return(task, "[ii]", number, longest);
}
FURROW_TASK(collatz_longest);
