#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tasks.h"

typedef struct word_counter {
    int64_t words;
    bool head;
    word_state state;
} word_counter;

/* As wc(1) does in the C locale: white space ends a word, a visible character makes or continues
 * one, and all other bytes are passed over, in a word and outside. */
static void count(word_counter *counter, const unsigned char *bytes, size_t size) {
    word_state state = counter->state;
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = bytes[i];
        if (byte == ' ' || (byte >= '\t' && byte <= '\r')) {
            state = WORD_OUTSIDE;
        } else if (byte > ' ' && byte < 0x7f) {
            counter->head |= state == WORD_UNCHANGED;
            counter->words += state != WORD_INSIDE;
            state = WORD_INSIDE;
        }
    }
    counter->state = state;
}

static int count_words(furrow_task *task) {
    const char *path;
    int64_t offset, length;
    if (furrow_task_args(task, "sii", &path, &offset, &length) != FURROW_OK) {
        return FURROW_EARGS;
    }
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (file < 0) {
        return furrow_task_fail(task, errno, "%s: %s", path, strerror(errno));
    }
    word_counter counter = {0, false, WORD_UNCHANGED};
    unsigned char bytes[32768];
    int status = FURROW_OK;
    while (length > 0 && status == FURROW_OK) {
        size_t wanted = length < (int64_t)sizeof bytes ? (size_t)length : sizeof bytes;
        ssize_t got = pread(file, bytes, wanted, offset);
        if (got == 0) {
            break;
        }
        if (got < 0) {
            status = furrow_task_fail(task, errno, "%s: %s", path, strerror(errno));
        } else if (furrow_task_cancelled(task)) {
            status = FURROW_ECANCELLED;
        } else {
            count(&counter, bytes, (size_t)got);
            offset += got;
            length -= got;
        }
    }
    close(file);
    if (status != FURROW_OK) {
        return status;
    }
    return furrow_task_return(task, "[ibi]", counter.words, counter.head, (int64_t)counter.state);
}
FURROW_TASK(count_words);
