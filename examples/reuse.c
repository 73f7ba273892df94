/* Uses one executor for two rounds of work, and then shuts it down itself. */
#include "common.h"
#include "tasks.h"

static void do_round(furrow_executor *pool, double seconds, int64_t start, int64_t stop) {
    furrow_partial *work = furrow_partial_new(do_work, "d", seconds);
    furrow_input *numbers = furrow_input_range(start, stop, 1);
    furrow_results *results = furrow_map_partial(pool, work, NULL, &numbers);
    if (results == NULL) {
        example_die("map");
    }
    example_say("map generator created");

    example_say("waiting for map results...");
    example_print_results(&results);
    furrow_partial_free(&work);
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv); /* in a worker process this never returns */
    example_options options = example_parse(argc, argv, "");
    furrow_executor *pool = example_open(&options);

    do_round(pool, 3.0 * options.scale, 1, 10);
    do_round(pool, 1.0 * options.scale, 10, 20);

    if (furrow_shutdown(pool, FURROW_SHUTDOWN_WAIT) != FURROW_OK) {
        example_die("shutdown");
    }
    furrow_close(&pool);
    return 0;
}
