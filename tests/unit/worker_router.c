#include "worker_router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "wire/zmq.h"

void router_open(struct router *router) {
    memset(router, 0, sizeof *router);
    (void)snprintf(router->directory, sizeof router->directory, "/tmp/furrow-test-XXXXXX");
    assert_non_null(mkdtemp(router->directory));
    (void)snprintf(router->endpoint, sizeof router->endpoint, "ipc://%s/socket", router->directory);
    router->zmq = zmq_ctx_new();
    assert_non_null(router->zmq);
    router->socket = wire_zmq_router(router->zmq);
    assert_non_null(router->socket);
    assert_int_equal(wire_zmq_bind(router->socket, router->endpoint, NULL, 0), 0);
}

void router_close(struct router *router) {
    char path[96];

    for (unsigned i = 0; i < ROUTER_PEERS; i++) {
        if (router->peers[i].address != 0) {
            link_fini(&router->peers[i].link);
        }
    }
    assert_int_equal(zmq_close(router->socket), 0);
    assert_int_equal(zmq_ctx_term(router->zmq), 0);
    (void)snprintf(path, sizeof path, "%s/socket", router->directory);
    (void)unlink(path);
    assert_int_equal(rmdir(router->directory), 0);
}

static void send_to(struct router *router, struct router_peer *peer, struct wire_message *message) {
    assert_non_null(message);
    assert_int_equal(wire_zmq_send(router->socket, &peer->address, message), WIRE_ZMQ_OK);
    wire_message_unref(message);
}

static struct router_peer *peer_at(struct router *router, uint64_t address) {
    for (unsigned i = 0; i < ROUTER_PEERS; i++) {
        if (router->peers[i].address == address) {
            return &router->peers[i];
        }
    }
    return NULL;
}

static void text_copy(char *to, size_t room, struct wire_text text) {
    (void)snprintf(to, room, "%.*s", (int)text.size, text.data);
}

static void handle_hello(struct router *router, uint64_t address, struct wire_message *message) {
    struct router_peer *peer = peer_at(router, address);
    struct wire_welcome welcome = {.version = 1,
                                   .epoch = 7,
                                   .heartbeat_ms = 1000,
                                   .silence_ms = 10000,
                                   .payload_max = WIRE_PAYLOAD_BYTES_MAX};
    struct wire_fault fault;
    struct wire_hello hello;

    assert_true(wire_hello_decode(message, &hello, &fault));
    if (peer == NULL) {
        peer = peer_at(router, 0);
        assert_non_null(peer);
        link_init(&peer->link, base_clock_ns(), 0, 0);
    } else {
        link_reset(&peer->link, base_clock_ns());
    }
    peer->address = address;
    peer->session = hello.session;
    peer->pid = (int64_t)hello.pid;
    peer->slots = hello.slots;
    text_copy(peer->name, sizeof peer->name, hello.name);
    peer->function_count = hello.function_count < 32 ? hello.function_count : 32;
    for (uint32_t i = 0; i < peer->function_count; i++) {
        text_copy(peer->functions[i], sizeof peer->functions[i], hello.functions[i]);
    }
    wire_hello_fini(&hello);
    welcome.received = peer->link.base;
    send_to(router, peer, wire_welcome_encode(&welcome));
}

static void handle_batch(struct router *router, struct wire_message *message) {
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    assert_true(wire_batch_open(&batch, message, &fault));
    while (wire_batch_next(&batch, &entry)) {
        if (batch.shape->type == WIRE_RESULTS) {
            struct router_result *result = &router->results[router->result_count++];

            assert_true(router->result_count <= ROUTER_RESULTS);
            result->lease = entry.values[0];
            result->kind = (enum wire_kind)entry.key[0];
            result->size = entry.size;
            memcpy(result->data, entry.data,
                   entry.size < sizeof result->data ? entry.size : sizeof result->data);
        } else if (batch.shape->type == WIRE_RUNNING) {
            assert_true(router->running_count < ROUTER_RESULTS);
            router->running[router->running_count++] = entry.values[0];
        } else if (batch.shape->type == WIRE_RETURNED && entry.key[0] == 1) {
            assert_true(router->returned_count < ROUTER_RESULTS);
            router->returned[router->returned_count++] = entry.values[0];
        }
    }
}

static void handle(struct router *router, uint64_t address, struct wire_message *message) {
    struct router_peer *peer = peer_at(router, address);
    struct wire_envelope envelope;
    struct wire_message *heartbeat;
    struct wire_fault fault;

    assert_true(wire_open(message, &envelope, &fault));
    if (envelope.type == WIRE_HELLO) {
        handle_hello(router, address, message);
        return;
    }
    assert_non_null(peer);
    if (link_accept(&peer->link, base_clock_ns(), &envelope, wire_message_bytes(message)) !=
        LINK_DELIVER) {
        return;
    }
    if (wire_shape_of(envelope.type) != NULL) {
        handle_batch(router, message);
    }
    peer->drains = peer->drains || envelope.type == WIRE_DRAIN;
    peer->gone = peer->gone || envelope.type == WIRE_BYE;
    heartbeat = wire_heartbeat_encode(peer->link.sent);
    link_mark(&peer->link, base_clock_ns(), heartbeat);
    send_to(router, peer, heartbeat);
}

void router_pump(struct router *router, int timeout_ms) {
    zmq_pollitem_t item = {.socket = router->socket, .events = ZMQ_POLLIN};
    struct wire_message *message;
    uint64_t address;

    assert_true(zmq_poll(&item, 1, timeout_ms) >= 0);
    while (wire_zmq_recv(router->socket, &address, &message) == WIRE_ZMQ_OK) {
        handle(router, address, message);
        wire_message_unref(message);
    }
}

struct router_peer *router_peer_of(struct router *router, struct wire_session session) {
    for (unsigned i = 0; i < ROUTER_PEERS; i++) {
        struct router_peer *peer = &router->peers[i];

        if (peer->address != 0 && peer->session.high == session.high &&
            peer->session.low == session.low) {
            return peer;
        }
    }
    return NULL;
}

void router_run(struct router *router, struct router_peer *peer, uint64_t lease,
                const char *function, const void *arguments, size_t size, uint64_t run_ms) {
    struct wire_writer *writer = wire_writer_new(WIRE_RUN);
    const uint64_t entry[] = {lease, lease, 1};
    struct wire_message *message;
    uint32_t index = 0;

    while (index < peer->function_count && strcmp(peer->functions[index], function) != 0) {
        index++;
    }
    assert_true(index < peer->function_count);
    const uint64_t key[] = {index, 0, run_ms, 1, 2};
    assert_int_equal(wire_writer_put(writer, key, entry, arguments, size, NULL), WIRE_PUT_OK);
    message = wire_writer_finish(writer, NULL);
    wire_writer_free(writer);
    assert_true(link_post(&peer->link, base_clock_ns(), message));
    send_to(router, peer, message);
}

const struct router_result *router_result_of(const struct router *router, uint64_t lease) {
    for (uint32_t i = 0; i < router->result_count; i++) {
        if (router->results[i].lease == lease) {
            return &router->results[i];
        }
    }
    return NULL;
}
