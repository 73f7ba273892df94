#include "wire/decoder.h"
#include "wire/inspect_columns.h"

static bool read_tags(struct decoder *in, struct wire_tags *tags) {
    if (!read_count(in, "tag", WIRE_TAGS_MAX, &tags->count)) {
        return false;
    }
    for (uint32_t i = 0; i < tags->count; i++) {
        if (!read_name(in, "tag", &tags->names[i])) {
            return false;
        }
    }
    return true;
}

static bool read_columns(struct decoder *in, struct wire_columns columns, void *what) {
    for (uint32_t i = 0; i < columns.count; i++) {
        const struct wire_column *column = &columns.at[i];
        bool good = false;
        switch (column->sort) {
        case WIRE_COLUMN_NUMBER:
            good = read_u64(in, column->name, column->min, column->max,
                            wire_column_number(what, column));
            break;
        case WIRE_COLUMN_NAME:
            good = read_name(in, column->name, wire_column_name(what, column));
            break;
        case WIRE_COLUMN_TAGS:
            good = read_tags(in, wire_column_tags(what, column));
            break;
        }
        if (!good) {
            return false;
        }
    }
    return true;
}

static bool decode(const struct wire_message *message, enum wire_type type, void *what,
                   struct wire_fault *fault) {
    struct wire_columns columns = wire_columns_of(type);
    struct decoder in;
    return begin(&in, message, type, columns.count, fault) && read_columns(&in, columns, what) &&
           end(&in);
}

bool wire_ping_decode(const struct wire_message *message, struct wire_ping *ping,
                      struct wire_fault *fault) {
    return decode(message, WIRE_PING, ping, fault);
}

bool wire_pong_decode(const struct wire_message *message, struct wire_pong *pong,
                      struct wire_fault *fault) {
    return decode(message, WIRE_PONG, pong, fault);
}

bool wire_list_decode(const struct wire_message *message, struct wire_list_request *request,
                      struct wire_fault *fault) {
    return decode(message, WIRE_LIST, request, fault);
}

bool wire_explain_decode(const struct wire_message *message, struct wire_explain *explain,
                         struct wire_fault *fault) {
    return decode(message, WIRE_EXPLAIN, explain, fault);
}

bool wire_reason_decode(const struct wire_message *message, struct wire_reason *reason,
                        struct wire_fault *fault) {
    return decode(message, WIRE_REASON, reason, fault);
}

bool wire_retire_decode(const struct wire_message *message, struct wire_retire *retire,
                        struct wire_fault *fault) {
    return decode(message, WIRE_RETIRE, retire, fault);
}

bool wire_retired_decode(const struct wire_message *message, struct wire_retired *retired,
                         struct wire_fault *fault) {
    return decode(message, WIRE_RETIRED, retired, fault);
}

/* -------------------------------------------------------------------- ROWS */

static bool read_row(struct decoder *in, enum wire_list list, union wire_row *row) {
    struct wire_columns columns = wire_columns_of_list(list);
    uint32_t found = 0;
    if (!read_count(in, "row", UINT16_MAX, &found)) {
        return false;
    }
    if (found < columns.count) {
        return wire_fault_set(in->fault, WIRE_REJECT_MALFORMED,
                              "%s: row: has %u fields instead of %u", in->name, found,
                              columns.count);
    }
    if (!read_columns(in, columns, row)) {
        return false;
    }
    for (; found > columns.count; found--) {
        if (!wire_skip(&in->in, WIRE_DEPTH_MAX)) {
            return wire_fault_set(in->fault, WIRE_REJECT_MALFORMED,
                                  "%s: row: malformed field at its end", in->name);
        }
    }
    return true;
}

bool wire_rows_open(struct wire_rows *rows, const struct wire_message *message,
                    struct wire_fault *fault) {
    struct decoder in;
    union wire_row row;
    if (!begin(&in, message, WIRE_ROWS, 5, fault) || !read_any(&in, "number", &rows->number) ||
        !read_u64(&in, "list", 0, WIRE_LIST_COUNT - 1, &rows->list) ||
        !read_any(&in, "page", &rows->page) || !read_flag(&in, "more", &rows->more) ||
        !read_count(&in, "row", WIRE_ROWS_MAX, &rows->count)) {
        return false;
    }
    rows->at = in.in.at;
    for (uint32_t i = 0; i < rows->count; i++) {
        if (!read_row(&in, (enum wire_list)rows->list, &row)) {
            return false;
        }
    }
    rows->end = in.in.at;
    return end(&in);
}

bool wire_rows_next(struct wire_rows *rows, union wire_row *row) {
    struct wire_fault fault;
    struct decoder in = {.in = {rows->at, rows->end}, .name = "ROWS", .fault = &fault};
    bool good;
    if (rows->count == 0) {
        return false;
    }
    good = read_row(&in, (enum wire_list)rows->list, row);
    BASE_ASSERT(good); /* wire_rows_open has checked it */
    rows->at = in.in.at;
    rows->count--;
    return true;
}
