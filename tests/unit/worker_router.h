/* A broker that does only what a test tells it to, over a real socket: for tests with worker processes.
 * Each function fails the test if something is not as it should be. */
#ifndef TEST_WORKER_ROUTER_H
#define TEST_WORKER_ROUTER_H

#include "wire/link.h"

#define ROUTER_PEERS   64
#define ROUTER_RESULTS 256

struct router_peer {
    uint64_t address; /* 0: free */
    struct wire_session session;
    struct link link;
    char name[64];
    int64_t pid;
    uint32_t slots;
    char functions[32][64];
    uint32_t function_count;
    bool drains, gone; /* DRAIN, BYE came */
};

struct router_result {
    uint64_t lease;
    enum wire_kind kind;
    uint8_t data[256]; /* its first bytes */
    size_t size;
};

struct router {
    char directory[64];
    char endpoint[96];
    void *zmq, *socket;
    struct router_peer peers[ROUTER_PEERS];
    struct router_result results[ROUTER_RESULTS];
    uint32_t result_count;
    uint64_t running[ROUTER_RESULTS]; /* leases reported as RUNNING */
    uint32_t running_count;
    uint64_t returned[ROUTER_RESULTS];
    uint32_t returned_count;
};

void router_open(struct router *router);
void router_close(struct router *router);
/* router_pump takes in what comes within timeout_ms; returns once there was something. */
void router_pump(struct router *router, int timeout_ms);
/* router_peer_of finds a worker by its session, NULL if it has not said HELLO. */
struct router_peer *router_peer_of(struct router *router, struct wire_session session);
/* router_run gives a worker a task; the arguments are packed values. */
void router_run(struct router *router, struct router_peer *peer, uint64_t lease,
                const char *function, const void *arguments, size_t size, uint64_t run_ms);
/* router_result_of gives the outcome of a lease, NULL if it has not come. */
const struct router_result *router_result_of(const struct router *router, uint64_t lease);

#endif
