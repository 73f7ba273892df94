#include "wire_frames.h"

#include <msgpack.h>

#include "base/rng.h"
#include "fail_alloc.h"
#include "wire/shape.h"

static const enum wire_type types[] = {
    WIRE_SUBMIT, WIRE_CANCEL,    WIRE_OUTCOMES, WIRE_VERDICTS, WIRE_STARTED, WIRE_CREDIT, WIRE_RUN,
    WIRE_RECALL, WIRE_INTERRUPT, WIRE_RESULTS,  WIRE_RETURNED, WIRE_RUNNING, WIRE_CLAIMS,
};
#define TYPES (sizeof types / sizeof types[0])

static struct wire_writer *writer_of(enum wire_type type) {
    struct wire_writer *writer = wire_writer_new(type);
    assert_non_null(writer);
    return writer;
}

static struct wire_message *finish(struct wire_writer *writer, const uint64_t *extra) {
    struct wire_message *message = wire_writer_finish(writer, extra);
    assert_non_null(message);
    assert_int_equal(wire_writer_count(writer), 0);
    return message;
}

static void open_batch(struct wire_batch *batch, const struct wire_message *message) {
    struct wire_fault fault;
    if (!wire_batch_open(batch, message, &fault)) {
        fail_msg("%s", fault.text);
    }
}

/* ------------------------------------------------------------- round trips */

/* A random number of a random width within the field's range. */
static uint64_t number_for(struct base_rng *rng, const struct wire_field *field) {
    uint64_t range = field->max - field->min;
    uint64_t number = base_rng_next(rng) >> base_rng_below(rng, 64);
    return field->min + (range == UINT64_MAX ? number : number % (range + 1));
}

struct sent {
    uint64_t key[WIRE_KEY_MAX];
    uint64_t entry[WIRE_ENTRY_MAX];
    size_t size;
    struct wire_blob *large;
};

#define SENT 300u
static uint8_t bytes[3 * WIRE_LARGE_BYTES_MIN];

static void make_entry(struct base_rng *rng, const struct wire_layout *layout,
                       const struct sent *before, struct sent *sent) {
    bool same = before != NULL && base_rng_chance(rng, 0.7);
    memset(sent, 0, sizeof *sent);
    for (unsigned i = 0; i < layout->shape.key; i++) {
        sent->key[i] = same ? before->key[i] : number_for(rng, &layout->key[i]);
    }
    for (unsigned i = 0; i < layout->shape.entry; i++) {
        sent->entry[i] = number_for(rng, &layout->entry[i]);
    }
    if (!layout->shape.payload || (layout->kind && sent->key[0] == WIRE_KIND_CANCELLED)) {
        return;
    }
    sent->size = (size_t)base_rng_below(rng, 100);
    if (base_rng_chance(rng, 0.02)) {
        sent->size = WIRE_LARGE_BYTES_MIN + (size_t)base_rng_below(rng, 1000);
        sent->large = base_rng_chance(rng, 0.5) ? wire_blob_copy(bytes, sent->size) : NULL;
    }
}

/* All the ways that there are for an entry, as it comes, so that each goes on where another has been. */
static enum wire_put put_somehow(struct base_rng *rng, struct wire_writer *writer,
                                 const struct wire_layout *layout, const struct sent *before,
                                 const struct sent *sent) {
    bool again = before != NULL && memcmp(before->key, sent->key, sizeof sent->key) == 0;
    switch (base_rng_below(rng, again ? 3 : 2)) {
    case 0:
        return wire_writer_put(writer, sent->key, sent->entry, bytes, sent->size, sent->large);
    case 1:
        return wire_writer_put_quick(writer, layout->shape, sent->key, sent->entry, bytes,
                                     sent->size, sent->large);
    default:
        return wire_writer_put_again(writer, layout->shape, sent->key, sent->entry, bytes,
                                     sent->size, sent->large);
    }
}

static uint32_t send_entries(struct base_rng *rng, struct wire_writer *writer,
                             const struct wire_layout *layout, struct sent *sent) {
    uint32_t count = layout->shape.entry == 0 ? 0 : (uint32_t)base_rng_below(rng, SENT);
    for (uint32_t i = 0; i < count; i++) {
        const struct sent *before = i > 0 ? &sent[i - 1] : NULL;
        make_entry(rng, layout, before, &sent[i]);
        enum wire_put put = put_somehow(rng, writer, layout, before, &sent[i]);
        if (put == WIRE_PUT_FULL) { /* 16 large ones */
            wire_blob_unref(sent[i].large);
            return i;
        }
        assert_int_equal(put, WIRE_PUT_OK);
    }
    return count;
}

