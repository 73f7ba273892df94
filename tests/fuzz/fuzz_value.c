/* Values of a hostile peer and formats of a careless user: the length of the format, the format, the
 * values. */
#include "tests/fuzz/wire_exercise.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char format[32] = {0};
    if (size == 0 || data[0] >= sizeof format || data[0] > size - 1) {
        return 0;
    }
    size_t letters = data[0];
    memcpy(format, data + 1, letters);
    size -= 1 + letters;

    /* In memory of exactly this size, for the address sanitizer. */
    uint8_t *values = malloc(size > 0 ? size : 1);
    if (values != NULL) {
        memcpy(values, data + 1 + letters, size);
        exercise_value(values, size, format);
        free(values);
    }
    return 0;
}
