#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRETS "/run/secrets"

/* Why a file may not be used; NULL: it may. */
static const char *check(const struct stat *status, enum base_file_kind kind) {
    bool roots = status->st_uid == 0;

    if (!S_ISREG(status->st_mode)) {
        return "it is not a file";
    }
    if ((status->st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return "others than its owner may write to it (chmod go-w)";
    }
    if (kind == BASE_FILE_TRUSTED) {
        return NULL;
    }
    if (!roots && status->st_uid != geteuid()) {
        return "this secret belongs to another user";
    }
    if ((status->st_mode & S_IRWXO) != 0) {
        return "others may read this secret (chmod 600, or 440 for one of root's)";
    }
    if ((status->st_mode & S_IRWXG) != 0 && !roots) {
        return "its group may read this secret (chmod 600)";
    }
    return NULL;
}

/* Reads what is there, up to `size` bytes. */
static ssize_t read_all(int fd, char *data, size_t size) {
    size_t had = 0;

    while (had < size) {
        ssize_t got = read(fd, data + had, size - had);

        if (got == 0) {
            break;
        }
        if (got > 0) {
            had += (size_t)got;
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return (ssize_t)had;
}

static const char *read_open(int fd, enum base_file_kind kind, size_t most, char **data,
                             size_t *size) {
    struct stat status;
    const char *wrong;
    size_t room;
    ssize_t got;

    if (fstat(fd, &status) != 0) {
        return strerror(errno);
    }
    wrong = check(&status, kind);
    if (wrong != NULL) {
        return wrong;
    }
    if (status.st_size > (off_t)most) {
        return "it is too long";
    }
    /* One byte more than there is, to see whether it grows. */
    room = (size_t)status.st_size + 1;
    *data = malloc(room);
    if (*data == NULL) {
        return "out of memory";
    }
    got = read_all(fd, *data, room);
    if (got < 0 || (size_t)got == room) {
        wrong = got < 0 ? strerror(errno) : "it changes while it is read";
        base_file_free(*data, room);
        *data = NULL;
        return wrong;
    }
    (*data)[got] = '\0';
    *size = (size_t)got;
    return NULL;
}

bool base_file_read(const char *path, enum base_file_kind kind, size_t most, char **data,
                    size_t *size, char *error, size_t error_bytes) {
    /* NONBLOCK: a pipe that nobody writes to is refused rather than waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    const char *wrong;

    *data = NULL;
    *size = 0;
    if (fd < 0) {
        (void)snprintf(error, error_bytes, "%s: %s", path, strerror(errno));
        return false;
    }
    wrong = read_open(fd, kind, most, data, size);
    if (wrong != NULL) {
        (void)snprintf(error, error_bytes, "%s: %s", path, wrong);
    }
    (void)close(fd);
    return wrong == NULL;
}

void base_file_free(char *data, size_t size) {
    if (data != NULL) {
        explicit_bzero(data, size);
        free(data);
    }
}

static bool is_there(const char *directory, const char *name, char *found, size_t bytes) {
    int length = snprintf(found, bytes, "%s/%s", directory, name);

    return length > 0 && (size_t)length < bytes && access(found, F_OK) == 0;
}

const char *base_file_find(const char *name, char *found, size_t bytes) {
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");

    if (strchr(name, '/') == NULL && access(name, F_OK) != 0 &&
        ((credentials != NULL && is_there(credentials, name, found, bytes)) ||
         is_there(SECRETS, name, found, bytes))) {
        return found;
    }
    return (size_t)snprintf(found, bytes, "%s", name) < bytes ? found : NULL;
}
