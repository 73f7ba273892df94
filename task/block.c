#include "task/block.h"

#include <stdlib.h>

#include "task/status.h"
#include "wire/bytes.h"
#include "wire/value.h"

#define ALIGN           ((size_t)64)
#define BIN_BYTES_MAX   5u
#define BLOCK_BYTES_MAX (WIRE_PAYLOAD_BYTES_MAX - BIN_BYTES_MAX)

struct furrow_block {
    struct wire_blob *blob; /* begins BLOCK_FRONT_BYTES in front of `data`, at the latest */
    uint8_t *data;
    size_t size;
};

static furrow_status over_limit(size_t size) {
    return task_set_error(FURROW_ETOOBIG,
                          "a block of %zu bytes: the values are over the limit of %u bytes", size,
                          WIRE_PAYLOAD_BYTES_MAX);
}

furrow_block *block_new(task_blob_function *blob, void *user, size_t size) {
    furrow_block *block;
    uintptr_t at;

    if (size > BLOCK_BYTES_MAX) {
        (void)over_limit(size);
        return NULL;
    }
    block = malloc(sizeof *block);
    if (block == NULL) {
        (void)task_set_plain_error(FURROW_ENOMEM);
        return NULL;
    }
    block->blob = NULL;
    if (blob != NULL && size + BLOCK_FRONT_BYTES >= WIRE_LARGE_BYTES_MIN) {
        block->blob = blob(user, BLOCK_FRONT_BYTES + ALIGN - 1 + size);
    }
    if (block->blob == NULL) {
        block->blob = wire_blob_new(BLOCK_FRONT_BYTES + ALIGN - 1 + size);
    }
    if (block->blob == NULL) {
        free(block);
        (void)task_set_plain_error(FURROW_ENOMEM);
        return NULL;
    }
    at = (uintptr_t)block->blob->data + BLOCK_FRONT_BYTES;
    block->data = block->blob->data + BLOCK_FRONT_BYTES + (ALIGN - at % ALIGN) % ALIGN;
    block->size = size;
    return block;
}

void furrow_block_free(furrow_block **block) {
    if (block != NULL && *block != NULL) {
        wire_blob_unref((*block)->blob);
        free(*block);
        *block = NULL;
    }
}

void *furrow_block_data(const furrow_block *block) {
    return block->data;
}

size_t furrow_block_size(const furrow_block *block) {
    return block->size;
}

/* ---- handing over ---- */

/* Packs the values of the format's first `letters` letters. */
static furrow_status pack_values(struct base_buffer *out, size_t *count, bool allow_pointers,
                                 const char *format, size_t letters, va_list *arguments) {
    struct wire_value_fault fault;
    enum wire_value_status status;
    char *in_front;

    if (letters == 0) {
        return FURROW_OK;
    }
    in_front = malloc(letters + 1);
    if (in_front == NULL) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    memcpy(in_front, format, letters);
    in_front[letters] = '\0';
    status = wire_value_pack(out, count, allow_pointers, in_front, arguments, &fault);
    free(in_front);
    return status == WIRE_VALUE_OK ? FURROW_OK : task_set_value_error(status, &fault);
}

furrow_status block_pack(struct base_buffer *out, size_t *count, bool allow_pointers,
                         const char *format, va_list *arguments, furrow_block ***place) {
    size_t letters = strcspn(format, "H");
    furrow_status status;

    if (format[letters + 1 + strspn(format + letters + 1, " ,")] != '\0') {
        return task_set_error(
            FURROW_EARGS, "\"%s\": a block (H) has to be the last value, not in brackets", format);
    }
    status = pack_values(out, count, allow_pointers, format, letters, arguments);
    if (status != FURROW_OK) {
        return status;
    }
    *place = va_arg(*arguments, furrow_block **);
    if (*place == NULL || **place == NULL) {
        return task_set_error(FURROW_EARGS, "\"%s\": the block is NULL", format);
    }
    if (out->size + (**place)->size > BLOCK_BYTES_MAX) {
        return over_limit((**place)->size);
    }
    return FURROW_OK;
}

/* Writes the header of a binary value; returns its size. */
static size_t write_header(uint8_t *out, size_t size) {
    uint8_t *at = out;

    if (size <= UINT8_MAX) {
        *at++ = 0xc4;
        *at++ = (uint8_t)size;
    } else if (size <= UINT16_MAX) {
        *at++ = 0xc5;
        at = wire_store16(at, (uint16_t)size);
    } else {
        *at++ = 0xc6;
        at = wire_store32(at, (uint32_t)size);
    }
    return (size_t)(at - out);
}

bool block_join(const furrow_block *block, struct base_buffer *front, size_t at,
                struct wire_blob **blob) {
    uint8_t header[BIN_BYTES_MAX];
    size_t size = write_header(header, block->size);
    size_t front_size;

    *blob = NULL;
    if (!base_buffer_append(front, header, size)) {
        return false;
    }
    front_size = front->size - at;
    if (front_size > BLOCK_FRONT_BYTES || front_size + block->size < WIRE_LARGE_BYTES_MIN) {
        return base_buffer_append(front, block->data, block->size);
    }
    memcpy(block->data - front_size, front->data + at, front_size);
    block->blob->data = block->data - front_size;
    block->blob->size = front_size + block->size;
    *blob = wire_blob_ref(block->blob);
    return true;
}
