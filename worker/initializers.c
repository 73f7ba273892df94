#include "worker/initializers.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/list.h"
#include "task/registry.h"

/* ------------------------------------------------------------------ the table */

struct entry {
    struct base_node node; /* the one that was asked for last is the first */
    struct wire_session session;
    bool ran;         /* end says how it ended; false: somebody runs it */
    unsigned waiting; /* threads that wait for its end */
    struct worker_initializer_end end;
};

struct worker_initializers {
    pthread_mutex_t lock;
    pthread_cond_t ended; /* some initializer did */
    struct base_list entries;
    unsigned count, max;
};

struct worker_initializers *worker_initializers_new(unsigned max) {
    struct worker_initializers *initializers = calloc(1, sizeof *initializers);

    BASE_ASSERT(max > 0);
    if (initializers != NULL) {
        (void)pthread_mutex_init(&initializers->lock, NULL);
        (void)pthread_cond_init(&initializers->ended, NULL);
        base_list_init(&initializers->entries);
        initializers->max = max;
    }
    return initializers;
}

void worker_initializers_free(struct worker_initializers *initializers) {
    struct base_node *node;

    if (initializers == NULL) {
        return;
    }
    while ((node = base_list_pop_front(&initializers->entries)) != NULL) {
        free(BASE_LIST_ENTRY(node, struct entry, node));
    }
    (void)pthread_cond_destroy(&initializers->ended);
    (void)pthread_mutex_destroy(&initializers->lock);
    free(initializers);
}

/* The lock is held, as in all that follow. Who asks for one again and again finds it in front. */
static struct entry *find(const struct worker_initializers *initializers,
                          const struct wire_session *session) {
    struct base_node *node = base_list_first(&initializers->entries);

    for (; node != NULL; node = base_list_next(&initializers->entries, node)) {
        struct entry *entry = BASE_LIST_ENTRY(node, struct entry, node);

        if (entry->session.high == session->high && entry->session.low == session->low) {
            return entry;
        }
    }
    return NULL;
}

/* Forgets the client that was served longest ago, but none that somebody is inside of: rather the table
 * is too large for a moment, by at most one a thread. */
static void make_room(struct worker_initializers *initializers) {
    struct base_node *node = base_list_last(&initializers->entries);

    while (node != NULL && initializers->count >= initializers->max) {
        struct base_node *before = base_list_prev(&initializers->entries, node);
        struct entry *entry = BASE_LIST_ENTRY(node, struct entry, node);

        if (entry->ran && entry->waiting == 0) {
            base_list_remove(node);
            initializers->count--;
            free(entry);
        }
        node = before;
    }
}

/* NULL: no memory. */
static struct entry *add(struct worker_initializers *initializers,
                         const struct wire_session *session) {
    struct entry *entry = calloc(1, sizeof *entry);

    if (entry != NULL) {
        make_room(initializers);
        entry->session = *session;
        base_list_push_front(&initializers->entries, &entry->node);
        initializers->count++;
    }
    return entry;
}

static void await(struct worker_initializers *initializers, struct entry *entry) {
    entry->waiting++;
    while (!entry->ran) {
        (void)pthread_cond_wait(&initializers->ended, &initializers->lock);
    }
    entry->waiting--;
}

enum worker_initializer_turn worker_initializer_enter(struct worker_initializers *initializers,
                                                      const struct wire_session *session,
                                                      struct worker_initializer_end *end) {
    enum worker_initializer_turn turn;
    struct entry *entry;

    pthread_mutex_lock(&initializers->lock);
    entry = find(initializers, session);
    if (entry == NULL) {
        turn = add(initializers, session) == NULL ? WORKER_INITIALIZER_NO_MEMORY
                                                  : WORKER_INITIALIZER_RUN;
    } else {
        await(initializers, entry);
        base_list_remove(&entry->node);
        base_list_push_front(&initializers->entries, &entry->node);
        turn = entry->end.failed ? WORKER_INITIALIZER_BAD : WORKER_INITIALIZER_DONE;
        if (entry->end.failed) {
            *end = entry->end;
        }
    }
    pthread_mutex_unlock(&initializers->lock);
    return turn;
}

