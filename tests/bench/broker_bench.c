/* What a task costs in the broker's core alone: SUBMIT in, RUN out, RESULTS in, OUTCOMES out. Clients
 * and workers are played in the same thread; only the broker's steps are timed.
 *
 *   broker_bench [flow TASKS CLIENTS WORKERS BATCH PAYLOAD DEPTH] ...
 *
 * Times are of the CPU, so that a busy machine disturbs less. Without arguments: a series. Prints name<TAB>value<TAB>unit. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/blocks.h"
#include "broker/core.h"
#include "wire/link.h"

#define PEERS_MAX   2048
#define RUNS_MAX    8192
#define PAYLOAD_MAX 65535

struct peer {
    broker_address address;
    uint64_t seq, received; /* of the stream, in each direction */
    uint64_t credit;        /* tasks that the client may have sent altogether */
    uint64_t sent, done;
    struct wire_message *in[RUNS_MAX]; /* RUN messages not answered yet */
    uint32_t in_count;
    struct wire_writer *writer;
};

struct bench {
    struct broker_core *core;
    struct base_blocks blocks;
    struct peer *peers[PEERS_MAX];
    uint32_t client_count, worker_count;
    uint64_t now_ns; /* virtual */
    uint64_t step_ns[4], steps[4];
    uint64_t outcomes;
    uint32_t batch, payload;
};

static uint64_t clock_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What asking for the time costs, which is not the broker's. */
static uint64_t clock_cost_ns;

static void measure_clock(void) {
    uint64_t begin = clock_ns();

    for (int i = 0; i < 9999; i++) {
        clock_ns();
    }
    clock_cost_ns = (clock_ns() - begin) / 10000;
}

static void fail(const char *what) {
    fprintf(stderr, "broker_bench: %s\n", what);
    exit(1);
}

/* ------------------------------------------------------------------ the broker */

static struct peer *peer_at(struct bench *bench, broker_address address) {
    return bench->peers[address - 1];
}

static void deliver(struct bench *bench, struct peer *peer, struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_fault fault;
    struct wire_batch batch;

    if (!wire_open(message, &envelope, &fault)) {
        fail(fault.text);
    }
    if (envelope.seq != 0) {
        peer->received = envelope.seq;
    }
    if (envelope.type == WIRE_WELCOME) {
        struct wire_welcome welcome;

        if (!wire_welcome_decode(message, &welcome, &fault)) {
            fail(fault.text);
        }
        peer->seq = peer->received = welcome.received;
    } else if (envelope.type == WIRE_REJECT) {
        fail("a message was rejected");
    } else if (envelope.type == WIRE_OUTCOMES || envelope.type == WIRE_CREDIT) {
        if (!wire_batch_open(&batch, message, &fault)) {
            fail(fault.text);
        }
        peer->credit = batch.extra[0];
        peer->done += batch.entry_count;
        bench->outcomes += batch.entry_count;
    } else if (envelope.type == WIRE_RUN) {
        if (peer->in_count == RUNS_MAX) {
            fail("too many RUN messages");
        }
        peer->in[peer->in_count++] = wire_message_ref(message);
    }
}

enum kind { OTHER, SUBMITS, RESULTS, FLUSHES };

static void step(struct bench *bench, enum kind kind, const struct broker_event *event) {
    const struct broker_action *actions;
    uint64_t before = clock_ns();
    size_t count;

    broker_step(bench->core, bench->now_ns, event);
    before = clock_ns() - before;
    bench->step_ns[kind] += before > clock_cost_ns ? before - clock_cost_ns : 0;
    bench->steps[kind]++;
    actions = broker_actions(bench->core, &count);
    for (size_t i = 0; i < count; i++) {
        if (actions[i].type == BROKER_SEND) {
            deliver(bench, peer_at(bench, actions[i].to), actions[i].message);
            wire_message_unref(actions[i].message);
        }
    }
}

static void send(struct bench *bench, enum kind kind, struct peer *peer,
                 struct wire_message *message, bool numbered) {
    if (message == NULL) {
        fail("no memory");
    }
    if (numbered) {
        peer->seq++;
    }
    wire_stamp(message, numbered ? peer->seq : 0, peer->received);
    step(bench, kind,
         &(struct broker_event){.type = BROKER_RECEIVE, .from = peer->address, .message = message});
    wire_message_unref(message);
}

static void flush(struct bench *bench) {
    step(bench, FLUSHES, &(struct broker_event){.type = BROKER_FLUSH});
}

/* ------------------------------------------------------------------- the peers */

