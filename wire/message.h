/* Messages of the protocol: memory, encoding, decoding (docs/protocol.md section 3).
 *
 * Pure. Decoding never allocates by what a peer claims and checks a whole message before it gives
 * out the first entry; so a handler is all or nothing. */
#ifndef WIRE_MESSAGE_H
#define WIRE_MESSAGE_H

#include "wire/limits.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------ memory */

/* A blob is a run of bytes with a count of references; the shell makes one around a received ZeroMQ
 * frame, the codec around memory of its own. References may be dropped on any thread (ZeroMQ's
 * included); `destroy` then runs there. */
struct wire_blob {
    _Atomic uint32_t refs;
    uint8_t *data; /* written only by whoever made it, before it is shared; never NULL */
    size_t size;
    void (*destroy)(struct wire_blob *blob);
};

struct wire_blob *wire_blob_new(size_t size);                    /* NULL: no memory */
struct wire_blob *wire_blob_copy(const void *data, size_t size); /* NULL: no memory */
struct wire_blob *wire_blob_ref(struct wire_blob *blob);
void wire_blob_unref(struct wire_blob *blob); /* NULL is fine */

#define WIRE_FRAMES_MAX (2u + WIRE_LARGE_COUNT_MAX)

/* A message: frames[0] the header, frames[1] the small payloads (batches only), then large ones.
 * One owner at a time counts its references; not for several threads. */
struct wire_message {
    uint32_t refs;
    uint32_t frame_count;
    struct wire_blob *frames[WIRE_FRAMES_MAX];
};

/* wire_message_new takes over the references in `frames` on success; frame_count is at most
 * WIRE_FRAMES_MAX (refuse a longer message before). NULL: no memory. */
struct wire_message *wire_message_new(struct wire_blob **frames, uint32_t frame_count);
struct wire_message *wire_message_ref(struct wire_message *message);
void wire_message_unref(struct wire_message *message); /* NULL is fine */
size_t wire_message_bytes(const struct wire_message *message);

/* ------------------------------------------------------------------- types */

#define WIRE_TYPE_MAP(X)                                                                           \
    X(HELLO, 1)                                                                                    \
    X(WELCOME, 2)                                                                                  \
    X(REJECT, 3)                                                                                   \
    X(HEARTBEAT, 4)                                                                                \
    X(RESUME, 5)                                                                                   \
    X(UNKNOWN, 6)                                                                                  \
    X(PING, 7)                                                                                     \
    X(PONG, 8)                                                                                     \
    X(LIST, 9)                                                                                     \
    X(ROWS, 10)                                                                                    \
    X(EXPLAIN, 11)                                                                                 \
    X(REASON, 12)                                                                                  \
    X(RETIRE, 13)                                                                                  \
    X(RETIRED, 14)                                                                                 \
    X(COMING, 15)                                                                                  \
    X(SUBMIT, 16)                                                                                  \
    X(CANCEL, 17)                                                                                  \
    X(OUTCOMES, 18)                                                                                \
    X(VERDICTS, 19)                                                                                \
    X(STARTED, 20)                                                                                 \
    X(CREDIT, 21)                                                                                  \
    X(DEFINE, 24)                                                                                  \
    X(BYE, 25)                                                                                     \
    X(RUN, 32)                                                                                     \
    X(RECALL, 33)                                                                                  \
    X(INTERRUPT, 34)                                                                               \
    X(RESULTS, 35)                                                                                 \
    X(RETURNED, 36)                                                                                \
    X(RUNNING, 37)                                                                                 \
    X(CLAIMS, 38)                                                                                  \
    X(DRAIN, 40)                                                                                   \
    X(STOP, 41)                                                                                    \
    X(CHILD_DIED, 42)

enum wire_type {
#define WIRE_TYPE_ENUM(name, number) WIRE_##name = (number),
    WIRE_TYPE_MAP(WIRE_TYPE_ENUM)
#undef WIRE_TYPE_ENUM
};
#define WIRE_FIRST_SEQUENCED 16u

