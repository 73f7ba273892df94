#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};

const char *base_log_level_name(enum base_log_level level) {
    BASE_ASSERT((unsigned)level < sizeof level_names / sizeof level_names[0]);
    return level_names[level];
}

bool base_log_level_parse(const char *name, enum base_log_level *level) {
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum base_log_level)i;
            return true;
        }
    }
    return false;
}

static __attribute__((format(printf, 3, 0))) void format_cut(char *text, size_t text_bytes,
                                                             const char *format, va_list args) {
    int length = vsnprintf(text, text_bytes, format, args);

    if (length < 0) {
        (void)snprintf(text, text_bytes, "(message could not be formatted)");
    } else if ((size_t)length >= text_bytes) {
        memcpy(text + text_bytes - 4, "...", 4);
    }
}

void base_log(const struct base_log *log, enum base_log_level level, const char *format, ...) {
    char message[BASE_LOG_MESSAGE_BYTES];
    int saved = errno;
    va_list args;

    if (!base_log_enabled(log, level)) {
        return;
    }
    va_start(args, format);
    format_cut(message, sizeof message, format, args);
    va_end(args);
    log->callback(log->user, level, message, "");
    errno = saved;
}

void base_log_fields(const struct base_log *log, enum base_log_level level, const char *message,
                     const char *format, ...) {
    char fields[BASE_LOG_FIELDS_BYTES];
    int saved = errno;
    va_list args;

    if (!base_log_enabled(log, level)) {
        return;
    }
    va_start(args, format);
    format_cut(fields, sizeof fields, format, args);
    va_end(args);
    log->callback(log->user, level, message, fields);
    errno = saved;
}

void base_log_stderr(void *user, enum base_log_level level, const char *message,
                     const char *fields) {
    /* Every byte of the message and the fields may become an escape of six. */
    char line[6 * BASE_LOG_MESSAGE_BYTES + 12 * BASE_LOG_FIELDS_BYTES + 256];
    const struct base_log_stderr_user *how = user;
    struct timespec now;
    size_t size;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    size = base_log_line(line, sizeof line, how->format,
                         (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, level,
                         message, how->fields, fields);
    if (write(STDERR_FILENO, line, size) < 0) {
        return; /* a log that can't be written is no reason to stop working */
    }
}

void base_log_event(const struct base_log *log, enum base_log_level level, const char *message,
                    const char *fields) {
    int saved = errno;

    if (base_log_enabled(log, level)) {
        log->callback(log->user, level, message, fields);
        errno = saved;
    }
}
