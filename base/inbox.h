/* A lock-free mailbox: any number of producers push, one consumer takes everything at once, in the
 * order it was pushed. Intrusive: a push is one compare-and-swap and can't fail; a take is one
 * exchange and a reversal.
 *
 * All accesses to `head` are sequentially consistent: base/wake.h relies on it. What a producer wrote
 * before its push the consumer sees after its take. */
#ifndef BASE_INBOX_H
#define BASE_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/fetch.h"

struct base_inbox_node {
    struct base_inbox_node *next;
};

struct base_inbox {
    _Atomic(struct base_inbox_node *) head; /* the newest first */
};

static inline void base_inbox_init(struct base_inbox *inbox) {
    atomic_init(&inbox->head, NULL);
}

/* base_inbox_push_chain pushes several nodes at once: `newest` is linked by `next` down to `oldest`,
 * in the opposite order to that in which the consumer gets them. Any thread; never blocks.
 * Returns whether the inbox was empty. Once pushed the nodes are the consumer's. */
static inline bool base_inbox_push_chain(struct base_inbox *inbox, struct base_inbox_node *newest,
                                         struct base_inbox_node *oldest) {
    struct base_inbox_node *head = atomic_load_explicit(&inbox->head, memory_order_relaxed);

    do {
        oldest->next = head;
    } while (!atomic_compare_exchange_weak(&inbox->head, &head, newest));
    return head == NULL;
}

/* base_inbox_push pushes one node. Any thread; never blocks. Returns whether the inbox was empty. */
static inline bool base_inbox_push(struct base_inbox *inbox, struct base_inbox_node *node) {
    return base_inbox_push_chain(inbox, node, node);
}

/* base_inbox_empty looks without taking. Any thread. */
static inline bool base_inbox_empty(struct base_inbox *inbox) {
    return atomic_load(&inbox->head) == NULL;
}

/* base_inbox_reverse turns a chain round and returns its new first node. */
static inline struct base_inbox_node *base_inbox_reverse(struct base_inbox_node *node) {
    struct base_inbox_node *first = NULL;

    while (node != NULL) {
        struct base_inbox_node *next = node->next;

        base_fetch(base_fetch_beyond(node, next, 8), 0);
        node->next = first;
        first = node;
        node = next;
    }
    return first;
}

/* base_inbox_take takes all there is and returns it linked by `next`, the oldest first, NULL at the
 * end; NULL if there is nothing. The consumer's thread only; never blocks. */
static inline struct base_inbox_node *base_inbox_take(struct base_inbox *inbox) {
    if (atomic_load_explicit(&inbox->head, memory_order_relaxed) == NULL) {
        return NULL;
    }
    return base_inbox_reverse(atomic_exchange(&inbox->head, NULL));
}

#endif
