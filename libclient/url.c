#include "libclient/url.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/limits.h"

#define IPC_PATH_BYTES_MAX 107 /* what a socket's address has room for */
#define PORT_MAX           65535

static const furrow_options default_options = FURROW_OPTIONS_INIT;

enum parameter {
    MAX_WORKERS,
    THREADS_PER_WORKER,
    MAX_TASKS_PER_CHILD,
    STRICT,
    MODULE,
    THREAD_NAME_PREFIX,
    MAX_PENDING,
    CONNECT_TIMEOUT,
    KEY,
    SERVER,
    SHARED_MEMORY,
};

static const struct {
    const char *name;
    enum parameter parameter;
} parameters[] = {
    {"max_workers", MAX_WORKERS},
    {"threads", THREADS_PER_WORKER},
    {"threads_per_worker", THREADS_PER_WORKER},
    {"max_tasks_per_child", MAX_TASKS_PER_CHILD},
    {"strict", STRICT},
    {"module", MODULE},
    {"thread_name_prefix", THREAD_NAME_PREFIX},
    {"max_pending", MAX_PENDING},
    {"connect_timeout", CONNECT_TIMEOUT},
    {"key", KEY},
    {"server", SERVER},
    {"shared_memory", SHARED_MEMORY},
};

struct parser {
    struct client_url *url;
    char *memory_at; /* where the next string of the result goes */
    char *fault;
    unsigned seen; /* bits of enum parameter */
};

/* A part of the text. */
struct span {
    const char *data;
    size_t size;
};

static __attribute__((format(printf, 3, 4))) furrow_status fail(const struct parser *parser,
                                                                furrow_status status,
                                                                const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(parser->fault, CLIENT_URL_FAULT_BYTES, format, arguments);
    va_end(arguments);
    return status;
}

const char *client_scheme_name(enum client_scheme scheme) {
    switch (scheme) {
    case CLIENT_THREADS:
        return "threads";
    case CLIENT_PROCESSES:
        return "processes";
    case CLIENT_TCP:
        return "tcp";
    case CLIENT_IPC:
        break;
    }
    return "ipc";
}

/* ------------------------------------------------------------------- pieces */

/* For messages: not more of a foreign text than fits. */
static int shown(struct span span) {
    return span.size > 60 ? 60 : (int)span.size;
}

static bool is(struct span span, const char *text) {
    return span.size == strlen(text) && memcmp(span.data, text, span.size) == 0;
}

/* cut takes what stands before `mark` off the front of *rest, and the mark with it. Without a mark
 * that is all of it. */
static struct span cut(struct span *rest, char mark) {
    const char *at = rest->size == 0 ? NULL : memchr(rest->data, mark, rest->size);
    struct span head = *rest;

    if (at == NULL) {
        rest->data += rest->size;
        rest->size = 0;
    } else {
        head.size = (size_t)(at - head.data);
        rest->data += head.size + 1;
        rest->size -= head.size + 1;
    }
    return head;
}

static char *put(struct parser *parser, const void *data, size_t size) {
    char *begin = parser->memory_at;

    memcpy(begin, data, size);
    begin[size] = '\0';
    parser->memory_at += size + 1;
    return begin;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* put_decoded is put with %xx replaced. NULL: an escape is broken, or means NUL. */
static char *put_decoded(struct parser *parser, struct span text) {
    char *begin = parser->memory_at;
    char *at = begin;

    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];

        if (c == '%') {
            int high = i + 2 < text.size ? hex_digit(text.data[i + 1]) : -1;
            int low = i + 2 < text.size ? hex_digit(text.data[i + 2]) : -1;

            if (high < 0 || low < 0 || high + low == 0) {
                return NULL;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        *at++ = c;
    }
    *at = '\0';
    parser->memory_at = at + 1;
    return begin;
}

/* read_number reads decimal digits. */
static furrow_status read_number(const struct parser *parser, const char *name, struct span text,
                                 int *number) {
    long long value = 0;
    size_t i = text.size > 0 && text.data[0] == '-';

    if (i == text.size) {
        return fail(parser, FURROW_EURL, "%s: a number is missing", name);
    }
    for (; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return fail(parser, FURROW_EURL, "%s: \"%.*s\" is not a whole number", name,
                        shown(text), text.data);
        }
        if (value <= INT_MAX) {
            value = value * 10 + (text.data[i] - '0');
        }
    }
    if (text.data[0] == '-') {
        value = -value;
    }
    if (value > INT_MAX || value < -INT_MAX) {
        return fail(parser, FURROW_EINVAL, "%s: %.*s is out of range", name, shown(text),
                    text.data);
    }
    *number = (int)value;
    return FURROW_OK;
}

