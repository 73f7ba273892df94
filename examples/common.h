/* What the examples share: their options, a stopwatch, and the end of a program that can't go on. */
#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <furrow.h>

typedef struct example_options {
    const char *executor; /* --executor; NULL: FURROW_EXECUTOR, else processes: */
    double scale;         /* --scale; what the sleeps are multiplied by, 1 unless given */
    char **operands;      /* what is left of the command line, ended by NULL */
    int operand_count;
} example_options;

/* example_parse reads the command line and starts the stopwatch. `operands` names the operands in
 * the usage message. On --help, and on an option that is none, it ends the program. */
example_options example_parse(int argc, char **argv, const char *operands);

/* example_number reads a whole number from min to max, or ends the program saying which. */
int64_t example_number(const char *text, int64_t min, int64_t max);

/* example_open opens the executor, whose log goes to stderr, or ends the program. */
furrow_executor *example_open(const example_options *options);

/* example_say prints a line with the seconds since example_parse: "text | 0.123". */
void example_say(const char *printf_format, ...) __attribute__((format(printf, 1, 2)));

/* example_print_results takes strings from a map until its end, prints them as one line,
 * "map results: ['foo-1', 'foo-2'] | 0.123", and closes the map. */
void example_print_results(furrow_results **results);

/* example_die ends the program, saying what failed and what Furrow's last error was. */
_Noreturn void example_die(const char *what);

#endif
