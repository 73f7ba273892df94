#include "tasks.h"

enum { DIVISORS_PER_LOOK = 1 << 20 }; /* some milliseconds */

static int is_prime(furrow_task *task) {
    int64_t n;
    if (furrow_task_args(task, "i", &n) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (n < 2 || (n > 2 && n % 2 == 0)) {
        return furrow_task_return(task, "b", false);
    }
    for (int64_t divisor = 3; divisor <= n / divisor; divisor += 2) {
        if (n % divisor == 0) {
            return furrow_task_return(task, "b", false);
        }
        if (divisor % DIVISORS_PER_LOOK == 1 && furrow_task_cancelled(task)) {
            return FURROW_ECANCELLED;
        }
    }
    return furrow_task_return(task, "b", true);
}
FURROW_TASK(is_prime);
