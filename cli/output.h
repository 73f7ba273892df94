/* Text for people: tables, durations, sizes. Names come from others, so whatever a terminal might obey
 * is escaped. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdint.h>
#include <stdio.h>

#include "wire/inspect.h"

/* A table is filled cell by cell, row after row, and printed with aligned columns. */
#define CLI_COLUMNS_MAX 16
struct cli_table {
    const char *const *heads; /* a '>' at the beginning (not printed): numbers, to the right */
    unsigned columns;
    char **cells; /* NULL where there was no memory */
    size_t count, room;
};
void cli_table_begin(struct cli_table *table, const char *const *heads, unsigned columns);
void cli_table_put(struct cli_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* cli_table_text puts somebody else's text. */
void cli_table_text(struct cli_table *table, struct wire_text text);
void cli_table_tags(struct cli_table *table, const struct wire_tags *tags);
/* cli_table_end prints it, and frees what it has. */
void cli_table_end(struct cli_table *table, FILE *out);

/* Each writes a short text into `text` and returns it. */
#define CLI_TEXT_BYTES 1100
const char *cli_escaped(char text[CLI_TEXT_BYTES], struct wire_text what);
const char *cli_duration(char text[CLI_TEXT_BYTES], uint64_t ms);
const char *cli_duration_ns(char text[CLI_TEXT_BYTES], uint64_t ns);
const char *cli_size(char text[CLI_TEXT_BYTES], uint64_t bytes);
const char *cli_rate(char text[CLI_TEXT_BYTES], uint64_t per_1000_s);
const char *cli_state(char text[CLI_TEXT_BYTES], uint64_t state);
const char *cli_session(char text[CLI_TEXT_BYTES], const struct wire_session *session);
/* cli_tags writes them with commas; "" for none. */
const char *cli_tags(char text[CLI_TEXT_BYTES], const struct wire_tags *tags);

/* cli_state_names gives the name of each bit of a peer's state, from the lowest; NULL: no more. */
extern const char *const cli_state_names[];

/* cli_clean copies a text as valid UTF-8: what isn't becomes U+FFFD. At most 3 bytes of `clean` for
 * each of the text, and one more. Returns the size. */
size_t cli_clean(char *clean, struct wire_text text);

#endif
