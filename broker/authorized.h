/* The list of keys that a broker lets in. Pure: memory in, result out.
 *
 * A line a key, as in ssh's authorized_keys; # begins a comment line:
 *
 *     submit,work 0123...(40 letters of Z85) name=alice tasks=100000 bytes=4G
 *
 * rights  submit, work, admin, separated by commas
 * name    for logs; at most 63 bytes
 * tasks   that all clients of the key together may have at the broker; at least 1
 * bytes   likewise, of arguments: a number, or one with K, M, G or T; at least 1K */
#ifndef BROKER_AUTHORIZED_H
#define BROKER_AUTHORIZED_H

#include "broker/core.h"

#define BROKER_AUTHORIZED_MAX        65536u
#define BROKER_AUTHORIZED_NAME_BYTES 64u

struct broker_authorized;

struct broker_authorized_key {
    struct broker_identity identity;
    char name[BROKER_AUTHORIZED_NAME_BYTES]; /* "" if it has none */
};

struct broker_authorized_fault {
    unsigned line; /* from 1; 0: the whole */
    char text[96];
};

/* broker_authorized_parse reads a list. NULL: *fault, also without memory. */
struct broker_authorized *broker_authorized_parse(const char *text, size_t size,
                                                  struct broker_authorized_fault *fault);
void broker_authorized_free(struct broker_authorized *list); /* NULL is fine */

/* broker_authorized_find gives what the list says of a key; NULL: nothing. */
const struct broker_authorized_key *broker_authorized_find(const struct broker_authorized *list,
                                                           const uint8_t key[BROKER_KEY_BYTES]);
size_t broker_authorized_count(const struct broker_authorized *list);
/* broker_authorized_at gives them in the order of the file. */
const struct broker_authorized_key *broker_authorized_at(const struct broker_authorized *list,
                                                         size_t i);

#endif
