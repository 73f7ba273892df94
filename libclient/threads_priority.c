#include <errno.h>

#include "base/assert.h"
#include "libclient/future_memory.h"
#include "libclient/threads.h"

/* The pool is a queue, first in first out. Tasks of other than the default priority wait in a heap
 * beside it, and for each of them a ticket stands in the pool's queue. A ticket lets a thread run the
 * foremost task of the heap, whichever that is. A thread that gets an ordinary task while a more urgent
 * one is in the heap runs that, and leaves the ordinary one in the heap: so there are always as many
 * tickets as tasks in the heap, and no thread idles while there is something to run. */

bool threads_side_init(struct threads_side *side) {
    base_heap_init(&side->heap);
    side->sequence = 0;
    atomic_init(&side->count, 0);
    return pthread_mutex_init(&side->lock, NULL) == 0;
}

void threads_side_fini(struct threads_side *side) {
    BASE_ASSERT(side->heap.count == 0);
    base_heap_fini(&side->heap);
    (void)pthread_mutex_destroy(&side->lock);
}

/* The smallest key comes first: high priorities, and among equal ones the older task. */
#define SEQUENCE_BITS 56
#define DEFAULT_RANK  127U

static unsigned rank_of(uint64_t key) {
    return (unsigned)(key >> SEQUENCE_BITS);
}

/* insert can't fail: there is room. The lock is held. */
static void insert(struct threads_side *side, furrow_future *future) {
    unsigned rank = (unsigned)(127 - future->class_->define.priority);
    struct threads_part *part = threads_part(future);
    bool inserted;

    base_heap_node_init(&part->priority);
    inserted = base_heap_insert(&side->heap, &part->priority,
                                ((uint64_t)rank << SEQUENCE_BITS) | side->sequence++);
    BASE_ASSERT(inserted);
    atomic_store(&side->count, side->heap.count);
}

static furrow_future *pop(struct threads_side *side) {
    struct base_heap_node *node = base_heap_pop(&side->heap);

    BASE_ASSERT(node != NULL);
    atomic_store(&side->count, side->heap.count);
    return threads_future(BASE_CONTAINER_OF(node, struct threads_part, priority));
}

furrow_future *threads_side_take(struct threads_executor *threads) {
    furrow_future *future;

    pthread_mutex_lock(&threads->side.lock);
    future = pop(&threads->side);
    pthread_mutex_unlock(&threads->side.lock);
    return future;
}

/* make_tickets returns a chain of works, linked by next, or NULL without memory. */
static furrow_future *make_tickets(size_t count, furrow_future **last) {
    furrow_future *first = NULL;

    *last = NULL;
    while (count-- > 0) {
        furrow_future *ticket = future_new(NULL);

        if (ticket == NULL) {
            while (first != NULL) {
                ticket = first;
                first = first->next;
                future_drop(ticket);
            }
            return NULL;
        }
        ticket->own_flags = THREADS_TICKET;
        ticket->next = first;
        first = ticket;
        if (*last == NULL) {
            *last = ticket;
        }
    }
    return first;
}

static void drop_works(struct base_work *work) {
    while (work != NULL) {
        struct base_work *next = work->next;

        future_drop(future_of_work(work));
        work = next;
    }
}

/* link_works makes a chain of futures one of works. */
static void link_works(furrow_future *first) {
    while (first != NULL) {
        furrow_future *next = first->next;

        first->work.next = next == NULL ? NULL : &next->work;
        first = next;
    }
}

/* The heap and the pool are changed under one lock, so that a failure can be undone before any thread
 * has seen the task. */
int threads_side_submit(struct threads_executor *threads, furrow_future *first, size_t count) {
    struct threads_side *side = &threads->side;
    furrow_future *last_ticket;
    furrow_future *tickets = make_tickets(count, &last_ticket);
    int error = ENOMEM;

    if (tickets == NULL) {
        return ENOMEM;
    }
    link_works(tickets);
    pthread_mutex_lock(&side->lock);
    if (base_heap_reserve(&side->heap, side->heap.count + count)) {
        furrow_future *future = first;

        for (size_t i = 0; i < count; i++, future = future->next) {
            insert(side, future);
        }
        error = base_pool_submit_batch(threads->pool, &tickets->work, &last_ticket->work, count);
        future = first;
        for (size_t i = 0; error != 0 && i < count; i++, future = future->next) {
            base_heap_remove(&side->heap, &threads_part(future)->priority);
        }
        atomic_store(&side->count, side->heap.count);
    }
    pthread_mutex_unlock(&side->lock);
    if (error != 0) {
        drop_works(&tickets->work);
    }
    return error;
}

/* Whether ordinary tasks wait behind a ticket that has just come out of the queue. */
static bool ordinary_ones_wait(struct threads_executor *threads) {
    struct base_pool_counts counts;

    base_pool_counts(threads->pool, &counts);
    return counts.queued > threads->side.heap.count - 1;
}

furrow_future *threads_side_choose(struct threads_executor *threads, furrow_future *future) {
    struct threads_side *side = &threads->side;
    bool is_ticket = (future->own_flags & THREADS_TICKET) != 0;
    furrow_future *chosen = future;

    pthread_mutex_lock(&side->lock);
    if (is_ticket) {
        uint64_t key = base_heap_peek(&side->heap)->key;

        if (rank_of(key) > DEFAULT_RANK && ordinary_ones_wait(threads) &&
            base_pool_submit(threads->pool, &future->work) == 0) {
            pthread_mutex_unlock(&side->lock);
            return NULL;
        }
        chosen = pop(side);
    } else if (side->heap.count > 0 && rank_of(base_heap_peek(&side->heap)->key) <= DEFAULT_RANK) {
        chosen = pop(side);
        insert(side, future);
    }
    pthread_mutex_unlock(&side->lock);
    if (is_ticket) {
        future_drop(future);
    }
    return chosen;
}