static void receive_entries(struct wire_message *message, const struct wire_layout *layout,
                            const uint64_t *extra, const struct sent *sent, uint32_t count) {
    struct wire_batch batch;
    struct wire_entry entry;
    open_batch(&batch, message);
    assert_ptr_equal(batch.shape, &layout->shape);
    assert_int_equal(batch.entry_count, count);
    assert_memory_equal(batch.extra, extra, layout->shape.extra * sizeof extra[0]);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(wire_batch_next(&batch, &entry));
        assert_memory_equal(entry.key, sent[i].key, layout->shape.key * sizeof sent[i].key[0]);
        assert_memory_equal(entry.values, sent[i].entry,
                            layout->shape.entry * sizeof sent[i].entry[0]);
        assert_int_equal(entry.new_group,
                         i == 0 || memcmp(sent[i].key, sent[i - 1].key, sizeof sent[i].key) != 0);
        assert_int_equal(entry.size, sent[i].size);
        assert_memory_equal(entry.data, bytes, entry.size);
        assert_int_equal(entry.large != NULL, entry.size >= WIRE_LARGE_BYTES_MIN);
        if (sent[i].large != NULL) {
            assert_ptr_equal(entry.large, sent[i].large);
        }
    }
    assert_false(wire_batch_next(&batch, &entry));
    assert_false(wire_batch_next(&batch, &entry));
}

static void every_type_comes_back_as_it_was_sent(void **state) {
    static struct sent sent[SENT];
    struct base_rng rng;
    (void)state;
    base_rng_init(&rng, 1);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)base_rng_next(&rng);
    }
    for (size_t t = 0; t < TYPES; t++) {
        const struct wire_layout *layout = wire_layout_of(types[t]);
        struct wire_writer *writer = writer_of(types[t]);
        for (unsigned round = 0; round < 30; round++) {
            uint64_t extra[WIRE_EXTRA_MAX] = {0};
            uint32_t count = send_entries(&rng, writer, layout, sent);
            assert_int_equal(wire_writer_count(writer), count);
            for (unsigned i = 0; i < layout->shape.extra; i++) {
                extra[i] = number_for(&rng, &layout->extra[i]);
            }
            struct wire_message *message = finish(writer, extra);
            receive_entries(message, layout, extra, sent, count);
            wire_message_unref(message);
            for (uint32_t i = 0; i < count; i++) {
                assert_true(sent[i].large == NULL || sent[i].large->refs == 1);
                wire_blob_unref(sent[i].large);
            }
        }
        wire_writer_free(writer);
    }
}

static void a_message_of_one_task_has_the_bytes_of_the_protocol(void **state) {
    static const uint8_t expected[] = {
        0x94, 16,   0xcf, 0,  0, 0, 0, 0, 0, 0,
        7,    0xcf, 0,    0,  0, 0, 0, 0, 0, 9, /* type, seq, ack */
        0x91,                                   /* body */
        0xdc, 0,    1,                          /* groups */
        0x94, 0xcd, 1,    44, 1, 0,             /* class 300, attempt 1, resent 0 */
        0xdc, 0,    2,                          /* entries */
        0xcf, 0,    0,    0,  5, 0, 0, 0, 6,    /* id */
        3,                                      /* size */
    };
    const uint64_t key[] = {300, 1, 0}, id = UINT64_C(5) << 32 | 6;
    struct wire_writer *writer = writer_of(WIRE_SUBMIT);
    (void)state;
    assert_int_equal(wire_writer_put(writer, key, &id, "abc", 3, NULL), WIRE_PUT_OK);
    struct wire_message *message = finish(writer, NULL);
    wire_stamp(message, 7, 9);
    assert_int_equal(message->frame_count, 2);
    assert_int_equal(message->frames[0]->size, sizeof expected);
    assert_memory_equal(message->frames[0]->data, expected, sizeof expected);
    assert_int_equal(message->frames[1]->size, 3);
    assert_memory_equal(message->frames[1]->data, "abc", 3);
    wire_message_unref(message);
    wire_writer_free(writer);
}

