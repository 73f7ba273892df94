#include "cli/connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/entropy.h"
#include "wire/curve.h"
#include "wire/dialer.h"
#include "wire/zmq.h"

/* How often it is looked what became of handshakes, while there is no connection. */
#define LOOK_NS (50 * BASE_CLOCK_NS_PER_MS)

struct cli_connection {
    const struct cli_options *options;
    void *context, *dealer, *monitor;
    struct wire_handshake handshake;
    const char *hopeless; /* why no handshake will ever succeed; NULL: one may */
    struct link_dialer dialer;
    struct wire_session session;
    char host[256];
    uint64_t number;
    bool refused;
    bool anew; /* WELCOME has come since this was looked at */
    /* what is waited for: */
    enum wire_type wanted; /* 0: nothing */
    uint32_t asked;        /* the type of the question */
    struct wire_message *answer;
    char rejected[256]; /* why the question was refused */
};

/* ---------------------------------------------------------------- the socket */

static int set_keys(struct cli_connection *connection) {
    const struct cli_options *options = connection->options;
    struct wire_curve curve;
    char error[512];
    int failed;

    if (options->key == NULL) {
        return 0;
    }
    if (!wire_curve_load(&curve, options->key, options->server, error, sizeof error)) {
        fprintf(stderr, "furrow %s: %s\n", options->command, error);
        return EACCES;
    }
    connection->handshake.keyed = true;
    failed = wire_curve_dial(connection->dealer, &curve);
    wire_curve_wipe(&curve);
    return failed;
}

static int watch_handshakes(struct cli_connection *connection) {
    static const char address[] = "inproc://furrow-monitor";

    connection->monitor = zmq_socket(connection->context, ZMQ_PAIR);
    return connection->monitor != NULL &&
                   zmq_socket_monitor(connection->dealer, address, WIRE_HANDSHAKE_EVENTS) == 0 &&
                   zmq_connect(connection->monitor, address) == 0
               ? 0
               : zmq_errno();
}

static void look_at_handshakes(struct cli_connection *connection) {
    unsigned event;
    uint32_t value;

    while (connection->hopeless == NULL &&
           wire_monitor_receive(connection->monitor, &event, &value)) {
        connection->hopeless =
            wire_handshake_event(&connection->handshake, event, value, base_clock_ns());
    }
}

/* Makes the socket and begins to connect. The one place where a connection gets what it needs for
 * that. Returns 0 or an errno. */
static int open_dealer(struct cli_connection *connection) {
    int error;

    connection->context = zmq_ctx_new();
    if (connection->context == NULL) {
        return ENOMEM;
    }
    connection->dealer = wire_zmq_dealer(connection->context);
    if (connection->dealer == NULL) {
        return zmq_errno();
    }
    error = set_keys(connection);
    if (error == 0) {
        error = watch_handshakes(connection);
    }
    return error != 0 ? error : wire_zmq_connect(connection->dealer, connection->options->url);
}

static bool reserve(void *connection, uint32_t count) {
    (void)connection;
    (void)count;
    return true;
}

static void send_message(void *user, struct wire_message *message) {
    struct cli_connection *connection = user;

    (void)wire_zmq_send(connection->dealer, NULL, message);
    wire_message_unref(message);
}

static const struct link_owner link_owner = {
    .role = "an admin",
    .reserve = reserve,
    .send = send_message,
};

static void say_hello(struct cli_connection *connection) {
    static const char name[] = "furrow";
    struct wire_hello hello = {
        .role = WIRE_ADMIN,
        .session = connection->session,
        .name = {name, sizeof name - 1},
        .host = {connection->host, strlen(connection->host)},
        .pid = (uint64_t)getpid(),
    };

    link_dialer_hello(&connection->dialer, &hello);
}

/* ---------------------------------------------------------------- what comes */

static void handle_reject(struct cli_connection *connection, const struct wire_reject *reject) {
    if (reject->about != WIRE_HELLO && reject->about != connection->asked) {
        return;
    }
    snprintf(connection->rejected, sizeof connection->rejected, "%s (%.*s)",
             wire_reject_text(reject->code),
             (int)(reject->text.size < 128 ? reject->text.size : 128), reject->text.data);
    if (reject->about == WIRE_HELLO && connection->dialer.state != LINK_UP) {
        connection->refused = true;
    }
}

