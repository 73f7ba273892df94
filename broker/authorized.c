#include "broker/authorized.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "wire/key.h"

_Static_assert(BROKER_KEY_BYTES == WIRE_KEY_BYTES, "a key is a key");

#define BYTES_MIN 1024u

struct entry {
    struct base_map_node node;
    struct broker_authorized_key key;
};

struct broker_authorized {
    struct base_map by_key;
    size_t count;
    struct entry entries[];
};

static bool fail(struct broker_authorized_fault *fault, unsigned line, const char *text) {
    fault->line = line;
    (void)snprintf(fault->text, sizeof fault->text, "%s", text);
    return false;
}

/* --------------------------------------------------------------------- values */

static const struct {
    const char *name;
    enum broker_right right;
} rights[] = {
    {"submit", BROKER_MAY_SUBMIT},
    {"work", BROKER_MAY_WORK},
    {"admin", BROKER_MAY_ADMIN},
};

static unsigned right_of(struct wire_span name) {
    for (size_t i = 0; i < sizeof rights / sizeof rights[0]; i++) {
        if (wire_span_is(name, rights[i].name)) {
            return rights[i].right;
        }
    }
    return 0;
}

/* Reads names with commas between them. */
static bool read_rights(struct wire_span text, unsigned *all) {
    *all = 0;
    for (;;) {
        const char *comma = memchr(text.data, ',', text.size);
        struct wire_span name = {text.data,
                                 comma == NULL ? text.size : (size_t)(comma - text.data)};
        unsigned right = right_of(name);

        if (right == 0 || (*all & right) != 0) {
            return false;
        }
        *all |= right;
        if (comma == NULL) {
            return true;
        }
        text.size -= name.size + 1;
        text.data += name.size + 1;
    }
}

/* Reads decimal digits off the front. False: there are none, or they are too many. */
static bool read_digits(struct wire_span *text, uint64_t *number) {
    size_t digits = 0;

    *number = 0;
    for (; digits < text->size; digits++) {
        char c = text->data[digits];

        if (c < '0' || c > '9') {
            break;
        }
        if (*number > (BROKER_NO_QUOTA - 10) / 10) {
            return false;
        }
        *number = *number * 10 + (uint64_t)(c - '0');
    }
    text->data += digits;
    text->size -= digits;
    return digits > 0;
}

static bool read_count(struct wire_span text, uint64_t *count) {
    return read_digits(&text, count) && text.size == 0 && *count > 0;
}

static bool read_bytes(struct wire_span text, uint64_t *bytes) {
    static const char units[] = "KMGT";
    const char *unit;

    if (!read_digits(&text, bytes)) {
        return false;
    }
    if (text.size == 1 && (unit = memchr(units, text.data[0], sizeof units - 1)) != NULL) {
        unsigned shift = 10 * ((unsigned)(unit - units) + 1);

        if (*bytes > UINT64_MAX >> (shift + 1)) {
            return false;
        }
        *bytes <<= shift;
        text.size = 0;
    }
    return text.size == 0 && *bytes >= BYTES_MIN;
}

static bool read_name(struct wire_span text, char *name) {
    if (text.size == 0 || text.size >= BROKER_AUTHORIZED_NAME_BYTES) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if ((unsigned char)text.data[i] < ' ' || text.data[i] == '\x7f') {
            return false;
        }
    }
    memcpy(name, text.data, text.size);
    name[text.size] = '\0';
    return true;
}

/* ---------------------------------------------------------------------- lines */

/* Takes what stands before `=` off the front; false: there is no `=`. */
static bool cut_name(struct wire_span *text, struct wire_span *name) {
    const char *equals = memchr(text->data, '=', text->size);

    if (equals == NULL) {
        return false;
    }
    *name = (struct wire_span){text->data, (size_t)(equals - text->data)};
    text->data += name->size + 1;
    text->size -= name->size + 1;
    return true;
}

