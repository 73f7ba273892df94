#include <errno.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/pool_private.h"

/* A batch should take about this long: short enough that nothing waits behind it for long, long
 * enough that the lock is rare. */
#define BATCH_NS 20000
/* A batch that has lasted this much longer is stuck behind a long work: others take it over. */
#define STUCK_NS 100000

struct base_work base_pool_closed_mark;
struct base_work base_pool_broken_mark;

int base_pool_refusal(const struct base_work *mark) {
    return mark == &base_pool_closed_mark ? ESHUTDOWN : ECANCELED;
}

/* ---- the ready list ---- */

static void list_append(struct base_pool_list *list, struct base_work *first,
                        struct base_work *last, size_t count) {
    if (list->first == NULL) {
        list->first = first;
    } else {
        list->last->next = first;
    }
    list->last = last;
    list->count += count;
}

static void list_prepend(struct base_pool_list *list, struct base_work *first,
                         struct base_work *last, size_t count) {
    last->next = list->first;
    if (list->first == NULL) {
        list->last = last;
    }
    list->first = first;
    list->count += count;
}

int base_pool_put_ahead(struct base_pool *pool, struct base_work *first, struct base_work *last,
                        size_t count) {
    const struct base_work *head = atomic_load(&pool->inject);

    if (base_pool_is_mark(head)) {
        return base_pool_refusal(head);
    }
    list_prepend(&pool->ready, first, last, count);
    return 0;
}

/* Appends an injected chain, which is newest first, in its right order. */
static void append_injected(struct base_pool *pool, struct base_work *newest) {
    struct base_work *first = NULL;
    size_t count = 0;

    for (struct base_work *work = newest; work != NULL; count++) {
        struct base_work *older = work->next;

        work->next = first;
        first = work;
        work = older;
    }
    if (count > 0) {
        list_append(&pool->ready, first, newest, count);
    }
}

/* Only who has the lock takes from or closes the inject list, so a mark can't be lost between the
 * look and the exchange. */
void base_pool_absorb(struct base_pool *pool) {
    if (base_pool_injected(pool)) {
        append_injected(pool, atomic_exchange(&pool->inject, NULL));
    }
}

void base_pool_close(struct base_pool *pool, struct base_work *mark) {
    if (!base_pool_is_mark(atomic_load(&pool->inject))) {
        append_injected(pool, atomic_exchange(&pool->inject, mark));
    }
}

/* ---- batches ---- */

#define POSITION_ONE (UINT64_C(1) << 8)
#define EPOCH_ONE    (UINT64_C(1) << 16)

static unsigned cursor_position(uint64_t cursor) {
    return (unsigned)(cursor >> 8) & 0xff;
}

static unsigned cursor_count(uint64_t cursor) {
    return (unsigned)cursor & 0xff;
}

static unsigned batch_left(struct base_pool_batch *batch) {
    uint64_t cursor = atomic_load(&batch->cursor);

    return cursor_count(cursor) - cursor_position(cursor);
}

/* Makes slots 0 to count - 1 the contents. Owner only, and only while the batch is empty. */
static void batch_publish(struct base_pool_batch *batch, unsigned count) {
    uint64_t cursor = atomic_load_explicit(&batch->cursor, memory_order_relaxed);

    BASE_ASSERT(cursor_position(cursor) == cursor_count(cursor));
    atomic_store(&batch->cursor, ((cursor & ~(EPOCH_ONE - 1)) + EPOCH_ONE) | count);
}

/* Takes works from the front: half of them, rounded up, or all. Returns how many. */
static unsigned batch_take(struct base_pool_batch *batch, bool all,
                           struct base_work *works[BASE_POOL_BATCH_MAX]) {
    uint64_t cursor = atomic_load(&batch->cursor);

    for (;;) {
        unsigned position = cursor_position(cursor);
        unsigned left = cursor_count(cursor) - position;
        unsigned count = all ? left : (left + 1) / 2;

        if (left == 0) {
            return 0;
        }
        for (unsigned i = 0; i < count; i++) {
            works[i] = atomic_load_explicit(&batch->slots[position + i], memory_order_relaxed);
        }
        if (atomic_compare_exchange_weak(&batch->cursor, &cursor, cursor + count * POSITION_ONE)) {
            return count;
        }
    }
}

/* Whoever takes a work is RUNNING before the work is gone from where it was: a submitter counts what is
 * queued and then who is free, and must not miss a work and count its taker as free. */
static void set_running(struct base_pool_thread *thread) {
    atomic_store_explicit(&thread->state, BASE_POOL_RUNNING, memory_order_relaxed);
}

struct base_work *base_pool_pop(struct base_pool_thread *thread) {
    struct base_pool_batch *batch = &thread->batch;
    uint64_t cursor = atomic_load_explicit(&batch->cursor, memory_order_relaxed);

    if (cursor_position(cursor) < cursor_count(cursor)) {
        set_running(thread);
    }
    while (cursor_position(cursor) < cursor_count(cursor)) {
        struct base_work *work =
            atomic_load_explicit(&batch->slots[cursor_position(cursor)], memory_order_relaxed);

        if (atomic_compare_exchange_weak(&batch->cursor, &cursor, cursor + POSITION_ONE)) {
            return work;
        }
    }
    return NULL;
}

/* Puts what is left of a batch in front of the ready list, where it came from. Under the lock. */
static void batch_return(struct base_pool *pool, struct base_pool_batch *batch) {
    struct base_work *works[BASE_POOL_BATCH_MAX];
    unsigned count = batch_take(batch, true, works);

    while (count > 0) {
        struct base_work *work = works[--count];

        list_prepend(&pool->ready, work, work, 1);
    }
}

