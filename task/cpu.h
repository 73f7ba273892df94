/* The parts of furrow_cpu_count, apart for tests. */
#ifndef TASK_CPU_H
#define TASK_CPU_H

/* task_cpu_quota reads the cgroup's limit of processor time, in whole processors rounded up.
 *
 * cgroup_file  what is /proc/self/cgroup for this process
 * mount        where the hierarchies are mounted: /sys/fs/cgroup
 *
 * Versions 1 and 2, and the tightest of all the groups above. It reads files; any thread.
 * Returns 0 if there is no limit, or if it can't be read. */
int task_cpu_quota(const char *cgroup_file, const char *mount);

#endif
