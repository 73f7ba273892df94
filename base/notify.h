/* Tells the service manager that started this program how it is, as sd_notify(3) describes: datagrams
 * of NAME=VALUE lines to the socket that NOTIFY_SOCKET names. Where there is none, nothing is said and
 * nothing fails.
 *
 * The protocol is a promise of systemd, and a screen of code; libsystemd would come, with the six
 * libraries it needs, into every program that uses libfurrow, where furrow-worker lives.
 *
 * One thread at a time. */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

struct base_notify {
    int socket_fd; /* -1: nobody listens */
    int timer_fd;  /* readable when a sign of life is due; -1: none is expected */
};

/* base_notify_open takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, so that
 * no child speaks in this process's name, and connects. Before there are other threads. Doesn't block.
 *
 * Returns 0, also if nobody listens, or an errno; then nothing will be said either:
 *   EINVAL        the address is no path and no abstract name, or too long
 *   ECONNREFUSED, ENOENT, EACCES, ...  nobody is at the address
 *   EMFILE, ENFILE, ENOMEM */
int base_notify_open(struct base_notify *notify);

void base_notify_close(struct base_notify *notify);

/* base_notify_say sends such lines, for example "READY=1\nSTATUS=listening". Blocks for a second at most,
 * while the manager is behind with reading; what it does not take then is lost. Keeps errno. */
void base_notify_say(const struct base_notify *notify, const char *lines);

/* base_notify_fd is to be polled for reading by the loop whose life is to be shown, and
 * base_notify_alive to be called when it is readable, or at any other time. -1: the manager expects
 * nothing. alive never blocks, and says something only when it is time; there are two signs in the time
 * that the manager waits, so that one may be lost. */
static inline int base_notify_fd(const struct base_notify *notify) {
    return notify->timer_fd;
}
void base_notify_alive(const struct base_notify *notify);

#endif
