/* Logging by a hook. There is no global log: an object is handed along, and what it says goes to its
 * callback. The library writes nothing by itself; daemons use the ready-made hook for stderr. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum base_log_level { BASE_LOG_ERROR, BASE_LOG_WARN, BASE_LOG_INFO, BASE_LOG_DEBUG };

/* Longer messages and fields are cut, with "..." at the end. */
#define BASE_LOG_MESSAGE_BYTES 512
#define BASE_LOG_FIELDS_BYTES  512

/* The hook gets the message and, apart from it, `key=value` pairs separated by spaces (or ""). Both
 * are borrowed for the call. It is called in whichever thread logs, and by several at once. */
typedef void base_log_callback(void *user, enum base_log_level level, const char *message,
                               const char *fields);

struct base_log {
    base_log_callback *callback; /* NULL: nothing is logged */
    void *user;                  /* the callback's own */
    enum base_log_level level;   /* more detailed ones than this are dropped unformatted */
};

/* base_log_enabled tells whether such a message would reach the hook; false for a NULL log. */
static inline bool base_log_enabled(const struct base_log *log, enum base_log_level level) {
    return log != NULL && log->callback != NULL && level <= log->level;
}

/* base_log formats a message and hands it to the hook. `log` may be NULL. errno is preserved.
 * Any thread may call it; it blocks as long as the hook does. */
void base_log(const struct base_log *log, enum base_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* base_log_fields does the same with a constant message and formatted fields:
 *     base_log_fields(log, BASE_LOG_WARN, "worker lost", "worker=%u signal=%d", id, sig);
 * Text of foreign origin would pose as other fields there: base_log_quote makes a value of it, or it
 * belongs into the message of base_log, which is escaped. */
void base_log_fields(const struct base_log *log, enum base_log_level level, const char *message,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* base_log_event hands both over as they are. */
void base_log_event(const struct base_log *log, enum base_log_level level, const char *message,
                    const char *fields);

const char *base_log_level_name(enum base_log_level level);

/* base_log_level_parse reads "error", "warn", "info" or "debug". Returns false for anything else. */
bool base_log_level_parse(const char *name, enum base_log_level *level);

/* base_log_quote writes a text as the value of a field, terminated and cut to fit, and returns `value`:
 * as it is if it can't be misread, else in quotes, with \", \\, \n and \xHH for what would disturb there.
 * value_bytes: at least 8. Pure. */
const char *base_log_quote(char *value, size_t value_bytes, const char *text);

/* What a line looks like. */
enum base_log_format {
    BASE_LOG_LOGFMT, /* ts=2024-05-01T12:00:00.123Z level=warn msg="worker lost" role=broker worker=7 */
    BASE_LOG_JSON, /* {"ts":"2024-05-01T12:00:00.123Z","level":"warn","msg":"worker lost",...} */
    BASE_LOG_TEXT, /* 2024-05-01T12:00:00.123Z warn  worker lost  role=broker worker=7 */
};

/* base_log_format_parse reads "logfmt", "json" or "text". Returns false for anything else. */
bool base_log_format_parse(const char *name, enum base_log_format *format);

/* base_log_line writes one line, newline included, into `line` (cut to fit, always terminated), and
 * returns its length. unix_ms is the time of day in milliseconds; constant_fields may be NULL.
 *
 * Quotes, backslashes and control characters of the message are escaped; control characters in fields
 * become '?'. In JSON fields are members: numbers where they look like one, else strings, and what has
 * no `=` is true; what is no UTF-8 becomes U+FFFD; a line that doesn't fit is cut so that it is JSON
 * all the same (line_bytes: at least 128). */
size_t base_log_line(char *line, size_t line_bytes, enum base_log_format format, uint64_t unix_ms,
                     enum base_log_level level, const char *message, const char *constant_fields,
                     const char *fields);

/* base_log_stderr is a hook that writes such lines to stderr, each by one write. `user` is this: */
struct base_log_stderr_user {
    const char *fields; /* constant ones, a string such as "role=broker", or NULL */
    enum base_log_format format;
};
void base_log_stderr(void *user, enum base_log_level level, const char *message,
                     const char *fields);

#endif