/* ------------------------------------------------------------ msgpack-c */

static uint64_t integer(const msgpack_object *object) {
    assert_int_equal(object->type, MSGPACK_OBJECT_POSITIVE_INTEGER);
    return object->via.u64;
}

static const msgpack_object_array *array(const msgpack_object *object) {
    assert_int_equal(object->type, MSGPACK_OBJECT_ARRAY);
    return &object->via.array;
}

static void msgpack_reads_what_we_write(void **state) {
    struct wire_writer *writer = writer_of(WIRE_RUN);
    msgpack_unpacked unpacked;
    size_t at = 0;
    (void)state;
    for (uint64_t i = 0; i < 600; i++) {
        const uint64_t key[] = {i / 100, 1, 5000, UINT64_MAX, 70000};
        const uint64_t entry[] = {i, i * i * i * i, 1 + i % 3};
        assert_int_equal(wire_writer_put(writer, key, entry, bytes, i % 50, NULL), WIRE_PUT_OK);
    }
    struct wire_message *message = finish(writer, NULL);
    msgpack_unpacked_init(&unpacked);
    assert_int_equal(msgpack_unpack_next(&unpacked, (const char *)message->frames[0]->data,
                                         message->frames[0]->size, &at),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(at, message->frames[0]->size);

    const msgpack_object_array *header = array(&unpacked.data);
    assert_int_equal(header->size, 4);
    assert_int_equal(integer(&header->ptr[0]), WIRE_RUN);
    const msgpack_object_array *body = array(&header->ptr[3]);
    assert_int_equal(body->size, 1);
    const msgpack_object_array *groups = array(&body->ptr[0]);
    assert_int_equal(groups->size, 6);
    for (uint64_t i = 0; i < 600; i++) {
        const msgpack_object_array *group = array(&groups->ptr[i / 100]);
        assert_int_equal(group->size, 6);
        assert_int_equal(integer(&group->ptr[0]), i / 100);
        assert_true(integer(&group->ptr[3]) == UINT64_MAX);
        const msgpack_object_array *entries = array(&group->ptr[5]);
        assert_int_equal(entries->size, 400);
        const msgpack_object *entry = &entries->ptr[i % 100 * 4];
        assert_int_equal(integer(&entry[0]), i);
        assert_int_equal(integer(&entry[1]), i * i * i * i);
        assert_int_equal(integer(&entry[2]), 1 + i % 3);
        assert_int_equal(integer(&entry[3]), i % 50);
    }
    msgpack_unpacked_destroy(&unpacked);
    wire_message_unref(message);
    wire_writer_free(writer);
}

static void we_read_what_msgpack_writes(void **state) {
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    struct wire_batch batch;
    struct wire_entry entry;
    (void)state;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 4);
    msgpack_pack_int(&packer, WIRE_RESULTS);
    msgpack_pack_uint64(&packer, 3);
    msgpack_pack_fix_int64(&packer, 4); /* signed, as other languages' packers write numbers */
    msgpack_pack_array(&packer, 2);
    msgpack_pack_fix_int32(&packer, 123456); /* busy_ns */
    msgpack_pack_array(&packer, 2);
    for (uint64_t group = 0; group < 2; group++) {
        msgpack_pack_array(&packer, 2);
        msgpack_pack_uint64(&packer, group); /* kind */
        msgpack_pack_array(&packer, 20);
        for (uint64_t i = 0; i < 10; i++) {
            msgpack_pack_uint64(&packer, (group + 1) << (6 * i)); /* lease */
            msgpack_pack_uint64(&packer, i);                      /* size */
        }
    }
    struct wire_message *message = frames_add(frames_raw(buffer.data, buffer.size), 90);
    open_batch(&batch, message);
    assert_int_equal(batch.extra[0], 123456);
    assert_int_equal(batch.entry_count, 20);
    for (uint64_t i = 0; i < 20; i++) {
        assert_true(wire_batch_next(&batch, &entry));
        assert_int_equal(entry.key[0], i / 10);
        assert_int_equal(entry.values[0], (i / 10 + 1) << (6 * (i % 10)));
        assert_int_equal(entry.size, i % 10);
        assert_int_equal(entry.new_group, i % 10 == 0);
    }
    assert_false(wire_batch_next(&batch, &entry));
    wire_message_unref(message);
    msgpack_sbuffer_destroy(&buffer);
}

