/* Making the memories, and the two sides of them: home and guest. */
#include "wire/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "wire/shared_private.h"

/* The largest page of the architectures that there are, so that offsets are good on all. */
#define PAGE_BYTES ((size_t)64 << 10)

/* -------------------------------------------------------------------- layout */

static size_t round_up(size_t bytes) {
    return (bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

struct shared_layout shared_layout_of(size_t at, uint32_t units) {
    struct shared_layout layout = {.units = units, .generations_at = round_up(at)};

    layout.blocks_at = layout.generations_at + round_up((size_t)units * sizeof(shared_word));
    layout.end = layout.blocks_at + (size_t)units * WIRE_SHARED_UNIT_BYTES;
    return layout;
}

struct shared_guest_layout shared_guest_layout_of(uint32_t home_units, uint32_t own_units) {
    struct shared_guest_layout layout = {.held_by_guest_at = PAGE_BYTES};

    layout.held_by_home_at =
        layout.held_by_guest_at + round_up((size_t)home_units * sizeof(shared_word));
    layout.control_bytes =
        layout.held_by_home_at + round_up((size_t)own_units * sizeof(shared_word));
    layout.heap = shared_layout_of(layout.control_bytes, own_units);
    return layout;
}

int shared_map(struct shared_mapping *mapping, int fd, size_t offset, size_t bytes, bool writable) {
    void *at = mmap(NULL, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd,
                    (off_t)offset);

    if (at == MAP_FAILED) {
        return errno;
    }
    *mapping = (struct shared_mapping){at, bytes};
    return 0;
}

void shared_unmap(struct shared_mapping *mapping) {
    if (mapping->at != NULL) {
        (void)munmap(mapping->at, mapping->bytes);
        *mapping = (struct shared_mapping){NULL, 0};
    }
}

/* A file larger than the limit is not refused, but answered with a signal. */
static bool fits_file_limit(size_t bytes) {
    struct rlimit limit;

    return getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
           (limit.rlim_cur == RLIM_INFINITY || bytes <= limit.rlim_cur);
}

static int close_keeping_errno(int fd) {
    int saved = errno;

    (void)close(fd);
    errno = saved;
    return -1;
}

/* A memory of a size that can't be changed any more: whoever has it mapped never meets a page that is not
 * there. Returns a descriptor of fd_min or above, or -1 with errno. */
static int memory_new(const char *name, size_t bytes, int fd_min) {
    int fd, moved;

    if (!fits_file_limit(bytes)) {
        errno = EFBIG;
        return -1;
    }
    fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        if (errno != EMFILE && errno != ENFILE && errno != ENOMEM) {
            errno = ENOTSUP;
        }
        return -1;
    }
    if (fd < fd_min) {
        moved = fcntl(fd, F_DUPFD_CLOEXEC, fd_min);
        (void)close_keeping_errno(fd);
        fd = moved;
    }
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) {
        return fd < 0 ? -1 : close_keeping_errno(fd);
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        (void)close(fd);
        errno = ENOTSUP;
        return -1;
    }
    return fd;
}

/* A descriptor of the same memory that can't be written by. Where there is no /proc, one that can. */
static int read_only(int fd, int fd_min) {
    char path[64];
    int other, moved;

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    other = open(path, O_RDONLY | O_CLOEXEC);
    if (other < 0) {
        return fcntl(fd, F_DUPFD_CLOEXEC, fd_min);
    }
    if (other >= fd_min) {
        return other;
    }
    moved = fcntl(other, F_DUPFD_CLOEXEC, fd_min);
    (void)close_keeping_errno(other);
    return moved;
}

/* ---------------------------------------------------------------------- home */

struct wire_shared_home {
    struct wire_shared_heap *heap;
    struct base_list guests;
    uint32_t units; /* of every heap */
    int fd_min, fd; /* fd: its memory, to be read */
};

struct wire_shared_guest {
    struct base_node node;
    struct wire_shared_home *home;
    struct wire_session session;
    uint64_t peer;            /* 0: not connected yet */
    struct shared_head *head; /* in the view's memory */
    struct shared_reader reader;
    struct shared_view *view;
};

int wire_shared_home_new(uint64_t bytes, int fd_min, struct wire_shared_home **out) {
    uint64_t units =
        (bytes < WIRE_SHARED_BYTES_MAX ? bytes : WIRE_SHARED_BYTES_MAX) / WIRE_SHARED_UNIT_BYTES;
    struct shared_mapping mapping = {NULL, 0};
    struct shared_layout layout;
    struct wire_shared_home *home;
    int fd, error;

    if (units * WIRE_SHARED_UNIT_BYTES < WIRE_LARGE_BYTES_MIN) {
        return ENOTSUP;
    }
    home = calloc(1, sizeof *home);
    if (home == NULL) {
        return ENOMEM;
    }
    home->units = (uint32_t)units;
    home->fd_min = fd_min;
    home->fd = -1;
    base_list_init(&home->guests);
    layout = shared_layout_of(0, home->units);
    fd = memory_new("furrow-home", layout.end, fd_min);
    if (fd < 0) {
        error = errno;
        free(home);
        return error;
    }
    home->fd = read_only(fd, fd_min);
    error = home->fd < 0 ? errno : shared_map(&mapping, fd, 0, layout.end, true);
    (void)close(fd);
    if (error == 0) {
        home->heap = shared_heap_new(&mapping, 0, home->units, NULL);
        error = home->heap == NULL ? ENOMEM : 0;
    }
    if (error != 0) {
        shared_unmap(&mapping);
        wire_shared_home_free(home);
        return error;
    }
    *out = home;
    return 0;
}

