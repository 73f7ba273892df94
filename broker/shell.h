/* The broker's core in a loop with a ZeroMQ ROUTER socket: what furrow-broker runs.
 *
 * Those who have a loop of their own (`processes:`) take the core and wire/zmq.h instead. */
#ifndef BROKER_SHELL_H
#define BROKER_SHELL_H

#include "base/log.h"
#include "broker/authorized.h"
#include "broker/core.h"
#include "broker/metrics.h"
#include "wire/curve.h"

struct broker_shell;

struct broker_shell_options {
    struct broker_config config;  /* host is borrowed for the shell's life */
    const char *const *endpoints; /* to listen on; ZeroMQ's form, tcp:// or ipc:// */
    size_t endpoint_count;        /* at least 1 */
    /* The broker's own keys: all who connect must then have one that is in the list. NULL: everybody
     * is let in. Borrowed for the call; the list is the shell's, if it could be opened. */
    const struct wire_curve *curve;
    struct broker_authorized *authorized; /* not NULL if there is a curve */
    const struct base_log *log;           /* borrowed for the shell's life; NULL: silent */
    struct broker_metrics
        *metrics; /* likewise: how things stand is published there; NULL: nowhere */
    int watch_fd; /* polled for reading with the socket; -1: none */
    /* called in the loop when watch_fd is readable; may call drain and stop */
    void (*watched)(void *user, struct broker_shell *shell);
    void *user;
};

/* broker_shell_open makes the socket and listens. Doesn't block. The shell may be used in another
 * thread afterwards, one at a time.
 *
 * error  gets what went wrong in words, and with which endpoint; terminated
 *
 * Returns NULL when an endpoint can't be listened on (in use, malformed, no such interface), or
 * without memory, sockets or files. */
struct broker_shell *broker_shell_open(const struct broker_shell_options *options, char *error,
                                       size_t error_bytes);
/* broker_shell_close closes the socket, and waits for what is still to be sent, at most a quarter of a
 * second. NULL is fine. */
void broker_shell_close(struct broker_shell *shell);

/* broker_shell_endpoint gives the endpoint as it came out: with the port that * stood for. */
const char *broker_shell_endpoint(const struct broker_shell *shell, size_t i);

/* broker_shell_authorize puts another list in the place of the one there is, which is freed; for a shell
 * that was opened with one. Keys that have lost a right lose their sessions. In the shell's own thread:
 * from `watched`, or while it doesn't run. */
void broker_shell_authorize(struct broker_shell *shell, struct broker_authorized *authorized);

/* broker_shell_run serves until it is told to stop, or has drained. It blocks that long.
 * Returns true if nothing was left undone. */
bool broker_shell_run(struct broker_shell *shell);

/* broker_shell_drain: no new tasks; run returns when the rest is done. broker_shell_stop: run returns
 * at once. Any thread, and signal handlers; neither blocks. */
void broker_shell_drain(struct broker_shell *shell);
void broker_shell_stop(struct broker_shell *shell);

#endif
