/* What the programs' command lines have in common: values, the environment behind an option, and the
 * reading of a line. Any thread, but for base_options_read. */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* base_option_number reads a whole number, in decimal digits and nothing else. False: it isn't one from
 * min to max; *number is as it was. */
bool base_option_number(const char *text, uint64_t min, uint64_t max, uint64_t *number);

#define BASE_OPTION_SECONDS_MAX 1e6 /* eleven days */

/* base_option_seconds reads seconds, perhaps with a fraction, as nanoseconds. False: it isn't a number
 * from min to BASE_OPTION_SECONDS_MAX; *ns is as it was. */
bool base_option_seconds(const char *text, double min, uint64_t *ns);

/* base_option_environment: what an option has not said (*value is NULL) the environment may; an empty
 * variable is as none. */
void base_option_environment(const char **value, const char *name);

/* base_options_read reads a command line that consists of long options, up to the first argument that is
 * none, and gives each to `set` (option: `val` of the table's entry; value: NULL if it has none), which
 * returns false for a value that the option can't have. Uses getopt_long, and so only one thread may.
 * Returns the index of the first argument behind, or -1: `error` says what is wrong. */
int base_options_read(int argc, char **argv, const struct option *table,
                      bool (*set)(void *user, int option, const char *value), void *user,
                      char *error, size_t error_bytes);

#endif
