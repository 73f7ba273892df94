/* A program as a user of the installed library writes it: program URL prints 42. */
#include <furrow.h>
#include <inttypes.h>
#include <stdio.h>

FURROW_TASK_EXTERN(add);

int main(int argc, char **argv) {
    furrow_init(&argc, &argv);
    FURROW_SCOPED furrow_executor *pool = furrow_open(argc > 1 ? argv[1] : NULL, NULL);
    if (pool == NULL) {
        fprintf(stderr, "open: %s\n", furrow_last_error());
        return 1;
    }
    furrow_future *future = furrow_submit(pool, add, "ii", (int64_t)40, (int64_t)2);
    int64_t sum;
    if (future == NULL || furrow_future_result(future, 30.0, "i", &sum) != FURROW_OK) {
        fprintf(stderr, "add: %s\n", furrow_last_error());
        return 1;
    }
    printf("%" PRId64 "\n", sum);
    furrow_future_unref(&future);
    return 0;
}
