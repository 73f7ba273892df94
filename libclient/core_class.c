#include "libclient/core_private.h"

#include <stdlib.h>
#include <string.h>

/* Two classes are one if everything that DEFINE says of them is the same: these bytes are the key. */
struct key_writer {
    uint8_t *at; /* NULL: only counts */
    size_t size;
};

static void key_bytes(struct key_writer *writer, const void *data, size_t size) {
    if (writer->at != NULL && size > 0) {
        memcpy(writer->at + writer->size, data, size);
    }
    writer->size += size;
}

static void key_text(struct key_writer *writer, const struct wire_text *text) {
    key_bytes(writer, &text->size, sizeof text->size);
    key_bytes(writer, text->data, text->size);
}

static size_t key_write(uint8_t *at, const struct wire_define *define) {
    const uint64_t numbers[] = {
        (uint64_t)(int64_t)define->priority,
        define->flags,
        define->max_attempts,
        define->queue_ms,
        define->run_ms,
        define->retries,
        define->retry_ms,
    };
    struct key_writer writer = {at, 0};

    key_bytes(&writer, numbers, sizeof numbers);
    key_text(&writer, &define->function);
    for (uint32_t i = 0; i < define->tag_count; i++) {
        key_text(&writer, &define->tags[i]);
    }
    return writer.size;
}

/* Lets the texts point to the copies of their bytes in the key. */
static void adopt_texts(struct client_class *cls) {
    const uint8_t *at = cls->key + 7 * sizeof(uint64_t) + sizeof(size_t);

    cls->define.function.data = (const char *)at;
    at += cls->define.function.size;
    for (uint32_t i = 0; i < cls->define.tag_count; i++) {
        at += sizeof(size_t);
        cls->define.tags[i].data = (const char *)at;
        at += cls->define.tags[i].size;
    }
}

static struct client_class *class_new(const struct wire_define *define, size_t key_size) {
    struct client_class *cls = malloc(sizeof *cls + key_size);

    if (cls == NULL) {
        return NULL;
    }
    memset(cls, 0, sizeof *cls);
    (void)key_write(cls->key, define);
    cls->define = *define;
    adopt_texts(cls);
    if (define->queue_ms > UINT64_MAX / 1000000 / 2) {
        cls->queue_ns = 0; /* longer than clocks count: no limit */
    } else {
        cls->queue_ns = define->queue_ms * 1000000;
    }
    return cls;
}

int64_t client_class_intern(struct client_core *core, const struct wire_define *define) {
    struct client_classes *classes = &core->classes;
    size_t key_size = key_write(NULL, define);
    struct client_class *cls = class_new(define, key_size);
    struct base_map_node *found;
    struct client_class ***page;

    if (cls == NULL) {
        return -1;
    }
    found = base_map_find(&classes->map, cls->key, key_size);
    if (found != NULL) {
        free(cls);
        return BASE_CONTAINER_OF(found, struct client_class, node)->define.class_index;
    }
    if (classes->count == WIRE_CLASSES_MAX) {
        free(cls);
        return -2;
    }
    page = &classes->pages[classes->count / CLIENT_CLASS_PAGE];
    if (*page == NULL) {
        *page = calloc(CLIENT_CLASS_PAGE, sizeof **page);
    }
    if (*page == NULL ||
        base_map_insert(&classes->map, &cls->node, cls->key, key_size) != BASE_MAP_INSERTED) {
        free(cls);
        return -1;
    }
    if (define->priority != 0 || define->tag_count > 0 || define->queue_ms != 0) {
        atomic_store(&classes->unlike, true);
    }
    cls->define.class_index = classes->count;
    (*page)[classes->count % CLIENT_CLASS_PAGE] = cls;
    classes->count++;
    return cls->define.class_index;
}

bool client_classes_alike(const struct client_core *core) {
    return !atomic_load(&core->classes.unlike);
}

bool client_class_define(struct client_core *core, uint64_t now_ns, struct client_class *cls) {
    struct wire_message *message;

    if (core->held_count > 0 || !client_reserve(core, 1)) {
        return false;
    }
    message = wire_define_encode(&cls->define);
    if (message == NULL) {
        return false;
    }
    cls->round = core->round;
    client_post(core, now_ns, message);
    return true;
}

void client_classes_fini(struct client_classes *classes) {
    for (uint32_t i = 0; i < classes->count; i++) {
        free(classes->pages[i / CLIENT_CLASS_PAGE][i % CLIENT_CLASS_PAGE]);
    }
    for (uint32_t i = 0; i < CLIENT_CLASS_PAGES; i++) {
        free(classes->pages[i]);
    }
    base_map_fini(&classes->map);
}
