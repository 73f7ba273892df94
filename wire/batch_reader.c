#include "wire/fault.h"
#include "wire/reader.h"
#include "wire/shape.h"

/* The state of a check of a whole message. */
struct check {
    struct wire_reader in;
    const struct wire_layout *layout;
    const struct wire_message *message;
    struct wire_fault *fault;
    uint32_t entries;
    uint32_t next_large;
    uint64_t small_bytes;
    uint64_t key[WIRE_KEY_MAX];
};

static const char *name_of(const struct check *check) {
    return wire_type_name(check->layout->shape.type);
}

static bool fault_found(const struct check *check, const char *field, const char *wanted)
    __attribute__((cold, noinline));
static bool fault_found(const struct check *check, const char *field, const char *wanted) {
    return wire_fault_set(check->fault, WIRE_REJECT_MALFORMED, "%s: %s: found %s instead of %s",
                          name_of(check), field, wire_found(&check->in), wanted);
}

static bool fault_field(const struct check *check, const struct wire_field *field, uint64_t value,
                        bool read) __attribute__((cold, noinline));
static bool fault_field(const struct check *check, const struct wire_field *field, uint64_t value,
                        bool read) {
    if (!read) {
        return fault_found(check, field->name, "an unsigned integer");
    }
    bool below = value < field->min;
    return wire_fault_set(check->fault, WIRE_REJECT_MALFORMED, "%s: %s: %llu is %s %llu",
                          name_of(check), field->name, (unsigned long long)value,
                          below ? "below" : "above",
                          (unsigned long long)(below ? field->min : field->max));
}

static inline bool read_field(struct check *check, const struct wire_field *field,
                              uint64_t *value) {
    if (!wire_read_uint(&check->in, value)) {
        return fault_field(check, field, 0, false);
    }
    if (*value < field->min || *value > field->max) {
        return fault_field(check, field, *value, true);
    }
    return true;
}

static bool check_large(struct check *check, uint64_t size) {
    if (check->next_large == check->message->frame_count) {
        return wire_fault_set(check->fault, WIRE_REJECT_MALFORMED,
                              "%s: size: %llu has no large frame", name_of(check),
                              (unsigned long long)size);
    }
    size_t frame = check->message->frames[check->next_large]->size;
    if (frame != size) {
        return wire_fault_set(check->fault, WIRE_REJECT_MALFORMED,
                              "%s: size: %llu is not that of frame %u, which is %zu",
                              name_of(check), (unsigned long long)size, check->next_large, frame);
    }
    check->next_large++;
    return true;
}

/* Inlined for each shape, so that its counts are constants. */
static inline __attribute__((always_inline)) bool check_entries(struct check *check, uint32_t count,
                                                                const unsigned integers,
                                                                const bool payload) {
    static const struct wire_field size_field = {"size", 0, UINT64_MAX};
    const struct wire_field *fields = check->layout->entry;
    for (uint32_t i = 0; i < count; i++) {
        for (unsigned j = 0; j < integers; j++) {
            uint64_t value;
            if (!read_field(check, &fields[j], &value)) {
                return false;
            }
        }
        if (payload) {
            uint64_t size;
            if (!read_field(check, &size_field, &size)) {
                return false;
            }
            if (BASE_LIKELY(size < WIRE_LARGE_BYTES_MIN)) {
                check->small_bytes += size;
            } else if (!check_large(check, size)) {
                return false;
            }
        }
    }
    return true;
}

static bool check_group_entries(struct check *check) {
    const struct wire_shape *shape = &check->layout->shape;
    const uint32_t each = shape->entry + (shape->payload ? 1u : 0u);
    uint32_t integers;
    if (!wire_read_array(&check->in, &integers)) {
        return fault_found(check, "entries", "an array");
    }
    if (integers == 0 || integers % each != 0) {
        return wire_fault_set(check->fault, WIRE_REJECT_MALFORMED,
                              "%s: entries: %u integers make no entries of %u", name_of(check),
                              integers, each);
    }
    uint32_t count = integers / each;
    if (count > WIRE_BATCH_ENTRIES_MAX - check->entries) {
        return wire_fault_set(check->fault, WIRE_REJECT_LIMIT, "%s: entries: over %u",
                              name_of(check), WIRE_BATCH_ENTRIES_MAX);
    }
    check->entries += count;
    if (shape->entry == 1) {
        return shape->payload ? check_entries(check, count, 1, true)
                              : check_entries(check, count, 1, false);
    }
    BASE_ASSERT(shape->entry == 3);
    return shape->payload ? check_entries(check, count, 3, true)
                          : check_entries(check, count, 3, false);
}

static bool check_group(struct check *check) {
    const struct wire_layout *layout = check->layout;
    uint32_t fields;
    uint64_t before = check->small_bytes;
    uint32_t large_before = check->next_large;
    if (!wire_read_array(&check->in, &fields)) {
        return fault_found(check, "group", "an array");
    }
    if (fields != layout->shape.key + 1u) {
        return wire_fault_set(check->fault, WIRE_REJECT_MALFORMED,
                              "%s: group: has %u fields instead of %u", name_of(check), fields,
                              layout->shape.key + 1u);
    }
    for (unsigned i = 0; i < layout->shape.key; i++) {
        if (!read_field(check, &layout->key[i], &check->key[i])) {
            return false;
        }
    }
    if (!check_group_entries(check)) {
        return false;
    }
    if (layout->kind && check->key[0] == WIRE_KIND_CANCELLED &&
        (check->small_bytes != before || check->next_large != large_before)) {
        return wire_fault_set(check->fault, WIRE_REJECT_MALFORMED,
                              "%s: size: a payload with kind %u", name_of(check),
                              WIRE_KIND_CANCELLED);
    }
    return true;
}

