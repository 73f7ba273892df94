#include "task/cpu.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <furrow.h>

/* Processors in this process's affinity mask; 0 if it can't be asked. */
static int affinity_count(void) {
    /* The kernel refuses a set that is smaller than its own (EINVAL): then a larger one is tried. */
    for (size_t cpus = CPU_SETSIZE; cpus <= 64 * (size_t)CPU_SETSIZE; cpus *= 2) {
        size_t bytes = CPU_ALLOC_SIZE(cpus);
        cpu_set_t *set = CPU_ALLOC(cpus);
        bool larger = false;
        int count = 0;

        if (set == NULL) {
            return 0;
        }
        if (sched_getaffinity(0, bytes, set) == 0) {
            count = CPU_COUNT_S(bytes, set);
        } else {
            larger = errno == EINVAL;
        }
        CPU_FREE(set);
        if (!larger) {
            return count;
        }
    }
    return 0;
}

/* Reads the first line of a file into `line`, without its newline. */
static bool read_line(const char *path, char *line, size_t room) {
    FILE *file = fopen(path, "re");
    bool ok = file != NULL && fgets(line, (int)room, file) != NULL;

    if (file != NULL) {
        (void)fclose(file);
    }
    if (ok) {
        line[strcspn(line, "\n")] = '\0';
    }
    return ok;
}

/* quota / period, rounded up; 0 if that is no limit. */
static int whole_cpus(long long quota, long long period) {
    long long cpus;

    if (quota <= 0 || period <= 0) {
        return 0;
    }
    cpus = quota / period + (quota % period != 0);
    return cpus > INT_MAX ? INT_MAX : (int)cpus;
}

static int limit_v2(const char *dir) {
    long long quota, period;
    char path[PATH_MAX], line[128];

    if (snprintf(path, sizeof path, "%s/cpu.max", dir) >= (int)sizeof path ||
        !read_line(path, line, sizeof line) || sscanf(line, "%lld %lld", &quota, &period) != 2) {
        return 0; /* "max 100000" too */
    }
    return whole_cpus(quota, period);
}

static int limit_v1(const char *dir) {
    char path[PATH_MAX], quota[64], period[64];

    if (snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir) >= (int)sizeof path ||
        !read_line(path, quota, sizeof quota) ||
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir) >= (int)sizeof path ||
        !read_line(path, period, sizeof period)) {
        return 0;
    }
    return whole_cpus(atoll(quota), atoll(period));
}

static int tighter(int a, int b) {
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* The tightest limit of the group and all above it, up to the root of the hierarchy. In a container the
 * path may be that of the host and not be there: then the root itself is the container's group. */
static int limit_of(int (*limit)(const char *), const char *root, const char *group) {
    char dir[PATH_MAX];
    int found = 0;
    int length = snprintf(dir, sizeof dir, "%s%s", root, group);
    size_t root_length = strlen(root);

    if (length < 0 || length >= (int)sizeof dir) {
        return limit(root);
    }
    for (;;) {
        char *slash;

        found = tighter(found, limit(dir));
        slash = strrchr(dir, '/');
        if (strlen(dir) <= root_length || slash == NULL || slash < dir + root_length) {
            return found;
        }
        *slash = '\0';
    }
}

/* Whether `name` is one of the comma-separated `list`. */
static bool listed(const char *list, const char *name) {
    size_t size = strlen(name);

    for (;;) {
        size_t part = strcspn(list, ",");

        if (part == size && strncmp(list, name, size) == 0) {
            return true;
        }
        if (list[part] == '\0') {
            return false;
        }
        list += part + 1;
    }
}

int task_cpu_quota(const char *cgroup_file, const char *mount) {
    FILE *file = fopen(cgroup_file, "re");
    char line[PATH_MAX + 128], root[PATH_MAX];
    int found = 0;

    if (file == NULL) {
        return 0;
    }
    /* Each line is hierarchy:controllers:path; version 2 is "0::path". */
    while (fgets(line, sizeof line, file) != NULL) {
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');

        if (group == NULL) {
            continue;
        }
        controllers++;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        if (controllers[0] == '\0') {
            found = tighter(found, limit_of(limit_v2, mount, group));
        } else if (listed(controllers, "cpu")) {
            /* "cpu" is a link to the hierarchy wherever its name is "cpu,cpuacct" */
            if (snprintf(root, sizeof root, "%s/cpu", mount) < (int)sizeof root) {
                found = tighter(found, limit_of(limit_v1, root, group));
            }
        }
    }
    (void)fclose(file);
    return found;
}

int furrow_cpu_count(void) {
    int count = affinity_count();
    int quota = task_cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup");

    if (count == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);

        count = online > 0 && online < INT_MAX ? (int)online : 1;
    }
    return tighter(count, quota);
}
