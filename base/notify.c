#include "base/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#define US_PER_S UINT64_C(1000000)

/* Returns 0 and a socket, or an errno. */
static int connect_to(const char *address, int *out_fd) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 1};
    size_t bytes = strlen(address);
    int fd, error = 0;

    if ((address[0] != '/' && address[0] != '@') || bytes < 2 || bytes >= sizeof name.sun_path) {
        return EINVAL;
    }
    memcpy(name.sun_path, address, bytes);
    if (address[0] == '@') {
        name.sun_path[0] = '\0'; /* an abstract name, which has no terminator */
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0 ||
        connect(fd, (const struct sockaddr *)&name,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes)) != 0) {
        error = errno;
        (void)close(fd);
        return error;
    }
    *out_fd = fd;
    return 0;
}

/* The whole of a text as a number; 0 if it isn't one. */
static uint64_t number(const char *text) {
    char *end;
    unsigned long long value;

    if (text == NULL || text[0] < '0' || text[0] > '9') {
        return 0;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' ? value : 0;
}

/* How often to show life: twice in the time that the manager waits; 0: it does not. */
static uint64_t watchdog_us(void) {
    const char *pid = getenv("WATCHDOG_PID");

    if (pid != NULL && number(pid) != (uint64_t)getpid()) {
        return 0; /* meant for another */
    }
    return number(getenv("WATCHDOG_USEC")) / 2;
}

static int start_timer(uint64_t us, int *out_fd) {
    struct timespec every = {.tv_sec = (time_t)(us / US_PER_S),
                             .tv_nsec = (long)(us % US_PER_S) * 1000};
    struct itimerspec times = {.it_interval = every, .it_value = every};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

    if (fd < 0) {
        return errno;
    }
    if (timerfd_settime(fd, 0, &times, NULL) != 0) {
        int error = errno;

        (void)close(fd);
        return error;
    }
    *out_fd = fd;
    return 0;
}

int base_notify_open(struct base_notify *notify) {
    const char *address = getenv("NOTIFY_SOCKET");
    uint64_t us = watchdog_us();
    int error = 0;

    *notify = (struct base_notify){-1, -1};
    if (address != NULL && address[0] != '\0') {
        error = connect_to(address, &notify->socket_fd);
        if (error == 0 && us > 0) {
            error = start_timer(us, &notify->timer_fd);
        }
    }
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    if (error != 0) {
        base_notify_close(notify);
    }
    return error;
}

void base_notify_close(struct base_notify *notify) {
    if (notify->socket_fd >= 0) {
        (void)close(notify->socket_fd);
    }
    if (notify->timer_fd >= 0) {
        (void)close(notify->timer_fd);
    }
    *notify = (struct base_notify){-1, -1};
}

static void transmit(const struct base_notify *notify, const char *lines, int flags) {
    int saved = errno;
    ssize_t sent;

    if (notify->socket_fd >= 0) {
        do {
            sent = send(notify->socket_fd, lines, strlen(lines), flags | MSG_NOSIGNAL);
        } while (sent < 0 && errno == EINTR);
    }
    errno = saved;
}

void base_notify_say(const struct base_notify *notify, const char *lines) {
    transmit(notify, lines, 0);
}

void base_notify_alive(const struct base_notify *notify) {
    uint64_t expirations;

    if (notify->timer_fd >= 0 &&
        read(notify->timer_fd, &expirations, sizeof expirations) == (ssize_t)sizeof expirations) {
        transmit(notify, "WATCHDOG=1", MSG_DONTWAIT);
    }
}
