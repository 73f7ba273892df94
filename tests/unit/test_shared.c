#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "fail_alloc.h"
#include "wire/shared_private.h"

/* Home and a guest of it, in one process. */

#define MIB    ((size_t)1 << 20)
#define HEAP   (8 * MIB)
#define FD_MIN 20
#define PEER   77U

static const struct wire_session session = {11, 22};

struct pair {
    struct wire_shared_home *home;
    struct wire_shared_guest *guest;
    struct wire_shared_own *own;
};

static struct wire_message *hello_of(struct wire_session whose) {
    struct wire_hello hello = {
        .version_min = 1,
        .version_max = 1,
        .role = WIRE_WORKER,
        .session = whose,
        .name = {"w", 1},
        .host = {"h", 1},
        .pid = 1,
        .slots = 1,
    };
    struct wire_message *message = wire_hello_encode(&hello);

    assert_non_null(message);
    return message;
}

static void say_hello(struct pair *pair) {
    struct wire_message *message = hello_of(session);

    assert_true(wire_shared_in(pair->home, PEER, message));
    wire_message_unref(message);
}

static void pair_open(struct pair *pair, size_t bytes) {
    int fd;

    assert_int_equal(wire_shared_home_new(bytes, FD_MIN, &pair->home), 0);
    pair->guest = wire_shared_admit(pair->home, session, &fd);
    assert_non_null(pair->guest);
    assert_true(fd >= FD_MIN && wire_shared_home_fd(pair->home) >= FD_MIN);
    assert_int_equal(wire_shared_own_open(wire_shared_home_fd(pair->home), fd, &pair->own), 0);
    assert_int_equal(close(fd), 0);
    say_hello(pair);
}

static void pair_close(struct pair *pair) {
    wire_shared_own_close(pair->own);
    wire_shared_dismiss(pair->guest);
    wire_shared_home_free(pair->home);
}

static struct wire_shared_heap *heap_of(const struct pair *pair, bool home) {
    return home ? wire_shared_home_heap(pair->home) : wire_shared_own_heap(pair->own);
}

static size_t used_by(const struct pair *pair, bool home) {
    struct wire_shared_usage usage;

    wire_shared_usage(heap_of(pair, home), &usage);
    return usage.used;
}

static struct wire_blob *block_of(const struct pair *pair, bool home, size_t size, int byte) {
    struct wire_blob *blob = wire_shared_block(heap_of(pair, home), size);

    assert_non_null(blob);
    memset(blob->data, byte, size);
    return blob;
}

/* A batch as far as this is concerned, with one large frame: takes the reference. */
static struct wire_message *message_with(struct wire_blob *large) {
    struct wire_blob *frames[] = {wire_blob_copy("header", 6), wire_blob_copy("", 0), large};
    struct wire_message *message = wire_message_new(frames, 3);

    assert_non_null(message);
    return message;
}

/* What arrives at the other side: the frames as ZeroMQ would bring them. */
static struct wire_message *carry(const struct wire_message *sent) {
    struct wire_blob *frames[WIRE_FRAMES_MAX];

    for (uint32_t i = 0; i < sent->frame_count; i++) {
        frames[i] = wire_blob_copy(sent->frames[i]->data, sent->frames[i]->size);
        assert_non_null(frames[i]);
    }
    return wire_message_new(frames, sent->frame_count);
}

/* Sends the large blob from one side to the other; gives what has arrived, or NULL if it was refused. */
static struct wire_message *pass(struct pair *pair, bool from_home, struct wire_blob *blob) {
    struct wire_message *kept = message_with(wire_blob_ref(blob)), *sent, *arrived;
    bool good;

    sent = wire_message_ref(kept);
    sent =
        from_home ? wire_shared_out(pair->home, PEER, sent) : wire_shared_own_out(pair->own, sent);
    arrived = carry(sent);
    wire_message_unref(sent);
    good = from_home ? wire_shared_own_in(pair->own, arrived)
                     : wire_shared_in(pair->home, PEER, arrived);
    wire_message_unref(kept);
    if (!good) {
        wire_message_unref(arrived);
        return NULL;
    }
    return arrived;
}

