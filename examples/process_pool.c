/* The same map on worker processes. Nothing in it says so but the executor's URL: when that is not
 * given, it is `processes:`, with a worker for each processor. */
#include "common.h"
#include "tasks.h"

int main(int argc, char **argv) {
    furrow_init(&argc, &argv); /* in a worker process this never returns */
    example_options options = example_parse(argc, argv, "");
    FURROW_SCOPED furrow_executor *pool = example_open(&options);

    furrow_partial *work = furrow_partial_new(do_work, "d", 3.0 * options.scale);
    furrow_input *numbers = furrow_input_range(1, 10, 1);
    furrow_results *results = furrow_map_partial(pool, work, NULL, &numbers);
    if (results == NULL) {
        example_die("map");
    }
    example_say("map generator created");

    example_say("waiting for map results...");
    example_print_results(&results);
    furrow_partial_free(&work);
    return 0;
}
