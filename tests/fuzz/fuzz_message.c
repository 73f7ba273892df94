/* Messages of a hostile peer: nothing is read out of bounds, and what is accepted keeps its meaning
 * when it is written again. */
#include "tests/fuzz/wire_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct wire_fault fault;
    struct wire_message *message = exercise_read_message(data, size);
    if (message != NULL) {
        exercise_message(message, &fault);
        wire_message_unref(message);
    }
    return 0;
}
