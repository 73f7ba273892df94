/* The subcommands of `furrow`, the program for those who run a fleet: one file each, named after it.
 *
 * Each gets its own name as argv[0] and what followed it on the command line, answers --help, prints
 * what it was asked for to stdout and what went wrong to stderr, and returns the program's exit code. */
#ifndef CLI_H
#define CLI_H

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1, /* it was tried, and did not work */
    CLI_USAGE = 2,  /* the command line is wrong; nothing was tried */
};

struct cli_command {
    const char *name;
    const char *summary; /* one line, for `furrow --help` */
    enum cli_exit (*run)(int argc, char **argv);
};

enum cli_exit cli_drain(int argc, char **argv);
enum cli_exit cli_explain(int argc, char **argv);
enum cli_exit cli_keygen(int argc, char **argv);
enum cli_exit cli_ping(int argc, char **argv);
enum cli_exit cli_status(int argc, char **argv);
enum cli_exit cli_version(int argc, char **argv);

#endif
