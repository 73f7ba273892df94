/* Messages of the protocol: memory, encoding, decoding (docs/protocol.md section 3).
 *
 * Pure. Decoding never allocates by what a peer claims and checks a whole message before it gives
 * out the first entry; so a handler is all or nothing. */
#ifndef WIRE_MESSAGE_H
#define WIRE_MESSAGE_H

#include "wire/batch.h"

/* wire_open reads a message's envelope and checks its frames' number and sizes. False: *fault. */
bool wire_open(const struct wire_message *message, struct wire_envelope *envelope,
               struct wire_fault *fault);
/* wire_stamp patches seq and ack into the header of a message of our own making. A header that
 * somebody else still holds (a socket that has not sent it yet) is not written to but replaced by a
 * patched copy; if there is no memory for that the old stamp stays, which must have the same seq: its
 * older ack does no harm. */
void wire_stamp(struct wire_message *message, uint64_t seq, uint64_t ack);

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
