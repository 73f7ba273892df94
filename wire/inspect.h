/* What admins ask and hear (docs/protocol.md section 3.3): fields, encoding, decoding. Pure.
 *
 * Every message and row is a struct whose columns stand in one table (inspect_columns.h), from which
 * it is written, read and compared. Texts that are decoded point into the message. */
#ifndef WIRE_INSPECT_H
#define WIRE_INSPECT_H

#include "base/buffer.h"
#include "wire/message.h"

/* What a page of ROWS may hold. */
#define WIRE_ROWS_MAX       256u
#define WIRE_ROWS_BYTES_MAX (64u << 10) /* at least this much: then the page ends */
/* Tasks before the one asked about that are counted. */
#define WIRE_AHEAD_MAX 4096u

enum wire_list {
    WIRE_LIST_BROKER,
    WIRE_LIST_WORKERS,
    WIRE_LIST_CLIENTS,
    WIRE_LIST_FUNCTIONS,
    WIRE_LIST_SUPERVISORS,
};
#define WIRE_LIST_COUNT 5u

enum wire_peer_state {
    WIRE_STATE_DRAINING = 1,
    WIRE_STATE_RETIRED = 2,
    WIRE_STATE_DYING = 4,
    WIRE_STATE_CLAIMING = 8,
    WIRE_STATE_ALONE = 16,
    WIRE_STATE_CLOGGED = 32,
    WIRE_STATE_STARVED = 64,
};

enum wire_reason_code {
    WIRE_REASON_NO_CLIENT = 1,
    WIRE_REASON_NOT_HERE,
    WIRE_REASON_CLIENT,
    WIRE_REASON_HELD,
    WIRE_REASON_NO_WORKER,
    WIRE_REASON_NO_FUNCTION,
    WIRE_REASON_NO_TAGS,
    WIRE_REASON_BUSY,
    WIRE_REASON_TURN,
    WIRE_REASON_CLOGGED,
    WIRE_REASON_DELAYED,
    WIRE_REASON_ALONE,
    WIRE_REASON_WAITS_THERE,
    WIRE_REASON_RUNS,
    WIRE_REASON_NO_MEMORY,
};

enum wire_reason_flag { WIRE_REASON_BEGUN = 1, WIRE_REASON_CANCELLING = 2, WIRE_REASON_APART = 4 };

struct wire_tags {
    uint32_t count;
    struct wire_text names[WIRE_TAGS_MAX];
};

/* Integers are all of 64 bits here, whatever their range, so that one table describes them. */
struct wire_ping {
    uint64_t number;
};
struct wire_pong {
    uint64_t number;
    struct wire_text version;
    uint64_t epoch, uptime_ms, draining;
};
struct wire_list_request {
    uint64_t number, list, page;
};
struct wire_explain {
    uint64_t number;
    struct wire_session session;
    uint64_t named, id;
};
struct wire_retire {
    uint64_t number;
    struct wire_session session;
};
struct wire_retired {
    uint64_t number, role; /* WIRE_WORKER, WIRE_SUPERVISOR, 0 */
};
struct wire_reason {
    uint64_t number, reason;
    struct wire_text function;
    struct wire_tags tags;
    uint64_t attempt, max_attempts, flags, priority, ahead, queued, left_ms;
    uint64_t workers, offering, busy, draining, claiming, emptied;
    struct wire_text worker, worker_host;
    uint64_t worker_pid;
    struct wire_session worker_session;
    struct wire_text client, client_host;
    uint64_t client_pid, client_tasks, credit_tasks, credit_bytes, client_state;
};

