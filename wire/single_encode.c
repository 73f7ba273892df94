#include "wire/encoder.h"

struct wire_message *wire_hello_encode(const struct wire_hello *hello) {
    struct base_buffer buffer;
    msgpack_packer packer = begin(&buffer, WIRE_HELLO, 13);
    BASE_ASSERT(hello->function_count <= WIRE_FUNCTIONS_MAX && hello->tag_count <= WIRE_TAGS_MAX);
    msgpack_pack_uint32(&packer, hello->version_min);
    msgpack_pack_uint32(&packer, hello->version_max);
    msgpack_pack_uint32(&packer, hello->role);
    pack_session(&packer, &hello->session);
    msgpack_pack_uint64(&packer, hello->epoch);
    msgpack_pack_uint64(&packer, hello->received);
    wire_pack_text(&packer, wire_cut_text(hello->name, WIRE_NAME_BYTES_MAX));
    wire_pack_text(&packer, wire_cut_text(hello->host, WIRE_NAME_BYTES_MAX));
    msgpack_pack_uint64(&packer, hello->pid);
    msgpack_pack_uint32(&packer, hello->slots);
    pack_names(&packer, hello->functions, hello->function_count);
    pack_names(&packer, hello->tags, hello->tag_count);
    return finish(&buffer);
}

struct wire_message *wire_welcome_encode(const struct wire_welcome *welcome) {
    struct base_buffer buffer;
    msgpack_packer packer = begin(&buffer, WIRE_WELCOME, 7);
    msgpack_pack_uint32(&packer, welcome->version);
    msgpack_pack_uint64(&packer, welcome->epoch);
    pack_flag(&packer, welcome->resumed);
    msgpack_pack_uint64(&packer, welcome->received);
    msgpack_pack_uint32(&packer, welcome->heartbeat_ms);
    msgpack_pack_uint32(&packer, welcome->silence_ms);
    msgpack_pack_uint64(&packer, welcome->payload_max);
    return finish(&buffer);
}

struct wire_message *wire_reject_encode(const struct wire_reject *reject) {
    struct base_buffer buffer;
    msgpack_packer packer = begin(&buffer, WIRE_REJECT, 3);
    msgpack_pack_uint32(&packer, reject->about);
    msgpack_pack_uint32(&packer, reject->code);
    wire_pack_text(&packer, wire_cut_text(reject->text, WIRE_TEXT_BYTES_MAX));
    return finish(&buffer);
}

struct wire_message *wire_define_encode(const struct wire_define *define) {
    struct base_buffer buffer;
    msgpack_packer packer = begin(&buffer, WIRE_DEFINE, 10);
    BASE_ASSERT(define->priority >= -128 && define->priority <= 127);
    BASE_ASSERT(define->tag_count <= WIRE_TAGS_MAX);
    msgpack_pack_uint32(&packer, define->class_index);
    pack_name(&packer, define->function);
    pack_names(&packer, define->tags, define->tag_count);
    msgpack_pack_uint32(&packer, (uint32_t)(define->priority + 128));
    msgpack_pack_uint32(&packer, define->flags);
    msgpack_pack_uint32(&packer, define->max_attempts);
    msgpack_pack_uint64(&packer, define->queue_ms);
    msgpack_pack_uint64(&packer, define->run_ms);
    msgpack_pack_uint32(&packer, define->retries);
    msgpack_pack_uint64(&packer, define->retry_ms);
    return finish(&buffer);
}

struct wire_message *wire_child_died_encode(const struct wire_child_died *died) {
    struct base_buffer buffer;
    msgpack_packer packer = begin(&buffer, WIRE_CHILD_DIED, 8);
    BASE_ASSERT(died->running_count <= WIRE_WORKER_LEASES_MAX);
    pack_session(&packer, &died->session);
    msgpack_pack_uint64(&packer, died->pid);
    msgpack_pack_uint32(&packer, died->signal);
    msgpack_pack_uint32(&packer, died->exit_code);
    wire_pack_text(&packer, wire_cut_text(died->host, WIRE_NAME_BYTES_MAX));
    pack_flag(&packer, died->expected);
    msgpack_pack_array(&packer, died->running_count);
    for (uint32_t i = 0; i < died->running_count; i++) {
        msgpack_pack_uint64(&packer, died->running[i]);
    }
    return finish(&buffer);
}

static struct wire_message *encode_number(enum wire_type type, uint64_t number) {
    struct base_buffer buffer;
    msgpack_packer packer = begin(&buffer, type, 1);
    msgpack_pack_uint64(&packer, number);
    return finish(&buffer);
}

struct wire_message *wire_heartbeat_encode(uint64_t sent) {
    return encode_number(WIRE_HEARTBEAT, sent);
}

struct wire_message *wire_resume_encode(uint64_t received) {
    return encode_number(WIRE_RESUME, received);
}

struct wire_message *wire_coming_encode(const struct wire_coming *coming) {
    struct base_buffer buffer;
    msgpack_packer packer = begin(&buffer, WIRE_COMING, 3);
    msgpack_pack_uint64(&packer, coming->seq);
    msgpack_pack_uint64(&packer, coming->bytes);
    pack_flag(&packer, coming->no_room);
    return finish(&buffer);
}

struct wire_message *wire_announce(const struct wire_message *message) {
    struct wire_coming coming = {.bytes = wire_message_bytes(message)};
    struct wire_envelope envelope;
    struct wire_fault fault;
    if (BASE_LIKELY(coming.bytes < WIRE_COMING_BYTES_MIN) ||
        !wire_open(message, &envelope, &fault)) {
        return NULL;
    }
    coming.seq = envelope.seq;
    return wire_coming_encode(&coming);
}

struct wire_message *wire_plain_encode(enum wire_type type) {
    struct base_buffer buffer;
    BASE_ASSERT(type == WIRE_UNKNOWN || type == WIRE_BYE || type == WIRE_DRAIN ||
                type == WIRE_STOP);
    begin(&buffer, type, 0);
    return finish(&buffer);
}