static void handle(struct cli_connection *connection, uint64_t now_ns,
                   struct wire_message *message) {
    struct link_heard heard;

    link_dialer_receive(&connection->dialer, now_ns, message, &heard);
    switch (heard.type) {
    case LINK_HEARD_NOTHING:
    case LINK_HEARD_NO_ROOM: /* there is always room */
        break;
    case LINK_HEARD_WELCOME:
        connection->anew = true;
        break;
    case LINK_HEARD_REJECT:
        handle_reject(connection, &heard.reject);
        break;
    case LINK_HEARD_MESSAGE:
        if (heard.envelope.type == (uint32_t)connection->wanted && connection->answer == NULL) {
            connection->answer = wire_message_ref(message);
        }
        break;
    }
}

static void receive(struct cli_connection *connection, uint64_t now_ns) {
    struct wire_message *message;

    while (wire_zmq_recv(connection->dealer, NULL, &message) == WIRE_ZMQ_OK) {
        handle(connection, now_ns, message);
        wire_message_unref(message);
    }
}

/* One round: what is due is sent, what comes is taken in, until something has come or until_ns. */
static void go_round(struct cli_connection *connection, uint64_t until_ns) {
    uint64_t now_ns = base_clock_ns(), deadline_ns = link_dialer_deadline(&connection->dialer);
    bool up = connection->dialer.state == LINK_UP;
    zmq_pollitem_t item = {.socket = connection->dealer, .events = ZMQ_POLLIN};
    bool reconnect; /* what ZeroMQ does by itself is enough for a command */

    if (now_ns >= deadline_ns) {
        /* HELLO can be said when there is a connection, which is when the socket takes something. */
        item.events = up ? ZMQ_POLLIN : ZMQ_POLLIN | ZMQ_POLLOUT;
        deadline_ns = up ? now_ns : until_ns;
    }
    deadline_ns = deadline_ns < until_ns ? deadline_ns : until_ns;
    (void)zmq_poll(&item, 1, base_clock_poll_ms(deadline_ns, now_ns));
    now_ns = base_clock_ns();
    receive(connection, now_ns);
    if (!up && now_ns >= link_dialer_deadline(&connection->dialer) &&
        (item.revents & ZMQ_POLLOUT) == 0) {
        return;
    }
    if (link_dialer_go_on(&connection->dialer, now_ns, &reconnect) == LINK_DO_HELLO) {
        say_hello(connection);
    }
}

/* ------------------------------------------------------------------- opening */

static bool fail(const struct cli_connection *connection, const char *why) {
    fprintf(stderr, "furrow %s: %s: %s\n", connection->options->command, connection->options->url,
            why);
    return false;
}

static bool open_connection(struct cli_connection *connection) {
    uint64_t end_ns = base_clock_ns() + connection->options->timeout_ns, seed;
    int error;

    if (gethostname(connection->host, sizeof connection->host - 1) != 0) {
        snprintf(connection->host, sizeof connection->host, "unknown");
    }
    if (!base_entropy(&connection->session, sizeof connection->session) ||
        !base_entropy(&seed, sizeof seed)) {
        return fail(connection, "no random numbers");
    }
    link_dialer_init(&connection->dialer, base_clock_ns(), seed);
    link_dialer_own(&connection->dialer, &link_owner, connection, base_clock_ns());
    error = open_dealer(connection);
    if (error != 0) {
        return fail(connection, zmq_strerror(error));
    }
    while (connection->dialer.state != LINK_UP && !connection->refused &&
           connection->hopeless == NULL && base_clock_ns() < end_ns) {
        uint64_t look_ns = base_clock_ns() + LOOK_NS;

        go_round(connection, look_ns < end_ns ? look_ns : end_ns);
        look_at_handshakes(connection);
    }
    if (connection->hopeless != NULL) {
        return fail(connection, connection->hopeless);
    }
    if (connection->refused) {
        return fail(connection, connection->rejected);
    }
    if (connection->dialer.state != LINK_UP) {
        return fail(connection, "no broker has answered in time");
    }
    return true;
}

struct cli_connection *cli_connect(const struct cli_options *options) {
    struct cli_connection *connection = calloc(1, sizeof *connection);

    if (connection == NULL) {
        fprintf(stderr, "furrow %s: out of memory\n", options->command);
        return NULL;
    }
    connection->options = options;
    if (!open_connection(connection)) {
        cli_disconnect(connection);
        return NULL;
    }
    return connection;
}

