#include "task/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static _Thread_local furrow_status last_status;
static _Thread_local char last_text[TASK_ERROR_BYTES];

#define TO_TEXT(number)              #number
#define VERSION(major, minor, patch) TO_TEXT(major) "." TO_TEXT(minor) "." TO_TEXT(patch)

const char *furrow_version(void) {
    return VERSION(FURROW_VERSION_MAJOR, FURROW_VERSION_MINOR, FURROW_VERSION_PATCH);
}

const char *furrow_status_text(furrow_status status) {
    switch (status) {
#define STATUS_CASE(name, code, text)                                                              \
    case FURROW_##name:                                                                            \
        return text;
        FURROW_STATUS_MAP(STATUS_CASE)
#undef STATUS_CASE
    }
    return "unknown status";
}

furrow_status furrow_last_status(void) {
    return last_status;
}

const char *furrow_last_error(void) {
    return last_text;
}

furrow_status task_set_verror(furrow_status status, const char *format, va_list arguments) {
    char text[TASK_ERROR_BYTES]; /* first here: an argument may be last_text */
    int saved = errno;

    if (vsnprintf(text, sizeof text, format, arguments) < 0) {
        text[0] = '\0';
    }
    memcpy(last_text, text, strlen(text) + 1);
    last_status = status;
    errno = saved;
    return status;
}

furrow_status task_set_error(furrow_status status, const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    task_set_verror(status, format, arguments);
    va_end(arguments);
    return status;
}

furrow_status task_set_plain_error(furrow_status status) {
    return task_set_error(status, "%s", furrow_status_text(status));
}

furrow_status task_set_value_error(enum wire_value_status status,
                                   const struct wire_value_fault *fault) {
    furrow_status code = FURROW_OK;

    switch (status) {
    case WIRE_VALUE_OK:
        return FURROW_OK;
    case WIRE_VALUE_FORMAT:
    case WIRE_VALUE_MISMATCH:
        code = FURROW_EARGS;
        break;
    case WIRE_VALUE_TOOBIG:
        code = FURROW_ETOOBIG;
        break;
    case WIRE_VALUE_NOMEM:
        return task_set_plain_error(FURROW_ENOMEM);
    case WIRE_VALUE_POINTER:
        code = FURROW_EUNSUPPORTED;
        break;
    }
    return task_set_error(code, "%s", fault->text);
}
