/* An intrusive doubly linked list: the node lives in the object, so nothing is allocated and nothing
 * can fail. All operations are O(1). The list is a ring through its own root: it must not be copied
 * or moved while it has members. No function blocks; the caller keeps threads apart. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/assert.h"

struct base_node {
    struct base_node *next; /* both NULL while the node is in no list */
    struct base_node *prev;
};

struct base_list {
    struct base_node root;
};

/* base_list_init makes an empty list. A zeroed list is not an empty one. */
static inline void base_list_init(struct base_list *list) {
    list->root.next = &list->root;
    list->root.prev = &list->root;
}

/* base_node_init marks a node as being in no list; zeroed memory is that already. */
static inline void base_node_init(struct base_node *node) {
    node->next = NULL;
    node->prev = NULL;
}

static inline bool base_node_linked(const struct base_node *node) {
    return node->next != NULL;
}

static inline bool base_list_empty(const struct base_list *list) {
    return list->root.next == &list->root;
}

/* base_list_insert_before puts `node`, which is in no list, before `where`, which is in one. */
static inline void base_list_insert_before(struct base_node *where, struct base_node *node) {
    BASE_ASSERT(!base_node_linked(node));
    node->next = where;
    node->prev = where->prev;
    where->prev->next = node;
    where->prev = node;
}

static inline void base_list_push_back(struct base_list *list, struct base_node *node) {
    base_list_insert_before(&list->root, node);
}

/* base_list_push_new puts a node in at the back of which nothing has been set yet. */
static inline void base_list_push_new(struct base_list *list, struct base_node *node) {
    struct base_node *last = list->root.prev;

    node->next = &list->root;
    node->prev = last;
    last->next = node;
    list->root.prev = node;
}

static inline void base_list_push_front(struct base_list *list, struct base_node *node) {
    base_list_insert_before(list->root.next, node);
}

/* base_list_remove takes `node` out of the list it is in; afterwards it is linked nowhere. */
static inline void base_list_remove(struct base_node *node) {
    BASE_ASSERT(base_node_linked(node));
    node->prev->next = node->next;
    node->next->prev = node->prev;
    base_node_init(node);
}

/* base_list_first, _last, _next and _prev return NULL where there is no such node. */
static inline struct base_node *base_list_first(const struct base_list *list) {
    return base_list_empty(list) ? NULL : list->root.next;
}

static inline struct base_node *base_list_last(const struct base_list *list) {
    return base_list_empty(list) ? NULL : list->root.prev;
}

static inline struct base_node *base_list_next(const struct base_list *list,
                                               const struct base_node *node) {
    return node->next == &list->root ? NULL : node->next;
}

static inline struct base_node *base_list_prev(const struct base_list *list,
                                               const struct base_node *node) {
    return node->prev == &list->root ? NULL : node->prev;
}

/* base_list_pop_front removes and returns the first node, NULL if the list is empty. */
static inline struct base_node *base_list_pop_front(struct base_list *list) {
    struct base_node *node = base_list_first(list);

    if (node != NULL) {
        base_list_remove(node);
    }
    return node;
}

/* base_list_splice moves all of `from`, in order, behind what `to` has. `from` is empty afterwards. */
static inline void base_list_splice(struct base_list *to, struct base_list *from) {
    if (base_list_empty(from)) {
        return;
    }
    from->root.next->prev = to->root.prev;
    from->root.prev->next = &to->root;
    to->root.prev->next = from->root.next;
    to->root.prev = from->root.prev;
    base_list_init(from);
}

/* BASE_LIST_FOREACH goes over the nodes from first to last. The body may remove (and free) the node
 * it is at, and no other. `node` is declared by the macro; `list` is evaluated several times. */
#define BASE_LIST_FOREACH(list, node)                                                              \
    for (struct base_node *node = (list)->root.next, *node##_next = node->next;                    \
         node != &(list)->root; node = node##_next, node##_next = node->next)

/* BASE_LIST_ENTRY gives the object of `type` whose `member` is `node`. */
#define BASE_LIST_ENTRY(node, type, member) BASE_CONTAINER_OF(node, type, member)

#endif