/* ------------------------------------------------------------------ limits */

static void a_batch_is_full_at_4096_entries(void **state) {
    struct wire_writer *writer = writer_of(WIRE_CANCEL);
    struct wire_batch batch;
    (void)state;
    for (uint64_t id = 0; id < WIRE_BATCH_ENTRIES_MAX; id++) {
        assert_int_equal(wire_writer_put(writer, NULL, &id, NULL, 0, NULL), WIRE_PUT_OK);
    }
    const uint64_t id = 1;
    assert_int_equal(wire_writer_put(writer, NULL, &id, NULL, 0, NULL), WIRE_PUT_FULL);
    assert_int_equal(wire_writer_count(writer), WIRE_BATCH_ENTRIES_MAX);
    struct wire_message *message = finish(writer, NULL);
    open_batch(&batch, message);
    assert_int_equal(batch.entry_count, WIRE_BATCH_ENTRIES_MAX);
    wire_message_unref(message);
    assert_int_equal(wire_writer_put(writer, NULL, &id, NULL, 0, NULL), WIRE_PUT_OK);
    wire_writer_free(writer);
}

/* The most header that a batch can have: every entry a group of its own, every number 9 bytes. */
static void the_largest_header_is_within_its_limit(void **state) {
    struct wire_writer *writer = writer_of(WIRE_RUN);
    struct wire_batch batch;
    struct wire_entry entry;
    uint64_t count = 0;
    (void)state;
    for (uint64_t i = 0; i < WIRE_BATCH_ENTRIES_MAX; i++) {
        const uint64_t key[] = {i + 60000, 1, WIRE_DURATION_MS_MAX, UINT64_MAX, UINT64_MAX - i};
        const uint64_t values[] = {UINT64_MAX - i, UINT64_MAX, WIRE_ATTEMPTS_MAX};
        assert_int_equal(wire_writer_put(writer, key, values, bytes, 255, NULL), WIRE_PUT_OK);
    }
    struct wire_message *message = finish(writer, NULL);
    assert_true(message->frames[0]->size < WIRE_HEADER_BYTES_MAX);
    open_batch(&batch, message);
    while (wire_batch_next(&batch, &entry)) {
        assert_true(entry.new_group);
        assert_true(entry.key[4] == UINT64_MAX - count);
        count++;
    }
    assert_int_equal(count, WIRE_BATCH_ENTRIES_MAX);
    wire_message_unref(message);
    wire_writer_free(writer);
}

static void a_batch_is_full_at_a_mebibyte_of_small_payloads(void **state) {
    struct wire_writer *writer = writer_of(WIRE_SUBMIT);
    const uint64_t key[] = {0, 1, 0}, id = 1;
    struct wire_batch batch;
    (void)state;
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(wire_writer_put(writer, key, &id, bytes, WIRE_LARGE_BYTES_MIN - 1, NULL),
                         WIRE_PUT_OK);
    }
    /* 16 bytes are left. */
    assert_int_equal(wire_writer_put(writer, key, &id, bytes, 17, NULL), WIRE_PUT_FULL);
    assert_int_equal(wire_writer_count(writer), 16);
    assert_int_equal(wire_writer_put(writer, key, &id, bytes, 16, NULL), WIRE_PUT_OK);
    assert_int_equal(wire_writer_put(writer, key, &id, bytes, 1, NULL), WIRE_PUT_FULL);
    assert_int_equal(wire_writer_put(writer, key, &id, NULL, 0, NULL), WIRE_PUT_OK);
    struct wire_message *message = finish(writer, NULL);
    assert_int_equal(message->frames[1]->size, WIRE_BATCH_BYTES_MAX);
    open_batch(&batch, message);
    assert_int_equal(batch.entry_count, 18);
    wire_message_unref(message);
    wire_writer_free(writer);
}