/* The body up to the first group. */
static bool check_body(struct check *check, uint64_t *extra, uint32_t *group_count) {
    const struct wire_layout *layout = check->layout;
    uint32_t fields;
    if (!wire_read_array(&check->in, &fields)) {
        return fault_found(check, "body", "an array");
    }
    if (fields != layout->shape.extra + 1u) {
        return wire_fault_set(check->fault, WIRE_REJECT_MALFORMED,
                              "%s: body: has %u fields instead of %u", name_of(check), fields,
                              layout->shape.extra + 1u);
    }
    for (unsigned i = 0; i < layout->shape.extra; i++) {
        if (!read_field(check, &layout->extra[i], &extra[i])) {
            return false;
        }
    }
    if (!wire_read_array(&check->in, group_count)) {
        return fault_found(check, "groups", "an array");
    }
    if (*group_count > 0 && layout->shape.entry == 0) {
        return wire_fault_set(check->fault, WIRE_REJECT_MALFORMED, "%s: groups: %u instead of none",
                              name_of(check), *group_count);
    }
    return true;
}

/* What must hold at the end: nothing is left in the header or of the payloads. */
static bool check_end(const struct check *check) {
    const struct wire_message *message = check->message;
    if (wire_left(&check->in) != 0) {
        return wire_fault_set(check->fault, WIRE_REJECT_MALFORMED, "%s: body: %zu bytes too many",
                              name_of(check), wire_left(&check->in));
    }
    if (check->small_bytes != message->frames[1]->size) {
        return wire_fault_set(check->fault, WIRE_REJECT_MALFORMED,
                              "%s: size: they add up to %llu, small payloads are %zu bytes",
                              name_of(check), (unsigned long long)check->small_bytes,
                              message->frames[1]->size);
    }
    if (check->next_large != message->frame_count) {
        return wire_fault_set(check->fault, WIRE_REJECT_MALFORMED,
                              "%s: size: %u large frames belong to no entry", name_of(check),
                              message->frame_count - check->next_large);
    }
    return true;
}

bool wire_batch_open(struct wire_batch *batch, const struct wire_message *message,
                     struct wire_fault *fault) {
    struct wire_envelope envelope;
    struct check check = {.message = message, .fault = fault, .next_large = 2};
    uint32_t group_count = 0;
    if (!wire_open_body(&check.in, message, &envelope, fault)) {
        return false;
    }
    check.layout = wire_layout_of(envelope.type);
    if (check.layout == NULL) {
        return wire_fault_set(fault, WIRE_REJECT_TYPE, "header: type: %u is no batch",
                              envelope.type);
    }
    if (!check_body(&check, batch->extra, &group_count)) {
        return false;
    }
    const uint8_t *groups = check.in.at;
    for (uint32_t i = 0; i < group_count; i++) {
        if (!check_group(&check)) {
            return false;
        }
    }
    if (!check_end(&check)) {
        return false;
    }
    batch->message = message;
    batch->shape = &check.layout->shape;
    batch->entry_count = check.entries;
    batch->at = groups;
    batch->groups_left = group_count;
    batch->entries_left = 0;
    batch->next_large = 2;
    batch->payload_at = 0;
    return true;
}

/* From here on the bytes are known to be right. */

static inline uint64_t next_uint(struct wire_reader *in) {
    uint64_t value = 0;
    bool read = wire_read_uint(in, &value);
    BASE_ASSERT(read);
    return value;
}

static void next_group(struct wire_batch *batch, struct wire_reader *in) {
    const struct wire_shape *shape = batch->shape;
    uint32_t fields = 0, integers = 0;
    bool read = wire_read_array(in, &fields);
    for (unsigned i = 0; i < shape->key; i++) {
        batch->key[i] = next_uint(in);
    }
    read = wire_read_array(in, &integers) && read;
    BASE_ASSERT(read && integers > 0);
    batch->entries_left = integers / (shape->entry + (shape->payload ? 1u : 0u));
    batch->groups_left--;
}

static inline void next_payload(struct wire_batch *batch, struct wire_entry *entry, uint64_t size) {
    struct wire_blob *const *frames = batch->message->frames;
    entry->size = (size_t)size;
    if (BASE_LIKELY(size < WIRE_LARGE_BYTES_MIN)) {
        entry->large = NULL;
        entry->data = frames[1]->data + batch->payload_at;
        batch->payload_at += (size_t)size;
        BASE_ASSERT(batch->payload_at <= frames[1]->size);
    } else {
        BASE_ASSERT(batch->next_large < batch->message->frame_count);
        entry->large = frames[batch->next_large++];
        entry->data = entry->large->data;
    }
}

bool wire_batch_next(struct wire_batch *batch, struct wire_entry *entry) {
    const struct wire_shape *shape = batch->shape;
    const struct wire_blob *header = batch->message->frames[0];
    struct wire_reader in = {batch->at, header->data + header->size};
    entry->new_group = batch->entries_left == 0;
    if (entry->new_group) {
        if (batch->groups_left == 0) {
            return false;
        }
        next_group(batch, &in);
    }
    entry->key = batch->key;
    entry->values[0] = next_uint(&in);
    if (shape->entry > 1) {
        entry->values[1] = next_uint(&in);
        entry->values[2] = next_uint(&in);
    }
    next_payload(batch, entry, shape->payload ? next_uint(&in) : 0);
    batch->entries_left--;
    batch->at = in.at;
    return true;
}
