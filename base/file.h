/* Small files that are read whole: keys, lists of keys. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

enum base_file_kind {
    BASE_FILE_TRUSTED, /* what it says decides something: refused if group or others may write to it */
    /* Moreover refused if others may read it, or if it is not this user's or root's. The group may
     * read one of root's, as Docker's secrets and systemd's credentials are. */
    BASE_FILE_SECRET,
};

/* base_file_read reads a regular file whole. Any thread may call it.
 *
 * data   gets a buffer for base_file_free, terminated behind *size bytes; NULL on error
 * most   bytes; a longer file is an error
 * error  gets what is wrong, in words, with the path; terminated
 *
 * What is checked is what is read: the file is opened first. Returns false if it is missing, may not be
 * read, is not as its kind demands, or is too long, or without memory. */
bool base_file_read(const char *path, enum base_file_kind kind, size_t most, char **data,
                    size_t *size, char *error, size_t error_bytes);
/* base_file_free wipes the buffer before it frees it. NULL is fine. */
void base_file_free(char *data, size_t size);

/* base_file_find gives the path of a file that a user has named: a name without a slash that is not in
 * the working directory is looked for in $CREDENTIALS_DIRECTORY (systemd's LoadCredential) and in
 * /run/secrets (Docker's secrets). What is nowhere stays as it was named. Returns `found`, or NULL if
 * the path is longer than `bytes`. */
const char *base_file_find(const char *name, char *found, size_t bytes);

#endif
