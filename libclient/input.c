#include "libclient/input.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "task/status.h"
#include "task/value.h"
#include "wire/packer.h"
#include "wire/value.h"

static furrow_status packed(const struct base_buffer *out, size_t *count) {
    if (BASE_UNLIKELY(out->failed)) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    (*count)++;
    return FURROW_OK;
}

static void pack_integer(struct base_buffer *out, int64_t value) {
    if (value >= 0 && value < 128) {
        base_buffer_append_u8(out, (uint8_t)value);
    } else {
        msgpack_packer packer = wire_packer_of(out);

        msgpack_pack_int64(&packer, value);
    }
}

static void free_plain(furrow_input *input) {
    free(input);
}

static furrow_input *no_memory(void) {
    (void)task_set_plain_error(FURROW_ENOMEM);
    return NULL;
}

/* ------------------------------------------------------------------- arrays */

struct array_input {
    furrow_input input;
    const void *values;
    size_t count;
    size_t at;
};

static furrow_status next_int(furrow_input *input, struct base_buffer *out, size_t *count) {
    struct array_input *array = BASE_CONTAINER_OF(input, struct array_input, input);

    if (array->at == array->count) {
        return FURROW_EEND;
    }
    pack_integer(out, ((const int64_t *)array->values)[array->at++]);
    return packed(out, count);
}

static furrow_status next_double(furrow_input *input, struct base_buffer *out, size_t *count) {
    struct array_input *array = BASE_CONTAINER_OF(input, struct array_input, input);
    msgpack_packer packer = wire_packer_of(out);

    if (array->at == array->count) {
        return FURROW_EEND;
    }
    msgpack_pack_double(&packer, ((const double *)array->values)[array->at++]);
    return packed(out, count);
}

static furrow_status next_string(furrow_input *input, struct base_buffer *out, size_t *count) {
    struct array_input *array = BASE_CONTAINER_OF(input, struct array_input, input);
    msgpack_packer packer = wire_packer_of(out);
    struct wire_text text;

    if (array->at == array->count) {
        return FURROW_EEND;
    }
    text.data = ((const char *const *)array->values)[array->at++];
    text.size = strlen(text.data);
    if (text.size > WIRE_PAYLOAD_BYTES_MAX) {
        return task_set_plain_error(FURROW_ETOOBIG);
    }
    wire_pack_text(&packer, text);
    return packed(out, count);
}

static furrow_input *array_new(const struct input_ops *ops, const void *values, size_t count) {
    struct array_input *array = malloc(sizeof *array);

    if (array == NULL) {
        return no_memory();
    }
    array->input.ops = ops;
    array->values = values;
    array->count = count;
    array->at = 0;
    return &array->input;
}

furrow_input *furrow_input_ints(const int64_t *values, size_t count) {
    static const struct input_ops ops = {next_int, free_plain};

    return array_new(&ops, values, count);
}

furrow_input *furrow_input_doubles(const double *values, size_t count) {
    static const struct input_ops ops = {next_double, free_plain};

    return array_new(&ops, values, count);
}

furrow_input *furrow_input_strings(const char *const *values, size_t count) {
    static const struct input_ops ops = {next_string, free_plain};

    return array_new(&ops, values, count);
}

/* -------------------------------------------------------------------- range */

struct range_input {
    furrow_input input;
    int64_t next;
    int64_t stop;
    int64_t step;
    bool over;
};

static furrow_status next_in_range(furrow_input *input, struct base_buffer *out, size_t *count) {
    struct range_input *range = BASE_CONTAINER_OF(input, struct range_input, input);

    if (range->over ||
        (range->step > 0 ? range->next >= range->stop : range->next <= range->stop)) {
        return FURROW_EEND;
    }
    pack_integer(out, range->next);
    range->over = __builtin_add_overflow(range->next, range->step, &range->next);
    return packed(out, count);
}

