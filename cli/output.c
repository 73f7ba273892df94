#include "cli/output.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------- texts */

/* How many bytes the UTF-8 character at `at` has; 0: it is none. */
static size_t character(const uint8_t *at, size_t left) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = at[0] < 0x80             ? 1
                  : (at[0] & 0xe0) == 0xc0 ? 2
                  : (at[0] & 0xf0) == 0xe0 ? 3
                  : (at[0] & 0xf8) == 0xf0 ? 4
                                           : 0;
    uint32_t code = size == 1 ? at[0] : at[0] & (0x7fu >> size);

    if (size == 0 || size > left) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (at[i] & 0x3f);
    }
    return code < least[size] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : size;
}

size_t cli_clean(char *clean, struct wire_text text) {
    const uint8_t *at = (const uint8_t *)text.data, *end = at + text.size;
    size_t used = 0;

    while (at < end) {
        size_t size = character(at, (size_t)(end - at));

        if (size == 0) {
            memcpy(clean + used, "\xef\xbf\xbd", 3);
            used += 3;
            at++;
        } else {
            memcpy(clean + used, at, size);
            used += size;
            at += size;
        }
    }
    clean[used] = '\0';
    return used;
}

/* Control characters, in whichever form (C1 is U+0080 to U+009F), and what isn't UTF-8. */
static bool is_plain(const uint8_t *at, size_t size) {
    return size > 0 && at[0] >= 0x20 && at[0] != 0x7f && at[0] != '\\' &&
           !(at[0] == 0xc2 && at[1] < 0xa0);
}

const char *cli_escaped(char text[CLI_TEXT_BYTES], struct wire_text what) {
    const uint8_t *at = (const uint8_t *)what.data, *end = at + what.size;
    size_t used = 0;

    while (at < end && used + 8 < CLI_TEXT_BYTES) {
        size_t size = character(at, (size_t)(end - at));

        if (is_plain(at, size)) {
            memcpy(text + used, at, size);
            used += size;
            at += size;
        } else {
            used += (size_t)snprintf(text + used, 5, "\\x%02x", *at);
            at++;
        }
    }
    text[used] = '\0';
    return text;
}

const char *cli_duration_ns(char text[CLI_TEXT_BYTES], uint64_t ns) {
    if (ns < 1000) {
        snprintf(text, CLI_TEXT_BYTES, "%" PRIu64 "ns", ns);
    } else if (ns < 1000000) {
        snprintf(text, CLI_TEXT_BYTES, "%.1fus", (double)ns / 1e3);
    } else if (ns < 1000000000) {
        snprintf(text, CLI_TEXT_BYTES, "%.1fms", (double)ns / 1e6);
    } else {
        return cli_duration(text, ns / 1000000);
    }
    return text;
}