static void all_is(const struct wire_blob *blob, size_t size, int byte) {
    assert_int_equal(blob->size, size);
    for (size_t i = 0; i < size; i++) {
        if (blob->data[i] != byte) {
            assert_int_equal(blob->data[i], byte);
        }
    }
}

/* -------------------------------------------------------------------- carrying */

static void a_block_is_read_where_it_lies(void **state) {
    struct pair pair;
    (void)state;
    pair_open(&pair, HEAP);
    for (int home = 0; home < 2; home++) {
        struct wire_blob *blob = block_of(&pair, home, MIB, 'a');
        struct wire_message *arrived = pass(&pair, home, blob);
        assert_non_null(arrived);
        all_is(arrived->frames[2], MIB, 'a');
        blob->data[0] = 'b'; /* the same memory, not a copy */
        assert_int_equal(arrived->frames[2]->data[0], 'b');
        assert_memory_equal(arrived->frames[0]->data, "header", 6);
        wire_message_unref(arrived);
        wire_blob_unref(blob);
        assert_int_equal(used_by(&pair, home), 0);
    }
    pair_close(&pair);
}

static void a_part_of_a_block_is_sent_as_that_part(void **state) {
    struct pair pair;
    struct wire_blob *blob;
    struct wire_message *arrived;
    (void)state;
    pair_open(&pair, HEAP);
    blob = block_of(&pair, false, MIB, 'a');
    memset(blob->data + 5, 'c', 70000);
    blob->data += 5;
    blob->size = 70000;
    arrived = pass(&pair, false, blob);
    assert_non_null(arrived);
    all_is(arrived->frames[2], 70000, 'c');
    wire_message_unref(arrived);
    wire_blob_unref(blob);
    pair_close(&pair);
}

static void only_a_guest_that_has_mapped_gets_references(void **state) {
    struct pair pair;
    struct wire_blob *blob;
    struct wire_message *message;
    struct wire_shared_guest *other;
    struct wire_session third = {5, 6};
    int fd;
    (void)state;
    pair_open(&pair, HEAP);
    blob = block_of(&pair, true, MIB, 'a');
    message = message_with(wire_blob_ref(blob));
    assert_ptr_equal(wire_shared_out(pair.home, PEER + 1, message), message);
    assert_ptr_equal(wire_shared_out(NULL, PEER, message), message);
    other = wire_shared_admit(pair.home, third, &fd);
    assert_non_null(other);
    struct wire_message *hello = hello_of(third);
    assert_true(wire_shared_in(pair.home, PEER + 1, hello));
    wire_message_unref(hello);
    assert_ptr_equal(wire_shared_out(pair.home, PEER + 1, message), message);
    wire_message_unref(message);
    wire_blob_unref(blob);
    close(fd);
    wire_shared_dismiss(other);
    pair_close(&pair);
}

static void other_payloads_go_as_they_are(void **state) {
    struct pair pair;
    struct wire_blob *plain = wire_blob_new(MIB);
    struct wire_message *message;
    (void)state;
    pair_open(&pair, HEAP);
    memset(plain->data, 'p', MIB);
    message = message_with(plain);
    assert_ptr_equal(wire_shared_out(pair.home, PEER, message), message);
    assert_ptr_equal(wire_shared_own_out(pair.own, message), message);
    assert_true(wire_shared_own_in(pair.own, message));
    assert_true(wire_shared_in(pair.home, PEER, message));
    assert_ptr_equal(message->frames[2], plain);
    wire_message_unref(message);
    pair_close(&pair);
}

