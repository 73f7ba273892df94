/* CURVE keys as text: Z85, and the files that hold one key. Pure: memory in, result out.
 *
 * A key file is lines: empty ones, comments that begin with #, and one that says what it is,
 *
 *     secret 0123...   (40 characters)
 *
 * or `public` and the same. */
#ifndef WIRE_KEY_H
#define WIRE_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_KEY_BYTES      32u
#define WIRE_KEY_LETTERS    40u
#define WIRE_KEY_TEXT_BYTES (WIRE_KEY_LETTERS + 1u)

/* wire_key_decode reads exactly WIRE_KEY_LETTERS letters of Z85 (ZeroMQ RFC 32). False: it is none. */
bool wire_key_decode(const char *text, size_t size, uint8_t key[WIRE_KEY_BYTES]);
/* wire_key_encode writes them, terminated. */
void wire_key_encode(const uint8_t key[WIRE_KEY_BYTES], char text[WIRE_KEY_TEXT_BYTES]);

enum wire_key_kind { WIRE_KEY_PUBLIC, WIRE_KEY_SECRET };

struct wire_key_fault {
    unsigned line; /* from 1; 0: the whole */
    char text[96]; /* never holds any of a key */
};

/* wire_key_parse reads a key file. False: *fault, and `key` is empty. */
bool wire_key_parse(const char *text, size_t size, enum wire_key_kind kind,
                    char key[WIRE_KEY_TEXT_BYTES], struct wire_key_fault *fault);

/* -- for readers of such files -- */

struct wire_span {
    const char *data;
    size_t size;
};
/* wire_line takes a line, without its end, off the front of *rest. False: there is none left. */
bool wire_line(struct wire_span *rest, struct wire_span *line);
/* wire_word takes a word off the front of *line, with the blanks before it. False: none is left, or
 * what is left is a comment. */
bool wire_word(struct wire_span *line, struct wire_span *word);
bool wire_span_is(struct wire_span span, const char *text);

#endif
