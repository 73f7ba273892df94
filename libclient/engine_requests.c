#include "libclient/engine.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>

#include "base/futex.h"

struct base_inbox_node engine_inbox_closed;

static bool push_request(struct engine *engine, struct engine_request *request) {
    if (!engine_inbox_push(&engine->requests, &request->node, &request->node)) {
        return false;
    }
    base_wake_signal(&engine->wake);
    return true;
}

struct base_inbox_node *engine_close_inbox(struct base_inbox *inbox) {
    struct base_inbox_node *head = atomic_exchange(&inbox->head, &engine_inbox_closed);

    return head == &engine_inbox_closed ? NULL : base_inbox_reverse(head);
}

/* ------------------------------------------------------- on the asking thread */

bool engine_ask(struct engine *engine, struct engine_request *request) {
    BASE_ASSERT(!engine_is_current(engine));
    request->detached = false;
    atomic_init(&request->answered, 0);
    if (!push_request(engine, request)) {
        return false;
    }
    while (atomic_load(&request->answered) == 0) {
        (void)base_futex_wait(&request->answered, 0, UINT64_MAX);
    }
    return true;
}

bool engine_tell(struct engine *engine, const struct engine_request *request) {
    struct engine_request *copy = malloc(sizeof *copy);

    if (copy == NULL) {
        return false;
    }
    *copy = *request;
    copy->detached = true;
    if (copy->future != NULL) {
        future_keep(copy->future);
    }
    if (push_request(engine, copy)) {
        return true;
    }
    if (copy->future != NULL) {
        future_drop(copy->future);
    }
    free(copy);
    return false;
}

/* --------------------------------------------------------------- on the driver */

static void answer(struct engine_request *request) {
    if (request->detached) {
        if (request->future != NULL) {
            future_drop(request->future);
        }
        free(request);
        return;
    }
    /* The request is gone as soon as its owner sees this; the address is only a name then. */
    atomic_store(&request->answered, 1);
    base_futex_wake(&request->answered, INT_MAX);
}

void engine_verdict(struct engine *engine, furrow_future *future) {
    struct engine_request **at = &engine->cancels;

    future->own_flags &= (uint8_t)~ENGINE_FUTURE_CANCEL_WAITED;
    while (*at != NULL) {
        struct engine_request *request = *at;

        if (request->future == future) {
            *at = request->next_cancel;
            answer(request);
        } else {
            at = &request->next_cancel;
        }
    }
}

static void handle_cancel(struct engine *engine, struct engine_request *request) {
    furrow_future *future = request->future;
    bool detached = request->detached; /* the verdict may come, and end the request, in the step */

    if (future_done(future)) {
        answer(request);
        return;
    }
    if (!detached) {
        future->own_flags |= ENGINE_FUTURE_CANCEL_WAITED;
        request->next_cancel = engine->cancels;
        engine->cancels = request;
    }
    engine_step(engine, &(struct client_event){.type = CLIENT_CANCEL, .task = &future->task});
    if (detached) {
        answer(request);
    }
}

static size_t pending(const struct engine *engine) {
    struct client_stats stats;
    size_t count;

    client_get_stats(engine->core, &stats);
    count = (size_t)stats.waiting + stats.sent;
    for (const struct client_task *task = engine->backlog; task != NULL; task = task->next) {
        count++;
    }
    return count;
}

void engine_describe(struct engine *engine, furrow_executor_info *info) {
    info->pending = pending(engine);
    info->workers_alive = engine->transport->workers_alive(engine);
}

static void begin_closing(struct engine *engine) {
    if (engine->phase == ENGINE_OPEN) {
        engine->phase = ENGINE_CLOSING;
        engine_close_submits(engine);
        engine_take_submits(engine);
    }
}

static void cancel_all(struct engine *engine) {
    engine_step(engine, &(struct client_event){.type = CLIENT_CANCEL_ALL});
}

static void handle_stop(struct engine *engine, bool kill) {
    begin_closing(engine);
    if (pending(engine) > 0) {
        atomic_store(&engine->forced, true);
    }
    if (!kill) {
        cancel_all(engine);
        engine->transport->signal(engine, SIGTERM);
        return;
    }
    engine->transport->signal(engine, SIGKILL);
    engine_break(engine, WIRE_KIND_LOST, "given up when the time for the shutdown was over");
}

static void handle(struct engine *engine, struct engine_request *request) {
    switch (request->type) {
    case ENGINE_CANCEL:
        handle_cancel(engine, request); /* may be answered later */
        return;
    case ENGINE_SHUTDOWN:
        begin_closing(engine);
        if ((request->flags & FURROW_SHUTDOWN_CANCEL_FUTURES) != 0) {
            cancel_all(engine);
        }
        break;
    case ENGINE_STOP:
        handle_stop(engine, false);
        break;
    case ENGINE_KILL:
        handle_stop(engine, true);
        break;
    case ENGINE_SIGNAL:
        engine->transport->signal(engine, request->signal_number);
        engine->transport->leave(engine); /* whoever does not heed it is killed before long */
        engine_break(engine, WIRE_KIND_LOST, "its workers were %s",
                     request->signal_number == SIGKILL ? "killed" : "terminated");
        break;
    case ENGINE_DESCRIBE:
        engine_describe(engine, request->info);
        break;
    }
    answer(request);
}

static struct engine_request *request_of(struct base_inbox_node *node) {
    return BASE_CONTAINER_OF(node, struct engine_request, node);
}

bool engine_requests_take(struct engine *engine) {
    struct base_inbox_node *node = base_inbox_take(&engine->requests);
    bool any = node != NULL;

    if (any) {
        /* What was asked for may be about a task that was submitted before. */
        engine_take_submits(engine);
    }
    while (node != NULL) {
        struct base_inbox_node *next = node->next;

        handle(engine, request_of(node));
        node = next;
    }
    return any;
}

void engine_requests_end(struct engine *engine) {
    struct base_inbox_node *node = engine_close_inbox(&engine->requests);

    while (node != NULL) {
        struct base_inbox_node *next = node->next;
        struct engine_request *request = request_of(node);

        answer(request);
        node = next;
    }
    while (engine->cancels != NULL) {
        struct engine_request *request = engine->cancels;

        engine->cancels = request->next_cancel;
        answer(request);
    }
}
