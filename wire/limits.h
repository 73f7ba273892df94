/* Every limit of the protocol, in one place (docs/protocol.md section 9). */
#ifndef WIRE_LIMITS_H
#define WIRE_LIMITS_H

#define WIRE_VERSION_MIN 1u
#define WIRE_VERSION_MAX 1u

#define WIRE_PAYLOAD_BYTES_MAX (256u << 20) /* one task's arguments or result */
#define WIRE_LARGE_BYTES_MIN   (64u << 10)  /* from here on a payload has a frame of its own */
#define WIRE_LARGE_COUNT_MAX   16u          /* large frames a message */
#define WIRE_LARGE_BYTES_MAX   (16u << 20) /* in large frames a message, unless one alone has more */
#define WIRE_COMING_BYTES_MIN  (256u << 10) /* messages of this size are announced */
#define WIRE_RATE_MIN          (1u << 20) /* bytes a second: what is announced may not be slower */
#define WIRE_BATCH_ENTRIES_MAX 4096u
#define WIRE_BATCH_BYTES_MAX   (1u << 20) /* small payloads a message */
#define WIRE_HEADER_BYTES_MAX  (8u << 20)
#define WIRE_NAME_BYTES_MAX    255u
#define WIRE_TEXT_BYTES_MAX    4096u /* error messages, reject texts: longer ones are cut */
#define WIRE_TAGS_MAX          16u
#define WIRE_FUNCTIONS_MAX     65536u
#define WIRE_CLASSES_MAX       65536u
#define WIRE_SLOTS_MAX         4096u
#define WIRE_DEPTH_MAX         32u /* nesting of values */
#define WIRE_NESTING_MAX       36u /* the same with what the library wraps around values (chunks) */
#define WIRE_ATTEMPTS_MAX      1000u
#define WIRE_WORKER_LEASES_MAX 4096u /* tasks a worker may hold, run or not */
/* So that an absolute time plus a peer's duration, in nanoseconds, never overflows (146 years). */
#define WIRE_DURATION_MS_MAX (UINT64_MAX / 4000000u)

#endif
