#include "libclient/future_kept.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "libclient/error.h"

/* One allocation that a future keeps. The decoded error is one of them. */
struct future_kept {
    struct future_kept *next;
    const furrow_error *error; /* this is the decoded error */
    max_align_t memory[];
};

static struct future_kept *kept_new(size_t size) {
    struct future_kept *kept;

    if (size > SIZE_MAX - sizeof *kept) {
        return NULL;
    }
    kept = malloc(sizeof *kept + size);
    if (kept != NULL) {
        kept->next = NULL;
        kept->error = NULL;
    }
    return kept;
}

static void kept_push(furrow_future *future, struct future_kept *kept) {
    kept->next = atomic_load_explicit(&future->kept, memory_order_acquire);
    while (!atomic_compare_exchange_weak_explicit(&future->kept, &kept->next, kept,
                                                  memory_order_acq_rel, memory_order_acquire)) {
    }
}

void *future_kept_memory(void *future, size_t size) {
    struct future_kept *kept = kept_new(size);

    if (kept == NULL) {
        return NULL;
    }
    kept_push(future, kept);
    return kept->memory;
}

void future_kept_free(furrow_future *future) {
    struct future_kept *kept = atomic_load_explicit(&future->kept, memory_order_acquire);

    while (kept != NULL) {
        struct future_kept *next = kept->next;

        free(kept);
        kept = next;
    }
}

/* ------------------------------------------------------------- decoded errors */

static const furrow_error *find_error(furrow_future *future) {
    struct future_kept *kept = atomic_load_explicit(&future->kept, memory_order_acquire);

    while (kept != NULL && kept->error == NULL) {
        kept = kept->next;
    }
    return kept == NULL ? NULL : kept->error;
}

const furrow_error *future_error_of(furrow_future *future) {
    const furrow_error *error = find_error(future);
    struct future_kept *kept;
    size_t size;

    BASE_ASSERT(future_done(future) && future->kind != WIRE_KIND_VALUE);
    if (error != NULL) {
        return error;
    }
    size = client_error_bytes(future->task.data, future->task.size);
    kept = kept_new(size);
    if (kept == NULL) {
        return NULL;
    }
    kept->error = client_error_decode((enum wire_kind)future->kind, future->task.data,
                                      future->task.size, kept->memory);
    /* Two threads may both get here: both errors are kept, and each is good as long as the future. */
    kept_push(future, kept);
    return kept->error;
}

/* --------------------------------------------------------------------- blobs */

static void destroy_blob(struct wire_blob *blob) {
    free(blob->data);
    free(blob);
}

struct wire_blob *future_blob_around(uint8_t *data, size_t size) {
    struct wire_blob *blob = malloc(sizeof *blob);

    if (blob != NULL) {
        atomic_init(&blob->refs, 1);
        blob->data = data;
        blob->size = size;
        blob->destroy = destroy_blob;
    }
    return blob;
}
