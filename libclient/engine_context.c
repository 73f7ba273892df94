#include "libclient/engine.h"

#include <zmq.h>

/* One for the process: several with CURVE can crash when they end, and each has threads. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *context;
static unsigned users;

void *engine_context_get(void) {
    void *got;

    pthread_mutex_lock(&lock);
    if (users == 0) {
        context = zmq_ctx_new();
    }
    if (context != NULL) {
        users++;
    }
    got = context;
    pthread_mutex_unlock(&lock);
    return got;
}

void engine_context_put(void) {
    void *old = NULL;

    pthread_mutex_lock(&lock);
    BASE_ASSERT(users > 0);
    if (--users == 0) {
        old = context;
        context = NULL;
    }
    pthread_mutex_unlock(&lock);
    /* Not under the lock: it may take as long as the sockets linger. */
    while (old != NULL && zmq_ctx_term(old) != 0 && zmq_errno() == EINTR) {
    }
}
