#include "broker/metrics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"

/* ----------------------------------------------------------------- addresses */

#define HOST_BYTES 128

struct address {
    char host[HOST_BYTES]; /* without brackets */
    unsigned port;
};

/* PORT, HOST:PORT, [HOST]:PORT. */
static bool parse_address(const char *text, struct address *address) {
    const char *colon = strrchr(text, ':'), *port = colon == NULL ? text : colon + 1;
    size_t size = colon == NULL ? 0 : (size_t)(colon - text);
    uint64_t number;

    if (!base_option_number(port, 0, UINT16_MAX, &number)) {
        return false;
    }
    address->port = (unsigned)number;
    if (colon == NULL) {
        snprintf(address->host, sizeof address->host, "127.0.0.1");
        return true;
    }
    if (size >= 2 && text[0] == '[' && text[size - 1] == ']') {
        text++;
        size -= 2;
    }
    if (size == 0 || size >= sizeof address->host) {
        return false;
    }
    memcpy(address->host, text, size);
    address->host[size] = '\0';
    return true;
}

bool broker_metrics_is_address(const char *text) {
    struct address address;

    return parse_address(text, &address);
}

#ifdef FURROW_MICROHTTPD

#include <microhttpd.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

/* Whoever floods it, or reads slowly, takes no more than this. */
#define CONNECTIONS_MAX    32u
#define CONNECTIONS_AN_IP  16u
#define CONNECTION_SECONDS 5u
#define CONNECTION_BYTES   ((size_t)8 << 10)

struct broker_metrics_server {
    struct broker_metrics *metrics;
    struct MHD_Daemon *daemon;
    char url[HOST_BYTES + 64];
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              void *text, size_t size, enum MHD_ResponseMemoryMode mode) {
    struct MHD_Response *response = MHD_create_response_from_buffer(size, text, mode);
    enum MHD_Result result = MHD_NO;

    if (response == NULL) {
        if (mode == MHD_RESPMEM_MUST_FREE) {
            free(text);
        }
        return MHD_NO;
    }
    if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES &&
        (status != MHD_HTTP_METHOD_NOT_ALLOWED ||
         MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD") == MHD_YES)) {
        result = MHD_queue_response(connection, status, response);
    }
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result say(struct MHD_Connection *connection, unsigned status, const char *text) {
    return answer(connection, status, "text/plain; charset=utf-8", (void *)text, strlen(text),
                  MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result asked(void *user, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *upload,
                             size_t *upload_size, void **state) {
    struct broker_metrics_server *server = user;
    struct base_buffer out;
    uint8_t *text;
    size_t size;

    (void)version;
    (void)upload;
    (void)state;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        *upload_size = 0;
        return say(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n");
    }
    if (strcmp(url, "/metrics") != 0) {
        return say(connection, MHD_HTTP_NOT_FOUND, "there is only /metrics\n");
    }
    base_buffer_init(&out);
    broker_metrics_render(server->metrics, &out);
    if (out.failed) {
        base_buffer_fini(&out);
        return MHD_NO;
    }
    text = base_buffer_detach(&out, &size);
    return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text, size,
                  MHD_RESPMEM_MUST_FREE);
}

/* What others send wrong is not worth a line each. */
static void stay_silent(void *user, const char *format, va_list arguments) {
    (void)user;
    (void)format;
    (void)arguments;
}

/* Returns a socket that listens, or -1 and the error's text. */
static int listen_on(const struct address *address, char *error, size_t error_bytes) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *found;
    char port[16];
    int failed, fd, yes = 1;

    snprintf(port, sizeof port, "%u", address->port);
    failed = getaddrinfo(address->host, port, &hints, &found);
    if (failed != 0) {
        snprintf(error, error_bytes, "metrics: %s: %s", address->host, gai_strerror(failed));
        return -1;
    }
    fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                found->ai_protocol);
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
                    bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 32) != 0)) {
        int saved = errno;

        (void)close(fd);
        errno = saved;
        fd = -1;
    }
    freeaddrinfo(found);
    if (fd < 0) {
        snprintf(error, error_bytes, "metrics: can't listen on %s:%u: %s", address->host,
                 address->port, strerror(errno));
    }
    return fd;
}

static void note_url(struct broker_metrics_server *server, const struct address *address, int fd) {
    bool six = strchr(address->host, ':') != NULL;
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    char port[16] = "?";

    if (getsockname(fd, (struct sockaddr *)&bound, &size) == 0) {
        (void)getnameinfo((struct sockaddr *)&bound, size, NULL, 0, port, sizeof port,
                          NI_NUMERICSERV);
    }
    snprintf(server->url, sizeof server->url, "http://%s%s%s:%s/metrics", six ? "[" : "",
             address->host, six ? "]" : "", port);
}

struct broker_metrics_server *broker_metrics_serve(struct broker_metrics *metrics, const char *text,
                                                   char *error, size_t error_bytes) {
    struct broker_metrics_server *server = calloc(1, sizeof *server);
    struct address address;
    int fd;

    if (server == NULL || !parse_address(text, &address)) {
        snprintf(error, error_bytes, "metrics: %s",
                 server == NULL ? "no memory" : "not ADDRESS:PORT");
        free(server);
        return NULL;
    }
    server->metrics = metrics;
    fd = listen_on(&address, error, error_bytes);
    if (fd < 0) {
        free(server);
        return NULL;
    }
    note_url(server, &address, fd);
    server->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, asked,
        server, MHD_OPTION_EXTERNAL_LOGGER, stay_silent, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        CONNECTIONS_AN_IP, MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, MHD_OPTION_END);
    if (server->daemon == NULL) {
        snprintf(error, error_bytes, "metrics: the server can't be started");
        (void)close(fd);
        free(server);
        return NULL;
    }
    return server;
}

const char *broker_metrics_url(const struct broker_metrics_server *server) {
    return server->url;
}

void broker_metrics_stop(struct broker_metrics_server *server) {
    if (server != NULL) {
        MHD_stop_daemon(server->daemon); /* closes the socket too */
        free(server);
    }
}

#else

struct broker_metrics_server *broker_metrics_serve(struct broker_metrics *metrics,
                                                   const char *address, char *error,
                                                   size_t error_bytes) {
    (void)metrics;
    snprintf(error, error_bytes,
             "metrics: %s: this furrow-broker was built without libmicrohttpd, and so without "
             "--metrics",
             address);
    return NULL;
}

const char *broker_metrics_url(const struct broker_metrics_server *server) {
    (void)server;
    return "";
}

void broker_metrics_stop(struct broker_metrics_server *server) {
    (void)server;
}

#endif
