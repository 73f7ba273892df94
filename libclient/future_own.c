/* Cancelling, and futures that users make and resolve themselves. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "libclient/executor_private.h"
#include "libclient/future_memory.h"
#include "task/status.h"
#include "wire/value.h"

#define OWN_TEXT_BYTES 1024

/* ------------------------------------------------------------------- cancel */

static bool cancel(furrow_future *future, bool wait) {
    furrow_executor *executor = future->executor;
    bool cancelled;

    if (executor == NULL) {
        return future_cancel_now(future) || future_state(future) == FURROW_CANCELLED;
    }
    if (!future_enter(future, FURROW_PENDING)) {
        return future_state(future) == FURROW_CANCELLED;
    }
    cancelled = executor->ops->cancel(executor, future, wait);
    executor_guest_leave(executor);
    return cancelled;
}

bool furrow_future_cancel(furrow_future *future) {
    return cancel(future, !executor_in_any_callback());
}

void furrow_future_cancel_async(furrow_future *future) {
    (void)cancel(future, false);
}

/* --------------------------------------------------------------------- names */

furrow_status furrow_future_task(furrow_future *future, char *text, size_t size) {
    furrow_executor *executor = future->executor;
    struct wire_session session;
    uint64_t id;
    int length;

    if (executor == NULL || !future_enter(future, FURROW_RUNNING)) {
        return task_set_error(FURROW_ESTATE, executor == NULL ? "the future has no executor"
                                                              : "the future is done");
    }
    if (executor->ops->identify == NULL) {
        executor_guest_leave(executor);
        return task_set_error(FURROW_EUNSUPPORTED, "on threads: tasks have no names");
    }
    executor->ops->identify(executor, future, &session, &id);
    executor_guest_leave(executor);
    length = id == UINT64_MAX
                 ? snprintf(text, size, "%016" PRIx64 "%016" PRIx64, session.high, session.low)
                 : snprintf(text, size, "%016" PRIx64 "%016" PRIx64 ":%" PRIx64, session.high,
                            session.low, id);
    if (length < 0 || (size_t)length >= size) {
        return task_set_error(FURROW_EINVAL, "a task's name takes %d bytes", FURROW_TASK_BYTES);
    }
    return FURROW_OK;
}

/* ------------------------------------------------------------- own futures */

/* Two threads may try to set one future: this lock sees to it that the first outcome stays. It is not
 * held while callbacks run. */
static pthread_mutex_t set_lock = PTHREAD_MUTEX_INITIALIZER;

furrow_future *furrow_future_new(void) {
    furrow_future *future = future_new(NULL);

    if (future == NULL) {
        (void)task_set_plain_error(FURROW_ENOMEM);
    }
    return future;
}

static furrow_status refuse_state(const furrow_future *future) {
    char text[64];

    if (future->executor != NULL) {
        return task_set_error(FURROW_ESTATE, "the future belongs to an executor");
    }
    (void)furrow_future_describe(future, text, sizeof text);
    return task_set_error(FURROW_ESTATE, "the future is %s", text);
}

furrow_status furrow_future_set_running_or_notify_cancel(furrow_future *future, bool *run) {
    *run = false;
    if (future->executor == NULL && future_begin(future)) {
        *run = true;
        return FURROW_OK;
    }
    if (future->executor == NULL && future_state(future) == FURROW_CANCELLED) {
        return FURROW_OK;
    }
    return refuse_state(future);
}

/* set makes the future FINISHED, if it is not done. PENDING goes by RUNNING, so that a cancel can't
 * come in between. */
static furrow_status set(furrow_future *future, enum wire_kind kind,
                         const struct base_buffer *bytes) {
    bool mine = false;

    if (future->executor == NULL) {
        pthread_mutex_lock(&set_lock);
        (void)future_begin(future);
        if (future_state(future) == FURROW_RUNNING && future->own == 0) {
            future->own = 1;
            mine = true;
        }
        pthread_mutex_unlock(&set_lock);
    }
    if (!mine) {
        return refuse_state(future);
    }
    future_finish(future, kind, bytes->data, bytes->size);
    return FURROW_OK;
}

/* pack makes one value of a format: none is nil, several are an array. */
static furrow_status pack(struct base_buffer *out, const char *format, va_list *arguments) {
    struct wire_value_fault fault = {""};
    struct base_buffer values;
    enum wire_value_status packed;
    furrow_status status = FURROW_OK;
    size_t count = 0;

    base_buffer_init(&values);
    packed =
        wire_value_pack(&values, &count, true, format == NULL ? "" : format, arguments, &fault);
    if (packed != WIRE_VALUE_OK) {
        status = task_set_value_error(packed, &fault);
    } else {
        if (count == 0) {
            base_buffer_append_u8(out, 0xc0);
        } else if (count > 1) {
            (void)wire_value_begin_array(out, (uint32_t)count);
        }
        base_buffer_append(out, values.data, values.size);
        if (out->failed || values.failed) {
            status = task_set_plain_error(FURROW_ENOMEM);
        } else if (out->size > WIRE_PAYLOAD_BYTES_MAX) {
            status = task_set_plain_error(FURROW_ETOOBIG);
        }
    }
    base_buffer_fini(&values);
    return status;
}

furrow_status furrow_future_set_result(furrow_future *future, const char *format, ...) {
    struct base_buffer bytes;
    furrow_status status;
    va_list arguments;

    base_buffer_init(&bytes);
    va_start(arguments, format);
    status = pack(&bytes, format, &arguments);
    va_end(arguments);
    if (status == FURROW_OK) {
        status = set(future, WIRE_KIND_VALUE, &bytes);
    }
    base_buffer_fini(&bytes);
    return status;
}

furrow_status furrow_future_set_error(furrow_future *future, int32_t code,
                                      const char *printf_format, ...) {
    char text[OWN_TEXT_BYTES];
    struct wire_error error;
    struct base_buffer bytes;
    furrow_status status;
    va_list arguments;

    va_start(arguments, printf_format);
    (void)vsnprintf(text, sizeof text, printf_format, arguments);
    va_end(arguments);
    memset(&error, 0, sizeof error);
    error.code = code;
    error.message.data = text;
    error.message.size = strlen(text);
    error.function.data = "";
    error.host.data = "";
    base_buffer_init(&bytes);
    status = wire_error_encode(&error, &bytes) ? set(future, WIRE_KIND_ERROR, &bytes)
                                               : task_set_plain_error(FURROW_ENOMEM);
    base_buffer_fini(&bytes);
    return status;
}
