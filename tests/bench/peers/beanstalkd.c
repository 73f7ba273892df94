/* beanstalkd, over sockets of our own: the client puts jobs into one tube, workers reserve them and put
 * the same bytes into a second tube, which the client reads on a second connection.
 *
 *     beanstalkd worker PORT
 *     beanstalkd client PORT CASE...      noop, rtt_p50, queued_N, echo_Nkib, fill_N
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/peers/peer.h"

#define PEER "beanstalkd"

enum { BUFFER_BYTES = 4 << 20, LINE_BYTES = 256, RESERVES = 16, PUTS = 100 };

/* A blocking connection with a buffer for each direction. */
struct connection {
    int fd;
    char *in, *out;
    size_t in_from, in_to, out_size;
};

static void connection_open(struct connection *connection, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *connection = (struct connection){.fd = socket(AF_INET, SOCK_STREAM, 0),
                                      .in = malloc(BUFFER_BYTES),
                                      .out = malloc(BUFFER_BYTES)};
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        peer_die(PEER, "can't connect");
    }
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void flush(struct connection *connection) {
    for (size_t sent = 0; sent < connection->out_size;) {
        ssize_t got = write(connection->fd, connection->out + sent, connection->out_size - sent);
        if (got <= 0) {
            peer_die(PEER, "the server is gone");
        }
        sent += (size_t)got;
    }
    connection->out_size = 0;
}

static void say(struct connection *connection, const void *bytes, size_t size) {
    if (connection->out_size + size > BUFFER_BYTES) {
        flush(connection);
    }
    memcpy(connection->out + connection->out_size, bytes, size);
    connection->out_size += size;
}

static void say_text(struct connection *connection, const char *text) {
    say(connection, text, strlen(text));
}

static void put(struct connection *connection, const void *body, size_t size) {
    char head[LINE_BYTES];

    snprintf(head, sizeof head, "put 0 0 600 %zu\r\n", size);
    say_text(connection, head);
    say(connection, body, size);
    say_text(connection, "\r\n");
}

/* Reads more. The end of the stream ends a worker, which is how it is told to. */
static void fill_in(struct connection *connection) {
    flush(connection);
    if (connection->in_from > 0) {
        memmove(connection->in, connection->in + connection->in_from,
                connection->in_to - connection->in_from);
        connection->in_to -= connection->in_from;
        connection->in_from = 0;
    }
    ssize_t got =
        read(connection->fd, connection->in + connection->in_to, BUFFER_BYTES - connection->in_to);
    if (got <= 0) {
        exit(0);
    }
    connection->in_to += (size_t)got;
}

static void read_line(struct connection *connection, char *line) {
    for (;;) {
        char *from = connection->in + connection->in_from;
        size_t size = connection->in_to - connection->in_from;
        char *end = memchr(from, '\n', size);
        if (end != NULL) {
            size_t length = (size_t)(end - from);
            length = length < LINE_BYTES - 1 ? length : LINE_BYTES - 1;
            memcpy(line, from, length);
            line[length] = '\0';
            connection->in_from += (size_t)(end - from) + 1;
            return;
        }
        fill_in(connection);
    }
}

/* The next reserved job, past the answers to puts and deletes. Its body stays until the next read. */
static const char *read_job(struct connection *connection, unsigned long long *id, size_t *size) {
    char line[LINE_BYTES];

    do {
        read_line(connection, line);
    } while (sscanf(line, "RESERVED %llu %zu", id, size) != 2);
    while (connection->in_to - connection->in_from < *size + 2) {
        fill_in(connection);
    }
    const char *body = connection->in + connection->in_from;
    connection->in_from += *size + 2;
    return body;
}

static void delete_job(struct connection *connection, unsigned long long id) {
    char line[LINE_BYTES];

    snprintf(line, sizeof line, "delete %llu\r\n", id);
    say_text(connection, line);
}

static void use_tubes(struct connection *connection, const char *commands, int answers) {
    char line[LINE_BYTES];

    say_text(connection, commands);
    flush(connection);
    while (answers-- > 0) {
        read_line(connection, line);
    }
}

