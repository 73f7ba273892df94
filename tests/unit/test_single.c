#include "wire_frames.h"

#include "base/buffer.h"
#include "fail_alloc.h"

#define assert_text(text, literal)                                                                 \
    do {                                                                                           \
        assert_int_equal((text).size, sizeof(literal) - 1);                                        \
        assert_memory_equal((text).data, literal, sizeof(literal) - 1);                            \
    } while (0)

static char long_text[WIRE_TEXT_BYTES_MAX + 100];

/* ------------------------------------------------------------- round trips */

static const struct wire_text functions[] = {{"resize", 6}, {"", 0}, {"do_work", 7}};
static const struct wire_text tags[] = {{"gpu", 3}, {"zone=a", 6}};
static const struct wire_hello worker = {
    .version_min = 1,
    .version_max = 3,
    .role = WIRE_WORKER,
    .session = {UINT64_MAX, 5},
    .epoch = UINT64_C(1) << 40,
    .received = 77,
    .name = {"w1", 2},
    .host = {"node", 4},
    .pid = 4711,
    .slots = 8,
    .functions = functions,
    .function_count = 3,
    .tags = tags,
    .tag_count = 2,
};

static void hello_comes_back(void **state) {
    struct wire_hello got;
    struct wire_fault fault;
    struct wire_message *message = wire_hello_encode(&worker);
    (void)state;
    assert_non_null(message);
    assert_int_equal(message->frame_count, 1);
    if (!wire_hello_decode(message, &got, &fault)) {
        fail_msg("%s", fault.text);
    }
    assert_int_equal(got.version_min, 1);
    assert_int_equal(got.version_max, 3);
    assert_int_equal(got.role, WIRE_WORKER);
    assert_true(got.session.high == UINT64_MAX && got.session.low == 5);
    assert_true(got.epoch == UINT64_C(1) << 40);
    assert_int_equal(got.received, 77);
    assert_text(got.name, "w1");
    assert_text(got.host, "node");
    assert_int_equal(got.pid, 4711);
    assert_int_equal(got.slots, 8);
    assert_int_equal(got.function_count, 3);
    assert_text(got.functions[0], "resize");
    assert_text(got.functions[1], "");
    assert_text(got.functions[2], "do_work");
    assert_int_equal(got.tag_count, 2);
    assert_text(got.tags[1], "zone=a");
    wire_hello_fini(&got);
    wire_hello_fini(&got); /* does no harm twice */
    wire_message_unref(message);
}

static void welcome_comes_back(void **state) {
    const struct wire_welcome sent = {1, UINT64_MAX, true, 5, 1000, 5000, WIRE_PAYLOAD_BYTES_MAX};
    struct wire_welcome got;
    struct wire_fault fault;
    struct wire_message *message = wire_welcome_encode(&sent);
    (void)state;
    assert_true(wire_welcome_decode(message, &got, &fault));
    assert_int_equal(got.version, 1);
    assert_true(got.epoch == UINT64_MAX);
    assert_true(got.resumed);
    assert_int_equal(got.received, 5);
    assert_int_equal(got.heartbeat_ms, 1000);
    assert_int_equal(got.silence_ms, 5000);
    assert_int_equal(got.payload_max, WIRE_PAYLOAD_BYTES_MAX);
    wire_message_unref(message);
}

static void reject_comes_back(void **state) {
    const struct wire_reject sent = {WIRE_RUN, WIRE_REJECT_LIMIT, TEXT("RUN: too much")};
    struct wire_reject got;
    struct wire_fault fault;
    struct wire_message *message = wire_reject_encode(&sent);
    (void)state;
    assert_true(wire_reject_decode(message, &got, &fault));
    assert_int_equal(got.about, WIRE_RUN);
    assert_int_equal(got.code, WIRE_REJECT_LIMIT);
    assert_text(got.text, "RUN: too much");
    wire_message_unref(message);
}

