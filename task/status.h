/* What the public calls say when they fail: one status and one text for each thread. Used by task/ and
 * libclient/. Nothing here blocks or allocates; any thread may call it. */
#ifndef TASK_STATUS_H
#define TASK_STATUS_H

#include <furrow.h>

#include "wire/value.h"

/* Longer texts are cut. */
#define TASK_ERROR_BYTES 512

/* task_set_error makes `status` and the formatted text this thread's last error, and returns status,
 * so that a call may end with `return task_set_error(...)`. The text may be made from
 * furrow_last_error() itself. errno is preserved. */
furrow_status task_set_error(furrow_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));
furrow_status task_set_verror(furrow_status status, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0), cold));

/* task_set_plain_error does the same with the status's own text. */
furrow_status task_set_plain_error(furrow_status status) __attribute__((cold));

/* task_set_value_error turns what packing or unpacking says (not WIRE_VALUE_OK) into a status and
 * makes it the last error. Pointers where none may be are FURROW_EUNSUPPORTED. */
furrow_status task_set_value_error(enum wire_value_status status,
                                   const struct wire_value_fault *fault) __attribute__((cold));

#endif
