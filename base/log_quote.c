#include "base/log.h"

#include <string.h>

#include "base/assert.h"

/* A control character, or one of the two that mean something between quotes. */
static size_t escape(char *out, unsigned char c) {
    static const char digits[] = "0123456789abcdef";

    out[0] = '\\';
    if (c == '\n') {
        out[1] = 'n';
        return 2;
    }
    if (c >= 0x20 && c != 0x7f) {
        out[1] = (char)c;
        return 2;
    }
    out[1] = 'x';
    out[2] = digits[c >> 4];
    out[3] = digits[c & 15];
    return 4;
}

static bool is_bare(const char *text) {
    for (const char *at = text; *at != '\0'; at++) {
        unsigned char c = (unsigned char)*at;

        if (c <= 0x20 || c == 0x7f || c == '"' || c == '\\' || c == '=') {
            return false;
        }
    }
    return *text != '\0';
}

const char *base_log_quote(char *value, size_t value_bytes, const char *text) {
    size_t used = 0;

    BASE_ASSERT(value_bytes >= 8);
    if (is_bare(text) && strlen(text) < value_bytes) {
        memcpy(value, text, strlen(text) + 1);
        return value;
    }
    value[used++] = '"';
    for (; *text != '\0' && used + 4 + 2 <= value_bytes; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == 0x7f || c == '"' || c == '\\') {
            used += escape(value + used, c);
        } else {
            value[used++] = (char)c;
        }
    }
    value[used++] = '"';
    value[used] = '\0';
    return value;
}
