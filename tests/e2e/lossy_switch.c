/* A network switch in user space whose cables are bad, for namespaces.sh. What netem does in kernels
 * that have it, this does wherever there is /dev/net/tun.
 *
 *   lossy_switch NAMESPACE...
 *
 * makes an interface eth0 in each network namespace (/run/netns/NAMESPACE) and joins them all. Prints
 * "ready" when that is done, and at the end of its input how many frames it has carried and lost.
 * Commands, one a line on standard input; ports are numbered from 0:
 *
 *   loss PERCENT        of all frames
 *   delay MS JITTER_MS  one way, plus up to JITTER_MS
 *   reorder PERCENT     of all frames overtake those that are delayed
 *   rate KBIT           a second, into each port; 0: no limit
 *   cut PORT            the port's cable, both ways
 *   mute PORT           what it sends is lost; it still hears
 *   deaf PORT           what is sent to it is lost; it is still heard
 *   heal PORT
 *   seed N */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/heap.h"
#include "base/rng.h"

enum {
    PORTS_MAX = 8,
    FRAME_BYTES_MAX = 2048,
    FRAMES_MAX = 100000,
    QUEUE_NS = 400000000, /* what a port with a limited rate holds back at most */
    MAC_BYTES = 6,
    MACS_MAX = 64,
};

struct frame {
    struct base_heap_node node; /* by when it is due */
    int port;
    size_t size;
    unsigned char bytes[FRAME_BYTES_MAX];
};

struct port {
    int fd;
    bool mute, deaf;
    uint64_t free_ns; /* when its cable has carried what is on it */
};

static struct port ports[PORTS_MAX];
static int port_count;
static struct {
    unsigned char address[MAC_BYTES];
    int port;
} macs[MACS_MAX];
static int mac_count;

static double loss, reorder;
static uint64_t delay_ns, jitter_ns, rate_kbit;
static struct base_heap due;
static struct base_rng rng;
static struct { unsigned long carried, lost, cut, overtook; } count;