static void what_has_no_memory_for_its_reference_goes_as_it_is(void **state) {
    struct pair pair;
    struct wire_blob *blob;
    bool replaced = false;
    (void)state;
    pair_open(&pair, HEAP);
    blob = block_of(&pair, true, MIB, 'a');
    for (long count = 0; !replaced; count++) {
        struct wire_message *message = message_with(wire_blob_ref(blob)), *sent;
        fail_alloc_after(count);
        sent = wire_shared_out(pair.home, PEER, message);
        fail_alloc_never();
        replaced = sent != message;
        assert_int_equal(sent->frames[2]->size < WIRE_LARGE_BYTES_MIN, replaced);
        wire_message_unref(sent);
        assert_true(count < 10);
    }
    wire_blob_unref(blob);
    pair_close(&pair);
}

/* -------------------------------------------------------------------- lifetimes */

static void a_block_is_kept_while_a_reader_holds_it(void **state) {
    struct pair pair;
    (void)state;
    pair_open(&pair, HEAP);
    for (int home = 0; home < 2; home++) {
        struct wire_blob *blob = block_of(&pair, home, 3 * MIB, 'a'), *next;
        struct wire_message *arrived = pass(&pair, home, blob);
        struct wire_message *twice = pass(&pair, home, blob); /* sent again by the link */
        assert_non_null(arrived);
        assert_non_null(twice);
        wire_blob_unref(blob);
        assert_int_equal(used_by(&pair, home), 3 * MIB);
        next = block_of(&pair, home, 3 * MIB, 'b');
        all_is(arrived->frames[2], 3 * MIB, 'a');
        wire_message_unref(twice);
        assert_int_equal(used_by(&pair, home), 6 * MIB);
        all_is(arrived->frames[2], 3 * MIB, 'a');
        wire_message_unref(arrived);
        assert_int_equal(used_by(&pair, home), 3 * MIB);
        wire_blob_unref(next);
        assert_int_equal(used_by(&pair, home), 0);
    }
    pair_close(&pair);
}

static void a_reference_that_comes_too_late_is_refused(void **state) {
    struct pair pair;
    struct wire_blob *blob;
    struct wire_message *message, *late;
    (void)state;
    pair_open(&pair, HEAP);
    blob = block_of(&pair, true, MIB, 'a');
    message = wire_shared_out(pair.home, PEER, message_with(wire_blob_ref(blob)));
    late = carry(message);
    wire_message_unref(message);
    wire_blob_unref(blob); /* by the message sent, nothing is kept */
    assert_int_equal(used_by(&pair, true), 0);
    assert_false(wire_shared_own_in(pair.own, late));
    blob = block_of(&pair, true, MIB, 'b'); /* at the same place */
    assert_false(wire_shared_own_in(pair.own, late));
    wire_message_unref(late);
    wire_blob_unref(blob);
    assert_int_equal(used_by(&pair, true), 0);
    pair_close(&pair);
}

static void results_outlive_guest_and_home(void **state) {
    struct pair pair;
    struct wire_blob *blob;
    struct wire_message *arrived;
    (void)state;
    pair_open(&pair, HEAP);
    blob = block_of(&pair, false, MIB, 'r');
    arrived = pass(&pair, false, blob);
    assert_non_null(arrived);
    wire_blob_unref(blob);
    blob = block_of(&pair, true, MIB, 'h');
    pair_close(&pair);
    all_is(arrived->frames[2], MIB, 'r');
    all_is(blob, MIB, 'h');
    wire_message_unref(arrived);
    wire_blob_unref(blob);
}

