/* The protocol's numbers: types of messages, kinds of outcomes, roles, flags, reasons to reject
 * (docs/protocol.md section 3). */
#ifndef WIRE_TYPES_H
#define WIRE_TYPES_H

#include <stdint.h>

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

#endif
