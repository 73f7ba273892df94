/* The job of compose.sh, program and module in one: maps a task that takes its time over many
 * numbers, and checks every result.
 *
 *   compose_job TASKS MILLISECONDS    how many, and how long each sleeps */
#include <furrow.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int slow_square(furrow_task *task) {
    double seconds;
    int64_t n;
    if (furrow_task_args(task, "di", &seconds, &n) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (furrow_task_sleep(task, seconds) != FURROW_OK) {
        return FURROW_ECANCELLED;
    }
    return furrow_task_return(task, "i", n * n);
}
FURROW_TASK(slow_square);

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    if (argc != 3) {
        fprintf(stderr, "usage: compose_job TASKS MILLISECONDS\n");
        return 2;
    }
    int64_t tasks = strtoll(argv[1], NULL, 10), n, square;
    FURROW_SCOPED furrow_executor *pool = furrow_open(NULL, NULL);
    furrow_partial *slowly = furrow_partial_new(slow_square, "d", strtod(argv[2], NULL) / 1000);
    furrow_input *numbers = furrow_input_range(0, tasks, 1);
    furrow_results *results = furrow_map_partial(pool, slowly, NULL, &numbers);
    for (n = 0; furrow_results_next(results, "i", &square) == FURROW_OK; n++) {
        if (square != n * n) {
            fprintf(stderr, "the square of %" PRId64 " is not %" PRId64 "\n", n, square);
            return EXIT_FAILURE;
        }
    }
    if (furrow_last_status() != FURROW_EEND || n != tasks) {
        fprintf(stderr, "after %" PRId64 " results: %s\n", n, furrow_last_error());
        return EXIT_FAILURE;
    }
    printf("%" PRId64 " results, all right\n", n);
    furrow_results_close(&results);
    furrow_partial_free(&slowly);
    return EXIT_SUCCESS;
}
