#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "task/module.h"
#include "task/registry.h"
#include "task/status.h"

/* MODULE_DIR is where the test's modules were built. */
#define MODULE(name) MODULE_DIR "/tests_module_" name ".so"

static const furrow_function *find(const char *name) {
    return task_registry_find(name, strlen(name));
}

/* Loading must fail, and say so with the path and `why`. */
static void assert_refused(const char *path, furrow_status status, const char *why) {
    struct task_module *module = NULL;

    assert_int_equal(task_module_load(path, &module), status);
    assert_null(module);
    assert_int_equal(furrow_last_status(), status);
    if (strstr(furrow_last_error(), path) == NULL || strstr(furrow_last_error(), why) == NULL) {
        fail_msg("\"%s\" names neither %s nor \"%s\"", furrow_last_error(), path, why);
    }
}

static void a_module_brings_its_tasks(void **state) {
    struct task_module *module;

    (void)state;
    assert_null(find("module_first"));
    assert_int_equal(task_module_load(MODULE("two"), &module), FURROW_OK);
    assert_int_equal(task_module_count(module), 2);
    for (uint32_t i = 0; i < task_module_count(module); i++) {
        const furrow_function *function = task_module_function(module, i);

        assert_ptr_equal(find(function->name), function);
    }
    assert_non_null(find("module_first"));
    assert_int_equal(find("module_second")->call(NULL), 2);
    task_module_unload(module);
    assert_null(find("module_first"));
    assert_null(find("module_second"));
}

static void a_module_may_be_loaded_again(void **state) {
    struct task_module *module;
    uint32_t index;

    (void)state;
    assert_int_equal(task_module_load(MODULE("two"), &module), FURROW_OK);
    index = find("module_second")->index;
    assert_refused(MODULE("two"), FURROW_EINVAL, "already loaded");
    assert_non_null(find("module_second"));
    task_module_unload(module);
    assert_int_equal(task_module_load(MODULE("two"), &module), FURROW_OK);
    assert_int_equal(find("module_second")->index, index);
    task_module_unload(module);
}

static void a_path_without_a_slash_is_a_file_here(void **state) {
    struct task_module *module;
    char before[4096];

    (void)state;
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(MODULE_DIR), 0);
    assert_int_equal(task_module_load("tests_module_two.so", &module), FURROW_OK);
    task_module_unload(module);
    assert_int_equal(chdir(before), 0);
    assert_refused("libc.so.6", FURROW_EINVAL, "no such file");
}

static void a_name_that_is_taken_by_another_module_is_an_error(void **state) {
    struct task_module *module;

    (void)state;
    assert_int_equal(task_module_load(MODULE("two"), &module), FURROW_OK);
    assert_refused(MODULE("clash"), FURROW_EINVAL, "\"module_second\"");
    assert_null(find("module_other"));
    assert_int_equal(find("module_second")->call(NULL), 2);
    task_module_unload(module);
    assert_int_equal(task_module_load(MODULE("clash"), &module), FURROW_OK);
    task_module_unload(module);
}

static void what_is_no_module_is_refused_in_words(void **state) {
    char file[] = "/tmp/furrow-test-XXXXXX";
    int fd;

    (void)state;
    assert_refused(MODULE("missing"), FURROW_EINVAL, "no such file");
    assert_refused(MODULE_DIR, FURROW_EINVAL, "not a file");
    assert_refused(MODULE("empty"), FURROW_EINVAL, "no task in it");
    assert_refused(MODULE("unresolved"), FURROW_EINVAL, "module_symbol_that_is_nowhere");
    assert_refused("/dev/null", FURROW_EINVAL, "not a file");
    fd = mkstemp(file);
    assert_true(fd >= 0);
    assert_refused(file, FURROW_EINVAL, "not a shared object");
    assert_int_equal(write(fd, "\177ELF and then nothing", 21), 21);
    assert_refused(file, FURROW_EINVAL, "file too short");
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(file), 0);
}

static void an_empty_path_is_refused(void **state) {
    struct task_module *module;

    (void)state;
    assert_int_equal(task_module_load("", &module), FURROW_EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_brings_its_tasks),
        cmocka_unit_test(a_module_may_be_loaded_again),
        cmocka_unit_test(a_path_without_a_slash_is_a_file_here),
        cmocka_unit_test(a_name_that_is_taken_by_another_module_is_an_error),
        cmocka_unit_test(what_is_no_module_is_refused_in_words),
        cmocka_unit_test(an_empty_path_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
