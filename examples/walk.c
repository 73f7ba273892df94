#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* find reads a directory in batches of so many entries, and sorts a batch that is large by inode
 * number, where that saves seeking. All else comes in the order of the directory. */
enum { BATCH_ENTRIES = 100000, SORT_ABOVE_ENTRIES = 10000 };

struct entry {
    char *name;
    ino_t inode;
};

/* A directory that the walk is in. */
struct level {
    struct level *parent;
    struct entry *entries;
    size_t count, capacity, next;
    size_t path_length;
};

struct walk {
    struct level *level;
    char *path; /* of the file or directory the walk is at */
    size_t path_capacity;
    int64_t failures;
    bool started;
};

static void note_failure(struct walk *walk) {
    fprintf(stderr, "%s: %s\n", walk->path, strerror(errno));
    walk->failures++;
}

struct walk *walk_open(const char *path) {
    struct walk *walk = calloc(1, sizeof *walk);
    char *here = path[0] == '/' ? strdup("") : get_current_dir_name();
    if (walk == NULL || here == NULL ||
        asprintf(&walk->path, "%s%s%s", here, path[0] == '/' ? "" : "/", path) < 0) {
        free(here);
        free(walk);
        return NULL;
    }
    free(here);
    walk->path_capacity = strlen(walk->path) + 1;
    return walk;
}

static void free_level(struct level *level) {
    for (size_t i = 0; i < level->count; i++) {
        free(level->entries[i].name);
    }
    free(level->entries);
    free(level);
}

static int by_inode(const void *left, const void *right) {
    ino_t a = ((const struct entry *)left)->inode;
    ino_t b = ((const struct entry *)right)->inode;
    return (a > b) - (a < b);
}

static void sort_large_batches(struct level *level, int directory) {
    struct statfs system;
    if (level->count <= SORT_ABOVE_ENTRIES || fstatfs(directory, &system) != 0 ||
        system.f_type == TMPFS_MAGIC || system.f_type == NFS_SUPER_MAGIC ||
        system.f_type == CIFS_SUPER_MAGIC) {
        return;
    }
    for (size_t first = 0; first < level->count; first += BATCH_ENTRIES) {
        size_t left = level->count - first;
        size_t batch = left < BATCH_ENTRIES ? left : BATCH_ENTRIES;
        if (batch > SORT_ABOVE_ENTRIES) {
            qsort(level->entries + first, batch, sizeof *level->entries, by_inode);
        }
    }
}

static bool add_entry(struct level *level, const struct dirent *found) {
    if (level->count == level->capacity) {
        size_t capacity = level->capacity == 0 ? 16 : 2 * level->capacity;
        struct entry *entries = reallocarray(level->entries, capacity, sizeof *entries);
        if (entries == NULL) {
            return false;
        }
        level->entries = entries;
        level->capacity = capacity;
    }
    char *name = strdup(found->d_name);
    if (name == NULL) {
        return false;
    }
    level->entries[level->count++] = (struct entry){name, found->d_ino};
    return true;
}

/* Makes room in walk->path for the longest name of a directory. */
static bool reserve_path(struct walk *walk, size_t capacity) {
    if (capacity <= walk->path_capacity) {
        return true;
    }
    char *path = realloc(walk->path, capacity);
    if (path == NULL) {
        return false;
    }
    walk->path = path;
    walk->path_capacity = capacity;
    return true;
}

/* Reads the directory at walk->path and goes into it. What couldn't be read is left out. */
static void enter_directory(struct walk *walk) {
    size_t path_length = strlen(walk->path);
    struct level *level = calloc(1, sizeof *level);
    DIR *directory = opendir(walk->path);
    if (level == NULL || directory == NULL || !reserve_path(walk, path_length + 1 + NAME_MAX + 1)) {
        note_failure(walk);
        goto out;
    }
    const struct dirent *found;
    while (errno = 0, (found = readdir(directory)) != NULL) {
        bool itself = strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0;
        if (!itself && !add_entry(level, found)) {
            break;
        }
    }
    if (errno != 0) {
        note_failure(walk);
    }
    sort_large_batches(level, dirfd(directory));
    level->path_length = path_length;
    level->parent = walk->level;
    walk->level = level;
    level = NULL;
out:
    if (directory != NULL) {
        closedir(directory);
    }
    free(level);
}

/* Puts the path of the next entry into walk->path. False at the end. */
static bool step(struct walk *walk) {
    while (walk->level != NULL && walk->level->next == walk->level->count) {
        struct level *done = walk->level;
        walk->level = done->parent;
        free_level(done);
    }
    struct level *level = walk->level;
    if (level == NULL) {
        return false;
    }
    walk->path[level->path_length] = '/';
    strcpy(walk->path + level->path_length + 1, level->entries[level->next++].name);
    return true;
}

bool walk_next(struct walk *walk, const char **path, int64_t *size) {
    while (!walk->started || step(walk)) {
        walk->started = true;
        struct stat status;
        if (lstat(walk->path, &status) != 0) {
            note_failure(walk);
        } else if (S_ISDIR(status.st_mode)) {
            enter_directory(walk);
        } else if (S_ISREG(status.st_mode)) {
            *path = walk->path;
            *size = status.st_size;
            return true;
        }
    }
    return false;
}

int64_t walk_failures(const struct walk *walk) {
    return walk->failures;
}

void walk_close(struct walk *walk) {
    if (walk == NULL) {
        return;
    }
    while (walk->level != NULL) {
        struct level *level = walk->level;
        walk->level = level->parent;
        free_level(level);
    }
    free(walk->path);
    free(walk);
}
