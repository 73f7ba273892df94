/* Checks whether numbers are prime, all at once, and prints the answers in order. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common.h"
#include "tasks.h"

/* Those of the ProcessPoolExecutor example in Python's documentation. */
static const int64_t candidates[] = {
    112272535095293, 112582705942171, 112272535095293,
    115280095190773, 115797848077099, 1099726899285419,
};
enum { CANDIDATE_COUNT = sizeof candidates / sizeof candidates[0] };

static void print_primes(furrow_executor *pool, const int64_t *numbers, size_t count) {
    furrow_input *input = furrow_input_ints(numbers, count);
    furrow_results *results = furrow_map(pool, is_prime, NULL, &input);
    if (results == NULL) {
        example_die("map");
    }
    for (size_t i = 0; i < count; i++) {
        bool prime;
        if (furrow_results_next(results, "b", &prime) != FURROW_OK) {
            example_die("is_prime");
        }
        printf("%" PRId64 " is prime: %s\n", numbers[i], prime ? "true" : "false");
    }
    furrow_results_close(&results);
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv); /* in a worker process this never returns */
    example_options options = example_parse(argc, argv, "[NUMBER...]");
    size_t given = (size_t)options.operand_count;
    int64_t *numbers = calloc(given + 1, sizeof *numbers);
    if (numbers == NULL) {
        perror("primes");
        return EXIT_FAILURE;
    }
    for (size_t i = 0; i < given; i++) {
        numbers[i] = example_number(options.operands[i], 0, INT64_MAX);
    }
    FURROW_SCOPED furrow_executor *pool = example_open(&options);
    if (given > 0) {
        print_primes(pool, numbers, given);
    } else {
        print_primes(pool, candidates, CANDIDATE_COUNT);
    }
    free(numbers);
    return 0;
}
