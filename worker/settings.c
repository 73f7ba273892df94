#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/buffer.h"
#include "base/options.h"
#include "base/pool.h"
#include "task/registry.h"
#include "worker/child.h"
#include "worker/wiring.h"

/* ---- settings ---- */

static void add(struct base_buffer *out, unsigned *count, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Appends one terminated string. */
static void add(struct base_buffer *out, unsigned *count, const char *format, ...) {
    va_list arguments;
    uint8_t *at;
    int size;

    va_start(arguments, format);
    size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    BASE_ASSERT(size >= 0);
    at = base_buffer_reserve(out, (size_t)size + 1);
    if (at == NULL) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf((char *)at, (size_t)size + 1, format, arguments);
    va_end(arguments);
    base_buffer_commit(out, (size_t)size + 1);
    (*count)++;
}

static void add_all(struct base_buffer *out, unsigned *count,
                    const struct worker_settings *settings) {
    add(out, count, WORKER_CHILD_ARGUMENT "%s", furrow_version());
    add(out, count, "session=%016" PRIx64 "%016" PRIx64, settings->session.high,
        settings->session.low);
    add(out, count, "endpoint=%s", settings->endpoint);
    if (settings->key != NULL) {
        add(out, count, "key=%s", settings->key);
        add(out, count, "server=%s", settings->server);
    }
    add(out, count, "name=%s", settings->name);
    add(out, count, "threads=%u", settings->threads);
    add(out, count, "tasks_max=%" PRIu64, settings->tasks_max);
    add(out, count, "grace_ns=%" PRIu64, settings->grace_ns);
    add(out, count, "log=%s", base_log_level_name(settings->log_level));
    if (settings->initializer != NULL) {
        add(out, count, "initializer=%s", settings->initializer);
    }
    if (settings->arguments) {
        add(out, count, "arguments=%d", (int)WORKER_FD_ARGS);
    }
    if (settings->shared) {
        add(out, count, "shared=%d", (int)WORKER_FD_OWN);
    }
    for (uint32_t i = 0; i < settings->module_count; i++) {
        add(out, count, "module=%s", settings->modules[i]);
    }
    for (uint32_t i = 0; i < settings->tag_count; i++) {
        add(out, count, "tag=%s", settings->tags[i]);
    }
}

char **worker_settings_print(const struct worker_settings *settings, const char *argv0) {
    struct base_buffer text;
    unsigned count = 0;
    char **argv = NULL;
    char *at;

    base_buffer_init(&text);
    add(&text, &count, "%s", argv0);
    add_all(&text, &count, settings);
    if (!text.failed) {
        argv = malloc((count + 1) * sizeof *argv + text.size);
    }
    if (argv != NULL) {
        at = (char *)(argv + count + 1);
        memcpy(at, text.data, text.size);
        for (unsigned i = 0; i < count; i++) {
            argv[i] = at;
            at += strlen(at) + 1;
        }
        argv[count] = NULL;
    }
    base_buffer_fini(&text);
    return argv;
}

static bool parse_session(const char *text, struct wire_session *session) {
    return strlen(text) == 32 &&
           sscanf(text, "%16" SCNx64 "%16" SCNx64, &session->high, &session->low) == 2;
}

static bool parse_one(struct worker_settings *settings, const char *key, size_t key_size,
                      const char *value) {
#define KEY(name) (key_size == sizeof(name) - 1 && memcmp(key, name, key_size) == 0)
    uint64_t number;

    if (KEY("session")) {
        return parse_session(value, &settings->session);
    } else if (KEY("endpoint")) {
        settings->endpoint = value;
    } else if (KEY("key")) {
        settings->key = value;
    } else if (KEY("server")) {
        settings->server = value;
    } else if (KEY("name")) {
        settings->name = value;
    } else if (KEY("initializer")) {
        settings->initializer = value;
    } else if (KEY("threads")) {
        if (!base_option_number(value, 1, BASE_POOL_THREADS_MAX, &number)) {
            return false;
        }
        settings->threads = (unsigned)number;
    } else if (KEY("tasks_max")) {
        return base_option_number(value, 0, UINT64_MAX, &settings->tasks_max);
    } else if (KEY("grace_ns")) {
        return base_option_number(value, 0, UINT64_MAX, &settings->grace_ns);
    } else if (KEY("log")) {
        return base_log_level_parse(value, &settings->log_level);
    } else if (KEY("arguments")) {
        settings->arguments = true;
    } else if (KEY("shared")) {
        settings->shared = true;
    } else if (KEY("module")) {
        settings->modules[settings->module_count++] = value;
    } else if (KEY("tag")) {
        settings->tags[settings->tag_count++] = value;
    } else {
        return false;
    }
    return true;
#undef KEY
}

const char *worker_settings_parse(struct worker_settings *settings, int argc, char *const *argv) {
    const char *wrong = NULL;

    memset(settings, 0, sizeof *settings);
    if (!worker_is_child(argc, argv)) {
        return "not a worker process";
    }
    if (strcmp(argv[1] + sizeof(WORKER_CHILD_ARGUMENT) - 1, furrow_version()) != 0) {
        return "the supervisor has another version of the library";
    }
    settings->log_level = BASE_LOG_WARN;
    settings->modules = calloc((size_t)argc, sizeof *settings->modules);
    settings->tags = calloc((size_t)argc, sizeof *settings->tags);
    if (settings->modules == NULL || settings->tags == NULL) {
        wrong = "out of memory";
    }
    for (int i = 2; i < argc && wrong == NULL; i++) {
        const char *equals = strchr(argv[i], '=');

        if (equals == NULL ||
            !parse_one(settings, argv[i], (size_t)(equals - argv[i]), equals + 1)) {
            wrong = "an argument is malformed";
        }
    }
    if (wrong == NULL &&
        (settings->endpoint == NULL || settings->name == NULL || settings->threads == 0 ||
         (settings->key != NULL) != (settings->server != NULL) ||
         settings->tag_count > WIRE_TAGS_MAX)) {
        wrong = "an argument is missing";
    }
    if (wrong != NULL) {
        worker_settings_fini(settings);
    }
    return wrong;
}

void worker_settings_fini(struct worker_settings *settings) {
    free(settings->modules);
    free(settings->tags);
    memset(settings, 0, sizeof *settings);
}

/* ---- records ---- */

#define RECORD_HEAD_BYTES offsetof(struct worker_record, text)

bool worker_record_send(int fd, enum worker_record_type type, enum base_log_level level,
                        const char *text) {
    struct worker_record record = {.type = type, .level = level};
    size_t size = text == NULL ? 0 : strnlen(text, sizeof record.text - 1);
    int saved = errno;
    ssize_t sent;

    if (size > 0) {
        memcpy(record.text, text, size);
    }
    do {
        sent = send(fd, &record, RECORD_HEAD_BYTES + size + 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    errno = saved;
    return sent >= 0;
}

int worker_record_receive(int fd, struct worker_record *record) {
    ssize_t size;

    do {
        size = recv(fd, record, sizeof *record, MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    if (size < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
    }
    if ((size_t)size <= RECORD_HEAD_BYTES) {
        return -1;
    }
    record->text[(size_t)size - RECORD_HEAD_BYTES - 1] = '\0';
    return 1;
}
