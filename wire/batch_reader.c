#include "wire/batch.h"
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

/* Reads an integer in one of the forms that we write ourselves, with room for 9 bytes behind `at`. NULL:
 * it has another form. */
static inline const uint8_t *quick_uint(const uint8_t *at, uint64_t *value) {
    if (*at < 0x80) {
        *value = *at;
        return at + 1;
    }
    switch (*at) {
    case 0xcf:
        *value = wire_load64(at + 1);
        return at + 9;
    case 0xce:
        *value = wire_load32(at + 1);
        return at + 5;
    case 0xcd:
        *value = wire_load16(at + 1);
        return at + 3;
    case 0xcc:
        *value = at[1];
        return at + 2;
    default:
        return NULL;
    }
}

/* Checks an entry with a small payload, whose bytes are all there even if it is as long as can be. NULL:
 * it has to be read with more care, or is wrong. */
static inline const uint8_t *quick_entry(const struct check *check, const uint8_t *at,
                                         const unsigned integers, const bool payload,
                                         uint64_t *size) {
    const struct wire_field *fields = check->layout->entry;
    uint64_t value;
    for (unsigned j = 0; j < integers; j++) {
        at = quick_uint(at, &value);
        if (at == NULL || value < fields[j].min || value > fields[j].max) {
            return NULL;
        }
    }
    if (payload) {
        at = quick_uint(at, size);
        return at == NULL || *size >= WIRE_LARGE_BYTES_MIN ? NULL : at;
    }
    return at;
}

static bool careful_entry(struct check *check, unsigned integers, bool payload) {
    static const struct wire_field size_field = {"size", 0, UINT64_MAX};
    uint64_t value;
    for (unsigned j = 0; j < integers; j++) {
        if (!read_field(check, &check->layout->entry[j], &value)) {
            return false;
        }
    }
    if (!payload) {
        return true;
    }
    if (!read_field(check, &size_field, &value)) {
        return false;
    }
    if (value >= WIRE_LARGE_BYTES_MIN) {
        return check_large(check, value);
    }
    check->small_bytes += value;
    return true;
}

/* Inlined for each shape, so that its counts are constants. */
static inline __attribute__((always_inline)) bool check_entries(struct check *check, uint32_t count,
                                                                const unsigned integers,
                                                                const bool payload) {
    const size_t most = (integers + (payload ? 1u : 0u)) * WIRE_UINT_BYTES_MAX;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t size = 0;
        const uint8_t *next = wire_left(&check->in) < most
                                  ? NULL
                                  : quick_entry(check, check->in.at, integers, payload, &size);
        if (BASE_LIKELY(next != NULL)) {
            check->in.at = next;
            check->small_bytes += size;
        } else if (!careful_entry(check, integers, payload)) {
            return false;
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
    batch->payload_at = message->frames[1]->data;
    return true;
}

/* From here on the bytes are known to be right. */

static struct wire_reader reader_of(const struct wire_batch *batch) {
    const struct wire_blob *header = batch->message->frames[0];
    return (struct wire_reader){batch->at, header->data + header->size};
}

uint64_t wire_batch_uint_slow(struct wire_batch *batch) {
    struct wire_reader in = reader_of(batch);
    uint64_t value = 0;
    bool read = wire_read_uint(&in, &value);
    BASE_ASSERT(read);
    batch->at = in.at;
    return value;
}

static uint32_t next_array(struct wire_batch *batch) {
    struct wire_reader in = reader_of(batch);
    uint32_t count = 0;
    bool read = wire_read_array(&in, &count);
    BASE_ASSERT(read && count > 0);
    batch->at = in.at;
    return count;
}

bool wire_batch_next_group(struct wire_batch *batch) {
    const struct wire_shape *shape = batch->shape;
    if (batch->groups_left == 0) {
        return false;
    }
    next_array(batch);
    for (unsigned i = 0; i < shape->key; i++) {
        batch->key[i] = wire_batch_uint(batch);
    }
    batch->entries_left = next_array(batch) / (shape->entry + (shape->payload ? 1u : 0u));
    batch->groups_left--;
    return true;
}

struct wire_blob *wire_batch_next_large(struct wire_batch *batch) {
    BASE_ASSERT(batch->next_large < batch->message->frame_count);
    return batch->message->frames[batch->next_large++];
}

bool wire_batch_next(struct wire_batch *batch, struct wire_entry *entry) {
    return wire_batch_next_quick(batch, *batch->shape, entry);
}