static void define_comes_back_at_both_ends_of_its_ranges(void **state) {
    static const struct wire_define ends[] = {
        {0, {"f", 1}, {{NULL, 0}}, 0, -128, 0, 1, 0, 0, 0, 0},
        {WIRE_CLASSES_MAX - 1,
         {"g", 1},
         {{"gpu", 3}, {"big", 3}},
         2,
         127,
         7,
         WIRE_ATTEMPTS_MAX,
         WIRE_DURATION_MS_MAX,
         WIRE_DURATION_MS_MAX,
         UINT32_MAX,
         WIRE_DURATION_MS_MAX},
    };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct wire_define got;
        struct wire_fault fault;
        struct wire_message *message = wire_define_encode(&ends[i]);
        if (!wire_define_decode(message, &got, &fault)) {
            fail_msg("%s", fault.text);
        }
        assert_int_equal(got.class_index, ends[i].class_index);
        assert_int_equal(got.function.data[0], ends[i].function.data[0]);
        assert_int_equal(got.tag_count, ends[i].tag_count);
        assert_int_equal(got.priority, ends[i].priority);
        assert_int_equal(got.flags, ends[i].flags);
        assert_int_equal(got.max_attempts, ends[i].max_attempts);
        assert_true(got.queue_ms == ends[i].queue_ms && got.run_ms == ends[i].run_ms);
        assert_int_equal(got.retries, ends[i].retries);
        assert_true(got.retry_ms == ends[i].retry_ms);
        if (i == 1) {
            assert_text(got.tags[0], "gpu");
            assert_text(got.tags[1], "big");
        }
        wire_message_unref(message);
    }
}

static void child_died_comes_back(void **state) {
    const uint64_t leases[] = {1, UINT64_MAX, 70000};
    const struct wire_child_died sent = {{1, 2}, 4711, 11, 0, TEXT("node"), true, leases, 3};
    struct wire_child_died got;
    struct wire_fault fault;
    struct wire_message *message = wire_child_died_encode(&sent);
    (void)state;
    assert_true(wire_child_died_decode(message, &got, &fault));
    assert_true(got.session.high == 1 && got.session.low == 2);
    assert_int_equal(got.pid, 4711);
    assert_int_equal(got.signal, 11);
    assert_int_equal(got.exit_code, 0);
    assert_text(got.host, "node");
    assert_true(got.expected);
    assert_int_equal(got.running_count, 3);
    assert_memory_equal(got.running, leases, sizeof leases);
    wire_child_died_fini(&got);
    wire_message_unref(message);
}

static void announcements_come_back(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct wire_coming coming = {UINT64_MAX, 300, i == 1}, got = {0, 0, i == 0};
        struct wire_message *message = wire_coming_encode(&coming);
        struct wire_fault fault;
        assert_true(wire_coming_decode(message, &got, &fault));
        assert_true(got.seq == UINT64_MAX);
        assert_int_equal(got.bytes, 300);
        assert_int_equal(got.no_room, i);
        wire_message_unref(message);
    }
}

/* A large message is announced by its number and size, a small one is not. */
static void what_takes_long_to_cross_is_announced(void **state) {
    struct wire_writer *writer = wire_writer_new(WIRE_RECALL);
    struct wire_message *small = wire_writer_finish(writer, (const uint64_t[]){0}), *large, *coming;
    const uint64_t key = WIRE_KIND_VALUE, id = 1, extra[] = {0, 0};
    struct wire_blob *blob = wire_blob_new(WIRE_COMING_BYTES_MIN);
    struct wire_coming size = {0};
    struct wire_fault fault;
    (void)state;
    wire_writer_free(writer);
    writer = wire_writer_new(WIRE_OUTCOMES);
    memset(blob->data, 1, blob->size);
    assert_int_equal(wire_writer_put(writer, &key, &id, blob->data, blob->size, blob), WIRE_PUT_OK);
    large = wire_writer_finish(writer, extra);
    wire_stamp(large, 77, 0);
    assert_null(wire_announce(small));
    coming = wire_announce(large);
    assert_true(wire_coming_decode(coming, &size, &fault));
    assert_int_equal(size.seq, 77);
    assert_int_equal(size.bytes, wire_message_bytes(large));
    wire_message_unref(coming);
    wire_message_unref(large);
    wire_message_unref(small);
    wire_blob_unref(blob);
    wire_writer_free(writer);
}

