#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/list.h"
#include "libclient/completion.h"
#include "libclient/future.h"
#include "task/status.h"

/* One future in the queue. It is in `entries` until it is handed out. */
struct entry {
    struct future_watch watch;
    struct base_inbox_node node;
    struct base_node link;
    furrow_future *future;
    void *user;
    furrow_completion_queue *queue;
};

/* Freed when the user has let it go and the last watch has been told. */
struct furrow_completion_queue {
    struct completion completion;
    atomic_size_t refs;
    atomic_bool raised; /* the descriptor is readable, or about to be */
    int fd;
    pthread_mutex_t lock; /* over the reader's side of completion, and entries */
    struct base_list entries;
};

static void entry_free(struct entry *entry) {
    future_drop(entry->future);
    free(entry);
}

static void unref(furrow_completion_queue *queue) {
    struct base_node *node;

    if (atomic_fetch_sub(&queue->refs, 1) > 1) {
        return;
    }
    while ((node = base_list_pop_front(&queue->entries)) != NULL) {
        entry_free(BASE_LIST_ENTRY(node, struct entry, link));
    }
    (void)close(queue->fd);
    (void)pthread_mutex_destroy(&queue->lock);
    free(queue);
}

static void raise_fd(furrow_completion_queue *queue) {
    uint64_t one = 1;
    int saved = errno;

    if (!atomic_exchange(&queue->raised, true)) {
        /* It can't block or fail: the counter is 0 or 1. */
        (void)!write(queue->fd, &one, sizeof one);
    }
    errno = saved;
}

/* lower_fd makes the descriptor unreadable unless something has come meanwhile. The lock is held. */
static void lower_fd(furrow_completion_queue *queue) {
    uint64_t count;

    if (!atomic_load(&queue->raised)) {
        return;
    }
    (void)!read(queue->fd, &count, sizeof count);
    atomic_store(&queue->raised, false);
    if (!base_inbox_empty(&queue->completion.inbox)) {
        raise_fd(queue);
    }
}

static void settle(void *object) {
    furrow_completion_queue *queue = object;

    raise_fd(queue);
    unref(queue);
}

static void notify(struct future_watch *watch, furrow_future *future) {
    struct entry *entry = BASE_CONTAINER_OF(watch, struct entry, watch);
    furrow_completion_queue *queue = entry->queue;

    (void)future;
    (void)completion_push(&queue->completion, &entry->node);
    if (!atomic_load(&queue->raised)) {
        future_owe(settle, queue);
        return;
    }
    unref(queue);
}

furrow_completion_queue *furrow_completion_queue_new(void) {
    furrow_completion_queue *queue = malloc(sizeof *queue);

    if (queue == NULL) {
        (void)task_set_plain_error(FURROW_ENOMEM);
        return NULL;
    }
    queue->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (queue->fd < 0) {
        (void)task_set_error(FURROW_ESYSTEM, "eventfd: %s", strerror(errno));
        free(queue);
        return NULL;
    }
    completion_init(&queue->completion);
    atomic_init(&queue->refs, 1);
    atomic_init(&queue->raised, false);
    (void)pthread_mutex_init(&queue->lock, NULL);
    base_list_init(&queue->entries);
    return queue;
}

int furrow_completion_queue_fd(const furrow_completion_queue *queue) {
    return queue->fd;
}

furrow_status furrow_completion_queue_add(furrow_completion_queue *queue, furrow_future *future,
                                          void *user) {
    struct entry *entry = malloc(sizeof *entry);

    if (entry == NULL) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    entry->watch.notify = notify;
    entry->future = furrow_future_ref(future);
    entry->user = user;
    entry->queue = queue;
    base_node_init(&entry->link);
    atomic_fetch_add(&queue->refs, 1);
    pthread_mutex_lock(&queue->lock);
    base_list_push_back(&queue->entries, &entry->link);
    pthread_mutex_unlock(&queue->lock);
    future_watch(future, &entry->watch);
    return FURROW_OK;
}

furrow_status furrow_completion_queue_next(furrow_completion_queue *queue, furrow_future **future,
                                           void **user) {
    struct base_inbox_node *node;
    struct entry *entry;

    *future = NULL;
    pthread_mutex_lock(&queue->lock);
    node = completion_look(&queue->completion);
    if (node != NULL) {
        base_list_remove(&BASE_CONTAINER_OF(node, struct entry, node)->link);
    }
    if (queue->completion.taken == NULL && base_inbox_empty(&queue->completion.inbox)) {
        lower_fd(queue);
    }
    pthread_mutex_unlock(&queue->lock);
    if (node == NULL) {
        return task_set_plain_error(FURROW_EEND);
    }
    entry = BASE_CONTAINER_OF(node, struct entry, node);
    *future = entry->future;
    if (user != NULL) {
        *user = entry->user;
    }
    free(entry);
    return FURROW_OK;
}

/* unwatch_all takes back the watches that have not been told. It can't hold the lock while it does:
 * future_watch calls notify at once if the future is done. */
static void unwatch_all(furrow_completion_queue *queue) {
    BASE_LIST_FOREACH(&queue->entries, node) {
        struct entry *entry = BASE_LIST_ENTRY(node, struct entry, link);

        if (future_unwatch(entry->future, &entry->watch)) {
            unref(queue);
        }
    }
}

void furrow_completion_queue_free(furrow_completion_queue **queue) {
    furrow_completion_queue *old;

    if (queue == NULL || *queue == NULL) {
        return;
    }
    old = *queue;
    *queue = NULL;
    unwatch_all(old);
    unref(old);
}