furrow_input *furrow_input_range(int64_t start, int64_t stop, int64_t step) {
    static const struct input_ops ops = {next_in_range, free_plain};
    struct range_input *range;

    if (step == 0) {
        (void)task_set_error(FURROW_EINVAL, "furrow_input_range: the step is 0");
        return NULL;
    }
    range = malloc(sizeof *range);
    if (range == NULL) {
        return no_memory();
    }
    range->input.ops = &ops;
    range->next = start;
    range->stop = stop;
    range->step = step;
    range->over = false;
    return &range->input;
}

/* ----------------------------------------------------------------- callback */

struct callback_input {
    furrow_input input;
    furrow_input_next_function *next;
    void (*close)(void *user);
    void *user;
    furrow_buffer item;
};

static furrow_status next_from_callback(furrow_input *input, struct base_buffer *out,
                                        size_t *count) {
    struct callback_input *callback = BASE_CONTAINER_OF(input, struct callback_input, input);
    const struct base_buffer *item = &callback->item.bytes;
    furrow_status status;
    size_t values;

    furrow_buffer_clear(&callback->item);
    status = callback->next(callback->user, &callback->item);
    if (status == FURROW_EEND) {
        return status;
    }
    if (status != FURROW_OK) {
        return task_set_error(status, "the input of a map failed: %s",
                              furrow_last_status() == status ? furrow_last_error()
                                                             : furrow_status_text(status));
    }
    if (item->failed) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    if (!wire_value_check(item->data, item->size, &values)) {
        return task_set_error(FURROW_EARGS, "the input of a map gave no whole MessagePack values");
    }
    if (!base_buffer_append(out, item->data, item->size)) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    *count += values;
    return FURROW_OK;
}

static void free_callback(furrow_input *input) {
    struct callback_input *callback = BASE_CONTAINER_OF(input, struct callback_input, input);

    if (callback->close != NULL) {
        callback->close(callback->user);
    }
    base_buffer_fini(&callback->item.bytes);
    free(callback);
}

furrow_input *furrow_input_callback(furrow_input_next_function *next, void (*close)(void *user),
                                    void *user) {
    static const struct input_ops ops = {next_from_callback, free_callback};
    struct callback_input *callback = malloc(sizeof *callback);

    if (callback == NULL) {
        return no_memory();
    }
    callback->input.ops = &ops;
    callback->next = next;
    callback->close = close;
    callback->user = user;
    base_buffer_init(&callback->item.bytes);
    return &callback->input;
}

/* ---------------------------------------------------------------------- zip */

struct zip_input {
    furrow_input input;
    size_t count;
    furrow_input *inputs[];
};

static furrow_status next_of_all(furrow_input *input, struct base_buffer *out, size_t *count) {
    struct zip_input *zip = BASE_CONTAINER_OF(input, struct zip_input, input);

    if (zip->count == 0) {
        return FURROW_EEND;
    }
    for (size_t i = 0; i < zip->count; i++) {
        furrow_status status = input_next(zip->inputs[i], out, count);

        if (status != FURROW_OK) {
            return status;
        }
    }
    return FURROW_OK;
}

static void free_zip(furrow_input *input) {
    struct zip_input *zip = BASE_CONTAINER_OF(input, struct zip_input, input);

    for (size_t i = 0; i < zip->count; i++) {
        furrow_input_free(&zip->inputs[i]);
    }
    free(zip);
}

furrow_input *furrow_input_zip(furrow_input **inputs, size_t count) {
    static const struct input_ops ops = {next_of_all, free_zip};
    struct zip_input *zip;

    if (count > SIZE_MAX / 2 / sizeof(furrow_input *)) {
        return no_memory();
    }
    zip = malloc(sizeof *zip + count * sizeof zip->inputs[0]);
    if (zip == NULL) {
        return no_memory();
    }
    zip->input.ops = &ops;
    zip->count = count;
    for (size_t i = 0; i < count; i++) {
        zip->inputs[i] = inputs[i];
        inputs[i] = NULL;
    }
    return &zip->input;
}

void furrow_input_free(furrow_input **input) {
    if (input != NULL && *input != NULL) {
        furrow_input *old = *input;

        *input = NULL;
        old->ops->free(old);
    }
}