static uint64_t now_ns(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static bool happens(double percent) {
    return (double)base_rng_below(&rng, 1000000) < percent * 10000;
}

/* ------------------------------------------------------------------- cables */

static int open_tap(const char *namespace) {
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    char path[256];
    int space, fd = -1;

    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    space = open(path, O_RDONLY | O_CLOEXEC);
    if (space < 0 || setns(space, CLONE_NEWNET) != 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    close(space);
    strcpy(request.ifr_name, "eth0");
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0) {
        fprintf(stderr, "/dev/net/tun: %s\n", strerror(errno));
        return -1;
    }
    return fd;
}

static void learn(const unsigned char *address, int port) {
    for (int i = 0; i < mac_count; i++) {
        if (memcmp(macs[i].address, address, MAC_BYTES) == 0) {
            macs[i].port = port;
            return;
        }
    }
    if (mac_count < MACS_MAX) {
        memcpy(macs[mac_count].address, address, MAC_BYTES);
        macs[mac_count++].port = port;
    }
}

/* -1: unknown, or for all. */
static int port_of(const unsigned char *address) {
    for (int i = 0; i < mac_count; i++) {
        if (memcmp(macs[i].address, address, MAC_BYTES) == 0) {
            return macs[i].port;
        }
    }
    return -1;
}

static void send_later(int port, const unsigned char *bytes, size_t size) {
    uint64_t at_ns = now_ns();
    struct frame *frame;

    if (ports[port].deaf) {
        count.cut++;
        return;
    }
    if (happens(loss) || due.count >= FRAMES_MAX) {
        count.lost++;
        return;
    }
    if (rate_kbit > 0) {
        uint64_t start_ns = ports[port].free_ns > at_ns ? ports[port].free_ns : at_ns;

        if (start_ns - at_ns > QUEUE_NS) {
            count.lost++;
            return;
        }
        ports[port].free_ns = start_ns + size * 8 * 1000000 / rate_kbit;
        at_ns = ports[port].free_ns;
    }
    if (delay_ns > 0 && happens(reorder)) {
        count.overtook++;
    } else {
        at_ns += delay_ns + (jitter_ns > 0 ? base_rng_below(&rng, jitter_ns) : 0);
    }
    frame = malloc(sizeof *frame);
    if (frame == NULL) {
        count.lost++;
        return;
    }
    base_heap_node_init(&frame->node);
    frame->port = port;
    frame->size = size;
    memcpy(frame->bytes, bytes, size);
    if (!base_heap_insert(&due, &frame->node, at_ns)) {
        free(frame);
        count.lost++;
    }
}

static void receive(int from) {
    unsigned char bytes[FRAME_BYTES_MAX];
    ssize_t size;

    while ((size = read(ports[from].fd, bytes, sizeof bytes)) >= 2 * MAC_BYTES) {
        int to = port_of(bytes);

        if (ports[from].mute) {
            count.cut++;
            continue;
        }
        learn(bytes + MAC_BYTES, from);
        for (int i = 0; i < port_count; i++) {
            if (i != from && (to < 0 || to == i)) {
                send_later(i, bytes, (size_t)size);
            }
        }
    }
}

static void send_due(void) {
    const struct base_heap_node *node;

    while ((node = base_heap_peek(&due)) != NULL && node->key <= now_ns()) {
        struct frame *frame = BASE_CONTAINER_OF(base_heap_pop(&due), struct frame, node);

        if (ports[frame->port].deaf) {
            count.cut++;
        } else if (write(ports[frame->port].fd, frame->bytes, frame->size) > 0) {
            count.carried++;
        } else {
            count.lost++;
        }
        free(frame);
    }
}

/* ----------------------------------------------------------------- commands */

static bool port_command(const char *name, unsigned port) {
    if (port >= (unsigned)port_count) {
        return false;
    }
    if (strcmp(name, "cut") == 0) {
        ports[port].mute = ports[port].deaf = true;
    } else if (strcmp(name, "mute") == 0) {
        ports[port].mute = true;
    } else if (strcmp(name, "deaf") == 0) {
        ports[port].deaf = true;
    } else if (strcmp(name, "heal") == 0) {
        ports[port].mute = ports[port].deaf = false;
    } else {
        return false;
    }
    return true;
}

static bool command(const char *line) {
    double a = 0, b = 0;
    char name[16];

    if (sscanf(line, "%15s %lf %lf", name, &a, &b) < 2 || a < 0 || b < 0) {
        return false;
    }
    if (strcmp(name, "loss") == 0) {
        loss = a;
    } else if (strcmp(name, "delay") == 0) {
        delay_ns = (uint64_t)(a * 1e6);
        jitter_ns = (uint64_t)(b * 1e6);
    } else if (strcmp(name, "reorder") == 0) {
        reorder = a;
    } else if (strcmp(name, "rate") == 0) {
        rate_kbit = (uint64_t)a;
    } else if (strcmp(name, "seed") == 0) {
        base_rng_init(&rng, (uint64_t)a);
    } else {
        return port_command(name, (unsigned)a);
    }
    return true;
}

/* False: the end of the input. */
static bool read_commands(void) {
    static char text[1024];
    static size_t used;
    ssize_t got = read(STDIN_FILENO, text + used, sizeof text - 1 - used);
    char *end;

    if (got <= 0) {
        return got < 0 && errno == EAGAIN;
    }
    used += (size_t)got;
    text[used] = '\0';
    while ((end = strchr(text, '\n')) != NULL) {
        *end = '\0';
        if (!command(text)) {
            fprintf(stderr, "lossy_switch: %s?\n", text);
        }
        used -= (size_t)(end + 1 - text);
        memmove(text, end + 1, used + 1);
    }
    return used < sizeof text - 1;
}

/* --------------------------------------------------------------------- main */

static int wait_ms(void) {
    const struct base_heap_node *node = base_heap_peek(&due);
    uint64_t now = now_ns();

    if (node == NULL) {
        return -1;
    }
    return node->key <= now ? 0 : (int)((node->key - now + 999999) / 1000000);
}

static void serve(void) {
    struct pollfd fds[PORTS_MAX + 1];
    bool open = true;

    while (open) {
        for (int i = 0; i < port_count; i++) {
            fds[i] = (struct pollfd){.fd = ports[i].fd, .events = POLLIN};
        }
        fds[port_count] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
        (void)poll(fds, (nfds_t)port_count + 1, wait_ms());
        for (int i = 0; i < port_count; i++) {
            if (fds[i].revents != 0) {
                receive(i);
            }
        }
        send_due();
        if (fds[port_count].revents != 0) {
            open = read_commands();
        }
    }
}

int main(int argc, char **argv) {
    struct base_heap_node *node;

    if (argc < 2 || argc > PORTS_MAX + 1) {
        fprintf(stderr, "usage: %s NAMESPACE...\n", argv[0]);
        return 2;
    }
    base_heap_init(&due);
    base_rng_init(&rng, 1);
    for (; port_count < argc - 1; port_count++) {
        ports[port_count].fd = open_tap(argv[port_count + 1]);
        if (ports[port_count].fd < 0) {
            return 1;
        }
    }
    puts("ready");
    fflush(stdout);
    serve();
    printf("frames_carried\t%lu\tframes\nframes_lost\t%lu\tframes\nframes_cut_off\t%lu\tframes\n"
           "frames_that_overtook\t%lu\tframes\n",
           count.carried, count.lost, count.cut, count.overtook);
    while ((node = base_heap_pop(&due)) != NULL) {
        free(BASE_CONTAINER_OF(node, struct frame, node));
    }
    base_heap_fini(&due);
    return 0;
}
