/* gearmand, with its own C library on both sides.
 *
 *     gearman worker PORT
 *     gearman client PORT CASE...      noop, rtt_p50, queued_N, echo_Nkib, efficiency_Nus, fill_N
 *
 * Tasks are added one by one and run together; a callback gets every result, and checks it. */
#include <libgearman/gearman.h>

#include "tests/bench/peers/peer.h"
#include "tests/bench/work.h"

#define PEER "gearmand"

enum { WORKERS = 2 };

/* ------------------------------------------------------------------ worker */

static void *echo(gearman_job_st *job, void *context, size_t *size, gearman_return_t *status) {
    void *result;

    (void)context;
    *size = gearman_job_workload_size(job);
    result = malloc(*size);
    *status = result != NULL ? GEARMAN_SUCCESS : GEARMAN_WORK_FAIL;
    return result != NULL ? memcpy(result, gearman_job_workload(job), *size) : NULL;
}

static void *spin(gearman_job_st *job, void *context, size_t *size, gearman_return_t *status) {
    uint64_t iterations, *result = malloc(sizeof *result);

    (void)context;
    memcpy(&iterations, gearman_job_workload(job), sizeof iterations);
    *size = sizeof *result;
    *status = result != NULL ? GEARMAN_SUCCESS : GEARMAN_WORK_FAIL;
    if (result != NULL) {
        *result = bench_work(iterations);
    }
    return result;
}

static int work(in_port_t port) {
    gearman_worker_st *worker = gearman_worker_create(NULL);

    gearman_worker_add_server(worker, "127.0.0.1", port);
    gearman_worker_add_function(worker, "echo", 0, echo, NULL);
    gearman_worker_add_function(worker, "spin", 0, spin, NULL);
    while (gearman_worker_work(worker) == GEARMAN_SUCCESS) {
    }
    return 1;
}

/* ------------------------------------------------------------------ client */

static struct {
    gearman_client_st *client;
    long done;
    size_t expected;
} run;

static gearman_return_t on_complete(gearman_task_st *task) {
    run.done += gearman_task_data_size(task) == run.expected;
    return GEARMAN_SUCCESS;
}

static double seconds_for(const char *function, const void *payload, size_t size, long count,
                          long window) {
    gearman_return_t status = GEARMAN_SUCCESS;
    double start = peer_now();

    run.done = 0;
    run.expected = size;
    for (long i = 0; i < count;) {
        for (long end = i + window; i < count && i < end; i++) {
            gearman_client_add_task(run.client, NULL, NULL, function, NULL, payload, size, &status);
            if (status != GEARMAN_SUCCESS) {
                peer_die(PEER, gearman_client_error(run.client));
            }
        }
        if (gearman_client_run_tasks(run.client) != GEARMAN_SUCCESS) {
            peer_die(PEER, gearman_client_error(run.client));
        }
    }
    if (run.done != count) {
        peer_die(PEER, "a result is missing");
    }
    return peer_now() - start;
}

static void round_trips(void) {
    enum { COUNT = 2000, WARM = 100 };
    static double times[COUNT];

    for (int i = -WARM; i < COUNT; i++) {
        gearman_return_t status;
        size_t size = 0;
        double start = peer_now();
        void *result = gearman_client_do(run.client, "echo", NULL, &i, sizeof i, &size, &status);
        if (status != GEARMAN_SUCCESS || size != sizeof i || memcmp(result, &i, size) != 0) {
            peer_die(PEER, "a wrong result");
        }
        free(result);
        if (i >= 0) {
            times[i] = peer_now() - start;
        }
    }
    peer_print_round_trips(PEER, times, COUNT);
}

static void echoes(const char *name) {
    size_t size = peer_echo_bytes(name);
    long count = size <= 1024 ? 10000 : size <= 16384 ? 4000 : 1000;
    char *payload = calloc(1, size);

    peer_print(PEER, name, (double)count / seconds_for("echo", payload, size, count, 100),
               "tasks/s");
    free(payload);
}

static void efficiency(const char *name, double peak) {
    double useful_s = (double)peer_number(name, "efficiency_") * 1e-6;
    uint64_t iterations = (uint64_t)(useful_s * peak / WORKERS);
    long count = (long)(0.5 * WORKERS / (useful_s + 80e-6));

    count = count < 20 ? 20 : count;
    double seconds = seconds_for("spin", &iterations, sizeof iterations, count, count);
    peer_print(PEER, name, (double)count * (double)iterations / seconds / peak, "of 1");
}

/* Leaves so many in the background for nobody, so that somebody can look at the server's memory. */
static void fill(long count) {
    gearman_return_t status;

    for (long i = 0; i < count;) {
        for (long end = i + 1000; i < count && i < end; i++) {
            gearman_client_add_task_background(run.client, NULL, NULL, "nobody", NULL, &i, sizeof i,
                                               &status);
            if (status != GEARMAN_SUCCESS) {
                peer_die(PEER, gearman_client_error(run.client));
            }
        }
        if (gearman_client_run_tasks(run.client) != GEARMAN_SUCCESS) {
            peer_die(PEER, gearman_client_error(run.client));
        }
    }
}

int main(int argc, char **argv) {
    in_port_t port = argc > 2 ? (in_port_t)atoi(argv[2]) : 0;
    double peak = 0;
    long number = 7;

    if (argc == 3 && strcmp(argv[1], "worker") == 0) {
        return work(port);
    }
    for (int i = 0; i < 6; i++) { /* the best of a few, before anything else runs here */
        double rate = bench_work_peak(WORKERS);
        peak = rate > peak ? rate : peak;
    }
    run.client = gearman_client_create(NULL);
    gearman_client_add_server(run.client, "127.0.0.1", port);
    gearman_client_set_complete_fn(run.client, on_complete);
    gearman_client_add_options(run.client, GEARMAN_CLIENT_FREE_TASKS);
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "rtt_p50") == 0) {
            round_trips();
        } else if (strncmp(argv[i], "echo_", 5) == 0) {
            echoes(argv[i]);
        } else if (strncmp(argv[i], "efficiency_", 11) == 0) {
            efficiency(argv[i], peak);
        } else if (strncmp(argv[i], "fill_", 5) == 0) {
            fill(peer_number(argv[i], "fill_"));
        } else {
            long count = peer_number(argv[i], "queued_");
            count = count > 0 ? count : 20000;
            seconds_for("echo", &number, sizeof number, 500, 500);
            peer_print(PEER, argv[i],
                       (double)count / seconds_for("echo", &number, sizeof number, count, count),
                       "tasks/s");
        }
    }
    gearman_client_free(run.client);
    return 0;
}
