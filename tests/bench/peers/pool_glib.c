/* GLib's GThreadPool. It gives no future: every task writes its result into a place of its own. */
#include <glib.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "tests/bench/peers/peer.h"

enum { COUNT = 1000000, TRIPS = 10000 };

static long results[COUNT];
static atomic_long left;
static sem_t done;

static void run(gpointer data, gpointer user) {
    long i = GPOINTER_TO_SIZE(data) - 1; /* a NULL can't be pushed */

    (void)user;
    results[i] = i;
    if (atomic_fetch_sub(&left, 1) == 1) {
        sem_post(&done);
    }
}

static void push(GThreadPool *pool, long i) {
    g_thread_pool_push(pool, GSIZE_TO_POINTER(i + 1), NULL);
}

int main(void) {
    static double times[TRIPS];
    GThreadPool *pool = g_thread_pool_new(run, NULL, 2, TRUE, NULL);

    sem_init(&done, 0, 0);
    for (int round = 0; round < 2; round++) {
        long sum = 0;
        double start = peer_now();
        atomic_store(&left, COUNT);
        for (long i = 0; i < COUNT; i++) {
            push(pool, i);
        }
        sem_wait(&done);
        for (long i = 0; i < COUNT; i++) {
            sum += results[i];
        }
        if (sum != (long)COUNT / 2 * (COUNT - 1)) {
            peer_die("glib", "a wrong result");
        }
        if (round == 1) {
            peer_print("glib", "noop", COUNT / (peer_now() - start), "tasks/s");
        }
    }
    for (int i = 0; i < TRIPS; i++) {
        double start = peer_now();
        atomic_store(&left, 1);
        push(pool, i);
        sem_wait(&done);
        times[i] = peer_now() - start;
    }
    peer_print_round_trips("glib", times, TRIPS);
    g_thread_pool_free(pool, TRUE, TRUE);
    return 0;
}
