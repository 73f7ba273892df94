/* Writes the corpus that fuzzing starts from: make_corpus DIRECTORY (with message/ and value/). The
 * files in tests/fuzz/corpus are made so; make them anew when the protocol changes. */
#include "tests/fuzz/wire_exercise.h"

#include "base/buffer.h"
#include "wire/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void save(const char *directory, const char *name, const void *data, size_t size) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

static void save_messages(const char *directory) {
    struct wire_message *message;
    for (unsigned i = 0; (message = exercise_sample(i)) != NULL; i++) {
        char name[64];
        struct wire_envelope envelope;
        struct wire_fault fault;
        size_t size;
        uint8_t *bytes = exercise_write_message(message, &size);
        if (bytes == NULL || !wire_open(message, &envelope, &fault)) {
            fprintf(stderr, "sample %u can't be written\n", i);
            exit(1);
        }
        snprintf(name, sizeof name, "message/%s-%u", wire_type_name(envelope.type), i);
        save(directory, name, bytes, size);
        free(bytes);
        wire_message_unref(message);
    }
}

static void save_value(const char *directory, const char *name, const char *unpack_format,
                       const char *format, ...) {
    struct base_buffer out;
    struct wire_value_fault fault;
    size_t count = 0;
    va_list arguments;
    base_buffer_init(&out);
    base_buffer_append_u8(&out, (uint8_t)strlen(unpack_format));
    base_buffer_append(&out, unpack_format, strlen(unpack_format));
    va_start(arguments, format);
    enum wire_value_status status = wire_value_pack(&out, &count, true, format, &arguments, &fault);
    va_end(arguments);
    if (status != WIRE_VALUE_OK) {
        fprintf(stderr, "%s: %s\n", name, fault.text);
        exit(1);
    }
    save(directory, name, out.data, out.size);
    base_buffer_fini(&out);
}

static void save_values(const char *directory) {
    static char text[300];
    memset(text, 'x', sizeof text - 1);
    save_value(directory, "value/integers", "iiiiuuuu", "iiiiuuuu", INT64_C(-1), INT64_C(-200),
               INT64_C(-70000), INT64_MIN, UINT64_C(1), UINT64_C(200), UINT64_C(70000), UINT64_MAX);
    save_value(directory, "value/scalars", "dbnbd", "dbnbi", 1.5, 1, 0, INT64_C(7));
    save_value(directory, "value/strings", "sS B", "sSB", text, "short", (size_t)5, "\0\1\2",
               (size_t)3);
    save_value(directory, "value/arrays", "[i[u]{Si}]", "[i[u]{Si}]", INT64_C(1), UINT64_C(2), "k",
               (size_t)1, INT64_C(3));
    save_value(directory, "value/deep", "v*",
               "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]"
               "]]]]]]]]]]]]");
    save_value(directory, "value/pointer", "p", "p", (void *)text);
    save_value(directory, "value/whole", "v i *", "[ii]iss", INT64_C(1), INT64_C(2), INT64_C(3),
               "rest", "more");
    save_value(directory, "value/error", "v", "[isssiuii]", INT64_C(3), "boom", "do_work", "host",
               INT64_C(4711), UINT64_C(1), INT64_C(11), INT64_C(-1));
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: make_corpus DIRECTORY\n");
        return 2;
    }
    save_messages(argv[1]);
    save_values(argv[1]);
    return 0;
}