/* read_seconds reads "2" or "0.5". (strtod would go by the locale.) */
static furrow_status read_seconds(const struct parser *parser, const char *name, struct span text,
                                  double *seconds) {
    double unit = 1;
    size_t digits = 0;
    bool fraction = false;

    *seconds = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (text.data[i] < '0' || text.data[i] > '9') {
            digits = 0;
            break;
        }
        *seconds = *seconds * 10 + (text.data[i] - '0');
        unit *= fraction ? 10 : 1;
        digits++;
    }
    if (digits == 0) {
        return fail(parser, FURROW_EURL, "%s: \"%.*s\" is not a number of seconds", name,
                    shown(text), text.data);
    }
    *seconds /= unit;
    return FURROW_OK;
}

static furrow_status read_text(struct parser *parser, const char *name, struct span text,
                               const char **value) {
    *value = put_decoded(parser, text);
    if (*value == NULL) {
        return fail(parser, FURROW_EURL,
                    "%s: \"%.*s\" has a %% that is not followed by two hex digits", name,
                    shown(text), text.data);
    }
    if ((*value)[0] == '\0') {
        return fail(parser, FURROW_EURL, "%s: a value is missing", name);
    }
    return FURROW_OK;
}

/* --------------------------------------------------------------- parameters */

static furrow_status read_strict(const struct parser *parser, struct span text, bool *strict) {
    *strict = is(text, "1");
    return *strict || is(text, "0")
               ? FURROW_OK
               : fail(parser, FURROW_EURL, "strict: \"%.*s\" is neither 0 nor 1", shown(text),
                      text.data);
}

static furrow_status read_value(struct parser *parser, enum parameter parameter, const char *name,
                                struct span value) {
    furrow_options *options = &parser->url->options;

    if ((parser->seen & (1U << parameter)) != 0) {
        return fail(parser, FURROW_EURL, "%s is given twice", name);
    }
    parser->seen |= 1U << parameter;
    switch (parameter) {
    case MAX_WORKERS:
        return read_number(parser, name, value, &options->max_workers);
    case THREADS_PER_WORKER:
        return read_number(parser, name, value, &options->threads_per_worker);
    case MAX_TASKS_PER_CHILD:
        return read_number(parser, name, value, &options->max_tasks_per_child);
    case STRICT:
        return read_strict(parser, value, &options->strict);
    case MODULE:
        return read_text(parser, name, value, &options->module);
    case THREAD_NAME_PREFIX:
        return read_text(parser, name, value, &options->thread_name_prefix);
    case MAX_PENDING:
        return read_number(parser, name, value, &options->max_pending);
    case KEY:
        return read_text(parser, name, value, &options->key);
    case SERVER:
        return read_text(parser, name, value, &options->server_key);
    case SHARED_MEMORY:
        return read_number(parser, name, value, &options->shared_memory);
    case CONNECT_TIMEOUT:
        break;
    }
    return read_seconds(parser, name, value, &options->connect_timeout);
}

static furrow_status read_parameter(struct parser *parser, struct span text) {
    struct span value = text;
    struct span name = cut(&value, '=');

    for (size_t i = 0; i < sizeof parameters / sizeof parameters[0]; i++) {
        if (is(name, parameters[i].name)) {
            if (name.size == text.size) {
                return fail(parser, FURROW_EURL, "%s: \"=\" and a value are missing",
                            parameters[i].name);
            }
            return read_value(parser, parameters[i].parameter, parameters[i].name, value);
        }
    }
    if (text.size == 0) {
        return fail(parser, FURROW_EURL, "a parameter is missing");
    }
    return fail(parser, FURROW_EURL, "unknown parameter \"%.*s\"", shown(name), name.data);
}

