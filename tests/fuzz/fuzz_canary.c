/* A bug put in on purpose, which fuzzing must find: who doesn't find it finds nothing else either. It
 * needs a message that is right in all but one field. */
#include "tests/fuzz/wire_exercise.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct wire_fault fault;
    struct wire_message *message = exercise_read_message(data, size);
    if (message != NULL) {
        if (!exercise_message(message, &fault) &&
            strcmp(fault.text, "SUBMIT: attempt: 0 is below 1") == 0) {
            abort();
        }
        wire_message_unref(message);
    }
    return 0;
}