/* The child maps, takes what it is sent, and is killed while it holds it; it has written a result. */
static void a_killed_guest_holds_nothing(void **state) {
    struct wire_shared_home *home;
    struct wire_shared_guest *guest;
    struct wire_message *message, *hello, *result;
    struct wire_shared_usage usage;
    struct wire_blob *blob;
    int fd, up[2];
    (void)state;
    assert_int_equal(wire_shared_home_new(HEAP, FD_MIN, &home), 0);
    guest = wire_shared_admit(home, session, &fd);
    assert_non_null(guest);
    blob = wire_shared_block(wire_shared_home_heap(home), MIB);
    assert_non_null(blob);
    memset(blob->data, 'k', MIB);
    message = shared_frames_out(wire_shared_home_heap(home), message_with(wire_blob_ref(blob)));
    assert_int_equal(pipe(up), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct wire_shared_own *own;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* however the test ends */
        (void)alarm(30);
        struct wire_message *mine = carry(message);
        if (wire_shared_own_open(wire_shared_home_fd(home), fd, &own) != 0 ||
            !wire_shared_own_in(own, mine) || mine->frames[2]->data[MIB - 1] != 'k') {
            _exit(1);
        }
        struct wire_blob *answer = wire_shared_block(wire_shared_own_heap(own), MIB);
        memset(answer->data, 'x', MIB);
        mine = wire_shared_own_out(own, message_with(wire_blob_ref(answer)));
        if (write(up[1], mine->frames[2]->data, mine->frames[2]->size) < 0) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    close(fd);
    uint8_t bytes[SHARED_REFERENCE_BYTES_MAX];
    ssize_t size = read(up[0], bytes, sizeof bytes);
    assert_true(size > 0);
    hello = hello_of(session);
    assert_true(wire_shared_in(home, PEER, hello));
    result = message_with(wire_blob_copy(bytes, (size_t)size));
    assert_true(wire_shared_in(home, PEER, result));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    all_is(result->frames[2], MIB, 'x');
    wire_message_unref(message);
    wire_blob_unref(blob);
    wire_shared_usage(wire_shared_home_heap(home), &usage);
    assert_int_equal(usage.used, MIB);
    wire_shared_dismiss(guest);
    wire_shared_usage(wire_shared_home_heap(home), &usage);
    assert_int_equal(usage.used, 0);
    all_is(result->frames[2], MIB, 'x');
    wire_message_unref(result);
    wire_message_unref(hello);
    wire_shared_home_free(home);
    close(up[0]);
    close(up[1]);
}

/* ---------------------------------------------------------------------- limits */

static void a_full_heap_gives_no_more(void **state) {
    struct pair pair;
    struct wire_blob *first, *second;
    (void)state;
    pair_open(&pair, HEAP);
    assert_null(wire_shared_block(heap_of(&pair, true), HEAP + 1));
    first = block_of(&pair, true, HEAP / 2 + 1, 'a');
    assert_null(wire_shared_block(heap_of(&pair, true), HEAP / 2));
    second = block_of(&pair, true, HEAP / 2 - WIRE_SHARED_UNIT_BYTES, 'b');
    assert_null(wire_shared_block(heap_of(&pair, true), 1));
    wire_blob_unref(first);
    first = block_of(&pair, true, HEAP / 2, 'c');
    wire_blob_unref(first);
    wire_blob_unref(second);
    pair_close(&pair);
}

static size_t system_bytes(int fd) {
    struct stat info;

    assert_int_equal(fstat(fd, &info), 0);
    return (size_t)info.st_blocks * 512;
}

static void free_memory_goes_back_but_for_some(void **state) {
    enum { COUNT = 6 };
    const size_t each = 16 * MIB, heap = 128 * MIB;
    struct wire_blob *blobs[COUNT];
    struct wire_shared_usage usage;
    struct pair pair;
    int fd;
    (void)state;
    pair_open(&pair, heap);
    fd = wire_shared_home_fd(pair.home);
    assert_in_range(system_bytes(fd), 0, MIB);
    for (unsigned i = 0; i < COUNT; i++) {
        blobs[i] = block_of(&pair, true, each, (int)i);
    }
    assert_true(system_bytes(fd) >= COUNT * each);
    /* the first ones first: then what is kept lies behind, and must go in their favour */
    for (unsigned i = 0; i < COUNT; i++) {
        wire_blob_unref(blobs[i]);
        wire_shared_usage(heap_of(&pair, true), &usage);
        assert_in_range(usage.resident, usage.used,
                        usage.used + (usage.used > WIRE_SHARED_KEEP_BYTES
                                          ? usage.used
                                          : WIRE_SHARED_KEEP_BYTES));
        assert_in_range(system_bytes(fd), usage.resident, usage.resident + MIB);
        for (unsigned j = i + 1; j < COUNT; j++) {
            all_is(blobs[j], each, (int)j);
        }
    }
    for (unsigned i = 0; i < 20; i++) {
        struct wire_blob *again = block_of(&pair, true, each, 'x');
        wire_blob_unref(again);
        assert_in_range(system_bytes(fd), each, WIRE_SHARED_KEEP_BYTES + MIB);
    }
    pair_close(&pair);
}

static void what_is_too_small_or_forbidden_is_refused(void **state) {
    struct wire_shared_home *home = NULL;
    struct rlimit before, small;
    (void)state;
    assert_int_equal(wire_shared_home_new(WIRE_LARGE_BYTES_MIN - 1, FD_MIN, &home), ENOTSUP);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = HEAP;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(wire_shared_home_new(HEAP, FD_MIN, &home), EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
}

static void every_lack_of_memory_is_borne(void **state) {
    (void)state;
    for (long count = 0;; count++) {
        struct wire_shared_home *home = NULL;
        struct wire_shared_guest *guest = NULL;
        struct wire_shared_own *own = NULL;
        struct wire_blob *blob = NULL;
        int fd = -1;
        fail_alloc_only(count);
        int error = wire_shared_home_new(HEAP, FD_MIN, &home);
        if (error == 0) {
            guest = wire_shared_admit(home, session, &fd);
            error = guest == NULL ? errno : 0;
        }
        if (error == 0) {
            error = wire_shared_own_open(wire_shared_home_fd(home), fd, &own);
        }
        if (error == 0) {
            blob = wire_shared_block(wire_shared_own_heap(own), MIB);
            error = blob == NULL ? ENOMEM : 0;
        }
        int failed = fail_alloc_failed();
        fail_alloc_never();
        assert_int_equal(error, failed ? ENOMEM : 0);
        wire_blob_unref(blob);
        wire_shared_own_close(own);
        wire_shared_dismiss(guest);
        wire_shared_home_free(home);
        if (fd >= 0) {
            close(fd);
        }
        if (!failed) {
            return;
        }
        assert_true(count < 50);
    }
}

/* ----------------------------------------------------------------------- trust */

/* Else its broker would know a worker whose references nobody understands, and ask for them for ever. */
static void a_hello_that_there_is_no_memory_to_read_is_dropped(void **state) {
    static const struct wire_session session_of_another = {7, 8};
    struct wire_message *hello = hello_of(session_of_another);
    struct pair pair;
    (void)state;
    pair_open(&pair, HEAP);
    fail_alloc_only(0);
    assert_false(wire_shared_in(pair.home, PEER + 1, hello));
    assert_true(fail_alloc_failed());
    fail_alloc_never();
    assert_true(wire_shared_in(pair.home, PEER + 1, hello)); /* it is said again */
    wire_message_unref(hello);
    pair_close(&pair);
}

static void a_memory_can_not_be_resized_nor_homes_be_written(void **state) {
    struct wire_shared_home *home;
    struct wire_shared_guest *guest;
    int fd;
    (void)state;
    assert_int_equal(wire_shared_home_new(HEAP, FD_MIN, &home), 0);
    guest = wire_shared_admit(home, session, &fd);
    assert_non_null(guest);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, (off_t)(100 * MIB)), -1);
    assert_int_equal(ftruncate(wire_shared_home_fd(home), 0), -1);
    assert_ptr_equal(
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, wire_shared_home_fd(home), 0),
        MAP_FAILED);
    close(fd);
    wire_shared_dismiss(guest);
    wire_shared_home_free(home);
}

