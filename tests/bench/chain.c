/* The floor: raw libzmq, client -> broker -> worker -> back, a process per role and one thread each.
 * The client is a DEALER, the broker two ROUTERs that pass messages on, the workers DEALERs that copy
 * their input. Nothing is packed, numbered or remembered. */
#include "tests/bench/bench.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

enum { CHAIN_WORKERS = 2, CHAIN_WINDOW = 1000, CHAIN_CREDIT = 100, CHAIN_BYTES = 32 };

struct chain {
    char front[128], back[128];
    pid_t processes[1 + CHAIN_WORKERS];
    int process_count;
    void *context, *socket;
};

static void *chain_socket(void *context, int type) {
    void *socket = zmq_socket(context, type);
    int none = 0;

    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &none, sizeof none);
    return socket;
}

/* Moves the rest of a message, part by part. */
static void forward(void *from, void *to) {
    zmq_msg_t part;
    int more = 1;

    while (more) {
        zmq_msg_init(&part);
        if (zmq_msg_recv(&part, from, 0) < 0) {
            return;
        }
        more = zmq_msg_more(&part);
        zmq_msg_send(&part, to, more ? ZMQ_SNDMORE : 0);
    }
}

struct chain_worker {
    unsigned char id[16];
    size_t id_size;
    int free;
};

/* A result: [worker][client][payload] goes on as [client][payload]. False: there is none. */
static bool pass_result(void *back, void *front, struct chain_worker *workers, int worker_count,
                        int *slots) {
    unsigned char id[16];
    int size = zmq_recv(back, id, sizeof id, ZMQ_DONTWAIT);

    if (size < 0) {
        return false;
    }
    for (int i = 0; i < worker_count; i++) {
        if (workers[i].id_size == (size_t)size && memcmp(workers[i].id, id, (size_t)size) == 0) {
            workers[i].free++;
            ++*slots;
        }
    }
    forward(back, front);
    return true;
}

/* A request: [client][payload] goes on as [worker][client][payload]. False: there is none. */
static bool pass_request(void *front, void *back, struct chain_worker *workers, int worker_count,
                         int *next, int *slots) {
    zmq_msg_t client;

    zmq_msg_init(&client);
    if (zmq_msg_recv(&client, front, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&client);
        return false;
    }
    while (workers[*next].free == 0) {
        *next = (*next + 1) % worker_count;
    }
    struct chain_worker *worker = &workers[*next];
    *next = (*next + 1) % worker_count;
    worker->free--;
    --*slots;
    zmq_send(back, worker->id, worker->id_size, ZMQ_SNDMORE);
    zmq_msg_send(&client, back, ZMQ_SNDMORE);
    forward(front, back);
    return true;
}

static void chain_broker(const struct chain *chain) {
    void *context = zmq_ctx_new();
    void *front = chain_socket(context, ZMQ_ROUTER), *back = chain_socket(context, ZMQ_ROUTER);
    struct chain_worker workers[CHAIN_WORKERS];
    int next = 0, slots = 0;

    if (zmq_bind(front, chain->front) != 0 || zmq_bind(back, chain->back) != 0) {
        _exit(1);
    }
    for (int i = 0; i < CHAIN_WORKERS; i++) {
        char ready[8];
        int size = zmq_recv(back, workers[i].id, sizeof workers[i].id, 0);
        workers[i].id_size = size > 0 ? (size_t)size : 0;
        workers[i].free = CHAIN_CREDIT;
        slots += CHAIN_CREDIT;
        zmq_recv(back, ready, sizeof ready, 0);
    }
    for (;;) {
        zmq_pollitem_t items[] = {{back, 0, ZMQ_POLLIN, 0}, {front, 0, ZMQ_POLLIN, 0}};
        zmq_poll(items, slots > 0 ? 2 : 1, -1);
        for (int i = 0; i < 256; i++) {
            if (!pass_result(back, front, workers, CHAIN_WORKERS, &slots)) {
                break;
            }
        }
        for (int i = 0; i < 256 && slots > 0; i++) {
            if (!pass_request(front, back, workers, CHAIN_WORKERS, &next, &slots)) {
                break;
            }
        }
    }
}

