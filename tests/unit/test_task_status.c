#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "task/cpu.h"
#include "task/status.h"

static void every_status_has_a_text_of_its_own(void **state) {
    (void)state;
    for (int a = FURROW_OK; a <= FURROW_EAUTH; a++) {
        assert_string_not_equal(furrow_status_text((furrow_status)a), "unknown status");
        for (int b = FURROW_OK; b < a; b++) {
            assert_string_not_equal(furrow_status_text((furrow_status)a),
                                    furrow_status_text((furrow_status)b));
        }
    }
    assert_string_equal(furrow_status_text((furrow_status)18), "unknown status");
    assert_string_equal(furrow_status_text((furrow_status)-1), "unknown status");
}

static void the_version_is_that_of_the_header(void **state) {
    char expected[64];

    (void)state;
    (void)snprintf(expected, sizeof expected, "%d.%d.%d", FURROW_VERSION_MAJOR,
                   FURROW_VERSION_MINOR, FURROW_VERSION_PATCH);
    assert_string_equal(furrow_version(), expected);
}

static void *other_thread(void *argument) {
    bool *clean = argument;

    *clean = furrow_last_status() == FURROW_OK && furrow_last_error()[0] == '\0';
    task_set_error(FURROW_EURL, "of the other thread");
    return NULL;
}

static void the_last_error_belongs_to_its_thread(void **state) {
    bool clean = false;
    pthread_t thread;

    (void)state;
    errno = 77;
    assert_int_equal(task_set_error(FURROW_EINVAL, "number %d of %s", 7, "nine"), FURROW_EINVAL);
    assert_int_equal(errno, 77);
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &clean), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(clean);
    assert_int_equal(furrow_last_status(), FURROW_EINVAL);
    assert_string_equal(furrow_last_error(), "number 7 of nine");
}

static void an_error_may_be_made_from_the_one_before(void **state) {
    (void)state;
    task_set_plain_error(FURROW_ENOMEM);
    assert_string_equal(furrow_last_error(), furrow_status_text(FURROW_ENOMEM));
    task_set_error(FURROW_EFAILED, "no pool: %s", furrow_last_error());
    assert_string_equal(furrow_last_error(), "no pool: out of memory");
}

static void a_long_text_is_cut(void **state) {
    char *text = malloc(10000);

    (void)state;
    memset(text, 'x', 9999);
    text[9999] = '\0';
    task_set_error(FURROW_EFAILED, "%s", text);
    assert_int_equal(strlen(furrow_last_error()), TASK_ERROR_BYTES - 1);
    free(text);
}

static void what_values_say_becomes_a_status(void **state) {
    struct wire_value_fault fault = {"at 3"};

    (void)state;
    assert_int_equal(task_set_value_error(WIRE_VALUE_FORMAT, &fault), FURROW_EARGS);
    assert_string_equal(furrow_last_error(), "at 3");
    assert_int_equal(task_set_value_error(WIRE_VALUE_MISMATCH, &fault), FURROW_EARGS);
    assert_int_equal(task_set_value_error(WIRE_VALUE_TOOBIG, &fault), FURROW_ETOOBIG);
    assert_int_equal(task_set_value_error(WIRE_VALUE_NOMEM, &fault), FURROW_ENOMEM);
    assert_int_equal(task_set_value_error(WIRE_VALUE_POINTER, &fault), FURROW_EUNSUPPORTED);
}

/* ---- processors ---- */

struct tree {
    char root[64];
};

