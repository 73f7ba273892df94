/* A mailbox of completed things, for one reader that sleeps on it: beneath as_completed, unordered
 * maps and completion queues. */
#ifndef CLIENT_COMPLETION_H
#define CLIENT_COMPLETION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/inbox.h"

struct completion {
    struct base_inbox inbox;
    atomic_uint asleep;            /* a futex: 1 while the reader sleeps, or is about to */
    struct base_inbox_node *taken; /* the reader's: taken out and not yet handed on, in order */
};

void completion_init(struct completion *completion);

/* completion_push adds a node. Any thread. Returns true if the reader sleeps: then completion_wake is
 * to be called, soon, and the completion is to stay until then. */
bool completion_push(struct completion *completion, struct base_inbox_node *node);
void completion_wake(struct completion *completion);

/* completion_look takes the oldest node out, NULL if there is none. The reader's. */
struct base_inbox_node *completion_look(struct completion *completion);

/* completion_sleep waits until there may be a node, or the deadline has passed (false). */
bool completion_sleep(struct completion *completion, uint64_t deadline_ns);

#endif
