#include "libclient/error.h"

#include <string.h>

#include "base/assert.h"
#include "task/status.h"

static const char malformed[] = "the error itself arrived malformed";

static void decode(const void *data, size_t size, struct wire_error *error) {
    if (!wire_error_decode(data, size, error)) {
        memset(error, 0, sizeof *error);
        error->message.data = malformed;
        error->message.size = sizeof malformed - 1;
    }
}

size_t client_error_bytes(const void *data, size_t size) {
    struct wire_error error;

    decode(data, size, &error);
    return sizeof(furrow_error) + error.message.size + error.function.size + error.host.size + 3;
}

static furrow_error_kind kind_of(enum wire_kind kind) {
    BASE_ASSERT(kind != WIRE_KIND_VALUE && kind != WIRE_KIND_CANCELLED);
    switch (kind) {
    case WIRE_KIND_VALUE:
    case WIRE_KIND_CANCELLED:
        break;
    case WIRE_KIND_ERROR:
        return FURROW_ERROR_TASK;
    case WIRE_KIND_LOST:
        return FURROW_ERROR_LOST;
    case WIRE_KIND_DEADLINE:
        return FURROW_ERROR_DEADLINE;
    case WIRE_KIND_NO_FUNCTION:
        return FURROW_ERROR_NO_FUNCTION;
    case WIRE_KIND_BROKEN:
        return FURROW_ERROR_BROKEN;
    case WIRE_KIND_REJECTED:
        return FURROW_ERROR_REJECTED;
    }
    return FURROW_ERROR_TASK;
}

/* Copies a text behind what is there already, terminates it, and moves *at behind it. */
static const char *put_text(char **at, struct wire_text text) {
    char *begin = *at;

    if (text.size > 0) {
        memcpy(begin, text.data, text.size);
    }
    begin[text.size] = '\0';
    *at = begin + text.size + 1;
    return begin;
}

const furrow_error *client_error_decode(enum wire_kind kind, const void *data, size_t size,
                                        void *memory) {
    furrow_error *error = memory;
    char *at = (char *)(error + 1);
    struct wire_error decoded;

    decode(data, size, &decoded);
    error->kind = kind_of(kind);
    error->code = decoded.code;
    error->attempt = decoded.attempt;
    error->signal = decoded.signal;
    error->exit_code = decoded.exit_code;
    error->pid = decoded.pid;
    error->message = put_text(&at, decoded.message);
    error->function = put_text(&at, decoded.function);
    error->host = put_text(&at, decoded.host);
    return error;
}

furrow_status client_error_explain(const furrow_error *error) {
    const char *function = error->function;

    if (error->kind != FURROW_ERROR_TASK) {
        return task_set_error(FURROW_EFAILED, "%s%s%s", function, function[0] == '\0' ? "" : ": ",
                              error->message);
    }
    return task_set_error(FURROW_EFAILED, "%s%sfailed with code %d%s%s", function,
                          function[0] == '\0' ? "" : " ", error->code,
                          error->message[0] == '\0' ? "" : ": ", error->message);
}
