/* Reading what became of a future. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "libclient/error.h"
#include "libclient/future.h"
#include "libclient/future_kept.h"
#include "task/status.h"
#include "wire/value.h"

static __attribute__((cold)) furrow_status explain_wait(furrow_status status) {
    if (status == FURROW_EDEADLOCK) {
        return task_set_error(status,
                              "waiting for a task of the same executor in its own callback");
    }
    return task_set_plain_error(status);
}

static furrow_status wait_for(furrow_future *future, double timeout) {
    furrow_status status;

    if (BASE_LIKELY(future_done(future))) {
        return FURROW_OK;
    }
    status = future_wait_until(future, future_deadline(timeout));
    return BASE_LIKELY(status == FURROW_OK) ? FURROW_OK : explain_wait(status);
}

furrow_status furrow_future_wait(furrow_future *future, double timeout) {
    return wait_for(future, timeout);
}

/* The outcome of a done future that is not a value. */
static __attribute__((cold, noinline)) furrow_status explain_outcome(furrow_future *future) {
    const furrow_error *error;

    if (future_state(future) == FURROW_CANCELLED) {
        return task_set_plain_error(FURROW_ECANCELLED);
    }
    error = future_error_of(future);
    if (error == NULL) {
        return task_set_plain_error(FURROW_EFAILED);
    }
    return client_error_explain(error);
}

static bool has_value(const furrow_future *future) {
    return future_state(future) == FURROW_FINISHED && future->kind == WIRE_KIND_VALUE;
}

/* Waits for a value. */
static __attribute__((noinline)) furrow_status await_value(furrow_future *future, double timeout) {
    furrow_status status = wait_for(future, timeout);

    if (BASE_UNLIKELY(status != FURROW_OK)) {
        return status;
    }
    return BASE_LIKELY(has_value(future)) ? FURROW_OK : explain_outcome(future);
}

/* Unpacks what is not plain, from `place` on, or says what is wrong with it. */
static __attribute__((noinline)) furrow_status unpack_on(furrow_future *future,
                                                         struct wire_value_place place,
                                                         const char *format, va_list *arguments) {
    const struct wire_value_keeper keeper = {future_kept_memory, future, future->pointers};
    struct wire_value_fault fault;
    enum wire_value_status status = wire_value_unpack_on(
        place, future->task.data + future->task.size, format, arguments, &keeper, &fault);

    return status == WIRE_VALUE_OK ? FURROW_OK : task_set_value_error(status, &fault);
}

furrow_status furrow_future_result(furrow_future *future, double timeout, const char *format, ...) {
    struct wire_value_place place;
    va_list arguments;

    if (BASE_UNLIKELY(!has_value(future))) {
        furrow_status status = await_value(future, timeout);

        if (status != FURROW_OK) {
            return status;
        }
    }
    if (format == NULL) {
        return FURROW_OK;
    }
    va_start(arguments, format);
    place = wire_value_unpack_plain(future->task.data, future->task.size, format, &arguments,
                                    future->pointers);
    if (BASE_UNLIKELY(place.letter != NULL)) {
        furrow_status status = unpack_on(future, place, format, &arguments);

        va_end(arguments);
        return status;
    }
    va_end(arguments);
    return FURROW_OK;
}

furrow_status furrow_future_value(furrow_future *future, double timeout, const void **data,
                                  size_t *size) {
    furrow_status status = has_value(future) ? FURROW_OK : await_value(future, timeout);

    if (status != FURROW_OK) {
        return status;
    }
    *data = future->task.data;
    *size = future->task.size;
    return FURROW_OK;
}

furrow_status furrow_future_error(furrow_future *future, double timeout,
                                  const furrow_error **error) {
    furrow_status status = wait_for(future, timeout);

    if (status != FURROW_OK) {
        return status;
    }
    if (future_state(future) == FURROW_CANCELLED) {
        return task_set_plain_error(FURROW_ECANCELLED);
    }
    *error = NULL;
    if (future->kind != WIRE_KIND_VALUE) {
        *error = future_error_of(future);
        if (*error == NULL) {
            return task_set_plain_error(FURROW_ENOMEM);
        }
    }
    return FURROW_OK;
}

size_t furrow_future_describe(const furrow_future *future, char *text, size_t size) {
    static const char *const names[] = {"pending", "running", "cancelled", "finished"};
    furrow_future_state state = future_state(future);
    struct wire_error error;
    int length;

    if (state != FURROW_FINISHED || future->kind == WIRE_KIND_VALUE) {
        length = snprintf(text, size, "%s", names[state]);
    } else if (!wire_error_decode(future->task.data, future->task.size, &error)) {
        length = snprintf(text, size, "finished: error");
    } else {
        length = snprintf(text, size, "finished: error %.*s", (int)error.message.size,
                          error.message.data);
    }
    return length < 0 ? 0 : (size_t)length;
}