static struct peer *join(struct bench *bench, enum wire_role role) {
    static const struct wire_text function = {"noop", 4};
    uint32_t index = bench->client_count + bench->worker_count;
    struct peer *peer = calloc(1, sizeof *peer);
    struct wire_hello hello = {
        .version_min = 1,
        .version_max = 1,
        .role = role,
        .session = {1, index + 1},
        .name = {"p", 1},
        .host = {"h", 1},
        .slots = 1,
        .functions = &function,
        .function_count = role == WIRE_WORKER,
    };

    if (peer == NULL || index == PEERS_MAX) {
        fail("no memory");
    }
    bench->peers[index] = peer;
    peer->address = index + 1;
    peer->writer = wire_writer_new(role == WIRE_CLIENT ? WIRE_SUBMIT : WIRE_RESULTS);
    bench->client_count += role == WIRE_CLIENT;
    bench->worker_count += role == WIRE_WORKER;
    send(bench, OTHER, peer, wire_hello_encode(&hello), false);
    if (role == WIRE_CLIENT) {
        struct wire_define define = {.function = function, .max_attempts = 3};

        send(bench, OTHER, peer, wire_define_encode(&define), true);
    }
    flush(bench);
    return peer;
}

/* Ids are slots that are used again, as a client does: at most `depth` at once. */
static void submit(struct bench *bench, struct peer *client, uint64_t depth) {
    static uint8_t data[PAYLOAD_MAX];
    const uint64_t key[] = {0, 1, 0};
    uint32_t count = 0;

    while (count < bench->batch && client->sent < client->credit &&
           client->sent - client->done < depth) {
        uint64_t id = (client->sent / depth) << 32 | client->sent % depth;

        if (wire_writer_put(client->writer, key, &id, data, bench->payload, NULL) != WIRE_PUT_OK) {
            break;
        }
        client->sent++;
        count++;
    }
    if (count > 0) {
        send(bench, SUBMITS, client, wire_writer_finish(client->writer, NULL), true);
    }
}

/* Answers one RUN message with one RESULTS message. */
static void answer(struct bench *bench, struct peer *worker, struct wire_message *run) {
    const uint64_t key = WIRE_KIND_VALUE;
    uint64_t busy_ns;
    struct wire_batch batch;
    struct wire_entry entry;
    struct wire_fault fault;

    if (!wire_batch_open(&batch, run, &fault)) {
        fail(fault.text);
    }
    busy_ns = batch.entry_count * UINT64_C(100);
    while (wire_batch_next(&batch, &entry)) {
        if (wire_writer_put(worker->writer, &key, &entry.values[0], entry.data, entry.size,
                            entry.large) != WIRE_PUT_OK) {
            fail("a result does not fit");
        }
    }
    send(bench, RESULTS, worker, wire_writer_finish(worker->writer, &busy_ns), true);
    wire_message_unref(run);
}

static void work(struct bench *bench) {
    for (uint32_t i = 0; i < bench->client_count + bench->worker_count; i++) {
        struct peer *worker = bench->peers[i];
        uint32_t count = worker->in_count;

        for (uint32_t at = 0; at < count; at++) {
            answer(bench, worker, worker->in[at]);
        }
        memmove(worker->in, worker->in + count,
                (worker->in_count - count) * sizeof(struct wire_message *));
        worker->in_count -= count;
    }
}

/* -------------------------------------------------------------------- the cases */

static void begin(struct bench *bench, uint32_t batch, uint32_t payload) {
    struct broker_config config = {.epoch = 1, .seed = 1, .host = "bench"};

    memset(bench, 0, sizeof *bench);
    base_blocks_init(&bench->blocks);
    config.memory = &bench->blocks.memory;
    broker_config_default(&config);
    bench->now_ns = 1000000000;
    bench->core = broker_new(&config, bench->now_ns);
    bench->batch = batch;
    bench->payload = payload;
    if (bench->core == NULL) {
        fail("no memory");
    }
}

static void end(struct bench *bench) {
    for (uint32_t i = 0; i < bench->client_count + bench->worker_count; i++) {
        for (uint32_t at = 0; at < bench->peers[i]->in_count; at++) {
            wire_message_unref(bench->peers[i]->in[at]);
        }
        wire_writer_free(bench->peers[i]->writer);
        free(bench->peers[i]);
    }
    broker_free(bench->core);
    base_blocks_fini(&bench->blocks);
}

static void report(const struct bench *bench, const char *name, uint64_t tasks) {
    uint64_t all = bench->step_ns[SUBMITS] + bench->step_ns[RESULTS] + bench->step_ns[FLUSHES];

    printf("%s\t%.1f\tns/task\t(submits %.1f, results %.1f, flushes %.1f)\n", name,
           (double)all / (double)tasks, (double)bench->step_ns[SUBMITS] / (double)tasks,
           (double)bench->step_ns[RESULTS] / (double)tasks,
           (double)bench->step_ns[FLUSHES] / (double)tasks);
    fflush(stdout);
}