static void numbers_and_plain_messages_come_back(void **state) {
    static const enum wire_type plain[] = {WIRE_UNKNOWN, WIRE_BYE, WIRE_DRAIN, WIRE_STOP};
    struct wire_fault fault;
    uint64_t number = 0;
    struct wire_message *message = wire_heartbeat_encode(UINT64_MAX);
    (void)state;
    assert_true(wire_heartbeat_decode(message, &number, &fault));
    assert_true(number == UINT64_MAX);
    assert_false(wire_resume_decode(message, &number, &fault));
    assert_string_equal(fault.text, "header: type: 4 is not RESUME");
    wire_message_unref(message);
    message = wire_resume_encode(300);
    assert_true(wire_resume_decode(message, &number, &fault));
    assert_int_equal(number, 300);
    wire_message_unref(message);
    for (size_t i = 0; i < 4; i++) {
        message = wire_plain_encode(plain[i]);
        assert_true(wire_plain_decode(message, plain[i], &fault));
        assert_false(wire_plain_decode(message, plain[(i + 1) % 4], &fault));
        wire_message_unref(message);
    }
}

static void texts_over_their_limit_are_cut_between_characters(void **state) {
    struct wire_reject reject = {1, WIRE_REJECT_MALFORMED, {long_text, WIRE_TEXT_BYTES_MAX + 1}};
    struct wire_hello hello = worker, hello_got;
    struct wire_reject got;
    struct wire_fault fault;
    (void)state;
    memset(long_text, 'x', sizeof long_text);
    struct wire_message *message = wire_reject_encode(&reject);
    assert_true(wire_reject_decode(message, &got, &fault));
    assert_int_equal(got.text.size, WIRE_TEXT_BYTES_MAX);
    wire_message_unref(message);

    memcpy(long_text + WIRE_TEXT_BYTES_MAX - 2, "\xe2\x82\xac", 3); /* a character of 3 bytes */
    message = wire_reject_encode(&reject);
    assert_true(wire_reject_decode(message, &got, &fault));
    assert_int_equal(got.text.size, WIRE_TEXT_BYTES_MAX - 2);
    wire_message_unref(message);

    hello.host = (struct wire_text){long_text, 1000};
    message = wire_hello_encode(&hello);
    assert_true(wire_hello_decode(message, &hello_got, &fault));
    assert_int_equal(hello_got.host.size, WIRE_NAME_BYTES_MAX);
    wire_hello_fini(&hello_got);
    wire_message_unref(message);
}

static void fields_of_a_later_version_are_ignored(void **state) {
    struct wire_fault fault;
    uint64_t number = 0;
    struct wire_message *message =
        frames_message(WIRE_HEARTBEAT, NO_FRAME, "[us[{iv}]B]", U(5), "new", INT64_C(1), "\xc0",
                       (size_t)1, "xy", (size_t)2);
    (void)state;
    assert_true(wire_heartbeat_decode(message, &number, &fault));
    assert_int_equal(number, 5);
    wire_message_unref(message);
}

/* ------------------------------------------------------------------ faults */

static void hello_refused(struct wire_message *message, const char *text) {
    struct wire_hello hello;
    struct wire_fault fault = {0};
    assert_false(wire_hello_decode(message, &hello, &fault));
    assert_string_equal(fault.text, text);
    assert_null(hello.functions);
    assert_null(hello.tags);
    wire_message_unref(message);
}

/* A HELLO that is right unless one of these is wrong. */
static struct wire_message *hello(uint64_t version_min, uint64_t role, const char *name,
                                  uint64_t slots, const char *function, const char *tag) {
    return frames_message(WIRE_HELLO, NO_FRAME, "[uuuuuuussuu[s][s]]", version_min, U(2), role,
                          U(1), U(2), U(3), U(4), name, "host", U(5), slots, function, tag);
}

