#include "task/module.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "task/registry.h"
#include "task/status.h"
#include "wire/limits.h"

struct task_module {
    void *handle;
    uint32_t count;
    const furrow_function *functions[];
};

/* Looks at the file before the loader does, whose own texts leave out what a user wants to know. */
static furrow_status look(const char *path) {
    char magic[SELFMAG] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = -1;
    struct stat info;

    if (fd < 0) {
        return task_set_error(errno == ENOENT || errno == ENOTDIR ? FURROW_EINVAL : FURROW_ESYSTEM,
                              "task module %s: %s", path,
                              errno == ENOENT ? "no such file" : strerror(errno));
    }
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
        got = read(fd, magic, sizeof magic);
    } else {
        errno = 0;
    }
    if (got < 0) {
        int error = errno;

        (void)close(fd);
        return error == 0
                   ? task_set_error(FURROW_EINVAL, "task module %s: not a file", path)
                   : task_set_error(FURROW_ESYSTEM, "task module %s: %s", path, strerror(error));
    }
    (void)close(fd);
    if (got != (ssize_t)sizeof magic || memcmp(magic, ELFMAG, SELFMAG) != 0) {
        return task_set_error(FURROW_EINVAL, "task module %s: not a shared object", path);
    }
    return FURROW_OK;
}

/* The loader's text, without the path that it often begins with: ours has it already. */
static const char *loader_text(const char *path) {
    const char *text = dlerror();

    if (text == NULL) {
        return "it can't be loaded";
    }
    if (strncmp(text, path, strlen(path)) == 0 && strncmp(text + strlen(path), ": ", 2) == 0) {
        text += strlen(path) + 2;
    }
    return text;
}

/* Turns what a loaded object registered into a module, or says why it is none. */
static furrow_status adopt(const char *path, void *handle, const struct task_collector *collected,
                           struct task_module **module) {
    const furrow_function *function = collected->first;
    struct task_module *made;

    if (collected->refused > 0) {
        return task_set_error(
            FURROW_EINVAL,
            "task module %s: the task \"%.*s\" can't be registered: the name is taken by the "
            "program or another module, or too long",
            path, (int)WIRE_NAME_BYTES_MAX, collected->refused_name);
    }
    if (collected->count == 0) {
        return task_set_error(FURROW_EINVAL, "task module %s: there is no task in it (FURROW_TASK)",
                              path);
    }
    made = malloc(sizeof *made + collected->count * sizeof(const furrow_function *));
    if (made == NULL) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    made->handle = handle;
    made->count = collected->count;
    for (uint32_t i = 0; i < made->count; i++) {
        made->functions[i] = function;
        function = function->next;
    }
    *module = made;
    return FURROW_OK;
}

static furrow_status load_file(const char *path, struct task_module **module) {
    struct task_collector collected;
    furrow_status status = look(path);
    void *handle;

    if (status != FURROW_OK) {
        return status;
    }
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    if (handle != NULL) {
        (void)dlclose(handle);
        return task_set_error(FURROW_EINVAL, "task module %s: already loaded", path);
    }
    (void)dlerror();
    task_collect_begin(&collected);
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    task_collect_end(&collected);
    if (handle == NULL) {
        return task_set_error(FURROW_EINVAL, "task module %s: %s", path, loader_text(path));
    }
    status = adopt(path, handle, &collected, module);
    if (status != FURROW_OK) {
        (void)dlclose(handle);
    }
    return status;
}

furrow_status task_module_load(const char *path, struct task_module **module) {
    furrow_status status;
    char *relative;

    if (path[0] == '\0') {
        return task_set_error(FURROW_EINVAL, "task module: the path is empty");
    }
    if (strchr(path, '/') != NULL) {
        return load_file(path, module);
    }
    /* Without a slash the loader would search its own path for it. */
    if (asprintf(&relative, "./%s", path) < 0) {
        return task_set_plain_error(FURROW_ENOMEM);
    }
    status = load_file(relative, module);
    free(relative);
    return status;
}

void task_module_unload(struct task_module *module) {
    if (module != NULL) {
        (void)dlclose(module->handle);
        free(module);
    }
}

uint32_t task_module_count(const struct task_module *module) {
    return module->count;
}

const furrow_function *task_module_function(const struct task_module *module, uint32_t i) {
    BASE_ASSERT(i < module->count);
    return module->functions[i];
}
