#include "wire/format.h"

#include <stdio.h>
#include <string.h>

uint32_t wire_format_position(const struct wire_format *walk) {
    uint32_t position = 0;
    for (const char *at = walk->begin; at != walk->at; at++) {
        position += strchr(" ,]}", *at) == NULL ? 1 : 0;
    }
    return position;
}

enum wire_value_status wire_format_fault(const struct wire_format *walk,
                                         enum wire_value_status status, const char *format, ...) {
    struct wire_value_fault *fault = walk->fault;
    bool printable = walk->letter >= ' ' && walk->letter <= '~';
    bool stray = walk->letter == ']' || walk->letter == '}'; /* counts for once */
    int head = snprintf(fault->text, sizeof fault->text,
                        "argument %u (\"%c\"): ", wire_format_position(walk) + stray,
                        printable ? walk->letter : '?');
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fault->text + head, sizeof fault->text - (size_t)head, format, arguments);
    va_end(arguments);
    return status;
}

bool wire_format_next_slow(struct wire_format *walk, enum wire_value_status *status) {
    for (;;) {
        walk->letter = *walk->at;
        switch (walk->letter) {
        case 0:
            return false;
        case ' ':
        case ',':
            break;
        case ']':
        case '}':
            if (walk->depth == 0 || walk->closer[walk->depth - 1] != walk->letter) {
                *status = wire_format_fault(walk, WIRE_VALUE_FORMAT, "closes no bracket");
                return false;
            }
            walk->depth--;
            break;
        default:
            walk->at++;
            return true;
        }
        walk->at++;
    }
}

/* The values up to the bracket that closes the current level; -1: there is none. */
static int64_t count_values(const char *at, char closer) {
    int64_t count = 0;
    size_t depth = 0;
    for (; *at != 0; at++) {
        switch (*at) {
        case ' ':
        case ',':
            break;
        case ']':
        case '}':
            if (depth == 0) {
                return *at == closer ? count : -1;
            }
            depth--;
            break;
        case '[':
        case '{':
            count += depth == 0 ? 1 : 0;
            depth++;
            break;
        default:
            count += depth == 0 ? 1 : 0;
        }
    }
    return -1;
}

enum wire_value_status wire_format_open(struct wire_format *walk, uint32_t *count) {
    char closer = walk->letter == '[' ? ']' : '}';
    int64_t values = count_values(walk->at, closer);
    if (walk->depth == WIRE_DEPTH_MAX) {
        return wire_format_fault(walk, WIRE_VALUE_FORMAT, "nested deeper than %u", WIRE_DEPTH_MAX);
    }
    if (values < 0) {
        return wire_format_fault(walk, WIRE_VALUE_FORMAT, "is not closed");
    }
    if (closer == '}' && values % 2 != 0) {
        return wire_format_fault(walk, WIRE_VALUE_FORMAT, "has a key without a value");
    }
    if (values > UINT32_MAX) {
        return wire_format_fault(walk, WIRE_VALUE_FORMAT, "has too many values");
    }
    walk->closer[walk->depth++] = closer;
    *count = (uint32_t)values;
    return WIRE_VALUE_OK;
}

enum wire_value_status wire_format_unknown(const struct wire_format *walk) {
    return wire_format_fault(walk, WIRE_VALUE_FORMAT, "is no format letter");
}