const char *wire_type_name(unsigned type); /* "SUBMIT"; "?" for none of ours */

enum wire_kind {
    WIRE_KIND_VALUE = 0,
    WIRE_KIND_ERROR = 1,
    WIRE_KIND_LOST = 2,
    WIRE_KIND_DEADLINE = 3,
    WIRE_KIND_NO_FUNCTION = 4,
    WIRE_KIND_BROKEN = 5,
    WIRE_KIND_REJECTED = 6,
    WIRE_KIND_CANCELLED = 7,
};
#define WIRE_KIND_COUNT 8u

enum wire_role { WIRE_CLIENT = 1, WIRE_WORKER = 2, WIRE_SUPERVISOR = 3, WIRE_ADMIN = 4 };

enum wire_task_flag { WIRE_FLAG_CHUNK = 1, WIRE_FLAG_AT_MOST_ONCE = 2, WIRE_FLAG_INITIALIZED = 4 };
#define WIRE_FLAGS_MAX (WIRE_FLAG_CHUNK | WIRE_FLAG_AT_MOST_ONCE | WIRE_FLAG_INITIALIZED)

enum wire_reject_code {
    WIRE_REJECT_MALFORMED = 1,
    WIRE_REJECT_TYPE = 2,
    WIRE_REJECT_ROLE = 3,
    WIRE_REJECT_LIMIT = 4,
    WIRE_REJECT_VERSION = 5,
    WIRE_REJECT_AUTH = 6,
    WIRE_REJECT_DRAINING = 7,
};
/* wire_reject_text names a code in words; "unknown code" for none of ours. */
const char *wire_reject_text(unsigned code);

struct wire_session {
    uint64_t high, low;
};

/* What is wrong with a message: code as in REJECT, and a text that names the field. */
struct wire_fault {
    enum wire_reject_code code;
    char text[96];
};

struct wire_envelope {
    uint32_t type; /* one of enum wire_type, or of nobody */
    uint64_t seq;
    uint64_t ack;
};

/* wire_open reads a message's envelope and checks its frames' number and sizes. False: *fault. */
bool wire_open(const struct wire_message *message, struct wire_envelope *envelope,
               struct wire_fault *fault);
/* wire_stamp patches seq and ack into the header of a message of our own making. A header that
 * somebody else still holds (a socket that has not sent it yet) is not written to but replaced by a
 * patched copy; if there is no memory for that the old stamp stays, which must have the same seq: its
 * older ack does no harm. */
void wire_stamp(struct wire_message *message, uint64_t seq, uint64_t ack);

/* ----------------------------------------------------------------- batches */

#define WIRE_EXTRA_MAX 2u
#define WIRE_KEY_MAX   5u
#define WIRE_ENTRY_MAX 3u

/* The shape of a batch: how many integers its extra, group key and entry have (without `size`). */
struct wire_shape {
    uint8_t type;
    uint8_t extra;
    uint8_t key;
    uint8_t entry;
    bool payload;
};
/* wire_shape_of gives the shape of a batch type, NULL for other types. */
const struct wire_shape *wire_shape_of(unsigned type);

/* A writer builds one batch message after the other, and keeps its memory in between. */
struct wire_writer;
struct wire_writer *wire_writer_new(enum wire_type type); /* NULL: no memory */
void wire_writer_free(struct wire_writer *writer);
uint32_t wire_writer_count(const struct wire_writer *writer); /* entries so far */

enum wire_put { WIRE_PUT_OK, WIRE_PUT_FULL, WIRE_PUT_NOMEM };
/* wire_writer_put adds an entry; a new group begins when `key` differs from the last one's.
 *
 * key, entry  as many integers as the shape says; borrowed
 * data, size  the payload, copied if below WIRE_LARGE_BYTES_MIN; NULL, 0 in shapes without
 * large       a blob with exactly these bytes, of which a reference is kept if size is
 *             WIRE_LARGE_BYTES_MIN or more; NULL: the bytes are copied into a new one
 *
 * FULL: finish this message and put again. NOMEM and FULL leave the writer as it was. */