static void a_batch_is_full_at_16_large_payloads(void **state) {
    struct wire_writer *writer = writer_of(WIRE_SUBMIT);
    struct wire_blob *large = wire_blob_copy(bytes, WIRE_LARGE_BYTES_MIN);
    const uint64_t key[] = {0, 1, 0}, id = 1;
    struct wire_batch batch;
    (void)state;
    for (unsigned i = 0; i < WIRE_LARGE_COUNT_MAX; i++) {
        assert_int_equal(wire_writer_put(writer, key, &id, large->data, large->size, large),
                         WIRE_PUT_OK);
    }
    assert_int_equal(wire_writer_put(writer, key, &id, large->data, large->size, large),
                     WIRE_PUT_FULL);
    assert_int_equal(large->refs, 1 + WIRE_LARGE_COUNT_MAX);
    assert_int_equal(wire_writer_put(writer, key, &id, "small", 5, NULL), WIRE_PUT_OK);
    struct wire_message *message = finish(writer, NULL);
    assert_int_equal(message->frame_count, WIRE_FRAMES_MAX);
    open_batch(&batch, message);
    assert_int_equal(batch.entry_count, 17);
    wire_message_unref(message);
    assert_int_equal(large->refs, 1);
    wire_blob_unref(large);
    wire_writer_free(writer);
}

static void a_payload_is_large_from_65536_bytes_on(void **state) {
    struct wire_writer *writer = writer_of(WIRE_OUTCOMES);
    struct wire_blob *large = wire_blob_copy(bytes, WIRE_LARGE_BYTES_MIN);
    const uint64_t key[] = {WIRE_KIND_VALUE}, id[] = {1, 2}, extra[] = {10, 20};
    struct wire_batch batch;
    struct wire_entry entry;
    (void)state;
    assert_int_equal(wire_writer_put(writer, key, &id[0], bytes, 65535, NULL), WIRE_PUT_OK);
    assert_int_equal(wire_writer_put(writer, key, &id[1], large->data, 65536, large), WIRE_PUT_OK);
    struct wire_message *message = finish(writer, extra);
    assert_int_equal(message->frame_count, 3);
    assert_int_equal(message->frames[1]->size, 65535);
    assert_ptr_equal(message->frames[2], large); /* by reference, never copied */
    open_batch(&batch, message);
    assert_true(wire_batch_next(&batch, &entry));
    assert_null(entry.large);
    assert_int_equal(entry.size, 65535);
    assert_true(wire_batch_next(&batch, &entry));
    assert_ptr_equal(entry.large, large);
    assert_ptr_equal(entry.data, large->data);
    assert_int_equal(entry.size, 65536);
    wire_message_unref(message);
    wire_blob_unref(large);
    wire_writer_free(writer);
}

static void a_large_payload_without_a_blob_is_copied(void **state) {
    struct wire_writer *writer = writer_of(WIRE_RESULTS);
    const uint64_t key[] = {WIRE_KIND_ERROR}, lease = 4, busy_ns = 1;
    (void)state;
    bytes[69999] = 'a';
    assert_int_equal(wire_writer_put(writer, key, &lease, bytes, 70000, NULL), WIRE_PUT_OK);
    bytes[69999] = 'b';
    struct wire_message *message = finish(writer, &busy_ns);
    assert_int_equal(message->frames[2]->size, 70000);
    assert_int_equal(message->frames[2]->data[69999], 'a');
    wire_message_unref(message);
    wire_writer_free(writer);
}

/* ----------------------------------------------------------------- writers */

static void a_writer_is_used_again_after_messages_of_any_size(void **state) {
    static const uint32_t counts[] = {1, 4000, 1, 1, 300, 4096, 2, 0, 1};
    struct wire_writer *writer = writer_of(WIRE_SUBMIT);
    struct wire_message *messages[9];
    (void)state;
    for (size_t i = 0; i < 9; i++) {
        for (uint32_t n = 0; n < counts[i]; n++) {
            const uint64_t key[] = {n / 50, 1, 0}, id = n;
            assert_int_equal(wire_writer_put(writer, key, &id, bytes + n, n % 200, NULL),
                             WIRE_PUT_OK);
        }
        messages[i] = finish(writer, NULL);
    }
    /* What was given earlier is untouched by what came later. */
    for (size_t i = 0; i < 9; i++) {
        struct wire_batch batch;
        struct wire_entry entry;
        open_batch(&batch, messages[i]);
        for (uint32_t n = 0; n < counts[i]; n++) {
            assert_true(wire_batch_next(&batch, &entry));
            assert_int_equal(entry.values[0], n);
            assert_int_equal(entry.size, n % 200);
            assert_memory_equal(entry.data, bytes + n, entry.size);
        }
        assert_false(wire_batch_next(&batch, &entry));
        wire_message_unref(messages[i]);
    }
    wire_writer_free(writer);
}