static void put(const struct tree *tree, const char *path, const char *text) {
    char full[512];
    FILE *file;

    (void)snprintf(full, sizeof full, "%s/%s", tree->root, path);
    for (char *slash = strchr(full + strlen(tree->root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int quota(const struct tree *tree) {
    char cgroup[128], mount[128];

    (void)snprintf(cgroup, sizeof cgroup, "%s/cgroup", tree->root);
    (void)snprintf(mount, sizeof mount, "%s/fs", tree->root);
    return task_cpu_quota(cgroup, mount);
}

static int tree_make(void **state) {
    static struct tree tree;

    (void)snprintf(tree.root, sizeof tree.root, "/tmp/furrow-test-XXXXXX");
    *state = &tree;
    return mkdtemp(tree.root) == NULL ? -1 : 0;
}

static int tree_remove(void **state) {
    struct tree *tree = *state;
    char command[128];

    (void)snprintf(command, sizeof command, "rm -rf '%s'", tree->root);
    return system(command);
}

static void a_quota_of_version_2_counts_rounded_up(void **state) {
    const struct tree *tree = *state;

    put(tree, "cgroup", "0::/a/b\n");
    put(tree, "fs/a/b/cpu.max", "150000 100000\n");
    assert_int_equal(quota(tree), 2);
    put(tree, "fs/a/b/cpu.max", "100000 100000\n");
    assert_int_equal(quota(tree), 1);
    put(tree, "fs/a/b/cpu.max", "1000 100000\n");
    assert_int_equal(quota(tree), 1);
    put(tree, "fs/a/b/cpu.max", "max 100000\n");
    assert_int_equal(quota(tree), 0);
}

static void the_tightest_group_above_counts(void **state) {
    const struct tree *tree = *state;

    put(tree, "cgroup", "0::/a/b/c\n");
    put(tree, "fs/a/b/c/cpu.max", "max 100000\n");
    put(tree, "fs/a/b/cpu.max", "800000 100000\n");
    put(tree, "fs/a/cpu.max", "300000 100000\n");
    assert_int_equal(quota(tree), 3);
    put(tree, "fs/a/b/c/cpu.max", "200000 100000\n");
    assert_int_equal(quota(tree), 2);
}

static void in_a_container_the_root_is_the_group(void **state) {
    const struct tree *tree = *state;

    put(tree, "cgroup", "0::/system.slice/docker-0123.scope\n");
    put(tree, "fs/cpu.max", "400000 100000\n");
    assert_int_equal(quota(tree), 4);
    put(tree, "cgroup", "0::/\n");
    assert_int_equal(quota(tree), 4);
    put(tree, "cgroup", "0::/../outside\n");
    assert_int_equal(quota(tree), 4);
}

static void a_quota_of_version_1_counts(void **state) {
    const struct tree *tree = *state;

    put(tree, "cgroup", "12:memory:/m\n4:cpu,cpuacct:/job\n3:cpuset:/\n0::/job\n");
    put(tree, "fs/cpu/job/cpu.cfs_quota_us", "250000\n");
    put(tree, "fs/cpu/job/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota(tree), 3);
    put(tree, "fs/cpu/job/cpu.cfs_quota_us", "-1\n");
    assert_int_equal(quota(tree), 0);
}

static void what_can_not_be_read_is_no_limit(void **state) {
    const struct tree *tree = *state;

    assert_int_equal(quota(tree), 0);
    put(tree, "cgroup", "nonsense\n\n:\n0::\n");
    assert_int_equal(quota(tree), 0);
    put(tree, "cgroup", "0::/a\n");
    put(tree, "fs/a/cpu.max", "0 0\n");
    assert_int_equal(quota(tree), 0);
    put(tree, "fs/a/cpu.max", "");
    assert_int_equal(quota(tree), 0);
}

static void the_count_respects_the_affinity(void **state) {
    cpu_set_t before, one;
    int cpu = 0;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_in_range(furrow_cpu_count(), 1, CPU_COUNT(&before));
    while (!CPU_ISSET((size_t)cpu, &before)) {
        cpu++;
    }
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(furrow_cpu_count(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_text_of_its_own),
        cmocka_unit_test(the_version_is_that_of_the_header),
        cmocka_unit_test(the_last_error_belongs_to_its_thread),
        cmocka_unit_test(an_error_may_be_made_from_the_one_before),
        cmocka_unit_test(a_long_text_is_cut),
        cmocka_unit_test(what_values_say_becomes_a_status),
        cmocka_unit_test_setup_teardown(a_quota_of_version_2_counts_rounded_up, tree_make,
                                        tree_remove),
        cmocka_unit_test_setup_teardown(the_tightest_group_above_counts, tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(in_a_container_the_root_is_the_group, tree_make,
                                        tree_remove),
        cmocka_unit_test_setup_teardown(a_quota_of_version_1_counts, tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(what_can_not_be_read_is_no_limit, tree_make, tree_remove),
        cmocka_unit_test(the_count_respects_the_affinity),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
