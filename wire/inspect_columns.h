/* The columns of what admins ask and hear, in the order in which they travel. */
#ifndef WIRE_INSPECT_COLUMNS_H
#define WIRE_INSPECT_COLUMNS_H

#include "wire/inspect.h"

enum wire_column_sort { WIRE_COLUMN_NUMBER, WIRE_COLUMN_NAME, WIRE_COLUMN_TAGS };

struct wire_column {
    const char *name;
    enum wire_column_sort sort;
    uint32_t offset; /* in the struct: of a uint64_t, a wire_text, a wire_tags */
    uint64_t min, max;
};

struct wire_columns {
    const struct wire_column *at;
    uint32_t count;
};

/* wire_columns_of gives those of a message of this type (without rows), wire_columns_of_list those of
 * a list's rows. There are none for other types. */
struct wire_columns wire_columns_of(enum wire_type type);
struct wire_columns wire_columns_of_list(enum wire_list list);

static inline uint64_t *wire_column_number(void *what, const struct wire_column *column) {
    return (uint64_t *)(void *)((uint8_t *)what + column->offset);
}
static inline struct wire_text *wire_column_name(void *what, const struct wire_column *column) {
    return (struct wire_text *)(void *)((uint8_t *)what + column->offset);
}
static inline struct wire_tags *wire_column_tags(void *what, const struct wire_column *column) {
    return (struct wire_tags *)(void *)((uint8_t *)what + column->offset);
}

#endif