/* Each payload is larger than all the room that twice the room so far would give. */
static void a_writer_grows_by_as_much_as_is_needed(void **state) {
    static const size_t sizes[] = {500, 1000, 3000, 9000, 60000, 65535, 1};
    struct wire_writer *writer = writer_of(WIRE_SUBMIT);
    const uint64_t key[] = {5, 1, 0}, id = 8;
    struct wire_batch batch;
    struct wire_entry entry;
    (void)state;
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(wire_writer_put(writer, key, &id, bytes + i, sizes[i], NULL), WIRE_PUT_OK);
    }
    struct wire_message *message = finish(writer, NULL);
    open_batch(&batch, message);
    for (size_t i = 0; i < 7; i++) {
        assert_true(wire_batch_next(&batch, &entry));
        assert_int_equal(entry.size, sizes[i]);
        assert_memory_equal(entry.data, bytes + i, sizes[i]);
    }
    wire_message_unref(message);
    wire_writer_free(writer);
}

static void a_cleared_writer_is_empty_and_holds_no_references(void **state) {
    struct wire_writer *writer = writer_of(WIRE_SUBMIT);
    struct wire_blob *large = wire_blob_copy(bytes, 70000);
    const uint64_t key[] = {5, 1, 0}, id = 8;
    struct wire_batch batch;
    (void)state;
    assert_int_equal(wire_writer_put(writer, key, &id, "abc", 3, NULL), WIRE_PUT_OK);
    assert_int_equal(wire_writer_put(writer, key, &id, large->data, large->size, large),
                     WIRE_PUT_OK);
    wire_writer_clear(writer);
    assert_int_equal(large->refs, 1);
    assert_int_equal(wire_writer_count(writer), 0);
    struct wire_message *message = finish(writer, NULL);
    assert_int_equal(message->frame_count, 2);
    assert_int_equal(message->frames[1]->size, 0);
    open_batch(&batch, message);
    assert_int_equal(batch.entry_count, 0);
    wire_message_unref(message);

    assert_int_equal(wire_writer_put(writer, key, &id, large->data, large->size, large),
                     WIRE_PUT_OK);
    wire_writer_free(writer);
    assert_int_equal(large->refs, 1);
    wire_blob_unref(large);
    wire_writer_free(NULL);
}

/* Every allocation of a message fails in turn; each time the writer goes on as if nothing had been. */
static void a_writer_without_memory_stays_as_it_was(void **state) {
    struct wire_blob *large = wire_blob_copy(bytes, 70000);
    bool failed = true;
    (void)state;
    for (long n = 0; failed; n++) {
        struct wire_batch batch;
        struct wire_entry entry;
        struct wire_writer *writer = writer_of(WIRE_SUBMIT);
        struct wire_message *message;
        fail_alloc_only(n);
        for (uint64_t i = 0; i < 400; i++) {
            const uint64_t key[] = {i / 7, 1, 0};
            const size_t size = i == 100 || i == 101 ? 70000 : i;
            struct wire_blob *blob = i == 100 ? large : NULL;
            enum wire_put put = wire_writer_put(writer, key, &i, bytes, size, blob);
            if (put == WIRE_PUT_NOMEM) {
                assert_int_equal(wire_writer_count(writer), i);
                put = wire_writer_put(writer, key, &i, bytes, size, blob);
            }
            assert_int_equal(put, WIRE_PUT_OK);
        }
        message = wire_writer_finish(writer, NULL);
        if (message == NULL) {
            assert_int_equal(wire_writer_count(writer), 400);
            message = wire_writer_finish(writer, NULL);
        }
        failed = fail_alloc_failed() != 0;
        fail_alloc_never();
        assert_non_null(message);
        open_batch(&batch, message);
        for (uint64_t i = 0; i < 400; i++) {
            assert_true(wire_batch_next(&batch, &entry));
            assert_int_equal(entry.values[0], i);
            assert_int_equal(entry.key[0], i / 7);
        }
        assert_false(wire_batch_next(&batch, &entry));
        wire_message_unref(message);
        wire_writer_free(writer);
    }
    assert_int_equal(large->refs, 1);
    wire_blob_unref(large);
    fail_alloc_after(0);
    assert_null(wire_writer_new(WIRE_RUN));
    fail_alloc_never();
}

/* ------------------------------------------------------------------- stamp */

