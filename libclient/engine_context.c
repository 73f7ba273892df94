#include "libclient/engine.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

/* What ZeroMQ takes for its threads and an executor's first sockets, and some. */
#define DESCRIPTORS 16

/* One for the process: several with CURVE can crash when they end, and each has threads. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *context;
static unsigned users;

/* Whether so many descriptors can be had; errno says why not. */
static bool have_descriptors(void) {
    int fds[DESCRIPTORS], count = 0, error = 0;

    while (count < DESCRIPTORS && (fds[count] = eventfd(0, EFD_CLOEXEC)) >= 0) {
        count++;
    }
    if (count < DESCRIPTORS) {
        error = errno;
    }
    while (count > 0) {
        (void)close(fds[--count]);
    }
    errno = error;
    return error == 0;
}

/* ZeroMQ makes its threads with the first socket, and ends the process where they can't have their
 * descriptors. So these are looked for before, and the threads made at once. */
static void *make_context(void) {
    void *made, *socket;
    int error;

    if (!have_descriptors()) {
        return NULL;
    }
    made = zmq_ctx_new();
    socket = made == NULL ? NULL : zmq_socket(made, ZMQ_PAIR);
    if (socket != NULL) {
        (void)zmq_close(socket);
        return made;
    }
    error = zmq_errno();
    if (made != NULL) {
        (void)zmq_ctx_term(made);
    }
    errno = error;
    return NULL;
}

void *engine_context_get(void) {
    void *got;

    pthread_mutex_lock(&lock);
    if (users == 0) {
        context = make_context();
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
