/* Lines of a log, and values of fields: pure. */
#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"

static const char *const format_names[] = {"logfmt", "json", "text"};

bool base_log_format_parse(const char *name, enum base_log_format *format) {
    for (size_t i = 0; i < sizeof format_names / sizeof format_names[0]; i++) {
        if (strcmp(name, format_names[i]) == 0) {
            *format = (enum base_log_format)i;
            return true;
        }
    }
    return false;
}

/* A line that is being written. What doesn't fit whole is left out, and all that follows. */
struct line {
    char *text;
    size_t size;
    size_t room;
    bool full;
};

static void put_bytes(struct line *line, const char *text, size_t size) {
    if (line->full || line->room - line->size < size) {
        line->full = true;
        return;
    }
    memcpy(line->text + line->size, text, size);
    line->size += size;
}

static void put(struct line *line, const char *text) {
    put_bytes(line, text, strlen(text));
}

static bool is_control(unsigned char c) {
    return c < 0x20 || c == 0x7f;
}

/* One byte as an escape of logfmt. */
static void put_escape(struct line *line, unsigned char c) {
    char escape[8];

    if (c == '\n') {
        put(line, "\\n");
    } else if (is_control(c)) {
        (void)snprintf(escape, sizeof escape, "\\x%02x", c);
        put(line, escape);
    } else {
        (void)snprintf(escape, sizeof escape, "\\%c", c);
        put(line, escape);
    }
}

static void put_escaped(struct line *line, const char *text, const char *special) {
    for (; *text != '\0'; text++) {
        if (is_control((unsigned char)*text) || strchr(special, *text) != NULL) {
            put_escape(line, (unsigned char)*text);
        } else {
            put_bytes(line, text, 1);
        }
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
    put(line, text);
}

/* ------------------------------------------------------------ logfmt, text */

/* Fields are in this form already. */
static void put_fields(struct line *line, const char *before, const char *fields) {
    if (fields == NULL || *fields == '\0') {
        return;
    }
    put(line, before);
    for (; *fields != '\0'; fields++) {
        put_bytes(line, is_control((unsigned char)*fields) ? "?" : fields, 1);
    }
}

static void put_logfmt(struct line *line, uint64_t unix_ms, enum base_log_level level,
                       const char *message, const char *constant_fields, const char *fields) {
    put(line, "ts=");
    put_time(line, unix_ms);
    put(line, " level=");
    put(line, base_log_level_name(level));
    put(line, " msg=\"");
    put_escaped(line, message, "\"\\");
    put(line, "\"");
    put_fields(line, " ", constant_fields);
    put_fields(line, " ", fields);
}

static void put_plain(struct line *line, uint64_t unix_ms, enum base_log_level level,
                      const char *message, const char *constant_fields, const char *fields) {
    char name[16];

    put_time(line, unix_ms);
    (void)snprintf(name, sizeof name, " %-5s ", base_log_level_name(level));
    put(line, name);
    put_escaped(line, message, "\\");
    put_fields(line, "  ", constant_fields);
    put_fields(line, constant_fields == NULL || *constant_fields == '\0' ? "  " : " ", fields);
}

/* -------------------------------------------------------------------- JSON */

/* How many bytes the UTF-8 character has; 0: it is none. The text is terminated, which no byte of a
 * character is. */
static size_t utf8(const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    size_t size = at[0] < 0x80             ? 1
                  : (at[0] & 0xe0) == 0xc0 ? 2
                  : (at[0] & 0xf0) == 0xe0 ? 3
                  : (at[0] & 0xf8) == 0xf0 ? 4
                                           : 0;
    unsigned long code = size == 1 ? at[0] : at[0] & (0x7fu >> size);
    static const unsigned long least[] = {0, 0, 0x80, 0x800, 0x10000};

    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (at[i] & 0x3f);
    }
    return size == 0 || code < least[size] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)
               ? 0
               : size;
}

/* One character of a string, and returns how many bytes of the text it was. */
static size_t put_character(struct line *line, const char *text) {
    size_t size = utf8(text);
    char escape[8];

    if (size == 0) {
        put(line, "\\ufffd");
        return 1;
    }
    if (*text == '"' || *text == '\\') {
        put_bytes(line, (const char[]){'\\', *text}, 2);
    } else if (size == 1 && is_control((unsigned char)*text)) {
        (void)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)(unsigned char)*text);
        put(line, escape);
    } else {
        put_bytes(line, text, size);
    }
    return size;
}

