#include "wire/reader.h"
#include "wire/value.h"

/* The rest, behind `values`: with containers, or with lengths that are written. */
static __attribute__((noinline)) bool check_on(struct wire_reader in, uint32_t depth_max,
                                               size_t values, size_t *count) {
    for (; wire_left(&in) > 0; values++) {
        size_t simple = wire_simple_bytes[*in.at];
        if (simple > 0 && simple <= wire_left(&in)) {
            in.at += simple;
        } else if (!wire_skip(&in, depth_max)) {
            return false;
        }
    }
    if (count != NULL) {
        *count = values;
    }
    return true;
}

static inline bool check(const void *data, size_t size, uint32_t depth_max, size_t *count) {
    struct wire_reader in = wire_reader_of(data, size);
    size_t values = 0;
    for (; wire_left(&in) > 0; values++) {
        size_t simple = wire_simple_bytes[*in.at];
        if (BASE_UNLIKELY(simple == 0 || simple > wire_left(&in))) {
            return check_on(in, depth_max, values, count);
        }
        in.at += simple;
    }
    if (count != NULL) {
        *count = values;
    }
    return true;
}

bool wire_value_check_nested(const void *data, size_t size, uint32_t depth_max, size_t *count) {
    return check(data, size, depth_max, count);
}

bool wire_value_check(const void *data, size_t size, size_t *count) {
    return check(data, size, WIRE_DEPTH_MAX, count);
}

size_t wire_value_skip(const void *data, size_t size) {
    struct wire_reader in = wire_reader_of(data, size);
    if (!wire_skip(&in, WIRE_NESTING_MAX)) {
        return 0;
    }
    return size - wire_left(&in);
}