static bool read_option(struct wire_span option, struct broker_authorized_key *key, unsigned line,
                        struct broker_authorized_fault *fault) {
    struct broker_identity *identity = &key->identity;
    struct wire_span name;

    if (!cut_name(&option, &name)) {
        return fail(fault, line, "behind the key only name=, tasks= and bytes= are known");
    }
    if (wire_span_is(name, "name")) {
        return (key->name[0] == '\0' && read_name(option, key->name)) ||
               fail(fault, line, "name= is there twice, empty, too long or not printable");
    }
    if (wire_span_is(name, "tasks")) {
        return (identity->tasks_max == BROKER_NO_QUOTA &&
                read_count(option, &identity->tasks_max)) ||
               fail(fault, line, "tasks= is there twice, or is no number of at least 1");
    }
    if (wire_span_is(name, "bytes")) {
        return (identity->bytes_max == BROKER_NO_QUOTA &&
                read_bytes(option, &identity->bytes_max)) ||
               fail(fault, line, "bytes= is there twice, or is no size of at least 1K");
    }
    return fail(fault, line, "behind the key only name=, tasks= and bytes= are known");
}

/* Reads a line whose first word has been taken off it. */
static bool read_line(struct wire_span line, struct wire_span first,
                      struct broker_authorized_key *key, unsigned number,
                      struct broker_authorized_fault *fault) {
    struct wire_span word;

    key->identity.tasks_max = key->identity.bytes_max = BROKER_NO_QUOTA;
    if (!read_rights(first, &key->identity.rights)) {
        return fail(fault, number,
                    "a line begins with submit, work, admin, or some of these with "
                    "commas between them");
    }
    if (!wire_word(&line, &word) || !wire_key_decode(word.data, word.size, key->identity.key)) {
        return fail(fault, number, "behind the rights stands no public key (40 letters of Z85)");
    }
    while (wire_word(&line, &word)) {
        if (!read_option(word, key, number, fault)) {
            return false;
        }
    }
    return true;
}

static bool add_line(struct broker_authorized *list, struct wire_span line, struct wire_span first,
                     unsigned number, struct broker_authorized_fault *fault) {
    struct entry *entry = &list->entries[list->count];

    if (!read_line(line, first, &entry->key, number, fault)) {
        return false;
    }
    switch (
        base_map_insert(&list->by_key, &entry->node, entry->key.identity.key, BROKER_KEY_BYTES)) {
    case BASE_MAP_INSERTED:
        list->count++;
        return true;
    case BASE_MAP_EXISTS:
        return fail(fault, number, "this key has been there before");
    case BASE_MAP_NO_MEMORY:
        break;
    }
    return fail(fault, 0, "out of memory");
}

static bool is_entry(struct wire_span *line, struct wire_span *first) {
    return wire_word(line, first) && first->data[0] != '#';
}

static size_t count_entries(struct wire_span rest) {
    struct wire_span line, first;
    size_t count = 0;

    while (wire_line(&rest, &line)) {
        count += is_entry(&line, &first);
    }
    return count;
}

struct broker_authorized *broker_authorized_parse(const char *text, size_t size,
                                                  struct broker_authorized_fault *fault) {
    struct wire_span rest = {text, size}, line, first;
    size_t count = count_entries(rest);
    struct broker_authorized *list;
    bool good = true;

    if (count > BROKER_AUTHORIZED_MAX) {
        (void)fail(fault, 0, "there are more than 65536 keys");
        return NULL;
    }
    list = calloc(1, sizeof *list + count * sizeof list->entries[0]);
    if (list == NULL) {
        (void)fail(fault, 0, "out of memory");
        return NULL;
    }
    base_map_init(&list->by_key, 0, 0); /* these keys are no peer's to choose */
    for (unsigned number = 1; good && wire_line(&rest, &line); number++) {
        if (is_entry(&line, &first)) {
            good = add_line(list, line, first, number, fault);
        }
    }
    if (!good) {
        broker_authorized_free(list);
        return NULL;
    }
    return list;
}

void broker_authorized_free(struct broker_authorized *list) {
    if (list != NULL) {
        base_map_fini(&list->by_key);
        free(list);
    }
}

const struct broker_authorized_key *broker_authorized_find(const struct broker_authorized *list,
                                                           const uint8_t key[BROKER_KEY_BYTES]) {
    struct base_map_node *node = base_map_find(&list->by_key, key, BROKER_KEY_BYTES);

    return node == NULL ? NULL : &BASE_CONTAINER_OF(node, struct entry, node)->key;
}

size_t broker_authorized_count(const struct broker_authorized *list) {
    return list->count;
}

const struct broker_authorized_key *broker_authorized_at(const struct broker_authorized *list,
                                                         size_t i) {
    BASE_ASSERT(i < list->count);
    return &list->entries[i].key;
}
