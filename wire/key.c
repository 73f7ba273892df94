#include "wire/key.h"

#include <stdio.h>
#include <string.h>

static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              ".-:+=^!/*?&<>()[]{}@%$#";

/* ------------------------------------------------------------------------ Z85 */

/* Four bytes of five letters; false: these are none. */
static bool decode_group(const char *text, uint8_t *bytes) {
    uint64_t value = 0;

    for (int i = 0; i < 5; i++) {
        const char *at = text[i] == '\0' ? NULL : strchr(letters, text[i]);

        if (at == NULL) {
            return false;
        }
        value = value * 85 + (uint64_t)(at - letters);
    }
    for (int i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(value >> (24 - 8 * i));
    }
    return value <= UINT32_MAX;
}

bool wire_key_decode(const char *text, size_t size, uint8_t key[WIRE_KEY_BYTES]) {
    bool good = size == WIRE_KEY_LETTERS;

    for (size_t i = 0; good && i < WIRE_KEY_BYTES / 4; i++) {
        good = decode_group(text + 5 * i, key + 4 * i);
    }
    return good;
}

void wire_key_encode(const uint8_t key[WIRE_KEY_BYTES], char text[WIRE_KEY_TEXT_BYTES]) {
    for (size_t i = 0; i < WIRE_KEY_BYTES / 4; i++) {
        uint32_t value = (uint32_t)key[4 * i] << 24 | (uint32_t)key[4 * i + 1] << 16 |
                         (uint32_t)key[4 * i + 2] << 8 | key[4 * i + 3];

        for (size_t j = 5; j-- > 0; value /= 85) {
            text[5 * i + j] = letters[value % 85];
        }
    }
    text[WIRE_KEY_LETTERS] = '\0';
}

/* ---------------------------------------------------------------------- lines */

bool wire_line(struct wire_span *rest, struct wire_span *line) {
    const char *end = rest->size == 0 ? NULL : memchr(rest->data, '\n', rest->size);
    size_t taken;

    if (rest->size == 0) {
        return false;
    }
    *line = *rest;
    taken = rest->size;
    if (end != NULL) {
        line->size = (size_t)(end - rest->data);
        taken = line->size + 1;
    }
    rest->data += taken;
    rest->size -= taken;
    return true;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

bool wire_word(struct wire_span *line, struct wire_span *word) {
    while (line->size > 0 && is_blank(line->data[0])) {
        line->data++;
        line->size--;
    }
    if (line->size == 0) {
        return false;
    }
    *word = (struct wire_span){line->data, 0};
    while (word->size < line->size && !is_blank(line->data[word->size])) {
        word->size++;
    }
    line->data += word->size;
    line->size -= word->size;
    return true;
}

bool wire_span_is(struct wire_span span, const char *text) {
    return span.size == strlen(text) && memcmp(span.data, text, span.size) == 0;
}

/* ------------------------------------------------------------------ key files */

static const char *kind_name(enum wire_key_kind kind) {
    return kind == WIRE_KEY_SECRET ? "secret" : "public";
}

static bool fail(struct wire_key_fault *fault, unsigned line, const char *text) {
    fault->line = line;
    (void)snprintf(fault->text, sizeof fault->text, "%s", text);
    return false;
}

/* Reads one line that is neither empty nor a comment. */
static bool read_line(struct wire_span line, unsigned number, enum wire_key_kind kind,
                      struct wire_span word, char *key, struct wire_key_fault *fault) {
    enum wire_key_kind other = kind == WIRE_KEY_SECRET ? WIRE_KEY_PUBLIC : WIRE_KEY_SECRET;
    uint8_t bytes[WIRE_KEY_BYTES];
    struct wire_span value;
    bool good;

    if (wire_span_is(word, kind_name(other))) {
        return fail(fault, number,
                    kind == WIRE_KEY_SECRET ? "this is a public key; the secret one is asked for"
                                            : "this is a secret key; the public one is asked for");
    }
    if (!wire_span_is(word, kind_name(kind))) {
        return fail(fault, number, "a line of a key file begins with secret, public or #");
    }
    if (key[0] != '\0') {
        return fail(fault, number, "there is a second key");
    }
    if (!wire_word(&line, &value)) {
        return fail(fault, number, "the key is missing");
    }
    good = wire_key_decode(value.data, value.size, bytes);
    memset(bytes, 0, sizeof bytes);
    __asm__ volatile("" : : "r"(bytes) : "memory"); /* it is wiped, whatever the compiler thinks */
    if (!good) {
        return fail(fault, number, "the key is not one of 40 letters of Z85");
    }
    if (wire_word(&line, &word)) {
        return fail(fault, number, "there is something behind the key");
    }
    memcpy(key, value.data, WIRE_KEY_LETTERS);
    key[WIRE_KEY_LETTERS] = '\0';
    return true;
}

bool wire_key_parse(const char *text, size_t size, enum wire_key_kind kind,
                    char key[WIRE_KEY_TEXT_BYTES], struct wire_key_fault *fault) {
    struct wire_span rest = {text, size}, line, word;
    bool good = true;

    memset(key, 0, WIRE_KEY_TEXT_BYTES);
    for (unsigned number = 1; good && wire_line(&rest, &line); number++) {
        if (wire_word(&line, &word) && word.data[0] != '#') {
            good = read_line(line, number, kind, word, key, fault);
        }
    }
    if (good && key[0] == '\0') {
        good = fail(fault, 0, "there is no key in it");
    }
    if (!good) {
        memset(key, 0, WIRE_KEY_TEXT_BYTES);
    }
    return good;
}
