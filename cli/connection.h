/* A session of an admin with a broker, for one thread that asks one question after the other. What goes
 * wrong is said to stderr. */
#ifndef CLI_CONNECTION_H
#define CLI_CONNECTION_H

#include "cli/options.h"
#include "wire/inspect.h"

struct cli_connection;

/* cli_connect waits until the broker has let us in. NULL: it didn't within the timeout, or refuses us,
 * or the address is none. `options` is borrowed for the connection's life. */
struct cli_connection *cli_connect(const struct cli_options *options);
/* cli_disconnect says good-bye; NULL is fine. */
void cli_disconnect(struct cli_connection *connection);

/* cli_ask sends a request (the reference is taken; NULL: no memory) and waits for its answer, which is
 * the caller's; the connection numbers nothing, so a new question has to have a new number. NULL: none
 * within the timeout, or the broker has refused the question. */
struct wire_message *cli_ask(struct cli_connection *connection, struct wire_message *request,
                             enum wire_type answer);
/* cli_number gives the number for the next question. */
uint64_t cli_number(struct cli_connection *connection);
/* cli_wait lets time pass, and stays with the broker meanwhile. */
void cli_wait(struct cli_connection *connection, uint64_t ns);

/* A whole list. */
struct cli_list {
    union wire_row *rows;
    size_t count;
    struct wire_message **pages; /* what the rows' texts are in */
    size_t page_count;
};
/* cli_list_read reads all pages of a list. False: something went wrong, and the list is empty. */
bool cli_list_read(struct cli_connection *connection, enum wire_list which, struct cli_list *list);
void cli_list_free(struct cli_list *list);

#endif
