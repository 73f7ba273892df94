#include "broker/door.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

struct broker_authorized *broker_authorized_load(const char *path, char *error,
                                                 size_t error_bytes) {
    struct broker_authorized_fault fault;
    struct broker_authorized *list;
    char found[PATH_MAX], *text;
    size_t size;

    if (base_file_find(path, found, sizeof found) == NULL) {
        (void)snprintf(error, error_bytes, "%.100s...: the path is too long", path);
        return NULL;
    }
    if (!base_file_read(found, BASE_FILE_TRUSTED, BROKER_AUTHORIZED_FILE_BYTES_MAX, &text, &size,
                        error, error_bytes)) {
        return NULL;
    }
    list = broker_authorized_parse(text, size, &fault);
    base_file_free(text, size);
    if (list == NULL && fault.line > 0) {
        (void)snprintf(error, error_bytes, "%s:%u: %s", found, fault.line, fault.text);
    } else if (list == NULL) {
        (void)snprintf(error, error_bytes, "%s: %s", found, fault.text);
    }
    return list;
}

bool broker_endpoint_check_place(const char *endpoint, char *error, size_t error_bytes) {
    static const char scheme[] = "ipc://";
    char path[PATH_MAX];
    struct stat status;
    const char *directory;

    if (strncmp(endpoint, scheme, sizeof scheme - 1) != 0) {
        return true;
    }
    if (endpoint[sizeof scheme - 1] == '@') {
        (void)snprintf(error, error_bytes, "%s: everybody on this machine can connect to that",
                       endpoint);
        return false;
    }
    if ((size_t)snprintf(path, sizeof path, "%s", endpoint + sizeof scheme - 1) >= sizeof path) {
        return true; /* listening on it fails */
    }
    directory = dirname(path);
    if (stat(directory, &status) != 0) {
        return true; /* likewise, with a better text */
    }
    if ((status.st_mode & (S_IRWXO | S_IWGRP)) == 0 &&
        (status.st_uid == geteuid() || status.st_uid == 0)) {
        return true;
    }
    (void)snprintf(error, error_bytes,
                   "%s: others may enter %s: the socket belongs into a directory of your own "
                   "(chmod 700)",
                   endpoint, directory);
    return false;
}