static void other_memories_are_refused(void **state) {
    struct wire_shared_home *home;
    struct wire_shared_guest *guest;
    struct wire_shared_own *own;
    int fd, other = memfd_create("other", MFD_CLOEXEC);
    (void)state;
    assert_int_equal(wire_shared_home_new(HEAP, FD_MIN, &home), 0);
    guest = wire_shared_admit(home, session, &fd);
    assert_non_null(guest);
    assert_int_equal(wire_shared_own_open(wire_shared_home_fd(home), other, &own), EINVAL);
    assert_int_equal(wire_shared_own_open(other, fd, &own), EINVAL);
    assert_int_equal(wire_shared_own_open(fd, wire_shared_home_fd(home), &own), EINVAL);
    assert_int_equal(wire_shared_own_open(-1, fd, &own), EINVAL);
    close(other);
    close(fd);
    wire_shared_dismiss(guest);
    wire_shared_home_free(home);
}

static void references_to_what_there_is_not_are_refused(void **state) {
    const uint32_t units = HEAP / WIRE_SHARED_UNIT_BYTES;
    const struct shared_reference wrong[] = {
        {units, 0, 0, MIB},
        {UINT32_MAX, 0, 0, MIB},
        {0, 0, 0, HEAP + 1},
        {0, 0, 1, HEAP},
        {units - 1, 0, 0, WIRE_LARGE_BYTES_MIN},
        {0, 0, HEAP + 1, MIB},
        {0, 0, UINT64_MAX, MIB},
        {0, 0, UINT64_MAX - MIB + 1, MIB},
        {0, 1, 0, MIB},
        {0, 0, 0, WIRE_LARGE_BYTES_MIN - 1},
        {0, 0, 0, 0},
        {0, 0, 0, (uint64_t)WIRE_PAYLOAD_BYTES_MAX + 1},
    };
    struct pair pair;
    (void)state;
    pair_open(&pair, HEAP);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct wire_message *message = message_with(shared_reference_encode(&wrong[i]));
        assert_false(wire_shared_in(pair.home, PEER, message));
        assert_false(wire_shared_own_in(pair.own, message));
        wire_message_unref(message);
    }
    pair_close(&pair);
}