static void a_wrong_hello_is_refused_by_its_field(void **state) {
    char name[300];
    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    hello_refused(hello(3, 1, "n", 1, "f", "t"), "HELLO: version_max: 2 is below version_min, 3");
    hello_refused(hello(UINT64_C(1) << 32, 1, "n", 1, "f", "t"),
                  "HELLO: version_min: 4294967296 is above 4294967295");
    hello_refused(hello(1, 0, "n", 1, "f", "t"), "HELLO: role: 0 is below 1");
    hello_refused(hello(1, 5, "n", 1, "f", "t"), "HELLO: role: 5 is above 4");
    hello_refused(hello(1, 2, "n", 0, "f", "t"), "HELLO: slots: 0 is below 1");
    hello_refused(hello(1, 2, "n", 4097, "f", "t"), "HELLO: slots: 4097 is above 4096");
    hello_refused(hello(1, 2, name, 1, "f", "t"), "HELLO: name: 299 bytes are over 255");
    hello_refused(hello(1, 2, "n", 1, name, "t"), "HELLO: function: 299 bytes are over 255");
    hello_refused(hello(1, 2, "n", 1, "f", name), "HELLO: tag: 299 bytes are over 255");
    hello_refused(frames_message(WIRE_HELLO, NO_FRAME, "[]"),
                  "HELLO: body: has 0 fields instead of 13");
    hello_refused(frames_message(WIRE_HELLO, NO_FRAME, "n"),
                  "HELLO: body: found nil instead of an array");
    hello_refused(frames_add(hello(1, 1, "n", 1, "f", "t"), 0), "HELLO: has 2 frames");
    hello_refused(frames_message(WIRE_BYE, NO_FRAME, "[]"), "header: type: 25 is not HELLO");
    hello_refused(frames_message(WIRE_HELLO, NO_FRAME, "[uuuuuuuSsuu[s][s]]", U(1), U(1), U(1),
                                 U(1), U(1), U(1), U(1), "a\0b", (size_t)3, "h", U(1), U(1), "f",
                                 "t"),
                  "HELLO: name: holds a NUL");
    hello_refused(frames_message(WIRE_HELLO, NO_FRAME, "[uuuuuuussuu[i][s]]", U(1), U(1), U(1),
                                 U(1), U(1), U(1), U(1), "n", "h", U(1), U(1), INT64_C(5), "t"),
                  "HELLO: function: found an integer instead of a string");
    hello_refused(frames_message(WIRE_HELLO, NO_FRAME, "[uuuuuuussuu[s]u]", U(1), U(1), U(1), U(1),
                                 U(1), U(1), U(1), "n", "h", U(1), U(1), "f", U(1)),
                  "HELLO: tag: found an integer instead of an array");
    hello_refused(frames_message(WIRE_HELLO, NO_FRAME, "[uuuuuuussuu[][bbbbbbbbbbbbbbbbb]]", U(1),
                                 U(1), U(1), U(1), U(1), U(1), U(1), "n", "h", U(1), U(1), 1, 1, 1,
                                 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
                  "HELLO: tag: 17 are over 16");
}

/* A list that claims 65,536 functions in 5 bytes must not be allocated. */
static void a_list_longer_than_its_message_is_refused_before_memory_is_asked_for(void **state) {
    struct wire_message *message = hello(1, 2, "n", 1, "f", "t");
    struct wire_blob *header = message->frames[0];
    (void)state;
    /* It ends in [f][t]: 91 a1 66 91 a1 74. */
    assert_int_equal(header->data[header->size - 6], 0x91);
    memcpy(header->data + header->size - 6, "\xdd\x00\x01\x00\x00", 5);
    fail_alloc_after(0);
    hello_refused(message, "HELLO: function: found malformed bytes instead of an array");
    assert_false(fail_alloc_failed());
    fail_alloc_never();
}

static void define_refused(struct wire_message *message, const char *text) {
    struct wire_define define;
    struct wire_fault fault = {0};
    assert_false(wire_define_decode(message, &define, &fault));
    assert_string_equal(fault.text, text);
    wire_message_unref(message);
}

static struct wire_message *define(uint64_t class_index, uint64_t priority, uint64_t flags,
                                   uint64_t attempts, uint64_t queue_ms) {
    return frames_message(WIRE_DEFINE, NO_FRAME, "[us[]uuuuuuu]", class_index, "f", priority, flags,
                          attempts, queue_ms, U(0), U(0), U(0));
}

static void a_wrong_define_is_refused_by_its_field(void **state) {
    (void)state;
    define_refused(define(65536, 128, 0, 3, 0), "DEFINE: class: 65536 is above 65535");
    define_refused(define(1, 256, 0, 3, 0), "DEFINE: priority: 256 is above 255");
    define_refused(define(1, 128, 8, 3, 0), "DEFINE: flags: 8 is above 7");
    define_refused(define(1, 128, 0, 0, 0), "DEFINE: max_attempts: 0 is below 1");
    define_refused(define(1, 128, 0, 1001, 0), "DEFINE: max_attempts: 1001 is above 1000");
    define_refused(define(1, 128, 0, 3, WIRE_DURATION_MS_MAX + 1),
                   "DEFINE: queue_ms: 4611686018428 is above 4611686018427");
    define_refused(frames_message(WIRE_DEFINE, NO_FRAME, "[uuuuuuuuuu]", U(1), U(1), U(1), U(1),
                                  U(1), U(1), U(1), U(1), U(1), U(1)),
                   "DEFINE: function: found an integer instead of a string");
}

static void the_others_are_refused_by_their_fields(void **state) {
    struct wire_welcome welcome;
    struct wire_reject reject;
    struct wire_child_died died;
    struct wire_fault fault;
    uint64_t number;
    (void)state;

    struct wire_message *message = frames_message(WIRE_WELCOME, NO_FRAME, "[uuuuuuu]", U(1), U(1),
                                                  U(2), U(0), U(1), U(1), U(1));
    assert_false(wire_welcome_decode(message, &welcome, &fault));
    assert_string_equal(fault.text, "WELCOME: resumed: 2 is above 1");
    wire_message_unref(message);
    message = frames_message(WIRE_WELCOME, NO_FRAME, "[uuuuuuu]", U(1), U(1), U(1), U(0), U(0),
                             U(1), U(1));
    assert_false(wire_welcome_decode(message, &welcome, &fault));
    assert_string_equal(fault.text, "WELCOME: heartbeat_ms: 0 is below 1");
    wire_message_unref(message);

    message = frames_message(WIRE_REJECT, NO_FRAME, "[uus]", U(1), U(0), "x");
    assert_false(wire_reject_decode(message, &reject, &fault));
    assert_string_equal(fault.text, "REJECT: code: 0 is below 1");
    wire_message_unref(message);
    message = frames_message(WIRE_REJECT, NO_FRAME, "[uuS]", U(1), U(1), long_text,
                             (size_t)WIRE_TEXT_BYTES_MAX + 1);
    assert_false(wire_reject_decode(message, &reject, &fault));
    assert_string_equal(fault.text, "REJECT: text: 4097 bytes are over 4096");
    assert_int_equal(fault.code, WIRE_REJECT_LIMIT);
    wire_message_unref(message);

    message = frames_message(WIRE_CHILD_DIED, NO_FRAME, "[uuuuusu[us]]", U(1), U(1), U(1), U(1),
                             U(1), "h", U(1), U(1), "x");
    assert_false(wire_child_died_decode(message, &died, &fault));
    assert_string_equal(fault.text,
                        "CHILD_DIED: lease: found a string instead of an unsigned integer");
    assert_null(died.running);
    wire_message_unref(message);

    message = frames_message(WIRE_HEARTBEAT, NO_FRAME, "[u]n", U(1));
    assert_false(wire_heartbeat_decode(message, &number, &fault));
    assert_string_equal(fault.text, "HEARTBEAT: body: 1 bytes too many");
    wire_message_unref(message);
    message = frames_message(WIRE_STOP, NO_FRAME,
                             "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]"
                             "]]]]]]]]]]]]");
    assert_true(wire_plain_decode(message, WIRE_STOP, &fault));
    wire_message_unref(message);
}

static void without_memory_nothing_is_encoded_or_decoded(void **state) {
    struct wire_message *message;
    struct wire_hello got;
    struct wire_fault fault;
    (void)state;
    for (long n = 0;; n++) {
        fail_alloc_only(n);
        message = wire_hello_encode(&worker);
        int failed = fail_alloc_failed();
        fail_alloc_never();
        assert_int_equal(message == NULL, failed);
        if (!failed) {
            break;
        }
    }
    for (long n = 0; n < 2; n++) {
        fail_alloc_only(n);
        assert_false(wire_hello_decode(message, &got, &fault));
        fail_alloc_never();
        assert_int_equal(fault.code, WIRE_REJECT_LIMIT);
        assert_string_equal(fault.text,
                            n == 0 ? "HELLO: function: no memory" : "HELLO: tag: no memory");
    }
    wire_message_unref(message);
}

/* ------------------------------------------------------------------ errors */

static void an_error_comes_back(void **state) {
    const struct wire_error sent = {
        INT32_MIN, TEXT("it broke"), TEXT("do_work"), TEXT("node"), INT64_C(-1), 3, INT32_MAX, -7};
    struct wire_error got;
    struct base_buffer out;
    (void)state;
    base_buffer_init(&out);
    base_buffer_append(&out, "before", 6);
    assert_true(wire_error_encode(&sent, &out));
    assert_memory_equal(out.data, "before", 6);
    assert_true(wire_error_decode(out.data + 6, out.size - 6, &got));
    assert_int_equal(got.code, INT32_MIN);
    assert_text(got.message, "it broke");
    assert_text(got.function, "do_work");
    assert_text(got.host, "node");
    assert_int_equal(got.pid, -1);
    assert_int_equal(got.attempt, 3);
    assert_int_equal(got.signal, INT32_MAX);
    assert_int_equal(got.exit_code, -7);
    for (size_t size = 0; size < out.size - 6; size++) {
        assert_false(wire_error_decode(out.data + 6, size, &got));
    }
    base_buffer_append(&out, "\xc0", 1);
    assert_false(wire_error_decode(out.data + 6, out.size - 6, &got));
    base_buffer_fini(&out);
}

static void an_empty_error_comes_back(void **state) {
    const struct wire_error sent = {0};
    struct wire_error got;
    struct base_buffer out;
    (void)state;
    base_buffer_init(&out);
    assert_true(wire_error_encode(&sent, &out));
    assert_true(wire_error_decode(out.data, out.size, &got));
    assert_int_equal(got.message.size, 0);
    assert_non_null(got.message.data);
    base_buffer_fini(&out);
}

static void long_texts_of_an_error_are_cut(void **state) {
    struct wire_error sent = {0}, got;
    struct base_buffer out;
    (void)state;
    memset(long_text, 'x', sizeof long_text);
    sent.message = sent.function = sent.host = (struct wire_text){long_text, sizeof long_text};
    base_buffer_init(&out);
    assert_true(wire_error_encode(&sent, &out));
    assert_true(wire_error_decode(out.data, out.size, &got));
    assert_int_equal(got.message.size, WIRE_TEXT_BYTES_MAX);
    assert_int_equal(got.function.size, WIRE_NAME_BYTES_MAX);
    assert_int_equal(got.host.size, WIRE_NAME_BYTES_MAX);
    base_buffer_fini(&out);
    fail_alloc_after(0);
    assert_false(wire_error_encode(&sent, &out));
    fail_alloc_never();
    base_buffer_fini(&out);
}

static void numbers_of_an_error_must_fit(void **state) {
    struct wire_error error;
    (void)state;
    /* code, message, function, host, pid, attempt, signal, exit_code; one is out of range. */
    static const struct {
        const char *bytes;
        size_t size;
        bool good;
    } errors[] = {
        {"\x98\x05\xa0\xa0\xa0\x01\x01\x00\x00", 9, true},
        {"\x98\xce\x80\x00\x00\x00\xa0\xa0\xa0\x01\x01\x00\x00", 13, false}, /* code 2^31 */
        {"\x98\x05\xa0\xa0\xa0\x01\xff\x00\x00", 9, false},                  /* attempt -1 */
        {"\x98\x05\xa0\xc0\xa0\x01\x01\x00\x00", 9, false},                  /* function nil */
        {"\x97\x05\xa0\xa0\xa0\x01\x01\x00", 8, false},
        {"\x99\x05\xa0\xa0\xa0\x01\x01\x00\x00\x91\xc0", 11, true}, /* a later version's */
        {"\x99\x05\xa0\xa0\xa0\x01\x01\x00\x00\xc1", 10, false},
        {"", 0, false},
    };
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        assert_int_equal(wire_error_decode(errors[i].bytes, errors[i].size, &error),
                         errors[i].good);
    }
    /* A function's name of 255 bytes, and of 256. */
    static char longer[300] = "\x98\x05\xa0\xda\x00\xff";
    memcpy(longer + 6 + 255, "\xa0\x01\x01\x00\x00", 5);
    assert_true(wire_error_decode(longer, 6 + 255 + 5, &error));
    memcpy(longer, "\x98\x05\xa0\xda\x01\x00", 6);
    memcpy(longer + 6 + 256, "\xa0\x01\x01\x00\x00", 5);
    assert_false(wire_error_decode(longer, 6 + 256 + 5, &error));
}

