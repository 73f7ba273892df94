/* Writes the corpus that fuzzing starts from: make_corpus DIRECTORY, which has a directory for each
 * target. The files with names in tests/fuzz/corpus are made so; make them anew when the protocol
 * changes. Those whose names are hashes were found by fuzzing, and are kept for the code that they
 * reach; those that begin with "found-" once showed a mistake. */
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
    save_value(directory, "value/pointer", "p", "p", (void *)(uintptr_t)0x1234);
    save_value(directory, "value/whole", "v i *", "[ii]iss", INT64_C(1), INT64_C(2), INT64_C(3),
               "rest", "more");
    save_value(directory, "value/error", "v", "[isssiuii]", INT64_C(3), "boom", "do_work", "host",
               INT64_C(4711), UINT64_C(1), INT64_C(11), INT64_C(-1));
    save_value(directory, "value/initializer", "vi", "[sB]i", "set_up", "\5", (size_t)1,
               INT64_C(42));
}

/* -------------------------------------------------------------------- scripts */

/* What a script for one of the cores means is said by its target: fuzz_broker.c and so on. */
#define HELLOS                                                                                     \
    "\x00\x00\x00\x00" /* a client */                                                              \
    "\x03\x00\x07\x00" /* a worker, for all functions */                                           \
    "\x03\x0b\x80"     /* which claims nothing */                                                  \
    "\x07\x00\x00\x00" /* a supervisor */
#define DEFINE "\x00\x00\x00\x00"
#define SUBMIT "\x00\x04\x03\x08\x00\x08\x01\x08\x02" /* three tasks */
#define FLUSH  "\x80\x02"
#define WAIT   "\x80\x01\x28" /* a while */

#define KEY       "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define OTHER_KEY "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"

static const struct script {
    const char *name, *bytes;
    size_t size;
} scripts[] = {
#define SCRIPT(name, bytes)                                                                        \
    { name, bytes, sizeof(bytes) - 1 }
    SCRIPT("broker/tasks", HELLOS DEFINE SUBMIT FLUSH "\x03\x00" FLUSH),
    SCRIPT("broker/cancels",
           HELLOS DEFINE SUBMIT "\x00\x0c\x01\x01" FLUSH "\x00\x0c\x02\x00\x02" FLUSH
                                "\x03\x09\x01\x01\x00" FLUSH "\x03\x00" FLUSH),
    SCRIPT("broker/death", HELLOS DEFINE SUBMIT FLUSH "\x07\x00\x44\x00" WAIT FLUSH WAIT),
    SCRIPT("broker/resent", HELLOS DEFINE "\x00\x04\x01\x68\x00" WAIT FLUSH "\x03\x00" FLUSH),
    SCRIPT("broker/restart", HELLOS DEFINE SUBMIT FLUSH
           "\x80\xee" HELLOS DEFINE "\x00\x04\x01\x68\x00\x03\x0b\x81\x00" WAIT FLUSH
           "\x03\x00" FLUSH),
    SCRIPT("broker/reconnect",
           HELLOS DEFINE SUBMIT FLUSH "\x83\x03\x00\x03\x00\x07\x00"
                                      "\x80\x03\x00\x00\x00\x00\x00" FLUSH "\x03\x00" FLUSH),
    SCRIPT("broker/drain", HELLOS DEFINE SUBMIT FLUSH "\x80\xfe\x03\x00" FLUSH WAIT),
    SCRIPT("broker/leave", HELLOS DEFINE SUBMIT FLUSH "\x80\xc6\x83\xce" FLUSH WAIT),
    SCRIPT("broker/admin",
           "\x06\x00\x00\x00" HELLOS DEFINE SUBMIT FLUSH "\x06\x00\x01\x06\x01\x01\x06\x01\x02"
           "\x06\x01\x03\x06\x01\x04\x06\x01\x00\x06\x02\x00\x01\x06\x03\x03" FLUSH),
    SCRIPT("keys/secret", "\x00# ours\nsecret " KEY "\n"),
    SCRIPT("keys/public", "\x01\npublic " KEY),
    SCRIPT("keys/letters", "\x02" KEY),
    SCRIPT("keys/list",
           "\x03# who may come in\nsubmit,work " KEY " name=alice tasks=1000 bytes=4G\n"
           "admin " OTHER_KEY "\n"),
    /* Behind the first byte, pairs: what happens, and how. The broker says RUN, the pool works. */
    SCRIPT("worker/tasks",
           "\x00\x05\x00\x04\x00\x00\x00\x03\x00\x00\x00\x01\x00\x02\x03\x00\x02\x00"
           "\x01\x02\x00\x00\x04\x00\x00\x08\x00\x04\x00"),
    SCRIPT("worker/recall",
           "\x00\x05\x00\x04\x00\x00\x00\x03\x00\x00\x00\x01\x00\x02\x00\x04\x0a\x00"
           "\x01\x03\x00\x00\x05\x01\x02\x04\x00"),
    SCRIPT("worker/limits",
           "\x00\x05\x00\x04\x00\x00\x00\x01\x00\x80\x03\x00\x04\x80\x28\x04\x80\x2f"),
    SCRIPT("worker/new-broker",
           "\x00\x05\x00\x04\x00\x00\x00\x02\x00\x00\x00\x01\x02\x00\x01\x04\x00"
           "\x00\x0a\x04\x80\x28\x05\x08\x04\x00"),
    SCRIPT("worker/retire",
           "\x03\x05\x00\x04\x00\x00\x00\x07\x00\x00\x00\x01\x00\x02\x00\x03\x00\x04"
           "\x00\x05\x00\x06\x04\x00\x02\x00\x00\x04\x00"),
    SCRIPT("client/tasks",
           "\x00\x05\x00\x00\x02\xb8\x02\x10\x04\x00\x00\x00\x02\x00\x00\x01\x00\x04\x00"),
    SCRIPT("client/cancels",
           "\x00\x05\x00\x00\x02\xb8\x02\x10\x04\x00\x03\x00\x03\x01\x04\x00\x00\x03\x02"
           "\x00\x00\x01\x01\x03\xf0"),
    SCRIPT("client/limits", "\x00\x02\x03\x04\x80\x2f\x05\x00\x00\x02\xb8\x02\x13\x04\x80\x2f"),
    SCRIPT("client/new-broker",
           "\x00\x05\x00\x00\x02\xb8\x02\x10\x04\x00\x00\x0a\x04\x80\x28\x05\x08"
           "\x00\x02\xb8\x04\x00\x00\x00\x01\x00\x00"),
    SCRIPT("client/refused", "\x00\x02\x00\x00\xcb\x04\x80\x2f"),
    SCRIPT("link/stream", "\x07\x00\x02\x00\x04\x07\x04\x07"),
    SCRIPT("link/break", "\x07\x00\x00\x02\x02\x0d\x0a\x28\x0b\x07\x04\x04\x07\x07"),
    SCRIPT("link/gap", "\x07\x00\x00\x0e\x04\x07\x04\x04"),
    SCRIPT("link/stranger", "\x07\x0f\x10\x00\x00\x0f\x04\x00\x00\x0f\x10\xf0"),
};

static void save_scripts(const char *directory) {
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        save(directory, scripts[i].name, scripts[i].bytes, scripts[i].size);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: make_corpus DIRECTORY\n");
        return 2;
    }
    save_messages(argv[1]);
    save_values(argv[1]);
    save_scripts(argv[1]);
    return 0;
}
