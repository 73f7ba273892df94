#include "wire/encoder.h"
#include "wire/inspect_columns.h"

static void pack_tags(msgpack_packer *packer, const struct wire_tags *tags) {
    BASE_ASSERT(tags->count <= WIRE_TAGS_MAX);
    pack_names(packer, tags->names, tags->count);
}

static void pack_columns(msgpack_packer *packer, struct wire_columns columns, const void *from) {
    void *what = (void *)from; /* only read */
    for (uint32_t i = 0; i < columns.count; i++) {
        const struct wire_column *column = &columns.at[i];
        switch (column->sort) {
        case WIRE_COLUMN_NUMBER:
            BASE_ASSERT(*wire_column_number(what, column) >= column->min &&
                        *wire_column_number(what, column) <= column->max);
            msgpack_pack_uint64(packer, *wire_column_number(what, column));
            break;
        case WIRE_COLUMN_NAME:
            wire_pack_text(packer,
                           wire_cut_text(*wire_column_name(what, column), WIRE_NAME_BYTES_MAX));
            break;
        case WIRE_COLUMN_TAGS:
            pack_tags(packer, wire_column_tags(what, column));
            break;
        }
    }
}

static struct wire_message *encode(enum wire_type type, const void *what) {
    struct wire_columns columns = wire_columns_of(type);
    struct base_buffer buffer;
    msgpack_packer packer = begin(&buffer, type, columns.count);
    pack_columns(&packer, columns, what);
    return finish(&buffer);
}

struct wire_message *wire_ping_encode(const struct wire_ping *ping) {
    return encode(WIRE_PING, ping);
}

struct wire_message *wire_pong_encode(const struct wire_pong *pong) {
    return encode(WIRE_PONG, pong);
}

struct wire_message *wire_list_encode(const struct wire_list_request *request) {
    return encode(WIRE_LIST, request);
}

struct wire_message *wire_explain_encode(const struct wire_explain *explain) {
    return encode(WIRE_EXPLAIN, explain);
}

struct wire_message *wire_reason_encode(const struct wire_reason *reason) {
    return encode(WIRE_REASON, reason);
}

struct wire_message *wire_retire_encode(const struct wire_retire *retire) {
    return encode(WIRE_RETIRE, retire);
}

struct wire_message *wire_retired_encode(const struct wire_retired *retired) {
    return encode(WIRE_RETIRED, retired);
}

/* -------------------------------------------------------------------- ROWS */

void wire_rows_begin(struct wire_rows_writer *writer, const struct wire_list_request *request) {
    BASE_ASSERT(request->list < WIRE_LIST_COUNT);
    *writer = (struct wire_rows_writer){
        .number = request->number, .list = (enum wire_list)request->list, .page = request->page};
    base_buffer_init(&writer->rows);
}

void wire_rows_put(struct wire_rows_writer *writer, const union wire_row *row) {
    struct wire_columns columns = wire_columns_of_list(writer->list);
    msgpack_packer packer = wire_packer_of(&writer->rows);
    BASE_ASSERT(!wire_rows_full(writer));
    msgpack_pack_array(&packer, columns.count);
    pack_columns(&packer, columns, row);
    writer->count++;
}

bool wire_rows_full(const struct wire_rows_writer *writer) {
    return writer->count >= WIRE_ROWS_MAX || writer->rows.size >= WIRE_ROWS_BYTES_MAX;
}

struct wire_message *wire_rows_finish(struct wire_rows_writer *writer, bool more) {
    struct wire_message *message = NULL;
    struct base_buffer buffer;
    msgpack_packer packer = begin(&buffer, WIRE_ROWS, 5);
    msgpack_pack_uint64(&packer, writer->number);
    msgpack_pack_uint64(&packer, writer->list);
    msgpack_pack_uint64(&packer, writer->page);
    pack_flag(&packer, more);
    msgpack_pack_array(&packer, writer->count);
    base_buffer_append(&buffer, writer->rows.data, writer->rows.size);
    buffer.failed = buffer.failed || writer->rows.failed;
    message = finish(&buffer);
    base_buffer_fini(&writer->rows);
    return message;
}
