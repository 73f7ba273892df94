/* What furrow-broker reads before it opens its door, and checks about the place: keys, the list of those
 * who may come in, the directories of its ipc sockets. These look at files. */
#ifndef BROKER_DOOR_H
#define BROKER_DOOR_H

#include "broker/authorized.h"

#define BROKER_AUTHORIZED_FILE_BYTES_MAX (16u << 20)

/* broker_authorized_load reads a list of keys from a file, which nobody but its owner may be able to
 * write to. NULL: error says what is wrong, with path and line; terminated. */
struct broker_authorized *broker_authorized_load(const char *path, char *error, size_t error_bytes);

/* broker_endpoint_check_place: whether an ipc endpoint lies where nobody but this user (or root) can
 * connect to it or put another in its place: in a directory of theirs that others can't enter. True for
 * other endpoints. False: error says why not; terminated. */
bool broker_endpoint_check_place(const char *endpoint, char *error, size_t error_bytes);

#endif
