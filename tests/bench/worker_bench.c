/* What a task costs a worker process: processor time, by a broker that does nothing but hand out tasks
 * and count results. For work on worker/; furrow-bench measures the whole.
 *
 *     worker_bench [tasks [tasks a message [messages under way [threads]]]] */
#include <furrow.h>

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "wire/link.h"
#include "wire/zmq.h"
#include "worker/child.h"
#include "worker/supervisor.h"

static int bench_noop(furrow_task *task) {
    int64_t i;

    if (furrow_task_args(task, "i", &i) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", i);
}
FURROW_TASK(bench_noop);

struct bench {
    void *socket;
    uint64_t peer;
    struct link link;
    bool up;
    uint32_t function;
    uint64_t given, finished, total, messages;
    uint32_t batch;
};

static void die(const char *what) {
    fprintf(stderr, "worker_bench: %s\n", what);
    exit(1);
}

static void send_message(struct bench *bench, struct wire_message *message) {
    if (message == NULL || wire_zmq_send(bench->socket, &bench->peer, message) != WIRE_ZMQ_OK) {
        die("can't send");
    }
    wire_message_unref(message);
}

static void welcome(struct bench *bench, const struct wire_message *message) {
    struct wire_welcome welcome = {.version = 1,
                                   .epoch = 1,
                                   .heartbeat_ms = 1000,
                                   .silence_ms = 60000,
                                   .payload_max = WIRE_PAYLOAD_BYTES_MAX};
    struct wire_hello hello;
    struct wire_fault fault;

    if (!wire_hello_decode(message, &hello, &fault)) {
        die(fault.text);
    }
    while (bench->function < hello.function_count &&
           strncmp(hello.functions[bench->function].data, "bench_noop", 10) != 0) {
        bench->function++;
    }
    wire_hello_fini(&hello);
    link_init(&bench->link, base_clock_ns(), 0, 0);
    welcome.received = bench->link.base;
    send_message(bench, wire_welcome_encode(&welcome));
    bench->up = true;
}

static void receive(struct bench *bench) {
    struct wire_message *message;
    struct wire_envelope envelope;
    struct wire_fault fault;
    struct wire_batch batch;

    while (wire_zmq_recv(bench->socket, &bench->peer, &message) == WIRE_ZMQ_OK) {
        if (!wire_open(message, &envelope, &fault)) {
            die(fault.text);
        }
        if (envelope.type == WIRE_HELLO) {
            welcome(bench, message);
        } else if (link_accept(&bench->link, base_clock_ns(), &envelope, 0) == LINK_DELIVER &&
                   envelope.type == WIRE_RESULTS) {
            if (!wire_batch_open(&batch, message, &fault)) {
                die(fault.text);
            }
            bench->finished += batch.entry_count;
            bench->messages++;
        }
        wire_message_unref(message);
    }
}

static void give(struct bench *bench, struct wire_writer *writer) {
    const uint64_t key[] = {bench->function, 0, 0, 1, 2};
    struct wire_message *message;

    for (uint32_t i = 0; i < bench->batch; i++) {
        const uint64_t entry[] = {bench->given + i + (UINT64_C(1) << 32), bench->given + i, 1};
        const uint8_t argument[] = {0xce, 0, 1, (uint8_t)(i >> 8), (uint8_t)i};

        (void)wire_writer_put(writer, key, entry, argument, sizeof argument, NULL);
    }
    bench->given += bench->batch;
    message = wire_writer_finish(writer, NULL);
    if (message == NULL || !link_post(&bench->link, base_clock_ns(), message)) {
        die("no memory");
    }
    send_message(bench, message);
}

/* What one thread of a process has run so far, in nanoseconds. */
static double cpu_of_thread(pid_t pid, const char *thread) {
    unsigned long long ran_ns = 0;
    char path[320];
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, thread);
    file = fopen(path, "re");
    if (file != NULL) {
        if (fscanf(file, "%llu", &ran_ns) != 1) {
            ran_ns = 0;
        }
        fclose(file);
    }
    return (double)ran_ns;
}

static double cpu_of(pid_t pid) {
    struct dirent *entry;
    double ran_ns = 0;
    char path[64];
    DIR *directory;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    directory = opendir(path);
    if (directory == NULL) {
        die("can't read its threads");
    }
    while ((entry = readdir(directory)) != NULL) {
        ran_ns += entry->d_name[0] == '.' ? 0 : cpu_of_thread(pid, entry->d_name);
    }
    closedir(directory);
    return ran_ns;
}

static void run(struct bench *bench, struct wire_writer *writer, uint32_t window) {
    bench->given = bench->finished = bench->messages = 0;
    while (bench->finished < bench->total) {
        zmq_pollitem_t item = {.socket = bench->socket, .events = ZMQ_POLLIN};

        while (bench->given < bench->total && bench->given - bench->finished < window) {
            give(bench, writer);
        }
        zmq_poll(&item, 1, 1000);
        receive(bench);
    }
}

int main(int argc, char **argv) {
    struct worker_supervisor_config config = {.count = 1, .threads = 1};
    struct bench bench = {.total = 2000000, .batch = 256};
    uint32_t window = 8;
    struct worker_supervisor_event event;
    struct worker_supervisor *supervisor;
    char directory[] = "/tmp/furrow-bench-XXXXXX", endpoint[128], path[64];
    void *zmq = zmq_ctx_new();
    pid_t pid = 0;

    worker_child_main(argc, argv);
    bench.total = argc > 1 ? strtoull(argv[1], NULL, 10) : bench.total;
    bench.batch = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : bench.batch;
    bench.total -= bench.total % bench.batch; /* so that no run gets results of the one before */
    window = (argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : window) * bench.batch;
    config.threads = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : config.threads;
    if (mkdtemp(directory) == NULL) {
        die("no directory");
    }
    snprintf(path, sizeof path, "%s/s", directory);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", path);
    config.endpoint = endpoint;
    bench.socket = wire_zmq_router(zmq);
    if (wire_zmq_bind(bench.socket, endpoint, NULL, 0) != 0 ||
        worker_supervisor_open(&config, &supervisor) != 0) {
        die("can't begin");
    }
    struct wire_writer *writer = wire_writer_new(WIRE_RUN);
    while (!bench.up) {
        while (worker_supervisor_next(supervisor, base_clock_ns(), &event)) {
            pid = event.pid;
        }
        receive(&bench);
        poll(NULL, 0, 1);
    }
    for (int i = 0; i < 5; i++) {
        double cpu = cpu_of(pid);
        uint64_t start_ns = base_clock_ns();

        run(&bench, writer, window);
        printf("%.0f tasks/s, %.0f ns of processor time a task, %.0f results a message\n",
               (double)bench.total * 1e9 / (double)(base_clock_ns() - start_ns),
               (cpu_of(pid) - cpu) / (double)bench.total,
               (double)bench.finished / (double)bench.messages);
    }
    worker_supervisor_close(supervisor);
    wire_writer_free(writer);
    link_fini(&bench.link);
    zmq_close(bench.socket);
    zmq_ctx_term(zmq);
    unlink(path);
    rmdir(directory);
    return 0;
}
