#include "base/entropy.h"

#include <errno.h>
#include <stdint.h>
#include <sys/random.h>

bool base_entropy(void *data, size_t bytes) {
    uint8_t *at = data;

    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);

        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return false;
        }
        at += got;
        bytes -= (size_t)got;
    }
    return true;
}
