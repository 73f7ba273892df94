/* Small files and who may have written or read them: base/file.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

static char directory[64];

static int set_up(void **state) {
    (void)state;
    strcpy(directory, "/tmp/test-file-XXXXXX");
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static int tear_down(void **state) {
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command);
}

static const char *write_file(const char *name, const char *text, mode_t mode) {
    static char path[128];
    int fd;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static bool can_read(const char *path, enum base_file_kind kind, char *error) {
    size_t size;
    char *data;
    bool good = base_file_read(path, kind, 100, &data, &size, error, 256);

    assert_true(good == (data != NULL));
    base_file_free(data, size);
    return good;
}

static void a_file_is_read_whole_and_terminated(void **state) {
    char error[256], *data;
    size_t size;

    (void)state;
    assert_true(base_file_read(write_file("a", "hello", 0600), BASE_FILE_SECRET, 5, &data, &size,
                               error, sizeof error));
    assert_int_equal(size, 5);
    assert_string_equal(data, "hello");
    base_file_free(data, size);
    assert_true(base_file_read(write_file("a", "", 0600), BASE_FILE_SECRET, 5, &data, &size, error,
                               sizeof error));
    assert_int_equal(size, 0);
    base_file_free(data, size);
}

static void a_file_that_is_too_long_or_missing_or_none_is_refused(void **state) {
    char error[256], fifo[128], *data;
    size_t size;

    (void)state;
    assert_false(base_file_read(write_file("a", "hello", 0600), BASE_FILE_SECRET, 4, &data, &size,
                                error, sizeof error));
    assert_non_null(strstr(error, "too long"));
    assert_false(can_read("/nowhere/at/all", BASE_FILE_TRUSTED, error));
    assert_non_null(strstr(error, "/nowhere/at/all"));
    assert_false(can_read(directory, BASE_FILE_TRUSTED, error));
    snprintf(fifo, sizeof fifo, "%s/fifo", directory);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_false(can_read(fifo, BASE_FILE_SECRET, error)); /* and doesn't wait for a writer */
}

static void a_secret_is_for_its_owners_eyes(void **state) {
    char error[256];

    (void)state;
    assert_true(can_read(write_file("a", "x", 0600), BASE_FILE_SECRET, error));
    assert_true(can_read(write_file("a", "x", 0400), BASE_FILE_SECRET, error));
    assert_false(can_read(write_file("a", "x", 0604), BASE_FILE_SECRET, error));
    assert_non_null(strstr(error, "others may read"));
    assert_non_null(strstr(error, "chmod"));
    assert_false(can_read(write_file("a", "x", 0444), BASE_FILE_SECRET, error));
    assert_false(can_read(write_file("a", "x", 0601), BASE_FILE_SECRET, error));
    assert_false(can_read(write_file("a", "x", 0620), BASE_FILE_SECRET, error));
    assert_false(can_read(write_file("a", "x", 0602), BASE_FILE_SECRET, error));
}

/* The group may read one of root's, as container engines and systemd hand them out; an owner who is
 * not root has no reason for that. */
static void the_group_may_read_secrets_of_roots_only(void **state) {
    char error[256];
    const char *path = write_file("a", "x", 0440);

    (void)state;
    if (geteuid() != 0) {
        assert_false(can_read(path, BASE_FILE_SECRET, error));
        assert_non_null(strstr(error, "its group"));
        return;
    }
    assert_true(can_read(path, BASE_FILE_SECRET, error));
    assert_int_equal(chown(path, 12345, 12345), 0);
    assert_false(can_read(path, BASE_FILE_SECRET, error));
    assert_non_null(strstr(error, "another user"));
    assert_int_equal(seteuid(12345), 0);
    assert_false(can_read(path, BASE_FILE_SECRET, error)); /* root alone may enter the directory */
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(directory, 0711), 0);
    assert_int_equal(seteuid(12345), 0);
    assert_false(can_read(path, BASE_FILE_SECRET, error));
    assert_non_null(strstr(error, "its group"));
    assert_int_equal(chmod(path, 0400), 0);
    assert_true(can_read(path, BASE_FILE_SECRET, error));
    assert_int_equal(seteuid(0), 0);
}

static void what_decides_something_only_its_owner_may_write(void **state) {
    char error[256];

    (void)state;
    assert_true(can_read(write_file("a", "x", 0644), BASE_FILE_TRUSTED, error));
    assert_true(can_read(write_file("a", "x", 0444), BASE_FILE_TRUSTED, error));
    assert_false(can_read(write_file("a", "x", 0664), BASE_FILE_TRUSTED, error));
    assert_non_null(strstr(error, "write"));
    assert_false(can_read(write_file("a", "x", 0646), BASE_FILE_TRUSTED, error));
}

static void a_bare_name_is_looked_for_among_the_credentials(void **state) {
    char found[256], path[128], here[256];

    (void)state;
    snprintf(path, sizeof path, "%s", write_file("furrow-test.key", "x", 0400));
    assert_string_equal(base_file_find("furrow-test.key", found, sizeof found), "furrow-test.key");
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", directory, 1), 0);
    assert_string_equal(base_file_find("furrow-test.key", found, sizeof found), path);
    assert_string_equal(base_file_find("furrow-none.key", found, sizeof found), "furrow-none.key");
    assert_string_equal(base_file_find("./furrow-test.key", found, sizeof found),
                        "./furrow-test.key");
    /* The working directory comes first. */
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(directory), 0);
    assert_string_equal(base_file_find("furrow-test.key", found, sizeof found), "furrow-test.key");
    assert_int_equal(chdir(here), 0);
    assert_null(base_file_find("furrow-test.key", found, 8));
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_read_whole_and_terminated),
        TEST(a_file_that_is_too_long_or_missing_or_none_is_refused),
        TEST(a_secret_is_for_its_owners_eyes),
        TEST(the_group_may_read_secrets_of_roots_only),
        TEST(what_decides_something_only_its_owner_may_write),
        TEST(a_bare_name_is_looked_for_among_the_credentials),
    };

    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
