#include "libclient/engine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME_PREFIX "furrow-"
#define NAME_RANDOM 6 /* letters that mkdtemp gives it */
#define LOCK_NAME   "lock"
/* A directory younger than this may still be about to be locked by who made it. */
#define YOUNG_S 10

/* Whose directories are there: for the exit of a process that never closed them. */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct engine_directory *list;

/* Whether a name is one that make_in gives: furrow-PID-XXXXXX. */
static bool is_our_name(const char *name) {
    size_t prefix = sizeof NAME_PREFIX - 1, digits;

    if (strncmp(name, NAME_PREFIX, prefix) != 0) {
        return false;
    }
    name += prefix;
    digits = strspn(name, "0123456789");
    return digits > 0 && name[digits] == '-' && strlen(name + digits + 1) == NAME_RANDOM &&
           strspn(name + digits + 1, "abcdefghijklmnopqrstuvwxyz"
                                     "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789") == NAME_RANDOM;
}

/* A socket, or the lock. Whatever else is there is not from us, and stays. */
static bool is_our_file(int fd, const char *name) {
    struct stat status;

    return strcmp(name, LOCK_NAME) == 0 ||
           (fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(status.st_mode));
}

/* Removes a directory, the sockets in it and its lock. */
static void remove_at(int parent_fd, const char *name) {
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (dir == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (is_our_file(fd, entry->d_name)) {
            (void)unlinkat(fd, entry->d_name, 0);
        }
    }
    (void)closedir(dir);
    (void)unlinkat(parent_fd, name, AT_REMOVEDIR);
}

/* A directory is stale if it is ours and nobody holds its lock. A lock knows nothing of process ids,
 * which several containers on one /tmp may share. */
static bool is_stale(int parent_fd, const char *name) {
    char path[NAME_MAX + sizeof "/" LOCK_NAME];
    struct stat status;
    bool stale;
    int fd;

    if (fstatat(parent_fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(status.st_mode) ||
        status.st_uid != geteuid() || time(NULL) - status.st_mtime < YOUNG_S) {
        return false;
    }
    (void)snprintf(path, sizeof path, "%s/%s", name, LOCK_NAME);
    fd = openat(parent_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT; /* it died before it could make one; the directory is empty */
    }
    stale = flock(fd, LOCK_EX | LOCK_NB) == 0;
    (void)close(fd);
    return stale;
}

static void remove_stale(const char *parent) {
    DIR *dir = opendir(parent);
    const struct dirent *entry;

    if (dir == NULL) {
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (is_our_name(entry->d_name) && is_stale(dirfd(dir), entry->d_name)) {
            remove_at(dirfd(dir), entry->d_name);
        }
    }
    (void)closedir(dir);
}

static int make_in(const char *parent, struct engine_directory *directory) {
    char lock[sizeof directory->path + sizeof "/" LOCK_NAME];
    int length = snprintf(directory->path, sizeof directory->path, "%s/%s%d-XXXXXX", parent,
                          NAME_PREFIX, (int)getpid());
    int error;

    if (length < 0 || (size_t)length >= sizeof directory->path) {
        return ENAMETOOLONG;
    }
    if (mkdtemp(directory->path) == NULL) {
        return errno;
    }
    (void)snprintf(lock, sizeof lock, "%s/%s", directory->path, LOCK_NAME);
    directory->lock_fd = open(lock, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (directory->lock_fd >= 0 && flock(directory->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        return 0;
    }
    error = errno;
    if (directory->lock_fd >= 0) {
        (void)close(directory->lock_fd);
    }
    (void)unlink(lock);
    (void)rmdir(directory->path);
    return error;
}

int engine_directory_make(struct engine_directory *directory) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int error = ENOENT;

    if (runtime != NULL && runtime[0] == '/') {
        remove_stale(runtime);
        error = make_in(runtime, directory);
    }
    if (error != 0) {
        remove_stale("/tmp");
        error = make_in("/tmp", directory);
    }
    if (error != 0) {
        return error;
    }
    directory->owner = getpid();
    pthread_mutex_lock(&list_lock);
    directory->next = list;
    list = directory;
    pthread_mutex_unlock(&list_lock);
    return 0;
}

void engine_directory_remove(struct engine_directory *directory) {
    struct engine_directory **at = &list;

    pthread_mutex_lock(&list_lock);
    while (*at != directory) {
        BASE_ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = directory->next;
    pthread_mutex_unlock(&list_lock);
    /* First, because removing takes a descriptor, and there may be no other. */
    (void)close(directory->lock_fd);
    remove_at(AT_FDCWD, directory->path);
}

/* At exit, for executors that were never closed. A child that the user forked has copies of them, but
 * they are its parent's. */
__attribute__((destructor)) static void remove_all(void) {
    pthread_mutex_lock(&list_lock);
    for (const struct engine_directory *directory = list; directory != NULL;
         directory = directory->next) {
        if (directory->owner == getpid()) {
            remove_at(AT_FDCWD, directory->path);
        }
    }
    pthread_mutex_unlock(&list_lock);
}
