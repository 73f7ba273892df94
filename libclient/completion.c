#include "libclient/completion.h"

#include <limits.h>

#include "base/futex.h"

void completion_init(struct completion *completion) {
    base_inbox_init(&completion->inbox);
    atomic_init(&completion->asleep, 0);
    completion->taken = NULL;
}

/* The push and the reader's announcement are sequentially consistent: either the reader sees the node
 * before it sleeps, or this sees that it sleeps. */
bool completion_push(struct completion *completion, struct base_inbox_node *node) {
    (void)base_inbox_push(&completion->inbox, node);
    return atomic_load(&completion->asleep) != 0 && atomic_exchange(&completion->asleep, 0) != 0;
}

void completion_wake(struct completion *completion) {
    base_futex_wake(&completion->asleep, INT_MAX);
}

struct base_inbox_node *completion_look(struct completion *completion) {
    struct base_inbox_node *node = completion->taken;

    if (node == NULL) {
        node = base_inbox_take(&completion->inbox);
        if (node == NULL) {
            return NULL;
        }
    }
    completion->taken = node->next;
    return node;
}

bool completion_sleep(struct completion *completion, uint64_t deadline_ns) {
    int error = 0;

    atomic_store(&completion->asleep, 1);
    while (base_inbox_empty(&completion->inbox) && atomic_load(&completion->asleep) != 0 &&
           error != ETIMEDOUT) {
        error = base_futex_wait(&completion->asleep, 1, deadline_ns);
    }
    atomic_store(&completion->asleep, 0);
    return !base_inbox_empty(&completion->inbox) || error != ETIMEDOUT;
}
