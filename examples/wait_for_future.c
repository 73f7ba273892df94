/* Submits one task and waits for its result: the future is there at once, the result later. */
#include "common.h"
#include "tasks.h"

int main(int argc, char **argv) {
    furrow_init(&argc, &argv); /* in a worker process this never returns */
    example_options options = example_parse(argc, argv, "");
    FURROW_SCOPED furrow_executor *pool = example_open(&options);

    furrow_future *future = furrow_submit(pool, slow_foo, "d", 5.0 * options.scale);
    if (future == NULL) {
        example_die("submit");
    }
    example_say("future created");

    example_say("waiting for future...");
    const char *result;
    if (furrow_future_result(future, -1, "s", &result) != FURROW_OK) {
        example_die("result");
    }
    example_say("future result: %s", result);
    furrow_future_unref(&future);
    return 0;
}