static void frames_that_are_no_references_are_refused(void **state) {
    static const struct {
        const char *bytes;
        size_t size;
    } wrong[] = {
        {"", 0},
        {"\x94\x00\x00\x00", 4},
        {"\x94\x00\x00\x00\xce\x00\x10\x00\x00\x00", 10},
        {"\x93\x00\x00\xce\x00\x10\x00\x00", 8},
        {"\x95\x00\x00\x00\xce\x00\x10\x00\x00\x00", 10},
        {"\x94\xff\x00\x00\xce\x00\x10\x00\x00", 9},
        {"\x94\xcf\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\xce\x00\x10\x00\x00", 17},
    };
    struct pair pair;
    (void)state;
    pair_open(&pair, HEAP);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct wire_message *message = message_with(wire_blob_copy(wrong[i].bytes, wrong[i].size));
        assert_false(wire_shared_in(pair.home, PEER, message));
        assert_false(wire_shared_own_in(pair.own, message));
        assert_false(wire_shared_in(pair.home, PEER + 1, message)); /* nor of strangers */
        wire_message_unref(message);
    }
    pair_close(&pair);
}

/* --------------------------------------------------------------------- threads */

enum { ROUNDS = 300 };

struct relay {
    pthread_mutex_t lock;
    struct wire_blob *frames[8]; /* references on their way; the owner drops blocks regardless */
    unsigned count;
    struct pair *pair;
    atomic_bool over;
    unsigned good, late;
};

static void relay_put(struct relay *relay, struct wire_blob *frame) {
    bool done = false;

    BASE_ASSERT(frame != NULL);
    while (!done) {
        pthread_mutex_lock(&relay->lock);
        done = relay->count < 8;
        if (done) {
            relay->frames[relay->count++] = frame;
        }
        pthread_mutex_unlock(&relay->lock);
        sched_yield();
    }
}