static furrow_status check_least(const struct parser *parser, const char *name, int number) {
    if (number != FURROW_DEFAULT && number < 1) {
        return fail(parser, FURROW_EINVAL, "%s %d: must be at least 1", name, number);
    }
    return FURROW_OK;
}

static furrow_status check_options(const struct parser *parser) {
    const furrow_options *options = &parser->url->options;
    furrow_status status = check_least(parser, "max_workers", options->max_workers);

    if (status == FURROW_OK) {
        status = check_least(parser, "threads_per_worker", options->threads_per_worker);
    }
    if (status == FURROW_OK && options->threads_per_worker > (int)WIRE_SLOTS_MAX) {
        status = fail(parser, FURROW_EINVAL, "threads_per_worker %d: must be at most %u",
                      options->threads_per_worker, WIRE_SLOTS_MAX);
    }
    if (status == FURROW_OK) {
        status = check_least(parser, "max_tasks_per_child", options->max_tasks_per_child);
    }
    if (status == FURROW_OK) {
        status = check_least(parser, "max_pending", options->max_pending);
    }
    if (status == FURROW_OK && options->shared_memory != FURROW_DEFAULT &&
        options->shared_memory < 0) {
        status = fail(parser, FURROW_EINVAL, "shared_memory %d: must be at least 0",
                      options->shared_memory);
    }
    if (status == FURROW_OK && !(options->connect_timeout >= 0)) {
        status = fail(parser, FURROW_EINVAL, "connect_timeout is negative or not a number");
    }
    if (status == FURROW_OK && (unsigned)options->log_level > FURROW_LOG_DEBUG) {
        status = fail(parser, FURROW_EINVAL, "log_level %d is none", (int)options->log_level);
    }
    return status;
}

/* ---------------------------------------------------------------- addresses */

static furrow_status read_tcp(struct parser *parser, struct span address) {
    struct span rest = address;
    struct span host;
    int port;

    if (memchr(address.data, ',', address.size) != NULL) {
        return fail(parser, FURROW_EURL, "tcp: several addresses are not supported yet");
    }
    if (address.size > 0 && address.data[0] == '[') {
        host = cut(&rest, ']');
        if (rest.size == 0 || rest.data[0] != ':' || host.size < 2) {
            return fail(parser, FURROW_EURL, "tcp: \"%.*s\" is not [address]:port", shown(address),
                        address.data);
        }
        rest.data++;
        rest.size--;
    } else {
        host = cut(&rest, ':');
        if (host.size == 0 || host.size == address.size ||
            memchr(host.data, '/', host.size) != NULL) {
            return fail(parser, FURROW_EURL, "tcp: \"%.*s\" is not host:port", shown(address),
                        address.data);
        }
    }
    if (rest.size == 0) {
        return fail(parser, FURROW_EURL, "tcp: the port is missing");
    }
    if (read_number(parser, "port", rest, &port) != FURROW_OK || port < 1 || port > PORT_MAX) {
        return fail(parser, FURROW_EURL, "tcp: \"%.*s\" is not a port from 1 to %d", shown(rest),
                    rest.data, PORT_MAX);
    }
    return FURROW_OK;
}

static furrow_status read_ipc(struct parser *parser, struct span path) {
    if (path.size == 0) {
        return fail(parser, FURROW_EURL, "ipc: the path is missing");
    }
    if (path.size > IPC_PATH_BYTES_MAX) {
        return fail(parser, FURROW_EURL, "ipc: the path is longer than %d bytes",
                    IPC_PATH_BYTES_MAX);
    }
    return FURROW_OK;
}

/* read_local reads what stands behind "threads" or "processes": nothing, ":" or ":N". */
static furrow_status read_local(struct parser *parser, struct span count) {
    if (count.size == 0) {
        return FURROW_OK;
    }
    return read_value(parser, MAX_WORKERS, "max_workers", count);
}