static void a_stamp_is_read_back_by_open(void **state) {
    struct wire_writer *writer = writer_of(WIRE_STARTED);
    struct wire_envelope envelope;
    struct wire_fault fault;
    const uint64_t id = 3;
    (void)state;
    assert_int_equal(wire_writer_put(writer, NULL, &id, NULL, 0, NULL), WIRE_PUT_OK);
    struct wire_message *message = finish(writer, NULL);
    assert_true(wire_open(message, &envelope, &fault));
    assert_int_equal(envelope.type, WIRE_STARTED);
    assert_int_equal(envelope.seq, 0);
    assert_int_equal(envelope.ack, 0);
    wire_stamp(message, UINT64_MAX, UINT64_C(1) << 40);
    assert_true(wire_open(message, &envelope, &fault));
    assert_true(envelope.seq == UINT64_MAX);
    assert_true(envelope.ack == UINT64_C(1) << 40);
    wire_message_unref(message);
    wire_writer_free(writer);
}

static void a_header_that_a_socket_still_holds_is_not_written_to(void **state) {
    struct wire_message *message = wire_heartbeat_encode(5);
    struct wire_envelope envelope;
    struct wire_fault fault;
    (void)state;
    assert_non_null(message);
    wire_stamp(message, 1, 2);
    struct wire_blob *held = wire_blob_ref(message->frames[0]);
    struct wire_blob *before = wire_blob_copy(held->data, held->size);

    fail_alloc_after(0);
    wire_stamp(message, 1, 3); /* no memory for a copy: the old stamp stays */
    fail_alloc_never();
    assert_ptr_equal(message->frames[0], held);

    wire_stamp(message, 1, 4);
    assert_memory_equal(held->data, before->data, before->size);
    assert_ptr_not_equal(message->frames[0], held);
    assert_true(wire_open(message, &envelope, &fault));
    assert_int_equal(envelope.ack, 4);
    wire_blob_unref(held);
    wire_blob_unref(before);
    wire_message_unref(message);
}

/* ------------------------------------------------------------------- names */

static void types_have_names_and_shapes(void **state) {
    unsigned shapes = 0;
    (void)state;
    assert_string_equal(wire_type_name(WIRE_SUBMIT), "SUBMIT");
    assert_string_equal(wire_type_name(WIRE_CHILD_DIED), "CHILD_DIED");
    assert_string_equal(wire_type_name(0), "?");
    assert_string_equal(wire_type_name(UINT32_MAX), "?");
    for (unsigned type = 0; type < 300; type++) {
        const struct wire_shape *shape = wire_shape_of(type);
        if (shape != NULL) {
            assert_int_equal(shape->type, type);
            assert_string_not_equal(wire_type_name(type), "?");
            shapes++;
        }
    }
    assert_int_equal(shapes, TYPES);
    for (size_t t = 0; t < TYPES; t++) {
        assert_non_null(wire_shape_of(types[t]));
    }
    assert_string_equal(wire_reject_text(WIRE_REJECT_LIMIT), "over a limit");
    assert_string_equal(wire_reject_text(99), "unknown code");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_comes_back_as_it_was_sent),
        cmocka_unit_test(a_message_of_one_task_has_the_bytes_of_the_protocol),
        cmocka_unit_test(msgpack_reads_what_we_write),
        cmocka_unit_test(we_read_what_msgpack_writes),
        cmocka_unit_test(a_batch_is_full_at_4096_entries),
        cmocka_unit_test(the_largest_header_is_within_its_limit),
        cmocka_unit_test(a_batch_is_full_at_a_mebibyte_of_small_payloads),
        cmocka_unit_test(a_batch_is_full_at_16_large_payloads),
        cmocka_unit_test(a_payload_is_large_from_65536_bytes_on),
        cmocka_unit_test(a_large_payload_without_a_blob_is_copied),
        cmocka_unit_test(a_writer_is_used_again_after_messages_of_any_size),
        cmocka_unit_test(a_writer_grows_by_as_much_as_is_needed),
        cmocka_unit_test(a_cleared_writer_is_empty_and_holds_no_references),
        cmocka_unit_test(a_writer_without_memory_stays_as_it_was),
        cmocka_unit_test(a_stamp_is_read_back_by_open),
        cmocka_unit_test(a_header_that_a_socket_still_holds_is_not_written_to),
        cmocka_unit_test(types_have_names_and_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
