#include "wire/decoder.h"

#include <stdlib.h>

/* A list of names that is allocated. */
static bool read_names(struct decoder *decoder, const char *field, uint32_t max,
                       const struct wire_text **names, uint32_t *count) {
    if (!read_count(decoder, field, max, count)) {
        return false;
    }
    struct wire_text *list = allocate(decoder, field, *count, sizeof *list);
    if (list == NULL) {
        return false;
    }
    *names = list; /* the caller frees it whatever follows */
    for (uint32_t i = 0; i < *count; i++) {
        if (!read_name(decoder, field, &list[i])) {
            return false;
        }
    }
    return true;
}

static bool read_tags(struct decoder *decoder, struct wire_define *define) {
    if (!read_count(decoder, "tag", WIRE_TAGS_MAX, &define->tag_count)) {
        return false;
    }
    for (uint32_t i = 0; i < define->tag_count; i++) {
        if (!read_name(decoder, "tag", &define->tags[i])) {
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------- HELLO */

static bool read_role(struct decoder *decoder, enum wire_role *role) {
    uint64_t value = 0;
    bool read = read_u64(decoder, "role", WIRE_CLIENT, WIRE_ADMIN, &value);
    *role = (enum wire_role)value;
    return read;
}

static bool check_hello(struct decoder *decoder, const struct wire_hello *hello) {
    if (hello->version_min > hello->version_max) {
        return wire_fault_set(decoder->fault, WIRE_REJECT_MALFORMED,
                              "HELLO: version_max: %u is below version_min, %u", hello->version_max,
                              hello->version_min);
    }
    if (hello->role == WIRE_WORKER && hello->slots == 0) {
        return wire_fault_set(decoder->fault, WIRE_REJECT_MALFORMED, "HELLO: slots: 0 is below 1");
    }
    return true;
}

bool wire_hello_decode(const struct wire_message *message, struct wire_hello *hello,
                       struct wire_fault *fault) {
    struct decoder in;
    *hello = (struct wire_hello){0};
    if (begin(&in, message, WIRE_HELLO, 13, fault) &&
        read_u32(&in, "version_min", 0, UINT32_MAX, &hello->version_min) &&
        read_u32(&in, "version_max", 0, UINT32_MAX, &hello->version_max) &&
        read_role(&in, &hello->role) && read_session(&in, &hello->session) &&
        read_any(&in, "epoch", &hello->epoch) && read_any(&in, "received", &hello->received) &&
        read_name(&in, "name", &hello->name) && read_name(&in, "host", &hello->host) &&
        read_any(&in, "pid", &hello->pid) &&
        read_u32(&in, "slots", 0, WIRE_SLOTS_MAX, &hello->slots) &&
        read_names(&in, "function", WIRE_FUNCTIONS_MAX, &hello->functions,
                   &hello->function_count) &&
        read_names(&in, "tag", WIRE_TAGS_MAX, &hello->tags, &hello->tag_count) &&
        check_hello(&in, hello) && end(&in)) {
        return true;
    }
    wire_hello_fini(hello);
    return false;
}

void wire_hello_fini(struct wire_hello *hello) {
    free((void *)hello->functions);
    free((void *)hello->tags);
    hello->functions = NULL;
    hello->function_count = 0;
    hello->tags = NULL;
    hello->tag_count = 0;
}

/* ------------------------------------------------------------ the others */

bool wire_welcome_decode(const struct wire_message *message, struct wire_welcome *welcome,
                         struct wire_fault *fault) {
    struct decoder in;
    return begin(&in, message, WIRE_WELCOME, 7, fault) &&
           read_u32(&in, "version", 0, UINT32_MAX, &welcome->version) &&
           read_any(&in, "epoch", &welcome->epoch) &&
           read_flag(&in, "resumed", &welcome->resumed) &&
           read_any(&in, "received", &welcome->received) &&
           read_u32(&in, "heartbeat_ms", 1, UINT32_MAX, &welcome->heartbeat_ms) &&
           read_u32(&in, "silence_ms", 1, UINT32_MAX, &welcome->silence_ms) &&
           read_any(&in, "payload_max", &welcome->payload_max) && end(&in);
}

/* A code of a later version is taken as it is: a REJECT is only logged, or final for HELLO. */
bool wire_reject_decode(const struct wire_message *message, struct wire_reject *reject,
                        struct wire_fault *fault) {
    struct decoder in;
    uint32_t code = 0;
    if (!begin(&in, message, WIRE_REJECT, 3, fault) ||
        !read_u32(&in, "about", 0, UINT32_MAX, &reject->about) ||
        !read_u32(&in, "code", 1, UINT16_MAX, &code) ||
        !read_text(&in, "text", WIRE_TEXT_BYTES_MAX, &reject->text) || !end(&in)) {
        return false;
    }
    reject->code = (enum wire_reject_code)code;
    return true;
}

bool wire_define_decode(const struct wire_message *message, struct wire_define *define,
                        struct wire_fault *fault) {
    struct decoder in;
    uint32_t priority = 0;
    if (!begin(&in, message, WIRE_DEFINE, 10, fault) ||
        !read_u32(&in, "class", 0, WIRE_CLASSES_MAX - 1, &define->class_index) ||
        !read_name(&in, "function", &define->function) || !read_tags(&in, define) ||
        !read_u32(&in, "priority", 0, 255, &priority) ||
        !read_u32(&in, "flags", 0, WIRE_FLAGS_MAX, &define->flags) ||
        !read_u32(&in, "max_attempts", 1, WIRE_ATTEMPTS_MAX, &define->max_attempts) ||
        !read_u64(&in, "queue_ms", 0, WIRE_DURATION_MS_MAX, &define->queue_ms) ||
        !read_u64(&in, "run_ms", 0, WIRE_DURATION_MS_MAX, &define->run_ms) ||
        !read_u32(&in, "retries", 0, UINT32_MAX, &define->retries) ||
        !read_u64(&in, "retry_ms", 0, WIRE_DURATION_MS_MAX, &define->retry_ms) || !end(&in)) {
        return false;
    }
    define->priority = (int32_t)priority - 128;
    return true;
}

static bool read_leases(struct decoder *decoder, struct wire_child_died *died) {
    if (!read_count(decoder, "lease", WIRE_WORKER_LEASES_MAX, &died->running_count)) {
        return false;
    }
    uint64_t *leases = allocate(decoder, "lease", died->running_count, sizeof *leases);
    if (leases == NULL) {
        return false;
    }
    died->running = leases;
    for (uint32_t i = 0; i < died->running_count; i++) {
        if (!read_any(decoder, "lease", &leases[i])) {
            return false;
        }
    }
    return true;
}

bool wire_child_died_decode(const struct wire_message *message, struct wire_child_died *died,
                            struct wire_fault *fault) {
    struct decoder in;
    *died = (struct wire_child_died){0};
    if (begin(&in, message, WIRE_CHILD_DIED, 8, fault) && read_session(&in, &died->session) &&
        read_any(&in, "pid", &died->pid) && read_u32(&in, "signal", 0, UINT32_MAX, &died->signal) &&
        read_u32(&in, "exit_code", 0, UINT32_MAX, &died->exit_code) &&
        read_name(&in, "host", &died->host) && read_flag(&in, "expected", &died->expected) &&
        read_leases(&in, died) && end(&in)) {
        return true;
    }
    wire_child_died_fini(died);
    return false;
}

void wire_child_died_fini(struct wire_child_died *died) {
    free((void *)died->running);
    died->running = NULL;
    died->running_count = 0;
}

bool wire_heartbeat_decode(const struct wire_message *message, uint64_t *sent,
                           struct wire_fault *fault) {
    struct decoder in;
    return begin(&in, message, WIRE_HEARTBEAT, 1, fault) && read_any(&in, "sent", sent) && end(&in);
}

bool wire_resume_decode(const struct wire_message *message, uint64_t *received,
                        struct wire_fault *fault) {
    struct decoder in;
    return begin(&in, message, WIRE_RESUME, 1, fault) && read_any(&in, "received", received) &&
           end(&in);
}

bool wire_coming_decode(const struct wire_message *message, struct wire_coming *coming,
                        struct wire_fault *fault) {
    struct decoder in;
    return begin(&in, message, WIRE_COMING, 3, fault) && read_any(&in, "seq", &coming->seq) &&
           read_any(&in, "bytes", &coming->bytes) && read_flag(&in, "no_room", &coming->no_room) &&
           end(&in);
}

bool wire_plain_decode(const struct wire_message *message, enum wire_type type,
                       struct wire_fault *fault) {
    struct decoder in;
    return begin(&in, message, type, 0, fault) && end(&in);
}
