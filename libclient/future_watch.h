/* The watches of a future, as future.c needs them; for all others see future.h. */
#ifndef CLIENT_FUTURE_WATCH_H
#define CLIENT_FUTURE_WATCH_H

#include "libclient/future.h"

/* future_notify_watches takes all watches off a future that has become done, and notifies them in
 * order. Called once, by the thread that ended it. */
void future_notify_watches(furrow_future *future);

/* future_discard_watches notifies them with NULL: the future is about to be freed, unresolved. There is
 * at least one. */
void future_discard_watches(furrow_future *future);

#endif
