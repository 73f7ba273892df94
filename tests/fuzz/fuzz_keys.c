/* Key files and lists of keys that are anything: nothing is read out of bounds, what is accepted is what
 * the text says, and a fault names a line and has a text. The first byte says what the rest is. */
#include "base/assert.h"
#include "broker/authorized.h"
#include "wire/key.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned lines_of(const char *text, size_t size) {
    unsigned lines = 1;

    for (size_t i = 0; i < size; i++) {
        lines += text[i] == '\n';
    }
    return lines;
}

static void check_fault(unsigned line, const char *text, size_t text_bytes, unsigned lines) {
    BASE_ASSERT(line <= lines);
    BASE_ASSERT(text[0] != '\0' && memchr(text, 0, text_bytes) != NULL);
}

/* A key that is accepted is 40 letters, which decode, and encode to the same. */
static void check_key(const char *letters) {
    char again[WIRE_KEY_TEXT_BYTES];
    uint8_t key[WIRE_KEY_BYTES];

    BASE_ASSERT(strlen(letters) == WIRE_KEY_LETTERS);
    BASE_ASSERT(wire_key_decode(letters, WIRE_KEY_LETTERS, key));
    wire_key_encode(key, again);
    BASE_ASSERT(strcmp(again, letters) == 0);
}

static void read_key(const char *text, size_t size, enum wire_key_kind kind) {
    char key[WIRE_KEY_TEXT_BYTES];
    struct wire_key_fault fault;
    struct wire_span rest = {text, size}, line, word;
    bool there = false;

    if (!wire_key_parse(text, size, kind, key, &fault)) {
        BASE_ASSERT(key[0] == '\0');
        check_fault(fault.line, fault.text, sizeof fault.text, lines_of(text, size));
        return;
    }
    check_key(key);
    while (wire_line(&rest, &line)) { /* it stands in the text, behind the word */
        there = there || (wire_word(&line, &word) &&
                          wire_span_is(word, kind == WIRE_KEY_PUBLIC ? "public" : "secret") &&
                          wire_word(&line, &word) && wire_span_is(word, key));
    }
    BASE_ASSERT(there);
}

static void read_list(const char *text, size_t size) {
    struct broker_authorized_fault fault;
    struct broker_authorized *list = broker_authorized_parse(text, size, &fault);

    if (list == NULL) {
        check_fault(fault.line, fault.text, sizeof fault.text, lines_of(text, size));
        return;
    }
    BASE_ASSERT(broker_authorized_count(list) <= lines_of(text, size));
    for (size_t i = 0; i < broker_authorized_count(list); i++) {
        const struct broker_authorized_key *key = broker_authorized_at(list, i);
        char letters[WIRE_KEY_TEXT_BYTES];

        BASE_ASSERT(broker_authorized_find(list, key->identity.key) == key);
        BASE_ASSERT(key->identity.rights != 0);
        BASE_ASSERT(key->identity.tasks_max >= 1 && key->identity.bytes_max >= 1024);
        BASE_ASSERT(memchr(key->name, 0, sizeof key->name) != NULL);
        wire_key_encode(key->identity.key, letters);
        check_key(letters);
    }
    broker_authorized_free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t key[WIRE_KEY_BYTES];
    char *text;

    if (size == 0) {
        return 0;
    }
    /* In memory of exactly this size, for the address sanitizer. */
    text = malloc(size - 1 > 0 ? size - 1 : 1);
    if (text == NULL) {
        return 0;
    }
    memcpy(text, data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        read_key(text, size - 1, WIRE_KEY_SECRET);
        break;
    case 1:
        read_key(text, size - 1, WIRE_KEY_PUBLIC);
        break;
    case 2:
        (void)wire_key_decode(text, size - 1, key);
        break;
    default:
        read_list(text, size - 1);
        break;
    }
    free(text);
    return 0;
}
