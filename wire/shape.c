#include "wire/shape.h"

const char *wire_type_name(unsigned type) {
    switch ((enum wire_type)type) {
#define NAME(name, number)                                                                         \
    case WIRE_##name:                                                                              \
        return #name;
        WIRE_TYPE_MAP(NAME)
#undef NAME
    }
    return "?";
}

#define ANY UINT64_MAX

/* In the order of docs/protocol.md section 3.1. */
static const struct wire_layout layouts[] = {
    {.shape = WIRE_SHAPE_SUBMIT,
     .key = {{"class", 0, WIRE_CLASSES_MAX - 1},
             {"attempt", 1, WIRE_ATTEMPTS_MAX},
             {"past", 0, WIRE_PAST_MAX}},
     .entry = {{"id", 0, ANY}}},
    {.shape = WIRE_SHAPE_CANCEL, .entry = {{"id", 0, ANY}}},
    {.shape = WIRE_SHAPE_OUTCOMES,
     .kind = true,
     .extra = {{"credit_tasks", 0, ANY}, {"credit_bytes", 0, ANY}},
     .key = {{"kind", 0, WIRE_KIND_COUNT - 1}},
     .entry = {{"id", 0, ANY}}},
    {.shape = WIRE_SHAPE_VERDICTS, .key = {{"cancelled", 0, 1}}, .entry = {{"id", 0, ANY}}},
    {.shape = WIRE_SHAPE_STARTED, .entry = {{"id", 0, ANY}}},
    {.shape = WIRE_SHAPE_CREDIT, .extra = {{"credit_tasks", 0, ANY}, {"credit_bytes", 0, ANY}}},
    {.shape = WIRE_SHAPE_RUN,
     .key = {{"function", 0, WIRE_FUNCTIONS_MAX - 1},
             {"flags", 0, WIRE_FLAGS_MAX},
             {"run_ms", 0, WIRE_DURATION_MS_MAX},
             {"session", 0, ANY},
             {"session", 0, ANY}},
     .entry = {{"lease", 0, ANY}, {"id", 0, ANY}, {"attempt", 1, WIRE_ATTEMPTS_MAX}}},
    {.shape = WIRE_SHAPE_RECALL, .extra = {{"count", 0, UINT32_MAX}}, .entry = {{"lease", 0, ANY}}},
    {.shape = WIRE_SHAPE_INTERRUPT, .entry = {{"lease", 0, ANY}}},
    {.shape = WIRE_SHAPE_RESULTS,
     .kind = true,
     .extra = {{"busy_ns", 0, ANY}},
     .key = {{"kind", 0, WIRE_KIND_COUNT - 1}},
     .entry = {{"lease", 0, ANY}}},
    {.shape = WIRE_SHAPE_RETURNED, .key = {{"returned", 0, 1}}, .entry = {{"lease", 0, ANY}}},
    {.shape = WIRE_SHAPE_RUNNING, .entry = {{"lease", 0, ANY}}},
    {.shape = WIRE_SHAPE_CLAIMS,
     .extra = {{"final", 0, 1}},
     .key = {{"session", 0, ANY}, {"session", 0, ANY}},
     .entry = {{"lease", 0, ANY}, {"id", 0, ANY}, {"attempt", 1, WIRE_ATTEMPTS_MAX}}},
};

const struct wire_layout *wire_layout_of(unsigned type) {
    enum { COUNT = sizeof layouts / sizeof layouts[0] };
    /* Two runs of numbers: from SUBMIT and from RUN. */
    enum { CLIENTS = WIRE_CREDIT - WIRE_SUBMIT + 1, WORKERS = WIRE_CLAIMS - WIRE_RUN + 1 };
    _Static_assert(CLIENTS + WORKERS == COUNT, "every batch type has a layout");
    if (type - WIRE_SUBMIT < CLIENTS) {
        return &layouts[type - WIRE_SUBMIT];
    }
    return type - WIRE_RUN < WORKERS ? &layouts[CLIENTS + type - WIRE_RUN] : NULL;
}

const struct wire_shape *wire_shape_of(unsigned type) {
    const struct wire_layout *layout = wire_layout_of(type);
    return layout == NULL ? NULL : &layout->shape;
}
