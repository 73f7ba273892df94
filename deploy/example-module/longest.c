/* Looks for the longest Collatz chain below a limit, on whatever FURROW_EXECUTOR says:
 *
 *   longest [LIMIT]    1000000 unless given */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "collatz.h"

enum { PART_NUMBERS = 50000, PARTS_AHEAD = 1024 };

struct parts {
    int64_t next, limit;
};

/* The map pulls its input from here: the ranges to look through, one after the other. */
static furrow_status next_part(void *user, furrow_buffer *item) {
    struct parts *parts = user;
    int64_t first = parts->next, last = first + PART_NUMBERS - 1;
    if (first >= parts->limit) {
        return FURROW_EEND;
    }
    if (last >= parts->limit) {
        last = parts->limit - 1;
    }
    parts->next = last + 1;
    return furrow_buffer_pack(item, "ii", first, last);
}

static int fail(const char *what) {
    fprintf(stderr, "longest: %s: %s\n", what, furrow_last_error());
    return EXIT_FAILURE;
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv); /* in a worker process this never returns */
    struct parts parts = {1, argc > 1 ? strtoll(argv[1], NULL, 10) : 1000000};
    if (argc > 2 || parts.limit < 2 || parts.limit > COLLATZ_MAX) {
        fprintf(stderr, "usage: longest [LIMIT], from 2 to %" PRId64 "\n", COLLATZ_MAX);
        return 2;
    }
    FURROW_SCOPED furrow_executor *pool = furrow_open(NULL, NULL);
    if (pool == NULL) {
        return fail("can't open the executor");
    }
    furrow_map_options options = FURROW_MAP_OPTIONS_INIT;
    options.buffersize = PARTS_AHEAD;
    furrow_input *input = furrow_input_callback(next_part, NULL, &parts);
    furrow_results *results = furrow_map(pool, collatz_longest, &options, &input);
    if (results == NULL) {
        furrow_input_free(&input);
        return fail("map");
    }
    furrow_status status;
    int64_t number, length, best = 0, longest = 0;
    while ((status = furrow_results_next(results, "[ii]", &number, &length)) == FURROW_OK) {
        if (length > longest) {
            best = number;
            longest = length;
        }
    }
    furrow_results_close(&results);
    if (status != FURROW_EEND) {
        return fail("a task");
    }
    printf("below %" PRId64 " the longest chain begins at %" PRId64 " and has %" PRId64
           " numbers\n",
           parts.limit, best, longest);
    return EXIT_SUCCESS;
}
