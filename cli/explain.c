/* furrow explain: why isn't a task running? */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/connection.h"
#include "cli/output.h"

static const struct option table[] = {CLI_OPTIONS_COMMON, {NULL, 0, NULL, 0}};

/* ------------------------------------------------------------------ the name */

static bool parse_hex(const char *text, size_t size, uint64_t *number) {
    char digits[17], *end;

    if (size == 0 || size > 16 || strspn(text, "0123456789abcdefABCDEF") < size) {
        return false;
    }
    memcpy(digits, text, size);
    digits[size] = '\0';
    *number = strtoull(digits, &end, 16);
    return *end == '\0';
}

/* SESSION:ID, or SESSION alone. */
static bool parse_task(const char *text, struct wire_explain *question) {
    const char *id = text + 32;

    if (strlen(text) < 32 || !parse_hex(text, 16, &question->session.high) ||
        !parse_hex(text + 16, 16, &question->session.low)) {
        return false;
    }
    question->named = *id == ':';
    return question->named != 0 ? parse_hex(id + 1, strlen(id + 1), &question->id) : *id == '\0';
}

/* --------------------------------------------------------------- the sentence */

/* "function resize with tags gpu,big" */
static const char *wanted(char text[CLI_TEXT_BYTES], const struct wire_reason *reason) {
    char function[CLI_TEXT_BYTES], tags[CLI_TEXT_BYTES];
    bool any = reason->tags.count > 0;

    snprintf(text, CLI_TEXT_BYTES, "function %.500s%s%.500s",
             cli_escaped(function, reason->function), any ? " with tags " : "",
             any ? cli_tags(tags, &reason->tags) : "");
    return text;
}

static void print_fate(const char *text, uint64_t left_ms) {
    char left[CLI_TEXT_BYTES];

    printf("  %s in %s\n", text, cli_duration(left, left_ms));
}

static void print_offering(const struct wire_reason *reason) {
    printf("  of %" PRIu64 " workers that offer it, %" PRIu64
           " have all that they may have, %" PRIu64 " are draining, %" PRIu64
           " have yet to say what they hold, %" PRIu64 " are kept for tasks that run alone\n",
           reason->offering, reason->busy, reason->draining, reason->claiming, reason->emptied);
}

static void print_ahead(const struct wire_reason *reason) {
    printf("  %" PRIu64 "%s tasks of its client are before it; %" PRIu64
           " tasks wait for this function\n",
           reason->ahead, reason->ahead == WIRE_AHEAD_MAX ? " or more" : "", reason->queued);
}

static void print_worker(const struct wire_reason *reason) {
    char name[CLI_TEXT_BYTES], host[CLI_TEXT_BYTES], session[CLI_TEXT_BYTES];

    printf("  worker %s, pid %" PRIu64 " on %s, session %s\n", cli_escaped(name, reason->worker),
           reason->worker_pid, cli_escaped(host, reason->worker_host),
           cli_session(session, &reason->worker_session));
}

static void print_client(const struct wire_reason *reason) {
    char name[CLI_TEXT_BYTES], host[CLI_TEXT_BYTES], size[CLI_TEXT_BYTES];

    printf("  client %s, pid %" PRIu64 " on %s: %" PRIu64 " tasks here, may send %" PRIu64
           " more, of %s\n",
           cli_escaped(name, reason->client), reason->client_pid,
           cli_escaped(host, reason->client_host), reason->client_tasks, reason->credit_tasks,
           cli_size(size, reason->credit_bytes));
    if ((reason->client_state & WIRE_STATE_STARVED) != 0) {
        printf("  it has used up its credit: what it has not sent yet waits until others of its "
               "tasks have ended, or the broker has room\n");
    }
    if ((reason->client_state & WIRE_STATE_CLOGGED) != 0) {
        printf("  it doesn't read its results: nothing of it is run until it does\n");
    }
}

static void print_task(const struct wire_reason *reason) {
    printf("  attempt %" PRIu64 " of at most %" PRIu64 ", priority %" PRId64 "%s%s%s\n",
           reason->attempt, reason->max_attempts, (int64_t)reason->priority - 128,
           (reason->flags & WIRE_REASON_BEGUN) != 0 ? ", has begun before" : "",
           (reason->flags & WIRE_REASON_CANCELLING) != 0 ? ", is being cancelled" : "",
           (reason->flags & WIRE_REASON_APART) != 0 ? ", runs alone" : "");
}