struct wire_broker_row {
    struct wire_text version, host;
    uint64_t pid, epoch, uptime_ms, draining, clients, workers, supervisors, admins;
    uint64_t queued, leased, memory_bytes, memory_max, tasks_max;
    uint64_t submitted, finished, failed, cancelled, reruns, stale, recalled, rejected;
    uint64_t submit_rate, finish_rate, fail_rate;
};
struct wire_worker_row {
    struct wire_text name, host;
    uint64_t pid;
    struct wire_session session;
    uint64_t slots, leases, limit, finished, mean_ns, state, heard_ms, functions;
    struct wire_tags tags;
};
struct wire_client_row {
    struct wire_text name, host;
    uint64_t pid;
    struct wire_session session;
    uint64_t tasks, queued, bytes, credit_tasks, credit_bytes, state, heard_ms;
};
struct wire_function_row {
    struct wire_text function;
    struct wire_tags tags;
    uint64_t queued, leased, alone, oldest_ms, workers, slots, submitted, finished, failed;
    uint64_t submit_rate, finish_rate, fail_rate;
    struct wire_session session; /* the first task's */
    uint64_t id;
};
struct wire_supervisor_row {
    struct wire_text name, host;
    uint64_t pid;
    struct wire_session session;
    uint64_t state, heard_ms;
};

union wire_row {
    struct wire_broker_row broker;
    struct wire_worker_row worker;
    struct wire_client_row client;
    struct wire_function_row function;
    struct wire_supervisor_row supervisor;
};

/* The encoders give a message with seq and ack 0, or NULL without memory. Names are cut. */
struct wire_message *wire_ping_encode(const struct wire_ping *ping);
struct wire_message *wire_pong_encode(const struct wire_pong *pong);
struct wire_message *wire_list_encode(const struct wire_list_request *request);
struct wire_message *wire_explain_encode(const struct wire_explain *explain);
struct wire_message *wire_reason_encode(const struct wire_reason *reason);
struct wire_message *wire_retire_encode(const struct wire_retire *retire);
struct wire_message *wire_retired_encode(const struct wire_retired *retired);

/* The decoders check everything, and borrow from the message. False: *fault. */
bool wire_ping_decode(const struct wire_message *message, struct wire_ping *ping,
                      struct wire_fault *fault);
bool wire_pong_decode(const struct wire_message *message, struct wire_pong *pong,
                      struct wire_fault *fault);
bool wire_list_decode(const struct wire_message *message, struct wire_list_request *request,
                      struct wire_fault *fault);
bool wire_explain_decode(const struct wire_message *message, struct wire_explain *explain,
                         struct wire_fault *fault);
bool wire_reason_decode(const struct wire_message *message, struct wire_reason *reason,
                        struct wire_fault *fault);
bool wire_retire_decode(const struct wire_message *message, struct wire_retire *retire,
                        struct wire_fault *fault);
bool wire_retired_decode(const struct wire_message *message, struct wire_retired *retired,
                         struct wire_fault *fault);

/* -------------------------------------------------------------------- ROWS */

/* A page that is being written. */
struct wire_rows_writer {
    uint64_t number;
    enum wire_list list;
    uint64_t page;
    uint32_t count;
    struct base_buffer rows;
};
void wire_rows_begin(struct wire_rows_writer *writer, const struct wire_list_request *request);
/* wire_rows_put adds a row of the writer's list. Lack of memory shows at the end. */
void wire_rows_put(struct wire_rows_writer *writer, const union wire_row *row);
/* wire_rows_full: no further row is to be put. */
bool wire_rows_full(const struct wire_rows_writer *writer);
/* wire_rows_finish gives the message, and ends the writer in any case. NULL: no memory. */
struct wire_message *wire_rows_finish(struct wire_rows_writer *writer, bool more);

/* A page that is being read; it borrows the message. */
struct wire_rows {
    uint64_t number, list, page;
    bool more;
    uint32_t count; /* rows left */
    /* the reader's: */
    const uint8_t *at, *end;
};
/* wire_rows_open checks the whole message. False: *fault, and nothing may be used. */
bool wire_rows_open(struct wire_rows *rows, const struct wire_message *message,
                    struct wire_fault *fault);
/* wire_rows_next gives the next row; false at the end. It can't fail. */
bool wire_rows_next(struct wire_rows *rows, union wire_row *row);

#endif