/* A steady flow: each client keeps up to `depth` tasks here. */
static void flow(uint64_t tasks, uint32_t clients, uint32_t workers, uint32_t batch,
                 uint32_t payload, uint64_t depth) {
    static struct bench bench;
    char name[128];

    begin(&bench, batch, payload);
    for (uint32_t i = 0; i < clients; i++) {
        join(&bench, WIRE_CLIENT);
    }
    for (uint32_t i = 0; i < workers; i++) {
        join(&bench, WIRE_WORKER);
    }
    while (bench.outcomes < tasks) {
        bench.now_ns += 100000;
        for (uint32_t i = 0; i < clients; i++) {
            submit(&bench, bench.peers[i], depth);
        }
        flush(&bench);
        work(&bench);
        flush(&bench);
    }
    snprintf(name, sizeof name, "broker.flow.%uc.%uw.batch%u.%ub.depth%llu", clients, workers,
             batch, payload, (unsigned long long)depth);
    report(&bench, name, bench.outcomes);
    end(&bench);
}

static size_t heap_bytes(void) {
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static size_t resident_bytes(void) {
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long total = 0, resident = 0;

    if (file != NULL) {
        if (fscanf(file, "%lu %lu", &total, &resident) != 2) {
            resident = 0;
        }
        fclose(file);
    }
    return resident * 4096;
}

/* Many tasks queued at once, and then worked off. */
static void queued(uint64_t tasks, uint32_t payload) {
    static struct bench bench;
    size_t before, full, resident_before, resident_full;
    char name[128];

    begin(&bench, 1000, payload);
    join(&bench, WIRE_CLIENT);
    malloc_trim(0);
    before = heap_bytes();
    resident_before = resident_bytes();
    while (bench.peers[0]->sent < tasks) {
        submit(&bench, bench.peers[0], tasks);
        flush(&bench);
    }
    full = heap_bytes();
    resident_full = resident_bytes();
    snprintf(name, sizeof name, "broker.queued_%llu.%ub", (unsigned long long)tasks, payload);
    printf("%s.bytes\t%.1f\tbytes/task\t(resident %.1f)\n", name,
           (double)(full - before) / (double)tasks,
           (double)(resident_full - resident_before) / (double)tasks);
    join(&bench, WIRE_WORKER);
    while (bench.outcomes < tasks) {
        bench.now_ns += 100000;
        flush(&bench);
        work(&bench);
    }
    flush(&bench);
    report(&bench, name, tasks);
    send(&bench, OTHER, bench.peers[0], wire_heartbeat_encode(bench.peers[0]->seq), false);
    for (int i = 0; i < 3; i++) { /* and some time to notice */
        bench.now_ns += 1100000000;
        step(&bench, OTHER, &(struct broker_event){.type = BROKER_TICK});
    }
    malloc_trim(0);
    printf("%s.bytes_afterwards\t%.1f\tbytes/task\t(resident %.1f)\n", name,
           (double)(heap_bytes() - before) / (double)tasks,
           (double)((long)resident_bytes() - (long)resident_before) / (double)tasks);
    end(&bench);
}

int main(int argc, char **argv) {
    measure_clock();
    if (argc == 8 && strcmp(argv[1], "flow") == 0) {
        flow(strtoull(argv[2], NULL, 10), (uint32_t)atoi(argv[3]), (uint32_t)atoi(argv[4]),
             (uint32_t)atoi(argv[5]), (uint32_t)atoi(argv[6]), strtoull(argv[7], NULL, 10));
        return 0;
    }
    if (argc != 1) {
        fprintf(stderr, "usage: broker_bench [flow TASKS CLIENTS WORKERS BATCH PAYLOAD DEPTH]\n");
        return 2;
    }
    flow(4000000, 1, 2, 256, 3, 4096);
    flow(4000000, 1, 2, 64, 3, 1024);
    flow(4000000, 1, 2, 1000, 3, 10000);
    flow(4000000, 1, 2, 256, 40, 4096);
    flow(2000000, 1, 2, 256, 200, 4096);
    flow(4000000, 10, 2, 256, 3, 4096);
    flow(4000000, 100, 2, 256, 3, 4096);
    flow(4000000, 1, 10, 256, 3, 8192);
    flow(4000000, 1, 100, 256, 3, 65536);
    flow(4000000, 1, 1000, 256, 3, 65536);
    flow(4000000, 10, 1000, 256, 3, 65536);
    queued(1000000, 3);
    queued(1000000, 40);
    queued(1000000, 100);
    return 0;
}
