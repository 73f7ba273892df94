/* A set of pointers that is filled once: for telling duplicates among futures. */
#ifndef CLIENT_POINTER_SET_H
#define CLIENT_POINTER_SET_H

#include <stdbool.h>
#include <stddef.h>

struct pointer_set {
    const void **slots;
    size_t mask;
};

/* pointer_set_init makes room for `count` pointers. False: no memory. */
bool pointer_set_init(struct pointer_set *set, size_t count);
void pointer_set_fini(struct pointer_set *set);
/* pointer_set_add puts one in, not NULL. False: it was there already. */
bool pointer_set_add(struct pointer_set *set, const void *pointer);

#endif