/* The owner of the heap: fills blocks with one number each, sends them, and drops them. */
static void *send_blocks(void *user) {
    struct relay *relay = user;

    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t size = WIRE_LARGE_BYTES_MIN + (round % 5) * 30000;
        struct wire_blob *blob = wire_shared_block(heap_of(relay->pair, true), size);
        struct shared_reference reference;

        BASE_ASSERT(blob != NULL);
        memset(blob->data, (int)(round & 0xff), size);
        BASE_ASSERT(shared_heap_refer(heap_of(relay->pair, true), blob, &reference));
        relay_put(relay, shared_reference_encode(&reference));
        wire_blob_unref(blob);
    }
    return NULL;
}

static struct wire_blob *relay_take(struct relay *relay) {
    struct wire_blob *frame = NULL;

    pthread_mutex_lock(&relay->lock);
    if (relay->count > 0) {
        frame = relay->frames[--relay->count];
    }
    pthread_mutex_unlock(&relay->lock);
    return frame;
}

/* The reader: what it can get hold of has one number in it, from end to end, and keeps it. */
static void *read_blocks(void *user) {
    struct relay *relay = user;

    for (;;) {
        bool over = atomic_load(&relay->over);
        struct wire_blob *frame = relay_take(relay);

        if (frame == NULL && over) {
            return NULL;
        }
        if (frame == NULL) {
            sched_yield();
            continue;
        }
        struct wire_message *message = message_with(frame);
        if (wire_shared_own_in(relay->pair->own, message)) {
            const struct wire_blob *blob = message->frames[2];
            for (size_t i = 0; i < blob->size; i++) {
                BASE_ASSERT(blob->data[i] == blob->data[0]);
            }
            relay->good++;
        } else {
            relay->late++;
        }
        wire_message_unref(message);
    }
}

static void a_reader_never_sees_a_block_change(void **state) {
    struct relay relay = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t writers[2], reader;
    struct pair pair;
    (void)state;
    pair_open(&pair, HEAP);
    relay.pair = &pair;
    assert_int_equal(pthread_create(&reader, NULL, read_blocks, &relay), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&writers[i], NULL, send_blocks, &relay), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(writers[i], NULL);
    }
    atomic_store(&relay.over, true);
    pthread_join(reader, NULL);
    assert_int_equal(relay.good + relay.late, 2 * ROUNDS);
    assert_int_equal(used_by(&pair, true), 0);
    pair_close(&pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_read_where_it_lies),
        cmocka_unit_test(a_part_of_a_block_is_sent_as_that_part),
        cmocka_unit_test(only_a_guest_that_has_mapped_gets_references),
        cmocka_unit_test(other_payloads_go_as_they_are),
        cmocka_unit_test(what_has_no_memory_for_its_reference_goes_as_it_is),
        cmocka_unit_test(a_block_is_kept_while_a_reader_holds_it),
        cmocka_unit_test(a_reference_that_comes_too_late_is_refused),
        cmocka_unit_test(results_outlive_guest_and_home),
        cmocka_unit_test(a_killed_guest_holds_nothing),
        cmocka_unit_test(a_full_heap_gives_no_more),
        cmocka_unit_test(free_memory_goes_back_but_for_some),
        cmocka_unit_test(what_is_too_small_or_forbidden_is_refused),
        cmocka_unit_test(every_lack_of_memory_is_borne),
        cmocka_unit_test(a_hello_that_there_is_no_memory_to_read_is_dropped),
        cmocka_unit_test(a_memory_can_not_be_resized_nor_homes_be_written),
        cmocka_unit_test(other_memories_are_refused),
        cmocka_unit_test(references_to_what_there_is_not_are_refused),
        cmocka_unit_test(frames_that_are_no_references_are_refused),
        cmocka_unit_test(a_reader_never_sees_a_block_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