enum wire_put wire_writer_put(struct wire_writer *writer, const uint64_t *key,
                              const uint64_t *entry, const void *data, size_t size,
                              struct wire_blob *large);
/* wire_writer_finish gives the message (seq and ack 0), and empties the writer. `extra` as many
 * integers as the shape says (NULL if none). NULL: no memory, the writer keeps what it has. */
struct wire_message *wire_writer_finish(struct wire_writer *writer, const uint64_t *extra);
void wire_writer_clear(struct wire_writer *writer);

/* A batch that is being read; it borrows the message. */
struct wire_batch {
    const struct wire_message *message;
    const struct wire_shape *shape;
    uint64_t extra[WIRE_EXTRA_MAX];
    uint32_t entry_count; /* of the whole message */
    /* below: the reader's */
    const uint8_t *at;
    uint32_t groups_left, entries_left, next_large;
    size_t payload_at;
    uint64_t key[WIRE_KEY_MAX];
};
struct wire_entry {
    const uint64_t *key; /* of its group; until the next group */
    uint64_t values[WIRE_ENTRY_MAX];
    const uint8_t *data; /* until the message goes; valid also for size 0 */
    size_t size;
    struct wire_blob *large; /* the frame, if it is a large payload (not a reference), else NULL */
    bool new_group;          /* first of its group */
};
/* wire_batch_open checks the whole message against the shape of its type, its frames and the
 * limits. False: *fault, and nothing may be used. */
bool wire_batch_open(struct wire_batch *batch, const struct wire_message *message,
                     struct wire_fault *fault);
/* wire_batch_next gives the next entry; false at the end. It can't fail. */
bool wire_batch_next(struct wire_batch *batch, struct wire_entry *entry);

/* --------------------------------------------------------- single messages */

/* Strings in decoded messages point into the message and are not terminated. */
struct wire_text {
    const char *data;
    size_t size;
};

struct wire_hello {
    uint32_t version_min, version_max;
    enum wire_role role;
    struct wire_session session;
    uint64_t epoch, received;
    struct wire_text name, host;
    uint64_t pid;
    uint32_t slots;
    const struct wire_text *functions; /* encoding: an array of the caller's */
    uint32_t function_count;
    const struct wire_text *tags;
    uint32_t tag_count;
};
struct wire_welcome {
    uint32_t version;
    uint64_t epoch;
    bool resumed;
    uint64_t received;
    uint32_t heartbeat_ms, silence_ms;
    uint64_t payload_max;
};
struct wire_reject {
    uint32_t about;
    enum wire_reject_code code;
    struct wire_text text;
};
struct wire_define {
    uint32_t class_index;
    struct wire_text function;
    struct wire_text tags[WIRE_TAGS_MAX];
    uint32_t tag_count;
    int32_t priority; /* -128 .. 127 */
    uint32_t flags;   /* of enum wire_task_flag */
    uint32_t max_attempts;
    uint64_t queue_ms, run_ms;
    uint32_t retries;
    uint64_t retry_ms;
};
struct wire_child_died {
    struct wire_session session;
    uint64_t pid;
    uint32_t signal, exit_code;
    struct wire_text host;
    bool expected;
    const uint64_t *running; /* encoding: the caller's; decoding: see below */
    uint32_t running_count;
};

/* SUBMIT's `past`: whether the task was sent to an earlier epoch, and for how long it has waited. */
#define WIRE_PAST_MAX (2 * WIRE_DURATION_MS_MAX + 1)
static inline uint64_t wire_past(bool resent, uint64_t waited_ms) {
    return 2 * waited_ms + (resent ? 1 : 0);
}
static inline bool wire_past_resent(uint64_t past) {
    return (past & 1) != 0;
}
static inline uint64_t wire_past_waited_ms(uint64_t past) {
    return past / 2;
}

/* COMING: which message comes, and how large it is; with no_room, the answer to that: there is no
 * memory to receive it. */
