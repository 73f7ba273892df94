#include "wire/inspect_columns.h"

#define ANY    UINT64_MAX
#define STATES 127u
#define FLAG(s, field)                                                                             \
    { #field, WIRE_COLUMN_NUMBER, offsetof(struct s, field), 0, 1 }
#define NUMBER(s, field)                                                                           \
    { #field, WIRE_COLUMN_NUMBER, offsetof(struct s, field), 0, ANY }
#define RANGE(s, field, min, max)                                                                  \
    { #field, WIRE_COLUMN_NUMBER, offsetof(struct s, field), (min), (max) }
#define NAME(s, field)                                                                             \
    { #field, WIRE_COLUMN_NAME, offsetof(struct s, field), 0, WIRE_NAME_BYTES_MAX }
#define TAGS(s, field)                                                                             \
    { "tag", WIRE_COLUMN_TAGS, offsetof(struct s, field), 0, WIRE_TAGS_MAX }
#define SESSION(s, field)                                                                          \
    {"session", WIRE_COLUMN_NUMBER, offsetof(struct s, field.high), 0, ANY}, {                     \
        "session", WIRE_COLUMN_NUMBER, offsetof(struct s, field.low), 0, ANY                       \
    }

static const struct wire_column ping[] = {NUMBER(wire_ping, number)};

static const struct wire_column pong[] = {
    NUMBER(wire_pong, number),    NAME(wire_pong, version),  NUMBER(wire_pong, epoch),
    NUMBER(wire_pong, uptime_ms), FLAG(wire_pong, draining),
};

static const struct wire_column list[] = {
    NUMBER(wire_list_request, number),
    RANGE(wire_list_request, list, 0, WIRE_LIST_COUNT - 1),
    NUMBER(wire_list_request, page),
};

static const struct wire_column explain[] = {
    NUMBER(wire_explain, number),
    SESSION(wire_explain, session),
    FLAG(wire_explain, named),
    NUMBER(wire_explain, id),
};

static const struct wire_column reason[] = {
    NUMBER(wire_reason, number),
    RANGE(wire_reason, reason, WIRE_REASON_NO_CLIENT, UINT16_MAX),
    NAME(wire_reason, function),
    TAGS(wire_reason, tags),
    NUMBER(wire_reason, attempt),
    NUMBER(wire_reason, max_attempts),
    NUMBER(wire_reason, flags),
    RANGE(wire_reason, priority, 0, 255),
    NUMBER(wire_reason, ahead),
    NUMBER(wire_reason, queued),
    NUMBER(wire_reason, left_ms),
    NUMBER(wire_reason, workers),
    NUMBER(wire_reason, offering),
    NUMBER(wire_reason, busy),
    NUMBER(wire_reason, draining),
    NUMBER(wire_reason, claiming),
    NUMBER(wire_reason, emptied),
    NAME(wire_reason, worker),
    NAME(wire_reason, worker_host),
    NUMBER(wire_reason, worker_pid),
    SESSION(wire_reason, worker_session),
    NAME(wire_reason, client),
    NAME(wire_reason, client_host),
    NUMBER(wire_reason, client_pid),
    NUMBER(wire_reason, client_tasks),
    NUMBER(wire_reason, credit_tasks),
    NUMBER(wire_reason, credit_bytes),
    NUMBER(wire_reason, client_state),
};

static const struct wire_column retire[] = {
    NUMBER(wire_retire, number),
    SESSION(wire_retire, session),
};

static const struct wire_column retired[] = {
    NUMBER(wire_retired, number),
    RANGE(wire_retired, role, 0, WIRE_SUPERVISOR),
};

/* -------------------------------------------------------------------- rows */

static const struct wire_column broker_row[] = {
    NAME(wire_broker_row, version),        NAME(wire_broker_row, host),
    NUMBER(wire_broker_row, pid),          NUMBER(wire_broker_row, epoch),
    NUMBER(wire_broker_row, uptime_ms),    FLAG(wire_broker_row, draining),
    NUMBER(wire_broker_row, clients),      NUMBER(wire_broker_row, workers),
    NUMBER(wire_broker_row, supervisors),  NUMBER(wire_broker_row, admins),
    NUMBER(wire_broker_row, queued),       NUMBER(wire_broker_row, leased),
    NUMBER(wire_broker_row, memory_bytes), NUMBER(wire_broker_row, memory_max),
    NUMBER(wire_broker_row, tasks_max),    NUMBER(wire_broker_row, submitted),
    NUMBER(wire_broker_row, finished),     NUMBER(wire_broker_row, failed),
    NUMBER(wire_broker_row, cancelled),    NUMBER(wire_broker_row, reruns),
    NUMBER(wire_broker_row, stale),        NUMBER(wire_broker_row, recalled),
    NUMBER(wire_broker_row, rejected),     NUMBER(wire_broker_row, submit_rate),
    NUMBER(wire_broker_row, finish_rate),  NUMBER(wire_broker_row, fail_rate),
};

static const struct wire_column worker_row[] = {
    NAME(wire_worker_row, name),       NAME(wire_worker_row, host),
    NUMBER(wire_worker_row, pid),      SESSION(wire_worker_row, session),
    NUMBER(wire_worker_row, slots),    NUMBER(wire_worker_row, leases),
    NUMBER(wire_worker_row, limit),    NUMBER(wire_worker_row, finished),
    NUMBER(wire_worker_row, mean_ns),  RANGE(wire_worker_row, state, 0, STATES),
    NUMBER(wire_worker_row, heard_ms), NUMBER(wire_worker_row, functions),
    TAGS(wire_worker_row, tags),
};

static const struct wire_column client_row[] = {
    NAME(wire_client_row, name),           NAME(wire_client_row, host),
    NUMBER(wire_client_row, pid),          SESSION(wire_client_row, session),
    NUMBER(wire_client_row, tasks),        NUMBER(wire_client_row, queued),
    NUMBER(wire_client_row, bytes),        NUMBER(wire_client_row, credit_tasks),
    NUMBER(wire_client_row, credit_bytes), RANGE(wire_client_row, state, 0, STATES),
    NUMBER(wire_client_row, heard_ms),
};

static const struct wire_column function_row[] = {
    NAME(wire_function_row, function),      TAGS(wire_function_row, tags),
    NUMBER(wire_function_row, queued),      NUMBER(wire_function_row, leased),
    NUMBER(wire_function_row, alone),       NUMBER(wire_function_row, oldest_ms),
    NUMBER(wire_function_row, workers),     NUMBER(wire_function_row, slots),
    NUMBER(wire_function_row, submitted),   NUMBER(wire_function_row, finished),
    NUMBER(wire_function_row, failed),      NUMBER(wire_function_row, submit_rate),
    NUMBER(wire_function_row, finish_rate), NUMBER(wire_function_row, fail_rate),
    SESSION(wire_function_row, session),    NUMBER(wire_function_row, id),
};

static const struct wire_column supervisor_row[] = {
    NAME(wire_supervisor_row, name),
    NAME(wire_supervisor_row, host),
    NUMBER(wire_supervisor_row, pid),
    SESSION(wire_supervisor_row, session),
    RANGE(wire_supervisor_row, state, 0, STATES),
    NUMBER(wire_supervisor_row, heard_ms),
};

#define ALL(columns) ((struct wire_columns){columns, sizeof(columns) / sizeof(columns)[0]})

struct wire_columns wire_columns_of(enum wire_type type) {
    switch ((int)type) {
    case WIRE_PING:
        return ALL(ping);
    case WIRE_PONG:
        return ALL(pong);
    case WIRE_LIST:
        return ALL(list);
    case WIRE_EXPLAIN:
        return ALL(explain);
    case WIRE_REASON:
        return ALL(reason);
    case WIRE_RETIRE:
        return ALL(retire);
    case WIRE_RETIRED:
        return ALL(retired);
    default:
        return (struct wire_columns){NULL, 0};
    }
}

struct wire_columns wire_columns_of_list(enum wire_list which) {
    switch (which) {
    case WIRE_LIST_BROKER:
        return ALL(broker_row);
    case WIRE_LIST_WORKERS:
        return ALL(worker_row);
    case WIRE_LIST_CLIENTS:
        return ALL(client_row);
    case WIRE_LIST_FUNCTIONS:
        return ALL(function_row);
    case WIRE_LIST_SUPERVISORS:
        break;
    }
    return ALL(supervisor_row);
}