static void chain_worker(const struct chain *chain) {
    void *context = zmq_ctx_new();
    void *socket = chain_socket(context, ZMQ_DEALER);

    zmq_connect(socket, chain->back);
    zmq_send(socket, "ready", 5, 0);
    for (;;) {
        zmq_msg_t client, payload, result;

        zmq_msg_init(&client);
        zmq_msg_init(&payload);
        if (zmq_msg_recv(&client, socket, 0) < 0 || zmq_msg_recv(&payload, socket, 0) < 0) {
            _exit(1);
        }
        zmq_msg_init_size(&result, zmq_msg_size(&payload));
        memcpy(zmq_msg_data(&result), zmq_msg_data(&payload), zmq_msg_size(&payload));
        zmq_msg_close(&payload);
        zmq_msg_send(&client, socket, ZMQ_SNDMORE);
        zmq_msg_send(&result, socket, 0);
    }
}

static void chain_stop(struct chain *chain) {
    if (chain->context != NULL) {
        zmq_close(chain->socket);
        zmq_ctx_term(chain->context);
    }
    for (int i = 0; i < chain->process_count; i++) {
        kill(chain->processes[i], SIGKILL);
        waitpid(chain->processes[i], NULL, 0);
    }
    if (strncmp(chain->front, "ipc://", 6) == 0) {
        unlink(chain->front + 6);
        unlink(chain->back + 6);
    }
}

/* Forks before this process has a context of its own; the children have one thread. */
static bool chain_start(struct chain *chain, const char *transport) {
    int port = 20000 + (int)(getpid() % 20000);

    memset(chain, 0, sizeof *chain);
    if (strcmp(transport, "ipc") == 0) {
        snprintf(chain->front, sizeof chain->front, "ipc:///tmp/furrow-chain-%d-f", (int)getpid());
        snprintf(chain->back, sizeof chain->back, "ipc:///tmp/furrow-chain-%d-b", (int)getpid());
    } else {
        snprintf(chain->front, sizeof chain->front, "tcp://127.0.0.1:%d", port);
        snprintf(chain->back, sizeof chain->back, "tcp://127.0.0.1:%d", port + 1);
    }
    for (int i = 0; i < 1 + CHAIN_WORKERS; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (i == 0) {
                chain_broker(chain);
            } else {
                chain_worker(chain);
            }
            _exit(0);
        }
        if (pid < 0) {
            chain_stop(chain);
            return false;
        }
        chain->processes[chain->process_count++] = pid;
    }
    chain->context = zmq_ctx_new();
    chain->socket = chain_socket(chain->context, ZMQ_DEALER);
    zmq_connect(chain->socket, chain->front);
    return true;
}

static void round_trip(void *socket, const void *payload, size_t size) {
    zmq_msg_t message;

    zmq_send(socket, payload, size, 0);
    zmq_msg_init(&message);
    zmq_msg_recv(&message, socket, 0);
    zmq_msg_close(&message);
}

/* Messages a second with CHAIN_WINDOW outstanding (16 for large ones). */
static double chain_rate(const struct bench_case *self) {
    struct chain chain;
    size_t size = (size_t)self->parameter;
    int64_t count = bench_count(self->count), sent = 0, received = 0;
    int64_t window = size > 65536 ? 16 : size > 1024 ? 100 : CHAIN_WINDOW;
    char *payload = calloc(1, size);

    if (payload == NULL || !chain_start(&chain, self->url)) {
        free(payload);
        return -1;
    }
    for (int i = 0; i < 20; i++) {
        round_trip(chain.socket, payload, size);
    }
    double start = bench_now();
    while (received < count) {
        zmq_msg_t message;
        int flags = 0;

        for (; sent < count && sent - received < window; sent++) {
            zmq_msg_init_size(&message, size);
            memcpy(zmq_msg_data(&message), payload, size);
            zmq_msg_send(&message, chain.socket, 0);
        }
        for (int i = 0; i < 256 && received < count; i++, flags = ZMQ_DONTWAIT) {
            zmq_msg_init(&message);
            if (zmq_msg_recv(&message, chain.socket, flags) < 0) {
                zmq_msg_close(&message);
                break;
            }
            zmq_msg_close(&message);
            received++;
        }
    }
    double rate = (double)count / (bench_now() - start);
    chain_stop(&chain);
    free(payload);
    return rate;
}

