/* Counts the words in all files under a directory. The files are read by the tasks, one a file or,
 * of a large one, a slice; the total is that of `find DIR -type f -exec cat {} + | wc -w`. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common.h"
#include "tasks.h"
#include "walk.h"

enum { SLICE_BYTES = 4 << 20, SLICES_AHEAD = 1024 };

/* Where the input of the map is: in the middle of a file. */
struct slices {
    struct walk *walk;
    const char *path;
    int64_t size, offset;
};

/* The map pulls its input from here, a little ahead of the results: however many files there are,
 * few are in memory. A file's last slice goes to its end, wherever that is by then. */
static furrow_status next_slice(void *user, furrow_buffer *item) {
    struct slices *slices = user;
    if (slices->offset >= slices->size) {
        if (!walk_next(slices->walk, &slices->path, &slices->size)) {
            return FURROW_EEND;
        }
        slices->offset = 0;
    }
    int64_t start = slices->offset;
    slices->offset += SLICE_BYTES;
    bool last = slices->offset >= slices->size;
    return furrow_buffer_pack(item, "sii", slices->path, start, last ? INT64_MAX : SLICE_BYTES);
}

/* Adds up the results in the order of the slices, because a word that reaches over an edge was
 * begun on both sides. Between two files it may reach as well: there is nothing between them. */
static int64_t add_up(furrow_results *results, int64_t *failures) {
    int64_t total = 0;
    bool inside = false;
    for (;;) {
        int64_t words, tail;
        bool head;
        furrow_status status = furrow_results_next(results, "[ibi]", &words, &head, &tail);
        if (status == FURROW_EEND) {
            return total;
        }
        if (status == FURROW_EFAILED) {
            fprintf(stderr, "%s\n", furrow_results_error(results)->message);
            ++*failures;
            continue;
        }
        if (status != FURROW_OK) {
            example_die("count_words");
        }
        total += words - (head && inside ? 1 : 0);
        if (tail != WORD_UNCHANGED) {
            inside = tail == WORD_INSIDE;
        }
    }
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv); /* in a worker process this never returns */
    example_options options = example_parse(argc, argv, "DIR");
    if (options.operand_count != 1) {
        fprintf(stderr, "wordcount: give one directory\n");
        return 2;
    }
    struct slices slices = {.walk = walk_open(options.operands[0])};
    if (slices.walk == NULL) {
        perror("wordcount");
        return EXIT_FAILURE;
    }
    FURROW_SCOPED furrow_executor *pool = example_open(&options);

    furrow_map_options how = FURROW_MAP_OPTIONS_INIT;
    how.buffersize = SLICES_AHEAD;
    furrow_input *input = furrow_input_callback(next_slice, NULL, &slices);
    furrow_results *results = furrow_map(pool, count_words, &how, &input);
    if (results == NULL) {
        example_die("map");
    }
    int64_t failures = 0;
    int64_t total = add_up(results, &failures);
    furrow_results_close(&results);
    failures += walk_failures(slices.walk);
    walk_close(slices.walk);

    printf("%" PRId64 "\n", total);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
