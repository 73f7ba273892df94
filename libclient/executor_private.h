/* What the files of the front share about executors, and executors themselves need not know. */
#ifndef CLIENT_EXECUTOR_PRIVATE_H
#define CLIENT_EXECUTOR_PRIVATE_H

#include "libclient/executor.h"

/* executor_gate_enter waits until fewer than max_pending tasks are unfinished, and counts up to `count`
 * new ones in. In a task or callback of the same executor it doesn't wait, and lets one pass. Only for
 * executors that have a limit. Returns how many may pass, 1 to count; 0 if the executor refuses tasks
 * meanwhile. Who then submits fewer gives the rest back by executor_gate_leave. */
unsigned executor_gate_enter(furrow_executor *executor, unsigned count);

/* executor_enter_if_open makes this thread a guest of an executor that may have been closed since: it is
 * not freed before executor_guest_leave. False: it is gone. */
bool executor_enter_if_open(furrow_executor *executor, uint64_t serial);

/* executor_guest_leave ends what an increment of `guests`, or future_enter, began. */
void executor_guest_leave(furrow_executor *executor);

/* executor_in_any_callback: is this thread in a done-callback of whichever executor. */
bool executor_in_any_callback(void);

/* executor_log_if_open says something to the executor's hook, if there still is such an executor. */
void executor_log_if_open(const furrow_executor *executor, enum base_log_level level,
                          const char *format, ...) __attribute__((format(printf, 3, 4), cold));

#endif