static void put_string(struct line *line, const char *text, size_t size) {
    char c[5];

    put(line, "\"");
    for (size_t at = 0; at < size;) {
        size_t left = size - at < 4 ? size - at : 4;

        memcpy(c, text + at, left); /* so that a character never reaches beyond the end */
        c[left] = '\0';
        at += put_character(line, c);
    }
    put(line, "\"");
}

/* Whether JSON takes the value for a number as it stands. */
static bool is_number(const char *text, size_t size) {
    size_t at = size > 0 && text[0] == '-';
    size_t digits = 0;

    while (at < size && text[at] >= '0' && text[at] <= '9') {
        at++;
        digits++;
    }
    if (digits == 0 || digits > 19 || (digits > 1 && text[at - digits] == '0')) {
        return false;
    }
    if (at < size && text[at] == '.') {
        size_t from = ++at;

        while (at < size && text[at] >= '0' && text[at] <= '9') {
            at++;
        }
        return at == size && at > from;
    }
    return at == size;
}

static int hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes base_log_quote. Returns where the value ends, behind its quote. */
static const char *unquote(const char *at, char *plain, size_t plain_bytes, size_t *size) {
    *size = 0;
    for (at++; *at != '\0' && *at != '"'; at++) {
        char c = *at;

        if (c == '\\' && at[1] == 'x' && hex(at[2]) >= 0 && hex(at[3]) >= 0) {
            c = (char)(hex(at[2]) * 16 + hex(at[3]));
            at += 3;
        } else if (c == '\\' && at[1] != '\0') {
            c = at[1] == 'n' ? '\n' : at[1];
            at++;
        }
        if (*size < plain_bytes) {
            plain[(*size)++] = c;
        }
    }
    return *at == '"' ? at + 1 : at;
}

/* One field as a member; a member that doesn't fit is left out whole. Returns where the field ends. */
static const char *put_member(struct line *line, const char *field) {
    size_t key_size = strcspn(field, " ="), size;
    char plain[BASE_LOG_FIELDS_BYTES];
    const char *end = field + key_size;
    struct line before = *line;

    put(line, ",");
    put_string(line, field, key_size);
    put(line, ":");
    if (*end != '=') {
        put(line, "true");
    } else if (end[1] == '"') {
        end = unquote(end + 1, plain, sizeof plain, &size);
        put_string(line, plain, size);
    } else {
        const char *value = end + 1;

        size = strcspn(value, " ");
        end = value + size;
        if (is_number(value, size)) {
            put_bytes(line, value, size);
        } else {
            put_string(line, value, size);
        }
    }
    if (line->full) {
        line->size = before.size;
    }
    return end;
}

static void put_members(struct line *line, const char *fields) {
    while (fields != NULL && *fields != '\0') {
        if (*fields == ' ') {
            fields++;
        } else {
            fields = put_member(line, fields);
        }
    }
}

static void put_json(struct line *line, uint64_t unix_ms, enum base_log_level level,
                     const char *message, const char *constant_fields, const char *fields) {
    line->room -= 2; /* the end of the string and of the object always fit */
    put(line, "{\"ts\":\"");
    put_time(line, unix_ms);
    put(line, "\",\"level\":\"");
    put(line, base_log_level_name(level));
    put(line, "\",\"msg\":\"");
    for (const char *at = message; *at != '\0';) {
        at += put_character(line, at);
    }
    line->room++;
    line->full = false;
    put(line, "\"");
    put_members(line, constant_fields);
    put_members(line, fields);
    line->room++;
    line->full = false;
    put(line, "}");
}

size_t base_log_line(char *text, size_t text_bytes, enum base_log_format format, uint64_t unix_ms,
                     enum base_log_level level, const char *message, const char *constant_fields,
                     const char *fields) {
    struct line line = {.text = text, .room = text_bytes - 2};

    BASE_ASSERT(text_bytes >= (format == BASE_LOG_JSON ? 128 : 2));
    switch (format) {
    case BASE_LOG_LOGFMT:
        put_logfmt(&line, unix_ms, level, message, constant_fields, fields);
        break;
    case BASE_LOG_JSON:
        put_json(&line, unix_ms, level, message, constant_fields, fields);
        break;
    case BASE_LOG_TEXT:
        put_plain(&line, unix_ms, level, message, constant_fields, fields);
        break;
    }
    text[line.size++] = '\n';
    text[line.size] = '\0';
    return line.size;
}
