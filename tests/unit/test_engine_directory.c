#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#include <cmocka.h>

#include "libclient/engine.h"

#define PATH_BYTES 256

static char parent[64];

static int set_up(void **state) {
    (void)state;
    strcpy(parent, "/tmp/test-directory-XXXXXX");
    return mkdtemp(parent) == NULL || setenv("XDG_RUNTIME_DIR", parent, 1) != 0 ? -1 : 0;
}

static int tear_down(void **state) {
    char command[192];
    (void)state;

    (void)unsetenv("XDG_RUNTIME_DIR");
    snprintf(command, sizeof command, "chmod -R u+w '%s'; rm -rf '%s'", parent, parent);
    return system(command);
}

static bool exists(const char *path) {
    struct stat status;

    return lstat(path, &status) == 0;
}

static void touch(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    close(fd);
}

static void make_socket(const char *path) {
    assert_int_equal(mknod(path, S_IFSOCK | 0600, 0), 0);
}

/* A directory as a process leaves it that dies, `age` seconds old. */
static void leave(char *path, const char *name, bool lock, time_t age) {
    char file[PATH_BYTES + 16];

    snprintf(path, PATH_BYTES, "%s/%s", parent, name);
    assert_int_equal(mkdir(path, 0700), 0);
    if (lock) {
        snprintf(file, sizeof file, "%s/%s/broker", parent, name);
        make_socket(file);
        snprintf(file, sizeof file, "%s/%s/lock", parent, name);
        touch(file);
    }
    assert_int_equal(utime(path, &(struct utimbuf){time(NULL) - age, time(NULL) - age}), 0);
}

static void it_is_made_private_and_removed_with_all_in_it(void **state) {
    struct engine_directory directory;
    char file[PATH_BYTES + 16];
    struct stat status;
    (void)state;

    assert_int_equal(engine_directory_make(&directory), 0);
    assert_int_equal(strncmp(directory.path, parent, strlen(parent)), 0);
    assert_int_equal(stat(directory.path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    snprintf(file, sizeof file, "%s/broker", directory.path);
    make_socket(file);
    engine_directory_remove(&directory);
    assert_false(exists(directory.path));
}

static void several_live_side_by_side(void **state) {
    struct engine_directory a, b;
    (void)state;

    assert_int_equal(engine_directory_make(&a), 0);
    assert_int_equal(engine_directory_make(&b), 0);
    assert_string_not_equal(a.path, b.path);
    engine_directory_remove(&a);
    assert_true(exists(b.path));
    engine_directory_remove(&b);
    assert_false(exists(b.path));
}

static void the_next_removes_what_a_dead_process_left(void **state) {
    char unlocked[PATH_BYTES], without[PATH_BYTES], young[PATH_BYTES], other[PATH_BYTES];
    struct engine_directory directory;
    (void)state;

    leave(unlocked, "furrow-1-aaaaaa", true, 60);
    leave(without, "furrow-1-bbbbbb", false, 60);
    leave(young, "furrow-1-cccccc", true, 0);
    leave(other, "other-1-dddddd", true, 60);
    assert_int_equal(engine_directory_make(&directory), 0);
    assert_false(exists(unlocked));
    assert_false(exists(without));
    assert_true(exists(young));
    assert_true(exists(other));
    engine_directory_remove(&directory);
}

/* Users have directories too whose names begin with "furrow-", and may put files into ours. */
static void what_is_not_ours_stays(void **state) {
    static const char *const names[] = {"furrow-data",      "furrow-1",       "furrow--aaaaaa",
                                        "furrow-1-aaaaaaa", "furrow-1-aaaaa", "furrow-1x-aaaaaa",
                                        "furrow-1-aaa.aa",  "furrow-12-"};
    char paths[sizeof names / sizeof names[0]][PATH_BYTES], ours[PATH_BYTES];
    char file[PATH_BYTES + 16];
    struct engine_directory directory;
    size_t count = sizeof names / sizeof names[0];
    (void)state;

    for (size_t i = 0; i < count; i++) {
        leave(paths[i], names[i], true, 60);
    }
    leave(ours, "furrow-1-bbbbbb", true, 60);
    snprintf(file, sizeof file, "%s/results.txt", ours);
    touch(file);
    assert_int_equal(utime(ours, &(struct utimbuf){time(NULL) - 60, time(NULL) - 60}), 0);
    assert_int_equal(engine_directory_make(&directory), 0);
    for (size_t i = 0; i < count; i++) {
        snprintf(file, sizeof file, "%.255s/lock", paths[i]);
        assert_true(exists(file));
    }
    snprintf(file, sizeof file, "%s/results.txt", ours);
    assert_true(exists(file));
    engine_directory_remove(&directory);
}

static void what_somebody_holds_stays(void **state) {
    char held[PATH_BYTES], file[PATH_BYTES + 16];
    struct engine_directory directory;
    (void)state;

    leave(held, "furrow-1-aaaaaa", true, 60);
    snprintf(file, sizeof file, "%s/lock", held);
    int fd = open(file, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(engine_directory_make(&directory), 0);
    assert_true(exists(held));
    engine_directory_remove(&directory);
    close(fd);
}

static void where_nothing_can_be_made_tmp_is_used(void **state) {
    struct engine_directory directory;
    char deep[PATH_BYTES];
    (void)state;

    assert_int_equal(setenv("XDG_RUNTIME_DIR", "/nowhere/at/all", 1), 0);
    assert_int_equal(engine_directory_make(&directory), 0);
    assert_int_equal(strncmp(directory.path, "/tmp/furrow-", 12), 0);
    engine_directory_remove(&directory);

    /* Too long for a socket's address. */
    snprintf(deep, sizeof deep, "%s/a-directory-with-a-rather-long-name-in-which-no-socket-fits",
             parent);
    assert_int_equal(mkdir(deep, 0700), 0);
    assert_int_equal(setenv("XDG_RUNTIME_DIR", deep, 1), 0);
    assert_int_equal(engine_directory_make(&directory), 0);
    assert_int_equal(strncmp(directory.path, "/tmp/furrow-", 12), 0);
    engine_directory_remove(&directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_made_private_and_removed_with_all_in_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(several_live_side_by_side, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_next_removes_what_a_dead_process_left, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_ours_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_somebody_holds_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(where_nothing_can_be_made_tmp_is_used, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