void worker_initializer_ran(struct worker_initializers *initializers,
                            const struct wire_session *session,
                            const struct worker_initializer_end *end) {
    struct entry *entry;

    pthread_mutex_lock(&initializers->lock);
    entry = find(initializers, session);
    BASE_ASSERT(entry != NULL && !entry->ran);
    entry->end = *end;
    entry->ran = true;
    pthread_cond_broadcast(&initializers->ended);
    pthread_mutex_unlock(&initializers->lock);
}

/* -------------------------------------------------------------------- running */

static void fail(struct worker_initializer_end *end, struct wire_text name, int32_t code,
                 const char *how, struct wire_text why) {
    end->failed = true;
    end->code = code;
    (void)snprintf(end->text, sizeof end->text, "the initializer %.*s failed%s%s%.*s",
                   (int)name.size, name.data, how, why.size > 0 ? ": " : "", (int)why.size,
                   why.data);
}

/* The task may be asked to end, but others need the initializer as well: it goes on. */
static void run(furrow_task *context, const struct wire_initializer *initializer,
                struct worker_initializer_end *end) {
    struct task_call call = {
        .function = task_registry_find(initializer->name.data, initializer->name.size),
        .arguments = initializer->arguments,
        .size = initializer->size,
        .attempt = 1,
    };
    struct wire_error error = {0};
    struct task_outcome outcome;
    char how[32];

    *end = (struct worker_initializer_end){0};
    if (call.function == NULL) {
        static const char none[] = "the worker has no task function of this name";

        fail(end, initializer->name, FURROW_ENOFUNCTION, "",
             (struct wire_text){none, sizeof none - 1});
        return;
    }
    outcome = task_run(context, &call);
    if (outcome.kind != WIRE_KIND_VALUE) {
        (void)wire_error_decode(outcome.data, outcome.size, &error);
        (void)snprintf(how, sizeof how, " with code %d", error.code);
        fail(end, initializer->name, error.code, how, error.message);
    }
}

static struct task_outcome refuse(furrow_task *context, enum wire_kind kind,
                                  const struct task_call *call, struct wire_text function,
                                  int32_t code, const char *text) {
    struct wire_error error = {
        .code = code,
        .message = {text, strlen(text)},
        .function = function,
        .attempt = call->attempt,
    };

    return task_refuse(context, kind, &error);
}

struct task_outcome worker_initialized_run(struct worker_initializers *initializers,
                                           furrow_task *context, const struct wire_session *session,
                                           struct task_call *call, bool *failed_now,
                                           struct worker_initializer_end *end) {
    const struct wire_text function = {call->function->name, strlen(call->function->name)};
    struct wire_initializer initializer;
    size_t taken = wire_initializer_decode(call->arguments, call->size, &initializer);
    enum worker_initializer_turn turn;

    *failed_now = false;
    if (taken == 0) {
        return refuse(context, WIRE_KIND_ERROR, call, function, FURROW_EARGS,
                      "the initializer in front of the arguments is malformed");
    }
    call->arguments = (const uint8_t *)call->arguments + taken;
    call->size -= taken;
    turn = worker_initializer_enter(initializers, session, end);
    if (turn == WORKER_INITIALIZER_RUN) {
        run(context, &initializer, end);
        worker_initializer_ran(initializers, session, end);
        *failed_now = end->failed;
        turn = end->failed ? WORKER_INITIALIZER_BAD : WORKER_INITIALIZER_DONE;
    }
    switch (turn) {
    case WORKER_INITIALIZER_BAD:
        return refuse(context, WIRE_KIND_BROKEN, call, initializer.name, end->code, end->text);
    case WORKER_INITIALIZER_NO_MEMORY:
        return refuse(context, WIRE_KIND_ERROR, call, function, FURROW_ENOMEM,
                      "no memory to run the initializer");
    case WORKER_INITIALIZER_RUN:
    case WORKER_INITIALIZER_DONE:
        break;
    }
    return task_run(context, call);
}
