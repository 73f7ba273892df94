/* Executor URLs: text into a scheme, an address and options (furrow_open in furrow.h). Pure. */
#ifndef CLIENT_URL_H
#define CLIENT_URL_H

#include <furrow.h>

#include <stddef.h>

enum client_scheme { CLIENT_THREADS, CLIENT_PROCESSES, CLIENT_TCP, CLIENT_IPC };

struct client_url {
    enum client_scheme scheme;
    char *address; /* as ZeroMQ wants it: "tcp://host:7700", "ipc:///path"; "" for the others */
    furrow_options options; /* what was given, and over it what the URL says; strings are copies */
    void *memory;           /* the strings' */
};

#define CLIENT_URL_FAULT_BYTES 200

/* client_url_parse reads an executor URL.
 *
 * text     not NULL
 * options  what furrow_open was given; NULL for the defaults
 * url      filled in on success, to be given to client_url_fini. options.max_workers and the like stay
 *          FURROW_DEFAULT when nobody said them
 * fault    CLIENT_URL_FAULT_BYTES; on error says what is wrong and where
 *
 * Returns FURROW_OK, or
 *   FURROW_EURL    the text is no executor URL, or has a parameter that is unknown, twice there or no
 *                  number where one belongs
 *   FURROW_EINVAL  a number, given here or in the options, is out of range
 *   FURROW_ENOMEM */
furrow_status client_url_parse(const char *text, const furrow_options *options,
                               struct client_url *url, char *fault);
void client_url_fini(struct client_url *url);

/* client_scheme_name: "threads", "processes", "tcp", "ipc". */
const char *client_scheme_name(enum client_scheme scheme);

#endif