const char *cli_duration(char text[CLI_TEXT_BYTES], uint64_t ms) {
    uint64_t s = ms / 1000;

    if (ms < 1000) {
        snprintf(text, CLI_TEXT_BYTES, "%" PRIu64 "ms", ms);
    } else if (s < 60) {
        snprintf(text, CLI_TEXT_BYTES, "%.1fs", (double)ms / 1e3);
    } else if (s < 3600) {
        snprintf(text, CLI_TEXT_BYTES, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
    } else if (s < 86400) {
        snprintf(text, CLI_TEXT_BYTES, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
    } else {
        snprintf(text, CLI_TEXT_BYTES, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
    }
    return text;
}

const char *cli_size(char text[CLI_TEXT_BYTES], uint64_t bytes) {
    static const char units[] = "KMGTPE";
    double value = (double)bytes;
    int unit = -1;

    while (value >= 1024 && unit < 5) {
        value /= 1024;
        unit++;
    }
    if (unit < 0) {
        snprintf(text, CLI_TEXT_BYTES, "%" PRIu64 "B", bytes);
    } else {
        snprintf(text, CLI_TEXT_BYTES, "%.1f%c", value, units[unit]);
    }
    return text;
}

const char *cli_rate(char text[CLI_TEXT_BYTES], uint64_t per_1000_s) {
    double rate = (double)per_1000_s / 1000;

    snprintf(text, CLI_TEXT_BYTES, per_1000_s == 0 || rate >= 100 ? "%.0f" : "%.2g", rate);
    if (per_1000_s != 0 && rate < 100) {
        snprintf(text, CLI_TEXT_BYTES, rate < 10 ? "%.2f" : "%.1f", rate);
    }
    return text;
}

const char *const cli_state_names[] = {
    "draining", "retired", "dying", "claiming", "alone", "clogged", "starved", NULL,
};

const char *cli_state(char text[CLI_TEXT_BYTES], uint64_t state) {
    size_t used = 0;

    snprintf(text, CLI_TEXT_BYTES, "-");
    for (unsigned i = 0; cli_state_names[i] != NULL; i++) {
        if ((state >> i & 1) != 0) {
            used += (size_t)snprintf(text + used, CLI_TEXT_BYTES - used, "%s%s",
                                     used == 0 ? "" : ",", cli_state_names[i]);
        }
    }
    return text;
}

const char *cli_session(char text[CLI_TEXT_BYTES], const struct wire_session *session) {
    snprintf(text, CLI_TEXT_BYTES, "%016" PRIx64 "%016" PRIx64, session->high, session->low);
    return text;
}

const char *cli_tags(char text[CLI_TEXT_BYTES], const struct wire_tags *tags) {
    char tag[CLI_TEXT_BYTES];
    size_t used = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < tags->count && used < CLI_TEXT_BYTES - 1; i++) {
        int size = snprintf(text + used, CLI_TEXT_BYTES - used, "%s%s", i == 0 ? "" : ",",
                            cli_escaped(tag, tags->names[i]));

        used += (size_t)size;
    }
    return text;
}

/* -------------------------------------------------------------------- tables */

void cli_table_begin(struct cli_table *table, const char *const *heads, unsigned columns) {
    *table = (struct cli_table){.heads = heads, .columns = columns};
}

static void put(struct cli_table *table, const char *text) {
    if (table->count == table->room) {
        size_t room = table->room == 0 ? 64 : table->room * 2;
        char **cells = realloc(table->cells, room * sizeof *cells);

        if (cells == NULL) {
            return;
        }
        table->cells = cells;
        table->room = room;
    }
    table->cells[table->count++] = strdup(text);
}

void cli_table_put(struct cli_table *table, const char *format, ...) {
    char text[CLI_TEXT_BYTES];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    put(table, text);
}

void cli_table_text(struct cli_table *table, struct wire_text what) {
    char text[CLI_TEXT_BYTES];

    put(table, what.size == 0 ? "-" : cli_escaped(text, what));
}

void cli_table_tags(struct cli_table *table, const struct wire_tags *tags) {
    char text[CLI_TEXT_BYTES];

    put(table, tags->count == 0 ? "-" : cli_tags(text, tags));
}

/* Characters rather than bytes. */
static int width_of(const char *text) {
    int width = 0;

    for (; *text != '\0'; text++) {
        width += ((uint8_t)*text & 0xc0) != 0x80;
    }
    return width;
}

static void print_cell(FILE *out, const char *text, int width, bool right, bool last) {
    int pad = width - width_of(text);

    if (right) {
        fprintf(out, "%*s%s%s", pad, "", text, last ? "\n" : "  ");
    } else if (last) {
        fprintf(out, "%s\n", text);
    } else {
        fprintf(out, "%s%*s  ", text, pad, "");
    }
}

void cli_table_end(struct cli_table *table, FILE *out) {
    int widths[CLI_COLUMNS_MAX] = {0};

    for (size_t i = 0; i < table->columns; i++) {
        widths[i] = width_of(table->heads[i]) - (table->heads[i][0] == '>');
    }
    for (size_t i = 0; i < table->count; i++) {
        int width = table->cells[i] == NULL ? 0 : width_of(table->cells[i]);

        widths[i % table->columns] =
            width > widths[i % table->columns] ? width : widths[i % table->columns];
    }
    for (size_t i = 0; i < table->columns + table->count; i++) {
        size_t column = i % table->columns;
        bool right = table->heads[column][0] == '>';
        const char *text =
            i < table->columns ? table->heads[column] + right : table->cells[i - table->columns];

        print_cell(out, text == NULL ? "?" : text, widths[column], right,
                   column + 1 == table->columns);
    }
    for (size_t i = 0; i < table->count; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
}
