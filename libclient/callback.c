#include <stdlib.h>

#include "libclient/executor_private.h"
#include "libclient/future.h"
#include "task/status.h"

struct callback {
    struct future_watch watch;
    struct future_later later;
    furrow_future *future; /* a reference, if it is put off */
    furrow_done_callback *function;
    void *user;
};

static void call(furrow_future *future, furrow_done_callback *function, void *user) {
    const furrow_executor *executor = future->executor;
    struct executor_frame frame;
    furrow_status status;

    executor_frame_push(&frame, executor, true);
    status = function(future, user);
    executor_frame_pop(&frame);
    if (status != FURROW_OK) {
        executor_log_if_open(executor, BASE_LOG_ERROR, "a done-callback failed with code %d: %s",
                             (int)status, furrow_status_text(status));
    }
}

static void notify(struct future_watch *watch, furrow_future *future) {
    struct callback *callback = BASE_CONTAINER_OF(watch, struct callback, watch);

    if (future != NULL) {
        callback->future = future;
        if (future_later(&callback->later)) {
            future_keep(future);
            return;
        }
        call(future, callback->function, callback->user);
    }
    free(callback);
}

static void run_later(struct future_later *later) {
    struct callback *callback = BASE_CONTAINER_OF(later, struct callback, later);

    call(callback->future, callback->function, callback->user);
    future_drop(callback->future);
    free(callback);
}

furrow_status furrow_future_add_done_callback(furrow_future *future, furrow_done_callback *callback,
                                              void *user) {
    struct callback *added;

    if (future_done(future)) {
        call(future, callback, user);
        return FURROW_OK;
    }
    added = malloc(sizeof *added);
    if (added == NULL) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    added->watch.notify = notify;
    added->later.run = run_later;
    added->function = callback;
    added->user = user;
    future_watch(future, &added->watch);
    return FURROW_OK;
}