void wire_shared_home_free(struct wire_shared_home *home) {
    struct base_node *node;

    if (home == NULL) {
        return;
    }
    while ((node = base_list_first(&home->guests)) != NULL) {
        wire_shared_dismiss(BASE_LIST_ENTRY(node, struct wire_shared_guest, node));
    }
    shared_heap_unref(home->heap);
    if (home->fd >= 0) {
        (void)close(home->fd);
    }
    free(home);
}

struct wire_shared_heap *wire_shared_home_heap(struct wire_shared_home *home) {
    return home->heap;
}

int wire_shared_home_fd(const struct wire_shared_home *home) {
    return home->fd;
}

/* Maps what home needs of a guest's memory: what both write, and the blocks, which it only reads. */
static int guest_map(struct wire_shared_guest *guest, int fd) {
    uint32_t units = guest->home->units;
    struct shared_guest_layout layout = shared_guest_layout_of(units, units);
    size_t heap_at = layout.heap.generations_at;
    struct shared_view *view = guest->view;
    uint8_t *control;
    int error = shared_map(&view->mapped[0], fd, 0, layout.control_bytes, true);

    if (error == 0) {
        error = shared_map(&view->mapped[1], fd, heap_at, layout.heap.end - heap_at, false);
    }
    if (error != 0) {
        return error;
    }
    control = view->mapped[0].at;
    guest->head = view->mapped[0].at;
    guest->head->version = SHARED_VERSION;
    guest->head->home_units = units;
    guest->head->own_units = units;
    guest->reader.holds = (shared_word *)(void *)(control + layout.held_by_guest_at);
    view->holds = (shared_word *)(void *)(control + layout.held_by_home_at);
    view->units = units;
    view->generations = view->mapped[1].at;
    view->blocks = (const uint8_t *)view->mapped[1].at + (layout.heap.blocks_at - heap_at);
    return 0;
}

struct wire_shared_guest *wire_shared_admit(struct wire_shared_home *home,
                                            struct wire_session session, int *fd) {
    struct wire_shared_guest *guest = calloc(1, sizeof *guest);
    struct shared_view *view = calloc(1, sizeof *view);
    int error = ENOMEM;

    *fd = -1;
    if (guest != NULL && view != NULL) {
        atomic_init(&view->refs, 1);
        guest->home = home;
        guest->session = session;
        guest->view = view;
        *fd = memory_new("furrow-guest", shared_guest_layout_of(home->units, home->units).heap.end,
                         home->fd_min);
        error = *fd < 0 ? errno : guest_map(guest, *fd);
    }
    if (error != 0) {
        if (*fd >= 0) {
            (void)close(*fd);
            *fd = -1;
        }
        if (view != NULL) {
            shared_unmap(&view->mapped[0]);
            shared_unmap(&view->mapped[1]);
        }
        free(view);
        free(guest);
        errno = error;
        return NULL;
    }
    base_node_init(&guest->node);
    base_list_push_back(&home->guests, &guest->node);
    shared_heap_add_reader(home->heap, &guest->reader);
    return guest;
}

void wire_shared_dismiss(struct wire_shared_guest *guest) {
    if (guest == NULL) {
        return;
    }
    shared_heap_remove_reader(guest->home->heap, &guest->reader);
    base_list_remove(&guest->node);
    shared_view_unref(guest->view);
    free(guest);
}

static struct wire_shared_guest *guest_of_peer(const struct wire_shared_home *home, uint64_t peer) {
    BASE_LIST_FOREACH(&home->guests, node) {
        struct wire_shared_guest *guest = BASE_LIST_ENTRY(node, struct wire_shared_guest, node);

        if (guest->peer == peer) {
            return guest;
        }
    }
    return NULL;
}

/* The guest that a HELLO is from becomes known by its peer, once it has mapped what it needs. False: no
 * memory to see whose it is. Whoever then let it in would not understand what follows; it is said again. */