void base_pool_gather(struct base_pool *pool) {
    unsigned created = atomic_load(&pool->created);

    base_pool_absorb(pool);
    for (unsigned i = 0; i < created; i++) {
        batch_return(pool, &pool->threads[i]->batch);
    }
}

size_t base_pool_queued(struct base_pool *pool) {
    unsigned created = atomic_load(&pool->created);
    size_t queued;

    base_pool_absorb(pool);
    queued = pool->ready.count;
    for (unsigned i = 0; i < created; i++) {
        queued += batch_left(&pool->threads[i]->batch);
    }
    return queued;
}

/* ---- finding work ---- */

/* Learns from the batch that has just ended how long a work takes. */
static void note_run_time(struct base_pool_thread *thread, uint64_t now_ns) {
    struct base_pool *pool = thread->pool;
    uint64_t since_ns = atomic_load_explicit(&thread->since_ns, memory_order_relaxed);
    uint64_t sample_ns;

    if (thread->ran == 0) {
        return;
    }
    sample_ns = (now_ns - since_ns) / thread->ran;
    pool->mean_ns = sample_ns > pool->mean_ns ? sample_ns : (pool->mean_ns + sample_ns) / 2;
    thread->ran = 0;
}

/* Works in a batch would wait without end behind a long one while the others have plenty of newer
 * ones: so now and then somebody brings them back. Under the lock. */
static void rescue_stuck(struct base_pool *pool, uint64_t now_ns) {
    unsigned created = atomic_load(&pool->created);

    if (now_ns - pool->rescue_ns < STUCK_NS) {
        return;
    }
    pool->rescue_ns = now_ns;
    for (unsigned i = 0; i < created; i++) {
        struct base_pool_thread *thread = pool->threads[i];
        uint64_t since_ns = atomic_load_explicit(&thread->since_ns, memory_order_relaxed);

        if (now_ns > since_ns + STUCK_NS && batch_left(&thread->batch) > 0) {
            batch_return(pool, &thread->batch);
        }
    }
}

/* How many works a thread should claim at once: so many as take BATCH_NS, but not more than its share
 * of what is there. */
static size_t claim_size(const struct base_pool *pool) {
    unsigned idle = atomic_load_explicit(&pool->idle, memory_order_relaxed);
    unsigned awake = pool->live - idle / BASE_POOL_SLEEPER;
    size_t share = (pool->ready.count + awake - 1) / (awake > 0 ? awake : 1);
    size_t size = BATCH_NS / (pool->mean_ns + 1);

    if (size > BASE_POOL_BATCH_MAX) {
        size = BASE_POOL_BATCH_MAX;
    }
    if (size > share) {
        size = share;
    }
    return size > 0 ? size : 1;
}

/* Takes the first ready work, and some more into the batch. Under the lock. */
static struct base_work *claim(struct base_pool_thread *thread, bool *more) {
    struct base_pool *pool = thread->pool;
    struct base_work *work, *next;
    unsigned count = 0;
    size_t size;

    if (pool->ready.count == 0) {
        base_pool_absorb(pool);
    }
    work = pool->ready.first;
    if (work == NULL) {
        return NULL;
    }
    set_running(thread);
    size = claim_size(pool);
    for (next = work->next; count + 1 < size && next != NULL; next = next->next) {
        atomic_store_explicit(&thread->batch.slots[count++], next, memory_order_relaxed);
    }
    pool->ready.first = next;
    pool->ready.count -= count + 1;
    if (count > 0) {
        batch_publish(&thread->batch, count);
    }
    *more = count > 0 || pool->ready.count > 0 || base_pool_injected(pool);
    return work;
}

/* Takes half of somebody's batch. */
static struct base_work *steal(struct base_pool_thread *thread, bool *more) {
    struct base_pool *pool = thread->pool;
    unsigned created = atomic_load(&pool->created);
    struct base_work *works[BASE_POOL_BATCH_MAX];

    for (unsigned i = 1; i < created; i++) {
        struct base_pool_thread *victim = pool->threads[(thread->index + i) % created];
        unsigned count;

        if (batch_left(&victim->batch) == 0) {
            continue;
        }
        set_running(thread);
        count = batch_take(&victim->batch, false, works);
        if (count == 0) {
            atomic_store_explicit(&thread->state, BASE_POOL_LOOKING, memory_order_relaxed);
            continue;
        }
        for (unsigned j = 1; j < count; j++) {
            atomic_store_explicit(&thread->batch.slots[j - 1], works[j], memory_order_relaxed);
        }
        if (count > 1) {
            batch_publish(&thread->batch, count - 1);
        }
        *more = count > 1 || batch_left(&victim->batch) > 0;
        return works[0];
    }
    return NULL;
}

struct base_work *base_pool_find(struct base_pool_thread *thread, bool *more) {
    struct base_pool *pool = thread->pool;
    uint64_t now_ns = base_clock_ns();
    struct base_work *work;

    pthread_mutex_lock(&pool->lock);
    note_run_time(thread, now_ns);
    rescue_stuck(pool, now_ns);
    atomic_store_explicit(&thread->since_ns, now_ns, memory_order_relaxed);
    work = claim(thread, more);
    pthread_mutex_unlock(&pool->lock);
    if (work == NULL) {
        work = steal(thread, more);
    }
    atomic_store_explicit(&pool->backlog, work != NULL && *more, memory_order_relaxed);
    return work;
}
