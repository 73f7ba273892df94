/* The regular files of a tree, in the order in which find(1) of the GNU project gives them. */
#ifndef EXAMPLES_WALK_H
#define EXAMPLES_WALK_H

#include <stdbool.h>
#include <stdint.h>

/* walk_open starts at `path`, whatever that is; symbolic links are not followed. NULL without
 * memory. */
struct walk *walk_open(const char *path);

/* walk_next gives the next regular file: its absolute path, which lives until the next call, and
 * its size. False at the end. What can't be read is named on stderr and passed over. */
bool walk_next(struct walk *walk, const char **path, int64_t *size);

/* walk_failures: how many files and directories had to be passed over until now. */
int64_t walk_failures(const struct walk *walk);

void walk_close(struct walk *walk);

#endif