/* The same with a hundred tasks in each message: what batching alone is worth. */
static double chain_rate_of_100(const struct bench_case *self) {
    double rate = chain_rate(self);

    return rate < 0 ? rate : rate * 100;
}

static double chain_bandwidth(const struct bench_case *self) {
    double rate = chain_rate(self);

    return rate < 0 ? rate : rate * (double)self->parameter / 1e9;
}

static double chain_round_trip(const struct bench_case *self) {
    struct chain chain;
    int64_t count = bench_count(self->count);
    double *times = calloc((size_t)count, sizeof *times);
    char payload[CHAIN_BYTES] = {1};

    if (times == NULL || !chain_start(&chain, self->url)) {
        free(times);
        return -1;
    }
    for (int64_t i = -1000; i < count; i++) {
        double start = bench_now();
        round_trip(chain.socket, payload, sizeof payload);
        if (i >= 0) {
            times[i] = (bench_now() - start) * 1e6;
        }
    }
    chain_stop(&chain);
    double median = bench_percentile(times, (size_t)count, 0.5);
    bench_also(self, "_p99", bench_percentile(times, (size_t)count, 0.99), "us");
    free(times);
    return median;
}

const struct bench_case bench_chain_cases[] = {
    {"chain.ipc.noop", "tasks/s", chain_rate, "ipc", 500000, CHAIN_BYTES},
    {"chain.tcp.noop", "tasks/s", chain_rate, "tcp", 500000, CHAIN_BYTES},
    {"chain.ipc.rtt_p50", "us", chain_round_trip, "ipc", 20000, 0},
    {"chain.tcp.rtt_p50", "us", chain_round_trip, "tcp", 20000, 0},
    {"chain.ipc.noop_100", "tasks/s", chain_rate_of_100, "ipc", 50000, 100 * CHAIN_BYTES},
    {"chain.tcp.noop_100", "tasks/s", chain_rate_of_100, "tcp", 50000, 100 * CHAIN_BYTES},
    {"chain.ipc.echo_1kib", "tasks/s", chain_rate, "ipc", 100000, 1 << 10},
    {"chain.ipc.echo_16kib", "tasks/s", chain_rate, "ipc", 30000, 16 << 10},
    {"chain.ipc.echo_128kib", "tasks/s", chain_rate, "ipc", 10000, 128 << 10},
    {"chain.tcp.echo_1kib", "tasks/s", chain_rate, "tcp", 100000, 1 << 10},
    {"chain.tcp.echo_16kib", "tasks/s", chain_rate, "tcp", 30000, 16 << 10},
    {"chain.tcp.echo_128kib", "tasks/s", chain_rate, "tcp", 10000, 128 << 10},
    {"chain.ipc.echo_64kib", "GB/s", chain_bandwidth, "ipc", 20000, 1 << 16},
    {"chain.ipc.echo_1mib", "GB/s", chain_bandwidth, "ipc", 2000, 1 << 20},
    {"chain.ipc.echo_16mib", "GB/s", chain_bandwidth, "ipc", 150, 16 << 20},
    {"chain.tcp.echo_64kib", "GB/s", chain_bandwidth, "tcp", 20000, 1 << 16},
    {"chain.tcp.echo_1mib", "GB/s", chain_bandwidth, "tcp", 2000, 1 << 20},
    {"chain.tcp.echo_16mib", "GB/s", chain_bandwidth, "tcp", 150, 16 << 20},
    {NULL, NULL, NULL, NULL, 0, 0},
};