/* Says in one line why, then what is known. False: there is no such task to be explained. */
static bool print_reason(const char *task, const struct wire_reason *reason) {
    char what[CLI_TEXT_BYTES];

    printf("%s: ", task);
    switch ((enum wire_reason_code)reason->reason) {
    case WIRE_REASON_NO_CLIENT:
        printf("no client: nobody with this session is connected to the broker\n");
        return false;
    case WIRE_REASON_NOT_HERE:
        printf("not here: it has ended, or its client has not sent it yet\n");
        print_client(reason);
        return true;
    case WIRE_REASON_CLIENT:
        printf("client\n");
        print_client(reason);
        return true;
    case WIRE_REASON_HELD:
        printf("held back: the broker was restarted, and some worker may still run it\n");
        print_fate("if none claims it, it is queued", reason->left_ms);
        break;
    case WIRE_REASON_NO_WORKER:
        printf("no worker: none is connected, for %s\n", wanted(what, reason));
        break;
    case WIRE_REASON_NO_FUNCTION:
        printf("no function: none of %" PRIu64 " workers offers %s\n", reason->workers,
               wanted(what, reason));
        print_fate("it fails", reason->left_ms);
        break;
    case WIRE_REASON_NO_TAGS:
        printf("no tags: no worker that offers %s has all of these\n", wanted(what, reason));
        print_fate("it fails", reason->left_ms);
        break;
    case WIRE_REASON_BUSY:
        printf("busy: no worker can take %s now\n", wanted(what, reason));
        print_offering(reason);
        print_ahead(reason);
        break;
    case WIRE_REASON_TURN:
        printf("turn: a worker is about to take it, or others, for %s\n", wanted(what, reason));
        print_ahead(reason);
        break;
    case WIRE_REASON_CLOGGED:
        printf("clogged: its client doesn't read its results\n");
        break;
    case WIRE_REASON_DELAYED:
        printf("delayed: it has failed, and is tried again\n");
        print_fate("again", reason->left_ms);
        break;
    case WIRE_REASON_ALONE:
        printf(
            "alone: a worker died while it ran with others, so it waits for one that is empty\n");
        print_offering(reason);
        break;
    case WIRE_REASON_WAITS_THERE:
        printf("waits at its worker, which has begun others before, %s\n", wanted(what, reason));
        print_worker(reason);
        break;
    case WIRE_REASON_RUNS:
        printf("runs, %s\n", wanted(what, reason));
        print_worker(reason);
        break;
    case WIRE_REASON_NO_MEMORY:
        printf("no memory: it has ended, and the broker could not tell its client yet\n");
        break;
    default:
        printf("for a reason that this version doesn't know (%" PRIu64 ")\n", reason->reason);
        break;
    }
    print_task(reason);
    print_client(reason);
    return true;
}

/* ---------------------------------------------------------------- asking */

static enum cli_exit explain_task(struct cli_connection *connection, const char *task,
                                  struct wire_explain *question) {
    struct wire_message *message;
    struct wire_reason reason;
    struct wire_fault fault;
    bool known = false;

    question->number = cli_number(connection);
    message = cli_ask(connection, wire_explain_encode(question), WIRE_REASON);
    if (message == NULL) {
        return CLI_FAILED;
    }
    if (wire_reason_decode(message, &reason, &fault)) {
        known = print_reason(task, &reason);
    } else {
        fprintf(stderr, "furrow explain: %s\n", fault.text);
    }
    wire_message_unref(message);
    return known ? CLI_OK : CLI_FAILED;
}

/* The task of a function that waits longest, for each set of tags with which it is asked for. */
static enum cli_exit explain_function(struct cli_connection *connection, const char *name) {
    enum cli_exit exit = CLI_OK;
    struct cli_list list;
    size_t found = 0;

    if (!cli_list_read(connection, WIRE_LIST_FUNCTIONS, &list)) {
        return CLI_FAILED;
    }
    for (size_t i = 0; i < list.count && exit == CLI_OK; i++) {
        const struct wire_function_row *row = &list.rows[i].function;
        struct wire_explain question = {.session = row->session, .named = 1, .id = row->id};
        char task[CLI_TEXT_BYTES];

        if (row->function.size != strlen(name) ||
            memcmp(row->function.data, name, row->function.size) != 0) {
            continue;
        }
        found++;
        if (row->queued + row->alone == 0) {
            printf("%s%s%s: nothing waits, %" PRIu64 " tasks are with workers\n", name,
                   row->tags.count > 0 ? " with tags " : "", cli_tags(task, &row->tags),
                   row->leased);
            continue;
        }
        cli_session(task, &row->session);
        snprintf(task + 32, CLI_TEXT_BYTES - 32, ":%" PRIx64, row->id);
        exit = explain_task(connection, task, &question);
    }
    cli_list_free(&list);
    if (found == 0) {
        fprintf(stderr, "furrow explain: no client asks for a function %s\n", name);
        return CLI_FAILED;
    }
    return exit;
}

enum cli_exit cli_explain(int argc, char **argv) {
    struct cli_options options = {
        .command = argv[0],
        .usage = "usage: furrow explain [OPTION]... TASK\n"
                 "\n"
                 "Says why a task isn't running, or where it runs.\n"
                 "\n"
                 "TASK is SESSION:ID, as furrow_future_task and furrow status give it; a SESSION\n"
                 "alone asks about that client; the name of a function about its task that waits\n"
                 "longest.\n"
                 "\n" CLI_OPTIONS_COMMON_HELP,
        .table = table,
        .arguments_min = 1,
        .arguments_max = 1,
    };
    struct cli_connection *connection;
    struct wire_explain question = {.number = 0};
    enum cli_exit exit;

    if (!cli_options_parse(&options, argc, argv, &exit)) {
        return exit;
    }
    connection = cli_connect(&options);
    if (connection == NULL) {
        return CLI_FAILED;
    }
    exit = parse_task(options.arguments[0], &question)
               ? explain_task(connection, options.arguments[0], &question)
               : explain_function(connection, options.arguments[0]);
    cli_disconnect(connection);
    return fflush(stdout) == 0 ? exit : CLI_FAILED;
}
