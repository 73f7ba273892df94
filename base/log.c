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

/* ---- structured lines ---- */

struct line {
    char *text;
    size_t size;
    size_t room; /* without the newline and the terminator */
};

static void put(struct line *line, char c) {
    if (line->size < line->room) {
        line->text[line->size++] = c;
    }
}

static void put_text(struct line *line, const char *text) {
    for (; *text != '\0'; text++) {
        put(line, *text);
    }
}

/* Puts an escape whole or not at all, so that a cut line is still well-formed up to its end. */
static void put_whole(struct line *line, const char *text) {
    if (line->room - line->size >= strlen(text)) {
        put_text(line, text);
    } else {
        line->room = line->size;
    }
}

static void put_quoted(struct line *line, const char *text) {
    static const char hex[] = "0123456789abcdef";

    put(line, '"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        char escape[5] = {'\\', (char)c, '\0', '\0', '\0'};

        if (c == '\n') {
            escape[1] = 'n';
        } else if (c < 0x20 || c == 0x7f) {
            escape[1] = 'x';
            escape[2] = hex[c >> 4];
            escape[3] = hex[c & 15];
        } else if (c != '"' && c != '\\') {
            put(line, (char)c);
            continue;
        }
        put_whole(line, escape);
    }
    put(line, '"');
}

static void put_fields(struct line *line, const char *fields) {
    if (fields == NULL || *fields == '\0') {
        return;
    }
    put(line, ' ');
    for (; *fields != '\0'; fields++) {
        unsigned char c = (unsigned char)*fields;

        put(line, c < 0x20 || c == 0x7f ? '?' : (char)c);
    }
}

static void put_time(struct line *line, uint64_t unix_ms) {
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm utc;
    char text[64];

    if (gmtime_r(&seconds, &utc) == NULL) {
        memset(&utc, 0, sizeof utc);
    }
    (void)snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", utc.tm_year + 1900,
                   utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                   (unsigned)(unix_ms % 1000));
    put_text(line, text);
}

size_t base_log_line(char *text, size_t text_bytes, uint64_t unix_ms, enum base_log_level level,
                     const char *message, const char *constant_fields, const char *fields) {
    struct line line = {.text = text, .size = 0, .room = text_bytes - 2};

    BASE_ASSERT(text_bytes >= 2);
    put_text(&line, "ts=");
    put_time(&line, unix_ms);
    put_text(&line, " level=");
    put_text(&line, base_log_level_name(level));
    put_text(&line, " msg=");
    put_quoted(&line, message);
    put_fields(&line, constant_fields);
    put_fields(&line, fields);
    text[line.size++] = '\n';
    text[line.size] = '\0';
    return line.size;
}

void base_log_stderr(void *user, enum base_log_level level, const char *message,
                     const char *fields) {
    /* Every byte of the message may become an escape of four. */
    char line[4 * BASE_LOG_MESSAGE_BYTES + 2 * BASE_LOG_FIELDS_BYTES + 128];
    struct timespec now;
    size_t size;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    size = base_log_line(line, sizeof line,
                         (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, level,
                         message, user, fields);
    if (write(STDERR_FILENO, line, size) < 0) {
        return; /* a log that can't be written is no reason to stop working */
    }
}