static bool note_hello(struct wire_shared_home *home, uint64_t peer,
                       const struct wire_message *message) {
    struct wire_envelope envelope;
    struct wire_hello hello;
    struct wire_fault fault;

    if (!wire_open(message, &envelope, &fault) || envelope.type != WIRE_HELLO) {
        return true;
    }
    if (!wire_hello_decode(message, &hello, &fault)) {
        return fault.code != WIRE_REJECT_LIMIT;
    }
    BASE_LIST_FOREACH(&home->guests, node) {
        struct wire_shared_guest *guest = BASE_LIST_ENTRY(node, struct wire_shared_guest, node);

        if (hello.role == WIRE_WORKER && guest->session.high == hello.session.high &&
            guest->session.low == hello.session.low && atomic_load(&guest->head->mapped) != 0) {
            guest->peer = peer;
        }
    }
    wire_hello_fini(&hello);
    return true;
}

struct wire_message *wire_shared_out(struct wire_shared_home *home, uint64_t peer,
                                     struct wire_message *message) {
    if (BASE_LIKELY(home == NULL || message->frame_count <= 2) ||
        guest_of_peer(home, peer) == NULL) {
        return message;
    }
    return shared_frames_out(home->heap, message);
}

bool wire_shared_in(struct wire_shared_home *home, uint64_t peer, struct wire_message *message) {
    const struct wire_shared_guest *guest;

    if (home == NULL || message->frame_count == 2) {
        return true;
    }
    if (message->frame_count == 1) {
        return note_hello(home, peer, message);
    }
    guest = guest_of_peer(home, peer);
    return shared_frames_in(guest == NULL ? NULL : guest->view, message);
}

/* --------------------------------------------------------------------- guest */

struct wire_shared_own {
    struct wire_shared_heap *heap;
    struct shared_view *view; /* of home's heap */
};

/* Reads the head of a guest's memory; false: it is none. */
static bool head_read(int own_fd, struct shared_head *head) {
    return pread(own_fd, head, sizeof *head, 0) == (ssize_t)sizeof *head &&
           head->version == SHARED_VERSION && head->home_units > 0 && head->own_units > 0 &&
           head->home_units <= WIRE_SHARED_BYTES_MAX / WIRE_SHARED_UNIT_BYTES &&
           head->own_units <= WIRE_SHARED_BYTES_MAX / WIRE_SHARED_UNIT_BYTES;
}

static bool has_size(int fd, size_t bytes) {
    struct stat info;

    return fstat(fd, &info) == 0 && info.st_size == (off_t)bytes;
}

int wire_shared_own_open(int home_fd, int own_fd, struct wire_shared_own **out) {
    struct shared_mapping mapping = {NULL, 0};
    struct shared_guest_layout layout;
    struct shared_layout home;
    struct shared_head head;
    struct wire_shared_own *own;
    struct shared_view *view;
    uint8_t *memory;
    int error;

    if (!head_read(own_fd, &head)) {
        return EINVAL;
    }
    layout = shared_guest_layout_of(head.home_units, head.own_units);
    home = shared_layout_of(0, head.home_units);
    if (!has_size(own_fd, layout.heap.end) || !has_size(home_fd, home.end)) {
        return EINVAL;
    }
    own = calloc(1, sizeof *own);
    view = calloc(1, sizeof *view);
    error = own == NULL || view == NULL ? ENOMEM : 0;
    if (error == 0) {
        error = shared_map(&mapping, own_fd, 0, layout.heap.end, true);
    }
    if (error == 0) {
        error = shared_map(&view->mapped[0], home_fd, 0, home.end, false);
    }
    memory = mapping.at;
    if (error == 0) {
        own->heap = shared_heap_new(&mapping, layout.control_bytes, head.own_units,
                                    (shared_word *)(void *)(memory + layout.held_by_home_at));
        error = own->heap == NULL ? ENOMEM : 0;
    }
    if (error != 0) {
        shared_unmap(&mapping);
        if (view != NULL) {
            shared_unmap(&view->mapped[0]);
        }
        free(view);
        free(own);
        return error;
    }
    atomic_init(&view->refs, 1);
    view->units = head.home_units;
    view->generations =
        (const shared_word *)(const void *)((uint8_t *)view->mapped[0].at + home.generations_at);
    view->blocks = (const uint8_t *)view->mapped[0].at + home.blocks_at;
    view->holds = (shared_word *)(void *)(memory + layout.held_by_guest_at);
    view->heap = shared_heap_ref(own->heap);
    own->view = view;
    atomic_store(&((struct shared_head *)(void *)memory)->mapped, 1);
    *out = own;
    return 0;
}

void wire_shared_own_close(struct wire_shared_own *own) {
    if (own != NULL) {
        shared_view_unref(own->view);
        shared_heap_unref(own->heap);
        free(own);
    }
}

struct wire_shared_heap *wire_shared_own_heap(struct wire_shared_own *own) {
    return own->heap;
}

struct wire_message *wire_shared_own_out(struct wire_shared_own *own,
                                         struct wire_message *message) {
    if (BASE_LIKELY(own == NULL || message->frame_count <= 2)) {
        return message;
    }
    return shared_frames_out(own->heap, message);
}

bool wire_shared_own_in(struct wire_shared_own *own, struct wire_message *message) {
    return own == NULL || shared_frames_in(own->view, message);
}
