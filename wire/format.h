/* Format strings (furrow.h, "values and formats"), as packing and unpacking both read them. */
#ifndef WIRE_FORMAT_H
#define WIRE_FORMAT_H

#include "wire/limits.h"
#include "wire/value.h"

/* Where a walk over a format is. */
struct wire_format {
    const char *begin; /* of the format */
    const char *at;    /* behind `letter` */
    char letter;       /* the current one */
    uint32_t depth;    /* open brackets */
    char closer[WIRE_DEPTH_MAX];
    struct wire_value_fault *fault;
};

static inline struct wire_format wire_format_of(const char *format,
                                                struct wire_value_fault *fault) {
    struct wire_format walk;
    walk.begin = format == NULL ? "" : format;
    walk.at = walk.begin;
    walk.letter = 0;
    walk.depth = 0;
    walk.fault = fault;
    return walk;
}

/* wire_format_position counts letters and opening brackets up to the current one. */
uint32_t wire_format_position(const struct wire_format *walk);

/* wire_format_fault writes `argument 2 ("i"): ...` and returns the status. */
enum wire_value_status wire_format_fault(const struct wire_format *walk,
                                         enum wire_value_status status, const char *format, ...)
    __attribute__((cold, format(printf, 3, 4)));

bool wire_format_next_slow(struct wire_format *walk, enum wire_value_status *status);

/* wire_format_next moves to the next letter, over blanks, commas and closing brackets. False: the
 * format ends here, or *status is not OK. */
static inline bool wire_format_next(struct wire_format *walk, enum wire_value_status *status) {
    const char letter = *walk->at;
    if (letter >= 'A' && letter <= 'z' && letter != ']') {
        walk->letter = letter;
        walk->at++;
        return true;
    }
    if (letter == 0) {
        return false; /* all brackets are closed: wire_format_open has seen to it */
    }
    return wire_format_next_slow(walk, status);
}

/* wire_format_open goes into the brackets that the letter opens, and counts the values directly in
 * them. */
enum wire_value_status wire_format_open(struct wire_format *walk, uint32_t *count);

/* wire_format_unknown is the end of a switch over letters. */
enum wire_value_status wire_format_unknown(const struct wire_format *walk);

#endif