struct wire_coming {
    uint64_t seq, bytes;
    bool no_room;
};

/* Encoders return a message with seq and ack 0, or NULL without memory. Numbers, lists and the names
 * of functions and tags must be within the limits; names of peers, hosts and texts are cut. */
struct wire_message *wire_hello_encode(const struct wire_hello *hello);
struct wire_message *wire_welcome_encode(const struct wire_welcome *welcome);
struct wire_message *wire_reject_encode(const struct wire_reject *reject);
struct wire_message *wire_define_encode(const struct wire_define *define);
struct wire_message *wire_child_died_encode(const struct wire_child_died *died);
struct wire_message *wire_heartbeat_encode(uint64_t sent);
struct wire_message *wire_resume_encode(uint64_t received);
struct wire_message *wire_coming_encode(const struct wire_coming *coming);
struct wire_message *wire_plain_encode(enum wire_type type); /* UNKNOWN, BYE, DRAIN, STOP */

/* Decoders check everything and borrow from the message. The lists of HELLO and CHILD_DIED are
 * allocated (their number is bounded by limits and by the header's bytes) and must be freed with
 * wire_hello_fini and wire_child_died_fini. False: *fault (also when memory is short:
 * WIRE_REJECT_LIMIT). */
bool wire_hello_decode(const struct wire_message *message, struct wire_hello *hello,
                       struct wire_fault *fault);
void wire_hello_fini(struct wire_hello *hello);
bool wire_welcome_decode(const struct wire_message *message, struct wire_welcome *welcome,
                         struct wire_fault *fault);
bool wire_reject_decode(const struct wire_message *message, struct wire_reject *reject,
                        struct wire_fault *fault);
bool wire_define_decode(const struct wire_message *message, struct wire_define *define,
                        struct wire_fault *fault);
bool wire_child_died_decode(const struct wire_message *message, struct wire_child_died *died,
                            struct wire_fault *fault);
void wire_child_died_fini(struct wire_child_died *died);
bool wire_heartbeat_decode(const struct wire_message *message, uint64_t *sent,
                           struct wire_fault *fault);
bool wire_resume_decode(const struct wire_message *message, uint64_t *received,
                        struct wire_fault *fault);
bool wire_coming_decode(const struct wire_message *message, struct wire_coming *coming,
                        struct wire_fault *fault);
/* wire_plain_decode checks a message without fields of the type given. */
bool wire_plain_decode(const struct wire_message *message, enum wire_type type,
                       struct wire_fault *fault);

/* wire_announce makes the COMING that a transport sends in front of a message which takes long to cross
 * (docs/protocol.md section 4). NULL: it needs none, or there is no memory for it. */
struct wire_message *wire_announce(const struct wire_message *message);

/* The payload of kinds WIRE_KIND_ERROR to WIRE_KIND_REJECTED. */
struct wire_error {
    int32_t code;
    struct wire_text message, function, host;
    int64_t pid;
    uint32_t attempt;
    int32_t signal, exit_code;
};
struct base_buffer;
/* wire_error_encode appends to `out`, cutting long texts; false: no memory. */
bool wire_error_encode(const struct wire_error *error, struct base_buffer *out);
/* wire_error_decode borrows from data; false: malformed. */
bool wire_error_decode(const void *data, size_t size, struct wire_error *error);

/* What the arguments of a task begin with that has WIRE_FLAG_INITIALIZED. */
struct wire_initializer {
    struct wire_text name;
    const void *arguments; /* packed values */
    size_t size;
};
/* wire_initializer_encode appends to `out`; false: no memory. The name must be within the limits. */
bool wire_initializer_encode(const struct wire_initializer *initializer, struct base_buffer *out);
/* wire_initializer_decode borrows from data, and gives the bytes that it took; the rest is what the
 * task itself gets, unchecked. 0: malformed. */
size_t wire_initializer_decode(const void *data, size_t size, struct wire_initializer *initializer);

#endif
