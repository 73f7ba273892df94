#include "wire_frames.h"

#include "base/buffer.h"
#include "wire/value.h"

static void pack(struct base_buffer *out, const char *format, va_list *arguments) {
    struct wire_value_fault fault;
    size_t count = 0;
    enum wire_value_status status = wire_value_pack(out, &count, false, format, arguments, &fault);
    if (status != WIRE_VALUE_OK) {
        fail_msg("%s: %s", format, fault.text);
    }
}

static void pack_envelope(struct base_buffer *out, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    pack(out, format, &arguments);
    va_end(arguments);
}

struct wire_message *frames_raw(const void *data, size_t size) {
    struct wire_blob *frames[1] = {wire_blob_copy(data, size)};
    assert_non_null(frames[0]);
    struct wire_message *message = wire_message_new(frames, 1);
    assert_non_null(message);
    return message;
}

struct wire_message *frames_add(struct wire_message *message, size_t size) {
    struct wire_blob *blob = wire_blob_new(size);
    assert_non_null(blob);
    memset(blob->data, 'x', size);
    message->frames[message->frame_count++] = blob;
    return message;
}

struct wire_message *frames_message(unsigned type, size_t small, const char *format, ...) {
    struct base_buffer out;
    va_list arguments;
    base_buffer_init(&out);
    assert_true(wire_value_begin_array(&out, 4));
    pack_envelope(&out, "uuu", U(type), U(0), U(0));
    va_start(arguments, format);
    pack(&out, format, &arguments);
    va_end(arguments);
    struct wire_message *message = frames_raw(out.data, out.size);
    base_buffer_fini(&out);
    return small == NO_FRAME ? message : frames_add(message, small);
}
