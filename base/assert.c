#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void base_assert_fail(const char *file, int line, const char *expression) {
    char text[512];
    int length =
        snprintf(text, sizeof text, "%s:%d: assertion failed: %s\n", file, line, expression);

    if (length > 0) {
        size_t size = (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;

        text[size - 1] = '\n';
        if (write(STDERR_FILENO, text, size) < 0) {
            abort(); /* there is nowhere left to say it */
        }
    }
    abort();
}