/* ------------------------------------------------------------- initializers */

static void an_initializer_comes_back_and_leaves_the_arguments(void **state) {
    const struct wire_initializer sent = {{"set_up", 6}, "\x05", 1}, none = {{"f", 1}, NULL, 0};
    struct wire_initializer got;
    struct base_buffer out;
    (void)state;

    base_buffer_init(&out);
    assert_true(wire_initializer_encode(&sent, &out));
    assert_true(base_buffer_append(&out, "\x2a\xc1", 2)); /* what follows is not looked at */
    assert_int_equal(wire_initializer_decode(out.data, out.size, &got), out.size - 2);
    assert_text(got.name, "set_up");
    assert_int_equal(got.size, 1);
    assert_memory_equal(got.arguments, "\x05", 1);
    base_buffer_clear(&out);
    assert_true(wire_initializer_encode(&none, &out));
    assert_int_equal(wire_initializer_decode(out.data, out.size, &got), out.size);
    assert_text(got.name, "f");
    assert_int_equal(got.size, 0);
    base_buffer_fini(&out);
}

static void a_malformed_initializer_is_refused(void **state) {
    struct wire_initializer got;
    static const struct {
        const char *bytes;
        size_t size, taken;
    } values[] = {
        {"\x92\xa1\x66\xc4\x01\x05", 6, 6},
        {"\x93\xa1\x66\xc4\x01\x05\x91\xc0\x07", 9, 8}, /* a later version's, and an argument */
        {"", 0, 0},
        {"\x07", 1, 0},
        {"\x91\xa1\x66", 3, 0},                         /* a field is missing */
        {"\x92\xa1\x66\xc4\x02\x05", 6, 0},             /* cut off */
        {"\x92\xa1\x66\xc6\xff\xff\xff\xff\x05", 9, 0}, /* cut off by far */
        {"\x92\xa0\xc4\x01\x05", 5, 0},                 /* no name */
        {"\x92\xa1\x00\xc4\x01\x05", 6, 0},             /* a NUL in it */
        {"\x92\x01\xc4\x01\x05", 5, 0},                 /* a number for a name */
        {"\x92\xa1\x66\xa1\x05", 5, 0},                 /* a string for binary */
        {"\x93\xa1\x66\xc4\x01\x05\xc1", 7, 0},         /* nothing that exists */
    };
    (void)state;

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        assert_int_equal(wire_initializer_decode(values[i].bytes, values[i].size, &got),
                         values[i].taken);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_comes_back),
        cmocka_unit_test(welcome_comes_back),
        cmocka_unit_test(reject_comes_back),
        cmocka_unit_test(define_comes_back_at_both_ends_of_its_ranges),
        cmocka_unit_test(child_died_comes_back),
        cmocka_unit_test(announcements_come_back),
        cmocka_unit_test(what_takes_long_to_cross_is_announced),
        cmocka_unit_test(numbers_and_plain_messages_come_back),
        cmocka_unit_test(texts_over_their_limit_are_cut_between_characters),
        cmocka_unit_test(fields_of_a_later_version_are_ignored),
        cmocka_unit_test(a_wrong_hello_is_refused_by_its_field),
        cmocka_unit_test(a_list_longer_than_its_message_is_refused_before_memory_is_asked_for),
        cmocka_unit_test(a_wrong_define_is_refused_by_its_field),
        cmocka_unit_test(the_others_are_refused_by_their_fields),
        cmocka_unit_test(without_memory_nothing_is_encoded_or_decoded),
        cmocka_unit_test(an_error_comes_back),
        cmocka_unit_test(an_empty_error_comes_back),
        cmocka_unit_test(long_texts_of_an_error_are_cut),
        cmocka_unit_test(numbers_of_an_error_must_fit),
        cmocka_unit_test(an_initializer_comes_back_and_leaves_the_arguments),
        cmocka_unit_test(a_malformed_initializer_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