void cli_disconnect(struct cli_connection *connection) {
    struct wire_message *bye;

    if (connection == NULL) {
        return;
    }
    if (connection->dialer.state == LINK_UP) {
        bye = wire_plain_encode(WIRE_BYE);
        if (bye != NULL && link_post(&connection->dialer.link, base_clock_ns(), bye)) {
            (void)wire_zmq_send(connection->dealer, NULL, bye); /* without it we fall silent */
        }
        wire_message_unref(bye);
    }
    link_dialer_fini(&connection->dialer);
    wire_message_unref(connection->answer);
    /* The monitoring ends first: ZeroMQ would wait for ever to tell a monitor that is closed. */
    if (connection->dealer != NULL) {
        (void)zmq_socket_monitor(connection->dealer, NULL, 0);
    }
    if (connection->monitor != NULL) {
        (void)zmq_close(connection->monitor);
    }
    if (connection->dealer != NULL) {
        (void)zmq_close(connection->dealer);
    }
    if (connection->context != NULL) {
        (void)zmq_ctx_term(connection->context);
    }
    free(connection);
}

/* -------------------------------------------------------------------- asking */

uint64_t cli_number(struct cli_connection *connection) {
    return ++connection->number;
}

/* What is lost is asked again after the next WELCOME. The answer, or NULL: *rejected says whether the
 * broker has refused the question. */
static struct wire_message *ask(struct cli_connection *connection, struct wire_message *request,
                                enum wire_type answer, bool *rejected) {
    uint64_t end_ns = base_clock_ns() + connection->options->timeout_ns;
    struct wire_envelope envelope = {.type = 0};
    struct wire_message *got;
    struct wire_fault fault;

    (void)wire_open(request, &envelope, &fault);
    connection->wanted = answer;
    connection->asked = envelope.type;
    connection->rejected[0] = '\0';
    connection->anew = connection->dialer.state == LINK_UP;
    while (connection->answer == NULL && connection->rejected[0] == '\0' &&
           base_clock_ns() < end_ns) {
        if (connection->anew) {
            connection->anew = false;
            link_dialer_mark(&connection->dialer, base_clock_ns(), wire_message_ref(request));
        }
        go_round(connection, end_ns);
    }
    got = connection->answer;
    connection->answer = NULL;
    connection->wanted = 0;
    *rejected = got == NULL && connection->rejected[0] != '\0';
    return got;
}

struct wire_message *cli_ask(struct cli_connection *connection, struct wire_message *request,
                             enum wire_type answer) {
    struct wire_message *got = NULL;
    bool rejected = false;

    if (request == NULL) {
        (void)fail(connection, "out of memory");
        return NULL;
    }
    got = ask(connection, request, answer, &rejected);
    wire_message_unref(request);
    if (got == NULL) {
        (void)fail(connection,
                   rejected ? connection->rejected : "the broker has not answered in time");
    }
    return got;
}

void cli_wait(struct cli_connection *connection, uint64_t ns) {
    uint64_t end_ns = base_clock_ns() + ns;

    while (base_clock_ns() < end_ns) {
        go_round(connection, end_ns);
    }
}

/* --------------------------------------------------------------------- lists */

/* Takes in a page, with the reference of the message. */
static bool add_page(struct cli_list *list, struct wire_message *message, struct wire_rows *rows) {
    struct wire_message **pages =
        realloc(list->pages, (list->page_count + 1) * sizeof(struct wire_message *));
    union wire_row *more;

    if (pages == NULL) {
        wire_message_unref(message);
        return false;
    }
    list->pages = pages;
    list->pages[list->page_count++] = message;
    more = realloc(list->rows, (list->count + rows->count + 1) * sizeof *more);
    if (more == NULL) {
        return false;
    }
    list->rows = more;
    while (wire_rows_next(rows, &list->rows[list->count])) {
        list->count++;
    }
    return true;
}

bool cli_list_read(struct cli_connection *connection, enum wire_list which, struct cli_list *list) {
    bool more = true;

    *list = (struct cli_list){0};
    for (uint64_t page = 0; more; page++) {
        const struct wire_list_request request = {cli_number(connection), which, page};
        struct wire_message *message = cli_ask(connection, wire_list_encode(&request), WIRE_ROWS);
        struct wire_fault fault;
        struct wire_rows rows;

        if (message == NULL) {
            cli_list_free(list);
            return false;
        }
        if (!wire_rows_open(&rows, message, &fault)) {
            wire_message_unref(message);
            cli_list_free(list);
            return fail(connection, fault.text);
        }
        if (rows.number != request.number) { /* of a question that was asked twice */
            wire_message_unref(message);
            page--;
            continue;
        }
        more = rows.more;
        if (!add_page(list, message, &rows)) {
            cli_list_free(list);
            return fail(connection, "out of memory");
        }
    }
    return true;
}

void cli_list_free(struct cli_list *list) {
    for (size_t i = 0; i < list->page_count; i++) {
        wire_message_unref(list->pages[i]);
    }
    free(list->pages);
    free(list->rows);
    *list = (struct cli_list){0};
}