static _Noreturn void work(int port) {
    struct connection connection;

    connection_open(&connection, port);
    use_tubes(&connection, "watch tasks\r\nignore default\r\nuse results\r\n", 3);
    for (;;) {
        unsigned long long id;
        size_t size;
        say_text(&connection, "reserve\r\n");
        flush(&connection);
        const char *body = read_job(&connection, &id, &size);
        put(&connection, body, size);
        delete_job(&connection, id);
    }
}

/* ------------------------------------------------------------------ client */

static struct {
    struct connection putting, taking;
    long count;
    size_t size;
} run;

static void *take_all(void *unused) {
    long asked = 0;

    for (long taken = 0; taken < run.count; taken++) {
        unsigned long long id;
        size_t size;
        for (; asked < run.count && asked - taken < RESERVES; asked++) {
            say_text(&run.taking, "reserve\r\n");
        }
        read_job(&run.taking, &id, &size);
        if (size != run.size) {
            peer_die(PEER, "a wrong result");
        }
        delete_job(&run.taking, id);
    }
    flush(&run.taking);
    return unused;
}

static void put_all(const void *payload) {
    char line[LINE_BYTES];

    for (long i = 0; i < run.count;) {
        int sent = 0;
        for (; sent < PUTS && i < run.count; sent++, i++) {
            put(&run.putting, payload, run.size);
        }
        flush(&run.putting);
        for (; sent > 0; sent--) {
            read_line(&run.putting, line);
            if (strncmp(line, "INSERTED", 8) != 0) {
                peer_die(PEER, line);
            }
        }
    }
}

static double rate(long count, size_t size) {
    char *payload = calloc(1, size);
    pthread_t thread;
    double start = peer_now();

    run.count = count;
    run.size = size;
    if (payload == NULL || pthread_create(&thread, NULL, take_all, NULL) != 0) {
        peer_die(PEER, "no thread");
    }
    put_all(payload);
    pthread_join(thread, NULL);
    free(payload);
    return (double)count / (peer_now() - start);
}

static void round_trips(void) {
    enum { COUNT = 3000, WARM = 100 };
    static double times[COUNT];
    char line[LINE_BYTES];

    for (int i = -WARM; i < COUNT; i++) {
        unsigned long long id;
        size_t size;
        double start = peer_now();
        put(&run.putting, &i, sizeof i);
        flush(&run.putting);
        say_text(&run.taking, "reserve\r\n");
        flush(&run.taking);
        read_line(&run.putting, line);
        const char *body = read_job(&run.taking, &id, &size);
        if (size != sizeof i || memcmp(body, &i, size) != 0) {
            peer_die(PEER, "a wrong result");
        }
        if (i >= 0) {
            times[i] = peer_now() - start;
        }
        delete_job(&run.taking, id);
    }
    flush(&run.taking);
    peer_print_round_trips(PEER, times, COUNT);
}

/* Closed with answers unread, the server might lose what was said last. */
static void leave(struct connection *connection) {
    flush(connection);
    shutdown(connection->fd, SHUT_WR);
    while (read(connection->fd, connection->in, BUFFER_BYTES) > 0) {
    }
    close(connection->fd);
}

int main(int argc, char **argv) {
    int port = argc > 2 ? atoi(argv[2]) : 0;

    if (argc == 3 && strcmp(argv[1], "worker") == 0) {
        work(port);
    }
    connection_open(&run.putting, port);
    connection_open(&run.taking, port);
    use_tubes(&run.putting, "use tasks\r\n", 1);
    use_tubes(&run.taking, "watch results\r\nignore default\r\n", 2);
    for (int i = 3; i < argc; i++) {
        long queued = peer_number(argv[i], "queued_"), fill = peer_number(argv[i], "fill_");
        if (strcmp(argv[i], "rtt_p50") == 0) {
            round_trips();
        } else if (fill > 0) {
            run.count = fill;
            run.size = 8;
            put_all("\0\0\0\0\0\0\0");
        } else if (strncmp(argv[i], "echo_", 5) == 0) {
            size_t size = peer_echo_bytes(argv[i]);
            peer_print(PEER, argv[i], rate(size > 65536 ? 1000 : 5000, size), "tasks/s");
        } else {
            rate(500, 8);
            peer_print(PEER, argv[i], rate(queued > 0 ? queued : 20000, 8), "tasks/s");
        }
    }
    leave(&run.putting);
    leave(&run.taking);
    return 0;
}
