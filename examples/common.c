#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double started;

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static _Noreturn void usage(FILE *out, const char *program, const char *operands) {
    fprintf(out,
            "usage: %s [--executor URL] [--scale FACTOR]%s%s\n"
            "  --executor URL   threads:N, processes:N, tcp://HOST:PORT or ipc://PATH; else what\n"
            "                   the environment variable FURROW_EXECUTOR says, else processes:\n"
            "  --scale FACTOR   multiplies the sleeps\n",
            program, operands[0] == '\0' ? "" : " ", operands);
    exit(out == stdout ? EXIT_SUCCESS : 2);
}

example_options example_parse(int argc, char **argv, const char *operands) {
    static const struct option known[] = {
        {"executor", required_argument, NULL, 'e'},
        {"scale", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    example_options options = {.executor = NULL, .scale = 1.0};
    started = seconds_now();
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == 'e') {
            options.executor = optarg;
        } else if (option == 's') {
            char *end;
            options.scale = strtod(optarg, &end);
            if (end == optarg || *end != '\0' || !isfinite(options.scale) || options.scale < 0) {
                fprintf(stderr, "%s: not a factor: %s\n", argv[0], optarg);
                exit(2);
            }
        } else {
            usage(option == 'h' ? stdout : stderr, argv[0], operands);
        }
    }
    options.operands = argv + optind;
    options.operand_count = argc - optind;
    if (operands[0] == '\0' && options.operand_count > 0) {
        usage(stderr, argv[0], operands);
    }
    return options;
}

int64_t example_number(const char *text, int64_t min, int64_t max) {
    char *end;
    errno = 0;
    intmax_t number = strtoimax(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || number < min || number > max) {
        fprintf(stderr, "not a number from %" PRId64 " to %" PRId64 ": %s\n", min, max, text);
        exit(2);
    }
    return number;
}

static void log_to_stderr(void *user, furrow_log_level level, const char *line) {
    (void)user;
    (void)level;
    fprintf(stderr, "furrow: %s\n", line);
}

furrow_executor *example_open(const example_options *options) {
    furrow_options how = FURROW_OPTIONS_INIT;
    how.log = log_to_stderr;
    furrow_executor *pool = furrow_open(options->executor, &how);
    if (pool == NULL) {
        example_die("can't open the executor");
    }
    return pool;
}

static void end_line(void) {
    printf(" | %.3f\n", seconds_now() - started);
    fflush(stdout);
}

void example_say(const char *printf_format, ...) {
    va_list arguments;
    va_start(arguments, printf_format);
    vprintf(printf_format, arguments);
    va_end(arguments);
    end_line();
}

void example_print_results(furrow_results **results) {
    const char *text;
    const char *separator = "";
    furrow_status status;
    printf("map results: [");
    while ((status = furrow_results_next(*results, "s", &text)) == FURROW_OK) {
        printf("%s'%s'", separator, text);
        separator = ", ";
    }
    printf("]");
    end_line();
    if (status != FURROW_EEND) {
        example_die("map");
    }
    furrow_results_close(results);
}

_Noreturn void example_die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, furrow_last_error());
    exit(EXIT_FAILURE);
}