/* read_place reads what stands before the question mark. */
static furrow_status read_place(struct parser *parser, struct span place) {
    struct client_url *url = parser->url;
    struct span rest = place;
    struct span scheme = cut(&rest, ':');
    furrow_status status;

    url->address = put(parser, "", 0);
    if (is(scheme, "threads") || is(scheme, "processes")) {
        url->scheme = is(scheme, "threads") ? CLIENT_THREADS : CLIENT_PROCESSES;
        return read_local(parser, rest);
    }
    if (!is(scheme, "tcp") && !is(scheme, "ipc")) {
        return fail(parser, FURROW_EURL,
                    "unknown scheme \"%.*s\": it is threads, processes, tcp or ipc", shown(scheme),
                    scheme.data);
    }
    url->scheme = is(scheme, "tcp") ? CLIENT_TCP : CLIENT_IPC;
    if (rest.size < 2 || memcmp(rest.data, "//", 2) != 0) {
        return fail(parser, FURROW_EURL, "%s: \"//\" and an address are missing",
                    client_scheme_name(url->scheme));
    }
    rest.data += 2;
    rest.size -= 2;
    status = url->scheme == CLIENT_TCP ? read_tcp(parser, rest) : read_ipc(parser, rest);
    if (status == FURROW_OK) {
        url->address = put(parser, place.data, place.size);
    }
    return status;
}

/* ------------------------------------------------------------------- the whole */

static size_t length(const char *text) {
    return text == NULL ? 0 : strlen(text);
}

/* take_options copies the options, with all that they point to. */
static furrow_status take_options(struct parser *parser, const char *text,
                                  const furrow_options *options) {
    furrow_options *own = &parser->url->options;
    size_t size = 2 * strlen(text) + length(options->module) + length(options->thread_name_prefix) +
                  length(options->key) + length(options->server_key) +
                  options->initializer_args_size + 16;

    *own = *options;
    parser->url->memory = malloc(size);
    if (parser->url->memory == NULL) {
        return fail(parser, FURROW_ENOMEM, "out of memory");
    }
    parser->memory_at = parser->url->memory;
    if (options->module != NULL) {
        own->module = put(parser, options->module, length(options->module));
    }
    if (options->thread_name_prefix != NULL) {
        own->thread_name_prefix =
            put(parser, options->thread_name_prefix, length(options->thread_name_prefix));
    }
    if (options->key != NULL) {
        own->key = put(parser, options->key, length(options->key));
    }
    if (options->server_key != NULL) {
        own->server_key = put(parser, options->server_key, length(options->server_key));
    }
    own->initializer_args = NULL;
    if (options->initializer_args != NULL) {
        own->initializer_args =
            put(parser, options->initializer_args, options->initializer_args_size);
    }
    return FURROW_OK;
}

static furrow_status parse(struct parser *parser, const char *text, const furrow_options *options) {
    struct span rest = {text, strlen(text)};
    furrow_status status = take_options(parser, text, options);
    struct span place;
    bool more;

    if (status != FURROW_OK) {
        return status;
    }
    place = cut(&rest, '?');
    status = read_place(parser, place);
    for (more = text[place.size] == '?'; status == FURROW_OK && more;) {
        struct span parameter = cut(&rest, '&');

        more = parameter.data[parameter.size] == '&';
        status = read_parameter(parser, parameter);
    }
    return status == FURROW_OK ? check_options(parser) : status;
}

furrow_status client_url_parse(const char *text, const furrow_options *options,
                               struct client_url *url, char *fault) {
    struct parser parser = {.url = url, .fault = fault};
    furrow_status status;

    memset(url, 0, sizeof *url);
    fault[0] = '\0';
    status = parse(&parser, text, options == NULL ? &default_options : options);
    if (status != FURROW_OK) {
        client_url_fini(url);
    }
    return status;
}

void client_url_fini(struct client_url *url) {
    free(url->memory);
    memset(url, 0, sizeof *url);
}
